/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum table in memory: a CRC32C for each block of the data area, in frames that hold a
 * table block each.  docs/disk-format.md, sections 2.4 and 4.8.
 *
 *     absent --hold--> wanted --> loading --> loaded --(nobody holds it, unchanged)--> absent
 *                        |                     |  ^
 *                        +- fresh: no load ----+  +--- changed, until it has been written
 *
 * A frame is held by whoever has a transfer of its blocks under way.  A change may come before the
 * load has ended: its blocks are known then, and the load leaves them alone.  The frame of a change
 * stays until it has been written to the table, and so does not leave all frames to changes: reads
 * go on while changes wait for the table to be written.
 *
 * Threading: the owner's.
 * Memory:    a frame is 4 KiB for 3.9 MiB of data; as many as sums_init() was told, touched as they
 *            are used.  Recovery may take more, until sums_trim().
 */
#ifndef STORE_SUMS_H
#define STORE_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/span.h"
#include "base/status.h"

#define SUMS_BLOCK_BYTES ((size_t)4096) /* Of a frame. */
#define SUMS_FRAMES_MIN  2              /* One to change, one to read. */
#define SUMS_SLOTS       2

struct sums_frame {
    uint32_t table_block;
    uint16_t holders; /* Of them, changes: */
    uint16_t changes;
    bool loaded;
    bool writing;  /* Its bytes are on their way to the table. */
    bool recently; /* Held since the clock passed. */
};

struct sums {
    /* Private to sums.c. */
    uint64_t blocks;       /* Of the data area. */
    uint64_t table_blocks; /* Pairs on the disk. */
    uint64_t tag;
    uint64_t life;         /* As sums_init() was told. */
    uint64_t limit;        /* Likewise: frames. */
    uint64_t *sequences;   /* Per pair: of the newest valid slot, or above all that may be there. */
    uint32_t *index;       /* Per pair: its frame, or SUMS_ABSENT. */
    struct bitmap dirty;   /* Per pair: changed. */
    struct bitmap wanted;  /* Per pair: to be loaded. */
    struct bitmap written; /* Per pair: a slot may be valid; without, there is nothing to load. */
    uint64_t wanted_count;
    uint64_t frames_max;
    uint64_t changed_max; /* Frames that may be changed, or held for it. */
    uint64_t changed;     /* Are. */
    uint64_t frames;      /* In use so far. */
    uint64_t room;        /* For so many there is memory. */
    uint64_t clock;
    struct sums_frame *frame;
    uint8_t **chunks; /* The frames' memory. */
    uint64_t chunk_count;
    uint64_t chunk_frames; /* Of a chunk. */
    bool starved;          /* A change was refused: see sums_wants_writing(). */
    bool lifted;           /* sums_lift_limit() was called. */
};

/*
 * life: the sequence of the superblock that was found; it grows from opening to opening.
 * frames: how many there may be, SUMS_FRAMES_MIN or more; 0: one for each table block.
 */
struct status sums_init(struct sums *s, uint64_t grains, uint64_t tag, uint64_t life,
                        uint64_t frames) MUST_CHECK;
void sums_fini(struct sums *s);

/*
 * The disk is to become larger: sums_reserve() takes the memory for so many grains, and changes
 * nothing else; sums_extend() adds them, and cannot fail.
 */
struct status sums_reserve(struct sums *s, uint64_t grains) MUST_CHECK;
void sums_extend(struct sums *s, uint64_t grains);

/* The table block that holds a grain's CRCs, or a block's. */
uint64_t sums_table_block_of(uint64_t grain);

/* How many of count blocks in a row, from block on, share a table block: so far may one hold go. */
uint32_t sums_run(uint64_t block, uint32_t count);

/* Bytes of the frames that are in use, and of all that may be but for recovery. */
uint64_t sums_resident_bytes(const struct sums *s);
uint64_t sums_budget_bytes(const struct sums *s);

/* ---- Holding ---- */

/*
 * Sees to it that the table block of block stays in memory until sums_release(); change: CRCs will
 * be set.  False if there is no room: it comes when other holds end, or the table is written.
 */
bool sums_hold(struct sums *s, uint64_t block, bool change);
void sums_release(struct sums *s, uint64_t block, bool change);

/* Whether sums_get() may be asked.  It becomes true by itself: the loader sees to that. */
bool sums_is_loaded(const struct sums *s, uint64_t block);

/* Held: the block's checksum is needed soon. */
void sums_prefetch(const struct sums *s, uint64_t block);

/* Held, or in recovery; and loaded.  The CRCs of a run of blocks lie in a row. */
const uint32_t *sums_at(const struct sums *s, uint64_t block);
uint32_t sums_get(const struct sums *s, uint64_t block);

/* Held for change, or in recovery.  A run lies in one table block. */
void sums_set_run(struct sums *s, uint64_t block, const uint32_t *crcs, uint32_t count);
void sums_set(struct sums *s, uint64_t block, uint32_t crc);

/*
 * The disk has failed, and what has changed can never be written: from now on it is kept above the
 * limit, so that suspect blocks can still be adopted, and read.
 */
void sums_lift_limit(struct sums *s);

/* ---- Writing the table ---- */

/* The first changed table block at or after from; BITMAP_NONE for none. */
uint64_t sums_next_dirty(const struct sums *s, uint64_t from);

/* Whether a changed table block can be written: its load has ended. */
bool sums_can_encode(const struct sums *s, uint64_t table_block);

/*
 * Makes the bytes of a table block, to be written at *out_offset of the table; it counts as
 * unchanged from now on.  sums_written() says how that ended.
 */
void sums_encode(struct sums *s, uint64_t table_block, struct span out, uint64_t *out_offset);
void sums_written(struct sums *s, uint64_t table_block, bool ok);

/* Whether so much has changed that changes wait, or soon will. */
bool sums_wants_writing(const struct sums *s);

/* ---- Loading ---- */

/* The first table block at or after from that is to be loaded; BITMAP_NONE for none. */
uint64_t sums_next_wanted(const struct sums *s, uint64_t from);

/* The caller begins to load it. */
void sums_load_begin(struct sums *s, uint64_t table_block);

/* Takes the newer of the slots that are valid; one without bytes could not be read.  False: none
 * is, and CRCs stay. */
bool sums_load(struct sums *s, uint64_t table_block, const struct const_span slots[SUMS_SLOTS]);

/* A checksum that no slot has: to be set, block by block, where sums_load() has said no. */
void sums_load_crc(struct sums *s, uint64_t block, uint32_t crc);

/* All CRCs are there, as far as they ever will be. */
void sums_load_end(struct sums *s, uint64_t table_block);

/* ---- Recovery ---- */

/* The table block may have a valid slot: the map names data of it. */
void sums_set_used(struct sums *s, uint64_t table_block);

/* A record gives the block's CRC, before anything of the table was loaded.  NO_MEMORY. */
struct status sums_recover(struct sums *s, uint64_t block, uint32_t crc) MUST_CHECK;

/* The blocks of a grain whose CRCs came by sums_recover(). */
uint32_t sums_recovered(const struct sums *s, uint64_t grain);

/* All used table blocks are to be loaded: for checking a disk.  NO_MEMORY. */
struct status sums_want_all(struct sums *s) MUST_CHECK;

/* Recovery has ended, and everything was written: gives back what is above the limit. */
void sums_trim(struct sums *s);

/* Whether one slot of a pair is a valid table block of this disk, and its sequence. */
struct status sums_slot_check(struct const_span slot, uint64_t tag, uint64_t table_block,
                              uint64_t *out_sequence) MUST_CHECK;

#endif

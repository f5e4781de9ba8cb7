/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a chunk of a volume from every member of its copyset, in one shared place in the overlap
 * order (R4, R8), and checks each block.
 *
 *   IDLE --> (settled) --> (order) --> reading: all slots at once --> done, on home
 *                                        |  ^
 *                                        +--+ a slot with a bad block: block by block
 *
 * Threading: started on home, where done is; between the two it is the slice's.
 * Memory:    embedded in the verification, which lends it memory for the blocks.
 */
#ifndef VOLUME_VERIFY_READER_H
#define VOLUME_VERIFY_READER_H

#include "volume/volume_internal.h"

#define VERIFY_CHUNK_BYTES  (UINT64_C(64) << 10)
#define VERIFY_CHUNK_BLOCKS (VERIFY_CHUNK_BYTES / STORE_BLOCK_BYTES)

struct verify_reader;

/* What one replica has of the chunk. */
struct verify_slot {
    struct span memory;   /* The verification's: VERIFY_CHUNK_BYTES. */
    bool out;             /* It is no member. */
    bool absent;          /* Its store does not know the shard: zeros, and no disk was asked. */
    struct status status; /* OK: what is not bad is in memory. */
    uint32_t bad;         /* Blocks, one bit each. */

    /* Private to verify_reader.c. */
    struct verify_reader *reader;
    unsigned fine; /* The block that is read alone; VERIFY_CHUNK_BLOCKS: all at once. */
    struct leg_io io;
    struct leg_remote_io remote;
    uint32_t crcs[VERIFY_CHUNK_BLOCKS];
};

struct verify_reader {
    uint64_t at; /* Address; the user's. */
    struct verify_slot slots[VOLUME_REPLICAS_MAX];
    struct copyset *copyset;
    uint64_t bytes;
    bool busy;

    /* Private to verify_reader.c. */
    struct piece piece; /* Its order entry; and it may wait for settling. */
    unsigned pending;   /* Slots, and one while they are being asked. */
    struct io_msg msg;
    void (*done)(struct verify_reader *r);
};

/* Begins to read an extent of at most VERIFY_CHUNK_BYTES.  done follows, from home's loop. */
void verify_reader_start(struct verify_reader *r, struct copyset *cs,
                         const struct layout_extent *extent, void (*done)(struct verify_reader *r));

static_assert(VERIFY_CHUNK_BLOCKS <= 32, "a bit for each block");

#endif

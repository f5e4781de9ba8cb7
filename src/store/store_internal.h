/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of a store share.
 *
 *     session.c    sessions, epochs, volume descriptors      S4, S5
 *     describe.c   a new description of a volume             S5, F27
 *     command.c    entry, waiting, completion
 *     read.c       reads                                     S3
 *     hash.c       HASH                                      S3
 *     write.c      first touches and overwrites              S1, S6, J1, F13 to F16
 *     cells.c      which space first touches get             S6, F28, F29
 *     zero.c       Write Zeroes, Deallocate, delete          J2, F19, F20
 *     spoil.c      blocks that nobody has any more           F40
 *     opening.c    openings of regions                       F16
 *     listing.c    regions where replicas may differ         F36, F37
 *     copysets.c   what the disk knows of its replicas       S5, F39
 *     points.c     what it had confirmed, and others had     F41, F42
 *     busy.c       volumes that may have lost something      S1, F25, F26
 *     settle.c     suspect regions                           S7, F17
 *     sums.c, sums_loader.c  checksums in memory             S3, F32
 *     checkpoint.c the whole state, in the background        F22 to F24
 *     superblock_writer.c    both superblocks in turn        section 2.1
 *     grow.c       a device that has become larger           F33 to F35
 *     apply.c      records onto the state
 *     format.c     an empty disk
 *     load.c       a disk's metadata                         section 5
 *     open.c       superblock to serving                     section 5
 *     walk.c       all that has data
 *     scrub.c      reading it while the store serves         R10
 *     check.c, repair.c      a disk at rest                  F1 to F8, F26
 *
 * A command that cannot go on for now (a region to be opened, no room in the ring, no free
 * segment) stays on a list of stalled commands, which is gone through once per turn when anything
 * has moved.  A command that is let through takes all it needs in one go: there is nothing to
 * roll back.
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <stdatomic.h>

#include "base/mutation.h"
#include "base/sm.h"
#include "disk/disk_format.h"
#include "disk/journal.h"
#include "disk/space.h"
#include "disk/superblock.h"
#include "disk/sweep.h"
#include "store/catalog.h"
#include "store/hash.h"
#include "store/intent.h"
#include "store/record.h"
#include "store/regions.h"
#include "store/store.h"
#include "store/sums.h"
#include "store/sums_loader.h"

#define SEGMENTS_MAX      1024 /* Transfers under way; a queue of 128 with eight pieces each. */
#define SEGMENT_BYTES_MAX STORE_IO_BYTES_MAX
#define SETTLE_DELAY_NS   (20 * NS_PER_MS) /* F14's background flush. */
#define INTENT_IDLE_NS    (30 * NS_PER_S)  /* A region closes so long after its last write. */
#define BUSY_IDLE_NS      INTENT_IDLE_NS   /* A volume becomes quiet likewise. */
#define INTENTS_HIGH      (LAYOUT_INTENTS_MAX / 4 * 3) /* Above, the oldest close early. */
#define CHECKPOINT_BYTES  ((size_t)128 << 10) /* That a checkpoint's sweeps have in flight. */

/* One transfer of a command: blocks in a row on the device, and in one block of the checksum table,
 * which is held meanwhile. */
struct segment {
    struct dev_io io;
    struct store_io *owner;
    uint64_t first; /* Block of the command. */
    uint32_t count;
    uint64_t place;        /* Block of the data area. */
    struct list_node link; /* Free list, or sums_waiters. */
};

struct superblock_writer {
    struct store *store;
    struct dev_io io;
    unsigned step;
    unsigned older;   /* The slot that is older than the other, or not known. */
    bool says_failed; /* The disk has failed, perhaps where that slot lies: either one will do. */
    uint8_t *block;
    void (*done)(struct store *store, struct status status);
};

/* The state of a checkpoint in progress: checkpoint.c. */
struct checkpoint {
    struct sm sm;
    bool wanted;
    bool for_close;    /* Marks the superblock clean. */
    bool sums_only;    /* Only the checksum table is written. */
    uint32_t writings; /* Of that kind, since the last superblock. */
    struct sweep sweep;
    uint8_t *buffers; /* Of the sweep: a checkpoint never waits for memory. */
    struct journal_waiter waiter;
    uint64_t sums_next; /* Table block to look at next. */
    uint64_t start;     /* Replay will start here. */
    uint64_t index;     /* Blocks of the area filled so far. */
    uint64_t area_blocks;
    unsigned phase;
    uint32_t volumes_end; /* Younger ids are in the journal only. */
    uint32_t shards_end;
    uint32_t next_id; /* Volume or shard to write next. */
    uint64_t next_generation;
    bool in_layer;
    uint32_t next_grain;
    uint32_t next_copyset;
    uint32_t next_region;
    uint32_t next_intent;
    struct superblock sb; /* The one to be written. */
    void (*done)(struct store *store, struct status status);
};

/* A growth in progress: grow.c. */
struct grow {
    struct sm sm;
    struct disk_layout layout; /* As it will be. */
    uint64_t device_bytes;
    struct superblock sb; /* The one to be written. */
    struct dev_io io;
    struct journal_waiter waiter;
    struct io_task task;
    struct store_grown result;
    store_grown_fn *done;
    void *ctx;
};

#define SETTLERS     4
#define SETTLE_DEPTH 4

/* One region being settled: settle.c. */
struct settler {
    struct store *store;
    struct intent *intent; /* NULL: idle. */
    struct sweep sweep;
    uint8_t *buffers; /* Of the sweep: want of memory is no reason to fail a command. */
    unsigned layer;
    uint32_t grain;
    uint32_t cell;
    struct map_extent current;
    uint32_t data;  /* Of its blocks, those that have data. */
    uint32_t block; /* Of current, when blocks are read one by one. */
    bool failed;    /* Something could not be read. */
    /* What is read next, while its checksums are waited for. */
    bool chosen;
    bool held;
    uint64_t next_block; /* Of the data area. */
    uint32_t next_mask;  /* Blocks from there on that have data. */
};

struct store {
    struct dev *dev;
    struct reactor *reactor;
    struct superblock sb;        /* As last written, or as this life will write it first. */
    struct superblock sb_before; /* As it was found at open. */
    bool sb_is_ours;             /* One of this life has been written. */
    struct superblock_past past; /* As it is now: it goes into each superblock. */

    struct journal *journal;
    struct space space;
    uint64_t taken_cells; /* By extensions (F33). */
    struct sums sums;
    struct sums_loader sums_loader;
    struct list sums_waiters; /* Segments that were read before their checksums. */
    struct catalog catalog;
    struct intents intents;

    /* Commands. */
    struct list active;  /* Let through, in order of ticket. */
    struct list stalled; /* Not let through yet. */
    uint64_t next_ticket;
    struct list segment_waiters; /* Let through, but out of segments. */
    struct list undos;           /* First touches to be taken back; store_io.segment_link. */
    struct list drops;           /* Volumes being taken apart; store_io.segment_link. */
    struct list free_segments;
    struct segment *segments;
    struct io_task kick;
    uint64_t commands; /* Submitted and not completed. */

    /* Cells to be released: F19, F20. */
    uint64_t gathered_sequence; /* Highest record that freed one. */
    uint64_t batch_sequence;
    uint64_t batch_ticket;

    uint64_t last_record; /* The highest sequence with a WRITE or ZERO record. */
    struct io_timer settle_timer;
    struct io_timer idle_timer;

    struct journal_waiter opening_waiter;
    bool opening_busy;

    struct regions regions;
    struct journal_waiter listing_waiter;
    bool listing_busy;
    bool listing_wanted;       /* An overwrite waits for a region to be listed durably. */
    uint64_t listing_sequence; /* Of the last record of the list. */
    uint32_t busy_waits;       /* Volumes that wait for a flush: F25, F26. */

    struct checkpoint checkpoint;
    struct superblock_writer sb_writer;
    struct grow grow;
    struct settler settlers[SETTLERS];
    struct hasher hashers[HASHERS];
    struct scrub *scrub; /* NULL: none is under way. */

    struct list session_opens;
    struct store_leases *leases; /* NULL: nobody waits for any. */
    struct io_timer lease_timer;
    struct list descriptions; /* describe.c */
    uint64_t incarnation;
    _Atomic bool is_suspect; /* Read on any thread. */
    bool failed;
    bool failure_recorded;
    bool serving;
    uint64_t media_errors;
    uint64_t adopted_blocks;
    uint32_t zero_crc; /* Of a block of zeros. */

    bool closing;
    unsigned close_step;
    struct status close_outcome;
    store_done_fn *close_done;
    void *close_ctx;
    struct opening *opening; /* While store_open() runs. */
};

struct store_session {
    struct store *store;
    struct catalog_volume *volume; /* NULL: deleted. */
    uint32_t group;
    uint64_t epoch;
    uint64_t number;
    bool stale;            /* A newer one was opened. */
    bool closed;           /* By its owner; freed with its last command. */
    uint32_t commands;     /* Under way or stalled. */
    struct list_node link; /* In volume->sessions. */
};

/* ---- command.c ---- */

/* Something has moved: stalled commands are tried again at the end of the turn. */
void store_kick(struct store *store);

/* The kick's task. */
void store_on_kick(struct io_task *task);

/* Completes a command. */
void command_finish(struct store_io *io, struct status status);

/* The same when the journal is durable up to there; 0: what has been written of it by now. */
void command_finish_flushed(struct store_io *io, uint64_t sequence);

/* Marks a command as under way, from now until command_finish(). */
void command_activate(struct store_io *io, struct shard *shard);

/*
 * A segment from that block of the data area on, whose checksums are held; or NULL: the command is
 * queued, and is advanced again when there is one.
 */
struct segment *segment_get(struct store *store, struct store_io *io, uint64_t place);
void segment_put(struct store *store, struct segment *segment);

/* S7, F16, F21: whether blocks may be overwritten in place without the journal. */
static inline bool store_overwrites_in_place(const struct store *store)
{
    return store->sb.atomic_bytes >= STORE_BLOCK_BYTES;
}

/* The device offset of a block of the data area. */
static inline uint64_t store_data_offset(const struct store *store, uint64_t block)
{
    return store->sb.layout.part[LAYOUT_DATA].offset + block * STORE_BLOCK_BYTES;
}

/* Regions and volumes that are in use: they close when they have been idle. */
void store_watch_idle(struct store *store);

/*
 * The incarnation after one: above it, and not the one that came after it when the disk was put
 * back from an image, as its low 32 bits are drawn anew.
 */
uint64_t incarnation_after(struct reactor *reactor, uint64_t incarnation);

/* The disk has failed: refuse writes, raise the incarnation, record it. */
void store_fail(struct store *store, struct status why);

/* A WRITE or ZERO record was appended: the settle timer sees to it. */
void store_note_record(struct store *store, uint64_t sequence);

/* ---- read.c, write.c, zero.c: each tries to let a command through; false: it must wait. ---- */

bool read_admit(struct store_io *io);
bool write_admit(struct store_io *io);
bool zero_admit(struct store_io *io);
bool delete_admit(struct store_io *io);

/* ---- spoil.c ---- */

bool spoil_admit(struct store_io *io);

/* ---- zero.c ---- */

/* Goes on with deletions. */
void drops_run(struct store *store);

/* Makes a shard of the command's volume, and says so in a record. */
struct status shard_create(const struct store_io *io, uint32_t index, uint16_t copyset,
                           struct shard **out_shard) MUST_CHECK;

/* Hand the next parts to the device, as far as there are segments. */
void read_advance(struct store_io *io);
void write_advance(struct store_io *io);

/* The disk has failed while the command waited for a segment: there may never be one. */
void write_abandon(struct store_io *io);

/* Takes back first touches that have failed, as far as there is room for that. */
void writes_take_back(struct store *store);

/* Ends segments that were read, and whose checksums have come. */
void read_resume_loaded(struct store *store);

/*
 * Whether another command under way changes a grain that the command touches; zeroing: only
 * Write Zeroes and Deallocate count.
 */
bool command_conflicts(const struct shard *shard, const struct store_io *io, bool zeroing);

/* ---- cells.c ---- */

/* Whether first touches may take so many cells: all but the reserve (S6). */
bool cells_are_free(const struct store *store, uint32_t count);

/* What first touches of single cells may still take. */
uint64_t store_free_bytes(const struct store *store);

/* Whether a cell that would keep the grain in line is on its way back (F20). */
bool cells_should_wait(const struct store *store, const struct grain *g, uint32_t fresh);

/* Takes cells for the blocks of fresh that have none.  So many are free, and lists reserved. */
void cells_take(struct store *store, struct map *map, struct layer *layer, uint32_t grain,
                uint32_t fresh);

/* The cells are free once what the record of this sequence says is durable, and F20 holds. */
void cells_free_later(struct store *store, const struct map_freed *freed, uint64_t sequence);

/* ---- opening.c ---- */

/* Whether overwrites in the region may be submitted; if not, sees to it. */
bool region_ensure_open(struct store *store, struct shard *shard, uint32_t region);

/* Writes records for the wanted regions, if there is room and no batch under way. */
void openings_submit(struct store *store);

/* ---- listing.c ---- */

/*
 * F36: what a command that changes the shard (NULL: creates it) needs of its region list.  Adds to
 * *bytes what its record takes; *out_wait: not yet.  overwrites: it does so in place.  LIST_FULL,
 * NO_MEMORY.
 */
struct status listing_prepare(const struct store_io *io, struct shard *shard, bool overwrites,
                              size_t *bytes, bool *out_wait) MUST_CHECK;

/* The regions of a command that is being let through are open as of its tick. */
void listing_enter(const struct store_io *io, struct shard *shard);

/* Flushes for those that wait. */
void listing_run(struct store *store);

/* LIST_REGIONS, CLOSE_REGIONS and MERGE_REGIONS. */
bool listing_admit(struct store_io *io);

/* ---- copysets.c ---- */

/* SET. */
bool set_admit(struct store_io *io);

/* Fills in what store_state says of them. */
void sets_describe(const struct store_session *session, struct store_state *state);

/* ---- points.c ---- */

/* LIST_POINTS, KEEP_POINTS and CHECK_POINTS. */
bool points_admit(struct store_io *io);

/* ---- busy.c ---- */

/* Whether a command may be gone after power loss although it has completed. */
bool command_may_be_lost(const struct store_io *io);

/* F25: whether such commands of the volume may be let through; if not, sees to it. */
bool busy_ensure_marked(struct store *store, struct catalog_volume *volume);

/* Such a command is let through, or has ended. */
void busy_enter(struct catalog_volume *volume);
void busy_leave(struct store *store, struct catalog_volume *volume);

/* F26: volumes that have been idle become quiet; true if some are still busy. */
bool busy_run(struct store *store);

/* What a checkpoint says of the volume. */
bool busy_is_marked(const struct store *store, const struct catalog_volume *volume);

/* ---- settle.c ---- */

/* Whether no region of the range is suspect; if one is, it comes first. */
bool range_is_settled(struct store *store, struct shard *shard, uint64_t offset, uint64_t bytes);

void settle_run(struct store *store);

/* ---- scrub.c ---- */

/* What it waits for may have come; and a store that is closed ends it. */
void scrub_run(struct store *store);

/* ---- checkpoint.c ---- */

void checkpoint_init(struct store *store);

/* Asks for a checkpoint; done, if not NULL, is called after one that began after this call. */
void checkpoint_request(struct store *store);

/* Starts what was asked for, or what the ring's fill or idle regions ask for. */
void checkpoint_run(struct store *store);
bool checkpoint_is_busy(const struct store *store);

/* ---- superblock_writer.c ---- */

/* With the store's past. */
void superblock_write(struct store *store, const struct superblock *sb,
                      void (*done)(struct store *store, struct status status));

/* ---- grow.c ---- */

void grow_init(struct store *store);

/* Goes on when no checkpoint is under way, and nobody writes a superblock. */
void grow_run(struct store *store);
bool grow_is_busy(const struct store *store);

/* What a growth would add for data, as far as the device has told its size. */
uint64_t grow_possible_bytes(const struct store *store);

/* ---- session.c ---- */

void sessions_init(struct store *store);
void sessions_run(struct store *store);

/* A session's command has ended. */
void session_put(struct store_session *session);
void sessions_forget_volume(struct catalog_volume *volume);

/* ---- describe.c ---- */

void descriptions_run(struct store *store);

/* ---- apply.c ---- */

/* A COPY record whose home write may be missing or torn (F21). */
struct copy {
    uint32_t shard;
    uint64_t generation;
    uint32_t grain;
    uint64_t place; /* Block of the data area that holds the first. */
    uint32_t first;
    uint32_t count;
    uint32_t live; /* Blocks of the grain that no later record has written. */
    uint8_t *data;
};

struct copies {
    struct copy *list; /* In order. */
    size_t count;
    size_t room;
};

/* What replay knows beyond the records: section 5 and F13. */
struct apply {
    struct store *store;
    struct copies copies;
    bool checkpoint; /* Records come from a checkpoint, not from the journal. */
    bool head_seen;
    uint32_t volumes_end;  /* HEAD's counter. */
    uint64_t sequence;     /* Of the block that holds the record. */
    uint64_t settled;      /* The highest mark seen. */
    uint32_t *unsettled;   /* Per place of the disk: blocks to be checked by J1. */
    uint32_t *was_zero;    /* Of those, what was zero before. */
    uint32_t *was_spoiled; /* Likewise; NULL: nothing. */
};

/* The bits of unsettled or was_zero that stand for count blocks from place on. */
static inline void apply_set_bits(uint32_t *words, uint64_t place, uint32_t count, bool set)
{
    for (uint64_t b = place; b < place + count; b++) {
        const uint32_t bit = UINT32_C(1) << (b % GRAIN_BLOCKS);
        words[b / GRAIN_BLOCKS] =
            set ? words[b / GRAIN_BLOCKS] | bit : words[b / GRAIN_BLOCKS] & ~bit;
    }
}

/* data: the data blocks of a journal block, which belong to its last record, a COPY. */
struct status apply_records(struct apply *a, struct const_span payload,
                            struct const_span data) MUST_CHECK;

/* ---- lifetime: store.c ---- */

/* checksum_bytes: as struct store_config. */
struct status store_create(struct dev *dev, const struct superblock *sb, uint64_t checksum_bytes,
                           struct store **out_store) MUST_CHECK;
struct status store_start_journal(struct store *store, uint64_t life, uint64_t start) MUST_CHECK;
void store_destroy(struct store *store);

/* F33: the cells of an extension of the layout are nobody's. */
void store_take_extension(struct store *store, const struct disk_layout *layout,
                          uint32_t extension);

/* Takes the next step of closing, if that was asked for.  The store may be gone afterwards. */
void store_close_run(struct store *store);

/* A ZERO record's effect. */
void zero_apply(struct store *store, struct shard *shard, const struct record_zero *zero,
                uint64_t sequence, bool replay);

/* Frees the places of a deleted volume's shards and the volume. */
void store_drop_volume(struct store *store, struct catalog_volume *volume, bool replay,
                       uint64_t sequence);

#endif

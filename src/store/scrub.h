/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrubbing a disk: all that has data is read, grain after grain, at a given rate, while the store
 * serves, and compared with its checksums.
 *
 *     choose a grain's cells in a row --> read --> checksums: right --> the next ones
 *                                                     |
 *                       block by block, again <-------+--> still wrong: found() --> go on
 *
 * It has no place in anybody's order: a block may be written while it is read, or its cells may be
 * another's by then. So what does not match is read again, and what has changed meanwhile, or is
 * being changed, is left alone. Whoever is told of a bad block reads it in an order of his own
 * before he changes anything (R10).
 *
 * A region that is not settled is waited for: it has the store settle it, and asks again every
 * 100 ms.  An attempt that fails ends, too, and for a second the region is read like any other
 * (settle.c): a scrub ends, whatever cannot be settled.  Of a volume that is being deleted nothing
 * is told.
 *
 * Threading: the store's reactor, callbacks too.   Memory: a grain, from the heap, while it runs.
 */
#ifndef STORE_SCRUB_H
#define STORE_SCRUB_H

#include "store/store.h"

/* Blocks in a row that are bad. */
struct store_scrub_found {
    struct uuid volume;
    uint32_t shard;  /* Index in the volume. */
    uint64_t offset; /* Bytes in the shard. */
    uint64_t bytes;
};

struct store_scrub_progress {
    uint64_t position;   /* All before it has been read. */
    uint64_t done_bytes; /* Since it was started. */
    uint64_t all_bytes;  /* That the disk has now. */
    uint64_t bad_blocks; /* Since it was started. */
};

struct store_scrub_config {
    uint64_t from;        /* As store_scrub_progress() told; 0: the beginning.  Any is harmless. */
    uint64_t bytes_per_s; /* 0: no limit. */
    /* Bad blocks: nothing more is read until store_scrub_go_on(). */
    void (*found)(void *ctx, const struct store_scrub_found *found);
    /* From the loop: OK at the end of the disk; CANCELED.  With how far it was. */
    void (*done)(void *ctx, struct status status, const struct store_scrub_progress *progress);
    void *ctx;
};

/* Begins.  BUSY: one is under way; SHUTTING_DOWN, NO_MEMORY. */
struct status store_scrub_start(struct store *store,
                                const struct store_scrub_config *config) MUST_CHECK;

/* What was found has been dealt with. */
void store_scrub_go_on(struct store *store);

/* It ends soon, with CANCELED; nothing happens if none is under way.  store_close() does it, too:
 * nobody waits for what was found then. */
void store_scrub_stop(struct store *store);

/* How far it is; false: none is under way. */
bool store_scrub_progress(const struct store *store, struct store_scrub_progress *out_progress);

#endif

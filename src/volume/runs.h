/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions of a copyset's shards, as runs: what a resync still has to do, and what the members list
 * for others (docs/replication.md, 9.3, 9.8).
 *
 * Threading: the owner's.   Memory: the heap, 20 bytes for each run.
 */
#ifndef VOLUME_RUNS_H
#define VOLUME_RUNS_H

#include "store/store.h"

struct runs {
    struct store_region *items; /* Of these: shard, region, count, slots. */
    uint32_t count, room;
};

/* A region of them, on the way from the first to the last. */
struct runs_at {
    uint32_t item;
    uint32_t skip; /* Regions of the item. */
};

void runs_init(struct runs *r);
void runs_fini(struct runs *r);

/* NO_MEMORY.  An empty run adds nothing. */
struct status runs_add(struct runs *r, const struct store_region *run) MUST_CHECK;

/* All have been added: sorts them, and joins what overlaps, whatever slots they have. */
void runs_seal(struct runs *r);

/* Regions of sealed runs. */
uint64_t runs_regions(const struct runs *r);

/* The region at a position of sealed runs; false behind the last one. */
bool runs_get(const struct runs *r, const struct runs_at *at, uint32_t *out_shard,
              uint32_t *out_region);

/* To the next region. */
void runs_next(const struct runs *r, struct runs_at *at);

/* Whether sealed runs have the region at the position or behind it. */
bool runs_are_ahead(const struct runs *r, const struct runs_at *at, uint32_t shard,
                    uint32_t region);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settling: when an engine takes a group over, the members may differ in the regions that they
 * list; these are made equal before the first command there (docs/replication.md, 7.5; R9).
 *
 *   piece --> settling_admits() --> the overlap order --> ...
 *                  |                  ^
 *                  v                  |
 *               waiting --(settled)---+      regions that nobody asks for follow in the background
 *
 * A region is settled in its place in the overlap order (R10), a chunk at a time: what one source
 * has is written to every other member that has something else.
 *
 * Threading: the slice's; settling_add() before the slices know of the copyset.
 * Memory:    16 bytes for each region, until all are settled; chunks from the reactor's scratch.
 */
#ifndef VOLUME_SETTLING_H
#define VOLUME_SETTLING_H

#include "base/sm.h"
#include "io/buf.h"
#include "volume/leg.h"
#include "volume/order.h"

struct copyset;
struct piece;

struct settling_region {
    uint64_t key; /* Shard << 32 | region. */
    bool done;
    bool failed; /* No source can read all of it: its commands end with MEDIA_READ. */
};

struct settling {
    struct settling_region *regions; /* By key. */
    uint32_t count, room;
    uint32_t left; /* Not done. */
    uint32_t failures;
    uint32_t next;       /* To look at, for the background. */
    struct list waiting; /* piece.link */

    /* The region under way. */
    struct sm sm;
    uint32_t at; /* Its index. */
    struct order_entry order;
    uint64_t offset, end; /* Of the present chunk, and of the region: bytes in the shard. */
    unsigned tried;       /* Slots that could not read the chunk. */
    unsigned source;      /* Slot. */
    unsigned target;      /* Slot that is compared with it. */
    uint64_t done_bytes;  /* Of the chunk, at the target. */
    struct span memory;   /* Source's, then target's. */
    struct buf_waiter waiter;
    struct leg_io io;
    uint32_t crcs[32];
    uint32_t tick; /* 0: it waits for room in the open regions. */
};

void settling_init(struct settling *s);
void settling_fini(struct settling *s);

/* Regions in a row that a member lists with a slot of a member.  NO_MEMORY. */
struct status settling_add(struct settling *s, uint32_t shard, uint32_t region,
                           uint32_t count) MUST_CHECK;

/* All have been added: puts them in order. */
void settling_seal(struct settling *s);

/* Begins, or goes on. */
void settling_run(struct copyset *cs);

/*
 * Whether the piece's blocks are settled; *out_failed: they cannot be.  Otherwise the piece waits,
 * p->on_settled is called, and asks again.
 */
bool settling_admits(struct copyset *cs, struct piece *p, bool *out_failed);

/* Whether a region is under way. */
bool settling_is_busy(const struct settling *s);

/* The slice is fenced: what waits goes on, to its end. */
void settling_stop(struct copyset *cs);

#endif

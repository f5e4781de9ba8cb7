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
 * A region is settled by a range_copy: what one source has is written to every other member that
 * has something else.  A block that no source can read is made unreadable at all but one of them,
 * and costs nothing but itself.
 *
 * Threading: the slice's; settling_add() before the slices know of the copyset.
 * Memory:    16 bytes for each region, until all are settled.
 */
#ifndef VOLUME_SETTLING_H
#define VOLUME_SETTLING_H

#include "volume/range_copy.h"

struct copyset;
struct piece;

struct settling_region {
    uint64_t key; /* Shard << 32 | region. */
    bool done;
};

struct settling {
    struct settling_region *regions; /* By key. */
    uint32_t count, room;
    uint32_t left;       /* Not done. */
    uint32_t next;       /* To look at, for the background. */
    struct list waiting; /* piece.link */

    uint32_t at;  /* Index of the region under way. */
    bool running; /* settling_run() is. */
    bool scarce;  /* A member is full: nobody is given what another source does not have. */
    struct io_timer again;
    struct range_copy copy;
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

/* Whether the piece's blocks are settled.  If not it waits, p->on_settled is called, and asks
 * again.
 */
bool settling_admits(struct copyset *cs, struct piece *p);

/* Whether a region is under way. */
bool settling_is_busy(const struct settling *s);

/* The slice is fenced: what waits goes on, to its end. */
void settling_stop(struct copyset *cs);

#endif

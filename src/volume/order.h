/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlap order of one slice (R8): whoever touches blocks of a shard enters here first.  An
 * exclusive entry (write, deallocate, and every copy, R10) shares its blocks with nobody; shared
 * ones (reads) share with each other.  So a read that overlaps a write in flight waits for it,
 * overlapping writes reach all replicas in one order, and a store never sees two commands that
 * fight over a block.
 *
 *     shard 7:  | lane 0 | lane 1 | lane 2 | ...        ORDER_LANE_BYTES each
 *                            |
 *                 writing  0000011100000000...          one bit per block
 *                 reading  0011000000000000...
 *                 waiting  entry -> entry               first come, first served
 *
 * A copy to a replica that is no member passes (9.4): nobody reads that one, so shared entries are
 * nothing to it; nor are exclusive ones that are set aside, because their owner waits for a member
 * and does nothing meanwhile: what they wait for may be that replica.  It waits until nobody else
 * changes its blocks, and those who want to wait behind it from then on.  There is one for a
 * shard at a time.
 *
 * The common case, nobody near, is one look-up in a hash table and two bit tests.  A lane exists
 * while somebody is in it.  An entry over several lanes takes them in ascending order, so that
 * two of them cannot wait for each other.  Behind an entry that waits, later ones of its lane
 * wait too, so that it does not starve.
 *
 * Threading: an order belongs to its slice's reactor.
 * Memory:    lanes come from a pool sized at creation.  An entry reserves all of its lanes before
 *            it takes the first one; without enough free, it waits.  Who is inside already must
 *            not wait so, as those who have the lanes may be waiting for him: some are kept back.
 */
#ifndef VOLUME_ORDER_H
#define VOLUME_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/status.h"

#define ORDER_LANE_BYTES ((uint64_t)256 << 10) /* 64 blocks: one word of bits. */

struct order;
struct order_lane;

struct order_entry {
    /* The caller's. */
    uint32_t shard;
    bool exclusive;
    bool second;     /* Its owner is inside elsewhere: it does not wait for free lanes. */
    bool passes;     /* Exclusive, but see above. */
    uint64_t offset; /* Bytes in the shard; whole blocks. */
    uint64_t bytes;  /* At least one block. */
    void (*granted)(struct order_entry *entry);

    /* After order_resume(), or granted(): somebody has passed it meanwhile. */
    bool passed;

    /* Private to order.c. */
    struct list_node link;
    uint32_t blockers; /* Of one that passes: who is changing its blocks. */
    bool ready;        /* The last of them has left. */
    struct order_lane *first_lane;
    uint64_t next_lane; /* The first lane that it has not taken yet. */
};

struct order_stats {
    uint64_t entered;
    uint64_t waited;  /* Of them, those that were not granted at once. */
    uint64_t starved; /* Of them, those that waited for free lanes. */
};

/*
 * Creates an order with lanes_max lanes, of which lanes_kept are for second entries: all of these
 * together never need more.  Another entry may need at most lanes_max - lanes_kept.
 */
struct status order_create(uint32_t lanes_max, uint32_t lanes_kept,
                           struct order **out_order) MUST_CHECK;

/* Nobody may be inside.  NULL is allowed. */
void order_destroy(struct order *o);

/*
 * True: the entry is in.  False: granted() will be called, from inside order_leave() or
 * order_set_aside() of another.
 */
bool order_enter(struct order *o, struct order_entry *entry) MUST_CHECK;

/* The entry leaves; those that waited for it are granted before this returns. */
void order_leave(struct order *o, struct order_entry *entry);

/*
 * An exclusive entry that is inside keeps its blocks, but its owner does nothing to them until it
 * has resumed it: it may be passed.
 */
void order_set_aside(struct order *o, struct order_entry *entry);

/* True: it may go on.  False: granted() will be called, as somebody is passing it. */
bool order_resume(struct order *o, struct order_entry *entry) MUST_CHECK;

/* Another entry stands for this one, which is inside and not set aside, from now on. */
void order_hand_over(struct order_entry *entry, struct order_entry *heir);

/* Whether nobody is inside or waits. */
bool order_idle(const struct order *o);

void order_get_stats(const struct order *o, struct order_stats *out_stats);

#endif

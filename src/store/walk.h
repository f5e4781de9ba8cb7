/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over all that a store's maps say has data, piece by piece as it lies on the disk: for what
 * reads a whole disk while nothing else goes on.
 *
 * Threading: belongs to the device's reactor.   Memory: values.
 */
#ifndef STORE_WALK_H
#define STORE_WALK_H

#include "store/store_internal.h"

/* A walk over all that has data, of all grains and layers. */
struct walk {
    uint32_t shard_id;
    unsigned layer;
    uint32_t grain;
    uint32_t cell;
};

/* What lies in a row, of one grain. */
struct walk_item {
    struct shard *shard;
    struct layer *layer;
    uint32_t grain;
    struct map_extent extent;
};

/* The next item; false at the end. */
bool store_walk_next(struct store *store, struct walk *w, struct walk_item *out_item);

/*
 * The same, for who serves meanwhile: looks at *budget grains at most, and counts them down.  False
 * with nothing left of it: not the end.
 */
bool store_walk_some(struct store *store, struct walk *w, uint32_t *budget,
                     struct walk_item *out_item);

static inline struct grain *walk_grain(const struct walk_item *item)
{
    return &item->layer->grains[item->grain];
}

/* Of a grain's blocks with data, those whose bits are set in an array of struct apply. */
uint32_t walk_bits(const uint32_t *words, const struct map *map, const struct grain *g);

/* A transfer of an item: of which it was, and what it was, for when it has ended. */
void walk_to_slot(const struct store *store, const struct walk_item *item, struct sweep_slot *slot);
struct walk_item walk_from_slot(const struct store *store, const struct sweep_slot *slot);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of one shard: layers by generation, newest first, each an array of grains.
 *
 *     layer of generation 7   [ . . D . Z . . . ]      D data    has a place on the disk
 *     layer of generation 3   [ D D D . D . . . ]      Z zero    never read through
 *                               |   |   |              . absent  read through to older layers,
 *     read at generation 7:     D3  D7  zeros                    zeros below the oldest
 *
 * A read at generation g sees the layers up to g, the newest first; a write of generation g goes
 * to the layer g, and is hidden where a newer one has the block (S8).  In generation 0 zero means
 * the same as absent, and is not stored (F6).
 *
 * Threading: the owner's.   Memory: 16 bytes per grain and layer, allocated with the layer.
 */
#ifndef STORE_MAP_H
#define STORE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "disk/space.h"
#include "store/store.h"

#define GRAIN_BLOCKS  32
#define REGION_GRAINS 8
#define REGION_BYTES  (REGION_GRAINS * STORE_GRAIN_BYTES)
#define REGION_BLOCKS (REGION_GRAINS * GRAIN_BLOCKS)

struct grain {
    uint32_t place_and_flag; /* Private: place + 1 in the low 31 bits; all zeros: nothing. */
    uint32_t data;           /* Blocks that lie at the place. */
    uint32_t zero;           /* Blocks that are zeros whatever lies beneath. */
    uint32_t sequence;       /* Low half of the last journal sequence that changed the grain; */
                             /* 0 once that is durably settled (F14, F19). */
};

struct layer {
    uint64_t generation;
    struct grain *grains;
};

struct map {
    struct layer *layers; /* Newest first. */
    unsigned layer_count;
    uint32_t grain_count;
    uint64_t *items;  /* Counts grains that are not empty, of all maps of the store. */
    uint64_t *blocks; /* Counts blocks that have data, of all maps of the volume. */
};

/* A piece of a read: count blocks in a row of one kind. */
struct map_run {
    bool data;      /* Otherwise zeros. */
    uint64_t place; /* In blocks of the data area. */
    uint32_t count;
};

static inline uint32_t grain_place(const struct grain *g)
{
    return (g->place_and_flag & INT32_MAX) - 1u; /* SPACE_NONE for none. */
}

static inline void grain_set_place(struct grain *g, uint32_t place)
{
    g->place_and_flag = (place + 1) & INT32_MAX;
}

/* Blocks of the place were freed, and may not be written again before sequence is durable. */
static inline bool grain_has_freed(const struct grain *g)
{
    return (g->place_and_flag >> 31) != 0;
}

static inline void grain_set_freed(struct grain *g, bool freed)
{
    g->place_and_flag = (g->place_and_flag & INT32_MAX) | (freed ? UINT32_C(1) << 31 : 0);
}

/* The bits of blocks first to first + count - 1 of a grain. */
static inline uint32_t grain_mask(uint32_t first, uint32_t count)
{
    return count == GRAIN_BLOCKS ? UINT32_MAX : ((UINT32_C(1) << count) - 1) << first;
}

void map_init(struct map *map, uint64_t bytes, uint64_t *items, uint64_t *blocks);

/* Frees the layers; places are the caller's to give back. */
void map_fini(struct map *map);

/* The layer of exactly this generation, or NULL. */
struct layer *map_layer(const struct map *map, uint64_t generation);

/* The same, made if need be.  NO_SPACE above STORE_LAYERS_MAX. */
struct status map_layer_make(struct map *map, uint64_t generation,
                             struct layer **out_layer) MUST_CHECK;

/*
 * Whether zeros of this generation must be stored: something lies beneath, or a late write of an
 * older generation may yet come to lie there, and must stay hidden (S8).
 */
static inline bool map_generation_keeps_zeros(uint64_t generation)
{
    return generation > 0;
}

/* What a read at generation sees from block on: at most max blocks of one kind, in a row. */
struct map_run map_lookup(const struct map *map, uint64_t generation, uint64_t block, uint32_t max);

/* The blocks of mask now have data at place, which they may have had before. */
void map_set_data(struct map *map, struct grain *g, uint32_t place, uint32_t mask);

/*
 * The blocks of mask become zero or absent.  *out_freed is the place if nothing is left there,
 * else SPACE_NONE.  Returns whether blocks lost their place but the grain kept it.
 */
bool map_set_zero(struct map *map, struct grain *g, uint32_t mask, bool zero, uint32_t *out_freed);

/* Puts a whole grain in, as a checkpoint has it. */
void map_put(struct map *map, struct grain *g, uint32_t place, uint32_t data, uint32_t zero);

#endif

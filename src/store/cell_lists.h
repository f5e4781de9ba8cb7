/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the cells of scattered grains lie: an address for each of a grain's eight cells.  Grains in
 * line need none (map.h).
 *
 *     chunk 0   [ list | list | list | ... ]     a chunk is allocated when all before are full
 *     chunk 1   [ list | ...
 *
 * Threading: the owner's.
 * Memory:    32 bytes per scattered grain, in chunks of 4 KiB; never given back before fini.
 */
#ifndef STORE_CELL_LISTS_H
#define STORE_CELL_LISTS_H

#include <stdint.h>

#include "base/status.h"

#define GRAIN_CELLS      8
#define CELL_LISTS_CHUNK 128

/* Addresses; undefined where the grain has no cell. */
struct cell_list {
    uint32_t cell[GRAIN_CELLS];
};

struct cell_lists {
    /* Private to cell_lists.c. */
    struct cell_list **chunks;
    uint32_t chunk_count;
    uint32_t chunk_room;
    uint32_t used;       /* Lists that were ever given out. */
    uint32_t free_count; /* Of these, such as were given back ... */
    uint32_t free_first; /* ... linked by their first address. */
};

void cell_lists_init(struct cell_lists *l);
void cell_lists_fini(struct cell_lists *l);

/* Sees to it that the next count calls of cell_lists_get() find a list.  Or NO_MEMORY. */
struct status cell_lists_reserve(struct cell_lists *l, uint32_t count) MUST_CHECK;

/* A list, by number; there is one. */
uint32_t cell_lists_get(struct cell_lists *l);
void cell_lists_put(struct cell_lists *l, uint32_t number);

static inline struct cell_list *cell_lists_at(const struct cell_lists *l, uint32_t number)
{
    return &l->chunks[number / CELL_LISTS_CHUNK][number % CELL_LISTS_CHUNK];
}

#endif

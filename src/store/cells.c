/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cells first touches get: docs/disk-format.md, section 4.4.
 *
 *     plenty      a grain's first cell opens a home, and the others follow in line
 *     scarcity    the first is any cell; where the next in line is taken, any, too (scattered)
 */
#include <assert.h>

#include "store/store_internal.h"

#define RESERVE_CELLS_MIN 16 /* Two grains' worth. */
#define RESERVE_DIVISOR   100

static uint64_t free_cells(const struct store *store)
{
    const uint64_t reserve = max_u64(RESERVE_CELLS_MIN, store->space.cells / RESERVE_DIVISOR);

    return store->space.free > reserve ? store->space.free - reserve : 0;
}

bool cells_are_free(const struct store *store, uint32_t count)
{
    return count <= free_cells(store);
}

uint64_t store_free_bytes(const struct store *store)
{
    const struct catalog *const c = &store->catalog;
    const uint64_t said = c->usage.bytes + c->usage.promised + catalog_usage_reserve(c);
    const uint64_t room = c->limits.map_bytes > said ? c->limits.map_bytes - said : 0;

    /* F31: of scattered cells, a checkpoint may have room for fewer. */
    return min_u64(free_cells(store), room / MAP_CELL_BYTES) * CELL_BYTES;
}

bool cells_should_wait(const struct store *store, const struct grain *g, uint32_t fresh)
{
    const uint32_t missing = grain_cells(fresh) & ~grain_owned(g);

    if (store->space.gathering + store->space.waiting == 0 || MUTATION(J2_REUSE_EARLY))
        return false;
    for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
        const uint64_t natural = map_natural_cell(g, i);
        if ((missing >> i & 1) != 0 && natural != BITMAP_NONE &&
            space_is_returning(&store->space, natural))
            return true;
    }
    return false;
}

/* The first cell of a grain: a home behind the grain before, another home, or any cell. */
static uint32_t first_cell(struct store *store, const struct grain *before, uint32_t cell,
                           bool many)
{
    const uint64_t wish =
        before != NULL ? map_natural_cell(before, GRAIN_CELLS) : (uint64_t)BITMAP_NONE;
    const uint32_t home = space_find_home(&store->space, wish, many);

    if (home == SPACE_NONE)
        return space_take_any(&store->space);
    const bool taken = space_take(&store->space, (uint64_t)home + cell);
    assert(taken);
    return home + cell;
}

static uint32_t further_cell(struct store *store, const struct grain *g, uint32_t cell)
{
    const uint64_t natural = map_natural_cell(g, cell);

    if (natural != BITMAP_NONE && space_take(&store->space, natural))
        return (uint32_t)natural;
    return space_take_any(&store->space);
}

void cells_take(struct store *store, struct map *map, struct layer *layer, uint32_t grain,
                uint32_t fresh)
{
    struct grain *const g = &layer->grains[grain];
    const uint32_t missing = grain_cells(fresh) & ~grain_owned(g);
    const bool many = grain_cells_count(fresh) >= GRAIN_CELLS / 2;

    for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
        if ((missing >> i & 1) == 0)
            continue;
        const uint32_t address = grain_owned(g) != 0
                                     ? further_cell(store, g, i)
                                     : first_cell(store, grain > 0 ? g - 1 : NULL, i, many);
        assert(address != SPACE_NONE);
        map_own(map, g, i, address);
    }
}

void cells_free_later(struct store *store, const struct map_freed *freed, uint64_t sequence)
{
    for (uint32_t i = 0; i < freed->count; i++)
        space_free_later(&store->space, freed->cell[i]);
    if (freed->count > 0)
        store->gathered_sequence = max_u64(store->gathered_sequence, sequence);
}

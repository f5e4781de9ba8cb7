/* SPDX-License-Identifier: Apache-2.0 */
#include "store/map.h"

#include <assert.h>
#include <stdlib.h>

static_assert(LAYOUT_GRAINS_MAX < INT32_MAX, "a place and its flag share 32 bits");

static bool grain_is_empty(const struct grain *g)
{
    return (g->data | g->zero) == 0;
}

static uint64_t grain_blocks(const struct grain *g)
{
    return (uint64_t)__builtin_popcount(g->data);
}

/* Keeps the counts of grains that a checkpoint must hold, and of blocks in use. */
static void map_count(struct map *map, const struct grain *before, const struct grain *g)
{
    const bool was_empty = grain_is_empty(before);
    const bool empty = grain_is_empty(g);

    assert((g->data & g->zero) == 0); /* F6. */
    assert(*map->blocks >= grain_blocks(before));
    *map->blocks += grain_blocks(g) - grain_blocks(before);
    if (was_empty == empty)
        return;
    assert(was_empty || *map->items > 0);
    *map->items += was_empty ? 1 : UINT64_MAX;
}

void map_init(struct map *map, uint64_t bytes, uint64_t *items, uint64_t *blocks)
{
    assert(bytes > 0);
    assert(bytes / STORE_GRAIN_BYTES < UINT32_MAX);
    *map = (struct map) {
        .grain_count = (uint32_t)((bytes + STORE_GRAIN_BYTES - 1) / STORE_GRAIN_BYTES),
        .items = items,
        .blocks = blocks,
    };
}

void map_fini(struct map *map)
{
    for (unsigned i = 0; i < map->layer_count; i++) {
        for (uint32_t g = 0; g < map->grain_count; g++) {
            *map->items -= grain_is_empty(&map->layers[i].grains[g]) ? 0 : 1;
            *map->blocks -= grain_blocks(&map->layers[i].grains[g]);
        }
        free(map->layers[i].grains);
    }
    free(map->layers);
    *map = (struct map) { 0 };
}

struct layer *map_layer(const struct map *map, uint64_t generation)
{
    for (unsigned i = 0; i < map->layer_count; i++) {
        if (map->layers[i].generation == generation)
            return &map->layers[i];
    }
    return NULL;
}

struct status map_layer_make(struct map *map, uint64_t generation, struct layer **out_layer)
{
    struct layer *const found = map_layer(map, generation);

    if (found != NULL) {
        *out_layer = found;
        return STATUS(OK);
    }
    if (map->layer_count == STORE_LAYERS_MAX)
        return STATUS(NO_SPACE);
    struct grain *const grains = calloc(map->grain_count, sizeof *grains);
    struct layer *const layers = realloc(map->layers, (map->layer_count + 1) * sizeof *map->layers);
    if (layers != NULL)
        map->layers = layers;
    if (grains == NULL || layers == NULL) {
        free(grains);
        return STATUS(NO_MEMORY);
    }
    unsigned at = map->layer_count;
    while (at > 0 && layers[at - 1].generation < generation) {
        layers[at] = layers[at - 1];
        at--;
    }
    layers[at] = (struct layer) { generation, grains };
    map->layer_count++;
    *out_layer = &layers[at];
    return STATUS(OK);
}

/* One block: what the newest layer up to generation that has it says. */
static struct map_run lookup_block(const struct map *map, uint64_t generation, uint64_t block)
{
    const uint64_t grain = block / GRAIN_BLOCKS;
    const uint32_t bit = UINT32_C(1) << (block % GRAIN_BLOCKS);

    assert(grain < map->grain_count);
    for (unsigned i = 0; i < map->layer_count; i++) {
        const struct layer *const layer = &map->layers[i];
        if (layer->generation > generation)
            continue;
        const struct grain *const g = &layer->grains[grain];
        if ((g->data & bit) != 0) {
            assert(grain_place(g) != SPACE_NONE);
            return (struct map_run) {
                .data = true,
                .place = (uint64_t)grain_place(g) * GRAIN_BLOCKS + block % GRAIN_BLOCKS,
                .count = 1,
            };
        }
        if ((g->zero & bit) != 0)
            break;
    }
    return (struct map_run) { .count = 1 };
}

struct map_run map_lookup(const struct map *map, uint64_t generation, uint64_t block, uint32_t max)
{
    assert(max > 0);
    struct map_run run = lookup_block(map, generation, block);

    while (run.count < max) {
        const struct map_run next = lookup_block(map, generation, block + run.count);
        if (next.data != run.data || (run.data && next.place != run.place + run.count))
            break;
        run.count++;
    }
    return run;
}

void map_set_data(struct map *map, struct grain *g, uint32_t place, uint32_t mask)
{
    const struct grain before = *g;

    assert(place != SPACE_NONE);
    if (grain_place(g) != place) {
        /* Another place: the grain was empty in between. */
        grain_set_place(g, place);
        g->data = 0;
    }
    g->data |= mask;
    g->zero &= ~mask;
    map_count(map, &before, g);
}

bool map_set_zero(struct map *map, struct grain *g, uint32_t mask, bool zero, uint32_t *out_freed)
{
    const struct grain before = *g;
    const uint32_t lost = g->data & mask;
    uint32_t freed = SPACE_NONE;

    g->data &= ~mask;
    g->zero = zero ? g->zero | mask : g->zero & ~mask;
    if (lost != 0 && g->data == 0) {
        freed = grain_place(g);
        g->place_and_flag = 0;
    }
    map_count(map, &before, g);
    *out_freed = freed;
    return lost != 0 && freed == SPACE_NONE;
}

void map_put(struct map *map, struct grain *g, uint32_t place, uint32_t data, uint32_t zero)
{
    const struct grain before = *g;

    assert((data != 0) == (place != SPACE_NONE));
    g->place_and_flag = 0;
    if (data != 0)
        grain_set_place(g, place);
    g->data = data;
    g->zero = zero;
    map_count(map, &before, g);
}

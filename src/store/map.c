/* SPDX-License-Identifier: Apache-2.0 */
#include "store/map.h"

#include <assert.h>
#include <stdlib.h>

#include "base/span.h"
#include "disk/layout.h"

static_assert(LAYOUT_GRAINS_MAX * GRAIN_CELLS < SPACE_NONE, "a cell's address has 32 bits");
static_assert(STORE_GRAIN_BYTES / CELL_BYTES == GRAIN_CELLS, "cells of a grain");
static_assert(SPACE_PLACE_CELLS == GRAIN_CELLS, "cells of a place");
/* Checkpoints, of which there is one in each turn of the ring, forget older ones. */
static_assert(LAYOUT_JOURNAL_BYTES_MAX / STORE_BLOCK_BYTES * 4 <= 1u << (GRAIN_SEQUENCE_BITS - 1),
              "a sequence and the present are less than half of its bits' range apart");

static bool grain_is_empty(const struct grain *g)
{
    return (g->data | g->zero) == 0;
}

static uint64_t grain_blocks(const struct grain *g)
{
    return (uint64_t)__builtin_popcount(g->data);
}

/* ---- What a checkpoint has to say (F31) ---- */

static uint32_t cells_bytes(uint32_t data, uint32_t zero)
{
    return grain_cells_count(data) * MAP_CELL_BYTES + (zero != 0 ? MAP_GRAINS_BYTES : 0);
}

bool grain_is_one_item(const struct grain *g)
{
    return g->data == 0 ||
           (grain_is_at_place(g) && cells_bytes(g->data, g->zero) > MAP_GRAINS_BYTES);
}

uint32_t grain_checkpoint_bytes(const struct grain *g)
{
    if (grain_is_empty(g))
        return 0;
    return grain_is_one_item(g) ? MAP_GRAINS_BYTES : cells_bytes(g->data, g->zero);
}

uint32_t grain_checkpoint_bytes_with(const struct grain *g, uint32_t mask)
{
    return (uint32_t)max_u64(cells_bytes(g->data | mask, g->zero), grain_checkpoint_bytes(g));
}

/* Keeps the counts after a change. */
static void map_count(struct map *map, const struct grain *before, const struct grain *g)
{
    assert((g->data & g->zero) == 0); /* F6. */
    assert((grain_cells(g->data) & ~grain_owned(g)) == 0);
    assert(*map->blocks >= grain_blocks(before));
    *map->blocks += grain_blocks(g) - grain_blocks(before);
    map_usage_change(map->usage, grain_checkpoint_bytes(before), grain_checkpoint_bytes(g));
}

/* ---- Layers ---- */

void map_init(struct map *map, uint64_t bytes, struct cell_lists *lists, struct map_usage *usage,
              uint64_t *blocks)
{
    assert(bytes > 0);
    assert(bytes / STORE_GRAIN_BYTES < UINT32_MAX);
    *map = (struct map) {
        .grain_count = (uint32_t)((bytes + STORE_GRAIN_BYTES - 1) / STORE_GRAIN_BYTES),
        .lists = lists,
        .usage = usage,
        .blocks = blocks,
    };
}

static void layer_fini(struct map *map, struct layer *layer)
{
    uint64_t bytes = MAP_LAYER_BYTES;

    for (uint32_t i = 0; i < map->grain_count; i++) {
        const struct grain *const g = &layer->grains[i];
        map_unspoil(map, layer, i, UINT32_MAX);
        bytes += grain_checkpoint_bytes(g);
        *map->blocks -= grain_blocks(g);
        if (grain_is_scattered(g))
            cell_lists_put(map->lists, g->line);
    }
    map_usage_change(map->usage, bytes, 0);
    free(layer->grains);
    free(layer->spoiled);
}

void map_fini(struct map *map)
{
    for (unsigned i = 0; i < map->layer_count; i++)
        layer_fini(map, &map->layers[i]);
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
    layers[at] = (struct layer) { .generation = generation, .grains = grains };
    map->layer_count++;
    map_usage_change(map->usage, 0, MAP_LAYER_BYTES);
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
            return (struct map_run) {
                .data = true,
                .place = map_place(map, g, (uint32_t)(block % GRAIN_BLOCKS)),
                .count = 1,
            };
        }
        if ((layer_spoiled(layer, (uint32_t)grain) & bit) != 0)
            return (struct map_run) { .spoiled = true, .count = 1 };
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
        if (next.spoiled != run.spoiled || next.data != run.data ||
            (run.data && next.place != run.place + run.count))
            break;
        run.count++;
    }
    return run;
}

/* ---- Cells ---- */

uint64_t map_natural_cell(const struct grain *g, uint32_t cell)
{
    const uint64_t at = (uint64_t)g->line + cell;

    if (grain_owned(g) == 0 || grain_is_scattered(g) || at < GRAIN_CELLS - 1)
        return BITMAP_NONE;
    return at - (GRAIN_CELLS - 1);
}

/* A list instead of a line: no cell moves. */
static void grain_scatter(struct map *map, struct grain *g)
{
    const uint32_t number = cell_lists_get(map->lists);
    struct cell_list *const list = cell_lists_at(map->lists, number);

    for (uint32_t i = 0; i < GRAIN_CELLS; i++)
        list->cell[i] = g->line + i - (GRAIN_CELLS - 1);
    g->line = number;
    g->state |= GRAIN_SCATTERED;
}

/* A line instead of a list, if the cells lie so. */
static void grain_straighten(struct map *map, struct grain *g)
{
    const struct cell_list *const list = cell_lists_at(map->lists, g->line);
    const uint32_t first = (uint32_t)__builtin_ctz(grain_owned(g));
    const uint32_t line = list->cell[first] - first + (GRAIN_CELLS - 1);

    for (uint32_t i = first; i < GRAIN_CELLS; i++) {
        if ((grain_owned(g) >> i & 1) != 0 && list->cell[i] != line + i - (GRAIN_CELLS - 1))
            return;
    }
    cell_lists_put(map->lists, g->line);
    g->line = line;
    g->state &= ~GRAIN_SCATTERED;
}

static void grain_disown(struct map *map, struct grain *g, uint32_t cells)
{
    g->state &= ~cells;
    if (grain_is_scattered(g) && grain_owned(g) != 0)
        grain_straighten(map, g);
    if (grain_owned(g) != 0)
        return;
    if (grain_is_scattered(g))
        cell_lists_put(map->lists, g->line);
    g->line = 0;
    g->state &= ~(GRAIN_SCATTERED | GRAIN_FREED);
}

void map_own(struct map *map, struct grain *g, uint32_t cell, uint32_t address)
{
    const struct grain before = *g;

    assert(cell < GRAIN_CELLS && (grain_owned(g) >> cell & 1) == 0);
    if (grain_owned(g) == 0)
        g->line = address - cell + (GRAIN_CELLS - 1);
    else if (!grain_is_scattered(g) && map_natural_cell(g, cell) != address)
        grain_scatter(map, g);
    if (grain_is_scattered(g))
        cell_lists_at(map->lists, g->line)->cell[cell] = address;
    g->state |= UINT32_C(1) << cell;
    if (grain_is_scattered(g) != grain_is_scattered(&before))
        map_count(map, &before, g); /* What it has costs more now. */
}

void map_own_again(struct map *map, struct grain *g, uint32_t cell, uint32_t address)
{
    const struct grain before = *g;
    const bool owned = (grain_owned(g) >> cell & 1) != 0;

    if (owned && map_cell(map, g, cell) == address)
        return;
    if (owned) {
        g->data &= ~cell_mask(cell);
        grain_disown(map, g, UINT32_C(1) << cell);
        map_count(map, &before, g);
    }
    map_own(map, g, cell, address);
}

void map_set_data(struct map *map, struct grain *g, uint32_t mask)
{
    const struct grain before = *g;

    g->data |= mask;
    g->zero &= ~mask;
    map_count(map, &before, g);
}

void map_put(struct map *map, struct grain *g, uint32_t place, uint32_t data, uint32_t zero)
{
    const struct grain before = *g;

    assert(grain_is_empty(g) && grain_owned(g) == 0);
    g->line = data != 0 ? place * GRAIN_CELLS + (GRAIN_CELLS - 1) : 0;
    g->state |= grain_cells(data);
    g->data = data;
    g->zero = zero;
    map_count(map, &before, g);
}

bool map_set_zero(struct map *map, struct grain *g, uint32_t mask, bool zero,
                  struct map_freed *out_freed)
{
    const struct grain before = *g;
    const uint32_t lost = g->data & mask;
    uint32_t cells = 0;

    *out_freed = (struct map_freed) { 0 };
    g->data &= ~mask;
    g->zero = zero ? g->zero | mask : g->zero & ~mask;
    for (uint32_t i = 0; lost != 0 && i < GRAIN_CELLS; i++) {
        if ((lost & cell_mask(i)) == 0 || (g->data & cell_mask(i)) != 0)
            continue;
        out_freed->cell[out_freed->count++] = map_cell(map, g, i);
        cells |= UINT32_C(1) << i;
    }
    if (cells != 0)
        grain_disown(map, g, cells);
    map_count(map, &before, g);
    return (grain_cells(lost) & ~cells) != 0;
}

/* ---- Spoiled blocks ---- */

struct status map_spoil_reserve(struct map *map, struct layer *layer)
{
    if (layer->spoiled == NULL)
        layer->spoiled = calloc(map->grain_count, sizeof *layer->spoiled);
    return layer->spoiled == NULL ? STATUS(NO_MEMORY) : STATUS(OK);
}

static void set_spoiled(struct map *map, struct layer *layer, uint32_t grain, uint32_t mask)
{
    const uint32_t before = layer->spoiled[grain];

    layer->spoiled[grain] = mask;
    map->usage->spoiled += (uint64_t)__builtin_popcount(mask);
    assert(map->usage->spoiled >= (uint64_t)__builtin_popcount(before));
    map->usage->spoiled -= (uint64_t)__builtin_popcount(before);
    map_usage_change(map->usage, before != 0 ? MAP_SPOIL_BYTES : 0,
                     mask != 0 ? MAP_SPOIL_BYTES : 0);
}

bool map_spoil(struct map *map, struct layer *layer, uint32_t grain, uint32_t mask,
               struct map_freed *out_freed)
{
    assert(layer->spoiled != NULL);
    const bool kept = map_set_zero(map, &layer->grains[grain], mask, false, out_freed);
    set_spoiled(map, layer, grain, layer->spoiled[grain] | mask);
    return kept;
}

void map_unspoil(struct map *map, struct layer *layer, uint32_t grain, uint32_t mask)
{
    if ((layer_spoiled(layer, grain) & mask) != 0)
        set_spoiled(map, layer, grain, layer->spoiled[grain] & ~mask);
}

/* ---- Walking ---- */

bool map_next_extent(const struct map *map, const struct grain *g, uint32_t *cell,
                     struct map_extent *out_extent)
{
    const uint32_t cells = grain_cells(g->data) >> *cell << *cell;

    if (*cell >= GRAIN_CELLS || cells == 0)
        return false;
    const uint32_t first = (uint32_t)__builtin_ctz(cells);
    uint32_t end = first + 1;
    if (!grain_is_scattered(g))
        end = 32 - (uint32_t)__builtin_clz(cells);
    while (end < GRAIN_CELLS && (cells >> end & 1) != 0 &&
           map_cell(map, g, end) == map_cell(map, g, end - 1) + 1)
        end++;
    *cell = end;
    *out_extent = (struct map_extent) { .place = map_place(map, g, first * CELL_BLOCKS),
                                        .first = first * CELL_BLOCKS,
                                        .count = (end - first) * CELL_BLOCKS };
    return true;
}

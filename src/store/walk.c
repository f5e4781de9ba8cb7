/* SPDX-License-Identifier: Apache-2.0 */
#include "store/walk.h"

bool store_walk_some(struct store *store, struct walk *w, uint32_t *budget,
                     struct walk_item *out_item)
{
    struct shard *s;

    while ((s = catalog_next_shard(&store->catalog, w->shard_id)) != NULL) {
        if (s->id != w->shard_id)
            *w = (struct walk) { .shard_id = s->id };
        for (; w->layer < s->map.layer_count; w->layer++, w->grain = 0) {
            struct layer *const layer = &s->map.layers[w->layer];
            for (; w->grain < s->map.grain_count; w->grain++, w->cell = 0) {
                if (*budget == 0)
                    return false;
                --*budget;
                *out_item = (struct walk_item) { .shard = s, .layer = layer, .grain = w->grain };
                if (map_next_extent(&s->map, walk_grain(out_item), &w->cell, &out_item->extent))
                    return true;
            }
        }
        *w = (struct walk) { .shard_id = s->id + 1 };
    }
    return false;
}

bool store_walk_next(struct store *store, struct walk *w, struct walk_item *out_item)
{
    uint32_t budget = UINT32_MAX;

    while (!store_walk_some(store, w, &budget, out_item)) {
        if (budget > 0)
            return false;
        budget = UINT32_MAX;
    }
    return true;
}

void walk_to_slot(const struct store *store, const struct walk_item *item, struct sweep_slot *slot)
{
    slot->arg[0] = item->shard->id;
    slot->arg[1] = item->layer->generation;
    slot->arg[2] = (uint64_t)item->grain * GRAIN_BLOCKS + item->extent.first;
    slot->offset = store_data_offset(store, item->extent.place);
    slot->bytes = (size_t)item->extent.count * STORE_BLOCK_BYTES;
}

struct walk_item walk_from_slot(const struct store *store, const struct sweep_slot *slot)
{
    struct shard *const s = catalog_shard_by_id(&store->catalog, (uint32_t)slot->arg[0]);

    return (struct walk_item) {
        .shard = s,
        .layer = map_layer(&s->map, slot->arg[1]),
        .grain = (uint32_t)(slot->arg[2] / GRAIN_BLOCKS),
        .extent = { .place = (slot->offset - store_data_offset(store, 0)) / STORE_BLOCK_BYTES,
                    .first = (uint32_t)(slot->arg[2] % GRAIN_BLOCKS),
                    .count = (uint32_t)(slot->bytes / STORE_BLOCK_BYTES) },
    };
}

uint32_t walk_bits(const uint32_t *words, const struct map *map, const struct grain *g)
{
    uint32_t bits = 0;

    if (grain_is_at_place(g) && g->data != 0)
        return words[grain_place(g)] & g->data;
    for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
        if ((g->data & cell_mask(i)) == 0)
            continue;
        const uint32_t cell = map_cell(map, g, i);
        const uint32_t four = words[cell / GRAIN_CELLS] >> (cell % GRAIN_CELLS * CELL_BLOCKS) & 0xf;
        bits |= four << (i * CELL_BLOCKS);
    }
    return bits & g->data;
}

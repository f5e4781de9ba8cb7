/* SPDX-License-Identifier: Apache-2.0 */
#include "store/checkpoint_dump.h"

#include <assert.h>

/* HEAD, then volumes with their epochs, their copysets, shards with their grains, the region lists
 * of these, and the intent map. */
enum {
    PHASE_HEAD,
    PHASE_VOLUMES,
    PHASE_COPYSETS,
    PHASE_SHARDS,
    PHASE_REGIONS,
    PHASE_INTENTS,
    PHASE_END
};

/* What all cells of a grain, each by itself, and its zeros take. */
#define DUMP_GRAIN_BYTES \
    ((size_t)GRAIN_CELLS * MAP_CELL_BYTES + MAP_GRAINS_BYTES + DUMP_SPOIL_BYTES)
/* And what of it is spoiled. */
#define DUMP_SPOIL_BYTES ((size_t)8)

/* Where records go, and how much room is left. */
struct dump {
    struct store *store;
    struct checkpoint *cp;
    struct span room;
    bool full; /* The next record did not fit. */
};

void checkpoint_dump_begin(struct store *store)
{
    struct checkpoint *const cp = &store->checkpoint;

    cp->phase = PHASE_HEAD;
    cp->next_id = 0;
    cp->in_layer = false;
    cp->next_intent = 0;
}

static void dump_phase(struct dump *d, unsigned phase)
{
    assert(phase == d->cp->phase + 1);
    d->cp->phase = phase;
    d->cp->next_id = 0;
}

/* Takes room for a record; at is NULL, and the dump full, if there is too little. */
static struct span dump_take(struct dump *d, size_t bytes)
{
    if (bytes > d->room.bytes) {
        d->full = true;
        return (struct span) { 0 };
    }
    const struct span out = span_sub(d->room, 0, bytes);
    d->room = span_sub(d->room, bytes, d->room.bytes - bytes);
    return out;
}

static void dump_put(struct dump *d, const struct record *rec)
{
    const struct span out = dump_take(d, record_bytes(rec->type, 0));

    assert(out.at != NULL);
    record_encode(rec, out);
}

static void dump_head(struct dump *d)
{
    d->cp->volumes_end = d->store->catalog.next_volume_id;
    d->cp->shards_end = d->store->catalog.next_shard_id;
    dump_put(d, &(struct record) {
                    .type = RECORD_HEAD,
                    .u.head = { .next_volume = d->store->catalog.next_volume_id,
                                .next_shard = d->store->catalog.next_shard_id },
                });
    dump_phase(d, PHASE_VOLUMES);
}

/* The volume with the lowest id from next_id on. */
static struct catalog_volume *dump_next_volume(const struct dump *d)
{
    struct catalog_volume *best = NULL;

    LIST_FOR_EACH (n, &d->store->catalog.volumes) {
        struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        if (v->id >= d->cp->next_id && !v->deleted && (best == NULL || v->id < best->id))
            best = v;
    }
    return best;
}

/* One volume with all its epochs, or nothing if they do not fit. */
static void dump_volume(struct dump *d)
{
    const struct catalog_volume *const v = dump_next_volume(d);
    const size_t most =
        record_bytes(RECORD_VOLUME, 0) + STORE_GROUPS_MAX * record_bytes(RECORD_EPOCH, 0);

    if (v == NULL || v->id >= d->cp->volumes_end) {
        dump_phase(d, PHASE_COPYSETS);
        return;
    }
    if (d->room.bytes < most) {
        d->full = true;
        return;
    }
    dump_put(d, &(struct record) {
                    .type = RECORD_VOLUME,
                    .u.volume = { .id = v->id,
                                  .volume = v->desc,
                                  .loss = v->loss,
                                  .busy = busy_is_marked(d->store, v) },
                });
    for (uint32_t group = 0; group < STORE_GROUPS_MAX; group++) {
        if (v->epochs[group] == 0)
            continue;
        dump_put(d, &(struct record) {
                        .type = RECORD_EPOCH,
                        .u.epoch = { .volume = v->id, .group = group, .epoch = v->epochs[group] },
                    });
    }
    d->cp->next_id = v->id + 1;
}

/* One copyset of the volume with the lowest id from next_id on. */
static void dump_copyset(struct dump *d)
{
    const struct catalog_volume *const v = dump_next_volume(d);

    if (v == NULL || v->id >= d->cp->volumes_end) {
        dump_phase(d, PHASE_SHARDS);
        return;
    }
    if (v->id != d->cp->next_id)
        d->cp->next_copyset = 0;
    d->cp->next_id = v->id;
    const struct catalog_copyset *const set = copyset_next(v, d->cp->next_copyset);
    if (set == NULL) {
        d->cp->next_copyset = 0;
        d->cp->next_id = v->id + 1;
        return;
    }
    if (d->room.bytes < record_bytes(RECORD_COPYSET, 0) + record_bytes(RECORD_POINTS, 0)) {
        d->full = true;
        return;
    }
    if (set->has_set)
        dump_put(d, &(struct record) { .type = RECORD_COPYSET, .u.copyset = set->rec });
    if (!uuid_is_nil(set->points.points[0].disk))
        dump_put(d, &(struct record) { .type = RECORD_POINTS, .u.points = set->points });
    d->cp->next_copyset = set->number + 1;
}

static void dump_shard_head(struct dump *d, const struct shard *s)
{
    if (d->room.bytes < record_bytes(RECORD_SHARD, 0)) {
        d->full = true;
        return;
    }
    dump_put(d, &(struct record) {
                    .type = RECORD_SHARD,
                    .u.shard = { .id = s->id,
                                 .volume = s->volume->id,
                                 .index = s->index,
                                 .group = s->group,
                                 .epoch = s->epoch,
                                 .generation = s->generation,
                                 .bytes = s->bytes,
                                 .copyset = s->copyset },
                });
    d->cp->in_layer = true;
    d->cp->next_id = s->id;
    d->cp->next_generation = UINT64_MAX;
    d->cp->next_grain = 0;
}

/* Items of both kinds for grains that follow each other, as many as fit into a block. */
struct dump_items {
    struct record_grains_item grains[RECORD_GRAINS_ITEMS_MAX];
    uint32_t grains_count;
    struct record_cells_item cells[RECORD_CELLS_ITEMS_MAX];
    uint32_t cells_count;
    struct record_spoil_item spoils[RECORD_SPOIL_ITEMS_MAX];
    uint32_t spoils_count;
    size_t room; /* For more. */
};

/* A grain that one item of GRAINS says, alone or as one more of a row. */
static bool items_add_grain(struct dump_items *items, uint32_t at, uint32_t place, uint32_t data,
                            uint32_t zero)
{
    struct record_grains_item *const last =
        items->grains_count > 0 ? &items->grains[items->grains_count - 1] : NULL;

    if (last != NULL && at == last->grain + last->count && data == last->data &&
        zero == last->zero && (data == 0 || place == last->place + last->count)) {
        last->count++;
        return true;
    }
    if (items->room < MAP_GRAINS_BYTES || items->grains_count == RECORD_GRAINS_ITEMS_MAX)
        return false;
    items->room -= MAP_GRAINS_BYTES;
    items->grains[items->grains_count++] = (struct record_grains_item) {
        .grain = at, .count = 1, .place = place, .data = data, .zero = zero
    };
    return true;
}

/* A grain of which each cell is said by itself. */
static bool items_add_cells(struct dump_items *items, const struct map *map, uint32_t at,
                            const struct grain *g)
{
    const uint32_t cells = grain_cells(g->data);

    if (items->room < grain_checkpoint_bytes(g) ||
        items->cells_count + GRAIN_CELLS > RECORD_CELLS_ITEMS_MAX)
        return false;
    if (g->zero != 0 && !items_add_grain(items, at, RECORD_PLACE_NONE, 0, g->zero))
        return false;
    for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
        if ((cells >> i & 1) == 0)
            continue;
        items->room -= MAP_CELL_BYTES;
        items->cells[items->cells_count++] =
            (struct record_cells_item) { .grain = at,
                                         .address = map_cell(map, g, i),
                                         .cell = i,
                                         .data = g->data >> (i * CELL_BLOCKS) & 0xf };
    }
    return true;
}

/* Adds what the layer says of a grain; false if it does not fit. */
static bool items_add(struct dump_items *items, const struct map *map, uint32_t at,
                      const struct grain *g)
{
    if (grain_is_scattered(g) && MUTATION(S1_CELL_FORGOTTEN))
        return true;
    if (!grain_is_one_item(g))
        return items_add_cells(items, map, at, g);
    const uint32_t place = g->data != 0 ? grain_place(g) : RECORD_PLACE_NONE;
    return items_add_grain(items, at, place, g->data, g->zero);
}

/* What the layer says of a grain, spoiled blocks included; false if it does not fit. */
static bool items_add_all(struct dump_items *items, const struct map *map,
                          const struct layer *layer, uint32_t at)
{
    const struct grain *const g = &layer->grains[at];
    const uint32_t spoiled = layer_spoiled(layer, at);
    const size_t room = items->room;

    if (spoiled != 0 && (room < DUMP_SPOIL_BYTES || items->spoils_count == RECORD_SPOIL_ITEMS_MAX))
        return false;
    items->room -= spoiled != 0 ? DUMP_SPOIL_BYTES : 0;
    if ((g->data | g->zero) != 0 && !items_add(items, map, at, g)) {
        items->room = room;
        return false;
    }
    if (spoiled != 0)
        items->spoils[items->spoils_count++] = (struct record_spoil_item) { at, spoiled };
    return true;
}

/* The items of a layer from next_grain on. */
static void dump_gather(struct dump *d, const struct map *map, const struct layer *layer,
                        struct dump_items *items)
{
    const uint64_t settled = journal_get_marks(d->store->journal).durably_settled;
    uint32_t at = d->cp->next_grain;

    for (; at < map->grain_count; at++) {
        struct grain *const g = &layer->grains[at];
        if ((g->data | g->zero | g->state | layer_spoiled(layer, at)) == 0)
            continue; /* Perhaps memory that was never touched. */
        /* Forgotten long before the bits that it keeps of it repeat. */
        if (grain_is_settled(g, settled))
            grain_forget_sequence(g);
        if (!items_add_all(items, map, layer, at))
            break;
    }
    d->cp->next_grain = at;
}

static void dump_put_grains(struct dump *d, const struct record *head,
                            const struct dump_items *items)
{
    struct record rec = *head;

    if (items->grains_count == 0)
        return;
    rec.type = RECORD_GRAINS;
    rec.items = items->grains_count;
    const struct span out = dump_take(d, record_bytes(RECORD_GRAINS, rec.items));
    record_encode(&rec, out);
    for (uint32_t i = 0; i < rec.items; i++)
        record_put_grains(out, i, &items->grains[i]);
}

/* Behind GRAINS, which say the zeros of the same grains. */
static void dump_put_cells(struct dump *d, const struct record *head,
                           const struct dump_items *items)
{
    struct record rec = *head;

    if (items->cells_count == 0)
        return;
    rec.type = RECORD_CELLS;
    rec.items = items->cells_count;
    const struct span out = dump_take(d, record_bytes(RECORD_CELLS, rec.items));
    record_encode(&rec, out);
    for (uint32_t i = 0; i < rec.items; i++)
        record_put_cell(out, i, &items->cells[i]);
}

static void dump_put_spoils(struct dump *d, const struct record *head,
                            const struct dump_items *items)
{
    struct record rec = *head;

    if (items->spoils_count == 0)
        return;
    rec.type = RECORD_SPOIL;
    rec.items = items->spoils_count;
    const struct span out = dump_take(d, record_bytes(RECORD_SPOIL, rec.items));
    record_encode(&rec, out);
    for (uint32_t i = 0; i < rec.items; i++)
        record_put_spoil(out, i, &items->spoils[i]);
}

/* What a layer says of the next grains, as far as it fits: a record of each kind at most. */
static void dump_grains(struct dump *d, const struct shard *s, const struct layer *layer)
{
    const size_t fixed = record_bytes(RECORD_GRAINS, 0) + record_bytes(RECORD_CELLS, 0) +
                         (layer->spoiled != NULL ? record_bytes(RECORD_SPOIL, 0) : 0);
    const struct record head = { .u.grains = { .shard = s->id, .generation = layer->generation } };
    struct dump_items items = { 0 };

    /* So that each block can take the longest grain. */
    if (d->room.bytes < fixed + DUMP_GRAIN_BYTES) {
        d->full = true;
        return;
    }
    items.room = d->room.bytes - fixed;
    dump_gather(d, &s->map, layer, &items);
    dump_put_grains(d, &head, &items);
    dump_put_cells(d, &head, &items);
    dump_put_spoils(d, &head, &items);
}

/* The newest layer up to next_generation; they are written newest first. */
static const struct layer *dump_current_layer(const struct dump *d, const struct shard *s)
{
    for (unsigned i = 0; i < s->map.layer_count; i++) {
        if (s->map.layers[i].generation <= d->cp->next_generation)
            return &s->map.layers[i];
    }
    return NULL;
}

static void dump_end_layer(struct dump *d, const struct layer *layer)
{
    d->cp->next_grain = 0;
    if (layer != NULL && layer->generation > 0) {
        d->cp->next_generation = layer->generation - 1;
        return;
    }
    d->cp->in_layer = false;
    d->cp->next_id++;
}

static void dump_shard(struct dump *d)
{
    const struct shard *const s = catalog_next_shard(&d->store->catalog, d->cp->next_id);

    if (s == NULL || s->id >= d->cp->shards_end) {
        dump_phase(d, PHASE_REGIONS);
        d->cp->next_region = 0;
        return;
    }
    if (s->volume->deleted) {
        d->cp->in_layer = false;
        d->cp->next_id = s->id + 1;
        return;
    }
    if (!d->cp->in_layer || s->id != d->cp->next_id) {
        dump_shard_head(d, s); /* Also where the one before went away meanwhile. */
        return;
    }
    const struct layer *const layer = dump_current_layer(d, s);
    if (layer != NULL && d->cp->next_grain < s->map.grain_count) {
        d->cp->next_generation = layer->generation;
        dump_grains(d, s, layer);
        return;
    }
    dump_end_layer(d, layer);
}

/* Fills in runs of the shards from next_id on. */
static uint32_t dump_gather_runs(struct dump *d, struct record_regions_item *items, uint64_t most)
{
    const struct shard *s = catalog_next_shard(&d->store->catalog, d->cp->next_id);
    struct region_run run;
    uint32_t count = 0;

    while (s != NULL && s->id < d->cp->shards_end && count < most) {
        if (s->id != d->cp->next_id)
            d->cp->next_region = 0;
        d->cp->next_id = s->id;
        if (!s->volume->deleted && regions_next_run(s, &d->cp->next_region, &run)) {
            items[count++] = (struct record_regions_item) {
                .shard = s->id, .region = run.region, .count = run.count, .slots = run.slots
            };
            continue;
        }
        d->cp->next_region = 0;
        d->cp->next_id = s->id + 1;
        s = catalog_next_shard(&d->store->catalog, d->cp->next_id);
    }
    return count;
}

static void dump_regions(struct dump *d)
{
    struct record_regions_item items[RECORD_REGIONS_ITEMS_MAX];
    const size_t fixed = record_bytes(RECORD_REGIONS, 0);
    const size_t each = record_bytes(RECORD_REGIONS, 1) - fixed;

    if (d->room.bytes < fixed + each) {
        d->full = true;
        return;
    }
    const uint32_t count = dump_gather_runs(
        d, items, min_u64((d->room.bytes - fixed) / each, RECORD_REGIONS_ITEMS_MAX));
    if (count == 0) {
        dump_phase(d, PHASE_INTENTS);
        return;
    }
    const struct record rec = { .type = RECORD_REGIONS, .items = count };
    const struct span out = dump_take(d, record_bytes(RECORD_REGIONS, count));
    record_encode(&rec, out);
    for (uint32_t i = 0; i < count; i++)
        record_put_regions(out, i, &items[i]);
}

static void dump_intents(struct dump *d)
{
    struct record_intent_item items[RECORD_INTENT_ITEMS_MAX];
    const size_t fixed = record_bytes(RECORD_INTENT, 0);
    const size_t each = record_bytes(RECORD_INTENT, 1) - fixed;
    uint32_t count = 0;

    if (d->room.bytes < fixed + each) {
        d->full = true;
        return;
    }
    const uint64_t most = min_u64((d->room.bytes - fixed) / each, RECORD_INTENT_ITEMS_MAX);
    while (count < most && d->cp->next_intent < LAYOUT_INTENTS_MAX) {
        const struct intent *const i = &d->store->intents.table[d->cp->next_intent++];
        if (i->state == INTENT_FREE || i->closing || i->shard->id >= d->cp->shards_end)
            continue;
        items[count++] = (struct record_intent_item) { .shard = i->shard->id, .region = i->region };
    }
    if (count == 0) {
        dump_phase(d, PHASE_END);
        return;
    }
    const struct record rec = { .type = RECORD_INTENT, .items = count };
    const struct span out = dump_take(d, record_bytes(RECORD_INTENT, count));
    record_encode(&rec, out);
    for (uint32_t i = 0; i < count; i++)
        record_put_intent(out, i, &items[i]);
}

size_t checkpoint_dump_block(struct store *store, struct span block)
{
    const struct span payload = span_sub(block, METABLOCK_HEAD_BYTES, METABLOCK_PAYLOAD_BYTES);
    struct dump d = { .store = store, .cp = &store->checkpoint, .room = payload };

    while (!d.full && d.cp->phase != PHASE_END) {
        switch (d.cp->phase) {
        case PHASE_HEAD:
            dump_head(&d);
            break;
        case PHASE_VOLUMES:
            dump_volume(&d);
            break;
        case PHASE_COPYSETS:
            dump_copyset(&d);
            break;
        case PHASE_SHARDS:
            dump_shard(&d);
            break;
        case PHASE_REGIONS:
            dump_regions(&d);
            break;
        default:
            dump_intents(&d);
            break;
        }
    }
    return payload.bytes - d.room.bytes;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "store/checkpoint_dump.h"

#include <assert.h>

/* HEAD, then volumes with their epochs, shards with their grains, and regions. */
enum { PHASE_HEAD, PHASE_VOLUMES, PHASE_SHARDS, PHASE_INTENTS, PHASE_END };

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
        dump_phase(d, PHASE_SHARDS);
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
                                 .bytes = s->bytes },
                });
    d->cp->in_layer = true;
    d->cp->next_id = s->id;
    d->cp->next_generation = UINT64_MAX;
    d->cp->next_grain = 0;
}

/* The next item: grains in a row that are alike and lie in a row.  False at the layer's end. */
static bool dump_next_item(struct dump *d, const struct map *map, const struct layer *layer,
                           struct record_grains_item *out)
{
    const uint64_t settled = journal_get_marks(d->store->journal).durably_settled;
    uint32_t at = d->cp->next_grain;

    while (at < map->grain_count && (layer->grains[at].data | layer->grains[at].zero) == 0)
        at++;
    struct record_grains_item item = { .grain = at };
    for (; at < map->grain_count; at++) {
        struct grain *const g = &layer->grains[at];
        /* Forgotten long before 32 bits of it repeat. */
        if (grain_is_settled(g, settled)) {
            g->sequence = 0;
            grain_set_freed(g, false);
        }
        const uint32_t place = g->data != 0 ? grain_place(g) : SPACE_NONE;
        if (item.count == 0) {
            item.place = place;
            item.data = g->data;
            item.zero = g->zero;
        } else if (g->data != item.data || g->zero != item.zero ||
                   (g->data != 0 && place != item.place + item.count)) {
            break;
        }
        item.count++;
    }
    d->cp->next_grain = at;
    *out = item;
    return item.count > 0;
}

/* One GRAINS record of a layer, as long as fits. */
static void dump_grains(struct dump *d, const struct shard *s, const struct layer *layer)
{
    struct record_grains_item items[RECORD_GRAINS_ITEMS_MAX];
    const size_t fixed = record_bytes(RECORD_GRAINS, 0);
    const size_t each = record_bytes(RECORD_GRAINS, 1) - fixed;
    uint32_t count = 0;

    if (d->room.bytes < fixed + each) {
        d->full = true;
        return;
    }
    const uint64_t most = min_u64((d->room.bytes - fixed) / each, RECORD_GRAINS_ITEMS_MAX);
    while (count < most && dump_next_item(d, &s->map, layer, &items[count]))
        count++;
    if (count == 0)
        return;
    const struct record rec = {
        .type = RECORD_GRAINS,
        .items = count,
        .u.grains = { .shard = s->id, .generation = layer->generation },
    };
    const struct span out = dump_take(d, record_bytes(RECORD_GRAINS, count));
    record_encode(&rec, out);
    for (uint32_t i = 0; i < count; i++)
        record_put_grains(out, i, &items[i]);
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
        dump_phase(d, PHASE_INTENTS);
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
        case PHASE_SHARDS:
            dump_shard(&d);
            break;
        default:
            dump_intents(&d);
            break;
        }
    }
    return payload.bytes - d.room.bytes;
}

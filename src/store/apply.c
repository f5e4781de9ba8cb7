/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applies records of a checkpoint or of the journal to the state.  Records are absolute: a record
 * that the state already contains changes nothing (F22).
 *
 * All numbers come from the disk.  What cannot be is CORRUPT; what names something deleted since
 * is passed over.
 */
#include <assert.h>
#include <stdlib.h>

#include "store/store_internal.h"

/* What the catalog refuses cannot stand on a disk; want of memory is not the disk's fault. */
static struct status MUST_CHECK refused(struct status st)
{
    return status_ok(st) || status_is(st, STATUS_NO_MEMORY) ? st : STATUS(CORRUPT);
}

/* F25: whether the volume was busy; only disks that mark it say so. */
static struct status MUST_CHECK apply_mark(const struct apply *a, struct catalog_volume *v,
                                           bool busy)
{
    v->busy.state = busy ? BUSY_MARKED : BUSY_QUIET;
    return busy && !a->store->sb.marks_busy ? STATUS(CORRUPT) : STATUS(OK);
}

/* F22: an id that was given out and is not there names something deleted since. */
static struct status missing(uint32_t id, uint32_t next)
{
    return id > 0 && id < next ? STATUS(OK) : STATUS(CORRUPT);
}

static struct status MUST_CHECK apply_volume(struct apply *a, const struct record_volume *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *v = catalog_volume_by_id(c, rec->id);

    /* F22: the checkpoint would have it, if it had not been deleted by then. */
    if (v == NULL && !a->checkpoint && rec->id < a->volumes_end)
        return missing(rec->id, a->volumes_end);
    if (v == NULL)
        TRY(refused(catalog_add_volume(c, rec->id, &rec->volume, &v)));
    /* F27; a checkpoint may know of a growth that the replay comes to later (F22). */
    if (!store_volume_extends(&rec->volume, &v->desc) &&
        !store_volume_extends(&v->desc, &rec->volume))
        return STATUS(CORRUPT);
    if (rec->volume.first_run_shards != 0 && !a->store->sb.grows)
        return STATUS(CORRUPT);
    v->desc = rec->volume;
    v->loss = rec->loss;
    if (!a->checkpoint)
        return rec->busy ? STATUS(CORRUPT) : STATUS(OK); /* BUSY records say it there. */
    return apply_mark(a, v, rec->busy);
}

static struct status MUST_CHECK apply_delete(struct apply *a, uint32_t id)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, id);

    if (v == NULL)
        return missing(id, c->next_volume_id);
    store_drop_volume(a->store, v, true, a->sequence);
    return STATUS(OK);
}

static struct status MUST_CHECK apply_epoch(struct apply *a, const struct record_epoch *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, rec->volume);

    if (v == NULL)
        return missing(rec->volume, c->next_volume_id);
    v->epochs[rec->group] = max_u64(v->epochs[rec->group], rec->epoch);
    return STATUS(OK);
}

static struct status MUST_CHECK apply_shard(struct apply *a, const struct record_shard *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, rec->volume);
    struct shard *s = catalog_shard_by_id(c, rec->id);

    if (s != NULL) {
        const bool same = s->volume == v && s->index == rec->index && s->bytes == rec->bytes;
        return same ? STATUS(OK) : STATUS(CORRUPT);
    }
    if (v == NULL) {
        /* Its volume is gone; so that the records of the shard are known to be, too. */
        c->next_shard_id = rec->id >= c->next_shard_id ? rec->id + 1 : c->next_shard_id;
        return missing(rec->volume, c->next_volume_id);
    }
    /* F7. */
    if (rec->bytes != v->desc.shard_bytes)
        return STATUS(CORRUPT);
    return refused(catalog_add_shard(c, v, rec, &s));
}

static struct status MUST_CHECK apply_sums(struct apply *a, const struct record *rec)
{
    const struct record_write *const w = &rec->u.write;

    for (uint32_t i = 0; i < w->count; i++)
        TRY(sums_recover(&a->store->sums, w->place + i, record_get_crc(rec, i)));
    apply_set_bits(a->unsettled, w->place, w->count, a->sequence > a->settled);
    return STATUS(OK);
}

/* A later record writes these blocks of the disk: an older COPY must not undo it. */
static void apply_outdate_copies(struct apply *a, const struct record_write *w)
{
    for (size_t i = 0; i < a->copies.count; i++) {
        struct copy *const c = &a->copies.list[i];
        const uint64_t from = max_u64(c->place, w->place);
        const uint64_t to = min_u64(c->place + c->count, w->place + w->count);
        if (from < to)
            c->live &= ~grain_mask(c->first + (uint32_t)(from - c->place), (uint32_t)(to - from));
    }
}

/* WRITE and COPY: where the blocks lie is on the disk, and as its features allow. */
static struct status MUST_CHECK apply_check_place(const struct apply *a,
                                                  const struct record_write *w)
{
    const uint64_t blocks = a->store->space.cells * CELL_BLOCKS;

    if (a->checkpoint || w->place + w->count > blocks)
        return STATUS(CORRUPT);
    return record_write_is_natural(w) || a->store->sb.has_cells ? STATUS(OK) : STATUS(CORRUPT);
}

/* The grain has these blocks there now.  F29: what it had of those cells elsewhere gives way. */
static struct status MUST_CHECK apply_cells(struct apply *a, struct map *map, struct grain *g,
                                            const struct record_write *w)
{
    TRY(cell_lists_reserve(&a->store->catalog.lists, 1));
    const uint32_t last = (w->first + w->count - 1) / CELL_BLOCKS;
    uint32_t address = (uint32_t)(w->place / CELL_BLOCKS);
    for (uint32_t cell = w->first / CELL_BLOCKS; cell <= last; cell++)
        map_own_again(map, g, cell, address++);
    map_set_data(map, g, grain_mask(w->first, w->count));
    return STATUS(OK);
}

/* If J1 drops a block, it is again what it was: zero, spoiled, or absent. */
static struct status MUST_CHECK apply_note_before(struct apply *a, const struct layer *layer,
                                                  const struct record_write *w)
{
    const uint32_t zero = layer->grains[w->grain].zero;
    const uint32_t spoiled = layer_spoiled(layer, w->grain);

    if (layer->spoiled != NULL && a->was_spoiled == NULL)
        a->was_spoiled = calloc(a->store->sb.layout.data_grains, sizeof *a->was_spoiled);
    if (layer->spoiled != NULL && a->was_spoiled == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < w->count; i++) {
        apply_set_bits(a->was_zero, w->place + i, 1, (zero >> (w->first + i) & 1) != 0);
        if (a->was_spoiled != NULL)
            apply_set_bits(a->was_spoiled, w->place + i, 1, (spoiled >> (w->first + i) & 1) != 0);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK apply_write(struct apply *a, const struct record *rec)
{
    const struct record_write *const w = &rec->u.write;
    struct catalog *const c = &a->store->catalog;
    struct shard *const s = catalog_shard_by_id(c, w->shard);
    struct layer *layer;

    TRY(apply_check_place(a, w));
    if (s == NULL)
        return missing(w->shard, c->next_shard_id);
    if (w->grain >= s->map.grain_count)
        return STATUS(CORRUPT);
    TRY(map_layer_make(&s->map, w->generation, &layer));
    struct grain *const g = &layer->grains[w->grain];
    TRY(apply_note_before(a, layer, w));
    TRY(apply_cells(a, &s->map, g, w));
    map_unspoil(&s->map, layer, w->grain, grain_mask(w->first, w->count));
    apply_outdate_copies(a, w);
    return apply_sums(a, rec);
}

static struct status MUST_CHECK copies_add(struct copies *list, const struct record_write *w,
                                           struct const_span data)
{
    if (list->count == list->room) {
        const size_t room = list->room == 0 ? 64 : list->room * 2;
        struct copy *const grown = realloc(list->list, room * sizeof *grown);
        if (grown == NULL)
            return STATUS(NO_MEMORY);
        list->list = grown;
        list->room = room;
    }
    uint8_t *const own = malloc(data.bytes);
    if (own == NULL)
        return STATUS(NO_MEMORY);
    memcpy(own, data.at, data.bytes);
    list->list[list->count++] = (struct copy) { .shard = w->shard,
                                                .generation = w->generation,
                                                .grain = w->grain,
                                                .place = w->place,
                                                .first = w->first,
                                                .count = w->count,
                                                .live = grain_mask(w->first, w->count),
                                                .data = own };
    return STATUS(OK);
}

/* F21: the checksums are the record's; the blocks go home again if that may be missing. */
static struct status MUST_CHECK apply_copy(struct apply *a, const struct record *rec,
                                           struct const_span data)
{
    const struct record_write *const w = &rec->u.write;

    TRY(apply_check_place(a, w));
    if (data.bytes != (size_t)w->count * STORE_BLOCK_BYTES)
        return STATUS(CORRUPT);
    if (catalog_shard_by_id(&a->store->catalog, w->shard) == NULL)
        return missing(w->shard, a->store->catalog.next_shard_id);
    apply_outdate_copies(a, w);
    TRY(apply_sums(a, rec));
    return a->sequence > a->settled ? copies_add(&a->copies, w, data) : STATUS(OK);
}

static struct status MUST_CHECK apply_zero(struct apply *a, const struct record_zero *z)
{
    struct catalog *const c = &a->store->catalog;
    struct shard *const s = catalog_shard_by_id(c, z->shard);
    struct layer *layer;

    if (a->checkpoint)
        return STATUS(CORRUPT);
    if (s == NULL)
        return missing(z->shard, c->next_shard_id);
    if (z->first + z->count > (uint64_t)s->map.grain_count * GRAIN_BLOCKS)
        return STATUS(CORRUPT);
    TRY(map_layer_make(&s->map, z->generation, &layer));
    zero_apply(a->store, s, z, a->sequence, true);
    return STATUS(OK);
}

static struct status MUST_CHECK apply_grains_item(struct apply *a, struct shard *s,
                                                  struct layer *layer,
                                                  const struct record_grains_item *item)
{
    const uint64_t places = a->store->space.cells / SPACE_PLACE_CELLS;

    if ((uint64_t)item->grain + item->count > s->map.grain_count)
        return STATUS(CORRUPT);
    if (item->data != 0 && (uint64_t)item->place + item->count > places)
        return STATUS(CORRUPT);
    for (uint32_t i = 0; i < item->count; i++) {
        struct grain *const g = &layer->grains[item->grain + i];
        if ((g->data | g->zero) != 0)
            return STATUS(CORRUPT); /* Named twice. */
        map_put(&s->map, g, item->place + i, item->data, item->zero);
    }
    return STATUS(OK);
}

/* One cell of a grain, wherever it lies; its zeros have been named before. */
static struct status MUST_CHECK apply_cells_item(struct apply *a, struct shard *s,
                                                 struct layer *layer,
                                                 const struct record_cells_item *item)
{
    const uint32_t data = item->data << (item->cell * CELL_BLOCKS);

    if (item->grain >= s->map.grain_count || item->address >= a->store->space.cells)
        return STATUS(CORRUPT);
    struct grain *const g = &layer->grains[item->grain];
    if ((grain_owned(g) >> item->cell & 1) != 0 || (g->zero & data) != 0)
        return STATUS(CORRUPT); /* Named twice. */
    TRY(cell_lists_reserve(&a->store->catalog.lists, 1));
    map_own(&s->map, g, item->cell, item->address);
    map_set_data(&s->map, g, data);
    return STATUS(OK);
}

/* GRAINS and CELLS. */
static struct status MUST_CHECK apply_grains(struct apply *a, const struct record *rec)
{
    struct shard *const s = catalog_shard_by_id(&a->store->catalog, rec->u.grains.shard);
    struct layer *layer;

    if (!a->checkpoint || s == NULL || (rec->type == RECORD_CELLS && !a->store->sb.has_cells))
        return STATUS(CORRUPT);
    TRY(map_layer_make(&s->map, rec->u.grains.generation, &layer));
    for (uint32_t i = 0; i < rec->items && rec->type == RECORD_CELLS; i++) {
        const struct record_cells_item item = record_get_cell(rec, i);
        TRY(apply_cells_item(a, s, layer, &item));
    }
    for (uint32_t i = 0; i < rec->items && rec->type == RECORD_GRAINS; i++) {
        const struct record_grains_item item = record_get_grains(rec, i);
        TRY(apply_grains_item(a, s, layer, &item));
    }
    return STATUS(OK);
}

/* F40.  In a checkpoint, what is spoiled has neither data nor zeros there. */
static struct status MUST_CHECK apply_spoil(struct apply *a, const struct record *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct shard *const s = catalog_shard_by_id(c, rec->u.grains.shard);
    struct layer *layer;

    if (!a->store->sb.has_spoils)
        return STATUS(CORRUPT);
    if (s == NULL)
        return missing(rec->u.grains.shard, c->next_shard_id);
    TRY(map_layer_make(&s->map, rec->u.grains.generation, &layer));
    TRY(map_spoil_reserve(&s->map, layer));
    for (uint32_t i = 0; i < rec->items; i++) {
        const struct record_spoil_item item = record_get_spoil(rec, i);
        if (item.grain >= s->map.grain_count)
            return STATUS(CORRUPT);
        const struct grain *const g = &layer->grains[item.grain];
        if (a->checkpoint && ((g->data | g->zero | layer->spoiled[item.grain]) & item.blocks) != 0)
            return STATUS(CORRUPT);
        struct map_freed freed; /* What is free is computed after the replay. */
        (void)map_spoil(&s->map, layer, item.grain, item.blocks, &freed);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK apply_intent(struct apply *a, const struct record *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct intents *const t = &a->store->intents;

    for (uint32_t k = 0; k < rec->items; k++) {
        const struct record_intent_item item = record_get_intent(rec, k);
        struct shard *const s = catalog_shard_by_id(c, item.shard);
        if (s == NULL) {
            TRY(missing(item.shard, c->next_shard_id));
            continue;
        }
        if (item.region >= shard_regions(s))
            return STATUS(CORRUPT);
        if (intent_find(t, s, item.region) != NULL)
            continue;
        struct intent *const i = intent_add(t, s, item.region);
        if (i == NULL)
            return STATUS(CORRUPT);
        intent_move(t, i, INTENT_OPEN);
        intent_set_suspect(t, i, true);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK apply_regions(struct apply *a, const struct record *rec)
{
    struct catalog *const c = &a->store->catalog;

    if (!a->store->sb.has_replicas)
        return STATUS(CORRUPT);
    for (uint32_t k = 0; k < rec->items; k++) {
        const struct record_regions_item item = record_get_regions(rec, k);
        const struct region_run run = { item.region, item.count, item.slots };
        struct shard *const s = catalog_shard_by_id(c, item.shard);
        if (s == NULL) {
            TRY(missing(item.shard, c->next_shard_id));
            continue;
        }
        if ((uint64_t)item.region + item.count > shard_regions(s))
            return STATUS(CORRUPT);
        TRY(regions_reserve(s));
        regions_set(&a->store->regions, s, &run);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK apply_copyset(struct apply *a, const struct record_copyset *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, rec->volume);

    if (!a->store->sb.has_replicas)
        return STATUS(CORRUPT);
    if (v == NULL)
        return missing(rec->volume, c->next_volume_id);
    return refused(copyset_put(c, v, rec));
}

static struct status MUST_CHECK apply_points(struct apply *a, const struct record_points *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, rec->volume);

    if (!a->store->sb.has_points)
        return STATUS(CORRUPT);
    if (v == NULL)
        return missing(rec->volume, c->next_volume_id);
    return refused(copyset_put_points(c, v, rec));
}

static struct status MUST_CHECK apply_head(struct apply *a, const struct record *rec)
{
    struct catalog *const c = &a->store->catalog;

    if (!a->checkpoint || a->head_seen || rec->u.head.next_volume == 0 ||
        rec->u.head.next_shard == 0)
        return STATUS(CORRUPT);
    a->head_seen = true;
    c->next_volume_id = rec->u.head.next_volume;
    a->volumes_end = rec->u.head.next_volume;
    c->next_shard_id = rec->u.head.next_shard;
    return STATUS(OK);
}

static struct status MUST_CHECK apply_loss(struct apply *a, uint32_t id)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, id);

    if (v == NULL)
        return missing(id, c->next_volume_id);
    v->loss = false;
    return STATUS(OK);
}

static struct status MUST_CHECK apply_busy(struct apply *a, const struct record_busy *rec)
{
    struct catalog *const c = &a->store->catalog;
    struct catalog_volume *const v = catalog_volume_by_id(c, rec->volume);

    if (a->checkpoint)
        return STATUS(CORRUPT);
    if (v == NULL)
        return missing(rec->volume, c->next_volume_id);
    return apply_mark(a, v, rec->busy);
}

static struct status MUST_CHECK apply_record(struct apply *a, const struct record *rec,
                                             struct const_span data)
{
    switch (rec->type) {
    case RECORD_HEAD:
        return apply_head(a, rec);
    case RECORD_VOLUME:
        return apply_volume(a, &rec->u.volume);
    case RECORD_VOLUME_DELETE:
        return apply_delete(a, rec->u.volume_id);
    case RECORD_EPOCH:
        return apply_epoch(a, &rec->u.epoch);
    case RECORD_SHARD:
        return apply_shard(a, &rec->u.shard);
    case RECORD_WRITE:
        return apply_write(a, rec);
    case RECORD_ZERO:
        return apply_zero(a, &rec->u.zero);
    case RECORD_GRAINS:
    case RECORD_CELLS:
        return apply_grains(a, rec);
    case RECORD_INTENT:
        return apply_intent(a, rec);
    case RECORD_LOSS:
        return apply_loss(a, rec->u.volume_id);
    case RECORD_COPY:
        return apply_copy(a, rec, data);
    case RECORD_BUSY:
        return apply_busy(a, &rec->u.busy);
    case RECORD_REGIONS:
        return apply_regions(a, rec);
    case RECORD_COPYSET:
        return apply_copyset(a, &rec->u.copyset);
    case RECORD_POINTS:
        return apply_points(a, &rec->u.points);
    case RECORD_SPOIL:
        return apply_spoil(a, rec);
    }
    return STATUS(CORRUPT);
}

struct status apply_records(struct apply *a, struct const_span payload, struct const_span data)
{
    while (payload.bytes > 0) {
        struct record rec;
        TRY(record_decode(&payload, &rec));
        if (a->checkpoint && !a->head_seen && rec.type != RECORD_HEAD)
            return STATUS(CORRUPT); /* F3. */
        TRY(apply_record(a, &rec, data));
    }
    return STATUS(OK);
}

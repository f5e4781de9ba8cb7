/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPOIL: blocks that nobody has any more, until they are written or zeroed (F40).  Their old bytes
 * may be older than what a host was promised, so they are given up, and not kept.
 *
 * It goes as Write Zeroes does, with one record; and it completes when that is durable, so that it
 * need not be remembered as something that may be lost (F25).
 */
#include <assert.h>

#include "store/store_internal.h"

/* Which grains a command touches, and of each its blocks. */
static uint32_t grain_count(const struct store_io *io)
{
    const uint64_t first = io->offset / STORE_GRAIN_BYTES;
    const uint64_t last = (io->offset + io->bytes - 1) / STORE_GRAIN_BYTES;

    return (uint32_t)(last - first + 1);
}

static struct record_spoil_item item_at(const struct store_io *io, uint32_t index)
{
    const uint64_t begin = io->offset / STORE_BLOCK_BYTES;
    const uint64_t end = begin + io->bytes / STORE_BLOCK_BYTES;
    const uint64_t grain = begin / GRAIN_BLOCKS + index;
    const uint64_t from = max_u64(begin, grain * GRAIN_BLOCKS);
    const uint64_t to = min_u64(end, (grain + 1) * GRAIN_BLOCKS);

    assert(from < to);
    return (struct record_spoil_item) {
        .grain = (uint32_t)grain,
        .blocks = grain_mask((uint32_t)(from % GRAIN_BLOCKS), (uint32_t)(to - from)),
    };
}

static void spoil_apply(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct map *const map = &io->target->map;
    struct layer *const layer = map_layer(map, io->generation);

    for (uint32_t i = 0; i < grain_count(io); i++) {
        const struct record_spoil_item item = item_at(io, i);
        struct grain *const g = &layer->grains[item.grain];
        struct map_freed freed;
        if (map_spoil(map, layer, item.grain, item.blocks, &freed)) {
            grain_set_freed(g, true);
            grain_set_sequence(g, io->last);
        }
        cells_free_later(store, &freed, io->last);
    }
}

/* F22: the state says it before a checkpoint may begin behind the record. */
static void spoil_on_written(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);

    if (!status_ok(status)) {
        command_finish(io, STATUS(MEDIA_WRITE));
        return;
    }
    spoil_apply(io);
    command_finish_flushed(io, io->last);
}

/* What a checkpoint may have to say more (F31). */
static uint64_t spoil_map_bytes(const struct store_io *io)
{
    return grain_count(io) * (uint64_t)MAP_SPOIL_BYTES + MAP_LAYER_BYTES;
}

static struct status MUST_CHECK spoil_reserve(struct store_io *io, struct shard *shard,
                                              bool *out_wait)
{
    struct layer *layer;

    TRY(catalog_check_usage(&io->session->store->catalog, spoil_map_bytes(io), out_wait));
    TRY(map_layer_make(&shard->map, io->generation, &layer));
    return map_spoil_reserve(&shard->map, layer);
}

static void spoil_go(struct store_io *io, struct shard *shard)
{
    struct store *const store = io->session->store;
    const uint32_t items = grain_count(io);
    const struct record rec = {
        .type = RECORD_SPOIL,
        .items = items,
        .u.grains = { .shard = shard->id, .generation = io->generation },
    };

    command_activate(io, shard);
    listing_enter(io, shard);
    io->promised = spoil_map_bytes(io);
    store->catalog.usage.promised += io->promised;
    const struct span out =
        journal_append(store->journal, record_bytes(RECORD_SPOIL, items), &io->last);
    record_encode(&rec, out);
    for (uint32_t i = 0; i < items; i++) {
        const struct record_spoil_item item = item_at(io, i);
        record_put_spoil(out, i, &item);
    }
    store_note_record(store, io->last);
    io->waiter = (struct journal_waiter) { .sequence = io->last, .fn = spoil_on_written };
    journal_wait_written(store->journal, &io->waiter);
}

bool spoil_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct shard *const shard = catalog_shard_by_index(io->session->volume, io->shard);
    size_t bytes = record_bytes(RECORD_SPOIL, grain_count(io));
    bool wait = false;

    if (shard == NULL) {
        command_finish(io, STATUS(UNKNOWN_SHARD));
        return true;
    }
    if (!range_is_settled(store, shard, io->offset, io->bytes) ||
        command_conflicts(shard, io, false))
        return false;
    struct status st = spoil_reserve(io, shard, &wait);
    if (status_ok(st))
        st = listing_prepare(io, shard, false, &bytes, &wait);
    if (!status_ok(st)) {
        command_finish(io, st);
        return true;
    }
    if (wait || !journal_has_room(store->journal, bytes, false))
        return false;
    spoil_go(io, shard);
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write Zeroes and Deallocate, and the deletion of a volume: one record each, and the cells come
 * back once it is durable (J2, F19).
 */
#include <assert.h>

#include "store/store_internal.h"

/* One grain of a range of blocks: which of its blocks the range has. */
static uint32_t range_mask(uint64_t first, uint64_t end, uint64_t grain)
{
    const uint64_t from = max_u64(first, grain * GRAIN_BLOCKS);
    const uint64_t to = min_u64(end, (grain + 1) * GRAIN_BLOCKS);

    assert(from < to);
    return grain_mask((uint32_t)(from % GRAIN_BLOCKS), (uint32_t)(to - from));
}

void zero_apply(struct store *store, struct shard *shard, const struct record_zero *zero,
                uint64_t sequence, bool replay)
{
    const uint64_t end = zero->first + zero->count;
    struct layer *const layer = map_layer(&shard->map, zero->generation);

    assert(layer != NULL);
    assert(end <= (uint64_t)shard->map.grain_count * GRAIN_BLOCKS);
    for (uint64_t i = zero->first / GRAIN_BLOCKS; i * GRAIN_BLOCKS < end; i++) {
        struct grain *const g = &layer->grains[i];
        struct map_freed freed;
        const bool kept =
            map_set_zero(&shard->map, g, range_mask(zero->first, end, i), zero->zero, &freed);
        map_unspoil(&shard->map, layer, (uint32_t)i, range_mask(zero->first, end, i));
        if (replay)
            continue;
        if (kept) {
            grain_set_freed(g, true);
            grain_set_sequence(g, sequence);
        }
        cells_free_later(store, &freed, sequence);
    }
}

static struct record_zero zero_record(const struct store_io *io, const struct shard *shard)
{
    return (struct record_zero) {
        .shard = shard->id,
        .generation = io->generation,
        .first = io->offset / STORE_BLOCK_BYTES,
        .count = io->bytes / STORE_BLOCK_BYTES,
        .zero = map_generation_keeps_zeros(io->generation),
    };
}

static void zero_on_written(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);
    struct store *const store = io->session->store;

    if (!status_ok(status)) {
        command_finish(io, STATUS(MEDIA_WRITE));
        return;
    }
    const struct record_zero zero = zero_record(io, io->target);
    zero_apply(store, io->target, &zero, io->last, false);
    if (!io->fua) {
        command_finish(io, STATUS(OK));
        return;
    }
    command_finish_flushed(io, io->last);
}

/* Whether the command would change nothing: no data in its layer, and nothing to hide. */
static bool zero_is_void(const struct store_io *io, const struct shard *shard)
{
    const struct layer *const layer = map_layer(&shard->map, io->generation);
    const uint64_t last = (io->offset + io->bytes - 1) / STORE_GRAIN_BYTES;

    if (map_generation_keeps_zeros(io->generation))
        return false;
    for (uint64_t i = io->offset / STORE_GRAIN_BYTES; layer != NULL && i <= last; i++) {
        if (layer->grains[i].data != 0 || layer_spoiled(layer, (uint32_t)i) != 0)
            return false;
    }
    return true;
}

/* What a checkpoint may have to say of the zeros, which hide older layers. */
static uint64_t zero_map_bytes(const struct store_io *io)
{
    const uint64_t grains = io->bytes / STORE_GRAIN_BYTES + 2;

    return map_generation_keeps_zeros(io->generation) ? grains * MAP_GRAINS_BYTES + MAP_LAYER_BYTES
                                                      : 0;
}

static struct status MUST_CHECK zero_make_layer(struct store_io *io, struct shard *shard,
                                                bool *out_wait)
{
    const struct catalog *const c = &io->session->store->catalog;
    const uint64_t need = zero_map_bytes(io);
    struct layer *layer;

    if (need > 0)
        TRY(catalog_check_usage(c, need, out_wait));
    return map_layer_make(&shard->map, io->generation, &layer);
}

static void zero_go(struct store_io *io, struct shard *shard)
{
    struct store *const store = io->session->store;
    const struct record rec = { .type = RECORD_ZERO, .u.zero = zero_record(io, shard) };

    command_activate(io, shard);
    listing_enter(io, shard);
    io->promised = zero_map_bytes(io);
    store->catalog.usage.promised += io->promised;
    record_encode(&rec, journal_append(store->journal, record_bytes(RECORD_ZERO, 0), &io->last));
    store_note_record(store, io->last);
    io->waiter = (struct journal_waiter) { .sequence = io->last, .fn = zero_on_written };
    journal_wait_written(store->journal, &io->waiter);
}

/* S1: what made it void may have completed and not be durable yet. */
static void zero_flush_void(struct store_io *io, struct shard *shard)
{
    struct store *const store = io->session->store;

    command_activate(io, shard);
    command_finish_flushed(io, store->last_record);
}

bool zero_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct shard *const shard = catalog_shard_by_index(io->session->volume, io->shard);

    if (shard == NULL) {
        command_finish(io, STATUS(UNKNOWN_SHARD));
        return true;
    }
    if (!range_is_settled(store, shard, io->offset, io->bytes) ||
        command_conflicts(shard, io, false))
        return false;
    struct status st = STATUS(OK);
    const bool is_void = zero_is_void(io, shard);
    size_t record = record_bytes(RECORD_ZERO, 0);
    bool wait = false;
    if (!is_void)
        st = zero_make_layer(io, shard, &wait);
    if (status_ok(st) && !is_void)
        st = listing_prepare(io, shard, false, &record, &wait);
    if (status_ok(st) && !is_void) {
        if (wait || (command_may_be_lost(io) && !busy_ensure_marked(store, io->session->volume)) ||
            !journal_has_room(store->journal, record, false))
            return false;
        zero_go(io, shard);
        return true;
    }
    if (status_ok(st) && io->fua)
        zero_flush_void(io, shard);
    else
        command_finish(io, st);
    return true;
}

/* ---- Deleting a volume ---- */

static void drop_shard(struct store *store, struct shard *shard, bool replay, uint64_t sequence)
{
    for (unsigned l = 0; l < shard->map.layer_count && !replay; l++) {
        for (uint32_t i = 0; i < shard->map.grain_count; i++) {
            const struct grain *const g = &shard->map.layers[l].grains[i];
            struct map_freed freed = { 0 };
            for (uint32_t cell = 0; cell < GRAIN_CELLS; cell++) {
                if ((grain_owned(g) >> cell & 1) != 0)
                    freed.cell[freed.count++] = map_cell(&shard->map, g, cell);
            }
            cells_free_later(store, &freed, sequence);
        }
    }
    intents_drop_shard(&store->intents, shard);
    regions_drop_shard(&store->regions, shard);
    catalog_remove_shard(&store->catalog, shard);
}

void store_drop_volume(struct store *store, struct catalog_volume *volume, bool replay,
                       uint64_t sequence)
{
    for (uint32_t i = 0; i < volume->shards_count; i++) {
        if (volume->shards[i] != NULL)
            drop_shard(store, volume->shards[i], replay, sequence);
    }
    sessions_forget_volume(volume);
    catalog_remove_volume(&store->catalog, volume);
}

/* From here on the volume is gone for every checkpoint; its memory and space follow. */
static void delete_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);
    struct store *const store = io->session->store;

    if (!status_ok(status)) {
        command_finish(io, STATUS(MEDIA_WRITE));
        return;
    }
    io->session->volume->deleted = true;
    list_push_back(&store->drops, &io->segment_link);
    store_kick(store);
}

/* One shard in a turn: a large volume may not keep the reactor from the others' commands. */
void drops_run(struct store *store)
{
    struct list_node *const n = list_first(&store->drops);

    if (n == NULL)
        return;
    struct store_io *const io = CONTAINER_OF(n, struct store_io, segment_link);
    struct catalog_volume *const volume = io->session->volume;
    while (io->cursor < volume->shards_count && volume->shards[io->cursor] == NULL)
        io->cursor++;
    store_kick(store);
    if (io->cursor < volume->shards_count) {
        drop_shard(store, volume->shards[io->cursor], false, io->last);
        return;
    }
    list_remove(&io->segment_link);
    store_drop_volume(store, volume, false, io->last);
    command_finish(io, STATUS(OK));
}

/* Whether nothing of the volume is under way or awaited but the command that deletes it. */
static bool volume_is_quiet(const struct store *store, const struct store_io *io)
{
    uint32_t commands = 0;

    LIST_FOR_EACH (n, &io->session->volume->sessions)
        commands += CONTAINER_OF(n, struct store_session, link)->commands;
    for (unsigned i = 0; i < SETTLERS; i++) {
        const struct intent *const intent = store->settlers[i].intent;
        if (intent != NULL && intent->shard->volume == io->session->volume)
            return false;
    }
    return commands == 1 && !io->session->volume->busy.waiting;
}

bool delete_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct catalog_volume *const v = io->session->volume;
    const struct record rec = { .type = RECORD_VOLUME_DELETE,
                                .u.volume_id = io->session->volume->id };
    const size_t bytes = record_bytes(RECORD_VOLUME_DELETE, 0);

    /* Two that wait for each other would wait for ever. */
    if (v->deleter != NULL && v->deleter != io) {
        command_finish(io, STATUS(NOT_FOUND));
        return true;
    }
    v->deleter = io;
    if (!volume_is_quiet(store, io) || !journal_has_room(store->journal, bytes, true))
        return false;
    io->session->volume->deleting = true;
    command_activate(io, NULL);
    record_encode(&rec, journal_append(store->journal, bytes, &io->last));
    store_note_record(store, io->last);
    io->waiter = (struct journal_waiter) { .sequence = io->last, .fn = delete_on_flushed };
    journal_wait_flushed(store->journal, &io->waiter);
    return true;
}

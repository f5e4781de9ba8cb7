/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes.  A block that has a place in its layer is overwritten there; any other gets one, and a
 * WRITE record (first touch).  One command may do both.
 *
 *     admit: all that it needs is there ----> records appended, data submitted
 *                                               |            |
 *                                               v            v
 *                                          journal written, data written --> map and checksums
 *                                                            |
 *                                     FUA with records: --> flushed
 *
 * S1, F9: it completes only after its data and all journal blocks up to its records'.
 */
#include <assert.h>

#include "store/store_internal.h"

#define RECORD_WRITE_FIXED 28

/* A grain that a command touches. */
struct touch {
    uint32_t grain;
    uint32_t first; /* Block of the grain. */
    uint32_t count;
    uint32_t io_block; /* Block of the command. */
};

/* What a write needs before it can go. */
struct need {
    size_t record_bytes;
    uint32_t copies; /* COPY records, and the blocks that they carry (F21). */
    uint32_t copy_blocks;
    uint32_t cells;
    uint64_t map_bytes; /* That a checkpoint may have to say more than now (F31). */
    bool wait;
};

static uint32_t touch_count(const struct store_io *io)
{
    const uint64_t first = io->offset / STORE_GRAIN_BYTES;
    const uint64_t last = (io->offset + io->bytes - 1) / STORE_GRAIN_BYTES;

    assert(last - first < STORE_IO_GRAINS_MAX);
    return (uint32_t)(last - first + 1);
}

static struct touch touch_at(const struct store_io *io, uint32_t index)
{
    const uint64_t begin = io->offset / STORE_BLOCK_BYTES;
    const uint64_t end = begin + io->bytes / STORE_BLOCK_BYTES;
    const uint64_t grain = begin / GRAIN_BLOCKS + index;
    const uint64_t from = max_u64(begin, grain * GRAIN_BLOCKS);
    const uint64_t to = min_u64(end, (grain + 1) * GRAIN_BLOCKS);

    assert(from < to);
    return (struct touch) { .grain = (uint32_t)grain,
                            .first = (uint32_t)(from % GRAIN_BLOCKS),
                            .count = (uint32_t)(to - from),
                            .io_block = (uint32_t)(from - begin) };
}

/* How many runs of set bits there are. */
static uint32_t run_count(uint32_t mask)
{
    return (uint32_t)__builtin_popcount(mask & ~(mask << 1));
}

/* The next run of set bits at or after *at; false if there is none. */
static bool next_run(uint32_t mask, uint32_t *at, uint32_t *out_count)
{
    while (*at < GRAIN_BLOCKS && (mask >> *at & 1) == 0)
        ++*at;
    uint32_t end = *at;
    while (end < GRAIN_BLOCKS && (mask >> end & 1) != 0)
        end++;
    *out_count = end - *at;
    return *out_count > 0;
}

/* The layer that a write goes to: its own generation's, also when a newer one exists (S8). */
static uint64_t write_generation(const struct store_io *io, const struct shard *shard)
{
    if (MUTATION(S8_NEWEST_LAYER) && shard != NULL && shard->map.layer_count > 0)
        return max_u64(io->generation, shard->map.layers[0].generation);
    return io->generation;
}

/* Whether any block of it has data; write_needs() has looked. */
static bool write_overwrites(const struct store_io *io)
{
    uint32_t any = 0;

    for (uint32_t i = 0; i < touch_count(io); i++)
        any |= io->overwrites[i];
    return any != 0;
}

/* ---- What it needs ---- */

static void need_overwrite(struct store *store, struct shard *shard, const struct touch *t,
                           const struct grain *g, uint32_t present, struct need *need)
{
    const struct journal_marks marks = journal_get_marks(store->journal);

    if (!store_overwrites_in_place(store)) {
        need->copies += 1 + (uint32_t)__builtin_popcount(present) / METABLOCK_DATA_BLOCKS_MAX +
                        run_count(present) + (grain_is_scattered(g) ? GRAIN_CELLS : 0);
        need->copy_blocks += (uint32_t)__builtin_popcount(present);
        return;
    }
    /* F14: its first touch must be durably settled.  If the last record is, all are, also where the
     * grain says one later, which need not come: grain_set_sequence(). */
    if (marks.durably_settled < store->last_record && !grain_is_settled(g, marks.durably_settled) &&
        !MUTATION(S2_OVERWRITE_UNSETTLED)) {
        journal_settle(store->journal, store->last_record);
        need->wait = true;
    }
    /* F16. */
    if (!region_ensure_open(store, shard, t->grain / REGION_GRAINS))
        need->wait = true;
}

static void need_first_touch(struct store *store, const struct grain *g, uint32_t mask,
                             struct need *need)
{
    const uint64_t flushed = journal_get_marks(store->journal).flushed;
    const uint32_t cells = grain_cells(mask);

    need->cells += (uint32_t)__builtin_popcount(cells & ~grain_owned(g));
    need->map_bytes += grain_checkpoint_bytes_with(g, mask) - grain_checkpoint_bytes(g);
    /* F19: freed blocks of the grain are not durably free yet. */
    if ((grain_has_freed(g) && !grain_is_settled(g, flushed) && !MUTATION(J2_REUSE_EARLY)) ||
        cells_should_wait(store, g, mask)) {
        journal_settle(store->journal, store->last_record);
        need->wait = true;
    }
    /* At most one record for each run, and one more for each cell that lies elsewhere. */
    need->record_bytes +=
        (run_count(mask) + (uint32_t)__builtin_popcount(cells)) * (size_t)RECORD_WRITE_FIXED +
        (size_t)__builtin_popcount(mask) * 4;
}

static struct need write_needs(struct store_io *io, struct shard *shard)
{
    struct store *const store = io->session->store;
    const struct layer *const layer =
        shard != NULL ? map_layer(&shard->map, write_generation(io, shard)) : NULL;
    const struct grain none = { 0 };
    struct need need = {
        .record_bytes = shard == NULL ? record_bytes(RECORD_SHARD, 0) : 0,
        .map_bytes = layer == NULL ? MAP_LAYER_BYTES : 0,
    };

    for (uint32_t i = 0; i < touch_count(io); i++) {
        const struct touch t = touch_at(io, i);
        const struct grain *const g = layer != NULL ? &layer->grains[t.grain] : &none;
        const uint32_t mask = grain_mask(t.first, t.count);
        const uint32_t present = g->data & mask;
        if (present != 0)
            need_overwrite(store, shard, &t, g, present, &need);
        if (present != mask)
            need_first_touch(store, g, mask & ~present, &need);
        io->overwrites[i] = present;
    }
    return need;
}

/* S6: a full disk refuses what needs space, and nothing else. */
static struct status MUST_CHECK write_check_space(struct store *store, struct need *need)
{
    if (need->map_bytes > 0)
        TRY(catalog_check_usage(&store->catalog,
                                need->map_bytes + catalog_usage_reserve(&store->catalog),
                                &need->wait));
    const uint32_t cells = need->cells == 0 && MUTATION(S6_FULL_REFUSES_ALL) ? 1 : need->cells;
    if (cells == 0 || cells_are_free(store, cells))
        return STATUS(OK);
    if (store->space.gathering + store->space.waiting == 0)
        return STATUS(NO_SPACE);
    /* Freed cells are on their way back. */
    journal_settle(store->journal, store->last_record);
    need->wait = true;
    return STATUS(OK);
}

/* ---- Going ---- */

struct status shard_create(const struct store_io *io, uint32_t index, uint16_t copyset,
                           struct shard **out_shard)
{
    struct store *const store = io->session->store;
    struct catalog_volume *const v = io->session->volume;
    const struct record rec = {
        .type = RECORD_SHARD,
        .u.shard = { .id = store->catalog.next_shard_id,
                     .volume = v->id,
                     .index = index,
                     .group = io->session->group,
                     .epoch = io->session->epoch,
                     .generation = io->generation,
                     .bytes = v->desc.shard_bytes,
                     .copyset = copyset },
    };
    uint64_t sequence;

    /* S5: the volume's descriptor was durable before the session was confirmed. */
    TRY(catalog_add_shard(&store->catalog, v, &rec.u.shard, out_shard));
    record_encode(&rec, journal_append(store->journal, record_bytes(RECORD_SHARD, 0), &sequence));
    return STATUS(OK);
}

/* The next run of blocks of a mask that also lie in a row; false if there is none. */
static bool next_run_in_row(const struct map *map, const struct grain *g, uint32_t mask,
                            uint32_t *at, uint32_t *out_count)
{
    uint32_t count = 1;

    if (!next_run(mask, at, out_count))
        return false;
    const uint64_t place = map_place(map, g, *at);
    while (count < *out_count && map_place(map, g, *at + count) == place + count)
        count++;
    *out_count = count;
    return true;
}

/* Appends the records of one grain's first touches. */
static void write_record_grain(struct store_io *io, struct shard *shard, const struct touch *t,
                               struct grain *g, uint32_t fresh)
{
    struct store *const store = io->session->store;
    uint32_t at = 0, count;

    while (next_run_in_row(&shard->map, g, fresh, &at, &count)) {
        const struct record rec = {
            .type = RECORD_WRITE,
            .items = count,
            .u.write = { .shard = shard->id,
                         .generation = write_generation(io, shard),
                         .grain = t->grain,
                         .place = map_place(&shard->map, g, at),
                         .first = at,
                         .count = count },
        };
        const struct span out =
            journal_append(store->journal, record_bytes(RECORD_WRITE, count), &io->last);
        record_encode(&rec, out);
        for (uint32_t i = 0; i < count; i++)
            record_put_crc(out, i, io->crcs[t->io_block + at - t->first + i]);
        if (io->sequence == 0)
            io->sequence = io->last;
        at += count;
    }
    grain_set_sequence(g, io->last);
    grain_set_freed(g, false);
}

/* F21: appends COPY records, with the data, of one grain's blocks that have a place. */
static void write_copy_grain(struct store_io *io, struct shard *shard, const struct touch *t,
                             const struct grain *g, uint32_t present)
{
    struct store *const store = io->session->store;
    uint32_t at = 0, count;

    while (next_run_in_row(&shard->map, g, present, &at, &count)) {
        count = (uint32_t)min_u64(count, METABLOCK_DATA_BLOCKS_MAX);
        const uint32_t io_block = t->io_block + at - t->first;
        const struct record rec = {
            .type = RECORD_COPY,
            .items = count,
            .u.write = { .shard = shard->id,
                         .generation = write_generation(io, shard),
                         .grain = t->grain,
                         .place = map_place(&shard->map, g, at),
                         .first = at,
                         .count = count },
        };
        const struct span data = span_sub(io->data, (size_t)io_block * STORE_BLOCK_BYTES,
                                          (size_t)count * STORE_BLOCK_BYTES);
        uint64_t sequence;
        const struct span out =
            journal_append_with_data(store->journal, record_bytes(RECORD_COPY, count),
                                     span_const(data), &sequence, &io->last);
        record_encode(&rec, out);
        for (uint32_t i = 0; i < count; i++)
            record_put_crc(out, i, io->crcs[io_block + i]);
        if (io->sequence == 0)
            io->sequence = sequence;
        at += count;
    }
}

/* Takes cells and appends the records of all first touches. */
static void write_record(struct store_io *io, struct shard *shard, struct layer *layer)
{
    struct store *const store = io->session->store;

    for (uint32_t i = 0; i < touch_count(io); i++) {
        const struct touch t = touch_at(io, i);
        const uint32_t fresh = grain_mask(t.first, t.count) & ~io->overwrites[i];
        struct grain *const g = &layer->grains[t.grain];
        if (!store_overwrites_in_place(store))
            write_copy_grain(io, shard, &t, g, io->overwrites[i]);
        if (fresh == 0)
            continue;
        cells_take(store, &shard->map, layer, t.grain, fresh);
        write_record_grain(io, shard, &t, g, fresh);
    }
    if (io->sequence == 0)
        return;
    /* One count for the whole command, at its first block, holds the settled mark back. */
    journal_data_begin(store->journal, io->sequence);
    store_note_record(store, io->last);
}

/* Counts the command in (or out of) the regions that it overwrites. */
static void write_enter_regions(struct store_io *io, bool enter)
{
    struct store *const store = io->session->store;

    for (uint32_t i = 0; i < touch_count(io) && store_overwrites_in_place(store); i++) {
        if (io->overwrites[i] == 0)
            continue;
        const uint32_t region = touch_at(io, i).grain / REGION_GRAINS;
        struct intent *const intent = intent_find(&store->intents, io->target, region);
        assert(intent != NULL);
        if (enter) {
            assert(intent_is_usable(intent));
            intent->in_flight++;
            continue;
        }
        assert(intent->in_flight > 0);
        intent->in_flight--;
        intent->last_ns = reactor_now_ns(store->reactor);
        if (!status_ok(io->outcome))
            intent_set_suspect(&store->intents, intent, true);
        if (intent->state == INTENT_OPEN)
            intent_move(&store->intents, intent, INTENT_OPEN); /* To the end of the list. */
    }
}

/* Updates the map: the write has happened.  Its checksums came with the segments. */
static void write_apply(struct store_io *io)
{
    struct map *const map = &io->target->map;
    struct layer *const layer = map_layer(map, write_generation(io, io->target));

    assert(layer != NULL);
    for (uint32_t i = 0; i < touch_count(io); i++) {
        const struct touch t = touch_at(io, i);
        struct grain *const g = &layer->grains[t.grain];
        map_set_data(map, g, grain_mask(t.first, t.count));
        map_unspoil(map, layer, t.grain, grain_mask(t.first, t.count));
    }
}

/* ---- Taking back (F15) ---- */

/* What the first touches of one grain were before. */
struct undo {
    uint32_t spoiled;
    uint32_t zero;
    uint32_t absent;
};

static struct undo undo_of(const struct store_io *io, uint32_t index)
{
    const struct layer *const layer = map_layer(&io->target->map, write_generation(io, io->target));
    const struct touch t = touch_at(io, index);
    const uint32_t fresh = grain_mask(t.first, t.count) & ~io->overwrites[index];
    const uint32_t spoiled = layer_spoiled(layer, t.grain) & fresh;
    const uint32_t zero = layer->grains[t.grain].zero & fresh & ~spoiled;

    return (struct undo) { .spoiled = spoiled, .zero = zero, .absent = fresh & ~spoiled & ~zero };
}

/* What the records of all take: one for each run of blocks that were alike. */
static size_t undo_bytes(const struct store_io *io)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < touch_count(io); i++) {
        const struct undo u = undo_of(io, i);
        bytes += (run_count(u.zero) + run_count(u.absent)) * record_bytes(RECORD_ZERO, 0);
        bytes += u.spoiled != 0 ? record_bytes(RECORD_SPOIL, 1) : 0;
    }
    return bytes;
}

static void undo_zeros(struct store_io *io, uint32_t grain, uint32_t mask, bool zero,
                       uint64_t *out_sequence)
{
    struct journal *const journal = io->session->store->journal;
    uint32_t at = 0, count;

    while (next_run(mask, &at, &count)) {
        const struct record rec = {
            .type = RECORD_ZERO,
            .u.zero = { .shard = io->target->id,
                        .generation = write_generation(io, io->target),
                        .first = (uint64_t)grain * GRAIN_BLOCKS + at,
                        .count = count,
                        .zero = zero },
        };
        record_encode(&rec, journal_append(journal, record_bytes(RECORD_ZERO, 0), out_sequence));
        at += count;
    }
}

static void undo_spoiled(struct store_io *io, uint32_t grain, uint32_t mask, uint64_t *out_sequence)
{
    const struct record rec = {
        .type = RECORD_SPOIL,
        .items = 1,
        .u.grains = { .shard = io->target->id, .generation = write_generation(io, io->target) },
    };

    if (mask == 0)
        return;
    const struct span out =
        journal_append(io->session->store->journal, record_bytes(RECORD_SPOIL, 1), out_sequence);
    record_encode(&rec, out);
    record_put_spoil(out, 0, &(struct record_spoil_item) { grain, mask });
}

/* The last of the records, for which there is room. */
static uint64_t undo_record(struct store_io *io)
{
    uint64_t sequence = 0;

    for (uint32_t i = 0; i < touch_count(io); i++) {
        const struct undo u = undo_of(io, i);
        const uint32_t grain = touch_at(io, i).grain;
        undo_zeros(io, grain, u.zero, true, &sequence);
        undo_zeros(io, grain, u.absent, false, &sequence);
        undo_spoiled(io, grain, u.spoiled, &sequence);
    }
    store_note_record(io->session->store, sequence);
    return sequence;
}

/* The settled mark stays before the command until then: it tells J1 where to look no more. */
static void write_on_taken_back(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);

    if (!status_ok(status))
        io->outcome = STATUS(MEDIA_WRITE); /* As in write_end(). */
    journal_data_end(io->session->store->journal, io->sequence);
    command_finish(io, io->outcome);
}

/*
 * S1: a Flush that follows has no other record to wait for, such as that of zeros there.  With FUA
 * nobody has noted that something might be lost (F25): there is nothing to be lost when it is
 * durable.
 */
static void write_finish_taken_back(struct store_io *io, uint64_t sequence)
{
    struct journal *const journal = io->session->store->journal;

    io->waiter = (struct journal_waiter) { .sequence = sequence, .fn = write_on_taken_back };
    if (io->fua)
        journal_wait_flushed(journal, &io->waiter);
    else
        journal_wait_written(journal, &io->waiter);
}

/* The disk has failed: it may be there after a restart, so this is no refusal (S6). */
static void write_finish_lost(struct store_io *io)
{
    io->outcome = STATUS(MEDIA_WRITE);
    journal_data_end(io->session->store->journal, io->sequence);
    command_finish(io, io->outcome);
}

/* Takes back what waits for that, if there is room. */
static bool write_take_back(struct store_io *io, bool urgent)
{
    struct store *const store = io->session->store;

    if (store->failed) {
        write_finish_lost(io);
        return true;
    }
    if (!journal_has_room(store->journal, undo_bytes(io), urgent))
        return false;
    write_finish_taken_back(io, undo_record(io));
    return true;
}

/* Whether all that holds the settled mark, at this block, waits for the journal's reserve. */
static bool writes_hold_mark(const struct store *store, uint64_t *out_sequence)
{
    uint32_t pending, waiting = 0;

    *out_sequence = journal_first_pending(store->journal, &pending);
    LIST_FOR_EACH (n, &store->undos) {
        const struct store_io *const io = CONTAINER_OF(n, const struct store_io, segment_link);
        waiting += io->sequence == *out_sequence ? 1 : 0;
    }
    return *out_sequence != 0 && waiting == pending;
}

/*
 * S6: no room is no reason to fail the disk: the settled mark stays before them, so they can wait.
 * The reserve is for those that hold it, all of a block at once: others would use it up in vain.
 */
void writes_take_back(struct store *store)
{
    struct list now;
    struct list_node *n;
    uint64_t sequence;

    if (list_empty(&store->undos))
        return;
    const bool urgent = writes_hold_mark(store, &sequence);
    list_init(&now);
    list_splice_back(&now, &store->undos);
    while ((n = list_pop_front(&now)) != NULL) {
        struct store_io *const io = CONTAINER_OF(n, struct store_io, segment_link);
        if (!write_take_back(io, urgent && io->sequence == sequence))
            list_push_back(&store->undos, n);
    }
}

/* ---- The end ---- */

/* All parts have ended. */
static void write_end(struct store_io *io)
{
    struct store *const store = io->session->store;
    const bool recorded = io->sequence != 0;

    assert(io->pending == 0);
    if (status_ok(io->outcome))
        write_apply(io);
    write_enter_regions(io, false);
    if (!status_ok(io->outcome) && recorded && undo_bytes(io) > 0 && !MUTATION(J1_NOT_TAKEN_BACK)) {
        list_push_back(&store->undos, &io->segment_link);
        store_kick(store);
        return;
    }
    if (recorded)
        journal_data_end(store->journal, io->sequence);
    if (!status_ok(io->outcome) || !io->fua || !recorded) {
        command_finish(io, io->outcome);
        return;
    }
    command_finish_flushed(io, io->last);
}

static void write_part_ended(struct store_io *io, struct status status)
{
    if (!status_ok(status) && status_ok(io->outcome))
        io->outcome = status;
    if (io->pending == 0 && io->cursor == io->bytes / STORE_BLOCK_BYTES)
        write_end(io);
}

/*
 * S6: the file system of a disk in a file may be full, where nothing has been written yet.  One
 * that has no space for what is there already is broken, like a disk that fails.
 */
static struct status segment_outcome(const struct segment *s)
{
    const struct store_io *const io = s->owner;
    const uint64_t first = io->offset / STORE_BLOCK_BYTES;

    if (status_ok(s->io.status))
        return STATUS(OK);
    for (uint64_t b = s->first; b < s->first + s->count; b++) {
        const uint64_t touch = (first + b) / GRAIN_BLOCKS - first / GRAIN_BLOCKS;
        if ((io->overwrites[touch] >> (first + b) % GRAIN_BLOCKS & 1) == 0 &&
            status_is(s->io.status, STATUS_NO_SPACE))
            return STATUS(NO_SPACE);
    }
    return STATUS(MEDIA_WRITE);
}

static void write_on_segment(struct dev_io *dev_io)
{
    struct segment *const s = CONTAINER_OF(dev_io, struct segment, io);
    struct store_io *const io = s->owner;
    const struct status outcome = segment_outcome(s);

    assert(io->opcode == STORE_OP_WRITE);
    /* Also of first touches that fail as a command: no map names their blocks (F24). */
    if (status_ok(dev_io->status))
        sums_set_run(&io->session->store->sums, s->place, &io->crcs[s->first], s->count);
    segment_put(io->session->store, s);
    write_part_ended(io, outcome);
}

static void write_on_journal(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);

    assert(io->pending > 0);
    io->pending--;
    write_part_ended(io, status_ok(status) ? status : STATUS(MEDIA_WRITE));
}

/* Where a block of the command lies. */
static uint64_t write_place(const struct map *map, const struct layer *layer, uint64_t block)
{
    return map_place(map, &layer->grains[block / GRAIN_BLOCKS], (uint32_t)(block % GRAIN_BLOCKS));
}

void write_advance(struct store_io *io)
{
    struct store *const store = io->session->store;
    const struct map *const map = &io->target->map;
    const struct layer *const layer = map_layer(map, write_generation(io, io->target));
    const uint32_t blocks = (uint32_t)(io->bytes / STORE_BLOCK_BYTES);
    const uint64_t first = io->offset / STORE_BLOCK_BYTES;

    io->pending++; /* Held until all parts are on their way. */
    while (io->cursor < blocks) {
        struct segment *const s =
            segment_get(store, io, write_place(map, layer, first + io->cursor));
        if (s == NULL)
            break; /* segment_put() resumes. */
        s->first = io->cursor;
        s->count = 1;
        while (s->first + s->count < blocks && sums_run(s->place, s->count + 1) > s->count &&
               write_place(map, layer, first + s->first + s->count) == s->place + s->count)
            s->count++;
        io->cursor += s->count;
        /* With records, FUA ends with a flush of everything instead. */
        dev_write(store->dev, &s->io, store_data_offset(store, s->place),
                  span_const(span_sub(io->data, (size_t)s->first * STORE_BLOCK_BYTES,
                                      (size_t)s->count * STORE_BLOCK_BYTES)),
                  io->fua && io->sequence == 0, write_on_segment);
    }
    io->pending--;
}

void write_abandon(struct store_io *io)
{
    assert(io->session->store->failed);
    io->cursor = (uint32_t)(io->bytes / STORE_BLOCK_BYTES);
    write_part_ended(io, STATUS(MEDIA_WRITE));
}

/* F21: the copies are durable: the data may go home. */
static void write_on_copied(struct journal_waiter *waiter, struct status status)
{
    struct store_io *const io = CONTAINER_OF(waiter, struct store_io, waiter);

    assert(io->pending == 1);
    io->pending--;
    if (status_ok(status)) {
        write_advance(io);
        store_kick(io->session->store); /* Checksums may have to be loaded, or written. */
        return;
    }
    io->cursor = (uint32_t)(io->bytes / STORE_BLOCK_BYTES);
    write_part_ended(io, STATUS(MEDIA_WRITE));
}

static bool write_has_copies(const struct store_io *io)
{
    return write_overwrites(io) && !store_overwrites_in_place(io->session->store);
}

static void write_go(struct store_io *io, struct shard *shard, const struct need *need)
{
    struct store *const store = io->session->store;
    struct layer *layer;
    struct status st = need->cells > 0
                           ? cell_lists_reserve(&store->catalog.lists, STORE_IO_GRAINS_MAX)
                           : STATUS(OK);

    if (status_ok(st) && shard == NULL)
        st = shard_create(io, io->shard, io->copyset, &shard);
    if (status_ok(st) && volume_has_lists(&io->session->volume->desc))
        st = regions_reserve(shard);
    if (status_ok(st))
        st = map_layer_make(&shard->map, write_generation(io, shard), &layer);
    if (!status_ok(st)) {
        command_finish(io, st);
        return;
    }
    command_activate(io, shard);
    io->promised = need->map_bytes;
    store->catalog.usage.promised += io->promised;
    listing_enter(io, shard);
    write_record(io, shard, layer);
    write_enter_regions(io, true);
    if (write_has_copies(io)) {
        io->pending++;
        io->waiter = (struct journal_waiter) { .sequence = io->last, .fn = write_on_copied };
        journal_wait_flushed(store->journal, &io->waiter);
        return;
    }
    if (io->sequence != 0) {
        io->pending++;
        io->waiter = (struct journal_waiter) { .sequence = io->last, .fn = write_on_journal };
        journal_wait_written(store->journal, &io->waiter);
    }
    write_advance(io);
}

bool write_admit(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct shard *const shard = catalog_shard_by_index(io->session->volume, io->shard);

    assert(io->crcs != NULL);
    if (shard == NULL && !io->create) {
        command_finish(io, STATUS(UNKNOWN_SHARD));
        return true;
    }
    /* F27: the description that gives the volume its shards comes first. */
    if (shard == NULL && io->shard >= store_volume_shards(&io->session->volume->desc)) {
        command_finish(io, STATUS(OUT_OF_RANGE));
        return true;
    }
    if (shard != NULL && (!range_is_settled(store, shard, io->offset, io->bytes) ||
                          command_conflicts(shard, io, true)))
        return false;
    struct need need = write_needs(io, shard);
    struct status st = write_check_space(store, &need);
    if (status_ok(st))
        st = listing_prepare(io, shard, write_overwrites(io) && store_overwrites_in_place(store),
                             &need.record_bytes, &need.wait);
    if (!status_ok(st)) {
        command_finish(io, st);
        return true;
    }
    if (command_may_be_lost(io) && !busy_ensure_marked(store, io->session->volume))
        need.wait = true;
    if (!journal_has_room_for_data(store->journal, need.record_bytes, need.copies,
                                   need.copy_blocks)) {
        if (journal_ring_is_short(store->journal))
            checkpoint_request(store);
        if (!need.wait)
            journal_hold(store->journal, true); /* For the rest of this pass. */
        return false;
    }
    if (need.wait)
        return false;
    write_go(io, shard, &need);
    return true;
}

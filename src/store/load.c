/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a disk's metadata into a store's state; writes nothing.
 *
 *   SUPERBLOCK -> CHECKPOINT -> SCAN -> REPLAY -> SUMS -> END
 *                     |                            ^
 *                     +---- (closed cleanly) ------+
 *
 * Each state waits for one thing; any failure goes to END.
 */
#include "store/load.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOAD_SUPERBLOCK, LOAD_CHECKPOINT, LOAD_SCAN, LOAD_REPLAY, LOAD_SUMS, LOAD_END };

static const struct sm_state states[] = {
    [LOAD_SUPERBLOCK] = { "superblock", SM_TO(LOAD_CHECKPOINT) | SM_TO(LOAD_END) },
    [LOAD_CHECKPOINT] = { "checkpoint", SM_TO(LOAD_SCAN) | SM_TO(LOAD_SUMS) | SM_TO(LOAD_END) },
    [LOAD_SCAN] = { "scan", SM_TO(LOAD_REPLAY) | SM_TO(LOAD_END) },
    [LOAD_REPLAY] = { "replay", SM_TO(LOAD_SUMS) | SM_TO(LOAD_END) },
    [LOAD_SUMS] = { "sums", SM_TO(LOAD_END) },
    [LOAD_END] = { "end", 0 },
};

#define LOAD_BLOCKS 32

static void load_step(struct load *l, struct status status);

void store_load_problem(struct load *l, const char *format, ...)
{
    char text[LOAD_PROBLEM_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    l->told = true;
    l->problem(l->ctx, text);
}

static struct load *load_of(struct sweep *sweep)
{
    return CONTAINER_OF(sweep, struct load, sweep);
}

static void load_on_sweep(struct sweep *sweep, struct status status)
{
    load_step(load_of(sweep), status);
}

static void load_sweep(struct load *l, const struct sweep_ops *ops, unsigned depth,
                       size_t buffer_bytes)
{
    l->sweep.ops = ops;
    l->sweep.dev = l->dev;
    l->sweep.depth = depth;
    l->sweep.buffer_bytes = buffer_bytes;
    l->next = 0;
    sweep_start(&l->sweep);
}

/* ---- SUPERBLOCK ---- */

static bool superblock_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct load *const l = load_of(sweep);

    if (l->next == SUPERBLOCK_SLOTS)
        return false;
    slot->offset = superblock_offset((unsigned)l->next);
    slot->bytes = SUPERBLOCK_BYTES;
    slot->arg[0] = l->next++;
    return true;
}

/* F1: each is read for itself, and one that cannot be read is as good as one that is damaged. */
static struct status superblock_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct load *const l = load_of(sweep);
    uint8_t *const at = l->slots + slot->arg[0] * SUPERBLOCK_BYTES;

    if (status_ok(slot->status)) {
        memcpy(at, slot->buffer, SUPERBLOCK_BYTES);
        return STATUS(OK);
    }
    memset(at, 0, SUPERBLOCK_BYTES);
    l->unread = slot->status;
    return STATUS(OK);
}

static const struct sweep_ops superblock_ops = {
    .next = superblock_next,
    .item = superblock_item,
    .done = load_on_sweep,
};

/* Without a good superblock, one that cannot be read is not one that is not there: whoever hears
 * that may format the disk. */
static struct status MUST_CHECK load_choose_superblock(struct load *l)
{
    const struct status st = superblock_choose(
        (struct const_span) { l->slots, (size_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES }, &l->sb,
        &l->slot, &l->slots_bad);

    return status_is(st, STATUS_NOT_FOUND) && !status_ok(l->unread) ? l->unread : st;
}

static struct status MUST_CHECK load_check_identity(struct load *l)
{
    const struct superblock *const sb = &l->sb;

    if (!uuid_is_nil(l->cluster) && !uuid_equal(l->cluster, sb->cluster)) {
        store_load_problem(l, "disk '%s' belongs to cluster '%s' (%s)", sb->disk_name,
                           sb->cluster_name, uuid_format(sb->cluster).s);
        return STATUS(FOREIGN);
    }
    if (sb->device_bytes > l->dev->info.bytes) {
        store_load_problem(l,
                           "the device has %" PRIu64 " bytes, but the disk uses %" PRIu64
                           ": it was cut short, and has lost what lay there",
                           l->dev->info.bytes, sb->device_bytes);
        return STATUS(CORRUPT);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK load_make_store(struct load *l)
{
    const uint64_t grains = l->sb.layout.data_grains;
    const uint64_t table_blocks = disk_layout_sums_blocks(grains);

    TRY(store_create(l->dev, &l->sb, l->checksum_bytes, &l->store));
    l->store->sb_writer.older = l->slot ^ 1;
    l->store->catalog.applies = true;
    l->apply = (struct apply) {
        .store = l->store,
        .checkpoint = true,
        .unsettled = calloc(grains, sizeof(uint32_t)),
        .was_zero = calloc(grains, sizeof(uint32_t)),
    };
    l->bad_sums =
        (struct bitmap) { calloc(BITMAP_WORDS(table_blocks), sizeof(uint64_t)), table_blocks };
    if (l->apply.unsettled == NULL || l->apply.was_zero == NULL || l->bad_sums.words == NULL)
        return STATUS(NO_MEMORY);
    return STATUS(OK);
}

static struct status MUST_CHECK load_on_superblock(struct load *l)
{
    const struct status st = load_choose_superblock(l);

    if (status_is(st, STATUS_NOT_FOUND))
        store_load_problem(l, "there is no superblock at 0 or 4096: not a Trilith disk");
    else if (!status_ok(st))
        store_load_problem(l, "the superblocks at 0 and 4096: %s", status_text(st));
    TRY(st);
    TRY(load_check_identity(l));
    return load_make_store(l);
}

/* ---- CHECKPOINT ---- */

static bool load_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct load *const l = load_of(sweep);
    const uint64_t count = min_u64(LOAD_BLOCKS, l->sb.checkpoint_blocks - l->next);

    if (count == 0)
        return false;
    const struct disk_extent at =
        disk_layout_checkpoint_at(&l->sb.layout, l->sb.checkpoint_area, l->next * DISK_BLOCK_BYTES);
    slot->offset = at.offset;
    slot->bytes = min_u64(count * DISK_BLOCK_BYTES, at.bytes);
    slot->arg[0] = l->next;
    l->next += slot->bytes / DISK_BLOCK_BYTES;
    return true;
}

/* F3. */
static struct status MUST_CHECK load_block(struct load *l, struct const_span block, uint64_t index)
{
    struct metablock head;

    TRY(metablock_open(block, METABLOCK_CHECKPOINT, &head));
    if (head.tag != l->sb.tag || head.owner != l->sb.checkpoint_sequence || head.sequence != index)
        return STATUS(CORRUPT);
    return apply_records(&l->apply, metablock_payload(block, &head), (struct const_span) { 0 });
}

static struct status load_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct load *const l = load_of(sweep);

    TRY(slot->status);
    for (uint64_t i = 0; i * DISK_BLOCK_BYTES < slot->bytes; i++) {
        const struct const_span block = { slot->buffer + i * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES };
        const struct status st = load_block(l, block, slot->arg[0] + i);
        if (status_ok(st))
            continue;
        if (status_is(st, STATUS_NO_MEMORY))
            return st; /* Not the disk's fault. */
        store_load_problem(l, "checkpoint block %" PRIu64 " at %" PRIu64 ": %s", slot->arg[0] + i,
                           slot->offset + i * DISK_BLOCK_BYTES, status_text(st));
        return STATUS(CORRUPT);
    }
    return STATUS(OK);
}

static const struct sweep_ops load_ops = {
    .next = load_next,
    .item = load_item,
    .done = load_on_sweep,
};

/* ---- SCAN and REPLAY ---- */

static struct status load_on_block(void *ctx, const struct metablock *head,
                                   struct const_span payload, struct const_span data)
{
    struct load *const l = ctx;

    l->apply.sequence = head->sequence;
    const struct status st = apply_records(&l->apply, payload, data);
    if (!status_ok(st) && !status_is(st, STATUS_NO_MEMORY))
        store_load_problem(l, "journal block %" PRIu64 ": a record that cannot be: %s",
                           head->sequence, status_text(st));
    return st;
}

static void load_on_scan(void *ctx, struct status status)
{
    struct load *const l = ctx;

    l->log = journal_scan_get_result(l->scan);
    if (status_is(status, STATUS_CORRUPT) && !l->told)
        store_load_problem(l,
                           "journal block %" PRIu64 " at %" PRIu64
                           " is damaged; everything up to block %" PRIu64 " was durable",
                           l->log.end, l->log.bad_offset, l->log.flushed);
    if (status_is(status, STATUS_IO) || status_is(status, STATUS_MEDIA_READ))
        store_load_problem(l,
                           "journal block %" PRIu64 " at %" PRIu64
                           " cannot be read: whether the log ends there is not known",
                           l->log.end, l->log.bad_offset);
    load_step(l, status);
}

static struct status MUST_CHECK load_scan(struct load *l, bool replay)
{
    const struct journal_scan_config config = {
        .dev = l->dev,
        .ring = l->sb.layout.part[LAYOUT_JOURNAL],
        .tag = l->sb.tag,
        .life = l->sb.life,
        .start = l->sb.journal_start,
        .flushed = l->sb.journal_flushed,
        .block = replay ? load_on_block : NULL,
        .done = load_on_scan,
        .ctx = l,
    };
    const struct journal_scan_result known = l->log;

    l->apply.checkpoint = false;
    l->apply.settled = known.settled;
    return journal_scan_start(&config, replay ? &known : NULL, &l->scan);
}

/* ---- The map is complete ---- */

/* The cells of an item; false if another has one of them. */
static bool load_claim_item(struct load *l, const struct walk_item *item)
{
    struct space *const space = &l->store->space;
    const uint64_t first = item->extent.place / CELL_BLOCKS;
    const uint32_t cells =
        grain_cells(walk_grain(item)->data) >> (item->extent.first / CELL_BLOCKS);
    bool good = true;

    if (cells == GRAIN_OWNED && item->extent.count == GRAIN_BLOCKS &&
        first % SPACE_PLACE_CELLS == 0 && space_take_place(space, first))
        return true;
    for (uint32_t i = 0; i < item->extent.count / CELL_BLOCKS; i++) {
        if ((cells >> i & 1) == 0 || space_take(space, first + i))
            continue;
        store_load_problem(l,
                           "data cell %" PRIu64 " is used twice, by shard %" PRIu32 " of '%s' too",
                           first + i, item->shard->index, item->shard->volume->desc.name);
        good = false;
    }
    return good;
}

/* F5: who owns what is known only now. */
static struct status MUST_CHECK load_claim_cells(struct load *l)
{
    struct walk w = { 0 };
    struct walk_item item;
    bool good = true;

    while (store_walk_next(l->store, &w, &item))
        good &= load_claim_item(l, &item);
    return good || l->go_on ? STATUS(OK) : STATUS(CORRUPT);
}

/* F27: shards are created behind the description that the volume has them by. */
static struct status MUST_CHECK load_check_shards(struct load *l)
{
    const struct catalog *const c = &l->store->catalog;
    struct status st = STATUS(OK);

    for (uint32_t i = 0; i < c->shard_count; i++) {
        const struct shard *const s = c->shards[i];
        const uint64_t shards = store_volume_shards(&s->volume->desc);
        if (s->index < shards)
            continue;
        store_load_problem(l, "volume '%s' has %" PRIu64 " shards, and shard %" PRIu32 " is there",
                           s->volume->desc.name, shards, s->index);
        st = STATUS(CORRUPT);
    }
    return l->go_on ? STATUS(OK) : st;
}

/* F22: only now are all copysets of one moment, and a checkpoint has room for them. */
static struct status MUST_CHECK load_check_copysets(struct load *l)
{
    struct catalog *const c = &l->store->catalog;

    c->applies = false;
    if (c->copyset_count <= c->limits.copysets)
        return STATUS(OK);
    store_load_problem(l, "it has %" PRIu32 " copysets, more than %" PRIu32, c->copyset_count,
                       c->limits.copysets);
    return l->go_on ? STATUS(OK) : STATUS(CORRUPT);
}

uint32_t store_load_blocks_without_sum(const struct load *l, const struct map *map,
                                       const struct grain *g)
{
    uint32_t lost = 0;

    if (!l->any_bad_sums)
        return 0;
    for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
        const uint32_t data = g->data & cell_mask(i);
        if (data == 0)
            continue;
        const uint32_t cell = map_cell(map, g, i);
        const uint32_t place = cell / SPACE_PLACE_CELLS;
        if (!bitmap_get(&l->bad_sums, sums_table_block_of(place)))
            continue;
        const uint32_t known =
            sums_recovered(&l->store->sums, place) >> (cell % SPACE_PLACE_CELLS * CELL_BLOCKS) &
            0xf;
        lost |= data & ~(known << (i * CELL_BLOCKS));
    }
    return lost;
}

/* ---- SUMS ---- */

/* The end of the extension that has the cell; 0 if none has it. */
static uint64_t load_extension_end(const struct load *l, uint64_t cell)
{
    for (uint32_t i = 0; i < l->sb.layout.extension_count; i++) {
        const struct disk_grains taken = disk_layout_taken(&l->sb.layout, i);
        const uint64_t first = taken.first * SPACE_PLACE_CELLS;
        const uint64_t end = first + taken.count * SPACE_PLACE_CELLS;
        if (cell >= first && cell < end)
            return end;
    }
    return 0;
}

/* Which table blocks hold what the map needs. */
static void load_mark_used(struct load *l)
{
    const struct space *const space = &l->store->space;
    uint64_t cell = space_next_used(space, 0);

    while (cell != BITMAP_NONE) {
        const uint64_t table_block = sums_table_block_of(cell / SPACE_PLACE_CELLS);
        uint64_t next = load_extension_end(l, cell); /* Of which nobody has CRCs. */
        if (next == 0) {
            sums_set_used(&l->store->sums, table_block);
            next = (table_block + 1) * SUMS_GRAINS_PER_BLOCK * SPACE_PLACE_CELLS;
        }
        cell = space_next_used(space, next);
    }
}

/* A slot that was written and is damaged, even if the other one will do. */
static void sums_on_bad_slot(void *ctx, uint64_t table_block, unsigned slot, bool unread)
{
    struct load *const l = ctx;

    if (!l->go_on || store_load_may_be_torn(l))
        return;
    if (l->bad_slot != NULL)
        l->bad_slot(l->ctx, table_block, unread);
    store_load_problem(l, "checksum table block %" PRIu64 ", slot %u at %" PRIu64 ": damaged",
                       table_block, slot,
                       disk_layout_sums_at(&l->sb.layout, table_block * SUMS_PAIR_BYTES) +
                           slot * (uint64_t)DISK_BLOCK_BYTES);
}

static void sums_on_lost(void *ctx, uint64_t table_block)
{
    struct load *const l = ctx;

    bitmap_set(&l->bad_sums, table_block);
    l->any_bad_sums = true;
}

static void sums_on_progress(void *ctx)
{
    struct load *const l = ctx;

    if (!sums_loader_is_busy(&l->store->sums_loader))
        load_step(l, STATUS(OK));
}

/* Loads what the replay has begun to change, or, for a check, everything. */
static void sums_start(struct load *l)
{
    struct sums_loader *const loader = &l->store->sums_loader;

    l->plain = (struct load_callbacks) { loader->progress, loader->ctx };
    loader->progress = sums_on_progress;
    loader->bad_slot = sums_on_bad_slot;
    loader->lost = sums_on_lost;
    loader->ctx = l;
    sums_loader_run(loader);
    if (!sums_loader_is_busy(loader))
        load_step(l, STATUS(OK));
}

/* From here on the loader is the store's. */
static void sums_end(struct load *l)
{
    struct sums_loader *const loader = &l->store->sums_loader;

    loader->progress = l->plain.progress;
    loader->ctx = l->plain.ctx;
    loader->bad_slot = NULL;
    loader->lost = NULL;
}

/* ---- The machine ---- */

/* Starts what the next state waits for. */
static struct status MUST_CHECK load_advance(struct load *l)
{
    switch (l->sm.now) {
    case LOAD_SUPERBLOCK:
        TRY(load_on_superblock(l));
        sm_move(&l->sm, LOAD_CHECKPOINT);
        load_sweep(l, &load_ops, 1, (size_t)LOAD_BLOCKS * DISK_BLOCK_BYTES);
        return STATUS(OK);
    case LOAD_CHECKPOINT:
        if (!l->sb.clean) {
            sm_move(&l->sm, LOAD_SCAN);
            return load_scan(l, false);
        }
        break;
    case LOAD_SCAN:
        sm_move(&l->sm, LOAD_REPLAY);
        return load_scan(l, true);
    case LOAD_REPLAY:
        break;
    default:
        sm_bug(&l->sm);
    }
    TRY(load_check_shards(l));
    TRY(load_check_copysets(l));
    TRY(load_claim_cells(l));
    load_mark_used(l);
    if (l->go_on)
        TRY(sums_want_all(&l->store->sums));
    sm_move(&l->sm, LOAD_SUMS);
    sums_start(l);
    return STATUS(OK);
}

static void load_end(struct load *l, struct status status)
{
    sm_move(&l->sm, LOAD_END);
    l->outcome = status;
    reactor_defer(l->dev->reactor, &l->task);
}

static void load_report(struct io_task *task)
{
    struct load *const l = CONTAINER_OF(task, struct load, task);

    l->done(l->ctx, l->outcome);
}

/* What the current state waited for has ended. */
static void load_step(struct load *l, struct status status)
{
    struct status st = status;

    if (status_ok(st) && l->sm.now == LOAD_SUMS) {
        sums_end(l);
        load_end(l, st);
        return;
    }
    if (status_ok(st))
        st = load_advance(l);
    if (!status_ok(st))
        load_end(l, st);
}

void store_load_start(struct load *l)
{
    assert(l->problem != NULL && l->done != NULL);
    assert(l->store == NULL);

    sm_init(&l->sm, states, LOAD_SUPERBLOCK);
    io_task_init(&l->task, load_report);
    if (l->dev->info.bytes < LAYOUT_DEVICE_BYTES_MIN) {
        store_load_problem(
            l, "it has %" PRIu64 " bytes, a disk has at least %" PRIu64 ": not a Trilith disk",
            l->dev->info.bytes, LAYOUT_DEVICE_BYTES_MIN);
        load_end(l, STATUS(NOT_FOUND));
        return;
    }
    l->slots = aligned_alloc(SUPERBLOCK_BYTES, (size_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES);
    if (l->slots == NULL) {
        load_end(l, STATUS(NO_MEMORY));
        return;
    }
    l->unread = STATUS(OK);
    load_sweep(l, &superblock_ops, 1, SUPERBLOCK_BYTES);
}

void store_load_fini(struct load *l)
{
    for (size_t i = 0; i < l->apply.copies.count; i++)
        free(l->apply.copies.list[i].data);
    free(l->apply.copies.list);
    free(l->apply.unsettled);
    free(l->apply.was_zero);
    free(l->apply.was_spoiled);
    free(l->bad_sums.words);
    free(l->slots);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies a disk at rest: F1 to F8, and F26, of docs/disk-format.md.  It writes only what it was
 * asked to repair.
 *
 *   load the metadata, going on where that is possible --> read all data --> report
 *
 * All checksums are in memory: data are read grain by grain of each shard, and lie anywhere on the
 * disk, and a repair of the table begins with what the table was found to hold.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "store/load.h"
#include "store/repair.h"

#define CHECK_DEPTH 8

struct check {
    struct dev *dev;
    struct store_check_report *report;
    store_done_fn *done;
    void *ctx;
    struct load load;
    struct sweep sweep;
    struct walk walk;
    struct repair repair;
    uint64_t bytes_all;
    uint64_t bytes_done;
    struct io_task task;
    struct status outcome;
};

static void check_problem(void *ctx, const char *text)
{
    struct check *const c = ctx;

    c->report->problems++;
    if (c->report->problem != NULL)
        c->report->problem(c->report->ctx, text);
}

static struct check *check_of(struct sweep *sweep)
{
    return CONTAINER_OF(sweep, struct check, sweep);
}

/* ---- All data ---- */

static bool check_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct check *const c = check_of(sweep);
    struct walk_item item;

    if (!store_walk_next(c->load.store, &c->walk, &item))
        return false;
    walk_to_slot(c->load.store, &item, slot);
    return true;
}

/* Blocks that need not match: a crash may have left them, and opening the disk settles them. */
static uint32_t check_excused(const struct check *c, const struct walk_item *item)
{
    const struct intent *const i =
        intent_find(&c->load.store->intents, item->shard, item->grain / REGION_GRAINS);

    if (i != NULL)
        return UINT32_MAX;
    return walk_bits(c->load.apply.unsettled, &item->shard->map, walk_grain(item));
}

/* F8: what is wrong with a block; NULL: nothing. */
static const char *check_block(const struct check *c, const struct sweep_slot *slot, uint32_t index,
                               bool lost, bool excused)
{
    const struct walk_item item = walk_from_slot(c->load.store, slot);
    const uint8_t *const at = slot->buffer + (size_t)index * STORE_BLOCK_BYTES;

    if (!status_ok(slot->status))
        return "cannot be read";
    if (lost)
        return "has lost its checksum";
    if (!excused &&
        crc32c(at, STORE_BLOCK_BYTES) != sums_get(&c->load.store->sums, item.extent.place + index))
        return "does not match its checksum";
    return NULL;
}

static void check_extent(struct check *c, const struct sweep_slot *slot)
{
    struct store *const store = c->load.store;
    const struct walk_item item = walk_from_slot(store, slot);
    const struct shard *const s = item.shard;
    const struct grain *const g = walk_grain(&item);
    const uint32_t lost = store_load_blocks_without_sum(&c->load, &s->map, g);
    const uint32_t excused = check_excused(c, &item) & ~lost;

    for (uint32_t i = 0; i < item.extent.count; i++) {
        const uint32_t b = item.extent.first + i;
        if ((g->data >> b & 1) == 0)
            continue;
        const char *const what =
            check_block(c, slot, i, (lost >> b & 1) != 0, (excused >> b & 1) != 0);
        if (what == NULL)
            continue;
        bitmap_set(&c->repair.doubt, sums_table_block_of((item.extent.place + i) / GRAIN_BLOCKS));
        store_load_problem(&c->load,
                           "volume '%s', shard %" PRIu32 ", offset %" PRIu64 " (device %" PRIu64
                           "): block %s",
                           s->volume->desc.name, s->index,
                           ((uint64_t)item.grain * GRAIN_BLOCKS + b) * STORE_BLOCK_BYTES,
                           store_data_offset(store, item.extent.place + i), what);
    }
}

static struct status check_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct check *const c = check_of(sweep);

    check_extent(c, slot);
    /* What lies between two cells is read along. */
    c->bytes_done = min_u64(c->bytes_done + slot->bytes, c->bytes_all);
    if (c->report->progress != NULL)
        c->report->progress(c->report->ctx, c->bytes_done, c->bytes_all);
    return STATUS(OK);
}

static void check_on_repaired(struct repair *r, struct status status)
{
    struct check *const c = CONTAINER_OF(r, struct check, repair);

    c->outcome = status;
    reactor_defer(c->dev->reactor, &c->task);
}

static void check_on_data(struct sweep *sweep, struct status status)
{
    struct check *const c = check_of(sweep);

    if (status_ok(status))
        repair_start(&c->repair, &c->load, c->report, check_on_repaired);
    else
        check_on_repaired(&c->repair, status);
}

static const struct sweep_ops check_ops = {
    .next = check_next,
    .item = check_item,
    .done = check_on_data,
};

/* ---- Metadata ---- */

/* F26: a clean close leaves every volume quiet. */
static void check_marks(struct check *c)
{
    LIST_FOR_EACH (n, &c->load.store->catalog.volumes) {
        const struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        if (c->load.sb.clean && v->busy.state != BUSY_QUIET)
            store_load_problem(&c->load,
                               "volume '%s' is marked busy, but the disk was closed cleanly",
                               v->desc.name);
    }
}

static void check_on_bad_slot(void *ctx, uint64_t table_block, bool unread)
{
    struct check *const c = ctx;

    bitmap_set(&c->repair.slots, table_block);
    if (unread)
        bitmap_set(&c->repair.unread, table_block);
}

/* F1.  A crash may have torn one in the middle of an update. */
static void check_superblocks(struct check *c)
{
    for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++) {
        if ((c->load.slots_bad >> i & 1) == 0 || store_load_may_be_torn(&c->load))
            continue;
        c->repair.superblocks |= 1u << i;
        store_load_problem(&c->load, "the superblock at %" PRIu64 " is damaged",
                           superblock_offset(i));
    }
}

static void check_on_loaded(void *ctx, struct status status)
{
    struct check *const c = ctx;

    if (!status_ok(status)) {
        /* What cannot be loaded and was told is the disk's fault, and the check has worked. */
        const bool told = c->report->problems > 0 && !status_is(status, STATUS_NO_MEMORY);
        c->outcome = told ? STATUS(OK) : status;
        reactor_defer(c->dev->reactor, &c->task);
        return;
    }
    check_superblocks(c);
    check_marks(c);
    const struct space *const space = &c->load.store->space;
    c->bytes_all = (space->cells - space->free - c->load.store->taken_cells) * CELL_BYTES;
    c->sweep.ops = &check_ops;
    c->sweep.dev = c->dev;
    c->sweep.depth = CHECK_DEPTH;
    c->sweep.buffer_bytes = STORE_GRAIN_BYTES;
    sweep_start(&c->sweep);
}

static void check_end(struct io_task *task)
{
    struct check *const c = CONTAINER_OF(task, struct check, task);
    store_done_fn *const done = c->done;
    void *const ctx = c->ctx;
    const struct status st = c->outcome;

    if (c->load.store != NULL)
        store_get_info(c->load.store, &c->report->info);
    store_destroy(c->load.store);
    store_load_fini(&c->load);
    repair_fini(&c->repair);
    free(c);
    done(ctx, st);
}

struct status store_check(struct dev *dev, struct store_check_report *report, store_done_fn *done,
                          void *ctx)
{
    struct check *const c = calloc(1, sizeof *c);

    assert(reactor_is_current(dev->reactor));
    assert(done != NULL);
    if (c == NULL)
        return STATUS(NO_MEMORY);
    report->problems = report->repairable = report->repaired = 0;
    report->info = (struct store_info) { 0 };
    *c = (struct check) { .dev = dev, .report = report, .done = done, .ctx = ctx };
    const struct status st =
        repair_init(&c->repair, disk_layout_sums_blocks(dev->info.bytes / STORE_GRAIN_BYTES + 1));
    if (!status_ok(st)) {
        repair_fini(&c->repair);
        free(c);
        return st;
    }
    c->load = (struct load) { .dev = dev,
                              .go_on = true,
                              .problem = check_problem,
                              .bad_slot = check_on_bad_slot,
                              .done = check_on_loaded,
                              .ctx = c };
    io_task_init(&c->task, check_end);
    store_load_start(&c->load);
    return STATUS(OK);
}

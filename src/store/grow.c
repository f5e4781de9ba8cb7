/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device that has become larger is taken in: docs/disk-format.md, section 4.10.
 *
 *   IDLE -> ALLOCATE -> FLUSH -> TURN -> SUPERBLOCK -> END -> IDLE
 *    |         |          |       |                     ^
 *    +---------+----------+-------+--(failed)-----------+
 *
 * ALLOCATE waits for the extension's space in a file, FLUSH for the new size to be durable, TURN
 * for checkpoints and other superblocks to end (grow_run() looks), SUPERBLOCK for both slots, END
 * for the loop's top.  Up to SUPERBLOCK the disk is as it was, whatever happens.
 */
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/size.h"
#include "store/store_internal.h"

enum { GROW_IDLE, GROW_ALLOCATE, GROW_FLUSH, GROW_TURN, GROW_SUPERBLOCK, GROW_END };

static const struct sm_state states[] = {
    [GROW_IDLE] = { "idle", SM_TO(GROW_ALLOCATE) | SM_TO(GROW_FLUSH) | SM_TO(GROW_END) },
    [GROW_ALLOCATE] = { "allocate", SM_TO(GROW_FLUSH) | SM_TO(GROW_END) },
    [GROW_FLUSH] = { "flush", SM_TO(GROW_TURN) | SM_TO(GROW_END) },
    [GROW_TURN] = { "turn", SM_TO(GROW_SUPERBLOCK) | SM_TO(GROW_END) },
    [GROW_SUPERBLOCK] = { "superblock", SM_TO(GROW_END) },
    [GROW_END] = { "end", SM_TO(GROW_IDLE) },
};

static void grow_report(struct io_task *task);

void grow_init(struct store *store)
{
    sm_init(&store->grow.sm, states, GROW_IDLE);
    io_task_init(&store->grow.task, grow_report);
}

bool grow_is_busy(const struct store *store)
{
    return store->grow.sm.now != GROW_IDLE;
}

/* ---- The end ---- */

static void grow_report(struct io_task *task)
{
    struct grow *const g = CONTAINER_OF(task, struct grow, task);
    struct store *const store = CONTAINER_OF(g, struct store, grow);

    sm_move(&g->sm, GROW_IDLE);
    store_kick(store); /* A close may wait for this. */
    g->done(g->ctx, &g->result);
}

static void grow_end(struct store *store, struct status status)
{
    struct grow *const g = &store->grow;

    g->result.status = status;
    sm_move(&g->sm, GROW_END);
    reactor_defer(store->reactor, &g->task);
}

static void grow_fail(struct store *store, struct status status, const char *what)
{
    struct store_grown *const r = &store->grow.result;

    (void)snprintf(r->problem, sizeof r->problem, "%s: %s", what, status_text(status));
    grow_end(store, status);
}

/* ---- The new size ---- */

static uint64_t layout_free_bytes(const struct disk_layout *layout)
{
    uint64_t grains = layout->data_grains;

    for (uint32_t i = 0; i < layout->extension_count; i++)
        grains -= disk_layout_taken(layout, i).count;
    return grains * STORE_GRAIN_BYTES;
}

uint64_t grow_possible_bytes(const struct store *store)
{
    const struct superblock *const sb = &store->sb;
    struct disk_layout next;

    if (!status_ok(disk_layout_grow(&sb->layout, sb->device_bytes, store->dev->info.bytes, &next)))
        return 0;
    return layout_free_bytes(&next) - layout_free_bytes(&sb->layout);
}

/* Why the device's size makes no growth. */
static void grow_refuse_size(struct store *store, struct status status)
{
    struct store_grown *const r = &store->grow.result;
    const uint64_t before = store->sb.device_bytes;
    const uint64_t now = store->dev->info.bytes;

    if (status_is(status, STATUS_LIMIT))
        (void)snprintf(r->problem, sizeof r->problem,
                       "it has grown %u times, and there is no room to say more",
                       LAYOUT_EXTENSIONS_MAX);
    else if (store->sb.layout.data_grains + LAYOUT_GROWTH_BYTES_MIN / STORE_GRAIN_BYTES >
             LAYOUT_GRAINS_MAX)
        (void)snprintf(r->problem, sizeof r->problem, "a disk uses at most %s of its device",
                       size_format(LAYOUT_GRAINS_MAX * STORE_GRAIN_BYTES).s);
    else if (now <= before)
        (void)snprintf(r->problem, sizeof r->problem,
                       "its device has %s, all of which it uses: make the device larger first",
                       size_format(now).s);
    else
        (void)snprintf(r->problem, sizeof r->problem,
                       "its device has become larger by %s, and it grows by %s or more",
                       size_format(now - before).s, size_format(LAYOUT_GROWTH_BYTES_MIN).s);
    grow_end(store, status);
}

/* Size, grains, data area and extensions, as the next superblock will have them. */
static struct status MUST_CHECK grow_lay_out(struct store *store)
{
    struct grow *const g = &store->grow;
    const uint64_t bytes = store->dev->info.bytes;

    TRY(disk_layout_grow(&store->sb.layout, store->sb.device_bytes, bytes, &g->layout));
    g->device_bytes = bytes;
    return STATUS(OK);
}

/* All memory that the new size takes. */
static struct status MUST_CHECK grow_reserve(struct store *store)
{
    TRY(space_reserve(&store->space, store->grow.layout.data_grains));
    return sums_reserve(&store->sums, store->grow.layout.data_grains);
}

/* F34: from here on the new cells may be given out.  How many regions may be open (section 4.9)
 * stays as it is until the next opening. */
static void grow_take_in(struct store *store)
{
    const struct disk_layout *const layout = &store->grow.layout;
    const struct disk_limits limits = disk_layout_limits(layout);

    assert(limits.map_bytes >= store->catalog.limits.map_bytes); /* F31: all of it may be in use. */
    assert(limits.volumes >= store->catalog.limits.volumes);
    assert(limits.shards >= store->catalog.limits.shards);
    space_extend(&store->space, layout->data_grains);
    for (uint32_t i = store->sb.layout.extension_count; i < layout->extension_count; i++)
        store_take_extension(store, layout, i);
    sums_extend(&store->sums, layout->data_grains);
    store->catalog.limits = limits;
    regions_extend(&store->regions, limits.region_bytes);
}

/* ---- SUPERBLOCK ---- */

static void grow_on_superblock(struct store *store, struct status status)
{
    struct grow *const g = &store->grow;

    if (!status_ok(status)) {
        grow_fail(store, status, "its superblock could not be written");
        store_fail(store, status);
        return;
    }
    if (!MUTATION(S1_GROWN_EARLY))
        grow_take_in(store);
    store->sb = g->sb;
    g->result.data_bytes = layout_free_bytes(&g->layout);
    grow_end(store, status);
}

static void grow_write_superblock(struct store *store)
{
    struct grow *const g = &store->grow;

    g->sb = store->sb;
    g->sb.sequence++;
    g->sb.device_bytes = g->device_bytes;
    g->sb.layout = g->layout;
    superblock_write(store, &g->sb, grow_on_superblock);
}

void grow_run(struct store *store)
{
    struct grow *const g = &store->grow;

    if (g->sm.now != GROW_TURN)
        return;
    if (store->failed) {
        grow_fail(store, STATUS(MEDIA_WRITE), "the disk has failed");
        return;
    }
    if (checkpoint_is_busy(store) || store->sb_writer.done != NULL)
        return; /* It kicks when it ends. */
    sm_move(&g->sm, GROW_SUPERBLOCK);
    grow_write_superblock(store);
}

/* ---- FLUSH ---- */

static void grow_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct grow *const g = CONTAINER_OF(waiter, struct grow, waiter);
    struct store *const store = CONTAINER_OF(g, struct store, grow);

    if (!status_ok(status)) {
        grow_fail(store, status, "its device could not be flushed");
        return; /* The journal has failed by it, and the store will. */
    }
    sm_move(&g->sm, GROW_TURN);
    store_kick(store);
}

/* F34: a file's size is not durable by itself. */
static void grow_flush(struct store *store)
{
    struct grow *const g = &store->grow;

    sm_move(&g->sm, GROW_FLUSH);
    g->waiter = (struct journal_waiter) { .sequence = 0, .fn = grow_on_flushed };
    journal_wait_flushed(store->journal, &g->waiter);
}

/* ---- ALLOCATE ---- */

static void grow_on_allocated(struct dev_io *io)
{
    struct grow *const g = CONTAINER_OF(io, struct grow, io);
    struct store *const store = CONTAINER_OF(g, struct store, grow);

    if (status_ok(io->status))
        grow_flush(store);
    else
        grow_fail(store, io->status, "its tables got no space");
}

/* S6: of an extension, if there is a new one. */
static void grow_allocate(struct store *store)
{
    struct grow *const g = &store->grow;
    const uint32_t last = g->layout.extension_count - 1;

    if (MUTATION(S1_GROWN_EARLY))
        grow_take_in(store);
    if (g->layout.extension_count == store->sb.layout.extension_count) {
        grow_flush(store);
        return;
    }
    sm_move(&g->sm, GROW_ALLOCATE);
    dev_allocate(store->dev, &g->io, g->layout.extension[last].offset,
                 disk_layout_taken(&g->layout, last).count * STORE_GRAIN_BYTES, grow_on_allocated);
}

/* ---- The start ---- */

static struct status MUST_CHECK grow_check(const struct store *store)
{
    if (store->failed)
        return STATUS(MEDIA_WRITE);
    return store->closing ? STATUS(SHUTTING_DOWN) : STATUS(OK);
}

void store_grow(struct store *store, store_grown_fn *done, void *ctx)
{
    struct grow *const g = &store->grow;

    assert(reactor_is_current(store->reactor));
    assert(done != NULL);
    assert(store->serving && !grow_is_busy(store));

    g->done = done;
    g->ctx = ctx;
    g->result = (struct store_grown) { 0 };
    struct status st = grow_check(store);
    if (!status_ok(st)) {
        grow_fail(store, st, store->failed ? "the disk has failed" : "the disk is being closed");
        return;
    }
    st = dev_refresh(store->dev);
    if (!status_ok(st)) {
        grow_fail(store, st, "its device has become smaller, or does not tell its size");
        return;
    }
    st = grow_lay_out(store);
    if (!status_ok(st)) {
        grow_refuse_size(store, st);
        return;
    }
    st = grow_reserve(store);
    if (status_ok(st))
        grow_allocate(store);
    else
        grow_fail(store, st, "it serves on at its old size");
}

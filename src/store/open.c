/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a device to a serving store: docs/disk-format.md, section 5.
 *
 *   FLUSH -> LOAD -> HOME -> VERIFY -> WRITE -> END
 *             |                                ^
 *             +--(the flush has failed)--> RECORD
 *
 * Each state waits for one thing; any failure goes to END.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "store/load.h"

enum { OPEN_FLUSH, OPEN_LOAD, OPEN_HOME, OPEN_VERIFY, OPEN_WRITE, OPEN_RECORD, OPEN_END };

static const struct sm_state states[] = {
    [OPEN_FLUSH] = { "flush", SM_TO(OPEN_LOAD) | SM_TO(OPEN_END) },
    [OPEN_LOAD] = { "load", SM_TO(OPEN_HOME) | SM_TO(OPEN_RECORD) | SM_TO(OPEN_END) },
    [OPEN_HOME] = { "home", SM_TO(OPEN_VERIFY) | SM_TO(OPEN_END) },
    [OPEN_VERIFY] = { "verify", SM_TO(OPEN_WRITE) | SM_TO(OPEN_END) },
    [OPEN_WRITE] = { "write", SM_TO(OPEN_END) },
    [OPEN_RECORD] = { "record", SM_TO(OPEN_END) },
    [OPEN_END] = { "end", 0 },
};

#define VERIFY_DEPTH 8

struct opening {
    struct sm sm;
    struct dev *dev;
    void (*done)(void *ctx, const struct store_opened *opened);
    void *ctx;
    struct store_opened result;
    struct status flushed; /* How the first flush ended. */
    struct load load;
    struct sweep sweep;
    struct walk walk;
    struct walk_item item; /* Of it, what is being verified ... */
    uint32_t blocks;       /* ... and what of that is left. */
    bool again;            /* A row could not be read: once more, block by block. */
    bool by_block;         /* What could not be transferred at once is, block by block. */
    size_t next_copy;
    struct dev_io io;
    struct io_task task;
};

static void opening_step(struct opening *o, struct status status);

static struct opening *opening_of(struct sweep *sweep)
{
    return CONTAINER_OF(sweep, struct opening, sweep);
}

static void opening_on_io(struct dev_io *io)
{
    opening_step(CONTAINER_OF(io, struct opening, io), io->status);
}

static void opening_on_sweep(struct sweep *sweep, struct status status)
{
    opening_step(opening_of(sweep), status);
}

static void opening_on_loaded(void *ctx, struct status status)
{
    opening_step(ctx, status);
}

/* The last problem told is the one that ended it. */
static void opening_on_problem(void *ctx, const char *text)
{
    struct opening *const o = ctx;

    (void)snprintf(o->result.problem, sizeof o->result.problem, "%s", text);
}

/* ---- HOME: data of COPY records goes where it belongs (F21) ---- */

/* Blocks of a copy that the map still has where it says. */
static uint32_t copy_mapped(const struct opening *o, const struct copy *c)
{
    uint32_t mask = 0;

    const struct shard *const s = catalog_shard_by_id(&o->load.store->catalog, c->shard);
    const struct layer *const layer = s != NULL ? map_layer(&s->map, c->generation) : NULL;

    if (layer == NULL || c->grain >= s->map.grain_count)
        return 0;
    const struct grain *const g = &layer->grains[c->grain];
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t bit = grain_mask(c->first + i, 1);
        if ((g->data & c->live & bit) != 0 && map_place(&s->map, g, c->first + i) == c->place + i)
            mask |= bit;
    }
    return mask;
}

static bool home_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    struct apply *const a = &o->load.apply;

    while (o->next_copy < a->copies.count) {
        struct copy *const c = &a->copies.list[o->next_copy];
        const uint32_t mask = copy_mapped(o, c);
        if (mask == 0) {
            o->next_copy++;
            o->by_block = false;
            continue;
        }
        const uint32_t first = (uint32_t)__builtin_ctz(mask);
        uint32_t count = 1;
        while (!o->by_block && first + count < GRAIN_BLOCKS && (mask >> (first + count) & 1) != 0)
            count++;
        slot->arg[0] = first;
        slot->write = true;
        slot->bytes = (size_t)count * STORE_BLOCK_BYTES;
        slot->offset = store_data_offset(o->load.store, c->place + (first - c->first));
        memcpy(slot->buffer, c->data + (size_t)(first - c->first) * STORE_BLOCK_BYTES, slot->bytes);
        c->live &= ~grain_mask(first, count);
        /* From here on it is there: no first touch to be judged by J1. */
        apply_set_bits(a->unsettled, c->place + (first - c->first), count, false);
        return true;
    }
    return false;
}

/*
 * A block that cannot be written is a media error when it is read: its checksum is of what should
 * be there.  What there is no space for, which a file may have later, is not given up.
 */
static struct status home_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    const uint32_t count = (uint32_t)(slot->bytes / STORE_BLOCK_BYTES);

    if (status_ok(slot->status) || status_is(slot->status, STATUS_NO_SPACE))
        return slot->status;
    if (!o->by_block) { /* Each of them once more. */
        o->load.apply.copies.list[o->next_copy].live |= grain_mask((uint32_t)slot->arg[0], count);
        o->by_block = true;
    } else {
        o->load.store->media_errors++;
    }
    return STATUS(OK);
}

static const struct sweep_ops home_ops = {
    .next = home_next,
    .item = home_item,
    .done = opening_on_sweep,
};

/* ---- VERIFY: unsettled first touches (J1), and blocks without a checksum ---- */

/* Blocks of a grain that must be read: unsettled ones, and those that have no checksum. */
static uint32_t verify_blocks(const struct opening *o, const struct walk_item *item)
{
    const struct map *const map = &item->shard->map;
    const struct grain *const g = walk_grain(item);
    const uint32_t blocks = walk_bits(o->load.apply.unsettled, map, g) |
                            store_load_blocks_without_sum(&o->load, map, g);

    return blocks & grain_mask(item->extent.first, item->extent.count);
}

/* What is to be read next of what lies in a row. */
static bool verify_choose(struct opening *o)
{
    while (o->blocks == 0) {
        if (!store_walk_next(o->load.store, &o->walk, &o->item))
            return false;
        o->blocks = verify_blocks(o, &o->item);
    }
    return true;
}

static bool verify_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);

    if (!verify_choose(o))
        return false;
    /* From the first to the last: scattered first touches are a block each. */
    const uint32_t first = (uint32_t)__builtin_ctz(o->blocks);
    const uint32_t last = GRAIN_BLOCKS - 1 - (uint32_t)__builtin_clz(o->blocks);
    struct walk_item item = o->item;
    item.extent.place += first - item.extent.first;
    item.extent.first = first;
    item.extent.count = o->by_block ? 1 : last - first + 1;
    o->blocks = o->by_block ? o->blocks & (o->blocks - 1) : 0;
    walk_to_slot(o->load.store, &item, slot);
    return true;
}

/* J1: what does not match was never written. */
static void verify_drop(struct opening *o, const struct walk_item *item, uint32_t b)
{
    struct map *const map = &item->shard->map;
    struct grain *const g = walk_grain(item);
    const struct apply *const a = &o->load.apply;
    const uint64_t place = map_place(map, g, b);
    const uint32_t bit = UINT32_C(1) << (place % GRAIN_BLOCKS);
    const bool was_zero = (a->was_zero[place / GRAIN_BLOCKS] & bit) != 0;
    const bool was_spoiled =
        a->was_spoiled != NULL && (a->was_spoiled[place / GRAIN_BLOCKS] & bit) != 0;
    struct map_freed freed;

    if (was_spoiled)
        (void)map_spoil(map, item->layer, item->grain, grain_mask(b, 1), &freed);
    else
        (void)map_set_zero(map, g, grain_mask(b, 1), was_zero, &freed);
    cells_free_later(o->load.store, &freed, 0);
}

static void verify_block(struct opening *o, const struct walk_item *item, uint32_t b,
                         const uint8_t *at)
{
    struct store *const store = o->load.store;
    const struct shard *const s = item->shard;
    const struct grain *const g = walk_grain(item);
    const uint64_t block = map_place(&s->map, g, b);
    const uint32_t crc = crc32c(at, STORE_BLOCK_BYTES);

    if ((store_load_blocks_without_sum(&o->load, &s->map, g) >> b & 1) != 0) {
        sums_set(&store->sums, block, ~crc);
        return;
    }
    if ((walk_bits(o->load.apply.unsettled, &s->map, g) >> b & 1) == 0)
        return;
    apply_set_bits(o->load.apply.unsettled, block, 1, false); /* It is judged. */
    if (crc == sums_get(&store->sums, block))
        return;
    if (MUTATION(J1_ADOPT_FIRST_TOUCH))
        sums_set(&store->sums, block, crc);
    else
        verify_drop(o, item, b);
}

/*
 * A first touch that cannot be judged may be a stranger's bytes, which a suspect region would adopt
 * when they can be read again (S2): nobody has it any more (F40).  Where no region is ever suspect,
 * its checksum will tell.
 */
static struct status MUST_CHECK verify_give_up(struct opening *o, const struct walk_item *item)
{
    struct store *const store = o->load.store;
    struct map *const map = &item->shard->map;
    const uint32_t block = walk_bits(o->load.apply.unsettled, map, walk_grain(item)) &
                           grain_mask(item->extent.first, 1);
    struct map_freed freed;
    bool wait = false; /* No checkpoint is under way. */

    if (block == 0 || !store_overwrites_in_place(store))
        return STATUS(OK);
    TRY(catalog_check_usage(&store->catalog, MAP_SPOIL_BYTES, &wait));
    TRY(map_spoil_reserve(map, item->layer));
    (void)map_spoil(map, item->layer, item->grain, block, &freed);
    cells_free_later(store, &freed, 0);
    store->media_errors++;
    return STATUS(OK);
}

static struct status verify_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    const struct walk_item item = walk_from_slot(o->load.store, slot);
    const struct grain *const g = walk_grain(&item);

    if (!status_ok(slot->status) && item.extent.count == 1)
        return verify_give_up(o, &item);
    if (!status_ok(slot->status)) { /* The others of a row are judged all the same. */
        o->again = true;
        return STATUS(OK);
    }
    for (uint32_t i = 0; i < item.extent.count; i++) {
        const uint32_t b = item.extent.first + i;
        if ((g->data >> b & 1) != 0) /* verify_drop() may have taken others. */
            verify_block(o, &item, b, slot->buffer + (size_t)i * STORE_BLOCK_BYTES);
    }
    return STATUS(OK);
}

static const struct sweep_ops verify_ops = {
    .next = verify_next,
    .item = verify_item,
    .done = opening_on_sweep,
};

/* ---- WRITE ---- */

/* Whether answered writes may be gone without a Flush. */
static bool opening_incarnation_changes(const struct opening *o)
{
    return o->load.sb.failed || !uuid_equal(o->load.sb.boot_id, reactor_boot_id(o->dev->reactor));
}

/* F41: behind all that this disk may ever have told of. */
static uint64_t opening_log_end(const struct opening *o)
{
    const struct superblock *const sb = &o->load.sb;

    return sb->clean ? max_u64(sb->journal_start, sb->journal_flushed + 1) : o->load.log.end;
}

static void opening_new_life(struct opening *o)
{
    struct store *const store = o->load.store;

    const bool changes = opening_incarnation_changes(o);
    store->sb.has_points = true;
    if (changes) {
        superblock_end_incarnation(&store->past, store->incarnation, opening_log_end(o)); /* F41 */
        store->incarnation = incarnation_after(store->reactor, store->incarnation);
    }
    LIST_FOR_EACH (n, &store->catalog.volumes) {
        struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        /* F25; a disk of before its feature does not say who was busy. */
        v->loss |=
            changes && !o->load.sb.clean && (v->busy.state == BUSY_MARKED || !store->sb.marks_busy);
        v->busy.state = BUSY_QUIET; /* F26. */
    }
    store->sb.marks_busy = true;
    store->sb.grows = true;
    store->sb.has_cells = true;
    store->sb.has_replicas = true;
    store->sb.has_spoils = true;
    store->sb.incarnation = store->incarnation;
    store->sb.boot_id = reactor_boot_id(o->dev->reactor);
    store->sb.failed = false;
    store->sb.clean = false;
}

static void opening_on_written(struct store *store, struct status status)
{
    if (status_ok(status))
        store->sb_is_ours = true;
    opening_step(store->opening, status);
}

static struct status MUST_CHECK opening_write(struct opening *o)
{
    struct store *const store = o->load.store;
    const struct superblock *const sb = &o->load.sb;
    const uint64_t start = opening_log_end(o);
    uint64_t life;

    reactor_random(store->reactor, (struct span) { (uint8_t *)&life, sizeof life });
    opening_new_life(o);
    /* Records say how fine a list was; where that does not fit a checkpoint, it was coarser. */
    (void)regions_can_change(&store->regions, &store->catalog, 0);
    TRY(store_start_journal(store, life, start));
    store->opening = o;
    if (!sb->clean) {
        store->checkpoint.done = opening_on_written;
        checkpoint_request(store);
        return STATUS(OK);
    }
    struct superblock next = store->sb;
    next.sequence++;
    superblock_write(store, &next, opening_on_written);
    store->sb.sequence = next.sequence;
    return STATUS(OK);
}

/*
 * The flush that recovery begins with has failed: what the process before had completed may be
 * gone, and the next flush, of another process, may succeed.  The superblock that was found says
 * so from now on, and is otherwise as it was.
 */
static void opening_record_failure(struct opening *o)
{
    struct store *const store = o->load.store;
    struct superblock sb = o->load.sb;

    sb.sequence++;
    sb.failed = true;
    /* The one that counts may be newer than the flush before: the other one may be all there is. */
    if (o->load.slots_bad == 0)
        store->sb_writer.older = o->load.slot;
    store->opening = o;
    superblock_write(store, &sb, opening_on_written);
}

/* ---- The machine ---- */

/* Reports from the loop's top, where nothing of the store is on the stack. */
static void opening_report(struct io_task *task)
{
    struct opening *const o = CONTAINER_OF(task, struct opening, task);
    struct store *const store = o->load.store;

    if (!status_ok(o->result.status) && store != NULL && store->journal != NULL &&
        (journal_is_busy(store->journal) || store->sb_writer.done != NULL)) {
        reactor_defer(o->dev->reactor, task);
        return;
    }
    if (status_ok(o->result.status)) {
        sums_trim(&store->sums);
        store->opening = NULL;
        store->serving = true;
        o->result.store = store;
        if (store->intents.count > 0)
            store_watch_idle(store); /* Regions of before close like others. */
        store_kick(store);
    } else {
        store_destroy(store);
        if (o->result.problem[0] == 0)
            (void)snprintf(o->result.problem, sizeof o->result.problem, "while opening: %s",
                           status_text(o->result.status));
    }
    o->done(o->ctx, &o->result);
    store_load_fini(&o->load);
    free(o);
}

static void opening_end(struct opening *o, struct status status)
{
    sm_move(&o->sm, OPEN_END);
    o->result.status = status;
    o->result.disk = o->load.sb.disk;
    reactor_defer(o->dev->reactor, &o->task);
}

static void opening_sweep(struct opening *o, const struct sweep_ops *ops, unsigned depth)
{
    o->sweep.ops = ops;
    o->sweep.dev = o->dev;
    o->sweep.depth = depth;
    o->sweep.buffer_bytes = STORE_GRAIN_BYTES;
    sweep_start(&o->sweep);
}

/* Starts what the next state waits for. */
static struct status MUST_CHECK opening_advance(struct opening *o)
{
    switch (o->sm.now) {
    case OPEN_FLUSH:
        sm_move(&o->sm, OPEN_LOAD);
        store_load_start(&o->load);
        return STATUS(OK);
    case OPEN_LOAD:
        if (!status_ok(o->flushed) && o->load.sb.clean)
            return o->flushed; /* There was nothing to be lost. */
        if (!status_ok(o->flushed)) {
            sm_move(&o->sm, OPEN_RECORD);
            opening_record_failure(o);
            return STATUS(OK);
        }
        sm_move(&o->sm, OPEN_HOME);
        opening_sweep(o, &home_ops, 1); /* In order. */
        return STATUS(OK);
    case OPEN_HOME:
        sm_move(&o->sm, OPEN_VERIFY);
        opening_sweep(o, &verify_ops, VERIFY_DEPTH);
        return STATUS(OK);
    case OPEN_VERIFY:
        if (o->again && !o->by_block) {
            o->by_block = true;
            o->walk = (struct walk) { 0 };
            opening_sweep(o, &verify_ops, VERIFY_DEPTH);
            return STATUS(OK);
        }
        sm_move(&o->sm, OPEN_WRITE);
        return opening_write(o);
    default:
        break;
    }
    sm_bug(&o->sm);
}

/* What the current state waited for has ended. */
static void opening_step(struct opening *o, struct status status)
{
    struct status st = status;

    if (o->sm.now == OPEN_RECORD || (status_ok(st) && o->sm.now == OPEN_WRITE)) {
        opening_end(o, status_ok(o->flushed) ? st : o->flushed);
        return;
    }
    if (o->sm.now == OPEN_FLUSH) {
        o->flushed = status;
        st = STATUS(OK); /* Whose disk it is, and whether it matters, is known after LOAD. */
    }
    if (status_ok(st))
        st = opening_advance(o);
    if (!status_ok(st))
        opening_end(o, st);
}

struct status store_open(struct dev *dev, const struct store_config *config,
                         void (*done)(void *ctx, const struct store_opened *opened), void *ctx)
{
    struct opening *const o = calloc(1, sizeof *o);

    assert(reactor_is_current(dev->reactor));
    assert(done != NULL);
    if (o == NULL)
        return STATUS(NO_MEMORY);
    *o = (struct opening) { .dev = dev, .done = done, .ctx = ctx };
    o->load = (struct load) { .dev = dev,
                              .cluster = config->cluster,
                              .checksum_bytes = config->checksum_bytes,
                              .problem = opening_on_problem,
                              .done = opening_on_loaded,
                              .ctx = o };
    sm_init(&o->sm, states, OPEN_FLUSH);
    io_task_init(&o->task, opening_report);
    dev_flush(dev, &o->io, opening_on_io);
    return STATUS(OK);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: the whole state, written in the background while commands go on.
 * docs/disk-format.md, section 4.6.
 *
 *   IDLE -> FLUSH -> SUMS -> DUMP -> SYNC -> SUPERBLOCK -> IDLE
 *             |        |       |       |         |
 *             +--------+-------+-------+---------+--> IDLE (failed)
 *
 *   IDLE -> SUMS -> SYNC -> IDLE      only the checksum table, where memory is short (F32)
 *
 * FLUSH waits for a flush, so that the settled mark is as far as it gets; SUMS and DUMP for their
 * sweeps; SYNC for a flush of everything that the state may be built on; SUPERBLOCK for both
 * slots.
 */
#include <assert.h>

#include "store/checkpoint_dump.h"
#include "store/store_internal.h"

enum { CP_IDLE, CP_FLUSH, CP_SUMS, CP_DUMP, CP_SYNC, CP_SUPERBLOCK };

static const struct sm_state states[] = {
    [CP_IDLE] = { "idle", SM_TO(CP_FLUSH) | SM_TO(CP_SUMS) },
    [CP_FLUSH] = { "flush", SM_TO(CP_SUMS) | SM_TO(CP_IDLE) },
    [CP_SUMS] = { "sums", SM_TO(CP_DUMP) | SM_TO(CP_SYNC) | SM_TO(CP_IDLE) },
    [CP_DUMP] = { "dump", SM_TO(CP_SYNC) | SM_TO(CP_IDLE) },
    [CP_SYNC] = { "sync", SM_TO(CP_SUPERBLOCK) | SM_TO(CP_IDLE) },
    [CP_SUPERBLOCK] = { "superblock", SM_TO(CP_IDLE) },
};

#define SUMS_DEPTH   4
#define DUMP_DEPTH   2
#define DUMP_BLOCKS  16
#define USED_DIVISOR 2 /* A checkpoint starts when so much of the ring is in use. */
/* A table block's sequence grows by one each, and by a million at most in a life (2.4). */
#define WRITINGS_MAX (UINT32_C(1) << 19)

static_assert((size_t)SUMS_DEPTH * DISK_BLOCK_BYTES <= CHECKPOINT_BYTES &&
                  (size_t)DUMP_DEPTH * DUMP_BLOCKS * DISK_BLOCK_BYTES <= CHECKPOINT_BYTES,
              "the sweeps' buffers fit");

static void checkpoint_step(struct store *store, struct status status);

static struct store *store_of(struct sweep *sweep)
{
    return CONTAINER_OF(CONTAINER_OF(sweep, struct checkpoint, sweep), struct store, checkpoint);
}

void checkpoint_init(struct store *store)
{
    sm_init(&store->checkpoint.sm, states, CP_IDLE);
}

bool checkpoint_is_busy(const struct store *store)
{
    return store->checkpoint.sm.now != CP_IDLE;
}

/* Who asks again in each turn, until it has ended, does not keep the loop from sleeping. */
void checkpoint_request(struct store *store)
{
    if (store->checkpoint.wanted)
        return;
    store->checkpoint.wanted = true;
    store_kick(store);
}

/* ---- FLUSH and SYNC ---- */

static void checkpoint_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct checkpoint *const cp = CONTAINER_OF(waiter, struct checkpoint, waiter);

    checkpoint_step(CONTAINER_OF(cp, struct store, checkpoint), status);
}

static void checkpoint_flush(struct store *store, uint64_t sequence)
{
    struct checkpoint *const cp = &store->checkpoint;

    cp->waiter = (struct journal_waiter) { .sequence = sequence, .fn = checkpoint_on_flushed };
    journal_wait_flushed(store->journal, &cp->waiter);
}

/* ---- SUMS ---- */

static bool sums_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct store *const store = store_of(sweep);
    struct checkpoint *const cp = &store->checkpoint;
    const uint64_t at = sums_next_dirty(&store->sums, cp->sums_next);
    uint64_t offset;

    if (at == BITMAP_NONE)
        return false;
    if (!sums_can_encode(&store->sums, at)) {
        sweep->paused = true; /* checkpoint_run() resumes when it has been loaded. */
        return false;
    }
    cp->sums_next = at + 1;
    slot->arg[0] = at;
    slot->write = true;
    slot->bytes = DISK_BLOCK_BYTES;
    sums_encode(&store->sums, at, (struct span) { slot->buffer, DISK_BLOCK_BYTES }, &offset);
    slot->offset = disk_layout_sums_at(&store->sb.layout, offset);
    return true;
}

static struct status sums_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct store *const store = store_of(sweep);

    sums_written(&store->sums, slot->arg[0], status_ok(slot->status));
    store_kick(store); /* Somebody may wait for the frame. */
    return slot->status;
}

static void checkpoint_on_sweep(struct sweep *sweep, struct status status)
{
    checkpoint_step(store_of(sweep), status);
}

static const struct sweep_ops sums_ops = {
    .next = sums_next,
    .item = sums_item,
    .done = checkpoint_on_sweep,
};

/* ---- DUMP ---- */

static bool dump_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct store *const store = store_of(sweep);
    struct checkpoint *const cp = &store->checkpoint;
    const uint64_t first = cp->index;
    struct disk_extent at = { 0, DISK_BLOCK_BYTES }; /* Behind the end nothing is left to write. */

    if (first < cp->area_blocks)
        at = disk_layout_checkpoint_at(&store->sb.layout, cp->sb.checkpoint_area,
                                       first * DISK_BLOCK_BYTES);
    const uint64_t room = min_u64(DUMP_BLOCKS, at.bytes / DISK_BLOCK_BYTES);
    while (cp->index - first < room) {
        const struct span block = { slot->buffer + (cp->index - first) * DISK_BLOCK_BYTES,
                                    DISK_BLOCK_BYTES };
        const size_t payload = checkpoint_dump_block(store, block);
        if (payload == 0)
            break;
        metablock_seal(block, METABLOCK_CHECKPOINT,
                       &(struct metablock) { .tag = store->sb.tag,
                                             .owner = cp->sb.checkpoint_sequence,
                                             .sequence = cp->index,
                                             .payload_bytes = (uint32_t)payload });
        cp->index++;
        assert(cp->index <= cp->area_blocks); /* The layout's limits make it fit. */
    }
    slot->write = true;
    slot->bytes = (cp->index - first) * DISK_BLOCK_BYTES;
    slot->offset = at.offset;
    return slot->bytes > 0;
}

static const struct sweep_ops dump_ops = { .next = dump_next, .done = checkpoint_on_sweep };

static void checkpoint_sweep(struct store *store, const struct sweep_ops *ops, unsigned depth,
                             size_t buffer_bytes)
{
    struct sweep *const sweep = &store->checkpoint.sweep;

    sweep->ops = ops;
    sweep->dev = store->dev;
    sweep->depth = depth;
    sweep->buffer_bytes = buffer_bytes;
    sweep->lent = store->checkpoint.buffers;
    sweep_start(sweep);
}

/* ---- Regions that close (F18) ---- */

static void checkpoint_choose_closing(struct store *store)
{
    const uint64_t now = reactor_now_ns(store->reactor);
    /* Above the mark the least recently written quarter goes, idle or not. */
    uint32_t early = store->intents.count > INTENTS_HIGH ? LAYOUT_INTENTS_MAX / 4 : 0;

    LIST_FOR_EACH (n, &store->intents.open) {
        struct intent *const i = CONTAINER_OF(n, struct intent, link);
        const bool may = intent_may_close(i, store->checkpoint.start);
        const bool idle = now - i->last_ns >= INTENT_IDLE_NS;
        i->closing = may && (idle || store->checkpoint.for_close || early > 0);
        early -= may && early > 0 ? 1 : 0;
    }
}

static void checkpoint_close_regions(struct store *store)
{
    for (uint32_t k = 0; k < LAYOUT_INTENTS_MAX; k++) {
        struct intent *const i = &store->intents.table[k];
        if (i->state == INTENT_OPEN && i->closing)
            intent_move(&store->intents, i, INTENT_FREE);
    }
}

/* ---- The machine ---- */

static void checkpoint_begin(struct store *store)
{
    struct checkpoint *const cp = &store->checkpoint;

    cp->wanted = false;
    cp->sums_only = false;
    sm_move(&cp->sm, CP_FLUSH);
    checkpoint_flush(store, 0);
}

/* F32. */
static void checkpoint_begin_sums(struct store *store)
{
    struct checkpoint *const cp = &store->checkpoint;

    cp->sums_only = true;
    cp->writings++;
    cp->sums_next = 0;
    sm_move(&cp->sm, CP_SUMS);
    checkpoint_sweep(store, &sums_ops, SUMS_DEPTH, DISK_BLOCK_BYTES);
}

/* F23: the replay starts after what is settled now. */
static void checkpoint_begin_state(struct store *store)
{
    struct checkpoint *const cp = &store->checkpoint;

    cp->start = journal_get_marks(store->journal).settled + 1;
    cp->sums_next = 0;
    cp->index = 0;
    cp->sb = store->sb;
    cp->sb.checkpoint_area ^= 1;
    cp->sb.checkpoint_sequence++;
    cp->area_blocks =
        disk_layout_checkpoint_bytes(&store->sb.layout, cp->sb.checkpoint_area) / DISK_BLOCK_BYTES;
    store->catalog.usage.holds = true;
    store->regions.usage.holds = true;
    intents_hold(&store->intents, true);
    copysets_hold(&store->catalog, true);
    checkpoint_choose_closing(store);
    checkpoint_dump_begin(store);
}

static void checkpoint_on_superblock(struct store *store, struct status status)
{
    if (status_ok(status)) {
        store->checkpoint.writings = 0;
        store->sb = store->checkpoint.sb;
        store->sb_is_ours = true;
    }
    checkpoint_step(store, status);
}

static void checkpoint_write_superblock(struct store *store)
{
    struct checkpoint *const cp = &store->checkpoint;
    const struct journal_marks marks = journal_get_marks(store->journal);

    cp->sb.sequence = store->sb.sequence + 1;
    cp->sb.incarnation = store->incarnation;
    cp->sb.checkpoint_blocks = cp->index;
    cp->sb.journal_start = cp->start;
    cp->sb.journal_flushed = marks.flushed;
    cp->sb.clean = cp->for_close && marks.settled == marks.last;
    superblock_write(store, &cp->sb, checkpoint_on_superblock);
}

static void checkpoint_end(struct store *store, struct status status)
{
    struct checkpoint *const cp = &store->checkpoint;
    void (*const done)(struct store *, struct status) = cp->sums_only ? NULL : cp->done;

    sm_move(&cp->sm, CP_IDLE);
    if (!cp->sums_only)
        cp->done = NULL;
    store->catalog.usage.holds = false;
    store->catalog.usage.held = 0;
    store->regions.usage.holds = false;
    store->regions.usage.held = 0;
    intents_hold(&store->intents, false);
    copysets_hold(&store->catalog, false);
    if (status_ok(status) && !cp->sums_only) {
        checkpoint_close_regions(store);
        journal_advance_tail(store->journal, cp->start);
    } else if (!status_ok(status) && !store->failed) {
        store_fail(store, status);
    }
    store_kick(store);
    if (done != NULL)
        done(store, status);
}

/* What the current state waited for has ended. */
static void checkpoint_step(struct store *store, struct status status)
{
    struct checkpoint *const cp = &store->checkpoint;

    if (!status_ok(status) || store->failed) {
        checkpoint_end(store, status_ok(status) ? STATUS(MEDIA_WRITE) : status);
        return;
    }
    switch (cp->sm.now) {
    case CP_FLUSH:
        sm_move(&cp->sm, CP_SUMS);
        checkpoint_begin_state(store);
        checkpoint_sweep(store, &sums_ops, SUMS_DEPTH, DISK_BLOCK_BYTES);
        return;
    case CP_SUMS:
        if (cp->sums_only) {
            sm_move(&cp->sm, CP_SYNC);
            checkpoint_flush(store, 0);
            return;
        }
        sm_move(&cp->sm, CP_DUMP);
        checkpoint_sweep(store, &dump_ops, DUMP_DEPTH, (size_t)DUMP_BLOCKS * DISK_BLOCK_BYTES);
        return;
    case CP_DUMP:
        sm_move(&cp->sm, CP_SYNC);
        /* F22: the state is valid only with the journal that it was built on. */
        checkpoint_flush(store, journal_get_marks(store->journal).last);
        return;
    case CP_SYNC:
        if (cp->sums_only) {
            checkpoint_end(store, status);
            return;
        }
        sm_move(&cp->sm, CP_SUPERBLOCK);
        checkpoint_write_superblock(store);
        return;
    case CP_SUPERBLOCK:
        checkpoint_end(store, status);
        return;
    default:
        break;
    }
    sm_bug(&cp->sm);
}

/* F32: whether checksums must be written before more of them can change. */
static bool checkpoint_wants_sums(const struct store *store)
{
    return store->serving && sums_wants_writing(&store->sums);
}

void checkpoint_run(struct store *store)
{
    const uint64_t used = journal_used_blocks(store->journal);
    struct checkpoint *const cp = &store->checkpoint;

    if (checkpoint_is_busy(store)) {
        if (cp->sm.now == CP_SUMS && cp->sweep.paused)
            sweep_resume(&cp->sweep);
        return;
    }
    if (store->failed || store->sb_writer.done != NULL)
        return;
    const bool sums = checkpoint_wants_sums(store);
    if (cp->wanted || (sums && cp->writings >= WRITINGS_MAX) ||
        (store->serving && used > journal_ring_blocks(store->journal) / USED_DIVISOR))
        checkpoint_begin(store);
    else if (sums)
        checkpoint_begin_sums(store);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Suspect regions: after a crash their blocks may be newer than their checksums.  Each is read
 * before its first command; what does not match is adopted (S7, F17).
 */
#include <assert.h>

#include "base/crc32c.h"
#include "store/store_internal.h"

#define SETTLE_RETRY_NS NS_PER_S

/* The next part of the region that has data, in any layer.  False at the end. */
static bool settler_next_extent(struct settler *s)
{
    const struct map *const map = &s->intent->shard->map;
    const uint32_t begin = s->intent->region * REGION_GRAINS;
    const uint32_t end = (uint32_t)min_u64((uint64_t)begin + REGION_GRAINS, map->grain_count);

    for (; s->layer < map->layer_count; s->layer++, s->grain = begin) {
        for (; s->grain < end; s->grain++, s->cell = 0) {
            const struct grain *const g = &map->layers[s->layer].grains[s->grain];
            if (!map_next_extent(map, g, &s->cell, &s->current))
                continue;
            /* One hold is of one block of the checksum table. */
            s->current.count = sums_run(s->current.place, s->current.count);
            s->cell = (s->current.first + s->current.count) / CELL_BLOCKS;
            s->data = g->data >> s->current.first;
            s->block = 0;
            return true;
        }
    }
    s->current.count = 0;
    return false;
}

/* The next block of a region that is read block by block. */
static bool settle_next_block(struct settler *s)
{
    for (;;) {
        if (s->block == s->current.count && !settler_next_extent(s))
            return false;
        const uint32_t b = s->block++;
        if ((s->data >> b & 1) == 0)
            continue;
        s->next_block = s->current.place + b;
        s->next_mask = 1;
        return true;
    }
}

/* What is read next; false at the end of the region. */
static bool settle_choose(struct settler *s)
{
    if (s->intent->by_block)
        return settle_next_block(s);
    if (!settler_next_extent(s))
        return false;
    s->next_block = s->current.place;
    s->next_mask = s->data;
    return true;
}

/* Whether the checksums of what is read next are there; they are held from now on. */
static bool settle_hold(struct settler *s)
{
    if (!s->held) {
        if (!sums_hold(&s->store->sums, s->next_block, true)) {
            checkpoint_run(s->store); /* Others may have changed too much to go on. */
            return false;
        }
        s->held = true;
        sums_loader_run(&s->store->sums_loader);
    }
    return sums_is_loaded(&s->store->sums, s->next_block);
}

static bool settle_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct settler *const s = CONTAINER_OF(sweep, struct settler, sweep);

    if (!s->chosen && !settle_choose(s))
        return false;
    s->chosen = true;
    if (!settle_hold(s)) {
        /* A failed disk takes no more checksums: there may never be room. */
        const bool give_up = s->store->failed && !s->held;
        s->failed |= give_up;
        sweep->paused = !give_up;
        return false;
    }
    s->chosen = s->held = false;
    slot->arg[0] = s->next_block;
    slot->arg[1] = s->next_mask;
    slot->bytes =
        s->intent->by_block ? STORE_BLOCK_BYTES : (size_t)s->current.count * STORE_BLOCK_BYTES;
    slot->offset = store_data_offset(s->store, slot->arg[0]);
    return true;
}

/* What does not match is adopted. */
static void settle_adopt(struct store *store, const struct sweep_slot *slot)
{
    for (uint32_t b = 0; b * STORE_BLOCK_BYTES < slot->bytes; b++) {
        const uint64_t block = slot->arg[0] + b;
        if ((slot->arg[1] >> b & 1) == 0)
            continue;
        const uint32_t crc = crc32c(slot->buffer + b * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
        if (crc == sums_get(&store->sums, block) || MUTATION(S7_NO_ADOPTION))
            continue;
        sums_set(&store->sums, block, crc);
        store->adopted_blocks++;
    }
}

static struct status settle_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct settler *const s = CONTAINER_OF(sweep, struct settler, sweep);

    if (status_ok(slot->status)) {
        settle_adopt(s->store, slot);
    } else {
        if (s->intent->by_block)
            s->store->media_errors++;
        s->failed = true;
    }
    sums_release(&s->store->sums, slot->arg[0], true);
    return STATUS(OK);
}

static void settle_done(struct sweep *sweep, struct status status)
{
    struct settler *const s = CONTAINER_OF(sweep, struct settler, sweep);
    struct intent *const i = s->intent;
    struct store *const store = s->store;

    assert(i != NULL && i->settling);
    assert(!s->held);
    s->intent = NULL;
    i->settling = false;
    if (!status_ok(status) || s->failed) {
        /* It stays suspect.  Block by block, at once, all is adopted that can be read; the rest is
         * a media error until the next attempt. */
        if (i->by_block)
            i->retry_ns = reactor_now_ns(store->reactor) + SETTLE_RETRY_NS;
        i->by_block = true;
    } else {
        intent_set_suspect(&store->intents, i, false);
        i->last_ns = reactor_now_ns(store->reactor);
        intent_move(&store->intents, i, INTENT_OPEN); /* To the end of the list. */
    }
    store_kick(store);
}

static const struct sweep_ops settle_ops = {
    .next = settle_next,
    .item = settle_item,
    .done = settle_done,
};

/* F20: what zeroing frees is not read any more. */
static bool region_is_zeroed(const struct intent *i)
{
    const uint64_t begin = (uint64_t)i->region * REGION_BYTES;

    if (i->shard->zeroing == 0)
        return false;
    LIST_FOR_EACH (n, &i->shard->active) {
        const struct store_io *const io = CONTAINER_OF(n, const struct store_io, shard_link);
        if (io->opcode != STORE_OP_WRITE && io->offset < begin + REGION_BYTES &&
            io->offset + io->bytes > begin)
            return true;
    }
    return false;
}

static struct intent *settle_pick(struct store *store)
{
    const uint64_t now = reactor_now_ns(store->reactor);

    if (store->intents.suspects == 0)
        return NULL;
    LIST_FOR_EACH (n, &store->intents.open) {
        struct intent *const i = CONTAINER_OF(n, struct intent, link);
        /* A deletion that was let through does not wait for more of them. */
        if (i->suspect && !i->settling && i->in_flight == 0 && i->retry_ns <= now &&
            !i->shard->volume->deleting && !region_is_zeroed(i))
            return i;
    }
    return NULL;
}

void settle_run(struct store *store)
{
    for (unsigned k = 0; k < SETTLERS && store->serving; k++) {
        struct settler *const s = &store->settlers[k];
        if (s->intent != NULL) {
            if (s->sweep.paused)
                sweep_resume(&s->sweep);
            continue;
        }
        /* Who closes the store waits for its commands, and these perhaps for a region. */
        const bool ends = store->closing && store->commands == 0;
        struct intent *const i = ends ? NULL : settle_pick(store);
        if (i == NULL)
            continue;
        i->settling = true;
        s->store = store;
        s->intent = i;
        s->layer = 0;
        s->cell = 0;
        s->block = 0;
        s->current.count = 0;
        s->failed = false;
        s->chosen = s->held = false;
        s->grain = i->region * REGION_GRAINS;
        s->sweep.ops = &settle_ops;
        s->sweep.dev = store->dev;
        s->sweep.depth = SETTLE_DEPTH;
        s->sweep.buffer_bytes = STORE_GRAIN_BYTES;
        s->sweep.lent = s->buffers;
        sweep_start(&s->sweep);
    }
}

bool range_is_settled(struct store *store, struct shard *shard, uint64_t offset, uint64_t bytes)
{
    const uint64_t last = (offset + bytes - 1) / REGION_BYTES;
    const uint64_t now = reactor_now_ns(store->reactor);
    bool settled = true;

    assert(bytes > 0);
    if (store->intents.suspects == 0)
        return true;
    for (uint64_t region = offset / REGION_BYTES; region <= last; region++) {
        struct intent *const i = intent_find(&store->intents, shard, (uint32_t)region);
        if (i == NULL || !i->suspect || (!i->settling && i->retry_ns > now))
            continue;
        settled = false;
        if (i->settling || i->state != INTENT_OPEN)
            continue;
        /* Somebody waits for it: it comes next. */
        list_remove(&i->link);
        list_push_front(&store->intents.open, &i->link);
    }
    return settled;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --> PLACING --> MEMORY --> TARGETS --> SOURCE --> COPYING --> IDLE
 *                         |  ^         ^                      |
 *                         |  |         +---- next window -----+
 *                         v  |                                |
 *                         ROOM <-------- list full -----------+
 */
#include "volume/range_copy.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "volume/copy_part.h"
#include "volume/volume_internal.h"

enum copying_state {
    COPYING_IDLE,
    COPYING_PLACING, /* The overlap order: on_placed(). */
    COPYING_MEMORY,  /* on_memory() */
    COPYING_ROOM,    /* A round, and it has no memory: range_copy_on_room(). */
    COPYING_TARGETS, /* Their hashes: on_hashes(). */
    COPYING_SOURCE,  /* Its hashes: likewise. */
    COPYING_COPYING, /* The parts: range_copy_on_parts(). */
};

static const struct sm_state copying_states[] = {
    [COPYING_IDLE] = { "idle", SM_TO(COPYING_PLACING) },
    [COPYING_PLACING] = { "placing", SM_TO(COPYING_MEMORY) | SM_TO(COPYING_IDLE) },
    [COPYING_MEMORY] = { "memory",
                         SM_TO(COPYING_TARGETS) | SM_TO(COPYING_ROOM) | SM_TO(COPYING_IDLE) },
    [COPYING_ROOM] = { "room", SM_TO(COPYING_MEMORY) | SM_TO(COPYING_IDLE) },
    [COPYING_TARGETS] = { "targets",
                          SM_TO(COPYING_SOURCE) | SM_TO(COPYING_COPYING) | SM_TO(COPYING_IDLE) },
    [COPYING_SOURCE] = { "source", SM_TO(COPYING_COPYING) | SM_TO(COPYING_IDLE) },
    [COPYING_COPYING] = { "copying",
                          SM_TO(COPYING_TARGETS) | SM_TO(COPYING_ROOM) | SM_TO(COPYING_IDLE) },
};

#define PARTS_BYTES                                                                       \
    ((sizeof(struct copy_part) * PARTS_MAX + STORE_BLOCK_BYTES - 1) / STORE_BLOCK_BYTES * \
     STORE_BLOCK_BYTES)

static_assert(PARTS_MAX >= VOLUME_SLOTS_MAX, "each says its hashes through one");
static_assert(PARTS_BYTES + PARTS_MAX * PART_BYTES <= 256 << 10, "a buffer of 256 KiB");
static_assert(STORE_HASHES_MAX * sizeof(struct store_hash) * VOLUME_SLOTS_MAX <=
                  PARTS_MAX * PART_BYTES,
              "hashes of a whole window");
static_assert(sizeof(struct store_hash) * VOLUME_SLOTS_MAX <= STORE_BLOCK_BYTES,
              "and of the smallest");

static void window_begin(struct range_copy *c);

void range_copy_init(struct range_copy *c)
{
    *c = (struct range_copy) { 0 };
    list_node_init(&c->link);
    sm_init(&c->sm, copying_states, COPYING_IDLE);
}

bool range_copy_is_busy(const struct range_copy *c)
{
    return c->sm.now != COPYING_IDLE;
}

/* ---- The end ---- */

static struct ticks_range regions_of(const struct range_copy *c)
{
    return round_regions(c->order.shard, c->order.offset, c->order.bytes);
}

static void tick_end(struct range_copy *c, bool equal)
{
    const struct ticks_range range = regions_of(c);
    const uint32_t tick = c->tick;

    c->tick = 0;
    if (tick != 0 && !equal && c->ops->until_equal_open)
        round_write_abandon(c->copyset, &range, tick);
    else if (tick != 0)
        round_write_end(c->copyset, tick);
}

static void memory_put(struct range_copy *c)
{
    scratch_put(&c->copyset->slice->copy_scratch, c->memory);
    c->memory = (struct span) { 0 };
}

static void copy_end(struct range_copy *c, enum range_copy_end end)
{
    memory_put(c);
    tick_end(c, end == RANGE_COPY_EQUAL);
    if (!c->ops->in_place && !MUTATION(COPY_OUTSIDE_ORDER))
        order_leave(c->copyset->slice->order, &c->order);
    sm_move(&c->sm, COPYING_IDLE);
    c->ops->done(c, end);
}

/* Whether the slice is fenced; then this was the end. */
static bool ends_fenced(struct range_copy *c)
{
    if (!c->copyset->slice->fenced)
        return false;
    c->slot = 0;
    c->leg = NULL;
    c->status = STATUS(FENCED);
    copy_end(c, RANGE_COPY_FAILED);
    return true;
}

/* ---- The end of a window ---- */

/* A round closes some regions, perhaps in here; or a member that is away keeps it from that. */
static void wait_for_room(struct range_copy *c)
{
    sm_move(&c->sm, COPYING_ROOM);
    memory_put(c);
    tick_end(c, false);
    list_push_back(&c->copyset->round.copies, &c->link);
    round_want(c->copyset);
}

void range_copy_on_parts(struct range_copy *c)
{
    if (c->stop != STOP_NOT)
        c->unreadable = c->unreadable_before; /* They are found again. */
    switch ((enum copy_stop)c->stop) {
    case STOP_NOT:
        c->unreadable_before = c->unreadable;
        c->window += (uint64_t)c->blocks * STORE_BLOCK_BYTES;
        if (c->window < c->end)
            window_begin(c);
        else
            copy_end(c, c->unreadable > 0 && c->spares ? RANGE_COPY_UNREADABLE : RANGE_COPY_EQUAL);
        return;
    case STOP_AGAIN:
        window_begin(c);
        return;
    case STOP_ROOM:
        wait_for_room(c);
        return;
    case STOP_FAILED:
        copy_end(c, RANGE_COPY_FAILED);
        return;
    }
}

/* ---- Comparing ---- */

static struct store_hash *hashes_of(const struct range_copy *c, unsigned slot)
{
    uint8_t *const at = c->memory.at + PARTS_BYTES;

    return (struct store_hash *)(void *)at + (size_t)slot * c->blocks;
}

static bool is_zero(const struct store_hash *h)
{
    return h->state == STORE_BLOCK_ABSENT || h->state == STORE_BLOCK_ZERO;
}

/* What is bad is equal to nothing. */
static bool differ(const struct store_hash *a, const struct store_hash *b)
{
    if (is_zero(a) || is_zero(b))
        return !is_zero(a) || !is_zero(b);
    return a->state == STORE_BLOCK_BAD || b->state == STORE_BLOCK_BAD ||
           memcmp(a->hash, b->hash, sizeof a->hash) != 0;
}

/* A source that has zeros there; false: none has, of those whose hashes are known. */
static bool source_of_zeros(const struct range_copy *c, uint32_t block, unsigned *out_source)
{
    const unsigned sources = (c->targets | 1u << c->source) & c->ops->sources(c);

    for (unsigned slot = 0; sources >> slot != 0; slot++)
        if ((sources >> slot & 1) != 0 && is_zero(&hashes_of(c, slot)[block])) {
            *out_source = slot;
            return true;
        }
    return false;
}

/* The window's source, or another one where that is bad; false: all are whose hashes are known. */
static bool source_by_hash(const struct range_copy *c, uint32_t block, unsigned *out_source)
{
    const unsigned others = c->targets & c->ops->sources(c);

    if (c->ops->prefers_zeros && source_of_zeros(c, block, out_source))
        return true;
    *out_source = c->source;
    if (hashes_of(c, c->source)[block].state != STORE_BLOCK_BAD)
        return true;
    for (*out_source = 0; others >> *out_source != 0; (*out_source)++)
        if ((others >> *out_source & 1) != 0 &&
            hashes_of(c, *out_source)[block].state != STORE_BLOCK_BAD)
            return true;
    return false;
}

static uint8_t needs_by_hash(const struct range_copy *c, uint32_t block)
{
    const unsigned hashed = (c->targets | 1u << c->source) & c->ops->targets(c);
    unsigned needs = 0, source;

    if (!source_by_hash(c, block, &source))
        return NEEDS_ANOTHER;
    const struct store_hash *const right = &hashes_of(c, source)[block];
    for (unsigned slot = 0; hashed >> slot != 0; slot++)
        if ((hashed >> slot & 1) != 0 && slot != source &&
            (differ(right, &hashes_of(c, slot)[block]) ||
             (MUTATION(EQUAL_IS_COPIED) && c->ops->passes)))
            needs |= 1u << slot;
    if (needs == 0)
        return 0;
    return (uint8_t)(needs | source << NEEDS_SOURCE_SHIFT | (is_zero(right) ? NEEDS_ZEROS : 0));
}

static uint8_t needs_of(const struct range_copy *c, uint32_t block)
{
    if (c->sourceless)
        return NEEDS_ANOTHER;
    if (c->hashed)
        return needs_by_hash(c, block);
    return (uint8_t)(c->targets != 0 ? c->targets | c->source << NEEDS_SOURCE_SHIFT : 0);
}

static void copy_begin(struct range_copy *c)
{
    for (uint32_t i = 0; i < c->blocks; i++)
        c->needs[i] = needs_of(c, i);
    c->compared_bytes += (uint64_t)__builtin_popcount(c->targets) * c->blocks * STORE_BLOCK_BYTES;
    sm_move(&c->sm, COPYING_COPYING);
    copy_parts_begin(c);
}

static bool targets_have_something(const struct range_copy *c)
{
    const unsigned targets = c->targets;

    for (unsigned slot = 0; targets >> slot != 0; slot++)
        for (uint32_t i = 0; (targets >> slot & 1) != 0 && i < c->blocks; i++)
            if (hashes_of(c, slot)[i].state != STORE_BLOCK_ABSENT)
                return true;
    return false;
}

static void hash(struct range_copy *c, unsigned slots);

static void hashes_end(struct range_copy *c)
{
    const bool more = c->sm.now == COPYING_TARGETS && !c->sourceless &&
                      (c->ops->prefers_zeros || targets_have_something(c));

    if (c->stop == STOP_FAILED) {
        copy_end(c, RANGE_COPY_FAILED);
    } else if (more) {
        sm_move(&c->sm, COPYING_SOURCE);
        c->hashed = true;
        hash(c, 1u << c->source);
    } else {
        copy_begin(c);
    }
}

static void on_hashes(struct leg_io *io)
{
    const struct copy_part *const p = io->owner;
    struct range_copy *const c = p->copy;

    copy_look_at_fence(c);
    if (!status_ok(io->status))
        copy_stop_failed(c, io, io->status);
    if (--c->under_way == 0)
        hashes_end(c);
}

/* Asks the slots for their hashes. */
static void hash(struct range_copy *c, unsigned slots)
{
    c->under_way++;
    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        struct copy_part *const p = &c->parts[slot];
        const struct span data = { (uint8_t *)hashes_of(c, slot),
                                   c->blocks * sizeof(struct store_hash) };
        if ((slots >> slot & 1) == 0)
            continue;
        p->io.done = on_hashes;
        copy_part_send(p, slot, STORE_OP_HASH, 0, c->blocks, data, NULL);
    }
    if (--c->under_way == 0)
        hashes_end(c);
}

static void window_begin(struct range_copy *c)
{
    const unsigned targets = c->ops->targets(c);

    sm_move(&c->sm, COPYING_TARGETS);
    c->blocks = (uint32_t)(min_u64(c->end - c->window, STORE_REGION_BYTES) / STORE_BLOCK_BYTES);
    c->stop = STOP_NOT;
    c->hashed = false;
    c->sourceless = c->ops->sources(c) == 0;
    c->source = c->sourceless ? 0 : copy_best_source(c, c->ops->sources(c));
    c->targets = c->sourceless ? targets : targets & ~(1u << c->source);
    hash(c, c->targets);
}

/* ---- The beginning ---- */

static void memory_get(struct range_copy *c);

static void on_memory(struct buf_waiter *waiter)
{
    struct range_copy *const c = CONTAINER_OF(waiter, struct range_copy, waiter);

    if (!ends_fenced(c))
        memory_get(c);
}

/* What was got: a part has 32 KiB, or the whole range if it is less. */
static void parts_make(struct range_copy *c, uint64_t part_bytes)
{
    c->parts = (struct copy_part *)(void *)c->memory.at;
    memset(c->parts, 0, PARTS_MAX * sizeof *c->parts);
    for (unsigned i = 0; i < PARTS_MAX; i++)
        c->parts[i].copy = c;
    for (unsigned i = 0; i < c->part_count; i++)
        c->parts[i].memory = span_sub(c->memory, PARTS_BYTES + i * part_bytes, part_bytes);
}

static void memory_get(struct range_copy *c)
{
    struct scratch_pool *const pool = &c->copyset->slice->copy_scratch;
    const struct ticks_range range = regions_of(c);
    const uint64_t bytes = c->end - c->window, part_bytes = min_u64(bytes, PART_BYTES);

    c->part_count = (unsigned)min_u64((bytes + PART_BYTES - 1) / PART_BYTES, PARTS_MAX);
    c->memory = scratch_get(pool, PARTS_BYTES + c->part_count * part_bytes);
    if (c->memory.at == NULL) {
        c->waiter.retry = on_memory;
        scratch_wait(pool, &c->waiter);
        return;
    }
    parts_make(c, part_bytes);
    if (round_write_try(c->copyset, &range, &c->tick))
        window_begin(c);
    else
        wait_for_room(c);
}

void range_copy_on_room(struct range_copy *c)
{
    assert(c->sm.now == COPYING_ROOM);
    if (ends_fenced(c))
        return;
    sm_move(&c->sm, COPYING_MEMORY);
    memory_get(c);
}

static void on_placed(struct order_entry *entry)
{
    struct range_copy *const c = CONTAINER_OF(entry, struct range_copy, order);

    if (ends_fenced(c))
        return;
    sm_move(&c->sm, COPYING_MEMORY);
    memory_get(c);
}

void range_copy_start(struct range_copy *c, struct copyset *cs, const struct range_copy_ops *ops,
                      const struct range_copy_range *range)
{
    assert(range->bytes > 0);
    sm_move(&c->sm, COPYING_PLACING);
    c->ops = ops;
    c->copyset = cs;
    c->window = range->offset;
    c->end = range->offset + range->bytes;
    c->unreadable = 0;
    c->unreadable_before = 0;
    c->spares = false;
    c->compared_bytes = 0;
    c->copied_bytes = 0;
    c->order = (struct order_entry) { .shard = range->shard,
                                      .exclusive = true,
                                      .passes = ops->passes,
                                      .offset = range->offset,
                                      .bytes = range->bytes,
                                      .granted = on_placed };
    if (ops->in_place || MUTATION(COPY_OUTSIDE_ORDER) || order_enter(cs->slice->order, &c->order))
        on_placed(&c->order);
}

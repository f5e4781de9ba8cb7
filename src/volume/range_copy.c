/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --> PLACING --> MEMORY --> ROOM --> SOURCE --> TARGET --> WRITING --> TARGET ... --> IDLE
 *                                    ^        | ^          |           |
 *                                    |        +-+ another  |           |
 *                                    +--- list full -------+-----------+
 *
 * A block that no source can read goes from SOURCE to SPOILING, once for each target, and on.
 */
#include "volume/range_copy.h"

#include <assert.h>

#include "base/crc32c.h"
#include "base/mutation.h"
#include "volume/volume_internal.h"

#define CHUNK_BYTES ((uint64_t)128 << 10)

static_assert(2 * CHUNK_BYTES <= BUF_BYTES_MAX, "source and target in one buffer");
static_assert(CHUNK_BYTES / STORE_BLOCK_BYTES == ARRAY_COUNT(((struct range_copy *)0)->crcs),
              "CRCs");

enum copying_state {
    COPYING_IDLE,
    COPYING_PLACING,  /* The overlap order: on_placed(). */
    COPYING_MEMORY,   /* on_memory() */
    COPYING_ROOM,     /* A round: range_copy_on_room(). */
    COPYING_SOURCE,   /* The source's chunk: on_leg(). */
    COPYING_TARGET,   /* The target's chunk. */
    COPYING_WRITING,  /* What it has to get. */
    COPYING_SPOILING, /* What nobody has. */
};

static const struct sm_state copying_states[] = {
    [COPYING_IDLE] = { "idle", SM_TO(COPYING_PLACING) },
    [COPYING_PLACING] = { "placing", SM_TO(COPYING_MEMORY) | SM_TO(COPYING_IDLE) },
    [COPYING_MEMORY] = { "memory", SM_TO(COPYING_ROOM) | SM_TO(COPYING_IDLE) },
    [COPYING_ROOM] = { "room", SM_TO(COPYING_SOURCE) | SM_TO(COPYING_IDLE) },
    [COPYING_SOURCE] = { "source", SM_TO(COPYING_SOURCE) | SM_TO(COPYING_TARGET) |
                                       SM_TO(COPYING_SPOILING) | SM_TO(COPYING_IDLE) },
    [COPYING_SPOILING] = { "spoiling", SM_TO(COPYING_SPOILING) | SM_TO(COPYING_SOURCE) |
                                           SM_TO(COPYING_ROOM) | SM_TO(COPYING_IDLE) },
    [COPYING_TARGET] = { "target", SM_TO(COPYING_TARGET) | SM_TO(COPYING_WRITING) |
                                       SM_TO(COPYING_SOURCE) | SM_TO(COPYING_IDLE) },
    [COPYING_WRITING] = { "writing", SM_TO(COPYING_WRITING) | SM_TO(COPYING_TARGET) |
                                         SM_TO(COPYING_SOURCE) | SM_TO(COPYING_ROOM) |
                                         SM_TO(COPYING_IDLE) },
};

static void chunk_begin(struct range_copy *c);
static void target_next(struct range_copy *c, unsigned from);
static void target_compare(struct range_copy *c);

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
    const uint64_t first = c->order.offset / STORE_REGION_BYTES;
    const uint64_t last = (c->end - 1) / STORE_REGION_BYTES;

    return (struct ticks_range) { .shard = c->order.shard,
                                  .first = (uint32_t)first,
                                  .count = (uint32_t)(last - first + 1) };
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

static void copy_end(struct range_copy *c, enum range_copy_end end)
{
    struct slice *const s = c->copyset->slice;

    buf_put(s->scratch, c->memory);
    c->memory = (struct span) { 0 };
    tick_end(c, end == RANGE_COPY_EQUAL);
    if (!MUTATION(COPY_OUTSIDE_ORDER))
        order_leave(s->order, &c->order);
    sm_move(&c->sm, COPYING_IDLE);
    c->ops->done(c, end);
}

static void copy_fail(struct range_copy *c, unsigned slot, struct status status)
{
    c->slot = slot;
    c->status = status;
    copy_end(c, RANGE_COPY_FAILED);
}

/* Whether the slice is fenced; then this was the end. */
static bool ends_fenced(struct range_copy *c)
{
    if (!c->copyset->slice->fenced)
        return false;
    copy_fail(c, 0, STATUS(FENCED));
    return true;
}

/* ---- Commands ---- */

static void on_leg(struct leg_io *io);

static void send(struct range_copy *c, unsigned slot, enum store_opcode opcode, struct span data,
                 uint64_t offset)
{
    struct copyset *const cs = c->copyset;
    struct leg_io *const io = &c->io;

    io->owner = c;
    io->slot = slot;
    io->leg = cs->slice->map->legs[cs->leg[slot]];
    io->remote = &c->remote_io;
    io->reactor = cs->slice->reactor;
    io->done = on_leg;
    io->store.opcode = opcode;
    io->store.fua = false;
    io->store.create = true;
    io->store.copyset = (uint16_t)cs->number;
    io->store.shard = c->order.shard;
    io->store.offset = offset;
    io->store.bytes = data.bytes;
    io->store.data = data.at != NULL ? data : (struct span) { 0 };
    io->store.crcs = opcode == STORE_OP_WRITE ? c->crcs : NULL;
    io->store.tick = c->tick;
    leg_submit(io);
}

static uint64_t chunk_bytes(const struct range_copy *c)
{
    const uint64_t most = c->offset < c->fine_until ? STORE_BLOCK_BYTES : c->chunk_max;

    return min_u64(most, c->end - c->offset);
}

static struct span chunk_of(const struct range_copy *c, bool of_target)
{
    return span_sub(c->memory, of_target ? c->chunk_max : 0, chunk_bytes(c));
}

/* ---- Comparing ---- */

static bool block_differs(const struct range_copy *c, uint64_t at)
{
    return memcmp(chunk_of(c, false).at + at, chunk_of(c, true).at + at, STORE_BLOCK_BYTES) != 0;
}

static bool block_is_zero(const struct range_copy *c, uint64_t at)
{
    const uint8_t *const block = chunk_of(c, false).at + at;

    return block[0] == 0 && memcmp(block, block + 1, STORE_BLOCK_BYTES - 1) == 0;
}

/* The next blocks in a row that differ, all zeros or none; false at the end of the chunk. */
static bool next_difference(const struct range_copy *c, uint64_t *out_at, uint64_t *out_bytes,
                            bool *out_zero)
{
    uint64_t at = c->done_bytes;

    while (at < chunk_bytes(c) && !block_differs(c, at))
        at += STORE_BLOCK_BYTES;
    if (at == chunk_bytes(c))
        return false;
    *out_at = at;
    *out_zero = block_is_zero(c, at);
    while (at < chunk_bytes(c) && block_differs(c, at) && block_is_zero(c, at) == *out_zero)
        at += STORE_BLOCK_BYTES;
    *out_bytes = at - *out_at;
    return true;
}

static void target_compare(struct range_copy *c)
{
    uint64_t at, bytes;
    bool zero;

    if (!next_difference(c, &at, &bytes, &zero)) {
        c->compared_bytes += chunk_bytes(c);
        target_next(c, c->target + 1);
        return;
    }
    c->done_bytes = at + bytes;
    c->copied_bytes += bytes;
    const struct span data = span_sub(chunk_of(c, false), at, bytes);
    for (uint64_t i = 0; i < bytes / STORE_BLOCK_BYTES; i++)
        c->crcs[i] = crc32c(data.at + i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
    sm_move(&c->sm, COPYING_WRITING);
    send(c, c->target, zero ? STORE_OP_WRITE_ZEROES : STORE_OP_WRITE, data, c->offset + at);
}

static void chunk_next(struct range_copy *c)
{
    c->offset += chunk_bytes(c);
    c->tried = 0;
    if (c->offset < c->end)
        chunk_begin(c);
    else
        copy_end(c,
                 c->unreadable == 0 || c->ops->spoils ? RANGE_COPY_EQUAL : RANGE_COPY_UNREADABLE);
}

/* The next replica to compare with the source; after the last one, the next chunk. */
static void target_next(struct range_copy *c, unsigned from)
{
    const unsigned targets = c->ops->targets(c) & ~(1u << c->source);
    unsigned slot = from;

    while (targets >> slot != 0 && (targets >> slot & 1) == 0)
        slot++;
    if (targets >> slot == 0) {
        chunk_next(c);
        return;
    }
    c->target = slot;
    c->done_bytes = 0;
    sm_move(&c->sm, COPYING_TARGET);
    send(c, slot, STORE_OP_READ, chunk_of(c, true), c->offset);
}

/* ---- Reading ---- */

static void send_spoil(struct range_copy *c)
{
    sm_move(&c->sm, COPYING_SPOILING);
    send(c, c->target, STORE_OP_SPOIL, (struct span) { .bytes = STORE_BLOCK_BYTES }, c->offset);
}

/* Nobody has the block. */
static void block_lost(struct range_copy *c)
{
    if (c->unreadable++ == 0)
        c->unreadable_at = c->offset;
    chunk_next(c);
}

/* At the next target; after the last one, the next block. */
static void spoil_next(struct range_copy *c, unsigned from)
{
    const unsigned targets = c->ops->targets(c);
    unsigned slot = from;

    while (targets >> slot != 0 && (targets >> slot & 1) == 0)
        slot++;
    if (targets >> slot == 0) {
        block_lost(c);
        return;
    }
    c->target = slot;
    send_spoil(c);
}

/* No source can read this block. */
static void block_spoil(struct range_copy *c)
{
    if (c->ops->spoils)
        spoil_next(c, 0);
    else
        block_lost(c);
}

/* The target does not know the shard: it is created by a write first. */
static void spoil_create(struct range_copy *c)
{
    const struct span zeros = chunk_of(c, true);

    memset(zeros.at, 0, zeros.bytes);
    c->crcs[0] = crc32c(zeros.at, zeros.bytes);
    send(c, c->target, STORE_OP_WRITE, zeros, c->offset);
}

static void spoil_on_answer(struct range_copy *c)
{
    if (c->io.store.opcode == STORE_OP_WRITE)
        send_spoil(c);
    else
        spoil_next(c, c->target + 1);
}

/*
 * From a source that has not failed to read this chunk.  9.4: here HASH of source and targets comes
 * first when the stores have it, and what it finds equal is not read.
 */
static void chunk_begin(struct range_copy *c)
{
    const unsigned left = c->ops->sources(c) & ~c->tried;

    if (left == 0) {
        block_spoil(c);
        return;
    }
    c->source = (unsigned)__builtin_ctz(left);
    sm_move(&c->sm, COPYING_SOURCE);
    send(c, c->source, STORE_OP_READ, chunk_of(c, false), c->offset);
}

/* A bad block of a target is written like one that differs: what it has does not matter. */
static void take_for_different(const struct range_copy *c)
{
    const struct span source = chunk_of(c, false), target = chunk_of(c, true);

    for (size_t i = 0; i < target.bytes; i++)
        target.at[i] = (uint8_t)~source.at[i];
}

static void on_bad_block(struct range_copy *c, unsigned slot)
{
    if (chunk_bytes(c) > STORE_BLOCK_BYTES) {
        c->fine_until = c->offset + chunk_bytes(c);
        c->tried = 0;
        chunk_begin(c);
    } else if (c->sm.now == COPYING_SOURCE) {
        c->tried |= 1u << slot;
        chunk_begin(c);
    } else {
        take_for_different(c);
        target_compare(c);
    }
}

static void on_failed(struct range_copy *c, const struct leg_io *io)
{
    const bool reads = c->sm.now == COPYING_SOURCE || c->sm.now == COPYING_TARGET;

    if (reads && status_is(io->status, STATUS_MEDIA_READ)) {
        on_bad_block(c, io->slot);
    } else if (c->sm.now == COPYING_SPOILING && status_is(io->status, STATUS_UNKNOWN_SHARD)) {
        spoil_create(c);
    } else if (!reads && status_is(io->status, STATUS_LIST_FULL)) {
        sm_move(&c->sm, COPYING_ROOM); /* A round closes some, and the chunk is begun anew. */
        tick_end(c, false);
        list_push_back(&c->copyset->round.copies, &c->link);
        round_want(c->copyset);
    } else {
        copy_fail(c, io->slot, io->status);
    }
}

static void on_leg(struct leg_io *io)
{
    struct range_copy *const c = io->owner;

    if (ends_fenced(c))
        return;
    if (!status_ok(io->status))
        on_failed(c, io);
    else if (c->sm.now == COPYING_SOURCE)
        target_next(c, 0);
    else if (c->sm.now == COPYING_SPOILING)
        spoil_on_answer(c);
    else
        target_compare(c); /* Also what follows behind what was written. */
}

/* ---- The beginning ---- */

void range_copy_on_room(struct range_copy *c)
{
    const struct ticks_range range = regions_of(c);

    assert(c->sm.now == COPYING_ROOM);
    if (ends_fenced(c))
        return;
    list_push_back(&c->copyset->round.copies, &c->link); /* A round may end in here. */
    if (!round_write_begin(c->copyset, &range, &c->tick))
        return;
    list_remove(&c->link);
    c->tried = 0;
    chunk_begin(c);
}

static void memory_get(struct range_copy *c);

static void on_memory(struct buf_waiter *waiter)
{
    struct range_copy *const c = CONTAINER_OF(waiter, struct range_copy, waiter);

    if (!ends_fenced(c))
        memory_get(c);
}

static void memory_get(struct range_copy *c)
{
    c->memory = buf_get(c->copyset->slice->scratch, 2 * c->chunk_max);
    if (c->memory.at == NULL) {
        c->waiter.retry = on_memory;
        buf_wait(c->copyset->slice->scratch, &c->waiter);
        return;
    }
    sm_move(&c->sm, COPYING_ROOM);
    range_copy_on_room(c);
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
    c->offset = range->offset;
    c->end = range->offset + range->bytes;
    c->chunk_max = min_u64(CHUNK_BYTES, range->bytes);
    c->fine_until = 0;
    c->tried = 0;
    c->unreadable = 0;
    c->compared_bytes = 0;
    c->copied_bytes = 0;
    c->order = (struct order_entry) { .shard = range->shard,
                                      .exclusive = true,
                                      .offset = range->offset,
                                      .bytes = range->bytes,
                                      .granted = on_placed };
    if (order_enter(cs->slice->order, &c->order)) {
        if (MUTATION(COPY_OUTSIDE_ORDER))
            order_leave(cs->slice->order, &c->order);
        on_placed(&c->order);
    }
}

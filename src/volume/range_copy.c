/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --> PLACING --> MEMORY --> ROOM --> TARGETS --> SOURCE --> COPYING --> IDLE
 *                                    ^          ^                      |
 *                                    |          +---- next window -----+
 *                                    +--------------- list full -------+
 *
 * A part: READING --> WRITING, target after target --> the next part.  A block that no source can
 * read goes from READING to SPOILING.
 */
#include "volume/range_copy.h"

#include <assert.h>
#include <xxhash.h>

#include "base/crc32c.h"
#include "base/mutation.h"
#include "volume/volume_internal.h"

/* Commands under way for one range, and blocks of each: scattered blocks want many, all want few.
 */
#define PARTS_MAX   7u
#define PART_BLOCKS 8u
#define PART_BYTES  ((uint64_t)PART_BLOCKS * STORE_BLOCK_BYTES)

enum copying_state {
    COPYING_IDLE,
    COPYING_PLACING, /* The overlap order: on_placed(). */
    COPYING_MEMORY,  /* on_memory() */
    COPYING_ROOM,    /* A round: range_copy_on_room(). */
    COPYING_TARGETS, /* Their hashes: on_hashes(). */
    COPYING_SOURCE,  /* Its hashes: likewise. */
    COPYING_COPYING, /* The parts: on_part(). */
};

static const struct sm_state copying_states[] = {
    [COPYING_IDLE] = { "idle", SM_TO(COPYING_PLACING) },
    [COPYING_PLACING] = { "placing", SM_TO(COPYING_MEMORY) | SM_TO(COPYING_IDLE) },
    [COPYING_MEMORY] = { "memory", SM_TO(COPYING_ROOM) | SM_TO(COPYING_IDLE) },
    [COPYING_ROOM] = { "room", SM_TO(COPYING_TARGETS) | SM_TO(COPYING_IDLE) },
    [COPYING_TARGETS] = { "targets",
                          SM_TO(COPYING_SOURCE) | SM_TO(COPYING_COPYING) | SM_TO(COPYING_IDLE) },
    [COPYING_SOURCE] = { "source", SM_TO(COPYING_COPYING) | SM_TO(COPYING_IDLE) },
    [COPYING_COPYING] = { "copying",
                          SM_TO(COPYING_TARGETS) | SM_TO(COPYING_ROOM) | SM_TO(COPYING_IDLE) },
};

/* What a block needs: which slots are to be written, and from which one. */
enum {
    NEEDS_SLOTS = (1u << VOLUME_REPLICAS_MAX) - 1,
    NEEDS_SOURCE_SHIFT = 4,
    NEEDS_SOURCE = 3u << NEEDS_SOURCE_SHIFT,
    NEEDS_ZEROS = 1u << 6,   /* The source has zeros there. */
    NEEDS_ANOTHER = 1u << 7, /* No replica whose hashes are known can be the source. */
};

/* Why no more parts are begun. */
enum stop {
    STOP_NOT,
    STOP_AGAIN, /* The source is none any more: the window is compared anew. */
    STOP_ROOM,  /* A region list is full: likewise, when there is room. */
    STOP_FAILED,
};

enum part_state { PART_IDLE, PART_READING, PART_WRITING, PART_SPOILING };

/* Blocks in a row that need the same; before there are any, the memory of a command for hashes. */
struct copy_part {
    struct range_copy *copy;
    enum part_state state;
    uint32_t at, count; /* Blocks of the window that are copied now, ... */
    uint32_t end;       /* ... and up to here, block by block. */
    uint32_t written;   /* Of those of now, at the target. */
    uint8_t needs;      /* Slots that are left, the target's first. */
    uint8_t tried;      /* Slots that could not read the block. */
    unsigned source;    /* Slot. */
    struct span memory;
    struct leg_io io;
    struct leg_remote_io remote_io;
    uint32_t crcs[PART_BLOCKS];
};

#define PARTS_BYTES                                                                       \
    ((sizeof(struct copy_part) * PARTS_MAX + STORE_BLOCK_BYTES - 1) / STORE_BLOCK_BYTES * \
     STORE_BLOCK_BYTES)

static_assert(PARTS_MAX >= VOLUME_REPLICAS_MAX, "each says its hashes through one");
static_assert(PARTS_BYTES + PARTS_MAX * PART_BYTES <= 256 << 10, "a buffer of 256 KiB");
static_assert(STORE_HASHES_MAX * sizeof(struct store_hash) * VOLUME_REPLICAS_MAX <=
                  PARTS_MAX * PART_BYTES,
              "hashes of a whole window");
static_assert(sizeof(struct store_hash) * VOLUME_REPLICAS_MAX <= STORE_BLOCK_BYTES,
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

static void part_send(struct copy_part *p, unsigned slot, enum store_opcode opcode, uint32_t first,
                      uint32_t count, struct span data, uint32_t *crcs)
{
    struct range_copy *const c = p->copy;
    struct copyset *const cs = c->copyset;
    struct leg_io *const io = &p->io;

    io->owner = p;
    io->slot = slot;
    io->leg = cs->slice->map->legs[cs->leg[slot]];
    io->remote = &p->remote_io;
    io->reactor = cs->slice->reactor;
    io->store.opcode = opcode;
    io->store.fua = false;
    io->store.create = true;
    io->store.copyset = (uint16_t)cs->number;
    io->store.shard = c->order.shard;
    io->store.offset = c->window + (uint64_t)first * STORE_BLOCK_BYTES;
    io->store.bytes = (uint64_t)count * STORE_BLOCK_BYTES;
    io->store.data = data;
    io->store.crcs = crcs;
    io->store.tick = c->tick;
    c->under_way++;
    leg_submit(io);
}

/* No more parts; the gravest reason counts, and of failures the first. */
static void stop(struct range_copy *c, enum stop why)
{
    c->stop = (uint8_t)max_u64(c->stop, why);
}

static void stop_failed(struct range_copy *c, unsigned slot, struct status status)
{
    if (c->stop == STOP_FAILED)
        return;
    stop(c, STOP_FAILED);
    c->slot = slot;
    c->status = status;
}

/* Of a command that has ended. */
static void look_at_fence(struct range_copy *c)
{
    if (c->copyset->slice->fenced)
        stop_failed(c, 0, STATUS(FENCED));
}

/* ---- The end of a window ---- */

static void wait_for_room(struct range_copy *c)
{
    sm_move(&c->sm, COPYING_ROOM); /* A round closes some regions. */
    tick_end(c, false);
    list_push_back(&c->copyset->round.copies, &c->link);
    round_want(c->copyset);
}

static void window_end(struct range_copy *c)
{
    if (c->stop != STOP_NOT)
        c->unreadable = c->unreadable_before; /* They are found again. */
    switch ((enum stop)c->stop) {
    case STOP_NOT:
        c->unreadable_before = c->unreadable;
        c->window += (uint64_t)c->blocks * STORE_BLOCK_BYTES;
        if (c->window < c->end)
            window_begin(c);
        else
            copy_end(c, c->unreadable == 0 || c->ops->spoils ? RANGE_COPY_EQUAL
                                                             : RANGE_COPY_UNREADABLE);
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

/* ---- A part: writing ---- */

static void part_begin(struct copy_part *p);
static bool part_take(struct copy_part *p);

static void part_next(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const bool inside = p->at + p->count < p->end;

    if (inside && c->stop == STOP_NOT) {
        p->at += p->count;
        p->count = 1;
        p->tried = 0;
        part_begin(p);
    } else if (part_take(p)) {
        part_begin(p);
    } else {
        p->state = PART_IDLE;
    }
}

static bool part_is_zero(const struct copy_part *p, uint32_t block)
{
    const uint8_t *const at = p->memory.at + (uint64_t)block * STORE_BLOCK_BYTES;

    return at[0] == 0 && memcmp(at, at + 1, STORE_BLOCK_BYTES - 1) == 0;
}

/* What the target has already, as it has nothing and the source zeros. */
static bool part_skips(const struct copy_part *p, uint32_t block)
{
    return !p->copy->hashed && p->tried == 0 && part_is_zero(p, block);
}

/* The next blocks that the target lacks; false: it has all. */
static bool part_lacks(const struct copy_part *p, uint32_t *out_first, uint32_t *out_count)
{
    uint32_t first = p->written;

    while (first < p->count && part_skips(p, first))
        first++;
    *out_first = first;
    *out_count = 0;
    while (first < p->count && !part_skips(p, first++))
        (*out_count)++;
    return *out_count > 0;
}

static void part_write_zeros(struct copy_part *p, unsigned slot)
{
    p->written = p->count;
    p->copy->copied_bytes += (uint64_t)p->count * STORE_BLOCK_BYTES;
    part_send(p, slot, STORE_OP_WRITE_ZEROES, p->at, p->count, (struct span) { 0 }, NULL);
}

static void part_write_data(struct copy_part *p, unsigned slot, uint32_t first, uint32_t count)
{
    const uint64_t bytes = (uint64_t)count * STORE_BLOCK_BYTES;

    p->written = first + count;
    p->copy->copied_bytes += bytes;
    part_send(p, slot, STORE_OP_WRITE, p->at + first, count,
              span_sub(p->memory, (uint64_t)first * STORE_BLOCK_BYTES, bytes), p->crcs + first);
}

/* At the target, then at the next; after the last one, the next part. */
static void part_write(struct copy_part *p)
{
    const bool zeros = (p->copy->needs[p->at] & NEEDS_ZEROS) != 0;

    p->state = PART_WRITING;
    for (; p->needs != 0; p->needs &= (uint8_t)(p->needs - 1), p->written = 0) {
        const unsigned slot = (unsigned)__builtin_ctz(p->needs);
        uint32_t first, count;
        if (zeros && p->written == 0) {
            part_write_zeros(p, slot);
            return;
        }
        if (!zeros && part_lacks(p, &first, &count)) {
            part_write_data(p, slot, first, count);
            return;
        }
    }
    part_next(p);
}

/* ---- A part: what nobody can read ---- */

static void send_spoil(struct copy_part *p)
{
    part_send(p, (unsigned)__builtin_ctz(p->needs), STORE_OP_SPOIL, p->at, 1, (struct span) { 0 },
              NULL);
}

/* At the next target; after the last one, the next block. */
static void spoil_next(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const uint64_t at = c->window + (uint64_t)p->at * STORE_BLOCK_BYTES;

    if (p->needs != 0) {
        send_spoil(p);
        return;
    }
    c->unreadable_at = c->unreadable++ == 0 ? at : min_u64(c->unreadable_at, at);
    part_next(p);
}

/* The target does not know the shard: it is created by a write first. */
static void spoil_create(struct copy_part *p)
{
    const struct span zeros = span_sub(p->memory, 0, STORE_BLOCK_BYTES);

    memset(zeros.at, 0, zeros.bytes);
    p->crcs[0] = crc32c(zeros.at, zeros.bytes);
    part_send(p, (unsigned)__builtin_ctz(p->needs), STORE_OP_WRITE, p->at, 1, zeros, p->crcs);
}

static void spoil_on_answer(struct copy_part *p)
{
    if (p->io.store.opcode == STORE_OP_SPOIL)
        p->needs &= (uint8_t)(p->needs - 1);
    spoil_next(p);
}

/* ---- A part: reading ---- */

/* One that is no target rather than another one, and one of this node rather than of another. */
static unsigned best_source(const struct range_copy *c, unsigned sources)
{
    const unsigned targets = c->ops->targets(c);
    const unsigned others = (sources & ~targets) != 0 ? sources & ~targets : sources;
    const unsigned local = others & ~(unsigned)c->copyset->remote;

    return (unsigned)__builtin_ctz(local != 0 ? local : others);
}

static void part_read(struct copy_part *p)
{
    const struct span data = span_sub(p->memory, 0, (uint64_t)p->count * STORE_BLOCK_BYTES);

    p->state = PART_READING;
    p->written = 0;
    part_send(p, p->source, STORE_OP_READ, p->at, p->count, data, p->crcs);
}

/* The block is bad at all sources that were tried: the next, or none. */
static void part_try_another(struct copy_part *p)
{
    const struct range_copy *const c = p->copy;
    const unsigned left = c->ops->sources(c) & ~(unsigned)p->tried;

    p->needs = (uint8_t)c->ops->targets(c);
    if (left != 0) {
        p->source = best_source(c, left);
        p->needs &= (uint8_t) ~(1u << p->source);
        part_read(p);
        return;
    }
    p->state = PART_SPOILING;
    if (!c->ops->spoils)
        p->needs = 0;
    spoil_next(p);
}

/* Its blocks of now; whatever it needed may have left meanwhile. */
static void part_begin(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const unsigned needs = c->needs[p->at];

    if ((needs & NEEDS_ANOTHER) != 0) {
        p->tried = (uint8_t)(c->sourceless ? 0 : 1u << c->source);
        part_try_another(p);
        return;
    }
    p->source = (needs & NEEDS_SOURCE) >> NEEDS_SOURCE_SHIFT;
    if ((c->ops->sources(c) >> p->source & 1) == 0) {
        stop(c, STOP_AGAIN);
        part_next(p);
        return;
    }
    p->needs = (uint8_t)(needs & NEEDS_SLOTS & c->ops->targets(c));
    p->written = 0;
    if (p->needs == 0 || (needs & NEEDS_ZEROS) != 0)
        part_write(p);
    else
        part_read(p);
}

/* The next blocks in a row that need the same; false: there are none, or no more are begun. */
static bool part_take(struct copy_part *p)
{
    struct range_copy *const c = p->copy;

    while (c->next < c->blocks && c->needs[c->next] == 0)
        c->next++;
    if (c->next == c->blocks || c->stop != STOP_NOT)
        return false;
    const uint8_t needs = c->needs[c->next];
    const uint64_t room =
        (needs & NEEDS_ZEROS) != 0 ? c->blocks : p->memory.bytes / STORE_BLOCK_BYTES;
    const uint32_t most = (needs & NEEDS_ANOTHER) != 0 ? 1 : (uint32_t)room;
    p->at = c->next;
    while (c->next < c->blocks && c->needs[c->next] == needs && c->next - p->at < most)
        c->next++;
    p->end = c->next;
    p->count = p->end - p->at;
    p->tried = 0;
    return true;
}

/* ---- A part: answers ---- */

static void part_on_bad_block(struct copy_part *p)
{
    if (p->count > 1) {
        p->count = 1; /* Block by block from here on. */
        part_begin(p);
    } else {
        p->tried |= (uint8_t)(1u << p->source);
        part_try_another(p);
    }
}

static void part_on_failed(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const struct leg_io *const io = &p->io;

    if (p->state == PART_READING && status_is(io->status, STATUS_MEDIA_READ)) {
        part_on_bad_block(p);
    } else if (p->state == PART_SPOILING && status_is(io->status, STATUS_UNKNOWN_SHARD)) {
        spoil_create(p);
    } else {
        if (p->state != PART_READING && status_is(io->status, STATUS_LIST_FULL))
            stop(c, STOP_ROOM);
        else
            stop_failed(c, io->slot, io->status);
        part_next(p);
    }
}

static void on_part(struct leg_io *io)
{
    struct copy_part *const p = io->owner;
    struct range_copy *const c = p->copy;

    look_at_fence(c);
    if (c->stop != STOP_NOT)
        p->state = PART_IDLE;
    else if (!status_ok(io->status))
        part_on_failed(p);
    else if (p->state == PART_SPOILING)
        spoil_on_answer(p);
    else
        part_write(p);
    if (--c->under_way == 0)
        window_end(c);
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

/* The window's source, or another one where that is bad; false: all are whose hashes are known. */
static bool source_by_hash(const struct range_copy *c, uint32_t block, unsigned *out_source)
{
    const unsigned others = c->targets & c->ops->sources(c);

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
            differ(right, &hashes_of(c, slot)[block]))
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
    c->next = 0;
    c->under_way++;
    for (unsigned i = 0; i < c->part_count; i++) {
        struct copy_part *const p = &c->parts[i];
        p->io.done = on_part;
        if (part_take(p))
            part_begin(p);
    }
    if (--c->under_way == 0)
        window_end(c);
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
    const bool more = c->sm.now == COPYING_TARGETS && !c->sourceless && targets_have_something(c);

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

    look_at_fence(c);
    if (!status_ok(io->status))
        stop_failed(c, io->slot, io->status);
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
        part_send(p, slot, STORE_OP_HASH, 0, c->blocks, data, NULL);
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
    c->source = c->sourceless ? 0 : best_source(c, c->ops->sources(c));
    c->targets = c->sourceless ? targets : targets & ~(1u << c->source);
    hash(c, c->targets);
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
    window_begin(c);
}

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
    const uint64_t bytes = c->end - c->window, part_bytes = min_u64(bytes, PART_BYTES);

    c->part_count = (unsigned)min_u64((bytes + PART_BYTES - 1) / PART_BYTES, PARTS_MAX);
    c->memory = buf_get(c->copyset->slice->scratch, PARTS_BYTES + c->part_count * part_bytes);
    if (c->memory.at == NULL) {
        c->waiter.retry = on_memory;
        buf_wait(c->copyset->slice->scratch, &c->waiter);
        return;
    }
    parts_make(c, part_bytes);
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
    c->window = range->offset;
    c->end = range->offset + range->bytes;
    c->unreadable = 0;
    c->unreadable_before = 0;
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

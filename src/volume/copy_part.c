/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/copy_part.h"

#include "base/crc32c.h"
#include "volume/volume_internal.h"

/* ---- Commands ---- */

void copy_part_send(struct copy_part *p, unsigned slot, enum store_opcode opcode, uint32_t first,
                    uint32_t count, struct span data, uint32_t *crcs)
{
    struct range_copy *const c = p->copy;
    struct copyset *const cs = c->copyset;
    struct leg_io *const io = &p->io;

    io->owner = p;
    io->slot = slot;
    io->leg = cs->slice->map->legs[cs->leg[slot]];
    io->remote = &p->remote_io;
    io->pool = scratch_pool_of(&cs->slice->copy_scratch, c->memory);
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
static void stop(struct range_copy *c, enum copy_stop why)
{
    c->stop = (uint8_t)max_u64(c->stop, why);
}

void copy_stop_failed(struct range_copy *c, const struct leg_io *io, struct status status)
{
    if (c->stop == STOP_FAILED)
        return;
    stop(c, STOP_FAILED);
    c->slot = io != NULL ? io->slot : 0;
    c->leg = io != NULL ? io->leg : NULL;
    c->status = status;
}

void copy_look_at_fence(struct range_copy *c)
{
    if (c->copyset->slice->fenced)
        copy_stop_failed(c, NULL, STATUS(FENCED));
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
    copy_part_send(p, slot, STORE_OP_WRITE_ZEROES, p->at, p->count, (struct span) { 0 }, NULL);
}

static void part_write_data(struct copy_part *p, unsigned slot, uint32_t first, uint32_t count)
{
    const uint64_t bytes = (uint64_t)count * STORE_BLOCK_BYTES;

    p->written = first + count;
    p->copy->copied_bytes += bytes;
    copy_part_send(p, slot, STORE_OP_WRITE, p->at + first, count,
                   span_sub(p->memory, (uint64_t)first * STORE_BLOCK_BYTES, bytes),
                   p->crcs + first);
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
    copy_part_send(p, (unsigned)__builtin_ctz(p->needs), STORE_OP_SPOIL, p->at, 1,
                   (struct span) { 0 }, NULL);
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
    if (!c->spares || c->ops->spoils == NULL) /* Or somebody who was not asked may have it. */
        unreadable_note(&c->copyset->slice->unreadable, c->order.shard, at, STORE_BLOCK_BYTES);
    part_next(p);
}

/* The target does not know the shard: it is created by a write first. */
static void spoil_create(struct copy_part *p)
{
    const struct span zeros = span_sub(p->memory, 0, STORE_BLOCK_BYTES);

    memset(zeros.at, 0, zeros.bytes);
    p->crcs[0] = crc32c(zeros.at, zeros.bytes);
    copy_part_send(p, (unsigned)__builtin_ctz(p->needs), STORE_OP_WRITE, p->at, 1, zeros, p->crcs);
}

static void spoil_on_answer(struct copy_part *p)
{
    if (p->io.store.opcode == STORE_OP_SPOIL)
        p->needs &= (uint8_t)(p->needs - 1);
    spoil_next(p);
}

/* ---- A part: reading ---- */

/*
 * 9.4  Who is no target is a member in sync, as the others are: all of them that are there are
 * read, region by region.  Targets may differ from each other, and the first of them is as good as
 * any.
 */
unsigned copy_best_source(const struct range_copy *c, unsigned sources)
{
    const struct copyset *const cs = c->copyset;
    const unsigned others = sources & ~c->ops->targets(c);
    const unsigned local = sources & ~(unsigned)cs->remote;

    if (others != 0) {
        const unsigned up = fanout_up(cs, others);
        const unsigned first = c->ops->spared != NULL ? up & ~c->ops->spared(c) : up;
        return (unsigned)__builtin_ctz(
            fanout_in_turn(fanout_well(cs, first != 0 ? first : up), c->order.shard, c->window));
    }
    return (unsigned)__builtin_ctz(local != 0 ? local : sources);
}

static void part_read(struct copy_part *p)
{
    const struct span data = span_sub(p->memory, 0, (uint64_t)p->count * STORE_BLOCK_BYTES);

    p->state = PART_READING;
    p->written = 0;
    copy_part_send(p, p->source, STORE_OP_READ, p->at, p->count, data, p->crcs);
}

/* The source of a block, by hashes; that of the window, if there is any, where all are bad. */
static unsigned first_source(const struct copy_part *p)
{
    const struct range_copy *const c = p->copy;
    const unsigned needs = c->needs[p->at];

    if ((needs & NEEDS_ANOTHER) == 0)
        return 1u << ((needs & NEEDS_SOURCE) >> NEEDS_SOURCE_SHIFT);
    return c->sourceless ? 0 : 1u << c->source;
}

/* 7.5: the first source keeps what it has, and so does who has the same, by hashes. */
static void part_spoil(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const unsigned needs = c->needs[p->at];
    const unsigned others =
        (needs & NEEDS_ANOTHER) != 0 ? ~first_source(p) : needs & (unsigned)NEEDS_SLOTS;

    p->state = PART_SPOILING;
    p->needs = (uint8_t)(c->ops->targets(c) & others);
    if (c->ops->spoils == NULL || !c->ops->spoils(c)) {
        p->needs = 0;
        c->spares = true;
    }
    spoil_next(p);
}

/* The block is bad at all sources that were tried: the next, or none. */
static void part_try_another(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const unsigned sources = c->ops->sources(c), left = sources & ~(unsigned)p->tried;

    if (left != 0) {
        p->source = copy_best_source(c, left);
        p->needs = (uint8_t)(c->ops->targets(c) & ~(1u << p->source));
        part_read(p);
    } else if ((first_source(p) & ~sources) != 0) {
        stop(c, STOP_AGAIN); /* It has left: hashes tell who is the first of the others. */
        part_next(p);
    } else {
        part_spoil(p);
    }
}

/* Its blocks of now; whatever it needed may have left meanwhile. */
static void part_begin(struct copy_part *p)
{
    struct range_copy *const c = p->copy;
    const unsigned needs = c->needs[p->at];

    if ((needs & NEEDS_ANOTHER) != 0) {
        p->tried = (uint8_t)first_source(p);
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
            copy_stop_failed(c, io, io->status);
        part_next(p);
    }
}

static void on_part(struct leg_io *io)
{
    struct copy_part *const p = io->owner;
    struct range_copy *const c = p->copy;

    copy_look_at_fence(c);
    if (c->stop != STOP_NOT)
        p->state = PART_IDLE;
    else if (!status_ok(io->status))
        part_on_failed(p);
    else if (p->state == PART_SPOILING)
        spoil_on_answer(p);
    else
        part_write(p);
    if (--c->under_way == 0)
        range_copy_on_parts(c);
}

/* ---- The interface ---- */

void copy_parts_begin(struct range_copy *c)
{
    c->next = 0;
    c->under_way++;
    for (unsigned i = 0; i < c->part_count; i++) {
        struct copy_part *const p = &c->parts[i];
        p->io.done = on_part;
        if (part_take(p))
            part_begin(p);
    }
    if (--c->under_way == 0)
        range_copy_on_parts(c);
}

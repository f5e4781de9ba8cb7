/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy: blocks of the volume to another place in it, a chunk at a time.
 *
 *                +----------- more ------------+
 *                v                             |
 *   IDLE ---> PLACING ---> MEMORY ---> READING ---> WRITING ---> LEAVING ---> ENDED
 *                |                        |                         ^
 *                +------------------------+-------------------------+
 *
 * A chunk lies in one stripe unit at either end.  It takes its places in the overlap order at both
 * ends, shared at the source and exclusive at the destination, before it reads, and keeps both
 * until it has written: so nobody sees the destination change after the source has (R8).
 *
 * Nobody waits for himself:
 *   C1  Places are taken in the order of (shard, offset), one after the other.
 *   C2  Two places that share a lane of the order are one, exclusive, place.
 *   C3  The second place does not wait for free lanes: the order keeps some back for these, and
 *       VOLUME_COPIES_MAX bounds how many there are.
 *   C4  Memory comes last, as for pieces (struct scratch).
 *
 * Everything but the entering and leaving runs on the reactor of the command's front.
 */
#include <assert.h>

#include "base/crc32c.h"
#include "base/mutation.h"
#include "volume/volume_internal.h"

enum copy_state {
    COPY_IDLE,
    COPY_PLACING, /* A place: place_on_return(). */
    COPY_MEMORY,  /* copy_on_memory(). */
    COPY_READING, /* The replicas: copy_on_return(). */
    COPY_WRITING, /* Likewise. */
    COPY_LEAVING, /* The places are given back: place_on_return(). */
    COPY_ENDED,
};

static const struct sm_state copy_states[] = {
    [COPY_IDLE] = { "idle", SM_TO(COPY_PLACING) },
    [COPY_PLACING] = { "placing", SM_TO(COPY_MEMORY) },
    [COPY_MEMORY] = { "memory", SM_TO(COPY_READING) },
    [COPY_READING] = { "reading", SM_TO(COPY_WRITING) | SM_TO(COPY_LEAVING) },
    [COPY_WRITING] = { "writing", SM_TO(COPY_LEAVING) },
    [COPY_LEAVING] = { "leaving", SM_TO(COPY_PLACING) | SM_TO(COPY_ENDED) },
    [COPY_ENDED] = { "ended", 0 },
};

static void copy_step(struct command *cmd);
static void copy_on_fanned(struct piece *p);
static void place_deliver(struct io_msg *msg);

static uint64_t in_block(uint64_t at)
{
    return at % STORE_BLOCK_BYTES;
}

/* ---- Chunks ---- */

/* How many bytes from here on, or up to here, lie in one stripe unit. */
static uint64_t unit_left(const struct layout *l, uint64_t at, bool backwards)
{
    const uint64_t unit = l->unit_bytes;
    return backwards ? (at - 1) % unit + 1 : unit - at % unit;
}

/*
 * The length of the next chunk, which begins, or ends, at the two addresses: whole blocks of the
 * destination, or a part of one.
 */
static uint64_t chunk_bytes(const struct layout *l, uint64_t source, uint64_t at, uint64_t rest,
                            bool backwards)
{
    const bool aligned = in_block(source) == in_block(at);
    const uint64_t most = VOLUME_SCRATCH_PIECE_BYTES - (aligned ? 0 : STORE_BLOCK_BYTES);
    uint64_t bytes = min_u64(rest, most);

    bytes = min_u64(bytes, unit_left(l, source, backwards));
    bytes = min_u64(bytes, unit_left(l, at, backwards));
    if (in_block(at) != 0)
        return min_u64(bytes, backwards ? in_block(at) : STORE_BLOCK_BYTES - in_block(at));
    return bytes < STORE_BLOCK_BYTES ? bytes : bytes - in_block(bytes);
}

/* The blocks around a range, which lies in one stripe unit. */
static struct layout_extent blocks_around(const struct layout *l, uint64_t at, uint64_t bytes)
{
    const uint64_t from = at - in_block(at);
    const struct layout_range range = { from, round_up_u64(at + bytes, STORE_BLOCK_BYTES) - from };
    const struct layout_extent e = layout_first_extent(l, range);

    assert(e.bytes == range.bytes);
    return e;
}

/* From the front, or from the back where the destination lies behind the source and overlaps it. */
static void chunk_choose(struct command *cmd)
{
    const struct layout *l = &cmd->front->map->layout;
    struct copy *const c = &cmd->feed.copy;
    const bool backwards = c->at > c->source && c->at < c->source + c->left;
    const uint64_t skip = backwards ? c->left : 0;
    const uint64_t bytes = chunk_bytes(l, c->source + skip, c->at + skip, c->left, backwards);
    const uint64_t source = c->source + skip - (backwards ? bytes : 0);
    const uint64_t at = c->at + skip - (backwards ? bytes : 0);

    c->bytes = (uint32_t)bytes;
    c->from = blocks_around(l, source, bytes);
    c->to = blocks_around(l, at, bytes);
    c->from_skip = (uint32_t)in_block(source);
    c->to_skip = (uint32_t)in_block(at);
    c->left -= bytes;
    c->source += backwards ? 0 : bytes;
    c->at += backwards ? 0 : bytes;
    c->is_part = c->bytes < c->to.bytes;
}

/* ---- Places ---- */

static void place_set(struct command *cmd, const struct layout_extent *e, bool exclusive)
{
    struct copy *const c = &cmd->feed.copy;
    struct piece *p = command_piece(cmd, c->place_count);

    p->cmd = cmd;
    p->owner = slice_of_shard(cmd->front, e->shard);
    p->order.shard = e->shard;
    p->order.offset = e->offset;
    p->order.bytes = e->bytes;
    p->order.exclusive = exclusive;
    p->order.second = c->place_count > 0;
    c->place_count++;
}

static uint64_t first_lane(const struct layout_extent *e)
{
    return e->offset / ORDER_LANE_BYTES;
}

static uint64_t last_lane(const struct layout_extent *e)
{
    return (e->offset + e->bytes - 1) / ORDER_LANE_BYTES;
}

static bool share_a_lane(const struct layout_extent *a, const struct layout_extent *b)
{
    return a->shard == b->shard && first_lane(a) <= last_lane(b) && first_lane(b) <= last_lane(a);
}

static bool comes_before(const struct layout_extent *a, const struct layout_extent *b)
{
    return a->shard != b->shard ? a->shard < b->shard : a->offset < b->offset;
}

/* Which places the chunk needs, in the order in which it takes them (C1, C2). */
static void places_choose(struct command *cmd)
{
    struct copy *const c = &cmd->feed.copy;

    c->place_count = 0;
    c->placed = 0;
    if (MUTATION(R8_COPY_SOURCE)) {
        place_set(cmd, &c->to, true);
    } else if (share_a_lane(&c->from, &c->to)) {
        struct layout_extent both = comes_before(&c->from, &c->to) ? c->from : c->to;
        both.bytes =
            max_u64(c->from.offset + c->from.bytes, c->to.offset + c->to.bytes) - both.offset;
        place_set(cmd, &both, true);
    } else if (comes_before(&c->from, &c->to)) {
        place_set(cmd, &c->from, false);
        place_set(cmd, &c->to, true);
    } else {
        place_set(cmd, &c->to, true);
        place_set(cmd, &c->from, false);
    }
}

/* To the slice that owns the place, which enters it or leaves. */
static void place_send(struct piece *p)
{
    if (p->owner->reactor == p->cmd->front->reactor) {
        place_deliver(&p->msg);
        return;
    }
    p->msg.deliver = place_deliver;
    reactor_post(p->owner->reactor, &p->msg);
}

/* Back at the front. */
static void place_on_return(struct io_msg *msg)
{
    struct command *cmd = CONTAINER_OF(msg, struct piece, msg)->cmd;
    struct copy *const c = &cmd->feed.copy;

    assert(reactor_is_current(cmd->front->reactor));
    if (c->sm.now == COPY_PLACING) {
        c->placed++;
    } else {
        c->placed--;
    }
    copy_step(cmd);
}

static void place_return(struct piece *p)
{
    if (p->owner->reactor == p->cmd->front->reactor) {
        place_on_return(&p->msg);
        return;
    }
    p->msg.deliver = place_on_return;
    reactor_post(p->cmd->front->reactor, &p->msg);
}

static void place_on_granted(struct order_entry *entry)
{
    struct piece *p = CONTAINER_OF(entry, struct piece, order);

    p->placed = true;
    place_return(p);
}

static void place_enter(struct piece *p)
{
    if (!settling_admits(p->copyset, p))
        return;
    p->order.granted = place_on_granted;
    if (order_enter(p->owner->order, &p->order))
        place_on_granted(&p->order);
}

static void place_deliver(struct io_msg *msg)
{
    struct piece *p = CONTAINER_OF(msg, struct piece, msg);

    assert(reactor_is_current(p->owner->reactor));
    if (p->placed) {
        p->placed = false;
        order_leave(p->owner->order, &p->order);
        place_return(p);
        return;
    }
    p->copyset = copyset_of_shard(p->cmd->front, p->order.shard);
    p->on_settled = place_enter;
    place_enter(p);
}

/* ---- Data ---- */

static void copy_on_memory(struct buf_waiter *waiter)
{
    copy_step(CONTAINER_OF(waiter, struct command, feed.copy.waiter));
}

/* Memory for the source's blocks and, behind them, the block of which a part is written. */
static bool copy_get_memory(struct command *cmd)
{
    struct copy *const c = &cmd->feed.copy;

    c->memory = scratch_get(&cmd->front->scratch, c->from.bytes + (c->is_part ? c->to.bytes : 0));
    if (c->memory.at != NULL)
        return true;
    c->waiter.retry = copy_on_memory;
    scratch_wait(&cmd->front->scratch, &c->waiter);
    return false;
}

static void copy_deliver(struct io_msg *msg)
{
    fanout_start(CONTAINER_OF(msg, struct piece, msg));
}

/* One of the chunk's transfers, at the slice of its shard: the order's place is held already. */
static void copy_submit(struct command *cmd, struct piece *p, const struct layout_extent *e,
                        enum store_opcode opcode, struct span data)
{
    for (unsigned i = 0; i < cmd->front->slots; i++) {
        struct store_io *s = &p->legs[i].store;
        s->opcode = opcode;
        s->fua = opcode == STORE_OP_WRITE && cmd->req->fua;
        s->create = opcode == STORE_OP_WRITE;
        s->shard = e->shard;
        s->offset = e->offset;
        s->bytes = e->bytes;
        s->data = data;
        s->crcs = opcode == STORE_OP_WRITE ? cmd->crcs : NULL;
    }
    p->cmd = cmd;
    p->pool = scratch_pool_of(&cmd->front->scratch, cmd->feed.copy.memory);
    p->copyset = copyset_of_shard(cmd->front, e->shard);
    p->status = STATUS(OK);
    p->on_fanned = copy_on_fanned;
    p->own_place = false; /* Its place is the Copy's. */
    p->repaired = false;
    p->msg.deliver = copy_deliver;
    cmd->feed.copy.pending++;
    reactor_send(cmd->front->reactor, p->copyset->slice->reactor, &p->msg);
}

static void copy_read(struct command *cmd)
{
    struct copy *const c = &cmd->feed.copy;

    copy_submit(cmd, command_piece(cmd, 0), &c->from, STORE_OP_READ,
                span_sub(c->memory, 0, c->from.bytes));
    if (c->is_part)
        copy_submit(cmd, command_piece(cmd, 1), &c->to, STORE_OP_READ,
                    span_sub(c->memory, c->from.bytes, c->to.bytes));
}

/* Puts the source's bytes where they belong in the destination's blocks, and writes these. */
static void copy_write(struct command *cmd)
{
    struct copy *const c = &cmd->feed.copy;
    const struct span blocks = span_sub(c->memory, c->is_part ? c->from.bytes : 0, c->to.bytes);

    if (blocks.at + c->to_skip != c->memory.at + c->from_skip)
        memmove(blocks.at + c->to_skip, c->memory.at + c->from_skip, c->bytes);
    for (size_t at = 0; at < blocks.bytes; at += STORE_BLOCK_BYTES)
        cmd->crcs[at / STORE_BLOCK_BYTES] = crc32c(blocks.at + at, STORE_BLOCK_BYTES);
    copy_submit(cmd, command_piece(cmd, 1), &c->to, STORE_OP_WRITE, blocks);
}

/* Back at the front. */
static void copy_on_return(struct io_msg *msg)
{
    struct piece *p = CONTAINER_OF(msg, struct piece, msg);
    struct command *cmd = p->cmd;

    if (status_ok(cmd->status))
        cmd->status = p->status;
    if (--cmd->feed.copy.pending == 0)
        copy_step(cmd);
}

static void copy_on_fanned(struct piece *p)
{
    p->msg.deliver = copy_on_return;
    reactor_send(p->copyset->slice->reactor, p->cmd->front->reactor, &p->msg);
}

/* ---- The machine ---- */

static void copy_place_next(struct command *cmd)
{
    place_send(cmd->pieces[cmd->feed.copy.placed]);
}

static void copy_begin_chunk(struct command *cmd)
{
    sm_move(&cmd->feed.copy.sm, COPY_PLACING);
    chunk_choose(cmd);
    places_choose(cmd);
    copy_place_next(cmd);
}

static void copy_leave(struct command *cmd)
{
    struct copy *const c = &cmd->feed.copy;

    sm_move(&c->sm, COPY_LEAVING);
    scratch_put(&cmd->front->scratch, c->memory);
    copy_step(cmd);
}

/* Off the caller's stack: a Copy may have failed before it was submitted. */
static void copy_end(struct command *cmd)
{
    struct slice *front = cmd->front;

    sm_move(&cmd->feed.copy.sm, COPY_ENDED);
    list_push_back(&front->finished, &cmd->link);
    reactor_defer(front->reactor, &front->finish_task);
    assert(front->copies > 0);
    front->copies--;
}

static void copy_step(struct command *cmd)
{
    struct copy *const c = &cmd->feed.copy;

    switch ((enum copy_state)c->sm.now) {
    case COPY_PLACING:
        if (c->placed < c->place_count) {
            copy_place_next(cmd);
            return;
        }
        sm_move(&c->sm, COPY_MEMORY);
        copy_step(cmd);
        return;
    case COPY_MEMORY:
        if (!copy_get_memory(cmd))
            return;
        sm_move(&c->sm, COPY_READING);
        copy_read(cmd);
        return;
    case COPY_READING:
        if (!status_ok(cmd->status)) {
            copy_leave(cmd);
            return;
        }
        sm_move(&c->sm, COPY_WRITING);
        copy_write(cmd);
        return;
    case COPY_WRITING:
        copy_leave(cmd);
        return;
    case COPY_LEAVING:
        if (c->placed > 0)
            place_send(cmd->pieces[c->placed - 1]);
        else if (status_ok(cmd->status) && c->left > 0)
            copy_begin_chunk(cmd);
        else
            copy_end(cmd);
        return;
    case COPY_IDLE:
    case COPY_ENDED:
        break;
    }
    sm_bug(&c->sm);
}

void copy_start(struct command *cmd)
{
    struct slice *front = cmd->front;
    struct copy *const c = &cmd->feed.copy;

    assert(cmd->req->bytes > 0);
    cmd->fed = true; /* What is left to do is in the machine. */
    if (front->copies == VOLUME_COPIES_MAX) {
        list_push_back(&front->copies_waiting, &cmd->link);
        return;
    }
    assert(front->copies < VOLUME_COPIES_MAX);
    front->copies++;
    sm_init(&c->sm, copy_states, COPY_IDLE);
    c->source = cmd->req->source;
    c->at = cmd->req->offset;
    c->left = cmd->req->bytes;
    c->pending = 0;
    for (unsigned i = 0; i < VOLUME_COPY_PLACES; i++)
        cmd->pieces[i]->placed = false;
    copy_begin_chunk(cmd);
}

void copy_start_waiting(struct slice *front)
{
    struct list_node *n;

    while (front->copies < VOLUME_COPIES_MAX &&
           (n = list_pop_front(&front->copies_waiting)) != NULL)
        copy_start(CONTAINER_OF(n, struct command, link));
}

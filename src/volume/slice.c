/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/crc32c.h"
#include "volume/volume_internal.h"

/*
 *   front's reactor      owner's reactor
 *
 *   slice_submit ------> slice_deliver
 *                        order, then
 *                        piece_start -----> fanout_start
 *                        piece_on_fanned <-----+
 *   command_on_piece <-- piece_end
 *
 * A piece that is part of a block goes to the store once to read it and, if it is to change, a
 * second time to write it; it keeps its place in the order meanwhile.
 */
static void slice_deliver(struct io_msg *msg);
static void piece_on_granted(struct order_entry *entry);
static void piece_on_fanned(struct piece *p);
static void piece_return(struct io_msg *msg);
static void scratch_on_memory(struct buf_waiter *waiter);

void slice_submit(struct piece *p)
{
    p->copyset = copyset_of_shard(p->cmd->front, p->order.shard);
    p->owner = p->copyset->slice;
    if (p->owner->reactor == p->cmd->front->reactor) {
        slice_deliver(&p->msg);
        return;
    }
    p->msg.deliver = slice_deliver;
    reactor_send(p->cmd->front->reactor, p->owner->reactor, &p->msg);
}

/* ---- Blocks that do not go to the host as they are ---- */

/* Takes memory and reads the blocks into it, now or when there is some. */
static void scratch_start(struct piece *p)
{
    struct scratch *const m = &p->scratch;

    m->memory = scratch_get(&p->owner->scratch, m->bytes);
    if (m->memory.at == NULL) {
        m->waiter.retry = scratch_on_memory;
        scratch_wait(&p->owner->scratch, &m->waiter);
        if (p->order.exclusive) /* Who has it may wait for a copy of this very region (9.4). */
            order_set_aside(p->owner->order, &p->order);
        return;
    }
    m->reading = true;
    p->pool = scratch_pool_of(&p->owner->scratch, m->memory);
    for (unsigned i = 0; i < p->owner->slots; i++) {
        struct store_io *s = &p->legs[i].store;
        s->opcode = STORE_OP_READ;
        s->data = m->memory;
        s->crcs = NULL;
    }
    fanout_start(p);
}

static void scratch_on_resumed(struct order_entry *entry)
{
    scratch_start(CONTAINER_OF(entry, struct piece, order));
}

static void scratch_on_memory(struct buf_waiter *waiter)
{
    struct piece *const p = CONTAINER_OF(waiter, struct piece, scratch.waiter);

    p->order.granted = scratch_on_resumed;
    if (!p->order.exclusive || order_resume(p->owner->order, &p->order))
        scratch_start(p);
}

/* The block is there with the host's part in it: to all replicas. */
static void scratch_write(struct piece *p)
{
    struct scratch *const m = &p->scratch;

    assert(m->memory.bytes == STORE_BLOCK_BYTES);
    m->crc = crc32c(m->memory.at, STORE_BLOCK_BYTES);
    for (unsigned i = 0; i < p->owner->slots; i++) {
        struct store_io *s = &p->legs[i].store;
        s->opcode = STORE_OP_WRITE;
        s->create = true;
        s->data = m->memory;
        s->crcs = &m->crc;
    }
    fanout_start(p);
}

/* Whether the blocks are what the host says; the host's data have no other use. */
static struct status scratch_compare(const struct scratch *m)
{
    if (memcmp(m->memory.at + m->from, m->data, m->to - m->from) == 0)
        return STATUS(OK);
    return STATUS(MISCOMPARE);
}

/* Puts the command's part into the block that was read around it. */
static void scratch_merge(const struct scratch *m)
{
    if (m->data != NULL)
        memcpy(m->memory.at + m->from, m->data, m->to - m->from);
    else
        memset(m->memory.at + m->from, 0, m->to - m->from);
}

/* The blocks were read.  False: that was all. */
static bool scratch_go_on(struct piece *p)
{
    struct scratch *const m = &p->scratch;

    m->reading = false;
    if (!status_ok(p->status))
        return false;
    switch (p->cmd->req->opcode) {
    case NVME_NS_READ:
        memcpy(m->data, m->memory.at + m->from, m->to - m->from);
        return false;
    case NVME_NS_COMPARE:
        p->status = scratch_compare(m);
        return false;
    case NVME_NS_VERIFY:
        return false;
    case NVME_NS_WRITE:
    case NVME_NS_WRITE_ZEROES:
    case NVME_NS_DEALLOCATE:
    case NVME_NS_COPY:
    case NVME_NS_FLUSH:
        break;
    }
    scratch_merge(m);
    scratch_write(p);
    return true;
}

/* ---- A piece's way ---- */

/* The piece is alone on its blocks now. */
static void piece_start(struct piece *p)
{
    p->on_fanned = piece_on_fanned;
    p->own_place = true;
    p->place_given = false;
    if (p->scratch.bytes > 0)
        scratch_start(p);
    else
        fanout_start(p);
}

static void piece_on_granted(struct order_entry *entry)
{
    piece_start(CONTAINER_OF(entry, struct piece, order));
}

/* What it touches may have to be settled first. */
static void piece_enter(struct piece *p)
{
    if (!settling_admits(p->copyset, p))
        return;
    p->order.granted = piece_on_granted;
    if (order_enter(p->owner->order, &p->order))
        piece_start(p);
}

static void slice_deliver(struct io_msg *msg)
{
    struct piece *p = CONTAINER_OF(msg, struct piece, msg);

    assert(reactor_is_current(p->owner->reactor));
    p->repaired = false;
    p->on_settled = piece_enter;
    piece_enter(p);
}

/* Lets the next one on the piece's blocks, and returns the piece to its command. */
static void piece_end(struct piece *p)
{
    const struct slice *const s = p->owner;

    if (!p->place_given)
        order_leave(s->order, &p->order);
    if (s->reactor == p->cmd->front->reactor) {
        command_on_piece(p);
        return;
    }
    p->msg.deliver = piece_return;
    reactor_send(p->owner->reactor, p->cmd->front->reactor, &p->msg);
}

static void piece_return(struct io_msg *msg)
{
    command_on_piece(CONTAINER_OF(msg, struct piece, msg));
}

/*
 * 8.6: each member has a bad block among the piece's, but perhaps not the same.  True: it leaves,
 * and is begun anew after a repair.
 */
static bool waits_for_repair(struct piece *p)
{
    if (!status_is(p->status, STATUS_MEDIA_READ) || p->order.exclusive || p->repaired ||
        !repair_wait(p))
        return false;
    p->repaired = true;
    if (p->scratch.bytes > 0)
        scratch_put(&p->owner->scratch, p->scratch.memory);
    order_leave(p->owner->order, &p->order);
    return true;
}

static void piece_on_fanned(struct piece *p)
{
    if (waits_for_repair(p))
        return;
    if (p->scratch.bytes > 0) {
        if (p->scratch.reading && scratch_go_on(p))
            return;
        scratch_put(&p->owner->scratch, p->scratch.memory);
    }
    piece_end(p);
}

struct status slice_init(struct slice *s, struct volume *v, struct reactor *reactor,
                         struct buf_pool *scratch, uint32_t commands_max)
{
    s->volume = v;
    s->reactor = reactor;
    s->replicas = v->desc.replicas;
    s->slots = s->replicas > 1 ? s->replicas + 1 : 1;
    list_init(&s->refused);
    trails_init(&s->trails);
    repairs_init(&s->repairs);
    rounds_init(&s->rounds, s);
    io_task_init(&s->refuse_task, fanout_end_refused);
    undos_init(&s->undos);
    TRY(scratch_pool_init(&s->scratch, reactor, scratch));
    TRY(scratch_pool_init(&s->copy_scratch, reactor, scratch));
    TRY(command_pool_init(s, commands_max));
    return order_create(VOLUME_LANES_MAX, VOLUME_LANES_KEPT, &s->order);
}

void slice_fini(struct slice *s)
{
    rounds_fini(&s->rounds);
    undos_fini(&s->undos);
    trails_fini(&s->trails);
    order_destroy(s->order);
    command_pool_fini(s);
    scratch_pool_fini(&s->copy_scratch);
    scratch_pool_fini(&s->scratch);
}

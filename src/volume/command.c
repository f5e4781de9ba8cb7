/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "base/atomic_max.h"
#include "base/crc32c.h"
#include "base/mutation.h"
#include "io/pages.h"
#include "volume/volume_internal.h"

/*
 *   command_submit -> command_start -> command_feed ==> pieces, up to VOLUME_PIECES_MAX at a time
 *                                          ^                |
 *                                          +-- more to do --+-- command_on_piece -> command_end
 */
static void command_start(struct command *cmd, struct nvme_ns_req *req);

#define ALL_PIECES_FREE ((UINT32_C(1) << VOLUME_PIECES_MAX) - 1)

/* ---- The pool ---- */

static void command_end_finished(struct io_task *task);

struct status command_pool_init(struct slice *s, uint32_t commands_max)
{
    const size_t pieces_max = (size_t)commands_max * VOLUME_PIECES_MAX;

    list_init(&s->commands_free);
    list_init(&s->waiting);
    list_init(&s->finished);
    list_init(&s->copies_waiting);
    list_init(&s->canceled);
    io_task_init(&s->finish_task, command_end_finished);
    /* It is touched as far as it is used: a command is set up when it is for the first time. */
    s->commands_max = commands_max;
    s->commands = pages_calloc(commands_max, sizeof *s->commands);
    s->pieces = pages_calloc(pieces_max, sizeof *s->pieces);
    s->leg_ios = pages_calloc(pieces_max * s->slots, sizeof *s->leg_ios);
    s->remote_ios = pages_calloc(pieces_max * s->slots, sizeof *s->remote_ios);
    if (s->commands == NULL || s->pieces == NULL || s->leg_ios == NULL || s->remote_ios == NULL)
        return STATUS(NO_MEMORY);
    return STATUS(OK);
}

void command_pool_fini(struct slice *s)
{
    const size_t pieces_max = (size_t)s->commands_max * VOLUME_PIECES_MAX;

    assert(s->commands_used == 0);
    pages_free(s->remote_ios, pieces_max * s->slots, sizeof *s->remote_ios);
    pages_free(s->leg_ios, pieces_max * s->slots, sizeof *s->leg_ios);
    pages_free(s->pieces, pieces_max, sizeof *s->pieces);
    pages_free(s->commands, s->commands_max, sizeof *s->commands);
}

/* A command of which no use was made before. */
static struct command *command_set_up(struct slice *front)
{
    const uint32_t index = front->commands_fresh++;
    struct command *const cmd = &front->commands[index];

    list_node_init(&cmd->link);
    cmd->front = front;
    /* First pieces lie together, and so on: few commands have more than one. */
    for (uint32_t i = 0; i < VOLUME_PIECES_MAX; i++)
        cmd->pieces[i] = &front->pieces[(size_t)i * front->commands_max + index];
    return cmd;
}

static struct command *command_get(struct slice *front)
{
    struct command *cmd = NULL;

    if (!list_empty(&front->commands_free)) {
        /* The one that was used last is still in the cache. */
        cmd = CONTAINER_OF(list_pop_front(&front->commands_free), struct command, link);
    } else if (front->commands_fresh < front->commands_max) {
        cmd = command_set_up(front);
    }
    if (cmd != NULL)
        front->commands_used++;
    return cmd;
}

static void command_put(struct command *cmd)
{
    assert(cmd->free_pieces == ALL_PIECES_FREE);
    assert(cmd->front->commands_used > 0);
    cmd->front->commands_used--;
    list_push_front(&cmd->front->commands_free, &cmd->link);
}

/* ---- The end of a command ---- */

/* Whether this command has to tell the host that earlier writes may be gone (S1). */
static bool command_tells_loss(const struct command *cmd)
{
    struct leg_losses *losses = &cmd->front->volume->losses;
    struct nvme_ns_req *req = cmd->req;

    if (req->opcode != NVME_NS_FLUSH && !req->fua)
        return false;
    const uint64_t noted = atomic_load_explicit(&losses->noted, memory_order_relaxed);
    if (noted <= req->loss_told || noted <= atomic_load(&losses->heard))
        return false;
    req->loss_told = noted;
    return true;
}

/* Gives the command to the next request that waits, or back, and answers the host. */
static void command_end(struct command *cmd)
{
    struct nvme_ns_req *req = cmd->req;
    struct slice *front = cmd->front;

    /* It may have found the disk as it is after a loss that was noted since it began. */
    if (status_ok(cmd->status) && command_tells_loss(cmd))
        cmd->status = STATUS(MEDIA_WRITE);
    req->status = cmd->status;
    /* Its leg has noted the loss that it met. */
    if (status_is(req->status, STATUS_STALE_INCARNATION))
        req->loss_told = max_u64(req->loss_told, atomic_load(&front->volume->losses.noted));
    struct list_node *n = list_pop_front(&front->waiting);
    if (n == NULL)
        command_put(cmd);
    else
        command_start(cmd, CONTAINER_OF(n, struct nvme_ns_req, link));
    req->done(req);
}

static bool command_is_over(const struct command *cmd)
{
    return cmd->fed && cmd->free_pieces == ALL_PIECES_FREE;
}

static void command_end_finished(struct io_task *task)
{
    struct slice *front = CONTAINER_OF(task, struct slice, finish_task);
    struct list finished;

    list_init(&finished);
    list_splice_back(&finished, &front->finished);
    struct list_node *n;
    while ((n = list_pop_front(&finished)) != NULL)
        command_end(CONTAINER_OF(n, struct command, link));
    copy_start_waiting(front);
    while ((n = list_pop_front(&front->canceled)) != NULL) {
        struct nvme_ns_req *req = CONTAINER_OF(n, struct nvme_ns_req, link);
        req->status = STATUS(CANCELED);
        req->done(req);
    }
}

/* ---- Pieces ---- */

struct piece *command_piece(struct command *cmd, unsigned index)
{
    struct slice *const front = cmd->front;
    struct piece *const p = cmd->pieces[index];
    const size_t first_leg = (size_t)(p - front->pieces) * front->slots;

    if (p->legs != NULL)
        return p;
    p->index = index;
    p->legs = &front->leg_ios[first_leg];
    for (unsigned slot = 0; slot < front->slots; slot++)
        p->legs[slot].remote = &front->remote_ios[first_leg + slot];
    return p;
}

static struct piece *command_take_piece(struct command *cmd)
{
    assert(cmd->free_pieces != 0);
    const unsigned index = (unsigned)__builtin_ctz(cmd->free_pieces);
    struct piece *p = command_piece(cmd, index);

    cmd->free_pieces &= ~(UINT32_C(1) << index);
    p->cmd = cmd;
    p->status = STATUS(OK);
    return p;
}

static enum store_opcode store_opcode_of(enum nvme_ns_opcode opcode)
{
    switch (opcode) {
    case NVME_NS_READ:
    case NVME_NS_COMPARE:
    case NVME_NS_VERIFY:
        return STORE_OP_READ;
    case NVME_NS_WRITE:
        return STORE_OP_WRITE;
    case NVME_NS_FLUSH:
        return STORE_OP_FLUSH;
    case NVME_NS_WRITE_ZEROES:
        return STORE_OP_WRITE_ZEROES;
    case NVME_NS_DEALLOCATE:
        return STORE_OP_DEALLOCATE;
    case NVME_NS_COPY: /* Of no single one. */
        break;
    }
    abort(); /* The target sends no others. */
}

/* Whether a command leaves everything as it is. */
static bool only_looks(enum nvme_ns_opcode opcode)
{
    return opcode == NVME_NS_READ || opcode == NVME_NS_COMPARE || opcode == NVME_NS_VERIFY;
}

/* Takes a piece for an extent; data and CRCs are the caller's to fill in. */
static struct piece *command_extent_piece(struct command *cmd, const struct layout_extent *e)
{
    const struct nvme_ns_req *req = cmd->req;
    struct piece *p = command_take_piece(cmd);

    p->pool = req->pool;
    p->order.shard = e->shard;
    p->order.offset = e->offset;
    p->order.bytes = e->bytes;
    p->order.exclusive = !only_looks(req->opcode);
    p->order.second = false;
    p->scratch.bytes = 0;
    for (unsigned i = 0; i < cmd->front->slots; i++) {
        struct store_io *s = &p->legs[i].store;
        s->opcode = store_opcode_of(req->opcode);
        s->fua = req->fua;
        s->create = req->opcode == NVME_NS_WRITE;
        s->shard = e->shard;
        s->offset = e->offset;
        s->bytes = e->bytes;
        s->data = (struct span) { 0 };
        s->crcs = NULL;
    }
    return p;
}

/* The piece of a range's first block, of which it has only a part; data is NULL for zeros. */
static void command_submit_edge(struct command *cmd, struct layout_range *rest, uint8_t *data)
{
    const uint64_t block = rest->at - rest->at % STORE_BLOCK_BYTES;
    const struct layout_extent e = layout_first_extent(
        &cmd->front->map->layout, (struct layout_range) { block, STORE_BLOCK_BYTES });
    struct piece *p = command_extent_piece(cmd, &e);
    struct scratch *const m = &p->scratch;

    m->bytes = STORE_BLOCK_BYTES;
    m->from = (uint32_t)(rest->at - block);
    m->to = (uint32_t)min_u64(STORE_BLOCK_BYTES, m->from + rest->bytes);
    m->data = data;
    if (MUTATION(R8_PARTS_TOGETHER))
        p->order.exclusive = false;
    rest->at += m->to - m->from;
    rest->bytes -= m->to - m->from;
    slice_submit(p);
}

/* A place in the command's data; NULL where it has none. */
static uint8_t *command_data(const struct command *cmd, uint64_t at)
{
    const struct span data = cmd->req->data;

    return data.at == NULL ? NULL : data.at + (at - cmd->req->offset);
}

/* The piece of as many whole blocks as lie in a row and fit into memory of the reactor's. */
static void command_submit_scratch(struct command *cmd, struct layout_range *rest)
{
    const uint64_t whole = rest->bytes - rest->bytes % STORE_BLOCK_BYTES;
    const struct layout_extent e = layout_first_extent(
        &cmd->front->map->layout,
        (struct layout_range) { rest->at, min_u64(whole, VOLUME_SCRATCH_PIECE_BYTES) });
    struct piece *p = command_extent_piece(cmd, &e);

    p->scratch.bytes = (uint32_t)e.bytes;
    p->scratch.from = 0;
    p->scratch.to = (uint32_t)e.bytes;
    p->scratch.data = command_data(cmd, rest->at);
    rest->at += e.bytes;
    rest->bytes -= e.bytes;
    slice_submit(p);
}

/* The piece of as many whole blocks as lie in a row. */
static void command_submit_blocks(struct command *cmd, struct layout_range *rest)
{
    const struct nvme_ns_req *req = cmd->req;
    const struct volume_map *map = cmd->front->map;
    const struct layout_range whole = {
        rest->at, min_u64(rest->bytes - rest->bytes % STORE_BLOCK_BYTES, map->piece_bytes_max)
    };
    const struct layout_extent e = layout_first_extent(&map->layout, whole);
    const size_t at = rest->at - req->offset;
    struct piece *p = command_extent_piece(cmd, &e);

    for (unsigned i = 0; i < cmd->front->slots; i++) {
        struct store_io *s = &p->legs[i].store;
        s->data = span_sub(req->data, at, e.bytes);
        if (req->opcode == NVME_NS_WRITE)
            s->crcs = &cmd->crcs[at / STORE_BLOCK_BYTES];
    }
    rest->at += e.bytes;
    rest->bytes -= e.bytes;
    slice_submit(p);
}

static void command_feed_data(struct command *cmd)
{
    struct layout_range *rest = &cmd->feed.rest;

    while (rest->bytes > 0 && cmd->free_pieces != 0) {
        if (rest->at % STORE_BLOCK_BYTES != 0 || rest->bytes < STORE_BLOCK_BYTES)
            command_submit_edge(cmd, rest, command_data(cmd, rest->at));
        else if (cmd->req->opcode == NVME_NS_COMPARE || cmd->req->opcode == NVME_NS_VERIFY)
            command_submit_scratch(cmd, rest);
        else
            command_submit_blocks(cmd, rest);
    }
    cmd->fed = rest->bytes == 0;
}

static void command_feed_zeroes(struct command *cmd)
{
    struct layout_extent e;

    while (cmd->free_pieces != 0 && cmd->feed.zero.edges_left > 0)
        command_submit_edge(cmd, &cmd->feed.zero.edges[--cmd->feed.zero.edges_left], NULL);
    while (cmd->free_pieces != 0 && !cmd->fed) {
        if (layout_walk_next(&cmd->feed.zero.walk, &cmd->front->map->layout, &e))
            slice_submit(command_extent_piece(cmd, &e));
        else
            cmd->fed = true;
    }
}

/* 5.10: what one replica does not confirm is acknowledged when it has been excluded. */
static void command_on_flushed(struct leg_io *io)
{
    struct piece *p = io->owner;

    p->status = io->status;
    if (p->cmd->front->replicas > 1 && !status_ok(io->status))
        members_hold_flush(p);
    else
        command_on_piece(p);
}

void command_flush_leg(struct piece *p)
{
    struct leg_io *const io = &p->legs[0];

    io->owner = p;
    io->store.opcode = STORE_OP_FLUSH;
    io->store.fua = false;
    io->reactor = p->cmd->front->reactor;
    io->done = command_on_flushed;
    leg_submit(io);
}

/*
 * A Flush asks every leg that has a session, and of several replicas those that are in sync, or
 * about to be (9.8).  One without took no write since the volume was opened, so there is nothing to
 * promise for it, and its absence is an error to its shards only.
 */
static void command_feed_flush(struct command *cmd)
{
    const struct volume_map *map = cmd->front->map;

    while (cmd->free_pieces != 0 && cmd->feed.next_leg < map->leg_count) {
        struct leg *leg = map->legs[cmd->feed.next_leg++];
        if (members_flush_spares(leg))
            continue;
        struct piece *p = command_take_piece(cmd);
        p->legs[0].leg = leg;
        if (members_flush_waits(cmd->front->volume))
            members_delay_flush(p);
        else
            command_flush_leg(p);
    }
    cmd->fed = cmd->feed.next_leg == map->leg_count;
}

static void command_feed(struct command *cmd)
{
    assert(!cmd->fed);
    switch (cmd->req->opcode) {
    case NVME_NS_READ:
    case NVME_NS_WRITE:
    case NVME_NS_COMPARE:
    case NVME_NS_VERIFY:
        command_feed_data(cmd);
        return;
    case NVME_NS_WRITE_ZEROES:
    case NVME_NS_DEALLOCATE:
        command_feed_zeroes(cmd);
        return;
    case NVME_NS_FLUSH:
        command_feed_flush(cmd);
        return;
    case NVME_NS_COPY: /* copy.c */
        return;
    }
}

void command_on_piece(struct piece *p)
{
    struct command *cmd = p->cmd;
    const unsigned index = p->index;

    assert(reactor_is_current(cmd->front->reactor));
    assert((cmd->free_pieces >> index & 1) == 0);
    cmd->free_pieces |= UINT32_C(1) << index;
    if (status_ok(cmd->status))
        cmd->status = p->status;
    if (!status_ok(cmd->status))
        cmd->fed = true; /* The host is told of the first failure; the rest is not begun. */
    if (!cmd->fed)
        command_feed(cmd);
    if (command_is_over(cmd))
        command_end(cmd);
}

/* ---- The beginning of a command ---- */

/*
 * One CRC per whole block, here at the front end; from now on they stay with the data.  A block of
 * which the host wrote a part gets its own when the rest of it is there.
 */
static void command_checksum(struct command *cmd)
{
    const struct span data = cmd->req->data;
    const size_t lead = (size_t)(-cmd->req->offset % STORE_BLOCK_BYTES);

    for (size_t at = lead; at + STORE_BLOCK_BYTES <= data.bytes; at += STORE_BLOCK_BYTES)
        cmd->crcs[at / STORE_BLOCK_BYTES] = crc32c(data.at + at, STORE_BLOCK_BYTES);
}

/* Whole blocks are zeroed in place; parts of blocks are written, or left where it is advice. */
static void command_prepare_zero(struct command *cmd, struct layout_range range)
{
    const uint64_t end = range.at + range.bytes;
    const uint64_t whole_from = round_up_u64(range.at, STORE_BLOCK_BYTES);
    const uint64_t whole_to = max_u64(whole_from, end - end % STORE_BLOCK_BYTES);
    const struct layout_range whole = { whole_from, whole_to - whole_from };

    cmd->feed.zero.edges_left = 0;
    layout_walk_init(&cmd->feed.zero.walk, whole, VOLUME_ZERO_BYTES_MAX);
    if (cmd->req->opcode == NVME_NS_DEALLOCATE)
        return;
    if (range.at < whole_from)
        cmd->feed.zero.edges[cmd->feed.zero.edges_left++] =
            (struct layout_range) { range.at, min_u64(whole_from, end) - range.at };
    if (whole_to < end)
        cmd->feed.zero.edges[cmd->feed.zero.edges_left++] =
            (struct layout_range) { whole_to, end - whole_to };
}

bool command_cancel(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    struct volume *v = CONTAINER_OF(ns, struct volume, ns);

    /* What has a command may have a place in the order, or be on its way to a disk. */
    if (!list_node_linked(&req->link))
        return false;
    struct slice *front = &v->slices[req->reactor->index];
    list_remove(&req->link);
    list_push_back(&front->canceled, &req->link);
    reactor_defer(front->reactor, &front->finish_task);
    return true;
}

void command_loss_heard(struct nvme_ns *ns, uint64_t loss)
{
    struct volume *v = CONTAINER_OF(ns, struct volume, ns);

    atomic_max_u64(&v->losses.heard, loss);
    if (v->loss != 0 && loss >= v->loss)
        members_loss_heard(v);
}

static void command_prepare(struct command *cmd)
{
    const struct nvme_ns_req *req = cmd->req;
    const struct layout_range range = { req->offset, req->bytes };

    switch (req->opcode) {
    case NVME_NS_WRITE:
        command_checksum(cmd);
        cmd->feed.rest = range;
        return;
    case NVME_NS_READ:
    case NVME_NS_COMPARE:
    case NVME_NS_VERIFY:
        cmd->feed.rest = range;
        return;
    case NVME_NS_WRITE_ZEROES:
    case NVME_NS_DEALLOCATE:
        command_prepare_zero(cmd, range);
        return;
    case NVME_NS_FLUSH:
        cmd->feed.next_leg = 0;
        return;
    case NVME_NS_COPY: /* copy.c */
        return;
    }
}

static void command_start(struct command *cmd, struct nvme_ns_req *req)
{
    cmd->req = req;
    cmd->status = STATUS(OK);
    cmd->free_pieces = ALL_PIECES_FREE;
    cmd->fed = false;
    if (command_tells_loss(cmd)) {
        cmd->status = STATUS(MEDIA_WRITE);
        cmd->fed = true;
    } else if (req->opcode == NVME_NS_COPY) {
        copy_start(cmd);
        return;
    } else {
        command_prepare(cmd);
        command_feed(cmd);
    }
    if (command_is_over(cmd)) {
        list_push_back(&cmd->front->finished, &cmd->link);
        reactor_defer(cmd->front->reactor, &cmd->front->finish_task);
    }
}

void command_submit(struct nvme_ns *ns, struct nvme_ns_req *req)
{
    struct volume *v = CONTAINER_OF(ns, struct volume, ns);
    struct slice *front = &v->slices[req->reactor->index];

    assert(front->reactor == req->reactor);
    assert(reactor_is_current(req->reactor));
    assert(req->bytes > 0 || (!only_looks(req->opcode) && req->opcode != NVME_NS_WRITE));
    assert(req->offset <= front->map->layout.bytes);
    assert(req->bytes <= front->map->layout.bytes - req->offset);

    struct command *cmd = command_get(front);
    if (cmd == NULL) {
        list_node_init(&req->link);
        list_push_back(&front->waiting, &req->link);
        front->waited++;
        return;
    }
    command_start(cmd, req);
}

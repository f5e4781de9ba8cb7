/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command's way: from the reactor of its queue to that of its disk, and back.
 *
 *   op_submit --> op_go ----(message)----> op_deliver --> op_execute --> store
 *   op_return <-----------(message)------- op_finish  <-----------------   |
 *
 * A command of a disk on its queue's reactor needs no message, if the queue is the one that is
 * meant for the disk (2.1).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "peer/server_internal.h"

static void op_go(struct server_op *op);
static void op_deliver(struct io_msg *msg);
static void op_return(struct io_msg *msg);

/* ---- Answers ---- */

static bool take_line(struct server_lines *lines, uint64_t now_ns, uint64_t line_ns, unsigned most)
{
    const uint64_t from = max_u64(lines->used_until_ns, now_ns);

    if (from - now_ns >= most * line_ns) {
        lines->left_out++;
        return false;
    }
    lines->used_until_ns = from + line_ns;
    return true;
}

static bool may_log(struct server_shard *shard, struct status st)
{
    const uint64_t now_ns = reactor_now_ns(shard->reactor);
    struct log *const log = shard->reactor->log;
    struct server_lines *lines = &shard->lines;

    if (status_is(st, STATUS_UNKNOWN_SHARD)) {
        lines = &shard->unknown_lines;
        if (!take_line(lines, now_ns, SERVER_LOG_UNKNOWN_LINE_NS, SERVER_LOG_UNKNOWN_LINES))
            return false;
        if (lines->left_out > 0)
            log_info(log, "%" PRIu64 " lines about unknown shards were left out", lines->left_out);
    } else {
        if (!take_line(lines, now_ns, SERVER_LOG_LINE_NS, SERVER_LOG_LINES))
            return false;
        if (lines->left_out > 0)
            log_warning(log,
                        "%" PRIu64 " lines about other nodes were left out: there are too many",
                        lines->left_out);
    }
    lines->left_out = 0;
    return true;
}

/* What no order of events explains: one of the two nodes is wrong, or what lies between. */
static bool is_wrong(struct status st)
{
    return status_is(st, STATUS_WRONG_GENERATION) || status_is(st, STATUS_MALFORMED) ||
           status_is(st, STATUS_BAD_DIGEST) || status_is(st, STATUS_BAD_VERSION) ||
           status_is(st, STATUS_FOREIGN) || status_is(st, STATUS_INVALID) ||
           status_is(st, STATUS_OUT_OF_RANGE);
}

/* An engine that has been overtaken, a disk that was away, or something that nobody has written
 * there: of interest. */
static bool is_told(struct status st)
{
    return status_is(st, STATUS_STALE_EPOCH) || status_is(st, STATUS_STALE_SESSION) ||
           status_is(st, STATUS_STALE_INCARNATION) || status_is(st, STATUS_UNKNOWN_SHARD) ||
           status_is(st, STATUS_UNKNOWN_VOLUME);
}

static enum log_level level_of(struct status st)
{
    if (is_wrong(st))
        return LOG_LEVEL_WARNING;
    return is_told(st) ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
}

void server_note(struct server_shard *shard, const struct nvme_vendor_req *req,
                 const struct wire_command *command, struct status st)
{
    struct log *const log = shard->reactor->log;
    const enum log_level level = level_of(st);
    const struct server_link *const link = req->association;

    assert(reactor_is_current(shard->reactor));
    atomic_fetch_add_explicit(&shard->counts[st.code], 1, memory_order_relaxed);
    if (status_ok(st) || level > log->level || !may_log(shard, st))
        return;
    if (command == NULL)
        log_write(log, level, "an engine of node %s: %s: %s", uuid_format(link->node->uuid).s,
                  wire_opcode_name(req->entry[0]), status_text(st));
    else
        log_write(log, level, "an engine of node %s: %s, shard %" PRIu32 ", epoch %" PRIu64 ": %s",
                  uuid_format(link->node->uuid).s, wire_opcode_name((uint8_t)command->opcode),
                  command->shard, command->epoch, status_text(st));
}

/* What the protocol has a word for, in place of what it has none for. */
static struct status on_wire(struct status st)
{
    switch (st.code) {
    case STATUS_NOT_FOUND: /* The session's volume is gone. */
        return STATUS(STALE_SESSION);
    case STATUS_NO_MEMORY:
        return STATUS(UNAVAILABLE);
    case STATUS_LIMIT: /* More regions than a command may name. */
        return STATUS(MALFORMED);
    default:
        return st;
    }
}

void server_answer(struct server_shard *shard, struct nvme_vendor_req *req,
                   const struct wire_command *command, struct status status,
                   struct wire_answer answer)
{
    const struct status st = on_wire(status);
    const uint64_t result = wire_answer_encode(answer);

    assert(reactor_is_current(shard->reactor) && shard->reactor == req->reactor);
    server_note(shard, req, command, st);
    req->status = wire_status_encode(st);
    req->dword0 = (uint32_t)result;
    req->dword1 = (uint32_t)(result >> 32);
    req->done(req);
}

/* ---- Pools ---- */

static struct list_node *pool_pop(struct server_pool *pool, struct server_claim *claim)
{
    pool->free_count--;
    claim->held++;
    return list_pop_front(&pool->free);
}

/* NULL: the waiter is to wait for pool_turn(). */
static struct list_node *pool_get(struct server_pool *pool, struct server_claim *claim,
                                  struct list_node *waiter)
{
    if (list_empty(&claim->waiting) && claim->held < pool->free_count)
        return pool_pop(pool, claim);
    list_push_back(&claim->waiting, waiter);
    if (!list_node_linked(&claim->link))
        list_push_back(&pool->waiting, &claim->link);
    return NULL;
}

static void pool_put(struct server_pool *pool, struct server_claim *claim, struct list_node *node)
{
    claim->held--;
    pool->free_count++;
    list_push_front(&pool->free, node);
}

/* Who waits and may have something: the claims in turn, of each the one that has waited longest. */
static struct list_node *pool_turn(struct server_pool *pool, struct list_node **out_waiter)
{
    LIST_FOR_EACH (n, &pool->waiting) {
        struct server_claim *const claim = CONTAINER_OF(n, struct server_claim, link);
        if (claim->held >= pool->free_count)
            continue;
        *out_waiter = list_pop_front(&claim->waiting);
        list_remove(n);
        if (!list_empty(&claim->waiting))
            list_push_back(&pool->waiting, n);
        return pool_pop(pool, claim);
    }
    return NULL;
}

static void pool_init(struct server_pool *pool)
{
    list_init(&pool->free);
    list_init(&pool->waiting);
    pool->free_count = 0;
}

static void pool_add(struct server_pool *pool, struct list_node *node)
{
    list_node_init(node);
    list_push_back(&pool->free, node);
    pool->free_count++;
}

static void claim_init(struct server_claim *claim)
{
    list_node_init(&claim->link);
    list_init(&claim->waiting);
}

void op_init_pools(struct server_shard *shard)
{
    pool_init(&shard->free_ops);
    pool_init(&shard->free_items);
    for (unsigned i = 0; i < SERVER_OPS_MAX; i++) {
        shard->ops[i].shard = shard;
        pool_add(&shard->free_ops, &shard->ops[i].link);
    }
    for (unsigned i = 0; i < SERVER_ITEMS_MAX; i++)
        pool_add(&shard->free_items, &shard->items[i].link);
    for (unsigned i = 0; i < ARRAY_COUNT(shard->shares); i++) {
        claim_init(&shard->shares[i].ops);
        claim_init(&shard->shares[i].items);
    }
}

/* The store has nothing to do with these: no disk keeps them. */
static bool needs_no_store(enum wire_opcode opcode)
{
    return opcode == WIRE_CONFIRM || opcode == WIRE_STATE || opcode == WIRE_RELEASE;
}

static struct server_share *share_of(struct server_shard *shard, const struct wire_command *c)
{
    const struct server_disk *const d = server_disk_of(shard->server, c->handle);

    return &shard->shares[d == NULL || needs_no_store(c->opcode) ? SERVER_DISKS_MAX : d->slot];
}

/* ---- There ---- */

static void op_begin(struct server_op *op, struct nvme_vendor_req *req,
                     const struct wire_command *command)
{
    struct server_shard *const shard = op->shard;

    op->req = req;
    op->share = share_of(shard, command);
    op->command = *command;
    op->owner = req->association;
    op->disk = NULL;
    op->items = NULL;
    op->submitted = false;
    op->seals = 0;
    op->incarnation = 0;
    if (!op_needs_items(command->opcode)) {
        op_go(op);
        return;
    }
    struct list_node *const n = pool_get(&shard->free_items, &op->share->items, &op->link);
    if (n == NULL)
        return;
    op->items = CONTAINER_OF(n, struct server_items, link);
    op_go(op);
}

void op_submit(struct server_shard *shard, struct nvme_vendor_req *req,
               const struct wire_command *command)
{
    assert(reactor_is_current(shard->reactor));
    struct server_claim *const claim = &share_of(shard, command)->ops;
    struct list_node *const n = pool_get(&shard->free_ops, claim, &req->link);
    if (n != NULL)
        op_begin(CONTAINER_OF(n, struct server_op, link), req, command);
}

static void op_go(struct server_op *op)
{
    struct server_shard *const shard = op->shard;
    struct server_disk *const d = server_disk_of(shard->server, op->command.handle);
    const struct status st = op_check_data(op);

    if (!status_ok(st) || d == NULL) {
        op_finish(op, status_ok(st) ? STATUS(STALE_SESSION) : st);
        return;
    }
    op->disk = d;
    if (d->reactor == shard->reactor) {
        op_deliver(&op->msg);
        return;
    }
    op->msg.deliver = op_deliver;
    reactor_send(shard->reactor, d->reactor, &op->msg);
}

/*
 * 5.3, 8.3  The check of epoch and session, and the count that goes with it.  The store looks once
 * more when it lets the command through; what it then refuses renews nothing, and what it does not
 * was at no disadvantage by an older count.
 */
static void op_deliver(struct io_msg *msg)
{
    struct server_op *const op = CONTAINER_OF(msg, struct server_op, msg);
    struct server_disk *const d = op->disk;

    op->seals = lease_count(&op->owner->node->giver);
    struct server_session *const s = session_find(d, op->owner, &op->command);
    if (s == NULL || d->leaving) {
        op_finish(op, STATUS(STALE_SESSION));
        return;
    }
    op->incarnation = (uint32_t)s->incarnation;
    op_execute(op, s);
}

/* ---- And back ---- */

void op_finish(struct server_op *op, struct status status)
{
    struct server_disk *const d = op->disk;
    struct reactor *const here = d != NULL ? d->reactor : op->shard->reactor;

    op->status = status;
    if (d != NULL && d->store != NULL)
        op->incarnation = (uint32_t)store_incarnation(d->store);
    /* What the store has had comes back from the loop; anything else might come too early. */
    if (op->submitted && here == op->shard->reactor) {
        op_return(&op->msg);
        return;
    }
    op->msg.deliver = op_return;
    reactor_send(here, op->shard->reactor, &op->msg);
}

static void items_put(struct server_shard *shard, struct server_share *share,
                      struct server_items *items)
{
    struct list_node *n, *waiter;

    pool_put(&shard->free_items, &share->items, &items->link);
    while ((n = pool_turn(&shard->free_items, &waiter)) != NULL) {
        struct server_op *const op = CONTAINER_OF(waiter, struct server_op, link);
        op->items = CONTAINER_OF(n, struct server_items, link);
        op_go(op);
    }
}

static void op_put(struct server_op *op)
{
    struct server_shard *const shard = op->shard;
    struct list_node *n, *waiter;
    struct wire_command command;

    pool_put(&shard->free_ops, &op->share->ops, &op->link);
    while ((n = pool_turn(&shard->free_ops, &waiter)) != NULL) {
        struct nvme_vendor_req *const req = CONTAINER_OF(waiter, struct nvme_vendor_req, link);
        const struct status st =
            wire_command_decode(req->entry, (uint32_t)req->data.bytes, &command);
        assert(status_ok(st)); /* It was decoded when it came. */
        op_begin(CONTAINER_OF(n, struct server_op, link), req, &command);
    }
}

static void op_return(struct io_msg *msg)
{
    struct server_op *const op = CONTAINER_OF(msg, struct server_op, msg);
    struct server_shard *const shard = op->shard;
    struct server_share *const share = op->share;
    struct nvme_vendor_req *const req = op->req;
    struct server_items *const items = op->items;
    const struct wire_command command = op->command;
    const struct wire_answer answer = { .seals = op->seals, .incarnation = op->incarnation };
    const struct status status = op->status;

    op_put(op);
    if (items != NULL)
        items_put(shard, share, items);
    server_answer(shard, req, &command, status, answer);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/group_client.h"

#include <assert.h>
#include <stdlib.h>

#include "rpc/client.h"
#include "rpc/group_message.h"

#define CALL_TIMEOUT_MS 5000u
#define PAUSE_NS_MIN    (100 * NS_PER_MS)
#define PAUSE_NS_MAX    (2 * NS_PER_S)

/* Of one call, and of the copysets in the records that it commits; the controller takes no more
 * (meta/groups.h). */
#define BATCH_MAX          128u
#define BATCH_COPYSETS_MAX (32u * GROUP_COPYSETS_MAX)

/* Of these, changes of disks: each is a transaction of its own, and exclusions of others are not to
 * wait for a second's worth of them. */
#define BATCH_REPLACED_MAX 16u

/* The order of the methods in group.proto. */
static const unsigned methods[] = {
    [GROUP_OP_GET] = 0, [GROUP_OP_TAKE] = 1, [GROUP_OP_COMMIT] = 2
};

struct group_client {
    struct group_client_config config;
    struct rpc_client *rpc;
    struct list waiting; /* Operations, in the order in which they are sent. */
    struct list sent;    /* Of the call under way, all of one kind. */

    struct rpc_request request;
    struct io_msg msg;
    bool busy;       /* The call is under way. */
    bool delivering; /* Its operations are told; what they begin is sent afterwards. */

    struct io_timer timer;
    bool pausing;
    uint64_t pause_ns; /* The last one; 0 since a call that was answered. */
    bool logged;       /* A failure is logged once, until it is over. */

    bool stopping;
    struct io_task stop_task;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

static struct group_op *op_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct group_op, link);
}

/* ---- Sending ---- */

static Trilith__V1__GroupName *name_message(const struct group_op *op, struct arena *arena)
{
    Trilith__V1__GroupName *m = arena_alloc(arena, sizeof *m);

    trilith__v1__group_name__init(m);
    m->volume_uuid = arena_uuid_bytes(arena, op->volume);
    return m;
}

static const ProtobufCMessage *get_message(struct group_client *c, struct arena *arena)
{
    Trilith__V1__GetGroupsRequest *m = arena_alloc(arena, sizeof *m);

    trilith__v1__get_groups_request__init(m);
    m->node_uuid = arena_uuid_bytes(arena, c->config.node);
    m->groups = arena_alloc(arena, BATCH_MAX * sizeof *m->groups);
    LIST_FOR_EACH (n, &c->sent) {
        m->groups[m->n_groups++] = name_message(op_of(n), arena);
    }
    return &m->base;
}

static const ProtobufCMessage *take_message(struct group_client *c, struct arena *arena)
{
    Trilith__V1__TakeGroupRequest *m = arena_alloc(arena, sizeof *m);
    const struct group_op *op = op_of(list_first(&c->sent));

    trilith__v1__take_group_request__init(m);
    m->node_uuid = arena_uuid_bytes(arena, c->config.node);
    m->group = name_message(op, arena);
    m->known_epoch = op->known_epoch;
    m->min_in_sync = op->min_in_sync;
    return &m->base;
}

static const ProtobufCMessage *commit_message(struct group_client *c, struct arena *arena)
{
    Trilith__V1__CommitGroupsRequest *m = arena_alloc(arena, sizeof *m);

    trilith__v1__commit_groups_request__init(m);
    m->node_uuid = arena_uuid_bytes(arena, c->config.node);
    m->changes = arena_alloc(arena, BATCH_MAX * sizeof *m->changes);
    LIST_FOR_EACH (n, &c->sent) {
        const struct group_op *op = op_of(n);
        Trilith__V1__GroupChange *change = arena_alloc(arena, sizeof *change);
        trilith__v1__group_change__init(change);
        change->group = name_message(op, arena);
        change->was = group_to_message(op->was, arena);
        change->now = group_to_message(op->now, arena);
        m->changes[m->n_changes++] = change;
    }
    return &m->base;
}

static uint32_t copysets_of(const struct group_op *op)
{
    return op->kind == GROUP_OP_COMMIT ? op->now->copyset_count : 0;
}

static bool changes_disks(const struct group_op *op)
{
    return op->kind == GROUP_OP_COMMIT && group_any_disks_differ(op->was, op->now);
}

/* Moves what one call can carry: operations of one kind, but one epoch at a time. */
static enum group_op_kind fill_batch(struct group_client *c)
{
    const enum group_op_kind kind = op_of(list_first(&c->waiting))->kind;
    uint32_t copysets = 0;
    unsigned count = 0, replaced = 0;

    LIST_FOR_EACH (n, &c->waiting) {
        if (changes_disks(op_of(n)) && ++replaced > BATCH_REPLACED_MAX)
            continue;
        copysets += copysets_of(op_of(n));
        if (op_of(n)->kind != kind || count == (kind == GROUP_OP_TAKE ? 1 : BATCH_MAX) ||
            copysets > BATCH_COPYSETS_MAX)
            break;
        list_remove(n);
        list_push_back(&c->sent, n);
        count++;
    }
    return kind;
}

/* On the RPC client's thread: all that happens here is the way to the reactor. */
static void call_done(struct rpc_request *request)
{
    struct group_client *c = CONTAINER_OF(request, struct group_client, request);
    reactor_post(c->config.reactor, &c->msg);
}

static void call_deliver(struct io_msg *msg);

/* Sends what waits, unless a call or a pause is under way. */
static void pump(struct group_client *c)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const ProtobufCMessage *message;

    if (c->busy || c->delivering || c->stopping || c->pausing || list_empty(&c->waiting))
        return;
    const enum group_op_kind kind = fill_batch(c);
    if (kind == GROUP_OP_GET)
        message = get_message(c, &arena);
    else if (kind == GROUP_OP_TAKE)
        message = take_message(c, &arena);
    else
        message = commit_message(c, &arena);
    c->request = (struct rpc_request) { .done = call_done };
    c->msg = (struct io_msg) { .deliver = call_deliver };
    c->busy = true;
    rpc_client_start(c->rpc, &trilith__v1__group_service__descriptor, methods[kind], message,
                     CALL_TIMEOUT_MS, &c->request);
}

/* ---- Answers ---- */

/* What is not known yet, and asked again. */
#define NOT_KNOWN STATUS(UNAVAILABLE)

static struct status get_result(const struct group_op *op, const Trilith__V1__GroupState *m)
{
    struct group_reason reason;

    if (m->record == NULL)
        return m->problem[0] == '\0' ? STATUS(NOT_FOUND) : STATUS(CORRUPT);
    return status_ok(group_from_message(m->record, op->record, &reason)) ? STATUS(OK)
                                                                         : STATUS(CORRUPT);
}

/* An epoch is ours only if the answer says so, of this very one. */
static struct status take_result(const struct group_client *c, const struct group_op *op,
                                 const Trilith__V1__TakeGroupResponse *m)
{
    struct group_reason reason;

    if (!status_ok(group_from_message(m->record, op->record, &reason)))
        return NOT_KNOWN;
    if (!m->taken)
        return op->record->epoch != op->known_epoch ? STATUS(CONFLICT) : NOT_KNOWN;
    const bool ours =
        op->record->epoch == op->known_epoch + 1 && uuid_equal(op->record->owner, c->config.node);
    return ours ? STATUS(OK) : NOT_KNOWN;
}

static struct status commit_result(const struct group_op *op, const Trilith__V1__GroupResult *m)
{
    struct group_reason reason;

    switch (m->outcome) {
    case TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_COMMITTED:
        return STATUS(OK);
    case TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_CONFLICT:
        return status_ok(group_from_message(m->record, op->record, &reason)) ? STATUS(CONFLICT)
                                                                             : NOT_KNOWN;
    case TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_GONE:
        return STATUS(NOT_FOUND);
    case TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_INVALID:
        return STATUS(INVALID);
    default:
        return NOT_KNOWN;
    }
}

/* The call has failed as a whole. */
static struct status failed_result(const struct group_op *op, enum rpc_code code)
{
    const struct status st = rpc_status_of(code);

    if (status_is(st, STATUS_INVALID))
        return st;
    if (op->kind == GROUP_OP_TAKE &&
        (status_is(st, STATUS_NOT_FOUND) || status_is(st, STATUS_FOREIGN) ||
         status_is(st, STATUS_CORRUPT)))
        return st;
    return NOT_KNOWN;
}

/* What the call says of the operation with this index in it. */
static struct status result_of(const struct group_client *c, const struct group_op *op,
                               size_t index)
{
    const void *reply = c->request.reply;

    if (reply == NULL)
        return failed_result(op, c->request.error.code);
    if (op->kind == GROUP_OP_TAKE)
        return take_result(c, op, reply);
    if (op->kind == GROUP_OP_GET) {
        const Trilith__V1__GetGroupsResponse *m = reply;
        return index < m->n_groups ? get_result(op, m->groups[index]) : NOT_KNOWN;
    }
    const Trilith__V1__CommitGroupsResponse *m = reply;
    return index < m->n_results ? commit_result(op, m->results[index]) : NOT_KNOWN;
}

/* Ends what is known now; whether all is. */
static bool take_results(struct group_client *c)
{
    bool all = true;
    size_t index = 0;

    LIST_FOR_EACH (n, &c->sent) {
        struct group_op *op = op_of(n);
        const struct status st = result_of(c, op, index++);
        if (status_is(st, STATUS_UNAVAILABLE)) {
            all = false;
            continue;
        }
        list_remove(n);
        op->done(op, st); /* op may be gone. */
    }
    return all;
}

/* What is not known yet goes first again, in its order. */
static void put_back(struct group_client *c)
{
    list_splice_back(&c->sent, &c->waiting);
    list_splice_back(&c->waiting, &c->sent);
}

static void pause_start(struct group_client *c, const char *why)
{
    if (!c->logged)
        log_warning(c->config.log,
                    "controller '%s': no outcome about volumes' groups: %s; trying on",
                    c->config.controller, why);
    c->logged = true;
    c->pausing = true;
    c->pause_ns = min_u64(max_u64(2 * c->pause_ns, PAUSE_NS_MIN), PAUSE_NS_MAX);
    io_timer_arm(&c->timer, c->config.reactor, reactor_now_ns(c->config.reactor) + c->pause_ns);
}

static void call_deliver(struct io_msg *msg)
{
    struct group_client *c = CONTAINER_OF(msg, struct group_client, msg);

    const bool stopped_before = c->stopping;
    c->busy = false;
    c->delivering = true;
    const bool all = !stopped_before && take_results(c);
    c->delivering = false;
    const bool answered = c->request.reply != NULL;
    rpc_message_free(c->request.reply);
    if (stopped_before)
        reactor_defer(c->config.reactor, &c->stop_task);
    if (c->stopping)
        return; /* Somebody who was told something has stopped us: it is deferred already. */
    put_back(c);
    if (!all) {
        pause_start(c, answered ? "the meta store does not know" : c->request.error.text);
        return;
    }
    c->pause_ns = 0;
    c->logged = false;
    pump(c);
}

static void on_timer(struct io_timer *timer)
{
    struct group_client *c = CONTAINER_OF(timer, struct group_client, timer);

    c->pausing = false;
    pump(c);
}

/* ---- Operations ---- */

static void op_start(struct group_client *c, struct group_op *op, enum group_op_kind kind)
{
    assert(reactor_is_current(c->config.reactor));
    assert(!c->stopping);
    op->kind = kind;
    list_node_init(&op->link);
    list_push_back(&c->waiting, &op->link);
    pump(c);
}

void group_client_get(struct group_client *client, struct group_op *op)
{
    op_start(client, op, GROUP_OP_GET);
}

void group_client_take(struct group_client *client, struct group_op *op, uint64_t known_epoch)
{
    op->known_epoch = known_epoch;
    op_start(client, op, GROUP_OP_TAKE);
}

void group_client_commit(struct group_client *client, struct group_op *op, const struct group *was,
                         const struct group *now)
{
    op->was = was;
    op->now = now;
    op_start(client, op, GROUP_OP_COMMIT);
}

/* ---- Life ---- */

static void client_free(struct group_client *c)
{
    free((char *)(uintptr_t)c->config.controller);
    free(c);
}

static void on_stopped(struct io_task *task)
{
    struct group_client *c = CONTAINER_OF(task, struct group_client, stop_task);
    void (*stopped)(void *ctx) = c->stopped;
    void *ctx = c->stopped_ctx;
    struct list_node *n;

    assert(!c->busy);
    put_back(c);
    while ((n = list_pop_front(&c->waiting)) != NULL)
        op_of(n)->done(op_of(n), STATUS(CANCELED));
    client_free(c);
    stopped(ctx);
}

struct status group_client_start(const struct group_client_config *config,
                                 struct group_client **out_client)
{
    struct group_client *c = calloc(1, sizeof *c);

    if (c == NULL)
        return STATUS(NO_MEMORY);
    c->config = *config;
    c->config.controller = strdup(config->controller);
    const struct status st = c->config.controller != NULL
                                 ? rpc_client_open(config->controller, &c->rpc)
                                 : STATUS(NO_MEMORY);
    if (!status_ok(st)) {
        client_free(c);
        return st;
    }
    if (config->token != NULL)
        rpc_client_set_token(c->rpc, config->token);
    list_init(&c->waiting);
    list_init(&c->sent);
    io_timer_init(&c->timer, on_timer);
    io_task_init(&c->stop_task, on_stopped);
    *out_client = c;
    return STATUS(OK);
}

void group_client_stop(struct group_client *client, void (*stopped)(void *ctx), void *ctx)
{
    assert(reactor_is_current(client->config.reactor));
    assert(!client->stopping);
    client->stopping = true;
    client->stopped = stopped;
    client->stopped_ctx = ctx;
    io_timer_disarm(&client->timer);
    /* The call under way has been posted to us when this returns; it is delivered later. */
    rpc_client_close(client->rpc);
    if (!client->busy)
        reactor_defer(client->config.reactor, &client->stop_task);
}

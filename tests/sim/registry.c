/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <assert.h>
#include <inttypes.h>

#include "memory.h"
#include "meta/groups.h"
#include "repl/group_steps.h"

#define PATIENCE_NS (20 * NS_PER_MS) /* Until a request is sent again. */

enum request_kind {
    REQUEST_EPOCH,  /* TAKE until there is one. */
    REQUEST_RECORD, /* COMMIT without a struct group_op. */
    REQUEST_GET,
    REQUEST_TAKE,
    REQUEST_COMMIT,
};

/* A request, until its answer is known; attempts of it are under way. */
struct registry_request {
    struct registry_request *next;
    enum request_kind kind;
    struct registry_client client;
    struct io_msg msg;
    uint64_t round; /* Answers of earlier ones come too late. */
    bool answered;
    struct status status;
    struct group got;
    struct group was, now;
    struct group_op *op; /* GET, TAKE, COMMIT */
    registry_taken_fn *on_taken;
    void (*on_committed)(void *ctx, struct status status);
    void *ctx; /* Of either. */
};

/* The request on its way once, and back. */
struct attempt {
    struct registry_request *request;
    uint64_t round;
    uint64_t known_epoch;
    uint32_t min_in_sync; /* Copied: the operation may have ended when a late message arrives. */
    enum groups_outcome outcome;
    struct status status;
    struct group group;
};

/* ---- The record ---- */

static void must(const struct registry *r, struct status st, const char *what)
{
    if (!status_ok(st))
        run_fail(r->run, "the meta store: %s: %s", what, status_text(st));
}

/* I1, and what no transaction may do. */
static void check_change(const struct registry *r, const struct group *now)
{
    const struct group *const was = &r->record;
    struct group_reason reason;

    if (now->epoch < was->epoch)
        run_fail(r->run, "the record's epoch has fallen from %" PRIu64 " to %" PRIu64 " (I1)",
                 was->epoch, now->epoch);
    if (now->sequence != was->sequence + 1)
        run_fail(r->run, "the record's sequence goes from %" PRIu64 " to %" PRIu64, was->sequence,
                 now->sequence);
    if (now->epoch == was->epoch && !status_ok(group_check_next(was, now, &reason)))
        run_fail(r->run, "a change that may not be: %s", reason.s);
}

/* After each transaction. */
static void look(struct registry *r)
{
    struct group now;
    uint64_t revision;

    must(r, group_record_get(r->meta, r->volume.uuid, 0, &now, &revision), "the record");
    if (group_equal(&now, &r->record))
        return;
    check_change(r, &now);
    const struct group was = r->record;
    r->record = now;
    if (now.epoch != was.epoch)
        r->taken = now;
    sim_trace(r->run->world, "record", now.epoch, now.sequence, 0);
    if (r->changed != NULL)
        r->changed(r->ctx, &was, &now);
}

/* ---- There and back ---- */

static uint64_t some_time(const struct registry *r)
{
    return run_percent(r->run, 20) ? run_between(r->run, 0, r->late_ns)
                                   : run_between(r->run, 0, NS_PER_MS);
}

static bool is_lost(const struct registry_request *q)
{
    const struct registry *const r = q->client.registry;
    const bool cut_off = q->client.away != NULL && *q->client.away;

    return r->away || cut_off || run_percent(r->run, r->lost_percent);
}

static void request_send(struct registry_request *q);

static bool is_over(const struct registry_request *q)
{
    return q->answered || !sim_process_is_alive(q->client.process);
}

static void request_deliver(struct io_msg *msg)
{
    struct registry_request *const q = CONTAINER_OF(msg, struct registry_request, msg);

    switch (q->kind) {
    case REQUEST_EPOCH:
        q->on_taken(q->ctx, &q->got);
        return;
    case REQUEST_RECORD:
        q->on_committed(q->ctx, q->status);
        return;
    default:
        if (status_ok(q->status) || status_is(q->status, STATUS_CONFLICT))
            *q->op->record = q->got;
        q->op->done(q->op, q->status);
        return;
    }
}

static void request_answer(struct registry_request *q, struct status status)
{
    q->answered = true;
    q->status = status;
    q->msg.deliver = request_deliver;
    reactor_post(q->client.home, &q->msg);
}

static void answer_arrives(void *ctx)
{
    const struct attempt *const a = ctx;
    struct registry_request *const q = a->request;

    if (is_over(q) || a->round != q->round)
        return;
    if (a->outcome == GROUPS_FAILED || a->outcome == GROUPS_UNKNOWN)
        return; /* It will be sent again. */
    q->got = a->group;
    if (q->kind == REQUEST_EPOCH && !status_ok(a->status)) {
        /* The epoch was not the known one: perhaps as an answer was lost. */
        q->client.known_epoch = a->group.epoch;
        q->round++;
        request_send(q);
    } else {
        request_answer(q, a->status);
    }
}

static void take_execute(struct registry *r, const struct registry_request *q, struct attempt *a)
{
    const struct group_taking taking = { .volume = r->volume.uuid,
                                         .node = q->client.node,
                                         .compares = true,
                                         .known_epoch = a->known_epoch,
                                         .min_in_sync = a->min_in_sync };

    a->outcome = GROUPS_COMMITTED;
    a->status = groups_take_epoch(r->meta, &taking, &a->group);
    if (!status_ok(a->status) && !status_is(a->status, STATUS_CONFLICT) &&
        !(status_is(a->status, STATUS_FOREIGN) && q->kind == REQUEST_TAKE))
        must(r, a->status, "an epoch");
}

static void commit_execute(struct registry *r, const struct registry_request *q, struct attempt *a)
{
    struct groups_change change = {
        .volume = r->volume.uuid, .was = &q->was, .now = &q->now, .current = &a->group
    };

    if (run_percent(r->run, r->lost_percent))
        meta_sim_fault_next(r->meta,
                            run_percent(r->run, 50) ? META_SIM_FAULT_REFUSE : META_SIM_FAULT_LOSE);
    groups_commit(r->meta, &change, 1);
    meta_sim_fault_next(r->meta, META_SIM_FAULT_NONE);
    a->outcome = change.outcome;
    a->status = a->outcome == GROUPS_COMMITTED ? STATUS(OK) : STATUS(CONFLICT);
}

static void request_arrives(void *ctx)
{
    struct attempt *const a = ctx;
    const struct registry_request *const q = a->request;
    struct registry *const r = q->client.registry;
    uint64_t revision;

    r->under_way--;
    switch (q->kind) {
    case REQUEST_EPOCH:
    case REQUEST_TAKE:
        take_execute(r, q, a);
        break;
    case REQUEST_RECORD:
    case REQUEST_COMMIT:
        commit_execute(r, q, a);
        break;
    case REQUEST_GET:
        a->outcome = GROUPS_COMMITTED;
        a->status = group_record_get(r->meta, r->volume.uuid, 0, &a->group, &revision);
        break;
    }
    sim_trace(r->run->world, "registry", q->kind, a->outcome, a->status.code);
    look(r);
    if (!is_lost(q))
        sim_world_after(r->run->world, some_time(r), answer_arrives, a);
}

static void request_send(struct registry_request *q)
{
    struct registry *const r = q->client.registry;

    if (is_lost(q))
        return;
    struct attempt *const a = sim_world_alloc(r->run->world, sizeof *a);
    *a = (struct attempt) { .request = q,
                            .round = q->round,
                            .known_epoch = q->client.known_epoch,
                            .min_in_sync = q->op != NULL ? q->op->min_in_sync : 0 };
    r->under_way++;
    sim_world_after(r->run->world, some_time(r), request_arrives, a);
}

/* Now, and again until there is an answer. */
static void request_try(void *ctx)
{
    struct registry_request *const q = ctx;
    struct registry *const r = q->client.registry;

    if (is_over(q))
        return;
    request_send(q);
    sim_world_after(r->run->world, PATIENCE_NS, request_try, q);
}

/* ---- The planner ---- */

void registry_replace(struct registry *r, struct uuid was, struct uuid now)
{
    const uint64_t owner = memory_enter(0);
    struct group_replacement items[GROUP_COPYSETS_MAX];
    const struct group before = r->record;
    struct group_reason reason;
    struct group after;
    uint32_t count = 0;
    unsigned slot;

    for (uint32_t c = 0; c < before.copyset_count; c++)
        if (group_find(&before, c, was, &slot))
            items[count++] = (struct group_replacement) { c, slot, now };
    if (count > 0) {
        must(r, group_replace(&before, items, count, 1, &after, &reason), "another disk");
        struct groups_change change = { .volume = r->volume.uuid, .was = &before, .now = &after };
        groups_commit(r->meta, &change, 1);
        assert(change.outcome == GROUPS_COMMITTED);
        look(r);
    }
    memory_enter(owner);
}

static void put_volume(const struct registry *r, struct meta_txn *txn, uint64_t revision)
{
    const struct store_volume *const v = &r->volume;
    Stored__V1__Volume volume = STORED__V1__VOLUME__INIT;
    struct uuid uuid = v->uuid, node = r->node;

    volume.uuid = record_bytes(&uuid);
    volume.name = (char *)(uintptr_t)v->name;
    volume.replicas = v->replicas;
    volume.min_in_sync = v->min_in_sync;
    volume.node = record_bytes(&node);
    meta_txn_expect(txn, key_volume(v->uuid).s, revision);
    record_put(txn, key_volume(v->uuid).s, &volume.base);
}

void registry_move(struct registry *r, struct uuid node)
{
    const uint64_t owner = memory_enter(0);
    struct meta_value value;
    struct meta_txn txn;

    must(r, meta_get(r->meta, key_volume(r->volume.uuid).s, &value), "the volume");
    r->node = node;
    meta_txn_init(&txn);
    put_volume(r, &txn, value.revision);
    must(r, meta_commit(r->meta, &txn, NULL), "the volume's node");
    meta_txn_fini(&txn);
    meta_value_free(&value);
    memory_enter(owner);
}

bool registry_set_min_in_sync(struct registry *r, uint32_t min_in_sync)
{
    const uint64_t owner = memory_enter(0);
    struct group_reason reason;
    struct meta_value value;
    struct meta_txn txn;
    struct group now;
    uint64_t revision;
    bool may = true;

    for (uint32_t c = 0; c < r->record.copyset_count; c++)
        may &= (unsigned)__builtin_popcount(group_members(&r->record, c)) >= min_in_sync;
    if (may) {
        must(r, meta_get(r->meta, key_volume(r->volume.uuid).s, &value), "the volume");
        must(r, group_record_get(r->meta, r->volume.uuid, 0, &now, &revision), "the record");
        must(r, group_take_epoch(&now, r->node, &now, &reason), "nobody's epoch");
        r->volume.min_in_sync = min_in_sync;
        meta_txn_init(&txn);
        put_volume(r, &txn, value.revision);
        group_record_put(&txn, r->volume.uuid, 0, &now, revision);
        must(r, meta_commit(r->meta, &txn, NULL), "another min_in_sync");
        meta_txn_fini(&txn);
        meta_value_free(&value);
        look(r);
    }
    memory_enter(owner);
    return may;
}

/* ---- The interface ---- */

static struct registry_request *request_create(const struct registry_client *client,
                                               enum request_kind kind)
{
    struct registry *const r = client->registry;
    struct registry_request *const q = sim_world_alloc(r->run->world, sizeof *q);

    q->kind = kind;
    q->client = *client;
    q->next = r->requests;
    r->requests = q;
    return q;
}

void registry_take_epoch(struct registry_client *client, registry_taken_fn *done, void *ctx)
{
    struct registry_request *const q = request_create(client, REQUEST_EPOCH);

    q->on_taken = done;
    q->ctx = ctx;
    request_try(q);
}

void registry_change(void *ctx, const struct group *was, const struct group *now,
                     void (*done)(void *done_ctx, struct status status), void *done_ctx)
{
    struct registry_request *const q = request_create(ctx, REQUEST_RECORD);

    q->on_committed = done;
    q->ctx = done_ctx;
    q->was = *was;
    q->now = *now;
    request_try(q);
}

void registry_get(const struct registry_client *client, struct group_op *op)
{
    struct registry_request *const q = request_create(client, REQUEST_GET);

    q->op = op;
    request_try(q);
}

void registry_take(const struct registry_client *client, struct group_op *op, uint64_t known_epoch)
{
    struct registry_request *const q = request_create(client, REQUEST_TAKE);

    q->op = op;
    q->client.known_epoch = known_epoch;
    request_try(q);
}

void registry_commit(const struct registry_client *client, struct group_op *op,
                     const struct group *was, const struct group *now)
{
    struct registry_request *const q = request_create(client, REQUEST_COMMIT);

    q->op = op;
    q->was = *was;
    q->now = *now;
    request_try(q);
}

void registry_cancel(struct registry *r, const struct sim_process *process)
{
    for (struct registry_request *q = r->requests; q != NULL; q = q->next)
        if (q->client.process == process && !is_over(q))
            request_answer(q, STATUS(CANCELED));
}

void registry_init(struct registry *r, struct run *run, const struct store_volume *volume,
                   struct uuid node, const struct uuid (*tuples)[GROUP_SLOTS], uint32_t count)
{
    const struct group empty = { 0 };
    const uint64_t owner = memory_enter(0);
    struct group_reason reason;
    struct meta_txn txn;

    *r = (struct registry) { .run = run, .volume = *volume, .node = node, .late_ns = NS_PER_MS };
    must(r, meta_sim_open(&r->meta), "opening it");
    must(r, group_extend(&empty, tuples, count, &r->record, &reason), "a new group");
    meta_txn_init(&txn);
    put_volume(r, &txn, 0);
    group_record_put(&txn, volume->uuid, 0, &r->record, 0);
    must(r, meta_commit(r->meta, &txn, NULL), "a new volume");
    meta_txn_fini(&txn);
    memory_enter(owner);
}

void registry_fini(struct registry *r)
{
    meta_close(r->meta);
    r->meta = NULL;
}

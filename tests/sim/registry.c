/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <assert.h>
#include <inttypes.h>

#include "memory.h"
#include "meta/groups.h"
#include "repl/group_steps.h"

#define PATIENCE_NS (20 * NS_PER_MS) /* Until a request is sent again. */

/* A request, until its answer is known; attempts of it are under way. */
struct request {
    struct registry_client client;
    struct io_msg msg;
    uint64_t round; /* Answers of earlier ones come too late. */
    bool answered;
    /* TAKE */
    registry_taken_fn *on_taken;
    struct group got;
    /* COMMIT */
    void (*on_committed)(void *ctx, struct status status);
    struct group was, now;
    struct status status;
    void *ctx;
};

/* The request on its way once, and back. */
struct attempt {
    struct request *request;
    uint64_t round;
    uint64_t known_epoch;
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

    must(r, group_record_get(r->meta, r->volume, 0, &now, &revision), "the record");
    if (group_equal(&now, &r->record))
        return;
    check_change(r, &now);
    const struct group was = r->record;
    r->record = now;
    if (now.epoch != was.epoch)
        r->taken = now;
    for (uint32_t c = 0; c < now.copyset_count; c++)
        r->been_in[c] =
            (uint8_t)((now.epoch == was.epoch ? r->been_in[c] : 0) | group_members(&now, c));
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

static bool is_lost(const struct registry *r)
{
    return r->away || run_percent(r->run, r->lost_percent);
}

static void request_send(struct request *q);

static bool is_over(const struct request *q)
{
    return q->answered || !sim_process_is_alive(q->client.process);
}

static void take_deliver(struct io_msg *msg)
{
    struct request *const q = CONTAINER_OF(msg, struct request, msg);

    q->on_taken(q->ctx, &q->got);
}

static void commit_deliver(struct io_msg *msg)
{
    struct request *const q = CONTAINER_OF(msg, struct request, msg);

    q->on_committed(q->ctx, q->status);
}

/* The epoch was not the known one: perhaps as an answer was lost. */
static void take_answer(struct request *q, const struct attempt *a)
{
    if (!status_ok(a->status)) {
        q->client.known_epoch = a->group.epoch;
        q->round++;
        request_send(q);
        return;
    }
    q->answered = true;
    q->got = a->group;
    q->msg.deliver = take_deliver;
    reactor_post(q->client.home, &q->msg);
}

static void commit_answer(struct request *q, const struct attempt *a)
{
    if (a->outcome == GROUPS_FAILED || a->outcome == GROUPS_UNKNOWN)
        return; /* It will be sent again. */
    q->answered = true;
    q->status = a->outcome == GROUPS_COMMITTED ? STATUS(OK) : STATUS(CONFLICT);
    q->msg.deliver = commit_deliver;
    reactor_post(q->client.home, &q->msg);
}

static void answer_arrives(void *ctx)
{
    const struct attempt *const a = ctx;

    if (is_over(a->request) || a->round != a->request->round)
        return;
    if (a->request->on_taken != NULL)
        take_answer(a->request, a);
    else
        commit_answer(a->request, a);
}

static void take_execute(struct registry *r, struct attempt *a)
{
    const struct group_taking taking = {
        .volume = r->volume, .node = r->node, .compares = true, .known_epoch = a->known_epoch
    };

    a->status = groups_take_epoch(r->meta, &taking, &a->group);
    if (!status_ok(a->status) && !status_is(a->status, STATUS_CONFLICT))
        must(r, a->status, "an epoch");
}

static void commit_execute(struct registry *r, const struct request *q, struct attempt *a)
{
    struct groups_change change = { .volume = r->volume, .was = &q->was, .now = &q->now };

    if (run_percent(r->run, r->lost_percent))
        meta_sim_fault_next(r->meta,
                            run_percent(r->run, 50) ? META_SIM_FAULT_REFUSE : META_SIM_FAULT_LOSE);
    groups_commit(r->meta, &change, 1);
    meta_sim_fault_next(r->meta, META_SIM_FAULT_NONE);
    a->outcome = change.outcome;
}

static void request_arrives(void *ctx)
{
    struct attempt *const a = ctx;
    const struct request *const q = a->request;
    struct registry *const r = q->client.registry;

    r->under_way--;
    if (q->on_taken != NULL)
        take_execute(r, a);
    else
        commit_execute(r, q, a);
    sim_trace(r->run->world, "registry", q->on_taken == NULL, a->outcome, a->status.code);
    look(r);
    if (!is_lost(r))
        sim_world_after(r->run->world, some_time(r), answer_arrives, a);
}

static void request_send(struct request *q)
{
    struct registry *const r = q->client.registry;

    if (is_lost(r))
        return;
    struct attempt *const a = sim_world_alloc(r->run->world, sizeof *a);
    *a = (struct attempt) { .request = q, .round = q->round, .known_epoch = q->client.known_epoch };
    r->under_way++;
    sim_world_after(r->run->world, some_time(r), request_arrives, a);
}

/* Now, and again until there is an answer. */
static void request_try(void *ctx)
{
    struct request *const q = ctx;
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
        struct groups_change change = { .volume = r->volume, .was = &before, .now = &after };
        groups_commit(r->meta, &change, 1);
        assert(change.outcome == GROUPS_COMMITTED);
        look(r);
    }
    memory_enter(owner);
}

/* ---- The interface ---- */

static struct request *request_create(const struct registry_client *client, void *ctx)
{
    struct request *const q = sim_world_alloc(client->registry->run->world, sizeof *q);

    q->client = *client;
    q->ctx = ctx;
    return q;
}

void registry_take_epoch(struct registry_client *client, registry_taken_fn *done, void *ctx)
{
    struct request *const q = request_create(client, ctx);

    q->on_taken = done;
    request_try(q);
}

static void meta_commit_record(void *ctx, const struct group *was, const struct group *now,
                               void (*done)(void *done_ctx, struct status status), void *done_ctx)
{
    struct request *const q = request_create(ctx, done_ctx);

    q->on_committed = done;
    q->was = *was;
    q->now = *now;
    request_try(q);
}

const struct volume_meta_ops registry_meta_ops = { .commit = meta_commit_record };

static void put_volume(struct registry *r, struct meta_txn *txn, const struct store_volume *v)
{
    Stored__V1__Volume volume = STORED__V1__VOLUME__INIT;

    volume.uuid = record_bytes(&v->uuid);
    volume.name = (char *)(uintptr_t)v->name;
    volume.replicas = v->replicas;
    volume.min_in_sync = v->min_in_sync;
    volume.node = record_bytes(&r->node);
    meta_txn_expect(txn, key_volume(v->uuid).s, 0);
    record_put(txn, key_volume(v->uuid).s, &volume.base);
}

void registry_init(struct registry *r, struct run *run, const struct store_volume *volume,
                   const struct uuid (*tuples)[GROUP_SLOTS], uint32_t count)
{
    const struct group empty = { 0 };
    const uint64_t owner = memory_enter(0);
    struct group_reason reason;
    struct meta_txn txn;

    *r = (struct registry) {
        .run = run, .volume = volume->uuid, .node = { { 0x6e } }, .late_ns = NS_PER_MS
    };
    must(r, meta_sim_open(&r->meta), "opening it");
    must(r, group_extend(&empty, tuples, count, &r->record, &reason), "a new group");
    meta_txn_init(&txn);
    put_volume(r, &txn, volume);
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

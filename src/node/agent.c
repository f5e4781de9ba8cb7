/* SPDX-License-Identifier: Apache-2.0 */
#include "node/agent.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sm.h"
#include "node/agent_convert.h"
#include "rpc/client.h"

/* The pauses between tries grow from one to the other. */
#define PAUSE_NS_MIN (200 * NS_PER_MS)
#define PAUSE_NS_MAX (5 * NS_PER_S)

/* At most.  Below the controller's patience (CTL_SILENT_MS) several times over. */
#define REPORT_NS (2 * NS_PER_S)

/* A node that has much to tell tells it at most so often. */
#define REPORT_SOON_NS   (5 * NS_PER_MS)

#define CALL_TIMEOUT_MS  5000u
#define WATCH_WAIT_MS    60000u
#define WATCH_TIMEOUT_MS (WATCH_WAIT_MS + CALL_TIMEOUT_MS)

/* So long after it was asked for, an order to format is taken. */
#define FORCE_FRESH_NS (1000 * NS_PER_MS)

/* The order of the methods in node.proto. */
enum node_method { METHOD_JOIN, METHOD_WATCH, METHOD_REPORT, METHOD_TAKE_EPOCH };

/*
 *           +------------(not known)-----------+
 *           v                                  |
 *  +---> JOINING -----> SERVING ---------------+
 *  |      |  ^ \           |
 *  |      v  |  \(first)   |
 *  |    PAUSED   v         |
 *  +---------- OPENING     |
 *                 all -----+--> STOPPING
 *
 * JOINING waits for the answer to JoinCluster, PAUSED for the pause timer, OPENING for
 * node_agent_disks_opened().  In SERVING two loops run side by side, the watch and the reports,
 * each waiting for its call or its timer.  STOPPING waits until every call has come back.
 */
enum agent_state {
    AGENT_JOINING,
    AGENT_PAUSED,
    AGENT_OPENING,
    AGENT_SERVING,
    AGENT_STOPPING,
};

static const struct sm_state agent_states[] = {
    [AGENT_JOINING] = { "joining", SM_TO(AGENT_PAUSED) | SM_TO(AGENT_OPENING) |
                                       SM_TO(AGENT_SERVING) | SM_TO(AGENT_STOPPING) },
    [AGENT_PAUSED] = { "paused", SM_TO(AGENT_JOINING) | SM_TO(AGENT_STOPPING) },
    [AGENT_OPENING] = { "opening", SM_TO(AGENT_JOINING) | SM_TO(AGENT_STOPPING) },
    [AGENT_SERVING] = { "serving", SM_TO(AGENT_JOINING) | SM_TO(AGENT_STOPPING) },
    [AGENT_STOPPING] = { "stopping", 0 },
};

/* A call on its way: ended() runs on the reactor, and frees the reply. */
struct agent_call {
    struct rpc_request request;
    struct io_msg msg;
    struct node_agent *agent;
    bool busy;
    void (*ended)(struct agent_call *call);
};

struct epoch_call {
    struct agent_call call;
    node_agent_epoch_fn *done;
    void *ctx;
};

struct node_agent {
    struct node_agent_config config;
    char name[VOLUME_NAME_BYTES_MAX + 1];
    struct rpc_client *client;
    struct sm sm;
    struct node_membership membership;
    bool joined; /* The node has been told. */
    unsigned busy_calls;
    uint64_t instance; /* By which the controller knows what comes late. */
    uint64_t number;   /* Of the last join or report. */

    struct agent_call join;
    struct io_timer join_timer;
    uint64_t join_pause_ns;
    bool join_logged; /* A failure is logged once, until it is over. */

    struct agent_call watch;
    struct io_timer watch_timer;
    uint64_t watch_pause_ns;
    uint64_t watched_ns; /* When the watch was sent. */
    uint64_t revision;

    struct agent_call report;
    struct io_timer report_timer;
    bool report_again;            /* Something changed while a report was on its way. */
    enum rpc_code report_refused; /* With what it was last, as was logged; OK: it was not. */

    struct io_task stop_task;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

static void join_start(struct node_agent *a);
static void watch_start(struct node_agent *a);
static void report_start(struct node_agent *a);

/* ---- Calls ---- */

static void call_deliver(struct io_msg *msg)
{
    struct agent_call *call = CONTAINER_OF(msg, struct agent_call, msg);
    struct node_agent *a = call->agent;

    call->busy = false;
    a->busy_calls--;
    call->ended(call); /* call may be gone. */
    if (a->sm.now == AGENT_STOPPING && a->busy_calls == 0)
        reactor_defer(a->config.reactor, &a->stop_task);
}

/* On the client's thread: all that happens here is the way to the reactor. */
static void call_done(struct rpc_request *request)
{
    struct agent_call *call = CONTAINER_OF(request, struct agent_call, request);
    reactor_post(call->agent->config.reactor, &call->msg);
}

static void call_start(struct node_agent *a, struct agent_call *call, enum node_method method,
                       const ProtobufCMessage *message, unsigned timeout_ms,
                       void (*ended)(struct agent_call *call))
{
    assert(!call->busy);
    assert(a->sm.now != AGENT_STOPPING);
    *call = (struct agent_call) { .request.done = call_done,
                                  .msg.deliver = call_deliver,
                                  .agent = a,
                                  .busy = true,
                                  .ended = ended };
    a->busy_calls++;
    rpc_client_start(a->client, &trilith__v1__node_service__descriptor, method, message, timeout_ms,
                     &call->request);
}

static uint64_t pause_grow(uint64_t *pause_ns)
{
    const uint64_t now = max_u64(*pause_ns, PAUSE_NS_MIN);
    *pause_ns = min_u64(2 * now, PAUSE_NS_MAX);
    return now;
}

static void timer_in(struct node_agent *a, struct io_timer *timer, uint64_t ns)
{
    io_timer_arm(timer, a->config.reactor, reactor_now_ns(a->config.reactor) + ns);
}

/* ---- Joining ---- */

static bool join_take(struct node_agent *a, const Trilith__V1__JoinClusterResponse *reply)
{
    struct node_membership m = { .node_index = reply->node_index };

    if (reply->cluster_uuid.len != sizeof m.cluster.b || reply->node_index == 0)
        return false;
    memcpy(m.cluster.b, reply->cluster_uuid.data, sizeof m.cluster.b);
    snprintf(m.cluster_name, sizeof m.cluster_name, "%s", reply->cluster_name);
    /* A controller with another meta store is another cluster's, whatever its address. */
    if (a->joined &&
        (!uuid_equal(m.cluster, a->membership.cluster) || m.node_index != a->membership.node_index))
        return false;
    a->membership = m;
    return true;
}

static void join_pause(struct node_agent *a, const char *why)
{
    if (!a->join_logged)
        log_warning(a->config.log, "node '%s': cannot join through '%s': %s; trying on", a->name,
                    a->config.controller, why);
    a->join_logged = true;
    sm_move(&a->sm, AGENT_PAUSED);
    timer_in(a, &a->join_timer, pause_grow(&a->join_pause_ns));
}

static void on_joined(struct agent_call *call)
{
    struct node_agent *a = call->agent;
    ProtobufCMessage *reply = call->request.reply;

    if (a->sm.now == AGENT_STOPPING) {
        rpc_message_free(reply);
        return;
    }
    const bool taken = reply != NULL &&
                       join_take(a, (const Trilith__V1__JoinClusterResponse *)(const void *)reply);
    rpc_message_free(reply);
    if (!taken) {
        join_pause(a, reply != NULL ? "the controller is another cluster's"
                                    : call->request.error.text);
        return;
    }
    a->join_pause_ns = 0;
    a->join_logged = false;
    if (!a->joined) {
        a->joined = true;
        sm_move(&a->sm, AGENT_OPENING);
        a->config.ops->joined(a->config.ctx, &a->membership);
        return;
    }
    sm_move(&a->sm, AGENT_SERVING);
    /* A call of the time before may still be on its way; it goes on when it comes back. */
    if (!a->report.busy)
        report_start(a);
    if (!a->watch.busy)
        watch_start(a);
}

/* Where the node is, and what for. */
static void join_labels(const struct node_agent_config *c, Trilith__V1__JoinClusterRequest *request,
                        struct arena *arena)
{
    request->roles = arena_alloc(arena, (NODE_ROLE_TARGET + 1) * sizeof *request->roles);
    for (unsigned role = NODE_ROLE_STORE; role <= NODE_ROLE_TARGET; role++)
        if ((c->roles & 1u << role) != 0)
            request->roles[request->n_roles++] = (Trilith__V1__NodeRole)role;
    if (c->zone != NULL)
        request->zone = arena_text(arena, c->zone);
    if (c->rack != NULL)
        request->rack = arena_text(arena, c->rack);
}

static void join_start(struct node_agent *a)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__JoinClusterRequest request = TRILITH__V1__JOIN_CLUSTER_REQUEST__INIT;
    struct io_addr_text address = io_addr_format_ip(&a->config.advertise);
    const struct uuid cluster = a->joined ? a->membership.cluster : a->config.cluster;

    sm_move(&a->sm, AGENT_JOINING);
    request.node_uuid = arena_uuid_bytes(&arena, a->config.node);
    request.name = a->name;
    request.version = (char *)(uintptr_t)a->config.version;
    request.address = address.s;
    request.port = a->config.advertise.port;
    request.instance = a->instance;
    request.number = ++a->number;
    join_labels(&a->config, &request, &arena);
    if (!uuid_is_nil(cluster))
        request.cluster_uuid = arena_uuid_bytes(&arena, cluster);
    call_start(a, &a->join, METHOD_JOIN, &request.base, CALL_TIMEOUT_MS, on_joined);
}

static void on_join_timer(struct io_timer *timer)
{
    join_start(CONTAINER_OF(timer, struct node_agent, join_timer));
}

/* The controller does not know us (any more): join again, then serve on. */
static bool must_rejoin(struct node_agent *a, const struct rpc_request *request)
{
    if (request->error.code != RPC_NOT_FOUND)
        return false;
    io_timer_disarm(&a->watch_timer);
    io_timer_disarm(&a->report_timer);
    join_start(a);
    return true;
}

/* ---- Watching ---- */

/* Whether the answer has an order to format that may have been withdrawn while the answer, or this
 * process, was held up.  Asked again, the controller answers at once, and says what it wants now.
 */
static bool is_stale(const struct node_agent *a, const Trilith__V1__WatchNodeResponse *response)
{
    bool has_force = false;

    for (size_t i = 0; i < response->n_orders; i++)
        has_force |= response->orders[i]->force;
    return has_force && reactor_now_ns(a->config.reactor) - a->watched_ns > FORCE_FRESH_NS;
}

static void desired_take(struct node_agent *a, const ProtobufCMessage *reply)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    char problem[NODE_REASON_BYTES];
    struct node_desired desired;
    const Trilith__V1__WatchNodeResponse *response =
        (const Trilith__V1__WatchNodeResponse *)(const void *)reply;

    if (response->revision == a->revision || is_stale(a, response))
        return;
    struct status st = agent_desired(response, &arena, &desired, problem);
    if (!status_ok(st)) {
        log_error(a->config.log, "node '%s': what the controller wants is refused: %s", a->name,
                  problem);
        return;
    }
    const uint64_t before = a->revision;
    a->revision = desired.revision; /* For a report from in there. */
    st = a->config.ops->desired(a->config.ctx, &desired);
    if (status_ok(st))
        return;
    a->revision = before;
    log_warning(a->config.log, "node '%s': what the controller wants: %s; trying on", a->name,
                status_text(st));
}

static void on_watched(struct agent_call *call)
{
    struct node_agent *a = call->agent;
    ProtobufCMessage *reply = call->request.reply;
    const uint64_t before = a->revision;

    if (a->sm.now == AGENT_SERVING && reply != NULL)
        desired_take(a, reply);
    const bool refused =
        reply != NULL &&
        ((const Trilith__V1__WatchNodeResponse *)(const void *)reply)->revision != a->revision;
    rpc_message_free(reply);
    /* desired() may have stopped us. */
    if (a->sm.now != AGENT_SERVING || must_rejoin(a, &call->request))
        return;
    if (reply != NULL && !refused) {
        if (a->revision != before)
            node_agent_changed(a);
        a->watch_pause_ns = 0;
        watch_start(a);
    } else {
        timer_in(a, &a->watch_timer, pause_grow(&a->watch_pause_ns));
    }
}

static void watch_start(struct node_agent *a)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__WatchNodeRequest request = TRILITH__V1__WATCH_NODE_REQUEST__INIT;

    request.node_uuid = arena_uuid_bytes(&arena, a->config.node);
    request.known_revision = a->revision;
    request.wait_ms = WATCH_WAIT_MS;
    a->watched_ns = reactor_now_ns(a->config.reactor);
    call_start(a, &a->watch, METHOD_WATCH, &request.base, WATCH_TIMEOUT_MS, on_watched);
}

static void on_watch_timer(struct io_timer *timer)
{
    watch_start(CONTAINER_OF(timer, struct node_agent, watch_timer));
}

/* ---- Reporting ---- */

/* A report that is refused as it is will be refused again: it is said once, not with each. */
static void report_log(struct node_agent *a, const struct rpc_error *error)
{
    const bool is_final =
        error->code == RPC_INVALID_ARGUMENT || error->code == RPC_RESOURCE_EXHAUSTED;

    if (is_final && error->code != a->report_refused)
        log_error(a->config.log, "node '%s': the controller refuses its report: %s", a->name,
                  error->text);
    if (is_final || error->code == RPC_OK)
        a->report_refused = error->code;
}

static void on_reported(struct agent_call *call)
{
    struct node_agent *a = call->agent;

    rpc_message_free(call->request.reply);
    if (a->sm.now != AGENT_SERVING || must_rejoin(a, &call->request))
        return;
    report_log(a, &call->request.error);
    if (a->report_again)
        timer_in(a, &a->report_timer, REPORT_SOON_NS);
    else
        io_timer_arm(&a->report_timer, a->config.reactor,
                     reactor_tick_ns(a->config.reactor, REPORT_NS, NS_PER_S));
}

static void report_start(struct node_agent *a)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct node_report report = { 0 };

    a->report_again = false;
    a->config.ops->fill_report(a->config.ctx, &report);
    Trilith__V1__ReportStatusRequest *request = agent_report(&report, a->config.node, &arena);
    request->instance = a->instance;
    request->number = ++a->number;
    call_start(a, &a->report, METHOD_REPORT, &request->base, CALL_TIMEOUT_MS, on_reported);
}

static void on_report_timer(struct io_timer *timer)
{
    report_start(CONTAINER_OF(timer, struct node_agent, report_timer));
}

void node_agent_changed(struct node_agent *agent)
{
    assert(reactor_is_current(agent->config.reactor));
    if (agent->report.busy)
        agent->report_again = true;
    else if (agent->sm.now == AGENT_SERVING)
        timer_in(agent, &agent->report_timer, REPORT_SOON_NS);
}

/* ---- Epochs ---- */

static void on_epoch(struct agent_call *call)
{
    struct epoch_call *e = CONTAINER_OF(call, struct epoch_call, call);
    const struct rpc_request *r = &call->request;
    struct status st = rpc_status_of(r->error.code);
    uint64_t epoch = 0;

    if (r->reply != NULL)
        epoch = ((const Trilith__V1__TakeEpochResponse *)(const void *)r->reply)->epoch;
    if (status_ok(st) && epoch == 0)
        st = STATUS(CORRUPT);
    if (status_is(st, STATUS_TIMED_OUT))
        st = STATUS(UNAVAILABLE);
    if (call->agent->sm.now == AGENT_STOPPING)
        st = STATUS(CANCELED);
    rpc_message_free(r->reply);
    e->done(e->ctx, st, epoch);
    free(e);
}

struct status node_agent_take_epoch(struct node_agent *agent, struct uuid volume,
                                    node_agent_epoch_fn *done, void *ctx)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__TakeEpochRequest request = TRILITH__V1__TAKE_EPOCH_REQUEST__INIT;
    struct epoch_call *e = calloc(1, sizeof *e);

    assert(reactor_is_current(agent->config.reactor));
    if (e == NULL)
        return STATUS(NO_MEMORY);
    e->done = done;
    e->ctx = ctx;
    request.node_uuid = arena_uuid_bytes(&arena, agent->config.node);
    request.volume_uuid = arena_uuid_bytes(&arena, volume);
    call_start(agent, &e->call, METHOD_TAKE_EPOCH, &request.base, CALL_TIMEOUT_MS, on_epoch);
    return STATUS(OK);
}

/* ---- Life ---- */

static void on_stopped(struct io_task *task)
{
    struct node_agent *a = CONTAINER_OF(task, struct node_agent, stop_task);
    void (*stopped)(void *ctx) = a->stopped;
    void *ctx = a->stopped_ctx;

    assert(a->busy_calls == 0);
    free((char *)(uintptr_t)a->config.controller);
    free(a);
    stopped(ctx);
}

struct status node_agent_start(const struct node_agent_config *config,
                               struct node_agent **out_agent)
{
    if (!volume_name_is_valid(config->name) || uuid_is_nil(config->node))
        return STATUS(INVALID);
    struct node_agent *a = calloc(1, sizeof *a);
    if (a == NULL)
        return STATUS(NO_MEMORY);

    a->config = *config;
    snprintf(a->name, sizeof a->name, "%s", config->name);
    a->config.name = a->name;
    while (a->instance == 0)
        reactor_random(config->reactor, (struct span) { (void *)&a->instance, sizeof a->instance });
    a->config.controller = strdup(config->controller);
    const struct status st = a->config.controller != NULL
                                 ? rpc_client_open(config->controller, &a->client)
                                 : STATUS(NO_MEMORY);
    if (!status_ok(st)) {
        free((char *)(uintptr_t)a->config.controller);
        free(a);
        return st;
    }
    if (config->token != NULL)
        rpc_client_set_token(a->client, config->token);
    io_timer_init(&a->join_timer, on_join_timer);
    io_timer_init(&a->watch_timer, on_watch_timer);
    io_timer_init(&a->report_timer, on_report_timer);
    io_task_init(&a->stop_task, on_stopped);
    sm_init(&a->sm, agent_states, AGENT_PAUSED);
    join_start(a);
    *out_agent = a;
    return STATUS(OK);
}

void node_agent_advertise(struct node_agent *agent, const struct io_addr *advertise)
{
    assert(agent->sm.now == AGENT_OPENING);
    agent->config.advertise = *advertise;
}

void node_agent_disks_opened(struct node_agent *agent)
{
    assert(reactor_is_current(agent->config.reactor));
    /* Again, with the address that is known by now. */
    join_start(agent);
}

void node_agent_stop(struct node_agent *agent, void (*stopped)(void *ctx), void *ctx)
{
    assert(reactor_is_current(agent->config.reactor));
    sm_move(&agent->sm, AGENT_STOPPING);
    agent->stopped = stopped;
    agent->stopped_ctx = ctx;
    io_timer_disarm(&agent->join_timer);
    io_timer_disarm(&agent->watch_timer);
    io_timer_disarm(&agent->report_timer);
    /* Every call has been posted to us when this returns; they are delivered later. */
    rpc_client_close(agent->client);
    if (agent->busy_calls == 0)
        reactor_defer(agent->config.reactor, &agent->stop_task);
}

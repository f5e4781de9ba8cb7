/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_node.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/command.h"
#include "cmd/version.h"
#include "disk/device_logs.h"
#include "io/uring.h"
#include "node/group_client.h"

#define STOP_NS (30 * NS_PER_S)

static void tell(struct up_node *n, enum up_node_state state)
{
    atomic_store(&n->state, (int)state);
    n->config.wake(n->config.ctx);
}

static void fail(struct up_node *n, const char *problem)
{
    snprintf(n->problem, sizeof n->problem, "%s", problem);
    tell(n, UP_NODE_FAILED);
}

enum up_node_state up_node_state(const struct up_node *n)
{
    return (enum up_node_state)atomic_load(&n->state);
}

const char *up_node_problem(const struct up_node *n)
{
    return n->problem;
}

const bool *up_node_served(const struct up_node *n)
{
    return n->served;
}

/* ---- Between the agent and the node; all on the home reactor. ---- */

static void agent_joined(void *ctx, const struct node_membership *membership)
{
    struct up_node *n = ctx;

    node_join(n->node, membership);
}

static struct status agent_desired(void *ctx, const struct node_desired *desired)
{
    struct up_node *n = ctx;

    up_orders_take(&n->orders, desired);
    return node_apply(n->node, desired);
}

/* What all reactors use of the kernel: each may have given up something. */
static uint64_t io_features(const struct up_node *n)
{
    uint64_t features = URING_FEATURES_ALL;

    for (unsigned i = 0; i < n->reactor_count; i++)
        features &= uring_reactor_features(n->reactors[i]);
    return features;
}

static void agent_fill_report(void *ctx, struct node_report *out_report)
{
    struct up_node *n = ctx;

    node_fill_report(n->node, out_report);
    up_orders_report(&n->orders, out_report);
    out_report->io_features = io_features(n);
}

static const struct node_agent_ops agent_ops = {
    .joined = agent_joined,
    .desired = agent_desired,
    .fill_report = agent_fill_report,
};

static void see_what_is_served(struct up_node *n)
{
    struct node_report report = { 0 };

    node_fill_report(n->node, &report);
    for (unsigned i = 0; i < n->config.disks->count; i++)
        for (uint32_t d = 0; d < report.disk_count; d++)
            n->served[i] |= strcmp(report.disks[d].path, n->config.disks->config[i].path) == 0;
}

static void node_opened(void *ctx, struct status status, const char *problem)
{
    struct up_node *n = ctx;

    if (n->stopping)
        return;
    if (!status_ok(status)) {
        fail(n, problem);
        return;
    }
    see_what_is_served(n);
    node_agent_disks_opened(n->agent);
    tell(n, UP_NODE_UP);
}

static void node_has_changed(void *ctx)
{
    struct up_node *n = ctx;

    if (!n->stopping)
        node_agent_changed(n->agent);
}

static void orders_wake(void *ctx)
{
    struct up_node *n = ctx;

    n->config.wake(n->config.ctx);
}

void up_node_run(struct up_node *n)
{
    up_orders_run(&n->orders);
}

static struct status node_takes_epoch(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                      void *done_ctx)
{
    struct up_node *n = ctx;

    return node_agent_take_epoch(n->agent, volume, done, done_ctx);
}

static void node_gets_group(void *ctx, struct group_op *op)
{
    const struct up_node *n = ctx;

    group_client_get(n->groups, op);
}

static void node_takes_group(void *ctx, struct group_op *op, uint64_t known_epoch)
{
    const struct up_node *n = ctx;

    group_client_take(n->groups, op, known_epoch);
}

static void node_commits_group(void *ctx, struct group_op *op, const struct group *was,
                               const struct group *now)
{
    const struct up_node *n = ctx;

    group_client_commit(n->groups, op, was, now);
}

static struct status node_asks_device(void *ctx, struct uuid disk, const char *path)
{
    struct up_node *n = ctx;

    return device_logs_ask(n->logs, disk, path);
}

static void on_device_log(void *ctx, struct uuid disk, const struct device_log *log)
{
    struct up_node *n = ctx;

    if (n->node != NULL)
        node_take_device_log(n->node, disk, log);
}

static const struct node_ops node_ops = {
    .opened = node_opened,
    .changed = node_has_changed,
    .take_epoch = node_takes_epoch,
    .group_get = node_gets_group,
    .group_take = node_takes_group,
    .group_commit = node_commits_group,
    .ask_device = node_asks_device,
};

/* ---- Starting ---- */

static struct status start_agent(struct up_node *n)
{
    const struct node_agent_config config = {
        .reactor = n->reactors[0],
        .log = n->config.log,
        .controller = n->config.api,
        .token = n->config.token,
        .node = n->config.uuid,
        .name = n->config.dir->node,
        .version = TRILITH_VERSION,
        .advertise = n->config.advertise,
        .roles = n->config.options->roles,
        .zone = n->config.options->zone,
        .rack = n->config.options->rack,
        .ops = &agent_ops,
        .ctx = n,
    };

    return node_agent_start(&config, &n->agent);
}

static struct status start_groups(struct up_node *n)
{
    const struct group_client_config config = {
        .reactor = n->reactors[0],
        .log = n->config.log,
        .controller = n->config.api,
        .token = n->config.token,
        .node = n->config.uuid,
    };

    return group_client_start(&config, &n->groups);
}

static void start_on_home(struct io_msg *msg)
{
    struct up_node *n = CONTAINER_OF(msg, struct up_node, msg);
    const struct up_options *o = n->config.options;
    const struct node_config config = {
        .reactors = n->reactors,
        .reactor_count = n->reactor_count,
        .listen = n->config.listen,
        .has_advertise = o->has_advertise,
        .advertise = n->config.advertise,
        .buffer_bytes = o->buffer_bytes,
        .replica_timeout_ns = o->replica_timeout_ns,
        .resync_bytes_per_s = o->resync_bytes_per_s,
        .stores = { .served = true, .node = n->config.uuid, .leases = { LEASE_NS, LEASE_WAIT_NS } },
        .disks = n->config.disks->config,
        .disk_count = n->config.disks->count,
        .log = n->config.log,
        .ops = &node_ops,
        .ctx = n,
    };

    struct status st = node_create(&config, &n->node);
    if (status_ok(st)) {
        n->orders.home = n->reactors[0];
        n->orders.node = n->node;
        st = device_logs_start(n->reactors[0], on_device_log, n, &n->logs);
    }
    if (status_ok(st))
        st = start_groups(n);
    if (status_ok(st))
        st = start_agent(n);
    if (!status_ok(st))
        fail(n, status_text(st));
}

static void *run_reactor(void *arg)
{
    reactor_run(arg);
    return NULL;
}

static struct status create_reactors(struct up_node *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct uring_config config = {
            .index = i,
            .spin_ns = n->config.options->spin_ns,
            .features_mask = n->config.options->io_features_mask,
            .log = n->config.log,
        };
        const struct status st = uring_reactor_create(&config, &n->reactors[i]);
        if (!status_ok(st)) {
            (void)cli_fail("io_uring: %s; it needs Linux 5.14 or later, and a container must "
                           "allow it",
                           status_text(st));
            return st;
        }
        n->reactor_count++;
    }
    log_info(n->config.log, "%u reactors; io_uring uses %s", count,
             uring_features_format(io_features(n)).s);
    return STATUS(OK);
}

static struct status start_threads(struct up_node *n)
{
    for (unsigned i = 0; i < n->reactor_count; i++) {
        char name[16];
        const int err = pthread_create(&n->threads[i], NULL, run_reactor, n->reactors[i]);
        if (err != 0) {
            (void)cli_fail("cannot start a thread: %s", strerror(err));
            return status_from_errno(err);
        }
        n->thread_count++;
        snprintf(name, sizeof name, "reactor-%u", i);
        pthread_setname_np(n->threads[i], name);
    }
    return STATUS(OK);
}

static unsigned cpu_count(void)
{
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return 1;
    return (unsigned)min_u64((uint64_t)CPU_COUNT(&cpus), NODE_REACTORS_MAX);
}

struct status up_node_start(struct up_node *n, const struct up_node_config *config)
{
    const unsigned chosen = config->options->reactors;

    *n = (struct up_node) { .config = *config, .state = UP_NODE_STARTING };
    n->orders.disks = config->disks;
    n->orders.dir = config->dir;
    n->orders.wake = orders_wake;
    n->orders.changed = node_has_changed;
    n->orders.ctx = n;
    TRY(create_reactors(n, chosen > 0 ? chosen : cpu_count()));
    TRY(start_threads(n));
    n->msg.deliver = start_on_home;
    reactor_post(n->reactors[0], &n->msg);
    return STATUS(OK);
}

/* ---- Stopping ---- */

static void tell_stopped(struct up_node *n)
{
    if (n->node != NULL || n->groups != NULL)
        return;
    io_timer_disarm(&n->stop_timer);
    tell(n, UP_NODE_STOPPED);
}

/* A disk that hangs would be waited for without end.  All of them survive that, like any kill. */
static void on_stop_timer(struct io_timer *timer)
{
    struct up_node *n = CONTAINER_OF(timer, struct up_node, stop_timer);

    if (n->node != NULL)
        node_tell_stuck(n->node);
    log_error(n->config.log, "not stopped after %llu s: the process ends now",
              (unsigned long long)(STOP_NS / NS_PER_S));
    _exit(COMMAND_FAILED);
}

static void on_node_stopped(void *ctx)
{
    struct up_node *n = ctx;

    n->node = NULL;
    tell_stopped(n);
}

static void on_groups_stopped(void *ctx)
{
    struct up_node *n = ctx;

    n->groups = NULL;
    tell_stopped(n);
}

/* The node first: from then on it asks for no group, and what it has asked for is canceled. */
static void stop_node(struct up_node *n)
{
    device_logs_stop(n->logs); /* The node asks no more: its timer stops in the same turn. */
    n->logs = NULL;
    if (n->node != NULL)
        node_stop(n->node, on_node_stopped, n);
    if (n->groups != NULL)
        group_client_stop(n->groups, on_groups_stopped, n);
    tell_stopped(n);
}

static void on_agent_stopped(void *ctx)
{
    struct up_node *n = ctx;

    n->agent = NULL;
    stop_node(n);
}

static void stop_on_home(struct io_msg *msg)
{
    struct up_node *n = CONTAINER_OF(msg, struct up_node, msg);

    n->stopping = true;
    up_orders_stop(&n->orders);
    io_timer_init(&n->stop_timer, on_stop_timer);
    io_timer_arm(&n->stop_timer, n->reactors[0], reactor_now_ns(n->reactors[0]) + STOP_NS);
    if (n->agent != NULL)
        node_agent_stop(n->agent, on_agent_stopped, n);
    else
        stop_node(n);
}

void up_node_stop(struct up_node *n)
{
    n->msg.deliver = stop_on_home;
    reactor_post(n->reactors[0], &n->msg);
}

void up_node_destroy(struct up_node *n)
{
    for (unsigned i = 0; i < n->thread_count; i++)
        reactor_stop(n->reactors[i]);
    for (unsigned i = 0; i < n->thread_count; i++)
        pthread_join(n->threads[i], NULL);
    for (unsigned i = 0; i < n->reactor_count; i++)
        reactor_destroy(n->reactors[i]);
    n->thread_count = 0;
    n->reactor_count = 0;
}

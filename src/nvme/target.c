/* SPDX-License-Identifier: Apache-2.0 */
/* The target as a whole: its parts on every reactor, its ports, its end. */
#include "nvme/target.h"

#include <assert.h>
#include <stdlib.h>

#include "nvme/target_internal.h"

static void target_on_stop(struct io_task *task);
static void target_on_stopped(struct io_task *task);

/* ---- Life ---- */

static struct status MUST_CHECK check_config(const struct nvme_target_config *config)
{
    if (config->reactor_count == 0 || config->node_index >= NVME_NODES_MAX)
        return STATUS(INVALID);
    if (config->connection_quota_bytes != 0 && config->connection_quota_bytes < NVME_DATA_BYTES_MAX)
        return STATUS(INVALID);
    if (config->r2t_pool_bytes != 0 && config->r2t_pool_bytes < NVME_DATA_BYTES_MAX)
        return STATUS(INVALID);
    return STATUS(OK);
}

static struct status MUST_CHECK create_shards(struct nvme_target *target,
                                              const struct nvme_target_config *config)
{
    const size_t r2t_bytes =
        config->r2t_pool_bytes != 0 ? config->r2t_pool_bytes : NVME_R2T_POOL_BYTES;

    target->shards = calloc(config->reactor_count, sizeof *target->shards);
    if (target->shards == NULL)
        return STATUS(NO_MEMORY);
    target->shard_count = config->reactor_count;
    for (unsigned i = 0; i < config->reactor_count; i++) {
        struct nvme_shard *shard = &target->shards[i];

        shard->target = target;
        list_init(&shard->peers);
        shard->reactor = config->reactors[i];
        shard->pool = config->pools[i];
        TRY(buf_pool_create(shard->reactor, r2t_bytes, &shard->r2t_pool));
    }
    return STATUS(OK);
}

static struct status MUST_CHECK target_init(struct nvme_target *target,
                                            const struct nvme_target_config *config)
{
    target->home = config->reactors[0];
    target->node_index = config->node_index;
    target->quota_bytes = config->connection_quota_bytes != 0 ? config->connection_quota_bytes
                                                              : NVME_CONNECTION_QUOTA_BYTES;
    target->connections_max =
        config->connections_max != 0 ? config->connections_max : NVME_CONNECTIONS_MAX;
    target->commands_max = config->commands_max != 0 ? config->commands_max : NVME_COMMANDS_MAX;
    target->expects = config->expects;
    target->expects_ctx = config->ctx;
    target->generation = 1;
    list_init(&target->subsystems);
    list_init(&target->conns);
    list_init(&target->peers);
    list_init(&target->half_open);
    list_init(&target->connects);
    io_task_init(&target->stop_task, target_on_stop);
    io_task_init(&target->stopped_task, target_on_stopped);
    TRY(create_shards(target, config));
    return subsys_create_discovery(target);
}

struct status nvme_target_create(const struct nvme_target_config *config,
                                 struct nvme_target **out_target)
{
    TRY(check_config(config));
    struct nvme_target *target = calloc(1, sizeof *target);
    if (target == NULL)
        return STATUS(NO_MEMORY);

    const struct status st = target_init(target, config);
    if (!status_ok(st)) {
        nvme_target_destroy(target);
        return st;
    }
    *out_target = target;
    return STATUS(OK);
}

void nvme_target_destroy(struct nvme_target *target)
{
    struct list_node *node;

    if (target == NULL)
        return;
    assert(list_empty(&target->conns));
    for (unsigned i = 0; i < target->port_count; i++)
        assert(!target->ports[i].accept.in_flight);
    while ((node = list_pop_front(&target->subsystems)) != NULL)
        subsys_free(CONTAINER_OF(node, struct nvme_subsys, link));
    subsys_free(target->discovery);
    for (unsigned i = 0; i < target->shard_count; i++) {
        assert(target->shards[i].r2t_pool == NULL || list_empty(&target->shards[i].peers));
        buf_pool_destroy(target->shards[i].r2t_pool);
    }
    free(target->shards);
    free(target);
}

/* ---- Ports ---- */

static void port_on_accept(struct io_op *op)
{
    struct nvme_port *port = CONTAINER_OF(op, struct nvme_port, accept);
    struct nvme_target *target = port->target;

    if (op->result >= 0)
        home_conn_accepted(port, (int)op->result);
    if (target->stopping) {
        io_close(target->home, port->fd);
        port->fd = -1;
        target_check_stopped(target);
        return;
    }
    if (op->result < 0) {
        log_error(target->home->log, "%s: accept: %s; trying again", io_addr_format(&port->bound).s,
                  status_text(io_op_status(op)));
        io_timer_arm(&port->retry, target->home,
                     reactor_now_ns(target->home) + NVME_ACCEPT_RETRY_NS);
        return;
    }
    io_op_accept(&port->accept, target->home, port->fd, port_on_accept);
}

static void port_on_retry(struct io_timer *timer)
{
    struct nvme_port *port = CONTAINER_OF(timer, struct nvme_port, retry);

    io_op_accept(&port->accept, port->target->home, port->fd, port_on_accept);
}

struct status nvme_target_listen(struct nvme_target *target, const struct io_addr *on,
                                 const struct io_addr *advertise, struct io_addr *out_bound)
{
    assert(reactor_is_current(target->home));

    if (target->port_count == NVME_PORTS_MAX)
        return STATUS(LIMIT);
    struct nvme_port *port = &target->ports[target->port_count];
    TRY(io_listen(target->home, on, &port->fd, &port->bound));
    port->target = target;
    port->id = (uint16_t)(target->port_count + 1);
    port->has_advertise = advertise != NULL;
    if (advertise != NULL) {
        port->advertise = *advertise;
        if (port->advertise.port == 0)
            port->advertise.port = port->bound.port;
    }
    io_timer_init(&port->retry, port_on_retry);
    target->port_count++;
    *out_bound = port->bound;
    io_op_accept(&port->accept, target->home, port->fd, port_on_accept);
    discovery_changed(target);
    return STATUS(OK);
}

/* ---- Stop ---- */

static void target_on_stopped(struct io_task *task)
{
    struct nvme_target *target = CONTAINER_OF(task, struct nvme_target, stopped_task);
    void (*stopped)(void *ctx) = target->stopped;

    target->stopped = NULL;
    stopped(target->stopped_ctx); /* target may be gone. */
}

/* A controller outlives its connections while it flushes for a shutdown. */
static bool has_controllers(const struct nvme_target *target)
{
    LIST_FOR_EACH (node, &target->subsystems) {
        if (!list_empty(&CONTAINER_OF(node, struct nvme_subsys, link)->ctrls))
            return true;
    }
    return false;
}

void target_check_stopped(struct nvme_target *target)
{
    if (!target->stopping || target->stopped == NULL || !list_empty(&target->conns) ||
        has_controllers(target))
        return;
    for (unsigned i = 0; i < target->port_count; i++) {
        if (target->ports[i].fd >= 0)
            return;
    }
    reactor_defer(target->home, &target->stopped_task);
}

static void port_stop(struct nvme_port *port)
{
    if (port->fd < 0)
        return; /* An accept that ended after nvme_target_stop() has closed it. */
    io_timer_disarm(&port->retry);
    if (port->accept.in_flight) {
        io_op_cancel(&port->accept);
        return; /* port_on_accept() closes it. */
    }
    io_close(port->target->home, port->fd);
    port->fd = -1;
}

/*
 * From the loop, whoever called nvme_target_stop(): the start and the kill of a connection then
 * come from one sender, and arrive in this order.
 */
static void target_on_stop(struct io_task *task)
{
    struct nvme_target *target = CONTAINER_OF(task, struct nvme_target, stop_task);

    for (unsigned i = 0; i < target->port_count; i++)
        port_stop(&target->ports[i]);
    LIST_FOR_EACH (node, &target->conns)
        home_conn_kill(CONTAINER_OF(node, struct nvme_conn, target_link));
    target_check_stopped(target);
}

void nvme_target_stop(struct nvme_target *target, void (*done)(void *ctx), void *ctx)
{
    assert(reactor_is_current(target->home) && !target->stopping);

    target->stopping = true;
    target->stopped = done;
    target->stopped_ctx = ctx;
    reactor_defer(target->home, &target->stop_task);
}

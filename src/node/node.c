/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "node/node_internal.h"
#include "volume/limits.h"

/*
 *   IDLE --> DISKS --> OPEN --> TARGET --> VOLUMES --> STORES --> CLOSING --> POOLS --> ENDED
 *     |                           ^
 *     +---------------------------+   (stopped before it joined)
 *
 *   DISKS    waits for the disks to be opened     VOLUMES  for all volumes to be gone
 *   OPEN     for node_stop()                      CLOSING  for the disks to be closed
 *   TARGET   for the target to drop its hosts     POOLS    for the pools to be freed
 *   STORES   for links to other nodes, and for sessions of their engines, to end
 *
 * A node_stop() in DISKS is remembered until OPEN.  node_step(), from the loop, leaves every
 * state that has nothing to wait for any more.
 */
enum node_state {
    NODE_IDLE,
    NODE_DISKS,
    NODE_OPEN,
    NODE_TARGET,
    NODE_VOLUMES,
    NODE_STORES,
    NODE_CLOSING,
    NODE_POOLS,
    NODE_ENDED,
};

static const struct sm_state node_states[] = {
    [NODE_IDLE] = { "idle", SM_TO(NODE_DISKS) | SM_TO(NODE_TARGET) },
    [NODE_DISKS] = { "opening disks", SM_TO(NODE_OPEN) },
    [NODE_OPEN] = { "open", SM_TO(NODE_TARGET) },
    [NODE_TARGET] = { "stopping the target", SM_TO(NODE_VOLUMES) },
    [NODE_VOLUMES] = { "closing volumes", SM_TO(NODE_STORES) },
    [NODE_STORES] = { "ending sessions", SM_TO(NODE_CLOSING) },
    [NODE_CLOSING] = { "closing disks", SM_TO(NODE_POOLS) },
    [NODE_POOLS] = { "freeing", SM_TO(NODE_ENDED) },
    [NODE_ENDED] = { "ended", 0 },
};

static void node_step(struct io_task *task);

static void node_wake(struct node *n)
{
    reactor_defer(n->home, &n->step);
}

static void node_move(struct node *n, enum node_state to)
{
    sm_move(&n->sm, (int)to);
    log_debug(n->log, "node: %s", sm_name(&n->sm));
}

void node_changed(struct node *n)
{
    if (!n->stopping)
        n->ops->changed(n->ctx);
}

/* Disks come and go, and scrubs are cut off: what is wanted is said again and again. */
void node_want_scrubs(struct node *n)
{
    for (unsigned i = 0; i < n->disk_count && !n->stopping; i++) {
        struct node_disk *const d = &n->disks[i];
        const struct node_scrub_order *order = NULL;
        for (uint32_t k = 0; k < n->scrub_count; k++)
            if (uuid_equal(n->scrubs[k].disk, d->info.identity.disk))
                order = &n->scrubs[k];
        if (d->store != NULL)
            node_scrub_want(d, order);
    }
}

struct node_disk *node_find_disk(struct node *n, struct uuid uuid)
{
    for (unsigned i = 0; i < n->disk_count; i++) {
        struct node_disk *d = &n->disks[i];
        if (d->store != NULL && uuid_equal(d->info.identity.disk, uuid))
            return d;
    }
    return NULL;
}

/* ---- Creating ---- */

void node_init_disk(struct node *n, struct node_disk *d)
{
    d->node = n;
    d->home = n->home;
    d->reactor = n->reactors[(size_t)(d - n->disks) % n->reactor_count];
    d->cluster = n->membership.cluster;
    snprintf(d->cluster_name, sizeof d->cluster_name, "%s", n->membership.cluster_name);
    d->log = n->log;
}

static void node_init_pace(struct node *n, uint64_t bytes_per_s)
{
    n->has_pace = bytes_per_s > 0;
    if (!n->has_pace)
        return;
    pace_init(&n->pace, bytes_per_s);
    for (unsigned i = 0; i < n->reactor_count; i++)
        pace_queue_init(&n->pools[i].pace, n->reactors[i], &n->pace);
}

struct status node_create(const struct node_config *config, struct node **out_node)
{
    if (config->disk_count > NODE_DISKS_MAX || config->reactor_count > NODE_REACTORS_MAX)
        return STATUS(LIMIT);

    struct node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return STATUS(NO_MEMORY);
    n->disks = calloc(NODE_DISKS_MAX, sizeof *n->disks);
    n->report = calloc(1, sizeof *n->report);
    if (n->disks == NULL || n->report == NULL) {
        free(n->disks);
        free(n->report);
        free(n);
        return STATUS(NO_MEMORY);
    }
    n->reactor_count = config->reactor_count;
    memcpy(n->reactors, config->reactors, config->reactor_count * sizeof n->reactors[0]);
    n->home = n->reactors[0];
    n->listen = config->listen;
    n->has_advertise = config->has_advertise;
    n->advertise = config->advertise;
    n->buffer_bytes = config->buffer_bytes;
    n->commands_max = config->commands_max;
    n->replica_timeout_ns = config->replica_timeout_ns;
    node_init_pace(n, config->resync_bytes_per_s);
    n->stores = config->stores;
    n->log = config->log;
    n->ops = config->ops;
    n->ctx = config->ctx;
    n->disk_count = config->disk_count;
    for (unsigned i = 0; i < n->disk_count; i++) {
        n->disks[i].config = config->disks[i];
        node_init_disk(n, &n->disks[i]);
    }
    list_init(&n->volumes);
    io_task_init(&n->step, node_step);
    sm_init(&n->sm, node_states, NODE_IDLE);
    *out_node = n;
    return STATUS(OK);
}

/* ---- Joining ---- */

static void node_on_disk(struct node_disk *d);

void node_join(struct node *n, const struct node_membership *membership)
{
    assert(reactor_is_current(n->home));
    assert(membership->node_index >= 1);

    node_move(n, NODE_DISKS);
    n->membership = *membership;
    n->node_index = membership->node_index - 1;
    n->pending = n->disk_count;
    for (unsigned i = 0; i < n->disk_count; i++) {
        struct node_disk *d = &n->disks[i];
        node_init_disk(n, d);
        d->done = node_on_disk;
        node_disk_open(d);
    }
    node_wake(n);
}

void node_log_disk(const struct node *n, const struct node_disk *d)
{
    const char *name = d->info.identity.disk_name;

    if (d->problem[0] != '\0')
        log_error(n->log, "disk '%s' (%s): %s", d->config.name, d->config.path, d->problem);
    else if (d->store != NULL)
        log_info(n->log, "disk '%s' (%s): %s", name, d->config.path,
                 d->formatted ? "formatted" : "opened");
    if (d->store != NULL && d->info.growth_bytes > 0)
        log_info(n->log,
                 "disk '%s' (%s): its device has become larger; 'trilith disk grow %s' makes use "
                 "of %s more",
                 name, d->config.path, name, size_format(d->info.growth_bytes).s);
}

static void node_on_disk(struct node_disk *d)
{
    struct node *n = d->node;

    assert(n->pending > 0);
    d->closing = false;
    node_log_disk(n, d);
    if (--n->pending == 0)
        node_wake(n);
}

static struct status node_open_pools(struct node *n)
{
    for (unsigned i = 0; i < n->reactor_count; i++) {
        struct node_pool *p = &n->pools[i];
        p->node = n;
        p->reactor = n->reactors[i];
        TRY(buf_pool_create(p->reactor, n->buffer_bytes, &p->pool));
        TRY(buf_pool_create(p->reactor, VOLUME_SCRATCH_BYTES, &p->scratch));
    }
    return STATUS(OK);
}

/* A volume that this node is to serve, or anything before it has been told what it serves. */
static bool node_expects(void *ctx, const char *nqn)
{
    const struct node *n = ctx;

    if (!n->told)
        return true;
    LIST_FOR_EACH (link, &n->volumes) {
        const struct node_volume *v = CONTAINER_OF(link, struct node_volume, link);
        if (v->wanted && !v->deleting && strcmp(v->nqn.s, nqn) == 0)
            return true;
    }
    return false;
}

static struct status node_open_target(struct node *n)
{
    struct buf_pool *pools[NODE_REACTORS_MAX];
    const struct nvme_target_config config = {
        .reactors = n->reactors,
        .pools = pools,
        .reactor_count = n->reactor_count,
        .node_index = n->node_index,
        .expects = node_expects,
        .ctx = n,
    };

    for (unsigned i = 0; i < n->reactor_count; i++)
        pools[i] = n->pools[i].pool;
    TRY(nvme_target_create(&config, &n->target));
    TRY(node_stores_open(n));
    return nvme_target_listen(n->target, &n->listen, n->has_advertise ? &n->advertise : NULL,
                              &n->bound);
}

static void node_on_disks_opened(struct node *n)
{
    char problem[NODE_REASON_BYTES] = "";

    node_move(n, NODE_OPEN);
    struct status st = node_open_pools(n);
    if (!status_ok(st))
        snprintf(problem, sizeof problem, "buffers for %u reactors: %s", n->reactor_count,
                 status_text(st));
    if (status_ok(st)) {
        st = node_open_target(n);
        if (!status_ok(st))
            snprintf(problem, sizeof problem, "NVMe/TCP at %s: %s", io_addr_format(&n->listen).s,
                     status_text(st));
    }
    node_health_start(n);
    n->ops->opened(n->ctx, st, problem);
    if (n->stopping)
        node_wake(n);
}

struct io_addr node_addr(const struct node *n)
{
    return n->bound;
}

/* ---- What the node is told ---- */

static struct node_volume *node_find_volume(struct node *n, struct uuid uuid)
{
    LIST_FOR_EACH (link, &n->volumes) {
        struct node_volume *v = CONTAINER_OF(link, struct node_volume, link);
        if (uuid_equal(v->desc.uuid, uuid))
            return v;
    }
    return NULL;
}

static struct status MUST_CHECK node_want(struct node *n, const struct node_desired *desired,
                                          const struct node_desired_volume *wanted)
{
    struct node_volume *v = node_find_volume(n, wanted->volume.uuid);

    if (v == NULL && n->volume_count >= NODE_VOLUMES_MAX) {
        log_error(n->log, "volume '%s': not served: this node has %u volumes", wanted->volume.name,
                  n->volume_count);
        return STATUS(OK); /* Saying it again would not help. */
    }
    if (v == NULL)
        v = node_volume_create(n, wanted->volume.uuid);
    if (v == NULL)
        return STATUS(NO_MEMORY);
    v->seen = true;
    return node_volume_want(v, desired, wanted);
}

static struct status MUST_CHECK node_take_scrubs(struct node *n, const struct node_desired *desired)
{
    const size_t bytes = desired->scrub_count * sizeof *n->scrubs;
    struct node_scrub_order *const scrubs = malloc(bytes + 1);

    if (scrubs == NULL)
        return STATUS(NO_MEMORY);
    if (bytes > 0)
        memcpy(scrubs, desired->scrubs, bytes);
    free(n->scrubs);
    n->scrubs = scrubs;
    n->scrub_count = desired->scrub_count;
    node_want_scrubs(n);
    return STATUS(OK);
}

struct status node_apply(struct node *n, const struct node_desired *desired)
{
    assert(reactor_is_current(n->home));
    assert(n->sm.now != NODE_IDLE && n->sm.now != NODE_DISKS);

    if (n->stopping)
        return STATUS(OK);
    TRY(node_stores_set_members(n, desired));
    TRY(node_take_scrubs(n, desired));
    struct status first = STATUS(OK);
    LIST_FOR_EACH (link, &n->volumes)
        CONTAINER_OF(link, struct node_volume, link)->seen = false;
    for (uint32_t i = 0; i < desired->volume_count; i++) {
        const struct status st = node_want(n, desired, &desired->volumes[i]);
        if (status_ok(first))
            first = st;
    }
    LIST_FOR_EACH (link, &n->volumes) {
        struct node_volume *v = CONTAINER_OF(link, struct node_volume, link);
        if (!v->seen && v->wanted)
            node_volume_drop(v);
    }
    if (status_ok(first)) {
        n->told = true;
        n->revision = desired->revision;
    }
    node_changed(n);
    return first;
}

/* ---- Stopping ---- */

void node_stop(struct node *n, void (*stopped)(void *ctx), void *ctx)
{
    assert(reactor_is_current(n->home));
    assert(!n->stopping);

    n->stopping = true;
    node_health_stop(n);
    n->stopped = stopped;
    n->stopped_ctx = ctx;
    /* From now on no volume starts anything new; once the target has stopped they are closed. */
    LIST_FOR_EACH (link, &n->volumes)
        CONTAINER_OF(link, struct node_volume, link)->wanted = false;
    node_wake(n);
}

void node_tell_stuck(const struct node *n)
{
    assert(reactor_is_current(n->home));
    if (n->sm.now != NODE_CLOSING)
        log_error(n->log, "node: still %s: a disk does not answer", sm_name(&n->sm));
    for (unsigned i = 0; i < n->disk_count; i++) {
        if (n->disks[i].closing)
            log_error(n->log, "disk '%s' (%s) does not answer: it is left as it is",
                      n->disks[i].info.identity.disk_name, n->disks[i].config.path);
    }
}

static void node_on_target_stopped(void *ctx)
{
    struct node *n = ctx;

    node_move(n, NODE_VOLUMES);
    LIST_FOR_EACH (link, &n->volumes)
        node_volume_drop(CONTAINER_OF(link, struct node_volume, link));
    node_wake(n);
}

static void node_stop_target(struct node *n)
{
    node_move(n, NODE_TARGET);
    if (n->target == NULL)
        node_on_target_stopped(n);
    else
        nvme_target_stop(n->target, node_on_target_stopped, n);
    node_wake(n);
}

/* What waits for replicas would keep the target waiting, too.  Its connections end first, so that
 * no host sees it fail. */
static void node_fence_volumes(struct node *n)
{
    LIST_FOR_EACH (link, &n->volumes)
        node_volume_fence(CONTAINER_OF(link, struct node_volume, link));
}

void node_on_volume_gone(struct node *n)
{
    node_wake(n);
}

void node_on_disk_changed(struct node *n)
{
    node_wake(n);
}

static void node_close_disks(void *ctx)
{
    struct node *n = ctx;

    node_stores_close(n);
    node_move(n, NODE_CLOSING);
    n->pending = n->disk_count;
    for (unsigned i = 0; i < n->disk_count; i++) {
        n->disks[i].done = node_on_disk;
        n->disks[i].problem[0] = '\0';
        n->disks[i].closing = true;
        node_disk_close(&n->disks[i]);
    }
    node_wake(n);
}

static void node_stop_stores(struct node *n)
{
    node_move(n, NODE_STORES);
    node_stores_stop(n, node_close_disks, n);
}

static void pool_on_freed(struct io_msg *msg)
{
    struct node *n = CONTAINER_OF(msg, struct node_pool, msg)->node;

    if (--n->pending == 0)
        node_wake(n);
}

static void pool_free(struct io_msg *msg)
{
    struct node_pool *p = CONTAINER_OF(msg, struct node_pool, msg);

    buf_pool_destroy(p->pool);
    buf_pool_destroy(p->scratch);
    p->msg.deliver = pool_on_freed;
    reactor_post(p->node->home, &p->msg);
}

static void node_free_pools(struct node *n)
{
    node_move(n, NODE_POOLS);
    n->pending = n->reactor_count;
    for (unsigned i = 0; i < n->reactor_count; i++) {
        n->pools[i].node = n;
        n->pools[i].msg.deliver = pool_free;
        reactor_post(n->reactors[i], &n->pools[i].msg);
    }
}

static void node_end(struct node *n)
{
    void (*const stopped)(void *ctx) = n->stopped;
    void *const ctx = n->stopped_ctx;

    node_move(n, NODE_ENDED);
    nvme_target_destroy(n->target); /* Its pools have what the disks had of them, too. */
    free(n->members);
    free(n->scrubs);
    free(n->report);
    free(n->disks);
    free(n);
    stopped(ctx);
}

static void node_step(struct io_task *task)
{
    struct node *n = CONTAINER_OF(task, struct node, step);

    switch ((enum node_state)n->sm.now) {
    case NODE_DISKS:
        if (n->pending == 0)
            node_on_disks_opened(n);
        return;
    case NODE_IDLE:
    case NODE_OPEN:
        if (n->stopping)
            node_stop_target(n);
        return;
    case NODE_TARGET:
        node_fence_volumes(n);
        return;
    case NODE_VOLUMES:
        if (list_empty(&n->volumes) && n->change.done == NULL)
            node_stop_stores(n);
        return;
    case NODE_STORES:
        return;
    case NODE_CLOSING:
        if (n->pending == 0)
            node_free_pools(n);
        return;
    case NODE_POOLS:
        if (n->pending == 0)
            node_end(n);
        return;
    case NODE_ENDED:
        break;
    }
    sm_bug(&n->sm);
}

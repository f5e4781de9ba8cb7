/* SPDX-License-Identifier: Apache-2.0 */
#include "peer/link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "peer/link_internal.h"
#include "peer/names.h"

/*
 *   IDLE --> CONNECTING --> QUEUES --> UP
 *    ^  |        |             |        |
 *    |  |        +-------------+--------+--> ENDING --> WAITING --> CONNECTING
 *    |  +--> WAITING (no memory)               |           |
 *    |                                         +-----------+--> GONE, where nobody has it
 *
 * CONNECTING waits for the association, QUEUES for the ends, ENDING for the end of both, WAITING
 * for the timer.  Nothing of a link is left when it connects again.
 */
enum link_state {
    LINK_IDLE,
    LINK_CONNECTING,
    LINK_QUEUES,
    LINK_UP,
    LINK_ENDING,
    LINK_WAITING,
    LINK_GONE,
};

static const struct sm_state link_states[] = {
    [LINK_IDLE] = { "idle", SM_TO(LINK_CONNECTING) | SM_TO(LINK_WAITING) },
    [LINK_CONNECTING] = { "connecting", SM_TO(LINK_QUEUES) | SM_TO(LINK_ENDING) },
    [LINK_QUEUES] = { "queues", SM_TO(LINK_UP) | SM_TO(LINK_ENDING) },
    [LINK_UP] = { "up", SM_TO(LINK_ENDING) },
    [LINK_ENDING] = { "ending", SM_TO(LINK_WAITING) | SM_TO(LINK_GONE) },
    [LINK_WAITING] = { "waiting", SM_TO(LINK_CONNECTING) | SM_TO(LINK_WAITING) | SM_TO(LINK_GONE) },
    [LINK_GONE] = { "gone", 0 },
};

static void connect_now(struct link *link);

/* ---- The end ---- */

static void links_stopped_if_empty(struct links *links)
{
    if (links->on_stopped != NULL && list_empty(&links->all))
        reactor_defer(links->home, &links->task);
}

static void link_free(struct link *link)
{
    struct links *const links = link->links;

    assert(list_empty(&link->users));
    sm_move(&link->sm, LINK_GONE);
    list_remove(&link->node);
    free(link);
    links_stopped_if_empty(links);
}

static void wait_and_retry(struct link *link)
{
    sm_move(&link->sm, LINK_WAITING);
    io_timer_arm(&link->timer, link->links->home,
                 reactor_now_ns(link->links->home) + link->retry_ns);
    link->retry_ns = min_u64(link->retry_ns * 2, LINK_RETRY_MAX_NS);
}

static void ended_if_empty(struct link *link)
{
    if (link->sm.now != LINK_ENDING || link->pending > 0 || link->ctrl_started)
        return;
    initiator_ctrl_destroy(link->ctrl);
    link->ctrl = NULL;
    if (link->refs == 0)
        link_free(link);
    else
        wait_and_retry(link);
}

/* Once for each loss, and for each row of attempts that fail. */
static void tell(struct link *link, bool was_up)
{
    if (link->refs == 0 || (link->told && !was_up))
        return;
    link->told = true;
    log_warning(link->links->config.log, "link to the stores of node '%s' at %s: %s; retrying",
                link->name, io_addr_format(&link->addr).s, status_text(link->why));
}

static void tell_users_down(struct link *link)
{
    link->losses++;
    LIST_FOR_EACH (n, &link->users) {
        struct link_user *const user = CONTAINER_OF(n, struct link_user, node);
        user->down(user);
    }
}

/* The link, or the attempt, is over: nothing of it is to be left. */
static void link_end(struct link *link, struct status why)
{
    const bool was_up = link->sm.now == LINK_UP;
    const bool has_queues = was_up || link->sm.now == LINK_QUEUES;

    if (link->sm.now >= LINK_ENDING)
        return;
    link->why = why;
    tell(link, was_up);
    sm_move(&link->sm, LINK_ENDING);
    link->pending = has_queues ? link->links->config.reactor_count : 0;
    for (unsigned i = 0; i < link->pending; i++)
        link_end_stop(&link->ends[i]);
    if (link->ctrl_started)
        initiator_ctrl_drop(link->ctrl);
    if (was_up)
        tell_users_down(link);
    ended_if_empty(link);
}

void link_on_end_lost(struct link *link, struct status why)
{
    link_end(link, why);
}

void link_on_end_drained(struct link *link)
{
    assert(link->sm.now == LINK_ENDING);
    assert(link->pending > 0);
    link->pending--;
    ended_if_empty(link);
}

/* ---- Coming up ---- */

void link_on_end_ready(struct link *link)
{
    if (link->sm.now != LINK_QUEUES || --link->pending > 0)
        return;
    sm_move(&link->sm, LINK_UP);
    link->ups++;
    link->retry_ns = LINK_RETRY_MIN_NS;
    link->told = false;
    log_info(link->links->config.log, "link to the stores of node '%s' at %s is up", link->name,
             io_addr_format(&link->addr).s);
    LIST_FOR_EACH (n, &link->users) {
        struct link_user *const user = CONTAINER_OF(n, struct link_user, node);
        user->up(user);
    }
}

/* 2.1: a queue for each pair; where there are too many of them, one for each reactor. */
static struct status MUST_CHECK make_plan(struct link *link)
{
    const struct initiator_ctrl_info *const info = initiator_ctrl_info(link->ctrl);
    const unsigned count = link->links->config.reactor_count;

    if (info->reactors == 0)
        return STATUS(UNSUPPORTED); /* It has no stores. */
    if (info->io_queues < count)
        return STATUS(LIMIT);
    if (info->data_bytes_max < NVME_DATA_BYTES_MAX)
        return STATUS(UNSUPPORTED);
    link->plan.per_reactor = info->io_queues / count >= info->reactors ? info->reactors : 1;
    link->plan.entries = (uint16_t)min_u64(info->queue_entries_max, LINK_QUEUE_ENTRIES);
    return STATUS(OK);
}

static void on_ctrl_ready(struct initiator_ctrl *ctrl)
{
    struct link *const link = initiator_ctrl_ctx(ctrl);

    if (link->sm.now != LINK_CONNECTING)
        return;
    const struct status st = make_plan(link);
    if (!status_ok(st)) {
        link_end(link, st);
        return;
    }
    sm_move(&link->sm, LINK_QUEUES);
    link->number++;
    link->pending = link->links->config.reactor_count;
    for (unsigned i = 0; i < link->pending; i++)
        link_end_start(&link->ends[i]);
}

static void on_ctrl_ended(struct initiator_ctrl *ctrl, struct status why)
{
    struct link *const link = initiator_ctrl_ctx(ctrl);

    link->ctrl_started = false;
    if (link->sm.now == LINK_ENDING)
        ended_if_empty(link);
    else
        link_end(link, why);
}

static const struct initiator_ctrl_ops ctrl_ops = { .ready = on_ctrl_ready,
                                                    .ended = on_ctrl_ended };

static struct initiator_endpoint endpoint_of(const struct link *link)
{
    const struct links_config *const config = &link->links->config;

    return (struct initiator_endpoint) {
        .addr = link->addr,
        .subsystem_nqn = peer_store_nqn(link->node_uuid),
        .host_nqn = peer_node_nqn(config->node),
        .host_id = config->node,
        .header_digest = true,
        .connect_timeout_ns = LINK_CONNECT_NS,
        .command_timeout_ns = LINK_COMMAND_NS,
    };
}

static void connect_now(struct link *link)
{
    const struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = link,
        .reactor = link->links->home,
        .endpoint = endpoint_of(link),
        .log = link->links->config.log,
        .keep_alive_ms = LINK_KEEP_ALIVE_MS,
        .io_queues = NVME_IO_QUEUES_MAX,
        .no_namespace = true,
    };

    link->attempts++;
    if (!status_ok(initiator_ctrl_create(&config, &link->ctrl))) {
        wait_and_retry(link);
        return;
    }
    sm_move(&link->sm, LINK_CONNECTING);
    link->ctrl_started = true;
    initiator_ctrl_start(link->ctrl);
}

static void on_timer(struct io_timer *timer)
{
    connect_now(CONTAINER_OF(timer, struct link, timer));
}

/* ---- Who has it ---- */

static struct link *find(struct links *links, struct uuid node)
{
    LIST_FOR_EACH (n, &links->all) {
        struct link *const link = CONTAINER_OF(n, struct link, node);
        if (uuid_equal(link->node_uuid, node))
            return link;
    }
    return NULL;
}

struct status link_get(struct links *links, struct uuid node, const struct io_addr *addr,
                       struct link **out_link)
{
    const unsigned count = links->config.reactor_count;
    struct link *link = find(links, node);

    assert(reactor_is_current(links->home));
    assert(links->on_stopped == NULL);
    if (link == NULL) {
        link = calloc(1, sizeof *link + count * sizeof link->ends[0]);
        if (link == NULL)
            return STATUS(NO_MEMORY);
        link->links = links;
        link->node_uuid = node;
        link->addr = *addr;
        link_set_name(link, "");
        link->retry_ns = LINK_RETRY_MIN_NS;
        list_init(&link->users);
        list_node_init(&link->node);
        list_push_back(&links->all, &link->node);
        io_timer_init(&link->timer, on_timer);
        for (unsigned i = 0; i < count; i++)
            link_end_init(&link->ends[i], link, i);
        sm_init(&link->sm, link_states, LINK_IDLE);
        connect_now(link);
    }
    link->addr = *addr;
    link->refs++;
    *out_link = link;
    return STATUS(OK);
}

void link_set_name(struct link *link, const char *name)
{
    snprintf(link->name, sizeof link->name, "%s",
             name[0] != '\0' ? name : uuid_format(link->node_uuid).s);
}

void link_ref(struct link *link)
{
    assert(link->refs > 0);
    link->refs++;
}

void link_put(struct link *link)
{
    assert(reactor_is_current(link->links->home));
    assert(link->refs > 0);

    if (--link->refs > 0)
        return;
    if (link->sm.now == LINK_WAITING) {
        io_timer_disarm(&link->timer);
        link_free(link);
    } else {
        link_end(link, STATUS(CANCELED));
    }
}

void link_watch(struct link *link, struct link_user *user)
{
    list_node_init(&user->node);
    list_push_back(&link->users, &user->node);
}

void link_unwatch(struct link_user *user)
{
    list_remove(&user->node);
}

/* ---- What it is ---- */

struct uuid link_cluster(const struct link *link)
{
    return link->links->config.cluster;
}

struct uuid link_node(const struct link *link)
{
    return link->node_uuid;
}

struct log *link_log(const struct link *link)
{
    return link->links->config.log;
}

struct reactor *link_home(const struct link *link)
{
    return link->links->home;
}

unsigned link_reactor_count(const struct link *link)
{
    return link->links->config.reactor_count;
}

struct reactor *link_reactor(const struct link *link, unsigned index)
{
    return link->links->config.reactors[index];
}

bool link_is_up(const struct link *link)
{
    return link->sm.now == LINK_UP;
}

uint64_t link_number(const struct link *link)
{
    return link->number;
}

struct link_disk *link_disk_get(struct link *link, struct uuid disk)
{
    unsigned i = 0;

    while (i < link->disk_count && !uuid_equal(link->disks[i].uuid, disk))
        i++;
    if (i == LINK_DISKS_MAX)
        return &link->disks[i - 1];
    struct link_disk *const d = &link->disks[i];
    if (i == link->disk_count) {
        d->uuid = disk;
        d->budget = (uint16_t)(i + 1);
        list_init(&d->waiting);
        link->disk_count++;
    }
    return d;
}

void link_get_stats(const struct link *link, struct link_stats *out_stats)
{
    *out_stats = (struct link_stats) { .ups = link->ups,
                                       .losses = link->losses,
                                       .attempts = link->attempts };
    for (unsigned i = 0; i < link->links->config.reactor_count; i++) {
        out_stats->commands += link->ends[i].commands;
        out_stats->lost += link->ends[i].commands_lost;
    }
}

/* ---- All links ---- */

static void on_stopped(struct io_task *task)
{
    struct links *const links = CONTAINER_OF(task, struct links, task);
    links->on_stopped(links->ctx);
}

struct status links_create(const struct links_config *config, struct links **out_links)
{
    struct links *const links = calloc(1, sizeof *links);

    assert(config->reactor_count > 0);
    if (links == NULL)
        return STATUS(NO_MEMORY);
    links->config = *config;
    links->home = config->reactors[0];
    list_init(&links->all);
    io_task_init(&links->task, on_stopped);
    links->pools = calloc(config->reactor_count, sizeof(struct buf_pool *));
    struct status st = links->pools == NULL ? STATUS(NO_MEMORY) : STATUS(OK);
    for (unsigned i = 0; i < config->reactor_count && status_ok(st); i++)
        st = buf_pool_create(config->reactors[i], LINK_POOL_BYTES, &links->pools[i]);
    if (!status_ok(st)) {
        links_destroy(links);
        return st;
    }
    *out_links = links;
    return st;
}

void links_stop(struct links *links, void (*done)(void *ctx), void *ctx)
{
    assert(reactor_is_current(links->home));
    links->on_stopped = done;
    links->ctx = ctx;
    links_stopped_if_empty(links);
}

void links_destroy(struct links *links)
{
    if (links == NULL)
        return;
    assert(list_empty(&links->all));
    for (unsigned i = 0; links->pools != NULL && i < links->config.reactor_count; i++)
        buf_pool_destroy(links->pools[i]);
    free(links->pools);
    free(links);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor's end of a link.
 *
 *   home: start --> queues connect --> all are ready --> home: ready
 *                        |                  |
 *                        +---(one ends)-----+--> lanes are down, the others stop --> home: lost
 *   home: stop ---> ... all have ended --> home: drained
 *
 * Home sends stop once for each start, whatever it has heard: so drained is the last word.
 */
#include <assert.h>
#include <stdlib.h>

#include "peer/link_internal.h"
#include "peer/session.h"

/* ---- To home ---- */

static void deliver_ready(struct io_msg *msg)
{
    link_on_end_ready(CONTAINER_OF(msg, struct link_end, ready_msg)->link);
}

static void deliver_lost(struct io_msg *msg)
{
    struct link_end *const end = CONTAINER_OF(msg, struct link_end, lost_msg);
    link_on_end_lost(end->link, end->why);
}

static void deliver_drained(struct io_msg *msg)
{
    link_on_end_drained(CONTAINER_OF(msg, struct link_end, drained_msg)->link);
}

static void tell_home(struct link_end *end, struct io_msg *msg)
{
    reactor_post(link_home(end->link), msg);
}

/* ---- The end of the queues ---- */

static void free_queues(struct link_end *end)
{
    for (unsigned i = 0; i < end->queue_count; i++)
        initiator_queue_destroy(end->queues[i]);
    free(end->queues);
    end->queues = NULL;
    end->queue_count = 0;
}

static void drained_if_empty(struct link_end *end)
{
    if (!end->stopping || end->living > 0)
        return;
    end->stopping = false;
    free_queues(end);
    tell_home(end, &end->drained_msg);
}

static void stop_queues(struct link_end *end)
{
    for (unsigned i = 0; i < end->queue_count; i++) {
        if (end->queues[i] != NULL)
            initiator_queue_stop(end->queues[i]);
    }
}

void link_end_lose(struct link_end *end, struct status why)
{
    struct list_node *n;

    assert(reactor_is_current(end->reactor));
    if (end->lost)
        return;
    end->lost = true;
    end->live = false;
    end->why = why;
    while ((n = list_pop_front(&end->lanes)) != NULL)
        CONTAINER_OF(n, struct peer_lane, node)->up = false;
    stop_queues(end);
    if (!end->stopping)
        tell_home(end, &end->lost_msg);
}

/* ---- Queues ---- */

static void on_queue_ready(struct initiator_queue *q)
{
    struct link_end *const end = initiator_queue_ctx(q);

    if (end->lost)
        return;
    if (!initiator_queue_header_digest(q)) {
        link_end_lose(end, STATUS(UNSUPPORTED)); /* 2.1: nothing else covers a CID. */
        return;
    }
    if (++end->ready < end->queue_count)
        return;
    end->live = true;
    tell_home(end, &end->ready_msg);
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct link_end *const end = initiator_queue_ctx(q);

    assert(end->living > 0);
    end->living--;
    link_end_lose(end, why);
    drained_if_empty(end);
}

static const struct initiator_queue_ops queue_ops = { on_queue_ready, on_queue_ended };

/* 2.1: reactor e has the queues e n + 1 to e n + n. */
static struct status MUST_CHECK create_queues(struct link_end *end)
{
    const struct link_plan *const plan = &end->link->plan;
    struct initiator_queue_config config = initiator_ctrl_queue_config(end->link->ctrl);

    end->queues = calloc(plan->per_reactor, sizeof *end->queues);
    if (end->queues == NULL)
        return STATUS(NO_MEMORY);
    config.ops = &queue_ops;
    config.ctx = end;
    config.reactor = end->reactor;
    config.entries = plan->entries;
    config.budgets = LINK_DISKS_MAX;
    config.budget_commands = (uint16_t)min_u64(LINK_DISK_COMMANDS, max_u64(plan->entries / 2, 1));
    config.budget_bytes = LINK_DISK_BYTES;
    for (unsigned i = 0; i < plan->per_reactor; i++) {
        config.qid = (uint16_t)(end->reactor->index * plan->per_reactor + i + 1);
        TRY(initiator_queue_create(&config, &end->queues[i]));
        end->queue_count++;
    }
    return STATUS(OK);
}

static void on_start(struct io_msg *msg)
{
    struct link_end *const end = CONTAINER_OF(msg, struct link_end, start_msg);

    assert(reactor_is_current(end->reactor));
    assert(end->living == 0 && list_empty(&end->lanes));
    end->lost = false;
    end->ready = 0;
    end->number = end->link->number;
    lease_link_init(&end->lease);
    const struct status st = create_queues(end);
    if (!status_ok(st)) {
        free_queues(end);
        link_end_lose(end, st);
        return;
    }
    end->living = end->queue_count;
    for (unsigned i = 0; i < end->queue_count; i++)
        initiator_queue_start(end->queues[i]);
}

static void on_stop(struct io_msg *msg)
{
    struct link_end *const end = CONTAINER_OF(msg, struct link_end, stop_msg);

    end->stopping = true;
    link_end_lose(end, STATUS(CANCELED));
    drained_if_empty(end);
}

/* ---- Interface ---- */

void link_end_init(struct link_end *end, struct link *link, unsigned index)
{
    end->link = link;
    end->reactor = link->links->config.reactors[index];
    end->pool = link->links->pools[index];
    end->lost = true;
    list_init(&end->lanes);
    end->start_msg.deliver = on_start;
    end->stop_msg.deliver = on_stop;
    end->ready_msg.deliver = deliver_ready;
    end->lost_msg.deliver = deliver_lost;
    end->drained_msg.deliver = deliver_drained;
}

void link_end_start(struct link_end *end)
{
    reactor_post(end->reactor, &end->start_msg);
}

void link_end_stop(struct link_end *end)
{
    reactor_post(end->reactor, &end->stop_msg);
}

struct link_end *link_end_of(struct link *link, unsigned reactor)
{
    assert(reactor < link->links->config.reactor_count);
    return &link->ends[reactor];
}

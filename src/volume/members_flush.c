/* SPDX-License-Identifier: Apache-2.0 */
/* Flushes: who is asked, and what they wait for (docs/replication.md, 5.8, 5.10). */
#include "volume/members.h"

#include "volume/volume_internal.h"

static struct leg_call *call_of(struct leg *leg)
{
    return CONTAINER_OF(leg, struct leg_call, leg);
}

/* ---- Until all is settled (I9) ---- */

static void flush_return(struct io_msg *msg)
{
    command_on_piece(CONTAINER_OF(msg, struct piece, msg));
}

static void delay_return(struct io_msg *msg)
{
    struct piece *const p = CONTAINER_OF(msg, struct piece, msg);
    const struct leg *const leg = p->legs[0].leg;

    if (status_ok(p->status) && !members_flush_spares(leg))
        command_flush_leg(p);
    else
        command_on_piece(p);
}

static void delayed_go_on(struct volume *v)
{
    struct list_node *n;

    while ((!atomic_load(&v->members.flush_waits) || v->members.fenced) &&
           (n = list_pop_front(&v->members.delayed)) != NULL) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        p->status = v->members.fenced ? STATUS(FENCED) : STATUS(OK);
        p->msg.deliver = delay_return;
        reactor_post(p->cmd->front->reactor, &p->msg);
    }
}

static void delay_deliver(struct io_msg *msg)
{
    struct piece *const p = CONTAINER_OF(msg, struct piece, msg);
    struct volume *const v = p->cmd->front->volume;

    list_node_init(&p->link);
    list_push_back(&v->members.delayed, &p->link);
    delayed_go_on(v);
}

void members_delay_flush(struct piece *p)
{
    p->msg.deliver = delay_deliver;
    reactor_post(p->cmd->front->volume->home, &p->msg);
}

bool members_flush_waits(const struct volume *v)
{
    return atomic_load(&v->members.flush_waits);
}

void members_flushes_wait(struct volume *v)
{
    atomic_store(&v->members.flush_waits, true);
}

void members_flushes_go_on(struct volume *v)
{
    atomic_store(&v->members.flush_waits, false);
    delayed_go_on(v);
}

/* ---- Until who has not confirmed is excluded ---- */

void members_flushes_end(struct volume *v)
{
    delayed_go_on(v);
    if (v->members.behind && !v->members.fenced)
        return; /* Nothing rests on that change yet (6.5). */
    LIST_FOR_EACH (n, &v->members.held) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        const struct leg_call *const call = call_of(p->legs[0].leg);
        if (!v->members.fenced && group_has_member(v->members.group, call->uuid))
            continue;
        list_remove(n);
        p->status = v->members.fenced ? STATUS(FENCED) : STATUS(OK);
        p->msg.deliver = flush_return;
        reactor_post(p->cmd->front->reactor, &p->msg);
    }
}

static void flush_deliver(struct io_msg *msg)
{
    struct piece *const p = CONTAINER_OF(msg, struct piece, msg);
    struct volume *const v = p->cmd->front->volume;

    resync_home_failed(v, call_of(p->legs[0].leg)); /* Or it might be admitted without the Flush. */
    list_node_init(&p->link);
    list_push_back(&v->members.held, &p->link);
    members_report(v, p->legs[0].leg, p->status); /* Now: who is back asks for what is held. */
    if (v->members.state == MEMBERS_IDLE)
        members_flushes_end(v);
}

void members_hold_flush(struct piece *p)
{
    struct volume *const v = p->cmd->front->volume;

    p->msg.deliver = flush_deliver;
    reactor_post(v->home, &p->msg);
}

void members_flushes_again(struct volume *v, const struct leg *leg)
{
    LIST_FOR_EACH (n, &v->members.held) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        if (p->legs[0].leg != leg)
            continue;
        list_remove(n);
        p->status = STATUS(OK);
        p->msg.deliver = delay_return;
        reactor_post(p->cmd->front->reactor, &p->msg);
    }
}

/* ---- Who is asked ---- */

void members_spare_flushes(struct volume *v)
{
    if (v->members.behind)
        return; /* 6.5 */
    for (uint32_t i = 0; i < v->call_count && v->members.group != NULL; i++) {
        struct leg_call *const call = v->calls[i];
        if (!group_has_member(v->members.group, call->uuid) && !resync_home_needs(v, call))
            atomic_store(&call->members.spared, true);
    }
}

void members_flush_needs(struct leg *leg)
{
    atomic_store(&call_of(leg)->members.spared, false);
}

/* A member that is not there yet confirms nothing, and is waited for (11.4). */
bool members_flush_spares(const struct leg *leg)
{
    const struct leg_call *const call = CONTAINER_OF(leg, struct leg_call, leg);

    return atomic_load(&call->members.spared) ||
           (!leg_is_there(leg) && !members_is_passed_over(leg));
}

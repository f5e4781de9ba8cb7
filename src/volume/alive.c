/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/alive.h"

#include <assert.h>

#include "base/mutation.h"
#include "volume/volume_internal.h"

/* Of the patience with a replica, so much for those that would remain. */
#define ASK_DIVISOR 2

static void on_timer(struct io_timer *timer);

void alive_init(struct alive *a)
{
    *a = (struct alive) { 0 };
    io_timer_init(&a->timer, on_timer);
}

bool alive_has_answered(const struct leg_call *call)
{
    return call->alive.answered || MUTATION(EXCLUDE_BLINDLY);
}

/* ---- Answers ---- */

static void stop_waiting(struct leg_call *call)
{
    struct alive *const a = &call->volume->members.alive;

    call->alive.waited = false;
    assert(a->waited > 0);
    if (--a->waited > 0)
        return;
    io_timer_disarm(&a->timer);
    members_asked(call->volume);
}

void alive_stop(struct volume *v)
{
    struct alive *const a = &v->members.alive;

    for (uint32_t i = 0; i < v->call_count; i++)
        v->calls[i]->alive.waited = false;
    a->waited = 0;
    io_timer_disarm(&a->timer);
    members_asked(v);
}

static void on_timer(struct io_timer *timer)
{
    alive_stop(CONTAINER_OF(timer, struct volume, members.alive.timer));
}

void alive_let_go(struct leg_call *call)
{
    if (call->alive.waited)
        stop_waiting(call);
}

/* What is wrong with a disk of this node is reported, as a session's end does of a remote one. */
static void take_local_answer(struct leg_call *call)
{
    struct leg_io *const io = &call->alive.io;

    if (status_ok(io->status) && io->outdated)
        io->status = STATUS(STALE_INCARNATION);
    if (!status_ok(io->status))
        members_report(call->volume, &call->leg, io->status);
}

static void on_answer(struct leg_io *io)
{
    struct leg_call *const call = io->owner;
    struct volume *const v = call->volume;

    assert(reactor_is_current(v->home));
    if (call->leg.remote == NULL)
        take_local_answer(call);
    call->alive.asked = false;
    call->alive.answered = call->alive.waited && status_ok(io->status) && !leg_hangs(&call->leg);
    v->openings--;
    if (call->alive.waited)
        stop_waiting(call);
    else if (v->members.fenced)
        members_fence(v); /* The close waits for it. */
    else
        members_go_on(v); /* Who is to be excluded may have waited for it. */
}

/* ---- The question ---- */

static bool is_to_be_asked(const struct leg_call *call, const struct leg_call *leaving)
{
    return call != leaving && !call->retired && leg_is_up(&call->leg) && !call->members.suspect &&
           !call->alive.asked;
}

static void ask(struct leg_call *call)
{
    struct alive_leg *const a = &call->alive;

    a->asked = true;
    a->waited = true;
    call->volume->members.alive.waited++;
    call->volume->openings++;
    a->io.owner = call;
    a->io.leg = &call->leg;
    a->io.remote = &a->remote_io;
    a->io.reactor = call->volume->home;
    a->io.confirm = true;
    a->io.done = on_answer;
    leg_submit(&a->io);
}

bool alive_ask(struct volume *v, const struct leg_call *leaving)
{
    struct alive *const a = &v->members.alive;

    assert(a->waited == 0);
    a->leaving = leaving;
    for (uint32_t i = 0; i < v->call_count; i++)
        v->calls[i]->alive.answered = false;
    for (uint32_t i = 0; i < v->call_count && !MUTATION(EXCLUDE_BLINDLY); i++)
        if (is_to_be_asked(v->calls[i], leaving))
            ask(v->calls[i]);
    if (a->waited == 0)
        return false;
    io_timer_arm(&a->timer, v->home, reactor_now_ns(v->home) + v->patience_ns / ASK_DIVISOR);
    return true;
}

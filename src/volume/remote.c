/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   opening --> up <--(same incarnation)-- away      away: the session is lost, or stale; it is
 *                |                           ^       opened again at once
 *                +---------------------------+
 *                                            |
 *                                            +--(another incarnation)--> changed, until excluded
 *
 * Every change is told to the lanes by a round of messages.  What is to be told while one is under
 * way is told by the next.
 */
#include "volume/remote.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"

#define AWAY_TICKS 10 /* Of a patience. */

/* A link that is lost is made again within milliseconds where the other node lives; so a node
 * without one for so long, of the patience, counts as gone (6.1). */
#define DOWN_TICKS   10
#define DOWN_TICK_NS (5 * NS_PER_MS)

#define RETRY_MIN_NS (20 * NS_PER_MS)
#define RETRY_MAX_NS (1 * NS_PER_S)

static struct reactor *home_of(const struct remote *r)
{
    return link_home(r->link);
}

/* ---- Telling the lanes ---- */

static void on_told(struct remote *r);

static void begin_round(struct remote *r)
{
    r->telling = r->view;
    r->view.lost_flushes = false;
    r->view.abandons = false;
    r->view_dirty = false;
    r->round = r->lane_count;
    for (unsigned i = 0; i < r->lane_count; i++)
        reactor_post(link_reactor(r->link, i), &r->lanes[i].msg);
}

static void tell(struct remote *r)
{
    r->view_dirty = true;
    if (r->round == 0)
        begin_round(r);
}

static void lane_deliver(struct io_msg *msg);

static void lane_on_return(struct io_msg *msg)
{
    struct remote_lane *const lane = CONTAINER_OF(msg, struct remote_lane, msg);
    struct remote *const r = lane->remote;

    msg->deliver = lane_deliver;
    assert(r->round > 0);
    if (--r->round > 0)
        return;
    if (r->view_dirty)
        begin_round(r);
    else
        on_told(r);
}

static void lane_deliver(struct io_msg *msg)
{
    struct remote_lane *const lane = CONTAINER_OF(msg, struct remote_lane, msg);

    remote_lane_take(lane, &lane->remote->telling);
}

void remote_on_taken(struct remote_lane *lane)
{
    lane->msg.deliver = lane_on_return;
    reactor_post(home_of(lane->remote), &lane->msg);
}

/* ---- The end ---- */

static void on_closed(struct peer_session *s)
{
    struct remote *const r = CONTAINER_OF(s, struct remote, session);

    r->link = NULL;
    r->on_close(r->close_ctx); /* r may be gone. */
}

/* ---- Opening ---- */

static void ask(struct remote *r);

static void open_end(struct remote *r, struct status status)
{
    void (*const done)(void *ctx) = r->on_open;

    r->leg->problem = status;
    r->on_open = NULL;
    if (done != NULL)
        done(r->open_ctx);
}

/* The lanes know all: who has waited for that may go on. */
static void on_told(struct remote *r)
{
    if (r->closing)
        peer_session_close(&r->session, on_closed);
    else if (r->up && r->on_open != NULL)
        open_end(r, STATUS(OK));
}

/* What the first opening brings: even if nobody waited for it any more, it may be made a member. */
static void take_first(struct remote *r, const struct peer_opened *opened)
{
    r->first = false;
    r->leg->known = r->keeps;
    r->view.keeps = r->keeps;
    r->view.why = STATUS(UNAVAILABLE);
    r->view.incarnation = opened->incarnation;
    r->leg->set_sequence = opened->set_sequence;
    leg_take_opened(r->leg, opened->incarnation, opened->generation, opened->unflushed_loss);
    atomic_store(&r->written, 1);
    atomic_store(&r->there, true);
}

static void accept_incarnation(struct remote *r)
{
    r->changed = false;
    r->leg->problem = STATUS(OK);
    r->leg->incarnation = atomic_load(&r->leg->incarnation_now);
    r->view.incarnation = r->leg->incarnation;
    atomic_fetch_add(&r->written, 1); /* The next Flush asks it. */
}

/* S1: nobody else has what was not flushed. */
static void take_loss(struct remote *r)
{
    if (atomic_load(&r->written) != atomic_load(&r->flushed)) {
        leg_note_loss(r->leg);
        r->view.lost_flushes = r->leg->loss != 0;
    }
    accept_incarnation(r);
}

/* 4.4 */
static void take_change(struct remote *r)
{
    r->changed = true;
    r->view.keeps = false;
    r->view.why = STATUS(STALE_INCARNATION);
    r->leg->ops->report(r->leg, STATUS(STALE_INCARNATION));
}

static void take_again(struct remote *r, const struct peer_opened *opened)
{
    const bool is_member = r->view.keeps || atomic_load(&r->leg->parted);

    atomic_store(&r->leg->incarnation_now, opened->incarnation);
    if (r->changed || opened->incarnation == r->leg->incarnation || MUTATION(POWER_CYCLED_IN_SYNC))
        return;
    if (!r->leg->has_peers)
        take_loss(r);
    else if (is_member)
        take_change(r);
    else
        accept_incarnation(r);
}

static void rejoin(struct remote *r)
{
    if (!atomic_exchange(&r->leg->parted, false) || r->changed)
        return;
    r->view.keeps = true;
    r->view.why = STATUS(UNAVAILABLE);
}

static void take_session(struct remote *r, const struct peer_opened *opened)
{
    r->up = true;
    r->retry_ns = RETRY_MIN_NS;
    io_timer_disarm(&r->away_timer);
    io_timer_disarm(&r->retry_timer);
    if (r->first)
        take_first(r, opened);
    else
        take_again(r, opened);
    rejoin(r);
    r->leg->list_cut = opened->list_cut;
    r->leg->problem = r->changed ? STATUS(STALE_INCARNATION) : STATUS(OK);
    r->view.late = false;
    r->view.go = !r->changed;
    r->view.ticket = peer_session_ticket(&r->session);
    tell(r);
    r->leg->ops->back(r->leg);
}

/* 7.2: who had a session, and finds the volume gone, was overtaken by whoever has deleted it. */
static bool is_overtaken(const struct remote *r, struct status why)
{
    return status_is(why, STATUS_STALE_EPOCH) ||
           (status_is(why, STATUS_UNKNOWN_VOLUME) && !r->first);
}

static void on_refused(struct remote *r, struct status why)
{
    const bool opens_volume = r->first && r->on_open != NULL; /* Then it hears so. */

    r->leg->problem = why;
    if (is_overtaken(r, why)) {
        r->refused = true;
        if (!opens_volume)
            r->leg->ops->report(r->leg, STATUS(STALE_EPOCH));
    } else {
        io_timer_arm(&r->retry_timer, home_of(r), reactor_now_ns(home_of(r)) + r->retry_ns);
        r->retry_ns = min_u64(r->retry_ns * 2, RETRY_MAX_NS);
    }
    if (r->on_open != NULL)
        open_end(r, why);
}

static void on_opened(struct peer_session *s, const struct peer_opened *opened)
{
    struct remote *const r = CONTAINER_OF(s, struct remote, session);

    r->asked = false;
    if (r->closing)
        return;
    if (status_ok(opened->status) && r->told_bytes != r->volume.bytes)
        ask(r); /* The volume has grown meanwhile (F27). */
    else if (status_ok(opened->status))
        take_session(r, opened);
    else
        on_refused(r, opened->status);
}

static void ask(struct remote *r)
{
    if (r->asked || r->refused || r->closing)
        return;
    r->asked = true;
    r->told_bytes = r->volume.bytes;
    atomic_store(&r->open_tick, (uint32_t)atomic_load(&r->tick_max));
    peer_session_open(&r->session, &r->volume, atomic_load(&r->open_tick), r->leg->known);
}

static void on_retry(struct io_timer *timer)
{
    ask(CONTAINER_OF(timer, struct remote, retry_timer));
}

/* ---- Away ---- */

static void watch_away(struct remote *r)
{
    io_timer_arm(&r->away_timer, home_of(r), reactor_now_ns(home_of(r)) + r->away_tick_ns);
}

/* One that is opened for the first time has all of the patience: its node may be starting, too. */
static bool is_over(const struct remote *r)
{
    return r->away_ticks * r->away_tick_ns >= AWAY_TICKS * r->tick_ns ||
           (!r->first && r->down_ticks >= DOWN_TICKS);
}

/*
 * 6.1: a tick counts once, however long the process was paused: it is time in which the loop ran
 * and its sockets were read.
 */
static void on_away(struct io_timer *timer)
{
    struct remote *const r = CONTAINER_OF(timer, struct remote, away_timer);

    r->away_ticks++;
    r->down_ticks = link_is_up(r->link) ? 0 : r->down_ticks + 1;
    if (!is_over(r)) {
        watch_away(r);
        return;
    }
    r->view.late = true;
    tell(r);
    if (!r->first)
        r->leg->ops->report(r->leg, STATUS(UNAVAILABLE));
    if (r->on_open != NULL)
        open_end(r, STATUS(UNAVAILABLE));
}

static void go_away(struct remote *r)
{
    r->up = false;
    r->leg->problem = STATUS(UNAVAILABLE);
    r->view.go = false;
    r->away_ticks = 0;
    r->down_ticks = 0;
    watch_away(r);
    ask(r);
}

static void on_lost(struct peer_session *s, struct status why)
{
    struct remote *const r = CONTAINER_OF(s, struct remote, session);

    (void)why;
    if (!r->closing)
        go_away(r);
}

static const struct peer_session_ops session_ops = { on_opened, on_lost };

void remote_on_stale(struct remote *r, uint32_t number)
{
    if (r->up && !r->closing && number == (uint32_t)r->session.number)
        go_away(r);
}

void remote_on_late(struct remote *r)
{
    if (!r->closing && r->up)
        r->leg->ops->report(r->leg, STATUS(TIMED_OUT));
}

/* ---- Interface ---- */

struct status remote_create(struct leg *leg, struct link *link, struct uuid disk, uint64_t epoch,
                            uint64_t patience_ns, struct remote **out_remote)
{
    const unsigned count = link_reactor_count(link);
    struct remote *const r = calloc(1, sizeof *r + count * sizeof r->lanes[0]);

    if (r == NULL)
        return STATUS(NO_MEMORY);
    r->leg = leg;
    r->link = link;
    link_ref(link);
    r->tick_ns = patience_ns / AWAY_TICKS;
    r->away_tick_ns = min_u64(r->tick_ns, DOWN_TICK_NS);
    r->lane_count = count;
    r->first = true;
    r->retry_ns = RETRY_MIN_NS;
    r->view.why = STATUS(UNAVAILABLE);
    io_timer_init(&r->away_timer, on_away);
    io_timer_init(&r->retry_timer, on_retry);
    for (unsigned i = 0; i < count; i++) {
        remote_lane_init(r, i);
        r->lanes[i].msg.deliver = lane_deliver;
    }
    peer_session_init(&r->session,
                      &(struct peer_session_config) {
                          .ops = &session_ops, .link = link, .disk = disk, .epoch = epoch });
    *out_remote = r;
    return STATUS(OK);
}

void remote_destroy(struct remote *r)
{
    if (r == NULL)
        return;
    if (r->link != NULL) { /* It was never opened. */
        link_unwatch(&r->session.user);
        link_put(r->link);
    }
    free(r);
}

void remote_open(struct remote *r, const struct store_volume *volume, void (*done)(void *ctx),
                 void *ctx)
{
    r->volume = *volume;
    r->keeps = true;
    r->on_open = done;
    r->open_ctx = ctx;
    go_away(r);
}

void remote_set_volume(struct remote *r, const struct store_volume *volume)
{
    assert(!r->closing);

    r->volume = *volume;
    if (r->up && r->told_bytes != volume->bytes)
        go_away(r);
}

void remote_let_go(struct remote *r, struct status why)
{
    assert(!r->closing);

    atomic_store(&r->leg->parted, false);
    r->view.keeps = false;
    r->view.why = why;
    r->view.abandons = true;
    tell(r);
}

void remote_keep(struct remote *r, bool keeps)
{
    assert(!r->closing);

    atomic_store(&r->leg->parted, false);
    r->keeps = keeps;
    r->leg->known = keeps;
    r->view.keeps = keeps;
    r->view.why = STATUS(UNAVAILABLE);
    if (r->changed)
        accept_incarnation(r);
    r->view.go = r->up;
    tell(r);
}

void remote_part(struct remote *r)
{
    assert(!r->closing);

    if (!r->view.keeps || atomic_exchange(&r->leg->parted, true))
        return; /* It was let go of already. */
    r->view.keeps = false;
    r->view.why = STATUS(UNAVAILABLE);
    r->view.abandons = true;
    if (r->up)
        go_away(r);
    tell(r);
}

void remote_exclude(struct remote *r)
{
    assert(!r->closing);

    r->view.abandons = true;
    if (r->up)
        go_away(r);
    remote_keep(r, false);
}

void remote_close(struct remote *r, void (*done)(void *ctx), void *ctx)
{
    assert(!r->closing);

    r->on_close = done;
    r->close_ctx = ctx;
    r->closing = true;
    io_timer_disarm(&r->away_timer);
    io_timer_disarm(&r->retry_timer);
    r->view.go = false;
    r->view.keeps = false;
    r->view.abandons = true; /* Its answers would come when the lanes are gone: ... */
    r->view.closes = true;   /* ... those of the rest are waited for. */
    tell(r);
}

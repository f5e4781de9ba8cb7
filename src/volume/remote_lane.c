/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A remote leg's commands, on one reactor.
 *
 *   submit --> flying --(answer)--> done
 *                ^  |
 *                |  +--(no answer: lost, or stale)--> kept --(another session)--> flying
 *                |                                     |
 *                +-- kept, while there is no session --+--(let go, changed)--> done, failed
 */
#include <assert.h>

#include "base/atomic_max.h"
#include "volume/remote.h"

#define LATE_TICKS 10
#define TRIES_MAX  2 /* With CRCs that are wrong (2.4). */

static void place(struct remote_lane *lane, struct leg_io *io);

static struct leg_io *io_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct leg_remote_io, link)->io;
}

static bool is_change(const struct leg_io *io)
{
    const enum store_opcode opcode = io->store.opcode;

    return !io->confirm && (opcode == STORE_OP_WRITE || opcode == STORE_OP_WRITE_ZEROES ||
                            opcode == STORE_OP_DEALLOCATE || opcode == STORE_OP_MERGE_REGIONS ||
                            opcode == STORE_OP_SPOIL);
}

static bool is_flush(const struct leg_io *io)
{
    return !io->confirm && io->store.opcode == STORE_OP_FLUSH;
}

/* ---- The end of commands ---- */

/*
 * Home hears that all is taken in; of a leg that is closed, when nothing of it is left here.  That
 * is bounded: a command without an answer ends with its link (2.1).
 */
static void return_msg(struct remote_lane *lane)
{
    const bool busy = !list_empty(&lane->flying) || !list_empty(&lane->ended);

    if (!lane->owes || (lane->view.closes && busy))
        return;
    lane->owes = false;
    if (lane->view.closes)
        io_timer_disarm(&lane->timer);
    remote_on_taken(lane); /* Of one that is closed the lane may be gone. */
}

static void on_task(struct io_task *task)
{
    struct remote_lane *const lane = CONTAINER_OF(task, struct remote_lane, task);
    struct list ended;
    struct list_node *n;

    list_init(&ended);
    list_splice_back(&ended, &lane->ended);
    while ((n = list_pop_front(&ended)) != NULL) {
        struct leg_io *const io = io_of(n);
        io->done(io);
    }
    return_msg(lane);
}

static void end_later(struct remote_lane *lane, struct leg_io *io, struct status status)
{
    io->status = status;
    list_push_back(&lane->ended, &io->remote->link);
    reactor_defer(lane->peer.end->reactor, &lane->task);
}

/* Ends of what is kept that which may not wait, or all. */
static void end_kept(struct remote_lane *lane, bool all)
{
    LIST_FOR_EACH (n, &lane->kept) {
        struct leg_io *const io = io_of(n);
        if (!all && leg_io_can_wait(io))
            continue;
        list_remove(n);
        end_later(lane, io, lane->view.why);
    }
}

/* They may be executed yet, so nothing goes to this session any more. */
static void abandon(struct remote_lane *lane)
{
    LIST_FOR_EACH (n, &lane->flying) {
        struct leg_io *const io = io_of(n);
        if (!peer_abandon(&io->remote->peer))
            continue;
        list_remove(n);
        lane->flying_count--;
        end_later(lane, io, lane->view.why);
    }
}

static void end_kept_flushes(struct remote_lane *lane)
{
    LIST_FOR_EACH (n, &lane->kept) {
        struct leg_io *const io = io_of(n);
        if (!is_flush(io) && !(is_change(io) && io->store.fua))
            continue;
        list_remove(n);
        end_later(lane, io, STATUS(STALE_INCARNATION));
    }
}

/* ---- Answers ---- */

static void post_stale(struct remote_lane *lane)
{
    atomic_store(&lane->stale_number, lane->peer.number);
    if (!atomic_exchange(&lane->stale_posted, true))
        reactor_post(lane->remote->leg->reactor, &lane->stale_msg);
}

static void stale_deliver(struct io_msg *msg)
{
    struct remote_lane *const lane = CONTAINER_OF(msg, struct remote_lane, stale_msg);

    atomic_store(&lane->stale_posted, false);
    remote_on_stale(lane->remote, atomic_load(&lane->stale_number));
}

static void late_deliver(struct io_msg *msg)
{
    struct remote_lane *const lane = CONTAINER_OF(msg, struct remote_lane, late_msg);

    atomic_store(&lane->late_posted, false);
    remote_on_late(lane->remote);
}

/*
 * The session has ended for it, and another one may carry it out: twice is once (4.3).  Whether
 * there will be another is found where it is opened: STALE_EPOCH then fences the engine (7.8).
 */
static bool is_for_another_session(const struct peer_io *peer)
{
    return peer->lost || status_is(peer->status, STATUS_STALE_EPOCH) ||
           status_is(peer->status, STATUS_STALE_SESSION) ||
           status_is(peer->status, STATUS_STALE_INCARNATION) ||
           status_is(peer->status, STATUS_UNAVAILABLE) || status_is(peer->status, STATUS_CANCELED);
}

static struct status outcome(struct leg_io *io)
{
    struct remote *const r = io->leg->remote;

    if (io->confirm)
        return io->remote->peer.status;
    if (status_is(io->remote->peer.status, STATUS_UNKNOWN_SHARD)) {
        io->store.status = STATUS(UNKNOWN_SHARD); /* As of a local leg. */
        return leg_unknown_shard(&io->store);
    }
    if (status_is(io->remote->peer.status, STATUS_BAD_DIGEST) && io->store.opcode == STORE_OP_READ)
        return STATUS(MEDIA_READ); /* Another member may have it. */
    if (!status_ok(io->remote->peer.status))
        return io->remote->peer.status;
    if (is_flush(io))
        atomic_max_u64(&r->flushed, io->written);
    else if (is_change(io) && !io->store.fua)
        atomic_fetch_add(&r->written, 1);
    return STATUS(OK);
}

static void on_peer(struct peer_io *peer)
{
    struct leg_io *const io = CONTAINER_OF(peer, struct leg_remote_io, peer)->io;
    struct remote_lane *const lane = &io->leg->remote->lanes[io->reactor->index];

    list_remove(&io->remote->link);
    lane->flying_count--;
    if (is_for_another_session(peer)) {
        if (!peer->lost && peer->number == lane->peer.number)
            peer_lane_detach(&lane->peer); /* That it is not ready may be all it has said. */
        if (!peer->lost && !lane->peer.up && lane->view.go)
            post_stale(lane);
        place(lane, io);
    } else if (status_is(peer->status, STATUS_BAD_DIGEST) && ++io->remote->tries < TRIES_MAX) {
        place(lane, io);
    } else {
        io->status = outcome(io);
        io->done(io);
    }
    return_msg(lane);
}

/* ---- On their way ---- */

static void watch(struct remote_lane *lane)
{
    struct reactor *const reactor = lane->peer.end->reactor;

    io_timer_arm(&lane->timer, reactor, reactor_now_ns(reactor) + lane->remote->tick_ns);
}

/* 6.1: as for being away, ticks are counted, not time. */
static void on_timer(struct io_timer *timer)
{
    struct remote_lane *const lane = CONTAINER_OF(timer, struct remote_lane, timer);
    const struct list_node *const first = list_first(&lane->flying);

    if (first == NULL)
        return;
    lane->ticks++;
    if (lane->ticks - CONTAINER_OF(first, const struct leg_remote_io, link)->flew > LATE_TICKS &&
        !atomic_exchange(&lane->late_posted, true))
        reactor_post(lane->remote->leg->reactor, &lane->late_msg);
    if (lane->view.closes)
        abandon(lane); /* Its data have moved, perhaps. */
    watch(lane);
}

static void fly(struct remote_lane *lane, struct leg_io *io)
{
    list_push_back(&lane->flying, &io->remote->link);
    lane->flying_count++;
    io->remote->flew = lane->ticks;
    if (!io_timer_armed(&lane->timer))
        watch(lane);
    io->store.generation = io->leg->generation;
    io->store.incarnation = lane->view.incarnation;
    io->remote->peer.store = io->confirm ? NULL : &io->store;
    io->remote->peer.done = on_peer;
    peer_submit(&lane->peer, &io->remote->peer);
}

static void place(struct remote_lane *lane, struct leg_io *io)
{
    const bool kept = lane->view.keeps && (!lane->view.late || leg_io_can_wait(io));

    if (lane->view.go && lane->peer.up)
        fly(lane, io);
    else if (kept)
        list_push_back(&lane->kept, &io->remote->link);
    else
        end_later(lane, io, lane->view.why);
}

void remote_submit(struct leg_io *io)
{
    struct remote *const r = io->leg->remote;
    struct remote_lane *const lane = &r->lanes[io->reactor->index];

    io->remote->io = io;
    list_node_init(&io->remote->link);
    io->remote->tries = 0;
    if (!atomic_load(&r->there)) {
        end_later(lane, io, STATUS(UNAVAILABLE));
        return;
    }
    io->written = atomic_load(&r->written);
    if (is_flush(io) && io->written == atomic_load(&r->flushed)) {
        end_later(lane, io, STATUS(OK));
        return;
    }
    if (is_change(io))
        atomic_max_u64(&r->tick_max, io->store.tick);
    place(lane, io);
}

/* ---- What home tells ---- */

static void resend(struct remote_lane *lane)
{
    struct list kept;
    struct list_node *n;

    list_init(&kept);
    list_splice_back(&kept, &lane->kept);
    while ((n = list_pop_front(&kept)) != NULL)
        place(lane, io_of(n));
}

void remote_lane_take(struct remote_lane *lane, const struct remote_view *view)
{
    const bool same = lane->peer.up && lane->peer.number == (uint32_t)view->ticket.number;

    lane->view = *view;
    lane->owes = true;
    if (!view->go)
        peer_lane_detach(&lane->peer);
    else if (!same)
        peer_lane_attach(&lane->peer, &view->ticket);
    if (view->abandons)
        abandon(lane);
    if (list_empty(&lane->flying))
        io_timer_disarm(&lane->timer);
    if (view->lost_flushes)
        end_kept_flushes(lane);
    if (lane->view.go && lane->peer.up)
        resend(lane);
    else if (!view->keeps || view->late)
        end_kept(lane, !view->keeps);
    return_msg(lane);
}

void remote_lane_init(struct remote *r, unsigned reactor)
{
    struct remote_lane *const lane = &r->lanes[reactor];

    lane->remote = r;
    peer_lane_init(&lane->peer, r->link, reactor);
    list_init(&lane->flying);
    list_init(&lane->kept);
    list_init(&lane->ended);
    io_task_init(&lane->task, on_task);
    io_timer_init(&lane->timer, on_timer);
    lane->stale_msg.deliver = stale_deliver;
    lane->late_msg.deliver = late_deliver;
}

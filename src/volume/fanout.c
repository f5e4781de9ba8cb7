/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece's way to the replicas of its copyset, and back.  It has its place in the overlap order
 * all the while.
 *
 *   read    one member after the other, until one has the blocks; then the others' leases (R7)
 *   others  all members at once, and a replica that is being resynced (9.1)
 *
 *     fanout_start --> advance --> legs --> on_leg --> advance ... --> on_fanned
 *                         |                              ^
 *                         v                              |
 *                       held -----(members change)-------+
 *
 * R1, R4: a write ends when every member has executed it.  A member that has not is reported; when
 * the engine has excluded it, which is committed by then (R2), the write ends without it.  What a
 * member refuses as it is full is taken back from the others, and refused (undo.h).
 *
 * A replica that is being resynced is not waited for: its part is a trail, which keeps the place in
 * the order when the piece has ended.  From when its admission begins it is waited for like a
 * member (9.8).
 *
 * A volume of one replica has nobody to exclude: its piece ends as its leg says.
 */
#include <assert.h>

#include "base/mutation.h"
#include "volume/volume_internal.h"

/* After so long without a refusal it is said again that a disk is full. */
#define FULL_QUIET_NS (60 * NS_PER_S)

static void advance(struct piece *p);
static void on_tied(struct piece *p, const struct leg_io *io);

static bool is_read(const struct piece *p)
{
    return p->legs[0].store.opcode == STORE_OP_READ;
}

static bool is_alone(const struct piece *p)
{
    return p->copyset->slice->replicas == 1;
}

static struct leg *leg_at(const struct copyset *cs, unsigned slot)
{
    return cs->slice->map->legs[cs->leg[slot]];
}

/* ---- Changes that are under way (9.2) ---- */

static void change_begin(struct piece *p)
{
    p->changes = true;
    p->era = p->copyset->era;
    p->copyset->changing++;
}

/* It is sent to a replica that has joined since it began, or has ended. */
static void change_drain(struct piece *p)
{
    struct copyset *const cs = p->copyset;

    if (p->era == cs->era)
        return;
    p->era = cs->era;
    resync_on_drained(cs);
}

static void change_end(struct piece *p)
{
    if (!p->changes)
        return;
    p->changes = false;
    p->copyset->changing--;
    change_drain(p);
}

/* With several replicas a repair finds out which blocks it is. */
static void look_at_unreadable(const struct piece *p, struct status status)
{
    const struct store_io *const io = &p->legs[0].store;
    struct slice *const s = p->copyset->slice;

    if (s->unreadable.count > 0 && status_ok(status))
        unreadable_forget(&s->unreadable, io->shard, io->offset, io->bytes);
    else if (is_alone(p) && status_is(status, STATUS_MEDIA_READ))
        unreadable_note(&s->unreadable, io->shard, io->offset, io->bytes);
}

static void finish(struct piece *p, struct status status)
{
    struct copyset *const cs = p->copyset;
    const unsigned others = (p->done | p->flowing) & ~(unsigned)cs->members;

    change_end(p);
    if (p->trail != NULL) {
        trail_take_place(p->trail, &p->order);
        p->place_given = true;
    }
    if (p->tick != 0)
        round_leave(p);
    if (p->unread != 0 && !p->repaired && !is_alone(p))
        repair_note(p);
    look_at_unreadable(p, status);
    p->status = status;
    p->on_fanned(p);
    if (others != 0 && !status_ok(status))
        resync_on_refused(cs, others, status); /* What the members have not, it may have. */
}

/* Ends a piece without sending it: on_fanned follows, off the caller's stack. */
static void refuse(struct piece *p, struct status status)
{
    struct slice *const s = p->copyset->slice;

    p->status = status;
    list_node_init(&p->link);
    list_push_back(&s->refused, &p->link);
    reactor_defer(s->reactor, &s->refuse_task);
}

void fanout_end_refused(struct io_task *task)
{
    struct slice *const s = CONTAINER_OF(task, struct slice, refuse_task);
    struct list refused;
    struct list_node *n;

    list_init(&refused);
    list_splice_back(&refused, &s->refused);
    while ((n = list_pop_front(&refused)) != NULL) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        p->on_fanned(p);
    }
}

/* ---- Waiting ---- */

/*
 * It waits for a change of members, or for its trail, and nothing else is on its way.  What it
 * waits for may be the admission of a replica to which its region is to be copied before (9.4), and
 * room for that.  It may go on in here.
 */
static void hold(struct piece *p)
{
    struct copyset *const cs = p->copyset;

    p->held = true;
    list_node_init(&p->link);
    list_push_back(&cs->held, &p->link);
    p->aside = p->trail == NULL && p->own_place && p->order.exclusive;
    if (p->tick != 0)
        round_write_set_aside(cs, &p->legs[0].store, &p->tick);
    if (p->aside)
        order_set_aside(cs->slice->order, &p->order);
}

/* It goes on.  Its regions are known, as no round has closed them; if not, it is begun anew. */
static void unhold(struct piece *p)
{
    p->held = false;
    if (p->changes && !round_enter_again(p))
        p->again = true;
}

/* ---- To the legs ---- */

static void take_answer(struct piece *p, unsigned slot, struct status status)
{
    const uint8_t bit = (uint8_t)(1u << slot);

    if (status_ok(status)) {
        p->done |= bit;
    } else if (status_is(status, STATUS_LIST_FULL) && p->changes) {
        p->again = true;
    } else {
        p->failed |= bit;
        p->status = status;
        p->unread |= is_read(p) && status_is(status, STATUS_MEDIA_READ) ? bit : 0;
    }
    if (p->pending == 0 && !p->undoing)
        advance(p);
}

/* A replica that is being resynced has answered, for which there was no trail. */
static void on_tied(struct piece *p, const struct leg_io *io)
{
    struct copyset *const cs = p->copyset;
    const struct leg *const leg = io->leg;
    const struct status status = io->status;

    p->tied &= (uint8_t) ~(1u << io->slot);
    take_answer(p, io->slot, status); /* The piece may be gone. */
    resync_on_answer(cs, leg, status, false);
}

void fanout_on_trail(struct piece *p, unsigned slot, struct status status)
{
    p->trail = NULL;
    p->flowing &= (uint8_t) ~(1u << slot);
    if (p->held) {
        list_remove(&p->link);
        unhold(p);
    }
    p->legs[slot].status = status;
    if (!status_is(status, STATUS_CANCELED))
        take_answer(p, slot, status);
    else if (p->pending == 0 && !p->undoing)
        advance(p); /* It was not sent: if it is a member by now, it is sent as to one. */
}

static void note_time(const struct piece *p, const struct leg_io *io)
{
    struct copyset *const cs = p->copyset;

    if (p->changes && status_ok(io->status) && (cs->members >> io->slot & 1) != 0 &&
        p->turn == cs->turn)
        outlier_note(cs, io->slot, reactor_now_ns(cs->slice->reactor) - p->sent_ns);
}

static void on_leg(struct leg_io *io)
{
    struct piece *const p = io->owner;
    const uint8_t bit = (uint8_t)(1u << io->slot);

    assert((p->pending & bit) != 0);
    p->pending &= (uint8_t)~bit;
    p->stranded |= io->stranded;
    io->stranded = false;
    if ((p->tied & bit) != 0) {
        on_tied(p, io);
        return;
    }
    note_time(p, io);
    take_answer(p, io->slot, io->status);
}

static void send_to(struct piece *p, unsigned slots)
{
    p->pending = (uint8_t)slots; /* None of them answers before all are on their way. */
    p->sent_ns = reactor_now_ns(p->copyset->slice->reactor);
    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        struct leg_io *const io = &p->legs[slot];
        if ((slots >> slot & 1) == 0)
            continue;
        io->owner = p;
        io->slot = slot;
        io->leg = leg_at(p->copyset, slot);
        io->pool = p->pool;
        io->store.copyset = (uint16_t)p->copyset->number;
        io->reactor = p->copyset->slice->reactor;
        io->done = on_leg;
        leg_submit(io);
    }
}

unsigned fanout_reachable(const struct copyset *cs, unsigned slots)
{
    unsigned reached = 0;

    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        const struct leg *const leg = leg_at(cs, slot);
        if ((slots >> slot & 1) != 0 && leg_is_there(leg) && !leg_is_parted(leg) &&
            !members_is_passed_over(leg))
            reached |= 1u << slot;
    }
    return reached;
}

/* Members without which the piece cannot go on. */
static void report(const struct piece *p, unsigned slots)
{
    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        if ((slots >> slot & 1) == 0)
            continue;
        const bool answered = (p->failed >> slot & 1) != 0;
        members_report(p->copyset->slice->volume, leg_at(p->copyset, slot),
                       answered ? p->legs[slot].status : STATUS(UNAVAILABLE));
    }
}

/* ---- Reading ---- */

/* Of some slots of other nodes, those that have least to do for this reactor. */
static unsigned least_loaded(const struct copyset *cs, unsigned slots)
{
    uint32_t least = UINT32_MAX;
    unsigned chosen = slots;

    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        if ((slots >> slot & 1) == 0)
            continue;
        const uint32_t load = leg_load(leg_at(cs, slot), cs->slice->reactor);
        chosen = (load < least ? 0 : chosen) | (load <= least ? 1u << slot : 0);
        least = load < least ? load : least;
    }
    return chosen & slots;
}

unsigned fanout_up(const struct copyset *cs, unsigned slots)
{
    unsigned up = 0;

    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        if ((slots >> slot & 1) != 0 && leg_takes(leg_at(cs, slot), cs->slice->reactor))
            up |= 1u << slot;
    }
    return up != 0 ? up : slots;
}

unsigned fanout_well(const struct copyset *cs, unsigned slots)
{
    unsigned well = 0;

    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        if ((slots >> slot & 1) != 0 && !leg_is_suspect(leg_at(cs, slot)))
            well |= 1u << slot;
    }
    return well != 0 ? well : slots;
}

unsigned fanout_in_turn(unsigned slots, uint32_t shard, uint64_t offset)
{
    const unsigned count = (unsigned)__builtin_popcount(slots);
    const uint64_t turn = offset / STORE_REGION_BYTES + shard;

    for (unsigned skip = (unsigned)(turn % count); skip > 0; skip--)
        slots &= slots - 1;
    return slots & -slots;
}

/*
 * 8.1  One of these slots: of a disk that is well, if there is one; on this reactor, if there is
 * one; else on this node; else who has least to do.  Where there is a choice, they take turns by
 * address, so that what is read in a row comes from one disk.
 */
static unsigned choose_source(const struct piece *p, unsigned among)
{
    const struct copyset *const cs = p->copyset;
    const struct store_io *const io = &p->legs[0].store;
    const unsigned slots = fanout_well(cs, among);
    const unsigned local = slots & ~(unsigned)cs->remote;

    for (unsigned slot = 0; local >> slot != 0; slot++) {
        const bool here =
            (local >> slot & 1) != 0 && leg_at(cs, slot)->reactor == cs->slice->reactor;
        if (here)
            return 1u << slot;
    }
    return fanout_in_turn(local != 0 ? local : least_loaded(cs, slots), io->shard, io->offset);
}

/* 8.2: not before the other members have confirmed that there is no newer engine. */
static void complete_read(struct piece *p)
{
    if (confirm_admits(p))
        finish(p, STATUS(OK));
    else if (p->pending == 0)
        hold(p); /* Nobody can be asked. */
}

void fanout_confirmed(struct piece *p)
{
    const bool turned = p->turn != p->copyset->turn;

    if ((p->unconfirmed & (p->copyset->members | p->copyset->joint)) != 0 && !turned &&
        !p->copyset->slice->fenced)
        hold(p); /* Until it is excluded. */
    else
        advance(p);
}

static unsigned failed_with(const struct piece *p, enum status_code code)
{
    unsigned slots = 0;

    for (unsigned slot = 0; p->failed >> slot != 0; slot++) {
        if ((p->failed >> slot & 1) != 0 && p->legs[slot].status.code == code)
            slots |= 1u << slot;
    }
    return slots;
}

/* Who has refused the piece, as a newer engine has sealed it there. */
static unsigned overtaken_at(const struct piece *p)
{
    return failed_with(p, STATUS_STALE_EPOCH);
}

/* Members that may have what they were not asked for: leg_part(). */
static unsigned unasked_at(const struct piece *p)
{
    const unsigned answered = p->failed & ~failed_with(p, STATUS_UNAVAILABLE);

    return p->copyset->members & ~answered;
}

/* No member is left that could be asked. */
static void advance_unread(struct piece *p)
{
    const unsigned overtaken = overtaken_at(p);
    const unsigned waited_for = overtaken | unasked_at(p);

    if (is_alone(p)) {
        finish(p, overtaken != 0 ? STATUS(FENCED) : p->status);
    } else if (waited_for == 0) {
        finish(p, p->status);
    } else {
        report(p, waited_for);
        hold(p); /* Until it is there, or the engine is fenced (7.8). */
    }
}

static void advance_read(struct piece *p)
{
    const unsigned in =
        MUTATION(READ_OUT) ? (1u << p->copyset->slice->replicas) - 1 : p->copyset->members;
    const unsigned left = fanout_reachable(p->copyset, in & ~p->failed);

    if (p->done != 0)
        complete_read(p);
    else if (p->stranded)
        finish(p, STATUS(TIMED_OUT)); /* 6.7: nothing may be read into its memory any more. */
    else if (left != 0)
        send_to(p, choose_source(p, left));
    else if (p->failed != 0)
        advance_unread(p);
    else
        hold(p); /* No member is there. */
}

/* ---- Changing ---- */

/* Members that have no space for it (11.1). */
static unsigned full_at(const struct piece *p)
{
    return failed_with(p, STATUS_NO_SPACE) & p->copyset->members;
}

bool fanout_may_be_done(const struct piece *p)
{
    return ((p->done | p->flowing) & p->copyset->joint) != 0 && resync_is_admitting(p->copyset);
}

/* What a replica said that was being resynced before counts for nothing. */
static void forget_old_era(struct piece *p)
{
    if (p->era == p->copyset->era)
        return;
    p->done &= p->copyset->members;
    p->failed &= p->copyset->members;
}

/* To a replica that is being resynced as a trail, if there is one, and to the others. */
static void send_change(struct piece *p, unsigned slots)
{
    struct copyset *const cs = p->copyset;
    const unsigned joining = slots & cs->joining;

    if (joining != 0 && joining != cs->joint && p->own_place &&
        trail_start(p, (unsigned)__builtin_ctz(joining))) {
        p->flowing |= (uint8_t)joining;
        slots &= ~joining;
    } else if (joining != 0) {
        p->tied |= (uint8_t)joining;
        cs->flowing++;
    }
    if (slots != 0)
        send_to(p, slots);
    if (joining != 0)
        change_drain(p);
}

/* These members have refused a write, as they are full. */
static void note_full(const struct copyset *cs, unsigned slots)
{
    struct slice *const s = cs->slice;
    const uint64_t now_ns = reactor_now_ns(s->reactor);

    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        if ((slots >> slot & 1) == 0)
            continue;
        struct leg_call *const call = CONTAINER_OF(leg_at(cs, slot), struct leg_call, leg);
        const uint64_t quiet_ns = atomic_exchange(&call->members.quiet_ns, now_ns + FULL_QUIET_NS);
        if (now_ns >= quiet_ns)
            log_warning(s->volume->log,
                        "volume '%s': disk '%s' is full: writes that need space there are refused",
                        s->volume->desc.name, call->disk);
    }
}

/* 11.1: the other members have executed it. */
static void advance_full(struct piece *p, unsigned full)
{
    if (fanout_may_be_done(p)) {
        hold(p); /* Until it is known whether it is a member. */
    } else {
        note_full(p->copyset, full);
        if (MUTATION(FULL_NOT_UNDONE))
            finish(p, STATUS(NO_SPACE));
        else
            undo_begin(p, full);
    }
}

/* Nothing is on the way to a member. */
static void advance_stuck(struct piece *p, unsigned missing)
{
    const unsigned full = MUTATION(FULL_IS_EXCLUDED) ? 0 : full_at(p);

    if (is_alone(p)) {
        note_full(p->copyset, full);
        finish(p, overtaken_at(p) != 0 ? STATUS(FENCED) : p->status);
    } else if (full != 0 && (missing & p->copyset->members & ~full) == 0) {
        advance_full(p, full);
    } else if (MUTATION(ACK_BEFORE_COMMIT) && p->done != 0) {
        report(p, missing);
        finish(p, STATUS(OK));
    } else {
        report(p, missing & p->copyset->members & ~full);
        hold(p);
    }
}

/* The replica that is being resynced is not left out, though it is away: it has to fail then. */
static unsigned joined(const struct copyset *cs, unsigned slots)
{
    const unsigned joining = slots & cs->joining;

    return joining != 0 && leg_is_there(leg_at(cs, (unsigned)__builtin_ctz(joining))) ? joining : 0;
}

static void advance_change(struct piece *p)
{
    struct copyset *const cs = p->copyset;

    forget_old_era(p);
    const unsigned missing = (cs->members | cs->joint) & ~(unsigned)p->done;
    const unsigned unsent = (missing | cs->joining) & ~(unsigned)(p->done | p->failed | p->flowing);
    const unsigned fresh = fanout_reachable(cs, unsent) | joined(cs, unsent);

    if (p->again && p->trail == NULL) {
        change_end(p);
        round_wait(p); /* Then it is sent again, to all: twice is once. */
    } else if (p->again) {
        hold(p); /* Until the trail is answered, which may wait for a round. */
    } else if (missing == 0) {
        finish(p, STATUS(OK));
    } else if (fresh != 0) {
        send_change(p, fresh);
        if (p->pending == 0)
            advance(p); /* There was nothing but a trail to be sent. */
    } else if ((missing & ~(unsigned)p->flowing) == 0) {
        hold(p); /* Likewise. */
    } else {
        advance_stuck(p, missing);
    }
}

/*
 * 9.21: a slot has another disk than when it was heard.  False: that disk has yet to answer a
 * trail; until then nothing else may go there (R8).
 */
static bool forget_turned(struct piece *p)
{
    if (p->turn == p->copyset->turn)
        return true;
    if (p->trail != NULL)
        return false;
    p->turn = p->copyset->turn;
    p->done = 0;
    p->failed = 0;
    if (is_read(p))
        confirm_begin(p);
    return true;
}

static void advance(struct piece *p)
{
    assert(p->pending == 0);
    if (p->copyset->slice->fenced)
        finish(p, STATUS(FENCED));
    else if (!forget_turned(p))
        hold(p); /* Without its tick: the trail may wait for a round. */
    else if (is_read(p))
        advance_read(p);
    else
        advance_change(p);
}

/* ---- The interface ---- */

void fanout_undone(struct piece *p, struct status status)
{
    p->undoing = false;
    finish(p, status);
}

void fanout_undone_in_vain(struct piece *p)
{
    p->undoing = false;
    p->again = true;
    advance(p);
}

void fanout_start(struct piece *p)
{
    const struct leg *const first = leg_at(p->copyset, 0);

    assert(reactor_is_current(p->copyset->slice->reactor));
    p->pending = 0;
    p->done = 0;
    p->failed = 0;
    p->turn = p->copyset->turn;
    p->tick = 0;
    p->again = false;
    p->unread = 0;
    p->flowing = 0;
    p->tied = 0;
    p->stranded = false;
    p->held = false;
    p->aside = false;
    p->resuming = false;
    p->undoing = false;
    p->changes = false;
    p->trail = NULL;
    if (is_read(p))
        confirm_begin(p);
    if (p->copyset->slice->fenced) {
        refuse(p, STATUS(FENCED));
    } else if (is_alone(p) && !leg_is_there(first)) {
        refuse(p, first->problem);
    } else if (is_alone(p) || is_read(p)) {
        advance(p);
    } else if (round_enter(p)) {
        change_begin(p);
        advance(p);
    }
}

/* Who was passed is sent to all again: a member that lacks it may be what was copied from. */
static void resume(struct piece *p)
{
    p->aside = false;
    p->resuming = false;
    if (p->order.passed) {
        p->done = 0;
        p->failed = 0;
    }
    unhold(p);
    advance(p);
}

static void on_resumed(struct order_entry *entry)
{
    struct piece *const p = CONTAINER_OF(entry, struct piece, order);

    list_remove(&p->link);
    resume(p);
}

static void held_go_on_one(struct piece *p)
{
    struct copyset *const cs = p->copyset;

    if (!p->aside) {
        unhold(p);
        advance(p);
        return;
    }
    p->order.granted = on_resumed;
    if (!p->resuming && order_resume(cs->slice->order, &p->order)) {
        resume(p);
        return;
    }
    p->resuming = true;
    list_push_back(&cs->held, &p->link);
    round_keep_open(p); /* One may have begun while it was in no list. */
}

/* again: also what they have answered with an error is asked for once more. */
static void held_go_on(struct copyset *cs, bool again)
{
    struct list held;
    struct list_node *n;

    list_init(&held);
    list_splice_back(&held, &cs->held);
    while ((n = list_pop_front(&held)) != NULL) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        if (again)
            p->failed = 0;
        held_go_on_one(p);
    }
}

void fanout_members_changed(struct copyset *cs)
{
    held_go_on(cs, false);
    if (cs->slice->fenced)
        settling_stop(cs);
    round_waiting_go_on(cs);
    undo_go_on(cs);
    resync_run(cs);
}

void fanout_retry(struct slice *s)
{
    for (uint32_t i = 0; i < s->map->copyset_count && !s->fenced; i++) {
        struct copyset *const cs = s->map->copysets[i];
        if (cs->slice != s)
            continue;
        held_go_on(cs, true);
        undo_go_on(cs);
        settling_run(cs);
    }
}

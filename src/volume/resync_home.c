/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/resync_home.h"

#include <assert.h>
#include <stdio.h>

#include "volume/volume_internal.h"

void resync_home_init(struct resync_home *h)
{
    *h = (struct resync_home) { 0 };
    list_node_init(&h->link);
}

static struct leg_call *call_of(const struct volume *v, const struct copyset *cs, unsigned slot)
{
    return v->calls[cs->home_leg[slot]];
}

/* ---- Beginning ---- */

static void on_start(struct io_msg *msg)
{
    struct copyset *const cs = CONTAINER_OF(msg, struct copyset, home.start_msg);
    const struct resync_home *const h = &cs->home;

    if (h->slot == copyset_spare(cs))
        replace_take_leg(cs, h->slot, h->leg);
    resync_start(cs, h->slot, h->place, h->whole, h->shunned);
}

static struct resync_delay *delay_of(struct copyset *cs, unsigned slot)
{
    return slot == copyset_spare(cs) ? &cs->home.spare : &cs->home.slots;
}

/* It was reported as it did not answer. */
static bool was_silent(const struct leg_call *call)
{
    return status_is(call->members.why, STATUS_UNAVAILABLE) ||
           status_is(call->members.why, STATUS_TIMED_OUT);
}

/* The same, or it has no session since. */
static bool is_silent(const struct leg_call *call)
{
    return was_silent(call) || (call->leg.remote != NULL && !leg_is_up(&call->leg));
}

/* Whether what is under way is a move, to the spare slot (9.19). */
static bool is_spare(const struct copyset *cs)
{
    return cs->home.busy && cs->home.slot == copyset_spare(cs);
}

/*
 * A slot that is out and whose leg has a session.  They take turns: one whose disk fails again and
 * again does not keep back the other.
 */
static bool find_slot(const struct volume *v, const struct copyset *cs, unsigned *out_slot)
{
    const struct group_copyset *const set = &v->members.group->copysets[cs->number];

    if (cs->number >= v->members.group->copyset_count)
        return false; /* Of a growth that came to nothing. */
    for (unsigned i = 1; i <= v->desc.replicas; i++) {
        const unsigned slot = (cs->home.slot + i) % v->desc.replicas;
        const struct leg_call *const call = call_of(v, cs, slot);
        if (set->slots[slot].state != GROUP_SLOT_OUT || call->opening || !leg_is_up(&call->leg) ||
            call->members.suspect)
            continue;
        *out_slot = slot;
        return true;
    }
    return false;
}

/* 9.19: a member that is to be moved to another disk, which has a session. */
static bool find_spare(const struct volume *v, const struct copyset *cs, unsigned *out_slot)
{
    *out_slot = copyset_spare(cs);
    return cs->number < v->members.group->copyset_count && replace_moves(v, cs);
}

/*
 * 11.4: members that are suspected and could not be excluded are not asked, nor waited for: one
 * may leave by the change that admits the replica.  Nobody else is left, or it is a move: all are.
 */
static unsigned shun(const struct volume *v, const struct copyset *cs)
{
    const unsigned members = group_members(v->members.group, cs->number);
    unsigned shunned = 0;

    for (unsigned slot = 0; members >> slot != 0; slot++)
        if ((members >> slot & 1) != 0 && call_of(v, cs, slot)->members.suspect)
            shunned |= 1u << slot;
    return shunned != members ? shunned : 0;
}

static void part_silent(const struct volume *v, const struct copyset *cs, unsigned slots)
{
    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        struct leg_call *const call = call_of(v, cs, slot);
        if ((slots >> slot & 1) != 0 && is_silent(call))
            leg_part(&call->leg);
    }
}

bool resync_home_may_part(const struct volume *v, const struct leg_call *call)
{
    unsigned slot;

    for (uint32_t i = 0; i < v->copyset_count && is_silent(call); i++) {
        const struct copyset *const cs = v->copysets[i];
        if (cs->home.busy && !is_spare(cs) &&
            group_find(v->members.group, cs->number, call->uuid, &slot) &&
            (group_members(v->members.group, cs->number) >> slot & 1) != 0)
            return true;
    }
    return false;
}

static void begin(struct volume *v, struct copyset *cs, unsigned slot)
{
    struct resync_home *const h = &cs->home;
    const bool spare = slot == copyset_spare(cs);

    if (spare)
        cs->home_leg[slot] = cs->replace.leg;
    struct leg_call *const call = call_of(v, cs, slot);
    call->members.told = false;
    h->busy = true;
    h->given_up = false;
    h->committed = false;
    h->slot = slot;
    h->place = spare ? cs->replace.slot : slot;
    h->leg = cs->home_leg[slot];
    h->shunned = spare ? 0 : (uint8_t)shun(v, cs);
    part_silent(v, cs, h->shunned);
    h->whole = spare || v->members.group->copysets[cs->number].slots[slot].whole;
    if (spare)
        log_info(v->log,
                 "volume '%s': copyset %u: the replica of disk '%s' is being moved to disk '%s'",
                 v->desc.name, cs->number, call_of(v, cs, h->place)->disk, call->disk);
    else
        log_info(v->log, "volume '%s': disk '%s': copyset %u is being resynced", v->desc.name,
                 call->disk, cs->number);
    h->start_msg.deliver = on_start;
    reactor_post(cs->slice->reactor, &h->start_msg);
}

/* 9.19: who is out comes first.  The move may be waiting for a member that does not answer. */
static void make_way(struct volume *v, struct copyset *cs)
{
    resync_home_unwanted(v, cs);
    if (cs->home.given_up)
        part_silent(v, cs, shun(v, cs));
}

void resync_plan(struct volume *v)
{
    const uint64_t now_ns = reactor_now_ns(v->home);
    uint64_t next_ns = UINT64_MAX;
    unsigned slot, busy = 0;

    if (v->desc.replicas == 1 || v->sm.now != VOL_READY || !members_are_known(v))
        return;
    for (uint32_t i = 0; i < v->copyset_count; i++)
        busy += v->copysets[i]->home.busy ? 1 : 0;
    for (uint32_t i = 0; i < v->copyset_count && busy < VOLUME_RESYNCS_MAX; i++) {
        struct copyset *const cs = v->copysets[i];
        if (is_spare(cs) && find_slot(v, cs, &slot) && cs->home.slots.again_ns <= now_ns)
            make_way(v, cs);
        if (cs->home.busy || !(find_slot(v, cs, &slot) || find_spare(v, cs, &slot)))
            continue;
        const uint64_t again_ns = delay_of(cs, slot)->again_ns;
        if (again_ns > now_ns || atomic_load(&cs->home.stopping)) {
            next_ns = min_u64(next_ns, max_u64(again_ns, now_ns + NS_PER_MS));
            continue;
        }
        begin(v, cs, slot);
        busy++;
    }
    if (next_ns < UINT64_MAX)
        io_timer_arm(&v->resync_timer, v->home, next_ns);
}

void resync_home_on_timer(struct io_timer *timer)
{
    resync_plan(CONTAINER_OF(timer, struct volume, resync_timer));
}

/* Later, and later with each failure that follows soon after the one before. */
static void put_off(const struct volume *v, struct resync_delay *d, uint64_t first_ns)
{
    const uint64_t now_ns = reactor_now_ns(v->home);

    if (d->again_ns > now_ns)
        return; /* The same failure, in another form. */
    const bool seldom = d->delay_ns == 0 || now_ns - d->failed_ns > VOLUME_RESYNC_FORGET_NS;

    d->delay_ns = seldom ? first_ns : min_u64(d->delay_ns * 2, VOLUME_RESYNC_AGAIN_MAX_NS);
    d->failed_ns = now_ns;
    d->again_ns = now_ns + d->delay_ns;
}

/* Who leaves by the next change was merely not to be reached. */
static bool is_away(const struct leg_call *leaving)
{
    return leaving != NULL && leaving->leg.remote != NULL && was_silent(leaving);
}

void resync_home_excluded(struct volume *v)
{
    const struct members *const m = &v->members;
    const uint64_t first_ns = is_away(m->leaving) ? VOLUME_RESYNC_AWAY_NS : VOLUME_RESYNC_AGAIN_NS;

    for (uint32_t i = 0; i < v->copyset_count && v->sm.now == VOL_READY; i++) {
        const uint32_t number = v->copysets[i]->number;
        if (number < m->group->copyset_count &&
            (group_members(m->group, number) & ~group_members(m->next, number)) != 0) {
            put_off(v, &v->copysets[i]->home.slots, first_ns);
            resync_home_unwanted(v, v->copysets[i]); /* What is out comes first. */
        }
    }
}

/* ---- Giving up ---- */

static void on_stop(struct io_msg *msg)
{
    struct copyset *const cs = CONTAINER_OF(msg, struct copyset, home.stop_msg);

    atomic_store(&cs->home.stopping, false);
    resync_stop(cs);
}

static void give_up(struct copyset *cs)
{
    struct resync_home *const h = &cs->home;

    h->given_up = true;
    if (list_node_linked(&h->link))
        list_remove(&h->link);
    if (atomic_exchange(&h->stopping, true))
        return;
    h->stop_msg.deliver = on_stop;
    reactor_post(cs->slice->reactor, &h->stop_msg);
}

void resync_home_unwanted(struct volume *v, struct copyset *cs)
{
    if (is_spare(cs) && v->members.admitting != cs && !cs->home.committed)
        give_up(cs);
}

bool resync_home_needs(const struct volume *v, const struct leg_call *call)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        if (cs->home.busy && !cs->home.given_up && call_of(v, cs, cs->home.slot) == call)
            return true;
    }
    return false;
}

void resync_home_failed(struct volume *v, const struct leg_call *call)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        struct copyset *const cs = v->copysets[i];
        const bool concerns = cs->home.busy && call_of(v, cs, cs->home.slot) == call;
        if (concerns && v->members.admitting != cs && !cs->home.committed)
            give_up(cs);
    }
}

void resync_home_fence(struct volume *v)
{
    io_timer_disarm(&v->resync_timer);
    while (list_pop_front(&v->members.admissions) != NULL) {
    }
}

/* ---- 9.9: admission ---- */

static void on_wish(struct io_msg *msg)
{
    struct copyset *const cs = CONTAINER_OF(msg, struct copyset, home.wish_msg);
    struct volume *const v = cs->slice->volume;

    if (cs->home.given_up || v->members.fenced)
        return; /* The slice hears of it. */
    list_push_back(&v->members.admissions, &cs->home.link);
    members_go_on(v);
}

void resync_home_on_wish(struct copyset *cs)
{
    cs->home.wish_msg.deliver = on_wish;
    reactor_post(cs->slice->volume->home, &cs->home.wish_msg);
}

/* 11.4: who was not told what the admission rests on leaves by it, and nobody else does. */
static bool may_leave(const struct volume *v, const struct copyset *cs, unsigned untold,
                      struct group_reason *reason)
{
    const struct leg_call *const call = call_of(v, cs, (unsigned)__builtin_ctz(untold));
    const bool one = (untold & (untold - 1)) == 0;

    if (one && call->members.suspect && !is_spare(cs))
        return true;
    (void)snprintf(reason->s, sizeof reason->s, "disk '%s' %s", call->disk,
                   call->members.suspect ? "does not answer" : "is back");
    return false;
}

static struct status MUST_CHECK make_record(struct volume *v, const struct copyset *cs,
                                            struct group_session *items,
                                            struct group_reason *reason)
{
    struct members *const m = &v->members;
    struct group_admission admission = { .copyset = cs->number,
                                         .slot = cs->home.slot,
                                         .incarnation = cs->resync.incarnation };
    const unsigned untold = group_members(m->group, cs->number) & ~cs->resync.told;
    struct group_view view;

    if (untold != 0) {
        if (!may_leave(v, cs, untold, reason))
            return STATUS(UNAVAILABLE);
        admission.leaving = (unsigned)__builtin_ctz(untold);
        admission.replaces = true;
        members_view(v, items, &view);
        return group_admit(m->group, &view, &admission, m->next, reason);
    }
    members_view_all(v, items, &view);
    if (is_spare(cs)) {
        const struct group_replacement move = { cs->number, cs->home.place,
                                                v->calls[cs->home.leg]->uuid };
        return group_move(m->group, &view, &move, cs->resync.incarnation, m->next, reason);
    }
    return group_admit(m->group, &view, &admission, m->next, reason);
}

bool resync_home_admit(struct volume *v, struct group_session *items)
{
    struct members *const m = &v->members;
    struct list_node *n;

    while ((n = list_pop_front(&m->admissions)) != NULL) {
        struct copyset *const cs = CONTAINER_OF(n, struct copyset, home.link);
        struct leg_call *const call = call_of(v, cs, cs->home.slot);
        struct group_reason reason = { "it is suspected" };
        if (!call->members.suspect && status_ok(make_record(v, cs, items, &reason))) {
            /* As a member: another incarnation would be reported from now on. */
            leg_keep(&call->leg, true);
            m->admitting = cs;
            if (is_spare(cs))
                replace_on_move(cs);
            members_change(v, NULL);
            return true;
        }
        log_warning(v->log, "volume '%s': disk '%s' is not in sync again: %s", v->desc.name,
                    call->disk, reason.s);
        give_up(cs);
    }
    return false;
}

/* Who was excluded again before the slices have heard that it was admitted is out. */
void resync_home_changed(struct volume *v, bool spread)
{
    for (uint32_t i = 0; i < v->copyset_count && spread; i++) {
        struct copyset *const cs = v->copysets[i];
        if (!cs->home.busy || !cs->home.committed)
            continue;
        if ((group_members(v->members.group, cs->number) >> cs->home.place & 1) == 0)
            give_up(cs);
    }
}

/* ---- 3.7.6 ---- */

bool resync_home_record_cut(struct volume *v)
{
    struct members *const m = &v->members;
    struct group_reason reason;

    for (uint32_t i = 0; i < v->copyset_count; i++) {
        struct copyset *const cs = v->copysets[i];
        struct resync_home *const h = &cs->home;
        if (!h->cut)
            continue;
        h->cut = false;
        if (!status_ok(group_reclaim(m->group, cs->number, h->slot, m->next, &reason)) ||
            m->next->sequence == m->group->sequence)
            continue; /* It has another disk by now. */
        h->slots = (struct resync_delay) { 0 };
        log_warning(
            v->log,
            "volume '%s': copyset %u: all of it is copied anew to disk '%s': that one, or a "
            "member, has lost what it had confirmed as durable",
            v->desc.name, cs->number, call_of(v, cs, h->slot)->disk);
        members_change(v, NULL);
        return true;
    }
    return false;
}

/* ---- The end ---- */

/* Where it has got its slot, replace.c says so. */
static void on_spare_end(struct volume *v, struct copyset *cs)
{
    struct resync_home *const h = &cs->home;

    replace_on_end(v, cs);
    if (status_ok(h->outcome) || v->members.fenced)
        return;
    members_spare_flushes(v);
    put_off(v, &h->spare, VOLUME_RESYNC_AGAIN_NS);
    log_warning(v->log, "volume '%s': copyset %u: nothing was moved to disk '%s': %s", v->desc.name,
                cs->number, v->calls[h->leg]->disk, status_text(h->outcome));
}

static void on_end(struct io_msg *msg)
{
    struct copyset *const cs = CONTAINER_OF(msg, struct copyset, home.end_msg);
    struct resync_home *const h = &cs->home;
    struct volume *const v = cs->slice->volume;
    const char *const disk = call_of(v, cs, h->slot)->disk;

    assert(h->busy);
    assert(!list_node_linked(&h->link));
    h->busy = false;
    h->committed = false;
    call_of(v, cs, h->slot)->members.regions_resynced += h->regions_ended;
    if (h->slot == copyset_spare(cs)) {
        on_spare_end(v, cs);
    } else if (status_ok(h->outcome)) {
        log_info(v->log, "volume '%s': disk '%s': copyset %u is in sync again", v->desc.name, disk,
                 cs->number);
    } else if (!v->members.fenced) {
        h->cut = status_is(h->outcome, STATUS_POINT_LOST);
        members_spare_flushes(v);
        put_off(v, &h->slots, VOLUME_RESYNC_AGAIN_NS);
        log_warning(v->log,
                    "volume '%s': disk '%s': copyset %u stays out of sync: %s; again in "
                    "%llu s",
                    v->desc.name, disk, cs->number, status_text(h->outcome),
                    (unsigned long long)(h->slots.delay_ns / NS_PER_S));
    }
    members_go_on(v);
}

void resync_home_on_end(struct copyset *cs, struct status outcome)
{
    cs->home.outcome = outcome;
    cs->home.end_msg.deliver = on_end;
    reactor_post(cs->slice->volume->home, &cs->home.end_msg);
}

/* ---- A disk that is there again ---- */

static void returned_on_home(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);
    struct volume *const v = call->volume;

    call->opening = false;
    v->openings--;
    if (v->members.fenced) {
        members_fence(v); /* The close waits for it. */
        return;
    }
    if (!group_has_member(v->members.group, call->uuid))
        leg_keep(&call->leg, false); /* Nobody waits for it. */
    if (!leg_is_there(&call->leg)) {
        log_warning(v->log, "volume '%s': disk '%s' cannot be copied to: %s", v->desc.name,
                    call->disk, status_text(call->leg.problem));
        return;
    }
    members_go_on(v);
}

static void returned_on_session(void *ctx)
{
    struct leg_call *const call = ctx;

    if (!members_is_passed_over(&call->leg)) /* It is out: members have what it may have lost. */
        leg_forget_loss(&call->leg);
    call->open_msg.deliver = returned_on_home;
    reactor_post(call->volume->home, &call->open_msg);
}

static void returned_deliver(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);

    leg_open(&call->leg, &call->volume->desc, call->volume->epoch, returned_on_session, call);
}

void resync_home_open(struct volume *v, struct leg_call *call)
{
    assert(!call->opening);
    call->opened = true;
    call->opening = true;
    v->openings++;
    volume_leg_must_know(v, call);
    call->open_msg.deliver = returned_deliver;
    reactor_post(call->leg.reactor, &call->open_msg);
}

static void open_again(struct volume *v, struct leg_call *call, const struct volume_disk *disk)
{
    leg_init(&call->leg, disk->store, disk->reactor, v->desc.continue_on_unflushed_loss,
             &v->losses);
    call->leg.has_peers = true;
    leg_watch(&call->leg, v->home, v->patience_ns, &members_leg_ops);
    resync_home_open(v, call);
}

/* At once, whatever has happened before. */
static void forget_delays(struct volume *v, const struct leg_call *call)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        for (unsigned slot = 0; slot < v->desc.replicas; slot++) {
            if (call_of(v, v->copysets[i], slot) != call)
                continue;
            v->copysets[i]->home.slots = (struct resync_delay) { 0 };
        }
    }
}

struct status volume_leg_returned(struct volume *v, const struct volume_disk *disk)
{
    assert(reactor_is_current(v->home));
    if (v->desc.replicas == 1)
        return STATUS(UNSUPPORTED);
    if (v->members.fenced || v->members.group == NULL)
        return STATUS(FENCED);
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (!uuid_equal(call->uuid, disk->uuid) || call->retired)
            continue;
        if (v->sm.now != VOL_READY || call->opening)
            return STATUS(BUSY);
        forget_delays(v, call);
        if (leg_is_there(&call->leg) || call->leg.remote != NULL)
            resync_plan(v);
        else if (disk->store == NULL)
            return STATUS(UNAVAILABLE);
        else
            open_again(v, call, disk);
        return STATUS(OK);
    }
    return STATUS(NOT_FOUND);
}

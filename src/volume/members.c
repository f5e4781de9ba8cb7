/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --> (ASKING --> IDLE) --> COMMITTING --> SETTING --> SPREADING --> IDLE
 *                                      |
 *                                      +--(another engine's record)--> SPREADING, fenced
 */
#include "volume/members.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "volume/volume_internal.h"

static void ask_again(struct volume *v, struct leg *leg);
static void members_run(struct volume *v);
static void on_anew_timer(struct io_timer *timer);
static void on_again_timer(struct io_timer *timer);
static void round_return(struct volume *v);

struct status members_init(struct members *m, const struct group *group,
                           const struct volume_meta_ops *meta, void *meta_ctx)
{
    *m = (struct members) { .meta = meta, .meta_ctx = meta_ctx };
    list_init(&m->held);
    list_init(&m->delayed);
    list_init(&m->admissions);
    alive_init(&m->alive);
    io_timer_init(&m->anew_timer, on_anew_timer);
    io_timer_init(&m->again_timer, on_again_timer);
    if (group == NULL)
        return STATUS(OK);
    m->group = malloc(sizeof *m->group);
    m->next = malloc(sizeof *m->next);
    if (m->group == NULL || m->next == NULL)
        return STATUS(NO_MEMORY);
    *m->group = *group;
    return STATUS(OK);
}

void members_fini(struct members *m)
{
    assert(m->state == MEMBERS_IDLE);
    assert(list_empty(&m->held));
    assert(list_empty(&m->delayed));
    io_timer_disarm(&m->anew_timer);
    io_timer_disarm(&m->again_timer);
    free(m->group);
    free(m->next);
}

static struct leg_call *call_of(struct leg *leg)
{
    return CONTAINER_OF(leg, struct leg_call, leg);
}

/* It has been taken in, and is settled: the leg may be reported again. */
static void forget_report(struct leg_call *call)
{
    call->members.suspect = false;
    atomic_store(&call->members.reported, false);
}

/* ---- Rounds of messages ---- */

static void round_on_posted(struct io_msg *msg)
{
    round_return(CONTAINER_OF(msg, struct volume, members.round_msg));
}

/* One more than will be counted, so that an empty round ends from the loop like any other. */
static void round_begin(struct volume *v, enum members_state state)
{
    v->members.state = state;
    v->members.pending = 1;
    v->members.round_msg.deliver = round_on_posted;
    reactor_post(v->home, &v->members.round_msg);
}

/* ---- Telling the slices ---- */

static void spread_on_taken(struct io_msg *msg)
{
    round_return(CONTAINER_OF(msg, struct slice, members_msg)->volume);
}

static void spread_return(struct slice *s)
{
    s->members_msg.deliver = spread_on_taken;
    reactor_post(s->volume->home, &s->members_msg);
}

static void take_members(struct copyset *cs, unsigned members)
{
    const unsigned lost = cs->members & ~members;

    cs->members = (uint8_t)members;
    if ((members >> cs->resync.slot & 1) != 0)
        resync_admitted(cs);
    for (unsigned slot = 0; lost >> slot != 0; slot++) {
        if ((lost >> slot & 1) == 0)
            continue;
        outlier_forget(cs, slot);
        round_lost(cs, slot);
    }
}

/* The slice's copysets have the members that the record says; what waited for that goes on. */
static void spread_deliver(struct io_msg *msg)
{
    struct slice *const s = CONTAINER_OF(msg, struct slice, members_msg);
    const struct members *const m = &s->volume->members;

    assert(reactor_is_current(s->reactor));
    s->fenced = m->spread_fence;
    for (uint32_t i = 0; i < s->map->copyset_count; i++) {
        struct copyset *const cs = s->map->copysets[i];
        if (cs->slice != s)
            continue;
        if (!s->fenced) {
            replace_turn(cs);
            take_members(cs, group_members(m->next, cs->number));
        }
        fanout_members_changed(cs);
    }
    if (!s->fenced) {
        spread_return(s);
        return;
    }
    s->stopping = true;
    repairs_stop(&s->repairs);
    undos_stop(s);
    rounds_stop(&s->rounds);
    members_slice_quiet(s);
}

void members_slice_quiet(struct slice *s)
{
    const struct volume_map *const map = s->map;

    if (!s->stopping || s->rounds.current != NULL || repair_is_busy(&s->repairs) ||
        undo_is_busy(&s->undos) || s->mending > 0)
        return;
    for (uint32_t i = 0; i < map->copyset_count; i++) {
        if (map->copysets[i]->slice == s &&
            (settling_is_busy(&map->copysets[i]->settling) || resync_is_busy(map->copysets[i])))
            return;
    }
    s->stopping = false;
    spread_return(s);
}

/* What waits for a disk that is not there ends, or the slices would wait for it. */
static void let_legs_go(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++)
        if (!v->calls[i]->retired)
            leg_let_go(&v->calls[i]->leg, STATUS(FENCED));
}

static void spread(struct volume *v)
{
    v->members.spread = true;
    v->members.spread_fence = v->members.fenced;
    if (v->members.fenced)
        let_legs_go(v);
    round_begin(v, MEMBERS_SPREADING);
    for (unsigned i = 0; i < v->slice_count; i++) {
        v->members.pending++;
        v->slices[i].members_msg.deliver = spread_deliver;
        reactor_post(v->slices[i].reactor, &v->slices[i].members_msg);
    }
}

static void tell_fence(struct volume *v)
{
    resync_home_fence(v);
    verify_fence(v);
    v->members.fence_told = true;
    spread(v);
}

/* ---- Telling the disks (6.5) ---- */

void members_leg_submit(struct leg_call *call, enum store_opcode opcode, struct span data,
                        void (*done)(struct leg_io *io))
{
    struct leg_io *const io = &call->members.io;

    io->owner = call;
    io->leg = &call->leg;
    io->remote = &call->members.remote_io;
    io->reactor = call->leg.reactor;
    io->done = done;
    io->store.opcode = opcode;
    io->store.data = data;
    leg_submit(io);
}

static void set_submit(struct leg_call *call);

static void set_on_return(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, members.msg);
    struct volume *const v = call->volume;

    call->members.set_out = false;
    if (call->members.set_waited) {
        call->members.set_waited = false;
        round_return(v);
        return;
    }
    v->openings--;
    if (v->members.fenced)
        members_fence(v); /* The close waits for it. */
    else
        members_go_on(v); /* It may be told again. */
}

/* It was reported meanwhile: it has kept nothing, and is not waited for. */
static void set_let_go(struct leg_call *call)
{
    if (!call->members.set_waited)
        return;
    call->members.set_waited = false;
    call->members.set_failed = true;
    call->volume->openings++;
    round_return(call->volume);
}

static void set_end(struct leg_call *call)
{
    free(call->members.sets);
    call->members.sets = NULL;
    call->members.msg.deliver = set_on_return;
    reactor_post(call->volume->home, &call->members.msg);
}

/* It keeps an older set: it is to leave as well, before anything rests on the change (6.5). */
static void set_fail(struct leg_call *call, struct status why)
{
    call->members.set_failed = true;
    members_report(call->volume, &call->leg, why);
}

static void set_on_leg(struct leg_io *io)
{
    struct leg_call *const call = io->owner;

    if (!status_ok(io->status)) {
        set_fail(call, io->status);
        set_end(call);
    } else if (call->members.set_next < call->members.set_count) {
        set_submit(call);
    } else {
        set_end(call);
    }
}

/* As many as one command takes. */
static void set_submit(struct leg_call *call)
{
    struct members_leg *const m = &call->members;
    const uint32_t count = (uint32_t)min_u64(m->set_count - m->set_next, STORE_COPYSETS_MAX);
    struct store_set *const first = &m->sets[m->set_next];

    m->set_next += count;
    members_leg_submit(call, STORE_OP_SET,
                       (struct span) { (uint8_t *)first, count * sizeof *first }, set_on_leg);
}

static void set_deliver(struct io_msg *msg)
{
    set_submit(CONTAINER_OF(msg, struct leg_call, members.msg));
}

static struct store_copyset set_of(const struct group_copyset *c)
{
    struct store_copyset set = { 0 };

    for (unsigned slot = 0; slot < GROUP_SLOTS; slot++) {
        const struct group_slot *const s = &c->slots[slot];
        const uint8_t bit = (uint8_t)(1u << slot);
        set.disk[slot] = s->disk;
        set.incarnation[slot] = s->incarnation;
        set.in |= s->state == GROUP_SLOT_IN ? bit : 0;
        set.whole |= s->state == GROUP_SLOT_OUT && s->whole ? bit : 0;
    }
    return set;
}

/* Whether a copyset has changed, or all is new to the disk, which is one of its members. */
static bool set_concerns(const struct members *m, uint32_t number, struct uuid disk, bool all)
{
    const struct group_copyset *const now = &m->next->copysets[number];
    unsigned slot;

    if (!all && group_members(m->group, number) == group_members(m->next, number) &&
        !group_disks_differ(m->group, m->next, number))
        return false;
    return group_find(m->next, number, disk, &slot) && now->slots[slot].state == GROUP_SLOT_IN;
}

/* The sets that a disk has to know, of earlier changes too; false if there are none to be sent. */
static bool set_gather(struct volume *v, struct leg_call *call)
{
    const struct members *const m = &v->members;
    struct members_leg *const own = &call->members;
    const bool all = own->set_failed;

    own->set_count = 0;
    own->set_next = 0;
    own->set_failed = false;
    for (uint32_t n = 0; n < m->next->copyset_count; n++)
        own->set_count += set_concerns(m, n, call->uuid, all) ? 1 : 0;
    if (own->set_count == 0)
        return false;
    own->sets = calloc(own->set_count, sizeof *own->sets);
    if (own->sets == NULL) {
        set_fail(call, STATUS(NO_MEMORY));
        return false;
    }
    uint32_t at = 0;
    for (uint32_t n = 0; n < m->next->copyset_count; n++) {
        if (set_concerns(m, n, call->uuid, all))
            own->sets[at++] = (struct store_set) { .number = n,
                                                   .sequence = m->next->sequence,
                                                   .set = set_of(&m->next->copysets[n]) };
    }
    return true;
}

static void set_all(struct volume *v)
{
    round_begin(v, MEMBERS_SETTING);
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (!leg_is_there(&call->leg) || call->members.set_out || !set_gather(v, call))
            continue;
        v->members.pending++;
        call->members.set_out = true;
        call->members.set_waited = true;
        call->members.msg.deliver = set_deliver;
        reactor_post(call->leg.reactor, &call->members.msg);
    }
}

/* ---- Excluding ---- */

/*
 * 6.5: commands stop waiting for a disk that the next record has as a member no more: when the
 * slices have heard.  Until then they take it for one, and read it: it keeps what makes a member's
 * session safe, that another incarnation ends it (4.4).  One that was moved away from its last
 * copyset, and is a member of another one by then, stays.
 */
static void let_go_of(struct volume *v, struct leg_call *call)
{
    const struct members *const m = &v->members;

    if (group_has_member(m->group, call->uuid) && !group_has_member(m->next, call->uuid)) {
        if (call->members.suspect) /* Otherwise a report may be on its way. */
            forget_report(call);
        call->members.regions_resynced = 0;
        call->members.leaves = true;
    }
    if (!call->members.leaves || !m->spread)
        return;
    call->members.leaves = false;
    atomic_store(&call->members.passed_over, false);
    if (!call->retired && !group_has_member(m->next, call->uuid))
        leg_exclude(&call->leg);
}

/* The record is the next one. */
static void take_record(struct volume *v)
{
    struct members *const m = &v->members;

    resync_home_excluded(v);
    for (uint32_t i = 0; i < v->call_count; i++)
        let_go_of(v, v->calls[i]);
    *m->group = *m->next;
    m->behind = !m->spread;
    replace_changed(v, m->spread);
    members_spare_flushes(v);
    resync_home_changed(v, m->spread);
}

static void members_end(struct volume *v)
{
    struct members *const m = &v->members;

    m->state = MEMBERS_IDLE;
    if (m->committed)
        take_record(v);
    m->committed = false;
    m->spread = false;
    m->leaving = NULL;
    m->admitting = NULL;
    if (m->fenced && !m->fence_told) {
        tell_fence(v);
        return;
    }
    members_flushes_end(v);
    void (*const then)(struct volume * volume) = m->then;
    m->then = NULL;
    if (then != NULL)
        then(v);
    else if (m->fence_told && v->after_fence != NULL && v->openings == 0)
        v->after_fence(v); /* v may be gone. */
    else
        members_go_on(v);
}

bool members_set_has_failed(const struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *const call = v->calls[i];
        if (call->members.set_failed && group_has_member(v->members.next, call->uuid))
            return true;
    }
    return false;
}

static void round_return(struct volume *v)
{
    assert(reactor_is_current(v->home));
    assert(v->members.pending > 0);
    if (--v->members.pending > 0)
        return;
    if (v->members.state == MEMBERS_SETTING && !members_set_has_failed(v))
        spread(v);
    else
        members_end(v); /* Who has not kept its sets goes next, and the slices hear of both. */
}

void members_fence(struct volume *v)
{
    struct members *const m = &v->members;

    if (m->fenced) {
        if (m->fence_told && m->state == MEMBERS_IDLE)
            members_end(v);
        return;
    }
    m->fenced = true;
    io_timer_disarm(&m->anew_timer);
    io_timer_disarm(&m->again_timer);
    resync_home_fence(v); /* Now: slices may hear of it with the change that is under way. */
    if (m->state == MEMBERS_IDLE)
        tell_fence(v); /* Else it follows the change that is under way. */
    else if (m->state == MEMBERS_ASKING)
        alive_stop(v);
}

/* 6.4: known to be committed, or known not to be. */
static void on_committed(void *ctx, struct status status)
{
    struct volume *const v = ctx;
    struct members *const m = &v->members;

    assert(reactor_is_current(v->home));
    assert(m->state == MEMBERS_COMMITTING);
    if (status_ok(status)) {
        m->committed = true;
        if (m->admitting != NULL)
            m->admitting->home.committed = true;
        if (m->leaving != NULL)
            log_warning(v->log, "volume '%s': disk '%s' is out of sync: %s", v->desc.name,
                        m->leaving->disk, leg_why(&m->leaving->leg, m->leaving->members.why));
        set_all(v);
        return;
    }
    log_warning(v->log, "volume '%s': %s: this node serves it no longer", v->desc.name,
                status_is(status, STATUS_CONFLICT) ? "another engine has it" : status_text(status));
    m->leaving = NULL;
    m->fenced = true; /* 7.8 */
    tell_fence(v);
}

static bool is_up(const struct leg_call *call)
{
    return leg_is_up(&call->leg) && !call->members.suspect;
}

static bool is_alive(const struct leg_call *call)
{
    return is_up(call) && alive_has_answered(call);
}

static bool is_there(const struct leg_call *call)
{
    return leg_is_up(&call->leg);
}

static bool is_anybody(const struct leg_call *call)
{
    (void)call;
    return true;
}

static void view_sessions(const struct volume *v, struct group_session *items,
                          struct group_view *out_view, bool (*counts)(const struct leg_call *call))
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *const call = v->calls[i];
        if (!call->retired && counts(call))
            items[count++] = (struct group_session) {
                .disk = call->uuid,
                .incarnation = atomic_load(&call->leg.incarnation_now),
            };
    }
    *out_view = (struct group_view) { .sessions = { items, count },
                                      .min_in_sync = v->desc.min_in_sync,
                                      .now_unix_ms = reactor_wall_ns(v->home) / NS_PER_MS };
}

void members_view(const struct volume *v, struct group_session *items, struct group_view *out_view)
{
    view_sessions(v, items, out_view, is_up);
}

void members_view_all(const struct volume *v, struct group_session *items,
                      struct group_view *out_view)
{
    view_sessions(v, items, out_view, is_there);
}

void members_change(struct volume *v, void (*then)(struct volume *v))
{
    struct members *const m = &v->members;

    assert(m->state == MEMBERS_IDLE);
    m->state = MEMBERS_COMMITTING;
    m->then = then;
    m->meta->commit(m->meta_ctx, m->group, m->next, on_committed, v);
}

/* 7.8: the node opens the volume anew. */
static void fence_and_tell(struct volume *v)
{
    const struct members *const m = &v->members;
    const bool is_news = !m->fenced;

    members_fence(v);
    if (is_news && m->meta != NULL && m->meta->fenced != NULL)
        m->meta->fenced(m->meta_ctx);
}

/* 7.0: whether another engine would serve: as far as this one can tell. */
static bool reaches_enough(const struct volume *v, struct group_session *items)
{
    struct group_sessions up = { items, 0 };

    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *const call = v->calls[i];
        if (leg_is_up(&call->leg) || leg_has_changed(&call->leg))
            items[up.count++] = (struct group_session) { .disk = call->uuid };
    }
    const int needed = (int)group_members_min(v->desc.min_in_sync);
    for (uint32_t n = 0; n < v->members.group->copyset_count; n++) {
        if (__builtin_popcount(group_reached(v->members.group, n, &up)) < needed)
            return false;
    }
    return true;
}

/* 4.4: a member is there, may have lost what it had, and is needed: the next engine settles it. */
static bool begin_anew(struct volume *v, struct leg_call *call, struct group_session *items)
{
    if (!leg_has_changed(&call->leg) || !reaches_enough(v, items))
        return false;
    log_warning(v->log,
                "volume '%s': disk '%s': %s, and too few would be left without it: the volume is "
                "opened anew",
                v->desc.name, call->disk, leg_why(&call->leg, STATUS(STALE_INCARNATION)));
    fence_and_tell(v);
    return true;
}

void members_asked(struct volume *v)
{
    assert(v->members.state == MEMBERS_ASKING);
    members_end(v); /* And exclude() once more. */
}

/* 6.1: the next record, without the disk, if those of the others that count are enough. */
static struct status MUST_CHECK leave_out(struct volume *v, const struct leg_call *call,
                                          struct group_session *items,
                                          bool (*counts)(const struct leg_call *call),
                                          struct group_reason *reason)
{
    struct members *const m = &v->members;
    struct group_view view;

    if (MUTATION(FULL_IS_EXCLUDED) && status_is(call->members.why, STATUS_NO_SPACE))
        counts = is_anybody;
    view_sessions(v, items, &view, counts);
    return group_exclude(m->group, &view, call->uuid, m->next, reason);
}

/*
 * 11.4: a new engine would do without the member.  It is given time first: a process that is
 * restarted is back before a new engine could have begun.
 */
static bool is_given_up(struct volume *v, struct leg_call *call)
{
    struct io_timer *const timer = &v->members.anew_timer;
    const uint64_t now_ns = reactor_now_ns(v->home);

    if (!takeover_needs_another(v, call)) {
        call->members.gone_ns = 0;
        return false;
    }
    if (call->members.gone_ns == 0)
        call->members.gone_ns = now_ns;
    const uint64_t due_ns = call->members.gone_ns + VOLUME_ANEW_NS;
    if (now_ns >= due_ns)
        return true;
    if (!io_timer_armed(timer))
        io_timer_arm(timer, v->home, due_ns);
    return false;
}

static void on_anew_timer(struct io_timer *timer)
{
    members_run(CONTAINER_OF(timer, struct volume, members.anew_timer));
}

/* It has answered, with an error: nothing that waits for it goes on by itself. */
static void ask_later(struct volume *v, struct leg_call *call)
{
    struct io_timer *const timer = &v->members.again_timer;

    call->members.asked_later = true;
    if (!io_timer_armed(timer))
        io_timer_arm(timer, v->home, reactor_now_ns(v->home) + VOLUME_ASK_AGAIN_NS);
}

static void on_again_timer(struct io_timer *timer)
{
    struct volume *const v = CONTAINER_OF(timer, struct volume, members.again_timer);

    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        const bool asked = call->members.asked_later && call->members.suspect;
        call->members.asked_later = false;
        if (!asked || call == v->members.leaving || v->members.fenced || !leg_is_up(&call->leg) ||
            leg_has_changed(&call->leg))
            continue;
        forget_report(call); /* If it fails again, it is reported again. */
        ask_again(v, &call->leg);
    }
}

/* It stays, and writes wait.  True: the next engine sees to it. */
static bool keep(struct volume *v, struct leg_call *call, struct group_session *items,
                 const struct group_reason *reason)
{
    if (begin_anew(v, call, items))
        return true;
    if (!call->members.told)
        log_warning(v->log, "volume '%s': writes wait for disk '%s' (%s): %s", v->desc.name,
                    call->disk, leg_why(&call->leg, call->members.why), reason->s);
    call->members.told = true;
    if (is_given_up(v, call)) {
        fence_and_tell(v);
        return true;
    }
    const bool answers =
        call->leg.remote == NULL && leg_is_up(&call->leg) && !leg_hangs(&call->leg);
    if (!answers && resync_home_may_part(v, call)) {
        leg_part(&call->leg);
        return false; /* Suspected until it is back. */
    }
    if (leg_is_up(&call->leg) && (status_is(call->members.why, STATUS_TIMED_OUT) ||
                                  status_is(call->members.why, STATUS_NO_SPACE)))
        forget_report(call); /* It may do it yet; if not, it is reported again. */
    else if (leg_is_up(&call->leg))
        ask_later(v, call);
    return false;
}

/*
 * It is a member nowhere: what was on its way there has ended late, or does not end, though
 * commands, and their place in the order, wait for it: as a member's it is let go of (6.5).
 */
static void let_resync_go(struct leg_call *call)
{
    forget_report(call);
    if (status_is(call->members.why, STATUS_TIMED_OUT) && !call->members.leaves && !call->retired)
        leg_exclude(&call->leg);
}

/*
 * 6.1, 6.3: excludes a disk if the others are enough, and have answered; asked: they have just been
 * asked.  False: it stays, and writes wait.
 */
static bool exclude(struct volume *v, struct leg_call *call, struct group_session *items,
                    bool asked)
{
    struct members *const m = &v->members;
    struct group_reason reason;

    if (!group_has_member(m->group, call->uuid)) {
        let_resync_go(call);
        return false;
    }
    struct status st = leave_out(v, call, items, is_up, &reason);
    if (status_ok(st) && !asked && alive_ask(v, call)) {
        m->state = MEMBERS_ASKING;
        return true;
    }
    if (status_ok(st))
        st = leave_out(v, call, items, is_alive, &reason);
    if (!status_ok(st))
        return keep(v, call, items, &reason);
    assert(m->next->sequence > m->group->sequence); /* It was a member. */
    m->leaving = call;
    members_change(v, NULL);
    return true;
}

/*
 * 6.5: nothing rests yet on a change of which a member has not kept the sets.  When it could not be
 * excluded for that, but is there again, it gets them, and the slices hear of the change.
 */
static bool set_again(struct volume *v)
{
    struct members *const m = &v->members;

    if (!m->behind)
        return false;
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *const call = v->calls[i];
        if (call->members.set_failed && group_has_member(m->group, call->uuid) &&
            (!leg_is_up(&call->leg) || call->members.suspect || call->members.set_out))
            return false;
    }
    *m->next = *m->group;
    m->committed = true;
    set_all(v);
    return true;
}

/* 7.6: the members have everything promised again, with the incarnations that they have now. */
static bool record_settled(struct volume *v, struct group_session *items)
{
    struct members *const m = &v->members;
    struct group_reason reason;
    struct group_view view;

    members_view(v, items, &view);
    const struct status st = group_settled(m->group, &view, m->next, &reason);
    if (!status_ok(st))
        return false; /* A member is missing: when it is excluded, or back. */
    m->settled = false;
    if (m->next->sequence == m->group->sequence)
        return false;
    members_change(v, NULL);
    return true;
}

static void forget_deliver(struct io_msg *msg)
{
    leg_forget_loss(&CONTAINER_OF(msg, struct leg_call, forget_msg)->leg);
}

/* From here on a member whose store says that it has lost something lacks something again (7.4). */
void members_on_settled(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (!leg_is_there(&call->leg))
            continue;
        call->forget_msg.deliver = forget_deliver;
        reactor_post(call->leg.reactor, &call->forget_msg);
    }
    v->members.settled = true;
    members_run(v);
}

/* 7.7 */
static bool record_heard(struct volume *v)
{
    struct members *const m = &v->members;
    struct group_reason reason;

    m->heard = false;
    const struct status st = group_loss_heard(m->group, m->next, &reason);
    if (!status_ok(st) || m->next->sequence == m->group->sequence)
        return false;
    members_change(v, NULL);
    return true;
}

static void on_heard(struct io_msg *msg)
{
    struct volume *const v = CONTAINER_OF(msg, struct volume, members.heard_msg);

    v->members.heard = true;
    members_run(v);
}

void members_loss_heard(struct volume *v)
{
    if (atomic_exchange(&v->members.heard_told, true))
        return;
    v->members.heard_msg.deliver = on_heard;
    reactor_post(v->home, &v->members.heard_msg);
}

/* 11.4: it was done without, and is there again. */
static void end_without(struct volume *v, const struct leg_call *call)
{
    log_warning(v->log,
                "volume '%s': disk '%s' is back, without which it was served: it is opened anew",
                v->desc.name, call->disk);
    fence_and_tell(v);
}

static void members_run(struct volume *v)
{
    struct members *const m = &v->members;
    struct group_session items[VOLUME_STORES_MAX];

    if (m->state != MEMBERS_IDLE)
        return;
    const struct leg_call *const asked_for = m->alive.leaving;
    m->alive.leaving = NULL; /* What was answered holds for now. */
    if (m->fenced || v->sm.now != VOL_READY)
        return;
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (members_is_passed_over(&call->leg) && leg_is_up(&call->leg)) {
            end_without(v, call);
            return;
        }
    }
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (call->members.suspect && exclude(v, call, items, call == asked_for))
            return;
    }
    if (set_again(v))
        return;
    if (m->settled && record_settled(v, items))
        return;
    if (m->heard && record_heard(v))
        return;
    if (resync_home_record_cut(v))
        return;
    if (replace_record(v))
        return;
    if (resync_home_admit(v, items))
        return;
    members_flushes_end(v);
}

static void on_report(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, members.report_msg);

    resync_home_failed(call->volume, call);
    if (members_is_passed_over(&call->leg) && leg_is_up(&call->leg)) {
        members_go_on(call->volume);
        return;
    }
    if (status_is(call->members.why, STATUS_UNAVAILABLE) && leg_is_up(&call->leg)) {
        atomic_store(&call->members.reported, false); /* It was away, and is back, ... */
        if (call->volume->sm.now == VOL_READY && !call->volume->members.fenced)
            ask_again(call->volume, &call->leg); /* ... and may have refused something. */
        return;
    }
    if (status_is(call->members.why, STATUS_STALE_EPOCH) && call->volume->sm.now == VOL_READY) {
        fence_and_tell(call->volume); /* 7.8 */
        return;
    }
    call->members.suspect = true;
    if (call->volume->members.state == MEMBERS_ASKING)
        alive_let_go(call);
    else if (call->volume->members.state == MEMBERS_SETTING)
        set_let_go(call);
    else
        members_go_on(call->volume);
}

void members_go_on(struct volume *v)
{
    if (v->members.group == NULL)
        return;
    members_run(v);
    resync_plan(v); /* Who was excluded may come back, in time. */
}

bool members_are_known(const struct volume *v)
{
    const struct members *const m = &v->members;

    return m->group != NULL && m->state == MEMBERS_IDLE && !m->behind && !m->fenced;
}

void members_pass_over(struct leg *leg)
{
    atomic_store(&call_of(leg)->members.passed_over, true);
}

bool members_is_passed_over(const struct leg *leg)
{
    return atomic_load(&CONTAINER_OF(leg, const struct leg_call, leg)->members.passed_over);
}

const char *members_disk(struct leg *leg)
{
    return call_of(leg)->disk;
}

void members_report(struct volume *v, struct leg *leg, struct status why)
{
    struct leg_call *const call = call_of(leg);

    if (atomic_exchange(&call->members.reported, true))
        return;
    call->members.why = why;
    call->members.report_msg.deliver = on_report;
    reactor_post(v->home, &call->members.report_msg);
}

/* ---- Remote legs ---- */

static void leg_on_report(struct leg *leg, struct status why)
{
    struct volume *const v = call_of(leg)->volume;

    if (status_is(why, STATUS_STALE_EPOCH))
        fence_and_tell(v);
    else if (leg->has_peers)
        members_report(v, leg, why);
    if (call_of(leg)->members.suspect && status_is(why, STATUS_UNAVAILABLE))
        members_go_on(v); /* It was reported for something else, and has gone since. */
}

static void back_deliver(struct io_msg *msg)
{
    struct slice *const s = CONTAINER_OF(msg, struct slice, back_msg);

    atomic_store(&s->back_posted, false);
    fanout_retry(s);
}

/*
 * What had waited for an answer was sent again in the new session.  What had one, an error of a
 * store that has perhaps been opened anew since, is asked for once more, as nobody could exclude
 * it.
 */
static void ask_again(struct volume *v, struct leg *leg)
{
    members_flushes_again(v, leg);
    for (unsigned i = 0; i < v->slice_count; i++) {
        struct slice *const s = &v->slices[i];
        if (atomic_exchange(&s->back_posted, true))
            continue;
        s->back_msg.deliver = back_deliver;
        reactor_post(s->reactor, &s->back_msg);
    }
}

/*
 * It has a session again, and what waited for that has gone on: an exclusion that could not be
 * made, or was not begun, is none of it any more.  4.4: with another incarnation it stays suspect.
 */
static void leg_on_back(struct leg *leg)
{
    struct leg_call *const call = call_of(leg);
    struct members *const m = &call->volume->members;

    call->members.gone_ns = 0;
    if (m->leaving == call)
        return;
    if (leg_has_changed(leg)) {
        members_go_on(call->volume);
        return;
    }
    if (leg->remote == NULL && !m->fenced && group_has_member(m->group, call->uuid))
        leg_keep(leg, true); /* It may have been parted. */
    if (members_is_passed_over(leg)) {
        members_go_on(call->volume);
        return;
    }
    call->members.told = false;
    if (call->members.suspect) /* Otherwise a report may be on its way. */
        forget_report(call);
    if (call->volume->sm.now == VOL_READY && !m->fenced)
        ask_again(call->volume, leg);
    members_go_on(call->volume); /* Or it is out, and can be resynced. */
}

const struct leg_ops members_leg_ops = { leg_on_report, leg_on_back };

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a group over, when all sessions that can be opened are open (docs/replication.md, 7.4 to
 * 7.7).
 *
 *   volume opened --> the members' lists and flush points are read --> who has lost its own?
 *                 --> who is silent, or has, is removed, committed
 *                 --> losses are told or taken back --> READY, settling --> incarnations recorded
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "repl/group_steps.h"
#include "volume/volume_internal.h"

/* ---- Lists ---- */

/* Of all copysets that a volume can have, and its own. */
#define POINTS_MAX (STORE_COPYSET_POINTS * (STORE_COPYSET_MAX + 1) + 1)

static void point_submit(struct leg_call *call);
static void list_submit(struct leg_call *call);

/* The first one is its own, which is of no interest. */
static void point_on_leg(struct leg_io *io)
{
    struct leg_call *const call = io->owner;
    struct members_leg *const m = &call->members;
    const bool first = m->point_count == 0;

    call->outcome = io->status;
    if (!status_ok(io->status)) {
        leg_call_return(call);
        return;
    }
    m->point_count += (uint32_t)(io->store.bytes / sizeof *m->points);
    if (m->point_count > POINTS_MAX) {
        call->outcome = STATUS(MALFORMED);
        leg_call_return(call);
        return;
    }
    if (first)
        m->points[0].copyset = UINT32_MAX;
    if (io->store.offset != STORE_CURSOR_END)
        point_submit(call);
    else
        leg_call_return(call);
}

static void point_submit(struct leg_call *call)
{
    struct members_leg *const m = &call->members;
    const size_t count = (size_t)m->point_count + STORE_POINTS_MAX;
    struct store_point *const points = realloc(m->points, count * sizeof *points);

    if (points == NULL) {
        call->outcome = STATUS(NO_MEMORY);
        leg_call_return(call);
        return;
    }
    m->points = points;
    members_leg_submit(
        call, STORE_OP_LIST_POINTS,
        (struct span) { (uint8_t *)&points[m->point_count], STORE_POINTS_MAX * sizeof *points },
        point_on_leg);
}

static void point_begin(struct leg_call *call)
{
    call->members.point_count = 0;
    call->members.io.store.offset = 0;
    point_submit(call);
}

/* A member whose list cannot be read is reported when it fails a command; here opening fails. */
static void list_on_leg(struct leg_io *io)
{
    struct leg_call *const call = io->owner;
    struct members_leg *const m = &call->members;

    call->outcome = io->status;
    if (status_ok(io->status))
        m->list_count += (uint32_t)(io->store.bytes / sizeof *m->list);
    if (status_ok(io->status) && io->store.offset != STORE_CURSOR_END)
        list_submit(call);
    else if (status_ok(io->status))
        point_begin(call);
    else
        leg_call_return(call);
}

static void list_submit(struct leg_call *call)
{
    struct members_leg *const m = &call->members;
    const size_t count = (size_t)m->list_count + STORE_REGIONS_MAX;
    struct store_region *const list = realloc(m->list, count * sizeof *list);

    if (list == NULL) {
        call->outcome = STATUS(NO_MEMORY);
        leg_call_return(call);
        return;
    }
    m->list = list;
    members_leg_submit(
        call, STORE_OP_LIST_REGIONS,
        (struct span) { (uint8_t *)&list[m->list_count], STORE_REGIONS_MAX * sizeof *list },
        list_on_leg);
}

static void list_deliver(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, msg);

    call->members.list_count = 0;
    call->members.io.store.offset = 0;
    list_submit(call);
}

static bool is_member(const struct leg_call *call)
{
    return leg_is_there(&call->leg) && group_has_member(call->volume->members.group, call->uuid);
}

void takeover_start(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        call->members.listed = is_member(call);
        /* Until it is read. */
        call->outcome = call->members.listed ? STATUS(UNAVAILABLE) : STATUS(OK);
    }
    sm_move(&v->sm, VOL_LISTING);
    volume_round_legs(v, is_member, list_deliver);
}

/* 7.5: what a member lists with the slot of a member is to be settled. */
static struct status MUST_CHECK take_item(struct volume *v, uint32_t leg,
                                          const struct store_region *item)
{
    if (item->shard >= v->map->shard_count)
        return STATUS(CORRUPT);
    struct copyset *const cs = map_copyset(v->map, item->shard);
    const unsigned members = group_members(v->members.group, cs->number);
    bool lists = false;

    for (unsigned slot = 0; slot < VOLUME_REPLICAS_MAX; slot++)
        lists |= cs->home_leg[slot] == leg && (members >> slot & 1) != 0;
    if (!lists || (item->slots & members) == 0 || MUTATION(NO_SETTLE))
        return STATUS(OK);
    if (cs->home.silent != 0)
        return STATUS(OK); /* It is alone, and has everything. */
    return settling_add(&cs->settling, item->shard, item->region, item->count);
}

static struct status MUST_CHECK take_lists(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct members_leg *const m = &v->calls[i]->members;
        for (uint32_t k = 0; k < m->list_count; k++)
            TRY(take_item(v, i, &m->list[k]));
    }
    return STATUS(OK);
}

static void free_lists(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        free(v->calls[i]->members.list);
        v->calls[i]->members.list = NULL;
        v->calls[i]->members.list_count = 0;
        free(v->calls[i]->members.points);
        v->calls[i]->members.points = NULL;
        v->calls[i]->members.point_count = 0;
    }
}

void takeover_on_listed(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count && status_ok(v->status); i++)
        v->status = v->calls[i]->outcome;
    sm_move(&v->sm, VOL_TELLING);
    points_tell(v);
}

/* ---- 7.4: who is a member, and who of them is a source ---- */

static const struct leg_call *call_of_disk(const struct volume *v, struct uuid disk)
{
    uint32_t i = 0;

    while (!uuid_equal(v->calls[i]->uuid, disk))
        i++;
    return v->calls[i];
}

/* 7.2: a member that has answered, but has nothing of what was promised. */
static bool knows_nothing(const struct volume *v, const struct leg_call *call)
{
    return !leg_is_there(&call->leg) && status_is(call->leg.problem, STATUS_UNKNOWN_VOLUME) &&
           group_has_member(v->members.group, call->uuid);
}

/*
 * The sessions of disks whose lists were read: one that has come since is none of them.  Which may
 * have lost something, as their stores say; and who has nothing.
 */
static void view_listed(const struct volume *v, struct group_session *items,
                        struct group_view *out_view)
{
    uint32_t count = 0;

    members_view(v, items, out_view);
    for (uint32_t i = 0; i < out_view->sessions.count; i++) {
        const struct leg_call *const call = call_of_disk(v, items[i].disk);
        if (!call->members.listed)
            continue;
        items[count] = items[i];
        items[count].may_have_lost = call->leg.may_have_lost;
        items[count].point_lost = status_is(call->outcome, STATUS_POINT_LOST);
        count++;
    }
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *const call = v->calls[i];
        if (knows_nothing(v, call))
            items[count++] = (struct group_session) { .disk = call->uuid,
                                                      .incarnation = GROUP_INCARNATION_NONE,
                                                      .point_lost = true };
    }
    out_view->sessions.count = count;
}

static void settle_plan(struct volume *v);

static void on_changed(struct volume *v)
{
    if (v->members.fenced)
        v->status = STATUS(CONFLICT); /* R3: another engine has the volume. */
    else if (members_set_has_failed(v))
        v->status = STATUS(UNAVAILABLE); /* 6.5 */
    settle_plan(v);
}

/* Whoever could not be asked fails the opening, but for those who have lost their points. */
static struct status MUST_CHECK told_outcome(const struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct status st = v->calls[i]->outcome;
        /* It has its own, and no space for those of others: rounds tell. */
        if (!status_is(st, STATUS_POINT_LOST) && !status_is(st, STATUS_NO_SPACE))
            TRY(st);
    }
    return STATUS(OK);
}

/* 11.4: if one is there after all, the volume is opened anew. */
static void note_silent(struct volume *v, const struct group_view *view)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        struct copyset *const cs = v->copysets[i];
        cs->home.silent = group_silent(v->members.group, cs->number, view);
        for (unsigned slot = 0; cs->home.silent >> slot != 0; slot++)
            if ((cs->home.silent >> slot & 1) != 0)
                members_pass_over(&v->calls[cs->home_leg[slot]]->leg);
    }
}

void takeover_on_told(struct volume *v)
{
    struct members *const m = &v->members;
    struct group_session items[VOLUME_STORES_MAX];
    struct group_view view;
    struct group_reason reason;

    if (status_ok(v->status))
        v->status = m->fenced ? STATUS(CONFLICT) : told_outcome(v);
    if (!status_ok(v->status)) {
        settle_plan(v);
        return;
    }
    view_listed(v, items, &view);
    v->status = group_take_over(m->group, &view, v->waited, m->next, &reason);
    if (!status_ok(v->status))
        log_warning(v->log, "volume '%s': it cannot be served: %s", v->desc.name, reason.s);
    else
        note_silent(v, &view);
    if (!status_ok(v->status) || m->next->sequence == m->group->sequence)
        settle_plan(v);
    else
        members_change(v, on_changed);
}

/* ---- 7.7: losses ---- */

/* What is out may have lost anything, and is copied to before it counts again. */
static void loss_deliver(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, msg);

    leg_forget_loss(&call->leg);
    leg_call_return(call);
}

static bool is_out(const struct leg_call *call)
{
    return leg_is_there(&call->leg) && !is_member(call);
}

/* This engine, or one before, has given up what was not flushed (7.4). */
static void note_loss(struct volume *v)
{
    if (!v->members.group->loss)
        return;
    if (v->desc.continue_on_unflushed_loss) {
        v->members.heard = true;
        return;
    }
    v->loss = atomic_fetch_add(&v->losses.noted, 1) + 1;
    log_warning(v->log,
                "volume '%s': completed writes that were not flushed may be lost: the next flush "
                "of its host fails once to say so",
                v->desc.name);
}

/*
 * 7.4 holds still: a member that was lost since it was decided who serves may come back as another
 * incarnation, or be the only source.  The next engine decides anew.
 */
static struct status MUST_CHECK check_members(const struct volume *v, const struct group_view *view)
{
    struct group_reason reason;

    for (uint32_t i = 0; i < v->copyset_count && !MUTATION(BASE_NOT_RECORDED); i++) {
        const struct copyset *const cs = v->copysets[i];
        const unsigned sources = group_sources(v->members.group, cs->number, &view->sessions);
        const struct status st = group_may_serve(v->members.group, cs->number, &view->sessions,
                                                 view->min_in_sync, &reason);
        if (status_ok(st) || (cs->home.silent != 0 && sources != 0))
            continue;
        log_info(v->log, "volume '%s': opened anew: %s", v->desc.name, reason.s);
        return st;
    }
    return STATUS(OK);
}

/* What is known now is all that is to be settled, and by whom. */
static void settle_plan(struct volume *v)
{
    struct group_session items[VOLUME_STORES_MAX];
    struct group_view view;

    if (status_ok(v->status))
        v->status = take_lists(v);
    if (status_ok(v->status))
        v->status = points_settle_lost(v);
    free_lists(v);
    members_view(v, items, &view);
    if (status_ok(v->status))
        v->status = check_members(v, &view);
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        struct copyset *const cs = v->copysets[i];
        cs->sources = (uint8_t)group_sources(v->members.group, cs->number, &view.sessions);
        if (MUTATION(BASE_NOT_RECORDED) || MUTATION(CHANGED_IS_SOURCE))
            cs->sources = (uint8_t)group_members(v->members.group, cs->number);
        settling_seal(&cs->settling);
    }
    note_loss(v);
    members_spare_flushes(v);
    sm_move(&v->sm, VOL_DECIDING);
    if (status_ok(v->status))
        volume_round_legs(v, is_out, loss_deliver);
    else
        volume_round_begin(v, 0);
}

/* ---- Settling ---- */

/* 7.6 */
static void all_settled(struct volume *v)
{
    members_flushes_go_on(v);
    members_on_settled(v);
}

static void settled_deliver(struct io_msg *msg)
{
    struct copyset *const cs = CONTAINER_OF(msg, struct copyset, settled_msg);
    struct volume *const v = cs->slice->volume;

    assert(v->unsettled > 0);
    cs->home.unsettled = false;
    if (--v->unsettled == 0)
        all_settled(v);
}

void takeover_copyset_settled(struct copyset *cs)
{
    assert(!cs->settled_told);
    cs->settled_told = true;
    resync_run(cs);
    cs->settled_msg.deliver = settled_deliver;
    reactor_post(cs->slice->volume->home, &cs->settled_msg);
}

bool takeover_needs_another(const struct volume *v, const struct leg_call *call)
{
    const struct group *const g = v->members.group;
    const int needed = (int)group_members_min(v->desc.min_in_sync);
    struct group_session items[VOLUME_STORES_MAX];
    struct group_view view;
    unsigned slot;
    bool any = false;

    if (call->leg.remote == NULL || leg_is_up(&call->leg))
        return false;
    members_view(v, items, &view);
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        if (cs->number >= g->copyset_count)
            continue; /* Of a growth that came to nothing. */
        const unsigned silent = group_reached_out(g, cs->number, &view.sessions) != 0
                                    ? group_silent(g, cs->number, &view)
                                    : 0;
        if (silent == 0 &&
            __builtin_popcount(group_reached(g, cs->number, &view.sessions)) < needed)
            return false;
        any |= cs->home.unsettled && group_find(g, cs->number, call->uuid, &slot) &&
               (silent >> slot & 1) != 0;
    }
    return any;
}

static void settle_deliver(struct io_msg *msg)
{
    struct slice *const s = CONTAINER_OF(msg, struct slice, settle_msg);

    for (uint32_t i = 0; i < s->map->copyset_count; i++) {
        struct copyset *const cs = s->map->copysets[i];
        if (cs->slice != s)
            continue;
        settling_run(cs);
        if (points_are_old(cs))
            round_renew(cs);
    }
}

/* Of who is no member, nothing is waited for. */
static void tell_who_is_out(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        if (!group_has_member(v->members.group, v->calls[i]->uuid))
            leg_keep(&v->calls[i]->leg, false);
    }
}

/* 7.2: whose disk is here, and may make the volume anew now; over a link that is asked for as ever.
 */
static void open_who_knows_nothing(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (call->leg.store != NULL && call->leg.session == NULL && !call->opening &&
            status_is(call->leg.problem, STATUS_UNKNOWN_VOLUME) &&
            !group_has_member(v->members.group, call->uuid))
            resync_home_open(v, call);
    }
}

/* 11.4: they are reported as if they had been there. */
static void report_silent(struct volume *v)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        for (unsigned slot = 0; cs->home.silent >> slot != 0; slot++)
            if ((cs->home.silent >> slot & 1) != 0)
                members_report(v, &v->calls[cs->home_leg[slot]]->leg, STATUS(UNAVAILABLE));
    }
}

void takeover_settle(struct volume *v)
{
    tell_who_is_out(v);
    open_who_knows_nothing(v);
    report_silent(v);
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        struct copyset *const cs = v->copysets[i];
        cs->home.unsettled = cs->settling.left > 0;
        v->unsettled += cs->home.unsettled ? 1 : 0;
        if (cs->settling.left > 0 && (cs->members & ~cs->sources) != 0)
            members_flushes_wait(v);
    }
    if (v->unsettled == 0)
        all_settled(v);

    for (unsigned i = 0; i < v->slice_count; i++) {
        v->slices[i].settle_msg.deliver = settle_deliver;
        reactor_post(v->slices[i].reactor, &v->slices[i].settle_msg);
    }
    resync_plan(v);
}

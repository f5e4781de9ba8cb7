/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing, under I/O.
 *
 *   home                             legs                      slices
 *   volume_grow, the new map
 *   DESCRIBING --------------------> the new description is durable (F27);
 *              <-------------------- legs of new disks open their sessions
 *   RECORDING: with new copysets, the incarnations of their members are committed (7.4)
 *   SPREADING  ----------------------------------------------> take the new map
 *              <----------------------------------------------
 *   the old map is freed; on_grown
 *
 * The hosts hear of the size last, so no command names a new address before every slice knows it;
 * and old addresses mean the same in both maps (V1), so that it does not matter which of them a
 * command meets on its way.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "volume/volume_internal.h"

/* ---- The end ---- */

static void grow_end(struct volume *v, struct status status)
{
    void (*const done)(void *ctx, struct status status) = v->on_grown;

    free(v->next_group);
    v->next_group = NULL;
    v->next_map = NULL;
    v->on_grown = NULL;
    sm_move(&v->sm, VOL_READY);
    replace_go_on(v);
    done(v->grow_ctx, status);
}

static void grow_fail(struct volume *v, struct status status)
{
    volume_map_destroy(v->next_map);
    grow_end(v, status);
}

/* ---- Telling the slices ---- */

static void spread_on_taken(struct io_msg *msg)
{
    volume_round_return(CONTAINER_OF(msg, struct slice, map_msg)->volume);
}

static void spread_deliver(struct io_msg *msg)
{
    struct slice *s = CONTAINER_OF(msg, struct slice, map_msg);

    assert(reactor_is_current(s->reactor));
    s->map = s->volume->next_map;
    msg->deliver = spread_on_taken;
    reactor_post(s->volume->home, msg);
}

void grow_spread(struct volume *v)
{
    sm_move(&v->sm, VOL_SPREADING);
    volume_round_begin(v, v->slice_count);
    for (unsigned i = 0; i < v->slice_count; i++) {
        v->slices[i].map_msg.deliver = spread_deliver;
        reactor_post(v->slices[i].reactor, &v->slices[i].map_msg);
    }
}

void grow_on_spread(struct volume *v)
{
    volume_map_destroy(v->map);
    v->map = v->next_map;
    v->desc = v->next_desc;
    if (v->on_grown == NULL) {
        replace_on_spread(v);
        return;
    }
    for (uint32_t i = 0; i < v->call_count; i++) {
        if (!v->calls[i]->retired)
            leg_set_volume(&v->calls[i]->leg, &v->desc);
        if (v->calls[i]->is_new)
            leg_keep(&v->calls[i]->leg, true);
        v->calls[i]->is_new = false;
    }
    grow_end(v, STATUS(OK));
}

/* ---- New copysets ---- */

/*
 * The record that the growth was planned with: as ours, with more copysets.  BUSY if it differs
 * otherwise: a change is on its way.
 */
static struct status MUST_CHECK take_group(struct volume *v, const struct group *group)
{
    const struct members *const m = &v->members;

    if (m->group == NULL || group == NULL || group->copyset_count <= m->group->copyset_count)
        return STATUS(OK);
    if (group->epoch != m->group->epoch || !uuid_equal(group->owner, m->group->owner))
        return STATUS(INVALID);
    v->next_group = malloc(sizeof *v->next_group);
    if (v->next_group == NULL)
        return STATUS(NO_MEMORY);
    *v->next_group = *group;
    v->next_group->copyset_count = m->group->copyset_count;
    v->next_group->sequence = m->group->sequence;
    const bool extends = m->state == MEMBERS_IDLE && group_equal(v->next_group, m->group);
    *v->next_group = *group;
    return extends ? STATUS(OK) : STATUS(BUSY);
}

/* Whether all members have answered: who is missing is left to an exclusion (6.1). */
static bool all_reached(const struct group *g, const struct group_view *view)
{
    for (uint32_t n = 0; n < g->copyset_count; n++) {
        if (group_reached(g, n, &view->sessions) != group_members(g, n))
            return false;
    }
    return true;
}

static void grow_on_recorded(struct volume *v)
{
    if (v->members.fenced)
        grow_fail(v, STATUS(FENCED));
    else
        grow_spread(v);
}

/* Disks that were members nowhere, and are of the new copysets, are waited for from now on. */
static void take_members(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (group_has_member(v->members.group, call->uuid) ||
            !group_has_member(v->next_group, call->uuid))
            continue;
        members_flush_needs(&call->leg);
        if (!call->is_new)
            leg_keep(&call->leg, true);
    }
}

static void grow_record(struct volume *v)
{
    struct members *const m = &v->members;
    struct group_session items[VOLUME_STORES_MAX];
    struct group_reason reason;
    struct group_view view;

    members_view(v, items, &view);
    struct status st = all_reached(v->next_group, &view) ? STATUS(OK) : STATUS(UNAVAILABLE);
    if (status_ok(st))
        st = group_take_over(v->next_group, &view, false, m->next, &reason);
    if (!status_ok(st)) {
        grow_fail(v, st);
        return;
    }
    sm_move(&v->sm, VOL_RECORDING);
    take_members(v);
    *m->group = *v->next_group;
    members_change(v, grow_on_recorded);
}

/* ---- Telling the disks ---- */

/* A disk that is not there, or whose session was not opened, hears of it when it is: its replica is
 * out of sync by then, or the volume does not grow. */
static bool grow_takes(const struct leg_call *call)
{
    if (call->retired)
        return false;
    return leg_takes_description(&call->leg) || (call->is_new && leg_has_store(&call->leg));
}

static void grow_on_described_one(void *ctx)
{
    struct leg_call *call = ctx;

    call->outcome = call->leg.outcome;
    leg_call_return(call);
}

static void grow_on_session(void *ctx)
{
    struct leg_call *call = ctx;

    call->outcome = call->leg.problem;
    leg_call_return(call);
}

static void grow_deliver(struct io_msg *msg)
{
    struct leg_call *call = CONTAINER_OF(msg, struct leg_call, msg);
    struct volume *v = call->volume;

    if (leg_is_there(&call->leg))
        leg_describe(&call->leg, &v->next_desc, grow_on_described_one, call);
    else
        leg_open(&call->leg, &v->next_desc, v->epoch, grow_on_session, call);
}

/* A disk that is out of sync in all its copysets hears of it when it is copied to. */
static bool is_out(const struct volume *v, const struct leg_call *call)
{
    const struct group *const g = v->next_group != NULL ? v->next_group : v->members.group;

    return g != NULL && !group_has_member(g, call->uuid);
}

/* The first failure; a member, or a new disk, that is not there is one. */
static struct status grow_outcome(const struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *call = v->calls[i];
        const bool missing = call->is_new ? !leg_is_there(&call->leg) : !leg_is_up(&call->leg);
        const struct status st =
            missing && status_ok(call->outcome) ? STATUS(UNAVAILABLE) : call->outcome;
        if (status_ok(st) || is_out(v, call))
            continue;
        log_warning(v->log, "volume '%s': disk '%s': cannot grow there: %s", v->desc.name,
                    call->disk, status_text(st));
        return st;
    }
    return STATUS(OK);
}

void grow_on_described(struct volume *v)
{
    const struct status st = v->members.fenced ? STATUS(FENCED) : grow_outcome(v);

    if (!status_ok(st))
        grow_fail(v, st);
    else if (v->next_group != NULL)
        grow_record(v);
    else
        grow_spread(v);
}

struct status volume_grow(struct volume *v, const struct volume_config *config,
                          void (*done)(void *ctx, struct status status), void *ctx)
{
    assert(reactor_is_current(v->home));
    assert(v->on_grown == NULL);

    if (v->members.fenced)
        return STATUS(FENCED);
    if (v->openings > 0)
        return STATUS(BUSY); /* A disk that is there again hears of the old description. */
    if (v->members.behind)
        return STATUS(BUSY); /* 6.5: nothing rests on it, no new member either. */
    assert(v->sm.now == VOL_READY);
    if (!store_volume_is_valid(&config->volume) ||
        (!store_volume_extends(&config->volume, &v->desc) && !MUTATION(V1_GROWTH_WIDENS)))
        return STATUS(INVALID);
    struct status st = take_group(v, config->group);
    if (status_ok(st))
        st = volume_map_create(v, config, &v->next_map);
    if (!status_ok(st)) {
        free(v->next_group);
        v->next_group = NULL;
        return st;
    }
    v->next_desc = config->volume;
    v->on_grown = done;
    v->grow_ctx = ctx;
    for (uint32_t i = 0; i < v->call_count; i++) {
        v->calls[i]->outcome = STATUS(OK);
        v->calls[i]->opened |= v->calls[i]->is_new && leg_has_store(&v->calls[i]->leg);
    }
    sm_move(&v->sm, VOL_DESCRIBING);
    volume_round_legs(v, grow_takes, grow_deliver);
    return STATUS(OK);
}

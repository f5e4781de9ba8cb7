/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/replace.h"

#include <assert.h>

#include "volume/volume_internal.h"

static struct leg_call *call_at(const struct volume *v, const struct copyset *cs, unsigned slot)
{
    return v->calls[cs->home_leg[slot]];
}

bool replace_needs(const struct volume *v, const struct leg_call *call)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        const bool comes = cs->replace.wanted || cs->replace.turning;
        if (comes && v->calls[cs->replace.leg] == call)
            return true;
        if (cs->home.busy && v->calls[cs->home.leg] == call)
            return true;
        for (unsigned slot = 0; slot < v->desc.replicas; slot++)
            if (call_at(v, cs, slot) == call)
                return true;
    }
    return false;
}

/* ---- What is wanted ---- */

static struct copyset *find_copyset(const struct volume *v, uint32_t number)
{
    for (uint32_t i = 0; i < v->map->copyset_count; i++)
        if (v->map->copysets[i]->number == number)
            return v->map->copysets[i];
    return NULL;
}

/* Whether the record has the slot as it is to be replaced (9.13). */
static bool fits_record(const struct volume *v, uint32_t copyset, unsigned slot, struct uuid was,
                        struct uuid disk)
{
    const struct group *const g = v->members.group;
    unsigned other;

    if (copyset >= g->copyset_count || slot >= v->desc.replicas)
        return false;
    const struct group_slot *const s = &g->copysets[copyset].slots[slot];
    return s->state != GROUP_SLOT_UNUSED && uuid_equal(s->disk, was) &&
           !group_find(g, copyset, disk, &other);
}

/* The leg of a disk; made anew if it has no session, or was closed when nobody needed it. */
static struct status MUST_CHECK take_leg(struct volume *v, const struct volume_disk *disk,
                                         uint32_t *out_index)
{
    TRY(volume_map_leg(v, disk, out_index));
    struct leg_call *const call = v->calls[*out_index];
    if (call->opening)
        return call->on_forgotten != NULL ? STATUS(BUSY) : STATUS(OK);
    call->is_new = false;
    if (group_has_member(v->members.group, call->uuid))
        return STATUS(OK);
    if (!resync_home_needs(v, call))
        atomic_store(&call->members.spared, true); /* No Flush is to wait for it. */
    if (call->opened && !call->retired && (call->leg.remote != NULL || leg_is_there(&call->leg)))
        return STATUS(OK);
    return volume_map_renew(call, disk);
}

static struct status MUST_CHECK want(struct volume *v, const struct volume_config *config,
                                     const struct volume_replacement *r)
{
    uint32_t leg;

    if (r->disk >= config->disk_count)
        return STATUS(INVALID);
    const struct volume_disk *const disk = &config->disks[r->disk];
    struct copyset *const cs = find_copyset(v, r->copyset);
    if (cs == NULL || cs->replace.turning ||
        !fits_record(v, r->copyset, r->slot, r->was, disk->uuid))
        return STATUS(OK);
    TRY(take_leg(v, disk, &leg));
    cs->replace = (struct replace) {
        .wanted = true, .slot = r->slot, .was = r->was, .moves = r->moves, .leg = leg
    };
    return STATUS(OK);
}

/* ---- Legs that nobody needs ---- */

static void closed_on_home(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);
    struct volume *const v = call->volume;

    call->opening = false;
    v->openings--;
    atomic_store(&call->leg.used_bytes, 0);
    if (v->members.fenced)
        members_fence(v); /* The close waits for it. */
    else
        replace_go_on(v); /* It may be wanted again. */
}

static void closed_on_leg(void *ctx)
{
    struct leg_call *const call = ctx;

    call->open_msg.deliver = closed_on_home;
    reactor_post(call->volume->home, &call->open_msg);
}

static void close_deliver(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, open_msg);

    leg_close(&call->leg, closed_on_leg, call);
}

/*
 * A leg that nobody needs any more.  What is on its way to another node is let go of.  A growth
 * waits for what legs are told, which a close lets go of, too: not before it has ended.
 */
static void retire(struct volume *v, struct leg_call *call)
{
    if (v->sm.now != VOL_READY || !call->opened || call->opening || call->retired ||
        replace_needs(v, call))
        return;
    call->retired = true;
    call->opening = true;
    v->openings++;
    call->open_msg.deliver = close_deliver;
    reactor_post(call->leg.reactor, &call->open_msg);
}

static void retire_all(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++)
        retire(v, v->calls[i]);
}

/* ---- The legs ---- */

static struct status MUST_CHECK tell_slices(struct volume *v)
{
    if (v->call_count == v->map->leg_count) {
        replace_go_on(v);
        return STATUS(OK);
    }
    TRY(volume_map_add_legs(v, &v->next_map));
    v->next_desc = v->desc;
    v->openings++; /* A close waits for it. */
    grow_spread(v);
    return STATUS(OK);
}

void replace_on_spread(struct volume *v)
{
    v->next_map = NULL;
    v->openings--;
    sm_move(&v->sm, VOL_READY);
    if (v->members.fenced)
        members_fence(v);
    else
        replace_go_on(v);
}

/* Sessions of the disks that are wanted; the record changes when they are there. */
void replace_go_on(struct volume *v)
{
    if (v->sm.now != VOL_READY || v->members.fenced || v->members.group == NULL)
        return;
    if (!v->members.behind)
        retire_all(v); /* That were let go of while it was growing; no slice knows them. */
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct replace *const r = &v->copysets[i]->replace;
        struct leg_call *const call = v->calls[r->leg];
        if (r->wanted && !call->opening && !call->opened && leg_has_store(&call->leg))
            resync_home_open(v, call);
    }
    members_go_on(v);
}

/* All that can be: the first failure. */
static struct status MUST_CHECK want_all(struct volume *v, const struct volume_config *config,
                                         const struct volume_replacement *items, uint32_t count)
{
    struct status first = STATUS(OK);

    for (uint32_t i = 0; i < count; i++) {
        const struct status st = want(v, config, &items[i]);
        first = status_ok(first) ? st : first;
    }
    return first;
}

/* Whether the move that is under way, if one is, is still wanted. */
static bool still_moves(const struct copyset *cs)
{
    return cs->replace.wanted && cs->replace.leg == cs->home.leg &&
           cs->replace.slot == cs->home.place;
}

struct status volume_replace(struct volume *v, const struct volume_config *config,
                             const struct volume_replacement *items, uint32_t count)
{
    assert(reactor_is_current(v->home));
    if (v->desc.replicas == 1)
        return STATUS(UNSUPPORTED);
    if (v->members.fenced || v->members.group == NULL)
        return STATUS(FENCED);
    if (v->sm.now != VOL_READY || v->members.state != MEMBERS_IDLE || v->members.behind)
        return STATUS(BUSY);
    for (uint32_t i = 0; i < v->copyset_count; i++)
        v->copysets[i]->replace.wanted = false;
    const struct status st = want_all(v, config, items, count);
    for (uint32_t i = 0; i < v->copyset_count; i++)
        if (!still_moves(v->copysets[i]))
            resync_home_unwanted(v, v->copysets[i]);
    retire_all(v); /* That were wanted before. */
    const struct status told = tell_slices(v);
    return status_ok(st) ? told : st;
}

/* ---- The record (9.13) ---- */

/* Whether the new disk is there, and the record has the old one; out_state: how. */
static bool is_ready(const struct volume *v, const struct copyset *cs,
                     enum group_slot_state *out_state)
{
    const struct replace *const r = &cs->replace;
    const struct leg_call *const call = v->calls[r->leg];

    if (!r->wanted || r->turning || r->leg >= v->map->leg_count || call->opening ||
        !leg_is_up(&call->leg) || call->members.suspect ||
        !fits_record(v, cs->number, r->slot, r->was, call->uuid))
        return false;
    *out_state = v->members.group->copysets[cs->number].slots[r->slot].state;
    return true;
}

/* Whether it can be done now, as far as the copyset is concerned. */
static bool may_replace(const struct volume *v, const struct copyset *cs)
{
    enum group_slot_state state;

    return is_ready(v, cs, &state) && state == GROUP_SLOT_OUT &&
           !(cs->home.busy && cs->home.place == cs->replace.slot);
}

bool replace_moves(const struct volume *v, const struct copyset *cs)
{
    enum group_slot_state state;

    return cs->replace.moves && is_ready(v, cs, &state) && state == GROUP_SLOT_IN;
}

void replace_on_move(struct copyset *cs)
{
    cs->replace.wanted = false;
    cs->replace.turning = true;
}

bool replace_record(struct volume *v)
{
    struct members *const m = &v->members;
    struct group_replacement items[GROUP_COPYSETS_MAX];
    struct group_reason reason;
    uint32_t count = 0;

    for (uint32_t i = 0; i < v->map->copyset_count && count < ARRAY_COUNT(items); i++) {
        struct copyset *const cs = v->map->copysets[i];
        if (!may_replace(v, cs))
            continue;
        cs->replace.wanted = false;
        cs->replace.turning = true;
        items[count++] = (struct group_replacement) { cs->number, cs->replace.slot,
                                                      v->calls[cs->replace.leg]->uuid };
    }
    if (count == 0)
        return false;
    const struct status st = group_replace(m->group, items, count,
                                           reactor_wall_ns(v->home) / NS_PER_MS, m->next, &reason);
    assert(status_ok(st)); /* may_replace() has looked. */
    members_change(v, NULL);
    return true;
}

/* ---- What follows from it ---- */

static void take_leg_of(struct volume *v, struct copyset *cs)
{
    const struct replace *const r = &cs->replace;

    log_warning(v->log, "volume '%s': copyset %u: disk '%s' takes the place of disk '%s'",
                v->desc.name, cs->number, v->calls[r->leg]->disk, call_at(v, cs, r->slot)->disk);
    cs->home_leg[r->slot] = r->leg;
    cs->home.slots = cs->home.spare = (struct resync_delay) { 0 }; /* That was the other disk. */
}

void replace_on_end(struct volume *v, struct copyset *cs)
{
    retire(v, v->calls[cs->home.leg]);
}

void replace_changed(struct volume *v, bool spread)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        struct copyset *const cs = v->copysets[i];
        if (!cs->replace.turning)
            continue;
        if (cs->home_leg[cs->replace.slot] != cs->replace.leg)
            take_leg_of(v, cs);
        if (spread)
            cs->replace.turning = false;
    }
    if (spread)
        retire_all(v);
}

void replace_take_leg(struct copyset *cs, unsigned slot, uint32_t leg)
{
    const uint8_t bit = (uint8_t)(1u << slot);

    assert(reactor_is_current(cs->slice->reactor));
    cs->leg[slot] = leg;
    cs->remote &= (uint8_t)~bit;
    if (cs->slice->map->legs[leg]->remote != NULL)
        cs->remote |= bit;
}

void replace_turn(struct copyset *cs)
{
    const struct replace *const r = &cs->replace;

    if (!r->turning)
        return;
    replace_take_leg(cs, r->slot, r->leg);
    points_turn(cs, r->slot);
    outlier_forget(cs, r->slot);
    resync_moved(cs);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/points.h"

#include <assert.h>
#include <stdlib.h>

#include "volume/volume_internal.h"

static_assert(VOLUME_SLOTS_MAX == STORE_COPYSET_POINTS, "a point for each slot");

static const struct leg_call *call_of(const struct copyset *cs, unsigned slot)
{
    return CONTAINER_OF(cs->slice->map->legs[cs->leg[slot]], const struct leg_call, leg);
}

struct status points_take(struct copyset *cs, unsigned slot, uint64_t incarnation,
                          const struct store_point *own)
{
    struct store_point *const known = &cs->points[slot];

    if (!uuid_equal(own->disk, call_of(cs, slot)->uuid))
        return STATUS(MALFORMED);
    if (own->incarnation != incarnation)
        return STATUS(STALE_INCARNATION);
    if ((cs->lost >> slot & 1) == 0 && uuid_equal(known->disk, own->disk) &&
        known->incarnation == own->incarnation && known->position > own->position)
        return STATUS(POINT_LOST);
    *known = *own;
    known->copyset = cs->number;
    return STATUS(OK);
}

uint32_t points_gather(const struct copyset *cs, struct store_point *items)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < VOLUME_SLOTS_MAX; i++) {
        if (!uuid_is_nil(cs->points[i].disk))
            items[count++] = cs->points[i];
    }
    return count;
}

bool points_are_old(const struct copyset *cs)
{
    for (unsigned slot = 0; slot < VOLUME_REPLICAS_MAX; slot++) {
        const struct store_point *const p = &cs->points[slot];
        if ((cs->members >> slot & 1) != 0 && !uuid_is_nil(p->disk) &&
            p->incarnation != atomic_load(&call_of(cs, slot)->leg.incarnation_now))
            return true;
    }
    return false;
}

bool points_are_due(const struct copyset *cs)
{
    return cs->lost != 0 && cs->settling.left == 0;
}

void points_forget(struct copyset *cs, unsigned slot)
{
    const struct uuid disk = call_of(cs, slot)->uuid;

    for (unsigned i = 0; i < VOLUME_SLOTS_MAX; i++)
        if (i == slot || uuid_equal(cs->points[i].disk, disk))
            cs->points[i] = (struct store_point) { 0 };
}

/* A replica that was moved brings its own from the spare place. */
void points_turn(struct copyset *cs, unsigned slot)
{
    struct store_point *const spare = &cs->points[copyset_spare(cs)];
    struct store_point *const of = &cs->points[slot];
    const struct uuid disk = call_of(cs, slot)->uuid;

    if (!uuid_equal(of->disk, disk))
        *of = uuid_equal(spare->disk, disk) ? *spare : (struct store_point) { 0 };
    *spare = (struct store_point) { 0 };
}

/* ---- What members keep ---- */

static bool is_member(const struct volume *v, const struct copyset *cs, struct uuid disk,
                      unsigned *out_slot)
{
    return group_find(v->members.group, cs->number, disk, out_slot) &&
           (group_members(v->members.group, cs->number) >> *out_slot & 1) != 0;
}

/* Which of two points of a disk was confirmed later (3.7.5). */
static struct store_point later_of(const struct store_point *a, const struct store_point *b)
{
    const uint64_t a_count = a->incarnation >> 32, b_count = b->incarnation >> 32;
    struct store_point later = a_count > b_count ? *a : *b;

    if (a_count == b_count)
        later.position = max_u64(a->position, b->position);
    if (a_count == b_count && a->incarnation != b->incarnation)
        later.incarnation |= UINT32_MAX; /* Nobody's, whoever else keeps one of them. */
    return later;
}

static struct copyset *copyset_numbered(const struct volume *v, uint32_t number)
{
    for (uint32_t i = 0; i < v->copyset_count; i++)
        if (v->copysets[i]->number == number)
            return v->copysets[i];
    return NULL;
}

static void take_kept(struct volume *v, const struct leg_call *from, const struct store_point *p)
{
    unsigned slot, own;

    struct copyset *const cs = copyset_numbered(v, p->copyset);
    /* Of a growth that came to nothing, of a disk that has no slot any more, or from one. */
    if (cs == NULL || !group_find(v->members.group, cs->number, p->disk, &slot) ||
        !is_member(v, cs, from->uuid, &own))
        return;
    struct store_point *const known = &cs->points[slot];
    *known = uuid_is_nil(known->disk) ? *p : later_of(known, p);
}

static void take_all_kept(struct volume *v)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct members_leg *const m = &v->calls[i]->members;
        for (uint32_t k = 0; k < m->point_count; k++)
            take_kept(v, v->calls[i], &m->points[k]);
    }
}

/* ---- Telling them ---- */

static void tell_submit(struct leg_call *call);

static void tell_on_leg(struct leg_io *io)
{
    struct leg_call *const call = io->owner;

    call->outcome = io->status;
    if (status_ok(io->status) && call->members.point_next < call->members.point_count)
        tell_submit(call);
    else
        leg_call_return(call);
}

/* As many copysets as one command takes. */
static void tell_submit(struct leg_call *call)
{
    struct members_leg *const m = &call->members;
    struct store_point *const first = &m->points[m->point_next];
    uint32_t count = m->point_count - m->point_next;

    if (count > STORE_POINTS_MAX) {
        count = STORE_POINTS_MAX;
        while (first[count - 1].copyset == first[count].copyset)
            count--;
    }
    m->point_next += count;
    m->io.store.fua = false;
    members_leg_submit(call, STORE_OP_KEEP_POINTS,
                       (struct span) { (uint8_t *)first, count * sizeof *first }, tell_on_leg);
}

static void tell_deliver(struct io_msg *msg)
{
    struct leg_call *const call = CONTAINER_OF(msg, struct leg_call, msg);

    call->members.point_next = 0;
    tell_submit(call);
}

/* All points of the copysets in which the disk is a member. */
static struct status MUST_CHECK gather_for(struct volume *v, struct leg_call *call)
{
    struct members_leg *const m = &call->members;
    unsigned slot;

    free(m->points);
    m->point_count = 0;
    m->points = calloc((size_t)v->copyset_count * STORE_COPYSET_POINTS, sizeof *m->points);
    if (m->points == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        if (is_member(v, cs, call->uuid, &slot))
            m->point_count += points_gather(cs, &m->points[m->point_count]);
    }
    return STATUS(OK);
}

static bool is_told(const struct leg_call *call)
{
    return call->members.listed && call->members.point_count > 0;
}

void points_tell(struct volume *v)
{
    take_all_kept(v);
    for (uint32_t i = 0; i < v->call_count; i++) {
        struct leg_call *const call = v->calls[i];
        if (call->members.listed && status_ok(v->status))
            v->status = gather_for(v, call);
        call->outcome = is_told(call) ? STATUS(UNAVAILABLE) : STATUS(OK); /* Until it is. */
    }
    if (status_ok(v->status))
        volume_round_legs(v, is_told, tell_deliver);
    else
        volume_round_begin(v, 0);
}

/* ---- Where one is needed that has lost its own ---- */

static struct status MUST_CHECK settle_everything(const struct volume *v, struct copyset *cs)
{
    for (uint32_t shard = 0; shard < v->map->shard_count; shard++) {
        if (map_copyset(v->map, shard) == cs)
            TRY(settling_add(&cs->settling, shard, 0, map_shard_regions(v->map)));
    }
    return STATUS(OK);
}

/* Its point, or by the record everything: then an engine before this one has found that (7.2). */
static bool has_lost(const struct volume *v, const struct leg_call *call, const struct copyset *cs,
                     unsigned slot)
{
    return status_is(call->outcome, STATUS_POINT_LOST) ||
           (group_with_nothing(v->members.group, cs->number) >> slot & 1) != 0;
}

struct status points_settle_lost(struct volume *v)
{
    unsigned slot;

    for (uint32_t i = 0; i < v->call_count; i++) {
        const struct leg_call *const call = v->calls[i];
        for (uint32_t n = 0; n < v->copyset_count; n++) {
            struct copyset *const cs = v->copysets[n];
            if (!is_member(v, cs, call->uuid, &slot) || !has_lost(v, call, cs, slot))
                continue;
            log_warning(v->log,
                        "volume '%s': disk '%s' has lost what it had confirmed as durable, but "
                        "copyset %u needs it: all of it is compared, and flushes wait for that",
                        v->desc.name, call->disk, cs->number);
            TRY(settle_everything(v, cs));
            if (cs->settling.count > 0)
                cs->lost |= (uint8_t)(1u << slot);
        }
    }
    return STATUS(OK);
}

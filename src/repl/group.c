/* SPDX-License-Identifier: Apache-2.0 */
#include "repl/group.h"

#include <stdio.h>

static const struct group_slot *slot_of(const struct group *g, uint32_t copyset, unsigned slot)
{
    assert(copyset < g->copyset_count);
    assert(slot < GROUP_SLOTS);
    return &g->copysets[copyset].slots[slot];
}

/* ---- Checks ---- */

static bool slot_equal(const struct group_slot *a, const struct group_slot *b)
{
    return a->state == b->state && uuid_equal(a->disk, b->disk) &&
           a->incarnation == b->incarnation && a->since_unix_ms == b->since_unix_ms &&
           a->whole == b->whole;
}

static bool copyset_equal(const struct group_copyset *a, const struct group_copyset *b)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (!slot_equal(&a->slots[i], &b->slots[i]))
            return false;
    return true;
}

bool group_equal(const struct group *a, const struct group *b)
{
    if (a->epoch != b->epoch || !uuid_equal(a->owner, b->owner) || a->generation != b->generation ||
        a->sequence != b->sequence || a->loss != b->loss || a->copyset_count != b->copyset_count)
        return false;
    for (uint32_t i = 0; i < a->copyset_count; i++)
        if (!copyset_equal(&a->copysets[i], &b->copysets[i]))
            return false;
    return true;
}

/* What is wrong with a slot by itself; NULL if nothing is. */
static const char *slot_problem(const struct group_slot *s)
{
    static const struct group_slot unused = { .state = GROUP_SLOT_UNUSED };

    switch (s->state) {
    case GROUP_SLOT_UNUSED:
        return slot_equal(s, &unused) ? NULL : "a slot without a disk says something";
    case GROUP_SLOT_IN:
        if (s->since_unix_ms != 0 || s->whole)
            return "a member is said to lack something";
        break;
    case GROUP_SLOT_OUT:
        if (s->incarnation != 0)
            return "a disk that is out has a recorded incarnation";
        break;
    default:
        return "a slot has no state that there is";
    }
    return uuid_is_nil(s->disk) ? "a slot in use has no disk" : NULL;
}

static bool has_disk_twice(const struct group_copyset *c)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        for (unsigned k = i + 1; k < GROUP_SLOTS; k++)
            if (c->slots[i].state != GROUP_SLOT_UNUSED && c->slots[k].state != GROUP_SLOT_UNUSED &&
                uuid_equal(c->slots[i].disk, c->slots[k].disk))
                return true;
    return false;
}

static const char *copyset_problem(const struct group_copyset *c)
{
    unsigned members = 0;
    unsigned fresh = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        const char *problem = slot_problem(&c->slots[i]);
        if (problem != NULL)
            return problem;
        members += c->slots[i].state == GROUP_SLOT_IN;
        fresh += c->slots[i].state == GROUP_SLOT_IN && c->slots[i].incarnation == 0;
    }
    if (has_disk_twice(c))
        return "a disk has two slots";
    if (members == 0)
        return "it has no member";
    return fresh == 0 || fresh == members ? NULL : "some of its members have no incarnation";
}

struct status group_copyset_check(const struct group_copyset *c, uint32_t number,
                                  struct group_reason *reason)
{
    const char *problem = copyset_problem(c);

    if (problem == NULL)
        return STATUS(OK);
    snprintf(reason->s, sizeof reason->s, "copyset %u: %s", number, problem);
    return STATUS(INVALID);
}

struct status group_check(const struct group *g, struct group_reason *reason)
{
    if (g->copyset_count > GROUP_COPYSETS_MAX) {
        snprintf(reason->s, sizeof reason->s, "%u copysets, more than %u", g->copyset_count,
                 GROUP_COPYSETS_MAX);
        return STATUS(INVALID);
    }
    for (uint32_t i = 0; i < g->copyset_count; i++)
        TRY(group_copyset_check(&g->copysets[i], i, reason));
    return STATUS(OK);
}

static const char *next_problem(const struct group *was, const struct group *now)
{
    if (now->epoch != was->epoch || !uuid_equal(now->owner, was->owner))
        return "the epoch is taken, not committed";
    if (now->sequence != was->sequence + 1)
        return "its sequence is not the next one";
    if (now->generation < was->generation)
        return "its generation falls";
    return now->copyset_count == was->copyset_count ? NULL : "it has other copysets";
}

struct status group_check_next(const struct group *was, const struct group *now,
                               struct group_reason *reason)
{
    const char *problem = next_problem(was, now);

    if (problem == NULL)
        return group_check(now, reason);
    snprintf(reason->s, sizeof reason->s, "%s", problem);
    return STATUS(INVALID);
}

bool group_disks_differ(const struct group *was, const struct group *now, uint32_t copyset)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (!uuid_equal(slot_of(was, copyset, i)->disk, slot_of(now, copyset, i)->disk))
            return true;
    return false;
}

bool group_any_disks_differ(const struct group *was, const struct group *now)
{
    for (uint32_t n = 0; n < was->copyset_count && n < now->copyset_count; n++)
        if (group_disks_differ(was, now, n))
            return true;
    return false;
}

/* ---- What it says ---- */

bool group_find(const struct group *g, uint32_t copyset, struct uuid disk, unsigned *out_slot)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        const struct group_slot *s = slot_of(g, copyset, i);
        if (s->state == GROUP_SLOT_UNUSED || !uuid_equal(s->disk, disk))
            continue;
        *out_slot = i;
        return true;
    }
    return false;
}

bool group_has_member(const struct group *g, struct uuid disk)
{
    unsigned slot;

    for (uint32_t i = 0; i < g->copyset_count; i++)
        if (group_find(g, i, disk, &slot) && slot_of(g, i, slot)->state == GROUP_SLOT_IN)
            return true;
    return false;
}

unsigned group_with_nothing(const struct group *g, uint32_t copyset)
{
    unsigned slots = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        const struct group_slot *const s = slot_of(g, copyset, i);
        if (s->state == GROUP_SLOT_IN && s->incarnation == GROUP_INCARNATION_NONE)
            slots |= 1u << i;
    }
    return slots;
}

bool group_must_know(const struct group *g, struct uuid disk)
{
    unsigned slot;

    for (uint32_t i = 0; i < g->copyset_count; i++) {
        if (!group_find(g, i, disk, &slot))
            continue;
        const struct group_slot *const s = slot_of(g, i, slot);
        if (s->state == GROUP_SLOT_IN && s->incarnation != 0 &&
            s->incarnation != GROUP_INCARNATION_NONE)
            return true;
    }
    return false;
}

unsigned group_members(const struct group *g, uint32_t copyset)
{
    unsigned members = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (slot_of(g, copyset, i)->state == GROUP_SLOT_IN)
            members |= 1u << i;
    return members;
}

static const struct group_session *session_with(const struct group_sessions *sessions,
                                                struct uuid disk)
{
    for (uint32_t i = 0; i < sessions->count; i++)
        if (uuid_equal(sessions->items[i].disk, disk))
            return &sessions->items[i];
    return NULL;
}

static unsigned reached_in(const struct group *g, uint32_t copyset, enum group_slot_state state,
                           const struct group_sessions *sessions)
{
    unsigned reached = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (slot_of(g, copyset, i)->state == state &&
            session_with(sessions, slot_of(g, copyset, i)->disk) != NULL)
            reached |= 1u << i;
    return reached;
}

unsigned group_reached(const struct group *g, uint32_t copyset,
                       const struct group_sessions *sessions)
{
    return reached_in(g, copyset, GROUP_SLOT_IN, sessions);
}

unsigned group_reached_out(const struct group *g, uint32_t copyset,
                           const struct group_sessions *sessions)
{
    return reached_in(g, copyset, GROUP_SLOT_OUT, sessions);
}

unsigned group_sources(const struct group *g, uint32_t copyset,
                       const struct group_sessions *sessions)
{
    const unsigned reached = group_reached(g, copyset, sessions);
    unsigned sources = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        const struct group_slot *s = slot_of(g, copyset, i);
        if ((reached & 1u << i) != 0 && s->incarnation != 0 &&
            session_with(sessions, s->disk)->incarnation == s->incarnation)
            sources |= 1u << i;
    }
    return sources;
}

bool group_is_fresh(const struct group *g, uint32_t copyset)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (slot_of(g, copyset, i)->incarnation != 0)
            return false;
    return true;
}

struct status group_may_serve(const struct group *g, uint32_t copyset,
                              const struct group_sessions *sealed, unsigned min_in_sync,
                              struct group_reason *reason)
{
    const unsigned members = group_members(g, copyset);
    const unsigned count = (unsigned)__builtin_popcount(members);
    const char *why = NULL;

    if (group_reached(g, copyset, sealed) != members)
        why = "a member has not answered, and is not recorded as out";
    else if (count < group_members_min(min_in_sync))
        why = "it has too few members";
    else if (group_sources(g, copyset, sealed) == 0)
        why = "no member has the incarnation that is recorded";
    if (why == NULL)
        return STATUS(OK);
    snprintf(reason->s, sizeof reason->s, "copyset %u: %s", copyset, why);
    return STATUS(UNAVAILABLE);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "repl/group_steps.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mutation.h"

#define HAS(slots, slot) (((slots)&1u << (slot)) != 0)

__attribute__((format(printf, 3, 4))) static struct status refuse(struct group_reason *reason,
                                                                  struct status st,
                                                                  const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(reason->s, sizeof reason->s, format, ap);
    va_end(ap);
    return st;
}

static unsigned count_of(unsigned slots)
{
    return (unsigned)__builtin_popcount(slots);
}

static struct status MUST_CHECK check_sequence(const struct group *was, struct group_reason *reason)
{
    if (was->sequence == UINT64_MAX)
        return refuse(reason, STATUS(LIMIT), "the record has been changed too often");
    return STATUS(OK);
}

/* Every step ends here: from a valid record a valid one, the next in sequence. */
static void finish(struct group *g)
{
    struct group_reason reason;

    g->sequence++;
    const struct status st = group_check(g, &reason);
    assert(status_ok(st));
}

static void set_out(struct group_slot *s, uint64_t now_unix_ms)
{
    assert(s->state == GROUP_SLOT_IN);
    *s = (struct group_slot) { .state = GROUP_SLOT_OUT,
                               .disk = s->disk,
                               .since_unix_ms = now_unix_ms };
}

static void set_in(struct group_slot *s, uint64_t incarnation)
{
    *s =
        (struct group_slot) { .state = GROUP_SLOT_IN, .disk = s->disk, .incarnation = incarnation };
}

static uint64_t incarnation_in(const struct group_sessions *sessions, struct uuid disk)
{
    for (uint32_t i = 0; i < sessions->count; i++)
        if (uuid_equal(sessions->items[i].disk, disk))
            return sessions->items[i].incarnation;
    return 0;
}

/* ---- A new engine ---- */

struct status group_take_epoch(const struct group *was, struct uuid node, struct group *out_group,
                               struct group_reason *reason)
{
    TRY(check_sequence(was, reason));
    if (was->epoch == UINT64_MAX)
        return refuse(reason, STATUS(LIMIT), "there is no higher epoch");
    if (uuid_is_nil(node))
        return refuse(reason, STATUS(INVALID), "an epoch has an owner");
    *out_group = *was;
    out_group->epoch++;
    out_group->owner = node;
    finish(out_group);
    return STATUS(OK);
}

/* The first disk of these slots, for a reason. */
static struct uuid_text disk_of(const struct group *g, uint32_t copyset, unsigned slots)
{
    assert(slots != 0);
    return uuid_format(g->copysets[copyset].slots[__builtin_ctz(slots)].disk);
}

/* 3.7.5  Of some slots, those whose disks have lost their flush points. */
static unsigned point_lost(const struct group *g, uint32_t copyset,
                           const struct group_sessions *sessions, unsigned slots)
{
    unsigned lost = 0;

    for (uint32_t i = 0; i < sessions->count; i++) {
        unsigned slot;
        if (sessions->items[i].point_lost && group_find(g, copyset, sessions->items[i].disk, &slot))
            lost |= slots & 1u << slot;
    }
    return lost;
}

/* What has come for a copyset: sets of members. */
struct answers {
    unsigned members;
    unsigned sealed; /* That have answered, and count. */
    unsigned lost;   /* 3.7.5: that have lost their flush points, now or before, ... */
    unsigned kept;   /* ... and are needed all the same. */
    unsigned silent;
    unsigned sources; /* Of sealed. */
    bool few;         /* 11.4: one of two, which has everything: the silent one stays. */
};

static bool has_out(const struct group *g, uint32_t copyset)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (g->copysets[copyset].slots[i].state == GROUP_SLOT_OUT)
            return true;
    return false;
}

static struct answers answers_of(const struct group *g, uint32_t copyset,
                                 const struct group_view *view)
{
    const unsigned reached = group_reached(g, copyset, &view->sessions);
    struct answers a = { .members = group_members(g, copyset) };

    a.lost = reached &
             (point_lost(g, copyset, &view->sessions, reached) | group_with_nothing(g, copyset));
    a.sealed = reached & ~a.lost;
    a.silent = a.members & ~reached;
    a.sources = group_sources(g, copyset, &view->sessions) & a.sealed;
    if (count_of(a.sealed) < group_members_min(view->min_in_sync))
        a.kept = a.lost;
    a.few = group_members_min(view->min_in_sync) == 2 && count_of(a.members) == 2 &&
            count_of(a.silent) == 1 && a.sources == reached && has_out(g, copyset);
    return a;
}

/* 7.4  Whether these answers are enough for the copyset. */
static struct status MUST_CHECK check_answers(const struct group *g, uint32_t copyset,
                                              const struct group_view *view, bool waited,
                                              struct group_reason *reason)
{
    const struct answers a = answers_of(g, copyset, view);
    const unsigned wanted = group_members_min(view->min_in_sync);
    const unsigned have = count_of(a.sealed | a.kept);

    if (a.few && waited)
        return STATUS(OK);
    if (a.few)
        return refuse(reason, STATUS(BUSY),
                      "copyset %u: one of %u members has answered, and %u must: disk %s is waited "
                      "for",
                      copyset, count_of(a.members), wanted, disk_of(g, copyset, a.silent).s);
    if (have < wanted && a.silent != 0)
        return refuse(reason, STATUS(UNAVAILABLE),
                      "copyset %u: %u of %u members have answered, and %u must: disk %s has not",
                      copyset, have, count_of(a.members), wanted, disk_of(g, copyset, a.silent).s);
    if (have < wanted)
        return refuse(reason, STATUS(UNAVAILABLE), "copyset %u: it has %u members, and needs %u",
                      copyset, count_of(a.members), wanted);
    if (a.sealed == 0)
        return refuse(reason, STATUS(UNAVAILABLE),
                      "copyset %u: disk %s has lost what it had confirmed as durable, and no other "
                      "member has answered",
                      copyset, disk_of(g, copyset, a.lost).s);
    if (a.kept != 0 && a.silent != 0 && !waited)
        return refuse(reason, STATUS(BUSY),
                      "copyset %u: disk %s has lost what it had confirmed as durable; disk %s is "
                      "waited for",
                      copyset, disk_of(g, copyset, a.kept).s, disk_of(g, copyset, a.silent).s);
    if (a.sources == 0 && !group_is_fresh(g, copyset) && a.silent != 0 && !waited)
        return refuse(reason, STATUS(BUSY),
                      "copyset %u: the members that have answered have lost power; disk %s may not "
                      "have, and is waited for",
                      copyset, disk_of(g, copyset, a.silent).s);
    return STATUS(OK);
}

static bool may_have_lost(const struct group_sessions *sessions, struct uuid disk)
{
    for (uint32_t i = 0; i < sessions->count; i++)
        if (uuid_equal(sessions->items[i].disk, disk))
            return sessions->items[i].may_have_lost;
    return true;
}

/* Of some members, those whose stores have lost nothing. */
static unsigned unhurt(const struct group *g, uint32_t copyset, const struct group_view *view,
                       unsigned slots)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (HAS(slots, i) && !may_have_lost(&view->sessions, g->copysets[copyset].slots[i].disk))
            kept |= 1u << i;
    return kept;
}

/*
 * 7.4  The members whose incarnations are to be recorded, of those that have answered, as none of
 * them is a source.
 */
static unsigned choose_base(struct group *g, uint32_t copyset, const struct group_view *view,
                            unsigned sealed)
{
    if (group_is_fresh(g, copyset))
        return sealed;
    const unsigned kept = unhurt(g, copyset, view, sealed);
    g->loss |= kept == 0 && !MUTATION(LOSS_NOT_RECORDED);
    return kept != 0 ? kept : sealed;
}

/* 3.7.5: it is needed, and no source, whatever its incarnation.  Whether that changes anything. */
static bool keep_lost(struct group_slot *s, const struct group_sessions *sessions)
{
    const uint64_t now = incarnation_in(sessions, s->disk);

    if (now != GROUP_INCARNATION_NONE && s->incarnation != now)
        return false;
    set_in(s, GROUP_INCARNATION_NONE);
    return true;
}

/* 7.4, for a copyset for which they are enough.  Whether anything has changed. */
static bool take_over_copyset(struct group *g, uint32_t copyset, const struct group_view *view)
{
    struct group_slot *slots = g->copysets[copyset].slots;
    const struct answers a = answers_of(g, copyset, view);
    if (a.few)
        return false;
    const unsigned recorded = a.sources != 0 ? 0 : choose_base(g, copyset, view, a.sealed);
    bool changed = (a.sealed | a.kept) != a.members || a.sources == 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        if (HAS(a.kept, i)) {
            changed |= keep_lost(&slots[i], &view->sessions);
        } else if (HAS(a.members & ~a.sealed, i)) {
            set_out(&slots[i], view->now_unix_ms);
            slots[i].whole = HAS(a.lost, i);
        } else if (HAS(recorded, i) && !MUTATION(BASE_NOT_RECORDED)) {
            set_in(&slots[i], incarnation_in(&view->sessions, slots[i].disk));
        }
    }
    return changed;
}

unsigned group_silent(const struct group *g, uint32_t copyset, const struct group_view *view)
{
    const struct answers a = answers_of(g, copyset, view);

    return a.few ? a.silent : 0;
}

/* No disk has incarnation 0: it stands for none. */
static struct status MUST_CHECK check_sessions(const struct group_view *view,
                                               struct group_reason *reason)
{
    for (uint32_t i = 0; i < view->sessions.count; i++)
        if (view->sessions.items[i].incarnation == 0)
            return refuse(reason, STATUS(INVALID), "disk %s says that it has no incarnation",
                          uuid_format(view->sessions.items[i].disk).s);
    return STATUS(OK);
}

struct status group_take_over(const struct group *was, const struct group_view *view, bool waited,
                              struct group *out_group, struct group_reason *reason)
{
    bool changed = false;

    TRY(check_sequence(was, reason));
    TRY(check_sessions(view, reason));
    for (uint32_t i = 0; i < was->copyset_count; i++)
        TRY(check_answers(was, i, view, waited, reason));
    *out_group = *was;
    for (uint32_t i = 0; i < out_group->copyset_count; i++)
        changed |= take_over_copyset(out_group, i, view);
    if (changed)
        finish(out_group);
    return STATUS(OK);
}

struct status group_settled(const struct group *was, const struct group_view *view,
                            struct group *out_group, struct group_reason *reason)
{
    bool changed = false;

    TRY(check_sequence(was, reason));
    TRY(check_sessions(view, reason));
    for (uint32_t i = 0; i < was->copyset_count; i++)
        TRY(group_may_serve(was, i, &view->sessions, view->min_in_sync, reason));
    *out_group = *was;
    for (uint32_t i = 0; i < out_group->copyset_count * GROUP_SLOTS; i++) {
        struct group_slot *s = &out_group->copysets[i / GROUP_SLOTS].slots[i % GROUP_SLOTS];
        const uint64_t now = incarnation_in(&view->sessions, s->disk);
        if (s->state != GROUP_SLOT_IN || s->incarnation == now)
            continue;
        set_in(s, now);
        changed = true;
    }
    if (changed)
        finish(out_group);
    return STATUS(OK);
}

struct status group_loss_heard(const struct group *was, struct group *out_group,
                               struct group_reason *reason)
{
    TRY(check_sequence(was, reason));
    const bool is_said = was->loss;
    *out_group = *was;
    out_group->loss = false;
    if (is_said)
        finish(out_group);
    return STATUS(OK);
}

/* ---- Exclusion ---- */

/* 6.1  Whether enough sources remain when these slots are out. */
static struct status MUST_CHECK check_remaining(const struct group *g, uint32_t copyset,
                                                const struct group_view *view, unsigned leaving,
                                                unsigned joining, struct group_reason *reason)
{
    const unsigned sources = group_sources(g, copyset, &view->sessions) & ~leaving;
    const unsigned wanted = group_members_min(view->min_in_sync);
    const unsigned have = count_of(sources) + joining;

    if (have >= wanted)
        return STATUS(OK);
    return refuse(reason, STATUS(UNAVAILABLE),
                  "copyset %u: without disk %s, %u members would be left that are known to have "
                  "everything, and %u must",
                  copyset, disk_of(g, copyset, leaving).s, have, wanted);
}

struct status group_may_exclude(const struct group *g, const struct group_view *view,
                                struct uuid disk, struct group_reason *reason)
{
    unsigned slot;

    if (!group_has_member(g, disk))
        return refuse(reason, STATUS(INVALID), "disk %s is no member", uuid_format(disk).s);
    for (uint32_t i = 0; i < g->copyset_count; i++)
        if (group_find(g, i, disk, &slot) && HAS(group_members(g, i), slot))
            TRY(check_remaining(g, i, view, 1u << slot, 0, reason));
    return STATUS(OK);
}

struct status group_exclude(const struct group *was, const struct group_view *view,
                            struct uuid disk, struct group *out_group, struct group_reason *reason)
{
    unsigned slot;

    TRY(check_sequence(was, reason));
    TRY(group_may_exclude(was, view, disk, reason));
    *out_group = *was;
    for (uint32_t i = 0; i < out_group->copyset_count; i++)
        if (group_find(out_group, i, disk, &slot) && HAS(group_members(out_group, i), slot))
            set_out(&out_group->copysets[i].slots[slot], view->now_unix_ms);
    finish(out_group);
    return STATUS(OK);
}

/* ---- Replicas that are out ---- */

/* The slot must be out: its disk is no member. */
static struct status MUST_CHECK check_out(const struct group *g, uint32_t copyset, unsigned slot,
                                          struct group_reason *reason)
{
    if (copyset >= g->copyset_count || slot >= GROUP_SLOTS)
        return refuse(reason, STATUS(INVALID), "copyset %u has no slot %u", copyset, slot);
    if (g->copysets[copyset].slots[slot].state != GROUP_SLOT_OUT)
        return refuse(reason, STATUS(INVALID), "copyset %u: slot %u is not out", copyset, slot);
    return check_sequence(g, reason);
}

/* The session in which the disk was copied is still there, and so is who has everything. */
static struct status MUST_CHECK check_copied(const struct group *g, const struct group_view *view,
                                             uint32_t copyset, struct uuid disk,
                                             uint64_t incarnation, struct group_reason *reason)
{
    if (incarnation == 0 || incarnation_in(&view->sessions, disk) != incarnation)
        return refuse(reason, STATUS(UNAVAILABLE),
                      "disk %s has lost the session in which it was copied", uuid_format(disk).s);
    if (group_sources(g, copyset, &view->sessions) == 0)
        return refuse(reason, STATUS(UNAVAILABLE), "copyset %u: it has no source", copyset);
    return STATUS(OK);
}

static struct status MUST_CHECK check_admission(const struct group *g,
                                                const struct group_view *view,
                                                const struct group_admission *a,
                                                struct group_reason *reason)
{
    TRY(check_out(g, a->copyset, a->slot, reason));
    const struct group_slot *s = &g->copysets[a->copyset].slots[a->slot];
    TRY(check_copied(g, view, a->copyset, s->disk, a->incarnation, reason));
    if (!a->replaces)
        return STATUS(OK);
    if (!HAS(group_members(g, a->copyset), a->leaving))
        return refuse(reason, STATUS(INVALID), "copyset %u: slot %u is no member", a->copyset,
                      a->leaving);
    return check_remaining(g, a->copyset, view, 1u << a->leaving, 1, reason);
}

struct status group_admit(const struct group *was, const struct group_view *view,
                          const struct group_admission *admission, struct group *out_group,
                          struct group_reason *reason)
{
    TRY(check_admission(was, view, admission, reason));
    *out_group = *was;
    struct group_slot *slots = out_group->copysets[admission->copyset].slots;
    set_in(&slots[admission->slot], admission->incarnation);
    if (admission->replaces)
        set_out(&slots[admission->leaving], view->now_unix_ms);
    finish(out_group);
    return STATUS(OK);
}

struct status group_reclaim(const struct group *was, uint32_t copyset, unsigned slot,
                            struct group *out_group, struct group_reason *reason)
{
    TRY(check_out(was, copyset, slot, reason));
    const bool was_whole = was->copysets[copyset].slots[slot].whole;
    *out_group = *was;
    out_group->copysets[copyset].slots[slot].whole = true;
    if (!was_whole)
        finish(out_group);
    return STATUS(OK);
}

static struct status MUST_CHECK check_replacement(const struct group *g,
                                                  const struct group_replacement *r,
                                                  struct group_reason *reason)
{
    unsigned other;

    if (r->copyset >= g->copyset_count || r->slot >= GROUP_SLOTS || uuid_is_nil(r->disk))
        return refuse(reason, STATUS(INVALID), "copyset %u has no slot %u", r->copyset, r->slot);
    if (group_find(g, r->copyset, r->disk, &other))
        return refuse(reason, STATUS(INVALID), "copyset %u: disk %s has a slot already", r->copyset,
                      uuid_format(r->disk).s);
    return STATUS(OK);
}

struct status group_replace(const struct group *was, const struct group_replacement *items,
                            uint32_t count, uint64_t now_unix_ms, struct group *out_group,
                            struct group_reason *reason)
{
    TRY(check_sequence(was, reason));
    for (uint32_t i = 0; i < count; i++) {
        TRY(check_replacement(was, &items[i], reason));
        if (HAS(group_members(was, items[i].copyset), items[i].slot))
            return refuse(reason, STATUS(INVALID), "copyset %u: slot %u is a member",
                          items[i].copyset, items[i].slot);
        for (uint32_t k = 0; k < i; k++)
            if (items[k].copyset == items[i].copyset)
                return refuse(reason, STATUS(INVALID), "copyset %u: two slots at once",
                              items[i].copyset);
    }
    *out_group = *was;
    for (uint32_t i = 0; i < count; i++)
        out_group->copysets[items[i].copyset].slots[items[i].slot] =
            (struct group_slot) { .state = GROUP_SLOT_OUT,
                                  .disk = items[i].disk,
                                  .since_unix_ms = now_unix_ms,
                                  .whole = true };
    finish(out_group);
    return STATUS(OK);
}

struct status group_move(const struct group *was, const struct group_view *view,
                         const struct group_replacement *move, uint64_t incarnation,
                         struct group *out_group, struct group_reason *reason)
{
    TRY(check_sequence(was, reason));
    TRY(check_replacement(was, move, reason));
    if (was->copysets[move->copyset].slots[move->slot].state == GROUP_SLOT_UNUSED)
        return refuse(reason, STATUS(INVALID), "copyset %u: slot %u is not used", move->copyset,
                      move->slot);
    TRY(check_copied(was, view, move->copyset, move->disk, incarnation, reason));
    *out_group = *was;
    struct group_slot *const slot = &out_group->copysets[move->copyset].slots[move->slot];
    *slot = (struct group_slot) { .disk = move->disk };
    set_in(slot, incarnation);
    finish(out_group);
    return STATUS(OK);
}

struct status group_drop(const struct group *was, uint32_t copyset, unsigned slot,
                         struct group *out_group, struct group_reason *reason)
{
    TRY(check_out(was, copyset, slot, reason));
    *out_group = *was;
    out_group->copysets[copyset].slots[slot] = (struct group_slot) { 0 };
    finish(out_group);
    return STATUS(OK);
}

/* ---- What people and snapshots ask for ---- */

struct status group_promote(const struct group *was, uint32_t copyset, unsigned slot,
                            uint64_t now_unix_ms, struct group *out_group,
                            struct group_reason *reason)
{
    TRY(check_out(was, copyset, slot, reason));
    if (was->epoch == UINT64_MAX)
        return refuse(reason, STATUS(LIMIT), "there is no higher epoch");
    *out_group = *was;
    struct group_slot *slots = out_group->copysets[copyset].slots;
    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        if (slots[i].state == GROUP_SLOT_IN)
            set_out(&slots[i], now_unix_ms);
        slots[i].whole = slots[i].state == GROUP_SLOT_OUT;
    }
    set_in(&slots[slot], 0); /* Whatever it has when it answers. */
    out_group->epoch++;
    out_group->owner = (struct uuid) { { 0 } };
    finish(out_group);
    return STATUS(OK);
}

struct status group_raise_generation(const struct group *was, struct group *out_group,
                                     struct group_reason *reason)
{
    TRY(check_sequence(was, reason));
    if (was->generation == UINT64_MAX)
        return refuse(reason, STATUS(LIMIT), "there is no higher generation");
    *out_group = *was;
    out_group->generation++;
    finish(out_group);
    return STATUS(OK);
}

static struct group_copyset fresh_copyset(const struct uuid tuple[GROUP_SLOTS])
{
    struct group_copyset c = { 0 };

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (!uuid_is_nil(tuple[i]))
            c.slots[i] = (struct group_slot) { .state = GROUP_SLOT_IN, .disk = tuple[i] };
    return c;
}

struct status group_extend(const struct group *was, const struct uuid (*tuples)[GROUP_SLOTS],
                           uint32_t count, struct group *out_group, struct group_reason *reason)
{
    struct group_copyset checked;

    TRY(check_sequence(was, reason));
    if (count > GROUP_COPYSETS_MAX - was->copyset_count)
        return refuse(reason, STATUS(LIMIT), "%u copysets and %u more are more than %u",
                      was->copyset_count, count, GROUP_COPYSETS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        checked = fresh_copyset(tuples[i]);
        TRY(group_copyset_check(&checked, was->copyset_count + i, reason));
    }
    *out_group = *was;
    for (uint32_t i = 0; i < count; i++)
        out_group->copysets[out_group->copyset_count++] = fresh_copyset(tuples[i]);
    finish(out_group);
    return STATUS(OK);
}

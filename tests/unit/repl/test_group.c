/* SPDX-License-Identifier: Apache-2.0 */
/* What a group's record may say, and the steps that change it, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "repl/group_steps.h"

#define NOW UINT64_C(1780000000000)

/* Disk n has incarnation 100 + n, unless a test says otherwise. */
static struct uuid disk(unsigned n)
{
    return (struct uuid) { { 0xd0, (uint8_t)n } };
}

static const struct uuid node_a = { { 0xa } };
static const struct uuid node_b = { { 0xb } };

static struct group was, now;
static struct group_reason reason;
static struct group_session sessions[8];
static struct group_view view;

/* Copyset 0 on disks 1, 2, 3, and copyset 1 on disks 3, 4: all members, served by node_a. */
static int setup(void **state)
{
    static const unsigned tuples[2][GROUP_SLOTS] = { { 1, 2, 3 }, { 3, 4, 0 } };

    (void)state;
    was = (struct group) { .epoch = 7, .owner = node_a, .sequence = 30, .copyset_count = 2 };
    for (unsigned i = 0; i < 2; i++)
        for (unsigned k = 0; k < GROUP_SLOTS && tuples[i][k] != 0; k++)
            was.copysets[i].slots[k] = (struct group_slot) { .state = GROUP_SLOT_IN,
                                                             .disk = disk(tuples[i][k]),
                                                             .incarnation = 100 + tuples[i][k] };
    now = (struct group) { .sequence = 12345 };
    reason.s[0] = '\0';
    view = (struct group_view) { { sessions, 4 }, 1, NOW };
    for (unsigned i = 0; i < 4; i++)
        sessions[i] = (struct group_session) { disk(i + 1), 101 + i };
    return 0;
}

static void ok(struct status st)
{
    assert_string_equal(status_name(st), "OK");
    assert_true(status_ok(group_check(&now, &reason)));
}

/* The step made the next record, of the same epoch. */
static void is_next(struct status st)
{
    ok(st);
    assert_int_equal(now.sequence, was.sequence + 1);
    assert_int_equal(now.epoch, was.epoch);
    assert_true(status_ok(group_check_next(&was, &now, &reason)));
}

static void is_same(struct status st)
{
    ok(st);
    assert_true(group_equal(&was, &now));
}

/* A refusal has a reason with this in it, and leaves the record alone. */
static void refused(struct status st, enum status_code code, const char *text)
{
    assert_string_equal(status_name(st), status_name((struct status) { code }));
    if (strstr(reason.s, text) == NULL)
        fail_msg("'%s' does not say '%s'", reason.s, text);
    assert_int_equal(now.sequence, 12345);
}

static struct group_slot *slot(struct group *g, unsigned copyset, unsigned number)
{
    return &g->copysets[copyset].slots[number];
}

static void is_out(unsigned copyset, unsigned number, bool whole)
{
    const struct group_slot *s = slot(&now, copyset, number);

    assert_int_equal(s->state, GROUP_SLOT_OUT);
    assert_int_equal(s->since_unix_ms, NOW);
    assert_int_equal(s->incarnation, 0);
    assert_int_equal(s->whole, whole);
}

static void is_in(unsigned copyset, unsigned number, uint64_t incarnation)
{
    assert_int_equal(slot(&now, copyset, number)->state, GROUP_SLOT_IN);
    assert_int_equal(slot(&now, copyset, number)->incarnation, incarnation);
}

static void set_out(unsigned copyset, unsigned number)
{
    struct group_slot *s = slot(&was, copyset, number);
    *s = (struct group_slot) { .state = GROUP_SLOT_OUT, .disk = s->disk, .since_unix_ms = 1 };
}

/* ---- What it may say ---- */

static void invalid(const char *text)
{
    assert_true(status_is(group_check(&was, &reason), STATUS_INVALID));
    if (strstr(reason.s, text) == NULL)
        fail_msg("'%s' does not say '%s'", reason.s, text);
    setup(NULL);
}

/* What contradicts itself is no record. */
static void contradictions(void **state)
{
    (void)state;
    assert_true(status_ok(group_check(&was, &reason)));
    was.copyset_count = GROUP_COPYSETS_MAX + 1;
    invalid("more than 256");
    slot(&was, 0, 1)->disk = disk(1);
    invalid("copyset 0: a disk has two slots");
    slot(&was, 1, 0)->disk = (struct uuid) { { 0 } };
    invalid("copyset 1: a slot in use has no disk");
    slot(&was, 1, 2)->whole = true;
    invalid("a slot without a disk says something");
    slot(&was, 0, 0)->since_unix_ms = 1;
    invalid("a member is said to lack something");
    set_out(0, 0);
    slot(&was, 0, 0)->incarnation = 101;
    invalid("out has a recorded incarnation");
    set_out(1, 0);
    set_out(1, 1);
    invalid("copyset 1: it has no member");
    slot(&was, 0, 2)->incarnation = 0;
    invalid("some of its members have no incarnation");
    slot(&was, 0, 2)->state = (enum group_slot_state)7;
    invalid("no state that there is");
}

/* Records differ if any field does. */
static void equality(void **state)
{
    (void)state;
    now = was;
    assert_true(group_equal(&was, &now));
    now.epoch++;
    assert_false(group_equal(&was, &now));
    now = was;
    now.owner = node_b;
    assert_false(group_equal(&was, &now));
    now = was;
    now.generation++;
    assert_false(group_equal(&was, &now));
    now = was;
    now.sequence++;
    assert_false(group_equal(&was, &now));
    now = was;
    now.loss = true;
    assert_false(group_equal(&was, &now));
    now = was;
    now.copyset_count--;
    assert_false(group_equal(&was, &now));
    now = was;
    slot(&now, 1, 1)->incarnation++;
    assert_false(group_equal(&was, &now));
    now = was;
    slot(&now, 1, 1)->whole = true;
    assert_false(group_equal(&was, &now));
}

/* 6.3: an owner commits the next in sequence, of its own epoch, with the copysets that there are.
 */
static void successors(void **state)
{
    (void)state;
    now = was;
    now.sequence++;
    assert_true(status_ok(group_check_next(&was, &now, &reason)));
    now.sequence++;
    assert_false(status_ok(group_check_next(&was, &now, &reason)));
    now.sequence--;
    now.epoch++;
    assert_false(status_ok(group_check_next(&was, &now, &reason)));
    now.epoch--;
    now.owner = node_b;
    assert_false(status_ok(group_check_next(&was, &now, &reason)));
    now.owner = node_a;
    now.copyset_count--;
    assert_false(status_ok(group_check_next(&was, &now, &reason)));
    now.copyset_count++;
    slot(&now, 0, 0)->disk = disk(2);
    assert_false(status_ok(group_check_next(&was, &now, &reason)));
}

/* I7, I8: out counts for nothing; a member with another incarnation, or without a session, is no
 * source. */
static void members_and_sources(void **state)
{
    (void)state;
    set_out(0, 0);
    sessions[1].incarnation++;
    assert_int_equal(group_members(&was, 0), 6);
    assert_int_equal(group_reached(&was, 0, &view.sessions), 6);
    assert_int_equal(group_sources(&was, 0, &view.sessions), 4);
    view.sessions.count = 2;
    assert_int_equal(group_reached(&was, 0, &view.sessions), 2);
    assert_int_equal(group_sources(&was, 0, &view.sessions), 0);
    assert_false(group_has_member(&was, disk(1)));
    assert_true(group_has_member(&was, disk(4)));
}

/* ---- A new engine ---- */

/* 7.1: the epoch goes up by one, with its owner, and nothing else changes. */
static void take_epoch(void **state)
{
    (void)state;
    ok(group_take_epoch(&was, node_b, &now, &reason));
    assert_int_equal(now.epoch, 8);
    assert_int_equal(now.sequence, 31);
    assert_true(uuid_equal(now.owner, node_b));
    now.epoch = was.epoch;
    now.owner = was.owner;
    now.sequence = was.sequence;
    is_same(STATUS(OK));
    now.sequence = 12345;
    was.epoch = UINT64_MAX;
    refused(group_take_epoch(&was, node_b, &now, &reason), STATUS_LIMIT, "no higher epoch");
}

/* 7.4: if all have answered, with the recorded incarnations, there is nothing to record. */
static void take_over_unchanged(void **state)
{
    (void)state;
    is_same(group_take_over(&was, &view, false, &now, &reason));
}

/* 7.4: who is silent goes out, in every copyset; a changed member stays what is recorded of it. */
static void take_over_removes_the_silent(void **state)
{
    (void)state;
    sessions[2] = sessions[3]; /* Disk 3 is silent. */
    view.sessions.count = 3;
    sessions[0].incarnation = 555;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_out(0, 2, false);
    is_out(1, 0, false);
    is_in(0, 0, 101);
    is_in(0, 1, 102);
    is_in(1, 1, 104);
    assert_int_equal(group_sources(&now, 0, &view.sessions), 2);
    ok(group_may_serve(&now, 0, &view.sessions, 1, &reason));
    ok(group_may_serve(&now, 1, &view.sessions, 1, &reason));
}

/* 7.4: too few have answered: it says for whom it waits. */
static void take_over_waits(void **state)
{
    (void)state;
    view.min_in_sync = 2;
    view.sessions.count = 3; /* Disk 4 is silent. */
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE,
            "copyset 1: 1 of 2 members have answered, and 2 must: disk d004");
    set_out(1, 1);
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE,
            "it has 1 members, and needs 2");
    view.min_in_sync = 0; /* One must be there in any case. */
    view.sessions.count = 2;
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE, "disk d003");
}

/* 11.4: one of two members, beside a replica that is out, is enough if it has everything. */
static void take_over_by_one(void **state)
{
    (void)state;
    view.min_in_sync = 2;
    set_out(0, 1);
    was.copyset_count = 1;
    sessions[1] = sessions[3];
    view.sessions.count = 2; /* Disks 1 and 4: disk 3 is silent. */
    refused(group_take_over(&was, &view, false, &now, &reason), STATUS_BUSY, "disk d003");
    is_same(group_take_over(&was, &view, true, &now, &reason));
    assert_int_equal(group_silent(&was, 0, &view), 1u << 2);
    sessions[0].incarnation++;
    now.sequence = 12345;
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE, "disk d003");
    assert_int_equal(group_silent(&was, 0, &view), 0);
    sessions[0].incarnation--;
    sessions[0].point_lost = true;
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE, "disk d003");
    sessions[0].point_lost = false;
    was.copysets[0].slots[1] = (struct group_slot) { 0 };
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE, "disk d003");
}

/* 7.4: if none that answered has its recorded incarnation, the others are waited for; then theirs
 * are recorded before anything completes. */
static void take_over_gives_up(void **state)
{
    (void)state;
    sessions[0].incarnation = 901;
    sessions[1].incarnation = 902;
    sessions[2] = sessions[3];
    view.sessions.count = 3;
    refused(group_take_over(&was, &view, false, &now, &reason), STATUS_BUSY,
            "copyset 0: the members that have answered have lost power; disk d003");
    is_next(group_take_over(&was, &view, true, &now, &reason));
    is_in(0, 0, 901);
    is_in(0, 1, 902);
    is_out(0, 2, false);
    is_in(1, 1, 104);
    assert_int_equal(group_sources(&now, 0, &view.sessions), 3);
    assert_false(now.loss); /* Their stores have lost nothing. */
}

/* 7.4: whoever has lost nothing is the source then; where all have lost something, all are, and the
 * record says so until the host has heard. */
static void take_over_records_a_loss(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        sessions[i] = (struct group_session) { sessions[i].disk, 900 + i, i != 1 };
    is_next(group_take_over(&was, &view, false, &now, &reason));
    assert_int_equal(group_sources(&now, 0, &view.sessions), 1u << 1);
    is_in(0, 0, 101);
    is_in(0, 1, 901);
    assert_false(now.loss);
    sessions[1].may_have_lost = true;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    assert_int_equal(group_sources(&now, 0, &view.sessions), 7);
    assert_true(now.loss);
    was = now;
    is_same(group_take_over(&was, &view, false, &now, &reason));
    is_next(group_exclude(&was, &view, sessions[0].disk, &now, &reason));
    assert_true(now.loss);
    is_next(group_loss_heard(&was, &now, &reason));
    assert_false(now.loss);
    was = now;
    is_same(group_loss_heard(&was, &now, &reason));
}

/* On a fresh copyset nothing can have been lost. */
static void take_over_fresh_loses_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        slot(&was, 0, i)->incarnation = 0;
    for (unsigned i = 0; i < 4; i++)
        sessions[i].may_have_lost = true;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    assert_int_equal(group_sources(&now, 0, &view.sessions), 7);
    assert_false(now.loss);
}

/* 3.7.5: who has lost its flush point is out, and all of it is to be copied. */
static void take_over_without_who_has_lost_its_point(void **state)
{
    (void)state;
    sessions[2].point_lost = true;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_out(0, 2, true);
    is_out(1, 0, true);
    is_in(0, 0, 101);
    is_in(1, 1, 104);
}

/* It is no source either, where nobody has the recorded incarnation, whatever its store says. */
static void take_over_from_nobody_who_has(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        sessions[i] = (struct group_session) { disk(i + 1), 900 + i, .may_have_lost = i != 2 };
    sessions[2].point_lost = true;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_in(0, 0, 900);
    is_in(0, 1, 901);
    is_out(0, 2, true);
    assert_true(now.loss);
}

/* Where it is needed it stays, after the others were waited for, and is no source. */
static void take_over_with_who_has_lost_its_point(void **state)
{
    (void)state;
    view.min_in_sync = 2;
    sessions[2].point_lost = true;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_out(0, 2, true);
    is_in(1, 0, GROUP_INCARNATION_NONE);
    assert_int_equal(group_sources(&now, 1, &view.sessions), 1u << 1);
    ok(group_may_serve(&now, 1, &view.sessions, 2, &reason));
    sessions[2].incarnation = 903; /* Then it is none without that. */
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_in(1, 0, 103);
    sessions[1] = sessions[3]; /* Disk 2 is silent. */
    view.sessions.count = 3;
    now.sequence = 12345;
    refused(group_take_over(&was, &view, false, &now, &reason), STATUS_BUSY, "disk d002");
    is_next(group_take_over(&was, &view, true, &now, &reason));
    is_out(0, 1, false);
    is_in(0, 2, 103);
    assert_int_equal(group_sources(&now, 0, &view.sessions), 1u << 0);
}

/* 7.2: nor is it ever a source before it was made whole, whatever the others have lost since. */
static void take_over_with_who_had_nothing(void **state)
{
    (void)state;
    was.copysets[1].slots[0].incarnation = GROUP_INCARNATION_NONE; /* Disk 3; of two, with 4. */
    view.min_in_sync = 2;
    sessions[2].incarnation = 902;
    sessions[3] = (struct group_session) { disk(4), 903, .may_have_lost = true };
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_in(1, 0, GROUP_INCARNATION_NONE);
    is_in(1, 1, 903);
    assert_true(now.loss);
    view.min_in_sync = 1; /* It is not needed then. */
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_out(1, 0, true);
    is_in(1, 1, 903);
    view.sessions.count = 3; /* Disk 4 is silent. */
    now.sequence = 12345;
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE,
            "no other member has answered");
}

/* Nobody is left who is known to have anything. */
static void take_over_of_nobody_else(void **state)
{
    (void)state;
    sessions[2].point_lost = true;
    view.sessions.count = 3; /* Disk 4 is silent. */
    refused(
        group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE,
        "disk d0030000-0000-0000-0000-000000000000 has lost what it had confirmed as durable, and "
        "no other member has answered");
    sessions[3].point_lost = true;
    view.sessions.count = 4;
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_UNAVAILABLE,
            "has lost what it had confirmed as durable, and no other member has answered");
}

/* If all members have answered, and all have changed, nobody is left to wait for. */
static void take_over_after_a_blackout(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        sessions[i].incarnation = 900 + i;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_in(0, 2, 902);
    is_in(1, 0, 902);
    is_in(1, 1, 903);
}

/* A copyset on which nothing was promised takes whichever answer, without waiting. */
static void take_over_fresh(void **state)
{
    (void)state;
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        slot(&was, 0, i)->incarnation = 0;
    assert_true(group_is_fresh(&was, 0));
    assert_int_equal(group_sources(&was, 0, &view.sessions), 0);
    view.sessions.count = 1;
    sessions[1] = sessions[2];
    sessions[2] = sessions[3];
    view.sessions.count = 3;
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_in(0, 0, 101);
    is_in(0, 2, 103);
    is_out(0, 1, false);
}

/* No disk has incarnation 0: it would pass for a member on which nothing was promised. */
static void no_incarnation(void **state)
{
    (void)state;
    sessions[0].incarnation = 0;
    refused(group_take_over(&was, &view, true, &now, &reason), STATUS_INVALID, "no incarnation");
    refused(group_settled(&was, &view, &now, &reason), STATUS_INVALID, "no incarnation");
}

/* 7.4: it is not served while a silent member is recorded in sync, nor without a source. */
static void may_serve(void **state)
{
    (void)state;
    now.sequence = 12345;
    view.sessions.count = 3;
    refused(group_may_serve(&was, 1, &view.sessions, 1, &reason), STATUS_UNAVAILABLE,
            "has not answered, and is not recorded as out");
    set_out(1, 1);
    assert_true(status_ok(group_may_serve(&was, 1, &view.sessions, 1, &reason)));
    refused(group_may_serve(&was, 1, &view.sessions, 2, &reason), STATUS_UNAVAILABLE, "too few");
    sessions[2].incarnation++;
    refused(group_may_serve(&was, 1, &view.sessions, 1, &reason), STATUS_UNAVAILABLE,
            "no member has the incarnation");
}

/* 7.6: when all is settled, what members have now is what is recorded of them. */
static void settled(void **state)
{
    (void)state;
    sessions[0].incarnation = 555;
    sessions[3].incarnation = 666;
    is_next(group_settled(&was, &view, &now, &reason));
    is_in(0, 0, 555);
    is_in(0, 1, 102);
    is_in(1, 1, 666);
    was = now;
    is_same(group_settled(&was, &view, &now, &reason));
    now.sequence = 12345;
    view.sessions.count = 3;
    refused(group_settled(&was, &view, &now, &reason), STATUS_UNAVAILABLE, "copyset 1");
}

/* ---- Exclusion ---- */

/* 6.3: a disk that is excluded is out in every copyset that has it. */
static void exclude(void **state)
{
    (void)state;
    is_next(group_exclude(&was, &view, disk(3), &now, &reason));
    is_out(0, 2, false);
    is_out(1, 0, false);
    is_in(0, 0, 101);
    is_in(1, 1, 104);
    was = now;
    now.sequence = 12345;
    refused(group_exclude(&was, &view, disk(3), &now, &reason), STATUS_INVALID, "no member");
    refused(group_exclude(&was, &view, disk(9), &now, &reason), STATUS_INVALID, "no member");
}

/* 6.1: enough must remain that are reached now and have what is recorded: in each copyset. */
static void exclude_not_blindly(void **state)
{
    (void)state;
    sessions[3].incarnation++; /* Disk 4 has lost power: copyset 1 cannot do without disk 3. */
    refused(group_exclude(&was, &view, disk(3), &now, &reason), STATUS_UNAVAILABLE,
            "copyset 1: without disk d003");
    sessions[3].incarnation--;
    view.sessions.count = 3; /* Or it is not reached. */
    refused(group_exclude(&was, &view, disk(3), &now, &reason), STATUS_UNAVAILABLE, "copyset 1");
    view.sessions.count = 4;
    view.min_in_sync = 2;
    refused(group_exclude(&was, &view, disk(3), &now, &reason), STATUS_UNAVAILABLE,
            "1 members would be left that are known to have everything, and 2 must");
    is_next(group_exclude(&was, &view, disk(1), &now, &reason));
    is_out(0, 0, false);
}

/* ---- Replicas that are out ---- */

static struct status replace_with(uint32_t copyset, unsigned number, unsigned with)
{
    const struct group_replacement r = { copyset, number, disk(with) };
    return group_replace(&was, &r, 1, NOW, &now, &reason);
}

static struct group_admission admission_of(unsigned copyset, unsigned number, uint64_t incarnation)
{
    return (
        struct group_admission) { .copyset = copyset, .slot = number, .incarnation = incarnation };
}

/* 9.9: it is a member of its copyset with the incarnation that confirmed the Flush, and not any
 * other. */
static void admit(void **state)
{
    struct group_admission a = admission_of(0, 2, 103);

    (void)state;
    refused(group_admit(&was, &view, &a, &now, &reason), STATUS_INVALID, "is not out");
    set_out(0, 2);
    set_out(1, 0);
    slot(&was, 0, 2)->whole = true;
    is_next(group_admit(&was, &view, &a, &now, &reason));
    is_in(0, 2, 103);
    assert_false(slot(&now, 0, 2)->whole);
    assert_int_equal(slot(&now, 1, 0)->state, GROUP_SLOT_OUT);
    now.sequence = 12345;
    a.incarnation = 104;
    refused(group_admit(&was, &view, &a, &now, &reason), STATUS_UNAVAILABLE,
            "has lost the session");
    a.incarnation = 103;
    sessions[0].incarnation++;
    sessions[1].incarnation++;
    refused(group_admit(&was, &view, &a, &now, &reason), STATUS_UNAVAILABLE, "has no source");
    a.copyset = 2;
    refused(group_admit(&was, &view, &a, &now, &reason), STATUS_INVALID, "has no slot");
}

/* 11.4: with min_in_sync 2 a dead member leaves by the transaction that admits another disk. */
static void admit_instead(void **state)
{
    struct group_admission a = admission_of(1, 2, 109);

    (void)state;
    view.min_in_sync = 2;
    sessions[3] = (struct group_session) { disk(9), 109 }; /* Disk 4 is dead. */
    ok(replace_with(1, 2, 9));
    is_out(1, 2, true);
    was = now;
    a.replaces = true;
    a.leaving = 1;
    is_next(group_admit(&was, &view, &a, &now, &reason));
    is_in(1, 0, 103);
    is_out(1, 1, false);
    is_in(1, 2, 109);
    was = now;
    is_next(group_drop(&was, 1, 1, &now, &reason));
    assert_int_equal(slot(&now, 1, 1)->state, GROUP_SLOT_UNUSED);
}

/* The one that it replaces is not set out if not enough remain. */
static void admit_instead_of_too_many(void **state)
{
    struct group_admission a = admission_of(1, 1, 104);

    (void)state;
    set_out(1, 1);
    view.min_in_sync = 2;
    a.replaces = true;
    refused(group_admit(&was, &view, &a, &now, &reason), STATUS_UNAVAILABLE, "and 2 must");
    a.leaving = 2;
    refused(group_admit(&was, &view, &a, &now, &reason), STATUS_INVALID, "slot 2 is no member");
}

/* 3.1: when lists of what it missed are given up, the record says so first; of a member none is. */
static void reclaim(void **state)
{
    (void)state;
    refused(group_reclaim(&was, 0, 1, &now, &reason), STATUS_INVALID, "is not out");
    set_out(0, 1);
    is_next(group_reclaim(&was, 0, 1, &now, &reason));
    assert_true(slot(&now, 0, 1)->whole);
    assert_int_equal(slot(&now, 0, 1)->since_unix_ms, 1);
    was = now;
    is_same(group_reclaim(&was, 0, 1, &now, &reason));
}

/* 11.2: another disk gets everything; it takes no member's slot, and no second one. */
static void replace(void **state)
{
    (void)state;
    refused(replace_with(0, 1, 9), STATUS_INVALID, "is a member");
    refused(replace_with(1, 2, 4), STATUS_INVALID, "has a slot already");
    set_out(0, 1);
    is_next(replace_with(0, 1, 9));
    is_out(0, 1, true);
    assert_true(uuid_equal(slot(&now, 0, 1)->disk, disk(9)));
    const struct group_replacement both[] = { { 0, 1, disk(9) }, { 1, 2, disk(9) } };
    is_next(group_replace(&was, both, 2, NOW, &now, &reason)); /* One step. */
    is_out(0, 1, true);
    is_out(1, 2, true);
    now.sequence = 12345;
    set_out(0, 2);
    const struct group_replacement twice[] = { { 0, 1, disk(9) }, { 0, 2, disk(8) } };
    refused(group_replace(&was, twice, 2, NOW, &now, &reason), STATUS_INVALID, "two slots");
    refused(group_drop(&was, 0, 0, &now, &reason), STATUS_INVALID, "is not out");
}

/* 9.20: a disk with everything takes the place of a member, or of one that is out, as a member. */
static void move(void **state)
{
    const struct group_replacement m = { 0, 1, disk(9) };

    (void)state;
    refused(group_move(&was, &view, &m, 109, &now, &reason), STATUS_UNAVAILABLE,
            "has lost the session");
    sessions[3] = (struct group_session) { disk(9), 109 };
    refused(group_move(&was, &view, &m, 108, &now, &reason), STATUS_UNAVAILABLE,
            "has lost the session");
    for (unsigned out = 0; out < 2; out++) {
        is_next(group_move(&was, &view, &m, 109, &now, &reason));
        is_in(0, 1, 109);
        assert_true(uuid_equal(slot(&now, 0, 1)->disk, disk(9)));
        now.sequence = 12345;
        set_out(0, 1);
    }
    refused(
        group_move(&was, &view, &(struct group_replacement) { 1, 2, disk(4) }, 109, &now, &reason),
        STATUS_INVALID, "has a slot already");
    sessions[0].incarnation++;
    sessions[1].incarnation++;
    sessions[2].incarnation++;
    refused(group_move(&was, &view, &m, 109, &now, &reason), STATUS_UNAVAILABLE, "has no source");
}

/* 11.4: the operator's promotion leaves one member, all others to be copied whole, and no owner. */
static void promote(void **state)
{
    (void)state;
    refused(group_promote(&was, 0, 1, NOW, &now, &reason), STATUS_INVALID, "is not out");
    set_out(0, 1);
    set_out(0, 2);
    ok(group_promote(&was, 0, 1, NOW, &now, &reason));
    assert_int_equal(group_members(&now, 0), 2);
    is_out(0, 0, true);
    assert_true(slot(&now, 0, 2)->whole);
    is_in(0, 1, 0);
    is_in(1, 0, 103);
    assert_int_equal(now.epoch, was.epoch + 1);
    assert_true(uuid_is_nil(now.owner));
    /* The next engine takes it as it answers. */
    was = now;
    sessions[1].incarnation = 777;
    view.sessions = (struct group_sessions) { sessions + 1, 3 };
    is_next(group_take_over(&was, &view, false, &now, &reason));
    is_in(0, 1, 777);
}

/* Copysets are added behind the others, with nothing promised; no tuple is taken that cannot be. */
static void extend(void **state)
{
    const struct uuid tuples[2][GROUP_SLOTS] = { { disk(5), disk(6) }, { disk(7), disk(7) } };

    (void)state;
    refused(group_extend(&was, tuples, 2, &now, &reason), STATUS_INVALID,
            "copyset 3: a disk has two slots");
    refused(group_extend(&was, tuples, GROUP_COPYSETS_MAX - 1, &now, &reason), STATUS_LIMIT,
            "more than 256");
    ok(group_extend(&was, tuples, 1, &now, &reason));
    assert_int_equal(now.copyset_count, 3);
    assert_int_equal(now.sequence, was.sequence + 1);
    assert_int_equal(group_members(&now, 2), 3);
    assert_true(group_is_fresh(&now, 2));
    assert_int_equal(group_members(&now, 0), 7);
}

/* 11.5 */
static void generation(void **state)
{
    (void)state;
    is_next(group_raise_generation(&was, &now, &reason));
    assert_int_equal(now.generation, 1);
}

/* A record that was changed 2^64 times is not changed again: its sequence would begin anew. */
static void last_sequence(void **state)
{
    (void)state;
    was.sequence = UINT64_MAX;
    refused(group_take_epoch(&was, node_b, &now, &reason), STATUS_LIMIT, "too often");
    refused(group_exclude(&was, &view, disk(1), &now, &reason), STATUS_LIMIT, "too often");
    refused(group_raise_generation(&was, &now, &reason), STATUS_LIMIT, "too often");
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(contradictions),
        TEST(equality),
        TEST(successors),
        TEST(members_and_sources),
        TEST(take_epoch),
        TEST(take_over_unchanged),
        TEST(take_over_removes_the_silent),
        TEST(take_over_waits),
        TEST(take_over_by_one),
        TEST(take_over_gives_up),
        TEST(take_over_records_a_loss),
        TEST(take_over_fresh_loses_nothing),
        TEST(take_over_without_who_has_lost_its_point),
        TEST(take_over_from_nobody_who_has),
        TEST(take_over_with_who_has_lost_its_point),
        TEST(take_over_with_who_had_nothing),
        TEST(take_over_of_nobody_else),
        TEST(take_over_after_a_blackout),
        TEST(take_over_fresh),
        TEST(no_incarnation),
        TEST(may_serve),
        TEST(settled),
        TEST(exclude),
        TEST(exclude_not_blindly),
        TEST(admit),
        TEST(admit_instead),
        TEST(admit_instead_of_too_many),
        TEST(reclaim),
        TEST(replace),
        TEST(move),
        TEST(promote),
        TEST(extend),
        TEST(generation),
        TEST(last_sequence),
    };
    return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}

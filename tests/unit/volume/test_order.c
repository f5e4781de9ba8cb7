/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/span.h"

#define BLOCK UINT64_C(4096)
#define LANES 64

enum user_state { USER_OUT, USER_WAITS, USER_IN, USER_ASIDE, USER_RESUMES };

struct user {
    struct order_entry entry;
    enum user_state now;
    bool was_passed; /* As seen from here, since it was set aside. */
};

static void user_on_granted(struct order_entry *entry)
{
    struct user *u = CONTAINER_OF(entry, struct user, entry);
    assert_true(u->now == USER_WAITS || u->now == USER_RESUMES);
    u->now = USER_IN;
}

/* Enters blocks first .. first + count - 1 of shard 0. */
static void enter(struct order *o, struct user *u, bool exclusive, uint64_t first, uint64_t count)
{
    u->entry.shard = 0;
    u->entry.exclusive = exclusive;
    u->entry.second = false;
    u->entry.passes = false;
    u->entry.offset = first * BLOCK;
    u->entry.bytes = count * BLOCK;
    u->entry.granted = user_on_granted;
    u->now = order_enter(o, &u->entry) ? USER_IN : USER_WAITS;
}

static void leave(struct order *o, struct user *u)
{
    assert_int_equal(u->now, USER_IN);
    u->now = USER_OUT;
    order_leave(o, &u->entry);
}

static void pass(struct order *o, struct user *u, uint64_t first, uint64_t count)
{
    u->entry = (struct order_entry) { .exclusive = true,
                                      .passes = true,
                                      .offset = first * BLOCK,
                                      .bytes = count * BLOCK,
                                      .granted = user_on_granted };
    u->now = order_enter(o, &u->entry) ? USER_IN : USER_WAITS;
}

static void set_aside(struct order *o, struct user *u)
{
    assert_int_equal(u->now, USER_IN);
    u->now = USER_ASIDE;
    u->was_passed = false;
    order_set_aside(o, &u->entry);
}

static void resume(struct order *o, struct user *u)
{
    assert_int_equal(u->now, USER_ASIDE);
    u->now = USER_RESUMES;
    if (order_resume(o, &u->entry))
        u->now = USER_IN;
}

static struct order *make(uint32_t lanes)
{
    struct order *o = NULL;
    assert_true(status_ok(order_create(lanes, 0, &o)));
    return o;
}

/* A read waits for a write in flight on the same block, and not for one next to it. */
static void reads_wait_for_overlapping_writes_only(void **state)
{
    (void)state;
    struct order *o = make(LANES);
    struct user write, overlaps, beside;
    enter(o, &write, true, 4, 4);
    enter(o, &overlaps, false, 7, 2);
    assert_int_equal(overlaps.now, USER_WAITS);
    leave(o, &write);
    assert_int_equal(overlaps.now, USER_IN);
    enter(o, &beside, true, 9, 1);
    assert_int_equal(beside.now, USER_IN);
    leave(o, &beside);
    leave(o, &overlaps);
    assert_true(order_idle(o));
    order_destroy(o);
}

/* Reads share their blocks; the same blocks of another shard are other blocks. */
static void readers_share_and_shards_are_apart(void **state)
{
    (void)state;
    struct order *o = make(LANES);
    struct user a, b, elsewhere;
    enter(o, &a, false, 0, 8);
    enter(o, &b, false, 4, 8);
    assert_int_equal(b.now, USER_IN);
    elsewhere.entry = (struct order_entry) {
        .shard = 1,
        .exclusive = true,
        .bytes = BLOCK,
        .granted = user_on_granted,
    };
    assert_true(order_enter(o, &elsewhere.entry));
    order_leave(o, &elsewhere.entry);
    leave(o, &a);
    leave(o, &b);
    order_destroy(o);
}

/* A write that waits for readers is not overtaken for ever: later readers wait behind it. */
static void writers_do_not_starve(void **state)
{
    (void)state;
    struct order *o = make(LANES);
    struct user early, also, write, late;
    enter(o, &early, false, 0, 2);
    enter(o, &also, false, 1, 2); /* Overlaps: the exact bits are lost. */
    enter(o, &write, true, 0, 1);
    enter(o, &late, false, 0, 1);
    assert_int_equal(write.now, USER_WAITS);
    assert_int_equal(late.now, USER_WAITS);
    leave(o, &early);
    leave(o, &also);
    assert_int_equal(write.now, USER_IN);
    assert_int_equal(late.now, USER_WAITS);
    leave(o, &write);
    assert_int_equal(late.now, USER_IN);
    leave(o, &late);
    order_destroy(o);
}

/* A deallocate over many lanes waits for a write in its middle, and holds back one at its end. */
static void wide_entries_cover_all_their_lanes(void **state)
{
    (void)state;
    struct order *o = make(LANES);
    struct user write, wide, end, before;
    enter(o, &write, true, 3 * 64 + 5, 1);
    enter(o, &wide, true, 32, 10 * 64);
    assert_int_equal(wide.now, USER_WAITS);
    enter(o, &before, true, 0, 32); /* The part of the first lane that is not covered. */
    assert_int_equal(before.now, USER_IN);
    leave(o, &write);
    assert_int_equal(wide.now, USER_IN);
    enter(o, &end, false, 10 * 64 + 31, 1); /* Its last block. */
    assert_int_equal(end.now, USER_WAITS);
    leave(o, &wide);
    assert_int_equal(end.now, USER_IN);
    leave(o, &end);
    leave(o, &before);
    assert_true(order_idle(o));
    order_destroy(o);
}

/* Without free lanes an entry waits its turn, and gets in when lanes come back. */
static void lanes_are_back_pressure(void **state)
{
    (void)state;
    struct order *o = make(2);
    struct user a, b, wide, last;
    enter(o, &a, true, 0, 1);
    enter(o, &b, true, 64, 1);
    enter(o, &wide, true, 128, 128);
    enter(o, &last, true, 640, 1);
    assert_int_equal(wide.now, USER_WAITS);
    assert_int_equal(last.now, USER_WAITS);
    leave(o, &a);
    assert_int_equal(wide.now, USER_WAITS);
    assert_int_equal(last.now, USER_WAITS); /* One lane is free, but it is not its turn. */
    leave(o, &b);
    assert_int_equal(wide.now, USER_IN);
    leave(o, &wide);
    assert_int_equal(last.now, USER_IN);
    leave(o, &last);
    order_destroy(o);
}

/* A copy that passes waits for writes, and not for reads, nor for a write that is set aside. */
static void a_copy_passes_who_waits(void **state)
{
    (void)state;
    struct order *o = make(LANES);
    struct user read, held, write, copy, late, wide;
    enter(o, &read, false, 0, 4);
    enter(o, &held, true, 10, 4);
    enter(o, &write, true, 20, 4);
    enter(o, &wide, true, 12, 128); /* Has waited for one that is set aside since. */
    set_aside(o, &held);
    pass(o, &copy, 0, 256);
    assert_int_equal(copy.now, USER_WAITS);
    enter(o, &late, true, 200, 1); /* Behind the copy, or it would starve. */
    assert_int_equal(late.now, USER_WAITS);
    leave(o, &write);
    assert_int_equal(copy.now, USER_IN);
    assert_int_equal(wide.now, USER_WAITS);
    resume(o, &held);
    assert_int_equal(held.now, USER_RESUMES);
    leave(o, &copy);
    assert_int_equal(held.now, USER_IN);
    assert_true(held.entry.passed);
    assert_int_equal(late.now, USER_IN);
    set_aside(o, &held);
    resume(o, &held);
    assert_int_equal(held.now, USER_IN);
    assert_false(held.entry.passed);
    leave(o, &held);
    assert_int_equal(wide.now, USER_IN);
    leave(o, &wide);
    leave(o, &late);
    leave(o, &read);
    assert_true(order_idle(o));
    order_destroy(o);
}

/* The last write that a copy waits for may be set aside while the copy waits. */
static void a_copy_goes_on_when_the_last_is_set_aside(void **state)
{
    (void)state;
    struct order *o = make(LANES);
    struct user write, copy;
    struct order_entry heir;
    enter(o, &write, true, 4, 4);
    pass(o, &copy, 0, 64);
    assert_int_equal(copy.now, USER_WAITS);
    order_hand_over(&write.entry, &heir);
    assert_int_equal(copy.now, USER_WAITS);
    order_hand_over(&heir, &write.entry);
    set_aside(o, &write);
    assert_int_equal(copy.now, USER_IN);
    leave(o, &copy);
    resume(o, &write);
    assert_true(write.entry.passed);
    leave(o, &write);
    order_destroy(o);
}

#define USERS 40

static bool overlap(const struct user *a, const struct user *b)
{
    return a->entry.shard == b->entry.shard && a->entry.offset < b->entry.offset + b->entry.bytes &&
           b->entry.offset < a->entry.offset + a->entry.bytes;
}

static bool has_place(const struct user *u)
{
    return u->now == USER_IN || u->now == USER_ASIDE || u->now == USER_RESUMES;
}

static bool conflict(const struct user *a, const struct user *b)
{
    const struct user *const by = a->entry.passes ? a : b;
    const struct user *const other = by == a ? b : a;

    if (!has_place(a) || !has_place(b) || (!a->entry.exclusive && !b->entry.exclusive))
        return false;
    if (by->entry.passes &&
        (!other->entry.exclusive || other->entry.passes || other->now != USER_IN))
        return false;
    return overlap(a, b);
}

static void note_passed(struct user *users)
{
    for (int i = 0; i < USERS; i++)
        for (int j = 0; j < USERS; j++)
            if (users[i].entry.passes && users[i].now == USER_IN && overlap(&users[i], &users[j]))
                users[j].was_passed = true;
}

static void check_nobody_conflicts(const struct user *users)
{
    for (int i = 0; i < USERS; i++)
        for (int j = 0; j < i; j++)
            assert_false(conflict(&users[i], &users[j]));
}

/* One step of somebody who has a place. */
static void step_inside(struct order *o, struct rng *rng, struct user *u)
{
    const bool may_wait = u->entry.exclusive && !u->entry.passes;

    if (u->now == USER_ASIDE)
        resume(o, u);
    else if (u->now == USER_IN && may_wait && rng_one_in(rng, 4))
        set_aside(o, u);
    else if (u->now == USER_IN)
        leave(o, u);
}

/* Under random traffic two that conflict are never inside together, and nobody waits for ever. */
static void random_traffic_is_ordered(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 7);
    struct order *o = make(24);
    struct user users[USERS] = { 0 };
    unsigned passed = 0;
    for (int step = 0; step < 40000; step++) {
        struct user *u = &users[rng_below(&rng, USERS)];
        const bool resumes = u->now == USER_ASIDE;
        if (u->now != USER_OUT) {
            step_inside(o, &rng, u);
            passed += resumes && u->now == USER_IN && u->was_passed ? 1 : 0;
            if (resumes && u->now == USER_IN)
                assert_int_equal(u->entry.passed, u->was_passed);
        } else if (rng_one_in(&rng, 20)) {
            pass(o, u, rng_below(&rng, 256), 1 + rng_below(&rng, 256));
        } else {
            const uint64_t count =
                rng_one_in(&rng, 10) ? 1 + rng_below(&rng, 20 * 64) : 1 + rng_below(&rng, 16);
            enter(o, u, rng_one_in(&rng, 2), rng_below(&rng, 256), count);
        }
        note_passed(users);
        check_nobody_conflicts(users);
    }
    /* Drain: with nobody new, every turn lets somebody out. */
    for (int turn = 0; turn < 2 * USERS; turn++)
        for (int i = 0; i < USERS; i++) {
            if (users[i].now == USER_ASIDE)
                resume(o, &users[i]);
            if (users[i].now == USER_IN)
                leave(o, &users[i]);
        }
    assert_true(passed > 10);
    assert_true(order_idle(o));
    struct order_stats stats;
    order_get_stats(o, &stats);
    assert_true(stats.waited > 100);
    assert_true(stats.starved > 10);
    order_destroy(o);
}

/*
 * Who is inside already gets a second place where others wait for free lanes: among these are some
 * that wait for his first one.
 */
static void a_second_place_does_not_starve(void **state)
{
    (void)state;
    struct order *o = NULL;
    struct user holder = { 0 }, behind[8] = { 0 }, second = { 0 };
    assert_true(status_ok(order_create(9, 1, &o)));
    enter(o, &holder, true, 0, 1);
    for (unsigned i = 0; i < 8; i++) /* Seven have reserved a lane; the last finds none. */
        enter(o, &behind[i], true, 0, 1);
    second.entry = (struct order_entry) {
        .shard = 1, .exclusive = true, .second = true, .bytes = BLOCK, .granted = user_on_granted
    };
    assert_true(order_enter(o, &second.entry));
    order_leave(o, &second.entry);
    leave(o, &holder);
    for (unsigned i = 0; i < 8; i++)
        leave(o, &behind[i]);
    assert_true(order_idle(o));
    order_destroy(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_wait_for_overlapping_writes_only),
        cmocka_unit_test(readers_share_and_shards_are_apart),
        cmocka_unit_test(writers_do_not_starve),
        cmocka_unit_test(a_second_place_does_not_starve),
        cmocka_unit_test(wide_entries_cover_all_their_lanes),
        cmocka_unit_test(lanes_are_back_pressure),
        cmocka_unit_test(a_copy_passes_who_waits),
        cmocka_unit_test(a_copy_goes_on_when_the_last_is_set_aside),
        cmocka_unit_test(random_traffic_is_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

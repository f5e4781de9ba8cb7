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

enum user_state { USER_OUT, USER_WAITS, USER_IN };

struct user {
    struct order_entry entry;
    enum user_state now;
};

static void user_on_granted(struct order_entry *entry)
{
    struct user *u = CONTAINER_OF(entry, struct user, entry);
    assert_int_equal(u->now, USER_WAITS);
    u->now = USER_IN;
}

/* Enters blocks first .. first + count - 1 of shard 0. */
static void enter(struct order *o, struct user *u, bool exclusive, uint64_t first, uint64_t count)
{
    u->entry.shard = 0;
    u->entry.exclusive = exclusive;
    u->entry.second = false;
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

#define USERS 40

static bool conflict(const struct user *a, const struct user *b)
{
    if (!a->entry.exclusive && !b->entry.exclusive)
        return false;
    return a->entry.shard == b->entry.shard && a->entry.offset < b->entry.offset + b->entry.bytes &&
           b->entry.offset < a->entry.offset + a->entry.bytes;
}

static void check_nobody_conflicts(const struct user *users)
{
    for (int i = 0; i < USERS; i++)
        for (int j = 0; j < i; j++)
            if (users[i].now == USER_IN && users[j].now == USER_IN)
                assert_false(conflict(&users[i], &users[j]));
}

/* Under random traffic two that conflict are never inside together, and nobody waits for ever. */
static void random_traffic_is_ordered(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 7);
    struct order *o = make(24);
    struct user users[USERS] = { 0 };
    for (int step = 0; step < 40000; step++) {
        struct user *u = &users[rng_below(&rng, USERS)];
        if (u->now == USER_IN) {
            leave(o, u);
        } else if (u->now == USER_OUT) {
            const uint64_t count =
                rng_one_in(&rng, 10) ? 1 + rng_below(&rng, 20 * 64) : 1 + rng_below(&rng, 16);
            enter(o, u, rng_one_in(&rng, 2), rng_below(&rng, 256), count);
        }
        check_nobody_conflicts(users);
    }
    /* Drain: with nobody new, every pass lets somebody out. */
    for (int pass = 0; pass < USERS; pass++)
        for (int i = 0; i < USERS; i++)
            if (users[i].now == USER_IN)
                leave(o, &users[i]);
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
        cmocka_unit_test(random_traffic_is_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "io/timer_heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "fake_reactor.h"

#define COUNT 500

struct item {
    struct io_timer timer;
    uint64_t armed_as; /* The how-manieth arming this was. */
};

static struct fake_reactor fake;
static struct item items[COUNT];
static struct item *fired[COUNT];
static size_t fired_count;

static void on_fire(struct io_timer *t)
{
    assert_false(io_timer_armed(t));
    assert_true(t->deadline_ns <= fake.base.now_ns);
    fired[fired_count++] = CONTAINER_OF(t, struct item, timer);
}

static int setup(void **state)
{
    (void)state;
    fake_reactor_init(&fake);
    fired_count = 0;
    for (size_t i = 0; i < COUNT; i++)
        io_timer_init(&items[i].timer, on_fire);
    return 0;
}

/* Arms, moves and disarms at random, with few deadlines, so that many are equal. */
static size_t arm_randomly(struct rng *rng)
{
    uint64_t armings = 0;
    size_t armed = 0;

    for (unsigned step = 0; step < 10 * COUNT; step++) {
        struct item *const item = &items[rng_below(rng, COUNT)];
        if (rng_one_in(rng, 3)) {
            io_timer_disarm(&item->timer);
        } else {
            io_timer_arm(&item->timer, &fake.base, 1 + rng_below(rng, 40));
            item->armed_as = armings++;
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        armed += io_timer_armed(&items[i].timer);
    return armed;
}

/* Timers fire by deadline, and in the order of arming where deadlines are equal. */
static void random_order(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1);
    const size_t armed = arm_randomly(&rng);
    assert_true(armed > COUNT / 2);

    for (uint64_t now_ns = 0; now_ns <= 40; now_ns++)
        fake_reactor_run_timers(&fake, now_ns);
    assert_int_equal(fired_count, armed);
    for (size_t n = 1; n < armed; n++) {
        const struct item *const a = fired[n - 1];
        const struct item *const b = fired[n];
        assert_true(a->timer.deadline_ns <= b->timer.deadline_ns);
        if (a->timer.deadline_ns == b->timer.deadline_ns)
            assert_true(a->armed_as < b->armed_as);
    }
}

/* A timer never fires before its deadline, and fires once. */
static void not_early_and_once(void **state)
{
    (void)state;
    io_timer_arm(&items[0].timer, &fake.base, 100);
    fake_reactor_run_timers(&fake, 99);
    assert_int_equal(fired_count, 0);
    fake_reactor_run_timers(&fake, 100);
    assert_int_equal(fired_count, 1);
    fake_reactor_run_timers(&fake, 1000);
    assert_int_equal(fired_count, 1);
}

/* Arming an armed timer moves it; a disarmed one does not fire; disarming twice is allowed. */
static void move_and_disarm(void **state)
{
    (void)state;
    io_timer_arm(&items[0].timer, &fake.base, 10);
    io_timer_arm(&items[1].timer, &fake.base, 20);
    io_timer_arm(&items[2].timer, &fake.base, 30);
    io_timer_arm(&items[0].timer, &fake.base, 25);
    io_timer_disarm(&items[1].timer);
    io_timer_disarm(&items[1].timer);
    fake_reactor_run_timers(&fake, 24);
    assert_int_equal(fired_count, 0);
    fake_reactor_run_timers(&fake, 30);
    assert_int_equal(fired_count, 2);
    assert_ptr_equal(fired[0], &items[0]);
    assert_ptr_equal(fired[1], &items[2]);
}

static void rearm(struct io_timer *t)
{
    fired[fired_count++] = CONTAINER_OF(t, struct item, timer);
    if (fired_count < 5)
        io_timer_arm(t, &fake.base, fake.base.now_ns + 10);
}

/* A timer may arm itself again while it fires. */
static void rearm_inside(void **state)
{
    (void)state;
    io_timer_init(&items[0].timer, rearm);
    io_timer_arm(&items[0].timer, &fake.base, 10);
    for (uint64_t now_ns = 10; now_ns <= 100; now_ns += 10)
        fake_reactor_run_timers(&fake, now_ns);
    assert_int_equal(fired_count, 5);
    assert_int_equal(items[0].timer.deadline_ns, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(random_order, setup),
        cmocka_unit_test_setup(not_early_and_once, setup),
        cmocka_unit_test_setup(move_and_disarm, setup),
        cmocka_unit_test_setup(rearm_inside, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

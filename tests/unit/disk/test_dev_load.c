/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/dev_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/span.h"

#define MS UINT64_C(1000000)

static struct dev_load load;
static struct dev_load before;

static int set_up(void **state)
{
    (void)state;
    load = before = (struct dev_load) { 0 };
    return 0;
}

static void one(uint64_t begin_ns, uint64_t end_ns, uint64_t bytes)
{
    struct dev_load_start start;
    dev_load_begin(&load, true, begin_ns, &start);
    const struct dev_load_end end = { end_ns, bytes, true, false };
    dev_load_end(&load, &start, &end);
}

/* A latency is told at most a quarter too high, and never too low, from nothing to minutes. */
static void latencies(void **state)
{
    (void)state;
    for (uint64_t ns = 1; ns < UINT64_C(1) << 40; ns += ns / 3 + 1) {
        set_up(NULL);
        one(5, 5 + ns, 4096);
        const uint64_t told = dev_latency_ns(&before.reads, &load.reads, 500000);
        assert_true(told >= ns);
        assert_true(told <= ns + ns / 4 + 1024);
        assert_int_equal(dev_latency_ns(&before.writes, &load.writes, 500000), 0);
    }
    one(0, UINT64_MAX / 2, 4096); /* It counts as the longest that can be told. */
}

/* 90 quick ones and 10 that take 100 times as long: the median is quick, the 99th is not; what was
 * before the first copy does not count, also when a counter has wrapped in between. */
static void percentiles(void **state)
{
    (void)state;
    one(0, 1000 * MS, 4096);
    load.reads.buckets[0] = UINT32_MAX;
    before = load;
    one(0, 0, 4096);
    one(0, 0, 4096);
    assert_int_equal(dev_latency_ns(&before.reads, &load.reads, 1000000), 1024);
    before = load;
    for (unsigned i = 0; i < 90; i++)
        one(0, MS, 4096);
    for (unsigned i = 0; i < 10; i++)
        one(0, 100 * MS, 4096);
    assert_in_range(dev_latency_ns(&before.reads, &load.reads, 500000), MS, MS + MS / 4);
    assert_in_range(dev_latency_ns(&before.reads, &load.reads, 900000), MS, MS + MS / 4);
    assert_in_range(dev_latency_ns(&before.reads, &load.reads, 990000), 100 * MS, 125 * MS);
}

/* Four at once that take 40 ms keep the device busy for 40 ms: 10 ms each, whatever each took. */
static void queues_are_not_slow(void **state)
{
    struct dev_load_start start[4];
    struct dev_load copy;

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        dev_load_begin(&load, true, 0, &start[i]);
    assert_int_equal(load.in_flight, 4);
    dev_load_copy(&load, 30 * MS, &copy);
    assert_int_equal(copy.busy_ns, 30 * MS);
    assert_int_equal(copy.progress_ns, 0);
    for (unsigned i = 0; i < 4; i++) {
        const struct dev_load_end end = { 40 * MS, 4096, false, false };
        dev_load_end(&load, &start[i], &end);
    }
    assert_int_equal(load.busy_ns, 40 * MS);
    assert_int_equal(load.ops, 4);
    assert_int_equal(load.cost_ops, 4);
    assert_int_equal(load.progress_ns, 40 * MS);
    one(100 * MS, 110 * MS, 4096); /* Idle between. */
    assert_int_equal(load.busy_ns, 50 * MS);
    dev_load_copy(&load, 500 * MS, &copy);
    assert_int_equal(copy.busy_ns, 50 * MS);
}

/* 350 ms are slow for one alone, and not for the fourth of four; rotating disks may take longer. */
static void slow_for_its_queue(void **state)
{
    struct dev_load_start start[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        dev_load_begin(&load, true, 0, &start[i]);
    for (unsigned i = 0; i < 4; i++) {
        const struct dev_load_end end = { 350 * MS, 4096, false, false };
        dev_load_end(&load, &start[i], &end);
    }
    assert_int_equal(load.slow_ops, 3); /* 350, 175, 117 and 88 ms. */
    dev_load_begin(&load, true, 0, &start[0]);
    const struct dev_load_end end = { 350 * MS, 4096, false, true };
    dev_load_end(&load, &start[0], &end);
    assert_int_equal(load.slow_ops, 3);
}

/* Large ones count several times, and what does not count leaves no trace. */
static void cost(void **state)
{
    struct dev_load_start start;

    (void)state;
    one(0, MS, 65536);
    assert_int_equal(load.cost_ops, 1);
    one(0, MS, 131072);
    assert_int_equal(load.cost_ops, 3);
    dev_load_begin(&load, false, 0, &start);
    assert_int_equal(load.in_flight, 0);
    const struct dev_load_end end = { 1000 * MS, 4096, false, false };
    dev_load_end(&load, &start, &end);
    assert_int_equal(load.ops, 2);
    assert_int_equal(load.slow_ops, 0);
}

/* The same place again is no news; a hundred places are nearly that many. */
static void places(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        dev_load_error(&load, true, 40960 + 4096 * (i % 3));
    assert_int_equal(dev_load_places(&load), 1);
    assert_int_equal(load.read_errors, 1000);
    dev_load_error(&load, false, UINT64_C(1) << 40);
    assert_int_equal(load.write_errors, 1);
    assert_int_equal(dev_load_places(&load), 1);
    for (uint64_t i = 0; i < 100; i++)
        dev_load_error(&load, true, i * DEV_PLACE_BYTES);
    assert_in_range(dev_load_places(&load), 70, 100);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(latencies),          TEST(percentiles), TEST(queues_are_not_slow),
        TEST(slow_for_its_queue), TEST(cost),        TEST(places),
    };
    return cmocka_run_group_tests_name("dev_load", tests, NULL, NULL);
}

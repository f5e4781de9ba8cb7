/* SPDX-License-Identifier: Apache-2.0 */
/* What is thought of disks whose I/O is made up here, window by window. */
#include "node/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DISKS_MAX 6
#define US        UINT64_C(1000)

/* A disk, and what its I/O is like in the next window. */
struct disk {
    struct health health;
    struct dev_load load;
    uint64_t ops;
    uint64_t cost_ns; /* Of each. */
    uint64_t slow_ops;
    bool stuck; /* Something is in flight, and nothing ends. */
    struct health_facts facts;
    struct device_log log;
};

static struct disk disks[DISKS_MAX];
static unsigned disk_count;
static uint64_t now_ns;
static bool paused;

static void begin(unsigned count, bool is_rotational)
{
    now_ns = 1000 * NS_PER_S;
    paused = false;
    disk_count = count;
    for (unsigned i = 0; i < DISKS_MAX; i++) {
        struct disk *d = &disks[i];
        *d = (struct disk) { .ops = 1000, .cost_ns = is_rotational ? 8 * NS_PER_MS : 100 * US };
        d->facts = (struct health_facts) {
            .kind = "block x", .is_rotational = is_rotational, .failure = "", .failing = ""
        };
        health_init(&d->health);
    }
}

/* After so long, in which each disk did what it is like. */
static void window_of(uint64_t ns)
{
    struct health_subject subjects[DISKS_MAX];

    now_ns += ns;
    for (unsigned i = 0; i < disk_count; i++) {
        struct disk *d = &disks[i];
        if (!d->stuck) {
            d->load.ops += d->ops;
            d->load.cost_ops += d->ops;
            d->load.slow_ops += d->slow_ops;
            d->load.busy_ns += d->ops * d->cost_ns;
            d->load.progress_ns = now_ns;
        }
        d->load.in_flight = d->stuck ? 1 : 0;
        health_window(&d->health, &d->load, now_ns, paused);
        subjects[i] = (struct health_subject) { &d->health, d->facts };
    }
    health_judge(subjects, disk_count, now_ns);
}

static void windows(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        window_of(HEALTH_WINDOW_NS);
}

static void expect(unsigned disk, enum health_state state, const char *words)
{
    const struct health *h = &disks[disk].health;

    if (h->state != state || strstr(h->reason, words) == NULL)
        fail_msg("disk %u is %s (%s), not %s (%s)", disk, health_state_name(h->state), h->reason,
                 health_state_name(state), words);
}

static void expect_all_healthy(void)
{
    for (unsigned i = 0; i < disk_count; i++)
        expect(i, HEALTH_HEALTHY, "");
}

/* One disk of four that becomes slow is suspect after three windows, with the numbers, and healthy
 * again after five good minutes. */
static void a_slow_disk(void **state)
{
    (void)state;
    begin(4, false);
    windows(40);
    expect_all_healthy();
    disks[1].cost_ns = 20 * NS_PER_MS;
    windows(2);
    expect_all_healthy();
    windows(1);
    expect(1, HEALTH_SUSPECT, "takes 20.0 ms of its time, and 0.1 ms of that of disks like it");
    expect(0, HEALTH_HEALTHY, "");
    windows(100); /* Its average stays what it was: it does not get used to it. */
    expect(1, HEALTH_SUSPECT, "");
    disks[1].cost_ns = 100 * US;
    windows(HEALTH_GOOD_WINDOWS - 1);
    expect(1, HEALTH_SUSPECT, "");
    windows(1);
    expect_all_healthy();
}

/* One that was slow from the beginning is told by its peers, if these are two at least. */
static void slow_from_the_start(void **state)
{
    (void)state;
    begin(3, false);
    disks[2].cost_ns = 50 * NS_PER_MS;
    windows(4);
    expect(2, HEALTH_SUSPECT, "of that of disks like it");
    begin(2, false);
    disks[1].cost_ns = 50 * NS_PER_MS;
    windows(100);
    expect_all_healthy();
}

/* Another model has other times. */
static void other_models_are_no_peers(void **state)
{
    (void)state;
    begin(4, false);
    disks[3].facts.kind = "block y";
    disks[3].cost_ns = 50 * NS_PER_MS;
    windows(50);
    expect_all_healthy();
}

/* A controller, a neighbour, the machine: all are slow, and none is to be preferred. */
static void all_at_once(void **state)
{
    (void)state;
    begin(4, false);
    windows(40);
    for (unsigned i = 0; i < 4; i++) {
        disks[i].cost_ns = 50 * NS_PER_MS;
        disks[i].slow_ops = 10;
    }
    windows(20);
    expect_all_healthy();
    for (unsigned i = 0; i < 4; i++)
        disks[i].stuck = true;
    windows(5);
    expect_all_healthy();
}

/* Without peers its own average counts, by more. */
static void a_disk_alone(void **state)
{
    (void)state;
    begin(1, false);
    disks[0].cost_ns = NS_PER_MS;
    windows(40);
    disks[0].cost_ns = 15 * NS_PER_MS;
    windows(2);
    expect_all_healthy();
    disks[0].cost_ns = 60 * NS_PER_MS;
    windows(3);
    expect(0, HEALTH_SUSPECT, "takes 60.0 ms of its time, and took ");
}

/* What is 30 times as much may still be little. */
static void little_is_not_slow(void **state)
{
    (void)state;
    begin(4, false);
    disks[1].cost_ns = 3 * NS_PER_MS;
    windows(60);
    expect_all_healthy();
    begin(4, true);
    disks[1].cost_ns = 35 * NS_PER_MS;
    windows(60);
    expect_all_healthy();
}

/* A dying disk reads most things well, and some for seconds. */
static void some_slow_ones(void **state)
{
    (void)state;
    begin(4, true);
    windows(10);
    disks[0].slow_ops = 3;
    windows(3);
    expect(0, HEALTH_SUSPECT, "3 of 1000 I/Os within 10 s took longer than 500 ms");
    begin(4, true);
    for (unsigned i = 0; i < 3; i++)
        disks[i].slow_ops = 3;
    windows(20);
    expect_all_healthy();
}

/* A disk that sleeps takes seconds to wake, each time, and then has little to do. */
static void a_disk_that_sleeps(void **state)
{
    (void)state;
    begin(3, true);
    windows(40);
    for (unsigned i = 0; i < 50; i++) {
        disks[0].ops = 8;
        disks[0].slow_ops = 4;
        disks[0].cost_ns = 1200 * NS_PER_MS;
        windows(1);
        disks[0].ops = disks[0].slow_ops = 0;
        windows(2); /* It takes two windows to wake. */
        disks[0].stuck = true;
        windows(2);
        disks[0].stuck = false;
        expect_all_healthy();
        windows(20);
    }
    expect_all_healthy();
}

/* Nothing ends while others go on. */
static void stands_still(void **state)
{
    (void)state;
    begin(2, false);
    windows(5);
    disks[0].stuck = true;
    windows(1);
    expect_all_healthy(); /* In flight at the end of one window, not yet all through one. */
    windows(1);
    expect(0, HEALTH_SUSPECT, "no I/O has ended for 10 s");
    windows(2);
    expect(0, HEALTH_SUSPECT, "no I/O has ended for 30 s");
    disks[0].stuck = false;
    windows(HEALTH_GOOD_WINDOWS);
    expect_all_healthy();
    begin(2, true);
    windows(5);
    disks[0].stuck = true;
    windows(3);
    expect_all_healthy();
    windows(1);
    expect(0, HEALTH_SUSPECT, "no I/O has ended for 30 s");
}

/* A process that was stopped sees everything late: that says nothing of disks. */
static void a_pause(void **state)
{
    (void)state;
    begin(3, false);
    windows(40);
    for (unsigned i = 0; i < 20; i++) {
        disks[0].cost_ns = NS_PER_S;
        disks[0].slow_ops = 900;
        disks[0].stuck = i % 2 == 1;
        paused = i >= 10;
        window_of(paused ? HEALTH_WINDOW_NS : HEALTH_WINDOW_NS_MAX + 1);
    }
    expect_all_healthy();
}

/* Suspect while it has little to do: that proves nothing in its favour. */
static void idle_proves_nothing(void **state)
{
    (void)state;
    begin(3, false);
    windows(40);
    disks[0].cost_ns = 50 * NS_PER_MS;
    windows(5);
    disks[0].ops = HEALTH_OPS_MIN - 1;
    disks[0].cost_ns = 100 * US;
    windows(100);
    expect(0, HEALTH_SUSPECT, "");
}

/* Errors are remembered for a day; many places are for good. */
static void errors(void **state)
{
    (void)state;
    begin(2, false);
    windows(2);
    for (unsigned i = 0; i < 500; i++)
        dev_load_error(&disks[0].load, true, 4096); /* A host that tries again and again. */
    windows(1);
    expect(0, HEALTH_SUSPECT, "reads have failed in 1 place of its medium");
    windows(24 * 360 - 1);
    expect(0, HEALTH_SUSPECT, "");
    windows(1);
    expect_all_healthy();
    disks[1].facts.media_errors = 2;
    windows(1);
    expect(1, HEALTH_SUSPECT, "2 blocks failed their checksum");
    for (uint64_t i = 0; dev_load_places(&disks[0].load) < HEALTH_PLACES_FAILING; i++)
        dev_load_error(&disks[0].load, true, i * DEV_PLACE_BYTES);
    windows(1);
    expect(0, HEALTH_FAILING, "reads have failed in 16 places");
    windows(24 * 360 + 1);
    expect(0, HEALTH_FAILING, "");
    expect(1, HEALTH_HEALTHY, "");
}

/* The worst that is known counts, at once. */
static void the_worst_counts(void **state)
{
    struct disk *d = &disks[0];

    (void)state;
    begin(1, false);
    windows(2);
    d->facts.log = &d->log;
    snprintf(d->log.suspect, sizeof d->log.suspect, "it is hot");
    windows(1);
    expect(0, HEALTH_SUSPECT, "it is hot");
    snprintf(d->log.failing, sizeof d->log.failing, "it will fail");
    windows(1);
    expect(0, HEALTH_FAILING, "it will fail");
    d->facts.failing = "it lies";
    windows(1);
    expect(0, HEALTH_FAILING, "it lies");
    d->facts.failure = "it smokes";
    windows(1);
    expect(0, HEALTH_FAILED, "it smokes");
    d->facts.failure = "";
    d->facts.failing = "";
    d->log = (struct device_log) { 0 };
    windows(1);
    expect_all_healthy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_disk),
        cmocka_unit_test(slow_from_the_start),
        cmocka_unit_test(other_models_are_no_peers),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(a_disk_alone),
        cmocka_unit_test(little_is_not_slow),
        cmocka_unit_test(some_slow_ones),
        cmocka_unit_test(a_disk_that_sleeps),
        cmocka_unit_test(stands_still),
        cmocka_unit_test(a_pause),
        cmocka_unit_test(idle_proves_nothing),
        cmocka_unit_test(errors),
        cmocka_unit_test(the_worst_counts),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors on the kernel for unit tests: with everything that this kernel offers, and with what
 * 5.14 has.
 *
 * Threading: each test runs its reactor on the test's thread unless it says otherwise.
 * Memory:    the harness is the test's.
 */
#ifndef TESTS_UNIT_IO_URING_HARNESS_H
#define TESTS_UNIT_IO_URING_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "io/uring.h"

static inline void harness_log(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

static struct log harness_sink = { .level = LOG_LEVEL_INFO, .sink = harness_log };

/* Set by the group's setup: what the group's reactors do without. */
static uint64_t harness_mask;

static inline struct reactor *harness_reactor_with(unsigned entries, uint64_t spin_ns)
{
    struct reactor *r = NULL;
    const struct uring_config config = {
        .entries = entries, .spin_ns = spin_ns, .features_mask = harness_mask, .log = &harness_sink
    };
    assert_true(status_ok(uring_reactor_create(&config, &r)));
    return r;
}

static inline struct reactor *harness_reactor(void)
{
    return harness_reactor_with(0, URING_SPIN_OFF);
}

static inline int harness_all_features(void **state)
{
    (void)state;
    harness_mask = 0;
    return 0;
}

static inline int harness_features_of_5_14(void **state)
{
    (void)state;
    uint64_t features = 0;
    assert_true(status_ok(uring_features_parse("5.14", &features)));
    harness_mask = URING_FEATURES_ALL & ~features;
    return 0;
}

static inline int harness_nothing_optional(void **state)
{
    (void)state;
    harness_mask = URING_FEATURES_ALL;
    return 0;
}

/* Ends a test that has hung after ten seconds, with a name instead of silence. */
struct harness_watchdog {
    struct io_timer timer;
};

static inline void harness_bark(struct io_timer *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static inline void harness_run(struct reactor *r)
{
    struct harness_watchdog dog;
    io_timer_init(&dog.timer, harness_bark);
    io_timer_arm(&dog.timer, r, reactor_clock_ns(r) + 10 * NS_PER_S);
    reactor_run(r);
    io_timer_disarm(&dog.timer);
}

/* Runs all tests of an array with all features, with those of 5.14, and with the least. */
#define HARNESS_RUN_ALL(tests)                                                    \
    (cmocka_run_group_tests_name("all", tests, harness_all_features, NULL) +      \
     cmocka_run_group_tests_name("5.14", tests, harness_features_of_5_14, NULL) + \
     cmocka_run_group_tests_name("least", tests, harness_nothing_optional, NULL))

#endif

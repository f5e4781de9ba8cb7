/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"
#include "io/uring_features.h"

static uint64_t parse(const char *list)
{
    uint64_t features = UINT64_MAX;
    assert_true(status_ok(uring_features_parse(list, &features)));
    return features;
}

/* All, none and single names are what they say. */
static void words(void **state)
{
    (void)state;
    assert_int_equal(parse("all"), URING_FEATURES_ALL);
    assert_int_equal(parse("none"), 0);
    assert_int_equal(parse("poll-first"), URING_FEATURE_POLL_FIRST);
    assert_int_equal(parse("files,ring-fd"), URING_FEATURE_FILES | URING_FEATURE_RING_FD);
}

/* A version stands for what appeared in it or before it. */
static void versions(void **state)
{
    (void)state;
    assert_int_equal(parse("5.14"), URING_FEATURE_FILES);
    assert_int_equal(parse("5.18"), URING_FEATURE_FILES | URING_FEATURE_RING_FD);
    assert_int_equal(parse("6.1"), URING_FEATURES_ALL & ~URING_FEATURE_BLOCK_DISCARD &
                                       ~URING_FEATURE_WRITE_ATOMIC);
    assert_int_equal(parse("6.11"), URING_FEATURES_ALL & ~URING_FEATURE_BLOCK_DISCARD);
    assert_int_equal(parse("6.12"), URING_FEATURES_ALL);
    assert_int_equal(parse("7.0"), URING_FEATURES_ALL);
    assert_int_equal(parse("4.19"), 0);
}

/* Words apply from left to right; a list that begins by taking away begins with all. */
static void order(void **state)
{
    (void)state;
    assert_int_equal(parse("-files"), URING_FEATURES_ALL & ~URING_FEATURE_FILES);
    assert_int_equal(parse("5.18,-files"), URING_FEATURE_RING_FD);
    assert_int_equal(parse("5.14,poll-first"), URING_FEATURE_FILES | URING_FEATURE_POLL_FIRST);
    assert_int_equal(parse("files,-all,ring-fd"), URING_FEATURE_RING_FD);
}

/* Anything else is refused. */
static void refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",      ",",      "files,", "-",       "--files",
        "file",  "ALL",    "5",      "5.",      "5.14.1",
        "5.14x", "files ", "all;",   "all,huh", "a-word-longer-than-any-name-there-is"
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        uint64_t features = 77;
        assert_false(status_ok(uring_features_parse(wrong[i], &features)));
        assert_int_equal(features, 77);
    }
}

/* What is formatted reads back, and all names fit. */
static void both_ways(void **state)
{
    (void)state;
    assert_string_equal(uring_features_format(0).s, "none");
    for (uint64_t set = 0; set <= URING_FEATURES_ALL; set++)
        assert_int_equal(parse(uring_features_format(set).s), set);
}

/* The short form says what is missing, but for what nobody misses. */
static void what_is_missing(void **state)
{
    (void)state;
    const uint64_t best = URING_FEATURES_ALL & ~URING_FEATURE_COOP_TASKRUN;
    assert_string_equal(uring_features_format_short(URING_FEATURES_ALL).s, "all");
    assert_string_equal(uring_features_format_short(best).s, "all");
    assert_string_equal(uring_features_format_short(best & ~URING_FEATURE_BUFFERS).s, "-buffers");
    assert_string_equal(uring_features_format_short(0).s, "none");
    assert_string_equal(
        uring_features_format_short(URING_FEATURES_ALL & ~URING_FEATURE_DEFER_TASKRUN).s,
        "-defer-taskrun");
    assert_string_equal(uring_features_format_short(URING_FEATURE_FILES).s,
                        "-ring-fd,-coop-taskrun,-buffers,-poll-first,-defer-taskrun,"
                        "-dio-align,-write-atomic,-block-discard");
    /* As a list it gives the set again, and all of them fit. */
    for (uint64_t set = 0; set <= URING_FEATURES_ALL; set++) {
        const bool defers = (set & URING_FEATURE_DEFER_TASKRUN) != 0;
        assert_int_equal(parse(uring_features_format_short(set).s),
                         set | (defers ? URING_FEATURE_COOP_TASKRUN : 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),   cmocka_unit_test(versions),  cmocka_unit_test(order),
        cmocka_unit_test(refused), cmocka_unit_test(both_ways), cmocka_unit_test(what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void an_empty_histogram_answers_zero(void **state)
{
    (void)state;
    struct hist h;

    hist_init(&h);
    assert_int_equal(hist_percentile(&h, 500000), 0);
    assert_true(hist_mean(&h) < 1e-9);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    struct hist h;

    hist_init(&h);
    for (uint64_t v = 1; v <= 100; v++)
        hist_add(&h, v);
    assert_int_equal(hist_percentile(&h, 500000), 50);
    assert_int_equal(hist_percentile(&h, 990000), 99);
    assert_int_equal(hist_percentile(&h, 1), 1);
    assert_int_equal(hist_percentile(&h, 1000000), 100);
    assert_true(hist_mean(&h) > 50.49 && hist_mean(&h) < 50.51); /* 5050 / 100 */
}

static void every_value_is_at_most_one_64th_too_high(void **state)
{
    (void)state;
    struct hist h;

    for (uint64_t v = 1; v < UINT64_C(1) << 39; v = v * 5 / 4 + 1) {
        hist_init(&h);
        hist_add(&h, v);
        hist_add(&h, UINT64_C(1) << 39); /* So that max does not hide the bucket's end. */
        const uint64_t p = hist_percentile(&h, 500000);
        assert_true(p >= v);
        assert_true(p - v <= v / 64);
    }
}

static void values_off_the_scale_keep_max_and_count(void **state)
{
    (void)state;
    struct hist h;

    hist_init(&h);
    hist_add(&h, 7);
    hist_add(&h, UINT64_C(1) << 50);
    assert_int_equal(h.count, 2);
    assert_int_equal(h.min, 7);
    assert_int_equal(hist_percentile(&h, 500000), 7);
    assert_int_equal(hist_percentile(&h, 1000000), UINT64_C(1) << 50);
}

static void merging_equals_adding_to_one(void **state)
{
    (void)state;
    struct hist a, b, both;

    hist_init(&a);
    hist_init(&b);
    hist_init(&both);
    for (uint64_t v = 0; v < 10000; v++) {
        hist_add(v % 3 == 0 ? &a : &b, v * 37);
        hist_add(&both, v * 37);
    }
    hist_merge(&a, &b);
    assert_memory_equal(&a, &both, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_answers_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(every_value_is_at_most_one_64th_too_high),
        cmocka_unit_test(values_off_the_scale_keep_max_and_count),
        cmocka_unit_test(merging_equals_adding_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

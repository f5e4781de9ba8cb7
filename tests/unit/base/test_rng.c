/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The same seed gives the same sequence, another seed another one, and 0 is a seed too. */
static void seeds_decide(void **state)
{
    (void)state;
    struct rng a;
    struct rng b;
    rng_init(&a, 0);
    rng_init(&b, 0);
    for (int i = 0; i < 100; i++)
        assert_true(rng_u64(&a) == rng_u64(&b));
    rng_init(&b, 1);
    assert_true(rng_u64(&a) != rng_u64(&b));
}

/* All values below the bound come up, and none at or above it. */
static void below_is_below(void **state)
{
    (void)state;
    struct rng r;
    unsigned seen[7] = { 0 };
    rng_init(&r, 42);
    for (int i = 0; i < 7000; i++) {
        const uint64_t v = rng_below(&r, 7);
        assert_true(v < 7);
        seen[v]++;
    }
    /* 1,000 expected each; the standard deviation is 29, so 150 is more than five of them. */
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 850, 1150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_decide),
        cmocka_unit_test(below_is_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/span.h"

#define GRAINS 200

/* F19: a freed place is given out again only after its batch was released. */
static void freed_place_waits_for_its_batch(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, GRAINS)));
    const uint32_t place = space_alloc(&s, SPACE_NONE);
    assert_int_equal(s.free, GRAINS - 1);
    space_free_later(&s, place);
    assert_int_equal(s.free, GRAINS - 1);
    assert_int_not_equal(space_alloc(&s, place), place);
    space_batch(&s);
    assert_int_not_equal(space_alloc(&s, place), place);
    space_release(&s);
    assert_int_equal(space_alloc(&s, place), place);
    space_fini(&s);
}

/* What is freed while a batch waits belongs to the next one. */
static void batches_do_not_mix(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, GRAINS)));
    const uint32_t first = space_alloc(&s, 10);
    const uint32_t second = space_alloc(&s, 150);
    space_free_later(&s, first);
    space_batch(&s);
    space_free_later(&s, second);
    space_release(&s);
    assert_int_equal(s.free, GRAINS - 1);
    assert_int_equal(s.gathering, 1);
    space_batch(&s);
    space_release(&s);
    assert_int_equal(s.free, GRAINS);
    space_fini(&s);
}

/* A wish is granted where it can be; every place is given out once, then none. */
static void every_place_is_given_out_once(void **state)
{
    (void)state;
    struct space s;
    uint64_t words[BITMAP_WORDS(GRAINS)] = { 0 };
    struct bitmap seen = { words, GRAINS };
    assert_true(status_ok(space_init(&s, GRAINS)));
    uint32_t last = SPACE_NONE;
    for (unsigned i = 0; i < GRAINS; i++) {
        const uint32_t place = space_alloc(&s, last == SPACE_NONE ? SPACE_NONE : last + 1);
        assert_true(place < GRAINS);
        assert_false(bitmap_get(&seen, place));
        bitmap_set(&seen, place);
        if (i > 0 && i < 100)
            assert_int_equal(place, last + 1);
        last = place;
    }
    assert_int_equal(space_alloc(&s, SPACE_NONE), SPACE_NONE);
    space_fini(&s);
}

/* F5: a place that is claimed twice, or is beyond the end, is refused. */
static void double_claims_are_refused(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, GRAINS)));
    assert_true(space_claim(&s, 7));
    assert_false(space_claim(&s, 7));
    assert_false(space_claim(&s, GRAINS));
    assert_int_equal(s.free, GRAINS - 1);
    space_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_place_waits_for_its_batch),
        cmocka_unit_test(batches_do_not_mix),
        cmocka_unit_test(every_place_is_given_out_once),
        cmocka_unit_test(double_claims_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/span.h"

#define PLACES 200
#define CELLS  (PLACES * (uint64_t)SPACE_PLACE_CELLS)

/* F19: a freed cell is given out again only after its batch was released. */
static void freed_cell_waits_for_its_batch(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, PLACES)));
    const uint32_t cell = space_take_any(&s);
    assert_int_equal(s.free, CELLS - 1);
    space_free_later(&s, cell);
    assert_int_equal(s.free, CELLS - 1);
    assert_true(space_is_returning(&s, cell));
    assert_false(space_take(&s, cell));
    space_batch(&s);
    assert_true(space_is_returning(&s, cell));
    assert_false(space_take(&s, cell));
    space_release(&s);
    assert_false(space_is_returning(&s, cell));
    assert_true(space_take(&s, cell));
    space_fini(&s);
}

/* What is freed while a batch waits belongs to the next one. */
static void batches_do_not_mix(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, PLACES)));
    assert_true(space_take(&s, 10) && space_take(&s, 150));
    space_free_later(&s, 10);
    space_batch(&s);
    space_free_later(&s, 150);
    space_release(&s);
    assert_int_equal(s.free, CELLS - 1);
    assert_int_equal(s.gathering, 1);
    space_batch(&s);
    space_release(&s);
    assert_int_equal(s.free, CELLS);
    space_fini(&s);
}

/* Every cell is given out once, then none. */
static void every_cell_is_given_out_once(void **state)
{
    (void)state;
    struct space s;
    uint64_t words[BITMAP_WORDS(CELLS)] = { 0 };
    struct bitmap seen = { words, CELLS };
    assert_true(status_ok(space_init(&s, PLACES)));
    for (uint64_t i = 0; i < CELLS; i++) {
        const uint32_t cell = space_take_any(&s);
        assert_true(cell < CELLS);
        assert_false(bitmap_get(&seen, cell));
        bitmap_set(&seen, cell);
    }
    assert_int_equal(s.free, 0);
    assert_int_equal(space_take_any(&s), SPACE_NONE);
    space_fini(&s);
}

/* F5: a cell that is taken twice, or is beyond the end, is refused. */
static void double_claims_are_refused(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, PLACES)));
    assert_true(space_take(&s, 7));
    assert_false(space_take(&s, 7));
    assert_false(space_take(&s, CELLS));
    assert_false(space_take(&s, UINT64_MAX));
    assert_int_equal(s.free, CELLS - 1);
    space_fini(&s);
}

/* A home is eight free cells in a row: the wished ones, or else a place of which none is taken. */
static void homes_are_wholly_free(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, PLACES)));
    for (uint64_t place = 0; place < PLACES; place++) {
        if (place % 10 != 7)
            assert_true(space_take(&s, place * SPACE_PLACE_CELLS + place % SPACE_PLACE_CELLS));
    }
    assert_int_equal(s.whole, PLACES / 10);
    for (unsigned i = 0; i < 100; i++) {
        const uint32_t home = space_find_home(&s, SPACE_NONE, false);
        assert_int_equal(home % SPACE_PLACE_CELLS, 0);
        assert_int_equal(home / SPACE_PLACE_CELLS % 10, 7);
    }
    assert_int_equal(space_find_home(&s, 7 * SPACE_PLACE_CELLS, false), 7 * SPACE_PLACE_CELLS);
    /* Place 0 has its cell 0 taken, place 1 its cell 1: eight are free from 1 on, not from 2. */
    assert_int_equal(space_find_home(&s, 1, false), 1);
    assert_int_not_equal(space_find_home(&s, 2, false), 2);
    assert_int_not_equal(space_find_home(&s, CELLS - 4, false), CELLS - 4);
    space_fini(&s);
}

/* Few places that are wholly free are not searched for, but serve as cells; freeing brings more. */
static void last_homes_are_not_given_out(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, PLACES)));
    for (uint64_t place = 3; place < PLACES; place++)
        assert_true(space_take(&s, place * SPACE_PLACE_CELLS));
    assert_int_equal(s.whole, 3); /* 200 / 64. */
    assert_int_equal(space_find_home(&s, SPACE_NONE, false), SPACE_NONE);
    assert_true(space_find_home(&s, SPACE_NONE, true) < 3 * SPACE_PLACE_CELLS);
    assert_int_equal(space_find_home(&s, 0, false), 0);
    space_free_later(&s, 5 * SPACE_PLACE_CELLS);
    space_batch(&s);
    space_release(&s);
    assert_int_equal(s.whole, 4);
    assert_int_not_equal(space_find_home(&s, SPACE_NONE, false), SPACE_NONE);
    space_fini(&s);
}

/* What is used, gathered and waiting stays so when places are added, all of which are free. */
static void places_are_added_free(void **state)
{
    (void)state;
    struct space s;
    assert_true(status_ok(space_init(&s, 3)));
    for (unsigned i = 0; i < 24; i++)
        assert_int_equal(space_take_any(&s), i);
    space_free_later(&s, 5);
    space_batch(&s);
    space_free_later(&s, 20);
    assert_true(status_ok(space_reserve(&s, PLACES)));
    assert_int_equal(s.cells, 24);
    assert_int_equal(space_take_any(&s), SPACE_NONE);
    assert_true(status_ok(space_reserve(&s, PLACES))); /* Once more, as after a failed growth. */
    space_extend(&s, PLACES);
    assert_int_equal(s.cells, CELLS);
    assert_int_equal(s.free, CELLS - 24);
    assert_int_equal(s.whole, PLACES - 3);
    assert_int_equal(space_find_home(&s, SPACE_NONE, false), 24);
    assert_true(space_take(&s, CELLS - 1));
    space_free_later(&s, (uint32_t)CELLS - 1);
    space_release(&s); /* Of the old end. */
    assert_true(space_take(&s, 5) && !space_take(&s, 20) && !space_take(&s, CELLS - 1));
    space_batch(&s);
    space_release(&s);
    assert_true(space_take(&s, 20) && space_take(&s, CELLS - 1));
    space_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_cell_waits_for_its_batch),
        cmocka_unit_test(batches_do_not_mix),
        cmocka_unit_test(every_cell_is_given_out_once),
        cmocka_unit_test(double_claims_are_refused),
        cmocka_unit_test(homes_are_wholly_free),
        cmocka_unit_test(last_homes_are_not_given_out),
        cmocka_unit_test(places_are_added_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

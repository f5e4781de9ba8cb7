/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bitmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BITS 200

struct fixture {
    uint64_t words[BITMAP_WORDS(BITS)];
    struct bitmap bitmap;
};

static struct fixture fixture_make(void)
{
    return (struct fixture) { .words = { 0 } };
}

/* A run that spans three words sets exactly its bits. */
static void run_sets_exactly_its_bits(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    f.bitmap = (struct bitmap) { f.words, BITS };
    bitmap_set_run(&f.bitmap, 60, 80);
    for (uint64_t i = 0; i < BITS; i++)
        assert_int_equal(bitmap_get(&f.bitmap, i), i >= 60 && i < 140);
    assert_int_equal(bitmap_count(&f.bitmap), 80);
    bitmap_clear_run(&f.bitmap, 64, 64);
    /* 60..63 and 128..139 remain: 4 + 12. */
    assert_int_equal(bitmap_count(&f.bitmap), 16);
}

/* The searches find the first bit at or after the start, and nothing past the end. */
static void searches_stay_inside(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    f.bitmap = (struct bitmap) { f.words, BITS };
    assert_true(bitmap_next_set(&f.bitmap, 0) == BITMAP_NONE);
    bitmap_set(&f.bitmap, 130);
    assert_int_equal(bitmap_next_set(&f.bitmap, 0), 130);
    assert_int_equal(bitmap_next_set(&f.bitmap, 130), 130);
    assert_true(bitmap_next_set(&f.bitmap, 131) == BITMAP_NONE);
    assert_int_equal(bitmap_next_clear(&f.bitmap, 130), 131);
    bitmap_set_run(&f.bitmap, 0, BITS);
    assert_true(bitmap_next_clear(&f.bitmap, 0) == BITMAP_NONE);
    assert_true(bitmap_next_clear(&f.bitmap, BITS) == BITMAP_NONE);
}

/* Bits beyond the end of the last word are neither found nor counted. */
static void stray_bits_do_not_count(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    f.bitmap = (struct bitmap) { f.words, BITS };
    f.words[BITS / 64] = UINT64_C(1) << 63; /* Bit 255 of 200. */
    assert_int_equal(bitmap_count(&f.bitmap), 0);
    assert_true(bitmap_next_set(&f.bitmap, 0) == BITMAP_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_sets_exactly_its_bits),
        cmocka_unit_test(searches_stay_inside),
        cmocka_unit_test(stray_bits_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

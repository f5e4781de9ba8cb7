/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void text_round_trips(void **state)
{
    (void)state;
    static const char text[] = "0190c5f2-7a3b-4c1d-8e9f-00ffa0b1c2d3";
    struct uuid u;
    assert_true(status_ok(uuid_parse(text, &u)));
    assert_int_equal(u.b[0], 0x01);
    assert_int_equal(u.b[15], 0xd3);
    assert_string_equal(uuid_format(u).s, text);
    assert_true(status_ok(uuid_parse("0190C5F2-7A3B-4C1D-8E9F-00FFA0B1C2D3", &u)));
    assert_string_equal(uuid_format(u).s, text);
}

static void other_forms_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "0190c5f2",
                                       "0190c5f27a3b4c1d8e9f00ffa0b1c2d3",
                                       "0190c5f2-7a3b-4c1d-8e9f-00ffa0b1c2d",
                                       "0190c5f2-7a3b-4c1d-8e9f-00ffa0b1c2d3a",
                                       "0190c5f2-7a3b-4c1d-8e9f+00ffa0b1c2d3",
                                       "0190c5g2-7a3b-4c1d-8e9f-00ffa0b1c2d3" };
    struct uuid u = { { 9 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(uuid_parse(bad[i], &u).code, STATUS_INVALID);
    assert_int_equal(u.b[0], 9);
}

/* RFC 9562: version 4 in the seventh byte, variant 10 in the ninth. */
static void random_ones_are_version_4(void **state)
{
    (void)state;
    uint8_t random[16];
    memset(random, 0xff, sizeof random);
    assert_string_equal(uuid_format(uuid_from_random(random)).s,
                        "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_false(uuid_is_nil(uuid_from_random(random)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(other_forms_are_refused),
        cmocka_unit_test(random_ones_are_version_4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

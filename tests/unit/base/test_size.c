/* SPDX-License-Identifier: Apache-2.0 */
#include "base/size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t parsed(const char *text)
{
    uint64_t bytes = 0;
    assert_true(status_ok(size_parse(text, &bytes)));
    return bytes;
}

static void units_are_powers_of_1024(void **state)
{
    (void)state;
    assert_int_equal(parsed("0"), 0);
    assert_int_equal(parsed("4096"), 4096);
    assert_int_equal(parsed("4K"), 4096);
    assert_int_equal(parsed("4k"), 4096);
    assert_int_equal(parsed("10G"), UINT64_C(10) << 30);
    assert_int_equal(parsed("10GiB"), UINT64_C(10) << 30);
    assert_int_equal(parsed("1.5T"), UINT64_C(3) << 39);
    assert_int_equal(parsed("7B"), 7);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",    "K",     "-1",  "+1",   " 1",   "1 K",          "1X",
                                       "1KK", "1.2.3", ".5G", "0x10", "1GBB", "1.0000000001K" };
    uint64_t bytes = 77;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(size_parse(bad[i], &bytes).code, STATUS_INVALID);
    assert_int_equal(size_parse("9223372036854775808", &bytes).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(size_parse("99999999999999999999", &bytes).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(size_parse("8192P", &bytes).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(bytes, 77); /* Outputs are written only on success. */
}

static void formats_are_short(void **state)
{
    (void)state;
    assert_string_equal(size_format(0).s, "0");
    assert_string_equal(size_format(4000).s, "3.91K"); /* 4000 / 1024 = 3.906 */
    assert_string_equal(size_format(4096).s, "4K");
    assert_string_equal(size_format(UINT64_C(10) << 30).s, "10G");
    assert_string_equal(size_format(UINT64_C(3) << 39).s, "1.50T");
    assert_string_equal(size_format((UINT64_C(100) << 20) + 1).s, "100M");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_are_powers_of_1024),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(formats_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

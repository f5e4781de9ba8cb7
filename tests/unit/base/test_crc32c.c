/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

/* The vectors of RFC 3720, B.4. */
static void rfc_vectors_hold(void **state)
{
    (void)state;
    uint8_t data[32];
    memset(data, 0, sizeof data);
    assert_int_equal(crc32c(data, sizeof data), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(crc32c(data, sizeof data), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    assert_int_equal(crc32c(data, sizeof data), 0x46dd794e);
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
}

/* A message may be summed in pieces, an empty one too. */
static void pieces_give_the_same_sum(void **state)
{
    (void)state;
    assert_int_equal(crc32c_extend(crc32c("1234", 4), "56789", 5), 0xe3069283);
    assert_int_equal(crc32c_extend(0xe3069283, "", 0), 0xe3069283);
    assert_int_equal(crc32c("", 0), 0);
}

static void copy_copies_and_sums(void **state)
{
    (void)state;
    char copy[9];
    assert_int_equal(crc32c_copy(copy, "123456789", 9), 0xe3069283);
    assert_memory_equal(copy, "123456789", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_vectors_hold),
        cmocka_unit_test(pieces_give_the_same_sum),
        cmocka_unit_test(copy_copies_and_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

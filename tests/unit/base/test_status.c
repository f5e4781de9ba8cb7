/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

/* Every code has a name, a text, and, but for success, an errno and an NVMe status. */
static void table_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < STATUS_COUNT; i++) {
        const struct status st = { .code = (enum status_code)i };
        assert_non_null(status_name(st));
        assert_non_null(status_text(st));
        assert_int_equal(status_errno(st) == 0, status_ok(st));
        assert_int_equal(status_nvme(st) == 0, status_ok(st));
    }
}

/* What the operating system reports keeps its meaning, whatever name it uses for it. */
static void errnos_map(void **state)
{
    (void)state;
    assert_true(status_ok(status_from_errno(0)));
    assert_int_equal(status_from_errno(ENOSPC).code, STATUS_NO_SPACE);
    assert_int_equal(status_from_errno(EDQUOT).code, STATUS_NO_SPACE);
    assert_int_equal(status_from_errno(EPIPE).code, STATUS_PEER_CLOSED);
    assert_int_equal(status_from_errno(ECANCELED).code, STATUS_CANCELED);
    assert_int_equal(status_from_errno(EAGAIN).code, STATUS_BUSY);
    assert_int_equal(status_from_errno(ENODATA).code, STATUS_MEDIA_READ);
    assert_int_equal(status_from_errno(EIO).code, STATUS_IO);
    assert_int_equal(status_from_errno(EXDEV).code, STATUS_IO);
}

static struct status fails_inside(int *steps)
{
    TRY(STATUS(OK));
    (*steps)++;
    TRY(STATUS(BUSY));
    (*steps)++;
    return STATUS(OK);
}

static void try_returns_the_first_failure(void **state)
{
    (void)state;
    int steps = 0;
    assert_int_equal(fails_inside(&steps).code, STATUS_BUSY);
    assert_int_equal(steps, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_complete),
        cmocka_unit_test(errnos_map),
        cmocka_unit_test(try_returns_the_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

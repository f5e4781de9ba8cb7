/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Every part of a fault is taken, and the path is what follows it. */
static void faults_are_parsed(void **state)
{
    (void)state;
    struct dev_fault f;
    const char *path;
    assert_true(status_ok(up_fault_parse("error,writes,flushes,skip=1000,count=1:/d", &f, &path)));
    assert_int_equal(f.action, DEV_FAULT_ERROR);
    assert_int_equal(f.kinds, DEV_FAULT_WRITES | DEV_FAULT_FLUSHES);
    assert_int_equal(f.skip, 1000);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.status.code, STATUS_IO);
    assert_string_equal(path, "/d");
    assert_true(status_ok(up_fault_parse("delay,us=20,at=1M,bytes=4K:mem:1G", &f, &path)));
    assert_int_equal(f.action, DEV_FAULT_DELAY);
    assert_int_equal(f.kinds, DEV_FAULT_ALL);
    assert_int_equal(f.delay_ns, 20000);
    assert_int_equal(f.offset, 1 << 20);
    assert_int_equal(f.bytes, 4096);
    assert_string_equal(path, "mem:1G");
}

/* What is no fault, or has no path, is refused. */
static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "error",
        "error:",
        ":/d",
        "explode:/d",
        "error,sometimes:/d",
        "error,skip:/d",
        "error,skip=many:/d",
        "error,size=1:/d",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct dev_fault f;
        const char *path;
        assert_int_equal(up_fault_parse(wrong[i], &f, &path).code, STATUS_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_parsed),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "io/pages.h"

#define OWNER 7

static uint8_t *pages;
static void *heap;

static void allocate_as_owner(void)
{
    const uint64_t before = memory_enter(OWNER);
    assert_true(status_ok(pages_map(1 << 20, false, &pages)));
    heap = malloc(100);
    assert_non_null(heap);
    memory_enter(before);
}

/* What a process took from the heap and mapped is known to be its own, and gone when it dies. */
static void test_death_frees_all(void **state)
{
    (void)state;
    allocate_as_owner();
    assert_int_equal(memory_held(OWNER), 2);
    memory_hooks.drop(NULL, OWNER);
    assert_int_equal(memory_held(OWNER), 0);
    memory_hooks.drop(NULL, OWNER); /* Nothing is freed twice. */
}

/* What it gave back itself is nobody's any more. */
static void test_own_frees_count(void **state)
{
    (void)state;
    allocate_as_owner();
    pages_unmap(pages, 1 << 20);
    free(heap);
    assert_int_equal(memory_held(OWNER), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_death_frees_all),
        cmocka_unit_test(test_own_frees_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

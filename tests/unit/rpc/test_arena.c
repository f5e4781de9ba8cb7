/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena arena;

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return arena.chunks == NULL ? 0 : -1;
}

/* Whatever its size, what is handed out is zeroed, aligned for anything, and nobody else's. */
static void parts_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 15, 16, 17, 4096, 16 << 10, 100 << 10 };
    uint8_t *parts[64];

    for (size_t i = 0; i < 64; i++) {
        const size_t bytes = sizes[i % ARRAY_COUNT(sizes)];
        parts[i] = arena_alloc(&arena, bytes);
        assert_int_equal((uintptr_t)parts[i] % _Alignof(max_align_t), 0);
        for (size_t at = 0; at < bytes; at++)
            assert_int_equal(parts[i][at], 0);
        memset(parts[i], (int)i + 1, bytes);
    }
    for (size_t i = 0; i < 64; i++)
        for (size_t at = 0; at < sizes[i % ARRAY_COUNT(sizes)]; at++)
            assert_int_equal(parts[i][at], i + 1);
}

/* An array that grows item by item keeps its items, and has room for the next. */
static void an_array_grows(void **state)
{
    (void)state;
    uint64_t *items = NULL;

    for (uint64_t i = 0; i < 1000; i++) {
        items = arena_grow(&arena, items, i, sizeof *items);
        items[i] = i * i;
    }
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i * i);
}

/* Texts are copies, and one that is longer than a message may be is cut. */
static void texts(void **state)
{
    (void)state;
    char name[] = "db1";
    const char *const copy = arena_text(&arena, name);

    name[0] = 'x';
    assert_string_equal(copy, "db1");
    assert_string_equal(arena_printf(&arena, "%s: %d", copy, 7), "db1: 7");
    assert_int_equal(strlen(arena_printf(&arena, "%5000d", 7)), 1023);
    const struct uuid uuid = { { 0xd0, 1 } };
    assert_string_equal(arena_uuid(&arena, uuid), "d0010000-0000-0000-0000-000000000000");
    assert_memory_equal(arena_uuid_bytes(&arena, uuid).data, uuid.b, sizeof uuid.b);
}

/* Without memory the process ends: no call goes on with a part that is not there. */
static void without_memory_the_process_ends(void **state)
{
    (void)state;
    int status;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = { 0, 0 };
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)arena_alloc(&arena, SIZE_MAX / 4);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(parts_are_zeroed_aligned_and_apart, teardown),
        cmocka_unit_test_teardown(an_array_grows, teardown),
        cmocka_unit_test_teardown(texts, teardown),
        cmocka_unit_test_teardown(without_memory_the_process_ends, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

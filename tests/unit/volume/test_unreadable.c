/* SPDX-License-Identifier: Apache-2.0 */
/* What nobody can read, and is told: docs/replication.md, 11.3. */
#include "volume/unreadable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/store.h"

#define BLOCK 4096u

static void assert_range(const struct unreadable *u, uint64_t first, uint64_t blocks)
{
    struct unreadable_range r;

    assert_true(unreadable_get(u, 0, &r));
    assert_int_equal(r.shard, 7);
    assert_int_equal(r.offset, first * BLOCK);
    assert_int_equal(r.bytes, blocks * BLOCK);
}

/* A range gets smaller from its ends, and is gone when nothing is left. */
static void what_is_written_is_forgotten(void **state)
{
    (void)state;
    struct unreadable u = { 0 };
    struct unreadable_range r;

    unreadable_note(&u, 7, 10 * BLOCK, 8 * BLOCK);
    unreadable_note(&u, 7, 10 * BLOCK, 8 * BLOCK);
    assert_int_equal(u.count, 1);
    unreadable_forget(&u, 6, 0, 100 * BLOCK);
    unreadable_forget(&u, 7, 0, 10 * BLOCK);
    unreadable_forget(&u, 7, 18 * BLOCK, 10 * BLOCK);
    unreadable_forget(&u, 7, 12 * BLOCK, 2 * BLOCK); /* It may be any of the others. */
    unreadable_forget(&u, 7, 10 * BLOCK + 512, BLOCK);
    assert_range(&u, 10, 8);
    unreadable_forget(&u, 7, 9 * BLOCK, 2 * BLOCK);
    assert_range(&u, 11, 7);
    unreadable_forget(&u, 7, 16 * BLOCK, 2 * BLOCK);
    assert_range(&u, 11, 5);
    unreadable_forget(&u, 7, 11 * BLOCK, 5 * BLOCK);
    assert_false(unreadable_get(&u, 0, &r));
    assert_int_equal(u.count, 0);
}

/* A part of a block counts as the block; shards and blocks may have the largest numbers. */
static void the_largest_fit(void **state)
{
    (void)state;
    struct unreadable u = { 0 };
    struct unreadable_range r;
    const uint64_t last = STORE_SHARD_BYTES_MAX - BLOCK;
    const uint32_t shard = STORE_SHARDS_MAX - 1;

    unreadable_note(&u, shard, last + 512, 512);
    assert_true(unreadable_get(&u, 0, &r));
    assert_int_equal(r.shard, shard);
    assert_int_equal(r.offset, last);
    assert_int_equal(r.bytes, BLOCK);
    unreadable_forget(&u, shard, last, BLOCK);
    assert_int_equal(u.count, 0);
}

/* There is room for so many; that there were more is said until none is left. */
static void there_may_be_more(void **state)
{
    (void)state;
    struct unreadable u = { 0 };

    for (unsigned i = 0; i < VOLUME_UNREADABLE_MAX; i++)
        unreadable_note(&u, 0, (uint64_t)2 * i * BLOCK, BLOCK);
    assert_false(u.more);
    unreadable_note(&u, 1, 0, BLOCK);
    assert_true(u.more);
    for (unsigned i = 0; i < VOLUME_UNREADABLE_MAX; i++) {
        assert_true(u.more);
        unreadable_forget(&u, 0, (uint64_t)2 * i * BLOCK, BLOCK);
    }
    assert_false(u.more);
    assert_int_equal(u.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_forgotten),
        cmocka_unit_test(the_largest_fit),
        cmocka_unit_test(there_may_be_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

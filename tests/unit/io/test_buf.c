/* SPDX-License-Identifier: Apache-2.0 */
#include "io/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "fake_reactor.h"

static struct fake_reactor fake;
static struct buf_pool *pool;

struct waiter {
    struct buf_waiter base;
    size_t wants_bytes;
    struct span got;
    unsigned retries;
};

static int setup(void **state)
{
    (void)state;
    fake_reactor_init(&fake);
    return status_ok(buf_pool_create(&fake.base, 2 * BUF_BYTES_MAX, &pool)) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    buf_pool_destroy(pool);
    return 0;
}

static void on_retry(struct buf_waiter *base)
{
    struct waiter *const w = CONTAINER_OF(base, struct waiter, base);
    w->retries++;
    w->got = buf_get(pool, w->wants_bytes);
    if (w->got.at == NULL)
        buf_wait(pool, &w->base);
}

static void on_put(struct buf_waiter *base)
{
    CONTAINER_OF(base, struct waiter, base)->retries++;
}

static void on_watch_again(struct buf_waiter *base)
{
    CONTAINER_OF(base, struct waiter, base)->retries++;
    buf_watch(pool, base);
}

static void wait_for(struct waiter *w, size_t bytes)
{
    *w = (struct waiter) { .base.retry = on_retry, .wants_bytes = bytes };
    assert_null(buf_get(pool, bytes).at);
    buf_wait(pool, &w->base);
}

/* The arena is rounded up to whole buffers of the largest size, and all of it can be used. */
static void whole_arena(void **state)
{
    (void)state;
    struct span bufs[2 * BUF_BYTES_MAX / BUF_BYTES_MIN];

    for (size_t bytes = BUF_BYTES_MIN; bytes <= BUF_BYTES_MAX; bytes *= 2) {
        const size_t count = 2 * BUF_BYTES_MAX / bytes;
        for (size_t i = 0; i < count; i++) {
            bufs[i] = buf_get(pool, bytes);
            assert_non_null(bufs[i].at);
            assert_int_equal(bufs[i].bytes, bytes);
            assert_int_equal((uintptr_t)bufs[i].at % BUF_BYTES_MIN, 0);
            memset(bufs[i].at, (int)i, bytes);
        }
        assert_null(buf_get(pool, 1).at);
        assert_int_equal(buf_pool_used(pool), 2 * BUF_BYTES_MAX);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(bufs[i].at[0], (uint8_t)i);
            assert_int_equal(bufs[i].at[bytes - 1], (uint8_t)i);
            buf_put(pool, bufs[i]);
        }
        assert_int_equal(buf_pool_used(pool), 0);
    }
    buf_put(pool, (struct span) { 0 }); /* Nothing happens. */
}

/* Buffers of mixed sizes, taken and given back at random, never overlap. */
static void no_overlap(void **state)
{
    (void)state;
    struct span held[32] = { 0 };
    struct rng rng;
    rng_init(&rng, 7);

    for (unsigned step = 0; step < 20000; step++) {
        const size_t i = rng_below(&rng, ARRAY_COUNT(held));
        if (held[i].at == NULL) {
            held[i] = buf_get(pool, 1 + rng_below(&rng, 128 << 10));
            if (held[i].at != NULL)
                held[i].at[0] = held[i].at[held[i].bytes - 1] = (uint8_t)(i + 1);
            continue;
        }
        assert_int_equal(held[i].at[0], i + 1);
        assert_int_equal(held[i].at[held[i].bytes - 1], i + 1);
        buf_put(pool, held[i]);
        held[i] = (struct span) { 0 };
    }
    for (size_t i = 0; i < ARRAY_COUNT(held); i++)
        buf_put(pool, held[i]);
    assert_int_equal(buf_pool_used(pool), 0);
}

/* Waiters are served first come, first served, from a task, and nobody overtakes them. */
static void waiters_in_turn(void **state)
{
    (void)state;
    struct span a = buf_get(pool, BUF_BYTES_MAX);
    struct span b = buf_get(pool, BUF_BYTES_MAX);
    struct waiter large;
    struct waiter small;
    wait_for(&large, BUF_BYTES_MAX);
    wait_for(&small, 4096);

    buf_put(pool, a);
    assert_null(buf_get(pool, 4096).at); /* Others wait already. */
    assert_int_equal(large.retries, 0);
    fake_reactor_run_tasks(&fake);
    assert_ptr_equal(large.got.at, a.at);
    assert_null(small.got.at);

    buf_put(pool, b);
    fake_reactor_run_tasks(&fake);
    assert_non_null(small.got.at);
    buf_put(pool, large.got);
    buf_put(pool, small.got);
}

/* A waiter that cannot be satisfied yet keeps its place before a later one that could be. */
static void first_keeps_its_place(void **state)
{
    (void)state;
    struct span a = buf_get(pool, BUF_BYTES_MAX);
    struct span b[2] = { buf_get(pool, BUF_BYTES_MAX / 2), buf_get(pool, BUF_BYTES_MAX / 2) };
    struct waiter large;
    struct waiter small;
    wait_for(&large, BUF_BYTES_MAX);
    wait_for(&small, BUF_BYTES_MAX / 2);

    buf_put(pool, b[0]); /* Enough for the small one only. */
    fake_reactor_run_tasks(&fake);
    assert_int_equal(large.retries, 1);
    assert_int_equal(small.retries, 0);
    assert_true(list_empty(&fake.tasks)); /* No busy loop. */
    buf_put(pool, b[1]);
    fake_reactor_run_tasks(&fake);
    assert_non_null(large.got.at);
    buf_put(pool, a);
    fake_reactor_run_tasks(&fake);
    assert_non_null(small.got.at);
    buf_put(pool, large.got);
    buf_put(pool, small.got);
}

/* When the first of the queue gives up, those it held up are tried. */
static void cancel_frees_the_queue(void **state)
{
    (void)state;
    struct span a = buf_get(pool, BUF_BYTES_MAX);
    struct span b[2] = { buf_get(pool, BUF_BYTES_MAX / 2), buf_get(pool, BUF_BYTES_MAX / 2) };
    struct waiter large;
    struct waiter small;
    wait_for(&large, BUF_BYTES_MAX);
    wait_for(&small, BUF_BYTES_MAX / 2);
    buf_put(pool, b[0]);
    fake_reactor_run_tasks(&fake);
    buf_wait_cancel(pool, &large.base);
    fake_reactor_run_tasks(&fake);
    assert_non_null(small.got.at);
    buf_put(pool, small.got);
    buf_put(pool, b[1]);
    buf_put(pool, a);
}

/* A buffer that comes back between the refusal and buf_wait() is not a lost wake-up. */
static void put_before_wait(void **state)
{
    (void)state;
    struct span a = buf_get(pool, BUF_BYTES_MAX);
    struct span b = buf_get(pool, BUF_BYTES_MAX);
    struct waiter w = { .base.retry = on_retry, .wants_bytes = 4096 };
    assert_null(buf_get(pool, 4096).at);
    buf_put(pool, a);
    buf_wait(pool, &w.base);
    fake_reactor_run_tasks(&fake);
    assert_non_null(w.got.at);
    buf_put(pool, w.got);
    buf_put(pool, b);
}

/* Nobody gets a buffer of which something is held, and whoever waits gets it when that ends. */
static void held_buffers_are_kept(void **state)
{
    (void)state;
    struct span a = buf_get(pool, BUF_BYTES_MAX), b = buf_get(pool, BUF_BYTES_MAX);
    struct buf_hold first, second;
    struct waiter w;

    buf_hold(pool, &first, span_sub(b, 0, 4096));
    buf_hold(pool, &second, span_sub(b, BUF_BYTES_MAX - 4096, 4096));
    buf_put(pool, b);
    assert_int_equal(buf_pool_used(pool), 2 * BUF_BYTES_MAX);
    wait_for(&w, 8192);
    memset(b.at, 0x11, b.bytes); /* Still there. */
    buf_release(pool, &first);
    fake_reactor_run_tasks(&fake);
    assert_int_equal(w.retries, 0);
    buf_release(pool, &second);
    fake_reactor_run_tasks(&fake);
    assert_int_equal(w.retries, 1);
    assert_ptr_equal(w.got.at, b.at);
    buf_put(pool, w.got);
    buf_put(pool, a);
}

/* A hold that ends before its buffer is put back leaves nothing behind; nor does one of another. */
static void holds_end_in_any_order(void **state)
{
    (void)state;
    struct span a = buf_get(pool, 8192), b = buf_get(pool, 8192);
    struct buf_hold hold;

    buf_hold(pool, &hold, span_sub(a, 4096, 4096));
    buf_put(pool, b);
    assert_int_equal(buf_pool_used(pool), 8192);
    buf_release(pool, &hold);
    buf_put(pool, a);
    assert_int_equal(buf_pool_used(pool), 0);
}

/* Watchers are called in turn after a put, once each and so many at a time, and hold up nobody. */
static void watchers_in_turn(void **state)
{
    (void)state;
    struct span a = buf_get(pool, BUF_BYTES_MAX);
    struct waiter w[BUF_WATCHERS_PER_TURN + 1];

    for (size_t i = 0; i < ARRAY_COUNT(w); i++) {
        w[i] = (struct waiter) { .base.retry = on_put };
        list_node_init(&w[i].base.link);
        buf_watch(pool, &w[i].base);
    }
    buf_put(pool, buf_get(pool, 4096));
    buf_watch_cancel(pool, &w[1].base);
    fake_reactor_run_tasks(&fake);
    while (!list_empty(&fake.tasks))
        fake_reactor_run_tasks(&fake);
    for (size_t i = 0; i < ARRAY_COUNT(w); i++)
        assert_int_equal(w[i].retries, i != 1);
    buf_put(pool, a);
    assert_true(list_empty(&fake.tasks));
}

/* One who watches again from within its call waits for the next put, also for that of a buffer
 * that somebody holds. */
static void a_watcher_waits_for_the_next_put(void **state)
{
    (void)state;
    struct span a = buf_get(pool, 8192);
    struct waiter w = { .base.retry = on_watch_again };
    struct buf_hold hold;

    list_node_init(&w.base.link);
    buf_watch(pool, &w.base);
    assert_true(list_empty(&fake.tasks));
    buf_put(pool, buf_get(pool, 4096));
    fake_reactor_run_tasks(&fake);
    assert_int_equal(w.retries, 1);
    assert_true(list_empty(&fake.tasks));
    buf_hold(pool, &hold, a);
    buf_put(pool, a);
    fake_reactor_run_tasks(&fake);
    assert_int_equal(w.retries, 2);
    buf_release(pool, &hold);
    fake_reactor_run_tasks(&fake);
    assert_int_equal(w.retries, 3);
    buf_watch_cancel(pool, &w.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(watchers_in_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_watcher_waits_for_the_next_put, setup, teardown),
        cmocka_unit_test_setup_teardown(whole_arena, setup, teardown),
        cmocka_unit_test_setup_teardown(no_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(waiters_in_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(first_keeps_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_frees_the_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(put_before_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(held_buffers_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(holds_end_in_any_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

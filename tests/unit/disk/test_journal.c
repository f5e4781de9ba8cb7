/* SPDX-License-Identifier: Apache-2.0 */
/* The marks of a journal, on a device whose requests end in the order that a case wants. */
#include "disk/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../io/fake_reactor.h"

#define BLOCK ((uint64_t)4096)

static struct fake_reactor reactor;
static struct log quiet;
static struct dev dev;
static struct list pending;
static struct journal *journal;
static bool woken;

static void start(struct dev *d, struct dev_io *io)
{
    (void)d;
    list_push_back(&pending, &io->link);
}

static const struct dev_ops dev_ops = { .start = start };

static void on_progress(void *ctx)
{
    (void)ctx;
}

static void on_wake(struct journal_waiter *waiter, struct status status)
{
    (void)waiter;
    assert_true(status_ok(status));
    woken = true;
}

static int setup(void **state)
{
    (void)state;
    list_init(&pending);
    fake_reactor_init(&reactor);
    reactor.base.log = &quiet;
    dev = (struct dev) { .ops = &dev_ops,
                         .reactor = &reactor.base,
                         .info = { .bytes = 512 * BLOCK,
                                   .align_bytes = 512,
                                   .physical_bytes = 4096,
                                   .atomic_bytes = 4096,
                                   .has_volatile_cache = true } };
    const struct journal_config config = {
        .dev = &dev, .ring = { 0, 512 * BLOCK }, .start = 1, .progress = on_progress
    };
    return status_ok(journal_create(&config, &journal)) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    journal_destroy(journal);
    return 0;
}

static void run(void)
{
    while (!list_empty(&reactor.tasks))
        fake_reactor_run_tasks(&reactor);
}

/* Ends the request that was submitted first of those that are under way. */
static void end_one(enum dev_kind kind)
{
    struct dev_io *const io = CONTAINER_OF(list_pop_front(&pending), struct dev_io, link);

    assert_int_equal(io->kind, kind);
    io->status = STATUS(OK);
    io->done(io);
    run();
}

static void wait_for(struct journal_waiter *waiter, uint64_t sequence)
{
    woken = false;
    *waiter = (struct journal_waiter) { .sequence = sequence, .fn = on_wake };
    journal_wait_flushed(journal, waiter);
    run();
}

/*
 * F14: a settled mark is durable with a block that carries it.  Six records with 16 data blocks
 * each go out in writes of 32 blocks; when the data of the last one does, its head has long gone,
 * with an older mark.
 */
static void data_blocks_carry_no_mark(void **state)
{
    (void)state;
    static uint8_t data[16 * BLOCK];
    struct journal_waiter first, last;
    uint64_t sequence, end;
    for (unsigned i = 0; i < 6; i++)
        (void)journal_append_with_data(journal, 64, (struct const_span) { data, sizeof data },
                                       &sequence, &end);
    assert_int_equal(end, 102);
    wait_for(&first, 17);
    end_one(DEV_KIND_WRITE); /* Up to 32: 65 to 96 go out, and a flush. */
    struct dev_io *const second = CONTAINER_OF(list_pop_front(&pending), struct dev_io, link);
    struct dev_io *const third = CONTAINER_OF(list_pop_front(&pending), struct dev_io, link);
    end_one(DEV_KIND_FLUSH);
    assert_true(woken);
    assert_int_equal(journal_get_marks(journal).settled, 17);
    list_push_back(&pending, &second->link);
    list_push_back(&pending, &third->link);
    end_one(DEV_KIND_WRITE); /* 97 to 102 go out. */
    wait_for(&last, 102);
    end_one(DEV_KIND_WRITE);
    end_one(DEV_KIND_WRITE);
    end_one(DEV_KIND_FLUSH);
    assert_true(woken);
    assert_int_equal(journal_get_marks(journal).flushed, 102);
    assert_int_equal(journal_get_marks(journal).settled, 102);
    assert_int_equal(journal_get_marks(journal).durably_settled, 0);
    /* So a block is written for it. */
    journal_settle(journal, 102);
    run();
    end_one(DEV_KIND_WRITE);
    end_one(DEV_KIND_FLUSH);
    assert_int_equal(journal_get_marks(journal).durably_settled, 102);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(data_blocks_carry_no_mark, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

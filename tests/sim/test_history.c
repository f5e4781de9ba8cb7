/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BLOCKS 4

static struct history *h;

static int setup(void **state)
{
    (void)state;
    h = history_create(BLOCKS, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    history_destroy(h);
    return 0;
}

static struct history_op write_start(uint64_t content)
{
    struct history_op op = { .block = 1, .count = 1, .content = content };
    history_write_start(h, &op);
    return op;
}

static void write_done(uint64_t content)
{
    struct history_op op = write_start(content);
    history_write_done(h, &op, true, false);
}

static void flush(void)
{
    struct history_op op = { 0 };
    history_flush_start(h, &op);
    history_flush_done(h, &op, true);
}

static bool may_read(uint64_t content)
{
    struct history_op op = { .block = 1, .count = 1 };
    history_read_start(h, &op);
    return history_read_block(h, &op, 1, content);
}

/* A block that was never written reads as zeros, and as nothing else (S2). */
static void never_written(void **state)
{
    (void)state;
    assert_false(may_read(1));
    assert_false(may_read(HISTORY_BAD));
    assert_true(may_read(HISTORY_ZERO));
}

/* After a completed write nothing older may be read. */
static void completed_is_read(void **state)
{
    (void)state;
    write_done(1);
    write_done(2);
    assert_false(may_read(1));
    assert_false(may_read(HISTORY_ZERO));
    assert_true(may_read(2));
}

/* While a write is in flight, either value may be read; one that was read does not go back. */
static void in_flight_is_either(void **state)
{
    (void)state;
    write_done(1);
    struct history_op op = write_start(2);
    assert_true(may_read(1));
    assert_true(may_read(2));
    assert_false(may_read(1));
    history_write_done(h, &op, true, false);
    assert_false(may_read(1));
    assert_true(may_read(2));
}

/* A write that failed may have happened; the next one that completes settles it. */
static void failed_is_either(void **state)
{
    (void)state;
    write_done(1);
    struct history_op op = write_start(2);
    history_write_done(h, &op, false, false);
    struct history_op read = { .block = 1, .count = 1 };
    history_read_start(h, &read);
    assert_true(history_read_block(h, &read, 1, 1));
    assert_false(may_read(2)); /* It was found not to have happened. */
    write_done(3);
    assert_false(may_read(1));
    assert_true(may_read(3));
}

/* Two writes at once leave either. */
static void overlapping_leave_either(void **state)
{
    (void)state;
    struct history_op a = write_start(1);
    struct history_op b = write_start(2);
    history_write_done(h, &b, true, false);
    history_write_done(h, &a, true, false);
    assert_false(may_read(HISTORY_ZERO));
    assert_true(may_read(1));
    assert_false(may_read(2));
}

/* The death of a process loses nothing that completed (S1). */
static void death_keeps_completed(void **state)
{
    (void)state;
    write_done(1);
    write_start(2);
    history_process_died(h);
    assert_false(may_read(HISTORY_ZERO));
    assert_true(may_read(2));
    assert_false(may_read(1));
}

/* A power loss may take what was not flushed, and only that (S1, S2). */
static void power_takes_unflushed(void **state)
{
    (void)state;
    write_done(1);
    flush();
    write_done(2);
    write_done(3);
    history_power_lost(h);
    assert_true(history_loss_possible(h));
    assert_false(may_read(HISTORY_ZERO));
    assert_false(history_loss_seen(h));
    assert_true(may_read(2));
    assert_true(history_loss_seen(h));
    assert_false(may_read(3));
}

static bool is_block(void *ctx, uint64_t block)
{
    return block == *(uint64_t *)ctx;
}

/* Where somebody has everything that had completed, nothing is taken. */
static void power_takes_some_blocks(void **state)
{
    (void)state;
    uint64_t other = 2, own = 1;
    write_done(1);
    write_done(2);
    history_power_lost_in(h, is_block, &other);
    assert_false(history_loss_possible(h));
    assert_false(may_read(1));
    history_power_lost_in(h, is_block, &own);
    assert_true(history_loss_possible(h));
    assert_true(may_read(1));
}

/* After a flush, a power loss takes nothing. */
static void power_keeps_flushed(void **state)
{
    (void)state;
    write_done(1);
    write_done(2);
    flush();
    history_power_lost(h);
    assert_false(history_loss_possible(h));
    assert_false(may_read(1));
    assert_true(may_read(2));
}

/* A flush covers what completed before it was submitted, not what completed since. */
static void flush_covers_the_past(void **state)
{
    (void)state;
    struct history_op flush_op = { 0 };
    write_done(1);
    history_flush_start(h, &flush_op);
    write_done(2);
    history_flush_done(h, &flush_op, true);
    history_power_lost(h);
    assert_false(may_read(HISTORY_ZERO));
    assert_true(may_read(1));
}

/* A flush that failed promises nothing. */
static void failed_flush_promises_nothing(void **state)
{
    (void)state;
    struct history_op flush_op = { 0 };
    write_done(1);
    history_flush_start(h, &flush_op);
    history_flush_done(h, &flush_op, false);
    history_power_lost(h);
    assert_true(may_read(HISTORY_ZERO));
}

/* FUA is durable by itself. */
static void fua_is_durable(void **state)
{
    (void)state;
    write_done(1);
    struct history_op op = write_start(2);
    history_write_done(h, &op, true, true);
    history_power_lost(h);
    assert_false(may_read(1));
    assert_false(may_read(HISTORY_ZERO));
    assert_true(may_read(2));
}

/* What a read found after a power loss, and a flush then covered, is what the next one leaves. */
static void flush_after_power_loss(void **state)
{
    (void)state;
    write_done(1);
    history_power_lost(h);
    assert_true(may_read(HISTORY_ZERO));
    flush();
    history_power_lost(h);
    assert_false(may_read(1));
    assert_true(may_read(HISTORY_ZERO));
}

/* A read through a newer generation sees the older one; its own write hides that (S8). */
static void generations_hide(void **state)
{
    (void)state;
    struct history *const two = history_create(BLOCKS, 2);
    struct history_op old = { .block = 0, .count = 1, .content = 1 };
    struct history_op read = { .generation = 1, .block = 0, .count = 1 };

    history_write_start(two, &old);
    history_write_done(two, &old, true, false);
    history_read_start(two, &read);
    assert_true(history_read_block(two, &read, 0, 1));
    assert_false(history_read_block(two, &read, 0, HISTORY_ZERO));
    struct history_op zeros = { .generation = 1, .block = 0, .count = 1, .content = HISTORY_ZERO };
    history_write_start(two, &zeros);
    history_write_done(two, &zeros, true, false);
    history_read_start(two, &read);
    assert_true(history_read_block(two, &read, 0, HISTORY_ZERO));
    assert_false(history_read_block(two, &read, 0, 1));
    read.generation = 0;
    assert_true(history_read_block(two, &read, 0, 1));
    history_destroy(two);
}

/* An answer that was on its way when the power was lost does not say what is left. */
static void late_answer_settles_nothing(void **state)
{
    (void)state;
    write_done(1);
    struct history_op read = { .block = 1, .count = 1 };
    history_read_start(h, &read);
    history_power_lost(h);
    assert_true(history_read_block(h, &read, 1, 1));
    assert_true(may_read(HISTORY_ZERO));
}

static bool may_fail(void)
{
    struct history_op op = { .block = 0, .count = 2 };
    history_read_start(h, &op);
    return history_read_failed(h, &op);
}

/* Damage excuses a media error of its block until a later write completes (S3). */
static void damage_ends_with_a_write(void **state)
{
    (void)state;
    write_done(1);
    assert_false(may_fail());
    history_damage_content(h, 1, 1);
    assert_true(may_fail());
    assert_true(may_read(1)); /* It was not hurt after all ... */
    assert_false(may_fail()); /* ... so it is whole. */
    history_damage_content(h, 1, 1);
    write_done(2);
    assert_false(may_fail());
    history_damage_content(h, 1, 1); /* A place that no read can meet any more. */
    assert_false(may_fail());
}

/* A power loss brings damage back, unless a flush has covered the write that ended it. */
static void damage_may_come_back(void **state)
{
    (void)state;
    write_done(1);
    history_damage_content(h, 1, 1);
    write_done(2);
    history_power_lost(h);
    assert_true(may_fail());
    write_done(3);
    flush();
    history_power_lost(h);
    assert_false(may_fail());
}

/* A write that fails hurts what it overwrites, and no block that had no data. */
static void failed_overwrite_damages(void **state)
{
    (void)state;
    struct history_op first = write_start(1);
    history_damage_write(h, 1);
    history_write_done(h, &first, false, false);
    assert_false(may_fail());
    write_done(2);
    struct history_op second = write_start(3);
    history_damage_write(h, 3);
    history_write_done(h, &second, false, false);
    assert_true(may_read(2));
    assert_true(may_fail()); /* Recovery may know the checksum of what failed. */
}

/* Only blocks of which the last death left more than one value may stay unknown. */
static void damage_of_the_unsettled(void **state)
{
    (void)state;
    write_done(1);
    flush();
    history_power_lost(h);
    history_damage_unsettled(h);
    assert_false(may_fail());
    write_done(2);
    history_power_lost(h);
    history_damage_unsettled(h);
    assert_true(may_fail());
}

/* What failed, and reads denied, may be there when the store is opened again; not what a
 * flush or a later write has settled. */
static void refused_may_come_back(void **state)
{
    (void)state;
    write_done(1);
    struct history_op op = write_start(2);
    history_write_done(h, &op, false, false);
    assert_true(may_read(1));
    assert_false(may_read(2));
    history_store_reopened(h);
    assert_true(may_read(1));
    history_store_reopened(h);
    assert_true(may_read(2));
    write_done(3);
    history_store_reopened(h);
    assert_false(may_read(2));
}

/* That it is back after a power loss is no loss of what had completed before it. */
static void what_is_back_is_no_loss(void **state)
{
    (void)state;
    write_done(1);
    struct history_op op = write_start(2);
    history_write_done(h, &op, false, false);
    assert_true(may_read(1));
    history_power_lost(h);
    history_store_reopened(h);
    assert_true(may_read(2));
    assert_false(history_loss_seen(h));
}

/* What a write that failed has left may be back after a flush, which asks for what completed. */
static void flush_settles_no_failure(void **state)
{
    (void)state;
    write_done(1);
    struct history_op op = write_start(2);
    history_write_done(h, &op, false, false);
    assert_true(may_read(1));
    flush();
    history_store_reopened(h);
    assert_true(may_read(2));
}

/* Behind a liar, nothing that was ever written is certain to be gone. */
static void liar_settles_nothing(void **state)
{
    (void)state;
    history_set_liar(h);
    write_done(1);
    flush();
    write_done(2);
    flush();
    assert_false(may_read(1));
    history_power_lost(h);
    assert_true(may_read(1));
    history_power_lost(h);
    assert_true(may_read(HISTORY_ZERO));
    assert_false(may_read(3));
}

/* What was never carried out is not there: neither now nor later. */
static void undone_is_not_read(void **state)
{
    (void)state;
    write_done(1);
    const struct history_op op = write_start(2);
    history_write_undone(h, &op);
    assert_false(may_read(2));
    assert_true(may_read(1));
    history_power_lost(h);
    assert_false(may_read(2));
}

/* What was refused is not there, but a power loss may bring it back, until a later write. */
static void refused_is_not_read(void **state)
{
    (void)state;
    for (unsigned later = 0; later < 2; later++) {
        history_destroy(h);
        h = history_create(BLOCKS, 1);
        write_done(1);
        const struct history_op op = write_start(2);
        history_write_refused(h, &op);
        assert_false(may_read(2));
        if (later) {
            write_done(3);
            flush();
        }
        history_power_lost(h);
        assert_int_equal(may_read(2), !later);
    }
}

/* A Compare may fail only where some value that a read may return is another one. */
static void unequal_needs_another_value(void **state)
{
    (void)state;
    write_done(1);
    struct history_op look = { .block = 1, .count = 1 };
    history_read_start(h, &look);
    assert_int_equal(history_guess(h, 1), 1);
    assert_false(history_may_differ(h, &look, 1, 1));
    assert_true(history_may_differ(h, &look, 1, HISTORY_BAD));
    struct history_op op = write_start(2);
    assert_true(history_may_differ(h, &look, 1, 1));
    history_write_done(h, &op, true, false);
    history_read_start(h, &look);
    assert_int_equal(history_guess(h, 1), 2);
    assert_true(history_may_differ(h, &look, 1, 1));
    assert_false(history_may_differ(h, &look, 1, 2));
}

static struct history_op copy_start(uint64_t from)
{
    struct history_op op = { .block = 1, .count = 1, .source = from };
    return op;
}

static void write_source(uint64_t content)
{
    struct history_op op = { .block = 2, .count = 1, .content = content };
    history_write_start(h, &op);
    history_write_done(h, &op, true, false);
}

#define FROM_2(content) ((content) | UINT64_C(3) << PATTERN_CONTENT_BITS)

/* A completed copy leaves what the source had, or got meanwhile, and nothing else. */
static void a_copy_is_one_of_its_sources(void **state)
{
    (void)state;
    write_done(1);
    write_source(2);
    write_source(3);
    struct history_op op = copy_start(2);
    history_copy_start(h, &op);
    write_source(4);
    history_write_done(h, &op, true, false);
    write_source(5);
    assert_false(may_read(1));
    assert_false(may_read(FROM_2(2)));
    assert_false(may_read(FROM_2(5)));
    assert_false(may_read(3)); /* As if it had been written there. */
    assert_true(may_read(FROM_2(3)));
    assert_false(may_read(FROM_2(4))); /* It was the other one. */
    write_done(6);
    assert_false(may_read(FROM_2(3)));
    assert_true(may_read(6));
}

/* A pattern names its content and its address; anything else is bad. */
static void patterns(void **state)
{
    (void)state;
    uint8_t block[4096];
    const struct span all = { block, sizeof block };
    pattern_fill(5, 77, all);
    assert_true(pattern_read(5, span_const(all)) == 77);
    /* Elsewhere it is another content, which can be filled in again; at home it is itself. */
    const uint64_t elsewhere = pattern_read(6, span_const(all));
    assert_true(elsewhere == (77 | UINT64_C(6) << PATTERN_CONTENT_BITS));
    pattern_fill(6, elsewhere, all);
    assert_true(pattern_read(6, span_const(all)) == elsewhere);
    assert_true(pattern_read(5, span_const(all)) == 77);
    uint64_t address = 0, content = 0;
    assert_true(pattern_name(span_const(all), &address, &content));
    assert_true(address == 5 && content == 77);
    block[4095] ^= 1;
    assert_true(pattern_read(5, span_const(all)) == HISTORY_BAD);
    pattern_fill(5, HISTORY_ZERO, all);
    assert_true(pattern_read(5, span_const(all)) == HISTORY_ZERO);
    block[100] = 1;
    assert_true(pattern_read(5, span_const(all)) == HISTORY_BAD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(never_written),
        TEST(completed_is_read),
        TEST(in_flight_is_either),
        TEST(failed_is_either),
        TEST(overlapping_leave_either),
        TEST(death_keeps_completed),
        TEST(power_takes_unflushed),
        TEST(power_takes_some_blocks),
        TEST(power_keeps_flushed),
        TEST(flush_covers_the_past),
        TEST(failed_flush_promises_nothing),
        TEST(fua_is_durable),
        TEST(flush_after_power_loss),
        TEST(generations_hide),
        TEST(late_answer_settles_nothing),
        TEST(damage_ends_with_a_write),
        TEST(damage_may_come_back),
        TEST(failed_overwrite_damages),
        TEST(damage_of_the_unsettled),
        TEST(refused_may_come_back),
        TEST(what_is_back_is_no_loss),
        TEST(flush_settles_no_failure),
        TEST(liar_settles_nothing),
        TEST(undone_is_not_read),
        TEST(refused_is_not_read),
        TEST(unequal_needs_another_value),
        TEST(a_copy_is_one_of_its_sources),
        TEST(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

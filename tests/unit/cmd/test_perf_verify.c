/* SPDX-License-Identifier: Apache-2.0 */
/* What the checker of `trilith perf --verify` claims: every kind of loss is found and named. */
#include "cmd/perf_verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCKS 64
#define FIRST  1000 /* The state's first block in the namespace. */

/* A disk, its checker, and what the checker has complained about. */
struct fixture {
    struct perf_state *state;
    struct perf_verify *verify;
    uint8_t disk[BLOCKS][PERF_BLOCK_BYTES];
    unsigned violations;
    struct perf_violation last;
};

static const struct perf_state_id id = {
    .block_id = { .volume = { { 1, 2, 3 } }, .run = 77 },
    .seed = 5,
    .first_block = FIRST,
    .block_count = BLOCKS,
};

static void on_violation(void *ctx, const struct perf_violation *v)
{
    struct fixture *f = ctx;
    f->violations++;
    f->last = *v;
}

static void make_checker(struct fixture *f, bool power_loss)
{
    const struct perf_verify_config config = {
        .state = f->state,
        .power_loss = power_loss,
        .violation = on_violation,
        .ctx = f,
    };
    perf_verify_destroy(f->verify);
    f->verify = NULL;
    assert_true(status_ok(perf_verify_create(&config, &f->verify)));
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_true(status_ok(perf_state_create(&id, &f->state)));
    make_checker(f, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    perf_verify_destroy(f->verify);
    perf_state_close(f->state);
    free(f);
    return 0;
}

static struct span at(struct fixture *f, uint64_t index, uint64_t count)
{
    return (struct span) { f->disk[index], count * PERF_BLOCK_BYTES };
}

/* A write whose data reach the disk. */
static void write_blocks(struct fixture *f, uint64_t index, uint64_t count, bool fua)
{
    const struct perf_extent e = { index, count };
    assert_true(status_ok(perf_verify_write_begin(f->verify, e, at(f, index, count))));
    perf_verify_write_end(f->verify, e, PERF_OUTCOME_ACKNOWLEDGED, fua);
}

static uint64_t read_blocks(struct fixture *f, uint64_t index, uint64_t count)
{
    const struct perf_extent e = { index, count };
    uint32_t floors[BLOCKS];
    perf_verify_read_begin(f->verify, e, floors);
    return perf_verify_read_end(f->verify, e, floors, span_const(at(f, index, count)));
}

static void flush(struct fixture *f)
{
    assert_true(perf_verify_flush_begin(f->verify));
    perf_verify_flush_end(f->verify, true);
}

static void what_was_written_is_right(void **state)
{
    struct fixture *f = *state;

    write_blocks(f, 3, 8, false);
    write_blocks(f, 5, 2, false);
    assert_int_equal(read_blocks(f, 0, BLOCKS), 0);
    assert_int_equal(f->violations, 0);
    const struct perf_verify_counts counts = perf_verify_counts(f->verify);
    assert_int_equal(counts.blocks_checked, BLOCKS);
    assert_int_equal(counts.blocks_unwritten, BLOCKS - 8);
}

static void a_lost_write_is_found(void **state)
{
    struct fixture *f = *state;
    uint8_t old[PERF_BLOCK_BYTES];

    write_blocks(f, 7, 1, false);
    memcpy(old, f->disk[7], sizeof old);
    write_blocks(f, 7, 1, false);
    memcpy(f->disk[7], old, sizeof old);
    assert_int_equal(read_blocks(f, 0, 10), 1);
    assert_int_equal(f->last.block, FIRST + 7);
    assert_int_equal(f->last.at_least, 2);
    assert_int_equal(f->last.finding.sequence, 1);
    assert_string_equal(perf_violation_format(&f->last).s,
                        "block 1007 (byte 4124672): lost write: expected sequence 2 "
                        "(acknowledged) to 2 (submitted), found sequence 1");
}

static void a_write_that_became_zeros_is_found(void **state)
{
    struct fixture *f = *state;

    write_blocks(f, 7, 1, false);
    memset(f->disk[7], 0, PERF_BLOCK_BYTES);
    assert_int_equal(read_blocks(f, 7, 1), 1);
    assert_int_equal(f->last.finding.found, PERF_FOUND_ZEROS);
}

static void a_block_at_the_wrong_address_is_found(void **state)
{
    struct fixture *f = *state;

    write_blocks(f, 7, 2, false);
    memcpy(f->disk[7], f->disk[8], PERF_BLOCK_BYTES);
    assert_int_equal(read_blocks(f, 7, 1), 1);
    assert_int_equal(f->last.finding.found, PERF_FOUND_MISPLACED);
    assert_int_equal(f->last.finding.block, FIRST + 8);
}

static void a_block_of_another_volume_is_found(void **state)
{
    struct fixture *f = *state;
    struct perf_block_id other = id.block_id;
    static struct perf_pattern pattern;

    perf_pattern_init(&pattern, 1);
    other.volume.b[15] = 9;
    perf_block_fill(f->disk[7], &pattern, &other, FIRST + 7, 1);
    assert_int_equal(read_blocks(f, 7, 1), 1);
    assert_int_equal(f->last.finding.found, PERF_FOUND_MISPLACED);
}

static void every_rotten_byte_is_found(void **state)
{
    struct fixture *f = *state;

    write_blocks(f, 7, 1, false);
    for (size_t i = 0; i < PERF_BLOCK_BYTES; i++) {
        f->disk[7][i] ^= 0x10;
        assert_int_equal(read_blocks(f, 7, 1), 1);
        f->disk[7][i] ^= 0x10;
    }
    assert_int_equal(read_blocks(f, 7, 1), 0);
}

static void a_torn_block_is_found(void **state)
{
    struct fixture *f = *state;
    uint8_t old[PERF_BLOCK_BYTES];

    write_blocks(f, 7, 1, false);
    memcpy(old, f->disk[7], sizeof old);
    write_blocks(f, 7, 1, false);
    memcpy(f->disk[7] + 512, old + 512, PERF_BLOCK_BYTES - 512);
    assert_int_equal(read_blocks(f, 7, 1), 1);
    assert_int_equal(f->last.finding.found, PERF_FOUND_DAMAGED);
}

static void a_write_that_nobody_submitted_is_found(void **state)
{
    struct fixture *f = *state;
    static struct perf_pattern pattern;

    perf_pattern_init(&pattern, 1);
    perf_block_fill(f->disk[7], &pattern, &id.block_id, FIRST + 7, 1);
    assert_int_equal(read_blocks(f, 7, 1), 1);
}

static void foreign_data_in_an_unwritten_block_are_found(void **state)
{
    struct fixture *f = *state;

    memset(f->disk[7], 0xe5, PERF_BLOCK_BYTES);
    assert_int_equal(read_blocks(f, 7, 1), 1);
    assert_int_equal(f->last.finding.found, PERF_FOUND_GARBAGE);
}

static void an_older_run_counts_only_where_nothing_was_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct perf_block_id older = id.block_id;
    static struct perf_pattern pattern;

    perf_pattern_init(&pattern, 1);
    older.run = 76;
    perf_block_fill(f->disk[7], &pattern, &older, FIRST + 7, 12);
    assert_int_equal(read_blocks(f, 7, 1), 0);
    write_blocks(f, 7, 1, false);
    perf_block_fill(f->disk[7], &pattern, &older, FIRST + 7, 12);
    assert_int_equal(read_blocks(f, 7, 1), 1);
}

static void a_write_of_unknown_fate_may_be_there_or_not(void **state)
{
    struct fixture *f = *state;
    const struct perf_extent e = { 7, 1 };
    uint8_t first[PERF_BLOCK_BYTES];

    write_blocks(f, 7, 1, false);
    memcpy(first, f->disk[7], sizeof first);
    assert_true(status_ok(perf_verify_write_begin(f->verify, e, at(f, 7, 1))));
    perf_verify_write_end(f->verify, e, PERF_OUTCOME_UNKNOWN, false);
    assert_int_equal(perf_verify_counts(f->verify).writes_unknown, 1);

    uint8_t second[PERF_BLOCK_BYTES];
    memcpy(second, f->disk[7], sizeof second);
    memcpy(f->disk[7], first, sizeof first);
    assert_int_equal(read_blocks(f, 7, 1), 0);
    memcpy(f->disk[7], second, sizeof second);
    assert_int_equal(read_blocks(f, 7, 1), 0);
    /* It was read: from now on it is there, and no read goes backwards. */
    memcpy(f->disk[7], first, sizeof first);
    assert_int_equal(read_blocks(f, 7, 1), 1);
}

static void a_stale_read_that_began_after_the_acknowledgement_is_found(void **state)
{
    struct fixture *f = *state;
    const struct perf_extent e = { 7, 1 };
    uint8_t old[PERF_BLOCK_BYTES];
    uint32_t floor;

    write_blocks(f, 7, 1, false);
    memcpy(old, f->disk[7], sizeof old);

    /* A read that began before the second write may return either value. */
    perf_verify_read_begin(f->verify, e, &floor);
    write_blocks(f, 7, 1, false);
    assert_int_equal(
        perf_verify_read_end(f->verify, e, &floor, (struct const_span) { old, sizeof old }), 0);
    /* One that begins now may not. */
    perf_verify_read_begin(f->verify, e, &floor);
    assert_int_equal(
        perf_verify_read_end(f->verify, e, &floor, (struct const_span) { old, sizeof old }), 1);
}

static void two_writes_of_one_block_are_never_in_flight(void **state)
{
    struct fixture *f = *state;
    const struct perf_extent e = { 7, 2 };
    uint8_t other[4 * PERF_BLOCK_BYTES];
    const struct span data = { other, sizeof other };

    assert_true(status_ok(perf_verify_write_begin(f->verify, e, at(f, 7, 2))));
    assert_int_equal(perf_verify_write_begin(f->verify, (struct perf_extent) { 5, 4 }, data).code,
                     STATUS_BUSY);
    perf_verify_write_end(f->verify, e, PERF_OUTCOME_ACKNOWLEDGED, false);
    assert_true(status_ok(perf_verify_write_begin(f->verify, (struct perf_extent) { 5, 4 }, data)));
    perf_verify_write_end(f->verify, (struct perf_extent) { 5, 4 }, PERF_OUTCOME_UNKNOWN, false);
}

static void after_power_loss_only_flushed_writes_must_be_there(void **state)
{
    struct fixture *f = *state;
    uint8_t flushed[PERF_BLOCK_BYTES];

    write_blocks(f, 7, 1, false);
    write_blocks(f, 7, 1, false);
    memcpy(flushed, f->disk[7], sizeof flushed);
    flush(f);
    write_blocks(f, 7, 1, false);
    write_blocks(f, 8, 1, false);
    write_blocks(f, 9, 1, true);

    memcpy(f->disk[7], flushed, sizeof flushed);
    memset(f->disk[8], 0, PERF_BLOCK_BYTES);
    make_checker(f, false);
    assert_int_equal(read_blocks(f, 7, 3), 2);
    make_checker(f, true);
    assert_int_equal(read_blocks(f, 7, 3), 0);
    memset(f->disk[9], 0, PERF_BLOCK_BYTES); /* That one was FUA. */
    assert_int_equal(read_blocks(f, 9, 1), 1);
    memset(f->disk[7], 0, PERF_BLOCK_BYTES);
    assert_int_equal(read_blocks(f, 7, 1), 1);
    assert_true(f->last.power_loss);
}

static void a_flush_covers_only_what_was_acknowledged_before_it(void **state)
{
    struct fixture *f = *state;

    write_blocks(f, 7, 1, false);
    assert_true(perf_verify_flush_begin(f->verify));
    assert_false(perf_verify_flush_begin(f->verify));
    write_blocks(f, 7, 1, false);
    write_blocks(f, 8, 1, false);
    perf_verify_flush_end(f->verify, true);
    assert_int_equal(perf_state_get(f->state, 7).flushed, 1);
    assert_int_equal(perf_state_get(f->state, 8).flushed, 0);
    flush(f);
    assert_int_equal(perf_state_get(f->state, 7).flushed, 2);
    assert_int_equal(perf_state_get(f->state, 8).flushed, 1);
}

static void a_failed_flush_flushes_nothing(void **state)
{
    struct fixture *f = *state;

    write_blocks(f, 7, 1, false);
    assert_true(perf_verify_flush_begin(f->verify));
    perf_verify_flush_end(f->verify, false);
    assert_int_equal(perf_state_get(f->state, 7).flushed, 0);
    flush(f);
    assert_int_equal(perf_state_get(f->state, 7).flushed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_was_written_is_right),
        TEST(a_lost_write_is_found),
        TEST(a_write_that_became_zeros_is_found),
        TEST(a_block_at_the_wrong_address_is_found),
        TEST(a_block_of_another_volume_is_found),
        TEST(every_rotten_byte_is_found),
        TEST(a_torn_block_is_found),
        TEST(a_write_that_nobody_submitted_is_found),
        TEST(foreign_data_in_an_unwritten_block_are_found),
        TEST(an_older_run_counts_only_where_nothing_was_acknowledged),
        TEST(a_write_of_unknown_fate_may_be_there_or_not),
        TEST(a_stale_read_that_began_after_the_acknowledgement_is_found),
        TEST(two_writes_of_one_block_are_never_in_flight),
        TEST(after_power_loss_only_flushed_writes_must_be_there),
        TEST(a_flush_covers_only_what_was_acknowledged_before_it),
        TEST(a_failed_flush_flushes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

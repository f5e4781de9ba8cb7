/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole runs of perf against a target over a namespace in memory, which loses, moves and rots
 * blocks behind everybody's back: perf has to notice each.
 */
#include "cmd/perf_run.h"

#include "common/no_log.h"
#include "nvme/target_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK  ((size_t)PERF_BLOCK_BYTES)
#define BLOCKS (TH_NS_BYTES / PERF_BLOCK_BYTES)

/* A target, and what the last run on it has said. */
struct bench {
    struct th th;
    char dir[64];
    char path[96]; /* Of the verify state. */
    struct log log;
    struct perf_run_config config;
    struct perf_run *run;
    bool ended;
    bool failed;
    struct perf_stats stats;
    unsigned messages;
    char last[512];
};

static uint64_t no_cpu(void)
{
    return 0;
}

static void on_message(void *ctx, const char *line)
{
    struct bench *b = ctx;
    b->messages++;
    snprintf(b->last, sizeof b->last, "%s", line);
}

static void on_ended(void *ctx, const struct perf_stats *stats, bool failed)
{
    struct bench *b = ctx;
    b->ended = true;
    b->failed = failed;
    b->stats = *stats;
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    th_start(&b->th, &(struct th_options) { .segment_max = 65536 });
    b->log.sink = no_log;
    snprintf(b->dir, sizeof b->dir, "/tmp/test_perf_run.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->path, sizeof b->path, "%s/state", b->dir);
    b->config = (struct perf_run_config) {
        .reactor = b->th.host,
        .log = &b->log,
        .endpoint = { .addr = b->th.addr,
                      .subsystem_nqn = { TH_NQN },
                      .host_nqn = { TH_HOST_NQN },
                      .host_id = { { 1 } },
                      .connect_timeout_ns = 10 * NS_PER_S,
                      .command_timeout_ns = 10 * NS_PER_S },
        .connections = 2,
        .depth = 8,
        .io_bytes = BLOCK,
        .seed = 1,
        .verify = true,
        .verify_run = 42,
        .ctx = b,
        .cpu_ns = no_cpu,
        .message = on_message,
        .ended = on_ended,
    };
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    th_run(&b->th, NS_PER_S);
    th_stop(&b->th);
    (void)unlink(b->path);
    (void)rmdir(b->dir);
    free(b);
    return 0;
}

static void start(struct bench *b)
{
    b->ended = false;
    b->messages = 0;
    assert_true(status_ok(perf_run_create(&b->config, &b->run)));
    perf_run_start(b->run);
}

static void finish(struct bench *b)
{
    th_wait(&b->th, &b->ended);
    perf_run_destroy(b->run);
}

static void run(struct bench *b)
{
    start(b);
    finish(b);
}

/* One run with the verify state in its file, as the command does it. */
static void run_with_state(struct bench *b, enum perf_rw rw, uint64_t bytes)
{
    struct perf_state *s = NULL;

    if (!status_ok(perf_state_open_file(b->path, &s)))
        s = NULL;
    b->config.rw = rw;
    b->config.bytes_max = bytes;
    b->config.state = s;
    b->config.state_path = b->path;
    run(b);
    perf_state_close(s);
}

static void write_all(struct bench *b)
{
    run_with_state(b, PERF_RW_WRITE, TH_NS_BYTES);
    assert_false(b->failed);
    assert_int_equal(b->stats.writes.bytes, TH_NS_BYTES);
}

/* Verifies everything; returns how many blocks were wrong. */
static uint64_t verify_all(struct bench *b)
{
    run_with_state(b, PERF_RW_READ, 0);
    assert_int_equal(b->stats.verify.blocks_checked, BLOCKS);
    return b->stats.verify.blocks_wrong;
}

static uint8_t *block(struct bench *b, uint64_t index)
{
    return b->th.mem.memory + index * BLOCK;
}

static void what_was_written_is_found_by_a_later_run(void **state)
{
    struct bench *b = *state;

    write_all(b);
    assert_int_equal(verify_all(b), 0);
    b->config.io_bytes = 65536 + 4096; /* Does not divide the range: the rest counts too. */
    write_all(b);
    assert_int_equal(verify_all(b), 0);
    assert_int_equal(b->messages, 0);
}

static void mixed_loads_verify_as_they_go(void **state)
{
    struct bench *b = *state;

    b->config.read_percent = 50;
    b->config.flush_every = 100;
    run_with_state(b, PERF_RW_RANDRW, 4 * TH_NS_BYTES);
    assert_false(b->failed);
    assert_true(b->stats.verify.blocks_checked > 0);
    assert_int_equal(b->stats.verify.blocks_wrong, 0);
    assert_true(b->stats.flushes.latency_ns.count > 0);
    assert_int_equal(verify_all(b), 0);
}

static void every_planted_fault_is_found_and_named(void **state)
{
    struct bench *b = *state;
    static uint8_t old[PERF_BLOCK_BYTES];

    write_all(b);
    memcpy(old, block(b, 100), BLOCK);
    write_all(b);

    memcpy(block(b, 100), old, BLOCK); /* A stale block. */
    assert_int_equal(verify_all(b), 1);
    assert_non_null(strstr(b->last, "block 100 (byte 409600): lost write"));

    memset(block(b, 200), 0, BLOCK); /* A write that never was. */
    assert_int_equal(verify_all(b), 2);
    memcpy(block(b, 300), block(b, 301), BLOCK); /* A wrong address. */
    assert_int_equal(verify_all(b), 3);
    assert_non_null(strstr(b->last, "block 300"));
    assert_non_null(strstr(b->last, "found block 301"));
    block(b, 400)[4095] ^= 1; /* A rotten byte. */
    assert_int_equal(verify_all(b), 4);
    assert_non_null(strstr(b->last, "block 400 (byte 1638400): damaged block"));
}

static void a_lost_connection_is_made_again(void **state)
{
    struct bench *b = *state;

    b->config.rw = PERF_RW_RANDWRITE;
    b->config.bytes_max = 16 * TH_NS_BYTES;
    b->config.state_path = b->path;
    b->config.reconnect_ns = 20 * NS_PER_S;
    start(b);
    for (unsigned i = 0; i < 3; i++) {
        /* The next attempt comes 200 ms after the loss. */
        th_run(&b->th, (i == 0 ? 8 : 215) * NS_PER_MS);
        assert_false(b->ended);
        sim_net_cut(sim_process_machine(b->th.server), 1);
    }
    finish(b);
    assert_false(b->failed);
    assert_int_equal(b->stats.reconnects, 3);
    assert_true(b->stats.lost > 0);
    assert_true(b->stats.down_ns > 0);
    assert_int_equal(b->stats.errors, 0);
    assert_int_equal(verify_all(b), 0);
}

static void a_pass_of_verification_is_whole_in_spite_of_cuts(void **state)
{
    struct bench *b = *state;
    struct perf_state *s;

    write_all(b);
    memset(block(b, BLOCKS - 1), 0, BLOCK);
    assert_true(status_ok(perf_state_open_file(b->path, &s)));
    b->config.rw = PERF_RW_READ;
    b->config.bytes_max = 0;
    b->config.state = s;
    b->config.reconnect_ns = 20 * NS_PER_S;
    start(b);
    th_run(&b->th, 8 * NS_PER_MS); /* Into the middle of it. */
    assert_false(b->ended);
    sim_net_cut(sim_process_machine(b->th.server), 1);
    finish(b);
    perf_state_close(s);
    assert_int_equal(b->stats.reconnects, 1);
    assert_int_equal(b->stats.verify.blocks_checked, BLOCKS);
    assert_int_equal(b->stats.verify.blocks_wrong, 1);
}

static void an_acknowledged_write_that_a_crash_took_is_found(void **state)
{
    struct bench *b = *state;

    /* The whole volume as it was before the second pass: what a server loses that acknowledges
     * before it has written. */
    write_all(b);
    uint8_t *before = malloc(TH_NS_BYTES);
    assert_non_null(before);
    memcpy(before, b->th.mem.memory, TH_NS_BYTES);

    b->config.reconnect_ns = 20 * NS_PER_S;
    b->config.rw = PERF_RW_RANDWRITE;
    b->config.bytes_max = TH_NS_BYTES;
    struct perf_state *s;
    assert_true(status_ok(perf_state_open_file(b->path, &s)));
    b->config.state = s;
    start(b);
    th_run(&b->th, 8 * NS_PER_MS);
    assert_false(b->ended);
    sim_net_cut(sim_process_machine(b->th.server), 1);
    memcpy(b->th.mem.memory, before, TH_NS_BYTES);
    finish(b);
    perf_state_close(s);
    free(before);
    assert_true(verify_all(b) > 0);
    assert_non_null(strstr(b->last, "lost write"));
}

static void after_power_loss_flushed_writes_count(void **state)
{
    struct bench *b = *state;

    b->config.flush_every = 1;
    write_all(b);
    b->config.flush_every = 0;
    uint8_t *flushed = malloc(TH_NS_BYTES);
    assert_non_null(flushed);
    memcpy(flushed, b->th.mem.memory, TH_NS_BYTES);
    write_all(b);
    memcpy(b->th.mem.memory, flushed, TH_NS_BYTES);
    free(flushed);

    b->config.power_loss = true;
    assert_int_equal(verify_all(b), 0);
    b->config.power_loss = false;
    assert_int_equal(verify_all(b), 0); /* What it found is the truth from now on. */
    memset(block(b, 7), 0, BLOCK);
    b->config.power_loss = true;
    assert_int_equal(verify_all(b), 1);
    assert_non_null(strstr(b->last, "(flushed)"));
}

static void errors_are_counted_and_end_the_run(void **state)
{
    struct bench *b = *state;

    b->th.mem.fail = STATUS(NO_SPACE);
    run_with_state(b, PERF_RW_WRITE, TH_NS_BYTES);
    assert_true(b->failed);
    assert_true(b->stats.errors >= PERF_ERRORS_MAX);
    assert_int_equal(b->stats.writes.latency_ns.count, 0);
    b->th.mem.fail = STATUS(OK);
    /* Each may or may not have happened: zeros are right. */
    assert_int_equal(verify_all(b), 0);
    assert_true(b->stats.verify.writes_unknown > 0);
}

static void a_state_of_another_volume_is_refused(void **state)
{
    struct bench *b = *state;
    const struct perf_state_id id = { .block_id = { .volume = { { 9, 9 } } },
                                      .first_block = 0,
                                      .block_count = BLOCKS };
    struct perf_state *s;

    assert_true(status_ok(perf_state_create_file(b->path, &id, &s)));
    perf_state_close(s);
    run_with_state(b, PERF_RW_READ, 0);
    assert_true(b->failed);
    assert_non_null(strstr(b->last, "is of volume"));
}

static void time_ends_a_run(void **state)
{
    struct bench *b = *state;

    b->config.rw = PERF_RW_RANDREAD;
    b->config.verify = false;
    b->config.time_ns = 2 * NS_PER_S;
    run(b);
    assert_false(b->failed);
    assert_in_range(b->stats.elapsed_ns, 2 * NS_PER_S, 21 * NS_PER_S / 10);
    assert_int_equal(b->stats.reads.bytes, b->stats.reads.latency_ns.count * BLOCK);
}

static void no_connection_is_a_failure(void **state)
{
    struct bench *b = *state;

    b->config.endpoint.addr.port = 9;
    run_with_state(b, PERF_RW_READ, 0);
    assert_true(b->failed);
    assert_non_null(strstr(b->last, "connection refused"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_was_written_is_found_by_a_later_run),
        TEST(mixed_loads_verify_as_they_go),
        TEST(every_planted_fault_is_found_and_named),
        TEST(a_lost_connection_is_made_again),
        TEST(a_pass_of_verification_is_whole_in_spite_of_cuts),
        TEST(an_acknowledged_write_that_a_crash_took_is_found),
        TEST(after_power_loss_flushed_writes_count),
        TEST(errors_are_counted_and_end_the_run),
        TEST(a_state_of_another_volume_is_refused),
        TEST(time_ends_a_run),
        TEST(no_connection_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

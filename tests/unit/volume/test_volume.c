/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "fake_store.h"
#include "loop.h"
#include "volume/limits.h"

#define K           UINT64_C(1024)
#define M           (K * K)
#define BLOCK       (4 * K)

#define DISKS       3
#define SHARDS      8
#define SHARD_BYTES (2 * M)
#define REQUESTS    64

/* Eight shards of 2 MiB, striped over three, on three disks and two reactors. */
struct fixture {
    struct log log;
    struct loop loop;
    struct store stores[DISKS];
    struct volume_disk disks[DISKS];
    struct volume_placement placement[SHARDS];
    struct volume_config config;
    struct volume *volume;
    struct status open_status;
    struct status delete_status;
    bool closed;
    uint8_t *expected; /* What the volume should hold. */
    uint8_t *memory;   /* Data of the requests. */
};

struct request {
    struct nvme_ns_req req;
    bool busy;
};

static void log_sink(struct log *log, enum log_level level, const char *line)
{
    (void)level;
    (void)line;
    *(unsigned *)log->ctx += 1;
}

static unsigned log_lines; /* Of the running test. */

static struct fixture *fixture_create(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    static const char *const names[DISKS] = { "node-1/disk-1", "node-1/disk-2", "node-1/disk-3" };

    log_lines = 0;
    f->log = (struct log) { .level = LOG_LEVEL_INFO, .sink = log_sink, .ctx = &log_lines };
    loop_init(&f->loop, 2, &f->log);
    for (unsigned i = 0; i < DISKS; i++) {
        fake_store_init(&f->stores[i], f->loop.reactors[i % 2], SHARD_BYTES);
        f->disks[i] = (struct volume_disk) { names[i], &f->stores[i], f->loop.reactors[i % 2] };
    }
    for (uint32_t i = 0; i < SHARDS; i++)
        f->placement[i].disk[0] = i % DISKS;
    f->config = (struct volume_config) {
        .volume = { .name = "db1",
                    .bytes = SHARDS * SHARD_BYTES,
                    .shard_bytes = SHARD_BYTES,
                    .lba_bytes = (uint32_t)BLOCK,
                    .stripe_unit_bytes = (uint32_t)(256 * K),
                    .stripe_width = 3,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .epoch = 1,
        .reactors = f->loop.reactors,
        .reactor_count = f->loop.count,
        .disks = f->disks,
        .disk_count = DISKS,
        .shards = f->placement,
        .shard_count = SHARDS,
        .log = &f->log,
    };
    f->expected = calloc(1, SHARDS * SHARD_BYTES);
    f->memory = aligned_alloc(BLOCK, REQUESTS * BUF_BYTES_MAX);
    return f;
}

static void on_opened(void *ctx, struct status status, struct volume *volume)
{
    struct fixture *f = ctx;
    f->open_status = status;
    f->volume = volume;
}

static struct status fixture_open(struct fixture *f)
{
    f->open_status = STATUS(TIMED_OUT);
    assert_true(status_ok(volume_open(&f->config, on_opened, f)));
    assert_int_equal(f->open_status.code, STATUS_TIMED_OUT); /* Never before it returns. */
    loop_run(&f->loop);
    return f->open_status;
}

static void on_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed = true;
}

static void fixture_close(struct fixture *f)
{
    f->closed = false;
    volume_close(f->volume, on_closed, f);
    loop_run(&f->loop);
    assert_true(f->closed);
    f->volume = NULL;
}

static void fixture_destroy(struct fixture *f)
{
    if (f->volume != NULL)
        fixture_close(f);
    for (unsigned i = 0; i < DISKS; i++)
        fake_store_fini(&f->stores[i]);
    free(f->expected);
    free(f->memory);
    free(f);
}

static struct fixture *fixture_opened(void)
{
    struct fixture *f = fixture_create();
    assert_true(status_ok(fixture_open(f)));
    return f;
}

static void on_done(struct nvme_ns_req *req)
{
    struct request *r = CONTAINER_OF(req, struct request, req);
    assert_true(r->busy);
    r->busy = false;
}

static void submit(struct fixture *f, struct request *r, unsigned slot, unsigned reactor,
                   enum nvme_ns_opcode opcode, uint64_t offset, uint64_t bytes)
{
    struct nvme_ns *ns = volume_ns(f->volume);
    const bool fua = r->req.fua;
    const uint64_t loss_told = r->req.loss_told;
    const bool data = opcode == NVME_NS_READ || opcode == NVME_NS_WRITE;

    r->req = (struct nvme_ns_req) {
        .opcode = opcode,
        .fua = fua,
        .loss_told = loss_told,
        .offset = offset,
        .bytes = bytes,
        .data = { f->memory + slot * BUF_BYTES_MAX + offset % BLOCK, data ? bytes : 0 },
        .reactor = f->loop.reactors[reactor],
        .done = on_done,
    };
    r->busy = true;
    ns->ops->submit(ns, &r->req);
    assert_true(r->busy); /* Never before it returns. */
}

/* One command, to its end. */
static struct status run(struct fixture *f, enum nvme_ns_opcode opcode, bool fua, uint64_t offset,
                         uint64_t bytes)
{
    struct request r = { .req.fua = fua };
    submit(f, &r, 0, 0, opcode, offset, bytes);
    loop_run(&f->loop);
    assert_false(r.busy);
    return r.req.status;
}

static unsigned total_flushes(const struct fixture *f)
{
    return f->stores[0].flushes + f->stores[1].flushes + f->stores[2].flushes;
}

/* A block that was never written reads as zeros, though no store knows its shard. */
static void unknown_shards_read_as_zeros(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    memset(f->memory, 0xee, 512 * K);
    assert_true(status_ok(run(f, NVME_NS_READ, false, 3 * M, 512 * K)));
    for (size_t i = 0; i < 512 * K; i++)
        assert_int_equal(f->memory[i], 0);
    assert_true(status_ok(run(f, NVME_NS_DEALLOCATE, false, 0, 16 * M)));
    fixture_destroy(f);
}

/* What a deallocate zeroes: the whole blocks of its range. */
static void expect_deallocated(struct fixture *f, uint64_t at, uint64_t bytes)
{
    const uint64_t from = round_up_u64(at, BLOCK);
    const uint64_t to = (at + bytes) / BLOCK * BLOCK;
    if (from < to)
        memset(f->expected + from, 0, to - from);
}

/* A random command of up to sectors_max sectors, and what it changes. */
static void random_command(struct fixture *f, struct rng *rng, uint64_t sector,
                           uint64_t sectors_max)
{
    const uint64_t all = SHARDS * SHARD_BYTES / sector;
    const uint64_t first = rng_below(rng, all);
    const uint64_t at = first * sector;
    const uint64_t bytes = (1 + rng_below(rng, min_u64(sectors_max, all - first))) * sector;
    uint8_t *const data = f->memory + at % BLOCK;

    switch (rng_below(rng, 6)) {
    case 0:
        assert_true(status_ok(run(f, NVME_NS_WRITE_ZEROES, rng_one_in(rng, 4), at, bytes)));
        memset(f->expected + at, 0, bytes);
        break;
    case 1:
        assert_true(status_ok(run(f, NVME_NS_DEALLOCATE, false, at, bytes)));
        expect_deallocated(f, at, bytes);
        break;
    case 2:
    case 3:
        assert_true(status_ok(run(f, NVME_NS_READ, false, at, bytes)));
        assert_memory_equal(data, f->expected + at, bytes);
        break;
    default:
        rng_fill(rng, (struct span) { data, bytes });
        memcpy(f->expected + at, data, bytes);
        assert_true(status_ok(run(f, NVME_NS_WRITE, rng_one_in(rng, 4), at, bytes)));
    }
}

/*
 * Data comes back as it was written, wherever its pieces lie; zeroing zeroes just its range.  With
 * LBAs of 512 bytes, too, where the rest of a block keeps what it had.
 */
static void what_is_written_is_read(void **state)
{
    struct fixture *f = fixture_create();
    const uint64_t sector = *(const uint64_t *)*state;
    struct rng rng;
    rng_init(&rng, 1);
    f->config.volume.lba_bytes = (uint32_t)sector;
    assert_true(status_ok(fixture_open(f)));
    for (int step = 0; step < 3000; step++)
        random_command(f, &rng, sector, step % 2 == 0 ? 512 * K / BLOCK : 4 * BLOCK / sector);
    for (uint64_t at = 0; at < SHARDS * SHARD_BYTES; at += 512 * K) {
        assert_true(status_ok(run(f, NVME_NS_READ, false, at, 512 * K)));
        assert_memory_equal(f->memory, f->expected + at, 512 * K);
    }
    fixture_destroy(f);
}

/* Parts of one block, written at once from both reactors: none undoes another. */
static void parts_of_a_block_are_serialised(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct request requests[8];
    struct rng rng;
    rng_init(&rng, 3);
    f->config.volume.lba_bytes = 512;
    assert_true(status_ok(fixture_open(f)));
    for (int round = 0; round < 50; round++) {
        f->stores[0].hold = true;
        for (unsigned i = 0; i < 8; i++) {
            requests[i] = (struct request) { 0 };
            memset(f->memory + i * (BUF_BYTES_MAX + 512), round + (int)i, 512);
            submit(f, &requests[i], i, i % 2, NVME_NS_WRITE, i * 512, 512);
        }
        f->stores[0].hold = rng_one_in(&rng, 2);
        for (unsigned busy = 8; busy > 0;) {
            loop_run(&f->loop);
            if (f->stores[0].in_flight_count > 0)
                fake_store_release(&f->stores[0],
                                   (unsigned)rng_below(&rng, f->stores[0].in_flight_count));
            busy = 0;
            for (unsigned i = 0; i < 8; i++)
                busy += requests[i].busy ? 1 : 0;
        }
        f->stores[0].hold = false;
        assert_true(status_ok(run(f, NVME_NS_READ, false, 0, BLOCK)));
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(f->memory[i * 512], round + (int)i);
    }
    fixture_destroy(f);
}

/* A part of a block that cannot be read cannot be written: the rest of it would be lost. */
static void a_part_of_an_unreadable_block_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->config.volume.lba_bytes = 512;
    assert_true(status_ok(fixture_open(f)));
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    f->stores[0].fail_next = STATUS(MEDIA_READ);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 512, 512).code, STATUS_MEDIA_READ);
    assert_int_equal(f->stores[0].writes, 1);
    fixture_destroy(f);
}

/*
 * Commands that overlap, from both reactors and at random speed, never meet in a store (it
 * asserts that), and all of them end.
 */
static void concurrent_commands_are_ordered(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request *requests = calloc(REQUESTS, sizeof *requests);
    struct volume_stats stats;
    struct rng rng;
    rng_init(&rng, 2);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    for (int step = 0; step < 20000; step++) {
        const unsigned slot = (unsigned)rng_below(&rng, REQUESTS);
        struct store *s = &f->stores[rng_below(&rng, DISKS)];
        if (!requests[slot].busy && step < 18000) {
            const enum nvme_ns_opcode opcode = (enum nvme_ns_opcode)rng_below(&rng, 5);
            const uint64_t bytes = opcode == NVME_NS_FLUSH ? 0 : (1 + rng_below(&rng, 128)) * BLOCK;
            submit(f, &requests[slot], slot, (unsigned)rng_below(&rng, 2), opcode,
                   rng_below(&rng, 256) * BLOCK, bytes);
        }
        loop_run(&f->loop);
        if (s->in_flight_count > 0)
            fake_store_release(s, (unsigned)rng_below(&rng, s->in_flight_count));
    }
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = false;
    for (unsigned i = 0; i < DISKS; i++)
        while (f->stores[i].in_flight_count > 0) {
            fake_store_release(&f->stores[i], 0);
            loop_run(&f->loop);
        }
    for (unsigned i = 0; i < REQUESTS; i++)
        assert_false(requests[i].busy);
    volume_get_stats(f->volume, &stats);
    assert_true(stats.order_waited > 1000);
    free(requests);
    fixture_destroy(f);
}

/* More commands than the pool has wait in the engine, and all of them are answered. */
static void an_empty_pool_is_back_pressure(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    const unsigned count = VOLUME_COMMANDS_MAX + 100;
    struct request *requests = calloc(count, sizeof *requests);
    struct volume_stats stats;
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    for (unsigned i = 0; i < count; i++)
        submit(f, &requests[i], i % REQUESTS, 0, NVME_NS_READ, i * BLOCK, BLOCK);
    loop_run(&f->loop);
    volume_get_stats(f->volume, &stats);
    assert_int_equal(stats.commands_waited, 100);
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].hold = false;
        if (f->stores[i].in_flight_count > 0)
            fake_store_release(&f->stores[i], 0);
        reactor_defer(f->stores[i].reactor, &f->stores[i].task);
    }
    loop_run(&f->loop);
    for (unsigned i = 0; i < count; i++) {
        assert_false(requests[i].busy);
        assert_true(status_ok(requests[i].req.status));
    }
    free(requests);
    fixture_destroy(f);
}

/* A Flush asks the disks that took writes since their last one, and no others. */
static void flush_asks_disks_with_unflushed_writes(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    /* What an earlier process wrote may be unflushed: the first one asks all. */
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 3);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 3);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 256 * K, BLOCK))); /* Shard 1, disk 1. */
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 4);
    assert_int_equal(f->stores[1].flushes, 2);
    assert_true(status_ok(run(f, NVME_NS_WRITE, true, 256 * K, BLOCK))); /* Durable already. */
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(total_flushes(f), 4);
    fixture_destroy(f);
}

/* Two Flushes at a time both wait for the disk: the second does not trust the first one's. */
static void concurrent_flushes_both_wait(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request a = { 0 }, b = { 0 };
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    f->stores[0].hold = true;
    submit(f, &a, 0, 0, NVME_NS_FLUSH, 0, 0);
    submit(f, &b, 1, 1, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(a.busy);
    assert_true(b.busy);
    f->stores[0].fail_next = STATUS(IO);
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_int_equal((a.busy ? b : a).req.status.code, STATUS_IO);
    assert_true(a.busy || b.busy);
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(a.busy || b.busy);
    f->stores[0].hold = false;
    fixture_destroy(f);
}

/* A FUA write of an association that was told of losses up to told; returns to which now. */
static uint64_t told_after_fua(struct fixture *f, uint64_t told, enum status_code expect)
{
    struct request r = { .req = { .fua = true, .loss_told = told } };
    submit(f, &r, 0, 0, NVME_NS_WRITE, 512 * K, BLOCK); /* Disk 2. */
    loop_run(&f->loop);
    assert_int_equal(r.req.status.code, expect);
    return r.req.loss_told;
}

/* S1: after a loss one Flush or FUA fails in each association, until a host has heard of it. */
static void unflushed_loss_is_told_until_heard(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[2].unflushed_loss = true;
    assert_true(status_ok(fixture_open(f)));
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 512 * K, BLOCK))); /* Disk 2. */
    assert_int_equal(told_after_fua(f, NVME_LOSS_NO_HOST, STATUS_OK), NVME_LOSS_NO_HOST);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    assert_int_equal(told_after_fua(f, 1, STATUS_OK), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    assert_int_equal(f->stores[2].losses_reported, 0);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_OK), 0);
    assert_int_equal(f->stores[2].losses_reported, 1);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(f->stores[2].losses_reported, 1);
    fixture_destroy(f);
}

/* A store hears from a volume that is closed, too. */
static void a_loss_that_was_heard_is_settled_at_the_close(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[2].unflushed_loss = true;
    f->stores[1].unflushed_loss = true;
    assert_true(status_ok(fixture_open(f)));
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 2);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 2);
    fixture_close(f);
    assert_int_equal(f->stores[1].losses_reported, 1);
    assert_int_equal(f->stores[2].losses_reported, 1);
    fixture_destroy(f);
}

/* With on-unflushed-loss = continue nothing fails. */
static void unflushed_loss_may_be_accepted(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[2].unflushed_loss = true;
    f->config.volume.continue_on_unflushed_loss = true;
    assert_true(status_ok(fixture_open(f)));
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(f->stores[2].losses_reported, 1);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    f->stores[0].incarnation = 2;
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    fixture_destroy(f);
}

/*
 * S1: a disk that changes its incarnation under way fails one Flush with Write Fault in each
 * association, until a host has heard of it.
 */
static void a_new_incarnation_fails_one_flush(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 512 * K, BLOCK)));
    f->stores[2].incarnation = 2;
    assert_int_equal(told_after_fua(f, 0, STATUS_STALE_INCARNATION), 1);
    assert_int_equal(status_nvme(STATUS(STALE_INCARNATION)), 0x280); /* Media: Write Fault. */
    assert_int_equal(told_after_fua(f, 1, STATUS_OK), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    assert_int_equal(f->stores[2].losses_reported, 0);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_OK), 0);
    assert_int_equal(f->stores[2].losses_reported, 1);
    fixture_destroy(f);
}

/* A flush that no host hears the end of finds the new incarnation, and leaves it to be told. */
static void a_flush_without_a_host_leaves_the_report(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    f->stores[2].incarnation = 2;
    assert_int_equal(told_after_fua(f, NVME_LOSS_NO_HOST, STATUS_STALE_INCARNATION),
                     NVME_LOSS_NO_HOST);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    fixture_destroy(f);
}

/* A disk that is missing fails the commands for its own shards; the others are served. */
static void a_missing_disk_fails_its_shards_only(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->disks[1].store = NULL;
    assert_true(status_ok(fixture_open(f)));
    assert_int_equal(log_lines, 1);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    assert_int_equal(run(f, NVME_NS_WRITE, false, 256 * K, BLOCK).code, STATUS_UNAVAILABLE);
    assert_int_equal(run(f, NVME_NS_READ, false, 128 * K, 256 * K).code, STATUS_UNAVAILABLE);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    fixture_destroy(f);
}

/* A failure of one piece is the command's, and its blocks are free for the next one. */
static void a_failed_piece_fails_its_command(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    f->stores[1].fail_next = STATUS(NO_SPACE);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 512 * K).code, STATUS_NO_SPACE);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, 512 * K)));
    f->stores[0].fail_next = STATUS(MEDIA_READ);
    assert_int_equal(run(f, NVME_NS_READ, false, 0, 512 * K).code, STATUS_MEDIA_READ);
    fixture_destroy(f);
}

/* A large deallocate goes in bounded pieces, a few at a time. */
static void a_large_deallocate_is_bounded(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    struct request r = { 0 };
    submit(f, &r, 0, 0, NVME_NS_DEALLOCATE, BLOCK, SHARDS * SHARD_BYTES - 2 * BLOCK);
    unsigned rounds = 0;
    while (r.busy) {
        unsigned busy = 0;
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++)
            busy += f->stores[i].in_flight_count;
        assert_in_range(busy, 0, VOLUME_PIECES_MAX);
        for (unsigned i = 0; i < DISKS; i++)
            if (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        loop_run(&f->loop);
        rounds++;
    }
    assert_true(rounds > 1);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_true(f->stores[i].bytes_max <= VOLUME_ZERO_BYTES_MAX);
        f->stores[i].hold = false;
    }
    fixture_destroy(f);
}

/* A volume opens on the disks that are there, and not at all if a disk knows a newer engine. */
static void opening_fails_for_the_whole_or_not(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[1].open_status = STATUS(STALE_EPOCH);
    assert_int_equal(fixture_open(f).code, STATUS_STALE_EPOCH);
    f->stores[1].open_status = STATUS(OK);
    for (unsigned i = 0; i < DISKS; i++)
        f->disks[i].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_UNAVAILABLE);
    f->config.volume.replicas = 2;
    assert_int_equal(fixture_open(f).code, STATUS_UNSUPPORTED);
    f->config.volume.replicas = 1;
    f->config.shard_count--;
    assert_int_equal(fixture_open(f).code, STATUS_INVALID);
    assert_null(f->volume);
    fixture_destroy(f);
}

static void on_deleted(void *ctx, struct status status)
{
    struct fixture *f = ctx;
    f->delete_status = status;
    f->volume = NULL;
}

/* Deleting asks every disk; a failure of one is told, and the volume is closed all the same. */
static void deleting_reaches_every_disk(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    f->stores[0].fail_next = STATUS(IO);
    volume_delete(f->volume, on_deleted, f);
    loop_run(&f->loop);
    assert_null(f->volume);
    assert_int_equal(f->delete_status.code, STATUS_IO);
    assert_int_equal(f->stores[1].deletes + f->stores[2].deletes, 2);
    fixture_destroy(f);
}

/* The namespace says what Identify needs: the sizes, and identities made of the UUID. */
static void the_namespace_describes_itself(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct nvme_ns_info info;
    memset(f->config.volume.uuid.b, 0x5a, 16);
    assert_true(status_ok(fixture_open(f)));
    volume_ns(f->volume)->ops->info(volume_ns(f->volume), &info);
    assert_int_equal(info.bytes, 16 * M);
    assert_int_equal(info.lba_bytes, 4096);
    assert_int_equal(info.optimal_io_bytes, 256 * K);
    assert_memory_equal(info.nguid, f->config.volume.uuid.b, 16);
    fixture_destroy(f);
}

int main(void)
{
    static uint64_t lba_4096 = 4096, lba_512 = 512;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_shards_read_as_zeros),
        { "what_is_written_is_read", what_is_written_is_read, NULL, NULL, &lba_4096 },
        { "what_is_written_is_read, LBAs of 512", what_is_written_is_read, NULL, NULL, &lba_512 },
        cmocka_unit_test(parts_of_a_block_are_serialised),
        cmocka_unit_test(a_part_of_an_unreadable_block_is_refused),
        cmocka_unit_test(concurrent_commands_are_ordered),
        cmocka_unit_test(an_empty_pool_is_back_pressure),
        cmocka_unit_test(flush_asks_disks_with_unflushed_writes),
        cmocka_unit_test(concurrent_flushes_both_wait),
        cmocka_unit_test(unflushed_loss_is_told_until_heard),
        cmocka_unit_test(a_loss_that_was_heard_is_settled_at_the_close),
        cmocka_unit_test(a_flush_without_a_host_leaves_the_report),
        cmocka_unit_test(unflushed_loss_may_be_accepted),
        cmocka_unit_test(a_new_incarnation_fails_one_flush),
        cmocka_unit_test(a_missing_disk_fails_its_shards_only),
        cmocka_unit_test(a_failed_piece_fails_its_command),
        cmocka_unit_test(a_large_deallocate_is_bounded),
        cmocka_unit_test(opening_fails_for_the_whole_or_not),
        cmocka_unit_test(deleting_reaches_every_disk),
        cmocka_unit_test(the_namespace_describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of 512 bytes and of 4096: what is written is read, and parts of a block are merged. */
#include <stdlib.h>

#include "base/rng.h"
#include "fixture.h"

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

/*
 * More parts of blocks than the reactor and the slice have memory for wait in the engine, and all
 * of them end; whole blocks go on meanwhile.
 */
static void scratch_that_has_run_out_is_back_pressure(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    const unsigned room = (unsigned)((VOLUME_SCRATCH_BYTES + BUF_BYTES_MAX) / BLOCK);
    const unsigned count = room + 100;
    struct request *requests = calloc(count + 1, sizeof *requests);
    f->config.volume.lba_bytes = 512;
    f->config.volume.stripe_width = 1; /* The first 2 MiB are shard 0's, of reactor 0. */
    f->config.commands_max = count + 1;
    assert_true(status_ok(fixture_open(f)));
    f->stores[0].hold = true;
    for (unsigned i = 0; i < count; i++)
        submit(f, &requests[i], 0, 0, NVME_NS_READ, i % 512 * BLOCK, 512);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].in_flight_count, room);
    submit(f, &requests[count], 1, 0, NVME_NS_READ, 0, BLOCK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].in_flight_count, room + 1);
    f->stores[0].hold = false;
    fake_store_release(&f->stores[0], 0);
    reactor_defer(f->stores[0].reactor, &f->stores[0].task);
    loop_run(&f->loop);
    for (unsigned i = 0; i <= count; i++) {
        assert_false(requests[i].busy);
        assert_true(status_ok(requests[i].req.status));
    }
    assert_int_equal(buf_pool_used(f->scratch[0]), 0);
    free(requests);
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

int main(void)
{
    static uint64_t lba_4096 = 4096, lba_512 = 512;
    const struct CMUnitTest tests[] = {
        { "what_is_written_is_read", what_is_written_is_read, NULL, NULL, &lba_4096 },
        { "what_is_written_is_read, LBAs of 512", what_is_written_is_read, NULL, NULL, &lba_512 },
        cmocka_unit_test(parts_of_a_block_are_serialised),
        cmocka_unit_test(scratch_that_has_run_out_is_back_pressure),
        cmocka_unit_test(a_part_of_an_unreadable_block_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

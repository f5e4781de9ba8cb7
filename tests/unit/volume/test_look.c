/* SPDX-License-Identifier: Apache-2.0 */
/* Compare and Verify: commands that look at blocks, and give nobody their data. */
#include "base/rng.h"
#include "fixture.h"

/* Writes random bytes over the first part of the volume, and remembers them. */
static void fill_volume(struct fixture *f, struct rng *rng)
{
    for (uint64_t at = 0; at < 8 * M; at += 512 * K) {
        rng_fill(rng, (struct span) { f->memory, 512 * K });
        memcpy(f->expected + at, f->memory, 512 * K);
        assert_true(status_ok(run(f, NVME_NS_WRITE, false, at, 512 * K)));
    }
}

/*
 * A Compare is equal where all bytes are, and not where one of them differs, wherever it lies: in
 * a part of a block, over several shards, in a shard that was never written.
 */
static void compare_sees_every_byte(void **state)
{
    struct fixture *f = fixture_create();
    const uint64_t sector = *(const uint64_t *)*state;
    struct rng rng;
    rng_init(&rng, 7);
    f->config.volume.lba_bytes = (uint32_t)sector;
    assert_true(status_ok(fixture_open(f)));
    fill_volume(f, &rng);
    for (int step = 0; step < 2000; step++) {
        const uint64_t at = rng_below(&rng, 9 * M / sector) * sector;
        const uint64_t sectors = step % 2 == 0 ? 512 * K / sector : 4 * BLOCK / sector;
        const uint64_t bytes = (1 + rng_below(&rng, sectors)) * sector;
        uint8_t *const data = f->memory + at % BLOCK;
        memcpy(data, f->expected + at, bytes);
        assert_true(status_ok(run(f, NVME_NS_COMPARE, false, at, bytes)));
        assert_true(status_ok(run(f, NVME_NS_VERIFY, false, at, bytes)));
        data[rng_below(&rng, bytes)] ^= 1;
        assert_int_equal(run(f, NVME_NS_COMPARE, false, at, bytes).code, STATUS_MISCOMPARE);
    }
    assert_int_equal(f->stores[0].zeroes, 0);
    fixture_destroy(f);
}

/* R8: a Compare that overlaps a write in flight waits for it, and sees what it wrote. */
static void compare_waits_for_writes(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request write = { 0 }, compare = { 0 };
    f->stores[0].hold = true;
    memset(f->memory, 0x11, BLOCK);
    memset(f->memory + BUF_BYTES_MAX, 0x11, BLOCK);
    submit(f, &write, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    submit(f, &compare, 1, 1, NVME_NS_COMPARE, 0, BLOCK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].in_flight_count, 1);
    f->stores[0].hold = false;
    fake_store_release(&f->stores[0], 0);
    loop_run(&f->loop);
    assert_false(write.busy || compare.busy);
    assert_true(status_ok(compare.req.status));
    fixture_destroy(f);
}

/* S3: a block that cannot be read is neither equal nor unequal, and Verify tells of it. */
static void an_unreadable_block_is_a_media_error(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    memset(f->memory, 0, 512 * K);
    f->stores[1].fail_next = STATUS(MEDIA_READ);
    assert_int_equal(run(f, NVME_NS_COMPARE, false, 0, 512 * K).code, STATUS_MEDIA_READ);
    f->stores[1].fail_next = STATUS(MEDIA_READ);
    assert_int_equal(run(f, NVME_NS_VERIFY, false, 0, 8 * M).code, STATUS_MEDIA_READ);
    assert_true(status_ok(run(f, NVME_NS_VERIFY, false, 0, 8 * M)));
    fixture_destroy(f);
}

/* A long Verify goes in bounded pieces, a few at a time, through memory of the reactor's. */
static void a_long_verify_is_bounded(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request r = { 0 };
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    submit(f, &r, 0, 0, NVME_NS_VERIFY, BLOCK, 8 * M);
    while (r.busy) {
        unsigned busy = 0;
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++)
            busy += f->stores[i].in_flight_count;
        assert_in_range(busy, 1, VOLUME_PIECES_MAX);
        for (unsigned i = 0; i < DISKS; i++)
            if (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        loop_run(&f->loop);
    }
    assert_true(status_ok(r.req.status));
    for (unsigned i = 0; i < DISKS; i++) {
        assert_true(f->stores[i].bytes_max <= VOLUME_SCRATCH_PIECE_BYTES);
        f->stores[i].hold = false;
    }
    fixture_destroy(f);
}

int main(void)
{
    static uint64_t lba_4096 = 4096, lba_512 = 512;
    const struct CMUnitTest tests[] = {
        { "compare_sees_every_byte", compare_sees_every_byte, NULL, NULL, &lba_4096 },
        { "compare_sees_every_byte, LBAs of 512", compare_sees_every_byte, NULL, NULL, &lba_512 },
        cmocka_unit_test(compare_waits_for_writes),
        cmocka_unit_test(an_unreadable_block_is_a_media_error),
        cmocka_unit_test(a_long_verify_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A volume that grows while it is used. */
#include "base/rng.h"
#include "fixture.h"

#define FIRST_SHARDS 5        /* Before; the last group has two of them. */
#define BYTES        (9 * M)  /* Before: half of the last shard is not used. */
#define BYTES_NEXT   (10 * M) /* Fits into the shards that there are. */
#define BYTES_MAX    (17 * M) /* Two groups more. */

/* Two of the disks are used before, the third one by what is added. */
static struct fixture *growing(void)
{
    struct fixture *f = fixture_create();

    f->config.volume.bytes = BYTES;
    f->config.shard_count = FIRST_SHARDS;
    for (uint32_t i = 0; i < FIRST_SHARDS; i++)
        f->placement[i].disk[0] = i % 2;
    assert_true(status_ok(fixture_open(f)));
    return f;
}

static struct status outcome; /* Of the last growth. */

static void on_grown(void *ctx, struct status status)
{
    (void)ctx;
    outcome = status;
}

/* Begins to grow; the shards follow from the size. */
static struct status grow_start(struct fixture *f, uint64_t bytes)
{
    struct store_volume *const v = &f->config.volume;

    v->bytes = bytes;
    if (bytes > FIRST_SHARDS * SHARD_BYTES)
        v->first_run_shards = FIRST_SHARDS;
    f->config.shard_count = (uint32_t)store_volume_shards(v);
    assert_in_range(f->config.shard_count, FIRST_SHARDS, SHARDS_MAX);
    outcome = STATUS(TIMED_OUT);
    return volume_grow(f->volume, &f->config, on_grown, f);
}

static struct status grow(struct fixture *f, uint64_t bytes)
{
    assert_true(status_ok(grow_start(f, bytes)));
    assert_int_equal(outcome.code, STATUS_TIMED_OUT); /* Never before it returns. */
    loop_run(&f->loop);
    return outcome;
}

static uint64_t served_bytes(const struct fixture *f)
{
    struct nvme_ns_info info;

    volume_ns(f->volume)->ops->info(volume_ns(f->volume), &info);
    return info.bytes;
}

static void fill(struct fixture *f, struct rng *rng, uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at < to; at += 512 * K) {
        const uint64_t bytes = min_u64(512 * K, to - at);
        rng_fill(rng, (struct span) { f->memory, bytes });
        memcpy(f->expected + at, f->memory, bytes);
        assert_true(status_ok(run(f, NVME_NS_WRITE, false, at, bytes)));
    }
}

static void verify(struct fixture *f, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 512 * K) {
        const uint64_t part = min_u64(512 * K, bytes - at);
        assert_true(status_ok(run(f, NVME_NS_READ, false, at, part)));
        assert_memory_equal(f->memory, f->expected + at, part);
    }
}

/* V1: what was written is read after each growth, what is added reads as zeros and takes data. */
static void growth_keeps_all_and_adds(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { BYTES_NEXT, BYTES_NEXT + BLOCK, 13 * M + BLOCK, BYTES_MAX };
    struct fixture *f = growing();
    struct rng rng;
    uint64_t before = BYTES;

    rng_init(&rng, 1);
    fill(f, &rng, 0, BYTES);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        assert_true(status_ok(grow(f, sizes[i])));
        assert_int_equal(served_bytes(f), sizes[i]);
        verify(f, sizes[i]);
        fill(f, &rng, before, sizes[i]);
        verify(f, sizes[i]);
        before = sizes[i];
    }
    /* A deallocate over all of it reaches both runs. */
    assert_true(status_ok(run(f, NVME_NS_DEALLOCATE, false, 0, BYTES_MAX)));
    memset(f->expected, 0, BYTES_MAX);
    verify(f, BYTES_MAX);
    fixture_destroy(f);
}

/* Commands that are under way while it grows end as they would have, on either side of it. */
static void commands_cross_a_growth(void **state)
{
    (void)state;
    struct fixture *f = growing();
    struct rng rng;
    struct request zeroes = { 0 };

    rng_init(&rng, 2);
    fill(f, &rng, 0, BYTES);
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = true;
    submit(f, &zeroes, 0, 1, NVME_NS_WRITE_ZEROES, BLOCK, BYTES - 2 * BLOCK);
    loop_run(&f->loop);
    assert_true(status_ok(grow(f, BYTES_MAX)));
    assert_true(zeroes.busy);
    while (zeroes.busy) {
        for (unsigned i = 0; i < DISKS; i++)
            while (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        loop_run(&f->loop);
    }
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].hold = false;
    assert_true(status_ok(zeroes.req.status));
    memset(f->expected + BLOCK, 0, BYTES - 2 * BLOCK);
    verify(f, BYTES_MAX);
    fixture_destroy(f);
}

/* F27: each disk has the description, and a new one its session, before the size is another. */
static void disks_are_told_first(void **state)
{
    (void)state;
    struct fixture *f = growing();
    assert_int_equal(f->stores[2].opens, 0);
    assert_true(status_ok(grow_start(f, BYTES_MAX)));
    assert_int_equal(served_bytes(f), BYTES);
    loop_run(&f->loop);
    assert_true(status_ok(outcome));
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].described.bytes, BYTES_MAX);
    assert_int_equal(f->stores[0].describes + f->stores[1].describes, 2);
    assert_int_equal(f->stores[2].opens, 1);
    fixture_destroy(f);
}

/* S1: a Flush asks the disks that growth has added. */
static void flush_covers_what_is_added(void **state)
{
    (void)state;
    struct fixture *f = growing();
    assert_true(status_ok(grow(f, BYTES_MAX)));
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    const unsigned before = f->stores[2].flushes;
    /* Unit 0 of the second run lies in shard 5, on disk 2. */
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, FIRST_SHARDS * SHARD_BYTES, BLOCK)));
    assert_int_equal(f->stores[2].writes, 1);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(f->stores[2].flushes, before + 1);
    fixture_destroy(f);
}

/* A growth that fails leaves the volume as it was, in use, and can be asked again. */
static void a_failed_growth_changes_nothing(void **state)
{
    (void)state;
    struct fixture *f = growing();
    struct rng rng;

    rng_init(&rng, 3);
    fill(f, &rng, 0, BYTES);
    f->stores[1].describe_status = STATUS(MEDIA_WRITE);
    assert_int_equal(grow(f, BYTES_MAX).code, STATUS_MEDIA_WRITE);
    f->stores[1].describe_status = STATUS(OK);
    assert_int_equal(served_bytes(f), BYTES);
    verify(f, BYTES);
    assert_true(status_ok(grow(f, BYTES_MAX)));
    verify(f, BYTES_MAX);
    fixture_destroy(f);
}

/* A disk that is to take new shards and is not there keeps the volume from growing until it is. */
static void a_missing_new_disk_is_waited_for(void **state)
{
    (void)state;
    struct fixture *f = growing();
    f->disks[2].store = NULL;
    assert_int_equal(grow(f, BYTES_MAX).code, STATUS_UNAVAILABLE);
    f->disks[2].store = &f->stores[2];
    f->stores[2].open_status = STATUS(NO_SPACE);
    assert_int_equal(grow(f, BYTES_MAX).code, STATUS_NO_SPACE);
    f->stores[2].open_status = STATUS(OK);
    assert_true(status_ok(grow(f, BYTES_MAX)));
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, BYTES_MAX - 512 * K, 512 * K)));
    fixture_destroy(f);
}

/* V1: what is no growth of the volume is refused. */
static void what_is_no_growth_is_refused(void **state)
{
    (void)state;
    struct fixture *f = growing();
    struct volume_config *const c = &f->config;

    assert_int_equal(grow_start(f, BYTES - BLOCK).code, STATUS_INVALID);
    c->volume.stripe_width = 2;
    assert_int_equal(grow_start(f, BYTES_NEXT).code, STATUS_INVALID);
    c->volume.stripe_width = 3;
    f->placement[1].disk[0] = 2;
    assert_int_equal(grow_start(f, BYTES_NEXT).code, STATUS_INVALID);
    f->placement[1].disk[0] = 1;
    assert_true(status_ok(grow_start(f, BYTES_NEXT)));
    loop_run(&f->loop);
    assert_true(status_ok(outcome));
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_keeps_all_and_adds),
        cmocka_unit_test(commands_cross_a_growth),
        cmocka_unit_test(disks_are_told_first),
        cmocka_unit_test(flush_covers_what_is_added),
        cmocka_unit_test(a_failed_growth_changes_nothing),
        cmocka_unit_test(a_missing_new_disk_is_waited_for),
        cmocka_unit_test(what_is_no_growth_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "ctl/limits.h"

#define GIB       (UINT64_C(1) << 30)
#define DISKS_MAX 20
#define ROUNDS    400

struct scene {
    struct placement_shape shape;
    uint32_t disk_count;
    struct placement_disk disks[DISKS_MAX];
    struct placement_disk before[DISKS_MAX];
    uint32_t plan[4096];
};

static void make_scene(struct rng *rng, struct scene *s)
{
    s->disk_count = 1 + (uint32_t)rng_below(rng, DISKS_MAX);
    s->shape = (struct placement_shape) {
        .shard_bytes = GIB << rng_below(rng, 3),
        .shard_count = 1 + (uint32_t)rng_below(rng, ARRAY_COUNT(s->plan)),
        .stripe_width = 1 + (uint32_t)rng_below(rng, 2ull * DISKS_MAX),
    };
    for (uint32_t i = 0; i < s->disk_count; i++)
        s->disks[i] = (struct placement_disk) { .bytes = (1 + rng_below(rng, 16)) * 256 * GIB };
    memcpy(s->before, s->disks, sizeof s->before);
    assert_true(status_ok(placement_plan(&s->shape, s->disks, s->disk_count, s->plan)));
}

/* Every shard has a disk that exists, and the planned bytes are those of the plan. */
static void accounts(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_scene(&rng, &s);
        for (uint32_t i = 0; i < s.shape.shard_count; i++) {
            assert_true(s.plan[i] < s.disk_count);
            s.before[s.plan[i]].planned_bytes += s.shape.shard_bytes;
        }
        assert_memory_equal(s.before, s.disks, s.disk_count * sizeof s.disks[0]);
    }
}

/* In a stripe, no disk carries two shards more than another: as many disks work as can. */
static void stripes_spread(void **state)
{
    static struct scene s;
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_scene(&rng, &s);
        const uint32_t width = s.shape.stripe_width;
        for (uint32_t first = 0; first < s.shape.shard_count; first += width) {
            uint32_t counts[DISKS_MAX] = { 0 };
            uint32_t least = UINT32_MAX;
            uint32_t most = 0;
            for (uint32_t i = first; i < first + width && i < s.shape.shard_count; i++)
                counts[s.plan[i]]++;
            for (uint32_t d = 0; d < s.disk_count; d++) {
                least = counts[d] < least ? counts[d] : least;
                most = counts[d] > most ? counts[d] : most;
            }
            assert_true(most - least <= 1);
        }
    }
}

/* Without stripes, disks fill in proportion to their size: to within one shard. */
static void capacity_weighted(void **state)
{
    struct placement_disk disks[3] = { { 100 * GIB, 0 }, { 200 * GIB, 0 }, { 700 * GIB, 0 } };
    const struct placement_shape shape = { GIB, 500, 1 };
    uint32_t plan[500];
    (void)state;
    assert_true(status_ok(placement_plan(&shape, disks, 3, plan)));
    /* 500 shards on 1,000 GiB: half of each disk. */
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t half = disks[i].bytes / 2;
        assert_true(disks[i].planned_bytes >= half - GIB && disks[i].planned_bytes <= half + GIB);
    }
}

/* A disk that others have filled more gets less, and equal inputs give equal plans. */
static void fills_up_the_emptier(void **state)
{
    struct placement_disk disks[2] = { { 100 * GIB, 50 * GIB }, { 100 * GIB, 0 } };
    struct placement_disk again[2] = { { 100 * GIB, 50 * GIB }, { 100 * GIB, 0 } };
    const struct placement_shape shape = { GIB, 40, 1 };
    uint32_t plan[40];
    uint32_t other[40];
    (void)state;
    assert_true(status_ok(placement_plan(&shape, disks, 2, plan)));
    assert_int_equal(disks[0].planned_bytes, 50 * GIB);
    assert_int_equal(disks[1].planned_bytes, 40 * GIB);
    assert_true(status_ok(placement_plan(&shape, again, 2, other)));
    assert_memory_equal(plan, other, sizeof plan);
}

/* Without a disk there is no plan; more than fits is planned, and counted as overcommitted. */
static void limits(void **state)
{
    struct placement_disk disks[2] = { { 10 * GIB, 0 }, { 30 * GIB, 0 } };
    const struct placement_shape shape = { GIB, 60, 1 };
    uint32_t plan[60];
    (void)state;
    assert_true(status_is(placement_plan(&shape, disks, 0, plan), STATUS_NO_SPACE));
    assert_true(status_ok(placement_plan(&shape, disks, 2, plan)));
    assert_int_equal(placement_overcommit(disks, 2), 20 * GIB);
    disks[0].planned_bytes = 0;
    disks[1].planned_bytes = 30 * GIB;
    assert_int_equal(placement_overcommit(disks, 2), 0);
}

/* The default shard is 1 GiB; less where a volume is small, more where it would have too many. */
static void shard_sizes(void **state)
{
    (void)state;
    assert_int_equal(placement_shard_bytes(10 * GIB, 3), GIB);
    assert_int_equal(placement_shard_bytes(GIB, 1), GIB);
    assert_int_equal(placement_shard_bytes(GIB, 3), GIB / 4);
    assert_int_equal(placement_shard_bytes(4096, 3), CTL_SHARD_BYTES_MIN);
    for (uint64_t bytes = 4096; bytes <= CTL_VOLUME_BYTES_MAX; bytes *= 2) {
        const uint64_t shard = placement_shard_bytes(bytes, 7);
        assert_true(shard >= CTL_SHARD_BYTES_MIN && shard <= CTL_SHARD_BYTES_MAX);
        assert_true((bytes + shard - 1) / shard <= CTL_SHARDS_MAX);
    }
}

/* Growth by any steps ends in at most one group more than needed, and in what one step makes. */
static void growth_needs_no_more_than_a_group(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t first = 1 + rng_below(&rng, 20);
        const struct placement_growth start = { GIB, 1 + (uint32_t)rng_below(&rng, 8), first, 0 };
        struct placement_growth steps = start, once = start;
        uint64_t bytes = first * GIB, planned = 0;
        for (unsigned i = 0; i < 5; i++) {
            bytes += 1 + rng_below(&rng, 4 * GIB);
            placement_grow(&steps, bytes);
        }
        placement_grow(&once, bytes);
        assert_int_equal(steps.shard_count, once.shard_count);
        assert_int_equal(steps.first_run_shards, once.first_run_shards);
        assert_int_equal(steps.first_run_shards, first);
        assert_int_equal((steps.shard_count - first) % steps.stripe_width, 0);
        assert_true(steps.shard_count * GIB >= bytes);
        assert_true((steps.shard_count - steps.stripe_width) * GIB < bytes);
        /* What is planned is what can be used. */
        for (uint32_t i = 0; i < steps.shard_count; i++)
            planned += placement_shard_share(&steps, bytes, i);
        assert_int_equal(planned, bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts),
        cmocka_unit_test(stripes_spread),
        cmocka_unit_test(capacity_weighted),
        cmocka_unit_test(fills_up_the_emptier),
        cmocka_unit_test(limits),
        cmocka_unit_test(shard_sizes),
        cmocka_unit_test(growth_needs_no_more_than_a_group),
    };
    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/span.h"

#define K     UINT64_C(1024)
#define BLOCK (4 * K)

static struct layout make_shape(struct layout_shape shape)
{
    struct layout l;
    assert_true(status_ok(layout_init(&l, &shape)));
    return l;
}

static struct layout make(uint64_t bytes, uint64_t shard_bytes, uint32_t unit, uint32_t width)
{
    return make_shape((struct layout_shape) { bytes, shard_bytes, unit, width, 0 });
}

/* A layout with a random, small geometry whose last group, shard and row are often partial. */
static struct layout make_random(struct rng *rng)
{
    const uint32_t unit = (uint32_t)BLOCK << rng_below(rng, 3);
    const uint64_t shard_bytes = unit * (1 + rng_below(rng, 6));
    const uint64_t blocks = 1 + rng_below(rng, 20 * shard_bytes / BLOCK);
    const uint32_t width = (uint32_t)(1 + rng_below(rng, 5));
    const uint64_t shards = (blocks * BLOCK - 1) / shard_bytes + 1;
    /* Half of them have grown. */
    const uint64_t first = rng_below(rng, 2) == 0 ? 0 : rng_below(rng, shards);
    return make_shape(
        (struct layout_shape) { blocks * BLOCK, shard_bytes, unit, width, (uint32_t)first });
}

static struct layout_extent locate(const struct layout *l, uint64_t at)
{
    return layout_first_extent(l, (struct layout_range) { at, l->bytes - at });
}

/* The first row of a full group runs over its shards in units; the next row follows. */
static void stripes_run_over_the_group(void **state)
{
    (void)state;
    const struct layout l = make(6 * 64 * K, 64 * K, 16 * K, 3);
    struct layout_extent e = locate(&l, 20 * K);
    assert_int_equal(e.shard, 1);
    assert_int_equal(e.offset, 4 * K);
    assert_int_equal(e.bytes, 12 * K); /* To the end of the unit. */
    e = locate(&l, 48 * K);            /* Three units make the row. */
    assert_int_equal(e.shard, 0);
    assert_int_equal(e.offset, 16 * K);
    e = locate(&l, 3 * 64 * K); /* Group 1. */
    assert_int_equal(e.shard, 3);
    assert_int_equal(e.offset, 0);
}

/* The shards that are left over form a narrower group of their own. */
static void last_group_is_striped_over_what_is_left(void **state)
{
    (void)state;
    /* Shards 0 to 2 make group 0; 3 and 4 make group 1, where shard 4 ends early. */
    const struct layout l = make(4 * 64 * K + 40 * K, 64 * K, 16 * K, 3);
    assert_int_equal(l.shard_count, 5);
    const uint64_t group = 3 * 64 * K;
    assert_int_equal(locate(&l, group + 16 * K).shard, 4);
    assert_int_equal(locate(&l, group + 32 * K).shard, 3);
    assert_int_equal(locate(&l, group + 32 * K).offset, 16 * K);
    /* 104 K in two columns: three full rows of 32 K, and 8 K of the fourth. */
    assert_int_equal(layout_shard_used(&l, 3), 3 * 16 * K + 8 * K);
    assert_int_equal(layout_shard_used(&l, 4), 3 * 16 * K);
}

/* For any geometry the mapping is a bijection: no two addresses share a place, none is lost. */
static void mapping_is_a_bijection(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 200; round++) {
        const struct layout l = make_random(&rng);
        uint64_t used = 0;
        for (uint32_t s = 0; s < l.shard_count; s++) {
            assert_true(layout_shard_used(&l, s) <= l.shard_bytes);
            used += layout_shard_used(&l, s);
        }
        assert_int_equal(used, l.bytes);
        for (uint64_t at = 0; at < l.bytes; at += BLOCK) {
            const struct layout_extent e = locate(&l, at);
            assert_true(e.shard < l.shard_count);
            assert_true(e.offset < layout_shard_used(&l, e.shard));
            assert_int_equal(layout_address(&l, e.shard, e.offset), at);
        }
    }
}

/* Inside an extent neighbours stay neighbours, and extents cover a range without a gap. */
static void extents_are_contiguous_and_cover(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 2);
    for (int round = 0; round < 500; round++) {
        const struct layout l = make_random(&rng);
        const uint64_t first = rng_below(&rng, l.bytes / BLOCK);
        const uint64_t count = 1 + rng_below(&rng, l.bytes / BLOCK - first);
        struct layout_range rest = { first * BLOCK, count * BLOCK };
        while (rest.bytes > 0) {
            const struct layout_extent e = layout_first_extent(&l, rest);
            assert_in_range(e.bytes, BLOCK, min_u64(rest.bytes, l.unit_bytes));
            assert_int_equal(layout_address(&l, e.shard, e.offset + e.bytes - BLOCK),
                             rest.at + e.bytes - BLOCK);
            rest.at += e.bytes;
            rest.bytes -= e.bytes;
        }
    }
}

/* A walk touches every block of its range exactly once, in pieces within the limit. */
static void walk_covers_its_range_once(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 3);
    for (int round = 0; round < 500; round++) {
        const struct layout l = make_random(&rng);
        const uint64_t first = rng_below(&rng, l.bytes / BLOCK);
        const uint64_t count = 1 + rng_below(&rng, l.bytes / BLOCK - first);
        const uint64_t piece_max = BLOCK * (1 + rng_below(&rng, 8));
        uint8_t *seen = calloc(l.bytes / BLOCK, 1);
        struct layout_walk w;
        struct layout_extent e;
        layout_walk_init(&w, (struct layout_range) { first * BLOCK, count * BLOCK }, piece_max);
        while (layout_walk_next(&w, &l, &e)) {
            assert_in_range(e.bytes, BLOCK, piece_max);
            for (uint64_t o = 0; o < e.bytes; o += BLOCK)
                seen[layout_address(&l, e.shard, e.offset + o) / BLOCK]++;
        }
        for (uint64_t b = 0; b < l.bytes / BLOCK; b++)
            assert_int_equal(seen[b], b >= first && b < first + count ? 1 : 0);
        free(seen);
    }
}

/* A walk over a finely striped terabyte takes one piece per shard where the limit allows. */
static void walk_joins_the_units_of_a_shard(void **state)
{
    (void)state;
    const struct layout l = make(K * K * K * K, K * K * K, 256 * K, 4);
    struct layout_walk w;
    struct layout_extent e;
    unsigned pieces = 0;
    layout_walk_init(&w, (struct layout_range) { 0, l.bytes }, K * K * K);
    while (layout_walk_next(&w, &l, &e))
        pieces++;
    assert_int_equal(pieces, 1024);
}

/* The shape of a volume that has grown to bytes. */
static struct layout_shape grow(const struct layout *l, uint64_t bytes)
{
    struct layout_shape s = { bytes, l->shard_bytes, l->unit_bytes, l->stripe_width,
                              l->run_count == 2 ? l->runs[0].count : 0 };
    if (s.first_run_shards == 0 && bytes > l->shard_count * l->shard_bytes)
        s.first_run_shards = l->shard_count;
    return s;
}

/* V1: however often and by however little a volume grows, no address ever moves. */
static void growth_moves_nothing(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 4);
    for (int round = 0; round < 300; round++) {
        struct layout l = make_random(&rng);
        for (int step = 0; step < 4; step++) {
            const struct layout old = l;
            l = make_shape(grow(&old, old.bytes + BLOCK * (1 + rng_below(&rng, 30))));
            assert_true(layout_extends(&l, &old));
            assert_true(l.shard_count >= old.shard_count);
            for (uint64_t at = 0; at < old.bytes; at += BLOCK) {
                const struct layout_extent was = locate(&old, at);
                const struct layout_extent is = locate(&l, at);
                assert_int_equal(is.shard, was.shard);
                assert_int_equal(is.offset, was.offset);
            }
        }
    }
}

/* The narrow last group keeps its width; behind it all groups are whole, also one used in part. */
static void growth_goes_on_in_whole_groups(void **state)
{
    (void)state;
    /* Four shards, the last alone in its group of at most three; and 20 K more than they hold. */
    const struct layout old = make(3 * 64 * K + 40 * K, 64 * K, 16 * K, 3);
    const struct layout l = make_shape(grow(&old, 4 * 64 * K + 20 * K));
    assert_int_equal(l.shard_count, 4 + 3);
    assert_int_equal(locate(&l, 3 * 64 * K + 40 * K).shard, 3);
    assert_int_equal(locate(&l, 4 * 64 * K - BLOCK).shard, 3);
    assert_int_equal(locate(&l, 4 * 64 * K).shard, 4);
    assert_int_equal(locate(&l, 4 * 64 * K + 16 * K).shard, 5);
    assert_int_equal(layout_shard_used(&l, 4), 16 * K);
    assert_int_equal(layout_shard_used(&l, 5), 4 * K);
    assert_int_equal(layout_shard_used(&l, 6), 0);
    /* Up to the end of that group no shard is added, and then a group. */
    assert_int_equal(make_shape(grow(&l, 7 * 64 * K)).shard_count, 7);
    assert_int_equal(make_shape(grow(&l, 7 * 64 * K + BLOCK)).shard_count, 10);
}

/* What is not a growth of the other is told apart. */
static void other_shapes_do_not_extend(void **state)
{
    (void)state;
    const struct layout old = make(3 * 64 * K, 64 * K, 16 * K, 2);
    const struct layout grown =
        make_shape((struct layout_shape) { 4 * 64 * K, 64 * K, 16 * K, 2, 3 });
    const struct layout others[] = {
        make(4 * 64 * K, 64 * K, 16 * K, 2), /* Its last group would be wider. */
        make(2 * 64 * K, 64 * K, 16 * K, 2),
        make(3 * 64 * K, 64 * K, 16 * K, 3),
        make(3 * 64 * K, 64 * K, 32 * K, 2),
        make(3 * 64 * K, 32 * K, 16 * K, 2),
        make_shape((struct layout_shape) { 4 * 64 * K, 64 * K, 16 * K, 2, 2 }),
    };
    assert_true(layout_extends(&grown, &old));
    assert_false(layout_extends(&old, &grown));
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        assert_false(layout_extends(&others[i], &old));
}

/* Sizes that do not fit each other are refused. */
static void bad_geometry_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes, shard_bytes;
        uint32_t unit, width, first_run;
        enum status_code code;
    } bad[] = {
        { 0, 64 * K, 16 * K, 1, 0, STATUS_INVALID },
        { 5000, 64 * K, 16 * K, 1, 0, STATUS_INVALID },
        { 64 * K, 0, 16 * K, 1, 0, STATUS_INVALID },
        { 64 * K, 40 * K, 16 * K, 1, 0, STATUS_INVALID },
        { 64 * K, 64 * K, 12 * K, 1, 0, STATUS_INVALID },
        { 64 * K, 64 * K, 2 * K, 1, 0, STATUS_INVALID },
        { 64 * K, K * K, 1024 * K, 1, 0, STATUS_INVALID },
        { 64 * K, 64 * K, 16 * K, 0, 0, STATUS_INVALID },
        { UINT64_C(1) << 63, 4 * K, 4 * K, 1, 0, STATUS_OUT_OF_RANGE },
        { 64 * K, 64 * K, 16 * K, 1, 1, STATUS_INVALID }, /* Nothing in the second run. */
        { 64 * K, 64 * K, 16 * K, 1, 2, STATUS_INVALID },
        { UINT64_C(1) << 44, 4 * K, 4 * K, UINT32_MAX, 1, STATUS_OUT_OF_RANGE },
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct layout l;
        const struct status st =
            layout_init(&l, &(struct layout_shape) { bad[i].bytes, bad[i].shard_bytes, bad[i].unit,
                                                     bad[i].width, bad[i].first_run });
        assert_int_equal(st.code, bad[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stripes_run_over_the_group),
        cmocka_unit_test(last_group_is_striped_over_what_is_left),
        cmocka_unit_test(mapping_is_a_bijection),
        cmocka_unit_test(extents_are_contiguous_and_cover),
        cmocka_unit_test(walk_covers_its_range_once),
        cmocka_unit_test(walk_joins_the_units_of_a_shard),
        cmocka_unit_test(growth_moves_nothing),
        cmocka_unit_test(growth_goes_on_in_whole_groups),
        cmocka_unit_test(other_shapes_do_not_extend),
        cmocka_unit_test(bad_geometry_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

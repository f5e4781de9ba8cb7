/* SPDX-License-Identifier: Apache-2.0 */
/* The map of one shard: cells and their addresses, against a table that says the same plainly. */
#include "store/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

#define GRAINS 6
#define CELLS  (GRAINS * GRAIN_CELLS)
#define STEPS  20000

/* A few more addresses than there are cells, so that all are used again and again. */
#define ADDRESSES (CELLS + 8)

struct world {
    struct cell_lists lists;
    struct map_usage usage;
    uint64_t blocks;
    struct map map;
    struct layer *layer;
    uint32_t address[CELLS]; /* SPACE_NONE: the cell is not owned. */
    bool taken[ADDRESSES];
    uint32_t data[GRAINS];
    struct rng rng;
};

static struct world w;

static int setup(void **state)
{
    (void)state;
    w = (struct world) { 0 };
    rng_init(&w.rng, 1);
    cell_lists_init(&w.lists);
    map_init(&w.map, GRAINS * (uint64_t)STORE_GRAIN_BYTES, &w.lists, &w.usage, &w.blocks);
    assert_true(status_ok(map_layer_make(&w.map, 1, &w.layer)));
    for (uint32_t i = 0; i < CELLS; i++)
        w.address[i] = SPACE_NONE;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    map_fini(&w.map);
    assert_int_equal(w.usage.bytes, 0);
    assert_int_equal(w.blocks, 0);
    cell_lists_fini(&w.lists);
    return 0;
}

static struct grain *grain(uint32_t i)
{
    return &w.layer->grains[i];
}

static void own(uint32_t cell, uint32_t address)
{
    assert_true(status_ok(cell_lists_reserve(&w.lists, 1)));
    map_own(&w.map, grain(cell / GRAIN_CELLS), cell % GRAIN_CELLS, address);
    w.address[cell] = address;
    w.taken[address] = true;
}

static void touch(uint32_t cell)
{
    uint32_t address = (uint32_t)rng_below(&w.rng, ADDRESSES);
    const uint64_t natural = map_natural_cell(grain(cell / GRAIN_CELLS), cell % GRAIN_CELLS);
    const uint32_t mask = (uint32_t)(1 + rng_below(&w.rng, 15)) << (cell % GRAIN_CELLS * 4);

    if (natural < ADDRESSES && rng_one_in(&w.rng, 2))
        address = (uint32_t)natural;
    while (w.address[cell] == SPACE_NONE && w.taken[address])
        address = (address + 1) % ADDRESSES;
    if (w.address[cell] == SPACE_NONE)
        own(cell, address);
    map_set_data(&w.map, grain(cell / GRAIN_CELLS), mask);
    w.data[cell / GRAIN_CELLS] |= mask;
}

static void zero(uint32_t g, uint32_t mask)
{
    struct map_freed freed;
    uint32_t count = 0;
    bool kept = false;

    const bool said = map_set_zero(&w.map, grain(g), mask, rng_one_in(&w.rng, 2), &freed);
    for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
        const uint32_t cell = g * GRAIN_CELLS + i;
        const uint32_t before = w.data[g] & cell_mask(i);
        const uint32_t after = before & ~mask;
        kept |= after != before && after != 0;
        if (before == 0 || after != 0)
            continue;
        assert_int_equal(freed.cell[count++], w.address[cell]);
        w.taken[w.address[cell]] = false;
        w.address[cell] = SPACE_NONE;
    }
    w.data[g] &= ~mask;
    assert_int_equal(freed.count, count);
    assert_int_equal(said, kept);
}

/* The extents of a grain are its cells with data, each once, where they lie. */
static void check_extents(uint32_t g)
{
    uint32_t cell = 0, covered = 0;
    struct map_extent e;

    while (map_next_extent(&w.map, grain(g), &cell, &e)) {
        assert_true(e.count > 0 && e.first + e.count <= GRAIN_BLOCKS);
        for (uint32_t b = 0; b < e.count; b++) {
            const uint32_t at = g * GRAIN_CELLS + (e.first + b) / CELL_BLOCKS;
            if ((w.data[g] >> (e.first + b) & 1) != 0)
                assert_int_equal(e.place + b,
                                 (uint64_t)w.address[at] * CELL_BLOCKS + b % CELL_BLOCKS);
        }
        assert_int_equal(covered & grain_mask(e.first, e.count), 0);
        covered |= grain_mask(e.first, e.count);
    }
    assert_int_equal(w.data[g] & ~covered, 0);
}

static void check(void)
{
    uint64_t bytes = MAP_LAYER_BYTES, blocks = 0;

    for (uint32_t g = 0; g < GRAINS; g++) {
        assert_int_equal(grain(g)->data, w.data[g]);
        for (uint32_t i = 0; i < GRAIN_CELLS; i++) {
            const uint32_t address = w.address[g * GRAIN_CELLS + i];
            assert_int_equal(grain_owned(grain(g)) >> i & 1, address != SPACE_NONE ? 1 : 0);
            if (address != SPACE_NONE)
                assert_int_equal(map_cell(&w.map, grain(g), i), address);
        }
        bytes += grain_checkpoint_bytes(grain(g));
        blocks += (uint64_t)__builtin_popcount(w.data[g]);
        check_extents(g);
    }
    assert_int_equal(w.usage.bytes, bytes);
    assert_int_equal(w.blocks, blocks);
}

/* F30, F31: whatever comes and goes, no cell moves, none is lost, and the counts are right. */
static void cells_stay_where_they_are(void **state)
{
    (void)state;
    for (unsigned step = 0; step < STEPS; step++) {
        const uint32_t g = (uint32_t)rng_below(&w.rng, GRAINS);
        const uint32_t first = (uint32_t)rng_below(&w.rng, GRAIN_BLOCKS);
        const uint32_t count = (uint32_t)(1 + rng_below(&w.rng, GRAIN_BLOCKS - first));
        if (rng_one_in(&w.rng, 3))
            zero(g, grain_mask(first, count));
        else
            touch((uint32_t)rng_below(&w.rng, CELLS));
        check();
    }
}

/* F29: a cell that a record has elsewhere comes with it, and the grain's other cells stay. */
static void a_cell_elsewhere_gives_way_alone(void **state)
{
    (void)state;
    own(0, 8);
    own(1, 9);
    map_set_data(&w.map, grain(0), 0xff);
    map_own_again(&w.map, grain(0), 1, 9);
    assert_int_equal(grain(0)->data, 0xff);
    assert_true(status_ok(cell_lists_reserve(&w.lists, 1)));
    map_own_again(&w.map, grain(0), 1, 20);
    assert_int_equal(grain(0)->data, 0x0f);
    assert_int_equal(map_cell(&w.map, grain(0), 0), 8);
    assert_int_equal(map_cell(&w.map, grain(0), 1), 20);
}

/* A grain of whole cells in a row costs no list, wherever it lies; a stray one costs one, for as
 * long as it is there. */
static void only_scattered_grains_have_lists(void **state)
{
    (void)state;
    struct map_freed freed;
    for (uint32_t i = 0; i < GRAIN_CELLS; i++)
        own(i, 3 + i);
    assert_false(grain_is_scattered(grain(0)));
    own(GRAIN_CELLS + 7, 0); /* Its first cell would lie before the disk. */
    map_set_data(&w.map, grain(1), cell_mask(7));
    assert_false(grain_is_scattered(grain(1)));
    assert_int_equal(map_natural_cell(grain(1), 6), BITMAP_NONE);
    own(GRAIN_CELLS + 6, 30);
    map_set_data(&w.map, grain(1), cell_mask(6));
    assert_true(grain_is_scattered(grain(1)));
    (void)map_set_zero(&w.map, grain(1), cell_mask(7), false, &freed);
    assert_false(grain_is_scattered(grain(1)));
    assert_int_equal(map_cell(&w.map, grain(1), 6), 30);
}

/* What a write may make a checkpoint say is known before, however its cells come to lie (F31). */
static void growth_is_bounded_beforehand(void **state)
{
    (void)state;
    for (unsigned step = 0; step < STEPS / 10; step++) {
        const uint32_t cell = (uint32_t)rng_below(&w.rng, CELLS);
        const uint32_t g = cell / GRAIN_CELLS;
        const uint32_t most = grain_checkpoint_bytes_with(grain(g), cell_mask(cell % GRAIN_CELLS));
        assert_true(most >= grain_checkpoint_bytes(grain(g)));
        touch(cell);
        assert_true(grain_checkpoint_bytes(grain(g)) <= most);
        if (rng_one_in(&w.rng, 3))
            zero((uint32_t)rng_below(&w.rng, GRAINS), (uint32_t)rng_u64(&w.rng));
    }
}

/* F14, F19: a grain's sequence is compared rightly across the end of its bits. */
static void sequences_go_round(void **state)
{
    (void)state;
    struct grain g = { 0 };
    const uint64_t end = UINT64_C(1) << GRAIN_SEQUENCE_BITS;
    assert_true(grain_is_settled(&g, 0));
    for (uint64_t s = end * 5 - 3; s < end * 5 + 3; s++) {
        grain_set_sequence(&g, s);
        assert_false(grain_is_settled(&g, s - 1));
        assert_true(grain_is_settled(&g, s + 1));
        assert_true(grain_is_settled(&g, s + end / 4));
    }
    grain_set_freed(&g, true);
    grain_forget_sequence(&g);
    assert_true(grain_is_settled(&g, 0));
    assert_false(grain_has_freed(&g));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cells_stay_where_they_are),
        TEST(a_cell_elsewhere_gives_way_alone),
        TEST(only_scattered_grains_have_lists),
        TEST(growth_is_bounded_beforehand),
        TEST(sequences_go_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

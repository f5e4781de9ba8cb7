/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/loss.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster_gen.h"
#include "ctl/spread.h"
#include "ctl/validate.h"

static void assert_close(double value, double want, double error)
{
    if (value < want - error || value > want + error)
        fail_msg("%.9f is not within %.9f of %.9f", value, error, want);
}

static void make(struct cluster_gen *g, struct rng *rng, uint32_t nodes, uint32_t zones,
                 struct loss_map *map)
{
    cluster_make(g, rng, (struct cluster_shape) { nodes, zones, 0, 2, 1024 * GIB });
    loss_map_init(map, &g->cluster);
}

/* Two triples of six nodes, counted by hand. */
static void by_hand(void **state)
{
    static struct cluster_gen g;
    static struct loss_map map;
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    make(&g, &rng, 6, 0, &map);
    loss_map_add(&map, 0x07, 10);
    loss_map_add(&map, 0x38, 30);
    loss_map_add(&map, 0x38, 20);
    assert_int_equal(loss_map_tuples(&map), 2);
    assert_true(loss_report(&map, 3).exact);
    assert_close(loss_report(&map, 2).placed.probability, 0, 0);
    /* 2 of the 20 triples; 10 and 50 shards. */
    assert_close(loss_report(&map, 3).placed.probability, 0.1, 1e-12);
    assert_close(loss_report(&map, 3).placed.shards, 30, 1e-9);
    /* Each triple with one of three others: 6 of 15. */
    assert_close(loss_report(&map, 4).placed.probability, 0.4, 1e-12);
    assert_close(loss_report(&map, 5).placed.probability, 1, 1e-12);
    assert_close(loss_report(&map, 6).placed.shards, 60, 1e-9);
    /* A shard that was made degraded, on one node: 10 triples have it, 1 of which counts above. */
    loss_map_add(&map, 0x01, 1);
    assert_close(loss_report(&map, 3).placed.probability, 11 / 20.0, 1e-12);
}

/* Whether one of the sets is among the nodes that failed, and how many shards these have. */
static uint64_t lost(const uint64_t *sets, const uint64_t *shards, uint32_t count, uint64_t failed)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += (sets[i] & ~failed) == 0 ? shards[i] : 0;
    return sum;
}

/* The same as trying every set of nodes on every set that holds something. */
static void by_force(void **state)
{
    static struct cluster_gen g;
    static struct loss_map map;
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (unsigned round = 0; round < 100; round++) {
        uint64_t sets[20], shards[20];
        const uint32_t count = 1 + (uint32_t)rng_below(&rng, 20);
        const uint32_t nodes = 4 + (uint32_t)rng_below(&rng, 7);
        const uint32_t failures = 1 + (uint32_t)rng_below(&rng, min_u64(nodes, LOSS_FAILURES_MAX));
        make(&g, &rng, nodes, 0, &map);
        for (uint32_t i = 0; i < count; i++) {
            sets[i] = 0;
            while (node_mask_count(sets[i]) < 1 + i % 3)
                sets[i] |= node_bit((uint32_t)rng_below(&rng, nodes));
            shards[i] = 1 + rng_below(&rng, 100);
            loss_map_add(&map, sets[i], shards[i]);
        }
        uint32_t all = 0, losing = 0;
        uint64_t sum = 0;
        for (uint64_t failed = 0; failed < UINT64_C(1) << nodes; failed++) {
            if (node_mask_count(failed) != failures)
                continue;
            const uint64_t gone = lost(sets, shards, count, failed);
            all++;
            losing += gone > 0;
            sum += gone;
        }
        const struct loss_report r = loss_report(&map, failures);
        assert_close(r.placed.probability, (double)losing / all, 1e-9);
        assert_close(r.placed.shards, losing > 0 ? (double)sum / losing : 0, 1e-6);
        assert_close(r.at_least, r.at_most, 0);
    }
}

/* Random placement: by the formula, for as many failures as replicas. */
static void random_by_formula(void **state)
{
    static struct cluster_gen g;
    static struct loss_map map;
    struct rng rng;
    double keeps = 1;
    (void)state;
    rng_init(&rng, 3);
    make(&g, &rng, 12, 0, &map);
    loss_map_add(&map, 0x07, 100);
    /* Each of 100 shards misses the triple that failed with 219 of 220. */
    for (unsigned i = 0; i < 100; i++)
        keeps *= 219 / 220.0;
    assert_close(loss_report(&map, 3).random.probability, 1 - keeps, 1e-12);
    /* In three zones of four nodes, 64 triples are used, of 220 that may fail. */
    make(&g, &rng, 12, 3, &map);
    loss_map_add(&map, 0x07, 1);
    assert_close(loss_report(&map, 3).random.probability, 1 / 220.0, 1e-12);
    loss_map_add(&map, 0x07, 1000000);
    assert_close(loss_report(&map, 3).random.probability, 64 / 220.0, 1e-6);
}

/* Random placement: as the average over many that were drawn. */
static void random_as_drawn(void **state)
{
    static struct cluster_gen g;
    static struct loss_map map;
    struct rng rng;
    double sum = 0;
    double shards = 0;
    (void)state;
    rng_init(&rng, 4);
    for (unsigned round = 0; round < 400; round++) {
        make(&g, &rng, 8, 0, &map);
        for (unsigned i = 0; i < 10; i++) {
            uint64_t nodes = 0;
            while (node_mask_count(nodes) < 2 + i % 2)
                nodes |= node_bit((uint32_t)rng_below(&rng, 8));
            loss_map_add(&map, nodes, 1);
        }
        const struct loss_report r = loss_report(&map, 4);
        sum += r.placed.probability;
        shards += r.placed.probability * r.placed.shards;
    }
    const struct loss_figures random = loss_report(&map, 4).random;
    assert_close(random.probability, sum / 400, 0.02);
    assert_close(random.shards * random.probability, shards / 400, 0.05);
}

/* 21 triples of 63 of 64 nodes: what was sampled has the truth in its bounds. */
static void sampled(void **state)
{
    static struct cluster_gen g;
    static struct loss_map map;
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    make(&g, &rng, 64, 0, &map);
    for (uint32_t i = 0; i < 21; i++)
        loss_map_add(&map, UINT64_C(7) << (3 * i), 1);
    assert_true(loss_report(&map, 4).exact);
    /* Five nodes have at most one triple, with two of the 61 others: 21 * 1830 of 7,624,512. */
    const double truth = 21 * 1830 / 7624512.0;
    const struct loss_report r = loss_report(&map, 5);
    assert_false(r.exact);
    assert_close(r.placed.probability, truth, 0.0003);
    assert_true(r.at_least <= truth && r.at_most >= truth - 1e-9);
    assert_true(r.at_most <= truth + 1e-9); /* The union bound is sharp here. */
    assert_true(r.at_least < r.at_most && r.placed.probability >= r.at_least);
}

/* Fills a cluster with volumes, and notes where their shards lie. */
static void fill(struct cluster_gen *g, struct rng *rng, uint32_t replicas, struct loss_map *map)
{
    static uint32_t disks[64 * CTL_REPLICAS_MAX];
    loss_map_init(map, &g->cluster);
    for (unsigned volume = 0; volume < 100; volume++) {
        struct spread_request r = { .replicas = replicas, .shape = { GIB, 64, 8 } };
        struct spread_result result;
        struct problem problem;
        rng_fill(rng, (struct span) { r.volume.b, sizeof r.volume.b });
        assert_true(status_ok(spread_plan(&g->cluster, &r, disks, &result, &problem)));
        for (uint32_t i = 0; i < 64; i++) {
            uint64_t nodes = 0;
            for (uint32_t slot = 0; slot < replicas; slot++)
                nodes |= node_bit(disks[i * replicas + slot] / 2); /* Two disks a node. */
            loss_map_add(map, nodes, 1);
        }
    }
}

/*
 * P11: with as many failures as replicas, the probability of loss is that of the copysets among all
 * sets of nodes, and far below that of random placement; on average both lose equally much.
 */
static void copysets_lose_seldom(void **state)
{
    static struct cluster_gen g;
    static struct loss_map map;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 6);
    for (unsigned round = 0; round < 30; round++) {
        const uint32_t replicas = 2 + round % 2;
        const uint32_t zones = round % 3 == 0 ? 3 : 0;
        const uint32_t nodes = round % 5 == 1 ? 4 + round % 3 : 9 + 3 * (round % 8);
        cluster_make(&g, &rng, (struct cluster_shape) { nodes, zones, 0, 2, 16384 * GIB });
        const uint64_t all = cluster_nodes(&g.cluster);
        assert_true(status_ok(copysets_build(&g.cluster, all, replicas, 0, &sets)));
        fill(&g, &rng, replicas, &map);
        const struct loss_report r = loss_report(&map, replicas);
        const double tuples =
            replicas == 2 ? nodes * (nodes - 1) / 2.0 : nodes * (nodes - 1) * (nodes - 2) / 6.0;
        /* All copysets are used, or nearly all, and nothing else. */
        assert_in_range(loss_map_tuples(&map), sets.count * 9 / 10, sets.count);
        assert_close(r.placed.probability, loss_map_tuples(&map) / tuples, 1e-9);
        /* In the smallest all sets are copysets; nine nodes in zones have 27 pairs, and use 19. */
        assert_true(nodes < 9 || r.placed.probability < r.random.probability * 0.75);
        /* On average both lose the same. */
        const double average = r.random.probability * r.random.shards;
        assert_close(r.placed.probability * r.placed.shards, average, average * 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),           cmocka_unit_test(by_force),
        cmocka_unit_test(random_by_formula), cmocka_unit_test(random_as_drawn),
        cmocka_unit_test(sampled),           cmocka_unit_test(copysets_lose_seldom),
    };
    return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The promises P1 to P4 of docs/placement.md, in drawn clusters. */
#include "ctl/copyset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster_gen.h"

#define ROUNDS 300

static void build(const struct cluster_gen *g, uint32_t replicas, uint32_t scatter,
                  struct copysets *sets)
{
    const uint64_t nodes = cluster_nodes(&g->cluster);
    const struct status st = copysets_build(&g->cluster, nodes, replicas, scatter, sets);
    assert_true(status_ok(st));
}

static uint32_t sets_with(const struct copysets *sets, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sets->count; i++)
        count += (sets->nodes[i] & node_bit(node)) != 0;
    return count;
}

static int has_set(const struct copysets *sets, uint64_t nodes)
{
    for (uint32_t i = 0; i < sets->count; i++)
        if (sets->nodes[i] == nodes)
            return 1;
    return 0;
}

/* P1: in any cluster, each copyset has its number of nodes, is spread, and is there once. */
static void spread(void **state)
{
    static struct cluster_gen g;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        cluster_draw(&g, &rng, round % 50 == 0 ? 64 : 20);
        const uint64_t all = cluster_nodes(&g.cluster);
        const uint32_t replicas = 1 + round % CTL_REPLICAS_MAX;
        if (node_mask_count(all) < replicas)
            continue;
        build(&g, replicas, (uint32_t)rng_below(&rng, CTL_SCATTER_MAX), &sets);
        assert_int_equal(sets.replicas, replicas);
        for (uint32_t i = 0; i < sets.count; i++) {
            assert_int_equal(node_mask_count(sets.nodes[i]), replicas);
            assert_int_equal(sets.nodes[i] & ~all, 0);
            assert_true(cluster_is_spread(&g.cluster, all, sets.nodes[i]));
            for (uint32_t j = 0; j < i; j++)
                assert_true(sets.nodes[i] != sets.nodes[j]);
        }
    }
}

/* P2: every node is in a copyset, in any cluster. */
static void nobody_is_left_out(void **state)
{
    static struct cluster_gen g;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        cluster_draw(&g, &rng, 20);
        const uint32_t replicas = 1 + round % CTL_REPLICAS_MAX;
        uint64_t rest = cluster_nodes(&g.cluster);
        if (node_mask_count(rest) < replicas)
            continue;
        build(&g, replicas, (uint32_t)rng_below(&rng, 8), &sets);
        while (rest != 0)
            assert_true(sets_with(&sets, node_mask_next(&rest)) > 0);
    }
}

/* Nodes in 0, 3, 4 or so many equal zones that each node is one. */
static struct cluster_shape even_shape(struct rng *rng)
{
    const uint32_t zones[] = { 0, 3, 4, 5 };
    const uint32_t z = zones[rng_below(rng, ARRAY_COUNT(zones))];
    const uint32_t most = z > 0 ? 24 / z : 24;
    const uint32_t each = 1 + (uint32_t)rng_below(rng, most);
    const uint32_t nodes = z > 0 ? z * each : each + 3;
    return (struct cluster_shape) { nodes, z, 0, 2, 1024 * GIB };
}

/*
 * P3: where zones have equally many nodes, a node of average capacity shares copysets with no more
 * than the scatter width and one copyset's others, and no node with more than twice the width.
 */
static void scatter_is_bounded(void **state)
{
    static struct cluster_gen g;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 3);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const bool equal = round % 2 == 0;
        const uint32_t replicas = 2 + (uint32_t)rng_below(&rng, 2);
        const uint32_t scatter = 2 * (replicas - 1) * (1 + (uint32_t)rng_below(&rng, 4));
        cluster_make(&g, &rng, even_shape(&rng));
        for (uint32_t i = 0; !equal && i < g.disk_count; i++)
            g.disks[i].bytes = (256 * GIB) << rng_below(&rng, 6);
        cluster_count(&g);
        build(&g, replicas, scatter, &sets);
        const uint32_t most = equal ? scatter + replicas - 1 : 2 * scatter;
        for (uint32_t i = 0; i < g.cluster.node_count; i++)
            assert_in_range(copysets_scatter(&sets, i), replicas - 1, most);
    }
}

/*
 * P3: where a zone is small, its nodes have more than twice the average only for the sake of nodes
 * that have no other copyset: here at most 8 each, and one for each of the 40.
 */
static void small_zones_serve_all(void **state)
{
    static struct cluster_gen g;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 8);
    for (unsigned round = 0; round < 30; round++) {
        cluster_make(&g, &rng, (struct cluster_shape) { 42, 1, 0, 1, GIB });
        g.nodes[40].zone = g.nodes[41].zone = "small";
        build(&g, 2, 4, &sets);
        assert_true(sets_with(&sets, 40) + sets_with(&sets, 41) <= 2 * 8 + 40);
        for (uint32_t i = 0; i < 40; i++)
            assert_in_range(sets_with(&sets, i), 1, 2);
    }
}

/* Of the others, as many as there are: with four nodes a node shares copysets with three. */
static void small_clusters(void **state)
{
    static struct cluster_gen g;
    static struct copysets sets;
    struct rng rng;
    (void)state;
    rng_init(&rng, 4);
    for (uint32_t nodes = 3; nodes <= 5; nodes++) {
        cluster_make(&g, &rng, (struct cluster_shape) { nodes, 0, 0, 1, GIB });
        build(&g, 3, 0, &sets);
        for (uint32_t i = 0; i < nodes; i++)
            assert_in_range(copysets_scatter(&sets, i), min_u64(nodes - 1, 3), nodes - 1);
    }
    cluster_make(&g, &rng, (struct cluster_shape) { 2, 0, 0, 1, GIB });
    assert_true(status_is(copysets_build(&g.cluster, 3, 3, 0, &sets), STATUS_NO_SPACE));
}

/* P4: the order in which nodes are listed has no say, and equal clusters have equal copysets. */
static void order_has_no_say(void **state)
{
    static struct cluster_gen g, h;
    static struct copysets sets, turned;
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    for (unsigned round = 0; round < ROUNDS; round++) {
        cluster_draw(&g, &rng, 12);
        const uint32_t n = g.cluster.node_count;
        if (node_mask_count(cluster_nodes(&g.cluster)) < 3)
            continue;
        h = g;
        h.cluster.nodes = h.nodes;
        h.cluster.disks = h.disks;
        for (uint32_t i = 0; i < n; i++)
            h.nodes[(i + 5) % n] = g.nodes[i];
        build(&g, 3, 0, &sets);
        build(&h, 3, 0, &turned);
        assert_int_equal(sets.count, turned.count);
        for (uint32_t i = 0; i < sets.count; i++) {
            uint64_t nodes = 0;
            for (uint64_t rest = sets.nodes[i]; rest != 0;)
                nodes |= node_bit((node_mask_next(&rest) + 5) % n);
            assert_true(turned.nodes[i] == nodes);
        }
    }
}

/* Another cluster draws other copysets: what is unlucky in one is not so in all. */
static void clusters_differ(void **state)
{
    static struct cluster_gen g;
    static struct copysets sets, other;
    struct rng rng;
    (void)state;
    rng_init(&rng, 6);
    cluster_make(&g, &rng, (struct cluster_shape) { 12, 0, 0, 1, GIB });
    build(&g, 3, 0, &sets);
    g.cluster.uuid.b[15] ^= 1;
    build(&g, 3, 0, &other);
    uint32_t common = 0;
    for (uint32_t i = 0; i < sets.count; i++)
        common += (uint32_t)has_set(&other, sets.nodes[i]);
    /* Of about 12 of 220 sets, 12 * 12 / 220 are common by chance. */
    assert_in_range(common, 0, 4);
}

/* What is gone of the copysets of the nodes that stayed, when another came or went. */
struct change {
    uint32_t sum;
    uint32_t most; /* In one round. */
};

static void note(struct change *c, const struct copysets *before, const struct copysets *after,
                 uint64_t stayed)
{
    uint32_t gone = 0;
    for (uint32_t i = 0; i < before->count; i++)
        gone += (before->nodes[i] & ~stayed) == 0 && !has_set(after, before->nodes[i]);
    c->sum += gone;
    c->most = gone > c->most ? gone : c->most;
}

#define CHANGES 25u

/*
 * P4: a node that comes or goes changes few of the others' copysets, of which there are about as
 * many as nodes.  (If it comes, its three take six places of others, so two at least are gone.)
 */
static void few_change(void **state)
{
    static struct cluster_gen g;
    static struct copysets small, large;
    struct rng rng;
    (void)state;
    rng_init(&rng, 7);
    for (uint32_t nodes = 9; nodes <= 54; nodes += 9) {
        struct change come = { 0 }, go = { 0 };
        for (unsigned round = 0; round < CHANGES; round++) {
            const uint32_t zones = round % 2 == 0 ? 0 : 3;
            cluster_make(&g, &rng, (struct cluster_shape) { nodes + 1, zones, 0, 2, GIB });
            build(&g, 3, 0, &large);
            g.cluster.node_count--;
            build(&g, 3, 0, &small);
            note(&come, &small, &large, UINT64_MAX);
            note(&go, &large, &small, node_bit(nodes) - 1);
        }
        /* On average three and a sixth of the nodes, and at most twice as many. */
        const uint32_t few = 3 + nodes / 6;
        assert_true(come.sum <= few * CHANGES && come.most <= 2 * few);
        assert_true(go.sum <= few * CHANGES && go.most <= 2 * few);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spread),
        cmocka_unit_test(nobody_is_left_out),
        cmocka_unit_test(scatter_is_bounded),
        cmocka_unit_test(small_zones_serve_all),
        cmocka_unit_test(small_clusters),
        cmocka_unit_test(order_has_no_say),
        cmocka_unit_test(clusters_differ),
        cmocka_unit_test(few_change),
    };
    return cmocka_run_group_tests_name("copyset", tests, NULL, NULL);
}

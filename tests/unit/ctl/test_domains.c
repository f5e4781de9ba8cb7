/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/domains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster_gen.h"

#define ROUNDS 300

static void label(struct cluster_gen *g, uint32_t node, const char *zone, const char *rack)
{
    g->nodes[node].zone = zone;
    g->nodes[node].rack = rack;
}

/* Racks of one name in two zones are two; nodes without a label are one domain together. */
static void labels(void **state)
{
    static struct cluster_gen g;
    struct rng rng;
    struct domains map;
    (void)state;
    rng_init(&rng, 1);
    cluster_make(&g, &rng, (struct cluster_shape) { .nodes = 6, .disks = 1, .bytes = GIB });
    label(&g, 0, "x", "1");
    label(&g, 1, "x", "1");
    label(&g, 2, "x", "2");
    label(&g, 3, "y", "1");
    label(&g, 4, "", "");
    label(&g, 5, "", "");
    domains_map(&g.cluster, 0x3f, &map);
    assert_int_equal(map.count[DOMAIN_ZONE], 3); /* x, y, and none. */
    assert_int_equal(map.count[DOMAIN_RACK], 4); /* x/1, x/2, y/1, and none. */
    assert_int_equal(map.count[DOMAIN_NODE], 6);
    assert_int_equal(domains_touched(&map, DOMAIN_RACK, 0x03), 1);
    assert_int_equal(domains_touched(&map, DOMAIN_RACK, 0x09), 2);
    assert_int_equal(domains_touched(&map, DOMAIN_ZONE, 0x30), 1);
    assert_int_equal(domains_apart(&map, 0x03), DOMAIN_NODE);
    assert_int_equal(domains_apart(&map, 0x05), DOMAIN_RACK);
    assert_int_equal(domains_apart(&map, 0x09), DOMAIN_ZONE);
}

/* Three replicas over two zones use both, in different racks; without labels any nodes will do. */
static void two_zones(void **state)
{
    static struct cluster_gen g;
    struct rng rng;
    struct domains map;
    (void)state;
    rng_init(&rng, 2);
    /* Nodes 0, 2, 4, 6 in zone a, the others in b; 0, 1, 4, 5 in racks a. */
    cluster_make(&g, &rng, (struct cluster_shape) { 8, 2, 2, 1, GIB });
    domains_map(&g.cluster, 0xff, &map);
    assert_false(domains_spread(&map, 0x15)); /* 0, 2, 4: one zone. */
    assert_false(domains_spread(&map, 0x13)); /* 0, 1, 4: both zones, but 0 and 4 share a rack. */
    assert_true(domains_spread(&map, 0x07));  /* 0, 1, 2. */
    cluster_make(&g, &rng, (struct cluster_shape) { .nodes = 4, .disks = 1, .bytes = GIB });
    domains_map(&g.cluster, 0x0f, &map);
    assert_true(domains_spread(&map, 0x0b));
}

/* Nodes without disks take no part; those that are away do, and are not usable. */
static void who_takes_part(void **state)
{
    static struct cluster_gen g;
    struct rng rng;
    (void)state;
    rng_init(&rng, 3);
    cluster_make(&g, &rng, (struct cluster_shape) { .nodes = 3, .disks = 2, .bytes = GIB });
    g.nodes[0].disk_count = 0;
    g.nodes[0].bytes = 0;
    g.nodes[1].usable = false;
    g.disks[4].planned_bytes = 7;
    assert_int_equal(cluster_nodes(&g.cluster), 0x6);
    assert_int_equal(cluster_usable(&g.cluster), 0x4);
    assert_int_equal(cluster_node_space(&g.cluster, 2).bytes, 2 * GIB);
    assert_int_equal(cluster_node_space(&g.cluster, 2).planned_bytes, 7);
}

/* In any cluster, what is called spread is so by its labels; and every node is in such a set. */
static void spread_in_any_cluster(void **state)
{
    static struct cluster_gen g;
    struct rng rng;
    struct domains map;
    (void)state;
    rng_init(&rng, 4);
    for (unsigned round = 0; round < ROUNDS; round++) {
        cluster_draw(&g, &rng, 10);
        const uint64_t all = cluster_nodes(&g.cluster);
        uint64_t found = 0;
        domains_map(&g.cluster, all, &map);
        for (uint64_t set = 1; set < UINT64_C(1) << g.cluster.node_count; set++) {
            if ((set & ~all) != 0 || node_mask_count(set) > CTL_REPLICAS_MAX)
                continue;
            assert_int_equal(domains_spread(&map, set), cluster_is_spread(&g.cluster, all, set));
            if (domains_spread(&map, set) && node_mask_count(set) == 3)
                found |= set;
        }
        assert_int_equal(found, node_mask_count(all) >= 3 ? all : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels),
        cmocka_unit_test(two_zones),
        cmocka_unit_test(who_takes_part),
        cmocka_unit_test(spread_in_any_cluster),
    };
    return cmocka_run_group_tests_name("domains", tests, NULL, NULL);
}

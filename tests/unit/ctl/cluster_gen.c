/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster_gen.h"

#include <string.h>

const char *cluster_label(uint32_t i)
{
    static const char *const labels[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
    return labels[i % ARRAY_COUNT(labels)];
}

static struct uuid draw_uuid(struct rng *rng)
{
    struct uuid uuid;
    rng_fill(rng, (struct span) { uuid.b, sizeof uuid.b });
    return uuid;
}

static void begin(struct cluster_gen *g, struct rng *rng)
{
    memset(g, 0, sizeof *g);
    g->cluster = (struct placement_cluster) { draw_uuid(rng), g->nodes, 0, g->disks };
}

uint32_t cluster_add(struct cluster_gen *g, struct rng *rng, uint32_t disks, uint64_t bytes)
{
    const uint32_t node = g->cluster.node_count++;
    g->nodes[node] = (struct placement_node) { draw_uuid(rng), "",   "", disks * bytes, true,
                                               g->disk_count,  disks };
    for (uint32_t i = 0; i < disks; i++)
        g->disks[g->disk_count++] = (struct placement_disk) { .bytes = bytes };
    return node;
}

void cluster_count(struct cluster_gen *g)
{
    for (uint32_t i = 0; i < g->cluster.node_count; i++)
        g->nodes[i].bytes = cluster_node_space(&g->cluster, i).bytes;
}

void cluster_make(struct cluster_gen *g, struct rng *rng, struct cluster_shape shape)
{
    begin(g, rng);
    for (uint32_t i = 0; i < shape.nodes; i++) {
        struct placement_node *n = &g->nodes[cluster_add(g, rng, shape.disks, shape.bytes)];
        if (shape.zones > 0)
            n->zone = cluster_label(i % shape.zones);
        if (shape.racks > 0)
            n->rack = cluster_label(i / (shape.zones > 0 ? shape.zones : 1) % shape.racks);
    }
}

void cluster_draw(struct cluster_gen *g, struct rng *rng, uint32_t nodes_max)
{
    const uint32_t nodes = 1 + (uint32_t)rng_below(rng, nodes_max);
    const uint32_t zones = (uint32_t)rng_below(rng, 6);
    const uint32_t racks = (uint32_t)rng_below(rng, 5);
    const bool some_away = rng_one_in(rng, 2);
    const bool empty = rng_one_in(rng, 2);

    begin(g, rng);
    for (uint32_t i = 0; i < nodes; i++) {
        const uint32_t disks = rng_one_in(rng, 20) ? 0 : 1 + (uint32_t)rng_below(rng, 6);
        struct placement_node *n =
            &g->nodes[cluster_add(g, rng, disks, (1 + rng_below(rng, 16)) * 256 * GIB)];
        if (zones > 0 && !rng_one_in(rng, 30))
            n->zone = cluster_label((uint32_t)rng_below(rng, zones));
        if (racks > 0 && !rng_one_in(rng, 30))
            n->rack = cluster_label((uint32_t)rng_below(rng, racks));
        n->usable = !some_away || !rng_one_in(rng, 5);
        if (some_away && rng_one_in(rng, 20))
            n->disk_count = 0; /* All have failed. */
        for (uint32_t d = n->first_disk; !empty && d < g->disk_count; d++)
            g->disks[d].planned_bytes = rng_below(rng, g->disks[d].bytes);
    }
}

static bool same(const struct placement_node *a, const struct placement_node *b,
                 enum domain_level level)
{
    if (level == DOMAIN_NODE)
        return a == b;
    return strcmp(a->zone, b->zone) == 0 && (level == DOMAIN_ZONE || strcmp(a->rack, b->rack) == 0);
}

uint32_t cluster_differ(const struct placement_cluster *cluster, enum domain_level level,
                        uint64_t nodes)
{
    uint32_t differ = 0;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        bool first = (nodes & node_bit(i)) != 0;
        for (uint32_t j = 0; j < i; j++)
            if ((nodes & node_bit(j)) != 0 && same(&cluster->nodes[i], &cluster->nodes[j], level))
                first = false;
        differ += first;
    }
    return differ;
}

int cluster_is_spread(const struct placement_cluster *cluster, uint64_t among, uint64_t nodes)
{
    const uint32_t replicas = node_mask_count(nodes);
    for (uint32_t level = 0; level < DOMAIN_LEVELS; level++) {
        const uint32_t there = cluster_differ(cluster, (enum domain_level)level, among);
        const uint32_t want = there < replicas ? there : replicas;
        if (cluster_differ(cluster, (enum domain_level)level, nodes) != want)
            return 0;
    }
    return 1;
}

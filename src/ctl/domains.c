/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/domains.h"

#include <assert.h>
#include <string.h>

const char *domain_level_name(enum domain_level level)
{
    static const char *const names[DOMAIN_LEVELS] = { "node", "rack", "zone" };
    assert(level < DOMAIN_LEVELS);
    return names[level];
}

uint64_t cluster_nodes(const struct placement_cluster *cluster)
{
    uint64_t nodes = 0;
    assert(cluster->node_count <= CTL_NODES_MAX);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].bytes > 0)
            nodes |= node_bit(i);
    return nodes;
}

uint64_t cluster_usable(const struct placement_cluster *cluster)
{
    uint64_t nodes = 0;
    for (uint64_t rest = cluster_nodes(cluster); rest != 0;) {
        const uint32_t node = node_mask_next(&rest);
        if (cluster->nodes[node].usable && cluster->nodes[node].disk_count > 0)
            nodes |= node_bit(node);
    }
    return nodes;
}

struct placement_disk cluster_node_space(const struct placement_cluster *cluster, uint32_t node)
{
    const struct placement_node *n = &cluster->nodes[node];
    struct placement_disk sum = { 0 };
    for (uint32_t i = n->first_disk; i < n->first_disk + n->disk_count; i++) {
        sum.bytes += cluster->disks[i].bytes;
        sum.planned_bytes += cluster->disks[i].planned_bytes;
    }
    return sum;
}

static bool same_domain(enum domain_level level, const struct placement_node *a,
                        const struct placement_node *b)
{
    switch (level) {
    case DOMAIN_NODE:
        return a == b;
    case DOMAIN_RACK:
        return strcmp(a->zone, b->zone) == 0 && strcmp(a->rack, b->rack) == 0;
    case DOMAIN_ZONE:
        return strcmp(a->zone, b->zone) == 0;
    }
    return false;
}

/* The number of a node's domain: that of an earlier node in it, or the next one. */
static uint8_t domain_number(const struct placement_cluster *cluster, uint64_t nodes, uint32_t node,
                             enum domain_level level, struct domains *map)
{
    uint64_t earlier = nodes & (node_bit(node) - 1);
    while (earlier != 0) {
        const uint32_t other = node_mask_next(&earlier);
        if (same_domain(level, &cluster->nodes[node], &cluster->nodes[other]))
            return map->of[level][other];
    }
    return (uint8_t)map->count[level]++;
}

void domains_map(const struct placement_cluster *cluster, uint64_t nodes, struct domains *out_map)
{
    *out_map = (struct domains) { 0 };
    for (uint32_t level = 0; level < DOMAIN_LEVELS; level++) {
        uint64_t rest = nodes;
        while (rest != 0) {
            const uint32_t node = node_mask_next(&rest);
            assert(node < cluster->node_count);
            out_map->of[level][node] =
                domain_number(cluster, nodes, node, (enum domain_level)level, out_map);
        }
    }
}

uint32_t domains_touched(const struct domains *map, enum domain_level level, uint64_t nodes)
{
    uint64_t seen = 0;
    while (nodes != 0)
        seen |= UINT64_C(1) << map->of[level][node_mask_next(&nodes)];
    return node_mask_count(seen);
}

bool domains_spread(const struct domains *map, uint64_t nodes)
{
    const uint32_t replicas = node_mask_count(nodes);
    /* Different nodes are different domains. */
    for (uint32_t level = DOMAIN_RACK; level < DOMAIN_LEVELS; level++) {
        const uint32_t most = map->count[level] < replicas ? map->count[level] : replicas;
        if (most > 1 && domains_touched(map, (enum domain_level)level, nodes) < most)
            return false;
    }
    return true;
}

enum domain_level domains_apart(const struct domains *map, uint64_t nodes)
{
    if (domains_touched(map, DOMAIN_ZONE, nodes) == node_mask_count(nodes))
        return DOMAIN_ZONE;
    if (domains_touched(map, DOMAIN_RACK, nodes) == node_mask_count(nodes))
        return DOMAIN_RACK;
    return DOMAIN_NODE;
}

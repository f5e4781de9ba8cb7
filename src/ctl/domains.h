/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as placement sees it, and its failure domains: what fails together.
 *
 *     zone  >  rack  >  node           labels of a node; a rack's name counts within its zone
 *
 * Nodes without a label of a level are one domain there, with no name: nobody has said that they
 * fail apart.  Some nodes of a cluster are a mask, bit i for nodes[i].
 *
 * Replicas are *spread* if they lie in as many zones as can be, in as many racks as can be, and
 * always on different nodes: three replicas over two zones are never all in one of them.  As racks
 * lie within zones, all of this can be had at once.
 *
 * Threading: pure.   Memory: the caller's; struct domains borrows nothing.
 */
#ifndef CTL_DOMAINS_H
#define CTL_DOMAINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "ctl/limits.h"
#include "ctl/placement.h"

static_assert(CTL_NODES_MAX <= 64, "a mask of nodes is a uint64_t");

/* From the narrowest to the widest. */
enum domain_level { DOMAIN_NODE, DOMAIN_RACK, DOMAIN_ZONE };
#define DOMAIN_LEVELS 3u

/* "node", "rack" or "zone". */
const char *domain_level_name(enum domain_level level);

struct placement_node {
    struct uuid uuid;
    const char *zone; /* Borrowed; "" is none. */
    const char *rack; /* The same. */
    /* Of all its disks, those that have failed and, if it is away, those last known included: so
     * that copysets change only with what the cluster is made of.  0: it takes no part. */
    uint64_t bytes;
    bool usable;         /* It can be reached, and may get replicas if it has a disk for them. */
    uint32_t first_disk; /* In placement_cluster.disks: */
    uint32_t disk_count; /* those of its disks that may take new replicas. */
};

struct placement_cluster {
    struct uuid uuid; /* From which all that looks like chance follows. */
    const struct placement_node *nodes;
    uint32_t node_count; /* At most CTL_NODES_MAX. */
    struct placement_disk *disks;
};

/* A number for each node's domain at each level: equal numbers, equal domains. */
struct domains {
    uint32_t count[DOMAIN_LEVELS]; /* Different ones. */
    uint8_t of[DOMAIN_LEVELS][CTL_NODES_MAX];
};

/* The nodes that take part, and those of them that can be used now. */
uint64_t cluster_nodes(const struct placement_cluster *cluster);
uint64_t cluster_usable(const struct placement_cluster *cluster);

/* What a node's disks that may take new replicas hold together, and what is planned on them. */
struct placement_disk cluster_node_space(const struct placement_cluster *cluster, uint32_t node);

/* The domains of these nodes; of the others nothing is known afterwards. */
void domains_map(const struct placement_cluster *cluster, uint64_t nodes, struct domains *out_map);

/* In how many different domains of the level the nodes lie. */
uint32_t domains_touched(const struct domains *map, enum domain_level level, uint64_t nodes);

/* Whether replicas on these nodes, all of them of the map, would be spread. */
bool domains_spread(const struct domains *map, uint64_t nodes);

/* The widest level at which the nodes lie in different domains. */
enum domain_level domains_apart(const struct domains *map, uint64_t nodes);

/* ---- Masks ---- */

static inline uint64_t node_bit(uint32_t node)
{
    return UINT64_C(1) << node;
}

static inline uint32_t node_mask_count(uint64_t nodes)
{
    return (uint32_t)__builtin_popcountll(nodes);
}

/* The lowest node of the mask, which it loses; the mask is not empty. */
static inline uint32_t node_mask_next(uint64_t *nodes)
{
    assert(*nodes != 0);
    const uint32_t node = (uint32_t)__builtin_ctzll(*nodes);
    *nodes &= *nodes - 1;
    return node;
}

#endif

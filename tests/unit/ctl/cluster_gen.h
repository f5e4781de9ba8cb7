/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters for the tests of placement: drawn from a seed, or made to measure.
 *
 * Threading: a test's.   Memory: embedded; a struct cluster_gen is not to be copied.
 */
#ifndef UNIT_CTL_CLUSTER_GEN_H
#define UNIT_CTL_CLUSTER_GEN_H

#include "base/rng.h"
#include "ctl/domains.h"

#define GIB (UINT64_C(1) << 30)

struct cluster_gen {
    struct placement_cluster cluster; /* Of what follows. */
    struct placement_node nodes[CTL_NODES_MAX];
    struct placement_disk disks[CTL_DISKS_MAX];
    uint32_t disk_count;
};

/* What a made cluster is like; 0 zones or racks: no such labels. */
struct cluster_shape {
    uint32_t nodes;
    uint32_t zones; /* Nodes take turns in them. */
    uint32_t racks; /* Of each zone, in turns. */
    uint32_t disks; /* Of each node. */
    uint64_t bytes; /* Of each disk. */
};

/* UUIDs are drawn; the rest is as told. */
void cluster_make(struct cluster_gen *g, struct rng *rng, struct cluster_shape shape);

/*
 * Anything: 1 to nodes_max nodes, labels or none or some, domains of any sizes, up to six disks
 * of up to 4 TiB a node, of which much or nothing is planned.  Some nodes are away, some have no
 * disk, and of some all have failed.
 */
void cluster_draw(struct cluster_gen *g, struct rng *rng, uint32_t nodes_max);

/* Adds a node with a drawn UUID, and disks of these bytes; returns its index. */
uint32_t cluster_add(struct cluster_gen *g, struct rng *rng, uint32_t disks, uint64_t bytes);

/* After disks were changed: makes each node's bytes those of its disks. */
void cluster_count(struct cluster_gen *g);

/* A label of a zone or rack, for as long as the program lives. */
const char *cluster_label(uint32_t i);

/* How many of the nodes' domains of a level differ, from their labels alone. */
uint32_t cluster_differ(const struct placement_cluster *cluster, enum domain_level level,
                        uint64_t nodes);

/* Whether replicas on these nodes lie in as many domains of each level as those of `among` let
 * them: what domains.h calls spread, counted from the labels. */
int cluster_is_spread(const struct placement_cluster *cluster, uint64_t among, uint64_t nodes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copysets: the sets of nodes that may hold the replicas of a shard together.
 *
 * Where any nodes may, a cluster with many shards uses nearly every set of nodes, and then nearly
 * every failure of as many nodes as there are replicas loses something.  Few sets lose more in
 * one go and far more seldom; too few would leave few nodes to rebuild a lost one from.  The
 * *scatter width* of a node, with how many others it shares copysets, is what is set here; each
 * other node costs as few sets as possible.
 *
 * All sets of nodes that are spread (domains.h) stand in an order that is drawn from the UUIDs of
 * the cluster and of the nodes, and each is taken unless one of its nodes has its share of copysets
 * already.  A node's share follows its capacity.  A node left behind is then given the rest with
 * those that have the fewest.  Nothing depends on history or on the order of the nodes: a node that
 * comes or goes changes the sets that it is in, and some that stood in for those.
 *
 * docs/placement.md has what is promised (P1 to P4), with figures.
 *
 * Threading: pure.   Memory: the caller's; some is borrowed from the heap while it works.
 */
#ifndef CTL_COPYSET_H
#define CTL_COPYSET_H

#include "ctl/domains.h"

/* In the order of the draw. */
struct copysets {
    uint32_t replicas;
    uint32_t count;
    uint64_t nodes[CTL_COPYSETS_MAX];
};

/* The scatter width that is used if none is asked for: 4 with two replicas, 6 with three. */
uint32_t copyset_scatter(uint32_t replicas);

/*
 * Chooses the copysets of these nodes, all of which take part.  scatter is for a node
 * of average capacity, at most CTL_SCATTER_MAX; 0 is copyset_scatter().  NO_SPACE if there are
 * fewer nodes than replicas; NO_MEMORY.
 */
struct status copysets_build(const struct placement_cluster *cluster, uint64_t nodes,
                             uint32_t replicas, uint32_t scatter,
                             struct copysets *out_sets) MUST_CHECK;

/* With how many others the node shares copysets. */
uint32_t copysets_scatter(const struct copysets *sets, uint32_t node);

/* A number for node, drawn from its UUID and the cluster's. */
uint64_t copyset_draw(const struct placement_cluster *cluster, uint32_t node);

/* Spreads all 64 bits of a number over all 64 bits of another; a permutation. */
uint64_t copyset_mix(uint64_t value);

#endif

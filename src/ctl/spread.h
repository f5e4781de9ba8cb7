/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the replicas of a volume's shards lie: copysets, then the volume's stride, then disks.
 *
 *     labels, capacities --> copysets (copyset.h) --> stride (stride.h) --> disks (here)
 *
 * A pure function of the cluster, what is planned on it, and the request; docs/placement.md says
 * what it promises (P1 to P10).  placement_plan() does the same for one replica on one node.
 *
 * What the caller does.  CreateVolume: fills a placement_cluster with *all* nodes of the cluster,
 * those that are away with usable = false; calls spread_plan(); records the
 * disks, and the planned bytes of each.  ResizeVolume: the same for the new shards alone, with
 * `within` the nodes of the disks that the volume has recorded, and `tuples_max` what its group
 * record has room for; if that is nothing, the new shards take the tuples that it has in turns.  A
 * refusal has a text for people, which says what there is and what it takes.
 *
 * Threading: pure.   Memory: the caller's; some is borrowed from the heap while it works.
 */
#ifndef CTL_SPREAD_H
#define CTL_SPREAD_H

#include "ctl/stride.h"

struct problem; /* validate.h */

/* In place of a disk: this replica has none, because the volume was made degraded. */
#define SPREAD_NO_DISK UINT32_MAX

struct spread_request {
    struct uuid volume;
    uint32_t replicas; /* 1 to CTL_REPLICAS_MAX. */
    struct placement_shape shape;
    uint32_t scatter;      /* At most CTL_SCATTER_MAX; 0: copyset_scatter(). */
    uint32_t stride_nodes; /* 0: stride_request says. */
    uint64_t within;       /* The nodes of the stride that the volume has; 0: choose one. */
    uint32_t tuples_max;   /* Of disks; 0: CTL_TUPLES_MAX. */
    /* The replicas must lie in different ones of these.  Wider ones are used where there are
     * enough of them, asked or not. */
    enum domain_level apart;
    bool allow_degraded; /* If they cannot: with as many replicas as can. */
};

struct spread_result {
    uint32_t replicas;       /* That have a disk: fewer than asked if degraded. */
    enum domain_level apart; /* The widest level at which those of every shard lie apart. */
    uint64_t stride;
    uint32_t copysets; /* Of nodes, that lie in the stride. */
    uint32_t tuples;   /* Of disks, in their order; shard i has the disks of shard i - tuples. */
};

/*
 * Fills out_disks[shape.shard_count * replicas], indexes into cluster->disks: those of shard i at
 * i * replicas.  The first of them takes turns; so the same disks can come in another order, and
 * are then another tuple.  Degraded, the last ones are SPREAD_NO_DISK.  Adds to the planned bytes
 * of cluster->disks.
 *
 * NO_SPACE, with *problem, if there are not enough nodes or domains; with allow_degraded only if
 * there is no node at all.  NO_MEMORY, with *problem empty.  Then nothing is changed.
 */
struct status spread_plan(const struct placement_cluster *cluster,
                          const struct spread_request *request, uint32_t *out_disks,
                          struct spread_result *out_result, struct problem *problem) MUST_CHECK;

/*
 * The last step alone: the shards of shape over the disks of these copysets, of which there is at
 * least one, on at most tuples_max tuples.  out_disks has sets->replicas for each shard.  Returns
 * the number of tuples.
 */
uint32_t spread_shards(const struct placement_cluster *cluster, const struct copysets *sets,
                       const struct placement_shape *shape, uint32_t tuples_max,
                       uint32_t *out_disks);

#endif

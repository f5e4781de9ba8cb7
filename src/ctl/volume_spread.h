/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the replicas of a volume's shards are recorded to lie, for its creation and its growth.
 *
 *     cluster.h --> spread_plan() --> the volume's placement, and
 *                                     the copysets of its group's record (docs/replication.md, 3.1)
 *
 * A tuple of disks in the order of its slots is a copyset of the group; tuples of the same disks
 * in another order are others: each is owned by the reactor of its first disk, so that all of a
 * node's reactors have their part in a volume.
 *
 * With allow_degraded, if there are not enough of the domains that they are to lie apart in, they
 * lie in as many as there are; if there are not enough nodes, on different disks that may be of one
 * node, spread over as many nodes as there are.
 *
 * Threading: as ctl.h.   Memory: as each says.
 */
#ifndef CTL_VOLUME_SPREAD_H
#define CTL_VOLUME_SPREAD_H

#include "ctl/cluster.h"
#include "repl/group.h"

struct volume_spread {
    struct ctl *ctl;
    struct arena *arena; /* Of what the record gets. */
    struct cluster_view *view;
    Stored__V1__Volume *record; /* Its sizes are filled in.  Disks and placement: of the shards that
                                 * it has; none if it is new. */
    uint32_t shard_count;       /* That it shall have. */
    struct group *group;        /* In: its group's record, zero if it is new.  Out: with copysets
                                 * for all shards; what it has is not changed. */
    struct problem *problem;
};

/*
 * Places the shards that the record does not have yet.  Its new disks and placement are the
 * arena's; planned bytes of the view grow.  NO_SPACE, with *problem, if there are not enough nodes,
 * or disks.
 */
struct status volume_spread(struct volume_spread *s) MUST_CHECK;

/* The level of a record's replicas; one of before has none. */
enum domain_level volume_apart(const Stored__V1__Volume *record);

/*
 * What a volume is given that asks for none, as a record has it: the widest level at which the
 * cluster, nodes that are away included, has as many domains as the volume has replicas.
 */
uint32_t volume_apart_default(const struct cluster_view *view, uint32_t replicas);

/* For a record without shards: as many as a node's disks would be counted for a default layout. */
uint32_t volume_spread_width(const struct cluster_view *view, uint32_t replicas,
                             uint32_t stride_nodes);

#endif

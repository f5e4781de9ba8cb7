/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk for one slot of a copyset, beside those that its other slots have: by the rules of
 * docs/placement.md, section 5.
 *
 * Threading: pure.   Memory: the caller's; some is borrowed from the heap while it works.
 */
#ifndef CTL_REBUILD_PLACE_H
#define CTL_REBUILD_PLACE_H

#include "ctl/cluster.h"

struct problem;

struct rebuild_need {
    uint32_t replicas;
    uint64_t bytes;                         /* Planned for the copyset on each of its disks. */
    struct uuid others[CTL_REPLICAS_MAX];   /* Disks of its other slots. */
    uint32_t other_nodes[CTL_REPLICAS_MAX]; /* Of the view; CTL_NODES_MAX: not known. */
    uint32_t other_count;
    const struct uuid *avoid; /* Disks that it must not be. */
    uint32_t avoid_count;
    uint64_t stride;            /* The volume's nodes: better than others. */
    enum domain_level apart;    /* They must lie in different ones of these, but if ... */
    bool crowded;               /* ... they may lie on one node where they cannot lie apart. */
    const bool *suspect;        /* Of each of the view's disks: only where no other will do. */
    const uint64_t *free_bytes; /* Of each of the view's disks, as reported. */
};

/*
 * The disk of the view, of which the planned bytes are not changed.  NO_SPACE, with *problem: what
 * there is, and what is missing.
 */
struct status rebuild_choose(const struct cluster_view *view, const struct rebuild_need *need,
                             uint32_t *out_disk, struct problem *problem) MUST_CHECK;

#endif

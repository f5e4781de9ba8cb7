/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as placement wants it, read from the records and from what nodes report.
 *
 *     nodes, disks, volumes (meta store) --+
 *                                          +--> struct cluster_view --> spread.h
 *     what nodes report -------------------+
 *
 * Threading: as ctl.h.   Memory: one view takes 90 KiB, of the caller's; names are the arena's.
 */
#ifndef CTL_CLUSTER_H
#define CTL_CLUSTER_H

#include "ctl/ctl_internal.h"
#include "ctl/domains.h"

struct cluster_view {
    struct placement_cluster placement; /* Of the arrays here. */
    struct placement_node nodes[CTL_NODES_MAX];
    struct placement_disk disks[CTL_DISKS_MAX]; /* That may take new replicas. */
    struct uuid disk_uuids[CTL_DISKS_MAX];
    uint8_t disk_nodes[CTL_DISKS_MAX]; /* Of each its node. */
    uint32_t disk_count;
    bool stores[CTL_NODES_MAX];     /* Whether each node's disks take replicas. */
    uint64_t targets;               /* Connected nodes that may serve volumes. */
    uint32_t serves[CTL_NODES_MAX]; /* Volumes of each node. */
    uint32_t volume_count;
    bool with_suspect;
};

/*
 * Reads all of it.  planned_bytes is of all volumes as they are recorded, but for without, which
 * may be nil.  with_suspect: also with the disks that are suspect (docs/health.md), which others
 * are to be used before.  LIMIT: more nodes or disks than there can be.
 */
struct status cluster_view_read(struct ctl *ctl, struct uuid without, bool with_suspect,
                                struct arena *arena, struct cluster_view *out_view) MUST_CHECK;

/* Adds what a volume has planned. */
void cluster_view_count(struct cluster_view *view, const Stored__V1__Volume *volume);

/* The nodes of the record's disks, as far as they are in the view. */
uint64_t cluster_view_nodes_of(const struct cluster_view *view, const Stored__V1__Volume *volume);

/* Planned bytes beyond what the record's disks hold. */
uint64_t cluster_view_overcommit(const struct cluster_view *view, const Stored__V1__Volume *volume);

/*
 * The same cluster with a node for each disk, and the nodes as racks: for replicas on disks of one
 * node, which still spread over as many nodes as can be.  With more than CTL_NODES_MAX disks the
 * emptiest are in it; indexes of disks are those of out_view, whose disk_uuids and disk_nodes say
 * which they are.
 */
void cluster_view_of_disks(const struct cluster_view *view, struct arena *arena,
                           struct cluster_view *out_view);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another node for a volume whose own is gone: its engine runs there, and what was lost with the
 * one before is rebuilt as ever (docs/replication.md, 9.23).
 *
 *   a node does not report for --rebuild-after, and no node that does has heard it lately, or
 *   writes wait for somebody whom it cannot reach, nor exclude
 *     --> each volume of several replicas that it serves, some with each look:
 *         server_choose() finds a node, or says what is missing
 *     --> the step of 'volume set --node' (11.11), one transaction
 *
 * Safety rests on the next engine's epoch alone, as ever.  This is how a volume heals when nobody
 * looks after it, and no failover: hosts have waited for long.
 *
 * Threading: as ctl.h; server_choose() is pure.   Memory: the caller's.
 */
#ifndef CTL_REBUILD_SERVER_H
#define CTL_REBUILD_SERVER_H

#include "ctl/rebuild_plan.h"
#include "repl/group.h"

/* Disks that work, of nodes that report, each with its node of the view. */
struct server_disks {
    uint32_t count;
    struct uuid uuids[CTL_DISKS_MAX];
    uint8_t nodes[CTL_DISKS_MAX];
};

struct server_need {
    const struct group *group;
    unsigned min_in_sync; /* The volume's. */
};

/*
 * Of the view's targets the one that has members of the most copysets on such disks; of several the
 * one that serves the fewest volumes, and of these the first.  UNAVAILABLE, with *problem: an
 * engine could not begin with these disks (7.4, 11.4), wherever it ran; or there is no target.
 */
struct status server_choose(const struct cluster_view *view, const struct server_disks *disks,
                            const struct server_need *need, uint32_t *out_node,
                            struct problem *problem) MUST_CHECK;

/*
 * Gives the volume, whose node is gone, to another one, unless somebody else has, or deletes it.
 * Whether it has; otherwise it says why not.
 */
bool rebuild_serve_elsewhere(struct rebuild *r, struct rebuild_scope *scope,
                             const Stored__V1__Volume *volume);

#endif

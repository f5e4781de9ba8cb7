/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links that a volume needs: one to each other node that has disks of it.  They are kept for
 * as long as the volume is wanted, whether it is open or not, so that it is known whom it reaches
 * before an epoch is taken (docs/replication.md, 7.0).
 *
 *   volume_links_take --> link_get for each node; those that are not needed any more are put
 *                           |
 *                           +--> came_up(), whenever one of them does
 *
 * Threading: home.   Memory: from the heap; references to the node's links.
 */
#ifndef NODE_VOLUME_LINKS_H
#define NODE_VOLUME_LINKS_H

#include "base/status.h"
#include "node/desired.h"
#include "peer/link.h"

/* To one node. */
struct volume_link {
    struct volume_links *owner;
    struct link *link;
    struct link_user user;
};

struct volume_links {
    struct volume_link *items;
    uint32_t count;
    struct link **of_disk; /* For each disk of the volume's list; NULL: it needs none. */
    void (*came_up)(void *ctx);
    void *ctx;
};

void volume_links_init(struct volume_links *l, void (*came_up)(void *ctx), void *ctx);

/*
 * Takes those to the nodes of the places that are used[], and gives back those of before that are
 * none of them.  own is this node; a place that is its own, or not known, gets none.  NO_MEMORY:
 * all is as it was.
 */
struct status volume_links_take(struct volume_links *l, struct links *links, struct uuid own,
                                const struct node_desired_place *places, const bool *used,
                                uint32_t disk_count) MUST_CHECK;

/* Gives all of them back. */
void volume_links_fini(struct volume_links *l);

/* Whether all of them are up. */
bool volume_links_are_up(const struct volume_links *l);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of a link share.  Only they include this.
 *
 *   link.c       home: the association, users, back-off
 *   link_end.c   each reactor: its queues
 *
 * Threading: as the chart in link.h says.   Memory: the link's.
 */
#ifndef PEER_LINK_INTERNAL_H
#define PEER_LINK_INTERNAL_H

#include "base/sm.h"
#include "peer/limits.h"
#include "peer/link.h"

struct links {
    struct links_config config;
    struct reactor *home;
    struct buf_pool **pools; /* One for each reactor. */
    struct list all;         /* link.node */
    void (*on_stopped)(void *ctx);
    void *ctx;
    struct io_task task;
};

/*
 * Which queue ids an end has: first and on, count of them.  With fewer queues than pairs each
 * reactor has one.
 */
struct link_plan {
    unsigned per_reactor;
    uint16_t entries;
};

struct link {
    struct links *links;
    struct uuid node_uuid;
    char name[LINK_NAME_BYTES]; /* The node's, for messages. */
    struct io_addr addr;
    struct list_node node; /* links.all */
    unsigned refs;
    struct sm sm;
    uint64_t number;
    struct status why; /* It is ending for. */
    struct list users; /* link_user.node */

    struct initiator_ctrl *ctrl;
    bool ctrl_started; /* And has not ended. */
    struct link_plan plan;
    unsigned pending; /* Ends that are to connect, or to drain. */
    struct io_timer timer;
    uint64_t retry_ns; /* The next time. */
    bool told;         /* Why it does not come up was logged. */
    uint64_t ups, losses, attempts;
    struct link_disk disks[LINK_DISKS_MAX];
    unsigned disk_count;

    struct link_end ends[]; /* One for each reactor. */
};

/* ---- link_end.c ---- */

void link_end_init(struct link_end *end, struct link *link, unsigned index);

/* Home: has the end connect its queues.  link_on_end_ready() or link_on_end_lost() follows. */
void link_end_start(struct link_end *end);

/* Home: has the end drop them.  link_on_end_drained() follows when nothing is left of them. */
void link_end_stop(struct link_end *end);

/* ---- link.c, on home ---- */

void link_on_end_ready(struct link *link);
void link_on_end_lost(struct link *link, struct status why);
void link_on_end_drained(struct link *link);

#endif

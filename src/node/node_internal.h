/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the node share.
 *
 *   node.c          the node's life, and what it is told      node_change.c    disks come and go
 *   node_disk.c     one disk       node_volume.c   one volume       node_report.c   what it tells
 *   node_verify.c   one volume's verification       node_scrub.c    one disk's scrub
 *   node_mend.c     repairs of one volume's blocks that scrubs have found
 *   node_stores.c   its stores for engines of other nodes, and its links to theirs
 *   node_health.c   its disks' health
 */
#ifndef NODE_NODE_INTERNAL_H
#define NODE_NODE_INTERNAL_H

#include "io/buf.h"
#include "node/node.h"
#include "node/node_disk.h"
#include "node/node_volume.h"
#include "peer/link.h"
#include "peer/server.h"
#include "volume/pace.h"

/* The report's arrays, kept so that they can be lent. */
struct node_report_memory {
    struct node_disk_report disks[NODE_DISKS_MAX];
    struct node_disk_problem problems[NODE_DISKS_MAX];
    struct node_volume_report volumes[NODE_VOLUMES_MAX];
    struct uuid heard[NODE_HEARD_MAX];
};

struct node_pool {
    struct node *node;
    struct reactor *reactor;
    struct buf_pool *pool;
    struct buf_pool *scratch; /* Of the engines. */
    struct pace_queue pace;   /* Likewise, if the node has a rate. */
    struct io_msg msg;
};

/* A disk that is being added or removed. */
struct node_change {
    node_disk_done_fn *done; /* NULL: none is. */
    void *ctx;
    struct node_disk *disk; /* NULL: there is nothing to wait for. */
    bool is_new;            /* It had no slot before. */
    char problem[NODE_REASON_BYTES];
    char gone[NODE_PATH_BYTES]; /* Path of the disk that was given up; empty: none was. */
    struct io_task task;
};

struct node {
    struct reactor *reactors[NODE_REACTORS_MAX];
    struct node_pool pools[NODE_REACTORS_MAX];
    unsigned reactor_count;
    struct reactor *home;
    struct io_addr listen;
    bool has_advertise;
    struct io_addr advertise;
    size_t buffer_bytes;
    uint32_t commands_max;
    uint64_t replica_timeout_ns;
    bool has_pace;
    struct pace pace; /* Of the resyncs of all volumes. */
    struct log *log;
    const struct node_ops *ops;
    void *ctx;

    struct sm sm;
    bool stopping;
    unsigned pending; /* Disks or pools that the state waits for. */
    struct io_task step;
    struct node_disk *disks; /* NODE_DISKS_MAX of them. */
    unsigned disk_count;     /* Ever used; a slot without a path is free. */
    struct node_change change;
    struct nvme_target *target;
    struct node_stores_config stores;
    struct server *server; /* NULL: its stores are not served. */
    struct nvme_subsys *stores_subsys;
    struct links *links; /* NULL: likewise. */
    struct uuid *members;
    uint32_t member_count;
    void (*stores_stopped)(void *ctx);
    void *stores_ctx;
    struct node_membership membership;
    unsigned node_index;
    struct io_addr bound;
    struct list volumes; /* node_volume.link */
    unsigned volume_count;
    bool told; /* node_apply() has said what the node serves. */
    uint64_t revision;
    struct node_scrub_order *scrubs; /* As of the last node_apply(). */
    uint32_t scrub_count;
    struct node_report_memory *report;
    struct io_timer health_timer;
    uint64_t health_tick_ns; /* When the timer should fire. */
    unsigned health_ticks;   /* Of this window. */
    bool health_paused;      /* One of them came late. */
    unsigned health_due;     /* Disks whose load is waited for. */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

/* The disk with this UUID, if it is open; NULL otherwise. */
struct node_disk *node_find_disk(struct node *node, struct uuid uuid);

/* Tells each disk which scrub is wanted of it. */
void node_want_scrubs(struct node *node);

/* A volume has ended and is gone. */
void node_on_volume_gone(struct node *node);

/* Tells that the report has changed. */
void node_changed(struct node *node);

/* Gives the disk its place in the node; its configuration is there. */
void node_init_disk(struct node *node, struct node_disk *disk);

/* A disk was added or removed: the node may go on stopping. */
void node_on_disk_changed(struct node *node);

/* ---- node_stores.c: nothing happens if the stores are not served ---- */

/* The disks are open, and the target is there. */
struct status node_stores_open(struct node *node) MUST_CHECK;

/* A disk has a store. */
void node_stores_add(struct node *node, struct node_disk *disk);

/* It is to be closed; done follows, now or from the loop. */
void node_stores_remove(struct node *node, struct node_disk *disk, void (*done)(void *ctx),
                        void *ctx);

/* Takes over whose engines may use them; those of others are dropped.  NO_MEMORY: all is as it was.
 */
struct status node_stores_set_members(struct node *node,
                                      const struct node_desired *desired) MUST_CHECK;

/* The target has stopped, and no volume is left.  done follows, now or from the loop. */
void node_stores_stop(struct node *node, void (*done)(void *ctx), void *ctx);

/* The target is gone. */
void node_stores_close(struct node *node);

/* ---- node_health.c ---- */

/* The disks are open: they are judged every window, until the end. */
void node_health_start(struct node *node);
void node_health_stop(struct node *node);

/* What node_disk_refresh() has brought. */
void node_health_on_refreshed(struct node_disk *disk);

/* Says in the log what became of a disk. */
void node_log_disk(const struct node *node, const struct node_disk *disk);

#endif

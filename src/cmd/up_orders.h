/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks of a running node that are added, grow and are removed: the controller's orders.
 *
 *   home                       main thread
 *   up_orders_take
 *     one order -------------> looks at the path of a new disk          (files, blkid)
 *   node_add_disk,      <----
 *   node_remove_disk,
 *   node_grow_disk
 *     done ------------------> DIR/node-1/disks                         (fsync)
 *   the result, for the <----
 *   next report; next order
 *
 * Threading: as the chart says; whose turn it is decides who may touch the order.
 * Memory:    embedded in struct up_node; disks and directory are borrowed.
 */
#ifndef CMD_UP_ORDERS_H
#define CMD_UP_ORDERS_H

#include <stdatomic.h>

#include "cmd/up_disks.h"
#include "node/node.h"

#define UP_ORDERS_MAX 16u /* CTL_ORDERS_MAX. */

enum up_orders_turn { UP_ORDERS_IDLE, UP_ORDERS_LOOK, UP_ORDERS_CHANGE, UP_ORDERS_REMEMBER };

struct up_orders {
    struct up_disks *disks; /* The main thread's. */
    const struct up_dir *dir;
    struct reactor *home;
    struct node *node;          /* Home's; NULL: it stops, and gets no orders any more. */
    void (*wake)(void *ctx);    /* Of the main thread. */
    void (*changed)(void *ctx); /* There is a result; on home. */
    void *ctx;

    /* Home's. */
    struct node_order queue[UP_ORDERS_MAX];
    uint32_t queued;
    struct node_order_result results[UP_ORDERS_MAX];
    uint32_t result_count;

    /* Of whose turn it is. */
    _Atomic int turn;
    struct node_order now;
    struct up_disk *disk;
    bool is_fresh;              /* The disk had no slot before. */
    char gone[NODE_PATH_BYTES]; /* As node_disk_done_fn. */
    char problem[UP_DISK_PROBLEM_BYTES];
    struct io_msg msg;
};

/* On home: what is ordered now.  Results of other orders are not asked for any more. */
void up_orders_take(struct up_orders *o, const struct node_desired *desired);

/* On home: adds the results to a report. */
void up_orders_report(struct up_orders *o, struct node_report *report);

/* On home, before the node stops: what is under way there goes on, and the rest is left undone. */
void up_orders_stop(struct up_orders *o);

/* On the main thread, whenever it was woken. */
void up_orders_run(struct up_orders *o);

#endif

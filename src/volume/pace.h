/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a node's engines resync: one rate for all their volumes (docs/replication.md, section
 * 9).
 *
 *   region of a resync --> queue of its reactor --(first)--> next free start of the node --> begun
 *
 * A reactor reserves a start for the first of its queue alone.  So who leaves, as its volume is
 * closed, leaves no hole behind: the start is the next one's, and lost only where nobody waits.
 * Who comes has its turn when those have had theirs that were there before.
 *
 * Threading: a queue is its reactor's; they share the rate without a lock.
 * Memory:    embedded.
 */
#ifndef VOLUME_PACE_H
#define VOLUME_PACE_H

#include <stdatomic.h>

#include "base/list.h"
#include "io/reactor.h"

/* Of a node. */
struct pace {
    uint64_t bytes_per_s;
    _Atomic uint64_t due_ns; /* The next start that is free. */
};

/* Of a reactor. */
struct pace_queue {
    struct pace *pace;
    struct reactor *reactor;
    struct list waiting;   /* pace_waiter.link */
    struct io_timer timer; /* Armed while somebody waits: a start is reserved. */
};

struct pace_waiter {
    struct list_node link;
    struct pace_queue *queue; /* While it waits. */
    void (*begin)(struct pace_waiter *waiter);
};

void pace_init(struct pace *p, uint64_t bytes_per_s);
void pace_queue_init(struct pace_queue *q, struct reactor *r, struct pace *p);

void pace_waiter_init(struct pace_waiter *w, void (*begin)(struct pace_waiter *waiter));

/* Whether a region may be begun now; if not, begin() follows, from the loop. */
bool pace_admits(struct pace_queue *q, struct pace_waiter *w);

/* It waits no more, if it did. */
void pace_leave(struct pace_waiter *w);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The armed timers of one reactor, as an intrusive pairing heap ordered by deadline and, where
 * deadlines are equal, by the order of arming.  Only src/io/ includes this.
 *
 *   root ---------> the earliest
 *     | child                         prev: the sibling before, or the parent of a first child
 *     v
 *    first -sibling-> second -sibling-> ...       each the root of a heap of its own
 *
 * Insert and peek take constant time; remove and pop logarithmic time, amortised.
 *
 * Threading: the reactor's.   Memory: the links are inside struct io_timer.
 */
#ifndef IO_TIMER_HEAP_H
#define IO_TIMER_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "io/reactor.h"

struct timer_heap {
    struct io_timer *root;
    uint64_t sequence_next;
};

static inline void timer_heap_init(struct timer_heap *h)
{
    h->root = NULL;
    h->sequence_next = 0;
}

/* Adds t, whose deadline_ns is set, behind all with the same deadline. */
void timer_heap_insert(struct timer_heap *h, struct io_timer *t);

/* Takes out t, which is in this heap. */
void timer_heap_remove(struct timer_heap *h, struct io_timer *t);

/* The next to fire, still in the heap; NULL if there is none. */
static inline struct io_timer *timer_heap_peek(const struct timer_heap *h)
{
    return h->root;
}

/*
 * Takes out the next timer if its deadline has come, and marks it as not armed; NULL if there is
 * none.  The caller then calls fire(), which may arm it again or free it.
 */
struct io_timer *timer_heap_pop_due(struct timer_heap *h, uint64_t now_ns);

#endif

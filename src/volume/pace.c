/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/pace.h"

#include <assert.h>

#include "base/span.h"
#include "store/store.h"

static void on_timer(struct io_timer *timer);

void pace_init(struct pace *p, uint64_t bytes_per_s)
{
    assert(bytes_per_s > 0);
    p->bytes_per_s = bytes_per_s;
    atomic_init(&p->due_ns, 0);
}

void pace_queue_init(struct pace_queue *q, struct reactor *r, struct pace *p)
{
    q->pace = p;
    q->reactor = r;
    list_init(&q->waiting);
    io_timer_init(&q->timer, on_timer);
}

void pace_waiter_init(struct pace_waiter *w, void (*begin)(struct pace_waiter *waiter))
{
    list_node_init(&w->link);
    w->begin = begin;
}

/* The next free start, which nobody else gets. */
static uint64_t reserve(const struct pace_queue *q)
{
    struct pace *const p = q->pace;
    uint64_t due = atomic_load(&p->due_ns), start;

    do {
        start = max_u64(due, reactor_now_ns(q->reactor));
    } while (!atomic_compare_exchange_weak(&p->due_ns, &due,
                                           start + STORE_REGION_BYTES * NS_PER_S / p->bytes_per_s));
    return start;
}

static void on_timer(struct io_timer *timer)
{
    struct pace_queue *const q = CONTAINER_OF(timer, struct pace_queue, timer);
    struct pace_waiter *const w =
        CONTAINER_OF(list_pop_front(&q->waiting), struct pace_waiter, link);

    if (!list_empty(&q->waiting))
        io_timer_arm(&q->timer, q->reactor, reserve(q));
    w->begin(w);
}

bool pace_admits(struct pace_queue *q, struct pace_waiter *w)
{
    assert(!list_node_linked(&w->link));
    if (!io_timer_armed(&q->timer)) {
        const uint64_t start_ns = reserve(q);
        if (start_ns <= reactor_now_ns(q->reactor))
            return true;
        io_timer_arm(&q->timer, q->reactor, start_ns);
    }
    w->queue = q;
    list_push_back(&q->waiting, &w->link);
    return false;
}

void pace_leave(struct pace_waiter *w)
{
    if (!list_node_linked(&w->link))
        return;
    list_remove(&w->link);
    if (list_empty(&w->queue->waiting))
        io_timer_disarm(&w->queue->timer);
}

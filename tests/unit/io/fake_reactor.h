/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor without a loop, for what needs only tasks and timers: the test runs them by hand.
 *
 * Threading: one thread.   Memory: embedded in the test.
 */
#ifndef TESTS_UNIT_IO_FAKE_REACTOR_H
#define TESTS_UNIT_IO_FAKE_REACTOR_H

#include "io/backend.h"
#include "io/timer_heap.h"

struct fake_reactor {
    struct reactor base;
    struct list tasks;
    struct timer_heap timers;
};

static inline bool fake_is_current(const struct reactor *r)
{
    (void)r;
    return true;
}

static inline void fake_defer(struct reactor *r, struct io_task *task)
{
    list_push_back(&CONTAINER_OF(r, struct fake_reactor, base)->tasks, &task->link);
}

static inline void fake_timer_arm(struct reactor *r, struct io_timer *t)
{
    timer_heap_insert(&CONTAINER_OF(r, struct fake_reactor, base)->timers, t);
}

static inline void fake_timer_disarm(struct reactor *r, struct io_timer *t)
{
    timer_heap_remove(&CONTAINER_OF(r, struct fake_reactor, base)->timers, t);
}

static const struct reactor_ops fake_reactor_ops = {
    .is_current = fake_is_current,
    .defer = fake_defer,
    .timer_arm = fake_timer_arm,
    .timer_disarm = fake_timer_disarm,
};

static inline void fake_reactor_init(struct fake_reactor *f)
{
    f->base = (struct reactor) { .ops = &fake_reactor_ops };
    list_init(&f->tasks);
    timer_heap_init(&f->timers);
}

/* Runs what is deferred now; what that defers waits for the next call. */
static inline void fake_reactor_run_tasks(struct fake_reactor *f)
{
    struct list now;
    struct list_node *n;
    list_init(&now);
    list_splice_back(&now, &f->tasks);
    while ((n = list_pop_front(&now)) != NULL) {
        struct io_task *const t = CONTAINER_OF(n, struct io_task, link);
        t->run(t);
    }
}

/* Fires what is due at now_ns. */
static inline void fake_reactor_run_timers(struct fake_reactor *f, uint64_t now_ns)
{
    struct io_timer *t;
    f->base.now_ns = now_ns;
    while ((t = timer_heap_pop_due(&f->timers, now_ns)) != NULL)
        t->fire(t);
}

#endif

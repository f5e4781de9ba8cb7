/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include "io/backend.h"

static struct loop_reactor *loop_reactor(struct reactor *r)
{
    return CONTAINER_OF(r, struct loop_reactor, reactor);
}

/* The test's one thread is every reactor's. */
static bool loop_is_current(const struct reactor *r)
{
    (void)r;
    return true;
}

static void loop_defer(struct reactor *r, struct io_task *task)
{
    if (!list_node_linked(&task->link))
        list_push_back(&loop_reactor(r)->tasks, &task->link);
}

static void loop_post(struct reactor *r, struct io_msg *msg)
{
    struct loop_reactor *l = loop_reactor(r);

    msg->next = NULL;
    *l->last = msg;
    l->last = &msg->next;
}

static uint64_t loop_wall_ns(const struct reactor *r)
{
    (void)r;
    return 1;
}

static void loop_timer_arm(struct reactor *r, struct io_timer *t)
{
    timer_heap_insert(&loop_reactor(r)->timers, t);
}

static void loop_timer_disarm(struct reactor *r, struct io_timer *t)
{
    timer_heap_remove(&loop_reactor(r)->timers, t);
}

static const struct reactor_ops loop_ops = {
    .timer_arm = loop_timer_arm,
    .timer_disarm = loop_timer_disarm,
    .wall_ns = loop_wall_ns,
    .is_current = loop_is_current,
    .defer = loop_defer,
    .post = loop_post,
};

void loop_init(struct loop *loop, unsigned count, struct log *log)
{
    assert(count <= LOOP_REACTORS_MAX);
    loop->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct loop_reactor *l = &loop->members[i];
        *l = (struct loop_reactor) { .reactor = { .ops = &loop_ops, .log = log, .index = i } };
        l->last = &l->first;
        list_init(&l->tasks);
        timer_heap_init(&l->timers);
        loop->reactors[i] = &l->reactor;
    }
}

static bool loop_turn(struct loop_reactor *l)
{
    struct io_msg *msg = l->first;
    const bool busy = msg != NULL || !list_empty(&l->tasks);
    struct list tasks;

    l->first = NULL;
    l->last = &l->first;
    while (msg != NULL) {
        struct io_msg *next = msg->next;
        msg->deliver(msg);
        msg = next;
    }
    list_init(&tasks);
    list_splice_back(&tasks, &l->tasks);
    struct list_node *n;
    while ((n = list_pop_front(&tasks)) != NULL) {
        struct io_task *task = CONTAINER_OF(n, struct io_task, link);
        task->run(task);
    }
    return busy;
}

bool loop_step(struct loop *loop)
{
    bool busy = false;

    for (unsigned i = 0; i < loop->count; i++)
        busy = loop_turn(&loop->members[i]) || busy;
    return busy;
}

void loop_run(struct loop *loop)
{
    while (loop_step(loop)) {
    }
}

void loop_pass(struct loop *loop, uint64_t ns)
{
    for (unsigned i = 0; i < loop->count; i++) {
        struct loop_reactor *const l = &loop->members[i];
        struct io_timer *t;
        l->reactor.now_ns += ns;
        while ((t = timer_heap_pop_due(&l->timers, l->reactor.now_ns)) != NULL)
            t->fire(t);
    }
    loop_run(loop);
}

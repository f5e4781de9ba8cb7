/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/loop.h"

void rpc_loop_init(struct rpc_loop *loop, const struct rpc_loop_ops *ops)
{
    *loop = (struct rpc_loop) { .ops = ops };
    list_init(&loop->timers);
}

static struct rpc_timer *timer_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct rpc_timer, link);
}

/* From the end: most timers have the same length, so that the new one is the last. */
void rpc_timer_arm(struct rpc_loop *loop, struct rpc_timer *t, uint64_t deadline_ns)
{
    list_remove(&t->link);
    t->deadline_ns = deadline_ns;
    struct list_node *before = loop->timers.head.prev;
    while (before != &loop->timers.head && timer_of(before)->deadline_ns > deadline_ns)
        before = before->prev;
    list_insert_between(&t->link, before, before->next);
}

uint64_t rpc_loop_deadline_ns(const struct rpc_loop *loop)
{
    struct list_node *first = list_first(&loop->timers);
    return first != NULL ? timer_of(first)->deadline_ns : UINT64_MAX;
}

void rpc_loop_turn(struct rpc_loop *loop)
{
    const uint64_t now_ns = rpc_now_ns(loop);

    while (rpc_loop_deadline_ns(loop) <= now_ns) {
        struct rpc_timer *t = timer_of(list_pop_front(&loop->timers));
        t->fire(t);
    }
    if (loop->turn_end != NULL)
        loop->turn_end(loop->turn_ctx);
}

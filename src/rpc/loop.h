/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that serves calls, as its handlers see it: clock, timers, randomness.
 *
 *   wait for a call or a timer --> handlers --> turn_end()
 *
 * Two backends: server.h (gRPC) and sim.h (virtual time, from a seed).
 *
 * Threading: for the loop's own thread only.   Memory: timers are embedded in their owners.
 */
#ifndef RPC_LOOP_H
#define RPC_LOOP_H

#include <stdint.h>

#include "base/list.h"
#include "base/span.h"

struct rpc_loop;

struct rpc_loop_ops {
    uint64_t (*now_ns)(struct rpc_loop *loop);
    uint64_t (*wall_ns)(struct rpc_loop *loop);
    void (*random)(struct rpc_loop *loop, struct span out);
};

struct rpc_loop {
    const struct rpc_loop_ops *ops;
    struct list timers;          /* By deadline. */
    void (*turn_end)(void *ctx); /* After the handlers of each turn; may be NULL. */
    void *turn_ctx;
};

void rpc_loop_init(struct rpc_loop *loop, const struct rpc_loop_ops *ops);

/* The boot-time clock. */
static inline uint64_t rpc_now_ns(struct rpc_loop *loop)
{
    return loop->ops->now_ns(loop);
}

/* Nanoseconds since 1970, for people and records only. */
static inline uint64_t rpc_wall_ns(struct rpc_loop *loop)
{
    return loop->ops->wall_ns(loop);
}

/* Random bytes fit for identities. */
static inline void rpc_random(struct rpc_loop *loop, struct span out)
{
    loop->ops->random(loop, out);
}

/* ---- Timers ---- */

struct rpc_timer {
    void (*fire)(struct rpc_timer *timer);
    uint64_t deadline_ns;
    struct list_node link;
};

static inline void rpc_timer_init(struct rpc_timer *t, void (*fire)(struct rpc_timer *timer))
{
    t->fire = fire;
    list_node_init(&t->link);
}

/* Fires once, not before deadline_ns.  Arming an armed timer moves it. */
void rpc_timer_arm(struct rpc_loop *loop, struct rpc_timer *t, uint64_t deadline_ns);

static inline void rpc_timer_disarm(struct rpc_timer *t)
{
    list_remove(&t->link);
}

/* ---- For the backends ---- */

/* The first deadline; UINT64_MAX if no timer is armed. */
uint64_t rpc_loop_deadline_ns(const struct rpc_loop *loop);

/* Fires what is due, then ends the turn. */
void rpc_loop_turn(struct rpc_loop *loop);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meta store of a simulated cluster: the real transactions of meta/groups.h, on a machine that
 * never dies, and the way there and back.
 *
 *   engine --> registry_client --(late, or lost)--> groups_commit() --(late, or lost)--> engine
 *
 * What is lost is sent again as it is (6.3 of docs/replication.md), and what was sent before may
 * arrive after that, also when its sender is dead.  An epoch whose answer was lost is nobody's
 * (7.1).  Each change of the record is checked (I1), and told to the workload.
 *
 * Threading: one thread.   Memory: the world's, but for the meta store itself: registry_fini().
 */
#ifndef TESTS_SIM_REGISTRY_H
#define TESTS_SIM_REGISTRY_H

#include "node/group_client.h"
#include "repl/group.h"
#include "run.h"
#include "store/store.h"
#include "volume/volume.h"

struct meta;
struct registry_request;

struct registry {
    struct run *run;
    struct meta *meta;
    struct store_volume volume;
    struct uuid node;                  /* That the volume is assigned to. */
    struct group record;               /* As committed. */
    struct group taken;                /* As it was when its epoch was taken. */
    bool away;                         /* Nothing arrives. */
    unsigned under_way;                /* Requests that will arrive. */
    struct registry_request *requests; /* All there were. */
    unsigned lost_percent;
    uint64_t late_ns; /* Most that a request or an answer takes. */
    /* The record has changed.  NULL is allowed. */
    void (*changed)(void *ctx, const struct group *was, const struct group *now);
    void *ctx;
};

/* Makes the records of a volume of several replicas whose copysets have these tuples; node has it.
 */
void registry_init(struct registry *r, struct run *run, const struct store_volume *volume,
                   struct uuid node, const struct uuid (*tuples)[GROUP_SLOTS], uint32_t count);
void registry_fini(struct registry *r);

/* The volume is another node's from now on: only that one can take epochs. */
void registry_move(struct registry *r, struct uuid node);

/* 11.10: with nobody's epoch.  False: some copyset has fewer in sync. */
bool registry_set_min_in_sync(struct registry *r, uint32_t min_in_sync);

/* 9, 11.2: another disk, empty, in each slot of one that is out; its requests have all arrived. */
void registry_replace(struct registry *r, struct uuid was, struct uuid now);

/* What one process knows of it. */
struct registry_client {
    struct registry *registry;
    struct sim_process *process;
    struct reactor *home;
    struct uuid node;
    const bool *away; /* Of this process alone: as the registry's. */
    uint64_t known_epoch;
};

typedef void registry_taken_fn(void *ctx, const struct group *record);

/*
 * 7.1: takes an epoch, however long that takes; done in the process, on home.  The record is lent.
 */
void registry_take_epoch(struct registry_client *client, registry_taken_fn *done, void *ctx);

/* volume_meta_ops.commit; its context is the client. */
void registry_change(void *ctx, const struct group *was, const struct group *now,
                     void (*done)(void *done_ctx, struct status status), void *done_ctx);

/* As the functions of node/group_client.h; client.known_epoch does not matter. */
void registry_get(const struct registry_client *client, struct group_op *op);
void registry_take(const struct registry_client *client, struct group_op *op, uint64_t known_epoch);
void registry_commit(const struct registry_client *client, struct group_op *op,
                     const struct group *was, const struct group *now);

/* The process's operations that are under way end with CANCELED, from the loop. */
void registry_cancel(struct registry *r, const struct sim_process *process);

#endif

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

#include "repl/group.h"
#include "run.h"
#include "store/store.h"
#include "volume/volume.h"

struct meta;

struct registry {
    struct run *run;
    struct meta *meta;
    struct uuid volume;
    struct uuid node;
    struct group record;                 /* As committed. */
    struct group taken;                  /* As it was when its epoch was taken. */
    uint8_t been_in[GROUP_COPYSETS_MAX]; /* Slots that have been members since then. */
    bool away;                           /* Nothing arrives. */
    unsigned under_way;                  /* Requests that will arrive. */
    unsigned lost_percent;
    uint64_t late_ns; /* Most that a request or an answer takes. */
    /* The record has changed.  NULL is allowed. */
    void (*changed)(void *ctx, const struct group *was, const struct group *now);
    void *ctx;
};

/* Makes the records of a volume of several replicas whose copysets have these tuples. */
void registry_init(struct registry *r, struct run *run, const struct store_volume *volume,
                   const struct uuid (*tuples)[GROUP_SLOTS], uint32_t count);
void registry_fini(struct registry *r);

/* 9, 11.2: another disk, empty, in each slot of one that is out; its requests have all arrived. */
void registry_replace(struct registry *r, struct uuid was, struct uuid now);

/* What one process knows of it. */
struct registry_client {
    struct registry *registry;
    struct sim_process *process;
    struct reactor *home;
    uint64_t known_epoch;
};

typedef void registry_taken_fn(void *ctx, const struct group *record);

/*
 * 7.1: takes an epoch, however long that takes; done in the process, on home.  The record is lent.
 */
void registry_take_epoch(struct registry_client *client, registry_taken_fn *done, void *ctx);

/* For volume_config.meta; its context is the client. */
extern const struct volume_meta_ops registry_meta_ops;

#endif

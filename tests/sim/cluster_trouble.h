/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to the cluster of workload "cluster" while its hosts write and read: one trouble
 * after the other, at random.  Each ends by itself after a while.
 *
 * Threading: one thread, as the world.   Memory: the world's.
 */
#ifndef TESTS_SIM_CLUSTER_TROUBLE_H
#define TESTS_SIM_CLUSTER_TROUBLE_H

#include "cluster.h"
#include "host.h"

/* A volume with its hosts. */
struct tenant {
    struct history *history;
    struct host *writer;
    struct host *reader;
    struct sim_machine *machines[2];
    uint64_t connects_at_loss;
};

enum trouble {
    TROUBLE_KILL,
    TROUBLE_POWER,
    TROUBLE_LIGHTS_OUT,
    TROUBLE_PAUSE,
    TROUBLE_PARTITION,
    TROUBLE_CUT_OFF,
    TROUBLE_MOVE,
    TROUBLE_SPLIT,
    TROUBLE_OVERTAKE,
    TROUBLE_STOP,
    TROUBLE_CUT,
    TROUBLE_STALLS,
    TROUBLE_SLOW,
    TROUBLE_DISK,
    TROUBLE_FULL,
    TROUBLE_CLOCK,
    TROUBLE_DRAIN,
    TROUBLE_MIN_IN_SYNC,
    TROUBLE_COUNT,
};

struct work {
    struct run *run;
    struct cluster cluster;
    struct tenant tenants[CLUSTER_VOLUMES_MAX];
    unsigned troubles;
    uint64_t favourite;
    uint64_t first_ns;   /* When the first may come. */
    uint64_t trouble_ns; /* Most between two of them. */
    unsigned under_way;  /* That will be healed. */
    int dark;            /* The node whose power has failed, and that is not settled; -1: none. */
    uint64_t power_until_ns; /* Until then it is waited for that all is well, and the power of one
                                machine fails; 0: it is not to. */
    bool hurt;    /* A disk fails, or is full; until that ends, no other troubles come. */
    bool begun;   /* Troubles may come: everything is served, or need not be. */
    bool calm;    /* No more troubles. */
    bool outlier; /* One of three members takes its time for each write, until all calms down. */
    unsigned slow_node; /* Where that one is. */
};

static inline struct work *work_of(struct cluster *c)
{
    return CONTAINER_OF(c, struct work, cluster);
}

/* The next trouble, and those that follow it; for sim_world_after(), with the work. */
void trouble_comes(void *ctx);

/* Nothing is wrong, or will be: all is served and in sync, and no engine is about to change that.
 */
bool trouble_is_over(const struct work *work);

/* The power of the node's machine fails, with what its disks have not made durable. */
void trouble_power_of_one(struct work *work, struct cluster_node *n);

/* One in so many operations of the node's disks takes up to slow_ns; 0: as long as usual. */
void trouble_slows(const struct cluster_node *n, uint64_t one_in, uint64_t slow_ns);

/* The writer of the volume goes where that is, perhaps with the reader. */
void trouble_hosts_follow(struct work *work, unsigned volume, bool reader);

#endif

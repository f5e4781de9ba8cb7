/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated machine with a node on two reactors and three disks, and the test in the place of a
 * controller.
 *
 *   fixture_create --> start --> want_volumes, at_home(apply), wait_for_volumes, ... --> stop
 *                        ^                                                            |
 *                        +------------------------------------------------------------+
 *
 * Threading: the test's; what at_home() calls runs on the node's home reactor.
 * Memory:    fixture_destroy() frees all.
 */
#ifndef TESTS_NODE_FIXTURE_H
#define TESTS_NODE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/sim.h"
#include "node/node.h"

#define M           ((uint64_t)1 << 20)
#define DISKS       3
#define DISK_BYTES  (64 * M)
#define SHARD_BYTES (4 * M)
#define SHARDS      4
#define SHARDS_MAX  6 /* Of a volume that grows. */
#define VOLUMES_MAX 2
#define LIMIT_NS    (60 * NS_PER_S)

struct fixture {
    struct sim_world *world;
    bool owns_world;
    struct sim_machine *machine;
    struct sim_disk *disks[DISKS];
    struct sim_process *process;
    struct reactor *reactors[2];
    struct log log;
    char last_log[LOG_LINE_BYTES];

    struct node *node;
    uint16_t port;
    struct node_stores_config stores;
    uint64_t resync_bytes_per_s;
    unsigned later_disks; /* Of DISKS, that it does not begin with. */
    bool is_changed;      /* node_add_disk() or node_remove_disk() has ended ... */
    char gone[16];        /* ... and has given up the disk at this path. */
    struct node_config config;
    struct node_disk_config disk_configs[DISKS];
    char paths[DISKS][16];
    struct node_membership membership;
    struct status opened;
    char problem[256];
    bool is_open;
    bool is_stopped;

    struct node_report report; /* Of the last get_report(). */
    struct node_desired desired;
    struct node_desired_volume volumes[VOLUMES_MAX];
    struct uuid disk_uuids[DISKS];
    uint32_t placement[SHARDS_MAX];

    struct status epoch_status; /* What TakeEpoch answers. */
    uint64_t epoch;

    struct group group;         /* The record of a volume of several replicas. */
    struct status group_status; /* What reading it answers. */
    unsigned group_conflicts;   /* So many commits are refused from now on. */
    unsigned group_commits;     /* That were not. */
    uint32_t min_in_sync;       /* With which an epoch was last taken. */
    bool holds_take;            /* That is not answered ... */
    struct group_op *held;      /* ... before release_take(). */
};

struct fixture *fixture_create(void);
/* Another machine with a node in the same world; it is destroyed first. */
struct fixture *fixture_create_beside(const struct fixture *first);
void fixture_destroy(struct fixture *f);

/* Starts the node's process; start() waits until the node has opened as well. */
void spawn(struct fixture *f);
void start(struct fixture *f);
/* Stops it in order, and lets a second pass. */
void stop(struct fixture *f);

/* Calls fn on the node's home reactor. */
void at_home(struct fixture *f, void (*fn)(struct fixture *f));

/* For at_home(): fills f->report; applies what f->desired wants, as a new revision. */
void get_report(struct fixture *f);
void apply(struct fixture *f);
/* Likewise: answers the taking of an epoch that was held back. */
void release_take(struct fixture *f);

/* Wants the first count of two volumes that lie on the disks that the node has reported. */
void want_volumes(struct fixture *f, uint32_t count);

/* Whether count volumes are reported, all of them in this state. */
bool volumes_are(struct fixture *f, uint32_t count, enum node_volume_state state);
void wait_for_volumes(struct fixture *f, uint32_t count, enum node_volume_state state);

/* A disk that is busy so many times: what a node_disk_config opens, and with which ctx. */
struct busy_disk {
    char *path;
    unsigned times;
};
struct status busy_open(void *ctx, struct reactor *r, struct dev **out_dev);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated cluster: nodes as src/node has them, each in a process on a machine of its own with
 * its own disks, and the controller, which the script plays.
 *
 *   controller --(what each node serves; late, or not at all)--> node ... node
 *   registry   <--(records of groups; late, or lost)-----------> engine
 *                                                                engine --(links)--> stores
 *
 * The controller says again and again what it wants.  A volume that is moved is the next node's at
 * once, and the one before hears of it when it can be reached: until then there are two engines.
 *
 * Threading: one thread; everything but callbacks is for the script, as the world.
 * Memory:    the world's; a node's is its process's.
 */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include "ballast.h"
#include "node/node.h"
#include "registry.h"
#include "watch.h"

#define CLUSTER_NODES_MAX    12
#define CLUSTER_DISKS_MAX    2 /* Of a node. */
#define CLUSTER_REACTORS_MAX 2
#define CLUSTER_VOLUMES_MAX  2
#define CLUSTER_SHARDS_MAX   8
#define CLUSTER_PORT         4420
#define CLUSTER_DISKS_ALL    (CLUSTER_NODES_MAX * CLUSTER_DISKS_MAX)

struct cluster;

struct cluster_disk {
    struct node_disk_config config;
    struct sim_disk *disk;
    struct uuid uuid;     /* From the first life on. */
    uint64_t incarnation; /* As it was opened; 0: the power has failed since. */
    bool may_fail;        /* The script lets operations fail. */
    struct ballast ballast;
};

struct cluster_node {
    struct cluster *cluster;
    unsigned index;
    struct sim_machine *machine;
    struct uuid uuid;
    struct cluster_disk disks[CLUSTER_DISKS_MAX];
    unsigned reactor_count;
    bool known;   /* Its disks have UUIDs. */
    bool cut_off; /* The controller and the meta store cannot be reached. */

    /* Of the current life. */
    struct sim_process *process;
    struct reactor *home;
    struct node *node;
    unsigned filling; /* Disks. */
    bool opened;
    bool stopping;
    bool paused;   /* The script's. */
    bool dies;     /* Soon; likewise. */
    uint64_t told; /* Revision. */
};

/* A replica that is to be elsewhere (9.18).  Disks are counted over all nodes. */
struct cluster_move {
    bool wanted;
    uint32_t copyset;
    uint32_t slot;
    uint32_t was, disk;
};

struct cluster_volume {
    struct cluster *cluster;
    struct registry registry;
    struct watch watch;
    struct store_volume volume;
    struct nqn_text nqn;
    unsigned owner; /* Index of its node. */
    uint32_t copysets;
    uint32_t placement[CLUSTER_SHARDS_MAX][GROUP_SLOTS]; /* Of disks, counted over all nodes. */
    uint64_t verification;                               /* That is wanted; 0: none. */
    struct cluster_move move;
    bool left_over[CLUSTER_DISKS_ALL]; /* Disks to be rid of it (9.17). */
    bool verified;                     /* It has ended, ... */
    bool equal;                        /* ... all replicas are equal, ... */
    bool whole;                        /* ... and all were read; else: */
    struct status verify_status;
    uint32_t finding_count;
    struct volume_verify_finding finding; /* The first. */
};

struct cluster {
    struct run *run;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    unsigned node_count;
    unsigned disks_per_node;
    int liar; /* The node whose disks lag behind what they confirm; -1: none. */
    struct cluster_volume volumes[CLUSTER_VOLUMES_MAX];
    unsigned volume_count;
    uint64_t replica_timeout_ns;
    uint64_t resync_bytes_per_s; /* 0: no limit. */
    /* A disk has no more cells left than this when its node starts; 0: all that there are. */
    uint32_t cells_left_max;
    uint64_t revision;
    /* All disks are known: the registries are to be made. */
    void (*known)(struct cluster *c);
    /* A node's process has ended, with the power of its machine or not. */
    void (*ended)(struct cluster_node *n, enum sim_exit how);
    bool is_known;
};

/* Makes machines and disks, and starts all nodes.  The counts and times are set. */
void cluster_start(struct cluster *c);

static inline bool cluster_node_is_alive(const struct cluster_node *n)
{
    return n->process != NULL && sim_process_is_alive(n->process);
}

/* Starts a node, if it is not alive. */
void cluster_spawn(struct cluster_node *n);

/* Asks for an orderly end; false: it is not up. */
bool cluster_stop(struct cluster_node *n);

/* Gives the volume to another node. */
void cluster_move(struct cluster *c, unsigned volume, unsigned node);

/* 11.10: if it may be. */
void cluster_set_min_in_sync(struct cluster *c, unsigned volume, uint32_t min_in_sync);

/* Wants some replica of the volume to be moved to another node, or to any (-1); false: it cannot
 * be.
 */
bool cluster_want_move(struct cluster *c, unsigned volume, int node);

/* Takes back what is wanted to be moved. */
void cluster_take_back(struct cluster *c, unsigned volume);

/* For registry.changed; the context is the volume: its placement follows the record (9.13, 9.20).
 */
void cluster_record_changed(void *ctx, const struct group *was, const struct group *now);

/* Wants the volume verified, once. */
void cluster_verify(struct cluster *c, unsigned volume);

/* Whether its node serves the volume now. */
bool cluster_serves(const struct cluster *c, unsigned volume);

/* Whether an engine of the volume changes its members, or is about to. */
bool cluster_is_changing(const struct cluster *c, unsigned volume);

/* Whether all replicas of the volume are in sync, as the record says. */
bool cluster_is_in_sync(const struct cluster *c, unsigned volume);

struct cluster_disk *cluster_disk(struct cluster *c, uint32_t disk);

struct io_addr cluster_addr(const struct cluster *c, unsigned node);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated node that serves one volume of several replicas on its own disks: real stores, the
 * real engine and the real target, in a process that is killed and started again.
 *
 *   disks --> (ballast) --> (audit) --> epoch --> volume_open() --> the hosts may come
 *               ^           ^            |                   |
 *               |           +- not yet, -+                   |
 *               |             or fenced (7.8)                v
 *             spawn <------------------------- killed, or an orderly end
 *
 * It stands in for src/node (cluster.h), so that what happens between its steps can be seen.
 *
 * Threading: the process's; what says so is called by the script, as the world.
 * Memory:    struct serving is the world's; a life is its process's.
 */
#ifndef TESTS_SIM_SERVING_H
#define TESTS_SIM_SERVING_H

#include "ballast.h"
#include "registry.h"
#include "watch.h"

#define SERVING_DISKS_MAX    4
#define SERVING_REACTORS_MAX 3
#define SERVING_SHARDS_MAX   8
#define SERVING_REGIONS_MAX  4   /* Of a shard. */
#define SERVING_BLOCKS_MAX   256 /* That the host uses. */
#define SERVING_PORT         4420

struct audit_report;
struct serving;
struct serving_life;

struct serving_disk {
    struct serving *serving;
    char path[16];
    struct sim_disk *disk;
    struct uuid uuid; /* From the first life on. */
    bool absent;      /* In the next lives. */
    bool is_new;      /* It takes the place of another one, which has the UUID. */
    bool may_fail;    /* To be opened. */
    struct ballast ballast;
    /* Of the current life. */
    uint64_t incarnation; /* As it was opened; 0: it was not. */
};

/* Where a block of the host's lies. */
struct serving_block {
    uint32_t shard;
    uint64_t offset;
};

struct serving_ops {
    /* The disks were formatted, and have UUIDs: the registry is to be made.  In the process. */
    void (*known)(struct serving *s);
    /* The engine is open, and no host is let in yet.  In the process. */
    void (*opened)(struct serving *s, bool waited);
    /* What the disks hold, before an engine has them.  In the process. */
    void (*audited)(struct serving *s, const struct audit_report *report);
    /* As the world. */
    void (*ended)(struct serving *s, enum sim_exit how);
};

struct serving {
    struct run *run;
    struct sim_machine *machine;
    const struct serving_ops *ops;
    struct registry registry;
    struct watch watch;
    bool known;
    struct store_volume volume;
    const char *nqn;
    struct volume_placement shards[SERVING_SHARDS_MAX];
    uint32_t shard_count;
    struct serving_block blocks[SERVING_BLOCKS_MAX];
    uint64_t block_count;
    struct serving_disk disks[SERVING_DISKS_MAX];
    unsigned disk_count;
    unsigned reactor_count;
    bool audits;       /* The next life begins with an audit ... */
    bool audits_alone; /* ... and nothing follows. */
    unsigned
        closes; /* In an orderly end the machine loses its power after so many disks; 0: not. */
    uint64_t wait_ns;            /* 7.4: for members that may have everything promised. */
    uint64_t replica_timeout_ns; /* 0: as usual. */
    uint64_t resync_bytes_per_s; /* 0: no limit. */

    struct sim_process *process;
    struct serving_life *life; /* NULL: none; or it has not begun. */
    bool serves;               /* Hosts may be connected. */
};

/* Starts a life, if there is none. */
void serving_spawn(struct serving *s);

/* A disk that was absent is there again while the volume is served; false: it cannot be told now.
 * As the world. */
bool serving_return(struct serving *s, unsigned disk);

/* Asks for an orderly end; false: it does not serve, or is busy.  As the world. */
bool serving_stop(struct serving *s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node: its disks with their stores, its target, and the volumes that it is told to serve.
 *
 *   node_create --> node_join --> opened() --> node_apply, node_apply, ... --> node_stop
 *                      |                          |
 *                      +- opens disks, target     +- opens, changes, closes, deletes volumes
 *
 * It serves what node_apply() said last, for as long as it runs, and asks for nothing but epochs.
 * Who speaks for it with a controller (agent.h), or plays one in a simulation, is behind struct
 * node_ops.
 *
 * Threading: everything here, callbacks included, runs on reactors[0], home.  Disks are dealt
 *            over all reactors.
 * Memory:    the node owns its disks' devices and its buffer pools.
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "disk/dev.h"
#include "io/reactor.h"
#include "node/agent.h"
#include "node/desired.h"
#include "node/group_client.h"
#include "repl/lease.h"

#define NODE_DISKS_MAX    256u  /* More would not fit into one machine. */
#define NODE_VOLUMES_MAX  1024u /* One NVMe subsystem each. */
#define NODE_REACTORS_MAX 64u
#define NODE_HEARD_MAX    255u /* Other nodes that a report names. */
/* What is worth setting: the checksums of a gibibyte. */
#define NODE_CHECKSUM_BYTES_MIN ((uint64_t)1 << 20)

struct node;

/* Opens the disk's device, on the reactor that will own it. */
typedef struct status node_dev_open_fn(void *ctx, struct reactor *r, struct dev **out_dev);

struct node_disk_config {
    char name[STORE_NAME_BYTES]; /* Such as "node-1/disk-1". */
    char path[NODE_PATH_BYTES];  /* For messages, and to name it by. */
    bool force;                  /* Format it whatever it holds, if it is no Trilith disk. */
    uint64_t checksum_bytes;     /* Of memory for its checksums; 0: for all of them. */
    uint32_t atomic_bytes;       /* If it is formatted, as store_format_config. */
    bool known;                  /* Was served before: without a superblock it is refused. */
    node_dev_open_fn *open;
    void *ctx;
};

struct node_ops {
    /* The answer to node_join().  A failure is the node's as a whole; problem says why. */
    void (*opened)(void *ctx, struct status status, const char *problem);
    /* Something that node_fill_report() tells has changed. */
    void (*changed)(void *ctx);
    /* As node_agent_take_epoch(). */
    struct status (*take_epoch)(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                void *done_ctx);
    /*
     * As the functions of group_client.h, for volumes of several replicas; NULL: they are not
     * served.  None is begun after node_stop(); those under way end with CANCELED then.
     */
    void (*group_get)(void *ctx, struct group_op *op);
    void (*group_take)(void *ctx, struct group_op *op, uint64_t known_epoch);
    void (*group_commit)(void *ctx, struct group_op *op, const struct group *was,
                         const struct group *now);
    /*
     * Asks the device at the path for its log (docs/health.md); node_take_device_log() follows if
     * it can be asked now.  NULL: none is asked.
     */
    struct status (*ask_device)(void *ctx, struct uuid disk, const char *path);
};

/*
 * How engines of other nodes use this one's stores (peer/server.h), and its engines theirs
 * (peer/link.h).  Those of the nodes that node_apply() names last as members may; before, none.
 */
struct node_stores_config {
    bool served; /* Otherwise they do not, and the rest is not looked at. */
    struct uuid node;
    struct lease_times leases;
};

struct node_config {
    struct reactor *const *reactors; /* Borrowed; the array is copied. */
    unsigned reactor_count;
    struct io_addr listen; /* Of the target. */
    bool has_advertise;
    struct io_addr advertise;    /* What discovery reports. */
    size_t buffer_bytes;         /* For data in flight, per reactor. */
    uint32_t commands_max;       /* As volume_config. */
    uint64_t replica_timeout_ns; /* Likewise. */
    uint64_t resync_bytes_per_s; /* That resyncs compare, of all volumes together; 0: no limit. */
    const struct node_disk_config *disks;
    unsigned disk_count;
    struct node_stores_config stores;
    struct log *log;
    const struct node_ops *ops;
    void *ctx;
};

/* Takes the configuration over; opens nothing yet.  LIMIT for too many disks or reactors. */
struct status node_create(const struct node_config *config, struct node **out_node) MUST_CHECK;

/*
 * Opens the disks and the target.  A blank disk is formatted for the cluster.  One that cannot be
 * used is reported, and the others are served.  opened() follows from the loop.
 */
void node_join(struct node *node, const struct node_membership *membership);

/*
 * From now on, this is what the node serves.  Only after opened().  NO_MEMORY: some volumes are
 * still as they were wanted before, and the report names the old revision; say it again later.
 */
struct status node_apply(struct node *node, const struct node_desired *desired) MUST_CHECK;

/* problem is "" if it was done; gone is the path of the disk that was given up, "" if none was. */
typedef void node_disk_done_fn(void *ctx, const char *problem, const char *gone);

/*
 * Takes one more disk, as node_join() takes those of the configuration; only after opened(), and
 * one change at a time.  done follows from the loop.  If the disk cannot be used, all is as it was.
 * One that is served already is no change, and one that could not be used is tried again; volumes
 * that miss it are opened anew with it.
 */
void node_add_disk(struct node *node, const struct node_disk_config *config,
                   node_disk_done_fn *done, void *ctx);

/*
 * Gives up the disk with this UUID, wherever it is, or what is at path if that could not be used
 * and is not known to be another disk; likewise.  It is kept if it holds shards, or a volume lies
 * there.  One that the node does not have is gone: whatever is at its path now is not given up.
 */
void node_remove_disk(struct node *node, struct uuid disk, const char *path,
                      node_disk_done_fn *done, void *ctx);

/*
 * Takes in what the device of the disk with this UUID has become larger by; likewise.  Commands go
 * on meanwhile.  If it has not become larger, or cannot be taken in, the disk is served as it was.
 */
void node_grow_disk(struct node *node, struct uuid disk, node_disk_done_fn *done, void *ctx);

/* What ask_device() has found; NULL: nothing new. */
void node_take_device_log(struct node *node, struct uuid disk, const struct device_log *log);

/* What is; lent until the next call. */
void node_fill_report(struct node *node, struct node_report *out_report);

/* Where the target listens; its port is 0 before opened(). */
struct io_addr node_addr(const struct node *node);

/*
 * Drops the hosts, closes volumes and disks in order, and frees the node; stopped follows from
 * the loop, last.  May be called at any time, once.
 */
void node_stop(struct node *node, void (*stopped)(void *ctx), void *ctx);

/* It has not stopped for too long: the log is told what it waits for. */
void node_tell_stuck(const struct node *node);

#endif

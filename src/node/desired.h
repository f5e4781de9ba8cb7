/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the controller wants of a node, and what the node reports back, as plain structs: the
 * agent (agent.h) turns them into messages of api/trilith/v1/node.proto.
 *
 * Threading: values; whoever holds one.
 * Memory:    a struct node_desired and all it points at belong to the agent, and are lent for
 *            the call that hands them out.
 */
#ifndef NODE_DESIRED_H
#define NODE_DESIRED_H

#include "base/uuid.h"
#include "io/addr.h"
#include "node/health.h"
#include "nvme/nqn.h"
#include "store/store.h"
#include "volume/verify.h"
#include "volume/volume.h"

#define NODE_REASON_BYTES 256
#define NODE_PATH_BYTES   256 /* Of a disk, with the terminating zero. */

/* ---- What the cluster is, from the first registration on. ---- */

struct node_membership {
    struct uuid cluster;
    char cluster_name[STORE_NAME_BYTES];
    uint32_t node_index; /* From 1; unique in the cluster: CNTLIDs follow from it. */
};

/* ---- Desired ---- */

/* Another disk for the slot of a copyset. */
struct node_desired_replacement {
    uint32_t copyset;
    uint32_t slot;
    uint32_t was, disk; /* Indexes into node_desired.disks. */
    bool moves;         /* Also while the slot is in. */
};

/* Bad blocks of a volume's shard, of which a scrub of the disk has told. */
struct node_mend_order {
    uint64_t id;
    struct uuid disk;
    uint32_t shard;
    uint64_t offset; /* In the shard. */
    uint64_t bytes;
};

/* All that has data on a disk is to be read. */
struct node_scrub_order {
    uint64_t id;
    struct uuid disk;
    uint64_t from; /* A position that was reported. */
    uint64_t bytes_per_s;
    uint64_t answered;   /* Findings up to this number are dealt with. */
    uint64_t done_bytes; /* Before from. */
};

struct node_desired_volume {
    struct store_volume volume;
    struct nqn_text nqn;   /* Of its subsystem. */
    bool deleting;         /* Delete its shards everywhere, then report NODE_VOLUME_DELETED. */
    uint64_t delete_epoch; /* Deleting, of several replicas: with this epoch. */
    const struct nqn_text *allowed_hosts;
    uint32_t allowed_host_count; /* 0: every host. */
    uint32_t shard_count;
    /* volume.replicas numbers per shard: each an index into node_desired.disks. */
    const uint32_t *placement;
    /* Of several replicas, per shard the number of its copyset; NULL: that of its disks. */
    const uint32_t *copysets;
    const struct node_desired_replacement *replacements;
    uint32_t replacement_count;
    const uint32_t *leftovers; /* Disks to be rid of it, likewise. */
    uint32_t leftover_count;
    uint64_t verification; /* Verify it, once for each number; 0: none is wanted. */
    uint64_t verification_bytes_per_s;
    const struct node_mend_order *mends; /* Each once. */
    uint32_t mend_count;
};

/* Where a disk is that volumes of this node lie on. */
struct node_desired_place {
    char name[STORE_NAME_BYTES];      /* Such as "node-2/disk-1"; empty: it is not known. */
    struct uuid node;                 /* nil: it is not known. */
    char node_name[STORE_NAME_BYTES]; /* Such as "node-2"; empty: it is not known. */
    struct io_addr addr;              /* Of that node's target; port 0: it is not known. */
};

enum node_order_kind { NODE_ORDER_ADD, NODE_ORDER_REMOVE, NODE_ORDER_GROW };

/* A disk that the node shall take, make larger, or give up, once. */
struct node_order {
    uint64_t id;
    enum node_order_kind kind;
    char path[NODE_PATH_BYTES];
    char name[STORE_NAME_BYTES]; /* ADD: of a disk that is formatted. */
    bool force;                  /* ADD. */
    struct uuid disk;            /* REMOVE, GROW. */
};

/* The node's whole part.  A volume that is open and not in here is closed; its data is kept. */
struct node_desired {
    uint64_t revision; /* Name it in the next report. */
    const struct uuid *disks;
    const struct node_desired_place *places; /* One for each disk; NULL: nothing is known. */
    uint32_t disk_count;
    const struct node_desired_volume *volumes;
    uint32_t volume_count;
    const struct node_order *orders; /* Not reported on yet; for whoever has the disks' paths. */
    uint32_t order_count;
    /* All nodes of the cluster: whose engines may use this node's stores. */
    const struct uuid *members;
    uint32_t member_count;
    const struct node_scrub_order *scrubs; /* Of this node's disks. */
    uint32_t scrub_count;
};

/* ---- Reported ---- */

enum node_volume_state {
    NODE_VOLUME_OPENING = 1, /* The numbers are those of enum VolumeReportState. */
    NODE_VOLUME_READY = 2,
    NODE_VOLUME_FAILED = 3,
    NODE_VOLUME_DELETED = 4,
};

/* A disk of a volume of several replicas that is not as it should be. */
struct node_volume_disk {
    struct uuid uuid;
    char problem[NODE_REASON_BYTES]; /* Empty: it is being resynced. */
    bool unusable;                   /* The engine has no session with it, or it fails commands. */
    bool holds_writes;               /* They wait for it: it cannot be set out of sync. */
    uint64_t resync_bytes;           /* To be compared with the others, ... */
    uint64_t resynced_bytes;         /* ... and of these, so many have been. */
};

/* What is known of the verification that is wanted. */
struct node_verification {
    uint64_t id;
    bool ended;
    struct status status; /* Ended: OK, or why before the end. */
    struct volume_verify result;
};

/* What became of a node_mend_order. */
struct node_mend_result {
    uint64_t id;
    struct status status; /* OK: it was tried. */
    uint64_t address;     /* UINT64_MAX: it has none. */
    uint32_t repaired_blocks;
    uint32_t unreadable_blocks;
};

struct node_volume_report {
    struct uuid uuid;
    enum node_volume_state state;
    char reason[NODE_REASON_BYTES]; /* FAILED: why.  READY: why it cannot grow. */
    uint64_t epoch;
    uint64_t used_bytes;
    uint64_t bytes;                 /* READY: that hosts see. */
    uint64_t resync_compared_bytes; /* READY: since it was opened. */
    uint64_t resync_copied_bytes;
    const struct nqn_text *connected_hosts; /* Borrowed until fill_report() is called again. */
    uint32_t connected_host_count;
    const struct node_volume_disk *disks; /* Likewise. */
    uint32_t disk_count;
    const struct uuid *forgotten; /* Likewise.  Leftovers that have nothing of it any more. */
    uint32_t forgotten_count;
    const struct node_verification *verification; /* Likewise; NULL: none was begun. */
    const struct volume_range *unreadable;        /* Likewise: volume_get_unreadable(). */
    uint32_t unreadable_count;
    bool unreadable_more;
    const struct node_mend_result *mends; /* Likewise. */
    uint32_t mend_count;
};

/* How far a scrub is. */
struct node_scrub_report {
    uint64_t id; /* 0: none was begun. */
    uint64_t position;
    uint64_t done_bytes;
    uint64_t all_bytes;
    bool ended;
    uint64_t finding; /* Number of what was found, and waits for an answer; 0: nothing. */
    struct uuid volume;
    uint32_t shard;
    uint64_t offset; /* In the shard. */
    uint64_t bytes;
};

struct node_disk_report {
    struct uuid uuid;
    char name[STORE_NAME_BYTES]; /* Such as "node-1/disk-1". */
    char path[NODE_PATH_BYTES];
    char backend[16];
    char model[48];
    char serial[48];
    uint64_t bytes; /* For data. */
    uint64_t free_bytes;
    uint32_t atomic_bytes;
    uint64_t media_errors;
    uint64_t checksum_bytes; /* Of memory that checksums take, and may take. */
    uint64_t checksum_budget_bytes;
    struct node_scrub_report scrub;
    char failure[NODE_REASON_BYTES]; /* Empty: it works. */
    enum health_state health;
    char health_reason[HEALTH_REASON_BYTES];
    uint64_t health_since_unix_ms;
    uint64_t read_ns[2]; /* As struct health_window. */
    uint64_t write_ns[2];
    char device_log[DEVICE_LOG_TEXT_BYTES]; /* As device_log.summary; empty: not read yet. */
};

/* A disk that could not be used, whose UUID may be unknown. */
struct node_disk_problem {
    char path[NODE_PATH_BYTES];
    char text[NODE_REASON_BYTES];
};

struct node_order_result {
    uint64_t id;
    char problem[NODE_REASON_BYTES]; /* Empty: it was done. */
};

/* Arrays are the node's, and lent to the agent until it asks again. */
struct node_report {
    uint64_t revision; /* Of the desired state that this is about; 0 before the first. */
    const struct node_disk_report *disks;
    uint32_t disk_count;
    const struct node_disk_problem *problems;
    uint32_t problem_count;
    const struct node_volume_report *volumes;
    uint32_t volume_count;
    const struct node_order_result *results;
    uint32_t result_count;
    const struct uuid *heard; /* Nodes whose engines are connected with this one's stores. */
    uint32_t heard_count;
    uint64_t refusals[STATUS_COUNT]; /* Commands of other nodes, by what was answered. */
    uint64_t io_features; /* URING_FEATURE_*: what all reactors use.  From who made them. */
};

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the server share.
 *
 *   server.c          its life, links, disks that come and go     home
 *   server_open.c     OPEN                                        7.2, 7.3, 4.1 to 4.3
 *   server_session.c  sessions of a disk, and leases by them      4, 8.3, 8.5
 *   server_op.c       a command's way there and back              5.3, 2.4
 *   server_execute.c  what each command does
 *
 * Why one reactor's check is enough (I2, S4): a session lives on the reactor of its disk, and every
 * command of it goes there before it is checked.  The store supersedes it on that same reactor, so
 * from then on no command passes, on whichever queue it came.
 *
 * The seal count is one for each engine's node, and all reactors read it.  It is raised after the
 * superseded session is refused, and read with the check of a session: who reads the new one comes
 * after the refusal.
 */
#ifndef PEER_SERVER_INTERNAL_H
#define PEER_SERVER_INTERNAL_H

#include <stdatomic.h>

#include "peer/server.h"
#include "store/wire.h"

/* Commands under way of each reactor's queues; more wait, as they would in the stores. */
#define SERVER_OPS_MAX 1024u
/* Of them, those whose items the store has in another form. */
#define SERVER_ITEMS_MAX    32u
#define SERVER_NODES_MAX    4096u  /* Engines' nodes that were ever here: a cluster has fewer. */
#define SERVER_SESSIONS_MAX 65535u /* Of a disk, so that a handle can name both. */
/* OPENs under way at a disk; one that hangs has those of links that are long gone, too. */
#define SERVER_OPENS_MAX 4096u
/* Log lines about peers, on each reactor: so many at once, then ten per second. */
#define SERVER_LOG_LINES   100
#define SERVER_LOG_LINE_NS (100 * NS_PER_MS)
/* Those about unknown shards, of which whoever verifies a volume asks for each block: fewer, and
 * they take nothing from the others. */
#define SERVER_LOG_UNKNOWN_LINES   2
#define SERVER_LOG_UNKNOWN_LINE_NS (5 * NS_PER_S)

/* An engine's node. */
struct server_node {
    struct list_node link; /* server.nodes */
    struct uuid uuid;
    struct lease_giver giver;
};

struct server_sweep {
    struct io_msg msg;
    struct server_link *link;
    unsigned reactor;
};

/* An association.  It stays until all of its commands and its sessions have ended, beside the next
 * one of its node. */
struct server_link {
    struct list_node link; /* server.links */
    struct server *server;
    struct server_node *node;
    bool closing;     /* Home's. */
    bool closed;      /* Likewise. */
    unsigned unswept; /* Reactors where sessions may be left. */
    struct server_sweep sweeps[];
};

/* An ownership group on a disk, as far as engines of other nodes have had it. */
struct server_group {
    struct list_node link; /* server_disk.groups */
    struct uuid volume;
    uint32_t group;
    unsigned opens; /* Under way. */
    struct lease_guard guard;
    struct server_node *holder; /* Of the lease, if one is held. */
};

struct server_session {
    struct server_disk *disk;
    uint32_t handle;
    struct server_link *link;
    struct server_group *group;
    struct store_session *store;
    uint64_t epoch;
    uint64_t number;
    uint64_t incarnation; /* With which its OPEN was answered. */
    uint64_t generation;  /* The highest that the volume had here then. */
};

struct server_disk {
    struct server *server;
    unsigned slot;
    struct reactor *reactor;

    /* Home's. */
    bool present;
    struct uuid uuid;
    void (*removed)(void *ctx);
    void *removed_ctx;

    /* The disk's reactor's. */
    struct store *store; /* NULL: there is none. */
    struct store_leases leases;
    struct lease_store clock;
    struct server_session **sessions; /* By the index in their handles. */
    uint32_t session_room;
    uint32_t session_next;
    struct list groups;
    struct list opens;
    unsigned open_count;
    uint64_t commands; /* That the store has. */
    bool leaving;

    struct store *coming; /* With add_msg. */
    struct io_msg add_msg;
    struct io_msg msg;
};

/* What commands with items need besides. */
struct server_items {
    struct list_node link;
    union {
        struct store_set sets[STORE_COPYSETS_MAX];
        struct store_region regions[STORE_REGIONS_MAX];
        struct store_hash hashes[STORE_HASHES_MAX];
        struct store_point points[STORE_POINTS_MAX];
    } u;
};

/* A command but OPEN. */
struct server_op {
    struct list_node link; /* Free, or waiting for items. */
    struct io_msg msg;
    struct server_shard *shard;
    struct server_share *share;
    struct nvme_vendor_req *req;
    struct wire_command command;
    struct server_disk *disk;
    struct server_link *owner;
    struct server_items *items;
    struct store_io io;
    bool submitted; /* The store has had it: done comes from the loop. */
    struct status status;
    uint32_t seals;       /* The count, from when it was let through. */
    uint32_t incarnation; /* Low 32 bits. */
};

/* What a disk's commands have of a pool, and those that wait for it. */
struct server_claim {
    struct list_node link; /* server_pool.waiting, if any wait. */
    unsigned held;
    struct list waiting;
};

/* A claim may have as much of it as it leaves free: so a disk that hangs has half at most, two have
 * a third each, and others always get some (W2). */
struct server_pool {
    struct list free;
    unsigned free_count;
    struct list waiting; /* server_claim.link */
};

struct server_share {
    struct server_claim ops;   /* nvme_vendor_req wait. */
    struct server_claim items; /* server_op wait. */
};

/* Log lines of one kind.  Time that the lines so far have used up runs ahead of the clock by at
 * most that of so many. */
struct server_lines {
    uint64_t used_until_ns;
    uint64_t left_out;
};

/* What each reactor has for the queues on it. */
struct server_shard {
    struct server *server;
    struct reactor *reactor;
    struct server_op *ops;
    struct server_items *items;
    struct server_pool free_ops;
    struct server_pool free_items;
    /* Of each disk, and of the commands that wait for none. */
    struct server_share shares[SERVER_DISKS_MAX + 1];
    struct server_lines lines;
    struct server_lines unknown_lines;
    _Atomic uint64_t counts[STATUS_COUNT];
};

/* OPEN. */
struct server_open {
    struct list_node link; /* server_disk.opens */
    struct io_msg msg;
    struct server *server;
    struct nvme_vendor_req *req;
    struct server_link *owner; /* NULL: it was abandoned, and answered. */
    struct wire_command command;
    struct wire_open wire;
    struct server_disk *disk;
    struct server_group *group;
    uint32_t handle; /* Of its session, once there is one. */
    struct store_session_opened opened;
    struct store_io io; /* SET. */
    struct status status;
    uint32_t seals;
    struct store_set sets[]; /* As many as it has. */
};

struct server {
    struct nvme_vendor vendor;
    struct reactor *home;
    unsigned reactor_count;
    struct uuid cluster;
    struct lease_times times;
    bool (*allows)(void *ctx, struct uuid node);
    void *ctx;
    struct server_shard *shards;
    struct server_disk *disks; /* SERVER_DISKS_MAX of them. */

    /* Home's. */
    struct list nodes;
    unsigned node_count;
    struct list links;
    unsigned disk_count; /* Present, or being removed. */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct io_task stop_task;
};

static inline struct server_shard *server_shard_of(struct server *server,
                                                   const struct reactor *reactor)
{
    struct server_shard *const shard = &server->shards[reactor->index];

    assert(shard->reactor == reactor);
    return shard;
}

/* ---- server.c ---- */

/* A disk's sessions and commands have perhaps ended: it may be waited for. */
void disk_check_left(struct server_disk *disk);

/* ---- server_session.c, on the disk's reactor ---- */

/* The disk of a handle, whether it is there or not; NULL: no handle can name it. */
struct server_disk *server_disk_of(struct server *server, uint32_t handle);

/* The session that a command of this link names; NULL if there is none. */
struct server_session *session_find(struct server_disk *disk, const struct server_link *link,
                                    const struct wire_command *command);

/* Makes one of what the store has opened.  NO_MEMORY, LIMIT. */
struct status session_make(struct server_open *open,
                           struct server_session **out_session) MUST_CHECK;

/* Ends a session: its commands that are under way end by themselves.  The lease stays. */
void session_end(struct server_session *session);

/* Ends the sessions of a link; NULL: of all. */
void sessions_end(struct server_disk *disk, const struct server_link *link);

/* Ends other sessions of the same link and group. */
void sessions_end_older(const struct server_session *than);

/* The group's entry, made if need be; NULL without memory. */
struct server_group *group_get(struct server_disk *disk, struct uuid volume, uint32_t group);

/* The volume is gone, or the disk: nobody can hold a lease by it. */
void group_free(struct server_group *group);

/* What the store asks of each session that begins, of this process's engines, too. */
void leases_init(struct server_disk *disk);

/* ---- server_open.c ---- */

/* On the reactor of the queue. */
void open_submit(struct server *server, struct nvme_vendor_req *req,
                 const struct wire_command *command);

/* OPENs of a link, or of all (NULL), are answered, and open no session any more; on the disk's
 * reactor. */
void open_abandon(struct server_disk *disk, const struct server_link *link);

/* ---- server_op.c ---- */

/* What a reactor's queues have commands of: all of it is free. */
void op_init_pools(struct server_shard *shard);

void op_submit(struct server_shard *shard, struct nvme_vendor_req *req,
               const struct wire_command *command);

/* Ends a command, on the disk's reactor. */
void op_finish(struct server_op *op, struct status status);

/* Counts what a command ends with, and logs a failure, on the reactor of its queue.  NULL: its
 * entry says nothing that could be. */
void server_note(struct server_shard *shard, const struct nvme_vendor_req *req,
                 const struct wire_command *command, struct status st);

/* Fills in a completion, counts it and logs it, on the reactor of its queue; calls done. */
void server_answer(struct server_shard *shard, struct nvme_vendor_req *req,
                   const struct wire_command *command, struct status status,
                   struct wire_answer answer);

/* ---- server_execute.c ---- */

/* Whether the command needs struct server_items. */
bool op_needs_items(enum wire_opcode opcode);

/* What can be checked of its data; on the reactor of its queue. */
struct status op_check_data(struct server_op *op) MUST_CHECK;

struct store_set set_from_wire(struct wire_set w, uint64_t sequence);

/* Carries out a command that was let through, of this session. */
void op_execute(struct server_op *op, struct server_session *session);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's side of the store protocol: what a node does with the commands that engines of other
 * nodes send to its stores.  docs/replication.md, sections 2, 4 and 8.
 *
 *   target -- struct nvme_vendor --> server --(message to the disk's reactor)--> store
 *             home: associations               session, epoch: checked there, and there alone
 *
 * An association is a link.  OPEN makes a session on it, as store_session_open() does for an engine
 * of this process: both come to the same list of the store's, and whichever has the newer epoch
 * ends the other.  The end of the link ends its sessions, but not the leases: a seal waits for
 * these, whoever asks for it (8.3, 8.5).
 *
 * Threading: every function here is called on the home reactor, config.reactors[0].
 * Memory:    the server owns what it creates; stores are borrowed from server_add_disk() until
 *            server_remove_disk() is done.  A command takes its memory from a pool of its reactor,
 *            and waits if its disk has as much as is left free; an OPEN allocates.
 */
#ifndef PEER_SERVER_H
#define PEER_SERVER_H

#include "base/status.h"
#include "base/uuid.h"
#include "io/reactor.h"
#include "nvme/vendor.h"
#include "repl/lease.h"
#include "store/store.h"

#define SERVER_DISKS_MAX 256u

struct server;

struct server_config {
    struct reactor *const *reactors; /* Borrowed until destroy; the array is copied. */
    unsigned reactor_count;
    struct uuid cluster;
    struct lease_times leases;
    /* Whether engines of this node may connect: it belongs to the cluster. */
    bool (*allows)(void *ctx, struct uuid node);
    void *ctx;
};

/* NO_MEMORY. */
struct status server_create(const struct server_config *config,
                            struct server **out_server) MUST_CHECK;

/* What its subsystem is given; valid until server_destroy(). */
struct nvme_vendor *server_vendor(struct server *server);

/*
 * From now on, engines of other nodes may open sessions on the disk; its store's reactor is
 * config.reactors[slot % reactor_count].  The slot, below SERVER_DISKS_MAX, has no disk.  No engine
 * has a session there yet: leases of before are waited for from now on (8.5).
 */
void server_add_disk(struct server *server, unsigned slot, struct uuid disk, struct store *store);

/*
 * Ends the sessions of other nodes' engines on the disk, if the slot has one; done follows from the
 * loop when none of their commands runs there any more.
 */
void server_remove_disk(struct server *server, unsigned slot, void (*done)(void *ctx), void *ctx);

/*
 * Removes all disks; done follows from the loop.  The target has stopped: no association is left,
 * and none comes.
 */
void server_stop(struct server *server, void (*done)(void *ctx), void *ctx);

/* Frees a server that was stopped, or never had a disk or an association.  NULL is allowed. */
void server_destroy(struct server *server);

/* The nodes whose engines have a link now, no more than max of them.  Returns how many. */
unsigned server_heard(const struct server *server, struct uuid *out_nodes, unsigned max);

/* How many commands have ended with each status.  Any thread. */
void server_count(const struct server *server, uint64_t out_counts[STATUS_COUNT]);

#endif

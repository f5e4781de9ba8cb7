/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe/TCP target of a node: ports, subsystems, controllers and the discovery service.
 *
 *                     home reactor                         any reactor (a shard)
 *   accept ----> port -----------------------------------> connection = queue pair
 *                subsystems, controllers  <-- Connect, admin commands, closing --
 *                                         -- replies, kill ------------------->
 *                                                           I/O commands --> namespace, vendor
 *
 * Everything that is rare lives on the home reactor: subsystems, controllers, admin commands.
 * Connections are spread over all reactors; I/O commands never leave theirs.
 *
 * Threading: every function here is called on the home reactor, config.reactors[0].
 * Memory:    the target owns what it creates; namespaces are borrowed from the layer above.
 */
#ifndef NVME_TARGET_H
#define NVME_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/uuid.h"
#include "io/addr.h"
#include "nvme/nqn.h"
#include "nvme/ns.h"
#include "nvme/vendor.h"

struct buf_pool;
struct nvme_subsys;
struct nvme_target;
struct reactor;

struct nvme_target_config {
    struct reactor *const *reactors; /* Borrowed until destroy; the array is copied. */
    struct buf_pool *const *pools;   /* One per reactor; likewise. */
    unsigned reactor_count;
    size_t r2t_pool_bytes; /* Memory per reactor for data asked for by R2T; 0 for the default. */
    unsigned node_index;   /* 0 to NVME_NODES_MAX - 1: gives this node its controller ids. */
    /* What one connection may hold of the pool, and again of the one for R2Ts.  0 for the
     * default; at least NVME_DATA_BYTES_MAX. */
    size_t connection_quota_bytes;
    unsigned connections_max; /* 0 for NVME_CONNECTIONS_MAX. */
    unsigned commands_max;    /* Entries of all queues; 0 for NVME_COMMANDS_MAX. */
    /*
     * Whether a subsystem that is not there may come: a Connect to it is told to try again, where
     * a host that was told "no such subsystem" gives its block device up.  NULL: none comes.
     */
    bool (*expects)(void *ctx, const char *nqn);
    void *ctx;
};

/* Creates a target without ports or subsystems.  INVALID for a config outside its limits. */
struct status nvme_target_create(const struct nvme_target_config *config,
                                 struct nvme_target **out_target) MUST_CHECK;

/*
 * Listens on an address (port 0 picks one).  advertise is what discovery reports; NULL for the
 * address that the asking host used.  LIMIT after NVME_PORTS_MAX.
 */
struct status nvme_target_listen(struct nvme_target *target, const struct io_addr *on,
                                 const struct io_addr *advertise,
                                 struct io_addr *out_bound) MUST_CHECK;

/* Closes ports, drops connections and waits for their requests; done follows from the loop.
 * Subsystems stay, without hosts. */
void nvme_target_stop(struct nvme_target *target, void (*done)(void *ctx), void *ctx);

/* Frees a target that was stopped, or never listened, with its subsystems.  NULL is allowed. */
void nvme_target_destroy(struct nvme_target *target);

struct nvme_subsys_config {
    const char *nqn;
    const char *serial;       /* Up to 20 printable ASCII characters. */
    const char *model;        /* Up to 40; NULL for "Trilith". */
    struct nvme_ns *ns;       /* Borrowed until the subsystem is removed; becomes NSID 1. */
    const char *const *hosts; /* NQNs of the hosts allowed; copied. */
    unsigned host_count;      /* 0: any host. */
    /*
     * In place of ns and hosts: the subsystem has no namespace, takes a vendor's commands alone, on
     * its I/O queues, and is not told to hosts by discovery.  Borrowed likewise.
     */
    struct nvme_vendor *vendor;
    /* A host's controller has come or gone; from the loop.  NULL is allowed. */
    void (*hosts_changed)(void *ctx);
    void *ctx;
};

/*
 * Adds a subsystem with one namespace, or with a vendor's commands.  EXISTS if the NQN is there,
 * INVALID for a malformed NQN, serial or namespace, or both or none of the two, LIMIT for more than
 * NVME_ALLOWED_HOSTS_MAX hosts.
 */
struct status nvme_subsys_add(struct nvme_target *target, const struct nvme_subsys_config *config,
                              struct nvme_subsys **out_subsys) MUST_CHECK;

/* Of a volume: replaces the list of hosts allowed; connected hosts that are not in it are dropped.
 */
struct status nvme_subsys_set_hosts(struct nvme_subsys *subsys, const char *const *hosts,
                                    unsigned host_count) MUST_CHECK;

/* Of a vendor: it allows other hosts than before; connected ones that it does not are dropped. */
void nvme_subsys_hosts_changed(struct nvme_subsys *subsys);

/* Of a volume: tells the hosts that the namespace has changed (its size).  Takes its new size over.
 */
void nvme_subsys_ns_changed(struct nvme_subsys *subsys);

/*
 * Removes a subsystem: hosts are refused from now on, connected ones dropped; when their requests
 * have ended the subsystem is freed and done is called, from the loop.
 */
void nvme_subsys_remove(struct nvme_subsys *subsys, void (*done)(void *ctx), void *ctx);

/* Writes the NQNs of the hosts that have a controller, each once, and returns how many: at most
 * max. */
unsigned nvme_subsys_connected_hosts(const struct nvme_subsys *subsys, struct nqn_text *out_nqns,
                                     unsigned max);

/* For status displays. */
struct nvme_subsys_stats {
    unsigned controllers;
    unsigned io_queues;
};

void nvme_subsys_stats(const struct nvme_subsys *subsys, struct nvme_subsys_stats *out_stats);

#endif

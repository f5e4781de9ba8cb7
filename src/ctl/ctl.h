/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller's logic: the API's services over the meta store, without sockets or threads.
 *
 *     hosts of the API --> services --> records in the meta store --> watch --> nodes
 *                             ^                                                   |
 *                             +------ observed (soft: what nodes report) <--------+
 *
 * Desired state is in the meta store alone; what nodes report is kept in memory, and comes back
 * by itself after a restart.
 *
 * Threading: one thread, that of the loop.  Calls that wait are kept in lists; nothing blocks but
 *            the meta store.
 * Memory:    the controller owns its lists; meta store, loop and log are borrowed.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/log.h"
#include "base/uuid.h"
#include "meta/meta.h"
#include "rpc/call.h"
#include "rpc/loop.h"

struct ctl;

struct ctl_config {
    struct meta *meta;
    struct rpc_loop *loop; /* Its turn_end is taken over. */
    struct log *log;
    const char *cluster_name; /* Of a new cluster; an existing one keeps its own. */
    const char *version;
    uint64_t rebuild_after_ns; /* What is away for so long is replaced; 0: at once. */
};

/* In its place: never. */
#define CTL_REBUILD_NEVER UINT64_MAX

enum ctl_service {
    CTL_SERVICE_VOLUME,
    CTL_SERVICE_DISK,
    CTL_SERVICE_NODE,
    CTL_SERVICE_STATUS,
    CTL_SERVICE_GROUP,
    CTL_SERVICE_COUNT
};

/* Reads or makes the cluster's record. */
struct status ctl_create(const struct ctl_config *config, struct ctl **out_ctl) MUST_CHECK;

const struct rpc_service *ctl_service(const struct ctl *ctl, enum ctl_service which);

/* The address that GetStatus reports for this controller; copied. */
void ctl_set_address(struct ctl *ctl, const char *address);

/* Ends all calls that are kept: the server is stopping. */
void ctl_stop(struct ctl *ctl);

/* No call is kept.  NULL is allowed. */
void ctl_destroy(struct ctl *ctl);

struct uuid ctl_cluster_uuid(const struct ctl *ctl);

#endif

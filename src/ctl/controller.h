/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller: the services of ctl.h on a SQLite meta store behind a gRPC server.
 *
 * Threading: start and stop from the owner's thread; the controller has one of its own, on which
 *            all handlers run and on which the meta store's commits wait for the disk.
 * Memory:    owns everything that it opens.  rpc_library_init() must have been called.
 */
#ifndef CTL_CONTROLLER_H
#define CTL_CONTROLLER_H

#include "base/log.h"
#include "base/status.h"
#include "base/uuid.h"

#define CONTROLLER_PROBLEM_BYTES 320

struct controller;

struct controller_config {
    const char *meta_path;    /* "DIR/meta.db"; created if it is not there. */
    const char *listen;       /* "127.0.0.1:7420" or "[::]:7420"; port 0 picks one. */
    const char *cluster_name; /* Of a new cluster. */
    const char *version;
    struct log *log;
    const char *token;         /* That nodes must name; NULL: none. */
    uint64_t rebuild_after_ns; /* As in ctl.h. */
    bool has_nodes;            /* They have joined: the database must be there. */
};

/* On failure problem says what, why and what to do. */
struct status controller_start(const struct controller_config *config,
                               char problem[CONTROLLER_PROBLEM_BYTES],
                               struct controller **out_controller) MUST_CHECK;

/* Where it listens. */
uint16_t controller_port(const struct controller *controller);

struct uuid controller_cluster(const struct controller *controller);

/* Ends held calls, waits for the rest, closes the meta store, frees.  NULL is allowed. */
void controller_stop(struct controller *controller);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf's connections: a controller and some I/O queues, made again when they are lost.
 *
 *   start() --> up() --> down() --> up() ... --> down() --> ended()
 *                  lost       again, within reconnect_ns
 *
 * Threading: one reactor.   Memory: allocates when it connects.
 */
#ifndef CMD_PERF_SESSION_H
#define CMD_PERF_SESSION_H

#include "nvme/initiator.h"

struct perf_session;

struct perf_session_ops {
    /* All queues are ready. */
    void (*up)(struct perf_session *s);
    /* After up(): some queue or the controller was lost, or stop() was called; every command has
     * had its done, or will have before the next callback from here. */
    void (*down)(struct perf_session *s, struct status why);
    /* Called once, last: OK after stop(). */
    void (*ended)(struct perf_session *s, struct status why);
};

#define PERF_CONNECTIONS_MAX 128

struct perf_session_config {
    const struct perf_session_ops *ops;
    void *ctx;
    struct reactor *reactor;
    struct initiator_endpoint endpoint;
    struct log *log;
    unsigned connections;  /* 1 to PERF_CONNECTIONS_MAX. */
    unsigned depth;        /* Commands at a time on each. */
    uint64_t reconnect_ns; /* How long a lost connection is tried for; 0: not at all. */
};

struct status perf_session_create(const struct perf_session_config *config,
                                  struct perf_session **out_session) MUST_CHECK;
void perf_session_start(struct perf_session *s);

/* Ends all; down(), if it is up, and ended() follow.  Commands in flight are lost. */
void perf_session_stop(struct perf_session *s);

/* Never started, or ended.  NULL is allowed. */
void perf_session_destroy(struct perf_session *s);

void *perf_session_ctx(const struct perf_session *s);
bool perf_session_is_up(const struct perf_session *s);

/* Valid while it is up. */
struct initiator_queue *perf_session_queue(const struct perf_session *s, unsigned index);
const struct initiator_ctrl_info *perf_session_info(const struct perf_session *s);
const struct initiator_ns_info *perf_session_ns(const struct perf_session *s);

#endif

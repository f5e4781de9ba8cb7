/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of `trilith perf`: connects, keeps the queues full until the time or the bytes are used
 * up, waits for what is in flight, disconnects.
 *
 *   start --> connect --> prepare (range, verify state) --> run --> drain --> close --> ended()
 *                                                          ^   |
 *                                                          +---+ lost, and connected again
 *
 * Threading: one reactor, which may be simulated.
 * Memory:    allocates when it starts; nothing per I/O.
 */
#ifndef CMD_PERF_RUN_H
#define CMD_PERF_RUN_H

#include "base/hist.h"
#include "cmd/perf_load.h"
#include "cmd/perf_state.h"
#include "cmd/perf_verify.h"
#include "nvme/initiator.h"

struct perf_run;

/* What was measured, of one kind of I/O. */
struct perf_counts {
    uint64_t bytes;
    struct hist latency_ns; /* Its count is the number of I/Os that succeeded. */
};

struct perf_stats {
    struct perf_counts reads;
    struct perf_counts writes;
    struct perf_counts flushes;
    uint64_t errors;     /* I/Os that a controller failed. */
    uint64_t lost;       /* I/Os whose fate a lost connection left unknown. */
    uint64_t elapsed_ns; /* From the first submission to the last completion. */
    uint64_t cpu_ns;     /* Of this process meanwhile, user and system. */
    uint64_t syscalls;   /* Of the reactor meanwhile. */
    uint64_t reconnects;
    uint64_t down_ns; /* Without a connection, of elapsed_ns. */
    struct perf_verify_counts verify;
};

/* Errors after which a run gives up. */
#define PERF_ERRORS_MAX 100

/* Wrong blocks that get a line each; a wrong volume would fill a disk with them. */
#define PERF_VIOLATIONS_TOLD 1000

struct perf_run_config {
    struct reactor *reactor;
    struct log *log;
    struct initiator_endpoint endpoint;
    unsigned connections;
    unsigned depth; /* Of each connection. */
    uint64_t reconnect_ns;

    enum perf_rw rw;
    unsigned read_percent;
    uint64_t io_bytes;
    uint64_t range_offset;
    uint64_t range_bytes; /* 0: to the end of the namespace. */
    uint64_t time_ns;     /* 0: no limit. */
    uint64_t bytes_max;   /* 0: no limit; if time_ns is 0 too, once over the range. */
    bool fua;
    uint64_t flush_every; /* A Flush after so many writes; 0: none. */
    uint64_t seed;

    bool verify;
    bool power_loss;
    uint64_t verify_run;      /* perf_block_id.run of a new state. */
    struct perf_state *state; /* Of an existing verify-state file, lent; or NULL. */
    const char *state_path;   /* Where to create one, or NULL for a state in memory. */

    void *ctx;
    uint64_t (*cpu_ns)(void); /* CPU time that this process has used. */
    /* A line for people: an I/O error, a loss, a lost connection. */
    void (*message)(void *ctx, const char *line);
    /* About once a second while it runs; may be NULL. */
    void (*progress)(void *ctx, const struct perf_stats *stats);
    /* Called once, last.  failed: something besides what stats say went wrong, and was told. */
    void (*ended)(void *ctx, const struct perf_stats *stats, bool failed);
};

struct status perf_run_create(const struct perf_run_config *config,
                              struct perf_run **out_run) MUST_CHECK;
void perf_run_start(struct perf_run *run);

/* Ends early, in order: what is in flight is waited for. */
void perf_run_stop(struct perf_run *run);

/* Never started, or ended.  NULL is allowed. */
void perf_run_destroy(struct perf_run *run);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What perf_run.c (the run's life) and perf_slot.c (its I/Os) share.
 *
 * Threading: the run's reactor.   Memory: see perf_run.h.
 */
#ifndef CMD_PERF_RUN_INTERNAL_H
#define CMD_PERF_RUN_INTERNAL_H

#include "base/list.h"
#include "base/sm.h"
#include "cmd/perf_run.h"
#include "cmd/perf_session.h"

/* One I/O at a time, over and over. */
struct perf_slot {
    struct initiator_io io;
    struct perf_run *run;
    struct list_node link; /* In run->parked, while no I/O is in flight. */
    unsigned connection;
    bool again; /* op was lost, and is tried again. */
    struct perf_op op;
    uint64_t start_ns;
    struct span data;
    uint32_t *floors; /* With verify: one word for each block of data. */
};

enum perf_run_state {
    PERF_RUN_IDLE,
    PERF_RUN_CONNECTING, /* The session's first up(). */
    PERF_RUN_RUNNING,    /* The time, the bytes, or perf_run_stop(). */
    PERF_RUN_DRAINING,   /* The I/Os in flight. */
    PERF_RUN_CLOSING,    /* The session's end. */
    PERF_RUN_ENDED,
};

struct perf_run {
    struct perf_run_config config;
    struct sm sm;
    struct perf_session *session;
    struct initiator_ns_info ns;
    struct perf_load load;
    struct perf_stats stats;
    bool failed;

    struct perf_slot *slots;
    unsigned slot_count;
    struct list parked;
    unsigned in_flight; /* Slots, and the Flush. */
    struct span memory; /* All slots' data. */
    uint32_t *floors;

    uint64_t bytes_left; /* To be submitted; UINT64_MAX: no limit. */
    uint64_t start_ns;
    uint64_t end_ns; /* Of the last completion. */
    uint64_t cpu_start_ns;
    uint64_t syscalls_start;
    uint64_t down_since_ns;
    struct io_timer timer; /* The deadline, or the next report of progress. */
    uint64_t deadline_ns;  /* UINT64_MAX: none. */

    /* One Flush at a time. */
    struct initiator_io flush_io;
    bool flush_busy;
    uint64_t flush_start_ns;
    uint64_t writes_since_flush;

    struct perf_state *own_state;
    struct perf_verify *verify;
    uint64_t violations;
};

/* ---- perf_slot.c ---- */

struct status perf_slots_create(struct perf_run *run) MUST_CHECK;
void perf_slots_destroy(struct perf_run *run);

/* Starts I/Os on all parked slots, as far as it can. */
void perf_slots_start(struct perf_run *run);

/* ---- perf_run.c ---- */

/* There is nothing more to submit: the run ends when nothing is in flight. */
void perf_run_drain(struct perf_run *run);

/* Whether reads that a lost connection took are made good before the run ends. */
bool perf_run_must_finish(const struct perf_run *run);

/* An I/O has ended: looks whether the run has. */
void perf_run_on_idle(struct perf_run *run);

void perf_run_message(struct perf_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

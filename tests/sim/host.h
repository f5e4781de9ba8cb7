/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated host: a process that uses the real initiator on a volume, reads and writes at
 * random, checks every answer against a history, and connects again when it loses the target.
 *
 * Threading: the host's reactor; the fields that the script reads are plain values.
 * Memory:    struct host and its buffers are the world's and outlive the process; what the
 *            initiator allocates is the process's.
 */
#ifndef TESTS_SIM_HOST_H
#define TESTS_SIM_HOST_H

#include "blame.h"
#include "history.h"
#include "nvme/initiator.h"
#include "run.h"

#define HOST_SLOTS_MAX   16
#define HOST_QUEUES_MAX  3
#define HOST_BLOCK_BYTES 4096u

struct host;

struct host_config {
    struct run *run;
    uint8_t number;          /* Those with the same are one host to the target. */
    struct history *history; /* Of one generation. */
    struct sim_machine *machine;
    struct io_addr target;
    const char *nqn;
    uint32_t block_bytes;  /* As the history counts; the LBA size, or a multiple of it. */
    uint64_t blocks;       /* That the host uses; the history has as many. */
    uint64_t group_blocks; /* They lie in groups of so many ... */
    uint64_t group_stride; /* ... that start so many blocks apart in the namespace. */
    uint64_t ops;          /* Until it rests. */
    bool lazy;             /* It seldom wants anything durable. */
    bool looks;            /* It changes nothing, and makes nothing durable. */
    uint64_t pace_ns;      /* It pauses up to so long between commands. */
    unsigned slots;        /* Commands at a time. */
    unsigned queues;
    uint32_t io_blocks_max;
    const struct blame *blame; /* What faults of the disks excuse; NULL: nothing. */
    bool copies;               /* It uses Copy; faults of disks cannot be traced through it. */
    bool aborts_are_exact;     /* What ends as aborted was not carried out. */
    bool no_space;             /* Writes of new blocks may find the volume full. */
    bool refused_is_undone;    /* What that refuses has no effect. */
};

struct host_slot {
    struct host *host;
    struct initiator_io io;
    struct history_op op;
    uint8_t *data; /* Aligned; io_blocks_max long. */
    bool busy;
    unsigned queue;  /* Where it was sent. */
    bool may_tell;   /* It may fail to tell of a loss. */
    bool unanswered; /* A change that may yet be carried out, until the host is connected again. */
    uint64_t mark;   /* Of blame, when it was submitted. */
    bool overwrites; /* All its blocks had data when it was submitted. */
};

enum host_state { HOST_DOWN, HOST_CONNECTING, HOST_UP, HOST_LEAVING };

struct host {
    struct host_config config;
    struct sim_process *process;
    struct reactor *reactor;
    enum host_state state;
    struct initiator_ctrl *ctrl;
    bool ctrl_stopping;
    bool orderly; /* It leaves of its own will, with nothing unanswered. */
    struct initiator_queue *queues[HOST_QUEUES_MAX];
    unsigned queues_alive;
    struct io_timer retry;
    struct host_slot slots[HOST_SLOTS_MAX];
    uint64_t started; /* Commands. */
    uint64_t answered;
    uint64_t verify_next; /* Blocks from here on are still to be read. */
    bool verifying;
    bool resting;          /* Everything is answered and verified. */
    bool loss_told;        /* A Flush has failed with Write Fault since the script reset it. */
    bool loss_since_start; /* The power was lost, at any time. */
    bool loss_due[HOST_QUEUES_MAX]; /* So a Flush or FUA may fail on this queue, once. */
    bool flushed;                   /* A Flush has succeeded since then. */
    bool power_lost;                /* Since the last connect, says the script. */
    uint64_t connects;
    struct initiator_cmd abort;
    bool abort_busy;
};

/* Starts the host's process. */
struct host *host_create(const struct host_config *config);

/* Lets it do so many more commands, then verify, then rest. */
void host_go_on(struct host *h, uint64_t ops, bool verify);

/* Cuts its connections, each with one chance in two.  As an event, and by the script. */
void host_cut(void *host);

/* For run_until(). */
bool host_is_resting(void *host);

#endif

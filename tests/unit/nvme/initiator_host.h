/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our initiator on a simulated machine, against our target on another.
 *
 * Threading: as target_harness.h.   Memory: host_destroy() frees all of it.
 */
#ifndef TESTS_UNIT_NVME_INITIATOR_HOST_H
#define TESTS_UNIT_NVME_INITIATOR_HOST_H

#include "nvme/initiator.h"
#include "target_harness.h"

#define HOST_WAIT_NS (30 * NS_PER_S)

/* A host with one controller and one I/O queue. */
struct host {
    struct th th;
    struct initiator_endpoint endpoint;
    struct initiator_ctrl *ctrl;
    struct initiator_queue *queue;
    struct log log;
    bool ctrl_ready, ctrl_ended, queue_ready, queue_ended;
    struct status ctrl_why, queue_why;
    unsigned events;
    bool no_namespace;                 /* Of what host_connect_ctrl() asks. */
    uint16_t qid;                      /* Of what host_open_queue() makes; 0: 1. */
    uint16_t budgets, budget_commands; /* Likewise. */
    uint32_t budget_bytes;
};

struct test_io {
    struct initiator_io io;
    unsigned dones;
    bool done;
};

struct host *host_create(const struct th_options *options);

void host_connect_ctrl(struct host *h);

void host_open_queue(struct host *h, uint16_t entries);

struct host *host_connected(const struct th_options *options, bool digests);

void host_destroy(struct host *h);

void submit(struct host *h, struct test_io *t);

struct status run_io(struct host *h, struct initiator_io io);

struct status transfer(struct host *h, enum initiator_opcode opcode, uint64_t offset,
                       struct span data);

/* Writes random data, reads them back, and looks at the namespace's memory too. */
void round_trip(struct host *h, uint64_t offset, size_t bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that means harm: it connects to a target and sends malformed PDUs, garbage, and correct
 * beginnings that go on wrongly, cut anywhere.  What the target must do is W1: end that
 * connection, with the termination PDU where one is due, and nothing else.
 *
 * Threading: its process's reactor.   Memory: the process's.
 */
#ifndef TESTS_SIM_HOSTILE_H
#define TESTS_SIM_HOSTILE_H

#include "io/addr.h"
#include "run.h"

struct hostile {
    struct run *run;
    struct io_addr target;
    uint64_t attacks_max;   /* Then it rests. */
    uint64_t target_deaths; /* The script counts them. */
    uint64_t attacks;       /* That have ended. */
    uint64_t answered;      /* Those that got the termination PDU they must get. */
};

/* For run_until(). */
bool hostile_is_resting(void *hostile);

/* Starts the process; *hostile is the caller's and outlives it. */
void hostile_start(struct hostile *hostile, struct sim_machine *machine);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors without a kernel, just enough for the engine: tasks, messages and timers.  All of them
 * run on the test's thread, one turn after another.
 */
#ifndef TESTS_VOLUME_LOOP_H
#define TESTS_VOLUME_LOOP_H

#include "io/reactor.h"
#include "io/timer_heap.h"

#define LOOP_REACTORS_MAX 4

struct loop_reactor {
    struct reactor reactor;
    struct io_msg *first;
    struct io_msg **last;
    struct list tasks;
    struct timer_heap timers;
};

struct loop {
    struct loop_reactor members[LOOP_REACTORS_MAX];
    struct reactor *reactors[LOOP_REACTORS_MAX];
    unsigned count;
};

void loop_init(struct loop *loop, unsigned count, struct log *log);

/* Runs turns until nothing is left to do but to wait for timers. */
void loop_run(struct loop *loop);

/* One turn of each reactor; whether anything was done. */
bool loop_step(struct loop *loop);

/* Lets time pass, then runs what is due, and what follows. */
void loop_pass(struct loop *loop, uint64_t ns);

#endif

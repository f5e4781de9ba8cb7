/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors without a kernel, just enough for the engine: tasks and messages.  All of them run on
 * the test's thread, one turn after another.
 */
#ifndef TESTS_VOLUME_LOOP_H
#define TESTS_VOLUME_LOOP_H

#include "io/reactor.h"

#define LOOP_REACTORS_MAX 4

struct loop_reactor {
    struct reactor reactor;
    struct io_msg *first;
    struct io_msg **last;
    struct list tasks;
};

struct loop {
    struct loop_reactor members[LOOP_REACTORS_MAX];
    struct reactor *reactors[LOOP_REACTORS_MAX];
    unsigned count;
};

void loop_init(struct loop *loop, unsigned count, struct log *log);

/* Runs turns until nothing is left to do. */
void loop_run(struct loop *loop);

#endif

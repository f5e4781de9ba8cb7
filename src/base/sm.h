/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checked state machines: a table names each state and its legal successors, and sm_move() is
 * the only way to change the state.
 *
 * Threading: the owner's.   Memory: embedded; the table is const.
 */
#ifndef BASE_SM_H
#define BASE_SM_H

#include <stdint.h>
#include <stdnoreturn.h>

#define SM_TO(state) (UINT32_C(1) << (state))

/* States are numbered from 0; at most 32 of them. */
struct sm_state {
    const char *name;
    uint32_t next; /* SM_TO() of every legal successor. */
};

struct sm {
    const struct sm_state *states;
    int now;
};

/* Starts in state first without a check.  The table must outlive the machine. */
void sm_init(struct sm *sm, const struct sm_state *states, int first);

/* Changes the state; ends the process with both names if the edge is not in the table. */
void sm_move(struct sm *sm, int to);

/* The name of the current state. */
const char *sm_name(const struct sm *sm);

/* Ends the process: the current state cannot happen here. */
noreturn void sm_bug(const struct sm *sm);

#endif

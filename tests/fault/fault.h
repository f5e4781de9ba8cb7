/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a scenario again and again, failing the 1st, the 2nd, ... the Nth thing that it needs,
 * once, and then for ever from the Nth on, until it needs no more than what is let through.
 *
 *     scenario:   set up --> fault_begin() --> the operation --> fault_end() --> judge, repeat
 *
 * The linker sends the layers' calls of malloc() and its kin to fault.c (--wrap); the tests and
 * the simulated backend are compiled with exempt.h and stay out of it.  So do the few calls that
 * read and write files directly; other I/O, of a rig's device say, asks fault_hits() itself.
 *
 * After each run nothing that the layers allocated in it may be left.
 *
 * Threading: one thread.
 */
#ifndef TESTS_FAULT_FAULT_H
#define TESTS_FAULT_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind { FAULT_ALLOCATION, FAULT_IO };

/*
 * Runs the scenario until a run in which nothing failed any more.  At least one run has a
 * failure: a scenario that needs nothing proves nothing.
 */
void fault_each(enum fault_kind kind, void (*scenario)(void));

/* From here to fault_end() things fail.  They are counted on from window to window of a run. */
void fault_begin(void);
void fault_end(void);

/* Whether something has failed in this run, so that the operation may have. */
bool fault_happened(void);

/* Whether this run fails one thing only: the next attempt goes through. */
bool fault_is_once(void);

/* Asked for each thing of the kind: whether it fails. */
bool fault_hits(enum fault_kind kind);

/* Allocations of the layers since the program began. */
uint64_t fault_allocations(void);

#endif

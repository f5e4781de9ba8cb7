/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose memory is it?  The simulator's binary is linked with wrappers around the allocator
 * (-Wl,--wrap) that attribute each allocation to the simulated process that runs.  When it is
 * killed, everything it holds is freed without running its code.
 *
 * Threading: one thread.
 * Memory:    a table of pointers beside the heap; the allocations themselves are untouched, so
 *            that AddressSanitizer sees them as they are.
 */
#ifndef TESTS_SIM_MEMORY_H
#define TESTS_SIM_MEMORY_H

#include <stdint.h>

#include "io/sim.h"

/* For struct sim_config. */
extern const struct sim_memory memory_hooks;

/*
 * From now on owner allocates (0: the world); returns the one before.  Harness code that runs
 * inside a process's callbacks brackets its own allocations with it.
 */
uint64_t memory_enter(uint64_t owner);

/* Allocations that the owner holds. */
uint64_t memory_held(uint64_t owner);

#endif

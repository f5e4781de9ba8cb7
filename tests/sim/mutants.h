/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves that the simulator can fail: each deliberate bug of base/mutation.h is switched on, and
 * seeds run until one finds it.
 *
 * Threading: forks; the parent has one thread.   Memory: none to speak of.
 */
#ifndef TESTS_SIM_MUTANTS_H
#define TESTS_SIM_MUTANTS_H

#include <stdint.h>

#include "base/mutation.h"

const char *mutant_name(enum mutation mutation);

/* Ends the program with usage status if there is none of that name. */
enum mutation mutant_find(const char *name);

/*
 * Prints a table of mutations and the seeds they took.  Returns 1 if one of them is not found by
 * a workload (of those in only, a bit each; 0: any) within seeds_max seeds, else 0.
 */
int mutants_prove(uint32_t only, uint64_t seeds_max, unsigned jobs);

#endif

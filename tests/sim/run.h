/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of the simulator: a seed, a world, and a workload that acts in it and checks.
 *
 * Threading: one thread.   Memory: the run's; processes' as memory.h says.
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mutation.h"
#include "base/rng.h"
#include "io/sim.h"

struct run;

struct workload {
    const char *name;
    const char *rules; /* The rules whose mutations it finds: "W1 W3". */
    const char *text;
    void (*act)(struct run *run); /* Returns when all is checked; fails by run_fail(). */
};

struct run {
    const struct workload *workload;
    uint64_t seed;
    struct sim_world *world;
    struct rng
        rng; /* The workload's; apart from the world's, so that neither disturbs the other. */
};

/* All of them, ended by one without a name. */
extern const struct workload *const workloads[];

/* Makes the world, lets the workload act, and returns the digest of the trace. */
uint64_t run_seed(const struct workload *workload, uint64_t seed, bool trace);

/* Ends the process: the run has found a fault. */
_Noreturn void run_fail(struct run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Lets the world go on until done(ctx).  Fails if that takes more than for_ns of virtual time, or
 * if nothing is left that could happen.
 */
void run_until(struct run *run, bool (*done)(void *ctx), void *ctx, uint64_t for_ns,
               const char *what);

/* Uniform in [low, high]. */
uint64_t run_between(struct run *run, uint64_t low, uint64_t high);

/* True with that many chances in a hundred. */
bool run_percent(struct run *run, unsigned percent);

#endif

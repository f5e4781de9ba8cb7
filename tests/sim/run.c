/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"

/* Far beyond any workload: what needs more events is caught in a loop. */
#define EVENTS_MAX UINT64_C(20000000)

enum mutation mutation_active = MUTATION_NONE;

static void print_line(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

uint64_t run_seed(const struct workload *workload, uint64_t seed, bool trace)
{
    const struct sim_config config = { .seed = seed,
                                       .memory = &memory_hooks,
                                       .trace = trace ? print_line : NULL,
                                       .log_level = trace ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO };
    struct run run = { .workload = workload, .seed = seed, .world = sim_world_create(&config) };

    rng_init(&run.rng, seed ^ UINT64_C(0x5eed));
    workload->act(&run);
    const uint64_t hash = sim_world_trace_hash(run.world);
    sim_world_destroy(run.world);
    return hash;
}

void run_fail(struct run *run, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "sim: %s, seed %" PRIu64 ", at %.6f s: ", run->workload->name, run->seed,
            (double)sim_world_now_ns(run->world) / 1e9);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

void run_until(struct run *run, bool (*done)(void *ctx), void *ctx, uint64_t for_ns,
               const char *what)
{
    const uint64_t until_ns = sim_world_now_ns(run->world) + for_ns;

    while (!done(ctx)) {
        if (!sim_world_step(run->world))
            run_fail(run, "nothing is left that could happen, waiting for %s", what);
        if (sim_world_now_ns(run->world) > until_ns)
            run_fail(run, "no progress, waiting for %s", what);
        if (sim_world_events(run->world) > EVENTS_MAX)
            run_fail(run, "too many events, waiting for %s", what);
    }
}

uint64_t run_between(struct run *run, uint64_t low, uint64_t high)
{
    return low + rng_below(&run->rng, high - low + 1);
}

bool run_percent(struct run *run, unsigned percent)
{
    return rng_below(&run->rng, 100) < percent;
}

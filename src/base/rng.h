/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small deterministic generator (xoshiro256**) for simulation, load patterns and jitter.
 * Not for secrets or identities: those come from reactor_random() or uuid_from_random().
 *
 * Threading: the owner's.   Memory: embedded.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct rng {
    uint64_t s[4];
};

/* Every seed, 0 too, gives a different and usable sequence. */
void rng_init(struct rng *r, uint64_t seed);

uint64_t rng_u64(struct rng *r);

/* Uniform in [0, below); below > 0. */
uint64_t rng_below(struct rng *r, uint64_t below);

/* True once in one_in times on average; one_in > 0. */
bool rng_one_in(struct rng *r, uint64_t one_in);

void rng_fill(struct rng *r, struct span out);

#endif

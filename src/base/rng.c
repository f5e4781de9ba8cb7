/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <assert.h>

/* splitmix64, the seeding that the authors of xoshiro recommend. */
static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_init(struct rng *r, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_COUNT(r->s); i++)
        r->s[i] = splitmix(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t rng_u64(struct rng *r)
{
    const uint64_t result = rotl(r->s[1] * 5, 7) * 9;
    const uint64_t t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t below)
{
    assert(below > 0);
    /* Lemire's multiplication; the bias is below 2^-64 * below, which no user of this sees. */
    return (uint64_t)(((unsigned __int128)rng_u64(r) * below) >> 64);
}

bool rng_one_in(struct rng *r, uint64_t one_in)
{
    return rng_below(r, one_in) == 0;
}

void rng_fill(struct rng *r, struct span out)
{
    while (out.bytes > 0) {
        const uint64_t word = rng_u64(r);
        const size_t piece = out.bytes < sizeof word ? out.bytes : sizeof word;
        memcpy(out.at, &word, piece);
        out.at += piece;
        out.bytes -= piece;
    }
}

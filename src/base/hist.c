/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hist.h"

#include <assert.h>
#include <string.h>

#include "base/span.h"

#define PER_MILLION UINT64_C(1000000)

void hist_init(struct hist *h)
{
    memset(h, 0, sizeof *h);
    h->min = UINT64_MAX;
}

static unsigned bucket_of(uint64_t value)
{
    if (value < 1u << HIST_LINEAR_BITS)
        return (unsigned)value;

    const unsigned top_bit = 63u - (unsigned)__builtin_clzll(value);
    if (top_bit >= HIST_VALUE_BITS)
        return HIST_BUCKETS - 1;
    /* Keep the LINEAR_BITS leading bits: the first of them is always set. */
    const unsigned shift = top_bit - (HIST_LINEAR_BITS - 1);
    return shift * HIST_HALF_BUCKETS + (unsigned)(value >> shift);
}

/* The largest value that falls into a bucket. */
static uint64_t bucket_last_value(unsigned bucket)
{
    if (bucket < 1u << HIST_LINEAR_BITS)
        return bucket;

    const unsigned shift = bucket / HIST_HALF_BUCKETS - 1;
    const uint64_t leading = bucket - shift * HIST_HALF_BUCKETS;
    return ((leading + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
    const unsigned bucket = bucket_of(value);

    assert(bucket < HIST_BUCKETS);
    h->count++;
    h->sum += value;
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->buckets[bucket]++;
}

void hist_merge(struct hist *h, const struct hist *from)
{
    h->count += from->count;
    h->sum += from->sum;
    h->min = min_u64(h->min, from->min);
    h->max = max_u64(h->max, from->max);
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        h->buckets[i] += from->buckets[i];
}

double hist_mean(const struct hist *h)
{
    return h->count == 0 ? 0.0 : (double)h->sum / (double)h->count;
}

uint64_t hist_percentile(const struct hist *h, uint32_t per_million)
{
    assert(per_million > 0);
    assert(per_million <= PER_MILLION);

    if (h->count == 0)
        return 0;
    /* The rank of the value that is asked for, from 1, without overflow. */
    const uint64_t whole = h->count / PER_MILLION * per_million;
    const uint64_t part = h->count % PER_MILLION * per_million;
    const uint64_t rank = max_u64(whole + (part + PER_MILLION - 1) / PER_MILLION, 1);

    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
        seen += h->buckets[i];
        if (seen >= rank)
            return min_u64(bucket_last_value(i), h->max);
    }
    return h->max; /* The last bucket has no upper end. */
}

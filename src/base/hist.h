/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A histogram of latencies (or of anything from 0 to 2^40): log-linear buckets, so that adding a
 * value costs a shift and an increment and a percentile is at most 1/64 too high.
 *
 *   value    0 .. 127       one bucket each
 *   value  128 .. 255       64 buckets, 2 wide      (64 per power of two from here on)
 *   value  256 .. 511       64 buckets, 4 wide
 *   ...
 *   value  2^40 and above   counted in the last bucket; max and mean stay exact
 *
 * Threading: the owner's.   Memory: embedded, about 18 KiB; nothing is allocated.
 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <stdint.h>

#define HIST_LINEAR_BITS  7u  /* 2^7 exact buckets; half as many per power of two. */
#define HIST_VALUE_BITS   40u /* 2^40 ns are 18 minutes. */
#define HIST_HALF_BUCKETS (1u << (HIST_LINEAR_BITS - 1))
#define HIST_BUCKETS \
    ((1u << HIST_LINEAR_BITS) + (HIST_VALUE_BITS - HIST_LINEAR_BITS) * HIST_HALF_BUCKETS)

struct hist {
    uint64_t count;
    uint64_t sum;
    uint64_t min; /* Valid if count > 0; so is max. */
    uint64_t max;

    /* Private to hist.c. */
    uint64_t buckets[HIST_BUCKETS];
};

void hist_init(struct hist *h);

void hist_add(struct hist *h, uint64_t value);

/* Adds all of from's values to h. */
void hist_merge(struct hist *h, const struct hist *from);

/* The exact mean, 0 if there are no values. */
double hist_mean(const struct hist *h);

/*
 * The value that per_million of a million values do not exceed (990000: the 99th percentile),
 * 1 to 1000000: the upper end of its bucket, never above max.  0 if there are no values.
 */
uint64_t hist_percentile(const struct hist *h, uint32_t per_million);

#endif

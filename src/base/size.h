/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes as people write them: 4096, 4K, 10G, 1.5T; powers of 1024.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdint.h>

#include "base/status.h"

struct size_text {
    char s[16];
};

/*
 * Parses a size: decimal digits, optionally a fraction, optionally one of K, M, G, T, P in either
 * case, optionally followed by "iB" or "B".  INVALID if it is none, OUT_OF_RANGE above 2^63-1.
 */
struct status size_parse(const char *text, uint64_t *out_bytes) MUST_CHECK;

/* The shortest form that is exact or has three significant digits: "10G", "1.50T", "3.91K". */
struct size_text size_format(uint64_t bytes);

#endif

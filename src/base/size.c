/* SPDX-License-Identifier: Apache-2.0 */
#include "base/size.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char size_units[] = "KMGTP";

/* The power of 1024 that a suffix stands for; false if it is none. */
static bool suffix_shift(const char *suffix, unsigned *out_shift)
{
    if (suffix[0] == '\0' || strcasecmp(suffix, "B") == 0) {
        *out_shift = 0;
        return true;
    }
    const char *unit = strchr(size_units, toupper((unsigned char)suffix[0]));
    if (unit == NULL)
        return false;
    if (suffix[1] != '\0' && strcasecmp(suffix + 1, "iB") != 0 && strcasecmp(suffix + 1, "B") != 0)
        return false;
    *out_shift = 10 * (unsigned)(unit - size_units + 1);
    return true;
}

struct status size_parse(const char *text, uint64_t *out_bytes)
{
    /* The number as a whole part and at most nine decimal places, so that nothing is rounded. */
    uint64_t number = 0;
    uint64_t scale = 1;
    bool fraction = false;
    const char *at = text;
    if (!isdigit((unsigned char)*at))
        return STATUS(INVALID);
    for (; isdigit((unsigned char)*at) || (*at == '.' && !fraction); at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        if (fraction && (scale *= 10) > 1000000000)
            return STATUS(INVALID);
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return STATUS(OUT_OF_RANGE);
    }
    unsigned shift = 0;
    if (!suffix_shift(at, &shift))
        return STATUS(INVALID);
    const unsigned __int128 bytes = ((unsigned __int128)number << shift) / scale;
    if (bytes > INT64_MAX)
        return STATUS(OUT_OF_RANGE);
    *out_bytes = (uint64_t)bytes;
    return STATUS(OK);
}

struct size_text size_format(uint64_t bytes)
{
    struct size_text text;
    unsigned unit = 0;
    while (unit < sizeof size_units - 1 && bytes >> (10 * (unit + 1)) != 0)
        unit++;
    const double value = (double)bytes / (double)(UINT64_C(1) << (10 * unit));
    const bool exact = (bytes & ((UINT64_C(1) << (10 * unit)) - 1)) == 0;
    const int places = exact || unit == 0 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
    snprintf(text.s, sizeof text.s, "%.*f%.1s", places, value,
             unit == 0 ? "" : &size_units[unit - 1]);
    return text;
}

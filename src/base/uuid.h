/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs (RFC 9562) as 16 bytes in network order, and their text form.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"

#define UUID_TEXT_BYTES 37 /* 36 characters and the terminating zero. */

struct uuid {
    uint8_t b[16];
};

struct uuid_text {
    char s[UUID_TEXT_BYTES];
};

/* Makes a version 4 UUID out of 16 random bytes, which the caller got from its reactor. */
struct uuid uuid_from_random(const uint8_t random[16]);

/* Lower-case text, by value: printf("%s", uuid_format(u).s). */
struct uuid_text uuid_format(struct uuid u);

/* Takes the 36-character form in either case; INVALID for anything else. */
struct status uuid_parse(const char *text, struct uuid *out_uuid) MUST_CHECK;

static inline bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

static inline bool uuid_is_nil(struct uuid u)
{
    return uuid_equal(u, (struct uuid) { { 0 } });
}

#endif

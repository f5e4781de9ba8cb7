/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

struct uuid uuid_from_random(const uint8_t random[16])
{
    struct uuid u;
    memcpy(u.b, random, sizeof u.b);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* Version 4. */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80); /* Variant of RFC 9562. */
    return u;
}

static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

struct uuid_text uuid_format(struct uuid u)
{
    static const char digits[] = "0123456789abcdef";
    struct uuid_text text;
    char *at = text.s;
    for (size_t i = 0; i < sizeof u.b; i++) {
        if (dash_before(i))
            *at++ = '-';
        *at++ = digits[u.b[i] >> 4];
        *at++ = digits[u.b[i] & 15];
    }
    *at = '\0';
    return text;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

struct status uuid_parse(const char *text, struct uuid *out_uuid)
{
    struct uuid u;
    if (strnlen(text, UUID_TEXT_BYTES) != UUID_TEXT_BYTES - 1)
        return STATUS(INVALID);
    for (size_t i = 0; i < sizeof u.b; i++) {
        if (dash_before(i) && *text++ != '-')
            return STATUS(INVALID);
        const int high = hex_value(*text++);
        const int low = hex_value(*text++);
        if (high < 0 || low < 0)
            return STATUS(INVALID);
        u.b[i] = (uint8_t)(high << 4 | low);
    }
    *out_uuid = u;
    return STATUS(OK);
}

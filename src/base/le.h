/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian integers as they lie on the wire and on disk.  They have no alignment, so a
 * struct made of them has no padding, and they cannot be used as numbers by mistake.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef BASE_LE_H
#define BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

struct le16 {
    uint8_t b[2];
};

struct le32 {
    uint8_t b[4];
};

struct le64 {
    uint8_t b[8];
};

static inline uint16_t le16_get(struct le16 v)
{
    uint16_t raw;
    memcpy(&raw, v.b, sizeof raw);
    return le16toh(raw);
}

static inline uint32_t le32_get(struct le32 v)
{
    uint32_t raw;
    memcpy(&raw, v.b, sizeof raw);
    return le32toh(raw);
}

static inline uint64_t le64_get(struct le64 v)
{
    uint64_t raw;
    memcpy(&raw, v.b, sizeof raw);
    return le64toh(raw);
}

static inline struct le16 le16_make(uint16_t value)
{
    struct le16 v;
    const uint16_t raw = htole16(value);
    memcpy(v.b, &raw, sizeof raw);
    return v;
}

static inline struct le32 le32_make(uint32_t value)
{
    struct le32 v;
    const uint32_t raw = htole32(value);
    memcpy(v.b, &raw, sizeof raw);
    return v;
}

static inline struct le64 le64_make(uint64_t value)
{
    struct le64 v;
    const uint64_t raw = htole64(value);
    memcpy(v.b, &raw, sizeof raw);
    return v;
}

#endif

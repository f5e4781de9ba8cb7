/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece of memory with its length, and the few macros that every file needs.
 *
 * Threading: pure.   Memory: a span borrows; it never owns.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    uint8_t *at;
    size_t bytes;
};

struct const_span {
    const uint8_t *at;
    size_t bytes;
};

#define CONTAINER_OF(ptr, type, member) \
    ((type *)(void *)((uint8_t *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A cleanup attribute: CLEANUP(fd_close) int fd = -1; */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* The sub-span of bytes starting at offset; both must lie inside. */
static inline struct span span_sub(struct span s, size_t offset, size_t bytes)
{
    assert(offset <= s.bytes);
    assert(bytes <= s.bytes - offset);
    return (struct span) { s.at + offset, bytes };
}

static inline struct const_span const_span_sub(struct const_span s, size_t offset, size_t bytes)
{
    assert(offset <= s.bytes);
    assert(bytes <= s.bytes - offset);
    return (struct const_span) { s.at + offset, bytes };
}

static inline struct const_span span_const(struct span s)
{
    return (struct const_span) { s.at, s.bytes };
}

static inline uint64_t round_up_u64(uint64_t value, uint64_t unit)
{
    assert(unit > 0);
    return (value + unit - 1) / unit * unit;
}

static inline uint64_t round_down_u64(uint64_t value, uint64_t unit)
{
    assert(unit > 0);
    return value / unit * unit;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif

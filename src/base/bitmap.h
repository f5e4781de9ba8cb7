/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bitmap over caller's memory, with a search for runs.
 *
 * Threading: the owner's.   Memory: words are the caller's; BITMAP_WORDS(bits) of them.
 */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)
#define BITMAP_NONE        UINT64_MAX

struct bitmap {
    uint64_t *words;
    uint64_t bits;
};

static inline bool bitmap_get(const struct bitmap *b, uint64_t index)
{
    return (b->words[index / 64] >> (index % 64) & 1) != 0;
}

static inline void bitmap_set(struct bitmap *b, uint64_t index)
{
    b->words[index / 64] |= UINT64_C(1) << (index % 64);
}

static inline void bitmap_clear(struct bitmap *b, uint64_t index)
{
    b->words[index / 64] &= ~(UINT64_C(1) << (index % 64));
}

/* Sets or clears count bits from first on; all must lie inside. */
void bitmap_set_run(struct bitmap *b, uint64_t first, uint64_t count);
void bitmap_clear_run(struct bitmap *b, uint64_t first, uint64_t count);

/* The first set (or clear) bit at or after from; BITMAP_NONE if there is none. */
uint64_t bitmap_next_set(const struct bitmap *b, uint64_t from);
uint64_t bitmap_next_clear(const struct bitmap *b, uint64_t from);

/* The number of set bits. */
uint64_t bitmap_count(const struct bitmap *b);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bitmap.h"

#include <assert.h>

/* The bits of one word from bit 'from' on, at most count of them. */
static uint64_t word_mask(uint64_t from, uint64_t count)
{
    assert(from < 64);
    const uint64_t upper = ~UINT64_C(0) << from;
    return from + count >= 64 ? upper : upper & ((UINT64_C(1) << (from + count)) - 1);
}

static void bitmap_change_run(struct bitmap *b, uint64_t first, uint64_t count, bool set)
{
    assert(first <= b->bits);
    assert(count <= b->bits - first);
    while (count > 0) {
        const uint64_t mask = word_mask(first % 64, count);
        const uint64_t here = 64 - first % 64;
        if (set)
            b->words[first / 64] |= mask;
        else
            b->words[first / 64] &= ~mask;
        if (here >= count)
            return;
        first += here;
        count -= here;
    }
}

void bitmap_set_run(struct bitmap *b, uint64_t first, uint64_t count)
{
    bitmap_change_run(b, first, count, true);
}

void bitmap_clear_run(struct bitmap *b, uint64_t first, uint64_t count)
{
    bitmap_change_run(b, first, count, false);
}

static uint64_t bitmap_next(const struct bitmap *b, uint64_t from, uint64_t flip)
{
    if (from >= b->bits)
        return BITMAP_NONE;
    uint64_t word = from / 64;
    uint64_t bits = (b->words[word] ^ flip) & ~UINT64_C(0) << (from % 64);
    while (bits == 0) {
        if (++word >= BITMAP_WORDS(b->bits))
            return BITMAP_NONE;
        bits = b->words[word] ^ flip;
    }
    const uint64_t found = word * 64 + (uint64_t)__builtin_ctzll(bits);
    return found < b->bits ? found : BITMAP_NONE;
}

uint64_t bitmap_next_set(const struct bitmap *b, uint64_t from)
{
    return bitmap_next(b, from, 0);
}

uint64_t bitmap_next_clear(const struct bitmap *b, uint64_t from)
{
    return bitmap_next(b, from, ~UINT64_C(0));
}

uint64_t bitmap_count(const struct bitmap *b)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < b->bits / 64; i++)
        count += (uint64_t)__builtin_popcountll(b->words[i]);
    if (b->bits % 64 != 0)
        count +=
            (uint64_t)__builtin_popcountll(b->words[b->bits / 64] & word_mask(0, b->bits % 64));
    return count;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/volume_copysets.h"

#include <assert.h>
#include <string.h>

static uint32_t *recorded(const Stored__V1__Volume *r, size_t shards, struct arena *arena)
{
    uint32_t *numbers = arena_alloc(arena, shards * sizeof *numbers);

    assert(r->n_copysets == shards); /* We wrote it so. */
    for (size_t i = 0; i < shards; i++)
        numbers[i] = r->copysets[i];
    return numbers;
}

uint32_t *volume_copysets(const Stored__V1__Volume *r, struct arena *arena)
{
    const size_t shards = r->n_placement / r->replicas;
    const size_t bytes = r->replicas * sizeof *r->placement;

    if (r->n_copysets > 0)
        return recorded(r, shards, arena);
    uint32_t *numbers = arena_alloc(arena, shards * sizeof *numbers);
    const uint32_t **tuples = arena_alloc(arena, CTL_TUPLES_MAX * sizeof *tuples);
    uint32_t count = 0;
    for (size_t i = 0; i < shards; i++) {
        const uint32_t *const tuple = &r->placement[i * r->replicas];
        uint32_t n = 0;
        while (n < count && memcmp(tuples[n], tuple, bytes) != 0)
            n++;
        assert(n < CTL_TUPLES_MAX); /* We wrote it so. */
        if (n == count)
            tuples[count++] = tuple;
        numbers[i] = n;
    }
    return numbers;
}

uint32_t volume_copyset_count(const uint32_t *numbers, size_t shards)
{
    uint32_t count = 0;

    for (size_t i = 0; i < shards; i++)
        count = numbers[i] >= count ? numbers[i] + 1 : count;
    return count;
}

uint64_t volume_copyset_bytes(const Stored__V1__Volume *r, const uint32_t *numbers,
                              uint32_t copyset)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < r->n_placement / r->replicas; i++)
        if (numbers[i] == copyset)
            bytes += volume_planned_bytes(r, (uint32_t)i);
    return bytes;
}

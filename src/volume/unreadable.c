/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/unreadable.h"

#include <assert.h>

#include "base/span.h"
#include "store/store.h"

/* An item: shard << 33 | first block << 8 | blocks. */
#define BLOCKS_MAX 255u
#define SHARD_BIT  33
#define FIRST_BIT  8
#define FIRST_MASK ((UINT64_C(1) << (SHARD_BIT - FIRST_BIT)) - 1)

static_assert(STORE_SHARD_BYTES_MAX / STORE_BLOCK_BYTES - 1 <= FIRST_MASK, "the last block");
static_assert(STORE_SHARDS_MAX - 1 <= UINT64_MAX >> SHARD_BIT, "the last shard");

static uint64_t pack(uint32_t shard, uint64_t first, uint64_t blocks)
{
    return (uint64_t)shard << SHARD_BIT | first << FIRST_BIT | blocks;
}

static uint64_t first_of(uint64_t item)
{
    return item >> FIRST_BIT & FIRST_MASK;
}

static uint64_t blocks_of(uint64_t item)
{
    return item & BLOCKS_MAX;
}

void unreadable_note(struct unreadable *u, uint32_t shard, uint64_t offset, uint64_t bytes)
{
    const uint64_t first = offset / STORE_BLOCK_BYTES;
    const uint64_t blocks = (offset + bytes + STORE_BLOCK_BYTES - 1) / STORE_BLOCK_BYTES - first;
    const uint64_t item = pack(shard, first, min_u64(blocks, BLOCKS_MAX));
    unsigned room = VOLUME_UNREADABLE_MAX;

    for (unsigned i = VOLUME_UNREADABLE_MAX; i-- > 0;) {
        const uint64_t now = atomic_load(&u->at[i]);
        if (now == item)
            return;
        if (now == 0)
            room = i;
    }
    if (room == VOLUME_UNREADABLE_MAX) {
        atomic_store(&u->more, true);
        return;
    }
    atomic_store(&u->at[room], item);
    u->count++;
}

/* What is left of an item without these blocks; 0: nothing. */
static uint64_t without(uint64_t item, uint64_t first, uint64_t end)
{
    const uint64_t from = first_of(item), to = from + blocks_of(item);

    if (first <= from && end >= to)
        return 0;
    if (first <= from && end > from)
        return pack((uint32_t)(item >> SHARD_BIT), end, to - end);
    if (first < to && end >= to)
        return pack((uint32_t)(item >> SHARD_BIT), from, first - from);
    return item;
}

void unreadable_forget(struct unreadable *u, uint32_t shard, uint64_t offset, uint64_t bytes)
{
    const uint64_t first = (offset + STORE_BLOCK_BYTES - 1) / STORE_BLOCK_BYTES;
    const uint64_t end = (offset + bytes) / STORE_BLOCK_BYTES;

    for (unsigned i = 0; i < VOLUME_UNREADABLE_MAX && first < end; i++) {
        const uint64_t item = atomic_load(&u->at[i]);
        if (item == 0 || item >> SHARD_BIT != shard)
            continue;
        const uint64_t left = without(item, first, end);
        atomic_store(&u->at[i], left);
        if (left == 0 && --u->count == 0)
            atomic_store(&u->more, false);
    }
}

bool unreadable_get(const struct unreadable *u, unsigned index, struct unreadable_range *out)
{
    const uint64_t item = atomic_load(&u->at[index]);

    *out = (struct unreadable_range) { .shard = (uint32_t)(item >> SHARD_BIT),
                                       .offset = first_of(item) * STORE_BLOCK_BYTES,
                                       .bytes = blocks_of(item) * STORE_BLOCK_BYTES };
    return item != 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum table: a CRC32C for each block of the data area.  All of it is in memory; table
 * blocks that have changed are written by checkpoints.  docs/disk-format.md, section 2.4.
 *
 * Threading: the owner's.   Memory: 4 bytes per block of the data area, touched as it is used.
 */
#ifndef STORE_SUMS_H
#define STORE_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/span.h"
#include "base/status.h"

#define SUMS_BLOCK_BYTES ((size_t)4096)

struct sums {
    /* Private to sums.c. */
    uint32_t *crcs;
    uint64_t blocks;       /* Of the data area. */
    uint64_t table_blocks; /* Pairs on the disk. */
    uint64_t tag;
    uint64_t *sequences; /* Per pair: of the newest valid slot, or above all that may be there. */
    struct bitmap dirty; /* Per pair. */
};

/* life: the sequence of the superblock that was found; it grows from opening to opening. */
struct status sums_init(struct sums *s, uint64_t grains, uint64_t tag, uint64_t life) MUST_CHECK;
void sums_fini(struct sums *s);

static inline uint32_t sums_get(const struct sums *s, uint64_t block)
{
    return s->crcs[block];
}

/* The block's checksum is needed soon. */
static inline void sums_prefetch(const struct sums *s, uint64_t block)
{
    __builtin_prefetch(&s->crcs[block]);
}

void sums_set(struct sums *s, uint64_t block, uint32_t crc);

/* The table block that holds a grain's CRCs. */
uint64_t sums_table_block_of(uint64_t grain);

/* The first changed table block at or after from; BITMAP_NONE for none. */
uint64_t sums_next_dirty(const struct sums *s, uint64_t from);

/*
 * Makes the bytes of a table block, to be written at *out_offset of the table; it counts as
 * unchanged from now on.
 */
void sums_encode(struct sums *s, uint64_t table_block, struct span out, uint64_t *out_offset);

/*
 * Takes a table block's pair of slots.  known has a word per grain of the disk: blocks whose CRC
 * is known better are left alone.  *out_valid: whether a slot was valid; if not, CRCs stay.
 */
void sums_decode(struct sums *s, uint64_t table_block, struct const_span pair,
                 const uint32_t *known, bool *out_valid);

/* Whether one slot of a pair is a valid table block of this disk, and its sequence. */
struct status sums_slot_check(struct const_span slot, uint64_t tag, uint64_t table_block,
                              uint64_t *out_sequence) MUST_CHECK;

#endif

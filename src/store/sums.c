/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sums.h"

#include <assert.h>
#include <stdlib.h>

#include "disk/disk_format.h"
#include "disk/layout.h"
#include "disk/metablock.h"

#define GRAIN_CRCS 32

/*
 * A table block without data is not read at open, and yet what is written to it then must be newer
 * than what any earlier life wrote there.  No life writes a table block a million times without
 * writing a superblock.
 */
#define LIFE_SHIFT 20

struct status sums_init(struct sums *s, uint64_t grains, uint64_t tag, uint64_t life)
{
    const uint64_t table_blocks = disk_layout_sums_blocks(grains);

    assert(grains > 0);
    *s = (struct sums) { .blocks = grains * GRAIN_CRCS, .table_blocks = table_blocks, .tag = tag };
    /* Rounded up to whole table blocks, so that the last is like all others. */
    s->crcs = calloc(table_blocks * SUMS_CRCS_PER_BLOCK, sizeof *s->crcs);
    s->sequences = calloc(table_blocks, sizeof *s->sequences);
    for (uint64_t i = 0; s->sequences != NULL && i < table_blocks; i++)
        s->sequences[i] = life << LIFE_SHIFT;
    s->dirty =
        (struct bitmap) { calloc(BITMAP_WORDS(table_blocks), sizeof(uint64_t)), table_blocks };
    if (s->crcs == NULL || s->sequences == NULL || s->dirty.words == NULL) {
        sums_fini(s);
        return STATUS(NO_MEMORY);
    }
    return STATUS(OK);
}

void sums_fini(struct sums *s)
{
    free(s->crcs);
    free(s->sequences);
    free(s->dirty.words);
    *s = (struct sums) { 0 };
}

void sums_set(struct sums *s, uint64_t block, uint32_t crc)
{
    assert(block < s->blocks);
    s->crcs[block] = crc;
    bitmap_set(&s->dirty, block / SUMS_CRCS_PER_BLOCK);
}

uint64_t sums_table_block_of(uint64_t grain)
{
    return grain / SUMS_GRAINS_PER_BLOCK;
}

uint64_t sums_next_dirty(const struct sums *s, uint64_t from)
{
    return bitmap_next_set(&s->dirty, from);
}

void sums_encode(struct sums *s, uint64_t table_block, struct span out, uint64_t *out_offset)
{
    const uint32_t *const crcs = &s->crcs[table_block * SUMS_CRCS_PER_BLOCK];
    const uint64_t sequence = ++s->sequences[table_block];

    assert(table_block < s->table_blocks);
    assert(out.bytes == DISK_BLOCK_BYTES);
    memset(out.at, 0, SUMS_CRCS_OFFSET);
    for (uint32_t i = 0; i < SUMS_CRCS_PER_BLOCK; i++) {
        const struct le32 f = le32_make(crcs[i]);
        memcpy(out.at + SUMS_CRCS_OFFSET + i * sizeof f, &f, sizeof f);
    }
    metablock_seal(out, METABLOCK_SUMS,
                   &(struct metablock) { .tag = s->tag,
                                         .owner = table_block,
                                         .sequence = sequence,
                                         .payload_bytes = METABLOCK_PAYLOAD_BYTES });
    bitmap_clear(&s->dirty, table_block);
    /* Never over the newest valid content: the sequence's parity chooses the slot. */
    *out_offset = table_block * SUMS_PAIR_BYTES + (sequence & 1) * DISK_BLOCK_BYTES;
}

struct status sums_slot_check(struct const_span slot, uint64_t tag, uint64_t table_block,
                              uint64_t *out_sequence)
{
    struct metablock head;

    TRY(metablock_open(slot, METABLOCK_SUMS, &head));
    if (head.tag != tag)
        return STATUS(NOT_FOUND);
    if (head.owner != table_block || head.payload_bytes != METABLOCK_PAYLOAD_BYTES ||
        head.sequence == 0)
        return STATUS(CORRUPT);
    *out_sequence = head.sequence;
    return STATUS(OK);
}

static void sums_take(struct sums *s, uint64_t table_block, struct const_span slot,
                      const uint32_t *known)
{
    const uint64_t first = table_block * SUMS_CRCS_PER_BLOCK;

    for (uint32_t i = 0; i < SUMS_CRCS_PER_BLOCK && first + i < s->blocks; i++) {
        const uint64_t block = first + i;
        struct le32 f;
        if ((known[block / GRAIN_CRCS] >> (block % GRAIN_CRCS) & 1) != 0)
            continue;
        memcpy(&f, slot.at + SUMS_CRCS_OFFSET + i * sizeof f, sizeof f);
        s->crcs[block] = le32_get(f);
    }
}

void sums_decode(struct sums *s, uint64_t table_block, struct const_span pair,
                 const uint32_t *known, bool *out_valid)
{
    uint64_t best = 0;

    assert(table_block < s->table_blocks);
    assert(pair.bytes == SUMS_PAIR_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        const struct const_span slot =
            const_span_sub(pair, i * (size_t)DISK_BLOCK_BYTES, DISK_BLOCK_BYTES);
        uint64_t sequence;
        const struct status st = sums_slot_check(slot, s->tag, table_block, &sequence);
        if (!status_ok(st) || (sequence & 1) != i || sequence <= best)
            continue;
        best = sequence;
    }
    *out_valid = best != 0;
    if (best == 0)
        return;
    s->sequences[table_block] = best;
    sums_take(s, table_block, const_span_sub(pair, (best & 1) * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES),
              known);
}

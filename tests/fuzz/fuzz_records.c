/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of journal and checkpoint with the records in them.
 *
 *   byte 0: bit 0: a checkpoint's block; bit 1: its CRC is made right; then the block, and for
 *   the journal the data blocks behind it
 *
 * Every record that is accepted is inside its limits, and all of its items can be read.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "disk/journal_scan.h"
#include "disk/metablock.h"
#include "store/record.h"

#define INPUT_CHECKPOINT 0x01
#define INPUT_RIGHT_CRC  0x02

#define CRC_OFFSET       4 /* docs/disk-format.md, section 2.2. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void make_crc_right(uint8_t *block)
{
    struct le32 crc = le32_make(0);

    memcpy(block + CRC_OFFSET, &crc, sizeof crc);
    crc = le32_make(crc32c(block, STORE_BLOCK_BYTES));
    memcpy(block + CRC_OFFSET, &crc, sizeof crc);
}

/* Reads all items, so that the sanitizers see a wrong count; the sum keeps the reads. */
static uint64_t read_items(const struct record *rec)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < rec->items; i++) {
        if (rec->type == RECORD_WRITE || rec->type == RECORD_COPY)
            sum += record_get_crc(rec, i);
        else if (rec->type == RECORD_GRAINS)
            sum += record_get_grains(rec, i).place;
        else if (rec->type == RECORD_CELLS)
            sum += record_get_cell(rec, i).address;
        else if (rec->type == RECORD_INTENT)
            sum += record_get_intent(rec, i).region;
        else if (rec->type == RECORD_REGIONS)
            sum += record_get_regions(rec, i).region;
        else if (rec->type == RECORD_SPOIL)
            sum += record_get_spoil(rec, i).blocks;
    }
    return sum;
}

/* Blocks lie at their positions of a cell, in cells that have a number. */
static void check_write(const struct record_write *w)
{
    assert(w->first + w->count <= RECORD_GRAIN_BLOCKS);
    assert(w->place % RECORD_CELL_BLOCKS == w->first % RECORD_CELL_BLOCKS);
    assert(w->place / RECORD_GRAIN_BLOCKS < LAYOUT_GRAINS_MAX);
}

static void check_records(struct const_span payload)
{
    struct record rec;

    while (payload.bytes > 0) {
        const size_t before = payload.bytes;
        if (!status_ok(record_decode(&payload, &rec)))
            return;
        assert(payload.bytes < before);
        assert(record_bytes(rec.type, rec.items) <= before);
        if (rec.type == RECORD_WRITE || rec.type == RECORD_COPY)
            check_write(&rec.u.write);
        (void)read_items(&rec);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct metablock head;

    if (bytes < 1 + STORE_BLOCK_BYTES || bytes > 64 * STORE_BLOCK_BYTES)
        return 0;
    const size_t count = bytes - 1;
    uint8_t *blocks = malloc(count);
    if (blocks == NULL)
        return 0;
    memcpy(blocks, data + 1, count);
    if ((data[0] & INPUT_RIGHT_CRC) != 0)
        make_crc_right(blocks);

    const struct const_span block = { blocks, STORE_BLOCK_BYTES };
    const bool checkpoint = (data[0] & INPUT_CHECKPOINT) != 0;
    if (status_ok(
            metablock_open(block, checkpoint ? METABLOCK_CHECKPOINT : METABLOCK_JOURNAL, &head))) {
        if (!checkpoint) {
            struct metablock again;
            const struct const_span group = { blocks,
                                              count / STORE_BLOCK_BYTES * STORE_BLOCK_BYTES };
            (void)status_ok(
                journal_block_check(group, head.tag, head.owner, head.sequence, &again));
        }
        check_records(metablock_payload(block, &head));
    }
    free(blocks);
    return 0;
}

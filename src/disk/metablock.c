/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/metablock.h"

#include "base/crc32c.h"
#include "disk/disk_format.h"

static const uint32_t magics[] = {
    [METABLOCK_JOURNAL] = METABLOCK_MAGIC_JOURNAL,
    [METABLOCK_CHECKPOINT] = METABLOCK_MAGIC_CHECKPOINT,
    [METABLOCK_SUMS] = METABLOCK_MAGIC_SUMS,
};

#define CRC_OFFSET 4
#define CRC_END    8

/* The CRC of the whole block with the CRC field taken as zero. */
static uint32_t metablock_crc(const uint8_t *block)
{
    const uint8_t zero[4] = { 0 };
    uint32_t crc = crc32c(block, CRC_OFFSET);

    crc = crc32c_extend(crc, zero, sizeof zero);
    return crc32c_extend(crc, block + CRC_END, DISK_BLOCK_BYTES - CRC_END);
}

void metablock_seal(struct span block, enum metablock_kind kind, const struct metablock *head)
{
    assert(block.bytes == DISK_BLOCK_BYTES);
    assert(head->payload_bytes <= METABLOCK_PAYLOAD_BYTES);
    assert(head->data_blocks <= METABLOCK_DATA_BLOCKS_MAX);

    struct metablock_format f = {
        .magic = le32_make(magics[kind]),
        .version = le16_make(DISK_VERSION),
        .payload_bytes = le32_make(head->payload_bytes),
        .data_blocks = le16_make((uint16_t)head->data_blocks),
        .data_crc = le32_make(head->data_crc),
        .tag = le64_make(head->tag),
        .owner = le64_make(head->owner),
        .sequence = le64_make(head->sequence),
        .flushed = le64_make(head->flushed),
        .settled = le64_make(head->settled),
    };
    const size_t used = METABLOCK_HEAD_BYTES + head->payload_bytes;
    memset(block.at + used, 0, DISK_BLOCK_BYTES - used);
    memcpy(block.at, &f, sizeof f);
    f.crc = le32_make(metablock_crc(block.at));
    memcpy(block.at, &f, sizeof f);
}

struct status metablock_open(struct const_span block, enum metablock_kind kind,
                             struct metablock *out_head)
{
    struct metablock_format f;

    assert(block.bytes == DISK_BLOCK_BYTES);
    memcpy(&f, block.at, sizeof f);
    if (le32_get(f.magic) != magics[kind])
        return STATUS(NOT_FOUND);
    if (le32_get(f.crc) != metablock_crc(block.at))
        return STATUS(CORRUPT);
    if (le16_get(f.version) != DISK_VERSION)
        return STATUS(BAD_VERSION);
    if (le16_get(f.data_blocks) > METABLOCK_DATA_BLOCKS_MAX || le32_get(f.zero_60) != 0 ||
        le32_get(f.payload_bytes) > METABLOCK_PAYLOAD_BYTES)
        return STATUS(CORRUPT);
    *out_head = (struct metablock) {
        .tag = le64_get(f.tag),
        .owner = le64_get(f.owner),
        .sequence = le64_get(f.sequence),
        .flushed = le64_get(f.flushed),
        .settled = le64_get(f.settled),
        .payload_bytes = le32_get(f.payload_bytes),
        .data_blocks = le16_get(f.data_blocks),
        .data_crc = le32_get(f.data_crc),
    };
    return STATUS(OK);
}

struct const_span metablock_payload(struct const_span block, const struct metablock *head)
{
    return const_span_sub(block, METABLOCK_HEAD_BYTES, head->payload_bytes);
}

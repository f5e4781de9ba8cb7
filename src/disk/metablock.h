/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a 4 KiB metadata block: docs/disk-format.md, section 2.2.
 *
 * Threading: pure.   Memory: the caller's block of DISK_BLOCK_BYTES.
 */
#ifndef DISK_METABLOCK_H
#define DISK_METABLOCK_H

#include <stdint.h>

#include "base/span.h"
#include "base/status.h"

enum metablock_kind { METABLOCK_JOURNAL, METABLOCK_CHECKPOINT, METABLOCK_SUMS };

struct metablock {
    uint64_t tag;
    uint64_t owner;
    uint64_t sequence;
    uint64_t flushed;
    uint64_t settled;
    uint32_t payload_bytes;
    uint32_t data_blocks; /* Journal: raw blocks that follow and belong to it. */
    uint32_t data_crc;    /* The CRC of all of them. */
};

#define METABLOCK_PAYLOAD_MAX     ((size_t)4032)
#define METABLOCK_DATA_BLOCKS_MAX 16 /* COPY records carry up to 64 KiB (S7). */

/*
 * Writes the head and the CRC over a block whose payload is in place; what follows the payload
 * is zeroed.
 */
void metablock_seal(struct span block, enum metablock_kind kind, const struct metablock *head);

/*
 * Checks a block and reads its head.  NOT_FOUND where no block of this kind has been written,
 * CORRUPT for a CRC or field that is wrong, BAD_VERSION.
 */
struct status metablock_open(struct const_span block, enum metablock_kind kind,
                             struct metablock *out_head) MUST_CHECK;

/* The payload of a block whose head was opened. */
struct const_span metablock_payload(struct const_span block, const struct metablock *head);

#endif

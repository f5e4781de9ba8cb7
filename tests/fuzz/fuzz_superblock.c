/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblocks of a disk, as they are read when it is opened.
 *
 *   byte 0: whose CRCs are made right (bits 0 and 1); then both slots, zeros where it ends
 *
 * What is accepted has a layout that lies inside the device, and survives a round trip.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "disk/superblock.h"

#define CRC_OFFSET 8 /* docs/disk-format.md, section 2.1. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void make_crc_right(uint8_t *slot)
{
    struct le32 crc = le32_make(0);

    memcpy(slot + CRC_OFFSET, &crc, sizeof crc);
    crc = le32_make(crc32c(slot, SUPERBLOCK_BYTES));
    memcpy(slot + CRC_OFFSET, &crc, sizeof crc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t slots[2 * SUPERBLOCK_BYTES] = { 0 };
    uint8_t again[SUPERBLOCK_BYTES];
    struct superblock sb;
    struct superblock same;
    unsigned slot = 0, bad = 0;

    if (bytes < 1)
        return 0;
    memcpy(slots, data + 1, min_u64(bytes - 1, sizeof slots));
    for (unsigned i = 0; i < 2; i++) {
        if ((data[0] >> i & 1) != 0)
            make_crc_right(slots + superblock_offset(i));
    }
    if (!status_ok(
            superblock_choose((struct const_span) { slots, sizeof slots }, &sb, &slot, &bad)))
        return 0;
    assert(bad < 3);
    assert((bad >> slot & 1) == 0);
    assert(status_ok(disk_layout_check(&sb.layout, sb.device_bytes)));
    superblock_encode(&sb, (struct span) { again, sizeof again });
    assert(status_ok(superblock_decode((struct const_span) { again, sizeof again }, &same)));
    assert(same.sequence == sb.sequence);
    assert(same.journal_start == sb.journal_start);
    assert(memcmp(&same.layout, &sb.layout, sizeof sb.layout) == 0);
    return 0;
}

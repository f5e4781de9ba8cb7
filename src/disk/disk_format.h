/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies on a disk, byte by byte: docs/disk-format.md, sections 2.1, 2.2 and 2.4.  Only the
 * codecs of src/disk/ and src/store/ include this.
 *
 * Threading: types only.   Memory: types only.
 */
#ifndef DISK_DISK_FORMAT_H
#define DISK_DISK_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/le.h"

#define DISK_BLOCK_BYTES       ((uint32_t)4096)
#define DISK_GRAIN_BYTES       ((uint32_t)128 << 10)
#define DISK_CELL_BYTES        ((uint32_t)16 << 10)
#define DISK_VERSION           1

#define SUPERBLOCK_MAGIC       "TRILITH1"
#define SUPERBLOCK_SLOTS       2
#define SUPERBLOCK_NAME_BYTES  64
#define SUPERBLOCK_PARTS       5
#define SUPERBLOCK_EXTENSIONS  96
#define SUPERBLOCK_FLAG_CLEAN  1u
#define SUPERBLOCK_FLAG_FAILED 2u
#define SUPERBLOCK_FLAG_LIED   4u
#define SUPERBLOCK_EARLIER     32

/* Features without which nobody may open the disk. */
#define SUPERBLOCK_MARKS_BUSY 1u
#define SUPERBLOCK_GROWS      2u
#define SUPERBLOCK_CELLS      4u
#define SUPERBLOCK_EXTENDED   8u
#define SUPERBLOCK_REPLICAS   16u
#define SUPERBLOCK_SPOILS     32u
#define SUPERBLOCK_POINTS     64u
#define SUPERBLOCK_FEATURES                                                     \
    ((uint64_t)(SUPERBLOCK_MARKS_BUSY | SUPERBLOCK_GROWS | SUPERBLOCK_CELLS |   \
                SUPERBLOCK_EXTENDED | SUPERBLOCK_REPLICAS | SUPERBLOCK_SPOILS | \
                SUPERBLOCK_POINTS))

struct superblock_part_format {
    struct le64 offset;
    struct le64 bytes;
    struct le32 device;
    struct le32 zero;
};

struct superblock_extension_format {
    struct le64 offset;
    struct le64 checkpoint_bytes;
    struct le64 sums_bytes;
};

struct superblock_earlier_format {
    struct le64 incarnation;
    struct le64 end;
};

struct superblock_format {
    uint8_t magic[8];
    struct le32 crc;
    struct le16 version;
    struct le16 zero_14;
    struct le64 sequence;
    struct le64 features_incompatible;
    struct le64 features_write;
    struct le64 features_compatible;
    uint8_t cluster[16];
    uint8_t disk[16];
    char cluster_name[SUPERBLOCK_NAME_BYTES];
    char disk_name[SUPERBLOCK_NAME_BYTES];
    struct le64 device_bytes;
    struct le64 tag;
    struct le32 atomic_bytes;
    uint8_t block_shift;
    uint8_t grain_shift;
    struct le16 checksum_mode;
    struct le64 incarnation;
    uint8_t boot_id[16];
    struct le32 flags;
    uint8_t checkpoint_area;
    uint8_t zero_261[3];
    struct le64 checkpoint_sequence;
    struct le64 checkpoint_blocks;
    struct le64 life;
    struct le64 journal_start;
    struct le64 journal_flushed;
    struct le64 data_grains;
    struct le64 created_ns;
    uint8_t metadata_device[16];
    struct superblock_part_format parts[SUPERBLOCK_PARTS];
    struct le32 extension_count;
    struct le32 zero_460;
    struct superblock_extension_format extensions[SUPERBLOCK_EXTENSIONS];
    struct superblock_earlier_format earlier[SUPERBLOCK_EARLIER];
    uint8_t zero_3280[816];
};

static_assert(sizeof(struct superblock_format) == DISK_BLOCK_BYTES, "superblock");
static_assert(offsetof(struct superblock_format, crc) == 8, "superblock");
static_assert(offsetof(struct superblock_format, sequence) == 16, "superblock");
static_assert(offsetof(struct superblock_format, cluster) == 48, "superblock");
static_assert(offsetof(struct superblock_format, disk_name) == 144, "superblock");
static_assert(offsetof(struct superblock_format, tag) == 216, "superblock");
static_assert(offsetof(struct superblock_format, incarnation) == 232, "superblock");
static_assert(offsetof(struct superblock_format, flags) == 256, "superblock");
static_assert(offsetof(struct superblock_format, checkpoint_sequence) == 264, "superblock");
static_assert(offsetof(struct superblock_format, life) == 280, "superblock");
static_assert(offsetof(struct superblock_format, data_grains) == 304, "superblock");
static_assert(offsetof(struct superblock_format, metadata_device) == 320, "superblock");
static_assert(offsetof(struct superblock_format, parts) == 336, "superblock");
static_assert(offsetof(struct superblock_format, extension_count) == 456, "superblock");
static_assert(offsetof(struct superblock_format, extensions) == 464, "superblock");
static_assert(offsetof(struct superblock_format, earlier) == 2768, "superblock");
static_assert(offsetof(struct superblock_format, zero_3280) == 3280, "superblock");

/* The head of journal, checkpoint and checksum table blocks. */
struct metablock_format {
    struct le32 magic;
    struct le32 crc;
    struct le16 version;
    struct le16 data_blocks;
    struct le32 payload_bytes;
    struct le64 tag;
    struct le64 owner;
    struct le64 sequence;
    struct le64 flushed;
    struct le64 settled;
    struct le32 data_crc;
    struct le32 zero_60;
};

static_assert(sizeof(struct metablock_format) == 64, "metadata block");
static_assert(offsetof(struct metablock_format, payload_bytes) == 12, "metadata block");
static_assert(offsetof(struct metablock_format, owner) == 24, "metadata block");
static_assert(offsetof(struct metablock_format, flushed) == 40, "metadata block");

#define METABLOCK_HEAD_BYTES    ((uint32_t)sizeof(struct metablock_format))
#define METABLOCK_PAYLOAD_BYTES (DISK_BLOCK_BYTES - METABLOCK_HEAD_BYTES)

/* The magics, as little-endian numbers of the four letters. */
#define METABLOCK_MAGIC_JOURNAL    UINT32_C(0x4c4e4a54) /* TJNL */
#define METABLOCK_MAGIC_CHECKPOINT UINT32_C(0x504b4354) /* TCKP */
#define METABLOCK_MAGIC_SUMS       UINT32_C(0x4d555354) /* TSUM */

/* The checksum table: 31 grains of 32 blocks fill a block behind head and padding. */
#define SUMS_GRAINS_PER_BLOCK 31
#define SUMS_CRCS_PER_BLOCK   (SUMS_GRAINS_PER_BLOCK * 32)
#define SUMS_CRCS_OFFSET      128
#define SUMS_PAIR_BYTES       ((uint64_t)2 * DISK_BLOCK_BYTES)

static_assert(SUMS_CRCS_OFFSET + SUMS_CRCS_PER_BLOCK * 4 == DISK_BLOCK_BYTES, "checksum table");

#endif

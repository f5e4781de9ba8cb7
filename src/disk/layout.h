/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the parts of a disk lie (docs/disk-format.md, section 2), and how large they are made.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef DISK_LAYOUT_H
#define DISK_LAYOUT_H

#include <stdint.h>

#include "base/status.h"

#define LAYOUT_DEVICE_BYTES_MIN ((uint64_t)16 << 20)
/* The number of a cell, of which a grain has eight, is one of 32 bits, and all ones is none. */
#define LAYOUT_GRAINS_MAX        (((uint64_t)1 << 29) - 1)
#define LAYOUT_JOURNAL_BYTES_MAX ((uint64_t)1 << 30)
/* Open regions per disk: two seconds to settle them at 4 GB/s. */
#define LAYOUT_INTENTS_MAX 8192
/* Section 2.6: from 16 MiB to 64 TiB in steps of an eighth, each of which has room for the next. */
#define LAYOUT_EXTENSIONS_MAX 96
/* Below, a growth is not worth its extension. */
#define LAYOUT_GROWTH_BYTES_MIN ((uint64_t)16 << 20)

enum layout_part {
    LAYOUT_JOURNAL,
    LAYOUT_CHECKPOINT_0,
    LAYOUT_CHECKPOINT_1,
    LAYOUT_SUMS,
    LAYOUT_DATA,
    LAYOUT_PARTS
};

struct disk_extent {
    uint64_t offset;
    uint64_t bytes;
};

/* More checkpoint area and table, in the data area: behind each other from offset on. */
struct disk_extension {
    uint64_t offset;
    uint64_t checkpoint_bytes; /* Of each of the two. */
    uint64_t sums_bytes;
};

struct disk_layout {
    struct disk_extent part[LAYOUT_PARTS];
    uint64_t data_grains; /* With those that extensions take. */
    uint32_t extension_count;
    struct disk_extension extension[LAYOUT_EXTENSIONS_MAX];
};

/* How many objects a disk may hold; what a checkpoint must have room for. */
struct disk_limits {
    uint32_t volumes;
    uint32_t shards;
    uint32_t intents;
    uint32_t open_regions; /* Of the region list: docs/disk-format.md, section 4.9. */
    uint32_t copysets;
    uint64_t region_bytes; /* Of what is said of the list. */
    uint64_t map_bytes;    /* Of what is said of all grains, over all shards and layers (F31). */
};

/* What the checkpoint areas have room for. */
struct disk_limits disk_layout_limits(const struct disk_layout *layout);

/* Divides a device up.  LIMIT if it is smaller than LAYOUT_DEVICE_BYTES_MIN. */
struct status disk_layout_make(uint64_t device_bytes, struct disk_layout *out_layout) MUST_CHECK;

/* F2: whether the parts are aligned, inside the device, apart from each other, and big enough. */
struct status disk_layout_check(const struct disk_layout *layout, uint64_t device_bytes) MUST_CHECK;

/*
 * The same disk on a device that had old_bytes and has become larger: docs/disk-format.md, sections
 * 2.6 and 4.10.  OUT_OF_RANGE if it has by less than LAYOUT_GROWTH_BYTES_MIN, or if the disk cannot
 * use more; LIMIT if it needs an extension more than a superblock has room for.
 */
struct status disk_layout_grow(const struct disk_layout *layout, uint64_t old_bytes,
                               uint64_t device_bytes, struct disk_layout *out_layout) MUST_CHECK;

/* What all pieces of a checkpoint area (0 or 1), or of the table, have together. */
uint64_t disk_layout_checkpoint_bytes(const struct disk_layout *layout, unsigned area);
uint64_t disk_layout_sums_bytes(const struct disk_layout *layout);

/*
 * Where such a byte of a checkpoint area, or of the table, lies on the device, and, for an area,
 * how many bytes lie there in a row from it on.
 */
struct disk_extent disk_layout_checkpoint_at(const struct disk_layout *layout, unsigned area,
                                             uint64_t offset);
uint64_t disk_layout_sums_at(const struct disk_layout *layout, uint64_t offset);

/* The grains of the data area that the extension takes: never a shard's (F33). */
struct disk_grains {
    uint64_t first;
    uint64_t count;
};
struct disk_grains disk_layout_taken(const struct disk_layout *layout, uint32_t extension);

static inline uint64_t disk_layout_journal_blocks(const struct disk_layout *layout)
{
    return layout->part[LAYOUT_JOURNAL].bytes / 4096;
}

static inline uint64_t disk_layout_sums_blocks(uint64_t data_grains)
{
    return (data_grains + 30) / 31;
}

#endif

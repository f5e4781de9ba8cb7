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

struct disk_layout {
    struct disk_extent part[LAYOUT_PARTS];
    uint64_t data_grains;
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

static inline uint64_t disk_layout_journal_blocks(const struct disk_layout *layout)
{
    return layout->part[LAYOUT_JOURNAL].bytes / 4096;
}

static inline uint64_t disk_layout_sums_blocks(uint64_t data_grains)
{
    return (data_grains + 30) / 31;
}

#endif

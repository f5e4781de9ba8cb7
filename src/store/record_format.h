/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of journal and checkpoint, byte by byte: docs/disk-format.md, section 2.3.  Only
 * record.c includes this.
 *
 * Threading: types only.   Memory: types only.
 */
#ifndef STORE_RECORD_FORMAT_H
#define STORE_RECORD_FORMAT_H

#include <assert.h>
#include <stddef.h>

#include "base/le.h"

struct record_head_format {
    struct le16 type;
    struct le16 bytes;
};

struct record_volume_format {
    struct record_head_format head;
    struct le32 id;
    uint8_t uuid[16];
    char name[64];
    struct le64 bytes;
    struct le64 shard_bytes;
    struct le32 lba_bytes;
    struct le32 stripe_unit_bytes;
    struct le32 stripe_width;
    uint8_t replicas;
    uint8_t min_in_sync;
    struct le16 flags;
    struct le32 first_run_shards;
    uint8_t zero[36];
};
static_assert(sizeof(struct record_volume_format) == 160, "VOLUME");
static_assert(offsetof(struct record_volume_format, bytes) == 88, "VOLUME");
static_assert(offsetof(struct record_volume_format, flags) == 118, "VOLUME");
static_assert(offsetof(struct record_volume_format, first_run_shards) == 120, "VOLUME");

#define RECORD_VOLUME_CONTINUE 1u
#define RECORD_VOLUME_LOSS     2u
#define RECORD_VOLUME_BUSY     4u

struct record_volume_delete_format {
    struct record_head_format head;
    struct le32 volume;
};
static_assert(sizeof(struct record_volume_delete_format) == 8, "VOLUME_DELETE");

struct record_epoch_format {
    struct record_head_format head;
    struct le32 volume;
    struct le32 group;
    struct le64 epoch;
};
static_assert(sizeof(struct record_epoch_format) == 20, "EPOCH");

struct record_shard_format {
    struct record_head_format head;
    struct le32 id;
    struct le32 volume;
    struct le32 index;
    struct le32 group;
    struct le64 epoch;
    struct le64 generation;
    struct le64 bytes;
    struct le16 kind;
    struct le16 copyset;
};
static_assert(sizeof(struct record_shard_format) == 48, "SHARD");
static_assert(offsetof(struct record_shard_format, epoch) == 20, "SHARD");

#define RECORD_SHARD_KIND_MAP 1

/* WRITE and COPY; the CRCs follow. */
struct record_write_format {
    struct record_head_format head;
    struct le32 shard;
    struct le64 generation;
    struct le32 grain;
    struct le32 place;
    uint8_t first;
    uint8_t count;
    uint8_t cell; /* Of the place, plus 1; 0: blocks lie at their own positions. */
    uint8_t zero;
};
static_assert(sizeof(struct record_write_format) == 28, "WRITE");
static_assert(offsetof(struct record_write_format, first) == 24, "WRITE");

struct record_zero_format {
    struct record_head_format head;
    struct le32 shard;
    struct le64 generation;
    struct le64 first;
    struct le64 count;
    uint8_t state;
    uint8_t zero[3];
};
static_assert(sizeof(struct record_zero_format) == 36, "ZERO");

/* GRAINS, CELLS and SPOIL; items follow. */
struct record_grains_format {
    struct record_head_format head;
    struct le32 shard;
    struct le64 generation;
};
static_assert(sizeof(struct record_grains_format) == 16, "GRAINS");

struct record_grains_item_format {
    struct le32 grain;
    struct le32 count;
    struct le32 place;
    struct le32 data;
    struct le32 zero;
};
static_assert(sizeof(struct record_grains_item_format) == 20, "GRAINS item");

struct record_cells_item_format {
    struct le32 grain;
    struct le32 address;
    uint8_t cell;
    uint8_t data;
    struct le16 zero;
};
static_assert(sizeof(struct record_cells_item_format) == 12, "CELLS item");

struct record_intent_item_format {
    struct le32 shard;
    struct le32 region;
};
static_assert(sizeof(struct record_intent_item_format) == 8, "INTENT item");

struct record_regions_item_format {
    struct le32 shard;
    struct le32 region;
    struct le32 count;
    uint8_t slots;
    uint8_t zero[3];
};
static_assert(sizeof(struct record_regions_item_format) == 16, "REGIONS item");

struct record_spoil_item_format {
    struct le32 grain;
    struct le32 blocks;
};
static_assert(sizeof(struct record_spoil_item_format) == 8, "SPOIL item");

struct record_copyset_format {
    struct record_head_format head;
    struct le32 volume;
    struct le32 number;
    struct le32 group;
    struct le64 epoch;
    struct le64 sequence;
    uint8_t disks[3][16];
    struct le64 incarnations[3];
    uint8_t in;
    uint8_t whole;
    uint8_t zero[2];
};
static_assert(sizeof(struct record_copyset_format) == 108, "COPYSET");

struct record_point_format {
    uint8_t disk[16];
    struct le64 incarnation;
    struct le64 position;
};

struct record_points_format {
    struct record_head_format head;
    struct le32 volume;
    struct le32 number;
    struct le32 group;
    struct record_point_format points[4];
};
static_assert(sizeof(struct record_points_format) == 144, "POINTS");

/* LOSS and BUSY. */
struct record_state_format {
    struct record_head_format head;
    struct le32 volume;
    struct le32 state;
};
static_assert(sizeof(struct record_state_format) == 12, "LOSS, BUSY");

struct record_counters_format {
    struct record_head_format head;
    struct le32 next_volume;
    struct le32 next_shard;
};
static_assert(sizeof(struct record_counters_format) == 12, "HEAD");

#endif

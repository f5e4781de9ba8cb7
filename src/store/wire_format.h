/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands to stores of other nodes, byte by byte: docs/replication.md, sections 2.3 and 2.5.  Only
 * wire.c and wire_internal.h include this.
 *
 * Threading: types only.   Memory: types only.
 */
#ifndef STORE_WIRE_FORMAT_H
#define STORE_WIRE_FORMAT_H

#include <assert.h>
#include <stddef.h>

#include "base/le.h"

/* A submission queue entry. */
struct wire_entry_format {
    uint8_t opcode;
    uint8_t flags; /* These three bytes and the SGL are the transport's. */
    struct le16 cid;
    struct le32 handle;
    struct le32 shard;
    struct le32 tick;
    struct le64 epoch;
    uint8_t sgl[16];
    struct le32 first;
    struct le16 blocks;
    struct le16 options; /* Flags 3:0, copyset 15:4. */
    struct le64 argument;
    struct le32 session;
    struct le32 crc;
};
static_assert(sizeof(struct wire_entry_format) == 64, "entry");
static_assert(offsetof(struct wire_entry_format, handle) == 4, "entry");
static_assert(offsetof(struct wire_entry_format, epoch) == 16, "entry");
static_assert(offsetof(struct wire_entry_format, sgl) == 24, "entry");
static_assert(offsetof(struct wire_entry_format, first) == 40, "entry");
static_assert(offsetof(struct wire_entry_format, options) == 46, "entry");
static_assert(offsetof(struct wire_entry_format, argument) == 48, "entry");
static_assert(offsetof(struct wire_entry_format, crc) == 60, "entry");

#define WIRE_ENTRY_FLAGS_MASK    0x000fu
#define WIRE_ENTRY_COPYSET_SHIFT 4

/* All data but those of READ and WRITE begin so. */
struct wire_head_format {
    struct le32 crc; /* Of all that follows. */
    struct le16 version;
    uint8_t opcode;
    uint8_t zero_7;
    struct le32 items;
    struct le32 zero_12;
};
static_assert(sizeof(struct wire_head_format) == 16, "head");
static_assert(offsetof(struct wire_head_format, items) == 8, "head");

#define WIRE_VERSION 1

struct wire_volume_format {
    uint8_t uuid[16];
    char name[64];
    struct le64 bytes;
    struct le64 shard_bytes;
    struct le32 lba_bytes;
    struct le32 stripe_unit_bytes;
    struct le32 stripe_width;
    uint8_t replicas;
    uint8_t min_in_sync;
    struct le16 flags; /* 1: continue on unflushed loss. */
    struct le32 first_run_shards;
    uint8_t zero_116[12];
};
static_assert(sizeof(struct wire_volume_format) == 128, "volume");
static_assert(offsetof(struct wire_volume_format, bytes) == 80, "volume");
static_assert(offsetof(struct wire_volume_format, first_run_shards) == 112, "volume");

#define WIRE_VOLUME_CONTINUE 1u

/* Sets follow. */
struct wire_open_format {
    struct wire_head_format head;
    uint8_t cluster[16];
    uint8_t disk[16];
    struct le64 session;
    struct le64 sequence;
    struct le32 group;
    struct le32 flags;
    struct wire_volume_format volume;
};
static_assert(sizeof(struct wire_open_format) == 200, "OPEN");
static_assert(offsetof(struct wire_open_format, session) == 48, "OPEN");
static_assert(offsetof(struct wire_open_format, group) == 64, "OPEN");
static_assert(offsetof(struct wire_open_format, volume) == 72, "OPEN");

/* Sets follow. */
struct wire_set_format {
    struct wire_head_format head;
    struct le64 sequence;
    struct le64 zero_24;
};
static_assert(sizeof(struct wire_set_format) == 32, "SET");

struct wire_set_item_format {
    struct le16 number;
    uint8_t in;
    uint8_t whole;
    struct le32 zero_4;
    uint8_t disk[3][16];
    struct le64 incarnation[3];
};
static_assert(sizeof(struct wire_set_item_format) == 80, "set");
static_assert(offsetof(struct wire_set_item_format, disk) == 8, "set");
static_assert(offsetof(struct wire_set_item_format, incarnation) == 56, "set");

/* Sets follow. */
struct wire_state_format {
    struct wire_head_format head;
    struct le64 incarnation;
    struct le64 generation;
    struct le64 epoch;
    struct le64 sequence;
    struct le32 regions;
    struct le32 sets;
    struct le16 reactor;
    struct le16 flags;
    struct le32 zero_60;
};
static_assert(sizeof(struct wire_state_format) == 64, "STATE");
static_assert(offsetof(struct wire_state_format, epoch) == 32, "STATE");
static_assert(offsetof(struct wire_state_format, regions) == 48, "STATE");
static_assert(offsetof(struct wire_state_format, flags) == 58, "STATE");

/* REGIONS, POINTS.  Items follow. */
struct wire_regions_format {
    struct wire_head_format head;
    struct le64 cursor;
    struct le64 zero_24;
};
static_assert(sizeof(struct wire_regions_format) == 32, "REGIONS");

struct wire_region_item_format {
    struct le32 shard;
    struct le32 region;
    struct le32 count;
    struct le32 tick;
    struct le16 copyset;
    uint8_t slots;
    uint8_t zero_19;
};
static_assert(sizeof(struct wire_region_item_format) == 20, "region");
static_assert(offsetof(struct wire_region_item_format, slots) == 18, "region");

struct wire_point_item_format {
    struct le16 copyset;
    uint8_t zero_2[6];
    uint8_t disk[16];
    struct le64 incarnation;
    struct le64 position;
};
static_assert(sizeof(struct wire_point_item_format) == 40, "point");
static_assert(offsetof(struct wire_point_item_format, incarnation) == 24, "point");

#endif

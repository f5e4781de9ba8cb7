/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of journal and checkpoint: the state of a store, and its changes.
 * docs/disk-format.md, section 2.3.
 *
 * Threading: pure.   Memory: values; CRCs and items stay in the caller's bytes.
 */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "disk/layout.h"
#include "store/store.h"

#define RECORD_GRAIN_BLOCKS      32
#define RECORD_PLACE_NONE        UINT32_MAX
#define RECORD_GRAIN_CELLS       8
#define RECORD_CELL_BLOCKS       4
#define RECORD_GRAINS_ITEMS_MAX  200
#define RECORD_CELLS_ITEMS_MAX   334
#define RECORD_INTENT_ITEMS_MAX  500
#define RECORD_REGIONS_ITEMS_MAX 250
#define RECORD_SPOIL_ITEMS_MAX   500
#define RECORD_BYTES_MAX         4032

enum record_type {
    RECORD_VOLUME = 1,
    RECORD_VOLUME_DELETE,
    RECORD_EPOCH,
    RECORD_SHARD,
    RECORD_WRITE,
    RECORD_ZERO,
    RECORD_GRAINS,
    RECORD_INTENT,
    RECORD_LOSS,
    RECORD_HEAD,
    RECORD_COPY,
    RECORD_BUSY,
    RECORD_CELLS,
    RECORD_REGIONS,
    RECORD_COPYSET,
    RECORD_SPOIL,
    RECORD_POINTS,
};

struct record_volume {
    uint32_t id;
    struct store_volume volume;
    bool loss;
    bool busy; /* Checkpoints only (F25). */
};

struct record_busy {
    uint32_t volume;
    bool busy;
};

struct record_epoch {
    uint32_t volume;
    uint32_t group;
    uint64_t epoch;
};

struct record_shard {
    uint32_t id;
    uint32_t volume;
    uint32_t index;
    uint32_t group;
    uint64_t epoch;
    uint64_t generation;
    uint64_t bytes;
    uint16_t copyset; /* Number. */
};

/* WRITE and COPY. */
struct record_write {
    uint32_t shard;
    uint64_t generation;
    uint32_t grain;
    uint64_t place; /* Block of the data area that holds the first. */
    uint32_t first; /* Block of the grain. */
    uint32_t count; /* 1 to 32 - first. */
};

struct record_zero {
    uint32_t shard;
    uint64_t generation;
    uint64_t first; /* Block of the shard. */
    uint64_t count;
    bool zero; /* Otherwise absent. */
};

struct record_grains_item {
    uint32_t grain;
    uint32_t count;
    uint32_t place; /* RECORD_PLACE_NONE: none. */
    uint32_t data;
    uint32_t zero;
};

struct record_cells_item {
    uint32_t grain;
    uint32_t address; /* Cell of the data area. */
    uint32_t cell;    /* Of the grain. */
    uint32_t data;    /* Bits of its blocks; not 0. */
};

struct record_spoil_item {
    uint32_t grain;
    uint32_t blocks; /* Bits; not 0. */
};

/* GRAINS, CELLS and SPOIL. */
struct record_grains {
    uint32_t shard;
    uint64_t generation;
};

struct record_intent_item {
    uint32_t shard;
    uint32_t region;
};

struct record_regions_item {
    uint32_t shard;
    uint32_t region;
    uint32_t count;
    uint8_t slots;
};

struct record_copyset {
    uint32_t volume;
    uint32_t number;
    uint32_t group;
    uint64_t epoch;
    uint64_t sequence;
    struct store_copyset set;
};

/* All that is kept of a copyset, in place of what was. */
struct record_points {
    uint32_t volume;
    uint32_t number;
    uint32_t group;
    struct store_point points[STORE_COPYSET_POINTS]; /* Those without a disk come last. */
};

struct record {
    enum record_type type;
    union {
        struct record_volume volume;
        uint32_t volume_id; /* VOLUME_DELETE, LOSS (reported). */
        struct record_epoch epoch;
        struct record_busy busy;
        struct record_shard shard;
        struct record_write write; /* WRITE, COPY. */
        struct record_zero zero;
        struct record_grains grains; /* GRAINS, CELLS, SPOIL. */
        struct record_copyset copyset;
        struct record_points points;
        struct {
            uint32_t next_volume;
            uint32_t next_shard;
        } head;
    } u;
    uint32_t items; /* WRITE, COPY: CRCs.  GRAINS, CELLS, INTENT, REGIONS, SPOIL: items. */
    struct const_span raw_items;
};

/* How long the record is with its items. */
size_t record_bytes(enum record_type type, uint32_t items);

/*
 * Encodes everything but the items; out is record_bytes() long.  The items are put one by one
 * with the functions below.
 */
void record_encode(const struct record *rec, struct span out);
void record_put_crc(struct span out, uint32_t item, uint32_t crc);
void record_put_grains(struct span out, uint32_t item, const struct record_grains_item *grains);
void record_put_cell(struct span out, uint32_t item, const struct record_cells_item *cell);
void record_put_intent(struct span out, uint32_t item, const struct record_intent_item *intent);
void record_put_regions(struct span out, uint32_t item, const struct record_regions_item *regions);
void record_put_spoil(struct span out, uint32_t item, const struct record_spoil_item *spoil);

/* Whether the blocks of a WRITE or COPY lie at their own positions of a place. */
static inline bool record_write_is_natural(const struct record_write *w)
{
    return w->place % RECORD_GRAIN_BLOCKS == w->first;
}

/*
 * Takes the first record off *payload and checks all of its fields against their limits, but not
 * against the rest of the store.  CORRUPT if it is none.
 */
struct status record_decode(struct const_span *payload, struct record *out_rec) MUST_CHECK;

uint32_t record_get_crc(const struct record *rec, uint32_t item);
struct record_grains_item record_get_grains(const struct record *rec, uint32_t item);
struct record_cells_item record_get_cell(const struct record *rec, uint32_t item);
struct record_intent_item record_get_intent(const struct record *rec, uint32_t item);
struct record_regions_item record_get_regions(const struct record *rec, uint32_t item);
struct record_spoil_item record_get_spoil(const struct record *rec, uint32_t item);

#endif

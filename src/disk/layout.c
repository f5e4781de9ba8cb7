/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/layout.h"

#include <stdbool.h>

#include "base/span.h"
#include "disk/disk_format.h"

#define FIRST_OFFSET      ((uint64_t)64 << 10)
#define PART_ALIGN        ((uint64_t)64 << 10)
#define DATA_ALIGN        ((uint64_t)1 << 20)
#define JOURNAL_BYTES_MIN ((uint64_t)1 << 20)
#define JOURNAL_BYTES_MAX ((uint64_t)1 << 30)

/* Upper bounds of one object's records in a checkpoint. */
#define VOLUME_RECORD_BYTES 224 /* VOLUME and EPOCH. */
#define SHARD_RECORD_BYTES  96  /* SHARD and the heads of its GRAINS records. */
#define ITEM_BYTES          20
#define INTENT_BYTES        8

static uint64_t clamp_u64(uint64_t value, uint64_t low, uint64_t high)
{
    return max_u64(low, min_u64(value, high));
}

struct disk_limits disk_layout_limits_for(uint64_t data_grains)
{
    return (struct disk_limits) {
        .volumes = (uint32_t)clamp_u64(data_grains / 8, 16, 4096),
        .shards = (uint32_t)clamp_u64(data_grains, 64, 65536),
        .intents = LAYOUT_INTENTS_MAX,
        .map_items = data_grains + data_grains / 4 + 64,
    };
}

static uint64_t checkpoint_bytes_for(uint64_t data_grains)
{
    const struct disk_limits limits = disk_layout_limits_for(data_grains);
    const uint64_t payload = limits.volumes * (uint64_t)VOLUME_RECORD_BYTES +
                             limits.shards * (uint64_t)SHARD_RECORD_BYTES +
                             limits.intents * (uint64_t)INTENT_BYTES +
                             limits.map_items * ITEM_BYTES;
    /* A block may end with a record's worth of room: a quarter more is ample. */
    const uint64_t blocks = payload / METABLOCK_PAYLOAD_BYTES;
    return round_up_u64((blocks + blocks / 4 + 16) * DISK_BLOCK_BYTES, PART_ALIGN);
}

static void layout_place(struct disk_layout *layout, uint64_t device_bytes, uint64_t grains)
{
    const uint64_t journal = clamp_u64(device_bytes / 256, JOURNAL_BYTES_MIN, JOURNAL_BYTES_MAX);
    const uint64_t bytes[LAYOUT_PARTS] = {
        [LAYOUT_JOURNAL] = round_down_u64(journal, PART_ALIGN),
        [LAYOUT_CHECKPOINT_0] = checkpoint_bytes_for(grains),
        [LAYOUT_CHECKPOINT_1] = checkpoint_bytes_for(grains),
        [LAYOUT_SUMS] = round_up_u64(disk_layout_sums_blocks(grains) * SUMS_PAIR_BYTES, PART_ALIGN),
        [LAYOUT_DATA] = grains * DISK_GRAIN_BYTES,
    };
    uint64_t at = FIRST_OFFSET;

    for (unsigned i = 0; i < LAYOUT_PARTS; i++) {
        if (i == LAYOUT_DATA)
            at = round_up_u64(at, DATA_ALIGN);
        layout->part[i] = (struct disk_extent) { at, bytes[i] };
        at += bytes[i];
    }
    layout->data_grains = grains;
}

struct status disk_layout_make(uint64_t device_bytes, struct disk_layout *out_layout)
{
    struct disk_layout layout;

    if (device_bytes < LAYOUT_DEVICE_BYTES_MIN)
        return STATUS(LIMIT);

    /* Two estimates: the metadata shrinks with the grains that it describes. */
    uint64_t grains = min_u64(device_bytes / DISK_GRAIN_BYTES, LAYOUT_GRAINS_MAX);
    for (int round = 0; round < 2; round++) {
        layout_place(&layout, device_bytes, grains);
        const uint64_t data_offset = layout.part[LAYOUT_DATA].offset;
        assert(data_offset < device_bytes);
        grains = min_u64((device_bytes - data_offset) / DISK_GRAIN_BYTES, LAYOUT_GRAINS_MAX);
    }
    layout_place(&layout, device_bytes, grains);
    while (layout.part[LAYOUT_DATA].offset + layout.part[LAYOUT_DATA].bytes > device_bytes)
        layout_place(&layout, device_bytes, --grains);
    TRY(disk_layout_check(&layout, device_bytes));
    *out_layout = layout;
    return STATUS(OK);
}

static bool extent_inside(const struct disk_extent *e, uint64_t device_bytes)
{
    return e->offset >= 2 * (uint64_t)DISK_BLOCK_BYTES && e->bytes > 0 &&
           e->offset <= device_bytes && e->bytes <= device_bytes - e->offset &&
           e->offset % DISK_BLOCK_BYTES == 0 && e->bytes % DISK_BLOCK_BYTES == 0;
}

static bool extents_overlap(const struct disk_extent *a, const struct disk_extent *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

struct status disk_layout_check(const struct disk_layout *layout, uint64_t device_bytes)
{
    for (unsigned i = 0; i < LAYOUT_PARTS; i++) {
        if (!extent_inside(&layout->part[i], device_bytes))
            return STATUS(CORRUPT);
        for (unsigned j = 0; j < i; j++) {
            if (extents_overlap(&layout->part[i], &layout->part[j]))
                return STATUS(CORRUPT);
        }
    }
    const uint64_t grains = layout->data_grains;
    if (grains == 0 || grains > LAYOUT_GRAINS_MAX ||
        layout->part[LAYOUT_DATA].bytes < grains * DISK_GRAIN_BYTES ||
        layout->part[LAYOUT_SUMS].bytes < disk_layout_sums_blocks(grains) * SUMS_PAIR_BYTES ||
        layout->part[LAYOUT_JOURNAL].bytes < JOURNAL_BYTES_MIN ||
        layout->part[LAYOUT_JOURNAL].bytes > JOURNAL_BYTES_MAX)
        return STATUS(CORRUPT);
    return STATUS(OK);
}

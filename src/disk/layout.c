/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/layout.h"

#include <stdbool.h>

#include "base/span.h"
#include "disk/disk_format.h"

#define FIRST_OFFSET      ((uint64_t)64 << 10)
#define PART_ALIGN        ((uint64_t)64 << 10)
#define DATA_ALIGN        ((uint64_t)1 << 20)
#define JOURNAL_BYTES_MIN ((uint64_t)1 << 20)

/* Upper bounds of one object's records in a checkpoint. */
#define VOLUME_RECORD_BYTES 224 /* VOLUME and EPOCH. */
#define SHARD_RECORD_BYTES  96  /* SHARD, and room for the heads of its layers' records. */
#define CELL_BYTES          12
#define ZEROS_BYTES         20
#define INTENT_BYTES        8
#define REGION_ITEM_BYTES   16
#define COPYSET_BYTES       252 /* COPYSET and POINTS. */

/* Blocks of an area beyond those that a payload of the same size would fill. */
#define SPARE_BLOCKS 16

static uint64_t clamp_u64(uint64_t value, uint64_t low, uint64_t high)
{
    return max_u64(low, min_u64(value, high));
}

static struct disk_limits limits_for(uint64_t data_grains)
{
    struct disk_limits limits = {
        .volumes = (uint32_t)clamp_u64(data_grains / 8, 16, 4096),
        .shards = (uint32_t)clamp_u64(data_grains, 64, 65536),
        .intents = LAYOUT_INTENTS_MAX,
        .open_regions = (uint32_t)clamp_u64(data_grains / 4, 256, LAYOUT_INTENTS_MAX),
        .copysets = (uint32_t)clamp_u64(data_grains / 8, 16, 8192),
    };
    /* An open region splits a run in three; a shard that lists anything has a run; the rest lists
     * what replicas missed while they were away. */
    limits.region_bytes =
        (2 * (uint64_t)limits.open_regions + limits.shards) * REGION_ITEM_BYTES + data_grains;
    return limits;
}

/* All that a checkpoint holds but what it says of grains. */
static uint64_t fixed_bytes(const struct disk_limits *limits)
{
    return limits->volumes * (uint64_t)VOLUME_RECORD_BYTES +
           limits->shards * (uint64_t)SHARD_RECORD_BYTES +
           limits->copysets * (uint64_t)COPYSET_BYTES + limits->intents * (uint64_t)INTENT_BYTES +
           limits->region_bytes;
}

/* What a checkpoint may have to say of so many grains. */
static uint64_t map_bytes_for(uint64_t data_grains)
{
    const uint64_t cells = data_grains * (DISK_GRAIN_BYTES / DISK_CELL_BYTES);

    return cells * CELL_BYTES + (data_grains / 4 + 64) * ZEROS_BYTES;
}

static uint64_t checkpoint_bytes_for(uint64_t data_grains)
{
    const struct disk_limits limits = limits_for(data_grains);
    const uint64_t payload = fixed_bytes(&limits) + map_bytes_for(data_grains);
    /* A block may end with room for one volume, or one grain, less a byte: below a twelfth of it.
     */
    const uint64_t blocks = payload / METABLOCK_PAYLOAD_BYTES + 2;
    return round_up_u64((blocks + blocks / 8 + SPARE_BLOCKS) * DISK_BLOCK_BYTES, PART_ALIGN);
}

/* For how many grains table and areas were made: an extension has room for growths to come. */
static uint64_t grains_made_for(const struct disk_layout *layout)
{
    const uint64_t pairs = disk_layout_sums_bytes(layout) / SUMS_PAIR_BYTES;

    if (layout->extension_count == 0)
        return layout->data_grains;
    return min_u64(pairs * SUMS_GRAINS_PER_BLOCK, LAYOUT_GRAINS_MAX);
}

/* Of the smaller area. */
static uint64_t area_blocks(const struct disk_layout *layout)
{
    return min_u64(disk_layout_checkpoint_bytes(layout, 0),
                   disk_layout_checkpoint_bytes(layout, 1)) /
           DISK_BLOCK_BYTES;
}

struct disk_limits disk_layout_limits(const struct disk_layout *layout)
{
    struct disk_limits limits = limits_for(grains_made_for(layout));
    const uint64_t area = area_blocks(layout);
    const uint64_t blocks = area > SPARE_BLOCKS ? (area - SPARE_BLOCKS) * 8 / 9 : 0;
    const uint64_t payload = blocks * METABLOCK_PAYLOAD_BYTES;
    const uint64_t fixed = fixed_bytes(&limits);

    limits.map_bytes = payload > fixed ? payload - fixed : 0;
    return limits;
}

static void layout_place(struct disk_layout *layout, uint64_t device_bytes, uint64_t grains)
{
    const uint64_t journal =
        clamp_u64(device_bytes / 256, JOURNAL_BYTES_MIN, LAYOUT_JOURNAL_BYTES_MAX);
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
    struct disk_layout layout = { 0 };

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

/* ---- Extensions ---- */

uint64_t disk_layout_checkpoint_bytes(const struct disk_layout *layout, unsigned area)
{
    uint64_t bytes = layout->part[LAYOUT_CHECKPOINT_0 + area].bytes;

    for (uint32_t i = 0; i < layout->extension_count; i++)
        bytes += layout->extension[i].checkpoint_bytes;
    return bytes;
}

uint64_t disk_layout_sums_bytes(const struct disk_layout *layout)
{
    uint64_t bytes = layout->part[LAYOUT_SUMS].bytes;

    for (uint32_t i = 0; i < layout->extension_count; i++)
        bytes += layout->extension[i].sums_bytes;
    return bytes;
}

struct disk_extent disk_layout_checkpoint_at(const struct disk_layout *layout, unsigned area,
                                             uint64_t offset)
{
    struct disk_extent piece = layout->part[LAYOUT_CHECKPOINT_0 + area];
    uint64_t left = offset;

    for (uint32_t i = 0; left >= piece.bytes; i++) {
        assert(i < layout->extension_count);
        const struct disk_extension *const e = &layout->extension[i];
        left -= piece.bytes;
        piece =
            (struct disk_extent) { e->offset + area * e->checkpoint_bytes, e->checkpoint_bytes };
    }
    return (struct disk_extent) { piece.offset + left, piece.bytes - left };
}

uint64_t disk_layout_sums_at(const struct disk_layout *layout, uint64_t offset)
{
    struct disk_extent piece = layout->part[LAYOUT_SUMS];
    uint64_t left = offset;

    for (uint32_t i = 0; left >= piece.bytes; i++) {
        assert(i < layout->extension_count);
        const struct disk_extension *const e = &layout->extension[i];
        left -= piece.bytes;
        piece = (struct disk_extent) { e->offset + 2 * e->checkpoint_bytes, e->sums_bytes };
    }
    return piece.offset + left;
}

static uint64_t extension_bytes(const struct disk_extension *e)
{
    return round_up_u64(2 * e->checkpoint_bytes + e->sums_bytes, DISK_GRAIN_BYTES);
}

struct disk_grains disk_layout_taken(const struct disk_layout *layout, uint32_t extension)
{
    const struct disk_extension *const e = &layout->extension[extension];

    assert(extension < layout->extension_count);
    return (struct disk_grains) {
        .first = (e->offset - layout->part[LAYOUT_DATA].offset) / DISK_GRAIN_BYTES,
        .count = extension_bytes(e) / DISK_GRAIN_BYTES,
    };
}

/*
 * Whether table and areas suffice for the grains.  An area that would do may still be too small:
 * it must not have less room for what is said of grains than before, as that may be in use (F31).
 */
static bool layout_suffices(const struct disk_layout *layout, const struct disk_layout *before,
                            uint64_t grains)
{
    const uint64_t map_bytes = disk_layout_limits(layout).map_bytes;

    return disk_layout_sums_bytes(layout) >= disk_layout_sums_blocks(grains) * SUMS_PAIR_BYTES &&
           map_bytes >= map_bytes_for(grains) && map_bytes >= disk_layout_limits(before).map_bytes;
}

/* For how many grains an extension makes the table and areas suffice: see section 2.6. */
static uint64_t grains_covered(uint64_t before, uint64_t now)
{
    const uint64_t more = min_u64(now / 4, (now - before) * 8);

    return min_u64(now + more, LAYOUT_GRAINS_MAX);
}

static uint64_t missing_bytes(uint64_t wanted, uint64_t there)
{
    return round_up_u64(wanted - min_u64(wanted, there), PART_ALIGN);
}

static struct status MUST_CHECK layout_extend(struct disk_layout *layout,
                                              const struct disk_layout *before)
{
    const uint64_t grains = grains_covered(before->data_grains, layout->data_grains);
    const uint64_t area =
        min_u64(disk_layout_checkpoint_bytes(before, 0), disk_layout_checkpoint_bytes(before, 1));

    if (layout->extension_count == LAYOUT_EXTENSIONS_MAX)
        return STATUS(LIMIT);
    struct disk_extension *const e = &layout->extension[layout->extension_count++];
    *e = (struct disk_extension) {
        .offset = layout->part[LAYOUT_DATA].offset + before->data_grains * DISK_GRAIN_BYTES,
        .checkpoint_bytes = missing_bytes(checkpoint_bytes_for(grains), area),
        .sums_bytes = missing_bytes(disk_layout_sums_blocks(grains) * SUMS_PAIR_BYTES,
                                    disk_layout_sums_bytes(before)),
    };
    while (!layout_suffices(layout, before, grains))
        e->checkpoint_bytes += PART_ALIGN;
    return STATUS(OK);
}

struct status disk_layout_grow(const struct disk_layout *layout, uint64_t old_bytes,
                               uint64_t device_bytes, struct disk_layout *out_layout)
{
    struct disk_layout next = *layout;
    const uint64_t offset = layout->part[LAYOUT_DATA].offset;

    if (device_bytes < old_bytes || device_bytes - old_bytes < LAYOUT_GROWTH_BYTES_MIN)
        return STATUS(OUT_OF_RANGE);
    next.data_grains = min_u64((device_bytes - offset) / DISK_GRAIN_BYTES, LAYOUT_GRAINS_MAX);
    if (next.data_grains < layout->data_grains + LAYOUT_GROWTH_BYTES_MIN / DISK_GRAIN_BYTES / 2)
        return STATUS(OUT_OF_RANGE);
    next.part[LAYOUT_DATA].bytes = next.data_grains * DISK_GRAIN_BYTES;
    if (!layout_suffices(&next, layout, next.data_grains))
        TRY(layout_extend(&next, layout));
    TRY(disk_layout_check(&next, device_bytes));
    *out_layout = next;
    return STATUS(OK);
}

/* ---- Checking ---- */

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

/* F33: of each, and in order. */
static bool extensions_are_good(const struct disk_layout *layout)
{
    const struct disk_extent *const data = &layout->part[LAYOUT_DATA];
    const uint64_t end = data->offset + layout->data_grains * DISK_GRAIN_BYTES;
    uint64_t from = data->offset;

    if (layout->extension_count > LAYOUT_EXTENSIONS_MAX)
        return false;
    for (uint32_t i = 0; i < layout->extension_count; i++) {
        const struct disk_extension *const e = &layout->extension[i];
        /* No sum of these overflows: a data area has below 2^46 bytes. */
        if (e->offset < from || e->offset >= end || e->checkpoint_bytes > end - e->offset ||
            e->sums_bytes > end - e->offset || e->checkpoint_bytes % PART_ALIGN != 0 ||
            e->sums_bytes % PART_ALIGN != 0 || e->checkpoint_bytes + e->sums_bytes == 0 ||
            (e->offset - data->offset) % DISK_GRAIN_BYTES != 0 ||
            extension_bytes(e) > end - e->offset)
            return false;
        from = e->offset + extension_bytes(e);
    }
    return true;
}

/* Whether the areas hold all but what is said of grains: one that was sized without cells may have
 * room for little more. */
static bool areas_suffice(const struct disk_layout *layout)
{
    const struct disk_limits limits = limits_for(grains_made_for(layout));

    return area_blocks(layout) * METABLOCK_PAYLOAD_BYTES >= fixed_bytes(&limits);
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
        layout->part[LAYOUT_JOURNAL].bytes < JOURNAL_BYTES_MIN ||
        layout->part[LAYOUT_JOURNAL].bytes > LAYOUT_JOURNAL_BYTES_MAX ||
        !extensions_are_good(layout))
        return STATUS(CORRUPT);
    if (disk_layout_sums_bytes(layout) < disk_layout_sums_blocks(grains) * SUMS_PAIR_BYTES ||
        !areas_suffice(layout))
        return STATUS(CORRUPT);
    return STATUS(OK);
}

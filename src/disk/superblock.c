/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/superblock.h"

#include "base/crc32c.h"
#include "disk/disk_format.h"

static_assert(SUPERBLOCK_BYTES == sizeof(struct superblock_format), "superblock");
static_assert(SUPERBLOCK_NAME == SUPERBLOCK_NAME_BYTES, "superblock");
static_assert((int)LAYOUT_PARTS == SUPERBLOCK_PARTS, "superblock");
static_assert(LAYOUT_EXTENSIONS_MAX == SUPERBLOCK_EXTENSIONS, "superblock");
static_assert(SUPERBLOCK_LIVES == SUPERBLOCK_EARLIER, "superblock");

#define BLOCK_SHIFT     12
#define GRAIN_SHIFT     17
#define CHECKSUM_CRC32C 1
#define ATOMIC_MIN      512
#define ATOMIC_MAX      (1u << 20)
/* No disk comes so far, and what is computed from these does not overflow (section 2.1). */
#define SEQUENCE_MAX    (UINT64_C(1) << 43)
#define JOURNAL_MAX     (UINT64_C(1) << 62)
#define INCARNATION_MAX (UINT64_C(1) << 63)

static uint32_t superblock_crc(struct superblock_format f)
{
    f.crc = le32_make(0);
    return crc32c(&f, sizeof f);
}

/* The bits without which nobody may open the disk. */
static uint64_t superblock_features(const struct superblock *sb)
{
    return (sb->marks_busy ? SUPERBLOCK_MARKS_BUSY : 0) | (sb->grows ? SUPERBLOCK_GROWS : 0) |
           (sb->has_cells ? SUPERBLOCK_CELLS : 0) | (sb->has_replicas ? SUPERBLOCK_REPLICAS : 0) |
           (sb->has_spoils ? SUPERBLOCK_SPOILS : 0) | (sb->has_points ? SUPERBLOCK_POINTS : 0) |
           (sb->layout.extension_count > 0 ? SUPERBLOCK_EXTENDED : 0);
}

static void superblock_pack_layout(const struct disk_layout *layout, struct superblock_format *f)
{
    for (unsigned i = 0; i < SUPERBLOCK_PARTS; i++) {
        f->parts[i].offset = le64_make(layout->part[i].offset);
        f->parts[i].bytes = le64_make(layout->part[i].bytes);
    }
    f->extension_count = le32_make(layout->extension_count);
    for (unsigned i = 0; i < layout->extension_count; i++) {
        f->extensions[i].offset = le64_make(layout->extension[i].offset);
        f->extensions[i].checkpoint_bytes = le64_make(layout->extension[i].checkpoint_bytes);
        f->extensions[i].sums_bytes = le64_make(layout->extension[i].sums_bytes);
    }
}

static void superblock_pack_earlier(const struct superblock *sb, struct superblock_format *f)
{
    for (unsigned i = 0; i < SUPERBLOCK_LIVES; i++) {
        f->earlier[i].incarnation = le64_make(sb->past.earlier[i].incarnation);
        f->earlier[i].end = le64_make(sb->past.earlier[i].end);
    }
}

void superblock_encode(const struct superblock *sb, struct span out)
{
    assert(out.bytes == SUPERBLOCK_BYTES);
    assert(sb->checkpoint_area < 2);
    assert(sb->has_points || (!sb->past.lied && sb->past.earlier[0].incarnation == 0));

    struct superblock_format f = {
        .magic = SUPERBLOCK_MAGIC,
        .version = le16_make(DISK_VERSION),
        .sequence = le64_make(sb->sequence),
        .features_incompatible = le64_make(superblock_features(sb)),
        .device_bytes = le64_make(sb->device_bytes),
        .tag = le64_make(sb->tag),
        .atomic_bytes = le32_make(sb->atomic_bytes),
        .block_shift = BLOCK_SHIFT,
        .grain_shift = GRAIN_SHIFT,
        .checksum_mode = le16_make(CHECKSUM_CRC32C),
        .incarnation = le64_make(sb->incarnation),
        .flags = le32_make((sb->clean ? SUPERBLOCK_FLAG_CLEAN : 0) |
                           (sb->failed ? SUPERBLOCK_FLAG_FAILED : 0) |
                           (sb->past.lied ? SUPERBLOCK_FLAG_LIED : 0)),
        .checkpoint_area = sb->checkpoint_area,
        .checkpoint_sequence = le64_make(sb->checkpoint_sequence),
        .checkpoint_blocks = le64_make(sb->checkpoint_blocks),
        .life = le64_make(sb->life),
        .journal_start = le64_make(sb->journal_start),
        .journal_flushed = le64_make(sb->journal_flushed),
        .data_grains = le64_make(sb->layout.data_grains),
        .created_ns = le64_make(sb->created_ns),
    };
    memcpy(f.cluster, sb->cluster.b, sizeof f.cluster);
    memcpy(f.disk, sb->disk.b, sizeof f.disk);
    memcpy(f.boot_id, sb->boot_id.b, sizeof f.boot_id);
    memcpy(f.cluster_name, sb->cluster_name, strnlen(sb->cluster_name, SUPERBLOCK_NAME - 1));
    memcpy(f.disk_name, sb->disk_name, strnlen(sb->disk_name, SUPERBLOCK_NAME - 1));
    superblock_pack_layout(&sb->layout, &f);
    superblock_pack_earlier(sb, &f);
    f.crc = le32_make(superblock_crc(f));
    memcpy(out.at, &f, sizeof f);
}

static bool all_zero(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != 0)
            return false;
    }
    return true;
}

static bool name_is_valid(const char name[SUPERBLOCK_NAME])
{
    return memchr(name, 0, SUPERBLOCK_NAME) != NULL;
}

/* Those that are not in use are zero, and all are without the feature. */
static bool extensions_are_marked(const struct superblock_format *f)
{
    const uint32_t count = le32_get(f->extension_count);
    const bool extended = (le64_get(f->features_incompatible) & SUPERBLOCK_EXTENDED) != 0;

    if (count > SUPERBLOCK_EXTENSIONS || extended != (count > 0) || le32_get(f->zero_460) != 0)
        return false;
    return all_zero((const uint8_t *)&f->extensions[count],
                    (SUPERBLOCK_EXTENSIONS - count) * sizeof f->extensions[0]);
}

/* What is in use comes first, and without the feature nothing is. */
static bool earlier_are_valid(const struct superblock_format *f)
{
    const bool has_points = (le64_get(f->features_incompatible) & SUPERBLOCK_POINTS) != 0;
    unsigned used = 0;

    while (used < SUPERBLOCK_EARLIER && le64_get(f->earlier[used].incarnation) != 0 &&
           le64_get(f->earlier[used].end) != 0)
        used++;
    if (!has_points && (used > 0 || (le32_get(f->flags) & SUPERBLOCK_FLAG_LIED) != 0))
        return false;
    return all_zero((const uint8_t *)&f->earlier[used],
                    (SUPERBLOCK_EARLIER - used) * sizeof f->earlier[0]);
}

static bool counts_are_valid(const struct superblock_format *f)
{
    const uint64_t incarnation = le64_get(f->incarnation);
    const uint64_t start = le64_get(f->journal_start);

    return le64_get(f->sequence) <= SEQUENCE_MAX && incarnation != 0 &&
           incarnation <= INCARNATION_MAX && start != 0 && start <= JOURNAL_MAX &&
           le64_get(f->journal_flushed) <= JOURNAL_MAX;
}

static struct status MUST_CHECK superblock_check_fields(const struct superblock_format *f)
{
    const uint32_t atomic = le32_get(f->atomic_bytes);

    if ((le64_get(f->features_incompatible) & ~SUPERBLOCK_FEATURES) != 0 ||
        le64_get(f->features_write) != 0 || f->block_shift != BLOCK_SHIFT ||
        f->grain_shift != GRAIN_SHIFT || le16_get(f->checksum_mode) != CHECKSUM_CRC32C ||
        !all_zero(f->metadata_device, 16))
        return STATUS(BAD_VERSION);
    if (le16_get(f->zero_14) != 0 || !all_zero(f->zero_261, sizeof f->zero_261) ||
        !all_zero(f->zero_3280, sizeof f->zero_3280) || !extensions_are_marked(f) ||
        !earlier_are_valid(f) || !name_is_valid(f->cluster_name) || !name_is_valid(f->disk_name))
        return STATUS(CORRUPT);
    if (atomic < ATOMIC_MIN || atomic > ATOMIC_MAX || (atomic & (atomic - 1)) != 0 ||
        f->checkpoint_area > 1 || !counts_are_valid(f) ||
        (le32_get(f->flags) &
         ~(SUPERBLOCK_FLAG_CLEAN | SUPERBLOCK_FLAG_FAILED | SUPERBLOCK_FLAG_LIED)) != 0)
        return STATUS(CORRUPT);
    for (unsigned i = 0; i < SUPERBLOCK_PARTS; i++) {
        if (le32_get(f->parts[i].device) != 0 || le32_get(f->parts[i].zero) != 0)
            return STATUS(BAD_VERSION);
    }
    return STATUS(OK);
}

static void superblock_unpack_layout(const struct superblock_format *f, struct disk_layout *layout)
{
    layout->data_grains = le64_get(f->data_grains);
    for (unsigned i = 0; i < SUPERBLOCK_PARTS; i++) {
        layout->part[i].offset = le64_get(f->parts[i].offset);
        layout->part[i].bytes = le64_get(f->parts[i].bytes);
    }
    layout->extension_count = le32_get(f->extension_count);
    for (unsigned i = 0; i < layout->extension_count; i++) {
        layout->extension[i] = (struct disk_extension) {
            .offset = le64_get(f->extensions[i].offset),
            .checkpoint_bytes = le64_get(f->extensions[i].checkpoint_bytes),
            .sums_bytes = le64_get(f->extensions[i].sums_bytes),
        };
    }
}

static void superblock_unpack(const struct superblock_format *f, struct superblock *sb)
{
    *sb = (struct superblock) {
        .sequence = le64_get(f->sequence),
        .device_bytes = le64_get(f->device_bytes),
        .tag = le64_get(f->tag),
        .atomic_bytes = le32_get(f->atomic_bytes),
        .incarnation = le64_get(f->incarnation),
        .clean = (le32_get(f->flags) & SUPERBLOCK_FLAG_CLEAN) != 0,
        .failed = (le32_get(f->flags) & SUPERBLOCK_FLAG_FAILED) != 0,
        .marks_busy = (le64_get(f->features_incompatible) & SUPERBLOCK_MARKS_BUSY) != 0,
        .grows = (le64_get(f->features_incompatible) & SUPERBLOCK_GROWS) != 0,
        .has_cells = (le64_get(f->features_incompatible) & SUPERBLOCK_CELLS) != 0,
        .has_replicas = (le64_get(f->features_incompatible) & SUPERBLOCK_REPLICAS) != 0,
        .has_spoils = (le64_get(f->features_incompatible) & SUPERBLOCK_SPOILS) != 0,
        .has_points = (le64_get(f->features_incompatible) & SUPERBLOCK_POINTS) != 0,
        .checkpoint_area = f->checkpoint_area,
        .checkpoint_sequence = le64_get(f->checkpoint_sequence),
        .checkpoint_blocks = le64_get(f->checkpoint_blocks),
        .life = le64_get(f->life),
        .journal_start = le64_get(f->journal_start),
        .journal_flushed = le64_get(f->journal_flushed),
        .created_ns = le64_get(f->created_ns),
    };
    memcpy(sb->cluster.b, f->cluster, sizeof f->cluster);
    memcpy(sb->disk.b, f->disk, sizeof f->disk);
    memcpy(sb->boot_id.b, f->boot_id, sizeof f->boot_id);
    memcpy(sb->cluster_name, f->cluster_name, SUPERBLOCK_NAME);
    memcpy(sb->disk_name, f->disk_name, SUPERBLOCK_NAME);
    superblock_unpack_layout(f, &sb->layout);
    sb->past.lied = (le32_get(f->flags) & SUPERBLOCK_FLAG_LIED) != 0;
    for (unsigned i = 0; i < SUPERBLOCK_LIVES; i++) {
        sb->past.earlier[i].incarnation = le64_get(f->earlier[i].incarnation);
        sb->past.earlier[i].end = le64_get(f->earlier[i].end);
    }
}

void superblock_end_incarnation(struct superblock_past *past, uint64_t incarnation, uint64_t end)
{
    assert(incarnation != 0 && end != 0);
    memmove(&past->earlier[1], &past->earlier[0], sizeof past->earlier - sizeof past->earlier[0]);
    past->earlier[0].incarnation = incarnation;
    past->earlier[0].end = end;
}

struct status superblock_decode(struct const_span block, struct superblock *out_sb)
{
    struct superblock_format f;
    struct superblock sb;

    assert(block.bytes == SUPERBLOCK_BYTES);
    memcpy(&f, block.at, sizeof f);
    if (memcmp(f.magic, SUPERBLOCK_MAGIC, sizeof f.magic) != 0)
        return STATUS(NOT_FOUND);
    if (le32_get(f.crc) != superblock_crc(f))
        return STATUS(CORRUPT);
    if (le16_get(f.version) != DISK_VERSION)
        return STATUS(BAD_VERSION);
    TRY(superblock_check_fields(&f));
    superblock_unpack(&f, &sb);
    TRY(disk_layout_check(&sb.layout, sb.device_bytes));
    const uint64_t area =
        disk_layout_checkpoint_bytes(&sb.layout, sb.checkpoint_area) / DISK_BLOCK_BYTES;
    if (sb.checkpoint_blocks == 0 || sb.checkpoint_blocks > area)
        return STATUS(CORRUPT);
    *out_sb = sb;
    return STATUS(OK);
}

struct status superblock_choose(struct const_span slots, struct superblock *out_sb,
                                unsigned *out_slot, unsigned *out_slots_bad)
{
    struct superblock found[SUPERBLOCK_SLOTS];
    struct status st[SUPERBLOCK_SLOTS];
    unsigned bad = 0;

    assert(slots.bytes == (size_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES);
    for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++) {
        st[i] = superblock_decode(
            const_span_sub(slots, i * (size_t)SUPERBLOCK_BYTES, SUPERBLOCK_BYTES), &found[i]);
        if (!status_ok(st[i]))
            bad |= 1u << i;
    }
    /* A newer version than ours beside a valid old one: somebody upgraded; hands off. */
    if (status_is(st[0], STATUS_BAD_VERSION) || status_is(st[1], STATUS_BAD_VERSION))
        return STATUS(BAD_VERSION);
    if (bad == 3)
        return status_is(st[0], STATUS_NOT_FOUND) ? st[1] : st[0];

    const bool second = (bad & 1) != 0 || ((bad & 2) == 0 && found[1].sequence > found[0].sequence);
    *out_slot = second ? 1 : 0;
    *out_sb = found[*out_slot];
    *out_slots_bad = bad;
    return STATUS(OK);
}

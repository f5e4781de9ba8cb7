/* SPDX-License-Identifier: Apache-2.0 */
#include "blame.h"

#include <assert.h>

#include "disk/disk_format.h"
#include "disk/superblock.h"
#include "store/store.h"

#define BLOCK SIM_BLOCK_BYTES

static bool extent_has(const struct disk_extent *e, uint64_t offset)
{
    return offset >= e->offset && offset - e->offset < e->bytes;
}

/* ---- What lies where ---- */

enum place { PLACE_OTHER, PLACE_SUMS, PLACE_DATA };

/* The disk may have grown: as its superblock says, if one that is there is good. */
static bool blame_look(struct blame_disk *d, struct superblock *out_sb)
{
    uint8_t slots[2 * SUPERBLOCK_BYTES];
    unsigned slot, bad;

    sim_disk_peek(d->disk, 0, (struct span) { slots, sizeof slots });
    for (unsigned i = 0; i < 2; i++)
        if (d->latent[i])
            memset(slots + superblock_offset(i), 0, SUPERBLOCK_BYTES);
    if (!status_ok(
            superblock_choose((struct const_span) { slots, sizeof slots }, out_sb, &slot, &bad)))
        return false;
    d->layout = out_sb->layout;
    return true;
}

/* In an extension, the table lies behind both areas. */
static enum place extension_place(const struct disk_extension *e, uint64_t offset)
{
    const struct disk_extent sums = { e->offset + 2 * e->checkpoint_bytes, e->sums_bytes };

    return extent_has(&sums, offset) ? PLACE_SUMS : PLACE_OTHER;
}

static enum place place_of(const struct blame_disk *d, uint64_t offset)
{
    const struct disk_layout *const l = &d->layout;

    for (uint32_t i = 0; i < l->extension_count; i++) {
        const struct disk_grains taken = disk_layout_taken(l, i);
        const struct disk_extent all = { l->extension[i].offset, taken.count * STORE_GRAIN_BYTES };
        if (extent_has(&all, offset))
            return extension_place(&l->extension[i], offset);
    }
    if (extent_has(&l->part[LAYOUT_DATA], offset))
        return PLACE_DATA;
    return extent_has(&l->part[LAYOUT_SUMS], offset) ? PLACE_SUMS : PLACE_OTHER;
}

/* ---- From bytes to blocks ---- */

static bool name_at(const struct blame_disk *d, uint64_t offset, uint64_t *out_address,
                    uint64_t *out_content)
{
    uint8_t bytes[BLOCK];
    const struct span block = { bytes, sizeof bytes };

    sim_disk_peek(d->disk, offset, block);
    return pattern_name(span_const(block), out_address, out_content);
}

/* A block of data can no longer be told from another: its checksum or its bytes are gone. */
static void damage_at(const struct blame_disk *d, uint64_t offset)
{
    uint64_t address, content;

    if (name_at(d, offset, &address, &content))
        history_damage_content(d->blame->history, address, content);
}

/* The checksums of a slot of the table are gone, or those that it had newer than the other. */
static void damage_sums(const struct blame_disk *d, uint64_t offset)
{
    const struct disk_extent *const data = &d->layout.part[LAYOUT_DATA];
    uint64_t table = 0;

    while (offset - disk_layout_sums_at(&d->layout, table * SUMS_PAIR_BYTES) >= SUMS_PAIR_BYTES)
        table++;
    const uint64_t first = table * SUMS_GRAINS_PER_BLOCK;
    const uint64_t end = min_u64(first + SUMS_GRAINS_PER_BLOCK, d->layout.data_grains);

    for (uint64_t at = first * STORE_GRAIN_BYTES; at < end * STORE_GRAIN_BYTES; at += BLOCK) {
        uint64_t address, content;
        if (!name_at(d, data->offset + at, &address, &content))
            continue;
        history_damage_content(d->blame->history, address, content);
        d->blame->unsummed[address] = content;
    }
}

/* ---- Failures, as they happen ---- */

static void on_unread_data(struct blame_disk *d, uint64_t offset)
{
    struct blame *const b = d->blame;
    uint64_t address, content;

    d->unread = true;
    if (name_at(d, offset, &address, &content))
        b->unread_at[address] = b->clock;
    else if (sim_disk_config(d->disk)->atomic_bytes < BLOCK)
        b->torn_unread_at = b->clock;
}

static void on_read_failed(struct blame_disk *d, const struct sim_disk_failure *f)
{
    for (uint64_t at = f->offset; at < f->offset + f->bytes; at += BLOCK) {
        if (place_of(d, at) == PLACE_SUMS)
            damage_sums(d, at);
        else if (place_of(d, at) == PLACE_DATA)
            on_unread_data(d, at);
    }
    if (d->blame->opening && place_of(d, f->offset) == PLACE_DATA)
        history_damage_unsettled(d->blame->history);
}

static void disk_fail(struct blame_disk *d)
{
    d->failed = true;
    d->blame->any_failed = true;
}

/* F21: what a copy could not be brought home to is a media error, and nothing else is. */
static void on_home_failed(struct blame_disk *d, const struct sim_disk_failure *f)
{
    uint64_t address, content;

    for (size_t at = 0; at < f->data.bytes; at += BLOCK)
        if (pattern_name(const_span_sub(f->data, at, BLOCK), &address, &content))
            history_damage_content(d->blame->history, address, content);
}

static void on_write_failed(struct blame_disk *d, const struct sim_disk_failure *f)
{
    struct blame *const b = d->blame;
    uint64_t address, content;

    if (place_of(d, f->offset) != PLACE_DATA) {
        disk_fail(d);
        return;
    }
    if (b->opening) {
        on_home_failed(d, f);
        return;
    }
    /* One command's blocks lie in a row, so the first names the command. */
    if (!pattern_name(const_span_sub(f->data, 0, BLOCK), &address, &content))
        return;
    b->writes[b->write_count++ % BLAME_WRITES_MAX] = content;
    if (sim_disk_config(d->disk)->atomic_bytes < BLOCK)
        history_damage_write(b->history, content);
}

static void on_failure(void *ctx, const struct sim_disk_failure *f)
{
    struct blame_disk *const d = ctx;
    struct superblock sb;

    d->blame->clock++;
    (void)blame_look(d, &sb);
    if (f->kind == IO_KIND_READ)
        on_read_failed(d, f);
    else if (f->kind == IO_KIND_WRITE)
        on_write_failed(d, f);
    else if (f->kind == IO_KIND_FSYNC)
        disk_fail(d);
}

/* ---- Setting up ---- */

void blame_init(struct blame *b, struct sim_world *w, struct history *h, uint64_t blocks)
{
    *b = (struct blame) { .history = h,
                          .clock = 1,
                          .unread_at = sim_world_alloc(w, blocks * sizeof *b->unread_at),
                          .unsummed = sim_world_alloc(w, blocks * sizeof *b->unsummed) };
}

void blame_add_disk(struct blame *b, struct sim_disk *disk)
{
    struct blame_disk *const d = &b->disks[b->count++];

    assert(b->count <= BLAME_DISKS_MAX);
    *d = (struct blame_disk) { .blame = b, .disk = disk };
    const struct status st = disk_layout_make(sim_disk_config(disk)->bytes, &d->layout);
    assert(status_ok(st));
    sim_disk_watch(disk, on_failure, d);
}

void blame_begin_life(struct blame *b)
{
    b->opening = true;
    b->life_clock = b->clock;
    b->life_history = history_clock(b->history);
    for (unsigned i = 0; i < b->count; i++) {
        b->disks[i].failed = false;
        b->disks[i].unread = false;
    }
}

void blame_opened(struct blame *b)
{
    b->opening = false;
}

/* ---- Questions ---- */

bool blame_any(const struct blame *b)
{
    return b->clock > b->life_clock;
}

bool blame_disk_failed(const struct blame *b)
{
    for (unsigned i = 0; i < b->count; i++)
        if (b->disks[i].failed)
            return true;
    return false;
}

uint64_t blame_mark(const struct blame *b)
{
    return b->clock;
}

static bool any_unread(const struct blame *b)
{
    for (unsigned i = 0; i < b->count; i++)
        if (b->disks[i].unread)
            return true;
    return false;
}

bool blame_excuses_read(const struct blame *b, const struct history_op *op, uint64_t mark)
{
    for (uint64_t at = op->block; at < op->block + op->count; at++) {
        if (b->unread_at[at] > mark)
            return true;
        /* Its checksum may have been in memory, and good, until it had to be read again. */
        if (b->unsummed[at] != 0 && history_holds(b->history, at, b->unsummed[at]))
            return true;
    }
    if (b->torn_unread_at > mark || history_read_failed(b->history, op))
        return true;
    /* A region that could not be read whole stays suspect: its newer bytes are not adopted yet. */
    return any_unread(b) && history_is_from_before(b->history, op, b->life_history);
}

bool blame_excuses_write(const struct blame *b, uint64_t content)
{
    for (unsigned i = 0; i < BLAME_WRITES_MAX; i++)
        if (b->writes[i] == content)
            return true;
    return blame_disk_failed(b);
}

/* ---- Rot ---- */

/* Whether the store reads the block of the device when it opens after a clean close, and cannot do
 * without. */
static bool is_vital(struct blame_disk *d, uint64_t offset)
{
    struct superblock sb;

    if (!blame_look(d, &sb))
        return true;
    for (uint64_t i = 0; i < sb.checkpoint_blocks; i++) {
        const struct disk_extent at =
            disk_layout_checkpoint_at(&sb.layout, sb.checkpoint_area, i * BLOCK);
        if (offset >= at.offset && offset - at.offset < BLOCK)
            return true;
    }
    return false;
}

bool blame_spoil(struct blame *b, unsigned disk, bool latent)
{
    struct blame_disk *const d = &b->disks[disk];
    struct superblock sb;
    uint64_t offset;

    if (!sim_disk_pick_written(d->disk, &offset))
        return false;
    (void)blame_look(d, &sb);
    if (place_of(d, offset) == PLACE_DATA)
        damage_at(d, offset);
    if (place_of(d, offset) == PLACE_SUMS)
        damage_sums(d, offset);
    for (unsigned i = 0; i < 2 && latent; i++)
        d->latent[i] |= offset == superblock_offset(i);
    if (latent)
        sim_disk_latent_error(d->disk, offset);
    else
        sim_disk_rot(d->disk, offset);
    return is_vital(d, offset);
}

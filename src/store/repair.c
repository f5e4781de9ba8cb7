/* SPDX-License-Identifier: Apache-2.0 */
#include "store/repair.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define REPAIR_DEPTH 4

static struct bitmap bitmap_make(uint64_t bits)
{
    return (struct bitmap) { calloc(BITMAP_WORDS(bits), sizeof(uint64_t)), bits };
}

struct status repair_init(struct repair *r, uint64_t table_blocks)
{
    r->slots = bitmap_make(table_blocks);
    r->unread = bitmap_make(table_blocks);
    r->doubt = bitmap_make(table_blocks);
    return r->slots.words == NULL || r->unread.words == NULL || r->doubt.words == NULL
               ? STATUS(NO_MEMORY)
               : STATUS(OK);
}

void repair_fini(struct repair *r)
{
    free(r->slots.words);
    free(r->unread.words);
    free(r->doubt.words);
}

/* ---- What, and that it was done ---- */

static void repair_tell(struct repair *r, bool done, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void repair_tell(struct repair *r, bool done, const char *format, ...)
{
    char text[LOAD_PROBLEM_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->report->repairable += done ? 0 : 1;
    r->report->repaired += done ? 1 : 0;
    if (r->report->repair != NULL && done == r->report->repair_it)
        r->report->repair(r->report->ctx, text);
}

static bool slot_may_be_repaired(const struct repair *r, uint64_t table_block)
{
    const bool lost = bitmap_get(&r->load->bad_sums, table_block); /* Both slots. */
    const bool may_be_wanted =
        bitmap_get(&r->unread, table_block) && bitmap_get(&r->doubt, table_block);

    return r->load->sb.clean && !lost && !may_be_wanted;
}

/* The next table block of which a slot is to be written, at or after from. */
static uint64_t repair_next_slot(const struct repair *r, uint64_t from)
{
    uint64_t at = bitmap_next_set(&r->slots, from);

    while (at != BITMAP_NONE && !slot_may_be_repaired(r, at))
        at = bitmap_next_set(&r->slots, at + 1);
    return at;
}

static void repair_tell_all(struct repair *r, bool done)
{
    for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++) {
        if ((r->superblocks >> i & 1) != 0)
            repair_tell(r, done, "the superblock at %" PRIu64 ", from the one at %" PRIu64,
                        superblock_offset(i), superblock_offset(1 - i));
    }
    for (uint64_t t = repair_next_slot(r, 0); t != BITMAP_NONE; t = repair_next_slot(r, t + 1))
        repair_tell(r, done, "checksum table block %" PRIu64 ": the damaged slot, from the other",
                    t);
}

/* ---- Writing ---- */

static bool repair_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct repair *const r = CONTAINER_OF(sweep, struct repair, sweep);
    struct sums *const sums = &r->load->store->sums;
    const uint64_t at = repair_next_slot(r, r->next);
    uint64_t offset;

    if (at == BITMAP_NONE)
        return false;
    r->next = at + 1;
    slot->write = true;
    slot->bytes = DISK_BLOCK_BYTES;
    slot->arg[0] = at;
    /* The next sequence belongs to the slot that is not the newest valid one: the damaged one. */
    sums_encode(sums, at, (struct span) { slot->buffer, DISK_BLOCK_BYTES }, &offset);
    slot->offset = disk_layout_sums_at(&r->load->sb.layout, offset);
    return true;
}

static struct status repair_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct repair *const r = CONTAINER_OF(sweep, struct repair, sweep);

    sums_written(&r->load->store->sums, slot->arg[0], status_ok(slot->status));
    return slot->status;
}

static void repair_end(struct repair *r, struct status status)
{
    if (status_ok(status))
        repair_tell_all(r, true);
    r->done(r, status);
}

static void repair_on_flushed(struct dev_io *io)
{
    struct repair *const r = CONTAINER_OF(io, struct repair, io);

    repair_end(r, io->status);
}

static void repair_on_slots(struct sweep *sweep, struct status status)
{
    struct repair *const r = CONTAINER_OF(sweep, struct repair, sweep);

    if (status_ok(status))
        dev_flush(r->load->dev, &r->io, repair_on_flushed);
    else
        repair_end(r, status);
}

static const struct sweep_ops repair_ops = {
    .next = repair_next,
    .item = repair_item,
    .done = repair_on_slots,
};

static void repair_slots(struct repair *r)
{
    r->next = 0;
    r->sweep.ops = &repair_ops;
    r->sweep.dev = r->load->dev;
    r->sweep.depth = REPAIR_DEPTH;
    r->sweep.buffer_bytes = DISK_BLOCK_BYTES;
    sweep_start(&r->sweep);
}

static void repair_on_superblock(struct dev_io *io)
{
    struct repair *const r = CONTAINER_OF(io, struct repair, io);

    if (status_ok(io->status))
        repair_slots(r);
    else
        repair_end(r, io->status);
}

/* Byte for byte: it may have features that this program does not know, and may ignore. */
static void repair_superblock(struct repair *r)
{
    const unsigned bad = (r->superblocks & 1) != 0 ? 0 : 1;
    const struct const_span good = { r->load->slots + superblock_offset(1 - bad),
                                     SUPERBLOCK_BYTES };

    assert(r->superblocks == 1u << bad);
    dev_write(r->load->dev, &r->io, superblock_offset(bad), good, false, repair_on_superblock);
}

void repair_start(struct repair *r, struct load *load, struct store_check_report *report,
                  void (*done)(struct repair *r, struct status status))
{
    r->load = load;
    r->report = report;
    r->done = done;
    repair_tell_all(r, false);
    if (!report->repair_it || report->repairable == 0)
        r->done(r, STATUS(OK));
    else if (r->superblocks != 0)
        repair_superblock(r);
    else
        repair_slots(r);
}

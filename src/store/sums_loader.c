/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sums_loader.h"

#include <assert.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "disk/disk_format.h"

enum { SUMS_IDLE, SUMS_PAIR, SUMS_SLOT_0, SUMS_SLOT_1, SUMS_POISON };

static const struct sm_state states[] = {
    [SUMS_IDLE] = { "idle", SM_TO(SUMS_PAIR) },
    [SUMS_PAIR] = { "pair", SM_TO(SUMS_SLOT_0) | SM_TO(SUMS_POISON) | SM_TO(SUMS_IDLE) },
    [SUMS_SLOT_0] = { "slot 0", SM_TO(SUMS_SLOT_1) },
    [SUMS_SLOT_1] = { "slot 1", SM_TO(SUMS_POISON) | SM_TO(SUMS_IDLE) },
    [SUMS_POISON] = { "poison", SM_TO(SUMS_IDLE) },
};

static_assert(SUMS_LOAD_BYTES == SUMS_PAIR_BYTES, "a buffer takes a pair");

static void load_on_read(struct dev_io *io);

struct status sums_loader_init(struct sums_loader *l)
{
    l->buffers = aligned_alloc(SUMS_BLOCK_BYTES, SUMS_LOADS * SUMS_LOAD_BYTES);
    for (unsigned i = 0; i < SUMS_LOADS; i++) {
        struct sums_load *const load = &l->loads[i];
        load->loader = l;
        load->buffer = l->buffers == NULL ? NULL : l->buffers + i * SUMS_LOAD_BYTES;
        sm_init(&load->sm, states, SUMS_IDLE);
    }
    return l->buffers == NULL ? STATUS(NO_MEMORY) : STATUS(OK);
}

void sums_loader_fini(struct sums_loader *l)
{
    assert(l->busy == 0);
    free(l->buffers);
    l->buffers = NULL;
}

bool sums_loader_is_busy(const struct sums_loader *l)
{
    return l->busy > 0 || sums_next_wanted(l->sums, 0) != BITMAP_NONE;
}

/* ---- Reading ---- */

/* slots bytes from offset of the table block's pair on, which lie in a row. */
static void load_read_slots(struct sums_load *load, size_t offset, size_t bytes)
{
    const struct sums_loader *const l = load->loader;
    const uint64_t pair = disk_layout_sums_at(l->layout, load->table_block * SUMS_PAIR_BYTES);

    dev_read(l->dev, &load->io, pair + offset, (struct span) { load->buffer + offset, bytes },
             load_on_read);
}

static void load_read_pair(struct sums_load *load)
{
    load_read_slots(load, 0, SUMS_LOAD_BYTES);
}

static void load_read_slot(struct sums_load *load, unsigned slot)
{
    load_read_slots(load, slot * SUMS_BLOCK_BYTES, SUMS_BLOCK_BYTES);
}

static void load_read_block(struct sums_load *load)
{
    const struct sums_loader *const l = load->loader;
    const uint64_t block = load->table_block * SUMS_CRCS_PER_BLOCK + load->block;

    dev_read(l->dev, &load->io, l->layout->part[LAYOUT_DATA].offset + block * DISK_BLOCK_BYTES,
             (struct span) { load->buffer, DISK_BLOCK_BYTES }, load_on_read);
}

/* A slot was read, or not: its bytes, for sums_load(). */
static void load_take_slot(struct sums_load *load, unsigned slot, bool ok)
{
    struct const_span *const s = &load->slots[slot];

    *s = (struct const_span) { 0 };
    if (ok)
        *s = (struct const_span) { load->buffer + slot * SUMS_BLOCK_BYTES, SUMS_BLOCK_BYTES };
}

/* ---- Ending ---- */

/* The last: the load may be started again in it. */
static void load_end(struct sums_load *load)
{
    struct sums_loader *const l = load->loader;

    sm_move(&load->sm, SUMS_IDLE);
    sums_load_end(l->sums, load->table_block);
    assert(l->busy > 0);
    l->busy--;
    sums_loader_run(l);
    l->progress(l->ctx);
}

static void load_report_slots(const struct sums_load *load)
{
    const struct sums_loader *const l = load->loader;

    for (unsigned i = 0; i < SUMS_SLOTS && l->bad_slot != NULL; i++) {
        uint64_t sequence;
        if (load->slots[i].bytes == 0 ||
            status_is(sums_slot_check(load->slots[i], l->tag, load->table_block, &sequence),
                      STATUS_CORRUPT))
            l->bad_slot(l->ctx, load->table_block, i, load->slots[i].bytes == 0);
    }
}

/* The next block to be poisoned, or the end. */
static void load_poison_next(struct sums_load *load)
{
    const struct sums_loader *const l = load->loader;
    const uint64_t data_blocks = l->layout->data_grains * 32;
    const uint64_t first = load->table_block * SUMS_CRCS_PER_BLOCK;

    if (load->block == SUMS_CRCS_PER_BLOCK || first + load->block >= data_blocks)
        load_end(load);
    else
        load_read_block(load);
}

/* Both slots are as good as they get. */
static void load_use_slots(struct sums_load *load)
{
    struct sums_loader *const l = load->loader;

    load_report_slots(load);
    if (sums_load(l->sums, load->table_block, load->slots)) {
        load_end(load);
        return;
    }
    if (l->lost != NULL) {
        l->lost(l->ctx, load->table_block);
        load_end(load);
        return;
    }
    sm_move(&load->sm, SUMS_POISON);
    load->block = 0;
    load_poison_next(load);
}

/* ---- The machine ---- */

/* A block that cannot be read needs no poison: it is a media error anyway. */
static void load_poison(struct sums_load *load, bool ok)
{
    const uint64_t block = load->table_block * SUMS_CRCS_PER_BLOCK + load->block;

    if (ok)
        sums_load_crc(load->loader->sums, block, ~crc32c(load->buffer, DISK_BLOCK_BYTES));
    load->block++;
    load_poison_next(load);
}

static void load_on_slot(struct sums_load *load, unsigned slot, bool ok)
{
    if (!ok && ++load->tries < SUMS_READS_MAX) {
        load_read_slot(load, slot);
        return;
    }
    load_take_slot(load, slot, ok);
    load->tries = 1;
    if (slot == 0) {
        sm_move(&load->sm, SUMS_SLOT_1);
        load_read_slot(load, 1);
    } else {
        load_use_slots(load);
    }
}

static void load_on_read(struct dev_io *io)
{
    struct sums_load *const load = CONTAINER_OF(io, struct sums_load, io);
    const bool ok = status_ok(io->status);

    switch (load->sm.now) {
    case SUMS_PAIR:
        load_take_slot(load, 0, ok);
        load_take_slot(load, 1, ok);
        if (ok) {
            load_use_slots(load);
            return;
        }
        load->tries = 1;
        sm_move(&load->sm, SUMS_SLOT_0);
        load_read_slot(load, 0);
        return;
    case SUMS_SLOT_0:
        load_on_slot(load, 0, ok);
        return;
    case SUMS_SLOT_1:
        load_on_slot(load, 1, ok);
        return;
    case SUMS_POISON:
        load_poison(load, ok);
        return;
    default:
        break;
    }
    sm_bug(&load->sm);
}

void sums_loader_run(struct sums_loader *l)
{
    for (unsigned i = 0; i < SUMS_LOADS; i++) {
        struct sums_load *const load = &l->loads[i];
        if (load->sm.now != SUMS_IDLE)
            continue;
        uint64_t at = sums_next_wanted(l->sums, l->next);
        if (at == BITMAP_NONE)
            at = sums_next_wanted(l->sums, 0);
        if (at == BITMAP_NONE)
            return;
        l->next = at + 1;
        sums_load_begin(l->sums, at);
        load->table_block = at;
        l->busy++;
        sm_move(&load->sm, SUMS_PAIR);
        load_read_pair(load);
    }
}

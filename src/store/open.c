/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a device to a serving store: docs/disk-format.md, section 5.
 *
 *   FLUSH -> SUPERBLOCK -> CHECKPOINT -> SCAN -> REPLAY -> SUMS -> VERIFY -> WRITE -> END
 *                              |                             ^
 *                              +---- (closed cleanly) -------+
 *
 * Each state waits for one thing; any failure goes to END.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "disk/journal_scan.h"
#include "store/store_internal.h"

enum {
    OPEN_FLUSH,
    OPEN_SUPERBLOCK,
    OPEN_CHECKPOINT,
    OPEN_SCAN,
    OPEN_REPLAY,
    OPEN_SUMS,
    OPEN_VERIFY,
    OPEN_WRITE,
    OPEN_END
};

static const struct sm_state states[] = {
    [OPEN_FLUSH] = { "flush", SM_TO(OPEN_SUPERBLOCK) | SM_TO(OPEN_END) },
    [OPEN_SUPERBLOCK] = { "superblock", SM_TO(OPEN_CHECKPOINT) | SM_TO(OPEN_END) },
    [OPEN_CHECKPOINT] = { "checkpoint", SM_TO(OPEN_SCAN) | SM_TO(OPEN_SUMS) | SM_TO(OPEN_END) },
    [OPEN_SCAN] = { "scan", SM_TO(OPEN_REPLAY) | SM_TO(OPEN_END) },
    [OPEN_REPLAY] = { "replay", SM_TO(OPEN_SUMS) | SM_TO(OPEN_END) },
    [OPEN_SUMS] = { "sums", SM_TO(OPEN_VERIFY) | SM_TO(OPEN_END) },
    [OPEN_VERIFY] = { "verify", SM_TO(OPEN_WRITE) | SM_TO(OPEN_END) },
    [OPEN_WRITE] = { "write", SM_TO(OPEN_END) },
    [OPEN_END] = { "end", 0 },
};

#define LOAD_BLOCKS  32
#define SUMS_DEPTH   16
#define VERIFY_DEPTH 8

/* A walk over all grains with data. */
struct walk {
    uint32_t shard_id;
    unsigned layer;
    uint32_t grain;
};

struct opening {
    struct sm sm;
    struct dev *dev;
    struct store_config config;
    void (*done)(void *ctx, const struct store_opened *opened);
    void *ctx;
    struct store_opened result;
    struct store *store;
    struct superblock sb;
    struct apply apply;
    struct journal_scan *scan;
    struct journal_scan_result log;
    struct bitmap bad_sums; /* Table blocks of which both slots are bad. */
    struct sweep sweep;
    struct walk walk;
    uint64_t next; /* Of the sweep. */
    struct dev_io io;
    struct io_task task;
    uint8_t *slots;
};

static void opening_step(struct opening *o, struct status status);

static void __attribute__((format(printf, 2, 3)))
opening_problem(struct opening *o, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(o->result.problem, sizeof o->result.problem, format, args);
    va_end(args);
}

static struct opening *opening_of(struct sweep *sweep)
{
    return CONTAINER_OF(sweep, struct opening, sweep);
}

static void opening_on_io(struct dev_io *io)
{
    opening_step(CONTAINER_OF(io, struct opening, io), io->status);
}

static void opening_on_sweep(struct sweep *sweep, struct status status)
{
    opening_step(opening_of(sweep), status);
}

static void opening_sweep(struct opening *o, const struct sweep_ops *ops, unsigned depth,
                          size_t buffer_bytes)
{
    o->sweep.ops = ops;
    o->sweep.dev = o->dev;
    o->sweep.depth = depth;
    o->sweep.buffer_bytes = buffer_bytes;
    o->next = 0;
    sweep_start(&o->sweep);
}

/* ---- SUPERBLOCK ---- */

static struct status MUST_CHECK opening_check_identity(struct opening *o)
{
    const struct superblock *const sb = &o->sb;

    if (!uuid_is_nil(o->config.cluster) && !uuid_equal(o->config.cluster, sb->cluster)) {
        opening_problem(o, "disk '%s' belongs to cluster '%s' (%s)", sb->disk_name,
                        sb->cluster_name, uuid_format(sb->cluster).s);
        return STATUS(FOREIGN);
    }
    if (sb->device_bytes > o->dev->info.bytes) {
        opening_problem(o, "the device has %" PRIu64 " bytes, but was formatted with %" PRIu64,
                        o->dev->info.bytes, sb->device_bytes);
        return STATUS(CORRUPT);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK opening_make_store(struct opening *o)
{
    const uint64_t grains = o->sb.layout.data_grains;
    const uint64_t table_blocks = disk_layout_sums_blocks(grains);

    TRY(store_create(o->dev, &o->sb, &o->store));
    o->apply = (struct apply) {
        .store = o->store,
        .checkpoint = true,
        .known = calloc(grains, sizeof(uint32_t)),
        .unsettled = calloc(grains, sizeof(uint32_t)),
        .was_zero = calloc(grains, sizeof(uint32_t)),
    };
    o->bad_sums =
        (struct bitmap) { calloc(BITMAP_WORDS(table_blocks), sizeof(uint64_t)), table_blocks };
    if (o->apply.known == NULL || o->apply.unsettled == NULL || o->apply.was_zero == NULL ||
        o->bad_sums.words == NULL)
        return STATUS(NO_MEMORY);
    return STATUS(OK);
}

static struct status MUST_CHECK opening_on_superblock(struct opening *o)
{
    unsigned bad = 0;
    const struct status st = superblock_choose(
        (struct const_span) { o->slots, (size_t)2 * SUPERBLOCK_BYTES }, &o->sb, &bad);

    if (status_is(st, STATUS_NOT_FOUND))
        opening_problem(o, "there is no superblock at 0 or 4096: not a Trilith disk");
    else if (!status_ok(st))
        opening_problem(o, "the superblocks at 0 and 4096: %s", status_text(st));
    TRY(st);
    TRY(opening_check_identity(o));
    return opening_make_store(o);
}

/* ---- CHECKPOINT ---- */

static bool load_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    const uint64_t count = min_u64(LOAD_BLOCKS, o->sb.checkpoint_blocks - o->next);
    const unsigned area = LAYOUT_CHECKPOINT_0 + o->sb.checkpoint_area;

    slot->offset = o->sb.layout.part[area].offset + o->next * DISK_BLOCK_BYTES;
    slot->bytes = count * DISK_BLOCK_BYTES;
    slot->arg[0] = o->next;
    o->next += count;
    return count > 0;
}

/* F3. */
static struct status MUST_CHECK load_block(struct opening *o, struct const_span block,
                                           uint64_t index)
{
    struct metablock head;

    TRY(metablock_open(block, METABLOCK_CHECKPOINT, &head));
    if (head.tag != o->sb.tag || head.owner != o->sb.checkpoint_sequence || head.sequence != index)
        return STATUS(CORRUPT);
    return apply_records(&o->apply, metablock_payload(block, &head));
}

static struct status load_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);

    TRY(slot->status);
    for (uint64_t i = 0; i * DISK_BLOCK_BYTES < slot->bytes; i++) {
        const struct const_span block = { slot->buffer + i * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES };
        const struct status st = load_block(o, block, slot->arg[0] + i);
        if (status_ok(st))
            continue;
        opening_problem(o, "checkpoint block %" PRIu64 " at %" PRIu64 ": %s", slot->arg[0] + i,
                        slot->offset + i * DISK_BLOCK_BYTES, status_text(st));
        return STATUS(CORRUPT);
    }
    return STATUS(OK);
}

static const struct sweep_ops load_ops = {
    .next = load_next,
    .item = load_item,
    .done = opening_on_sweep,
};

/* ---- SCAN and REPLAY ---- */

static struct status opening_on_block(void *ctx, const struct metablock *head,
                                      struct const_span payload, struct const_span data)
{
    struct opening *const o = ctx;

    (void)data;
    o->apply.sequence = head->sequence;
    const struct status st = apply_records(&o->apply, payload);
    if (!status_ok(st))
        opening_problem(o, "journal block %" PRIu64 ": a record that cannot be: %s", head->sequence,
                        status_text(st));
    return st;
}

static void opening_on_scan(void *ctx, struct status status)
{
    struct opening *const o = ctx;

    o->log = journal_scan_get_result(o->scan);
    if (status_is(status, STATUS_CORRUPT) && o->result.problem[0] == 0)
        opening_problem(o,
                        "journal block %" PRIu64 " at %" PRIu64
                        " is damaged; everything up to block %" PRIu64 " was durable",
                        o->log.end, o->log.bad_offset, o->log.flushed);
    opening_step(o, status);
}

static struct status MUST_CHECK opening_scan(struct opening *o, bool replay)
{
    const struct journal_scan_config config = {
        .dev = o->dev,
        .ring = o->sb.layout.part[LAYOUT_JOURNAL],
        .tag = o->sb.tag,
        .life = o->sb.life,
        .start = o->sb.journal_start,
        .flushed = o->sb.journal_flushed,
        .block = replay ? opening_on_block : NULL,
        .done = opening_on_scan,
        .ctx = o,
    };
    const struct journal_scan_result known = o->log;

    o->apply.checkpoint = false;
    o->apply.settled = known.settled;
    return journal_scan_start(&config, replay ? &known : NULL, &o->scan);
}

/* ---- The map is complete ---- */

/* The next grain with data; NULL at the end. */
static struct grain *walk_next(struct store *store, struct walk *w, struct shard **out_shard,
                               struct layer **out_layer)
{
    struct shard *s;

    while ((s = catalog_next_shard(&store->catalog, w->shard_id)) != NULL) {
        if (s->id != w->shard_id)
            *w = (struct walk) { .shard_id = s->id };
        while (w->layer < s->map.layer_count) {
            struct layer *const layer = &s->map.layers[w->layer];
            while (w->grain < s->map.grain_count) {
                struct grain *const g = &layer->grains[w->grain++];
                if (g->data == 0)
                    continue;
                *out_shard = s;
                *out_layer = layer;
                return g;
            }
            w->layer++;
            w->grain = 0;
        }
        *w = (struct walk) { .shard_id = s->id + 1 };
    }
    return NULL;
}

/* F5: who owns what is known only now. */
static struct status MUST_CHECK opening_claim_places(struct opening *o)
{
    struct walk w = { 0 };
    struct shard *s;
    struct layer *layer;
    struct grain *g;

    while ((g = walk_next(o->store, &w, &s, &layer)) != NULL) {
        if (space_claim(&o->store->space, grain_place(g)))
            continue;
        opening_problem(o, "data grain %" PRIu32 " is used twice, by shard %" PRIu32 " of '%s' too",
                        grain_place(g), s->index, s->volume->desc.name);
        return STATUS(CORRUPT);
    }
    return STATUS(OK);
}

/* ---- SUMS ---- */

static bool sums_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    const uint64_t place = bitmap_next_set(&o->store->space.used, o->next * SUMS_GRAINS_PER_BLOCK);

    if (place == BITMAP_NONE)
        return false;
    slot->arg[0] = sums_table_block_of(place);
    slot->offset = o->sb.layout.part[LAYOUT_SUMS].offset + slot->arg[0] * SUMS_PAIR_BYTES;
    slot->bytes = SUMS_PAIR_BYTES;
    o->next = slot->arg[0] + 1;
    return true;
}

static struct status sums_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    bool valid = false;

    if (status_ok(slot->status))
        sums_decode(&o->store->sums, slot->arg[0],
                    (struct const_span) { slot->buffer, slot->bytes }, o->apply.known, &valid);
    if (!valid)
        bitmap_set(&o->bad_sums, slot->arg[0]);
    return STATUS(OK);
}

static const struct sweep_ops sums_ops = {
    .next = sums_next,
    .item = sums_item,
    .done = opening_on_sweep,
};

/* ---- VERIFY: unsettled first touches (J1), and blocks without a checksum ---- */

static uint32_t blocks_to_poison(const struct opening *o, const struct grain *g)
{
    const uint32_t place = grain_place(g);

    if (!bitmap_get(&o->bad_sums, sums_table_block_of(place)))
        return 0;
    return g->data & ~o->apply.known[place];
}

static bool verify_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    struct shard *s;
    struct layer *layer;
    struct grain *g;

    while ((g = walk_next(o->store, &o->walk, &s, &layer)) != NULL) {
        const uint32_t place = grain_place(g);
        if ((g->data & o->apply.unsettled[place]) == 0 && blocks_to_poison(o, g) == 0)
            continue;
        slot->arg[0] = s->id;
        slot->arg[1] = layer->generation;
        slot->arg[2] = (uint64_t)(g - layer->grains);
        slot->offset = store_data_offset(o->store, (uint64_t)place * GRAIN_BLOCKS);
        slot->bytes = STORE_GRAIN_BYTES;
        return true;
    }
    return false;
}

/* J1: what does not match was never written. */
static void verify_drop(struct opening *o, struct shard *s, struct grain *g, uint32_t bit)
{
    const uint32_t place = grain_place(g);
    uint32_t freed;

    (void)map_set_zero(&s->map, g, bit, (o->apply.was_zero[place] & bit) != 0, &freed);
    if (freed != SPACE_NONE)
        space_free_later(&o->store->space, freed);
}

static void verify_block(struct opening *o, struct shard *s, struct grain *g, uint32_t b,
                         const uint8_t *at)
{
    struct store *const store = o->store;
    const uint32_t bit = UINT32_C(1) << b;
    const uint32_t place = grain_place(g);
    const uint64_t block = (uint64_t)place * GRAIN_BLOCKS + b;
    const uint32_t crc = crc32c(at, STORE_BLOCK_BYTES);

    if ((blocks_to_poison(o, g) & bit) != 0) {
        sums_set(&store->sums, block, ~crc);
        return;
    }
    if ((o->apply.unsettled[place] & bit) == 0 || crc == sums_get(&store->sums, block))
        return;
    if (MUTATION(J1_ADOPT_FIRST_TOUCH))
        sums_set(&store->sums, block, crc);
    else
        verify_drop(o, s, g, bit);
}

static struct status verify_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct opening *const o = opening_of(sweep);
    struct shard *const s = catalog_shard_by_id(&o->store->catalog, (uint32_t)slot->arg[0]);
    struct grain *const g = &map_layer(&s->map, slot->arg[1])->grains[slot->arg[2]];
    const uint32_t blocks = g->data;

    /* Unreadable: each block is a media error when it is read. */
    for (uint32_t b = 0; b < GRAIN_BLOCKS && status_ok(slot->status); b++) {
        if ((blocks >> b & 1) != 0)
            verify_block(o, s, g, b, slot->buffer + (size_t)b * STORE_BLOCK_BYTES);
    }
    return STATUS(OK);
}

static const struct sweep_ops verify_ops = {
    .next = verify_next,
    .item = verify_item,
    .done = opening_on_sweep,
};

/* ---- WRITE ---- */

/* Whether answered writes may be gone without a Flush. */
static bool opening_incarnation_changes(const struct opening *o)
{
    if (o->sb.clean)
        return false;
    return o->sb.failed || !uuid_equal(o->sb.boot_id, reactor_boot_id(o->dev->reactor));
}

static void opening_new_life(struct opening *o)
{
    struct store *const store = o->store;

    if (opening_incarnation_changes(o)) {
        store->incarnation++;
        LIST_FOR_EACH (n, &store->catalog.volumes)
            CONTAINER_OF(n, struct catalog_volume, link)->loss = true;
    }
    store->sb.incarnation = store->incarnation;
    store->sb.boot_id = reactor_boot_id(o->dev->reactor);
    store->sb.failed = false;
    store->sb.clean = false;
}

static void opening_on_written(struct store *store, struct status status)
{
    if (status_ok(status))
        store->sb_is_ours = true;
    opening_step(store->opening, status);
}

static struct status MUST_CHECK opening_write(struct opening *o)
{
    struct store *const store = o->store;
    const uint64_t start = o->sb.clean ? o->sb.journal_start : o->log.end;
    uint64_t life;

    reactor_random(store->reactor, (struct span) { (uint8_t *)&life, sizeof life });
    opening_new_life(o);
    TRY(store_start_journal(store, life, start));
    store->opening = o;
    if (!o->sb.clean) {
        store->checkpoint.done = opening_on_written;
        checkpoint_request(store);
        return STATUS(OK);
    }
    struct superblock sb = store->sb;
    sb.sequence++;
    sb.journal_flushed = start - 1;
    superblock_write(store, &sb, opening_on_written);
    store->sb.sequence = sb.sequence;
    return STATUS(OK);
}

/* ---- The machine ---- */

static void opening_free(struct opening *o)
{
    free(o->apply.known);
    free(o->apply.unsettled);
    free(o->apply.was_zero);
    free(o->bad_sums.words);
    free(o->slots);
    free(o);
}

/* Reports from the loop's top, where nothing of the store is on the stack. */
static void opening_report(struct io_task *task)
{
    struct opening *const o = CONTAINER_OF(task, struct opening, task);
    struct store *const store = o->store;

    if (!status_ok(o->result.status) && store != NULL && store->journal != NULL &&
        (journal_is_busy(store->journal) || store->sb_writer.done != NULL)) {
        reactor_defer(o->dev->reactor, task);
        return;
    }
    if (status_ok(o->result.status)) {
        store->opening = NULL;
        store->serving = true;
        o->result.store = store;
        store_kick(store);
    } else {
        store_destroy(store);
        if (o->result.problem[0] == 0)
            opening_problem(o, "while opening: %s", status_text(o->result.status));
    }
    o->done(o->ctx, &o->result);
    opening_free(o);
}

static void opening_end(struct opening *o, struct status status)
{
    sm_move(&o->sm, OPEN_END);
    o->result.status = status;
    reactor_defer(o->dev->reactor, &o->task);
}

/* Starts what the next state waits for. */
static struct status MUST_CHECK opening_advance(struct opening *o)
{
    switch (o->sm.now) {
    case OPEN_FLUSH:
        sm_move(&o->sm, OPEN_SUPERBLOCK);
        dev_read(o->dev, &o->io, 0, (struct span) { o->slots, (size_t)2 * SUPERBLOCK_BYTES },
                 opening_on_io);
        return STATUS(OK);
    case OPEN_SUPERBLOCK:
        TRY(opening_on_superblock(o));
        sm_move(&o->sm, OPEN_CHECKPOINT);
        opening_sweep(o, &load_ops, 1, (size_t)LOAD_BLOCKS * DISK_BLOCK_BYTES);
        return STATUS(OK);
    case OPEN_CHECKPOINT:
        if (!o->sb.clean) {
            sm_move(&o->sm, OPEN_SCAN);
            return opening_scan(o, false);
        }
        break;
    case OPEN_SCAN:
        sm_move(&o->sm, OPEN_REPLAY);
        return opening_scan(o, true);
    case OPEN_REPLAY:
        break;
    case OPEN_SUMS:
        sm_move(&o->sm, OPEN_VERIFY);
        opening_sweep(o, &verify_ops, VERIFY_DEPTH, STORE_GRAIN_BYTES);
        return STATUS(OK);
    case OPEN_VERIFY:
        sm_move(&o->sm, OPEN_WRITE);
        return opening_write(o);
    default:
        sm_bug(&o->sm);
    }
    TRY(opening_claim_places(o));
    sm_move(&o->sm, OPEN_SUMS);
    opening_sweep(o, &sums_ops, SUMS_DEPTH, SUMS_PAIR_BYTES);
    return STATUS(OK);
}

/* What the current state waited for has ended. */
static void opening_step(struct opening *o, struct status status)
{
    struct status st = status;

    if (status_ok(st) && o->sm.now == OPEN_WRITE) {
        opening_end(o, st);
        return;
    }
    if (status_ok(st))
        st = opening_advance(o);
    if (!status_ok(st))
        opening_end(o, st);
}

void store_open(struct dev *dev, const struct store_config *config,
                void (*done)(void *ctx, const struct store_opened *opened), void *ctx)
{
    struct opening *const o = calloc(1, sizeof *o);

    assert(reactor_is_current(dev->reactor));
    assert(done != NULL);
    if (o == NULL)
        abort(); /* Not even the answer could be remembered. */
    *o = (struct opening) { .dev = dev, .config = *config, .done = done, .ctx = ctx };
    sm_init(&o->sm, states, OPEN_FLUSH);
    io_task_init(&o->task, opening_report);
    o->slots = aligned_alloc(SUPERBLOCK_BYTES, (size_t)2 * SUPERBLOCK_BYTES);
    if (o->slots == NULL) {
        opening_end(o, STATUS(NO_MEMORY));
        return;
    }
    dev_flush(dev, &o->io, opening_on_io);
}

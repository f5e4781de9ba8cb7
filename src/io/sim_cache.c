/* SPDX-License-Identifier: Apache-2.0 */
/* The medium and the volatile cache of a simulated disk: F8 to F11, F14, F15. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "io/sim_disk.h"

#define CACHE_BYTES_MAX ((size_t)8 << 20)
#define LAG_BYTES_MAX   ((size_t)512 << 10)

/* ---- Records ---- */

static void record_free(struct sim_disk *d, struct sim_record *rec)
{
    list_remove(&rec->link);
    d->record_bytes -= rec->bytes;
    free(rec);
}

static void record_commit(struct sim_disk *d, struct sim_record *rec)
{
    sim_image_write(&d->medium, rec->offset, (struct const_span) { rec->data, rec->bytes });
    record_free(d, rec);
}

static struct sim_record *record_first(const struct sim_disk *d)
{
    return CONTAINER_OF(list_first(&d->records), struct sim_record, link);
}

static void record_add(struct sim_disk *d, uint64_t offset, struct const_span data, bool durable)
{
    struct sim_record *const rec = malloc(sizeof *rec + data.bytes);

    assert(rec != NULL);
    *rec = (struct sim_record) {
        .offset = offset, .sequence = ++d->sequence, .durable = durable, .bytes = data.bytes
    };
    memcpy(rec->data, data.at, data.bytes);
    list_node_init(&rec->link);
    list_push_back(&d->records, &rec->link);
    d->record_bytes += data.bytes;
    /* Caches are finite, and write back when they like. */
    while (d->record_bytes > (d->lags ? LAG_BYTES_MAX : CACHE_BYTES_MAX) && !d->config.liar)
        record_commit(d, record_first(d));
}

/* ---- Latent errors ---- */

bool sim_disk_is_bad(const struct sim_disk *d, uint64_t offset, uint64_t bytes)
{
    for (size_t i = 0; i < d->bad_count; i++)
        if (d->bad[i] + SIM_BLOCK_BYTES > offset && d->bad[i] < offset + bytes)
            return true;
    return false;
}

static void bad_clear(struct sim_disk *d, uint64_t offset, uint64_t bytes)
{
    for (size_t i = d->bad_count; i-- > 0;)
        if (d->bad[i] + SIM_BLOCK_BYTES > offset && d->bad[i] < offset + bytes)
            d->bad[i] = d->bad[--d->bad_count];
}

void sim_disk_latent_error(struct sim_disk *d, uint64_t offset)
{
    struct sim_world *const w = d->machine->world;
    struct sim_reactor *const before = sim_enter(w, NULL);

    sim_trace(w, "latent", offset, 0, 0);
    d->bad = realloc(d->bad, (d->bad_count + 1) * sizeof *d->bad);
    assert(d->bad != NULL);
    d->bad[d->bad_count++] = round_down_u64(offset, SIM_BLOCK_BYTES);
    sim_enter(w, before);
}

/* ---- Writing ---- */

void sim_disk_apply(struct sim_disk *d, uint64_t offset, struct const_span data, bool durable)
{
    struct sim_world *const w = d->machine->world;
    struct sim_reactor *const before = sim_enter(w, NULL);

    sim_trace(w, "written", offset, data.bytes, crc32c(data.at, data.bytes));
    sim_image_write(&d->current, offset, data);
    bad_clear(d, offset, data.bytes);
    if (d->config.volatile_cache)
        record_add(d, offset, data, durable);
    sim_enter(w, before);
}

/* Calls fn for the aligned pieces of a range that chance picks. */
static void for_some_units(struct sim_disk *d, uint64_t offset, struct const_span data,
                           uint32_t unit, uint64_t percent,
                           void (*fn)(struct sim_disk *d, uint64_t at, struct const_span piece))
{
    struct rng *const rng = &d->machine->world->rng;

    while (data.bytes > 0) {
        const size_t piece = min_u64(data.bytes, unit - offset % unit);
        if (rng_below(rng, 100) < percent)
            fn(d, offset, const_span_sub(data, 0, piece));
        else
            d->stats.lost_units++;
        data = const_span_sub(data, piece, data.bytes - piece);
        offset += piece;
    }
}

static uint64_t survival_percent(struct sim_disk *d)
{
    static const uint64_t choices[] = { 0, 5, 50, 50, 95, 100 };
    return choices[rng_below(&d->machine->world->rng, ARRAY_COUNT(choices))];
}

static void apply_unit(struct sim_disk *d, uint64_t at, struct const_span piece)
{
    sim_disk_apply(d, at, piece, false);
}

void sim_disk_apply_some(struct sim_disk *d, uint64_t offset, struct const_span data, uint32_t unit)
{
    for_some_units(d, offset, data, unit, survival_percent(d), apply_unit);
}

/* ---- Persistence ---- */

void sim_disk_commit(struct sim_disk *d, uint64_t sequence)
{
    struct sim_reactor *const before = sim_enter(d->machine->world, NULL);
    while (!list_empty(&d->records) && record_first(d)->sequence <= sequence)
        record_commit(d, record_first(d));
    sim_enter(d->machine->world, before);
}

static void medium_unit(struct sim_disk *d, uint64_t at, struct const_span piece)
{
    sim_image_write(&d->medium, at, piece);
}

/* What the cache holds reaches the medium, or not, unit by unit; FUA writes do. */
static void cache_lose_some(struct sim_disk *d)
{
    const uint64_t percent = survival_percent(d);

    while (!list_empty(&d->records)) {
        struct sim_record *const rec = record_first(d);
        for_some_units(d, rec->offset, (struct const_span) { rec->data, rec->bytes },
                       d->config.atomic_bytes, rec->durable ? 100 : percent, medium_unit);
        record_free(d, rec);
    }
}

/* The disk is as it was after some write. */
static void cache_lose_latest(struct sim_disk *d)
{
    uint64_t count = 0;

    LIST_FOR_EACH (n, &d->records)
        count++;
    for (uint64_t kept = rng_below(&d->machine->world->rng, count + 1); kept > 0; kept--)
        record_commit(d, record_first(d));
    while (!list_empty(&d->records)) {
        d->stats.lost_units++;
        record_free(d, record_first(d));
    }
}

/* current := medium, for the pages that either has. */
static void current_reload(struct sim_disk *d)
{
    uint8_t page[SIM_PAGE_BYTES];

    for (uint64_t at = 0; sim_image_next(&d->current, at, &at); at += SIM_PAGE_BYTES) {
        const struct span piece = { page, min_u64(sizeof page, d->current.bytes - at) };
        sim_image_read(&d->medium, at, piece);
        sim_image_write(&d->current, at, span_const(piece));
    }
}

/* F25: a file that was made larger, and not flushed since, may be as small as before. */
static void size_lose(struct sim_disk *d)
{
    struct sim_world *const w = d->machine->world;
    struct sim_reactor *const before = sim_enter(w, NULL);

    if (d->durable_bytes < d->config.bytes && sim_chance(w, 2)) {
        sim_trace(w, "shrink", d->config.bytes, d->durable_bytes, 0);
        d->config.bytes = d->durable_bytes;
        sim_image_resize(&d->current, d->config.bytes);
        sim_image_resize(&d->medium, d->config.bytes);
    }
    d->durable_bytes = d->config.bytes;
    sim_enter(w, before);
}

void sim_disk_lose_cache(struct sim_disk *d)
{
    if (!d->config.volatile_cache)
        return;
    if (d->lags)
        cache_lose_latest(d);
    else
        cache_lose_some(d);
    size_lose(d);
    current_reload(d);
}

/* ---- What tests do to a disk ---- */

void sim_disk_lag(struct sim_disk *d)
{
    assert(d->config.volatile_cache);
    d->lags = true;
}

void sim_disk_peek(const struct sim_disk *d, uint64_t offset, struct span out)
{
    sim_image_read(&d->current, offset, out);
}

void sim_disk_poke(struct sim_disk *d, uint64_t offset, struct const_span data)
{
    struct sim_world *const w = d->machine->world;
    struct sim_reactor *const before = sim_enter(w, NULL);

    sim_trace(w, "poke", offset, data.bytes, crc32c(data.at, data.bytes));
    sim_image_write(&d->current, offset, data);
    if (d->config.volatile_cache)
        sim_image_write(&d->medium, offset, data);
    sim_enter(w, before);
}

/* Flips the bit in the image and in what the cache holds of it, so that it stays flipped. */
static void rot_bit(struct sim_disk *d, uint64_t at, uint8_t bit)
{
    uint8_t byte;
    struct span one = { &byte, 1 };

    sim_image_read(&d->current, at, one);
    byte ^= bit;
    sim_image_write(&d->current, at, span_const(one));
    if (!d->config.volatile_cache)
        return;
    sim_image_read(&d->medium, at, one);
    byte ^= bit;
    sim_image_write(&d->medium, at, span_const(one));
    LIST_FOR_EACH (n, &d->records) {
        struct sim_record *const rec = CONTAINER_OF(n, struct sim_record, link);
        if (at >= rec->offset && at < rec->offset + rec->bytes)
            rec->data[at - rec->offset] ^= bit;
    }
}

void sim_disk_rot(struct sim_disk *d, uint64_t offset)
{
    struct sim_world *const w = d->machine->world;
    struct sim_reactor *const before = sim_enter(w, NULL);
    const uint64_t block = round_down_u64(offset, SIM_BLOCK_BYTES);
    const uint64_t flips = sim_between(w, 1, 8);

    sim_trace(w, "rot", block, flips, 0);
    /* In bytes of their own, so that no flip undoes another. */
    const uint64_t first = rng_below(&w->rng, SIM_BLOCK_BYTES - flips);
    for (uint64_t i = 0; i < flips; i++)
        rot_bit(d, block + first + i, (uint8_t)(1u << rng_below(&w->rng, 8)));
    sim_enter(w, before);
}

bool sim_disk_pick_written(struct sim_disk *d, uint64_t *out_offset)
{
    const uint64_t from = rng_below(&d->machine->world->rng, d->current.bytes);
    return sim_image_next(&d->current, from, out_offset) ||
           sim_image_next(&d->current, 0, out_offset);
}

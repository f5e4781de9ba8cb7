/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/perf_verify.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bitmap.h"

struct perf_verify {
    struct perf_verify_config config;
    struct perf_state_id id;
    struct perf_pattern pattern;
    struct perf_verify_counts counts;
    struct bitmap writing;  /* A write of the block is in flight. */
    struct bitmap unsynced; /* Acknowledged since a Flush was last submitted. */
    struct bitmap flushing; /* Covered by the Flush in flight, ... */
    uint32_t *flush_to;     /* ... up to this sequence. */
    bool flush_in_flight;
};

/* ---- Life ---- */

/* Takes in what earlier runs left: whatever is not known to be flushed, the next Flush covers. */
static struct status load(struct perf_verify *v)
{
    for (uint64_t i = 0; i < v->id.block_count; i++) {
        const struct perf_record r = perf_state_get(v->config.state, i);
        if (r.flushed > r.acknowledged || r.acknowledged > r.submitted)
            return STATUS(CORRUPT);
        if (r.flushed < r.acknowledged)
            bitmap_set(&v->unsynced, i);
    }
    return STATUS(OK);
}

static bool bitmap_alloc(struct bitmap *b, uint64_t bits)
{
    b->bits = bits;
    b->words = calloc(BITMAP_WORDS(bits), sizeof *b->words);
    return b->words != NULL;
}

static struct status build(struct perf_verify *v)
{
    const uint64_t n = v->id.block_count;

    v->flush_to = calloc(n, sizeof *v->flush_to);
    if (v->flush_to == NULL || !bitmap_alloc(&v->writing, n) || !bitmap_alloc(&v->unsynced, n) ||
        !bitmap_alloc(&v->flushing, n))
        return STATUS(NO_MEMORY);
    perf_pattern_init(&v->pattern, v->id.seed);
    return load(v);
}

struct status perf_verify_create(const struct perf_verify_config *config,
                                 struct perf_verify **out_verify)
{
    struct perf_verify *v = calloc(1, sizeof *v);
    if (v == NULL)
        return STATUS(NO_MEMORY);
    v->config = *config;
    v->id = *perf_state_id(config->state);

    const struct status st = build(v);
    if (!status_ok(st)) {
        perf_verify_destroy(v);
        return st;
    }
    *out_verify = v;
    return st;
}

void perf_verify_destroy(struct perf_verify *v)
{
    if (v == NULL)
        return;
    free(v->flush_to);
    free(v->flushing.words);
    free(v->unsynced.words);
    free(v->writing.words);
    free(v);
}

/* ---- Writes ---- */

static bool extent_is_inside(const struct perf_verify *v, struct perf_extent e)
{
    return e.count > 0 && e.index < v->id.block_count && e.count <= v->id.block_count - e.index;
}

/* Whether all blocks can be written now. */
static struct status check_free(const struct perf_verify *v, struct perf_extent e)
{
    if (bitmap_next_set(&v->writing, e.index) < e.index + e.count)
        return STATUS(BUSY);
    for (uint64_t i = e.index; i < e.index + e.count; i++) {
        if (perf_state_get(v->config.state, i).submitted == UINT32_MAX)
            return STATUS(LIMIT);
    }
    return STATUS(OK);
}

struct status perf_verify_write_begin(struct perf_verify *v, struct perf_extent e, struct span data)
{
    assert(!v->config.power_loss);
    assert(extent_is_inside(v, e));
    assert(data.bytes == e.count * PERF_BLOCK_BYTES);

    TRY(check_free(v, e));
    bitmap_set_run(&v->writing, e.index, e.count);
    for (uint64_t k = 0; k < e.count; k++) {
        const uint64_t i = e.index + k;
        const uint32_t sequence = perf_state_get(v->config.state, i).submitted + 1;
        perf_block_fill(data.at + k * PERF_BLOCK_BYTES, &v->pattern, &v->id.block_id,
                        v->id.first_block + i, sequence);
        perf_state_set_submitted(v->config.state, i, sequence);
    }
    return STATUS(OK);
}

void perf_verify_write_end(struct perf_verify *v, struct perf_extent e, enum perf_outcome outcome,
                           bool fua)
{
    assert(extent_is_inside(v, e));

    bitmap_clear_run(&v->writing, e.index, e.count);
    if (outcome != PERF_OUTCOME_ACKNOWLEDGED)
        return;
    for (uint64_t i = e.index; i < e.index + e.count; i++) {
        /* Only one write was in flight: the highest submitted is this one. */
        const uint32_t sequence = perf_state_get(v->config.state, i).submitted;
        perf_state_set_acknowledged(v->config.state, i, sequence);
        if (fua)
            perf_state_set_flushed(v->config.state, i, sequence);
        else
            bitmap_set(&v->unsynced, i);
    }
}

/* ---- Reads ---- */

void perf_verify_read_begin(struct perf_verify *v, struct perf_extent e, uint32_t *floors)
{
    assert(extent_is_inside(v, e));

    for (uint64_t k = 0; k < e.count; k++) {
        const struct perf_record r = perf_state_get(v->config.state, e.index + k);
        floors[k] = v->config.power_loss ? r.flushed : r.acknowledged;
    }
}

static bool is_allowed(const struct perf_violation *v)
{
    switch (v->finding.found) {
    case PERF_FOUND_BLOCK:
        return v->finding.sequence >= v->at_least && v->finding.sequence <= v->at_most &&
               v->finding.sequence > 0;
    case PERF_FOUND_ZEROS:
    case PERF_FOUND_ANOTHER_RUN:
        return v->at_least == 0;
    case PERF_FOUND_MISPLACED:
    case PERF_FOUND_DAMAGED:
    case PERF_FOUND_GARBAGE:
        break;
    }
    return false;
}

/* What a read has returned is the block's value from now on. */
static void observe(struct perf_verify *v, uint64_t i, const struct perf_finding *f)
{
    const struct perf_record r = perf_state_get(v->config.state, i);
    const uint32_t sequence = f->found == PERF_FOUND_BLOCK ? (uint32_t)f->sequence : 0;

    if (v->config.power_loss || sequence > r.acknowledged)
        perf_state_set_acknowledged(v->config.state, i, sequence);
}

static bool check_block(struct perf_verify *v, uint64_t i, uint32_t floor, const uint8_t *data)
{
    const uint64_t block = v->id.first_block + i;
    const struct perf_violation verdict = {
        .block = block,
        .at_least = floor,
        .at_most = perf_state_get(v->config.state, i).submitted,
        .power_loss = v->config.power_loss,
        .finding = perf_block_inspect(data, &v->id.block_id, block),
    };

    v->counts.blocks_checked++;
    v->counts.blocks_unwritten += floor == 0;
    if (is_allowed(&verdict)) {
        observe(v, i, &verdict.finding);
        return true;
    }
    v->counts.blocks_wrong++;
    v->config.violation(v->config.ctx, &verdict);
    return false;
}

uint64_t perf_verify_read_end(struct perf_verify *v, struct perf_extent e, const uint32_t *floors,
                              struct const_span data)
{
    uint64_t wrong = 0;

    assert(extent_is_inside(v, e));
    assert(data.bytes == e.count * PERF_BLOCK_BYTES);

    for (uint64_t k = 0; k < e.count; k++) {
        if (!check_block(v, e.index + k, floors[k], data.at + k * PERF_BLOCK_BYTES))
            wrong++;
    }
    return wrong;
}

/* ---- Flush ---- */

bool perf_verify_flush_begin(struct perf_verify *v)
{
    if (v->flush_in_flight)
        return false;
    v->flush_in_flight = true;

    const struct bitmap covered = v->unsynced;
    v->unsynced = v->flushing; /* Empty since the last Flush ended. */
    v->flushing = covered;
    for (uint64_t i = bitmap_next_set(&covered, 0); i != BITMAP_NONE;
         i = bitmap_next_set(&covered, i + 1))
        v->flush_to[i] = perf_state_get(v->config.state, i).acknowledged;
    return true;
}

void perf_verify_flush_end(struct perf_verify *v, bool completed)
{
    assert(v->flush_in_flight);

    v->flush_in_flight = false;
    for (uint64_t i = bitmap_next_set(&v->flushing, 0); i != BITMAP_NONE;
         i = bitmap_next_set(&v->flushing, i + 1)) {
        bitmap_clear(&v->flushing, i);
        if (!completed)
            bitmap_set(&v->unsynced, i);
        else if (v->flush_to[i] > perf_state_get(v->config.state, i).flushed)
            perf_state_set_flushed(v->config.state, i, v->flush_to[i]);
    }
}

/* ---- Reports ---- */

struct perf_verify_counts perf_verify_counts(const struct perf_verify *v)
{
    struct perf_verify_counts counts = v->counts;

    for (uint64_t i = 0; i < v->id.block_count; i++) {
        const struct perf_record r = perf_state_get(v->config.state, i);
        counts.writes_unknown += r.submitted > r.acknowledged;
    }
    return counts;
}

/* What is wrong, in two words. */
static const char *kind_of(const struct perf_violation *v)
{
    switch (v->finding.found) {
    case PERF_FOUND_BLOCK:
        return v->finding.sequence > v->at_most ? "unsubmitted write" : "lost write";
    case PERF_FOUND_ZEROS:
    case PERF_FOUND_ANOTHER_RUN:
        return "lost write";
    case PERF_FOUND_MISPLACED:
        return "misplaced block";
    case PERF_FOUND_DAMAGED:
        return "damaged block";
    case PERF_FOUND_GARBAGE:
        break;
    }
    return "foreign data";
}

struct found_text {
    char s[96];
};

static struct found_text found_text(const struct perf_finding *f)
{
    struct found_text t;

    switch (f->found) {
    case PERF_FOUND_BLOCK:
        snprintf(t.s, sizeof t.s, "sequence %" PRIu64, f->sequence);
        break;
    case PERF_FOUND_ZEROS:
        snprintf(t.s, sizeof t.s, "zeros");
        break;
    case PERF_FOUND_ANOTHER_RUN:
        snprintf(t.s, sizeof t.s, "sequence %" PRIu64 " of another run", f->sequence);
        break;
    case PERF_FOUND_MISPLACED:
        snprintf(t.s, sizeof t.s, "block %" PRIu64 ", sequence %" PRIu64, f->block, f->sequence);
        break;
    case PERF_FOUND_DAMAGED:
        snprintf(t.s, sizeof t.s, "a bad CRC; it names block %" PRIu64 ", sequence %" PRIu64,
                 f->block, f->sequence);
        break;
    case PERF_FOUND_GARBAGE:
        snprintf(t.s, sizeof t.s, "data that perf did not write");
        break;
    }
    return t;
}

struct perf_violation_text perf_violation_format(const struct perf_violation *v)
{
    struct perf_violation_text t;
    struct found_text expected;

    if (v->at_most == 0)
        snprintf(expected.s, sizeof expected.s, "zeros (never written)");
    else if (v->at_least == 0)
        snprintf(expected.s, sizeof expected.s, "zeros, or up to sequence %" PRIu32 " (submitted)",
                 v->at_most);
    else
        snprintf(expected.s, sizeof expected.s,
                 "sequence %" PRIu32 " (%s) to %" PRIu32 " (submitted)", v->at_least,
                 v->power_loss ? "flushed" : "acknowledged", v->at_most);
    snprintf(t.s, sizeof t.s, "block %" PRIu64 " (byte %" PRIu64 "): %s: expected %s, found %s",
             v->block, v->block * PERF_BLOCK_BYTES, kind_of(v), expected.s,
             found_text(&v->finding).s);
    return t;
}

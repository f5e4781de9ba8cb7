/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"

/* More events than happen while a read is under way, on a disk that takes seconds for it. */
#define READ_EVENTS_MAX 16384
#define IN_FLIGHT       UINT64_MAX
#define STILL_NOW       UINT64_MAX

#define COPIES_MAX      16

struct version {
    uint64_t content;
    uint64_t submitted;
    uint64_t ended;    /* When it completed or failed; IN_FLIGHT. */
    uint64_t left_now; /* When it left the set; STILL_NOW. */
    bool in_power;
    /* Zeros where nothing lay beneath: the layer may have kept nothing of it, and so let later
     * writes of older generations through. */
    bool weak;
    bool was_now; /* When the last power loss came; true for what is younger. */
    bool failed;  /* The write was answered with an error. */
    bool denied;  /* It failed, and left now because a read did not return it, or it was refused. */
};

/* The versions of one block in one generation. */
struct cell {
    struct version *versions;
    size_t count;
    size_t capacity;
};

struct history {
    struct cell *cells; /* [generation][block] */
    uint64_t blocks;
    uint32_t generations;
    uint64_t clock; /* Grows with every call: the order of events. */
    uint64_t content_next;
    const struct history_op *copies[COPIES_MAX]; /* In flight; NULL: none. */
    uint64_t reopened;                           /* The store, after a death: when, by clock. */
    bool liar;                                   /* Nothing that the disk says is durable is. */
    bool loss_possible;
    bool loss_seen;
};

static struct cell *cell_at(const struct history *h, uint32_t generation, uint64_t block)
{
    assert(generation < h->generations);
    assert(block < h->blocks);
    return &h->cells[generation * h->blocks + block];
}

static void cell_add(struct cell *c, struct version v)
{
    if (c->count == c->capacity) {
        const uint64_t owner = memory_enter(0);
        c->capacity = c->capacity == 0 ? 2 : c->capacity * 2;
        c->versions = realloc(c->versions, c->capacity * sizeof *c->versions);
        assert(c->versions != NULL);
        memory_enter(owner);
    }
    c->versions[c->count++] = v;
}

/* Forgets versions that can never be seen again. */
static void cell_sweep(struct cell *c, uint64_t oldest_read)
{
    for (size_t i = c->count; i-- > 0;) {
        const struct version *const v = &c->versions[i];
        if (!v->in_power && v->left_now < oldest_read && v->ended != IN_FLIGHT)
            c->versions[i] = c->versions[--c->count];
    }
}

struct history *history_create(uint64_t blocks, uint32_t generations)
{
    const uint64_t owner = memory_enter(0);
    struct history *const h = calloc(1, sizeof *h);
    assert(h != NULL);
    h->blocks = blocks;
    h->generations = generations;
    h->clock = 1;
    h->content_next = 1;
    h->cells = calloc(blocks * generations, sizeof *h->cells);
    assert(h->cells != NULL);
    for (uint64_t i = 0; i < blocks * generations; i++)
        cell_add(&h->cells[i], (struct version) { .content = HISTORY_ABSENT,
                                                  .left_now = STILL_NOW,
                                                  .was_now = true,
                                                  .in_power = true });
    memory_enter(owner);
    return h;
}

void history_destroy(struct history *h)
{
    if (h == NULL)
        return;
    for (uint64_t i = 0; i < h->blocks * h->generations; i++)
        free(h->cells[i].versions);
    free(h->cells);
    free(h);
}

void history_set_liar(struct history *h)
{
    h->liar = true;
}

uint64_t history_content(struct history *h)
{
    return h->content_next++;
}

/* ---- Writes ---- */

/* Whether nothing may lie beneath a generation of a block. */
static bool may_be_bare(const struct history *h, uint32_t generation, uint64_t block)
{
    for (uint32_t g = 0; g < generation; g++) {
        const struct cell *const c = cell_at(h, g, block);
        bool absent = false;
        for (size_t i = 0; i < c->count; i++)
            absent |= c->versions[i].left_now == STILL_NOW &&
                      (c->versions[i].content == HISTORY_ABSENT || c->versions[i].weak);
        if (!absent)
            return false;
    }
    return true;
}

/* ---- Copies ---- */

/* The name of a block's content when it lies in another block. */
static uint64_t content_elsewhere(uint64_t content, uint64_t from, uint64_t to)
{
    const uint64_t own = content & ((UINT64_C(1) << PATTERN_CONTENT_BITS) - 1);
    const uint64_t mark = content >> PATTERN_CONTENT_BITS;
    const uint64_t origin = mark == 0 ? from : mark - 1;

    if (content == HISTORY_ZERO || content == HISTORY_ABSENT)
        return HISTORY_ZERO;
    return origin == to ? own : own | (origin + 1) << PATTERN_CONTENT_BITS;
}

static bool cell_has(const struct cell *c, uint64_t submitted, uint64_t content)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->versions[i].submitted == submitted && c->versions[i].content == content)
            return true;
    return false;
}

static void copies_see(struct history *h, uint64_t submitted, uint64_t block, uint64_t content);

/* Something that the copy's block may become. */
static void copy_sees(struct history *h, const struct history_op *op, uint64_t block,
                      uint64_t content)
{
    const uint64_t to = op->block + (block - op->source);
    const uint64_t moved = content_elsewhere(content, block, to);
    struct cell *const c = cell_at(h, 0, to);

    if (content == HISTORY_DAMAGED || cell_has(c, op->submitted, moved))
        return;
    cell_add(c, (struct version) { .content = moved,
                                   .submitted = op->submitted,
                                   .ended = IN_FLIGHT,
                                   .left_now = STILL_NOW,
                                   .was_now = true,
                                   .in_power = true });
    copies_see(h, op->submitted, to, moved);
}

/* A block may have that content from now on: copies that read it meanwhile may find it. */
static void copies_see(struct history *h, uint64_t submitted, uint64_t block, uint64_t content)
{
    for (unsigned i = 0; i < COPIES_MAX; i++) {
        const struct history_op *const op = h->copies[i];
        if (op != NULL && op->submitted != submitted && block >= op->source &&
            block < op->source + op->count)
            copy_sees(h, op, block, content);
    }
}

void history_copy_start(struct history *h, struct history_op *op)
{
    unsigned slot = 0;

    assert(h->generations == 1);
    while (slot < COPIES_MAX && h->copies[slot] != NULL)
        slot++;
    assert(slot < COPIES_MAX);
    h->copies[slot] = op;
    op->submitted = h->clock++;
    for (uint64_t b = op->source; b < op->source + op->count; b++) {
        const size_t count = cell_at(h, 0, b)->count;
        for (size_t i = 0; i < count; i++) {
            const struct version v = cell_at(h, 0, b)->versions[i];
            if (v.left_now == STILL_NOW && v.submitted != op->submitted)
                copy_sees(h, op, b, v.content);
        }
    }
}

static void copy_forget(struct history *h, const struct history_op *op)
{
    for (unsigned i = 0; i < COPIES_MAX; i++)
        if (h->copies[i] == op)
            h->copies[i] = NULL;
}

/* ---- The end of writes ---- */

void history_write_start(struct history *h, struct history_op *op)
{
    op->submitted = h->clock++;
    for (uint64_t b = op->block; b < op->block + op->count; b++) {
        cell_add(cell_at(h, op->generation, b),
                 (struct version) { .weak = op->content == HISTORY_ZERO &&
                                            may_be_bare(h, op->generation, b),
                                    .content = op->content,
                                    .submitted = op->submitted,
                                    .ended = IN_FLIGHT,
                                    .left_now = STILL_NOW,
                                    .was_now = true,
                                    .in_power = true });
        copies_see(h, op->submitted, b, op->content);
    }
}

/*
 * Ends the version that this write made, or those of which a copy made one.  False: a death or a
 * power loss has ended them already, and the answer comes too late.
 */
static bool cell_end(const struct history *h, struct cell *c, uint64_t submitted, bool ok)
{
    bool found = false;

    for (size_t i = 0; i < c->count; i++) {
        struct version *const v = &c->versions[i];
        if (v->submitted != submitted || v->ended != IN_FLIGHT)
            continue;
        v->ended = h->clock;
        v->failed = !ok;
        found = true;
    }
    return found;
}

static void cell_write_done(struct history *h, struct cell *c, uint64_t submitted, bool ok,
                            bool fua)
{
    if (!cell_end(h, c, submitted, ok) || !ok)
        return;
    for (size_t i = 0; i < c->count; i++) {
        struct version *const v = &c->versions[i];
        if (v->submitted == submitted || v->ended >= submitted)
            continue;
        if (v->left_now == STILL_NOW)
            v->left_now = h->clock;
        v->denied = false;
        if (fua && !h->liar)
            v->in_power = false;
    }
}

void history_write_done(struct history *h, struct history_op *op, bool ok, bool fua)
{
    h->clock++;
    copy_forget(h, op);
    for (uint64_t b = op->block; b < op->block + op->count; b++)
        cell_write_done(h, cell_at(h, op->generation, b), op->submitted, ok, fua);
    h->clock++;
}

void history_write_refused(struct history *h, const struct history_op *op)
{
    h->clock++;
    copy_forget(h, op);
    for (uint64_t b = op->block; b < op->block + op->count; b++) {
        struct cell *const c = cell_at(h, op->generation, b);
        (void)cell_end(h, c, op->submitted, false);
        for (size_t i = 0; i < c->count; i++) {
            struct version *const v = &c->versions[i];
            if (v->submitted != op->submitted || v->left_now != STILL_NOW)
                continue;
            v->left_now = h->clock;
            v->denied = true;
        }
    }
    h->clock++;
}

void history_write_undone(struct history *h, const struct history_op *op)
{
    copy_forget(h, op);
    for (uint64_t b = op->block; b < op->block + op->count; b++) {
        struct cell *const c = cell_at(h, op->generation, b);
        for (size_t i = c->count; i-- > 0;)
            if (c->versions[i].submitted == op->submitted && c->versions[i].ended == IN_FLIGHT)
                c->versions[i] = c->versions[--c->count];
    }
    h->clock++;
}

/* ---- Flushes ---- */

void history_flush_start(struct history *h, struct history_op *op)
{
    op->submitted = h->clock++;
}

void history_flush_done(struct history *h, struct history_op *op, bool ok)
{
    h->clock++;
    if (!ok || h->liar)
        return;
    for (uint64_t i = 0; i < h->blocks * h->generations; i++) {
        struct cell *const c = &h->cells[i];
        for (size_t k = 0; k < c->count; k++)
            if (c->versions[k].left_now < op->submitted && !c->versions[k].denied)
                c->versions[k].in_power = false;
        cell_sweep(c, h->clock > READ_EVENTS_MAX ? h->clock - READ_EVENTS_MAX : 0);
    }
}

/* ---- Reads ---- */

void history_read_start(struct history *h, struct history_op *op)
{
    op->submitted = h->clock++;
}

static bool version_visible(const struct version *v, uint64_t read_submitted)
{
    return v->left_now > read_submitted;
}

static bool content_matches(uint64_t version, uint64_t read)
{
    return version == read || (version == HISTORY_ABSENT && read == HISTORY_ZERO);
}

/* Whether the generation may have answered so, and whether it may have let the read through. */
static void cell_match(const struct cell *c, uint64_t submitted, uint64_t content, bool *out_match,
                       bool *out_through)
{
    *out_match = false;
    *out_through = false;
    for (size_t i = 0; i < c->count; i++) {
        const struct version *const v = &c->versions[i];
        if (!version_visible(v, submitted))
            continue;
        *out_match |= v->content != HISTORY_ABSENT && v->content == content;
        *out_through |= v->content == HISTORY_ABSENT || v->weak;
    }
}

/* A read has returned content: what it did not return and was over by then is over for good. */
static void cell_collapse(struct history *h, struct cell *c, uint64_t submitted, uint64_t content)
{
    bool lost = true;

    for (size_t i = 0; i < c->count; i++) {
        struct version *const v = &c->versions[i];
        if (content_matches(v->content, content)) {
            lost &= !v->was_now;
            continue;
        }
        if (v->ended >= submitted || v->left_now != STILL_NOW)
            continue;
        /* That the old bytes are there says nothing of the checksum that recovery will find. */
        if (v->content == HISTORY_DAMAGED && v->failed)
            continue;
        v->left_now = h->clock;
        v->denied = v->failed;
    }
    h->loss_seen |= h->loss_possible && lost;
    h->clock++; /* What comes now, comes after. */
}

bool history_read_block(struct history *h, const struct history_op *op, uint64_t block,
                        uint64_t content)
{
    bool match = false;
    bool through = true;

    h->clock++;
    for (uint32_t g = op->generation + 1; g-- > 0 && through && !match;)
        cell_match(cell_at(h, g, block), op->submitted, content, &match, &through);
    if (!match && !(through && content == HISTORY_ZERO))
        return false;
    /* With layers, which of them answered cannot be told; and an answer that was on its way when
     * the store died says nothing of what is left. */
    if (h->generations == 1 && op->submitted > h->reopened)
        cell_collapse(h, cell_at(h, 0, block), op->submitted, content);
    return true;
}

/* ---- Damage ---- */

static bool version_has_data(const struct version *v)
{
    return v->content != HISTORY_ABSENT && v->content != HISTORY_ZERO;
}

static void cell_damage(struct history *h, struct cell *c, bool torn)
{
    cell_add(c, (struct version) { .content = HISTORY_DAMAGED,
                                   .submitted = h->clock,
                                   .ended = h->clock,
                                   .left_now = STILL_NOW,
                                   .was_now = true,
                                   .failed = torn,
                                   .in_power = true });
}

static bool cell_holds(const struct cell *c, uint64_t content)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->versions[i].left_now == STILL_NOW && c->versions[i].content == content)
            return true;
    return false;
}

bool history_holds(const struct history *h, uint64_t block, uint64_t content)
{
    for (uint32_t g = 0; g < h->generations; g++)
        if (cell_holds(cell_at(h, g, block), content))
            return true;
    return false;
}

void history_damage_content(struct history *h, uint64_t block, uint64_t content)
{
    for (uint32_t g = 0; g < h->generations; g++)
        if (cell_holds(cell_at(h, g, block), content))
            cell_damage(h, cell_at(h, g, block), false);
    h->clock++;
}

/* Whether the write of that content may have found data in its place. */
static bool cell_is_overwritten_by(const struct cell *c, uint64_t content)
{
    bool before = false;

    for (size_t i = 0; i < c->count; i++) {
        const struct version *const v = &c->versions[i];
        before |= v->left_now == STILL_NOW && v->content != content && version_has_data(v);
    }
    return before && cell_holds(c, content);
}

void history_damage_write(struct history *h, uint64_t content)
{
    for (uint64_t i = 0; i < h->blocks * h->generations; i++)
        if (cell_is_overwritten_by(&h->cells[i], content))
            cell_damage(h, &h->cells[i], true);
    h->clock++;
}

void history_damage_unsettled(struct history *h)
{
    for (uint64_t i = 0; i < h->blocks * h->generations; i++) {
        struct cell *const c = &h->cells[i];
        unsigned now = 0;
        for (size_t k = 0; k < c->count; k++)
            now += c->versions[k].left_now == STILL_NOW;
        if (now > 1)
            cell_damage(h, c, false);
    }
    h->clock++;
}

/* Whether in some layer that the read may have met, fits() holds for a version. */
static bool read_met(const struct history *h, const struct history_op *op, uint64_t block,
                     bool (*fits)(const struct version *v, uint64_t arg), uint64_t arg)
{
    bool through = true;

    for (uint32_t g = op->generation + 1; g-- > 0 && through;) {
        const struct cell *const c = cell_at(h, g, block);
        bool match;
        for (size_t i = 0; i < c->count; i++)
            if (version_visible(&c->versions[i], op->submitted) && fits(&c->versions[i], arg))
                return true;
        cell_match(c, op->submitted, HISTORY_BAD, &match, &through);
    }
    return false;
}

static bool is_content(const struct version *v, uint64_t content)
{
    return v->content == content;
}

static bool is_data_from_before(const struct version *v, uint64_t then)
{
    return version_has_data(v) && v->submitted < then;
}

bool history_read_failed(const struct history *h, const struct history_op *op)
{
    for (uint64_t b = op->block; b < op->block + op->count; b++)
        if (read_met(h, op, b, is_content, HISTORY_DAMAGED))
            return true;
    return false;
}

static bool is_other_content(const struct version *v, uint64_t content)
{
    return v->content != HISTORY_DAMAGED && !content_matches(v->content, content);
}

bool history_may_differ(const struct history *h, const struct history_op *op, uint64_t block,
                        uint64_t content)
{
    return read_met(h, op, block, is_other_content, content);
}

uint64_t history_guess(const struct history *h, uint64_t block)
{
    const struct cell *const c = cell_at(h, h->generations - 1, block);
    const struct version *youngest = NULL;

    for (size_t i = 0; i < c->count; i++) {
        const struct version *const v = &c->versions[i];
        if (v->left_now != STILL_NOW || v->content == HISTORY_DAMAGED)
            continue;
        if (youngest == NULL || v->submitted > youngest->submitted)
            youngest = v;
    }
    return youngest == NULL || youngest->content == HISTORY_ABSENT ? HISTORY_ZERO
                                                                   : youngest->content;
}

uint64_t history_clock(const struct history *h)
{
    return h->clock;
}

bool history_is_from_before(const struct history *h, const struct history_op *op, uint64_t then)
{
    for (uint64_t b = op->block; b < op->block + op->count; b++)
        if (read_met(h, op, b, is_data_from_before, then))
            return true;
    return false;
}

/* ---- Deaths ---- */

void history_process_died(struct history *h)
{
    h->clock++;
    for (uint64_t i = 0; i < h->blocks * h->generations; i++)
        for (size_t k = 0; k < h->cells[i].count; k++) {
            struct version *const v = &h->cells[i].versions[k];
            if (v->ended == IN_FLIGHT)
                v->ended = h->clock;
        }
    h->clock++;
}

static void version_power_lost(struct history *h, struct version *v)
{
    /* That a write which failed is there after all takes nothing that had completed. */
    v->was_now = v->left_now == STILL_NOW || v->denied;
    if (v->in_power && !v->was_now && v->content != HISTORY_DAMAGED)
        h->loss_possible = true;
    v->left_now = v->in_power ? STILL_NOW : min_u64(v->left_now, h->clock);
}

static bool everywhere(void *ctx, uint64_t block)
{
    (void)ctx;
    (void)block;
    return true;
}

void history_power_lost(struct history *h)
{
    history_power_lost_in(h, everywhere, NULL);
}

void history_power_lost_in(struct history *h, bool (*gone)(void *ctx, uint64_t block), void *ctx)
{
    history_process_died(h);
    h->reopened = h->clock;
    h->loss_possible = false;
    h->loss_seen = false;
    for (uint64_t i = 0; i < h->blocks * h->generations; i++) {
        struct cell *const c = &h->cells[i];
        for (size_t k = 0; k < c->count && gone(ctx, i % h->blocks); k++)
            version_power_lost(h, &c->versions[k]);
    }
    h->clock++;
}

void history_store_reopened(struct history *h)
{
    for (uint64_t i = 0; i < h->blocks * h->generations; i++)
        for (size_t k = 0; k < h->cells[i].count; k++) {
            struct version *const v = &h->cells[i].versions[k];
            if (v->denied && v->in_power)
                v->left_now = STILL_NOW;
            v->denied = false;
        }
    h->reopened = h->clock++;
}

bool history_loss_possible(const struct history *h)
{
    return h->loss_possible;
}

bool history_loss_seen(const struct history *h)
{
    return h->loss_seen;
}

/* ---- Questions ---- */

bool history_is_written(const struct history *h, uint32_t generation, uint64_t block)
{
    const struct cell *const c = cell_at(h, generation, block);

    for (size_t i = 0; i < c->count; i++) {
        const struct version *const v = &c->versions[i];
        if (v->left_now == STILL_NOW && !version_has_data(v))
            return false;
    }
    return true;
}

void history_describe(const struct history *h, const struct history_op *op, uint64_t block,
                      char *out_text, size_t text_bytes)
{
    size_t at = 0;

    out_text[0] = '\0';
    for (uint32_t g = op->generation + 1; g-- > 0;) {
        const struct cell *const c = cell_at(h, g, block);
        for (size_t i = 0; i < c->count && at + 48 < text_bytes; i++) {
            const struct version *const v = &c->versions[i];
            if (!version_visible(v, op->submitted))
                continue;
            const char *const kind = v->content == HISTORY_ZERO      ? " zeros"
                                     : v->content == HISTORY_ABSENT  ? " never written"
                                     : v->content == HISTORY_DAMAGED ? " damaged"
                                                                     : "";
            at += (size_t)snprintf(out_text + at, text_bytes - at, "%s%" PRIu32 ":%" PRIu64 "%s",
                                   at == 0 ? "" : " or ", g, v->content, kind);
        }
    }
}

/* ---- Patterns ---- */

#define PATTERN_ADDRESSES_MAX (UINT64_C(1) << 20)

/* Word 0 names the content, word 1 the address; all others follow from both. */
static uint64_t pattern_word(uint64_t address, uint64_t content, unsigned i)
{
    if (i <= 1)
        return i == 0 ? content : address;
    uint64_t x =
        (content + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ address * UINT64_C(0xff51afd7ed558ccd);
    x += i * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 31);
}

void pattern_fill(uint64_t address, uint64_t content, struct span out_block)
{
    assert(out_block.bytes % PATTERN_BYTES_MIN == 0);
    if (content == HISTORY_ZERO) {
        memset(out_block.at, 0, out_block.bytes);
        return;
    }
    if (content >> PATTERN_CONTENT_BITS != 0) {
        address = (content >> PATTERN_CONTENT_BITS) - 1;
        content &= (UINT64_C(1) << PATTERN_CONTENT_BITS) - 1;
    }
    for (unsigned i = 0; i < out_block.bytes / sizeof(uint64_t); i++) {
        const uint64_t word = pattern_word(address, content, i);
        memcpy(out_block.at + i * sizeof word, &word, sizeof word);
    }
}

uint64_t pattern_read(uint64_t address, struct const_span block)
{
    uint64_t content, origin;

    assert(block.bytes % PATTERN_BYTES_MIN == 0);
    memcpy(&content, block.at, sizeof content);
    memcpy(&origin, block.at + sizeof content, sizeof origin);
    if (content >> PATTERN_CONTENT_BITS != 0 || origin >= PATTERN_ADDRESSES_MAX)
        return HISTORY_BAD;
    for (unsigned i = 1; i < block.bytes / sizeof(uint64_t); i++) {
        const uint64_t want = content == HISTORY_ZERO ? 0 : pattern_word(origin, content, i);
        uint64_t word;
        memcpy(&word, block.at + i * sizeof word, sizeof word);
        if (word != want)
            return HISTORY_BAD;
    }
    return content_elsewhere(content, origin, address);
}

bool pattern_name(struct const_span block, uint64_t *out_address, uint64_t *out_content)
{
    uint64_t address;

    memcpy(&address, block.at + sizeof address, sizeof address);
    const uint64_t content = pattern_read(address, block);
    if (content == HISTORY_ZERO || content == HISTORY_BAD)
        return false;
    *out_address = address;
    *out_content = content;
    return true;
}

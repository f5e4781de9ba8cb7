/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sums.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "disk/disk_format.h"
#include "disk/layout.h"
#include "disk/metablock.h"

#define GRAIN_CRCS   32
#define SUMS_ABSENT  UINT32_MAX
#define CHUNK_FRAMES 256 /* Where there is a limit, memory comes and goes by the mebibyte. */
/* Elsewhere by the sixteenth, so that a disk that grows by little takes little more. */
#define CHUNKS           16
#define CHUNK_FRAMES_MIN 8

/*
 * A table block without data is not read, and yet what is written to it then must be newer than
 * what any earlier life wrote there.  No life writes a table block a million times without writing
 * a superblock: see WRITINGS_MAX in checkpoint.c.
 */
#define LIFE_SHIFT 20

/* A frame: the known blocks while it is not loaded, then the CRCs. */
struct sums_block {
    uint32_t known[SUMS_GRAINS_PER_BLOCK];
    uint32_t spare;
    uint32_t crcs[SUMS_CRCS_PER_BLOCK];
};

static_assert(sizeof(struct sums_block) == SUMS_BLOCK_BYTES, "a frame is a table block's size");
static_assert(LAYOUT_GRAINS_MAX / SUMS_GRAINS_PER_BLOCK < SUMS_ABSENT, "frames have numbers");

/* ---- Frames ---- */

static struct sums_block *block_of(const struct sums *s, uint32_t frame)
{
    assert(frame < s->frames);
    return (struct sums_block *)(s->chunks[frame / s->chunk_frames] +
                                 frame % s->chunk_frames * SUMS_BLOCK_BYTES);
}

static void block_set_known(struct sums_block *b, uint64_t within)
{
    b->known[within / GRAIN_CRCS] |= UINT32_C(1) << within % GRAIN_CRCS;
}

/* Takes a CRC of the table; one that was set since is newer. */
static void block_load(struct sums_block *b, uint64_t within, uint32_t crc)
{
    const bool known = (b->known[within / GRAIN_CRCS] >> within % GRAIN_CRCS & 1) != 0;

    if (!known || MUTATION(S3_LOAD_FORGETS))
        b->crcs[within] = crc;
}

/* Makes room for a further chunk of frames. */
static struct status MUST_CHECK sums_grow(struct sums *s)
{
    uint8_t *const chunk = calloc(s->chunk_frames, SUMS_BLOCK_BYTES);

    if (chunk == NULL)
        return STATUS(NO_MEMORY);
    s->chunks[s->chunk_count++] = chunk;
    s->room += s->chunk_frames;
    return STATUS(OK);
}

static uint64_t sums_chunks(const struct sums *s, uint64_t table_blocks)
{
    return (table_blocks + s->chunk_frames - 1) / s->chunk_frames;
}

/* Frames that there may be for so many table blocks. */
static uint64_t sums_frames_for(const struct sums *s, uint64_t table_blocks)
{
    return s->limit > 0 ? min_u64(s->limit, table_blocks) : table_blocks;
}

static void sums_set_limits(struct sums *s)
{
    s->frames_max = s->changed_max = sums_frames_for(s, s->table_blocks);
    if (s->frames_max < s->table_blocks)
        s->changed_max = s->frames_max - max_u64(1, s->frames_max / 4);
}

static struct bitmap bitmap_make(uint64_t bits)
{
    return (struct bitmap) { calloc(BITMAP_WORDS(bits), sizeof(uint64_t)), bits };
}

/* What is there for each pair, of none of which anything is known. */
static struct status MUST_CHECK sums_make_pairs(struct sums *s)
{
    s->sequences = calloc(s->table_blocks, sizeof *s->sequences);
    s->index = calloc(s->table_blocks, sizeof *s->index);
    s->frame = calloc(s->table_blocks, sizeof *s->frame);
    s->chunks = calloc(max_u64(sums_chunks(s, s->table_blocks), s->chunk_count), sizeof *s->chunks);
    s->dirty = bitmap_make(s->table_blocks);
    s->wanted = bitmap_make(s->table_blocks);
    s->written = bitmap_make(s->table_blocks);
    if (s->sequences == NULL || s->index == NULL || s->frame == NULL || s->chunks == NULL ||
        s->dirty.words == NULL || s->wanted.words == NULL || s->written.words == NULL)
        return STATUS(NO_MEMORY);
    for (uint64_t i = 0; i < s->table_blocks; i++) {
        s->sequences[i] = s->life << LIFE_SHIFT;
        s->index[i] = SUMS_ABSENT;
    }
    return STATUS(OK);
}

struct status sums_init(struct sums *s, uint64_t grains, uint64_t tag, uint64_t life,
                        uint64_t frames)
{
    const uint64_t table_blocks = disk_layout_sums_blocks(grains);

    assert(grains > 0);
    assert(frames == 0 || frames >= SUMS_FRAMES_MIN);
    *s = (struct sums) { .blocks = grains * GRAIN_CRCS,
                         .table_blocks = table_blocks,
                         .tag = tag,
                         .life = life,
                         .limit = frames };
    sums_set_limits(s);
    s->chunk_frames = s->frames_max < table_blocks
                          ? min_u64(CHUNK_FRAMES, table_blocks)
                          : max_u64(CHUNK_FRAMES_MIN, (table_blocks + CHUNKS - 1) / CHUNKS);
    struct status st = sums_make_pairs(s);
    while (status_ok(st) && s->room < s->frames_max)
        st = sums_grow(s);
    if (!status_ok(st))
        sums_fini(s);
    return st;
}

/* What sums_make_pairs() has made. */
static void sums_free_pairs(struct sums *s)
{
    free(s->chunks);
    free(s->frame);
    free(s->index);
    free(s->sequences);
    free(s->dirty.words);
    free(s->wanted.words);
    free(s->written.words);
}

static void bitmap_take(struct bitmap *to, const struct bitmap *from)
{
    memcpy(to->words, from->words, BITMAP_WORDS(from->bits) * sizeof *to->words);
    to->bits = from->bits; /* For now. */
}

/* All that old says, in memory that has room for more. */
static void sums_take_pairs(struct sums *s, const struct sums *old)
{
    memcpy(s->sequences, old->sequences, old->table_blocks * sizeof *s->sequences);
    memcpy(s->index, old->index, old->table_blocks * sizeof *s->index);
    memcpy(s->frame, old->frame, old->table_blocks * sizeof *s->frame);
    memcpy(s->chunks, old->chunks, old->chunk_count * sizeof *s->chunks);
    bitmap_take(&s->dirty, &old->dirty);
    bitmap_take(&s->wanted, &old->wanted);
    bitmap_take(&s->written, &old->written);
    s->table_blocks = old->table_blocks;
}

struct status sums_reserve(struct sums *s, uint64_t grains)
{
    struct sums old = *s;
    struct sums now = *s;

    now.table_blocks = disk_layout_sums_blocks(grains);
    assert(now.table_blocks >= s->table_blocks);
    const uint64_t frames = sums_frames_for(s, now.table_blocks);
    const struct status st = sums_make_pairs(&now);
    if (!status_ok(st)) {
        sums_free_pairs(&now);
        return st;
    }
    sums_take_pairs(&now, &old);
    *s = now;
    sums_free_pairs(&old);
    while (s->room < frames)
        TRY(sums_grow(s));
    return STATUS(OK);
}

void sums_extend(struct sums *s, uint64_t grains)
{
    assert(grains * GRAIN_CRCS >= s->blocks);
    s->blocks = grains * GRAIN_CRCS;
    s->table_blocks = disk_layout_sums_blocks(grains);
    s->dirty.bits = s->wanted.bits = s->written.bits = s->table_blocks;
    sums_set_limits(s);
}

void sums_fini(struct sums *s)
{
    for (uint64_t i = 0; i < s->chunk_count; i++)
        free(s->chunks[i]);
    sums_free_pairs(s);
    *s = (struct sums) { 0 };
}

uint64_t sums_table_block_of(uint64_t grain)
{
    return grain / SUMS_GRAINS_PER_BLOCK;
}

uint32_t sums_run(uint64_t block, uint32_t count)
{
    return (uint32_t)min_u64(count, SUMS_CRCS_PER_BLOCK - block % SUMS_CRCS_PER_BLOCK);
}

uint64_t sums_resident_bytes(const struct sums *s)
{
    return s->frames * SUMS_BLOCK_BYTES;
}

uint64_t sums_budget_bytes(const struct sums *s)
{
    return s->frames_max * SUMS_BLOCK_BYTES;
}

/* The frame of a block's CRC, which is there. */
static uint32_t frame_of(const struct sums *s, uint64_t block)
{
    assert(block < s->blocks);
    const uint32_t f = s->index[block / SUMS_CRCS_PER_BLOCK];

    assert(f != SUMS_ABSENT);
    return f;
}

/* ---- Who may have a frame ---- */

/* Also while it is written: if that fails, it is all that there is. */
static bool frame_is_changed(const struct sums *s, const struct sums_frame *f)
{
    return f->changes > 0 || f->writing || bitmap_get(&s->dirty, f->table_block);
}

/* Keeps the count of changed frames over a change of one. */
static void sums_count(struct sums *s, const struct sums_frame *f, bool was_changed)
{
    const bool changed = frame_is_changed(s, f);

    assert(changed || !was_changed || s->changed > 0);
    s->changed += (changed ? 1 : 0) - (was_changed ? (uint64_t)1 : 0);
}

static bool frame_may_go(const struct sums *s, const struct sums_frame *f)
{
    if (f->holders > 0 || !f->loaded || f->writing)
        return false;
    return !bitmap_get(&s->dirty, f->table_block) || MUTATION(S3_EVICT_CHANGED);
}

/* A frame that nobody needs; SUMS_ABSENT if there is none.  A clock: twice round at most. */
static uint32_t frame_evict(struct sums *s)
{
    for (uint64_t i = 0; i < 2 * s->frames; i++) {
        const uint32_t at = (uint32_t)s->clock;
        struct sums_frame *const f = &s->frame[at];
        s->clock = s->clock + 1 < s->frames ? s->clock + 1 : 0;
        if (!frame_may_go(s, f))
            continue;
        if (f->recently) {
            f->recently = false;
            continue;
        }
        const bool was_changed = frame_is_changed(s, f);
        bitmap_clear(&s->dirty, f->table_block);
        sums_count(s, f, was_changed);
        s->index[f->table_block] = SUMS_ABSENT;
        return at;
    }
    return SUMS_ABSENT;
}

static void sums_want(struct sums *s, uint64_t table_block)
{
    assert(!bitmap_get(&s->wanted, table_block));
    bitmap_set(&s->wanted, table_block);
    s->wanted_count++;
}

/* Gives the table block a frame, of which nothing is known yet. */
static void frame_give(struct sums *s, uint32_t at, uint64_t table_block)
{
    s->frame[at] = (struct sums_frame) { .table_block = (uint32_t)table_block };
    s->index[table_block] = at;
    memset(block_of(s, at), 0, SUMS_BLOCK_BYTES);
    if (bitmap_get(&s->written, table_block))
        sums_want(s, table_block);
    else
        s->frame[at].loaded = true; /* It never had data. */
}

/* A frame more than the limit; SUMS_ABSENT if there is no memory. */
static uint32_t frame_add(struct sums *s)
{
    if (s->frames == s->room && !status_ok(sums_grow(s)))
        return SUMS_ABSENT;
    return (uint32_t)s->frames++;
}

/* A frame for the table block within the limit; false if there is none. */
static bool frame_take(struct sums *s, uint64_t table_block)
{
    uint32_t at = SUMS_ABSENT;

    if (s->frames < s->frames_max)
        at = (uint32_t)s->frames++;
    else
        at = frame_evict(s);
    if (at == SUMS_ABSENT && s->lifted)
        at = frame_add(s);
    if (at != SUMS_ABSENT)
        frame_give(s, at, table_block);
    return at != SUMS_ABSENT;
}

/* Whether one more frame may be changed. */
static bool change_is_allowed(struct sums *s)
{
    if (s->changed < s->changed_max || s->lifted)
        return true;
    s->starved = true;
    return false;
}

bool sums_hold(struct sums *s, uint64_t block, bool change)
{
    const uint64_t table_block = block / SUMS_CRCS_PER_BLOCK;

    assert(block < s->blocks);
    const uint32_t at = s->index[table_block];
    if (at != SUMS_ABSENT && !change) {
        assert(s->frame[at].holders < UINT16_MAX);
        s->frame[at].holders++;
        s->frame[at].recently = true;
        return true;
    }
    const bool is_changed = at != SUMS_ABSENT && frame_is_changed(s, &s->frame[at]);
    if (change && !is_changed && !change_is_allowed(s))
        return false;
    if (at == SUMS_ABSENT && !frame_take(s, table_block))
        return false;
    struct sums_frame *const f = &s->frame[s->index[table_block]];
    assert(f->holders < UINT16_MAX);
    f->holders++;
    if (change)
        f->changes++;
    f->recently = true;
    sums_count(s, f, is_changed);
    return true;
}

void sums_release(struct sums *s, uint64_t block, bool change)
{
    struct sums_frame *const f = &s->frame[frame_of(s, block)];

    assert(f->holders > 0);
    f->holders--;
    if (!change)
        return;
    assert(f->changes > 0);
    const bool was_changed = frame_is_changed(s, f);
    f->changes--;
    sums_count(s, f, was_changed);
}

bool sums_is_loaded(const struct sums *s, uint64_t block)
{
    return s->frame[frame_of(s, block)].loaded;
}

const uint32_t *sums_at(const struct sums *s, uint64_t block)
{
    return &block_of(s, frame_of(s, block))->crcs[block % SUMS_CRCS_PER_BLOCK];
}

uint32_t sums_get(const struct sums *s, uint64_t block)
{
    return *sums_at(s, block);
}

void sums_prefetch(const struct sums *s, uint64_t block)
{
    __builtin_prefetch(sums_at(s, block));
}

void sums_set_run(struct sums *s, uint64_t block, const uint32_t *crcs, uint32_t count)
{
    const uint32_t at = frame_of(s, block);
    struct sums_frame *const f = &s->frame[at];
    struct sums_block *const b = block_of(s, at);
    const uint64_t within = block % SUMS_CRCS_PER_BLOCK;
    const bool was_changed = frame_is_changed(s, f);

    assert(within + count <= SUMS_CRCS_PER_BLOCK);
    memcpy(&b->crcs[within], crcs, count * sizeof *crcs);
    for (uint64_t i = within; !f->loaded && i < within + count; i++)
        block_set_known(b, i);
    bitmap_set(&s->dirty, f->table_block);
    sums_count(s, f, was_changed);
}

void sums_set(struct sums *s, uint64_t block, uint32_t crc)
{
    sums_set_run(s, block, &crc, 1);
}

void sums_lift_limit(struct sums *s)
{
    s->lifted = true;
}

/* ---- Writing ---- */

uint64_t sums_next_dirty(const struct sums *s, uint64_t from)
{
    return bitmap_next_set(&s->dirty, from);
}

bool sums_can_encode(const struct sums *s, uint64_t table_block)
{
    const struct sums_frame *const f = &s->frame[s->index[table_block]];

    return f->loaded && !f->writing;
}

void sums_encode(struct sums *s, uint64_t table_block, struct span out, uint64_t *out_offset)
{
    assert(table_block < s->table_blocks);
    assert(s->index[table_block] != SUMS_ABSENT && sums_can_encode(s, table_block));
    assert(out.bytes == DISK_BLOCK_BYTES);

    struct sums_frame *const f = &s->frame[s->index[table_block]];
    const struct sums_block *const b = block_of(s, s->index[table_block]);
    const uint64_t sequence = ++s->sequences[table_block];
    const bool was_changed = frame_is_changed(s, f);
    memset(out.at, 0, SUMS_CRCS_OFFSET);
    for (uint32_t i = 0; i < SUMS_CRCS_PER_BLOCK; i++) {
        const struct le32 le = le32_make(b->crcs[i]);
        memcpy(out.at + SUMS_CRCS_OFFSET + i * sizeof le, &le, sizeof le);
    }
    metablock_seal(out, METABLOCK_SUMS,
                   &(struct metablock) { .tag = s->tag,
                                         .owner = table_block,
                                         .sequence = sequence,
                                         .payload_bytes = METABLOCK_PAYLOAD_BYTES });
    bitmap_clear(&s->dirty, table_block);
    bitmap_set(&s->written, table_block);
    f->writing = true;
    sums_count(s, f, was_changed);
    /* Never over the newest valid content: the sequence's parity chooses the slot. */
    *out_offset = table_block * SUMS_PAIR_BYTES + (sequence & 1) * DISK_BLOCK_BYTES;
}

void sums_written(struct sums *s, uint64_t table_block, bool ok)
{
    struct sums_frame *const f = &s->frame[s->index[table_block]];
    const bool was_changed = frame_is_changed(s, f);

    assert(f->writing);
    f->writing = false;
    s->starved = false;
    if (!ok)
        bitmap_set(&s->dirty, table_block);
    sums_count(s, f, was_changed);
}

bool sums_wants_writing(const struct sums *s)
{
    const bool limited = s->frames_max < s->table_blocks;

    return (s->starved || (limited && s->changed > s->changed_max / 2)) &&
           bitmap_next_set(&s->dirty, 0) != BITMAP_NONE;
}

/* ---- Loading ---- */

uint64_t sums_next_wanted(const struct sums *s, uint64_t from)
{
    return s->wanted_count == 0 ? BITMAP_NONE : bitmap_next_set(&s->wanted, from);
}

void sums_load_begin(struct sums *s, uint64_t table_block)
{
    assert(bitmap_get(&s->wanted, table_block));
    assert(!s->frame[s->index[table_block]].loaded);
    bitmap_clear(&s->wanted, table_block);
    s->wanted_count--;
}

struct status sums_slot_check(struct const_span slot, uint64_t tag, uint64_t table_block,
                              uint64_t *out_sequence)
{
    struct metablock head;

    TRY(metablock_open(slot, METABLOCK_SUMS, &head));
    if (head.tag != tag)
        return STATUS(NOT_FOUND);
    if (head.owner != table_block || head.payload_bytes != METABLOCK_PAYLOAD_BYTES ||
        head.sequence == 0)
        return STATUS(CORRUPT);
    *out_sequence = head.sequence;
    return STATUS(OK);
}

void sums_load_crc(struct sums *s, uint64_t block, uint32_t crc)
{
    const uint32_t at = frame_of(s, block);

    assert(!s->frame[at].loaded);
    block_load(block_of(s, at), block % SUMS_CRCS_PER_BLOCK, crc);
}

bool sums_load(struct sums *s, uint64_t table_block, const struct const_span slots[SUMS_SLOTS])
{
    struct sums_block *const b = block_of(s, s->index[table_block]);
    uint64_t best = 0;

    assert(!s->frame[s->index[table_block]].loaded);
    for (unsigned i = 0; i < SUMS_SLOTS; i++) {
        uint64_t sequence;
        if (slots[i].bytes == 0 ||
            !status_ok(sums_slot_check(slots[i], s->tag, table_block, &sequence)))
            continue;
        if ((sequence & 1) == i && sequence > best)
            best = sequence;
    }
    if (best == 0)
        return false;
    s->sequences[table_block] = best;
    const uint8_t *const at = slots[best & 1].at + SUMS_CRCS_OFFSET;
    for (uint32_t i = 0; i < SUMS_CRCS_PER_BLOCK; i++) {
        struct le32 f;
        memcpy(&f, at + i * sizeof f, sizeof f);
        block_load(b, i, le32_get(f));
    }
    return true;
}

void sums_load_end(struct sums *s, uint64_t table_block)
{
    struct sums_frame *const f = &s->frame[s->index[table_block]];

    assert(!f->loaded);
    assert(!bitmap_get(&s->wanted, table_block));
    f->loaded = true;
}

/* ---- Recovery ---- */

void sums_set_used(struct sums *s, uint64_t table_block)
{
    const uint32_t at = s->index[table_block];

    bitmap_set(&s->written, table_block);
    if (at == SUMS_ABSENT || !s->frame[at].loaded)
        return;
    s->frame[at].loaded = false;
    sums_want(s, table_block);
}

/* A frame for the table block, above the limit if need be. */
static struct status MUST_CHECK sums_reach(struct sums *s, uint64_t table_block)
{
    if (s->index[table_block] != SUMS_ABSENT)
        return STATUS(OK);
    const uint32_t at = frame_add(s);
    if (at == SUMS_ABSENT)
        return STATUS(NO_MEMORY);
    frame_give(s, at, table_block);
    return STATUS(OK);
}

struct status sums_recover(struct sums *s, uint64_t block, uint32_t crc)
{
    assert(block < s->blocks);
    TRY(sums_reach(s, block / SUMS_CRCS_PER_BLOCK));
    sums_set(s, block, crc);
    block_set_known(block_of(s, frame_of(s, block)), block % SUMS_CRCS_PER_BLOCK);
    return STATUS(OK);
}

uint32_t sums_recovered(const struct sums *s, uint64_t grain)
{
    const uint32_t at = s->index[sums_table_block_of(grain)];

    return at == SUMS_ABSENT ? 0 : block_of(s, at)->known[grain % SUMS_GRAINS_PER_BLOCK];
}

struct status sums_want_all(struct sums *s)
{
    for (uint64_t i = 0; i < s->table_blocks; i++) {
        if (bitmap_get(&s->written, i))
            TRY(sums_reach(s, i));
    }
    return STATUS(OK);
}

void sums_trim(struct sums *s)
{
    for (uint64_t i = s->frames_max; i < s->frames; i++) {
        const struct sums_frame *const f = &s->frame[i];
        assert(f->holders == 0 && f->loaded && !f->writing);
        assert(!bitmap_get(&s->dirty, f->table_block));
        s->index[f->table_block] = SUMS_ABSENT;
    }
    s->frames = min_u64(s->frames, s->frames_max);
    s->clock = 0;
    while ((s->chunk_count - 1) * s->chunk_frames >= s->frames_max)
        free(s->chunks[--s->chunk_count]);
    s->room = s->chunk_count * s->chunk_frames;
}

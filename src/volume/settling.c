/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --> PLACING --> MEMORY --> SOURCE --> TARGET --> WRITING --> TARGET ... --> IDLE
 *                           ^         | ^         |                      |
 *                           |         +-+ another +---- next chunk ------+
 *                           +-------------------------------------------- IDLE (failed)
 */
#include "volume/settling.h"

#include <assert.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "volume/volume_internal.h"

#define CHUNK_BYTES ((uint64_t)128 << 10)

static_assert(2 * CHUNK_BYTES <= BUF_BYTES_MAX, "source and target in one buffer");
static_assert(CHUNK_BYTES / STORE_BLOCK_BYTES == ARRAY_COUNT(((struct settling *)0)->crcs), "CRCs");

enum settling_state {
    SETTLING_IDLE,
    SETTLING_PLACING, /* The overlap order: on_placed(). */
    SETTLING_MEMORY,  /* on_memory() */
    SETTLING_SOURCE,  /* The source's chunk: on_leg(). */
    SETTLING_TARGET,  /* The target's chunk. */
    SETTLING_WRITING, /* What it has to get. */
};

static const struct sm_state settling_states[] = {
    [SETTLING_IDLE] = { "idle", SM_TO(SETTLING_PLACING) },
    [SETTLING_PLACING] = { "placing", SM_TO(SETTLING_MEMORY) | SM_TO(SETTLING_IDLE) },
    [SETTLING_MEMORY] = { "memory", SM_TO(SETTLING_SOURCE) | SM_TO(SETTLING_IDLE) },
    [SETTLING_SOURCE] = { "source",
                          SM_TO(SETTLING_SOURCE) | SM_TO(SETTLING_TARGET) | SM_TO(SETTLING_IDLE) },
    [SETTLING_TARGET] = { "target", SM_TO(SETTLING_TARGET) | SM_TO(SETTLING_WRITING) |
                                        SM_TO(SETTLING_SOURCE) | SM_TO(SETTLING_IDLE) },
    [SETTLING_WRITING] = { "writing", SM_TO(SETTLING_WRITING) | SM_TO(SETTLING_TARGET) |
                                          SM_TO(SETTLING_SOURCE) | SM_TO(SETTLING_IDLE) },
};

static void chunk_begin(struct copyset *cs);
static void target_next(struct copyset *cs, unsigned from);
static void target_compare(struct copyset *cs);

static struct copyset *copyset_of(struct settling *s)
{
    return CONTAINER_OF(s, struct copyset, settling);
}

/* ---- Regions ---- */

void settling_init(struct settling *s)
{
    *s = (struct settling) { 0 };
    list_init(&s->waiting);
    sm_init(&s->sm, settling_states, SETTLING_IDLE);
}

void settling_fini(struct settling *s)
{
    assert(s->sm.now == SETTLING_IDLE);
    assert(list_empty(&s->waiting));
    free(s->regions);
}

static struct status MUST_CHECK add_one(struct settling *s, uint64_t key)
{
    if (s->count == s->room) {
        const uint32_t room = s->room == 0 ? 64 : s->room * 2;
        struct settling_region *const grown = realloc(s->regions, room * sizeof *grown);
        if (grown == NULL)
            return STATUS(NO_MEMORY);
        s->regions = grown;
        s->room = room;
    }
    s->regions[s->count++] = (struct settling_region) { .key = key };
    return STATUS(OK);
}

struct status settling_add(struct settling *s, uint32_t shard, uint32_t region, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        TRY(add_one(s, (uint64_t)shard << 32 | (region + i)));
    return STATUS(OK);
}

static int compare_regions(const void *a, const void *b)
{
    const uint64_t ka = ((const struct settling_region *)a)->key;
    const uint64_t kb = ((const struct settling_region *)b)->key;

    return ka < kb ? -1 : ka > kb;
}

void settling_seal(struct settling *s)
{
    uint32_t kept = 0;

    if (s->count > 0)
        qsort(s->regions, s->count, sizeof *s->regions, compare_regions);
    for (uint32_t i = 0; i < s->count; i++) {
        if (kept == 0 || s->regions[kept - 1].key != s->regions[i].key)
            s->regions[kept++] = s->regions[i];
    }
    s->count = kept;
    s->left = kept;
}

/* The first region whose key is not below. */
static uint32_t lower_bound(const struct settling *s, uint64_t key)
{
    uint32_t low = 0, high = s->count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (s->regions[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool settling_admits(struct copyset *cs, struct piece *p, bool *out_failed)
{
    struct settling *const s = &cs->settling;
    const uint64_t shard = (uint64_t)p->order.shard << 32;
    const uint64_t first = shard | p->order.offset / STORE_REGION_BYTES;
    const uint64_t last = shard | (p->order.offset + p->order.bytes - 1) / STORE_REGION_BYTES;

    *out_failed = false;
    if ((s->left == 0 && s->failures == 0) || cs->slice->fenced)
        return true;
    for (uint32_t i = lower_bound(s, first); i < s->count && s->regions[i].key <= last; i++) {
        *out_failed |= s->regions[i].failed;
        if (s->regions[i].done)
            continue;
        s->next = i; /* It comes next. */
        list_node_init(&p->link);
        list_push_back(&s->waiting, &p->link);
        settling_run(cs);
        return false;
    }
    return true;
}

static void waiting_go_on(struct settling *s)
{
    struct list waiting;
    struct list_node *n;

    list_init(&waiting);
    list_splice_back(&waiting, &s->waiting);
    while ((n = list_pop_front(&waiting)) != NULL) {
        struct piece *const p = CONTAINER_OF(n, struct piece, link);
        p->on_settled(p);
    }
}

/* ---- The end of a region ---- */

/* The region under way. */
static struct ticks_range range_of(const struct settling *s)
{
    const uint64_t key = s->regions[s->at].key;

    return (
        struct ticks_range) { .shard = (uint32_t)(key >> 32), .first = (uint32_t)key, .count = 1 };
}

/* done: it is settled, or cannot be.  Otherwise it is begun anew, with whoever is a member then. */
static void region_end(struct copyset *cs, bool done, bool failed)
{
    struct settling *const s = &cs->settling;

    buf_put(cs->slice->scratch, s->memory);
    s->memory = (struct span) { 0 };
    sm_move(&s->sm, SETTLING_IDLE);
    s->regions[s->at].done = done;
    s->regions[s->at].failed = failed;
    s->left -= done ? 1 : 0;
    s->failures += failed ? 1 : 0;
    order_leave(cs->slice->order, &s->order);
    const struct ticks_range range = range_of(s);
    if (done && !failed)
        round_write_end(cs, s->tick);
    else
        round_write_abandon(cs, &range, s->tick); /* A round would close what may differ. */
    if (done || cs->slice->fenced)
        waiting_go_on(s); /* Else they would begin it anew at once. */
    if (done && s->left == 0)
        takeover_copyset_settled(cs);
    if (cs->slice->fenced)
        members_slice_quiet(cs->slice);
    else if (done)
        settling_run(cs);
}

bool settling_is_busy(const struct settling *s)
{
    return s->sm.now != SETTLING_IDLE;
}

static void region_fail(struct copyset *cs)
{
    struct settling *const s = &cs->settling;

    log_error(cs->slice->volume->log,
              "volume '%s': shard %u: no replica can read all of the MiB at %llu, where they may "
              "differ: its commands fail",
              cs->slice->volume->desc.name, s->order.shard, (unsigned long long)s->order.offset);
    region_end(cs, true, true);
}

/* ---- Commands ---- */

static void on_leg(struct leg_io *io);

static void send(struct copyset *cs, unsigned slot, enum store_opcode opcode, struct span data,
                 uint64_t offset)
{
    struct settling *const s = &cs->settling;
    struct leg_io *const io = &s->io;

    io->owner = cs;
    io->slot = slot;
    io->leg = cs->slice->map->legs[cs->leg[slot]];
    io->reactor = cs->slice->reactor;
    io->done = on_leg;
    io->store.opcode = opcode;
    io->store.fua = false;
    io->store.create = true;
    io->store.shard = s->order.shard;
    io->store.offset = offset;
    io->store.bytes = data.bytes;
    io->store.data = data;
    io->store.crcs = opcode == STORE_OP_WRITE ? s->crcs : NULL;
    io->store.tick = s->tick;
    leg_submit(io);
}

static uint64_t chunk_bytes(const struct settling *s)
{
    return min_u64(CHUNK_BYTES, s->end - s->offset);
}

static struct span chunk_of(const struct settling *s, bool of_target)
{
    return span_sub(s->memory, of_target ? CHUNK_BYTES : 0, chunk_bytes(s));
}

/* ---- Comparing ---- */

static bool block_differs(const struct settling *s, uint64_t at)
{
    return memcmp(chunk_of(s, false).at + at, chunk_of(s, true).at + at, STORE_BLOCK_BYTES) != 0;
}

static bool block_is_zero(const struct settling *s, uint64_t at)
{
    const uint8_t *const block = chunk_of(s, false).at + at;

    return block[0] == 0 && memcmp(block, block + 1, STORE_BLOCK_BYTES - 1) == 0;
}

/* The next blocks in a row that differ, all zeros or none; false at the end of the chunk. */
static bool next_difference(struct settling *s, uint64_t *out_at, uint64_t *out_bytes,
                            bool *out_zero)
{
    uint64_t at = s->done_bytes;

    while (at < chunk_bytes(s) && !block_differs(s, at))
        at += STORE_BLOCK_BYTES;
    if (at == chunk_bytes(s))
        return false;
    *out_at = at;
    *out_zero = block_is_zero(s, at);
    while (at < chunk_bytes(s) && block_differs(s, at) && block_is_zero(s, at) == *out_zero)
        at += STORE_BLOCK_BYTES;
    *out_bytes = at - *out_at;
    return true;
}

static void target_compare(struct copyset *cs)
{
    struct settling *const s = &cs->settling;
    uint64_t at, bytes;
    bool zero;

    if (!next_difference(s, &at, &bytes, &zero)) {
        target_next(cs, s->target + 1);
        return;
    }
    s->done_bytes = at + bytes;
    const struct span data = span_sub(chunk_of(s, false), at, bytes);
    for (uint64_t i = 0; i < bytes / STORE_BLOCK_BYTES; i++)
        s->crcs[i] = crc32c(data.at + i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
    sm_move(&s->sm, SETTLING_WRITING);
    send(cs, s->target, zero ? STORE_OP_WRITE_ZEROES : STORE_OP_WRITE, data, s->offset + at);
}

/* The next member to compare with the source; after the last one, the next chunk. */
static void target_next(struct copyset *cs, unsigned from)
{
    struct settling *const s = &cs->settling;
    unsigned slot = from;

    while (cs->members >> slot != 0 && ((cs->members >> slot & 1) == 0 || slot == s->source))
        slot++;
    if (cs->members >> slot != 0) {
        s->target = slot;
        s->done_bytes = 0;
        sm_move(&s->sm, SETTLING_TARGET);
        send(cs, slot, STORE_OP_READ, chunk_of(s, true), s->offset);
        return;
    }
    s->offset += chunk_bytes(s);
    s->tried = 0;
    if (s->offset < s->end)
        chunk_begin(cs);
    else
        region_end(cs, true, false);
}

/* ---- Reading ---- */

/* From a source that has not failed to read this chunk: those with the recorded incarnation. */
static void chunk_begin(struct copyset *cs)
{
    struct settling *const s = &cs->settling;
    const unsigned left = cs->sources & cs->members & ~s->tried;

    if (left == 0) {
        region_fail(cs);
        return;
    }
    s->source = (unsigned)__builtin_ctz(left);
    sm_move(&s->sm, SETTLING_SOURCE);
    send(cs, s->source, STORE_OP_READ, chunk_of(s, false), s->offset);
}

/* Bad blocks of a target are written like those that differ: what they have does not matter. */
static void take_for_different(struct settling *s)
{
    const struct span source = chunk_of(s, false), target = chunk_of(s, true);

    for (size_t i = 0; i < target.bytes; i++)
        target.at[i] = (uint8_t)~source.at[i];
}

static void on_failed(struct copyset *cs, const struct leg_io *io)
{
    struct settling *const s = &cs->settling;

    if (status_is(io->status, STATUS_MEDIA_READ) && s->sm.now == SETTLING_SOURCE) {
        s->tried |= 1u << io->slot;
        chunk_begin(cs);
        return;
    }
    if (status_is(io->status, STATUS_MEDIA_READ) && s->sm.now == SETTLING_TARGET) {
        take_for_different(s);
        target_compare(cs);
        return;
    }
    if (status_is(io->status, STATUS_LIST_FULL)) {
        region_end(cs, false, false); /* Until a round has closed some: round_waiting_go_on(). */
        round_want(cs);
        return;
    }
    const bool is_out = (cs->members >> io->slot & 1) == 0;
    members_report(cs->slice->volume, io->leg, io->status);
    region_end(cs, false, false); /* Until it is excluded: fanout_members_changed(). */
    if (is_out)
        settling_run(cs); /* That was before its answer came, and does not come again. */
}

static void on_leg(struct leg_io *io)
{
    struct copyset *const cs = io->owner;
    struct settling *const s = &cs->settling;

    if (cs->slice->fenced) {
        region_end(cs, false, false);
    } else if (!status_ok(io->status)) {
        on_failed(cs, io);
    } else if (s->sm.now == SETTLING_SOURCE) {
        target_next(cs, 0);
    } else {
        target_compare(cs); /* Also what follows behind what was written. */
    }
}

/* ---- The beginning of a region ---- */

static void memory_get(struct copyset *cs);

static void on_memory(struct buf_waiter *waiter)
{
    memory_get(copyset_of(CONTAINER_OF(waiter, struct settling, waiter)));
}

static void memory_get(struct copyset *cs)
{
    struct settling *const s = &cs->settling;

    s->memory = buf_get(cs->slice->scratch, 2 * CHUNK_BYTES);
    if (s->memory.at == NULL) {
        s->waiter.retry = on_memory;
        buf_wait(cs->slice->scratch, &s->waiter);
        return;
    }
    chunk_begin(cs);
}

static void on_placed(struct order_entry *entry)
{
    struct settling *const s = CONTAINER_OF(entry, struct settling, order);
    struct copyset *const cs = copyset_of(s);

    if (cs->slice->fenced) {
        region_end(cs, false, false);
        return;
    }
    sm_move(&s->sm, SETTLING_MEMORY);
    memory_get(cs);
}

/* The region that is to be settled next: what somebody waits for, else in order. */
static bool next_region(struct settling *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const uint32_t at = (s->next + i) % s->count;
        if (s->regions[at].done)
            continue;
        s->at = at;
        s->next = at + 1;
        return true;
    }
    return false;
}

void settling_run(struct copyset *cs)
{
    struct settling *const s = &cs->settling;
    const struct layout *const l = &cs->slice->map->layout;

    if (s->left == 0 || s->sm.now != SETTLING_IDLE || cs->slice->fenced ||
        fanout_reachable(cs, cs->members) != cs->members || !next_region(s))
        return;
    const struct ticks_range range = range_of(s);
    if (!round_write_begin(cs, &range, &s->tick))
        return;
    sm_move(&s->sm, SETTLING_PLACING);
    s->offset = (uint64_t)range.first * STORE_REGION_BYTES;
    s->end = min_u64(s->offset + STORE_REGION_BYTES, l->shard_bytes);
    s->tried = 0;
    s->order = (struct order_entry) { .shard = range.shard,
                                      .exclusive = true,
                                      .offset = s->offset,
                                      .bytes = s->end - s->offset,
                                      .granted = on_placed };
    if (order_enter(cs->slice->order, &s->order))
        on_placed(&s->order);
}

void settling_stop(struct copyset *cs)
{
    waiting_go_on(&cs->settling);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/settling.h"

#include <assert.h>
#include <stdlib.h>

#include "volume/volume_internal.h"

/* A member that can neither be excluded nor be given what it lacks, as it is full, is tried again:
 * somebody may have made space there. */
#define SETTLING_AGAIN_NS NS_PER_S

/* ---- Regions ---- */

static void on_again(struct io_timer *timer)
{
    settling_run(CONTAINER_OF(timer, struct copyset, settling.again));
}

void settling_init(struct settling *s)
{
    *s = (struct settling) { 0 };
    io_timer_init(&s->again, on_again);
    list_init(&s->waiting);
    range_copy_init(&s->copy);
}

void settling_fini(struct settling *s)
{
    assert(!range_copy_is_busy(&s->copy));
    assert(list_empty(&s->waiting));
    io_timer_disarm(&s->again);
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

bool settling_admits(struct copyset *cs, struct piece *p)
{
    struct settling *const s = &cs->settling;
    const uint64_t shard = (uint64_t)p->order.shard << 32;
    const uint64_t first = shard | p->order.offset / STORE_REGION_BYTES;
    const uint64_t last = shard | (p->order.offset + p->order.bytes - 1) / STORE_REGION_BYTES;

    if (s->left == 0 || cs->slice->fenced)
        return true;
    for (uint32_t i = lower_bound(s, first); i < s->count && s->regions[i].key <= last; i++) {
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

bool settling_is_busy(const struct settling *s)
{
    return range_copy_is_busy(&s->copy);
}

/* What has waited for it may begin the next one. */
static void region_end(struct copyset *cs)
{
    struct settling *const s = &cs->settling;

    s->regions[s->at].done = true;
    s->scarce = false;
    if (--s->left == 0 && points_are_due(cs))
        round_renew(cs);
    else if (s->left == 0)
        takeover_copyset_settled(cs);
    waiting_go_on(s);
    settling_run(cs);
}

static void tell_unreadable(const struct copyset *cs)
{
    const struct range_copy *const c = &cs->settling.copy;

    if (c->unreadable == 0)
        return;
    log_error(cs->slice->volume->log,
              "volume '%s': shard %u: of %u blocks from %llu on, where replicas may differ, none "
              "that is up to date can be read: reading them fails until they are written",
              cs->slice->volume->desc.name, c->order.shard, c->unreadable,
              (unsigned long long)c->unreadable_at);
}

/*
 * 11.1: a member is full.  Once more, with what it need have no space for; or it has lost something
 * that it has no space for now.  True: that was all.
 */
static bool on_full(struct copyset *cs)
{
    struct settling *const s = &cs->settling;
    struct reactor *const r = cs->slice->reactor;

    s->next = s->at;
    s->scarce = !s->scarce;
    if (s->scarce)
        settling_run(cs);
    else
        io_timer_arm(&s->again, r, reactor_now_ns(r) + SETTLING_AGAIN_NS);
    return s->scarce;
}

/* A member has failed: the region is begun anew when it is excluded, fanout_members_changed(). */
static void on_failed(struct copyset *cs)
{
    const struct range_copy *const c = &cs->settling.copy;

    if (cs->slice->fenced) {
        waiting_go_on(&cs->settling);
        members_slice_quiet(cs->slice);
        return;
    }
    if (status_is(c->status, STATUS_NO_SPACE) && on_full(cs))
        return;
    const bool is_out = (cs->members >> c->slot & 1) == 0;
    members_report(cs->slice->volume, c->leg, c->status);
    if (is_out)
        settling_run(cs); /* That was before its answer came, and does not come again. */
}

static void on_copied(struct range_copy *c, enum range_copy_end end)
{
    struct copyset *const cs = c->copyset;

    assert(end != RANGE_COPY_UNREADABLE); /* spoils() */
    if (end == RANGE_COPY_FAILED) {
        on_failed(cs);
        return;
    }
    tell_unreadable(cs);
    region_end(cs);
}

/* ---- The beginning of a region ---- */

/* Those with the recorded incarnation. */
static unsigned sources_of(const struct range_copy *c)
{
    return c->copyset->sources & c->copyset->members;
}

static unsigned targets_of(const struct range_copy *c)
{
    return c->copyset->members;
}

static bool spoils(const struct range_copy *c)
{
    assert(sources_of(c) != 0); /* 7.4, 6.1: or nobody would keep anything. */
    return true;
}

static const struct range_copy_ops settling_ops = {
    .sources = sources_of,
    .targets = targets_of,
    .done = on_copied,
    .spoils = spoils,
    .until_equal_open = true,
};

/* The same, where a member is full: what not all sources have was never acknowledged. */
static const struct range_copy_ops settling_scarce_ops = {
    .sources = sources_of,
    .targets = targets_of,
    .done = on_copied,
    .spoils = spoils,
    .until_equal_open = true,
    .prefers_zeros = true,
};

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

static void region_begin(struct copyset *cs)
{
    struct settling *const s = &cs->settling;
    const struct layout *const l = &cs->slice->map->layout;
    const uint64_t offset = (uint64_t)(uint32_t)s->regions[s->at].key * STORE_REGION_BYTES;
    const struct range_copy_range range = {
        .shard = (uint32_t)(s->regions[s->at].key >> 32),
        .offset = offset,
        .bytes = min_u64(STORE_REGION_BYTES, l->shard_bytes - offset),
    };
    range_copy_start(&s->copy, cs, s->scarce ? &settling_scarce_ops : &settling_ops, &range);
}

/* Where a member is alone, each ends before the next one is begun. */
void settling_run(struct copyset *cs)
{
    struct settling *const s = &cs->settling;

    if (s->running)
        return;
    s->running = true;
    while (s->left > 0 && !settling_is_busy(s) && !cs->slice->fenced &&
           fanout_reachable(cs, cs->members) == cs->members && next_region(s))
        region_begin(cs);
    s->running = false;
}

void settling_stop(struct copyset *cs)
{
    io_timer_disarm(&cs->settling.again);
    waiting_go_on(&cs->settling);
}

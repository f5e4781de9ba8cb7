/* SPDX-License-Identifier: Apache-2.0 */
#include "repl/ticks.h"

void ticks_init(struct ticks *t, struct ticks_region *regions, uint32_t region_count,
                struct ticks_region **buckets, uint32_t bucket_count)
{
    assert(bucket_count > 0 && (bucket_count & (bucket_count - 1)) == 0);
    *t = (struct ticks) { .now = 1,
                          .buckets = buckets,
                          .bucket_count = bucket_count,
                          .fresh = regions,
                          .room = region_count };
    list_init(&t->free);
    list_init(&t->order);
}

/* ---- Regions ---- */

/* Fibonacci hashing: neighbours of one shard spread over the buckets. */
static struct ticks_region **bucket_of(const struct ticks *t, uint32_t shard, uint32_t region)
{
    const uint64_t key = (uint64_t)shard << 32 | region;

    return &t->buckets[(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (t->bucket_count - 1)];
}

static struct ticks_region *region_find(const struct ticks *t, uint32_t shard, uint32_t region)
{
    struct ticks_region *r = *bucket_of(t, shard, region);

    while (r != NULL && (r->shard != shard || r->region != region))
        r = r->chain;
    return r;
}

/* One that was used before, if there is one. */
static struct ticks_region *region_take(struct ticks *t)
{
    struct list_node *const n = list_pop_front(&t->free);

    assert(t->room > 0);
    t->room--;
    if (n != NULL)
        return CONTAINER_OF(n, struct ticks_region, link);
    list_node_init(&t->fresh->link);
    return t->fresh++;
}

static struct ticks_region *region_add(struct ticks *t, uint32_t shard, uint32_t region)
{
    struct ticks_region **bucket = bucket_of(t, shard, region);
    struct ticks_region *const r = region_take(t);

    r->shard = shard;
    r->region = region;
    r->chain = *bucket;
    *bucket = r;
    return r;
}

static void region_remove(struct ticks *t, struct ticks_region *r)
{
    struct ticks_region **at = bucket_of(t, r->shard, r->region);

    while (*at != r)
        at = &(*at)->chain;
    *at = r->chain;
    list_remove(&r->link);
    list_push_front(&t->free, &r->link);
    t->room++;
}

static void region_mark(struct ticks *t, struct ticks_region *r)
{
    r->tick = t->now;
    list_push_back(&t->order, &r->link);
}

bool ticks_note(struct ticks *t, const struct ticks_range *range)
{
    uint32_t fresh = 0;

    for (uint32_t i = 0; i < range->count; i++)
        fresh += region_find(t, range->shard, range->first + i) == NULL;
    if (fresh > t->room)
        return false;
    for (uint32_t i = 0; i < range->count; i++) {
        struct ticks_region *r = region_find(t, range->shard, range->first + i);
        if (r == NULL)
            r = region_add(t, range->shard, range->first + i);
        else
            list_remove(&r->link);
        region_mark(t, r);
    }
    return true;
}

void ticks_keep_open(struct ticks *t, const struct ticks_range *range)
{
    for (uint32_t i = 0; i < range->count; i++) {
        struct ticks_region *const r = region_find(t, range->shard, range->first + i);
        if (r == NULL)
            continue; /* No round knows it. */
        list_remove(&r->link);
        region_mark(t, r);
    }
}

/* ---- Writes ---- */

bool ticks_write_begin(struct ticks *t, const struct ticks_range *range, uint32_t *out_tick)
{
    if (!ticks_note(t, range))
        return false;
    t->new_writes++;
    *out_tick = t->now;
    return true;
}

void ticks_write_end(struct ticks *t, uint32_t tick)
{
    uint64_t *writes = tick <= t->ended ? &t->old_writes : &t->new_writes;

    assert(tick <= t->now);
    assert(*writes > 0);
    (*writes)--;
}

void ticks_write_abandon(struct ticks *t, const struct ticks_range *range, uint32_t tick)
{
    for (uint32_t i = 0; i < range->count; i++) {
        struct ticks_region *const r = region_find(t, range->shard, range->first + i);
        assert(r != NULL);
        assert(r->tick == tick);
        region_remove(t, r);
    }
    ticks_write_end(t, tick);
}

/* ---- Rounds ---- */

void ticks_raise(struct ticks *t, uint32_t tick)
{
    if (t->now < tick)
        t->now = tick;
}

bool ticks_round_begin(struct ticks *t, unsigned members)
{
    assert(members != 0);
    if (t->round != TICKS_IDLE || t->now == UINT32_MAX)
        return false;
    t->ended = t->now++;
    /* Of a round that was given up, writes may be left. */
    t->old_writes += t->new_writes;
    t->new_writes = 0;
    t->wanted = members;
    t->confirmed = 0;
    t->round = TICKS_DRAINING;
    return true;
}

bool ticks_round_may_flush(const struct ticks *t)
{
    return t->round == TICKS_DRAINING && t->old_writes == 0;
}

uint32_t ticks_round_flush(struct ticks *t)
{
    assert(ticks_round_may_flush(t));
    t->round = TICKS_FLUSHING;
    return t->ended;
}

static void round_check(struct ticks *t)
{
    if (t->round == TICKS_FLUSHING && t->confirmed == t->wanted) {
        t->round = TICKS_IDLE;
        t->closed = t->ended;
        t->equal = t->confirmed;
    }
}

void ticks_confirmed(struct ticks *t, unsigned slot, uint32_t flush)
{
    if (t->round != TICKS_FLUSHING || flush != t->ended)
        return;
    t->confirmed |= t->wanted & 1u << slot;
    round_check(t);
}

void ticks_lost(struct ticks *t, unsigned slot)
{
    t->equal &= ~(1u << slot);
    if (t->round == TICKS_IDLE)
        return;
    t->wanted &= ~(1u << slot);
    t->confirmed &= ~(1u << slot);
    if (t->wanted == 0)
        ticks_round_abort(t);
    else
        round_check(t);
}

void ticks_joined(struct ticks *t)
{
    t->equal = 0;
    ticks_round_abort(t);
}

void ticks_round_abort(struct ticks *t)
{
    t->round = TICKS_IDLE;
}

bool ticks_next_close(struct ticks *t, struct ticks_close *out_close)
{
    if (list_empty(&t->order) || t->equal == 0)
        return false;
    struct ticks_region *r = CONTAINER_OF(list_first(&t->order), struct ticks_region, link);
    if (r->tick > t->closed)
        return false;
    *out_close = (struct ticks_close) {
        .shard = r->shard, .region = r->region, .tick = t->closed, .equal = t->equal
    };
    region_remove(t, r);
    return true;
}

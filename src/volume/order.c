/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/order.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "io/pages.h"
#include "store/store.h"

#define LANE_BLOCKS (ORDER_LANE_BYTES / STORE_BLOCK_BYTES)

static_assert(LANE_BLOCKS == 64, "a lane's blocks are one word of bits");

/*
 * Invariants:
 *   O1  writing and reading have no bit in common.
 *   O2  A lane is in the table exactly while inside + waiting > 0.
 *   O3  reserved is the sum of the lanes of all entries that are inside, or wait in a lane.
 *   O4  An exclusive entry that has all of its lanes is in active, aside or behind.
 *   O5  Nobody in active has blocks of one that passes and is inside.
 */
struct order_lane {
    uint64_t key; /* lane_key(). */
    struct order_lane *next;
    uint64_t writing;    /* Blocks of exclusive entries inside. */
    uint64_t reading;    /* Blocks of shared entries inside; see lane_leave(). */
    uint32_t readers;    /* Shared entries inside. */
    uint32_t inside;     /* All entries inside. */
    struct list waiting; /* order_entry.link */
    bool readers_overlap;
};

struct order {
    struct order_lane **table;
    size_t table_size;
    unsigned table_shift;
    uint32_t lanes_max;
    uint32_t lanes_kept;  /* Of them, for second entries. */
    uint32_t lanes_fresh; /* lanes[lanes_fresh ..] were never used. */
    uint32_t reserved;
    uint32_t entries;
    struct order_lane *free; /* By next. */
    struct order_lane *lanes;
    struct list starved; /* order_entry.link; waiting for free lanes. */
    struct list active;  /* Likewise; exclusive, inside. */
    struct list aside;   /* Likewise; set aside. */
    struct list passing; /* Likewise; inside, or waiting for some of active. */
    struct list behind;  /* Likewise; waiting for some of passing. */
    struct order_stats stats;
};

static uint64_t lane_key(uint32_t shard, uint64_t lane)
{
    assert(lane <= UINT32_MAX);
    return (uint64_t)shard << 32 | lane;
}

static struct order_lane **lane_bucket(const struct order *o, uint64_t key)
{
    /* Fibonacci hashing: neighbouring lanes land far apart. */
    return &o->table[key * UINT64_C(0x9E3779B97F4A7C15) >> o->table_shift];
}

static struct order_lane *lane_find(const struct order *o, uint64_t key)
{
    struct order_lane *lane = *lane_bucket(o, key);
    while (lane != NULL && lane->key != key)
        lane = lane->next;
    return lane;
}

/* Takes a lane from the pool, which has one: the entry has reserved it (O3). */
static struct order_lane *lane_add(struct order *o, uint64_t key)
{
    struct order_lane *lane = o->free;
    if (lane != NULL) {
        o->free = lane->next;
    } else {
        assert(o->lanes_fresh < o->lanes_max);
        lane = &o->lanes[o->lanes_fresh++];
    }
    struct order_lane **bucket = lane_bucket(o, key);
    *lane = (struct order_lane) { .key = key, .next = *bucket };
    list_init(&lane->waiting);
    *bucket = lane;
    return lane;
}

static void lane_drop(struct order *o, struct order_lane *lane)
{
    struct order_lane **at = lane_bucket(o, lane->key);
    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    lane->next = o->free;
    o->free = lane;
}

static uint64_t entry_first_lane(const struct order_entry *e)
{
    return e->offset / ORDER_LANE_BYTES;
}

static uint64_t entry_last_lane(const struct order_entry *e)
{
    return (e->offset + e->bytes - 1) / ORDER_LANE_BYTES;
}

static uint32_t entry_lane_count(const struct order_entry *e)
{
    return (uint32_t)(entry_last_lane(e) - entry_first_lane(e) + 1);
}

/* The bits of the entry's blocks in a lane that it touches. */
static uint64_t entry_mask(const struct order_entry *e, uint64_t lane)
{
    const uint64_t lane_at = lane * ORDER_LANE_BYTES;
    const uint64_t from = max_u64(e->offset, lane_at) - lane_at;
    const uint64_t to = min_u64(e->offset + e->bytes, lane_at + ORDER_LANE_BYTES) - lane_at;
    const unsigned first = (unsigned)(from / STORE_BLOCK_BYTES);
    const unsigned count = (unsigned)((to - from) / STORE_BLOCK_BYTES);

    assert(count >= 1);
    assert(first + count <= LANE_BLOCKS);
    return UINT64_MAX >> (LANE_BLOCKS - count) << first;
}

static bool lane_admits(const struct order_lane *lane, const struct order_entry *e, uint64_t mask)
{
    const uint64_t taken = e->exclusive ? lane->writing | lane->reading : lane->writing;
    return (taken & mask) == 0 || MUTATION(R8_OVERLAP);
}

static void lane_enter(struct order_lane *lane, const struct order_entry *e, uint64_t mask)
{
    lane->inside++;
    if (e->exclusive) {
        lane->writing |= mask;
        return;
    }
    lane->readers++;
    lane->readers_overlap = lane->readers_overlap || (lane->reading & mask) != 0;
    lane->reading |= mask;
}

/*
 * Readers that overlap share bits, and nobody counts how many share which: once that has
 * happened, all of the lane's reading bits stay until its last reader has left.  That makes a
 * writer wait too long, never too short, and not for ever: behind it new readers wait too.
 */
static void lane_leave(struct order_lane *lane, const struct order_entry *e, uint64_t mask)
{
    assert(lane->inside > 0);
    lane->inside--;
    if (e->exclusive) {
        lane->writing &= ~mask;
        return;
    }
    assert(lane->readers > 0);
    lane->readers--;
    if (!lane->readers_overlap)
        lane->reading &= ~mask;
    if (lane->readers == 0) {
        lane->reading = 0;
        lane->readers_overlap = false;
    }
}

/* Takes the entry's lanes from next_lane on.  False: it waits in one of them. */
static bool entry_take_lanes(struct order *o, struct order_entry *e)
{
    const uint64_t last = entry_last_lane(e);
    for (; e->next_lane <= last; e->next_lane++) {
        const uint64_t key = lane_key(e->shard, e->next_lane);
        const uint64_t mask = entry_mask(e, e->next_lane);
        struct order_lane *lane = lane_find(o, key);
        if (lane == NULL)
            lane = lane_add(o, key);
        if (e->first_lane == NULL)
            e->first_lane = lane;
        if (!list_empty(&lane->waiting) || !lane_admits(lane, e, mask)) {
            list_push_back(&lane->waiting, &e->link);
            return false;
        }
        lane_enter(lane, e, mask);
    }
    return true;
}

/* Lanes that an entry may reserve now. */
static uint32_t lanes_free(const struct order *o, const struct order_entry *e)
{
    const uint32_t limit = e->second ? o->lanes_max : o->lanes_max - o->lanes_kept;
    return o->reserved < limit ? limit - o->reserved : 0;
}

/* Reserves the entry's lanes and takes them.  False: it waits, for free lanes or in a lane. */
static bool entry_start(struct order *o, struct order_entry *e)
{
    const uint32_t lanes = entry_lane_count(e);
    assert(lanes <= o->lanes_max - o->lanes_kept);
    if (lanes > lanes_free(o, e)) {
        assert(!e->second);
        list_push_back(&o->starved, &e->link);
        return false;
    }
    o->reserved += lanes;
    return entry_take_lanes(o, e);
}

/* ---- Those that pass ---- */

static struct order_entry *entry_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct order_entry, link);
}

static bool overlap(const struct order_entry *a, const struct order_entry *b)
{
    return a->shard == b->shard && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

static bool is_being_passed(const struct order *o, const struct order_entry *e)
{
    LIST_FOR_EACH (n, &o->passing)
        if (overlap(entry_of(n), e))
            return true;
    return false;
}

/* It has all of its lanes.  False: it waits for somebody who passes. */
static bool entry_activate(struct order *o, struct order_entry *e)
{
    const bool waits = e->exclusive && is_being_passed(o, e);

    if (e->exclusive)
        list_push_back(waits ? &o->behind : &o->active, &e->link);
    return !waits;
}

static void mark_passed(const struct list *entries, const struct order_entry *by)
{
    LIST_FOR_EACH (n, entries)
        entry_of(n)->passed |= overlap(entry_of(n), by);
}

static void pass(struct order *o, struct order_entry *e)
{
    mark_passed(&o->aside, e);
    mark_passed(&o->behind, e);
}

static bool pass_enter(struct order *o, struct order_entry *e)
{
    list_push_back(&o->passing, &e->link);
    e->blockers = 0;
    e->ready = false;
    LIST_FOR_EACH (n, &o->active)
        e->blockers += overlap(entry_of(n), e) ? 1 : 0;
    if (e->blockers > 0) {
        o->stats.waited++;
        return false;
    }
    pass(o, e);
    return true;
}

/* One of active does nothing any more: who waited for that is ready. */
static void active_remove(struct order *o, struct order_entry *e)
{
    list_remove(&e->link);
    LIST_FOR_EACH (n, &o->passing) {
        struct order_entry *const by = entry_of(n);
        if (by->blockers > 0 && overlap(by, e))
            by->ready = --by->blockers == 0;
    }
}

/* granted() may enter and leave again. */
static void ready_grant(struct order *o)
{
    struct order_entry *e;

    do {
        e = NULL;
        LIST_FOR_EACH (n, &o->passing)
            e = e == NULL && entry_of(n)->ready ? entry_of(n) : e;
        if (e != NULL) {
            e->ready = false;
            pass(o, e);
            e->granted(e);
        }
    } while (e != NULL);
}

/* Of those behind, the first whom nobody passes; or NULL. */
static struct order_entry *first_unpassed(const struct order *o)
{
    LIST_FOR_EACH (n, &o->behind)
        if (!is_being_passed(o, entry_of(n)))
            return entry_of(n);
    return NULL;
}

static void pass_leave(struct order *o, struct order_entry *e)
{
    struct order_entry *next;

    list_remove(&e->link);
    o->entries--;
    while ((next = first_unpassed(o)) != NULL) {
        list_remove(&next->link);
        list_push_back(&o->active, &next->link);
        next->granted(next);
    }
}

void order_set_aside(struct order *o, struct order_entry *e)
{
    assert(e->exclusive);
    e->passed = false;
    active_remove(o, e);
    list_push_back(&o->aside, &e->link);
    if (!list_empty(&o->passing))
        ready_grant(o);
}

bool order_resume(struct order *o, struct order_entry *e)
{
    list_remove(&e->link);
    return entry_activate(o, e);
}

void order_hand_over(struct order_entry *e, struct order_entry *heir)
{
    *heir = *e;
    list_replace(&e->link, &heir->link);
}

/* ---- The interface ---- */

bool order_enter(struct order *o, struct order_entry *e)
{
    assert(e->bytes > 0);
    assert(e->offset % STORE_BLOCK_BYTES == 0);
    assert(e->bytes % STORE_BLOCK_BYTES == 0);

    list_node_init(&e->link);
    e->passed = false;
    e->first_lane = NULL;
    e->next_lane = entry_first_lane(e);
    o->entries++;
    o->stats.entered++;
    if (e->passes)
        return pass_enter(o, e);

    const bool queue = !list_empty(&o->starved) && !e->second;
    if (queue)
        list_push_back(&o->starved, &e->link);
    const bool placed = !queue && entry_start(o, e);
    if (placed && entry_activate(o, e))
        return true;
    o->stats.waited++;
    if (!placed && !list_empty(&o->starved) && o->starved.head.prev == &e->link)
        o->stats.starved++;
    return false;
}

/* Lets in, in turn, those that wait in the lane; collects the ones that now have all lanes. */
static void lane_wake(struct order *o, struct order_lane *lane, struct list *granted)
{
    while (!list_empty(&lane->waiting)) {
        struct order_entry *e = CONTAINER_OF(list_first(&lane->waiting), struct order_entry, link);
        const uint64_t mask = entry_mask(e, e->next_lane);
        if (!lane_admits(lane, e, mask))
            return;
        list_remove(&e->link);
        lane_enter(lane, e, mask);
        e->next_lane++;
        if (entry_take_lanes(o, e))
            list_push_back(granted, &e->link);
    }
}

static void order_feed_starved(struct order *o, struct list *granted)
{
    while (!list_empty(&o->starved)) {
        struct order_entry *e = CONTAINER_OF(list_first(&o->starved), struct order_entry, link);
        if (entry_lane_count(e) > lanes_free(o, e))
            return;
        list_remove(&e->link);
        if (entry_start(o, e))
            list_push_back(granted, &e->link);
    }
}

void order_leave(struct order *o, struct order_entry *e)
{
    const uint64_t first = entry_first_lane(e);
    const uint64_t last = entry_last_lane(e);
    struct list granted;

    if (e->passes) {
        pass_leave(o, e);
        return;
    }
    assert(e->next_lane == last + 1);
    assert(list_node_linked(&e->link) == e->exclusive);
    if (e->exclusive)
        active_remove(o, e);
    list_init(&granted);
    for (uint64_t i = first; i <= last; i++) {
        struct order_lane *lane = i == first ? e->first_lane : lane_find(o, lane_key(e->shard, i));
        assert(lane != NULL);
        lane_leave(lane, e, entry_mask(e, i));
        lane_wake(o, lane, &granted);
        if (lane->inside == 0) {
            assert(list_empty(&lane->waiting)); /* An empty lane admits everybody. */
            lane_drop(o, lane);
        }
    }
    o->reserved -= entry_lane_count(e);
    o->entries--;
    order_feed_starved(o, &granted);

    /* Last, because granted() may enter and leave again. */
    struct list_node *n;
    while ((n = list_pop_front(&granted)) != NULL) {
        struct order_entry *in = entry_of(n);
        if (entry_activate(o, in))
            in->granted(in);
    }
    if (!list_empty(&o->passing))
        ready_grant(o);
}

bool order_idle(const struct order *o)
{
    return o->entries == 0;
}

void order_get_stats(const struct order *o, struct order_stats *out_stats)
{
    *out_stats = o->stats;
}

struct status order_create(uint32_t lanes_max, uint32_t lanes_kept, struct order **out_order)
{
    assert(lanes_max > lanes_kept);

    /* At most half full, so that chains stay short. */
    unsigned bits = 1;
    while (UINT64_C(1) << bits < (uint64_t)lanes_max * 2)
        bits++;
    struct order *o = calloc(1, sizeof *o);
    if (o == NULL)
        return STATUS(NO_MEMORY);
    o->lanes_max = lanes_max;
    o->lanes_kept = lanes_kept;
    o->table_shift = 64 - bits;
    o->table_size = (size_t)1 << bits;
    o->table = pages_calloc(o->table_size, sizeof(struct order_lane *));
    o->lanes = pages_calloc(lanes_max, sizeof *o->lanes);
    list_init(&o->starved);
    list_init(&o->active);
    list_init(&o->aside);
    list_init(&o->passing);
    list_init(&o->behind);
    if (o->table == NULL || o->lanes == NULL) {
        order_destroy(o);
        return STATUS(NO_MEMORY);
    }
    *out_order = o;
    return STATUS(OK);
}

void order_destroy(struct order *o)
{
    if (o == NULL)
        return;
    assert(order_idle(o));
    pages_free(o->lanes, o->lanes_max, sizeof *o->lanes);
    pages_free(o->table, o->table_size, sizeof(struct order_lane *));
    free(o);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "store/scrub.h"

#include <assert.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "disk/sweep.h"
#include "store/store_internal.h"
#include "store/walk.h"

/* A block is bad if it was read so often, unchanged and at rest, and never matched. */
#define SCRUB_READS 3u
/* Grains without data that are passed over in one turn. */
#define SCRUB_GRAINS_MAX 4096u
/* One that is always being changed is somebody else's to find. */
#define SCRUB_TRIES_MAX 16u
/* How often it asks again for a region that is not settled. */
#define SCRUB_SETTLE_NS (100 * NS_PER_MS)

struct scrub {
    struct store *store;
    struct store_scrub_config config;
    struct sweep sweep;
    uint8_t *buffer; /* A grain. */
    struct walk walk;
    uint64_t done_bytes, bad_blocks;
    uint64_t due_ns;
    struct io_timer timer;
    bool stopping;
    bool waiting; /* For store_scrub_go_on(). */

    /* What is looked at: cells of a grain in a row. */
    uint32_t shard_id;
    uint64_t generation;
    uint32_t grain;
    struct map_extent extent;
    uint32_t rest;  /* Blocks of the grain that are to be read, ... */
    uint32_t again; /* ... of these, alone; and those ... */
    uint32_t bad;   /* ... that are bad. */
    unsigned reads; /* Of the block that is read alone; at rest. */
    unsigned tries;

    /* The read that is under way, or for whose checksums one waits. */
    bool chosen, held;
    uint64_t place; /* Block of the data area. */
    uint32_t first, count;
    uint32_t sums[GRAIN_BLOCKS]; /* As they were when it began. */
};

/* ---- Grains ---- */

/* The grain, if it is still there. */
static struct grain *grain_now(const struct scrub *s, struct shard **out_shard)
{
    struct shard *const shard = catalog_shard_by_id(&s->store->catalog, s->shard_id);
    struct layer *const layer = shard == NULL ? NULL : map_layer(&shard->map, s->generation);

    *out_shard = shard;
    return layer == NULL ? NULL : &layer->grains[s->grain];
}

/* The next cells of the disk; false at its end, or, *out_wait, if it is the others' turn. */
static bool take_item(struct scrub *s, bool *out_wait)
{
    uint32_t budget = SCRUB_GRAINS_MAX;
    struct walk_item item;

    if (!store_walk_some(s->store, &s->walk, &budget, &item)) {
        *out_wait = budget == 0;
        if (*out_wait)
            io_timer_arm(&s->timer, s->store->reactor, reactor_now_ns(s->store->reactor));
        return false;
    }
    s->shard_id = item.shard->id;
    s->generation = item.layer->generation;
    s->grain = item.grain;
    s->extent = item.extent;
    s->rest = walk_grain(&item)->data & grain_mask(item.extent.first, item.extent.count);
    s->again = 0;
    s->bad = 0;
    s->reads = s->tries = 0;
    return true;
}

/* Blocks with data in a row, that lie in a row and in one block of the checksum table. */
static bool choose(struct scrub *s)
{
    struct shard *shard;

    if (s->rest == 0)
        return false; /* There may be no such grain: a start position is anything. */
    struct grain *const g = grain_now(s, &shard);
    const bool alone = (s->rest & ~s->again) == 0;
    s->rest &= g == NULL ? 0 : g->data; /* What has been given back meanwhile is nobody's. */
    s->again &= s->rest;
    if (s->rest == 0)
        return false;
    s->first = (uint32_t)__builtin_ctz(alone ? s->rest : s->rest & ~s->again);
    s->place = map_place(&shard->map, g, s->first);
    s->count = 1;
    while (!alone && s->first + s->count < GRAIN_BLOCKS &&
           (s->rest >> (s->first + s->count) & 1) != 0 &&
           sums_run(s->place, s->count + 1) > s->count &&
           map_place(&shard->map, g, s->first + s->count) == s->place + s->count)
        s->count++;
    return true;
}

/* Whether a command under way changes the grain. */
static bool is_being_changed(const struct scrub *s, const struct shard *shard)
{
    const struct store_io whole = {
        .offset = (uint64_t)s->grain * STORE_GRAIN_BYTES,
        .bytes = STORE_GRAIN_BYTES,
    };

    return command_conflicts(shard, &whole, false);
}

/* ---- Bad blocks ---- */

static void tell(struct scrub *s)
{
    struct shard *shard;
    struct store_scrub_found found;
    const uint32_t first = (uint32_t)__builtin_ctz(s->bad);
    uint32_t count = 1;

    (void)grain_now(s, &shard);
    while (first + count < GRAIN_BLOCKS && (s->bad >> (first + count) & 1) != 0)
        count++;
    s->bad &= ~grain_mask(first, count);
    if (shard == NULL || shard->volume->deleting)
        return;
    s->bad_blocks += count;
    s->store->media_errors += count;
    s->waiting = true;
    found = (struct store_scrub_found) {
        .volume = shard->volume->desc.uuid,
        .shard = shard->index,
        .offset = (uint64_t)s->grain * STORE_GRAIN_BYTES + first * STORE_BLOCK_BYTES,
        .bytes = (uint64_t)count * STORE_BLOCK_BYTES,
    };
    s->config.found(s->config.ctx, &found);
}

/* ---- What is read next ---- */

/*
 * What is not settled yet may be newer than its checksums: then settling comes first.  What is
 * being deleted is not settled any more, and nothing is told of it.
 */
static bool is_settled(struct scrub *s)
{
    struct shard *const shard = catalog_shard_by_id(&s->store->catalog, s->shard_id);

    return shard == NULL || shard->volume->deleting ||
           range_is_settled(s->store, shard, (uint64_t)s->grain * STORE_GRAIN_BYTES,
                            STORE_GRAIN_BYTES);
}

/* Finds the next read; false: there is none, or, *out_wait, none yet. */
static bool find_read(struct scrub *s, bool *out_wait)
{
    *out_wait = false;
    while (!choose(s)) {
        if (s->bad != 0) {
            tell(s);
            *out_wait = s->waiting;
            if (s->waiting)
                return false;
        } else if (!take_item(s, out_wait)) {
            return false;
        }
    }
    if (!is_settled(s)) {
        io_timer_arm(&s->timer, s->store->reactor,
                     reactor_now_ns(s->store->reactor) + SCRUB_SETTLE_NS);
        *out_wait = true;
        return false;
    }
    s->chosen = true;
    return true;
}

static bool hold(struct scrub *s)
{
    struct store *const store = s->store;

    if (!s->held) {
        if (!sums_hold(&store->sums, s->place, false))
            return false;
        s->held = true;
        sums_loader_run(&store->sums_loader);
    }
    return sums_is_loaded(&store->sums, s->place);
}

/* Whether it rests on the rate; then the timer goes on. */
static bool rests(struct scrub *s)
{
    const uint64_t now_ns = reactor_now_ns(s->store->reactor);

    if (s->config.bytes_per_s == 0 || s->due_ns <= now_ns)
        return false;
    io_timer_arm(&s->timer, s->store->reactor, s->due_ns);
    return true;
}

static void pay(struct scrub *s, uint64_t bytes)
{
    const uint64_t now_ns = reactor_now_ns(s->store->reactor);

    if (s->config.bytes_per_s != 0)
        s->due_ns = max_u64(s->due_ns, now_ns) + bytes * NS_PER_S / s->config.bytes_per_s;
}

static bool scrub_next(struct sweep *sweep, struct sweep_slot *slot)
{
    struct scrub *const s = CONTAINER_OF(sweep, struct scrub, sweep);
    bool wait = false;

    if (s->stopping && !s->held)
        return false;
    if (!s->chosen && (s->waiting || rests(s) || !find_read(s, &wait))) {
        sweep->paused = s->waiting || wait || io_timer_armed(&s->timer);
        return false;
    }
    if (!hold(s)) {
        sweep->paused = true;
        return false;
    }
    s->chosen = s->held = false;
    slot->offset = store_data_offset(s->store, s->place);
    slot->bytes = (size_t)s->count * STORE_BLOCK_BYTES;
    for (uint32_t i = 0; i < s->count; i++)
        s->sums[i] = sums_get(&s->store->sums, s->place + i);
    pay(s, slot->bytes);
    return true;
}

/* ---- What was read ---- */

/* A block read alone: bad, right, or to be read once more. */
static void judge_alone(struct scrub *s, bool right)
{
    const uint32_t bit = UINT32_C(1) << s->first;
    struct shard *shard;
    struct grain *const g = grain_now(s, &shard);
    const bool same =
        g != NULL && (g->data & bit) != 0 && map_place(&shard->map, g, s->first) == s->place &&
        sums_get(&s->store->sums, s->place) == s->sums[0] && !is_being_changed(s, shard);

    s->tries++;
    s->reads = same ? s->reads + 1 : 0;
    if (!right && s->reads < SCRUB_READS && s->tries < SCRUB_TRIES_MAX)
        return;
    s->bad |= !right && s->reads >= SCRUB_READS ? bit : 0;
    s->rest &= ~bit;
    s->again &= ~bit;
    s->reads = s->tries = 0;
}

static struct status scrub_item(struct sweep *sweep, struct sweep_slot *slot)
{
    struct scrub *const s = CONTAINER_OF(sweep, struct scrub, sweep);
    const bool alone = (s->again >> s->first & 1) != 0;

    for (uint32_t i = 0; i < s->count; i++) {
        const uint8_t *const at = slot->buffer + (size_t)i * STORE_BLOCK_BYTES;
        const uint32_t bit = UINT32_C(1) << (s->first + i);
        const bool right = status_ok(slot->status) && crc32c(at, STORE_BLOCK_BYTES) == s->sums[i];
        if (alone)
            judge_alone(s, right);
        else if (right)
            s->rest &= ~bit;
        else
            s->again |= bit;
    }
    s->done_bytes += alone ? 0 : slot->bytes;
    sums_release(&s->store->sums, s->place, false);
    return STATUS(OK);
}

/* ---- Its life ---- */

static void scrub_done(struct sweep *sweep, struct status status)
{
    struct scrub *const s = CONTAINER_OF(sweep, struct scrub, sweep);
    struct store *const store = s->store;
    const struct store_scrub_config config = s->config;
    const bool stopped = s->stopping;
    struct store_scrub_progress progress = { 0 };

    assert(!s->held);
    (void)store_scrub_progress(store, &progress);
    io_timer_disarm(&s->timer);
    store->scrub = NULL;
    free(s->buffer);
    free(s);
    store_kick(store); /* It may be closed now. */
    config.done(config.ctx, stopped ? STATUS(CANCELED) : status, &progress);
}

static const struct sweep_ops scrub_ops = {
    .next = scrub_next,
    .item = scrub_item,
    .done = scrub_done,
};

/* A kick, as it is one that makes the store settle what is waited for. */
static void on_timer(struct io_timer *timer)
{
    store_kick(CONTAINER_OF(timer, struct scrub, timer)->store);
}

void scrub_run(struct store *store)
{
    struct scrub *const s = store->scrub;

    if (s == NULL)
        return;
    if (store->closing)
        s->stopping = true;
    if (s->sweep.paused)
        sweep_resume(&s->sweep);
}

/* Shard and grain: a shard's id is never used twice. */
static uint64_t position_of(const struct scrub *s)
{
    return (uint64_t)s->shard_id << 32 | s->grain;
}

struct status store_scrub_start(struct store *store, const struct store_scrub_config *config)
{
    assert(reactor_is_current(store->reactor));
    if (store->scrub != NULL)
        return STATUS(BUSY);
    if (store->closing || !store->serving)
        return STATUS(SHUTTING_DOWN);
    struct scrub *const s = calloc(1, sizeof *s);
    uint8_t *const buffer = aligned_alloc(DISK_BLOCK_BYTES, STORE_GRAIN_BYTES);
    if (s == NULL || buffer == NULL) {
        free(buffer);
        free(s);
        return STATUS(NO_MEMORY);
    }
    s->store = store;
    s->config = *config;
    s->buffer = buffer;
    s->shard_id = (uint32_t)(config->from >> 32);
    s->grain = (uint32_t)config->from;
    s->walk = (struct walk) { .shard_id = s->shard_id, .grain = s->grain };
    io_timer_init(&s->timer, on_timer);
    s->sweep.ops = &scrub_ops;
    s->sweep.dev = store->dev;
    s->sweep.depth = 1;
    s->sweep.buffer_bytes = STORE_GRAIN_BYTES;
    s->sweep.lent = buffer;
    store->scrub = s;
    sweep_start(&s->sweep);
    return STATUS(OK);
}

void store_scrub_go_on(struct store *store)
{
    assert(reactor_is_current(store->reactor));
    if (store->scrub == NULL)
        return;
    store->scrub->waiting = false;
    scrub_run(store);
}

void store_scrub_stop(struct store *store)
{
    assert(reactor_is_current(store->reactor));
    if (store->scrub == NULL)
        return;
    store->scrub->stopping = true;
    scrub_run(store);
}

bool store_scrub_progress(const struct store *store, struct store_scrub_progress *out_progress)
{
    const struct scrub *const s = store->scrub;
    uint64_t blocks = 0;

    if (s == NULL)
        return false;
    LIST_FOR_EACH (n, &store->catalog.volumes) {
        blocks += CONTAINER_OF(n, const struct catalog_volume, link)->blocks;
    }
    *out_progress = (struct store_scrub_progress) {
        .position = position_of(s),
        .done_bytes = s->done_bytes,
        .all_bytes = blocks * STORE_BLOCK_BYTES,
        .bad_blocks = s->bad_blocks,
    };
    return true;
}

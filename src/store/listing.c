/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region list under way: what commands that change something add to it (F36), and what the
 * engine reads of it, takes out of it and adds to it.  docs/replication.md, sections 3.3 and 3.4.
 */
#include <assert.h>

#include "base/mutation.h"
#include "store/store_internal.h"

struct range {
    uint32_t first;
    uint32_t count;
};

static struct range region_range(const struct store_io *io)
{
    const uint64_t first = io->offset / REGION_BYTES;
    const uint64_t last = (io->offset + io->bytes - 1) / REGION_BYTES;

    return (struct range) { (uint32_t)first, (uint32_t)(last - first + 1) };
}

/* ---- Opening ---- */

/* What is missing before a range is open. */
struct lack {
    uint32_t entries;
    uint32_t listed;
};

static struct lack range_lack(const struct store *store, const struct store_io *io,
                              const struct shard *shard)
{
    const uint8_t all = volume_all_slots(&io->session->volume->desc);
    const struct range range = region_range(io);
    struct lack lack = { 0 };

    if (shard == NULL)
        return (struct lack) { range.count, range.count };
    for (uint32_t i = range.first; i < range.first + range.count; i++) {
        lack.entries += regions_find(&store->regions, shard, i) == NULL ? 1 : 0;
        lack.listed += regions_slots(shard, i) != all ? 1 : 0;
    }
    return lack;
}

/* F36: whether the list would be found after a power loss. */
static bool range_is_durable(const struct store *store, const struct store_io *io,
                             const struct shard *shard)
{
    const uint64_t flushed = journal_get_marks(store->journal).flushed;
    const struct range range = region_range(io);

    for (uint32_t i = range.first; i < range.first + range.count; i++) {
        const struct region_entry *const e = regions_find(&store->regions, shard, i);
        if (e == NULL || e->sequence > flushed)
            return false;
    }
    return true;
}

/* Appends a record of one run. */
static void append_run(struct store *store, const struct shard *shard, const struct region_run *run)
{
    const struct record rec = { .type = RECORD_REGIONS, .items = 1 };
    const struct span out =
        journal_append(store->journal, record_bytes(RECORD_REGIONS, 1), &store->listing_sequence);

    record_encode(&rec, out);
    record_put_regions(
        out, 0,
        &(struct record_regions_item) {
            .shard = shard->id, .region = run->region, .count = run->count, .slots = run->slots });
}

void listing_enter(const struct store_io *io, struct shard *shard)
{
    struct store *const store = io->session->store;
    const struct range range = region_range(io);

    if (!volume_has_lists(&io->session->volume->desc))
        return;
    const uint8_t all = volume_all_slots(&io->session->volume->desc);
    /* Also where all regions list all: by a coarser list perhaps, of which no record says so. */
    if (range_lack(store, io, shard).entries > 0)
        append_run(store, shard, &(struct region_run) { range.first, range.count, all });
    for (uint32_t i = range.first; i < range.first + range.count; i++) {
        struct region_entry *e = regions_find(&store->regions, shard, i);
        if (e == NULL) {
            e = regions_open(&store->regions, shard, i, io->tick);
            e->sequence = store->listing_sequence;
        }
        e->tick = (uint32_t)max_u64(e->tick, io->tick);
    }
}

struct status listing_prepare(const struct store_io *io, struct shard *shard, bool overwrites,
                              size_t *bytes, bool *out_wait)
{
    struct store *const store = io->session->store;
    const size_t record = record_bytes(RECORD_REGIONS, 1);

    if (!volume_has_lists(&io->session->volume->desc))
        return STATUS(OK);
    if (shard != NULL)
        TRY(regions_reserve(shard));
    const struct lack lack = range_lack(store, io, shard);
    if (!regions_have_entries(&store->regions, lack.entries, lack.listed))
        return STATUS(LIST_FULL);
    bool wait = !regions_can_change(&store->regions, &store->catalog, lack.listed);
    if (!overwrites) {
        *bytes += lack.entries > 0 ? record : 0;
        *out_wait |= wait;
        return STATUS(OK);
    }
    /* An overwrite goes only when the list is durable: it opens its regions now, and waits. */
    wait |= !journal_has_room(store->journal, record, false);
    if (!wait && lack.entries > 0)
        listing_enter(io, shard);
    if (!wait && !range_is_durable(store, io, shard) && !MUTATION(LIST_VOLATILE)) {
        store->listing_wanted = true;
        wait = true;
    }
    *out_wait |= wait;
    return STATUS(OK);
}

static void listing_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct store *const store = CONTAINER_OF(waiter, struct store, listing_waiter);

    (void)status; /* If it has failed, nothing is let through any more. */
    assert(store->listing_busy);
    store->listing_busy = false;
    store_kick(store);
}

void listing_run(struct store *store)
{
    if (!store->listing_wanted || store->listing_busy || store->failed)
        return;
    store->listing_wanted = false;
    store->listing_busy = true;
    store->listing_waiter =
        (struct journal_waiter) { .sequence = store->listing_sequence, .fn = listing_on_flushed };
    journal_wait_flushed(store->journal, &store->listing_waiter);
}

/* ---- Commands ---- */

static struct store_region *io_items(const struct store_io *io, uint32_t *out_count)
{
    *out_count = (uint32_t)(io->data.bytes / sizeof(struct store_region));
    return (struct store_region *)(void *)io->data.at;
}

/* Fills in runs from the cursor on: shard's index and region. */
static void list_regions(struct store_io *io)
{
    const struct catalog_volume *const v = io->session->volume;
    uint32_t room, count = 0;
    struct store_region *const items = io_items(io, &room);
    uint64_t index = io->offset >> 32;
    uint32_t region = (uint32_t)io->offset;
    struct region_run run;

    for (; index < v->shards_count && count < room; index++, region = 0) {
        const struct shard *const s = v->shards[index];
        if (s == NULL || s->group != io->session->group)
            continue;
        while (count < room && region < shard_regions(s) && regions_next_run(s, &region, &run))
            items[count++] = (struct store_region) { .shard = (uint32_t)index,
                                                     .region = run.region,
                                                     .count = run.count,
                                                     .slots = run.slots };
        if (count == room && region < shard_regions(s))
            break;
    }
    io->offset = index < v->shards_count ? index << 32 | region : STORE_CURSOR_END;
    io->bytes = (uint64_t)count * sizeof *items;
    command_finish(io, STATUS(OK));
}

/* The item's shard, if it names regions of one that is there. */
static struct shard *item_shard(const struct store_io *io, const struct store_region *item)
{
    struct shard *const s = catalog_shard_by_index(io->session->volume, item->shard);

    if (s == NULL || s->group != io->session->group || item->count == 0 ||
        (uint64_t)item->region + item->count > shard_regions(s))
        return NULL;
    return s;
}

/* Changes one region, and says so in a record; whoever calls has seen to room for it. */
static void change_region(struct store *store, struct shard *shard, uint32_t region, uint8_t slots)
{
    const struct region_run run = { region, 1, slots };

    if (regions_slots(shard, region) == slots)
        return;
    append_run(store, shard, &run);
    regions_set(&store->regions, shard, &run);
}

/* What cannot be done now is left: the list has more than it need, and a later one takes it out. */
static void close_regions(struct store_io *io)
{
    struct store *const store = io->session->store;
    const size_t record = record_bytes(RECORD_REGIONS, 1);
    uint32_t count;
    const struct store_region *const items = io_items(io, &count);

    for (uint32_t k = 0; k < count; k++) {
        const struct store_region *const item = &items[k];
        struct shard *const s = item_shard(io, item);
        for (uint32_t i = 0; s != NULL && i < item->count; i++) {
            const uint32_t region = item->region + i;
            if (!regions_may_close(&store->regions, s, region, item->tick))
                continue;
            if (!journal_has_room(store->journal, record, false) ||
                !regions_can_change(&store->regions, &store->catalog, 1))
                break;
            change_region(store, s, region, regions_slots(s, region) & (uint8_t)~item->slots);
        }
    }
    command_finish(io, STATUS(OK));
}

/* The shard of an item; made if it was never written here. */
static struct status MUST_CHECK merge_shard(struct store_io *io, const struct store_region *item,
                                            struct shard **out_shard)
{
    struct catalog_volume *const v = io->session->volume;

    *out_shard = catalog_shard_by_index(v, item->shard);
    if (*out_shard == NULL) {
        if (!io->create)
            return STATUS(UNKNOWN_SHARD);
        if (item->shard >= store_volume_shards(&v->desc))
            return STATUS(OUT_OF_RANGE);
        TRY(shard_create(io, item->shard, item->copyset, out_shard));
    }
    if (item_shard(io, item) == NULL || item->slots > volume_all_slots(&v->desc))
        return STATUS(OUT_OF_RANGE);
    return regions_reserve(*out_shard);
}

static struct status MUST_CHECK merge_item(struct store_io *io, const struct store_region *item)
{
    struct store *const store = io->session->store;
    struct shard *shard;

    TRY(merge_shard(io, item, &shard));
    for (uint32_t i = item->region; i < item->region + item->count; i++) {
        struct region_entry *const e = regions_find(&store->regions, shard, i);
        const struct region_run run = { i, 1, regions_slots(shard, i) | item->slots };
        append_run(store, shard, &run); /* Also if it lists them: by a coarser list perhaps. */
        regions_set(&store->regions, shard, &run);
        if (e != NULL)
            e->tick = (uint32_t)max_u64(e->tick, io->tick);
    }
    /* A CLOSE of before must not take it out (9.8). */
    shard->listed.tick = (uint32_t)max_u64(shard->listed.tick, io->tick);
    return STATUS(OK);
}

/* So much of the journal a command may take. */
static size_t merge_bytes(const struct store_io *io, uint64_t *out_regions)
{
    uint32_t count;
    const struct store_region *const items = io_items(io, &count);
    size_t bytes = 0;

    *out_regions = 0;
    for (uint32_t k = 0; k < count; k++) {
        *out_regions += items[k].count;
        bytes += record_bytes(RECORD_SHARD, 0) + items[k].count * record_bytes(RECORD_REGIONS, 1);
    }
    return bytes;
}

static bool merge_regions(struct store_io *io)
{
    struct store *const store = io->session->store;
    struct status st = STATUS(OK);
    uint64_t regions;
    uint32_t count;
    const struct store_region *const items = io_items(io, &count);
    const size_t bytes = merge_bytes(io, &regions);

    if (regions > STORE_REGIONS_MAX) {
        command_finish(io, STATUS(LIMIT));
        return true;
    }
    if (!journal_has_room(store->journal, bytes, false) ||
        !regions_can_change(&store->regions, &store->catalog, (uint32_t)regions))
        return false;
    for (uint32_t k = 0; k < count && status_ok(st); k++)
        st = merge_item(io, &items[k]);
    if (!status_ok(st)) {
        command_finish(io, st);
        return true;
    }
    command_activate(io, NULL);
    command_finish_flushed(io, store->listing_sequence);
    return true;
}

bool listing_admit(struct store_io *io)
{
    const uint32_t count = (uint32_t)(io->data.bytes / sizeof(struct store_region));

    if (!volume_has_lists(&io->session->volume->desc) || count > STORE_REGIONS_MAX) {
        command_finish(io, STATUS(INVALID));
        return true;
    }
    if (io->opcode == STORE_OP_MERGE_REGIONS)
        return merge_regions(io);
    if (io->opcode == STORE_OP_LIST_REGIONS)
        list_regions(io);
    else
        close_regions(io);
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "store/regions.h"

#include <assert.h>
#include <stdlib.h>

#include "base/span.h"

struct status regions_init(struct regions *r, uint32_t entries_max, uint64_t bytes_max)
{
    assert(entries_max < UINT16_MAX);
    assert((uint64_t)entries_max * REGIONS_ENTRY_BYTES <= bytes_max);
    *r = (struct regions) { .table = calloc(entries_max, sizeof(struct region_entry)),
                            .entries_max = entries_max,
                            .bytes_max = bytes_max };
    list_init(&r->free);
    list_init(&r->open);
    if (r->table == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < entries_max; i++) {
        list_node_init(&r->table[i].link);
        list_push_back(&r->free, &r->table[i].link);
    }
    r->free_count = entries_max;
    return STATUS(OK);
}

void regions_fini(struct regions *r)
{
    free(r->table);
    r->table = NULL;
}

void regions_extend(struct regions *r, uint64_t bytes_max)
{
    assert(bytes_max >= r->bytes_max);
    r->bytes_max = bytes_max;
}

uint8_t regions_slots(const struct shard *shard, uint32_t region)
{
    assert(region < shard_regions(shard));
    return shard->listed.slots == NULL ? 0 : shard->listed.slots[region];
}

struct region_entry *regions_find(const struct regions *r, const struct shard *shard,
                                  uint32_t region)
{
    assert(region < shard_regions(shard));
    const uint16_t number = shard->listed.entries == NULL ? 0 : shard->listed.entries[region];

    return number == 0 ? NULL : &r->table[number - 1];
}

struct status regions_reserve(struct shard *shard)
{
    const uint32_t count = shard_regions(shard);
    struct shard_regions *const l = &shard->listed;

    if (l->slots == NULL)
        l->slots = calloc(count, sizeof *l->slots);
    if (l->entries == NULL)
        l->entries = calloc(count, sizeof *l->entries);
    return l->slots != NULL && l->entries != NULL ? STATUS(OK) : STATUS(NO_MEMORY);
}

/* ---- Slots ---- */

/* Whether a run of the list begins at a region. */
static bool run_begins(const struct shard *shard, uint32_t region)
{
    const uint8_t slots = shard->listed.slots[region];

    return slots != 0 && (region == 0 || shard->listed.slots[region - 1] != slots);
}

/* How many runs begin at the region or at the next one: all that a change of it concerns. */
static uint32_t runs_near(const struct shard *shard, uint32_t region)
{
    const bool next = region + 1 < shard_regions(shard) && run_begins(shard, region + 1);

    return (run_begins(shard, region) ? 1u : 0u) + (next ? 1u : 0u);
}

static void set_slots(struct regions *r, struct shard *shard, uint32_t region, uint8_t slots)
{
    const uint8_t all = volume_all_slots(&shard->volume->desc);
    struct shard_regions *const l = &shard->listed;
    const uint32_t before = runs_near(shard, region);
    const uint32_t opened = (slots == all ? 1u : 0u) - (l->slots[region] == all ? 1u : 0u);

    l->open += opened;
    r->open_count += opened;
    l->slots[region] = slots;
    const uint32_t after = runs_near(shard, region);
    l->runs += after - before;
    map_usage_change(&r->usage, (uint64_t)before * REGIONS_ITEM_BYTES,
                     (uint64_t)after * REGIONS_ITEM_BYTES);
}

/* Frees the entry of a region that is not open any more. */
static void close_entry(struct regions *r, struct shard *shard, uint32_t region)
{
    struct region_entry *const e = regions_find(r, shard, region);

    if (e == NULL || shard->listed.slots[region] == volume_all_slots(&shard->volume->desc))
        return;
    shard->listed.entries[region] = 0;
    e->shard = NULL;
    list_remove(&e->link);
    list_push_back(&r->free, &e->link);
    r->free_count++;
}

void regions_set(struct regions *r, struct shard *shard, const struct region_run *run)
{
    assert(shard->listed.slots != NULL);
    assert((uint64_t)run->region + run->count <= shard_regions(shard));
    for (uint32_t i = run->region; i < run->region + run->count; i++) {
        set_slots(r, shard, i, run->slots);
        close_entry(r, shard, i);
    }
}

bool regions_next_run(const struct shard *shard, uint32_t *region, struct region_run *out_run)
{
    const uint32_t end = shard_regions(shard);
    uint32_t at = *region;

    if (shard->listed.slots == NULL)
        return false;
    while (at < end && shard->listed.slots[at] == 0)
        at++;
    if (at == end)
        return false;
    *out_run = (struct region_run) { .region = at, .slots = shard->listed.slots[at] };
    while (at < end && shard->listed.slots[at] == out_run->slots)
        at++;
    out_run->count = at - out_run->region;
    *region = at;
    return true;
}

void regions_drop_shard(struct regions *r, struct shard *shard)
{
    if (shard->listed.slots == NULL)
        return;
    regions_set(r, shard, &(struct region_run) { .region = 0, .count = shard_regions(shard) });
    assert(shard->listed.runs == 0);
}

/* ---- Room ---- */

/* All regions that are not open list what any of them does; no record says so: it is more than need
 * be, and who has to rely on a part of it writes one. */
static void make_coarse(struct regions *r, struct shard *shard)
{
    const uint8_t all = volume_all_slots(&shard->volume->desc);
    const uint32_t end = shard_regions(shard);
    uint8_t slots = 0;

    for (uint32_t i = 0; i < end; i++)
        slots |= shard->listed.slots[i] != all ? shard->listed.slots[i] : 0;
    for (uint32_t i = 0; i < end; i++) {
        if (shard->listed.slots[i] != all && shard->listed.slots[i] != slots)
            set_slots(r, shard, i, slots);
    }
}

/* How many runs of the list a coarser one would not have. */
static uint32_t runs_in_excess(const struct shard *shard)
{
    const uint64_t coarse = 1 + 2 * (uint64_t)shard->listed.open;

    return shard->listed.runs > coarse ? (uint32_t)(shard->listed.runs - coarse) : 0;
}

static struct shard *longest_list(const struct catalog *c)
{
    struct shard *longest = NULL;

    for (uint32_t i = 0; i < c->shard_count; i++) {
        if (longest == NULL || runs_in_excess(c->shards[i]) > runs_in_excess(longest))
            longest = c->shards[i];
    }
    return longest != NULL && runs_in_excess(longest) > 0 ? longest : NULL;
}

bool regions_have_entries(const struct regions *r, uint32_t entries, uint32_t listed)
{
    return entries <= r->free_count && (uint64_t)r->open_count + listed <= r->entries_max;
}

bool regions_can_change(struct regions *r, const struct catalog *c, uint32_t count)
{
    const uint64_t bytes = (uint64_t)count * REGIONS_ENTRY_BYTES;

    while (r->usage.bytes + bytes > r->bytes_max) {
        struct shard *const longest = longest_list(c);
        if (longest == NULL)
            return false;
        make_coarse(r, longest);
    }
    return r->usage.bytes + r->usage.held + bytes <= r->bytes_max;
}

/* ---- Open regions ---- */

struct region_entry *regions_open(struct regions *r, struct shard *shard, uint32_t region,
                                  uint32_t tick)
{
    assert(regions_find(r, shard, region) == NULL);
    struct region_entry *const e =
        CONTAINER_OF(list_pop_front(&r->free), struct region_entry, link);

    *e = (struct region_entry) { .shard = shard, .region = region, .tick = tick };
    list_node_init(&e->link);
    list_push_back(&r->open, &e->link);
    r->free_count--;
    shard->listed.entries[region] = (uint16_t)(e - r->table + 1);
    set_slots(r, shard, region, volume_all_slots(&shard->volume->desc));
    return e;
}

bool regions_may_close(const struct regions *r, const struct shard *shard, uint32_t region,
                       uint32_t tick)
{
    const struct region_entry *const e = regions_find(r, shard, region);

    return tick >= (e != NULL ? e->tick : shard->listed.tick);
}

void regions_begin_session(struct regions *r, struct catalog_volume *volume, uint32_t group,
                           bool newer, uint32_t tick)
{
    for (uint32_t i = 0; i < volume->shards_count; i++) {
        struct shard *const s = volume->shards[i];
        if (s != NULL && s->group == group)
            s->listed.tick = newer ? tick : (uint32_t)max_u64(s->listed.tick, tick);
    }
    LIST_FOR_EACH (n, &r->open) {
        struct region_entry *const e = CONTAINER_OF(n, struct region_entry, link);
        if (e->shard->volume == volume && e->shard->group == group)
            e->tick = newer ? tick : (uint32_t)max_u64(e->tick, tick);
    }
}

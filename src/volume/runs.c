/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/runs.h"

#include <assert.h>
#include <stdlib.h>

void runs_init(struct runs *r)
{
    *r = (struct runs) { 0 };
}

void runs_fini(struct runs *r)
{
    free(r->items);
    runs_init(r);
}

struct status runs_add(struct runs *r, const struct store_region *run)
{
    if (run->count == 0)
        return STATUS(OK);
    if (r->count == r->room) {
        const uint32_t room = r->room == 0 ? 64 : r->room * 2;
        struct store_region *const grown = realloc(r->items, room * sizeof *grown);
        if (grown == NULL)
            return STATUS(NO_MEMORY);
        r->items = grown;
        r->room = room;
    }
    r->items[r->count++] = *run;
    return STATUS(OK);
}

/* ---- Sealing ---- */

static uint64_t key_of(const struct store_region *run)
{
    return (uint64_t)run->shard << 32 | run->region;
}

static uint64_t end_of(const struct store_region *run)
{
    return key_of(run) + run->count;
}

static int compare_runs(const void *a, const void *b)
{
    const uint64_t ka = key_of(a), kb = key_of(b);

    return ka < kb ? -1 : ka > kb;
}

void runs_seal(struct runs *r)
{
    uint32_t kept = 0;

    if (r->count > 0)
        qsort(r->items, r->count, sizeof *r->items, compare_runs);
    for (uint32_t i = 0; i < r->count; i++) {
        struct store_region *const last = kept == 0 ? NULL : &r->items[kept - 1];
        const struct store_region *const run = &r->items[i];
        if (last == NULL || key_of(run) > end_of(last))
            r->items[kept++] = *run;
        else if (end_of(run) > end_of(last))
            last->count = (uint32_t)(end_of(run) - key_of(last));
    }
    r->count = kept;
}

uint64_t runs_regions(const struct runs *r)
{
    uint64_t regions = 0;

    for (uint32_t i = 0; i < r->count; i++)
        regions += r->items[i].count;
    return regions;
}

/* ---- Positions ---- */

bool runs_get(const struct runs *r, const struct runs_at *at, uint32_t *out_shard,
              uint32_t *out_region)
{
    if (at->item == r->count)
        return false;
    assert(at->skip < r->items[at->item].count);
    *out_shard = r->items[at->item].shard;
    *out_region = r->items[at->item].region + at->skip;
    return true;
}

void runs_next(const struct runs *r, struct runs_at *at)
{
    assert(at->item < r->count);
    if (++at->skip < r->items[at->item].count)
        return;
    at->item++;
    at->skip = 0;
}

/* The first run that ends behind the key. */
static uint32_t run_around(const struct runs *r, uint64_t key)
{
    uint32_t low = 0, high = r->count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (end_of(&r->items[middle]) <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool runs_are_ahead(const struct runs *r, const struct runs_at *at, uint32_t shard, uint32_t region)
{
    const uint64_t key = (uint64_t)shard << 32 | region;
    const uint32_t item = run_around(r, key);

    if (item < at->item || item == r->count || key < key_of(&r->items[item]))
        return false;
    return item > at->item || key >= key_of(&r->items[item]) + at->skip;
}

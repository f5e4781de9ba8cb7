/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/placement.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/span.h"
#include "ctl/limits.h"

/* Whether a would be emptier than b after one more shard each; exact, without overflow. */
static bool emptier(const struct placement_disk *a, const struct placement_disk *b,
                    uint64_t shard_bytes)
{
    const unsigned __int128 left = (unsigned __int128)(a->planned_bytes + shard_bytes) * b->bytes;
    const unsigned __int128 right = (unsigned __int128)(b->planned_bytes + shard_bytes) * a->bytes;
    return left < right;
}

/*
 * The emptiest disk among those that carry the fewest shards of the stripe so far: with fewer
 * disks than the stripe is wide, each takes its share before one takes another.
 */
static uint32_t choose(const struct placement_disk *disks, uint32_t disk_count,
                       const uint32_t *in_stripe, uint64_t shard_bytes)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < disk_count; i++) {
        const bool fewer = in_stripe[i] < in_stripe[best];
        const bool same = in_stripe[i] == in_stripe[best];
        if (fewer || (same && emptier(&disks[i], &disks[best], shard_bytes)))
            best = i;
    }
    return best;
}

struct status placement_plan(const struct placement_shape *shape, struct placement_disk *disks,
                             uint32_t disk_count, uint32_t *out_disks)
{
    assert(shape->stripe_width > 0);
    assert(shape->shard_count <= CTL_SHARDS_MAX);
    if (disk_count == 0)
        return STATUS(NO_SPACE);

    uint32_t *in_stripe = calloc(disk_count, sizeof *in_stripe);
    if (in_stripe == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t shard = 0; shard < shape->shard_count; shard++) {
        if (shard % shape->stripe_width == 0)
            memset(in_stripe, 0, disk_count * sizeof *in_stripe);
        const uint32_t disk = choose(disks, disk_count, in_stripe, shape->shard_bytes);
        in_stripe[disk]++;
        disks[disk].planned_bytes += shape->shard_bytes;
        out_disks[shard] = disk;
    }
    free(in_stripe);
    return STATUS(OK);
}

void placement_grow(struct placement_growth *g, uint64_t bytes)
{
    const uint64_t room = g->shard_count * g->shard_bytes;
    const uint64_t group = g->shard_bytes * g->stripe_width;

    if (bytes <= room)
        return; /* The shards that are there take it. */
    if (g->first_run_shards == 0)
        g->first_run_shards = (uint32_t)g->shard_count;
    g->shard_count += ((bytes - room - 1) / group + 1) * g->stripe_width;
}

uint64_t placement_shard_share(const struct placement_growth *v, uint64_t bytes, uint32_t shard)
{
    const uint64_t last_group = v->shard_count - v->stripe_width;

    if (v->first_run_shards == 0 || shard < last_group)
        return v->shard_bytes;
    const uint64_t left = bytes - last_group * v->shard_bytes;
    return left / v->stripe_width + (shard - last_group < left % v->stripe_width ? 1 : 0);
}

uint64_t placement_overcommit(const struct placement_disk *disks, uint32_t disk_count)
{
    uint64_t over = 0;
    for (uint32_t i = 0; i < disk_count; i++)
        if (disks[i].planned_bytes > disks[i].bytes)
            over += disks[i].planned_bytes - disks[i].bytes;
    return over;
}

uint64_t placement_shard_bytes(uint64_t volume_bytes, uint32_t disk_count)
{
    uint64_t shard = CTL_SHARD_BYTES_DEF;
    const uint64_t disks = max_u64(disk_count, 1);

    while (shard > CTL_SHARD_BYTES_MIN && volume_bytes / shard < disks)
        shard /= 2;
    while (shard < CTL_SHARD_BYTES_MAX && volume_bytes > shard * CTL_SHARDS_MAX)
        shard *= 2;
    return shard;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The last step of spread.h: shards over the disks of the copysets in a stride. */
#include <assert.h>

#include "base/span.h"
#include "ctl/share.h"
#include "ctl/spread.h"
#include "repl/group.h"

static_assert(CTL_TUPLES_MAX <= GROUP_COPYSETS_MAX, "a group's record has room for all tuples");

/* What a shard would get on a node. */
struct pick {
    uint32_t disk;
    uint64_t share; /* Of the node, with it. */
};

struct spreading {
    const struct placement_cluster *cluster;
    const struct copysets *sets;
    uint64_t stride;
    uint64_t bytes; /* To be planned with the tuple that is being chosen. */
    struct pick picks[CTL_NODES_MAX];
    uint32_t used[CTL_COPYSETS_MAX];   /* How often each copyset was taken. */
    uint32_t in_stripe[CTL_DISKS_MAX]; /* Shards of this stripe, */
    uint32_t uses[CTL_DISKS_MAX];      /* tuples of this plan, */
    uint32_t firsts[CTL_DISKS_MAX];    /* and tuples that have it first. */
};

/* ---- One tuple of disks ---- */

/* The disk of a node for the next shard: not much fuller than the emptiest, and new to the stripe
 * if it can be. */
static uint32_t pick_disk(const struct spreading *s, const struct placement_node *node)
{
    const struct placement_disk *disks = s->cluster->disks;
    const uint32_t end = node->first_disk + node->disk_count;
    uint64_t least = UINT64_MAX;
    uint32_t best = end;

    for (uint32_t i = node->first_disk; i < end; i++)
        least = min_u64(least, share_with(disks[i], s->bytes));
    for (uint32_t i = node->first_disk; i < end; i++) {
        const uint64_t share = share_with(disks[i], s->bytes);
        if (share - least > SHARE_SLACK)
            continue;
        if (best == end || s->in_stripe[i] < s->in_stripe[best] ||
            (s->in_stripe[i] == s->in_stripe[best] && share < share_with(disks[best], s->bytes)))
            best = i;
    }
    return best;
}

static void pick_disks(struct spreading *s)
{
    for (uint64_t rest = s->stride; rest != 0;) {
        const uint32_t node = node_mask_next(&rest);
        const struct placement_disk space = cluster_node_space(s->cluster, node);
        s->picks[node].disk = pick_disk(s, &s->cluster->nodes[node]);
        s->picks[node].share = share_with(space, s->bytes);
    }
}

/* What a copyset would have after the next shard: lower is better, in this order. */
struct cost {
    uint64_t fullest;   /* The share of its fullest node. */
    uint32_t in_stripe; /* How often the stripe uses its disks already. */
    uint64_t sum;       /* The nodes' shares. */
    uint32_t used;
};

static struct cost cost_of(const struct spreading *s, uint32_t set)
{
    struct cost c = { .used = s->used[set] };
    uint64_t nodes = s->sets->nodes[set];

    while (nodes != 0) {
        const struct pick *p = &s->picks[node_mask_next(&nodes)];
        c.fullest = max_u64(c.fullest, p->share);
        c.in_stripe += s->in_stripe[p->disk];
        c.sum += p->share / CTL_REPLICAS_MAX;
    }
    return c;
}

static bool cheaper(const struct cost *a, const struct cost *b)
{
    if (a->in_stripe != b->in_stripe)
        return a->in_stripe < b->in_stripe;
    if (a->fullest / SHARE_STEP != b->fullest / SHARE_STEP)
        return a->fullest < b->fullest;
    if (a->sum != b->sum)
        return a->sum < b->sum;
    return a->used < b->used;
}

/* The copyset for the next shard, by the same rule as pick_disk(). */
static uint32_t pick_set(const struct spreading *s)
{
    uint64_t least = UINT64_MAX;
    uint32_t best = s->sets->count;
    struct cost best_cost = { 0 };

    for (uint32_t i = 0; i < s->sets->count; i++)
        least = min_u64(least, cost_of(s, i).fullest);
    for (uint32_t i = 0; i < s->sets->count; i++) {
        const struct cost c = cost_of(s, i);
        const bool first = best == s->sets->count;
        if (c.fullest - least > SHARE_SLACK || (!first && !cheaper(&c, &best_cost)))
            continue;
        best = i;
        best_cost = c;
    }
    assert(best < s->sets->count);
    return best;
}

/* ---- Whose turn it is ---- */

/* How far a disk is behind in being first: it should be so in one of `replicas` tuples. */
static int64_t first_due(const struct spreading *s, uint32_t disk)
{
    return (int64_t)s->uses[disk] - (int64_t)s->sets->replicas * s->firsts[disk];
}

/* Writes the tuple with the disk first that is furthest behind, the others in order after it. */
static void put_tuple(struct spreading *s, uint32_t set, uint32_t *out_disks)
{
    const uint32_t replicas = s->sets->replicas;
    uint64_t nodes = s->sets->nodes[set];
    uint32_t disks[CTL_REPLICAS_MAX] = { 0 };
    uint32_t first = 0;

    for (uint32_t i = 0; i < replicas; i++) {
        disks[i] = s->picks[node_mask_next(&nodes)].disk;
        s->cluster->disks[disks[i]].planned_bytes += s->bytes;
        s->in_stripe[disks[i]]++;
        s->uses[disks[i]]++;
        if (first_due(s, disks[i]) > first_due(s, disks[first]))
            first = i;
    }
    s->firsts[disks[first]]++;
    s->used[set]++;
    for (uint32_t i = 0; i < replicas; i++)
        out_disks[i] = disks[(first + i) % replicas];
}

/* ---- All of them ---- */

/* How many tuples are chosen: whole stripes if it can be, so that a stripe has different ones. */
static uint32_t tuple_count(const struct placement_shape *shape, uint32_t tuples_max)
{
    uint32_t most = tuples_max / shape->stripe_width * shape->stripe_width;
    if (most == 0)
        most = tuples_max;
    return shape->shard_count < most ? shape->shard_count : most;
}

uint32_t spread_shards(const struct placement_cluster *cluster, const struct copysets *sets,
                       const struct placement_shape *shape, uint32_t tuples_max,
                       uint32_t *out_disks)
{
    struct spreading s = { .cluster = cluster, .sets = sets };
    const uint32_t tuples = tuple_count(shape, tuples_max);
    const uint32_t replicas = sets->replicas;

    assert(sets->count > 0 && tuples_max > 0);
    assert(shape->stripe_width > 0 && shape->stripe_width <= CTL_STRIPE_WIDTH_MAX);
    assert(shape->shard_count <= CTL_SHARDS_MAX);
    for (uint32_t i = 0; i < sets->count; i++)
        s.stride |= sets->nodes[i];
    for (uint32_t t = 0; t < tuples; t++) {
        if (t % shape->stripe_width == 0)
            memset(s.in_stripe, 0, sizeof s.in_stripe);
        /* Shards t, t + tuples, t + 2 * tuples and so on. */
        s.bytes = shape->shard_bytes * ((shape->shard_count - t - 1) / tuples + 1);
        pick_disks(&s);
        put_tuple(&s, pick_set(&s), &out_disks[(size_t)t * replicas]);
    }
    for (size_t i = (size_t)tuples * replicas; i < (size_t)shape->shard_count * replicas; i++)
        out_disks[i] = out_disks[i - (size_t)tuples * replicas];
    return tuples;
}

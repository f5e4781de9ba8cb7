/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/stride.h"

#include <assert.h>

#include "base/le.h"
#include "ctl/share.h"

struct choice {
    const struct placement_cluster *cluster;
    const struct copysets *sets;
    uint64_t allowed;
    uint64_t draw; /* The volume's. */
    struct placement_disk space[CTL_NODES_MAX];
};

/* Where a set stands among those that could be next; lower is better. */
struct rank {
    uint32_t common;  /* Nodes that the stride has already, */
    uint64_t fullest; /* the share of its fullest node, */
    uint64_t sum;     /* of all of them, */
    uint64_t draw;    /* and what decides among equals. */
};

static struct rank rank_of(const struct choice *c, uint64_t stride, uint64_t nodes)
{
    struct rank r = { .common = node_mask_count(stride & nodes) };
    uint64_t sum = c->draw;

    while (nodes != 0) {
        const uint32_t node = node_mask_next(&nodes);
        const uint64_t share = share_with(c->space[node], 0);
        r.fullest = max_u64(r.fullest, share);
        r.sum += share / CTL_REPLICAS_MAX;
        sum += copyset_draw(c->cluster, node);
    }
    r.draw = copyset_mix(sum);
    return r;
}

static bool rank_better(const struct rank *a, const struct rank *b)
{
    if (a->common != b->common)
        return a->common < b->common;
    if (a->fullest / SHARE_STEP != b->fullest / SHARE_STEP)
        return a->fullest < b->fullest;
    if (a->sum != b->sum)
        return a->sum < b->sum;
    return a->draw < b->draw;
}

/* The best set that adds nodes to the stride, which then has at most nodes_max; 0: none. */
static uint64_t best_more(const struct choice *c, uint64_t stride, uint32_t nodes_max)
{
    uint64_t best = 0;
    struct rank least = { 0 };
    for (uint32_t i = 0; i < c->sets->count; i++) {
        const uint64_t set = c->sets->nodes[i];
        const bool adds = (set & ~stride) != 0;
        if ((set & ~c->allowed) != 0 || !adds || node_mask_count(stride | set) > nodes_max)
            continue;
        const struct rank r = rank_of(c, stride, set);
        if (best != 0 && !rank_better(&r, &least))
            continue;
        best = set;
        least = r;
    }
    return best;
}

static uint64_t free_bytes(const struct choice *c, uint64_t nodes)
{
    uint64_t bytes = 0;
    while (nodes != 0) {
        const struct placement_disk *space = &c->space[node_mask_next(&nodes)];
        if (space->planned_bytes < space->bytes)
            bytes += space->bytes - space->planned_bytes;
    }
    return bytes;
}

/* Adds sets as long as the stride has no more than nodes_max nodes. */
static uint64_t extend(const struct choice *c, uint64_t stride, uint32_t nodes_max)
{
    for (;;) {
        const uint64_t set = best_more(c, stride, nodes_max);
        if (set == 0)
            return stride;
        stride |= set;
    }
}

static uint64_t volume_draw(struct uuid volume)
{
    struct le64 halves[2];
    memcpy(halves, volume.b, sizeof halves);
    return copyset_mix(copyset_mix(le64_get(halves[0])) + le64_get(halves[1]));
}

uint64_t stride_choose(const struct placement_cluster *cluster, const struct copysets *sets,
                       uint64_t allowed, const struct stride_request *request,
                       struct copysets *out_sets)
{
    struct choice c = { cluster, sets, allowed, volume_draw(request->volume), { { 0 } } };
    const uint32_t replicas = sets->replicas;

    for (uint64_t rest = allowed; rest != 0;) {
        const uint32_t node = node_mask_next(&rest);
        assert(cluster->nodes[node].disk_count > 0);
        c.space[node] = cluster_node_space(cluster, node);
    }
    uint32_t nodes_max = request->nodes_max;
    if (nodes_max == 0)
        nodes_max = replicas > 1 ? 2 * replicas : 1;
    if (nodes_max < replicas)
        nodes_max = replicas;
    uint64_t stride = extend(&c, 0, nodes_max);
    while (request->nodes_max == 0 && nodes_max < cluster->node_count &&
           free_bytes(&c, stride) < request->planned_bytes)
        stride = extend(&c, stride, ++nodes_max);
    return stride_within(sets, stride, out_sets);
}

uint64_t stride_within(const struct copysets *sets, uint64_t nodes, struct copysets *out_sets)
{
    const uint32_t count = sets->count;
    uint64_t used = 0;

    out_sets->replicas = sets->replicas;
    out_sets->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if ((sets->nodes[i] & ~nodes) != 0)
            continue;
        used |= sets->nodes[i];
        out_sets->nodes[out_sets->count++] = sets->nodes[i];
    }
    return used;
}

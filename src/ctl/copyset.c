/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/copyset.h"

#include <assert.h>
#include <stdlib.h>

#include "base/le.h"
#include "base/span.h"

/* A set of nodes that could be a copyset. */
struct candidate {
    uint64_t score; /* Its place in the draw. */
    uint64_t nodes;
};

struct draw {
    struct domains domains;
    uint32_t sets_each;             /* Copysets of a node of average capacity. */
    uint64_t number[CTL_NODES_MAX]; /* copyset_draw() of each. */
    uint32_t quota[CTL_NODES_MAX];  /* How many copysets it should be in, */
    uint32_t load[CTL_NODES_MAX];   /* and is. */
    struct candidate *candidates;   /* Owned. */
    size_t count;
};

/* ---- The draw ---- */

uint64_t copyset_mix(uint64_t value)
{
    /* The end of splitmix64. */
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static uint64_t mix_uuid(uint64_t seed, struct uuid uuid)
{
    struct le64 halves[2];
    static_assert(sizeof halves == sizeof uuid.b, "a UUID is two numbers");
    memcpy(halves, uuid.b, sizeof halves);
    /* The odd constant keeps zeros from staying zeros. */
    seed = copyset_mix(seed + le64_get(halves[0]) + UINT64_C(0x9e3779b97f4a7c15));
    return copyset_mix(seed + le64_get(halves[1]) + UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t copyset_draw(const struct placement_cluster *cluster, uint32_t node)
{
    return mix_uuid(mix_uuid(0, cluster->uuid), cluster->nodes[node].uuid);
}

/* Of C(n, replicas): how many sets n nodes have. */
static size_t sets_of(uint32_t n, uint32_t replicas)
{
    size_t sets = 1;
    for (uint32_t i = 0; i < replicas; i++)
        sets = sets * (n - i) / (i + 1);
    return sets;
}

/* Adds chosen with `missing` more nodes of rest, in all ways that are spread. */
static void collect(struct draw *d, uint64_t chosen, uint64_t rest, uint32_t missing)
{
    if (missing > 0) {
        while (node_mask_count(rest) >= missing) {
            const uint32_t node = node_mask_next(&rest);
            collect(d, chosen | node_bit(node), rest, missing - 1);
        }
        return;
    }
    if (!domains_spread(&d->domains, chosen))
        return;
    /* A sum does not depend on the order of the nodes. */
    uint64_t sum = 0;
    for (uint64_t left = chosen; left != 0;)
        sum += d->number[node_mask_next(&left)];
    d->candidates[d->count++] = (struct candidate) { copyset_mix(sum), chosen };
}

static int by_score(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->nodes < b->nodes ? -1 : a->nodes > b->nodes;
}

/* ---- Shares ---- */

/*
 * A node's share of copysets follows its capacity, rounded.  None has more than nearly twice the
 * average: that is the bound on what must be read and written if it is lost.  None has less than
 * two: with one, it would hang on the same few nodes for everything.
 */
static void set_quotas(struct draw *d, const struct placement_cluster *cluster, uint64_t nodes)
{
    const uint32_t least = d->sets_each < 2 ? d->sets_each : 2;
    const uint32_t most = (uint32_t)max_u64(d->sets_each, 2ull * d->sets_each - 1);
    const uint32_t count = node_mask_count(nodes);
    unsigned __int128 total = 0;

    for (uint64_t rest = nodes; rest != 0;)
        total += cluster->nodes[node_mask_next(&rest)].bytes;
    assert(total > 0);
    for (uint64_t rest = nodes; rest != 0;) {
        const uint32_t node = node_mask_next(&rest);
        const unsigned __int128 bytes = cluster->nodes[node].bytes;
        const uint64_t share = (uint64_t)((2 * bytes * count * d->sets_each + total) / (2 * total));
        d->quota[node] = (uint32_t)min_u64(max_u64(share, least), most);
    }
}

static void take(struct draw *d, uint64_t nodes, struct copysets *sets)
{
    assert(sets->count < CTL_COPYSETS_MAX);
    sets->nodes[sets->count++] = nodes;
    while (nodes != 0)
        d->load[node_mask_next(&nodes)]++;
}

/* Takes each set, in the order of the draw, in which nobody has its share yet. */
static void take_drawn(struct draw *d, struct copysets *sets)
{
    for (size_t i = 0; i < d->count; i++) {
        bool room = true;
        for (uint64_t rest = d->candidates[i].nodes; rest != 0;) {
            const uint32_t node = node_mask_next(&rest);
            room = room && d->load[node] < d->quota[node];
        }
        if (!room)
            continue;
        take(d, d->candidates[i].nodes, sets);
        d->candidates[i].nodes = 0; /* Taken. */
    }
}

/* ---- Those left behind ---- */

/* How bad it would be for the others to have one more set; lower is better. */
struct burden {
    int32_t beyond; /* The most that one has beyond its share already. */
    uint64_t loads; /* The sum of what they have of their shares, in 1/2^16. */
};

static struct burden burden_of(const struct draw *d, uint64_t others)
{
    struct burden b = { INT32_MIN, 0 };
    while (others != 0) {
        const uint32_t node = node_mask_next(&others);
        const int32_t beyond = (int32_t)d->load[node] - (int32_t)d->quota[node];
        b.beyond = beyond > b.beyond ? beyond : b.beyond;
        b.loads += ((uint64_t)d->load[node] << 16) / d->quota[node];
    }
    return b;
}

/* Whether one more set gives none of the nodes more than twice the average. */
static bool within_bound(const struct draw *d, uint64_t nodes)
{
    while (nodes != 0)
        if (d->load[node_mask_next(&nodes)] >= 2 * d->sets_each)
            return false;
    return true;
}

/* The set that gives node one more at the least burden to others; NULL if there is none. */
static struct candidate *lightest(const struct draw *d, uint32_t node, bool bounded)
{
    struct candidate *best = NULL;
    struct burden least = { 0 };
    for (size_t i = 0; i < d->count; i++) {
        struct candidate *c = &d->candidates[i];
        if ((c->nodes & node_bit(node)) == 0 || (bounded && !within_bound(d, c->nodes)))
            continue;
        const struct burden b = burden_of(d, c->nodes & ~node_bit(node));
        if (best != NULL &&
            (b.beyond > least.beyond || (b.beyond == least.beyond && b.loads >= least.loads)))
            continue;
        best = c;
        least = b;
    }
    return best;
}

/* Gives a node the rest of its share, within the bound; and one set, whatever it takes. */
static void catch_up(struct draw *d, uint32_t node, struct copysets *sets)
{
    while (d->load[node] < d->quota[node]) {
        struct candidate *c = lightest(d, node, true);
        if (c == NULL && d->load[node] == 0)
            c = lightest(d, node, false);
        if (c == NULL)
            return;
        take(d, c->nodes, sets);
        c->nodes = 0;
    }
}

/* In the order of their numbers, so that the order in which they are listed has no say. */
static void catch_up_all(struct draw *d, uint64_t nodes, struct copysets *sets)
{
    while (nodes != 0) {
        uint64_t rest = nodes;
        uint32_t first = node_mask_next(&rest);
        while (rest != 0) {
            const uint32_t node = node_mask_next(&rest);
            if (d->number[node] < d->number[first])
                first = node;
        }
        catch_up(d, first, sets);
        nodes &= ~node_bit(first);
    }
}

/* ---- Interface ---- */

uint32_t copyset_scatter(uint32_t replicas)
{
    return replicas > 1 ? 2 * replicas : 0;
}

struct status copysets_build(const struct placement_cluster *cluster, uint64_t nodes,
                             uint32_t replicas, uint32_t scatter, struct copysets *out_sets)
{
    struct draw d = { 0 };
    assert(replicas > 0 && replicas <= CTL_REPLICAS_MAX);
    assert(scatter <= CTL_SCATTER_MAX);
    if (node_mask_count(nodes) < replicas)
        return STATUS(NO_SPACE);
    if (scatter == 0)
        scatter = copyset_scatter(replicas);
    d.sets_each = replicas > 1 ? (uint32_t)max_u64(scatter / (replicas - 1), 1) : 1;
    d.candidates = calloc(sets_of(node_mask_count(nodes), replicas), sizeof *d.candidates);
    if (d.candidates == NULL)
        return STATUS(NO_MEMORY);

    domains_map(cluster, nodes, &d.domains);
    for (uint64_t rest = nodes; rest != 0;) {
        const uint32_t node = node_mask_next(&rest);
        d.number[node] = copyset_draw(cluster, node);
    }
    set_quotas(&d, cluster, nodes);
    collect(&d, 0, nodes, replicas);
    qsort(d.candidates, d.count, sizeof *d.candidates, by_score);
    out_sets->replicas = replicas;
    out_sets->count = 0;
    take_drawn(&d, out_sets);
    catch_up_all(&d, nodes, out_sets);
    free(d.candidates);
    return STATUS(OK);
}

uint32_t copysets_scatter(const struct copysets *sets, uint32_t node)
{
    uint64_t others = 0;
    for (uint32_t i = 0; i < sets->count; i++)
        if ((sets->nodes[i] & node_bit(node)) != 0)
            others |= sets->nodes[i];
    return node_mask_count(others & ~node_bit(node));
}

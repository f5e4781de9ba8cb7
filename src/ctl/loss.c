/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/loss.h"

#include <assert.h>
#include <string.h>

#include "base/rng.h"
#include "base/span.h"

/*
 * Half of the interval that has the truth with 99%, by Hoeffding's inequality, which holds for
 * every distribution: sqrt(ln(2 / 0.01) / (2 * LOSS_SETS_EXACT)) = 0.001590.
 */
#define SAMPLED_ERROR 0.00159
static_assert(LOSS_SETS_EXACT == 1u << 20, "SAMPLED_ERROR is made for it");

/* ---- The map ---- */

/* Where sets of each size begin. */
static uint32_t tuple_base(uint32_t size)
{
    return size == 1 ? 0 : size == 2 ? 64 : 64 + 64 * 63 / 2;
}

/* A number for a set of nodes a < b < c, or of fewer: without gaps, in colexicographic order. */
static uint32_t tuple_index(uint64_t nodes)
{
    const uint32_t size = node_mask_count(nodes);
    const uint32_t a = node_mask_next(&nodes);
    assert(size >= 1 && size <= CTL_REPLICAS_MAX);
    if (size == 1)
        return a;
    const uint32_t b = node_mask_next(&nodes);
    if (size == 2)
        return tuple_base(2) + b * (b - 1) / 2 + a;
    const uint32_t c = node_mask_next(&nodes);
    return tuple_base(3) + c * (c - 1) * (c - 2) / 6 + b * (b - 1) / 2 + a;
}

/* Marks chosen with `missing` more nodes of rest, in all ways that are spread. */
static void allow(struct loss_map *map, const struct domains *domains, uint64_t chosen,
                  uint64_t rest, uint32_t missing)
{
    if (missing > 0) {
        while (rest != 0) {
            const uint32_t node = node_mask_next(&rest);
            allow(map, domains, chosen | node_bit(node), rest, missing - 1);
        }
        return;
    }
    if (!domains_spread(domains, chosen))
        return;
    map->is_allowed[tuple_index(chosen)] = 1;
    map->allowed[node_mask_count(chosen) - 1]++;
}

void loss_map_init(struct loss_map *map, const struct placement_cluster *cluster)
{
    struct domains domains;
    memset(map, 0, sizeof *map);
    map->nodes = cluster_nodes(cluster);
    domains_map(cluster, map->nodes, &domains);
    for (uint32_t size = 1; size <= CTL_REPLICAS_MAX; size++)
        allow(map, &domains, 0, map->nodes, size);
}

void loss_map_add(struct loss_map *map, uint64_t nodes, uint64_t shards)
{
    assert(nodes != 0 && (nodes & ~map->nodes) == 0);
    map->totals[node_mask_count(nodes) - 1] += shards;
    map->shards[tuple_index(nodes)] += shards;
}

uint32_t loss_map_tuples(const struct loss_map *map)
{
    uint32_t tuples = 0;
    for (uint32_t i = 0; i < LOSS_TUPLES_MAX; i++)
        tuples += map->shards[i] > 0;
    return tuples;
}

/* ---- One set of nodes that fail ---- */

/* What lies on none but the nodes that have failed. */
struct inside {
    uint64_t shards;
    uint32_t allowed[CTL_REPLICAS_MAX];
};

static void count_tuple(const struct loss_map *map, uint64_t nodes, struct inside *in)
{
    const uint32_t i = tuple_index(nodes);
    in->shards += map->shards[i];
    in->allowed[node_mask_count(nodes) - 1] += map->is_allowed[i];
}

/* Adds what is inside once node has failed, too: the sets of it and up to two of the others. */
static void count_with(const struct loss_map *map, uint64_t others, uint32_t node,
                       struct inside *in)
{
    count_tuple(map, node_bit(node), in);
    while (others != 0) {
        const uint64_t pair = node_bit(node) | node_bit(node_mask_next(&others));
        count_tuple(map, pair, in);
        for (uint64_t rest = others; rest != 0;)
            count_tuple(map, pair | node_bit(node_mask_next(&rest)), in);
    }
}

static double power(double base, uint64_t exponent)
{
    double result = 1;
    while (exponent > 0) {
        if (exponent % 2 == 1)
            result *= base;
        base *= base;
        exponent /= 2;
    }
    return result;
}

/* The probability that random placement has put no shard on failed nodes alone. */
static double random_keeps(const struct loss_map *map, const struct inside *in)
{
    double keeps = 1;
    for (uint32_t i = 0; i < CTL_REPLICAS_MAX; i++)
        if (in->allowed[i] > 0)
            keeps *= power(1 - (double)in->allowed[i] / (double)map->allowed[i], map->totals[i]);
    return keeps;
}

static double random_shards(const struct loss_map *map, const struct inside *in)
{
    double shards = 0;
    for (uint32_t i = 0; i < CTL_REPLICAS_MAX; i++)
        if (in->allowed[i] > 0)
            shards += (double)in->allowed[i] / (double)map->allowed[i] * (double)map->totals[i];
    return shards;
}

/* ---- All of them, or some ---- */

struct sum {
    const struct loss_map *map;
    double sets;
    struct loss_figures placed; /* Sums: of sets that lose something, and of what they lose. */
    struct loss_figures random;
};

static void sum_add(struct sum *s, const struct inside *in)
{
    s->sets += 1;
    s->placed.probability += in->shards > 0;
    s->placed.shards += (double)in->shards;
    s->random.probability += 1 - random_keeps(s->map, in);
    s->random.shards += random_shards(s->map, in);
}

/* All ways in which `missing` more nodes of rest fail. */
static void sum_all(struct sum *s, uint64_t failed, uint64_t rest, uint32_t missing,
                    struct inside in)
{
    if (missing == 0) {
        sum_add(s, &in);
        return;
    }
    while (node_mask_count(rest) >= missing) {
        const uint32_t node = node_mask_next(&rest);
        struct inside with = in;
        count_with(s->map, failed, node, &with);
        sum_all(s, failed | node_bit(node), rest, missing - 1, with);
    }
}

/* As many sets of nodes as are looked at, drawn: the same ones each time. */
static void sum_sampled(struct sum *s, uint32_t failures)
{
    struct rng rng;
    rng_init(&rng, failures);
    for (uint64_t i = 0; i < LOSS_SETS_EXACT; i++) {
        struct inside in = { 0 };
        uint64_t failed = 0;
        while (node_mask_count(failed) < failures) {
            const uint32_t node = (uint32_t)rng_below(&rng, CTL_NODES_MAX);
            if ((s->map->nodes & ~failed & node_bit(node)) == 0)
                continue;
            count_with(s->map, failed, node, &in);
            failed |= node_bit(node);
        }
        sum_add(s, &in);
    }
}

/* C(n, k), or more than LOSS_SETS_EXACT. */
static uint64_t sets_of(uint32_t n, uint32_t k)
{
    uint64_t sets = 1;
    for (uint32_t i = 0; i < k && sets <= LOSS_SETS_EXACT; i++)
        sets = sets * (n - i) / (i + 1);
    return sets;
}

/*
 * No more than the sum over the sets of nodes that hold something: each is among k failures of n
 * with probability k/n * (k-1)/(n-1) * ..., one factor for each of its nodes.
 */
static double union_bound(const struct loss_map *map, uint32_t failures)
{
    const uint32_t nodes = node_mask_count(map->nodes);
    double bound = 0;
    double each = 1;
    for (uint32_t size = 1; size <= CTL_REPLICAS_MAX && size <= failures; size++) {
        const uint32_t end = size < 3 ? tuple_base(size + 1) : LOSS_TUPLES_MAX;
        each *= (double)(failures - size + 1) / (double)(nodes - size + 1);
        for (uint32_t i = tuple_base(size); i < end; i++)
            bound += map->shards[i] > 0 ? each : 0;
    }
    return bound < 1 ? bound : 1;
}

/* From sums to averages. */
static struct loss_figures figures(const struct loss_figures *sums, double sets)
{
    const double losses = sums->probability;
    return (struct loss_figures) { losses / sets, losses > 0 ? sums->shards / losses : 0 };
}

struct loss_report loss_report(const struct loss_map *map, uint32_t failures)
{
    const uint32_t nodes = node_mask_count(map->nodes);
    struct sum sum = { .map = map };
    struct loss_report r = { .failures = failures };

    assert(failures >= 1 && failures <= nodes && failures <= LOSS_FAILURES_MAX);
    r.exact = sets_of(nodes, failures) <= LOSS_SETS_EXACT;
    if (r.exact)
        sum_all(&sum, 0, map->nodes, failures, (struct inside) { 0 });
    else
        sum_sampled(&sum, failures);
    r.placed = figures(&sum.placed, sum.sets);
    r.random = figures(&sum.random, sum.sets);
    r.at_least = r.placed.probability;
    r.at_most = r.placed.probability;
    if (r.exact)
        return r;
    const double bound = union_bound(map, failures);
    r.at_least = r.at_least > SAMPLED_ERROR ? r.at_least - SAMPLED_ERROR : 0;
    r.at_most = r.at_most + SAMPLED_ERROR < bound ? r.at_most + SAMPLED_ERROR : bound;
    return r;
}

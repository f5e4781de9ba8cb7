/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/spread.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/span.h"
#include "ctl/validate.h"

struct planning {
    const struct placement_cluster *cluster;
    const struct spread_request *request;
    uint64_t nodes;  /* That take part, */
    uint64_t usable; /* and those that may get replicas; of the stride, if there is one. */
    uint32_t replicas;
    uint64_t stride;
    struct copysets sets;
    struct problem *problem;
};

/* ---- Whether there are enough ---- */

/* Appends to a text, as far as there is room. */
static void __attribute__((format(printf, 2, 3))) say(struct problem *p, const char *format, ...)
{
    const size_t length = strlen(p->s);
    va_list args;
    va_start(args, format);
    vsnprintf(p->s + length, sizeof p->s - length, format, args);
    va_end(args);
}

static void say_domain(struct problem *p, enum domain_level level,
                       const struct placement_node *node)
{
    const char *name = level == DOMAIN_ZONE ? node->zone : node->rack;
    if (name[0] == '\0')
        say(p, " (none)");
    else if (level == DOMAIN_RACK && node->zone[0] != '\0')
        say(p, " '%s/%s'", node->zone, name);
    else
        say(p, " '%s'", name);
}

/* ": 'a', 'b'"; nothing if there are none. */
static void say_domains(const struct planning *p, const struct domains *map)
{
    const enum domain_level level = p->request->apart;
    uint64_t rest = p->usable;
    for (uint32_t said = 0; rest != 0;) {
        const uint32_t node = node_mask_next(&rest);
        /* Domains are numbered in the order of their first nodes. */
        if (map->of[level][node] != said)
            continue;
        say(p->problem, said++ == 0 ? ":" : ",");
        say_domain(p->problem, level, &p->cluster->nodes[node]);
    }
}

/* "3 replicas in different zones need 3 zones with a working disk, and there are 2: 'a', 'b'". */
static void say_missing(const struct planning *p, const struct domains *map)
{
    const enum domain_level level = p->request->apart;
    const char *name = domain_level_name(level);
    const uint32_t have = map->count[level];
    const uint32_t want = p->request->replicas;
    const char *where = p->request->within != 0 ? " in the volume's stride" : "";

    say(p->problem, "%u replica%s", want, want == 1 ? "" : "s");
    if (level != DOMAIN_NODE)
        say(p->problem, " in different %ss", name);
    say(p->problem, " need%s %u %s%s with a working disk%s, and there %s %u", want == 1 ? "s" : "",
        want, name, want == 1 ? "" : "s", where, have == 1 ? "is" : "are", have);
    if (level != DOMAIN_NODE)
        say_domains(p, map);
    else if (node_mask_count(p->nodes) > have && p->request->within == 0)
        say(p->problem, " of %u", node_mask_count(p->nodes));
}

/* How many replicas there are to be: as asked, or with allow_degraded as many as can be apart. */
static struct status MUST_CHECK decide_replicas(struct planning *p)
{
    struct domains map;
    domains_map(p->cluster, p->usable, &map);
    const uint32_t have = map.count[p->request->apart];

    p->replicas = p->request->replicas;
    if (have >= p->replicas)
        return STATUS(OK);
    if (have == 0 || !p->request->allow_degraded) {
        say_missing(p, &map);
        return STATUS(NO_SPACE);
    }
    p->replicas = have;
    return STATUS(OK);
}

/* ---- Copysets and stride ---- */

/* Among the copysets of these nodes, those of the stride that can be used; perhaps none. */
static struct status MUST_CHECK choose_sets(struct planning *p, uint64_t nodes)
{
    const struct spread_request *r = p->request;
    const struct stride_request stride = {
        r->volume, r->shape.shard_bytes * r->shape.shard_count * p->replicas, r->stride_nodes
    };

    TRY(copysets_build(p->cluster, nodes, p->replicas, r->scatter, &p->sets));
    if (r->within != 0)
        p->stride = stride_within(&p->sets, p->usable, &p->sets);
    else
        p->stride = stride_choose(p->cluster, &p->sets, p->usable, &stride, &p->sets);
    return STATUS(OK);
}

/*
 * The copysets are those of all nodes, so that a node that is away for a while changes none.
 * Only if each of them has such a node, those of the usable ones alone are made.
 */
static struct status MUST_CHECK choose(struct planning *p)
{
    TRY(choose_sets(p, p->nodes));
    if (p->stride == 0)
        TRY(choose_sets(p, p->usable));
    assert(p->stride != 0);
    return STATUS(OK);
}

/* ---- The result ---- */

/* From p->replicas disks a shard to as many as were asked for. */
static void widen(const struct planning *p, uint32_t *disks)
{
    const uint32_t wide = p->request->replicas;
    for (uint32_t shard = p->request->shape.shard_count; shard-- > 0;)
        for (uint32_t slot = wide; slot-- > 0;)
            disks[(size_t)shard * wide + slot] =
                slot < p->replicas ? disks[(size_t)shard * p->replicas + slot] : SPREAD_NO_DISK;
}

static enum domain_level level_of(const struct planning *p)
{
    struct domains map;
    enum domain_level level = DOMAIN_ZONE;
    domains_map(p->cluster, p->nodes, &map);
    for (uint32_t i = 0; i < p->sets.count; i++) {
        const enum domain_level apart = domains_apart(&map, p->sets.nodes[i]);
        level = apart < level ? apart : level;
    }
    return level;
}

struct status spread_plan(const struct placement_cluster *cluster,
                          const struct spread_request *request, uint32_t *out_disks,
                          struct spread_result *out_result, struct problem *problem)
{
    struct planning p = { .cluster = cluster, .request = request, .problem = problem };
    const uint32_t tuples_max = request->tuples_max > 0 ? request->tuples_max : CTL_TUPLES_MAX;

    assert(request->replicas > 0 && request->replicas <= CTL_REPLICAS_MAX);
    assert(request->apart < DOMAIN_LEVELS);
    problem->s[0] = '\0';
    p.nodes = cluster_nodes(cluster);
    p.usable = cluster_usable(cluster);
    if (request->within != 0)
        p.usable &= request->within;
    TRY(decide_replicas(&p));
    TRY(choose(&p));
    const uint32_t tuples = spread_shards(cluster, &p.sets, &request->shape, tuples_max, out_disks);
    widen(&p, out_disks);
    const enum domain_level apart = level_of(&p);
    assert(apart >= request->apart); /* As there are enough of them, copysets are spread so. */
    *out_result = (struct spread_result) { p.replicas, apart, p.stride, p.sets.count, tuples };
    return STATUS(OK);
}

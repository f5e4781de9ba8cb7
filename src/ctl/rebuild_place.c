/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/rebuild_place.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "ctl/copyset.h"
#include "ctl/share.h"

/* Why disks do not suffice. */
struct refusals {
    uint32_t has_replica; /* Of the same data, or perhaps an older one. */
    uint32_t same_domain; /* As another replica. */
    uint32_t full;
    uint64_t most_free; /* Of those. */
};

/* How good a disk is; more is better, in this order, and then the emptiest. */
struct worth {
    bool healthy;
    uint32_t apart, zones, racks;
    bool is_copyset, in_stride;
    uint64_t share;
};

static bool better(const struct worth *a, const struct worth *b)
{
    if (a->healthy != b->healthy)
        return a->healthy;
    if (a->apart != b->apart)
        return a->apart > b->apart;
    if (a->zones != b->zones)
        return a->zones > b->zones;
    if (a->racks != b->racks)
        return a->racks > b->racks;
    if (a->is_copyset != b->is_copyset)
        return a->is_copyset;
    if (a->in_stride != b->in_stride)
        return a->in_stride;
    return a->share < b->share;
}

static bool is_among(const struct uuid *disks, uint32_t count, struct uuid disk)
{
    for (uint32_t i = 0; i < count; i++)
        if (uuid_equal(disks[i], disk))
            return true;
    return false;
}

static uint64_t other_nodes(const struct rebuild_need *need)
{
    uint64_t nodes = 0;

    for (uint32_t i = 0; i < need->other_count; i++)
        if (need->other_nodes[i] < CTL_NODES_MAX)
            nodes |= node_bit(need->other_nodes[i]);
    return nodes;
}

/* Planned, or free as it is now: volumes are thin. */
static uint64_t room_of(const struct cluster_view *view, const struct rebuild_need *need,
                        uint32_t disk)
{
    const struct placement_disk *d = &view->disks[disk];
    const uint64_t unplanned = d->bytes > d->planned_bytes ? d->bytes - d->planned_bytes : 0;

    return max_u64(unplanned, need->free_bytes[disk]);
}

/* Whether the node is in the domain of another replica. */
static bool is_near(const struct rebuild_need *need, const struct domains *map, uint32_t node)
{
    for (uint64_t rest = other_nodes(need); rest != 0;)
        if (map->of[need->apart][node_mask_next(&rest)] == map->of[need->apart][node])
            return true;
    return false;
}

static bool suffices(const struct cluster_view *view, const struct rebuild_need *need,
                     const struct domains *map, uint32_t disk, struct refusals *why)
{
    const struct uuid uuid = view->disk_uuids[disk];
    const uint64_t room = room_of(view, need, disk);

    if (is_among(need->others, need->other_count, uuid) ||
        is_among(need->avoid, need->avoid_count, uuid)) {
        why->has_replica++;
        return false;
    }
    if (!need->crowded && is_near(need, map, view->disk_nodes[disk])) {
        why->same_domain++;
        return false;
    }
    if (room < need->bytes) {
        why->full++;
        why->most_free = max_u64(why->most_free, room);
        return false;
    }
    return true;
}

static bool has_set(const struct copysets *sets, uint64_t nodes)
{
    for (uint32_t i = 0; i < sets->count; i++)
        if (sets->nodes[i] == nodes)
            return true;
    return false;
}

static struct worth worth_of(const struct cluster_view *view, const struct rebuild_need *need,
                             const struct domains *map, const struct copysets *sets, uint32_t disk)
{
    const uint64_t node = node_bit(view->disk_nodes[disk]);
    const uint64_t nodes = other_nodes(need) | node;

    return (struct worth) {
        .healthy = !need->suspect[disk],
        .apart = node_mask_count(nodes),
        .zones = domains_touched(map, DOMAIN_ZONE, nodes),
        .racks = domains_touched(map, DOMAIN_RACK, nodes),
        .is_copyset = has_set(sets, nodes),
        .in_stride = (need->stride & node) != 0,
        .share = share_with(view->disks[disk], need->bytes),
    };
}

static void explain(const struct cluster_view *view, const struct rebuild_need *need,
                    const struct refusals *why, struct problem *problem)
{
    int at = snprintf(problem->s, sizeof problem->s, "of %u working disks", view->disk_count);
    const size_t bytes = sizeof problem->s;

    if (why->has_replica > 0)
        at += snprintf(problem->s + at, bytes - (size_t)at, ", %u have or had it already",
                       why->has_replica);
    if (why->same_domain > 0)
        at += snprintf(problem->s + at, bytes - (size_t)at,
                       ", %u are of a %s that has another replica of it", why->same_domain,
                       domain_level_name(need->apart));
    if (why->full > 0)
        at += snprintf(problem->s + at, bytes - (size_t)at,
                       ", %u have too little room (%s is needed, and %s is free at most)",
                       why->full, size_format(need->bytes).s, size_format(why->most_free).s);
    if (need->crowded)
        snprintf(problem->s + at, bytes - (size_t)at, "; add a disk");
    else
        snprintf(problem->s + at, bytes - (size_t)at, "; add a disk to another %s, or a node%s",
                 domain_level_name(need->apart), need->apart == DOMAIN_NODE ? "" : " there");
}

struct status rebuild_choose(const struct cluster_view *view, const struct rebuild_need *need,
                             uint32_t *out_disk, struct problem *problem)
{
    struct copysets *sets = calloc(1, sizeof *sets);
    const uint64_t usable = cluster_usable(&view->placement);
    struct refusals why = { 0 };
    struct worth best = { 0 };
    struct domains map;
    bool found = false;

    if (sets == NULL)
        return STATUS(NO_MEMORY);
    domains_map(&view->placement, cluster_nodes(&view->placement) | other_nodes(need), &map);
    if (!status_ok(copysets_build(&view->placement, usable, need->replicas, 0, sets)))
        sets->count = 0; /* Too few nodes to choose among. */
    for (uint32_t i = 0; i < view->disk_count; i++) {
        if (!suffices(view, need, &map, i, &why))
            continue;
        const struct worth w = worth_of(view, need, &map, sets, i);
        if (found && !better(&w, &best))
            continue;
        found = true;
        best = w;
        *out_disk = i;
    }
    free(sets);
    if (!found)
        explain(view, need, &why, problem);
    return found ? STATUS(OK) : STATUS(NO_SPACE);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/cluster.h"

#include <stdlib.h>

#include "ctl/share.h"
#include "ctl/volume_copysets.h"

/* ---- Nodes and their disks ---- */

/* The disks of a connected node that may take new replicas. */
static struct status MUST_CHECK add_disks(struct ctl *ctl, struct cluster_view *view, uint32_t node)
{
    struct placement_node *n = &view->nodes[node];
    const struct observed *o = observed_find(ctl, n->uuid);
    struct leaving leaving;

    if (!n->usable)
        return STATUS(OK);
    TRY(leaving_read(ctl, n->uuid, &leaving));
    for (size_t i = 0; i < o->report->n_disks && view->disk_count < CTL_DISKS_MAX; i++) {
        const Trilith__V1__DiskReport *d = o->report->disks[i];
        if (!disk_takes_shards(d, &leaving, view->with_suspect))
            continue;
        view->disk_uuids[view->disk_count] = field_uuid(d->uuid);
        view->disk_nodes[view->disk_count] = (uint8_t)node;
        view->disks[view->disk_count++] = (struct placement_disk) { .bytes = d->bytes };
        n->disk_count++;
    }
    leaving_free(&leaving);
    return STATUS(OK);
}

static struct status MUST_CHECK add_node(struct ctl *ctl, struct cluster_view *view,
                                         const Stored__V1__Node *r, struct arena *arena)
{
    const uint32_t node = view->placement.node_count++;
    const struct uuid uuid = field_uuid(r->uuid);
    const bool connected = observed_connected(ctl, observed_find(ctl, uuid));

    view->stores[node] = (node_roles(r) & ROLE_STORE) != 0;
    view->nodes[node] = (struct placement_node) { .uuid = uuid,
                                                  .zone = arena_text(arena, r->zone),
                                                  .rack = arena_text(arena, r->rack),
                                                  .usable = connected && view->stores[node],
                                                  .first_disk = view->disk_count };
    if (connected && (node_roles(r) & ROLE_TARGET) != 0)
        view->targets |= node_bit(node);
    return add_disks(ctl, view, node);
}

static struct status MUST_CHECK add_nodes(struct ctl *ctl, struct cluster_view *view,
                                          struct arena *arena)
{
    struct records nodes;
    struct status st = STATUS(OK);

    TRY(records_read(ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes));
    if (nodes.count > CTL_NODES_MAX)
        st = STATUS(LIMIT);
    for (size_t i = 0; i < nodes.count && status_ok(st); i++)
        st = add_node(ctl, view, (const Stored__V1__Node *)(const void *)nodes.items[i], arena);
    records_free(&nodes);
    return st;
}

/* What all its disks hold, also those that are away. */
static struct status MUST_CHECK add_capacity(struct ctl *ctl, struct cluster_view *view)
{
    struct records disks;

    TRY(records_read(ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks));
    for (size_t i = 0; i < disks.count; i++) {
        const Stored__V1__Disk *r = (const Stored__V1__Disk *)(const void *)disks.items[i];
        for (uint32_t n = 0; n < view->placement.node_count; n++)
            if (view->stores[n] && uuid_equal(view->nodes[n].uuid, field_uuid(r->node)))
                view->nodes[n].bytes += r->bytes;
    }
    records_free(&disks);
    return STATUS(OK);
}

/* ---- Volumes ---- */

static uint32_t find_disk(const struct cluster_view *view, struct uuid disk)
{
    uint32_t i = 0;

    while (i < view->disk_count && !uuid_equal(view->disk_uuids[i], disk))
        i++;
    return i;
}

/* What is to be rebuilt on other disks, beside what it is planned on. */
static void count_replacements(struct cluster_view *view, const Stored__V1__Volume *v)
{
    CLEANUP(arena_free) struct arena arena = { 0 };

    if (v->n_replacements == 0)
        return;
    const uint32_t *const numbers = volume_copysets(v, &arena);
    for (size_t i = 0; i < v->n_replacements; i++) {
        const uint32_t disk = find_disk(view, field_uuid(v->replacements[i]->disk));
        if (disk < view->disk_count)
            view->disks[disk].planned_bytes +=
                volume_copyset_bytes(v, numbers, v->replacements[i]->copyset);
    }
}

void cluster_view_count(struct cluster_view *view, const Stored__V1__Volume *v)
{
    const size_t replicas = max_u64(v->replicas, 1);
    const size_t disks = min_u64(v->n_disks, CTL_DISKS_MAX);
    uint32_t of[CTL_DISKS_MAX];

    for (size_t i = 0; i < disks; i++)
        of[i] = find_disk(view, field_uuid(v->disks[i]));
    for (size_t p = 0; p < v->n_placement; p++) {
        if (v->placement[p] >= disks || of[v->placement[p]] == view->disk_count)
            continue;
        view->disks[of[v->placement[p]]].planned_bytes +=
            volume_planned_bytes(v, (uint32_t)(p / replicas));
    }
    count_replacements(view, v);
}

static struct status MUST_CHECK add_volumes(struct ctl *ctl, struct cluster_view *view,
                                            struct uuid without)
{
    struct records volumes;

    TRY(records_read(ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    for (size_t i = 0; i < volumes.count; i++) {
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes.items[i];
        view->volume_count++;
        for (uint32_t n = 0; n < view->placement.node_count; n++)
            view->serves[n] += uuid_equal(view->nodes[n].uuid, field_uuid(v->node)) ? 1 : 0;
        if (!uuid_equal(field_uuid(v->uuid), without))
            cluster_view_count(view, v);
    }
    records_free(&volumes);
    return STATUS(OK);
}

/* ---- All of it ---- */

static void view_init(struct cluster_view *view, struct uuid cluster)
{
    *view = (struct cluster_view) { .placement = { .uuid = cluster } };
    view->placement.nodes = view->nodes;
    view->placement.disks = view->disks;
}

struct status cluster_view_read(struct ctl *ctl, struct uuid without, bool with_suspect,
                                struct arena *arena, struct cluster_view *out_view)
{
    view_init(out_view, ctl->cluster);
    out_view->with_suspect = with_suspect;
    TRY(add_nodes(ctl, out_view, arena));
    TRY(add_capacity(ctl, out_view));
    return add_volumes(ctl, out_view, without);
}

uint64_t cluster_view_nodes_of(const struct cluster_view *view, const Stored__V1__Volume *v)
{
    uint64_t nodes = 0;

    for (size_t d = 0; d < v->n_disks; d++) {
        const uint32_t disk = find_disk(view, field_uuid(v->disks[d]));
        if (disk < view->disk_count)
            nodes |= node_bit(view->disk_nodes[disk]);
    }
    return nodes;
}

uint64_t cluster_view_overcommit(const struct cluster_view *view, const Stored__V1__Volume *v)
{
    uint64_t over = 0;

    for (size_t d = 0; d < v->n_disks; d++) {
        const uint32_t disk = find_disk(view, field_uuid(v->disks[d]));
        if (disk < view->disk_count)
            over += placement_overcommit(&view->disks[disk], 1);
    }
    return over;
}

/* ---- A node for each disk ---- */

/* The emptiest disk that is not taken; disk_count if there is none. */
static uint32_t emptiest(const struct cluster_view *view, const bool *taken)
{
    uint32_t best = view->disk_count;

    for (uint32_t i = 0; i < view->disk_count; i++)
        if (!taken[i] && (best == view->disk_count ||
                          share_with(view->disks[i], 0) < share_with(view->disks[best], 0)))
            best = i;
    return best;
}

void cluster_view_of_disks(const struct cluster_view *view, struct arena *arena,
                           struct cluster_view *out_view)
{
    bool taken[CTL_DISKS_MAX] = { false };

    view_init(out_view, view->placement.uuid);
    while (out_view->disk_count < CTL_NODES_MAX) {
        const uint32_t disk = emptiest(view, taken);
        if (disk == view->disk_count)
            break;
        const struct placement_node *node = &view->nodes[view->disk_nodes[disk]];
        const uint32_t i = out_view->disk_count++;
        taken[disk] = true;
        out_view->disks[i] = view->disks[disk];
        out_view->disk_uuids[i] = view->disk_uuids[disk];
        out_view->disk_nodes[i] = view->disk_nodes[disk];
        out_view->nodes[i] = (struct placement_node) { .uuid = view->disk_uuids[disk],
                                                       .zone = node->zone,
                                                       .rack = arena_uuid(arena, node->uuid),
                                                       .bytes = view->disks[disk].bytes,
                                                       .usable = true,
                                                       .first_disk = i,
                                                       .disk_count = 1 };
    }
    out_view->placement.node_count = out_view->disk_count;
}

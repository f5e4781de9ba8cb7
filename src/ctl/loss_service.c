/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/loss_service.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/cluster.h"
#include "ctl/loss.h"

/* Where a disk is; of all that are known, by UUID. */
struct located {
    struct uuid disk;
    uint32_t node; /* Of the view. */
};

struct counting {
    struct ctl *ctl;
    struct arena *arena;
    struct cluster_view *view;
    struct located *located;
    size_t located_count;
    struct loss_map *map;
    uint64_t shards;
};

static int by_disk(const void *a, const void *b)
{
    const struct located *left = a;
    const struct located *right = b;

    return memcmp(left->disk.b, right->disk.b, sizeof left->disk.b);
}

/*
 * All disks, also those that are away or have failed.  A node that has one can lose something, even
 * if it takes no new replicas.
 */
static struct status MUST_CHECK locate(struct counting *c)
{
    struct records disks;

    TRY(records_read(c->ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks));
    c->located = arena_alloc(c->arena, disks.count * sizeof *c->located);
    for (size_t i = 0; i < disks.count; i++) {
        const Stored__V1__Disk *r = (const Stored__V1__Disk *)(const void *)disks.items[i];
        uint32_t node = 0;
        while (node < c->view->placement.node_count &&
               !uuid_equal(c->view->nodes[node].uuid, field_uuid(r->node)))
            node++;
        if (node == c->view->placement.node_count)
            continue;
        c->view->nodes[node].bytes = max_u64(c->view->nodes[node].bytes, 1);
        c->located[c->located_count++] = (struct located) { field_uuid(r->uuid), node };
    }
    qsort(c->located, c->located_count, sizeof *c->located, by_disk);
    records_free(&disks);
    return STATUS(OK);
}

/* The node of a disk as a mask; none if nobody knows the disk. */
static uint64_t node_of(const struct counting *c, struct uuid disk)
{
    const struct located key = { disk, 0 };
    const struct located *found = bsearch(&key, c->located, c->located_count, sizeof key, by_disk);

    return found != NULL ? node_bit(found->node) : 0;
}

static void count_volume(struct counting *c, const Stored__V1__Volume *v)
{
    const size_t replicas = max_u64(v->replicas, 1);
    uint64_t *of = arena_alloc(c->arena, v->n_disks * sizeof *of);

    for (size_t i = 0; i < v->n_disks; i++)
        of[i] = node_of(c, field_uuid(v->disks[i]));
    for (size_t p = 0; p + replicas <= v->n_placement; p += replicas) {
        uint64_t nodes = 0;
        for (size_t slot = 0; slot < replicas; slot++)
            nodes |= of[v->placement[p + slot]];
        if (nodes == 0)
            continue;
        loss_map_add(c->map, nodes, 1);
        c->shards++;
    }
}

/* Counts the shards of all volumes, or of one. */
static struct status MUST_CHECK count(struct counting *c, const Stored__V1__Volume *only)
{
    c->view = arena_alloc(c->arena, sizeof *c->view);
    c->map = arena_alloc(c->arena, sizeof *c->map);
    TRY(cluster_view_read(c->ctl, (struct uuid) { { 0 } }, true, c->arena, c->view));
    TRY(locate(c));
    loss_map_init(c->map, &c->view->placement);
    if (only != NULL) {
        count_volume(c, only);
        return STATUS(OK);
    }
    struct records volumes;
    TRY(records_read(c->ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    for (size_t i = 0; i < volumes.count; i++)
        count_volume(c, (const Stored__V1__Volume *)(const void *)volumes.items[i]);
    records_free(&volumes);
    return STATUS(OK);
}

static Trilith__V1__LossFigures *figures_view(const struct loss_figures *f, struct arena *arena)
{
    Trilith__V1__LossFigures *m = arena_alloc(arena, sizeof *m);

    trilith__v1__loss_figures__init(m);
    m->probability = f->probability;
    m->shards = f->shards;
    return m;
}

static void answer(const struct counting *c, struct rpc_call *call, uint32_t failures)
{
    Trilith__V1__GetLossResponse reply = TRILITH__V1__GET_LOSS_RESPONSE__INIT;
    const uint32_t nodes = node_mask_count(c->map->nodes);

    if (failures > nodes) {
        rpc_fail(call, RPC_FAILED_PRECONDITION, "%u node%s cannot fail: %u %s disks", failures,
                 failures == 1 ? "" : "s", nodes, nodes == 1 ? "has" : "have");
        return;
    }
    const struct loss_report r = loss_report(c->map, failures);
    reply.failures = failures;
    reply.nodes = nodes;
    reply.shards = c->shards;
    reply.copysets = loss_map_tuples(c->map);
    reply.placed = figures_view(&r.placed, c->arena);
    reply.random = figures_view(&r.random, c->arena);
    reply.exact = r.exact;
    reply.at_least = r.at_least;
    reply.at_most = r.at_most;
    rpc_reply(call, &reply.base);
}

void on_get_loss(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const Trilith__V1__GetLossRequest *request =
        (const Trilith__V1__GetLossRequest *)(const void *)message;
    struct counting c = { .ctl = ctx, .arena = &arena };
    Stored__V1__Volume *volume = NULL;
    struct status st = STATUS(OK);

    if (request->failures == 0 || request->failures > LOSS_FAILURES_MAX) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "failures is 1 to %u", LOSS_FAILURES_MAX);
        return;
    }
    if (request->volume[0] != '\0')
        st = volume_find(ctx, request->volume, &volume, NULL);
    if (!status_ok(st)) {
        volume_fail_find(call, st, request->volume);
        return;
    }
    st = count(&c, volume);
    if (status_ok(st))
        answer(&c, call, request->failures);
    else
        ctl_fail(call, st, "where shards lie could not be read");
    if (volume != NULL)
        record_free(&volume->base);
}

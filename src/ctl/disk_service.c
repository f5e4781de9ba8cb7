/* SPDX-License-Identifier: Apache-2.0 */
/* The DiskService of api/trilith/v1/disk.proto. */
#include "ctl/disk_view.h"
#include "ctl/scrub.h"

#include <stdlib.h>
#include <string.h>

static void plan_fill(Trilith__V1__Disk *d, const struct records *volumes, struct uuid disk)
{
    for (size_t i = 0; i < volumes->count; i++) {
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes->items[i];
        for (size_t p = 0; p < v->n_placement; p++) {
            if (!uuid_equal(field_uuid(v->disks[v->placement[p]]), disk))
                continue;
            d->planned_bytes += volume_planned_bytes(v, (uint32_t)(p / max_u64(v->replicas, 1)));
            d->shards++;
        }
    }
}

static void health_fill(Trilith__V1__Disk *d, const Trilith__V1__DiskReport *report,
                        struct arena *arena)
{
    d->health = report->health;
    d->health_reason = arena_text(arena, report->health_reason);
    d->health_since_unix_ms = report->health_since_unix_ms;
    d->device_log = arena_text(arena, report->device_log);
    d->latency = arena_alloc(arena, sizeof *d->latency);
    trilith__v1__disk_latency__init(d->latency);
    if (report->latency == NULL)
        return;
    d->latency->read_median_ns = report->latency->read_median_ns;
    d->latency->read_99_ns = report->latency->read_99_ns;
    d->latency->write_median_ns = report->latency->write_median_ns;
    d->latency->write_99_ns = report->latency->write_99_ns;
}

static void observed_fill(struct ctl *ctl, Trilith__V1__Disk *d, struct uuid node, struct uuid disk,
                          struct arena *arena)
{
    const struct observed *o = observed_find(ctl, node);
    const Trilith__V1__DiskReport *report = observed_disk(o, disk);

    d->state = TRILITH__V1__DISK_STATE__DISK_STATE_OFFLINE;
    if (!observed_connected(ctl, o)) {
        d->reason = arena_text(arena, "its node does not report");
        return;
    }
    if (report == NULL) {
        d->reason = arena_text(arena, "its node does not have it");
        return;
    }
    d->free_bytes = report->free_bytes;
    d->media_errors = report->media_errors;
    d->checksum_bytes = report->checksum_bytes;
    d->checksum_budget_bytes = report->checksum_budget_bytes;
    d->reason = arena_text(arena, report->failure);
    health_fill(d, report, arena);
    d->state = report->failure[0] == '\0' ? TRILITH__V1__DISK_STATE__DISK_STATE_READY
                                          : TRILITH__V1__DISK_STATE__DISK_STATE_FAILED;
}

static const char *node_name(const struct records *nodes, struct uuid uuid)
{
    for (size_t i = 0; i < nodes->count; i++) {
        const Stored__V1__Node *node = (const Stored__V1__Node *)(const void *)nodes->items[i];
        if (uuid_equal(field_uuid(node->uuid), uuid))
            return node->name;
    }
    return "?";
}

static Trilith__V1__Disk *disk_view(struct ctl *ctl, const Stored__V1__Disk *r,
                                    const struct records *volumes, const struct records *nodes,
                                    struct arena *arena)
{
    Trilith__V1__Disk *d = arena_alloc(arena, sizeof *d);
    const struct uuid node = field_uuid(r->node);
    const struct uuid disk = field_uuid(r->uuid);

    trilith__v1__disk__init(d);
    d->uuid = arena_uuid(arena, disk);
    d->name = arena_text(arena, r->name);
    d->node = arena_text(arena, node_name(nodes, node));
    d->path = arena_text(arena, r->path);
    d->backend = arena_text(arena, r->backend);
    d->model = arena_text(arena, r->model);
    d->serial = arena_text(arena, r->serial);
    d->bytes = r->bytes;
    d->atomic_bytes = r->atomic_bytes;
    observed_fill(ctl, d, node, disk, arena);
    plan_fill(d, volumes, disk);
    const struct scrub *const scrub = scrub_find(ctl, disk);
    if (scrub != NULL)
        d->scrub = scrub_view(scrub, d->name, arena);
    return d;
}

static int by_name(const void *a, const void *b)
{
    const Trilith__V1__Disk *const *left = a;
    const Trilith__V1__Disk *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

struct status disks_view(struct ctl *ctl, struct arena *arena, struct disk_list *out_disks)
{
    struct records disks;
    struct records volumes = { 0 };
    struct records nodes = { 0 };

    TRY(records_read(ctl, KEY_DISKS, &stored__v1__disk__descriptor, &disks));
    struct status st = records_read(ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes);
    if (status_ok(st))
        st = records_read(ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes);
    if (status_ok(st)) {
        out_disks->count = disks.count;
        out_disks->disks = arena_alloc(arena, disks.count * sizeof *out_disks->disks);
        for (size_t i = 0; i < disks.count; i++)
            out_disks->disks[i] =
                disk_view(ctl, (const Stored__V1__Disk *)(const void *)disks.items[i], &volumes,
                          &nodes, arena);
        qsort(out_disks->disks, disks.count, sizeof *out_disks->disks, by_name);
    }
    records_free(&nodes);
    records_free(&volumes);
    records_free(&disks);
    return st;
}

static void on_list(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__ListDisksResponse reply = TRILITH__V1__LIST_DISKS_RESPONSE__INIT;
    struct disk_list list;

    (void)message;
    const struct status st = disks_view(ctx, &arena, &list);
    if (!status_ok(st)) {
        ctl_fail(call, st, "the disks could not be read");
        return;
    }
    reply.disks = list.disks;
    reply.n_disks = list.count;
    rpc_reply(call, &reply.base);
}

static void on_get(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__GetDiskResponse reply = TRILITH__V1__GET_DISK_RESPONSE__INIT;
    const char *name = ((const Trilith__V1__GetDiskRequest *)(const void *)message)->name;
    struct disk_list list;

    const struct status st = disks_view(ctx, &arena, &list);
    if (!status_ok(st)) {
        ctl_fail(call, st, "the disks could not be read");
        return;
    }
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.disks[i]->name, name) == 0 || strcmp(list.disks[i]->uuid, name) == 0)
            reply.disk = list.disks[i];
    if (reply.disk != NULL)
        rpc_reply(call, &reply.base);
    else
        rpc_fail(call, RPC_NOT_FOUND,
                 "disk '%.100s': there is none of this name; 'trilith disk list' shows all", name);
}

const struct rpc_method disk_methods[] = {
    { "ListDisks", on_list },         { "GetDisk", on_get },
    { "AddDisk", on_add_disk },       { "RemoveDisk", on_remove_disk },
    { "GrowDisk", on_grow_disk },     { "StartScrub", on_start_scrub },
    { "ListScrubs", on_list_scrubs }, { "StopScrub", on_stop_scrub },
};

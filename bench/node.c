/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node without a controller: target, volume engine, stores and disks, with one volume over three
 * disks.  The disks are memory, or with --disks files in that folder, or with --hollow memory that
 * forgets the data.
 *
 *   node_create --> node_join --> on_opened: node_apply --> on_changed: ready --> listening
 *
 * Threading: one reactor for the node, and with --reactors more for slices of the volume.
 * Memory:    the disks, if they are memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hollow.h"
#include "node/node.h"
#include "serve.h"

#define DISKS      3
#define SHARDS     64
#define POOL_BYTES ((size_t)64 << 20)

struct epoch {
    struct io_task task;
    node_agent_epoch_fn *done;
    void *ctx;
};

static struct serve serve;
static struct node *node;
static struct node_disk_config disks[DISKS];
static struct epoch epoch;
static bool listening;

static struct status dev_open(void *ctx, struct reactor *r, struct dev **out_dev)
{
    const struct node_disk_config *const disk = ctx;
    /* A third of the volume and as much again, so that no disk is near its end. */
    const uint64_t bytes = round_up_u64(serve.volume_bytes, 3 << 20) / 3 * 2;

    if (serve.hollow)
        TRY(hollow_open(r, bytes, out_dev));
    else if (serve.folder == NULL)
        TRY(dev_mem_open(r, bytes, NULL, out_dev));
    else
        TRY(dev_file_open(r, disk->path, bytes, true, out_dev));
    serve.devices[disk - disks] = &(*out_dev)->stats;
    if (serve.hollow)
        serve.hollows[disk - disks] = hollow_stats(*out_dev);
    return STATUS(OK);
}

/* Striped over all disks, shard by shard. */
static void apply(void)
{
    static struct uuid uuids[DISKS];
    static uint32_t placement[SHARDS];
    struct node_report report;
    struct node_desired_volume volume = {
        .volume = { .uuid = { { 0xbe } },
                    .name = "bench",
                    .bytes = serve.volume_bytes,
                    .shard_bytes = serve.volume_bytes / SHARDS,
                    .lba_bytes = 4096,
                    .stripe_unit_bytes = 256 << 10,
                    .stripe_width = DISKS,
                    .replicas = 1,
                    .min_in_sync = 1 },
        .shard_count = SHARDS,
        .placement = placement,
    };

    node_fill_report(node, &report);
    if (report.problem_count > 0)
        fprintf(stderr, "%s: %s\n", report.problems[0].path, report.problems[0].text);
    serve_check(report.disk_count == DISKS ? STATUS(OK) : STATUS(UNAVAILABLE), "the disks");
    for (uint32_t i = 0; i < DISKS; i++)
        uuids[i] = report.disks[i].uuid;
    for (uint32_t i = 0; i < SHARDS; i++)
        placement[i] = i % DISKS;
    serve_check(nqn_for_volume("bench", &volume.nqn), "the NQN");
    const struct node_desired desired = {
        .revision = 1, .disks = uuids, .disk_count = DISKS, .volumes = &volume, .volume_count = 1
    };
    serve_check(node_apply(node, &desired), "the volume");
}

static void on_opened(void *ctx, struct status status, const char *problem)
{
    (void)ctx;
    serve_check(status, problem);
    apply();
}

static void on_changed(void *ctx)
{
    struct node_report report;

    (void)ctx;
    node_fill_report(node, &report);
    if (listening || report.volume_count == 0)
        return;
    if (report.volumes[0].state == NODE_VOLUME_FAILED) {
        fprintf(stderr, "the volume: %s\n", report.volumes[0].reason);
        exit(1);
    }
    if (report.volumes[0].state != NODE_VOLUME_READY)
        return;
    const struct io_addr addr = node_addr(node);
    listening = true;
    serve_listening(&addr);
}

static void give_epoch(struct io_task *task)
{
    (void)task;
    epoch.done(epoch.ctx, STATUS(OK), 1);
}

static struct status on_take_epoch(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                   void *done_ctx)
{
    (void)ctx;
    (void)volume;
    epoch.done = done;
    epoch.ctx = done_ctx;
    reactor_defer(serve.reactor, &epoch.task);
    return STATUS(OK);
}

static const struct node_ops ops = { .opened = on_opened,
                                     .changed = on_changed,
                                     .take_epoch = on_take_epoch };

int main(int argc, char **argv)
{
    const struct node_membership membership = { .cluster = { { 0xc1 } },
                                                .cluster_name = "bench",
                                                .node_index = 1 };

    serve_init(&serve, argc, argv);
    io_task_init(&epoch.task, give_epoch);
    for (unsigned i = 0; i < DISKS; i++) {
        struct node_disk_config *const d = &disks[i];
        *d = (struct node_disk_config) { .open = dev_open, .ctx = d };
        snprintf(d->name, sizeof d->name, "node-1/disk-%u", i + 1);
        snprintf(d->path, sizeof d->path, "%s/disk-%u",
                 serve.folder != NULL ? serve.folder : "memory", i + 1);
    }
    const struct node_config config = {
        .reactors = serve.reactors,
        .reactor_count = serve.reactor_count,
        .listen = serve.listen,
        .buffer_bytes = POOL_BYTES,
        .disks = disks,
        .disk_count = DISKS,
        .log = serve.reactor->log,
        .ops = &ops,
    };
    serve_check(node_create(&config, &node), "the node");
    node_join(node, &membership);
    serve_run(&serve);
    return 0;
}

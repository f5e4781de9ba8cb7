/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload "node": a whole node (target, engine, stores, disks) and a host that uses it through
 * the real initiator, while the node is killed, stopped and loses its power, and connections
 * break.  The script plays the controller.
 *
 * In half of the runs the volume begins smaller and grows in two steps meanwhile: what the host
 * wrote before must stay where it is (V1), and it goes on behind the old end as soon as the node
 * has said that hosts see it.
 *
 * When the host rests, disks may begin to rot or to fail, and it goes on.  The node has then come
 * up anew, and been idle for so long that no region is suspect or open: what rots there is not
 * adopted (F17), so that every block is either right or a media error.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "node/node.h"
#include "workloads.h"

#define DISKS_MAX    3
#define REACTORS_MAX 3
#define SHARDS_MAX   10
#define GROWTHS      2
#define SHARD_BYTES  ((uint64_t)2 << 20)
#define PORT         4420
#define CALM_NS      (60 * NS_PER_S) /* Regions close 30 s after their last write. */

/* What happens besides deaths. */
enum mode { MODE_PLAIN, MODE_PARTS, MODE_FULL, MODE_ROT, MODE_ERRORS, MODE_COUNT };

/*
 * What the host uses of the volume, in blocks of its LBAs.  parts: of blocks of 4 KiB; full: more
 * than the disk has room for.
 */
struct shape {
    uint32_t lba_bytes;
    uint32_t shards;
    uint64_t blocks;
    uint64_t group_blocks;
    uint64_t disk_bytes;
};
static const struct shape usual = { 4096, 6, 96, 16, (uint64_t)24 << 20 };
static const struct shape parts = { 512, 6, 96, 24, (uint64_t)24 << 20 };
static const struct shape full = { 4096, SHARDS_MAX, 320, 2, (uint64_t)16 << 20 };

/* The sizes of a volume that grows: of two and a half shards, which are its first run, into the
 * second run, and to what all shapes but full have. */
static const uint64_t growing_bytes[GROWTHS + 1] = { 5 * SHARD_BYTES / 2, 7 * SHARD_BYTES / 2,
                                                     6 * SHARD_BYTES };
#define FIRST_SHARDS 3u

static const char volume_name[] = "sim";

struct work {
    struct run *run;
    enum mode mode;
    const struct shape *shape;
    struct sim_machine *node_machine;
    struct sim_machine *host_machine;
    struct history *history;
    struct blame blame;
    struct host *host;
    bool calm; /* No more troubles. */
    unsigned disk_count;
    unsigned reactor_count;
    unsigned troubles;
    struct node_disk_config disks[DISKS_MAX];
    struct uuid disk_uuids[DISKS_MAX];
    bool disks_known; /* From the first opening on, the placement is fixed. */
    uint32_t placement[SHARDS_MAX];
    bool grows;
    unsigned growth;       /* How often it has been asked to grow. */
    uint64_t served_bytes; /* That the node has said hosts see. */
    uint64_t epoch;
    uint64_t connects_at_loss; /* The host's, when the power was lost last. */

    /* Of the current life of the node. */
    struct sim_process *process;
    struct reactor *home; /* NULL until it runs. */
    struct node *node;
    bool applied; /* It knows what to serve. */
};

/* ---- The node's process, and its controller ---- */

struct errand {
    struct io_msg msg;
    struct work *work;
    node_agent_epoch_fn *done;
    void *ctx;
};

static void epoch_deliver(struct io_msg *msg)
{
    struct errand *const e = CONTAINER_OF(msg, struct errand, msg);
    e->done(e->ctx, STATUS(OK), ++e->work->epoch);
    free(e);
}

static struct status on_take_epoch(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                   void *done_ctx)
{
    struct work *const work = ctx;
    struct errand *const e = calloc(1, sizeof *e);

    (void)volume;
    assert(e != NULL);
    *e = (struct errand) { { .deliver = epoch_deliver }, work, done, done_ctx };
    reactor_post(work->home, &e->msg);
    return STATUS(OK);
}

static void learn_disks(struct work *work)
{
    struct node_report report;

    node_fill_report(work->node, &report);
    if (report.disk_count != work->disk_count)
        run_fail(work->run, "%u disks are served, of %u", report.disk_count, work->disk_count);
    for (unsigned i = 0; i < work->disk_count && !work->disks_known; i++)
        work->disk_uuids[i] = report.disks[i].uuid;
    work->disks_known = true;
}

static struct node_desired_volume volume_now(const struct work *work)
{
    const uint64_t all = work->shape->shards * SHARD_BYTES;
    struct node_desired_volume v = {
        .volume = { .uuid = { { 5 } },
                    .bytes = work->grows ? growing_bytes[work->growth] : all,
                    .shard_bytes = SHARD_BYTES,
                    .lba_bytes = work->shape->lba_bytes,
                    /* Small enough for each group of blocks to be on all shards. */
                    .stripe_unit_bytes = work->grows ? 4 << 10 : 64 << 10,
                    .stripe_width = work->disk_count > 1 ? 2 : 1,
                    .replicas = 1,
                    .min_in_sync = 1,
                    .first_run_shards = work->growth > 0 ? FIRST_SHARDS : 0 },
        .placement = work->placement,
    };

    v.shard_count = (uint32_t)store_volume_shards(&v.volume);
    assert(v.shard_count <= SHARDS_MAX);
    snprintf(v.volume.name, sizeof v.volume.name, "%s", volume_name);
    const struct status st = nqn_for_volume(volume_name, &v.nqn);
    assert(status_ok(st));
    return v;
}

static void apply(struct work *work)
{
    const struct node_desired_volume v = volume_now(work);
    const struct node_desired desired = { .revision = 1 + work->growth,
                                          .disks = work->disk_uuids,
                                          .disk_count = work->disk_count,
                                          .volumes = &v,
                                          .volume_count = 1 };
    const struct status st = node_apply(work->node, &desired);

    assert(status_ok(st));
}

static void apply_deliver(struct io_msg *msg)
{
    struct errand *const e = CONTAINER_OF(msg, struct errand, msg);
    struct work *const work = e->work;

    free(e);
    learn_disks(work);
    work->applied = true;
    apply(work);
}

/* ---- Growing ---- */

/* How many of its blocks the host may use in a volume of this size: those of whole groups. */
static uint64_t blocks_within(const struct work *work, uint64_t bytes)
{
    const struct host_config *const c = &work->host->config;
    const uint64_t lbas = bytes / work->shape->lba_bytes;
    uint64_t groups = 0;

    while (groups < work->shape->blocks / c->group_blocks &&
           groups * c->group_stride + c->group_blocks <= lbas)
        groups++;
    return groups * c->group_blocks;
}

static void grow_deliver(struct io_msg *msg)
{
    struct errand *const e = CONTAINER_OF(msg, struct errand, msg);
    struct work *const work = e->work;

    free(e);
    if (work->applied)
        apply(work); /* Otherwise apply_deliver() will. */
}

static void errand_run(struct work *work, void (*deliver)(struct io_msg *msg))
{
    struct errand *const e = calloc(1, sizeof *e);

    assert(e != NULL);
    *e = (struct errand) { .msg.deliver = deliver, .work = work };
    reactor_post(work->home, &e->msg);
}

static void grow(void *ctx)
{
    struct work *const work = ctx;

    work->growth++;
    if (work->home != NULL && sim_process_is_alive(work->process))
        errand_run(work, grow_deliver);
    if (work->growth < GROWTHS)
        sim_world_after(work->run->world, run_between(work->run, 0, 300 * NS_PER_MS), grow, work);
}

static void look_deliver(struct io_msg *msg)
{
    struct errand *const e = CONTAINER_OF(msg, struct errand, msg);
    struct work *const work = e->work;
    struct node_report report;

    free(e);
    node_fill_report(work->node, &report);
    if (report.volume_count == 0 || report.volumes[0].state != NODE_VOLUME_READY)
        return;
    if (report.volumes[0].bytes < work->served_bytes)
        run_fail(work->run, "the volume has shrunk");
    work->served_bytes = report.volumes[0].bytes;
    work->host->config.blocks = blocks_within(work, work->served_bytes);
}

static void on_opened(void *ctx, struct status status, const char *problem)
{
    struct work *const work = ctx;

    if (!status_ok(status))
        run_fail(work->run, "the node does not start: %s: %s", status_text(status), problem);
    blame_opened(&work->blame);
    errand_run(work, apply_deliver);
}

static void on_changed(void *ctx)
{
    struct work *const work = ctx;

    if (work->grows && work->applied)
        errand_run(work, look_deliver);
}

static const struct node_ops ops = { on_opened, on_changed, on_take_epoch };

static struct status open_disk(void *ctx, struct reactor *r, struct dev **out_dev)
{
    return dev_file_open(r, ((const struct node_disk_config *)ctx)->path, 0, true, out_dev);
}

static void node_main(struct sim_process *p, void *ctx)
{
    struct work *const work = ctx;
    struct reactor *reactors[REACTORS_MAX];
    const struct node_membership membership = { .cluster = { { 1 } },
                                                .cluster_name = "sim",
                                                .node_index = 1 };

    for (unsigned i = 0; i < work->reactor_count; i++)
        reactors[i] = sim_process_reactor(p, i);
    work->home = reactors[0];
    const struct node_config config = {
        .reactors = reactors,
        .reactor_count = work->reactor_count,
        .listen = sim_machine_addr(work->node_machine, PORT),
        .buffer_bytes = (size_t)8 << 20,
        .commands_max = 32,
        .disks = work->disks,
        .disk_count = work->disk_count,
        .log = reactors[0]->log,
        .ops = &ops,
        .ctx = work,
    };
    const struct status st = node_create(&config, &work->node);
    if (!status_ok(st))
        run_fail(work->run, "node_create: %s", status_text(st));
    node_join(work->node, &membership);
}

static void node_spawn(void *ctx);

static void node_ended(struct sim_process *p, enum sim_exit how, void *ctx)
{
    struct work *const work = ctx;

    (void)p;
    if (work->history == NULL)
        return;
    sim_world_after(work->run->world, run_between(work->run, 0, 100 * NS_PER_MS), node_spawn, work);
    history_store_reopened(work->history);
    if (how != SIM_EXIT_POWER)
        return; /* What was in flight ends when the host loses its connections. */
    history_power_lost(work->history);
    work->host->power_lost = true;
    work->connects_at_loss = work->host->connects;
}

static void node_spawn(void *ctx)
{
    struct work *const work = ctx;
    const struct sim_program program = { .name = "node",
                                         .reactors = work->reactor_count,
                                         .main = node_main,
                                         .ended = node_ended,
                                         .ctx = work };

    if (work->process != NULL && sim_process_is_alive(work->process))
        return;
    sim_machine_power_on(work->node_machine);
    blame_begin_life(&work->blame);
    work->applied = false;
    work->home = NULL;
    work->process = sim_spawn(work->node_machine, &program);
}

/* ---- Troubles ---- */

static void node_resume(void *ctx)
{
    sim_process_resume(((struct work *)ctx)->process);
}

static void trouble(void *ctx);

static void trouble_later(struct work *work, uint64_t after_ns)
{
    if (--work->troubles > 0)
        sim_world_after(work->run->world, after_ns + run_between(work->run, 0, 60 * NS_PER_MS),
                        trouble, work);
}

static void trouble(void *ctx)
{
    struct work *const work = ctx;
    struct run *const run = work->run;
    const uint64_t later_ns = run_between(run, 0, 100 * NS_PER_MS);

    if (work->calm)
        return;
    /* A disk that was formatted half is the store's own workload. */
    if (!work->disks_known) {
        sim_world_after(run->world, 50 * NS_PER_MS, trouble, work);
        return;
    }
    switch (rng_below(&run->rng, 5)) {
    case 0: /* node_ended() starts it again. */
        sim_process_crash_after(work->process, run_between(run, 0, 1000), false);
        break;
    case 1:
    case 2:
        sim_process_crash_after(work->process, run_between(run, 0, 1000), true);
        break;
    case 3:
        sim_process_pause(work->process);
        sim_world_after(run->world, later_ns, node_resume, work);
        break;
    default:
        host_cut(work->host);
        break;
    }
    trouble_later(work, later_ns);
}

/* S1: what was lost must have been told before a Flush of the new life succeeds. */
static void check_loss(struct work *work)
{
    const struct host *const h = work->host;

    if (history_loss_seen(work->history) && h->flushed && !h->loss_told &&
        h->connects > work->connects_at_loss)
        run_fail(work->run, "completed writes were lost, and a Flush succeeds (S1)");
}

/* ---- Disks that rot and fail ---- */

/* Nothing bad is due any more, and the node is up, and idle. */
static void calm_down(struct work *work)
{
    work->calm = true;
    if (sim_process_is_alive(work->process))
        sim_process_kill(work->process); /* And with it a crash that it was to have. */
    sim_world_run(work->run->world, CALM_NS);
}

static void host_works(struct work *work, uint64_t commands, bool verify)
{
    host_go_on(work->host, commands, verify);
    run_until(work->run, host_is_resting, work->host, 900 * NS_PER_S, "the host");
}

static void disks_rot(struct work *work)
{
    struct run *const run = work->run;

    calm_down(work);
    for (uint64_t i = run_between(run, 1, 12); i > 0; i--)
        (void)blame_spoil(&work->blame, (unsigned)rng_below(&run->rng, work->disk_count),
                          run_percent(run, 30));
    host_works(work, run_between(run, 0, 150), true);
}

/* One disk fails operations for a while; the node must come up with it afterwards. */
static void disk_fails(struct work *work)
{
    struct run *const run = work->run;
    const uint64_t disk = rng_below(&run->rng, work->disk_count);
    struct sim_disk_faults *const f = sim_disk_faults(work->blame.disks[disk].disk);

    calm_down(work);
    f->read_error_one_in = run_percent(run, 50) ? run_between(run, 2, 50) : 0;
    f->write_error_one_in = run_percent(run, 50) ? run_between(run, 5, 100) : 0;
    f->flush_error_one_in = run_percent(run, 50) ? run_between(run, 2, 20) : 0;
    host_works(work, run_between(run, 10, 150), run_percent(run, 50));
    f->read_error_one_in = 0;
    f->write_error_one_in = 0;
    f->flush_error_one_in = 0;
    calm_down(work);
    host_works(work, run_between(run, 0, 50), true);
}

static void disk_make(struct work *work, struct node_disk_config *d)
{
    struct run *const run = work->run;
    struct sim_disk_config config = sim_disk_config_random(run->world, work->shape->disk_bytes);

    config.reports_atomic = true;
    d->open = open_disk;
    d->ctx = d;
    struct sim_disk *const disk = sim_disk_create(work->node_machine, d->path, &config);
    if (run_percent(run, 20)) {
        sim_disk_faults(disk)->slow_one_in = run_between(run, 10, 100);
        sim_disk_faults(disk)->slow_ns = run_percent(run, 10) ? 3 * NS_PER_S : 100 * NS_PER_MS;
    }
    blame_add_disk(&work->blame, disk);
}

static void disks_make(struct work *work)
{
    work->disk_count = (unsigned)run_between(work->run, 1, work->mode == MODE_FULL ? 1 : DISKS_MAX);
    for (unsigned i = 0; i < work->disk_count; i++) {
        struct node_disk_config *const d = &work->disks[i];
        snprintf(d->name, sizeof d->name, "node-1/disk-%u", i + 1);
        snprintf(d->path, sizeof d->path, "/dev/sim%u", i + 1);
        /* Table blocks that are in memory: a disk has a few more. */
        d->checksum_bytes = run_percent(work->run, 40) ? run_between(work->run, 2, 6) * 4096 : 0;
        disk_make(work, d);
    }
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        work->placement[i] = i % work->disk_count;
}

static void node_act(struct run *run)
{
    struct work *const work = sim_world_alloc(run->world, sizeof *work);
    struct nqn_text nqn;

    work->run = run;
    work->mode = (enum mode)rng_below(&run->rng, MODE_COUNT);
    work->shape = work->mode == MODE_FULL ? &full : work->mode == MODE_PARTS ? &parts : &usual;
    const struct shape *const shape = work->shape;
    work->history = history_create(shape->blocks, 1);
    blame_init(&work->blame, run->world, work->history, shape->blocks);
    work->node_machine = sim_machine_create(run->world, "node");
    work->host_machine = sim_machine_create(run->world, "host");
    work->reactor_count = (unsigned)run_between(run, 1, REACTORS_MAX);
    work->troubles = (unsigned)run_between(run, 1, 6);
    disks_make(work);
    const struct status st = nqn_for_volume(volume_name, &nqn);
    assert(status_ok(st));
    const struct host_config config = {
        .run = run,
        .history = work->history,
        .machine = work->host_machine,
        .target = sim_machine_addr(work->node_machine, PORT),
        .nqn = nqn.s,
        .blame = &work->blame,
        .copies = work->mode != MODE_ROT && work->mode != MODE_ERRORS,
        .no_space = work->mode == MODE_FULL,
        .block_bytes = shape->lba_bytes,
        .blocks = shape->blocks,
        .group_blocks = shape->group_blocks,
        .group_stride =
            shape->shards * SHARD_BYTES / shape->lba_bytes / (shape->blocks / shape->group_blocks),
        .ops = run_between(run, 20, work->mode == MODE_FULL ? 600 : 250),
        .slots = (unsigned)run_between(run, 1, 12),
        .queues = (unsigned)run_between(run, 1, HOST_QUEUES_MAX),
        .io_blocks_max = (uint32_t)shape->group_blocks,
    };
    work->host = host_create(&config);
    work->host->verifying = true;
    work->grows = work->mode != MODE_FULL && run_percent(run, 50);
    if (work->grows) {
        work->host->config.blocks = blocks_within(work, growing_bytes[0]);
        sim_world_after(run->world, run_between(run, 0, 300 * NS_PER_MS), grow, work);
    }
    node_spawn(work);
    sim_world_after(run->world, run_between(run, 0, 40 * NS_PER_MS), trouble, work);
    run_until(run, host_is_resting, work->host, 900 * NS_PER_S, "the host");
    check_loss(work);
    if (work->mode == MODE_ROT)
        disks_rot(work);
    else if (work->mode == MODE_ERRORS)
        disk_fails(work);
    history_destroy(work->history);
    work->history = NULL; /* What dies with the world is of no interest. */
}

const struct workload work_node = { .name = "node",
                                    .rules = "S1 S3 S6 V1 W3 R8",
                                    .text = "a whole node and its host",
                                    .act = node_act };

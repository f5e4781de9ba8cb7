/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload "cluster": several nodes, volumes of two or three replicas on their disks, and hosts,
 * while nodes die, stop and are paused, links and ways break on one side or both, volumes move to
 * other nodes although the one before still serves them, disks fail or are full, and the power
 * fails.  In some worlds all disks are full, or almost, each to another degree in each life.
 *
 *   writer --> node --> engine --> stores of all nodes        the volume's node
 *   reader --> node --> engine ----^                          perhaps the one before
 *
 * The writer of a volume goes where the volume goes.  The reader stays as long as it can: whatever
 * it still reads there must be true (R7).
 *
 * Either the power fails of all machines at once, and what was not flushed may be gone; or of one,
 * when all else is well: then nothing may be, as others have everything, also when the engine has
 * gone with it.  Processes die at any time, and that takes nothing away.
 *
 * In some worlds the disks of one node lie about flushes: its power fails like that of others, but
 * not that of all at once, as nobody can tell then who is right (docs/replication.md, 3.7).  In
 * others one of three members is slow for as long as it takes to exclude it for that (6.1).
 */
#include <assert.h>
#include <stdio.h>

#include "cluster_trouble.h"
#include "volume/layout.h"
#include "workloads.h"

#define SHARD_BYTES  ((uint64_t)2 << 20)
#define SHARDS       4u
#define BLOCKS       24u
#define GROUP_BLOCKS 4u
#define GROUP_STRIDE (SHARDS * SHARD_BYTES / STORE_BLOCK_BYTES / (BLOCKS / GROUP_BLOCKS))
#define QUIET_NS     (10 * NS_PER_S)
#define HEALED_NS    (120 * NS_PER_S) /* In which everything is in sync again. */
#define OUTLIER_NS   (60 * NS_PER_MS)
#define HURRIED_NS   (200 * NS_PER_MS) /* --replica-timeout of those who do not wait for much. */

/* ---- Volumes ---- */

/* Far less than what an engine waits for, and far more than the others take (6.1). */
static void outlier_begin(struct work *work)
{
    struct cluster *const c = &work->cluster;
    const struct cluster_volume *const v = &c->volumes[0];
    const uint32_t disk = v->placement[0][rng_below(&work->run->rng, v->volume.replicas)];

    work->slow_node = disk / c->disks_per_node;
    trouble_slows(&c->nodes[work->slow_node], 1,
                  run_between(work->run, OUTLIER_NS, 2 * OUTLIER_NS));
}

static void on_known(struct cluster *c)
{
    struct work *const work = work_of(c);

    for (unsigned k = 0; k < c->disks_per_node && c->liar >= 0; k++)
        sim_disk_lag(c->nodes[c->liar].disks[k].disk);
    if (work->outlier)
        outlier_begin(work);
    for (unsigned i = 0; i < c->volume_count; i++) {
        struct cluster_volume *const v = &c->volumes[i];
        struct uuid tuples[CLUSTER_SHARDS_MAX][GROUP_SLOTS] = { 0 };
        for (uint32_t s = 0; s < v->copysets; s++)
            for (unsigned k = 0; k < v->volume.replicas; k++)
                tuples[s][k] = cluster_disk(c, v->placement[s][k])->uuid;
        registry_init(&v->registry, work->run, &v->volume, c->nodes[v->owner].uuid, tuples,
                      v->copysets);
        v->registry.changed = cluster_record_changed;
        v->registry.ctx = v;
        v->registry.late_ns =
            run_between(work->run, 1, run_percent(work->run, 50) ? 40 : 400) * NS_PER_MS;
        v->registry.lost_percent = run_percent(work->run, 50) ? 0 : 20;
    }
}

/* One whose slice has all that is written, so that there is enough to compare in ten seconds. */
static unsigned some_owner(struct work *work)
{
    const struct cluster *const c = &work->cluster;
    const unsigned first = (unsigned)rng_below(&work->run->rng, c->node_count);

    for (unsigned i = 0; i < c->node_count && work->outlier; i++)
        if (c->nodes[(first + i) % c->node_count].reactor_count == 1)
            return (first + i) % c->node_count;
    return first;
}

/* Each copyset begins at another node, and has no node twice. */
static void volume_place(struct work *work, struct cluster_volume *v)
{
    const struct cluster *const c = &work->cluster;
    const unsigned first = (unsigned)rng_below(&work->run->rng, c->node_count);

    v->copysets = (uint32_t)run_between(work->run, 1, min_u64(c->node_count, SHARDS));
    if (work->outlier)
        v->copysets = 1;
    for (uint32_t s = 0; s < SHARDS; s++)
        for (unsigned k = 0; k < v->volume.replicas; k++) {
            const unsigned node = (first + s % v->copysets + k) % c->node_count;
            v->placement[s][k] = node * c->disks_per_node + s % v->copysets % c->disks_per_node;
        }
}

static void watch_make(struct work *work, struct cluster_volume *v)
{
    const struct layout_shape shape = { .bytes = v->volume.bytes,
                                        .shard_bytes = v->volume.shard_bytes,
                                        .unit_bytes = v->volume.stripe_unit_bytes,
                                        .stripe_width = v->volume.stripe_width };

    watch_begin(&v->watch, work->run);
    v->watch.volume = v->volume.uuid;
    const struct status st = layout_init(&v->watch.layout, &shape);
    assert(status_ok(st));
    for (uint32_t s = 0; s < SHARDS; s++)
        v->watch.copysets[s] = s % v->copysets;
}

static void volume_make(struct work *work, unsigned index)
{
    struct cluster *const c = &work->cluster;
    struct cluster_volume *const v = &c->volumes[index];

    v->cluster = c;
    v->volume = (struct store_volume) { .uuid = { { 5, (uint8_t)index } },
                                        .bytes = SHARDS * SHARD_BYTES,
                                        .shard_bytes = SHARD_BYTES,
                                        .lba_bytes = STORE_BLOCK_BYTES,
                                        .stripe_unit_bytes = 64 << 10,
                                        .stripe_width = 2 };
    v->volume.replicas = work->outlier ? 3 : (uint32_t)run_between(work->run, 2, 3);
    v->volume.min_in_sync = (uint32_t)run_between(work->run, 1, 2);
    /* Full disks that are needed and have lost something are waited for, until there is space. */
    if (c->cells_left_max > 0)
        v->volume.min_in_sync = 1;
    snprintf(v->volume.name, sizeof v->volume.name, "sim-%u", index);
    const struct status st = nqn_for_volume(v->volume.name, &v->nqn);
    assert(status_ok(st));
    v->owner = some_owner(work);
    volume_place(work, v);
    watch_make(work, v);
}

/* ---- Hosts ---- */

static struct host *host_make(struct work *work, unsigned volume, bool looks)
{
    struct run *const run = work->run;
    struct tenant *const t = &work->tenants[volume];
    const struct cluster_volume *const v = &work->cluster.volumes[volume];
    const uint64_t ops = work->outlier ? run_between(run, 600, 900) : run_between(run, 20, 250);
    const struct host_config config = {
        .run = run,
        .number = looks,
        .history = t->history,
        .machine = t->machines[looks],
        .target = cluster_addr(&work->cluster, v->owner),
        .nqn = v->nqn.s,
        .copies = true,
        .block_bytes = STORE_BLOCK_BYTES,
        .blocks = BLOCKS,
        .group_blocks = GROUP_BLOCKS,
        .group_stride = GROUP_STRIDE,
        .ops = looks ? UINT64_MAX : ops,
        .slots = work->outlier ? 2 : (unsigned)run_between(run, 1, looks ? 3 : 8),
        .queues = (unsigned)run_between(run, 1, HOST_QUEUES_MAX),
        .io_blocks_max = GROUP_BLOCKS,
        .lazy = run_percent(run, 60),
        .no_space = true,
        .looks = looks,
        .pace_ns = work->outlier ? OUTLIER_NS : (run_percent(run, 40) ? 100 : 5) * NS_PER_MS,
    };
    return host_create(&config);
}

static void tenant_make(struct work *work, unsigned volume)
{
    struct tenant *const t = &work->tenants[volume];

    volume_make(work, volume);
    t->history = history_create(BLOCKS, 1);
    t->machines[0] = sim_machine_create(work->run->world, "writer");
    t->machines[1] = sim_machine_create(work->run->world, "reader");
    t->writer = host_make(work, volume, false);
    t->writer->verifying = true;
    t->reader = host_make(work, volume, true);
}

/* S1: what was lost must have been told before a Flush of the new life succeeds. */
static void check_loss(const struct work *work)
{
    for (unsigned i = 0; i < work->cluster.volume_count; i++) {
        const struct tenant *const t = &work->tenants[i];
        const struct host *const h = t->writer;
        if (history_loss_seen(t->history) && h->flushed && !h->loss_told &&
            h->connects > t->connects_at_loss)
            run_fail(work->run, "completed writes were lost, and a Flush succeeds (S1)");
    }
}

/* ---- Lives ---- */

static void node_again(void *ctx)
{
    cluster_spawn(ctx);
}

static void on_ended(struct cluster_node *n, enum sim_exit how)
{
    struct run *const run = n->cluster->run;

    (void)how;
    sim_world_after(run->world, run_between(run, 0, run_percent(run, 30) ? 8000 : 300) * NS_PER_MS,
                    node_again, n);
}

/* ---- The course ---- */

static bool writers_rest(void *ctx)
{
    struct work *const work = ctx;

    for (unsigned i = 0; i < work->cluster.volume_count; i++)
        if (!host_is_resting(work->tenants[i].writer))
            return false;
    return true;
}

static bool is_healed(void *ctx)
{
    const struct work *const work = ctx;

    for (unsigned i = 0; i < work->cluster.volume_count; i++)
        if (work->cluster.volumes[i].move.wanted)
            return false;
    return trouble_is_over(work);
}

static bool are_verified(void *ctx)
{
    const struct work *const work = ctx;

    for (unsigned i = 0; i < work->cluster.volume_count; i++)
        if (!work->cluster.volumes[i].verified)
            return false;
    return true;
}

/* No more troubles; what there are end by themselves. */
static void calm_down(struct work *work)
{
    struct cluster *const c = &work->cluster;
    const bool full = c->cells_left_max > 0;

    work->calm = true;
    c->cells_left_max = 0;
    if (work->outlier)
        trouble_slows(&c->nodes[work->slow_node], 0, 0);
    for (unsigned i = 0; i < c->node_count; i++)
        if (cluster_node_is_alive(&c->nodes[i]) && (c->nodes[i].dies || full))
            sim_process_kill(c->nodes[i].process);
    for (unsigned i = 0; i < c->volume_count; i++) {
        c->volumes[i].registry.lost_percent = 0;
        trouble_hosts_follow(work, i, true);
    }
    run_until(work->run, is_healed, work, HEALED_NS, "replicas in sync");
}

/* Who was killed when all calmed down may not have been missed yet. */
static void quiet_down(struct work *work)
{
    sim_world_run(work->run->world, QUIET_NS);
    run_until(work->run, is_healed, work, HEALED_NS, "replicas in sync");
}

/*
 * The power of the node whose disks lie fails when nobody writes, and rounds have closed all: only
 * what the others keep of it tells what it has lost (docs/replication.md, 3.7).  Perhaps it has
 * just got a replica.
 */
static void liar_falls(struct work *work)
{
    struct run *const run = work->run;
    struct cluster *const c = &work->cluster;

    if (c->liar < 0)
        return;
    quiet_down(work);
    for (unsigned i = 0; i < c->volume_count && run_percent(run, 60); i++)
        (void)cluster_want_move(c, i, c->liar);
    run_until(run, is_healed, work, HEALED_NS, "replicas in sync");
    sim_world_run(run->world, run_between(run, 0, run_percent(run, 50) ? 100 : 5000) * NS_PER_MS);
    trouble_power_of_one(work, &c->nodes[c->liar]);
    run_until(run, is_healed, work, HEALED_NS, "replicas in sync");
}

/* R4: every replica, from its disk. */
static void verify(struct work *work)
{
    struct cluster *const c = &work->cluster;

    quiet_down(work);
    for (unsigned i = 0; i < c->volume_count; i++)
        cluster_verify(c, i);
    run_until(work->run, are_verified, work, 60 * NS_PER_S, "a verification");
    for (unsigned i = 0; i < c->volume_count; i++) {
        const struct cluster_volume *const v = &c->volumes[i];
        /* Who is impatient gives up on a slow link that so many reads share. */
        if (!v->equal || (!v->whole && c->replica_timeout_ns >= HURRIED_NS))
            run_fail(work->run,
                     "volume %u: replicas differ at rest (R4): %s, %u findings, the first of kind "
                     "%d at %llu",
                     i, status_text(v->verify_status), v->finding_count, (int)v->finding.kind,
                     (unsigned long long)v->finding.at);
    }
}

/* Its engine has to compare for half a minute (6.1), so perhaps nothing else happens for so long.
 */
static void outlier_world(struct work *work)
{
    struct cluster *const c = &work->cluster;

    c->volume_count = 1;
    c->cells_left_max = 0;
    c->replica_timeout_ns = run_between(work->run, 1000, 1500) * NS_PER_MS;
    work->first_ns = run_between(work->run, 0, 60 * NS_PER_S);
}

static void world_make(struct work *work, struct run *run)
{
    struct cluster *const c = &work->cluster;

    work->run = run;
    work->dark = -1;
    work->first_ns = run_between(run, 0, 100 * NS_PER_MS);
    work->troubles = (unsigned)run_between(run, 1, 14);
    work->favourite = run_percent(run, 30)   ? TROUBLE_SPLIT
                      : run_percent(run, 40) ? TROUBLE_POWER
                      : run_percent(run, 40) ? TROUBLE_OVERTAKE
                                             : rng_below(&run->rng, TROUBLE_COUNT);
    work->trouble_ns = (run_percent(run, 50) ? 200 : 3000) * NS_PER_MS;
    work->begun = run_percent(run, 20);
    c->cells_left_max = run_percent(run, 20) ? BLOCKS / GROUP_BLOCKS * 2 : 0;
    c->run = run;
    c->known = on_known;
    c->ended = on_ended;
    c->node_count = (unsigned)run_between(run, 3, run_percent(run, 10) ? CLUSTER_NODES_MAX : 5);
    c->disks_per_node = (unsigned)run_between(run, 1, CLUSTER_DISKS_MAX);
    c->volume_count = run_percent(run, 25) ? 2 : 1;
    c->liar = run_percent(run, 25) ? (int)rng_below(&run->rng, c->node_count) : -1;
    if (c->liar >= 0 && run_percent(run, 70))
        work->favourite = TROUBLE_POWER;
    work->outlier = run_percent(run, 4);
    /* Less than a lease, so that it is the lease that is waited for. */
    c->replica_timeout_ns = run_between(run, 50, run_percent(run, 40) ? 100 : 1500) * NS_PER_MS;
    c->resync_bytes_per_s = run_percent(run, 50) ? run_between(run, 4, 64) << 20 : 0;
    if (work->outlier)
        outlier_world(work);
    /* Nodes send each other whole blocks: a few bytes at a time that takes seconds. */
    sim_world_net(run->world)->segment_max = run_between(run, 512, 65536);
    cluster_start(c);
    for (unsigned i = 0; i < c->volume_count; i++)
        tenant_make(work, i);
}

static void cluster_act(struct run *run)
{
    struct work *const work = sim_world_alloc(run->world, sizeof *work);

    world_make(work, run);
    sim_world_after(run->world, work->first_ns, trouble_comes, work);
    run_until(run, writers_rest, work, 900 * NS_PER_S, "the hosts");
    check_loss(work);
    calm_down(work);
    liar_falls(work);
    for (unsigned i = 0; i < work->cluster.volume_count; i++)
        host_go_on(work->tenants[i].writer, run_between(run, 0, 60), true);
    run_until(run, writers_rest, work, 900 * NS_PER_S, "the hosts");
    check_loss(work);
    liar_falls(work);
    verify(work);
    watch_end();
    for (unsigned i = 0; i < work->cluster.volume_count; i++) {
        registry_fini(&work->cluster.volumes[i].registry);
        history_destroy(work->tenants[i].history);
    }
}

const struct workload work_cluster = {
    .name = "cluster", .rules = "R3 R6 R7 R10 S4 F8", .text = "several nodes", .act = cluster_act
};

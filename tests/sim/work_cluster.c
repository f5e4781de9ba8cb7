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
 * when all else is well: then nothing may be, as others have everything.  Processes die at any
 * time, and that takes nothing away.
 *
 * In some worlds the disks of one node lie about flushes: its power fails like that of others, but
 * not that of all at once, as nobody can tell then who is right (docs/replication.md, 3.7).
 */
#include <assert.h>
#include <stdio.h>

#include "cluster.h"
#include "host.h"
#include "volume/layout.h"
#include "workloads.h"

#define SHARD_BYTES  ((uint64_t)2 << 20)
#define SHARDS       4u
#define BLOCKS       24u
#define GROUP_BLOCKS 4u
#define GROUP_STRIDE (SHARDS * SHARD_BYTES / STORE_BLOCK_BYTES / (BLOCKS / GROUP_BLOCKS))
#define QUIET_NS     (10 * NS_PER_S)
/* The next engine waits for links, and for sessions. */
#define SPLIT_NS   (4 * NS_PER_S)
#define HEALED_NS  (120 * NS_PER_S)  /* In which everything is in sync again. */
#define HURRIED_NS (200 * NS_PER_MS) /* --replica-timeout of those who do not wait for much. */

/* A volume with its hosts. */
struct tenant {
    struct history *history;
    struct host *writer;
    struct host *reader;
    struct sim_machine *machines[2];
    uint64_t connects_at_loss;
};

enum trouble {
    TROUBLE_KILL,
    TROUBLE_POWER,
    TROUBLE_LIGHTS_OUT,
    TROUBLE_PAUSE,
    TROUBLE_PARTITION,
    TROUBLE_CUT_OFF,
    TROUBLE_MOVE,
    TROUBLE_SPLIT,
    TROUBLE_STOP,
    TROUBLE_CUT,
    TROUBLE_STALLS,
    TROUBLE_SLOW,
    TROUBLE_DISK,
    TROUBLE_FULL,
    TROUBLE_CLOCK,
    TROUBLE_DRAIN,
    TROUBLE_MIN_IN_SYNC,
    TROUBLE_COUNT,
};

struct work {
    struct run *run;
    struct cluster cluster;
    struct tenant tenants[CLUSTER_VOLUMES_MAX];
    unsigned troubles;
    uint64_t favourite;
    uint64_t trouble_ns; /* Most between two of them. */
    unsigned under_way;  /* That will be healed. */
    int dark;            /* The node whose power has failed, and that is not settled; -1: none. */
    bool hurt;           /* A disk fails, or is full; until that ends, no other troubles come. */
    bool begun;          /* Troubles may come: everything is served, or need not be. */
    bool calm;           /* No more troubles. */
};

static struct work *work_of(struct cluster *c)
{
    return CONTAINER_OF(c, struct work, cluster);
}

static struct cluster_node *some_node(struct work *work)
{
    return &work->cluster.nodes[rng_below(&work->run->rng, work->cluster.node_count)];
}

static bool is_alive(const struct cluster_node *n)
{
    return n->process != NULL && sim_process_is_alive(n->process);
}

/* ---- Volumes ---- */

static void on_known(struct cluster *c)
{
    struct work *const work = work_of(c);

    for (unsigned k = 0; k < c->disks_per_node && c->liar >= 0; k++)
        sim_disk_lag(c->nodes[c->liar].disks[k].disk);
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

/* Each copyset begins at another node, and has no node twice. */
static void volume_place(struct work *work, struct cluster_volume *v)
{
    const struct cluster *const c = &work->cluster;
    const unsigned first = (unsigned)rng_below(&work->run->rng, c->node_count);

    v->copysets = (uint32_t)run_between(work->run, 1, min_u64(c->node_count, SHARDS));
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
    v->volume.replicas = (uint32_t)run_between(work->run, 2, 3);
    v->volume.min_in_sync = (uint32_t)run_between(work->run, 1, 2);
    /* Full disks that are needed and have lost something are waited for, until there is space. */
    if (c->cells_left_max > 0)
        v->volume.min_in_sync = 1;
    snprintf(v->volume.name, sizeof v->volume.name, "sim-%u", index);
    const struct status st = nqn_for_volume(v->volume.name, &v->nqn);
    assert(status_ok(st));
    v->owner = (unsigned)rng_below(&work->run->rng, c->node_count);
    volume_place(work, v);
    watch_make(work, v);
}

/* ---- Hosts ---- */

static struct host *host_make(struct work *work, unsigned volume, bool looks)
{
    struct run *const run = work->run;
    struct tenant *const t = &work->tenants[volume];
    const struct cluster_volume *const v = &work->cluster.volumes[volume];
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
        .ops = looks ? UINT64_MAX : run_between(run, 20, 250),
        .slots = (unsigned)run_between(run, 1, looks ? 3 : 8),
        .queues = (unsigned)run_between(run, 1, HOST_QUEUES_MAX),
        .io_blocks_max = GROUP_BLOCKS,
        .lazy = run_percent(run, 60),
        .no_space = true,
        .looks = looks,
        .pace_ns = (run_percent(run, 40) ? 100 : 5) * NS_PER_MS,
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

static void hosts_follow(struct work *work, unsigned volume, bool reader)
{
    const struct io_addr addr = cluster_addr(&work->cluster, work->cluster.volumes[volume].owner);

    work->tenants[volume].writer->config.target = addr;
    if (reader)
        work->tenants[volume].reader->config.target = addr;
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

/* ---- Troubles ---- */

/* Whether some engine still takes a disk of the node for what it was before its power failed. */
static bool is_unsettled(const struct work *work, const struct cluster_node *n)
{
    const struct cluster *const c = &work->cluster;

    for (unsigned i = 0; i < c->volume_count; i++) {
        const struct group *const g = &c->volumes[i].registry.record;
        for (unsigned k = 0; k < c->disks_per_node; k++)
            for (uint32_t s = 0; s < g->copyset_count; s++) {
                unsigned slot;
                if (group_find(g, s, n->disks[k].uuid, &slot) &&
                    g->copysets[s].slots[slot].state == GROUP_SLOT_IN &&
                    g->copysets[s].slots[slot].incarnation != n->disks[k].incarnation)
                    return true;
            }
    }
    return false;
}

/* All is served and in sync, and no engine is about to change that. */
static bool volumes_are_well(const struct work *work)
{
    const struct cluster *const c = &work->cluster;

    for (unsigned i = 0; i < c->node_count; i++)
        if (!c->nodes[i].opened || c->nodes[i].stopping || c->nodes[i].dies ||
            !is_alive(&c->nodes[i]) || is_unsettled(work, &c->nodes[i]))
            return false;
    for (unsigned i = 0; i < c->volume_count; i++)
        if (!cluster_serves(c, i) || !cluster_is_in_sync(c, i) || cluster_is_changing(c, i) ||
            c->volumes[i].registry.under_way > 0)
            return false;
    return true;
}

static bool all_is_well(const struct work *work)
{
    return work->under_way == 0 && work->dark < 0 && volumes_are_well(work);
}

static void disks_lose_power(struct cluster_node *n)
{
    for (unsigned i = 0; i < n->cluster->disks_per_node; i++)
        n->disks[i].incarnation = 0;
}

static void dark_look(void *ctx)
{
    struct work *const work = ctx;

    if (work->dark < 0)
        return;
    if (is_unsettled(work, &work->cluster.nodes[work->dark]))
        sim_world_after(work->run->world, 10 * NS_PER_MS, dark_look, work);
    else
        work->dark = -1;
}

static void lights_out(struct work *work)
{
    struct cluster *const c = &work->cluster;

    for (unsigned i = 0; i < c->node_count; i++) {
        disks_lose_power(&c->nodes[i]);
        sim_machine_power_off(c->nodes[i].machine);
    }
    work->dark = -1;
    for (unsigned i = 0; i < c->volume_count; i++) {
        struct tenant *const t = &work->tenants[i];
        history_power_lost(t->history);
        t->writer->power_lost = true;
        t->connects_at_loss = t->writer->connects;
    }
}

/* What was done to two machines, or one; it ends after a while. */
struct spell {
    struct work *work;
    struct cluster_node *node;
    struct cluster_disk *disk;
    struct sim_process *process; /* That was paused. */
    struct sim_machine *from, *to;
    bool both;
};

static struct spell *spell_begin(struct work *work, uint64_t least_ns, void (*end)(void *ctx))
{
    static const uint64_t most_ms[] = { 50, 400, 1500, 8000 };
    struct spell *const s = sim_world_alloc(work->run->world, sizeof *s);

    s->work = work;
    work->under_way++;
    sim_world_after(work->run->world,
                    least_ns + run_between(work->run, 0, most_ms[rng_below(&work->run->rng, 4)]) *
                                   NS_PER_MS,
                    end, s);
    return s;
}

static void pause_end(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    if (s->node->process != s->process || !sim_process_is_alive(s->process))
        return;
    s->node->paused = false;
    sim_process_resume(s->process);
}

static void pause(struct work *work, struct cluster_node *n, uint64_t least_ns)
{
    if (!is_alive(n) || n->paused)
        return;
    struct spell *const s = spell_begin(work, least_ns, pause_end);
    s->node = n;
    s->process = n->process;
    n->paused = true;
    sim_process_pause(n->process);
}

static void power_off(void *ctx)
{
    struct work *const work = ctx;
    struct cluster_node *const n = &work->cluster.nodes[work->dark];

    if (work->calm || !volumes_are_well(work)) {
        work->dark = -1;
        return;
    }
    disks_lose_power(n);
    sim_machine_power_off(n->machine);
    dark_look(work);
}

/*
 * Perhaps another one, which has what this one will have lost, has been quiet for a moment: it must
 * not be given up for one that is not known to have gone.
 */
static void power_fails(struct work *work)
{
    struct run *const run = work->run;
    struct cluster *const c = &work->cluster;
    const struct cluster_volume *const v = &c->volumes[rng_below(&run->rng, c->volume_count)];
    const uint32_t *const disks = v->placement[rng_below(&run->rng, SHARDS)];
    unsigned slot = (unsigned)rng_below(&run->rng, v->volume.replicas);

    if (!all_is_well(work))
        return;
    for (unsigned i = 0; i < v->volume.replicas && run_percent(run, 80); i++)
        slot = (int)(disks[i] / c->disks_per_node) == c->liar ? i : slot;
    if (disks[slot] / c->disks_per_node == v->owner) /* The engine would go with it. */
        slot = (slot + 1) % v->volume.replicas;
    work->dark = (int)(disks[slot] / c->disks_per_node);
    if (run_percent(run, 30)) {
        power_off(work);
        return;
    }
    pause(work, &c->nodes[disks[(slot + 1) % v->volume.replicas] / c->disks_per_node],
          c->replica_timeout_ns * 5 / 4);
    sim_world_after(run->world, run_between(run, c->replica_timeout_ns / 5, c->replica_timeout_ns),
                    power_off, work);
}

static void partition_end(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    sim_net_block(s->from, s->to, false);
    if (s->both)
        sim_net_block(s->to, s->from, false);
}

static void partition_begin(const struct spell *s)
{
    sim_net_block(s->from, s->to, true);
    if (s->both)
        sim_net_block(s->to, s->from, true);
}

/* Between two nodes, or a node and a host. */
static void partition(struct work *work, struct cluster_node *n)
{
    struct run *const run = work->run;
    const struct tenant *const t = &work->tenants[rng_below(&run->rng, work->cluster.volume_count)];
    const struct cluster_node *const other = some_node(work);

    if (other == n)
        return;
    struct spell *const s = spell_begin(work, 0, partition_end);
    s->from = n->machine;
    s->to = run_percent(run, 80) ? other->machine : t->machines[run_percent(run, 50)];
    s->both = run_percent(run, 50);
    if (!s->both && run_percent(run, 50)) {
        struct sim_machine *const swap = s->from;
        s->from = s->to;
        s->to = swap;
    }
    partition_begin(s);
}

static void cut_off_end(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    s->node->cut_off = false;
}

static void cut_off(struct work *work, struct cluster_node *n, uint64_t least_ns)
{
    if (n->cut_off)
        return;
    struct spell *const s = spell_begin(work, least_ns, cut_off_end);
    s->node = n;
    n->cut_off = true;
}

static void stalls_end(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    sim_world_net(s->work->run->world)->stall_one_in = 0;
}

static void stalls(struct work *work)
{
    struct sim_net *const net = sim_world_net(work->run->world);

    if (net->stall_one_in != 0)
        return;
    (void)spell_begin(work, 0, stalls_end);
    net->stall_one_in = run_between(work->run, 5, 100);
    net->stall_ns = run_between(work->run, 1, 1500) * NS_PER_MS;
}

static void kill(struct work *work, struct cluster_node *n)
{
    if (!is_alive(n))
        return;
    n->dies = true;
    sim_process_crash_after(n->process, run_between(work->run, 0, 2000), false);
}

static void slow_end(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    for (unsigned i = 0; i < s->node->cluster->disks_per_node; i++)
        sim_disk_faults(s->node->disks[i].disk)->slow_one_in = 0;
}

/* What was let through may take longer than its engine is patient. */
static void slow(struct work *work, struct cluster_node *n)
{
    const uint64_t slow_ns =
        run_between(work->run, 1, run_percent(work->run, 50) ? 30 : 2000) * NS_PER_MS;

    spell_begin(work, 0, slow_end)->node = n;
    for (unsigned i = 0; i < work->cluster.disks_per_node; i++) {
        struct sim_disk_faults *const f = sim_disk_faults(n->disks[i].disk);
        f->slow_one_in = run_between(work->run, 1, 6);
        f->slow_ns = slow_ns;
    }
}

/* ---- Disks ---- */

static void disk_is_well(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    s->work->hurt = s->disk->may_fail = false;
    *sim_disk_faults(s->disk->disk) = (struct sim_disk_faults) { 0 };
    /* A store that has failed takes commands only when it is opened anew. */
    if (is_alive(s->node))
        sim_process_kill(s->node->process);
}

static struct spell *disk_begin(struct work *work, struct cluster_node *n)
{
    struct spell *const s = spell_begin(work, 0, disk_is_well);

    s->node = n;
    s->disk = &n->disks[rng_below(&work->run->rng, work->cluster.disks_per_node)];
    s->disk->may_fail = true;
    work->hurt = true;
    return s;
}

/*
 * Writes and flushes; or all writes, as it is full.  While all else is well: where the others are
 * not, nobody can take a write, or a failed flush may have lost what nobody else has; the host is
 * told.
 */
static void disk_fails(struct work *work, struct cluster_node *n, bool is_full)
{
    struct run *const run = work->run;

    if (!all_is_well(work))
        return;
    const struct spell *const s = disk_begin(work, n);
    struct sim_disk_faults *const f = sim_disk_faults(s->disk->disk);
    f->full = is_full;
    if (is_full)
        return;
    f->write_error_one_in = run_percent(run, 60) ? run_between(run, 2, 50) : 0;
    f->flush_error_one_in = run_percent(run, 40) ? run_between(run, 1, 10) : 0;
}

static void clock_jumps(struct work *work, const struct cluster_node *n)
{
    struct run *const run = work->run;
    const int64_t by_ns = (int64_t)(run_between(run, 0, 7200) * NS_PER_S);

    sim_machine_move_clock(n->machine, run_percent(run, 50) ? by_ns : -by_ns);
}

/* The planner takes the volume's node for dead, or for too busy; it may be neither. */
static void move(struct work *work)
{
    struct run *const run = work->run;
    struct cluster *const c = &work->cluster;
    const unsigned volume = (unsigned)rng_below(&run->rng, c->volume_count);
    struct cluster_node *const was = &c->nodes[c->volumes[volume].owner];
    struct cluster_node *const now = some_node(work);

    if (now == was)
        return;
    if (run_percent(run, 40))
        cut_off(work, was, 0); /* It hears of that late, ... */
    if (run_percent(run, 30))
        pause(work, was, 0); /* ... or of nothing, for a while, ... */
    else if (run_percent(run, 30))
        kill(work, was); /* ... or never. */
    if (run_percent(run, 30))
        partition(work, now); /* From a member, perhaps, which has what no other one has. */
    cluster_move(c, volume, now->index);
    hosts_follow(work, volume, run_percent(run, 30));
    if (run_percent(run, 50))
        sim_net_cut(work->tenants[volume].machines[0], 1);
}

/*
 * The next engine cannot reach the node of the one before, which goes on as well as it can: its own
 * disk is not sealed, and the others have given it leases.
 */
static void split(struct work *work)
{
    struct cluster *const c = &work->cluster;
    const unsigned volume = (unsigned)rng_below(&work->run->rng, c->volume_count);
    struct cluster_node *const was = &c->nodes[c->volumes[volume].owner];
    const struct cluster_node *const now = some_node(work);

    if (now == was || !cluster_serves(c, volume))
        return;
    cut_off(work, was, SPLIT_NS);
    struct spell *const s = spell_begin(work, SPLIT_NS, partition_end);
    s->from = was->machine;
    s->to = now->machine;
    s->both = true;
    partition_begin(s);
    cluster_move(c, volume, now->index);
    hosts_follow(work, volume, false);
    sim_net_cut(work->tenants[volume].machines[0], 1); /* The writer goes. */
}

/* A replica is to be elsewhere; or no more. */
static void drain(struct work *work)
{
    struct cluster *const c = &work->cluster;
    const unsigned volume = (unsigned)rng_below(&work->run->rng, c->volume_count);

    if (c->volumes[volume].move.wanted)
        cluster_take_back(c, volume);
    else
        (void)cluster_want_move(c, volume, -1);
}

/* One instead of two, or two. */
static void want_another_min(struct work *work)
{
    struct cluster *const c = &work->cluster;
    const unsigned volume = (unsigned)rng_below(&work->run->rng, c->volume_count);

    if (c->cells_left_max == 0)
        cluster_set_min_in_sync(c, volume, 3 - c->volumes[volume].volume.min_in_sync);
}

static void trouble_once(struct work *work)
{
    struct run *const run = work->run;
    struct cluster_node *const n = some_node(work);
    const uint64_t which =
        run_percent(run, 40) ? work->favourite : rng_below(&run->rng, TROUBLE_COUNT);

    sim_trace(run->world, "trouble", which, n->index + 1, 0);
    switch ((enum trouble)which) {
    case TROUBLE_KILL:
        kill(work, n);
        return;
    case TROUBLE_POWER:
        power_fails(work);
        return;
    case TROUBLE_LIGHTS_OUT:
        if (run_percent(run, 50) && work->cluster.liar < 0)
            lights_out(work);
        return;
    case TROUBLE_PAUSE:
        pause(work, n, 0);
        return;
    case TROUBLE_PARTITION:
        partition(work, n);
        return;
    case TROUBLE_CUT_OFF:
        cut_off(work, n, 0);
        return;
    case TROUBLE_MOVE:
        move(work);
        return;
    case TROUBLE_SPLIT:
        split(work);
        return;
    case TROUBLE_STOP:
        (void)cluster_stop(n);
        return;
    case TROUBLE_CUT:
        sim_net_cut(n->machine, run_between(run, 1, 3));
        return;
    case TROUBLE_STALLS:
        stalls(work);
        return;
    case TROUBLE_SLOW:
        slow(work, n);
        return;
    case TROUBLE_DISK:
    case TROUBLE_FULL:
        disk_fails(work, n, which == TROUBLE_FULL);
        return;
    case TROUBLE_CLOCK:
        clock_jumps(work, n);
        return;
    case TROUBLE_DRAIN:
        drain(work);
        return;
    case TROUBLE_MIN_IN_SYNC:
        want_another_min(work);
        return;
    case TROUBLE_COUNT:
        return;
    }
}

static void trouble(void *ctx)
{
    struct work *const work = ctx;
    struct run *const run = work->run;

    if (work->calm || work->troubles == 0)
        return;
    work->begun |= work->cluster.is_known && all_is_well(work);
    /* While one machine's power has failed, or a disk fails, all else is well. */
    if (work->cluster.is_known && work->begun && work->dark < 0 && !work->hurt) {
        trouble_once(work);
        work->troubles--;
    }
    sim_world_after(run->world, run_between(run, 0, work->trouble_ns), trouble, work);
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
    return all_is_well(work);
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
    for (unsigned i = 0; i < c->node_count; i++)
        if (is_alive(&c->nodes[i]) && (c->nodes[i].dies || full))
            sim_process_kill(c->nodes[i].process);
    for (unsigned i = 0; i < c->volume_count; i++) {
        c->volumes[i].registry.lost_percent = 0;
        hosts_follow(work, i, true);
    }
    run_until(work->run, is_healed, work, HEALED_NS, "replicas in sync");
}

static bool owns_a_volume(const struct cluster *c, int node)
{
    for (unsigned i = 0; i < c->volume_count; i++)
        if ((int)c->volumes[i].owner == node)
            return true;
    return false;
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

    if (c->liar < 0 || owns_a_volume(c, c->liar))
        return;
    for (unsigned i = 0; i < c->volume_count && run_percent(run, 60); i++)
        (void)cluster_want_move(c, i, c->liar);
    run_until(run, is_healed, work, HEALED_NS, "replicas in sync");
    sim_world_run(run->world, run_between(run, 0, run_percent(run, 50) ? 100 : 5000) * NS_PER_MS);
    sim_trace(run->world, "liar", (uint64_t)c->liar + 1, 0, 0);
    disks_lose_power(&c->nodes[c->liar]);
    sim_machine_power_off(c->nodes[c->liar].machine);
    run_until(run, is_healed, work, HEALED_NS, "replicas in sync");
}

/* R4: every replica, from its disk. */
static void verify(struct work *work)
{
    struct cluster *const c = &work->cluster;

    /* Who was killed when all calmed down may not have been missed yet. */
    sim_world_run(work->run->world, QUIET_NS);
    run_until(work->run, is_healed, work, HEALED_NS, "replicas in sync");
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

static void world_make(struct work *work, struct run *run)
{
    struct cluster *const c = &work->cluster;

    work->run = run;
    work->dark = -1;
    work->troubles = (unsigned)run_between(run, 1, 14);
    work->favourite = run_percent(run, 30)   ? TROUBLE_SPLIT
                      : run_percent(run, 40) ? TROUBLE_POWER
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
    /* Less than a lease, so that it is the lease that is waited for. */
    c->replica_timeout_ns = run_between(run, 50, run_percent(run, 40) ? 100 : 1500) * NS_PER_MS;
    c->resync_bytes_per_s = run_percent(run, 50) ? run_between(run, 4, 64) << 20 : 0;
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
    sim_world_after(run->world, run_between(run, 0, 100 * NS_PER_MS), trouble, work);
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
    .name = "cluster", .rules = "R3 R6 R7 R10 F8", .text = "several nodes", .act = cluster_act
};

/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster_trouble.h"
#include "peer/limits.h"

#define POWER_WAIT_NS (5 * NS_PER_S)
#define LEAVE_NS      (3 * NS_PER_S)
/* The next engine waits for links, and for sessions. */
#define SPLIT_NS (4 * NS_PER_S)
#define STOP_NS  (20 * NS_PER_MS)
#define LINK_NS  (LINK_KEEP_ALIVE_MS * NS_PER_MS)

static struct cluster_node *some_node(struct work *work)
{
    return &work->cluster.nodes[rng_below(&work->run->rng, work->cluster.node_count)];
}

void trouble_hosts_follow(struct work *work, unsigned volume, bool reader)
{
    const struct io_addr addr = cluster_addr(&work->cluster, work->cluster.volumes[volume].owner);

    work->tenants[volume].writer->config.target = addr;
    if (reader)
        work->tenants[volume].reader->config.target = addr;
}

void trouble_slows(const struct cluster_node *n, uint64_t slow_one_in, uint64_t slow_ns)
{
    for (unsigned i = 0; i < n->cluster->disks_per_node; i++) {
        struct sim_disk_faults *const f = sim_disk_faults(n->disks[i].disk);
        f->slow_one_in = slow_one_in;
        f->slow_ns = slow_ns;
    }
}

/* ---- When all is well ---- */

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
            !cluster_node_is_alive(&c->nodes[i]) || is_unsettled(work, &c->nodes[i]))
            return false;
    for (unsigned i = 0; i < c->volume_count; i++)
        if (!cluster_serves(c, i) || !cluster_is_in_sync(c, i) || cluster_is_changing(c, i) ||
            c->volumes[i].registry.under_way > 0)
            return false;
    return true;
}

bool trouble_is_over(const struct work *work)
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
    bool slows; /* The node's disks. */
    unsigned volume;
};

static struct spell *spell_begin_for(struct work *work, uint64_t ns, void (*end)(void *ctx))
{
    struct spell *const s = sim_world_alloc(work->run->world, sizeof *s);

    s->work = work;
    work->under_way++;
    sim_world_after(work->run->world, ns, end, s);
    return s;
}

static uint64_t spell_ns(struct work *work, uint64_t least_ns)
{
    static const uint64_t most_ms[] = { 50, 400, 1500, 8000 };
    const uint64_t most = most_ms[rng_below(&work->run->rng, 4)];

    return least_ns + run_between(work->run, 0, most) * NS_PER_MS;
}

static struct spell *spell_begin(struct work *work, uint64_t least_ns, void (*end)(void *ctx))
{
    return spell_begin_for(work, spell_ns(work, least_ns), end);
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

static void pause_for(struct work *work, struct cluster_node *n, uint64_t ns)
{
    if (!cluster_node_is_alive(n) || n->paused)
        return;
    struct spell *const s = spell_begin_for(work, ns, pause_end);
    s->node = n;
    s->process = n->process;
    n->paused = true;
    sim_process_pause(n->process);
}

static void pause(struct work *work, struct cluster_node *n, uint64_t least_ns)
{
    pause_for(work, n, spell_ns(work, least_ns));
}

/* The planner gives the volumes of a node that is not there to others; it may be back by now. */
static void leave_node(void *ctx)
{
    const struct cluster_node *const n = ctx;
    struct cluster *const c = n->cluster;
    struct work *const work = work_of(c);

    for (unsigned i = 0; i < c->volume_count; i++) {
        const unsigned other = (unsigned)rng_below(&work->run->rng, c->node_count);
        if (work->hurt || c->volumes[i].owner != n->index || other == n->index)
            continue;
        cluster_move(c, i, other);
        trouble_hosts_follow(work, i, work->calm || run_percent(work->run, 50));
    }
}

void trouble_power_of_one(struct work *work, struct cluster_node *n)
{
    struct run *const run = work->run;

    sim_trace(run->world, "power of one", n->index + 1u, 0, 0);
    disks_lose_power(n);
    sim_machine_power_off(n->machine);
    if (run_percent(run, 50))
        sim_world_after(run->world, run_between(run, 0, LEAVE_NS), leave_node, n);
}

static void power_off(void *ctx)
{
    struct work *const work = ctx;
    struct cluster_node *const n = &work->cluster.nodes[work->dark];

    if (work->calm || !volumes_are_well(work)) {
        work->dark = -1;
        return;
    }
    trouble_power_of_one(work, n);
    dark_look(work);
}

static bool has_replica(const struct cluster *c, const struct cluster_volume *v,
                        const uint32_t *disks, unsigned node)
{
    for (unsigned i = 0; i < v->volume.replicas; i++)
        if (disks[i] / c->disks_per_node == node)
            return true;
    return false;
}

/* The disks of some copyset of which the volume's node has a replica, or has none, if there is. */
static const uint32_t *some_copyset(struct work *work, const struct cluster_volume *v, bool owners)
{
    const uint32_t shards = (uint32_t)store_volume_shards(&v->volume);
    const uint32_t first = (uint32_t)rng_below(&work->run->rng, shards);

    for (uint32_t i = 0; i < shards; i++) {
        const uint32_t *const disks = v->placement[(first + i) % shards];
        if (has_replica(&work->cluster, v, disks, v->owner) == owners)
            return disks;
    }
    return v->placement[first];
}

/* Whose power fails: the engine's node, with what it has of the copyset, or another one. */
static unsigned who_falls(struct work *work, const struct cluster_volume *v, const uint32_t *disks,
                          bool owners)
{
    const struct cluster *const c = &work->cluster;
    unsigned slot = (unsigned)rng_below(&work->run->rng, v->volume.replicas);

    if (owners)
        return v->owner;
    for (unsigned i = 0; i < v->volume.replicas && run_percent(work->run, 80); i++)
        slot = (int)(disks[i] / c->disks_per_node) == c->liar ? i : slot;
    if (disks[slot] / c->disks_per_node == v->owner)
        slot = (slot + 1) % v->volume.replicas;
    return disks[slot] / c->disks_per_node;
}

/*
 * The power of one machine fails: perhaps of that on which the engine runs, with its own replica
 * and all that this has not made durable.  Perhaps another one, which has what this one will have
 * lost, has been quiet for a moment: it must not be given up for one that is not known to have
 * gone.
 */
static void power_fails(struct work *work)
{
    struct run *const run = work->run;
    struct cluster *const c = &work->cluster;
    const struct cluster_volume *const v = &c->volumes[rng_below(&run->rng, c->volume_count)];
    const bool owners = run_percent(run, 40);
    const uint32_t *const disks = some_copyset(work, v, owners);
    const unsigned falls = who_falls(work, v, disks, owners);
    unsigned slot = (unsigned)rng_below(&run->rng, v->volume.replicas);

    work->dark = (int)falls;
    if (run_percent(run, 30)) {
        power_off(work);
        return;
    }
    if (disks[slot] / c->disks_per_node == falls)
        slot = (slot + 1) % v->volume.replicas;
    pause(work, &c->nodes[disks[slot] / c->disks_per_node], c->replica_timeout_ns * 5 / 4);
    sim_world_after(run->world, run_between(run, c->replica_timeout_ns / 5, c->replica_timeout_ns),
                    power_off, work);
}

/* When all is well; other troubles wait for that, as long as it may be. */
static void power_look(void *ctx)
{
    struct work *const work = ctx;

    const bool well = trouble_is_over(work);

    if (!well && !work->calm && sim_world_now_ns(work->run->world) < work->power_until_ns) {
        sim_world_after(work->run->world, 10 * NS_PER_MS, power_look, work);
        return;
    }
    work->power_until_ns = 0;
    if (well && !work->calm)
        power_fails(work);
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
    if (!cluster_node_is_alive(n))
        return;
    n->dies = true;
    sim_process_crash_after(n->process, run_between(work->run, 0, 2000), false);
}

static void slow_end(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    trouble_slows(s->node, 0, 0);
}

/* What was let through may take longer than its engine is patient. */
static void slow(struct work *work, struct cluster_node *n)
{
    const uint64_t slow_ns =
        run_between(work->run, 1, run_percent(work->run, 50) ? 30 : 2000) * NS_PER_MS;

    spell_begin(work, 0, slow_end)->node = n;
    trouble_slows(n, run_between(work->run, 1, 6), slow_ns);
}

/* ---- Disks ---- */

static void disk_is_well(void *ctx)
{
    const struct spell *const s = ctx;

    s->work->under_way--;
    s->work->hurt = s->disk->may_fail = false;
    *sim_disk_faults(s->disk->disk) = (struct sim_disk_faults) { 0 };
    /* A store that has failed takes commands only when it is opened anew. */
    if (cluster_node_is_alive(s->node))
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

    if (!trouble_is_over(work))
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
    trouble_hosts_follow(work, volume, run_percent(run, 30));
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
    trouble_hosts_follow(work, volume, false);
    sim_net_cut(work->tenants[volume].machines[0], 1); /* The writer goes. */
}

static void overtake_go(void *ctx)
{
    const struct spell *const s = ctx;
    struct work *const work = s->work;
    struct cluster *const c = &work->cluster;
    struct cluster_node *const was = &c->nodes[c->volumes[s->volume].owner];
    const struct cluster_node *const now = run_percent(work->run, 40) ? s->node : some_node(work);

    work->under_way--;
    if (s->slows)
        trouble_slows(s->node, 0, 0);
    if (work->calm || now == was || !cluster_serves(c, s->volume))
        return;
    if (s->slows && run_percent(work->run, 70))
        pause(work, was, SPLIT_NS);
    else if (s->slows && cluster_node_is_alive(was))
        sim_process_kill(was->process);
    cluster_move(c, s->volume, now->index);
    trouble_hosts_follow(work, s->volume, run_percent(work->run, 30));
    sim_net_cut(work->tenants[s->volume].machines[0], 1);
}

/*
 * The next engine comes while something of the one before is still to be executed (S4).  Either
 * that one dies, or is stopped, while a member's disks take long for what they have; or it is
 * stopped for a moment, and what its host sends waits in its sockets until the next one serves: it
 * can send that on only as long as stores have not given up its links.
 */
static void overtake(struct work *work)
{
    struct run *const run = work->run;
    struct cluster *const c = &work->cluster;
    const unsigned volume = (unsigned)rng_below(&run->rng, c->volume_count);
    const struct cluster_volume *const v = &c->volumes[volume];
    const uint32_t *const disks = some_copyset(work, v, run_percent(run, 50));
    const uint32_t disk = disks[rng_below(&run->rng, v->volume.replicas)];
    const bool slows = run_percent(run, 70);
    struct spell *const s = spell_begin_for(
        work, run_between(run, 0, slows ? c->replica_timeout_ns : STOP_NS), overtake_go);

    s->volume = volume;
    s->node = &c->nodes[disk / c->disks_per_node];
    s->slows = slows;
    if (slows)
        trouble_slows(s->node, 1, 8 * NS_PER_S);
    else
        pause_for(work, &c->nodes[v->owner], run_between(run, LINK_NS / 2, 2 * LINK_NS));
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
        work->power_until_ns = sim_world_now_ns(run->world) + POWER_WAIT_NS;
        power_look(work);
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
    case TROUBLE_OVERTAKE:
        overtake(work);
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

void trouble_comes(void *ctx)
{
    struct work *const work = ctx;
    struct run *const run = work->run;

    if (work->calm || work->troubles == 0)
        return;
    work->begun |= work->cluster.is_known && trouble_is_over(work);
    /* While one machine's power has failed, or a disk fails, all else is well. */
    if (work->cluster.is_known && work->begun && work->dark < 0 && !work->hurt &&
        work->power_until_ns == 0) {
        trouble_once(work);
        work->troubles--;
    }
    sim_world_after(run->world, run_between(run, 0, work->trouble_ns), trouble_comes, work);
}

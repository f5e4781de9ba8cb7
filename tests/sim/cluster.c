/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "memory.h"
#include "node/node_internal.h"
#include "volume/volume_internal.h"

#define DISK_BYTES   ((uint64_t)24 << 20)
#define TICK_NS      (200 * NS_PER_MS) /* Of the controller. */
#define TELL_PERCENT 60u

/* What the controller says to a node: as it was when it was sent. */
struct errand {
    struct io_msg msg;
    struct cluster_node *node;
    uint64_t revision;
    unsigned owners[CLUSTER_VOLUMES_MAX];
};

struct cluster_disk *cluster_disk(struct cluster *c, uint32_t disk)
{
    return &c->nodes[disk / c->disks_per_node].disks[disk % c->disks_per_node];
}

struct io_addr cluster_addr(const struct cluster *c, unsigned node)
{
    return sim_machine_addr(c->nodes[node].machine, CLUSTER_PORT);
}

/* ---- The controller ---- */

static void places_fill(struct cluster *c, struct uuid *uuids, struct node_desired_place *places)
{
    for (uint32_t i = 0; i < c->node_count * c->disks_per_node; i++) {
        const struct cluster_node *const n = &c->nodes[i / c->disks_per_node];
        const struct cluster_disk *const d = cluster_disk(c, i);
        uuids[i] = d->uuid;
        places[i].node = n->uuid;
        places[i].addr = cluster_addr(c, n->index);
        snprintf(places[i].name, sizeof places[i].name, "%s", d->config.name);
        snprintf(places[i].node_name, sizeof places[i].node_name, "node-%u", n->index + 1);
    }
}

/* What a node is told of a volume; it lends arrays of this. */
struct told {
    uint32_t placement[CLUSTER_SHARDS_MAX * GROUP_SLOTS];
    uint32_t copysets[CLUSTER_SHARDS_MAX];
    uint32_t leftovers[CLUSTER_DISKS_ALL];
    struct node_desired_replacement move;
};

static struct node_desired_volume tell(const struct cluster_volume *v, struct told *t)
{
    const uint32_t shards = (uint32_t)store_volume_shards(&v->volume);
    struct node_desired_volume out = { .volume = v->volume,
                                       .nqn = v->nqn,
                                       .shard_count = shards,
                                       .placement = t->placement,
                                       .copysets = t->copysets,
                                       .replacements = &t->move,
                                       .replacement_count = v->move.wanted ? 1 : 0,
                                       .leftovers = t->leftovers,
                                       .verification = v->verification };

    for (uint32_t s = 0; s < shards; s++) {
        memcpy(&t->placement[s * v->volume.replicas], v->placement[s],
               v->volume.replicas * sizeof t->placement[0]);
        t->copysets[s] = s % v->copysets;
    }
    for (uint32_t i = 0; i < CLUSTER_DISKS_ALL; i++)
        if (v->left_over[i])
            t->leftovers[out.leftover_count++] = i;
    t->move = (struct node_desired_replacement) { v->move.copyset, v->move.slot, v->move.was,
                                                  v->move.disk, true };
    return out;
}

static void errand_carry_out(const struct errand *e)
{
    struct cluster_node *const n = e->node;
    struct cluster *const c = n->cluster;
    struct uuid uuids[CLUSTER_DISKS_ALL], members[CLUSTER_NODES_MAX];
    struct node_desired_place places[CLUSTER_DISKS_ALL] = { 0 };
    struct node_desired_volume volumes[CLUSTER_VOLUMES_MAX] = { 0 };
    struct told told[CLUSTER_VOLUMES_MAX];
    struct node_desired desired = { .revision = e->revision,
                                    .disks = uuids,
                                    .places = places,
                                    .disk_count = c->node_count * c->disks_per_node,
                                    .volumes = volumes,
                                    .members = members,
                                    .member_count = c->node_count };

    places_fill(c, uuids, places);
    for (unsigned i = 0; i < c->node_count; i++)
        members[i] = c->nodes[i].uuid;
    for (unsigned i = 0; i < c->volume_count; i++) {
        if (e->owners[i] == n->index)
            volumes[desired.volume_count++] = tell(&c->volumes[i], &told[i]);
    }
    const struct status st = node_apply(n->node, &desired);
    if (!status_ok(st))
        run_fail(c->run, "node_apply(): %s", status_text(st));
}

/* Whether what was read is as it should be. */
static bool is_equal(const struct volume_verify *r)
{
    for (uint32_t i = 0; i < r->replica_count; i++)
        if (r->replicas[i].bad_blocks > 0 || r->replicas[i].differing_blocks > 0)
            return false;
    return true;
}

static uint32_t index_of(const struct cluster *c, struct uuid disk)
{
    for (uint32_t i = 0; i < c->node_count * c->disks_per_node; i++)
        if (uuid_equal(c->nodes[i / c->disks_per_node].disks[i % c->disks_per_node].uuid, disk))
            return i;
    run_fail(c->run, "a record names a disk that there is not");
}

/* 9.17 */
static void look_at_forgotten(struct cluster *c, const struct node_volume_report *report)
{
    for (unsigned k = 0; k < c->volume_count; k++) {
        struct cluster_volume *const v = &c->volumes[k];
        for (uint32_t i = 0; i < report->forgotten_count; i++) {
            if (!uuid_equal(v->volume.uuid, report->uuid))
                continue;
            v->left_over[index_of(c, report->forgotten[i])] = false;
            c->revision++;
        }
    }
}

/* What the node tells of its volumes. */
static void node_look(struct cluster_node *n)
{
    struct cluster *const c = n->cluster;
    struct node_report report;

    node_fill_report(n->node, &report);
    for (uint32_t i = 0; i < report.volume_count; i++)
        look_at_forgotten(c, &report.volumes[i]);
    for (uint32_t i = 0; i < report.volume_count; i++)
        for (unsigned k = 0; k < c->volume_count; k++) {
            struct cluster_volume *const v = &c->volumes[k];
            const struct node_verification *const found = report.volumes[i].verification;
            if (!uuid_equal(v->volume.uuid, report.volumes[i].uuid) || found == NULL ||
                found->id != v->verification || !found->ended)
                continue;
            v->verified = true;
            v->verify_status = found->status;
            v->finding_count = found->result.finding_count;
            v->finding = found->result.findings[0];
            v->equal = status_ok(found->status) && is_equal(&found->result);
            v->whole = v->equal && volume_verify_is_good(&found->result);
        }
}

static void errand_deliver(struct io_msg *msg)
{
    const struct errand *const e = CONTAINER_OF(msg, struct errand, msg);
    struct cluster_node *const n = e->node;

    if (n->node == NULL || !n->opened || n->stopping)
        return;
    if (e->revision > n->told) {
        n->told = e->revision;
        errand_carry_out(e);
    }
    node_look(n);
}

static void controller_tick(void *ctx)
{
    struct cluster *const c = ctx;

    for (unsigned i = 0; i < c->node_count; i++) {
        struct cluster_node *const n = &c->nodes[i];
        if (!c->is_known || !n->opened || n->stopping || n->cut_off ||
            !sim_process_is_alive(n->process) || !run_percent(c->run, TELL_PERCENT))
            continue;
        struct errand *const e = sim_world_alloc(c->run->world, sizeof *e);
        e->node = n;
        e->revision = c->revision;
        e->msg.deliver = errand_deliver;
        for (unsigned k = 0; k < c->volume_count; k++)
            e->owners[k] = c->volumes[k].owner;
        reactor_post(n->home, &e->msg);
    }
    sim_world_after(c->run->world, run_between(c->run, TICK_NS / 2, TICK_NS), controller_tick, c);
}

void cluster_move(struct cluster *c, unsigned volume, unsigned node)
{
    struct cluster_volume *const v = &c->volumes[volume];

    v->owner = node;
    registry_move(&v->registry, c->nodes[node].uuid);
    c->revision++;
}

void cluster_set_min_in_sync(struct cluster *c, unsigned volume, uint32_t min_in_sync)
{
    struct cluster_volume *const v = &c->volumes[volume];

    if (!registry_set_min_in_sync(&v->registry, min_in_sync))
        return;
    v->volume.min_in_sync = min_in_sync;
    c->revision++;
}

static bool has_replica(const struct cluster_volume *v, uint32_t disk)
{
    for (uint32_t s = 0; s < store_volume_shards(&v->volume); s++)
        for (uint32_t k = 0; k < v->volume.replicas; k++)
            if (v->placement[s][k] == disk)
                return true;
    return false;
}

static bool may_move_to(const struct cluster *c, const struct cluster_volume *v, uint32_t copyset,
                        uint32_t disk)
{
    for (uint32_t k = 0; k < v->volume.replicas; k++)
        if (v->placement[copyset][k] / c->disks_per_node == disk / c->disks_per_node)
            return false;
    return !v->left_over[disk];
}

bool cluster_want_move(struct cluster *c, unsigned volume, int node)
{
    struct cluster_volume *const v = &c->volumes[volume];
    const uint32_t disks = c->node_count * c->disks_per_node;
    const uint32_t first = (uint32_t)rng_below(&c->run->rng, disks);
    struct cluster_move m = { .wanted = true,
                              .copyset = (uint32_t)rng_below(&c->run->rng, v->copysets),
                              .slot = (uint32_t)rng_below(&c->run->rng, v->volume.replicas) };

    for (uint32_t i = 0; i < disks && !v->move.wanted; i++) {
        m.disk = (first + i) % disks;
        m.was = v->placement[m.copyset][m.slot];
        if ((node < 0 || m.disk / c->disks_per_node == (uint32_t)node) &&
            may_move_to(c, v, m.copyset, m.disk))
            v->move = m;
    }
    c->revision++;
    return v->move.wanted;
}

void cluster_take_back(struct cluster *c, unsigned volume)
{
    struct cluster_volume *const v = &c->volumes[volume];

    v->left_over[v->move.disk] |= v->move.wanted && !has_replica(v, v->move.disk);
    v->move.wanted = false;
    c->revision++;
}

static void has_moved(struct cluster_volume *v, uint32_t copyset, uint32_t slot, uint32_t disk)
{
    const uint32_t was = v->placement[copyset][slot];

    for (uint32_t s = copyset; s < store_volume_shards(&v->volume); s += v->copysets)
        v->placement[s][slot] = disk;
    v->left_over[disk] = false;
    v->left_over[was] |= !has_replica(v, was);
    if (v->move.copyset == copyset)
        v->move.wanted = false;
    v->cluster->revision++;
}

/*
 * A disk fails while all others are well.  If one of these is excluded it may be the only member
 * left, and what it would lose from now on nobody else has: it fails no more.
 */
static void end_failures(struct cluster *c, struct uuid excluded)
{
    for (unsigned i = 0; i < c->node_count; i++)
        for (unsigned k = 0; k < c->disks_per_node; k++) {
            struct cluster_disk *const d = &c->nodes[i].disks[k];
            if (!d->may_fail || uuid_equal(d->uuid, excluded))
                continue;
            sim_disk_faults(d->disk)->write_error_one_in = 0;
            sim_disk_faults(d->disk)->flush_error_one_in = 0;
        }
}

void cluster_record_changed(void *ctx, const struct group *was, const struct group *now)
{
    struct cluster_volume *const v = ctx;

    watch_changed(&v->watch, was, now);
    for (uint32_t n = 0; n < now->copyset_count; n++)
        for (unsigned out = group_members(was, n) & ~group_members(now, n); out != 0;
             out &= out - 1)
            end_failures(v->cluster, was->copysets[n].slots[__builtin_ctz(out)].disk);
    for (uint32_t n = 0; n < now->copyset_count; n++)
        for (uint32_t k = 0; k < v->volume.replicas; k++)
            if (!uuid_equal(was->copysets[n].slots[k].disk, now->copysets[n].slots[k].disk))
                has_moved(v, n, k, index_of(v->cluster, now->copysets[n].slots[k].disk));
}

void cluster_verify(struct cluster *c, unsigned volume)
{
    c->volumes[volume].verification++;
    c->volumes[volume].verified = false;
    c->revision++;
}

/* The node's part of the volume; NULL: it has none. */
static const struct node_volume *part_of(const struct cluster_node *n, const struct store_volume *v)
{
    if (!n->opened || n->stopping || !sim_process_is_alive(n->process))
        return NULL;
    LIST_FOR_EACH (link, &n->node->volumes) {
        const struct node_volume *const nv = CONTAINER_OF(link, struct node_volume, link);
        if (uuid_equal(nv->desc.uuid, v->uuid))
            return nv;
    }
    return NULL;
}

/*
 * An epoch whose taker has not heard that it has it is nobody's (7.1): who had the one before goes
 * on, until it is to change the record.
 */
bool cluster_serves(const struct cluster *c, unsigned volume)
{
    const struct cluster_volume *const v = &c->volumes[volume];
    const struct node_volume *const nv = part_of(&c->nodes[v->owner], &v->volume);

    if (nv == NULL || !node_volume_is_served(nv))
        return false;
    for (unsigned i = 0; i < c->node_count; i++) {
        const struct node_volume *const other = part_of(&c->nodes[i], &v->volume);
        if (other != NULL && other->epoch > nv->epoch)
            return false;
    }
    return true;
}

bool cluster_is_changing(const struct cluster *c, unsigned volume)
{
    for (unsigned i = 0; i < c->node_count; i++) {
        const struct node_volume *const nv = part_of(&c->nodes[i], &c->volumes[volume].volume);
        if (nv != NULL && nv->volume != NULL && nv->volume->members.state != MEMBERS_IDLE)
            return true;
    }
    return false;
}

bool cluster_is_in_sync(const struct cluster *c, unsigned volume)
{
    const struct cluster_volume *const v = &c->volumes[volume];
    const struct group *const g = &v->registry.record;

    for (uint32_t i = 0; i < g->copyset_count; i++)
        if (__builtin_popcount(group_members(g, i)) != (int)v->volume.replicas)
            return false;
    return true;
}

/* ---- A node's process ---- */

static void node_learn(struct cluster_node *n)
{
    const struct cluster *const c = n->cluster;

    for (unsigned i = 0; i < c->disks_per_node; i++) {
        const struct node_disk *const d = &n->node->disks[i];
        if (d->store == NULL && !n->disks[i].may_fail)
            run_fail(c->run, "disk '%s' does not open: %s", d->config.name, d->problem);
        if (d->store == NULL)
            continue;
        n->disks[i].uuid = d->info.identity.disk;
        n->disks[i].incarnation = d->info.incarnation;
    }
    n->known = true;
}

static void on_filled(void *ctx)
{
    struct cluster_node *const n = ctx;
    struct cluster *const c = n->cluster;
    bool all = true;

    if (--n->filling > 0)
        return;
    n->opened = true;
    for (unsigned i = 0; i < c->node_count; i++)
        all &= c->nodes[i].known;
    if (all && !c->is_known) {
        c->known(c);
        c->is_known = true;
        c->revision = 1;
    }
}

static void on_opened(void *ctx, struct status status, const char *problem)
{
    struct cluster_node *const n = ctx;
    const struct cluster *const c = n->cluster;

    if (!status_ok(status))
        run_fail(c->run, "node %u does not start: %s: %s", n->index + 1, status_text(status),
                 problem);
    node_learn(n);
    n->filling = 1;
    for (unsigned i = 0; i < c->disks_per_node; i++) {
        const struct node_disk *const d = &n->node->disks[i];
        if (d->store == NULL || !ballast_is_due(&n->disks[i].ballast))
            continue;
        n->filling++;
        ballast_start(&n->disks[i].ballast, d->store, d->reactor, n->home, on_filled, n);
    }
    on_filled(n);
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

static struct status on_take_epoch(void *ctx, struct uuid volume, node_agent_epoch_fn *done,
                                   void *done_ctx)
{
    (void)ctx;
    (void)volume;
    (void)done;
    (void)done_ctx;
    return STATUS(UNSUPPORTED); /* All volumes have several replicas. */
}

static struct registry_client client_of(struct cluster_node *n, struct uuid volume)
{
    struct cluster *const c = n->cluster;

    for (unsigned i = 0; i < c->volume_count; i++)
        if (uuid_equal(c->volumes[i].volume.uuid, volume))
            return (struct registry_client) { .registry = &c->volumes[i].registry,
                                              .process = n->process,
                                              .home = n->home,
                                              .node = n->uuid,
                                              .away = &n->cut_off };
    run_fail(c->run, "a node asks for a volume that there is not");
}

static void on_group_get(void *ctx, struct group_op *op)
{
    const struct registry_client client = client_of(ctx, op->volume);

    registry_get(&client, op);
}

static void on_group_take(void *ctx, struct group_op *op, uint64_t known_epoch)
{
    const struct registry_client client = client_of(ctx, op->volume);

    registry_take(&client, op, known_epoch);
}

static void on_group_commit(void *ctx, struct group_op *op, const struct group *was,
                            const struct group *now)
{
    const struct registry_client client = client_of(ctx, op->volume);

    registry_commit(&client, op, was, now);
}

static const struct node_ops ops = {
    .opened = on_opened,
    .changed = on_changed,
    .take_epoch = on_take_epoch,
    .group_get = on_group_get,
    .group_take = on_group_take,
    .group_commit = on_group_commit,
};

static struct status open_disk(void *ctx, struct reactor *r, struct dev **out_dev)
{
    return dev_file_open(r, ((const struct cluster_disk *)ctx)->config.path, 0, true, out_dev);
}

static void node_main(struct sim_process *p, void *ctx)
{
    struct cluster_node *const n = ctx;
    const struct cluster *const c = n->cluster;
    struct reactor *reactors[CLUSTER_REACTORS_MAX];
    struct node_disk_config disks[CLUSTER_DISKS_MAX];
    const struct node_membership membership = { .cluster = { { 1 } },
                                                .cluster_name = "sim",
                                                .node_index = n->index + 1 };

    for (unsigned i = 0; i < n->reactor_count; i++)
        reactors[i] = sim_process_reactor(p, i);
    for (unsigned i = 0; i < c->disks_per_node; i++)
        disks[i] = n->disks[i].config;
    n->process = p;
    n->home = reactors[0];
    const struct node_config config = {
        .reactors = reactors,
        .reactor_count = n->reactor_count,
        .listen = cluster_addr(c, n->index),
        .buffer_bytes = (size_t)8 << 20,
        .commands_max = 32,
        .replica_timeout_ns = c->replica_timeout_ns,
        .resync_bytes_per_s = c->resync_bytes_per_s,
        .stores = { .served = true, .node = n->uuid, .leases = { LEASE_NS, LEASE_WAIT_NS } },
        .disks = disks,
        .disk_count = c->disks_per_node,
        .log = reactors[0]->log,
        .ops = &ops,
        .ctx = n,
    };
    const struct status st = node_create(&config, &n->node);
    if (!status_ok(st))
        run_fail(c->run, "node_create(): %s", status_text(st));
    node_join(n->node, &membership);
}

static void life_forget(struct cluster_node *n)
{
    n->home = NULL;
    n->node = NULL;
    n->opened = false;
    n->stopping = false;
    n->paused = n->dies = false;
    n->told = 0;
}

static void node_ended(struct sim_process *p, enum sim_exit how, void *ctx)
{
    struct cluster_node *const n = ctx;

    for (unsigned i = 0; i < n->cluster->volume_count; i++)
        watch_forget(&n->cluster->volumes[i].watch, p);
    life_forget(n);
    if (how == SIM_EXIT_POWER)
        for (unsigned i = 0; i < n->cluster->disks_per_node; i++)
            n->disks[i].incarnation = 0;
    n->cluster->ended(n, how);
}

void cluster_spawn(struct cluster_node *n)
{
    const struct sim_program program = { .name = "node",
                                         .reactors = n->reactor_count,
                                         .main = node_main,
                                         .ended = node_ended,
                                         .ctx = n };

    if (n->process != NULL && sim_process_is_alive(n->process))
        return;
    for (unsigned i = 0; i < n->cluster->disks_per_node; i++)
        n->disks[i].ballast.left_cells =
            n->cluster->cells_left_max == 0
                ? BALLAST_NONE
                : (uint32_t)run_between(n->cluster->run, 0, n->cluster->cells_left_max);
    sim_machine_power_on(n->machine);
    life_forget(n);
    n->process = sim_spawn(n->machine, &program);
}

static void on_stopped(void *ctx)
{
    struct cluster_node *const n = ctx;
    const uint64_t held = memory_held(sim_process_owner(n->process));

    n->node = NULL;
    if (held != 0)
        run_fail(n->cluster->run, "%" PRIu64 " allocations are left after an orderly end", held);
    for (unsigned i = 0; i < n->reactor_count; i++)
        reactor_stop(sim_process_reactor(n->process, i));
}

static void stop_deliver(struct io_msg *msg)
{
    struct cluster_node *const n = CONTAINER_OF(msg, struct errand, msg)->node;
    struct cluster *const c = n->cluster;

    node_stop(n->node, on_stopped, n);
    for (unsigned i = 0; i < c->volume_count; i++)
        registry_cancel(&c->volumes[i].registry, n->process);
}

bool cluster_stop(struct cluster_node *n)
{
    if (!n->opened || n->stopping || !sim_process_is_alive(n->process))
        return false;
    struct errand *const e = sim_world_alloc(n->cluster->run->world, sizeof *e);
    e->node = n;
    e->msg.deliver = stop_deliver;
    n->stopping = true;
    reactor_post(n->home, &e->msg);
    return true;
}

/* ---- The beginning ---- */

static void disk_make(struct cluster_node *n, unsigned index)
{
    struct cluster_disk *const d = &n->disks[index];
    struct sim_disk_config config = sim_disk_config_random(n->cluster->run->world, DISK_BYTES);

    config.reports_atomic = true;
    config.volatile_cache |= run_percent(n->cluster->run, 50);
    config.volatile_cache |= n->cluster->liar == (int)n->index;
    snprintf(d->config.name, sizeof d->config.name, "node-%u/disk-%u", n->index + 1, index + 1);
    snprintf(d->config.path, sizeof d->config.path, "/dev/sim%u", index + 1);
    d->config.open = open_disk;
    d->config.ctx = d;
    d->disk = sim_disk_create(n->machine, d->config.path, &config);
    ballast_init(&d->ballast, n->cluster->run);
}

void cluster_start(struct cluster *c)
{
    for (unsigned i = 0; i < c->node_count; i++) {
        struct cluster_node *const n = &c->nodes[i];
        n->cluster = c;
        n->index = i;
        n->uuid = (struct uuid) { { 0x6e, (uint8_t)(i + 1) } };
        n->machine = sim_machine_create(c->run->world, "node");
        n->reactor_count = (unsigned)run_between(c->run, 1, CLUSTER_REACTORS_MAX);
        for (unsigned k = 0; k < c->disks_per_node; k++)
            disk_make(n, k);
        cluster_spawn(n);
    }
    sim_world_after(c->run->world, TICK_NS, controller_tick, c);
}

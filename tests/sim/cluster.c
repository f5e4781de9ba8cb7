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
#define DISKS_ALL    (CLUSTER_NODES_MAX * CLUSTER_DISKS_MAX)

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

static void errand_carry_out(const struct errand *e)
{
    struct cluster_node *const n = e->node;
    struct cluster *const c = n->cluster;
    struct uuid uuids[DISKS_ALL], members[CLUSTER_NODES_MAX];
    struct node_desired_place places[DISKS_ALL] = { 0 };
    struct node_desired_volume volumes[CLUSTER_VOLUMES_MAX] = { 0 };
    uint32_t placement[CLUSTER_VOLUMES_MAX][CLUSTER_SHARDS_MAX * GROUP_SLOTS];
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
        const struct cluster_volume *const v = &c->volumes[i];
        const uint32_t shards = (uint32_t)store_volume_shards(&v->volume);
        if (e->owners[i] != n->index)
            continue;
        for (uint32_t s = 0; s < shards; s++)
            memcpy(&placement[i][s * v->volume.replicas], v->placement[s],
                   v->volume.replicas * sizeof placement[i][0]);
        volumes[desired.volume_count++] =
            (struct node_desired_volume) { .volume = v->volume,
                                           .nqn = v->nqn,
                                           .shard_count = shards,
                                           .placement = placement[i],
                                           .verification = v->verification };
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

/* What the node tells of its volumes. */
static void node_look(struct cluster_node *n)
{
    struct cluster *const c = n->cluster;
    struct node_report report;

    node_fill_report(n->node, &report);
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

    (void)p;
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

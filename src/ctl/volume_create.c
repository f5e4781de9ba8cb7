/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateVolume: chooses a node and a place for every shard, and records the volume; with several
 * replicas, its group's record in the same transaction.
 *
 * The plan reads all disks and volumes, and the transaction compares the names and the desired
 * records of the nodes that it is placed on: a volume that somebody else created on the same node
 * meanwhile, or a disk that is to leave it, is a conflict, and the plan is made again.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "ctl/ctl_internal.h"
#include "ctl/placement.h"
#include "ctl/volume_create.h"
#include "ctl/volume_replicas.h"
#include "ctl/volume_spread.h"

/* A node that has disks to give, with what is planned on them. */
struct candidate {
    struct uuid node;
    uint32_t disk_count;
    struct uuid uuids[CTL_DISKS_MAX];
    struct placement_disk disks[CTL_DISKS_MAX];
};

struct creation {
    struct ctl *ctl;
    const Trilith__V1__VolumeSpec *spec;
    struct uuid uuid;
    struct problem *problem;
    char *warning; /* RPC_TEXT_BYTES. */
};

/* ---- What is there ---- */

static void candidate_fill(struct candidate *c, const struct observed *o,
                           const struct leaving *leaving, bool with_suspect)
{
    c->node = o->node;
    for (size_t i = 0; i < o->report->n_disks; i++) {
        const Trilith__V1__DiskReport *d = o->report->disks[i];
        if (!disk_takes_shards(d, leaving, with_suspect))
            continue;
        c->uuids[c->disk_count] = field_uuid(d->uuid);
        c->disks[c->disk_count++].bytes = d->bytes;
    }
}

static uint64_t candidate_free(const struct candidate *c)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < c->disk_count; i++)
        if (c->disks[i].planned_bytes < c->disks[i].bytes)
            bytes += c->disks[i].bytes - c->disks[i].planned_bytes;
    return bytes;
}

/* Adds what a volume has planned to the candidate's disks. */
static void candidate_count(struct candidate *c, const Stored__V1__Volume *v)
{
    for (size_t i = 0; i < v->n_placement; i++) {
        if (v->placement[i] >= v->n_disks)
            continue;
        const struct uuid disk = field_uuid(v->disks[v->placement[i]]);
        for (uint32_t d = 0; d < c->disk_count; d++)
            if (uuid_equal(c->uuids[d], disk))
                c->disks[d].planned_bytes +=
                    volume_planned_bytes(v, (uint32_t)(i / max_u64(v->replicas, 1)));
    }
}

static struct status MUST_CHECK candidate_take(struct ctl *ctl, const struct observed *o,
                                               const struct records *volumes, bool with_suspect,
                                               struct candidate *best)
{
    uint32_t roles;

    if (!observed_connected(ctl, o))
        return STATUS(OK);
    TRY(node_roles_read(ctl, o->node, &roles));
    if (roles != (ROLE_STORE | ROLE_TARGET))
        return STATUS(OK); /* Its one replica is served by the node that has it. */
    struct leaving leaving;
    TRY(leaving_read(ctl, o->node, &leaving));
    struct candidate *c = calloc(1, sizeof *c);
    if (c == NULL) {
        leaving_free(&leaving);
        return STATUS(NO_MEMORY);
    }
    candidate_fill(c, o, &leaving, with_suspect);
    leaving_free(&leaving);
    for (size_t i = 0; i < volumes->count; i++)
        candidate_count(c, (const Stored__V1__Volume *)(const void *)volumes->items[i]);
    const bool better = candidate_free(c) > candidate_free(best) || best->disk_count == 0;
    if (c->disk_count > 0 && better)
        *best = *c;
    free(c);
    return STATUS(OK);
}

static struct status MUST_CHECK check_count(const struct creation *c, size_t count)
{
    if (count < CTL_VOLUMES_MAX)
        return STATUS(OK);
    snprintf(c->problem->s, sizeof c->problem->s,
             "volume '%s': there are %u volumes already, and no more are possible", c->spec->name,
             CTL_VOLUMES_MAX);
    return STATUS(LIMIT);
}

/* The connected node with the most space that is not planned yet: of disks that are not suspect, if
 * any node has such. */
static struct status choose_node(struct creation *c, struct candidate *best)
{
    struct records volumes;

    TRY(records_read(c->ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    const size_t count = volumes.count;
    struct status st = STATUS(OK);
    for (unsigned suspects = 0; suspects < 2 && best->disk_count == 0; suspects++) {
        LIST_FOR_EACH (n, &c->ctl->observed) {
            if (status_ok(st))
                st = candidate_take(c->ctl, CONTAINER_OF(n, struct observed, link), &volumes,
                                    suspects > 0, best);
        }
    }
    records_free(&volumes);
    TRY(st);
    TRY(check_count(c, count));
    if (best->disk_count > 0)
        return STATUS(OK);
    snprintf(c->problem->s, sizeof c->problem->s,
             "volume '%s': one replica needs a node with a working disk and the roles 'store' and "
             "'target', and none is connected; 'trilith status' says why",
             c->spec->name);
    return STATUS(UNAVAILABLE);
}

/* ---- The record ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void record_fill(Stored__V1__Volume *r, const struct creation *c, uint32_t disk_count)
{
    const Trilith__V1__VolumeSpec *s = c->spec;

    r->name = s->name;
    r->bytes = s->bytes;
    r->lba_bytes = or_default(s->lba_bytes, CTL_LBA_BYTES_DEF);
    r->replicas = or_default(s->replicas, 1);
    /* Two failures shall not meet in the time that it takes to copy one replica: of three, two. */
    r->min_in_sync = or_default(s->min_in_sync, r->replicas > 2 ? 2 : 1);
    r->stride_nodes = s->stride_nodes;
    r->allow_degraded = s->allow_degraded;
    r->apart = (uint32_t)s->apart;
    r->shard_bytes =
        s->shard_bytes != 0 ? s->shard_bytes : placement_shard_bytes(s->bytes, disk_count);
    r->stripe_unit_bytes = or_default(s->stripe_unit_bytes, CTL_STRIPE_UNIT_DEF);
    /* Not cut to the shards that it has: it may grow. */
    r->stripe_width = or_default(s->stripe_width,
                                 (uint32_t)max_u64(min_u64(disk_count, CTL_STRIPE_WIDTH_DEF), 1));
    r->continue_on_unflushed_loss =
        s->on_unflushed_loss == TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE;
    r->allowed_hosts = s->allowed_hosts;
    r->n_allowed_hosts = s->n_allowed_hosts;
    r->created_unix_ms = rpc_wall_ns(c->ctl->loop) / NS_PER_MS;
    r->uuid = record_bytes(&c->uuid);
}

static uint32_t shards_of(const Stored__V1__Volume *r)
{
    return (uint32_t)((r->bytes + r->shard_bytes - 1) / r->shard_bytes);
}

/* over: planned bytes beyond what its disks hold; crowded: as volume_crowded(). */
static void warn(const struct creation *c, uint64_t over, const char *crowded)
{
    int at = 0;

    if (over > 0)
        at = snprintf(c->warning, RPC_TEXT_BYTES,
                      "the disks are overcommitted by %s: if the volumes are filled, writes will "
                      "fail for lack of space",
                      size_format(over).s);
    if (crowded != NULL)
        snprintf(c->warning + at, RPC_TEXT_BYTES - (size_t)at, "%sit is degraded: %s",
                 at > 0 ? "; " : "", crowded);
}

/* Puts the finished record; what it borrows lives until it was packed. */
static void put_volume(const struct creation *c, struct meta_txn *txn, const Stored__V1__Volume *r)
{
    const struct meta_key name_key = key_volume_name(c->spec->name);
    const struct meta_key key = key_volume(c->uuid);
    Stored__V1__Name name = STORED__V1__NAME__INIT;

    name.uuid = record_bytes(&c->uuid);
    meta_txn_expect(txn, name_key.s, 0);
    meta_txn_expect(txn, key.s, 0);
    record_put(txn, name_key.s, &name.base);
    record_put(txn, key.s, &r->base);
}

/* ---- One replica: on the disks of one node ---- */

static struct status MUST_CHECK build_single(struct creation *c, struct meta *m,
                                             struct meta_txn *txn, struct arena *arena)
{
    struct candidate *node = arena_alloc(arena, sizeof *node);
    Stored__V1__Volume r = STORED__V1__VOLUME__INIT;

    TRY(choose_node(c, node));
    record_fill(&r, c, node->disk_count);
    r.n_placement = shards_of(&r);
    r.placement = arena_alloc(arena, r.n_placement * sizeof *r.placement);
    const struct placement_shape shape = { r.shard_bytes, (uint32_t)r.n_placement, r.stripe_width };
    TRY(placement_plan(&shape, node->disks, node->disk_count, r.placement));
    r.n_disks = node->disk_count;
    r.disks = arena_alloc(arena, r.n_disks * sizeof *r.disks);
    for (uint32_t i = 0; i < node->disk_count; i++)
        r.disks[i] = record_bytes(&node->uuids[i]);
    r.node = record_bytes(&node->node);
    put_volume(c, txn, &r);
    TRY(desired_bump(m, txn, node->node));
    warn(c, placement_overcommit(node->disks, node->disk_count), NULL);
    return STATUS(OK);
}

/* ---- Several replicas ---- */

/*
 * Of the nodes that may serve it, and that it lies on if there are such, the one that serves the
 * fewest volumes.  UNAVAILABLE: there is none.
 */
static struct status MUST_CHECK choose_server(const struct creation *c,
                                              const struct cluster_view *view, uint64_t nodes,
                                              uint32_t *out_server)
{
    nodes &= view->targets;
    if (nodes == 0)
        nodes = view->targets;
    if (nodes == 0) {
        snprintf(c->problem->s, sizeof c->problem->s,
                 "volume '%s': no node with the role 'target', which could serve it, is connected; "
                 "'trilith node list' shows all",
                 c->spec->name);
        return STATUS(UNAVAILABLE);
    }
    uint32_t best = node_mask_next(&nodes);

    while (nodes != 0) {
        const uint32_t node = node_mask_next(&nodes);
        if (view->serves[node] < view->serves[best])
            best = node;
    }
    *out_server = best;
    return STATUS(OK);
}

static struct status MUST_CHECK say_spread(const struct creation *c, const struct problem *why,
                                           struct status st)
{
    if (status_is(st, STATUS_NO_SPACE))
        snprintf(c->problem->s, sizeof c->problem->s, "volume '%s': %.400s", c->spec->name, why->s);
    return status_is(st, STATUS_NO_SPACE) ? STATUS(UNAVAILABLE) : st;
}

/* The plan has rested on what the nodes were to have: their desired records stay as they are. */
static struct status MUST_CHECK keep_nodes(struct meta *m, struct meta_txn *txn,
                                           const struct cluster_view *view, uint64_t nodes,
                                           uint32_t server)
{
    while (nodes != 0) {
        const uint32_t node = node_mask_next(&nodes);
        if (node != server)
            TRY(desired_expect(m, txn, view->nodes[node].uuid));
    }
    return desired_bump(m, txn, view->nodes[server].uuid);
}

/* Places the shards: without what is suspect, if that is possible. */
static struct status MUST_CHECK spread_volume(struct creation *c, Stored__V1__Volume *r,
                                              struct cluster_view *view, struct group *group,
                                              bool with_suspect, struct arena *arena)
{
    struct problem why = { "" };

    TRY(cluster_view_read(c->ctl, c->uuid, with_suspect, arena, view));
    TRY(check_count(c, view->volume_count));
    *r = (Stored__V1__Volume)STORED__V1__VOLUME__INIT;
    record_fill(r, c, volume_spread_width(view, c->spec->replicas, c->spec->stride_nodes));
    r->apart = or_default(r->apart, volume_apart_default(view, r->replicas));
    r->allow_degraded = c->spec->allow_degraded && with_suspect;
    *group = (struct group) { 0 };
    struct volume_spread spread = { c->ctl, arena, view, r, shards_of(r), group, &why };
    const struct status st = volume_spread(&spread);
    r->allow_degraded = c->spec->allow_degraded;
    return say_spread(c, &why, st);
}

static struct status MUST_CHECK build_spread(struct creation *c, struct meta *m,
                                             struct meta_txn *txn, struct arena *arena)
{
    struct cluster_view *view = arena_alloc(arena, sizeof *view);
    struct group *group = arena_alloc(arena, sizeof *group);
    Stored__V1__Volume r;

    struct status st = spread_volume(c, &r, view, group, false, arena);
    if (status_is(st, STATUS_UNAVAILABLE))
        st = spread_volume(c, &r, view, group, true, arena);
    TRY(st);
    c->problem->s[0] = '\0';
    const uint64_t nodes = cluster_view_nodes_of(view, &r);
    uint32_t server;
    TRY(choose_server(c, view, nodes, &server));
    r.node = record_bytes(&view->nodes[server].uuid);
    put_volume(c, txn, &r);
    group_record_put(txn, c->uuid, 0, group, 0);
    TRY(keep_nodes(m, txn, view, nodes, server));
    warn(c, cluster_view_overcommit(view, &r),
         volume_crowded(c->ctl, &r, volume_places(c->ctl, &r, arena), arena));
    return STATUS(OK);
}

static struct status creation_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct creation *c = ctx;
    struct meta_value value;

    /* Somebody may have taken the name between two tries. */
    const struct status st = meta_get(m, key_volume_name(c->spec->name).s, &value);
    if (status_ok(st)) {
        meta_value_free(&value);
        return STATUS(EXISTS);
    }
    if (!status_is(st, STATUS_NOT_FOUND))
        return st;
    c->warning[0] = '\0';
    return c->spec->replicas > 1 ? build_spread(c, m, txn, &arena)
                                 : build_single(c, m, txn, &arena);
}

struct status volume_create(struct ctl *ctl, const Trilith__V1__VolumeSpec *spec,
                            char warning[RPC_TEXT_BYTES], struct problem *problem)
{
    uint8_t random[16];
    struct creation c = { .ctl = ctl, .spec = spec, .problem = problem, .warning = warning };

    rpc_random(ctl->loop, (struct span) { random, sizeof random });
    c.uuid = uuid_from_random(random);
    problem->s[0] = '\0';
    const struct status st = meta_transact(ctl->meta, creation_build, &c, NULL);
    if (!status_ok(st) && problem->s[0] == '\0')
        snprintf(problem->s, sizeof problem->s, "volume '%s': %s", spec->name, status_text(st));
    return st;
}

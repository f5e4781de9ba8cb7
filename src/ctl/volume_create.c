/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateVolume: chooses a node and a place for every shard, and records the volume.
 *
 * The plan reads all disks and volumes, and the transaction compares the names and the node's
 * desired record: a volume that somebody else created on the same node meanwhile is a conflict,
 * and the plan is made again.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "ctl/ctl_internal.h"
#include "ctl/placement.h"
#include "ctl/volume_create.h"

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
                           const struct leaving *leaving)
{
    c->node = o->node;
    for (size_t i = 0; i < o->report->n_disks; i++) {
        const Trilith__V1__DiskReport *d = o->report->disks[i];
        if (d->failure[0] != '\0' || d->bytes == 0 || leaving_has(leaving, field_uuid(d->uuid)))
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
                c->disks[d].planned_bytes += volume_planned_bytes(v, (uint32_t)i);
    }
}

static struct status MUST_CHECK candidate_take(struct ctl *ctl, const struct observed *o,
                                               const struct records *volumes,
                                               struct candidate *best)
{
    if (!observed_connected(ctl, o))
        return STATUS(OK);
    struct leaving leaving;
    TRY(leaving_read(ctl, o->node, &leaving));
    struct candidate *c = calloc(1, sizeof *c);
    if (c == NULL) {
        leaving_free(&leaving);
        return STATUS(NO_MEMORY);
    }
    candidate_fill(c, o, &leaving);
    leaving_free(&leaving);
    for (size_t i = 0; i < volumes->count; i++)
        candidate_count(c, (const Stored__V1__Volume *)(const void *)volumes->items[i]);
    const bool better = candidate_free(c) > candidate_free(best) || best->disk_count == 0;
    if (c->disk_count > 0 && better)
        *best = *c;
    free(c);
    return STATUS(OK);
}

/* The connected node with the most space that is not planned yet. */
static struct status choose_node(struct creation *c, struct candidate *best)
{
    struct records volumes;

    TRY(records_read(c->ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    const size_t count = volumes.count;
    struct status st = STATUS(OK);
    LIST_FOR_EACH (n, &c->ctl->observed) {
        if (status_ok(st))
            st = candidate_take(c->ctl, CONTAINER_OF(n, struct observed, link), &volumes, best);
    }
    records_free(&volumes);
    TRY(st);
    if (count >= CTL_VOLUMES_MAX) {
        snprintf(c->problem->s, sizeof c->problem->s,
                 "volume '%s': there are %u volumes already, and no more are possible",
                 c->spec->name, CTL_VOLUMES_MAX);
        return STATUS(LIMIT);
    }
    if (best->disk_count > 0)
        return STATUS(OK);
    snprintf(c->problem->s, sizeof c->problem->s,
             "volume '%s': no node with a working disk is connected; 'trilith status' says why",
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
    r->replicas = 1;
    r->min_in_sync = 1;
    r->shard_bytes =
        s->shard_bytes != 0 ? s->shard_bytes : placement_shard_bytes(s->bytes, disk_count);
    r->stripe_unit_bytes = or_default(s->stripe_unit_bytes, CTL_STRIPE_UNIT_DEF);
    const uint32_t shards = (uint32_t)((s->bytes + r->shard_bytes - 1) / r->shard_bytes);
    /* Not cut to the shards that it has: it may grow. */
    r->stripe_width =
        or_default(s->stripe_width, (uint32_t)min_u64(disk_count, CTL_STRIPE_WIDTH_DEF));
    r->continue_on_unflushed_loss =
        s->on_unflushed_loss == TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE;
    r->allowed_hosts = s->allowed_hosts;
    r->n_allowed_hosts = s->n_allowed_hosts;
    r->created_unix_ms = rpc_wall_ns(c->ctl->loop) / NS_PER_MS;
    r->n_placement = shards;
}

static void warn_overcommit(const struct creation *c, const struct candidate *node)
{
    const uint64_t over = placement_overcommit(node->disks, node->disk_count);
    c->warning[0] = '\0';
    if (over > 0)
        snprintf(c->warning, RPC_TEXT_BYTES,
                 "the disks are overcommitted by %s: if the volumes are filled, writes will fail "
                 "for lack of space",
                 size_format(over).s);
}

/* Puts the finished record; what it borrows lives until it was packed. */
static struct status put_volume(struct creation *c, struct meta *m, struct meta_txn *txn,
                                struct candidate *node, Stored__V1__Volume *r, struct arena *arena)
{
    const struct placement_shape shape = { r->shard_bytes, (uint32_t)r->n_placement,
                                           r->stripe_width };
    const struct meta_key name_key = key_volume_name(c->spec->name);
    const struct meta_key key = key_volume(c->uuid);
    Stored__V1__Name name = STORED__V1__NAME__INIT;

    r->placement = arena_alloc(arena, r->n_placement * sizeof *r->placement);
    TRY(placement_plan(&shape, node->disks, node->disk_count, r->placement));
    r->n_disks = node->disk_count;
    r->disks = arena_alloc(arena, r->n_disks * sizeof *r->disks);
    for (uint32_t i = 0; i < node->disk_count; i++)
        r->disks[i] = record_bytes(&node->uuids[i]);
    r->uuid = record_bytes(&c->uuid);
    r->node = record_bytes(&node->node);
    name.uuid = record_bytes(&c->uuid);
    meta_txn_expect(txn, name_key.s, 0);
    meta_txn_expect(txn, key.s, 0);
    record_put(txn, name_key.s, &name.base);
    record_put(txn, key.s, &r->base);
    TRY(desired_bump(m, txn, node->node));
    warn_overcommit(c, node);
    return STATUS(OK);
}

static struct status creation_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct creation *c = ctx;
    struct meta_value value;
    struct candidate *node = arena_alloc(&arena, sizeof *node);
    Stored__V1__Volume record = STORED__V1__VOLUME__INIT;

    /* Somebody may have taken the name between two tries. */
    const struct status st = meta_get(m, key_volume_name(c->spec->name).s, &value);
    if (status_ok(st)) {
        meta_value_free(&value);
        return STATUS(EXISTS);
    }
    if (!status_is(st, STATUS_NOT_FOUND))
        return st;
    TRY(choose_node(c, node));
    record_fill(&record, c, node->disk_count);
    return put_volume(c, m, txn, node, &record, &arena);
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

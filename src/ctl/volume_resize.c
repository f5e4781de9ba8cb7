/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ResizeVolume: more shards on the disks of the volume's stride, behind those that it has; with
 * several replicas, the copysets that this takes in its group's record, in the same transaction.
 *
 * The transaction compares the volume's record and, through desired_bump(), that of its node: of
 * two that resize at once one is planned again, on what the other has made.
 */
#include "ctl/volume_resize.h"

#include <stdio.h>

#include "base/size.h"
#include "ctl/placement.h"
#include "ctl/volume_spread.h"

struct resizing {
    struct ctl *ctl;
    struct uuid uuid;
    uint64_t bytes;
    struct problem *problem;
    char *warning; /* RPC_TEXT_BYTES. */
};

/* The disks of the stride that work; those that are suspect only if there are no others. */
struct stride {
    uint32_t count;
    uint32_t index[CTL_DISKS_MAX]; /* In the record's list. */
    struct placement_disk disks[CTL_DISKS_MAX];
};

static void stride_take(const Stored__V1__Volume *r, const struct observed *o,
                        const struct leaving *leaving, bool with_suspect, struct stride *stride)
{
    for (size_t i = 0; i < r->n_disks && stride->count < CTL_DISKS_MAX; i++) {
        const Trilith__V1__DiskReport *d = observed_disk(o, field_uuid(r->disks[i]));
        if (d == NULL || !disk_takes_shards(d, leaving, with_suspect))
            continue;
        stride->index[stride->count] = (uint32_t)i;
        stride->disks[stride->count++] = (struct placement_disk) { .bytes = d->bytes };
    }
}

static struct status MUST_CHECK stride_fill(struct ctl *ctl, const Stored__V1__Volume *r,
                                            struct stride *stride)
{
    const struct observed *o = observed_find(ctl, field_uuid(r->node));
    struct leaving leaving;

    if (!observed_connected(ctl, o))
        return STATUS(OK);
    TRY(leaving_read(ctl, o->node, &leaving));
    stride_take(r, o, &leaving, false, stride);
    if (stride->count == 0)
        stride_take(r, o, &leaving, true, stride);
    leaving_free(&leaving);
    return STATUS(OK);
}

/* Adds what a volume has planned on the disks. */
static void stride_count(struct stride *stride, const Stored__V1__Volume *r,
                         const Stored__V1__Volume *other)
{
    for (size_t p = 0; p < other->n_placement; p++) {
        const struct uuid disk = field_uuid(other->disks[other->placement[p]]);
        for (uint32_t d = 0; d < stride->count; d++)
            if (uuid_equal(field_uuid(r->disks[stride->index[d]]), disk))
                stride->disks[d].planned_bytes +=
                    volume_planned_bytes(other, (uint32_t)(p / max_u64(other->replicas, 1)));
    }
}

/* What is planned on the stride, with the volume as r says it is. */
static struct status MUST_CHECK stride_plan(struct ctl *ctl, const Stored__V1__Volume *r,
                                            struct stride *stride)
{
    struct records volumes;

    for (uint32_t i = 0; i < stride->count; i++)
        stride->disks[i].planned_bytes = 0;
    TRY(records_read(ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    for (size_t i = 0; i < volumes.count; i++) {
        const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)volumes.items[i];
        if (!uuid_equal(field_uuid(v->uuid), field_uuid(r->uuid)))
            stride_count(stride, r, v);
    }
    stride_count(stride, r, r);
    records_free(&volumes);
    return STATUS(OK);
}

/* Places the shards from the record's last one up to count. */
static struct status MUST_CHECK add_shards(struct resizing *z, Stored__V1__Volume *r,
                                           struct stride *stride, uint64_t count,
                                           struct arena *arena)
{
    const size_t before = r->n_placement;
    const struct placement_shape shape = { r->shard_bytes, (uint32_t)(count - before),
                                           r->stripe_width };
    uint32_t *placement = arena_alloc(arena, count * sizeof *placement);

    if (stride->count == 0) {
        snprintf(z->problem->s, sizeof z->problem->s,
                 "volume '%s': none of the disks that its shards may lie on works now; 'trilith "
                 "status' says why",
                 r->name);
        return STATUS(UNAVAILABLE);
    }
    TRY(stride_plan(z->ctl, r, stride));
    for (size_t i = 0; i < before; i++)
        placement[i] = r->placement[i];
    TRY(placement_plan(&shape, stride->disks, stride->count, placement + before));
    for (size_t i = before; i < count; i++)
        placement[i] = stride->index[placement[i]];
    r->placement = placement;
    r->n_placement = count;
    return STATUS(OK);
}

static struct status MUST_CHECK check_record(const struct resizing *z, const Stored__V1__Volume *r)
{
    struct problem *p = z->problem;

    if (r->deleting) {
        snprintf(p->s, sizeof p->s, "volume '%s': it is being deleted", r->name);
        return STATUS(BUSY);
    }
    if (z->bytes < r->bytes) {
        snprintf(p->s, sizeof p->s,
                 "volume '%s': it has %s, and volumes cannot shrink: create one of %s, and copy",
                 r->name, size_format(r->bytes).s, size_format(z->bytes).s);
        return STATUS(BUSY);
    }
    return STATUS(OK);
}

static void warn_overcommit(struct resizing *z, uint64_t over)
{
    if (over > 0)
        snprintf(z->warning, RPC_TEXT_BYTES,
                 "its disks are overcommitted by %s: if the volumes are filled, writes will fail "
                 "for lack of space",
                 size_format(over).s);
}

static struct status MUST_CHECK grow_single(struct resizing *z, Stored__V1__Volume *r,
                                            const struct placement_growth *g, struct arena *arena)
{
    struct stride *stride = arena_alloc(arena, sizeof *stride);

    TRY(stride_fill(z->ctl, r, stride));
    if (g->shard_count > r->n_placement)
        TRY(add_shards(z, r, stride, g->shard_count, arena));
    r->bytes = z->bytes;
    r->first_run_shards = g->first_run_shards;
    TRY(stride_plan(z->ctl, r, stride));
    warn_overcommit(z, placement_overcommit(stride->disks, stride->count));
    return STATUS(OK);
}

/* ---- Several replicas ---- */

/* Not on what is suspect, if that is possible; nor degraded, unless that is needed too. */
static struct status MUST_CHECK spread_shards_on(struct resizing *z, struct volume_spread *spread,
                                                 bool with_suspect, struct meta *m,
                                                 struct meta_txn *txn)
{
    const protobuf_c_boolean allow_degraded = spread->record->allow_degraded;
    struct problem why = { "" };
    uint64_t revision;

    TRY(cluster_view_read(z->ctl, (struct uuid) { { 0 } }, with_suspect, spread->arena,
                          spread->view));
    TRY(group_record_get(m, z->uuid, 0, spread->group, &revision));
    const uint32_t before = spread->group->copyset_count;
    spread->problem = &why;
    spread->record->allow_degraded = allow_degraded && with_suspect;
    const struct status st = volume_spread(spread);
    spread->record->allow_degraded = allow_degraded;
    if (status_is(st, STATUS_NO_SPACE)) {
        snprintf(z->problem->s, sizeof z->problem->s, "volume '%s': %.400s", spread->record->name,
                 why.s);
        return STATUS(UNAVAILABLE);
    }
    TRY(st);
    z->problem->s[0] = '\0';
    if (spread->group->copyset_count > before)
        group_record_put(txn, z->uuid, 0, spread->group, revision);
    return STATUS(OK);
}

static struct status MUST_CHECK grow_spread(struct resizing *z, Stored__V1__Volume *r,
                                            const struct placement_growth *g, struct meta *m,
                                            struct meta_txn *txn, struct arena *arena)
{
    struct cluster_view *view = arena_alloc(arena, sizeof *view);
    struct group *group = arena_alloc(arena, sizeof *group);
    struct volume_spread spread = { .ctl = z->ctl,
                                    .arena = arena,
                                    .view = view,
                                    .record = r,
                                    .shard_count = (uint32_t)g->shard_count,
                                    .group = group };

    if (g->shard_count > r->n_placement / r->replicas) {
        struct status st = spread_shards_on(z, &spread, false, m, txn);
        if (status_is(st, STATUS_UNAVAILABLE))
            st = spread_shards_on(z, &spread, true, m, txn);
        TRY(st);
    }
    r->bytes = z->bytes;
    r->first_run_shards = g->first_run_shards;
    TRY(cluster_view_read(z->ctl, z->uuid, true, arena, view));
    cluster_view_count(view, r);
    warn_overcommit(z, cluster_view_overcommit(view, r));
    return STATUS(OK);
}

static struct status MUST_CHECK grow_record(struct resizing *z, Stored__V1__Volume *r,
                                            struct meta *m, struct meta_txn *txn,
                                            struct arena *arena)
{
    struct placement_growth g = { r->shard_bytes, r->stripe_width,
                                  r->n_placement / max_u64(r->replicas, 1), r->first_run_shards };

    placement_grow(&g, z->bytes);
    if (g.shard_count > CTL_SHARDS_MAX) {
        snprintf(z->problem->s, sizeof z->problem->s,
                 "volume '%s': its shards have %s, and a volume has at most %u of them: it cannot "
                 "grow to %s; create another one, and copy",
                 r->name, size_format(r->shard_bytes).s, CTL_SHARDS_MAX, size_format(z->bytes).s);
        return STATUS(LIMIT);
    }
    return r->replicas > 1 ? grow_spread(z, r, &g, m, txn, arena) : grow_single(z, r, &g, arena);
}

static struct status MUST_CHECK resize_record(struct resizing *z, struct meta *m,
                                              struct meta_txn *txn, Stored__V1__Volume *found,
                                              uint64_t revision)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const struct meta_key key = key_volume(z->uuid);
    Stored__V1__Volume r = *found; /* What is new is the arena's. */

    TRY(check_record(z, &r));
    if (r.bytes == z->bytes)
        return STATUS(EXISTS);
    z->warning[0] = '\0';
    TRY(grow_record(z, &r, m, txn, &arena));
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &r.base);
    return desired_bump(m, txn, field_uuid(r.node));
}

static struct status resize_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct resizing *z = ctx;
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key_volume(z->uuid).s, &stored__v1__volume__descriptor, &found, &revision));
    const struct status st =
        resize_record(z, m, txn, (Stored__V1__Volume *)(void *)found, revision);
    record_free(found);
    return st;
}

struct status volume_resize(struct ctl *ctl, const Stored__V1__Volume *record, uint64_t bytes,
                            char warning[RPC_TEXT_BYTES], struct problem *problem)
{
    struct resizing z = { ctl, field_uuid(record->uuid), bytes, problem, warning };

    problem->s[0] = '\0';
    const struct status st = meta_transact(ctl->meta, resize_build, &z, NULL);
    if (status_is(st, STATUS_EXISTS))
        return STATUS(OK); /* It has this size. */
    if (status_ok(st))
        log_info(ctl->log, "volume '%s': grows from %s to %s", record->name,
                 size_format(record->bytes).s, size_format(bytes).s);
    else if (problem->s[0] == '\0')
        snprintf(problem->s, sizeof problem->s, "volume '%s': %s", record->name, status_text(st));
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 11.10 of docs/replication.md.  The epoch that is taken with another min_in_sync is nobody's: the
 * engine that runs commits nothing any more, and so sets nobody out below what is wanted now; its
 * node opens the volume anew as soon as it is told.
 *
 * Another node takes its epoch itself, when it opens the volume (7.1).
 */
#include "ctl/volume_set.h"

#include <stdio.h>

#include "meta/groups.h"
#include "repl/group_steps.h"

struct setting {
    struct uuid uuid;
    uint32_t min_in_sync;
    struct problem *problem;
};

static struct status MUST_CHECK check_wanted(const Stored__V1__Volume *r, struct problem *problem)
{
    if (!r->deleting)
        return STATUS(OK);
    snprintf(problem->s, sizeof problem->s, "volume '%s': it is being deleted", r->name);
    return STATUS(BUSY);
}

/* ---- How many replicas must be in sync ---- */

/* Where a copyset has fewer, no engine could begin. */
static struct status MUST_CHECK check_members(const struct setting *s, const char *name,
                                              const struct group *g)
{
    uint32_t fewer = 0;

    for (uint32_t n = 0; n < g->copyset_count; n++)
        fewer += (uint32_t)__builtin_popcount(group_members(g, n)) < s->min_in_sync ? 1 : 0;
    if (fewer == 0)
        return STATUS(OK);
    snprintf(s->problem->s, sizeof s->problem->s,
             "volume '%s': in %u of %u copysets fewer than %u replicas are in sync now; 'trilith "
             "volume wait %s' waits until all are",
             name, fewer, g->copyset_count, s->min_in_sync, name);
    return STATUS(BUSY);
}

static struct status MUST_CHECK set_record(const struct setting *s, struct meta *m,
                                           struct meta_txn *txn, Stored__V1__Volume *r,
                                           uint64_t revision)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct group *const g = arena_alloc(&arena, sizeof *g);
    const struct meta_key key = key_volume(s->uuid);
    struct group_reason reason;
    uint64_t group_revision;

    TRY(check_wanted(r, s->problem));
    if (r->min_in_sync == s->min_in_sync)
        return STATUS(EXISTS);
    TRY(group_record_get(m, s->uuid, 0, g, &group_revision));
    if (s->min_in_sync > r->min_in_sync)
        TRY(check_members(s, r->name, g));
    TRY(group_take_epoch(g, field_uuid(r->node), g, &reason));
    group_record_put(txn, s->uuid, 0, g, group_revision);
    r->min_in_sync = s->min_in_sync;
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &r->base);
    return desired_bump(m, txn, field_uuid(r->node));
}

static struct status set_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct setting *const s = ctx;
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key_volume(s->uuid).s, &stored__v1__volume__descriptor, &found, &revision));
    const struct status st = set_record(s, m, txn, (Stored__V1__Volume *)(void *)found, revision);
    record_free(found);
    return st;
}

struct status volume_set_min_in_sync(struct ctl *ctl, const Stored__V1__Volume *record,
                                     uint32_t min_in_sync, struct problem *problem)
{
    struct setting s = { field_uuid(record->uuid), min_in_sync, problem };

    problem->s[0] = '\0';
    const struct status st = meta_transact(ctl->meta, set_build, &s, NULL);
    if (status_is(st, STATUS_EXISTS))
        return STATUS(OK); /* It is so. */
    if (status_ok(st))
        log_info(ctl->log, "volume '%s': at least %u of its %u replicas must be in sync, not %u",
                 record->name, min_in_sync, record->replicas, record->min_in_sync);
    else if (problem->s[0] == '\0')
        snprintf(problem->s, sizeof problem->s, "volume '%s': %s", record->name, status_text(st));
    return st;
}

/* ---- Which node serves it ---- */

struct moving {
    struct uuid uuid;
    struct uuid node;
    struct uuid was;
    struct problem *problem;
};

static struct status MUST_CHECK move_record(struct moving *v, struct meta *m, struct meta_txn *txn,
                                            Stored__V1__Volume *r, uint64_t revision)
{
    const struct meta_key key = key_volume(v->uuid);

    TRY(check_wanted(r, v->problem));
    v->was = field_uuid(r->node);
    if (uuid_equal(v->was, v->node))
        return STATUS(EXISTS);
    r->node = record_bytes(&v->node);
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &r->base);
    TRY(desired_bump(m, txn, v->was));
    return desired_bump(m, txn, v->node);
}

static struct status move_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct moving *const v = ctx;
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key_volume(v->uuid).s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume *const r = (Stored__V1__Volume *)(void *)found;
    const ProtobufCBinaryData was = r->node;
    const struct status st = move_record(v, m, txn, r, revision);
    r->node = was; /* Its own memory. */
    record_free(found);
    return st;
}

/* Whether the node could serve a volume now. */
static struct status MUST_CHECK check_node(struct ctl *ctl, const Stored__V1__Volume *record,
                                           const char *name, struct uuid *out_node,
                                           struct problem *problem)
{
    ProtobufCMessage *found;
    uint32_t roles = 0;

    struct status st =
        record_get(ctl->meta, key_node_name(name).s, &stored__v1__name__descriptor, &found, NULL);
    if (status_ok(st)) {
        *out_node = field_uuid(((const Stored__V1__Name *)(const void *)found)->uuid);
        record_free(found);
        st = node_roles_read(ctl, *out_node, &roles);
    }
    if (!status_ok(st)) {
        snprintf(problem->s, sizeof problem->s,
                 "volume '%s': there is no node '%.100s'; 'trilith node list' shows all",
                 record->name, name);
        return st;
    }
    if ((roles & ROLE_TARGET) != 0 && observed_connected(ctl, observed_find(ctl, *out_node)))
        return STATUS(OK);
    snprintf(problem->s, sizeof problem->s, "volume '%s': node '%.100s' %s", record->name, name,
             (roles & ROLE_TARGET) != 0 ? "does not report" : "has not the role 'target'");
    return STATUS(BUSY);
}

struct status volume_set_node(struct ctl *ctl, const Stored__V1__Volume *record, const char *node,
                              struct problem *problem)
{
    struct moving v = { .uuid = field_uuid(record->uuid), .problem = problem };

    problem->s[0] = '\0';
    if (record->replicas == 1) {
        snprintf(problem->s, sizeof problem->s,
                 "volume '%s': its one replica is served by the node that has it", record->name);
        return STATUS(BUSY);
    }
    TRY(check_node(ctl, record, node, &v.node, problem));
    const struct status st = meta_transact(ctl->meta, move_build, &v, NULL);
    if (status_is(st, STATUS_EXISTS))
        return STATUS(OK); /* It is so. */
    if (status_ok(st))
        log_info(ctl->log, "volume '%s': node '%s' serves it now, not %s", record->name, node,
                 uuid_format(v.was).s);
    else if (problem->s[0] == '\0')
        snprintf(problem->s, sizeof problem->s, "volume '%s': %s", record->name, status_text(st));
    return st;
}

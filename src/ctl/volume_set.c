/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 11.10 and 11.11 of docs/replication.md.  The epoch that is taken with another min_in_sync is
 * nobody's: the engine that runs commits nothing any more, and so sets nobody out below what is
 * wanted now; its node opens the volume anew as soon as it is told.
 *
 * Another node takes its epoch itself, when it opens the volume (7.1).
 */
#include "ctl/volume_set.h"

#include <stdio.h>

#include "meta/groups.h"
#include "repl/group_steps.h"

struct setting {
    struct uuid uuid;
    uint32_t min_in_sync; /* 0: as it is. */
    struct uuid node;     /* Nil: as it is. */
    struct problem *problem;
};

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

static struct status MUST_CHECK check_wanted(const Stored__V1__Volume *r, struct problem *problem)
{
    if (!r->deleting)
        return STATUS(OK);
    snprintf(problem->s, sizeof problem->s, "volume '%s': it is being deleted", r->name);
    return STATUS(BUSY);
}

static struct status MUST_CHECK set_min_in_sync(const struct setting *s, struct meta *m,
                                                struct meta_txn *txn, Stored__V1__Volume *r)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct group *const g = arena_alloc(&arena, sizeof *g);
    struct group_reason reason;
    uint64_t revision;

    TRY(group_record_get(m, s->uuid, 0, g, &revision));
    if (s->min_in_sync > r->min_in_sync)
        TRY(check_members(s, r->name, g));
    TRY(group_take_epoch(g, field_uuid(r->node), g, &reason));
    group_record_put(txn, s->uuid, 0, g, revision);
    r->min_in_sync = s->min_in_sync;
    return STATUS(OK);
}

/* ---- Which node serves it ---- */

/* The node could serve a volume now. */
static struct status MUST_CHECK check_node(struct ctl *ctl, const char *volume, const char *name,
                                           struct uuid node, struct problem *problem)
{
    uint32_t roles = 0;

    const struct status st = node_roles_read(ctl, node, &roles);
    if (!status_ok(st)) {
        snprintf(problem->s, sizeof problem->s, "volume '%s': node '%.100s': %s", volume, name,
                 status_text(st));
        return st;
    }
    if ((roles & ROLE_TARGET) != 0 && observed_connected(ctl, observed_find(ctl, node)))
        return STATUS(OK);
    snprintf(problem->s, sizeof problem->s, "volume '%s': node '%.100s' %s", volume, name,
             (roles & ROLE_TARGET) != 0
                 ? "does not report; 'trilith node list' shows which do"
                 : "has not the role 'target'; run it with --roles store,target");
    return STATUS(BUSY);
}

static struct status MUST_CHECK find_node(struct ctl *ctl, const char *volume, const char *name,
                                          struct uuid *out_node, struct problem *problem)
{
    ProtobufCMessage *found;

    const struct status st =
        record_get(ctl->meta, key_node_name(name).s, &stored__v1__name__descriptor, &found, NULL);
    if (status_ok(st)) {
        *out_node = field_uuid(((const Stored__V1__Name *)(const void *)found)->uuid);
        record_free(found);
        return st;
    }
    if (status_is(st, STATUS_NOT_FOUND) || status_is(st, STATUS_INVALID))
        snprintf(problem->s, sizeof problem->s,
                 "volume '%s': there is no node '%.100s'; 'trilith node list' shows all", volume,
                 name);
    else
        snprintf(problem->s, sizeof problem->s, "volume '%s': node '%.100s': %s", volume, name,
                 status_text(st));
    return st;
}

/* Who serves it already need not report. */
static struct status MUST_CHECK take_node(struct ctl *ctl, const Stored__V1__Volume *record,
                                          const char *name, struct uuid *out_node,
                                          struct problem *problem)
{
    if (record->replicas == 1) {
        snprintf(problem->s, sizeof problem->s,
                 "volume '%s': its one replica is served by the node that has it", record->name);
        return STATUS(BUSY);
    }
    TRY(find_node(ctl, record->name, name, out_node, problem));
    if (uuid_equal(*out_node, field_uuid(record->node)))
        return STATUS(OK);
    return check_node(ctl, record->name, name, *out_node, problem);
}

/* A deletion goes on with an epoch of the node's own, above what the one before has deleted with;
 * UINT64_MAX is that of a volume whose group nobody can read. */
void volume_set_node(Stored__V1__Volume *r, const struct uuid *node)
{
    r->node = record_bytes(node);
    if (r->deleting && r->delete_epoch != UINT64_MAX)
        r->delete_epoch++;
}

/* ---- All of it ---- */

static struct status MUST_CHECK set_record(const struct setting *s, struct meta *m,
                                           struct meta_txn *txn, Stored__V1__Volume *r,
                                           uint64_t revision)
{
    const struct meta_key key = key_volume(s->uuid);
    const struct uuid was = field_uuid(r->node);
    const bool moves = !uuid_is_nil(s->node) && !uuid_equal(s->node, was);
    const bool other_min = s->min_in_sync != 0 && s->min_in_sync != r->min_in_sync;

    if (s->min_in_sync != 0)
        TRY(check_wanted(r, s->problem));
    if (!moves && !other_min)
        return STATUS(EXISTS);
    if (moves)
        volume_set_node(r, &s->node);
    if (other_min)
        TRY(set_min_in_sync(s, m, txn, r));
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &r->base);
    if (moves)
        TRY(desired_bump(m, txn, was));
    return desired_bump(m, txn, field_uuid(r->node));
}

static struct status set_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct setting *const s = ctx;
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key_volume(s->uuid).s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume copy = *(const Stored__V1__Volume *)(const void *)found;
    const struct status st = set_record(s, m, txn, &copy, revision);
    record_free(found);
    return st;
}

static void log_set(struct ctl *ctl, const Stored__V1__Volume *was, const struct setting *s,
                    const char *node)
{
    if (s->min_in_sync != 0 && s->min_in_sync != was->min_in_sync)
        log_info(ctl->log, "volume '%s': at least %u of its %u replicas must be in sync, not %u",
                 was->name, s->min_in_sync, was->replicas, was->min_in_sync);
    if (!uuid_is_nil(s->node) && !uuid_equal(s->node, field_uuid(was->node)))
        log_info(ctl->log, "volume '%s': node '%s' %s it now, not %s", was->name, node,
                 was->deleting ? "deletes" : "serves", uuid_format(field_uuid(was->node)).s);
}

struct status volume_set(struct ctl *ctl, const Stored__V1__Volume *record,
                         const struct volume_changes *changes, struct uuid *out_was,
                         struct problem *problem)
{
    struct setting s = { field_uuid(record->uuid), changes->min_in_sync, { { 0 } }, problem };

    problem->s[0] = '\0';
    *out_was = field_uuid(record->node);
    TRY(validate_min_in_sync(record->name, s.min_in_sync, record->replicas, problem));
    if (changes->node[0] != '\0')
        TRY(take_node(ctl, record, changes->node, &s.node, problem));
    const struct status st = meta_transact(ctl->meta, set_build, &s, NULL);
    if (status_is(st, STATUS_EXISTS))
        return STATUS(OK); /* It is so. */
    if (status_ok(st))
        log_set(ctl, record, &s, changes->node);
    else if (problem->s[0] == '\0')
        snprintf(problem->s, sizeof problem->s, "volume '%s': %s", record->name, status_text(st));
    return st;
}

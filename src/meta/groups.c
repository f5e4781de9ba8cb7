/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/groups.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "repl/group_steps.h"

/* ---- The record as stored ---- */

static struct status slot_from_record(const Stored__V1__GroupSlot *r, struct group_slot *out_slot)
{
    *out_slot = (struct group_slot) { .incarnation = r->incarnation,
                                      .since_unix_ms = r->since_unix_ms,
                                      .whole = r->whole };
    if (r->disk.len == 0) {
        out_slot->state = GROUP_SLOT_UNUSED;
        return r->out ? STATUS(CORRUPT) : STATUS(OK);
    }
    out_slot->state = r->out ? GROUP_SLOT_OUT : GROUP_SLOT_IN;
    return record_uuid(r->disk, &out_slot->disk);
}

static struct status copyset_from_record(const Stored__V1__GroupCopyset *r,
                                         struct group_copyset *out_copyset)
{
    *out_copyset = (struct group_copyset) { 0 };
    if (r->n_slots > GROUP_SLOTS)
        return STATUS(CORRUPT);
    for (size_t i = 0; i < r->n_slots; i++)
        TRY(slot_from_record(r->slots[i], &out_copyset->slots[i]));
    return STATUS(OK);
}

struct status group_from_record(const Stored__V1__Group *record, struct group *out_group)
{
    struct group_reason reason;

    if (record->n_copysets > GROUP_COPYSETS_MAX)
        return STATUS(CORRUPT);
    *out_group = (struct group) { .epoch = record->epoch,
                                  .generation = record->generation,
                                  .sequence = record->sequence,
                                  .loss = record->loss,
                                  .copyset_count = (uint32_t)record->n_copysets };
    if (record->owner.len != 0)
        TRY(record_uuid(record->owner, &out_group->owner));
    for (size_t i = 0; i < record->n_copysets; i++)
        TRY(copyset_from_record(record->copysets[i], &out_group->copysets[i]));
    return status_ok(group_check(out_group, &reason)) ? STATUS(OK) : STATUS(CORRUPT);
}

/* A message with room for all that a group may have. */
struct stored_group {
    Stored__V1__Group record;
    Stored__V1__GroupCopyset *copyset_pointers[GROUP_COPYSETS_MAX];
    Stored__V1__GroupCopyset copysets[GROUP_COPYSETS_MAX];
    Stored__V1__GroupSlot *slot_pointers[GROUP_DISKS_MAX];
    Stored__V1__GroupSlot slots[GROUP_DISKS_MAX];
};

static void slot_to_record(const struct group_slot *s, Stored__V1__GroupSlot *r)
{
    stored__v1__group_slot__init(r);
    if (s->state == GROUP_SLOT_UNUSED)
        return;
    r->disk = record_bytes(&s->disk);
    r->out = s->state == GROUP_SLOT_OUT;
    r->incarnation = s->incarnation;
    r->since_unix_ms = s->since_unix_ms;
    r->whole = s->whole;
}

/* Borrows from g. */
static void group_to_record(const struct group *g, struct stored_group *out)
{
    stored__v1__group__init(&out->record);
    out->record.epoch = g->epoch;
    if (!uuid_is_nil(g->owner))
        out->record.owner = record_bytes(&g->owner);
    out->record.generation = g->generation;
    out->record.sequence = g->sequence;
    out->record.loss = g->loss;
    out->record.n_copysets = g->copyset_count;
    out->record.copysets = out->copyset_pointers;
    for (uint32_t i = 0; i < g->copyset_count; i++) {
        Stored__V1__GroupCopyset *c = &out->copysets[i];
        stored__v1__group_copyset__init(c);
        out->copyset_pointers[i] = c;
        c->n_slots = GROUP_SLOTS;
        c->slots = &out->slot_pointers[i * GROUP_SLOTS];
        for (unsigned k = 0; k < GROUP_SLOTS; k++) {
            c->slots[k] = &out->slots[i * GROUP_SLOTS + k];
            slot_to_record(&g->copysets[i].slots[k], c->slots[k]);
        }
    }
}

struct status group_record_get(struct meta *m, struct uuid volume, uint32_t number,
                               struct group *out_group, uint64_t *out_revision)
{
    ProtobufCMessage *found;

    TRY(record_get(m, key_group(volume, number).s, &stored__v1__group__descriptor, &found,
                   out_revision));
    const struct status st =
        group_from_record((const Stored__V1__Group *)(const void *)found, out_group);
    record_free(found);
    return st;
}

void group_record_put(struct meta_txn *txn, struct uuid volume, uint32_t number,
                      const struct group *g, uint64_t revision)
{
    const struct meta_key key = key_group(volume, number);
    struct stored_group *message = malloc(sizeof *message);

    if (message == NULL) {
        txn->status = STATUS(NO_MEMORY);
        return;
    }
    group_to_record(g, message);
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &message->record.base);
    free(message);
}

void group_record_remove(struct meta_txn *txn, struct uuid volume, uint32_t number)
{
    meta_txn_remove(txn, key_group(volume, number).s);
}

/* ---- Epochs ---- */

struct taking {
    const struct group_taking *in;
    struct group *out;
    bool conflict;
};

/* 7.1, 11.10. */
static bool may_take(const struct group_taking *in, const Stored__V1__Volume *volume,
                     struct uuid node)
{
    return uuid_equal(node, in->node) &&
           (in->min_in_sync == 0 || in->min_in_sync == volume->min_in_sync);
}

/* The volume is this node's, and stays it until the commit. */
static struct status MUST_CHECK check_volume(const struct taking *t, struct meta *m,
                                             struct meta_txn *txn, uint32_t *out_replicas)
{
    const struct meta_key key = key_volume(t->in->volume);
    ProtobufCMessage *found;
    struct uuid node;
    uint64_t revision;

    TRY(record_get(m, key.s, &stored__v1__volume__descriptor, &found, &revision));
    const Stored__V1__Volume *volume = (const Stored__V1__Volume *)(const void *)found;
    *out_replicas = volume->replicas;
    struct status st = record_uuid(volume->node, &node);
    if (volume->deleting && volume->replicas > 1)
        st = STATUS(NOT_FOUND); /* Its group is gone already (11.7). */
    else if (status_ok(st) && !may_take(t->in, volume, node))
        st = STATUS(FOREIGN);
    record_free(found);
    meta_txn_expect(txn, key.s, revision);
    return st;
}

static struct status take_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct taking *t = ctx;
    struct group_reason reason;
    uint64_t revision = 0;
    uint32_t replicas;

    TRY(check_volume(t, m, txn, &replicas));
    const struct status st = group_record_get(m, t->in->volume, t->in->number, t->out, &revision);
    if (status_is(st, STATUS_NOT_FOUND)) {
        /* That of a replicated volume was made with it. */
        if (replicas > 1)
            return STATUS(CORRUPT);
        *t->out = (struct group) { 0 };
    } else {
        TRY(st);
    }
    if (t->in->compares && t->out->epoch != t->in->known_epoch) {
        t->conflict = true;
        return STATUS(EXISTS); /* Not CONFLICT, which would be tried again. */
    }
    TRY(group_take_epoch(t->out, t->in->node, t->out, &reason));
    group_record_put(txn, t->in->volume, t->in->number, t->out, revision);
    return STATUS(OK);
}

struct status groups_take_epoch(struct meta *m, const struct group_taking *taking,
                                struct group *out_group)
{
    struct taking t = { .in = taking, .out = out_group };
    const struct status st = meta_transact(m, take_build, &t, NULL);

    return t.conflict ? STATUS(CONFLICT) : st;
}

/* ---- Changes ---- */

static bool is_second(const struct groups_change *changes, unsigned index)
{
    for (unsigned i = 0; i < index; i++)
        if (changes[i].number == changes[index].number &&
            uuid_equal(changes[i].volume, changes[index].volume))
            return true;
    return false;
}

static void fail(struct groups_change *c, struct status st)
{
    c->outcome = GROUPS_FAILED;
    c->status = st;
}

/* Reads the record; true if the change goes into the transaction. */
static bool prepare_one(struct meta *m, struct meta_txn *txn, struct groups_change *c,
                        struct group *current)
{
    uint64_t revision;
    const struct status st = group_record_get(m, c->volume, c->number, current, &revision);

    c->status = st;
    if (status_is(st, STATUS_NOT_FOUND)) {
        c->outcome = GROUPS_GONE;
        return false;
    }
    if (!status_ok(st)) {
        fail(c, st);
        return false;
    }
    if (group_equal(current, c->now)) {
        c->outcome = GROUPS_COMMITTED;
        return false;
    }
    if (!group_equal(current, c->was) && !MUTATION(NO_COMPARE)) {
        c->outcome = GROUPS_CONFLICT;
        if (c->current != NULL)
            *c->current = *current;
        return false;
    }
    group_record_put(txn, c->volume, c->number, c->now, revision);
    return true;
}

/* One attempt; CONFLICT if a record has changed since it was read. */
static struct status MUST_CHECK try_commit(struct meta *m, struct meta_txn *txn,
                                           struct groups_change *changes, unsigned count,
                                           struct group *current)
{
    bool in_txn[GROUPS_CHANGES_MAX] = { false };
    bool any = false;

    for (unsigned i = 0; i < count; i++) {
        if (is_second(changes, i))
            fail(&changes[i], STATUS(INVALID));
        else
            in_txn[i] = prepare_one(m, txn, &changes[i], current);
        any |= in_txn[i];
    }
    /* What could not be put into it is not sent. */
    const bool sent = any && status_ok(txn->status);
    const struct status st = !any ? STATUS(OK) : (sent ? meta_commit(m, txn, NULL) : txn->status);
    for (unsigned i = 0; i < count; i++) {
        if (!in_txn[i])
            continue;
        changes[i].status = st;
        changes[i].outcome = GROUPS_UNKNOWN;
        if (status_ok(st))
            changes[i].outcome = GROUPS_COMMITTED;
        else if (!sent || status_is(st, STATUS_CONFLICT))
            changes[i].outcome = GROUPS_FAILED;
    }
    return st;
}

void groups_commit(struct meta *m, struct groups_change *changes, unsigned count)
{
    struct meta_txn *txn = malloc(sizeof *txn);
    struct group *current = malloc(sizeof *current);
    const bool has_memory = txn != NULL && current != NULL;
    struct status st = STATUS(CONFLICT);

    assert(count <= GROUPS_CHANGES_MAX);
    for (unsigned i = 0; i < count && !has_memory; i++)
        fail(&changes[i], STATUS(NO_MEMORY));
    for (unsigned i = 0; i < META_TRIES_MAX && has_memory && status_is(st, STATUS_CONFLICT); i++) {
        meta_txn_init(txn);
        st = try_commit(m, txn, changes, count, current);
        meta_txn_fini(txn);
    }
    free(current);
    free(txn);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/rebuild_commit.h"

#include <assert.h>

#include "ctl/volume_copysets.h"
#include "ctl/volume_leftovers.h"

struct committing {
    struct ctl *ctl;
    struct groups_change *change;
    bool known; /* The outcome is. */
    struct arena *arena;
    Stored__V1__Volume *record; /* What is new is the arena's. */
    uint32_t *numbers;
};

bool rebuild_is_change(const struct groups_change *c)
{
    assert(c->was->copyset_count == c->now->copyset_count); /* group_check_next() */
    return group_any_disks_differ(c->was, c->now);
}

/* ---- The volume's record ---- */

/* The index of a disk in the record's list, where it is put if it is not there. */
static uint32_t record_disk(struct committing *c, struct uuid disk)
{
    Stored__V1__Volume *r = c->record;

    for (size_t i = 0; i < r->n_disks; i++)
        if (uuid_equal(field_uuid(r->disks[i]), disk))
            return (uint32_t)i;
    ProtobufCBinaryData *disks = arena_alloc(c->arena, (r->n_disks + 1) * sizeof *disks);
    for (size_t i = 0; i < r->n_disks; i++)
        disks[i] = r->disks[i];
    disks[r->n_disks] = arena_uuid_bytes(c->arena, disk);
    r->disks = disks;
    return (uint32_t)r->n_disks++;
}

static void forget_decision(struct committing *c, uint32_t copyset, unsigned slot)
{
    Stored__V1__Volume *r = c->record;
    Stored__V1__Replacement **rest = arena_alloc(c->arena, r->n_replacements * sizeof *rest);
    size_t count = 0;

    for (size_t i = 0; i < r->n_replacements; i++)
        if (r->replacements[i]->copyset != copyset || r->replacements[i]->slot != slot)
            rest[count++] = r->replacements[i];
    r->replacements = rest;
    r->n_replacements = count;
}

static struct status MUST_CHECK check_disk(struct meta *m, struct uuid disk)
{
    struct meta_value value;
    const struct status st = meta_get(m, key_disk(disk).s, &value);

    if (status_is(st, STATUS_NOT_FOUND))
        return STATUS(INVALID);
    TRY(st);
    meta_value_free(&value);
    return STATUS(OK);
}

static struct status MUST_CHECK move_slot(struct committing *c, struct meta *m, uint32_t copyset,
                                          unsigned slot)
{
    Stored__V1__Volume *r = c->record;
    const struct uuid disk = c->change->now->copysets[copyset].slots[slot].disk;

    if (slot >= r->replicas)
        return STATUS(INVALID);
    TRY(check_disk(m, disk));
    const uint32_t index = record_disk(c, disk);
    for (size_t i = 0; i < r->n_placement / r->replicas; i++)
        if (c->numbers[i] == copyset)
            r->placement[i * r->replicas + slot] = index;
    forget_decision(c, copyset, slot);
    (void)volume_drop_leftover(r, disk, c->arena); /* 9.22: it was taken back too late. */
    return STATUS(OK);
}

/* The record's placement and numbers in memory of ours. */
static void own_lists(struct committing *c)
{
    Stored__V1__Volume *r = c->record;
    uint32_t *placement = arena_alloc(c->arena, r->n_placement * sizeof *placement);

    for (size_t i = 0; i < r->n_placement; i++)
        placement[i] = r->placement[i];
    c->numbers = volume_copysets(r, c->arena);
    r->placement = placement;
    r->copysets = c->numbers;
    r->n_copysets = r->n_placement / r->replicas;
}

static struct status MUST_CHECK change_record(struct committing *c, struct meta *m)
{
    const struct group *const was = c->change->was, *const now = c->change->now;

    if (c->record->replicas <= 1)
        return STATUS(INVALID);
    own_lists(c);
    for (uint32_t n = 0; n < now->copyset_count; n++)
        for (unsigned slot = 0; slot < GROUP_SLOTS; slot++)
            if (!uuid_equal(was->copysets[n].slots[slot].disk, now->copysets[n].slots[slot].disk))
                TRY(move_slot(c, m, n, slot));
    for (uint32_t n = 0; n < now->copyset_count; n++)
        for (unsigned slot = 0; slot < GROUP_SLOTS; slot++)
            if (was->copysets[n].slots[slot].state != GROUP_SLOT_UNUSED &&
                !uuid_equal(was->copysets[n].slots[slot].disk, now->copysets[n].slots[slot].disk))
                volume_note_leftover(c->record, was->copysets[n].slots[slot].disk, c->arena);
    return STATUS(OK);
}

/* ---- The transaction ---- */

static struct status known(struct committing *c, enum groups_outcome outcome)
{
    c->change->outcome = outcome;
    c->known = true;
    return STATUS(EXISTS); /* There is nothing to be committed. */
}

/* As the record is: it goes into the transaction, or what became of it is known. */
static struct status MUST_CHECK compare(struct committing *c, struct meta *m,
                                        uint64_t *out_revision)
{
    struct groups_change *change = c->change;
    struct group *current = arena_alloc(c->arena, sizeof *current);
    const struct status st =
        group_record_get(m, change->volume, change->number, current, out_revision);

    if (status_is(st, STATUS_NOT_FOUND))
        return known(c, GROUPS_GONE);
    TRY(st);
    if (group_equal(current, change->now))
        return known(c, GROUPS_COMMITTED);
    if (group_equal(current, change->was))
        return STATUS(OK);
    if (change->current != NULL)
        *change->current = *current;
    return known(c, GROUPS_CONFLICT);
}

static struct status MUST_CHECK build_record(struct committing *c, struct meta *m,
                                             struct meta_txn *txn)
{
    const struct meta_key key = key_volume(c->change->volume);
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, key.s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume record = *(const Stored__V1__Volume *)(const void *)found;
    c->record = &record;
    struct status st = change_record(c, m);
    if (status_ok(st)) {
        meta_txn_expect(txn, key.s, revision);
        record_put(txn, key.s, &record.base);
        st = desired_bump(m, txn, field_uuid(record.node));
    }
    c->record = NULL;
    record_free(found);
    return st;
}

static struct status commit_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct committing *c = ctx;
    uint64_t revision;

    c->arena = &arena;
    TRY(compare(c, m, &revision));
    TRY(build_record(c, m, txn));
    group_record_put(txn, c->change->volume, c->change->number, c->change->now, revision);
    return STATUS(OK);
}

void rebuild_commit(struct ctl *ctl, struct groups_change *change)
{
    struct committing c = { .ctl = ctl, .change = change };
    const struct status st = meta_transact(ctl->meta, commit_build, &c, NULL);

    change->status = st;
    if (c.known)
        return;
    change->outcome = GROUPS_UNKNOWN;
    if (status_ok(st))
        change->outcome = GROUPS_COMMITTED;
    else if (status_is(st, STATUS_INVALID) || status_is(st, STATUS_CONFLICT))
        change->outcome = GROUPS_FAILED;
}

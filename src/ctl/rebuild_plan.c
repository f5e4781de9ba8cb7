/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/rebuild_plan.h"

#include <stdio.h>

#include "ctl/rebuild_place.h"
#include "ctl/volume_copysets.h"
#include "ctl/volume_leftovers.h"
#include "ctl/volume_spread.h"

struct planning {
    struct rebuild *r;
    struct rebuild_scope *scope;
    struct uuid volume;
    struct arena *arena;
    Stored__V1__Volume *record; /* What is new is the arena's. */
    const struct group *group;
    const uint32_t *numbers;
    struct cluster_view *view; /* Of the scope; NULL: not needed yet. */
    uint64_t new_nodes;        /* Of the view: of disks that were chosen. */
    bool changed;
    char text[512]; /* What cannot be rebuilt. */
};

static const char *disk_name(struct planning *p, struct uuid disk)
{
    ProtobufCMessage *found = NULL;
    const char *name = arena_uuid(p->arena, disk);

    if (status_ok(record_get(p->r->ctl->meta, key_disk(disk).s, &stored__v1__disk__descriptor,
                             &found, NULL)))
        name = arena_text(p->arena, ((const Stored__V1__Disk *)(const void *)found)->name);
    record_free(found);
    return name;
}

static uint32_t view_disk(const struct cluster_view *view, struct uuid disk)
{
    uint32_t i = 0;

    while (i < view->disk_count && !uuid_equal(view->disk_uuids[i], disk))
        i++;
    return i;
}

static struct status MUST_CHECK scope_fill(struct rebuild_scope *s, struct ctl *ctl)
{
    struct cluster_view *view = arena_alloc(&s->arena, sizeof *view);

    TRY(cluster_view_read(ctl, (struct uuid) { { 0 } }, true, &s->arena, view));
    s->suspect = arena_alloc(&s->arena, (view->disk_count + 1) * sizeof *s->suspect);
    s->free_bytes = arena_alloc(&s->arena, (view->disk_count + 1) * sizeof *s->free_bytes);
    for (uint32_t i = 0; i < view->disk_count; i++) {
        const struct observed *o = observed_find(ctl, view->nodes[view->disk_nodes[i]].uuid);
        const Trilith__V1__DiskReport *d = observed_disk(o, view->disk_uuids[i]);
        s->free_bytes[i] = d != NULL ? d->free_bytes : 0;
        s->suspect[i] = d != NULL && d->health == TRILITH__V1__DISK_HEALTH__DISK_HEALTH_SUSPECT;
    }
    s->view = view;
    return STATUS(OK);
}

struct status rebuild_scope_need(struct rebuild_scope *s, struct ctl *ctl)
{
    return s->view != NULL ? STATUS(OK) : scope_fill(s, ctl);
}

static struct status MUST_CHECK need_view(struct planning *p)
{
    TRY(rebuild_scope_need(p->scope, p->r->ctl));
    p->view = p->scope->view;
    return STATUS(OK);
}

/* ---- A disk for a slot ---- */

/* Whether the slot is in that state, and its disk such a one. */
static bool is_one(const struct planning *p, uint32_t copyset, unsigned slot,
                   enum group_slot_state state,
                   bool (*is_such)(struct rebuild *r, struct uuid disk))
{
    const struct group_slot *s = &p->group->copysets[copyset].slots[slot];

    return s->state == state && is_such(p->r, s->disk);
}

/* The node of a disk, which may be away. */
static uint32_t node_of(struct planning *p, struct uuid disk)
{
    ProtobufCMessage *found = NULL;
    uint32_t node = CTL_NODES_MAX;

    if (status_ok(record_get(p->r->ctl->meta, key_disk(disk).s, &stored__v1__disk__descriptor,
                             &found, NULL))) {
        const struct uuid uuid = field_uuid(((const Stored__V1__Disk *)(const void *)found)->node);
        for (uint32_t n = 0; n < p->view->placement.node_count; n++)
            node = uuid_equal(p->view->nodes[n].uuid, uuid) ? n : node;
    }
    record_free(found);
    return node;
}

/* Disks that it must not be: that may hold something of the volume, and those with a problem. */
static void avoid(struct planning *p, struct uuid old, struct rebuild_need *need)
{
    const size_t room = p->record->n_leftovers + p->r->disk_count + 1;
    struct uuid *disks = arena_alloc(p->arena, room * sizeof *disks);

    for (size_t i = 0; i < p->record->n_leftovers; i++)
        disks[need->avoid_count++] = field_uuid(p->record->leftovers[i]);
    for (uint32_t i = 0; i < p->r->disk_count; i++)
        disks[need->avoid_count++] = p->r->disks[i].disk;
    disks[need->avoid_count++] = old;
    need->avoid = disks;
}

static struct rebuild_need need_of(struct planning *p, uint32_t copyset, unsigned slot)
{
    const struct group_copyset *c = &p->group->copysets[copyset];
    struct rebuild_need need = {
        .replicas = p->record->replicas,
        .bytes = volume_copyset_bytes(p->record, p->numbers, copyset),
        .stride = cluster_view_nodes_of(p->view, p->record),
        .crowded = p->record->allow_degraded,
        .apart = volume_apart(p->record),
        .free_bytes = p->scope->free_bytes,
        .suspect = p->scope->suspect,
    };

    for (unsigned i = 0; i < p->record->replicas; i++) {
        if (i == slot || c->slots[i].state == GROUP_SLOT_UNUSED)
            continue;
        need.other_nodes[need.other_count] = node_of(p, c->slots[i].disk);
        need.others[need.other_count++] = c->slots[i].disk;
    }
    avoid(p, c->slots[slot].disk, &need);
    return need;
}

/* The disk of the view for a slot; NO_SPACE: none suffices, which is said. */
static struct status MUST_CHECK choose(struct planning *p, uint32_t copyset, unsigned slot,
                                       uint32_t *out_disk)
{
    const struct uuid old = p->group->copysets[copyset].slots[slot].disk;
    const struct rebuild_need need = need_of(p, copyset, slot);
    struct problem why = { "" };
    const struct status st = rebuild_choose(p->view, &need, out_disk, &why);

    if (status_is(st, STATUS_NO_SPACE) && p->text[0] == '\0') /* The first comes first. */
        snprintf(p->text, sizeof p->text, "copyset %u: disk '%s' cannot be %s elsewhere: %.350s",
                 copyset, disk_name(p, old), rebuild_is_failing(p->r, old) ? "moved" : "rebuilt",
                 why.s);
    return st;
}

/* ---- What was decided before (9.16) ---- */

/* An engine that has just been told of it has no session with it yet. */
static bool may_be_used(struct rebuild *r, struct uuid disk)
{
    const struct rebuild_disk *d = rebuild_find_disk(r, disk);

    return d == NULL || (!d->dead && !d->failing &&
                         rpc_now_ns(r->ctl->loop) < d->since_ns + CTL_REBUILD_TRY_MS * NS_PER_MS);
}

/*
 * A move goes on while one of the two disks' nodes is silent for a moment, as what was copied would
 * be lost; not when another slot of the copyset is to be rebuilt, and can be: that comes first.
 */
static bool still_moves(struct planning *p, const Stored__V1__Replacement *d)
{
    uint32_t disk;

    if (rebuild_find_disk(p->r, field_uuid(d->was)) == NULL)
        return false;
    for (unsigned other = 0; other < p->record->replicas; other++)
        if (is_one(p, d->copyset, other, GROUP_SLOT_OUT, rebuild_is_gone) &&
            status_ok(choose(p, d->copyset, other, &disk)))
            return false;
    return true;
}

static bool still_holds(struct planning *p, const Stored__V1__Replacement *d)
{
    const struct uuid was = field_uuid(d->was), disk = field_uuid(d->disk);
    unsigned other;

    if (d->copyset >= p->group->copyset_count || d->slot >= p->record->replicas)
        return false;
    const struct group_slot *slot = &p->group->copysets[d->copyset].slots[d->slot];
    if (slot->state == GROUP_SLOT_UNUSED || !uuid_equal(slot->disk, was) ||
        group_find(p->group, d->copyset, disk, &other) || !may_be_used(p->r, disk))
        return false;
    if (slot->state == GROUP_SLOT_IN)
        return d->moves && still_moves(p, d);
    return rebuild_find_disk(p->r, was) != NULL && view_disk(p->view, disk) < p->view->disk_count;
}

static struct status MUST_CHECK keep_decisions(struct planning *p)
{
    Stored__V1__Volume *v = p->record;
    Stored__V1__Replacement **kept = arena_alloc(p->arena, v->n_replacements * sizeof *kept);
    struct uuid *given_up = arena_alloc(p->arena, v->n_replacements * sizeof *given_up);
    size_t count = 0, given_up_count = 0;

    if (v->n_replacements == 0)
        return STATUS(OK);
    TRY(need_view(p));
    for (size_t i = 0; i < v->n_replacements; i++) {
        if (still_holds(p, v->replacements[i])) {
            kept[count++] = v->replacements[i];
            continue;
        }
        p->changed = true;
        if (v->replacements[i]->moves) /* The engine may have copied to it. */
            given_up[given_up_count++] = field_uuid(v->replacements[i]->disk);
        log_info(p->r->ctl->log, "volume '%s': copyset %u: disk '%s' is not %s disk '%s' any more",
                 v->name, v->replacements[i]->copyset,
                 disk_name(p, field_uuid(v->replacements[i]->was)),
                 v->replacements[i]->moves ? "moved to" : "rebuilt on",
                 disk_name(p, field_uuid(v->replacements[i]->disk)));
    }
    v->replacements = kept;
    v->n_replacements = count;
    for (size_t i = 0; i < given_up_count; i++) /* Now: what holds is the same for all. */
        volume_note_leftover(v, given_up[i], p->arena);
    return STATUS(OK);
}

/* ---- What is decided ---- */

static bool is_decided(const struct planning *p, uint32_t copyset)
{
    for (size_t i = 0; i < p->record->n_replacements; i++)
        if (p->record->replacements[i]->copyset == copyset)
            return true;
    return false;
}

static void add_decision(struct planning *p, uint32_t copyset, unsigned slot, struct uuid disk)
{
    Stored__V1__Volume *v = p->record;
    Stored__V1__Replacement **all = arena_alloc(p->arena, (v->n_replacements + 1) * sizeof *all);
    Stored__V1__Replacement *d = arena_alloc(p->arena, sizeof *d);

    stored__v1__replacement__init(d);
    d->copyset = copyset;
    d->slot = slot;
    d->was = arena_uuid_bytes(p->arena, p->group->copysets[copyset].slots[slot].disk);
    d->disk = arena_uuid_bytes(p->arena, disk);
    d->decided_unix_ms = rpc_wall_ns(p->r->ctl->loop) / NS_PER_MS;
    d->moves = rebuild_is_failing(p->r, p->group->copysets[copyset].slots[slot].disk);
    for (size_t i = 0; i < v->n_replacements; i++)
        all[i] = v->replacements[i];
    all[v->n_replacements++] = d;
    v->replacements = all;
    p->changed = true;
}

/* Nothing, where no disk suffices: then another slot of the copyset has its turn. */
static struct status MUST_CHECK decide_slot(struct planning *p, uint32_t copyset, unsigned slot)
{
    uint32_t disk;

    TRY(need_view(p));
    const struct status st = choose(p, copyset, slot, &disk);
    if (status_is(st, STATUS_NO_SPACE))
        return STATUS(OK);
    TRY(st);
    add_decision(p, copyset, slot, p->view->disk_uuids[disk]);
    p->view->disks[disk].planned_bytes += volume_copyset_bytes(p->record, p->numbers, copyset);
    p->new_nodes |= node_bit(p->view->disk_nodes[disk]);
    return STATUS(OK);
}

/* One slot of a copyset at a time. */
static struct status MUST_CHECK decide_all(struct planning *p, enum group_slot_state state,
                                           bool (*is_such)(struct rebuild *r, struct uuid disk))
{
    for (uint32_t n = 0; n < p->group->copyset_count; n++)
        for (unsigned slot = 0; slot < p->record->replicas; slot++)
            if (is_one(p, n, slot, state, is_such) && !is_decided(p, n))
                TRY(decide_slot(p, n, slot));
    return STATUS(OK);
}

/*
 * What is out, and whose disk is gone, comes before what is on a disk that fails, in all copysets:
 * a move that was given up for such a slot is not decided again before the slot had its turn.
 */
static struct status MUST_CHECK decide(struct planning *p)
{
    TRY(keep_decisions(p));
    TRY(decide_all(p, GROUP_SLOT_OUT, rebuild_is_gone));
    return decide_all(p, GROUP_SLOT_IN, rebuild_is_failing);
}

/* ---- The transaction ---- */

/* The plan has rested on what the nodes were to have: their desired records stay as they are. */
static struct status MUST_CHECK keep_nodes(struct planning *p, struct meta *m, struct meta_txn *txn)
{
    const struct uuid server = field_uuid(p->record->node);
    uint64_t nodes = p->new_nodes;

    while (nodes != 0) {
        const struct uuid node = p->view->nodes[node_mask_next(&nodes)].uuid;
        if (!uuid_equal(node, server))
            TRY(desired_expect(m, txn, node));
    }
    return desired_bump(m, txn, server);
}

static struct status MUST_CHECK plan_record(struct planning *p, struct meta *m,
                                            struct meta_txn *txn, uint64_t revision)
{
    struct group *group = arena_alloc(p->arena, sizeof *group);
    uint64_t group_revision;

    TRY(group_record_get(m, p->volume, 0, group, &group_revision));
    p->group = group;
    p->numbers = volume_copysets(p->record, p->arena);
    TRY(decide(p));
    if (!p->changed)
        return STATUS(EXISTS);
    meta_txn_expect(txn, key_group(p->volume, 0).s, group_revision);
    meta_txn_expect(txn, key_volume(p->volume).s, revision);
    record_put(txn, key_volume(p->volume).s, &p->record->base);
    return keep_nodes(p, m, txn);
}

static struct status plan_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct planning *p = ctx;
    ProtobufCMessage *found;
    uint64_t revision;

    *p = (struct planning) { .r = p->r, .scope = p->scope, .volume = p->volume, .arena = &arena };
    TRY(record_get(m, key_volume(p->volume).s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume record = *(const Stored__V1__Volume *)(const void *)found;
    p->record = &record;
    const struct status st = record.deleting ? STATUS(EXISTS) : plan_record(p, m, txn, revision);
    p->record = NULL;
    record_free(found);
    return st;
}

static void log_decisions(struct rebuild *r, struct uuid volume)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct planning p = { .r = r, .arena = &arena };
    ProtobufCMessage *found = NULL;

    if (!status_ok(record_get(r->ctl->meta, key_volume(volume).s, &stored__v1__volume__descriptor,
                              &found, NULL)))
        return;
    const Stored__V1__Volume *v = (const Stored__V1__Volume *)(const void *)found;
    for (size_t i = 0; i < v->n_replacements; i++)
        log_warning(r->ctl->log, "volume '%s': copyset %u: disk '%s' is to be %s disk '%s'",
                    v->name, v->replacements[i]->copyset,
                    disk_name(&p, field_uuid(v->replacements[i]->was)),
                    v->replacements[i]->moves ? "moved to" : "rebuilt on",
                    disk_name(&p, field_uuid(v->replacements[i]->disk)));
    record_free(found);
}

void rebuild_plan_volume(struct rebuild *r, struct rebuild_scope *scope,
                         const Stored__V1__Volume *v)
{
    struct planning p = { .r = r, .scope = scope, .volume = field_uuid(v->uuid) };
    const struct status st = meta_transact(r->ctl->meta, plan_build, &p, NULL);

    if (!status_ok(st) && !status_is(st, STATUS_EXISTS) && !status_is(st, STATUS_NOT_FOUND)) {
        snprintf(p.text, sizeof p.text, "what is gone could not be rebuilt elsewhere: %s",
                 status_text(st));
    } else if (status_ok(st)) {
        log_decisions(r, p.volume);
    }
    rebuild_say_problem(r, REBUILD_REPLICAS, v, p.text);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/rebuild_server.h"

#include <assert.h>
#include <stdio.h>

#include "ctl/volume_set.h"
#include "repl/group_steps.h"

/* ---- Whether an engine could begin ---- */

static bool works(const struct server_disks *disks, struct uuid disk)
{
    uint32_t i = 0;

    while (i < disks->count && !uuid_equal(disks->uuids[i], disk))
        i++;
    return i < disks->count;
}

/*
 * The sessions that an engine could have for a copyset, as if nothing had lost power since: what
 * has, the engine finds out.
 */
static struct group_sessions sessions_of(const struct group_copyset *c,
                                         const struct server_disks *disks,
                                         struct group_session items[GROUP_SLOTS])
{
    uint32_t count = 0;

    for (unsigned slot = 0; slot < GROUP_SLOTS; slot++) {
        const uint64_t recorded = c->slots[slot].incarnation;
        if (works(disks, c->slots[slot].disk)) /* An empty slot has the nil UUID: no disk. */
            items[count++] = (struct group_session) { .disk = c->slots[slot].disk,
                                                      .incarnation = recorded != 0 ? recorded : 1 };
    }
    return (struct group_sessions) { items, count };
}

/* 7.4: enough members; or as in 11.4 a single one, beside a replica that it can be resynced to. */
static struct status MUST_CHECK check_copyset(const struct server_need *need, uint32_t copyset,
                                              const struct server_disks *disks,
                                              struct problem *problem)
{
    struct group_session items[GROUP_SLOTS];
    const struct group_view view = {
        .sessions = sessions_of(&need->group->copysets[copyset], disks, items),
        .min_in_sync = need->min_in_sync,
    };
    const unsigned wanted = group_members_min(need->min_in_sync);
    const unsigned reached = group_reached(need->group, copyset, &view.sessions);
    const bool empty = (reached & ~group_with_nothing(need->group, copyset)) == 0;
    const unsigned have = empty ? 0 : (unsigned)__builtin_popcount(reached);

    if (have >= wanted || (group_silent(need->group, copyset, &view) != 0 &&
                           group_reached_out(need->group, copyset, &view.sessions) != 0))
        return STATUS(OK);
    snprintf(problem->s, sizeof problem->s,
             "of the %d replicas of copyset %u that are in sync, %u %s on disks that work of nodes "
             "that report, and %u must be",
             __builtin_popcount(group_members(need->group, copyset)), copyset, have,
             have == 1 ? "is" : "are", wanted);
    return STATUS(UNAVAILABLE);
}

/* ---- Which node ---- */

/* In how many copysets each node has a member. */
static void count_members(const struct group *g, const struct server_disks *disks, uint32_t *held)
{
    unsigned slot;

    for (uint32_t n = 0; n < g->copyset_count; n++) {
        uint64_t nodes = 0;
        for (uint32_t i = 0; i < disks->count; i++)
            if (group_find(g, n, disks->uuids[i], &slot) &&
                g->copysets[n].slots[slot].state == GROUP_SLOT_IN)
                nodes |= node_bit(disks->nodes[i]);
        while (nodes != 0)
            held[node_mask_next(&nodes)]++;
    }
}

static bool is_better(const struct cluster_view *view, const uint32_t *held, uint32_t a, uint32_t b)
{
    if (held[a] != held[b])
        return held[a] > held[b];
    return view->serves[a] < view->serves[b];
}

struct status server_choose(const struct cluster_view *view, const struct server_disks *disks,
                            const struct server_need *need, uint32_t *out_node,
                            struct problem *problem)
{
    uint32_t held[CTL_NODES_MAX] = { 0 };
    uint64_t targets = view->targets;

    for (uint32_t n = 0; n < need->group->copyset_count; n++)
        TRY(check_copyset(need, n, disks, problem));
    if (targets == 0) {
        snprintf(problem->s, sizeof problem->s, "no node with the role 'target' reports");
        return STATUS(UNAVAILABLE);
    }
    count_members(need->group, disks, held);
    uint32_t best = node_mask_next(&targets);
    while (targets != 0) {
        const uint32_t node = node_mask_next(&targets);
        best = is_better(view, held, node, best) ? node : best;
    }
    *out_node = best;
    return STATUS(OK);
}

/* ---- What works ---- */

static void add_disks(struct server_disks *disks, const struct observed *o, uint32_t node)
{
    for (size_t i = 0; i < o->report->n_disks && disks->count < CTL_DISKS_MAX; i++) {
        const struct uuid uuid = field_uuid(o->report->disks[i]->uuid);
        if (o->report->disks[i]->failure[0] != '\0' || works(disks, uuid))
            continue;
        disks->uuids[disks->count] = uuid;
        disks->nodes[disks->count++] = (uint8_t)node;
    }
}

static void find_working(struct rebuild_scope *scope, struct ctl *ctl)
{
    struct server_disks *disks = arena_alloc(&scope->arena, sizeof *disks);

    for (uint32_t n = 0; n < scope->view->placement.node_count; n++) {
        const struct observed *o = observed_find(ctl, scope->view->nodes[n].uuid);
        if (observed_connected(ctl, o))
            add_disks(disks, o, n);
    }
    scope->working = disks;
}

/* ---- The transaction ---- */

struct serving {
    struct rebuild *r;
    struct rebuild_scope *scope;
    struct uuid volume;
    struct uuid gone; /* Its node. */
    uint32_t next;    /* Of the view: that takes its place. */
    bool sent;        /* It was in a transaction. */
    struct problem problem;
};

static struct status MUST_CHECK serve_record(struct serving *s, struct meta *m,
                                             struct meta_txn *txn, Stored__V1__Volume *record,
                                             uint64_t revision)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct group *group = arena_alloc(&arena, sizeof *group);
    const struct server_need need = { group, record->min_in_sync };
    uint64_t group_revision;

    if (record->deleting || !uuid_equal(field_uuid(record->node), s->gone))
        return STATUS(EXISTS); /* Somebody was quicker. */
    TRY(group_record_get(m, s->volume, 0, group, &group_revision));
    TRY(rebuild_scope_need(s->scope, s->r->ctl));
    if (s->scope->working == NULL)
        find_working(s->scope, s->r->ctl);
    TRY(server_choose(s->scope->view, s->scope->working, &need, &s->next, &s->problem));
    const struct uuid *const next = &s->scope->view->nodes[s->next].uuid;
    volume_set_node(record, next);
    meta_txn_expect(txn, key_group(s->volume, 0).s, group_revision);
    meta_txn_expect(txn, key_volume(s->volume).s, revision);
    record_put(txn, key_volume(s->volume).s, &record->base);
    s->sent = true;
    TRY(desired_bump(m, txn, s->gone));
    return desired_bump(m, txn, *next);
}

static struct status serve_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct serving *s = ctx;
    ProtobufCMessage *found;
    uint64_t revision;

    s->problem.s[0] = '\0';
    TRY(record_get(m, key_volume(s->volume).s, &stored__v1__volume__descriptor, &found, &revision));
    Stored__V1__Volume record = *(const Stored__V1__Volume *)(const void *)found;
    const struct status st = serve_record(s, m, txn, &record, revision);
    record_free(found);
    return st;
}

static void say_served(struct serving *s, const Stored__V1__Volume *v)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct ctl *ctl = s->r->ctl;

    rebuild_say_problem(s->r, REBUILD_SERVER, v, "");
    s->scope->view->serves[s->next]++;
    log_warning(ctl->log, "volume '%s': node '%s' is gone: node '%s' serves it now", v->name,
                node_name_read(ctl, s->gone, &arena),
                node_name_read(ctl, s->scope->view->nodes[s->next].uuid, &arena));
}

/* ---- Nodes that others hear ---- */

/* Nil: nobody knows. */
static struct uuid node_of_disk(struct ctl *ctl, struct uuid disk)
{
    ProtobufCMessage *found;

    if (!status_ok(
            record_get(ctl->meta, key_disk(disk).s, &stored__v1__disk__descriptor, &found, NULL)))
        return (struct uuid) { 0 };
    const struct uuid node = field_uuid(((const Stored__V1__Disk *)(const void *)found)->node);
    record_free(found);
    return node;
}

/*
 * Writes wait for a member that the server cannot reach, or that has failed, as it can exclude
 * nobody without the controller.
 */
static bool is_waited_for(struct rebuild *r, const struct group_slot *slot, struct uuid server)
{
    if (slot->state != GROUP_SLOT_IN || rebuild_is_failing(r, slot->disk))
        return false;
    const struct uuid node = node_of_disk(r->ctl, slot->disk);
    if (uuid_is_nil(node) || uuid_equal(node, server))
        return false;
    const struct observed *const o = observed_find(r->ctl, node);
    const bool gone = rebuild_is_gone(r, slot->disk);
    if (!observed_connected(r->ctl, o))
        return gone && rebuild_heard_by(r, node) == NULL;
    return rebuild_is_deaf(r, node, server) || (gone && (rebuild_find_disk(r, slot->disk)->dead ||
                                                         observed_disk(o, slot->disk) == NULL));
}

static bool is_stuck(struct rebuild *r, const Stored__V1__Volume *v)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    struct group *g = arena_alloc(&arena, sizeof *g);
    uint64_t revision;

    if (!status_ok(group_record_get(r->ctl->meta, field_uuid(v->uuid), 0, g, &revision)))
        return false;
    for (uint32_t n = 0; n < g->copyset_count; n++)
        for (unsigned slot = 0; slot < GROUP_SLOTS; slot++)
            if (is_waited_for(r, &g->copysets[n].slots[slot], field_uuid(v->node)))
                return true;
    return false;
}

static void say_heard(struct rebuild *r, const Stored__V1__Volume *v, struct uuid by)
{
    CLEANUP(arena_free) struct arena arena = { 0 };

    rebuild_say_problem(
        r, REBUILD_SERVER, v,
        arena_printf(&arena,
                     "node '%s' does not report, but node '%s' has heard it lately: only the way "
                     "to the controller is broken, and it is left to serve",
                     node_name_read(r->ctl, field_uuid(v->node), &arena),
                     node_name_read(r->ctl, by, &arena)));
}

static void say_not_served(struct serving *s, const Stored__V1__Volume *v, struct status st)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const char *const node = node_name_read(s->r->ctl, s->gone, &arena);

    rebuild_say_problem(s->r, REBUILD_SERVER, v,
                        arena_printf(&arena, "node '%s' is gone, and no other one can serve it: %s",
                                     node,
                                     s->problem.s[0] != '\0' ? s->problem.s : status_text(st)));
}

bool rebuild_serve_elsewhere(struct rebuild *r, struct rebuild_scope *scope,
                             const Stored__V1__Volume *v)
{
    struct serving s = {
        .r = r, .scope = scope, .volume = field_uuid(v->uuid), .gone = field_uuid(v->node)
    };
    const struct uuid *const heard_by = rebuild_heard_by(r, s.gone);
    if (heard_by != NULL && !is_stuck(r, v)) {
        say_heard(r, v, *heard_by);
        return false;
    }
    const struct status st = meta_transact(r->ctl->meta, serve_build, &s, NULL);

    if (status_ok(st))
        say_served(&s, v);
    else if (!status_is(st, STATUS_EXISTS) && !status_is(st, STATUS_NOT_FOUND))
        say_not_served(&s, v, st);
    if (!status_ok(st) && s.sent)
        nodes_tell_later(r->ctl); /* It may have been committed all the same. */
    return status_ok(st);
}

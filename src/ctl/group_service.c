/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GroupService of api/trilith/v1/group.proto: the transactions of meta/groups.h for the nodes
 * on which engines run.  A node changes nothing but records of which it is the owner.
 */
#include <stdio.h>

#include "ctl/ctl_internal.h"
#include "ctl/rebuild_commit.h"
#include "meta/groups.h"
#include "rpc/group_message.h"

/* Groups of one call. */
struct batch {
    struct arena arena;
    struct uuid node;
};

static void batch_free(struct batch *b)
{
    arena_free(&b->arena);
}

/* The call's node; what it has failed with otherwise. */
static bool take_node(struct rpc_call *call, ProtobufCBinaryData field, struct uuid *out_node)
{
    struct problem problem;

    if (status_ok(validate_uuid(field, "node_uuid", out_node, &problem)))
        return true;
    rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem.s);
    return false;
}

static bool check_count(struct rpc_call *call, size_t count)
{
    if (count > 0 && count <= GROUPS_CHANGES_MAX)
        return true;
    rpc_fail(call, RPC_INVALID_ARGUMENT, "%zu groups in one call: from 1 to %u are possible", count,
             GROUPS_CHANGES_MAX);
    return false;
}

/* The volume of a name; NULL, or what is wrong with it. */
static const char *take_name(const Trilith__V1__GroupName *name, struct uuid *out_volume)
{
    if (name == NULL || !group_uuid_from_message(name->volume_uuid, out_volume))
        return "it names no volume";
    return name->group == 0 ? NULL : "a volume has group 0 alone";
}

/* ---- GetGroups ---- */

/* Fails only if it cannot be said: then the call is to be repeated. */
static struct status MUST_CHECK get_one(struct ctl *ctl, const Trilith__V1__GroupName *name,
                                        struct arena *arena, Trilith__V1__GroupState *state)
{
    struct group *g = arena_alloc(arena, sizeof *g);
    struct uuid volume;

    trilith__v1__group_state__init(state);
    const char *problem = take_name(name, &volume);
    if (problem != NULL) {
        state->problem = arena_text(arena, problem);
        return STATUS(OK);
    }
    const struct status st = group_record_get(ctl->meta, volume, name->group, g, NULL);
    if (status_ok(st))
        state->record = group_to_message(g, arena);
    else if (status_is(st, STATUS_CORRUPT) || status_is(st, STATUS_BAD_VERSION))
        state->problem = arena_text(arena, status_text(st));
    else if (!status_is(st, STATUS_NOT_FOUND))
        return st;
    return STATUS(OK);
}

static void on_get_groups(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__GetGroupsResponse reply = TRILITH__V1__GET_GROUPS_RESPONSE__INIT;
    const Trilith__V1__GetGroupsRequest *r =
        (const Trilith__V1__GetGroupsRequest *)(const void *)message;
    struct status st = STATUS(OK);
    struct uuid node;

    if (!take_node(call, r->node_uuid, &node) || !check_count(call, r->n_groups))
        return;
    reply.n_groups = r->n_groups;
    reply.groups = arena_alloc(&arena, r->n_groups * sizeof *reply.groups);
    for (size_t i = 0; i < r->n_groups && status_ok(st); i++) {
        reply.groups[i] = arena_alloc(&arena, sizeof *reply.groups[i]);
        st = get_one(ctx, r->groups[i], &arena, reply.groups[i]);
    }
    if (status_ok(st))
        rpc_reply(call, &reply.base);
    else
        ctl_fail(call, st, "the groups could not be read");
}

/* ---- TakeGroup ---- */

static void take_group(struct ctl *ctl, struct rpc_call *call, const struct group_taking *taking)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__TakeGroupResponse reply = TRILITH__V1__TAKE_GROUP_RESPONSE__INIT;
    struct group *g = arena_alloc(&arena, sizeof *g);
    const struct status st = groups_take_epoch(ctl->meta, taking, g);

    if (!status_ok(st) && !status_is(st, STATUS_CONFLICT)) {
        rpc_fail(call, rpc_code_of(st), "volume %s: no epoch for node %s: %s",
                 uuid_format(taking->volume).s, uuid_format(taking->node).s, status_text(st));
        return;
    }
    reply.taken = status_ok(st);
    reply.record = group_to_message(g, &arena);
    if (reply.taken)
        log_info(ctl->log, "volume %s: node %s has epoch %llu", uuid_format(taking->volume).s,
                 uuid_format(taking->node).s, (unsigned long long)g->epoch);
    rpc_reply(call, &reply.base);
}

static void on_take_group(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__TakeGroupRequest *r =
        (const Trilith__V1__TakeGroupRequest *)(const void *)message;
    struct group_taking t = { .compares = true,
                              .known_epoch = r->known_epoch,
                              .min_in_sync = r->min_in_sync };

    if (!take_node(call, r->node_uuid, &t.node))
        return;
    const char *problem = take_name(r->group, &t.volume);
    if (problem != NULL)
        rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem);
    else
        take_group(ctx, call, &t);
}

/* ---- CommitGroups ---- */

/* Checks a change and builds it; NULL, or what is wrong with it. */
static const char *take_change(const Trilith__V1__GroupChange *m, struct batch *b,
                               struct groups_change *out_change)
{
    struct group *was = arena_alloc(&b->arena, sizeof *was);
    struct group *now = arena_alloc(&b->arena, sizeof *now);
    struct group_reason *reason = arena_alloc(&b->arena, sizeof *reason);
    const char *problem = take_name(m->group, &out_change->volume);

    if (problem != NULL)
        return problem;
    if (!status_ok(group_from_message(m->was, was, reason)) ||
        !status_ok(group_from_message(m->now, now, reason)) ||
        !status_ok(group_check_next(was, now, reason)))
        return reason->s;
    if (!uuid_equal(was->owner, b->node))
        return "the node is not its owner";
    out_change->was = was;
    out_change->now = now;
    out_change->current = arena_alloc(&b->arena, sizeof *out_change->current);
    return NULL;
}

static Trilith__V1__GroupOutcome outcome_of(const struct groups_change *c)
{
    switch (c->outcome) {
    case GROUPS_COMMITTED:
        return TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_COMMITTED;
    case GROUPS_CONFLICT:
        return TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_CONFLICT;
    case GROUPS_GONE:
        return TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_GONE;
    case GROUPS_UNKNOWN:
        return TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_UNKNOWN;
    case GROUPS_FAILED:
        break;
    }
    return status_is(c->status, STATUS_INVALID) ? TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_INVALID
                                                : TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_FAILED;
}

static Trilith__V1__GroupResult *result_new(struct arena *arena)
{
    Trilith__V1__GroupResult *r = arena_alloc(arena, sizeof *r);

    trilith__v1__group_result__init(r);
    return r;
}

static void fill_result(const struct groups_change *c, Trilith__V1__GroupResult *r,
                        struct arena *arena)
{
    r->outcome = outcome_of(c);
    if (c->outcome == GROUPS_CONFLICT)
        r->record = group_to_message(c->current, arena);
    if (c->outcome == GROUPS_FAILED || c->outcome == GROUPS_UNKNOWN)
        r->problem = arena_text(arena, status_text(c->status));
}

static void note_change(struct ctl *ctl, const struct groups_change *c)
{
    if (c->outcome != GROUPS_COMMITTED)
        return;
    ctl->group_changes++;
    log_info(ctl->log, "volume %s: its group has changed, sequence %llu", uuid_format(c->volume).s,
             (unsigned long long)c->now->sequence);
}

/* The changes that make sense are committed together; the others have their results already. */
static void commit_batch(struct ctl *ctl, const Trilith__V1__CommitGroupsRequest *request,
                         struct batch *b, Trilith__V1__GroupResult **results)
{
    struct groups_change changes[GROUPS_CHANGES_MAX] = { 0 };
    Trilith__V1__GroupResult *of[GROUPS_CHANGES_MAX];
    unsigned count = 0;

    for (size_t i = 0; i < request->n_changes; i++) {
        results[i] = result_new(&b->arena);
        const char *problem = take_change(request->changes[i], b, &changes[count]);
        if (problem == NULL && rebuild_is_change(&changes[count])) {
            rebuild_commit(ctl, &changes[count]); /* A transaction of its own. */
            fill_result(&changes[count], results[i], &b->arena);
            note_change(ctl, &changes[count]);
            ctl->group_commits++;
            continue;
        }
        if (problem == NULL) {
            of[count++] = results[i];
            continue;
        }
        results[i]->outcome = TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_INVALID;
        results[i]->problem = arena_text(&b->arena, problem);
    }
    groups_commit(ctl->meta, changes, count);
    for (unsigned i = 0; i < count; i++) {
        fill_result(&changes[i], of[i], &b->arena);
        note_change(ctl, &changes[i]);
    }
    ctl->group_commits += count > 0;
}

static bool check_copysets(struct rpc_call *call, const Trilith__V1__CommitGroupsRequest *r)
{
    size_t copysets = 0;

    for (size_t i = 0; i < r->n_changes; i++)
        copysets += r->changes[i]->now != NULL ? r->changes[i]->now->n_copysets : 0;
    if (copysets <= GROUPS_CHANGED_COPYSETS_MAX)
        return true;
    rpc_fail(call, RPC_INVALID_ARGUMENT, "%zu copysets in one call: up to %u are possible",
             copysets, GROUPS_CHANGED_COPYSETS_MAX);
    return false;
}

static void on_commit_groups(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(batch_free) struct batch b = { .arena = { 0 } };
    Trilith__V1__CommitGroupsResponse reply = TRILITH__V1__COMMIT_GROUPS_RESPONSE__INIT;
    const Trilith__V1__CommitGroupsRequest *r =
        (const Trilith__V1__CommitGroupsRequest *)(const void *)message;

    if (!take_node(call, r->node_uuid, &b.node) || !check_count(call, r->n_changes) ||
        !check_copysets(call, r))
        return;
    reply.n_results = r->n_changes;
    reply.results = arena_alloc(&b.arena, r->n_changes * sizeof *reply.results);
    commit_batch(ctx, r, &b, reply.results);
    rpc_reply(call, &reply.base);
}

const struct rpc_method group_methods[] = {
    { "GetGroups", on_get_groups },
    { "TakeGroup", on_take_group },
    { "CommitGroups", on_commit_groups },
};

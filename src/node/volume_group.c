/* SPDX-License-Identifier: Apache-2.0 */
#include "node/volume_group.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "node/node_internal.h"
#include "repl/group_steps.h"

static void on_canceled(struct io_task *task);

struct volume_group *volume_group_create(struct node_volume *v)
{
    struct volume_group *g = calloc(1, sizeof *g);

    if (g == NULL)
        return NULL;
    g->volume = v;
    io_task_init(&g->cancel, on_canceled);
    return g;
}

void volume_group_destroy(struct volume_group *g)
{
    assert(g == NULL || (g->taken == NULL && g->committed == NULL));
    free(g);
}

/* ---- Tuples: what the record and the placement must agree on ---- */

static bool tuple_is(const struct group_copyset *c, const struct node_volume *v, uint32_t shard)
{
    for (uint32_t slot = 0; slot < v->desc.replicas; slot++)
        if (!uuid_equal(c->slots[slot].disk, v->disks[v->placement[shard].disk[slot]]))
            return false;
    return true;
}

/* The copyset of a shard, which has its disks; copyset_count if there is none. */
static uint32_t copyset_of(const struct group *g, const struct node_volume *v, uint32_t shard)
{
    const uint32_t wanted = v->placement[shard].copyset;
    uint32_t n = wanted != 0 ? wanted - 1 : 0;
    const uint32_t end = wanted != 0 && wanted < g->copyset_count ? wanted : g->copyset_count;

    while (n < end && !tuple_is(&g->copysets[n], v, shard))
        n++;
    return n < end ? n : g->copyset_count;
}

bool volume_group_fits(const struct volume_group *g)
{
    bool used[GROUP_COPYSETS_MAX] = { false };
    uint32_t count = 0;

    for (uint32_t shard = 0; shard < g->volume->shard_count; shard++) {
        const uint32_t n = copyset_of(&g->record, g->volume, shard);
        if (n == g->record.copyset_count)
            return false;
        count += used[n] ? 0 : 1;
        used[n] = true;
    }
    return count == g->record.copyset_count;
}

/* Copysets are added in the order of their numbers: a shard with the next one, or without any. */
static struct status MUST_CHECK add_copyset(struct group *g, const struct node_volume *v,
                                            uint32_t shard)
{
    struct uuid tuple[1][GROUP_SLOTS] = { 0 };
    struct group_reason reason;

    for (uint32_t slot = 0; slot < v->desc.replicas; slot++)
        tuple[0][slot] = v->disks[v->placement[shard].disk[slot]];
    return group_extend(g, (const struct uuid(*)[GROUP_SLOTS])tuple, 1, g, &reason);
}

struct status volume_group_for_deletion(struct volume_group *g)
{
    const struct node_volume *v = g->volume;

    g->record = (struct group) { 0 };
    for (uint32_t shard = 0; shard < v->shard_count; shard++) {
        const uint32_t wanted = v->placement[shard].copyset;
        const bool is_next = wanted == 0 || wanted > g->record.copyset_count;
        if (is_next && copyset_of(&g->record, v, shard) == g->record.copyset_count)
            TRY(add_copyset(&g->record, v, shard));
    }
    return STATUS(OK);
}

/* ---- 7.0 ---- */

/* The disks of the volume that can be reached, as if they had answered already. */
static struct group_sessions sessions_in_reach(const struct node_volume *v,
                                               struct group_session *items)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < v->disk_count && count < GROUP_DISKS_MAX; i++)
        if (node_volume_reaches(v, i))
            items[count++] = (struct group_session) { .disk = v->disks[i] };
    return (struct group_sessions) { items, count };
}

/* Whether each copyset can have enough members; false with why. */
static bool reaches_enough(const struct volume_group *g, char why[NODE_REASON_BYTES])
{
    const struct node_volume *v = g->volume;
    const unsigned wanted = group_members_min(v->desc.min_in_sync);
    struct group_session items[GROUP_DISKS_MAX];
    const struct group_sessions in_reach = sessions_in_reach(v, items);

    for (uint32_t n = 0; n < g->record.copyset_count; n++) {
        const unsigned members = group_members(&g->record, n);
        const unsigned reached = group_reached(&g->record, n, &in_reach);
        const unsigned missing = members & ~reached;
        const unsigned have = (unsigned)__builtin_popcount(reached);
        const unsigned out = group_reached_out(&g->record, n, &in_reach);
        const bool one_of_two = wanted == 2 && have == 1 && __builtin_popcount(members) == 2;
        if (have >= wanted || (one_of_two && out != 0)) /* 11.4: it can be resynced. */
            continue;
        const int at = snprintf(
            why, NODE_REASON_BYTES, "of %d replica%s in sync %u can be reached, and %u must",
            __builtin_popcount(members), __builtin_popcount(members) == 1 ? "" : "s", have, wanted);
        if (missing != 0)
            snprintf(
                why + at, NODE_REASON_BYTES - (size_t)at, ": disk '%s' is missing",
                node_volume_disk_name(v, g->record.copysets[n].slots[__builtin_ctz(missing)].disk)
                    .s);
        return false;
    }
    return true;
}

/* ---- 7.1 ---- */

static void take_end(struct volume_group *g, struct status status, const char *why)
{
    void (*const taken)(struct node_volume *, struct status, const char *) = g->taken;

    g->taken = NULL;
    taken(g->volume, status, why); /* g may be gone. */
}

static void take_begin(struct volume_group *g);
static void on_taken(struct group_op *op, struct status status);

/* The record is still the one of which the disks know more. */
static bool is_outdone(const struct volume_group *g)
{
    return g->outdone_epoch != 0 && g->record.epoch == g->outdone_epoch &&
           g->record.sequence == g->outdone_sequence;
}

/* The record is known: takes the epoch after it, if that makes sense. */
static void take_after(struct volume_group *g)
{
    struct node *node = g->volume->node;
    char why[NODE_REASON_BYTES];

    if (node->stopping) {
        take_end(g, STATUS(CANCELED), "the node is stopping");
    } else if (!volume_group_fits(g)) {
        take_end(g, STATUS(CONFLICT),
                 "its group is newer than what the controller has told so far");
    } else if (is_outdone(g)) {
        take_end(g, STATUS(STALE_EPOCH),
                 "its disks know more of it than the controller, whose state is an old one: put "
                 "back its last state");
    } else if (!reaches_enough(g, why)) {
        take_end(g, STATUS(UNAVAILABLE), why);
    } else if (MUTATION(EPOCH_NOT_TAKEN) && g->record.epoch > 0) {
        take_end(g, STATUS(OK), "");
    } else {
        g->op.min_in_sync = g->volume->desc.min_in_sync;
        g->op.done = on_taken;
        node->ops->group_take(node->ctx, &g->op, g->record.epoch);
    }
}

static void take_failed(struct volume_group *g, struct status status)
{
    char why[NODE_REASON_BYTES];

    snprintf(why, sizeof why, "no epoch from the controller: %s",
             status_is(status, STATUS_FOREIGN)
                 ? "it has another node or min_in_sync for the volume, "
                   "of which it has not told yet"
                 : status_text(status));
    take_end(g, status, why);
}

static void on_taken(struct group_op *op, struct status status)
{
    struct volume_group *g = CONTAINER_OF(op, struct volume_group, op);

    if (op->min_in_sync != g->volume->desc.min_in_sync && !g->volume->node->stopping)
        take_begin(g); /* 11.10: another one was told of meanwhile. */
    else if (status_ok(status))
        take_end(g, STATUS(OK), "");
    else if (status_is(status, STATUS_CONFLICT))
        take_after(g); /* Of an attempt whose answer was lost, or of another engine. */
    else
        take_failed(g, status);
}

static void on_read(struct group_op *op, struct status status)
{
    struct volume_group *g = CONTAINER_OF(op, struct volume_group, op);

    if (status_ok(status))
        take_after(g);
    else
        take_failed(g, status);
}

static void take_begin(struct volume_group *g)
{
    struct node *node = g->volume->node;

    g->op =
        (struct group_op) { .volume = g->volume->desc.uuid, .record = &g->record, .done = on_read };
    node->ops->group_get(node->ctx, &g->op);
}

void volume_group_take(struct volume_group *g,
                       void (*taken)(struct node_volume *v, struct status status, const char *why))
{
    assert(g->taken == NULL);
    g->taken = taken;
    take_begin(g);
}

/* ---- Reading alone ---- */

static void on_read_again(struct group_op *op, struct status status)
{
    struct volume_group *g = CONTAINER_OF(op, struct volume_group, op);

    take_end(g, status, status_text(status));
}

void volume_group_read(struct volume_group *g,
                       void (*read)(struct node_volume *v, struct status status, const char *why))
{
    struct node *node = g->volume->node;

    assert(g->taken == NULL);
    g->taken = read;
    g->op = (struct group_op) { .volume = g->volume->desc.uuid,
                                .record = &g->record,
                                .done = on_read_again };
    node->ops->group_get(node->ctx, &g->op);
}

/* ---- 6.3 ---- */

static void commit_end(struct volume_group *g, struct status status)
{
    void (*const committed)(void *ctx, struct status status) = g->committed;

    g->committed = NULL;
    committed(g->committed_ctx, status);
    if (!status_ok(status))
        node_volume_on_fenced(g->volume);
}

static void on_canceled(struct io_task *task)
{
    commit_end(CONTAINER_OF(task, struct volume_group, cancel), STATUS(CANCELED));
}

static void on_committed(struct group_op *op, struct status status)
{
    commit_end(CONTAINER_OF(op, struct volume_group, commit), status);
}

static void group_commit(void *ctx, const struct group *was, const struct group *now,
                         void (*done)(void *done_ctx, struct status status), void *done_ctx)
{
    struct volume_group *g = ctx;
    struct node *node = g->volume->node;

    assert(g->committed == NULL);
    g->committed = done;
    g->committed_ctx = done_ctx;
    if (node->stopping) { /* Nobody answers any more. */
        reactor_defer(node->home, &g->cancel);
        return;
    }
    g->commit = (struct group_op) { .volume = g->volume->desc.uuid,
                                    .record = &g->record,
                                    .done = on_committed };
    node->ops->group_commit(node->ctx, &g->commit, was, now);
}

static void group_fenced(void *ctx)
{
    const struct volume_group *g = ctx;

    node_volume_on_fenced(g->volume);
}

const struct volume_meta_ops volume_group_meta_ops = { group_commit, group_fenced };

/* ---- 7.4 ---- */

bool volume_group_waited(const struct volume_group *g)
{
    return g->waits_since_ns != 0 &&
           reactor_now_ns(g->volume->node->home) - g->waits_since_ns >= VOLUME_GROUP_WAIT_NS;
}

void volume_group_on_opened(struct volume_group *g, struct status status)
{
    g->outdone_epoch = status_is(status, STATUS_STALE_EPOCH) ? g->record.epoch : 0;
    g->outdone_sequence = g->record.sequence;
    if (!status_is(status, STATUS_BUSY))
        g->waits_since_ns = 0;
    else if (g->waits_since_ns == 0)
        g->waits_since_ns = max_u64(reactor_now_ns(g->volume->node->home), 1);
}

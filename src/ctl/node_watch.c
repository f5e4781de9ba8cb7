/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/node_watch.h"

#include <assert.h>
#include <stdlib.h>

#include "ctl/volume_copysets.h"
#include "nvme/nqn.h"

/* ---- The node's part ---- */

/* Distinct disks of all volumes, so that a placement is an index of a byte or two. */
struct disk_table {
    ProtobufCBinaryData *uuids;
    size_t count;
};

static uint32_t disk_index(struct disk_table *t, ProtobufCBinaryData uuid, struct arena *arena)
{
    const struct uuid wanted = field_uuid(uuid);
    for (size_t i = 0; i < t->count; i++)
        if (uuid_equal(field_uuid(t->uuids[i]), wanted))
            return (uint32_t)i;
    t->uuids = arena_grow(arena, t->uuids, t->count, sizeof *t->uuids);
    t->uuids[t->count] = arena_uuid_bytes(arena, wanted);
    return (uint32_t)t->count++;
}

/* A tuple is named once, by the number of its copyset: there are at most CTL_TUPLES_MAX of them. */
static void part_tuples(const Stored__V1__Volume *r, const uint32_t *indexes,
                        Trilith__V1__DesiredVolume *v, struct arena *arena)
{
    const size_t shards = r->n_placement / r->replicas;
    const uint32_t *const numbers = volume_copysets(r, arena);

    v->n_tuples = (size_t)volume_copyset_count(numbers, shards) * r->replicas;
    v->tuples = arena_alloc(arena, v->n_tuples * sizeof *v->tuples);
    for (size_t i = 0; i < shards; i++) {
        for (uint32_t slot = 0; slot < r->replicas; slot++) {
            const uint32_t disk = r->placement[i * r->replicas + slot];
            assert(disk < r->n_disks); /* We wrote it so. */
            v->tuples[numbers[i] * r->replicas + slot] = indexes[disk];
        }
        v->placement[v->n_placement++] = numbers[i];
    }
}

static void part_replacements(const Stored__V1__Volume *r, struct disk_table *t,
                              Trilith__V1__DesiredVolume *v, struct arena *arena)
{
    v->replacements = arena_alloc(arena, r->n_replacements * sizeof *v->replacements);
    for (size_t i = 0; i < r->n_replacements; i++) {
        const Stored__V1__Replacement *from = r->replacements[i];
        Trilith__V1__DesiredReplacement *m = arena_alloc(arena, sizeof *m);
        trilith__v1__desired_replacement__init(m);
        m->copyset = from->copyset;
        m->slot = from->slot;
        m->was = disk_index(t, from->was, arena);
        m->disk = disk_index(t, from->disk, arena);
        m->moves = from->moves;
        v->replacements[v->n_replacements++] = m;
    }
}

static Trilith__V1__DesiredVolume *part_volume(const Stored__V1__Volume *r, struct disk_table *t,
                                               struct arena *arena)
{
    Trilith__V1__DesiredVolume *v = arena_alloc(arena, sizeof *v);
    uint32_t *indexes = arena_alloc(arena, r->n_disks * sizeof *indexes);
    struct nqn_text nqn = { "" };

    trilith__v1__desired_volume__init(v);
    if (status_ok(nqn_for_volume(r->name, &nqn)))
        v->nqn = arena_text(arena, nqn.s);
    v->uuid = r->uuid;
    v->name = r->name;
    v->bytes = r->bytes;
    v->shard_bytes = r->shard_bytes;
    v->lba_bytes = r->lba_bytes;
    v->stripe_width = r->stripe_width;
    v->stripe_unit_bytes = r->stripe_unit_bytes;
    v->replicas = r->replicas;
    v->min_in_sync = r->min_in_sync;
    v->continue_on_unflushed_loss = r->continue_on_unflushed_loss;
    v->deleting = r->deleting;
    v->first_run_shards = r->first_run_shards;
    v->allowed_hosts = r->allowed_hosts;
    v->n_allowed_hosts = r->n_allowed_hosts;
    for (size_t i = 0; i < r->n_disks; i++)
        indexes[i] = disk_index(t, r->disks[i], arena);
    v->delete_epoch = r->delete_epoch;
    v->placement = arena_alloc(arena, r->n_placement * sizeof *v->placement);
    if (r->replicas > 1) {
        part_tuples(r, indexes, v, arena);
        part_replacements(r, t, v, arena);
        v->leftovers = arena_alloc(arena, r->n_leftovers * sizeof *v->leftovers);
        for (size_t i = 0; i < r->n_leftovers; i++)
            v->leftovers[v->n_leftovers++] = disk_index(t, r->leftovers[i], arena);
        return v;
    }
    v->n_placement = r->n_placement;
    for (size_t i = 0; i < r->n_placement; i++) {
        assert(r->placement[i] < r->n_disks); /* We wrote it so. */
        v->placement[i] = indexes[r->placement[i]];
    }
    return v;
}

/* ---- Where its disks are ---- */

static uint32_t node_index(struct ctl *ctl, Trilith__V1__WatchNodeResponse *reply, struct uuid node,
                           struct arena *arena)
{
    ProtobufCMessage *found = NULL;

    for (size_t i = 0; i < reply->n_nodes; i++)
        if (uuid_equal(field_uuid(reply->nodes[i]->uuid), node))
            return (uint32_t)i;
    Trilith__V1__NodePlace *n = arena_alloc(arena, sizeof *n);
    trilith__v1__node_place__init(n);
    if (!uuid_is_nil(node))
        n->uuid = arena_uuid_bytes(arena, node);
    if (status_ok(
            record_get(ctl->meta, key_node(node).s, &stored__v1__node__descriptor, &found, NULL))) {
        const Stored__V1__Node *r = (const Stored__V1__Node *)(const void *)found;
        n->address = arena_text(arena, r->address);
        n->port = r->port;
        n->name = arena_text(arena, r->name);
    }
    record_free(found);
    reply->nodes = arena_grow(arena, reply->nodes, reply->n_nodes, sizeof(void *));
    reply->nodes[reply->n_nodes] = n;
    return (uint32_t)reply->n_nodes++;
}

/* What cannot be read now is not known: the node asks for it when it needs it. */
static void part_places(struct ctl *ctl, Trilith__V1__WatchNodeResponse *reply, struct arena *arena)
{
    reply->places = arena_alloc(arena, reply->n_disk_uuids * sizeof *reply->places);
    for (size_t i = 0; i < reply->n_disk_uuids; i++) {
        Trilith__V1__DiskPlace *p = arena_alloc(arena, sizeof *p);
        ProtobufCMessage *found = NULL;
        struct uuid node = { { 0 } };
        trilith__v1__disk_place__init(p);
        if (status_ok(record_get(ctl->meta, key_disk(field_uuid(reply->disk_uuids[i])).s,
                                 &stored__v1__disk__descriptor, &found, NULL))) {
            const Stored__V1__Disk *d = (const Stored__V1__Disk *)(const void *)found;
            p->name = arena_text(arena, d->name);
            node = field_uuid(d->node);
        }
        record_free(found);
        p->node = node_index(ctl, reply, node, arena);
        reply->places[reply->n_places++] = p;
    }
}

/* ---- Who may use its stores ---- */

/* Borrows from the records. */
static void part_members(const struct records *nodes, Trilith__V1__WatchNodeResponse *reply,
                         struct arena *arena)
{
    reply->members = arena_alloc(arena, nodes->count * sizeof *reply->members);
    for (size_t i = 0; i < nodes->count; i++)
        reply->members[reply->n_members++] =
            ((const Stored__V1__Node *)(const void *)nodes->items[i])->uuid;
}

/* ---- All of it ---- */

/* Borrows from the records. */
static void part_fill(const struct records *volumes, struct uuid node,
                      Trilith__V1__WatchNodeResponse *reply, struct arena *arena)
{
    struct disk_table table = { 0 };

    reply->volumes = arena_alloc(arena, volumes->count * sizeof *reply->volumes);
    for (size_t i = 0; i < volumes->count; i++) {
        const Stored__V1__Volume *r = (const Stored__V1__Volume *)(const void *)volumes->items[i];
        if (uuid_equal(field_uuid(r->node), node))
            reply->volumes[reply->n_volumes++] = part_volume(r, &table, arena);
    }
    reply->disk_uuids = table.uuids;
    reply->n_disk_uuids = table.count;
}

/* Borrows from the record, which may be NULL. */
static void part_orders(const struct ctl *ctl, struct uuid node, const Stored__V1__Desired *desired,
                        Trilith__V1__WatchNodeResponse *reply, struct arena *arena)
{
    const size_t count = desired != NULL ? desired->n_orders : 0;

    reply->orders = arena_alloc(arena, count * sizeof *reply->orders);
    for (size_t i = 0; i < count; i++) {
        const Stored__V1__DiskOrder *r = desired->orders[i];
        if (order_is_void(ctl, node, r))
            continue;
        Trilith__V1__DiskOrder *o = arena_alloc(arena, sizeof *o);
        trilith__v1__disk_order__init(o);
        o->id = r->id;
        o->remove = r->remove;
        o->grow = r->grow;
        o->path = r->path;
        o->name = r->name;
        o->force = r->force;
        o->disk_uuid = r->disk;
        reply->orders[reply->n_orders++] = o;
    }
}

static void reply_part(struct ctl *ctl, struct rpc_call *call, struct uuid node, uint64_t revision)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__WatchNodeResponse reply = TRILITH__V1__WATCH_NODE_RESPONSE__INIT;
    Stored__V1__Desired *desired = NULL;
    struct records volumes = { 0 };
    struct records nodes = { 0 };

    struct status st = records_read(ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes);
    if (status_ok(st))
        st = records_read(ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes);
    if (status_ok(st))
        st = desired_read(ctl, node, &desired);
    if (status_ok(st)) {
        reply.revision = revision;
        part_fill(&volumes, node, &reply, &arena);
        verifications_fill(ctl, &reply);
        scrubs_fill(ctl, node, &reply, &arena);
        part_places(ctl, &reply, &arena);
        part_orders(ctl, node, desired, &reply, &arena);
        part_members(&nodes, &reply, &arena);
        rpc_reply(call, &reply.base);
    } else {
        ctl_fail(call, st, "the node's part could not be read");
    }
    if (desired != NULL)
        record_free(&desired->base);
    records_free(&nodes);
    records_free(&volumes);
}

/* ---- Holding ---- */

static struct status part_revision(struct ctl *ctl, struct uuid node, uint64_t *out_revision)
{
    struct meta_value value;
    TRY(meta_get(ctl->meta, key_desired(node).s, &value));
    *out_revision = value.revision;
    meta_value_free(&value);
    return STATUS(OK);
}

static void watch_free(struct node_watch *w)
{
    list_remove(&w->link);
    rpc_timer_disarm(&w->timer);
    free(w);
}

/* Time is up: the node hears that nothing has changed, and asks again. */
static void on_watch_timer(struct rpc_timer *timer)
{
    struct node_watch *w = CONTAINER_OF(timer, struct node_watch, timer);
    Trilith__V1__WatchNodeResponse reply = TRILITH__V1__WATCH_NODE_RESPONSE__INIT;

    reply.revision = w->known_revision;
    rpc_reply(w->call, &reply.base);
    watch_free(w);
}

static void on_watch_canceled(struct rpc_call *call)
{
    struct node_watch *w = call->ctx;
    watch_free(w);
    rpc_fail(call, RPC_CANCELLED, "the caller has gone");
}

static void watch_hold(struct ctl *ctl, struct rpc_call *call, struct uuid node,
                       const Trilith__V1__WatchNodeRequest *request)
{
    struct node_watch *w = calloc(1, sizeof *w);
    if (w == NULL) {
        ctl_fail(call, STATUS(NO_MEMORY), "the watch could not be held");
        return;
    }
    w->call = call;
    w->ctl = ctl;
    w->node = node;
    w->known_revision = request->known_revision;
    call->canceled = on_watch_canceled;
    call->ctx = w;
    list_node_init(&w->link);
    list_push_back(&ctl->node_watches, &w->link);
    rpc_timer_init(&w->timer, on_watch_timer);
    const uint64_t ms = request->wait_ms != 0 ? request->wait_ms : CTL_WAIT_MS_DEF;
    rpc_timer_arm(ctl->loop, &w->timer, rpc_now_ns(ctl->loop) + ms * NS_PER_MS);
}

/* A node has one watch: what it held before was lost on the way, or it has started anew. */
static void end_older(struct ctl *ctl, struct uuid node)
{
    LIST_FOR_EACH (n, &ctl->node_watches) {
        struct node_watch *w = CONTAINER_OF(n, struct node_watch, link);
        if (!uuid_equal(w->node, node))
            continue;
        rpc_fail(w->call, RPC_ABORTED, "a newer watch of this node has come");
        watch_free(w);
    }
}

void on_watch_node(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Trilith__V1__WatchNodeRequest *request =
        (const Trilith__V1__WatchNodeRequest *)(const void *)message;
    struct ctl *ctl = ctx;
    struct problem problem;
    struct uuid node;
    uint64_t revision;

    if (!status_ok(validate_uuid(request->node_uuid, "node_uuid", &node, &problem)) ||
        !status_ok(validate_wait(request->wait_ms, &problem))) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem.s);
        return;
    }
    const struct status st = part_revision(ctl, node, &revision);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "node %s: %s", uuid_format(node).s,
                 status_is(st, STATUS_NOT_FOUND) ? "it has not joined" : status_text(st));
        return;
    }
    end_older(ctl, node);
    if (revision != request->known_revision)
        reply_part(ctl, call, node, revision);
    else
        watch_hold(ctl, call, node, request);
}

void node_watches_answer(struct ctl *ctl, struct uuid node)
{
    uint64_t revision;

    LIST_FOR_EACH (n, &ctl->node_watches) {
        struct node_watch *w = CONTAINER_OF(n, struct node_watch, link);
        if (!uuid_equal(w->node, node) || !status_ok(part_revision(ctl, node, &revision)) ||
            revision == w->known_revision)
            continue;
        reply_part(ctl, w->call, node, revision);
        watch_free(w);
    }
}

void node_watches_end(struct ctl *ctl)
{
    LIST_FOR_EACH (n, &ctl->node_watches) {
        struct node_watch *w = CONTAINER_OF(n, struct node_watch, link);
        rpc_fail(w->call, RPC_UNAVAILABLE, "the controller is stopping");
        watch_free(w);
    }
}

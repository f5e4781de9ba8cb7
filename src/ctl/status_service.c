/* SPDX-License-Identifier: Apache-2.0 */
/* The StatusService of api/trilith/v1/status.proto. */
#include "base/size.h"
#include "ctl/disk_view.h"
#include "ctl/loss_service.h"

struct summary {
    struct ctl *ctl;
    struct arena *arena;
    Trilith__V1__GetStatusResponse *reply;
};

#define add_problem(s, ...) problem_add((s), arena_printf((s)->arena, __VA_ARGS__))

static void problem_add(struct summary *s, char *text)
{
    s->reply->problems =
        arena_grow(s->arena, s->reply->problems, s->reply->n_problems, sizeof(char *));
    s->reply->problems[s->reply->n_problems++] = text;
}

/* ---- Nodes ---- */

static void node_problems(struct summary *s, const char *name, const struct observed *o)
{
    if (!observed_connected(s->ctl, o)) {
        if (o == NULL || o->report == NULL)
            add_problem(s, "node '%s' has not reported since the controller started", name);
        else
            add_problem(
                s, "node '%s' has not reported for %llu s", name,
                (unsigned long long)((rpc_now_ns(s->ctl->loop) - o->seen_ns) / (1000 * NS_PER_MS)));
        return;
    }
    for (size_t i = 0; i < o->report->n_disk_problems; i++)
        add_problem(s, "node '%s': disk at '%s': %s", name, o->report->disk_problems[i]->path,
                    o->report->disk_problems[i]->text);
}

/* All that it has, by name. */
static void roles_view(Trilith__V1__NodeSummary *n, uint32_t roles, struct arena *arena)
{
    n->roles = arena_alloc(arena, 2 * sizeof *n->roles);
    if ((roles & ROLE_STORE) != 0)
        n->roles[n->n_roles++] = TRILITH__V1__NODE_ROLE__NODE_ROLE_STORE;
    if ((roles & ROLE_TARGET) != 0)
        n->roles[n->n_roles++] = TRILITH__V1__NODE_ROLE__NODE_ROLE_TARGET;
}

static struct status add_nodes(struct summary *s)
{
    struct records nodes;

    TRY(records_read(s->ctl, KEY_NODES, &stored__v1__node__descriptor, &nodes));
    s->reply->nodes = arena_alloc(s->arena, nodes.count * sizeof *s->reply->nodes);
    for (size_t i = 0; i < nodes.count; i++) {
        const Stored__V1__Node *r = (const Stored__V1__Node *)(const void *)nodes.items[i];
        const struct observed *o = observed_find(s->ctl, field_uuid(r->uuid));
        Trilith__V1__NodeSummary *n = arena_alloc(s->arena, sizeof *n);
        trilith__v1__node_summary__init(n);
        n->uuid = arena_uuid(s->arena, field_uuid(r->uuid));
        n->name = arena_text(s->arena, r->name);
        n->address = arena_text(s->arena, r->address);
        n->port = r->port;
        n->zone = arena_text(s->arena, r->zone);
        n->rack = arena_text(s->arena, r->rack);
        roles_view(n, node_roles(r), s->arena);
        n->connected = observed_connected(s->ctl, o);
        n->version = arena_text(s->arena, o != NULL ? o->version : "");
        if (n->connected) {
            n->disks = (uint32_t)o->report->n_disks;
            n->volumes = (uint32_t)o->report->n_volumes;
            n->io_features = o->report->io_features; /* Lent until the reply is packed. */
            n->n_io_features = o->report->n_io_features;
            n->refusals = o->report->refusals; /* Likewise. */
            n->n_refusals = o->report->n_refusals;
        }
        s->reply->nodes[s->reply->n_nodes++] = n;
        node_problems(s, n->name, o);
        if (n->volumes > 0 && (node_roles(r) & ROLE_TARGET) == 0)
            add_problem(s,
                        "node '%s' serves %u volumes from before it lost the role 'target'; run it "
                        "with the role until they are deleted, or let another one serve those of "
                        "several replicas ('trilith volume set --node')",
                        n->name, n->volumes);
    }
    records_free(&nodes);
    if (s->reply->n_nodes == 0)
        add_problem(s, "no node has joined yet");
    return STATUS(OK);
}

/* ---- Disks ---- */

static void disk_problems(struct summary *s, const Trilith__V1__Disk *d)
{
    if (d->state != TRILITH__V1__DISK_STATE__DISK_STATE_READY) {
        add_problem(s, "disk '%s': %s", d->name, d->reason);
        return;
    }
    if (d->health == TRILITH__V1__DISK_HEALTH__DISK_HEALTH_SUSPECT)
        add_problem(s, "disk '%s': suspect: %s", d->name, d->health_reason);
    if (d->health == TRILITH__V1__DISK_HEALTH__DISK_HEALTH_FAILING)
        add_problem(s, "disk '%s': failing: %s; it takes no new shards, and %s", d->name,
                    d->health_reason,
                    s->ctl->rebuild.after_ns == CTL_REBUILD_NEVER
                        ? "nothing is moved elsewhere (--rebuild-after off)"
                        : "the replicas on it are being moved elsewhere, except where it has the "
                          "only one");
    if (d->media_errors > 0)
        add_problem(s, "disk '%s': %llu blocks failed their checksum", d->name,
                    (unsigned long long)d->media_errors);
    if (d->free_bytes < d->bytes / 100 * CTL_FREE_PERCENT_LOW)
        add_problem(s,
                    "disk '%s': %s of %s are free; when it is full, volumes that lie on it refuse "
                    "what needs space",
                    d->name, size_format(d->free_bytes).s, size_format(d->bytes).s);
}

/* A node that reports a disk which counts as another's: disk_record.c. */
static void double_problems(struct summary *s, const Trilith__V1__Disk *d)
{
    struct uuid disk, node;

    if (d->state == TRILITH__V1__DISK_STATE__DISK_STATE_OFFLINE ||
        !status_ok(uuid_parse(d->uuid, &disk)))
        return;
    for (size_t i = 0; i < s->reply->n_nodes; i++) {
        const Trilith__V1__NodeSummary *n = s->reply->nodes[i];
        const struct observed *o =
            status_ok(uuid_parse(n->uuid, &node)) ? observed_find(s->ctl, node) : NULL;
        if (observed_connected(s->ctl, o) && observed_has_foreign(o, disk))
            add_problem(s,
                        "disk '%s': nodes '%s' and '%s' both report it; it counts as that of '%s': "
                        "restart the one that it was taken out of; if both have it, one has a "
                        "copy, which must be taken away",
                        d->name, d->node, n->name, d->node);
    }
}

static struct status add_disks(struct summary *s)
{
    struct disk_list list;

    TRY(disks_view(s->ctl, s->arena, &list));
    s->reply->disks = (uint32_t)list.count;
    for (size_t i = 0; i < list.count; i++) {
        const Trilith__V1__Disk *d = list.disks[i];
        s->reply->bytes += d->bytes;
        s->reply->free_bytes += d->free_bytes;
        s->reply->planned_bytes += d->planned_bytes;
        s->reply->disks_ready += d->state == TRILITH__V1__DISK_STATE__DISK_STATE_READY;
        disk_problems(s, d);
        double_problems(s, d);
    }
    return STATUS(OK);
}

/* ---- Volumes ---- */

static struct status add_volumes(struct summary *s)
{
    struct records volumes;

    TRY(records_read(s->ctl, KEY_VOLUMES, &stored__v1__volume__descriptor, &volumes));
    s->reply->volumes = (uint32_t)volumes.count;
    for (size_t i = 0; i < volumes.count; i++) {
        const Trilith__V1__Volume *v = volume_view(
            s->ctl, (const Stored__V1__Volume *)(const void *)volumes.items[i], s->arena);
        const bool ready = v->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY;
        s->reply->volumes_ready += ready;
        if (!ready || v->reason[0] != '\0')
            add_problem(s, "volume '%s': %s", v->spec->name, v->reason);
        if (v->writes_wait[0] != '\0')
            add_problem(s, "volume '%s': writes wait: %s", v->spec->name, v->writes_wait);
        if (v->n_unreadable > 0)
            add_problem(s, "volume '%s': no replica can read all of the %llu bytes at %llu%s",
                        v->spec->name, (unsigned long long)v->unreadable[0]->bytes,
                        (unsigned long long)v->unreadable[0]->offset,
                        v->n_unreadable > 1 || v->unreadable_more ? ", and others" : "");
        for (size_t k = 0; k < v->n_degraded; k++)
            add_problem(s, "volume '%s': degraded: %s", v->spec->name, v->degraded[k]);
    }
    records_free(&volumes);
    return STATUS(OK);
}

static struct status add_all(struct summary *s)
{
    TRY(add_nodes(s));
    TRY(add_disks(s));
    return add_volumes(s);
}

static void on_get_status(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__GetStatusResponse reply = TRILITH__V1__GET_STATUS_RESPONSE__INIT;
    struct ctl *ctl = ctx;
    struct summary s = { ctl, &arena, &reply };
    char *controllers[1] = { ctl->address };

    (void)message;
    reply.cluster = ctl->cluster_name;
    reply.cluster_uuid = arena_uuid(&arena, ctl->cluster);
    reply.version = ctl->version;
    reply.controllers = controllers;
    reply.n_controllers = 1;
    reply.group_changes = ctl->group_changes;
    reply.group_commits = ctl->group_commits;
    const struct status st = add_all(&s);
    if (status_ok(st))
        rpc_reply(call, &reply.base);
    else
        ctl_fail(call, st, "the status could not be read");
}

const struct rpc_method status_methods[] = {
    { "GetStatus", on_get_status },
    { "GetLoss", on_get_loss },
};

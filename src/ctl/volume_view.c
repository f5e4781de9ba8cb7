/* SPDX-License-Identifier: Apache-2.0 */
/* A volume as the API shows it: its record, and what its node says of it. */
#include "base/size.h"
#include "ctl/ctl_internal.h"
#include "ctl/volume_replicas.h"
#include "ctl/volume_spread.h"
#include "nvme/nqn.h"

static Trilith__V1__VolumeSpec *spec_view(const Stored__V1__Volume *r, struct arena *arena)
{
    Trilith__V1__VolumeSpec *s = arena_alloc(arena, sizeof *s);

    trilith__v1__volume_spec__init(s);
    s->name = arena_text(arena, r->name);
    s->bytes = r->bytes;
    s->lba_bytes = r->lba_bytes;
    s->shard_bytes = r->shard_bytes;
    s->stripe_width = r->stripe_width;
    s->stripe_unit_bytes = r->stripe_unit_bytes;
    s->replicas = r->replicas;
    s->min_in_sync = r->min_in_sync;
    s->stride_nodes = r->stride_nodes;
    s->allow_degraded = r->allow_degraded;
    if (r->replicas > 1)
        s->apart = (Trilith__V1__FailureDomain)(volume_apart(r) + 1);
    s->on_unflushed_loss = r->continue_on_unflushed_loss
                               ? TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE
                               : TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_ERROR;
    s->n_allowed_hosts = r->n_allowed_hosts;
    s->allowed_hosts = arena_alloc(arena, r->n_allowed_hosts * sizeof *s->allowed_hosts);
    for (size_t i = 0; i < r->n_allowed_hosts; i++)
        s->allowed_hosts[i] = arena_text(arena, r->allowed_hosts[i]);
    return s;
}

static void unreadable_view(Trilith__V1__Volume *v, const Trilith__V1__VolumeReport *report,
                            struct arena *arena)
{
    v->n_unreadable = report->n_unreadable;
    v->unreadable = arena_alloc(arena, v->n_unreadable * sizeof *v->unreadable);
    for (size_t i = 0; i < v->n_unreadable; i++) {
        v->unreadable[i] = arena_alloc(arena, sizeof *v->unreadable[i]);
        trilith__v1__volume_range__init(v->unreadable[i]);
        v->unreadable[i]->offset = report->unreadable[i]->offset;
        v->unreadable[i]->bytes = report->unreadable[i]->bytes;
    }
    v->unreadable_more = report->unreadable_more;
}

static void state_view(Trilith__V1__Volume *v, const Trilith__V1__VolumeReport *report,
                       bool connected, struct arena *arena)
{
    v->state = TRILITH__V1__VOLUME_STATE__VOLUME_STATE_OPENING;
    if (report == NULL) {
        v->reason = arena_text(arena, "its node has not opened it yet");
        return;
    }
    v->used_bytes = report->used_bytes;
    v->served_bytes = report->bytes;
    v->resync_compared_bytes = report->resync_compared_bytes;
    v->resync_copied_bytes = report->resync_copied_bytes;
    if (connected) /* It may have been written since. */
        unreadable_view(v, report, arena);
    v->n_connected_hosts = report->n_connected_hosts;
    v->connected_hosts = arena_alloc(arena, v->n_connected_hosts * sizeof *v->connected_hosts);
    for (size_t i = 0; i < report->n_connected_hosts; i++)
        v->connected_hosts[i] = arena_text(arena, report->connected_hosts[i]);
    if (report->state == TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY)
        v->state = TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY;
    if (report->state == TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_FAILED)
        v->state = TRILITH__V1__VOLUME_STATE__VOLUME_STATE_FAILED;
    v->reason = arena_text(arena, report->reason);
}

/* Its node does not report: what becomes of it. */
static char *away_view(struct ctl *ctl, const Stored__V1__Volume *r, const char *node,
                       struct arena *arena)
{
    const char *const problem = rebuild_problem(&ctl->rebuild, REBUILD_SERVER, field_uuid(r->uuid));
    const uint64_t left_ns = rebuild_server_left_ns(&ctl->rebuild, field_uuid(r->node));

    if (r->replicas <= 1)
        return arena_printf(arena, "node '%s' does not report", node);
    if (problem != NULL)
        return arena_text(arena, problem);
    if (left_ns == UINT64_MAX)
        return arena_printf(arena,
                            "node '%s' does not report; 'trilith volume set --node' lets another "
                            "one serve it",
                            node);
    return arena_printf(arena,
                        "node '%s' does not report; another one serves it in %llu s, or at once "
                        "with 'trilith volume set --node'",
                        node, (unsigned long long)((left_ns / NS_PER_MS + 999) / 1000));
}

/* Who serves it, and how the node is. */
static void node_view(struct ctl *ctl, const Stored__V1__Volume *r, Trilith__V1__Volume *v,
                      struct arena *arena)
{
    const struct uuid uuid = field_uuid(r->node);
    const struct observed *o = observed_find(ctl, uuid);
    const bool connected = observed_connected(ctl, o);
    ProtobufCMessage *found = NULL;
    const char *name = "?";

    if (status_ok(
            record_get(ctl->meta, key_node(uuid).s, &stored__v1__node__descriptor, &found, NULL))) {
        const Stored__V1__Node *node = (const Stored__V1__Node *)(const void *)found;
        Trilith__V1__VolumeTarget *target = arena_alloc(arena, sizeof *target);
        trilith__v1__volume_target__init(target);
        target->node = arena_text(arena, node->name);
        target->address = arena_text(arena, node->address);
        target->port = node->port;
        v->targets = arena_alloc(arena, sizeof *v->targets);
        v->targets[0] = target;
        v->n_targets = 1;
        name = target->node;
    }
    record_free(found);
    state_view(v, observed_volume(o, field_uuid(r->uuid)), connected, arena);
    if (v->state == TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY && v->served_bytes != 0 &&
        v->served_bytes < r->bytes && v->reason[0] == '\0')
        v->reason = arena_printf(arena, "hosts see %s of it until its node has grown it",
                                 size_format(v->served_bytes).s);
    if (!connected) {
        v->state = TRILITH__V1__VOLUME_STATE__VOLUME_STATE_OFFLINE;
        v->reason = away_view(ctl, r, name, arena);
    }
    if (r->deleting && !connected)
        v->reason = arena_printf(arena, "waiting for node '%s', which does not report%s", name,
                                 r->replicas > 1 ? "; 'trilith volume set --node' lets another one "
                                                   "delete it"
                                                 : "");
    else if (r->deleting && v->reason[0] == '\0')
        v->reason = arena_printf(arena, "waiting for node '%s' to delete its data", name);
    if (r->deleting)
        v->state = TRILITH__V1__VOLUME_STATE__VOLUME_STATE_DELETING;
}

/* Whether a shard of the volume lies on the disk of this index. */
static bool has_shard_on(const Stored__V1__Volume *r, size_t disk)
{
    for (size_t i = 0; i < r->n_placement; i++)
        if (r->placement[i] == disk)
            return true;
    return false;
}

static void disks_view(const Stored__V1__Volume *r, const struct volume_place *places,
                       Trilith__V1__Volume *v, struct arena *arena)
{
    v->disks = arena_alloc(arena, r->n_disks * sizeof *v->disks);
    for (size_t i = 0; i < r->n_disks; i++)
        if (has_shard_on(r, i)) /* Else it is one of the node's that was not chosen. */
            v->disks[v->n_disks++] = arena_text(arena, places[i].name);
}

Trilith__V1__Volume *volume_view(struct ctl *ctl, const Stored__V1__Volume *record,
                                 struct arena *arena)
{
    Trilith__V1__Volume *v = arena_alloc(arena, sizeof *v);
    struct nqn_text nqn = { "" };

    trilith__v1__volume__init(v);
    /* The name was checked before it was stored. */
    if (status_ok(nqn_for_volume(record->name, &nqn)))
        v->nqn = arena_text(arena, nqn.s);
    v->uuid = arena_uuid(arena, field_uuid(record->uuid));
    v->spec = spec_view(record, arena);
    v->shards = (uint32_t)(record->n_placement / max_u64(record->replicas, 1));
    v->created_unix_ms = record->created_unix_ms;
    const struct volume_place *places = volume_places(ctl, record, arena);
    node_view(ctl, record, v, arena);
    disks_view(record, places, v, arena);
    volume_replicas_view(ctl, record, places, v, arena);
    return v;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The NodeService of api/trilith/v1/node.proto, but for WatchNode (node_watch.c). */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl_internal.h"
#include "ctl/node_watch.h"
#include "meta/groups.h"

/* ---- The order of what a node says ---- */

/* A call that has come after a newer one of the same process. */
static bool is_late(const struct observed *o, uint64_t instance, uint64_t number)
{
    return o != NULL && instance != 0 && instance == o->instance && number <= o->number;
}

/* One of another process than that which has joined last: either may be the older. */
static bool is_others(const struct observed *o, uint64_t instance)
{
    return o != NULL && instance != 0 && o->instance != 0 && instance != o->instance;
}

static void note_call(struct observed *o, uint64_t instance, uint64_t number)
{
    if (instance == 0)
        return;
    o->instance = instance;
    o->number = number;
}

/* ---- JoinCluster ---- */

struct joining {
    struct ctl *ctl;
    const Trilith__V1__JoinClusterRequest *request;
    struct uuid node;
    uint32_t index; /* Out. */
    bool moved;     /* Out: it was not known, or at another address. */
    bool late;      /* Out: the node has said something newer since; nothing has changed. */
    struct problem problem;
};

/* The name belongs to this node or to nobody. */
static struct status join_name(struct joining *j, struct meta *m, struct meta_txn *txn)
{
    const struct meta_key key = key_node_name(j->request->name);
    Stored__V1__Name name = STORED__V1__NAME__INIT;
    ProtobufCMessage *found;

    const struct status st = record_get(m, key.s, &stored__v1__name__descriptor, &found, NULL);
    if (status_is(st, STATUS_NOT_FOUND)) {
        name.uuid = record_bytes(&j->node);
        meta_txn_expect(txn, key.s, 0);
        record_put(txn, key.s, &name.base);
        return STATUS(OK);
    }
    TRY(st);
    const struct uuid owner = field_uuid(((const Stored__V1__Name *)(const void *)found)->uuid);
    record_free(found);
    if (uuid_equal(owner, j->node))
        return STATUS(OK);
    snprintf(j->problem.s, sizeof j->problem.s,
             "node '%s': another node has this name already; start this one with another",
             j->request->name);
    return STATUS(EXISTS);
}

/* The next node index, which is never given twice: CNTLIDs follow from it. */
static struct status join_index(struct joining *j, struct meta *m, struct meta_txn *txn)
{
    ProtobufCMessage *found;
    uint64_t revision;

    TRY(record_get(m, KEY_CLUSTER, &stored__v1__cluster__descriptor, &found, &revision));
    Stored__V1__Cluster *cluster = (Stored__V1__Cluster *)(void *)found;
    struct status st = STATUS(OK);
    if (cluster->nodes_ever >= CTL_NODES_MAX) {
        snprintf(j->problem.s, sizeof j->problem.s, "node '%s': the cluster has had %u nodes, %s",
                 j->request->name, CTL_NODES_MAX, "and no more are possible");
        st = STATUS(LIMIT);
    } else {
        j->index = ++cluster->nodes_ever;
        meta_txn_expect(txn, KEY_CLUSTER, revision);
        record_put(txn, KEY_CLUSTER, &cluster->base);
    }
    record_free(found);
    return st;
}

static struct status join_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    struct joining *j = ctx;
    const struct meta_key key = key_node(j->node);
    Stored__V1__Node record = STORED__V1__NODE__INIT;
    ProtobufCMessage *found = NULL;
    uint64_t revision = 0;

    j->index = 0;
    j->moved = false;
    const struct status st = record_get(m, key.s, &stored__v1__node__descriptor, &found, &revision);
    if (!status_is(st, STATUS_NOT_FOUND))
        TRY(st);
    const Stored__V1__Node *was = (const Stored__V1__Node *)(const void *)found;
    const bool moved = was == NULL || strcmp(was->address, j->request->address) != 0 ||
                       was->port != j->request->port;
    if (was != NULL)
        j->index = was->index;
    record_free(found);
    if (j->index == 0) {
        TRY(join_index(j, m, txn));
        TRY(desired_bump(m, txn, j->node));
    }
    TRY(join_name(j, m, txn));
    record.uuid = record_bytes(&j->node);
    record.name = j->request->name;
    record.index = j->index;
    record.address = j->request->address;
    record.port = j->request->port;
    record.zone = j->request->zone;
    record.rack = j->request->rack;
    for (size_t i = 0; i < j->request->n_roles; i++)
        record.roles |= 1u << j->request->roles[i];
    meta_txn_expect(txn, key.s, revision);
    record_put(txn, key.s, &record.base);
    j->moved = moved;
    return STATUS(OK);
}

/* A late one is answered from what is recorded. */
static struct status join_late(struct joining *j)
{
    ProtobufCMessage *found;

    TRY(record_get(j->ctl->meta, key_node(j->node).s, &stored__v1__node__descriptor, &found, NULL));
    j->index = ((const Stored__V1__Node *)(const void *)found)->index;
    record_free(found);
    return STATUS(OK);
}

static struct status join(struct joining *j)
{
    const Trilith__V1__JoinClusterRequest *r = j->request;

    TRY(validate_join(r, &j->problem));
    j->node = field_uuid(r->node_uuid);
    const struct uuid cluster = field_uuid(r->cluster_uuid);
    if (!uuid_is_nil(cluster) && !uuid_equal(cluster, j->ctl->cluster)) {
        snprintf(j->problem.s, sizeof j->problem.s,
                 "node '%s': its disks belong to cluster %s; this is '%s', %s", r->name,
                 uuid_format(cluster).s, j->ctl->cluster_name, uuid_format(j->ctl->cluster).s);
        return STATUS(FOREIGN);
    }
    j->late = is_late(observed_find(j->ctl, j->node), r->instance, r->number);
    const struct status st =
        j->late ? join_late(j) : meta_transact(j->ctl->meta, join_build, j, NULL);
    if (!status_ok(st) && j->moved)
        nodes_tell_later(j->ctl);
    if (!status_ok(st) && j->problem.s[0] == '\0')
        snprintf(j->problem.s, sizeof j->problem.s, "node '%s': %s", r->name, status_text(st));
    return st;
}

static void on_join(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    Trilith__V1__JoinClusterResponse reply = TRILITH__V1__JOIN_CLUSTER_RESPONSE__INIT;
    struct ctl *ctl = ctx;
    struct joining j = { .ctl = ctl,
                         .request =
                             (const Trilith__V1__JoinClusterRequest *)(const void *)message };

    const struct status st = join(&j);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "%s", j.problem.s);
        return;
    }
    if (j.moved)
        nodes_tell(ctl, j.node);
    struct observed *o = observed_take(ctl, j.node);
    if (o != NULL && !j.late) {
        snprintf(o->version, sizeof o->version, "%s", j.request->version);
        note_call(o, j.request->instance, j.request->number);
    }
    reply.cluster_uuid = record_bytes(&ctl->cluster);
    reply.cluster_name = ctl->cluster_name;
    reply.node_index = j.index;
    rpc_reply(call, &reply.base);
}

/* ---- ReportStatus ---- */

/* NOT_FOUND, upon which a node joins again, only if that is certain. */
static struct status node_check_known(struct ctl *ctl, struct uuid node)
{
    struct meta_value value;
    TRY(meta_get(ctl->meta, key_node(node).s, &value));
    meta_value_free(&value);
    return STATUS(OK);
}

/* The report is kept beyond the call, so it is copied by packing and unpacking it. */
static Trilith__V1__ReportStatusRequest *report_copy(const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    const size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = arena_alloc(&arena, bytes);

    protobuf_c_message_pack(message, packed);
    return trilith__v1__report_status_request__unpack(NULL, bytes, packed);
}

static void report_take(struct ctl *ctl, struct observed *o,
                        Trilith__V1__ReportStatusRequest *report)
{
    struct observed before = *o;

    o->report = report;
    o->foreign = 0;
    o->seen_ns = rpc_now_ns(ctl->loop);
    note_call(o, report->instance, report->number);
    rebuild_take_forgotten(ctl, o); /* First: what follows may change the node's part. */
    if (disks_take_report(ctl, o, &before))
        nodes_tell(ctl, (struct uuid) { { 0 } }); /* All: it may be one's own now. */
    observed_drop_report(&before);
    orders_take_results(ctl, o);
    scrubs_take_report(ctl, o);
    volumes_finish_deleting(ctl, o);
    volume_waits_check(ctl);
}

static void on_report(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    Trilith__V1__ReportStatusResponse reply = TRILITH__V1__REPORT_STATUS_RESPONSE__INIT;
    const Trilith__V1__ReportStatusRequest *request =
        (const Trilith__V1__ReportStatusRequest *)(const void *)message;
    struct ctl *ctl = ctx;
    struct problem problem;

    if (!status_ok(validate_report(request, &problem))) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem.s);
        return;
    }
    const struct uuid node = field_uuid(request->node_uuid);
    const struct status st = node_check_known(ctl, node);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "node %s: %s", uuid_format(node).s,
                 status_is(st, STATUS_NOT_FOUND) ? "it has not joined" : status_text(st));
        return;
    }
    struct observed *o = observed_take(ctl, node);
    if (is_others(o, request->instance)) {
        rpc_fail(call, RPC_NOT_FOUND, "node %s: another process has joined as it since",
                 uuid_format(node).s);
        return;
    }
    if (is_late(o, request->instance, request->number)) {
        rpc_reply(call, &reply.base);
        return;
    }
    Trilith__V1__ReportStatusRequest *copy = o != NULL ? report_copy(message) : NULL;
    if (copy == NULL) {
        ctl_fail(call, STATUS(NO_MEMORY), "the report could not be kept");
        return;
    }
    report_take(ctl, o, copy);
    rpc_reply(call, &reply.base);
}

/* ---- TakeEpoch ---- */

static void on_take_epoch(void *ctx, struct rpc_call *call, const ProtobufCMessage *message)
{
    CLEANUP(arena_free) struct arena arena = { 0 };
    Trilith__V1__TakeEpochResponse reply = TRILITH__V1__TAKE_EPOCH_RESPONSE__INIT;
    const Trilith__V1__TakeEpochRequest *r =
        (const Trilith__V1__TakeEpochRequest *)(const void *)message;
    struct group *taken = arena_alloc(&arena, sizeof *taken);
    struct group_taking t = { .number = r->group };
    struct ctl *ctl = ctx;
    struct problem problem;

    if (!status_ok(validate_uuid(r->node_uuid, "node_uuid", &t.node, &problem)) ||
        !status_ok(validate_uuid(r->volume_uuid, "volume_uuid", &t.volume, &problem))) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "%s", problem.s);
        return;
    }
    if (r->group != 0) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "group %u: a volume has group 0 alone", r->group);
        return;
    }
    const struct status st = groups_take_epoch(ctl->meta, &t, taken);
    if (!status_ok(st)) {
        rpc_fail(call, rpc_code_of(st), "volume %s: no epoch for node %s: %s",
                 uuid_format(t.volume).s, uuid_format(t.node).s, status_text(st));
        return;
    }
    reply.epoch = taken->epoch;
    rpc_reply(call, &reply.base);
}

const struct rpc_method node_methods[] = {
    { "JoinCluster", on_join },
    { "WatchNode", on_watch_node },
    { "ReportStatus", on_report },
    { "TakeEpoch", on_take_epoch },
};

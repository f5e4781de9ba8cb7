/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/ctl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/ctl_internal.h"

void ctl_fail(struct rpc_call *call, struct status st, const char *what)
{
    rpc_fail(call, rpc_code_of(st), "%s: %s", what, status_text(st));
}

/* ---- Observed ---- */

struct observed *observed_find(struct ctl *ctl, struct uuid node)
{
    LIST_FOR_EACH (n, &ctl->observed) {
        struct observed *o = CONTAINER_OF(n, struct observed, link);
        if (uuid_equal(o->node, node))
            return o;
    }
    return NULL;
}

struct observed *observed_take(struct ctl *ctl, struct uuid node)
{
    struct observed *o = observed_find(ctl, node);
    unsigned count = 0;

    if (o != NULL)
        return o;
    LIST_FOR_EACH (n, &ctl->observed) {
        count++;
    }
    o = count < CTL_NODES_MAX ? calloc(1, sizeof *o) : NULL;
    if (o == NULL)
        return NULL;
    o->node = node;
    list_node_init(&o->link);
    list_push_back(&ctl->observed, &o->link);
    return o;
}

void observed_drop_report(struct observed *o)
{
    if (o->report == NULL)
        return;
    o->report->n_disks += o->foreign;
    rpc_message_free(&o->report->base);
    o->report = NULL;
    o->foreign = 0;
}

static void observed_free(struct observed *o)
{
    observed_drop_report(o);
    free(o);
}

bool observed_connected(struct ctl *ctl, const struct observed *o)
{
    return o != NULL && o->report != NULL &&
           rpc_now_ns(ctl->loop) - o->seen_ns <= CTL_SILENT_MS * NS_PER_MS;
}

const Trilith__V1__VolumeReport *observed_volume(const struct observed *o, struct uuid volume)
{
    if (o == NULL || o->report == NULL)
        return NULL;
    for (size_t i = 0; i < o->report->n_volumes; i++)
        if (uuid_equal(field_uuid(o->report->volumes[i]->uuid), volume))
            return o->report->volumes[i];
    return NULL;
}

const Trilith__V1__DiskReport *observed_disk(const struct observed *o, struct uuid disk)
{
    if (o == NULL || o->report == NULL)
        return NULL;
    for (size_t i = 0; i < o->report->n_disks; i++)
        if (uuid_equal(field_uuid(o->report->disks[i]->uuid), disk))
            return o->report->disks[i];
    return NULL;
}

bool observed_has_foreign(const struct observed *o, struct uuid disk)
{
    for (size_t i = 0; i < o->foreign; i++)
        if (uuid_equal(field_uuid(o->report->disks[o->report->n_disks + i]->uuid), disk))
            return true;
    return false;
}

void observed_disown(struct observed *o, struct uuid disk)
{
    Trilith__V1__ReportStatusRequest *const r = o->report;
    size_t i = 0;

    while (i < r->n_disks && !uuid_equal(field_uuid(r->disks[i]->uuid), disk))
        i++;
    if (i == r->n_disks)
        return;
    Trilith__V1__DiskReport *const d = r->disks[i];
    for (; i + 1 < r->n_disks; i++)
        r->disks[i] = r->disks[i + 1];
    r->disks[--r->n_disks] = d;
    o->foreign++;
}

/* ---- The cluster's record ---- */

struct cluster_start {
    struct ctl *ctl;
    const char *name;
};

static void cluster_use(struct ctl *ctl, const Stored__V1__Cluster *record)
{
    ctl->cluster = field_uuid(record->uuid);
    snprintf(ctl->cluster_name, sizeof ctl->cluster_name, "%s", record->name);
}

static void cluster_make(const struct cluster_start *start, struct meta_txn *txn)
{
    Stored__V1__Cluster record = STORED__V1__CLUSTER__INIT;
    uint8_t random[16];
    char name[CTL_NAME_BYTES_MAX + 1];

    rpc_random(start->ctl->loop, (struct span) { random, sizeof random });
    const struct uuid uuid = uuid_from_random(random);
    snprintf(name, sizeof name, "%s", start->name);
    record.uuid = record_bytes(&uuid);
    record.name = name;
    meta_txn_expect(txn, KEY_CLUSTER, 0);
    record_put(txn, KEY_CLUSTER, &record.base);
    cluster_use(start->ctl, &record);
}

static struct status cluster_build(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const struct cluster_start *start = ctx;
    ProtobufCMessage *found;

    const struct status st =
        record_get(m, KEY_CLUSTER, &stored__v1__cluster__descriptor, &found, NULL);
    if (status_is(st, STATUS_NOT_FOUND)) {
        cluster_make(start, txn);
        return STATUS(OK);
    }
    TRY(st);
    cluster_use(start->ctl, (const Stored__V1__Cluster *)(const void *)found);
    record_free(found);
    return uuid_is_nil(start->ctl->cluster) ? STATUS(CORRUPT) : STATUS(EXISTS);
}

static struct status cluster_open(struct ctl *ctl, const char *name)
{
    struct cluster_start start = { ctl, name };
    const struct status st = meta_transact(ctl->meta, cluster_build, &start, NULL);
    return status_is(st, STATUS_EXISTS) ? STATUS(OK) : st;
}

/* ---- Turns ---- */

static void on_lease_timer(struct rpc_timer *timer)
{
    (void)timer; /* The turn that it makes is what it is for. */
}

/* Changes in the meta store are shown once per turn, after the handlers that made them. */
static void on_turn_end(void *ctx)
{
    struct ctl *ctl = ctx;
    uint64_t next_ns = UINT64_MAX;

    const struct status st = meta_dispatch(ctl->meta, &next_ns);
    if (!status_ok(st)) {
        log_error(ctl->log, "meta store: leases could not be ended: %s; trying again in 1 s",
                  status_text(st));
        next_ns = 1000 * NS_PER_MS;
    }
    if (next_ns == UINT64_MAX)
        rpc_timer_disarm(&ctl->lease_timer);
    else
        rpc_timer_arm(ctl->loop, &ctl->lease_timer, rpc_now_ns(ctl->loop) + next_ns);
}

static void on_desired_changed(struct meta_watch *watch, const char *key, uint64_t revision)
{
    struct ctl *ctl = CONTAINER_OF(watch, struct ctl, desired_watch);
    struct uuid node;

    (void)revision;
    if (status_ok(key_uuid(key, KEY_DESIRED, &node)))
        node_watches_answer(ctl, node);
}

/* ---- Life ---- */

static void services_init(struct ctl *ctl)
{
    ctl->services[CTL_SERVICE_VOLUME] =
        (struct rpc_service) { &trilith__v1__volume_service__descriptor, volume_methods, ctl,
                               false };
    ctl->services[CTL_SERVICE_DISK] =
        (struct rpc_service) { &trilith__v1__disk_service__descriptor, disk_methods, ctl, false };
    ctl->services[CTL_SERVICE_NODE] =
        (struct rpc_service) { &trilith__v1__node_service__descriptor, node_methods, ctl, true };
    ctl->services[CTL_SERVICE_STATUS] =
        (struct rpc_service) { &trilith__v1__status_service__descriptor, status_methods, ctl,
                               false };
    ctl->services[CTL_SERVICE_GROUP] =
        (struct rpc_service) { &trilith__v1__group_service__descriptor, group_methods, ctl, true };
}

struct status ctl_create(const struct ctl_config *config, struct ctl **out_ctl)
{
    struct ctl *ctl = calloc(1, sizeof *ctl);
    if (ctl == NULL)
        return STATUS(NO_MEMORY);

    ctl->meta = config->meta;
    ctl->loop = config->loop;
    ctl->log = config->log;
    snprintf(ctl->version, sizeof ctl->version, "%s", config->version);
    list_init(&ctl->observed);
    list_init(&ctl->waits);
    list_init(&ctl->node_watches);
    list_init(&ctl->order_waits);
    list_init(&ctl->verifications);
    list_init(&ctl->scrubs);
    rpc_timer_init(&ctl->lease_timer, on_lease_timer);
    services_init(ctl);
    struct status st = cluster_open(ctl, config->cluster_name);
    if (status_ok(st))
        st = scrubs_load(ctl);
    if (!status_ok(st)) {
        scrubs_end(ctl);
        free(ctl);
        return st;
    }
    ctl->desired_watch =
        (struct meta_watch) { .changed = on_desired_changed, .prefix = KEY_DESIRED };
    meta_watch_add(ctl->meta, &ctl->desired_watch);
    nodes_tell(ctl, (struct uuid) { { 0 } }); /* The controller before may not have come to it. */
    ctl->loop->turn_end = on_turn_end;
    ctl->loop->turn_ctx = ctl;
    rebuild_init(&ctl->rebuild, ctl, config->rebuild_after_ns);
    *out_ctl = ctl;
    return STATUS(OK);
}

const struct rpc_service *ctl_service(const struct ctl *ctl, enum ctl_service which)
{
    assert(which < CTL_SERVICE_COUNT);
    return &ctl->services[which];
}

void ctl_set_address(struct ctl *ctl, const char *address)
{
    snprintf(ctl->address, sizeof ctl->address, "%s", address);
}

struct uuid ctl_cluster_uuid(const struct ctl *ctl)
{
    return ctl->cluster;
}

void ctl_stop(struct ctl *ctl)
{
    volume_waits_end(ctl);
    node_watches_end(ctl);
    order_waits_end(ctl);
    verifications_end(ctl);
    scrubs_stop(ctl);
}

void ctl_destroy(struct ctl *ctl)
{
    struct list_node *n;

    if (ctl == NULL)
        return;
    assert(list_empty(&ctl->waits));
    assert(list_empty(&ctl->node_watches));
    assert(list_empty(&ctl->order_waits));
    assert(list_empty(&ctl->verifications));
    assert(list_empty(&ctl->scrubs));
    ctl->loop->turn_end = NULL;
    meta_watch_remove(&ctl->desired_watch);
    rpc_timer_disarm(&ctl->lease_timer);
    rebuild_fini(&ctl->rebuild);
    while ((n = list_pop_front(&ctl->observed)) != NULL)
        observed_free(CONTAINER_OF(n, struct observed, link));
    free(ctl);
}

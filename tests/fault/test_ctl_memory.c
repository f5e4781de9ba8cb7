/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meta store, the decoding of requests and the controller without memory.  What their answers
 * are built in, struct arena, is exempt: running out of it ends the process, by its contract.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "common/no_log.h"
#include "ctl/ctl.h"
#include "fault.h"
#include "meta/meta.h"
#include "rpc/sim.h"
#include "trilith/v1/disk.pb-c.h"
#include "trilith/v1/group.pb-c.h"
#include "trilith/v1/node.pb-c.h"
#include "trilith/v1/volume.pb-c.h"

#define GIB (UINT64_C(1) << 30)
#define S   UINT64_C(1000000000)

enum { CREATE, LIST, GET, DELETE, RESIZE, SET = 8 };
enum { ADD = 2, REMOVE = 3, GROW = 4 }; /* Of the DiskService. */
enum { JOIN, WATCH, REPORT, TAKE_EPOCH };
enum { GET_GROUPS, TAKE_GROUP, COMMIT_GROUPS };

/* ---- The meta store ---- */

static struct meta *meta;

/* OK, or NO_MEMORY where an allocation has failed. */
static bool answer_is_ok(struct status st)
{
    if (!fault_happened())
        assert_true(status_ok(st));
    else if (!status_ok(st))
        assert_int_equal(st.code, STATUS_NO_MEMORY);
    return status_ok(st);
}

static struct const_span text_span(const char *text)
{
    return (struct const_span) { (const uint8_t *)text, strlen(text) };
}

/* Two keys change together. */
static struct status build_pair(void *ctx, struct meta *m, struct meta_txn *txn)
{
    const char *const value = ctx;
    struct meta_value old;

    const struct status st = meta_get(m, "a/1", &old);
    if (status_ok(st))
        meta_value_free(&old);
    else if (!status_is(st, STATUS_NOT_FOUND))
        return st;
    meta_txn_put(txn, "a/1", text_span(value));
    meta_txn_put(txn, "a/2", text_span(value));
    return STATUS(OK);
}

static struct status put_pair(const char *value)
{
    return meta_transact(meta, build_pair, (void *)(uintptr_t)value, NULL);
}

static void assert_value(const char *key, const char *expected)
{
    struct meta_value v;

    assert_true(status_ok(meta_get(meta, key, &v)));
    assert_int_equal(v.bytes, strlen(expected));
    assert_memory_equal(v.data, expected, v.bytes);
    meta_value_free(&v);
}

static void assert_pair(const char *expected)
{
    assert_value("a/1", expected);
    assert_value("a/2", expected);
}

static struct status put_leased(uint64_t *out_lease)
{
    struct meta_txn *const txn = malloc(sizeof *txn);

    assert_non_null(txn);
    meta_txn_init(txn);
    struct status st = meta_lease_grant(meta, S, out_lease);
    if (status_ok(st)) {
        meta_txn_put_leased(txn, "l/1", text_span("here"), *out_lease);
        st = meta_commit(meta, txn, NULL);
    }
    meta_txn_fini(txn);
    free(txn);
    return st;
}

static void meta_scenario(void)
{
    uint64_t lease = 0, next_ns;

    fault_begin();
    struct status st = meta_sim_open(&meta);
    fault_end();
    if (!answer_is_ok(st))
        assert_true(status_ok(meta_sim_open(&meta)));
    assert_true(status_ok(put_pair("one")));
    fault_begin();
    st = put_pair("two");
    fault_end();
    assert_pair(answer_is_ok(st) ? "two" : "one"); /* Both, or none. */
    fault_begin();
    st = put_leased(&lease);
    if (status_ok(st))
        (void)answer_is_ok(meta_lease_revoke(meta, lease));
    const struct status shown = meta_dispatch(meta, &next_ns);
    fault_end();
    (void)answer_is_ok(st);
    (void)answer_is_ok(shown);
    /* What could not be ended then is ended now. */
    meta_sim_advance(meta, 2 * S);
    struct meta_value v;
    assert_true(status_ok(meta_dispatch(meta, &next_ns)));
    assert_int_equal(meta_get(meta, "l/1", &v).code, STATUS_NOT_FOUND);
    assert_true(status_ok(put_pair("three")));
    assert_pair("three");
    meta_close(meta);
}

/* A transaction without memory is not applied in parts, and a lease ends all the same. */
static void transactions_are_whole(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, meta_scenario);
}

/* ---- SQLite ---- */

static char folder[] = "/tmp/fault_meta.XXXXXX";

static struct status sqlite_open(void)
{
    char path[64];
    char problem[META_PROBLEM_BYTES];

    snprintf(path, sizeof path, "%s/meta.db", folder);
    return meta_sqlite_open(path, problem, &meta);
}

static void sqlite_scenario(void)
{
    fault_begin();
    struct status st = sqlite_open();
    fault_end();
    if (!answer_is_ok(st))
        assert_true(status_ok(sqlite_open()));
    assert_true(status_ok(put_pair("one")));
    fault_begin();
    st = put_pair("two");
    fault_end();
    assert_pair(answer_is_ok(st) ? "two" : "one");
    meta_close(meta);
}

/* The same of the store on a disk. */
static void transactions_of_sqlite_are_whole(void **state)
{
    static const char *const files[] = { "meta.db", "meta.db-wal", "meta.db-shm" };

    (void)state;
    assert_non_null(mkdtemp(folder));
    fault_each(FAULT_ALLOCATION, sqlite_scenario);
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path); /* Closing has taken some of them away. */
    }
    assert_int_equal(rmdir(folder), 0);
}

/* ---- The controller ---- */

static struct rpc_sim sim;
static struct ctl *ctl;
static struct log quiet;
static uint8_t node_uuid[16] = { 0x40, 1 };
static uint8_t disk_uuid[16] = { 0xd0, 1 };
static uint8_t second_uuid[16] = { 0xd0, 2 };
static uint8_t volume_uuid[16];

/* What the node's part has of orders, and what its reports say. */
static size_t orders;
static uint64_t order_id, result_id;
static bool has_second_disk;
static uint32_t replicas; /* Of the volume. */

struct call {
    struct rpc_call base;
    bool ended;
    enum rpc_code code;
    size_t volumes;    /* That a List or a Watch has named. */
    uint64_t revision; /* That a Watch has named. */
    int outcome;       /* That a CommitGroups has had. */
};

static void take_volumes(struct call *c, const ProtobufCMessage *reply)
{
    if (reply->descriptor == &trilith__v1__list_volumes_response__descriptor)
        c->volumes = ((const Trilith__V1__ListVolumesResponse *)(const void *)reply)->n_volumes;
    if (reply->descriptor == &trilith__v1__commit_groups_response__descriptor)
        c->outcome = (int)((const Trilith__V1__CommitGroupsResponse *)(const void *)reply)
                         ->results[0]
                         ->outcome;
    if (reply->descriptor != &trilith__v1__watch_node_response__descriptor)
        return;
    const Trilith__V1__WatchNodeResponse *const part =
        (const Trilith__V1__WatchNodeResponse *)(const void *)reply;
    c->volumes = part->n_volumes;
    c->revision = part->revision;
    orders = part->n_orders;
    order_id = orders > 0 ? part->orders[0]->id : 0;
    if (part->n_volumes > 0)
        memcpy(volume_uuid, part->volumes[0]->uuid.data, sizeof volume_uuid);
}

static void on_finish(struct rpc_call *base, enum rpc_code code, const char *text,
                      const ProtobufCMessage *reply)
{
    struct call *const c = CONTAINER_OF(base, struct call, base);

    (void)text;
    assert_false(c->ended);
    c->ended = true;
    c->code = code;
    if (reply != NULL)
        take_volumes(c, reply);
}

static const struct rpc_call_ops call_ops = { on_finish };

/* Makes a call and waits for its end. */
static enum rpc_code call(struct call *c, enum ctl_service service, unsigned method,
                          const ProtobufCMessage *request)
{
    uint8_t packed[1024];
    const size_t bytes = protobuf_c_message_pack(request, packed);

    assert_true(bytes <= sizeof packed);
    *c = (struct call) { .base.ops = &call_ops };
    rpc_dispatch(ctl_service(ctl, service), method, (struct const_span) { packed, bytes },
                 &c->base);
    rpc_loop_turn(&sim.loop);
    if (!c->ended)
        rpc_sim_advance(&sim, 2 * S); /* What it waits for does not come. */
    assert_true(c->ended);
    return c->code;
}

/* Only want of memory may be the reason of a failure. */
static bool code_is_ok(enum rpc_code code)
{
    if (!fault_happened())
        assert_string_equal(rpc_code_name(code), "OK");
    else if (code != RPC_OK)
        assert_string_equal(rpc_code_name(code), rpc_code_name(rpc_code_of(STATUS(NO_MEMORY))));
    return code == RPC_OK;
}

/* Calls once while memory may fail, and again, if it did, while it does not. */
static void attempt(enum rpc_code (*fn)(void))
{
    fault_begin();
    const enum rpc_code code = fn();
    fault_end();
    if (!code_is_ok(code))
        assert_string_equal(rpc_code_name(fn()), "OK");
}

static enum rpc_code join(void)
{
    Trilith__V1__JoinClusterRequest r = TRILITH__V1__JOIN_CLUSTER_REQUEST__INIT;
    struct call c;

    r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    r.name = (char *)(uintptr_t) "node-1";
    r.address = (char *)(uintptr_t) "192.0.2.1";
    r.port = 4420;
    return call(&c, CTL_SERVICE_NODE, JOIN, &r.base);
}

static enum rpc_code report(void)
{
    Trilith__V1__ReportStatusRequest r = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__DiskReport disk = TRILITH__V1__DISK_REPORT__INIT;
    Trilith__V1__DiskReport second = TRILITH__V1__DISK_REPORT__INIT;
    Trilith__V1__DiskReport *disks[] = { &disk, &second };
    Trilith__V1__OrderResult result = TRILITH__V1__ORDER_RESULT__INIT;
    Trilith__V1__OrderResult *results[] = { &result };
    struct call c;

    disk.uuid = (ProtobufCBinaryData) { 16, disk_uuid };
    disk.name = (char *)(uintptr_t) "node-1/disk-1";
    disk.path = (char *)(uintptr_t) "/dev/disk-1";
    disk.bytes = disk.free_bytes = 100 * GIB;
    r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    r.disks = disks;
    r.n_disks = has_second_disk ? 2 : 1;
    second = disk;
    second.uuid = (ProtobufCBinaryData) { 16, second_uuid };
    second.name = (char *)(uintptr_t) "node-1/disk-2";
    second.path = (char *)(uintptr_t) "/dev/disk-2";
    result.id = result_id;
    r.orders = results;
    r.n_orders = result_id != 0 ? 1 : 0;
    return call(&c, CTL_SERVICE_NODE, REPORT, &r.base);
}

static enum rpc_code create(void)
{
    Trilith__V1__CreateVolumeRequest r = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    struct call c;

    spec.name = (char *)(uintptr_t) "db1";
    spec.bytes = 10 * GIB;
    spec.replicas = replicas;
    spec.allow_degraded = true; /* There is one node. */
    r.spec = &spec;
    r.wait_ms = 1000;
    return call(&c, CTL_SERVICE_VOLUME, CREATE, &r.base);
}

static uint64_t known_revision;

static enum rpc_code watch(size_t *out_volumes)
{
    Trilith__V1__WatchNodeRequest r = TRILITH__V1__WATCH_NODE_REQUEST__INIT;
    struct call c;

    r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    r.wait_ms = 1000;
    r.known_revision = known_revision;
    const enum rpc_code code = call(&c, CTL_SERVICE_NODE, WATCH, &r.base);
    *out_volumes = c.volumes;
    if (code == RPC_OK)
        known_revision = c.revision;
    return code;
}

static enum rpc_code list(size_t *out_volumes)
{
    Trilith__V1__ListVolumesRequest r = TRILITH__V1__LIST_VOLUMES_REQUEST__INIT;
    struct call c;

    const enum rpc_code code = call(&c, CTL_SERVICE_VOLUME, LIST, &r.base);
    *out_volumes = c.volumes;
    return code;
}

static enum rpc_code take_epoch(void)
{
    Trilith__V1__TakeEpochRequest r = TRILITH__V1__TAKE_EPOCH_REQUEST__INIT;
    struct call c;

    r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    r.volume_uuid = (ProtobufCBinaryData) { 16, volume_uuid };
    return call(&c, CTL_SERVICE_NODE, TAKE_EPOCH, &r.base);
}

static enum rpc_code get_groups(void)
{
    Trilith__V1__GetGroupsRequest r = TRILITH__V1__GET_GROUPS_REQUEST__INIT;
    Trilith__V1__GroupName name = TRILITH__V1__GROUP_NAME__INIT;
    Trilith__V1__GroupName *names[] = { &name };
    struct call c;

    name.volume_uuid = (ProtobufCBinaryData) { 16, volume_uuid };
    r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    r.groups = names;
    r.n_groups = 1;
    return call(&c, CTL_SERVICE_GROUP, GET_GROUPS, &r.base);
}

static enum rpc_code take_group(void)
{
    Trilith__V1__TakeGroupRequest r = TRILITH__V1__TAKE_GROUP_REQUEST__INIT;
    Trilith__V1__GroupName name = TRILITH__V1__GROUP_NAME__INIT;
    struct call c;

    name.volume_uuid = (ProtobufCBinaryData) { 16, volume_uuid };
    r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    r.group = &name;
    r.known_epoch = 1;
    return call(&c, CTL_SERVICE_GROUP, TAKE_GROUP, &r.base);
}

/* The next generation of the record that two epochs have made. */
static enum rpc_code commit_group(void)
{
    Trilith__V1__CommitGroupsRequest r = TRILITH__V1__COMMIT_GROUPS_REQUEST__INIT;
    Trilith__V1__GroupChange change = TRILITH__V1__GROUP_CHANGE__INIT;
    Trilith__V1__GroupChange *changes[] = { &change };
    Trilith__V1__GroupName name = TRILITH__V1__GROUP_NAME__INIT;
    Trilith__V1__GroupRecord was = TRILITH__V1__GROUP_RECORD__INIT;
    struct call c;

    name.volume_uuid = (ProtobufCBinaryData) { 16, volume_uuid };
    was.owner_uuid = r.node_uuid = (ProtobufCBinaryData) { 16, node_uuid };
    was.epoch = was.sequence = 2;
    Trilith__V1__GroupRecord now = was;
    now.sequence++;
    now.generation++;
    change.group = &name;
    change.was = &was;
    change.now = &now;
    r.changes = changes;
    r.n_changes = 1;
    const enum rpc_code code = call(&c, CTL_SERVICE_GROUP, COMMIT_GROUPS, &r.base);
    if (code != RPC_OK || c.outcome == TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_COMMITTED)
        return code;
    /* Whoever commits cannot tell how far the meta store got: to be sent again in either case. */
    assert_true(c.outcome == TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_FAILED ||
                c.outcome == TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_UNKNOWN);
    return rpc_code_of(STATUS(NO_MEMORY));
}

static enum rpc_code resize(void)
{
    Trilith__V1__ResizeVolumeRequest r = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    struct call c;

    r.name = (char *)(uintptr_t) "db1";
    r.bytes = 20 * GIB;
    r.wait_ms = 1000;
    return call(&c, CTL_SERVICE_VOLUME, RESIZE, &r.base);
}

static enum rpc_code set_min_in_sync(void)
{
    Trilith__V1__SetVolumeRequest r = TRILITH__V1__SET_VOLUME_REQUEST__INIT;
    struct call c;

    r.name = (char *)(uintptr_t) "db1";
    r.min_in_sync = 2;
    return call(&c, CTL_SERVICE_VOLUME, SET, &r.base);
}

/* Whether it was recorded: then only its node's answer is missing. */
static bool order_disk(unsigned method)
{
    Trilith__V1__AddDiskRequest add = TRILITH__V1__ADD_DISK_REQUEST__INIT;
    Trilith__V1__RemoveDiskRequest removal = TRILITH__V1__REMOVE_DISK_REQUEST__INIT;
    Trilith__V1__GrowDiskRequest growth = TRILITH__V1__GROW_DISK_REQUEST__INIT;
    struct call c;

    add.path = (char *)(uintptr_t) "/dev/disk-2";
    removal.name = growth.name = (char *)(uintptr_t) "node-1/disk-2";
    add.wait_ms = removal.wait_ms = growth.wait_ms = 1000;
    const enum rpc_code code = call(&c, CTL_SERVICE_DISK, method,
                                    method == ADD    ? &add.base
                                    : method == GROW ? &growth.base
                                                     : &removal.base);
    if (code != RPC_DEADLINE_EXCEEDED)
        assert_false(code_is_ok(code));
    return code == RPC_DEADLINE_EXCEEDED;
}

/* An order is recorded, perhaps at the second try, and is over once its node's answer could be
 * taken in. */
static void disk_scenario(unsigned method, size_t volumes_expected)
{
    size_t volumes;

    fault_begin();
    const bool ordered = order_disk(method);
    fault_end();
    assert_true(ordered || order_disk(method));
    known_revision = 0;
    assert_int_equal(watch(&volumes), RPC_OK);
    assert_int_equal(volumes, volumes_expected);
    assert_int_equal(orders, 1);
    result_id = order_id;
    has_second_disk = method != REMOVE;
    attempt(report);
    assert_int_equal(report(), RPC_OK);
    result_id = 0;
    assert_int_equal(watch(&volumes), RPC_OK);
    assert_int_equal(orders, 0);
    known_revision = 0;
}

static enum rpc_code delete_volume(void)
{
    Trilith__V1__DeleteVolumeRequest r = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    struct call c;

    r.name = (char *)(uintptr_t) "db1";
    r.wait_ms = 1000;
    return call(&c, CTL_SERVICE_VOLUME, DELETE, &r.base);
}

static enum rpc_code show(void)
{
    Trilith__V1__GetVolumeRequest r = TRILITH__V1__GET_VOLUME_REQUEST__INIT;
    struct call c;

    r.name = (char *)(uintptr_t) "db1";
    r.with_places = true;
    return call(&c, CTL_SERVICE_VOLUME, GET, &r.base);
}

static struct status make_ctl(void)
{
    const struct ctl_config config = { meta, &sim.loop, &quiet, "test", "0.0", CTL_REBUILD_NEVER };

    return ctl_create(&config, &ctl);
}

static void begin(uint32_t replicas_of_volume, bool second_disk)
{
    rpc_sim_init(&sim, 1);
    known_revision = 0;
    result_id = 0;
    replicas = replicas_of_volume;
    has_second_disk = second_disk;
    assert_true(status_ok(meta_sim_open(&meta)));
}

static void end(void)
{
    ctl_stop(ctl);
    ctl_destroy(ctl);
    meta_close(meta);
}

static void ctl_scenario(void)
{
    size_t volumes;

    begin(1, false);
    fault_begin();
    const struct status st = make_ctl();
    fault_end();
    if (!answer_is_ok(st))
        assert_true(status_ok(make_ctl()));
    attempt(join);
    attempt(report);
    attempt(create);
    fault_begin();
    const enum rpc_code watched = watch(&volumes);
    fault_end();
    if (code_is_ok(watched))
        assert_int_equal(volumes, 1);
    known_revision = 0;
    assert_int_equal(watch(&volumes), RPC_OK);
    assert_int_equal(volumes, 1);
    fault_begin(); /* One that is held, until time is up. */
    (void)code_is_ok(watch(&volumes));
    fault_end();
    fault_begin();
    const enum rpc_code listed = list(&volumes);
    fault_end();
    if (code_is_ok(listed))
        assert_int_equal(volumes, 1);
    attempt(take_epoch);
    attempt(get_groups);
    attempt(take_group);
    attempt(commit_group);
    attempt(report);
    disk_scenario(ADD, 1);
    disk_scenario(GROW, 1);
    attempt(resize);
    disk_scenario(REMOVE, 1);
    attempt(delete_volume);
    assert_int_equal(list(&volumes), RPC_OK);
    assert_int_equal(volumes, 1); /* Until its node says that it is gone. */
    end();
}

/* A volume of two replicas, from its creation to its end. */
static void replicas_scenario(void)
{
    size_t volumes;

    begin(2, true);
    assert_true(status_ok(make_ctl()));
    assert_int_equal(join(), RPC_OK);
    assert_int_equal(report(), RPC_OK);
    attempt(create);
    assert_int_equal(watch(&volumes), RPC_OK);
    assert_int_equal(volumes, 1);
    assert_int_equal(get_groups(), RPC_OK); /* It is there with the volume. */
    assert_int_equal(take_epoch(), RPC_OK);
    attempt(take_group);
    attempt(show);
    attempt(resize);
    attempt(set_min_in_sync);
    attempt(delete_volume);
    assert_int_equal(take_epoch(), RPC_NOT_FOUND);
    end();
}

/* A call without memory fails as that, is never half done, and can be made again. */
static void calls_say_so(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, ctl_scenario);
    fault_each(FAULT_ALLOCATION, replicas_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transactions_are_whole),
        cmocka_unit_test(transactions_of_sqlite_are_whole),
        cmocka_unit_test(calls_say_so),
    };

    quiet.sink = no_log;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

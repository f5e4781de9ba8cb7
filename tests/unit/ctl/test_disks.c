/* SPDX-License-Identifier: Apache-2.0 */
/* AddDisk, RemoveDisk and GrowDisk: orders to nodes, what becomes of them, and when the caller
 * hears. */
#include <string.h>

#include "ctl_fixture.h"

enum { ADD = 2, REMOVE = 3, GROW = 4 }; /* Of the DiskService. */

#define READY TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY

static struct fake_node node;

static void join(struct fixture *f)
{
    node_init(&node, 1, 2, 100 * GIB);
    (void)node_join(f, &node);
    node_report(f, &node);
}

static void add_start(struct fixture *f, const char *path, struct rpc_sim_call *call)
{
    Trilith__V1__AddDiskRequest request = TRILITH__V1__ADD_DISK_REQUEST__INIT;
    request.path = arena_text(&f->arena, path);
    call_start(f, CTL_SERVICE_DISK, ADD, &request.base, call);
}

static void remove_start(struct fixture *f, const char *name, struct rpc_sim_call *call)
{
    Trilith__V1__RemoveDiskRequest request = TRILITH__V1__REMOVE_DISK_REQUEST__INIT;
    request.name = arena_text(&f->arena, name);
    call_start(f, CTL_SERVICE_DISK, REMOVE, &request.base, call);
}

static void grow_start(struct fixture *f, const char *name, struct rpc_sim_call *call)
{
    Trilith__V1__GrowDiskRequest request = TRILITH__V1__GROW_DISK_REQUEST__INIT;
    request.name = arena_text(&f->arena, name);
    call_start(f, CTL_SERVICE_DISK, GROW, &request.base, call);
}

static const Trilith__V1__DiskOrder *only_order(struct fixture *f)
{
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_orders, 1);
    return part->orders[0];
}

static size_t order_count(struct fixture *f)
{
    return node_part(f, &node)->n_orders;
}

/* The node says what became of an order. */
static void node_answers(struct fixture *f, uint64_t id, const char *problem)
{
    node.result_id = id;
    node.result = problem;
    node_report(f, &node);
    node.result_id = 0;
}

static void assert_failed(struct rpc_sim_call *call, enum rpc_code code, const char *words)
{
    assert_true(call->ended);
    assert_string_equal(rpc_code_name(call->code), rpc_code_name(code));
    if (strstr(call->text, words) == NULL)
        fail_msg("%s", call->text);
    rpc_sim_call_fini(call);
}

/* The order stands in the node's part, with a name that is free, until the node has done it. */
static void a_disk_is_added_when_its_node_has_it(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    add_start(f, "/dev/disk-3", &call);
    assert_false(call.ended);
    const Trilith__V1__DiskOrder *o = only_order(f);
    assert_string_equal(o->path, "/dev/disk-3");
    assert_string_equal(o->name, "node-1/disk-3");
    assert_false(o->remove);
    node_report(f, &node); /* It says nothing of it yet. */
    assert_false(call.ended);
    fixture_restart(f); /* The order is kept; whoever waited has gone. */
    assert_failed(&call, RPC_UNAVAILABLE, "stopping");
    (void)node_join(f, &node);
    node_report(f, &node);
    add_start(f, "/dev/disk-3", &call); /* The same is under way: no other order. */
    const uint64_t id = only_order(f)->id;
    node.disk_count = 3;
    node_answers(f, id, "");
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    const Trilith__V1__AddDiskResponse *r =
        (const Trilith__V1__AddDiskResponse *)(const void *)call.reply;
    assert_string_equal(r->disk->name, "node-1/disk-3");
    rpc_sim_call_fini(&call);
    assert_int_equal(order_count(f), 0);
    add_start(f, "/dev/disk-3", &call); /* It is there. */
    assert_true(call.ended);
    assert_int_equal(call.code, RPC_OK);
    rpc_sim_call_fini(&call);
}

/* What the node cannot do is over, and the caller hears why; nothing is tried again. */
static void a_disk_that_cannot_be_used_is_an_answer(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    add_start(f, "/dev/other", &call);
    node_answers(f, only_order(f)->id, "it holds an ext4 file system");
    assert_failed(&call, RPC_FAILED_PRECONDITION, "'/dev/other': it holds an ext4 file system");
    assert_int_equal(order_count(f), 0);
    add_start(f, "other", &call);
    assert_failed(&call, RPC_INVALID_ARGUMENT, "begins with '/'");
    add_start(f, "/dev/late", &call);
    rpc_sim_advance(&f->sim, 31000 * MS);
    assert_failed(&call, RPC_DEADLINE_EXCEEDED, "will be added as soon as that can");
    assert_int_equal(order_count(f), 1);
    add_start(f, "/dev/more", &call);
    assert_failed(&call, RPC_UNAVAILABLE, "does not report");
}

/* A disk with shards stays, and those who lie there are named; an empty one goes with its record.
 */
static void only_an_empty_disk_is_removed(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    create_ready(f, &node, "db1", 2 * GIB); /* A shard on each. */
    remove_start(f, "node-1/disk-2", &call);
    assert_failed(&call, RPC_FAILED_PRECONDITION, "shards of 'db1' lie on it");
    assert_int_equal(order_count(f), 0);
    remove_start(f, "node-1/disk-7", &call);
    assert_failed(&call, RPC_NOT_FOUND, "disk list");
    node.disk_count = 3;
    node_report(f, &node);
    remove_start(f, "node-1/disk-3", &call);
    const Trilith__V1__DiskOrder *o = only_order(f);
    assert_true(o->remove);
    assert_string_equal(o->path, "/dev/disk-3");
    node.disk_count = 2;
    node_answers(f, o->id, "");
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    rpc_sim_call_fini(&call);
    remove_start(f, "node-1/disk-3", &call);
    assert_failed(&call, RPC_NOT_FOUND, "none of this name");
}

/* From the order on nobody places shards there, neither new volumes nor those that grow. */
static void a_disk_that_leaves_takes_no_shards(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call, other;

    join(f);
    node.disk_count = 3;
    node_report(f, &node);
    create_ready(f, &node, "db1", 64 * MIB); /* One shard, on the first disk. */
    remove_start(f, "node-1/disk-3", &call);
    create_start(f, "db2", 9 * GIB, &other);
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    struct rpc_sim_call resize;
    request.name = arena_text(&f->arena, "db1");
    request.bytes = 9 * GIB;
    call_start(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, &resize);
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_volumes, 2);
    for (size_t v = 0; v < part->n_volumes; v++)
        for (size_t i = 0; i < part->volumes[v]->n_placement; i++) {
            const ProtobufCBinaryData disk = part->disk_uuids[part->volumes[v]->placement[i]];
            assert_memory_not_equal(disk.data, only_order(f)->disk_uuid.data, 16);
        }
    /* The node refuses after all: the disk is as before. */
    node_answers(f, only_order(f)->id, "it holds 3 shards");
    assert_failed(&call, RPC_FAILED_PRECONDITION, "'node-1/disk-3': it holds 3 shards");
    rpc_sim_advance(&f->sim, 31000 * MS);
    rpc_sim_call_fini(&resize);
    rpc_sim_call_fini(&other);
}

/* A growth is an order to the disk's node, and the answer has the new size, which is kept. */
static void a_disk_grows_when_its_node_says_so(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    create_ready(f, &node, "db1", 2 * GIB); /* That shards lie there does not matter. */
    grow_start(f, "node-1/disk-2", &call);
    const Trilith__V1__DiskOrder *o = only_order(f);
    assert_true(o->grow && !o->remove);
    assert_string_equal(o->path, "/dev/disk-2");
    node_answers(f, o->id, "make the device larger first");
    assert_failed(&call, RPC_FAILED_PRECONDITION, "'node-1/disk-2': make the device larger first");
    assert_int_equal(order_count(f), 0);
    grow_start(f, "node-1/disk-2", &call);
    node.disk_bytes *= 2;
    node_answers(f, only_order(f)->id, "");
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    const Trilith__V1__GrowDiskResponse *r =
        (const Trilith__V1__GrowDiskResponse *)(const void *)call.reply;
    assert_string_equal(r->disk->name, "node-1/disk-2");
    assert_int_equal(r->disk->bytes, 200 * GIB);
    rpc_sim_call_fini(&call);
    assert_int_equal(order_count(f), 0);
    grow_start(f, "node-1/disk-9", &call);
    assert_failed(&call, RPC_NOT_FOUND, "none of this name");
    grow_start(f, "node-1/disk-1", &call);
    rpc_sim_advance(&f->sim, 31000 * MS);
    assert_failed(&call, RPC_DEADLINE_EXCEEDED, "will grow as soon as that can");
    grow_start(f, "node-1/disk-1", &call);
    assert_failed(&call, RPC_UNAVAILABLE, "does not report");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_disk_is_added_when_its_node_has_it), TEST(a_disk_that_cannot_be_used_is_an_answer),
        TEST(only_an_empty_disk_is_removed),        TEST(a_disk_that_leaves_takes_no_shards),
        TEST(a_disk_grows_when_its_node_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

static void force_start(struct fixture *f, const char *path, struct rpc_sim_call *call)
{
    Trilith__V1__AddDiskRequest request = TRILITH__V1__ADD_DISK_REQUEST__INIT;
    request.path = arena_text(&f->arena, path);
    request.force = true;
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

/* Whatever ends the wait for it ends the order; another one for the same path is a new order. */
static void an_order_to_format_ends_with_its_wait(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call, other;

    join(f);
    force_start(f, "/dev/late", &call);
    const uint64_t id = only_order(f)->id;
    assert_true(only_order(f)->force);
    rpc_sim_advance(&f->sim, 15000 * MS);
    node_report(f, &node);
    force_start(f, "/dev/late", &other); /* The same: it lasts as long as one of them waits. */
    rpc_sim_advance(&f->sim, 16000 * MS);
    assert_failed(&call, RPC_DEADLINE_EXCEEDED, "was withdrawn");
    assert_int_equal(only_order(f)->id, id);
    rpc_sim_advance(&f->sim, 15000 * MS);
    assert_failed(&other, RPC_DEADLINE_EXCEEDED, "was withdrawn");
    assert_int_equal(order_count(f), 0);
    node_report(f, &node);
    force_start(f, "/dev/late", &call);
    assert_int_not_equal(only_order(f)->id, id);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    assert_int_equal(order_count(f), 0);
    force_start(f, "/dev/late", &call);
    assert_int_equal(order_count(f), 1);
    fixture_restart(f);
    assert_failed(&call, RPC_UNAVAILABLE, "stopping");
    (void)node_join(f, &node);
    assert_int_equal(order_count(f), 0);
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

/* While its node gives it up, nobody is told that it was added. */
static void a_disk_that_leaves_is_not_added(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call, removal;

    join(f);
    remove_start(f, "node-1/disk-2", &removal);
    add_start(f, "/dev/disk-2", &call);
    assert_failed(&call, RPC_FAILED_PRECONDITION, "'/dev/disk-2': it is being removed; add it");
    assert_int_equal(order_count(f), 1);
    /* It is there again when it has gone, or when its node keeps it. */
    node_answers(f, only_order(f)->id, "it holds 3 shards");
    assert_failed(&removal, RPC_FAILED_PRECONDITION, "it holds 3 shards");
    add_start(f, "/dev/disk-2", &call);
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    rpc_sim_call_fini(&call);
}

/* A name that two disks have is nobody's: a disk that was formatted anew has that of before. */
static void of_two_disks_of_one_name_the_uuid_is_needed(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    node.disk_names[1] = "node-1/disk-1";
    node.disk_paths[1] = "/dev/disk-1";
    node_report(f, &node);
    const char *first = arena_uuid(&f->arena, (struct uuid) { { 0xd0, 1, 0 } });
    const char *second = arena_uuid(&f->arena, (struct uuid) { { 0xd0, 1, 1 } });
    const char *text = arena_printf(&f->arena,
                                    "disk 'node-1/disk-1': 2 disks have this name; say which by "
                                    "its UUID: %s, %s",
                                    first, second);
    remove_start(f, "node-1/disk-1", &call);
    assert_failed(&call, RPC_FAILED_PRECONDITION, text);
    grow_start(f, "node-1/disk-1", &call);
    assert_failed(&call, RPC_FAILED_PRECONDITION, text);
    assert_int_equal(order_count(f), 0);
    remove_start(f, second, &call);
    const Trilith__V1__DiskOrder *o = only_order(f);
    assert_int_equal(o->disk_uuid.data[2], 1);
    assert_string_equal(o->path, ""); /* What is there may be the other one. */
    node.disk_count = 1;
    node_answers(f, o->id, "");
    assert_true(call.ended);
    assert_string_equal(call.text, "");
    rpc_sim_call_fini(&call);
    remove_start(f, "node-1/disk-1", &call); /* It is the only one now. */
    assert_string_equal(only_order(f)->path, "/dev/disk-1");
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
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

/* ---- Health ---- */

#define SUSPECT TRILITH__V1__DISK_HEALTH__DISK_HEALTH_SUSPECT
#define FAILING TRILITH__V1__DISK_HEALTH__DISK_HEALTH_FAILING

static const char *last_problem(struct fixture *f)
{
    Trilith__V1__GetStatusRequest request = TRILITH__V1__GET_STATUS_REQUEST__INIT;
    const Trilith__V1__GetStatusResponse *s = call_reply(f, CTL_SERVICE_STATUS, 0, &request.base);

    return s->n_problems > 0 ? s->problems[s->n_problems - 1] : "";
}

static uint64_t get_disk_shards(struct fixture *f, const char *name)
{
    Trilith__V1__GetDiskRequest get = TRILITH__V1__GET_DISK_REQUEST__INIT;

    get.name = arena_text(&f->arena, name);
    const Trilith__V1__GetDiskResponse *r = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    return r->disk->shards;
}

/* A creation: NULL, or why not; the volume waits for its node. */
static const char *create(struct fixture *f, const char *name, uint32_t replicas, bool degraded)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    const char *text = NULL;
    struct rpc_sim_call call;

    spec.name = arena_text(&f->arena, name);
    spec.bytes = 8 * GIB;
    spec.replicas = replicas;
    spec.allow_degraded = degraded;
    request.spec = &spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, &call);
    if (call.ended)
        text = arena_text(&f->arena, call.text);
    else
        rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    return text;
}

/* Whether a shard of the volume lies on the disk. */
static bool lies_on(struct fixture *f, const char *name, const char *disk)
{
    const Trilith__V1__Volume *v = get_volume(f, name);

    for (size_t i = 0; i < v->n_disks; i++)
        if (strcmp(v->disks[i], disk) == 0)
            return true;
    return false;
}

/* What is thought of a disk, and why, is shown while its node reports it. */
static void health_is_shown(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__GetDiskRequest get = TRILITH__V1__GET_DISK_REQUEST__INIT;

    join(f);
    assert_string_equal(last_problem(f), "");
    node.disk_health[1] = SUSPECT;
    node_report(f, &node);
    assert_string_equal(last_problem(f), "disk 'node-1/disk-2': suspect: it clicks");
    get.name = arena_text(&f->arena, "node-1/disk-2");
    const Trilith__V1__GetDiskResponse *r = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    assert_int_equal(r->disk->health, SUSPECT);
    assert_string_equal(r->disk->health_reason, "it clicks");
    node.disk_health[1] = FAILING;
    node_report(f, &node);
    assert_string_equal(last_problem(f),
                        "disk 'node-1/disk-2': failing: it clicks; it takes no new shards, and "
                        "nothing is moved elsewhere (--rebuild-after off)");
    rpc_sim_advance(&f->sim, 12000 * MS);
    r = call_reply(f, CTL_SERVICE_DISK, 1, &get.base);
    assert_int_equal(r->disk->health, TRILITH__V1__DISK_HEALTH__DISK_HEALTH_UNSPECIFIED);
}

/* A suspect disk gets no shards of one replica where another suffices, a failing one never. */
static void suspects_are_used_last(void **state)
{
    struct fixture *f = *state;

    join(f);
    node.disk_health[0] = SUSPECT;
    node_report(f, &node);
    assert_null(create(f, "db1", 1, false));
    assert_false(lies_on(f, "db1", "node-1/disk-1"));
    assert_true(lies_on(f, "db1", "node-1/disk-2"));
    node.disk_health[1] = FAILING;
    node_report(f, &node);
    assert_null(create(f, "db2", 1, false));
    assert_true(lies_on(f, "db2", "node-1/disk-1"));
    assert_false(lies_on(f, "db2", "node-1/disk-2"));
    node.disk_health[0] = FAILING;
    node_report(f, &node);
    assert_non_null(strstr(create(f, "db3", 1, false), "needs a node with a working disk"));
}

/* The same of several replicas: a suspect disk is better than one node less. */
static void suspects_of_several_nodes(void **state)
{
    struct fixture *f = *state;
    struct fake_node others[3];

    join(f);
    for (unsigned i = 0; i < 3; i++) {
        node_init(&others[i], 2 + i, 1, 100 * GIB);
        (void)node_join(f, &others[i]);
        node_report(f, &others[i]);
    }
    others[2].disk_health[0] = SUSPECT;
    node_report(f, &others[2]);
    assert_null(create(f, "db1", 3, true));
    assert_false(lies_on(f, "db1", "node-4/disk-1"));
    others[1].disk_health[0] = FAILING;
    node_report(f, &others[1]);
    assert_null(create(f, "db2", 3, true));
    assert_true(lies_on(f, "db2", "node-4/disk-1"));
    assert_false(lies_on(f, "db2", "node-3/disk-1"));
    assert_int_equal(get_volume(f, "db2")->n_degraded, 0);
    others[2].disk_health[0] = FAILING;
    node_report(f, &others[2]);
    assert_non_null(strstr(create(f, "db3", 3, false), "3 replicas need 3 nodes"));
    assert_null(create(f, "db3", 3, true));
    assert_int_equal(get_volume(f, "db3")->n_degraded, 1);
}

/* What grows does so on disks that are well, if there are such. */
static void growth_avoids_suspects(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    struct rpc_sim_call call;

    join(f);
    assert_null(create(f, "db1", 1, false));
    const uint64_t shards[2] = { get_disk_shards(f, "node-1/disk-1"),
                                 get_disk_shards(f, "node-1/disk-2") };
    node.disk_health[0] = SUSPECT;
    node_report(f, &node);
    request.name = arena_text(&f->arena, "db1");
    request.bytes = 16 * GIB;
    call_start(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, &call);
    assert_false(call.ended);
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    assert_int_equal(get_disk_shards(f, "node-1/disk-1"), shards[0]);
    assert_true(get_disk_shards(f, "node-1/disk-2") >= shards[1] + 8);
}

/* A report of a health that there is not is refused. */
static void health_is_checked(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ReportStatusRequest report = TRILITH__V1__REPORT_STATUS_REQUEST__INIT;
    Trilith__V1__DiskReport disk = TRILITH__V1__DISK_REPORT__INIT;
    Trilith__V1__DiskReport *reported[1] = { &disk };

    join(f);
    report.node_uuid = arena_uuid_bytes(&f->arena, node.uuid);
    report.disks = reported;
    report.n_disks = 1;
    disk.uuid = report.node_uuid;
    disk.health = 5;
    const char *text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_non_null(strstr(text, "health 5 is none"));
    disk.health = SUSPECT;
    disk.device_log = arena_printf(&f->arena, "%0600d", 0);
    text = call_text(f, CTL_SERVICE_NODE, REPORT, &report.base, RPC_INVALID_ARGUMENT);
    assert_string_equal(text, "disks.device_log is longer than 511 bytes");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(health_is_shown),
        TEST(suspects_are_used_last),
        TEST(suspects_of_several_nodes),
        TEST(growth_avoids_suspects),
        TEST(health_is_checked),
        TEST(a_disk_is_added_when_its_node_has_it),
        TEST(a_disk_that_cannot_be_used_is_an_answer),
        TEST(an_order_to_format_ends_with_its_wait),
        TEST(only_an_empty_disk_is_removed),
        TEST(a_disk_that_leaves_takes_no_shards),
        TEST(a_disk_that_leaves_is_not_added),
        TEST(of_two_disks_of_one_name_the_uuid_is_needed),
        TEST(a_disk_grows_when_its_node_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

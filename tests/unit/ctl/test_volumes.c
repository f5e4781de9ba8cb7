/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ctl_fixture.h"

#define READY         TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY
#define FAILED        TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_FAILED
#define DELETED       TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_DELETED
#define CONTINUE      TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_CONTINUE
#define ERROR         TRILITH__V1__UNFLUSHED_LOSS__UNFLUSHED_LOSS_ERROR
#define V_STATE(name) TRILITH__V1__VOLUME_STATE__VOLUME_STATE_##name

static struct fake_node node;

static void join(struct fixture *f)
{
    node_init(&node, 1, 3, 100 * GIB);
    (void)node_join(f, &node);
    node_report(f, &node);
}

static const Trilith__V1__CreateVolumeResponse *created(const struct rpc_sim_call *call)
{
    assert_true(call->ended);
    assert_string_equal(call->text, "");
    return (const Trilith__V1__CreateVolumeResponse *)(const void *)call->reply;
}

/* Starts to create "db1" of 1G with what spec says beyond that. */
static void create_spec(struct fixture *f, Trilith__V1__VolumeSpec *spec, struct rpc_sim_call *call)
{
    Trilith__V1__CreateVolumeRequest request = TRILITH__V1__CREATE_VOLUME_REQUEST__INIT;

    spec->name = (char *)(uintptr_t) "db1";
    spec->bytes = GIB;
    request.spec = spec;
    call_start(f, CTL_SERVICE_VOLUME, CREATE, &request.base, call);
}

/* A volume is created only when its node has said that it is ready, and then has a place. */
static void create_waits_for_the_node(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    create_start(f, "db1", 10 * GIB, &call);
    assert_false(call.ended);
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_volumes, 1);
    const Trilith__V1__DesiredVolume *d = part->volumes[0];
    assert_string_equal(d->name, "db1");
    /* 10 shards of 1 GiB, striped over three disks. */
    assert_int_equal(d->n_placement, 10);
    assert_int_equal(d->stripe_width, 3);
    assert_int_equal(part->n_disk_uuids, 3);

    node_report(f, &node); /* It says nothing of it yet. */
    assert_false(call.ended);
    (void)node_says(f, &node, d->uuid, READY);
    node_report(f, &node);
    const Trilith__V1__Volume *v = created(&call)->volume;
    assert_int_equal(v->state, V_STATE(READY));
    assert_string_equal(v->targets[0]->address, "192.0.2.1");
    assert_int_equal(v->targets[0]->port, 4420);
    assert_string_equal(v->nqn, "nqn.2026-01.io.trilith:volume:db1");
    assert_int_equal(v->spec->lba_bytes, 4096);
    assert_int_equal(v->n_disks, 3);
    assert_string_equal(v->disks[2], "node-1/disk-3");
    rpc_sim_call_fini(&call);
}

/* When the wait ends, the caller hears what is pending; the volume exists, and waits again. */
static void create_times_out(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    create_start(f, "db1", GIB, &call);
    rpc_sim_advance(&f->sim, 9999 * MS);
    node_report(f, &node);
    rpc_sim_advance(&f->sim, 19000 * MS);
    assert_false(call.ended); /* 30 s is the default. */
    node_report(f, &node);
    rpc_sim_advance(&f->sim, 1100 * MS);
    assert_int_equal(created(&call)->volume->state, V_STATE(OPENING));
    assert_string_equal(created(&call)->volume->reason, "its node has not opened it yet");
    rpc_sim_call_fini(&call);

    create_start(f, "db1", GIB, &call);
    assert_false(call.ended);
    rpc_sim_advance(&f->sim, 31000 * MS);
    assert_int_equal(created(&call)->volume->state, V_STATE(OFFLINE));
    assert_string_equal(created(&call)->volume->reason, "node 'node-1' does not report");
    rpc_sim_call_fini(&call);
}

/* A node that cannot open a volume ends the wait with its reason. */
static void create_fails(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;
    char reason[] = "the moon is full";

    join(f);
    create_start(f, "db1", GIB, &call);
    node_says(f, &node, node_part(f, &node)->volumes[0]->uuid, FAILED)->reason = reason;
    node_report(f, &node);
    assert_int_equal(created(&call)->volume->state, V_STATE(FAILED));
    assert_string_equal(created(&call)->volume->reason, "the moon is full");
    rpc_sim_call_fini(&call);
}

/* The same again is the same volume; something else under its name is refused by what differs. */
static void create_is_idempotent(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    create_ready(f, &node, "db1", GIB);
    const char *uuid = get_volume(f, "db1")->uuid;
    create_start(f, "db1", GIB, &call);
    assert_string_equal(created(&call)->volume->uuid, uuid);
    rpc_sim_call_fini(&call);

    create_start(f, "db1", 2 * GIB, &call);
    assert_int_equal(call.code, RPC_ALREADY_EXISTS);
    assert_string_equal(call.text, "volume 'db1': it exists with another size (it has 1G)");
    rpc_sim_call_fini(&call);
}

/* Planning more than the disks hold is done, and said. */
static void overcommit_warns(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    create_start(f, "big", 400 * GIB, &call);
    (void)node_says(f, &node, node_part(f, &node)->volumes[0]->uuid, READY);
    node_report(f, &node);
    assert_int_equal(created(&call)->n_warnings, 1);
    assert_non_null(strstr(created(&call)->warnings[0], "overcommitted by 100G"));
    rpc_sim_call_fini(&call);
}

/* Without a working disk there is no place, and the caller hears where to look. */
static void no_place(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    create_start(f, "db1", GIB, &call);
    assert_int_equal(call.code, RPC_UNAVAILABLE);
    assert_non_null(strstr(call.text, "one replica needs a node with a working disk"));
    rpc_sim_call_fini(&call);

    join(f);
    node.disk_failed[0] = node.disk_failed[2] = true;
    node_report(f, &node);
    create_start(f, "db1", 2 * GIB, &call);
    /* The one disk that works takes both shards. */
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_int_equal(part->n_disk_uuids, 1);
    assert_int_equal(part->volumes[0]->n_placement, 2);
    rpc_sim_cancel(&f->sim, &call);
    assert_int_equal(call.code, RPC_CANCELLED);
    rpc_sim_call_fini(&call);
}

static void delete_start(struct fixture *f, const char *name, bool force, struct rpc_sim_call *call)
{
    Trilith__V1__DeleteVolumeRequest request = TRILITH__V1__DELETE_VOLUME_REQUEST__INIT;
    request.name = arena_text(&f->arena, name);
    request.force = force;
    call_start(f, CTL_SERVICE_VOLUME, DELETE, &request.base, call);
}

/* A volume is gone only when its node has said that its data is; until then its name is taken. */
static void delete_waits_for_the_node(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call, create;

    join(f);
    create_ready(f, &node, "db1", GIB);
    delete_start(f, "db1", false, &call);
    assert_false(call.ended);
    const Trilith__V1__WatchNodeResponse *part = node_part(f, &node);
    assert_true(part->volumes[0]->deleting);
    assert_int_equal(get_volume(f, "db1")->state, V_STATE(DELETING));
    create_start(f, "db1", GIB, &create);
    assert_int_equal(create.code, RPC_FAILED_PRECONDITION);
    rpc_sim_call_fini(&create);

    (void)node_says(f, &node, part->volumes[0]->uuid, DELETED);
    node_report(f, &node);
    assert_true(call.ended);
    assert_true(((const Trilith__V1__DeleteVolumeResponse *)(const void *)call.reply)->gone);
    rpc_sim_call_fini(&call);
    assert_int_equal(node_part(f, &node)->n_volumes, 0);
    node.volume_count = 0;
    create_ready(f, &node, "db1", GIB);
}

/* Hosts that are connected keep a volume from being deleted, unless it is forced. */
static void delete_in_use(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;
    char host[] = "nqn.2014-08.org.example:host";
    char *hosts[] = { host };

    join(f);
    create_ready(f, &node, "db1", GIB);
    node.volumes[0].connected_hosts = hosts;
    node.volumes[0].n_connected_hosts = 1;
    node_report(f, &node);
    delete_start(f, "db1", false, &call);
    assert_int_equal(call.code, RPC_FAILED_PRECONDITION);
    assert_non_null(strstr(call.text, "1 host(s) are connected"));
    rpc_sim_call_fini(&call);
    delete_start(f, "db1", true, &call);
    assert_false(call.ended);
    rpc_sim_advance(&f->sim, 31000 * MS);
    const Trilith__V1__DeleteVolumeResponse *r =
        (const Trilith__V1__DeleteVolumeResponse *)(const void *)call.reply;
    assert_false(r->gone);
    assert_string_equal(r->reason, "waiting for node 'node-1', which does not report");
    rpc_sim_call_fini(&call);
}

/* A node that says it has deleted what nobody asked it to changes nothing. */
static void unasked_deletion(void **state)
{
    struct fixture *f = *state;

    join(f);
    create_ready(f, &node, "db1", GIB);
    node.volumes[0].state = DELETED;
    node_report(f, &node);
    assert_string_equal(get_volume(f, "db1")->spec->name, "db1");
}

/* A volume is found by its name, NQN and UUID; another name is not found. */
static void names(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__GetVolumeRequest request = TRILITH__V1__GET_VOLUME_REQUEST__INIT;

    join(f);
    create_ready(f, &node, "db1", GIB);
    const char *uuid = get_volume(f, "db1")->uuid;
    assert_string_equal(get_volume(f, uuid)->spec->name, "db1");
    assert_string_equal(get_volume(f, "nqn.2026-01.io.trilith:volume:db1")->uuid, uuid);
    request.name = arena_text(&f->arena, "db2");
    const char *text = call_text(f, CTL_SERVICE_VOLUME, GET, &request.base, RPC_NOT_FOUND);
    assert_non_null(strstr(text, "volume 'db2': there is none of this name"));
}

/* What a restart of the controller keeps: volumes and disks; what it learns anew: their state. */
static void restart(void **state)
{
    struct fixture *f = *state;

    join(f);
    create_ready(f, &node, "db1", GIB);
    fixture_restart(f);
    assert_int_equal(get_volume(f, "db1")->state, V_STATE(OFFLINE));
    node_report(f, &node);
    assert_int_equal(get_volume(f, "db1")->state, V_STATE(READY));
}

/* A meta store that fails, or loses its answer, fails the call and leaves nothing half done. */
static void meta_failures(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    meta_sim_fault_next(f->meta, META_SIM_FAULT_REFUSE);
    create_start(f, "db1", GIB, &call);
    assert_int_equal(call.code, RPC_UNAVAILABLE);
    rpc_sim_call_fini(&call);
    assert_int_equal(node_part(f, &node)->n_volumes, 0);

    meta_sim_fault_next(f->meta, META_SIM_FAULT_LOSE);
    create_start(f, "db1", GIB, &call);
    assert_int_equal(call.code, RPC_UNAVAILABLE);
    rpc_sim_call_fini(&call);
    assert_int_equal(node_part(f, &node)->n_volumes, 1);
    create_ready(f, &node, "db1", GIB); /* The same again finds it. */
}

struct bad {
    const char *name;
    uint64_t bytes;
    const char *text;
};

/* A specification that cannot be is refused with what is wrong and what would be right. */
static void bad_specifications(void **state)
{
    static const struct bad bad[] = {
        { "", GIB, "a name has" },
        { "Upper", GIB, "a name has" },
        { "a b", GIB, "a name has" },
        { "db1", 0, "its size is missing" },
        { "db1", GIB + 1, "not a multiple of 4096" },
        { "db1", UINT64_C(1) << 60, "more than a volume can have, which is 1P" },
    };
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        create_start(f, bad[i].name, bad[i].bytes, &call);
        assert_int_equal(call.code, RPC_INVALID_ARGUMENT);
        if (strstr(call.text, bad[i].text) == NULL)
            fail_msg("'%s' does not say '%s'", call.text, bad[i].text);
        rpc_sim_call_fini(&call);
    }
}

/* So is a layout or a policy that there is none of. */
static void bad_options(void **state)
{
    static const struct {
        uint32_t lba_bytes;
        uint64_t shard_bytes;
        uint32_t stripe_unit_bytes, stripe_width, loss;
        const char *text;
    } bad[] = {
        { .lba_bytes = 1, .text = "LBAs of 1 bytes are not supported, but 512 and 4096 are" },
        { .lba_bytes = 1024, .text = "LBAs of 1024 bytes are not supported" },
        { .lba_bytes = 8192, .text = "LBAs of 8192 bytes are not supported" },
        { .lba_bytes = UINT32_MAX, .text = "LBAs of 4294967295 bytes are not supported" },
        { .shard_bytes = GIB - 4096, .text = "a shard size is a power of two from 64M to 64G" },
        { .shard_bytes = 32 << 20, .text = "a shard size is a power of two from 64M to 64G" },
        { .shard_bytes = 128 * GIB, .text = "a shard size is a power of two from 64M to 64G" },
        { .stripe_unit_bytes = 2048, .text = "a stripe unit is a power of two from 4K to 512K" },
        { .stripe_unit_bytes = 1 << 20, .text = "a stripe unit is a power of two from 4K to 512K" },
        { .stripe_width = UINT32_MAX, .text = "a stripe is at most " },
        { .loss = CONTINUE + 1, .text = "on_unflushed_loss has no such value" },
    };
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
        spec.lba_bytes = bad[i].lba_bytes;
        spec.shard_bytes = bad[i].shard_bytes;
        spec.stripe_unit_bytes = bad[i].stripe_unit_bytes;
        spec.stripe_width = bad[i].stripe_width;
        spec.on_unflushed_loss = (Trilith__V1__UnflushedLoss)bad[i].loss;
        create_spec(f, &spec, &call);
        assert_int_equal(call.code, RPC_INVALID_ARGUMENT);
        if (strstr(call.text, bad[i].text) == NULL)
            fail_msg("'%s' does not say '%s'", call.text, bad[i].text);
        rpc_sim_call_fini(&call);
    }
    assert_int_equal(node_part(f, &node)->n_volumes, 0);
}

/* What is asked for reaches the node, is shown, and is what makes a volume another one. */
static void options_reach_the_node(void **state)
{
    Trilith__V1__VolumeSpec spec = TRILITH__V1__VOLUME_SPEC__INIT;
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join(f);
    spec.lba_bytes = 512;
    spec.on_unflushed_loss = CONTINUE;
    create_spec(f, &spec, &call);
    const Trilith__V1__DesiredVolume *const d = node_part(f, &node)->volumes[0];
    assert_int_equal(d->lba_bytes, 512);
    assert_true(d->continue_on_unflushed_loss);
    (void)node_says(f, &node, d->uuid, READY);
    node_report(f, &node);
    assert_int_equal(created(&call)->volume->spec->lba_bytes, 512);
    assert_int_equal(created(&call)->volume->spec->on_unflushed_loss, CONTINUE);
    rpc_sim_call_fini(&call);

    spec.on_unflushed_loss = ERROR;
    create_spec(f, &spec, &call);
    assert_int_equal(call.code, RPC_ALREADY_EXISTS);
    assert_string_equal(call.text,
                        "volume 'db1': it exists with another unflushed-loss policy (it has 1G)");
    rpc_sim_call_fini(&call);
    spec.on_unflushed_loss = CONTINUE;
    spec.lba_bytes = 4096;
    create_spec(f, &spec, &call);
    assert_string_equal(call.text, "volume 'db1': it exists with another LBA size (it has 1G)");
    rpc_sim_call_fini(&call);

    create_ready(f, &node, "db2", GIB);
    assert_int_equal(get_volume(f, "db2")->spec->on_unflushed_loss, ERROR);
    assert_false(node_part(f, &node)->volumes[1]->continue_on_unflushed_loss);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(create_waits_for_the_node),
        TEST(create_times_out),
        TEST(create_fails),
        TEST(create_is_idempotent),
        TEST(overcommit_warns),
        TEST(no_place),
        TEST(delete_waits_for_the_node),
        TEST(delete_in_use),
        TEST(unasked_deletion),
        TEST(names),
        TEST(restart),
        TEST(meta_failures),
        TEST(bad_specifications),
        TEST(bad_options),
        TEST(options_reach_the_node),
    };
    return cmocka_run_group_tests_name("volumes", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* ResizeVolume: what is recorded, what the node is told, and when the caller hears. */
#include <string.h>

#include "ctl_fixture.h"

#define READY TRILITH__V1__VOLUME_REPORT_STATE__VOLUME_REPORT_STATE_READY

static struct fake_node node;

/* Three disks, and a volume of 4 shards of 1 GiB on them, of which the last is used by half. */
static const uint64_t bytes = 3 * GIB + GIB / 2;

static void join_with_volume(struct fixture *f)
{
    node_init(&node, 1, 3, 100 * GIB);
    (void)node_join(f, &node);
    node_report(f, &node);
    create_ready(f, &node, "db1", bytes);
    assert_int_equal(get_volume(f, "db1")->shards, 4);
}

static void resize_start(struct fixture *f, uint64_t to, struct rpc_sim_call *call)
{
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    request.name = arena_text(&f->arena, "db1");
    request.bytes = to;
    call_start(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, call);
}

static const char *resize_refused(struct fixture *f, uint64_t to, enum rpc_code code)
{
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    request.name = arena_text(&f->arena, "db1");
    request.bytes = to;
    return call_text(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, code);
}

static const Trilith__V1__ResizeVolumeResponse *resized(const struct rpc_sim_call *call)
{
    assert_true(call->ended);
    assert_string_equal(call->text, "");
    return (const Trilith__V1__ResizeVolumeResponse *)(const void *)call->reply;
}

/* The node says that hosts see so much. */
static void node_serves(struct fixture *f, uint64_t served)
{
    node_says(f, &node, node_part(f, &node)->volumes[0]->uuid, READY)->bytes = served;
    node_report(f, &node);
}

static const Trilith__V1__DesiredVolume *desired(struct fixture *f)
{
    return node_part(f, &node)->volumes[0];
}

/* The call ends when hosts see the size; until then the volume is ready, and says what is missing.
 */
static void resize_waits_until_hosts_see_it(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join_with_volume(f);
    node_serves(f, bytes);
    resize_start(f, 4 * GIB, &call);
    assert_false(call.ended);
    assert_int_equal(desired(f)->bytes, 4 * GIB);
    node_serves(f, bytes);
    assert_false(call.ended);
    const Trilith__V1__Volume *v = get_volume(f, "db1");
    assert_int_equal(v->state, TRILITH__V1__VOLUME_STATE__VOLUME_STATE_READY);
    assert_int_equal(v->served_bytes, bytes);
    assert_string_equal(v->reason, "hosts see 3.50G of it until its node has grown it");
    node_serves(f, 4 * GIB);
    assert_int_equal(resized(&call)->volume->spec->bytes, 4 * GIB);
    assert_string_equal(resized(&call)->volume->reason, "");
    rpc_sim_call_fini(&call);
}

/* V1: the shards that there are stay where they are; what does not fit comes in whole stripes. */
static void growth_appends_whole_groups(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;
    uint32_t before[4];

    join_with_volume(f);
    assert_int_equal(desired(f)->stripe_width, 3);
    for (unsigned i = 0; i < 4; i++)
        before[i] = desired(f)->placement[i];
    resize_start(f, 4 * GIB, &call); /* Fits. */
    assert_int_equal(desired(f)->n_placement, 4);
    assert_int_equal(desired(f)->first_run_shards, 0);
    node_serves(f, 4 * GIB);
    rpc_sim_call_fini(&call);

    resize_start(f, 4 * GIB + 4096, &call);
    const Trilith__V1__DesiredVolume *d = desired(f);
    assert_int_equal(d->n_placement, 7);
    assert_int_equal(d->first_run_shards, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(d->placement[i], before[i]);
    /* A stripe uses each disk once. */
    assert_int_equal(1 << d->placement[4] | 1 << d->placement[5] | 1 << d->placement[6], 7);
    node_serves(f, 4 * GIB + 4096);
    rpc_sim_call_fini(&call);

    fixture_restart(f); /* All of it is recorded. */
    (void)node_join(f, &node);
    node_report(f, &node);
    resize_start(f, 20 * GIB, &call);
    assert_int_equal(desired(f)->n_placement, 22); /* 16 GiB behind the first run: 18 shards. */
    assert_int_equal(desired(f)->first_run_shards, 4);
    node_serves(f, 20 * GIB);
    rpc_sim_call_fini(&call);
}

/* The same size again is nothing to do; a smaller one, and what cannot be, is refused with why. */
static void only_growth_is_possible(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join_with_volume(f);
    node_serves(f, bytes);
    const uint64_t revision = node_part(f, &node)->revision;
    resize_start(f, bytes, &call);
    assert_int_equal(resized(&call)->volume->spec->bytes, bytes);
    rpc_sim_call_fini(&call);
    assert_int_equal(node_part(f, &node)->revision, revision);
    assert_non_null(strstr(resize_refused(f, GIB, RPC_FAILED_PRECONDITION), "cannot shrink"));
    assert_non_null(strstr(resize_refused(f, 5 * GIB + 1, RPC_INVALID_ARGUMENT), "multiple"));
    assert_non_null(strstr(resize_refused(f, 0, RPC_INVALID_ARGUMENT), "missing"));
    assert_non_null(
        strstr(resize_refused(f, 16385 * GIB, RPC_RESOURCE_EXHAUSTED), "at most 16384"));
    assert_int_equal(node_part(f, &node)->revision, revision);
}

/* New shards go to disks of the volume that work; if there are none, nothing is recorded. */
static void only_working_disks_take_shards(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join_with_volume(f);
    node_serves(f, bytes);
    for (unsigned i = 0; i < 3; i++)
        node.disk_failed[i] = true;
    node_report(f, &node);
    assert_non_null(strstr(resize_refused(f, 5 * GIB, RPC_UNAVAILABLE), "none of the disks"));
    assert_int_equal(desired(f)->bytes, bytes);
    node.disk_failed[1] = false;
    node_report(f, &node);
    resize_start(f, 5 * GIB, &call);
    const Trilith__V1__DesiredVolume *d = desired(f);
    assert_int_equal(d->placement[4], d->placement[5]);
    assert_int_equal(d->placement[4], d->placement[6]);
    node_serves(f, 5 * GIB);
    rpc_sim_call_fini(&call);
}

/* More than the disks hold is done, and said; a stripe that is hardly used is not counted whole. */
static void overcommit_warns(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;

    join_with_volume(f);
    resize_start(f, 296 * GIB, &call);
    node_serves(f, 296 * GIB);
    assert_int_equal(resized(&call)->n_warnings, 0);
    rpc_sim_call_fini(&call);
    resize_start(f, 310 * GIB, &call);
    node_serves(f, 310 * GIB);
    assert_int_equal(resized(&call)->n_warnings, 1);
    assert_non_null(strstr(resized(&call)->warnings[0], "overcommitted by"));
    rpc_sim_call_fini(&call);
}

/* When the wait ends the caller hears why; the growth stays wanted. */
static void resize_times_out_with_the_reason(void **state)
{
    struct fixture *f = *state;
    struct rpc_sim_call call;
    char reason[] = "cannot grow: the moon is full";

    join_with_volume(f);
    node_serves(f, bytes);
    resize_start(f, 8 * GIB, &call);
    for (int i = 0; i < 4; i++) {
        node_says(f, &node, desired(f)->uuid, READY)->reason = reason;
        node_report(f, &node);
        assert_false(call.ended);
        rpc_sim_advance(&f->sim, 8000 * MS);
    }
    assert_string_equal(resized(&call)->volume->reason, reason);
    assert_int_equal(desired(f)->bytes, 8 * GIB);
    rpc_sim_call_fini(&call);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(resize_waits_until_hosts_see_it),
        TEST(growth_appends_whole_groups),
        TEST(only_growth_is_possible),
        TEST(only_working_disks_take_shards),
        TEST(overcommit_warns),
        TEST(resize_times_out_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that grow while their node serves them. */
#include "node_fixture.h"

static bool serves(struct fixture *f, uint64_t bytes)
{
    at_home(f, get_report);
    return f->report.volumes[0].state == NODE_VOLUME_READY && f->report.volumes[0].bytes == bytes;
}

static void wait_to_serve(struct fixture *f, uint64_t bytes)
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    while (!serves(f, bytes) && sim_world_now_ns(f->world) < limit)
        sim_world_run(f->world, 100 * NS_PER_MS);
    assert_true(serves(f, bytes));
}

static void want_grown(struct fixture *f, uint64_t bytes)
{
    struct node_desired_volume *v = &f->volumes[0];
    v->volume.bytes = bytes;
    v->volume.first_run_shards = SHARDS;
    v->shard_count = (uint32_t)store_volume_shards(&v->volume);
    assert_int_equal(v->shard_count, SHARDS_MAX);
}

/* A volume that is wanted larger grows while it is served, and has its size at the next start. */
static void a_volume_grows(void **state)
{
    (void)state;
    const uint64_t grown = SHARDS * SHARD_BYTES + 5 * M;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_to_serve(f, SHARDS * SHARD_BYTES);
    const uint64_t epoch = f->report.volumes[0].epoch;
    want_grown(f, grown);
    at_home(f, apply);
    assert_int_equal(f->report.volumes[0].state, NODE_VOLUME_READY); /* All the time. */
    wait_to_serve(f, grown);
    assert_int_equal(f->report.volumes[0].epoch, epoch);
    assert_string_equal(f->report.volumes[0].reason, "");
    stop(f);
    start(f);
    at_home(f, apply);
    wait_to_serve(f, grown);
    /* The disks know better than a controller that has forgotten. */
    stop(f);
    start(f);
    f->volumes[0].volume.bytes = SHARDS * SHARD_BYTES;
    f->volumes[0].volume.first_run_shards = 0;
    f->volumes[0].shard_count = SHARDS;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    stop(f);
    fixture_destroy(f);
}

/* What keeps a volume from growing is reported, and it is served as it was until that is over. */
static void a_volume_that_cannot_grow_is_served(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_to_serve(f, SHARDS * SHARD_BYTES);
    want_grown(f, SHARDS * SHARD_BYTES + 5 * M);
    const uint32_t right = f->placement[0];
    f->placement[0] = right + 1; /* As if a shard were elsewhere. */
    at_home(f, apply);
    sim_world_run(f->world, 3 * NS_PER_S);
    wait_to_serve(f, SHARDS * SHARD_BYTES);
    assert_non_null(strstr(f->report.volumes[0].reason, "cannot grow from 16M to 21M"));
    f->placement[0] = right;
    at_home(f, apply);
    wait_to_serve(f, SHARDS * SHARD_BYTES + 5 * M);
    assert_string_equal(f->report.volumes[0].reason, "");
    stop(f);
    fixture_destroy(f);
}

/* A volume that grows may be deleted, or its node stopped, at any step of it. */
static void growth_may_be_overtaken(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 40; steps++) {
        struct fixture *f = fixture_create();
        start(f);
        want_volumes(f, 1);
        at_home(f, apply);
        wait_to_serve(f, SHARDS * SHARD_BYTES);
        want_grown(f, SHARDS * SHARD_BYTES + 5 * M);
        at_home(f, apply);
        for (unsigned i = 0; i < steps; i++)
            (void)sim_world_step(f->world);
        if (steps % 2 == 0) {
            f->volumes[0].deleting = true;
            at_home(f, apply);
            wait_for_volumes(f, 1, NODE_VOLUME_DELETED);
        }
        stop(f);
        fixture_destroy(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_grows),
        cmocka_unit_test(a_volume_that_cannot_grow_is_served),
        cmocka_unit_test(growth_may_be_overtaken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

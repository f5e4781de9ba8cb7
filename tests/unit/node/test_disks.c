/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come to a node that serves, and leave it. */
#include "node_fixture.h"

static void on_changed_disk(void *ctx, const char *problem, const char *gone)
{
    struct fixture *f = ctx;
    f->is_changed = true;
    snprintf(f->gone, sizeof f->gone, "%s", gone);
    snprintf(f->problem, sizeof f->problem, "%s", problem);
}

/* The last disk. */
static void begin_add(struct fixture *f)
{
    node_add_disk(f->node, &f->disk_configs[DISKS - 1], on_changed_disk, f);
}

static void begin_grow(struct fixture *f)
{
    node_grow_disk(f->node, f->disk_uuids[0], on_changed_disk, f);
}

static void begin_grow_of_none(struct fixture *f)
{
    node_grow_disk(f->node, (struct uuid) { { 99 } }, on_changed_disk, f);
}

static void begin_remove(struct fixture *f)
{
    node_remove_disk(f->node, f->disk_uuids[DISKS - 1], f->paths[DISKS - 1], on_changed_disk, f);
}

/* It was another disk that was at the path of the last one. */
static void begin_remove_of_none(struct fixture *f)
{
    node_remove_disk(f->node, (struct uuid) { { 99 } }, f->paths[DISKS - 1], on_changed_disk, f);
}

/* It has moved to the path of the last one, as device names do. */
static void begin_remove_of_first(struct fixture *f)
{
    node_remove_disk(f->node, f->disk_uuids[0], f->paths[DISKS - 1], on_changed_disk, f);
}

/* What came of the change: "" or a problem. */
static const char *change(struct fixture *f, void (*begin)(struct fixture *f))
{
    const uint64_t limit = sim_world_now_ns(f->world) + LIMIT_NS;
    f->is_changed = false;
    at_home(f, begin);
    while (!f->is_changed && sim_world_now_ns(f->world) < limit)
        assert_true(sim_world_step(f->world));
    assert_true(f->is_changed);
    at_home(f, get_report);
    return f->problem;
}

/* A disk is formatted and served while the node runs, is kept while a volume lies there, and goes.
 */
static void disks_come_and_go(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->later_disks = 1;
    start(f);
    at_home(f, get_report);
    assert_int_equal(f->report.disk_count, DISKS - 1);
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(f->report.disk_count, DISKS);
    assert_string_equal(change(f, begin_add), ""); /* It is there. */
    assert_int_equal(f->report.disk_count, DISKS);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_string_equal(change(f, begin_remove), "volume 'db1' lies there");
    assert_int_equal(f->report.disk_count, DISKS);
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_READY);
    assert_string_equal(change(f, begin_remove), "");
    assert_int_equal(f->report.disk_count, DISKS - 1);
    assert_int_equal(f->report.problem_count, 0);
    assert_string_equal(change(f, begin_remove), ""); /* It is gone. */
    assert_string_equal(change(f, begin_add), "");    /* The same again. */
    assert_true(uuid_equal(f->report.disks[DISKS - 1].uuid, f->disk_uuids[DISKS - 1]));
    stop(f);
    fixture_destroy(f);
}

static void get_uuids(struct fixture *f)
{
    get_report(f);
    for (uint32_t i = 0; i < f->report.disk_count; i++)
        f->disk_uuids[i] = f->report.disks[i].uuid;
}

/* Only a disk's own path is given up with it, whatever the order says of it. */
static void another_disk_at_the_path_is_kept(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    at_home(f, get_uuids);
    assert_string_equal(change(f, begin_remove_of_none), "");
    assert_string_equal(f->gone, "");
    assert_int_equal(f->report.disk_count, DISKS);
    assert_string_equal(change(f, begin_remove_of_first), "");
    assert_string_equal(f->gone, f->paths[0]);
    assert_int_equal(f->report.disk_count, DISKS - 1);
    assert_true(uuid_equal(f->report.disks[DISKS - 2].uuid, f->disk_uuids[DISKS - 1]));
    assert_string_equal(change(f, begin_remove), "");
    assert_string_equal(f->gone, f->paths[DISKS - 1]);
    assert_string_equal(change(f, begin_remove), ""); /* It is gone. */
    assert_string_equal(f->gone, "");
    stop(f);
    fixture_destroy(f);
}

/* One that cannot be used is given up by its path, unless it says that it is another. */
static void a_disk_that_cannot_be_used_is_removed(void **state)
{
    (void)state;
    static const uint8_t zeros[2 * 4096];
    struct fixture *f = fixture_create();
    start(f);
    at_home(f, get_uuids);
    stop(f);
    f->membership.cluster.b[0]++; /* Now they are all another cluster's. */
    start(f);
    at_home(f, get_report);
    assert_int_equal(f->report.problem_count, DISKS);
    assert_string_equal(change(f, begin_remove_of_none), "");
    assert_string_equal(f->gone, "");
    assert_int_equal(f->report.problem_count, DISKS);
    assert_string_equal(change(f, begin_remove), "");
    assert_string_equal(f->gone, f->paths[DISKS - 1]);
    assert_int_equal(f->report.problem_count, DISKS - 1);
    stop(f);
    /* Without a superblock it may be any. */
    sim_disk_poke(f->disks[DISKS - 1], 0, (struct const_span) { zeros, sizeof zeros });
    f->disk_configs[DISKS - 1].known = true;
    start(f);
    assert_string_equal(change(f, begin_remove_of_none), "");
    assert_string_equal(f->gone, f->paths[DISKS - 1]);
    assert_int_equal(f->report.problem_count, DISKS - 1);
    stop(f);
    fixture_destroy(f);
}

/* A disk takes in what its device has become larger by, and is served all the time. */
static void a_disk_grows(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    at_home(f, get_report);
    const uint64_t before = f->report.disks[0].bytes;
    const uint64_t epoch = f->report.volumes[0].epoch;
    assert_non_null(strstr(change(f, begin_grow), "make the device larger first"));
    assert_string_equal(change(f, begin_grow_of_none), "its node does not have it");
    sim_disk_grow(f->disks[0], 3 * DISK_BYTES);
    assert_string_equal(change(f, begin_grow), "");
    assert_int_equal(f->report.disk_count, DISKS);
    assert_true(f->report.disks[0].bytes > before + 2 * DISK_BYTES * 9 / 10);
    assert_true(f->report.disks[0].free_bytes > before);
    assert_string_equal(f->report.disks[0].failure, "");
    assert_int_equal(f->report.volumes[0].state, NODE_VOLUME_READY);
    assert_int_equal(f->report.volumes[0].epoch, epoch); /* It was not opened anew. */
    stop(f);
    fixture_destroy(f);
}

/* A disk that cannot be used is told, and leaves no trace; forced, it is formatted. */
static void a_strange_disk_is_not_added(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    uint8_t other[4096];
    memset(other, 0x5a, sizeof other);
    sim_disk_poke(f->disks[DISKS - 1], 64 << 10, (struct const_span) { other, sizeof other });
    f->later_disks = 1;
    start(f);
    assert_non_null(strstr(change(f, begin_add), "is not empty"));
    assert_int_equal(f->report.disk_count, DISKS - 1);
    assert_int_equal(f->report.problem_count, 0);
    f->disk_configs[DISKS - 1].force = true;
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(f->report.disk_count, DISKS);
    stop(f);
    fixture_destroy(f);
}

/* A disk that was missing is taken up, and a volume that was opened without it has it then. */
static void a_disk_that_returns_is_used(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    stop(f);
    struct busy_disk away = { f->paths[DISKS - 1], UINT32_MAX };
    f->disk_configs[DISKS - 1].open = busy_open;
    f->disk_configs[DISKS - 1].ctx = &away;
    start(f);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->report.disk_count, DISKS - 1);
    const uint64_t epoch = f->report.volumes[0].epoch;
    away.times = 0;
    assert_string_equal(change(f, begin_add), "");
    assert_int_equal(f->report.problem_count, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->report.volumes[0].epoch, epoch + 1);
    stop(f);
    fixture_destroy(f);
}

/* A node may be stopped while a disk is being added, or grows. */
static void stopping_while_disks_change(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 120; steps += 3) {
        struct fixture *f = fixture_create();
        f->later_disks = 1;
        start(f);
        at_home(f, get_report);
        sim_disk_grow(f->disks[0], 2 * DISK_BYTES);
        at_home(f, steps % 2 == 0 ? begin_add : begin_grow);
        for (unsigned i = 0; i < steps; i++)
            (void)sim_world_step(f->world);
        stop(f);
        assert_true(f->is_changed);
        fixture_destroy(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disks_come_and_go),
        cmocka_unit_test(another_disk_at_the_path_is_kept),
        cmocka_unit_test(a_disk_that_cannot_be_used_is_removed),
        cmocka_unit_test(a_disk_grows),
        cmocka_unit_test(a_strange_disk_is_not_added),
        cmocka_unit_test(a_disk_that_returns_is_used),
        cmocka_unit_test(stopping_while_disks_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A node's life: disks that it begins with, and volumes that it is told to serve. */
#include "node_fixture.h"

/* Blank disks are formatted once; the next start finds them as they were. */
static void blank_disks_are_formatted_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    assert_true(status_ok(f->opened));
    at_home(f, get_report);
    assert_int_equal(f->report.disk_count, DISKS);
    assert_int_equal(f->report.problem_count, 0);
    assert_string_equal(f->report.disks[1].name, "node-1/disk-2");
    const struct uuid first = f->report.disks[0].uuid;
    stop(f);
    start(f);
    at_home(f, get_report);
    assert_true(uuid_equal(f->report.disks[0].uuid, first));
    stop(f);
    fixture_destroy(f);
}

/* A disk of another cluster, and one that holds something else, are refused; the rest serves. */
static void strange_disks_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    stop(f);
    uint8_t other[4096];
    memset(other, 0x5a, sizeof other);
    for (uint64_t at = 0; at < M; at += sizeof other)
        sim_disk_poke(f->disks[2], at, (struct const_span) { other, sizeof other });
    f->membership.cluster.b[0] ^= 0xff;
    start(f);
    assert_true(status_ok(f->opened));
    at_home(f, get_report);
    assert_int_equal(f->report.disk_count, 0);
    assert_int_equal(f->report.problem_count, DISKS);
    assert_non_null(strstr(f->report.problems[0].text, "test")); /* The cluster's name. */
    assert_non_null(strstr(f->report.problems[2].text, "--force"));
    stop(f);
    f->membership.cluster.b[0] ^= 0xff;
    start(f);
    at_home(f, get_report);
    assert_int_equal(f->report.disk_count, 2);
    assert_int_equal(f->report.problem_count, 1);
    stop(f);
    f->disk_configs[2].force = true;
    start(f);
    at_home(f, get_report);
    assert_int_equal(f->report.disk_count, DISKS);
    stop(f);
    fixture_destroy(f);
}

/* What is wanted gets served; what is not wanted any more is closed, and can come back. */
static void volumes_follow_the_desired_state(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 2);
    at_home(f, apply);
    wait_for_volumes(f, 2, NODE_VOLUME_READY);
    assert_int_equal(f->report.revision, f->desired.revision);
    at_home(f, apply); /* The same again: nothing happens. */
    assert_true(volumes_are(f, 2, NODE_VOLUME_READY));
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_READY);
    f->desired.volume_count = 1;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    stop(f);
    fixture_destroy(f);
}

/* A volume that is to be deleted is deleted, stays reported so, and goes when it is forgotten. */
static void deleted_volumes_are_reported_until_forgotten(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    f->volumes[0].deleting = true;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_DELETED);
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_DELETED);
    stop(f);
    fixture_destroy(f);
}

/* Without an epoch a volume is reported failed with the reason, and tried again. */
static void a_volume_without_an_epoch_is_retried(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    f->epoch_status = STATUS(UNAVAILABLE);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    assert_non_null(strstr(f->report.volumes[0].reason, "epoch"));
    f->epoch_status = STATUS(OK);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    stop(f);
    fixture_destroy(f);
}

/* A volume whose disks are partly missing is served; one whose disks all are is not. */
static void a_volume_needs_a_disk(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    start(f);
    want_volumes(f, 1);
    memset(f->disk_uuids[1].b, 0xee, 16);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_non_null(strstr(f->last_log, "eeeeeeee")); /* Named as far as it is known. */
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_READY);
    memset(f->disk_uuids, 0xee, sizeof f->disk_uuids);
    f->desired.volume_count = 1;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    stop(f);
    fixture_destroy(f);
}

/* A disk that a dying process still holds is waited for; one that stays busy is refused. */
static void a_busy_disk_is_tried_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct busy_disk soon = { f->paths[0], 5 };
    struct busy_disk never = { f->paths[1], UINT32_MAX };
    f->disk_configs[0].open = busy_open;
    f->disk_configs[0].ctx = &soon;
    f->disk_configs[1].open = busy_open;
    f->disk_configs[1].ctx = &never;
    start(f);
    at_home(f, get_report);
    assert_int_equal(f->report.disk_count, 2);
    assert_int_equal(f->report.problem_count, 1);
    assert_non_null(strstr(f->report.problems[0].text, "another process"));
    stop(f);
    fixture_destroy(f);
}

/* A node may be stopped while it opens its disks. */
static void stopping_while_opening(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    spawn(f);
    while (f->node == NULL)
        assert_true(sim_world_step(f->world));
    assert_false(f->is_open);
    stop(f);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blank_disks_are_formatted_once),
        cmocka_unit_test(strange_disks_are_refused),
        cmocka_unit_test(volumes_follow_the_desired_state),
        cmocka_unit_test(deleted_volumes_are_reported_until_forgotten),
        cmocka_unit_test(a_volume_without_an_epoch_is_retried),
        cmocka_unit_test(a_volume_needs_a_disk),
        cmocka_unit_test(a_busy_disk_is_tried_again),
        cmocka_unit_test(stopping_while_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

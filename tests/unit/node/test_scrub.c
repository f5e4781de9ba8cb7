/* SPDX-License-Identifier: Apache-2.0 */
/* Scrubs of a node's disks, as they are wanted by their numbers. */
#include "node_fixture.h"

static struct node_scrub_order orders[DISKS];

static struct fixture *begin(void)
{
    struct fixture *f = fixture_create();

    start(f);
    want_volumes(f, 1);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    return f;
}

static void end(struct fixture *f)
{
    stop(f);
    fixture_destroy(f);
}

static void want(struct fixture *f, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++)
        orders[i] = (struct node_scrub_order) { .id = id + i, .disk = f->disk_uuids[i] };
    f->desired.scrubs = orders;
    f->desired.scrub_count = count;
    at_home(f, apply);
}

/* What is said of the disk with this UUID. */
static struct node_scrub_report reported(struct fixture *f, unsigned disk)
{
    at_home(f, get_report);
    for (uint32_t i = 0; i < f->report.disk_count; i++)
        if (uuid_equal(f->report.disks[i].uuid, f->disk_uuids[disk]))
            return f->report.disks[i].scrub;
    return (struct node_scrub_report) { 0 };
}

/* Each disk's own, once for each number, until it is not wanted any more. */
static void once_for_each_number(void **state)
{
    (void)state;
    struct fixture *f = begin();
    assert_int_equal(reported(f, 0).id, 0);
    want(f, 2, 7);
    sim_world_run(f->world, NS_PER_S);
    assert_int_equal(reported(f, 0).id, 7);
    assert_int_equal(reported(f, 1).id, 8);
    assert_int_equal(reported(f, 2).id, 0);
    assert_true(reported(f, 0).ended && reported(f, 1).ended);
    want(f, 1, 7);
    assert_true(reported(f, 0).ended);
    assert_int_equal(reported(f, 1).id, 0);
    want(f, 1, 9);
    sim_world_run(f->world, NS_PER_S);
    assert_int_equal(reported(f, 0).id, 9);
    assert_true(reported(f, 0).ended);
    want(f, 0, 0);
    assert_int_equal(reported(f, 0).id, 0);
    end(f);
}

/* A node that stops does not wait for them, and one that starts anew begins where it is told. */
static void it_begins_where_the_order_says(void **state)
{
    (void)state;
    struct fixture *f = begin();
    want(f, DISKS, 3);
    stop(f);
    start(f);
    for (unsigned i = 0; i < DISKS; i++) {
        orders[i].from = UINT64_C(5) << 32;
        orders[i].done_bytes = 4096;
        orders[i].bytes_per_s = 1;
    }
    at_home(f, apply);
    sim_world_run(f->world, NS_PER_S);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_int_equal(reported(f, i).id, 3 + i);
        assert_true(reported(f, i).ended); /* There is nothing. */
    }
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_for_each_number),
        cmocka_unit_test(it_begins_where_the_order_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

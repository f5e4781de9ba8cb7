/* SPDX-License-Identifier: Apache-2.0 */
/* A volume of one node whose replicas lie on disks of another one, too. */
#include "node_fixture.h"
#include "repl/group_steps.h"

#define REPLICAS 2
#define AT_A     0 /* Of the desired state's disks. */
#define AT_B     1

static const struct uuid uuids[2] = { { { 0x0a, 1 } }, { { 0x0b, 1 } } };
static const struct node_stores_config stores[2] = {
    { .served = true, .node = { { 0x0a, 1 } }, .leases = { LEASE_NS, LEASE_WAIT_NS } },
    { .served = true, .node = { { 0x0b, 1 } }, .leases = { LEASE_NS, LEASE_WAIT_NS } },
};

/* a serves the volume, b has disks of it. */
struct pair {
    struct fixture *a, *b;
    struct node_desired_place places[2];
    struct uuid disks[2];
    uint32_t tuples[SHARDS * REPLICAS];
};

static void place(struct pair *p, unsigned i, struct fixture *f)
{
    p->places[i].node = uuids[i];
    p->places[i].addr = sim_machine_addr(f->machine, f->port);
}

/* Starts b, which knows who may use its disks. */
static void start_b(struct pair *p)
{
    start(p->b);
    p->b->desired.members = uuids;
    p->b->desired.member_count = 2;
    at_home(p->b, apply);
    at_home(p->b, get_report);
}

static void make_group(struct pair *p)
{
    struct uuid tuple[1][GROUP_SLOTS] = { { p->disks[AT_A], p->disks[AT_B] } };
    struct group_reason reason;

    p->a->group = (struct group) { 0 };
    assert_true(status_ok(group_extend(&p->a->group, (const struct uuid(*)[GROUP_SLOTS])tuple, 1,
                                       &p->a->group, &reason)));
}

static void want(struct pair *p)
{
    struct fixture *f = p->a;

    want_volumes(f, 1);
    for (unsigned i = 0; i < SHARDS * REPLICAS; i++)
        p->tuples[i] = i % REPLICAS;
    p->disks[AT_A] = f->report.disks[0].uuid;
    p->disks[AT_B] = p->b->report.disks[0].uuid;
    f->volumes[0].volume.replicas = REPLICAS;
    f->volumes[0].placement = p->tuples;
    place(p, AT_A, p->a);
    place(p, AT_B, p->b);
    snprintf(p->places[AT_B].name, sizeof p->places[AT_B].name, "node-2/disk-1");
    snprintf(p->places[AT_B].node_name, sizeof p->places[AT_B].node_name, "node-2");
    f->desired.disks = p->disks;
    f->desired.places = p->places;
    f->desired.disk_count = 2;
    make_group(p);
}

static struct pair *begin(unsigned min_in_sync)
{
    struct pair *p = calloc(1, sizeof *p);

    p->a = fixture_create();
    p->b = fixture_create_beside(p->a);
    p->a->stores = stores[0];
    p->b->stores = stores[1];
    start(p->a);
    start_b(p);
    want(p);
    p->a->volumes[0].volume.min_in_sync = (uint8_t)min_in_sync;
    return p;
}

static void end(struct pair *p)
{
    stop(p->a);
    if (!p->b->is_stopped)
        stop(p->b);
    fixture_destroy(p->b);
    fixture_destroy(p->a);
    free(p);
}

static void serve(struct pair *p)
{
    at_home(p->a, apply);
    wait_for_volumes(p->a, 1, NODE_VOLUME_READY);
}

static bool b_is_in(const struct pair *p)
{
    return group_has_member(&p->a->group, p->disks[AT_B]);
}

static void wait_until_b_is(const struct pair *p, bool in, uint64_t within_ns)
{
    const uint64_t limit = sim_world_now_ns(p->a->world) + within_ns;

    while (b_is_in(p) != in && sim_world_now_ns(p->a->world) < limit)
        assert_true(sim_world_step(p->a->world));
    assert_int_equal(b_is_in(p), in);
}

/* Both disks are members, with the incarnations that they have. */
static void a_volume_lies_on_two_nodes(void **state)
{
    (void)state;
    struct pair *p = begin(2);
    serve(p);
    assert_int_equal(p->a->group.epoch, 1);
    assert_true(b_is_in(p));
    assert_int_equal(p->a->report.volumes[0].disk_count, 0);
    for (unsigned slot = 0; slot < REPLICAS; slot++)
        assert_true(p->a->group.copysets[0].slots[slot].incarnation != 0);
    end(p);
}

/* 7.0: no epoch is taken while too few can be reached; when the other node comes, it is at once. */
static void it_waits_for_the_other_node(void **state)
{
    (void)state;
    struct pair *p = begin(2);
    stop(p->b);
    at_home(p->a, apply);
    wait_for_volumes(p->a, 1, NODE_VOLUME_FAILED);
    assert_int_equal(p->a->group.epoch, 0);
    assert_string_equal(p->a->report.volumes[0].reason,
                        "of 2 replicas in sync 1 can be reached, and 2 must: disk 'node-2/disk-1' "
                        "is missing");
    sim_world_run(p->a->world, 20 * NS_PER_S); /* It is tried again every 5 s by now. */
    start_b(p);
    sim_world_run(p->a->world, 2 * NS_PER_S);
    assert_true(volumes_are(p->a, 1, NODE_VOLUME_READY));
    end(p);
}

/* A node that ends is given up; when it is back its replica is resynced by the same engine, also
 * from another port. */
static void a_node_that_was_away_is_resynced(void **state)
{
    (void)state;
    struct pair *p = begin(1);
    serve(p);
    stop(p->b);
    wait_until_b_is(p, false, NS_PER_S);
    at_home(p->a, get_report);
    assert_int_equal(p->a->report.volumes[0].disk_count, 1);
    assert_string_equal(p->a->report.volumes[0].disks[0].problem, "its node cannot be reached");
    p->b->port = 4421;
    start_b(p);
    sim_world_run(p->a->world, 5 * NS_PER_S);
    assert_false(b_is_in(p)); /* Nobody has said where it is. */
    place(p, AT_B, p->b);
    at_home(p->a, apply);
    wait_until_b_is(p, true, 20 * NS_PER_S);
    assert_true(volumes_are(p->a, 1, NODE_VOLUME_READY));
    assert_int_equal(p->a->group.epoch, 1);
    end(p);
}

/* One that was away only just now is not resynced at once: it may go again. */
static void a_resync_has_its_turn(void **state)
{
    (void)state;
    struct pair *p = begin(1);
    serve(p);
    stop(p->b);
    wait_until_b_is(p, false, NS_PER_S);
    start_b(p);
    sim_world_run(p->a->world, NS_PER_S); /* Longer than a link waits between attempts. */
    at_home(p->a, get_report);
    assert_string_equal(p->a->report.volumes[0].disks[0].problem,
                        "its turn to be resynced is to come");
    wait_until_b_is(p, true, 5 * NS_PER_S);
    end(p);
}

/* With the volume its link ends, and its data are gone there, too. */
static void it_is_deleted_on_both(void **state)
{
    (void)state;
    struct pair *p = begin(1);
    serve(p);
    p->a->volumes[0].deleting = true;
    p->a->volumes[0].delete_epoch = 2;
    at_home(p->a, apply);
    wait_for_volumes(p->a, 1, NODE_VOLUME_DELETED);
    p->a->desired.volume_count = 0;
    at_home(p->a, apply);
    sim_world_run(p->a->world, NS_PER_S);
    assert_true(volumes_are(p->a, 0, NODE_VOLUME_READY));
    stop(p->b);
    sim_world_run(p->a->world, NS_PER_S);
    assert_null(strstr(p->a->last_log, "link to the stores")); /* Nobody misses it. */
    end(p);
}

/* What is on a node that is away is deleted when it is back; until then that is said. */
static void a_part_that_is_away_is_deleted_later(void **state)
{
    (void)state;
    for (unsigned opened = 0; opened < 2; opened++) {
        struct pair *p = begin(1);
        serve(p);
        if (opened == 0) {
            stop(p->b);
            wait_until_b_is(p, false, NS_PER_S);
        }
        p->a->volumes[0].deleting = true;
        p->a->volumes[0].delete_epoch = 2;
        if (opened == 1) {
            stop(p->b);
            stop(p->a);
            start(p->a);
        }
        at_home(p->a, apply);
        wait_for_volumes(p->a, 1, NODE_VOLUME_FAILED);
        assert_string_equal(p->a->report.volumes[0].reason,
                            "disk 'node-2/disk-1' has a part of it, and its node cannot be "
                            "reached: it is deleted there when that is back");
        sim_world_run(p->a->world, 10 * NS_PER_S);
        start_b(p);
        wait_for_volumes(p->a, 1, NODE_VOLUME_DELETED);
        end(p);
    }
}

/* A disk that is on another node than before is reached there: the volume is opened anew. */
static void a_disk_may_move(void **state)
{
    (void)state;
    struct pair *p = begin(1);
    serve(p);
    p->places[AT_B].node = (struct uuid) { { 0x0c } }; /* Which nobody answers for. */
    at_home(p->a, apply);
    sim_world_run(p->a->world, 5 * NS_PER_S);
    assert_true(volumes_are(p->a, 1, NODE_VOLUME_READY));
    assert_int_equal(p->a->group.epoch, 2);
    assert_false(b_is_in(p));
    place(p, AT_B, p->b);
    at_home(p->a, apply);
    wait_until_b_is(p, true, 20 * NS_PER_S);
    assert_int_equal(p->a->group.epoch, 3);
    end(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_lies_on_two_nodes),
        cmocka_unit_test(it_waits_for_the_other_node),
        cmocka_unit_test(a_node_that_was_away_is_resynced),
        cmocka_unit_test(a_resync_has_its_turn),
        cmocka_unit_test(it_is_deleted_on_both),
        cmocka_unit_test(a_part_that_is_away_is_deleted_later),
        cmocka_unit_test(a_disk_may_move),
    };
    return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}

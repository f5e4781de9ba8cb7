/* SPDX-License-Identifier: Apache-2.0 */
/* Whose turn it is, of the slots of a copyset: docs/replication.md, 9.18 and 9.22. */
#include <string.h>

#include "rebuild_fixture.h"

/* Nodes A, B, C with a replica each, and one disk more, b2: beside b1 nothing but that suffices. */
struct four_disks {
    struct uuid a1, b1, b2;
};

static struct four_disks begin_four(struct fixture *f)
{
    cluster(f, 3, 1, 0);
    create(f, 3, false);
    struct four_disks d = { disk_in(0, 0), disk_in(0, 1), disk_in(0, 1) };
    d.b2.b[2] = 1;
    nodes[node_of(d.b1)].disk_count = 2;
    (void)node_join(f, &nodes[node_of(d.b1)]);
    pass(f, 2);
    return d;
}

static void die(struct fixture *f, struct uuid disk)
{
    nodes[node_of(disk)].disk_failed[disk.b[2]] = true;
    set_out(f, disk);
}

static void begin_to_fail(struct uuid disk)
{
    nodes[node_of(disk)].disk_health[disk.b[2]] = TRILITH__V1__DISK_HEALTH__DISK_HEALTH_FAILING;
}

/* In each copyset b1's slot goes to b2, and nothing else is decided. */
static void check_to_b2(struct fixture *f, const struct four_disks *d, bool moves)
{
    const Trilith__V1__WatchNodeResponse *part;
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);

    assert_int_equal(check_decisions(f, true), group.copyset_count); /* b2 is of b1's node. */
    for (size_t i = 0; i < v->n_replacements; i++) {
        assert_memory_equal(part->disk_uuids[v->replacements[i]->was].data, d->b1.b, 16);
        assert_memory_equal(part->disk_uuids[v->replacements[i]->disk].data, d->b2.b, 16);
        assert_int_equal(v->replacements[i]->moves, moves);
    }
}

/* Pass after pass decides the same: the node's part stays the one that it was. */
static void check_it_stays(struct fixture *f, const struct four_disks *d)
{
    const Trilith__V1__WatchNodeResponse *part;

    (void)part_of(f, &part);
    const uint64_t revision = part->revision;
    for (unsigned i = 0; i < 30; i++) {
        pass(f, 1);
        check_to_b2(f, d, true);
        assert_true(says(f, "cannot be rebuilt elsewhere")); /* Nor does that flicker. */
    }
    (void)part_of(f, &part);
    assert_int_equal(part->revision, revision);
    assert_false(is_left_over(f, d->b2));
}

/* 9.18: who is out has no place, and who is failing has one. */
static void what_cannot_be_rebuilt_holds_up_no_move(void **state)
{
    struct fixture *f = *state;
    const struct four_disks d = begin_four(f);

    die(f, d.a1);
    pass(f, 2);
    assert_int_equal(check_decisions(f, false), 0);
    begin_to_fail(d.b1);
    pass(f, 2);
    check_to_b2(f, &d, true);
    check_it_stays(f, &d);
}

/* 9.22: nor does it take one back; until there is a place for it. */
static void what_cannot_be_rebuilt_takes_no_move_back(void **state)
{
    struct fixture *f = *state;
    const struct four_disks d = begin_four(f);
    const Trilith__V1__WatchNodeResponse *part;

    begin_to_fail(d.b1);
    pass(f, 2);
    check_to_b2(f, &d, true);
    die(f, d.a1);
    pass(f, 2);
    check_to_b2(f, &d, true);
    check_it_stays(f, &d);

    node_count = 4;
    node_init(&nodes[3], 4, 1, DISK_BYTES);
    (void)node_join(f, &nodes[3]);
    pass(f, 2);
    assert_int_equal(check_decisions(f, false), group.copyset_count);
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    for (size_t i = 0; i < v->n_replacements; i++)
        assert_memory_equal(part->disk_uuids[v->replacements[i]->was].data, d.a1.b, 16);
    assert_true(is_left_over(f, d.b2));
}

/* 9.11: of two that are out, the one that has a place, whichever slots they have. */
static void of_two_that_are_out_one_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    const struct four_disks d = begin_four(f);

    die(f, d.a1);
    die(f, d.b1);
    pass(f, 2);
    check_to_b2(f, &d, false);
    record_decisions(f);
    check_placement(f);
    pass(f, 2);
    assert_int_equal(check_decisions(f, false), 0); /* The other one has none, which is said. */
    assert_true(says(f, "cannot be rebuilt elsewhere"));
}

/* The disk in the first decision, which is of this one, in all copysets. */
static struct uuid decided_for(struct fixture *f, struct uuid was)
{
    const Trilith__V1__WatchNodeResponse *part;
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    struct uuid disk;

    assert_int_equal(check_decisions(f, true), group.copyset_count);
    for (size_t i = 0; i < v->n_replacements; i++)
        assert_memory_equal(part->disk_uuids[v->replacements[i]->was].data, was.b, 16);
    memcpy(disk.b, part->disk_uuids[v->replacements[0]->disk].data, 16);
    return disk;
}

/* 9.22: the only disk for who is out is the one to which the other one is being moved.  It gets it
 * when what was copied is deleted; no move is decided and taken back in turns meanwhile. */
static void what_a_move_gives_back_is_for_who_is_out(void **state)
{
    struct fixture *f = *state;
    const struct uuid d1 = { { 0xd0, 4, 0 } };

    cluster(f, 3, 1, 0);
    create(f, 3, false);
    const struct uuid a1 = disk_in(0, 0), b1 = disk_in(0, 1);
    node_count = 4;
    node_init(&nodes[3], 4, 1, DISK_BYTES);
    (void)node_join(f, &nodes[3]);
    begin_to_fail(b1);
    pass(f, 2);
    assert_true(uuid_equal(decided_for(f, b1), d1));
    nodes[node_of(b1)].disk_count = 2;
    (void)node_join(f, &nodes[node_of(b1)]);
    die(f, a1);
    for (unsigned i = 0; i < 30; i++) {
        pass(f, i == 0 ? 2 : 1);
        assert_true(is_left_over(f, d1));
        assert_int_equal(node_of(decided_for(f, b1)), node_of(b1));
    }

    ProtobufCBinaryData uuid = arena_uuid_bytes(&f->arena, d1);
    unsigned i = 0;
    while (!uuid_equal(nodes[i].uuid, server))
        i++;
    nodes[i].volumes[0].forgotten = &uuid;
    nodes[i].volumes[0].n_forgotten = 1;
    node_report(f, &nodes[i]);
    nodes[i].volumes[0].n_forgotten = 0;
    for (unsigned k = 0; k < 30; k++) {
        pass(f, k == 0 ? 2 : 1);
        assert_true(uuid_equal(decided_for(f, a1), d1));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_rebuilt_holds_up_no_move),
        TEST(what_cannot_be_rebuilt_takes_no_move_back),
        TEST(of_two_that_are_out_one_is_rebuilt),
        TEST(what_a_move_gives_back_is_for_who_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

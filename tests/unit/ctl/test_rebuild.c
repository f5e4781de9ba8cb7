/* SPDX-License-Identifier: Apache-2.0 */
/* The planner of rebuilds, and the commit that changes a placement: docs/replication.md, 9.11 on.
 */
#include <string.h>

#include "rebuild_fixture.h"
#include "repl/group_steps.h"

/* ---- Tests ---- */

/* A dead disk is not waited for: another one gets its slots, and the placement follows the record.
 */
static void a_dead_disk_is_replaced_at_once(void **state)
{
    struct fixture *f = *state;

    cluster(f, 5, 2, AFTER_NS);
    create(f, 3, false);
    const struct uuid dead = disk_in(0, 1);
    nodes[node_of(dead)].disk_failed[dead.b[2]] = true;
    pass(f, 2);
    assert_int_equal(check_decisions(f, false), 0); /* It is a member still. */
    set_out(f, dead);
    pass(f, 2);
    assert_true(check_decisions(f, false) > 0);
    assert_true(says(f, "is to be rebuilt in"));
    check_placement(f); /* Nothing has moved yet. */
    const Trilith__V1__WatchNodeResponse *part = NULL;
    (void)part_of(f, &part);
    const uint64_t revision = part->revision;
    record_decisions(f);
    (void)part_of(f, &part);
    assert_true(part->revision > revision); /* The node hears of it. */
    check_placement(f);
    assert_int_equal(check_decisions(f, false), 0);
    assert_true(is_left_over(f, dead));
    for (uint32_t n = 0; n < group.copyset_count; n++)
        for (unsigned slot = 0; slot < 3; slot++)
            assert_false(uuid_equal(disk_in(n, slot), dead));
    pass(f, 70);
    assert_int_equal(check_decisions(f, false), 0);
}

/* One that is away is, after its time; if it returns before the engine has recorded it, not. */
static void a_disk_that_is_away_has_its_time(void **state)
{
    struct fixture *f = *state;

    cluster(f, 5, 1, AFTER_NS);
    create(f, 3, false);
    const struct uuid gone =
        disk_in(0, uuid_equal(nodes[node_of(disk_in(0, 1))].uuid, server) ? 2 : 1);
    set_out(f, gone);
    away[node_of(gone)] = true;
    pass(f, 55);
    assert_int_equal(check_decisions(f, false), 0);
    pass(f, 25); /* It was noticed after ten seconds of silence. */
    assert_true(check_decisions(f, false) > 0);
    away[node_of(gone)] = false;
    pass(f, 3);
    assert_int_equal(check_decisions(f, false), 0);
    away[node_of(gone)] = true;
    pass(f, 60);
    assert_int_equal(check_decisions(f, false), 0); /* Time begins anew. */
    fixture_restart(f);                             /* A controller has seen nobody at first. */
    pass(f, 66);
    assert_int_equal(check_decisions(f, false), 0);
    pass(f, 9);
    assert_true(check_decisions(f, false) > 0);
    record_decisions(f);
    check_placement(f);
}

/* An engine that has no session with a disk says so: it is away, whatever its node says. */
static void an_engine_may_miss_a_disk(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__VolumeDiskReport disk = TRILITH__V1__VOLUME_DISK_REPORT__INIT;
    Trilith__V1__VolumeDiskReport *disks[] = { &disk };

    cluster(f, 5, 1, AFTER_NS);
    create(f, 3, false);
    const struct uuid missed = disk_in(0, 2);
    set_out(f, missed);
    disk.uuid = arena_uuid_bytes(&f->arena, missed);
    disk.problem = (char *)(uintptr_t) "its turn is to come"; /* Which is none of its fault. */
    for (unsigned i = 0; i < node_count; i++)
        if (nodes[i].volume_count > 0) {
            nodes[i].volumes[0].disks = disks;
            nodes[i].volumes[0].n_disks = 1;
        }
    pass(f, 100);
    assert_int_equal(check_decisions(f, false), 0);
    disk.unusable = true;
    pass(f, 58);
    assert_int_equal(check_decisions(f, false), 0);
    pass(f, 6);
    assert_true(check_decisions(f, false) > 0);
}

/* The new disk dies, or is missed by the engine, before it is recorded: another one is taken. */
static void a_new_disk_that_dies_is_not_kept(void **state)
{
    struct fixture *f = *state;
    const Trilith__V1__WatchNodeResponse *part;
    struct uuid first, second;

    cluster(f, 6, 1, 0);
    create(f, 3, false);
    const struct uuid dead = disk_in(0, 1);
    nodes[node_of(dead)].disk_failed[0] = true;
    set_out(f, dead);
    pass(f, 2);
    assert_true(check_decisions(f, false) > 0);
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    memcpy(first.b, part->disk_uuids[v->replacements[0]->disk].data, 16);
    nodes[node_of(first)].disk_failed[0] = true;
    pass(f, 2);
    assert_true(check_decisions(f, false) > 0);
    v = part_of(f, &part);
    memcpy(second.b, part->disk_uuids[v->replacements[0]->disk].data, 16);
    assert_false(uuid_equal(first, second));
}

/* "off": whatever is dead. */
static void never_is_never(void **state)
{
    struct fixture *f = *state;

    cluster(f, 5, 1, CTL_REBUILD_NEVER);
    create(f, 3, false);
    const struct uuid dead = disk_in(0, 1);
    nodes[node_of(dead)].disk_failed[0] = true;
    set_out(f, dead);
    pass(f, 100);
    assert_int_equal(check_decisions(f, false), 0);
}

/* No disk suffices: it is said which and why, and what to add; and then it is done. */
static void what_is_missing_is_said(void **state)
{
    struct fixture *f = *state;

    cluster(f, 3, 2, 0);
    create(f, 3, false);
    const struct uuid dead = disk_in(0, 1);
    for (unsigned i = 0; i < 2; i++)
        nodes[node_of(dead)].disk_failed[i] = true;
    set_out(f, dead);
    pass(f, 2);
    assert_int_equal(check_decisions(f, false), 0);
    assert_true(says(f,
                     "cannot be rebuilt elsewhere: of 4 working disks, 2 have or had it already, "
                     "2 are of a node that has another replica of it; add a disk to another "
                     "node, or a node"));
    node_count = 4;
    node_init(&nodes[3], 4, 1, 1 * GIB);
    (void)node_join(f, &nodes[3]);
    pass(f, 2);
    assert_true(says(f, "1 have too little room ("));
    nodes[3].disk_bytes = DISK_BYTES;
    pass(f, 2);
    assert_true(check_decisions(f, false) > 0);
    assert_false(says(f, "cannot be rebuilt"));
    record_decisions(f);
    check_placement(f);
}

/* It is said as long as it is so, also if something else cannot be rebuilt for longer. */
static void what_is_back_is_not_missing(void **state)
{
    struct fixture *f = *state;

    cluster(f, 2, 1, AFTER_NS);
    create(f, 2, false);
    const struct uuid gone =
        disk_in(0, uuid_equal(nodes[node_of(disk_in(0, 0))].uuid, server) ? 1 : 0);
    set_out(f, gone);
    for (unsigned i = 2; i < 4; i++) {
        node_init(&nodes[i], i + 1, 1, DISK_BYTES);
        (void)node_join(f, &nodes[i]);
    }
    node_count = 4;
    away[0] = away[1] = true;
    pass(f, 11);
    create_named(f, "db2", 2, false); /* On the other two. */
    away[0] = away[1] = false;
    for (unsigned i = 2; i < 4; i++)
        nodes[i].disk_failed[0] = true;
    nodes[node_of(gone)].disk_failed[0] = true;
    pass(f, 2);
    assert_true(says(f, "cannot be rebuilt"));
    nodes[node_of(gone)].disk_failed[0] = false;
    pass(f, 2);
    assert_false(says(f, "cannot be rebuilt"));
}

/* --allow-degraded: on another disk of the same node, where there is no other node. */
static void disks_of_one_node_serve_if_that_was_wanted(void **state)
{
    struct fixture *f = *state;

    cluster(f, 1, 4, 0);
    create(f, 3, true);
    for (unsigned i = 0; i < 2; i++) { /* Tuples become alike (9.13): four disks, then... */
        const struct uuid dead = disk_in(0, 0);
        set_out(f, dead);
        nodes[0].disk_failed[dead.b[2]] = true;
        pass(f, 2);
        if (i == 1) { /* ... two that remain are not enough. */
            assert_true(says(f, "add a disk"));
            break;
        }
        assert_true(check_decisions(f, true) > 0);
        record_decisions(f);
        check_placement(f);
    }
}

/* A slot of the copyset is out, gets this disk, and is in again. */
static void move_slot(struct fixture *f, uint32_t copyset, unsigned slot, struct uuid disk)
{
    const struct group_replacement r = { copyset, slot, disk };
    struct group_reason reason;
    static struct group now;

    now = group;
    now.sequence++;
    now.copysets[copyset].slots[slot] = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                                              .disk = disk_in(copyset, slot),
                                                              .since_unix_ms = 5 };
    commit(f, &now);
    assert_int_equal(group_replace(&group, &r, 1, 7, &now, &reason).code, STATUS_OK);
    commit(f, &now);
    now.sequence++;
    now.copysets[copyset].slots[slot] =
        (struct group_slot) { .state = GROUP_SLOT_IN, .disk = disk };
    commit(f, &now);
    check_placement(f);
}

/* 9.13: two copysets whose disks become alike stay two, for their shards and when it grows. */
static void alike_copysets_stay_two(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    struct rpc_sim_call call;
    unsigned other;

    cluster(f, 1, 4, CTL_REBUILD_NEVER);
    create(f, 3, true);
    assert_true(group.copyset_count > 1);
    for (unsigned slot = 0; slot < 3; slot++) {
        struct uuid spare = { { 0xd0, 1, 0 } };
        while (group_find(&group, 1, spare, &other))
            spare.b[2]++;
        if (uuid_equal(disk_in(0, slot), disk_in(1, slot)))
            continue;
        if (group_find(&group, 1, disk_in(0, slot), &other))
            move_slot(f, 1, other, spare);
        move_slot(f, 1, slot, disk_in(0, slot));
    }
    for (unsigned slot = 0; slot < 3; slot++)
        assert_true(uuid_equal(disk_in(0, slot), disk_in(1, slot)));
    check_placement(f);
    request.name = (char *)(uintptr_t) "db1";
    request.bytes = 40 * GIB;
    call_start(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, &call);
    assert_string_equal(call.ended ? call.text : "", "");
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    check_placement(f);
}

/* 9.16: the record decides, also where nothing was; a disk that nobody knows is refused. */
static void the_record_decides(void **state)
{
    struct fixture *f = *state;
    struct group_reason reason;
    static struct group now, before;

    cluster(f, 5, 1, AFTER_NS);
    create(f, 3, false);
    const struct uuid old = disk_in(0, 1);
    set_out(f, old);
    struct group_replacement r = { 0, 1, { { 0xd0, 77, 0 } } };
    assert_true(status_ok(group_replace(&group, &r, 1, 7, &now, &reason)));
    assert_int_equal(commit_result(f, &group, &now)->outcome,
                     TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_INVALID);
    for (unsigned i = 0; i < 5; i++) {
        unsigned other;
        r.disk.b[1] = (uint8_t)(i + 1);
        if (!group_find(&group, 0, r.disk, &other))
            break;
    }
    assert_true(status_ok(group_replace(&group, &r, 1, 7, &now, &reason)));
    before = group;
    meta_sim_fault_next(f->meta, META_SIM_FAULT_REFUSE);
    assert_int_not_equal(commit_result(f, &group, &now)->outcome, COMMITTED);
    meta_sim_fault_next(f->meta, META_SIM_FAULT_LOSE);
    assert_int_not_equal(commit_result(f, &group, &now)->outcome, COMMITTED);
    commit(f, &now); /* Sent again as it is (6.3): it was done. */
    check_placement(f);
    assert_int_equal(commit_result(f, &before, &now)->outcome, COMMITTED);
    for (r.disk.b[1] = 1; r.disk.b[1] <= 5; r.disk.b[1]++) {
        unsigned other;
        if (!group_find(&before, 0, r.disk, &other) && !group_find(&now, 0, r.disk, &other))
            break;
    }
    assert_true(status_ok(group_replace(&before, &r, 1, 7, &now, &reason))); /* Comes late. */
    assert_int_equal(commit_result(f, &before, &now)->outcome,
                     TRILITH__V1__GROUP_OUTCOME__GROUP_OUTCOME_CONFLICT);
    check_placement(f);
}

/* A volume whose disk was replaced grows: its new shards have copysets of the record. */
static void growth_follows(void **state)
{
    struct fixture *f = *state;
    Trilith__V1__ResizeVolumeRequest request = TRILITH__V1__RESIZE_VOLUME_REQUEST__INIT;
    struct rpc_sim_call call;

    cluster(f, 1, 4, 0);
    create(f, 3, true);
    const struct uuid dead = disk_in(0, 0);
    set_out(f, dead);
    nodes[0].disk_failed[dead.b[2]] = true;
    pass(f, 2);
    record_decisions(f);
    request.name = (char *)(uintptr_t) "db1";
    request.bytes = 40 * GIB;
    call_start(f, CTL_SERVICE_VOLUME, RESIZE, &request.base, &call);
    assert_string_equal(call.ended ? call.text : "", "");
    rpc_sim_cancel(&f->sim, &call);
    rpc_sim_call_fini(&call);
    check_placement(f);
}

/* A disk that is to get a slot, or had one, is not given away, or given another of the volume. */
static void a_disk_that_had_it_is_not_chosen(void **state)
{
    struct fixture *f = *state;

    cluster(f, 4, 1, 0);
    create(f, 3, false);
    const struct uuid dead = disk_in(0, 1);
    for (unsigned i = 0; i < 2; i++) {
        const struct uuid gone = i == 0 ? dead : disk_in(0, 1);
        set_out(f, gone);
        nodes[node_of(gone)].disk_failed[0] = true;
        nodes[node_of(dead)].disk_failed[0] = i == 0; /* The first one is back, with what it has. */
        pass(f, 2);
        if (i == 1)
            break;
        assert_true(check_decisions(f, false) > 0);
        record_decisions(f);
        assert_true(is_left_over(f, dead));
    }
    assert_true(says(f, "have or had it already"));

    /* 9.17: until the node says that what it had is deleted; not any node. */
    for (unsigned i = 0; i < node_count; i++) {
        ProtobufCBinaryData uuid = arena_uuid_bytes(&f->arena, dead);
        Trilith__V1__VolumeReport *v =
            node_says(f, &nodes[i], arena_uuid_bytes(&f->arena, volume), READY);
        if (uuid_equal(nodes[i].uuid, server))
            continue;
        v->forgotten = &uuid;
        v->n_forgotten = 1;
        node_report(f, &nodes[i]);
        v->n_forgotten = 0;
    }
    assert_true(is_left_over(f, dead));
    for (unsigned i = 0; i < node_count; i++) {
        ProtobufCBinaryData uuid = arena_uuid_bytes(&f->arena, dead);
        if (!uuid_equal(nodes[i].uuid, server))
            continue;
        nodes[i].volumes[0].forgotten = &uuid;
        nodes[i].volumes[0].n_forgotten = 1;
        node_report(f, &nodes[i]);
        node_report(f, &nodes[i]);
        nodes[i].volumes[0].n_forgotten = 0;
    }
    assert_false(is_left_over(f, dead));
    pass(f, 2);
    assert_true(check_decisions(f, false) > 0);
}

/* All that is on a disk goes to another one. */
static void move_all(struct fixture *f, struct uuid from, struct uuid to)
{
    unsigned slot;

    for (uint32_t n = 0; n < group.copyset_count; n++)
        if (group_find(&group, n, from, &slot))
            move_slot(f, n, slot, to);
}

/* The server's next report: what the disk had is deleted. */
static void forget(struct fixture *f, struct uuid disk, uint64_t number, uint64_t revision)
{
    ProtobufCBinaryData uuid = arena_uuid_bytes(&f->arena, disk);
    unsigned i = 0;

    while (!uuid_equal(nodes[i].uuid, server))
        i++;
    nodes[i].instance = 7;
    nodes[i].number = number;
    nodes[i].revision = revision;
    nodes[i].volumes[0].forgotten = &uuid;
    nodes[i].volumes[0].n_forgotten = 1;
    node_report(f, &nodes[i]);
    nodes[i].volumes[0].n_forgotten = 0;
}

/* 9.17: what a disk had is deleted, it gets it again, and is given up again: a report from before
 * that does not speak of what it has now. */
static void deleted_before_is_not_deleted_now(void **state)
{
    struct fixture *f = *state;
    const Trilith__V1__WatchNodeResponse *part;

    cluster(f, 4, 1, CTL_REBUILD_NEVER);
    create(f, 3, false);
    for (unsigned i = 4; i < 6; i++) { /* Nothing lies on their disks. */
        node_init(&nodes[i], i + 1, 1, DISK_BYTES);
        (void)node_join(f, &nodes[i]);
        node_report(f, &nodes[i]);
    }
    const struct uuid disk = disk_in(0, 1);
    move_all(f, disk, (struct uuid) { { 0xd0, 5, 0 } });
    assert_true(is_left_over(f, disk));
    (void)part_of(f, &part);
    const uint64_t revision = part->revision;
    forget(f, disk, 8, revision);
    assert_false(is_left_over(f, disk));

    move_all(f, (struct uuid) { { 0xd0, 5, 0 } }, disk);
    move_all(f, disk, (struct uuid) { { 0xd0, 6, 0 } });
    assert_true(is_left_over(f, disk));
    (void)part_of(f, &part);
    forget(f, disk, 7, part->revision); /* Overtaken on the way. */
    forget(f, disk, 8, part->revision);
    assert_true(is_left_over(f, disk));
    forget(f, disk, 9, revision); /* Not overtaken, but long on the way. */
    assert_true(is_left_over(f, disk));
    forget(f, disk, 10, part->revision);
    assert_false(is_left_over(f, disk));
}

/* ---- Disks that are failing (9.18 on) ---- */

/* A volume, and a disk of it that is failing from now on. */
static struct uuid begin_failing(struct fixture *f, unsigned count)
{
    cluster(f, count, 1, AFTER_NS);
    create(f, 3, false);
    static struct group now; /* Its engine has recorded whom it has found. */
    now = group;
    now.sequence++;
    for (uint32_t n = 0; n < now.copyset_count; n++)
        for (unsigned slot = 0; slot < 3; slot++)
            now.copysets[n].slots[slot].incarnation = 5;
    commit(f, &now);
    const struct uuid bad = disk_in(0, 1);
    nodes[node_of(bad)].disk_health[0] = TRILITH__V1__DISK_HEALTH__DISK_HEALTH_FAILING;
    pass(f, 2);
    return bad;
}

static void be_well(struct fixture *f, struct uuid disk)
{
    nodes[node_of(disk)].disk_health[0] = TRILITH__V1__DISK_HEALTH__DISK_HEALTH_HEALTHY;
    pass(f, 2);
}

/* What is on it is moved, while it is a member; then it has nothing of the volume any more. */
static void a_failing_disk_is_emptied(void **state)
{
    struct fixture *f = *state;
    static struct group now;
    struct uuid disk;

    const struct uuid bad = begin_failing(f, 5);
    size_t left = check_decisions(f, false);
    assert_true(left > 0);
    assert_true(says(f, "is failing: in "));
    assert_false(says(f, "is to be rebuilt"));
    while (left-- > 0) {
        make_move(f, &now, &disk);
        assert_false(uuid_equal(disk, bad));
        commit(f, &now);
        check_placement(f);
        assert_false(is_left_over(f, disk));
        assert_int_equal(check_decisions(f, false), left);
        assert_int_equal(is_left_over(f, bad), left == 0);
    }
    pass(f, 70);
    assert_int_equal(check_decisions(f, false), 0);
    for (uint32_t n = 0; n < group.copyset_count; n++)
        for (unsigned slot = 0; slot < 3; slot++) {
            assert_false(uuid_equal(disk_in(n, slot), bad));
            assert_int_equal(group.copysets[n].slots[slot].state, GROUP_SLOT_IN);
        }
}

/* 9.22: well again, it is left as it is; what may have been copied is to be deleted, unless the
 * engine was quicker. */
static void a_disk_that_is_well_again_stays(void **state)
{
    struct fixture *f = *state;

    for (unsigned late = 0; late < 2; late++) {
        static struct group now;
        struct uuid disk;
        const struct uuid bad = begin_failing(f, 4);
        assert_true(check_decisions(f, false) > 0);
        make_move(f, &now, &disk);
        be_well(f, bad);
        assert_int_equal(check_decisions(f, false), 0);
        Stored__V1__Volume *const r = stored(f);
        bool has_shards = false;
        for (size_t i = 0; i < r->n_placement; i++)
            has_shards |= memcmp(r->disks[r->placement[i]].data, disk.b, 16) == 0;
        record_free(&r->base);
        assert_int_equal(is_left_over(f, disk), !has_shards);
        if (late == 0)
            continue;
        commit(f, &now);
        check_placement(f);
        assert_false(is_left_over(f, disk));
    }
}

/* One that fails for good before that is rebuilt, on the disk that was chosen. */
static void a_failing_disk_may_die(void **state)
{
    struct fixture *f = *state;
    const struct uuid bad = begin_failing(f, 5);
    const size_t decided = check_decisions(f, false);
    const Trilith__V1__WatchNodeResponse *part;

    nodes[node_of(bad)].disk_failed[0] = true;
    set_out(f, bad);
    pass(f, 2);
    assert_int_equal(part_of(f, &part)->n_replacements, decided);
    record_decisions(f);
    check_placement(f);
    assert_true(is_left_over(f, bad));
}

/* A node that is silent for a while takes nothing back: what is copied would be lost. */
static void silence_takes_nothing_back(void **state)
{
    struct fixture *f = *state;
    struct uuid disk;
    static struct group now;
    const struct uuid bad = begin_failing(f, 5);
    const size_t decided = check_decisions(f, false);

    away[node_of(bad)] = !uuid_equal(nodes[node_of(bad)].uuid, server);
    pass(f, 20);
    assert_int_equal(check_decisions(f, false), decided);
    away[node_of(bad)] = false;
    make_move(f, &now, &disk);
    away[node_of(disk)] = !uuid_equal(nodes[node_of(disk)].uuid, server);
    pass(f, 5);
    assert_int_equal(check_decisions(f, false), decided);
}

/* Of a copyset that has lost another disk for good, that one comes first. */
static void what_is_dead_comes_first(void **state)
{
    struct fixture *f = *state;
    const struct uuid bad = begin_failing(f, 6);
    const struct uuid dead = disk_in(0, 0);
    const Trilith__V1__WatchNodeResponse *part;

    assert_true(check_decisions(f, false) > 0);
    assert_true(uuid_equal(disk_in(0, 1), bad));
    nodes[node_of(dead)].disk_failed[0] = true;
    set_out(f, dead);
    pass(f, 3);
    assert_true(check_decisions(f, false) > 0);
    const Trilith__V1__DesiredVolume *v = part_of(f, &part);
    for (size_t i = 0; i < v->n_replacements; i++)
        if (v->replacements[i]->copyset == 0)
            assert_false(v->replacements[i]->moves);
}

/* Where nothing else may have it, that is said, and it stays where it is. */
static void where_nothing_else_is_it_stays(void **state)
{
    struct fixture *f = *state;

    (void)begin_failing(f, 3);
    assert_int_equal(check_decisions(f, false), 0);
    assert_true(says(f, "cannot be moved elsewhere"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_dead_disk_is_replaced_at_once),
        TEST(a_disk_that_is_away_has_its_time),
        TEST(an_engine_may_miss_a_disk),
        TEST(a_new_disk_that_dies_is_not_kept),
        TEST(never_is_never),
        TEST(what_is_missing_is_said),
        TEST(what_is_back_is_not_missing),
        TEST(disks_of_one_node_serve_if_that_was_wanted),
        TEST(alike_copysets_stay_two),
        TEST(the_record_decides),
        TEST(growth_follows),
        TEST(a_disk_that_had_it_is_not_chosen),
        TEST(deleted_before_is_not_deleted_now),
        TEST(a_failing_disk_is_emptied),
        TEST(a_disk_that_is_well_again_stays),
        TEST(a_failing_disk_may_die),
        TEST(silence_takes_nothing_back),
        TEST(what_is_dead_comes_first),
        TEST(where_nothing_else_is_it_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

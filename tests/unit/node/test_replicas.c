/* SPDX-License-Identifier: Apache-2.0 */
/* A volume of three replicas on the disks of one node: its group is taken, changed and given up. */
#include "node/volume_group.h"
#include "node_fixture.h"
#include "repl/group_steps.h"

#define REPLICAS 3

static uint32_t tuples[SHARDS_MAX * REPLICAS];

/* Shard i has disk i first. */
static struct fixture *begin(void)
{
    struct fixture *f = fixture_create();
    struct uuid disks[SHARDS][GROUP_SLOTS];
    struct group_reason reason;

    start(f);
    want_volumes(f, 1);
    for (uint32_t i = 0; i < SHARDS * REPLICAS; i++)
        tuples[i] = (i / REPLICAS + i % REPLICAS) % DISKS;
    for (uint32_t i = 0; i < SHARDS; i++)
        for (uint32_t slot = 0; slot < REPLICAS; slot++)
            disks[i][slot] = f->disk_uuids[tuples[i * REPLICAS + slot]];
    f->volumes[0].volume.replicas = REPLICAS;
    f->volumes[0].volume.min_in_sync = 2;
    f->volumes[0].placement = tuples;
    f->group = (struct group) { 0 };
    assert_true(status_ok(group_extend(&f->group, (const struct uuid(*)[GROUP_SLOTS])disks, DISKS,
                                       &f->group, &reason))); /* Shard 3 is where shard 0 is. */
    return f;
}

static void end(struct fixture *f)
{
    stop(f);
    fixture_destroy(f);
}

/* The node's disk is not in the machine at the next start; it is the last one. */
static void restart(struct fixture *f, unsigned later_disks)
{
    stop(f);
    f->later_disks = later_disks;
    start(f);
    at_home(f, apply);
}

static unsigned out_of_sync(const struct fixture *f)
{
    unsigned count = 0;

    for (uint32_t n = 0; n < f->group.copyset_count; n++)
        count += REPLICAS - (unsigned)__builtin_popcount(group_members(&f->group, n));
    return count;
}

/* It is served with the epoch that was taken, when its disks' incarnations are recorded. */
static void it_is_opened_with_its_group(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->group.epoch, 1);
    assert_int_equal(f->report.volumes[0].epoch, 1);
    assert_int_equal(f->epoch, 0); /* Nobody took one without its record. */
    assert_int_equal(f->group_commits, 1);
    for (uint32_t n = 0; n < f->group.copyset_count; n++)
        assert_false(group_is_fresh(&f->group, n));
    assert_int_equal(f->report.volumes[0].disk_count, 0);
    restart(f, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->group.epoch, 2);
    assert_int_equal(f->group_commits, 1); /* Nothing has changed. */
    end(f);
}

/* With enough of the members it is served; who is missing is out of sync before that. */
static void one_disk_may_be_missing(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    restart(f, 1);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(out_of_sync(f), DISKS); /* The disk is in each copyset. */
    assert_int_equal(f->report.volumes[0].disk_count, 1);
    assert_true(uuid_equal(f->report.volumes[0].disks[0].uuid, f->disk_uuids[2]));
    assert_false(f->report.volumes[0].disks[0].holds_writes);
    end(f);
}

static void on_added(void *ctx, const char *problem, const char *gone)
{
    assert_string_equal(gone, "");
    assert_string_equal(problem, "");
    ((struct fixture *)ctx)->is_changed = true;
}

static void add_last(struct fixture *f)
{
    node_add_disk(f->node, &f->disk_configs[DISKS - 1], on_added, f);
}

/* The engine that serves is told of a disk that comes, and brings it up to date. */
static void a_disk_that_comes_is_resynced(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    restart(f, 1);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(out_of_sync(f), DISKS);
    at_home(f, add_last);
    sim_world_run(f->world, 2 * NS_PER_S);
    assert_true(f->is_changed);
    assert_int_equal(out_of_sync(f), 0);
    assert_true(volumes_are(f, 1, NODE_VOLUME_READY));
    assert_int_equal(f->group.epoch, 2);
    assert_int_equal(f->report.volumes[0].disk_count, 0);
    end(f);
}

/* The engine keeps to the node's rate. */
static void a_resync_is_as_fast_as_the_node_allows(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    for (uint32_t n = 0; n < f->group.copyset_count; n++) {
        struct group_slot *const s = &f->group.copysets[n].slots[0];
        *s = (struct group_slot) { .state = GROUP_SLOT_OUT, .disk = s->disk, .whole = true };
    }
    f->resync_bytes_per_s = M; /* A region in a second, of 16. */
    restart(f, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    sim_world_run(f->world, 13 * NS_PER_S);
    assert_int_not_equal(out_of_sync(f), 0);
    sim_world_run(f->world, 5 * NS_PER_S);
    assert_int_equal(out_of_sync(f), 0);
    end(f);
}

/* 7.0: with too few no epoch is taken, which would only stop whoever can serve it. */
static void without_enough_members_no_epoch_is_taken(void **state)
{
    (void)state;
    struct fixture *f = begin();
    static struct node_desired_place places[DISKS];
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    snprintf(places[1].name, sizeof places[1].name, "node-7/disk-2");
    f->desired.places = places;
    restart(f, 2);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    sim_world_run(f->world, 10 * NS_PER_S);
    assert_int_equal(f->group.epoch, 1);
    at_home(f, get_report);
    assert_string_equal(f->report.volumes[0].reason,
                        "of 3 replicas in sync 1 can be reached, and 2 must: disk 'node-7/disk-2' "
                        "is missing");
    restart(f, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->group.epoch, 2);
    assert_int_equal(out_of_sync(f), 0);
    end(f);
}

/* 7.4: those that have lost power wait half a minute for the one that may not have. */
static void who_may_have_everything_is_waited_for(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    for (uint32_t i = 0; i < f->group.copyset_count * GROUP_SLOTS; i++)
        f->group.copysets[i / GROUP_SLOTS].slots[i % GROUP_SLOTS].incarnation += 7;
    restart(f, 1);
    const uint64_t since_ns = sim_world_now_ns(f->world);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    assert_non_null(strstr(f->report.volumes[0].reason, "the others are waited for"));
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    const uint64_t waited_ns = sim_world_now_ns(f->world) - since_ns;
    assert_in_range(waited_ns, VOLUME_GROUP_WAIT_NS, VOLUME_GROUP_WAIT_NS + 10 * NS_PER_S);
    assert_int_equal(out_of_sync(f), DISKS);
    end(f);
}

/* 7.8: an engine whose change conflicts is fenced, and the volume is opened anew, with the next
 * epoch. */
static void a_conflict_ends_the_engine(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    /* One of them has another one: when all is settled, that is to be recorded. */
    f->group.copysets[0].slots[1].incarnation += 7;
    f->group_conflicts = 1;
    restart(f, 0);
    sim_world_run(f->world, 5 * NS_PER_S);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->group_conflicts, 0);
    assert_int_equal(f->group.epoch, 3);
    assert_int_equal(f->group_commits, 2);
    end(f);
}

/* The controller's state is put back as it was: before the disks have kept another set, or have
 * seen higher epochs.  No epoch is taken until they are behind; its last state is believed. */
static void a_record_of_before_is_not_believed(void **state)
{
    (void)state;
    for (unsigned engines = 0; engines < 4; engines++) {
        struct fixture *f = begin();
        at_home(f, apply);
        wait_for_volumes(f, 1, NODE_VOLUME_READY);
        struct group before = f->group;
        restart(f, 1);
        wait_for_volumes(f, 1, NODE_VOLUME_READY);
        if (engines == 3) { /* As of the moment before the change, with the same engine. */
            before.epoch = f->group.epoch;
            before.sequence = f->group.sequence - 1;
        }
        for (unsigned i = 0; i < engines % 3; i++) {
            restart(f, 1);
            wait_for_volumes(f, 1, NODE_VOLUME_READY);
        }
        const struct group last = f->group;
        f->group = before;
        restart(f, 0);
        wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
        sim_world_run(f->world, 60 * NS_PER_S);
        at_home(f, get_report);
        assert_non_null(strstr(f->report.volumes[0].reason, "put back its last state"));
        assert_int_equal(f->group.epoch, before.epoch + 1);
        f->group = last;
        wait_for_volumes(f, 1, NODE_VOLUME_READY);
        assert_int_equal(f->group.epoch, last.epoch + 1);
        end(f);
    }
}

/* 11.10: with another one it is opened anew, and takes its epoch for that; with the same it is
 * not. */
static void another_min_in_sync(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->min_in_sync, 2);
    at_home(f, apply);
    sim_world_run(f->world, 5 * NS_PER_S);
    assert_int_equal(f->group.epoch, 1);
    f->group.epoch++; /* Nobody's. */
    f->group.sequence++;
    f->volumes[0].volume.min_in_sync = 1;
    at_home(f, apply);
    sim_world_run(f->world, 5 * NS_PER_S);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->group.epoch, 3);
    assert_int_equal(f->min_in_sync, 1);
    restart(f, 2); /* One of three is enough now. */
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(out_of_sync(f), 2 * DISKS);
    end(f);
}

/* 11.10: an epoch that was taken for another one than is wanted when that is known is nobody's. */
static void another_min_in_sync_meanwhile(void **state)
{
    (void)state;
    struct fixture *f = begin();
    f->holds_take = true;
    at_home(f, apply);
    sim_world_run(f->world, NS_PER_S);
    assert_non_null(f->held);
    f->volumes[0].volume.min_in_sync = 1;
    at_home(f, apply);
    at_home(f, release_take);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->min_in_sync, 1);
    assert_int_equal(f->group.epoch, 2);
    assert_int_equal(f->report.volumes[0].epoch, 2);
    end(f);
}

/* A group that has more copysets than the node was told of is not taken: what is missing would
 * count as silent. */
static void a_group_of_another_size_is_not_taken(void **state)
{
    (void)state;
    struct fixture *f = begin();
    const struct group small = f->group;
    struct uuid tuple[1][GROUP_SLOTS] = { { f->disk_uuids[1], f->disk_uuids[0], { { 9 } } } };
    struct group_reason reason;
    assert_true(status_ok(
        group_extend(&f->group, (const struct uuid(*)[GROUP_SLOTS])tuple, 1, &f->group, &reason)));
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    assert_int_equal(f->group.epoch, 0);
    f->group = small;
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    end(f);
}

/* Two more shards, on tuples of disks that no shard had: as the controller records them. */
static void grow(struct fixture *f)
{
    static const uint32_t more[2 * REPLICAS] = { 0, 2, 1, 2, 1, 0 };
    struct uuid disks[2][GROUP_SLOTS];
    struct group_reason reason;

    memcpy(&tuples[SHARDS * REPLICAS], more, sizeof more);
    for (uint32_t i = 0; i < 2 * REPLICAS; i++)
        disks[i / REPLICAS][i % REPLICAS] = f->disk_uuids[more[i]];
    f->volumes[0].volume.bytes = SHARDS_MAX * SHARD_BYTES;
    f->volumes[0].volume.first_run_shards = SHARDS;
    f->volumes[0].shard_count = SHARDS_MAX;
    assert_true(status_ok(
        group_extend(&f->group, (const struct uuid(*)[GROUP_SLOTS])disks, 2, &f->group, &reason)));
    at_home(f, apply);
    sim_world_run(f->world, 5 * NS_PER_S);
    assert_true(volumes_are(f, 1, NODE_VOLUME_READY));
    assert_int_equal(f->report.volumes[0].bytes, SHARDS_MAX * SHARD_BYTES);
}

/* It grows onto new copysets as it is, without a new epoch; who is in them is recorded first. */
static void it_grows_onto_new_copysets(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    grow(f);
    assert_int_equal(f->group.epoch, 1);
    assert_int_equal(f->group_commits, 2);
    assert_int_equal(f->group.copyset_count, DISKS + 2);
    for (uint32_t n = 0; n < f->group.copyset_count; n++)
        assert_false(group_is_fresh(&f->group, n));
    restart(f, 0);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    assert_int_equal(f->report.volumes[0].bytes, SHARDS_MAX * SHARD_BYTES);
    end(f);
}

/* If what it has grown by cannot be recorded, it is opened anew, with the next epoch. */
static void a_conflict_while_it_grows(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    f->group_conflicts = 1;
    grow(f);
    assert_int_equal(f->group.epoch, 2);
    assert_int_equal(f->group_conflicts, 0);
    end(f);
}

/* If another engine has had it meanwhile, too. */
static void another_engine_while_it_grows(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    f->group.epoch += 3;
    f->group.sequence += 3;
    grow(f);
    assert_int_equal(f->group.epoch, 5);
    end(f);
}

/* 11.7: its group has no record any more; it is deleted with the epoch that the controller names.
 */
static void it_is_deleted_without_a_group(void **state)
{
    (void)state;
    struct fixture *f = begin();
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_READY);
    const uint64_t commits = f->group_commits;
    f->volumes[0].deleting = true;
    f->volumes[0].delete_epoch = 2;
    f->group_status = STATUS(NOT_FOUND);
    restart(f, 0); /* Before it knows that it is to be deleted. */
    wait_for_volumes(f, 1, NODE_VOLUME_DELETED);
    assert_int_equal(f->group_commits, commits);
    f->desired.volume_count = 0;
    at_home(f, apply);
    wait_for_volumes(f, 0, NODE_VOLUME_DELETED);
    end(f);
}

/* It can be deleted while it cannot be served. */
static void what_has_failed_is_deleted(void **state)
{
    (void)state;
    struct fixture *f = begin();
    f->group_status = STATUS(CORRUPT);
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_FAILED);
    f->volumes[0].deleting = true;
    f->volumes[0].delete_epoch = 1;
    at_home(f, apply);
    wait_for_volumes(f, 1, NODE_VOLUME_DELETED);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_opened_with_its_group),
        cmocka_unit_test(one_disk_may_be_missing),
        cmocka_unit_test(a_disk_that_comes_is_resynced),
        cmocka_unit_test(a_resync_is_as_fast_as_the_node_allows),
        cmocka_unit_test(without_enough_members_no_epoch_is_taken),
        cmocka_unit_test(who_may_have_everything_is_waited_for),
        cmocka_unit_test(a_conflict_ends_the_engine),
        cmocka_unit_test(a_record_of_before_is_not_believed),
        cmocka_unit_test(another_min_in_sync),
        cmocka_unit_test(another_min_in_sync_meanwhile),
        cmocka_unit_test(a_group_of_another_size_is_not_taken),
        cmocka_unit_test(it_grows_onto_new_copysets),
        cmocka_unit_test(a_conflict_while_it_grows),
        cmocka_unit_test(another_engine_while_it_grows),
        cmocka_unit_test(it_is_deleted_without_a_group),
        cmocka_unit_test(what_has_failed_is_deleted),
    };
    return cmocka_run_group_tests_name("replicas", tests, NULL, NULL);
}

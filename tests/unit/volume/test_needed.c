/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member is needed, as one replica is out, and does not answer: when the replica returns it takes
 * the member's place (docs/replication.md, 11.4).
 */
#include "remote_case.h"
#include "volume/rounds.h"

#define LONG (30 * NS_PER_S)

/* Replica 1 is out, and has missed a write of region 0. */
static struct world *world_without_first(void)
{
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    pw_block(c->w, 0, true);
    pw_cut(c->w, 0);
    paint(c, 0, 8192, 0x11);
    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 8192);
    assert_int_equal(finish(c, &t, 2 * PATIENCE).code, STATUS_OK);
    assert_false(is_in(c, 1));
    return c;
}

/* A write of the second half of that, and a read, which wait for a member. */
static void begin_two(struct world *c, struct task t[2])
{
    paint(c, 1, 4096, 0x22);
    begin(c, &t[0], 1, 0, NVME_NS_WRITE, 4096, 4096);
    begin(c, &t[1], 2, 1, NVME_NS_READ, 0, 4096);
}

static void assert_waiting(struct world *c, struct task t[2])
{
    assert_int_equal(finish(c, &t[0], 5 * PATIENCE).code, STATUS_BUSY);
    assert_int_equal(finish(c, &t[1], 0).code, STATUS_BUSY);
}

static void assert_done(struct world *c, struct task t[2], uint64_t within_ns)
{
    assert_int_equal(finish(c, &t[0], within_ns).code, STATUS_OK);
    assert_int_equal(finish(c, &t[1], 0).code, STATUS_OK);
    assert_int_equal(c->memory[2 * SLOT_BYTES], 0x11);
}

static void assert_on_first(const struct world *c)
{
    assert_int_equal(byte_at(c, 0, 0), 0x11);
    assert_int_equal(byte_at(c, 0, 4096), 0x22);
}

static void lose(struct world *c, unsigned store)
{
    pw_block(c->w, store, true);
    pw_cut(c->w, store);
}

/* Replica 1 returns, and gets the place of replica 2, for which these have waited. */
static void first_returns(struct world *c, struct task t[2])
{
    assert_waiting(c, t);
    assert_true(is_in(c, 2));
    pw_block(c->w, 0, false);
    assert_done(c, t, LONG);
    assert_true(is_in(c, 0) && is_in(c, 1));
    assert_false(is_in(c, 2));
    assert_on_first(c);
}

static void second_is_resynced(struct world *c)
{
    pw_run(c->w, LONG);
    assert_true(is_in(c, 2));
    assert_int_equal(byte_at(c, 1, 4096), 0x22);
}

/* The node of the member is gone. */
static void who_is_gone_is_replaced(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 };

    lose(c, 1);
    begin_two(c, t);
    first_returns(c, t);
    pw_block(c->w, 1, false);
    second_is_resynced(c);
    world_destroy(c);
}

/*
 * The replica of a failing disk here is being moved, and what is asked for that at the other member
 * has no answer, as its node is gone.  The move is given up for who returns (9.19), and does not
 * wait for that.
 */
static void move_keeps_nobody_back(bool returns_first)
{
    struct world *const c = world_create(true, 2);
    struct volume_disk disks[REPLICAS + 1] = { c->disks[0], c->disks[1], c->disks[2], c->disks[0] };
    const struct volume_replacement moved = {
        .slot = 0, .was = disks[0].uuid, .disk = REPLICAS, .moves = true
    };
    struct store spare;
    struct task w = { 0 }, t[2] = { 0 };

    fake_store_init(&spare, c->w->reactors[0], SHARD);
    spare.disk = (struct uuid) { { 0xd3 } };
    disks[REPLICAS].name = "node-1/disk-2";
    disks[REPLICAS].uuid = spare.disk;
    disks[REPLICAS].store = &spare;
    c->config.disks = disks;
    c->config.disk_count = REPLICAS + 1;
    assert_int_equal(world_open(c).code, STATUS_OK);
    lose(c, 0);
    paint(c, 0, 8192, 0x11);
    begin(c, &w, 0, 0, NVME_NS_WRITE, 0, 8192);
    assert_int_equal(finish(c, &w, 2 * PATIENCE).code, STATUS_OK);
    assert_false(is_in(c, 1));
    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_READ;
    assert_int_equal(volume_replace(c->volume, &c->config, &moved, 1).code, STATUS_OK);
    for (unsigned i = 0; i < 10000 && peer(c, 1)->held_count == 0; i++)
        pw_run(c->w, NS_PER_MS);
    assert_true(peer(c, 1)->held_count > 0);
    if (returns_first) {
        pw_block(c->w, 0, false);
        pw_run(c->w, PATIENCE / 2);
    }
    lose(c, 1);
    pw_run(c->w, LEASE_OVER);
    begin_two(c, t);
    if (!returns_first) {
        assert_waiting(c, t);
        pw_block(c->w, 0, false);
    }
    assert_done(c, t, LONG);
    assert_true(is_in(c, 1));
    assert_false(is_in(c, 0) || is_in(c, 2));
    assert_true(group_has_member(&c->meta.record, spare.disk)); /* It was begun anew then. */
    assert_on_first(c);
    fake_peer_release(peer(c, 1));
    pw_block(c->w, 1, false);
    second_is_resynced(c);
    world_destroy(c);
    fake_store_fini(&spare);
}

static void a_move_keeps_nobody_back(void **state)
{
    (void)state;
    move_keeps_nobody_back(false);
    move_keeps_nobody_back(true);
}

/* One here has no memory for a moment: it is asked again. */
static void who_has_no_memory_is_asked_again(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 3);
    struct task t = { 0 };

    c->store.fail_next = STATUS(NO_MEMORY);
    paint(c, 0, 4096, 0x11);
    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
    assert_int_equal(finish(c, &t, VOLUME_ASK_AGAIN_NS / 2).code, STATUS_BUSY);
    assert_int_equal(finish(c, &t, VOLUME_ASK_AGAIN_NS).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

/* The node lives, but the disk of the member does not answer. */
static void who_hangs_is_replaced(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 };

    peer(c, 1)->hold = true;
    begin_two(c, t);
    first_returns(c, t);
    fake_peer_release(peer(c, 1));
    second_is_resynced(c);
    world_destroy(c);
}

/* It failed a write, and was suspected for that, before its node was gone. */
static void who_fails_and_is_gone_is_replaced(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 }, failed = { 0 };

    peer(c, 1)->fail_sc = NVME_SC_WRITE_FAULT;
    peer(c, 1)->fail_opcode = WIRE_WRITE;
    begin(c, &failed, 3, 0, NVME_NS_WRITE, SHARD, 4096);
    assert_int_equal(finish(c, &failed, LEASE_OVER).code, STATUS_BUSY);
    assert_int_equal(peer(c, 1)->fail_sc, 0);
    lose(c, 1);
    begin_two(c, t);
    first_returns(c, t);
    assert_int_equal(finish(c, &failed, 0).code, STATUS_OK);
    world_destroy(c);
}

/* It is back before the replica is admitted: what waited goes on, and nobody leaves. */
static void who_is_back_in_time_stays(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 };

    peer(c, 1)->hold = true;
    begin_two(c, t);
    assert_waiting(c, t);
    pw_block(c->w, 0, false);
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_KEEP_POINTS; /* The last step before it is admitted. */
    for (unsigned k = 0; k < 10000 && peer(c, 0)->held_count == 0; k++)
        pw_run(c->w, NS_PER_MS);
    assert_int_equal(peer(c, 0)->held_count, 1);
    fake_peer_release(peer(c, 1));
    assert_done(c, t, PATIENCE / 2);
    const unsigned commits = c->meta.commits;
    fake_peer_release(peer(c, 0));
    pw_run(c->w, LONG);
    assert_int_equal(c->meta.commits, commits + 1);
    assert_true(is_in(c, 0) && is_in(c, 1) && is_in(c, 2));
    assert_int_equal(c->meta.fences, 0);
    assert_on_first(c);
    world_destroy(c);
}

/*
 * The replica's list is full: regions are closed without the member.  When that is back in time,
 * the volume is opened anew, or they would stay listed there.
 */
static void room_is_made_without_it(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 };

    assert_int_equal(write_one(c, 0, SHARD, 4096, 0x33).code, STATUS_OK); /* To be closed. */
    pw_run(c->w, LEASE_OVER);
    lose(c, 1);
    begin_two(c, t);
    assert_waiting(c, t);
    const unsigned closes = c->store.closes;
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_HASH;
    pw_block(c->w, 0, false);
    for (unsigned i = 0; i < 10000 && peer(c, 0)->held_count == 0; i++)
        pw_run(c->w, NS_PER_MS);
    assert_int_equal(byte_at(c, 0, 4096), 0x22);
    fake_peer_release(peer(c, 0));
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_MERGE_REGIONS;
    peer(c, 0)->fail_opcode = WIRE_WRITE;
    for (unsigned i = 0; i < 10000 && c->store.closes == closes; i++) {
        peer(c, 0)->fail_sc = wire_status_encode(STATUS(LIST_FULL));
        pw_run(c->w, NS_PER_MS);
    }
    assert_true(c->store.closes > closes);
    assert_int_equal(c->store.listed[0][0] & 1, 1); /* But not what waits for the member. */
    pw_run(c->w, PATIENCE / 2);
    assert_true(peer(c, 0)->held_count > 0);
    assert_int_equal(c->meta.fences, 0);
    pw_block(c->w, 1, false);
    pw_run(c->w, 5 * PATIENCE);
    assert_int_equal(c->meta.fences, 1);
    world_destroy(c);
}

/* Replica 1 returns, and is about to be compared in the n-th region. */
static void first_is_compared(struct world *c, unsigned n)
{
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_HASH;
    for (unsigned i = 0; i < 10000 && peer(c, 0)->count[WIRE_HASH] + 1 < n; i++) {
        pw_run(c->w, NS_PER_MS);
        if (peer(c, 0)->held_count > 0 && peer(c, 0)->count[WIRE_HASH] + 1 < n) {
            fake_peer_release(peer(c, 0));
            peer(c, 0)->hold = true;
        }
    }
    for (unsigned i = 0; i < 10000 && peer(c, 0)->held_count == 0; i++)
        pw_run(c->w, NS_PER_MS);
    assert_int_equal(peer(c, 0)->held_count, 1);
}

/*
 * I6: zeros that the member has not flushed, and that the replica had already, so that it lists
 * nothing.  They were closed without the member: who takes its place lists them for it.
 */
static void what_was_closed_without_it_is_listed_for_it(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 };

    assert_int_equal(write_one(c, 0, SHARD, 4096, 0x33).code, STATUS_OK);
    assert_int_equal(write_one(c, 0, 2 * SHARD, 4096, 0x44).code, STATUS_OK);
    pw_run(c->w, 2 * VOLUME_ROUND_NS);
    assert_int_equal(c->store.listed[1][0], 2);
    pw_block(c->w, 0, false);
    first_is_compared(c, 1);
    begin(c, &t[0], 0, 0, NVME_NS_WRITE_ZEROES, SHARD, 4096);
    assert_int_equal(finish(c, &t[0], PATIENCE / 4).code, STATUS_OK);
    first_is_compared(c, 3);
    assert_int_equal(c->store.listed[1][0], ALL_SLOTS);
    lose(c, 1);
    fake_peer_release(peer(c, 0));
    peer(c, 0)->fail_opcode = WIRE_WRITE;
    const unsigned closes = c->store.closes;
    for (unsigned i = 0; i < 10000 && c->store.closes == closes; i++) {
        peer(c, 0)->fail_sc = wire_status_encode(STATUS(LIST_FULL));
        pw_run(c->w, NS_PER_MS);
    }
    peer(c, 0)->fail_sc = 0;
    assert_int_equal(c->store.listed[1][0], 4);
    begin_two(c, t);
    assert_done(c, t, LONG);
    assert_int_equal(peer(c, 0)->merged[1][0], 4);
    world_destroy(c);
}

/* Lets all commands of the disk that is here go, but a write that is to fail. */
static void go_on_here(struct world *c)
{
    unsigned index = 0;

    pw_run(c->w, NS_PER_MS);
    LIST_FOR_EACH (n, &c->store.in_flight) {
        if (CONTAINER_OF(n, struct store_io, link)->opcode == STORE_OP_WRITE)
            index++;
        else
            fake_store_release(&c->store, index);
    }
}

/*
 * 9.4: a write that the replica has executed, and no member, is passed by the copy of its region.
 * It is sent to the replica again, or only the members would have it.
 */
static void who_was_passed_is_sent_again(void **state)
{
    (void)state;
    struct world *const c = world_without_first();
    struct task t[2] = { 0 };

    lose(c, 1);
    begin(c, &t[0], 3, 0, NVME_NS_WRITE, SHARD, 4096);
    assert_int_equal(finish(c, &t[0], 5 * PATIENCE).code, STATUS_BUSY);
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_REGIONS;
    pw_block(c->w, 0, false);
    for (unsigned i = 0; i < 1000 && peer(c, 0)->held_count == 0; i++)
        pw_run(c->w, 10 * NS_PER_MS);
    c->store.hold = true;
    paint(c, 1, 4096, 0x22);
    begin(c, &t[1], 1, 0, NVME_NS_WRITE, 4096, 4096);
    pw_run(c->w, NS_PER_MS);
    fake_peer_release(peer(c, 0));
    for (unsigned i = 0; i < 20; i++)
        go_on_here(c);
    assert_int_equal(byte_at(c, 0, 4096), 0x22);
    assert_int_equal(c->store.in_flight_count, 1);
    c->store.fail_next = STATUS(UNAVAILABLE); /* As a store that has just been opened anew. */
    const unsigned reads = c->store.reads;
    fake_store_release(&c->store, 0);
    for (unsigned i = 0; i < 5; i++)
        go_on_here(c);
    assert_true(c->store.reads > reads); /* To be copied: it is being passed. */
    c->store.hold = false;
    while (c->store.in_flight_count > 0)
        fake_store_release(&c->store, 0);
    assert_int_equal(finish(c, &t[1], LONG).code, STATUS_OK);
    assert_false(is_in(c, 2));
    assert_on_first(c);
    world_destroy(c);
}

/* ---- A new engine ---- */

/* Replica 1 is out, and replica 2 does not answer when the volume is opened. */
static struct world *world_of_new_engine(bool waited)
{
    struct world *const c = world_create(true, 2);
    struct group_slot *const slot = &c->meta.record.copysets[0].slots[1];

    *slot = (struct group_slot) { .state = GROUP_SLOT_OUT, .disk = slot->disk, .since_unix_ms = 1 };
    c->config.waited = waited;
    memset(c->store.listed, ALL_SLOTS, 4 * sizeof c->store.listed[0]);
    peer(c, 1)->hold = true;
    return c;
}

/* 7.4: the one that has everything waits for the other, and then is enough to begin with. */
static void one_that_has_everything_is_enough(void **state)
{
    (void)state;
    struct world *c = world_of_new_engine(false);
    struct task t[2] = { 0 }, flush = { 0 };

    assert_int_equal(world_open(c).code, STATUS_BUSY);
    world_destroy(c);
    c = world_of_new_engine(true);
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_HASH;
    const uint64_t sequence = c->meta.record.sequence;
    assert_int_equal(world_open(c).code, STATUS_OK);
    assert_int_equal(c->meta.record.sequence, sequence);
    begin_two(c, t);
    begin(c, &flush, 3, 0, NVME_NS_FLUSH, 0, 0);
    pw_run(c->w, PATIENCE / 2);
    assert_true(t[0].busy && t[1].busy && flush.busy);
    assert_true(is_in(c, 2));
    fake_peer_release(peer(c, 0));
    assert_int_equal(finish(c, &t[0], LONG).code, STATUS_OK);
    assert_int_equal(finish(c, &t[1], 0).code, STATUS_OK);
    assert_int_equal(finish(c, &flush, 0).code, STATUS_OK);
    assert_true(is_in(c, 0) && is_in(c, 1));
    assert_false(is_in(c, 2));
    assert_int_equal(byte_at(c, 0, 4096), 0x22);
    fake_peer_release(peer(c, 1));
    second_is_resynced(c);
    assert_int_equal(c->meta.fences, 0);
    world_destroy(c);
}

/* Though nobody reads or writes. */
static void it_is_replaced_where_all_is_quiet(void **state)
{
    (void)state;
    struct world *const c = world_of_new_engine(true);

    assert_int_equal(world_open(c).code, STATUS_OK);
    pw_run(c->w, LONG);
    assert_true(is_in(c, 0) && is_in(c, 1));
    assert_false(is_in(c, 2));
    world_destroy(c);
}

/* 9.6: of a bad block the silent one may have the only good copy. */
static void what_the_silent_one_may_have_is_waited_for(void **state)
{
    (void)state;
    struct world *const c = world_of_new_engine(true);
    struct task t = { 0 };

    c->store.shards[0] = calloc(1, SHARD);
    c->store.bad_to = 4096;
    assert_int_equal(world_open(c).code, STATUS_OK);
    begin(c, &t, 0, 0, NVME_NS_READ, 0, 4096);
    assert_int_equal(finish(c, &t, LONG).code, STATUS_BUSY);
    assert_false(is_in(c, 1));
    assert_int_equal(peer(c, 0)->count[WIRE_SPOIL], 0);
    fake_peer_release(peer(c, 1));
    assert_int_equal(finish(c, &t, PATIENCE).code, STATUS_FENCED);
    world_destroy(c);
}

/* It was there when the volume was opened, but is gone before what they list is settled. */
static void who_is_gone_before_it_is_settled(void **state)
{
    (void)state;
    struct world *const c = world_of_new_engine(false);

    peer(c, 1)->hold_opcode = WIRE_HASH;
    assert_int_equal(world_open(c).code, STATUS_OK);
    pw_run(c->w, SOON_NS);
    assert_true(peer(c, 1)->held_count > 0);
    assert_int_equal(c->meta.fences, 0);
    pw_block(c->w, 1, true);
    pw_cut(c->w, 1);
    pw_run(c->w, VOLUME_ANEW_NS - PATIENCE);
    assert_int_equal(c->meta.fences, 0); /* A process that is restarted is back by then. */
    pw_run(c->w, 2 * PATIENCE);
    assert_int_equal(c->meta.fences, 1); /* The next engine begins with one alone. */
    world_destroy(c);
}

/* But not if it may have lost something. */
static void one_that_may_lack_something_is_not(void **state)
{
    (void)state;
    struct world *const c = world_of_new_engine(true);

    c->store.incarnation++;
    assert_int_equal(world_open(c).code, STATUS_UNAVAILABLE);
    world_destroy(c);
}

/* The other one is back before the replica is admitted: what it lists has not been settled. */
static void who_is_back_is_taken_in_by_the_next_engine(void **state)
{
    (void)state;
    struct world *const c = world_of_new_engine(true);
    struct task t[2] = { 0 };

    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_REGIONS;
    assert_int_equal(world_open(c).code, STATUS_OK);
    begin_two(c, t);
    pw_run(c->w, PATIENCE / 2);
    fake_peer_release(peer(c, 1));
    pw_run(c->w, PATIENCE / 2);
    assert_int_equal(c->meta.fences, 1);
    assert_int_equal(peer(c, 1)->count[WIRE_WRITE] + peer(c, 1)->count[WIRE_READ], 0);
    assert_int_equal(finish(c, &t[0], 0).code, STATUS_FENCED);
    assert_int_equal(finish(c, &t[1], 0).code, STATUS_FENCED);
    assert_true(is_in(c, 2));
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_gone_is_replaced),
        cmocka_unit_test(a_move_keeps_nobody_back),
        cmocka_unit_test(who_has_no_memory_is_asked_again),
        cmocka_unit_test(who_hangs_is_replaced),
        cmocka_unit_test(who_fails_and_is_gone_is_replaced),
        cmocka_unit_test(who_is_back_in_time_stays),
        cmocka_unit_test(who_is_gone_before_it_is_settled),
        cmocka_unit_test(room_is_made_without_it),
        cmocka_unit_test(what_was_closed_without_it_is_listed_for_it),
        cmocka_unit_test(who_was_passed_is_sent_again),
        cmocka_unit_test(one_that_has_everything_is_enough),
        cmocka_unit_test(it_is_replaced_where_all_is_quiet),
        cmocka_unit_test(what_the_silent_one_may_have_is_waited_for),
        cmocka_unit_test(one_that_may_lack_something_is_not),
        cmocka_unit_test(who_is_back_is_taken_in_by_the_next_engine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

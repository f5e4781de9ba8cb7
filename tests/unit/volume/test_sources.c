/* SPDX-License-Identifier: Apache-2.0 */
/* From whom a replica gets what it lacks: docs/replication.md, 9.4. */
#include "remote_case.h"

#define REGIONS 8u /* Two of each shard. */
/* Of a region that is read as a whole: it is in a shard that the replica does not know.  Of the
 * second one of the shard only the block is that differs. */
#define PARTS 32u

/* A block of each region. */
static void write_all(struct world *c, uint8_t value)
{
    for (uint64_t at = 0; at < REGIONS * STORE_REGION_BYTES; at += STORE_REGION_BYTES)
        assert_int_equal(write_one(c, 0, at, 4096, value).code, STATUS_OK);
}

/* Replica 2 has it all. */
static void assert_copied(const struct world *c, uint8_t value)
{
    for (uint64_t at = 0; at < REGIONS * STORE_REGION_BYTES; at += STORE_REGION_BYTES)
        assert_int_equal(byte_at(c, 1, at), value);
}

static void lose(struct world *c, unsigned store)
{
    pw_block(c->w, store, true);
    pw_cut(c->w, store);
}

/* Replica 2 is out, and all is written without it. */
static void leave_behind(struct world *c, uint8_t value)
{
    lose(c, 1);
    pw_run(c->w, 2 * PATIENCE);
    write_all(c, value);
    assert_false(is_in(c, 2));
}

static void come_back(struct world *c, uint8_t value)
{
    leave_behind(c, value);
    pw_block(c->w, 1, false);
    pw_run(c->w, 20 * NS_PER_S);
    assert_true(is_in(c, 2));
    assert_copied(c, value);
}

/* Replica 2 is back, and a store is about to carry out the first such command of the resync. */
static void resync_up_to(struct world *c, unsigned store, enum wire_opcode opcode)
{
    peer(c, store)->hold = true;
    peer(c, store)->hold_opcode = (uint8_t)opcode;
    pw_block(c->w, 1, false);
    for (unsigned i = 0; i < 10000 && peer(c, store)->held_count == 0; i++)
        pw_run(c->w, NS_PER_MS);
    assert_true(peer(c, store)->held_count > 0);
}

/* Both survivors are read, region by region, wherever they are. */
static void all_members_are_read(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    come_back(c, 0x11);
    assert_int_equal(c->store.reads, REGIONS / 4 * (PARTS + 1));
    assert_int_equal(peer(c, 0)->count[WIRE_READ], REGIONS / 4 * (PARTS + 1));
    world_destroy(c);
}

/* Each compares half of what the replica has, and gives what differs there. */
static void all_members_are_compared_with(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    write_all(c, 0x11);
    come_back(c, 0x22);
    assert_int_equal(c->store.hashes, REGIONS / 2);
    assert_int_equal(peer(c, 0)->count[WIRE_HASH], REGIONS / 2);
    assert_int_equal(c->store.reads, REGIONS / 2);
    assert_int_equal(peer(c, 0)->count[WIRE_READ], REGIONS / 2);
    assert_int_equal(peer(c, 1)->count[WIRE_READ], 0);
    world_destroy(c);
}

/* But one that is suspect. */
static void a_suspect_disk_is_spared(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    c->store.suspect = true;
    come_back(c, 0x11);
    assert_int_equal(c->store.reads + c->store.hashes, 0);
    assert_int_equal(peer(c, 0)->count[WIRE_READ], REGIONS / 2 * (PARTS + 1));
    world_destroy(c);
}

/* Nor is one waited for whose link is lost, as long as another one is there. */
static void who_is_away_is_not_waited_for(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);

    leave_behind(c, 0x11);
    resync_up_to(c, 1, WIRE_WRITE);
    lose(c, 0);
    pw_run(c->w, 10 * NS_PER_MS);
    fake_peer_release(peer(c, 1));
    pw_run(c->w, DOWN / 2); /* It is not given up yet. */
    assert_copied(c, 0x11);
    pw_block(c->w, 0, false);
    pw_run(c->w, 20 * NS_PER_S);
    assert_true(is_in(c, 1) && is_in(c, 2));
    world_destroy(c);
}

/*
 * 9.6: a member failed a copy, as its link was lost for a moment, and is not asked by this resync
 * any more.  It has what the other one cannot read: nothing is given up.
 */
static void who_was_away_for_a_moment_may_have_it(void **state)
{
    (void)state;
    struct world *const c = world_create(true, 2);

    world_limit_resyncs(c, 1 << 20); /* A region in a second. */
    assert_int_equal(world_open(c).code, STATUS_OK);
    leave_behind(c, 0x11);
    resync_up_to(c, 0, WIRE_READ);
    lose(c, 0);
    pw_run(c->w, 3 * PATIENCE / 2);
    fake_peer_release(peer(c, 0));
    pw_block(c->w, 0, false);
    c->store.bad_from = STORE_REGION_BYTES; /* The second region of any shard. */
    c->store.bad_to = c->store.bad_from + 4096;
    const unsigned lists = peer(c, 1)->count[WIRE_REGIONS];
    pw_run(c->w, (REGIONS + 4) * NS_PER_S);
    assert_int_equal(peer(c, 1)->count[WIRE_REGIONS], lists); /* It need not begin anew for that. */
    assert_true(is_in(c, 1) && is_in(c, 2));
    assert_int_equal(peer(c, 1)->count[WIRE_SPOIL], 0);
    assert_copied(c, 0x11);
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_members_are_read),
        cmocka_unit_test(all_members_are_compared_with),
        cmocka_unit_test(a_suspect_disk_is_spared),
        cmocka_unit_test(who_is_away_is_not_waited_for),
        cmocka_unit_test(who_was_away_for_a_moment_may_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas on other nodes whose disk hangs, though the node lives: docs/replication.md, 6. */
#include "remote_case.h"

/* One whose node lives, but which does not answer, is excluded as well. */
static void who_does_not_answer_is_excluded(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task t = { 0 };

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_WRITE;
    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
    assert_int_equal(finish(c, &t, 9 * PATIENCE / 10).code, STATUS_BUSY);
    assert_int_equal(c->meta.commits, 0);
    assert_int_equal(finish(c, &t, PATIENCE / 2).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_false(is_in(c, 2));
    assert_int_equal(write_one(c, 0, SHARD, 4096, 8).code, STATUS_OK);
    /* The link stays, until a copy has hung as long; what hung is not heard of again. */
    pw_run(c->w, 31 * NS_PER_S);
    assert_int_equal(peer(c, 1)->opened, 1);
    fake_peer_release(peer(c, 1));
    pw_run(c->w, SOON_NS);
    assert_int_equal(peer(c, 1)->opened, 1);
    /* In which nothing of before is executed; each attempt to resync it hung as well. */
    assert_in_range(peer(c, 1)->number, 3, 10);
    world_destroy(c);
}

/* The same of a read: another member answers it, and what comes late is nobody's. */
static void a_read_does_not_wait_for_who_hangs(void **state)
{
    (void)state;
    struct world *const c = world_opened(false, 1);
    struct task tasks[2] = { 0 };

    assert_int_equal(write_one(c, 0, 0, 8192, 0x44).code, STATUS_OK);
    paint(c, 0, 8192, 0);
    peer(c, 0)->hold = true;
    peer(c, 0)->hold_opcode = WIRE_READ;
    for (unsigned i = 0; i < 2; i++)
        begin(c, &tasks[i], i, 0, NVME_NS_READ, i * UINT64_C(4096), 4096);
    pw_run(c->w, PATIENCE / 2);
    assert_int_equal(peer(c, 0)->held_count, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(finish(c, &tasks[i], PATIENCE).code, STATUS_OK);
        assert_int_equal(c->memory[i * SLOT_BYTES], 0x44);
    }
    assert_int_equal(c->meta.commits, 1);
    paint(c, 0, 4096, 0x77);
    paint(c, 1, 4096, 0x77);
    pw_run(c->w, 60 * NS_PER_S); /* Longer than a link waits for an answer. */
    fake_peer_release(peer(c, 0));
    pw_run(c->w, SOON_NS);
    assert_int_equal(c->memory[0], 0x77);
    assert_int_equal(c->memory[SLOT_BYTES], 0x77);
    assert_int_equal(peer(c, 0)->opened, 1);
    world_destroy(c);
}

/* A write for which one replica is to be excluded, and the other remote one hangs when it is told.
 */
static struct world *world_hung_in_change(unsigned min_in_sync, struct task *t)
{
    struct world *const c = world_opened(true, min_in_sync);

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_SET;
    pw_block(c->w, 0, true);
    pw_cut(c->w, 0);
    begin(c, t, 0, 0, NVME_NS_WRITE, 0, 4096);
    return c;
}

/* 6.5: who does not keep the set of a change, because it hangs, is excluded next. */
static void who_hangs_in_a_change_is_excluded_as_well(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_hung_in_change(1, &t);

    assert_int_equal(finish(c, &t, 3 * PATIENCE / 2).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 2);
    assert_false(is_in(c, 1) || is_in(c, 2));
    pw_run(c->w, 60 * NS_PER_S);
    assert_int_equal(peer(c, 1)->opened, 1);
    fake_peer_release(peer(c, 1));
    pw_block(c->w, 0, false);
    pw_run(c->w, 60 * NS_PER_S);
    assert_true(is_in(c, 1) && is_in(c, 2));
    world_destroy(c);
}

/* The same where it is needed: it is told again when it is there. */
static void who_hangs_in_a_change_and_is_needed_is_told_again(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_hung_in_change(2, &t);

    assert_int_equal(finish(c, &t, 5 * PATIENCE).code, STATUS_BUSY);
    assert_int_equal(c->meta.commits, 1);
    fake_peer_release(peer(c, 1));
    assert_int_equal(finish(c, &t, PATIENCE).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_int_equal(peer(c, 1)->set.in, 5);
    world_destroy(c);
}

/* 9: nor do writes wait for one that hangs while it is copied to. */
static void who_hangs_in_its_resync_is_let_go_of(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 2);
    struct task tasks[40] = { 0 };

    pw_block(c->w, 1, true);
    pw_cut(c->w, 1);
    begin(c, &tasks[0], 0, 0, NVME_NS_WRITE, 0, SLOT_BYTES);
    assert_int_equal(finish(c, &tasks[0], 2 * PATIENCE).code, STATUS_OK);
    assert_false(is_in(c, 2));
    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_WRITE;
    pw_block(c->w, 1, false);
    while (peer(c, 1)->held_count == 0)
        pw_run(c->w, SOON_NS);
    for (unsigned i = 0; i < ARRAY_COUNT(tasks); i++)
        begin(c, &tasks[i], i % 8, 0, NVME_NS_WRITE, (uint64_t)(i % 8) * SLOT_BYTES, SLOT_BYTES);
    for (unsigned i = 0; i < ARRAY_COUNT(tasks); i++)
        assert_int_equal(finish(c, &tasks[i], 3 * PATIENCE / 2).code, STATUS_OK);
    fake_peer_release(peer(c, 1));
    pw_run(c->w, 20 * NS_PER_S);
    assert_true(is_in(c, 2));
    assert_int_equal(peer(c, 1)->opened, 2);
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_answer_is_excluded),
        cmocka_unit_test(a_read_does_not_wait_for_who_hangs),
        cmocka_unit_test(who_hangs_in_a_change_is_excluded_as_well),
        cmocka_unit_test(who_hangs_in_a_change_and_is_needed_is_told_again),
        cmocka_unit_test(who_hangs_in_its_resync_is_let_go_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

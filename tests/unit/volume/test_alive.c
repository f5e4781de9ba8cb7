/* SPDX-License-Identifier: Apache-2.0 */
/* Before a member is excluded, the others have to answer: docs/replication.md, 6.1. */
#include "remote_case.h"

/* Two remote replicas, of which the first answers nothing any more, and the other one a write. */
static struct world *world_stuck(unsigned min_in_sync, bool local, struct task *t)
{
    struct world *const c = world_opened(local, min_in_sync);

    peer(c, 0)->hold = true;
    begin(c, t, 0, 0, NVME_NS_WRITE, 0, 4096);
    pw_run(c->w, SOON_NS);
    assert_true(t->busy);
    return c;
}

static void end(struct world *c)
{
    for (unsigned i = 0; i < STORES; i++)
        fake_peer_release(peer(c, i));
    pw_run(c->w, SOON_NS);
    world_destroy(c);
}

/* R6: as long as the other one does not answer, who has everything is not given up for it. */
static void who_does_not_answer_is_not_who_remains(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_stuck(1, false, &t);

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_CONFIRM;
    pw_run(c->w, 3 * PATIENCE);
    assert_true(t.busy);
    assert_int_equal(c->meta.commits, 0);
    /* It is alive after all. */
    fake_peer_release(peer(c, 1));
    assert_int_equal(finish(c, &t, 2 * PATIENCE).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_false(is_in(c, 0));
    end(c);
}

/* It has lost its power: nobody is given up, and the next engine sees to it. */
static void who_has_changed_is_not_who_remains(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_stuck(1, false, &t);

    pw_cut(c->w, 1);
    peer(c, 1)->incarnation += 7;
    pw_run(c->w, 3 * PATIENCE);
    assert_int_equal(c->meta.commits, 0);
    assert_int_equal(c->meta.fences, 1);
    assert_true(is_in(c, 0) && is_in(c, 1));
    end(c);
}

/* Nor is a disk of this node, when it has failed without a command that could have told. */
static void who_has_failed_here_is_not_who_remains(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 1);

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    pw_block(c->w, 0, true);
    pw_cut(c->w, 0);
    pw_run(c->w, 3 * PATIENCE);
    assert_int_equal(c->meta.commits, 1);
    c->store.incarnation += 7;
    pw_block(c->w, 1, true);
    pw_cut(c->w, 1);
    pw_run(c->w, 3 * PATIENCE);
    assert_int_equal(c->meta.commits, 1);
    pw_block(c->w, 1, false);
    pw_run(c->w, 3 * PATIENCE);
    assert_int_equal(write_one(c, 0, 0, 4096, 2).code, STATUS_OK);
    assert_int_equal(do_one(c, 0, NVME_NS_FLUSH, 0, 0).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 2);
    assert_false(is_in(c, 0));
    assert_true(is_in(c, 2));
    end(c);
}

/* Where enough others answer, one that does not holds nothing up for long. */
static void enough_others_suffice(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_stuck(1, true, &t);

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_CONFIRM;
    pw_run(c->w, PATIENCE);
    assert_true(t.busy);
    assert_int_equal(finish(c, &t, 3 * PATIENCE / 4).code, STATUS_OK);
    assert_false(is_in(c, 1));
    assert_true(is_in(c, 2));
    end(c);
}

/* Who is itself reported is not waited for. */
static void who_is_reported_is_not_waited_for(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_stuck(1, true, &t);

    pw_run(c->w, 9 * PATIENCE / 10);
    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_CONFIRM;
    pw_run(c->w, PATIENCE / 4);
    assert_true(t.busy);
    assert_int_equal(c->meta.commits, 0);
    pw_block(c->w, 1, true);
    pw_cut(c->w, 1);
    assert_int_equal(finish(c, &t, PATIENCE / 5).code, STATUS_OK);
    assert_false(is_in(c, 1));
    pw_block(c->w, 1, false);
    end(c);
}

/* Who was late, and is gone when it cannot be excluded, is excluded when the others answer. */
static void who_is_gone_meanwhile_is_not_forgotten(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_stuck(2, true, &t);

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_CONFIRM;
    pw_run(c->w, 11 * PATIENCE / 10);
    pw_block(c->w, 0, true);
    pw_cut(c->w, 0);
    pw_run(c->w, PATIENCE);
    assert_true(t.busy);
    assert_int_equal(c->meta.commits, 0);
    fake_peer_release(peer(c, 1));
    assert_int_equal(finish(c, &t, 2 * PATIENCE).code, STATUS_OK);
    assert_false(is_in(c, 1));
    pw_block(c->w, 0, false);
    end(c);
}

/* A fence does not wait for answers; the close does, and gets them. */
static void a_fence_ends_the_question(void **state)
{
    (void)state;
    struct task t = { 0 };
    struct world *const c = world_stuck(1, false, &t);

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_CONFIRM;
    pw_run(c->w, 5 * PATIENCE / 4);
    assert_true(t.busy);
    volume_fence(c->volume);
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_FENCED);
    end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_answer_is_not_who_remains),
        cmocka_unit_test(who_has_changed_is_not_who_remains),
        cmocka_unit_test(who_has_failed_here_is_not_who_remains),
        cmocka_unit_test(enough_others_suffice),
        cmocka_unit_test(who_is_reported_is_not_waited_for),
        cmocka_unit_test(who_is_gone_meanwhile_is_not_forgotten),
        cmocka_unit_test(a_fence_ends_the_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Disks on other nodes that do not know the volume (7.2). */
#include "remote_case.h"

/* A newer engine has deleted it there, and its epoch with it. */
static void who_does_not_know_it_any_more_fences(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 1);
    struct task t = { 0 };

    assert_int_equal(write_one(c, 0, 0, 4096, 1).code, STATUS_OK);
    peer(c, 1)->forgotten = true;
    pw_cut(c->w, 1);
    begin(c, &t, 0, 0, NVME_NS_WRITE, 0, 4096);
    assert_int_equal(finish(c, &t, SOON_NS).code, STATUS_FENCED);
    assert_true(peer(c, 1)->forgotten);
    assert_int_equal(c->meta.fences, 1);
    assert_int_equal(c->meta.commits, 0);
    world_destroy(c);
}

static void on_deleted(void *ctx, struct status status)
{
    struct world *const c = ctx;

    c->open_status = status;
    c->volume = NULL;
    c->closed = true;
}

/* 11.7: a deletion ends also if its answer is lost. */
static void a_deletion_of_which_nobody_hears_ends(void **state)
{
    (void)state;
    struct world *const c = world_opened(true, 1);

    peer(c, 1)->hold = true;
    peer(c, 1)->hold_opcode = WIRE_DELETE;
    volume_delete(c->volume, on_deleted, c);
    pw_run(c->w, SOON_NS);
    assert_int_equal(peer(c, 1)->held_count, 1);
    peer(c, 1)->forgotten = true;
    pw_cut(c->w, 1);
    pw_run(c->w, SOON_NS);
    fake_peer_release(peer(c, 1));
    pw_wait(c->w, &c->closed);
    assert_int_not_equal(c->open_status.code, STATUS_OK); /* It is not known. */
    world_destroy(c);
}

/* A member that has lost the volume is out, committed, before it gets all of it again. */
static void who_does_not_know_it_is_made_anew(void **state)
{
    (void)state;
    struct world *const c = world_create(true, 1);

    peer(c, 0)->forgotten = true;
    assert_int_equal(world_open(c).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    assert_false(is_in(c, 1));
    assert_true(c->meta.record.copysets[0].slots[1].whole);
    pw_run(c->w, 5 * NS_PER_S);
    assert_false(peer(c, 0)->forgotten);
    assert_true(is_in(c, 1));
    world_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_know_it_any_more_fences),
        cmocka_unit_test(who_does_not_know_it_is_made_anew),
        cmocka_unit_test(a_deletion_of_which_nobody_hears_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

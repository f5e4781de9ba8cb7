/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas on other nodes whose disk hangs, though the node lives: docs/replication.md, 6. */
#include "base/crc32c.h"
#include "remote_case.h"
#include "volume/leg.h"

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

/* ---- A leg that is closed ---- */

#define LARGE UINT64_C(65536) /* More than a capsule takes: it waits until data are asked for. */

/* A leg without a volume, with a write on its way. */
struct lone {
    struct world *c;
    struct leg_losses losses;
    struct leg leg;
    struct leg_io io;
    struct leg_remote_io remote_io;
    uint32_t crcs[LARGE / STORE_BLOCK_BYTES];
    bool opened, closed, ended;
};

static void ignore_report(struct leg *leg, struct status why)
{
    (void)leg;
    (void)why;
}

static void ignore_back(struct leg *leg)
{
    (void)leg;
}

static const struct leg_ops lone_ops = { ignore_report, ignore_back };

static void lone_on_opened(void *ctx)
{
    ((struct lone *)ctx)->opened = true;
}

static void lone_on_written(struct leg_io *io)
{
    ((struct lone *)io->owner)->ended = true;
}

/* At once, as if it was made anew. */
static void lone_on_closed(void *ctx)
{
    struct lone *const l = ctx;

    assert_true(l->ended);
    l->closed = true;
    leg_fini(&l->leg);
}

static struct lone *lone_opened(void)
{
    struct lone *const l = calloc(1, sizeof *l);
    struct world *const c = world_create(true, 2);

    l->c = c;
    leg_init(&l->leg, NULL, c->w->reactors[0], false, &l->losses);
    l->leg.has_peers = true;
    assert_int_equal(leg_init_remote(&l->leg, c->links[0], c->disks[1].uuid, c->config.epoch,
                                     PATIENCE, &lone_ops)
                         .code,
                     STATUS_OK);
    leg_open(&l->leg, &c->config.volume, c->config.epoch, lone_on_opened, l);
    pw_wait(c->w, &l->opened);
    assert_int_equal(l->leg.problem.code, STATUS_OK);
    return l;
}

/* Its data cannot be asked for, as the link stalls; and then the leg is closed. */
static void lone_close_under_write(struct lone *l, unsigned reactor)
{
    struct world *const c = l->c;

    for (unsigned i = 0; i < ARRAY_COUNT(l->crcs); i++)
        l->crcs[i] = crc32c(c->memory + i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
    l->io = (struct leg_io) { .owner = l,
                              .leg = &l->leg,
                              .remote = &l->remote_io,
                              .reactor = c->w->reactors[reactor],
                              .done = lone_on_written,
                              .store = { .opcode = STORE_OP_WRITE,
                                         .create = true,
                                         .bytes = LARGE,
                                         .data = { c->memory, LARGE },
                                         .crcs = l->crcs } };
    pw_block(c->w, 0, true);
    leg_submit(&l->io);
    pw_run(c->w, SOON_NS);
    leg_close(&l->leg, lone_on_closed, l);
    pw_run(c->w, SOON_NS);
    assert_false(l->ended || l->closed);
}

static void lone_destroy(struct lone *l)
{
    pw_run(l->c->w, PATIENCE); /* No tick of it is left. */
    world_destroy(l->c);
    free(l);
}

/* 9.14: a leg that nobody needs is gone when what was on its way has ended. */
static void a_close_waits_for_moving_data(void **state)
{
    (void)state;
    for (unsigned reactor = 0; reactor < PW_ENGINE_REACTORS; reactor++) {
        struct lone *const l = lone_opened();

        lone_close_under_write(l, reactor);
        pw_block(l->c->w, 0, false);
        pw_wait(l->c->w, &l->closed);
        assert_int_equal(l->io.status.code, STATUS_OK);
        assert_int_equal(peer(l->c, 0)->count[WIRE_WRITE], 1);
        lone_destroy(l);
    }
}

/* Or when its link is lost, ... */
static void a_close_ends_with_the_link(void **state)
{
    (void)state;
    struct lone *const l = lone_opened();

    lone_close_under_write(l, 1);
    pw_run(l->c->w, 3 * NS_PER_S);
    assert_true(l->closed);
    assert_int_equal(l->io.status.code, STATUS_UNAVAILABLE);
    lone_destroy(l);
}

/* ... or when the data have moved, and the disk hangs with them. */
static void a_close_does_not_wait_for_the_disk(void **state)
{
    (void)state;
    struct lone *const l = lone_opened();

    peer(l->c, 0)->hold = true;
    peer(l->c, 0)->hold_opcode = WIRE_WRITE;
    lone_close_under_write(l, 1);
    pw_block(l->c->w, 0, false);
    pw_run(l->c->w, PATIENCE);
    assert_int_equal(peer(l->c, 0)->held_count, 1);
    assert_true(l->closed);
    assert_int_equal(l->io.status.code, STATUS_UNAVAILABLE);
    lone_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_answer_is_excluded),
        cmocka_unit_test(a_read_does_not_wait_for_who_hangs),
        cmocka_unit_test(who_hangs_in_a_change_is_excluded_as_well),
        cmocka_unit_test(who_hangs_in_a_change_and_is_needed_is_told_again),
        cmocka_unit_test(who_hangs_in_its_resync_is_let_go_of),
        cmocka_unit_test(a_close_waits_for_moving_data),
        cmocka_unit_test(a_close_ends_with_the_link),
        cmocka_unit_test(a_close_does_not_wait_for_the_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* S1: losses of unflushed writes, as the engine tells hosts of them. */
#include "fixture.h"

/* A FUA write on a queue that was told of losses up to told; returns to which now. */
static uint64_t told_after_fua(struct fixture *f, uint64_t told, enum status_code expect)
{
    struct request r = { .req = { .fua = true, .loss_told = told } };
    submit(f, &r, 0, 0, NVME_NS_WRITE, 512 * K, BLOCK); /* Disk 2. */
    loop_run(&f->loop);
    assert_int_equal(r.req.status.code, expect);
    return r.req.loss_told;
}

/* S1: after a loss one Flush or FUA fails on each queue, until a host has heard of it. */
static void unflushed_loss_is_told_until_heard(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[2].unflushed_loss = true;
    assert_true(status_ok(fixture_open(f)));
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 512 * K, BLOCK))); /* Disk 2. */
    assert_int_equal(told_after_fua(f, NVME_LOSS_NO_HOST, STATUS_OK), NVME_LOSS_NO_HOST);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    assert_int_equal(told_after_fua(f, 1, STATUS_OK), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    assert_int_equal(f->stores[2].losses_reported, 0);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_OK), 0);
    assert_int_equal(f->stores[2].losses_reported, 1);
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(f->stores[2].losses_reported, 1);
    fixture_destroy(f);
}

/* A store hears from a volume that is closed, too. */
static void a_loss_that_was_heard_is_settled_at_the_close(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[2].unflushed_loss = true;
    f->stores[1].unflushed_loss = true;
    assert_true(status_ok(fixture_open(f)));
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 2);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 2);
    fixture_close(f);
    assert_int_equal(f->stores[1].losses_reported, 1);
    assert_int_equal(f->stores[2].losses_reported, 1);
    fixture_destroy(f);
}

/* With on-unflushed-loss = continue nothing fails. */
static void unflushed_loss_may_be_accepted(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    f->stores[2].unflushed_loss = true;
    f->config.volume.continue_on_unflushed_loss = true;
    assert_true(status_ok(fixture_open(f)));
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    assert_int_equal(f->stores[2].losses_reported, 1);
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 0, BLOCK)));
    f->stores[0].incarnation = 2;
    assert_true(status_ok(run(f, NVME_NS_FLUSH, false, 0, 0)));
    fixture_destroy(f);
}

/*
 * S1: a disk that changes its incarnation under way fails one Flush with Write Fault on each
 * queue, until a host has heard of it.
 */
static void a_new_incarnation_fails_one_flush(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    assert_true(status_ok(run(f, NVME_NS_WRITE, false, 512 * K, BLOCK)));
    f->stores[2].incarnation = 2;
    assert_int_equal(told_after_fua(f, 0, STATUS_STALE_INCARNATION), 1);
    assert_int_equal(status_nvme(STATUS(STALE_INCARNATION)), 0x280); /* Media: Write Fault. */
    assert_int_equal(told_after_fua(f, 1, STATUS_OK), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    assert_int_equal(f->stores[2].losses_reported, 0);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 1);
    assert_int_equal(told_after_fua(f, 0, STATUS_OK), 0);
    assert_int_equal(f->stores[2].losses_reported, 1);
    fixture_destroy(f);
}

/* A Flush that began before another one found the loss, and is carried out after, tells of it too.
 */
static void a_flush_that_began_before_the_loss_tells_of_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    struct request first = { 0 };
    struct request second = { 0 };
    f->stores[2].hold = true;
    submit(f, &first, 0, 0, NVME_NS_FLUSH, 0, 0);
    submit(f, &second, 1, 1, NVME_NS_FLUSH, 0, 0); /* It is on its way to the disk's reactor. */
    f->stores[2].incarnation = 2;
    fake_store_release(&f->stores[2], 0);
    f->stores[2].hold = false;
    loop_run(&f->loop);
    assert_false(first.busy || second.busy);
    assert_int_equal(first.req.status.code, STATUS_STALE_INCARNATION);
    assert_int_equal(second.req.status.code, STATUS_MEDIA_WRITE);
    assert_int_equal(second.req.loss_told, 1);
    assert_int_equal(told_after_fua(f, 1, STATUS_OK), 1);
    fixture_destroy(f);
}

/* A flush that no host hears the end of finds the new incarnation, and leaves it to be told. */
static void a_flush_without_a_host_leaves_the_report(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    f->stores[2].incarnation = 2;
    assert_int_equal(told_after_fua(f, NVME_LOSS_NO_HOST, STATUS_STALE_INCARNATION),
                     NVME_LOSS_NO_HOST);
    assert_int_equal(told_after_fua(f, 0, STATUS_MEDIA_WRITE), 1);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unflushed_loss_is_told_until_heard),
        cmocka_unit_test(a_loss_that_was_heard_is_settled_at_the_close),
        cmocka_unit_test(unflushed_loss_may_be_accepted),
        cmocka_unit_test(a_new_incarnation_fails_one_flush),
        cmocka_unit_test(a_flush_that_began_before_the_loss_tells_of_it),
        cmocka_unit_test(a_flush_without_a_host_leaves_the_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

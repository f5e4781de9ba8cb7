/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that supersede each other, seals, and leases (docs/replication.md, 4, 7.2, 7.3, 8). */
#include <stdlib.h>
#include <string.h>

#include "engine_rig.h"

#define LEASE (LEASE_WAIT_NS)
#define SOON  (20 * MS) /* A link's round trip, and a flush, take less. */

static struct rig *rig;
static struct engine *a, *b;
static struct store_volume v;

/* Two engines' nodes, and a volume of three replicas that nobody has opened. */
static int setup(void **state)
{
    (void)state;
    rig = rig_create();
    engine_connect(rig, 0);
    engine_connect(rig, 1);
    a = &rig->engines[0];
    b = &rig->engines[1];
    v = rig_volume(1, 3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_destroy(rig);
    return 0;
}

static uint32_t seals_of(struct engine *e)
{
    struct wire_answer answer;

    assert_int_equal(engine_confirm(e, 0, &answer), STATUS_OK);
    return answer.seals;
}

/* How long an OPEN takes that is answered well. */
static uint64_t time_open(struct engine *e, uint64_t epoch, uint64_t number)
{
    const uint64_t from = rig_now(rig);

    assert_int_equal(engine_open(e, 0, &v, epoch, number), STATUS_OK);
    return rig_now(rig) - from;
}

static void assert_waited(uint64_t took_ns)
{
    assert_true(took_ns >= LEASE && took_ns < LEASE + SOON);
}

/* ---- Sessions: S4, I2 ---- */

/* On every queue, and those that were on their way, too. */
static void a_newer_epoch_ends_the_older_session(void **state)
{
    (void)state;
    uint8_t fill;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    assert_int_equal(engine_write(a, 0, 0, 0x11), STATUS_OK);
    assert_int_equal(engine_open(b, 0, &v, 6, 1), STATUS_OK);
    for (unsigned queue = 0; queue < 2; queue++) {
        assert_int_equal(engine_write(a, queue, 0, 0x22), STATUS_STALE_EPOCH);
        assert_int_equal(engine_read(a, queue, 0, &fill), STATUS_STALE_EPOCH);
        assert_int_equal(engine_read(b, queue, 0, &fill), STATUS_OK);
        assert_int_equal(fill, 0x11);
    }
    assert_int_equal(engine_open(a, 0, &v, 5, 2), STATUS_STALE_EPOCH);
}

/* 4.2: its own epoch, and a number not above the last one. */
static void a_later_number_ends_the_one_before(void **state)
{
    (void)state;
    uint8_t fill;

    assert_int_equal(engine_open(a, 0, &v, 5, 3), STATUS_OK);
    assert_int_equal(engine_write(a, 0, 0, 0x11), STATUS_OK);
    const uint32_t old = a->handle;
    assert_int_equal(engine_open(a, 0, &v, 5, 3), STATUS_STALE_SESSION);
    assert_int_equal(engine_open(a, 0, &v, 5, 2), STATUS_STALE_SESSION);
    assert_true(time_open(a, 5, UINT64_C(0x100000001)) < SOON); /* It waits for no lease. */
    const uint32_t now = a->handle;
    a->handle = old;
    a->number = 3;
    for (unsigned queue = 0; queue < 2; queue++)
        assert_int_equal(engine_read(a, queue, 0, &fill), STATUS_STALE_SESSION);
    a->handle = now;
    a->number = 1; /* Its low 32 bits. */
    assert_int_equal(engine_read(a, 0, 0, &fill), STATUS_OK);
    /* A newer epoch begins anew. */
    assert_int_equal(engine_open(b, 0, &v, 6, 1), STATUS_OK);
}

/* 4.3: what was let through ends first. */
static void commands_that_were_let_through_end_before_open_does(void **state)
{
    (void)state;
    struct order *read, *open;
    uint8_t fill;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    assert_int_equal(engine_write(a, 0, 0, 0x11), STATUS_OK);
    disk_hold(rig, 0, DEV_FAULT_READS);
    read = order_make(a, WIRE_READ);
    read->command.blocks = 1;
    order_send(a, 1, read, 0);
    th_run(&rig->th, SOON);
    open = open_order(b, 0, &v, 6, 1);
    order_send(b, 0, open, 0);
    th_run(&rig->th, 10 * LEASE);
    assert_false(open->done);
    assert_int_equal(engine_read(a, 0, 0, &fill), STATUS_STALE_EPOCH); /* But it has sealed. */
    disk_release(rig, 0);
    order_wait(b, open);
    order_wait(a, read);
    assert_int_equal(read->code, STATUS_OK);
    assert_int_equal(open->code, STATUS_OK);
    free(read);
    free(open);
}

static void an_open_that_a_newer_one_overtakes_is_told(void **state)
{
    (void)state;
    struct order *first, *second;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    first = open_order(b, 0, &v, 6, 1);
    order_send(b, 0, first, 0);
    th_run(&rig->th, SOON);
    assert_false(first->done); /* It waits for the lease. */
    second = open_order(a, 0, &v, 7, 1);
    order_send(a, 0, second, 0);
    th_run(&rig->th, SOON);
    assert_true(first->done);
    assert_int_equal(first->code, STATUS_OVERTAKEN);
    order_wait(a, second);
    assert_int_equal(second->code, STATUS_OK);
    free(first);
    free(second);
}

/* ---- Leases: 7.3, 8.3, 8.5 ---- */

static void a_seal_waits_for_the_lease(void **state)
{
    (void)state;
    assert_true(time_open(a, 5, 1) < SOON); /* There was none. */
    assert_waited(time_open(b, 6, 1));
    assert_waited(time_open(a, 7, 1));
    th_run(&rig->th, 5 * LEASE); /* It does not know when it let something through last. */
    assert_waited(time_open(b, 8, 1));
}

static void a_lease_that_was_given_back_is_not_waited_for(void **state)
{
    (void)state;
    struct wire_answer answer;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    assert_int_equal(order_run(a, 1, order_make(a, WIRE_RELEASE), 0), STATUS_OK);
    assert_int_equal(engine_confirm(a, 0, &answer), STATUS_STALE_SESSION);
    assert_true(time_open(b, 6, 1) < SOON);
}

/* Nor does who was superseded give back what another one holds. */
static void a_stale_release_gives_nothing_back(void **state)
{
    (void)state;
    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    assert_int_equal(engine_open(b, 0, &v, 6, 1), STATUS_OK);
    assert_int_equal(order_run(a, 0, order_make(a, WIRE_RELEASE), 0), STATUS_STALE_EPOCH);
    assert_waited(time_open(a, 7, 1));
}

/* 8.5: a cut link ends the sessions, but no lease. */
static void a_lost_link_ends_sessions_and_no_lease(void **state)
{
    (void)state;
    struct wire_answer answer;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    const struct engine old = *a;
    engine_drop(a);
    engine_connect(rig, 0);
    a->handle = old.handle;
    a->epoch = old.epoch;
    a->number = old.number;
    assert_int_equal(engine_confirm(a, 0, &answer), STATUS_STALE_SESSION);
    assert_waited(time_open(b, 6, 1));
}

/* W3, 2.1: an OPEN on a link that is lost opens nothing. */
static void an_open_of_a_lost_link_opens_nothing(void **state)
{
    (void)state;
    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    struct order *open = open_order(b, 0, &v, 6, 1);
    order_send(b, 0, open, 0);
    th_run(&rig->th, SOON);
    engine_drop(b);
    assert_int_equal(open->code, STATUS_LOST);
    engine_connect(rig, 1);
    th_run(&rig->th, LEASE);
    /* Nobody holds a lease by it, so nobody waits for one. */
    assert_true(time_open(a, 7, 1) < SOON);
    free(open);
}

/* The first disk is given to the server anew. */
static void restart(void)
{
    rig->th.flag = false;
    server_remove_disk(rig->server, 0, th_set_flag, &rig->th);
    th_wait(&rig->th, &rig->th.flag);
    server_add_disk(rig->server, 0, (struct uuid) { { 0xd1, 0 } }, rig->disks[0].store);
}

/* 8.5: a store that has just started stands for all leases that it gave before. */
static void a_store_that_has_just_started_waits(void **state)
{
    (void)state;
    restart();
    assert_waited(time_open(a, 5, 1));
    assert_true(time_open(a, 5, 2) < SOON);
}

/* 8.2: with no other member no lease is needed, so none is waited for. */
static void a_volume_of_one_replica_has_no_leases(void **state)
{
    (void)state;
    v = rig_volume(1, 1);
    restart();
    assert_true(time_open(a, 5, 1) < SOON);
    assert_true(time_open(b, 6, 1) < SOON);
    assert_int_equal(seals_of(b), 0);
}

/* ---- The count: 8.3 ---- */

static void a_seal_is_counted_for_the_node_that_it_supersedes(void **state)
{
    (void)state;
    const struct store_volume other = rig_volume(2, 3);

    assert_int_equal(engine_open(a, 1, &other, 3, 1), STATUS_OK);
    const uint32_t handle = a->handle;
    assert_int_equal(seals_of(a), 0);
    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    assert_int_equal(engine_open(b, 0, &v, 6, 1), STATUS_OK);
    assert_int_equal(seals_of(b), 0);
    a->handle = handle; /* On the other disk, which another reactor has. */
    a->epoch = 3;
    assert_int_equal(seals_of(a), 1);
    assert_int_equal(engine_open(a, 0, &v, 7, 1), STATUS_OK);
    assert_int_equal(seals_of(a), 1);
    assert_int_equal(engine_open(b, 0, &v, 8, 1), STATUS_OK);
    assert_int_equal(seals_of(b), 1);
}

/* A command that was let through before carries the count of then, however late it ends. */
static void the_count_is_that_of_when_a_command_was_let_through(void **state)
{
    (void)state;
    const struct store_volume other = rig_volume(2, 3);
    struct order *write, *open;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    assert_int_equal(engine_open(a, 1, &other, 3, 1), STATUS_OK);
    disk_hold(rig, 1, DEV_FAULT_ALL);
    write = write_order(a, 0, 0x11, 0);
    order_send(a, 0, write, 0);
    th_run(&rig->th, SOON);
    open = open_order(b, 0, &v, 6, 1);
    order_send(b, 0, open, 0);
    order_wait(b, open);
    assert_int_equal(open->code, STATUS_OK);
    assert_int_equal(seals_of(a), 1);
    disk_release(rig, 1);
    order_wait(a, write);
    assert_int_equal(write->code, STATUS_OK);
    assert_int_equal(write->answer.seals, 0);
    free(write);
    free(open);
}

/* ---- This node's own engines ---- */

static enum status_code local_read(void)
{
    struct status st = store_session_check(rig->disks[0].local.session);
    return st.code;
}

/* It ends before the other's OPEN is answered; its own store gave it no lease. */
static void a_remote_open_ends_a_local_session(void **state)
{
    (void)state;
    assert_int_equal(local_open(rig, 0, &v, 5), STATUS_OK);
    assert_int_equal(local_read(), STATUS_OK);
    assert_true(time_open(a, 6, 1) < SOON);
    assert_int_equal(local_read(), STATUS_STALE_EPOCH);
    assert_int_equal(local_open(rig, 0, &v, 5), STATUS_STALE_EPOCH);
}

/* And the other way round it waits as anybody does, and the count is raised. */
static void a_local_open_waits_for_the_lease_of_a_remote_session(void **state)
{
    (void)state;
    const struct store_volume other = rig_volume(2, 3);
    uint8_t fill;

    assert_int_equal(engine_open(a, 0, &v, 5, 1), STATUS_OK);
    const uint64_t from = rig_now(rig);
    assert_int_equal(local_open(rig, 0, &v, 6), STATUS_OK);
    assert_waited(rig_now(rig) - from);
    assert_int_equal(engine_read(a, 0, 0, &fill), STATUS_STALE_EPOCH);
    assert_int_equal(engine_open(a, 1, &other, 3, 1), STATUS_OK);
    assert_int_equal(seals_of(a), 1);
    /* What supersedes a local session has no lease to wait for. */
    assert_true(time_open(b, 7, 1) < SOON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        T(a_newer_epoch_ends_the_older_session),
        T(a_later_number_ends_the_one_before),
        T(commands_that_were_let_through_end_before_open_does),
        T(an_open_that_a_newer_one_overtakes_is_told),
        T(a_seal_waits_for_the_lease),
        T(a_lease_that_was_given_back_is_not_waited_for),
        T(a_stale_release_gives_nothing_back),
        T(a_lost_link_ends_sessions_and_no_lease),
        T(an_open_of_a_lost_link_opens_nothing),
        T(a_store_that_has_just_started_waits),
        T(a_volume_of_one_replica_has_no_leases),
        T(a_seal_is_counted_for_the_node_that_it_supersedes),
        T(the_count_is_that_of_when_a_command_was_let_through),
        T(a_remote_open_ends_a_local_session),
        T(a_local_open_waits_for_the_lease_of_a_remote_session),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* W2: what all connections of a target may have together, and who goes when there are too many. */
#include "target_harness.h"

#include <stdlib.h>
#include <string.h>

static struct th th;

static void check_works(struct th_host *admin)
{
    assert_int_equal(th_property_get(admin, NVME_PROP_VS, false), NVME_VS_2_0);
}

static void close_all(struct th_host **hosts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        th_host_close(hosts[i]);
}

/*
 * Connections without Connect, with or without ICReq, do not keep a new host out: the oldest of
 * them goes.  One that has its queue never does.
 */
static void test_half_open_connections_make_room(void **state)
{
    (void)state;
    struct th_host *flood[20];
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .connections_max = 8 });
    struct th_host *admin = th_admin(&th, &cntlid);
    struct th_host *io = th_io_queue(&th, cntlid, 1);
    for (size_t i = 0; i < ARRAY_COUNT(flood); i++)
        flood[i] = i % 2 == 0 ? th_host_open(&th) : th_host_greeted(&th);
    check_works(admin);

    struct th_host *late = th_host_greeted(&th);
    const struct th_connect c = { .host_nqn = "nqn.2026-01.io.trilith:host:h2" };
    assert_int_equal(th_connect(late, &c).status, 0);
    check_works(admin);
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 1, 4096);
    assert_int_equal(th_command(io, &read, NULL, 0).status, 0);

    /* Of 20, 8 - 3 are left, the youngest. */
    for (size_t i = 0; i < 15; i++)
        assert_true(th_closed(flood[i]));
    th_handshake(flood[16], false, false);
    th_handshake(flood[18], false, false);
    close_all(flood, ARRAY_COUNT(flood));
    th_host_close(late);
    th_host_close(io);
    th_host_close(admin);
    th_stop(&th);
}

/* A host whose Connect was refused is half open again, and the first to go. */
static void test_a_refused_connect_keeps_no_place(void **state)
{
    (void)state;
    struct th_connect wrong = { .nqn = NQN_VOLUME_PREFIX "none" };

    th_start(&th, &(struct th_options) { .connections_max = 3 });
    struct th_host *first = th_host_greeted(&th);
    struct th_host *refused = th_host_greeted(&th);
    assert_int_not_equal(th_connect(refused, &wrong).status, 0);
    struct th_host *third = th_host_greeted(&th);
    struct th_host *fourth = th_host_greeted(&th);
    assert_true(th_closed(refused));
    assert_int_equal(th_connect(first, &(struct th_connect) { .host_id = 1 }).status, 0);
    assert_int_equal(th_connect(third, &(struct th_connect) { .host_id = 2 }).status, 0);
    assert_int_equal(th_connect(fourth, &(struct th_connect) { .host_id = 3 }).status, 0);

    /* All have queues now, and nobody else is let in. */
    struct th_host *fifth = th_host_open(&th);
    assert_true(th_closed(fifth));
    check_works(first);
    struct th_host *hosts[] = { first, refused, third, fourth, fifth };
    close_all(hosts, ARRAY_COUNT(hosts));
    th_stop(&th);
}

/* A Connect that waits for its predecessor (W3) is not half open: a flood does not end it. */
static void test_a_waiting_connect_keeps_its_place(void **state)
{
    (void)state;
    struct th_host *flood[6];
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .connections_max = 5 });
    struct th_host *admin = th_admin(&th, &cntlid);
    struct th_host *io = th_io_queue(&th, cntlid, 1);
    th_hold_write(io);
    struct th_host *again = th_host_greeted(&th);
    th_send_connect(again, &(struct th_connect) { 0 });
    th_run(&th, NS_PER_S);
    for (size_t i = 0; i < ARRAY_COUNT(flood); i++)
        flood[i] = th_host_open(&th);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(again).status, 0);
    close_all(flood, ARRAY_COUNT(flood));
    th_host_close(again);
    th_host_close(io);
    th_host_close(admin);
    th_stop(&th);
}

/* Queues of all hosts share a number of entries; what a queue had comes back when it has gone. */
static void test_entries_of_all_queues_are_bounded(void **state)
{
    (void)state;
    uint16_t cntlid;

    /* Two admin queues of 32 entries, and one I/O queue of 64. */
    th_start(&th, &(struct th_options) { .commands_max = 32 + 32 + 64 });
    struct th_host *admin = th_admin(&th, &cntlid);
    struct th_host *io = th_host_greeted(&th);
    struct th_connect c = { .qid = 1, .cntlid = cntlid, .sqsize = 63 };
    assert_int_equal(th_connect(io, &c).status, 0);
    struct th_host *io2 = th_host_greeted(&th);
    c.qid = 2;
    assert_int_equal(th_connect(io2, &c).status, NVME_SC_CONNECT_BUSY);

    const struct th_connect other = { .host_nqn = "nqn.2026-01.io.trilith:host:h2" };
    struct th_host *admin2 = th_host_greeted(&th);
    assert_int_equal(th_connect(admin2, &other).status, 0);
    struct th_host *admin3 = th_host_greeted(&th);
    const struct th_connect third = { .host_nqn = "nqn.2026-01.io.trilith:host:h3" };
    assert_int_equal(th_connect(admin3, &third).status, NVME_SC_CONNECT_BUSY);
    check_works(admin);

    th_host_close(io);
    assert_int_equal(th_connect(io2, &c).status, 0);
    struct th_host *hosts[] = { io2, admin3, admin2, admin };
    close_all(hosts, ARRAY_COUNT(hosts));
    th_stop(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_open_connections_make_room),
        cmocka_unit_test(test_a_refused_connect_keeps_no_place),
        cmocka_unit_test(test_a_waiting_connect_keeps_its_place),
        cmocka_unit_test(test_entries_of_all_queues_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

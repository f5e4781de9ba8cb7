/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How connections and controllers end: timeouts, predecessors (W3), reset, shutdown, removal, stop.
 */
#include "target_io.h"

#include <stdlib.h>
#include <string.h>

/* ---- Time ---- */

/* A connection without ICReq, or without Connect, is ended after the handshake time. */
static void test_half_open(void **state)
{
    (void)state;

    th_start(&th, NULL);
    struct th_host *silent = th_host_open(&th);
    struct th_host *halfway = th_host_greeted(&th);
    th_run(&th, NVME_HANDSHAKE_NS - NS_PER_S);
    assert_int_equal(th_connect(halfway, &(struct th_connect) { 0 }).status, 0);
    th_run(&th, 2 * NS_PER_S);
    assert_true(th_closed(silent));
    /* The one that came through stays. */
    assert_int_equal(th_property_get(halfway, NVME_PROP_VS, false), NVME_VS_2_0);
    th_host_close(silent);
    th_host_close(halfway);
    th_stop(&th);
}

/* "If the Keep Alive Timer expires, the controller ... terminates the association". */
static void test_keep_alive_expires(void **state)
{
    (void)state;

    th_start(&th, NULL);
    struct th_host *h = th_host_greeted(&th);
    const struct nvme_cqe cqe = th_connect(h, &(struct th_connect) { .kato_ms = 5000 });
    assert_int_equal(th_property_set_cc(h, TH_CC_ENABLED).status, 0);
    struct th_host *io = th_io_queue(&th, (uint16_t)cqe.result, 1);

    const struct nvme_sqe keep_alive = th_sqe_in(NVME_ADMIN_KEEP_ALIVE, 0);
    for (unsigned i = 0; i < 5; i++) {
        th_run(&th, 4 * NS_PER_S);
        assert_int_equal(th_command(h, &keep_alive, NULL, 0).status, 0);
    }
    th_run(&th, 8 * NS_PER_S);
    assert_true(th_closed(h));
    assert_true(th_closed(io));
    th_host_close(io);
    th_host_close(h);
    th_stop(&th);
}

/* ---- The loss of an I/O queue ---- */

/*
 * "An association ... is terminated if ... an NVMe Transport connection is lost ... for any I/O
 * Queue and the host or controller does not support individual I/O Queue deletion".
 */
static void test_lost_io_queue_ends_the_controller(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    struct th_host *other = th_io_queue(&th, p.cntlid, 2);
    th_host_close(p.io);
    th_run(&th, NVME_QUEUE_LOSS_NS / 2);
    assert_int_equal(th_property_get(p.admin, NVME_PROP_VS, false), NVME_VS_2_0);
    th_run(&th, NVME_QUEUE_LOSS_NS);
    assert_true(th_closed(p.admin));
    assert_true(th_closed(other));
    th_host_close(other);
    th_host_close(p.admin);
    th_stop(&th);
}

/* A host that closes its I/O queues to reset or shut down the controller keeps its admin queue. */
static void test_closed_io_queues_before_reset_and_shutdown(void **state)
{
    (void)state;
    static const uint32_t ends[] = { 0, TH_CC_ENABLED | 1u << 14 };
    uint16_t cntlid;

    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        th_start(&th, NULL);
        struct th_host *admin = th_admin(&th, &cntlid);
        th_host_close(th_io_queue(&th, cntlid, 1));
        th_host_close(th_io_queue(&th, cntlid, 2));
        assert_int_equal(th_property_set_cc(admin, ends[i]).status, 0);
        th_run(&th, 3 * NVME_QUEUE_LOSS_NS);
        assert_int_equal(th_property_get(admin, NVME_PROP_VS, false), NVME_VS_2_0);
        th_host_close(admin);
        th_stop(&th);
    }
}

/* W3: neither the queue nor the host is let in anew while a command of the lost queue executes. */
static void test_lost_io_queue_is_drained_first(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);
    th_host_close(p.io);

    struct th_host *io2 = th_host_greeted(&th);
    const struct th_connect c = { .qid = 1, .cntlid = p.cntlid };
    assert_int_equal(th_connect(io2, &c).status, NVME_SC_CONNECT_BUSY);
    struct th_host *again = th_host_greeted(&th);
    th_send_connect(again, &(struct th_connect) { 0 });
    th_run(&th, 5 * NS_PER_S);
    struct nvme_subsys_stats stats;
    nvme_subsys_stats(th.subsys, &stats);
    assert_int_equal(stats.controllers, 1);

    mem_ns_release(&th.mem);
    const struct nvme_cqe cqe = th_recv_cqe(again);
    assert_int_equal(cqe.status, 0);
    assert_int_not_equal(cqe.result, p.cntlid);
    th_host_close(io2);
    th_host_close(again);
    th_host_close(p.admin);
    th_stop(&th);
}

/* ---- W3 ---- */

/* The predecessor's write is at the namespace: the host's new Connect waits until it is done. */
static void test_connect_waits_for_predecessor(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);
    assert_false(list_empty(&th.mem.held));

    struct th_host *again = th_host_greeted(&th);
    th_send_connect(again, &(struct th_connect) { 0 });
    th_run(&th, 5 * NS_PER_S);
    assert_true(th_closed(p.admin));
    struct nvme_subsys_stats stats;
    nvme_subsys_stats(th.subsys, &stats);
    assert_int_equal(stats.controllers, 1);

    mem_ns_release(&th.mem);
    const struct nvme_cqe cqe = th_recv_cqe(again);
    assert_int_equal(cqe.status, 0);
    assert_int_not_equal(cqe.result, p.cntlid);
    nvme_subsys_stats(th.subsys, &stats);
    assert_int_equal(stats.controllers, 1);
    th_host_close(again);
    close_pair(p);
}

/* A waiting Connect whose host goes away leaves nothing behind; another one is answered. */
static void test_waiting_connect_is_abandoned(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);

    struct th_host *first = th_host_greeted(&th);
    th_send_connect(first, &(struct th_connect) { 0 });
    th_run(&th, NS_PER_S);
    th_host_close(first);
    struct th_host *second = th_host_greeted(&th);
    th_send_connect(second, &(struct th_connect) { 0 });
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(second).status, 0);
    th_host_close(second);
    close_pair(p);
}

/* Of two Connects that wait for one predecessor, the later one's host has it: the other is told. */
static void test_a_later_connect_takes_the_place(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);

    struct th_host *first = th_host_greeted(&th);
    th_send_connect(first, &(struct th_connect) { 0 });
    th_run(&th, NS_PER_S);
    struct th_host *second = th_host_greeted(&th);
    th_send_connect(second, &(struct th_connect) { 0 });
    assert_int_equal(th_recv_cqe(first).status, NVME_SC_CONNECT_BUSY);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(second).status, 0);
    th_host_close(first);
    th_host_close(second);
    close_pair(p);
}

/* W2: of one host's Connects one waits, however they differ in what nobody reads. */
static void test_one_connect_of_a_host_waits(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct th_host *hosts[4];

    th_hold_write(p.io);
    for (unsigned i = 0; i < ARRAY_COUNT(hosts); i++) {
        hosts[i] = th_host_greeted(&th);
        th_send_connect(hosts[i], &(struct th_connect) { .junk = (uint8_t)i });
        if (i > 0)
            assert_int_equal(th_recv_cqe(hosts[i - 1]).status, NVME_SC_CONNECT_BUSY);
    }
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(hosts[ARRAY_COUNT(hosts) - 1]).status, 0);
    for (unsigned i = 0; i < ARRAY_COUNT(hosts); i++)
        th_host_close(hosts[i]);
    close_pair(p);
}

/*
 * What the namespace has not begun when its connection ends never is executed, and nobody waits for
 * it; ...
 */
static void test_what_is_not_begun_dies_with_its_connection(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);
    th.mem.begun = false;
    th_host_close(p.io);
    struct th_host *again = th_host_greeted(&th);
    assert_int_equal(th_connect(again, &(struct th_connect) { 0 }).status, 0);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.memory[0], 0);
    th_host_close(again);
    th_host_close(p.admin);
    th_stop(&th);
}

/* ... what it has begun is. */
static void test_what_is_begun_outlives_its_connection(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);
    th_host_close(p.io);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.memory[0], 1);
    th_host_close(p.admin);
    th_stop(&th);
}

/* Another host, or another host identifier, is nobody's successor. */
static void test_other_hosts_stay(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    struct th_host *other = th_host_greeted(&th);
    assert_int_equal(th_connect(other, &(struct th_connect) { .host_id = 9 }).status, 0);
    struct th_host *third = th_host_greeted(&th);
    struct th_connect c = { .host_nqn = "nqn.2026-01.io.trilith:host:h2" };
    assert_int_equal(th_connect(third, &c).status, 0);
    const struct nvme_sqe keep_alive = th_sqe_in(NVME_ADMIN_KEEP_ALIVE, 0);
    assert_int_equal(th_command(h, &keep_alive, NULL, 0).status, 0);
    th_host_close(third);
    th_host_close(other);
    th_host_close(h);
    th_stop(&th);
}

/* ---- Reset, shutdown, removal ---- */

/* CC.EN to 0 ends the I/O queues, and RDY goes to 0 only when nothing of them executes. */
static void test_reset_drains(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);

    assert_int_equal(th_property_set_cc(p.admin, 0).status, 0);
    assert_true(th_closed(p.io));
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_RDY, 1);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_RDY, 0);

    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
    struct th_host *io2 = th_io_queue(&th, p.cntlid, 1);
    th_host_close(io2);
    close_pair(p);
}

/* While the queues of before a reset drain, CSTS.RDY is still set, and none joins them. */
static void test_no_queue_comes_while_a_reset_drains(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const struct th_connect c = { .qid = 2, .cntlid = p.cntlid };

    th_hold_write(p.io);
    assert_int_equal(th_property_set_cc(p.admin, 0).status, 0);
    struct th_host *io2 = th_host_greeted(&th);
    assert_int_equal(th_connect(io2, &c).status, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_RDY, 0);

    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
    assert_int_equal(th_connect(io2, &c).status, 0);
    th_host_close(io2);
    close_pair(p);
}

/* "CC.SHN ... CSTS.SHST": complete only when the volatile cache has been flushed. */
static void test_shutdown(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th.mem.hold = true;
    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED | 1u << 14).status, 0);
    assert_true(th_closed(p.io));
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.flushes, 0);
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_SHST_MASK,
                     NVME_CSTS_SHST_OCCURRING);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.flushes, 1);
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_SHST_MASK,
                     NVME_CSTS_SHST_COMPLETE);
    close_pair(p);
}

/* A host that goes away in the middle of its shutdown is waited for like any other. */
static void test_gone_while_shutting_down(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *admin = th_admin(&th, &cntlid);
    th.mem.hold = true;
    assert_int_equal(th_property_set_cc(admin, TH_CC_ENABLED | 1u << 14).status, 0);
    th_host_close(admin);
    struct nqn_text hosts[2];
    assert_int_equal(nvme_subsys_connected_hosts(th.subsys, hosts, 2), 1);
    assert_string_equal(hosts[0].s, TH_HOST_NQN);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(nvme_subsys_connected_hosts(th.subsys, hosts, 2), 0);

    /* So does a stop. */
    admin = th_admin(&th, &cntlid);
    th.mem.hold = true;
    assert_int_equal(th_property_set_cc(admin, TH_CC_ENABLED | 1u << 14).status, 0);
    th_host_close(admin);
    th_stop_target(&th);
    th_run(&th, NS_PER_S);
    assert_false(th.flag);
    mem_ns_release(&th.mem);
    th_wait(&th, &th.flag);
    th_stop(&th);
}

/* Removing a subsystem drops its hosts, waits for their requests, and refuses new ones. */
static void test_remove_subsystem(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    th_hold_write(p.io);

    nvme_subsys_remove(th.subsys, th_set_flag, &th);
    assert_true(th_closed(p.admin));
    th_run(&th, NS_PER_S);
    assert_false(th.flag);
    mem_ns_release(&th.mem);
    th_wait(&th, &th.flag);

    struct th_host *late = th_host_greeted(&th);
    assert_int_equal(th_connect(late, &(struct th_connect) { 0 }).status & NVME_SC_VALUE_MASK,
                     NVME_SC_CONNECT_INVALID_PARAM);
    th_host_close(late);
    close_pair(p);
}

/* A stop with everything in flight ends everything. */
static void test_stop_under_way(void **state)
{
    (void)state;
    uint16_t cntlid;
    struct th_host *hosts[6];

    for (uint64_t seed = 0; seed < 8; seed++) {
        th_start(&th, &(struct th_options) { .seed = seed, .reactors = 3 });
        hosts[0] = th_admin(&th, &cntlid);
        for (unsigned i = 1; i < 4; i++)
            hosts[i] = th_io_queue(&th, cntlid, (uint16_t)i);
        hosts[4] = th_host_open(&th);
        hosts[5] = th_host_open(&th);
        th_handshake(hosts[5], false, false);
        th_send_connect(hosts[5], &(struct th_connect) { 0 });
        const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 0, 8, 4096);
        for (unsigned i = 1; i < 4; i++)
            th_send_command(hosts[i], &sqe, NULL, 0);
        th_stop(&th);
        for (unsigned i = 0; i < ARRAY_COUNT(hosts); i++)
            free(hosts[i]);
    }
}

/*
 * A stop at any moment of an accept ends the connection, also when it reaches its reactor before
 * the connection does.
 */
static void test_stop_while_accepting(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 8; seed++) {
        for (unsigned steps = 0; steps < 30; steps++) {
            th_start(&th, &(struct th_options) { .seed = seed, .reactors = 2 });
            struct th_host *h[2] = { th_host_knock(&th), th_host_knock(&th) };
            for (unsigned i = 0; i < steps; i++)
                (void)sim_world_step(th.world);
            th_stop(&th);
            free(h[0]);
            free(h[1]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_keep_alive_expires),
        cmocka_unit_test(test_lost_io_queue_ends_the_controller),
        cmocka_unit_test(test_closed_io_queues_before_reset_and_shutdown),
        cmocka_unit_test(test_lost_io_queue_is_drained_first),
        cmocka_unit_test(test_connect_waits_for_predecessor),
        cmocka_unit_test(test_waiting_connect_is_abandoned),
        cmocka_unit_test(test_a_later_connect_takes_the_place),
        cmocka_unit_test(test_one_connect_of_a_host_waits),
        cmocka_unit_test(test_what_is_not_begun_dies_with_its_connection),
        cmocka_unit_test(test_what_is_begun_outlives_its_connection),
        cmocka_unit_test(test_other_hosts_stay),
        cmocka_unit_test(test_reset_drains),
        cmocka_unit_test(test_no_queue_comes_while_a_reset_drains),
        cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_gone_while_shutting_down),
        cmocka_unit_test(test_remove_subsystem),
        cmocka_unit_test(test_stop_under_way),
        cmocka_unit_test(test_stop_while_accepting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

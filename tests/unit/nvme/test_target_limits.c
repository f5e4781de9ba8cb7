/* SPDX-License-Identifier: Apache-2.0 */
/* W2: what all connections of a target may have together, and who goes when there are too many. */
#include "target_harness.h"

#include <stdio.h>
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
    th_move(&th); /* One peer alone could have one queue of three. */
    struct th_host *third = th_host_greeted(&th);
    th_move(&th);
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

/*
 * A Connect that meets the order to make room ends nothing: the host's earlier association goes
 * only if the new one comes.
 */
static void test_a_connect_that_comes_too_late_ends_nothing(void **state)
{
    (void)state;
    unsigned too_late = 0;

    for (uint64_t seed = 0; seed < 100; seed++) {
        uint16_t cntlid;

        th_start(&th, &(struct th_options) { .seed = seed, .connections_max = 2 });
        struct th_host *earlier = th_admin(&th, &cntlid);
        struct th_host *again = th_host_greeted(&th);
        struct th_host *other = th_host_knock(&th);
        th_send_connect(again, &(struct th_connect) { 0 });
        th_wait(&th, &other->op_done);
        other->fd = (int)other->op.result;
        if (!th_recv(again)) {
            check_works(earlier);
            too_late++;
        }
        struct th_host *hosts[] = { earlier, again, other };
        close_all(hosts, ARRAY_COUNT(hosts));
        th_stop(&th);
    }
    assert_in_range(too_late, 1, 99);
}

/* ---- What a peer, an address, may have: as much as is left free ---- */

/* Says Connect from this host, to its admin queue or to queue qid of controller cntlid. */
static uint16_t connect_as(struct th_host *h, uint8_t host_id, uint16_t qid, uint16_t cntlid,
                           uint16_t entries)
{
    const struct th_connect c = {
        .host_id = host_id, .qid = qid, .cntlid = cntlid, .sqsize = (uint16_t)(entries - 1)
    };

    return th_connect(h, &c).status;
}

/* Entries of all queues are bounded; what a queue had comes back when it has gone. */
static void test_entries_of_all_queues_are_bounded(void **state)
{
    (void)state;
    struct th_host *hosts[5];

    /* Three peers, with 64 entries each if all take the same. */
    th_start(&th, &(struct th_options) { .commands_max = 192 });
    for (unsigned i = 0; i < 3; i++) {
        hosts[i] = th_host_greeted(&th);
        assert_int_equal(connect_as(hosts[i], (uint8_t)i, 0, 0, 64), 0);
        th_move(&th);
    }
    hosts[3] = th_host_greeted(&th);
    assert_int_equal(connect_as(hosts[3], 3, 0, 0, 2), NVME_SC_CONNECT_BUSY);
    check_works(hosts[0]);
    th_host_close(hosts[1]);
    assert_int_equal(connect_as(hosts[3], 3, 0, 0, 32), 0);
    hosts[4] = th_host_greeted(&th);
    assert_int_equal(connect_as(hosts[4], 4, 0, 0, 33), NVME_SC_CONNECT_BUSY);
    hosts[1] = hosts[4];
    close_all(hosts, 4);
    th_stop(&th);
}

/*
 * One peer that takes all the entries it can, under ever new names, leaves half of them; the next
 * one a third.  Whoever has nothing finds a queue.
 */
static void test_a_peer_leaves_as_many_entries_as_it_takes(void **state)
{
    (void)state;
    struct th_host *hosts[64];
    unsigned count = 0;

    /* 480 entries are fifteen queues of 32. */
    th_start(&th, &(struct th_options) { .commands_max = 480 });
    const unsigned expected[] = { 7, 4, 2, 1, 1, 0 };
    for (unsigned peer = 0; peer < ARRAY_COUNT(expected); peer++) {
        unsigned taken = 0;

        for (uint16_t status = 0; status == 0; count++) {
            hosts[count] = th_host_greeted(&th);
            status = connect_as(hosts[count], (uint8_t)count, 0, 0, 32);
            assert_true(status == 0 || status == NVME_SC_CONNECT_BUSY);
            taken += status == 0 ? 1 : 0;
        }
        assert_int_equal(taken, expected[peer]);
        th_move(&th);
    }
    check_works(hosts[0]);
    close_all(hosts, count);
    th_stop(&th);
}

/* The same with queues, however small: 12 connections are 6 of one peer and 3 of the next. */
static void test_a_peer_leaves_as_many_queues_as_it_takes(void **state)
{
    (void)state;
    struct th_host *hosts[16];
    unsigned count = 0, taken = 0;
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .connections_max = 12 });
    hosts[count++] = th_admin(&th, &cntlid);
    for (uint16_t qid = 1; qid < 8; qid++) {
        hosts[count] = th_host_greeted(&th);
        taken += connect_as(hosts[count++], 0, qid, cntlid, 2) == 0 ? 1 : 0;
    }
    assert_int_equal(taken, 5);
    /* An admin queue, too, is a queue. */
    hosts[count] = th_host_greeted(&th);
    assert_int_equal(connect_as(hosts[count++], 1, 0, 0, 2), NVME_SC_CONNECT_BUSY);
    th_move(&th);
    for (uint8_t id = 2; id < 6; id++) {
        hosts[count] = th_host_greeted(&th);
        taken += connect_as(hosts[count++], id, 0, 0, 2) == 0 ? 1 : 0;
    }
    assert_int_equal(taken, 5 + 3);
    close_all(hosts, count);
    th_stop(&th);
}

/* And with the controllers of a subsystem: 510 of them are 255 of one peer. */
static void test_a_peer_leaves_half_of_the_controllers(void **state)
{
    (void)state;
    static struct th_host *hosts[NVME_CNTLIDS_PER_NODE];
    const unsigned half = NVME_CNTLIDS_PER_NODE / 2;
    char nqn[64];

    th_start(&th, NULL);
    for (unsigned i = 0; i <= half; i++) {
        snprintf(nqn, sizeof nqn, "nqn.2026-01.io.trilith:host:%u", i);
        hosts[i] = th_host_greeted(&th);
        const uint16_t status =
            th_connect(hosts[i], &(struct th_connect) { .host_nqn = nqn }).status;
        assert_int_equal(status, i < half ? 0 : NVME_SC_CONNECT_BUSY);
    }
    th_move(&th);
    struct th_host *other = th_host_greeted(&th);
    assert_int_equal(th_connect(other, &(struct th_connect) { 0 }).status, 0);
    check_works(other);
    close_all(hosts, half + 1);
    th_host_close(other);
    th_stop(&th);
}

/* ---- The log ---- */

struct lines {
    unsigned refused;
    unsigned left_out;
};

static void count_lines(void *ctx, const char *line)
{
    struct lines *lines = ctx;

    lines->refused += strstr(line, "refused: status") != NULL ? 1 : 0;
    lines->left_out += strstr(line, "lines about hosts were left out") != NULL ? 1 : 0;
}

/* A host that is refused in a loop writes a bounded log, which says what it leaves out. */
static void test_a_refused_host_does_not_fill_the_log(void **state)
{
    (void)state;
    struct lines lines = { 0 };
    const struct th_connect wrong = { .nqn = NQN_VOLUME_PREFIX "none" };

    th_start(&th, &(struct th_options) { .trace = count_lines, .trace_ctx = &lines });
    struct th_host *h = th_host_greeted(&th);
    for (unsigned i = 0; i < 2 * NVME_LOG_LINES_BURST; i++)
        assert_int_not_equal(th_connect(h, &wrong).status, 0);
    assert_in_range(lines.refused, NVME_LOG_LINES_BURST - 10, NVME_LOG_LINES_BURST + 10);
    const struct lines before = lines;
    th_run(&th, NS_PER_S);
    assert_int_not_equal(th_connect(h, &wrong).status, 0);
    assert_int_equal(lines.refused, before.refused + 1);
    assert_int_equal(lines.left_out, before.left_out + 1);
    th_host_close(h);
    th_stop(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_open_connections_make_room),
        cmocka_unit_test(test_a_refused_connect_keeps_no_place),
        cmocka_unit_test(test_a_waiting_connect_keeps_its_place),
        cmocka_unit_test(test_a_connect_that_comes_too_late_ends_nothing),
        cmocka_unit_test(test_entries_of_all_queues_are_bounded),
        cmocka_unit_test(test_a_peer_leaves_as_many_entries_as_it_takes),
        cmocka_unit_test(test_a_peer_leaves_as_many_queues_as_it_takes),
        cmocka_unit_test(test_a_peer_leaves_half_of_the_controllers),
        cmocka_unit_test(test_a_refused_host_does_not_fill_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

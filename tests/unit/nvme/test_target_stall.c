/* SPDX-License-Identifier: Apache-2.0 */
/*
 * W2: a host that owes something, the rest of a PDU, the data it was asked for, or to take its
 * responses, is cut after the stall time, however often it sends a byte; and not before.
 */
#include "target_io.h"

#include <string.h>

/* What a slow host does once in a virtual second. */
typedef void drip(struct th_host *h, unsigned second);

static unsigned io_queues(void)
{
    struct nvme_subsys_stats stats;

    nvme_subsys_stats(th.subsys, &stats);
    return stats.io_queues;
}

/* Has p.io drip until it is cut, which must be after the stall time and soon after. */
static void assert_cut(struct pair p, drip *drip_once)
{
    const unsigned limit = NVME_STALL_NS / NS_PER_S;
    unsigned second = 0;
    struct th_host *neighbour = th_host_greeted(&th);
    const struct th_connect c = { .host_nqn = "nqn.2026-01.io.trilith:host:h2" };

    assert_int_equal(th_connect(neighbour, &c).status, 0);
    assert_int_equal(th_property_set_cc(neighbour, TH_CC_ENABLED).status, 0);
    const unsigned before = io_queues();
    while (io_queues() == before && second < 2 * limit) {
        if (drip_once != NULL)
            drip_once(p.io, second);
        th_run(&th, NS_PER_S);
        second++;
    }
    assert_in_range(second, limit - 1, limit + 5);
    assert_true(th_closed(p.io));
    assert_int_equal(th_property_get(neighbour, NVME_PROP_VS, false), NVME_VS_2_0);
    th_host_close(neighbour);
    close_pair(p);
}

/* ---- The cases ---- */

static void test_host_sends_no_data(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    write_and_r2t(p.io, 0, 128);
    assert_cut(p, NULL);
}

/* A header that never ends, a byte a second. */
static void drip_header(struct th_host *h, unsigned second)
{
    static const uint8_t capsule[72] = { PDU_CAPSULE_CMD, 0, 72, 0, 72 };

    if (second < 70)
        th_send(h, capsule + second, 1);
}

static void test_a_header_of_one_byte_per_second(void **state)
{
    (void)state;

    assert_cut(open_pair(NULL), drip_header);
}

/* A capsule whose data come a byte a second. */
static void drip_capsule(struct th_host *h, unsigned second)
{
    static uint8_t raw[PDU_ENCODED_BYTES_MAX + 4096];
    static size_t sent;

    if (second == 0) {
        struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096);
        sqe.sgl_id = NVME_SGL_IN_CAPSULE;
        sent = pdu_encode_capsule_cmd(&h->format, &sqe, 4096, raw);
        th_send(h, raw, sent);
    } else {
        th_send(h, raw + sent++, 1);
    }
}

static void test_a_capsule_of_one_byte_per_second(void **state)
{
    (void)state;

    assert_cut(open_pair(NULL), drip_capsule);
}

/* H2CData PDUs that are whole, but of four bytes each, so that the R2T is never answered. */
static void drip_r2t(struct th_host *h, unsigned second)
{
    static struct pdu_data data;

    if (second == 0) {
        data = write_and_r2t(h, 0, 128);
        data.bytes = 4;
    }
    data.offset = second * 4;
    send_h2c(h, &data, 0, block);
}

static void test_r2t_data_of_four_bytes_per_second(void **state)
{
    (void)state;

    assert_cut(open_pair(NULL), drip_r2t);
}

/* A part of a PDU right behind Connect, before the queue is there. */
static void test_a_pdu_begun_behind_connect(void **state)
{
    (void)state;
    uint16_t cntlid;
    struct pair p;

    th_start(&th, NULL);
    p.admin = th_admin(&th, &cntlid);
    p.io = th_host_greeted(&th);
    th_send_connect(p.io, &(struct th_connect) { .qid = 1, .cntlid = cntlid });
    drip_header(p.io, 0);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    assert_cut(p, NULL);
}

/* A read of a host that has gone, at a disk that hangs: it has the pool's only buffer. */
static void hold_buffer(void)
{
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);
    struct th_connect c = { .host_nqn = "nqn.2026-01.io.trilith:host:h3" };
    struct th_host *admin = th_host_greeted(&th);
    const struct nvme_cqe cqe = th_connect(admin, &c);
    struct th_host *io = th_host_greeted(&th);

    assert_int_equal(cqe.status, 0);
    assert_int_equal(th_property_set_cc(admin, TH_CC_ENABLED).status, 0);
    c.qid = 1;
    c.cntlid = (uint16_t)cqe.result;
    assert_int_equal(th_connect(io, &c).status, 0);
    th.mem.hold = true;
    th.mem.begun = true;
    th_send_command(io, &read, NULL, 0);
    th_run(&th, NS_PER_S);
    th_host_close(io);
    th_host_close(admin);
}

/*
 * A pair with an R2T out, whose receiver after a while waits for a buffer: it takes neither its
 * next capsule nor what comes behind that.
 */
static struct pair open_held_up_after(uint64_t ns, struct pdu_data *out_r2t)
{
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);
    struct pair p =
        open_pair(&(struct th_options) { .reactors = 1, .pool_bytes = NVME_DATA_BYTES_MAX });

    hold_buffer();
    *out_r2t = write_and_r2t(p.io, 0, 4);
    th_run(&th, ns);
    th_send_command(p.io, &read, NULL, 0);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.requests, 1);
    return p;
}

static struct pair open_held_up(struct pdu_data *out_r2t)
{
    return open_held_up_after(0, out_r2t);
}

/* While we do not read, a host is not cut whose data we have not read; */
static void test_data_that_we_do_not_read_are_not_owed(void **state)
{
    (void)state;
    struct pdu_data r2t;
    struct pair p = open_held_up(&r2t);

    fill(4, r2t.bytes);
    send_h2c(p.io, &r2t, PDU_FLAG_LAST, block);
    th_run(&th, 2 * NVME_STALL_NS);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    assert_memory_equal(th.mem.memory, block, r2t.bytes);
    close_pair(p);
}

/* ... and if it has not sent them, its time begins when we read again. */
static void test_data_are_owed_when_we_read_again(void **state)
{
    (void)state;
    struct pdu_data r2t;
    struct pair p = open_held_up(&r2t);

    th_run(&th, NVME_STALL_NS - 10 * NS_PER_S);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    assert_cut(p, NULL);
}

/* What it has let pass before counts: the time that it has is that in which we read. */
static void test_a_hold_up_does_not_begin_the_time_anew(void **state)
{
    (void)state;
    struct pdu_data r2t;
    struct pair p = open_held_up_after(NVME_STALL_NS / 2, &r2t);

    th_run(&th, NVME_STALL_NS);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    th_run(&th, NVME_STALL_NS / 2 - 5 * NS_PER_S);
    assert_int_equal(io_queues(), 1);
    th_run(&th, 10 * NS_PER_S);
    assert_int_equal(io_queues(), 0);
    close_pair(p);
}

/* Two reads for which there is one buffer: the second one holds the receiver up for a moment. */
static void drip_hold_ups(struct th_host *h, unsigned second)
{
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);

    if (second == 0)
        write_and_r2t(h, 0, 4);
    th_send_command(h, &read, NULL, 0);
    th_send_command(h, &read, NULL, 0);
    assert_int_equal(th_recv_cqe(h).status, 0);
    assert_int_equal(th_recv_cqe(h).status, 0);
}

static void test_many_hold_ups_do_not_put_off_the_end(void **state)
{
    (void)state;

    assert_cut(open_pair(&(struct th_options) { .reactors = 1, .pool_bytes = NVME_DATA_BYTES_MAX }),
               drip_hold_ups);
}

/* A host that is slow but ends each thing in time stays, for ever. */
static void test_a_slow_host_is_not_cut(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const unsigned half_s = NVME_STALL_NS / NS_PER_S / 2;

    fill(3, 16384);
    for (unsigned turn = 0; turn < 4; turn++) {
        struct pdu_data r2ts[2] = { write_and_r2t(p.io, 0, 4), write_and_r2t(p.io, 4, 4) };

        for (unsigned i = 0; i < ARRAY_COUNT(r2ts); i++) {
            th_run(&th, (half_s + 5) * NS_PER_S);
            assert_int_equal(send_r2t_data(p.io, r2ts[i], 4096).status, 0);
        }
        th_run(&th, 3 * NVME_STALL_NS);
        assert_reads_back(p.io, 4, 4);
    }
    close_pair(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_sends_no_data),
        cmocka_unit_test(test_a_header_of_one_byte_per_second),
        cmocka_unit_test(test_a_capsule_of_one_byte_per_second),
        cmocka_unit_test(test_r2t_data_of_four_bytes_per_second),
        cmocka_unit_test(test_a_pdu_begun_behind_connect),
        cmocka_unit_test(test_data_that_we_do_not_read_are_not_owed),
        cmocka_unit_test(test_data_are_owed_when_we_read_again),
        cmocka_unit_test(test_a_hold_up_does_not_begin_the_time_anew),
        cmocka_unit_test(test_many_hold_ups_do_not_put_off_the_end),
        cmocka_unit_test(test_a_slow_host_is_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

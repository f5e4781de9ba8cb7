/* SPDX-License-Identifier: Apache-2.0 */
/* S1: a namespace's failed Flush that tells of lost writes, until the host provably has it. */
#include "target_harness.h"

static struct th th;

/* A host's association: an admin queue and two I/O queues. */
struct association {
    struct th_host *admin;
    struct th_host *io[2];
};

static struct association associate(uint8_t host_id)
{
    const struct th_connect connect = { .host_id = host_id };
    struct association a = { .admin = th_host_open(&th) };

    th_handshake(a.admin, false, false);
    const uint16_t cntlid = (uint16_t)th_connect(a.admin, &connect).result;
    assert_int_equal(th_property_set_cc(a.admin, TH_CC_ENABLED).status, 0);
    for (uint16_t i = 0; i < 2; i++) {
        const struct th_connect queue = { .host_id = host_id,
                                          .qid = (uint16_t)(i + 1),
                                          .cntlid = cntlid };
        a.io[i] = th_host_open(&th);
        th_handshake(a.io[i], false, false);
        assert_int_equal(th_connect(a.io[i], &queue).status, 0);
    }
    return a;
}

static void leave(struct association a)
{
    th_host_close(a.io[0]);
    th_host_close(a.io[1]);
    th_host_close(a.admin);
}

static struct association start_with_loss(void)
{
    th_start(&th, NULL);
    th.mem.loss = 1;
    return associate(1);
}

#define ROW 24

/* Sends so many Flushes at once, ROW at most. */
static void send_flushes(struct th_host *h, unsigned count)
{
    struct nvme_sqe flush = {
        .opcode = NVME_IO_FLUSH, .flags = NVME_SQE_PSDT_SGL, .nsid = 1, .sgl_id = NVME_SGL_TRANSPORT
    };
    uint8_t raw[ROW * PDU_ENCODED_BYTES_MAX];
    size_t at = 0;

    for (unsigned i = 0; i < count; i++) {
        flush.cid = h->next_cid++;
        at += pdu_encode_capsule_cmd(&h->format, &flush, 0, raw + at);
    }
    th_send(h, raw, at);
}

/* Whether the answer that comes next tells of a loss. */
static bool is_told(struct th_host *h)
{
    const uint16_t status = th_recv_cqe(h).status;

    if (status != 0)
        assert_int_equal(status, NVME_SC_DNR | 0x280); /* Write Fault, or Linux would retry. */
    return status != 0;
}

static bool flush_fails(struct th_host *h)
{
    send_flushes(h, 1);
    return is_told(h);
}

/*
 * One Flush fails on each queue, then the next ones there succeed.  The queue that was told first
 * may break before the host reads that, and a Flush that was sent beside it must not succeed.
 */
static void told_once_on_each_queue(void **state)
{
    (void)state;
    struct association a = start_with_loss();

    assert_true(flush_fails(a.io[0]));
    assert_false(flush_fails(a.io[0]));
    assert_true(flush_fails(a.io[1]));
    assert_false(flush_fails(a.io[1]));
    assert_int_equal(th.mem.loss_heard, 0);
    leave(a);
    th_stop(&th);
}

/*
 * The answer that tells goes by way of home, and no Flush that comes meanwhile succeeds before it:
 * the connection may break between the two.
 */
static void no_success_overtakes_it(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        const struct th_options options = { .seed = seed, .segment_max = 72 };

        th_start(&th, &options);
        th.mem.loss = 1;
        const struct association a = associate(1);
        struct th_host *const io = a.io[seed % 2];

        sim_world_net(th.world)->latency_max_ns = 2000; /* As fast as messages between reactors. */
        send_flushes(io, ROW);
        assert_true(is_told(io));
        for (unsigned i = 1; i < ROW; i++)
            (void)is_told(io);
        assert_false(flush_fails(io));
        leave(a);
        th_stop(&th);
    }
}

/* A later loss is told again. */
static void each_loss_is_told(void **state)
{
    (void)state;
    struct association a = start_with_loss();

    assert_true(flush_fails(a.io[0]));
    th.mem.loss = 2;
    assert_true(flush_fails(a.io[0]));
    assert_false(flush_fails(a.io[0]));
    leave(a);
    th_stop(&th);
}

/* The answer may have been lost with the connection: the host's repeated Flush fails too. */
static void told_again_after_a_lost_connection(void **state)
{
    (void)state;
    struct association a = start_with_loss();

    assert_true(flush_fails(a.io[0]));
    leave(a);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.loss_heard, 0);
    a = associate(1);
    assert_true(flush_fails(a.io[0]));
    leave(a);
    th_stop(&th);
}

/* A path that takes over from one whose end nobody has noticed yet is told for itself. */
static void told_on_every_path(void **state)
{
    (void)state;
    struct association a = start_with_loss();
    struct association b = associate(2);

    assert_true(flush_fails(a.io[0]));
    assert_true(flush_fails(b.io[0]));
    leave(a);
    leave(b);
    th_stop(&th);
}

/* An id that is used again proves that its answer has arrived: nobody is told any more. */
static void a_command_id_used_again_is_proof(void **state)
{
    (void)state;
    struct association a = start_with_loss();
    struct association b = associate(2);
    const uint16_t cid = a.io[0]->next_cid;

    assert_true(flush_fails(a.io[0]));
    a.io[1]->next_cid = cid; /* Of another queue: says nothing. */
    assert_true(flush_fails(a.io[1]));
    assert_int_equal(th.mem.loss_heard, 0);
    a.io[0]->next_cid = cid;
    assert_false(flush_fails(a.io[0]));
    assert_int_equal(th.mem.loss_heard, 1);
    assert_false(flush_fails(b.io[0]));
    leave(a);
    leave(b);
    th_stop(&th);
}

/* A host may have lost the queue, and with it the answer, before it shuts the controller down. */
static void a_shutdown_is_no_proof(void **state)
{
    (void)state;
    struct association a = start_with_loss();

    assert_true(flush_fails(a.io[0]));
    th_host_close(a.io[0]);
    th_host_close(a.io[1]);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.loss_heard, 0);
    assert_int_equal(th_property_set_cc(a.admin, TH_CC_ENABLED | 1 << 14).status, 0);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.flushes, 1); /* The shutdown's own flush does not take the report. */
    assert_int_equal(th.mem.loss_heard, 0);
    th_host_close(a.admin);
    a = associate(1);
    assert_true(flush_fails(a.io[0]));
    leave(a);
    th_stop(&th);
}

/* A shutdown's own flush tells nobody: the next host's first Flush does. */
static void a_flush_at_a_shutdown_tells_nobody(void **state)
{
    (void)state;
    struct association a = start_with_loss();

    assert_int_equal(th_property_set_cc(a.admin, TH_CC_ENABLED | 1 << 14).status, 0);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.flushes, 1);
    assert_int_equal(th.mem.loss_heard, 0);
    leave(a);
    a = associate(1);
    assert_true(flush_fails(a.io[0]));
    leave(a);
    th_stop(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told_once_on_each_queue),
        cmocka_unit_test(no_success_overtakes_it),
        cmocka_unit_test(each_loss_is_told),
        cmocka_unit_test(told_again_after_a_lost_connection),
        cmocka_unit_test(told_on_every_path),
        cmocka_unit_test(a_command_id_used_again_is_proof),
        cmocka_unit_test(a_shutdown_is_no_proof),
        cmocka_unit_test(a_flush_at_a_shutdown_tells_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Abort: a command is executed and answered so, or it never is and ends as aborted. */
#include <stdlib.h>
#include <string.h>

#include "target_io.h"

/* Of the command that every test aborts. */
#define CID 500

static struct nvme_sqe abort_of(uint16_t qid, uint16_t cid)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_ABORT, 0);

    sqe.cdw10 = qid | (uint32_t)cid << 16;
    return sqe;
}

/* Sends a write of blocks that are all 0xee, with its data in the capsule. */
static void send_write(struct th_host *io, uint64_t lba)
{
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, lba, 1, 4096);

    sqe.cid = CID;
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    memset(block, 0xee, 4096);
    th_send_command(io, &sqe, block, 4096);
    th_run(&th, NS_PER_S);
}

static void send_r2t_write(struct th_host *io, uint16_t cid, uint32_t blocks)
{
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 0, blocks, 4096);

    sqe.cid = cid;
    th_send_command(io, &sqe, NULL, 0);
}

/* What the namespace has not begun is taken back: it ends as aborted, and never happens. */
static void test_abort_before_execution(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const struct nvme_sqe sqe = abort_of(1, CID);

    th.mem.hold = true;
    send_write(p.io, 5);
    const struct nvme_cqe answer = th_command(p.admin, &sqe, NULL, 0);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.result, 0);
    const struct nvme_cqe aborted = th_recv_cqe(p.io);
    assert_int_equal(aborted.cid, CID);
    assert_int_equal(aborted.status, NVME_SC_ABORT_REQUESTED);
    mem_ns_release(&th.mem);
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.memory[5 * 4096], 0);
    close_pair(p);
}

/* What is being executed is answered "not aborted" at once, and ends as it would have. */
static void test_abort_of_an_executing_command(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const struct nvme_sqe sqe = abort_of(1, CID);

    th.mem.hold = true;
    th.mem.begun = true;
    send_write(p.io, 5);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 1);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    assert_int_equal(th.mem.memory[5 * 4096], 0xee);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 1); /* Nor what is over. */
    close_pair(p);
}

/* A host that was asked for data sends them: the command ends when they are there. */
static void test_abort_while_data_come(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = abort_of(1, CID);

    send_r2t_write(p.io, CID, 4);
    assert_true(th_recv(p.io));
    assert_int_equal(p.io->pdu.type, PDU_R2T);
    const struct pdu_data r2t = p.io->pdu.data;
    th_send_command(p.admin, &sqe, NULL, 0);
    th_run(&th, NS_PER_S);
    assert_int_equal(send_r2t_data(p.io, r2t, 4096).status, NVME_SC_ABORT_REQUESTED);
    const struct nvme_cqe answer = th_recv_cqe(p.admin);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.result, 0);
    assert_int_equal(th.mem.requests, 0);
    assert_int_equal(write_in_capsule(p.io, 0, 1).status, 0);
    close_pair(p);
}

/* A command that waits for a buffer ends at once, and those behind it go on. */
static void test_abort_while_waiting_for_a_buffer(void **state)
{
    (void)state;
    struct pair p = open_pair(&(struct th_options) { .r2t_pool_bytes = BUF_BYTES_MAX });
    const struct nvme_sqe sqe = abort_of(1, CID);

    send_r2t_write(p.io, 1, 128); /* Has the only buffer. */
    assert_true(th_recv(p.io));
    assert_int_equal(p.io->pdu.type, PDU_R2T);
    const struct pdu_data r2t = p.io->pdu.data;
    send_r2t_write(p.io, CID, 128);
    send_r2t_write(p.io, 2, 16);
    th_run(&th, NS_PER_S);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 0);
    const struct nvme_cqe aborted = th_recv_cqe(p.io);
    assert_int_equal(aborted.cid, CID);
    assert_int_equal(aborted.status, NVME_SC_ABORT_REQUESTED);
    for (uint32_t at = 0; at < r2t.bytes; at += 65536) {
        const struct pdu_data data = {
            .cccid = r2t.cccid, .ttag = r2t.ttag, .offset = at, .bytes = 65536
        };
        send_h2c(p.io, &data, at + 65536 == r2t.bytes ? PDU_FLAG_LAST : 0, block);
    }
    unsigned seen = 0;
    while (seen != 3) { /* The answer to 1, and the R2T of 2. */
        assert_true(th_recv(p.io));
        seen |= p.io->pdu.type == PDU_R2T ? 2 : 1;
    }
    close_pair(p);
}

/* An Abort whose command goes with its connection is answered: it never was executed. */
static void test_connection_lost_meanwhile(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const struct nvme_sqe sqe = abort_of(1, CID);

    send_r2t_write(p.io, CID, 4);
    assert_true(th_recv(p.io));
    th_send_command(p.admin, &sqe, NULL, 0);
    th_run(&th, NS_PER_S);
    th_host_close(p.io);
    const struct nvme_cqe answer = th_recv_cqe(p.admin);
    assert_int_equal(answer.result, 0);
    assert_int_equal(th.mem.requests, 0);
    th_host_close(p.admin);
    th_stop(&th);
}

/* An Abort that meets the end of its queue is answered, whichever comes first. */
static void test_abort_and_the_end_meet(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct pair p = open_pair(&(struct th_options) { .seed = seed });
        const struct nvme_sqe sqe = abort_of(1, CID);

        send_r2t_write(p.io, CID, 4);
        assert_true(th_recv(p.io));
        if (seed % 2 == 0) {
            th_send_command(p.admin, &sqe, NULL, 0);
            th_host_close(p.io);
        } else {
            th_host_close(p.io);
            th_send_command(p.admin, &sqe, NULL, 0);
        }
        assert_int_equal(th_recv_cqe(p.admin).status, 0);
        th_host_close(p.admin);
        th_stop(&th);
    }
}

/*
 * An idle queue that goes, and an admin queue, while an Abort is on its way: what is freed is not
 * met again.
 */
static void test_abort_and_an_idle_queue_meet(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct pair p = open_pair(&(struct th_options) { .seed = seed, .reactors = 3 });
        const struct nvme_sqe sqe = abort_of(1, CID);

        th_send_command(p.admin, &sqe, NULL, 0);
        th_run(&th, seed * NS_PER_US / 2);
        th_host_close(p.io);
        th_host_close(p.admin);
        th_run(&th, NS_PER_S);
        th_stop(&th);
    }
}

/* So it is when the target stops while a queue goes that an Abort was sent to. */
static void test_stop_meets_a_queue_that_goes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        for (unsigned steps = 0; steps < 60; steps++) {
            struct pair p = open_pair(&(struct th_options) { .seed = seed, .reactors = 3 });
            const struct nvme_sqe sqe = abort_of(1, CID);

            assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 1);
            io_close(p.io->reactor, p.io->fd);
            for (unsigned i = 0; i < steps; i++)
                (void)sim_world_step(th.world);
            th_stop(&th);
            free(p.io);
            free(p.admin);
        }
    }
}

/* "Abort Command Limit": as many as ACL says at a time; a second one for the same is in vain. */
static void test_abort_limit(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe;

    for (uint16_t i = 0; i < NVME_ABORTS_MAX; i++) {
        send_r2t_write(p.io, (uint16_t)(CID + i), 4);
        assert_true(th_recv(p.io));
        sqe = abort_of(1, (uint16_t)(CID + i));
        if (i + 1 < NVME_ABORTS_MAX)
            th_send_command(p.admin, &sqe, NULL, 0);
    }
    th_run(&th, NS_PER_S);
    sqe = abort_of(1, CID);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 1);
    sqe = abort_of(1, CID + NVME_ABORTS_MAX - 1);
    th_send_command(p.admin, &sqe, NULL, 0);
    th_run(&th, NS_PER_S);
    sqe = abort_of(1, CID);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, NVME_SC_ABORT_LIMIT);
    th_host_close(p.io);
    for (unsigned i = 0; i < NVME_ABORTS_MAX; i++)
        assert_int_equal(th_recv_cqe(p.admin).result, 0);
    sqe = abort_of(1, CID);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    th_host_close(p.admin);
    th_stop(&th);
}

/* A queue or command that is not there: "not aborted". */
static void test_abort_of_nothing(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = abort_of(7, CID);

    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 1);
    sqe = abort_of(1, CID);
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 1);
    close_pair(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_abort_before_execution),
        cmocka_unit_test(test_abort_of_an_executing_command),
        cmocka_unit_test(test_abort_while_data_come),
        cmocka_unit_test(test_abort_while_waiting_for_a_buffer),
        cmocka_unit_test(test_connection_lost_meanwhile),
        cmocka_unit_test(test_abort_and_the_end_meet),
        cmocka_unit_test(test_abort_and_an_idle_queue_meet),
        cmocka_unit_test(test_stop_meets_a_queue_that_goes),
        cmocka_unit_test(test_abort_limit),
        cmocka_unit_test(test_abort_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* W2: what one connection may hold of the pools, and what that leaves to the others. */
#include "target_io.h"

#include <stdlib.h>
#include <string.h>

/* With one buffer per connection, all commands are still done, whatever way their data go. */
static void test_small_quota(void **state)
{
    (void)state;
    struct pair p = open_pair(&(struct th_options) { .quota_bytes = NVME_DATA_BYTES_MAX,
                                                     .pool_bytes = NVME_DATA_BYTES_MAX,
                                                     .r2t_pool_bytes = NVME_DATA_BYTES_MAX });
    struct nvme_sqe sqe;

    fill(11, NVME_DATA_BYTES_MAX);
    memcpy(th.mem.memory, block, NVME_DATA_BYTES_MAX);
    for (unsigned i = 0; i < 4; i++) {
        sqe = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);
        sqe.cid = (uint16_t)i;
        th_send_command(p.io, &sqe, NULL, 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(th_recv_cqe(p.io).status, 0);
        assert_memory_equal(p.io->data, block, NVME_DATA_BYTES_MAX);
    }

    /* Writes by R2T, one R2T after the other, with a read in between them. */
    for (unsigned i = 0; i < 3; i++) {
        sqe = th_sqe_rw(NVME_IO_WRITE, 128 * i, 128, 4096);
        sqe.cid = (uint16_t)i;
        th_send_command(p.io, &sqe, NULL, 0);
    }
    sqe = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);
    sqe.cid = 9;
    th_send_command(p.io, &sqe, NULL, 0);
    unsigned written = 0;
    while (written < 3) {
        assert_true(th_recv(p.io));
        if (p.io->pdu.type == PDU_R2T) {
            struct pdu_data data = p.io->pdu.data;
            data.offset = 0;
            send_h2c(p.io, &data, PDU_FLAG_LAST, block);
        } else if (p.io->pdu.type == PDU_CAPSULE_RESP && p.io->pdu.resp.cid != 9) {
            assert_int_equal(p.io->pdu.resp.status, 0);
            written++;
        }
    }
    assert_memory_equal(th.mem.memory + 2 * NVME_DATA_BYTES_MAX, block, NVME_DATA_BYTES_MAX);
    close_pair(p);
}

/* Takes so many bytes that the target sends, while others do so too. */
struct taker {
    struct io_op op;
    struct th_host *host;
    size_t missing;
    bool done;
};

static void take_on_recv(struct io_op *op)
{
    struct taker *t = CONTAINER_OF(op, struct taker, op);

    if (op->result > 0)
        t->missing -= (size_t)op->result;
    t->done = op->result <= 0 || t->missing == 0;
    if (!t->done)
        io_op_recv(op, t->host->reactor, t->host->fd,
                   (struct span) { t->host->in, min_u64(t->missing, sizeof t->host->in) },
                   take_on_recv);
}

static void take_start(struct taker *t, struct th_host *host, size_t bytes)
{
    *t = (struct taker) { .host = host, .missing = bytes };
    io_op_recv(&t->op, host->reactor, host->fd, (struct span) { host->in, 1 }, take_on_recv);
}

/* Four queues of a controller on a target whose pools have one buffer each; of one peer, or each
 * from an address of its own. */
static struct th_host *open_four(uint64_t seed, bool one_peer, struct th_host **hosts)
{
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .seed = seed,
                                         .reactors = 1,
                                         .pool_bytes = NVME_DATA_BYTES_MAX,
                                         .r2t_pool_bytes = NVME_DATA_BYTES_MAX });
    struct th_host *admin = th_admin(&th, &cntlid);
    for (uint16_t i = 0; i < 4; i++) {
        if (!one_peer)
            th_move(&th);
        hosts[i] = th_io_queue(&th, cntlid, (uint16_t)(i + 1));
    }
    return admin;
}

/* Connections that share a pool of one buffer have it in turn, and one that goes is passed over. */
static void test_pool_in_turn(void **state)
{
    struct th_host *hosts[4];
    struct taker takers[4];

    for (uint64_t seed = 0; seed < 4; seed++) {
        struct th_host *admin = open_four(seed, *(const bool *)*state, hosts);
        th.mem.hold = true;
        for (unsigned i = 0; i < 4; i++) {
            for (unsigned n = 0; n < 3; n++) {
                const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 0, n == 1 ? 1 : 128, 4096);
                th_send_command(hosts[i], &sqe, NULL, 0);
            }
        }
        th_run(&th, NS_PER_S);
        assert_int_equal(th.mem.requests, 1);
        th_host_close(hosts[2]);
        mem_ns_release(&th.mem);
        /* Two large reads and a small one, each with C2HData and CapsuleResp. */
        const size_t expected = 2 * NVME_DATA_BYTES_MAX + 4096 + 3 * (24 + 24);
        for (unsigned i = 0; i < 4; i++) {
            if (i != 2)
                take_start(&takers[i], hosts[i], expected);
        }
        for (unsigned i = 0; i < 4; i++) {
            if (i == 2)
                continue;
            th_wait(&th, &takers[i].done);
            assert_int_equal(takers[i].missing, 0);
            th_host_close(hosts[i]);
        }
        th_host_close(admin);
        th_stop(&th);
    }
}

/* A host that reads nothing stalls itself; the pool's other users go on; in the end it is cut. */
static void test_host_reads_nothing(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .reactors = 1,
                                         .quota_bytes = NVME_DATA_BYTES_MAX,
                                         .pool_bytes = 2 * NVME_DATA_BYTES_MAX });
    struct th_host *admin = th_admin(&th, &cntlid);
    struct th_host *deaf = th_io_queue(&th, cntlid, 1);
    struct th_host *other = th_io_queue(&th, cntlid, 2);

    const struct nvme_sqe big = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);
    for (unsigned i = 0; i < 20; i++)
        th_send_command(deaf, &big, NULL, 0);
    th_run(&th, NS_PER_S);
    assert_true(buf_pool_used(th.pools[0]) <= NVME_DATA_BYTES_MAX);
    for (unsigned i = 0; i < 5; i++) {
        const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, i, 1, 4096);
        assert_int_equal(th_command(other, &sqe, NULL, 0).status, 0);
    }
    th_host_close(deaf);
    th_host_close(other);
    th_host_close(admin);
    th_stop(&th);
}

/* Deaf connections hold only a part of a pool that each of them could fill. */
static void test_deaf_hosts_leave_some(void **state)
{
    (void)state;
    struct th_host *deaf[4];
    uint16_t cntlid;

    th_start(&th,
             &(struct th_options) { .reactors = 1, .pool_bytes = NVME_CONNECTION_QUOTA_BYTES });
    struct th_host *admin = th_admin(&th, &cntlid);
    const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 0, 16, 4096);
    for (uint16_t i = 0; i < ARRAY_COUNT(deaf); i++) {
        deaf[i] = th_io_queue(&th, cntlid, (uint16_t)(i + 1));
        for (unsigned n = 0; n < 31; n++)
            th_send_command(deaf[i], &sqe, NULL, 0);
    }
    th_run(&th, NS_PER_S);
    assert_true(buf_pool_free(th.pools[0]) >= NVME_CONNECTION_QUOTA_BYTES / 4);

    struct th_host *other = th_io_queue(&th, cntlid, 9);
    const uint64_t before = sim_world_now_ns(th.world);
    const struct nvme_sqe big = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);
    assert_int_equal(th_command(other, &big, NULL, 0).status, 0);
    assert_true(sim_world_now_ns(th.world) - before < 10 * NS_PER_S);
    for (unsigned i = 0; i < ARRAY_COUNT(deaf); i++)
        th_host_close(deaf[i]);
    th_host_close(other);
    th_host_close(admin);
    th_stop(&th);
}

/* Deaf connections of a peer have at most half of the pool, also by reads that take nearly twice
 * their size of it. */
static void test_a_buffer_counts_as_what_it_takes(void **state)
{
    (void)state;
    struct th_host *deaf[3];
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .reactors = 1, .pool_bytes = 16 * NVME_DATA_BYTES_MAX });
    struct th_host *admin = th_admin(&th, &cntlid);
    const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 0, 33, 4096);
    for (uint16_t i = 0; i < ARRAY_COUNT(deaf); i++) {
        deaf[i] = th_io_queue(&th, cntlid, (uint16_t)(i + 1));
        for (unsigned n = 0; n < 31; n++)
            th_send_command(deaf[i], &sqe, NULL, 0);
    }
    th_run(&th, NS_PER_S);
    assert_true(buf_pool_used(th.pools[0]) <= 8 * NVME_DATA_BYTES_MAX);
    for (unsigned i = 0; i < ARRAY_COUNT(deaf); i++)
        th_host_close(deaf[i]);
    th_host_close(admin);
    th_stop(&th);
}

/* ---- Peers ---- */

#define CROWD 48 /* Connections; each could hold one buffer of 16 that the pool has. */

/* A crowd of connections from one address, each of which sends this command. */
static void open_crowd(struct th_host **crowd, const struct nvme_sqe *sqe)
{
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .reactors = 1,
                                         .pool_bytes = 16 * NVME_DATA_BYTES_MAX,
                                         .r2t_pool_bytes = 16 * NVME_DATA_BYTES_MAX });
    crowd[0] = th_admin(&th, &cntlid);
    for (uint16_t i = 1; i < CROWD; i++) {
        crowd[i] = th_io_queue(&th, cntlid, i);
        for (unsigned n = 0; n < 8; n++)
            th_send_command(crowd[i], sqe, NULL, 0);
    }
    th_run(&th, NS_PER_S);
    th_move(&th);
}

static void close_crowd(struct th_host **crowd, struct pair other)
{
    for (unsigned i = 0; i < CROWD; i++)
        th_host_close(crowd[i]);
    close_pair(other);
}

/* A host at another address, connected and served at once. */
static struct pair open_other(void)
{
    struct th_connect c = { .host_nqn = "nqn.2026-01.io.trilith:host:h2" };
    struct pair p;

    p.admin = th_host_greeted(&th);
    const struct nvme_cqe cqe = th_connect(p.admin, &c);
    assert_int_equal(cqe.status, 0);
    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
    p.io = th_host_greeted(&th);
    c.qid = 1;
    c.cntlid = (uint16_t)cqe.result;
    assert_int_equal(th_connect(p.io, &c).status, 0);
    return p;
}

/* Many deaf connections of one peer leave buffers to another, for Connect and for the largest
 * read. */
static void test_a_deaf_crowd_leaves_some(void **state)
{
    (void)state;
    static struct th_host *crowd[CROWD];
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);

    open_crowd(crowd, &read);
    assert_true(buf_pool_free(th.pools[0]) >= 4 * NVME_DATA_BYTES_MAX);
    const uint64_t before = sim_world_now_ns(th.world);
    struct pair other = open_other();
    assert_int_equal(th_command(other.io, &read, NULL, 0).status, 0);
    assert_true(sim_world_now_ns(th.world) - before < 10 * NS_PER_S);
    close_crowd(crowd, other);
}

/* Many that do not answer their R2Ts leave another peer its own. */
static void test_a_crowd_without_data_leaves_some(void **state)
{
    (void)state;
    static struct th_host *crowd[CROWD];
    const struct nvme_sqe write = th_sqe_rw(NVME_IO_WRITE, 0, 128, 4096);

    open_crowd(crowd, &write);
    const uint64_t before = sim_world_now_ns(th.world);
    struct pair other = open_other();
    fill(5, NVME_DATA_BYTES_MAX);
    const struct pdu_data r2t = write_and_r2t(other.io, 0, 128);
    assert_int_equal(send_r2t_data(other.io, r2t, 65536).status, 0);
    assert_true(sim_world_now_ns(th.world) - before < 10 * NS_PER_S);
    close_crowd(crowd, other);
}

/* Answers R2Ts until a write is done. */
static void serve_one(struct th_host *h)
{
    for (;;) {
        assert_true(th_recv(h));
        if (h->pdu.type == PDU_CAPSULE_RESP)
            break;
        assert_int_equal(h->pdu.type, PDU_R2T);
        const struct pdu_data r2t = h->pdu.data;
        send_h2c(h, &r2t, PDU_FLAG_LAST, block);
    }
    assert_int_equal(h->pdu.resp.status, 0);
}

/* The same with R2Ts: the buffer goes from write to write, and past one that closes. */
static void test_r2t_pool_in_turn(void **state)
{
    struct th_host *hosts[4];
    const struct nvme_sqe write = th_sqe_rw(NVME_IO_WRITE, 0, 128, 4096);

    fill(7, NVME_DATA_BYTES_MAX);
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct th_host *admin = open_four(seed, *(const bool *)*state, hosts);
        for (unsigned i = 0; i < 4; i++) {
            th_send_command(hosts[i], &write, NULL, 0);
            th_run(&th, NS_PER_MS);
        }
        th_host_close(hosts[1]);
        serve_one(hosts[0]);
        serve_one(hosts[2]);
        serve_one(hosts[3]);
        th_host_close(hosts[0]);
        th_host_close(hosts[2]);
        th_host_close(hosts[3]);
        th_host_close(admin);
        th_stop(&th);
    }
}

/* One whose only write is aborted while it waits for its turn does not keep the others from theirs.
 */
static void test_an_aborted_write_has_no_turn(void **state)
{
    (void)state;
    struct th_host *hosts[4];
    struct nvme_sqe write = th_sqe_rw(NVME_IO_WRITE, 0, 128, 4096);
    struct nvme_sqe abort = th_sqe_in(NVME_ADMIN_ABORT, 0);
    struct th_host *const admin = open_four(0, true, hosts);

    fill(7, NVME_DATA_BYTES_MAX);
    write.cid = 500;
    for (unsigned i = 0; i < 4; i++) {
        th_send_command(hosts[i], &write, NULL, 0);
        th_run(&th, NS_PER_MS);
    }
    abort.cdw10 = 2 | (uint32_t)write.cid << 16;
    assert_int_equal(th_command(admin, &abort, NULL, 0).result, 0);
    serve_one(hosts[0]);
    serve_one(hosts[2]);
    serve_one(hosts[3]);
    for (unsigned i = 0; i < 4; i++)
        th_host_close(hosts[i]);
    th_host_close(admin);
    th_stop(&th);
}

/* Connections of a peer that has its share wait for each other, and all of them are served. */
static void test_a_crowd_is_served_in_turn(void **state)
{
    (void)state;
    static struct th_host *crowd[CROWD];
    const struct nvme_sqe write = th_sqe_rw(NVME_IO_WRITE, 0, 128, 4096);

    fill(6, NVME_DATA_BYTES_MAX);
    open_crowd(crowd, &write);
    for (unsigned i = 1; i < CROWD; i++)
        serve_one(crowd[i]);
    /* One that waits closes, and one that has an R2T does; their controller has 10 s more. */
    th_host_close(crowd[CROWD - 1]);
    th_host_close(crowd[1]);
    for (unsigned i = 2; i < 4; i++)
        serve_one(crowd[i]);
    for (unsigned i = 2; i < CROWD - 1; i++)
        th_host_close(crowd[i]);
    th_host_close(crowd[0]);
    th_stop(&th);
}

/* ---- Those who hold something that does not end ---- */

#define BUSY 15 /* Connections that hold much for a while. */

/* A queue with a command of 16 KiB at a disk that hangs, one that has nothing yet, and others, of
 * the same peer or each of its own, that have as much of the pool as they may. */
struct stuck {
    struct th_host *admin;
    struct th_host *hangs;
    struct th_host *fresh;
    struct th_host *busy[BUSY];
};

static struct stuck open_stuck(bool one_peer, uint8_t opcode)
{
    struct stuck s;
    const struct nvme_sqe small = th_sqe_rw(opcode, 0, 4, 4096);
    const struct nvme_sqe big = th_sqe_rw(opcode, 0, 128, 4096);
    uint16_t cntlid;

    th_start(&th, &(struct th_options) { .reactors = 1,
                                         .pool_bytes = 16 * NVME_DATA_BYTES_MAX,
                                         .r2t_pool_bytes = 16 * NVME_DATA_BYTES_MAX });
    s.admin = th_admin(&th, &cntlid);
    s.hangs = th_io_queue(&th, cntlid, BUSY + 1);
    s.fresh = th_io_queue(&th, cntlid, BUSY + 2);
    th.mem.hold = true;
    th_send_command(s.hangs, &small, NULL, 0);
    if (opcode == NVME_IO_WRITE) {
        assert_true(th_recv(s.hangs));
        const struct pdu_data r2t = s.hangs->pdu.data;
        send_h2c(s.hangs, &r2t, PDU_FLAG_LAST, block);
    }
    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.requests, 1);
    th.mem.hold = false;

    for (uint16_t i = 0; i < BUSY; i++) {
        if (!one_peer)
            th_move(&th);
        s.busy[i] = th_io_queue(&th, cntlid, (uint16_t)(i + 1));
    }
    for (unsigned i = 0; i < BUSY; i++)
        th_send_command(s.busy[i], &big, NULL, 0);
    th_run(&th, NS_PER_S);
    th_send_command(s.hangs, &big, NULL, 0);
    th_send_command(s.fresh, &big, NULL, 0);
    return s;
}

static void close_stuck(struct stuck *s)
{
    mem_ns_release(&th.mem);
    for (unsigned i = 0; i < BUSY; i++)
        th_host_close(s->busy[i]);
    th_host_close(s->fresh);
    th_host_close(s->hangs);
    th_host_close(s->admin);
    th_stop(&th);
}

/*
 * A queue that was refused a buffer while it had a command that hangs, and one that was refused
 * since its peer had that, have one when others have given theirs back.
 */
static void test_what_others_give_back_is_found(void **state)
{
    struct stuck s = open_stuck(*(const bool *)*state, NVME_IO_READ);
    const unsigned requests = th.mem.requests;
    struct taker takers[BUSY + 2];

    th_run(&th, NS_PER_S);
    assert_int_equal(th.mem.requests, requests);
    for (unsigned i = 0; i < BUSY; i++)
        take_start(&takers[i], s.busy[i], NVME_DATA_BYTES_MAX + 48);
    take_start(&takers[BUSY], s.hangs, NVME_DATA_BYTES_MAX + 48);
    take_start(&takers[BUSY + 1], s.fresh, NVME_DATA_BYTES_MAX + 48);
    for (unsigned i = 0; i < ARRAY_COUNT(takers); i++) {
        th_wait(&th, &takers[i].done);
        assert_int_equal(takers[i].missing, 0);
    }
    close_stuck(&s);
}

/* The same with data that come by R2T. */
static void test_what_others_give_back_is_found_for_r2ts(void **state)
{
    struct stuck s = open_stuck(*(const bool *)*state, NVME_IO_WRITE);
    struct taker takers[2];

    take_start(&takers[0], s.hangs, 24);
    take_start(&takers[1], s.fresh, 24);
    th_run(&th, NS_PER_S);
    assert_false(takers[0].done || takers[1].done);
    for (unsigned i = 0; i < BUSY; i++)
        serve_one(s.busy[i]);
    for (unsigned i = 0; i < ARRAY_COUNT(takers); i++) {
        th_wait(&th, &takers[i].done);
        assert_int_equal(takers[i].missing, 0);
    }
    close_stuck(&s);
}

int main(void)
{
    static bool one_peer = true, four_peers = false;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_quota),
        { "test_pool_in_turn, one peer", test_pool_in_turn, NULL, NULL, &one_peer },
        { "test_pool_in_turn, four peers", test_pool_in_turn, NULL, NULL, &four_peers },
        { "test_r2t_pool_in_turn, one peer", test_r2t_pool_in_turn, NULL, NULL, &one_peer },
        { "test_r2t_pool_in_turn, four peers", test_r2t_pool_in_turn, NULL, NULL, &four_peers },
        cmocka_unit_test(test_an_aborted_write_has_no_turn),
        cmocka_unit_test(test_host_reads_nothing),
        cmocka_unit_test(test_deaf_hosts_leave_some),
        cmocka_unit_test(test_a_buffer_counts_as_what_it_takes),
        cmocka_unit_test(test_a_deaf_crowd_leaves_some),
        cmocka_unit_test(test_a_crowd_without_data_leaves_some),
        cmocka_unit_test(test_a_crowd_is_served_in_turn),
        { "test_what_others_give_back_is_found, one peer", test_what_others_give_back_is_found,
          NULL, NULL, &one_peer },
        { "test_what_others_give_back_is_found, more peers", test_what_others_give_back_is_found,
          NULL, NULL, &four_peers },
        { "test_what_others_give_back_is_found_for_r2ts, one peer",
          test_what_others_give_back_is_found_for_r2ts, NULL, NULL, &one_peer },
        { "test_what_others_give_back_is_found_for_r2ts, more peers",
          test_what_others_give_back_is_found_for_r2ts, NULL, NULL, &four_peers },
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

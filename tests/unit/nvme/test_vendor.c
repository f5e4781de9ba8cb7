/* SPDX-License-Identifier: Apache-2.0 */
/* A vendor's commands, from our initiator to our target. */
#include "initiator_host.h"
#include "mem_vendor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define BLOCK   4100u /* A block of 4 KiB and its CRC. */
#define SOON_NS (10 * NS_PER_MS)
#define GUARD   64
#define DATA_AT 4096u

/* A host of the vendor's commands, and what is behind them. */
struct link {
    struct host *h;
    struct mem_vendor *mem;
};

struct order {
    struct initiator_cmd cmd;
    unsigned dones;
    bool done;
};

static struct link link_create(const struct th_options *options, bool digests)
{
    struct link l = { .h = host_create(options) };

    l.mem = mem_vendor_add(l.h->th.target);
    snprintf(l.h->endpoint.subsystem_nqn.s, sizeof l.h->endpoint.subsystem_nqn.s, MEM_VENDOR_NQN);
    l.h->endpoint.header_digest = digests;
    l.h->endpoint.data_digest = digests;
    l.h->no_namespace = true;
    return l;
}

static void link_open(struct link *l, uint16_t entries)
{
    host_connect_ctrl(l->h);
    th_wait(&l->h->th, &l->h->ctrl_ready);
    host_open_queue(l->h, entries);
    th_wait(&l->h->th, &l->h->queue_ready);
}

static struct link link_opened(const struct th_options *options, bool digests)
{
    struct link l = link_create(options, digests);

    link_open(&l, 32);
    return l;
}

static void link_destroy(struct link *l)
{
    host_destroy(l->h);
    mem_vendor_free(l->mem);
}

static void on_order(struct initiator_cmd *cmd)
{
    struct order *o = CONTAINER_OF(cmd, struct order, cmd);

    o->dones++;
    o->done = true;
}

static void entry_of(uint8_t entry[NVME_SQE_BYTES], uint8_t opcode, uint32_t at)
{
    nvme_sqe_encode(&(struct nvme_sqe) { .opcode = opcode, .cdw2 = 0x55667788, .cdw10 = at },
                    entry);
}

static void submit_order(struct link *l, struct order *o, uint8_t opcode, uint32_t at)
{
    uint8_t entry[NVME_SQE_BYTES];

    entry_of(entry, opcode, at);
    initiator_cmd_set_entry(&o->cmd, entry);
    o->cmd.done = on_order;
    o->done = false;
    initiator_queue_submit(l->h->queue, &o->cmd);
    assert_false(o->done); /* Never before submit has returned. */
}

static void run_order(struct link *l, struct order *o, uint8_t opcode, uint32_t at)
{
    submit_order(l, o, opcode, at);
    th_wait(&l->h->th, &o->done);
    assert_int_equal(o->dones, 1);
}

/* Memory with nothing of its own around it, so that a byte too far is seen. */
static uint8_t *guarded(size_t bytes)
{
    uint8_t *at = malloc(bytes + 2 * GUARD);

    assert_non_null(at);
    memset(at, 0x5a, bytes + 2 * GUARD);
    return at + GUARD;
}

static void guarded_free(uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(at[-1 - (ptrdiff_t)i], 0x5a);
        assert_int_equal(at[bytes + i], 0x5a);
    }
    free(at - GUARD);
}

/* Puts random data, in two pieces, and gets them back, likewise. */
static void there_and_back(struct link *l, size_t head, size_t tail)
{
    uint8_t *first = guarded(head), *rest = guarded(tail);
    uint8_t *back = guarded(head), *back_rest = guarded(tail);
    struct rng rng;

    rng_init(&rng, head + tail);
    rng_fill(&rng, (struct span) { first, head });
    rng_fill(&rng, (struct span) { rest, tail });
    struct order put = { .cmd = { .data = { first, head }, .tail = { rest, tail } } };
    run_order(l, &put, MEM_VENDOR_PUT, DATA_AT);
    assert_int_equal(put.cmd.status.code, STATUS_OK);
    assert_memory_equal(l->mem->memory + DATA_AT, first, head);
    assert_memory_equal(l->mem->memory + DATA_AT + head, rest, tail);
    struct order get = { .cmd = { .data = { back, head }, .tail = { back_rest, tail } } };
    run_order(l, &get, MEM_VENDOR_GET, DATA_AT);
    assert_int_equal(get.cmd.status.code, STATUS_OK);
    assert_memory_equal(back, first, head);
    assert_memory_equal(back_rest, rest, tail);
    guarded_free(back_rest, tail);
    guarded_free(back, head);
    guarded_free(rest, tail);
    guarded_free(first, head);
}

static void data_of_every_size(struct link *l)
{
    static const unsigned blocks[] = { 1, 2, 3, 16, 126, 127 };

    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        there_and_back(l, blocks[i] * 4096, blocks[i] * 4);
        there_and_back(l, blocks[i] * BLOCK, 0);
    }
    there_and_back(l, 1, NVME_DATA_BYTES_MAX - 1);
    there_and_back(l, NVME_DATA_BYTES_MAX - 1, 1);
    there_and_back(l, 65536, 65536);
    there_and_back(l, 5000, 3000);
    there_and_back(l, 8, 0);
}

static void data_go_both_ways(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);

    data_of_every_size(&l);
    link_destroy(&l);
}

static void data_go_both_ways_with_digests(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, true);

    assert_true(initiator_queue_data_digest(l.h->queue));
    data_of_every_size(&l);
    link_destroy(&l);
}

static void a_stream_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct link l = link_opened(&(struct th_options) { .segment_max = 1 }, true);

    there_and_back(&l, 4096, 4);
    there_and_back(&l, 3 * 4096, 3 * 4);
    there_and_back(&l, 9, 8200);
    link_destroy(&l);
}

static void a_stream_may_come_in_odd_pieces(void **state)
{
    (void)state;
    struct link l = link_opened(&(struct th_options) { .segment_max = 4099 }, true);

    there_and_back(&l, 4096, 4);
    there_and_back(&l, 127 * 4096, 127 * 4);
    there_and_back(&l, 20000, 20000);
    link_destroy(&l);
}

/*
 * Many commands with data in two pieces leave in one send: all the iovecs that there are.  With
 * digests, the first takes 2 of the 128, 42 more take 3 each, and the last digest is the 129th.
 */
static void pieces_fill_a_send(void **state)
{
    (void)state;
    struct link l = link_create(NULL, true);
    enum { COUNT = 250 };
    struct order *orders = calloc(COUNT, sizeof *orders);
    uint8_t *data = guarded(COUNT * 16);

    assert_non_null(orders);
    for (unsigned i = 0; i < COUNT * 16; i++)
        data[i] = (uint8_t)(i * 7);
    link_open(&l, 256);
    for (unsigned i = 0; i < COUNT; i++) {
        orders[i].cmd.data = (struct span) { data + (size_t)i * 16, 12 };
        orders[i].cmd.tail = (struct span) { data + (size_t)i * 16 + 12, 4 };
        if (i == 0)
            orders[i].cmd = (struct initiator_cmd) { .data = { data, 16 } };
        submit_order(&l, &orders[i], MEM_VENDOR_PUT, i * 16);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        th_wait(&l.h->th, &orders[i].done);
        assert_int_equal(orders[i].cmd.status.code, STATUS_OK);
    }
    assert_memory_equal(l.mem->memory, data, COUNT * 16);
    guarded_free(data, COUNT * 16);
    free(orders);
    link_destroy(&l);
}

static void the_entry_arrives_as_it_is(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    uint8_t entry[NVME_SQE_BYTES];
    struct order o = { .cmd = { .done = on_order } };

    for (unsigned i = 0; i < sizeof entry; i++)
        entry[i] = (uint8_t)(i + 1);
    entry[0] = MEM_VENDOR_DO;
    memset(entry + 40, 0, 4); /* CDW10: in memory. */
    initiator_cmd_set_entry(&o.cmd, entry);
    initiator_queue_submit(l.h->queue, &o.cmd);
    th_wait(&l.h->th, &o.done);
    assert_int_equal(o.cmd.status.code, STATUS_OK);
    assert_int_equal(l.mem->entry[0], MEM_VENDOR_DO);
    assert_memory_equal(l.mem->entry + 4, entry + 4, 20); /* CDW1 to 3, and the metadata's. */
    assert_memory_equal(l.mem->entry + 40, entry + 40, 24);
    assert_int_equal((uintptr_t)l.mem->association, 1);
    link_destroy(&l);
}

static void status_and_both_dwords_come_back(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    uint8_t data[BLOCK] = { 1 };
    struct order none = { 0 };
    struct order put = { .cmd = { .data = { data, sizeof data } } };
    struct order get = { .cmd = { .data = { data, sizeof data } } };

    run_order(&l, &none, MEM_VENDOR_DO, 0);
    assert_int_equal(none.cmd.status.code, STATUS_OK);
    assert_int_equal(none.cmd.result, UINT64_C(0x5566778811223344));
    l.mem->status = 0x701;
    run_order(&l, &put, MEM_VENDOR_PUT, 0);
    assert_int_equal(put.cmd.status.code, STATUS_IO);
    assert_int_equal(put.cmd.sc, 0x701);
    assert_int_equal(put.cmd.result, UINT64_C(0x5566778811223344));
    assert_int_equal(l.mem->memory[0], 0);
    run_order(&l, &get, MEM_VENDOR_GET, 0);
    assert_int_equal(get.cmd.sc, 0x701);
    assert_int_equal(get.cmd.result, UINT64_C(0x5566778811223344));
    l.mem->status = 0;
    there_and_back(&l, 4096, 4); /* And nobody is worse off. */
    link_destroy(&l);
}

/* It gets no memory, and its data are not asked for. */
static void what_the_check_refuses_is_not_executed(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    uint8_t *data = guarded(127 * BLOCK);
    static const size_t sizes[] = { BLOCK, 127 * BLOCK }; /* In the capsule, and by R2T. */

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct order o = { .cmd = { .data = { data, sizes[i] }, .done = on_order } };
        o.cmd.sqe = (struct nvme_sqe) { .opcode = MEM_VENDOR_PUT, .cdw3 = MEM_VENDOR_BAD };
        initiator_queue_submit(l.h->queue, &o.cmd);
        th_wait(&l.h->th, &o.done);
        assert_int_equal(o.cmd.sc, MEM_VENDOR_REFUSE);
        assert_int_equal(o.cmd.granted, 0);
    }
    assert_int_equal(l.mem->requests, 0);
    guarded_free(data, 127 * BLOCK);
    link_destroy(&l);
}

static void commands_are_taken_in_any_order(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    enum { COUNT = 100 };
    struct order *orders = calloc(COUNT, sizeof *orders);
    static uint8_t data[COUNT][BLOCK];

    assert_non_null(orders);
    l.mem->hold = true;
    for (unsigned i = 0; i < COUNT; i++) {
        memset(data[i], (int)i, sizeof data[i]);
        orders[i].cmd.data = (struct span) { data[i], sizeof data[i] };
        submit_order(&l, &orders[i], MEM_VENDOR_PUT, i * BLOCK);
    }
    th_run(&l.h->th, NS_PER_S);
    assert_int_equal(l.mem->requests, 0);
    mem_vendor_release(l.mem);
    for (unsigned i = 0; i < COUNT; i++) {
        th_wait(&l.h->th, &orders[i].done);
        assert_int_equal(orders[i].dones, 1);
        assert_memory_equal(l.mem->memory + (size_t)i * BLOCK, data[i], BLOCK);
    }
    free(orders);
    link_destroy(&l);
}

static unsigned count_held(const struct mem_vendor *mem)
{
    unsigned count = 0;

    LIST_FOR_EACH (node, &mem->held)
        count += node != NULL ? 1 : 0;
    return count;
}

/* Who is abandoned is its owner's again at once; its place in the queue when it was answered. */
static void a_command_may_be_abandoned(void **state)
{
    (void)state;
    static const size_t sizes[] = { 64, 127 * BLOCK }; /* In the capsule, and by R2T. */
    static uint8_t data[127 * BLOCK];

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct link l = link_create(NULL, false);
        struct order put = { .cmd = { .data = { data, sizes[i] } } };
        struct order next = { .cmd = { .data = { data, 64 } } }, never = next;

        link_open(&l, 2); /* One command at a time. */
        l.mem->hold = true;
        memset(data, 0x11, sizeof data);
        submit_order(&l, &put, MEM_VENDOR_PUT, 0);
        assert_false(initiator_queue_abandon(l.h->queue, &put.cmd)); /* It has not been sent. */
        th_run(&l.h->th, NS_PER_S);
        assert_true(initiator_queue_abandon(l.h->queue, &put.cmd));
        assert_false(initiator_queue_abandon(l.h->queue, &put.cmd));
        memset(&put.cmd, 0xee, sizeof put.cmd);
        memset(data, 0x22, sizeof data);
        submit_order(&l, &never, MEM_VENDOR_PUT, 0);
        submit_order(&l, &next, MEM_VENDOR_PUT, 4096);
        assert_true(initiator_queue_abandon(l.h->queue, &never.cmd)); /* It has no place yet. */
        th_run(&l.h->th, 60 * NS_PER_S);                              /* Nor a deadline. */
        assert_false(next.done);
        mem_vendor_release(l.mem);
        th_wait(&l.h->th, &next.done);
        assert_int_equal(next.cmd.status.code, STATUS_OK);
        assert_int_equal(put.dones + never.dones, 0);
        assert_int_equal(l.mem->memory[0],
                         0x11); /* It was executed as it was sent, the other not. */
        there_and_back(&l, 4096, 4);
        link_destroy(&l);
    }
}

/* What it would have received is dropped, however it comes. */
static void what_an_abandoned_command_receives_is_dropped(void **state)
{
    (void)state;
    static const size_t sizes[] = { 64, 127 * BLOCK };
    static uint8_t data[127 * BLOCK];

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct link l = link_create(NULL, i == 0);
        struct order get = { .cmd = { .data = { data, sizes[i] } } };

        link_open(&l, 2);
        memset(l.mem->memory, 0x11, sizes[i]);
        memset(data, 0x22, sizeof data);
        l.mem->hold = true;
        submit_order(&l, &get, MEM_VENDOR_GET, 0);
        th_run(&l.h->th, NS_PER_S);
        assert_true(initiator_queue_abandon(l.h->queue, &get.cmd));
        memset(&get.cmd, 0xee, sizeof get.cmd);
        mem_vendor_release(l.mem);
        th_run(&l.h->th, NS_PER_S);
        for (size_t n = 0; n < sizeof data; n++)
            assert_int_equal(data[n], 0x22);
        assert_int_equal(get.dones, 0);
        there_and_back(&l, 4096, 4);
        link_destroy(&l);
    }
}

/* A queue with two budgets of so much each. */
static struct link link_with_budgets(uint16_t commands, uint32_t bytes)
{
    struct link l = link_create(NULL, false);

    l.h->budgets = 2;
    l.h->budget_commands = commands;
    l.h->budget_bytes = bytes;
    link_open(&l, 8);
    return l;
}

/* What one budget has no room for waits, in nobody else's way, and has its turn. */
static void a_budget_leaves_room_for_others(void **state)
{
    (void)state;
    static const struct {
        uint16_t commands;
        uint32_t bytes;
    } budgets[] = { { 3, UINT32_MAX }, { 8, 3 * 16384 + 16383 } };
    static uint8_t data[16384];

    for (size_t i = 0; i < ARRAY_COUNT(budgets); i++) {
        struct link l = link_with_budgets(budgets[i].commands, budgets[i].bytes);
        struct order hung[12] = { 0 };
        struct order other = { .cmd = { .data = { data, sizeof data }, .budget = 2 } };

        l.mem->hold = true;
        for (size_t n = 0; n < ARRAY_COUNT(hung); n++) {
            hung[n].cmd.data = (struct span) { data, sizeof data };
            hung[n].cmd.budget = 1;
            submit_order(&l, &hung[n], MEM_VENDOR_PUT, 0);
        }
        th_run(&l.h->th, SOON_NS);
        assert_int_equal(count_held(l.mem), 3);
        l.mem->hold = false;
        run_order(&l, &other, MEM_VENDOR_GET, 0);
        assert_true(initiator_queue_abandon(l.h->queue, &hung[0].cmd)); /* It counts as before, */
        assert_true(initiator_queue_abandon(l.h->queue, &hung[3].cmd)); /* this one never did. */
        th_run(&l.h->th, SOON_NS);
        assert_int_equal(count_held(l.mem), 3);
        mem_vendor_release(l.mem);
        for (size_t n = 0; n < ARRAY_COUNT(hung); n++) {
            if (n != 0 && n != 3)
                th_wait(&l.h->th, &hung[n].done);
            assert_int_equal(hung[n].dones, n != 0 && n != 3);
        }
        link_destroy(&l);
    }
}

/* Who comes later does not overtake a large one that waits for its budget. */
static void a_budget_has_an_order(void **state)
{
    (void)state;
    struct link l = link_with_budgets(8, 4 * 16384);
    static uint8_t data[3 * 16384];
    struct order orders[6] = { 0 };

    l.mem->hold = true;
    for (size_t n = 0; n < ARRAY_COUNT(orders); n++) {
        orders[n].cmd.data = (struct span) { data, n == 3 ? sizeof data : 16384 };
        orders[n].cmd.budget = 1;
        submit_order(&l, &orders[n], MEM_VENDOR_PUT, 0);
    }
    th_run(&l.h->th, SOON_NS);
    assert_int_equal(count_held(l.mem), 3);
    assert_true(initiator_queue_abandon(l.h->queue, &orders[3].cmd));
    th_run(&l.h->th, SOON_NS);
    assert_int_equal(count_held(l.mem), 4);
    initiator_queue_cancel(l.h->queue, &orders[5].cmd);
    th_wait(&l.h->th, &orders[5].done);
    assert_int_equal(orders[5].cmd.status.code, STATUS_CANCELED);
    mem_vendor_release(l.mem);
    th_wait(&l.h->th, &orders[4].done);
    there_and_back(&l, 4096, 4);
    link_destroy(&l);
}

/* A command that is larger than its budget has its turn, alone. */
static void a_budget_has_room_for_one_command(void **state)
{
    (void)state;
    struct link l = link_with_budgets(8, 1);
    static uint8_t data[3][16384];
    struct order orders[3] = { 0 };

    l.mem->hold = true;
    for (size_t n = 0; n < ARRAY_COUNT(orders); n++) {
        orders[n].cmd.data = (struct span) { data[n], sizeof data[n] };
        orders[n].cmd.budget = 2;
        submit_order(&l, &orders[n], MEM_VENDOR_GET, 0);
    }
    th_run(&l.h->th, SOON_NS);
    assert_int_equal(count_held(l.mem), 1);
    mem_vendor_release(l.mem);
    for (size_t n = 0; n < ARRAY_COUNT(orders); n++)
        th_wait(&l.h->th, &orders[n].done);
    link_destroy(&l);
}

/* What waits for its budget ends with the connection. */
static void who_waits_for_a_budget_ends_with_the_queue(void **state)
{
    (void)state;
    struct link l = link_with_budgets(1, UINT32_MAX);
    static uint8_t data[64];
    struct order orders[3] = { 0 };

    l.mem->hold = true;
    for (size_t n = 0; n < ARRAY_COUNT(orders); n++) {
        orders[n].cmd.data = (struct span) { data, sizeof data };
        orders[n].cmd.budget = 1;
        submit_order(&l, &orders[n], MEM_VENDOR_PUT, 0);
    }
    th_run(&l.h->th, SOON_NS);
    initiator_queue_stop(l.h->queue);
    th_wait(&l.h->th, &l.h->queue_ended);
    assert_int_equal(orders[0].cmd.status.code, STATUS_LOST);
    assert_int_equal(orders[1].cmd.status.code, STATUS_CANCELED);
    assert_int_equal(orders[2].cmd.status.code, STATUS_CANCELED);
    mem_vendor_release(l.mem);
    link_destroy(&l);
}

/* W2: what has no memory waits, whichever way its data go, and all of it has its turn. */
static void memory_for_data_is_bounded(void **state)
{
    (void)state;
    static const uint8_t opcodes[] = { MEM_VENDOR_PUT, MEM_VENDOR_GET };
    static uint8_t data[6][127 * BLOCK];

    for (size_t n = 0; n < ARRAY_COUNT(opcodes); n++) {
        const struct th_options options = { .pool_bytes = NVME_DATA_BYTES_MAX,
                                            .r2t_pool_bytes = NVME_DATA_BYTES_MAX };
        struct link l = link_opened(&options, false);
        struct order orders[6] = { 0 };

        l.mem->hold = true;
        for (unsigned i = 0; i < ARRAY_COUNT(orders); i++) {
            orders[i].cmd.data = (struct span) { data[i], sizeof data[i] };
            submit_order(&l, &orders[i], opcodes[n], 0);
        }
        th_run(&l.h->th, NS_PER_S);
        assert_int_equal(count_held(l.mem), 1); /* There is one buffer of that size. */
        mem_vendor_release(l.mem);
        for (unsigned i = 0; i < ARRAY_COUNT(orders); i++) {
            th_wait(&l.h->th, &orders[i].done);
            assert_int_equal(orders[i].cmd.status.code, STATUS_OK);
        }
        link_destroy(&l);
    }
}

/* ---- Where a queue belongs ---- */

/* The id of a queue names its reactor, wherever the connection was accepted. */
static void a_queue_goes_where_its_id_says(void **state)
{
    (void)state;
    for (uint16_t qid = 1; qid <= 4; qid++) {
        for (unsigned before = 0; before < 3; before++) {
            struct link l = link_create(&(struct th_options) { .reactors = 3 }, qid % 2 == 0);
            struct th_host *others[3];

            /* Connections are spread one by one: some others before. */
            for (unsigned i = 0; i < before; i++)
                others[i] = th_host_open(&l.h->th);
            l.h->qid = qid;
            link_open(&l, 32);
            there_and_back(&l, 127 * 4096, 127 * 4);
            assert_ptr_equal(l.mem->reactor, l.h->th.reactors[(qid - 1) % 3]);
            there_and_back(&l, 4096, 4);
            for (unsigned i = 0; i < before; i++)
                th_host_close(others[i]);
            link_destroy(&l);
        }
    }
}

/* From the loop: the order of messages between two reactors is what moving rests on. */
struct removal {
    struct io_msg msg;
    struct link *link;
};

static void on_removal(struct io_msg *msg)
{
    struct link *l = CONTAINER_OF(msg, struct removal, msg)->link;

    nvme_subsys_remove(l->mem->subsys, th_set_flag, &l->h->th);
}

/* How a connection is ended at some moment of its way. */
static void end_it(struct link *l, struct removal *removal, unsigned how)
{
    l->h->th.flag = true;
    if (how == 0) {
        initiator_queue_stop(l->h->queue);
    } else if (how == 1) {
        initiator_ctrl_drop(l->h->ctrl);
    } else {
        l->h->th.flag = false;
        *removal = (struct removal) { .msg = { .deliver = on_removal }, .link = l };
        reactor_post(l->h->th.reactors[0], &removal->msg);
    }
}

/* At no moment of its way does a connection get lost, or answer, when it is killed or closed. */
static void a_connection_may_end_on_its_way(void **state)
{
    (void)state;
    unsigned ready = 0, unready = 0;

    for (unsigned turn = 0; turn < 3 * 300; turn++) {
        struct link l = link_create(&(struct th_options) { .reactors = 3, .seed = turn }, false);
        struct removal removal;

        l.h->qid = (uint16_t)(1 + turn % 3);
        host_connect_ctrl(l.h);
        th_wait(&l.h->th, &l.h->ctrl_ready);
        host_open_queue(l.h, 32);
        /* The handshake takes three round trips of up to 100 us. */
        th_run(&l.h->th, turn / 3 * UINT64_C(1000));
        ready += l.h->queue_ready ? 1 : 0;
        unready += l.h->queue_ready ? 0 : 1;
        end_it(&l, &removal, turn % 3);
        th_wait(&l.h->th, &l.h->queue_ended);
        th_run(&l.h->th, NS_PER_S);
        if (!l.h->ctrl_ended) /* It had no queue yet that it could have lost. */
            initiator_ctrl_drop(l.h->ctrl);
        th_wait(&l.h->th, &l.h->ctrl_ended);
        th_wait(&l.h->th, &l.h->th.flag);
        th_run(&l.h->th, NS_PER_S);
        assert_int_equal(l.mem->closed, 1);
        link_destroy(&l);
    }
    assert_true(ready > 100 && unready > 100); /* So the moments lay around the right ones. */
}

/* ---- Who does not belong here ---- */

static void other_commands_are_unknown(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    static const uint8_t opcodes[] = { NVME_IO_FLUSH, NVME_IO_WRITE, NVME_IO_READ, NVME_IO_COPY,
                                       0x80,          0x83,          0xff,         0x91 };
    uint8_t data[4096] = { 0 };

    for (size_t i = 0; i < ARRAY_COUNT(opcodes); i++) {
        const bool has_data = (opcodes[i] & 3) == 1 || (opcodes[i] & 3) == 2;
        struct order o = { .cmd = { .data = { data, has_data ? sizeof data : 0 } } };
        run_order(&l, &o, opcodes[i], 0);
        assert_int_equal(o.cmd.sc, NVME_SC_DNR | NVME_SC_INVALID_OPCODE);
    }
    assert_int_equal(l.mem->requests, 0);
    link_destroy(&l);
}

static void volumes_know_no_vendors_commands(void **state)
{
    (void)state;
    struct link l = { .h = host_create(NULL) };
    uint8_t data[BLOCK] = { 0 };

    l.mem = mem_vendor_add(l.h->th.target);
    link_open(&l, 32);
    for (unsigned opcode = NVME_VENDOR_OPCODE_MIN; opcode <= UINT8_MAX; opcode++) {
        const bool has_data = (opcode & 3) == 1 || (opcode & 3) == 2;
        struct order o = { .cmd = { .data = { data, has_data ? sizeof data : 0 } } };
        run_order(&l, &o, (uint8_t)opcode, 0);
        assert_int_equal(o.cmd.sc, NVME_SC_DNR | NVME_SC_INVALID_OPCODE);
    }
    round_trip(l.h, 0, 4096);
    link_destroy(&l);
}

static void a_host_may_be_refused(void **state)
{
    (void)state;
    struct link l = link_create(NULL, false);

    l.mem->denied = TH_HOST_NQN;
    host_connect_ctrl(l.h);
    th_wait(&l.h->th, &l.h->ctrl_ended);
    assert_int_equal(l.h->ctrl_why.code, STATUS_DENIED);
    assert_int_equal(l.mem->opened, 0);
    link_destroy(&l);
}

static void without_an_association_a_host_is_told_to_try_again(void **state)
{
    (void)state;
    struct link l = link_create(NULL, false);

    l.mem->refused = STATUS(NO_MEMORY);
    host_connect_ctrl(l.h);
    th_wait(&l.h->th, &l.h->ctrl_ended);
    assert_int_equal(l.h->ctrl_why.code, STATUS_BUSY);
    initiator_ctrl_destroy(l.h->ctrl);
    l.mem->refused = STATUS(OK);
    link_open(&l, 32);
    there_and_back(&l, 4096, 4);
    link_destroy(&l);
}

static void the_controller_has_no_namespaces(void **state)
{
    (void)state;
    struct link l = link_opened(&(struct th_options) { .reactors = 3 }, false);
    const struct initiator_ctrl_info *info = initiator_ctrl_info(l.h->ctrl);

    assert_int_equal(info->reactors, 3);
    assert_int_equal(info->data_bytes_max, NVME_DATA_BYTES_MAX);
    assert_int_equal(info->in_capsule_bytes, NVME_IN_CAPSULE_BYTES_MAX);
    assert_false(info->has_volatile_cache);
    assert_false(info->can_write_zeroes);
    assert_int_equal(initiator_ctrl_ns(l.h->ctrl)->bytes, 0);
    link_destroy(&l);

    /* Who looks for a namespace finds none. */
    l = link_create(NULL, false);
    l.h->no_namespace = false;
    host_connect_ctrl(l.h);
    th_wait(&l.h->th, &l.h->ctrl_ended);
    assert_int_equal(l.h->ctrl_why.code, STATUS_NOT_FOUND);
    link_destroy(&l);
}

/* ---- The end ---- */

/* What was sent is lost, and both sides hear of it at once; no memory goes before its time. */
static void a_lost_connection_is_told_at_once(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    static uint8_t data[127 * BLOCK];
    struct order put = { .cmd = { .data = { data, sizeof data } } };
    struct order get = { .cmd = { .data = { data, BLOCK } } };

    l.mem->hold = true;
    submit_order(&l, &put, MEM_VENDOR_PUT, 0);
    submit_order(&l, &get, MEM_VENDOR_GET, 0);
    th_run(&l.h->th, NS_PER_S);
    sim_net_cut(sim_process_machine(l.h->th.server), 1);
    th_run(&l.h->th, SOON_NS);
    assert_true(l.h->queue_ended);
    assert_true(l.h->ctrl_ended);
    assert_int_equal(put.cmd.status.code, STATUS_LOST);
    assert_int_equal(get.cmd.status.code, STATUS_LOST);
    assert_int_equal(l.mem->closing, 1);
    assert_int_equal(l.mem->closed, 0); /* Its commands are here yet. */
    mem_vendor_release(l.mem);
    th_run(&l.h->th, SOON_NS);
    assert_int_equal(l.mem->closed, 1);
    link_destroy(&l);
}

static void a_lost_queue_costs_the_association(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);

    initiator_queue_stop(l.h->queue);
    th_run(&l.h->th, SOON_NS);
    assert_true(l.h->queue_ended);
    assert_true(l.h->ctrl_ended);
    assert_int_equal(l.mem->closing, 1);
    assert_int_equal(l.mem->closed, 1);
    link_destroy(&l);
}

/* W3 is the owner's: what it does not answer keeps no host out. */
static void a_new_association_does_not_wait_for_the_old(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    struct nvme_subsys_stats stats;
    static uint8_t data[BLOCK];
    struct order put = { .cmd = { .data = { data, sizeof data } } };

    l.mem->hold = true;
    submit_order(&l, &put, MEM_VENDOR_PUT, 0);
    th_run(&l.h->th, NS_PER_S);
    initiator_queue_stop(l.h->queue);
    th_wait(&l.h->th, &l.h->queue_ended);
    th_wait(&l.h->th, &l.h->ctrl_ended);
    initiator_queue_destroy(l.h->queue);
    initiator_ctrl_destroy(l.h->ctrl);
    l.h->queue = NULL;
    host_connect_ctrl(l.h);
    th_run(&l.h->th, NS_PER_S);
    assert_true(l.h->ctrl_ready);
    assert_int_equal(l.mem->opened, 2);
    assert_int_equal(l.mem->closing, 1);
    assert_int_equal(l.mem->closed, 0);
    nvme_subsys_stats(l.mem->subsys, &stats);
    assert_int_equal(stats.controllers, 2);
    mem_vendor_release(l.mem);
    th_run(&l.h->th, NS_PER_S);
    assert_int_equal(l.mem->closed, 1);
    nvme_subsys_stats(l.mem->subsys, &stats);
    assert_int_equal(stats.controllers, 1);
    link_destroy(&l);
}

static void a_subsystem_is_removed_when_its_commands_have_ended(void **state)
{
    (void)state;
    struct link l = link_opened(NULL, false);
    static uint8_t data[BLOCK];
    struct order put = { .cmd = { .data = { data, sizeof data } } };

    l.mem->hold = true;
    submit_order(&l, &put, MEM_VENDOR_PUT, 0);
    th_run(&l.h->th, NS_PER_S);
    nvme_subsys_remove(l.mem->subsys, th_set_flag, &l.h->th);
    th_run(&l.h->th, NS_PER_S);
    assert_false(l.h->th.flag);
    assert_true(put.done);
    mem_vendor_release(l.mem);
    th_wait(&l.h->th, &l.h->th.flag);
    assert_int_equal(l.mem->closed, 1);
    link_destroy(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_go_both_ways),
        cmocka_unit_test(data_go_both_ways_with_digests),
        cmocka_unit_test(a_stream_may_come_byte_by_byte),
        cmocka_unit_test(a_stream_may_come_in_odd_pieces),
        cmocka_unit_test(pieces_fill_a_send),
        cmocka_unit_test(the_entry_arrives_as_it_is),
        cmocka_unit_test(status_and_both_dwords_come_back),
        cmocka_unit_test(what_the_check_refuses_is_not_executed),
        cmocka_unit_test(commands_are_taken_in_any_order),
        cmocka_unit_test(a_command_may_be_abandoned),
        cmocka_unit_test(what_an_abandoned_command_receives_is_dropped),
        cmocka_unit_test(a_budget_leaves_room_for_others),
        cmocka_unit_test(a_budget_has_an_order),
        cmocka_unit_test(a_budget_has_room_for_one_command),
        cmocka_unit_test(who_waits_for_a_budget_ends_with_the_queue),
        cmocka_unit_test(memory_for_data_is_bounded),
        cmocka_unit_test(a_queue_goes_where_its_id_says),
        cmocka_unit_test(a_connection_may_end_on_its_way),
        cmocka_unit_test(other_commands_are_unknown),
        cmocka_unit_test(volumes_know_no_vendors_commands),
        cmocka_unit_test(a_host_may_be_refused),
        cmocka_unit_test(without_an_association_a_host_is_told_to_try_again),
        cmocka_unit_test(the_controller_has_no_namespaces),
        cmocka_unit_test(a_lost_connection_is_told_at_once),
        cmocka_unit_test(a_lost_queue_costs_the_association),
        cmocka_unit_test(a_new_association_does_not_wait_for_the_old),
        cmocka_unit_test(a_subsystem_is_removed_when_its_commands_have_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

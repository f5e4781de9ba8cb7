/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target and an initiator without memory: the connection or the call that needed it fails, and
 * everybody else is served.
 */
#include "../unit/nvme/mem_vendor.h"
#include "../unit/nvme/target_harness.h"

#include <string.h>

#include "common/no_log.h"
#include "fault.h"
#include "nvme/initiator.h"
#include "nvme/initiator_discovery.h"

#define WAIT_NS  (30 * NS_PER_S)
#define IO_BYTES ((size_t)16384) /* More than a capsule holds: R2T. */

static struct th th;
static struct log quiet;

/* OK, or NO_MEMORY where an allocation has failed. */
static bool answer_is_ok(struct status st)
{
    if (!fault_happened())
        assert_true(status_ok(st));
    else if (!status_ok(st))
        assert_int_equal(st.code, STATUS_NO_MEMORY);
    return status_ok(st);
}

/* ---- A host ---- */

struct host {
    struct initiator_ctrl *ctrl;
    struct initiator_queue *queue;
    bool ctrl_moved, ctrl_ended, queue_moved, queue_ended;
    bool vendor;  /* Of vendor's commands, not of the volume. */
    uint16_t qid; /* Of its I/O queue; 0: 1. */
};

static void on_ctrl_ready(struct initiator_ctrl *c)
{
    ((struct host *)initiator_ctrl_ctx(c))->ctrl_moved = true;
}

static void on_ctrl_event(struct initiator_ctrl *c, uint32_t result)
{
    (void)c;
    (void)result;
}

static void on_ctrl_ended(struct initiator_ctrl *c, struct status why)
{
    struct host *const h = initiator_ctrl_ctx(c);
    (void)why;
    h->ctrl_moved = h->ctrl_ended = true;
}

static void on_queue_ready(struct initiator_queue *q)
{
    ((struct host *)initiator_queue_ctx(q))->queue_moved = true;
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct host *const h = initiator_queue_ctx(q);
    (void)why;
    h->queue_moved = h->queue_ended = true;
}

static const struct initiator_ctrl_ops ctrl_ops = { on_ctrl_ready, on_ctrl_event, on_ctrl_ended };
static const struct initiator_queue_ops queue_ops = { on_queue_ready, on_queue_ended };

static struct initiator_endpoint endpoint_of(uint8_t host_id)
{
    struct initiator_endpoint e = {
        .addr = th.addr,
        .subsystem_nqn = { TH_NQN },
        .host_nqn = { TH_HOST_NQN },
        .host_id = { { host_id } },
        .connect_timeout_ns = WAIT_NS,
        .command_timeout_ns = WAIT_NS,
    };
    e.host_nqn.s[strlen(e.host_nqn.s) - 1] = (char)('0' + host_id);
    return e;
}

static bool host_open_queue(struct host *h)
{
    struct initiator_queue_config config = initiator_ctrl_queue_config(h->ctrl);

    config.ops = &queue_ops;
    config.ctx = h;
    config.reactor = th.host;
    config.qid = h->qid != 0 ? h->qid : 1;
    config.entries = 16;
    if (!answer_is_ok(initiator_queue_create(&config, &h->queue)))
        return false;
    initiator_queue_start(h->queue);
    th_wait(&th, &h->queue_moved);
    return !h->queue_ended;
}

/* Goes on with a host that says already to what. */
static bool host_connect_more(struct host *h, uint8_t host_id)
{
    struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = h,
        .reactor = th.host,
        .endpoint = endpoint_of(host_id),
        .log = &quiet,
        .io_queues = 2,
        .no_namespace = h->vendor,
    };

    if (h->vendor)
        config.endpoint.subsystem_nqn = (struct nqn_text) { MEM_VENDOR_NQN };
    if (!answer_is_ok(initiator_ctrl_create(&config, &h->ctrl)))
        return false;
    initiator_ctrl_start(h->ctrl);
    th_wait(&th, &h->ctrl_moved);
    return !h->ctrl_ended && host_open_queue(h);
}

/* True if the host has a queue that works. */
static bool host_connect(struct host *h, uint8_t host_id)
{
    memset(h, 0, sizeof *h);
    return host_connect_more(h, host_id);
}

/* The same for a vendor's commands, with a queue of that id. */
static bool host_connect_vendor(struct host *h, uint16_t qid)
{
    memset(h, 0, sizeof *h);
    h->vendor = true;
    h->qid = qid;
    return host_connect_more(h, 1);
}

static void host_leave(struct host *h)
{
    if (h->queue != NULL && !h->queue_ended) {
        initiator_queue_stop(h->queue);
        th_wait(&th, &h->queue_ended);
    }
    if (h->ctrl != NULL && !h->ctrl_ended) {
        initiator_ctrl_stop(h->ctrl);
        th_wait(&th, &h->ctrl_ended);
    }
    initiator_queue_destroy(h->queue);
    initiator_ctrl_destroy(h->ctrl);
}

struct test_io {
    struct initiator_io io;
    bool done;
};

static void on_io(struct initiator_io *io)
{
    CONTAINER_OF(io, struct test_io, io)->done = true;
}

/* An I/O needs no memory: it always succeeds. */
static void must_do(struct host *h, struct initiator_io io)
{
    struct test_io t = { .io = io };

    t.io.done = on_io;
    initiator_io_submit(h->queue, initiator_ctrl_ns(h->ctrl), &t.io);
    th_wait(&th, &t.done);
    assert_int_equal(t.io.status.code, STATUS_OK);
}

static void must_write(struct host *h, uint64_t offset, uint8_t fill)
{
    static uint8_t data[IO_BYTES];

    memset(data, fill, sizeof data);
    must_do(h, (struct initiator_io) {
                   .opcode = INITIATOR_WRITE, .offset = offset, .data = { data, IO_BYTES } });
}

static void must_read(struct host *h, uint64_t offset, uint8_t fill)
{
    static uint8_t data[IO_BYTES];

    must_do(h, (struct initiator_io) {
                   .opcode = INITIATOR_READ, .offset = offset, .data = { data, IO_BYTES } });
    for (size_t i = 0; i < IO_BYTES; i++)
        assert_int_equal(data[i], fill);
}

/* ---- The target ---- */

static void target_scenario(void)
{
    const struct th_options options = { .no_target = true };

    th_start(&th, &options);
    fault_begin();
    const struct status st = th_make_target(&th, &options);
    fault_end();
    if (!answer_is_ok(st)) {
        nvme_target_destroy(th.target);
        th.target = NULL;
        mem_ns_fini(&th.mem);
        assert_true(status_ok(th_make_target(&th, &options)));
    }
    struct host h;
    assert_true(host_connect(&h, 1));
    must_write(&h, 0, 0x11);
    host_leave(&h);
    th_stop(&th);
}

/* A target that cannot be made leaves nothing behind. */
static void target_says_so(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, target_scenario);
}

static void connect_scenario(void)
{
    struct host old, new;
    bool wrote = false;

    th_start(&th, NULL);
    assert_true(host_connect(&old, 1));
    must_write(&old, 0, 0x11);
    const uint64_t before_ns = sim_world_now_ns(th.world);
    fault_begin();
    if (host_connect(&new, 2)) {
        must_write(&new, 65536, 0x22);
        wrote = true;
    }
    host_leave(&new);
    assert_true(sim_world_now_ns(th.world) < before_ns + NS_PER_S); /* It was told at once. */
    must_read(&old, 0, 0x11); /* On the connection that it had. */
    fault_end();
    assert_true(wrote || fault_happened());
    th_run(&th, 3 * NS_PER_S); /* A host that comes back at once is told to wait. */

    assert_true(host_connect(&new, 2));
    must_read(&new, 0, 0x11);
    if (wrote)
        must_read(&new, 65536, 0x22);
    host_leave(&new);
    host_leave(&old);
    th_run(&th, NS_PER_S); /* The target takes in the end of the connections. */
    th_stop(&th);
}

/* W2: a host that cannot be let in hurts no other, and is let in when there is memory again. */
static void connect_fails_alone(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, connect_scenario);
}

struct test_cmd {
    struct initiator_cmd cmd;
    bool done;
};

static void on_cmd(struct initiator_cmd *cmd)
{
    CONTAINER_OF(cmd, struct test_cmd, cmd)->done = true;
}

/* A command with data: it needs no memory. */
static void must_get(struct host *h)
{
    static uint8_t data[4100];
    struct test_cmd t = { .cmd = { .sqe = { .opcode = MEM_VENDOR_GET },
                                   .data = { data, sizeof data },
                                   .done = on_cmd } };

    initiator_queue_submit(h->queue, &t.cmd);
    th_wait(&th, &t.done);
    assert_int_equal(t.cmd.status.code, STATUS_OK);
}

/*
 * Connections are spread over the three reactors as they come: that of the second queue has to go
 * to one where its host has none yet.
 */
static void vendor_scenario(void)
{
    struct host h;
    unsigned connected = 0;

    th_start(&th, &(struct th_options) { .reactors = 3 });
    struct mem_vendor *mem = mem_vendor_add(th.target);
    fault_begin();
    for (uint16_t qid = 1; qid <= 2; qid++) {
        if (host_connect_vendor(&h, qid)) {
            must_get(&h);
            connected++;
        }
        host_leave(&h);
        th_run(&th, NS_PER_S);
    }
    fault_end();
    assert_true(connected == 2 || fault_happened());
    th_run(&th, 3 * NS_PER_S);
    assert_int_equal(mem->closed, mem->opened);
    assert_true(host_connect_vendor(&h, 1));
    host_leave(&h);
    assert_true(host_connect_vendor(&h, 2));
    host_leave(&h);
    th_run(&th, NS_PER_S);
    th_stop(&th);
    mem_vendor_free(mem);
}

/* A connection that cannot be let in, or not on the reactor where it belongs, leaves nothing. */
static void a_vendors_queue_fails_alone(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, vendor_scenario);
}

/* Commands need no memory, neither at the host nor at the target. */
static void io_needs_no_memory(void **state)
{
    struct host h;

    (void)state;
    th_start(&th, NULL);
    assert_true(host_connect(&h, 1));
    const uint64_t before = fault_allocations();
    for (unsigned i = 0; i < 64; i++) {
        must_write(&h, i * IO_BYTES, (uint8_t)i);
        must_read(&h, i * IO_BYTES, (uint8_t)i);
    }
    must_do(&h, (struct initiator_io) { .opcode = INITIATOR_FLUSH });
    must_do(&h, (struct initiator_io) { .opcode = INITIATOR_WRITE_ZEROES, .bytes = 4096 });
    must_do(&h, (struct initiator_io) { .opcode = INITIATOR_DEALLOCATE, .bytes = 4096 });
    assert_int_equal(fault_allocations(), before);
    host_leave(&h);
    th_run(&th, NS_PER_S);
    th_stop(&th);
}

/* ---- Discovery ---- */

struct discovery {
    bool done;
    struct status status;
    unsigned count;
};

static void on_discovered(struct initiator_discovery *d, struct status st,
                          const struct initiator_discovery_record *records, unsigned count)
{
    struct discovery *const out = initiator_discovery_ctx(d);

    (void)records;
    *out = (struct discovery) { true, st, count };
    initiator_discovery_destroy(d);
}

static struct status discover(struct discovery *found)
{
    const struct initiator_discovery_config config = {
        .ctx = found,
        .reactor = th.host,
        .endpoint = endpoint_of(1),
        .log = &quiet,
        .done = on_discovered,
    };
    struct initiator_discovery *d;

    memset(found, 0, sizeof *found);
    const struct status st = initiator_discovery_create(&config, &d);
    if (!answer_is_ok(st))
        return st;
    initiator_discovery_start(d);
    th_wait(&th, &found->done);
    return found->status;
}

static void discovery_scenario(void)
{
    struct discovery found;

    th_start(&th, NULL);
    fault_begin();
    const struct status st = discover(&found);
    fault_end();
    assert_true(status_ok(st) || fault_happened());
    th_run(&th, 3 * NS_PER_S);
    assert_true(status_ok(discover(&found)));
    assert_true(found.count >= 1);
    th_run(&th, NS_PER_S);
    th_stop(&th);
}

/* A discovery that runs out of memory anywhere ends, and another one finds all. */
static void discovery_says_so(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, discovery_scenario);
}

/* ---- Changing who may connect ---- */

static void hosts_scenario(void)
{
    static const char *const hosts[] = { "nqn.2026-01.io.trilith:host:h1" };
    struct host h;

    th_start(&th, &(struct th_options) { .allow = hosts[0] });
    fault_begin();
    const struct status st = nvme_subsys_set_hosts(th.subsys, NULL, 0);
    fault_end();
    (void)answer_is_ok(st);
    assert_true(host_connect(&h, 1));
    host_leave(&h);
    th_run(&th, NS_PER_S);
    th_stop(&th);
}

/* A list of hosts that cannot be kept leaves the old one in force. */
static void allowed_hosts_stay(void **state)
{
    (void)state;
    fault_each(FAULT_ALLOCATION, hosts_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(target_says_so),
        cmocka_unit_test(connect_fails_alone),
        cmocka_unit_test(a_vendors_queue_fails_alone),
        cmocka_unit_test(io_needs_no_memory),
        cmocka_unit_test(discovery_says_so),
        cmocka_unit_test(allowed_hosts_stay),
    };

    quiet.sink = no_log;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

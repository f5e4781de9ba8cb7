/* SPDX-License-Identifier: Apache-2.0 */
/* The initiator against our own target, over simulated TCP. */
#include "nvme/initiator.h"

#include "base/rng.h"
#include "nvme/initiator_discovery.h"
#include "target_harness.h"

#include <stdlib.h>
#include <string.h>

#define HOST_WAIT_NS (30 * NS_PER_S)

/* A host with one controller and one I/O queue. */
struct host {
    struct th th;
    struct initiator_endpoint endpoint;
    struct initiator_ctrl *ctrl;
    struct initiator_queue *queue;
    struct log log;
    bool ctrl_ready, ctrl_ended, queue_ready, queue_ended;
    struct status ctrl_why, queue_why;
    unsigned events;
};

/* ---- Callbacks ---- */

static void on_ctrl_ready(struct initiator_ctrl *c)
{
    ((struct host *)initiator_ctrl_ctx(c))->ctrl_ready = true;
}

static void on_ctrl_event(struct initiator_ctrl *c, uint32_t result)
{
    (void)result;
    ((struct host *)initiator_ctrl_ctx(c))->events++;
}

static void on_ctrl_ended(struct initiator_ctrl *c, struct status why)
{
    struct host *h = initiator_ctrl_ctx(c);
    h->ctrl_ended = true;
    h->ctrl_why = why;
}

static void on_queue_ready(struct initiator_queue *q)
{
    ((struct host *)initiator_queue_ctx(q))->queue_ready = true;
}

static void on_queue_ended(struct initiator_queue *q, struct status why)
{
    struct host *h = initiator_queue_ctx(q);
    h->queue_ended = true;
    h->queue_why = why;
}

static const struct initiator_ctrl_ops ctrl_ops = { on_ctrl_ready, on_ctrl_event, on_ctrl_ended };
static const struct initiator_queue_ops queue_ops = { on_queue_ready, on_queue_ended };

static void no_log(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    (void)level;
    (void)line;
}

/* ---- The host ---- */

static struct host *host_create(const struct th_options *options)
{
    struct host *h = calloc(1, sizeof *h);

    assert_non_null(h);
    th_start(&h->th, options);
    h->log.sink = no_log;
    h->endpoint = (struct initiator_endpoint) {
        .addr = h->th.addr,
        .subsystem_nqn = { TH_NQN },
        .host_nqn = { TH_HOST_NQN },
        .host_id = { { 1, 2, 3 } },
        .connect_timeout_ns = HOST_WAIT_NS,
        .command_timeout_ns = HOST_WAIT_NS,
    };
    return h;
}

static void host_connect_ctrl(struct host *h)
{
    const struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = h,
        .reactor = h->th.host,
        .endpoint = h->endpoint,
        .log = &h->log,
        .keep_alive_ms = 5000,
        .io_queues = 4,
    };
    h->ctrl_ready = false;
    h->ctrl_ended = false;
    assert_true(status_ok(initiator_ctrl_create(&config, &h->ctrl)));
    initiator_ctrl_start(h->ctrl);
}

static void host_open_queue(struct host *h, uint16_t entries)
{
    struct initiator_queue_config config = initiator_ctrl_queue_config(h->ctrl);

    config.ops = &queue_ops;
    config.ctx = h;
    config.reactor = h->th.host;
    config.qid = 1;
    config.entries = entries;
    h->queue_ready = false;
    h->queue_ended = false;
    assert_true(status_ok(initiator_queue_create(&config, &h->queue)));
    initiator_queue_start(h->queue);
}

static struct host *host_connected(const struct th_options *options, bool digests)
{
    struct host *h = host_create(options);

    h->endpoint.header_digest = digests;
    h->endpoint.data_digest = digests;
    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ready);
    host_open_queue(h, 32);
    th_wait(&h->th, &h->queue_ready);
    return h;
}

static void host_destroy(struct host *h)
{
    if (h->queue != NULL && !h->queue_ended) {
        initiator_queue_stop(h->queue);
        th_wait(&h->th, &h->queue_ended);
    }
    if (h->ctrl != NULL && !h->ctrl_ended) {
        initiator_ctrl_stop(h->ctrl);
        th_wait(&h->th, &h->ctrl_ended);
    }
    initiator_queue_destroy(h->queue);
    initiator_ctrl_destroy(h->ctrl);
    th_run(&h->th, NS_PER_S); /* So that the target has taken in the end of the connections. */
    th_stop(&h->th);
    free(h);
}

/* ---- I/O ---- */

struct test_io {
    struct initiator_io io;
    unsigned dones;
    bool done;
};

static void on_io(struct initiator_io *io)
{
    struct test_io *t = CONTAINER_OF(io, struct test_io, io);
    t->dones++;
    t->done = true;
}

static void submit(struct host *h, struct test_io *t)
{
    t->done = false;
    t->io.done = on_io;
    initiator_io_submit(h->queue, initiator_ctrl_ns(h->ctrl), &t->io);
    assert_false(t->done); /* Never before submit has returned. */
}

static struct status run_io(struct host *h, struct initiator_io io)
{
    struct test_io t = { .io = io };

    submit(h, &t);
    th_wait(&h->th, &t.done);
    assert_int_equal(t.dones, 1);
    return t.io.status;
}

static struct status transfer(struct host *h, enum initiator_opcode opcode, uint64_t offset,
                              struct span data)
{
    return run_io(h, (struct initiator_io) { .opcode = opcode, .offset = offset, .data = data });
}

/* Writes random data, reads them back, and looks at the namespace's memory too. */
static void round_trip(struct host *h, uint64_t offset, size_t bytes)
{
    uint8_t *out = malloc(bytes);
    uint8_t *in = calloc(1, bytes + 1);
    struct rng rng;

    assert_non_null(out);
    assert_non_null(in);
    rng_init(&rng, offset + bytes);
    rng_fill(&rng, (struct span) { out, bytes });
    in[bytes] = 0x5a;
    assert_int_equal(transfer(h, INITIATOR_WRITE, offset, (struct span) { out, bytes }).code,
                     STATUS_OK);
    assert_memory_equal(h->th.mem.memory + offset, out, bytes);
    assert_int_equal(transfer(h, INITIATOR_READ, offset, (struct span) { in, bytes }).code,
                     STATUS_OK);
    assert_memory_equal(in, out, bytes);
    assert_int_equal(in[bytes], 0x5a);
    free(in);
    free(out);
}

/* ---- Tests ---- */

static void a_controller_says_what_it_is(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    const struct initiator_ctrl_info *info = initiator_ctrl_info(h->ctrl);
    const struct initiator_ns_info *ns = initiator_ctrl_ns(h->ctrl);

    assert_int_equal(info->cntlid, initiator_queue_cntlid(h->queue));
    assert_int_equal(info->data_bytes_max, NVME_DATA_BYTES_MAX);
    assert_int_equal(info->in_capsule_bytes, NVME_IN_CAPSULE_BYTES_MAX);
    assert_int_equal(info->queue_entries_max, NVME_QUEUE_ENTRIES_MAX);
    assert_int_equal(info->io_queues, 4);
    assert_true(info->can_write_zeroes);
    assert_true(info->can_deallocate);
    assert_string_equal(info->serial, "TEST0001");
    assert_int_equal(ns->nsid, 1);
    assert_int_equal(ns->bytes, TH_NS_BYTES);
    assert_int_equal(ns->lba_bytes, 4096);
    assert_true(uuid_equal(ns->uuid, h->th.mem.info.uuid));
    host_destroy(h);
}

static void data_of_every_size_arrive(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);

    /* In the capsule (up to 8 KiB), by R2T, and as large as a command may be. */
    static const size_t sizes[] = { 4096, 8192, 12288, 65536, 131072, NVME_DATA_BYTES_MAX };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        round_trip(h, 4096 * (i + 1), sizes[i]);
    host_destroy(h);
}

static void digests_are_used_where_both_want_them(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, true);

    assert_true(initiator_queue_header_digest(h->queue));
    assert_true(initiator_queue_data_digest(h->queue));
    round_trip(h, 0, 4096);
    round_trip(h, 8192, 262144);
    host_destroy(h);
}

static void a_stream_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct host *h = host_connected(&(struct th_options) { .segment_max = 1 }, true);

    round_trip(h, 4096, 4096);
    round_trip(h, 0, 12288);
    host_destroy(h);
}

static void lbas_may_have_512_bytes(void **state)
{
    (void)state;
    struct host *h = host_connected(&(struct th_options) { .lba_bytes = 512 }, false);

    assert_int_equal(initiator_ctrl_ns(h->ctrl)->lba_bytes, 512);
    round_trip(h, 512, 1536);
    host_destroy(h);
}

static void every_command_does_what_it_says(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    uint8_t data[8192];

    memset(data, 0xab, sizeof data);
    const struct span span = { data, sizeof data };
    assert_true(status_ok(transfer(h, INITIATOR_WRITE, 0, span)));
    const struct initiator_io fua = {
        .opcode = INITIATOR_WRITE, .fua = true, .offset = 0, .data = span
    };
    assert_true(status_ok(run_io(h, fua)));
    assert_int_equal(h->th.mem.fuas, 1);
    assert_true(status_ok(run_io(h, (struct initiator_io) { .opcode = INITIATOR_FLUSH })));
    assert_int_equal(h->th.mem.flushes, 1);
    assert_true(status_ok(run_io(h, (struct initiator_io) { .opcode = INITIATOR_WRITE_ZEROES,
                                                            .deallocate = true,
                                                            .offset = 4096,
                                                            .bytes = 4096 })));
    assert_int_equal(h->th.mem.memory[4095], 0xab);
    assert_int_equal(h->th.mem.memory[4096], 0);
    assert_true(status_ok(run_io(
        h, (struct initiator_io) { .opcode = INITIATOR_DEALLOCATE, .offset = 0, .bytes = 4096 })));
    assert_int_equal(h->th.mem.memory[0], 0);
    host_destroy(h);
}

static void the_controllers_statuses_arrive(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    static uint8_t data[16384];
    const struct span small = { data, 4096 };
    const struct span large = { data, sizeof data };

    assert_int_equal(transfer(h, INITIATOR_READ, TH_NS_BYTES, small).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(transfer(h, INITIATOR_WRITE, TH_NS_BYTES, large).code, STATUS_OUT_OF_RANGE);
    h->th.mem.fail = STATUS(NO_SPACE);
    assert_int_equal(transfer(h, INITIATOR_WRITE, 0, small).code, STATUS_NO_SPACE);
    assert_int_equal(transfer(h, INITIATOR_WRITE, 0, large).code, STATUS_NO_SPACE);
    h->th.mem.fail = STATUS(MEDIA_READ);
    assert_int_equal(transfer(h, INITIATOR_READ, 0, small).code, STATUS_MEDIA_READ);
    h->th.mem.fail = STATUS(OK);
    round_trip(h, 0, 4096); /* And nobody is worse off. */
    host_destroy(h);
}

#define MANY 200

static void more_commands_than_entries_wait_their_turn(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    struct test_io *ios = calloc(MANY, sizeof *ios);
    static uint8_t data[MANY][4096];

    assert_non_null(ios);
    for (unsigned i = 0; i < MANY; i++) {
        memset(data[i], (int)i, sizeof data[i]);
        ios[i].io = (struct initiator_io) { .opcode = INITIATOR_WRITE,
                                            .offset = i * 4096,
                                            .data = { data[i], sizeof data[i] } };
        submit(h, &ios[i]);
    }
    assert_int_equal(initiator_queue_outstanding(h->queue), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        th_wait(&h->th, &ios[i].done);
        assert_int_equal(ios[i].io.status.code, STATUS_OK);
        assert_int_equal(ios[i].dones, 1);
        assert_int_equal(h->th.mem.memory[i * 4096], i);
    }
    assert_int_equal(initiator_queue_outstanding(h->queue), 0);
    free(ios);
    host_destroy(h);
}

/* Holds three writes at the target: in a capsule, by R2T, and one that waits for a slot. */
static void hold_writes(struct host *h, struct test_io ios[3])
{
    static uint8_t data[16384];

    h->th.mem.hold = true;
    for (unsigned i = 0; i < 3; i++) {
        ios[i].io = (struct initiator_io) { .opcode = INITIATOR_WRITE,
                                            .data = { data, i == 1 ? 16384 : 4096 } };
        submit(h, &ios[i]);
    }
    th_run(&h->th, NS_PER_S);
    for (unsigned i = 0; i < 3; i++)
        assert_false(ios[i].done);
}

static struct host *host_with_two_slots(void)
{
    struct host *h = host_create(NULL);

    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ready);
    host_open_queue(h, 3);
    th_wait(&h->th, &h->queue_ready);
    return h;
}

static void a_lost_connection_leaves_sent_commands_unknown(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    sim_net_cut(sim_process_machine(h->th.server), 1);
    th_wait(&h->th, &h->queue_ended);
    assert_int_equal(ios[0].io.status.code, STATUS_LOST);
    assert_int_equal(ios[1].io.status.code, STATUS_LOST);
    assert_int_equal(ios[2].io.status.code, STATUS_UNAVAILABLE); /* Never sent. */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ios[i].dones, 1);
    th_wait(&h->th, &h->ctrl_ended);
    mem_ns_release(&h->th.mem);
    host_destroy(h);
}

static void a_stop_ends_every_command(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    initiator_queue_stop(h->queue);
    assert_false(ios[2].done);
    th_wait(&h->th, &h->queue_ended);
    assert_int_equal(h->queue_why.code, STATUS_CANCELED);
    assert_int_equal(ios[0].io.status.code, STATUS_LOST);
    assert_int_equal(ios[2].io.status.code, STATUS_CANCELED);
    mem_ns_release(&h->th.mem);
    host_destroy(h);
}

static void a_command_that_was_not_sent_can_be_canceled(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    initiator_queue_cancel(h->queue, &ios[2].io.cmd);
    initiator_queue_cancel(h->queue, &ios[0].io.cmd); /* Too late. */
    assert_false(ios[2].done);
    th_wait(&h->th, &ios[2].done);
    assert_int_equal(ios[2].io.status.code, STATUS_CANCELED);
    assert_false(ios[0].done);
    mem_ns_release(&h->th.mem);
    th_wait(&h->th, &ios[0].done);
    assert_int_equal(ios[0].io.status.code, STATUS_OK);
    th_wait(&h->th, &ios[1].done);
    host_destroy(h);
}

static void a_command_that_takes_too_long_costs_the_connection(void **state)
{
    (void)state;
    struct host *h = host_with_two_slots();
    struct test_io ios[3] = { 0 };

    hold_writes(h, ios);
    th_run(&h->th, HOST_WAIT_NS);
    assert_true(h->queue_ended);
    assert_int_equal(h->queue_why.code, STATUS_TIMED_OUT);
    assert_int_equal(ios[0].io.status.code, STATUS_LOST);
    mem_ns_release(&h->th.mem);
    host_destroy(h);
}

static void what_comes_after_the_end_is_refused(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);
    uint8_t data[4096];
    struct test_io t = { .io = { .opcode = INITIATOR_READ, .data = { data, sizeof data } } };

    initiator_queue_stop(h->queue);
    submit(h, &t);
    th_wait(&h->th, &h->queue_ended);
    assert_int_equal(t.dones, 1);
    assert_int_equal(t.io.status.code, STATUS_CANCELED);
    host_destroy(h);
}

static void keep_alive_keeps_an_idle_association(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);

    th_run(&h->th, 120 * NS_PER_S);
    assert_false(h->ctrl_ended);
    assert_false(h->queue_ended);
    round_trip(h, 0, 4096);
    host_destroy(h);
}

static void an_event_arrives(void **state)
{
    (void)state;
    struct host *h = host_connected(NULL, false);

    nvme_subsys_ns_changed(h->th.subsys);
    th_run(&h->th, NS_PER_S);
    assert_int_equal(h->events, 1);
    host_destroy(h);
}

static struct status connect_code(struct host *h)
{
    host_connect_ctrl(h);
    th_wait(&h->th, &h->ctrl_ended);
    assert_false(h->ctrl_ready);
    return h->ctrl_why;
}

static void what_the_target_refuses_is_told(void **state)
{
    (void)state;
    struct host *h = host_create(&(struct th_options) { .allow = "nqn.2026-01.io.trilith:h2" });

    assert_int_equal(connect_code(h).code, STATUS_DENIED);
    host_destroy(h);

    h = host_create(NULL);
    h->endpoint.subsystem_nqn = (struct nqn_text) { NQN_VOLUME_PREFIX "nobody" };
    assert_int_equal(connect_code(h).code, STATUS_NOT_FOUND);
    host_destroy(h);

    h = host_create(NULL);
    h->endpoint.addr.port = 1;
    assert_int_equal(connect_code(h).code, STATUS_REFUSED);
    host_destroy(h);
}

static void a_stop_while_connecting_ends_it(void **state)
{
    (void)state;

    /* At every moment of the first 200 events of the handshake. */
    for (unsigned steps = 0; steps < 200; steps++) {
        struct host *h = host_create(NULL);
        host_connect_ctrl(h);
        for (unsigned i = 0; i < steps && !h->ctrl_ready; i++)
            (void)sim_world_step(h->th.world);
        initiator_ctrl_stop(h->ctrl);
        th_wait(&h->th, &h->ctrl_ended);
        assert_int_equal(h->ctrl_why.code, STATUS_CANCELED);
        host_destroy(h);
    }
}

/* ---- Discovery ---- */

struct discovery {
    bool done;
    struct status status;
    unsigned count;
    struct initiator_discovery_record first;
    struct initiator_discovery_record second;
};

static void on_discovered(struct initiator_discovery *d, struct status st,
                          const struct initiator_discovery_record *records, unsigned count)
{
    struct discovery *out = initiator_discovery_ctx(d);

    out->done = true;
    out->status = st;
    out->count = count;
    if (count > 0)
        out->first = records[0];
    if (count > 1)
        out->second = records[1];
    initiator_discovery_destroy(d);
}

static void discovery_lists_the_subsystems(void **state)
{
    (void)state;
    struct host *h = host_create(NULL);
    struct discovery found = { 0 };
    struct initiator_discovery *d;
    const struct initiator_discovery_config config = {
        .ctx = &found,
        .reactor = h->th.host,
        .endpoint = h->endpoint,
        .log = &h->log,
        .done = on_discovered,
    };

    assert_true(status_ok(initiator_discovery_create(&config, &d)));
    initiator_discovery_start(d);
    th_wait(&h->th, &found.done);
    assert_int_equal(found.status.code, STATUS_OK);
    assert_true(found.count >= 1);
    const struct initiator_discovery_record *volume =
        found.first.subtype == NVME_SUBTYPE_NVM ? &found.first : &found.second;
    assert_int_equal(volume->subtype, NVME_SUBTYPE_NVM);
    assert_string_equal(volume->subsystem_nqn.s, TH_NQN);
    assert_true(volume->is_tcp);
    assert_true(io_addr_equal(&volume->addr, &h->th.addr));
    host_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_controller_says_what_it_is),
        cmocka_unit_test(data_of_every_size_arrive),
        cmocka_unit_test(digests_are_used_where_both_want_them),
        cmocka_unit_test(a_stream_may_come_byte_by_byte),
        cmocka_unit_test(lbas_may_have_512_bytes),
        cmocka_unit_test(every_command_does_what_it_says),
        cmocka_unit_test(the_controllers_statuses_arrive),
        cmocka_unit_test(more_commands_than_entries_wait_their_turn),
        cmocka_unit_test(a_lost_connection_leaves_sent_commands_unknown),
        cmocka_unit_test(a_stop_ends_every_command),
        cmocka_unit_test(a_command_that_was_not_sent_can_be_canceled),
        cmocka_unit_test(a_command_that_takes_too_long_costs_the_connection),
        cmocka_unit_test(what_comes_after_the_end_is_refused),
        cmocka_unit_test(keep_alive_keeps_an_idle_association),
        cmocka_unit_test(an_event_arrives),
        cmocka_unit_test(what_the_target_refuses_is_told),
        cmocka_unit_test(a_stop_while_connecting_ends_it),
        cmocka_unit_test(discovery_lists_the_subsystems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

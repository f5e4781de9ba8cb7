/* SPDX-License-Identifier: Apache-2.0 */
#include "initiator_host.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "common/no_log.h"

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

/* ---- The host ---- */

struct host *host_create(const struct th_options *options)
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

void host_connect_ctrl(struct host *h)
{
    const struct initiator_ctrl_config config = {
        .ops = &ctrl_ops,
        .ctx = h,
        .reactor = h->th.host,
        .endpoint = h->endpoint,
        .log = &h->log,
        .keep_alive_ms = 5000,
        .io_queues = 4,
        .no_namespace = h->no_namespace,
    };
    h->ctrl_ready = false;
    h->ctrl_ended = false;
    assert_true(status_ok(initiator_ctrl_create(&config, &h->ctrl)));
    initiator_ctrl_start(h->ctrl);
}

void host_open_queue(struct host *h, uint16_t entries)
{
    struct initiator_queue_config config = initiator_ctrl_queue_config(h->ctrl);

    config.ops = &queue_ops;
    config.ctx = h;
    config.reactor = h->th.host;
    config.qid = h->qid != 0 ? h->qid : 1;
    config.entries = entries;
    config.budgets = h->budgets;
    config.budget_commands = h->budget_commands;
    config.budget_bytes = h->budget_bytes;
    h->queue_ready = false;
    h->queue_ended = false;
    assert_true(status_ok(initiator_queue_create(&config, &h->queue)));
    initiator_queue_start(h->queue);
}

struct host *host_connected(const struct th_options *options, bool digests)
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

void host_destroy(struct host *h)
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

static void on_io(struct initiator_io *io)
{
    struct test_io *t = CONTAINER_OF(io, struct test_io, io);
    t->dones++;
    t->done = true;
}

void submit(struct host *h, struct test_io *t)
{
    t->done = false;
    t->io.done = on_io;
    initiator_io_submit(h->queue, initiator_ctrl_ns(h->ctrl), &t->io);
    assert_false(t->done); /* Never before submit has returned. */
}

struct status run_io(struct host *h, struct initiator_io io)
{
    struct test_io t = { .io = io };

    submit(h, &t);
    th_wait(&h->th, &t.done);
    assert_int_equal(t.dones, 1);
    return t.io.status;
}

struct status transfer(struct host *h, enum initiator_opcode opcode, uint64_t offset,
                       struct span data)
{
    return run_io(h, (struct initiator_io) { .opcode = opcode, .offset = offset, .data = data });
}

void round_trip(struct host *h, uint64_t offset, size_t bytes)
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

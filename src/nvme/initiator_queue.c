/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/initiator_queue.h"

#include <assert.h>
#include <stdlib.h>

#include "nvme/initiator_internal.h"

/*
 *  IDLE -> TCP -> ICRESP -> CONNECT -> LIVE
 *           |       |          |        |
 *           |       +----------+--------+--> TERM (we refuse a PDU: say so first)
 *           |       |          |        |      |
 *           |       v          v        v      v
 *           +--> CLOSING <--------------+------+
 *                   |
 *                   v
 *                 ENDED
 *
 * What each state awaits stands in initiator_internal.h.  CLOSING is left by task, when the
 * receiver and the sender have stopped, so that ended() never comes from inside one of them.
 */
static const struct sm_state queue_states[] = {
    [INITIATOR_QUEUE_IDLE] = { "idle", SM_TO(INITIATOR_QUEUE_TCP) },
    [INITIATOR_QUEUE_TCP] = { "tcp",
                              SM_TO(INITIATOR_QUEUE_ICRESP) | SM_TO(INITIATOR_QUEUE_CLOSING) },
    [INITIATOR_QUEUE_ICRESP] = { "icresp", SM_TO(INITIATOR_QUEUE_CONNECT) |
                                               SM_TO(INITIATOR_QUEUE_TERM) |
                                               SM_TO(INITIATOR_QUEUE_CLOSING) },
    [INITIATOR_QUEUE_CONNECT] = { "connect", SM_TO(INITIATOR_QUEUE_LIVE) |
                                                 SM_TO(INITIATOR_QUEUE_TERM) |
                                                 SM_TO(INITIATOR_QUEUE_CLOSING) },
    [INITIATOR_QUEUE_LIVE] = { "live",
                               SM_TO(INITIATOR_QUEUE_TERM) | SM_TO(INITIATOR_QUEUE_CLOSING) },
    [INITIATOR_QUEUE_TERM] = { "term", SM_TO(INITIATOR_QUEUE_CLOSING) },
    [INITIATOR_QUEUE_CLOSING] = { "closing", SM_TO(INITIATOR_QUEUE_ENDED) },
    [INITIATOR_QUEUE_ENDED] = { "ended", 0 },
};

static struct reactor *reactor_of(const struct initiator_queue *q)
{
    return q->config.reactor;
}

static void arm_timer(struct initiator_queue *q, uint64_t after_ns)
{
    io_timer_arm(&q->timer, reactor_of(q), reactor_now_ns(reactor_of(q)) + after_ns);
}

/* ---- PDUs of the connection itself ---- */

static void send_own_pdu(struct initiator_queue *q, size_t bytes)
{
    assert(!q->own_tx_busy);

    q->own_pdu_bytes = bytes;
    q->own_tx_busy = true;
    pdu_tx_entry_init(&q->own_tx);
    pdu_tx_queue(&q->tx, &q->own_tx);
}

static void encode_own_pdu(const struct initiator_queue *q, struct pdu_tx_writer *w)
{
    memcpy(pdu_tx_head(w), q->own_pdu, q->own_pdu_bytes);
    pdu_tx_head_advance(w, q->own_pdu_bytes);
}

/* "Error Processing": names the header that was wrong, then closes. */
static void send_termination(struct initiator_queue *q)
{
    const struct pdu_term term = { q->rx.error.fes, q->rx.error.fei };

    if (q->own_tx_busy) {
        initiator_queue_fail(q, q->why); /* Not even our ICReq has left. */
        return;
    }
    sm_move(&q->sm, INITIATOR_QUEUE_TERM);
    send_own_pdu(q, pdu_encode_term(false, &term, pdu_rx_culprit(&q->rx), q->own_pdu));
    arm_timer(q, NVME_TERM_LINGER_NS);
}

/* ---- The handshake ---- */

static void on_connect_done(struct initiator_cmd *cmd)
{
    struct initiator_queue *q = cmd->queue;

    if (!status_ok(cmd->status)) {
        initiator_queue_fail(q, cmd->status);
        return;
    }
    if (q->sm.now != INITIATOR_QUEUE_CONNECT)
        return;
    /* "Connect Response": Dword 0 bits 15:0; bits 31:16 ask for authentication, which we lack. */
    if ((cmd->result >> 16 & 0xffff) != 0) {
        initiator_queue_fail(q, STATUS(DENIED));
        return;
    }
    q->cntlid = (uint16_t)(cmd->result & 0xffff);
    io_timer_disarm(&q->timer);
    sm_move(&q->sm, INITIATOR_QUEUE_LIVE);
    initiator_cmd_activate_waiting(q);
    q->config.ops->ready(q);
}

static void send_connect(struct initiator_queue *q)
{
    const struct initiator_endpoint *e = &q->config.endpoint;
    struct initiator_cmd *cmd = &q->connect_cmd;

    memset(&q->connect_data, 0, sizeof q->connect_data);
    memcpy(q->connect_data.host_id, e->host_id.b, sizeof q->connect_data.host_id);
    memcpy(q->connect_data.subsys_nqn, e->subsystem_nqn.s, sizeof e->subsystem_nqn.s);
    memcpy(q->connect_data.host_nqn, e->host_nqn.s, sizeof e->host_nqn.s);
    q->connect_data.cntlid = le16_make(q->config.qid == 0 ? NVME_CNTLID_ANY : q->config.cntlid);

    *cmd = (struct initiator_cmd) {
        .sqe = { .opcode = NVME_OPCODE_FABRICS,
                 .nsid = NVME_FCTYPE_CONNECT,
                 .cdw10 = (uint32_t)q->config.qid << 16, /* RECFMT 0. */
                 .cdw11 = q->config.entries - 1u,
                 .cdw12 = q->config.qid == 0 ? q->config.keep_alive_ms : 0 },
        .data = { (uint8_t *)&q->connect_data, sizeof q->connect_data },
        .done = on_connect_done,
        .queue = q,
    };
    list_node_init(&cmd->link);
    q->outstanding++;
    initiator_cmd_activate(q, cmd);
}

struct status initiator_queue_on_icresp(struct initiator_queue *q, const struct pdu *pdu)
{
    const struct pdu_ic *ic = &pdu->ic;
    const struct initiator_endpoint *e = &q->config.endpoint;

    /* A controller may decline a digest, not impose one. */
    if ((ic->header_digest && !e->header_digest) || (ic->data_digest && !e->data_digest))
        return pdu_rx_refuse(&q->rx, PDU_FES_PARAMETER, offsetof(struct pdu_ic_spec, digest));
    /* "MAXH2CDATA ... shall be a multiple of four, at least 4096": 0 would make us send for ever.
     */
    if (ic->param < 4096 || ic->param % 4 != 0)
        return pdu_rx_refuse(&q->rx, PDU_FES_HEADER_FIELD, offsetof(struct pdu_ic_spec, param));

    q->rx.rules.header_digest = ic->header_digest;
    q->rx.rules.data_digest = ic->data_digest;
    q->format = (struct pdu_format) {
        .header_digest = ic->header_digest,
        .data_digest = ic->data_digest,
        .pda = ic->pda,
    };
    q->h2c_bytes_max = (uint32_t)min_u64(ic->param, NVME_DATA_BYTES_MAX);
    sm_move(&q->sm, INITIATOR_QUEUE_CONNECT);
    send_connect(q);
    return STATUS(OK);
}

static void start_connection(struct initiator_queue *q)
{
    const struct initiator_endpoint *e = &q->config.endpoint;
    const struct pdu_ic ic = { .header_digest = e->header_digest, .data_digest = e->data_digest };

    q->tx.ops = &initiator_tx_ops;
    q->tx.reactor = reactor_of(q);
    q->tx.fd = q->fd;
    pdu_tx_init(&q->tx);
    q->rx.ops = &initiator_rx_ops;
    q->rx.reactor = reactor_of(q);
    q->rx.fd = q->fd;
    q->rx.buffer = q->rx_buffer;
    q->rx.rules = (struct pdu_rules) { .controller = false };
    q->rx_stopped = false;
    q->tx_stopped = false;
    pdu_rx_start(&q->rx);
    sm_move(&q->sm, INITIATOR_QUEUE_ICRESP);
    send_own_pdu(q, pdu_encode_icreq(&ic, q->own_pdu));
}

static void on_tcp(struct io_op *op)
{
    struct initiator_queue *q = CONTAINER_OF(op, struct initiator_queue, connect_op);
    const struct status st = io_op_status(op);

    if (status_ok(st))
        q->fd = (int)op->result;
    if (q->sm.now == INITIATOR_QUEUE_CLOSING)
        reactor_defer(reactor_of(q), &q->task); /* Stopped or timed out meanwhile. */
    else if (!status_ok(st))
        initiator_queue_fail(q, st);
    else
        start_connection(q);
}

/* ---- The end ---- */

void initiator_queue_fail(struct initiator_queue *q, struct status why)
{
    if (q->sm.now >= INITIATOR_QUEUE_CLOSING)
        return;
    if (status_ok(q->why))
        q->why = why;
    const bool connected = q->sm.now > INITIATOR_QUEUE_TCP;
    sm_move(&q->sm, INITIATOR_QUEUE_CLOSING);
    io_timer_disarm(&q->timer);
    if (connected) {
        io_shutdown(reactor_of(q), q->fd);
        if (!q->rx_stopped)
            pdu_rx_stop(&q->rx);
        pdu_tx_stop(&q->tx);
    } else if (q->connect_op.in_flight) {
        io_op_cancel(&q->connect_op);
    } else {
        reactor_defer(reactor_of(q), &q->task);
    }
}

void initiator_queue_on_rx_stopped(struct initiator_queue *q, struct status why)
{
    const bool our_refusal = status_is(why, STATUS_BAD_PDU) || status_is(why, STATUS_BAD_DIGEST);

    q->rx_stopped = true;
    if (q->sm.now == INITIATOR_QUEUE_CLOSING) {
        reactor_defer(reactor_of(q), &q->task);
        return;
    }
    if (status_ok(q->why))
        q->why = why;
    if (our_refusal)
        send_termination(q);
    else
        initiator_queue_fail(q, why);
}

void initiator_queue_on_tx_stopped(struct initiator_queue *q)
{
    q->tx_stopped = true;
    /* In TERM: our termination PDU has left. */
    initiator_queue_fail(q, q->why);
    reactor_defer(reactor_of(q), &q->task);
}

/* Whether nothing of the connection is in flight any more. */
static bool is_closed(const struct initiator_queue *q)
{
    return q->sm.now == INITIATOR_QUEUE_CLOSING && !q->connect_op.in_flight && q->rx_stopped &&
           q->tx_stopped;
}

static void on_task(struct io_task *task)
{
    struct initiator_queue *q = CONTAINER_OF(task, struct initiator_queue, task);

    q->ending = is_closed(q);
    initiator_cmd_end_refused(q);
    if (!q->ending)
        return;
    io_close(reactor_of(q), q->fd);
    q->fd = -1;
    initiator_cmd_end_all(q);
    assert(q->outstanding == 0);
    sm_move(&q->sm, INITIATOR_QUEUE_ENDED);
    q->config.ops->ended(q, q->why); /* q may be gone. */
}

static void on_timer(struct io_timer *timer)
{
    struct initiator_queue *q = CONTAINER_OF(timer, struct initiator_queue, timer);
    const uint64_t timeout_ns = q->config.endpoint.command_timeout_ns;

    if (q->sm.now != INITIATOR_QUEUE_LIVE) {
        initiator_queue_fail(q, STATUS(TIMED_OUT));
        return;
    }
    const uint64_t oldest_ns = initiator_cmd_oldest_start_ns(q);
    if (oldest_ns == UINT64_MAX)
        return; /* Nothing to watch: the next command arms the timer. */
    if (oldest_ns + timeout_ns <= reactor_now_ns(reactor_of(q)))
        initiator_queue_fail(q, STATUS(TIMED_OUT));
    else
        io_timer_arm(&q->timer, reactor_of(q), oldest_ns + timeout_ns);
}

/* ---- Sending ---- */

static struct initiator_queue *queue_of_tx(struct pdu_tx *tx)
{
    return CONTAINER_OF(tx, struct initiator_queue, tx);
}

static void tx_encode(struct pdu_tx *tx, struct pdu_tx_entry *entry, struct pdu_tx_writer *w)
{
    struct initiator_queue *q = queue_of_tx(tx);

    if (entry == &q->own_tx)
        encode_own_pdu(q, w);
    else
        initiator_cmd_encode(CONTAINER_OF(entry, struct initiator_cmd, tx), w);
}

static void tx_done(struct pdu_tx *tx, struct pdu_tx_entry *entry)
{
    struct initiator_queue *q = queue_of_tx(tx);

    if (entry != &q->own_tx) {
        initiator_cmd_on_sent(CONTAINER_OF(entry, struct initiator_cmd, tx));
        return;
    }
    q->own_tx_busy = false;
    if (q->sm.now == INITIATOR_QUEUE_TERM)
        pdu_tx_stop(tx); /* After the send that this PDU is in. */
}

static void tx_failed(struct pdu_tx *tx, struct status why)
{
    initiator_queue_fail(queue_of_tx(tx), why);
}

static void tx_stopped(struct pdu_tx *tx)
{
    initiator_queue_on_tx_stopped(queue_of_tx(tx));
}

const struct pdu_tx_ops initiator_tx_ops = { tx_encode, tx_done, tx_failed, tx_stopped };

/* ---- Interface ---- */

static struct status MUST_CHECK allocate(struct initiator_queue *q)
{
    q->slot_count = q->config.entries - 1u;
    q->slots = calloc(q->slot_count, sizeof *q->slots);
    q->free_slots = calloc(q->slot_count, sizeof *q->free_slots);
    q->rx_buffer = (struct span) { malloc(INITIATOR_RX_BUFFER_BYTES), INITIATOR_RX_BUFFER_BYTES };
    if (q->slots == NULL || q->free_slots == NULL || q->rx_buffer.at == NULL)
        return STATUS(NO_MEMORY);
    /* The lowest index lies on top, so that a short queue touches few slots. */
    for (unsigned i = 0; i < q->slot_count; i++)
        q->free_slots[i] = (uint16_t)(q->slot_count - 1 - i);
    q->free_count = q->slot_count;
    if (q->config.budgets == 0)
        return STATUS(OK);
    q->budgets = calloc(q->config.budgets, sizeof *q->budgets);
    if (q->budgets == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; i < q->config.budgets; i++)
        list_init(&q->budgets[i].waiting);
    return STATUS(OK);
}

struct status initiator_queue_create(const struct initiator_queue_config *config,
                                     struct initiator_queue **out_queue)
{
    assert(config->entries >= NVME_QUEUE_ENTRIES_MIN);
    assert(config->entries <= NVME_QUEUE_ENTRIES_MAX);
    assert(config->in_capsule_bytes <= NVME_IN_CAPSULE_BYTES_MAX);
    assert(config->endpoint.connect_timeout_ns > 0);
    assert(config->endpoint.command_timeout_ns > 0);
    assert(config->budgets == 0 || config->budget_commands > 0);

    struct initiator_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return STATUS(NO_MEMORY);
    q->config = *config;
    q->fd = -1;
    q->rx_stopped = true;
    q->tx_stopped = true;
    list_init(&q->waiting);
    list_init(&q->refused);
    io_task_init(&q->task, on_task);
    io_timer_init(&q->timer, on_timer);
    sm_init(&q->sm, queue_states, INITIATOR_QUEUE_IDLE);

    const struct status st = allocate(q);
    if (!status_ok(st)) {
        initiator_queue_destroy(q);
        return st;
    }
    *out_queue = q;
    return st;
}

void initiator_queue_destroy(struct initiator_queue *q)
{
    if (q == NULL)
        return;
    assert(q->sm.now == INITIATOR_QUEUE_IDLE || q->sm.now == INITIATOR_QUEUE_ENDED);
    free(q->budgets);
    free(q->rx_buffer.at);
    free(q->free_slots);
    free(q->slots);
    free(q);
}

void initiator_queue_start(struct initiator_queue *q)
{
    assert(reactor_is_current(reactor_of(q)));

    sm_move(&q->sm, INITIATOR_QUEUE_TCP);
    arm_timer(q, q->config.endpoint.connect_timeout_ns);
    io_op_connect(&q->connect_op, reactor_of(q), &q->config.endpoint.addr, on_tcp);
}

void initiator_queue_stop(struct initiator_queue *q)
{
    assert(reactor_is_current(reactor_of(q)));
    assert(q->sm.now != INITIATOR_QUEUE_IDLE);

    initiator_queue_fail(q, STATUS(CANCELED));
}

void *initiator_queue_ctx(const struct initiator_queue *q)
{
    return q->config.ctx;
}

bool initiator_queue_is_ready(const struct initiator_queue *q)
{
    return q->sm.now == INITIATOR_QUEUE_LIVE;
}

unsigned initiator_queue_outstanding(const struct initiator_queue *q)
{
    return q->outstanding;
}

uint16_t initiator_queue_cntlid(const struct initiator_queue *q)
{
    return q->cntlid;
}

bool initiator_queue_header_digest(const struct initiator_queue *q)
{
    return q->format.header_digest;
}

bool initiator_queue_data_digest(const struct initiator_queue *q)
{
    return q->format.data_digest;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A command's way from its slot to its response, and how PDUs are written. */
#include <assert.h>

#include "nvme/conn.h"
#include "nvme/target_internal.h"

static void cmd_on_reply(struct io_msg *msg);

void cmd_init(struct nvme_cmd *cmd, struct nvme_conn *conn, unsigned index)
{
    list_node_init(&cmd->link);
    pdu_tx_entry_init(&cmd->tx);
    list_node_init(&cmd->req.link);
    cmd->conn = conn;
    cmd->index = (uint16_t)index;
    cmd->state = CMD_FREE;
    cmd->data = (struct span) { 0 };
    list_push_back(&conn->free_cmds, &cmd->link);
}

struct nvme_cmd *cmd_get(struct nvme_conn *conn)
{
    struct list_node *node = list_pop_front(&conn->free_cmds);

    if (node == NULL)
        return NULL;
    struct nvme_cmd *cmd = CONTAINER_OF(node, struct nvme_cmd, link);
    assert(cmd->state == CMD_FREE);
    cmd->r2t_unsent = false;
    cmd->status = 0;
    cmd->result = 0;
    cmd->reply_bytes = 0;
    cmd->tells_loss = 0;
    cmd->range = 0;
    cmd->aborter = NULL;
    conn->cmds_busy++;
    return cmd;
}

void cmd_put(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;

    assert(cmd->state != CMD_FREE && !list_node_linked(&cmd->link));
    if (cmd->state == CMD_RESPONDING)
        conn->cmds_responding--;
    cmd->state = CMD_FREE;
    conn->cmds_busy--;
    cmd_buf_put(cmd);
    /* The first command has served once the queue has its own. */
    if (cmd != &conn->first || conn->cmds == NULL)
        list_push_front(&conn->free_cmds, &cmd->link);
    pdu_rx_resume(&conn->rx);
}

struct nvme_cmd *conn_cmd_by_tag(struct nvme_conn *conn, uint16_t tag)
{
    struct nvme_cmd *cmd = NULL;

    if (conn->cmds != NULL && tag < conn->cmd_count)
        cmd = &conn->cmds[tag];
    else if (conn->cmds == NULL && tag == conn->first.index)
        cmd = &conn->first;
    if (cmd == NULL || cmd->state != CMD_R2T || cmd->r2t_unsent)
        return NULL;
    return cmd;
}

void conn_cancel_cmds(struct nvme_conn *conn)
{
    for (unsigned i = 0; conn->cmds != NULL && i < conn->cmd_count; i++) {
        if (conn->cmds[i].state == CMD_EXECUTING)
            (void)io_cancel(&conn->cmds[i]);
    }
}

static void cmd_drop(struct nvme_cmd *cmd)
{
    if (cmd->state == CMD_FREE || cmd->state == CMD_EXECUTING)
        return;
    list_remove(&cmd->link);
    cmd_drop_aborter(cmd);
    cmd_put(cmd);
}

void conn_drop_cmds(struct nvme_conn *conn)
{
    assert(conn->rx_stopped && conn->tx_stopped);

    conn->rx_cmd = NULL;
    cmd_drop(&conn->first);
    for (unsigned i = 0; conn->cmds != NULL && i < conn->cmd_count; i++)
        cmd_drop(&conn->cmds[i]);
    conn->dropped = true;
}

enum nvme_direction cmd_direction(const struct nvme_sqe *sqe)
{
    const unsigned code = sqe->opcode == NVME_OPCODE_FABRICS ? sqe->nsid & 0xff : sqe->opcode;

    if ((code & 3) == NVME_OPCODE_TO_CONTROLLER)
        return NVME_TO_CONTROLLER;
    return (code & 3) == NVME_OPCODE_TO_HOST ? NVME_TO_HOST : NVME_DIRECTION_NONE;
}

void cmd_execute(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;

    cmd->state = CMD_EXECUTING;
    conn_begin_work(conn);
    if (conn->qid == 0 || cmd->sqe.opcode == NVME_OPCODE_FABRICS)
        home_submit(cmd);
    else if (subsys_is_vendor(conn->subsys))
        vendor_execute(cmd);
    else
        io_execute(cmd);
}

void conn_on_idle(struct nvme_conn *conn)
{
    _Atomic uint64_t *const busy_ns = &conn->counters.busy_ns;

    /* One writer: no need for an atomic addition. */
    const uint64_t span_ns = reactor_now_ns(conn->shard->reactor) - conn->busy_since_ns;
    const uint64_t so_far_ns = atomic_load_explicit(busy_ns, memory_order_relaxed);
    atomic_store_explicit(busy_ns, so_far_ns + span_ns, memory_order_relaxed);
}

bool cmd_is_fault(uint16_t status)
{
    const uint16_t value = status & NVME_SC_VALUE_MASK;

    return value != 0 && value != NVME_SC_ABORT_REQUESTED && value != NVME_SC_ABORT_SQ_DELETION &&
           value != NVME_SC_COMPARE_FAILURE;
}

void cmd_fail(struct nvme_cmd *cmd, uint16_t status)
{
    struct nvme_conn *conn = cmd->conn;

    if (conn->sm.now != CONN_LIVE || !cmd_is_fault(status)) {
        cmd_respond(cmd, status);
        return;
    }
    cmd->status = status;
    cmd->state = CMD_EXECUTING;
    conn_begin_work(conn);
    home_post_error(cmd);
}

void cmd_respond(struct nvme_cmd *cmd, uint16_t status)
{
    struct nvme_conn *conn = cmd->conn;

    cmd->status = status;
    if (!conn_is_open(conn)) {
        cmd_put(cmd);
        return;
    }
    cmd->state = CMD_RESPONDING;
    conn->cmds_responding++;
    pdu_tx_queue(&conn->tx, &cmd->tx);
    io_note_loss(cmd);
    conn_watch_stall(conn);
}

/* ---- Back from home ---- */

void cmd_post_reply(struct nvme_cmd *cmd, uint16_t status)
{
    cmd->status = status;
    cmd->msg.deliver = cmd_on_reply;
    reactor_post(cmd->conn->shard->reactor, &cmd->msg);
}

/* The queue exists from now on: its commands, and what Connect said about it. */
static bool queue_create(struct nvme_conn *conn, const struct nvme_cmd *connect)
{
    const unsigned entries = (connect->sqe.cdw11 & 0xffff) + 1;

    conn->cmds = calloc(entries, sizeof *conn->cmds);
    if (conn->cmds == NULL)
        return false;
    conn->cmd_count = entries;
    for (unsigned i = 0; i < entries; i++)
        cmd_init(&conn->cmds[i], conn, i);
    conn->sq_entries = (uint16_t)entries;
    conn->sq_flow_off = (connect->sqe.cdw11 >> 16 & NVME_CONNECT_CATTR_NO_SQ_FLOW) != 0;
    /* Connect itself was the first entry. */
    conn->sq_head = (uint16_t)(1 % entries);
    conn->qid = conn->home_qid;
    conn_on_connected(conn);
    return true;
}

void cmd_end_reply(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;
    const bool is_connect = cmd == &conn->first && cmd->sqe.opcode == NVME_OPCODE_FABRICS &&
                            (cmd->sqe.nsid & 0xff) == NVME_FCTYPE_CONNECT;

    assert(reactor_is_current(conn->shard->reactor));
    conn_end_work(conn);
    if (is_connect && cmd->status == 0 && conn_is_open(conn) && !queue_create(conn, cmd))
        conn_close(conn);
    cmd_respond(cmd, cmd->status);
    conn_check_drained(conn);
}

static void cmd_on_reply(struct io_msg *msg)
{
    cmd_end_reply(CONTAINER_OF(msg, struct nvme_cmd, msg));
}

/* ---- Writing PDUs ---- */

static void encode_response(struct nvme_conn *conn, struct nvme_cmd *cmd, struct pdu_tx_writer *w)
{
    if (cmd->status == 0 && cmd->reply_bytes > 0) {
        const struct const_span data = { cmd->data.at, cmd->reply_bytes };
        const struct pdu_data c2h = { .cccid = cmd->sqe.cid, .bytes = cmd->reply_bytes };
        /*
         * "... if the SUCCESS flag is set to '1', the controller shall not send a Response
         * Capsule": only without SQ flow control, which needs its SQHD.
         */
        const bool alone = conn->sq_flow_off && cmd->result == 0;
        const uint8_t flags = (uint8_t)(PDU_FLAG_LAST | (alone ? PDU_FLAG_SUCCESS : 0));

        pdu_tx_head_advance(w, pdu_encode_c2h_data(&conn->format, &c2h, flags, pdu_tx_head(w)));
        pdu_tx_data_with_digest(w, &conn->format, data);
        if (alone)
            return;
    }
    const struct nvme_cqe cqe = {
        .result = cmd->result,
        /* "If SQ flow control is disabled, ... FFFFh". */
        .sq_head = conn->sq_flow_off ? 0xffff : conn->sq_head,
        .cid = cmd->sqe.cid,
        .status = cmd->status,
    };
    pdu_tx_head_advance(w, pdu_encode_capsule_resp(&conn->format, &cqe, pdu_tx_head(w)));
}

static void encode_term(struct nvme_conn *conn, struct pdu_tx_writer *w)
{
    const struct pdu_term term = { conn->term_error.fes, conn->term_error.fei };
    const struct const_span culprit = { conn->term_culprit, conn->term_culprit_bytes };

    pdu_tx_head_advance(w, pdu_encode_term(true, &term, culprit, pdu_tx_head(w)));
}

static void encode_icresp(struct nvme_conn *conn, struct pdu_tx_writer *w)
{
    const struct pdu_ic ic = {
        .header_digest = conn->format.header_digest,
        .data_digest = conn->format.data_digest,
        .param = NVME_MAXH2CDATA,
    };
    pdu_tx_head_advance(w, pdu_encode_icresp(&ic, pdu_tx_head(w)));
}

static void conn_tx_encode(struct pdu_tx *tx, struct pdu_tx_entry *entry, struct pdu_tx_writer *w)
{
    struct nvme_conn *conn = CONTAINER_OF(tx, struct nvme_conn, tx);
    struct nvme_cmd *cmd = CONTAINER_OF(entry, struct nvme_cmd, tx);

    if (entry == &conn->icresp_entry) {
        encode_icresp(conn, w);
    } else if (entry == &conn->term_entry) {
        encode_term(conn, w);
    } else if (cmd->r2t_unsent) {
        const struct pdu_data r2t = { .cccid = cmd->sqe.cid,
                                      .ttag = cmd->index,
                                      .bytes = cmd->sqe.sgl_bytes };
        pdu_tx_head_advance(w, pdu_encode_r2t(&conn->format, &r2t, pdu_tx_head(w)));
    } else {
        encode_response(conn, cmd, w);
    }
}

static void conn_tx_done(struct pdu_tx *tx, struct pdu_tx_entry *entry)
{
    struct nvme_conn *conn = CONTAINER_OF(tx, struct nvme_conn, tx);
    struct nvme_cmd *cmd = CONTAINER_OF(entry, struct nvme_cmd, tx);

    if (entry == &conn->icresp_entry || entry == &conn->term_entry)
        return;
    if (cmd->r2t_unsent)
        cmd->r2t_unsent = false; /* The data may come. */
    else
        cmd_put(cmd);
}

static void conn_tx_failed(struct pdu_tx *tx, struct status why)
{
    struct nvme_conn *conn = CONTAINER_OF(tx, struct nvme_conn, tx);

    log_debug(conn->shard->reactor->log, "%s: send: %s", io_addr_format(&conn->peer).s,
              status_text(why));
    conn_close(conn);
}

static void conn_tx_stopped(struct pdu_tx *tx)
{
    struct nvme_conn *conn = CONTAINER_OF(tx, struct nvme_conn, tx);

    conn->tx_stopped = true;
    if (conn->moving != NULL)
        conn_move_step(conn);
    else
        conn_check_drained(conn); /* conn may be gone. */
}

const struct pdu_tx_ops conn_tx_ops = {
    .encode = conn_tx_encode,
    .done = conn_tx_done,
    .failed = conn_tx_failed,
    .stopped = conn_tx_stopped,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a host's PDUs do to its connection: ICReq, command capsules, data.
 *
 * W1: whatever is wrong with a PDU ends this connection with the termination PDU that the
 * specification names; whatever is wrong with a command is the status in its completion.
 */
#include <assert.h>

#include "nvme/conn.h"
#include "nvme/target_internal.h"

static struct status MUST_CHECK on_icreq(struct nvme_conn *conn, const struct pdu_ic *ic)
{
    if (conn->sm.now != CONN_ICREQ)
        return pdu_rx_refuse(&conn->rx, PDU_FES_SEQUENCE, 0);

    conn->format.header_digest = ic->header_digest;
    conn->format.data_digest = ic->data_digest;
    conn->format.pda = ic->pda;
    conn->rx.rules.header_digest = ic->header_digest;
    conn->rx.rules.data_digest = ic->data_digest;
    sm_move(&conn->sm, CONN_CONNECT);
    pdu_tx_queue(&conn->tx, &conn->icresp_entry);
    return STATUS(OK);
}

/* ---- Command capsules ---- */

/* The SGL of a command that moves data, against what came in its capsule. */
static uint16_t check_sgl(const struct nvme_sqe *sqe, enum nvme_direction direction,
                          uint32_t capsule_bytes)
{
    if (sqe->sgl_bytes > NVME_DATA_BYTES_MAX)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;

    if (sqe->sgl_id == NVME_SGL_TRANSPORT)
        return capsule_bytes == 0 ? 0 : NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (sqe->sgl_id != NVME_SGL_IN_CAPSULE || direction != NVME_TO_CONTROLLER)
        return NVME_SC_DNR | NVME_SC_SGL_TYPE;
    /* ICDOFF is 0, and one descriptor describes all of the capsule's data. */
    if (sqe->sgl_address != 0)
        return NVME_SC_DNR | NVME_SC_SGL_OFFSET;
    return sqe->sgl_bytes == capsule_bytes ? 0 : NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
}

/* All that can be said of a command before its data are there: 0 or a status. */
static uint16_t check_command(struct nvme_cmd *cmd, uint32_t capsule_bytes)
{
    const struct nvme_sqe *sqe = &cmd->sqe;
    const struct nvme_conn *conn = cmd->conn;
    const enum nvme_direction direction = cmd_direction(sqe);
    const bool is_connect =
        sqe->opcode == NVME_OPCODE_FABRICS && (sqe->nsid & 0xff) == NVME_FCTYPE_CONNECT;

    if (is_connect != (conn->sm.now == CONN_CONNECT))
        return NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE;
    /* Nobody is asked for more: a connection has no quota yet (conn_buf.c). */
    if (is_connect && sqe->sgl_bytes != sizeof(struct nvme_connect_data_spec))
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    if ((sqe->flags & NVME_SQE_FUSE_MASK) != 0 ||
        (sqe->flags & NVME_SQE_PSDT_MASK) != NVME_SQE_PSDT_SGL)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (direction == NVME_DIRECTION_NONE && capsule_bytes > 0)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (direction != NVME_DIRECTION_NONE && (sqe->sgl_bytes > 0 || capsule_bytes > 0)) {
        const uint16_t status = check_sgl(sqe, direction, capsule_bytes);
        if (status != 0)
            return status;
    }
    if (conn->qid == 0 || sqe->opcode == NVME_OPCODE_FABRICS)
        return 0;
    return subsys_is_vendor(conn->subsys) ? vendor_check(cmd) : io_check(cmd);
}

/* Says once per connection that its host sends what no host should. */
static void complain(struct nvme_conn *conn, const struct nvme_cmd *cmd, uint16_t status)
{
    if (conn->complained)
        return;
    conn->complained = true;
    peer_log(conn->shard, LOG_LEVEL_WARNING,
             "%s: command %02xh, id %u, on queue %u: %s (status %03xh); more of the kind are not "
             "logged",
             io_addr_format(&conn->peer).s, cmd->sqe.opcode, cmd->sqe.cid, conn->qid,
             status == NVME_SC_TRANSIENT_TRANSPORT ? "data digest error" : "refused",
             status & NVME_SC_VALUE_MASK);
}

/* A capsule whose data follow: finds them a place, or has them discarded. */
static struct status MUST_CHECK take_capsule_data(struct nvme_cmd *cmd, uint16_t status,
                                                  uint32_t bytes, struct span *out_data)
{
    struct nvme_conn *conn = cmd->conn;

    if (status == 0) {
        if (!cmd_buf_get(cmd, bytes))
            return STATUS(BUSY);
        *out_data = cmd->data;
    }
    conn->rx_cmd = cmd;
    conn->rx_status = status;
    return STATUS(OK);
}

/* A command without data in its capsule: answers, asks for its data, or executes. */
static struct status MUST_CHECK start_command(struct nvme_cmd *cmd, uint16_t status)
{
    const enum nvme_direction direction = cmd_direction(&cmd->sqe);
    const uint32_t bytes = cmd->sqe.sgl_bytes;

    if (status != 0) {
        cmd_fail(cmd, status);
        return STATUS(OK);
    }
    if (direction == NVME_TO_CONTROLLER && bytes > 0) {
        cmd_r2t_start(cmd);
        return STATUS(OK);
    }
    if (direction == NVME_TO_HOST && bytes > 0 && !cmd_buf_get(cmd, bytes))
        return STATUS(BUSY);
    cmd_execute(cmd);
    return STATUS(OK);
}

static struct status MUST_CHECK on_capsule(struct nvme_conn *conn, const struct pdu *pdu,
                                           struct span *out_data)
{
    if (conn->sm.now != CONN_CONNECT && conn->sm.now != CONN_LIVE)
        return pdu_rx_refuse(&conn->rx, PDU_FES_SEQUENCE, 0);

    struct nvme_cmd *cmd = cmd_get(conn);
    if (cmd == NULL) {
        /* More than the queue holds, unless the host got a response whose send we have not
         * heard of yet. */
        if (conn->cmds_responding > 0)
            return STATUS(BUSY);
        return pdu_rx_refuse(&conn->rx, PDU_FES_SEQUENCE, 0);
    }

    cmd->sqe = pdu->cmd;
    cmd->state = CMD_CAPSULE;
    if (conn->qid != 0)
        io_cid_seen(conn, cmd->sqe.cid);
    const uint16_t status = check_command(cmd, pdu->data_bytes);
    const uint16_t head = conn->sq_head;
    if (status != 0)
        complain(conn, cmd, status);
    if (conn->sq_entries > 0)
        conn->sq_head = (uint16_t)(head + 1 < conn->sq_entries ? head + 1 : 0);

    const struct status st = pdu->data_bytes > 0
                                 ? take_capsule_data(cmd, status, pdu->data_bytes, out_data)
                                 : start_command(cmd, status);
    if (!status_ok(st)) {
        conn->sq_head = head;
        cmd_put(cmd);
    }
    return st;
}

/* ---- Data that were asked for ---- */

static struct status MUST_CHECK on_h2c_data(struct nvme_conn *conn, const struct pdu *pdu,
                                            struct span *out_data)
{
    const struct pdu_data *data = &pdu->data;
    struct nvme_cmd *cmd = conn_cmd_by_tag(conn, data->ttag);

    if (cmd == NULL)
        return pdu_rx_refuse(&conn->rx, PDU_FES_HEADER_FIELD, offsetof(struct pdu_data_spec, ttag));
    if (cmd->sqe.cid != data->cccid)
        return pdu_rx_refuse(&conn->rx, PDU_FES_HEADER_FIELD,
                             offsetof(struct pdu_data_spec, cccid));
    /* An R2T's data come in order. */
    const size_t missing = cmd->data.bytes - cmd->data_received;
    if (data->offset != cmd->data_received || data->bytes > missing)
        return pdu_rx_refuse(&conn->rx, PDU_FES_DATA_RANGE, 0);
    if (pdu->last != (data->bytes == missing))
        return pdu_rx_refuse(&conn->rx, PDU_FES_HEADER_FIELD,
                             offsetof(struct pdu_common_spec, flags));

    *out_data = span_sub(cmd->data, cmd->data_received, data->bytes);
    cmd->data_received += data->bytes;
    conn->rx_cmd = cmd;
    conn->rx_status = 0;
    return STATUS(OK);
}

static struct status MUST_CHECK on_header(struct nvme_conn *conn, const struct pdu *pdu,
                                          struct span *out_data)
{
    switch (pdu->type) {
    case PDU_ICREQ:
        return on_icreq(conn, &pdu->ic);
    case PDU_CAPSULE_CMD:
        return on_capsule(conn, pdu, out_data);
    case PDU_H2C_DATA:
        return on_h2c_data(conn, pdu, out_data);
    case PDU_H2C_TERM:
        peer_log(conn->shard, LOG_LEVEL_WARNING, "%s: the host ended the connection: %s (%u)",
                 io_addr_format(&conn->peer).s, pdu_fes_text(pdu->term.fes), pdu->term.fei);
        return STATUS(PEER_CLOSED);
    case PDU_ICRESP:
    case PDU_C2H_TERM:
    case PDU_CAPSULE_RESP:
    case PDU_C2H_DATA:
    case PDU_R2T:
        break; /* The codec refuses what hosts do not send. */
    }
    return pdu_rx_refuse(&conn->rx, PDU_FES_HEADER_FIELD, 0);
}

static struct status MUST_CHECK conn_rx_header(struct pdu_rx *rx, const struct pdu *pdu,
                                               struct span *out_data)
{
    struct nvme_conn *conn = CONTAINER_OF(rx, struct nvme_conn, rx);
    const struct status st = on_header(conn, pdu, out_data);

    if (status_is(st, STATUS_BUSY))
        conn_rx_is_held_up(conn);
    else if (conn->rx_held_up)
        conn_rx_goes_on(conn);
    return st;
}

/* All of the data, of a capsule or by R2T, have arrived. */
static void data_complete(struct nvme_cmd *cmd, uint16_t status)
{
    if (cmd->aborter != NULL)
        cmd_end_aborted(cmd);
    else if (status != 0)
        cmd_fail(cmd, status);
    else
        cmd_execute(cmd);
}

static struct status MUST_CHECK conn_rx_data(struct pdu_rx *rx, bool digest_ok)
{
    struct nvme_conn *conn = CONTAINER_OF(rx, struct nvme_conn, rx);
    struct nvme_cmd *cmd = conn->rx_cmd;

    assert(cmd != NULL);
    conn->rx_cmd = NULL;
    /* "Data Digest Error": not fatal; the command fails with Transient Transport Error. */
    if (!digest_ok) {
        cmd->status = NVME_SC_TRANSIENT_TRANSPORT;
        complain(conn, cmd, cmd->status);
    }
    if (cmd->state == CMD_CAPSULE) {
        data_complete(cmd, conn->rx_status != 0 ? conn->rx_status : cmd->status);
        return STATUS(OK);
    }
    assert(cmd->state == CMD_R2T);
    if (cmd->data_received == cmd->data.bytes) {
        cmd_r2t_end(cmd);
        data_complete(cmd, cmd->status);
    }
    return STATUS(OK);
}

static void conn_rx_begun(struct pdu_rx *rx)
{
    conn_watch_stall(CONTAINER_OF(rx, struct nvme_conn, rx));
}

static void conn_rx_stopped(struct pdu_rx *rx, struct status why)
{
    struct nvme_conn *conn = CONTAINER_OF(rx, struct nvme_conn, rx);

    conn->rx_stopped = true;
    if (conn->moving != NULL) {
        conn_move_step(conn); /* conn may be gone. */
        return;
    }
    if (!conn_is_open(conn)) {
        conn_check_drained(conn); /* conn may be gone. */
        return;
    }
    if (status_is(why, STATUS_BAD_PDU) || status_is(why, STATUS_BAD_DIGEST)) {
        conn_terminate(conn, rx->error, pdu_rx_culprit(rx));
        return;
    }
    log_debug(conn->shard->reactor->log, "%s: closed: %s", io_addr_format(&conn->peer).s,
              status_text(why));
    conn_close(conn);
}

const struct pdu_rx_ops conn_rx_ops = {
    .header = conn_rx_header,
    .data = conn_rx_data,
    .begun = conn_rx_begun,
    .stopped = conn_rx_stopped,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller sends.  Nothing of it is believed before it was checked (W1). */
#include <assert.h>

#include "nvme/initiator_internal.h"

static struct initiator_queue *queue_of(struct pdu_rx *rx)
{
    return CONTAINER_OF(rx, struct initiator_queue, rx);
}

#define FEI_TYPE  offsetof(struct pdu_common_spec, type)
#define FEI_CID   (PDU_COMMON_BYTES + offsetof(struct nvme_cqe_spec, cid))
#define FEI_CCCID offsetof(struct pdu_data_spec, cccid)

/*
 * A success that leaves data behind is none: the caller would take what lies in its memory for
 * what it has read, or believe that a write has happened whose data never left.
 */
static bool all_data_moved(const struct initiator_cmd *cmd)
{
    return cmd->moved == initiator_cmd_bytes(cmd);
}

static struct status MUST_CHECK on_abandoned_response(struct pdu_rx *rx, uint16_t cid)
{
    struct initiator_slot *slot = initiator_cmd_find_abandoned(queue_of(rx), cid);

    if (slot == NULL)
        return pdu_rx_refuse(rx, PDU_FES_HEADER_FIELD, FEI_CID);
    initiator_cmd_forget(queue_of(rx), slot);
    return STATUS(OK);
}

static struct status MUST_CHECK on_response(struct pdu_rx *rx, const struct pdu *pdu)
{
    struct initiator_cmd *cmd = initiator_cmd_find(queue_of(rx), pdu->resp.cid);

    if (cmd == NULL)
        return on_abandoned_response(rx, pdu->resp.cid);
    if ((pdu->resp.status & NVME_SC_VALUE_MASK) == NVME_SC_SUCCESS && !all_data_moved(cmd))
        return pdu_rx_refuse(rx, PDU_FES_SEQUENCE, 0);
    initiator_cmd_respond(cmd, &pdu->resp);
    return STATUS(OK);
}

/* Whether bytes at offset continue what the command has got so far, within its memory. */
static bool is_next_piece(const struct initiator_cmd *cmd, uint32_t so_far,
                          const struct pdu_data *data)
{
    return data->bytes > 0 && data->offset == so_far &&
           data->bytes <= initiator_cmd_bytes(cmd) - so_far;
}

static struct status MUST_CHECK on_c2h_data(struct pdu_rx *rx, const struct pdu *pdu,
                                            struct span *out_data)
{
    struct initiator_queue *q = queue_of(rx);
    struct initiator_cmd *cmd = initiator_cmd_find(q, pdu->data.cccid);
    struct span rest;

    q->rx_cid = pdu->data.cccid;
    q->rx_bytes = pdu->data.bytes;
    q->rx_completes = pdu->success;
    if (cmd == NULL && initiator_cmd_find_abandoned(q, pdu->data.cccid) != NULL)
        return STATUS(OK); /* They are dropped. */
    if (cmd == NULL)
        return pdu_rx_refuse(rx, PDU_FES_HEADER_FIELD, FEI_CCCID);
    if (cmd->to_controller || !is_next_piece(cmd, cmd->moved, &pdu->data))
        return pdu_rx_refuse(rx, PDU_FES_DATA_RANGE, 0);
    if (pdu->success && pdu->data.offset + pdu->data.bytes != initiator_cmd_bytes(cmd))
        return pdu_rx_refuse(rx, PDU_FES_SEQUENCE, 0);
    q->rx_cmd = cmd;
    initiator_cmd_place(cmd, pdu->data.offset, pdu->data.bytes, out_data, &rest);
    pdu_rx_split(rx, rest);
    return STATUS(OK);
}

static struct status MUST_CHECK on_r2t(struct pdu_rx *rx, const struct pdu *pdu)
{
    struct initiator_cmd *cmd = initiator_cmd_find(queue_of(rx), pdu->data.cccid);

    if (cmd == NULL)
        return pdu_rx_refuse(rx, PDU_FES_HEADER_FIELD, FEI_CCCID);
    if (!cmd->to_controller || cmd->in_capsule)
        return pdu_rx_refuse(rx, PDU_FES_SEQUENCE, 0);
    /* ICReq said MAXR2T 0: the next one comes when the last one's data have gone. */
    if (cmd->moved != cmd->granted)
        return pdu_rx_refuse(rx, PDU_FES_LIMIT, 0);
    if (!is_next_piece(cmd, cmd->granted, &pdu->data))
        return pdu_rx_refuse(rx, PDU_FES_DATA_RANGE, 0);
    initiator_cmd_grant(cmd, &pdu->data);
    return STATUS(OK);
}

static struct status MUST_CHECK on_term(struct pdu_rx *rx, const struct pdu *pdu)
{
    const struct initiator_queue *q = queue_of(rx);

    log_debug(q->config.log, "nvme/tcp: %s terminated queue %u: %s (FEI %u)",
              io_addr_format(&q->config.endpoint.addr).s, q->config.qid,
              pdu_fes_text(pdu->term.fes), pdu->term.fei);
    return STATUS(PEER_CLOSED);
}

static struct status rx_header(struct pdu_rx *rx, const struct pdu *pdu, struct span *out_data)
{
    struct initiator_queue *q = queue_of(rx);

    if (pdu->type == PDU_C2H_TERM)
        return on_term(rx, pdu);
    if (q->sm.now == INITIATOR_QUEUE_ICRESP)
        return pdu->type == PDU_ICRESP ? initiator_queue_on_icresp(q, pdu)
                                       : pdu_rx_refuse(rx, PDU_FES_SEQUENCE, FEI_TYPE);
    assert(initiator_queue_sends(q));

    switch (pdu->type) {
    case PDU_CAPSULE_RESP:
        return on_response(rx, pdu);
    case PDU_C2H_DATA:
        return on_c2h_data(rx, pdu, out_data);
    case PDU_R2T:
        return on_r2t(rx, pdu);
    default:
        return pdu_rx_refuse(rx, PDU_FES_SEQUENCE, FEI_TYPE);
    }
}

static struct status rx_data(struct pdu_rx *rx, bool digest_ok)
{
    struct initiator_queue *q = queue_of(rx);
    struct initiator_cmd *cmd = q->rx_cmd;

    /* Not a termination PDU's: its header has ended the queue. */
    if (cmd == NULL) {
        if (q->rx_completes)
            initiator_cmd_forget(q, initiator_cmd_find_abandoned(q, q->rx_cid));
        return STATUS(OK);
    }
    q->rx_cmd = NULL;
    cmd->moved += q->rx_bytes;
    if (!digest_ok)
        cmd->bad_digest = true;
    if (q->rx_completes)
        initiator_cmd_respond(cmd, &(struct nvme_cqe) { .cid = cmd->cid });
    return STATUS(OK);
}

static void rx_stopped(struct pdu_rx *rx, struct status why)
{
    initiator_queue_on_rx_stopped(queue_of(rx), why);
}

const struct pdu_rx_ops initiator_rx_ops = {
    .header = rx_header,
    .data = rx_data,
    .stopped = rx_stopped,
};

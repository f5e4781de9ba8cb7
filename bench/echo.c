/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The echo server: the least work with which a host can be answered on this reactor.  It knows
 * just enough of NVMe/TCP for `trilith perf` to connect: ICReq, Connect, properties, Identify.
 * Then it answers a read with a header of 24 bytes and zeros, a write with a response, and looks
 * at nothing.  What the target does on top of this is what the target costs.
 *
 *   recv --> as many PDUs as are whole --> one send for all of them --> recv
 *
 * Threading: one reactor.   Memory: one struct conn for each connection, never reused.
 */
#include <stdlib.h>
#include <string.h>

#include "io/op.h"
#include "nvme/identify_spec.h"
#include "nvme/limits.h"
#include "nvme/pdu.h"
#include "serve.h"

#define NAMESPACE_BLOCKS ((uint64_t)1 << 28) /* 1 TiB of 4 KiB blocks. */
#define RX_BYTES         ((size_t)256 << 10)
#define RESPONSES_MAX    (IO_SEND_IOV_MAX / 2) /* A header and data each. */

struct conn {
    struct serve *serve;
    int fd;
    bool admin;
    struct io_op recv;
    struct io_op send;
    bool receiving;
    bool closing;
    uint8_t rx[RX_BYTES];
    size_t rx_bytes;
    uint8_t headers[RESPONSES_MAX][PDU_ENCODED_BYTES_MAX];
    struct iovec iov[IO_SEND_IOV_MAX];
    unsigned iov_count;
    unsigned responses;
    uint8_t page[NVME_IDENTIFY_BYTES]; /* Admin commands come one by one. */
};

static const struct pdu_format plain = { .header_digest = false };
static const struct pdu_rules rules = { .controller = true };
static uint8_t zeros[NVME_DATA_BYTES_MAX];

static void conn_pump(struct conn *c);

/* ---- Responses ---- */

static uint8_t *header_room(struct conn *c)
{
    return c->headers[c->responses];
}

static void add_header(struct conn *c, size_t bytes)
{
    c->iov[c->iov_count++] = (struct iovec) { header_room(c), bytes };
    c->responses++;
}

static void add_response(struct conn *c, uint16_t cid, uint64_t result)
{
    const struct nvme_cqe cqe = { .result = result, .cid = cid };
    add_header(c, pdu_encode_capsule_resp(&plain, &cqe, header_room(c)));
}

/* The data with the Success flag stand for the response. */
static void add_data(struct conn *c, uint16_t cid, uint8_t *at, uint32_t bytes)
{
    const struct pdu_data data = { .cccid = cid, .bytes = bytes };
    add_header(
        c, pdu_encode_c2h_data(&plain, &data, PDU_FLAG_LAST | PDU_FLAG_SUCCESS, header_room(c)));
    c->iov[c->iov_count++] = (struct iovec) { at, bytes };
}

/* ---- Admin commands: what an initiator insists on ---- */

static void identify_ctrl(uint8_t *page)
{
    struct nvme_id_ctrl_spec id = {
        .mdts = NVME_MDTS,
        .cntlid = le16_make(1),
        .ver = le32_make(NVME_VS_2_0),
        .cntrltype = NVME_CTRL_TYPE_IO,
        .kas = le16_make(NVME_KAS),
        .sqes = 0x66,
        .cqes = 0x44,
        .nn = le32_make(1),
        .sgls =
            le32_make(NVME_CTRL_SGLS_SUPPORTED | NVME_CTRL_SGLS_OFFSET | NVME_CTRL_SGLS_TRANSPORT),
        .ioccsz = le32_make(NVME_IOCCSZ),
        .iorcsz = le32_make(1),
    };
    memset(id.sn, ' ', sizeof id.sn);
    memset(id.mn, ' ', sizeof id.mn);
    memcpy(page, &id, sizeof id);
}

static void identify_ns(uint8_t *page)
{
    const struct nvme_id_ns_spec id = {
        .nsze = le64_make(NAMESPACE_BLOCKS),
        .ncap = le64_make(NAMESPACE_BLOCKS),
        .lbaf[0].lbads = 12,
    };
    memcpy(page, &id, sizeof id);
}

static void identify(struct conn *c, const struct nvme_sqe *sqe)
{
    memset(c->page, 0, sizeof c->page);
    switch (sqe->cdw10 & 0xff) {
    case NVME_CNS_CTRL:
        identify_ctrl(c->page);
        break;
    case NVME_CNS_NS:
        identify_ns(c->page);
        break;
    case NVME_CNS_NS_LIST:
        c->page[0] = 1;
        break;
    default:
        break;
    }
    add_data(c, sqe->cid, c->page, sizeof c->page);
}

static uint64_t property(uint32_t offset)
{
    switch (offset) {
    case NVME_PROP_CAP:
        return (NVME_QUEUE_ENTRIES_MAX - 1) | NVME_CAP_CQR | UINT64_C(10) << NVME_CAP_TO_SHIFT |
               NVME_CAP_CSS_NVM;
    case NVME_PROP_VS:
        return NVME_VS_2_0;
    default:
        return NVME_CSTS_RDY;
    }
}

static void fabrics(struct conn *c, const struct nvme_sqe *sqe)
{
    uint64_t result = 0;

    if ((sqe->nsid & 0xff) == NVME_FCTYPE_CONNECT) {
        c->admin = sqe->cdw10 >> 16 == 0; /* QID, behind RECFMT. */
        result = 1;                       /* CNTLID. */
    }
    if ((sqe->nsid & 0xff) == NVME_FCTYPE_PROPERTY_GET)
        result = property(sqe->cdw11);
    add_response(c, sqe->cid, result);
}

static void admin(struct conn *c, const struct nvme_sqe *sqe)
{
    if (sqe->opcode == NVME_ADMIN_IDENTIFY)
        identify(c, sqe);
    else if (sqe->opcode == NVME_ADMIN_SET_FEATURES)
        add_response(c, sqe->cid, sqe->cdw11); /* As many queues as were asked for. */
    else if (sqe->opcode != NVME_ADMIN_ASYNC_EVENT)
        add_response(c, sqe->cid, 0);
}

/* ---- PDUs ---- */

static void command(struct conn *c, const struct nvme_sqe *sqe)
{
    if (sqe->opcode == NVME_OPCODE_FABRICS) {
        fabrics(c, sqe);
        return;
    }
    if (c->admin) {
        admin(c, sqe);
        return;
    }
    if (sqe->opcode == NVME_IO_READ)
        add_data(c, sqe->cid, zeros, sqe->sgl_bytes);
    else
        add_response(c, sqe->cid, 0);
}

/* Takes one PDU; returns its length, 0 if it is not whole, -1 if it is none of ours. */
static int64_t take_pdu(struct conn *c, const uint8_t *raw, size_t bytes)
{
    struct pdu pdu;
    struct pdu_error error;

    if (bytes < PDU_COMMON_BYTES)
        return 0;
    if (!status_ok(pdu_decode_common(&rules, raw, &pdu, &error)))
        return -1;
    const size_t whole = (size_t)pdu.head_bytes + pdu.pad_bytes + pdu.data_bytes;
    if (whole > RX_BYTES)
        return -1;
    if (bytes < whole)
        return 0;
    if (!status_ok(pdu_decode_header(&rules, raw, &pdu, &error)))
        return -1;
    if (pdu.type == PDU_CAPSULE_CMD) {
        command(c, &pdu.cmd);
    } else if (pdu.type == PDU_ICREQ) {
        const struct pdu_ic ic = { .param = NVME_MAXH2CDATA };
        add_header(c, pdu_encode_icresp(&ic, header_room(c)));
    } else {
        return -1;
    }
    return (int64_t)whole;
}

/* Answers what is whole, as far as one send takes it. */
static void take_pdus(struct conn *c)
{
    size_t at = 0;
    int64_t taken = 1;

    while (c->responses < RESPONSES_MAX && taken > 0) {
        taken = take_pdu(c, c->rx + at, c->rx_bytes - at);
        if (taken < 0)
            c->closing = true;
        else
            at += (size_t)taken;
    }
    c->rx_bytes -= at;
    memmove(c->rx, c->rx + at, c->rx_bytes);
}

static void on_send(struct io_op *op)
{
    struct conn *const c = CONTAINER_OF(op, struct conn, send);

    c->closing |= op->result < 0;
    c->iov_count = 0;
    c->responses = 0;
    conn_pump(c);
}

static void on_recv(struct io_op *op)
{
    struct conn *const c = CONTAINER_OF(op, struct conn, recv);

    c->receiving = false;
    if (op->result <= 0)
        c->closing = true;
    else
        c->rx_bytes += (size_t)op->result;
    conn_pump(c);
}

/* One send and one receive at a time; a send holds back what has come meanwhile. */
static void conn_pump(struct conn *c)
{
    struct reactor *const r = c->serve->reactor;

    if (!c->send.in_flight && !c->closing) {
        take_pdus(c);
        if (c->iov_count > 0)
            io_op_send(&c->send, r, c->fd, c->iov, c->iov_count, on_send);
    }
    if (!c->receiving && !c->closing && c->rx_bytes < RX_BYTES) {
        c->receiving = true;
        io_op_recv(&c->recv, r, c->fd,
                   (struct span) { c->rx + c->rx_bytes, RX_BYTES - c->rx_bytes }, on_recv);
    }
    if (!c->closing)
        return;
    io_shutdown(r, c->fd);
    if (c->receiving || c->send.in_flight)
        return;
    io_close(r, c->fd);
    free(c);
}

static struct serve serve;
static struct io_op accepting;
static int listener;

static void on_accept(struct io_op *op)
{
    serve_check(io_op_status(op), "accept");
    struct conn *const c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->serve = &serve;
    c->fd = (int)op->result;
    conn_pump(c);
    io_op_accept(op, serve.reactor, listener, on_accept);
}

int main(int argc, char **argv)
{
    struct io_addr bound;

    serve_init(&serve, argc, argv);
    serve_check(io_listen(serve.reactor, &serve.listen, &listener, &bound), "listen");
    io_op_accept(&accepting, serve.reactor, listener, on_accept);
    serve_listening(&bound);
    serve_run(&serve);
    return 0;
}

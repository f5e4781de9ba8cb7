/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_target.h"

#include <stdlib.h>
#include <string.h>

#include "common/no_log.h"

#define WAIT_NS_MAX (300 * NS_PER_S)
#define ENTRIES     8

static void must(struct status st)
{
    if (!status_ok(st))
        fail_msg("%s", status_text(st));
}

static void nothing(struct sim_process *p, void *ctx)
{
    (void)p;
    (void)ctx;
}

static void on_op(struct io_op *op)
{
    CONTAINER_OF(op, struct ft, op)->op_done = true;
}

static void on_ready(struct initiator_queue *q)
{
    ((struct ft *)initiator_queue_ctx(q))->ready = true;
}

static void on_ended(struct initiator_queue *q, struct status why)
{
    struct ft *ft = initiator_queue_ctx(q);
    ft->ended = true;
    ft->why = why;
}

static const struct initiator_queue_ops queue_ops = { on_ready, on_ended };

void ft_wait(struct ft *ft, const bool *condition)
{
    const uint64_t end = sim_world_now_ns(ft->world) + WAIT_NS_MAX;

    while (!*condition) {
        if (!sim_world_step(ft->world) || sim_world_now_ns(ft->world) > end)
            fail_msg("waited in vain");
    }
}

/* ---- Life ---- */

static struct reactor *spawn(struct ft *ft, const char *name)
{
    struct sim_process *p =
        sim_spawn(sim_machine_create(ft->world, name),
                  &(struct sim_program) { .name = name, .reactors = 1, .main = nothing });
    return sim_process_reactor(p, 0);
}

static void start_queue(struct ft *ft, const struct io_addr *addr, bool digests)
{
    const struct initiator_queue_config config = {
        .ops = &queue_ops,
        .ctx = ft,
        .reactor = ft->client,
        .endpoint = { .addr = *addr,
                      .subsystem_nqn = { NQN_VOLUME_PREFIX "db1" },
                      .host_nqn = { "nqn.2026-01.io.trilith:host:h1" },
                      .header_digest = digests,
                      .data_digest = digests,
                      .connect_timeout_ns = 10 * NS_PER_S,
                      .command_timeout_ns = 10 * NS_PER_S },
        .log = &ft->log,
        .qid = 1,
        .cntlid = 7,
        .entries = ENTRIES,
        .in_capsule_bytes = 8192,
    };
    must(initiator_queue_create(&config, &ft->queue));
    initiator_queue_start(ft->queue);
}

struct io_addr ft_addr(const struct ft *ft)
{
    return sim_machine_addr(sim_process_machine(sim_reactor_process(ft->server)), 4420);
}

/* Waits for the connection of an accept that was begun. */
static void take_connection(struct ft *ft)
{
    ft_wait(ft, &ft->op_done);
    assert_true(ft->op.result >= 0);
    ft->fd = (int)ft->op.result;
    ft->rules = (struct pdu_rules) { .controller = true };
    ft->closed = false;
}

void ft_accept_instead(struct ft *ft)
{
    initiator_queue_stop(ft->queue);
    ft_wait(ft, &ft->ended);
    io_close(ft->server, ft->fd);
    ft->op_done = false;
    io_op_accept(&ft->op, ft->server, ft->listen_fd, on_op);
    take_connection(ft);
}

struct ft *ft_create(bool digests)
{
    struct ft *ft = calloc(1, sizeof *ft);
    struct io_addr addr;

    assert_non_null(ft);
    ft->log.sink = no_log;
    ft->world = sim_world_create(&(struct sim_config) { .seed = 1 });
    *sim_world_net(ft->world) = (struct sim_net) { .latency_min_ns = 1000,
                                                   .latency_max_ns = 50000,
                                                   .segment_max = 65536,
                                                   .patience_ns = WAIT_NS_MAX,
                                                   .connect_wait_ns = NS_PER_S };
    ft->server = spawn(ft, "server");
    ft->client = spawn(ft, "client");
    sim_world_run(ft->world, NS_PER_MS);
    addr = ft_addr(ft);
    must(io_listen(ft->server, &addr, &ft->listen_fd, &addr));
    io_op_accept(&ft->op, ft->server, ft->listen_fd, on_op);
    start_queue(ft, &addr, digests);
    take_connection(ft);
    return ft;
}

void ft_destroy(struct ft *ft)
{
    if (!ft->ended) {
        initiator_queue_stop(ft->queue);
        ft_wait(ft, &ft->ended);
    }
    initiator_queue_destroy(ft->queue);
    io_close(ft->server, ft->fd);
    io_close(ft->server, ft->listen_fd);
    sim_world_destroy(ft->world);
    free(ft);
}

/* ---- Bytes ---- */

void ft_send(struct ft *ft, const void *data, size_t bytes)
{
    struct iovec iov = { (void *)(uintptr_t)data, bytes };

    ft->op_done = false;
    io_op_send(&ft->op, ft->server, ft->fd, &iov, 1, on_op);
    ft_wait(ft, &ft->op_done);
}

static bool fill(struct ft *ft, size_t bytes)
{
    assert_true(bytes <= sizeof ft->in);
    while (ft->in_bytes < bytes && !ft->closed) {
        ft->op_done = false;
        io_op_recv(&ft->op, ft->server, ft->fd,
                   (struct span) { ft->in + ft->in_bytes, bytes - ft->in_bytes }, on_op);
        ft_wait(ft, &ft->op_done);
        if (ft->op.result <= 0)
            ft->closed = true;
        else
            ft->in_bytes += (size_t)ft->op.result;
    }
    return ft->in_bytes >= bytes;
}

bool ft_recv(struct ft *ft)
{
    struct pdu_error error = { 0 };

    ft->in_bytes = 0;
    if (!fill(ft, PDU_COMMON_BYTES))
        return false;
    must(pdu_decode_common(&ft->rules, ft->in, &ft->pdu, &error));
    const size_t head = (size_t)ft->pdu.head_bytes + ft->pdu.pad_bytes;
    assert_true(fill(ft, head));
    must(pdu_decode_header(&ft->rules, ft->in, &ft->pdu, &error));
    const size_t digest = ft->pdu.has_data_digest ? PDU_DIGEST_BYTES : 0;
    assert_true(fill(ft, head + ft->pdu.data_bytes + digest));
    memcpy(ft->data, ft->in + head, ft->pdu.data_bytes);
    return true;
}

void ft_recv_cmd(struct ft *ft, uint8_t opcode)
{
    assert_true(ft_recv(ft));
    assert_int_equal(ft->pdu.type, PDU_CAPSULE_CMD);
    assert_int_equal(ft->pdu.cmd.opcode, opcode);
}

/* ---- PDUs ---- */

struct pdu_ic ft_icresp(const struct ft *ft)
{
    return (struct pdu_ic) { .header_digest = ft->format.header_digest,
                             .data_digest = ft->format.data_digest,
                             .param = 16384 };
}

void ft_send_icresp(struct ft *ft, const struct pdu_ic *ic)
{
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    ft_send(ft, raw, pdu_encode_icresp(ic, raw));
}

void ft_send_resp(struct ft *ft, uint16_t cid, uint16_t status, uint64_t result)
{
    const struct nvme_cqe cqe = { .cid = cid, .status = status, .result = result };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    ft_send(ft, raw, pdu_encode_capsule_resp(&ft->format, &cqe, raw));
}

void ft_send_r2t(struct ft *ft, uint16_t cid, uint32_t offset, uint32_t bytes)
{
    const struct pdu_data r2t = { .cccid = cid, .ttag = 99, .offset = offset, .bytes = bytes };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    ft_send(ft, raw, pdu_encode_r2t(&ft->format, &r2t, raw));
}

void ft_send_c2h(struct ft *ft, uint16_t cid, uint32_t offset, uint32_t bytes, uint8_t flags,
                 uint8_t value)
{
    const struct pdu_data data = { .cccid = cid, .offset = offset, .bytes = bytes };
    uint8_t *raw = malloc(PDU_ENCODED_BYTES_MAX + bytes + PDU_DIGEST_BYTES);
    assert_non_null(raw);
    size_t at = pdu_encode_c2h_data(&ft->format, &data, flags, raw);

    memset(raw + at, value, bytes);
    const struct le32 digest = pdu_data_digest(raw + at, bytes);
    at += bytes;
    if (pdu_has_data_digest(&ft->format, bytes)) {
        memcpy(raw + at, &digest, sizeof digest);
        at += sizeof digest;
    }
    ft_send(ft, raw, at);
    free(raw);
}

/* ---- Scripts ---- */

void ft_handshake(struct ft *ft)
{
    assert_true(ft_recv(ft));
    assert_int_equal(ft->pdu.type, PDU_ICREQ);
    assert_int_equal(ft->pdu.ic.param, 0); /* MAXR2T: one at a time. */
    ft->format.header_digest = ft->pdu.ic.header_digest;
    ft->format.data_digest = ft->pdu.ic.data_digest;
    const struct pdu_ic ic = ft_icresp(ft);
    ft_send_icresp(ft, &ic);
    ft->rules.header_digest = ft->format.header_digest;
    ft->rules.data_digest = ft->format.data_digest;

    assert_true(ft_recv(ft));
    assert_int_equal(ft->pdu.type, PDU_CAPSULE_CMD);
    assert_int_equal(ft->pdu.cmd.opcode, NVME_OPCODE_FABRICS);
    ft_send_resp(ft, ft->pdu.cmd.cid, 0, 7);
    ft_wait(ft, &ft->ready);
}

struct ft *ft_connected(bool digests)
{
    struct ft *ft = ft_create(digests);

    ft_handshake(ft);
    return ft;
}

void ft_expect_term(struct ft *ft, enum pdu_fes fes)
{
    do
        assert_true(ft_recv(ft));
    while (ft->pdu.type == PDU_H2C_DATA); /* Asked for before, and on its way. */
    assert_int_equal(ft->pdu.type, PDU_H2C_TERM);
    assert_int_equal(ft->pdu.term.fes, fes);
    assert_false(ft_recv(ft));
    ft_wait(ft, &ft->ended);
}

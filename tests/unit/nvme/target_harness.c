/* SPDX-License-Identifier: Apache-2.0 */
#include "target_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_NS_MAX (600 * NS_PER_S)

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

static bool th_expects(void *ctx, const char *nqn)
{
    const struct th *th = ctx;

    return th->expected != NULL && strcmp(th->expected, nqn) == 0;
}

struct status th_make_target(struct th *th, const struct th_options *o)
{
    const struct nvme_target_config config = {
        .reactors = th->reactors,
        .pools = th->pools,
        .reactor_count = th->reactor_count,
        .node_index = 3,
        .connection_quota_bytes = o->quota_bytes,
        .r2t_pool_bytes = o->r2t_pool_bytes != 0 ? o->r2t_pool_bytes : TH_POOL_BYTES,
        .connections_max = o->connections_max,
        .commands_max = o->commands_max,
        .expects = th_expects,
        .ctx = th,
    };
    const struct nvme_subsys_config subsys = {
        .nqn = TH_NQN,
        .serial = "TEST0001",
        .ns = &th->mem.ns,
        .hosts = &o->allow,
        .host_count = o->allow != NULL ? 1 : 0,
    };
    const struct io_addr any = sim_machine_addr(sim_process_machine(th->server), 4420);

    must(mem_ns_init(&th->mem, TH_NS_BYTES, o->lba_bytes != 0 ? o->lba_bytes : 4096));
    TRY(nvme_target_create(&config, &th->target));
    TRY(nvme_subsys_add(th->target, &subsys, &th->subsys));
    return nvme_target_listen(th->target, &any, NULL, &th->addr);
}

static void th_trace(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

void th_move(struct th *th)
{
    struct sim_process *p =
        sim_spawn(sim_machine_create(th->world, "client"),
                  &(struct sim_program) { .name = "host", .reactors = 1, .main = nothing });

    th_run(th, NS_PER_MS);
    th->host = sim_process_reactor(p, 0);
}

void th_start(struct th *th, const struct th_options *options)
{
    const struct th_options none = { 0 };
    const struct th_options *o = options != NULL ? options : &none;

    memset(th, 0, sizeof *th);
    th->expected = o->expected;
    th->reactor_count = o->reactors != 0 ? o->reactors : 2;
    th->world = sim_world_create(&(struct sim_config) {
        .seed = o->seed + 1,
        .trace = getenv("TH_TRACE") != NULL ? th_trace : o->trace,
        .trace_ctx = o->trace_ctx,
        .log_level = LOG_LEVEL_DEBUG,
    });
    *sim_world_net(th->world) = (struct sim_net) {
        .latency_min_ns = 1000,
        .latency_max_ns = 50000,
        .segment_max = o->segment_max,
        .patience_ns = WAIT_NS_MAX,
        .connect_wait_ns = NS_PER_S,
    };
    th->server = sim_spawn(
        sim_machine_create(th->world, "server"),
        &(struct sim_program) { .name = "target", .reactors = th->reactor_count, .main = nothing });
    th_move(th);
    for (unsigned i = 0; i < th->reactor_count; i++) {
        th->reactors[i] = sim_process_reactor(th->server, i);
        must(buf_pool_create(th->reactors[i], o->pool_bytes != 0 ? o->pool_bytes : TH_POOL_BYTES,
                             &th->pools[i]));
    }
    if (!o->no_target)
        must(th_make_target(th, o));
}

void th_set_flag(void *th)
{
    ((struct th *)th)->flag = true;
}

void th_stop_target(struct th *th)
{
    th->stopped = true;
    th->flag = false;
    nvme_target_stop(th->target, th_set_flag, th);
    if (!th->mem.hold)
        th_wait(th, &th->flag);
}

void th_stop(struct th *th)
{
    if (!th->stopped)
        th_stop_target(th);
    nvme_target_destroy(th->target);
    for (unsigned i = 0; i < th->reactor_count; i++) {
        assert_int_equal(buf_pool_used(th->pools[i]), 0);
        buf_pool_destroy(th->pools[i]);
    }
    mem_ns_fini(&th->mem);
    sim_world_destroy(th->world);
}

void th_wait(struct th *th, const bool *condition)
{
    const uint64_t end = sim_world_now_ns(th->world) + WAIT_NS_MAX;

    while (!*condition) {
        if (!sim_world_step(th->world) || sim_world_now_ns(th->world) > end)
            fail_msg("waited in vain");
    }
}

void th_run(struct th *th, uint64_t ns)
{
    sim_world_run(th->world, ns);
}

/* ---- Hosts ---- */

static void host_on_op(struct io_op *op)
{
    CONTAINER_OF(op, struct th_host, op)->op_done = true;
}

struct th_host *th_host_knock(struct th *th)
{
    struct th_host *h = calloc(1, sizeof *h);

    assert_non_null(h);
    h->th = th;
    h->reactor = th->host;
    h->next_cid = 100;
    io_op_connect(&h->op, h->reactor, &th->addr, host_on_op);
    return h;
}

struct th_host *th_host_open(struct th *th)
{
    struct th_host *h = th_host_knock(th);

    th_wait(th, &h->op_done);
    assert_true(h->op.result >= 0);
    h->fd = (int)h->op.result;
    return h;
}

void th_host_close(struct th_host *h)
{
    io_close(h->reactor, h->fd);
    th_run(h->th, NS_PER_S);
    free(h);
}

void th_send(struct th_host *h, const void *data, size_t bytes)
{
    struct iovec iov = { (void *)(uintptr_t)data, bytes };

    h->op_done = false;
    io_op_send(&h->op, h->reactor, h->fd, &iov, 1, host_on_op);
    th_wait(h->th, &h->op_done);
}

/* Receives until there are so many bytes; false if the connection ends before. */
static bool host_fill(struct th_host *h, size_t bytes)
{
    assert_true(bytes <= sizeof h->in);
    while (h->in_bytes < bytes && !h->closed) {
        h->op_done = false;
        io_op_recv(&h->op, h->reactor, h->fd,
                   (struct span) { h->in + h->in_bytes, bytes - h->in_bytes }, host_on_op);
        th_wait(h->th, &h->op_done);
        if (h->op.result <= 0)
            h->closed = true;
        else
            h->in_bytes += (size_t)h->op.result;
    }
    return h->in_bytes >= bytes;
}

bool th_recv(struct th_host *h)
{
    struct pdu_error error = { 0 };

    h->in_bytes = 0;
    if (!host_fill(h, PDU_COMMON_BYTES)) {
        assert_int_equal(h->in_bytes, 0);
        return false;
    }
    must(pdu_decode_common(&h->rules, h->in, &h->pdu, &error));
    const size_t head = (size_t)h->pdu.head_bytes + h->pdu.pad_bytes;
    assert_true(host_fill(h, head));
    must(pdu_decode_header(&h->rules, h->in, &h->pdu, &error));
    const size_t digest = h->pdu.has_data_digest ? PDU_DIGEST_BYTES : 0;
    assert_true(host_fill(h, head + h->pdu.data_bytes + digest));
    memcpy(h->data, h->in + head, h->pdu.data_bytes);
    if (digest > 0) {
        const struct le32 right = pdu_data_digest(h->data, h->pdu.data_bytes);
        assert_memory_equal(h->in + head + h->pdu.data_bytes, &right, sizeof right);
    }
    return true;
}

bool th_closed(struct th_host *h)
{
    return !th_recv(h);
}

void th_expect_term(struct th_host *h, enum pdu_fes fes, uint32_t fei)
{
    assert_true(th_recv(h));
    assert_int_equal(h->pdu.type, PDU_C2H_TERM);
    assert_int_equal(h->pdu.term.fes, fes);
    assert_int_equal(h->pdu.term.fei, fei);
    assert_true(th_closed(h));
}

void th_handshake(struct th_host *h, bool header_digest, bool data_digest)
{
    const struct pdu_ic icreq = { .header_digest = header_digest, .data_digest = data_digest };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];

    th_send(h, raw, pdu_encode_icreq(&icreq, raw));
    assert_true(th_recv(h));
    assert_int_equal(h->pdu.type, PDU_ICRESP);
    assert_int_equal(h->pdu.ic.header_digest, header_digest);
    assert_int_equal(h->pdu.ic.data_digest, data_digest);
    h->rules.header_digest = header_digest;
    h->rules.data_digest = data_digest;
    h->format.header_digest = header_digest;
    h->format.data_digest = data_digest;
}

void th_send_command(struct th_host *h, const struct nvme_sqe *sqe, const void *data,
                     uint32_t bytes)
{
    uint8_t raw[PDU_ENCODED_BYTES_MAX + NVME_IN_CAPSULE_BYTES_MAX + PDU_DIGEST_BYTES];
    size_t at = pdu_encode_capsule_cmd(&h->format, sqe, bytes, raw);

    if (bytes > 0) {
        memcpy(raw + at, data, bytes);
        at += bytes;
    }
    if (pdu_has_data_digest(&h->format, bytes)) {
        const struct le32 digest = pdu_data_digest(data, bytes);
        memcpy(raw + at, &digest, sizeof digest);
        at += sizeof digest;
    }
    th_send(h, raw, at);
}

struct nvme_cqe th_recv_cqe(struct th_host *h)
{
    assert_true(th_recv(h));
    if (h->pdu.type == PDU_C2H_DATA && !h->pdu.success)
        /* The data stay; a CapsuleResp has none. */
        assert_true(th_recv(h));
    if (h->pdu.type == PDU_C2H_DATA)
        return (struct nvme_cqe) { .cid = h->pdu.data.cccid };
    assert_int_equal(h->pdu.type, PDU_CAPSULE_RESP);
    return h->pdu.resp;
}

struct nvme_cqe th_command(struct th_host *h, const struct nvme_sqe *sqe, const void *data,
                           uint32_t bytes)
{
    struct nvme_sqe with_cid = *sqe;

    with_cid.cid = h->next_cid++;
    th_send_command(h, &with_cid, data, bytes);
    const struct nvme_cqe cqe = th_recv_cqe(h);
    assert_int_equal(cqe.cid, with_cid.cid);
    return cqe;
}

/* ---- Shorthands ---- */

static void put_nqn(char field[NVME_NQN_FIELD_BYTES], const char *nqn, uint8_t junk)
{
    const size_t bytes = strlen(nqn) + 1;

    memset(field, junk, NVME_NQN_FIELD_BYTES);
    memcpy(field, nqn, bytes);
}

void th_send_connect(struct th_host *h, const struct th_connect *c)
{
    const uint16_t sqsize = c->sqsize != 0 ? c->sqsize : 31;
    const struct nvme_sqe sqe = {
        .opcode = NVME_OPCODE_FABRICS,
        .flags = NVME_SQE_PSDT_SGL,
        .cid = 1,
        .nsid = NVME_FCTYPE_CONNECT,
        .sgl_id = NVME_SGL_IN_CAPSULE,
        .sgl_bytes = sizeof(struct nvme_connect_data_spec),
        .cdw10 = (uint32_t)c->qid << 16,
        .cdw11 = sqsize | (c->sq_flow_off ? (uint32_t)NVME_CONNECT_CATTR_NO_SQ_FLOW << 16 : 0),
        .cdw12 = c->kato_ms,
    };
    struct nvme_connect_data_spec data = {
        .host_id = { c->host_id, 2, 3 },
        .cntlid = le16_make(c->qid == 0 ? NVME_CNTLID_ANY : c->cntlid),
    };

    memset(data.reserved18, c->junk, sizeof data.reserved18);
    memset(data.reserved768, c->junk, sizeof data.reserved768);
    put_nqn(data.subsys_nqn, c->nqn != NULL ? c->nqn : TH_NQN, c->junk);
    put_nqn(data.host_nqn, c->host_nqn != NULL ? c->host_nqn : TH_HOST_NQN, c->junk);
    th_send_command(h, &sqe, &data, sizeof data);
}

struct nvme_cqe th_connect(struct th_host *h, const struct th_connect *c)
{
    th_send_connect(h, c);
    return th_recv_cqe(h);
}

struct th_host *th_host_greeted(struct th *th)
{
    struct th_host *h = th_host_open(th);

    th_handshake(h, false, false);
    return h;
}

void th_hold_write(struct th_host *io)
{
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096);
    const uint8_t block[4096] = { 1 };

    io->th->mem.hold = true;
    io->th->mem.begun = true;
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    th_send_command(io, &sqe, block, sizeof block);
    th_run(io->th, NS_PER_S);
    assert_false(list_empty(&io->th->mem.held));
}

struct nvme_cqe th_property_set_cc(struct th_host *h, uint32_t cc)
{
    const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .nsid = NVME_FCTYPE_PROPERTY_SET,
                                  .sgl_id = NVME_SGL_TRANSPORT,
                                  .cdw11 = NVME_PROP_CC,
                                  .cdw12 = cc };
    return th_command(h, &sqe, NULL, 0);
}

uint64_t th_property_get(struct th_host *h, uint32_t offset, bool eight)
{
    const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .nsid = NVME_FCTYPE_PROPERTY_GET,
                                  .sgl_id = NVME_SGL_TRANSPORT,
                                  .cdw10 = eight ? NVME_PROPERTY_SIZE_8 : NVME_PROPERTY_SIZE_4,
                                  .cdw11 = offset };
    const struct nvme_cqe cqe = th_command(h, &sqe, NULL, 0);

    assert_int_equal(cqe.status, 0);
    return cqe.result;
}

struct th_host *th_admin(struct th *th, uint16_t *out_cntlid)
{
    struct th_host *h = th_host_greeted(th);
    const struct nvme_cqe cqe = th_connect(h, &(struct th_connect) { 0 });
    assert_int_equal(cqe.status, 0);
    *out_cntlid = (uint16_t)cqe.result;
    assert_int_equal(th_property_set_cc(h, TH_CC_ENABLED).status, 0);
    return h;
}

struct th_host *th_io_queue(struct th *th, uint16_t cntlid, uint16_t qid)
{
    struct th_host *h = th_host_greeted(th);
    const struct nvme_cqe cqe =
        th_connect(h, &(struct th_connect) { .qid = qid, .cntlid = cntlid });
    assert_int_equal(cqe.status, 0);
    return h;
}

struct nvme_sqe th_sqe_rw(uint8_t opcode, uint64_t lba, uint32_t blocks, uint32_t block_bytes)
{
    return (struct nvme_sqe) {
        .opcode = opcode,
        .flags = NVME_SQE_PSDT_SGL,
        .nsid = 1,
        .sgl_id = NVME_SGL_TRANSPORT,
        .sgl_bytes = blocks * block_bytes,
        .cdw10 = (uint32_t)lba,
        .cdw11 = (uint32_t)(lba >> 32),
        .cdw12 = blocks - 1,
    };
}

struct nvme_sqe th_sqe_in(uint8_t opcode, uint32_t bytes)
{
    return (struct nvme_sqe) {
        .opcode = opcode,
        .flags = NVME_SQE_PSDT_SGL,
        .sgl_id = NVME_SGL_TRANSPORT,
        .sgl_bytes = bytes,
    };
}

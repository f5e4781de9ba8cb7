/* SPDX-License-Identifier: Apache-2.0 */
/* A subsystem of a vendor's commands, as a host sees it that is not ours. */
#include "mem_vendor.h"
#include "target_io.h"

#include <string.h>

#include "nvme/log_spec.h"

static struct mem_vendor *mem;

/* An admin and an I/O queue of the vendor's subsystem. */
static struct pair open_vendor(bool data_digest)
{
    struct th_connect c = { .nqn = MEM_VENDOR_NQN };
    struct pair p;

    th_start(&th, NULL);
    mem = mem_vendor_add(th.target);
    p.admin = th_host_greeted(&th);
    const struct nvme_cqe cqe = th_connect(p.admin, &c);
    assert_int_equal(cqe.status, 0);
    p.cntlid = c.cntlid = (uint16_t)cqe.result;
    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
    p.io = th_host_open(&th);
    th_handshake(p.io, false, data_digest);
    c.qid = 1;
    assert_int_equal(th_connect(p.io, &c).status, 0);
    fill(1, NVME_DATA_BYTES_MAX);
    return p;
}

static void close_vendor(struct pair p)
{
    close_pair(p);
    mem_vendor_free(mem);
}

static struct nvme_sqe sqe_put(uint8_t sgl_id, uint32_t bytes)
{
    struct nvme_sqe sqe = th_sqe_in(MEM_VENDOR_PUT, bytes);

    sqe.sgl_id = sgl_id;
    return sqe;
}

static void expect(struct pair p, struct nvme_sqe sqe, uint32_t capsule_bytes, uint16_t status)
{
    assert_int_equal(th_command(p.io, &sqe, block, capsule_bytes).status, NVME_SC_DNR | status);
    assert_int_equal(mem->requests, 0);
}

static void malformed_commands_are_refused(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    struct nvme_sqe sqe;

    /* More data than a command may have; a capsule that is not what the SGL says; data of the
     * other direction in a capsule; an SGL that is none; fused; PRPs. */
    expect(p, sqe_put(NVME_SGL_TRANSPORT, NVME_DATA_BYTES_MAX + 4), 0, NVME_SC_INVALID_FIELD);
    expect(p, sqe_put(NVME_SGL_IN_CAPSULE, 4100), 4096, NVME_SC_SGL_DATA_LENGTH);
    expect(p, sqe_put(NVME_SGL_TRANSPORT, 4100), 4100, NVME_SC_INVALID_FIELD);
    expect(p, sqe_put(0, 4100), 0, NVME_SC_SGL_TYPE);
    sqe = sqe_put(NVME_SGL_IN_CAPSULE, 4100);
    sqe.opcode = MEM_VENDOR_GET;
    expect(p, sqe, 4100, NVME_SC_SGL_TYPE);
    sqe.opcode = MEM_VENDOR_DO;
    expect(p, sqe, 4100, NVME_SC_INVALID_FIELD);
    sqe = sqe_put(NVME_SGL_IN_CAPSULE, 4100);
    sqe.flags = NVME_SQE_PSDT_SGL | 1;
    expect(p, sqe, 4100, NVME_SC_INVALID_FIELD);
    sqe.flags = 0;
    expect(p, sqe, 4100, NVME_SC_INVALID_FIELD);

    sqe = sqe_put(NVME_SGL_IN_CAPSULE, 4100); /* And the queue works on. */
    assert_int_equal(th_command(p.io, &sqe, block, 4100).status, 0);
    assert_memory_equal(mem->memory, block, 4100);
    close_vendor(p);
}

static void wrong_opcodes_are_refused(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);

    expect(p, th_sqe_rw(NVME_IO_READ, 0, 1, 4096), 0, NVME_SC_INVALID_OPCODE);
    expect(p, th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096), 0, NVME_SC_INVALID_OPCODE);
    expect(p, th_sqe_in(NVME_IO_FLUSH, 0), 0, NVME_SC_INVALID_OPCODE);
    expect(p, th_sqe_in(0x83, 0), 0, NVME_SC_INVALID_OPCODE); /* Data both ways. */
    expect(p, th_sqe_in(0xfe, 4096), 0, NVME_SC_INVALID_OPCODE);
    /* On the admin queue they are nothing, either. */
    const struct nvme_sqe admin = th_sqe_in(MEM_VENDOR_DO, 0);
    assert_int_equal(th_command(p.admin, &admin, NULL, 0).status,
                     NVME_SC_DNR | NVME_SC_INVALID_OPCODE);
    close_vendor(p);
}

static void data_by_r2t_must_be_what_was_asked_for(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    struct nvme_sqe sqe = sqe_put(NVME_SGL_TRANSPORT, 40960);

    sqe.cid = 7;
    th_send_command(p.io, &sqe, NULL, 0);
    assert_true(th_recv(p.io));
    assert_int_equal(p.io->pdu.type, PDU_R2T);
    assert_int_equal(p.io->pdu.data.bytes, 40960);
    struct pdu_data data = p.io->pdu.data;
    data.bytes += 4;
    send_h2c(p.io, &data, PDU_FLAG_LAST, block);
    th_expect_term(p.io, PDU_FES_DATA_RANGE, 0);
    assert_int_equal(mem->requests, 0);
    th_run(&th, NS_PER_S);
    assert_int_equal(mem->closed, 1); /* And with the queue went the association. */
    close_vendor(p);
}

static void a_bad_data_digest_is_the_commands_fault(void **state)
{
    (void)state;
    const struct pair p = open_vendor(true);
    const struct nvme_sqe sqe = sqe_put(NVME_SGL_IN_CAPSULE, 4100);
    uint8_t raw[PDU_ENCODED_BYTES_MAX + 4100 + PDU_DIGEST_BYTES];
    const size_t head = pdu_encode_capsule_cmd(&p.io->format, &sqe, 4100, raw);

    memcpy(raw + head, block, 4100);
    memset(raw + head + 4100, 0, PDU_DIGEST_BYTES);
    th_send(p.io, raw, head + 4100 + PDU_DIGEST_BYTES);
    assert_int_equal(th_recv_cqe(p.io).status, NVME_SC_TRANSIENT_TRANSPORT);
    assert_int_equal(mem->requests, 0);
    assert_int_equal(th_command(p.io, &sqe, block, 4100).status, 0);
    close_vendor(p);
}

/* Nothing is lost on the way to another reactor, because nothing may come: who does not wait for
 * the answer to Connect is closed. */
static void who_does_not_wait_for_the_answer_is_closed(void **state)
{
    (void)state;
    unsigned closed = 0;

    for (uint16_t qid = 1; qid <= 2; qid++) {
        const struct pair p = open_vendor(false);
        const struct nvme_sqe sqe = th_sqe_in(MEM_VENDOR_DO, 0);
        struct th_host *h = th_host_greeted(&th);
        uint8_t raw[PDU_ENCODED_BYTES_MAX];

        th_send_connect(
            h, &(struct th_connect) { .nqn = MEM_VENDOR_NQN, .qid = 2 + qid, .cntlid = p.cntlid });
        th_send(h, raw, pdu_encode_capsule_cmd(&h->format, &sqe, 0, raw) / 2);
        closed += th_closed(h) ? 1 : 0;
        th_host_close(h);
        close_vendor(p);
    }
    assert_true(closed >= 1); /* One of the two had to move. */
}

/* ---- What it says of itself ---- */

static uint16_t identify(struct pair p, uint32_t cns, uint32_t nsid)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, NVME_IDENTIFY_BYTES);

    sqe.cdw10 = cns;
    sqe.nsid = nsid;
    return th_command(p.admin, &sqe, NULL, 0).status & NVME_SC_VALUE_MASK;
}

static void identify_is_honest(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    static const uint8_t zeros[NVME_IDENTIFY_BYTES];
    struct nvme_id_ctrl_spec id;
    struct nvme_id_vendor_spec vendor;

    assert_int_equal(identify(p, NVME_CNS_CTRL, 0), 0);
    memcpy(&id, p.admin->data, sizeof id);
    memcpy(&vendor, id.vendor, sizeof vendor);
    assert_int_equal(id.cntrltype, NVME_CTRL_TYPE_IO);
    assert_int_equal(le32_get(id.nn), 0);
    assert_int_equal(le16_get(id.oncs), 0);
    assert_int_equal(id.vwc, 0);
    assert_int_equal(le32_get(id.oaes), 0);
    assert_int_equal(le16_get(vendor.reactors), 2);
    assert_int_equal(identify(p, NVME_CNS_NS_LIST, 0), 0);
    assert_memory_equal(p.admin->data, zeros, sizeof zeros);
    assert_int_equal(identify(p, NVME_CNS_NS, 1), NVME_SC_INVALID_NS);
    assert_int_equal(identify(p, NVME_CNS_NS_DESCRIPTORS, 1), NVME_SC_INVALID_NS);
    assert_int_equal(identify(p, NVME_CNS_CSI_CTRL, 0), NVME_SC_INVALID_FIELD);
    close_vendor(p);
}

static void the_effects_log_has_the_vendors_opcodes(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, 4096);
    struct nvme_log_effects_spec log;

    sqe.cdw10 = NVME_LOG_EFFECTS | 1023u << 16;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    memcpy(&log, p.admin->data, sizeof log);
    for (unsigned i = 0; i < 256; i++) {
        const bool is_ours = i == MEM_VENDOR_PUT || i == MEM_VENDOR_GET || i == MEM_VENDOR_DO;
        assert_int_equal(le32_get(log.io[i]), is_ours ? NVME_EFFECT_SUPPORTED : 0);
    }
    close_vendor(p);
}

static void there_is_no_cache_to_ask_about(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_FEATURES, 0);

    sqe.cdw10 = NVME_FEAT_VOLATILE_CACHE;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    sqe.cdw10 = NVME_FEAT_QUEUES;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    close_vendor(p);
}

/* The log has as many records as before: of the service itself and of the volume. */
static void discovery_does_not_tell_hosts(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    struct th_host *h = th_host_greeted(&th);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, 1024);
    struct nvme_discovery_header_spec header;

    assert_int_equal(th_connect(h, &(struct th_connect) { .nqn = NQN_DISCOVERY }).status, 0);
    assert_int_equal(th_property_set_cc(h, TH_CC_ENABLED).status, 0);
    sqe.cdw10 = NVME_LOG_DISCOVERY | 255u << 16;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    memcpy(&header, h->data, sizeof header);
    assert_int_equal(le64_get(header.numrec), 2);
    const uint64_t generation = le64_get(header.genctr);

    nvme_subsys_remove(mem->subsys, th_set_flag, &th);
    th_wait(&th, &th.flag);
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    memcpy(&header, h->data, sizeof header);
    assert_int_equal(le64_get(header.genctr), generation); /* Not even that it came and went. */
    th_host_close(h);
    close_vendor(p);
}

/* Its queues are gone then: there is nothing that could go on. */
static void a_reset_ends_the_association(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .nsid = NVME_FCTYPE_PROPERTY_SET,
                                  .sgl_id = NVME_SGL_TRANSPORT,
                                  .cdw11 = NVME_PROP_CC };

    th_send_command(p.admin, &sqe, NULL, 0);
    assert_true(th_closed(p.admin));
    assert_true(th_closed(p.io));
    th_run(&th, NS_PER_S);
    assert_int_equal(mem->closed, 1);
    close_vendor(p);
}

static void a_shutdown_completes(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);

    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED | 1u << 14).status, 0);
    th_run(&th, NS_PER_S);
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_SHST_COMPLETE,
                     NVME_CSTS_SHST_COMPLETE);
    close_vendor(p);
}

/* What waits for nothing but its owner cannot be taken back. */
static void an_abort_comes_too_late(void **state)
{
    (void)state;
    const struct pair p = open_vendor(false);
    struct nvme_sqe sqe = th_sqe_in(MEM_VENDOR_DO, 0);
    struct nvme_sqe abort = th_sqe_in(NVME_ADMIN_ABORT, 0);

    mem->hold = true;
    sqe.cid = 9;
    th_send_command(p.io, &sqe, NULL, 0);
    th_run(&th, NS_PER_S);
    abort.cdw10 = 1 | 9u << 16;
    const struct nvme_cqe cqe = th_command(p.admin, &abort, NULL, 0);
    assert_int_equal(cqe.status, 0);
    assert_int_equal(cqe.result & 1, 1);
    mem_vendor_release(mem);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    close_vendor(p);
}

static void a_subsystem_has_one_owner(void **state)
{
    (void)state;
    struct nvme_subsys *subsys;
    const struct pair p = open_vendor(false);
    struct nvme_subsys_config config = { .nqn = NQN_VOLUME_PREFIX "db2", .serial = "S" };

    assert_int_equal(nvme_subsys_add(th.target, &config, &subsys).code, STATUS_INVALID);
    config.vendor = &mem->vendor;
    config.ns = &th.mem.ns;
    assert_int_equal(nvme_subsys_add(th.target, &config, &subsys).code, STATUS_INVALID);
    close_vendor(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_commands_are_refused),
        cmocka_unit_test(wrong_opcodes_are_refused),
        cmocka_unit_test(data_by_r2t_must_be_what_was_asked_for),
        cmocka_unit_test(a_bad_data_digest_is_the_commands_fault),
        cmocka_unit_test(who_does_not_wait_for_the_answer_is_closed),
        cmocka_unit_test(identify_is_honest),
        cmocka_unit_test(the_effects_log_has_the_vendors_opcodes),
        cmocka_unit_test(there_is_no_cache_to_ask_about),
        cmocka_unit_test(discovery_does_not_tell_hosts),
        cmocka_unit_test(a_reset_ends_the_association),
        cmocka_unit_test(a_shutdown_completes),
        cmocka_unit_test(an_abort_comes_too_late),
        cmocka_unit_test(a_subsystem_has_one_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How connections and controllers come: ICReq, Connect, and the PDUs that end them at once (W1).
 */
#include "target_harness.h"

#include <stdlib.h>
#include <string.h>

static struct th th;

/* "The controller ... returns the Controller ID": in this node's range, and in Identify too. */
static void test_connect_gives_a_controller(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    assert_in_range(cntlid, 1 + 3 * NVME_CNTLIDS_PER_NODE, 4 * NVME_CNTLIDS_PER_NODE);

    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4096);
    sqe.cdw10 = NVME_CNS_CTRL;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    struct nvme_id_ctrl_spec id;
    memcpy(&id, h->data, sizeof id);
    assert_int_equal(le16_get(id.cntlid), cntlid);
    th_host_close(h);
    th_stop(&th);
}

/* "Connect Invalid Parameters", with the offset of the subsystem's name in the data. */
static void test_unknown_subsystem(void **state)
{
    (void)state;

    th_start(&th, NULL);
    struct th_host *h = th_host_greeted(&th);
    struct th_connect c = { .nqn = NQN_VOLUME_PREFIX "db2" };
    const struct nvme_cqe cqe = th_connect(h, &c);
    assert_int_equal(cqe.status, NVME_SC_DNR | NVME_SC_CONNECT_INVALID_PARAM);
    assert_int_equal(cqe.result, NVME_CONNECT_IATTR_DATA | 256);

    /* The connection goes on: a right Connect succeeds. */
    assert_int_equal(th_connect(h, &(struct th_connect) { 0 }).status, 0);
    th_host_close(h);
    th_stop(&th);
}

/* A volume that is not served yet, or not just now: its hosts try again and keep their device. */
static void test_expected_subsystem(void **state)
{
    (void)state;
    struct th_connect c = { .nqn = NQN_VOLUME_PREFIX "db2" };

    th_start(&th, &(struct th_options) { .expected = c.nqn });
    struct th_host *h = th_host_greeted(&th);
    assert_int_equal(th_connect(h, &c).status, NVME_SC_CONNECT_BUSY);
    c.qid = 1;
    assert_int_equal(th_connect(h, &c).status, NVME_SC_CONNECT_BUSY);
    th_host_close(h);
    th_stop(&th);
}

/* "Connect Invalid Host: the host is not allowed to establish an association". */
static void test_host_not_allowed(void **state)
{
    (void)state;

    th_start(&th, &(struct th_options) { .allow = TH_HOST_NQN });
    struct th_host *h = th_host_greeted(&th);
    struct th_connect c = { .host_nqn = "nqn.2026-01.io.trilith:host:h2" };
    assert_int_equal(th_connect(h, &c).status, NVME_SC_DNR | NVME_SC_CONNECT_INVALID_HOST);
    assert_int_equal(th_connect(h, &(struct th_connect) { 0 }).status, 0);

    /* Taken off the list, it is dropped. */
    const char *others[] = { "nqn.2026-01.io.trilith:host:h2" };
    assert_true(status_ok(nvme_subsys_set_hosts(th.subsys, others, 1)));
    assert_true(th_closed(h));
    th_host_close(h);
    th_stop(&th);
}

/* What is wrong in a Connect is named by its offset. */
static void test_connect_bad_parameters(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *admin = th_admin(&th, &cntlid);
    struct th_host *h = th_host_greeted(&th);

    struct th_connect c = { .qid = 1, .cntlid = cntlid, .sqsize = NVME_QUEUE_ENTRIES_MAX };
    assert_int_equal(th_connect(h, &c).result, offsetof(struct nvme_connect_spec, sqsize));
    c = (struct th_connect) { .qid = NVME_IO_QUEUES_MAX + 1, .cntlid = cntlid };
    assert_int_equal(th_connect(h, &c).result, offsetof(struct nvme_connect_spec, qid));
    c = (struct th_connect) { .qid = 1, .cntlid = (uint16_t)(cntlid + 1) };
    struct nvme_cqe cqe = th_connect(h, &c);
    assert_int_equal(cqe.status, NVME_SC_CONNECT_INVALID_PARAM); /* It may have been, and ended. */
    assert_int_equal(cqe.result, NVME_CONNECT_IATTR_DATA | 16);
    c = (struct th_connect) { .qid = 1, .cntlid = cntlid, .host_id = 7 };
    assert_int_equal(th_connect(h, &c).result, NVME_CONNECT_IATTR_DATA | 0);
    c = (struct th_connect) { .qid = 1, .cntlid = cntlid, .nqn = "nonsense" };
    assert_int_equal(th_connect(h, &c).result, NVME_CONNECT_IATTR_DATA | 256);

    c = (struct th_connect) { .qid = 1, .cntlid = cntlid };
    assert_int_equal(th_connect(h, &c).status, 0);
    /* Queue 1 is taken. */
    struct th_host *second = th_host_greeted(&th);
    assert_int_equal(th_connect(second, &c).status, NVME_SC_CONNECT_BUSY);
    th_host_close(second);
    th_host_close(h);
    th_host_close(admin);
    th_stop(&th);
}

static void find_escape(void *ctx, const char *line)
{
    unsigned *const refused = ctx;

    *refused += strstr(line, "refused: status") != NULL ? 1 : 0;
    assert_null(strchr(line, '\x1b'));
}

/* W1: bytes that are no NQN do not get into the log. */
static void test_what_is_no_nqn_is_not_logged(void **state)
{
    (void)state;
    const char *const bad = "nqn.2026-01.io.trilith:\x1b[2J";
    const struct th_connect cases[] = { { .nqn = bad }, { .host_nqn = bad } };
    unsigned refused = 0;

    th_start(&th, &(struct th_options) { .trace = find_escape, .trace_ctx = &refused });
    struct th_host *h = th_host_greeted(&th);
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(th_connect(h, &cases[i]).status,
                         NVME_SC_DNR | NVME_SC_CONNECT_INVALID_PARAM);
    assert_int_equal(refused, ARRAY_COUNT(cases));
    th_host_close(h);
    th_stop(&th);
}

/* Connect has a kilobyte of data; nobody is asked for more, whose memory would be anybody's. */
static void test_connect_with_much_data(void **state)
{
    (void)state;
    static const uint32_t bytes[] = { 0, 512, 1023, 1025, 8192, NVME_DATA_BYTES_MAX };

    for (unsigned i = 0; i < ARRAY_COUNT(bytes); i++) {
        th_start(&th, NULL);
        struct th_host *const h = th_host_greeted(&th);
        const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                                      .flags = NVME_SQE_PSDT_SGL,
                                      .cid = 1,
                                      .nsid = NVME_FCTYPE_CONNECT,
                                      .sgl_id = NVME_SGL_TRANSPORT,
                                      .sgl_bytes = bytes[i],
                                      .cdw11 = 31 };
        assert_int_equal(th_command(h, &sqe, NULL, 0).status,
                         NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
        th_host_close(h);
        th_stop(&th);
    }
}

/* "... until a Connect command has completed, other commands: Command Sequence Error". */
static void test_commands_before_connect(void **state)
{
    (void)state;

    th_start(&th, NULL);
    struct th_host *h = th_host_greeted(&th);
    const struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4096);
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    th_host_close(h);
    th_stop(&th);
}

/* An I/O queue needs an enabled controller; commands other than fabrics do, too. */
static void test_disabled_controller(void **state)
{
    (void)state;

    th_start(&th, NULL);
    struct th_host *admin = th_host_greeted(&th);
    const struct nvme_cqe cqe = th_connect(admin, &(struct th_connect) { 0 });
    const struct nvme_sqe keep_alive = th_sqe_in(NVME_ADMIN_KEEP_ALIVE, 0);
    assert_int_equal(th_command(admin, &keep_alive, NULL, 0).status,
                     NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);

    struct th_host *h = th_host_greeted(&th);
    const struct th_connect c = { .qid = 1, .cntlid = (uint16_t)cqe.result };
    assert_int_equal(th_connect(h, &c).status, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    th_host_close(h);
    th_host_close(admin);
    th_stop(&th);
}

/* ---- W1 ---- */

/* "PDU Sequence Error": a capsule before ICReq, a second ICReq. */
static void test_sequence_errors(void **state)
{
    (void)state;
    const struct pdu_ic icreq = { 0 };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];

    th_start(&th, NULL);
    struct th_host *h = th_host_open(&th);
    const struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4096);
    th_send_command(h, &sqe, NULL, 0);
    th_expect_term(h, PDU_FES_SEQUENCE, 0);
    th_host_close(h);

    h = th_host_greeted(&th);
    th_send(h, raw, pdu_encode_icreq(&icreq, raw));
    th_expect_term(h, PDU_FES_SEQUENCE, 0);
    assert_int_equal(h->pdu.data_bytes, 128); /* The culprit, whole. */
    th_host_close(h);
    th_stop(&th);
}

/* The fields of every bad PDU below are named, only its connection ends, and others go on. */
static void test_malformed_pdus(void **state)
{
    (void)state;
    static const struct {
        uint8_t offset;
        uint8_t value;
        enum pdu_fes fes;
        uint32_t fei;
    } cases[] = {
        { 0, 0x55, PDU_FES_HEADER_FIELD, 0 }, /* An unknown type. */
        { 0, PDU_R2T, PDU_FES_HEADER_FIELD, 0 },
        { 1, PDU_FLAG_HDGST, PDU_FES_HEADER_FIELD, 1 }, /* Not negotiated. */
        { 2, 71, PDU_FES_HEADER_FIELD, 2 },
        { 4, 71, PDU_FES_HEADER_FIELD, 4 },   /* Shorter than the header. */
        { 7, 0x40, PDU_FES_HEADER_FIELD, 3 }, /* A gigabyte of data that begin at 0. */
    };
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *other = th_admin(&th, &cntlid);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct th_host *h = th_host_open(&th);
        const struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4096);
        uint8_t raw[PDU_ENCODED_BYTES_MAX];

        th_handshake(h, false, false);
        const size_t bytes = pdu_encode_capsule_cmd(&h->format, &sqe, 0, raw);
        raw[cases[i].offset] = cases[i].value;
        th_send(h, raw, bytes);
        th_expect_term(h, cases[i].fes, cases[i].fei);
        th_host_close(h);
    }
    const struct nvme_sqe keep_alive = th_sqe_in(NVME_ADMIN_KEEP_ALIVE, 0);
    assert_int_equal(th_command(other, &keep_alive, NULL, 0).status, 0);
    th_host_close(other);
    th_stop(&th);
}

/* "Header Digest Error ... FEI: the digest that was received". */
static void test_bad_header_digest(void **state)
{
    (void)state;
    const struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4096);
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct le32 digest;

    th_start(&th, NULL);
    struct th_host *h = th_host_open(&th);
    th_handshake(h, true, false);
    const size_t bytes = pdu_encode_capsule_cmd(&h->format, &sqe, 0, raw);
    memcpy(&digest, raw + 72, sizeof digest);
    raw[50] ^= 0x10;
    th_send(h, raw, bytes);
    th_expect_term(h, PDU_FES_HEADER_DIGEST, le32_get(digest));
    th_host_close(h);
    th_stop(&th);
}

/* A host that says H2CTermReq, or nothing at all and closes, is let go. */
static void test_host_goes(void **state)
{
    (void)state;
    const struct pdu_term term = { PDU_FES_SEQUENCE, 0 };
    uint8_t raw[PDU_TERM_BYTES_MAX];
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    th_send(h, raw, pdu_encode_term(false, &term, (struct const_span) { 0 }, raw));
    assert_true(th_closed(h));
    th_host_close(h);
    for (unsigned i = 0; i < 3; i++)
        th_host_close(th_host_open(&th));
    th_stop(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_gives_a_controller),
        cmocka_unit_test(test_unknown_subsystem),
        cmocka_unit_test(test_expected_subsystem),
        cmocka_unit_test(test_host_not_allowed),
        cmocka_unit_test(test_connect_bad_parameters),
        cmocka_unit_test(test_what_is_no_nqn_is_not_logged),
        cmocka_unit_test(test_connect_with_much_data),
        cmocka_unit_test(test_commands_before_connect),
        cmocka_unit_test(test_disabled_controller),
        cmocka_unit_test(test_sequence_errors),
        cmocka_unit_test(test_malformed_pdus),
        cmocka_unit_test(test_bad_header_digest),
        cmocka_unit_test(test_host_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admin commands: Identify as Linux 6.1 to 6.18 asks for it, features, log pages, asynchronous
 * events, properties, and the discovery service.
 */
#include "target_harness.h"

#include <stdlib.h>
#include <string.h>

#include "nvme/log_spec.h"

static struct th th;

static uint16_t identify(struct th_host *h, uint8_t cns, uint32_t nsid)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4096);

    sqe.cdw10 = cns;
    sqe.nsid = nsid;
    return th_command(h, &sqe, NULL, 0).status;
}

static uint16_t get_log(struct th_host *h, uint8_t page, uint64_t offset, uint32_t bytes)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, bytes);
    const uint32_t dwords = bytes / 4 - 1;

    sqe.cdw10 = page | dwords << 16;
    sqe.cdw11 = dwords >> 16;
    sqe.cdw12 = (uint32_t)offset;
    sqe.cdw13 = (uint32_t)(offset >> 32);
    return th_command(h, &sqe, NULL, 0).status;
}

static struct nvme_cqe feature(struct th_host *h, uint8_t opcode, uint32_t cdw10, uint32_t cdw11)
{
    struct nvme_sqe sqe = th_sqe_in(opcode, 0);

    sqe.cdw10 = cdw10;
    sqe.cdw11 = cdw11;
    return th_command(h, &sqe, NULL, 0);
}

/* What Linux refuses: KAS 0, IOCCSZ below 4, ICDOFF, no SGLs, another SUBNQN than it asked for. */
static void test_identify_controller(void **state)
{
    (void)state;
    struct nvme_id_ctrl_spec id;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    assert_int_equal(identify(h, NVME_CNS_CTRL, 0), 0);
    memcpy(&id, h->data, sizeof id);
    assert_int_equal(le16_get(id.cntlid), cntlid);
    assert_int_not_equal(le16_get(id.kas), 0);
    assert_int_equal(le32_get(id.ioccsz) * 16, 64 + NVME_IN_CAPSULE_BYTES_MAX);
    assert_int_equal(le16_get(id.icdoff), 0);
    assert_int_equal(le32_get(id.sgls) & 3, 1);
    assert_int_equal(4096u << id.mdts, NVME_DATA_BYTES_MAX);
    assert_int_equal(id.vwc & 7, 7);
    /* A shutdown may take as long as CAP.TO (500 ms) lets CC.EN take. */
    assert_int_equal(le32_get(id.rtd3e), 30000000);
    assert_int_equal(th_property_get(h, NVME_PROP_CAP, true) >> NVME_CAP_TO_SHIFT & 0xff, 60);
    assert_int_equal(le32_get(id.rtd3r), 100000);
    assert_int_equal(le16_get(id.oncs) & 0xc, 0xc);
    assert_int_equal(le32_get(id.nn), 1);
    assert_int_equal(id.cntrltype, 1);
    assert_int_equal(le32_get(id.ver), th_property_get(h, NVME_PROP_VS, false));
    assert_string_equal(id.subnqn, TH_NQN);
    assert_memory_equal(id.sn, "TEST0001            ", sizeof id.sn);
    th_host_close(h);
    th_stop(&th);
}

/* Size, formats, identifiers, thin provisioning: the same in every structure that names them. */
static void test_identify_namespace(void **state)
{
    (void)state;
    struct nvme_id_ns_spec id;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    th.mem.info.used_bytes = 8192;
    assert_int_equal(identify(h, NVME_CNS_NS, 1), 0);
    memcpy(&id, h->data, sizeof id);
    assert_int_equal(le64_get(id.nsze), TH_NS_BYTES / 4096);
    assert_int_equal(le64_get(id.nuse), 2);
    assert_int_equal(id.lbaf[id.flbas & 0xf].lbads, 12);
    assert_int_equal(id.dlfeat & 7, 1);
    assert_int_equal(le16_get(id.noiob), 64); /* 256 KiB. */
    assert_memory_equal(id.nguid, th.mem.info.nguid, 16);

    assert_int_equal(identify(h, NVME_CNS_NS_DESCRIPTORS, 1), 0);
    /* NGUID: type 2, 16 bytes; UUID: type 3, 16 bytes; CSI: type 4, 1 byte; the end. */
    assert_int_equal(h->data[0], NVME_NIDT_NGUID);
    assert_memory_equal(h->data + 4, th.mem.info.nguid, 16);
    assert_int_equal(h->data[20], NVME_NIDT_UUID);
    assert_memory_equal(h->data + 24, th.mem.info.uuid.b, 16);
    assert_int_equal(h->data[40], NVME_NIDT_CSI);
    assert_int_equal(h->data[45], 0);

    assert_int_equal(identify(h, NVME_CNS_NS_COMMON, 1), 0);
    assert_int_equal(h->data[14], NVME_NS_NSTAT_READY);
    assert_int_equal(identify(h, NVME_CNS_CSI_NS, 1), 0);
    assert_int_equal(identify(h, NVME_CNS_CSI_CTRL, 0), 0);
    th_host_close(h);
    th_stop(&th);
}

/* "Active Namespace ID list: ... greater than the value in NSID". */
static void test_namespace_lists(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    const struct le32 one = le32_make(1);
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    assert_int_equal(identify(h, NVME_CNS_NS_LIST, 0), 0);
    assert_memory_equal(h->data, &one, 4);
    assert_memory_equal(h->data + 4, zeros, 4092);
    assert_int_equal(identify(h, NVME_CNS_NS_LIST, 1), 0);
    assert_memory_equal(h->data, zeros, 4096);
    assert_int_equal(identify(h, NVME_CNS_NS_LIST, 0xffffffff), NVME_SC_DNR | NVME_SC_INVALID_NS);
    assert_int_equal(identify(h, NVME_CNS_CSI_NS_LIST, 0), 0);
    assert_memory_equal(h->data, &one, 4);
    assert_int_equal(identify(h, NVME_CNS_NS, 2), NVME_SC_DNR | NVME_SC_INVALID_NS);
    assert_int_equal(identify(h, 0x55, 0), NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    th_host_close(h);
    th_stop(&th);
}

/* A host that offers less room than the structure needs is told so. */
static void test_short_buffers(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, 4092);
    sqe.cdw10 = NVME_CNS_CTRL;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
    sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, 16);
    sqe.cdw10 = NVME_LOG_SMART | 127u << 16;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
    sqe.cdw11 = 0xffff; /* Gigabytes. */
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    th_host_close(h);
    th_stop(&th);
}

/* Number of Queues grants what was asked for up to the limit, and not once there are queues. */
static void test_number_of_queues(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    struct nvme_cqe cqe = feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_QUEUES, 999u << 16 | 999);
    assert_int_equal(cqe.status, 0);
    assert_int_equal(cqe.result, (NVME_IO_QUEUES_MAX - 1) * 0x10001u);
    cqe = feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_QUEUES, 1u << 16 | 1);
    assert_int_equal(cqe.result, 0x10001);
    assert_int_equal(feature(h, NVME_ADMIN_GET_FEATURES, NVME_FEAT_QUEUES, 0).result, 0x10001);
    cqe = feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_QUEUES, 0xffff);
    assert_int_equal(cqe.status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);

    struct th_host *io = th_io_queue(&th, cntlid, 2);
    cqe = feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_QUEUES, 0);
    assert_int_equal(cqe.status, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    struct th_host *third = th_host_open(&th);
    th_handshake(third, false, false);
    struct th_connect c = { .qid = 3, .cntlid = cntlid };
    assert_int_equal(th_connect(third, &c).status & NVME_SC_VALUE_MASK,
                     NVME_SC_CONNECT_INVALID_PARAM);
    th_host_close(third);
    th_host_close(io);
    th_host_close(h);
    th_stop(&th);
}

/* Features answer what they are; what cannot be changed or saved says so. */
static void test_features(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    assert_int_equal(feature(h, NVME_ADMIN_GET_FEATURES, NVME_FEAT_VOLATILE_CACHE, 0).result, 1);
    assert_int_equal(feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_VOLATILE_CACHE, 0).status,
                     NVME_SC_DNR | NVME_SC_FEATURE_NOT_CHANGEABLE);
    assert_int_equal(
        feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_ASYNC_EVENT | 1u << 31, 0).status,
        NVME_SC_DNR | NVME_SC_FEATURE_NOT_SAVEABLE);
    assert_int_equal(feature(h, NVME_ADMIN_SET_FEATURES, 0xc0, 0).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    /* "... rounded up to the granularity": 1 s. */
    assert_int_equal(feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_KEEP_ALIVE, 5001).status, 0);
    assert_int_equal(feature(h, NVME_ADMIN_GET_FEATURES, NVME_FEAT_KEEP_ALIVE, 0).result, 6000);
    assert_int_equal(feature(h, NVME_ADMIN_GET_FEATURES, NVME_FEAT_KEEP_ALIVE | 3u << 8, 0).result,
                     NVME_FEAT_CAP_CHANGEABLE);

    uint8_t behavior[NVME_HOST_BEHAVIOR_BYTES] = { 1 };
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_SET_FEATURES, sizeof behavior);
    sqe.cdw10 = NVME_FEAT_HOST_BEHAVIOR;
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    assert_int_equal(th_command(h, &sqe, behavior, sizeof behavior).status, 0);
    sqe = th_sqe_in(NVME_ADMIN_GET_FEATURES, sizeof behavior);
    sqe.cdw10 = NVME_FEAT_HOST_BEHAVIOR;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    assert_memory_equal(h->data, behavior, sizeof behavior);
    th_host_close(h);
    th_stop(&th);
}

/* Log pages can be read in parts; SMART counts what the queues did, also those that have gone. */
static void test_log_pages(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    struct th_host *io = th_io_queue(&th, cntlid, 1);
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 16, 4096);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(th_command(io, &read, NULL, 0).status, 0);
    for (unsigned turn = 0; turn < 2; turn++) {
        struct nvme_log_smart_spec smart;
        assert_int_equal(get_log(h, NVME_LOG_SMART, 0, sizeof smart), 0);
        memcpy(&smart, h->data, sizeof smart);
        assert_int_equal(le64_get(smart.host_reads.low), 3);
        assert_int_equal(le64_get(smart.data_units_read.low), 1); /* 192 KiB, rounded up. */
        if (turn == 0)
            th_host_close(io);
    }
    struct nvme_log_effects_spec effects;
    assert_int_equal(get_log(h, NVME_LOG_EFFECTS, 0, sizeof effects), 0);
    memcpy(&effects, h->data, sizeof effects);
    assert_int_equal(le32_get(effects.io[NVME_IO_WRITE]), 3);
    assert_int_equal(get_log(h, NVME_LOG_EFFECTS, 1024, 64), 0);
    assert_memory_equal(h->data, effects.io, 64);

    assert_int_equal(get_log(h, NVME_LOG_FIRMWARE, 0, 512), 0);
    assert_int_equal(get_log(h, NVME_LOG_ERROR, 0, 64), 0);
    assert_int_equal(get_log(h, NVME_LOG_SUPPORTED, 0, 1024), 0);
    assert_int_equal(get_log(h, NVME_LOG_FEATURES, 0, 1024), 0);
    assert_int_equal(get_log(h, 0x55, 0, 64), NVME_SC_DNR | NVME_SC_INVALID_LOG_PAGE);
    assert_int_equal(get_log(h, NVME_LOG_SMART, 1024, 64), NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    th_host_close(h);
    th_stop(&th);
}

/* ---- Asynchronous events ---- */

static void send_event_request(struct th_host *h, uint16_t cid)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_ASYNC_EVENT, 0);

    sqe.cid = cid;
    th_send_command(h, &sqe, NULL, 0);
}

/* A grown namespace is reported once until its log page was read, and read with its new size. */
static void test_namespace_change(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    assert_int_equal(
        feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_ASYNC_EVENT, NVME_AEN_NS_CHANGED).status, 0);
    send_event_request(h, 1);
    th_run(&th, NS_PER_S);
    th.mem.info.bytes = TH_NS_BYTES / 2;
    nvme_subsys_ns_changed(th.subsys);
    const struct nvme_cqe cqe = th_recv_cqe(h);
    assert_int_equal(cqe.cid, 1);
    assert_int_equal(cqe.result, 0x00040002); /* Notice, namespace attribute, page 4. */

    send_event_request(h, 2);
    nvme_subsys_ns_changed(th.subsys); /* Masked: the page has not been read. */
    const struct nvme_sqe keep_alive = th_sqe_in(NVME_ADMIN_KEEP_ALIVE, 0);
    assert_int_equal(th_command(h, &keep_alive, NULL, 0).status, 0);
    assert_int_equal(identify(h, NVME_CNS_NS, 1), 0);
    struct nvme_id_ns_spec id;
    memcpy(&id, h->data, sizeof id);
    assert_int_equal(le64_get(id.nsze), TH_NS_BYTES / 2 / 4096);

    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, 4096);
    sqe.cid = 77;
    sqe.cdw10 = NVME_LOG_CHANGED_NS | 1023u << 16;
    th_send_command(h, &sqe, NULL, 0);
    /* The second event follows the page, or comes before it: they are independent. */
    unsigned seen = 0;
    for (unsigned i = 0; i < 2; i++)
        seen |= th_recv_cqe(h).cid == 2 ? 2 : 1;
    assert_int_equal(seen, 3);
    th.mem.info.bytes = TH_NS_BYTES;
    th_host_close(h);
    th_stop(&th);
}

/* "Asynchronous Event Request Limit Exceeded"; Abort ends one that waits. */
static void test_event_request_limit_and_abort(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    for (uint16_t i = 0; i < NVME_ASYNC_EVENTS_MAX; i++)
        send_event_request(h, i);
    const struct nvme_sqe one_more = th_sqe_in(NVME_ADMIN_ASYNC_EVENT, 0);
    assert_int_equal(th_command(h, &one_more, NULL, 0).status, NVME_SC_DNR | NVME_SC_AER_LIMIT);

    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_ABORT, 0);
    sqe.cid = 50;
    sqe.cdw10 = 2u << 16;
    th_send_command(h, &sqe, NULL, 0);
    const struct nvme_cqe aborted = th_recv_cqe(h);
    assert_int_equal(aborted.cid, 2);
    assert_int_equal(aborted.status, NVME_SC_ABORT_REQUESTED);
    const struct nvme_cqe abort = th_recv_cqe(h);
    assert_int_equal(abort.cid, 50);
    assert_int_equal(abort.result, 0);

    sqe.cdw10 = 999u << 16;
    assert_int_equal(th_command(h, &sqe, NULL, 0).result & 1, 1); /* Not aborted. */
    th_host_close(h);
    th_stop(&th);
}

/* ---- Properties ---- */

/* CAP names the queue depth and the NVM command set; what is not there is an invalid field. */
static void test_properties(void **state)
{
    (void)state;
    uint16_t cntlid;

    th_start(&th, NULL);
    struct th_host *h = th_admin(&th, &cntlid);
    const uint64_t cap = th_property_get(h, NVME_PROP_CAP, true);
    assert_int_equal(cap & NVME_CAP_MQES_MASK, NVME_QUEUE_ENTRIES_MAX - 1);
    assert_true((cap & NVME_CAP_CSS_NVM) != 0);
    assert_true((cap & NVME_CAP_CQR) != 0);
    assert_int_equal(th_property_get(h, NVME_PROP_CC, false), TH_CC_ENABLED);
    assert_int_equal(th_property_get(h, NVME_PROP_CSTS, false), NVME_CSTS_RDY);

    struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
                            .flags = NVME_SQE_PSDT_SGL,
                            .nsid = NVME_FCTYPE_PROPERTY_GET,
                            .sgl_id = NVME_SGL_TRANSPORT,
                            .cdw11 = 0x1000 };
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    sqe.cdw11 = NVME_PROP_CAP; /* Its size is 8. */
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    sqe.nsid = NVME_FCTYPE_DISCONNECT;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_OPCODE);

    /* 64 KiB pages are not offered. */
    assert_int_equal(th_property_set_cc(h, 0).status, 0);
    assert_int_equal(th_property_set_cc(h, TH_CC_ENABLED | 4u << NVME_CC_MPS_SHIFT).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    th_host_close(h);
    th_stop(&th);
}

/* ---- Discovery ---- */

static struct th_host *discovery(const char *host_nqn)
{
    struct th_host *h = th_host_open(&th);

    th_handshake(h, false, false);
    const struct th_connect c = { .nqn = NQN_DISCOVERY, .host_nqn = host_nqn };
    assert_int_equal(th_connect(h, &c).status, 0);
    assert_int_equal(th_property_set_cc(h, NVME_CC_EN).status, 0);
    return h;
}

static uint64_t record_count(struct th_host *h)
{
    struct nvme_discovery_header_spec header;

    assert_int_equal(get_log(h, NVME_LOG_DISCOVERY, 0, sizeof header), 0);
    memcpy(&header, h->data, sizeof header);
    assert_int_equal(le16_get(header.recfmt), 0);
    return le64_get(header.numrec);
}

/* The log names this service and the volumes that the host may see, with their address. */
static void test_discovery_log(void **state)
{
    (void)state;
    struct nvme_discovery_record_spec record;

    th_start(&th, &(struct th_options) { .allow = TH_HOST_NQN });
    struct th_host *h = discovery(TH_HOST_NQN);
    assert_int_equal(record_count(h), 2);
    assert_int_equal(get_log(h, NVME_LOG_DISCOVERY, 1024, 2048), 0);
    memcpy(&record, h->data, sizeof record);
    assert_int_equal(record.subtype, NVME_SUBTYPE_CURRENT);
    memcpy(&record, h->data + 1024, sizeof record);
    assert_int_equal(record.subtype, NVME_SUBTYPE_NVM);
    assert_int_equal(record.trtype, NVME_TRTYPE_TCP);
    assert_int_equal(record.adrfam, NVME_ADRFAM_IPV4);
    /* "Secure Channel: not specified"; SQ flow control may be disabled. */
    assert_int_equal(record.treq, 1u << 2);
    assert_string_equal(record.subnqn, TH_NQN);
    assert_string_equal(record.trsvcid, "4420");
    assert_string_equal(record.traddr, io_addr_format_ip(&th.addr).s);

    /* In pieces that end in the middle of a record, it is the same. */
    static uint8_t whole[3072];
    assert_int_equal(get_log(h, NVME_LOG_DISCOVERY, 0, 3072), 0);
    memcpy(whole, h->data, 3072);
    for (uint64_t at = 0; at < 3072; at += 1000) {
        const uint32_t bytes = (uint32_t)min_u64(1000, 3072 - at);
        assert_int_equal(get_log(h, NVME_LOG_DISCOVERY, at, bytes), 0);
        assert_memory_equal(h->data, whole + at, bytes);
    }
    th_host_close(h);

    h = discovery("nqn.2026-01.io.trilith:host:h2");
    assert_int_equal(record_count(h), 1);
    th_host_close(h);
    th_stop(&th);
}

/* A discovery controller has no I/O queues and no namespace, and says what it is. */
static void test_discovery_controller(void **state)
{
    (void)state;
    struct nvme_id_ctrl_spec id;

    th_start(&th, NULL);
    struct th_host *h = discovery(NULL);
    assert_int_equal(identify(h, NVME_CNS_CTRL, 0), 0);
    memcpy(&id, h->data, sizeof id);
    assert_int_equal(id.cntrltype, NVME_CTRL_TYPE_DISCOVERY);
    assert_string_equal(id.subnqn, NQN_DISCOVERY);
    assert_int_equal(identify(h, NVME_CNS_NS_LIST, 0), NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    assert_int_equal(get_log(h, NVME_LOG_SMART, 0, 512), NVME_SC_DNR | NVME_SC_INVALID_LOG_PAGE);

    /* A second one of the same host leaves the first alone. */
    struct th_host *second = discovery(NULL);
    assert_int_equal(record_count(h), 2);
    struct th_host *io = th_host_open(&th);
    th_handshake(io, false, false);
    const struct th_connect c = { .qid = 1, .cntlid = le16_get(id.cntlid), .nqn = NQN_DISCOVERY };
    assert_int_equal(th_connect(io, &c).status & NVME_SC_VALUE_MASK, NVME_SC_CONNECT_INVALID_PARAM);
    th_host_close(io);
    th_host_close(second);
    th_host_close(h);
    th_stop(&th);
}

/* A persistent discovery host hears of a new volume, and GENCTR has grown. */
static void test_discovery_change(void **state)
{
    (void)state;
    const struct nvme_subsys_config config = { .nqn = NQN_VOLUME_PREFIX "db2",
                                               .serial = "TEST0002",
                                               .ns = &th.mem.ns };
    struct nvme_discovery_header_spec header;
    struct nvme_subsys *subsys;

    th_start(&th, NULL);
    struct th_host *h = discovery(NULL);
    assert_int_equal(
        feature(h, NVME_ADMIN_SET_FEATURES, NVME_FEAT_ASYNC_EVENT, NVME_AEN_DISCOVERY_CHANGED)
            .status,
        0);
    record_count(h);
    memcpy(&header, h->data, sizeof header);
    const uint64_t before = le64_get(header.genctr);
    send_event_request(h, 1);
    th_run(&th, NS_PER_S);
    assert_true(status_ok(nvme_subsys_add(th.target, &config, &subsys)));
    assert_true(status_is(nvme_subsys_add(th.target, &config, &subsys), STATUS_EXISTS));
    assert_int_equal(th_recv_cqe(h).result, 0x0070f002); /* Notice, discovery, page 70h. */
    assert_int_equal(record_count(h), 3);
    memcpy(&header, h->data, sizeof header);
    assert_true(le64_get(header.genctr) > before);
    th_host_close(h);
    th_stop(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identify_controller),
        cmocka_unit_test(test_identify_namespace),
        cmocka_unit_test(test_namespace_lists),
        cmocka_unit_test(test_short_buffers),
        cmocka_unit_test(test_number_of_queues),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_log_pages),
        cmocka_unit_test(test_namespace_change),
        cmocka_unit_test(test_event_request_limit_and_abort),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_discovery_log),
        cmocka_unit_test(test_discovery_controller),
        cmocka_unit_test(test_discovery_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

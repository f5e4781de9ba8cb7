/* SPDX-License-Identifier: Apache-2.0 */
/* What a controller remembers: SMART, the error log, the timestamp, and what a reset forgets. */
#include <string.h>

#include "nvme/log_spec.h"
#include "target_io.h"

static uint16_t get_log(struct th_host *h, uint8_t page, uint32_t bytes)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, bytes);

    sqe.cdw10 = page | (bytes / 4 - 1) << 16;
    return th_command(h, &sqe, NULL, 0).status;
}

static struct nvme_log_smart_spec get_smart(struct th_host *h)
{
    struct nvme_log_smart_spec smart;

    assert_int_equal(get_log(h, NVME_LOG_SMART, sizeof smart), 0);
    memcpy(&smart, h->data, sizeof smart);
    return smart;
}

static struct nvme_log_error_spec get_error(struct th_host *h, unsigned index)
{
    struct nvme_log_error_spec log[NVME_ERROR_ENTRIES];

    assert_int_equal(get_log(h, NVME_LOG_ERROR, sizeof log), 0);
    memcpy(log, h->data, sizeof log);
    return log[index];
}

/* The table in docs/nvme.md: a device that a volume is not would say something else there. */
static void assert_smart_constants(const struct nvme_log_smart_spec *smart)
{
    assert_int_equal(smart->critical_warning, 0); /* Whatever has failed. */
    assert_int_equal(le16_get(smart->temperature_k), 298);
    assert_int_equal(smart->spare_percent, 100);
    assert_int_equal(smart->spare_threshold_percent, 10);
    assert_int_equal(smart->used_percent, 0);
    assert_int_equal(smart->endurance_warning, 0);
    assert_int_equal(le64_get(smart->power_cycles.low), 1);
    assert_int_equal(le64_get(smart->unsafe_shutdowns.low), 0);
    assert_int_equal(le32_get(smart->warning_minutes), 0);
    assert_int_equal(le32_get(smart->critical_minutes), 0);
    for (unsigned i = 0; i < ARRAY_COUNT(smart->sensor_k); i++)
        assert_int_equal(le16_get(smart->sensor_k[i]), 0);
}

/* SMART counts what hosts did, over queues and associations that have gone, and time. */
static void test_smart(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 0, 128, 4096);

    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    assert_int_equal(write_in_capsule(p.io, 0, 2).status, 0);
    sqe = th_sqe_rw(NVME_IO_VERIFY, 0, 1, 4096);
    sqe.sgl_bytes = 0;
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    th.mem.fail = STATUS(MEDIA_READ);
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_READ_ERROR);
    th.mem.fail = STATUS(OK);
    th_hold_write(p.io);
    th_run(&th, 150 * NS_PER_S);
    mem_ns_release(&th.mem);
    assert_int_equal(th_recv_cqe(p.io).status, 0);
    th_run(&th, (uint64_t)2 * 3600 * NS_PER_S);

    for (unsigned turn = 0; turn < 2; turn++) {
        const struct nvme_log_smart_spec smart = get_smart(p.admin);

        assert_int_equal(le64_get(smart.host_reads.low), 1); /* Verify is none. */
        assert_int_equal(le64_get(smart.host_writes.low), 2);
        assert_int_equal(le64_get(smart.data_units_read.low), 2); /* 516 KiB, in 512,000. */
        assert_int_equal(le64_get(smart.data_units_written.low), 1);
        assert_int_equal(le64_get(smart.media_errors.low), 1);
        assert_int_equal(le64_get(smart.busy_minutes.low), 2); /* 150 s. */
        assert_int_equal(le64_get(smart.power_on_hours.low), 2);
        assert_int_equal(le64_get(smart.error_entries.low), turn == 0 ? 1 : 0);
        assert_smart_constants(&smart);
        if (turn == 1)
            break;
        /* The next association sees the same volume, and has an error log of its own. */
        uint16_t cntlid;
        th_host_close(p.io);
        th_host_close(p.admin);
        p.admin = th_admin(&th, &cntlid);
        p.io = th_io_queue(&th, cntlid, 1);
    }
    close_pair(p);
}

/* The log is the controller's, whatever namespace there is: LPA bit 0 is clear. */
static void test_smart_is_of_no_namespace(void **state)
{
    (void)state;
    static const uint32_t nsids[] = { 1, 2, 0xfffffffe };
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_LOG_PAGE, 512);

    sqe.cdw10 = NVME_LOG_SMART | 127u << 16;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    sqe.nsid = NVME_NSID_ALL;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    for (unsigned i = 0; i < ARRAY_COUNT(nsids); i++) {
        sqe.nsid = nsids[i];
        assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status,
                         NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    }
    close_pair(p);
}

/* Commands that fail are in the error log when they are answered, the newest first. */
static void test_error_log(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 77, 2, 4096);

    assert_int_equal(le64_get(get_error(p.admin, 0).count), 0);
    th.mem.fail = STATUS(MEDIA_READ);
    const struct nvme_cqe cqe = th_command(p.io, &sqe, NULL, 0);
    struct nvme_log_error_spec e = get_error(p.admin, 0);
    assert_int_equal(le64_get(e.count), 1);
    assert_int_equal(le16_get(e.sqid), 1);
    assert_int_equal(le16_get(e.cid), cqe.cid);
    assert_int_equal(le16_get(e.status) >> 1, NVME_SC_DNR | NVME_SC_READ_ERROR);
    assert_int_equal(le64_get(e.lba), 77);
    assert_int_equal(le32_get(e.nsid), 1);
    assert_int_equal(e.trtype, 3);

    /* What was refused before it was executed; and on the admin queue. */
    sqe.opcode = 0x7d;
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    th_command(p.io, &sqe, block, 8192);
    assert_int_equal(le16_get(get_error(p.admin, 0).status) >> 1,
                     NVME_SC_DNR | NVME_SC_INVALID_OPCODE);
    assert_int_equal(get_log(p.admin, 0x55, 64), NVME_SC_DNR | NVME_SC_INVALID_LOG_PAGE);
    e = get_error(p.admin, 0);
    assert_int_equal(le64_get(e.count), 3);
    assert_int_equal(le16_get(e.sqid), 0);
    assert_int_equal(le64_get(get_error(p.admin, 2).lba), 77);

    /* Nobody's fault: a Compare that finds a difference. */
    th.mem.fail = STATUS(OK);
    fill(3, 4096);
    sqe = th_sqe_rw(NVME_IO_COMPARE, 0, 1, 4096);
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    th_command(p.io, &sqe, block, 4096);
    assert_int_equal(le64_get(get_error(p.admin, 0).count), 3);
    close_pair(p);
}

/* The log keeps as many errors as ELPE says; its count goes on. */
static void test_error_log_is_a_ring(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_id_ctrl_spec id;
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_IDENTIFY, sizeof id);

    sqe.cdw10 = NVME_CNS_CTRL;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    memcpy(&id, p.admin->data, sizeof id);
    assert_int_equal(id.elpe + 1, NVME_ERROR_ENTRIES);
    for (unsigned i = 0; i < 3 * NVME_ERROR_ENTRIES; i++) {
        const struct nvme_sqe bad = th_sqe_rw(NVME_IO_READ, TH_NS_BYTES / 4096 + i, 1, 4096);
        assert_int_equal(th_command(p.io, &bad, NULL, 0).status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    }
    for (unsigned i = 0; i < NVME_ERROR_ENTRIES; i++) {
        const struct nvme_log_error_spec e = get_error(p.admin, i);
        assert_int_equal(le64_get(e.count), 3 * NVME_ERROR_ENTRIES - i);
        assert_int_equal(le64_get(e.lba), TH_NS_BYTES / 4096 + le64_get(e.count) - 1);
    }
    assert_int_equal(le64_get(get_smart(p.admin).error_entries.low), 3 * NVME_ERROR_ENTRIES);
    close_pair(p);
}

/* ---- Features that a host sets ---- */

static uint64_t get_timestamp(struct th_host *h, uint8_t *out_attributes)
{
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_GET_FEATURES, 8);
    struct le64 wire = { 0 };

    sqe.cdw10 = NVME_FEAT_TIMESTAMP;
    assert_int_equal(th_command(h, &sqe, NULL, 0).status, 0);
    memcpy(&wire, h->data, 6);
    *out_attributes = h->data[6];
    return le64_get(wire);
}

static uint16_t set_timestamp(struct th_host *h, uint64_t ms, uint32_t bytes)
{
    const struct le64 wire = le64_make(ms);
    struct nvme_sqe sqe = { .opcode = NVME_ADMIN_SET_FEATURES,
                            .flags = NVME_SQE_PSDT_SGL,
                            .sgl_id = NVME_SGL_IN_CAPSULE,
                            .sgl_bytes = bytes,
                            .cdw10 = NVME_FEAT_TIMESTAMP };

    return th_command(h, &sqe, &wire, bytes).status;
}

/* "Timestamp": from 0 at a reset, or as the host has set it, and it goes on from there. */
static void test_timestamp(void **state)
{
    (void)state;
    const uint64_t now_ms = UINT64_C(1780000000123);
    struct pair p = open_pair(NULL);
    uint8_t attributes;

    th_run(&th, 5 * NS_PER_S);
    assert_in_range(get_timestamp(p.admin, &attributes), 5000, 6000);
    assert_int_equal(attributes, NVME_TIMESTAMP_ORIGIN_RESET);
    assert_int_equal(set_timestamp(p.admin, now_ms, 4), NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
    assert_int_equal(set_timestamp(p.admin, now_ms, 8), 0);
    th_run(&th, 90 * NS_PER_S);
    assert_in_range(get_timestamp(p.admin, &attributes), now_ms + 90000, now_ms + 91000);
    assert_int_equal(attributes, NVME_TIMESTAMP_ORIGIN_HOST);
    assert_int_equal(th_property_set_cc(p.admin, 0).status, 0);
    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
    assert_in_range(get_timestamp(p.admin, &attributes), 0, 1000);
    assert_int_equal(attributes, NVME_TIMESTAMP_ORIGIN_RESET);
    close_pair(p);
}

/* "Controller Level Reset": event requests end, and the host may wait anew for as many. */
static void test_reset_ends_event_requests(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_in(NVME_ADMIN_SET_FEATURES, 0);

    sqe.cdw10 = NVME_FEAT_ASYNC_EVENT;
    sqe.cdw11 = NVME_AEN_NS_CHANGED;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).status, 0);
    for (unsigned round = 0; round < 2; round++) {
        sqe = th_sqe_in(NVME_ADMIN_ASYNC_EVENT, 0);
        for (uint16_t i = 0; i < NVME_ASYNC_EVENTS_MAX; i++) {
            sqe.cid = (uint16_t)(1000 + i);
            th_send_command(p.admin, &sqe, NULL, 0);
        }
        th_run(&th, NS_PER_S);
        sqe = (struct nvme_sqe) { .opcode = NVME_OPCODE_FABRICS,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .cid = 2000,
                                  .nsid = NVME_FCTYPE_PROPERTY_SET,
                                  .cdw11 = NVME_PROP_CC };
        th_send_command(p.admin, &sqe, NULL, 0);
        unsigned ended = 0;
        for (unsigned i = 0; i <= NVME_ASYNC_EVENTS_MAX; i++) {
            const struct nvme_cqe cqe = th_recv_cqe(p.admin);
            ended += cqe.status == NVME_SC_ABORT_SQ_DELETION;
            assert_true(cqe.status == NVME_SC_ABORT_SQ_DELETION || cqe.cid == 2000);
        }
        assert_int_equal(ended, NVME_ASYNC_EVENTS_MAX);
        assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
    }
    sqe = th_sqe_in(NVME_ADMIN_GET_FEATURES, 0);
    sqe.cdw10 = NVME_FEAT_ASYNC_EVENT;
    assert_int_equal(th_command(p.admin, &sqe, NULL, 0).result, 0);
    close_pair(p);
}

/* "CC.SHN": normal and abrupt both end in SHST complete, a reset takes it back; 11b is reserved. */
static void test_shutdown_notifications(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED | 3u << 14).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    for (uint32_t shn = 1; shn <= 2; shn++) {
        assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED | shn << 14).status, 0);
        th_run(&th, NS_PER_S);
        assert_int_equal(th.mem.flushes, shn);
        assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false) & NVME_CSTS_SHST_MASK,
                         NVME_CSTS_SHST_COMPLETE);
        assert_int_equal(th_property_set_cc(p.admin, 0).status, 0);
        th_run(&th, NS_PER_S);
        assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false), 0);
        assert_int_equal(th_property_set_cc(p.admin, TH_CC_ENABLED).status, 0);
        assert_int_equal(th_property_get(p.admin, NVME_PROP_CSTS, false), NVME_CSTS_RDY);
    }
    /* CAP.NSSRS is 0: there is no NVM Subsystem Reset. */
    assert_int_equal(th_property_get(p.admin, NVME_PROP_CAP, true) >> 36 & 1, 0);
    close_pair(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smart),
        cmocka_unit_test(test_smart_is_of_no_namespace),
        cmocka_unit_test(test_error_log),
        cmocka_unit_test(test_error_log_is_a_ring),
        cmocka_unit_test(test_timestamp),
        cmocka_unit_test(test_reset_ends_event_requests),
        cmocka_unit_test(test_shutdown_notifications),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

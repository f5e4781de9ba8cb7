/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O commands: data in capsules and by R2T, digests, arrival byte by byte, errors that belong to
 * a command, and errors that end a connection.
 */
#include "target_io.h"

#include <stdlib.h>
#include <string.h>

/* ---- What works ---- */

/* What was written in a capsule is read back, and lies where its LBA says. */
static void test_write_in_capsule(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    fill(1, 8192);
    assert_int_equal(write_in_capsule(p.io, 5, 2).status, 0);
    assert_memory_equal(th.mem.memory + 5 * 4096, block, 8192);
    assert_reads_back(p.io, 5, 2);
    close_pair(p);
}

/* The largest transfer, by R2T, in one H2CData PDU and in many. */
static void test_write_by_r2t(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);

    fill(2, NVME_DATA_BYTES_MAX);
    struct pdu_data r2t = write_and_r2t(p.io, 0, 128);
    assert_int_equal(send_r2t_data(p.io, r2t, NVME_MAXH2CDATA).status, 0);
    assert_reads_back(p.io, 0, 128);
    fill(3, 65536);
    r2t = write_and_r2t(p.io, 100, 16);
    assert_int_equal(send_r2t_data(p.io, r2t, 4096 + 512).status, 0);
    assert_reads_back(p.io, 100, 16);
    close_pair(p);
}

/* Everything with header and data digests, and with segments of a byte each. */
static void test_digests_byte_by_byte(void **state)
{
    (void)state;
    struct pair p = open_pair_with(&(struct th_options) { .segment_max = 1 }, true, true, false);

    fill(4, 32768);
    assert_int_equal(write_in_capsule(p.io, 1, 1).status, 0);
    assert_reads_back(p.io, 1, 1);
    const struct pdu_data r2t = write_and_r2t(p.io, 2, 4);
    assert_int_equal(send_r2t_data(p.io, r2t, 8000).status, 0);
    assert_reads_back(p.io, 2, 4);
    close_pair(p);
}

/* Segments of every kind of size, and several commands in one of them. */
static void test_many_commands_at_once(void **state)
{
    (void)state;
    static uint8_t raw[64 * 8192];

    for (uint64_t seed = 0; seed < 6; seed++) {
        struct pair p = open_pair(&(struct th_options) { .seed = seed });
        size_t at = 0;

        for (unsigned i = 0; i < 24; i++) {
            struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, i, 1, 4096);
            sqe.sgl_id = NVME_SGL_IN_CAPSULE;
            sqe.cid = (uint16_t)i;
            at += pdu_encode_capsule_cmd(&p.io->format, &sqe, 4096, raw + at);
            memset(raw + at, (int)(i + 1), 4096);
            at += 4096;
        }
        th_send(p.io, raw, at);
        uint32_t seen = 0;
        for (unsigned i = 0; i < 24; i++) {
            const struct nvme_cqe cqe = th_recv_cqe(p.io);
            assert_int_equal(cqe.status, 0);
            seen |= UINT32_C(1) << cqe.cid;
        }
        assert_int_equal(seen, (1u << 24) - 1);
        for (unsigned i = 0; i < 24; i++)
            assert_int_equal(th.mem.memory[i * 4096 + 4095], i + 1);
        close_pair(p);
    }
}

/* "SUCCESS": only where SQ flow control is off; there it stands for the CapsuleResp. */
static void test_success_flag(void **state)
{
    (void)state;

    for (unsigned off = 0; off < 2; off++) {
        struct pair p = open_pair_with(NULL, false, false, off != 0);
        const struct nvme_sqe sqe = th_sqe_rw(NVME_IO_READ, 0, 1, 4096);

        th_send_command(p.io, &sqe, NULL, 0);
        assert_true(th_recv(p.io));
        assert_int_equal(p.io->pdu.type, PDU_C2H_DATA);
        assert_true(p.io->pdu.last);
        assert_int_equal(p.io->pdu.success, off);
        if (!p.io->pdu.success) {
            assert_true(th_recv(p.io));
            assert_int_equal(p.io->pdu.type, PDU_CAPSULE_RESP);
            assert_int_equal(p.io->pdu.resp.sq_head, 2); /* After Connect and the read. */
        }
        close_pair(p);
    }
}

/* Without SQ flow control, what has no data or has failed still has its CapsuleResp, SQHD FFFFh. */
static void test_responses_without_flow_control(void **state)
{
    (void)state;
    struct pair p = open_pair_with(NULL, false, false, true);
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 1, 4096);

    struct nvme_cqe cqe = write_in_capsule(p.io, 0, 1);
    assert_int_equal(cqe.status, 0);
    assert_int_equal(cqe.sq_head, 0xffff);
    th.mem.fail = STATUS(MEDIA_READ);
    th_send_command(p.io, &read, NULL, 0);
    assert_true(th_recv(p.io));
    assert_int_equal(p.io->pdu.type, PDU_CAPSULE_RESP);
    assert_int_equal(p.io->pdu.resp.status, NVME_SC_DNR | NVME_SC_READ_ERROR);
    assert_int_equal(p.io->pdu.resp.sq_head, 0xffff);
    th.mem.fail = STATUS(OK);
    for (unsigned i = 0; i < 100; i++) { /* More often than the queue has entries. */
        th_send_command(p.io, &read, NULL, 0);
        assert_true(th_recv(p.io));
        assert_true(p.io->pdu.success);
    }
    close_pair(p);
}

/* Flush reaches the namespace, also for NSID FFFFFFFFh; FUA is passed on; a FUA read flushes. */
static void test_flush_and_fua(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe flush = {
        .opcode = NVME_IO_FLUSH, .flags = NVME_SQE_PSDT_SGL, .nsid = 1, .sgl_id = NVME_SGL_TRANSPORT
    };

    assert_int_equal(th_command(p.io, &flush, NULL, 0).status, 0);
    flush.nsid = NVME_NSID_ALL;
    assert_int_equal(th_command(p.io, &flush, NULL, 0).status, 0);
    assert_int_equal(th.mem.flushes, 2);
    flush.nsid = 2;
    assert_int_equal(th_command(p.io, &flush, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_NS);

    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096);
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    sqe.cdw12 |= NVME_RW_CDW12_FUA;
    assert_int_equal(th_command(p.io, &sqe, block, 4096).status, 0);
    assert_int_equal(th.mem.fuas, 1);
    sqe = th_sqe_rw(NVME_IO_READ, 0, 1, 4096);
    sqe.cdw12 |= NVME_RW_CDW12_FUA;
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    assert_int_equal(th.mem.flushes, 3);
    assert_memory_equal(p.io->data, block, 4096);
    close_pair(p);
}

/* Write Zeroes and Deallocate of up to 256 ranges leave zeros; Linux sends the whole table. */
static void test_zeroes_and_deallocate(void **state)
{
    (void)state;
    struct nvme_dsm_range_spec ranges[NVME_DSM_RANGES_MAX] = { 0 };
    struct pair p = open_pair(NULL);

    memset(th.mem.memory, 0xaa, TH_NS_BYTES);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE_ZEROES, 10, 20, 4096);
    sqe.sgl_bytes = 0;
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    assert_int_equal(th.mem.memory[10 * 4096 - 1], 0xaa);
    assert_int_equal(th.mem.memory[10 * 4096], 0);
    assert_int_equal(th.mem.memory[30 * 4096 - 1], 0);
    assert_int_equal(th.mem.memory[30 * 4096], 0xaa);

    for (unsigned i = 0; i < 256; i++) {
        ranges[i].first_lba = le64_make(100 + 2 * i);
        ranges[i].blocks = le32_make(i % 2);
    }
    sqe = (struct nvme_sqe) { .opcode = NVME_IO_DSM,
                              .flags = NVME_SQE_PSDT_SGL,
                              .nsid = 1,
                              .sgl_id = NVME_SGL_IN_CAPSULE,
                              .sgl_bytes = sizeof ranges,
                              .cdw10 = 255,
                              .cdw11 = NVME_DSM_CDW11_AD };
    assert_int_equal(th_command(p.io, &sqe, ranges, sizeof ranges).status, 0);
    assert_int_equal(th.mem.memory[100 * 4096], 0xaa); /* Its range is empty. */
    assert_int_equal(th.mem.memory[102 * 4096], 0);
    assert_int_equal(th.mem.memory[610 * 4096], 0);

    sqe.cdw10 = 0; /* One range of a table that is sent whole. */
    ranges[0].blocks = le32_make(1);
    assert_int_equal(th_command(p.io, &sqe, ranges, sizeof ranges).status, 0);
    assert_int_equal(th.mem.memory[100 * 4096], 0);
    ranges[0].first_lba = le64_make(TH_NS_BYTES / 4096);
    assert_int_equal(th_command(p.io, &sqe, ranges, sizeof ranges).status,
                     NVME_SC_DNR | NVME_SC_LBA_RANGE);
    close_pair(p);
}

/* 512-byte LBAs work like those of 4096. */
static void test_512_byte_lbas(void **state)
{
    (void)state;
    struct pair p = open_pair(&(struct th_options) { .lba_bytes = 512 });
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 7, 3, 512);

    fill(8, 1536);
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    assert_int_equal(th_command(p.io, &sqe, block, 1536).status, 0);
    assert_memory_equal(th.mem.memory + 7 * 512, block, 1536);
    /* The largest one begins inside a block of 4 KiB, too. */
    fill(9, NVME_DATA_BYTES_MAX / 2);
    sqe = th_sqe_rw(NVME_IO_WRITE, 13, NVME_DATA_BYTES_MAX / 1024, 512);
    sqe.cid = p.io->next_cid++;
    th_send_command(p.io, &sqe, NULL, 0);
    assert_true(th_recv(p.io));
    assert_int_equal(send_r2t_data(p.io, p.io->pdu.data, 4096 + 512).status, 0);
    sqe = th_sqe_rw(NVME_IO_READ, 13, NVME_DATA_BYTES_MAX / 1024, 512);
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, 0);
    assert_memory_equal(p.io->data, block, NVME_DATA_BYTES_MAX / 2);
    sqe = th_sqe_rw(NVME_IO_READ, 13, NVME_DATA_BYTES_MAX / 1024 + 1, 512); /* Over MDTS. */
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    sqe = th_sqe_rw(NVME_IO_READ, TH_NS_BYTES / 512 - 1, 2, 512);
    assert_int_equal(th_command(p.io, &sqe, NULL, 0).status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    close_pair(p);
}

/* ---- What belongs to a command ---- */

/* Each wrong command gets its status, with and without data in the capsule; the next works. */
static void test_command_errors(void **state)
{
    (void)state;
    const uint64_t blocks = TH_NS_BYTES / 4096;
    struct pair p = open_pair(NULL);
    struct nvme_sqe good = th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096);
    good.sgl_id = NVME_SGL_IN_CAPSULE;

    struct nvme_sqe bad = good;
    bad.cdw10 = (uint32_t)blocks;
    assert_int_equal(th_command(p.io, &bad, block, 4096).status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    bad = good;
    bad.cdw11 = UINT32_MAX; /* LBA + count overflows. */
    bad.cdw10 = UINT32_MAX;
    assert_int_equal(th_command(p.io, &bad, block, 4096).status, NVME_SC_DNR | NVME_SC_LBA_RANGE);
    bad = good;
    bad.opcode = 0x7d; /* Data to the controller, and nothing we know. */
    assert_int_equal(th_command(p.io, &bad, block, 4096).status,
                     NVME_SC_DNR | NVME_SC_INVALID_OPCODE);
    bad = good;
    bad.nsid = 2;
    assert_int_equal(th_command(p.io, &bad, block, 4096).status, NVME_SC_DNR | NVME_SC_INVALID_NS);
    bad = good;
    bad.flags = 0; /* PRPs. */
    assert_int_equal(th_command(p.io, &bad, block, 4096).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    bad = good;
    bad.flags |= 1; /* Fused. */
    assert_int_equal(th_command(p.io, &bad, block, 4096).status,
                     NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    bad = good;
    bad.sgl_id = 0x40; /* Keyed. */
    assert_int_equal(th_command(p.io, &bad, block, 4096).status, NVME_SC_DNR | NVME_SC_SGL_TYPE);
    bad = good;
    bad.sgl_address = 64;
    assert_int_equal(th_command(p.io, &bad, block, 4096).status, NVME_SC_DNR | NVME_SC_SGL_OFFSET);
    bad = good;
    bad.sgl_bytes = 8192;
    assert_int_equal(th_command(p.io, &bad, block, 4096).status,
                     NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
    bad = good;
    bad.cdw12 = 1; /* Two blocks, data for one. */
    assert_int_equal(th_command(p.io, &bad, block, 4096).status,
                     NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH);
    bad = th_sqe_rw(NVME_IO_READ, 0, 129, 4096); /* Over MDTS. */
    assert_int_equal(th_command(p.io, &bad, NULL, 0).status, NVME_SC_DNR | NVME_SC_INVALID_FIELD);
    assert_int_equal(th.mem.requests, 0);
    assert_int_equal(th_command(p.io, &good, block, 4096).status, 0);
    close_pair(p);
}

/* What the namespace says is what the host hears; a failed read brings no data. */
static void test_namespace_errors(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    const struct nvme_sqe read = th_sqe_rw(NVME_IO_READ, 0, 1, 4096);

    th.mem.fail = STATUS(NO_SPACE);
    assert_int_equal(write_in_capsule(p.io, 0, 1).status, NVME_SC_DNR | NVME_SC_CAPACITY);
    th.mem.fail = STATUS(MEDIA_READ);
    assert_int_equal(th_command(p.io, &read, NULL, 0).status, NVME_SC_DNR | NVME_SC_READ_ERROR);
    assert_int_equal(p.io->pdu.type, PDU_CAPSULE_RESP);
    th.mem.fail = STATUS(UNAVAILABLE);
    assert_int_equal(th_command(p.io, &read, NULL, 0).status, NVME_SC_INTERNAL);
    close_pair(p);
}

/* "Data Digest Error": Transient Transport Error, the data are not used, the queue goes on. */
static void test_bad_data_digest(void **state)
{
    (void)state;
    static uint8_t raw[PDU_ENCODED_BYTES_MAX + 4096 + 4];
    struct pair p = open_pair_with(NULL, false, true, false);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096);

    fill(9, 16384);
    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    const size_t at = pdu_encode_capsule_cmd(&p.io->format, &sqe, 4096, raw);
    memcpy(raw + at, block, 4096);
    th_send(p.io, raw, at + 4096 + 4);
    assert_int_equal(th_recv_cqe(p.io).status, NVME_SC_TRANSIENT_TRANSPORT);
    assert_int_equal(th.mem.requests, 0);

    /* The same in the middle of an R2T's data: it fails when all have come. */
    const struct pdu_data r2t = write_and_r2t(p.io, 0, 4);
    struct pdu_data data = { .cccid = r2t.cccid, .ttag = r2t.ttag, .bytes = 8192 };
    const size_t head = pdu_encode_h2c_data(&p.io->format, &data, 0, raw);
    th_send(p.io, raw, head);
    th_send(p.io, block, 8192);
    th_send(p.io, "bad!", 4);
    data.offset = 8192;
    send_h2c(p.io, &data, PDU_FLAG_LAST, block + 8192);
    assert_int_equal(th_recv_cqe(p.io).status, NVME_SC_TRANSIENT_TRANSPORT);
    assert_int_equal(th.mem.requests, 0);
    assert_int_equal(write_in_capsule(p.io, 0, 1).status, 0);
    close_pair(p);
}

/* ---- What ends a connection ---- */

/* H2CData: "TTAG ... CCCID ... DATAO ... DATAL" must be those of an R2T. */
static void test_bad_h2c_data(void **state)
{
    (void)state;
    static const struct {
        struct pdu_data wrong; /* Added to the right one. */
        uint8_t flags;
        enum pdu_fes fes;
        uint32_t fei;
    } cases[] = {
        { { .ttag = 1 }, PDU_FLAG_LAST, PDU_FES_HEADER_FIELD, 10 },
        { { .ttag = 0x8000 }, PDU_FLAG_LAST, PDU_FES_HEADER_FIELD, 10 },
        { { .cccid = 1 }, PDU_FLAG_LAST, PDU_FES_HEADER_FIELD, 8 },
        { { .offset = 4096 }, PDU_FLAG_LAST, PDU_FES_DATA_RANGE, 0 },
        { { .bytes = 4 }, PDU_FLAG_LAST, PDU_FES_DATA_RANGE, 0 },
        { { 0 }, 0, PDU_FES_HEADER_FIELD, 1 }, /* The last, and does not say so. */
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct pair p = open_pair(&(struct th_options) { .seed = i });
        const struct pdu_data r2t = write_and_r2t(p.io, 0, 4);
        const struct pdu_data data = {
            .cccid = (uint16_t)(r2t.cccid + cases[i].wrong.cccid),
            .ttag = (uint16_t)(r2t.ttag + cases[i].wrong.ttag),
            .offset = cases[i].wrong.offset,
            .bytes = r2t.bytes + cases[i].wrong.bytes,
        };

        send_h2c(p.io, &data, cases[i].flags, block);
        th_expect_term(p.io, cases[i].fes, cases[i].fei);
        assert_int_equal(th.mem.requests, 0);
        close_pair(p);
    }
}

/* "Data Transfer Limit Exceeded": more than MAXH2CDATA in one PDU. */
static void test_over_maxh2cdata(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct pair p = open_pair(NULL);
    const struct pdu_data r2t = write_and_r2t(p.io, 0, 128);
    const struct pdu_data data = { .cccid = r2t.cccid, .ttag = r2t.ttag, .bytes = r2t.bytes };
    const struct le32 plen = le32_make(24 + NVME_MAXH2CDATA + 4);

    const size_t bytes = pdu_encode_h2c_data(&p.io->format, &data, PDU_FLAG_LAST, raw);
    memcpy(raw + 4, &plen, sizeof plen);
    th_send(p.io, raw, bytes);
    th_expect_term(p.io, PDU_FES_LIMIT, 0);
    close_pair(p);
}

/* More commands at once than the queue has entries end the connection; as many do not. */
static void test_queue_overflow(void **state)
{
    (void)state;
    struct pair p = open_pair(NULL);
    struct nvme_sqe sqe = th_sqe_rw(NVME_IO_WRITE, 0, 1, 4096);

    sqe.sgl_id = NVME_SGL_IN_CAPSULE;
    th.mem.hold = true;
    for (unsigned i = 0; i < 32; i++) {
        sqe.cid = (uint16_t)i;
        th_send_command(p.io, &sqe, block, 4096);
    }
    th_run(&th, NS_PER_S);
    mem_ns_release(&th.mem);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(th_recv_cqe(p.io).status, 0);

    th.mem.hold = true;
    for (unsigned i = 0; i < 33; i++)
        th_send_command(p.io, &sqe, block, 4096);
    th_expect_term(p.io, PDU_FES_SEQUENCE, 0);
    mem_ns_release(&th.mem);
    close_pair(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_in_capsule),
        cmocka_unit_test(test_write_by_r2t),
        cmocka_unit_test(test_digests_byte_by_byte),
        cmocka_unit_test(test_many_commands_at_once),
        cmocka_unit_test(test_responses_without_flow_control),
        cmocka_unit_test(test_success_flag),
        cmocka_unit_test(test_flush_and_fua),
        cmocka_unit_test(test_zeroes_and_deallocate),
        cmocka_unit_test(test_512_byte_lbas),
        cmocka_unit_test(test_command_errors),
        cmocka_unit_test(test_namespace_errors),
        cmocka_unit_test(test_bad_data_digest),
        cmocka_unit_test(test_bad_h2c_data),
        cmocka_unit_test(test_over_maxh2cdata),
        cmocka_unit_test(test_queue_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

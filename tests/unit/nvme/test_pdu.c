/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PDU codec against NVMe/TCP Transport Specification 1.0c, "NVMe/TCP PDUs".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>

#include <string.h>

#include "base/crc32c.h"
#include "nvme/limits.h"
#include "nvme/pdu.h"

static const struct pdu_rules controller = { .controller = true };
static const struct pdu_rules host = { 0 };
static const struct pdu_format plain = { 0 };

/* Decodes the whole header at raw; the caller looks at the outcome. */
static struct status decode(const struct pdu_rules *rules, const uint8_t *raw, struct pdu *out_pdu,
                            struct pdu_error *out_error)
{
    TRY(pdu_decode_common(rules, raw, out_pdu, out_error));
    return pdu_decode_header(rules, raw, out_pdu, out_error);
}

static void assert_refused(const struct pdu_rules *rules, const uint8_t *raw, enum pdu_fes fes,
                           uint32_t fei)
{
    struct pdu pdu;
    struct pdu_error error = { 0 };

    assert_false(status_ok(decode(rules, raw, &pdu, &error)));
    assert_int_equal(error.fes, fes);
    assert_int_equal(error.fei, fei);
}

static size_t encode_write(const struct pdu_format *format, uint32_t data_bytes, uint8_t *raw)
{
    const struct nvme_sqe sqe = { .opcode = NVME_IO_WRITE,
                                  .flags = NVME_SQE_PSDT_SGL,
                                  .cid = 0x1234,
                                  .nsid = 1,
                                  .sgl_id = NVME_SGL_IN_CAPSULE,
                                  .sgl_bytes = data_bytes,
                                  .cdw10 = 77,
                                  .cdw12 = NVME_RW_CDW12_FUA };
    return pdu_encode_capsule_cmd(format, &sqe, data_bytes, raw);
}

/* Everything that is put into an ICReq comes out of it, and it is 128 bytes long. */
static void test_icreq_round_trip(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_ic ic = { .pda = 3, .data_digest = true, .param = 7 };
    struct pdu pdu;
    struct pdu_error error;

    assert_int_equal(pdu_encode_icreq(&ic, raw), 128);
    assert_true(status_ok(decode(&controller, raw, &pdu, &error)));
    assert_int_equal(pdu.type, PDU_ICREQ);
    assert_int_equal(pdu.data_bytes, 0);
    assert_int_equal(pdu.ic.pda, 3);
    assert_false(pdu.ic.header_digest);
    assert_true(pdu.ic.data_digest);
    assert_int_equal(pdu.ic.param, 7);
}

/* "HPDA: ... valid values are 0 to 31"; "PFV: ... 0h". */
static void test_icreq_refuses_bad_fields(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_ic ic = { 0 };

    pdu_encode_icreq(&ic, raw);
    raw[8] = 1;
    assert_refused(&controller, raw, PDU_FES_PARAMETER, 8);
    pdu_encode_icreq(&ic, raw);
    raw[10] = 32;
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 10);
    pdu_encode_icreq(&ic, raw);
    raw[2] = 127;
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 2);
    pdu_encode_icreq(&ic, raw);
    raw[4] = 129;
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 4);
}

/* A type that is unknown, or that this end never receives, is an invalid field at offset 0. */
static void test_wrong_direction(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_ic ic = { 0 };

    pdu_encode_icresp(&ic, raw);
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 0);
    pdu_encode_icreq(&ic, raw);
    assert_refused(&host, raw, PDU_FES_HEADER_FIELD, 0);
    raw[0] = 8;
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 0);
    raw[0] = 0xff;
    assert_refused(&host, raw, PDU_FES_HEADER_FIELD, 0);
}

/* A command capsule comes out as it went in, with the length of its data. */
static void test_capsule_round_trip(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct pdu pdu;
    struct pdu_error error;

    assert_int_equal(encode_write(&plain, 4096, raw), 72);
    assert_true(status_ok(decode(&controller, raw, &pdu, &error)));
    assert_int_equal(pdu.type, PDU_CAPSULE_CMD);
    assert_int_equal(pdu.data_bytes, 4096);
    assert_int_equal(pdu.pad_bytes, 0);
    assert_int_equal(pdu.cmd.opcode, NVME_IO_WRITE);
    assert_int_equal(pdu.cmd.cid, 0x1234);
    assert_int_equal(pdu.cmd.sgl_id, NVME_SGL_IN_CAPSULE);
    assert_int_equal(pdu.cmd.sgl_bytes, 4096);
    assert_int_equal(pdu.cmd.cdw10, 77);
    assert_int_equal(pdu.cmd.cdw12, NVME_RW_CDW12_FUA);
}

/* With digests, the lengths leave them out, and data are aligned as the peer's PDA wants. */
static void test_capsule_digests_and_padding(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_format format = { .header_digest = true, .data_digest = true, .pda = 31 };
    const struct pdu_rules rules = { .controller = true,
                                     .header_digest = true,
                                     .data_digest = true };
    struct pdu pdu;
    struct pdu_error error;

    assert_int_equal(encode_write(&format, 512, raw), 128);
    assert_true(status_ok(decode(&rules, raw, &pdu, &error)));
    assert_int_equal(pdu.head_bytes, 76);
    assert_int_equal(pdu.pad_bytes, 128 - 76);
    assert_int_equal(pdu.data_bytes, 512);
    assert_true(pdu.has_data_digest);
}

/* Whatever alignment a peer asks for, the header fits what is set aside for it. */
static void test_every_alignment_fits(void **state)
{
    (void)state;
    for (unsigned pda = 0; pda <= 31; pda++)
        for (unsigned digest = 0; digest < 2; digest++) {
            uint8_t raw[PDU_ENCODED_BYTES_MAX];
            const struct pdu_format format = { .header_digest = digest, .pda = (uint8_t)pda };
            const struct pdu_rules rules = { .controller = true, .header_digest = digest };
            struct pdu pdu;
            struct pdu_error error;
            const size_t head = encode_write(&format, 512, raw);
            assert_in_range(head, 72 + 4 * digest, sizeof raw);
            assert_int_equal(head % (4 * (pda + 1)), 0);
            assert_true(status_ok(decode(&rules, raw, &pdu, &error)));
            assert_int_equal(pdu.head_bytes + pdu.pad_bytes, head);
        }
}

/* A flipped bit in the header is a header digest error that names the digest received. */
static void test_header_digest_error(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_format format = { .header_digest = true };
    const struct pdu_rules rules = { .controller = true, .header_digest = true };

    encode_write(&format, 0, raw);
    const uint32_t digest = crc32c(raw, 72);
    raw[40] ^= 1;
    assert_refused(&rules, raw, PDU_FES_HEADER_DIGEST, digest);
}

/* "HDGSTF: ... shall be set to '1' if header digests are enabled", and the same for DDGSTF. */
static void test_digest_flags(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_rules with_header = { .controller = true, .header_digest = true };
    const struct pdu_rules with_data = { .controller = true, .data_digest = true };
    const struct pdu_format header = { .header_digest = true };

    encode_write(&plain, 0, raw);
    assert_refused(&with_header, raw, PDU_FES_HEADER_FIELD, 1);
    encode_write(&header, 0, raw);
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 1);
    encode_write(&plain, 512, raw);
    assert_refused(&with_data, raw, PDU_FES_HEADER_FIELD, 1);
}

/* W1: no PLEN and no PDO makes the data longer than the limit, empty, or overlap the header. */
static void test_capsule_lengths(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct pdu pdu;
    struct pdu_error error;
    const struct le32 too_long = le32_make(72 + NVME_IN_CAPSULE_BYTES_MAX + 1);
    const struct le32 huge = le32_make(UINT32_MAX);

    encode_write(&plain, NVME_IN_CAPSULE_BYTES_MAX, raw);
    assert_true(status_ok(decode(&controller, raw, &pdu, &error)));
    memcpy(raw + 4, &too_long, 4);
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 4);
    memcpy(raw + 4, &huge, 4);
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 4);
    memset(raw + 4, 0, 4);
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 4);

    encode_write(&plain, 512, raw);
    raw[3] = 68; /* Before the end of the header. */
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 3);
    raw[3] = 74; /* Not a multiple of 4. */
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 3);
}

/* H2CData: DATAL says how long the data are, and data there must be. */
static void test_h2c_data(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_data data = { .cccid = 9, .ttag = 5, .offset = 4096, .bytes = 8192 };
    struct pdu pdu;
    struct pdu_error error;

    assert_int_equal(pdu_encode_h2c_data(&plain, &data, PDU_FLAG_LAST, raw), 24);
    assert_true(status_ok(decode(&controller, raw, &pdu, &error)));
    assert_true(pdu.last);
    assert_int_equal(pdu.data.cccid, 9);
    assert_int_equal(pdu.data.ttag, 5);
    assert_int_equal(pdu.data.offset, 4096);
    assert_int_equal(pdu.data_bytes, 8192);

    raw[16] ^= 4;
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 16);
    pdu_encode_h2c_data(&plain, &data, 0, raw);
    raw[12] = 2;
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 12);
    pdu_encode_h2c_data(&plain, &data, 0, raw);
    const struct le32 empty = le32_make(24);
    memcpy(raw + 4, &empty, 4);
    assert_refused(&controller, raw, PDU_FES_HEADER_FIELD, 4);
}

/* What a controller sends, a host can read: C2HData, R2T, CapsuleResp, C2HTermReq. */
static void test_to_host(void **state)
{
    (void)state;
    uint8_t raw[PDU_TERM_BYTES_MAX];
    const struct pdu_data data = { .cccid = 3, .ttag = 4, .offset = 0, .bytes = 4096 };
    const struct nvme_cqe cqe = { .result = 0x1122334455667788,
                                  .cid = 3,
                                  .sq_head = 2,
                                  .status = NVME_SC_DNR | NVME_SC_LBA_RANGE };
    const struct pdu_term term = { PDU_FES_DATA_RANGE, 0x01020304 };
    struct pdu pdu;
    struct pdu_error error;

    pdu_encode_c2h_data(&plain, &data, PDU_FLAG_LAST | PDU_FLAG_SUCCESS, raw);
    assert_true(status_ok(decode(&host, raw, &pdu, &error)));
    assert_true(pdu.last && pdu.success);
    assert_int_equal(pdu.data_bytes, 4096);

    pdu_encode_r2t(&plain, &data, raw);
    assert_true(status_ok(decode(&host, raw, &pdu, &error)));
    assert_int_equal(pdu.data_bytes, 0);
    assert_int_equal(pdu.data.bytes, 4096);
    assert_int_equal(pdu.data.ttag, 4);

    pdu_encode_capsule_resp(&plain, &cqe, raw);
    assert_true(status_ok(decode(&host, raw, &pdu, &error)));
    assert_true(pdu.resp.result == cqe.result);
    assert_int_equal(pdu.resp.status, cqe.status);

    const uint8_t culprit[72] = { 4 };
    assert_int_equal(
        pdu_encode_term(true, &term, (struct const_span) { culprit, sizeof culprit }, raw), 96);
    assert_true(status_ok(decode(&host, raw, &pdu, &error)));
    assert_int_equal(pdu.term.fes, PDU_FES_DATA_RANGE);
    assert_int_equal(pdu.term.fei, 0x01020304);
    assert_int_equal(pdu.data_bytes, 72);
}

/* "SUCCESS ... shall be cleared to '0' if the LAST_PDU flag is cleared to '0'". */
static void test_success_needs_last(void **state)
{
    (void)state;
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    const struct pdu_data data = { .bytes = 4 };

    pdu_encode_c2h_data(&plain, &data, PDU_FLAG_SUCCESS, raw);
    assert_refused(&host, raw, PDU_FES_HEADER_FIELD, 1);
}

/* All 64 bytes of an entry go through, but for the reserved ones of the SGL descriptor. */
static void an_entry_is_the_same_both_ways(void **state)
{
    uint8_t raw[NVME_SQE_BYTES], again[NVME_SQE_BYTES];

    (void)state;
    for (unsigned i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(0xa0 + i);
    const struct nvme_sqe sqe = nvme_sqe_decode(raw);
    assert_int_equal(sqe.opcode, 0xa0);
    assert_int_equal(sqe.cid, 0xa3a2);
    assert_int_equal(sqe.nsid, 0xa7a6a5a4);
    assert_int_equal(sqe.cdw3, 0xafaeadac);
    assert_int_equal(sqe.metadata, UINT64_C(0xb7b6b5b4b3b2b1b0));
    assert_int_equal(sqe.sgl_bytes, 0xc3c2c1c0);
    assert_int_equal(sqe.cdw15, 0xdfdedddc);
    nvme_sqe_encode(&sqe, again);
    memset(raw + 36, 0, 3);
    assert_memory_equal(again, raw, sizeof raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_the_same_both_ways),
        cmocka_unit_test(test_icreq_round_trip),
        cmocka_unit_test(test_icreq_refuses_bad_fields),
        cmocka_unit_test(test_wrong_direction),
        cmocka_unit_test(test_capsule_round_trip),
        cmocka_unit_test(test_capsule_digests_and_padding),
        cmocka_unit_test(test_every_alignment_fits),
        cmocka_unit_test(test_header_digest_error),
        cmocka_unit_test(test_digest_flags),
        cmocka_unit_test(test_capsule_lengths),
        cmocka_unit_test(test_h2c_data),
        cmocka_unit_test(test_to_host),
        cmocka_unit_test(test_success_needs_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

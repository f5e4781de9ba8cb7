/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoders of NVMe/TCP PDU headers, for either end and any negotiated digests.
 *
 *   byte 0: who receives, which digests, whether the digest is made right; then one PDU header
 *
 * What is accepted obeys the limits, and survives encoding and decoding once more.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/crc32c.h"
#include "nvme/limits.h"
#include "nvme/pdu.h"

#define INPUT_CONTROLLER    0x01
#define INPUT_HEADER_DIGEST 0x02
#define INPUT_DATA_DIGEST   0x04
#define INPUT_RIGHT_DIGEST  0x08 /* Else no input would ever get past the digest. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static size_t encode(const struct pdu *pdu, const struct pdu_format *format, uint8_t *raw)
{
    const uint8_t flags =
        (uint8_t)((pdu->last ? PDU_FLAG_LAST : 0) | (pdu->success ? PDU_FLAG_SUCCESS : 0));

    switch (pdu->type) {
    case PDU_ICREQ:
        return pdu_encode_icreq(&pdu->ic, raw);
    case PDU_ICRESP:
        return pdu_encode_icresp(&pdu->ic, raw);
    case PDU_CAPSULE_CMD:
        return pdu_encode_capsule_cmd(format, &pdu->cmd, pdu->data_bytes, raw);
    case PDU_CAPSULE_RESP:
        return pdu_encode_capsule_resp(format, &pdu->resp, raw);
    case PDU_H2C_DATA:
        return pdu_encode_h2c_data(format, &pdu->data, PDU_FLAG_LAST, raw);
    case PDU_C2H_DATA:
        return pdu_encode_c2h_data(format, &pdu->data, flags, raw);
    case PDU_R2T:
        return pdu_encode_r2t(format, &pdu->data, raw);
    case PDU_H2C_TERM:
    case PDU_C2H_TERM:
        break; /* They carry a copy of a header, which the decoder drops. */
    }
    return 0;
}

/* The fields that a type has say the same after a round trip. */
static void check_round_trip(const struct pdu_rules *rules, const struct pdu *pdu)
{
    const struct pdu_format format = { .header_digest = rules->header_digest,
                                       .data_digest = rules->data_digest };
    uint8_t raw[PDU_ENCODED_BYTES_MAX];
    struct pdu again;
    struct pdu_error error;

    if (encode(pdu, &format, raw) == 0)
        return;
    memset(&again, 0, sizeof again);
    assert(status_ok(pdu_decode_common(rules, raw, &again, &error)));
    assert(status_ok(pdu_decode_header(rules, raw, &again, &error)));
    assert(again.type == pdu->type);
    assert(again.data_bytes == pdu->data_bytes);
    assert(again.head_bytes == pdu->head_bytes);
    if (pdu->type == PDU_CAPSULE_CMD)
        assert(memcmp(&again.cmd, &pdu->cmd, sizeof pdu->cmd) == 0);
    if (pdu->type == PDU_CAPSULE_RESP)
        assert(memcmp(&again.resp, &pdu->resp, sizeof pdu->resp) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    /* The receiver never hands over less than a whole header. */
    uint8_t raw[PDU_ENCODED_BYTES_MAX] = { 0 };
    struct pdu pdu;
    struct pdu_error error = { 0 };

    if (bytes < 1 + PDU_COMMON_BYTES)
        return 0;
    const struct pdu_rules rules = { .controller = (data[0] & INPUT_CONTROLLER) != 0,
                                     .header_digest = (data[0] & INPUT_HEADER_DIGEST) != 0,
                                     .data_digest = (data[0] & INPUT_DATA_DIGEST) != 0 };
    memcpy(raw, data + 1, min_u64(bytes - 1, sizeof raw));
    memset(&pdu, 0, sizeof pdu);
    if (!status_ok(pdu_decode_common(&rules, raw, &pdu, &error))) {
        assert(error.fes != PDU_FES_NONE);
        return 0;
    }
    assert(pdu.head_bytes >= PDU_COMMON_BYTES);
    assert(pdu.head_bytes <= sizeof raw);
    assert(pdu.data_bytes <= NVME_DATA_BYTES_MAX);
    if (pdu.head_bytes > pdu.header_bytes && (data[0] & INPUT_RIGHT_DIGEST) != 0) {
        const struct le32 digest = le32_make(crc32c(raw, pdu.header_bytes));
        memcpy(raw + pdu.header_bytes, &digest, sizeof digest);
    }
    if (!status_ok(pdu_decode_header(&rules, raw, &pdu, &error))) {
        assert(error.fes != PDU_FES_NONE);
        return 0;
    }
    check_round_trip(&rules, &pdu);
    return 0;
}

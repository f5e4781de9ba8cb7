/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encodes and decodes NVMe/TCP PDU headers, for a host and for a controller.
 *
 *   0       8             HLEN      PDO                         PLEN
 *   +-------+---------------+-------+--------+------------+-------+
 *   | CH    | PDU-specific  | HDGST | pad    | data       | DDGST |
 *   +-------+---------------+-------+--------+------------+-------+
 *   |-- pdu_decode_common() |       |
 *   |------ pdu_decode_header() ----|
 *
 * NVMe/TCP Transport Specification 1.0c, "NVMe/TCP PDUs".  What leaves the decoders has been
 * checked against the PDU type, the receiver's role, the negotiated digests and limits.h (W1).
 *
 * Threading: pure.   Memory: caller's.
 */
#ifndef NVME_PDU_H
#define NVME_PDU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "nvme/tcp_spec.h"

/* A command as it was sent, in host order. */
struct nvme_sqe {
    uint8_t opcode;
    uint8_t flags;
    uint8_t sgl_id;
    uint16_t cid;
    uint32_t nsid;
    uint32_t cdw2;
    uint32_t cdw3;
    uint32_t sgl_bytes;
    uint64_t metadata;
    uint64_t sgl_address;
    uint32_t cdw10;
    uint32_t cdw11;
    uint32_t cdw12;
    uint32_t cdw13;
    uint32_t cdw14;
    uint32_t cdw15;
};

/*
 * A submission queue entry, byte by byte as it travels, and back.  Nothing is lost but the reserved
 * bytes of the SGL descriptor, which are zero.
 */
#define NVME_SQE_BYTES 64
void nvme_sqe_encode(const struct nvme_sqe *sqe, uint8_t out[NVME_SQE_BYTES]);
struct nvme_sqe nvme_sqe_decode(const uint8_t raw[NVME_SQE_BYTES]);

/* A completion.  status is SCT << 8 | SC with NVME_SC_MORE and NVME_SC_DNR; 0 is success. */
struct nvme_cqe {
    uint64_t result;
    uint16_t sq_head;
    uint16_t cid;
    uint16_t status;
};

/* ICReq and ICResp. */
struct pdu_ic {
    uint16_t pfv;
    uint8_t pda; /* Alignment of data that the sender wants, in dwords, 0's based; 0 to 31. */
    bool header_digest;
    bool data_digest;
    uint32_t param; /* ICReq: MAXR2T, 0's based.  ICResp: MAXH2CDATA in bytes. */
};

struct pdu_term {
    enum pdu_fes fes;
    uint32_t fei;
};

/* H2CData, C2HData and R2T. */
struct pdu_data {
    uint16_t cccid;
    uint16_t ttag; /* Not in C2HData. */
    uint32_t offset;
    uint32_t bytes;
};

/* What the receiving end expects of every PDU. */
struct pdu_rules {
    bool controller;    /* Takes what hosts send; a host takes what controllers send. */
    bool header_digest; /* As negotiated by ICReq and ICResp. */
    bool data_digest;
};

/* One PDU's header. */
struct pdu {
    enum pdu_type type;
    bool last;    /* H2CData, C2HData. */
    bool success; /* C2HData. */
    bool has_data_digest;
    uint8_t header_bytes; /* HLEN. */
    uint8_t head_bytes;   /* HLEN and the header digest. */
    uint8_t pad_bytes;    /* Between these and the data. */
    uint32_t data_bytes;  /* Without the digest; 0 to NVME_DATA_BYTES_MAX. */
    union {
        struct pdu_ic ic;
        struct pdu_term term;
        struct nvme_sqe cmd;
        struct nvme_cqe resp;
        struct pdu_data data;
    };
};

/* Why a PDU was refused: what the termination PDU will say. */
struct pdu_error {
    enum pdu_fes fes;
    uint32_t fei;
};

/*
 * Decodes the first PDU_COMMON_BYTES of raw: type, digest and the lengths of *out_pdu.
 * BAD_PDU with *out_error filled in if the type, this end or the digests do not allow them.
 */
struct status pdu_decode_common(const struct pdu_rules *rules, const uint8_t *raw,
                                struct pdu *out_pdu, struct pdu_error *out_error) MUST_CHECK;

/*
 * Decodes the rest of the header: raw holds pdu->head_bytes bytes, the common ones first.
 * BAD_DIGEST if the header digest is wrong, BAD_PDU for bad fields, *out_error filled in.
 */
struct status pdu_decode_header(const struct pdu_rules *rules, const uint8_t *raw, struct pdu *pdu,
                                struct pdu_error *out_error) MUST_CHECK;

/* What the sending end puts around every PDU. */
struct pdu_format {
    bool header_digest;
    bool data_digest;
    uint8_t pda; /* The peer's HPDA or CPDA. */
};

/*
 * The encoders write a header, its digest and the padding before the data, and return how many
 * bytes that was: at most PDU_ENCODED_BYTES_MAX, where a header of 76 bytes with its digest meets
 * an alignment of 72.  The caller sends data_bytes of data after it and, where
 * pdu_has_data_digest() says so, a pdu_data_digest() of them.
 */
#define PDU_ENCODED_BYTES_MAX 144

size_t pdu_encode_icreq(const struct pdu_ic *ic, uint8_t *out);
size_t pdu_encode_icresp(const struct pdu_ic *ic, uint8_t *out);
size_t pdu_encode_capsule_cmd(const struct pdu_format *format, const struct nvme_sqe *sqe,
                              uint32_t data_bytes, uint8_t *out);
size_t pdu_encode_capsule_resp(const struct pdu_format *format, const struct nvme_cqe *cqe,
                               uint8_t *out);
size_t pdu_encode_r2t(const struct pdu_format *format, const struct pdu_data *r2t, uint8_t *out);
/* flags: PDU_FLAG_LAST, and PDU_FLAG_SUCCESS for C2HData.  data->bytes > 0. */
size_t pdu_encode_h2c_data(const struct pdu_format *format, const struct pdu_data *data,
                           uint8_t flags, uint8_t *out);
size_t pdu_encode_c2h_data(const struct pdu_format *format, const struct pdu_data *data,
                           uint8_t flags, uint8_t *out);

/* A termination PDU, PDU_TERM_BYTES_MAX at most; header is the start of the PDU in error. */
#define PDU_TERM_BYTES_MAX 152
size_t pdu_encode_term(bool from_controller, const struct pdu_term *term, struct const_span header,
                       uint8_t *out);

static inline bool pdu_has_data_digest(const struct pdu_format *format, uint32_t data_bytes)
{
    return format->data_digest && data_bytes > 0;
}

struct le32 pdu_data_digest(const void *data, size_t bytes);

/* Of data in two pieces of memory, one behind the other. */
struct le32 pdu_data_digest_of(struct const_span first, struct const_span rest);

/* "CapsuleCmd" and so on. */
const char *pdu_type_name(enum pdu_type type);

/* What a Fatal Error Status says, for a log line. */
const char *pdu_fes_text(enum pdu_fes fes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/pdu.h"

#include <assert.h>

#include "base/crc32c.h"
#include "base/mutation.h"
#include "nvme/limits.h"

/* What the specification lays down for one PDU type. */
struct type_rules {
    const char *name;
    uint8_t hlen; /* 0: no such type. */
    bool to_controller;
    bool to_host;
    bool digests;      /* Carries the negotiated ones. */
    uint32_t data_max; /* Bytes of data; over it the PDU is refused as a whole. */
    bool data_needed;
};

static const struct type_rules type_table[] = {
    [PDU_ICREQ] = { "ICReq", 128, .to_controller = true },
    [PDU_ICRESP] = { "ICResp", 128, .to_host = true },
    [PDU_H2C_TERM] = { "H2CTermReq", 24, .to_controller = true, .data_max = 128 },
    [PDU_C2H_TERM] = { "C2HTermReq", 24, .to_host = true, .data_max = 128 },
    [PDU_CAPSULE_CMD] = { "CapsuleCmd", 72, .to_controller = true, .digests = true,
                          .data_max = NVME_IN_CAPSULE_BYTES_MAX },
    [PDU_CAPSULE_RESP] = { "CapsuleResp", 24, .to_host = true, .digests = true },
    [PDU_H2C_DATA] = { "H2CData", 24, .to_controller = true, .digests = true,
                       .data_max = NVME_MAXH2CDATA, .data_needed = true },
    [PDU_C2H_DATA] = { "C2HData", 24, .to_host = true, .digests = true,
                       .data_max = NVME_DATA_BYTES_MAX, .data_needed = true },
    [PDU_R2T] = { "R2T", 24, .to_host = true, .digests = true },
};

/* Field offsets that a Fatal Error Information names. */
#define FEI_TYPE  offsetof(struct pdu_common_spec, type)
#define FEI_FLAGS offsetof(struct pdu_common_spec, flags)
#define FEI_HLEN  offsetof(struct pdu_common_spec, hlen)
#define FEI_PDO   offsetof(struct pdu_common_spec, pdo)
#define FEI_PLEN  offsetof(struct pdu_common_spec, plen)

static const struct type_rules *type_rules_of(uint8_t type)
{
    if (type >= ARRAY_COUNT(type_table) || type_table[type].hlen == 0)
        return NULL;
    return &type_table[type];
}

const char *pdu_type_name(enum pdu_type type)
{
    const struct type_rules *t = type_rules_of((uint8_t)type);
    return t == NULL ? "unknown" : t->name;
}

const char *pdu_fes_text(enum pdu_fes fes)
{
    static const char *const text[] = {
        [PDU_FES_NONE] = "no error",
        [PDU_FES_HEADER_FIELD] = "invalid PDU header field",
        [PDU_FES_SEQUENCE] = "PDU sequence error",
        [PDU_FES_HEADER_DIGEST] = "header digest error",
        [PDU_FES_DATA_RANGE] = "data transfer out of range",
        [PDU_FES_LIMIT] = "transfer limit exceeded",
        [PDU_FES_PARAMETER] = "unsupported parameter",
    };
    return (unsigned)fes < ARRAY_COUNT(text) ? text[fes] : "unknown error";
}

static struct status MUST_CHECK refuse(struct pdu_error *out_error, enum pdu_fes fes, size_t fei)
{
    *out_error = (struct pdu_error) { fes, (uint32_t)fei };
    return STATUS(BAD_PDU);
}

/* ---- Decoding ---- */

/* The place of the data: from PLEN, PDO and the digests to pad_bytes and data_bytes. */
static struct status MUST_CHECK decode_data_place(const struct pdu_rules *rules,
                                                  const struct type_rules *type,
                                                  const struct pdu_common_spec *ch, struct pdu *pdu,
                                                  struct pdu_error *out_error)
{
    const uint32_t plen = le32_get(ch->plen);

    if (plen < pdu->head_bytes)
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_PLEN);
    if (plen == pdu->head_bytes)
        return type->data_needed ? refuse(out_error, PDU_FES_HEADER_FIELD, FEI_PLEN) : STATUS(OK);

    /* Termination PDUs have no PDO: their data follow the header at once. */
    const uint32_t start = type->digests ? ch->pdo : pdu->head_bytes;
    const uint32_t digest = type->digests && rules->data_digest ? PDU_DIGEST_BYTES : 0;

    if (start < pdu->head_bytes || start % 4 != 0)
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_PDO);
    if (plen <= start + digest)
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_PLEN);
    if (plen - start - digest > type->data_max && !MUTATION(W1_LENGTH_UNCHECKED))
        return ch->type == PDU_H2C_DATA ? refuse(out_error, PDU_FES_LIMIT, 0)
                                        : refuse(out_error, PDU_FES_HEADER_FIELD, FEI_PLEN);
    if (digest != 0 && (ch->flags & PDU_FLAG_DDGST) == 0)
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_FLAGS);

    pdu->pad_bytes = (uint8_t)(start - pdu->head_bytes);
    pdu->data_bytes = plen - start - digest;
    pdu->has_data_digest = digest != 0;
    return STATUS(OK);
}

struct status pdu_decode_common(const struct pdu_rules *rules, const uint8_t *raw,
                                struct pdu *out_pdu, struct pdu_error *out_error)
{
    struct pdu_common_spec ch;
    memcpy(&ch, raw, sizeof ch);

    const struct type_rules *type = type_rules_of(ch.type);
    if (type == NULL || (rules->controller ? !type->to_controller : !type->to_host))
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_TYPE);
    if (ch.hlen != type->hlen)
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_HLEN);

    const bool digest = type->digests && rules->header_digest;
    if (type->digests && digest != ((ch.flags & PDU_FLAG_HDGST) != 0))
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_FLAGS);

    out_pdu->type = (enum pdu_type)ch.type;
    out_pdu->last = (ch.flags & PDU_FLAG_LAST) != 0;
    out_pdu->success = (ch.flags & PDU_FLAG_SUCCESS) != 0;
    out_pdu->has_data_digest = false;
    out_pdu->header_bytes = type->hlen;
    out_pdu->head_bytes = (uint8_t)(type->hlen + (digest ? PDU_DIGEST_BYTES : 0));
    out_pdu->pad_bytes = 0;
    out_pdu->data_bytes = 0;
    return decode_data_place(rules, type, &ch, out_pdu, out_error);
}

static struct status MUST_CHECK check_header_digest(const uint8_t *raw, const struct pdu *pdu,
                                                    struct pdu_error *out_error)
{
    if (pdu->head_bytes == pdu->header_bytes)
        return STATUS(OK);

    struct le32 sent;
    memcpy(&sent, raw + pdu->header_bytes, sizeof sent);
    if (le32_get(sent) == crc32c(raw, pdu->header_bytes))
        return STATUS(OK);
    *out_error = (struct pdu_error) { PDU_FES_HEADER_DIGEST, le32_get(sent) };
    return STATUS(BAD_DIGEST);
}

static struct status MUST_CHECK decode_ic(const uint8_t *raw, struct pdu_ic *out_ic,
                                          struct pdu_error *out_error)
{
    struct pdu_ic_spec spec;
    memcpy(&spec, raw, sizeof spec);

    /* "NVMe/TCP PDU Format Version": only 0 is defined. */
    if (le16_get(spec.pfv) != 0)
        return refuse(out_error, PDU_FES_PARAMETER, offsetof(struct pdu_ic_spec, pfv));
    if (spec.pda > PDU_PDA_MAX)
        return refuse(out_error, PDU_FES_HEADER_FIELD, offsetof(struct pdu_ic_spec, pda));

    *out_ic = (struct pdu_ic) {
        .pfv = le16_get(spec.pfv),
        .pda = spec.pda,
        .header_digest = (spec.digest & PDU_DIGEST_HEADER) != 0,
        .data_digest = (spec.digest & PDU_DIGEST_DATA) != 0,
        .param = le32_get(spec.param),
    };
    return STATUS(OK);
}

static_assert(sizeof(struct nvme_sqe_spec) == NVME_SQE_BYTES, "an entry");

struct nvme_sqe nvme_sqe_decode(const uint8_t raw[NVME_SQE_BYTES])
{
    struct nvme_sqe_spec spec;
    memcpy(&spec, raw, sizeof spec);

    return (struct nvme_sqe) {
        .opcode = spec.opcode,
        .flags = spec.flags,
        .sgl_id = spec.sgl.id,
        .cid = le16_get(spec.cid),
        .nsid = le32_get(spec.nsid),
        .cdw2 = le32_get(spec.cdw2),
        .cdw3 = le32_get(spec.cdw3),
        .metadata = le64_get(spec.metadata),
        .sgl_bytes = le32_get(spec.sgl.length),
        .sgl_address = le64_get(spec.sgl.address),
        .cdw10 = le32_get(spec.cdw10),
        .cdw11 = le32_get(spec.cdw11),
        .cdw12 = le32_get(spec.cdw12),
        .cdw13 = le32_get(spec.cdw13),
        .cdw14 = le32_get(spec.cdw14),
        .cdw15 = le32_get(spec.cdw15),
    };
}

static void decode_cqe(const uint8_t *raw, struct nvme_cqe *out_cqe)
{
    struct nvme_cqe_spec spec;
    memcpy(&spec, raw, sizeof spec);

    *out_cqe = (struct nvme_cqe) {
        .result = le64_get(spec.result),
        .sq_head = le16_get(spec.sq_head),
        .cid = le16_get(spec.cid),
        .status = (uint16_t)(le16_get(spec.status) >> 1),
    };
}

static struct status MUST_CHECK decode_data(const uint8_t *raw, struct pdu *pdu,
                                            struct pdu_error *out_error)
{
    struct pdu_data_spec spec;
    memcpy(&spec, raw, sizeof spec);

    pdu->data = (struct pdu_data) {
        .cccid = le16_get(spec.cccid),
        .ttag = le16_get(spec.ttag),
        .offset = le32_get(spec.offset),
        .bytes = le32_get(spec.length),
    };
    /* An R2T announces data, the others carry them. */
    if (pdu->type != PDU_R2T && pdu->data.bytes != pdu->data_bytes)
        return refuse(out_error, PDU_FES_HEADER_FIELD, offsetof(struct pdu_data_spec, length));
    if (pdu->data.offset % 4 != 0)
        return refuse(out_error, PDU_FES_HEADER_FIELD, offsetof(struct pdu_data_spec, offset));
    /* "... the SUCCESS flag shall be cleared to '0' if the LAST_PDU flag is cleared to '0'". */
    if (pdu->type == PDU_C2H_DATA && pdu->success && !pdu->last)
        return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_FLAGS);
    return STATUS(OK);
}

static void decode_term(const uint8_t *raw, struct pdu_term *out_term)
{
    struct pdu_term_spec spec;
    memcpy(&spec, raw, sizeof spec);
    out_term->fes = (enum pdu_fes)le16_get(spec.fes);
    out_term->fei = le32_get(spec.fei);
}

struct status pdu_decode_header(const struct pdu_rules *rules, const uint8_t *raw, struct pdu *pdu,
                                struct pdu_error *out_error)
{
    (void)rules;
    TRY(check_header_digest(raw, pdu, out_error));

    switch (pdu->type) {
    case PDU_ICREQ:
    case PDU_ICRESP:
        return decode_ic(raw, &pdu->ic, out_error);
    case PDU_H2C_TERM:
    case PDU_C2H_TERM:
        decode_term(raw, &pdu->term);
        return STATUS(OK);
    case PDU_CAPSULE_CMD:
        pdu->cmd = nvme_sqe_decode(raw + PDU_COMMON_BYTES);
        return STATUS(OK);
    case PDU_CAPSULE_RESP:
        decode_cqe(raw + PDU_COMMON_BYTES, &pdu->resp);
        return STATUS(OK);
    case PDU_H2C_DATA:
    case PDU_C2H_DATA:
    case PDU_R2T:
        return decode_data(raw, pdu, out_error);
    }
    return refuse(out_error, PDU_FES_HEADER_FIELD, FEI_TYPE);
}

/* ---- Encoding ---- */

/* Writes the common header before, and digest and padding after, the hlen bytes at out. */
static size_t encode_around(const struct pdu_format *format, enum pdu_type type, uint8_t flags,
                            uint32_t data_bytes, uint8_t *out)
{
    const uint8_t hlen = type_table[type].hlen;
    const uint32_t unit = (format->pda + 1u) * 4u;
    uint32_t end = hlen + (format->header_digest ? PDU_DIGEST_BYTES : 0u);
    const uint32_t head = end;
    uint32_t plen = end;

    assert(format->pda <= PDU_PDA_MAX);
    assert(data_bytes <= type_table[type].data_max);

    if (format->header_digest)
        flags |= PDU_FLAG_HDGST;
    if (data_bytes > 0) {
        end = (end + unit - 1) / unit * unit;
        plen = end + data_bytes + (format->data_digest ? PDU_DIGEST_BYTES : 0u);
        if (format->data_digest)
            flags |= PDU_FLAG_DDGST;
        memset(out + head, 0, end - head);
    }

    const struct pdu_common_spec ch = {
        .type = (uint8_t)type,
        .flags = flags,
        .hlen = hlen,
        .pdo = data_bytes > 0 ? (uint8_t)end : 0,
        .plen = le32_make(plen),
    };
    memcpy(out, &ch, sizeof ch);
    if (format->header_digest) {
        const struct le32 digest = le32_make(crc32c(out, hlen));
        memcpy(out + hlen, &digest, sizeof digest);
    }
    assert(end <= PDU_ENCODED_BYTES_MAX);
    return end;
}

static const struct pdu_format format_plain;

static size_t encode_ic(enum pdu_type type, const struct pdu_ic *ic, uint8_t *out)
{
    const struct pdu_ic_spec spec = {
        .pfv = le16_make(ic->pfv),
        .pda = ic->pda,
        .digest = (uint8_t)((ic->header_digest ? PDU_DIGEST_HEADER : 0) |
                            (ic->data_digest ? PDU_DIGEST_DATA : 0)),
        .param = le32_make(ic->param),
    };
    memcpy(out, &spec, sizeof spec);
    return encode_around(&format_plain, type, 0, 0, out);
}

size_t pdu_encode_icreq(const struct pdu_ic *ic, uint8_t *out)
{
    return encode_ic(PDU_ICREQ, ic, out);
}

size_t pdu_encode_icresp(const struct pdu_ic *ic, uint8_t *out)
{
    return encode_ic(PDU_ICRESP, ic, out);
}

void nvme_sqe_encode(const struct nvme_sqe *sqe, uint8_t out[NVME_SQE_BYTES])
{
    const struct nvme_sqe_spec spec = {
        .opcode = sqe->opcode,
        .flags = sqe->flags,
        .cid = le16_make(sqe->cid),
        .nsid = le32_make(sqe->nsid),
        .cdw2 = le32_make(sqe->cdw2),
        .cdw3 = le32_make(sqe->cdw3),
        .metadata = le64_make(sqe->metadata),
        .sgl = { .address = le64_make(sqe->sgl_address),
                 .length = le32_make(sqe->sgl_bytes),
                 .id = sqe->sgl_id },
        .cdw10 = le32_make(sqe->cdw10),
        .cdw11 = le32_make(sqe->cdw11),
        .cdw12 = le32_make(sqe->cdw12),
        .cdw13 = le32_make(sqe->cdw13),
        .cdw14 = le32_make(sqe->cdw14),
        .cdw15 = le32_make(sqe->cdw15),
    };
    memcpy(out, &spec, sizeof spec);
}

size_t pdu_encode_capsule_cmd(const struct pdu_format *format, const struct nvme_sqe *sqe,
                              uint32_t data_bytes, uint8_t *out)
{
    nvme_sqe_encode(sqe, out + PDU_COMMON_BYTES);
    return encode_around(format, PDU_CAPSULE_CMD, 0, data_bytes, out);
}

size_t pdu_encode_capsule_resp(const struct pdu_format *format, const struct nvme_cqe *cqe,
                               uint8_t *out)
{
    const struct nvme_cqe_spec spec = {
        .result = le64_make(cqe->result),
        .sq_head = le16_make(cqe->sq_head),
        .cid = le16_make(cqe->cid),
        .status = le16_make((uint16_t)(cqe->status << 1)),
    };
    memcpy(out + PDU_COMMON_BYTES, &spec, sizeof spec);
    return encode_around(format, PDU_CAPSULE_RESP, 0, 0, out);
}

static size_t encode_data(const struct pdu_format *format, enum pdu_type type,
                          const struct pdu_data *data, uint8_t flags, uint32_t data_bytes,
                          uint8_t *out)
{
    const struct pdu_data_spec spec = {
        .cccid = le16_make(data->cccid),
        .ttag = le16_make(data->ttag),
        .offset = le32_make(data->offset),
        .length = le32_make(data->bytes),
    };
    memcpy(out, &spec, sizeof spec);
    return encode_around(format, type, flags, data_bytes, out);
}

size_t pdu_encode_r2t(const struct pdu_format *format, const struct pdu_data *r2t, uint8_t *out)
{
    return encode_data(format, PDU_R2T, r2t, 0, 0, out);
}

size_t pdu_encode_h2c_data(const struct pdu_format *format, const struct pdu_data *data,
                           uint8_t flags, uint8_t *out)
{
    assert(data->bytes > 0);
    return encode_data(format, PDU_H2C_DATA, data, flags, data->bytes, out);
}

size_t pdu_encode_c2h_data(const struct pdu_format *format, const struct pdu_data *data,
                           uint8_t flags, uint8_t *out)
{
    assert(data->bytes > 0);
    return encode_data(format, PDU_C2H_DATA, data, flags, data->bytes, out);
}

size_t pdu_encode_term(bool from_controller, const struct pdu_term *term, struct const_span header,
                       uint8_t *out)
{
    const enum pdu_type type = from_controller ? PDU_C2H_TERM : PDU_H2C_TERM;
    const size_t copied = min_u64(header.bytes, type_table[type].data_max);
    const struct pdu_term_spec spec = {
        .ch = { .type = (uint8_t)type,
                .hlen = sizeof spec,
                .plen = le32_make((uint32_t)(sizeof spec + copied)) },
        .fes = le16_make((uint16_t)term->fes),
        .fei = le32_make(term->fei),
    };
    memcpy(out, &spec, sizeof spec);
    if (copied > 0)
        memcpy(out + sizeof spec, header.at, copied);
    return sizeof spec + copied;
}

struct le32 pdu_data_digest(const void *data, size_t bytes)
{
    return le32_make(crc32c(data, bytes));
}

struct le32 pdu_data_digest_of(struct const_span first, struct const_span rest)
{
    const uint32_t crc = crc32c(first.at, first.bytes);

    return le32_make(rest.bytes == 0 ? crc : crc32c_extend(crc, rest.at, rest.bytes));
}

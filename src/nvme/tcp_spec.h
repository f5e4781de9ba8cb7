/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe/TCP PDUs as they lie on the wire.
 *
 *   0       8             HLEN      PDO                         PLEN
 *   +-------+---------------+-------+--------+------------+-------+
 *   | CH    | PDU-specific  | HDGST | pad    | data       | DDGST |
 *   +-------+---------------+-------+--------+------------+-------+
 *
 * NVMe/TCP Transport Specification 1.0c, "NVMe/TCP PDUs".
 *
 * Threading: values.   Memory: values; only pdu.c looks inside.
 */
#ifndef NVME_TCP_SPEC_H
#define NVME_TCP_SPEC_H

#include <stdint.h>

#include "base/le.h"
#include "nvme/cmd_spec.h"
#include "nvme/layout.h"

enum pdu_type {
    PDU_ICREQ = 0x00,
    PDU_ICRESP = 0x01,
    PDU_H2C_TERM = 0x02,
    PDU_C2H_TERM = 0x03,
    PDU_CAPSULE_CMD = 0x04,
    PDU_CAPSULE_RESP = 0x05,
    PDU_H2C_DATA = 0x06,
    PDU_C2H_DATA = 0x07,
    PDU_R2T = 0x09,
};

#define PDU_FLAG_HDGST   0x01
#define PDU_FLAG_DDGST   0x02
#define PDU_FLAG_LAST    0x04 /* H2CData, C2HData: the last one of the command or the R2T. */
#define PDU_FLAG_SUCCESS 0x08 /* C2HData: stands for the CapsuleResp. */

struct pdu_common_spec {
    uint8_t type;
    uint8_t flags;
    uint8_t hlen;
    uint8_t pdo;
    struct le32 plen;
};
LAYOUT_SIZE(pdu_common_spec, 8);
LAYOUT_AT(pdu_common_spec, flags, 1);
LAYOUT_AT(pdu_common_spec, hlen, 2);
LAYOUT_AT(pdu_common_spec, pdo, 3);
LAYOUT_AT(pdu_common_spec, plen, 4);

/* ICReq and ICResp; param is MAXR2T (0's based) of a request, MAXH2CDATA of a response. */
struct pdu_ic_spec {
    struct pdu_common_spec ch;
    struct le16 pfv;
    uint8_t pda; /* HPDA or CPDA: data alignment in dwords, 0's based. */
    uint8_t digest;
    struct le32 param;
    uint8_t reserved16[112];
};
LAYOUT_SIZE(pdu_ic_spec, 128);
LAYOUT_AT(pdu_ic_spec, pfv, 8);
LAYOUT_AT(pdu_ic_spec, pda, 10);
LAYOUT_AT(pdu_ic_spec, digest, 11);
LAYOUT_AT(pdu_ic_spec, param, 12);
LAYOUT_AT(pdu_ic_spec, reserved16, 16);

#define PDU_DIGEST_HEADER 0x01
#define PDU_DIGEST_DATA   0x02
#define PDU_PDA_MAX       31 /* 128 bytes. */

struct pdu_term_spec {
    struct pdu_common_spec ch;
    struct le16 fes;
    struct le32 fei; /* No natural alignment. */
    uint8_t reserved14[10];
};
LAYOUT_SIZE(pdu_term_spec, 24);
LAYOUT_AT(pdu_term_spec, fes, 8);
LAYOUT_AT(pdu_term_spec, fei, 10);
LAYOUT_AT(pdu_term_spec, reserved14, 14);

/* Fatal Error Status. */
enum pdu_fes {
    PDU_FES_NONE = 0x00,
    PDU_FES_HEADER_FIELD = 0x01,  /* FEI: the field's offset. */
    PDU_FES_SEQUENCE = 0x02,      /* A PDU that may not come now. */
    PDU_FES_HEADER_DIGEST = 0x03, /* FEI: the digest that was received. */
    PDU_FES_DATA_RANGE = 0x04,    /* Data outside what the command or R2T asks for. */
    PDU_FES_LIMIT = 0x05,         /* C2H: data over MAXH2CDATA.  H2C: R2T over MAXR2T. */
    PDU_FES_PARAMETER = 0x06,     /* FEI: the field's offset. */
};

struct pdu_capsule_cmd_spec {
    struct pdu_common_spec ch;
    struct nvme_sqe_spec sqe;
};
LAYOUT_SIZE(pdu_capsule_cmd_spec, 72);
LAYOUT_AT(pdu_capsule_cmd_spec, sqe, 8);

struct pdu_capsule_resp_spec {
    struct pdu_common_spec ch;
    struct nvme_cqe_spec cqe;
};
LAYOUT_SIZE(pdu_capsule_resp_spec, 24);
LAYOUT_AT(pdu_capsule_resp_spec, cqe, 8);

/* H2CData, C2HData (ttag reserved) and R2T (offset and length are R2TO and R2TL). */
struct pdu_data_spec {
    struct pdu_common_spec ch;
    struct le16 cccid;
    struct le16 ttag;
    struct le32 offset;
    struct le32 length;
    uint8_t reserved20[4];
};
LAYOUT_SIZE(pdu_data_spec, 24);
LAYOUT_AT(pdu_data_spec, cccid, 8);
LAYOUT_AT(pdu_data_spec, ttag, 10);
LAYOUT_AT(pdu_data_spec, offset, 12);
LAYOUT_AT(pdu_data_spec, length, 16);
LAYOUT_AT(pdu_data_spec, reserved20, 20);

#define PDU_COMMON_BYTES     8
#define PDU_DIGEST_BYTES     4
#define PDU_HEADER_BYTES_MAX 128 /* ICReq and ICResp. */

#endif

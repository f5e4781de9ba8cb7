/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fabrics commands, controller properties and the discovery log as they lie on the wire.
 *
 * NVM Express Base Specification 2.0c, "Fabrics Command Set", "Controller Properties",
 * "Discovery Log Page".
 *
 * Threading: values.   Memory: values; only the codecs look inside.
 */
#ifndef NVME_FABRICS_SPEC_H
#define NVME_FABRICS_SPEC_H

#include <stdint.h>

#include "base/le.h"
#include "nvme/cmd_spec.h"
#include "nvme/layout.h"

#define NVME_NQN_FIELD_BYTES 256

enum nvme_fctype {
    NVME_FCTYPE_PROPERTY_SET = 0x00,
    NVME_FCTYPE_CONNECT = 0x01,
    NVME_FCTYPE_PROPERTY_GET = 0x04,
    NVME_FCTYPE_AUTH_SEND = 0x05,
    NVME_FCTYPE_AUTH_RECEIVE = 0x06,
    NVME_FCTYPE_DISCONNECT = 0x08,
};

/* ---- Connect ---- */

struct nvme_connect_spec {
    uint8_t opcode;
    uint8_t flags;
    struct le16 cid;
    uint8_t fctype;
    uint8_t reserved5[19];
    struct nvme_sgl_spec sgl;
    struct le16 recfmt;
    struct le16 qid;
    struct le16 sqsize; /* 0's based. */
    uint8_t cattr;
    uint8_t reserved47;
    struct le32 kato_ms;
    uint8_t reserved52[12];
};
LAYOUT_SIZE(nvme_connect_spec, 64);
LAYOUT_AT(nvme_connect_spec, fctype, 4);
LAYOUT_AT(nvme_connect_spec, sgl, 24);
LAYOUT_AT(nvme_connect_spec, recfmt, 40);
LAYOUT_AT(nvme_connect_spec, qid, 42);
LAYOUT_AT(nvme_connect_spec, sqsize, 44);
LAYOUT_AT(nvme_connect_spec, cattr, 46);
LAYOUT_AT(nvme_connect_spec, kato_ms, 48);

#define NVME_CONNECT_CATTR_NO_SQ_FLOW 0x04 /* Disable SQ Flow Control. */

struct nvme_connect_data_spec {
    uint8_t host_id[16];
    struct le16 cntlid; /* FFFFh: any (the dynamic controller model). */
    uint8_t reserved18[238];
    char subsys_nqn[NVME_NQN_FIELD_BYTES];
    char host_nqn[NVME_NQN_FIELD_BYTES];
    uint8_t reserved768[256];
};
LAYOUT_SIZE(nvme_connect_data_spec, 1024);
LAYOUT_AT(nvme_connect_data_spec, cntlid, 16);
LAYOUT_AT(nvme_connect_data_spec, subsys_nqn, 256);
LAYOUT_AT(nvme_connect_data_spec, host_nqn, 512);
LAYOUT_AT(nvme_connect_data_spec, reserved768, 768);

#define NVME_CNTLID_ANY    UINT16_C(0xffff)
#define NVME_CNTLID_STATIC UINT16_C(0xfffe)
#define NVME_CNTLID_MAX    UINT16_C(0xffef)

/* Connect's response, Dword 0: CNTLID 15:0, authentication 31:16; on Connect Invalid Parameters
 * IPO 15:0 (an offset) and IATTR bit 16 (the offset is into the data, not into the command). */
#define NVME_CONNECT_IATTR_DATA (UINT32_C(1) << 16)

/* ---- Property Get and Set ---- */

struct nvme_property_spec {
    uint8_t opcode;
    uint8_t flags;
    struct le16 cid;
    uint8_t fctype;
    uint8_t reserved5[35];
    uint8_t attributes; /* Bits 2:0: 0 for 4 bytes, 1 for 8. */
    uint8_t reserved41[3];
    struct le32 offset;
    struct le64 value; /* Property Set. */
    uint8_t reserved56[8];
};
LAYOUT_SIZE(nvme_property_spec, 64);
LAYOUT_AT(nvme_property_spec, fctype, 4);
LAYOUT_AT(nvme_property_spec, attributes, 40);
LAYOUT_AT(nvme_property_spec, offset, 44);
LAYOUT_AT(nvme_property_spec, value, 48);

#define NVME_PROPERTY_SIZE_MASK 0x07
#define NVME_PROPERTY_SIZE_4    0
#define NVME_PROPERTY_SIZE_8    1

enum nvme_property {
    NVME_PROP_CAP = 0x00, /* 8 bytes; the others have 4. */
    NVME_PROP_VS = 0x08,
    NVME_PROP_CC = 0x14,
    NVME_PROP_CSTS = 0x1c,
    NVME_PROP_NSSR = 0x20,
    NVME_PROP_CRTO = 0x68,
};

#define NVME_CAP_MQES_MASK       UINT64_C(0xffff) /* 0's based. */
#define NVME_CAP_CQR             (UINT64_C(1) << 16)
#define NVME_CAP_TO_SHIFT        24 /* In 500 ms. */
#define NVME_CAP_CSS_NVM         (UINT64_C(1) << 37)
#define NVME_CAP_MPSMIN_SHIFT    48

#define NVME_VS_2_0              UINT32_C(0x00020000)

#define NVME_CC_EN               UINT32_C(1)
#define NVME_CC_CSS_MASK         (UINT32_C(7) << 4)
#define NVME_CC_MPS_SHIFT        7
#define NVME_CC_MPS_MASK         (UINT32_C(0xf) << 7)
#define NVME_CC_AMS_MASK         (UINT32_C(7) << 11)
#define NVME_CC_SHN_MASK         (UINT32_C(3) << 14)
#define NVME_CC_IOSQES_SHIFT     16
#define NVME_CC_IOCQES_SHIFT     20

#define NVME_CSTS_RDY            UINT32_C(1)
#define NVME_CSTS_CFS            UINT32_C(2)
#define NVME_CSTS_SHST_MASK      (UINT32_C(3) << 2)
#define NVME_CSTS_SHST_OCCURRING (UINT32_C(1) << 2)
#define NVME_CSTS_SHST_COMPLETE  (UINT32_C(2) << 2)

/* ---- Discovery log ---- */

struct nvme_discovery_header_spec {
    struct le64 genctr;
    struct le64 numrec;
    struct le16 recfmt;
    uint8_t reserved18[1006];
};
LAYOUT_SIZE(nvme_discovery_header_spec, 1024);
LAYOUT_AT(nvme_discovery_header_spec, numrec, 8);
LAYOUT_AT(nvme_discovery_header_spec, recfmt, 16);

struct nvme_discovery_record_spec {
    uint8_t trtype;
    uint8_t adrfam;
    uint8_t subtype;
    uint8_t treq;
    struct le16 portid;
    struct le16 cntlid;
    struct le16 asqsz;
    struct le16 eflags;
    uint8_t reserved12[20];
    char trsvcid[32];
    uint8_t reserved64[192];
    char subnqn[256];
    char traddr[256];
    uint8_t tsas[256]; /* TCP: the first byte is SECTYPE. */
};
LAYOUT_SIZE(nvme_discovery_record_spec, 1024);
LAYOUT_AT(nvme_discovery_record_spec, portid, 4);
LAYOUT_AT(nvme_discovery_record_spec, asqsz, 8);
LAYOUT_AT(nvme_discovery_record_spec, trsvcid, 32);
LAYOUT_AT(nvme_discovery_record_spec, subnqn, 256);
LAYOUT_AT(nvme_discovery_record_spec, traddr, 512);
LAYOUT_AT(nvme_discovery_record_spec, tsas, 768);

#define NVME_TRTYPE_TCP        3
#define NVME_ADRFAM_IPV4       1
#define NVME_ADRFAM_IPV6       2
#define NVME_SUBTYPE_DISCOVERY 1 /* Another discovery subsystem. */
#define NVME_SUBTYPE_NVM       2
#define NVME_SUBTYPE_CURRENT   3    /* This discovery subsystem. */
#define NVME_TREQ_SQ_FLOW_OFF  0x04 /* Disabling SQ flow control is supported. */
#define NVME_EFLAGS_EPCSD      0x02 /* Hosts may stay connected to this discovery subsystem. */

#endif

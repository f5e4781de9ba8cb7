/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands, completions and statuses as they lie on the wire.
 *
 * NVM Express Base Specification 2.0c, "Submission Queue Entry", "Completion Queue Entry",
 * "Scatter Gather List (SGL)", "Status Field"; NVM Command Set Specification 1.0c, "Commands".
 *
 * Threading: values.   Memory: values; only the codecs look inside.
 */
#ifndef NVME_CMD_SPEC_H
#define NVME_CMD_SPEC_H

#include <stdint.h>

#include "base/le.h"
#include "nvme/layout.h"

/* ---- Submission queue entry ---- */

struct nvme_sgl_spec {
    struct le64 address; /* Or the offset inside the capsule. */
    struct le32 length;
    uint8_t reserved[3];
    uint8_t id; /* Type << 4 | subtype: NVME_SGL_*. */
};
LAYOUT_SIZE(nvme_sgl_spec, 16);
LAYOUT_AT(nvme_sgl_spec, length, 8);
LAYOUT_AT(nvme_sgl_spec, id, 15);

#define NVME_SGL_IN_CAPSULE 0x01 /* Data Block, Offset: the data follow in the capsule. */
#define NVME_SGL_TRANSPORT  0x5a /* Transport Data Block: the data go in PDUs of their own. */

struct nvme_sqe_spec {
    uint8_t opcode;
    uint8_t flags; /* FUSE 1:0, PSDT 7:6. */
    struct le16 cid;
    struct le32 nsid; /* Fabrics commands: FCTYPE in the first byte. */
    struct le32 cdw2;
    struct le32 cdw3;
    struct le64 metadata;
    struct nvme_sgl_spec sgl;
    struct le32 cdw10;
    struct le32 cdw11;
    struct le32 cdw12;
    struct le32 cdw13;
    struct le32 cdw14;
    struct le32 cdw15;
};
LAYOUT_SIZE(nvme_sqe_spec, 64);
LAYOUT_AT(nvme_sqe_spec, cid, 2);
LAYOUT_AT(nvme_sqe_spec, nsid, 4);
LAYOUT_AT(nvme_sqe_spec, cdw2, 8);
LAYOUT_AT(nvme_sqe_spec, metadata, 16);
LAYOUT_AT(nvme_sqe_spec, sgl, 24);
LAYOUT_AT(nvme_sqe_spec, cdw10, 40);
LAYOUT_AT(nvme_sqe_spec, cdw12, 48);
LAYOUT_AT(nvme_sqe_spec, cdw15, 60);

#define NVME_SQE_FUSE_MASK 0x03
#define NVME_SQE_PSDT_MASK 0xc0
#define NVME_SQE_PSDT_SGL  0x40

/* ---- Completion queue entry ---- */

struct nvme_cqe_spec {
    struct le64 result; /* Dwords 0 and 1: the command's own. */
    struct le16 sq_head;
    struct le16 sq_id; /* Reserved over fabrics. */
    struct le16 cid;
    struct le16 status; /* Status << 1; the phase bit is reserved over fabrics. */
};
LAYOUT_SIZE(nvme_cqe_spec, 16);
LAYOUT_AT(nvme_cqe_spec, sq_head, 8);
LAYOUT_AT(nvme_cqe_spec, cid, 12);
LAYOUT_AT(nvme_cqe_spec, status, 14);

/* ---- Opcodes ---- */

enum nvme_admin_opcode {
    NVME_ADMIN_GET_LOG_PAGE = 0x02,
    NVME_ADMIN_IDENTIFY = 0x06,
    NVME_ADMIN_ABORT = 0x08,
    NVME_ADMIN_SET_FEATURES = 0x09,
    NVME_ADMIN_GET_FEATURES = 0x0a,
    NVME_ADMIN_ASYNC_EVENT = 0x0c,
    NVME_ADMIN_KEEP_ALIVE = 0x18,
    NVME_OPCODE_FABRICS = 0x7f, /* On any queue. */
};

enum nvme_io_opcode {
    NVME_IO_FLUSH = 0x00,
    NVME_IO_WRITE = 0x01,
    NVME_IO_READ = 0x02,
    NVME_IO_COMPARE = 0x05,
    NVME_IO_WRITE_ZEROES = 0x08,
    NVME_IO_DSM = 0x09,
    NVME_IO_VERIFY = 0x0c,
    NVME_IO_COPY = 0x19,
};

/* Opcode bits 1:0, "Data Transfer Direction". */
#define NVME_OPCODE_TO_CONTROLLER 0x01
#define NVME_OPCODE_TO_HOST       0x02

/* ---- Fields of NVM commands ---- */

#define NVME_RW_CDW12_NLB_MASK UINT32_C(0xffff) /* 0's based. */
#define NVME_RW_CDW12_DEAC     (UINT32_C(1) << 25)
#define NVME_RW_CDW12_PRINFO   (UINT32_C(0xf) << 26)
#define NVME_RW_CDW12_FUA      (UINT32_C(1) << 30)
#define NVME_RW_CDW12_LR       (UINT32_C(1) << 31)

#define NVME_DSM_CDW10_NR_MASK UINT32_C(0xff) /* 0's based. */
#define NVME_DSM_CDW11_AD      (UINT32_C(1) << 2)

struct nvme_dsm_range_spec {
    struct le32 attributes;
    struct le32 blocks;
    struct le64 first_lba;
};
LAYOUT_SIZE(nvme_dsm_range_spec, 16);
LAYOUT_AT(nvme_dsm_range_spec, blocks, 4);
LAYOUT_AT(nvme_dsm_range_spec, first_lba, 8);

#define NVME_COPY_CDW12_NR_MASK      UINT32_C(0xff) /* 0's based. */
#define NVME_COPY_CDW12_FORMAT_SHIFT 8              /* 11:8. */
#define NVME_COPY_CDW12_FORMAT_MASK  UINT32_C(0xf)

/* Source range entry, descriptor format 0h. */
struct nvme_copy_range_spec {
    uint8_t reserved0[8];
    struct le64 first_lba;
    struct le16 blocks; /* 0's based. */
    uint8_t reserved18[6];
    struct le32 reference_tag;
    struct le16 application_tag;
    struct le16 application_mask;
};
LAYOUT_SIZE(nvme_copy_range_spec, 32);
LAYOUT_AT(nvme_copy_range_spec, first_lba, 8);
LAYOUT_AT(nvme_copy_range_spec, blocks, 16);
LAYOUT_AT(nvme_copy_range_spec, reference_tag, 24);

#define NVME_NSID_ALL UINT32_C(0xffffffff)

/* ---- Features ---- */

enum nvme_feature {
    NVME_FEAT_ARBITRATION = 0x01,
    NVME_FEAT_POWER_MANAGEMENT = 0x02,
    NVME_FEAT_TEMPERATURE = 0x04,
    NVME_FEAT_ERROR_RECOVERY = 0x05,
    NVME_FEAT_VOLATILE_CACHE = 0x06,
    NVME_FEAT_QUEUES = 0x07,
    NVME_FEAT_WRITE_ATOMICITY = 0x0a,
    NVME_FEAT_ASYNC_EVENT = 0x0b,
    NVME_FEAT_TIMESTAMP = 0x0e,
    NVME_FEAT_KEEP_ALIVE = 0x0f,
    NVME_FEAT_HOST_BEHAVIOR = 0x16,
    NVME_FEAT_HOST_ID = 0x81,
};

#define NVME_FEAT_CDW10_FID_MASK  UINT32_C(0xff)
#define NVME_FEAT_CDW10_SEL_SHIFT 8 /* Get Features, 10:8. */
#define NVME_FEAT_CDW10_SAVE      (UINT32_C(1) << 31)

enum nvme_feature_select {
    NVME_FEAT_SEL_CURRENT = 0,
    NVME_FEAT_SEL_DEFAULT = 1,
    NVME_FEAT_SEL_SAVED = 2,
    NVME_FEAT_SEL_CAPABILITIES = 3,
};

#define NVME_FEAT_CAP_CHANGEABLE (UINT32_C(1) << 2)
#define NVME_HOST_BEHAVIOR_BYTES 512
#define NVME_HOST_ID_SHORT_BYTES 8
#define NVME_HOST_ID_LONG_BYTES  16
#define NVME_FEAT_HOST_ID_EXHID  UINT32_C(1)
#define NVME_FEAT_CACHE_WCE      UINT32_C(1)

/* Feature 0Eh: milliseconds since 1970, and where they come from. */
struct nvme_timestamp_spec {
    uint8_t ms[6];
    uint8_t attributes; /* Origin 3:1; Synch 0: it may have stopped. */
    uint8_t reserved7;
};
LAYOUT_SIZE(nvme_timestamp_spec, 8);
LAYOUT_AT(nvme_timestamp_spec, attributes, 6);

#define NVME_TIMESTAMP_ORIGIN_RESET 0x00 /* Counted from 0 at a reset. */
#define NVME_TIMESTAMP_ORIGIN_HOST  0x02 /* Set by Set Features. */

/* ---- Asynchronous events ---- */

#define NVME_AEN_NS_CHANGED        (UINT32_C(1) << 8) /* Configuration and OAES bits. */
#define NVME_AEN_DISCOVERY_CHANGED (UINT32_C(1) << 31)
#define NVME_AEN_TYPE_NOTICE       UINT32_C(2)
#define NVME_AEN_INFO_NS_CHANGED   UINT32_C(0x00)
#define NVME_AEN_INFO_DISCOVERY    UINT32_C(0xf0)

/* The completion's Dword 0: type 2:0, information 15:8, log page 23:16. */
static inline uint32_t nvme_aen_result(uint32_t type, uint32_t info, uint32_t log_page)
{
    return type | info << 8 | log_page << 16;
}

/* ---- Statuses: SCT << 8 | SC, and two flags ---- */

#define NVME_SC_MORE       UINT16_C(0x2000)
#define NVME_SC_DNR        UINT16_C(0x4000)
#define NVME_SC_VALUE_MASK UINT16_C(0x07ff)

enum nvme_sc {
    NVME_SC_SUCCESS = 0x000,
    NVME_SC_INVALID_OPCODE = 0x001,
    NVME_SC_INVALID_FIELD = 0x002,
    NVME_SC_CID_CONFLICT = 0x003,
    NVME_SC_DATA_TRANSFER_ERROR = 0x004,
    NVME_SC_INTERNAL = 0x006,
    NVME_SC_ABORT_REQUESTED = 0x007,
    NVME_SC_ABORT_SQ_DELETION = 0x008,
    NVME_SC_INVALID_NS = 0x00b,
    NVME_SC_COMMAND_SEQUENCE = 0x00c,
    NVME_SC_SGL_DATA_LENGTH = 0x00f,
    NVME_SC_SGL_TYPE = 0x011,
    NVME_SC_SGL_OFFSET = 0x016,
    NVME_SC_HOST_ID_INCONSISTENT = 0x018,
    NVME_SC_KEEP_ALIVE_INVALID = 0x01a,
    NVME_SC_TRANSIENT_TRANSPORT = 0x022,
    NVME_SC_LBA_RANGE = 0x080,
    NVME_SC_CAPACITY = 0x081,
    NVME_SC_NS_NOT_READY = 0x082,

    /* Command specific. */
    NVME_SC_ABORT_LIMIT = 0x103,
    NVME_SC_AER_LIMIT = 0x105,
    NVME_SC_INVALID_LOG_PAGE = 0x109,
    NVME_SC_FEATURE_NOT_SAVEABLE = 0x10d,
    NVME_SC_FEATURE_NOT_CHANGEABLE = 0x10e,
    NVME_SC_CONNECT_FORMAT = 0x180,
    NVME_SC_CONNECT_BUSY = 0x181,
    NVME_SC_CONNECT_INVALID_PARAM = 0x182,
    NVME_SC_CONNECT_INVALID_HOST = 0x184,
    NVME_SC_DISCOVERY_RESTART = 0x190,

    /* Command specific, of the NVM command set. */
    NVME_SC_COMMAND_SIZE_LIMIT = 0x183,

    /* Media and data integrity. */
    NVME_SC_WRITE_FAULT = 0x280,
    NVME_SC_READ_ERROR = 0x281,
    NVME_SC_COMPARE_FAILURE = 0x285,

    /* Path related. */
    NVME_SC_INTERNAL_PATH = 0x300,
};

#endif

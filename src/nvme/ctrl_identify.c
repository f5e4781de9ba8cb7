/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identify: what the controller and its namespace are.
 *
 * NVM Express Base Specification 2.0c, "Identify command"; NVM Command Set Specification 1.0c,
 * "Identify".  Linux 6.1 to 6.18 asks for CNS 00h, 01h, 02h, 03h, 05h, 06h and 08h.
 */
#include <assert.h>

#include "nvme/identify_spec.h"
#include "nvme/target_internal.h"

#define LBAF_4K  0 /* Index of the format in the table. */
#define LBAF_512 1

/* Text fields are filled up with spaces, not zeros. */
static void put_text(char *field, size_t bytes, const char *text)
{
    const size_t length = strnlen(text, bytes);

    memset(field, ' ', bytes);
    memcpy(field, text, length);
}

/* In microseconds.  Hosts wait so long for a shutdown, and by default for 1 s (Linux for 5 s). */
static void put_latencies(struct nvme_id_ctrl_spec *id)
{
    id->rtd3r = le32_make(NVME_RESUME_MS * 1000);
    id->rtd3e = le32_make(NVME_END_S * 1000000);
}

static void put_io_ctrl(const struct nvme_ctrl *ctrl, struct nvme_id_ctrl_spec *id)
{
    struct nvme_ns_info info;

    ctrl->subsys->ns->ops->info(ctrl->subsys->ns, &info);
    const uint32_t atomic_blocks = info.atomic_bytes >> ctrl->subsys->lba_shift;
    const uint16_t atomic = (uint16_t)(atomic_blocks > 0 ? atomic_blocks - 1 : 0);

    id->cmic = NVME_CTRL_CMIC_MULTI_PORT | NVME_CTRL_CMIC_MULTI_CTRL;
    id->cntrltype = NVME_CTRL_TYPE_IO;
    put_latencies(id);
    id->oaes = le32_make(NVME_AEN_NS_CHANGED);
    id->lpa = NVME_CTRL_LPA_EFFECTS | NVME_CTRL_LPA_EXTENDED;
    id->kas = le16_make(NVME_KAS);
    id->sqes = 0x66;
    id->cqes = 0x44;
    id->nn = le32_make(NVME_TARGET_NSID);
    id->mnan = le32_make(NVME_TARGET_NSID);
    id->oncs = le16_make(NVME_CTRL_ONCS_COMPARE | NVME_CTRL_ONCS_DSM | NVME_CTRL_ONCS_ZEROES |
                         NVME_CTRL_ONCS_TIMESTAMP | NVME_CTRL_ONCS_VERIFY | NVME_CTRL_ONCS_COPY);
    id->ocfs = le16_make(NVME_CTRL_OCFS_FORMAT_0);
    id->vwc = NVME_CTRL_VWC_PRESENT | NVME_CTRL_VWC_FLUSH_ALL;
    id->awun = le16_make(atomic);
    id->awupf = le16_make(atomic);
}

/* No namespace, no command of the NVM command set: what there is, is the vendor's. */
static void put_vendor_ctrl(const struct nvme_ctrl *ctrl, struct nvme_id_ctrl_spec *id)
{
    const struct nvme_id_vendor_spec vendor = {
        .reactors = le16_make((uint16_t)ctrl->subsys->target->shard_count),
    };

    id->cntrltype = NVME_CTRL_TYPE_IO;
    put_latencies(id);
    id->lpa = NVME_CTRL_LPA_EFFECTS | NVME_CTRL_LPA_EXTENDED;
    id->kas = le16_make(NVME_KAS);
    id->sqes = 0x66;
    id->cqes = 0x44;
    memcpy(id->vendor, &vendor, sizeof vendor);
}

static void put_discovery_ctrl(struct nvme_id_ctrl_spec *id)
{
    id->cntrltype = NVME_CTRL_TYPE_DISCOVERY;
    id->oaes = le32_make(NVME_AEN_DISCOVERY_CHANGED);
    id->lpa = NVME_CTRL_LPA_EXTENDED;
    id->kas = le16_make(NVME_KAS);
}

static void identify_ctrl(const struct nvme_ctrl *ctrl, struct span out)
{
    const struct nvme_subsys *subsys = ctrl->subsys;
    struct nvme_id_ctrl_spec id = { 0 };

    put_text(id.sn, sizeof id.sn, subsys->serial);
    put_text(id.mn, sizeof id.mn, subsys->model);
    put_text(id.fr, sizeof id.fr, NVME_TARGET_FIRMWARE);
    memcpy(id.subnqn, subsys->nqn.s, strlen(subsys->nqn.s));
    id.mdts = (uint8_t)(ctrl->subsys->lba_shift == 9 ? NVME_MDTS - 1 : NVME_MDTS);
    id.cntlid = le16_make(ctrl->cntlid);
    id.ver = le32_make(NVME_VS_2_0);
    id.ctratt = le32_make(NVME_CTRL_ATTR_HID128);
    id.acl = NVME_ABORTS_MAX - 1;
    id.aerl = NVME_ASYNC_EVENTS_MAX - 1;
    id.elpe = NVME_ERROR_ENTRIES - 1;
    id.frmw = 0x03;             /* One firmware slot, read only. */
    id.wctemp = le16_make(343); /* 70 and 80 degrees: required, and never reached. */
    id.cctemp = le16_make(353);
    id.maxcmd = le16_make(NVME_QUEUE_ENTRIES_MAX);
    id.sgls =
        le32_make(NVME_CTRL_SGLS_SUPPORTED | NVME_CTRL_SGLS_OFFSET | NVME_CTRL_SGLS_TRANSPORT);
    id.ioccsz = le32_make(NVME_IOCCSZ);
    id.iorcsz = le32_make(1); /* Just the completion. */
    id.msdbd = 1;             /* One SGL descriptor per command. */
    if (ctrl_is_discovery(ctrl))
        put_discovery_ctrl(&id);
    else if (subsys_is_vendor(subsys))
        put_vendor_ctrl(ctrl, &id);
    else
        put_io_ctrl(ctrl, &id);
    memcpy(out.at, &id, sizeof id);
}

/* 0's based, in blocks, from bytes; 0 bytes give 0. */
static uint16_t blocks_0_based(const struct nvme_subsys *subsys, uint32_t bytes)
{
    const uint32_t blocks = bytes >> subsys->lba_shift;

    return (uint16_t)(blocks == 0 ? 0 : min_u64(blocks - 1, UINT16_MAX));
}

static void put_ns_sizes(const struct nvme_subsys *subsys, const struct nvme_ns_info *info,
                         struct nvme_id_ns_spec *id)
{
    const uint64_t blocks = atomic_load_explicit(&subsys->blocks, memory_order_relaxed);

    id->nsze = le64_make(blocks);
    id->ncap = le64_make(blocks);
    id->nuse = le64_make(min_u64(info->used_bytes >> subsys->lba_shift, blocks));
    id->nlbaf = 1; /* 0's based: two formats. */
    id->lbaf[LBAF_4K].lbads = 12;
    id->lbaf[LBAF_512].lbads = 9;
    id->lbaf[LBAF_512].rp = 2; /* Good; 4 KiB is best. */
    id->flbas = info->lba_bytes == 4096 ? LBAF_4K : LBAF_512;
}

static void identify_ns(const struct nvme_ctrl *ctrl, struct span out)
{
    const struct nvme_subsys *subsys = ctrl->subsys;
    struct nvme_id_ns_spec id = { 0 };
    struct nvme_ns_info info;

    subsys->ns->ops->info(subsys->ns, &info);
    put_ns_sizes(subsys, &info, &id);
    id.nsfeat = NVME_NS_FEAT_THIN | NVME_NS_FEAT_ATOMIC | NVME_NS_FEAT_OPTPERF;
    id.nmic = NVME_NS_NMIC_SHARED;
    id.dlfeat = NVME_NS_DLFEAT_ZEROES | NVME_NS_DLFEAT_WZ_DEAC;
    id.nawun = le16_make(blocks_0_based(subsys, info.atomic_bytes));
    id.nawupf = id.nawun;
    /* What is atomic is a block of 4 KiB, not any 4 KiB: 0 where it is one LBA. */
    id.nabsn = id.nawun;
    id.nabspf = id.nawun;
    /* Space is given and taken in blocks of 4 KiB. */
    id.npwg = le16_make(blocks_0_based(subsys, NVME_NS_BLOCK_BYTES));
    id.npwa = id.npwg;
    id.npdg = id.npwg;
    id.npda = id.npwg;
    if (info.optimal_io_bytes > 0) {
        id.nows = le16_make(blocks_0_based(subsys, info.optimal_io_bytes));
        id.noiob =
            le16_make((uint16_t)min_u64(info.optimal_io_bytes >> subsys->lba_shift, UINT16_MAX));
    } else {
        id.nows = id.npwg;
    }
    id.mssrl = le16_make((uint16_t)(NVME_COPY_RANGE_BYTES_MAX >> subsys->lba_shift));
    id.mcl = le32_make((uint32_t)(NVME_COPY_BYTES_MAX >> subsys->lba_shift));
    id.msrc = NVME_COPY_RANGES_MAX - 1;
    memcpy(id.nguid, info.nguid, sizeof id.nguid);
    memcpy(out.at, &id, sizeof id);
}

static void identify_ns_common(struct span out)
{
    const struct nvme_id_ns_common_spec id = {
        .nmic = NVME_NS_NMIC_SHARED,
        .nstat = NVME_NS_NSTAT_READY,
    };
    memcpy(out.at, &id, sizeof id);
}

static size_t put_descriptor(uint8_t *at, uint8_t type, const void *value, uint8_t bytes)
{
    const struct nvme_ns_descriptor_spec header = { .nidt = type, .nidl = bytes };

    memcpy(at, &header, sizeof header);
    memcpy(at + sizeof header, value, bytes);
    return sizeof header + bytes;
}

static void identify_descriptors(const struct nvme_ctrl *ctrl, struct span out)
{
    const uint8_t csi = NVME_CSI_NVM;
    struct nvme_ns_info info;
    uint8_t *at = out.at;

    ctrl->subsys->ns->ops->info(ctrl->subsys->ns, &info);
    at += put_descriptor(at, NVME_NIDT_NGUID, info.nguid, sizeof info.nguid);
    at += put_descriptor(at, NVME_NIDT_UUID, info.uuid.b, sizeof info.uuid.b);
    put_descriptor(at, NVME_NIDT_CSI, &csi, sizeof csi);
}

/* The namespaces after nsid, of which there is at most one. */
static uint16_t identify_ns_list(uint32_t nsid, struct span out)
{
    const struct le32 only = le32_make(NVME_TARGET_NSID);

    if (nsid >= 0xfffffffe)
        return NVME_SC_DNR | NVME_SC_INVALID_NS;
    if (nsid < NVME_TARGET_NSID)
        memcpy(out.at, &only, sizeof only);
    return 0;
}

/* What limits NVM commands, besides MDTS. */
static uint16_t identify_nvm_ctrl(uint8_t csi, struct span out)
{
    const struct nvme_id_ctrl_nvm_spec id = { .vsl = NVME_VSL };

    if (csi != NVME_CSI_NVM)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    memcpy(out.at, &id, sizeof id);
    return 0;
}

/* Where there are no namespaces: a list of none, and nothing about any. */
static uint16_t identify_vendor(const struct nvme_sqe *sqe)
{
    switch ((uint8_t)sqe->cdw10) {
    case NVME_CNS_NS_LIST:
        return sqe->nsid >= 0xfffffffe ? NVME_SC_DNR | NVME_SC_INVALID_NS : 0;
    case NVME_CNS_NS:
    case NVME_CNS_NS_DESCRIPTORS:
        return NVME_SC_DNR | NVME_SC_INVALID_NS;
    default:
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    }
}

/* The structures about one namespace. */
static uint16_t identify_one_ns(const struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe,
                                struct span out)
{
    const uint8_t cns = (uint8_t)sqe->cdw10;
    const uint8_t csi = (uint8_t)(sqe->cdw11 >> 24);

    if (cns == NVME_CNS_CSI_NS && csi != NVME_CSI_NVM)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    /* "If NSID FFFFFFFFh ... capabilities common across all namespaces" needs Namespace
     * Management, which we do not have. */
    if (sqe->nsid == 0 || sqe->nsid == NVME_NSID_ALL)
        return NVME_SC_DNR | NVME_SC_INVALID_NS;
    if (sqe->nsid != NVME_TARGET_NSID) /* Not active: zeros where the structure says so. */
        return cns == NVME_CNS_NS_DESCRIPTORS || sqe->nsid > NVME_TARGET_NSID
                   ? NVME_SC_DNR | NVME_SC_INVALID_NS
                   : 0;
    if (cns == NVME_CNS_NS)
        identify_ns(ctrl, out);
    else if (cns == NVME_CNS_NS_DESCRIPTORS)
        identify_descriptors(ctrl, out);
    else if (cns == NVME_CNS_NS_COMMON)
        identify_ns_common(out);
    return 0; /* CNS 05h: no protection information, no variable sized extensions: zeros. */
}

static uint16_t identify(const struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe, struct span out)
{
    const uint8_t csi = (uint8_t)(sqe->cdw11 >> 24);

    if ((uint8_t)sqe->cdw10 == NVME_CNS_CTRL) {
        identify_ctrl(ctrl, out);
        return 0;
    }
    if (ctrl_is_discovery(ctrl))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (subsys_is_vendor(ctrl->subsys))
        return identify_vendor(sqe);
    switch ((uint8_t)sqe->cdw10) {
    case NVME_CNS_NS:
    case NVME_CNS_NS_DESCRIPTORS:
    case NVME_CNS_CSI_NS:
    case NVME_CNS_NS_COMMON:
        return identify_one_ns(ctrl, sqe, out);
    case NVME_CNS_NS_LIST:
        return identify_ns_list(sqe->nsid, out);
    case NVME_CNS_CSI_NS_LIST:
        return csi == NVME_CSI_NVM ? identify_ns_list(sqe->nsid, out)
                                   : NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    case NVME_CNS_CSI_CTRL:
        return identify_nvm_ctrl(csi, out);
    default:
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    }
}

uint16_t ctrl_identify(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    if (cmd->data.bytes < NVME_IDENTIFY_BYTES)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;

    const struct span out = span_sub(cmd->data, 0, NVME_IDENTIFY_BYTES);
    memset(out.at, 0, out.bytes);
    const uint16_t status = identify(ctrl, &cmd->sqe, out);
    if (status == 0)
        cmd->reply_bytes = NVME_IDENTIFY_BYTES;
    return status;
}

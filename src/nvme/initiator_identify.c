/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/initiator_identify.h"

#include "nvme/limits.h"

#define CAPSULE_UNIT     16 /* IOCCSZ counts these. */
#define SQE_BYTES        64
#define MDTS_PAGE_SHIFT  12 /* CAP.MPSMIN 0: the initiator asks for nothing else. */
#define LBA_SHIFT_MIN    9
#define LBA_SHIFT_MAX    16
#define FLBAS_INDEX_LOW  0x0f
#define FLBAS_INDEX_HIGH 0x60 /* Bits 6:5 are bits 5:4 of the index. */

/* Copies an ASCII field, without the spaces behind it and with '?' for what is not printable. */
static void copy_ascii(char *to, const char *from, size_t bytes)
{
    while (bytes > 0 && (from[bytes - 1] == ' ' || from[bytes - 1] == '\0'))
        bytes--;
    for (size_t i = 0; i < bytes; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[bytes] = '\0';
}

static uint32_t data_bytes_max(uint8_t mdts)
{
    /* 0 means no limit. */
    if (mdts == 0 || mdts >= NVME_MDTS)
        return NVME_DATA_BYTES_MAX;
    return UINT32_C(1) << (MDTS_PAGE_SHIFT + mdts);
}

static uint32_t in_capsule_bytes(const struct nvme_id_ctrl_spec *id)
{
    const uint64_t capsule = (uint64_t)le32_get(id->ioccsz) * CAPSULE_UNIT;

    /* "ICDOFF": data elsewhere than right behind the command are not ours. */
    if (capsule <= SQE_BYTES || le16_get(id->icdoff) != 0)
        return 0;
    return (uint32_t)min_u64(capsule - SQE_BYTES, NVME_IN_CAPSULE_BYTES_MAX);
}

struct status initiator_parse_ctrl(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                   struct initiator_ctrl_info *info)
{
    struct nvme_id_ctrl_spec id;
    struct nvme_id_vendor_spec vendor;

    memcpy(&id, raw, sizeof id);
    if (le16_get(id.cntlid) != info->cntlid)
        return STATUS(CORRUPT);
    info->is_discovery = id.cntrltype == NVME_CTRL_TYPE_DISCOVERY;
    if (!info->is_discovery && le32_get(id.ioccsz) < SQE_BYTES / CAPSULE_UNIT)
        return STATUS(CORRUPT);

    info->data_bytes_max = data_bytes_max(id.mdts);
    info->in_capsule_bytes = in_capsule_bytes(&id);
    memcpy(&vendor, id.vendor, sizeof vendor);
    info->reactors = le16_get(vendor.reactors);
    info->events = le32_get(id.oaes);
    info->has_volatile_cache = (id.vwc & NVME_CTRL_VWC_PRESENT) != 0;
    info->can_write_zeroes = (le16_get(id.oncs) & NVME_CTRL_ONCS_ZEROES) != 0;
    info->can_deallocate = (le16_get(id.oncs) & NVME_CTRL_ONCS_DSM) != 0;
    copy_ascii(info->serial, id.sn, sizeof id.sn);
    copy_ascii(info->model, id.mn, sizeof id.mn);
    copy_ascii(info->firmware, id.fr, sizeof id.fr);
    return STATUS(OK);
}

struct status initiator_parse_ns_list(const uint8_t raw[NVME_IDENTIFY_BYTES], uint32_t *out_nsid)
{
    struct le32 first;

    memcpy(&first, raw, sizeof first);
    const uint32_t nsid = le32_get(first);
    if (nsid == 0 || nsid == NVME_NSID_ALL)
        return STATUS(NOT_FOUND);
    *out_nsid = nsid;
    return STATUS(OK);
}

struct status initiator_parse_ns(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                 struct initiator_ns_info *ns)
{
    struct nvme_id_ns_spec id;

    memcpy(&id, raw, sizeof id);
    const unsigned format =
        (id.flbas & FLBAS_INDEX_LOW) | (unsigned)(id.flbas & FLBAS_INDEX_HIGH) >> 1;
    const struct nvme_lbaf_spec *lbaf = &id.lbaf[format]; /* 6 bits: always one of the 64. */
    const uint64_t lbas = le64_get(id.nsze);

    if (lbaf->lbads < LBA_SHIFT_MIN || lbaf->lbads > LBA_SHIFT_MAX || le16_get(lbaf->ms) != 0)
        return STATUS(UNSUPPORTED);
    if (lbas == 0 || lbas > UINT64_MAX >> lbaf->lbads)
        return STATUS(CORRUPT);
    ns->lba_bytes = UINT32_C(1) << lbaf->lbads;
    ns->bytes = lbas << lbaf->lbads;
    memcpy(ns->nguid, id.nguid, sizeof ns->nguid);
    return STATUS(OK);
}

void initiator_parse_ns_descriptors(const uint8_t raw[NVME_IDENTIFY_BYTES],
                                    struct initiator_ns_info *ns)
{
    struct nvme_ns_descriptor_spec d;

    for (size_t at = 0; at + sizeof d <= NVME_IDENTIFY_BYTES; at += sizeof d + d.nidl) {
        memcpy(&d, raw + at, sizeof d);
        /* A length of 0 ends the list. */
        if (d.nidl == 0 || d.nidl > NVME_IDENTIFY_BYTES - at - sizeof d)
            return;
        if (d.nidt == NVME_NIDT_UUID && d.nidl == sizeof ns->uuid.b)
            memcpy(ns->uuid.b, raw + at + sizeof d, sizeof ns->uuid.b);
    }
}

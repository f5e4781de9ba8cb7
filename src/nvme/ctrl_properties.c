/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controller properties: CAP, VS, CC, CSTS.
 *
 * NVM Express Base Specification 2.0c, "Controller Properties", "Property Get Command and
 * Response", "Property Set Command and Response".
 */
#include <assert.h>

#include "nvme/target_internal.h"

/* CAP.TO: how long RDY may take to follow EN, in 500 ms: draining I/O queues is what takes it. */
#define READY_TIMEOUT UINT64_C(60)

uint32_t ctrl_csts(const struct nvme_ctrl *ctrl)
{
    uint32_t csts = 0;

    /* Disabling and shutting down are over when no I/O queue is left. */
    if ((ctrl->cc & NVME_CC_EN) != 0 || ctrl->io_queues > 0)
        csts |= NVME_CSTS_RDY;
    if (ctrl->shutdown)
        csts |= ctrl->io_queues == 0 ? NVME_CSTS_SHST_COMPLETE : NVME_CSTS_SHST_COMPLETE >> 1;
    return csts;
}

static uint64_t cap_value(void)
{
    return (NVME_QUEUE_ENTRIES_MAX - 1) | NVME_CAP_CQR | READY_TIMEOUT << NVME_CAP_TO_SHIFT |
           NVME_CAP_CSS_NVM;
}

/* The property's place and size out of the command; false if there is none such. */
static bool decode_property(const struct nvme_sqe *sqe, enum nvme_property *out_property)
{
    const uint32_t offset = sqe->cdw11;
    const unsigned size = sqe->cdw10 & NVME_PROPERTY_SIZE_MASK;

    *out_property = (enum nvme_property)offset;
    return offset == NVME_PROP_CAP ? size == NVME_PROPERTY_SIZE_8 : size == NVME_PROPERTY_SIZE_4;
}

uint16_t ctrl_property_get(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    enum nvme_property property;

    if (!decode_property(&cmd->sqe, &property))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    switch (property) {
    case NVME_PROP_CAP:
        cmd->result = cap_value();
        return 0;
    case NVME_PROP_VS:
        cmd->result = NVME_VS_2_0;
        return 0;
    case NVME_PROP_CC:
        cmd->result = ctrl->cc;
        return 0;
    case NVME_PROP_CSTS:
        cmd->result = ctrl_csts(ctrl);
        return 0;
    case NVME_PROP_NSSR:
    case NVME_PROP_CRTO:
        break;
    }
    return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
}

/* Whether the configuration that a host enables is one that we have. */
static bool cc_is_supported(const struct nvme_ctrl *ctrl, uint32_t cc)
{
    const uint32_t sqes = cc >> NVME_CC_IOSQES_SHIFT & 0xf;
    const uint32_t cqes = cc >> NVME_CC_IOCQES_SHIFT & 0xf;

    if ((cc & (NVME_CC_CSS_MASK | NVME_CC_MPS_MASK | NVME_CC_AMS_MASK)) != 0)
        return false;
    /* Entries of 64 and 16 bytes; a discovery controller has no I/O queues to size. */
    return ctrl_is_discovery(ctrl) || (sqes == 6 && cqes == 4);
}

uint16_t ctrl_property_set(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    enum nvme_property property;
    const uint32_t cc = cmd->sqe.cdw12;

    if (!decode_property(&cmd->sqe, &property) || property != NVME_PROP_CC)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if ((cc & NVME_CC_EN) != 0 && (ctrl->cc & NVME_CC_EN) == 0 && !cc_is_supported(ctrl, cc))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;

    if ((cc & NVME_CC_SHN_MASK) != 0)
        ctrl->shutdown = true;
    else if ((cc & NVME_CC_EN) != 0 && (ctrl->cc & NVME_CC_EN) == 0)
        ctrl->shutdown = false; /* Enabling anew ends a shutdown. */
    ctrl->cc = cc;
    if (ctrl->shutdown || (cc & NVME_CC_EN) == 0)
        ctrl_kill_io_queues(ctrl);
    return 0;
}

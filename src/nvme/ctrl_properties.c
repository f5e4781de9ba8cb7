/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controller properties: CAP, VS, CC, CSTS.
 *
 * NVM Express Base Specification 2.0c, "Controller Properties", "Property Get Command and
 * Response", "Property Set Command and Response".
 */
#include <assert.h>

#include "nvme/target_internal.h"

#define READY_TIMEOUT ((uint64_t)NVME_END_S * 2) /* CAP.TO is in units of 500 ms. */

uint32_t ctrl_csts(const struct nvme_ctrl *ctrl)
{
    uint32_t csts = 0;

    /* Disabling is over when no I/O queue is left. */
    if ((ctrl->cc & NVME_CC_EN) != 0 || ctrl->io_queues > 0)
        csts |= NVME_CSTS_RDY;
    if (ctrl->shutdown == SHUTDOWN_COMPLETE)
        csts |= NVME_CSTS_SHST_COMPLETE;
    else if (ctrl->shutdown != SHUTDOWN_NONE)
        csts |= NVME_CSTS_SHST_OCCURRING;
    return csts;
}

/* ---- Shutdown: the I/O queues end, then what the volatile cache holds becomes durable ---- */

static void shutdown_on_flush(struct nvme_ns_req *req)
{
    struct nvme_ctrl *ctrl = CONTAINER_OF(req, struct nvme_ctrl, shutdown_flush);
    struct nvme_target *target = ctrl->subsys->target;

    if (!status_ok(req->status))
        log_error(target->home->log, "'%s': flush at the shutdown of controller %u: %s",
                  ctrl->subsys->nqn.s, ctrl->cntlid, status_text(req->status));
    ctrl->shutdown = SHUTDOWN_COMPLETE;
    if (ctrl_check_gone(ctrl))
        home_retry_connects(target);
}

void ctrl_shutdown_step(struct nvme_ctrl *ctrl)
{
    struct nvme_ns *ns = ctrl->subsys->ns;

    if (ctrl->shutdown != SHUTDOWN_DRAINING || ctrl->io_queues > 0)
        return;
    if (ns == NULL) {
        ctrl->shutdown = SHUTDOWN_COMPLETE;
        return;
    }
    ctrl->shutdown = SHUTDOWN_FLUSHING;
    list_node_init(&ctrl->shutdown_flush.link);
    ctrl->shutdown_flush.opcode = NVME_NS_FLUSH;
    ctrl->shutdown_flush.loss_told = NVME_LOSS_NO_HOST;
    ctrl->shutdown_flush.reactor = ctrl->subsys->target->home;
    ctrl->shutdown_flush.done = shutdown_on_flush;
    ctrl->shutdown_flush.status = STATUS(OK);
    ns->ops->submit(ns, &ctrl->shutdown_flush);
}

static void shutdown_start(struct nvme_ctrl *ctrl)
{
    if (ctrl->shutdown != SHUTDOWN_NONE)
        return;
    /*
     * It is no proof that the host has heard of a loss (see ns.h): a host that has lost an I/O
     * queue with the answer on it may shut down, and repeat the command on another path.
     */
    ctrl->shutdown = SHUTDOWN_DRAINING;
    ctrl_kill_io_queues(ctrl);
    ctrl_shutdown_step(ctrl);
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

    if ((cc & NVME_CC_SHN_MASK) == NVME_CC_SHN_MASK) /* Reserved. */
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;

    const bool enables = (cc & NVME_CC_EN) != 0 && (ctrl->cc & NVME_CC_EN) == 0;
    const bool resets = (cc & NVME_CC_EN) == 0 && (ctrl->cc & NVME_CC_EN) != 0;

    ctrl->cc = cc;
    if ((cc & NVME_CC_SHN_MASK) != 0)
        shutdown_start(ctrl);
    else if (enables && ctrl->shutdown == SHUTDOWN_COMPLETE)
        ctrl->shutdown = SHUTDOWN_NONE; /* Enabling anew ends a shutdown. */
    if (resets)
        ctrl_reset(ctrl);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Get Features and Set Features.
 *
 * NVM Express Base Specification 2.0c, "Get Features command", "Set Features command".
 */
#include <assert.h>

#include "nvme/target_internal.h"

static uint32_t queues_value(const struct nvme_ctrl *ctrl)
{
    return (ctrl->io_queues_max - 1) << 16 | (ctrl->io_queues_max - 1);
}

/* Copies a feature's data structure into the command's buffer. */
static uint16_t reply_data(struct nvme_cmd *cmd, const void *data, uint32_t bytes)
{
    if (cmd->data.bytes < bytes)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    memcpy(cmd->data.at, data, bytes);
    cmd->reply_bytes = bytes;
    return 0;
}

static uint64_t now_ns(const struct nvme_ctrl *ctrl)
{
    return reactor_now_ns(ctrl->subsys->target->home);
}

static uint16_t get_timestamp(const struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    const uint64_t ms = ctrl->timestamp_ms + (now_ns(ctrl) - ctrl->timestamp_ns) / NS_PER_MS;
    const struct le64 wire = le64_make(ms); /* 48 bits, and then it begins anew. */
    struct nvme_timestamp_spec data = { .attributes = ctrl->timestamp_is_set
                                                          ? NVME_TIMESTAMP_ORIGIN_HOST
                                                          : NVME_TIMESTAMP_ORIGIN_RESET };

    memcpy(data.ms, &wire, sizeof data.ms);
    return reply_data(cmd, &data, sizeof data);
}

static uint16_t set_timestamp(struct nvme_ctrl *ctrl, const struct nvme_cmd *cmd)
{
    struct nvme_timestamp_spec data;
    struct le64 wire = { 0 };

    if (cmd->data.bytes != sizeof data)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    memcpy(&data, cmd->data.at, sizeof data);
    memcpy(&wire, data.ms, sizeof data.ms);
    ctrl->timestamp_ms = le64_get(wire);
    ctrl->timestamp_ns = now_ns(ctrl);
    ctrl->timestamp_is_set = true;
    return 0;
}

static uint16_t get_current(const struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, uint8_t fid)
{
    switch (fid) {
    case NVME_FEAT_ARBITRATION:
        cmd->result = 7; /* No burst limit. */
        return 0;
    case NVME_FEAT_POWER_MANAGEMENT:
    case NVME_FEAT_TEMPERATURE:
    case NVME_FEAT_ERROR_RECOVERY:
    case NVME_FEAT_WRITE_ATOMICITY:
        return 0;
    case NVME_FEAT_VOLATILE_CACHE:
        cmd->result = NVME_FEAT_CACHE_WCE;
        return 0;
    case NVME_FEAT_QUEUES:
        cmd->result = queues_value(ctrl);
        return 0;
    case NVME_FEAT_ASYNC_EVENT:
        cmd->result = ctrl->event_config;
        return 0;
    case NVME_FEAT_TIMESTAMP:
        return get_timestamp(ctrl, cmd);
    case NVME_FEAT_KEEP_ALIVE:
        cmd->result = ctrl->kato_ms;
        return 0;
    case NVME_FEAT_HOST_BEHAVIOR:
        return reply_data(cmd, ctrl->host_behavior, sizeof ctrl->host_behavior);
    case NVME_FEAT_HOST_ID:
        /* "... over fabrics ... the Extended Host Identifier": 128 bits only. */
        if ((cmd->sqe.cdw11 & NVME_FEAT_HOST_ID_EXHID) == 0)
            return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
        return reply_data(cmd, ctrl->host_id, sizeof ctrl->host_id);
    default:
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    }
}

static bool is_changeable(uint8_t fid)
{
    return fid == NVME_FEAT_QUEUES || fid == NVME_FEAT_ASYNC_EVENT || fid == NVME_FEAT_KEEP_ALIVE ||
           fid == NVME_FEAT_HOST_BEHAVIOR || fid == NVME_FEAT_TIMESTAMP;
}

/* A discovery controller has the features that concern it; without namespaces there is no cache. */
static bool is_supported(const struct nvme_ctrl *ctrl, uint8_t fid)
{
    if (subsys_is_vendor(ctrl->subsys))
        return fid != NVME_FEAT_VOLATILE_CACHE;
    return !ctrl_is_discovery(ctrl) || fid == NVME_FEAT_ASYNC_EVENT ||
           fid == NVME_FEAT_KEEP_ALIVE || fid == NVME_FEAT_HOST_ID;
}

uint16_t ctrl_get_features(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    const uint8_t fid = (uint8_t)(cmd->sqe.cdw10 & NVME_FEAT_CDW10_FID_MASK);
    const unsigned select = cmd->sqe.cdw10 >> NVME_FEAT_CDW10_SEL_SHIFT & 7;

    if (!is_supported(ctrl, fid))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    /* Nothing can be saved, and Save is 0 in ONCS: only the current value can be asked for, and
     * what the feature can do. */
    if (select == NVME_FEAT_SEL_CURRENT)
        return get_current(ctrl, cmd, fid);
    if (select != NVME_FEAT_SEL_CAPABILITIES)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    cmd->result = is_changeable(fid) ? NVME_FEAT_CAP_CHANGEABLE : 0;
    return 0;
}

static uint16_t set_queues(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    const uint32_t submission = cmd->sqe.cdw11 & 0xffff;
    const uint32_t completion = cmd->sqe.cdw11 >> 16;

    /* "... 65,535 is an invalid value"; "after any I/O queue was created ... Command Sequence
     * Error". */
    if (submission == 0xffff || completion == 0xffff)
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if (ctrl->io_queues > 0)
        return NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE;
    /* Over fabrics, a pair is made by one Connect. */
    ctrl->io_queues_max =
        (unsigned)min_u64(max_u64(submission, completion) + 1, NVME_IO_QUEUES_MAX);
    cmd->result = queues_value(ctrl);
    return 0;
}

static uint16_t set_host_behavior(struct nvme_ctrl *ctrl, const struct nvme_cmd *cmd)
{
    if (cmd->data.bytes != sizeof ctrl->host_behavior)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    memcpy(ctrl->host_behavior, cmd->data.at, sizeof ctrl->host_behavior);
    return 0;
}

uint16_t ctrl_set_features(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    const uint8_t fid = (uint8_t)(cmd->sqe.cdw10 & NVME_FEAT_CDW10_FID_MASK);

    if (!is_supported(ctrl, fid))
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    if ((cmd->sqe.cdw10 & NVME_FEAT_CDW10_SAVE) != 0)
        return NVME_SC_DNR | NVME_SC_FEATURE_NOT_SAVEABLE;
    switch (fid) {
    case NVME_FEAT_QUEUES:
        return set_queues(ctrl, cmd);
    case NVME_FEAT_ASYNC_EVENT:
        ctrl->event_config = cmd->sqe.cdw11;
        return 0;
    case NVME_FEAT_KEEP_ALIVE:
        ctrl_set_kato(ctrl, cmd->sqe.cdw11);
        return 0;
    case NVME_FEAT_TIMESTAMP:
        return set_timestamp(ctrl, cmd);
    case NVME_FEAT_HOST_BEHAVIOR:
        return set_host_behavior(ctrl, cmd);
    case NVME_FEAT_VOLATILE_CACHE:
        /* The cache is the disks' and the journal's: it cannot be switched off. */
        return (cmd->sqe.cdw11 & NVME_FEAT_CACHE_WCE) != 0
                   ? 0
                   : NVME_SC_DNR | NVME_SC_FEATURE_NOT_CHANGEABLE;
    case NVME_FEAT_ARBITRATION:
    case NVME_FEAT_POWER_MANAGEMENT:
    case NVME_FEAT_TEMPERATURE:
    case NVME_FEAT_ERROR_RECOVERY:
    case NVME_FEAT_WRITE_ATOMICITY:
        return NVME_SC_DNR | NVME_SC_FEATURE_NOT_CHANGEABLE;
    case NVME_FEAT_HOST_ID: /* Connect has said it. */
        return NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE;
    default:
        return NVME_SC_DNR | NVME_SC_INVALID_FIELD;
    }
}

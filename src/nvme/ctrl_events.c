/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous events.  A request waits at home until something happens; an event is reported
 * once, and again only after the log page that belongs to it was read.
 *
 * NVM Express Base Specification 2.0c, "Asynchronous Event Request command".
 */
#include <assert.h>

#include "nvme/log_spec.h"
#include "nvme/target_internal.h"

/* The completion's Dword 0 for an event. */
static uint32_t event_result(uint32_t event)
{
    if (event == NVME_AEN_DISCOVERY_CHANGED)
        return nvme_aen_result(NVME_AEN_TYPE_NOTICE, NVME_AEN_INFO_DISCOVERY, NVME_LOG_DISCOVERY);
    assert(event == NVME_AEN_NS_CHANGED);
    return nvme_aen_result(NVME_AEN_TYPE_NOTICE, NVME_AEN_INFO_NS_CHANGED, NVME_LOG_CHANGED_NS);
}

static void report(struct nvme_ctrl *ctrl)
{
    while (ctrl->event_count > 0) {
        const uint32_t ready = ctrl->event_pending & ~ctrl->event_masked;
        const uint32_t event = ready & (~ready + 1); /* The lowest bit. */

        if (event == 0)
            return;
        struct nvme_cmd *cmd = ctrl->events[--ctrl->event_count];
        ctrl->event_pending &= ~event;
        ctrl->event_masked |= event;
        cmd->result = event_result(event);
        cmd_post_reply(cmd, 0);
    }
}

void ctrl_event_request(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    if (ctrl->event_count == NVME_ASYNC_EVENTS_MAX) {
        cmd_post_reply(cmd, NVME_SC_DNR | NVME_SC_AER_LIMIT);
        return;
    }
    ctrl->events[ctrl->event_count++] = cmd;
    report(ctrl);
}

void ctrl_event(struct nvme_ctrl *ctrl, uint32_t event)
{
    if (ctrl->dying || (ctrl->event_config & event) == 0)
        return;
    ctrl->event_pending |= event;
    report(ctrl);
}

void ctrl_event_clear(struct nvme_ctrl *ctrl, uint32_t event)
{
    ctrl->event_masked &= ~event;
    report(ctrl);
}

void ctrl_events_abort(struct nvme_ctrl *ctrl)
{
    while (ctrl->event_count > 0)
        cmd_post_reply(ctrl->events[--ctrl->event_count], NVME_SC_ABORT_SQ_DELETION);
}

bool ctrl_event_abort(struct nvme_ctrl *ctrl, uint16_t cid)
{
    for (unsigned i = 0; i < ctrl->event_count; i++) {
        struct nvme_cmd *cmd = ctrl->events[i];

        if (cmd->sqe.cid != cid)
            continue;
        ctrl->events[i] = ctrl->events[--ctrl->event_count];
        cmd_post_reply(cmd, NVME_SC_ABORT_REQUESTED);
        return true;
    }
    return false;
}

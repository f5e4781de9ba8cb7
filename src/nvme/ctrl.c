/* SPDX-License-Identifier: Apache-2.0 */
/* A controller: its queues, its keep-alive timer, and who executes its commands. */
#include <assert.h>
#include <stdlib.h>

#include "nvme/target_internal.h"

static void ctrl_on_kato(struct io_timer *timer);
static void ctrl_on_loss(struct io_timer *timer);

static void tell_hosts_changed(const struct nvme_subsys *subsys)
{
    if (subsys->hosts_changed != NULL)
        subsys->hosts_changed(subsys->hosts_ctx);
}

/* Tells the owner of a vendor's commands that an association begins. */
static bool association_open(struct nvme_ctrl *ctrl)
{
    struct nvme_vendor *vendor = ctrl->subsys->vendor;

    return vendor == NULL ||
           status_ok(vendor->ops->opened(vendor, ctrl->host_nqn.s, &ctrl->association));
}

struct nvme_ctrl *ctrl_create(struct nvme_subsys *subsys, uint16_t cntlid,
                              const struct nqn_text *host_nqn)
{
    struct nvme_ctrl *ctrl = calloc(1, sizeof *ctrl);

    if (ctrl == NULL)
        return NULL;
    ctrl->subsys = subsys;
    ctrl->cntlid = cntlid;
    ctrl->host_nqn = *host_nqn;
    if (!association_open(ctrl)) {
        free(ctrl);
        return NULL;
    }
    ctrl->io_queues_max = NVME_IO_QUEUES_MAX;
    ctrl->timestamp_ns = reactor_now_ns(subsys->target->home);
    list_init(&ctrl->queues);
    list_node_init(&ctrl->link);
    io_timer_init(&ctrl->kato_timer, ctrl_on_kato);
    io_timer_init(&ctrl->loss_timer, ctrl_on_loss);
    list_push_back(&subsys->ctrls, &ctrl->link);
    tell_hosts_changed(subsys);
    return ctrl;
}

static void ctrl_free(struct nvme_ctrl *ctrl)
{
    struct nvme_subsys *subsys = ctrl->subsys;

    assert(list_empty(&ctrl->queues) && ctrl->event_count == 0);
    io_timer_disarm(&ctrl->kato_timer);
    io_timer_disarm(&ctrl->loss_timer);
    list_remove(&ctrl->link);
    if (subsys_is_vendor(subsys))
        subsys->vendor->ops->closed(subsys->vendor, ctrl->association);
    free(ctrl);
    tell_hosts_changed(subsys);
    subsys_check_removed(subsys);
    target_check_stopped(subsys->target);
}

void ctrl_kill(struct nvme_ctrl *ctrl, const char *why)
{
    if (ctrl->dying)
        return;
    peer_log(target_home_shard(ctrl->subsys->target), LOG_LEVEL_INFO,
             "controller %u of '%s' for host '%s' ends: %s", ctrl->cntlid, ctrl->subsys->nqn.s,
             ctrl->host_nqn.s, why);
    ctrl->dying = true;
    io_timer_disarm(&ctrl->kato_timer);
    io_timer_disarm(&ctrl->loss_timer);
    ctrl_events_abort(ctrl);
    if (subsys_is_vendor(ctrl->subsys))
        ctrl->subsys->vendor->ops->closing(ctrl->subsys->vendor, ctrl->association);
    LIST_FOR_EACH (node, &ctrl->queues)
        home_conn_kill(CONTAINER_OF(node, struct nvme_conn, ctrl_link));
}

/* ---- Queues ---- */

void ctrl_add_queue(struct nvme_ctrl *ctrl, struct nvme_conn *conn, uint16_t qid)
{
    assert(conn->ctrl == NULL && !ctrl->dying);

    conn->ctrl = ctrl;
    conn->home_qid = qid;
    conn->subsys = ctrl->subsys;
    conn->association = ctrl->association;
    list_push_back(&ctrl->queues, &conn->ctrl_link);
    if (qid != 0)
        ctrl->io_queues++;
}

bool ctrl_remove_queue(struct nvme_conn *conn)
{
    struct nvme_ctrl *ctrl = conn->ctrl;

    list_remove(&conn->ctrl_link);
    if (conn->home_qid == 0)
        ctrl->peer = NULL;
    share_give_back(conn);
    ctrl_keep_counters(conn);
    conn->ctrl = NULL;
    if (conn->home_qid != 0)
        ctrl->io_queues--;
    ctrl_shutdown_step(ctrl);
    return ctrl_check_gone(ctrl);
}

bool ctrl_check_gone(struct nvme_ctrl *ctrl)
{
    if (!ctrl->dying || !list_empty(&ctrl->queues) || ctrl->shutdown == SHUTDOWN_FLUSHING)
        return false;
    ctrl_free(ctrl);
    return true;
}

/*
 * "An association ... is terminated if ... an NVMe Transport connection is lost between the host
 * and controller for any I/O Queue and the host or controller does not support individual I/O
 * Queue deletion": ours does not.  But Linux closes its I/O queues before it asks for a reset or a
 * shutdown through the admin queue, so there is time for that.  A vendor's commands have hosts of
 * another kind: to them an association is all of its connections.
 */
void ctrl_on_queue_closing(struct nvme_conn *conn)
{
    struct nvme_ctrl *ctrl = conn->ctrl;
    struct reactor *home = ctrl->subsys->target->home;

    if (conn->home_qid == 0)
        ctrl_kill(ctrl, "its admin queue was closed");
    else if (subsys_is_vendor(ctrl->subsys) && !conn->kill_sent)
        ctrl_kill(ctrl, "one of its queues was closed");
    else if (!ctrl->dying && !conn->kill_sent && !io_timer_armed(&ctrl->loss_timer))
        io_timer_arm(&ctrl->loss_timer, home, reactor_now_ns(home) + NVME_QUEUE_LOSS_NS);
}

static void ctrl_on_loss(struct io_timer *timer)
{
    ctrl_kill(CONTAINER_OF(timer, struct nvme_ctrl, loss_timer), "it lost an I/O queue");
}

void ctrl_kill_io_queues(struct nvme_ctrl *ctrl)
{
    /* A reset or a shutdown: the host knows. */
    io_timer_disarm(&ctrl->loss_timer);
    LIST_FOR_EACH (node, &ctrl->queues) {
        struct nvme_conn *conn = CONTAINER_OF(node, struct nvme_conn, ctrl_link);

        if (conn->home_qid != 0)
            home_conn_kill(conn);
    }
}

/*
 * "Controller Level Reset": the features have their default values, and nothing waits.  The queues,
 * the keep-alive timeout of Connect, and the logs stay.
 */
void ctrl_reset(struct nvme_ctrl *ctrl)
{
    if (subsys_is_vendor(ctrl->subsys)) {
        ctrl_kill(ctrl, "it was reset, and so has lost its queues");
        return;
    }
    ctrl_kill_io_queues(ctrl);
    ctrl_events_abort(ctrl);
    ctrl->event_config = 0;
    ctrl->event_pending = 0;
    ctrl->event_masked = 0;
    ctrl->io_queues_max = NVME_IO_QUEUES_MAX;
    memset(ctrl->host_behavior, 0, sizeof ctrl->host_behavior);
    ctrl->timestamp_ms = 0;
    ctrl->timestamp_ns = reactor_now_ns(ctrl->subsys->target->home);
    ctrl->timestamp_is_set = false;
    if (ctrl->shutdown == SHUTDOWN_COMPLETE && (ctrl->cc & NVME_CC_SHN_MASK) == 0)
        ctrl->shutdown = SHUTDOWN_NONE;
}

/* ---- Keep alive ---- */

static void kato_arm(struct nvme_ctrl *ctrl, uint64_t timeout_ms)
{
    struct reactor *home = ctrl->subsys->target->home;

    io_timer_arm(&ctrl->kato_timer, home, reactor_now_ns(home) + timeout_ms * NS_PER_MS);
}

void ctrl_keep_alive(struct nvme_ctrl *ctrl)
{
    ctrl->kato_grace = false;
    if (ctrl->kato_ms > 0)
        kato_arm(ctrl, ctrl->kato_ms);
    else if (ctrl_is_discovery(ctrl))
        kato_arm(ctrl, NVME_DISCOVERY_IDLE_MS);
    else
        io_timer_disarm(&ctrl->kato_timer);
}

void ctrl_set_kato(struct nvme_ctrl *ctrl, uint32_t kato_ms)
{
    const uint64_t unit_ms = (uint64_t)NVME_KAS * NVME_KEEP_ALIVE_GRAIN_MS;

    /* "... the controller rounds up to the granularity in KAS". */
    ctrl->kato_ms = (uint32_t)min_u64(round_up_u64(kato_ms, unit_ms), UINT32_MAX);
    ctrl_keep_alive(ctrl);
}

static void ctrl_on_kato(struct io_timer *timer)
{
    struct nvme_ctrl *ctrl = CONTAINER_OF(timer, struct nvme_ctrl, kato_timer);

    /* After a pause of this process the host's command may be there, unread. */
    if (!ctrl->kato_grace) {
        ctrl->kato_grace = true;
        kato_arm(ctrl, (uint64_t)NVME_KAS * NVME_KEEP_ALIVE_GRAIN_MS);
        return;
    }
    ctrl_kill(ctrl, "its keep-alive timeout has passed");
}

/* ---- Commands ---- */

static uint16_t fabrics_command(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    switch (cmd->sqe.nsid & 0xff) {
    case NVME_FCTYPE_PROPERTY_GET:
        return ctrl_property_get(ctrl, cmd);
    case NVME_FCTYPE_PROPERTY_SET:
        return ctrl_property_set(ctrl, cmd);
    case NVME_FCTYPE_CONNECT: /* A queue connects once. */
        return NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE;
    default:
        return NVME_SC_DNR | NVME_SC_INVALID_OPCODE;
    }
}

static uint16_t admin_command(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    switch (cmd->sqe.opcode) {
    case NVME_ADMIN_GET_LOG_PAGE:
        return ctrl_get_log_page(ctrl, cmd);
    case NVME_ADMIN_IDENTIFY:
        return ctrl_identify(ctrl, cmd);
    case NVME_ADMIN_SET_FEATURES:
        return ctrl_set_features(ctrl, cmd);
    case NVME_ADMIN_GET_FEATURES:
        return ctrl_get_features(ctrl, cmd);
    case NVME_ADMIN_KEEP_ALIVE:
        ctrl_keep_alive(ctrl);
        return 0;
    default:
        return NVME_SC_DNR | NVME_SC_INVALID_OPCODE;
    }
}

/* Answers a command that home has executed. */
static void reply(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, uint16_t status)
{
    if (cmd_is_fault(status))
        ctrl_note_error(ctrl, cmd, status);
    cmd_post_reply(cmd, status);
}

void ctrl_command(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd)
{
    const bool ready = (ctrl->cc & NVME_CC_EN) != 0 && (ctrl_csts(ctrl) & NVME_CSTS_RDY) != 0;

    /* "... no commands are received by the Discovery controller within" two minutes: all count. */
    if (ctrl_is_discovery(ctrl) && ctrl->kato_ms == 0)
        ctrl_keep_alive(ctrl);
    if (cmd->conn->home_closing)
        cmd_post_reply(cmd, NVME_SC_ABORT_SQ_DELETION);
    else if (cmd->sqe.opcode == NVME_OPCODE_FABRICS)
        reply(ctrl, cmd, fabrics_command(ctrl, cmd));
    else if (!ready)
        reply(ctrl, cmd, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    else if (cmd->sqe.opcode == NVME_ADMIN_ASYNC_EVENT)
        ctrl_event_request(ctrl, cmd);
    else if (cmd->sqe.opcode == NVME_ADMIN_ABORT)
        ctrl_abort(ctrl, cmd);
    else
        reply(ctrl, cmd, admin_command(ctrl, cmd));
}

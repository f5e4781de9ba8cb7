/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Abort: a command that has not been executed never will be, and ends with Command Abort Requested;
 * one that is being executed is answered "not aborted" at once.
 *
 *   home                                 shard of the queue
 *
 *   Abort: finds the queue -- Abort -->  finds the command, which ...
 *                                          waits for a buffer: ends
 *                                          receives data:      ends when they are all there, for
 *                                                              the host may have sent them
 *                                          is at the namespace: ends if that has not begun it
 *   Abort is answered      <-- Abort --  ... when it has ended, or will not
 *
 * NVM Express Base Specification 2.0c, "Abort command".
 */
#include <assert.h>

#include "nvme/target_internal.h"

#define NOT_ABORTED 1 /* Dword 0, bit 0. */

/* ---- On the shard of the queue ---- */

static void home_on_answer(struct io_msg *msg)
{
    struct nvme_cmd *abort = CONTAINER_OF(msg, struct nvme_cmd, msg);
    struct nvme_ctrl *ctrl = abort->conn->ctrl; /* An admin queue stays while a command is here. */

    assert(ctrl->aborts > 0);
    ctrl->aborts--;
    abort->aborts_on = NULL; /* From here on it is a command like others: nobody aborts it. */
    cmd_post_reply(abort, 0);
}

static void answer(struct nvme_cmd *abort, bool aborted)
{
    abort->result = aborted ? 0 : NOT_ABORTED;
    abort->msg.deliver = home_on_answer;
    reactor_post(abort->conn->target->home, &abort->msg);
}

void cmd_end_aborted(struct nvme_cmd *cmd)
{
    struct nvme_cmd *abort = cmd->aborter;

    cmd->aborter = NULL;
    cmd_respond(cmd, NVME_SC_ABORT_REQUESTED);
    answer(abort, true);
}

void cmd_drop_aborter(struct nvme_cmd *cmd)
{
    struct nvme_cmd *abort = cmd->aborter;

    cmd->aborter = NULL;
    if (abort != NULL)
        answer(abort, true);
}

static struct nvme_cmd *find_command(struct nvme_conn *conn, uint16_t cid)
{
    if (!conn_is_open(conn) || conn->cmds == NULL)
        return NULL;
    for (unsigned i = 0; i < conn->cmd_count; i++) {
        struct nvme_cmd *cmd = &conn->cmds[i];
        if (cmd->state != CMD_FREE && cmd->state != CMD_RESPONDING && cmd->sqe.cid == cid)
            return cmd;
    }
    return NULL;
}

/* Takes an executing command back; one of which a part may have been executed stays. */
static bool take_back(struct nvme_cmd *cmd)
{
    return cmd->state == CMD_EXECUTING && cmd->range <= 1 && io_cancel(cmd);
}

static void shard_on_abort(struct io_msg *msg)
{
    struct nvme_cmd *abort = CONTAINER_OF(msg, struct nvme_cmd, msg);
    struct nvme_cmd *cmd = find_command(abort->aborts_on, (uint16_t)(abort->sqe.cdw10 >> 16));

    if (cmd != NULL && cmd->state == CMD_R2T_WAIT) {
        cmd->aborter = abort;
        cmd_r2t_cancel(cmd);
        cmd_end_aborted(cmd);
    } else if (cmd != NULL && cmd->state != CMD_EXECUTING && cmd->aborter == NULL) {
        cmd->aborter = abort; /* data_complete() goes on, or the connection's end. */
    } else {
        answer(abort, cmd != NULL && take_back(cmd));
    }
}

/* ---- At home ---- */

static struct nvme_conn *find_queue(const struct nvme_ctrl *ctrl, uint16_t qid)
{
    LIST_FOR_EACH (node, &ctrl->queues) {
        struct nvme_conn *conn = CONTAINER_OF(node, struct nvme_conn, ctrl_link);
        if (conn->home_qid == qid && !conn->home_closing && conn->home_moving == NULL)
            return conn;
    }
    return NULL;
}

void ctrl_abort(struct nvme_ctrl *ctrl, struct nvme_cmd *abort)
{
    const uint16_t qid = (uint16_t)abort->sqe.cdw10;
    const uint16_t cid = (uint16_t)(abort->sqe.cdw10 >> 16);
    struct nvme_conn *conn = qid == 0 ? NULL : find_queue(ctrl, qid);

    if (conn == NULL) { /* Of admin commands, only event requests wait. */
        abort->result = qid == 0 && ctrl_event_abort(ctrl, cid) ? 0 : NOT_ABORTED;
        cmd_post_reply(abort, 0);
        return;
    }
    if (ctrl->aborts == NVME_ABORTS_MAX) {
        cmd_post_reply(abort, NVME_SC_ABORT_LIMIT);
        return;
    }
    ctrl->aborts++;
    conn->abort_sent = true;
    abort->aborts_on = conn;
    abort->msg.deliver = shard_on_abort;
    reactor_post(conn->shard->reactor, &abort->msg);
}

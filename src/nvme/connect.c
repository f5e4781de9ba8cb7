/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Connect command, on the home reactor.
 *
 * W3: a Connect to the admin queue is answered only when the association that the same host had
 * with the same subsystem through the same port has ended on all its queues: no command of it
 * executes any more.
 *
 * W2: the entries of all queues together are bounded, because each has memory for its command.
 *
 * NVM Express Base Specification 2.0c, "Connect Command and Response".
 */
#include <assert.h>

#include "base/mutation.h"
#include "nvme/target_internal.h"

struct connect {
    uint16_t qid;
    uint16_t sqsize;
    uint16_t recfmt;
    uint32_t kato_ms;
    uint16_t cntlid;
    uint8_t host_id[16];
    struct nqn_text subsys_nqn;
    struct nqn_text host_nqn;
};

/* ---- Decoding ---- */

/* Connect Invalid Parameters, with the offset of the field that is wrong. */
static uint16_t invalid_command(struct nvme_cmd *cmd, size_t offset)
{
    cmd->result = offset;
    return NVME_SC_DNR | NVME_SC_CONNECT_INVALID_PARAM;
}

static uint16_t invalid_data(struct nvme_cmd *cmd, size_t offset)
{
    cmd->result = NVME_CONNECT_IATTR_DATA | offset;
    return NVME_SC_DNR | NVME_SC_CONNECT_INVALID_PARAM;
}

static bool decode_nqn(const char *field, struct nqn_text *out_nqn)
{
    const size_t bytes = strnlen(field, NVME_NQN_FIELD_BYTES);

    if (bytes > NQN_BYTES_MAX)
        return false;
    memset(out_nqn, 0, sizeof *out_nqn);
    memcpy(out_nqn->s, field, bytes);
    return nqn_is_valid(out_nqn->s);
}

/* 0 or a status with the result filled in. */
static uint16_t connect_decode(struct nvme_cmd *cmd, struct connect *out)
{
    const struct nvme_sqe *sqe = &cmd->sqe;
    struct nvme_connect_data_spec data;

    if (cmd->data.bytes != sizeof data)
        return NVME_SC_DNR | NVME_SC_SGL_DATA_LENGTH;
    memcpy(&data, cmd->data.at, sizeof data);

    out->recfmt = (uint16_t)sqe->cdw10;
    out->qid = (uint16_t)(sqe->cdw10 >> 16);
    out->sqsize = (uint16_t)sqe->cdw11;
    out->kato_ms = sqe->cdw12;
    out->cntlid = le16_get(data.cntlid);
    memcpy(out->host_id, data.host_id, sizeof out->host_id);
    if (out->recfmt != 0)
        return NVME_SC_DNR | NVME_SC_CONNECT_FORMAT;
    if (!decode_nqn(data.subsys_nqn, &out->subsys_nqn))
        return invalid_data(cmd, offsetof(struct nvme_connect_data_spec, subsys_nqn));
    if (!decode_nqn(data.host_nqn, &out->host_nqn))
        return invalid_data(cmd, offsetof(struct nvme_connect_data_spec, host_nqn));
    const unsigned entries_max =
        out->qid == 0 ? NVME_ADMIN_QUEUE_ENTRIES_MAX : NVME_QUEUE_ENTRIES_MAX;
    if (out->sqsize == 0 || out->sqsize >= entries_max)
        return invalid_command(cmd, offsetof(struct nvme_connect_spec, sqsize));
    return 0;
}

/* ---- Answers ---- */

/* The connection is still without a queue: it is the first to make room for others. */
static void half_open_again(struct nvme_conn *conn)
{
    if (!conn->kill_sent)
        list_push_front(&conn->target->half_open, &conn->open_link);
}

static void refuse(struct nvme_cmd *cmd, const struct connect *c, uint16_t status)
{
    struct nvme_conn *conn = cmd->conn;

    half_open_again(conn);
    log_warning(conn->target->home->log,
                "%s: Connect of host '%s' to queue %u of '%s' refused: status %03xh",
                io_addr_format(&conn->peer).s, c->host_nqn.s, c->qid, c->subsys_nqn.s,
                status & NVME_SC_VALUE_MASK);
    cmd_post_reply(cmd, status);
}

static void refuse_subsystem(struct nvme_cmd *cmd, const struct connect *c)
{
    const struct nvme_target *target = cmd->conn->target;

    if (target->expects != NULL && target->expects(target->expects_ctx, c->subsys_nqn.s))
        refuse(cmd, c, NVME_SC_CONNECT_BUSY);
    else
        refuse(cmd, c, invalid_data(cmd, offsetof(struct nvme_connect_data_spec, subsys_nqn)));
}

/* Whether there is memory for one more queue; if not, that was the answer. */
static bool has_room(struct nvme_cmd *cmd, const struct connect *c)
{
    const struct nvme_target *target = cmd->conn->target;

    if (target->commands + c->sqsize + 1 <= target->commands_max)
        return true;
    log_warning(target->home->log,
                "host '%s' asks for %u entries: the queues of all hosts have %u of %u already",
                c->host_nqn.s, c->sqsize + 1, target->commands, target->commands_max);
    refuse(cmd, c, NVME_SC_CONNECT_BUSY);
    return false;
}

static void accept_queue(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, const struct connect *c)
{
    cmd->conn->home_entries = c->sqsize + 1u;
    ctrl_add_queue(ctrl, cmd->conn, c->qid);
    cmd->result = ctrl->cntlid; /* No authentication required. */
    cmd_post_reply(cmd, 0);
}

/* ---- Admin queues ---- */

static bool same_association(const struct nvme_ctrl *ctrl, const struct nvme_conn *conn,
                             const struct connect *c)
{
    return ctrl->port == conn->port && strcmp(ctrl->host_nqn.s, c->host_nqn.s) == 0 &&
           memcmp(ctrl->host_id, c->host_id, sizeof ctrl->host_id) == 0;
}

/* Ends the host's earlier associations; whether there are any. */
static bool kill_predecessors(struct nvme_subsys *subsys, const struct nvme_conn *conn,
                              const struct connect *c)
{
    bool found = false;

    /* Discovery has no commands whose order could matter, and tools use it side by side. */
    if (subsys->ns == NULL)
        return false;
    LIST_FOR_EACH (node, &subsys->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        if (!same_association(ctrl, conn, c))
            continue;
        ctrl_kill(ctrl, "its host connects anew");
        found = true;
    }
    return found && !MUTATION(W3_NO_DRAIN);
}

/* A controller id that no controller of the subsystem has; 0 if there is none. */
static uint16_t pick_cntlid(struct nvme_subsys *subsys)
{
    struct nvme_target *target = subsys->target;

    for (unsigned i = 0; i < NVME_CNTLIDS_PER_NODE; i++) {
        const unsigned id = 1 + target->node_index * NVME_CNTLIDS_PER_NODE + target->next_cntlid;
        bool taken = false;

        target->next_cntlid = (target->next_cntlid + 1) % NVME_CNTLIDS_PER_NODE;
        LIST_FOR_EACH (node, &subsys->ctrls)
            taken |= CONTAINER_OF(node, struct nvme_ctrl, link)->cntlid == id;
        if (!taken)
            return (uint16_t)id;
    }
    return 0;
}

static void connect_admin(struct nvme_cmd *cmd, const struct connect *c)
{
    struct nvme_conn *conn = cmd->conn;
    struct nvme_target *target = conn->target;
    struct nvme_subsys *subsys = target_find_subsys(target, c->subsys_nqn.s);

    if (subsys == NULL || subsys->removing)
        return refuse_subsystem(cmd, c);
    if (!subsys_allows(subsys, c->host_nqn.s))
        return refuse(cmd, c, NVME_SC_DNR | NVME_SC_CONNECT_INVALID_HOST);
    /* The dynamic controller model: the host may not choose. */
    if (c->cntlid != NVME_CNTLID_ANY)
        return refuse(cmd, c, invalid_data(cmd, offsetof(struct nvme_connect_data_spec, cntlid)));
    if (kill_predecessors(subsys, conn, c)) {
        list_push_back(&target->connects, &cmd->link);
        return;
    }
    if (!has_room(cmd, c))
        return;

    const uint16_t cntlid = pick_cntlid(subsys);
    struct nvme_ctrl *ctrl = cntlid == 0 ? NULL : ctrl_create(subsys, cntlid);
    if (ctrl == NULL)
        return refuse(cmd, c, NVME_SC_CONNECT_BUSY);
    ctrl->port = conn->port;
    ctrl->host_nqn = c->host_nqn;
    memcpy(ctrl->host_id, c->host_id, sizeof ctrl->host_id);
    log_info(target->home->log, "%s: host '%s' connected to '%s' as controller %u",
             io_addr_format(&conn->peer).s, c->host_nqn.s, c->subsys_nqn.s, cntlid);
    accept_queue(ctrl, cmd, c);
    ctrl_set_kato(ctrl, c->kato_ms);
}

/* ---- I/O queues ---- */

static struct nvme_ctrl *find_ctrl(const struct nvme_subsys *subsys, uint16_t cntlid)
{
    LIST_FOR_EACH (node, &subsys->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        if (ctrl->cntlid == cntlid && !ctrl->dying)
            return ctrl;
    }
    return NULL;
}

static bool has_queue(const struct nvme_ctrl *ctrl, uint16_t qid)
{
    LIST_FOR_EACH (node, &ctrl->queues) {
        if (CONTAINER_OF(node, struct nvme_conn, ctrl_link)->home_qid == qid)
            return true;
    }
    return false;
}

static void connect_io(struct nvme_cmd *cmd, const struct connect *c)
{
    struct nvme_subsys *subsys = target_find_subsys(cmd->conn->target, c->subsys_nqn.s);

    if (subsys == NULL || subsys->removing || subsys->ns == NULL)
        return refuse_subsystem(cmd, c);
    struct nvme_ctrl *ctrl = find_ctrl(subsys, c->cntlid);
    /* The controller may have ended while its host was making its queues.  That is no reason for
     * the host to give up, as Do Not Retry would say. */
    if (ctrl == NULL)
        return refuse(cmd, c,
                      invalid_data(cmd, offsetof(struct nvme_connect_data_spec, cntlid)) &
                          (uint16_t)~NVME_SC_DNR);
    if (strcmp(ctrl->host_nqn.s, c->host_nqn.s) != 0)
        return refuse(cmd, c, NVME_SC_DNR | NVME_SC_CONNECT_INVALID_HOST);
    if (memcmp(ctrl->host_id, c->host_id, sizeof ctrl->host_id) != 0)
        return refuse(cmd, c, invalid_data(cmd, offsetof(struct nvme_connect_data_spec, host_id)));
    if (c->qid > ctrl->io_queues_max)
        return refuse(cmd, c, invalid_command(cmd, offsetof(struct nvme_connect_spec, qid)));
    if ((ctrl_csts(ctrl) & NVME_CSTS_RDY) == 0 || ctrl->shutdown != SHUTDOWN_NONE)
        return refuse(cmd, c, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    if (has_queue(ctrl, c->qid))
        return refuse(cmd, c, NVME_SC_CONNECT_BUSY);
    if (has_room(cmd, c))
        accept_queue(ctrl, cmd, c);
}

void home_connect(struct nvme_cmd *cmd)
{
    struct connect c = { 0 };

    list_remove(&cmd->conn->open_link);
    const uint16_t status = connect_decode(cmd, &c);

    if (cmd->conn->home_closing || cmd->conn->target->stopping)
        cmd_post_reply(cmd, NVME_SC_ABORT_SQ_DELETION);
    else if (status != 0)
        refuse(cmd, &c, status);
    else if (c.qid == 0)
        connect_admin(cmd, &c);
    else
        connect_io(cmd, &c);
}

void home_retry_connects(struct nvme_target *target)
{
    struct list waiting;
    struct list_node *node;

    /* In the order they came: of two from one host, the later one wins in the end. */
    list_init(&waiting);
    list_splice_back(&waiting, &target->connects);
    while ((node = list_pop_front(&waiting)) != NULL)
        home_connect(CONTAINER_OF(node, struct nvme_cmd, link));
}

void home_connect_abandon(struct nvme_conn *conn)
{
    LIST_FOR_EACH (node, &conn->target->connects) {
        struct nvme_cmd *cmd = CONTAINER_OF(node, struct nvme_cmd, link);

        if (cmd->conn != conn)
            continue;
        list_remove(&cmd->link);
        cmd_post_reply(cmd, NVME_SC_ABORT_SQ_DELETION);
        return;
    }
}

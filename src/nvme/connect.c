/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Connect command, on the home reactor.
 *
 * W3: a Connect to the admin queue is answered only when the association that the same host had
 * with the same subsystem through the same port has ended on all its queues: no command of it
 * executes any more.  Not where commands are a vendor's, who tells associations apart (vendor.h).
 *
 * W2: queues and their entries are bounded, for all together and for each peer (share.c).
 *
 * NVM Express Base Specification 2.0c, "Connect Command and Response".
 */
#include <assert.h>

#include "base/bitmap.h"
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

/* Leaves out_nqn empty if the field has no valid NQN: what a refusal logs is text (W1). */
static bool decode_nqn(const char *field, struct nqn_text *out_nqn)
{
    const size_t bytes = strnlen(field, NVME_NQN_FIELD_BYTES);
    struct nqn_text nqn = { 0 };

    memset(out_nqn, 0, sizeof *out_nqn);
    if (bytes > NQN_BYTES_MAX)
        return false;
    memcpy(nqn.s, field, bytes);
    if (!nqn_is_valid(nqn.s))
        return false;
    *out_nqn = nqn;
    return true;
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
    peer_log(target_home_shard(conn->target), LOG_LEVEL_WARNING,
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

static void refuse_share(struct nvme_cmd *cmd, const struct connect *c)
{
    struct nvme_target *target = cmd->conn->target;

    peer_log(target_home_shard(target), LOG_LEVEL_WARNING,
             "%s may not have more now: of all hosts' %u queues of %u, and %u entries of %u, it "
             "has as much as would be left; fewer queues (nvme connect --nr-io-queues) or "
             "smaller ones (--queue-size) need less",
             io_addr_format_ip(&cmd->conn->peer).s, target->queues, target->connections_max,
             target->commands, target->commands_max);
    refuse(cmd, c, NVME_SC_CONNECT_BUSY);
}

/* Counts one more queue of the peer, if it may have it; if not, that was the answer. */
static bool take_share(struct nvme_cmd *cmd, const struct connect *c)
{
    const unsigned entries = c->sqsize + 1u;

    if (share_allows_queue(cmd->conn, entries) && share_take(cmd->conn, entries))
        return true;
    refuse_share(cmd, c);
    return false;
}

/*
 * Where a queue belongs: hosts' where they were accepted; those of a vendor's commands by their id,
 * so that who makes them chooses (docs/replication.md, section 2.1).
 */
static struct nvme_shard *shard_of_queue(const struct nvme_ctrl *ctrl, const struct nvme_conn *conn,
                                         uint16_t qid)
{
    struct nvme_target *target = conn->target;

    if (!subsys_is_vendor(ctrl->subsys) || qid == 0)
        return conn->shard;
    return &target->shards[(qid - 1u) % target->shard_count];
}

static void accept_queue(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, const struct connect *c)
{
    struct nvme_shard *shard = shard_of_queue(ctrl, cmd->conn, c->qid);

    ctrl_add_queue(ctrl, cmd->conn, c->qid);
    cmd->result = ctrl->cntlid; /* No authentication required. */
    if (shard == cmd->conn->shard)
        cmd_post_reply(cmd, 0);
    else
        home_move(cmd, shard);
}

/* ---- Admin queues ---- */

static bool same_association(const struct nvme_ctrl *ctrl, const struct nvme_conn *conn,
                             const struct connect *c)
{
    return ctrl->port == conn->port && strcmp(ctrl->host_nqn.s, c->host_nqn.s) == 0 &&
           memcmp(ctrl->host_id, c->host_id, sizeof ctrl->host_id) == 0;
}

/* Ends the host's earlier associations; whether there are any to be waited for. */
static bool kill_predecessors(struct nvme_subsys *subsys, const struct nvme_conn *conn,
                              const struct connect *c)
{
    bool found = false;

    /* Discovery has no commands whose order could matter, and tools use it side by side. */
    if (subsys_is_discovery(subsys))
        return false;
    LIST_FOR_EACH (node, &subsys->ctrls) {
        struct nvme_ctrl *ctrl = CONTAINER_OF(node, struct nvme_ctrl, link);

        if (!same_association(ctrl, conn, c))
            continue;
        ctrl_kill(ctrl, "its host connects anew");
        found = true;
    }
    return found && !subsys_is_vendor(subsys) && !MUTATION(W3_NO_DRAIN);
}

/*
 * Whether two Connects to admin queues are of one host, to one subsystem, by one port.  Only what
 * connect_decode() reads of them counts (W2).
 */
static bool same_connect(const struct nvme_cmd *a, const struct nvme_cmd *b)
{
    struct nvme_connect_data_spec da, db;

    memcpy(&da, a->data.at, sizeof da);
    memcpy(&db, b->data.at, sizeof db);
    return a->conn->port == b->conn->port &&
           memcmp(da.host_id, db.host_id, sizeof da.host_id) == 0 &&
           strncmp(da.subsys_nqn, db.subsys_nqn, sizeof da.subsys_nqn) == 0 &&
           strncmp(da.host_nqn, db.host_nqn, sizeof da.host_nqn) == 0;
}

/*
 * Has a Connect wait until its host's earlier associations have gone.  One of the same host that
 * waits already would only be that one's next predecessor: it is not to come.  So no more wait
 * than there are hosts.
 */
static void connect_wait(struct nvme_cmd *cmd, const struct connect *c)
{
    struct list *waiting = &cmd->conn->target->connects;

    LIST_FOR_EACH (node, waiting) {
        struct nvme_cmd *earlier = CONTAINER_OF(node, struct nvme_cmd, link);

        if (!same_connect(earlier, cmd))
            continue;
        list_remove(&earlier->link);
        refuse(earlier, c, NVME_SC_CONNECT_BUSY);
        break;
    }
    list_push_back(waiting, &cmd->link);
}

/* A controller id that no controller of the subsystem has; 0 if there is none. */
static uint16_t pick_cntlid(struct nvme_subsys *subsys)
{
    struct nvme_target *target = subsys->target;
    const unsigned first = 1 + target->node_index * NVME_CNTLIDS_PER_NODE;
    uint64_t words[BITMAP_WORDS(NVME_CNTLIDS_PER_NODE)] = { 0 };
    struct bitmap taken = { words, NVME_CNTLIDS_PER_NODE };

    LIST_FOR_EACH (node, &subsys->ctrls)
        bitmap_set(&taken, CONTAINER_OF(node, struct nvme_ctrl, link)->cntlid - first);
    uint64_t index = bitmap_next_clear(&taken, target->next_cntlid);
    if (index == BITMAP_NONE)
        index = bitmap_next_clear(&taken, 0);
    if (index == BITMAP_NONE)
        return 0;
    target->next_cntlid = (unsigned)(index + 1) % NVME_CNTLIDS_PER_NODE;
    return (uint16_t)(first + index);
}

static struct nvme_ctrl *make_ctrl(struct nvme_subsys *subsys, const struct nvme_conn *conn,
                                   const struct connect *c)
{
    const uint16_t cntlid = share_allows_ctrl(subsys, conn) ? pick_cntlid(subsys) : 0;

    return cntlid == 0 ? NULL : ctrl_create(subsys, cntlid, &c->host_nqn);
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
    if (kill_predecessors(subsys, conn, c))
        return connect_wait(cmd, c);
    if (!take_share(cmd, c))
        return;

    struct nvme_ctrl *ctrl = make_ctrl(subsys, conn, c);
    if (ctrl == NULL) {
        share_give_back(conn);
        return refuse(cmd, c, NVME_SC_CONNECT_BUSY);
    }
    ctrl->port = conn->port;
    ctrl->peer = conn->share;
    memcpy(ctrl->host_id, c->host_id, sizeof ctrl->host_id);
    peer_log(target_home_shard(target), LOG_LEVEL_INFO,
             "%s: host '%s' connected to '%s' as controller %u", io_addr_format(&conn->peer).s,
             c->host_nqn.s, c->subsys_nqn.s, ctrl->cntlid);
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

    if (subsys == NULL || subsys->removing || subsys_is_discovery(subsys))
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
    /* After a reset CSTS.RDY stays until the older queues have gone; nothing new joins these. */
    if ((ctrl->cc & NVME_CC_EN) == 0 || ctrl->shutdown != SHUTDOWN_NONE)
        return refuse(cmd, c, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    if (has_queue(ctrl, c->qid))
        return refuse(cmd, c, NVME_SC_CONNECT_BUSY);
    if (take_share(cmd, c))
        accept_queue(ctrl, cmd, c);
}

void home_connect(struct nvme_cmd *cmd)
{
    struct connect c = { 0 };

    list_remove(&cmd->conn->open_link);
    const uint16_t status = connect_decode(cmd, &c);

    if (cmd->conn->home_closing || cmd->conn->kill_sent || cmd->conn->target->stopping)
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

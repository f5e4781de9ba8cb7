/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection goes to another reactor, between its Connect and the answer to that.
 *
 *   home                      old reactor                        new reactor
 *   Connect is right
 *     -- move -------------->  the receiver stops, the sender
 *                              has nothing left; lets go of
 *                              buffers and descriptor
 *     <------------ moved out
 *   has it been killed?
 *     yes -- move back ------>  closes
 *     no: conn->shard is another one
 *         -- move in ----------------------------------------->  adopts it, answers Connect
 *
 * Nothing is on its way then: a host sends nothing between Connect and the answer.  One that does
 * is closed.  Home alone posts to conn->shard, and it alone changes that: so a kill goes to the
 * reactor that has the connection, or finds it letting go and is remembered at home.
 *
 * It is for queues whose id says where they belong (docs/replication.md, section 2.1).
 */
#include <assert.h>

#include "nvme/conn.h"
#include "nvme/target_internal.h"

static void home_on_moved_out(struct io_msg *msg);

/* ---- Out of the old reactor ---- */

/* It does not move: the Connect ends, and the connection with it. */
static void give_up(struct nvme_conn *conn)
{
    struct nvme_cmd *cmd = conn->moving;

    conn->moving = NULL;
    conn_close(conn);
    cmd->status = NVME_SC_ABORT_SQ_DELETION;
    cmd_end_reply(cmd); /* conn may be gone. */
}

static void let_go(struct nvme_conn *conn)
{
    struct nvme_cmd *cmd = conn->moving;

    assert(!conn->data_waiting && !conn->r2t_waiting && list_empty(&conn->r2ts));
    io_timer_disarm(&conn->timer);
    cmd_buf_put(cmd); /* Home has read what Connect says. */
    assert(conn->data_bytes == 0 && conn->r2t_bytes == 0);
    conn_buf_leave_peer(conn);
    conn->shard_peer = NULL;
    io_fd_release(conn->shard->reactor, conn->fd);
    sm_move(&conn->sm, CONN_MOVING);
    cmd->msg.deliver = home_on_moved_out;
    reactor_post(conn->target->home, &cmd->msg);
}

void conn_move_step(struct nvme_conn *conn)
{
    if (!conn->rx_stopped || !conn->tx_stopped)
        return;
    if (conn_is_open(conn) && pdu_rx_is_between(&conn->rx))
        let_go(conn);
    else
        give_up(conn); /* conn may be gone. */
}

static void shard_on_move(struct io_msg *msg)
{
    struct nvme_cmd *cmd = CONTAINER_OF(msg, struct nvme_cmd, msg);
    struct nvme_conn *conn = cmd->conn;

    assert(reactor_is_current(conn->shard->reactor));
    conn->moving = cmd;
    if (!conn_is_open(conn)) {
        give_up(conn);
        return;
    }
    pdu_rx_stop(&conn->rx);
    pdu_tx_stop(&conn->tx);
}

/* Killed while it was on its way: it is closed where it comes from. */
static void shard_on_move_back(struct io_msg *msg)
{
    struct nvme_conn *conn = CONTAINER_OF(msg, struct nvme_cmd, msg)->conn;
    const struct status st = io_fd_adopt(conn->shard->reactor, conn->fd);

    if (!status_ok(st))
        log_debug(conn->shard->reactor->log, "a connection came back: %s", status_text(st));
    sm_move(&conn->sm, CONN_CONNECT);
    give_up(conn);
}

/* ---- Into the new one ---- */

static struct status MUST_CHECK adopt(struct nvme_conn *conn)
{
    TRY(io_fd_adopt(conn->shard->reactor, conn->fd));
    return conn_buf_join_peer(conn);
}

static void shard_on_move_in(struct io_msg *msg)
{
    struct nvme_cmd *cmd = CONTAINER_OF(msg, struct nvme_cmd, msg);
    struct nvme_conn *conn = cmd->conn;
    const struct status st = adopt(conn);

    assert(reactor_is_current(conn->shard->reactor));
    sm_move(&conn->sm, CONN_CONNECT);
    if (!status_ok(st)) {
        peer_log(conn->shard, LOG_LEVEL_WARNING, "a connection could not be moved: %s",
                 status_text(st));
        give_up(conn);
        return;
    }
    conn->moving = NULL;
    conn_restart(conn);
    cmd_end_reply(cmd);
}

/* ---- At home ---- */

static void home_on_moved_out(struct io_msg *msg)
{
    struct nvme_cmd *cmd = CONTAINER_OF(msg, struct nvme_cmd, msg);
    struct nvme_conn *conn = cmd->conn;

    assert(reactor_is_current(conn->target->home));
    if (conn->kill_sent) {
        cmd->msg.deliver = shard_on_move_back;
    } else {
        conn->shard = conn->home_moving;
        conn->home_moving = NULL;
        cmd->msg.deliver = shard_on_move_in;
    }
    reactor_post(conn->shard->reactor, &cmd->msg);
}

void home_move(struct nvme_cmd *cmd, struct nvme_shard *to)
{
    struct nvme_conn *conn = cmd->conn;

    assert(conn->shard != to && conn->home_moving == NULL);
    conn->home_moving = to;
    cmd->status = 0;
    cmd->msg.deliver = shard_on_move;
    reactor_post(conn->shard->reactor, &cmd->msg);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections as the home reactor sees them, and the messages between it and the shards.
 *
 *   home                                   shard
 *   accepted: allocate, list   -- start -->  adopt, receive
 *   Connect: attach            <-- command --
 *                              -- reply -->
 *   kill (any time, once)      -- kill --->  close
 *   events, Connect: give back <- closing --
 *   detach from controller     <- detach --  drained: nothing in flight, buffers are back
 *     killed, or an Abort      -- reap ---->  (after these, which must have arrived)
 *     was sent?
 *   free                       <-- gone ---
 *
 * Messages between two reactors arrive in the order they were sent; the chart rests on that.
 */
#include <assert.h>
#include <stdlib.h>

#include "nvme/target_internal.h"

/* ---- Start ---- */

static void home_conn_add(struct nvme_port *port, struct nvme_shard *shard, int fd)
{
    struct nvme_target *target = port->target;
    struct nvme_conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL) {
        peer_log(target_home_shard(target), LOG_LEVEL_ERROR,
                 "a connection was refused: out of memory");
        io_close(target->home, fd);
        return;
    }
    conn->target = target;
    conn->port = port;
    conn->shard = shard;
    conn->fd = fd;
    list_node_init(&conn->target_link);
    list_node_init(&conn->ctrl_link);
    list_node_init(&conn->open_link);
    list_push_back(&target->conns, &conn->target_link);
    list_push_back(&target->half_open, &conn->open_link);
    target->conn_count++;
    if (shard->reactor != target->home)
        io_fd_release(target->home, fd);
    conn_post_start(conn);
}

static void log_crowd(struct nvme_target *target)
{
    const uint64_t now = reactor_now_ns(target->home);

    if (now < target->crowded_until_ns)
        return;
    target->crowded_until_ns = now + NVME_HANDSHAKE_NS;
    log_warning(target->home->log,
                "there are %u connections; the oldest that have not said Connect make room",
                target->conn_count);
}

/*
 * W2: whoever only opens connections does not keep others out.  The oldest of these goes, so that
 * a host has the time in which as many new ones come as there are.
 */
static bool make_room(struct nvme_target *target)
{
    if (target->conn_count < target->connections_max)
        return true;
    if (target->conn_count >= target->connections_max + NVME_CONNECTIONS_ENDING_MAX ||
        list_empty(&target->half_open))
        return false;
    log_crowd(target);
    home_conn_kill(CONTAINER_OF(list_pop_front(&target->half_open), struct nvme_conn, open_link));
    return true;
}

void home_conn_accepted(struct nvme_port *port, int fd)
{
    struct nvme_target *target = port->target;

    if (target->stopping || !make_room(target)) {
        if (!target->stopping)
            peer_log(target_home_shard(target), LOG_LEVEL_WARNING,
                     "a connection was refused: there are %u already", target->conn_count);
        io_close(target->home, fd);
        return;
    }
    struct nvme_shard *shard = &target->shards[target->next_shard];
    target->next_shard = (target->next_shard + 1) % target->shard_count;
    home_conn_add(port, shard, fd);
}

void home_conn_kill(struct nvme_conn *conn)
{
    if (conn->kill_sent)
        return;
    conn->kill_sent = true;
    conn_post_kill(conn);
}

/* ---- Commands ---- */

static void home_on_command(struct io_msg *msg)
{
    struct nvme_cmd *cmd = CONTAINER_OF(msg, struct nvme_cmd, msg);
    struct nvme_conn *conn = cmd->conn;
    const bool is_connect =
        cmd->sqe.opcode == NVME_OPCODE_FABRICS && (cmd->sqe.nsid & 0xff) == NVME_FCTYPE_CONNECT;

    assert(reactor_is_current(conn->target->home));
    if (is_connect && conn->ctrl == NULL)
        home_connect(cmd);
    else if (conn->ctrl == NULL)
        cmd_post_reply(cmd, NVME_SC_DNR | NVME_SC_COMMAND_SEQUENCE);
    else if (conn->ctrl->dying)
        cmd_post_reply(cmd, NVME_SC_ABORT_SQ_DELETION);
    else
        ctrl_command(conn->ctrl, cmd);
}

void home_submit(struct nvme_cmd *cmd)
{
    cmd->msg.deliver = home_on_command;
    reactor_post(cmd->conn->target->home, &cmd->msg);
}

static void home_on_error(struct io_msg *msg)
{
    struct nvme_cmd *cmd = CONTAINER_OF(msg, struct nvme_cmd, msg);

    assert(reactor_is_current(cmd->conn->target->home));
    if (cmd->conn->ctrl != NULL)
        ctrl_note_error(cmd->conn->ctrl, cmd, cmd->status);
    cmd_post_reply(cmd, cmd->status);
}

void home_post_error(struct nvme_cmd *cmd)
{
    cmd->msg.deliver = home_on_error;
    reactor_post(cmd->conn->target->home, &cmd->msg);
}

/* ---- End ---- */

static void home_on_closing(struct io_msg *msg)
{
    struct nvme_conn *conn = CONTAINER_OF(msg, struct nvme_conn, closing_msg);

    conn->home_closing = true;
    list_remove(&conn->open_link);
    if (conn->ctrl != NULL)
        ctrl_on_queue_closing(conn);
    else
        home_connect_abandon(conn);
}

void home_post_closing(struct nvme_conn *conn)
{
    conn->closing_msg.deliver = home_on_closing;
    reactor_post(conn->target->home, &conn->closing_msg);
}

static void home_conn_free(struct nvme_conn *conn)
{
    struct nvme_target *target = conn->target;

    list_remove(&conn->target_link);
    target->conn_count--;
    free(conn);
    target_check_stopped(target);
}

static void home_on_gone(struct io_msg *msg)
{
    home_conn_free(CONTAINER_OF(msg, struct nvme_conn, life_msg));
}

static void shard_on_reap(struct io_msg *msg)
{
    struct nvme_conn *conn = CONTAINER_OF(msg, struct nvme_conn, life_msg);

    sm_move(&conn->sm, CONN_REAPED);
    conn->life_msg.deliver = home_on_gone;
    reactor_post(conn->target->home, &conn->life_msg);
}

static void home_on_detach(struct io_msg *msg)
{
    struct nvme_conn *conn = CONTAINER_OF(msg, struct nvme_conn, life_msg);
    struct nvme_target *target = conn->target;

    if (conn->ctrl != NULL && ctrl_remove_queue(conn))
        home_retry_connects(target);
    if (!conn->kill_sent && !conn->abort_sent) {
        home_conn_free(conn);
        return;
    }
    conn->kill_sent = true; /* A kill behind the reap would find it freed. */
    conn->life_msg.deliver = shard_on_reap;
    reactor_post(conn->shard->reactor, &conn->life_msg);
}

void home_post_detach(struct nvme_conn *conn)
{
    conn->life_msg.deliver = home_on_detach;
    reactor_post(conn->target->home, &conn->life_msg);
}

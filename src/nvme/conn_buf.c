/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers for the data of a connection's commands.
 *
 * Two pools, so that nobody waits for himself.  Reads and data in capsules take their buffer
 * when the capsule is handled; if there is none, the connection receives nothing more until
 * there is.  Data that come by R2T arrive behind such capsules, so their buffers come out of a
 * pool of their own; while a command waits for one, receiving goes on.
 *
 * W2: of each pool a connection may hold a part of what it leaves free, up to its quota: the more
 * connections take no responses, or send no data, the less each of them gets, and whoever holds
 * nothing finds a buffer.
 */
#include <assert.h>

#include "nvme/conn.h"
#include "nvme/target_internal.h"

static void r2t_pump(struct nvme_conn *conn);

/* The connection's turn in the pool: takes what its next capsule wants. */
static void conn_on_data_buffer(struct buf_waiter *waiter)
{
    struct nvme_conn *conn = CONTAINER_OF(waiter, struct nvme_conn, data_waiter);

    conn->granted = buf_get(conn->shard->pool, conn->data_wanted);
    if (conn->granted.at == NULL) {
        buf_wait(conn->shard->pool, waiter);
        return;
    }
    conn->data_waiting = false;
    pdu_rx_resume(&conn->rx);
}

static void conn_on_r2t_buffer(struct buf_waiter *waiter)
{
    struct nvme_conn *conn = CONTAINER_OF(waiter, struct nvme_conn, r2t_waiter);

    conn->r2t_waiting = false;
    r2t_pump(conn);
}

void conn_buf_init(struct nvme_conn *conn)
{
    conn->data_waiter = (struct buf_waiter) { .retry = conn_on_data_buffer };
    conn->r2t_waiter = (struct buf_waiter) { .retry = conn_on_r2t_buffer };
    list_node_init(&conn->data_waiter.link);
    list_node_init(&conn->r2t_waiter.link);
    list_init(&conn->r2t_queue);
    list_init(&conn->r2ts);
}

/* Whether a connection that holds so much of a pool may have more; its next put asks again. */
static bool within_share(const struct nvme_conn *conn, const struct buf_pool *pool, size_t held,
                         size_t bytes)
{
    if (held == 0)
        return true;
    return held + bytes <=
           min_u64(conn->target->quota_bytes, buf_pool_free(pool) / NVME_POOL_SHARE);
}

/* The buffer behind a command's data, which leave its first pad bytes free. */
static struct span cmd_buf(const struct nvme_cmd *cmd)
{
    return (struct span) { cmd->data.at - cmd->data_pad, cmd->data.bytes + cmd->data_pad };
}

static void cmd_buf_use(struct nvme_cmd *cmd, struct span buf, size_t pad)
{
    cmd->data_pad = (uint16_t)pad;
    cmd->data = span_sub(buf, pad, buf.bytes - pad);
}

bool cmd_buf_get(struct nvme_cmd *cmd, size_t data_bytes)
{
    struct nvme_conn *conn = cmd->conn;
    const size_t pad = io_data_pad(cmd);
    const size_t bytes = pad + data_bytes;
    struct span buf;

    assert(data_bytes > 0 && bytes <= NVME_DATA_BYTES_MAX);
    assert(cmd->data.at == NULL);

    if (conn->data_waiting)
        return false;
    if (conn->granted.at == NULL && !within_share(conn, conn->shard->pool, conn->data_bytes, bytes))
        return false;
    if (conn->granted.at != NULL) {
        assert(conn->granted.bytes == bytes); /* The same header is asked again. */
        buf = conn->granted;
        conn->granted = (struct span) { 0 };
    } else {
        buf = buf_get(conn->shard->pool, bytes);
    }
    if (buf.at == NULL) {
        conn->data_waiting = true;
        conn->data_wanted = bytes;
        buf_wait(conn->shard->pool, &conn->data_waiter);
        return false;
    }
    cmd_buf_use(cmd, buf, pad);
    cmd->from_r2t = false;
    conn->data_bytes += bytes;
    return true;
}

void cmd_buf_put(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;

    if (cmd->data.at == NULL)
        return;
    const struct span buf = cmd_buf(cmd);
    if (cmd->from_r2t) {
        buf_put(conn->shard->r2t_pool, buf);
        conn->r2t_bytes -= buf.bytes;
    } else {
        buf_put(conn->shard->pool, buf);
        conn->data_bytes -= buf.bytes;
    }
    cmd->data = (struct span) { 0 };
    r2t_pump(conn);
}

/* Takes a buffer for the data of a command in the queue; false: somebody will pump again. */
static bool r2t_take(struct nvme_conn *conn, struct nvme_cmd *cmd)
{
    const size_t pad = io_data_pad(cmd);
    const size_t bytes = pad + cmd->sqe.sgl_bytes;

    if (!within_share(conn, conn->shard->r2t_pool, conn->r2t_bytes, bytes))
        return false;
    const struct span buf = buf_get(conn->shard->r2t_pool, bytes);
    if (buf.at == NULL) {
        conn->r2t_waiting = true;
        buf_wait(conn->shard->r2t_pool, &conn->r2t_waiter);
        return false;
    }
    cmd_buf_use(cmd, buf, pad);
    cmd->from_r2t = true;
    conn->r2t_bytes += bytes;
    return true;
}

void cmd_r2t_end(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;

    if (list_first(&conn->r2ts) == &cmd->link)
        conn->r2t_since_ns = reactor_now_ns(conn->shard->reactor);
    list_remove(&cmd->link);
}

/* Sends R2Ts for the commands in the queue as far as there are buffers. */
static void r2t_pump(struct nvme_conn *conn)
{
    while (!conn->r2t_waiting && conn_is_open(conn) && !list_empty(&conn->r2t_queue)) {
        struct nvme_cmd *cmd = CONTAINER_OF(list_first(&conn->r2t_queue), struct nvme_cmd, link);

        if (!r2t_take(conn, cmd))
            return;
        list_remove(&cmd->link);
        cmd->state = CMD_R2T;
        cmd->r2t_unsent = true;
        cmd->data_received = 0;
        if (list_empty(&conn->r2ts))
            conn->r2t_since_ns = reactor_now_ns(conn->shard->reactor);
        list_push_back(&conn->r2ts, &cmd->link);
        pdu_tx_queue(&conn->tx, &cmd->tx);
        conn_watch_stall(conn);
    }
}

void cmd_r2t_start(struct nvme_cmd *cmd)
{
    cmd->state = CMD_R2T_WAIT;
    list_push_back(&cmd->conn->r2t_queue, &cmd->link);
    r2t_pump(cmd->conn);
}

void conn_buf_close(struct nvme_conn *conn)
{
    if (conn->data_waiting)
        buf_wait_cancel(conn->shard->pool, &conn->data_waiter);
    if (conn->r2t_waiting)
        buf_wait_cancel(conn->shard->r2t_pool, &conn->r2t_waiter);
    buf_put(conn->shard->pool, conn->granted);
    conn->granted = (struct span) { 0 };
    conn->data_waiting = false;
    conn->r2t_waiting = false;
}

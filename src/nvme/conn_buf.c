/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers for the data of a connection's commands.
 *
 * Two pools, so that nobody waits for himself.  Reads and data in capsules take their buffer
 * when the capsule is handled; if there is none, the connection receives nothing more until
 * there is.  Data that come by R2T arrive behind such capsules, so their buffers come out of a
 * pool of their own; while a command waits for one, receiving goes on.
 *
 * W2: of each pool
 *
 *   - a connection may hold a part of what it leaves free, up to its quota, and one buffer in any
 *     case as far as its peer may;
 *   - all connections of a peer may hold as much as they leave free; those that hold nothing yet
 *     three times as much;
 *   - a peer may have one buffer.
 *
 * Counted is what a buffer takes of the pool.
 *
 * So the more connections take no responses, or send no data, the less each of them gets; they
 * leave something to others of their peer; and a peer that holds nothing finds a buffer, however
 * many of them are another's.
 *
 * Those that hold nothing wait in their peer's list, and the first of it stands for all.  It is
 * asked again when the peer gives something back.  It, and whoever holds something and may not have
 * more, watch the pool as well: what anybody gives back is also theirs, and what they hold
 * themselves may be with a disk that hangs.
 */
#include <assert.h>

#include <stdlib.h>

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

/* ---- Peers ---- */

static struct nvme_shard_peer *find_peer(const struct nvme_shard *shard, const struct io_addr *addr)
{
    LIST_FOR_EACH (node, &shard->peers) {
        struct nvme_shard_peer *peer = CONTAINER_OF(node, struct nvme_shard_peer, link);

        if (share_same_peer(&peer->addr, addr))
            return peer;
    }
    return NULL;
}

struct status conn_buf_join_peer(struct nvme_conn *conn)
{
    struct nvme_shard_peer *peer = find_peer(conn->shard, &conn->peer);

    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL)
            return STATUS(NO_MEMORY);
        peer->addr = conn->peer;
        list_init(&peer->data.waiting);
        list_init(&peer->r2t.waiting);
        list_node_init(&peer->link);
        list_push_back(&conn->shard->peers, &peer->link);
    }
    peer->conns++;
    conn->shard_peer = peer;
    return STATUS(OK);
}

void conn_buf_leave_peer(struct nvme_conn *conn)
{
    struct nvme_shard_peer *peer = conn->shard_peer;

    if (peer == NULL || --peer->conns > 0)
        return;
    assert(peer->data.held == 0 && peer->r2t.held == 0);
    list_remove(&peer->link);
    free(peer);
}

/* Asks the first of a peer's connections again that wait for data buffers. */
static void share_wake_data(struct nvme_shard_peer *peer)
{
    struct list_node *first = list_first(&peer->data.waiting);

    if (first != NULL)
        pdu_rx_resume(&CONTAINER_OF(first, struct nvme_conn, data_share_link)->rx);
}

/* Likewise for buffers of R2Ts, and the next one when the first has all that it wants. */
static void share_wake_r2t(struct nvme_shard_peer *peer)
{
    struct list_node *first;

    while ((first = list_first(&peer->r2t.waiting)) != NULL) {
        r2t_pump(CONTAINER_OF(first, struct nvme_conn, r2t_share_link));
        if (list_first(&peer->r2t.waiting) == first)
            return;
    }
}

/* Somebody gave something back to a pool that the connection watches. */
static void conn_on_data_put(struct buf_waiter *watcher)
{
    pdu_rx_resume(&CONTAINER_OF(watcher, struct nvme_conn, data_watcher)->rx);
}

static void conn_on_r2t_put(struct buf_waiter *watcher)
{
    struct nvme_conn *conn = CONTAINER_OF(watcher, struct nvme_conn, r2t_watcher);

    r2t_pump(conn);
    share_wake_r2t(conn->shard_peer);
}

static bool within_quota(const struct nvme_conn *conn, size_t held, size_t free_bytes, size_t bytes)
{
    return held + bytes <= min_u64(conn->target->quota_bytes, free_bytes / NVME_POOL_SHARE);
}

/*
 * Whether a connection that holds so much of a pool may have bytes more.  If it holds nothing and
 * may not, it stands in the list by its link until it has something or closes.
 */
static bool share_allows(const struct nvme_conn *conn, struct nvme_pool_share *share,
                         struct list_node *link, const struct buf_pool *pool, size_t held,
                         size_t bytes)
{
    const size_t free_bytes = buf_pool_free(pool);
    const size_t left = free_bytes - min_u64(free_bytes, bytes);

    if (conn->cmds == NULL)
        return true; /* Connect's data, a kilobyte: who shares the address gets in. */
    if (held > 0)
        return within_quota(conn, held, free_bytes, bytes) && share->held + bytes <= left;
    const struct list_node *first = list_first(&share->waiting);
    if ((first == NULL || first == link) &&
        (share->held == 0 || share->held + bytes <= NVME_POOL_PEER_SHARE * left))
        return true;
    if (!list_node_linked(link))
        list_push_back(&share->waiting, link);
    return false;
}

/* Who is refused watches the pool, but those behind the first in the list: that one wakes them. */
static bool share_ask(const struct nvme_conn *conn, struct nvme_pool_share *share,
                      struct list_node *link, struct buf_pool *pool, struct buf_waiter *watcher,
                      size_t held, size_t bytes)
{
    if (share_allows(conn, share, link, pool, held, buf_bytes_taken(bytes)))
        return true;
    if (!list_node_linked(link) || list_first(&share->waiting) == link)
        buf_watch(pool, watcher);
    return false;
}

static bool data_allowed(struct nvme_conn *conn, size_t bytes)
{
    return share_ask(conn, &conn->shard_peer->data, &conn->data_share_link, conn->shard->pool,
                     &conn->data_watcher, conn->data_bytes, bytes);
}

static bool r2t_allowed(struct nvme_conn *conn, size_t bytes)
{
    return share_ask(conn, &conn->shard_peer->r2t, &conn->r2t_share_link, conn->shard->r2t_pool,
                     &conn->r2t_watcher, conn->r2t_bytes, bytes);
}

static void share_take_bytes(struct nvme_pool_share *share, struct list_node *link, size_t bytes)
{
    share->held += bytes;
    list_remove(link);
}

static void conn_on_r2t_buffer(struct buf_waiter *waiter)
{
    struct nvme_conn *conn = CONTAINER_OF(waiter, struct nvme_conn, r2t_waiter);

    conn->r2t_waiting = false;
    r2t_pump(conn);
    share_wake_r2t(conn->shard_peer);
}

void conn_buf_init(struct nvme_conn *conn)
{
    conn->data_waiter = (struct buf_waiter) { .retry = conn_on_data_buffer };
    conn->r2t_waiter = (struct buf_waiter) { .retry = conn_on_r2t_buffer };
    conn->data_watcher = (struct buf_waiter) { .retry = conn_on_data_put };
    conn->r2t_watcher = (struct buf_waiter) { .retry = conn_on_r2t_put };
    list_node_init(&conn->data_waiter.link);
    list_node_init(&conn->r2t_waiter.link);
    list_node_init(&conn->data_watcher.link);
    list_node_init(&conn->r2t_watcher.link);
    list_node_init(&conn->data_share_link);
    list_node_init(&conn->r2t_share_link);
    list_init(&conn->r2t_queue);
    list_init(&conn->r2ts);
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
    if (conn->granted.at == NULL && !data_allowed(conn, bytes))
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
    const size_t taken = buf_bytes_taken(bytes);
    conn->data_bytes += taken;
    share_take_bytes(&conn->shard_peer->data, &conn->data_share_link, taken);
    share_wake_data(conn->shard_peer);
    return true;
}

void cmd_buf_put(struct nvme_cmd *cmd)
{
    struct nvme_conn *conn = cmd->conn;

    if (cmd->data.at == NULL)
        return;
    const struct span buf = cmd_buf(cmd);
    const size_t taken = buf_bytes_taken(buf.bytes);
    cmd->data = (struct span) { 0 };
    if (cmd->from_r2t) {
        buf_put(conn->shard->r2t_pool, buf);
        conn->r2t_bytes -= taken;
        conn->shard_peer->r2t.held -= taken;
        r2t_pump(conn);
        share_wake_r2t(conn->shard_peer);
    } else {
        buf_put(conn->shard->pool, buf);
        conn->data_bytes -= taken;
        conn->shard_peer->data.held -= taken;
        share_wake_data(conn->shard_peer);
    }
}

/* Takes a buffer for the data of a command in the queue; false: somebody will pump again. */
static bool r2t_take(struct nvme_conn *conn, struct nvme_cmd *cmd)
{
    const size_t pad = io_data_pad(cmd);
    const size_t bytes = pad + cmd->sqe.sgl_bytes;

    if (!r2t_allowed(conn, bytes))
        return false;
    const struct span buf = buf_get(conn->shard->r2t_pool, bytes);
    if (buf.at == NULL) {
        conn->r2t_waiting = true;
        buf_wait(conn->shard->r2t_pool, &conn->r2t_waiter);
        return false;
    }
    cmd_buf_use(cmd, buf, pad);
    cmd->from_r2t = true;
    const size_t taken = buf_bytes_taken(bytes);
    conn->r2t_bytes += taken;
    share_take_bytes(&conn->shard_peer->r2t, &conn->r2t_share_link, taken);
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
    share_wake_r2t(cmd->conn->shard_peer); /* It may have been the first that waits. */
}

void cmd_r2t_cancel(struct nvme_cmd *cmd)
{
    assert(cmd->state == CMD_R2T_WAIT);
    struct nvme_conn *const conn = cmd->conn;

    list_remove(&cmd->link);
    r2t_pump(conn); /* It may have held up others that want less. */
    if (list_empty(&conn->r2t_queue))
        list_remove(&conn->r2t_share_link); /* It wants nothing more: other connections are next. */
    share_wake_r2t(conn->shard_peer);
}

void conn_buf_close(struct nvme_conn *conn)
{
    if (conn->data_waiting)
        buf_wait_cancel(conn->shard->pool, &conn->data_waiter);
    if (conn->r2t_waiting)
        buf_wait_cancel(conn->shard->r2t_pool, &conn->r2t_waiter);
    buf_watch_cancel(conn->shard->pool, &conn->data_watcher);
    buf_watch_cancel(conn->shard->r2t_pool, &conn->r2t_watcher);
    buf_put(conn->shard->pool, conn->granted);
    conn->granted = (struct span) { 0 };
    conn->data_waiting = false;
    conn->r2t_waiting = false;
    list_remove(&conn->data_share_link);
    list_remove(&conn->r2t_share_link);
    if (conn->shard_peer == NULL)
        return;
    share_wake_data(conn->shard_peer);
    share_wake_r2t(conn->shard_peer);
}

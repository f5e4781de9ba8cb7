/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a connection, from its adoption by a shard to its last message to home.
 *
 * W3: when it closes, what the namespace has not begun of its commands is taken back.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "io/pages.h"
#include "nvme/conn.h"
#include "nvme/target_internal.h"

static const struct sm_state conn_states[] = {
    [CONN_START] = { "start", SM_TO(CONN_ICREQ) | SM_TO(CONN_CLOSING) },
    [CONN_ICREQ] = { "icreq", SM_TO(CONN_CONNECT) | SM_TO(CONN_TERM) | SM_TO(CONN_CLOSING) },
    [CONN_CONNECT] = { "connect", SM_TO(CONN_MOVING) | SM_TO(CONN_LIVE) | SM_TO(CONN_TERM) |
                                      SM_TO(CONN_CLOSING) },
    [CONN_MOVING] = { "moving", SM_TO(CONN_CONNECT) },
    [CONN_LIVE] = { "live", SM_TO(CONN_TERM) | SM_TO(CONN_CLOSING) },
    [CONN_TERM] = { "term", SM_TO(CONN_CLOSING) },
    [CONN_CLOSING] = { "closing", SM_TO(CONN_DETACHED) },
    [CONN_DETACHED] = { "detached", SM_TO(CONN_REAPED) },
    [CONN_REAPED] = { "reaped", 0 },
};

static void conn_on_timer(struct io_timer *timer);

bool conn_is_open(const struct nvme_conn *conn)
{
    return conn->sm.now == CONN_ICREQ || conn->sm.now == CONN_CONNECT || conn->sm.now == CONN_LIVE;
}

/* ---- Start ---- */

static struct status MUST_CHECK conn_open(struct nvme_conn *conn)
{
    struct reactor *r = conn->shard->reactor;

    if (r != conn->target->home)
        TRY(io_fd_adopt(r, conn->fd));
    TRY(io_peer_addr(r, conn->fd, &conn->peer));
    TRY(io_local_addr(r, conn->fd, &conn->local));
    TRY(conn_buf_join_peer(conn));
    /* Not from the heap: a connection that says little takes a page of it, and what a crowd of
     * them has had the kernel has back. */
    TRY(pages_map(NVME_RX_BUFFER_BYTES, false, &conn->rx_buffer.at));
    conn->rx_buffer.bytes = NVME_RX_BUFFER_BYTES;
    return STATUS(OK);
}

/* The receiver and the sender are the reactor's from here on. */
static void conn_start_io(struct nvme_conn *conn)
{
    conn->rx.reactor = conn->shard->reactor;
    conn->tx.reactor = conn->shard->reactor;
    pdu_tx_init(&conn->tx);
}

void conn_restart(struct nvme_conn *conn)
{
    conn_start_io(conn);
    conn->rx_stopped = false;
    conn->tx_stopped = false;
    conn->busy_since_ns = reactor_now_ns(conn->shard->reactor); /* Each has its own. */
    pdu_rx_start(&conn->rx);
}

static void conn_init_on_shard(struct nvme_conn *conn)
{
    list_init(&conn->free_cmds);
    conn_buf_init(conn);
    cmd_init(&conn->first, conn, 0);
    pdu_tx_entry_init(&conn->term_entry);
    pdu_tx_entry_init(&conn->icresp_entry);
    io_timer_init(&conn->timer, conn_on_timer);
    conn->rx.ops = &conn_rx_ops;
    conn->rx.fd = conn->fd;
    conn->rx.rules = (struct pdu_rules) { .controller = true };
    conn->rx.buffer = conn->rx_buffer;
    conn->tx.ops = &conn_tx_ops;
    conn->tx.fd = conn->fd;
    conn_start_io(conn);
}

void conn_start_on_shard(struct nvme_conn *conn)
{
    struct reactor *r = conn->shard->reactor;

    sm_init(&conn->sm, conn_states, CONN_START);
    const struct status st = conn_open(conn);
    conn_init_on_shard(conn);
    if (!status_ok(st)) {
        peer_log(conn->shard, LOG_LEVEL_WARNING, "a connection could not be set up: %s",
                 status_text(st));
        conn->rx_stopped = true;
        conn_close(conn);
        return;
    }
    sm_move(&conn->sm, CONN_ICREQ);
    io_timer_arm(&conn->timer, r, reactor_now_ns(r) + NVME_HANDSHAKE_NS);
    pdu_rx_start(&conn->rx);
}

void conn_on_connected(struct nvme_conn *conn)
{
    sm_move(&conn->sm, CONN_LIVE);
    io_timer_disarm(&conn->timer);
    conn_watch_stall(conn); /* What came behind Connect may have begun a PDU. */
}

/* ---- Time ---- */

void conn_watch_stall(struct nvme_conn *conn)
{
    struct reactor *r = conn->shard->reactor;

    if (!io_timer_armed(&conn->timer))
        io_timer_arm(&conn->timer, r, reactor_now_ns(r) + NVME_STALL_NS);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    if (a_ns == 0 || b_ns == 0)
        return a_ns + b_ns;
    return min_u64(a_ns, b_ns);
}

/*
 * Since when the peer owes us something: to take what we send, to send the data that the oldest
 * R2T asks for, or the rest of a PDU that it has begun.  0 if it owes nothing.  While we do not
 * receive, data may have come.
 */
static uint64_t conn_owed_since_ns(const struct nvme_conn *conn)
{
    const uint64_t tx = pdu_tx_sending_since_ns(&conn->tx);
    const uint64_t r2t = list_empty(&conn->r2ts) || conn->rx_held_up ? 0 : conn->r2t_since_ns;

    return earlier(earlier(tx, r2t), pdu_rx_begun_ns(&conn->rx));
}

void conn_rx_is_held_up(struct nvme_conn *conn)
{
    if (conn->rx_held_up)
        return;
    conn->rx_held_up = true;
    conn->held_up_since_ns = reactor_now_ns(conn->shard->reactor);
}

/*
 * W2: a hold-up lengthens the time of the oldest R2T by as long as it lasted, and does not begin it
 * anew: hosts can cause as many as they like.  That R2T may have been sent during it.
 */
void conn_rx_goes_on(struct nvme_conn *conn)
{
    struct reactor *r = conn->shard->reactor;

    conn->rx_held_up = false;
    if (list_empty(&conn->r2ts) || conn->sm.now != CONN_LIVE)
        return;
    conn->r2t_since_ns += reactor_now_ns(r) - max_u64(conn->held_up_since_ns, conn->r2t_since_ns);
    /* The timer may have passed meanwhile, or be armed for later. */
    io_timer_arm(&conn->timer, r, conn_owed_since_ns(conn) + NVME_STALL_NS);
}

static void conn_on_timer(struct io_timer *timer)
{
    struct nvme_conn *conn = CONTAINER_OF(timer, struct nvme_conn, timer);
    struct reactor *r = conn->shard->reactor;
    const struct io_addr_text who = io_addr_format(&conn->peer);

    if (conn->sm.now == CONN_TERM) {
        conn_close(conn);
        return;
    }
    if (conn->sm.now != CONN_LIVE && MUTATION(W2_HALF_OPEN_KEPT))
        return;
    if (conn->sm.now != CONN_LIVE) {
        peer_log(conn->shard, LOG_LEVEL_WARNING, "%s: no ICReq and Connect in time; closed", who.s);
        conn_close(conn);
        return;
    }
    const uint64_t since = conn_owed_since_ns(conn);
    if (since == 0) {
        if (!pdu_tx_idle(&conn->tx)) /* The next send begins at the end of this turn. */
            conn_watch_stall(conn);
        return;
    }
    if (reactor_now_ns(r) - since < NVME_STALL_NS) {
        io_timer_arm(timer, r, since + NVME_STALL_NS);
        return;
    }
    peer_log(conn->shard, LOG_LEVEL_WARNING,
             "%s: takes no responses, or does not send the whole of what it has to; closed", who.s);
    conn_close(conn);
}

/* ---- End ---- */

static void conn_on_discard(struct io_op *op)
{
    struct nvme_conn *conn = CONTAINER_OF(op, struct nvme_conn, discard);

    if (conn->sm.now == CONN_TERM && op->result > 0) {
        io_op_recv(op, conn->shard->reactor, conn->fd, conn->rx_buffer, conn_on_discard);
        return;
    }
    conn_close(conn);
    conn_check_drained(conn); /* conn may be gone. */
}

void conn_terminate(struct nvme_conn *conn, struct pdu_error error, struct const_span culprit)
{
    struct reactor *r = conn->shard->reactor;

    assert(conn->rx_stopped);
    peer_log(conn->shard, LOG_LEVEL_WARNING, "%s: %s (%u) in %s; connection terminated",
             io_addr_format(&conn->peer).s, pdu_fes_text(error.fes), error.fei,
             culprit.bytes > 0 ? pdu_type_name((enum pdu_type)culprit.at[0]) : "a PDU");

    sm_move(&conn->sm, CONN_TERM);
    conn->term_error = error;
    conn->term_culprit_bytes = (uint8_t)min_u64(culprit.bytes, sizeof conn->term_culprit);
    if (culprit.bytes > 0)
        memcpy(conn->term_culprit, culprit.at, conn->term_culprit_bytes);
    pdu_tx_queue(&conn->tx, &conn->term_entry);
    /* A close with unread input would reset the connection and lose the PDU: read on. */
    io_timer_arm(&conn->timer, r, reactor_now_ns(r) + NVME_TERM_LINGER_NS);
    io_op_recv(&conn->discard, r, conn->fd, conn->rx_buffer, conn_on_discard);
}

void conn_close(struct nvme_conn *conn)
{
    struct reactor *r = conn->shard->reactor;

    if (conn->sm.now == CONN_CLOSING || conn->sm.now == CONN_DETACHED)
        return;
    if (conn->sm.now == CONN_MOVING)
        return; /* Home has killed it, and knows that it was on its way. */
    sm_move(&conn->sm, CONN_CLOSING);
    io_timer_disarm(&conn->timer);
    io_shutdown(r, conn->fd);
    conn_cancel_cmds(conn);
    conn_buf_close(conn);
    if (!conn->rx_stopped)
        pdu_rx_stop(&conn->rx);
    if (conn->discard.in_flight)
        io_op_cancel(&conn->discard);
    pdu_tx_stop(&conn->tx);
    home_post_closing(conn);
}

static void conn_detach(struct nvme_conn *conn)
{
    sm_move(&conn->sm, CONN_DETACHED);
    assert(conn->cmds_busy == 0 && conn->data_bytes == 0 && conn->r2t_bytes == 0);
    io_close(conn->shard->reactor, conn->fd);
    conn_buf_leave_peer(conn);
    pages_unmap(conn->rx_buffer.at, NVME_RX_BUFFER_BYTES);
    free(conn->cmds);
    home_post_detach(conn);
}

void conn_check_drained(struct nvme_conn *conn)
{
    if (conn->sm.now != CONN_CLOSING || !conn->rx_stopped || !conn->tx_stopped ||
        conn->discard.in_flight)
        return;
    if (!conn->dropped)
        conn_drop_cmds(conn);
    if (conn->cmds_executing == 0)
        conn_detach(conn);
}

/* ---- Messages ---- */

static void conn_on_start(struct io_msg *msg)
{
    conn_start_on_shard(CONTAINER_OF(msg, struct nvme_conn, life_msg));
}

void conn_post_start(struct nvme_conn *conn)
{
    conn->life_msg.deliver = conn_on_start;
    reactor_post(conn->shard->reactor, &conn->life_msg);
}

static void conn_on_kill(struct io_msg *msg)
{
    struct nvme_conn *conn = CONTAINER_OF(msg, struct nvme_conn, kill_msg);

    assert(conn->sm.now != CONN_REAPED); /* Home may have freed it. */
    conn_close(conn);
}

void conn_post_kill(struct nvme_conn *conn)
{
    conn->kill_msg.deliver = conn_on_kill;
    reactor_post(conn->shard->reactor, &conn->kill_msg);
}

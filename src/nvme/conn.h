/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a host: one queue pair, admin or I/O, with its commands.  Only the target's
 * files include this.
 *
 *   START -> ICREQ -> CONNECT -> LIVE          what is awaited: adoption, ICReq, Connect, nothing
 *     |        |         |        |
 *     |        +---------+--------+--> TERM    a termination PDU is on its way, input is discarded
 *     v        v         v        v     |
 *   CLOSING <---------------------------+      commands in flight end, then home lets go
 *     |
 *   DETACHED -> REAPED                       home's last message has come; or it was freed at once
 *
 * A connection may go to another shard before its Connect is answered: CONNECT -> MOVING ->
 * CONNECT, see conn_move.c.
 *
 * Threading: a connection belongs to its shard's reactor; the fields under "Home's" belong to the
 *            home reactor.  Commands travel between the two by their message.
 * Memory:    home allocates and frees the connection; commands are one array, allocated when
 *            Connect says how many; data come from the shard's buffer pool within a quota.
 */
#ifndef NVME_CONN_H
#define NVME_CONN_H

#include <assert.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/sm.h"
#include "io/buf.h"
#include "nvme/limits.h"
#include "nvme/ns.h"
#include "nvme/pdu.h"
#include "nvme/pdu_rx.h"
#include "nvme/pdu_tx.h"
#include "nvme/vendor.h"

struct nvme_conn;
struct nvme_ctrl;
struct nvme_peer;
struct nvme_port;
struct nvme_subsys;
struct nvme_target;

/* ---- Shards ---- */

/* What a peer, an address (share.c), holds of one pool, and its connections that want more. */
struct nvme_pool_share {
    size_t held;
    struct list waiting; /* Those that hold nothing: the first is asked again (conn_buf.c). */
};

/* A peer on one reactor. */
struct nvme_shard_peer {
    struct list_node link; /* In shard->peers. */
    struct io_addr addr;
    unsigned conns;
    struct nvme_pool_share data;
    struct nvme_pool_share r2t;
};

/* What the target has on one reactor. */
struct nvme_shard {
    struct nvme_target *target;
    struct reactor *reactor;
    struct buf_pool *pool;      /* Borrowed: for reads and for data in capsules. */
    struct buf_pool *r2t_pool;  /* For data that come by R2T. */
    struct list peers;          /* Those that have connections here. */
    uint64_t log_used_until_ns; /* See peer_log.c. */
    uint64_t log_left_out;      /* Lines. */
};

/* ---- Commands ---- */

enum nvme_cmd_state {
    CMD_FREE,
    CMD_CAPSULE,   /* Its data are being received with the capsule. */
    CMD_R2T_WAIT,  /* In r2t_queue: wants a buffer to ask for its data. */
    CMD_R2T,       /* Its data were asked for, or will be when r2t_unsent is sent. */
    CMD_EXECUTING, /* At the namespace, at a vendor's, or at home. */
    CMD_RESPONDING,
};

struct nvme_cmd {
    struct list_node link; /* In free, r2t_queue, r2ts, or one of home's lists. */
    struct pdu_tx_entry tx;
    struct nvme_conn *conn;
    struct nvme_sqe sqe;
    enum nvme_cmd_state state;
    uint16_t index;         /* In conn->cmds: the transfer tag. */
    bool r2t_unsent;        /* The entry in the send queue is an R2T, not a response. */
    uint16_t data_pad;      /* Bytes of the buffer before data. */
    bool from_r2t;          /* Its buffer counts as one of those. */
    uint16_t status;        /* Of the completion. */
    uint64_t result;        /* Likewise. */
    uint32_t data_received; /* H2CData so far. */
    uint32_t reply_bytes;   /* Data to the host, from the start of data. */
    uint64_t tells_loss;    /* Its answer tells of losses up to this one; see ns.h. */
    union {
        struct nvme_cmd *aborter;    /* The Abort that waits until this one's data have come. */
        struct nvme_conn *aborts_on; /* Of an Abort: the queue. */
    };
    unsigned range;    /* Dataset Management, Copy: the next one. */
    struct span data;  /* From the pool; empty if the command has none. */
    struct io_msg msg; /* To home and back. */
    union {
        struct nvme_ns_req req;        /* Of a namespace, ... */
        struct nvme_vendor_req vendor; /* ... or where there is none. */
    };
};

/* Which way a command's data go. */
enum nvme_direction { NVME_DIRECTION_NONE = 0, NVME_TO_CONTROLLER = 1, NVME_TO_HOST = 2 };

/* ---- Connections ---- */

enum nvme_conn_state {
    CONN_START,
    CONN_ICREQ,
    CONN_CONNECT,
    CONN_MOVING, /* That home says where it goes on: it is on no reactor. */
    CONN_LIVE,
    CONN_TERM,
    CONN_CLOSING,
    CONN_DETACHED,
    CONN_REAPED,
};

/* Written by the shard, read by home; relaxed. */
struct nvme_conn_counters {
    _Atomic uint64_t reads;
    _Atomic uint64_t writes;
    _Atomic uint64_t bytes_read;
    _Atomic uint64_t bytes_written;
    _Atomic uint64_t media_errors;
    _Atomic uint64_t busy_ns; /* With I/O commands; of spans that have ended. */
};

struct nvme_conn {
    struct nvme_shard *shard;
    struct nvme_target *target;
    struct nvme_port *port; /* Where it was accepted. */
    int fd;
    struct io_addr peer;
    struct io_addr local;

    /* The shard's. */
    struct sm sm;
    struct pdu_rx rx;
    struct pdu_tx tx;
    struct pdu_format format;
    struct io_timer timer; /* Handshake, then stalls, then the linger of TERM. */
    struct span rx_buffer;

    struct nvme_cmd *cmds; /* cmd_count of them; NULL before Connect. */
    unsigned cmd_count;
    unsigned cmds_busy;       /* Not free. */
    unsigned cmds_responding; /* Of these; their hosts may have the response already. */
    unsigned cmds_executing;  /* Likewise; at the namespace or at home. */
    uint64_t busy_since_ns;   /* While cmds_executing > 0. */
    struct list free_cmds;
    struct nvme_cmd *moving; /* Its Connect, since home wants the connection on another shard. */
    struct nvme_cmd first;   /* For commands before Connect has been answered. */
    struct nvme_cmd *rx_cmd; /* Whose data are being received. */
    uint16_t rx_status;      /* rx_cmd fails with it when its data have been discarded. */
    uint16_t qid;
    uint16_t sq_entries;
    uint16_t sq_head;
    bool sq_flow_off;
    bool rx_held_up; /* By us, since held_up_since_ns: what the host owes may be in the socket. */
    bool rx_stopped;
    bool tx_stopped;
    bool complained; /* A bad command was logged; one per connection is enough. */
    bool dropped;    /* In CLOSING: the commands that will never execute have been freed. */
    bool data_waiting;
    bool r2t_waiting;

    struct nvme_shard_peer *shard_peer; /* NULL if the connection could not be set up. */
    size_t data_bytes;                  /* What it takes of the pool, without that of R2Ts. */
    size_t r2t_bytes;
    struct list_node data_share_link; /* In shard_peer->data.waiting. */
    struct list_node r2t_share_link;  /* In shard_peer->r2t.waiting. */
    struct buf_waiter data_waiter;    /* Registered while data_waiting. */
    struct buf_waiter r2t_waiter;     /* Likewise. */
    struct buf_waiter data_watcher;   /* Registered while the share is too small. */
    struct buf_waiter r2t_watcher;    /* Likewise. */
    size_t data_wanted;               /* While data_waiting. */
    struct span granted; /* What the wait has brought, until the header is asked again. */
    struct list r2t_queue;
    struct list r2ts;      /* Commands whose data were asked for, the oldest first, ... */
    uint64_t r2t_since_ns; /* ... and since when that is the oldest, without hold-ups. */
    uint64_t held_up_since_ns;
    uint64_t loss_told; /* The last loss that an answer in tx, or sent, tells of; see ns.h. */
    bool loss_unproven; /* The host may not have got that answer yet. */
    uint16_t loss_cid;  /* Of that answer: used again, it proves that the host has it. */

    struct pdu_tx_entry term_entry;
    struct pdu_error term_error;
    uint8_t term_culprit[PDU_HEADER_BYTES_MAX];
    uint8_t term_culprit_bytes;
    struct pdu_tx_entry icresp_entry;
    struct io_op discard; /* In TERM. */

    /* Of an I/O queue, set when Connect succeeds; the subsystem outlives the connection. */
    struct nvme_subsys *subsys;
    void *association; /* See vendor.h. */
    struct nvme_conn_counters counters;

    struct io_msg life_msg;    /* start, detach, reap, gone: one after another. */
    struct io_msg closing_msg; /* To home, once. */
    struct io_msg kill_msg;    /* From home, once. */

    /* Home's. */
    struct list_node target_link; /* In target->conns. */
    struct list_node ctrl_link;   /* In ctrl->queues. */
    struct list_node open_link;   /* In target->half_open. */
    struct nvme_ctrl *ctrl;
    uint16_t home_qid;
    unsigned home_entries;          /* Of its queue. */
    struct nvme_peer *share;        /* Whose queue it is; NULL while it has none. */
    struct nvme_shard *home_moving; /* Where it goes to: it is on no shard for certain. */
    bool kill_sent;
    bool abort_sent; /* Messages to the shard may be under way, as after a kill. */
    bool home_closing;
};

/* ---- conn.c: life ---- */

/* Starts a connection on its shard's reactor; it is in target->conns and owned by home. */
void conn_start_on_shard(struct nvme_conn *conn);

/* Ends the connection without a word.  Nothing happens if it is ending already. */
void conn_close(struct nvme_conn *conn);

/* Ends it because of what the peer sent: termination PDU, linger, close. */
void conn_terminate(struct nvme_conn *conn, struct pdu_error error, struct const_span culprit);

/* Whether new commands and responses still count. */
bool conn_is_open(const struct nvme_conn *conn);

/* Of a connection that has moved: starts to receive and send on the reactor of its shard. */
void conn_restart(struct nvme_conn *conn);

/* Goes on with closing when the last thing in flight has ended. */
void conn_check_drained(struct nvme_conn *conn);

/* Watches for a peer that takes or sends nothing. */
void conn_watch_stall(struct nvme_conn *conn);

/* The receiver is held up, for want of a buffer or of a place for a command. */
void conn_rx_is_held_up(struct nvme_conn *conn);

/* The receiver was held up, and is not any more. */
void conn_rx_goes_on(struct nvme_conn *conn);

/* Connect has succeeded. */
void conn_on_connected(struct nvme_conn *conn);

/* ---- conn_move.c ---- */

/* The receiver or the sender of a connection that is to move has stopped.  conn may be gone. */
void conn_move_step(struct nvme_conn *conn);

/* ---- peer_log.c ---- */

/* Logs a line that a peer can cause at will; beyond a limit it is left out, and counted. */
void peer_log(struct nvme_shard *shard, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- conn_rx.c: PDUs ---- */

extern const struct pdu_rx_ops conn_rx_ops;

/* ---- conn_cmd.c: commands from capsule to response ---- */

extern const struct pdu_tx_ops conn_tx_ops;

void cmd_init(struct nvme_cmd *cmd, struct nvme_conn *conn, unsigned index);

/* A free command, or NULL. */
struct nvme_cmd *cmd_get(struct nvme_conn *conn);

/* Frees a command with its buffer, and lets the receiver try again if it waited for either. */
void cmd_put(struct nvme_cmd *cmd);

/* Sends the completion: status (with flags) and, if it is 0, cmd->result and reply_bytes. */
void cmd_respond(struct nvme_cmd *cmd, uint16_t status);

/*
 * Ends a command with an error: as cmd_respond(), but what is somebody's fault is noted at home
 * before, so that a host that has the answer finds it in the log.
 */
void cmd_fail(struct nvme_cmd *cmd, uint16_t status);

/* Whether a status belongs into the error log. */
bool cmd_is_fault(uint16_t status);

/* No command executes any more: counts how long some did. */
void conn_on_idle(struct nvme_conn *conn);

/* A command begins to execute, and one ends. */
static inline void conn_begin_work(struct nvme_conn *conn)
{
    if (conn->cmds_executing++ == 0)
        conn->busy_since_ns = reactor_now_ns(conn->shard->reactor);
}

static inline void conn_end_work(struct nvme_conn *conn)
{
    assert(conn->cmds_executing > 0);
    if (--conn->cmds_executing == 0)
        conn_on_idle(conn);
}

/* All data are there: to the namespace, to a vendor's, or to home. */
void cmd_execute(struct nvme_cmd *cmd);

/* Which way this command's data go, by its opcode. */
enum nvme_direction cmd_direction(const struct nvme_sqe *sqe);

/* ---- conn_buf.c: data buffers and R2Ts ---- */

void conn_buf_init(struct nvme_conn *conn);

/* Makes the connection one of its peer's; its address is known.  NO_MEMORY is possible. */
struct status conn_buf_join_peer(struct nvme_conn *conn) MUST_CHECK;

/* The connection holds nothing any more. */
void conn_buf_leave_peer(struct nvme_conn *conn);

/* Takes a buffer for cmd's data within the quota; false: later, by pdu_rx_resume(). */
bool cmd_buf_get(struct nvme_cmd *cmd, size_t data_bytes);

void cmd_buf_put(struct nvme_cmd *cmd);

/* Asks the host for cmd's data as soon as there is a buffer for them. */
void cmd_r2t_start(struct nvme_cmd *cmd);

/* All of them have come. */
void cmd_r2t_end(struct nvme_cmd *cmd);

/* A command in CMD_R2T_WAIT waits no longer. */
void cmd_r2t_cancel(struct nvme_cmd *cmd);

/* The connection closes: no command waits for a buffer any more. */
void conn_buf_close(struct nvme_conn *conn);

/* ---- conn_abort.c ---- */

/* Ends a command that has an aborter and has not been executed: answers both. */
void cmd_end_aborted(struct nvme_cmd *cmd);

/* The command goes without an answer: answers its aborter, if it has one. */
void cmd_drop_aborter(struct nvme_cmd *cmd);

/* ---- conn_io.c: NVM commands ---- */

/* Checks all but the data of an I/O command: 0 or a status. */
uint16_t io_check(struct nvme_cmd *cmd);

/* How far into a block of 4 KiB cmd's data belong, in memory too (ns.h). */
size_t io_data_pad(const struct nvme_cmd *cmd);

/* Hands a checked I/O command with its data to the namespace. */
void io_execute(struct nvme_cmd *cmd);

/*
 * Takes the request of an executing command back that the namespace has not begun: true, and the
 * command ends.  False, too, if it is not at a namespace.
 */
bool io_cancel(struct nvme_cmd *cmd);

/* The answer to cmd is in the send queue: those of commands that are begun from now on follow. */
void io_note_loss(struct nvme_cmd *cmd);

/* The host sends a command with this id: it has the answer to the one before that had it. */
void io_cid_seen(struct nvme_conn *conn, uint16_t cid);

/* ---- conn_vendor.c: the commands of a subsystem without namespaces ---- */

/* As io_check() and io_execute(). */
uint16_t vendor_check(struct nvme_cmd *cmd);
void vendor_execute(struct nvme_cmd *cmd);

/* ---- What home's files give to these ---- */

/* home.c; takes cmd to the home reactor.  cmd_on_reply() follows on the shard. */
void home_submit(struct nvme_cmd *cmd);
void home_post_error(struct nvme_cmd *cmd); /* The same, to note how it ends: cmd->status. */
void home_post_closing(struct nvme_conn *conn);
void home_post_detach(struct nvme_conn *conn);

/* The command of a transfer tag if it waits for data, else NULL. */
struct nvme_cmd *conn_cmd_by_tag(struct nvme_conn *conn, uint16_t tag);

/* Takes back what waits in the namespace, so that it never executes (W3); it ends later. */
void conn_cancel_cmds(struct nvme_conn *conn);

/* Frees what will never execute: nothing receives or sends any more. */
void conn_drop_cmds(struct nvme_conn *conn);

/* conn_cmd.c; the way back, called on the home reactor. */
void cmd_post_reply(struct nvme_cmd *cmd, uint16_t status);

/* conn_cmd.c; on the shard: home's answer, cmd->status, is here.  cmd's conn may be gone. */
void cmd_end_reply(struct nvme_cmd *cmd);

/* conn.c; called on the home reactor. */
void conn_post_start(struct nvme_conn *conn);
void conn_post_kill(struct nvme_conn *conn);

#endif

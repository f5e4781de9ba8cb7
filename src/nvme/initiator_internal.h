/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the initiator's queue share.
 *
 *   initiator_queue.c    the connection's life: TCP, ICReq, Connect, termination, end
 *   initiator_cmd.c      commands: slots, sending, deadlines
 *   initiator_rx.c       what the controller sends, checked against the command that it names
 *
 * Threading: the queue's reactor.   Memory: see initiator_queue.h.
 */
#ifndef NVME_INITIATOR_INTERNAL_H
#define NVME_INITIATOR_INTERNAL_H

#include "base/sm.h"
#include "nvme/fabrics_spec.h"
#include "nvme/initiator_queue.h"
#include "nvme/limits.h"
#include "nvme/pdu_rx.h"
#include "nvme/pdu_tx.h"

/* A name for what the queue awaits. */
enum initiator_queue_state {
    INITIATOR_QUEUE_IDLE,
    INITIATOR_QUEUE_TCP,     /* The TCP connection: connect_op. */
    INITIATOR_QUEUE_ICRESP,  /* The controller's ICResp: rx. */
    INITIATOR_QUEUE_CONNECT, /* The completion of Connect: rx. */
    INITIATOR_QUEUE_LIVE,    /* Commands. */
    INITIATOR_QUEUE_TERM,    /* That our termination PDU has left: tx, or timer. */
    INITIATOR_QUEUE_CLOSING, /* That rx and tx have let go. */
    INITIATOR_QUEUE_ENDED,
};

/* A command's place.  The CID is its index with a counter on top, so that a late or repeated
 * completion does not hit the next command in the same slot. */
struct initiator_slot {
    struct initiator_cmd *cmd;
    uint8_t use;
    bool abandoned; /* The completion of this CID is awaited, and nobody wants it. */
    uint16_t cid;
    uint16_t budget; /* Charged with bytes until the slot is free; 0: none. */
    uint32_t bytes;
};
#define INITIATOR_CID_INDEX_BITS 10
static_assert(NVME_QUEUE_ENTRIES_MAX <= 1u << INITIATOR_CID_INDEX_BITS, "an index fits");

struct initiator_budget {
    struct list waiting; /* initiator_cmd.link: those that came behind one that has no room, too. */
    uint32_t commands;   /* Charged. */
    uint32_t bytes;
};

struct initiator_queue {
    struct initiator_queue_config config;
    struct sm sm;
    struct status why; /* The first failure. */
    uint16_t cntlid;
    struct pdu_format format; /* Of what we send. */
    uint32_t h2c_bytes_max;   /* MAXH2CDATA. */

    int fd;
    struct io_op connect_op;
    struct io_timer timer; /* The handshake's deadline, then the check of commands'. */
    struct pdu_rx rx;
    struct pdu_tx tx;
    bool rx_started;
    bool rx_stopped;
    bool tx_stopped;
    bool ending; /* The task is ending the queue: it needs no deferring any more. */

    /* PDUs that belong to no command. */
    struct pdu_tx_entry own_tx;
    bool own_tx_busy;
    uint8_t own_pdu[PDU_TERM_BYTES_MAX];
    size_t own_pdu_bytes;
    struct initiator_cmd connect_cmd;
    struct nvme_connect_data_spec connect_data;

    /* Commands. */
    struct list waiting;          /* For a slot, or for the queue to be ready. */
    unsigned outstanding;         /* Waiting, for a budget, too; active or refused. */
    struct list refused;          /* Submitted too late, or canceled; task ends them. */
    struct io_task task;          /* Ends what is refused, then the queue if it is closed. */
    struct initiator_cmd *rx_cmd; /* Whose data the receiver is receiving; NULL: it drops them. */
    uint16_t rx_cid;
    uint32_t rx_bytes;            /* How many of them come in this PDU. */
    bool rx_completes;            /* That PDU stands for the completion as well. */
    struct initiator_slot *slots; /* config.entries - 1 of them. */
    uint16_t *free_slots;         /* A stack of indices. */
    unsigned free_count;
    unsigned slot_count;
    struct initiator_budget *budgets; /* config.budgets of them. */

    struct span rx_buffer;
};

extern const struct pdu_rx_ops initiator_rx_ops;
extern const struct pdu_tx_ops initiator_tx_ops;

/* ---- initiator_queue.c ---- */

/* The connection is of no use any more: why, unless there is an earlier reason. */
void initiator_queue_fail(struct initiator_queue *q, struct status why);

/* The receiver has stopped, the sender has stopped. */
void initiator_queue_on_rx_stopped(struct initiator_queue *q, struct status why);
void initiator_queue_on_tx_stopped(struct initiator_queue *q);

/* The controller's ICResp. */
struct status initiator_queue_on_icresp(struct initiator_queue *q,
                                        const struct pdu *pdu) MUST_CHECK;

/* Whether commands are sent: the state is CONNECT (only Connect itself) or LIVE. */
static inline bool initiator_queue_sends(const struct initiator_queue *q)
{
    return q->sm.now == INITIATOR_QUEUE_CONNECT || q->sm.now == INITIATOR_QUEUE_LIVE;
}

/* ---- initiator_cmd.c ---- */

/* Bytes of data, to send or to receive. */
static inline uint32_t initiator_cmd_bytes(const struct initiator_cmd *cmd)
{
    return (uint32_t)(cmd->data.bytes + cmd->tail.bytes);
}

/* Where so many bytes of the data from offset lie: in *out_first, and on in *out_rest. */
void initiator_cmd_place(const struct initiator_cmd *cmd, uint32_t offset, uint32_t bytes,
                         struct span *out_first, struct span *out_rest);

/* Gives the command a slot and hands it to the sender; there is one free. */
void initiator_cmd_activate(struct initiator_queue *q, struct initiator_cmd *cmd);

/* Moves waiting commands to free slots. */
void initiator_cmd_activate_waiting(struct initiator_queue *q);

/* The command in use that cid names, or NULL. */
struct initiator_cmd *initiator_cmd_find(const struct initiator_queue *q, uint16_t cid);

/* The slot of a command that was abandoned, and has no completion yet; NULL: it is none. */
struct initiator_slot *initiator_cmd_find_abandoned(const struct initiator_queue *q, uint16_t cid);

/* Its completion has come: the slot is free. */
void initiator_cmd_forget(struct initiator_queue *q, struct initiator_slot *slot);

/* An R2T that was checked: sends what it asks for. */
void initiator_cmd_grant(struct initiator_cmd *cmd, const struct pdu_data *r2t);

/* The completion has come: done follows, now or when the sender lets go of the data. */
void initiator_cmd_respond(struct initiator_cmd *cmd, const struct nvme_cqe *cqe);

/* The sender has let go of a command's entry. */
void initiator_cmd_on_sent(struct initiator_cmd *cmd);

/* Writes the command's next PDU. */
void initiator_cmd_encode(struct initiator_cmd *cmd, struct pdu_tx_writer *w);

/* Ends the commands that were refused. */
void initiator_cmd_end_refused(struct initiator_queue *q);

/* Ends all commands; nothing is in flight any more. */
void initiator_cmd_end_all(struct initiator_queue *q);

/* The earliest start of an active command with a deadline; UINT64_MAX if there is none. */
uint64_t initiator_cmd_oldest_start_ns(const struct initiator_queue *q);

#endif

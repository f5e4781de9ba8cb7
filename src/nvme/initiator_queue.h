/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of one queue pair: one TCP connection, on which commands are sent and their
 * data and completions received.  The admin queue of initiator.h is one, each I/O queue another.
 *
 *   submit() --> waiting --> slot (CID) --> CapsuleCmd [+ data] ---------> controller
 *                                           R2T <--- H2CData --->
 *   done()   <-------------- slot free <--- C2HData, CapsuleResp <--------
 *
 * What a turn has submitted leaves in one send.  Data move between the socket and the caller's
 * memory; reads are copied out of the receive buffer only as far as they came with their header.
 *
 * A controller is not trusted (W1): a CID that is not in use, data outside a command's memory or
 * out of order, an R2T for more than the command has, a success before the data have moved: all
 * of these end the connection with the termination PDU that the specification names.
 *
 * NVMe/TCP Transport Specification 1.0c; NVM Express Base Specification 2.0c, "Connect Command".
 *
 * Threading: a queue belongs to one reactor; callbacks are called there.
 * Memory:    commands are embedded in their owners; a queue allocates when it is created only.
 */
#ifndef NVME_INITIATOR_QUEUE_H
#define NVME_INITIATOR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "base/uuid.h"
#include "io/addr.h"
#include "io/reactor.h"
#include "nvme/nqn.h"
#include "nvme/pdu.h"
#include "nvme/pdu_tx.h"

struct initiator_cmd;
struct initiator_queue;

typedef void initiator_cmd_fn(struct initiator_cmd *cmd);

/* A command of any kind.  All of it, and data, are lent to the queue from submit to done. */
struct initiator_cmd {
    struct nvme_sqe sqe; /* CID, flags and SGL are filled in by the queue. */
    struct span data;    /* To send or to fill, as the opcode's direction says; may be empty. */
    struct span tail;    /* The data go on there; may be empty, and is if data are. */
    initiator_cmd_fn *done;
    bool no_deadline; /* An asynchronous event request may take for ever. */
    uint16_t budget;  /* Of the queue's budgets, from 1 on; 0: of none. */

    /*
     * Valid in done.  OK if the controller said so; what stands for its status otherwise; and if
     * the connection was lost: LOST if the command was sent (it may or may not have been executed,
     * now or at any later time until the controller notices), UNAVAILABLE or CANCELED if it was
     * not (it has not been executed).
     */
    struct status status;
    uint16_t sc;     /* The controller's status, SCT << 8 | SC, with Do Not Retry; 0 if none. */
    uint64_t result; /* Dwords 0 and 1 of the completion. */

    /* Private to the queue. */
    struct list_node link;
    struct pdu_tx_entry tx;
    struct initiator_queue *queue;
    uint64_t start_ns;
    uint32_t moved;   /* Bytes of data received, or handed to the socket. */
    uint32_t granted; /* Bytes that R2Ts have asked for so far. */
    uint32_t in_pdu;  /* Bytes of data in the H2CData PDU that is being sent. */
    uint16_t cid;
    uint16_t ttag;
    bool to_controller; /* Which way the data go. */
    bool in_capsule;    /* They travel with the command. */
    bool sent;          /* The controller may have seen it. */
    bool in_tx;         /* The sender has the entry, and perhaps the data. */
    bool responded;     /* The completion is there; done follows when the sender lets go. */
    bool bad_digest;    /* Of data received. */
    bool charged;       /* To its budget; then it waits for a slot alone, or has one. */
};

/* Whom to connect to, as whom, and how. */
struct initiator_endpoint {
    struct io_addr addr;
    struct nqn_text subsystem_nqn;
    struct nqn_text host_nqn;
    struct uuid host_id;
    bool header_digest; /* Asked for; the controller may decline. */
    bool data_digest;
    uint64_t connect_timeout_ns; /* For TCP, ICReq and Connect together; > 0. */
    uint64_t command_timeout_ns; /* Then the connection counts as lost; > 0. */
};

struct initiator_queue_ops {
    /* Commands may be submitted.  At most once. */
    void (*ready)(struct initiator_queue *q);
    /*
     * Called once, last: why the queue ended (CANCELED after a stop).  All its commands have had
     * their done; it may be destroyed.
     */
    void (*ended)(struct initiator_queue *q, struct status why);
};

struct initiator_queue_config {
    const struct initiator_queue_ops *ops;
    void *ctx;
    struct reactor *reactor;
    struct initiator_endpoint endpoint;
    struct log *log;           /* Borrowed. */
    uint16_t qid;              /* 0: the admin queue, which makes a controller. */
    uint16_t cntlid;           /* Of the controller, for an I/O queue. */
    uint16_t entries;          /* 2 to NVME_QUEUE_ENTRIES_MAX; entries - 1 commands at a time. */
    uint32_t in_capsule_bytes; /* What the controller takes in a capsule (IOCCSZ); 0 for none. */
    uint32_t keep_alive_ms;    /* Admin queue: the KATO that Connect asks for; 0 for none. */
    /*
     * Budgets: so many commands, and bytes of their data, of each are with the controller at a
     * time, one command in any case; more wait, without being in anybody else's way.
     */
    uint16_t budgets; /* How many there are; the rest has no meaning if there are none. */
    uint16_t budget_commands;
    uint32_t budget_bytes;
};

/* Allocates a queue that is not connected. */
struct status initiator_queue_create(const struct initiator_queue_config *config,
                                     struct initiator_queue **out_queue) MUST_CHECK;

/* Never started, or ended.  NULL is allowed. */
void initiator_queue_destroy(struct initiator_queue *q);

/* Connects.  ready() or ended() follows. */
void initiator_queue_start(struct initiator_queue *q);

/* Drops the connection.  ended() follows.  Nothing happens if it is ending already. */
void initiator_queue_stop(struct initiator_queue *q);

/*
 * Makes the command one of a vendor's: entry is the 64 bytes of its submission queue entry, of
 * which the queue replaces flags, CID and SGL.  Data, done and so on are the caller's to set.  A
 * status that only the vendor has a meaning for is IO in status; sc has it.
 */
void initiator_cmd_set_entry(struct initiator_cmd *cmd, const uint8_t entry[NVME_SQE_BYTES]);

/*
 * Submits a command.  Any number may be submitted, also before ready(): what exceeds the queue
 * waits.  Data and tail together have at most NVME_DATA_BYTES_MAX bytes.  done follows, never from
 * in here.  After the end of the connection a command ends at once: submit again only while the
 * queue is ready.
 */
void initiator_queue_submit(struct initiator_queue *q, struct initiator_cmd *cmd);

/* Ends a command that has not been sent as CANCELED; one that was sent runs on. */
void initiator_queue_cancel(struct initiator_queue *q, struct initiator_cmd *cmd);

/*
 * Lets go of a command: one that waits was never sent; one that was sent, with all of its data,
 * runs on, and what it would have received is dropped.  True: it is the caller's again, done is not
 * called, and what the controller makes of it is nobody's business; its place in the queue, and in
 * its budget, is free when that has answered.  False: not of one whose data are on their way.
 */
bool initiator_queue_abandon(struct initiator_queue *q, struct initiator_cmd *cmd) MUST_CHECK;

void *initiator_queue_ctx(const struct initiator_queue *q);
bool initiator_queue_is_ready(const struct initiator_queue *q);

/* Commands that are submitted and not done. */
unsigned initiator_queue_outstanding(const struct initiator_queue *q);

/* The controller's id, as Connect returned it.  Valid from ready() on. */
uint16_t initiator_queue_cntlid(const struct initiator_queue *q);

/* The negotiated digests.  Valid from ready() on. */
bool initiator_queue_header_digest(const struct initiator_queue *q);
bool initiator_queue_data_digest(const struct initiator_queue *q);

/* In done: whether the command ended with its connection, and not by an answer. */
bool initiator_cmd_is_lost(const struct initiator_cmd *cmd);

/* What a status of a controller (SCT << 8 | SC, flags ignored) means to us. */
struct status initiator_status_from_nvme(uint16_t sc);

#endif

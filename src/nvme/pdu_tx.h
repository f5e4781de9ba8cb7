/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends NVMe/TCP PDUs on one connection: whatever a turn has queued goes out in one send.
 *
 *   pdu_tx_queue() ... pdu_tx_queue()          end of turn: encode() each of them
 *        |                                              |
 *        v            +------------------------------------------------+
 *     queue:  e e e   | header | data | header header | data | header  |  one io_op_send
 *                     +------------------------------------------------+
 *                      arena    owner's   arena         owner's  arena
 *
 * Threading: everything here, callbacks included, runs on the connection's reactor.
 * Memory:    nothing is allocated: entries are embedded in the owner's commands, headers are
 *            encoded into an arena inside struct pdu_tx, data stay where they are.
 */
#ifndef NVME_PDU_TX_H
#define NVME_PDU_TX_H

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "io/op.h"
#include "io/reactor.h"
#include "nvme/limits.h"
#include "nvme/pdu.h"

struct pdu_tx;

/* Something to send: one PDU or a few in a row. */
struct pdu_tx_entry {
    struct list_node link; /* Private. */
};

/* Where encode() puts an entry; see pdu_tx_head() and pdu_tx_data(). */
struct pdu_tx_writer {
    /* Private to pdu_tx. */
    uint8_t *at;
    uint8_t *piece; /* Headers from here to at are not in an iovec yet. */
    struct iovec *iov;
    unsigned iov_count;
    size_t bytes;
    bool has_data;
};

struct pdu_tx_ops {
    /*
     * Writes the entry's headers, data and digests, in order: at most NVME_TX_ENTRY_BYTES by
     * pdu_tx_head() and the data of one PDU by pdu_tx_data(), in one or two pieces of memory,
     * which must stay until done().
     */
    void (*encode)(struct pdu_tx *tx, struct pdu_tx_entry *entry, struct pdu_tx_writer *writer);
    /* The entry and its data are the owner's again: sent, or dropped because of a stop. */
    void (*done)(struct pdu_tx *tx, struct pdu_tx_entry *entry);
    /* Sending failed.  Nothing more is sent; the owner calls pdu_tx_stop() now or later. */
    void (*failed)(struct pdu_tx *tx, struct status why);
    /* The answer to pdu_tx_stop(), once, last: nothing is in flight and tx may be freed. */
    void (*stopped)(struct pdu_tx *tx);
};

struct pdu_tx {
    const struct pdu_tx_ops *ops;
    struct reactor *reactor; /* Borrowed. */
    int fd;                  /* Borrowed; outlives stopped(). */

    /* Private to pdu_tx.c. */
    struct list queue;   /* To be encoded. */
    struct list sending; /* Their data are in flight. */
    struct io_task flush;
    struct io_op send;
    uint64_t send_start_ns;
    bool broken;
    bool stopping;
    bool stopped;
    struct iovec iov[NVME_TX_IOVS + 1]; /* One more, if the last entry's data are in two pieces. */
    uint8_t arena[NVME_TX_HEADER_BYTES];
};

void pdu_tx_init(struct pdu_tx *tx);

static inline void pdu_tx_entry_init(struct pdu_tx_entry *entry)
{
    list_node_init(&entry->link);
}

/* Queues an entry; it is sent at the end of the turn or after the send in flight. */
void pdu_tx_queue(struct pdu_tx *tx, struct pdu_tx_entry *entry);

/* Drops what is queued and waits for what is in flight; done() and stopped() follow, from the
 * loop.  The owner shuts the socket down if it does not want to wait for the peer. */
void pdu_tx_stop(struct pdu_tx *tx);

/* Whether nothing is queued or in flight. */
bool pdu_tx_idle(const struct pdu_tx *tx);

/* When the send in flight began; 0 if none is. */
uint64_t pdu_tx_sending_since_ns(const struct pdu_tx *tx);

/* For encode(): where the next header goes.  Advance by what was written. */
static inline uint8_t *pdu_tx_head(const struct pdu_tx_writer *w)
{
    return w->at;
}

static inline void pdu_tx_head_advance(struct pdu_tx_writer *w, size_t bytes)
{
    w->at += bytes;
}

/* For encode(): data after the headers so far. */
void pdu_tx_data(struct pdu_tx_writer *w, struct const_span data);

/* For encode(): data as above, and their digest where format and length want one. */
void pdu_tx_data_with_digest(struct pdu_tx_writer *w, const struct pdu_format *format,
                             struct const_span data);

/* The same for data in two pieces of memory; rest may be empty. */
void pdu_tx_split_with_digest(struct pdu_tx_writer *w, const struct pdu_format *format,
                              struct const_span first, struct const_span rest);

#endif

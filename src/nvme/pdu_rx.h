/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receives NVMe/TCP PDUs from one connection, for a host and for a controller.
 *
 *     one recv              parse                          header()   data()
 *   socket ----> buffer [ PDU | PDU | PDU | PDU, begun ] ----> owner ----> owner
 *      |                                        |
 *      +------------ the rest of its data ------+---> straight to the owner's memory
 *
 * One recv brings what has arrived, up to the whole buffer, and all PDUs in it are handled in
 * that turn, up to NVME_RX_PDUS_PER_TURN.  Data are copied out of the buffer as far as they have
 * come with their header; what is still missing, if it is much, is received into place.
 *
 * The owner stops the flow by answering BUSY to a header: nothing more is received, so that the
 * peer stalls (W2), until pdu_rx_resume() asks again with the same header.
 *
 * Threading: everything here, callbacks included, runs on the connection's reactor.
 * Memory:    the receiver allocates nothing; the caller embeds struct pdu_rx and lends buffer.
 */
#ifndef NVME_PDU_RX_H
#define NVME_PDU_RX_H

#include "base/sm.h"
#include "base/span.h"
#include "base/status.h"
#include "io/op.h"
#include "io/reactor.h"
#include "nvme/pdu.h"

struct pdu_rx;

/* How the receiver reports.  A failure returned from a callback stops the receiver. */
struct pdu_rx_ops {
    /*
     * A header has arrived and is valid by itself.  Where it has data, set *out_data to memory
     * for pdu->data_bytes, lent until data() or stopped(), or leave it empty to have the data
     * discarded; pdu_rx_split() gives them two pieces of memory.  BUSY: not now; nothing must have
     * changed.  The negotiated rx->rules may be changed here.  To refuse the PDU, return
     * pdu_rx_refuse().
     */
    struct status (*header)(struct pdu_rx *rx, const struct pdu *pdu, struct span *out_data);
    /* The data of the last header have arrived, discarded or not.  digest_ok is false if their
     * digest was wrong; true where there is none. */
    struct status (*data)(struct pdu_rx *rx, bool digest_ok);
    /* A PDU has begun, and the rest of it is awaited: pdu_rx_begun_ns() is not 0 from now on.
     * NULL is allowed. */
    void (*begun)(struct pdu_rx *rx);
    /* Called once, last: nothing is in flight and rx may be freed.  For BAD_PDU and BAD_DIGEST,
     * rx->error and pdu_rx_culprit() say what a termination PDU has to. */
    void (*stopped)(struct pdu_rx *rx, struct status why);
};

struct pdu_rx {
    const struct pdu_rx_ops *ops;
    struct reactor *reactor; /* Borrowed. */
    int fd;                  /* Borrowed; outlives stopped(). */
    struct pdu_rules rules;
    struct span buffer; /* Lent; at least PDU_RX_BUFFER_BYTES_MIN. */
    struct pdu_error error;

    /* Private to pdu_rx.c. */
    struct sm sm;
    struct io_op recv; /* In flight in the state RECV. */
    struct io_task task;
    size_t begin; /* What of the buffer has not been handled: [begin, end). */
    size_t end;
    bool common_known; /* The PDU at begin: its first 8 bytes are decoded into pdu, ... */
    bool header_known; /* ... and all of its header. */
    bool in_data;      /* Its header is handled, its data or their digest are not. */
    bool direct;       /* The recv in flight goes to data. */
    bool after_large;  /* The last PDU had large data. */
    bool stopping;
    uint64_t begun_ns; /* Since when the rest of the PDU at begin is awaited; 0 if it is not. */
    struct pdu pdu;
    struct span data; /* The place of what is still missing; at is NULL to discard the data. */
    struct span rest; /* Where they go on when that is full; empty if they do not. */
    size_t data_missing;
    struct span data_whole;
    struct span rest_whole;
};

#define PDU_RX_BUFFER_BYTES_MIN 1024

/* Starts receiving.  Every outcome, the first failure included, arrives through ops. */
void pdu_rx_start(struct pdu_rx *rx);

/* Asks the receiver to stop.  stopped() follows, from the loop, never from in here. */
void pdu_rx_stop(struct pdu_rx *rx);

/* Calls header() again, from the loop, after it answered BUSY.  Nothing happens otherwise. */
void pdu_rx_resume(struct pdu_rx *rx);

/* Whether header() answered BUSY and was not resumed. */
bool pdu_rx_paused(const struct pdu_rx *rx);

/* Whether nothing has come of another PDU: after a stop, whether nothing is lost. */
bool pdu_rx_is_between(const struct pdu_rx *rx);

/* Since when the peer has owed the rest of the PDU that it began; 0 if none has begun or it is us,
 * paused, who do not take it.  A peer that sends a byte now and then owes since the first. */
uint64_t pdu_rx_begun_ns(const struct pdu_rx *rx);

/*
 * From header(): what does not fit into *out_data goes on in rest; both together have
 * pdu->data_bytes.  rest may be empty.
 */
void pdu_rx_split(struct pdu_rx *rx, struct span rest);

/* Notes why a header is refused; returns BAD_PDU. */
struct status pdu_rx_refuse(struct pdu_rx *rx, enum pdu_fes fes, size_t fei) MUST_CHECK;

/* The header of the PDU that was refused, as far as it has arrived: for a termination PDU. */
struct const_span pdu_rx_culprit(const struct pdu_rx *rx);

#endif

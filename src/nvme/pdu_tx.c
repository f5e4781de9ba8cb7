/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/pdu_tx.h"

#include <assert.h>

/*
 * An entry needs at most a piece of headers, one of data and one of headers again.  Data in two
 * pieces need one more: there is one behind the last that is counted.
 */
#define ENTRY_IOVS 3

static void tx_on_flush(struct io_task *task);

void pdu_tx_init(struct pdu_tx *tx)
{
    list_init(&tx->queue);
    list_init(&tx->sending);
    io_task_init(&tx->flush, tx_on_flush);
    tx->send.in_flight = false;
    tx->broken = false;
    tx->stopping = false;
    tx->stopped = false;
}

/* Makes an iovec of the headers that were written since the last one. */
static void writer_close_piece(struct pdu_tx_writer *w)
{
    const size_t bytes = (size_t)(w->at - w->piece);

    if (bytes == 0)
        return;
    assert(w->iov_count <= NVME_TX_IOVS);
    w->iov[w->iov_count++] = (struct iovec) { w->piece, bytes };
    w->piece = w->at;
    w->bytes += bytes;
}

void pdu_tx_data(struct pdu_tx_writer *w, struct const_span data)
{
    assert(data.bytes > 0);

    writer_close_piece(w);
    assert(w->iov_count <= NVME_TX_IOVS);
    /* The kernel only reads what an iovec of a send points at. */
    w->iov[w->iov_count++] = (struct iovec) { (void *)(uintptr_t)data.at, data.bytes };
    w->bytes += data.bytes;
    w->has_data = true;
}

void pdu_tx_data_with_digest(struct pdu_tx_writer *w, const struct pdu_format *format,
                             struct const_span data)
{
    pdu_tx_split_with_digest(w, format, data, (struct const_span) { 0 });
}

void pdu_tx_split_with_digest(struct pdu_tx_writer *w, const struct pdu_format *format,
                              struct const_span first, struct const_span rest)
{
    pdu_tx_data(w, first);
    if (rest.bytes > 0)
        pdu_tx_data(w, rest);
    if (!pdu_has_data_digest(format, (uint32_t)(first.bytes + rest.bytes)))
        return;
    const struct le32 digest = pdu_data_digest_of(first, rest);
    memcpy(w->at, &digest, sizeof digest);
    w->at += sizeof digest;
}

/* Whether one more entry surely fits into this send. */
static bool writer_has_room(const struct pdu_tx *tx, const struct pdu_tx_writer *w)
{
    const size_t used = (size_t)(w->at - tx->arena);

    return sizeof tx->arena - used >= NVME_TX_ENTRY_BYTES &&
           NVME_TX_IOVS - w->iov_count >= ENTRY_IOVS && w->bytes < NVME_TX_SEND_BYTES;
}

static void tx_on_send(struct io_op *op);

/* Encodes what fits and sends it. */
static void tx_send(struct pdu_tx *tx)
{
    struct pdu_tx_writer w = { .at = tx->arena, .piece = tx->arena, .iov = tx->iov };
    struct list_node *node;

    while (writer_has_room(tx, &w) && (node = list_pop_front(&tx->queue)) != NULL) {
        struct pdu_tx_entry *entry = CONTAINER_OF(node, struct pdu_tx_entry, link);
        const uint8_t *before = w.at;

        w.has_data = false;
        tx->ops->encode(tx, entry, &w);
        assert(w.at - before <= NVME_TX_ENTRY_BYTES);
        /* Headers are copied into the arena; only data keep the entry busy. */
        if (w.has_data)
            list_push_back(&tx->sending, node);
        else
            tx->ops->done(tx, entry);
    }
    writer_close_piece(&w);
    assert(w.iov_count > 0);
    tx->send_start_ns = reactor_now_ns(tx->reactor);
    io_op_send(&tx->send, tx->reactor, tx->fd, tx->iov, w.iov_count, tx_on_send);
}

static void tx_release(struct pdu_tx *tx, struct list *entries)
{
    struct list_node *node;

    while ((node = list_pop_front(entries)) != NULL)
        tx->ops->done(tx, CONTAINER_OF(node, struct pdu_tx_entry, link));
}

static void tx_on_flush(struct io_task *task)
{
    struct pdu_tx *tx = CONTAINER_OF(task, struct pdu_tx, flush);

    if (tx->send.in_flight)
        return; /* tx_on_send() comes back here. */
    if (tx->broken || tx->stopping)
        tx_release(tx, &tx->queue);
    if (tx->stopping) {
        tx->stopped = true;
        tx->ops->stopped(tx); /* tx may be gone. */
        return;
    }
    if (!list_empty(&tx->queue))
        tx_send(tx);
}

static void tx_on_send(struct io_op *op)
{
    struct pdu_tx *tx = CONTAINER_OF(op, struct pdu_tx, send);
    const struct status st = io_op_status(op);

    assert(reactor_is_current(tx->reactor));

    if (!status_ok(st) && !tx->broken) {
        tx->broken = true;
        if (!tx->stopping)
            tx->ops->failed(tx, st);
    }
    if (tx->stopping || !list_empty(&tx->queue))
        reactor_defer(tx->reactor, &tx->flush);
    tx_release(tx, &tx->sending);
}

void pdu_tx_queue(struct pdu_tx *tx, struct pdu_tx_entry *entry)
{
    assert(!tx->stopped);

    list_push_back(&tx->queue, &entry->link);
    if (!tx->send.in_flight)
        reactor_defer(tx->reactor, &tx->flush);
}

void pdu_tx_stop(struct pdu_tx *tx)
{
    if (tx->stopping)
        return;
    tx->stopping = true;
    reactor_defer(tx->reactor, &tx->flush);
}

bool pdu_tx_idle(const struct pdu_tx *tx)
{
    return list_empty(&tx->queue) && list_empty(&tx->sending) && !tx->send.in_flight;
}

uint64_t pdu_tx_sending_since_ns(const struct pdu_tx *tx)
{
    return tx->send.in_flight ? tx->send_start_ns : 0;
}

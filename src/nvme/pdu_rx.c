/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme/pdu_rx.h"

#include <assert.h>

#include "nvme/limits.h"

/*
 *                +--> PAUSED (header() said BUSY) ---> resume --+
 *                |                                              v
 *  IDLE -> RECV -> PARSE <-------------------------------- YIELDED
 *            ^     |  | +--- the turn's budget is spent --------^
 *            +-----+  v
 *                  STOPPED
 *
 * RECV waits for rx->recv and YIELDED for rx->task; PAUSED for the owner; PARSE waits for
 * nothing.  Where in a PDU the parser stands is in common_known, header_known and in_data.
 */
enum rx_state { RX_IDLE, RX_RECV, RX_PARSE, RX_PAUSED, RX_YIELDED, RX_STOPPED };

static const struct sm_state rx_states[] = {
    [RX_IDLE] = { "idle", SM_TO(RX_RECV) },
    [RX_RECV] = { "recv", SM_TO(RX_PARSE) },
    [RX_PARSE] = { "parse",
                   SM_TO(RX_RECV) | SM_TO(RX_PAUSED) | SM_TO(RX_YIELDED) | SM_TO(RX_STOPPED) },
    [RX_PAUSED] = { "paused", SM_TO(RX_YIELDED) },
    [RX_YIELDED] = { "yielded", SM_TO(RX_PARSE) },
    [RX_STOPPED] = { "stopped", 0 },
};

/* What a step of the parser leads to. */
enum rx_next { RX_NEXT_STEP, RX_NEXT_RECV, RX_NEXT_PAUSE };

static void rx_on_recv(struct io_op *op);

static size_t rx_available(const struct pdu_rx *rx)
{
    return rx->end - rx->begin;
}

static void rx_note_begun(struct pdu_rx *rx)
{
    if (rx->begun_ns != 0 || (!rx->in_data && rx_available(rx) == 0))
        return;
    rx->begun_ns = reactor_now_ns(rx->reactor);
    if (rx->ops->begun != NULL)
        rx->ops->begun(rx);
}

/*
 * How much to receive into the buffer.  After large data more of the kind are likely, and what
 * comes with their header has to be copied from the buffer: so just a header's worth.
 */
static size_t rx_room(const struct pdu_rx *rx)
{
    const size_t room = rx->buffer.bytes - rx->end;
    const bool large = rx->in_data ? rx->pdu.data_bytes >= NVME_RX_LARGE_BYTES : rx->after_large;

    if (!large)
        return room;
    return min_u64(room, (rx->in_data ? rx->data_missing : 0) + NVME_RX_AFTER_LARGE_BYTES);
}

/* Receives into the data's place if much of them is missing, else into the buffer. */
static void rx_recv(struct pdu_rx *rx)
{
    struct span into;

    rx->direct = rx->in_data && rx->data.at != NULL && rx->data.bytes >= NVME_RX_DIRECT_BYTES_MIN;
    if (rx->direct) {
        assert(rx_available(rx) == 0);
        into = rx->data;
    } else {
        /* What is left is less than one header or digest. */
        memmove(rx->buffer.at, rx->buffer.at + rx->begin, rx_available(rx));
        rx->end -= rx->begin;
        rx->begin = 0;
        into = (struct span) { rx->buffer.at + rx->end, rx_room(rx) };
    }
    assert(into.bytes > 0);
    rx_note_begun(rx);
    sm_move(&rx->sm, RX_RECV);
    io_op_recv(&rx->recv, rx->reactor, rx->fd, into, rx_on_recv);
}

/* The data are there: checks their digest and reports them. */
static struct status MUST_CHECK rx_data_complete(struct pdu_rx *rx, enum rx_next *out_next)
{
    bool digest_ok = true;

    if (rx->pdu.has_data_digest) {
        struct le32 sent;
        if (rx_available(rx) < sizeof sent) {
            *out_next = RX_NEXT_RECV;
            return STATUS(OK);
        }
        memcpy(&sent, rx->buffer.at + rx->begin, sizeof sent);
        rx->begin += sizeof sent;
        if (rx->data_whole.at != NULL) {
            const struct le32 right =
                pdu_data_digest_of(span_const(rx->data_whole), span_const(rx->rest_whole));
            digest_ok = le32_get(sent) == le32_get(right);
        }
    }
    rx->in_data = false;
    rx->begun_ns = 0;
    rx->after_large = rx->pdu.data_bytes >= NVME_RX_LARGE_BYTES;
    *out_next = RX_NEXT_STEP;
    return rx->ops->data(rx, digest_ok);
}

/* So many of the data have got to their place. */
static void rx_advance(struct pdu_rx *rx, size_t bytes)
{
    rx->data_missing -= bytes;
    if (rx->data.at == NULL)
        return;
    rx->data = span_sub(rx->data, bytes, rx->data.bytes - bytes);
    if (rx->data.bytes == 0 && rx->rest.bytes > 0) {
        rx->data = rx->rest;
        rx->rest = (struct span) { 0 };
    }
}

/* Moves data that have come with their header to their place. */
static struct status MUST_CHECK rx_step_data(struct pdu_rx *rx, enum rx_next *out_next)
{
    size_t bytes;

    while ((bytes = min_u64(rx_available(rx), rx->data_missing)) > 0) {
        if (rx->data.at != NULL) {
            bytes = min_u64(bytes, rx->data.bytes);
            memcpy(rx->data.at, rx->buffer.at + rx->begin, bytes);
        }
        rx->begin += bytes;
        rx_advance(rx, bytes);
    }
    if (rx->data_missing > 0) {
        *out_next = RX_NEXT_RECV;
        return STATUS(OK);
    }
    return rx_data_complete(rx, out_next);
}

/* Decodes as much of the header at begin as is there; *out_complete if it is all there. */
static struct status MUST_CHECK rx_decode(struct pdu_rx *rx, bool *out_complete)
{
    const uint8_t *raw = rx->buffer.at + rx->begin;

    *out_complete = false;
    if (!rx->common_known) {
        if (rx_available(rx) < PDU_COMMON_BYTES)
            return STATUS(OK);
        TRY(pdu_decode_common(&rx->rules, raw, &rx->pdu, &rx->error));
        rx->common_known = true;
    }
    if (rx_available(rx) < (size_t)rx->pdu.head_bytes + rx->pdu.pad_bytes)
        return STATUS(OK);
    if (!rx->header_known) {
        TRY(pdu_decode_header(&rx->rules, raw, &rx->pdu, &rx->error));
        rx->header_known = true;
    }
    *out_complete = true;
    return STATUS(OK);
}

static struct status MUST_CHECK rx_step_header(struct pdu_rx *rx, enum rx_next *out_next)
{
    struct span data = { 0 };
    bool complete;

    TRY(rx_decode(rx, &complete));
    if (!complete) {
        *out_next = RX_NEXT_RECV;
        return STATUS(OK);
    }

    rx->rest = (struct span) { 0 };
    const struct status st = rx->ops->header(rx, &rx->pdu, &data);
    if (status_is(st, STATUS_BUSY)) {
        *out_next = RX_NEXT_PAUSE;
        return STATUS(OK);
    }
    TRY(st);
    assert(data.at == NULL || data.bytes + rx->rest.bytes == rx->pdu.data_bytes);
    rx->begin += (size_t)rx->pdu.head_bytes + rx->pdu.pad_bytes;
    rx->common_known = false;
    rx->header_known = false;
    rx->in_data = rx->pdu.data_bytes > 0;
    rx->after_large = false;
    if (!rx->in_data)
        rx->begun_ns = 0;
    rx->data = data;
    rx->data_whole = data;
    rx->rest_whole = rx->rest;
    rx->data_missing = rx->pdu.data_bytes;
    *out_next = RX_NEXT_STEP;
    return STATUS(OK);
}

static void rx_finish(struct pdu_rx *rx, struct status why)
{
    assert(!rx->recv.in_flight);

    sm_move(&rx->sm, RX_STOPPED);
    rx->ops->stopped(rx, why); /* rx may be gone. */
}

/* Handles what is in the buffer and chooses what to wait for next. */
static void rx_parse(struct pdu_rx *rx)
{
    for (unsigned budget = 2 * NVME_RX_PDUS_PER_TURN; budget > 0; budget--) {
        enum rx_next next = RX_NEXT_STEP;
        struct status st = STATUS(CANCELED);

        if (!rx->stopping)
            st = rx->in_data ? rx_step_data(rx, &next) : rx_step_header(rx, &next);
        if (!status_ok(st)) {
            rx_finish(rx, st);
            return;
        }
        if (rx->stopping)
            continue;
        if (next == RX_NEXT_RECV) {
            rx_recv(rx);
            return;
        }
        if (next == RX_NEXT_PAUSE) {
            rx->begun_ns = 0;
            sm_move(&rx->sm, RX_PAUSED);
            return;
        }
    }
    sm_move(&rx->sm, RX_YIELDED);
    reactor_defer(rx->reactor, &rx->task);
}

static void rx_on_task(struct io_task *task)
{
    struct pdu_rx *rx = CONTAINER_OF(task, struct pdu_rx, task);

    sm_move(&rx->sm, RX_PARSE);
    rx_parse(rx);
}

/* Takes in what one recv brought. */
static struct status MUST_CHECK rx_consume(struct pdu_rx *rx)
{
    TRY(io_op_status(&rx->recv));

    if (rx->recv.result == 0) {
        /* Between two PDUs a close is a goodbye; inside one it is a loss. */
        return pdu_rx_is_between(rx) ? STATUS(PEER_CLOSED) : STATUS(TRUNCATED);
    }

    const size_t got = (size_t)rx->recv.result;
    if (rx->direct) {
        assert(got <= rx->data.bytes);
        rx_advance(rx, got);
    } else {
        rx->end += got;
        assert(rx->end <= rx->buffer.bytes);
    }
    return STATUS(OK);
}

static void rx_on_recv(struct io_op *op)
{
    struct pdu_rx *rx = CONTAINER_OF(op, struct pdu_rx, recv);

    assert(reactor_is_current(rx->reactor));

    sm_move(&rx->sm, RX_PARSE);
    const struct status st = rx_consume(rx);
    if (status_ok(st))
        rx_parse(rx);
    else
        rx_finish(rx, st);
}

void pdu_rx_start(struct pdu_rx *rx)
{
    assert(rx->ops->header != NULL && rx->ops->data != NULL && rx->ops->stopped != NULL);
    assert(rx->buffer.bytes >= PDU_RX_BUFFER_BYTES_MIN);

    sm_init(&rx->sm, rx_states, RX_IDLE);
    rx->recv.in_flight = false;
    io_task_init(&rx->task, rx_on_task);
    rx->begin = 0;
    rx->end = 0;
    rx->common_known = false;
    rx->header_known = false;
    rx->in_data = false;
    rx->after_large = false;
    rx->stopping = false;
    rx->begun_ns = 0;
    rx->error = (struct pdu_error) { 0 };
    rx_recv(rx);
}

void pdu_rx_stop(struct pdu_rx *rx)
{
    assert(reactor_is_current(rx->reactor));

    if (rx->stopping || rx->sm.now == RX_STOPPED)
        return;
    rx->stopping = true;
    /* The parser sees the flag when it runs next: after the recv, from the task, or, if we are
     * inside one of its callbacks, at once.  Only a paused one has to be woken. */
    if (rx->sm.now == RX_RECV)
        io_op_cancel(&rx->recv);
    pdu_rx_resume(rx);
}

void pdu_rx_resume(struct pdu_rx *rx)
{
    if (!pdu_rx_paused(rx))
        return;
    sm_move(&rx->sm, RX_YIELDED);
    reactor_defer(rx->reactor, &rx->task);
}

bool pdu_rx_paused(const struct pdu_rx *rx)
{
    return rx->sm.now == RX_PAUSED;
}

bool pdu_rx_is_between(const struct pdu_rx *rx)
{
    return !rx->in_data && rx_available(rx) == 0;
}

uint64_t pdu_rx_begun_ns(const struct pdu_rx *rx)
{
    return rx->begun_ns;
}

void pdu_rx_split(struct pdu_rx *rx, struct span rest)
{
    rx->rest = rest;
}

struct status pdu_rx_refuse(struct pdu_rx *rx, enum pdu_fes fes, size_t fei)
{
    rx->error = (struct pdu_error) { fes, (uint32_t)fei };
    return STATUS(BAD_PDU);
}

struct const_span pdu_rx_culprit(const struct pdu_rx *rx)
{
    const size_t header = rx->common_known ? rx->pdu.header_bytes : PDU_COMMON_BYTES;

    return (struct const_span) { rx->buffer.at + rx->begin, min_u64(header, rx_available(rx)) };
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes between two ends of a connection (F17 to F22). */
#include "io/sim_tcp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRANSMIT_NS (50 * NS_PER_MS)

static void end_pump(struct sim_event *event);
static void end_on_reset(struct sim_event *event);

/* ---- Rings ---- */

static void ring_init(struct sim_ring *ring, size_t capacity)
{
    ring->at = malloc(capacity);
    assert(ring->at != NULL);
    ring->capacity = capacity;
}

static size_t ring_room(const struct sim_ring *ring)
{
    return ring->capacity - ring->bytes;
}

static void ring_put(struct sim_ring *ring, const uint8_t *from, size_t bytes)
{
    assert(bytes <= ring_room(ring));
    while (bytes > 0) {
        const size_t tail = (ring->head + ring->bytes) % ring->capacity;
        const size_t piece = min_u64(bytes, ring->capacity - tail);
        memcpy(ring->at + tail, from, piece);
        ring->bytes += piece;
        from += piece;
        bytes -= piece;
    }
}

/* The next bytes that lie in one piece. */
static struct span ring_front(const struct sim_ring *ring, size_t bytes_max)
{
    const size_t piece = min_u64(ring->bytes, ring->capacity - ring->head);
    return (struct span) { ring->at + ring->head, min_u64(piece, bytes_max) };
}

static void ring_drop(struct sim_ring *ring, size_t bytes)
{
    assert(bytes <= ring->bytes);
    ring->head = (ring->head + bytes) % ring->capacity;
    ring->bytes -= bytes;
}

/* ---- Connections ---- */

static size_t segment_max_choose(struct sim_world *w)
{
    static const size_t choices[] = { 1448, 1448, 8192, 65536, 65536, 65536, 65536, 7 };

    if (w->net.segment_max > 0)
        return w->net.segment_max;
    if (sim_chance(w, 16))
        return 1; /* Byte by byte. */
    return choices[rng_below(&w->rng, ARRAY_COUNT(choices))];
}

static void end_init(struct sim_conn *c, unsigned index, struct sim_machine *m)
{
    static const size_t capacities[] = { 2048, 16384, 65536, 262144, 262144, 262144 };
    struct sim_world *const w = c->world;
    struct sim_end *const e = &c->ends[index];

    e->conn = c;
    e->machine = m;
    e->boot = m->boots;
    e->pump.run = end_pump;
    e->reset.run = end_on_reset;
    list_node_init(&e->link);
    ring_init(&e->inbox, capacities[rng_below(&w->rng, ARRAY_COUNT(capacities))]);
    ring_init(&e->outbox, capacities[rng_below(&w->rng, ARRAY_COUNT(capacities))]);
}

struct sim_conn *sim_conn_create(struct sim_machine *from, struct sim_machine *to)
{
    struct sim_world *const w = from->world;
    struct sim_reactor *const before = sim_enter(w, NULL);
    struct sim_conn *const c = calloc(1, sizeof *c);

    assert(c != NULL);
    c->world = w;
    c->id = w->events;
    c->segment_max = segment_max_choose(w);
    end_init(c, 0, from);
    end_init(c, 1, to);
    list_node_init(&c->link);
    list_push_back(&w->conns, &c->link);
    sim_enter(w, before);
    return c;
}

static void conn_destroy(struct sim_conn *c)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sim_end *const e = &c->ends[i];
        sim_event_cancel(c->world, &e->pump);
        sim_event_cancel(c->world, &e->reset);
        list_remove(&e->link);
        free(e->inbox.at);
        free(e->outbox.at);
    }
    list_remove(&c->link);
    free(c);
}

void sim_net_fini(struct sim_world *w)
{
    LIST_FOR_EACH (n, &w->conns)
        conn_destroy(CONTAINER_OF(n, struct sim_conn, link));
}

bool sim_link_up(const struct sim_machine *from, const struct sim_machine *to)
{
    return from->on && to->on && !from->world->blocked[from->index][to->index];
}

uint64_t sim_latency_ns(struct sim_world *w)
{
    if (sim_chance(w, w->net.stall_one_in))
        return sim_between(w, 0, w->net.stall_ns);
    return sim_between(w, w->net.latency_min_ns, w->net.latency_max_ns);
}

/* ---- The operations of an end ---- */

static void end_serve_recv(struct sim_end *e)
{
    struct io_op *const op = e->recv;
    struct sim_world *const w = e->conn->world;

    if (op == NULL)
        return;
    if (e->inbox.bytes > 0 && !e->shut_in) {
        size_t want = op->bytes;
        if (sim_chance(w, 16))
            want = sim_between(w, 1, want);
        size_t got = 0;
        while (got < want && e->inbox.bytes > 0) {
            const struct span piece = ring_front(&e->inbox, want - got);
            memcpy(op->data + got, piece.at, piece.bytes);
            ring_drop(&e->inbox, piece.bytes);
            got += piece.bytes;
        }
        e->recv = NULL;
        sim_op_complete(op, (int64_t)got);
        struct sim_end *const peer = end_peer(e);
        if (peer->pump.slot == 0 && (peer->outbox.bytes > 0 || peer->fin_out))
            sim_event_at(w, &peer->pump, w->now_ns + sim_latency_ns(w));
    } else if (e->error != 0) {
        e->recv = NULL;
        sim_op_complete(op, -e->error);
    } else if (e->fin_in || e->shut_in) {
        e->recv = NULL;
        sim_op_complete(op, 0);
    }
}

/* Copies what fits of the operation's pieces from op->progress on. */
static void end_take_pieces(struct sim_end *e, struct io_op *op)
{
    uint64_t skip = op->progress;

    for (unsigned i = 0; i < op->iov_count && ring_room(&e->outbox) > 0; i++) {
        const struct iovec *const v = &op->iov[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        const size_t piece = min_u64(v->iov_len - skip, ring_room(&e->outbox));
        ring_put(&e->outbox, (const uint8_t *)v->iov_base + skip, piece);
        op->progress += piece;
        skip = 0;
    }
}

static void end_serve_send(struct sim_end *e)
{
    struct io_op *const op = e->send;
    struct sim_world *const w = e->conn->world;

    if (op == NULL)
        return;
    if (e->error != 0 || e->fin_out) {
        e->send = NULL;
        sim_op_complete(op, e->error != 0 ? -e->error : -EPIPE);
        return;
    }
    end_take_pieces(e, op);
    if (e->outbox.bytes > 0 && e->pump.slot == 0)
        sim_event_at(w, &e->pump, w->now_ns + sim_latency_ns(w));
    if (op->progress == op->bytes) {
        e->send = NULL;
        sim_op_complete(op, (int64_t)op->bytes);
    }
}

void sim_end_serve(struct sim_end *e)
{
    end_serve_recv(e);
    end_serve_send(e);
}

/* ---- The end of a connection ---- */

/* Nobody holds the end any more. */
static void end_forget(struct sim_end *e)
{
    e->state = END_GONE;
    sim_event_cancel(e->conn->world, &e->pump);
    sim_event_cancel(e->conn->world, &e->reset);
    ring_drop(&e->outbox, e->outbox.bytes);
    if (end_peer(e)->state == END_GONE)
        conn_destroy(e->conn);
}

/* The connection is over for this end. */
static void end_fail(struct sim_end *e, int error)
{
    if (e->state == END_GONE)
        return;
    if (e->state == END_CLOSED) {
        end_forget(e);
        return;
    }
    if (e->error != 0)
        return;
    e->error = error;
    ring_drop(&e->outbox, e->outbox.bytes);
    /* What had arrived may still be read, or not. */
    if (sim_chance(e->conn->world, 2))
        ring_drop(&e->inbox, e->inbox.bytes);
    sim_event_cancel(e->conn->world, &e->pump);
    sim_end_serve(e);
}

static void end_on_reset(struct sim_event *event)
{
    struct sim_end *const e = CONTAINER_OF(event, struct sim_end, reset);

    sim_trace(e->conn->world, "rst", e->conn->id, e == e->conn->ends, 0);
    end_fail(e, ECONNRESET);
}

/* Sends a RST to the end; F19: it may never arrive. */
static void end_send_reset(struct sim_end *e)
{
    struct sim_world *const w = e->conn->world;
    struct sim_end *const from = end_peer(e);

    if (e->state == END_GONE || e->reset.slot != 0)
        return;
    if (!sim_link_up(from->machine, e->machine))
        return;
    sim_event_at(w, &e->reset, w->now_ns + sim_latency_ns(w));
}

void sim_end_close(struct sim_end *e)
{
    struct sim_world *const w = e->conn->world;

    assert(e->state == END_OPEN);
    assert(e->recv == NULL);
    assert(e->send == NULL);
    sim_trace(w, "close", e->conn->id, e == e->conn->ends, e->inbox.bytes);
    e->state = END_CLOSED;
    if (e->error != 0) {
        end_forget(e);
        return;
    }
    if (e->inbox.bytes > 0) {
        end_send_reset(end_peer(e));
        end_forget(e);
        return;
    }
    e->fin_out = true;
    if (e->fin_sent)
        end_forget(e);
    else if (e->pump.slot == 0)
        sim_event_at(w, &e->pump, w->now_ns + sim_latency_ns(w));
}

void sim_end_vanish(struct sim_end *e)
{
    e->recv = NULL;
    e->send = NULL;
    end_forget(e);
}

void sim_end_shutdown(struct sim_end *e)
{
    struct sim_world *const w = e->conn->world;

    e->shut_in = true;
    e->fin_out = true;
    if (e->error == 0 && !e->fin_sent && e->pump.slot == 0)
        sim_event_at(w, &e->pump, w->now_ns + sim_latency_ns(w));
    sim_end_serve(e);
}

/* ---- Segments ---- */

/* F18: the connection ends here, in one of the ways that a broken path may choose. */
static void conn_cut(struct sim_conn *c)
{
    struct sim_world *const w = c->world;
    struct sim_end *const victim = &c->ends[rng_below(&w->rng, 2)];
    struct sim_end *const other = end_peer(victim);

    sim_trace(w, "cut", c->id, victim == c->ends, 0);
    if (other->state == END_OPEN && sim_chance(w, 3)) {
        other->fin_in = true; /* A clean end, in the middle of anything. */
        end_serve_recv(other);
    } else if (sim_chance(w, 2)) {
        end_send_reset(other);
    } /* Else it finds out when it sends (F19). */
    if (victim->state == END_OPEN)
        end_fail(victim, ECONNRESET);
}

/* No packet gets through; TCP tries again for a while (F20). */
static void end_stall(struct sim_end *e)
{
    struct sim_world *const w = e->conn->world;

    if (e->stalled_since_ns == 0)
        e->stalled_since_ns = w->now_ns;
    if (w->now_ns - e->stalled_since_ns > w->net.patience_ns)
        end_fail(e, ETIMEDOUT);
    else
        sim_event_at(w, &e->pump, w->now_ns + sim_between(w, RETRANSMIT_NS / 2, RETRANSMIT_NS));
}

static void end_deliver_fin(struct sim_end *e)
{
    struct sim_end *const peer = end_peer(e);

    e->fin_sent = true;
    if (peer->state == END_GONE) {
        if (e->state == END_CLOSED)
            end_forget(e);
        return;
    }
    sim_trace(e->conn->world, "fin", e->conn->id, e == e->conn->ends, 0);
    peer->fin_in = true;
    end_serve_recv(peer);
    if (e->state == END_CLOSED)
        end_forget(e);
}

static void end_move_segment(struct sim_end *e, struct sim_end *peer)
{
    struct sim_world *const w = e->conn->world;
    size_t bytes = min_u64(e->outbox.bytes, ring_room(&peer->inbox));

    bytes = min_u64(bytes, e->conn->segment_max);
    if (bytes > 1 && sim_chance(w, 4))
        bytes = sim_between(w, 1, bytes);
    const struct span front = ring_front(&e->outbox, bytes);
    if (sim_chance(w, w->net.alter_one_in))
        front.at[rng_below(&w->rng, front.bytes)] ^= (uint8_t)(1u << rng_below(&w->rng, 8));
    sim_trace(w, "segment", e->conn->id * 2 + (e == e->conn->ends), front.bytes,
              sim_digest(span_const(front)));
    ring_put(&peer->inbox, front.at, front.bytes);
    ring_drop(&e->outbox, front.bytes);
    end_serve_recv(peer);
    end_serve_send(e);
}

/* The next segment of an outbox arrives, or fails to. */
static void end_pump(struct sim_event *event)
{
    struct sim_end *const e = CONTAINER_OF(event, struct sim_end, pump);
    struct sim_end *const peer = end_peer(e);
    struct sim_world *const w = e->conn->world;

    if (e->error != 0 || (e->outbox.bytes == 0 && (!e->fin_out || e->fin_sent)))
        return;
    if (!sim_link_up(e->machine, peer->machine)) {
        end_stall(e);
        return;
    }
    e->stalled_since_ns = 0;
    if (e->outbox.bytes == 0) {
        end_deliver_fin(e);
        return;
    }
    if (peer->state != END_OPEN || peer->shut_in || peer->error != 0) {
        end_send_reset(e); /* Nobody is there to read it. */
        ring_drop(&e->outbox, e->outbox.bytes);
        end_serve_send(e);
        return;
    }
    if (sim_chance(w, w->net.cut_one_in)) {
        conn_cut(e->conn);
        return;
    }
    if (ring_room(&peer->inbox) == 0)
        return; /* F21: the next recv at the peer starts it again. */
    end_move_segment(e, peer);
    /* Segments of one flight follow each other closely. */
    if (e->pump.slot == 0 && (e->outbox.bytes > 0 || (e->fin_out && !e->fin_sent)))
        sim_event_at(w, &e->pump,
                     w->now_ns + (sim_chance(w, 8) ? sim_latency_ns(w) : sim_between(w, 0, 500)));
}

void sim_net_machine_lost_power(struct sim_machine *m)
{
    LIST_FOR_EACH (n, &m->world->conns) {
        struct sim_conn *const c = CONTAINER_OF(n, struct sim_conn, link);
        bool mine[2];
        for (unsigned i = 0; i < 2; i++)
            mine[i] = c->ends[i].machine == m && c->ends[i].state == END_CLOSED;
        if (mine[0] && mine[1])
            c->ends[0].state = END_GONE; /* With the second, the connection goes. */
        else if (mine[0])
            end_forget(&c->ends[0]);
        if (mine[1])
            end_forget(&c->ends[1]);
    }
}

void sim_net_cut(struct sim_machine *m, uint64_t one_in)
{
    struct sim_world *const w = m->world;

    LIST_FOR_EACH (n, &w->conns) {
        struct sim_conn *const c = CONTAINER_OF(n, struct sim_conn, link);
        if ((c->ends[0].machine == m || c->ends[1].machine == m) && sim_chance(w, one_in))
            conn_cut(c);
    }
}

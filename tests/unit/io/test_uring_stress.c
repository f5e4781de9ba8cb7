/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>

#include "uring_harness.h"

#include "base/rng.h"
#include "io/op.h"

/*
 * Streams between the two ends of many connections.  Each sender sends the bytes of its counter
 * in pieces of random sizes, each receiver checks them; timers of random length cancel a
 * receive, shut a connection down, or close and replace it.
 *
 *   start --> stream ... stream --(canceled send, shutdown)--> both ends idle --> close --> start
 */
#define PAIRS       24
#define PIECES_MAX  5
#define PIECE_BYTES 60000
#define GENERATIONS 400 /* Connections in all. */

struct pair {
    int fds[2];
    struct io_op send;
    struct io_op recv;
    struct io_timer meddle;
    uint8_t out[PIECES_MAX * PIECE_BYTES];
    uint8_t in[PIECE_BYTES];
    struct iovec iov[PIECES_MAX];
    uint64_t sent_bytes;
    uint64_t received_bytes;
    bool ending;
};

static struct reactor *r;
static struct rng rng;
static struct pair pairs[PAIRS];
static unsigned generations;
static unsigned live;
static uint64_t moved_bytes;
static unsigned canceled;

static void pair_start(struct pair *p);

/* The byte at a place of every stream. */
static uint8_t stream_byte(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static void pair_recv(struct pair *p);
static void pair_send(struct pair *p);

/* Nothing is in flight any more: a new connection, or the end. */
static void pair_settle(struct pair *p)
{
    if (!p->ending || p->send.in_flight || p->recv.in_flight)
        return;
    io_timer_disarm(&p->meddle);
    io_close(r, p->fds[0]);
    io_close(r, p->fds[1]);
    live--;
    if (generations < GENERATIONS)
        pair_start(p);
    else if (live == 0)
        reactor_stop(r);
}

static void pair_end(struct pair *p)
{
    p->ending = true;
    io_op_cancel(&p->send);
    io_op_cancel(&p->recv);
    pair_settle(p);
}

static void on_send(struct io_op *op)
{
    struct pair *const p = CONTAINER_OF(op, struct pair, send);

    if (op->result < 0 || p->ending) {
        canceled += op->result == -ECANCELED;
        pair_end(p);
        return;
    }
    p->sent_bytes += (uint64_t)op->result;
    pair_send(p);
}

static void pair_send(struct pair *p)
{
    const unsigned count = 1 + (unsigned)rng_below(&rng, PIECES_MAX);
    size_t bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        const size_t piece = rng_one_in(&rng, 4) ? 0 : 1 + rng_below(&rng, PIECE_BYTES);
        p->iov[i] = (struct iovec) { p->out + bytes, piece };
        bytes += piece;
    }
    if (bytes == 0)
        p->iov[0].iov_len = bytes = 1;
    for (size_t i = 0; i < bytes; i++)
        p->out[i] = stream_byte(p->sent_bytes + i);
    io_op_send(&p->send, r, p->fds[0], p->iov, count, on_send);
}

static void on_recv(struct io_op *op)
{
    struct pair *const p = CONTAINER_OF(op, struct pair, recv);

    if (op->result > 0) {
        for (int64_t i = 0; i < op->result; i++)
            assert_int_equal(p->in[i], stream_byte(p->received_bytes + (uint64_t)i));
        p->received_bytes += (uint64_t)op->result;
        moved_bytes += (uint64_t)op->result;
    }
    /* A receive alone may be canceled without an end: the stream goes on where it was. */
    canceled += op->result == -ECANCELED;
    if (p->ending || (op->result <= 0 && op->result != -ECANCELED))
        pair_end(p);
    else
        pair_recv(p);
}

static void pair_recv(struct pair *p)
{
    io_op_recv(&p->recv, r, p->fds[1], (struct span) { p->in, 1 + rng_below(&rng, sizeof p->in) },
               on_recv);
}

static void on_meddle(struct io_timer *t)
{
    struct pair *const p = CONTAINER_OF(t, struct pair, meddle);

    switch (rng_below(&rng, 8)) {
    case 0:
        io_shutdown(r, p->fds[rng_below(&rng, 2)]);
        break;
    case 1:
        pair_end(p);
        return;
    default:
        io_op_cancel(&p->recv);
        break;
    }
    io_timer_arm(t, r, reactor_now_ns(r) + rng_below(&rng, NS_PER_MS));
}

static void pair_start(struct pair *p)
{
    generations++;
    live++;
    p->sent_bytes = p->received_bytes = 0;
    p->ending = false;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p->fds), 0);
    assert_true(status_ok(io_fd_adopt(r, p->fds[0])));
    assert_true(status_ok(io_fd_adopt(r, p->fds[1])));
    io_timer_init(&p->meddle, on_meddle);
    io_timer_arm(&p->meddle, r, reactor_now_ns(r) + rng_below(&rng, 2 * NS_PER_MS));
    pair_send(p);
    pair_recv(p);
}

/* With small queues, and whatever is canceled and closed, every stream is right as far as it
 * goes, and every operation ends. */
static void streams_under_fire(void **state)
{
    (void)state;
    r = harness_reactor_with(8, URING_SPIN_OFF);
    rng_init(&rng, 42);
    generations = live = canceled = 0;
    moved_bytes = 0;
    for (unsigned i = 0; i < PAIRS; i++)
        pair_start(&pairs[i]);
    harness_run(r);
    assert_int_equal(generations, GENERATIONS);
    assert_true(moved_bytes > 1000000);
    assert_true(canceled > 10);
    reactor_destroy(r); /* Asserts that nothing is in flight. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_under_fire),
    };
    return HARNESS_RUN_ALL(tests);
}

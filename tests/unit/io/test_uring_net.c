/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "uring_harness.h"

#include "io/op.h"

/*
 * A listener, one connection through it, and the operations of both ends.  An op's done notes its
 * result and stops the loop when as many have come as the test waits for.
 */
static struct reactor *r;
static int listener;
static struct io_addr bound;
static int near_fd;
static int far_fd;
static unsigned awaited;

static void on_done(struct io_op *op)
{
    assert_false(op->in_flight);
    if (--awaited == 0)
        reactor_stop(op->reactor);
}

/* Runs until count operations are done. */
static void await(unsigned count)
{
    awaited = count;
    harness_run(r);
}

static struct io_addr address(const char *text)
{
    struct io_addr addr;
    assert_true(status_ok(io_addr_parse(text, 0, &addr)));
    return addr;
}

static void join(const struct io_addr *to)
{
    struct io_op accepted;
    struct io_op connected;
    io_op_accept(&accepted, r, listener, on_done);
    io_op_connect(&connected, r, to, on_done);
    await(2);
    assert_true(accepted.result >= 0);
    assert_true(connected.result >= 0);
    far_fd = (int)accepted.result;
    near_fd = (int)connected.result;
}

static int setup(void **state)
{
    (void)state;
    const struct io_addr any_port = address("127.0.0.1:0");
    r = harness_reactor();
    near_fd = far_fd = -1;
    return status_ok(io_listen(r, &any_port, &listener, &bound)) ? 0 : -1;
}

static int setup_joined(void **state)
{
    if (setup(state) != 0)
        return -1;
    join(&bound);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    io_close(r, near_fd);
    io_close(r, far_fd);
    io_close(r, listener);
    reactor_destroy(r);
    return 0;
}

static void send_text(struct io_op *op, struct iovec *iov, int fd, const char *text)
{
    *iov = (struct iovec) { (void *)(uintptr_t)text, strlen(text) };
    io_op_send(op, r, fd, iov, 1, on_done);
}

/* Both ends know the addresses, and neither waits with small segments. */
static void addresses_and_options(void **state)
{
    (void)state;
    struct io_addr near_local;
    struct io_addr far_peer;
    struct io_addr near_peer;
    assert_int_not_equal(bound.port, 0);
    assert_true(status_ok(io_local_addr(r, near_fd, &near_local)));
    assert_true(status_ok(io_peer_addr(r, near_fd, &near_peer)));
    assert_true(status_ok(io_peer_addr(r, far_fd, &far_peer)));
    assert_true(io_addr_equal(&near_peer, &bound));
    assert_true(io_addr_equal(&near_local, &far_peer));
    for (int i = 0; i < 2; i++) {
        int on = 0;
        socklen_t bytes = sizeof on;
        assert_int_equal(
            getsockopt(i == 0 ? near_fd : far_fd, IPPROTO_TCP, TCP_NODELAY, &on, &bytes), 0);
        assert_true(on != 0);
    }
}

/* A recv takes what is there, also less than it has room for; the end of the stream is 0. */
static void partial_recv_and_end(void **state)
{
    (void)state;
    uint8_t buf[100];
    struct iovec iov;
    struct io_op recv;
    struct io_op send;
    io_op_recv(&recv, r, far_fd, (struct span) { buf, sizeof buf }, on_done);
    send_text(&send, &iov, near_fd, "stone");
    await(2);
    assert_int_equal(send.result, 5);
    assert_int_equal(recv.result, 5);
    assert_memory_equal(buf, "stone", 5);

    /* Two bytes of room: the rest waits for the next one. */
    send_text(&send, &iov, near_fd, "three");
    io_op_recv(&recv, r, far_fd, (struct span) { buf, 2 }, on_done);
    await(2);
    assert_int_equal(recv.result, 2);
    io_op_recv(&recv, r, far_fd, (struct span) { buf, sizeof buf }, on_done);
    await(1);
    assert_int_equal(recv.result, 3);
    assert_memory_equal(buf, "ree", 3);

    io_op_recv(&recv, r, far_fd, (struct span) { buf, sizeof buf }, on_done);
    io_close(r, near_fd);
    near_fd = -1;
    await(1);
    assert_int_equal(recv.result, 0);
}

#define BULK_BYTES  ((size_t)8 << 20)
#define BULK_PIECES 7

struct bulk {
    struct io_op recv;
    struct io_op send;
    uint8_t *from;
    uint8_t *to;
    size_t got_bytes;
    bool sent;
};

static void bulk_check(struct bulk *b)
{
    if (b->sent && b->got_bytes == BULK_BYTES)
        reactor_stop(r);
}

static void bulk_on_recv(struct io_op *op)
{
    struct bulk *const b = CONTAINER_OF(op, struct bulk, recv);
    assert_true(op->result > 0);
    b->got_bytes += (size_t)op->result;
    if (b->got_bytes < BULK_BYTES)
        io_op_recv(op, r, far_fd, (struct span) { b->to + b->got_bytes, BULK_BYTES - b->got_bytes },
                   bulk_on_recv);
    bulk_check(b);
}

static void bulk_on_send(struct io_op *op)
{
    struct bulk *const b = CONTAINER_OF(op, struct bulk, send);
    assert_int_equal(op->result, BULK_BYTES);
    b->sent = true;
    bulk_check(b);
}

/* A send of many pieces, some empty, larger than any socket buffer, arrives whole and in order. */
static void bulk_send(void **state)
{
    (void)state;
    struct bulk b = { .from = malloc(BULK_BYTES), .to = calloc(1, BULK_BYTES) };
    struct iovec iov[BULK_PIECES];
    for (size_t i = 0; i < BULK_BYTES; i++)
        b.from[i] = (uint8_t)(i * 7 + i / 4099);
    size_t at = 0;
    for (unsigned i = 0; i < BULK_PIECES; i++) {
        size_t bytes = i % 3 == 0 ? 0 : BULK_BYTES / BULK_PIECES + i;
        if (i == BULK_PIECES - 1)
            bytes = BULK_BYTES - at;
        iov[i] = (struct iovec) { b.from + at, bytes };
        at += bytes;
    }
    io_op_send(&b.send, r, near_fd, iov, BULK_PIECES, bulk_on_send);
    io_op_recv(&b.recv, r, far_fd, (struct span) { b.to, BULK_BYTES }, bulk_on_recv);
    harness_run(r);
    assert_memory_equal(b.from, b.to, BULK_BYTES);
    free(b.from);
    free(b.to);
}

/* A canceled recv, accept and connect end with ECANCELED, once, from the loop. */
static void cancel(void **state)
{
    (void)state;
    uint8_t buf[10];
    struct io_op recv;
    struct io_op accepted;
    io_op_recv(&recv, r, far_fd, (struct span) { buf, sizeof buf }, on_done);
    io_op_accept(&accepted, r, listener, on_done);
    io_op_cancel(&recv);
    io_op_cancel(&accepted);
    io_op_cancel(&recv); /* Twice is allowed. */
    assert_true(recv.in_flight);
    await(2);
    assert_int_equal(recv.result, -ECANCELED);
    assert_int_equal(accepted.result, -ECANCELED);
    assert_true(status_is(io_op_status(&recv), STATUS_CANCELED));
    io_op_cancel(&recv); /* Not in flight: nothing happens. */

    /* The connection is unharmed. */
    struct iovec iov;
    struct io_op send;
    io_op_recv(&recv, r, far_fd, (struct span) { buf, sizeof buf }, on_done);
    send_text(&send, &iov, near_fd, "x");
    await(2);
    assert_int_equal(recv.result, 1);
}

struct restart {
    struct io_op op;
    struct io_op send;
    struct iovec iov;
    uint8_t buf[10];
};

static void restart_on_second(struct io_op *op)
{
    assert_int_equal(op->result, 1);
    on_done(op);
}

static void restart_on_first(struct io_op *op)
{
    struct restart *const s = CONTAINER_OF(op, struct restart, op);
    assert_int_equal(op->result, -ECANCELED);
    io_op_recv(op, r, far_fd, (struct span) { s->buf, sizeof s->buf }, restart_on_second);
    send_text(&s->send, &s->iov, near_fd, "y");
}

/* A cancellation never hits a later operation that uses the same memory. */
static void cancel_then_restart(void **state)
{
    (void)state;
    struct restart s;
    io_op_recv(&s.op, r, far_fd, (struct span) { s.buf, sizeof s.buf }, restart_on_first);
    io_op_cancel(&s.op);
    io_op_cancel(&s.op);
    await(2);
}

/* A connection to a port where nobody listens is refused through done. */
static void refused(void **state)
{
    (void)state;
    struct io_op connected;
    io_close(r, listener);
    listener = -1;
    io_op_connect(&connected, r, &bound, on_done);
    assert_true(connected.in_flight);
    await(1);
    assert_int_equal(connected.result, -ECONNREFUSED);
    assert_true(status_is(io_op_status(&connected), STATUS_REFUSED));
}

/* A shutdown ends the recv in flight, and a send to a closed peer is an error, not a signal. */
static void shutdown_ends_both(void **state)
{
    (void)state;
    uint8_t buf[10];
    struct iovec iov;
    struct io_op recv;
    struct io_op send;
    io_op_recv(&recv, r, near_fd, (struct span) { buf, sizeof buf }, on_done);
    io_shutdown(r, near_fd);
    await(1);
    assert_int_equal(recv.result, 0);
    send_text(&send, &iov, near_fd, "x");
    await(1);
    assert_int_equal(send.result, -EPIPE);
    assert_true(status_is(io_op_status(&send), STATUS_PEER_CLOSED));
}

/* A socket that listens on :: serves IPv6 and IPv4, whose peers show as IPv4. */
static void both_families(void **state)
{
    (void)state;
    struct io_addr on = address("[::]:0");
    struct io_addr to;
    struct io_addr peer;
    io_close(r, listener);
    listener = -1;
    const struct status st = io_listen(r, &on, &listener, &bound);
    if (status_is(st, STATUS_UNSUPPORTED))
        skip(); /* A kernel without IPv6. */
    assert_true(status_ok(st));

    to = address("127.0.0.1:0");
    to.port = bound.port;
    join(&to);
    assert_true(status_ok(io_peer_addr(r, far_fd, &peer)));
    assert_int_equal(peer.family, IO_FAMILY_IPV4);
    io_close(r, near_fd);
    io_close(r, far_fd);

    to = address("[::1]:0");
    to.port = bound.port;
    join(&to);
    assert_true(status_ok(io_peer_addr(r, far_fd, &peer)));
    assert_int_equal(peer.family, IO_FAMILY_IPV6);
}

/* The port of a closed listener and its connections can be listened on at once. */
static void port_is_free_again(void **state)
{
    (void)state;
    struct io_addr again;
    const struct io_addr same = bound;
    io_close(r, far_fd); /* This side closes first: it gets the TIME_WAIT. */
    io_close(r, near_fd);
    near_fd = far_fd = -1;
    io_close(r, listener);
    listener = -1;
    assert_true(status_ok(io_listen(r, &same, &listener, &again)));
    assert_int_equal(again.port, same.port);
    int second = -1;
    assert_true(status_is(io_listen(r, &same, &second, &again), STATUS_BUSY));
}

#define CROWD 100

/* More operations than the queues have entries: all complete, also those started before the run. */
static void more_than_the_queue(void **state)
{
    (void)state;
    static struct io_op recvs[CROWD];
    static uint8_t bytes[CROWD];
    struct io_op send;
    char text[CROWD + 1];
    struct iovec iov;

    io_close(r, near_fd);
    io_close(r, far_fd);
    io_close(r, listener);
    reactor_destroy(r);
    r = harness_reactor_with(4, URING_SPIN_OFF);
    const struct io_addr any_port = address("127.0.0.1:0");
    assert_true(status_ok(io_listen(r, &any_port, &listener, &bound)));
    for (unsigned i = 0; i < CROWD; i++)
        io_op_accept(&recvs[i], r, listener, on_done);
    for (unsigned i = 0; i < CROWD; i++)
        io_op_cancel(&recvs[i]);
    await(CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        assert_int_equal(recvs[i].result, -ECANCELED);

    join(&bound);
    for (unsigned i = 0; i < CROWD; i++)
        io_op_recv(&recvs[i], r, far_fd, (struct span) { &bytes[i], 1 }, on_done);
    memset(text, 'z', CROWD);
    text[CROWD] = '\0';
    send_text(&send, &iov, near_fd, text);
    await(CROWD + 1);
    for (unsigned i = 0; i < CROWD; i++)
        assert_int_equal(bytes[i], 'z');
}

/* ---- Handing a connection to another reactor ---- */

struct handover {
    struct io_msg msg;
    struct reactor *to;
    struct io_op recv;
    uint8_t byte;
};

static void handover_on_recv(struct io_op *op)
{
    struct handover *const h = CONTAINER_OF(op, struct handover, recv);
    assert_int_equal(op->result, 1);
    assert_true(reactor_is_current(h->to));
    io_close(h->to, far_fd);
    far_fd = -1;
    reactor_stop(h->to);
}

static void handover_arrive(struct io_msg *msg)
{
    struct handover *const h = CONTAINER_OF(msg, struct handover, msg);
    assert_true(status_ok(io_fd_adopt(h->to, far_fd)));
    io_op_recv(&h->recv, h->to, far_fd, (struct span) { &h->byte, 1 }, handover_on_recv);
}

static void *run_thread(void *arg)
{
    reactor_run(arg);
    return NULL;
}

/* A descriptor that was released on one reactor works on another one's thread. */
static void release_and_adopt(void **state)
{
    (void)state;
    struct handover h = { .msg.deliver = handover_arrive, .to = harness_reactor() };
    struct io_op send;
    struct iovec iov;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_thread, h.to), 0);
    io_fd_release(r, far_fd);
    reactor_post(h.to, &h.msg);
    send_text(&send, &iov, near_fd, "h");
    await(1);
    pthread_join(thread, NULL);
    assert_int_equal(h.byte, 'h');
    reactor_destroy(h.to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(addresses_and_options, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(partial_recv_and_end, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(bulk_send, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(cancel, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(cancel_then_restart, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(shutdown_ends_both, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(both_families, setup, teardown),
        cmocka_unit_test_setup_teardown(port_is_free_again, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(more_than_the_queue, setup_joined, teardown),
        cmocka_unit_test_setup_teardown(release_and_adopt, setup_joined, teardown),
    };
    return HARNESS_RUN_ALL(tests);
}

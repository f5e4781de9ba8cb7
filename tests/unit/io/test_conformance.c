/* SPDX-License-Identifier: Apache-2.0 */
/* The same scenarios on both backends: code above src/io/ must not be able to tell them apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/op.h"
#include "io/sim.h"
#include "io/uring.h"

#define SIM_SEEDS  20
#define FILE_BYTES ((uint64_t)1 << 20)

static void log_sink(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    fprintf(stderr, "%s: %s\n", log_level_name(level), line);
}

static struct log sink = { .level = LOG_LEVEL_WARNING, .sink = log_sink };

static struct sim_world *world; /* NULL: the kernel. */
static struct reactor *r;
static char path[64];

static void kernel_up(void)
{
    const struct uring_config config = { .log = &sink };
    assert_true(status_ok(uring_reactor_create(&config, &r)));
    snprintf(path, sizeof path, "/tmp/conformance-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
}

static void kernel_down(void)
{
    reactor_destroy(r);
    unlink(path);
}

static void sim_up(uint64_t seed)
{
    const struct sim_config config = { .seed = seed };
    world = sim_world_create(&config);
    r = sim_reactor_create(sim_machine_create(world, "a"), 0);
    snprintf(path, sizeof path, "/file");
}

static void sim_down(void)
{
    reactor_destroy(r);
    sim_world_destroy(world);
    world = NULL;
}

/* Runs a scenario on the kernel once, and in simulation with several seeds. */
static void on_both(void (*scenario)(void))
{
    kernel_up();
    scenario();
    kernel_down();
    for (uint64_t seed = 0; seed < SIM_SEEDS; seed++) {
        sim_up(seed);
        scenario();
        sim_down();
    }
}

/* Operations that stop the loop when all of them are done. */
static unsigned pending;

static void on_done(struct io_op *op)
{
    assert_false(op->in_flight);
    if (--pending == 0)
        reactor_stop(r);
}

static void run_pending(unsigned count)
{
    pending = count;
    reactor_run(r);
    assert_int_equal(pending, 0);
}

struct pair {
    int listener;
    int a; /* Connected. */
    int b; /* Accepted. */
};

static const struct io_addr loopback = { .family = IO_FAMILY_IPV4, .ip = { 127, 0, 0, 1 } };

static struct pair pair_make(void)
{
    struct pair p;
    struct io_addr bound;
    struct io_op accept_op;
    struct io_op connect_op;

    assert_true(status_ok(io_listen(r, &loopback, &p.listener, &bound)));
    assert_true(bound.port != 0);
    io_op_accept(&accept_op, r, p.listener, on_done);
    io_op_connect(&connect_op, r, &bound, on_done);
    run_pending(2);
    assert_true(accept_op.result >= 0);
    assert_true(connect_op.result >= 0);
    p.a = (int)connect_op.result;
    p.b = (int)accept_op.result;
    return p;
}

static void pair_close(struct pair *p)
{
    io_close(r, p->a);
    io_close(r, p->b);
    io_close(r, p->listener);
}

static void addresses_scenario(void)
{
    struct pair p = pair_make();
    struct io_addr local;
    struct io_addr peer;
    assert_true(status_ok(io_local_addr(r, p.a, &local)));
    assert_true(status_ok(io_peer_addr(r, p.b, &peer)));
    assert_true(io_addr_equal(&local, &peer));
    assert_true(status_ok(io_local_addr(r, p.b, &local)));
    assert_true(status_ok(io_peer_addr(r, p.a, &peer)));
    assert_true(io_addr_equal(&local, &peer));
    pair_close(&p);
}

/* Each end sees the other's address as the other does. */
static void addresses(void **state)
{
    (void)state;
    on_both(addresses_scenario);
}

#define STREAM_BYTES 300000

static uint8_t out_bytes[STREAM_BYTES];
static uint8_t in_bytes[STREAM_BYTES];

struct reader {
    struct io_op op;
    int fd;
    size_t got;
    bool eof;
};

static void reader_next(struct reader *reader);

static void reader_on_recv(struct io_op *op)
{
    struct reader *const reader = CONTAINER_OF(op, struct reader, op);
    assert_true(op->result >= 0);
    reader->got += (size_t)op->result;
    reader->eof = op->result == 0;
    if (reader->eof)
        on_done(op);
    else
        reader_next(reader);
}

static void reader_next(struct reader *reader)
{
    static uint8_t beyond;
    const size_t left = STREAM_BYTES - reader->got;
    const struct span into =
        left > 0 ? (struct span) { in_bytes + reader->got, left } : (struct span) { &beyond, 1 };
    io_op_recv(&reader->op, r, reader->fd, into, reader_on_recv);
}

static void on_sent_close(struct io_op *op)
{
    assert_int_equal(op->result, STREAM_BYTES);
    io_close(r, op->fd);
    on_done(op);
}

static void stream_scenario(void)
{
    struct pair p = pair_make();
    struct reader reader = { .fd = p.b };
    struct io_op send_op;
    struct iovec iov[4] = { { out_bytes, 1 },
                            { NULL, 0 },
                            { out_bytes + 1, 100000 },
                            { out_bytes + 100001, STREAM_BYTES - 100001 } };

    for (size_t i = 0; i < STREAM_BYTES; i++)
        out_bytes[i] = (uint8_t)(i * 7 + i / 251);
    memset(in_bytes, 0, sizeof in_bytes);
    reader_next(&reader);
    io_op_send(&send_op, r, p.a, iov, 4, on_sent_close);
    run_pending(2);
    assert_int_equal(reader.got, STREAM_BYTES);
    assert_memory_equal(in_bytes, out_bytes, STREAM_BYTES);
    p.a = -1;
    pair_close(&p);
}

/* All bytes of a gathered send arrive in order, and a close after them reads as the end. */
static void stream(void **state)
{
    (void)state;
    on_both(stream_scenario);
}

static void cancel_scenario(void)
{
    struct pair p = pair_make();
    struct io_op recv_op;
    struct io_op accept_op;
    uint8_t byte;

    io_op_recv(&recv_op, r, p.b, (struct span) { &byte, 1 }, on_done);
    io_op_accept(&accept_op, r, p.listener, on_done);
    io_op_cancel(&recv_op);
    io_op_cancel(&accept_op);
    run_pending(2);
    assert_true(status_is(io_op_status(&recv_op), STATUS_CANCELED));
    assert_true(status_is(io_op_status(&accept_op), STATUS_CANCELED));
    io_op_cancel(&recv_op); /* Over: nothing happens. */
    pair_close(&p);
}

/* A canceled operation that had nothing to do yet ends as canceled. */
static void cancel(void **state)
{
    (void)state;
    on_both(cancel_scenario);
}

static void shutdown_scenario(void)
{
    struct pair p = pair_make();
    struct io_op mine;
    struct io_op theirs;
    uint8_t bytes[2];

    io_op_recv(&mine, r, p.a, (struct span) { bytes, 1 }, on_done);
    io_op_recv(&theirs, r, p.b, (struct span) { bytes + 1, 1 }, on_done);
    io_shutdown(r, p.a);
    run_pending(2);
    assert_int_equal(mine.result, 0);
    assert_int_equal(theirs.result, 0);
    pair_close(&p);
}

/* A shutdown ends what waits at both ends, and leaves the descriptor open. */
static void shutdown_ends(void **state)
{
    (void)state;
    on_both(shutdown_scenario);
}

static void refused_scenario(void)
{
    struct pair p = pair_make();
    struct io_addr bound;
    struct io_op op;

    assert_true(status_ok(io_local_addr(r, p.listener, &bound)));
    pair_close(&p);
    io_op_connect(&op, r, &bound, on_done);
    run_pending(1);
    assert_true(status_is(io_op_status(&op), STATUS_REFUSED));
}

/* A connect to a port where nobody listens is refused. */
static void refused(void **state)
{
    (void)state;
    on_both(refused_scenario);
}

static void file_scenario(void)
{
    _Alignas(4096) static uint8_t data[8192];
    _Alignas(4096) static uint8_t back[8192];
    struct io_file_info info;
    struct io_op ops[2];
    int fd = -1;
    int second = -1;
    const unsigned flags = IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_DIRECT | IO_OPEN_LOCK;

    memset(data, 0x5a, sizeof data);
    assert_true(status_ok(io_file_open(r, path, flags, FILE_BYTES, &fd, &info)));
    assert_int_equal(info.bytes, FILE_BYTES);
    assert_true(4096 % info.align_bytes == 0);
    assert_true(status_is(io_file_open(r, path, flags, FILE_BYTES, &second, NULL), STATUS_BUSY));
    io_op_write(&ops[0], r, fd, (struct const_span) { data, 4096 }, 4096, 0, on_done);
    io_op_write(&ops[1], r, fd, (struct const_span) { data, 8192 }, 65536, IO_WRITE_DSYNC, on_done);
    run_pending(2);
    assert_int_equal(ops[0].result, 4096);
    assert_int_equal(ops[1].result, 8192);
    io_op_fsync(&ops[0], r, fd, on_done);
    io_op_read(&ops[1], r, fd, (struct span) { back, 8192 }, 0, on_done);
    run_pending(2);
    assert_int_equal(ops[0].result, 0);
    assert_int_equal(ops[1].result, 8192);
    assert_int_equal(back[4095], 0);
    assert_memory_equal(back + 4096, data, 4096);
    io_op_read(&ops[0], r, fd, (struct span) { back, 8192 }, FILE_BYTES - 4096, on_done);
    run_pending(1);
    assert_true(status_is(io_op_status(&ops[0]), STATUS_IO));
    io_close(r, fd);
    assert_true(status_ok(io_file_open(r, path, IO_OPEN_LOCK, 0, &fd, &info)));
    io_close(r, fd);
}

/* Files: created, locked, written, made durable, read back; past the end is an I/O error. */
static void file(void **state)
{
    (void)state;
    on_both(file_scenario);
}

static char order[16];
static unsigned order_count;

static void note(char what)
{
    assert_true(order_count < sizeof order - 1);
    order[order_count++] = what;
    order[order_count] = '\0';
}

static void first_timer(struct io_timer *t)
{
    (void)t;
    note('1');
}

static void second_timer(struct io_timer *t)
{
    (void)t;
    note('2');
}

static void last_timer(struct io_timer *t)
{
    (void)t;
    note('3');
    reactor_stop(r);
}

static void timers_scenario(void)
{
    struct io_timer t[4];
    const uint64_t now = reactor_clock_ns(r);

    order_count = 0;
    io_timer_init(&t[0], last_timer);
    io_timer_init(&t[1], second_timer);
    io_timer_init(&t[2], first_timer);
    io_timer_init(&t[3], first_timer);
    io_timer_arm(&t[0], r, now + 3 * NS_PER_MS);
    io_timer_arm(&t[2], r, now + NS_PER_MS);
    io_timer_arm(&t[1], r, now + NS_PER_MS);
    io_timer_arm(&t[3], r, now + NS_PER_MS);
    io_timer_disarm(&t[3]);
    reactor_run(r);
    assert_string_equal(order, "123");
    assert_true(reactor_clock_ns(r) >= now + 3 * NS_PER_MS);
}

/* Timers fire by deadline, equal ones as they were armed, disarmed ones never. */
static void timers(void **state)
{
    (void)state;
    on_both(timers_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),     cmocka_unit_test(stream),  cmocka_unit_test(cancel),
        cmocka_unit_test(shutdown_ends), cmocka_unit_test(refused), cmocka_unit_test(file),
        cmocka_unit_test(timers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

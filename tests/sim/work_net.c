/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload "net": an echo server with two reactors, clients that check what comes back, broken
 * connections, kills, pauses and power cuts.  It proves the simulator itself: a stream is never
 * altered, and the same seed takes the same course (T1).
 */
#include <assert.h>
#include <stdlib.h>

#include "io/op.h"
#include "memory.h"
#include "run.h"
#include "workloads.h"

#define PORT         7
#define CLIENTS      3
#define STREAM_BYTES 40000
#define PIECE_BYTES  8192

static uint8_t stream_byte(uint64_t at)
{
    return (uint8_t)(at * 31 + at / 253);
}

/* ---- The server: in each process's own memory ---- */

struct echo {
    struct io_msg msg;
    struct io_op op;
    struct reactor *reactor;
    struct iovec iov;
    int fd;
    uint8_t bytes[PIECE_BYTES];
};

struct server {
    struct io_op accept;
    struct reactor *reactors[2];
    int fd;
    unsigned next;
};

static void echo_on_recv(struct io_op *op);

static void echo_on_sent(struct io_op *op)
{
    struct echo *const e = CONTAINER_OF(op, struct echo, op);
    if (op->result < 0) {
        io_close(e->reactor, e->fd);
        free(e);
        return;
    }
    io_op_recv(&e->op, e->reactor, e->fd, (struct span) { e->bytes, sizeof e->bytes },
               echo_on_recv);
}

static void echo_on_recv(struct io_op *op)
{
    struct echo *const e = CONTAINER_OF(op, struct echo, op);
    if (op->result <= 0) {
        io_close(e->reactor, e->fd);
        free(e);
        return;
    }
    e->iov = (struct iovec) { e->bytes, (size_t)op->result };
    io_op_send(&e->op, e->reactor, e->fd, &e->iov, 1, echo_on_sent);
}

static void echo_start(struct io_msg *msg)
{
    struct echo *const e = CONTAINER_OF(msg, struct echo, msg);
    const struct status st = io_fd_adopt(e->reactor, e->fd);
    assert(status_ok(st));
    io_op_recv(&e->op, e->reactor, e->fd, (struct span) { e->bytes, sizeof e->bytes },
               echo_on_recv);
}

static void server_on_accept(struct io_op *op)
{
    struct server *const s = CONTAINER_OF(op, struct server, accept);
    assert(op->result >= 0);
    struct echo *const e = calloc(1, sizeof *e);
    assert(e != NULL);
    e->fd = (int)op->result;
    e->reactor = s->reactors[s->next++ % 2];
    e->msg.deliver = echo_start;
    io_fd_release(s->reactors[0], e->fd);
    reactor_post(e->reactor, &e->msg);
    io_op_accept(&s->accept, s->reactors[0], s->fd, server_on_accept);
}

static void server_main(struct sim_process *p, void *ctx)
{
    (void)ctx;
    struct server *const s = calloc(1, sizeof *s);
    const struct io_addr any = { .family = IO_FAMILY_IPV4, .port = PORT };
    struct io_addr bound;
    assert(s != NULL);
    for (unsigned i = 0; i < 2; i++)
        s->reactors[i] = sim_process_reactor(p, i);
    const struct status st = io_listen(s->reactors[0], &any, &s->fd, &bound);
    assert(status_ok(st));
    io_op_accept(&s->accept, s->reactors[0], s->fd, server_on_accept);
}

/* ---- The clients ---- */

struct net {
    struct run *run;
    struct sim_machine *server_machine;
    struct sim_machine *client_machine;
    struct sim_process *server;
    unsigned finished;
    unsigned troubles; /* Still to come. */
};

struct client {
    struct net *net;
    struct reactor *reactor;
    struct io_op connect;
    struct io_op send;
    struct io_op recv;
    struct io_timer retry;
    struct io_timer watch; /* F19: without it, a client could wait for ever. */
    struct iovec iov;
    int fd;
    bool lost;
    bool sending;
    bool receiving;
    uint64_t sent;
    uint64_t received;
    uint8_t out[PIECE_BYTES];
    uint8_t in[PIECE_BYTES];
};

static void client_connect(struct io_timer *t);
static void client_send(struct client *c);

/* The connection is over; when both directions have noticed, try again from the start. */
static void client_lost(struct client *c)
{
    c->lost = true;
    io_shutdown(c->reactor, c->fd);
    if (c->sending || c->receiving)
        return;
    io_timer_disarm(&c->watch);
    io_close(c->reactor, c->fd);
    io_timer_arm(&c->retry, c->reactor, reactor_now_ns(c->reactor) + 10 * NS_PER_MS);
}

static void client_on_watch(struct io_timer *t)
{
    struct client *const c = CONTAINER_OF(t, struct client, watch);
    io_shutdown(c->reactor, c->fd);
}

static void client_watch(struct client *c)
{
    io_timer_arm(&c->watch, c->reactor, reactor_now_ns(c->reactor) + NS_PER_S);
}

static void client_on_recv(struct io_op *op)
{
    struct client *const c = CONTAINER_OF(op, struct client, recv);
    c->receiving = false;
    if (op->result <= 0) {
        client_lost(c);
        return;
    }
    for (int64_t i = 0; i < op->result; i++)
        if (c->in[i] != stream_byte(c->received++))
            run_fail(c->net->run, "byte %lu of a stream was altered", c->received - 1);
    if (c->received > c->sent)
        run_fail(c->net->run, "more came back than was sent");
    if (c->received == STREAM_BYTES) {
        io_timer_disarm(&c->watch);
        c->net->finished++;
        return;
    }
    client_watch(c);
    c->receiving = true;
    io_op_recv(&c->recv, c->reactor, c->fd, (struct span) { c->in, sizeof c->in }, client_on_recv);
}

static void client_on_sent(struct io_op *op)
{
    struct client *const c = CONTAINER_OF(op, struct client, send);
    c->sending = false;
    if (op->result < 0 || c->lost)
        client_lost(c);
    else if (c->sent < STREAM_BYTES)
        client_send(c);
}

static void client_send(struct client *c)
{
    const uint64_t bytes =
        min_u64(run_between(c->net->run, 1, PIECE_BYTES), STREAM_BYTES - c->sent);
    for (uint64_t i = 0; i < bytes; i++)
        c->out[i] = stream_byte(c->sent + i);
    c->sent += bytes;
    c->sending = true;
    c->iov = (struct iovec) { c->out, bytes };
    io_op_send(&c->send, c->reactor, c->fd, &c->iov, 1, client_on_sent);
}

static void client_on_connect(struct io_op *op)
{
    struct client *const c = CONTAINER_OF(op, struct client, connect);
    if (op->result < 0) {
        io_timer_arm(&c->retry, c->reactor, reactor_now_ns(c->reactor) + 10 * NS_PER_MS);
        return;
    }
    c->fd = (int)op->result;
    c->lost = false;
    c->sent = 0;
    c->received = 0;
    c->receiving = true;
    client_watch(c);
    io_op_recv(&c->recv, c->reactor, c->fd, (struct span) { c->in, sizeof c->in }, client_on_recv);
    client_send(c);
}

static void client_connect(struct io_timer *t)
{
    struct client *const c = CONTAINER_OF(t, struct client, retry);
    const struct io_addr to = sim_machine_addr(c->net->server_machine, PORT);
    io_op_connect(&c->connect, c->reactor, &to, client_on_connect);
}

static void client_main(struct sim_process *p, void *ctx)
{
    struct client *const c = calloc(1, sizeof *c);
    assert(c != NULL);
    c->net = ctx;
    c->reactor = sim_process_reactor(p, 0);
    io_timer_init(&c->retry, client_connect);
    io_timer_init(&c->watch, client_on_watch);
    client_connect(&c->retry);
}

/* ---- Troubles ---- */

static void server_spawn(void *ctx)
{
    struct net *const net = ctx;
    const struct sim_program program = { .name = "server", .reactors = 2, .main = server_main };
    sim_machine_power_on(net->server_machine);
    if (net->server == NULL || !sim_process_is_alive(net->server))
        net->server = sim_spawn(net->server_machine, &program);
}

static void server_resume(void *ctx)
{
    sim_process_resume(((struct net *)ctx)->server);
}

static void links_heal(void *ctx)
{
    struct net *const net = ctx;
    sim_net_block(net->server_machine, net->client_machine, false);
    sim_net_block(net->client_machine, net->server_machine, false);
}

static void trouble(void *ctx)
{
    struct net *const net = ctx;
    struct run *const run = net->run;
    const uint64_t later_ns = run_between(run, 0, 20 * NS_PER_MS);

    switch (rng_below(&run->rng, 5)) {
    case 0:
        sim_process_kill(net->server);
        sim_world_after(run->world, later_ns, server_spawn, net);
        break;
    case 1:
        sim_machine_power_off(net->server_machine);
        sim_world_after(run->world, later_ns, server_spawn, net);
        break;
    case 2:
        sim_process_pause(net->server);
        sim_world_after(run->world, later_ns, server_resume, net);
        break;
    case 3:
        sim_net_block(net->server_machine, net->client_machine, true);
        sim_net_block(net->client_machine, net->server_machine, run_percent(run, 50));
        sim_world_after(run->world, later_ns, links_heal, net);
        break;
    default:
        sim_net_cut(net->client_machine, 2);
        break;
    }
    if (--net->troubles > 0)
        sim_world_after(run->world, later_ns + run_between(run, 0, 40 * NS_PER_MS), trouble, net);
}

static bool all_finished(void *ctx)
{
    return ((struct net *)ctx)->finished == CLIENTS;
}

static void net_act(struct run *run)
{
    struct net net = { .run = run, .troubles = (unsigned)run_between(run, 1, 4) };
    const struct sim_program client = {
        .name = "client", .reactors = 1, .main = client_main, .ctx = &net
    };

    net.server_machine = sim_machine_create(run->world, "server");
    net.client_machine = sim_machine_create(run->world, "client");
    server_spawn(&net);
    for (unsigned i = 0; i < CLIENTS; i++)
        sim_spawn(net.client_machine, &client);
    sim_world_after(run->world, run_between(run, 0, 10 * NS_PER_MS), trouble, &net);
    run_until(run, all_finished, &net, 300 * NS_PER_S, "the clients");
}

const struct workload work_net = {
    .name = "net", .rules = "T1", .text = "echo over broken connections", .act = net_act
};

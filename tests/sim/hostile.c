/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile.h"

#include <assert.h>
#include <stdlib.h>

#include "io/op.h"
#include "nvme/limits.h"
#include "nvme/tcp_spec.h"

#define ATTACK_BYTES_MAX 8192
/* How long a target may keep a connection that says nothing; and one that has said nonsense. */
#define PATIENCE_NS      (120 * NS_PER_S)
#define PATIENCE_TERM_NS (10 * NS_PER_S)

/* One connection of the peer. */
struct attack {
    struct hostile *hostile;
    struct reactor *reactor;
    struct io_op connect;
    struct io_op send;
    struct io_op recv;
    struct io_timer timer; /* The next attack, or the end of patience. */
    struct iovec iov;
    int fd;
    bool sending;
    bool receiving;
    uint64_t deaths; /* Of the target, when this connection was asked for. */
    bool term_due;   /* The bytes are wrong in a way that asks for a C2HTermReq. */
    size_t in_bytes;
    size_t out_bytes;
    uint8_t in[4096];
    uint8_t out[ATTACK_BYTES_MAX];
};

static void attack_connect(struct io_timer *t);

/* ---- What to send ---- */

static void put(struct attack *a, const void *bytes, size_t count)
{
    assert(a->out_bytes + count <= sizeof a->out);
    memcpy(a->out + a->out_bytes, bytes, count);
    a->out_bytes += count;
}

static void put_icreq(struct attack *a)
{
    struct pdu_ic_spec ic = {
        .ch = { .type = PDU_ICREQ, .hlen = 128, .plen = le32_make(128) },
    };
    put(a, &ic, sizeof ic);
}

static struct pdu_capsule_cmd_spec capsule(struct run *run)
{
    struct pdu_capsule_cmd_spec c = {
        .ch = { .type = PDU_CAPSULE_CMD, .hlen = 72, .plen = le32_make(72) },
    };
    rng_fill(&run->rng, (struct span) { (uint8_t *)&c.sqe, sizeof c.sqe });
    return c;
}

/* In-capsule data that are longer than any capsule may be. */
static void attack_long_capsule(struct attack *a)
{
    struct pdu_capsule_cmd_spec c = capsule(a->hostile->run);
    const uint64_t over = run_between(a->hostile->run, 1, 1u << 20);

    c.ch.pdo = 72;
    c.ch.plen = le32_make((uint32_t)(72 + NVME_IN_CAPSULE_BYTES_MAX + over * 4));
    put_icreq(a);
    put(a, &c, sizeof c);
    a->term_due = true;
}

static void attack_wrong_header(struct attack *a)
{
    struct run *const run = a->hostile->run;
    struct pdu_capsule_cmd_spec c = capsule(run);

    put_icreq(a);
    switch (rng_below(&run->rng, 4)) {
    case 0:
        c.ch.hlen = (uint8_t)run_between(run, 73, 255);
        break;
    case 1:
        c.ch.type = (uint8_t)run_between(run, 10, 255);
        break;
    case 2:
        c.ch.plen = le32_make((uint32_t)run_between(run, 0, 71));
        break;
    default:
        c.ch.type = PDU_C2H_DATA; /* For hosts, not for controllers. */
        break;
    }
    put(a, &c, sizeof c);
    a->term_due = true;
}

/* Data that nobody has asked for. */
static void attack_unasked_data(struct attack *a)
{
    struct run *const run = a->hostile->run;
    struct pdu_data_spec d = {
        .ch = { .type = PDU_H2C_DATA, .hlen = 24, .pdo = 24, .plen = le32_make(24 + 512) },
        .cccid = le16_make((uint16_t)rng_u64(&run->rng)),
        .ttag = le16_make((uint16_t)rng_u64(&run->rng)),
        .offset = le32_make((uint32_t)rng_u64(&run->rng)),
        .length = le32_make(512),
    };
    uint8_t data[512] = { 0 };

    put_icreq(a);
    put(a, &d, sizeof d);
    put(a, data, sizeof data);
    a->term_due = true;
}

/* A correct beginning, then anything. */
static void attack_garbage(struct attack *a)
{
    struct run *const run = a->hostile->run;
    uint8_t noise[2048];

    if (run_percent(run, 70))
        put_icreq(a);
    rng_fill(&run->rng, (struct span) { noise, sizeof noise });
    put(a, noise, run_between(run, 1, sizeof noise));
}

/* Commands on a queue that was never connected: any opcode, any SGL. */
static void attack_unconnected(struct attack *a)
{
    struct run *const run = a->hostile->run;

    put_icreq(a);
    for (uint64_t i = run_between(run, 1, 40); i > 0; i--) {
        const struct pdu_capsule_cmd_spec c = capsule(run);
        put(a, &c, sizeof c);
    }
}

static void attack_choose(struct attack *a)
{
    static void (*const attacks[])(struct attack *) = { attack_long_capsule, attack_wrong_header,
                                                        attack_unasked_data, attack_garbage,
                                                        attack_unconnected };
    struct run *const run = a->hostile->run;

    a->out_bytes = 0;
    a->in_bytes = 0;
    a->term_due = false;
    attacks[rng_below(&run->rng, ARRAY_COUNT(attacks))](a);
    if (!run_percent(run, 15))
        return;
    a->out_bytes = run_between(run, 1, a->out_bytes); /* And it stops in the middle. */
    a->term_due = false;
}

/* ---- The connection ---- */

/* The connection has ended: was the end what the specification asks for? */
static void attack_judge(struct attack *a, bool orderly)
{
    struct pdu_common_spec ch;

    a->hostile->attacks++;
    /* A connection that broke by itself, or with its target, proves nothing. */
    if (!orderly || !a->term_due || a->deaths != a->hostile->target_deaths)
        return;
    /* ICResp comes first. */
    if (a->in_bytes < sizeof(struct pdu_ic_spec) + sizeof ch)
        run_fail(a->hostile->run, "a malformed PDU is not answered");
    memcpy(&ch, a->in + sizeof(struct pdu_ic_spec), sizeof ch);
    if (ch.type != PDU_C2H_TERM)
        run_fail(a->hostile->run, "a malformed PDU is answered with PDU type %#x", ch.type);
    a->hostile->answered++;
}

static void attack_end(struct attack *a)
{
    io_shutdown(a->reactor, a->fd);
    if (a->sending || a->receiving)
        return;
    io_close(a->reactor, a->fd);
    if (a->hostile->attacks >= a->hostile->attacks_max)
        return;
    io_timer_init(&a->timer, attack_connect);
    io_timer_arm(&a->timer, a->reactor,
                 reactor_now_ns(a->reactor) + run_between(a->hostile->run, 0, 20 * NS_PER_MS));
}

static void attack_on_patience(struct io_timer *t)
{
    struct attack *const a = CONTAINER_OF(t, struct attack, timer);
    run_fail(a->hostile->run, "a target keeps a connection that has sent %s",
             a->term_due ? "a malformed PDU" : "nothing for two minutes");
}

static void attack_recv(struct attack *a);

static void attack_on_recv(struct io_op *op)
{
    struct attack *const a = CONTAINER_OF(op, struct attack, recv);

    a->receiving = false;
    if (op->result > 0) {
        a->in_bytes += (size_t)op->result;
        attack_recv(a);
        return;
    }
    io_timer_disarm(&a->timer);
    attack_judge(a, op->result == 0);
    attack_end(a);
}

static void attack_recv(struct attack *a)
{
    /* More than the buffer holds is of no interest. */
    if (a->in_bytes == sizeof a->in)
        a->in_bytes -= 1024;
    a->receiving = true;
    io_op_recv(&a->recv, a->reactor, a->fd,
               (struct span) { a->in + a->in_bytes, sizeof a->in - a->in_bytes }, attack_on_recv);
}

static void attack_on_sent(struct io_op *op)
{
    struct attack *const a = CONTAINER_OF(op, struct attack, send);

    a->sending = false;
    if (!a->receiving)
        attack_end(a);
}

static void attack_on_connect(struct io_op *op)
{
    struct attack *const a = CONTAINER_OF(op, struct attack, connect);

    if (op->result < 0) {
        io_timer_arm(&a->timer, a->reactor, reactor_now_ns(a->reactor) + 50 * NS_PER_MS);
        return;
    }
    a->fd = (int)op->result;
    attack_choose(a);
    io_timer_init(&a->timer, attack_on_patience);
    io_timer_arm(&a->timer, a->reactor,
                 reactor_now_ns(a->reactor) + (a->term_due ? PATIENCE_TERM_NS : PATIENCE_NS));
    attack_recv(a);
    a->sending = true;
    a->iov = (struct iovec) { a->out, a->out_bytes };
    io_op_send(&a->send, a->reactor, a->fd, &a->iov, 1, attack_on_sent);
}

static void attack_connect(struct io_timer *t)
{
    struct attack *const a = CONTAINER_OF(t, struct attack, timer);

    a->deaths = a->hostile->target_deaths;
    io_op_connect(&a->connect, a->reactor, &a->hostile->target, attack_on_connect);
}

static void hostile_main(struct sim_process *p, void *ctx)
{
    struct attack *const a = calloc(1, sizeof *a);

    assert(a != NULL);
    a->hostile = ctx;
    a->reactor = sim_process_reactor(p, 0);
    io_timer_init(&a->timer, attack_connect);
    attack_connect(&a->timer);
}

bool hostile_is_resting(void *hostile)
{
    const struct hostile *const h = hostile;
    return h->attacks >= h->attacks_max;
}

void hostile_start(struct hostile *hostile, struct sim_machine *machine)
{
    const struct sim_program program = {
        .name = "hostile", .reactors = 1, .main = hostile_main, .ctx = hostile
    };
    sim_spawn(machine, &program);
}

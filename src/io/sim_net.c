/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets: listening, connecting, accepting, and the operations on them. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "io/sim_tcp.h"

#define BACKLOG_MAX 128

/* A connect in progress; io_op.backend[1] points at it. */
struct sim_syn {
    struct sim_event event;
    struct io_op *op;
    struct sim_reactor *reactor;
    uint64_t give_up_ns;
};

/* ---- Addresses ---- */

static bool addr_is_loopback(const struct io_addr *a)
{
    static const uint8_t v6[16] = { [15] = 1 };
    return a->family == IO_FAMILY_IPV4 ? a->ip[0] == 127 : memcmp(a->ip, v6, sizeof v6) == 0;
}

static struct sim_machine *machine_of(struct sim_machine *asking, const struct io_addr *a)
{
    if (addr_is_loopback(a) || io_addr_is_any(a))
        return asking;
    LIST_FOR_EACH (n, &asking->world->machines) {
        struct sim_machine *const m = CONTAINER_OF(n, struct sim_machine, link);
        const struct io_addr own = sim_machine_addr(m, a->port);
        if (io_addr_equal(&own, a))
            return m;
    }
    return NULL;
}

static struct sim_listener *listener_find(struct sim_machine *m, const struct io_addr *to)
{
    LIST_FOR_EACH (n, &m->listeners) {
        struct sim_listener *const l = CONTAINER_OF(n, struct sim_listener, link);
        if (l->shut || l->addr.port != to->port)
            continue;
        if (io_addr_is_any(&l->addr) || io_addr_equal(&l->addr, to))
            return l;
    }
    return NULL;
}

static uint16_t port_choose(struct sim_machine *m)
{
    m->port_next = m->port_next == UINT16_MAX ? 32768 : (uint16_t)(m->port_next + 1);
    return m->port_next;
}

/* ---- Listening ---- */

struct status sim_net_listen(struct sim_reactor *r, const struct io_addr *on, int *out_fd,
                             struct io_addr *out_bound)
{
    struct sim_process *const p = r->process;
    struct sim_machine *const m = p->machine;
    struct sim_world *const w = m->world;
    struct io_addr addr = *on;

    if (machine_of(m, on) != m)
        return status_from_errno(EADDRNOTAVAIL);
    if (addr.port == 0)
        addr.port = port_choose(m);
    if (listener_find(m, &addr) != NULL)
        return status_from_errno(EADDRINUSE);
    struct sim_reactor *const before = sim_enter(w, NULL);
    struct sim_listener *const l = calloc(1, sizeof *l);
    assert(l != NULL);
    sim_enter(w, before);
    l->machine = m;
    l->addr = addr;
    list_init(&l->accepts);
    list_init(&l->backlog);
    list_node_init(&l->link);
    list_push_back(&m->listeners, &l->link);
    *out_fd = sim_fd_alloc(p, SIM_FD_LISTENER, r, l);
    *out_bound = addr;
    return STATUS(OK);
}

/* Brings waiting accepts and waiting connections together. */
static void listener_serve(struct sim_listener *l)
{
    struct list_node *waiting;

    while ((waiting = list_first(&l->accepts)) != NULL) {
        struct io_op *const op = CONTAINER_OF(waiting, struct io_op, link);
        struct sim_reactor *const r = sim_of(op->reactor);
        struct list_node *const established = list_first(&l->backlog);
        if (established == NULL && !l->shut)
            return;
        list_remove(waiting);
        if (l->shut) {
            sim_op_complete(op, -EINVAL);
            continue;
        }
        list_remove(established);
        l->backlog_count--;
        struct sim_end *const e = CONTAINER_OF(established, struct sim_end, link);
        sim_op_complete(op, sim_fd_alloc(r->process, SIM_FD_CONN, r, e));
    }
}

/* The listening socket is gone; what nobody accepted is reset, or forgotten. */
static void listener_close(struct sim_listener *l, bool silent)
{
    struct list_node *n;

    while ((n = list_pop_front(&l->backlog)) != NULL) {
        struct sim_end *const e = CONTAINER_OF(n, struct sim_end, link);
        if (silent)
            sim_end_vanish(e);
        else
            sim_end_close(e);
    }
    list_remove(&l->link);
    free(l);
}

/* ---- Connecting ---- */

static void syn_end(struct sim_syn *syn, int64_t result)
{
    struct io_op *const op = syn->op;

    sim_event_cancel(sim_process_world(syn->reactor->process), &syn->event);
    free(syn);
    sim_op_complete(op, result);
}

static void syn_establish(struct sim_syn *syn, struct sim_machine *to, struct sim_listener *l)
{
    struct sim_reactor *const r = syn->reactor;
    struct sim_machine *const from = r->process->machine;
    struct sim_conn *const c = sim_conn_create(from, to);
    const uint16_t port = port_choose(from);

    c->ends[0].local =
        addr_is_loopback(&syn->op->addr) ? syn->op->addr : sim_machine_addr(from, port);
    c->ends[0].local.port = port;
    c->ends[1].local = syn->op->addr;
    list_push_back(&l->backlog, &c->ends[1].link);
    l->backlog_count++;
    sim_trace(from->world, "established", c->id, from->index, to->index);
    syn_end(syn, sim_fd_alloc(r->process, SIM_FD_CONN, r, &c->ends[0]));
    listener_serve(l);
}

static void syn_arrives(struct sim_event *event)
{
    struct sim_syn *const syn = CONTAINER_OF(event, struct sim_syn, event);
    struct sim_machine *const from = syn->reactor->process->machine;
    struct sim_world *const w = from->world;
    struct sim_machine *const to = machine_of(from, &syn->op->addr);

    if (to == NULL) {
        syn_end(syn, -EHOSTUNREACH);
        return;
    }
    const bool up = sim_link_up(from, to) && sim_link_up(to, from);
    struct sim_listener *const l = up ? listener_find(to, &syn->op->addr) : NULL;
    if (up && l == NULL) {
        syn_end(syn, -ECONNREFUSED);
        return;
    }
    if (l != NULL && l->backlog_count < BACKLOG_MAX) {
        syn_establish(syn, to, l);
        return;
    }
    if (w->now_ns >= syn->give_up_ns)
        syn_end(syn, -ETIMEDOUT);
    else
        sim_event_at(w, &syn->event, w->now_ns + sim_between(w, NS_PER_S / 4, NS_PER_S));
}

static void net_connect(struct sim_reactor *r, struct io_op *op)
{
    struct sim_world *const w = sim_process_world(r->process);
    struct sim_reactor *const before = sim_enter(w, NULL);
    struct sim_syn *const syn = calloc(1, sizeof *syn);

    assert(syn != NULL);
    sim_enter(w, before);
    syn->event.run = syn_arrives;
    syn->op = op;
    syn->reactor = r;
    syn->give_up_ns = w->now_ns + w->net.connect_wait_ns;
    op->backend[1] = (uint64_t)(uintptr_t)syn;
    sim_event_at(w, &syn->event, w->now_ns + 2 * sim_latency_ns(w));
}

/* ---- Operations ---- */

static struct sim_end *end_of(struct sim_reactor *r, int fd)
{
    struct sim_fd *const f = sim_fd_get(r, fd);
    if (f->kind != SIM_FD_CONN)
        sim_bug(sim_process_world(r->process), "a descriptor that is no connection");
    return f->object;
}

static void net_accept(struct sim_reactor *r, struct io_op *op)
{
    struct sim_fd *const f = sim_fd_get(r, op->fd);
    if (f->kind != SIM_FD_LISTENER)
        sim_bug(sim_process_world(r->process), "accept() of a descriptor that does not listen");
    struct sim_listener *const l = f->object;
    list_push_back(&l->accepts, &op->link);
    listener_serve(l);
}

void sim_net_submit(struct sim_reactor *r, struct io_op *op)
{
    struct sim_world *const w = sim_process_world(r->process);

    if (op->kind == IO_KIND_ACCEPT) {
        net_accept(r, op);
        return;
    }
    if (op->kind == IO_KIND_CONNECT) {
        net_connect(r, op);
        return;
    }
    struct sim_end *const e = end_of(r, op->fd);
    struct io_op **const place = op->kind == IO_KIND_RECV ? &e->recv : &e->send;
    if (*place != NULL)
        sim_bug(w, "two operations of one kind in flight for a connection");
    *place = op;
    sim_end_serve(e);
}

void sim_net_cancel(struct sim_reactor *r, struct io_op *op)
{
    if (op->kind == IO_KIND_CONNECT) {
        syn_end((struct sim_syn *)(uintptr_t)op->backend[1], -ECANCELED);
        return;
    }
    if (op->kind == IO_KIND_ACCEPT) {
        list_remove(&op->link);
        sim_op_complete(op, -ECANCELED);
        return;
    }
    struct sim_end *const e = end_of(r, op->fd);
    struct io_op **const place = op->kind == IO_KIND_RECV ? &e->recv : &e->send;
    assert(*place == op);
    *place = NULL;
    sim_op_complete(op, -ECANCELED);
}

struct status sim_net_addr(struct sim_reactor *r, int fd, bool peer, struct io_addr *out_addr)
{
    const struct sim_fd *const f = sim_fd_get(r, fd);

    if (f->kind == SIM_FD_LISTENER && !peer) {
        *out_addr = ((const struct sim_listener *)f->object)->addr;
        return STATUS(OK);
    }
    struct sim_end *const e = end_of(r, fd);
    if (e->error != 0 && peer)
        return status_from_errno(ENOTCONN);
    *out_addr = peer ? end_peer(e)->local : e->local;
    return STATUS(OK);
}

void sim_net_shutdown(struct sim_reactor *r, int fd)
{
    struct sim_fd *const f = sim_fd_get(r, fd);

    if (f->kind == SIM_FD_LISTENER) {
        struct sim_listener *const l = f->object;
        l->shut = true;
        listener_serve(l);
        return;
    }
    sim_end_shutdown(end_of(r, fd));
}

void sim_net_close(struct sim_process *p, struct sim_fd *fd, bool silent)
{
    if (fd->kind == SIM_FD_LISTENER) {
        listener_close(fd->object, silent);
        return;
    }
    struct sim_end *const e = fd->object;
    if (!p->alive) { /* Its operations died with it. */
        e->recv = NULL;
        e->send = NULL;
    }
    if (silent)
        sim_end_vanish(e);
    else
        sim_end_close(e);
}

/* ---- Connects of a dead process ---- */

void sim_net_drop(struct sim_reactor *r)
{
    struct sim_world *const w = sim_process_world(r->process);

    for (size_t slot = w->heap_count; slot > 0; slot--) {
        struct sim_event *const event = slot <= w->heap_count ? w->heap[slot] : NULL;
        if (event == NULL || event->run != syn_arrives)
            continue;
        struct sim_syn *const syn = CONTAINER_OF(event, struct sim_syn, event);
        if (syn->reactor != r)
            continue;
        sim_event_cancel(w, event);
        free(syn);
        slot = w->heap_count + 1; /* The heap has moved: look again from its end. */
    }
}

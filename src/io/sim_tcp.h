/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated TCP connection: two ends, each with what its kernel holds.  Only src/io/sim*.c
 * include this.
 *
 *   end 0                                              end 1
 *   send op -> outbox --(pump: segments, latency)--> inbox -> recv op
 *   recv op <- inbox  <------------------------(pump)-- outbox <- send op
 *
 * Threading: the world's.   Memory: the world's; freed when neither end has a descriptor.
 */
#ifndef IO_SIM_TCP_H
#define IO_SIM_TCP_H

#include "io/sim_internal.h"

/* A byte queue of fixed capacity. */
struct sim_ring {
    uint8_t *at;
    size_t capacity;
    size_t head;
    size_t bytes;
};

enum sim_end_state {
    END_OPEN,   /* A process holds it, or it waits in a backlog. */
    END_CLOSED, /* The kernel still sends what is left, then FIN. */
    END_GONE,   /* Forgotten: whatever arrives is answered with RST. */
};

struct sim_conn;

struct sim_end {
    struct sim_conn *conn;
    struct sim_machine *machine;
    uint64_t boot; /* Of the machine, when the connection was made. */
    enum sim_end_state state;
    struct list_node link; /* In the listener's backlog. */
    struct io_addr local;

    struct sim_ring inbox;
    struct sim_ring outbox;
    bool fin_out;  /* After the outbox comes FIN. */
    bool fin_sent; /* It has arrived. */
    bool fin_in;
    bool shut_in; /* io_shutdown(): nothing more is received. */
    int error;    /* errno that ended the connection; 0. */
    bool reset_coming;

    struct io_op *recv;
    struct io_op *send;
    struct sim_event pump;     /* Moves a segment from this outbox to the peer's inbox. */
    struct sim_event reset;    /* A RST arrives here. */
    uint64_t stalled_since_ns; /* 0: not stalled. */
};

struct sim_conn {
    struct sim_world *world;
    struct list_node link;
    uint64_t id;
    size_t segment_max;
    struct sim_end ends[2];
};

static inline struct sim_end *end_peer(struct sim_end *e)
{
    return &e->conn->ends[e == &e->conn->ends[0] ? 1 : 0];
}

/* Makes a connection between two machines; both ends are open. */
struct sim_conn *sim_conn_create(struct sim_machine *from, struct sim_machine *to);

/* Lets the waiting operations of the end take and give what they can. */
void sim_end_serve(struct sim_end *e);

/* The kernel's close(): FIN, or RST where unread data are left. */
void sim_end_close(struct sim_end *e);

/* The machine's power went: nobody is told. */
void sim_end_vanish(struct sim_end *e);

/* io_shutdown(): both directions. */
void sim_end_shutdown(struct sim_end *e);

/* Whether a packet gets from one machine to the other now. */
bool sim_link_up(const struct sim_machine *from, const struct sim_machine *to);

uint64_t sim_latency_ns(struct sim_world *w);

#endif

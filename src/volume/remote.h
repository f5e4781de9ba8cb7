/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A leg whose store is on another node: the session, opened again whenever it is lost, and what
 * has no answer then.
 *
 *   home                                           reactor of a slice
 *   struct remote      session: opened, lost       struct remote_lane    commands on their way
 *      |                                              |                  those that are kept
 *      +-- tells: go, with this session; or: wait; or: end what you keep --> |
 *      <-- the session is stale; a command has no answer for too long -------+
 *
 * 4.3: a command whose session is lost before its answer has come is kept, and sent again in the
 * next session, if the disk has the same incarnation; what it touches keeps its place in the
 * overlap order all the while.  4.4: if it has another one, all end with STALE_INCARNATION, and the
 * replica is excluded.  6.1: one that is away for too long, or does not answer, is reported; what
 * is kept for it ends when it has been excluded.
 *
 * Threading: struct remote is home's, lanes are their reactors'; the home tells by messages, one
 *            round at a time.
 * Memory:    allocated with the leg; commands are embedded in their owners.
 */
#ifndef VOLUME_REMOTE_H
#define VOLUME_REMOTE_H

#include <stdatomic.h>

#include "peer/session.h"
#include "volume/leg.h"

struct remote;

/* What the lanes are told. */
struct remote_view {
    bool go;           /* Commands go to the session of the ticket.  Otherwise they wait for it. */
    bool keeps;        /* What has no answer is kept.  Otherwise it ends with why. */
    bool late;         /* What nothing but this disk waits for is not kept any longer. */
    struct status why; /* OK unless it does not keep. */
    bool abandons;     /* What is on its way ends, too, unless its data are moving. */
    bool closes;       /* Home waits until nothing is on its way: the leg may be gone then. */
    bool lost_flushes; /* Flush and FUA that are kept end: what they are to promise may be gone. */
    uint64_t incarnation;
    struct peer_ticket ticket;
};

struct remote_lane {
    struct peer_lane peer;
    struct remote *remote;
    struct remote_view view;
    struct list flying; /* leg_remote_io.link, the oldest first. */
    uint32_t flying_count;
    struct list kept;  /* leg_remote_io.link */
    struct list ended; /* leg_remote_io.link: they end off their submitters' stack. */
    struct io_task task;
    struct io_timer timer; /* While something is flying. */
    uint32_t ticks;
    struct io_msg msg;                 /* From home and back, ... */
    bool owes;                         /* ... and is here. */
    struct io_msg stale_msg, late_msg; /* To home. */
    atomic_bool stale_posted, late_posted;
    _Atomic uint32_t stale_number; /* Of the session, its low bits. */
};

struct remote {
    struct leg *leg;
    struct link *link;
    struct peer_session session;
    struct store_volume volume;
    uint64_t told_bytes;   /* The volume's, in the last OPEN. */
    uint64_t tick_ns;      /* A tenth of the patience. */
    uint64_t away_tick_ns; /* At most that. */
    unsigned lane_count;

    /* Home's. */
    bool first;   /* It has not been opened yet. */
    bool keeps;   /* remote_keep(): a member, or may be one; since remote_open(). */
    bool up;      /* The session is. */
    bool asked;   /* The session is to be opened, and has not answered. */
    bool refused; /* Another engine has the group: nothing is opened any more. */
    bool changed; /* The disk has another incarnation than the leg's. */
    bool closing;
    struct io_timer away_timer; /* A tick of being away. */
    unsigned away_ticks;
    unsigned down_ticks;         /* Of these, the last ones, in which there was no link. */
    struct io_timer retry_timer; /* After a refusal. */
    uint64_t retry_ns;
    struct remote_view view;    /* What is to be told, ... */
    bool view_dirty;            /* ... and was not yet. */
    struct remote_view telling; /* Constant during a round. */
    unsigned round;             /* Lanes that have not answered. */
    void (*on_open)(void *ctx); /* NULL: nobody waits. */
    void *open_ctx;
    void (*on_close)(void *ctx);
    void *close_ctx;

    /* The engine's, on all reactors. */
    atomic_bool there;        /* Commands may be submitted. */
    _Atomic uint64_t written; /* As struct leg's. */
    _Atomic uint64_t flushed;
    _Atomic uint64_t tick_max;  /* Of the commands that it was sent. */
    _Atomic uint32_t open_tick; /* The last OPEN's. */

    struct remote_lane lanes[]; /* One for each reactor. */
};

/* NO_MEMORY.  The link is kept by a reference of its own.  On home, as what follows. */
struct status remote_create(struct leg *leg, struct link *link, struct uuid disk, uint64_t epoch,
                            uint64_t patience_ns, struct remote **out_remote) MUST_CHECK;

/* Never opened, or closed.  NULL is allowed. */
void remote_destroy(struct remote *r);

/*
 * Opens the session: done when it is open, or refused, or has not come for as long as the patience
 * lasts; leg->problem says which.  It is opened again and again after that, until it is closed.
 * Where it is open already, it is opened anew, with this description.
 */
void remote_open(struct remote *r, const struct store_volume *volume, void (*done)(void *ctx),
                 void *ctx);

/* The volume has grown: a session with the old description, now or on its way, is opened anew. */
void remote_set_volume(struct remote *r, const struct store_volume *volume);

/* What is kept ends with why, and nothing is kept from now on. */
void remote_let_go(struct remote *r, struct status why);

/*
 * Whether what has no answer is kept: of a member it is, of others it ends with UNAVAILABLE.  The
 * incarnation that the disk has now is the leg's.
 */
void remote_keep(struct remote *r, bool keeps);

/* leg_part() */
void remote_part(struct remote *r);

/*
 * It is no member any more: nothing is kept, nor waited for where the answer alone is missing.  It
 * gets another session, which is open when nothing of this one can be executed any more (4.3).
 */
void remote_exclude(struct remote *r);

/* Gives back the session, when what is on its way has ended: at once, unless data are moving. */
void remote_close(struct remote *r, void (*done)(void *ctx), void *ctx);

/* ---- remote_lane.c ---- */

void remote_lane_init(struct remote *r, unsigned reactor);

/* leg_submit() */
void remote_submit(struct leg_io *io);

/* On the lane's reactor: takes in what home tells; remote_on_taken() follows, perhaps from here. */
void remote_lane_take(struct remote_lane *lane, const struct remote_view *view);

/* ---- remote.c: what lanes have to say ---- */

/* On the lane's reactor. */
void remote_on_taken(struct remote_lane *lane);

/* On home. */
void remote_on_stale(struct remote *r, uint32_t number);
void remote_on_late(struct remote *r);

#endif

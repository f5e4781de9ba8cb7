/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local leg's commands that have no answer, where others have what the leg has
 * (docs/replication.md, 6.7).
 *
 *   leg_deliver --> flying --(answer)--> done
 *      |  ^            |
 *      |  |            +--(let go of)--> done, failed;  the store has its heir --(answer)--> gone
 *      v  |
 *     kept, while there are heirs --(let go of)--> done, failed
 *
 * 6.1: one without an answer for too long is reported.  When the leg has been excluded, its store
 * keeps the command's heir, which has what the command had, and its data are held in their buffer.
 * Nothing is sent to the store while it has heirs: the leg is away until they have ended.
 *
 * Threading: the leg's reactor, but for what says otherwise.
 * Memory:    embedded in the leg; heirs are allocated, which no command is that has an answer.
 */
#ifndef VOLUME_LOCAL_H
#define VOLUME_LOCAL_H

#include <stdatomic.h>

#include "base/list.h"
#include "io/reactor.h"

struct leg;
struct leg_io;
struct leg_ops;
struct store_session;
struct store_volume;

struct local {
    /* Constant. */
    uint64_t tick_ns; /* A tenth of the patience; 0: it is alone, or closed: nothing is told. */
    struct reactor *home;

    struct list flying;    /* leg_io.task.link, the oldest first. */
    struct list kept;      /* Likewise. */
    struct list heirs;     /* heir.link */
    struct io_timer timer; /* While something is flying, or kept. */
    uint32_t ticks;
    bool well;                     /* It does not hang, and is not away. */
    bool lets_go;                  /* What has no answer is let go of, ... */
    struct status why;             /* ... and ends so. */
    struct list descriptions;      /* description.link: without an answer of the store. */
    bool describing;               /* leg_describe() waits for the last of them, ... */
    uint32_t described;            /* ... which began then. */
    struct store_session *closing; /* To be closed when nothing is flying; NULL: it is not. */
    void (*on_closed)(void *ctx);
    void *close_ctx;
    struct io_task close_task;

    /* Any reactor. */
    atomic_bool hangs; /* Its oldest command has no answer for half the patience. */
    atomic_bool away;  /* There are heirs. */
    _Atomic int told;  /* By home, as a status: OK: what has no answer is waited for. */
    atomic_bool tell_posted, late_posted, back_posted;
    struct io_msg tell_msg;           /* To the leg's reactor. */
    struct io_msg late_msg, back_msg; /* To home. */
};

/* The leg's session is not open.  Its reports are for home; patience_ns 0: there are none. */
void local_init(struct leg *leg, struct reactor *home, uint64_t patience_ns);

/* A command on its way to the store; false: it is kept, or ends with an error. */
bool local_admits(struct leg_io *io);

/* The store has answered. */
void local_on_answer(struct leg_io *io);

/* Home: from now on what has no answer is let go of, and ends with why; OK: it is not. */
void local_tell(struct leg *leg, struct status why);

/* leg_describe(): leg->outcome is TIMED_OUT if there is no answer for too long. */
void local_describe(struct leg *leg, const struct store_volume *volume);

/*
 * leg_close() of a session: what has no answer is let go of when it is late, and done follows when
 * nothing is left but heirs, which the session does not wait for; perhaps from in here.
 */
void local_close(struct leg *leg, void (*done)(void *ctx), void *ctx);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A leg: one disk's store, as one volume's engine sees it.  It hides where the store is: today a
 * store of this process, called directly on the reactor of its disk.
 *
 *     slice ---- leg_submit ---(message, if on another reactor)---> store_submit
 *     slice <--- done ---------(message, if on another reactor)---- store's done
 *
 * A leg counts what a Flush has to cover.  A write is counted on the store's reactor before its
 * completion travels back, and a Flush reads the count there after it was submitted, so that it
 * covers every write whose completion the host has seen (S1).
 *
 * Threading: a leg belongs to its store's reactor.  leg_submit() is called on any reactor of the
 *            node, and calls back there.
 * Memory:    commands are embedded in the engine's pieces.
 */
#ifndef VOLUME_LEG_H
#define VOLUME_LEG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/reactor.h"
#include "store/store.h"

struct leg_io;

/* A volume's losses: completed writes that may be gone, and which its host must hear of (S1). */
struct leg_losses {
    _Atomic uint64_t noted; /* How many; the number of the last. */
    _Atomic uint64_t heard; /* The host has heard of this one and all before. */
};

struct leg {
    /* Set while the volume is opened, constant after. */
    struct store *store; /* NULL: the disk is not available. */
    struct reactor *reactor;
    struct store_session *session; /* NULL: could not be opened. */
    uint64_t generation;
    bool continue_on_loss; /* on-unflushed-loss = continue. */
    bool has_peers;        /* It is one of several replicas: what it lost others may have. */
    struct status problem; /* Why there is no session. */
    struct leg_losses *losses;

    /* The store's reactor's. */
    bool may_have_lost; /* So its store says; leg_decide_loss() is to follow. */
    uint64_t loss; /* The last one of this disk that its store has not been told is heard; or 0. */
    uint64_t incarnation;
    uint64_t written; /* Commands completed that a Flush must cover. */
    uint64_t flushed; /* The value of written that the last good Flush covered. */

    /* Written on the store's reactor, read anywhere. */
    _Atomic uint64_t used_bytes; /* What the volume takes there, as of the last command. */
    _Atomic uint64_t incarnation_now;
};

struct leg_io {
    /* The caller's.  In store: opcode, fua, create, shard, offset, bytes, data, crcs, tick. */
    void *owner;   /* Whoever asks, and ... */
    unsigned slot; /* ... for which replica. */
    struct leg *leg;
    struct store_io store;
    struct reactor *reactor; /* Where leg_submit() was called and done will be. */
    void (*done)(struct leg_io *io);
    struct status status; /* Valid in done. */

    /* Private to leg.c. */
    struct io_msg msg;
    struct io_task task;
    uint64_t written; /* FLUSH: what it covers. */
};

/*
 * Prepares a leg that has no session yet.  store may be NULL.  reactor is the one of the store's
 * disk, or any if there is no store.  losses is the volume's.
 */
void leg_init(struct leg *leg, struct store *store, struct reactor *reactor, bool continue_on_loss,
              struct leg_losses *losses);

/*
 * Takes over what opening the session has brought.  leg->loss is not 0 where the host must be told
 * of a loss.  On the store's reactor.
 */
void leg_on_opened(struct leg *leg, const struct store_session_opened *opened);

/*
 * One of several replicas: whether what its store may have lost is gone (docs/replication.md, 7.7).
 * On the store's reactor.
 */
void leg_decide_loss(struct leg *leg, bool lost);

/* Closes the session, if there is one.  Nothing is in flight.  On the store's reactor. */
void leg_close(struct leg *leg);

/*
 * Starts a command at the leg's store, which must have a session.  A READ of a shard that the
 * store does not know fills with zeros (the engine knows that the volume has the shard there; it
 * was never written); a deallocate of one has nothing to do.  A FLUSH without anything to cover
 * does not reach the disk.  Where the disk's incarnation has changed, a FLUSH or FUA is
 * STALE_INCARNATION once, and a loss is noted, unless the volume continues on loss.
 */
void leg_submit(struct leg_io *io);

#endif

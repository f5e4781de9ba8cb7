/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device of the disk that is tested becomes larger now and then, while it is in use or while
 * nobody looks, and the store is asked to take that in.  What it has taken in it keeps (F34), and
 * whatever else happens is the other checkers' matter: nothing of it may change (F35).
 *
 * Threading: the store's reactor.   Memory: the world's, so that it outlives the store's process.
 */
#ifndef TESTS_SIM_GROWER_H
#define TESTS_SIM_GROWER_H

#include "blame.h"
#include "run.h"
#include "store/store.h"

struct grower {
    /* The caller's. */
    struct run *run;
    struct sim_disk *disk;
    const struct blame *blame;
    bool active;    /* Otherwise nothing grows. */
    bool only_full; /* Only when there is no space any more. */
    bool may_crash; /* Deaths may come in this life. */
    bool lied;      /* The disk is a liar that lost power: it may be as small as before. */

    uint64_t data_bytes; /* That the store has said it has. */

    /* Of the current life. */
    struct store *store; /* NULL: not open, or it is being closed. */
    struct reactor *reactor;
    struct io_timer timer;
    bool growing;
};

/* A process is about to begin: the device may have become larger meanwhile. */
void grower_begin_life(struct grower *g);

/* The store is open. */
void grower_start(struct grower *g, struct store *store, struct reactor *r);

/* A write has found no space: as good a moment as any. */
void grower_full(struct grower *g);

/* Before the store is closed. */
void grower_stop(struct grower *g);

#endif

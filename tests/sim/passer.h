/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that come and go on the disk of the one that is tested, while it is in use: each is
 * opened, written here and there, and deleted, in this life or a later one.  What was deleted may
 * not come back, and its places belong to others then (J2).
 *
 * Threading: the store's reactor.   Memory: the world's, so that it outlives the store's process.
 */
#ifndef TESTS_SIM_PASSER_H
#define TESTS_SIM_PASSER_H

#include "run.h"
#include "store/store.h"

struct passer {
    /* The caller's. */
    struct run *run;
    bool errors; /* Anything may fail. */
    bool lied;   /* The disk is a liar that lost power: a deletion may be lost with the rest. */

    uint32_t number; /* Of the volume that is there, or comes next. */
    uint64_t epoch;
    uint8_t *data;
    uint32_t crc;

    /* Of the current life. */
    struct store *store;
    struct store_session *session;
    uint64_t incarnation;
    uint64_t ops_left;
    bool stopping;
    struct store_io io;
};

void passer_init(struct passer *p);

/* Goes on, or not, beside whatever else the store is asked. */
void passer_start(struct passer *p, struct store *store);

/* Before the store is closed. */
void passer_stop(struct passer *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume beside the one that is tested, on the same disk: mostly idle, sometimes in use for a
 * moment at the beginning of a life.  It must be told of its own losses, and of no others.
 *
 * Threading: the store's reactor.   Memory: the world's, so that it outlives the store's process.
 */
#ifndef TESTS_SIM_BYSTANDER_H
#define TESTS_SIM_BYSTANDER_H

#include "loss.h"
#include "run.h"
#include "store/store.h"

struct bystander {
    /* The caller's. */
    struct run *run;
    bool errors; /* Anything may fail. */
    bool lied;   /* The disk is a liar that lost power: nobody knows what it knew. */
    void (*ready)(struct bystander *b);

    struct loss loss;
    uint64_t epoch;
    bool described; /* A session was confirmed: the disk knows the volume (S5). */
    uint8_t *data;
    uint32_t crc;

    /* Of the current life. */
    struct store *store;
    struct store_session *session; /* NULL: it could not be opened. */
    uint64_t incarnation;
    uint64_t ops_left;
    bool counts; /* The command under way may be lost. */
    uint64_t covered;
    struct store_io io;
};

void bystander_init(struct bystander *b);

/* Opens a session, and uses the volume, or not; then calls ready(). */
void bystander_start(struct bystander *b, struct store *store);

/* Before the store is closed. */
void bystander_stop(struct bystander *b);

#endif

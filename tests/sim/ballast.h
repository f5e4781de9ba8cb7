/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume beside the one that is tested that takes most of a disk's space, so that the disk is
 * full, or soon will be.
 *
 *   session --> writes until nothing more fits --> gives back here and there what is to be free
 *
 * It acts before anybody else uses the store, and says when it has ended.
 *
 * Threading: the disk's reactor; start and done on home.
 * Memory:    the world's, so that it outlives the store's process.
 */
#ifndef TESTS_SIM_BALLAST_H
#define TESTS_SIM_BALLAST_H

#include "run.h"
#include "store/store.h"

#define BALLAST_CELLS_MAX 1536 /* 24 MiB. */
#define BALLAST_NONE      UINT32_MAX

struct ballast {
    struct run *run;
    uint32_t left_cells; /* To be left free; BALLAST_NONE: it takes nothing. */

    uint64_t epoch;
    uint8_t *data;
    uint32_t crcs[4];
    bool held[BALLAST_CELLS_MAX]; /* Unless the power has failed since. */
    uint32_t held_count;

    /* Of the current life. */
    struct store *store;
    struct store_session *session;
    struct reactor *reactor, *home;
    uint32_t at;
    uint32_t to_free;
    struct store_io io;
    struct io_msg msg;
    void (*done)(void *ctx);
    void *ctx;
};

void ballast_init(struct ballast *b, struct run *run);

/* It begins anew, on another disk. */
void ballast_forget(struct ballast *b);

/* Whether ballast_start() would do anything. */
bool ballast_is_due(const struct ballast *b);

/* done follows. */
void ballast_start(struct ballast *b, struct store *store, struct reactor *reactor,
                   struct reactor *home, void (*done)(void *ctx), void *ctx);

#endif

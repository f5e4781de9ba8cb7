/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands at random for an open store, straight through store.h, each checked against a history.
 *
 * Two commands in flight never share a block: keeping them apart is the engine's work (R8).
 *
 * Threading: the store's reactor.
 * Memory:    the world's, so that it outlives the store's process.
 */
#ifndef TESTS_SIM_STORE_LOAD_H
#define TESTS_SIM_STORE_LOAD_H

#include "blame.h"
#include "history.h"
#include "loss.h"
#include "run.h"
#include "store/store.h"

#define LOAD_SLOTS_MAX    12
#define LOAD_BLOCKS_MAX   48 /* Of one command: more than a grain. */
#define LOAD_SHARD_BLOCKS 256u
#define LOAD_RECENT       6

struct store_load;

struct load_slot {
    struct store_load *load;
    struct store_io io;
    struct history_op op;
    uint64_t mark; /* Of blame, when it was submitted. */
    uint8_t *data;
    uint32_t crcs[LOAD_BLOCKS_MAX];
    bool busy;
    bool stale;       /* Sent to a session that was superseded: must change nothing (S4). */
    bool refused;     /* Submitted when the store had said that its disk failed. */
    bool counts;      /* May be lost with the power after it has completed. */
    uint64_t covered; /* By a Flush: loss_flush_begins(). */
};

struct store_load {
    struct run *run;
    struct history *history;
    struct loss loss;
    struct sim_disk *disk;
    struct store_volume volume;
    uint32_t shards;
    uint32_t generations; /* In use; the history has as many or more. */
    unsigned slots_count;
    uint64_t window_blocks; /* Commands concentrate on so many blocks ... */
    uint64_t window_first;  /* ... from here on. */
    unsigned flush_percent; /* Of the commands are Flush ... */
    unsigned zero_percent;  /* ... are Write Zeroes ... */
    unsigned fua_percent;   /* ... and of the changes have FUA. */
    unsigned grain_percent; /* Of the commands take a grain, whole ... */
    unsigned cell_percent;  /* ... and of the others stay in one cell. */
    bool lied;              /* A liar has lost power: it may have lost any of what it held. */
    struct blame blame;     /* What the disk's faults excuse. */
    bool may_fill;          /* Writes of new blocks may find the disk full. */

    /* Of the current life. */
    struct reactor *reactor;
    struct store_session *session;
    struct store_session *old_session; /* Superseded; for stale commands. */
    uint64_t incarnation;
    uint64_t ops_left;
    uint64_t verify_next; /* Blocks from here on are still to be read. */
    bool verifying;
    bool superseding;         /* Another session is being opened. */
    bool refusing;            /* The store has said that its disk failed. */
    bool broken;              /* No session: open the store again. */
    bool may_crash;           /* The power may fail in this life. */
    struct history_op zeroed; /* The last range that was, if no Flush has ended since. */
    unsigned busy;
    struct history_op recent[LOAD_RECENT]; /* Ranges that were changed: to be used again. */
    uint64_t recent_count;
    struct io_timer pause;
    /* A write found no space.  NULL: nobody wants to know. */
    void (*no_space)(struct store_load *load);
    /* Called when ops_left and verify are done and nothing is in flight, or when broken. */
    void (*idle)(struct store_load *load);

    struct load_slot slots[LOAD_SLOTS_MAX];
};

/* Makes the slots; the fields above have been set. */
void load_init(struct store_load *load);

/* Begins a life: ops commands, then, if verify, every block is read. */
void load_start(struct store_load *load, struct reactor *r, uint64_t ops, bool verify);

/* Whether commands of a session are in flight: none may be when a newer one is confirmed. */
bool load_is_busy_on(const struct store_load *load, const struct store_session *session);

/* Starts nothing for so long. */
void load_rest(struct store_load *load, uint64_t ns);

/* Starts what it can. */
void load_pump(struct store_load *load);

/* The process is dead: nothing is in flight any more. */
void load_died(struct store_load *load);

#endif

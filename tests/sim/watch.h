/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at what engines send to stores: every call of store_submit() goes through here (--wrap).
 *
 *   engine --> watch --> store
 *
 * It knows which blocks of which writes each disk has executed, by what the blocks name, so that an
 * acknowledgement can be held against it (R1); and it fails the run when an engine reads a replica
 * that was out when it took its epoch (I7).
 *
 * Threading: one thread.   Memory: the world's.
 */
#ifndef TESTS_SIM_WATCH_H
#define TESTS_SIM_WATCH_H

#include "registry.h"

#define WATCH_SHARDS_MAX 16

struct watch_command;

struct watch {
    struct run *run;
    const struct registry *registry;
    uint32_t copysets[WATCH_SHARDS_MAX]; /* Of each shard. */
    /* A command that is no host's is sent to a store.  In the process.  NULL is allowed. */
    void (*sees)(void *ctx, enum store_opcode opcode);
    void *ctx;
    bool auditing;      /* Whoever reads now may read everything. */
    uint64_t *executed; /* A set of hashes. */
    struct watch_command *under_way;
    unsigned under_way_count;
};

/* From now on, until watch_end(); one at a time. */
void watch_begin(struct watch *w, struct run *run);
void watch_end(void);

/* The process is gone, and with it its commands. */
void watch_forget(struct watch *w);

/* Whether the disk has executed a write of that content to the block. */
bool watch_has(const struct watch *w, struct uuid disk, uint64_t block, uint64_t content);

#endif

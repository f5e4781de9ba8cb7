/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at what engines send to stores: every call of store_submit() goes through here (--wrap).
 *
 *   engine --> watch --> store
 *
 * It knows which blocks of which writes each disk has executed, by what the blocks name, so that an
 * acknowledgement can be held against it (R1); and it fails the run when an engine reads a replica
 * for a host that lacks something acknowledged, or has been out since the epoch was taken (I7).
 * What a copy reads to compare it does not matter: those reads ask for the shard to be created.
 *
 * Threading: one thread.   Memory: the world's.
 */
#ifndef TESTS_SIM_WATCH_H
#define TESTS_SIM_WATCH_H

#include "registry.h"

#define WATCH_SHARDS_MAX 16
#define WATCH_BLOCKS_MAX 512 /* Of a shard. */

struct watch_command;

struct watch {
    struct run *run;
    const struct registry *registry;
    uint32_t copysets[WATCH_SHARDS_MAX]; /* Of each shard. */
    uint8_t lacking[WATCH_SHARDS_MAX];   /* Of each copyset: slots that lack something. */
    /* A command that is no host's is sent to a store.  In the process.  NULL is allowed. */
    void (*sees)(void *ctx, enum store_opcode opcode);
    /* A disk has executed a write.  In the process. */
    void (*wrote)(void *ctx, struct uuid disk);
    void *ctx;
    bool ignores;                         /* What is sent now is no engine's. */
    bool auditing;                        /* Whoever reads now may read everything. */
    uint64_t *executed;                   /* A set of hashes. */
    uint64_t (*latest)[WATCH_BLOCKS_MAX]; /* Of each shard: what a disk has executed last. */
    struct watch_command *under_way;
    unsigned under_way_count;
};

/* From now on, until watch_end(); one at a time. */
void watch_begin(struct watch *w, struct run *run);
void watch_end(void);

/* The process is gone, and with it its commands. */
void watch_forget(struct watch *w);

/*
 * The host was told that the write of a block at that offset of the shard has succeeded: whoever
 * has not executed it lacks it until it is a member again.  Returns the members among those, as the
 * record is now; none if the block has been overwritten while the answer was on its way: who has
 * become a member since need not have executed it.
 */
unsigned watch_acknowledged(struct watch *w, uint32_t shard, uint64_t offset, uint64_t block,
                            uint64_t content);

/* The record has changed. */
void watch_changed(struct watch *w, const struct group *was, const struct group *now);

#endif

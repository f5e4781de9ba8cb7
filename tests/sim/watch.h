/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at what the engines of one volume do, and at what stores execute for them: the calls
 * between them go through here (--wrap), on whatever nodes they are.
 *
 *   host --> command_submit() --> engine --> leg_submit() --(perhaps a link)--> store_submit()
 *                 |                              |                                   |
 *                 v                              v                                   v
 *        who acknowledges what          what is read, and copied         what disks have executed
 *
 * The run fails
 *   - when two engines acknowledge commands with the same epoch (R3);
 *   - when a write is acknowledged that some member has not executed, of those that the record had
 *     when it last was of the engine's epoch (R1);
 *   - when an engine reads, for a host or to copy it, a replica that was no member as long as the
 *     record was of its epoch, or lacks a write that it or an older engine has acknowledged (I7).
 *     What a newer one has acknowledged an older one need not know: that its reads complete no more
 *     by then is R7, of which the history tells;
 *   - when a resync copies a block which the replica has as it is, and so more than what differs;
 *     or counts other bytes than it sends.
 *
 * Threading: one thread.   Memory: the world's.
 */
#ifndef TESTS_SIM_WATCH_H
#define TESTS_SIM_WATCH_H

#include "registry.h"
#include "volume/layout.h"

#define WATCH_SHARDS_MAX   16
#define WATCH_COPYSETS_MAX 16
#define WATCH_BLOCKS_MAX   512 /* Of a shard. */
#define WATCH_DISKS_MAX    64  /* Ever; sets of them are bit masks. */

struct watch_calls;
struct watch_disk;
struct watch_epoch;

struct watch {
    /* The workload's, set after watch_begin(). */
    struct uuid volume;
    struct layout layout;
    uint32_t copysets[WATCH_SHARDS_MAX]; /* Of each shard. */
    /* A command that is no host's is sent to a store.  In the process.  NULL is allowed. */
    void (*sees)(void *ctx, enum store_opcode opcode);
    /* A disk has executed a write.  In the process.  NULL is allowed. */
    void (*wrote)(void *ctx, struct uuid disk);
    void *ctx;
    bool auditing; /* Whoever looks at stores now is no engine. */

    /* Private to watch.c and watch_engine.c. */
    struct run *run;
    struct watch *next;
    struct watch_epoch *epochs;           /* By their number, the last ones. */
    struct watch_disk *disks;             /* In the order in which they were heard of. */
    unsigned disk_count;                  /* Of these. */
    uint64_t *executed;                   /* A set of hashes. */
    uint64_t (*latest)[WATCH_BLOCKS_MAX]; /* Of each shard: what a disk has executed last. */
    struct watch_calls *calls;            /* Under way. */
};

/* From now on, until watch_end(), of which the last one ends all. */
void watch_begin(struct watch *w, struct run *run);
void watch_end(void);

/* The process is gone, and with it its calls. */
void watch_forget(struct watch *w, const struct sim_process *process);

/* The record has changed. */
void watch_changed(struct watch *w, const struct group *was, const struct group *now);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What watch.c, which looks at stores, and watch_engine.c, which looks at engines, share.
 *
 * Threading: one thread.   Memory: the world's.
 */
#ifndef TESTS_SIM_WATCH_INTERNAL_H
#define TESTS_SIM_WATCH_INTERNAL_H

#include "nvme/ns.h"
#include "watch.h"

#define WATCH_EPOCHS_MAX 256u /* That are remembered. */
#define WATCH_CALLS_MAX  4096u

/* What a disk has of a block. */
#define WATCH_UNKNOWN UINT64_C(0)
#define WATCH_ZERO    UINT64_C(1) /* Or nothing at all. */

/* A disk's replica of the volume. */
struct watch_disk {
    struct uuid uuid;
    /* By copyset: 0, or the lowest epoch of which an engine has acknowledged what it lacks. */
    uint64_t lacks[WATCH_COPYSETS_MAX];
    uint64_t process;                   /* Whose store has told what follows. */
    uint64_t (*held)[WATCH_BLOCKS_MAX]; /* Of each shard: names of contents; NULL: nothing. */
};

/* While the record was of this epoch. */
struct watch_epoch {
    uint64_t epoch;
    uint64_t process;    /* Who has acknowledged with it; 0: nobody yet. */
    struct io_addr addr; /* Of its machine. */
    const struct volume *engine;
    uint64_t members[WATCH_COPYSETS_MAX]; /* Disks, as they were at last ... */
    uint64_t been_in[WATCH_COPYSETS_MAX]; /* ... and at any time. */
};

/* Something whose end is awaited; of the process that it is in. */
struct watch_call {
    uint64_t process;
    const void *call; /* struct store_io, nvme_ns_req or, with is_copy, range_copy. */
    bool is_copy;
    union {
        struct {
            void (*done)(struct store_io *io);
            unsigned disk; /* Index; the session may be gone when it ends. */
        } store;
        struct {
            void (*done)(struct nvme_ns_req *req);
            const struct volume *volume;
        } host;
        struct {
            uint64_t counted; /* Bytes, before; ... */
            uint64_t sent;    /* ... and since. */
        } copy;
    };
};

struct watch_calls {
    struct watch_call items[WATCH_CALLS_MAX];
    unsigned count;
};

/* The one that looks at the volume now; NULL: none does. */
struct watch *watch_of(struct uuid volume);

/* Index of the disk, which may be a new one. */
unsigned watch_disk_index(struct watch *w, struct uuid disk);

void watch_call_begin(struct watch *w, const struct watch_call *call);

/* The call that was begun, and who looks at it; NULL: none was.  It moves with the next end. */
struct watch_call *watch_call_find(const void *call, struct watch **out_w);
void watch_call_end(struct watch *w, struct watch_call *call);

/* Whether the disk has executed a write of that content to the block, by its names. */
bool watch_has(const struct watch *w, unsigned disk, uint64_t block, uint64_t content);

/* What was written last, whatever disk has executed it; 0: nothing that has a name. */
uint64_t *watch_latest(const struct watch *w, uint32_t shard, uint64_t offset);

/* A read of an engine of the store's process is about to be executed. */
void watch_local_read(struct watch *w, const struct store_io *io);

/* Name of what a disk has. */
uint64_t watch_held(const struct watch *w, unsigned disk, uint32_t shard, uint64_t offset);
uint64_t watch_name(const uint8_t *block);

#endif

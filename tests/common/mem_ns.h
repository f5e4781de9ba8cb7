/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace in memory, for tests of the target.  It can hold requests back, fail them, and tell
 * of losses.
 *
 * Threading: as nvme/ns.h says; hold, release and fail are for tests with one reactor.
 * Memory:    bytes of address space, touched as they are written.
 */
#ifndef TESTS_COMMON_MEM_NS_H
#define TESTS_COMMON_MEM_NS_H

#include <pthread.h>

#include "nvme/ns.h"

struct mem_ns {
    struct nvme_ns ns;
    struct nvme_ns_info info;
    pthread_mutex_t lock; /* Of memory: hosts may race for a block, the namespace may not. */
    uint8_t *memory;
    bool hold; /* Requests wait in held. */
    struct list held;
    bool begun;                  /* What is held can be canceled no more. */
    struct status fail;          /* What requests end with; OK to execute them. */
    _Atomic uint64_t loss;       /* Flush and FUA tell of this one, see nvme/ns.h; 0 for none. */
    _Atomic uint64_t loss_heard; /* Up to this one. */
    _Atomic unsigned flushes;
    _Atomic unsigned fuas;
    _Atomic unsigned requests;
};

/* A namespace of zeros; bytes is a multiple of lba_bytes, which is 512 or 4096. */
struct status mem_ns_init(struct mem_ns *mem, uint64_t bytes, uint32_t lba_bytes) MUST_CHECK;
void mem_ns_fini(struct mem_ns *mem);

/* Executes the requests that were held back, and holds no more. */
void mem_ns_release(struct mem_ns *mem);

#endif

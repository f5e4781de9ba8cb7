/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor's commands on a piece of memory, for tests of the target.  It can hold requests back,
 * and answers them as it is told.
 *
 * Threading: as nvme/vendor.h says, with hold and release for tests with one reactor.
 * Memory:    the test's.
 */
#ifndef TESTS_UNIT_NVME_MEM_VENDOR_H
#define TESTS_UNIT_NVME_MEM_VENDOR_H

#include "nvme/limits.h"
#include "nvme/target.h"

#define MEM_VENDOR_NQN    "nqn.2026-01.io.trilith:store:4f1c9e0a-4f0e-4a53-9d0e-5c8a3c1d7b11"
#define MEM_VENDOR_PUT    0x81 /* Data to memory at CDW10. */
#define MEM_VENDOR_GET    0x82 /* And from there. */
#define MEM_VENDOR_DO     0x84
#define MEM_VENDOR_BYTES  (2 * NVME_DATA_BYTES_MAX)
#define MEM_VENDOR_BAD    0xbad /* CDW3 of a command that check() refuses, ... */
#define MEM_VENDOR_REFUSE 0x70a /* ... and how. */

struct mem_vendor {
    struct nvme_vendor vendor;
    struct nvme_subsys *subsys;
    const char *denied;    /* The NQN of a host that may not connect. */
    struct status refused; /* What opened() returns; OK. */
    uint16_t status;       /* With what requests end. */
    bool hold;             /* Requests wait in held. */
    struct list held;
    unsigned opened, closing, closed;
    unsigned requests;
    uint8_t entry[NVME_SQE_BYTES]; /* Of the last request. */
    void *association;             /* Likewise. */
    struct reactor *reactor;       /* Likewise. */
    uint8_t memory[MEM_VENDOR_BYTES];
};

/* Adds a subsystem to the target; the vendor is big, and comes from the heap. */
struct mem_vendor *mem_vendor_add(struct nvme_target *target);

/* After the target has gone. */
void mem_vendor_free(struct mem_vendor *mem);

/* Executes what was held back, the last first, and holds no more. */
void mem_vendor_release(struct mem_vendor *mem);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reactor on io_uring.
 */
#ifndef IO_URING_H
#define IO_URING_H

#include "io/reactor.h"

#define URING_SPIN_OFF  0
#define URING_SPIN_AUTO UINT64_MAX

struct uring_config {
    unsigned index;         /* reactor.index. */
    unsigned entries;       /* Submission queue entries, a power of two; 0 for the default. */
    uint64_t spin_ns;       /* How long to spin before sleeping; URING_SPIN_OFF or _AUTO too. */
    uint64_t features_mask; /* Kernel features not to use, URING_FEATURE_*; for tests. */
    struct log *log;        /* Borrowed; outlives the reactor. */
};

/*
 * Creates a reactor.  It belongs to the calling thread until reactor_run() is called, which may
 * be on another thread.  UNSUPPORTED if the kernel is older than 5.14 or forbids io_uring;
 * NO_MEMORY if RLIMIT_MEMLOCK or memory is too small.
 */
struct status uring_reactor_create(const struct uring_config *config,
                                   struct reactor **out_reactor) MUST_CHECK;

#endif

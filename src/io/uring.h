/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reactor on io_uring.
 *
 * Needs Linux 5.14.  What newer kernels offer is probed at creation and used where it is there.
 *
 * Threading: uring_reactor_create() may be called on any thread.
 * Memory:    everything is allocated at creation.
 */
#ifndef IO_URING_H
#define IO_URING_H

#include "io/reactor.h"
#include "io/uring_features.h"

#define URING_SPIN_OFF  0
#define URING_SPIN_AUTO UINT64_MAX

struct uring_config {
    unsigned index;         /* reactor.index. */
    unsigned entries;       /* Submission queue entries, a power of two; 0 for the default. */
    uint64_t spin_ns;       /* How long to spin before sleeping; URING_SPIN_OFF or _AUTO too. */
    uint64_t features_mask; /* Kernel features not to use, URING_FEATURE_*. */
    struct log *log;        /* Borrowed; outlives the reactor. */
};

/*
 * Creates a reactor.  It belongs to the calling thread until reactor_run() is called, which may
 * be on another thread.  UNSUPPORTED if the kernel is older than 5.14 or forbids io_uring;
 * NO_MEMORY if RLIMIT_MEMLOCK or memory is too small.
 */
struct status uring_reactor_create(const struct uring_config *config,
                                   struct reactor **out_reactor) MUST_CHECK;

/*
 * The URING_FEATURE_* that this reactor, which is one of this backend, uses now.  Some are proved
 * by use, and may be gone later: discard of block devices and registered buffers.  Any thread.
 */
uint64_t uring_reactor_features(const struct reactor *r);

#endif

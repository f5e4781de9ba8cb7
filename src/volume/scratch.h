/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of a slice, of one kind of its work, for blocks that do not go to the host as they are:
 *
 *   the reactor's, which all volumes share --(all in use)--> its own --(in use)--> wait for that
 *
 * So what has some may wait for as long as it has to, as writes do for a member that is away
 * (docs/replication.md, 11.4): nobody else waits for it but the same work of the same volume, which
 * ends when that is fenced.
 *
 * Threading: the slice's reactor; created and destroyed on home, while nothing has any.
 * Memory:    BUF_BYTES_MAX of its own, which is touched when the reactor's has run out; it outlives
 *            the slice where a disk that hangs has some.
 */
#ifndef VOLUME_SCRATCH_H
#define VOLUME_SCRATCH_H

#include "io/buf.h"

struct scratch_pool {
    struct buf_pool *shared; /* The reactor's.  Borrowed; nobody waits for it. */
    struct buf_pool *own;
};

struct status scratch_pool_init(struct scratch_pool *p, struct reactor *r,
                                struct buf_pool *shared) MUST_CHECK;
void scratch_pool_fini(struct scratch_pool *p);

/* Who has the memory, which may be held there (docs/replication.md, 6.7). */
struct buf_pool *scratch_pool_of(const struct scratch_pool *p, struct span memory);

/* As buf_get(), buf_put() and buf_wait(). */
struct span scratch_get(struct scratch_pool *p, size_t bytes);
void scratch_put(struct scratch_pool *p, struct span memory);
void scratch_wait(struct scratch_pool *p, struct buf_waiter *waiter);

#endif

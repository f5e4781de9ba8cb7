/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for data in flight: contiguous, 4 KiB aligned buffers in power-of-two sizes from 4 KiB
 * to BUF_BYTES_MAX, out of one arena per reactor that is sized at start.
 *
 * An empty pool is back-pressure: buf_get() says no, and the caller queues itself with
 * buf_wait(), to be called when something was put back.
 *
 * Threading: a pool belongs to its reactor.
 * Memory:    the arena is mapped at init and touched only as it is used.
 */
#ifndef IO_BUF_H
#define IO_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"

#define BUF_BYTES_MIN ((size_t)4096)
#define BUF_BYTES_MAX ((size_t)512 << 10)
#define BUF_CLASSES   8 /* 4K, 8K, ... 512K. */

struct buf_pool;
struct reactor;

struct buf_waiter {
    struct list_node link; /* Private. */
    uint64_t puts;         /* Private. */
    void (*retry)(struct buf_waiter *waiter);
};

/* Creates r's pool of at least arena_bytes (rounded up to BUF_BYTES_MAX). */
struct status buf_pool_create(struct reactor *r, size_t arena_bytes,
                              struct buf_pool **out_pool) MUST_CHECK;

/* The same, for memory that is seldom used: the kernel does not pin it (reactor_lend_memory()). */
struct status buf_pool_create_plain(struct reactor *r, size_t arena_bytes,
                                    struct buf_pool **out_pool) MUST_CHECK;

/* All buffers must be back, and nothing held.  NULL is allowed. */
void buf_pool_destroy(struct buf_pool *pool);

/* The same, on any reactor, and when nothing is held any more (struct buf_hold). */
void buf_pool_discard(struct buf_pool *pool);

/*
 * Takes a buffer of at least bytes bytes (1 to BUF_BYTES_MAX).  The span's length is bytes, its
 * content is undefined.  An empty span (at == NULL) if there is none, or if others wait already.
 */
struct span buf_get(struct buf_pool *pool, size_t bytes);

/* Gives a buffer back.  An empty span is allowed.  Waiters are called at the end of the turn. */
void buf_put(struct buf_pool *pool, struct span buf);

/* Calls waiter->retry once, in turn, when a buffer may be had.  First come, first served. */
void buf_wait(struct buf_pool *pool, struct buf_waiter *waiter);
void buf_wait_cancel(struct buf_pool *pool, struct buf_waiter *waiter);

/*
 * Calls watcher->retry once, in turn, when a buffer has been put back: for those who could have one
 * and leave it to others.  Unlike waiters they hold up nobody.  So many are called in one turn of
 * the loop.  Whoever watches already keeps his place.
 */
#define BUF_WATCHERS_PER_TURN 8
void buf_watch(struct buf_pool *pool, struct buf_waiter *watcher);
void buf_watch_cancel(struct buf_pool *pool, struct buf_waiter *watcher);

/* Whether a buffer is of this pool; an empty span is of none. */
bool buf_pool_has(const struct buf_pool *pool, struct span buf);

/*
 * Memory inside a buffer that somebody else may still read or write, such as a disk that hangs,
 * when the owner of the buffer has no more use for it.  A buffer that is put back is handed out
 * again when nothing of it is held any more.  On the pool's reactor.
 */
struct buf_hold {
    struct list_node link; /* Private. */
    struct span memory;
    struct span buf; /* The buffer, if it has been put back. */
};

void buf_hold(struct buf_pool *pool, struct buf_hold *hold, struct span memory);
void buf_release(struct buf_pool *pool, struct buf_hold *hold);

struct reactor *buf_pool_reactor(const struct buf_pool *pool);

/* Bytes that are not in use now, whatever sizes they are cut into. */
size_t buf_pool_free(const struct buf_pool *pool);

/* How many bytes of a pool a buffer for so many takes. */
size_t buf_bytes_taken(size_t bytes);

/* Bytes in use now: of each buffer, what it takes. */
size_t buf_pool_used(const struct buf_pool *pool);

#endif

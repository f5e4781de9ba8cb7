/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena is cut into slabs of BUF_BYTES_MAX.  A slab is free, or it belongs to one size class
 * and is cut into buffers of that size, with a bit for each free one:
 *
 *   | 4K 4K 4K ... 4K | 64K 64K ... 64K | free | 512K | ...
 *
 * Each class lists its slabs that have a free buffer; a slab whose last buffer comes back is free
 * again.  The lowest free buffer is handed out first, so that a lightly loaded pool keeps to the
 * same few cache lines and pages.
 */
#include "io/buf.h"

#include <assert.h>
#include <stdlib.h>

#include "io/pages.h"
#include "io/reactor.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define SLAB_BYTES     BUF_BYTES_MAX
#define SLAB_BUFS_MAX  (SLAB_BYTES / BUF_BYTES_MIN)
#define SLAB_MAP_WORDS (SLAB_BUFS_MAX / 64)

_Static_assert(BUF_BYTES_MIN << (BUF_CLASSES - 1) == BUF_BYTES_MAX, "classes cover all sizes");
_Static_assert(SLAB_BUFS_MAX % 64 == 0, "the map has whole words");

struct slab {
    struct list_node link; /* In free_slabs, or in its class's partial list if a buffer is free. */
    unsigned size_class;
    unsigned free_count;
    uint64_t free_map[SLAB_MAP_WORDS];
};

struct buf_pool {
    struct reactor *reactor;
    uint8_t *arena;
    size_t arena_bytes;
    struct slab *slabs;
    struct list free_slabs;
    struct list partial[BUF_CLASSES];
    size_t used_bytes;
    struct list holds; /* buf_hold.link */
    bool discarded;    /* It is destroyed when nothing is held. */
    struct io_msg discard_msg;
    bool lent; /* To the reactor, for reads and writes of files; or it is not to be. */

    struct list waiters;
    struct list watchers; /* Those that came before the last put are first. */
    uint64_t puts;
    struct io_task serve;
    bool serving;      /* A waiter is inside its retry(): it may overtake the others. */
    bool refused;      /* It has queued itself again. */
    bool put_since_no; /* A buffer came back after buf_get() last said no. */
};

static size_t class_bytes(unsigned size_class)
{
    return BUF_BYTES_MIN << size_class;
}

static unsigned class_of(size_t bytes)
{
    unsigned size_class = 0;
    while (class_bytes(size_class) < bytes)
        size_class++;
    return size_class;
}

static size_t slab_index(const struct buf_pool *pool, const struct slab *slab)
{
    return (size_t)(slab - pool->slabs);
}

static void slab_assign(struct slab *slab, unsigned size_class)
{
    const unsigned count = (unsigned)(SLAB_BYTES / class_bytes(size_class));

    slab->size_class = size_class;
    slab->free_count = count;
    for (unsigned w = 0; w < SLAB_MAP_WORDS; w++) {
        const unsigned first = w * 64;
        if (count <= first)
            slab->free_map[w] = 0;
        else if (count - first >= 64)
            slab->free_map[w] = UINT64_MAX;
        else
            slab->free_map[w] = (UINT64_C(1) << (count - first)) - 1;
    }
}

/* Takes the slab's lowest free buffer; there is one. */
static unsigned slab_take(struct slab *slab)
{
    unsigned w = 0;

    assert(slab->free_count > 0);
    while (slab->free_map[w] == 0)
        w++;
    assert(w < SLAB_MAP_WORDS);
    const unsigned bit = (unsigned)__builtin_ctzll(slab->free_map[w]);
    slab->free_map[w] &= slab->free_map[w] - 1;
    slab->free_count--;
    return w * 64 + bit;
}

/* A slab with a free buffer of the class, cutting up a free one if needed; NULL if none. */
static struct slab *class_slab(struct buf_pool *pool, unsigned size_class)
{
    struct list_node *n = list_first(&pool->partial[size_class]);
    if (n != NULL)
        return CONTAINER_OF(n, struct slab, link);
    n = list_pop_front(&pool->free_slabs);
    if (n == NULL)
        return NULL;
    struct slab *const slab = CONTAINER_OF(n, struct slab, link);
    slab_assign(slab, size_class);
    list_push_back(&pool->partial[size_class], &slab->link);
    return slab;
}

struct span buf_get(struct buf_pool *pool, size_t bytes)
{
    assert(bytes > 0);
    assert(bytes <= BUF_BYTES_MAX);
    assert(reactor_is_current(pool->reactor));

    if (!pool->serving && !list_empty(&pool->waiters))
        return (struct span) { 0 };
    const unsigned size_class = class_of(bytes);
    struct slab *const slab = class_slab(pool, size_class);
    if (slab == NULL) {
        pool->put_since_no = false;
        return (struct span) { 0 };
    }
    if (!pool->lent) { /* Not at creation, which may be on another thread. */
        pool->lent = true;
        reactor_lend_memory(pool->reactor, (struct span) { pool->arena, pool->arena_bytes },
                            SLAB_BYTES);
    }
    const unsigned index = slab_take(slab);
    if (slab->free_count == 0)
        list_remove(&slab->link);
    pool->used_bytes += class_bytes(size_class);
    uint8_t *const at =
        pool->arena + slab_index(pool, slab) * SLAB_BYTES + index * class_bytes(size_class);
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    return (struct span) { at, bytes };
}

static void slab_give(struct buf_pool *pool, struct slab *slab, size_t index)
{
    const uint64_t bit = UINT64_C(1) << (index % 64);

    assert((slab->free_map[index / 64] & bit) == 0);
    slab->free_map[index / 64] |= bit;
    if (slab->free_count++ == 0)
        list_push_front(&pool->partial[slab->size_class], &slab->link);
    if (slab->free_count * class_bytes(slab->size_class) == SLAB_BYTES) {
        list_remove(&slab->link);
        list_push_front(&pool->free_slabs, &slab->link);
    }
}

/* Whether some of the buffer is held: then it is put back by the last one's release. */
static bool put_is_held(struct buf_pool *pool, struct span buf)
{
    LIST_FOR_EACH (n, &pool->holds) {
        struct buf_hold *const hold = CONTAINER_OF(n, struct buf_hold, link);
        if (hold->memory.at >= buf.at + buf.bytes || buf.at >= hold->memory.at + hold->memory.bytes)
            continue;
        hold->buf = buf;
        return true;
    }
    return false;
}

void buf_put(struct buf_pool *pool, struct span buf)
{
    if (buf.at == NULL)
        return;
    assert(reactor_is_current(pool->reactor));
    assert(buf.at >= pool->arena);
    assert(buf.at < pool->arena + pool->arena_bytes);

    pool->puts++; /* Also of one that is held: its owner may count it no more. */
    if (!list_empty(&pool->watchers))
        reactor_defer(pool->reactor, &pool->serve);
    if (!list_empty(&pool->holds) && put_is_held(pool, buf))
        return;
    const size_t offset = (size_t)(buf.at - pool->arena);
    struct slab *const slab = &pool->slabs[offset / SLAB_BYTES];
    const size_t bytes = class_bytes(slab->size_class);
    assert(offset % bytes == 0);
    ASAN_POISON_MEMORY_REGION(buf.at, bytes);
    slab_give(pool, slab, offset % SLAB_BYTES / bytes);
    pool->used_bytes -= bytes;
    pool->put_since_no = true;
    if (!list_empty(&pool->waiters))
        reactor_defer(pool->reactor, &pool->serve);
}

void buf_hold(struct buf_pool *pool, struct buf_hold *hold, struct span memory)
{
    assert(reactor_is_current(pool->reactor));
    assert(memory.at >= pool->arena && memory.bytes > 0);
    assert(memory.at + memory.bytes <= pool->arena + pool->arena_bytes);

    *hold = (struct buf_hold) { .memory = memory };
    list_node_init(&hold->link);
    list_push_back(&pool->holds, &hold->link);
}

void buf_release(struct buf_pool *pool, struct buf_hold *hold)
{
    assert(reactor_is_current(pool->reactor));

    list_remove(&hold->link);
    buf_put(pool, hold->buf); /* Perhaps to the next one who holds some of it. */
    if (pool->discarded && list_empty(&pool->holds))
        buf_pool_destroy(pool);
}

static void discard_deliver(struct io_msg *msg)
{
    struct buf_pool *const pool = CONTAINER_OF(msg, struct buf_pool, discard_msg);

    pool->discarded = true;
    if (list_empty(&pool->holds))
        buf_pool_destroy(pool);
}

void buf_pool_discard(struct buf_pool *pool)
{
    if (pool == NULL)
        return;
    pool->discard_msg.deliver = discard_deliver;
    reactor_post(pool->reactor, &pool->discard_msg);
}

struct reactor *buf_pool_reactor(const struct buf_pool *pool)
{
    return pool->reactor;
}

static struct buf_waiter *first_watcher(const struct buf_pool *pool)
{
    struct list_node *const n = list_first(&pool->watchers);

    if (n == NULL || CONTAINER_OF(n, struct buf_waiter, link)->puts == pool->puts)
        return NULL;
    return CONTAINER_OF(n, struct buf_waiter, link);
}

/* Calls the watchers that came before the last put, as many as a turn allows. */
static void pool_call_watchers(struct buf_pool *pool)
{
    struct buf_waiter *watcher;

    for (unsigned i = 0; i < BUF_WATCHERS_PER_TURN; i++) {
        watcher = first_watcher(pool);
        if (watcher == NULL)
            return;
        list_remove(&watcher->link);
        watcher->retry(watcher);
    }
    if (first_watcher(pool) != NULL)
        reactor_defer(pool->reactor, &pool->serve);
}

/* Lets the waiters try in turn until one finds too little: it keeps its place at the front. */
static void pool_serve(struct io_task *task)
{
    struct buf_pool *const pool = CONTAINER_OF(task, struct buf_pool, serve);
    struct list_node *n;

    pool->refused = false;
    while (!pool->refused && (n = list_pop_front(&pool->waiters)) != NULL) {
        struct buf_waiter *const waiter = CONTAINER_OF(n, struct buf_waiter, link);
        pool->serving = true;
        waiter->retry(waiter);
        pool->serving = false;
    }
    pool_call_watchers(pool);
}

void buf_wait(struct buf_pool *pool, struct buf_waiter *waiter)
{
    assert(reactor_is_current(pool->reactor));
    assert(waiter->retry != NULL);

    list_node_init(&waiter->link);
    if (pool->serving) {
        pool->refused = true;
        list_push_front(&pool->waiters, &waiter->link);
    } else {
        list_push_back(&pool->waiters, &waiter->link);
    }
    /* What came back between the refusal and this call wakes nobody else. */
    if (pool->put_since_no)
        reactor_defer(pool->reactor, &pool->serve);
}

void buf_wait_cancel(struct buf_pool *pool, struct buf_waiter *waiter)
{
    assert(reactor_is_current(pool->reactor));

    list_remove(&waiter->link);
    /* It may have held up others that want less. */
    if (!list_empty(&pool->waiters))
        reactor_defer(pool->reactor, &pool->serve);
}

void buf_watch(struct buf_pool *pool, struct buf_waiter *watcher)
{
    assert(reactor_is_current(pool->reactor));
    assert(watcher->retry != NULL);

    if (list_node_linked(&watcher->link))
        return;
    watcher->puts = pool->puts;
    list_push_back(&pool->watchers, &watcher->link);
}

void buf_watch_cancel(struct buf_pool *pool, struct buf_waiter *watcher)
{
    assert(reactor_is_current(pool->reactor));

    list_remove(&watcher->link);
}

bool buf_pool_has(const struct buf_pool *pool, struct span buf)
{
    return buf.at != NULL && buf.at >= pool->arena && buf.at < pool->arena + pool->arena_bytes;
}

size_t buf_pool_free(const struct buf_pool *pool)
{
    return pool->arena_bytes - pool->used_bytes;
}

size_t buf_bytes_taken(size_t bytes)
{
    assert(bytes <= BUF_BYTES_MAX);
    return class_bytes(class_of(bytes));
}

size_t buf_pool_used(const struct buf_pool *pool)
{
    return pool->used_bytes;
}

struct status buf_pool_create(struct reactor *r, size_t arena_bytes, struct buf_pool **out_pool)
{
    const size_t bytes = round_up_u64(max_u64(arena_bytes, SLAB_BYTES), SLAB_BYTES);
    struct buf_pool *const pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return STATUS(NO_MEMORY);

    pool->reactor = r;
    pool->arena_bytes = bytes;
    list_init(&pool->free_slabs);
    list_init(&pool->waiters);
    list_init(&pool->watchers);
    list_init(&pool->holds);
    for (unsigned i = 0; i < BUF_CLASSES; i++)
        list_init(&pool->partial[i]);
    io_task_init(&pool->serve, pool_serve);

    pool->slabs = calloc(bytes / SLAB_BYTES, sizeof *pool->slabs);
    struct status st = pool->slabs == NULL ? STATUS(NO_MEMORY) : STATUS(OK);
    if (status_ok(st))
        st = pages_map(bytes, false, &pool->arena);
    if (!status_ok(st)) {
        buf_pool_destroy(pool);
        return st;
    }
    for (size_t i = 0; i < bytes / SLAB_BYTES; i++) {
        list_node_init(&pool->slabs[i].link);
        list_push_back(&pool->free_slabs, &pool->slabs[i].link);
    }
    ASAN_POISON_MEMORY_REGION(pool->arena, bytes);
    *out_pool = pool;
    return STATUS(OK);
}

struct status buf_pool_create_plain(struct reactor *r, size_t arena_bytes,
                                    struct buf_pool **out_pool)
{
    TRY(buf_pool_create(r, arena_bytes, out_pool));
    (*out_pool)->lent = true;
    return STATUS(OK);
}

void buf_pool_destroy(struct buf_pool *pool)
{
    if (pool == NULL)
        return;
    assert(pool->used_bytes == 0);
    assert(list_empty(&pool->waiters));
    assert(list_empty(&pool->watchers));
    assert(list_empty(&pool->holds));

    list_remove(&pool->serve.link);
    if (pool->arena != NULL) {
        reactor_take_back_memory(pool->reactor, (struct span) { pool->arena, pool->arena_bytes });
        ASAN_UNPOISON_MEMORY_REGION(pool->arena, pool->arena_bytes);
        pages_unmap(pool->arena, pool->arena_bytes);
    }
    free(pool->slabs);
    free(pool);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device in memory.  Requests gather in a list and complete in one task at the end of the turn,
 * with one copy each.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "disk/dev_internal.h"
#include "io/pages.h"

#define MEM_ALIGN_BYTES  512
#define MEM_ATOMIC_BYTES 4096
#define CACHE_LINE_BYTES 64
#define PREFETCH_BYTES   1024 /* As many lines as a core loads at once; more would wait. */

struct dev_mem {
    struct dev base;
    uint8_t *content;
    bool owned;
    struct list pending;
    struct io_task complete;
};

static void mem_transfer(struct dev_mem *m, struct dev_io *io)
{
    if (io->data.bytes == 0)
        return;
    if (io->kind == DEV_KIND_READ)
        memcpy(io->data.at, m->content + io->offset, io->data.bytes);
    if (io->kind == DEV_KIND_WRITE)
        memcpy(m->content + io->offset, io->data.at, io->data.bytes);
}

/*
 * Starts to load what the next request copies, while this one is finished: its checksum is worked
 * out in the cache and leaves the memory idle.  The processor sees the pattern and loads the rest.
 */
static void mem_prefetch(const struct dev_mem *m, const struct dev_io *next)
{
    const uint8_t *const at = m->content + next->offset;
    const size_t bytes = min_u64(next->data.bytes, PREFETCH_BYTES);

    for (size_t i = 0; i < bytes; i += CACHE_LINE_BYTES)
        __builtin_prefetch(at + i);
}

/* Completes what was there when the turn ended; what the callbacks start waits for the next. */
static void mem_complete(struct io_task *task)
{
    struct dev_mem *const m = CONTAINER_OF(task, struct dev_mem, complete);
    struct list now;
    struct list_node *n;

    list_init(&now);
    list_splice_back(&now, &m->pending);
    while ((n = list_pop_front(&now)) != NULL) {
        struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);
        mem_transfer(m, io);
        if (!list_empty(&now))
            mem_prefetch(m, CONTAINER_OF(list_first(&now), struct dev_io, link));
        dev_io_finish(io, STATUS(OK));
    }
}

static void mem_start(struct dev *dev, struct dev_io *io)
{
    struct dev_mem *const m = CONTAINER_OF(dev, struct dev_mem, base);

    list_push_back(&m->pending, &io->link);
    reactor_defer(dev->reactor, &m->complete);
}

static void mem_close(struct dev *dev)
{
    struct dev_mem *const m = CONTAINER_OF(dev, struct dev_mem, base);

    assert(list_empty(&m->pending));
    list_remove(&m->complete.link);
    if (m->owned)
        pages_unmap(m->content, m->base.info.bytes);
    free(m);
}

static const struct dev_ops mem_ops = { .start = mem_start, .close = mem_close };

struct status dev_mem_open(struct reactor *r, uint64_t bytes, uint8_t *backing,
                           struct dev **out_dev)
{
    assert(bytes % MEM_ALIGN_BYTES == 0);

    struct dev_mem *const m = calloc(1, sizeof *m);
    if (m == NULL)
        return STATUS(NO_MEMORY);
    m->content = backing;
    const struct status st = backing != NULL ? STATUS(OK) : pages_map(bytes, true, &m->content);
    if (!status_ok(st)) {
        free(m);
        return st;
    }
    m->base.ops = &mem_ops;
    m->base.reactor = r;
    m->base.info = (struct dev_info) {
        .bytes = bytes,
        .align_bytes = MEM_ALIGN_BYTES,
        .physical_bytes = MEM_ATOMIC_BYTES,
        .atomic_bytes = MEM_ATOMIC_BYTES,
        .backend = "mem",
        .path = "memory",
    };
    m->owned = backing == NULL;
    list_init(&m->pending);
    io_task_init(&m->complete, mem_complete);
    *out_dev = &m->base;
    return STATUS(OK);
}

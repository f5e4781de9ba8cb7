/* SPDX-License-Identifier: Apache-2.0 */
#include "hollow.h"

#include <stdlib.h>
#include <string.h>

#include "disk/dev_internal.h"
#include "disk/layout.h"
#include "io/pages.h"

struct hollow {
    struct dev base;
    uint64_t data_offset; /* From here on nothing is kept. */
    uint8_t *content;
    struct list pending;
    struct io_task complete;
};

static void transfer(struct hollow *h, struct dev_io *io)
{
    const bool kept = io->offset < h->data_offset;

    if (io->kind == DEV_KIND_READ && kept)
        memcpy(io->data.at, h->content + io->offset, io->data.bytes);
    else if (io->kind == DEV_KIND_READ)
        memset(io->data.at, 0, io->data.bytes);
    else if (io->kind == DEV_KIND_WRITE && kept)
        memcpy(h->content + io->offset, io->data.at, io->data.bytes);
}

static void complete(struct io_task *task)
{
    struct hollow *const h = CONTAINER_OF(task, struct hollow, complete);
    struct list now;
    struct list_node *n;

    list_init(&now);
    list_splice_back(&now, &h->pending);
    while ((n = list_pop_front(&now)) != NULL) {
        struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);
        transfer(h, io);
        dev_io_finish(io, STATUS(OK));
    }
}

static void hollow_start(struct dev *dev, struct dev_io *io)
{
    struct hollow *const h = CONTAINER_OF(dev, struct hollow, base);

    list_push_back(&h->pending, &io->link);
    reactor_defer(dev->reactor, &h->complete);
}

static void hollow_close(struct dev *dev)
{
    struct hollow *const h = CONTAINER_OF(dev, struct hollow, base);

    list_remove(&h->complete.link);
    pages_unmap(h->content, h->data_offset);
    free(h);
}

static const struct dev_ops hollow_ops = { .start = hollow_start, .close = hollow_close };

struct status hollow_open(struct reactor *r, uint64_t bytes, struct dev **out_dev)
{
    struct disk_layout layout;

    TRY(disk_layout_make(bytes, &layout));
    struct hollow *const h = calloc(1, sizeof *h);
    if (h == NULL)
        return STATUS(NO_MEMORY);
    h->data_offset = layout.part[LAYOUT_DATA].offset;
    const struct status st = pages_map(h->data_offset, false, &h->content);
    if (!status_ok(st)) {
        free(h);
        return st;
    }
    h->base = (struct dev) {
        .ops = &hollow_ops,
        .reactor = r,
        .info = { .bytes = bytes,
                  .align_bytes = 4096,
                  .physical_bytes = 4096,
                  .atomic_bytes = 4096,
                  .has_volatile_cache = true,
                  .backend = "hollow",
                  .path = "memory" },
    };
    list_init(&h->pending);
    io_task_init(&h->complete, complete);
    *out_dev = &h->base;
    return STATUS(OK);
}

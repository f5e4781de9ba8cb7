/* SPDX-License-Identifier: Apache-2.0 */
#include "hollow.h"

#include <stdlib.h>
#include <string.h>

#include "disk/dev_internal.h"
#include "disk/superblock.h"
#include "io/pages.h"

struct hollow {
    struct dev base;
    uint64_t data_offset; /* From here on nothing is kept. */
    struct disk_layout layout;
    uint64_t checkpoint; /* The last one that a superblock named. */
    struct hollow_stats stats;
    uint8_t *content;
    struct list pending;
    struct io_task complete;
};

static enum hollow_part part_of(const struct hollow *h, uint64_t offset)
{
    const struct disk_extent *const part = h->layout.part;

    if (offset >= part[LAYOUT_DATA].offset)
        return HOLLOW_DATA;
    if (offset >= part[LAYOUT_SUMS].offset)
        return HOLLOW_SUMS;
    if (offset >= part[LAYOUT_CHECKPOINT_0].offset)
        return HOLLOW_CHECKPOINT;
    return offset >= part[LAYOUT_JOURNAL].offset ? HOLLOW_JOURNAL : HOLLOW_SUPERBLOCK;
}

/* A checkpoint has happened when a superblock names it. */
static void count(struct hollow *h, const struct dev_io *io)
{
    const enum hollow_part part = part_of(h, io->offset);
    struct superblock sb;

    h->stats.writes[part]++;
    /* Another size: it is being formatted. */
    if (part != HOLLOW_SUPERBLOCK || io->data.bytes != SUPERBLOCK_BYTES ||
        !status_ok(superblock_decode((struct const_span) { io->data.at, io->data.bytes }, &sb)) ||
        sb.checkpoint_sequence <= h->checkpoint)
        return;
    h->checkpoint = sb.checkpoint_sequence;
    h->stats.checkpoints++;
}

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
        if (io->kind == DEV_KIND_WRITE)
            count(h, io);
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

const struct hollow_stats *hollow_stats(const struct dev *dev)
{
    return &CONTAINER_OF(dev, const struct hollow, base)->stats;
}

struct status hollow_open(struct reactor *r, uint64_t bytes, struct dev **out_dev)
{
    struct disk_layout layout;

    TRY(disk_layout_make(bytes, &layout));
    struct hollow *const h = calloc(1, sizeof *h);
    if (h == NULL)
        return STATUS(NO_MEMORY);
    h->layout = layout;
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

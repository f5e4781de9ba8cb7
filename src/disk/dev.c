/* SPDX-License-Identifier: Apache-2.0 */
/* Checks and counts requests and hands them to the backend. */
#include "disk/dev.h"

#include <assert.h>

#include "disk/dev_internal.h"

static bool dev_contains(const struct dev *dev, uint64_t offset, uint64_t bytes)
{
    return offset <= dev->info.bytes && bytes <= dev->info.bytes - offset;
}

/* What flushes and FUA writes take differs too much between healthy devices. */
static bool counts(const struct dev_io *io)
{
    return io->kind == DEV_KIND_READ || (io->kind == DEV_KIND_WRITE && !io->fua);
}

/* A file system that is full, or a request that was taken back, says nothing of the device. */
static bool is_the_devices(const struct dev_io *io, struct status st)
{
    return !status_ok(st) && !status_is(st, STATUS_NO_SPACE) && !status_is(st, STATUS_CANCELED) &&
           io->kind != DEV_KIND_DISCARD && io->kind != DEV_KIND_ALLOCATE;
}

static void load_end(struct dev_io *io, struct status st)
{
    struct dev *const dev = io->dev;
    const struct dev_load_end end = { reactor_now_ns(dev->reactor), io->data.bytes,
                                      io->kind == DEV_KIND_READ, dev->info.is_rotational };

    if (dev != io->timed)
        return; /* A wrapping backend ends it once more. */
    dev_load_end(&dev->load, &io->began, &end);
    if (is_the_devices(io, st))
        dev_load_error(&dev->load, io->kind == DEV_KIND_READ, io->offset);
}

/* Fields are set one by one: a request is large, and most of it is the backend's. */
static void dev_io_start(struct dev *dev, struct dev_io *io, uint64_t offset, uint64_t bytes,
                         dev_io_fn *done)
{
    assert(reactor_is_current(dev->reactor));
    assert(done != NULL);
    assert(offset % dev->info.align_bytes == 0);
    assert(bytes % dev->info.align_bytes == 0);
    assert(dev_contains(dev, offset, bytes));

    io->dev = dev;
    io->done = done;
    io->offset = offset;
    list_node_init(&io->link);
    io->timed = dev;
    dev_load_begin(&dev->load, counts(io), reactor_now_ns(dev->reactor), &io->began);
    dev->ops->start(dev, io);
}

void dev_read(struct dev *dev, struct dev_io *io, uint64_t offset, struct span data,
              dev_io_fn *done)
{
    dev->stats.reads++;
    dev->stats.read_bytes += data.bytes;
    io->kind = DEV_KIND_READ;
    io->data = data;
    dev_io_start(dev, io, offset, data.bytes, done);
}

void dev_write(struct dev *dev, struct dev_io *io, uint64_t offset, struct const_span data,
               bool fua, dev_io_fn *done)
{
    dev->stats.writes++;
    dev->stats.write_bytes += data.bytes;
    io->kind = DEV_KIND_WRITE;
    io->data = (struct span) { (uint8_t *)(uintptr_t)data.at, data.bytes }; /* Only read. */
    io->fua = fua;
    dev_io_start(dev, io, offset, data.bytes, done);
}

void dev_flush(struct dev *dev, struct dev_io *io, dev_io_fn *done)
{
    dev->stats.flushes++;
    io->kind = DEV_KIND_FLUSH;
    io->data = (struct span) { 0 };
    dev_io_start(dev, io, 0, 0, done);
}

void dev_discard(struct dev *dev, struct dev_io *io, uint64_t offset, uint64_t bytes,
                 dev_io_fn *done)
{
    dev->stats.discards++;
    io->kind = DEV_KIND_DISCARD;
    io->data = (struct span) { 0 };
    io->bytes = bytes;
    dev_io_start(dev, io, offset, bytes, done);
}

void dev_allocate(struct dev *dev, struct dev_io *io, uint64_t offset, uint64_t bytes,
                  dev_io_fn *done)
{
    io->kind = DEV_KIND_ALLOCATE;
    io->data = (struct span) { 0 };
    io->bytes = bytes;
    dev_io_start(dev, io, offset, bytes, done);
}

struct status dev_refresh(struct dev *dev)
{
    uint64_t bytes = dev->info.bytes;

    assert(reactor_is_current(dev->reactor));
    if (dev->ops->bytes != NULL)
        TRY(dev->ops->bytes(dev, &bytes));
    bytes = round_down_u64(bytes, dev->info.align_bytes);
    if (bytes < dev->info.bytes)
        return STATUS(OUT_OF_RANGE);
    dev->info.bytes = bytes;
    return STATUS(OK);
}

void dev_io_finish(struct dev_io *io, struct status st)
{
    if (!status_ok(st))
        io->dev->stats.errors++;
    load_end(io, st);
    io->status = st;
    io->done(io);
}

void dev_close(struct dev *dev)
{
    if (dev == NULL)
        return;
    assert(reactor_is_current(dev->reactor));
    dev->ops->close(dev);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Files and block devices, through the reactor. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/dev_internal.h"

#define ATOMIC_BYTES_UNKNOWN 512 /* One sector: what every disk writes whole. */

struct dev_file {
    struct dev base;
    int fd;
};

/* The kernel's names for a failed medium; other errors say what they are. */
static bool errno_is_medium(int64_t err)
{
    return err == EIO || err == ENODATA || err == EILSEQ || err == EREMOTEIO;
}

static struct status file_outcome(const struct dev_io *io)
{
    const int64_t result = io->op.result;

    if (result >= 0)
        return STATUS(OK);
    const bool is_optional = io->kind == DEV_KIND_DISCARD || io->kind == DEV_KIND_ALLOCATE;
    if (is_optional && (result == -EOPNOTSUPP || result == -ENODEV))
        return STATUS(OK);
    if (!errno_is_medium(-result))
        return io_op_status(&io->op);
    return io->kind == DEV_KIND_READ ? STATUS(MEDIA_READ) : STATUS(MEDIA_WRITE);
}

static void file_on_op(struct io_op *op)
{
    struct dev_io *const io = CONTAINER_OF(op, struct dev_io, op);

    if (io->kind == DEV_KIND_DISCARD && op->result == -EOPNOTSUPP)
        io->dev->info.can_discard = false;
    dev_io_finish(io, file_outcome(io));
}

static void file_start(struct dev *dev, struct dev_io *io)
{
    const int fd = CONTAINER_OF(dev, struct dev_file, base)->fd;
    struct reactor *const r = dev->reactor;

    switch (io->kind) {
    case DEV_KIND_READ:
        io_op_read(&io->op, r, fd, io->data, io->offset, file_on_op);
        break;
    case DEV_KIND_WRITE:
        io_op_write(&io->op, r, fd, span_const(io->data), io->offset, io->fua ? IO_WRITE_DSYNC : 0,
                    file_on_op);
        break;
    case DEV_KIND_FLUSH:
        io_op_fsync(&io->op, r, fd, file_on_op);
        break;
    case DEV_KIND_DISCARD:
        io_op_discard(&io->op, r, fd, io->offset, io->bytes, file_on_op);
        break;
    case DEV_KIND_ALLOCATE:
        io_op_allocate(&io->op, r, fd, io->offset, io->bytes, file_on_op);
        break;
    }
}

static struct status file_bytes(struct dev *dev, uint64_t *out_bytes)
{
    return io_file_bytes(dev->reactor, CONTAINER_OF(dev, struct dev_file, base)->fd, out_bytes);
}

static void file_close(struct dev *dev)
{
    struct dev_file *const f = CONTAINER_OF(dev, struct dev_file, base);

    io_close(dev->reactor, f->fd);
    free(f);
}

static const struct dev_ops file_ops = {
    .start = file_start,
    .bytes = file_bytes,
    .close = file_close,
};

/*
 * A device that takes aligned blocks of its physical size writes each of them whole, and so does
 * a file system that overwrites in place in such blocks.
 */
static uint32_t file_atomic_bytes(const struct io_file_info *info)
{
    const uint64_t block = max_u64(info->physical_bytes, ATOMIC_BYTES_UNKNOWN);
    return (uint32_t)max_u64(info->atomic_bytes, block);
}

static void file_describe(struct dev_info *out, const struct io_file_info *info, const char *path)
{
    *out = (struct dev_info) {
        .bytes = round_down_u64(info->bytes, info->align_bytes),
        .align_bytes = info->align_bytes,
        .physical_bytes = info->physical_bytes,
        .atomic_bytes = file_atomic_bytes(info),
        .has_volatile_cache = info->has_volatile_cache,
        .can_discard = true, /* Until the first attempt says otherwise. */
        .is_rotational = info->is_rotational,
        .backend = info->is_block_device ? "block" : "file",
    };
    snprintf(out->path, sizeof out->path, "%s", path);
    memcpy(out->model, info->model, sizeof out->model);
    memcpy(out->serial, info->serial, sizeof out->serial);
}

/* Opens what is there first, so that an existing device is taken exclusively, never created.
 * A file that is empty gets its size also then: whoever made it was killed before it had one. */
static struct status MUST_CHECK file_open(struct reactor *r, const char *path,
                                          uint64_t create_bytes, bool writable, int *out_fd,
                                          struct io_file_info *out_info)
{
    const unsigned flags =
        IO_OPEN_DIRECT | IO_OPEN_LOCK | IO_OPEN_EXCLUSIVE | (writable ? IO_OPEN_WRITE : 0);
    const struct status st = io_file_open(r, path, flags, create_bytes, out_fd, out_info);

    if (create_bytes == 0 || !status_is(st, STATUS_NOT_FOUND))
        return st;
    return io_file_open(r, path, flags | IO_OPEN_CREATE, create_bytes, out_fd, out_info);
}

struct status dev_file_open(struct reactor *r, const char *path, uint64_t create_bytes,
                            bool writable, struct dev **out_dev)
{
    struct io_file_info info;
    struct dev_file *const f = calloc(1, sizeof *f);
    if (f == NULL)
        return STATUS(NO_MEMORY);

    const struct status st = file_open(r, path, create_bytes, writable, &f->fd, &info);
    if (!status_ok(st)) {
        free(f);
        return st;
    }
    assert(info.align_bytes > 0);
    f->base.ops = &file_ops;
    f->base.reactor = r;
    file_describe(&f->base.info, &info, path);
    *out_dev = &f->base;
    return STATUS(OK);
}

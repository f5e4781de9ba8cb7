/* SPDX-License-Identifier: Apache-2.0 */
#include "io/op.h"

#include <assert.h>

#include "io/backend.h"

/* Fills what every operation has.  The caller sets its own fields and calls op_start(). */
static void op_prepare(struct io_op *op, struct reactor *r, enum io_kind kind, int fd,
                       io_op_fn *done)
{
    assert(reactor_is_current(r));
    assert(done != NULL);

    /* One by one: an address and an iovec are not every operation's. */
    op->reactor = r;
    op->done = done;
    op->kind = kind;
    op->result = 0;
    list_node_init(&op->link);
    op->canceled = false;
    op->flags = 0;
    op->fd = fd;
    op->offset = 0;
    op->bytes = 0;
    op->progress = 0;
    op->backend[0] = 0;
    op->backend[1] = 0;
}

static void op_start(struct io_op *op)
{
    op->in_flight = true;
    op->reactor->ops->start(op->reactor, op);
}

struct status io_op_status(const struct io_op *op)
{
    assert(!op->in_flight);
    return op->result >= 0 ? STATUS(OK) : status_from_errno((int)-op->result);
}

void io_op_accept(struct io_op *op, struct reactor *r, int listen_fd, io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_ACCEPT, listen_fd, done);
    op_start(op);
}

void io_op_connect(struct io_op *op, struct reactor *r, const struct io_addr *to, io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_CONNECT, -1, done);
    op->addr = *to;
    op_start(op);
}

void io_op_recv(struct io_op *op, struct reactor *r, int fd, struct span into, io_op_fn *done)
{
    assert(into.bytes > 0);

    op_prepare(op, r, IO_KIND_RECV, fd, done);
    op->data = into.at;
    op->bytes = into.bytes;
    op_start(op);
}

void io_op_send(struct io_op *op, struct reactor *r, int fd, struct iovec *iov, unsigned iov_count,
                io_op_fn *done)
{
    assert(iov_count > 0);
    assert(iov_count <= IO_SEND_IOV_MAX);

    op_prepare(op, r, IO_KIND_SEND, fd, done);
    op->iov = iov;
    op->iov_count = iov_count;
    for (unsigned i = 0; i < iov_count; i++)
        op->bytes += iov[i].iov_len;
    assert(op->bytes > 0);
    op_start(op);
}

void io_op_read(struct io_op *op, struct reactor *r, int fd, struct span data, uint64_t offset,
                io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_READ, fd, done);
    op->data = data.at;
    op->bytes = data.bytes;
    op->offset = offset;
    op_start(op);
}

void io_op_write(struct io_op *op, struct reactor *r, int fd, struct const_span data,
                 uint64_t offset, unsigned flags, io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_WRITE, fd, done);
    op->data = (uint8_t *)(uintptr_t)data.at; /* A write only reads it. */
    op->bytes = data.bytes;
    op->offset = offset;
    op->flags = flags;
    op_start(op);
}

void io_op_fsync(struct io_op *op, struct reactor *r, int fd, io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_FSYNC, fd, done);
    op_start(op);
}

void io_op_discard(struct io_op *op, struct reactor *r, int fd, uint64_t offset, uint64_t bytes,
                   io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_DISCARD, fd, done);
    op->offset = offset;
    op->bytes = bytes;
    op_start(op);
}

void io_op_allocate(struct io_op *op, struct reactor *r, int fd, uint64_t offset, uint64_t bytes,
                    io_op_fn *done)
{
    op_prepare(op, r, IO_KIND_ALLOCATE, fd, done);
    op->offset = offset;
    op->bytes = bytes;
    op_start(op);
}

void io_op_cancel(struct io_op *op)
{
    if (!op->in_flight)
        return;
    assert(reactor_is_current(op->reactor));

    op->canceled = true;
    op->reactor->ops->cancel(op->reactor, op);
}

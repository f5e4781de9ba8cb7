/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One asynchronous operation of the kernel (or of the simulator), embedded in the request that
 * waits for it.
 *
 *     io_op_recv(&rx->recv, reactor, fd, span, on_recv);   returns at once, never fails
 *     ...
 *     on_recv(op)                                          once, from the reactor's loop
 *
 * Every outcome, an immediate failure too, arrives through done, exactly once, and never before
 * the call that started the operation has returned.  EINTR, EAGAIN and short disk transfers are
 * finished inside src/io/; what done sees is final.
 *
 * Threading: all calls and done run on op->reactor's thread.
 * Memory:    nothing is allocated.  The op and what it points at (data, iovecs, address) belong
 *            to the operation from its start until done is called; done may free the op.
 */
#ifndef IO_OP_H
#define IO_OP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "io/addr.h"

struct reactor;
struct io_op;

typedef void io_op_fn(struct io_op *op);

enum io_kind {
    IO_KIND_ACCEPT,
    IO_KIND_CONNECT,
    IO_KIND_RECV,
    IO_KIND_SEND,
    IO_KIND_READ,
    IO_KIND_WRITE,
    IO_KIND_FSYNC,
    IO_KIND_DISCARD,
    IO_KIND_ALLOCATE,
};

#define IO_WRITE_DSYNC 1u /* The write is durable when it completes (RWF_DSYNC). */

struct io_op {
    /* Read-only for the owner; valid from the start on. */
    struct reactor *reactor;
    io_op_fn *done;
    enum io_kind kind;
    bool in_flight;
    bool canceled;  /* Private to src/io/, as are all from link on. */
    int64_t result; /* Bytes, or a descriptor; -errno on failure.  Valid in done. */

    /* Private to src/io/. */
    struct list_node link;
    unsigned flags;
    int fd;
    uint64_t offset;
    uint64_t bytes;
    uint64_t progress; /* Bytes that earlier pieces of this operation have moved. */
    uint8_t *data;
    struct iovec *iov;
    unsigned iov_count;
    struct io_addr addr;
    uint64_t backend[2]; /* Whatever the backend needs to find its own state again. */
};

/* The op's outcome as a status: OK if result >= 0. */
struct status io_op_status(const struct io_op *op) MUST_CHECK;

/* Accepts one connection from a listening descriptor; result is its descriptor. */
void io_op_accept(struct io_op *op, struct reactor *r, int listen_fd, io_op_fn *done);

/* Connects a new TCP socket (TCP_NODELAY set); result is its descriptor, ready for use on r. */
void io_op_connect(struct io_op *op, struct reactor *r, const struct io_addr *to, io_op_fn *done);

/*
 * Receives what is there, at least one byte and at most into.bytes (> 0).  result is the number
 * of bytes; 0 means that the peer has finished sending.
 */
void io_op_recv(struct io_op *op, struct reactor *r, int fd, struct span into, io_op_fn *done);

/*
 * Sends all of the iov_count pieces (1 to IO_SEND_IOV_MAX; empty ones are allowed, not all of
 * them), in order.  result is their sum.  The iovec array is lent and may be changed.  At most
 * one send may be in flight for a descriptor.
 */
void io_op_send(struct io_op *op, struct reactor *r, int fd, struct iovec *iov, unsigned iov_count,
                io_op_fn *done);

/*
 * Reads or writes all of data at a byte offset of a file or device.  For descriptors opened
 * direct, the address, the length and the offset are multiples of io_file_info.align_bytes.
 * result is data.bytes; reading past the end is -EIO.
 */
void io_op_read(struct io_op *op, struct reactor *r, int fd, struct span data, uint64_t offset,
                io_op_fn *done);
void io_op_write(struct io_op *op, struct reactor *r, int fd, struct const_span data,
                 uint64_t offset, unsigned flags, io_op_fn *done);

/* Makes all completed writes of the file durable (fdatasync).  result is 0. */
void io_op_fsync(struct io_op *op, struct reactor *r, int fd, io_op_fn *done);

/*
 * Tells the file or device that a range is not needed.  Afterwards it reads as anything, in
 * pieces of the device's choice.  -EOPNOTSUPP where it cannot.
 */
void io_op_discard(struct io_op *op, struct reactor *r, int fd, uint64_t offset, uint64_t bytes,
                   io_op_fn *done);

/*
 * Makes sure that a range of a file has its space, so that no write to it finds the file system
 * full.  What was never written there still reads as zeros.  result is 0; -ENOSPC if there is too
 * little, -EOPNOTSUPP where it cannot be said.
 */
void io_op_allocate(struct io_op *op, struct reactor *r, int fd, uint64_t offset, uint64_t bytes,
                    io_op_fn *done);

/*
 * Asks for an early end.  done follows as for any outcome: -ECANCELED if the cancel came in
 * time, else the true result.  Nothing happens if the op is not in flight.
 */
void io_op_cancel(struct io_op *op);

#define IO_SEND_IOV_MAX 512 /* Half of the kernel's UIO_MAXIOV. */

#endif

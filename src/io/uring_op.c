/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io/uring_internal.h"

#define PIECE_BYTES_MAX ((uint64_t)1 << 30) /* Below the kernel's limit for one call. */

/* Linux 6.12, include/uapi/linux/blkdev.h; headers of Debian 12 do not have it. */
#define BLOCK_URING_CMD_DISCARD_NR _IO(0x12, 0)

/* ---- From the operation to an entry of the submission queue ---- */

static void fill_send(struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
    const int flags = MSG_WAITALL | MSG_NOSIGNAL;

    if (op->iov_count == 1) {
        io_uring_prep_send(sqe, op->fd, op->iov->iov_base, op->iov->iov_len, flags);
        return;
    }
    struct msghdr *const msg = &u->scratch[sqe - u->ring.sq.sqes].msg;
    *msg = (struct msghdr) { .msg_iov = op->iov, .msg_iovlen = op->iov_count };
    io_uring_prep_sendmsg(sqe, op->fd, msg, (unsigned)flags);
}

/*
 * Where the last receive has emptied the socket, a first attempt would find nothing: the kernel
 * is told to wait at once.
 */
static void fill_recv(const struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
    io_uring_prep_recv(sqe, op->fd, op->data, min_u64(op->bytes, PIECE_BYTES_MAX), 0);
    if ((uring_fd_flags(u, op->fd) & URING_FD_DRAINED) != 0 &&
        uring_uses(u, URING_FEATURE_POLL_FIRST))
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

static void fill_connect(struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
    struct sockaddr_storage *const to = &u->scratch[sqe - u->ring.sq.sqes].addr;
    const socklen_t bytes = uring_addr_to_sockaddr(&op->addr, to);

    io_uring_prep_connect(sqe, op->fd, (const struct sockaddr *)to, bytes);
}

static void fill_read_or_write(struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
    uint8_t *const at = op->data + op->progress;
    const unsigned bytes = (unsigned)min_u64(op->bytes - op->progress, PIECE_BYTES_MAX);
    const uint64_t offset = op->offset + op->progress;
    uint16_t buffer;

    if (op->kind == IO_KIND_READ)
        io_uring_prep_read(sqe, op->fd, at, bytes, offset);
    else
        io_uring_prep_write(sqe, op->fd, at, bytes, offset);
    if (uring_buf_find(u, at, bytes, &buffer)) {
        sqe->opcode = op->kind == IO_KIND_READ ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
        sqe->buf_index = buffer;
    }
    if ((op->flags & IO_WRITE_DSYNC) != 0)
        sqe->rw_flags = RWF_DSYNC;
}

static bool uses_block_discard(const struct uring *u, const struct io_op *op)
{
    return uring_uses(u, URING_FEATURE_BLOCK_DISCARD) &&
           (uring_fd_flags(u, op->fd) & URING_FD_BLOCK) != 0;
}

/*
 * Punching a hole into a block device is a write of zeros that the device may carry out by
 * unmapping, and fails where it cannot write zeros by itself.  Newer kernels take a true discard.
 */
static void fill_discard(const struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
    op->backend[0] = uses_block_discard(u, op);
    if (op->backend[0] == 0) {
        io_uring_prep_fallocate(sqe, op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)op->offset, (off_t)op->bytes);
        return;
    }
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, op->fd, NULL, 0, 0);
    sqe->cmd_op = BLOCK_URING_CMD_DISCARD_NR;
    sqe->addr = op->offset;
    sqe->addr3 = op->bytes;
}

static void fill(struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
    switch (op->kind) {
    case IO_KIND_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
        break;
    case IO_KIND_CONNECT:
        fill_connect(u, op, sqe);
        break;
    case IO_KIND_RECV:
        fill_recv(u, op, sqe);
        break;
    case IO_KIND_SEND:
        fill_send(u, op, sqe);
        break;
    case IO_KIND_READ:
    case IO_KIND_WRITE:
        fill_read_or_write(u, op, sqe);
        break;
    case IO_KIND_FSYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case IO_KIND_DISCARD:
        fill_discard(u, op, sqe);
        break;
    case IO_KIND_ALLOCATE:
        io_uring_prep_fallocate(sqe, op->fd, FALLOC_FL_KEEP_SIZE, (off_t)op->offset,
                                (off_t)op->bytes);
        break;
    }
    if ((uring_fd_flags(u, op->fd) & URING_FD_REGISTERED) != 0)
        sqe->flags |= IOSQE_FIXED_FILE; /* The slot's number is the descriptor's. */
    io_uring_sqe_set_data(sqe, op);
    op->backend[1] = URING_PLACE_KERNEL;
}

/* ---- Where an operation is ---- */

static void move_to_list(struct io_op *op, enum uring_place place, struct list *list)
{
    list_remove(&op->link);
    op->backend[1] = (uint64_t)place;
    list_push_back(list, &op->link);
}

static void finish(struct uring *u, struct io_op *op, int64_t result)
{
    op->result = result;
    move_to_list(op, URING_PLACE_READY, &u->ready);
}

static void submit(struct uring *u, struct io_op *op)
{
    struct io_uring_sqe *const sqe = uring_sqe_get(u);

    if (sqe == NULL)
        move_to_list(op, URING_PLACE_BACKLOG, &u->backlog);
    else
        fill(u, op, sqe);
}

void uring_op_start(struct reactor *r, struct io_op *op)
{
    struct uring *const u = uring_of(r);

    u->in_flight++;
    if (op->kind == IO_KIND_CONNECT) {
        op->fd = uring_socket(&op->addr);
        if (op->fd < 0) {
            finish(u, op, op->fd);
            return;
        }
    }
    submit(u, op);
}

static void fill_cancel(struct io_op *op, struct io_uring_sqe *sqe)
{
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL); /* Its own outcome interests nobody. */
}

/*
 * The kernel looks for the operation by its address.  An entry that starts a new operation at the
 * same address can only follow the cancellation's in the queue, so that one is never hit.
 */
void uring_op_cancel(struct reactor *r, struct io_op *op)
{
    struct uring *const u = uring_of(r);

    switch ((enum uring_place)op->backend[1]) {
    case URING_PLACE_BACKLOG:
        uring_op_complete(u, op, -ECANCELED, 0);
        break;
    case URING_PLACE_KERNEL: {
        struct io_uring_sqe *const sqe = uring_sqe_get(u);
        if (sqe == NULL)
            move_to_list(op, URING_PLACE_CANCEL, &u->cancels);
        else
            fill_cancel(op, sqe);
        break;
    }
    case URING_PLACE_CANCEL:
    case URING_PLACE_READY:
        break;
    }
}

void uring_op_flush_backlog(struct uring *u)
{
    struct io_uring_sqe *sqe;
    struct list_node *n;

    while ((n = list_first(&u->cancels)) != NULL && (sqe = uring_sqe_get(u)) != NULL) {
        struct io_op *const op = CONTAINER_OF(n, struct io_op, link);
        list_remove(n);
        op->backend[1] = URING_PLACE_KERNEL;
        fill_cancel(op, sqe);
    }
    while ((n = list_first(&u->backlog)) != NULL && (sqe = uring_sqe_get(u)) != NULL) {
        list_remove(n);
        fill(u, CONTAINER_OF(n, struct io_op, link), sqe);
    }
}

/* ---- From a completion to the outcome ---- */

/* Moves on what the iovec names by bytes that were sent. */
static void iov_advance(struct io_op *op, size_t bytes)
{
    while (bytes > 0 && bytes >= op->iov->iov_len) {
        bytes -= op->iov->iov_len;
        op->iov++;
        op->iov_count--;
    }
    if (bytes > 0) {
        op->iov->iov_base = (uint8_t *)op->iov->iov_base + bytes;
        op->iov->iov_len -= bytes;
    }
}

/* A transfer of all bytes: goes on after a short piece. */
static void complete_transfer(struct uring *u, struct io_op *op, int moved)
{
    op->progress += (uint64_t)moved;
    assert(op->progress <= op->bytes);
    if (op->progress == op->bytes) {
        finish(u, op, (int64_t)op->bytes);
        return;
    }
    if (moved == 0) { /* The end of the file or device. */
        finish(u, op, -EIO);
        return;
    }
    if (op->canceled) {
        finish(u, op, -ECANCELED);
        return;
    }
    if (op->kind == IO_KIND_SEND)
        iov_advance(op, (size_t)moved);
    submit(u, op);
}

static void complete_recv(struct uring *u, struct io_op *op, int result, unsigned cqe_flags)
{
    const bool drained =
        (uint64_t)result < op->bytes && (cqe_flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;

    uring_fd_set_drained(u, op->fd, drained);
    finish(u, op, result);
}

static void complete_connect(struct uring *u, struct io_op *op, int result)
{
    if (result < 0) {
        close(op->fd);
        finish(u, op, result);
        return;
    }
    uring_socket_no_delay(op->fd);
    uring_fd_add(u, op->fd, URING_FD_SOCKET);
    finish(u, op, op->fd);
}

static void complete_accept(struct uring *u, struct io_op *op, int fd)
{
    uring_socket_no_delay(fd);
    uring_fd_add(u, fd, URING_FD_SOCKET);
    finish(u, op, fd);
}

/* Whether the failure says nothing about the operation, so that it is to be tried again. */
static bool is_transient(const struct uring *u, const struct io_op *op, int err)
{
    if (err == EINTR || err == EAGAIN)
        return true;
    if (op->kind == IO_KIND_ACCEPT)
        return err == ECONNABORTED; /* That connection is gone; others may come. */
    /* This kernel has no discard for block devices: fill_discard() knows another way. */
    return op->kind == IO_KIND_DISCARD && op->backend[0] != 0 &&
           (err == EOPNOTSUPP || err == EINVAL) && !uses_block_discard(u, op);
}

static void complete_failure(struct uring *u, struct io_op *op, int err)
{
    if (op->kind == IO_KIND_DISCARD && op->backend[0] != 0 && (err == EOPNOTSUPP || err == EINVAL))
        uring_loses(u, URING_FEATURE_BLOCK_DISCARD);

    if (is_transient(u, op, err)) {
        if (!op->canceled) {
            submit(u, op);
            return;
        }
        err = ECANCELED;
    }
    if (op->kind == IO_KIND_CONNECT)
        complete_connect(u, op, -err);
    else
        finish(u, op, -err);
}

void uring_op_complete(struct uring *u, struct io_op *op, int result, unsigned cqe_flags)
{
    list_remove(&op->link); /* From the backlog or the waiting cancellations. */
    if (result < 0) {
        complete_failure(u, op, -result);
        return;
    }
    switch (op->kind) {
    case IO_KIND_ACCEPT:
        complete_accept(u, op, result);
        break;
    case IO_KIND_CONNECT:
        complete_connect(u, op, result);
        break;
    case IO_KIND_SEND:
    case IO_KIND_READ:
    case IO_KIND_WRITE:
        complete_transfer(u, op, result);
        break;
    case IO_KIND_RECV:
        complete_recv(u, op, result, cqe_flags);
        break;
    case IO_KIND_FSYNC:
    case IO_KIND_DISCARD:
    case IO_KIND_ALLOCATE:
        finish(u, op, result);
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/uring_internal.h"

unsigned uring_fd_flags(const struct uring *u, int fd)
{
    return fd >= 0 && (unsigned)fd < u->files_max ? u->fd_flags[fd] : 0;
}

void uring_fd_set_drained(struct uring *u, int fd, bool drained)
{
    if ((unsigned)fd >= u->files_max)
        return;
    const unsigned others = u->fd_flags[fd] & ~URING_FD_DRAINED;
    u->fd_flags[fd] = (uint8_t)(others | (drained ? URING_FD_DRAINED : 0));
}

void uring_fd_add(struct uring *u, int fd, unsigned flags)
{
    if ((unsigned)fd >= u->files_max)
        return;
    if (u->registered_files && io_uring_register_files_update(&u->ring, (unsigned)fd, &fd, 1) == 1)
        flags |= URING_FD_REGISTERED;
    u->fd_flags[fd] = (uint8_t)flags;
}

/*
 * The table's reference keeps the file open after close().  Only the ring's thread may change
 * the table; after the loop has ended another thread may get here, and then the reference lasts
 * until the reactor is destroyed.
 */
static void fd_remove(struct uring *u, int fd)
{
    int none = -1;

    if ((uring_fd_flags(u, fd) & URING_FD_REGISTERED) != 0)
        (void)io_uring_register_files_update(&u->ring, (unsigned)fd, &none, 1);
    if ((unsigned)fd < u->files_max)
        u->fd_flags[fd] = 0;
}

void uring_fd_release(struct reactor *r, int fd)
{
    fd_remove(uring_of(r), fd);
}

struct status uring_fd_adopt(struct reactor *r, int fd)
{
    struct stat st;
    unsigned flags = 0;

    if (fstat(fd, &st) != 0)
        return STATUS(INVALID);
    /* Whether a file is locked is not known here; giving up a lock that is not held is allowed. */
    flags |= S_ISSOCK(st.st_mode) ? URING_FD_SOCKET : URING_FD_LOCKED;
    if (S_ISBLK(st.st_mode))
        flags |= URING_FD_BLOCK;
    /* A descriptor that does not block would fail with EAGAIN where the ring should wait. */
    const int mode = fcntl(fd, F_GETFL);
    if (mode >= 0 && (mode & O_NONBLOCK) != 0)
        (void)fcntl(fd, F_SETFL, mode & ~O_NONBLOCK);
    uring_fd_add(uring_of(r), fd, flags);
    return STATUS(OK);
}

void uring_fd_shutdown(struct reactor *r, int fd)
{
    (void)r;
    (void)shutdown(fd, SHUT_RDWR); /* It fails where the peer has done it before. */
}

/*
 * Kernels before 6.3 drop the table's reference up to a second late.  So the connection is shut
 * down and the lock is given up here, where the caller expects it.
 */
void uring_fd_close(struct reactor *r, int fd)
{
    struct uring *const u = uring_of(r);
    const unsigned flags = uring_fd_flags(u, fd);

    if ((flags & URING_FD_SOCKET) != 0)
        (void)shutdown(fd, SHUT_RDWR);
    if ((flags & URING_FD_LOCKED) != 0)
        (void)flock(fd, LOCK_UN);
    fd_remove(u, fd);
    close(fd);
}

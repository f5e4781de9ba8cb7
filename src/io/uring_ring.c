/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/uring_internal.h"

/*
 * The ring is created disabled, so that the thread that enables it, which is the one that runs
 * the loop, becomes its single issuer, whoever created it.
 */
static const struct {
    uint64_t feature;
    unsigned flags;
} ring_modes[] = {
    { URING_FEATURE_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                       IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL },
    { URING_FEATURE_COOP_TASKRUN,
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL },
    { 0, 0 },
};

/* What every kernel from 5.14 on has and the loop relies on. */
#define RING_FEATURES_NEEDED                                                    \
    (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | \
     IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS)

static struct status ring_status(int err)
{
    if (err == ENOMEM)
        return STATUS(NO_MEMORY);
    if (err == ENOSYS || err == EPERM || err == EINVAL || err == EACCES)
        return STATUS(UNSUPPORTED);
    return status_from_errno(err);
}

/* Creates the ring in the best mode that the kernel knows and features allows. */
static struct status MUST_CHECK ring_init(struct uring *u, unsigned entries, uint64_t features)
{
    int ret = -EINVAL;
    struct io_uring_params params;

    for (size_t i = 0; ret == -EINVAL && i < ARRAY_COUNT(ring_modes); i++) {
        if ((ring_modes[i].feature & ~features) != 0)
            continue;
        params = (struct io_uring_params) {
            .flags = ring_modes[i].flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
                     IORING_SETUP_CLAMP,
            .cq_entries = entries * URING_CQ_FACTOR,
        };
        ret = io_uring_queue_init_params(entries, &u->ring, &params);
        u->features = ring_modes[i].feature;
    }
    if (ret < 0)
        return ring_status(-ret);
    if ((params.features & RING_FEATURES_NEEDED) != RING_FEATURES_NEEDED) {
        io_uring_queue_exit(&u->ring);
        return STATUS(UNSUPPORTED);
    }
    return STATUS(OK);
}

/* The table is a help, not a need: without it operations name descriptors. */
static void ring_register_files(struct uring *u)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < u->files_max)
        u->files_max = (unsigned)limit.rlim_cur;
    if (io_uring_register_files_sparse(&u->ring, u->files_max) == 0) {
        u->registered_files = true;
    } else {
        /* Before 5.19 a sparse table is an array of -1. */
        int *const none = malloc(u->files_max * sizeof *none);
        if (none == NULL)
            return;
        memset(none, 0xff, u->files_max * sizeof *none);
        u->registered_files = io_uring_register_files(&u->ring, none, u->files_max) == 0;
        free(none);
    }
    if (u->registered_files)
        u->features |= URING_FEATURE_FILES;
}

/* Tried here and undone: it counts for the thread that will run the loop. */
static bool ring_registers_itself(struct uring *u)
{
    return io_uring_register_ring_fd(&u->ring) == 1 && io_uring_unregister_ring_fd(&u->ring) == 1;
}

/*
 * An older kernel would refuse the receive.  It cannot be asked for the flag, but for what came
 * with it in 5.19: operations on sockets that the ring makes itself.
 */
static bool ring_has_poll_first(struct uring *u)
{
    struct io_uring_probe *const probe = io_uring_get_probe_ring(&u->ring);
    const bool has = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_SOCKET);

    io_uring_free_probe(probe);
    return has;
}

struct status uring_ring_create(struct uring *u, unsigned entries, uint64_t features)
{
    TRY(ring_init(u, entries, features));

    u->files_max = URING_FILES_MAX;
    if ((features & URING_FEATURE_FILES) != 0)
        ring_register_files(u);
    /* Proved by use: the first discard that the kernel does not know takes the bit away. */
    u->features |= features & URING_FEATURE_BLOCK_DISCARD;
    /* Asked of each file that is opened: a kernel that does not know leaves the answer out. */
    u->features |= features & (URING_FEATURE_DIO_ALIGN | URING_FEATURE_WRITE_ATOMIC);
    if ((features & URING_FEATURE_RING_FD) != 0 && ring_registers_itself(u))
        u->features |= URING_FEATURE_RING_FD;
    if ((features & URING_FEATURE_BUFFERS) != 0 && uring_buf_probe(u))
        u->features |= URING_FEATURE_BUFFERS;
    if ((features & URING_FEATURE_POLL_FIRST) != 0 && ring_has_poll_first(u))
        u->features |= URING_FEATURE_POLL_FIRST;

    u->scratch = calloc(u->ring.sq.ring_entries, sizeof *u->scratch);
    u->fd_flags = calloc(u->files_max, sizeof *u->fd_flags);
    if (u->scratch == NULL || u->fd_flags == NULL || !status_ok(uring_buf_init(u))) {
        uring_ring_destroy(u);
        return STATUS(NO_MEMORY);
    }
    return STATUS(OK);
}

void uring_ring_destroy(struct uring *u)
{
    io_uring_queue_exit(&u->ring);
    free(u->scratch);
    free(u->fd_flags);
    uring_buf_fini(u);
}

void uring_ring_enter_thread(struct uring *u)
{
    if (!u->enabled) {
        /* io_uring_enable_rings() of liburing 2.3 is declared and not exported. */
        const long ret =
            syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        assert(ret == 0);
        u->enabled = true;
    }
    if (uring_uses(u, URING_FEATURE_RING_FD) && io_uring_register_ring_fd(&u->ring) != 1)
        uring_loses(u, URING_FEATURE_RING_FD); /* A thread has room for sixteen. */
}

void uring_ring_leave_thread(struct uring *u)
{
    if (uring_uses(u, URING_FEATURE_RING_FD))
        io_uring_unregister_ring_fd(&u->ring);
}

/* What the kernel says when it wants us to reap completions, or was interrupted. */
static void ring_check(struct uring *u, int ret)
{
    u->base.stats.syscalls++;
    if (ret >= 0 || ret == -ETIME || ret == -EINTR || ret == -EAGAIN || ret == -EBUSY)
        return;
    log_error(u->base.log, "io_uring_enter: %s", strerror(-ret));
    abort();
}

struct io_uring_sqe *uring_sqe_get(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (sqe == NULL && u->enabled) {
        ring_check(u, io_uring_submit(&u->ring));
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

bool uring_wants_enter(const struct uring *u)
{
    const unsigned flags = __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void uring_submit(struct uring *u)
{
    if (io_uring_sq_ready(&u->ring) == 0 && !uring_wants_enter(u))
        return;
    ring_check(u, io_uring_submit_and_get_events(&u->ring));
}

void uring_submit_and_wait(struct uring *u, uint64_t timeout_ns)
{
    struct io_uring_cqe *first;
    struct __kernel_timespec ts = {
        .tv_sec = (int64_t)(timeout_ns / NS_PER_S),
        .tv_nsec = (int64_t)(timeout_ns % NS_PER_S),
    };

    ring_check(u, io_uring_submit_and_wait_timeout(&u->ring, &first, 1,
                                                   timeout_ns == UINT64_MAX ? NULL : &ts, NULL));
}

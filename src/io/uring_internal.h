/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the io_uring backend share:
 *
 *   uring.c        the loop: turns, tasks, timers, messages, sleeping and spinning
 *   uring_spin.c   how long to spin, and spinning
 *   uring_ring.c   the ring: set-up by features, submission queue entries, submission
 *   uring_buf.c    registered buffers
 *   uring_features.c  the kernel's features by name
 *   uring_op.c     operations: into an entry, and out of a completion
 *   uring_fd.c     descriptors: registered files, closing, adopting
 *   uring_net.c    sockets: listening, addresses, options
 *   uring_file.c   files and devices: opening and what they say of themselves
 *
 * Threading: all on the reactor's thread, but for the atomics.
 * Memory:    allocated by uring_reactor_create().
 */
#ifndef IO_URING_INTERNAL_H
#define IO_URING_INTERNAL_H

#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/bitmap.h"
#include "io/backend.h"
#include "io/timer_heap.h"
#include "io/uring.h"

#define URING_ENTRIES_DEFAULT 1024 /* A turn's submissions in one call, for most turns. */
#define URING_CQ_FACTOR       4    /* Completions may outnumber a turn's submissions. */
#define URING_FILES_MAX       4096 /* Descriptors above it work, without registration. */
#define URING_WAKES_MAX       16   /* Reactors to wake at the end of a turn; others at once. */
#define URING_LENT_MAX        8    /* Pools of a reactor. */
#define URING_BUFFERS_MAX     4096 /* 2 GiB of pieces of 512 KiB; what is lent beyond is plain. */
#define URING_TASKS_TURN_MAX  4096 /* Deferred tasks of a turn; the rest waits for the next. */

/* Where an operation in flight is, in io_op.backend[1]. */
enum uring_place {
    URING_PLACE_KERNEL,  /* In the submission queue or beyond. */
    URING_PLACE_BACKLOG, /* Waits in u->backlog for an entry. */
    URING_PLACE_CANCEL,  /* Beyond, and in u->cancels, whose cancellation waits for an entry. */
    URING_PLACE_READY,   /* Complete, in a list of the loop. */
};

/* What is known of a descriptor. */
#define URING_FD_REGISTERED 1u
#define URING_FD_SOCKET     2u
#define URING_FD_BLOCK      4u
#define URING_FD_LOCKED     8u
#define URING_FD_DRAINED    16u /* The last receive took all there was. */

/*
 * What an entry points at until the kernel has consumed it (IORING_FEAT_SUBMIT_STABLE), one for
 * each slot of the submission queue.
 */
union uring_scratch {
    struct msghdr msg;
    struct sockaddr_storage addr;
};

/* Memory whose pieces may be registered buffers: numbers first, first + 1, ... */
struct uring_lent {
    _Atomic(uint8_t *) at; /* NULL: taken back. */
    size_t bytes;
    size_t piece_bytes;
    unsigned first;
};

struct uring {
    struct reactor base;
    struct io_uring ring;
    _Atomic uint64_t features; /* URING_FEATURE_*; bits go, while others may look. */
    bool enabled;              /* The ring has been enabled by the first run. */
    bool registered_files;     /* The table of registered files exists. */
    union uring_scratch *scratch;
    unsigned files_max;
    uint8_t *fd_flags; /* URING_FD_*, for descriptors below files_max. */

    struct uring_lent lent[URING_LENT_MAX];
    unsigned lent_count;
    unsigned buffers_used; /* Numbers given out. */
    struct bitmap buffers_registered;

    struct list ready;   /* Operations to call back. */
    struct list backlog; /* Operations that found no entry. */
    struct list cancels; /* Operations whose cancellation found no entry. */
    uint64_t in_flight;  /* Operations started and not called back. */

    struct list tasks;
    struct list tasks_next;  /* Those that deferred themselves. */
    struct io_task *running; /* The task that runs now. */
    struct timer_heap timers;

    _Atomic(struct io_msg *) inbox; /* The last posted first. */
    atomic_bool sleeping;
    atomic_bool stop;
    _Atomic(pthread_t) owner;
    atomic_bool ownerless; /* The loop has ended; whoever joined its thread tears down. */
    int wake_fd;
    uint64_t wake_value;
    bool wake_armed;
    struct uring *to_wake[URING_WAKES_MAX]; /* At the end of this turn. */
    unsigned to_wake_count;

    uint64_t spin_ns;
    unsigned spin_credit; /* For URING_SPIN_AUTO: how well spinning would have paid lately. */
    unsigned spin_pause;  /* ... and how many sleeps to stay away from it. */
    struct uuid boot_id;
};

static inline struct uring *uring_of(struct reactor *r)
{
    return CONTAINER_OF(r, struct uring, base);
}

/* Whether the ring has this of the kernel.  Any thread. */
static inline bool uring_uses(const struct uring *u, uint64_t feature)
{
    return (atomic_load_explicit(&u->features, memory_order_relaxed) & feature) != 0;
}

/* It is found not to have it after all. */
static inline void uring_loses(struct uring *u, uint64_t feature)
{
    atomic_fetch_and_explicit(&u->features, ~feature, memory_order_relaxed);
}

/* ---- uring.c ---- */

/* Whether another thread has left a message or asked for a stop. */
bool uring_is_called(const struct uring *u);

/* ---- uring_spin.c ---- */

/* How long the loop is to spin before it sleeps; 0: not at all. */
uint64_t uring_spin_ns(const struct uring *u);

/* Watches the ring for at most spin_ns.  True if something came: there is no need to sleep. */
bool uring_spin(struct uring *u, uint64_t spin_ns);

/* With URING_SPIN_AUTO, each sleep and its length teach whether spinning would have paid. */
static inline bool uring_spin_learns(const struct uring *u)
{
    return u->spin_ns == URING_SPIN_AUTO;
}

void uring_spin_slept(struct uring *u, uint64_t slept_ns);

/* ---- uring_ring.c ---- */

struct status uring_ring_create(struct uring *u, unsigned entries, uint64_t features) MUST_CHECK;
void uring_ring_destroy(struct uring *u);

/* Binds the ring to the calling thread, which is about to run the loop, and unbinds it. */
void uring_ring_enter_thread(struct uring *u);
void uring_ring_leave_thread(struct uring *u);

/* A free entry; submits what is there if the queue is full.  NULL if that does not help. */
struct io_uring_sqe *uring_sqe_get(struct uring *u);

/* Whether the kernel has work for this ring that it does in our calls only. */
bool uring_wants_enter(const struct uring *u);

/* Submits, runs the kernel's pending work and returns at once; no call if there is neither. */
void uring_submit(struct uring *u);

/* Submits and waits for a completion, or until timeout_ns has passed; UINT64_MAX for ever. */
void uring_submit_and_wait(struct uring *u, uint64_t timeout_ns);

/* ---- uring_op.c ---- */

void uring_op_start(struct reactor *r, struct io_op *op);
void uring_op_cancel(struct reactor *r, struct io_op *op);

/* Takes the completion of an operation: it goes to the ready list, or on with what is missing. */
void uring_op_complete(struct uring *u, struct io_op *op, int result, unsigned cqe_flags);

/* Fills entries for what waits in the backlog. */
void uring_op_flush_backlog(struct uring *u);

/* ---- uring_buf.c ---- */

struct status uring_buf_init(struct uring *u) MUST_CHECK;
void uring_buf_fini(struct uring *u);

/* Makes the ring's table of buffers.  False if the kernel does not know it. */
bool uring_buf_probe(struct uring *u);

void uring_buf_lend(struct reactor *r, struct span memory, size_t piece_bytes);
void uring_buf_take_back(struct reactor *r, struct span memory);

/* The number of the registered buffer that holds all of at, bytes; registers it if need be. */
bool uring_buf_find(struct uring *u, const uint8_t *at, size_t bytes, uint16_t *out_number);

/* ---- uring_fd.c ---- */

/* Takes a new descriptor in: remembers flags and registers it. */
void uring_fd_add(struct uring *u, int fd, unsigned flags);
unsigned uring_fd_flags(const struct uring *u, int fd);
void uring_fd_set_drained(struct uring *u, int fd, bool drained);
void uring_fd_release(struct reactor *r, int fd);
struct status uring_fd_adopt(struct reactor *r, int fd) MUST_CHECK;
void uring_fd_shutdown(struct reactor *r, int fd);
void uring_fd_close(struct reactor *r, int fd);

/* ---- uring_net.c ---- */

struct status uring_listen(struct reactor *r, const struct io_addr *on, int *out_fd,
                           struct io_addr *out_bound) MUST_CHECK;
struct status uring_peer_addr(struct reactor *r, int fd, struct io_addr *out_addr) MUST_CHECK;
struct status uring_local_addr(struct reactor *r, int fd, struct io_addr *out_addr) MUST_CHECK;
socklen_t uring_addr_to_sockaddr(const struct io_addr *addr, struct sockaddr_storage *out);
/* A new TCP socket for the address's family, or -errno. */
int uring_socket(const struct io_addr *addr);
/* Small PDUs leave at once instead of waiting for the acknowledgement of the one before. */
void uring_socket_no_delay(int fd);

/* ---- uring_file.c ---- */

struct status uring_file_open(struct reactor *r, const char *path, unsigned flags,
                              uint64_t create_bytes, int *out_fd,
                              struct io_file_info *out_info) MUST_CHECK;
struct status uring_file_bytes(struct reactor *r, int fd, uint64_t *out_bytes) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor: one thread, one ring, one event loop.  Each object belongs to one reactor; objects
 * on other reactors are reached by messages.
 *
 *        +--> wait ------> collect completions, timers, messages (to a ready list)
 *        |                                 |
 *        |                        call back, one by one
 *        |                                 |
 *        +-- submit, once <-- deferred tasks (what the batch has gathered)
 *
 * Two backends implement it: uring.h (the kernel) and sim.h (virtual time, seeded faults).  Code
 * above src/io/ cannot tell them apart.
 *
 * Threading: everything here is for the reactor's own thread, except reactor_post(), reactor_stop()
 *            and reactor_take_back_memory(), which may be called from any thread.
 * Memory:    ops, timers, tasks and messages are embedded in their owners.
 */
#ifndef IO_REACTOR_H
#define IO_REACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "base/span.h"
#include "base/status.h"
#include "base/uuid.h"
#include "io/addr.h"

struct io_op;
struct io_timer;
struct reactor;

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* What a reactor has done; for benchmarks and tests. */
struct reactor_stats {
    uint64_t turns;    /* Loop iterations that had something to do. */
    uint64_t sleeps;   /* Waits that blocked. */
    uint64_t syscalls; /* System calls of the loop: io_uring_enter and sched_yield. */
    uint64_t ops;      /* Operations completed. */
    uint64_t messages; /* Messages delivered. */
    uint64_t timers;   /* Timers fired. */
};

struct reactor_ops;

struct reactor {
    const struct reactor_ops *ops;
    struct log *log; /* Borrowed. */
    unsigned index;  /* Of the reactor in its node: 0 .. n-1. */
    uint64_t now_ns; /* Boot-time clock, read once per turn. */
    struct reactor_stats stats;
};

/* Runs the loop on the calling thread until reactor_stop(). */
void reactor_run(struct reactor *r);

/* Makes reactor_run() return after the current turn.  Any thread. */
void reactor_stop(struct reactor *r);

/* Frees the reactor.  Nothing may be in flight or linked.  NULL is allowed. */
void reactor_destroy(struct reactor *r);

/* Whether the calling thread is the reactor's, that is, inside its loop (or before the first). */
bool reactor_is_current(const struct reactor *r);

/* The boot-time clock in nanoseconds as of this turn. */
static inline uint64_t reactor_now_ns(const struct reactor *r)
{
    return r->now_ns;
}

/* The boot-time clock, read now: for measuring latency inside a turn. */
uint64_t reactor_clock_ns(const struct reactor *r);

/* Wall-clock time in nanoseconds since 1970, for people and records only. */
uint64_t reactor_wall_ns(const struct reactor *r);

/* Random bytes fit for identities and secrets (in simulation: from the seed). */
void reactor_random(struct reactor *r, struct span out);

/* Identifies the running boot of this machine: the same until a restart or a power failure. */
struct uuid reactor_boot_id(const struct reactor *r);

/* ---- Tasks: work put off to the end of the turn, so that it is done once per batch. ---- */

struct io_task {
    struct list_node link; /* Private. */
    void (*run)(struct io_task *task);
};

static inline void io_task_init(struct io_task *t, void (*run)(struct io_task *task))
{
    list_node_init(&t->link);
    t->run = run;
}

/*
 * Runs the task after the callbacks of this turn and before the turn's submission.  Deferring a
 * task that is already deferred does nothing.  A task may defer others, and itself for the next
 * turn.
 */
void reactor_defer(struct reactor *r, struct io_task *task);

/* ---- Timers ---- */

typedef void io_timer_fn(struct io_timer *timer);

struct io_timer {
    io_timer_fn *fire;
    struct reactor *reactor; /* NULL while not armed. */
    uint64_t deadline_ns;

    /* Private to timer.c: a pairing heap. */
    struct io_timer *child;
    struct io_timer *sibling;
    struct io_timer *prev;
    uint64_t sequence; /* Equal deadlines fire in the order they were armed. */
};

void io_timer_init(struct io_timer *t, io_timer_fn *fire);

/* Fires once, not before deadline_ns.  Arming an armed timer moves it. */
void io_timer_arm(struct io_timer *t, struct reactor *r, uint64_t deadline_ns);

/*
 * When to fire what comes again and needs no precision: as late as after_ns allows, and at a
 * multiple of tick_ns, so that others fire in the same turn.  after_ns is no shorter than tick_ns.
 */
static inline uint64_t reactor_tick_ns(const struct reactor *r, uint64_t after_ns, uint64_t tick_ns)
{
    const uint64_t latest_ns = r->now_ns + after_ns;
    return latest_ns - latest_ns % tick_ns;
}

/* It will not fire; nothing happens if it is not armed. */
void io_timer_disarm(struct io_timer *t);

static inline bool io_timer_armed(const struct io_timer *t)
{
    return t->reactor != NULL;
}

/* ---- Messages between reactors, and from adapters' threads to a reactor ---- */

struct io_msg {
    struct io_msg *next; /* Private. */
    void (*deliver)(struct io_msg *msg);
};

/*
 * Calls msg->deliver(msg) on r's thread.  The message belongs to r until then; deliver may free
 * it or post it on.  Messages from one thread to one reactor arrive in order.  Any thread; if r
 * sleeps, it is woken at once.
 */
void reactor_post(struct reactor *r, struct io_msg *msg);

/*
 * The same in the loop of the reactor from: if to sleeps, it is woken at the end of from's turn,
 * once, when all is there that the turn has for it.  For what comes in numbers.
 */
void reactor_send(struct reactor *from, struct reactor *to, struct io_msg *msg);

/* ---- Memory ---- */

/*
 * Tells a reactor of memory out of which it will read and write files, none of it across a multiple
 * of piece_bytes from its start.  The kernel may hold a piece from its first use on until the
 * reactor is destroyed.  It is taken back, by any thread, when no operation uses it any more and
 * before it is unmapped.  It is a help, not a need: a reactor takes a few such memories in its
 * life.
 */
void reactor_lend_memory(struct reactor *r, struct span memory, size_t piece_bytes);
void reactor_take_back_memory(struct reactor *r, struct span memory);

/* ---- Descriptors.  Synchronous; for set-up and tear-down, not for the data path. ---- */

/* What a file or device says of itself. */
struct io_file_info {
    uint64_t bytes;
    uint32_t align_bytes;    /* Alignment of direct I/O: address, offset and length. */
    uint32_t physical_bytes; /* Physical block size. */
    uint32_t atomic_bytes;   /* Power-fail atomic write unit that the kernel reports; 0 if none. */
    bool is_block_device;
    bool is_rotational;
    bool has_volatile_cache; /* True where unknown. */
    char model[48];          /* Empty where unknown. */
    char serial[48];
};

#define IO_OPEN_WRITE     1u  /* Read and write; read only without it. */
#define IO_OPEN_CREATE    2u  /* Create the file if it is not there. */
#define IO_OPEN_EXCLUSIVE 4u  /* With CREATE: EXISTS if it is there.  On a device: O_EXCL. */
#define IO_OPEN_DIRECT    8u  /* Past the page cache; falls back where the file system cannot. */
#define IO_OPEN_LOCK      16u /* BUSY if another process (or this one) has it open locked. */

/* Opens a file or device for use on r.  create_bytes: its new size if it is created or 0. */
struct status io_file_open(struct reactor *r, const char *path, unsigned flags,
                           uint64_t create_bytes, int *out_fd,
                           struct io_file_info *out_info) MUST_CHECK;

/* How large a file or device that is open has become.  It may have been made larger, or smaller. */
struct status io_file_bytes(struct reactor *r, int fd, uint64_t *out_bytes) MUST_CHECK;

/* Listens for TCP connections.  port 0 picks one.  *out_bound is the address with the port. */
struct status io_listen(struct reactor *r, const struct io_addr *on, int *out_fd,
                        struct io_addr *out_bound) MUST_CHECK;

/* The peer's address of a connected socket. */
struct status io_peer_addr(struct reactor *r, int fd, struct io_addr *out_addr) MUST_CHECK;

/* The local address of a connected socket. */
struct status io_local_addr(struct reactor *r, int fd, struct io_addr *out_addr) MUST_CHECK;

/*
 * Makes a descriptor that was opened on one reactor usable on another: call io_fd_release() on
 * the old one, post a message, call io_fd_adopt() on the new one.  Nothing may be in flight.
 */
void io_fd_release(struct reactor *r, int fd);
struct status io_fd_adopt(struct reactor *r, int fd) MUST_CHECK;

/*
 * Ends both directions of a connection now: operations in flight complete with what they have
 * or with an error.  The descriptor stays until io_close().
 */
void io_shutdown(struct reactor *r, int fd);

/* Closes a descriptor.  Nothing may be in flight on it.  -1 is allowed. */
void io_close(struct reactor *r, int fd);

#endif

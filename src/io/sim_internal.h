/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the simulator share.  Only src/io/sim*.c include this.
 *
 *   sim_world.c    time, events, trace, machines
 *   sim_process.c  processes, their descriptors, their death
 *   sim_reactor.c  the reactor on top of it
 *   sim_net.c      sockets; sim_tcp.c: the bytes between them
 *   sim_disk.c     operations on disks; sim_image.c: what lies on them
 */
#ifndef IO_SIM_INTERNAL_H
#define IO_SIM_INTERNAL_H

#include "base/list.h"
#include "io/backend.h"
#include "io/op.h"
#include "io/sim.h"
#include "io/timer_heap.h"

/* ---- Events ---- */

struct sim_event {
    uint64_t at_ns;
    uint64_t order; /* Random, so that simultaneous events come in any order (F1). */
    size_t slot;    /* In the heap, counted from 1; 0: not scheduled. */
    void (*run)(struct sim_event *event);
};

struct sim_world {
    struct sim_config config;
    struct rng rng;
    struct sim_net net;
    uint64_t now_ns;
    uint64_t events;
    uint64_t hash;
    uint64_t owner_next;

    struct sim_event **heap;
    size_t heap_count;
    size_t heap_capacity;

    struct list machines;
    struct list conns;  /* struct sim_conn */
    struct list allocs; /* Of sim_world_alloc(). */
    struct list afters; /* Of sim_world_after(), not yet due. */
    unsigned machine_count;
    bool blocked[SIM_MACHINES_MAX][SIM_MACHINES_MAX]; /* [from][to] */

    struct sim_reactor *current; /* Whose callbacks run; NULL: the world itself. */
};

/* Schedules the event, or moves it. */
void sim_event_at(struct sim_world *w, struct sim_event *event, uint64_t at_ns);
void sim_event_cancel(struct sim_world *w, struct sim_event *event);

/* Uniform in [low, high]. */
uint64_t sim_between(struct sim_world *w, uint64_t low, uint64_t high);

/* True once in one_in; never if one_in is 0. */
bool sim_chance(struct sim_world *w, uint64_t one_in);

/* For the trace: a number that follows from the bytes. */
uint64_t sim_digest(struct const_span bytes);

/* A text of any length into the trace. */
void sim_trace_text(struct sim_world *w, const char *tag, const char *text);

/* Makes reactor (or NULL, the world) the one that runs and allocates; returns the one before. */
struct sim_reactor *sim_enter(struct sim_world *w, struct sim_reactor *reactor);

/* ---- Machines and processes ---- */

/* The boot-time clock starts at one second: zero would look like "not set". */
#define SIM_BOOT_NS NS_PER_S

struct sim_machine {
    struct sim_world *world;
    struct list_node link;
    char name[32];
    unsigned index;
    bool on;
    uint64_t boots;
    uint64_t boot_at_ns;
    int64_t wall_skew_ns;
    struct uuid boot_id;
    uint16_t port_next;
    struct list processes; /* Dead ones too. */
    struct list disks;
    struct list listeners; /* struct sim_listener */
};

enum sim_fd_kind { SIM_FD_FREE, SIM_FD_LISTENER, SIM_FD_CONN, SIM_FD_FILE };

struct sim_fd {
    enum sim_fd_kind kind;
    struct sim_reactor *reactor; /* NULL between release and adopt. */
    unsigned in_flight;
    void *object;   /* struct sim_listener, sim_end, sim_disk */
    unsigned flags; /* IO_OPEN_* of a file. */
};

struct sim_reactor {
    struct reactor base;
    struct sim_process *process;
    struct log log;
    struct sim_event turn;
    struct list ready;   /* Completed operations. */
    struct list started; /* In this turn; submitted at its end. */
    struct list tasks;
    struct list tasks_next;  /* Those that deferred themselves. */
    struct io_task *running; /* The task that runs now. */
    struct timer_heap timers;
    struct {
        struct io_msg *first;
        struct io_msg **last;
    } inbox[SIM_REACTORS_MAX + 1]; /* One per sender; [0]: the world. */
    uint64_t busy_until_ns;
    bool in_turn;
    bool stopped;
    bool destroyed;
};

struct sim_process {
    struct sim_machine *machine;
    struct list_node link;
    struct sim_program program;
    char name[32];
    uint64_t owner;
    bool alive;
    bool paused;
    bool started; /* main() has run. */
    bool crash_armed;
    bool crash_power;
    uint64_t crash_after;
    struct sim_reactor reactors[SIM_REACTORS_MAX];
    struct sim_fd *fds;
    size_t fd_count;
};

static inline struct sim_world *sim_process_world(const struct sim_process *p)
{
    return p->machine->world;
}

static inline uint64_t sim_machine_clock_ns(const struct sim_machine *m)
{
    return m->world->now_ns - m->boot_at_ns + SIM_BOOT_NS;
}

static inline struct sim_reactor *sim_of(const struct reactor *r)
{
    return (struct sim_reactor *)(uintptr_t)r; /* base is its first member. */
}

/* Ends the process: everything but calling program.ended. */
void sim_process_end(struct sim_process *p, enum sim_exit how);

/* Counts a callback; false if the process died of it. */
bool sim_process_survives(struct sim_process *p);

/* The lowest free descriptor, or -EMFILE. */
int sim_fd_alloc(struct sim_process *p, enum sim_fd_kind kind, struct sim_reactor *reactor,
                 void *object);
/* The descriptor; ends the run if the code under test may not use it so. */
struct sim_fd *sim_fd_get(struct sim_reactor *r, int fd);

/* ---- Reactors ---- */

void sim_reactor_init(struct sim_reactor *r, struct sim_process *p, unsigned index);

/* The operation has ended: its callback comes in one of the next turns. */
void sim_op_complete(struct io_op *op, int64_t result);

/* Sees to it that a turn comes when there is something to do. */
void sim_reactor_wake(struct sim_reactor *r);

/* Forgets everything: the process is dead. */
void sim_reactor_drop(struct sim_reactor *r);

/* Ends the run: the code under test broke a contract of src/io/. */
_Noreturn void sim_bug(struct sim_world *w, const char *what);

/* ---- Network ---- */

struct sim_listener {
    struct sim_machine *machine;
    struct list_node link;
    struct io_addr addr;
    struct list accepts; /* io_op.link, waiting. */
    struct list backlog; /* sim_end.link, established and not accepted. */
    unsigned backlog_count;
    bool shut;
};

void sim_net_submit(struct sim_reactor *r, struct io_op *op);
void sim_net_cancel(struct sim_reactor *r, struct io_op *op);
struct status sim_net_listen(struct sim_reactor *r, const struct io_addr *on, int *out_fd,
                             struct io_addr *out_bound) MUST_CHECK;
struct status sim_net_addr(struct sim_reactor *r, int fd, bool peer,
                           struct io_addr *out_addr) MUST_CHECK;
void sim_net_shutdown(struct sim_reactor *r, int fd);
/* The kernel's part of close and exit.  silent: the power went, nobody is told. */
void sim_net_close(struct sim_process *p, struct sim_fd *fd, bool silent);
/* Drops the connects in progress of a dead process. */
void sim_net_drop(struct sim_reactor *r);
/* After all its processes died: forgets what the kernel was still sending. */
void sim_net_machine_lost_power(struct sim_machine *m);
void sim_net_fini(struct sim_world *w);

/* ---- Disks ---- */

void sim_disk_submit(struct sim_reactor *r, struct io_op *op);
struct status sim_disk_open(struct sim_reactor *r, const char *path, unsigned flags,
                            uint64_t create_bytes, int *out_fd,
                            struct io_file_info *out_info) MUST_CHECK;
void sim_disk_close(struct sim_process *p, struct sim_fd *fd);
/* F5: settles what a dead process had in flight. */
void sim_disk_process_died(struct sim_process *p);
/* F8, F9: settles everything. */
void sim_disk_machine_lost_power(struct sim_machine *m);
void sim_disk_destroy_all(struct sim_machine *m);

#endif

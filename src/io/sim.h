/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated world: machines with processes, reactors, disks and TCP between them, all driven
 * by one seed, in virtual time.  It obeys docs/fault-model.md, whose statements (F1...) are cited.
 *
 *   world --+-- machine "a" --+-- process --+-- reactor 0, reactor 1 ...   (struct reactor)
 *           |                 |             +-- descriptors
 *           |                 +-- disk "/d1": medium, volatile cache
 *           +-- machine "b"
 *           +-- events: what happens next, in order of time
 *
 * Code above src/io/ gets simulated reactors and cannot tell.  A run is a pure function of its
 * seed (T1): sim_world_trace_hash() of two runs of one seed and one program are equal.
 *
 * Threading: a world is used by one thread; it is not tied to others.
 * Memory:    the world owns machines, processes, reactors and disks until sim_world_destroy().
 *            What the simulated code allocates belongs to its process where the caller provides
 *            struct sim_memory; it is dropped, without destructors, when the process dies.
 */
#ifndef IO_SIM_H
#define IO_SIM_H

#include "base/log.h"
#include "base/rng.h"
#include "io/addr.h"
#include "io/op.h"
#include "io/reactor.h"

#define SIM_MACHINES_MAX 32
#define SIM_REACTORS_MAX 16
#define SIM_BLOCK_BYTES  ((uint32_t)4096) /* Of rot, latent errors and F5. */

struct sim_disk;
struct sim_machine;
struct sim_process;
struct sim_world;

/* How allocations are attributed to processes.  Owner 0 is the world itself. */
struct sim_memory {
    void (*enter)(void *ctx, uint64_t owner); /* From now on, owner allocates. */
    void (*drop)(void *ctx, uint64_t owner);  /* Owner is dead: free everything it holds. */
    void *ctx;
};

struct sim_config {
    uint64_t seed;
    const struct sim_memory *memory; /* NULL: a killed process leaks. */
    /* Gets one line per event and log line, without a newline; NULL for none. */
    void (*trace)(void *ctx, const char *line);
    void *trace_ctx;
    enum log_level log_level; /* Of the processes' logs, which go to the trace. */
};

struct sim_world *sim_world_create(const struct sim_config *config);

/* Kills what runs and frees everything.  NULL is allowed. */
void sim_world_destroy(struct sim_world *w);

/* Lets the next event happen.  False if there is none. */
bool sim_world_step(struct sim_world *w);

/* Lets everything happen that is due within for_ns from now. */
void sim_world_run(struct sim_world *w, uint64_t for_ns);

/* Virtual time since the world began. */
uint64_t sim_world_now_ns(const struct sim_world *w);

/* The world's source of randomness, for scripts and workloads. */
struct rng *sim_world_rng(struct sim_world *w);

/* Events so far, and a digest of all of them in order. */
uint64_t sim_world_events(const struct sim_world *w);
uint64_t sim_world_trace_hash(const struct sim_world *w);

/* Adds an event of the caller's to the trace.  tag is a short constant string. */
void sim_trace(struct sim_world *w, const char *tag, uint64_t a, uint64_t b, uint64_t c);

/* Calls fn(ctx) after delay_ns, as the world (no process is current). */
void sim_world_after(struct sim_world *w, uint64_t delay_ns, void (*fn)(void *ctx), void *ctx);

/* Memory of the world's, zeroed, for use inside a process's callbacks; freed with the world. */
void *sim_world_alloc(struct sim_world *w, size_t bytes);

/* ---- Machines ---- */

/* Adds a machine that is powered on, with the address 10.0.0.n, n from 1. */
struct sim_machine *sim_machine_create(struct sim_world *w, const char *name);

struct io_addr sim_machine_addr(const struct sim_machine *m, uint16_t port);
bool sim_machine_is_on(const struct sim_machine *m);

/* F6.  Nothing happens if it is off, or on, already. */
void sim_machine_power_off(struct sim_machine *m);
void sim_machine_power_on(struct sim_machine *m);

/* The machine's wall clock jumps by so much; time since boot goes on. */
void sim_machine_move_clock(struct sim_machine *m, int64_t by_ns);

/* ---- Processes ---- */

enum sim_exit { SIM_EXIT_STOPPED, SIM_EXIT_KILLED, SIM_EXIT_POWER };

struct sim_program {
    const char *name;
    unsigned reactors; /* 1 to SIM_REACTORS_MAX. */
    /* Runs as the process, on reactor 0, before anything else. */
    void (*main)(struct sim_process *p, void *ctx);
    /* Runs as the world when the process is gone.  NULL is allowed. */
    void (*ended)(struct sim_process *p, enum sim_exit how, void *ctx);
    void *ctx;
};

/* Starts a process.  The machine is on.  It ends when all its reactors were stopped. */
struct sim_process *sim_spawn(struct sim_machine *m, const struct sim_program *program);

bool sim_process_is_alive(const struct sim_process *p);
struct reactor *sim_process_reactor(struct sim_process *p, unsigned index);
struct sim_machine *sim_process_machine(struct sim_process *p);
uint64_t sim_process_owner(const struct sim_process *p); /* For struct sim_memory; never 0. */

/* The world and the process that a simulated reactor belongs to. */
struct sim_world *sim_reactor_world(const struct reactor *r);
struct sim_process *sim_reactor_process(const struct reactor *r);

/* F4, F5.  Not from inside the process's own callbacks: there, use sim_process_crash_after(). */
void sim_process_kill(struct sim_process *p);

/* Kills the process, or its machine, after so many more callbacks (0: after the current one). */
void sim_process_crash_after(struct sim_process *p, uint64_t callbacks, bool power);

/* F2: SIGSTOP and SIGCONT. */
void sim_process_pause(struct sim_process *p);
void sim_process_resume(struct sim_process *p);

/* ---- Disks: files by path, which outlive processes and, as F8 to F11 say, the power ---- */

struct sim_disk_config {
    uint64_t bytes;
    uint32_t align_bytes;  /* 512 or 4096. */
    uint32_t atomic_bytes; /* F10: 512 to 16384. */
    bool reports_atomic;   /* io_file_info.atomic_bytes says so. */
    bool volatile_cache;
    bool is_block_device;
    bool liar; /* Completes flush and FUA without doing anything. */
    bool cannot_discard;
};

/* What goes wrong on a disk, from now on; may be changed at any time. */
struct sim_disk_faults {
    uint64_t read_error_one_in; /* F15; 0: never. */
    uint64_t write_error_one_in;
    uint64_t write_errors_from; /* Bytes: before it no write fails. */
    bool write_errors_whole;    /* What fails is done to whole blocks, or not at all. */
    uint64_t flush_error_one_in;
    uint64_t slow_one_in; /* F16: one in so many operations takes up to slow_ns. */
    uint64_t slow_ns;
    bool full; /* F15: writes fail with ENOSPC. */
    bool gone; /* F16: everything fails with EIO. */
};

struct sim_disk_stats {
    uint64_t reads, writes, flushes, discards;
    uint64_t errors;     /* Injected. */
    uint64_t lost_units; /* That power losses took. */
};

/* Good values for a disk of the size, the rest chosen at random. */
struct sim_disk_config sim_disk_config_random(struct sim_world *w, uint64_t bytes);

struct sim_disk *sim_disk_create(struct sim_machine *m, const char *path,
                                 const struct sim_disk_config *config);
struct sim_disk *sim_disk_find(struct sim_machine *m, const char *path);
/*
 * From now on it completes flush and FUA at once, and what it persists is in order: a power loss
 * leaves it as it was at some moment.  It has a volatile cache.
 */
void sim_disk_lag(struct sim_disk *d);

/*
 * F25: the file or device is larger from now on, by zeros.  A file is durably so once it was
 * flushed; until then a power loss may take that back.
 */
void sim_disk_grow(struct sim_disk *d, uint64_t bytes);
struct sim_disk_faults *sim_disk_faults(struct sim_disk *d);
const struct sim_disk_config *sim_disk_config(const struct sim_disk *d);
struct sim_disk_stats sim_disk_stats(const struct sim_disk *d);

/* Is told, as the world, of each operation that fails for a fault (F14 to F16). */
struct sim_disk_failure {
    enum io_kind kind;
    uint64_t offset;
    uint64_t bytes;
    struct const_span data; /* Of a write: what it was to write. */
};
void sim_disk_watch(struct sim_disk *d,
                    void (*failed)(void *ctx, const struct sim_disk_failure *failure), void *ctx);

/* F14: flips one to eight bits of the block at offset. */
void sim_disk_rot(struct sim_disk *d, uint64_t offset);
/* F14: reads of the block at offset fail until it is written. */
void sim_disk_latent_error(struct sim_disk *d, uint64_t offset);
/* A random block that has ever been written; false if none was. */
bool sim_disk_pick_written(struct sim_disk *d, uint64_t *out_offset);
/* Looks at the content, or changes it behind everybody's back. */
void sim_disk_peek(const struct sim_disk *d, uint64_t offset, struct span out);
void sim_disk_poke(struct sim_disk *d, uint64_t offset, struct const_span data);

/* ---- Network ---- */

struct sim_net {
    uint64_t latency_min_ns; /* Of a segment. */
    uint64_t latency_max_ns;
    uint64_t segment_max;  /* Bytes; 0: each connection gets its own, down to 1. */
    uint64_t cut_one_in;   /* F18: one in so many segments is a connection's last; 0: never. */
    uint64_t alter_one_in; /* F22: one in so many segments has a bit flipped; 0: never. */
    uint64_t stall_one_in; /* One in so many segments takes up to stall_ns. */
    uint64_t stall_ns;
    uint64_t patience_ns;     /* A stall that TCP does not outlast. */
    uint64_t connect_wait_ns; /* How long a connect tries. */
};

/* The network's settings; may be changed at any time. */
struct sim_net *sim_world_net(struct sim_world *w);

/* F20: whether bytes from one machine reach another. */
void sim_net_block(struct sim_machine *from, struct sim_machine *to, bool blocked);

/* F18: cuts every connection of the machine, each with one chance in one_in. */
void sim_net_cut(struct sim_machine *m, uint64_t one_in);

/* ---- For tests of src/io/ itself: a reactor that reactor_run() can run ---- */

/* One process with one reactor on a machine; reactor_run() on it runs the whole world. */
struct reactor *sim_reactor_create(struct sim_machine *m, unsigned index);

#endif

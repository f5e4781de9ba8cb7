/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the servers of the benchmark share: reactors that run until SIGTERM or SIGINT, and a line of
 * JSON for each SIGUSR1 with what they have done so far and what that cost.
 *
 *     {"ops": 12, "turns": 5, "sleeps": 3, "syscalls": 7, "cpu_us": 1234, "device_writes": 4,
 *      "device_flushes": 0}
 *
 * With --hollow it also has "superblock_writes", "journal_writes", "checkpoint_writes",
 * "sums_writes" and "data_writes", that is, device_writes by part, and "checkpoints": [1, 2, 2], of
 * each disk.
 *
 * Threading: the main thread runs the first reactor; each further one has a thread.  Counters of
 *            other threads are read as they are.
 * Memory:    static; one server per process.
 */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include "disk/dev.h"
#include "hollow.h"
#include "io/addr.h"
#include "io/reactor.h"

#define SERVE_DEVICES_MAX  4
#define SERVE_REACTORS_MAX 8

struct serve {
    struct reactor *reactor; /* The first. */
    struct reactor *reactors[SERVE_REACTORS_MAX];
    unsigned reactor_count;
    struct io_addr listen; /* From the command line; port 0 unless it was given. */
    const char *folder;    /* --disks; NULL: none. */
    bool hollow;
    uint64_t volume_bytes;
    struct io_msg report;
    _Atomic bool reporting;
    const struct dev_stats *devices[SERVE_DEVICES_MAX];    /* To add up; NULL: none. */
    const struct hollow_stats *hollows[SERVE_DEVICES_MAX]; /* Likewise. */
};

/*
 * Takes [--spin off|auto|MICROSECONDS] [--io-features LIST] [--disks FOLDER] [--reactors N]
 * [--volume-size SIZE] [--hollow] [ADDR:PORT]; ends the process if they are wrong.
 */
void serve_init(struct serve *s, int argc, char **argv);

/* Prints where the server listens. */
void serve_listening(const struct io_addr *bound);

/* Runs until the signal. */
void serve_run(struct serve *s);

/* Ends the process with a message if st is not OK. */
void serve_check(struct status st, const char *what);

#endif

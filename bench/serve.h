/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the servers of the benchmark share: one reactor that runs until SIGTERM or SIGINT, and a
 * line of JSON for each SIGUSR1 with what it has done so far and what that cost.
 *
 *     {"ops": 12, "turns": 5, "sleeps": 3, "syscalls": 7, "cpu_us": 1234, "device_writes": 4}
 *
 * Threading: one thread.   Memory: static; one server per process.
 */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include "io/addr.h"
#include "io/reactor.h"

#define SERVE_DEVICES_MAX 4

struct serve {
    struct reactor *reactor;
    struct io_addr listen; /* From the command line; port 0 unless it was given. */
    const char *folder;    /* --disks; NULL: none. */
    struct io_msg report;
    _Atomic bool reporting;
    const uint64_t *device_writes[SERVE_DEVICES_MAX]; /* Counters to add up, until the end. */
    unsigned device_count;
};

/*
 * Takes [--spin off|auto|MICROSECONDS] [--io-features LIST] [--disks FOLDER] [ADDR:PORT]; ends
 * the process if they are wrong.
 */
void serve_init(struct serve *s, int argc, char **argv);

/* Prints where the server listens. */
void serve_listening(const struct io_addr *bound);

/* Runs until the signal. */
void serve_run(struct serve *s);

/* Ends the process with a message if st is not OK. */
void serve_check(struct status st, const char *what);

#endif

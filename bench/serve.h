/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the servers of the benchmark share: one reactor that runs until SIGTERM or SIGINT, and a
 * line of JSON at the end with what it has done and what that cost.
 *
 *     {"ops": 12, "turns": 5, "sleeps": 3, "syscalls": 7, "cpu_us": 1234, "ios": 4}
 *
 * Threading: one thread.   Memory: static; one server per process.
 */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include "io/addr.h"
#include "io/reactor.h"

struct serve {
    struct reactor *reactor;
    struct io_addr listen; /* From the command line; port 0 unless it was given. */
    uint64_t ios;          /* Counted by the server. */
};

/* Takes [--spin off|auto|MICROSECONDS] [ADDR:PORT]; ends the process if they are wrong. */
void serve_init(struct serve *s, int argc, char **argv);

/* Prints where the server listens and runs until the signal; then prints the line. */
void serve_run(struct serve *s, const struct io_addr *bound);

/* Ends the process with a message if st is not OK. */
void serve_check(struct status st, const char *what);

#endif

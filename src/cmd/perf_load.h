/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which I/O comes next: the pattern of `trilith perf --rw`.
 *
 * Threading: the owner's.   Memory: embedded.
 */
#ifndef CMD_PERF_LOAD_H
#define CMD_PERF_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"

enum perf_rw {
    PERF_RW_READ,
    PERF_RW_WRITE,
    PERF_RW_RANDREAD,
    PERF_RW_RANDWRITE,
    PERF_RW_RANDRW,
};

/* "read" and so on.  INVALID for anything else. */
struct status perf_rw_parse(const char *text, enum perf_rw *out_rw) MUST_CHECK;
const char *perf_rw_name(enum perf_rw rw);

bool perf_rw_reads(enum perf_rw rw);
bool perf_rw_writes(enum perf_rw rw);

struct perf_load {
    enum perf_rw rw;
    unsigned read_percent; /* RANDRW. */
    uint64_t first;        /* Bytes: the range is [first, first + bytes). */
    uint64_t bytes;        /* At least io_bytes. */
    uint64_t io_bytes;

    /* Private to perf_load.c. */
    struct rng rng;
    uint64_t io_count; /* I/Os in the range. */
    uint64_t next;     /* Of a sequential load. */
};

struct perf_op {
    bool is_read;
    uint64_t offset; /* Bytes in the namespace. */
    uint64_t bytes;  /* io_bytes, or what is left at the end of the range. */
};

/* The public members are filled in. */
void perf_load_init(struct perf_load *load, uint64_t seed);

/*
 * Sequential loads start again at the beginning of the range when they are through, and end with
 * a shorter I/O if the range is not a multiple of io_bytes; random ones leave that rest alone.
 */
struct perf_op perf_load_next(struct perf_load *load);

#endif

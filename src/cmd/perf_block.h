/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `trilith perf --verify` writes into each block of 4 KiB, and how it tells, when it reads
 * a block, what is there.
 *
 *   0        8       24      32       40         48     56           60            4096
 *   +--------+-------+-------+--------+----------+------+------------+-------------+
 *   | magic  | volume| run   | block  | sequence | seed | CRC32C     | pattern     |
 *   +--------+-------+-------+--------+----------+------+------------+-------------+
 *
 * All integers are little-endian.  block is the block's index in the namespace; sequence counts
 * the writes of that block from 1 on; the pattern is a piece of a table that the seed gives,
 * chosen by block and sequence.  The CRC is that of the whole block with the field itself zero.
 *
 * Threading: pure.   Memory: struct perf_pattern is the caller's.
 */
#ifndef CMD_PERF_BLOCK_H
#define CMD_PERF_BLOCK_H

#include <stdint.h>

#include "base/uuid.h"

#define PERF_BLOCK_BYTES        4096u
#define PERF_BLOCK_HEADER_BYTES 60u
#define PERF_PATTERN_BYTES      65536u

/* Random data, made once, so that filling a block is a copy. */
struct perf_pattern {
    uint64_t seed;
    uint8_t bytes[PERF_PATTERN_BYTES + PERF_BLOCK_BYTES]; /* Any start below PATTERN_BYTES. */
};

void perf_pattern_init(struct perf_pattern *p, uint64_t seed);

/* Whose blocks these are: the namespace, and one life of a verify-state file. */
struct perf_block_id {
    struct uuid volume;
    uint64_t run;
};

/* Fills one block. */
void perf_block_fill(uint8_t *data, const struct perf_pattern *p, const struct perf_block_id *id,
                     uint64_t block, uint64_t sequence);

enum perf_found {
    PERF_FOUND_ZEROS,       /* Never written, or deallocated. */
    PERF_FOUND_BLOCK,       /* Ours: *out_sequence says which write. */
    PERF_FOUND_ANOTHER_RUN, /* Whole, at the right place, written by another run. */
    PERF_FOUND_MISPLACED,   /* Whole, but of block *out_block (of this volume or another). */
    PERF_FOUND_DAMAGED,     /* It has the magic, and its CRC is wrong. */
    PERF_FOUND_GARBAGE,     /* Neither zeros nor ours. */
};

struct perf_finding {
    enum perf_found found;
    uint64_t block;    /* That the data name.  Not valid for ZEROS and GARBAGE; */
    uint64_t sequence; /* the same here, and doubtful for DAMAGED. */
};

/* Says what one block that was read at index block holds. */
struct perf_finding perf_block_inspect(const uint8_t *data, const struct perf_block_id *id,
                                       uint64_t block);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What perf knows about each block it has written: in memory, or in a verify-state file that
 * later runs read.
 *
 *   0        4096
 *   +--------+------------------------------------------------+
 *   | header | one record of 16 bytes for each block          |
 *   +--------+------------------------------------------------+
 *
 *   header: magic 8, version 4, record bytes 4, volume UUID 16, run 8, seed 8, first block 8,
 *           blocks 8, CRC32C of what precedes 4; the rest is zero
 *   record: submitted 4, acknowledged 4, flushed 4, zero 4
 *
 * All integers are little-endian.  The three numbers are the highest sequences of the block that
 * were submitted, acknowledged, and acknowledged before a Flush was submitted that completed (or
 * acknowledged as FUA).  What a block may hold is any sequence from acknowledged (after a crash
 * of processes) or flushed (after a loss of power) up to submitted.  0 stands for "never": zeros.
 *
 * The file is mapped shared and preallocated.  submitted is stored before the command is handed
 * to the initiator, acknowledged after its completion: each store is one aligned word, so that
 * SIGKILL of perf at any instruction leaves a file that is right.  It is not synced: a crash of
 * the machine on which perf runs may lose it.
 *
 * Threading: the owner's; the file is locked against a second process.
 * Memory:    the mapping.
 */
#ifndef CMD_PERF_STATE_H
#define CMD_PERF_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "cmd/perf_block.h"

/* What a state belongs to; a file must agree in all of it. */
struct perf_state_id {
    struct perf_block_id block_id;
    uint64_t seed;
    uint64_t first_block;
    uint64_t block_count; /* At least 1, at most PERF_STATE_BLOCKS_MAX. */
};

#define PERF_STATE_BLOCKS_MAX (UINT64_C(1) << 28) /* 1 TiB of volume; a file of 4 GiB. */

struct perf_record {
    uint32_t submitted;
    uint32_t acknowledged;
    uint32_t flushed;
};

struct perf_state;

/* A state in memory, for a run that nobody follows. */
struct status perf_state_create(const struct perf_state_id *id,
                                struct perf_state **out_state) MUST_CHECK;

/* Creates a file; EXISTS if there is one, NO_SPACE if it does not fit. */
struct status perf_state_create_file(const char *path, const struct perf_state_id *id,
                                     struct perf_state **out_state) MUST_CHECK;

/*
 * Opens a file.  NOT_FOUND if there is none; BUSY if another process has it; CORRUPT if it is not
 * a verify-state file or does not have the length that its header says; BAD_VERSION.
 */
struct status perf_state_open_file(const char *path, struct perf_state **out_state) MUST_CHECK;

/* NULL is allowed. */
void perf_state_close(struct perf_state *s);

const struct perf_state_id *perf_state_id(const struct perf_state *s);

/* index counts from first_block on. */
struct perf_record perf_state_get(const struct perf_state *s, uint64_t index);

/* Each changes one word, and the compiler may not move it across another of them. */
void perf_state_set_submitted(struct perf_state *s, uint64_t index, uint32_t sequence);
void perf_state_set_acknowledged(struct perf_state *s, uint64_t index, uint32_t sequence);
void perf_state_set_flushed(struct perf_state *s, uint64_t index, uint32_t sequence);

#endif

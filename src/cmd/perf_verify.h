/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker of `trilith perf --verify`: decides what each block may hold, and says exactly what
 * is wrong when a block holds something else.
 *
 *   write:  begin (numbers and fills the blocks, at most one write in flight per block)
 *           -> end (acknowledged, or fate unknown)
 *   read:   begin (notes what is acknowledged now)  -> end (checks every block)
 *   flush:  begin (notes what is acknowledged now)  -> end (that is flushed)
 *
 * A block read holds a sequence from the highest acknowledged when the read began (with
 * power_loss: the highest flushed) to the highest submitted when it ended.  A value that a read
 * has returned counts as acknowledged from then on: no read goes backwards.
 *
 * A block that was never acknowledged holds zeros, a submitted sequence, or a whole block of an
 * earlier run.
 *
 * Threading: the owner's.
 * Memory:    5 bytes per block beside the state; nothing is allocated after creation.
 */
#ifndef CMD_PERF_VERIFY_H
#define CMD_PERF_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "cmd/perf_block.h"
#include "cmd/perf_state.h"

struct perf_verify;

/* What is wrong with one block. */
struct perf_violation {
    uint64_t block;    /* In the namespace. */
    uint32_t at_least; /* The sequences that it may hold; at_least 0: zeros too. */
    uint32_t at_most;
    bool power_loss; /* at_least is what was flushed, not what was acknowledged. */
    struct perf_finding finding;
};

struct perf_violation_text {
    char s[256];
};

/* "block 7 (byte 28672): lost write: expected sequence 3 (acknowledged) to 4 ..., found 2". */
struct perf_violation_text perf_violation_format(const struct perf_violation *v);

struct perf_verify_config {
    struct perf_state *state; /* Borrowed. */
    bool power_loss;          /* Judge reads by what was flushed.  Only for runs without writes. */
    void (*violation)(void *ctx, const struct perf_violation *v);
    void *ctx;
};

/* A run of blocks of the state: index counts from its first block on. */
struct perf_extent {
    uint64_t index;
    uint64_t count;
};

/* CORRUPT if the state's records contradict themselves. */
struct status perf_verify_create(const struct perf_verify_config *config,
                                 struct perf_verify **out_verify) MUST_CHECK;

/* Nothing is in flight.  NULL is allowed. */
void perf_verify_destroy(struct perf_verify *v);

/*
 * Numbers the blocks' next writes, records them as submitted and fills data.  BUSY if another
 * write of one of them is in flight; LIMIT if a block has used up its sequences.
 */
struct status perf_verify_write_begin(struct perf_verify *v, struct perf_extent e,
                                      struct span data) MUST_CHECK;

enum perf_outcome {
    PERF_OUTCOME_ACKNOWLEDGED,
    PERF_OUTCOME_UNKNOWN, /* Failed or lost: it may or may not have happened. */
};
void perf_verify_write_end(struct perf_verify *v, struct perf_extent e, enum perf_outcome outcome,
                           bool fua);

/* floors: one word per block, which the caller keeps until read_end. */
void perf_verify_read_begin(struct perf_verify *v, struct perf_extent e, uint32_t *floors);

/* Checks what was read; returns how many blocks are wrong, each reported by violation(). */
uint64_t perf_verify_read_end(struct perf_verify *v, struct perf_extent e, const uint32_t *floors,
                              struct const_span data);

/* One Flush at a time: false if another is in flight. */
bool perf_verify_flush_begin(struct perf_verify *v) MUST_CHECK;
void perf_verify_flush_end(struct perf_verify *v, bool completed);

struct perf_verify_counts {
    uint64_t blocks_checked;
    uint64_t blocks_wrong;
    uint64_t blocks_unwritten; /* Checked, and never acknowledged. */
    uint64_t writes_unknown;   /* Blocks whose last write has an unknown fate, now. */
};

struct perf_verify_counts perf_verify_counts(const struct perf_verify *v);

#endif

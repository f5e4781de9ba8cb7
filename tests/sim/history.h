/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker: for every block, which values may a read return now, and which after a power loss?
 *
 * A block of a generation has versions: one per write that was ever submitted and may still be
 * seen.  Each is in one or both of two sets:
 *
 *   now    what a read may return
 *   power  what a read may return after a power loss; now is part of it
 *
 *   submit               the new version is in both
 *   complete             versions that had ended before the submission leave now
 *   complete with FUA    ... and power (S1)
 *   flush completes      what was not in now when the flush was submitted leaves power (S1)
 *   process dies         writes in flight end, and may have happened (S2)
 *   power is lost        now becomes power
 *   the store is opened  what had failed and left now by a read may be back, unless a flush (that
 *     again              must have reached the disk) or a later write has completed since
 *   copy                 as a write of one value out of those that the source may have meanwhile
 *   a read returns v     what had ended before the read and is not v leaves now
 *   the medium is hurt   "damaged" becomes a version: a read may be a media error (S3) until a
 *                        later write replaces it like any other version; a write that failed
 *                        leaves it whatever reads return
 *
 * It knows nothing of the code under test: a replica set or a store is checked alike.
 *
 * Threading: one thread.
 * Memory:    the world's (memory.h), whoever calls.
 */
#ifndef TESTS_SIM_HISTORY_H
#define TESTS_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define HISTORY_ZERO    UINT64_C(0)
#define HISTORY_ABSENT  UINT64_MAX       /* Reads through to the generation below; then zeros. */
#define HISTORY_BAD     (UINT64_MAX - 1) /* Bytes that nobody ever wrote to this block. */
#define HISTORY_DAMAGED (UINT64_MAX - 2) /* No bytes: a media error. */

struct history;

/* What a write, a read or a flush is about; embedded in the harness's request. */
struct history_op {
    uint64_t submitted; /* Private. */
    uint32_t generation;
    uint64_t block; /* The first. */
    uint64_t count;
    uint64_t content; /* Of a write: its identity, or HISTORY_ZERO. */
    uint64_t source;  /* Of a copy: the first block that it reads. */
};

struct history *history_create(uint64_t blocks, uint32_t generations);
void history_destroy(struct history *h);

/* The disk is a liar: neither flush nor FUA settles anything. */
void history_set_liar(struct history *h);

/* A new identity for the content of a write. */
uint64_t history_content(struct history *h);

/*
 * A copy of op->count blocks from op->source on, of the only generation; it ends as a write.  Each
 * of its blocks is one of the values that the source may have until then.
 */
void history_copy_start(struct history *h, struct history_op *op);

/* A write of op->content to all of op's blocks. */
void history_write_start(struct history *h, struct history_op *op);
void history_write_done(struct history *h, struct history_op *op, bool ok, bool fua);

/* The write was refused, and nothing of it is to be seen; a power loss may bring it back. */
void history_write_refused(struct history *h, const struct history_op *op);

/* The write was never carried out, and never will be. */
void history_write_undone(struct history *h, const struct history_op *op);

void history_flush_start(struct history *h, struct history_op *op);
void history_flush_done(struct history *h, struct history_op *op, bool ok);

void history_read_start(struct history *h, struct history_op *op);

/* Whether a read may have returned content for the block; if so, takes note of it. */
bool history_read_block(struct history *h, const struct history_op *op, uint64_t block,
                        uint64_t content);

/* Whether a Compare of content with the block may have found that they differ. */
bool history_may_differ(const struct history *h, const struct history_op *op, uint64_t block,
                        uint64_t content);

/* What the block is likely to hold: the youngest value that a read may return now. */
uint64_t history_guess(const struct history *h, uint64_t block);

/* ---- Damage: what the medium may have lost, and a read may report instead of returning it ---- */

/* Whether a read may still find that content in the block. */
bool history_holds(const struct history *h, uint64_t block, uint64_t content);

/* The block's place with that content is hurt; nothing happens where no read can return it. */
void history_damage_content(struct history *h, uint64_t block, uint64_t content);

/* The write of that content failed and left its blocks torn: those that had data before. */
void history_damage_write(struct history *h, uint64_t content);

/* What the last death left open, in every block, may stay unknown. */
void history_damage_unsettled(struct history *h);

/* Whether a read may have found damage. */
bool history_read_failed(const struct history *h, const struct history_op *op);

/* Events so far; to be compared with what history_is_from_before() is asked for. */
uint64_t history_clock(const struct history *h);

/* Whether a read may have met data of a write that was submitted before then. */
bool history_is_from_before(const struct history *h, const struct history_op *op, uint64_t then);

/* All operations in flight end without an answer. */
void history_process_died(struct history *h);
void history_power_lost(struct history *h);
/* The same in the blocks of which gone() says so: of the others somebody has all that completed. */
void history_power_lost_in(struct history *h, bool (*gone)(void *ctx, uint64_t block), void *ctx);
/* Writes that failed may have reached the disk, also where reads did not show them any more: what
 * took them back is no more durable than they are. */
void history_store_reopened(struct history *h);

/* Whether a completed write may be gone: the last power loss could take something. */
bool history_loss_possible(const struct history *h);
/* Whether a read has shown that the last power loss took a completed write. */
bool history_loss_seen(const struct history *h);

/* Whether the block certainly holds data (not zeros, not absent) in that generation. */
bool history_is_written(const struct history *h, uint32_t generation, uint64_t block);

/* The allowed contents, for people: "3 or 7 or zeros". */
void history_describe(const struct history *h, const struct history_op *op, uint64_t block,
                      char *out_text, size_t text_bytes);

/* ---- Patterns: a block's bytes tell what was written and where ---- */

#define PATTERN_BYTES_MIN 512

/*
 * What was written to one block and copied to another is another content there: it says where it
 * comes from, in its upper bits.
 */
#define PATTERN_CONTENT_BITS 40

/* Fills a block, a multiple of PATTERN_BYTES_MIN, so that it names content and address. */
void pattern_fill(uint64_t address, uint64_t content, struct span out_block);

/* The content of a block at that address; HISTORY_ZERO for zeros, HISTORY_BAD for anything else. */
uint64_t pattern_read(uint64_t address, struct const_span block);

/* Whether the block is whole and not zeros: which address it names, and the content. */
bool pattern_name(struct const_span block, uint64_t *out_address, uint64_t *out_content);

#endif

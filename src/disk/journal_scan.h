/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal ring, read after a crash: first to find where it ends, then block by block.
 * docs/disk-format.md, sections 3 (F4) and 4.1 (F10, F11).
 *
 * Threading: belongs to the device's reactor.
 * Memory:    one read buffer, allocated at start and freed before done.
 */
#ifndef DISK_JOURNAL_SCAN_H
#define DISK_JOURNAL_SCAN_H

#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "disk/dev.h"
#include "disk/layout.h"
#include "disk/metablock.h"

struct journal_scan;

struct journal_scan_config {
    struct dev *dev;
    struct disk_extent ring;
    uint64_t tag;
    uint64_t life;
    uint64_t start;   /* The first block to replay. */
    uint64_t flushed; /* The mark that the superblock carries. */
    /*
     * One valid block, in order; data are its data blocks.  A failure ends the scan.  NULL: only
     * the end is looked for.
     */
    struct status (*block)(void *ctx, const struct metablock *head, struct const_span payload,
                           struct const_span data);
    /*
     * OK, or CORRUPT if a block at or before the flushed mark is missing (result->end names it),
     * or one that the pass before has found; or the failure of a read, where result->end may be
     * there; or that of block().
     */
    void (*done)(void *ctx, struct status status);
    void *ctx;
};

struct journal_scan_result {
    uint64_t end;     /* The first sequence that is not in the journal. */
    uint64_t flushed; /* The highest marks seen. */
    uint64_t settled;
    uint64_t bad_offset; /* Of the block end, in bytes of the device. */
};

/* One pass.  With block() set, known is the result of the pass before: it reads up to its end. */
struct status journal_scan_start(const struct journal_scan_config *config,
                                 const struct journal_scan_result *known,
                                 struct journal_scan **out_scan) MUST_CHECK;

/* Valid in done(). */
struct journal_scan_result journal_scan_get_result(const struct journal_scan *scan);

/*
 * Checks whether the block at the start of blocks is block sequence of this journal, complete
 * with its data blocks.  TRUNCATED if blocks ends before they do.
 */
struct status journal_block_check(struct const_span blocks, uint64_t tag, uint64_t life,
                                  uint64_t sequence, struct metablock *out_head) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that keeps its metadata in memory and forgets its data: for counting device writes over
 * working sets that no memory holds.  Data read back fail their checksums.
 *
 * Threading: as any device.   Memory: what the metadata touch.
 */
#ifndef BENCH_HOLLOW_H
#define BENCH_HOLLOW_H

#include "disk/dev.h"

/* By the part of the disk (docs/disk-format.md, section 2). */
enum hollow_part {
    HOLLOW_SUPERBLOCK,
    HOLLOW_JOURNAL,
    HOLLOW_CHECKPOINT,
    HOLLOW_SUMS,
    HOLLOW_DATA,
    HOLLOW_PARTS
};

struct hollow_stats {
    uint64_t writes[HOLLOW_PARTS];
    uint64_t checkpoints; /* That a superblock has named. */
};

struct status hollow_open(struct reactor *r, uint64_t bytes, struct dev **out_dev) MUST_CHECK;

/* What it has counted; of a device that hollow_open() has made. */
const struct hollow_stats *hollow_stats(const struct dev *dev);

#endif

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

struct status hollow_open(struct reactor *r, uint64_t bytes, struct dev **out_dev) MUST_CHECK;

#endif

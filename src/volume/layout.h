/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a byte of a volume lies: address -> (shard, offset in the shard), and back.
 *
 *   stripe_width 3:    address --->
 *
 *     | shard 0 | shard 1 | shard 2 |  | shard 3 | shard 4 |     the last group may be narrower
 *     +---------+---------+---------+  +---------+---------+
 *     |    0    |    1    |    2    |  |    9    |   10    |     row 0: one stripe unit each
 *     |    3    |    4    |    5    |  |   11    |   12    |     row 1
 *     |    6    |    7    |    8    |  |   13    |   14    |     row 2
 *
 * Shards are taken in groups of stripe_width, in order; a stripe runs over its group in units.
 * The last group has the shards that are left and is striped over these.  Only the last row of
 * the volume may end early.
 *
 * The place of an address never changes (V1).  So a volume that grows fills its last group, whose
 * width stays what it was, and goes on behind it in a second run, all of whose groups have the
 * full width; the last of these may be used in part, and is what the next growth fills:
 *
 *   first run, 2 shards:            second run:
 *     | shard 0 | shard 1 |           | shard 2 | shard 3 | shard 4 |  | shard 5 | ...
 *
 * docs/disk-format.md, section 2.5.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef VOLUME_LAYOUT_H
#define VOLUME_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* What a layout follows from. */
struct layout_shape {
    uint64_t bytes;
    uint64_t shard_bytes;
    uint32_t unit_bytes; /* A power of two; divides shard_bytes. */
    uint32_t stripe_width;
    uint32_t first_run_shards; /* 0: there is no second run. */
};

/* Groups in a row. */
struct layout_run {
    uint64_t at;    /* Address of its first byte. */
    uint64_t bytes; /* That the volume uses of it. */
    uint32_t first; /* Shard. */
    uint32_t count; /* Shards. */
};

struct layout {
    uint64_t bytes;
    uint64_t shard_bytes;
    uint32_t unit_bytes;
    uint32_t stripe_width;
    uint32_t shard_count;
    /* Private to layout.c. */
    unsigned unit_shift;
    uint64_t group_bytes;
    struct layout_run runs[2];
    unsigned run_count;
};

/* A contiguous part of one shard. */
struct layout_extent {
    uint32_t shard;
    uint64_t offset; /* Bytes in the shard. */
    uint64_t bytes;
};

/* A contiguous part of the volume's addresses. */
struct layout_range {
    uint64_t at;
    uint64_t bytes;
};

/*
 * Makes the layout of a shape: INVALID if a size is zero or does not fit the others, OUT_OF_RANGE
 * if there would be 2^32 shards or more.
 */
struct status layout_init(struct layout *l, const struct layout_shape *shape) MUST_CHECK;

/* Whether every address that the old layout has lies at the same place in the new one (V1). */
bool layout_extends(const struct layout *l, const struct layout *old);

/*
 * The first part of the range, which lies in the volume and is not empty: up to the end of its
 * stripe unit.  Consecutive parts cover the range.
 */
struct layout_extent layout_first_extent(const struct layout *l, struct layout_range range);

/* The address of a byte of a shard, which must be one that the volume uses. */
uint64_t layout_address(const struct layout *l, uint32_t shard, uint64_t offset);

/*
 * How many bytes of the shard the volume uses: shard_bytes, or less at the end of a run; in the
 * last group of the second run perhaps none.
 */
uint64_t layout_shard_used(const struct layout *l, uint32_t shard);

/*
 * Walks a range shard by shard instead of unit by unit: a long range touches each shard of a
 * group in one contiguous run, however finely it is striped.
 */
struct layout_walk {
    struct layout_range rest; /* From the group that is being walked on. */
    uint64_t piece_bytes_max;
    /* Private to layout.c. */
    uint32_t column;
    uint64_t done_bytes; /* Of the column's run. */
};

/* The range lies in the volume; piece_bytes_max is at least one block. */
void layout_walk_init(struct layout_walk *w, struct layout_range range, uint64_t piece_bytes_max);

/* The next piece, at most piece_bytes_max long; false at the end. */
bool layout_walk_next(struct layout_walk *w, const struct layout *l,
                      struct layout_extent *out_extent);

#endif

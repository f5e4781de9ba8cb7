/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the shards of a new volume lie, or of one that grows: a pure function of the disks.
 *
 * Volumes are thin.  Placement counts what is *planned*: the full size of every shard that was
 * placed on a disk, whether written or not.  Each shard goes to the disk with the lowest planned
 * share of its capacity, so that disks fill in proportion to their size; and the shards of one
 * stripe go to different disks as long as there are enough.  Planning more than a disk holds is
 * allowed, and the caller tells the user (placement_overcommit()).
 *
 * Threading: pure.   Memory: the caller's.
 */
#ifndef CTL_PLACEMENT_H
#define CTL_PLACEMENT_H

#include <stdint.h>

#include "base/status.h"

struct placement_disk {
    uint64_t bytes;         /* Of its data area; > 0. */
    uint64_t planned_bytes; /* In: of all shards placed here.  Out: with the new ones. */
};

struct placement_shape {
    uint64_t shard_bytes;
    uint32_t shard_count;
    uint32_t stripe_width; /* Consecutive shards that share a stripe; at least 1. */
};

/*
 * Fills out_disks[shape->shard_count] with indexes into disks.  Equal inputs give equal results.
 * NO_SPACE if there are no disks.
 */
struct status placement_plan(const struct placement_shape *shape, struct placement_disk *disks,
                             uint32_t disk_count, uint32_t *out_disks) MUST_CHECK;

/*
 * What growth adds to a volume: docs/disk-format.md, section 2.5.  In: the volume as it is.  Out:
 * as it shall be; the new shards, if any, are whole groups.
 */
struct placement_growth {
    uint64_t shard_bytes;
    uint32_t stripe_width;
    uint64_t shard_count; /* In: at most CTL_SHARDS_MAX.  Out: perhaps more; the caller looks. */
    uint32_t first_run_shards;
};

/* bytes is more than the volume has. */
void placement_grow(struct placement_growth *growth, uint64_t bytes);

/*
 * What the volume can use of a shard, which is what is planned for it: its size, but in the last
 * group of a second run, which is there as a whole from the start.
 */
uint64_t placement_shard_share(const struct placement_growth *volume, uint64_t bytes,
                               uint32_t shard);

/* Planned bytes beyond what the disks hold, summed over the disks that are overcommitted. */
uint64_t placement_overcommit(const struct placement_disk *disks, uint32_t disk_count);

/* The default size of a shard: 1 GiB, less for a volume too small to use all disks so, more for
 * one that would have too many. */
uint64_t placement_shard_bytes(uint64_t volume_bytes, uint32_t disk_count);

#endif

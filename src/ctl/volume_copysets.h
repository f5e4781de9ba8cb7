/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which copyset of its group's record each shard of a volume has.
 *
 * Growth adds copysets in the order of the shards that need them, so that this order tells, until a
 * disk is replaced: two tuples may be alike then, and the volume's record has the numbers.
 *
 * Threading: as ctl.h.   Memory: the caller's arena.
 */
#ifndef CTL_VOLUME_COPYSETS_H
#define CTL_VOLUME_COPYSETS_H

#include "ctl/ctl_internal.h"

/* One number for each shard.  replicas is more than 1. */
uint32_t *volume_copysets(const Stored__V1__Volume *record, struct arena *arena);

/* How many copysets these shards have: one more than the highest number. */
uint32_t volume_copyset_count(const uint32_t *numbers, size_t shards);

/* What is planned on each disk of one copyset. */
uint64_t volume_copyset_bytes(const Stored__V1__Volume *record, const uint32_t *numbers,
                              uint32_t copyset);

#endif

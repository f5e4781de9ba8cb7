/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of a slice's shards that no replica in sync could read when somebody wanted them
 * (docs/replication.md, 11.3): for whoever looks after the volume.  They are forgotten when they
 * are written, or read after all.
 *
 * With several replicas they are found block by block; of a volume of one replica it is known of a
 * piece of a command that some of it is bad.
 *
 * Threading: changed on the slice's reactor, read from any.
 * Memory:    embedded; VOLUME_UNREADABLE_MAX ranges, and whether there were more.
 */
#ifndef VOLUME_UNREADABLE_H
#define VOLUME_UNREADABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "volume/limits.h"

struct unreadable {
    _Atomic uint64_t at[VOLUME_UNREADABLE_MAX]; /* 0: free; else shard, first block and blocks. */
    uint32_t count;                             /* That are not free. */
    _Atomic bool more;                          /* There was no room for some of them. */
};

struct unreadable_range {
    uint32_t shard;
    uint64_t offset; /* In the shard; whole blocks, as are the bytes. */
    uint64_t bytes;
};

/* Some of these bytes cannot be read; up to 255 blocks of them are kept. */
void unreadable_note(struct unreadable *u, uint32_t shard, uint64_t offset, uint64_t bytes);

/* These bytes are readable again.  Of a range in whose middle they are nothing is known. */
void unreadable_forget(struct unreadable *u, uint32_t shard, uint64_t offset, uint64_t bytes);

/* The index-th; false: it is free. */
bool unreadable_get(const struct unreadable *u, unsigned index, struct unreadable_range *out);

#endif

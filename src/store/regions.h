/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region list: where the replicas of a shard may differ.  docs/replication.md, sections 3.3 and
 * 3.4; docs/disk-format.md, section 4.9.
 *
 *     region    0    1    2    3    4  ...      1 MiB each
 *     slots     .    all  .    2    2           the replicas not known to be equal here
 *                    |
 *                    +-- an open region: its entry has the tick of its last write
 *
 * A store that changes a region lists all slots; the engine tells it later which of them are equal
 * again.  What is left are the slots of replicas that were away.  A volume of one replica has no
 * list.
 *
 * Threading: the owner's.
 * Memory:    a fixed table of entries; 3 bytes for each region of a shard, from its first one on.
 */
#ifndef STORE_REGIONS_H
#define STORE_REGIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/status.h"
#include "store/catalog.h"

/* An item of REGIONS, and what one open region may add to a checkpoint: it splits a run in three.
 */
#define REGIONS_ITEM_BYTES  16u
#define REGIONS_ENTRY_BYTES (2 * REGIONS_ITEM_BYTES)

struct region_entry {
    struct list_node link; /* Free, or open. */
    struct shard *shard;
    uint32_t region;
    uint32_t tick;     /* Of its last write. */
    uint64_t sequence; /* No block of the journal behind this one lists it. */
};

/* Regions in a row with the same slots. */
struct region_run {
    uint32_t region;
    uint32_t count;
    uint8_t slots; /* One bit each; not 0. */
};

struct regions {
    struct region_entry *table;
    uint32_t entries_max;
    struct list free;
    struct list open;
    uint32_t free_count;
    uint32_t open_count; /* Regions that list all slots, with or without an entry. */
    uint64_t bytes_max;  /* Of what a checkpoint says of the lists. */
    struct map_usage usage;
};

/* entries_max: open regions; bytes_max: what a checkpoint has room for. */
struct status regions_init(struct regions *r, uint32_t entries_max, uint64_t bytes_max) MUST_CHECK;
void regions_fini(struct regions *r);

/* The disk has grown: a checkpoint has room for so much.  There are no more entries than before. */
void regions_extend(struct regions *r, uint64_t bytes_max);

/* The bits of all slots of a volume. */
static inline uint8_t volume_all_slots(const struct store_volume *volume)
{
    return (uint8_t)((1u << volume->replicas) - 1);
}

/* Whether its shards have lists. */
static inline bool volume_has_lists(const struct store_volume *volume)
{
    return volume->replicas > 1;
}

/* Which slots a region of the shard lists. */
uint8_t regions_slots(const struct shard *shard, uint32_t region);

/* The entry of an open region, or NULL. */
struct region_entry *regions_find(const struct regions *r, const struct shard *shard,
                                  uint32_t region);

/* Memory for the shard's list, if it has none yet. */
struct status regions_reserve(struct shard *shard) MUST_CHECK;

/* Whether there are entries for so many regions, of which listed do not list all slots yet. */
bool regions_have_entries(const struct regions *r, uint32_t entries, uint32_t listed);

/*
 * Whether a checkpoint has room for what changes of so many regions may add.  Where it has not,
 * lists are made coarser: the shard with the longest one lists the slots of any of its regions for
 * all of them.  If that does not help, then the end of the checkpoint in progress will.
 */
bool regions_can_change(struct regions *r, const struct catalog *c, uint32_t count);

/* Opens a region that has no entry.  There is one, and memory for the list. */
struct region_entry *regions_open(struct regions *r, struct shard *shard, uint32_t region,
                                  uint32_t tick);

/* Lists these slots for regions in a row, as a record says; nothing but that. */
void regions_set(struct regions *r, struct shard *shard, const struct region_run *run);

/*
 * Whether slots may be taken out of a region as of a tick: no later one has written there, and all
 * that was listed before this session's beginning counts as written in its first tick.
 */
bool regions_may_close(const struct regions *r, const struct shard *shard, uint32_t region,
                       uint32_t tick);

/*
 * A new session: whatever is listed counts as written in this tick.  newer: its epoch is; ticks of
 * the one before are of the same count otherwise, and stay if they are higher: what an older
 * session has executed may be later than what its engine knew when it asked.
 */
void regions_begin_session(struct regions *r, struct catalog_volume *volume, uint32_t group,
                           bool newer, uint32_t tick);

/* The first run at or after *region, which moves behind it; false at the end. */
bool regions_next_run(const struct shard *shard, uint32_t *region, struct region_run *out_run);

/* The shard goes away. */
void regions_drop_shard(struct regions *r, struct shard *shard);

#endif

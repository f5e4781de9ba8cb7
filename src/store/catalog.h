/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes and shards of a disk.
 *
 *     catalog --> volume 1 --> shards by index: [ . S S . . S ]
 *             --> volume 2 --> ...
 *             --> all shards by id
 *
 * Ids are counted up and never used twice on a disk.
 *
 * Threading: the owner's.   Memory: the heap, with each volume and shard; limited by the layout.
 */
#ifndef STORE_CATALOG_H
#define STORE_CATALOG_H

#include "base/list.h"
#include "disk/journal.h"
#include "disk/layout.h"
#include "store/map.h"
#include "store/record.h"

/* Whether completed commands of a volume may not be durable: busy.c. */
enum busy_state { BUSY_QUIET, BUSY_MARKING, BUSY_MARKED, BUSY_FLUSHING };

struct busy {
    enum busy_state state;
    uint32_t commands; /* Under way that may be lost once they have completed. */
    uint64_t last_ns;  /* When the last of them ended. */
    bool waiting;      /* For a flush. */
    struct journal_waiter waiter;
    struct store *store; /* While waiting. */
};

/* The region list of a shard: regions.h. */
struct shard_regions {
    uint8_t *slots;    /* Per region, one bit each; NULL: nothing was ever listed. */
    uint16_t *entries; /* Per region: index + 1 of its entry, or 0. */
    uint32_t runs;     /* Regions in a row that list the same slots. */
    uint32_t open;     /* Regions that list all slots. */
    uint32_t tick;     /* What has no entry counts as written in this tick. */
};

/* A copyset as its disks know it: who holds replicas together, which of them are in sync, and how
 * far each had made its journal durable (F41). */
struct catalog_copyset {
    uint32_t number;
    bool has_set;
    struct record_copyset rec;   /* If it has. */
    struct record_points points; /* Without a disk: none is kept. */
    struct list_node link;       /* In volume->copysets, by number. */
};

struct catalog_volume {
    struct list_node link; /* In catalog.volumes, by id. */
    uint32_t id;
    struct store_volume desc;
    struct store_io *deleter;          /* Deletes it, or waits until it may; NULL: nobody. */
    bool deleting;                     /* Takes no commands any more. */
    bool deleted;                      /* Durably; what is left of it goes away in pieces. */
    uint64_t blocks;                   /* That have data, in all shards and layers. */
    bool loss;                         /* Unflushed writes may be gone, and nobody was told (S1). */
    uint64_t epochs[STORE_GROUPS_MAX]; /* 0: never opened. */
    /* Of the last session of that epoch, in memory only: those of before end with the process. */
    uint64_t numbers[STORE_GROUPS_MAX];
    struct list copysets;
    struct shard **shards; /* By index; NULL where there is none. */
    uint32_t shards_count; /* Of the array. */
    struct list sessions;
    struct busy busy;
};

struct shard {
    uint32_t id;
    struct catalog_volume *volume;
    uint32_t index;
    uint32_t group;
    uint64_t epoch;      /* That created it. */
    uint64_t generation; /* Likewise. */
    uint64_t bytes;
    uint16_t copyset; /* Number of its copyset among the volume's on this disk. */
    struct map map;
    struct shard_regions listed;
    uint16_t *intents;  /* Per region: index + 1 of its entry in the intent table, or 0. */
    struct list active; /* Commands under way that change the map or its data. */
    uint32_t zeroing;   /* Of these, Write Zeroes and Deallocate. */
};

struct catalog {
    struct list volumes;
    uint32_t volume_count;
    uint32_t copyset_count; /* Of all volumes. */
    uint32_t copysets_held; /* Taken away since the checkpoint in progress began ... */
    bool holds_copysets;    /* ... if there is one: it may have them, and what is new, too. */
    bool applies;           /* Records, with copysets of several moments: they have no limit. */
    struct shard **shards;  /* By id, ascending. */
    uint32_t shard_count;
    uint32_t next_volume_id;
    uint32_t next_shard_id;
    struct disk_limits limits;
    struct map_usage usage;
    struct cell_lists lists;
};

void catalog_init(struct catalog *c, const struct disk_limits *limits);
void catalog_fini(struct catalog *c);

struct catalog_volume *catalog_volume_by_id(const struct catalog *c, uint32_t id);
struct catalog_volume *catalog_volume_by_uuid(const struct catalog *c, struct uuid uuid);
struct shard *catalog_shard_by_id(const struct catalog *c, uint32_t id);
struct shard *catalog_shard_by_index(const struct catalog_volume *v, uint32_t index);

/* The first shard whose id is at least id; NULL if there is none. */
struct shard *catalog_next_shard(const struct catalog *c, uint32_t id);

/* NO_SPACE above the limit, EXISTS for an id or UUID that is there. */
struct status catalog_add_volume(struct catalog *c, uint32_t id, const struct store_volume *desc,
                                 struct catalog_volume **out_volume) MUST_CHECK;

/* The volume's copyset with the lowest number from number on, or NULL. */
const struct catalog_copyset *copyset_next(const struct catalog_volume *volume, uint32_t number);

static inline bool copyset_is_known(const struct catalog_volume *volume, uint32_t number)
{
    const struct catalog_copyset *const set = copyset_next(volume, number);

    return set != NULL && set->number == number;
}

/*
 * Whether fresh copysets have to wait for the end of the checkpoint in progress: its area has no
 * room for them and for all that went since it began.
 */
bool copysets_must_wait(const struct catalog *c, uint32_t fresh);

/* While a checkpoint is in progress, what goes away counts on. */
void copysets_hold(struct catalog *c, bool holds);

/* Keep what a record says of a copyset, instead of what was known of it.  NO_SPACE above the
 * limit. */
struct status copyset_put(struct catalog *c, struct catalog_volume *volume,
                          const struct record_copyset *rec) MUST_CHECK;
struct status copyset_put_points(struct catalog *c, struct catalog_volume *volume,
                                 const struct record_points *rec) MUST_CHECK;

/* NO_SPACE above the limit, EXISTS for an id or index that is there. */
struct status catalog_add_shard(struct catalog *c, struct catalog_volume *volume,
                                const struct record_shard *rec,
                                struct shard **out_shard) MUST_CHECK;

/*
 * F31: NO_SPACE if a checkpoint might not have room for bytes more; *out_wait is set if it has
 * only when the one in progress has ended.
 */
struct status catalog_check_usage(const struct catalog *c, uint64_t bytes,
                                  bool *out_wait) MUST_CHECK;

/* Of these bytes, what first touches leave to zeros: giving back works when they do not (S6). */
static inline uint64_t catalog_usage_reserve(const struct catalog *c)
{
    return c->limits.map_bytes / 32;
}

/* Frees the shard; its cells and intents are the caller's to give back. */
void catalog_remove_shard(struct catalog *c, struct shard *shard);

/* Frees the volume, which has no shards and no sessions left, with its copysets. */
void catalog_remove_volume(struct catalog *c, struct catalog_volume *volume);

static inline uint32_t shard_regions(const struct shard *shard)
{
    return (shard->map.grain_count + REGION_GRAINS - 1) / REGION_GRAINS;
}

#endif

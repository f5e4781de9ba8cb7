/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of one disk: replicas of shards, each a map from grain to place, with checksums,
 * behind the commands that an engine sends.  The format is docs/disk-format.md.
 *
 *     engine slice --(message)--> store_submit() --> journal, grain map --> dev
 *
 * A local engine calls it directly; an engine of another node comes through peer/server.h, by the
 * same rules: every command names a session, and so an epoch (S4).
 *
 * Threading: a store belongs to the reactor of its device; every call is made there.
 * Memory:    pools are sized at open; a command without resources waits inside the store.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "base/uuid.h"
#include "disk/dev.h"
#include "disk/journal.h"
#include "io/reactor.h"

#define STORE_BLOCK_BYTES      ((uint32_t)4096)
#define STORE_GRAIN_BYTES      ((uint32_t)128 << 10)
#define STORE_IO_BYTES_MAX     ((uint32_t)512 << 10) /* One command: BUF_BYTES_MAX. */
#define STORE_IO_GRAINS_MAX    5                     /* That one command may touch. */
#define STORE_NAME_BYTES       64                    /* Names of clusters and volumes, with NUL. */
#define STORE_GROUPS_MAX       8                     /* Ownership groups of a volume. */
#define STORE_LAYERS_MAX       64                    /* Generations of a shard. */
#define STORE_REPLICAS_MAX     3
#define STORE_REGION_BYTES     ((uint32_t)1 << 20)
#define STORE_REGIONS_MAX      250u /* In one command: so many travel in its capsule. */
#define STORE_COPYSETS_MAX     32u  /* Likewise. */
#define STORE_HASHES_MAX       256u /* Blocks of one HASH or SPOIL: a region's. */
#define STORE_HASH_BYTES       16u
#define STORE_POINTS_MAX       128u  /* In one command, as regions are. */
#define STORE_COPYSET_POINTS   4u    /* Of a copyset: three slots, and what comes into one. */
#define STORE_COPYSET_MAX      4095u /* The highest number of a copyset: 12 bits on the wire. */

#define STORE_VOLUME_BYTES_MAX ((uint64_t)1 << 50)
#define STORE_SHARD_BYTES_MIN  ((uint64_t)1 << 20)
#define STORE_SHARD_BYTES_MAX  ((uint64_t)128 << 30)
#define STORE_SHARDS_MAX       ((uint32_t)1 << 20) /* Of one volume. */

struct store;
struct store_io;
struct store_session;
struct shard;

/* ---- A disk's identity, and formatting ---- */

struct store_identity {
    struct uuid cluster;
    struct uuid disk;
    char cluster_name[STORE_NAME_BYTES];
    char disk_name[STORE_NAME_BYTES]; /* Such as "node-1/disk-1". */
};

struct store_format_config {
    struct store_identity identity;
    uint32_t atomic_bytes; /* 0: what the device reports. */
    bool wipe;             /* The device holds something else, whose marks must go. */
};

typedef void store_done_fn(void *ctx, struct status status);

/*
 * Writes an empty store on the device.  Whatever was there is lost.  done from the loop.  Here, as
 * in the other calls that return a status: NO_MEMORY, and done is never called, if not even the
 * call can be remembered.
 */
struct status store_format(struct dev *dev, const struct store_format_config *config,
                           store_done_fn *done, void *ctx) MUST_CHECK;

/* ---- Opening and closing ---- */

struct store_config {
    struct uuid cluster;     /* FOREIGN if the disk belongs to another one; nil takes any. */
    uint64_t checksum_bytes; /* Of memory for checksums; 0: as much as they all take. */
};

struct store_opened {
    /* NOT_FOUND if there is no superblock, good or damaged; FOREIGN, BAD_VERSION, CORRUPT, ... */
    struct status status;
    struct store *store; /* NULL on failure. */
    struct uuid disk;    /* As a superblock says; nil: none is good. */
    char problem[256];   /* On failure: what, and where on the disk. */
};

/*
 * Reads the superblocks, recovers, and reports through done.  dev is borrowed, and must outlive
 * the store.
 */
struct status store_open(struct dev *dev, const struct store_config *config,
                         void (*done)(void *ctx, const struct store_opened *opened),
                         void *ctx) MUST_CHECK;

/* Writes a checkpoint and the mark of a clean shutdown, and frees the store. */
void store_close(struct store *store, store_done_fn *done, void *ctx);

/* ---- Growth ---- */

struct store_grown {
    struct status status;
    uint64_t data_bytes; /* On success: for data, now. */
    char problem[256];   /* On failure: why, and what can be done. */
};

typedef void store_grown_fn(void *ctx, const struct store_grown *grown);

/*
 * Takes in what the device has become larger by; commands go on.  One at a time; done from the
 * loop.  OUT_OF_RANGE if the device has not become larger, or by too little; LIMIT if the disk has
 * grown too often; NO_MEMORY, NO_SPACE; MEDIA_WRITE, SHUTTING_DOWN.  On failure the disk is as it
 * was, or has failed as by any other write of its superblock.
 */
void store_grow(struct store *store, store_grown_fn *done, void *ctx);

/* ---- What a disk says of itself (S5) ---- */

/* A volume as its disks describe it. */
struct store_volume {
    struct uuid uuid;
    char name[STORE_NAME_BYTES];
    uint64_t bytes;
    uint64_t shard_bytes;
    uint32_t lba_bytes;
    uint32_t stripe_unit_bytes;
    uint32_t stripe_width;
    uint32_t replicas;
    uint32_t min_in_sync;
    uint32_t first_run_shards;       /* It has grown behind so many shards; 0: it has not. */
    bool continue_on_unflushed_loss; /* on-unflushed-loss = continue. */
};

/* Whether all fields are within their limits. */
bool store_volume_is_valid(const struct store_volume *volume);

/* How many shards a valid volume has: docs/disk-format.md, section 2.5. */
uint64_t store_volume_shards(const struct store_volume *volume);

/* F27: whether a valid volume is an older state of itself, perhaps grown. */
bool store_volume_extends(const struct store_volume *volume, const struct store_volume *old);

struct store_info {
    struct store_identity identity;
    uint64_t incarnation;
    uint64_t data_bytes;   /* Of the data area, for data. */
    uint64_t free_bytes;   /* Not mapped and not reserved. */
    uint64_t growth_bytes; /* That store_grow() would add, as far as the device was asked. */
    uint32_t atomic_bytes;
    uint64_t volumes, shards;
    uint64_t media_errors;          /* Blocks that failed their checksum since open. */
    uint64_t adopted_blocks;        /* By S7, since open. */
    uint64_t spoiled_blocks;        /* That nobody had, and which have not been written since. */
    uint64_t suspect_regions;       /* Intent regions not yet settled after a crash. */
    uint64_t checksum_bytes;        /* Of memory that checksums take now. */
    uint64_t checksum_budget_bytes; /* That they may take: all of them, if there is no budget. */
    bool failed;                    /* Refuses writes after a device error. */
    bool lied;                      /* Has lost what it had confirmed as durable (F42). */
};

void store_get_info(const struct store *store, struct store_info *out_info);

/* Whether it had better be read elsewhere, if that is possible (docs/health.md).  Any thread. */
void store_set_suspect(struct store *store, bool suspect);
bool store_is_suspect(const struct store *store);

/* Of the disk, now. */
uint64_t store_incarnation(const struct store *store);

/* ---- Sessions (S4) ---- */

struct store_session_config {
    struct store_volume volume; /* Kept durably before the first shard of it is created.  INVALID
                                   if it does not extend what the disk knows of it (F27). */
    uint32_t group;             /* Ownership group; 0. */
    uint64_t epoch;             /* STALE_EPOCH below the highest that was sealed. */
    /* Of an engine on another node: STALE_SESSION if it is not above the last one of its epoch
     * since the store was opened.  0: of this process. */
    uint64_t number;
    uint32_t tick; /* What the region list has from before counts as written in this tick. */
    /* UNKNOWN_VOLUME if the disk does not know the volume: whoever has deleted it there had a newer
     * epoch, which the disk does not know any more either (docs/replication.md, 7.2). */
    bool known;
};

struct store_session_opened {
    struct status status;
    struct store_session *session; /* NULL on failure. */
    uint64_t incarnation;
    uint64_t generation; /* Highest of the volume on this disk. */
    bool list_cut;       /* The region list is not whole: see docs/replication.md, 9.3. */
    bool unflushed_loss; /* Completed, unflushed writes of this volume may be gone (S1), and no
                            session has confirmed the fact with store_session_loss_reported(). */
};

/*
 * Opens a session: the epoch is made durable, older sessions of the group end, their commands
 * finish or are dropped, leases have run out (store_set_leases()), and only then is done called.
 * If a newer one came meanwhile: STALE_EPOCH, or OVERTAKEN for one with a number.
 */
struct status store_session_open(struct store *store, const struct store_session_config *config,
                                 void (*done)(void *ctx, const struct store_session_opened *opened),
                                 void *ctx) MUST_CHECK;

/*
 * Keeps a new description of the session's volume, which extends the old one (F27): INVALID
 * otherwise.  done when it is durable; commands go on meanwhile.  The session stays open until
 * then.  STALE_EPOCH: there is a newer session, and nothing has changed.
 */
struct status store_session_describe(struct store_session *session,
                                     const struct store_volume *volume, store_done_fn *done,
                                     void *ctx) MUST_CHECK;

/* No command is submitted any more; it is freed when the last of those in flight has ended. */
void store_session_close(struct store_session *session);

/*
 * How a command of the session would end that looked for nothing but its session: OK, STALE_EPOCH;
 * STALE_SESSION for one with a number that was superseded by a later one; NOT_FOUND if the volume
 * is gone.
 */
struct status store_session_check(const struct store_session *session) MUST_CHECK;

/*
 * Leases that engines of other nodes hold, and which a new session waits for
 * (docs/replication.md, 8.3 and 8.5).
 */
struct store_leases {
    /*
     * A session of this group of the volume begins: from now on, commands of older ones are
     * refused.  newer: they were of an older epoch.  Returns until when, by the reactor's clock,
     * it is not to be answered.
     */
    uint64_t (*sealed)(struct store_leases *leases, const struct store_volume *volume,
                       uint32_t group, bool newer);
};

/* Borrowed until it is set to another, or to NULL: nobody else's engine knows the store. */
void store_set_leases(struct store *store, struct store_leases *leases);

/* Bytes that the session's volume takes on this disk: those of its blocks that have data. */
uint64_t store_session_used_bytes(const struct store_session *session);

/* The host was told of the loss (its Flush failed): forget it, durably with the next record. */
void store_session_loss_reported(struct store_session *session);

/* ---- Replicas ---- */

/*
 * The slots of a copyset, and who of them is in sync (docs/replication.md, section 3.1): bits by
 * slot.  A slot without a disk is nil, and neither in nor whole.
 */
struct store_copyset {
    struct uuid disk[STORE_REPLICAS_MAX];
    uint8_t in;
    uint8_t whole; /* Out, and its list is gone: all of it is to be copied. */
    uint64_t incarnation[STORE_REPLICAS_MAX]; /* The recorded one; 0 where there is no disk. */
};

bool store_copyset_is_valid(const struct store_copyset *set);

/* What SET keeps of one copyset.  Those of a volume on one disk are numbered. */
struct store_set {
    uint32_t number;
    uint64_t sequence; /* Of the group's record. */
    struct store_copyset set;
};

/* Regions of a shard in a row. */
struct store_region {
    uint32_t shard; /* Index in the volume. */
    uint32_t region;
    uint32_t count;
    uint32_t tick;    /* CLOSE_REGIONS: no write after it is covered. */
    uint16_t copyset; /* MERGE_REGIONS: of a shard that is created. */
    uint8_t slots;    /* LIST, MERGE: not known to be equal.  CLOSE: equal again. */
};

/*
 * How far the disk of a copyset's slot had made its journal durable, as it said
 * (docs/replication.md, section 3.7).
 */
struct store_point {
    uint32_t copyset; /* Number; 0 for the disk's own. */
    struct uuid disk;
    uint64_t incarnation;
    uint64_t position; /* All of its journal below; not 0. */
};

/* Whether KEEP_POINTS and CHECK_POINTS may name it: all of it is said. */
bool store_point_is_valid(const struct store_point *point);

/* What a block is in a layer. */
enum store_block_state {
    STORE_BLOCK_ABSENT,
    STORE_BLOCK_ZERO,
    STORE_BLOCK_DATA,
    STORE_BLOCK_BAD, /* Data that cannot be read (S3). */
};

struct store_hash {
    enum store_block_state state;
    uint8_t hash[STORE_HASH_BYTES]; /* XXH3, 128 bits, canonical; zeros unless DATA. */
};

/* What an engine has to know of its volume's group on this disk, besides the incarnation. */
struct store_state {
    uint64_t generation; /* Highest of the volume here. */
    uint64_t set_epoch;  /* Of the newest set that is kept, ... */
    uint64_t set_sequence;
    uint32_t set_count; /* ... of so many. */
    uint32_t regions;   /* Items of the region list. */
    bool busy;          /* There may be unflushed writes. */
    bool loss;          /* See unflushed_loss. */
    bool failed;        /* The disk takes no writes. */
};

/* Fails as store_session_check() says. */
struct status store_session_state(const struct store_session *session,
                                  struct store_state *out_state) MUST_CHECK;

/* The group's sets that are kept, from a number on: returns how many, at most max.  The session
 * passes store_session_check(). */
uint32_t store_session_sets(const struct store_session *session, uint32_t from,
                            struct store_set *out_sets, uint32_t max);

/* ---- Commands ---- */

enum store_opcode {
    STORE_OP_READ,
    STORE_OP_WRITE,
    STORE_OP_WRITE_ZEROES,  /* Reads as zeros afterwards; gives the space back. */
    STORE_OP_DEALLOCATE,    /* The same; the engine may treat it as advice. */
    STORE_OP_FLUSH,         /* All completed writes of the session, on all its shards. */
    STORE_OP_DELETE_VOLUME, /* All shards of the session's volume, and its descriptor. */
    STORE_OP_LIST_REGIONS,  /* Fills data with items from the cursor in offset on. */
    STORE_OP_CLOSE_REGIONS, /* Takes slots out of regions where no later tick has written; lazily.
                             */
    STORE_OP_MERGE_REGIONS, /* Adds slots to regions, durably, as written in tick. */
    STORE_OP_SET,           /* Keeps what is known of copysets, durably. */
    STORE_OP_HASH,          /* What each block is in the layer of that very generation. */
    STORE_OP_SPOIL,         /* Blocks cannot be read until they are written or zeroed; durably. */
    STORE_OP_LIST_POINTS,   /* Fills data with points: its own, and those kept, from offset on. */
    STORE_OP_KEEP_POINTS,   /* Keeps all points of copysets, durably if fua. */
    STORE_OP_CHECK_POINTS,  /* Looks whether it has its own, and keeps nothing. */
};

#define STORE_CURSOR_END UINT64_MAX

struct store_io {
    /* The caller's. */
    enum store_opcode opcode;
    bool fua;
    bool create;    /* WRITE: the shard may be created.  Otherwise UNKNOWN_SHARD. */
    uint32_t shard; /* Index of the shard in the volume. */
    uint64_t generation;
    uint64_t incarnation; /* FLUSH and FUA: STALE_INCARNATION if it is not the disk's. */
    uint64_t offset;      /* Bytes in the shard; whole blocks. */
    uint64_t bytes;       /* Whole blocks; READ and WRITE up to STORE_IO_BYTES_MAX. */
    /*
     * READ and WRITE: bytes long, aligned to 4 KiB.  LIST, CLOSE and MERGE: struct store_region, up
     * to STORE_REGIONS_MAX; SET: struct store_set, up to STORE_COPYSETS_MAX.  LIST leaves the next
     * cursor in offset, and in bytes how much it filled.  HASH: struct store_hash, one for each
     * block, up to STORE_HASHES_MAX; filled.  LIST_, KEEP_ and CHECK_POINTS: struct store_point, up
     * to STORE_POINTS_MAX, those of a copyset in a row; LIST begins with the disk's own at offset
     * 0, gives a copyset's all or none, so that it needs room for STORE_COPYSET_POINTS elsewhere,
     * and leaves offset and bytes as above.
     */
    struct span data;
    uint32_t tick;    /* Of the engine, when it sent a command that changes something. */
    uint16_t copyset; /* WRITE with create: number of the shard's. */
    uint32_t *crcs;   /* One CRC32C per block.  WRITE: given.  READ: filled; may be NULL. */
    void (*done)(struct store_io *io);
    struct status status; /* Valid in done. */

    /* Private to src/store/. */
    struct store_session *session;
    struct list_node link;         /* Stalled, or under way. */
    struct list_node shard_link;   /* Under way and changing the shard. */
    struct list_node segment_link; /* Out of segments, to be taken back, or deleted. */
    struct journal_waiter waiter;
    struct shard *target;
    struct status outcome; /* The first failure of a part. */
    uint64_t ticket;
    uint64_t sequence; /* First journal block with a record of it; 0: none. */
    uint64_t last;     /* Last one. */
    uint32_t cursor;   /* Blocks handed to the device so far. */
    uint32_t pending;  /* Parts that have not ended. */
    uint64_t promised; /* Bytes of the next checkpoint that are kept for it (F31). */
    uint32_t overwrites[STORE_IO_GRAINS_MAX]; /* Per grain: blocks that had data before. */
};

/*
 * Starts a command of the session.  A READ of an unknown shard is UNKNOWN_SHARD; of unmapped
 * blocks, zeros.  A block that fails its checksum is MEDIA_READ (S3).  A full disk is NO_SPACE
 * (S6).  LIST_FULL: too many regions of the disk are open; CLOSE_REGIONS after a FLUSH by all
 * replicas makes room.  POINT_LOST: KEEP_POINTS or CHECK_POINTS has named one of the disk's own
 * that it does not have any more, and nothing was kept.
 */
void store_submit(struct store_session *session, struct store_io *io);

/*
 * A command that has not ended goes on as heir: heir->done follows, and io is the caller's again.
 * The caller has filled in heir's done, data and CRCs: data of READ and WRITE where io's are, which
 * stay in use; everything else a copy.  Not from inside a done.
 */
void store_hand_over(struct store_io *io, struct store_io *heir);

/* ---- Offline check ---- */

struct store_check_report {
    void (*problem)(void *ctx, const char *text); /* One line per problem found. */
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes);
    /* One line for what can be repaired, or, with repair_it, what was; NULL: not of interest. */
    void (*repair)(void *ctx, const char *text);
    bool repair_it;
    void *ctx;
    uint64_t problems;      /* Out. */
    uint64_t repairable;    /* Out: of the problems, those that can be repaired ... */
    uint64_t repaired;      /* ... and were. */
    struct store_info info; /* Out, as far as it could be read. */
};

/*
 * Verifies everything on the device, data included; changes nothing, unless report->repair_it asks
 * for it: then what is there twice and damaged once is written again, and nothing else (repair.h).
 * done: OK even if there are problems; a failure means that it could not be checked, or repaired.
 */
struct status store_check(struct dev *dev, struct store_check_report *report, store_done_fn *done,
                          void *ctx) MUST_CHECK;

#endif

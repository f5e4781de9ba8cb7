/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume engine: address -> shard -> replicas.
 *
 *   host command --> split by stripe unit --> slice of the shard --> leg (store of a disk)
 *
 * Slice i, on reactor i, owns the shards whose disks are that reactor's.  Flush asks the disks that
 * took writes since the last one.  The engine is an nvme_ns for the target.
 *
 * Threading: open and close are called on reactor 0 of the node; submit on any of its reactors.
 * Memory:    pools per slice, sized at open, and one for blocks per reactor, of the caller's, which
 *            no volume depends on; a request without resources waits in the engine.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "nvme/ns.h"
#include "store/store.h"

struct buf_pool;
struct group;
struct link;
struct pace_queue;
struct volume;

/* A disk that the volume's shards may lie on. */
struct volume_disk {
    const char *name;        /* Such as "node-1/disk-1"; for messages.  Copied. */
    struct store *store;     /* NULL: not available. */
    struct reactor *reactor; /* The store's; not used without a store. */
    struct uuid uuid;        /* By which it is known again. */
    struct link *link;       /* Without a store: to the node that has it; NULL: none. */
};

/* Where one shard lies.  Fixed when the volume is created or grows. */
struct volume_placement {
    uint32_t disk[3]; /* Index into volume_config.disks, one per replica. */
    /* One more than the number of its copyset in the group's record; 0: the first with its disks.
     */
    uint32_t copyset;
};

/*
 * Where the record of the volume's group is kept (docs/replication.md, 3.1).  Calls are made on
 * reactor 0, and call back there.
 */
struct volume_meta_ops {
    /*
     * 6.3: makes now the record if it still is was.  done when the outcome is known, however long
     * that takes: OK, or CONFLICT, and then another engine may have the volume.  Both records stay
     * as they are until then.
     */
    void (*commit)(void *ctx, const struct group *was, const struct group *now,
                   void (*done)(void *done_ctx, struct status status), void *done_ctx);
    /* 7.8: a store has told that another engine has the volume: this one completes nothing any
     * more, and is to be closed.  NULL is allowed. */
    void (*fenced)(void *ctx);
};

struct volume_config {
    struct store_volume volume;
    /* Of a volume of several replicas, as it was read when the epoch was taken; copied. */
    const struct group *group;
    const struct volume_meta_ops *meta; /* Likewise; borrowed until the close. */
    void *meta_ctx;
    /* 7.4: enough time was given to those who have everything promised; then it is served without.
     */
    bool waited;
    /* 11.7: it is opened to be deleted.  Its group has no record any more, so group names the
     * tuples alone, and nothing is taken over or committed. */
    bool deleting;
    const uint32_t *leftovers; /* Of disks: without a slot, but to be deleted from as well. */
    uint32_t leftover_count;
    uint64_t epoch; /* Taken from the meta store by the caller, for this opening. */

    struct reactor *const *reactors; /* Of the node, for the slices. */
    unsigned reactor_count;
    /* One per reactor, of VOLUME_SCRATCH_BYTES, for all volumes; borrowed until the close. */
    struct buf_pool *const *scratch;
    /* Likewise, of one rate: how much resyncs compare, of all volumes together.  NULL: no limit. */
    struct pace_queue *const *paces;
    const struct volume_disk *disks;
    unsigned disk_count;
    const struct volume_placement *shards; /* As many as the layout has; copied. */
    uint32_t shard_count;
    uint32_t commands_max; /* Host commands at a time, per slice; 0: VOLUME_COMMANDS_MAX. */
    /* A replica that is away, or does not answer, for so long is excluded, if it can be
     * (docs/replication.md, 6.1); 0: VOLUME_PATIENCE_NS. */
    uint64_t replica_timeout_ns;
    /* Clocks may stand still, as those of virtual machines that are paused: no lease lasts, and
     * every read asks the other members on other nodes. */
    bool no_leases;
    struct log *log;
};

/*
 * Checks a description: INVALID or UNSUPPORTED, with the reason in problem (problem_bytes long),
 * if this engine cannot serve such a volume.
 */
struct status volume_check(const struct store_volume *desc, char *problem,
                           size_t problem_bytes) MUST_CHECK;

/*
 * Opens sessions at the stores of the volume's shards; the first write creates a shard.  Shards
 * of a disk that is not available answer UNAVAILABLE, the others are served; to disks of other
 * nodes it gives replica_timeout_ns.  done on reactor 0:
 * INVALID or UNSUPPORTED as volume_check() says, STALE_EPOCH if a disk knows a newer engine, or of
 * a later record, CONFLICT if the record is another one by then, UNAVAILABLE if there is no disk at
 * all.  NO_MEMORY is returned here, and done is never called,
 * if not even the call can be remembered.
 */
struct status volume_open(const struct volume_config *config,
                          void (*done)(void *ctx, struct status status, struct volume *volume),
                          void *ctx) MUST_CHECK;

/* The namespace to give to the target. */
struct nvme_ns *volume_ns(struct volume *volume);

/*
 * Grows the volume to what config describes, while hosts use it: volume, disks, shards and, with
 * several replicas, group are looked at; what was there before stays where it is (V1).  Copysets
 * that the group has got meanwhile are recorded before they are used (7.4).  The description is
 * durable on all disks that are there, and every reactor knows the new addresses, before done is
 * called, on reactor 0; then nvme_subsys_ns_changed() may tell the hosts.  INVALID if it does not
 * extend the volume, or the group is another engine's; UNAVAILABLE if a disk of new shards is not
 * there, BUSY while members change, FENCED; after any failure it has the size that it had, and may
 * be asked again.  After a failure that is returned here done is never called.  Neither close nor
 * delete before done.
 */
struct status volume_grow(struct volume *volume, const struct volume_config *config,
                          void (*done)(void *ctx, struct status status), void *ctx) MUST_CHECK;

/* Another disk for a slot (docs/replication.md, 9.11, 9.18). */
struct volume_replacement {
    uint32_t copyset;
    unsigned slot;
    struct uuid was; /* The disk that the record has there. */
    uint32_t disk;   /* Index into volume_config.disks. */
    bool moves;      /* Also while the slot is in; else it waits until it is out. */
};

/*
 * What is to be replaced, all of it: what was asked for before, is not recorded, and is not in here
 * is given up.  Of config only the disks are looked at.  Each is recorded as soon as the new disk
 * has a session and the slot is out and not being resynced, or, of one that moves and is in, as
 * soon as all is copied; what does not fit the record is left alone, as it may be done already. OK:
 * it is on its way, and the record will tell.  BUSY: the volume grows, or members change: ask
 * again; UNSUPPORTED, FENCED, LIMIT, NO_MEMORY.  On reactor 0.
 */
struct status volume_replace(struct volume *volume, const struct volume_config *config,
                             const struct volume_replacement *items, uint32_t count) MUST_CHECK;

/*
 * Deletes what a disk has of the volume, that has no slot of it any more (docs/replication.md,
 * 9.17).  done, on reactor 0, is called with how that went, before a close ends; after a failure it
 * may be asked again.  INVALID: the record has a slot for it; BUSY: as volume_replace(), or its
 * session is about to be closed; UNAVAILABLE, FENCED, UNSUPPORTED, LIMIT, NO_MEMORY: then done is
 * never called.
 */
struct status volume_forget(struct volume *volume, const struct volume_disk *disk,
                            void (*done)(void *ctx, struct status status), void *ctx) MUST_CHECK;

/*
 * A disk of several replicas' volume is there again: if it is out of sync, it is resynced, at once
 * whatever has happened to it before.  One that has a session is only hurried up.  NOT_FOUND if the
 * volume has no such disk, UNAVAILABLE without a store, FENCED; BUSY while the volume grows or the
 * disk is being opened: ask again.  A session that cannot be opened is logged.  On reactor 0.
 */
struct status volume_leg_returned(struct volume *volume, const struct volume_disk *disk) MUST_CHECK;

/*
 * 7.8: whatever waits for replicas, and whatever comes, ends with FENCED: another engine has the
 * volume, or it is about to be closed.  On reactor 0.
 */
void volume_fence(struct volume *volume);

/*
 * Closes the sessions and frees the volume.  All requests have ended: the target has dropped the
 * namespace.  On reactor 0, as is done.
 */
void volume_close(struct volume *volume, void (*done)(void *ctx), void *ctx);

/*
 * Deletes the shards on all disks that are there, then closes.  done tells the first failure;
 * the volume is closed and freed even then.  UNAVAILABLE if a disk of another node is not there: it
 * would keep them.
 */
void volume_delete(struct volume *volume, void (*done)(void *ctx, struct status status), void *ctx);

/* What the engine has done; for `trilith status` and tests. */
struct volume_stats {
    uint64_t order_entered;   /* Pieces. */
    uint64_t order_waited;    /* Pieces that waited for others on their blocks. */
    uint32_t commands_waited; /* Host commands that found no free command. */
};

/* A disk of a volume of several replicas, as its engine sees it. */
struct volume_disk_state {
    struct uuid disk;
    struct status problem;   /* OK: it is used. */
    const char *text;        /* The same in words; "" if there is none. */
    bool holds_writes;       /* It is a member, cannot be excluded, and writes wait for it. */
    bool holds_reads;        /* Reads, too: it is on another node, and gives no lease (R7). */
    bool waits;              /* It is out of sync, and its turn to be resynced is to come. */
    uint64_t resync_bytes;   /* Of the resyncs under way: to be compared, ... */
    uint64_t resynced_bytes; /* ... and of these, so many have been. */
};

/* Fills in up to room disks that are not as they should be, and returns how many.  On reactor 0. */
uint32_t volume_get_problems(const struct volume *volume, struct volume_disk_state *out_disks,
                             uint32_t room);

/* Replicas that are out of sync, and what is done about them since the volume was opened. */
struct volume_resync {
    uint32_t replicas_out;  /* By copyset and slot. */
    uint32_t replicas_busy; /* Of these, so many are being resynced now. */
    uint64_t regions_left;  /* Of 1 MiB; of the resyncs under way, as far as they know. */
    uint64_t regions_done;
    uint64_t compared_bytes;
    uint64_t copied_bytes;
    uint64_t repaired_bytes; /* Bad at one replica, and written again from another. */
};

/* On reactor 0. */
void volume_get_resync(const struct volume *volume, struct volume_resync *out_resync);

struct volume_range {
    uint64_t offset; /* In the volume, in bytes; whole blocks, as are the bytes. */
    uint64_t bytes;
};

/*
 * What somebody wanted to read since the volume was opened, and no replica in sync could, until it
 * is written (11.3): fills in up to VOLUME_UNREADABLE_MAX ranges by address, and returns how many;
 * more: these are not all.  Of a volume of one replica a range has some bad block.  On reactor 0.
 */
unsigned volume_get_unreadable(const struct volume *volume, struct volume_range *out_ranges,
                               bool *out_more);

/* Sums over the slices.  Call it while the volume is idle, or take it as approximate. */
void volume_get_stats(const struct volume *volume, struct volume_stats *out_stats);

#endif

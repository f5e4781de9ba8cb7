/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume engine: address -> shard -> replicas.
 *
 *   host command --> split by stripe unit --> slice of the shard --> leg (store of a disk)
 *
 * Slice i of n, on reactor i, owns the shards whose index mod n is i.  Flush is a barrier over
 * the slices.  The engine is an nvme_ns for the target.
 *
 * Threading: open and close are called on reactor 0 of the node; submit on any of its reactors.
 * Memory:    pools per slice, sized at open; a request without resources waits in the engine.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "nvme/ns.h"
#include "store/store.h"

struct volume;

/* Where one shard lies.  Fixed when the volume is created or extended. */
struct volume_placement {
    uint32_t disk[3]; /* Index into volume_config.stores, one per replica. */
};

struct volume_config {
    struct store_volume volume;
    uint64_t epoch; /* Taken from the meta store by the caller, for this opening. */

    struct reactor *const *reactors; /* Of the node, for the slices. */
    unsigned reactor_count;
    struct store *const *stores; /* Each on the reactor of its device; NULL: not available. */
    unsigned store_count;
    const struct volume_placement *shards; /* ceil(bytes / shard_bytes) of them; copied. */
    uint32_t shard_count;
    struct log *log;
};

/* Opens sessions at all stores; the first write creates shards.  done on reactor 0. */
void volume_open(const struct volume_config *config,
                 void (*done)(void *ctx, struct status status, struct volume *volume), void *ctx);

/* The namespace to give to the target. */
struct nvme_ns *volume_ns(struct volume *volume);

/* All requests have ended (the target has dropped the namespace).  Closes the sessions. */
void volume_close(struct volume *volume, void (*done)(void *ctx), void *ctx);

/* Deletes all shards on all disks, then closes.  The volume is gone even if a disk is not there. */
void volume_delete(struct volume *volume, void (*done)(void *ctx, struct status status), void *ctx);

#endif

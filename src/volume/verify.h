/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies a volume while it is used: every block of every replica is read from its disk, and a
 * SHA-256 is kept of each replica, over the volume in address order.
 *
 *   home:  chunk 0 | chunk 1 | chunk 2 | ...         VERIFY_DEPTH under way, hashed in order
 *             |
 *   slice:    +--> settled --> its place in the overlap order --> read at every member --> home
 *
 * Replica k of a volume is what the slots k - 1 of all its copysets have: which disks those are
 * changes from shard to shard.  What nobody wrote counts as zeros.
 *
 * R4: a chunk is read from all members in one place in the overlap order (R8), so that their
 * digests are equal although hosts write meanwhile.  A replica that is out of sync is not read
 * (I7), and has no digest.  Nothing is repaired: docs/replication.md, 11.8.
 *
 * Threading: home's.   Memory: from the heap, up to 0.8 MiB while it runs.
 */
#ifndef VOLUME_VERIFY_H
#define VOLUME_VERIFY_H

#include "base/sha256.h"
#include "base/status.h"
#include "base/uuid.h"
#include "volume/limits.h"

struct volume;

/* Findings that are kept in full; more are counted. */
#define VOLUME_VERIFY_FINDINGS_MAX 64u

enum volume_verify_kind {
    VOLUME_VERIFY_BAD = 1,     /* Blocks cannot be read, or fail their checksums. */
    VOLUME_VERIFY_DIFFERS,     /* Blocks are not as the first replica has them that can be read. */
    VOLUME_VERIFY_OUT_OF_SYNC, /* The replica is no member, and was not read. */
    VOLUME_VERIFY_UNREAD,      /* The disk did not answer: why. */
};

/*
 * Bytes of the volume in a row.  OUT_OF_SYNC and UNREAD: all of that disk; at is the first address,
 * and bytes is their sum.
 */
struct volume_verify_finding {
    enum volume_verify_kind kind;
    unsigned replica; /* From 0. */
    struct uuid disk;
    uint64_t at;
    uint64_t bytes;
    struct status why; /* UNREAD */
};

struct volume_verify_replica {
    uint64_t bad_blocks;
    uint64_t differing_blocks;
    uint64_t unread_bytes; /* Out of sync, or without an answer. */
    bool whole;            /* It was read to the end, without bad blocks: it has a digest. */
    uint8_t sha256[SHA256_BYTES];
};

struct volume_verify {
    uint64_t bytes; /* Of the volume, when it was begun. */
    uint64_t done_bytes;
    unsigned replica_count;
    struct volume_verify_replica replicas[VOLUME_REPLICAS_MAX];
    struct volume_verify_finding findings[VOLUME_VERIFY_FINDINGS_MAX]; /* As they were found. */
    uint32_t finding_count;
    uint64_t findings_left; /* For which there was no room. */
};

struct volume_verify_config {
    uint64_t bytes_per_s; /* Of the volume; shards that no disk knows do not count.  0: no limit. */
    /*
     * From the loop: OK when all was read that could be; CANCELED; FENCED: another engine has the
     * volume, or it is closed.  result is lent for the call, and whole says nothing after a
     * failure.
     */
    void (*done)(void *ctx, struct status status, const struct volume_verify *result);
    void *ctx;
};

/* Begins.  BUSY: one is under way; FENCED, UNAVAILABLE: it is not served; NO_MEMORY. */
struct status volume_verify_start(struct volume *volume,
                                  const struct volume_verify_config *config) MUST_CHECK;

/* It ends soon, with CANCELED; nothing happens if none is under way.  Closing the volume ends it,
 * too. */
void volume_verify_stop(struct volume *volume);

/* How far it is; lent until the next turn.  NULL: none is under way. */
const struct volume_verify *volume_verify_progress(const struct volume *volume);

/* Whether every replica has a digest, and all are equal. */
bool volume_verify_is_good(const struct volume_verify *result);

#endif

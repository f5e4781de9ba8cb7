/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair of blocks of which a store says that they are bad: what scrubbing a disk finds
 * (docs/replication.md, 11.3). Stores repair nothing alone (R10).
 *
 *   scrub --> home: volume_mend() --> slice: a place of its own in the overlap order, in which the
 *                                            blocks are read again, and written from another member
 *
 * That they are bad is looked at anew: what a host has written meanwhile is left as it is.
 *
 * Threading: begun on reactor 0, and done there.   Memory: the caller's.
 */
#ifndef VOLUME_MEND_H
#define VOLUME_MEND_H

#include "volume/range_copy.h"

struct volume;

struct volume_mend {
    /* The caller's. */
    struct uuid disk;
    uint32_t shard;  /* Index in the volume. */
    uint64_t offset; /* Bytes in the shard; whole blocks. */
    uint64_t bytes;
    void (*done)(struct volume_mend *mend);

    /*
     * Valid in done.  OK: it was tried.  NOT_FOUND: the volume has no such shard there.
     * UNAVAILABLE: the replica there is not in sync.  UNSUPPORTED: there is no other replica. BUSY:
     * the replicas are still being made equal; ask again.  FENCED, or why a disk has failed.
     */
    struct status status;
    uint64_t address; /* Of the first byte in the volume. */
    uint64_t repaired_bytes;
    uint32_t unreadable; /* Blocks that no member can read. */

    /* Private to mend.c. */
    struct volume *volume;
    struct copyset *copyset;
    unsigned slot;
    struct range_copy copy;
    struct io_msg msg;
};

/* Begins; done follows, from the loop.  The volume is open until then: closing it waits. */
void volume_mend(struct volume *volume, struct volume_mend *mend);

#endif

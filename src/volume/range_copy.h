/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a range of a shard equal on several replicas of its copyset: what one source has is written
 * to every target that has something else (docs/replication.md, 7.5, 9.4, 11.3).
 *
 *   its place in the overlap order --> memory --> tick --> windows of a region: hashes of all
 *       --> parts of what differs, several at a time: read the source, write the targets
 *
 * R10: the place is exclusive, taken before anything is looked at, and kept until the last target
 * has answered.  Memory comes before the tick, and is given back where there is no room in the open
 * regions: who has either waits for nothing but disks.
 *
 * Targets say by hashes what they have, the source only if one of them has anything: what is to be
 * copied as a whole is read once.  Data keep the checksums with which the source's store has them.
 *
 * A part that a replica cannot read is gone through block by block, so that one bad block costs
 * nothing but itself.
 *
 * Threading: the slice's that owns the copyset.
 * Memory:    embedded; hashes and parts are in the slice's scratch memory for copies.
 */
#ifndef VOLUME_RANGE_COPY_H
#define VOLUME_RANGE_COPY_H

#include "base/sm.h"
#include "io/buf.h"
#include "volume/leg.h"
#include "volume/order.h"

struct copyset;
struct copy_part;
struct range_copy;

enum range_copy_end {
    RANGE_COPY_EQUAL,
    RANGE_COPY_UNREADABLE, /* Some blocks no source could read, and they are not spoiled. */
    RANGE_COPY_FAILED,     /* A replica has answered otherwise: slot and status; or FENCED. */
};

/* Sets of slots are asked for anew with each part: members may have changed. */
struct range_copy_ops {
    unsigned (*sources)(const struct range_copy *c);
    unsigned (*targets)(const struct range_copy *c);
    unsigned (*spared)(const struct range_copy *c); /* Sources that are read last; NULL: none. */
    void (*done)(struct range_copy *c, enum range_copy_end end);
    /*
     * The range is whole regions in which members may differ: until they are equal no round closes
     * them.
     */
    bool until_equal_open;
    /*
     * 7.5, 9.6: what no source can read is made unreadable at all targets but the first source, and
     * those that have the same by hash: they may have bytes that are older than what was
     * acknowledged, or others than that source.  It counts as equal then.
     */
    bool (*spoils)(const struct range_copy *c); /* NULL: never. */
    /* The caller has the range's place in the order, an exclusive one, and keeps it. */
    bool in_place;
    /* The targets are no members: it passes who waits for a change of these (order.h). */
    bool passes;
    /*
     * What one source has as zeros is made zeros at all, whatever another one has: so that nobody
     * needs space for a block that is not there at every source.
     */
    bool prefers_zeros;
};

struct range_copy_range {
    uint32_t shard;
    uint64_t offset; /* Bytes in the shard; whole blocks. */
    uint64_t bytes;
};

struct range_copy {
    /* Valid in done. */
    unsigned slot;   /* FAILED: who, ... */
    struct leg *leg; /* ... as the slot may have another one by now; NULL: the slice is fenced. */
    struct status status;
    uint32_t unreadable;     /* Blocks; also of EQUAL. */
    uint64_t unreadable_at;  /* The first of them: bytes in the shard. */
    uint64_t compared_bytes; /* By hash; at all targets together. */
    uint64_t copied_bytes;

    /* Private to range_copy.c. */
    const struct range_copy_ops *ops;
    struct copyset *copyset;
    struct sm sm;
    struct order_entry order;
    uint64_t end;                    /* Of the range. */
    uint64_t window;                 /* What is compared and copied now, bytes in the shard, ... */
    uint32_t blocks;                 /* ... and of how many blocks; ... */
    uint32_t next;                   /* ... the first of them that no part has taken. */
    unsigned source;                 /* Slot, or ... */
    bool sourceless;                 /* ... there is none. */
    unsigned targets;                /* Slots that are compared. */
    bool hashed;                     /* The source, too; otherwise the targets have nothing. */
    uint8_t needs[STORE_HASHES_MAX]; /* Of each block: which slots, and how. */
    uint32_t unreadable_before;      /* This window. */
    bool spares;                     /* Unreadable blocks are not spoiled, or not all. */
    uint8_t stop;                    /* Whether more is begun. */
    unsigned under_way;              /* Commands, and whoever begins some. */
    unsigned part_count;
    struct copy_part *parts;
    struct span memory; /* The parts; then hashes, or the data of the parts. */
    struct buf_waiter waiter;
    struct list_node link; /* round_copyset.copies: it waits for room in the open regions. */
    uint32_t tick;         /* 0: none. */
};

void range_copy_init(struct range_copy *c);

/* Starts it; it is not busy.  done follows, from the loop or before this returns. */
void range_copy_start(struct range_copy *c, struct copyset *cs, const struct range_copy_ops *ops,
                      const struct range_copy_range *range);

/* Whether done is to follow. */
bool range_copy_is_busy(const struct range_copy *c);

/* There may be room in the open regions, or the slice is fenced. */
void range_copy_on_room(struct range_copy *c);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's limits, with the reason for each.
 *
 * Threading: pure.   Memory: constants.
 */
#ifndef VOLUME_LIMITS_H
#define VOLUME_LIMITS_H

#include <assert.h>

#include "io/buf.h"
#include "store/store.h"

/*
 * Host commands that one slice of one volume carries at a time by default; more wait.  Enough for a
 * host that keeps several queues of 128 busy; the memory is touched only as far as it is used.
 */
#define VOLUME_COMMANDS_MAX 1024u

/*
 * Pieces of one command in flight.  A read or write of BUF_BYTES_MAX touches at most three
 * stripe units of the default size; a deallocate of a terabyte goes through the same window, so
 * that it cannot crowd out the rest.
 */
#define VOLUME_PIECES_MAX 4u

/* One piece of a deallocate or write-zeroes: what a store does without a pause for others. */
#define VOLUME_ZERO_BYTES_MAX ((uint64_t)16 << 20)

/*
 * Lanes of the overlap order that one slice can hold.  A read or write takes one or two, a piece
 * of a deallocate up to VOLUME_ZERO_BYTES_MAX / ORDER_LANE_BYTES + 1; what finds none free waits.
 */
#define VOLUME_LANES_MAX 4096u

/*
 * Memory of one reactor, for all its volumes, into which blocks are read that do not go to the host
 * as they are: of parts of blocks one each, so that a thousand are under way, or 32 of the largest
 * pieces of Compare and Verify.  When it is in use each slice has some of its own (scratch.h).
 */
#define VOLUME_SCRATCH_BYTES       ((size_t)4 << 20)
#define VOLUME_SCRATCH_PIECE_BYTES ((uint64_t)128 << 10)

/* Slices of a volume: reactors of the node. */
#define VOLUME_SLICES_MAX 64u

/*
 * Copies that one front has under way; more wait.  Each has two places in the overlap order at
 * most, and for the second one, two lanes at most, the order keeps lanes back.
 */
#define VOLUME_COPIES_MAX  4u
#define VOLUME_COPY_PLACES 2u
#define VOLUME_LANES_KEPT  (VOLUME_SLICES_MAX * VOLUME_COPIES_MAX * 2)

/*
 * Copysets of a volume that are resynced at a time.  One region each is under way, which is read in
 * chunks of 128 KiB.
 */
#define VOLUME_RESYNCS_MAX 4u

/* A member that is needed, and has failed a command, is asked for it again so much later. */
#define VOLUME_ASK_AGAIN_NS (1 * NS_PER_S)

/* A member that is gone before its copyset is settled is waited for so long (11.4). */
#define VOLUME_ANEW_NS (10 * NS_PER_S)

/*
 * When a replica that was excluded, or whose resync has failed, is resynced: one that fails again
 * and again is left alone for longer and longer.  One that was merely away comes back sooner: its
 * node may have been started again.  After twenty minutes without a failure that is forgotten.
 */
#define VOLUME_RESYNC_AWAY_NS      (2 * NS_PER_S)
#define VOLUME_RESYNC_AGAIN_NS     (10 * NS_PER_S)
#define VOLUME_RESYNC_AGAIN_MAX_NS (600 * NS_PER_S)
#define VOLUME_RESYNC_FORGET_NS    (1200 * NS_PER_S)

/*
 * Changes of one slice that are on their way to a replica that is being resynced and have been
 * acknowledged, or may be: so many, and a part of the scratch memory.  More are waited for.
 */
#define VOLUME_TRAILS_MAX      32u
#define VOLUME_TRAIL_BYTES_MAX (VOLUME_SCRATCH_BYTES / 4)

/* Repairs of one slice that wait for their turn; more are left to the next read that finds them. */
#define VOLUME_REPAIRS_MAX 16u

/* Ranges that nobody can read, and are told: of one slice, and of a volume. */
#define VOLUME_UNREADABLE_MAX 16u

/* Blocks of one command: one CRC each. */
#define VOLUME_BLOCKS_MAX (BUF_BYTES_MAX / STORE_BLOCK_BYTES)

/* Legs of a shard, that is, its replicas. */
#define VOLUME_REPLICAS_MAX 3u

/* And one to which a replica is being moved: docs/replication.md, 9.19. */
#define VOLUME_SLOTS_MAX (VOLUME_REPLICAS_MAX + 1u)

/* Stores of one volume: the stride.  More would let one failure touch too many volumes. */
#define VOLUME_STORES_MAX            1024u

#define VOLUME_STRIPE_UNIT_BYTES_MIN ((uint32_t)4096)
#define VOLUME_STRIPE_UNIT_BYTES_MAX STORE_IO_BYTES_MAX /* A unit is one command to a store. */

/* How long a replica may be away before the others go on without it: longer than a link takes to
 * be made again, and short for a host that waits. */
#define VOLUME_PATIENCE_NS (UINT64_C(1) * 1000000000)

static_assert(VOLUME_SCRATCH_PIECE_BYTES <= BUF_BYTES_MAX, "a piece is one buffer");
static_assert(VOLUME_RESYNC_AGAIN_MAX_NS < VOLUME_RESYNC_FORGET_NS, "the next failure counts");
static_assert(VOLUME_ZERO_BYTES_MAX % STORE_BLOCK_BYTES == 0, "whole blocks");
static_assert(VOLUME_LANES_MAX - VOLUME_LANES_KEPT >= 1024, "many pieces must fit, and the widest");
static_assert(VOLUME_COPY_PLACES <= VOLUME_PIECES_MAX, "a Copy's places are its pieces");
static_assert(VOLUME_SCRATCH_PIECE_BYTES <= VOLUME_BLOCKS_MAX * STORE_BLOCK_BYTES,
              "CRCs of a chunk");

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trails: writes to a replica that is being resynced, which nobody waits for
 * (docs/replication.md, 9.1).
 *
 *   piece: to the members ------ all have it --> acknowledged, without its place in the order
 *     |                                                          |
 *     +--> trail: a copy of the data --> the replica ---> ... the trail has it until the answer
 *
 * The host's memory is the host's again when the write is acknowledged, so a trail has its own.
 * Where there is none the write waits for the replica as for a member.
 *
 * Threading: the slice's that owns the copyset.
 * Memory:    VOLUME_TRAILS_MAX for each slice, from the first resync on; data from the reactor's
 *            scratch memory, up to VOLUME_TRAIL_BYTES_MAX.
 */
#ifndef VOLUME_TRAIL_H
#define VOLUME_TRAIL_H

#include "base/list.h"
#include "io/buf.h"
#include "volume/leg.h"
#include "volume/order.h"

struct copyset;
struct piece;
struct slice;

struct trail {
    struct list_node link; /* trails.free, or round_copyset.trails: it waits for room. */
    struct copyset *copyset;
    struct piece *piece;      /* NULL: it has been acknowledged, and the place is the trail's. */
    struct order_entry order; /* Then. */
    uint32_t tick;            /* Its own; 0: none. */
    struct span memory;
    struct leg_io io;
    struct leg_remote_io remote_io;
    uint32_t crcs[BUF_BYTES_MAX / STORE_BLOCK_BYTES];
};

struct trails {
    struct trail *items; /* NULL: there was no resync yet. */
    struct list free;
    size_t bytes; /* Of data, in use. */
};

void trails_init(struct trails *t);
void trails_fini(struct trails *t);

/* Before the first one.  NO_MEMORY. */
struct status trails_prepare(struct trails *t) MUST_CHECK;

/*
 * Sends a piece's change to the replica; fanout_on_trail() follows, unless the piece has ended
 * before.  False: there is no memory for it.
 */
bool trail_start(struct piece *p, unsigned slot) MUST_CHECK;

/* The piece ends now: its place in the overlap order is the trail's. */
void trail_take_place(struct trail *t, struct order_entry *order);

/* There may be room in the open regions, or nothing more is to be sent to the replica. */
void trail_on_room(struct trail *t);

#endif

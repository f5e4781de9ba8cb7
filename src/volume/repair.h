/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read repair: a block that one member cannot read is written again from another one
 * (docs/replication.md, 8.6, 11.3).
 *
 *   read --> MEDIA_READ at one member --> another one has it: the host is answered
 *                       |
 *                       +--> repair: the range is made equal, in a place of its own in the order
 *                                        |
 *   no member has all of it: the read waits, and is tried once more
 *
 * A block that is bad at all members stays as it is: whoever reads it is told.  It is not spoiled:
 * what a link has damaged looks the same, and may be read the next time.
 *
 * Threading: the slice's.
 * Memory:    VOLUME_REPAIRS_MAX for each slice, one after the other; what finds no room is found
 *            again by the next read.
 */
#ifndef VOLUME_REPAIR_H
#define VOLUME_REPAIR_H

#include "volume/limits.h"
#include "volume/range_copy.h"

struct piece;
struct slice;

struct repair {
    struct list_node link; /* repairs.free or .queue */
    struct copyset *copyset;
    struct range_copy_range range;
    unsigned bad;        /* Slots. */
    struct list waiting; /* piece.link */
};

struct repairs {
    struct repair items[VOLUME_REPAIRS_MAX];
    struct list free;
    struct list queue;
    struct repair *current;
    struct range_copy copy;
    struct io_task task; /* Begins the next one. */
};

void repairs_init(struct repairs *r);

/* A read has ended, perhaps well, and some members could not read their blocks. */
void repair_note(struct piece *p);

/* Has a piece wait for the repair of its range, after which on_settled is called.  False: none. */
bool repair_wait(struct piece *p);

bool repair_is_busy(const struct repairs *r);

/* The slice is fenced: what waits goes on, to its end. */
void repairs_stop(struct repairs *r);

#endif

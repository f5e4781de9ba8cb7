/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking back a write that a full member has refused and others may have executed, before the host
 * is told (docs/replication.md, 11.1; R4, S6).
 *
 *   fan-out --> NO_SPACE at a member --> undo_begin()
 *                                            |    in the write's own place in the order:
 *                                            v    every member gets what a full one has
 *   host <-- NO_SPACE <-- fanout_undone() <--+
 *
 * Nobody is excluded for a full disk.  Disks of a cluster fill up together: each in its turn would
 * be set out, with the newest data on fewer and fewer of them, and no way back as long as they are
 * full.
 *
 * It waits for nothing but members: its memory is that of copies (range_copy.h), as those who wait
 * for it may have all of the commands'.
 *
 * Threading: the slice's.
 * Memory:    one range copy for each slice, one write after the other.
 */
#ifndef VOLUME_UNDO_H
#define VOLUME_UNDO_H

#include "volume/range_copy.h"

struct copyset;
struct piece;
struct slice;

struct undos {
    struct list pieces;    /* piece.link: the one under way, and those that wait. */
    struct piece *current; /* Or NULL. */
    bool running;          /* undo_next() is. */
    unsigned covered;      /* Members when it was begun. */
    struct range_copy copy;
};

void undos_init(struct undos *u);

/* Nothing is under way. */
void undos_fini(struct undos *u);

/*
 * The slots in full have refused the piece; nothing of it is under way to a member.
 * fanout_undone() follows, perhaps before this returns.
 */
void undo_begin(struct piece *p, unsigned full);

/* A piece that is being taken back has been executed by some: its regions stay open. */
void undo_keep_open(struct copyset *cs);

/* The copyset's members have changed, or one has a session again. */
void undo_go_on(struct copyset *cs);

bool undo_is_busy(const struct undos *u);

/* The slice is fenced: what waits ends with FENCED. */
void undos_stop(struct slice *s);

#endif

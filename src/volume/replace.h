/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another disk in a slot, while the volume serves (docs/replication.md, 9.11 to 9.22).  In one that
 * is out:
 *
 *   volume_replace --> the slices know its leg --> it has a session
 *        --> members: the record's next change, committed --> each slice, in its turn: the
 *            copyset's slot is the new leg --> resync_home.h: all is copied to it
 *
 * In one that is in (if it is set out meanwhile, that is given up, and goes on as above):
 *
 *   volume_replace --> the slices know its leg --> it has a session
 *        --> resync_home.h: all is copied to it, in the copyset's spare slot
 *        --> its admission, committed --> each slice, in its turn, as above
 *
 * The old leg is closed then, if no slot is its any more; if the volume is growing, after that.
 *
 * Threading: home's, but for what says otherwise.   Memory: embedded in the copysets.
 */
#ifndef VOLUME_REPLACE_H
#define VOLUME_REPLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"

struct copyset;
struct leg_call;
struct volume;

/* A copyset's part: one slot at a time. */
struct replace {
    bool wanted;
    bool turning; /* The record's next change has it, and perhaps not all slices have turned. */
    unsigned slot;
    struct uuid was;
    bool moves;   /* Also while the slot is in. */
    uint32_t leg; /* The new one. */
};

/* The slices know the legs. */
void replace_on_spread(struct volume *v);

/* A session was opened, or not; or the volume is back from a growth. */
void replace_go_on(struct volume *v);

/* Makes the next record of what can be replaced now; false: there is nothing. */
bool replace_record(struct volume *v);

/* The record is that one; spread: the slices know. */
void replace_changed(struct volume *v, bool spread);

/* The slice's reactor: a change of members is told.  Turns the slot. */
void replace_turn(struct copyset *cs);

/* 9.19: whether the replica of a slot can be moved now. */
bool replace_moves(const struct volume *v, const struct copyset *cs);

/* 9.20: the record's next change has the spare's disk in its slot. */
void replace_on_move(struct copyset *cs);

/* The spare is not copied to any more: it has its slot, or it was given up. */
void replace_on_end(struct volume *v, struct copyset *cs);

/* The slice's reactor: the slot, which may be the spare one, has this leg from now on. */
void replace_take_leg(struct copyset *cs, unsigned slot, uint32_t leg);

/* Whether a slot is the leg's, or is to be. */
bool replace_needs(const struct volume *v, const struct leg_call *call);

#endif

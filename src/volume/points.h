/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flush points: how far the journals of a copyset's disks were durable, as they said when regions
 * were closed in the members' lists, and whether a disk still has that (docs/replication.md, 3.7).
 *
 * Threading: the slice's, but while the volume is taken over: then home's.
 * Memory:    copyset.points.
 */
#ifndef VOLUME_POINTS_H
#define VOLUME_POINTS_H

#include "store/store.h"

struct copyset;
struct volume;

/*
 * Takes what the disk of a slot has said of itself, with the incarnation that it had when it was
 * flushed.  MALFORMED if it is another disk's, STALE_INCARNATION of another incarnation, POINT_LOST
 * if it is less than what is known, and that it has lost that is news.
 */
struct status points_take(struct copyset *cs, unsigned slot, uint64_t incarnation,
                          const struct store_point *own) MUST_CHECK;

/* All that are known of the copyset; items has room for STORE_COPYSET_POINTS. */
uint32_t points_gather(const struct copyset *cs, struct store_point *items);

/*
 * 3.7.5: all is settled at the members that had lost theirs, and is to be flushed and kept: then
 * takeover_copyset_settled() follows.
 */
bool points_are_due(const struct copyset *cs);

/* Whether a member has another incarnation than the one of which a point is known. */
bool points_are_old(const struct copyset *cs);

/* Nothing is known of a slot's disk any more, wherever it was. */
void points_forget(struct copyset *cs, unsigned slot);

/* A slot has got another leg. */
void points_turn(struct copyset *cs, unsigned slot);

/* ---- A new engine (3.7.5), on home ---- */

/*
 * Takes what the legs' calls have read of points that members keep, and asks each member whether it
 * has its own; takeover_on_told() follows, with leg_call.outcome.
 */
void points_tell(struct volume *v);

/* 7.4 is decided: where a member has lost its own, all is to be settled.  NO_MEMORY. */
struct status points_settle_lost(struct volume *v) MUST_CHECK;

#endif

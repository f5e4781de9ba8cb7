/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resync: a replica that is out of sync gets what it lacks while the volume serves, and is a member
 * again (docs/replication.md, section 9).  One slot of a copyset at a time.
 *
 *   settled --> changes flow to it --> those of before have ended --> lists are read
 *           --> region after region is made equal to a member
 *           --> acknowledgements wait for it --> lists are read again --> MERGE_REGIONS, FLUSH
 *           --> home: admitted
 *
 * Here is what the slice does.  resync_home.h decides when, and commits.  Nothing of it is kept: a
 * resync that fails begins anew, with what the lists say then.
 *
 * Threading: the slice's that owns the copyset.
 * Memory:    the heap, for the lists; 20 bytes for each run of regions that is to be copied.
 */
#ifndef VOLUME_RESYNC_H
#define VOLUME_RESYNC_H

#include "base/sm.h"
#include "volume/leg.h"
#include "volume/pace.h"
#include "volume/range_copy.h"
#include "volume/runs.h"

struct copyset;

struct resync {
    struct sm sm;
    unsigned slot;
    unsigned place;       /* The same; or of the spare, the slot that it is to get (9.19). */
    bool whole;           /* The record says that all is to be copied. */
    uint64_t incarnation; /* Of its disk when it joined (R6). */
    struct status why;    /* LEAVING: why it is not admitted. */
    struct runs todo;     /* Regions to be copied ... */
    struct runs_at at;    /* ... from here on. */
    uint64_t left;        /* So many. */
    struct runs others;   /* What members list for other slots, and it is to list, too (9.8). */
    unsigned unread;      /* Slots that are still to be asked or told. */
    unsigned bad;         /* Slots that have failed as sources. */
    bool asked_again;     /* Some of these, for this region, as they are there. */
    unsigned shunned;     /* Members that were suspected when it began: nobody is asked (11.4). */
    unsigned told;        /* Members that keep what its admission rests on (3.7.7). */
    struct range_copy copy;
    struct runs_at merged; /* MERGING: of others, what is on the way or done. */
    uint32_t tick;         /* Of a merge that is under way, or 0. */
    bool waits;            /* MERGING: for room in the engine's table of open regions. */
    bool pending;          /* io is under way. */
    struct leg_io io;
    struct leg_remote_io remote_io;
    struct store_region *items;                      /* Of io. */
    struct store_point points[STORE_COPYSET_POINTS]; /* Likewise. */
    uint32_t point_count;
    struct pace_waiter turn; /* PACING */
};

/* Counters of a volume, written by its slices. */
struct resync_counters {
    _Atomic uint64_t regions_left; /* Of resyncs under way. */
    _Atomic uint64_t regions_done;
    _Atomic uint64_t compared_bytes;
    _Atomic uint64_t copied_bytes;
    _Atomic uint64_t repaired_bytes; /* repair.c */
};

void resync_init(struct resync *r);
void resync_fini(struct resync *r);

/*
 * Begins; the leg of the slot has a session.  shunned: members that are not asked.
 * resync_home_on_end() follows, perhaps after resync_home_on_wish() has asked for the admission.
 */
void resync_start(struct copyset *cs, unsigned slot, unsigned place, bool whole, unsigned shunned);

/* Home gives it up. */
void resync_stop(struct copyset *cs);

/*
 * 3.7.1: its disk is not what it was when it joined, or has lost its point since.  That ends this
 * resync, and is no failure of the disk, which may be well where it has joined later.
 */
void resync_outdated(struct copyset *cs, struct status why);

/* The slot is a member now. */
void resync_admitted(struct copyset *cs);

/* 9.21: the spare has got its slot, if it was about to. */
void resync_moved(struct copyset *cs);

/* Something has moved that it may wait for. */
void resync_run(struct copyset *cs);

bool resync_is_busy(const struct copyset *cs);

/* 9.10: the record may have it as a member by now. */
bool resync_is_admitting(const struct copyset *cs);

/* 3.4: whether the replica that takes part in rounds is equal there. */
bool resync_has_copied(const struct copyset *cs, uint32_t shard, uint32_t region);

/* ---- From fanout.c and trail.c ---- */

/* 9.2: a change from before it joined has ended, or was sent to it as well. */
void resync_on_drained(struct copyset *cs);

/*
 * Who was no member when it was sent a change has answered it; trailed: after the change had been
 * acknowledged.  Its slot may be another disk's by now.
 */
void resync_on_answer(struct copyset *cs, const struct leg *leg, struct status status,
                      bool trailed);

/* The members have refused a change that was sent to these slots, too. */
void resync_on_refused(struct copyset *cs, unsigned slots, struct status status);

#endif

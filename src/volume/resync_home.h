/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which replicas are resynced, and when; and their admission (docs/replication.md, 9.9, 9.10).
 *
 *   home                                           slice (resync.h)
 *   resync_plan: a slot is out, its leg has a
 *   session, and its time has come --------------> resync_start
 *   resync_home_on_wish: the record's next -------- copied, durable
 *   change, committed ---------------------------> the members change: resync_admitted
 *   resync_home_on_end: again, later <------------
 *
 * A disk that has failed is given some time, longer with each failure: admitted and excluded in
 * turn it would do more harm than if it is away.
 *
 * Threading: home's, but for what says otherwise.   Memory: embedded in the copysets.
 */
#ifndef VOLUME_RESYNC_HOME_H
#define VOLUME_RESYNC_HOME_H

#include <stdatomic.h>

#include "base/list.h"
#include "io/reactor.h"
#include "repl/group_steps.h"

struct copyset;
struct leg_call;
struct volume;

/* After failures: when there may be another. */
struct resync_delay {
    uint64_t again_ns; /* Not before. */
    uint64_t delay_ns;
    uint64_t failed_ns;
};

/* A copyset's part. */
struct resync_home {
    struct list_node link; /* members.admissions */
    bool busy;             /* The slice has been told; resync_home_on_end() is to follow. */
    bool given_up;         /* The slice has been told to stop. */
    bool committed;        /* The record has it as a member, but perhaps not the slices. */
    bool unsettled;        /* Regions that members list are being settled (7.5). */
    unsigned silent;       /* Members without which the group was taken over (11.4). */
    bool cut;              /* A disk has lost what its list rests on: to be recorded (3.7.6). */
    unsigned slot;         /* Or the spare one, ... */
    unsigned place;        /* ... and the slot that it is to get; else the same. */
    uint32_t leg;          /* Of the slot. */
    bool whole;            /* As the record says. */
    uint8_t shunned;       /* Members that are not asked: resync_start(). */
    struct status outcome; /* The slice's, in end_msg. */
    struct resync_delay slots, spare; /* What failed in one says nothing of the other (9.19). */
    struct io_msg start_msg, stop_msg, wish_msg, end_msg;
    atomic_bool stopping; /* stop_msg is on its way. */
    /* The slice's: of the resync under way, as soon as it is known what is to be done; or 0. */
    _Atomic uint64_t regions;
    _Atomic uint64_t regions_done;
    uint64_t regions_ended; /* That were done when it was admitted; in end_msg. */
};

void resync_home_init(struct resync_home *h);

/* Begins what can be begun. */
void resync_plan(struct volume *v);

/* The record is about to be members.next: who is out then is given some time. */
void resync_home_excluded(struct volume *v);

/* 9.22: its replica is to be moved elsewhere, or not any more. */
void resync_home_unwanted(struct volume *v, struct copyset *cs);

/* A disk has failed a command: nothing that it is being resynced for is to be relied on. */
void resync_home_failed(struct volume *v, const struct leg_call *call);

/* Whether its admission is under way, so that Flushes wait for it. */
bool resync_home_needs(const struct volume *v, const struct leg_call *call);

/*
 * 11.4: whether the disk does not answer, and is a member where a replica is being resynced: then
 * it is not waited for.
 */
bool resync_home_may_part(const struct volume *v, const struct leg_call *call);

/* 9.9: makes the next record of the first admission that is wished for; false: there is none. */
bool resync_home_admit(struct volume *v, struct group_session *items);

/* 3.7.6: makes the next record, where all of a replica is to be copied; false: there is none. */
bool resync_home_record_cut(struct volume *v);

/* A change of members has ended; spread: the slices know of it. */
void resync_home_changed(struct volume *v, bool spread);

/* Opens the leg of a disk that is out, or is to get a slot; what can be done then is done. */
void resync_home_open(struct volume *v, struct leg_call *call);

/* No more of them. */
void resync_home_fence(struct volume *v);

/* v->resync_timer */
void resync_home_on_timer(struct io_timer *timer);

/* The slice's reactor: the replica is to be admitted, with the incarnation of its resync. */
void resync_home_on_wish(struct copyset *cs);

/* The slice's reactor: it is a member, or why it is not. */
void resync_home_on_end(struct copyset *cs, struct status outcome);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of an ownership group: who may complete I/O, and which replicas have what was
 * promised.  docs/replication.md, section 3.1.
 *
 *   epoch 7, owner node-1, sequence 31
 *                 slot 0              slot 1              slot 2
 *   copyset 0     disk A, in, 50001   disk B, in, 70003   disk C, out since 12:00
 *   copyset 1     disk D, in, 20009   disk A, in, 50001   -
 *
 * Where a copyset's members have incarnation 0 nothing has been promised to anybody yet: the first
 * engine takes whichever answer (7.4).
 *
 * Here is the value, and what it says; group_steps.h makes the next record out of one.
 *
 * Threading: pure.   Memory: values; a struct group takes 30 KiB, and belongs on no stack that is
 *            small.
 */
#ifndef REPL_GROUP_H
#define REPL_GROUP_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/uuid.h"

#define GROUP_SLOTS 3u

/* Different tuples of disks in one group: a record in the meta store stays below 50 KiB. */
#define GROUP_COPYSETS_MAX 256u

/* Disks that one record can name, and so sessions that its engine has. */
#define GROUP_DISKS_MAX (GROUP_COPYSETS_MAX * GROUP_SLOTS)

enum group_slot_state {
    GROUP_SLOT_UNUSED,
    GROUP_SLOT_IN,  /* A member. */
    GROUP_SLOT_OUT, /* It lacks something that was promised, or may lack it. */
};

struct group_slot {
    enum group_slot_state state;
    struct uuid disk;
    uint64_t incarnation;   /* IN: for which it has everything promised; 0: nothing was. */
    uint64_t since_unix_ms; /* OUT; for people, and for the retention time. */
    bool whole;             /* OUT: no list says what it lacks; all is to be copied. */
};

struct group_copyset {
    struct group_slot slots[GROUP_SLOTS];
};

struct group {
    uint64_t epoch;    /* 0: no engine has had it yet. */
    struct uuid owner; /* The node of the engine; nil: none. */
    uint64_t generation;
    uint64_t sequence; /* One more with each change of the record. */
    bool loss; /* What was not flushed was given up (7.4), and its host may not have heard. */
    uint32_t copyset_count; /* 0: a volume of one replica, which has no members to tell apart. */
    struct group_copyset copysets[GROUP_COPYSETS_MAX];
};

/* Why not, for people: of disks, not of slots.  The caller names the volume. */
struct group_reason {
    char s[256];
};

/* Recorded of a member that is no source, whatever it has: no disk's. */
#define GROUP_INCARNATION_NONE UINT64_MAX

/*
 * A session that is up, and what its OPEN has returned.  In 7.4 also a disk that has answered that
 * it does not know the volume: of GROUP_INCARNATION_NONE, and its flush point is lost.
 */
struct group_session {
    struct uuid disk;
    uint64_t incarnation;
    bool may_have_lost; /* Its store has a loss flag: of account in 7.4 alone. */
    bool point_lost;    /* Likewise: it has lost what others' lists rest on (3.7). */
};

struct group_sessions {
    const struct group_session *items;
    uint32_t count;
};

/* Members that a copyset must have to be served, and to acknowledge writes (R1, 7.4). */
static inline unsigned group_members_min(unsigned min_in_sync)
{
    return min_in_sync > 1 ? min_in_sync : 1;
}

/*
 * Whether this can be a record: at least one member in each copyset, each disk once in it, nothing
 * in fields that have no meaning.  INVALID with a reason.
 */
struct status group_check(const struct group *g, struct group_reason *reason) MUST_CHECK;

/* The same of one copyset; its number is for the reason. */
struct status group_copyset_check(const struct group_copyset *c, uint32_t number,
                                  struct group_reason *reason) MUST_CHECK;

/* Whether they say the same, in every field. */
bool group_equal(const struct group *a, const struct group *b);

/*
 * 6.3  Whether an owner may commit now in place of was: a valid record of the same epoch, owner and
 * copysets, one in sequence.  INVALID with a reason.
 */
struct status group_check_next(const struct group *was, const struct group *now,
                               struct group_reason *reason) MUST_CHECK;

/* Whether a slot of the copyset has another disk (9.13); both have the copyset. */
bool group_disks_differ(const struct group *was, const struct group *now, uint32_t copyset);
/* Likewise of any copyset that both have. */
bool group_any_disks_differ(const struct group *was, const struct group *now);

/* ---- What it says.  Sets of slots are bit masks, slot 0 the lowest. ---- */

/* The slot of the disk in the copyset; false if it has none. */
bool group_find(const struct group *g, uint32_t copyset, struct uuid disk, unsigned *out_slot);

/* Whether the disk is a member of any copyset. */
bool group_has_member(const struct group *g, struct uuid disk);

/*
 * 7.2  Whether the disk has a volume of which it has something that was promised: it is a member
 * somewhere, with an incarnation.
 */
bool group_must_know(const struct group *g, struct uuid disk);

/* The members.  Others are never read, never a source, and count for nothing (I7). */
unsigned group_members(const struct group *g, uint32_t copyset);

/* 3.7.5, 7.2  Members that an engine has found to have nothing, and that were not made whole since.
 */
unsigned group_with_nothing(const struct group *g, uint32_t copyset);

/* Members with one of these sessions. */
unsigned group_reached(const struct group *g, uint32_t copyset,
                       const struct group_sessions *sessions);

/* The same of replicas that are out. */
unsigned group_reached_out(const struct group *g, uint32_t copyset,
                           const struct group_sessions *sessions);

/*
 * 7.5, I8  Members that are known to have everything promised: with one of these sessions, and with
 * the recorded incarnation.  Settling takes its values from them, and exclusion counts them (6.1).
 * Where no member has it, 7.4 has recorded others first: there is no "else any".
 */
unsigned group_sources(const struct group *g, uint32_t copyset,
                       const struct group_sessions *sessions);

/* Whether nothing was promised on it yet. */
bool group_is_fresh(const struct group *g, uint32_t copyset);

/*
 * 7.4  Whether an engine may serve the copyset: all members have answered its seal, there are
 * enough of them, and one is a source.  UNAVAILABLE with a reason.
 */
struct status group_may_serve(const struct group *g, uint32_t copyset,
                              const struct group_sessions *sealed, unsigned min_in_sync,
                              struct group_reason *reason) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps that change a group's record, as docs/replication.md numbers them: each makes the next
 * record out of the one that was, or says why not.
 *
 *   was --step--> *out_group, sequence + 1 --commit, comparing the whole of was--> the record
 *
 * Nothing may rest on *out_group before its commit is known (6.4).  A step that finds nothing to
 * change returns was as it is, with the same sequence: there is nothing to commit then.
 *
 * A refusal leaves *out_group alone and has a reason for people: UNAVAILABLE where a disk is missed
 * that may return, BUSY where waiting is asked for (7.4), INVALID where the step makes no sense,
 * LIMIT where a number would overflow.
 *
 * Threading: pure.   Memory: values; was and *out_group may be the same.
 */
#ifndef REPL_GROUP_STEPS_H
#define REPL_GROUP_STEPS_H

#include "repl/group.h"

/* What an engine knows when it decides. */
struct group_view {
    struct group_sessions sessions; /* That are up now. */
    unsigned min_in_sync;           /* The volume's. */
    uint64_t now_unix_ms;           /* For since. */
};

/* 7.1  The next epoch, with this node as owner. */
struct status group_take_epoch(const struct group *was, struct uuid node, struct group *out_group,
                               struct group_reason *reason) MUST_CHECK;

/*
 * 7.4  The members that have not answered the seal (view->sessions are those that have) are set
 * out; where none of those that have is a source, the incarnations of those are recorded whose
 * stores have lost nothing, or else of all of them: what was not flushed is given up, and the
 * record says loss.  That is BUSY while others may still come, until the engine has waited for
 * them: then waited is true.  UNAVAILABLE where too few have answered, with for whom it waits.
 * 3.7.5: who has lost its flush point is set out whole; where it is needed, it is no source.
 * 11.4: where too few have answered, but a single one that is a source, and waited, all stay what
 * they are: group_silent().
 */
struct status group_take_over(const struct group *was, const struct group_view *view, bool waited,
                              struct group *out_group, struct group_reason *reason) MUST_CHECK;

/*
 * 11.4  The members without which the copyset was taken over all the same, as group_take_over()
 * was given this view, and had waited: nothing may be acknowledged, nor read, before they have left
 * by group_admit(), or the volume is taken over anew with them.
 */
unsigned group_silent(const struct group *g, uint32_t copyset, const struct group_view *view);

/*
 * 7.6  All regions are settled, in these sessions from beginning to end: the members' incarnations
 * are recorded.  UNAVAILABLE if a member has none of them.
 */
struct status group_settled(const struct group *was, const struct group_view *view,
                            struct group *out_group, struct group_reason *reason) MUST_CHECK;

/* 7.7  The host has heard of the loss. */
struct status group_loss_heard(const struct group *was, struct group *out_group,
                               struct group_reason *reason) MUST_CHECK;

/* 6.1  Whether the copysets can do without the disk: enough sources remain in each of them. */
struct status group_may_exclude(const struct group *g, const struct group_view *view,
                                struct uuid disk, struct group_reason *reason) MUST_CHECK;

/* 6.1, 6.3  The disk is set out in every copyset of which it is a member. */
struct status group_exclude(const struct group *was, const struct group_view *view,
                            struct uuid disk, struct group *out_group,
                            struct group_reason *reason) MUST_CHECK;

/* A replica that has been resynced. */
struct group_admission {
    uint32_t copyset;
    unsigned slot;
    uint64_t incarnation; /* With which it has confirmed its Flush (9.8). */
    unsigned leaving;     /* Slot of the dead member in whose place it comes (11.4)... */
    bool replaces;        /* ... if there is one. */
};

/*
 * 9.9  The replica is a member, with this incarnation, which its session must still have.  With
 * replaces another member is set out by the same transaction, provided that enough remain.
 */
struct status group_admit(const struct group *was, const struct group_view *view,
                          const struct group_admission *admission, struct group *out_group,
                          struct group_reason *reason) MUST_CHECK;

/* 3.1, RECLAIM  A replica that is out will not be listed for any longer; commit it first. */
struct status group_reclaim(const struct group *was, uint32_t copyset, unsigned slot,
                            struct group *out_group, struct group_reason *reason) MUST_CHECK;

/* 9.13, 11.2  Another disk in a slot. */
struct group_replacement {
    uint32_t copyset;
    unsigned slot;
    struct uuid disk;
};

/*
 * The disks, empty, get slots that are out or unused, one of a copyset: all is to be copied to
 * them.  One step, however many they are.
 */
struct status group_replace(const struct group *was, const struct group_replacement *items,
                            uint32_t count, uint64_t now_unix_ms, struct group *out_group,
                            struct group_reason *reason) MUST_CHECK;

/*
 * 9.20  The disk, to which everything was copied, takes the place of the slot's, as a member with
 * this incarnation, which its session must still have.
 */
struct status group_move(const struct group *was, const struct group_view *view,
                         const struct group_replacement *move, uint64_t incarnation,
                         struct group *out_group, struct group_reason *reason) MUST_CHECK;

/* 11.4  A replica that is out leaves the record: another one has taken its place. */
struct status group_drop(const struct group *was, uint32_t copyset, unsigned slot,
                         struct group *out_group, struct group_reason *reason) MUST_CHECK;

/*
 * 11.4  By the operator alone, who knows that the copyset's members are gone and their engine is
 * off: the replica becomes the only member as it is, and loses what it missed since it was out.
 * The others are out, whole: no list says how they differ from it.  The epoch goes up, without an
 * owner, so that the engine that served with the others can commit nothing more.
 */
struct status group_promote(const struct group *was, uint32_t copyset, unsigned slot,
                            uint64_t now_unix_ms, struct group *out_group,
                            struct group_reason *reason) MUST_CHECK;

/*
 * Copysets of these tuples are added behind those that there are: of a new volume, or of one that
 * grows.  Nothing is promised on them yet.  nil: the slot is not used.
 */
struct status group_extend(const struct group *was, const struct uuid (*tuples)[GROUP_SLOTS],
                           uint32_t count, struct group *out_group,
                           struct group_reason *reason) MUST_CHECK;

/* 11.5  The next generation, before the first write carries it. */
struct status group_raise_generation(const struct group *was, struct group *out_group,
                                     struct group_reason *reason) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: why a read may be completed although a newer engine may exist.  docs/replication.md,
 * sections 8.2 to 8.5.
 *
 *   engine's node                           store's node
 *    struct lease_link      one for the two  struct lease_giver      count of seals
 *    struct lease_session   one per group    struct lease_guard      per group: until when no seal
 *                                            struct lease_store      is answered
 *
 *   200 ms from when it sent a question  <   201 ms from when the store stopped answering
 *
 * The pair of nodes shares its renewals: an answer to one group's command renews the lease of all
 * groups whose sessions were confirmed at the same seal count.  The store takes the count for an
 * answer when it lets the command through, with the check of its session, and raises it after the
 * superseded session is refused on all reactors: so who has this count was not superseded then.
 *
 * Times are of the node's own boot-time clock, in nanoseconds.
 *
 * Threading: the owner's.   Memory: embedded; nothing is allocated.
 */
#ifndef REPL_LEASE_H
#define REPL_LEASE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEASE_NS      (UINT64_C(200) * 1000000)
#define LEASE_WAIT_NS (UINT64_C(201) * 1000000)

/* The same in the whole cluster. */
struct lease_times {
    uint64_t lease_ns; /* 0: always ask. */
    uint64_t wait_ns;  /* 0 only with a lease of 0. */
};

/* Clocks run at the same rate within 1 in 1000, each of them. */
static_assert(LEASE_WAIT_NS >= LEASE_NS + LEASE_NS / 1000 * 2, "the store waits longer");

/* ---- The engine's node ---- */

/* To a store's node, for the life of a link: a lost link takes it along (2.1). */
struct lease_link {
    bool known; /* There was an answer. */
    uint32_t count;
    uint64_t sent_ns; /* Of the last question that was answered with this count. */
};

/* Of a group, on such a link, from the answer to its OPEN until the session is lost. */
struct lease_session {
    bool confirmed;
    uint32_t count; /* Of the link, when it was. */
};

void lease_link_init(struct lease_link *link);
void lease_session_init(struct lease_session *session);

/*
 * A command of this session that was sent at sent_ns has succeeded: OPEN, CONFIRM, or any other.
 * (A failure says nothing: what is wrong with a command may be found before its session is looked
 * for.)
 */
void lease_on_answer(struct lease_link *link, struct lease_session *session, uint32_t count,
                     uint64_t sent_ns);

/* The store has refused the session: its group holds no lease there. */
void lease_on_stale(struct lease_session *session);

/* A member of the copyset that is read, as the reader sees it. */
struct lease_member {
    const struct lease_link *link; /* NULL: no link, or the session is not up. */
    const struct lease_session *session;
};

/*
 * 8.2, 8.4  Which of the other members must be asked before the read may complete: those whose
 * lease has run out, and who have answered no question that was sent since the command came.  A bit
 * set; 0: it may complete.  members has one entry for each slot; others are the slots of members
 * but for the source.
 *
 * received_ns and now_ns are read from the clock after the command was received: the time at the
 * start of the loop's turn is too old.  now_ns is read after the data have come.
 */
unsigned lease_to_ask(const struct lease_times *times, const struct lease_member *members,
                      unsigned others, uint64_t received_ns, uint64_t now_ns);

/* ---- The store's node ---- */

struct lease_store {
    struct lease_times times;
    uint64_t started_ns; /* The process: it stands for all leases given before (3.5). */
};

/* For one engine's node.  All reactors read it, and any may raise it. */
struct lease_giver {
    _Atomic uint32_t count; /* Goes into answers: lease_count(). */
};

/* For one group on a disk. */
struct lease_guard {
    bool held; /* A session is open: an engine's node may hold a lease by it. */
    uint64_t free_ns;
};

void lease_giver_init(struct lease_giver *giver);
void lease_guard_init(struct lease_guard *guard);

/* The count for the answer to a command that is let through now: see above. */
static inline uint32_t lease_count(const struct lease_giver *giver)
{
    return atomic_load(&giver->count);
}

/* An OPEN is answered with success. */
void lease_guard_open(struct lease_guard *guard);

/*
 * 8.3  A seal has superseded what there was: all reactors refuse the older session, if there is
 * one, whose engine's node is giver's.  True: the count is raised, as a lease may be held by it,
 * and lease_guard_wait() follows.
 */
bool lease_guard_seal(struct lease_guard *guard, struct lease_giver *giver);

/*
 * from_ns: when this node last let a command of that engine's node through at the old count, on any
 * reactor; or, as one need not know that, the clock as it is read after the count was raised.  (If
 * read before, the thread may be stopped in between while other reactors go on.)
 */
void lease_guard_wait(const struct lease_store *store, struct lease_guard *guard, uint64_t from_ns);

/* 8.5  The engine has given back its lease: it completes no read any more. */
void lease_guard_release(struct lease_guard *guard);

/*
 * 7.3, 8.5  From when a seal of the group may be answered, as far as leases go.  A connection that
 * is closed or reset changes nothing.
 */
uint64_t lease_guard_free_ns(const struct lease_store *store, const struct lease_guard *guard);

#endif

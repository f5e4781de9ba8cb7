/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of ownership groups in the meta store, and their transactions.
 * docs/replication.md, sections 3.1, 6.3 and 7.1.
 *
 *   group/UUID/N --> stored.v1.Group --> checks --> struct group
 *
 * A change names the whole record that it was made from.  So it is applied once at most, and may be
 * sent again after an unknown outcome: as long as the record is still that one, what was sent
 * before may yet be applied, and reading would not tell.
 *
 * Threading: as meta.h.   Memory: the caller's.
 */
#ifndef META_GROUPS_H
#define META_GROUPS_H

#include <assert.h>

#include "meta/records.h"
#include "repl/group.h"

/* ---- The record ---- */

/* What a stored record says; CORRUPT if that cannot be, by group_check(). */
struct status group_from_record(const Stored__V1__Group *record,
                                struct group *out_group) MUST_CHECK;

/*
 * A volume's group; CORRUPT, BAD_VERSION, or NOT_FOUND: it has none, which is so for a volume of
 * one replica that no engine has opened yet.
 */
struct status group_record_get(struct meta *m, struct uuid volume, uint32_t number,
                               struct group *out_group, uint64_t *out_revision) MUST_CHECK;

/* Puts it in the transaction, which compares revision: 0 for a new one, together with its volume.
 */
void group_record_put(struct meta_txn *txn, struct uuid volume, uint32_t number,
                      const struct group *g, uint64_t revision);

/* 11.7  It goes with its volume; that there is none is no error. */
void group_record_remove(struct meta_txn *txn, struct uuid volume, uint32_t number);

/* ---- 7.1: an epoch ---- */

struct group_taking {
    struct uuid volume;
    uint32_t number;
    struct uuid node; /* That the volume is assigned to. */
    bool compares;    /* Only the epoch after known_epoch: a request that comes late takes none. */
    uint64_t known_epoch;
    uint32_t min_in_sync; /* 11.10: that it will be served with; 0: not said. */
};

/*
 * Takes the next epoch for the node: *out_group is the record with it.  A volume of one replica
 * gets its record here.
 *
 * CONFLICT: the epoch is not the known one; *out_group is the record as it is.  NOT_FOUND: there is
 * no such volume, or it is being deleted.  FOREIGN: it is another node's, or has another
 * min_in_sync.  CORRUPT: the record of a replicated volume is missing or damaged.  Any other
 * failure: it is not known whether an epoch was taken; if so it is nobody's.
 */
struct status groups_take_epoch(struct meta *m, const struct group_taking *taking,
                                struct group *out_group) MUST_CHECK;

/* ---- 6.3: changes of several volumes ---- */

/* Changes of one transaction; and how many copysets their records may have together, so that these
 * fit in etcd's 1.5 MiB. */
#define GROUPS_CHANGES_MAX          128u
#define GROUPS_CHANGED_COPYSETS_MAX (32u * GROUP_COPYSETS_MAX)

/* Of a record as stored or sent: 45 bytes a slot, and what is around them. */
#define GROUPS_COPYSET_BYTES_MAX (GROUP_SLOTS * 45u + 5u)
#define GROUPS_RECORD_BYTES_MAX  (GROUP_COPYSETS_MAX * GROUPS_COPYSET_BYTES_MAX + 128u)
#define GROUPS_COMMIT_BYTES_MAX                               \
    (GROUPS_CHANGED_COPYSETS_MAX * GROUPS_COPYSET_BYTES_MAX + \
     GROUPS_CHANGES_MAX * (128u + META_KEY_BYTES_MAX))

static_assert(GROUPS_CHANGES_MAX <= META_TXN_CHANGES_MAX, "they fit in one transaction");
static_assert(GROUPS_CHANGES_MAX <= META_TXN_COMPARES_MAX, "and so do their compares");
static_assert(GROUPS_RECORD_BYTES_MAX < META_VALUE_BYTES_MAX, "a record fits in a value");
static_assert(GROUPS_COMMIT_BYTES_MAX < 3u << 19, "and a commit in what etcd takes");

enum groups_outcome {
    GROUPS_FAILED,    /* Not now: nothing has changed by this attempt; status says why. */
    GROUPS_COMMITTED, /* The record is now; by this attempt, or by one before. */
    GROUPS_CONFLICT,  /* It is neither was nor now: current says what it is. */
    GROUPS_GONE,      /* There is no such record. */
    GROUPS_UNKNOWN,   /* It may be either; send it again, as it is. */
};

struct groups_change {
    struct uuid volume;
    uint32_t number;
    const struct group *was;
    const struct group *now; /* The next one: group_check_next(). */
    /* Out. */
    enum groups_outcome outcome;
    struct status status;  /* With FAILED and UNKNOWN. */
    struct group *current; /* The caller's; filled with CONFLICT.  NULL: not wanted. */
};

/*
 * Commits all changes whose records are as they were, in one transaction; each is compared by
 * itself, and one that conflicts does not keep back the others.  count is at most
 * GROUPS_CHANGES_MAX, and now has GROUPS_CHANGED_COPYSETS_MAX copysets together; two changes of one
 * group are not allowed: the second is FAILED, INVALID.
 */
void groups_commit(struct meta *m, struct groups_change *changes, unsigned count);

#endif

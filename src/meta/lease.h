/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of the stores that live in one process: which keys hang on which lease, and when a
 * lease ends.  They are not stored: when such a store is closed all leases end, because their
 * holders were its process.
 *
 * Threading: as meta.h.   Memory: entries are allocated before a commit and bound after it.
 */
#ifndef META_LEASE_H
#define META_LEASE_H

#include "meta/meta_internal.h"

/* Makes an entry for a key that the next commit hangs on the lease.  NOT_FOUND: no such lease. */
struct status lease_reserve(struct meta *m, uint64_t lease, const struct meta_key *key) MUST_CHECK;

/* The commit failed: the entries made for it go. */
void lease_unreserve(struct meta *m);

/* The commit was applied: its keys leave their old leases and hang on their new ones. */
void lease_commit(struct meta *m, const struct meta_txn *txn);

/* Removes the keys of leases that have run out. */
struct status lease_expire(struct meta *m, uint64_t *out_next_ns) MUST_CHECK;

/* Forgets all; no key is touched. */
void lease_drop_all(struct meta *m);

#endif

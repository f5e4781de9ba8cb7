/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meta store: where desired state and the map live, as keys and values with revisions.
 *
 *   records.h (typed) --> meta.h: checks, watches, leases --> struct meta_ops: sqlite.c | sim.c
 *
 * Every commit has a revision, one higher than the last; a key remembers the revision of its
 * last change.  A transaction names the revisions of what it has read and is applied as a whole
 * only if none of them has changed: CONFLICT otherwise, and the caller reads again
 * (meta_transact()).
 *
 * Calls return when the result is known: a backend that asks other machines waits with a bound.
 *
 * Threading: one thread at a time; the controller's.
 * Memory:    what a call hands out is the caller's, but for what a visitor or a watcher is shown.
 */
#ifndef META_META_H
#define META_META_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"

/* A key is printable ASCII, parts divided by '/': "volume/3f2a...". */
#define META_KEY_BYTES_MAX 200

/* A volume's placement at its largest is 400 KiB (ctl/limits.h); etcd takes 1.5 MiB. */
#define META_VALUE_BYTES_MAX ((size_t)1 << 20)

/* Compares and changes of one transaction: etcd's default is 128 of either. */
#define META_TXN_COMPARES_MAX 128
#define META_TXN_CHANGES_MAX  128

/* Tries of meta_transact() before it gives up with CONFLICT. */
#define META_TRIES_MAX 16

struct meta;

struct meta_key {
    char s[META_KEY_BYTES_MAX + 1];
};

/* ---- Reading ---- */

struct meta_value {
    uint8_t *data; /* Owned: meta_value_free(). */
    size_t bytes;
    uint64_t revision; /* Of the key's last change. */
};

struct meta_item {
    const char *key;
    struct const_span value;
    uint64_t revision;
};

/* NOT_FOUND if there is no such key. */
struct status meta_get(struct meta *m, const char *key, struct meta_value *out_value) MUST_CHECK;

void meta_value_free(struct meta_value *value);

/*
 * Shows every key that starts with prefix, in order, to visit, which must not call into the
 * store and ends the walk by failing.  All are of one revision, *out_revision (may be NULL).
 */
typedef struct status meta_visit_fn(void *ctx, const struct meta_item *item);
struct status meta_range(struct meta *m, const char *prefix, meta_visit_fn *visit, void *ctx,
                         uint64_t *out_revision) MUST_CHECK;

/* ---- Transactions ---- */

struct meta_compare {
    struct meta_key key;
    uint64_t revision; /* 0: the key does not exist. */
};

struct meta_change {
    struct meta_key key;
    bool remove;
    uint8_t *data; /* Owned. */
    size_t bytes;
    uint64_t lease; /* 0: none. */
};

struct meta_txn {
    struct status status; /* The first thing that was wrong while it was built. */
    unsigned compare_count;
    unsigned change_count;
    struct meta_compare compares[META_TXN_COMPARES_MAX];
    struct meta_change changes[META_TXN_CHANGES_MAX];
};

void meta_txn_init(struct meta_txn *txn);
void meta_txn_fini(struct meta_txn *txn);

/* The key still has this revision; 0: it still does not exist. */
void meta_txn_expect(struct meta_txn *txn, const char *key, uint64_t revision);

/* Sets the key; the value is copied.  With a lease the key goes when the lease ends. */
void meta_txn_put(struct meta_txn *txn, const char *key, struct const_span value);
void meta_txn_put_leased(struct meta_txn *txn, const char *key, struct const_span value,
                         uint64_t lease);

/* Removes the key; that it does not exist is no error. */
void meta_txn_remove(struct meta_txn *txn, const char *key);

/*
 * Applies the transaction durably.  CONFLICT: a compare failed, nothing has changed.  After any
 * other failure it may or may not have been applied.  What was wrong while it was built (LIMIT,
 * INVALID, NO_MEMORY) is returned here.
 */
struct status meta_commit(struct meta *m, struct meta_txn *txn, uint64_t *out_revision) MUST_CHECK;

/*
 * Calls build, which reads and fills the transaction, and commits; again from the start after a
 * CONFLICT.  A failure of build ends it.
 */
typedef struct status meta_build_fn(void *ctx, struct meta *m, struct meta_txn *txn);
struct status meta_transact(struct meta *m, meta_build_fn *build, void *ctx,
                            uint64_t *out_revision) MUST_CHECK;

/* ---- Watches ---- */

struct meta_watch {
    /* One key under the prefix has changed, or is gone.  May call into the store. */
    void (*changed)(struct meta_watch *watch, const char *key, uint64_t revision);
    const char *prefix; /* Borrowed. */
    struct list_node link;
};

/* Changes after the current revision are shown, in order, by meta_dispatch(). */
void meta_watch_add(struct meta *m, struct meta_watch *watch);
void meta_watch_remove(struct meta_watch *watch);

/*
 * Ends leases that have run out and shows the changes since the last call to their watchers.
 * *out_next_ns is how long until the next lease ends; UINT64_MAX if there is none.
 */
struct status meta_dispatch(struct meta *m, uint64_t *out_next_ns) MUST_CHECK;

/* ---- Leases ---- */

/* A lease ends when its time is over, when it is revoked, and when a local store is closed. */
struct status meta_lease_grant(struct meta *m, uint64_t ttl_ns, uint64_t *out_lease) MUST_CHECK;
struct status meta_lease_renew(struct meta *m, uint64_t lease) MUST_CHECK;  /* NOT_FOUND */
struct status meta_lease_revoke(struct meta *m, uint64_t lease) MUST_CHECK; /* NOT_FOUND */

/* The revision of the last commit. */
uint64_t meta_revision(const struct meta *m);

/* Frees the store.  NULL is allowed. */
void meta_close(struct meta *m);

/* ---- Backends ---- */

#define META_PROBLEM_BYTES 256

/*
 * Opens or creates the database at path.  BUSY: another process has it open; CORRUPT: damaged, or
 * not a meta store; BAD_VERSION: written by a newer version.  problem says what and what to do.
 */
struct status meta_sqlite_open(const char *path, char problem[META_PROBLEM_BYTES],
                               struct meta **out_meta) MUST_CHECK;

/* The same of one that was there before: NOT_FOUND, and nothing has changed, if it is empty. */
struct status meta_sqlite_reopen(const char *path, char problem[META_PROBLEM_BYTES],
                                 struct meta **out_meta) MUST_CHECK;

/* An empty store in memory, deterministic. */
struct status meta_sim_open(struct meta **out_meta) MUST_CHECK;

/* Moves the simulated store's clock, which leases are measured by. */
void meta_sim_advance(struct meta *m, uint64_t ns);

enum meta_sim_fault {
    META_SIM_FAULT_NONE,
    META_SIM_FAULT_REFUSE, /* The commit fails with UNAVAILABLE and is not applied. */
    META_SIM_FAULT_LOSE,   /* It fails with UNAVAILABLE although it is applied. */
};

/* What the next commit does. */
void meta_sim_fault_next(struct meta *m, enum meta_sim_fault fault);
/* The same of the one that follows so many. */
void meta_sim_fault_after(struct meta *m, unsigned commits, enum meta_sim_fault fault);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backend of the meta store implements, and what is common to all.
 *
 * Threading: as meta.h.   Memory: a backend embeds struct meta as its first member.
 */
#ifndef META_META_INTERNAL_H
#define META_META_INTERNAL_H

#include "meta/meta.h"

struct meta_ops {
    struct status (*get)(struct meta *m, const char *key, struct meta_value *out_value);
    struct status (*range)(struct meta *m, const char *prefix, meta_visit_fn *visit, void *ctx);
    /* All or nothing, with the revision m->revision + 1; the keys and sizes are checked. */
    struct status (*commit)(struct meta *m, const struct meta_txn *txn);
    uint64_t (*now_ns)(struct meta *m);
    void (*close)(struct meta *m);
};

struct meta {
    const struct meta_ops *ops;
    uint64_t revision;
    struct list watches;
    struct list events; /* Changes that meta_dispatch() has not shown yet. */
    struct list leases;
    struct list leased; /* Keys that hang on a lease. */
    uint64_t last_lease;
};

void meta_init(struct meta *m, const struct meta_ops *ops);
void meta_fini(struct meta *m);

#endif

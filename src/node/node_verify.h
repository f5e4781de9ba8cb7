/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verification of one volume, as it is wanted by its number.
 *
 *   wanted --> (the volume is served) --> the engine's --> ended, and told until another is wanted
 *
 * What ends before all was read is told as that, and not begun anew: whoever asked decides.
 *
 * Threading: home.   Memory: its results, from the heap.
 */
#ifndef NODE_NODE_VERIFY_H
#define NODE_NODE_VERIFY_H

#include "node/desired.h"

struct node_volume;

struct node_verify {
    uint64_t id; /* That is wanted; 0: none. */
    uint64_t bytes_per_s;
    uint64_t running;                /* That the engine has; 0: none. */
    struct node_verification *known; /* Of id, since it was begun; or NULL. */
};

/* From now on this one is wanted; 0: none. */
void node_verify_want(struct node_volume *v, uint64_t id, uint64_t bytes_per_s);

/* The volume is served: what is wanted is begun. */
void node_verify_run(struct node_volume *v);

/* What is known of it now; NULL: it was not begun.  Lent until the next call. */
const struct node_verification *node_verify_report(struct node_volume *v);

void node_verify_fini(struct node_verify *verify);

#endif

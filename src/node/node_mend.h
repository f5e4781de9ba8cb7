/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs of one volume's blocks that scrubs of its disks have found, wherever those are: each is
 * carried out once by the engine, and told until it is not wanted any more.
 *
 * Threading: home.   Memory: the heap, for each that is wanted.
 */
#ifndef NODE_NODE_MEND_H
#define NODE_NODE_MEND_H

#include "base/list.h"
#include "node/desired.h"

struct node_volume;

#define NODE_MENDS_MAX 256u /* Of one volume at a time: one for each disk of the largest node. */

struct node_mends {
    struct list list; /* node_mend.link */
    uint32_t count;
    struct node_mend_result *results; /* Lent by node_mends_report(). */
};

void node_mends_init(struct node_mends *mends);
void node_mends_fini(struct node_mends *mends);

/* These are wanted, and no others. */
void node_mends_want(struct node_volume *v, const struct node_mend_order *orders, uint32_t count);

/* The volume is served: begins what was not, or has to be tried again. */
void node_mends_run(struct node_volume *v);

/* What became of them; lent until the next call. */
uint32_t node_mends_report(struct node_volume *v, const struct node_mend_result **out_results);

#endif

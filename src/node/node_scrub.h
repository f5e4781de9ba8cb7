/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's scrub, as it is wanted by its number.
 *
 *   home:   wanted --> started            finding --> report ... answered --> go on        ended
 *   disk:                 +--> reads ... --> found        (waits)               +--> reads ... +
 *
 * One that was cut off, as the disk or the node was away, begins where the order says.
 *
 * Threading: home's, but for what says otherwise.   Memory: embedded in the disk.
 */
#ifndef NODE_NODE_SCRUB_H
#define NODE_NODE_SCRUB_H

#include "io/reactor.h"
#include "node/desired.h"
#include "store/scrub.h"

struct node_disk;

struct node_scrub {
    struct node_scrub_order order; /* That is wanted; its id is 0: none. */
    uint64_t running;              /* That the store has; 0: none. */
    uint64_t base_bytes;           /* Its order's done_bytes, when it was started. */
    bool stopping;                 /* It was told to end. */
    struct node_scrub_report report;

    /* The disk's reactor's; each is read on home while its message is there. */
    struct store_scrub_config config;
    struct store_scrub_found found;
    struct status outcome;
    struct store_scrub_progress last; /* At the end. */
    struct store_scrub_progress fresh;
    bool has_fresh;
    struct io_msg start_msg, stop_msg, go_msg, found_msg, done_msg;
};

/* What is wanted of the disk now, which has a store; NULL: nothing.  Again and again. */
void node_scrub_want(struct node_disk *disk, const struct node_scrub_order *order);

/* The disk's reactor: how far it is, for node_scrub_on_fresh() on home. */
void node_scrub_refresh(struct node_disk *disk);
void node_scrub_on_fresh(struct node_disk *disk);

#endif

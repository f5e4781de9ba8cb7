/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replicated volume's group as its node sees it: taken before the volume is opened, and changed
 * for its engine while it is (docs/replication.md, 3.1, 6.3, 7.0, 7.1).
 *
 *   GET --> are enough members here? --yes--> TAKE the epoch --> the engine opens with the record
 *    ^          |              ^                     |
 *    +- later --+ no           +----- conflict ------+
 *
 * Threading: home.   Memory: from the heap; one record of 30 KiB.
 */
#ifndef NODE_VOLUME_GROUP_H
#define NODE_VOLUME_GROUP_H

#include "node/group_client.h"
#include "node/node.h"
#include "volume/volume.h"

struct node_volume;

/* 7.4: so long an engine waits for members that may have what those that answered have lost. */
#define VOLUME_GROUP_WAIT_NS (30 * NS_PER_S)

struct volume_group {
    struct node_volume *volume;
    struct group record; /* As it was read or taken last; the engine has a copy of its own. */

    /* Private to volume_group.c. */
    struct group_op op; /* GET or TAKE. */
    void (*taken)(struct node_volume *v, struct status status, const char *why);
    struct group_op commit; /* The engine's. */
    void (*committed)(void *ctx, struct status status);
    void *committed_ctx;
    struct io_task cancel;   /* Of a commit when the node is stopping. */
    uint64_t waits_since_ns; /* 0: it does not. */
    uint64_t outdone_epoch;  /* Of a record of which the disks know more; 0: of none. */
    uint64_t outdone_sequence;
};

/* NULL if memory is short. */
struct volume_group *volume_group_create(struct node_volume *v);

/* Nothing is under way.  NULL is allowed. */
void volume_group_destroy(struct volume_group *g);

/*
 * 7.0, 7.1: reads the record, and takes the next epoch if enough members of each copyset are here.
 * taken follows, never from in here, when it is known: OK, and record is the group with our epoch,
 * or a failure with why, for people.
 */
void volume_group_take(struct volume_group *g,
                       void (*taken)(struct node_volume *v, struct status status, const char *why));

/* Reads the record anew; read follows as taken does. */
void volume_group_read(struct volume_group *g,
                       void (*read)(struct node_volume *v, struct status status, const char *why));

/* 11.7: a record that names the volume's tuples alone, for opening it to delete it. */
struct status volume_group_for_deletion(struct volume_group *g) MUST_CHECK;

/* Whether the record has the tuples of all shards, and no others. */
bool volume_group_fits(const struct volume_group *g);

/* What the engine commits its changes with; its context is the group. */
extern const struct volume_meta_ops volume_group_meta_ops;

/* 7.4: whether it has waited long enough for the others. */
bool volume_group_waited(const struct volume_group *g);

/* Opening has ended so: counts the time from the first BUSY; STALE_EPOCH: the disks know more. */
void volume_group_on_opened(struct volume_group *g, struct status status);

#endif

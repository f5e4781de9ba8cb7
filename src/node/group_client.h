/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node's engines ask of the controller about their groups' records, until it is known.
 * docs/replication.md, 6.3 and 7.1.
 *
 *   group_client_commit() --> queue --> CommitGroups --> done(OK | CONFLICT | ...)
 *                               ^           |
 *                               +-- pause <-+  no answer, or an unknown outcome: as it is, again
 *
 * One call is under way at a time; what comes meanwhile shares the next one, 128 at
 * most.  An operation ends when its outcome is known, however long that takes, or CANCELED when the
 * client stops: then it is not known.  The pauses between tries grow from 100 ms to 2 s.
 *
 * Threading: everything here, callbacks included, runs on the config's reactor.  The RPC client has
 *            a thread of its own.
 * Memory:    operations are the callers', from the start until done; the rest is the client's.
 */
#ifndef NODE_GROUP_CLIENT_H
#define NODE_GROUP_CLIENT_H

#include "base/list.h"
#include "base/log.h"
#include "io/reactor.h"
#include "repl/group.h"

struct group_client;

struct group_client_config {
    struct reactor *reactor;
    struct log *log;
    const char *controller; /* Address of the API; copied. */
    struct uuid node;
    const char *token; /* The cluster's; copied.  NULL: none. */
};

enum group_op_kind { GROUP_OP_GET, GROUP_OP_TAKE, GROUP_OP_COMMIT };

/* An operation on the group 0 of a volume. */
struct group_op {
    struct uuid volume;
    struct group *record; /* The caller's; filled as the calls below say. */
    uint32_t min_in_sync; /* To take an epoch: that the volume will be served with. */
    /* From the loop, never before the call that began it has returned. */
    void (*done)(struct group_op *op, struct status status);

    /* Private to group_client.c. */
    enum group_op_kind kind;
    struct list_node link;
    uint64_t known_epoch;
    const struct group *was;
    const struct group *now;
};

/* INVALID if the address cannot be right. */
struct status group_client_start(const struct group_client_config *config,
                                 struct group_client **out_client) MUST_CHECK;

/* Reads *op->record.  NOT_FOUND: there is none.  CORRUPT: it is damaged. */
void group_client_get(struct group_client *client, struct group_op *op);

/*
 * 7.1  Takes the epoch after known_epoch: *op->record is the record with it.  CONFLICT: the epoch
 * is another one by now, perhaps because of an attempt whose answer was lost; *op->record is the
 * record, and the next epoch can be taken after it.  NOT_FOUND, FOREIGN, CORRUPT: as
 * groups_take_epoch().
 */
void group_client_take(struct group_client *client, struct group_op *op, uint64_t known_epoch);

/*
 * 6.3  Commits now in place of was, both of which are borrowed until done.  CONFLICT: the record is
 * neither; *op->record is what it is.  NOT_FOUND: there is none any more.  INVALID: it can never be
 * committed.  A group has one commit under way at most (6.2).
 */
void group_client_commit(struct group_client *client, struct group_op *op, const struct group *was,
                         const struct group *now);

/* Ends everything; stopped is called from the loop, last, and the client is gone then. */
void group_client_stop(struct group_client *client, void (*stopped)(void *ctx), void *ctx);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links of this node to the stores of others (docs/replication.md, section 2.1): for each node one
 * NVMe/TCP association, which all volumes share, with a queue for each pair of reactors.
 *
 *   home                                     reactor e
 *   struct link   association, users         struct link_end   queues to the reactors there
 *      CONNECTING --> QUEUES ------------------> connect, all of them
 *                        UP <------------------- ready
 *      users: up()                             lanes: commands, on the queue of the pair
 *
 *      ENDING <--(one connection is lost)------ lost: its lanes are down, its commands have ended
 *      users: down()
 *         +----(all ends are empty, back-off)---> CONNECTING ...
 *
 * A link is kept up for as long as somebody has it.  Each time that it is up it has a higher number
 * (2.1), and its leases begin anew (8.3).
 *
 * Threading: links and link are home's, reactor 0 of the node; an end is its reactor's.
 * Memory:    allocates when a link is made and when it connects; none per command.
 */
#ifndef PEER_LINK_H
#define PEER_LINK_H

#include <stdatomic.h>

#include "base/list.h"
#include "base/log.h"
#include "base/uuid.h"
#include "io/addr.h"
#include "io/buf.h"
#include "io/reactor.h"
#include "nvme/initiator.h"
#include "repl/lease.h"

struct link;
struct links;

struct links_config {
    struct reactor *const *reactors; /* Of the node; borrowed. */
    unsigned reactor_count;
    struct uuid cluster;
    struct uuid node; /* This one. */
    struct log *log;
};

/* All links of this node.  NO_MEMORY.  On home. */
struct status links_create(const struct links_config *config, struct links **out_links) MUST_CHECK;

/*
 * Ends the links, which nobody has any more; done, from the loop, when all have ended.  Then
 * links_destroy().
 */
void links_stop(struct links *links, void (*done)(void *ctx), void *ctx);
void links_destroy(struct links *links);

/*
 * The link to the stores of a node, shared by all who ask for it; made and connected if there was
 * none.  addr is used when it connects next.  To be given back.  NO_MEMORY.
 */
struct status link_get(struct links *links, struct uuid node, const struct io_addr *addr,
                       struct link **out_link) MUST_CHECK;
/* What messages call the other node; without it, or with "", its UUID.  A longer name is cut. */
void link_set_name(struct link *link, const char *name);
/* One more of the caller's. */
void link_ref(struct link *link);
void link_put(struct link *link);

struct uuid link_cluster(const struct link *link);
struct uuid link_node(const struct link *link);
struct log *link_log(const struct link *link);
struct reactor *link_home(const struct link *link);
unsigned link_reactor_count(const struct link *link);
struct reactor *link_reactor(const struct link *link, unsigned index);

/* Whether it is up now, and which one it is: 0 before it was up for the first time.  On home. */
bool link_is_up(const struct link *link);
uint64_t link_number(const struct link *link);

/* Somebody on home who wants to know. */
struct link_user {
    void (*up)(struct link_user *user);
    void (*down)(struct link_user *user); /* After up, once. */
    struct list_node node;                /* Private. */
};

/* Calls user->up from now on whenever it comes up; not for what it is now.  The callbacks may
 * remove their own user and no other. */
void link_watch(struct link *link, struct link_user *user);
void link_unwatch(struct link_user *user);

/* A disk of the other node. */
struct link_disk {
    struct uuid uuid;
    uint16_t budget;     /* Of each queue: what is with it at a time. */
    unsigned opens;      /* OPENs that are waited for: LINK_DISK_OPENS at most. */
    struct list waiting; /* peer_session.turn */
};

/* There for as long as the link; the last of LINK_DISKS_MAX stands for all that come after. */
struct link_disk *link_disk_get(struct link *link, struct uuid disk);

/* What a link has done; approximate while it is in use. */
struct link_stats {
    uint64_t ups;
    uint64_t losses;
    uint64_t attempts; /* To connect. */
    uint64_t commands; /* Answered. */
    uint64_t lost;     /* Commands that were not. */
};

void link_get_stats(const struct link *link, struct link_stats *out_stats);

/* ---- A reactor's end ---- */

struct link_end {
    struct link *link;
    struct reactor *reactor;
    struct buf_pool *pool; /* The reactor's, for data that are no blocks. */

    /* The reactor's. */
    struct initiator_queue **queues; /* To the store's reactors 0 and on, or to fewer. */
    unsigned queue_count;
    unsigned ready;    /* Of these. */
    unsigned living;   /* Started, and not ended. */
    bool live;         /* Commands may be sent. */
    bool lost;         /* One has been lost. */
    bool stopping;     /* Home knows, or wants it so. */
    uint64_t number;   /* Of the link, while it is live. */
    struct list lanes; /* peer_lane.node: those that are up. */
    struct lease_link lease;
    struct status why;
    struct io_msg start_msg, stop_msg, ready_msg, lost_msg, drained_msg;
    _Atomic uint64_t commands, commands_lost; /* Written here, read on home. */
};

struct link_end *link_end_of(struct link *link, unsigned reactor);

/* The queue to a reactor of the store's node.  The end is live. */
static inline struct initiator_queue *link_end_queue(const struct link_end *end, unsigned reactor)
{
    return end->queues[reactor % end->queue_count];
}

/*
 * A command has found that the link is lost: from now on nothing is sent, and no lane is up, on
 * this reactor.  Home hears of it.
 */
void link_end_lose(struct link_end *end, struct status why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's side of the NodeService: joins the cluster, watches the node's part of the desired
 * state, and reports what became of it.
 *
 *   node_agent_start --> register --> joined() --> [the node formats and opens its disks]
 *                                                        |
 *                             node_agent_disks_opened() <+
 *                                     |
 *                        +--> report, each 2 s at least and after node_agent_changed()
 *                        +--> watch --> desired() --> watch ...
 *
 * Whatever fails is tried again with growing pauses (up to 5 s), for as long as the agent runs:
 * a node serves on without its controller.
 *
 * Threading: everything here, callbacks included, runs on the node's reactor 0.  The RPC client
 *            has a thread of its own, which speaks to the reactor by messages only.
 * Memory:    what a callback is given is lent for the call.
 */
#ifndef NODE_AGENT_H
#define NODE_AGENT_H

#include "io/reactor.h"
#include "node/desired.h"

struct node_agent;

struct node_agent_ops {
    /*
     * The node is a member.  Called once, after the first registration that succeeded.  The node
     * opens its disks now (those that are empty are formatted for this cluster), and then calls
     * node_agent_disks_opened(), also if some could not be used.
     */
    void (*joined)(void *ctx, const struct node_membership *membership);
    /* The node's part has changed.  Never called before the disks are open.  A failure: it is said
       again after a pause. */
    struct status (*desired)(void *ctx, const struct node_desired *desired);
    /* Says what is.  All of it: what is not in the report is gone. */
    void (*fill_report)(void *ctx, struct node_report *out_report);
};

/* What the node is for: bits 1 << these, which are those of enum NodeRole. */
enum node_role { NODE_ROLE_STORE = 1, NODE_ROLE_TARGET = 2 };
#define NODE_ROLES_ALL ((1u << NODE_ROLE_STORE) | (1u << NODE_ROLE_TARGET))

struct node_agent_config {
    struct reactor *reactor; /* The node's reactor 0. */
    struct log *log;
    const char *controller;   /* Address of the API: "127.0.0.1:7420"; copied. */
    const char *token;        /* The cluster's; copied.  NULL: none. */
    struct uuid node;         /* The same for ever; nil is not allowed. */
    const char *name;         /* "node-1"; copied. */
    const char *version;      /* Of the program, for people; borrowed. */
    struct io_addr advertise; /* Where hosts connect to; port 0: not known yet. */
    uint32_t roles;           /* 0: all. */
    const char *zone;         /* What it fails together with; NULL: nobody has said.  Borrowed. */
    const char *rack;         /* The same. */
    struct uuid cluster;      /* That the node's disks belong to; nil: none yet. */
    const struct node_agent_ops *ops;
    void *ctx;
};

/* Starts joining.  INVALID if an address or name cannot be right. */
struct status node_agent_start(const struct node_agent_config *config,
                               struct node_agent **out_agent) MUST_CHECK;

/*
 * Where hosts connect to, if it was not known at the start: the port that the target got.  Call
 * it before node_agent_disks_opened(), which sends it to the controller.
 */
void node_agent_advertise(struct node_agent *agent, const struct io_addr *advertise);

/* After joined(): disks are open; reports and the watch begin. */
void node_agent_disks_opened(struct node_agent *agent);

/* Something that fill_report() tells has changed: report soon, not at the next heartbeat. */
void node_agent_changed(struct node_agent *agent);

/*
 * Takes the next epoch of a volume, which must be done before it is opened.  done is called from
 * the loop: with UNAVAILABLE if the controller cannot be asked now, NOT_FOUND if it does not know
 * the volume, CANCELED when the agent stops.  NO_MEMORY is returned here, and done is never called.
 */
typedef void node_agent_epoch_fn(void *ctx, struct status status, uint64_t epoch);
struct status node_agent_take_epoch(struct node_agent *agent, struct uuid volume,
                                    node_agent_epoch_fn *done, void *ctx) MUST_CHECK;

/* Ends everything; stopped is called from the loop, last, and the agent is gone then. */
void node_agent_stop(struct node_agent *agent, void (*stopped)(void *ctx), void *ctx);

#endif

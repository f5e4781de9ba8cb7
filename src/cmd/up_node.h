/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node of `trilith up`: reactors with a thread each, the node on them, and its agent, which
 * is all that it shares with the controller.
 *
 *   up_node_start --> event UP, or FAILED --> up_node_stop --> event STOPPED --> up_node_destroy
 *
 * Threading: functions are called by the main thread; events are told from the node's home
 *            reactor, and end with wake().
 * Memory:    the caller's struct; what it points at is borrowed until up_node_destroy().
 */
#ifndef CMD_UP_NODE_H
#define CMD_UP_NODE_H

#include <pthread.h>
#include <stdatomic.h>

#include "cmd/up_orders.h"
#include "node/node.h"

enum up_node_state { UP_NODE_STARTING, UP_NODE_UP, UP_NODE_FAILED, UP_NODE_STOPPED };

struct up_node_config {
    const struct up_options *options;
    struct up_disks *disks;
    const struct up_dir *dir;
    struct uuid uuid;
    struct io_addr listen;    /* With the port. */
    struct io_addr advertise; /* That the controller is told. */
    const char *api;          /* "127.0.0.1:7420" */
    const char *token;        /* The cluster's. */
    struct log *log;
    void (*wake)(void *ctx); /* up_node_state() has changed.  Any thread. */
    void *ctx;
};

struct up_node {
    struct up_node_config config;

    /* Private to up_node.c. */
    _Atomic int state;
    struct reactor *reactors[NODE_REACTORS_MAX];
    pthread_t threads[NODE_REACTORS_MAX];
    unsigned reactor_count;
    unsigned thread_count;
    struct node *node;
    struct node_agent *agent;
    struct group_client *groups;
    struct device_logs *logs;
    bool stopping;
    struct io_timer stop_timer; /* While it stops. */
    char problem[NODE_REASON_BYTES];
    bool served[NODE_DISKS_MAX]; /* Written before UP is told. */
    struct up_orders orders;
    struct io_msg msg;
};

/* Creates the reactors, starts their threads, and lets the node join.  Prints a failure. */
struct status up_node_start(struct up_node *n, const struct up_node_config *config) MUST_CHECK;

enum up_node_state up_node_state(const struct up_node *n);

/* On the main thread, whenever wake() was called while it is UP: carries out orders. */
void up_node_run(struct up_node *n);

/* UP: for each disk of the configuration, whether it was opened. */
const bool *up_node_served(const struct up_node *n);

/* FAILED: why. */
const char *up_node_problem(const struct up_node *n);

/* Stops in order; STOPPED follows.  After UP or FAILED, or while it starts. */
void up_node_stop(struct up_node *n);

/* Ends the threads.  STOPPED, or up_node_start() has failed. */
void up_node_destroy(struct up_node *n);

#endif

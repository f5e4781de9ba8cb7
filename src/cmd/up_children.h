/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of `trilith up --nodes N`: each is a `trilith node run` with the options that
 * `trilith up` was given, a name and a port of its own.
 *
 *   node-1 on --port, node-2 on the next one, and so on; all keep their files in DIR/NAME
 *
 * One that ends is not started again: `trilith node start` does that, or the next `trilith up`.
 * Each has a process group of its own: Ctrl-C reaches the process that has started them alone.
 * When that one dies, the kernel tells them to end.  In an orderly end those of the same names
 * that `trilith node start` has started end, too.
 *
 * Threading: the main thread.   Memory: values.
 */
#ifndef CMD_UP_CHILDREN_H
#define CMD_UP_CHILDREN_H

#include <sys/types.h>

#include "base/log.h"
#include "cmd/up_options.h"

struct up_children {
    pid_t pid[UP_NODES_MAX]; /* 0: it has ended. */
    unsigned count;
    unsigned running;
};

/*
 * Starts them.  argv is that of `trilith up`, and api the address that they join through.  What
 * fails has been printed, and none is left running.
 */
struct status up_children_start(struct up_children *c, const struct up_options *options, int argc,
                                char **argv, const char *api) MUST_CHECK;

/* Upon SIGCHLD: says which have ended. */
void up_children_reap(struct up_children *c, struct log *log);

/* Asks all to end, and whoever runs a node of theirs in data; then they are reaped until
 * running is 0, and up_children_others() is. */
void up_children_stop(const struct up_children *c, const char *data);

/* How many of their nodes in data are run by other processes. */
unsigned up_children_others(const struct up_children *c, const char *data);

/* Says which these are, when they are waited for no longer. */
void up_children_name_others(const struct up_children *c, const char *data, struct log *log);

#endif

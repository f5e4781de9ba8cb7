/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks that `trilith up` has served from a directory before: DIR/NODE/disks, one a line.
 *
 *   disk-1              a file under DIR/node-1
 *   /dev/disk/by-id/x   a path that --disk gave
 *
 * A start without --disk takes the same ones again, and none of them is formatted: one without
 * superblocks has lost them, or is not the disk it was.
 *
 * Threading: the main thread.   Memory: values; messages are printed here, once.
 */
#ifndef CMD_UP_KNOWN_H
#define CMD_UP_KNOWN_H

#include "cmd/up_dir.h"
#include "node/node.h"

struct up_known {
    char line[NODE_DISKS_MAX][PATH_MAX];
    unsigned count;
};

/* None before the first start. */
struct status up_known_read(const struct up_dir *dir, struct up_known *out_known) MUST_CHECK;

/* Replaces the file, durably. */
struct status up_known_write(const struct up_dir *dir, const struct up_known *known) MUST_CHECK;

bool up_known_has(const struct up_known *known, const char *line);

/* Whether it was there. */
bool up_known_remove(struct up_known *known, const char *line);

/* Adds a line if it is not there; there is room for all disks of a node. */
void up_known_add(struct up_known *known, const char *line);

#endif

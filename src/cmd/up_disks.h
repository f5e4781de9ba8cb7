/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of `trilith up`: files under its directory, or what --disk names.
 *
 *   (default)     DIR/node-1/disk-1 ...   sparse files, made at the first start
 *   --disk PATH   a file, partition or device that is there
 *   --disk mem:SIZE
 *   (later)       those of DIR/node-1/disks again, see up_known.h
 *   --disk fault:FAULT:PATH or :mem:SIZE         see up_fault.h
 *
 * Threading: the main thread; the open functions run on the reactors.
 * Memory:    values; messages are printed here, once.
 */
#ifndef CMD_UP_DISKS_H
#define CMD_UP_DISKS_H

#include <limits.h>

#include "cmd/up_dir.h"
#include "cmd/up_fault.h"
#include "cmd/up_known.h"
#include "cmd/up_options.h"
#include "node/node.h"

struct up_disk {
    char path[PATH_MAX];
    char line[PATH_MAX]; /* As in up_known; "" for memory. */
    bool in_memory;
    bool has_fault;
    struct dev_fault fault;
    uint64_t bytes; /* Of a file that is to be made, or of memory; 0: it is there. */
};

struct up_disks {
    struct up_disk disk[NODE_DISKS_MAX];
    struct node_disk_config config[NODE_DISKS_MAX]; /* For the node; points at disk. */
    unsigned count;
    struct up_known known;
};

/*
 * Finds the disks and looks at them: INVALID if an option cannot be right, FOREIGN if a device
 * holds something that is not ours, NO_SPACE if the directory cannot hold new ones.  Every
 * failure has been printed.  Nothing is made or changed yet.
 */
struct status up_disks_prepare(const struct up_options *options, const struct up_dir *dir,
                               struct up_disks *out_disks) MUST_CHECK;

/* Remembers the disks that are served for later starts; served[i] is about disk i. */
struct status up_disks_remember(struct up_disks *disks, const struct up_dir *dir,
                                const bool *served) MUST_CHECK;

#endif

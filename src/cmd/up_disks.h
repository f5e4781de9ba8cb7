/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of `trilith up`: files under its directory, or what --disk names.
 *
 *   (default)     DIR/node-1/disk-1 ...   sparse files, made at the first start
 *   --disk PATH   a file, partition or device that is there
 *   --disk mem:SIZE
 *   (later)       those of DIR/node-1/disks again, see up_known.h
 *   (added)       what `trilith disk add` named while it ran, see up_orders.h
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
    uint64_t bytes;  /* Of a file that is to be made, or of memory; 0: it is there. */
    unsigned number; /* Of a file under the directory: the N of disk-N; 0: it is another. */
};

#define UP_DISK_PROBLEM_BYTES NODE_REASON_BYTES

struct up_disks {
    struct up_disk disk[NODE_DISKS_MAX];
    struct node_disk_config config[NODE_DISKS_MAX]; /* For the node; points at disk. */
    unsigned count;
    uint64_t checksum_bytes; /* As struct node_disk_config, of each. */
    uint32_t atomic_bytes;   /* Likewise. */
    struct up_known known;
};

/*
 * Finds the disks and looks at them: INVALID if an option cannot be right, FOREIGN if a device
 * holds something that is not ours, NO_SPACE if the directory cannot hold new ones.  Every
 * failure has been printed.  Nothing is made or changed yet.
 */
struct status up_disks_prepare(const struct up_options *options, const struct up_dir *dir,
                               struct up_disks *out_disks) MUST_CHECK;

/*
 * Looks whether path can be a disk, and fills in one that is to be opened: INVALID, FOREIGN or
 * what the operating system says, with the problem in words.
 */
struct status up_disk_look(const char *path, bool force, struct up_disk *out_disk,
                           char problem[UP_DISK_PROBLEM_BYTES]) MUST_CHECK;

/* A disk by the path that the node has for it; NULL if there is none. */
struct up_disk *up_disks_find(struct up_disks *disks, const char *path);

/* Room for one more; NULL if there is none.  It is free again until its path is filled in. */
struct up_disk *up_disks_slot(struct up_disks *disks);

/* What the node is told of the disk. */
struct node_disk_config *up_disks_configure(struct up_disks *disks, struct up_disk *disk,
                                            const char *name, const char *path, bool force);

/* The disk is not served any more, and not at later starts.  Its file under the directory, which
 * is empty, is removed. */
struct status up_disks_forget(struct up_disks *disks, const struct up_dir *dir,
                              struct up_disk *disk) MUST_CHECK;

/* Remembers the disks that are served for later starts; served[i] is about disk i. */
struct status up_disks_remember(struct up_disks *disks, const struct up_dir *dir,
                                const bool *served) MUST_CHECK;

#endif

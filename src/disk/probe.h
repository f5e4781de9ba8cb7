/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says whether a device, partition or file holds something that is not ours: a file system, a
 * partition table, a RAID or LVM member, swap.  Asked before a disk is formatted.
 *
 * Threading: blocks for a few reads; for set-up, on any thread.
 * Memory:    nothing is kept.
 */
#ifndef DISK_PROBE_H
#define DISK_PROBE_H

#include <stdbool.h>

#include "base/status.h"

#define DISK_PROBE_TEXT_BYTES 160

struct disk_probe {
    bool is_foreign;
    char what[DISK_PROBE_TEXT_BYTES]; /* "ext4 file system 'root'", "gpt partition table"; or "". */
};

/*
 * Looks at path, without changing it.  A disk of ours, an empty one and one full of noise are not
 * foreign: where both superblocks are valid, whatever else is there is what hosts have written.
 * NOT_FOUND, DENIED or IO if it cannot be read.
 */
struct status disk_probe(const char *path, struct disk_probe *out_probe) MUST_CHECK;

#endif

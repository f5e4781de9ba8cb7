/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may change of a volume beside its size: the steps of SetVolume.
 *
 * Threading: as ctl.h.   Memory: the caller's.
 */
#ifndef CTL_VOLUME_SET_H
#define CTL_VOLUME_SET_H

#include "ctl/ctl_internal.h"

struct volume_changes {
    uint32_t min_in_sync; /* 0: as it is. */
    const char *node;     /* Its name; empty: as it is. */
};

/*
 * Records all of the changes, in one transaction, or none:
 *
 *   - that at least so many replicas of the volume, at most all of them, must be in sync for writes
 *     to go on (11.10);
 *   - that the node of this name serves the volume, which has several replicas: it takes the next
 *     epoch, and with it the volume from the one before, whether that one hears of it or not
 *     (11.11).  If the volume is being deleted, the node deletes it.
 *
 * OK if it is so.  On failure problem says why: INVALID: it has fewer replicas; BUSY if a copyset
 * has fewer in sync now, the volume is being deleted or has one replica, or the node does not
 * report or is no target; NOT_FOUND: there is no such node.
 *
 * out_was: the node that has served it until now.
 */
struct status volume_set(struct ctl *ctl, const Stored__V1__Volume *record,
                         const struct volume_changes *changes, struct uuid *out_was,
                         struct problem *problem) MUST_CHECK;

/* The step itself, on the record: *node, which lives until the record was put, has it now.  Both
 * nodes are to be told. */
void volume_set_node(Stored__V1__Volume *record, const struct uuid *node);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may change of a volume beside its size: the steps of SetVolume.
 *
 * Threading: as ctl.h.   Memory: the caller's.
 */
#ifndef CTL_VOLUME_SET_H
#define CTL_VOLUME_SET_H

#include "ctl/ctl_internal.h"

/*
 * Records that at least so many replicas of the volume, at most all of them, must be in sync for
 * writes to go on (11.10).  A volume that has it so is OK as it is.  On failure problem says why:
 * BUSY if a copyset has fewer now, or the volume is being deleted.
 */
struct status volume_set_min_in_sync(struct ctl *ctl, const Stored__V1__Volume *record,
                                     uint32_t min_in_sync, struct problem *problem) MUST_CHECK;

/*
 * Records that the node of this name serves the volume, which has several replicas: it takes the
 * next epoch, and with it the volume from the one before, whether that one hears of it or not.  OK
 * if it is so.  On failure problem says why: BUSY if the node does not report or is no target, or
 * the volume is being deleted; NOT_FOUND: there is no such node.
 */
struct status volume_set_node(struct ctl *ctl, const Stored__V1__Volume *record, const char *node,
                              struct problem *problem) MUST_CHECK;

#endif

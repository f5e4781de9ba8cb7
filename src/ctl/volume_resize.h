/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a volume larger: the steps of ResizeVolume before the wait.
 *
 * Threading: as ctl.h.   Memory: the caller's.
 */
#ifndef CTL_VOLUME_RESIZE_H
#define CTL_VOLUME_RESIZE_H

#include "ctl/ctl_internal.h"

/*
 * Records that the volume has bytes, and where its new shards lie: on disks of its stride that
 * work.  warning is empty or a text.  A volume of this size is OK as it is.  On failure problem
 * says why: BUSY for one that is larger or is being deleted, LIMIT, UNAVAILABLE if no disk of its
 * stride works.
 */
struct status volume_resize(struct ctl *ctl, const Stored__V1__Volume *record, uint64_t bytes,
                            char warning[RPC_TEXT_BYTES], struct problem *problem) MUST_CHECK;

#endif

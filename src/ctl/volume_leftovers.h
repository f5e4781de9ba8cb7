/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that may still hold something of a volume, and have no slot of it: until that is deleted
 * they get none (docs/replication.md, 9.17, 9.22).
 *
 * Threading: as ctl.h.   Memory: what is new in the record is the arena's.
 */
#ifndef CTL_VOLUME_LEFTOVERS_H
#define CTL_VOLUME_LEFTOVERS_H

#include "ctl/ctl_internal.h"

/* The disk is one, unless shards of the volume lie on it. */
void volume_note_leftover(Stored__V1__Volume *record, struct uuid disk, struct arena *arena);

/* It is none any more; false: it was none. */
bool volume_drop_leftover(Stored__V1__Volume *record, struct uuid disk, struct arena *arena);

#endif

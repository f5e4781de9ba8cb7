/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All disks as the API shows them: their records, and what their nodes say of them.
 *
 * Threading: as ctl.h.   Memory: built in the caller's arena.
 */
#ifndef CTL_DISK_VIEW_H
#define CTL_DISK_VIEW_H

#include "ctl/ctl_internal.h"

struct disk_list {
    Trilith__V1__Disk **disks; /* By name. */
    size_t count;
};

struct status disks_view(struct ctl *ctl, struct arena *arena,
                         struct disk_list *out_disks) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How full something is: what is planned of what it holds, in 1/2^32, above 1 if overcommitted.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef CTL_SHARE_H
#define CTL_SHARE_H

#include <stdint.h>

#include "ctl/placement.h"

#define SHARE_ONE (UINT64_C(1) << 32)

/*
 * What is fuller by no more than this counts as equal where something else is to be considered,
 * such as that a stripe uses many disks.  Without it, a stripe as wide as the stride would put as
 * much on small disks as on large ones.
 */
#define SHARE_SLACK (SHARE_ONE / 64)

/*
 * Copysets whose fullest nodes are in the same step are compared as wholes: otherwise an empty node
 * that has only copysets with slightly fuller ones would stay empty.
 */
#define SHARE_STEP (SHARE_ONE / 256)

/* With more bytes planned than are.  The largest value stands for itself and all above. */
static inline uint64_t share_with(struct placement_disk space, uint64_t more_bytes)
{
    const unsigned __int128 planned = (unsigned __int128)space.planned_bytes + more_bytes;
    const unsigned __int128 share = (planned << 32) / space.bytes;
    return share > UINT64_MAX ? UINT64_MAX : (uint64_t)share;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's change of a group in which a slot has another disk: the volume's placement changes in
 * the same transaction (docs/replication.md, 9.13), so that no engine is told of one that is not
 * its record's.
 *
 * Threading: as ctl.h.   Memory: the caller's.
 */
#ifndef CTL_REBUILD_COMMIT_H
#define CTL_REBUILD_COMMIT_H

#include "ctl/ctl_internal.h"
#include "meta/groups.h"

/* Whether a change is one of these. */
bool rebuild_is_change(const struct groups_change *change);

/*
 * As groups_commit() for this one.  FAILED, INVALID: the cluster has no such disk.  It is done
 * whether the planner still wants it or not (9.16).
 */
void rebuild_commit(struct ctl *ctl, struct groups_change *change);

#endif

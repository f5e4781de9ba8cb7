/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replicas of a volume as the API shows them: where they lie, which are in sync, and why not.
 *
 * Threading: as ctl.h.   Memory: built in the caller's arena.
 */
#ifndef CTL_VOLUME_REPLICAS_H
#define CTL_VOLUME_REPLICAS_H

#include "ctl/ctl_internal.h"

/* A disk of a volume's record. */
struct volume_place {
    const char *name; /* Its UUID if the disk is not known. */
    struct uuid node; /* nil likewise. */
};

/* One for each of the record's disks. */
const struct volume_place *volume_places(struct ctl *ctl, const Stored__V1__Volume *record,
                                         struct arena *arena);

/*
 * What is wrong, in words, if replicas of a shard lie closer together than the volume wants, by the
 * labels that nodes have now; NULL if nothing is.
 */
const char *volume_crowded(struct ctl *ctl, const Stored__V1__Volume *record,
                           const struct volume_place *places, struct arena *arena);

/* Fills in what the view says of several replicas: copysets, degraded, writes_wait. */
void volume_replicas_view(struct ctl *ctl, const Stored__V1__Volume *record,
                          const struct volume_place *places, Trilith__V1__Volume *v,
                          struct arena *arena);

/* Fills in where each shard lies. */
void volume_places_view(struct ctl *ctl, const Stored__V1__Volume *record, Trilith__V1__Volume *v,
                        struct arena *arena);

#endif

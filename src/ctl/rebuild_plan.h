/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is decided for one volume, and taken back: one transaction on its record (rebuild.h).
 *
 * Threading: as ctl.h.   Memory: as each says.
 */
#ifndef CTL_REBUILD_PLAN_H
#define CTL_REBUILD_PLAN_H

#include "ctl/cluster.h"

/* The cluster as it is, when it is first needed: all volumes of one look share it. */
struct rebuild_scope {
    struct arena arena;
    struct cluster_view *view;          /* NULL: not read yet. */
    uint64_t *free_bytes;               /* Of each of its disks, as reported. */
    bool *suspect;                      /* Likewise. */
    const struct server_disks *working; /* rebuild_server.h */
};

/* Reads it, if nobody has yet. */
struct status rebuild_scope_need(struct rebuild_scope *scope, struct ctl *ctl) MUST_CHECK;

/* Decides what can be, and says what cannot.  What is chosen is counted in the scope. */
void rebuild_plan_volume(struct rebuild *r, struct rebuild_scope *scope,
                         const Stored__V1__Volume *volume);

/* ---- rebuild.c ---- */

/* What is known of a disk that is not as it should be; NULL: nothing is wrong with it. */
struct rebuild_disk *rebuild_find_disk(struct rebuild *r, struct uuid disk);

/* Whether what is out on it is to be rebuilt elsewhere. */
bool rebuild_is_gone(struct rebuild *r, struct uuid disk);

/* Whether what is on it is to be moved elsewhere, as long as it can be read. */
bool rebuild_is_failing(struct rebuild *r, struct uuid disk);

/* A node, which reports, that was connected with one that does not, if that was not long ago. */
const struct uuid *rebuild_heard_by(const struct rebuild *r, struct uuid node);

/* Whether hearer has not been connected with the node, which does not report, for as long. */
bool rebuild_is_deaf(const struct rebuild *r, struct uuid hearer, struct uuid node);

/* Logged when it is new; an empty text is none. */
void rebuild_say_problem(struct rebuild *r, enum rebuild_part part,
                         const Stored__V1__Volume *volume, const char *text);

#endif

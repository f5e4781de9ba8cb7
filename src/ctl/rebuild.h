/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner of rebuilds: a replica whose disk is gone for good gets another disk, and one whose
 * disk is failing is moved to another disk (docs/replication.md, 9.11 to 9.22).
 *
 *   a disk is dead, or away for --rebuild-after, or failing     what nodes and engines report
 *     --> each volume with a slot that is out there, or in where the disk is failing:
 *         rebuild_place.h chooses a disk
 *     --> the decision, in the volume's record and in what its node is told, one transaction
 *   the engine commits it: rebuild_commit.h changes the placement with the group's record
 *
 * A volume without an engine commits nothing: one whose node has been away for as long gets another
 * node first (rebuild_server.h).
 *
 * It looks every CTL_REBUILD_MS.  What it has decided it takes back as long as the engine has not
 * recorded it, if the old disk returns or the new one is not usable any more.
 *
 * Threading: as ctl.h.   Memory: embedded in struct ctl; why something cannot be rebuilt, on the
 * heap.
 */
#ifndef CTL_REBUILD_H
#define CTL_REBUILD_H

#include "base/list.h"
#include "base/uuid.h"
#include "ctl/limits.h"
#include "repl/group.h"
#include "rpc/loop.h"

struct arena;
struct ctl;

#define CTL_REBUILD_MS 1000u

/* An engine that has no session with a new disk for so long gets another one. */
#define CTL_REBUILD_TRY_MS 10000u

/* Volumes that get another node with one look: each is a transaction here, and an opening there. */
#define CTL_REBUILD_SERVERS_MAX 16u
/* Volumes that a look goes through for that, in turns; there may be none that can have another. */
#define CTL_REBUILD_TRIES_MAX 64u

/* A disk that is not as it should be. */
struct rebuild_disk {
    struct uuid disk;
    uint64_t since_ns; /* That we have seen it so. */
    bool dead;
    bool failing; /* It is there, and had better be given up: docs/health.md. */
    bool seen;    /* By the look that is under way. */
};

/* A node that reports, and was connected with one that does not. */
struct rebuild_hearer {
    struct uuid node;
    uint64_t heard_ns; /* When it was last. */
};

/* A node that does not report. */
struct rebuild_node {
    struct uuid node;
    uint64_t since_ns; /* That we have seen it so. */
    struct rebuild_hearer hearers[CTL_NODES_MAX];
    uint32_t hearer_count;
    bool seen; /* By the look that is under way. */
};

/* What may be gone for good of a volume. */
enum rebuild_part {
    REBUILD_REPLICAS,
    REBUILD_SERVER, /* The node that serves it. */
};

/* What nothing takes the place of, and why; for people. */
struct rebuild_problem {
    struct list_node link; /* rebuild.problems */
    struct uuid volume;
    enum rebuild_part part;
    char text[512];
};

struct rebuild {
    struct ctl *ctl;
    uint64_t after_ns; /* CTL_REBUILD_NEVER, or. */
    uint64_t began_ns;
    uint64_t looked_ns;
    struct rpc_timer timer;
    struct rebuild_disk disks[CTL_DISKS_MAX];
    uint32_t disk_count;
    struct rebuild_node nodes[CTL_NODES_MAX];
    uint32_t node_count;
    size_t turn;  /* The volume that is the next to get another node. */
    bool pending; /* Something is decided, and perhaps not recorded yet. */
    struct list problems;
};

void rebuild_init(struct rebuild *r, struct ctl *ctl, uint64_t after_ns);
void rebuild_fini(struct rebuild *r);

/* Why nothing takes the place of this part of the volume; NULL: nothing is in the way. */
const char *rebuild_problem(const struct rebuild *r, enum rebuild_part part, struct uuid volume);

/* How long until what this node serves, which does not report, gets another one; UINT64_MAX: that
 * is not to come. */
uint64_t rebuild_server_left_ns(const struct rebuild *r, struct uuid node);

#endif

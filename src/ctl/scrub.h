/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrubs of disks: what the controller keeps of each, and how what they find is repaired.
 *
 *   disk's node: finding, and waits --> controller --> volume's node: mend --> engine repairs
 *   disk's node: answered, goes on <--- controller <--- what became of it <--------+
 *
 * One finding of each disk at a time. What is found of a volume that nobody serves now waits for no
 * engine: it counts as lost, with that reason. In time the volume gets another node
 * (rebuild_server.h), and the next scrub finds it again. If the node dies while it mends, whoever
 * serves the volume next within CTL_MEND_MS does it.
 *
 * Threading: as ctl.h.
 * Memory:    the heap, one for each disk; the meta store has them, too, so that they go on after a
 *            restart: their progress every CTL_SCRUB_KEEP_MS, and what was found at once.
 */
#ifndef CTL_SCRUB_H
#define CTL_SCRUB_H

#include "ctl/ctl_internal.h"

#define SCRUB_FINDINGS_MAX 16u /* That are kept of each; the last ones. */
#define SCRUB_REASON_BYTES 128

struct scrub_finding {
    struct uuid volume;
    uint64_t offset; /* In the volume; UINT64_MAX: none. */
    uint64_t bytes;
    uint32_t shard;
    uint64_t shard_offset;
    char reason[SCRUB_REASON_BYTES];
};

struct scrub {
    struct list_node link; /* In ctl.scrubs. */
    struct ctl *ctl;
    struct uuid disk;
    struct uuid node; /* That has the disk. */
    uint64_t id;
    uint64_t begun_unix_ms, ended_unix_ms;
    bool stopped;
    uint64_t bytes_per_s;
    uint64_t position;
    uint64_t done_bytes, all_bytes;
    uint64_t found_blocks, repaired_blocks, lost_blocks;
    uint64_t answered;
    struct scrub_finding findings[SCRUB_FINDINGS_MAX]; /* The first count of them, oldest first. */
    uint32_t finding_count;
    uint64_t kept_ns; /* When it was last put into the meta store. */

    /* What waits for an engine. */
    uint64_t mend_id; /* 0: nothing. */
    uint64_t number;
    struct scrub_finding pending;
    struct uuid engine; /* The node that is to do it. */
    struct rpc_timer timer;
};

static inline bool scrub_is_over(const struct scrub *s)
{
    return s->ended_unix_ms != 0;
}

/* NULL: the disk was never scrubbed. */
struct scrub *scrub_find(struct ctl *ctl, struct uuid disk);

/* Begins one of a disk that has none under way.  What could not be recorded has not begun. */
struct status scrub_begin(struct ctl *ctl, struct uuid disk, struct uuid node,
                          uint64_t bytes_per_s) MUST_CHECK;

/* Ends one that is under way.  What could not be recorded goes on as it was. */
struct status scrub_stop(struct scrub *s) MUST_CHECK;

/* The disk is gone, and the record of its scrub with it. */
void scrub_disk_removed(struct ctl *ctl, struct uuid disk);

/* For the API; built in the arena.  name: of the disk, which lives as long. */
Trilith__V1__Scrub *scrub_view(const struct scrub *s, const char *name, struct arena *arena);

#endif

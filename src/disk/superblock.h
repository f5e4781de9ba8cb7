/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock: who the disk is, where its parts lie, and where recovery starts.
 * docs/disk-format.md, section 2.1.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef DISK_SUPERBLOCK_H
#define DISK_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/uuid.h"
#include "disk/layout.h"

#define SUPERBLOCK_BYTES ((uint32_t)4096)
#define SUPERBLOCK_NAME  64 /* With the terminating zero. */
#define SUPERBLOCK_LIVES 32 /* Earlier incarnations that are remembered. */

/* What the disk remembers of its earlier incarnations (F41, F42). */
struct superblock_past {
    bool lied; /* It has lost what it had confirmed. */
    struct {
        uint64_t incarnation;    /* 0: unused. */
        uint64_t end;            /* Position in the journal where it ended. */
    } earlier[SUPERBLOCK_LIVES]; /* The latest first. */
};

struct superblock {
    uint64_t sequence;
    struct uuid cluster;
    struct uuid disk;
    char cluster_name[SUPERBLOCK_NAME];
    char disk_name[SUPERBLOCK_NAME];
    uint64_t device_bytes;
    uint64_t tag;
    uint32_t atomic_bytes;
    uint64_t incarnation;
    struct uuid boot_id;
    bool clean;
    bool failed;
    bool marks_busy;   /* A feature: what may have lost something is marked (F25). */
    bool grows;        /* A feature: volumes may have a second run (F27). */
    bool has_cells;    /* A feature: grains own cells, not whole places (F28). */
    bool has_replicas; /* A feature: region lists and copysets (F36). */
    bool has_spoils;   /* A feature: blocks that are spoiled (F40). */
    bool has_points;   /* A feature: flush points, and what follows (F41). */
    struct superblock_past past;
    uint8_t checkpoint_area;
    uint64_t checkpoint_sequence;
    uint64_t checkpoint_blocks;
    uint64_t life;
    uint64_t journal_start;
    uint64_t journal_flushed;
    uint64_t created_ns;
    struct disk_layout layout;
};

/* Where slot 0 or 1 lies on the device. */
static inline uint64_t superblock_offset(unsigned slot)
{
    return (uint64_t)slot * SUPERBLOCK_BYTES;
}

/* out is SUPERBLOCK_BYTES long. */
void superblock_encode(const struct superblock *sb, struct span out);

/* F41: an incarnation has ended, at that position of the journal; not 0. */
void superblock_end_incarnation(struct superblock_past *past, uint64_t incarnation, uint64_t end);

/*
 * NOT_FOUND where there is no superblock at all, CORRUPT for one that is damaged, BAD_VERSION
 * for one of another version or with features that this program does not know.
 */
struct status superblock_decode(struct const_span block, struct superblock *out_sb) MUST_CHECK;

/*
 * F1: decodes both slots (2 * SUPERBLOCK_BYTES) and takes the valid one with the higher
 * sequence.  *out_slots_bad has bit 0 or 1 set where a slot is not valid.  If none is, the status
 * of the slot that came closer to it.
 */
struct status superblock_choose(struct const_span slots, struct superblock *out_sb,
                                unsigned *out_slot, unsigned *out_slots_bad) MUST_CHECK;

#endif

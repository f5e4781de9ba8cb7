/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which failures do the faults of a disk justify?  A disk's failures are seen as they happen, and
 * traced to the blocks that they hit: by the bytes, for every block that was written names its
 * address and content.
 *
 *   a read of data fails        a command that reads these blocks meanwhile; until the store dies,
 *                               blocks whose checksum it may have to learn from their bytes (F17)
 *   ... while the store opens   blocks that the last death left open (J1)
 *   a read of checksums fails   all blocks of these grains, until they are written again (S3)
 *   a write of data fails       that command; what it left torn, where an atomic unit is smaller
 *                               than a block, until it is written again (F21)
 *   another write, or a flush   from then on every change and flush, until the store dies
 *   rot, latent errors          that block, or the blocks of a table block that it hit
 *
 * Nothing else is excused.
 *
 * Threading: one thread.   Memory: the world's.
 */
#ifndef TESTS_SIM_BLAME_H
#define TESTS_SIM_BLAME_H

#include "disk/layout.h"
#include "history.h"
#include "io/sim.h"

#define BLAME_DISKS_MAX  4
#define BLAME_WRITES_MAX 64

struct blame;

struct blame_disk {
    struct blame *blame;
    struct sim_disk *disk;
    struct disk_layout layout; /* As its superblock says: blame_look(). */
    bool failed;               /* In this life: a write outside the data, or a flush. */
    bool unread;               /* In this life: a read of data. */
    bool latent[2];            /* The superblock there was made unreadable. */
};

struct blame {
    struct history *history;
    struct blame_disk disks[BLAME_DISKS_MAX];
    unsigned count;
    uint64_t clock;      /* Failures so far. */
    uint64_t *unread_at; /* Per block: when a read of it failed last. */
    uint64_t *unsummed;  /* Per block: the content whose checksum on the disk was hit; 0: none. */
    uint64_t torn_unread_at;           /* The same, of bytes that name no block. */
    uint64_t writes[BLAME_WRITES_MAX]; /* Contents whose writes failed, in turn. */
    uint64_t write_count;
    bool any_failed; /* A disk has failed, in this life or an earlier one. */
    /* Of the current life. */
    bool opening;
    uint64_t life_clock;   /* When it began. */
    uint64_t life_history; /* The same, by the history's clock. */
};

/* The history's blocks, that many. */
void blame_init(struct blame *b, struct sim_world *w, struct history *h, uint64_t blocks);
void blame_add_disk(struct blame *b, struct sim_disk *disk);

/* A process that opens the disks is started; and they are open. */
void blame_begin_life(struct blame *b);
void blame_opened(struct blame *b);

/* Whether anything has failed in this life: opening and closing may, then. */
bool blame_any(const struct blame *b);

/* Whether a disk has failed in this life. */
bool blame_disk_failed(const struct blame *b);

/* To be taken when a command is submitted. */
uint64_t blame_mark(const struct blame *b);

/* Whether the read, submitted at mark, may be a media error. */
bool blame_excuses_read(const struct blame *b, const struct history_op *op, uint64_t mark);

/* Whether the write of that content may fail. */
bool blame_excuses_write(const struct blame *b, uint64_t content);

/* Spoils a block that was written, on a disk whose store is closed or at rest.  True: the store
 * may refuse the disk for it. */
bool blame_spoil(struct blame *b, unsigned disk, bool latent);

#endif

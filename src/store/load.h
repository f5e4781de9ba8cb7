/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's metadata, read into the state of a store that does not serve: for opening it, and for
 * checking it.  docs/disk-format.md, section 5, steps 2 to 4.
 *
 * Threading: belongs to the device's reactor.
 * Memory:    embedded; two words per place of the disk until store_load_fini().
 */
#ifndef STORE_LOAD_H
#define STORE_LOAD_H

#include "disk/journal_scan.h"
#include "store/store_internal.h"
#include "store/walk.h"

#define LOAD_PROBLEM_BYTES 256

/* What the loader of checksums calls while the store serves. */
struct load_callbacks {
    void (*progress)(void *ctx);
    void *ctx;
};

struct load {
    /* The caller's. */
    struct dev *dev;
    struct uuid cluster;     /* FOREIGN if the disk belongs to another one; nil takes any. */
    uint64_t checksum_bytes; /* As struct store_config. */
    bool go_on;              /* Report places that are used twice, and go on; load all checksums. */
    void (*problem)(void *ctx, const char *text);
    /* A slot of the checksum table is damaged, which no crash explains; NULL: not of interest. */
    void (*bad_slot)(void *ctx, uint64_t table_block, bool unread);
    void (*done)(void *ctx, struct status status);
    void *ctx;

    /* What was found. */
    struct superblock sb;
    unsigned slot;       /* Which of the two superblocks it is. */
    unsigned slots_bad;  /* Bit 0 or 1: that superblock is not valid. */
    struct store *store; /* Owned by the caller from done() on; NULL if it got not so far. */
    struct apply apply;
    struct journal_scan_result log;
    struct bitmap bad_sums; /* Table blocks of which no slot is valid ... */
    bool any_bad_sums;      /* ... if there are any. */

    /* Private to load.c. */
    struct sm sm;
    struct status outcome;
    bool told; /* A problem. */
    struct journal_scan *scan;
    struct sweep sweep;
    uint64_t next;
    struct io_task task;
    struct load_callbacks plain;
    uint8_t *slots;
    struct status unread; /* Of a superblock that could not be read; or OK. */
};

/* Every outcome arrives through done(), from the loop's top. */
void store_load_start(struct load *l);
void store_load_fini(struct load *l);

/* Reports a problem to the caller. */
void store_load_problem(struct load *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Whether one slot of two may be torn without any fault: the crash came in the middle of it. */
static inline bool store_load_may_be_torn(const struct load *l)
{
    return !l->sb.clean && l->sb.atomic_bytes < DISK_BLOCK_BYTES;
}

/* The blocks of a grain that have no checksum: nobody can say what they should hold. */
uint32_t store_load_blocks_without_sum(const struct load *l, const struct map *map,
                                       const struct grain *g);

#endif

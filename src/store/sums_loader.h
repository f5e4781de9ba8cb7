/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads table blocks from the checksum table, a few at a time: whatever sums wants.
 *
 *   IDLE --> PAIR ----------------------------------> IDLE     both slots in one read
 *             |                                        ^
 *             +--(cannot be read)--> SLOT_0 --> SLOT_1-+       each for itself
 *             |                                   |    |
 *             +--(no slot is valid)---------------+--> POISON  block by block
 *
 * A slot that cannot be read is as good as one that is damaged: the other has older checksums, so
 * that blocks which have changed since are media errors, and never wrong data (S3).
 *
 * Where neither is good, nobody can say what the blocks should hold.  Each gets a checksum that its
 * bytes do not have, so that reading it is a media error until it is written again.
 *
 * Threading: the device's reactor.   Memory: fixed buffers of 128 KiB, allocated at init.
 */
#ifndef STORE_SUMS_LOADER_H
#define STORE_SUMS_LOADER_H

#include "base/sm.h"
#include "disk/dev.h"
#include "disk/layout.h"
#include "store/sums.h"

#define SUMS_LOADS      16
#define SUMS_READS_MAX  4 /* A slot that fails is tried so often, once as half of the pair. */
#define SUMS_LOAD_BYTES (SUMS_SLOTS * SUMS_BLOCK_BYTES)

struct sums_loader;

struct sums_load {
    struct sums_loader *loader;
    struct sm sm;
    struct dev_io io;
    uint64_t table_block;
    uint64_t block;                      /* Of the table block's: to be poisoned next. */
    unsigned tries;                      /* Of the slot. */
    struct const_span slots[SUMS_SLOTS]; /* What was read; empty: could not be. */
    uint8_t *buffer;
};

struct sums_loader {
    struct dev *dev;
    struct sums *sums;
    const struct disk_layout *layout;
    uint64_t tag;

    /* A load has ended.  More may be started. */
    void (*progress)(void *ctx);
    /* A slot is damaged, or could not be read.  NULL: nobody wants to know. */
    void (*bad_slot)(void *ctx, uint64_t table_block, unsigned slot, bool unread);
    /* No slot is valid: the caller sees to its blocks.  NULL: they are poisoned. */
    void (*lost)(void *ctx, uint64_t table_block);
    void *ctx;

    /* Private to sums_loader.c. */
    unsigned busy;
    uint64_t next;
    uint8_t *buffers;
    struct sums_load loads[SUMS_LOADS];
};

/* The fields above the private ones are set, but for the callbacks. */
struct status sums_loader_init(struct sums_loader *l) MUST_CHECK;

/* Nothing is under way. */
void sums_loader_fini(struct sums_loader *l);

/* Starts what is wanted, as far as there is room. */
void sums_loader_run(struct sums_loader *l);

/* Whether loads are under way or wanted. */
bool sums_loader_is_busy(const struct sums_loader *l);

#endif

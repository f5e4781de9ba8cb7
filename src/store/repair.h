/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be repaired on a disk at rest: whatever is there twice, and good once.
 *
 *   a superblock that is damaged              the other one is written over it (F1)
 *   a slot of the checksum table, likewise    the other's checksums, with the next sequence
 *
 * Nothing else is touched: what is there once can only be guessed.  Nor is a table slot of a disk
 * that was not closed cleanly, which the next opening sees to; nor one that cannot be read while
 * blocks do not match the other one, for it may have their checksums.
 *
 * Threading: the device's reactor.   Memory: three bits per table block until repair_fini().
 */
#ifndef STORE_REPAIR_H
#define STORE_REPAIR_H

#include "store/load.h"

struct repair {
    /* Found while the disk is checked. */
    unsigned superblocks; /* Bit 0 or 1: that one is to be written. */
    struct bitmap slots;  /* Table blocks of which one slot is damaged. */
    struct bitmap unread; /* Of them: it could not be read. */
    struct bitmap doubt;  /* Table blocks that a block does not match. */

    /* Private to repair.c. */
    struct load *load;
    struct store_check_report *report;
    void (*done)(struct repair *r, struct status status);
    struct sweep sweep;
    struct dev_io io;
    uint64_t next;
};

struct status repair_init(struct repair *r, uint64_t table_blocks) MUST_CHECK;
void repair_fini(struct repair *r);

/*
 * Tells report->repair what can be repaired; with report->repair_it does it, and tells what was
 * done.  That is durable when done() is called, which may be at once.
 */
void repair_start(struct repair *r, struct load *load, struct store_check_report *report,
                  void (*done)(struct repair *r, struct status status));

#endif

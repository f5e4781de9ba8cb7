/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many reads or writes of a device, a few at a time: loading, writing back, verifying.
 *
 *     next() fills a slot --> device --> item() judges it --> next() ...  --> done()
 *
 * Threading: belongs to the device's reactor.  next() and item() run from its loop.
 * Memory:    depth buffers, allocated at start and freed before done().
 */
#ifndef DISK_SWEEP_H
#define DISK_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/dev.h"

#define SWEEP_DEPTH_MAX 16
#define SWEEP_READS_MAX                                                       \
    4 /* A read that fails is tried so often: what it says may last for ever. \
       */

struct sweep;

struct sweep_slot {
    /* next() fills these. */
    uint64_t offset;
    size_t bytes; /* Up to the sweep's buffer_bytes; of buffer. */
    bool write;
    uint64_t arg[3]; /* Whatever item() needs. */

    uint8_t *buffer;      /* 4 KiB aligned. */
    struct status status; /* Of the transfer; valid in item(). */

    /* Private to sweep.c. */
    struct sweep *sweep;
    struct dev_io io;
    unsigned reads; /* Of this transfer. */
    bool busy;
};

struct sweep_ops {
    /*
     * Fills slot with the next transfer; false if there is none, or, with sweep->paused set, none
     * yet: it is asked again after sweep_resume(), and when a transfer ends.
     */
    bool (*next)(struct sweep *sweep, struct sweep_slot *slot);
    /* A transfer ended.  A failure returned ends the sweep; NULL: the transfer's own does. */
    struct status (*item)(struct sweep *sweep, struct sweep_slot *slot);
    /* Nothing is in flight; the sweep may be freed or started again. */
    void (*done)(struct sweep *sweep, struct status status);
};

struct sweep {
    const struct sweep_ops *ops;
    struct dev *dev;
    unsigned depth; /* 1: items come in order. */
    size_t buffer_bytes;
    uint8_t *lent; /* depth * buffer_bytes, 4 KiB aligned, of the caller's; NULL: allocates. */
    bool paused;   /* Set by next(). */

    /* Private to sweep.c. */
    uint8_t *buffers;
    unsigned busy;
    bool ended;
    struct status outcome;
    struct io_task task;
    struct sweep_slot slots[SWEEP_DEPTH_MAX];
};

/* The fields above the private ones are set.  Every outcome arrives through done(). */
void sweep_start(struct sweep *sweep);

/* A paused sweep may go on. */
void sweep_resume(struct sweep *sweep);

#endif

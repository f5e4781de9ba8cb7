/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device that wraps another one and misbehaves on request.
 *
 *     dev_fault_open(inner, &dev);
 *     dev_fault_add(dev, &(struct dev_fault) { .action = DEV_FAULT_ERROR,
 *                                              .kinds = DEV_FAULT_WRITES, .skip = 3, .count = 1,
 *                                              .status = STATUS(MEDIA_WRITE) });
 *
 * fails the fourth write from now on, once.  The first fault that matches a request acts on it.
 *
 * Threading: the inner device's reactor.
 * Memory:    a fixed number of faults; the wrapper owns the inner device.
 */
#ifndef DISK_DEV_FAULT_H
#define DISK_DEV_FAULT_H

#include "disk/dev.h"

#define DEV_FAULTS_MAX        64 /* More than any test needs at once. */

#define DEV_FAULT_READS       (1u << DEV_KIND_READ)
#define DEV_FAULT_WRITES      (1u << DEV_KIND_WRITE)
#define DEV_FAULT_FLUSHES     (1u << DEV_KIND_FLUSH)
#define DEV_FAULT_DISCARDS    (1u << DEV_KIND_DISCARD)
#define DEV_FAULT_ALLOCATIONS (1u << DEV_KIND_ALLOCATE)
#define DEV_FAULT_ALL         ((1u << (DEV_KIND_ALLOCATE + 1)) - 1)

enum dev_fault_action {
    DEV_FAULT_ERROR, /* Ends with .status; the inner device does not see it. */
    DEV_FAULT_DELAY, /* Reaches the inner device after .delay_ns. */
    DEV_FAULT_LOSE,  /* A write or discard succeeds and the inner device does not see it. */
    DEV_FAULT_ROT,   /* A read finds the bytes of the range flipped, until they are written. */
    DEV_FAULT_HOLD,  /* Waits until dev_fault_clear(). */
};

struct dev_fault {
    enum dev_fault_action action;
    unsigned kinds;       /* DEV_FAULT_READS and so on; ROT concerns reads whatever is here. */
    uint64_t offset;      /* The range that a request must touch; flushes touch any range. */
    uint64_t bytes;       /* 0: the whole device. */
    uint64_t skip;        /* So many matching requests pass first. */
    uint64_t count;       /* Then so many are hit; 0: all. */
    uint64_t delay_ns;    /* DELAY. */
    struct status status; /* ERROR. */
};

/* Wraps inner, which belongs to the new device from then on. */
struct status dev_fault_open(struct dev *inner, struct dev **out_dev) MUST_CHECK;

/* Adds a fault behind those that are there.  LIMIT if there are DEV_FAULTS_MAX. */
struct status dev_fault_add(struct dev *dev, const struct dev_fault *fault) MUST_CHECK;

/* Takes all faults away and lets held requests go on. */
void dev_fault_clear(struct dev *dev);

/* How many requests faults have hit since the device was opened. */
uint64_t dev_fault_hits(const struct dev *dev);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member whose writes take much longer than those of its peers, window after window: it would set
 * the volume's latency, and is excluded instead (docs/replication.md, 6.1).
 *
 * It takes three members: latency is not worth the last but one copy.
 *
 * Threading: the slice's that owns the copyset.   Memory: embedded in the copyset.
 */
#ifndef VOLUME_OUTLIER_H
#define VOLUME_OUTLIER_H

#include <stdint.h>

#include "volume/limits.h"

struct copyset;

struct outlier {
    uint64_t begun_ns; /* The window; 0: there is none. */
    struct outlier_slot {
        uint64_t taken_ns; /* All together. */
        uint32_t count;    /* Changes that it has executed. */
        uint8_t slow;      /* The last windows, one bit each. */
    } slots[VOLUME_REPLICAS_MAX];
};

/* A member has executed a change, so long after it was sent. */
void outlier_note(struct copyset *cs, unsigned slot, uint64_t taken_ns);

/* The slot is no member any more, or another disk's: what was noted is of no account. */
void outlier_forget(struct copyset *cs, unsigned slot);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which grains of the data area are free.
 *
 *     free --alloc--> used --free_later--> gathering --batch--> waiting --release--> free
 *
 * A place that was freed is reused only after the record that freed it is durable (J2, F19) and
 * every command that was under way then has ended (F20).  So that neither needs memory per place,
 * freed places go through two sets: the caller closes the gathering one, waits for both
 * conditions, and releases it whole.
 *
 * Threading: the owner's.   Memory: three bits per grain, allocated at create.
 */
#ifndef DISK_SPACE_H
#define DISK_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/status.h"

#define SPACE_NONE UINT32_MAX

struct space {
    /* Read-only for the owner. */
    uint64_t grains;
    uint64_t free;
    uint64_t gathering;
    uint64_t waiting;

    /* Private to space.c. */
    struct bitmap used; /* Not to be given out: used, gathering or waiting. */
    struct bitmap gathered;
    struct bitmap batch;
    uint64_t gathered_low, gathered_high; /* Bounds of what is set in gathered. */
    uint64_t batch_low, batch_high;
    uint64_t cursor;
};

/* All free. */
struct status space_init(struct space *s, uint64_t grains) MUST_CHECK;
void space_fini(struct space *s);

/* Marks a place used while a map is loaded.  False if it is out of range or used already (F5). */
bool space_claim(struct space *s, uint32_t place);

/*
 * Takes a free place: hint if it is free (SPACE_NONE: no wish), else one with room behind it, so
 * that what follows can lie in a row.  SPACE_NONE if none is free.
 */
uint32_t space_alloc(struct space *s, uint32_t hint);

/* A used place is not needed any more. */
void space_free_later(struct space *s, uint32_t place);

/* Makes the gathered places the waiting batch, which must be empty. */
void space_batch(struct space *s);

/* Both conditions hold for the batch: its places are free. */
void space_release(struct space *s);

#endif

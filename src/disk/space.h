/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cells of the data area are free.
 *
 *     free --take--> used --free_later--> gathering --batch--> waiting --release--> free
 *
 *     cells   |x.......|xxxxxxxx|........|........|x.x.....|   eight are a place
 *              a home,   full     wholly free places: homes for the next grains
 *              partly taken
 *
 * A cell that was freed is reused only after the record that freed it is durable (J2, F19) and
 * every command that was under way then has ended (F20).  So that neither needs memory per cell,
 * freed cells go through two sets: the caller closes the gathering one, waits for both conditions,
 * and releases it whole.
 *
 * Threading: the owner's.
 * Memory:    three bits per cell, allocated at create and by space_reserve(); two of them are
 *            touched as cells are freed.
 */
#ifndef DISK_SPACE_H
#define DISK_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/status.h"

#define SPACE_NONE        UINT32_MAX
#define SPACE_PLACE_CELLS 8u

struct space {
    /* Read-only for the owner. */
    uint64_t cells;
    uint64_t free;
    uint64_t gathering;
    uint64_t waiting;
    uint64_t whole; /* Places of which all cells are free. */

    /* Private to space.c. */
    struct bitmap used; /* Not to be given out: used, gathering or waiting. */
    struct bitmap gathered;
    struct bitmap batch;
    uint64_t gathered_low, gathered_high; /* Bounds of what is set in gathered. */
    uint64_t batch_low, batch_high;
    uint64_t place_cursor;
    uint64_t cell_cursor;
};

/* All free. */
struct status space_init(struct space *s, uint64_t places) MUST_CHECK;
void space_fini(struct space *s);

/*
 * The disk is to become larger: space_reserve() takes the memory for so many places, and changes
 * nothing else; space_extend() adds them, free, and cannot fail.
 */
struct status space_reserve(struct space *s, uint64_t places) MUST_CHECK;
void space_extend(struct space *s, uint64_t places);

/* Takes this cell.  False if it is beyond the end or not free (F5). */
bool space_take(struct space *s, uint64_t cell);

/* Takes all cells of the place that begins with this one.  False if not all are free. */
bool space_take_place(struct space *s, uint64_t cell);

/*
 * Where eight cells in a row are free for a grain, none of which is taken by this call: from wish
 * on if they are (SPACE_NONE: no wish), else a place with room behind it, so that what follows can
 * lie in a row.  SPACE_NONE if few places are wholly free, or, for a grain that begins with many
 * cells, none.
 */
uint32_t space_find_home(struct space *s, uint64_t wish, bool many);

/* Takes any free cell; SPACE_NONE if there is none. */
uint32_t space_take_any(struct space *s);

/* Whether the cell was freed and is on its way back. */
bool space_is_returning(const struct space *s, uint64_t cell);

/* The first cell from cell on that is not free; BITMAP_NONE for none. */
uint64_t space_next_used(const struct space *s, uint64_t cell);

/* A used cell is not needed any more. */
void space_free_later(struct space *s, uint32_t cell);

/* Makes the gathered cells the waiting batch, which must be empty. */
void space_batch(struct space *s);

/* Both conditions hold for the batch: its cells are free. */
void space_release(struct space *s);

#endif

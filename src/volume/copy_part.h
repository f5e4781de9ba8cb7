/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of a range copy: blocks of the window in a row that need the same, on their way from the
 * source to the targets.  Several are under way at a time.  Private to range_copy.c and
 * copy_part.c.
 *
 *   READING --> WRITING, target after target --> the next blocks
 *      |
 *      +--> SPOILING, a block that no source can read
 *
 * Threading: the slice's that owns the copyset.
 * Memory:    in the range copy's scratch memory; before there are parts, hashes are asked for with
 *            the commands of the first ones.
 */
#ifndef VOLUME_COPY_PART_H
#define VOLUME_COPY_PART_H

#include "volume/limits.h"
#include "volume/range_copy.h"

/* Commands under way for one range, and blocks of each: scattered blocks want many, all want few.
 */
#define PARTS_MAX   7u
#define PART_BLOCKS 8u
#define PART_BYTES  ((uint64_t)PART_BLOCKS * STORE_BLOCK_BYTES)

/* What a block needs (range_copy.needs): which slots are to be written, and from which one. */
enum {
    NEEDS_SLOTS = (1u << VOLUME_SLOTS_MAX) - 1,
    NEEDS_SOURCE_SHIFT = 4,
    NEEDS_SOURCE = 3u << NEEDS_SOURCE_SHIFT,
    NEEDS_ZEROS = 1u << 6,   /* The source has zeros there. */
    NEEDS_ANOTHER = 1u << 7, /* No replica whose hashes are known can be the source. */
};

/* Why no more parts are begun (range_copy.stop). */
enum copy_stop {
    STOP_NOT,
    STOP_AGAIN, /* The source is none any more: the window is compared anew. */
    STOP_ROOM,  /* A region list is full: likewise, when there is room. */
    STOP_FAILED,
};

enum part_state { PART_IDLE, PART_READING, PART_WRITING, PART_SPOILING };

struct copy_part {
    struct range_copy *copy;
    enum part_state state;
    uint32_t at, count; /* Blocks of the window that are copied now, ... */
    uint32_t end;       /* ... and up to here, block by block. */
    uint32_t written;   /* Of those of now, at the target. */
    uint8_t needs;      /* Slots that are left, the target's first. */
    uint8_t tried;      /* Slots that could not read the block. */
    unsigned source;    /* Slot. */
    struct span memory;
    struct leg_io io;
    struct leg_remote_io remote_io;
    uint32_t crcs[PART_BLOCKS];
};

/* Begins what c->needs says, as far as there are parts; range_copy_on_parts() follows. */
void copy_parts_begin(struct range_copy *c);

/* A command for blocks of the window; p->io.done follows, and c->under_way counts it until then. */
void copy_part_send(struct copy_part *p, unsigned slot, enum store_opcode opcode, uint32_t first,
                    uint32_t count, struct span data, uint32_t *crcs);

/*
 * Of these sources, which are some: no target rather than one.  Of several they take turns by
 * address; of targets it is one of this node rather than another.
 */
unsigned copy_best_source(const struct range_copy *c, unsigned sources);

/* No more is begun, as this command has failed; NULL: the slice is fenced.  The first one counts.
 */
void copy_stop_failed(struct range_copy *c, const struct leg_io *io, struct status status);

/* Of a command that has ended: whether the slice is fenced, which stops all. */
void copy_look_at_fence(struct range_copy *c);

/* range_copy.c: nothing is under way any more. */
void range_copy_on_parts(struct range_copy *c);

#endif

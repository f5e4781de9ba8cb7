/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of one shard: layers by generation, newest first, each an array of grains.
 *
 *     layer of generation 7   [ . . D . Z . S . ]      D data    lies in cells of the disk
 *     layer of generation 3   [ D D D . D . D . ]      Z zero    never read through
 *                               |   |   |   |          S spoiled cannot be read, nor through (F40)
 *     read at generation 7:     D3  D7  zeros error    . absent  read through to older layers,
 *                                                                zeros below the oldest
 *
 * A read at generation g sees the layers up to g, the newest first; a write of generation g goes
 * to the layer g, and is hidden where a newer one has the block (S8).  In generation 0 zero means
 * the same as absent, and is not stored (F6).
 *
 * A grain owns the cells that hold its blocks, and those whose first touch is under way (F28):
 *
 *     in line     cell i lies at base + i              | 0 | . | 2 | 3 | . | . | . | . |
 *     scattered   each where its list says             2 at 77, 0 at 12, 3 at 640
 *
 * Threading: the owner's.
 * Memory:    16 bytes per grain and layer, allocated with the layer; 32 more if it is scattered.
 */
#ifndef STORE_MAP_H
#define STORE_MAP_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "disk/space.h"
#include "store/cell_lists.h"
#include "store/store.h"

#define GRAIN_BLOCKS  32
#define CELL_BLOCKS   4
#define CELL_BYTES    (CELL_BLOCKS * STORE_BLOCK_BYTES)
#define REGION_GRAINS 8
#define REGION_BYTES  (REGION_GRAINS * STORE_GRAIN_BYTES)
static_assert(REGION_BYTES == STORE_REGION_BYTES, "engines count regions, too");
#define REGION_BLOCKS (REGION_GRAINS * GRAIN_BLOCKS)

/* A grain remembers so many bits of a sequence. */
#define GRAIN_SEQUENCE_BITS 22

struct grain {
    uint32_t data; /* Blocks that have data. */
    uint32_t zero; /* Blocks that are zeros whatever lies beneath. */

    /* Private to map.h and map.c. */
    uint32_t line; /* In line: base + 7, which is never negative.  Scattered: its list. */
    uint32_t state;
};

/* Of state: the cells that are owned, two flags, and the low bits of the last journal sequence that
 * changed the grain; 0 once that is durably settled (F14, F19). */
#define GRAIN_OWNED          UINT32_C(0xff)
#define GRAIN_SCATTERED      UINT32_C(0x100)
#define GRAIN_FREED          UINT32_C(0x200)
#define GRAIN_SEQUENCE_SHIFT 10
static_assert(GRAIN_SEQUENCE_SHIFT + GRAIN_SEQUENCE_BITS == 32, "a grain's state");

struct layer {
    uint64_t generation;
    struct grain *grains;
    uint32_t *spoiled; /* Per grain: blocks; NULL: there never were any. */
};

/* What a checkpoint may have to say of all maps of a store, in bytes (F31). */
struct map_usage {
    uint64_t bytes;    /* Now. */
    uint64_t held;     /* Given back since the checkpoint in progress began ... */
    bool holds;        /* ... if there is one. */
    uint64_t promised; /* To commands under way. */
    uint64_t spoiled;  /* Blocks, of all maps. */
};

/* Something that took so many bytes takes so many now. */
static inline void map_usage_change(struct map_usage *usage, uint64_t before, uint64_t after)
{
    assert(usage->bytes >= before);
    usage->bytes += after - before;
    usage->held += usage->holds && before > after ? before - after : 0;
}

/* Records of one item: GRAINS, CELLS, and the heads of both, once for each layer. */
#define MAP_GRAINS_BYTES 20u
#define MAP_CELL_BYTES   12u
#define MAP_LAYER_BYTES  32u
/* Of SPOIL: an item, and the head of a record that perhaps has no other. */
#define MAP_SPOIL_BYTES 24u

struct map {
    struct layer *layers; /* Newest first. */
    unsigned layer_count;
    uint32_t grain_count;
    struct cell_lists *lists; /* Of the store; borrowed. */
    struct map_usage *usage;  /* Likewise. */
    uint64_t *blocks;         /* Counts blocks that have data, of all maps of the volume. */
};

/* A piece of a read: count blocks in a row of one kind. */
struct map_run {
    bool spoiled;   /* They cannot be read. */
    bool data;      /* Otherwise, and if they are not spoiled: zeros. */
    uint64_t place; /* In blocks of the data area. */
    uint32_t count;
};

/* Cells with data that lie in a row, perhaps with others of no concern between them. */
struct map_extent {
    uint64_t place; /* In blocks of the data area. */
    uint32_t first; /* Block of the grain. */
    uint32_t count;
};

/* Cells that nobody needs any more. */
struct map_freed {
    uint32_t count;
    uint32_t cell[GRAIN_CELLS];
};

/* The cells that a grain owns, as bits. */
static inline uint32_t grain_owned(const struct grain *g)
{
    return g->state & GRAIN_OWNED;
}

static inline bool grain_is_scattered(const struct grain *g)
{
    return (g->state & GRAIN_SCATTERED) != 0;
}

/* Blocks of a cell were freed, and may not be written again before its sequence is durable. */
static inline bool grain_has_freed(const struct grain *g)
{
    return (g->state & GRAIN_FREED) != 0;
}

static inline void grain_set_freed(struct grain *g, bool freed)
{
    g->state = (g->state & ~GRAIN_FREED) | (freed ? GRAIN_FREED : 0);
}

static inline void grain_set_sequence(struct grain *g, uint64_t sequence)
{
    const uint32_t low = (uint32_t)sequence << GRAIN_SEQUENCE_SHIFT;
    const uint32_t one = UINT32_C(1) << GRAIN_SEQUENCE_SHIFT;

    /* One later is as good, and is not 0. */
    g->state = (g->state & ~(UINT32_MAX << GRAIN_SEQUENCE_SHIFT)) | (low == 0 ? one : low);
}

/* Nothing of it is unsettled any more. */
static inline void grain_forget_sequence(struct grain *g)
{
    g->state &= ~(GRAIN_FREED | UINT32_MAX << GRAIN_SEQUENCE_SHIFT);
}

/* Whether the grain's sequence is at or before mark. */
static inline bool grain_is_settled(const struct grain *g, uint64_t mark)
{
    const uint32_t sequence = g->state & UINT32_MAX << GRAIN_SEQUENCE_SHIFT;

    return sequence == 0 || (int32_t)(sequence - ((uint32_t)mark << GRAIN_SEQUENCE_SHIFT)) <= 0;
}

/* The bits of blocks first to first + count - 1 of a grain. */
static inline uint32_t grain_mask(uint32_t first, uint32_t count)
{
    return count == GRAIN_BLOCKS ? UINT32_MAX : ((UINT32_C(1) << count) - 1) << first;
}

/* The blocks of one cell. */
static inline uint32_t cell_mask(uint32_t cell)
{
    return UINT32_C(0xf) << (cell * CELL_BLOCKS);
}

/* One bit of every four, where a mask has any of them. */
static inline uint32_t grain_cell_marks(uint32_t blocks)
{
    const uint32_t pairs = blocks | blocks >> 1;

    return (pairs | pairs >> 2) & UINT32_C(0x11111111);
}

/* The cells that have blocks of a mask. */
static inline uint32_t grain_cells(uint32_t blocks)
{
    uint32_t cells = grain_cell_marks(blocks);

    cells = (cells | cells >> 3) & UINT32_C(0x03030303);
    cells = (cells | cells >> 6) & UINT32_C(0x000f000f);
    return (cells | cells >> 12) & 0xff;
}

/* How many these are: the highest digit of the product is the sum of all. */
static inline uint32_t grain_cells_count(uint32_t blocks)
{
    return (grain_cell_marks(blocks) * UINT32_C(0x11111111)) >> 28;
}

/* Where a block of an owned cell lies, in blocks of the data area. */
static inline uint64_t map_place(const struct map *map, const struct grain *g, uint32_t block)
{
    assert((g->state >> (block / CELL_BLOCKS) & 1) != 0);
    if (!grain_is_scattered(g))
        return (uint64_t)g->line * CELL_BLOCKS + block - (GRAIN_CELLS - 1) * CELL_BLOCKS;
    const struct cell_list *const list = cell_lists_at(map->lists, g->line);
    return (uint64_t)list->cell[block / CELL_BLOCKS] * CELL_BLOCKS + block % CELL_BLOCKS;
}

/* The cell of the data area that holds an owned cell. */
static inline uint32_t map_cell(const struct map *map, const struct grain *g, uint32_t cell)
{
    return (uint32_t)(map_place(map, g, cell * CELL_BLOCKS) / CELL_BLOCKS);
}

/* Whether a grain's cells lie at their own positions of a place. */
static inline bool grain_is_at_place(const struct grain *g)
{
    return !grain_is_scattered(g) && g->line % GRAIN_CELLS == GRAIN_CELLS - 1;
}

/* The place of such a grain. */
static inline uint32_t grain_place(const struct grain *g)
{
    return (g->line - (GRAIN_CELLS - 1)) / GRAIN_CELLS;
}

/*
 * Where a cell would lie naturally, if the grain is in line and owns any; BITMAP_NONE if there is
 * no such position.
 */
uint64_t map_natural_cell(const struct grain *g, uint32_t cell);

void map_init(struct map *map, uint64_t bytes, struct cell_lists *lists, struct map_usage *usage,
              uint64_t *blocks);

/* Frees the layers; cells are the caller's to give back. */
void map_fini(struct map *map);

/* The layer of exactly this generation, or NULL. */
struct layer *map_layer(const struct map *map, uint64_t generation);

/* The same, made if need be.  NO_SPACE above STORE_LAYERS_MAX. */
struct status map_layer_make(struct map *map, uint64_t generation,
                             struct layer **out_layer) MUST_CHECK;

/*
 * Whether zeros of this generation must be stored: something lies beneath, or a late write of an
 * older generation may yet come to lie there, and must stay hidden (S8).
 */
static inline bool map_generation_keeps_zeros(uint64_t generation)
{
    return generation > 0;
}

/* What a read at generation sees from block on: at most max blocks of one kind, in a row. */
struct map_run map_lookup(const struct map *map, uint64_t generation, uint64_t block, uint32_t max);

/*
 * The grain owns the cell from now on, at this address.  It may need a list: cell_lists_reserve().
 */
void map_own(struct map *map, struct grain *g, uint32_t cell, uint32_t address);

/* The same while records are applied: blocks that it had in that cell elsewhere give way (F29). */
void map_own_again(struct map *map, struct grain *g, uint32_t cell, uint32_t address);

/* The blocks of mask, in owned cells, now have data, which they may have had before. */
void map_set_data(struct map *map, struct grain *g, uint32_t mask);

/* An empty grain has these data, at their own positions of a place, and zeros. */
void map_put(struct map *map, struct grain *g, uint32_t place, uint32_t data, uint32_t zero);

/*
 * The blocks of mask become zero or absent; *out_freed: cells that lost their last block by it,
 * and are not owned any more.  Returns whether blocks were lost in cells that are.
 */
bool map_set_zero(struct map *map, struct grain *g, uint32_t mask, bool zero,
                  struct map_freed *out_freed);

/* Memory for what is spoiled in a layer, if it has none yet.  NO_MEMORY. */
struct status map_spoil_reserve(struct map *map, struct layer *layer) MUST_CHECK;

/* The blocks of mask of a grain cannot be read from now on; as map_set_zero().  Reserved. */
bool map_spoil(struct map *map, struct layer *layer, uint32_t grain, uint32_t mask,
               struct map_freed *out_freed);

/* They have data, or are zero or absent, from now on: whoever sees to that calls this, too. */
void map_unspoil(struct map *map, struct layer *layer, uint32_t grain, uint32_t mask);

/* Which blocks of a grain are spoiled. */
static inline uint32_t layer_spoiled(const struct layer *layer, uint32_t grain)
{
    return layer->spoiled == NULL ? 0 : layer->spoiled[grain];
}

/*
 * The next cells with data in a row, at or after *cell, which moves behind them.  False at the
 * end.
 */
bool map_next_extent(const struct map *map, const struct grain *g, uint32_t *cell,
                     struct map_extent *out_extent);

/*
 * Whether a checkpoint says what the grain has as one item of GRAINS: its cells lie at their own
 * positions of a place.  Else it takes an item of CELLS for each, and one of GRAINS for its zeros.
 */
bool grain_is_one_item(const struct grain *g);

/* What a checkpoint has to say of the grain, in bytes. */
uint32_t grain_checkpoint_bytes(const struct grain *g);

/* The same at most, if it had data in the blocks of mask too, wherever their cells came to lie. */
uint32_t grain_checkpoint_bytes_with(const struct grain *g, uint32_t mask);

#endif

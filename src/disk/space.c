/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/space.h"

#include <assert.h>
#include <stdlib.h>

#include "base/span.h"

/* Room that a home without a wish leaves behind itself: 4 MiB. */
#define RUN_PLACES 32

/* One place in so many is left when single cells get no homes any more: finding the last ones takes
 * longer and longer, and is worth it for grains that are written whole. */
#define WHOLE_DIVISOR   64

#define PLACES_PER_WORD (64 / SPACE_PLACE_CELLS)

static uint64_t *words_alloc(uint64_t bits)
{
    return calloc(BITMAP_WORDS(bits), sizeof(uint64_t));
}

static uint64_t space_places(const struct space *s)
{
    return s->cells / SPACE_PLACE_CELLS;
}

struct status space_init(struct space *s, uint64_t places)
{
    const uint64_t cells = places * SPACE_PLACE_CELLS;

    assert(places > 0 && cells < SPACE_NONE);
    *s = (struct space) { .cells = cells, .free = cells, .whole = places };
    s->used = (struct bitmap) { words_alloc(cells), cells };
    s->gathered = (struct bitmap) { words_alloc(cells), cells };
    s->batch = (struct bitmap) { words_alloc(cells), cells };
    s->gathered_low = s->batch_low = cells;
    if (s->used.words == NULL || s->gathered.words == NULL || s->batch.words == NULL) {
        space_fini(s);
        return STATUS(NO_MEMORY);
    }
    return STATUS(OK);
}

static struct status MUST_CHECK bitmap_reserve(struct bitmap *b, uint64_t bits)
{
    uint64_t *const words = words_alloc(bits);

    if (words == NULL)
        return STATUS(NO_MEMORY);
    memcpy(words, b->words, BITMAP_WORDS(b->bits) * sizeof *words);
    free(b->words);
    *b = (struct bitmap) { words, b->bits }; /* For now. */
    return STATUS(OK);
}

struct status space_reserve(struct space *s, uint64_t places)
{
    const uint64_t cells = places * SPACE_PLACE_CELLS;

    assert(cells >= s->cells && cells < SPACE_NONE);
    TRY(bitmap_reserve(&s->used, cells));
    TRY(bitmap_reserve(&s->gathered, cells));
    return bitmap_reserve(&s->batch, cells);
}

void space_extend(struct space *s, uint64_t places)
{
    const uint64_t cells = places * SPACE_PLACE_CELLS;

    assert(cells >= s->cells);
    s->free += cells - s->cells;
    s->whole += places - space_places(s);
    s->used.bits = s->gathered.bits = s->batch.bits = cells;
    /* The bounds of nothing need not be the end: they only have to lie before what is there. */
    s->cells = cells;
}

void space_fini(struct space *s)
{
    free(s->used.words);
    free(s->gathered.words);
    free(s->batch.words);
    *s = (struct space) { 0 };
}

static bool place_is_free(const struct space *s, uint64_t cell)
{
    const uint64_t place = cell / SPACE_PLACE_CELLS;
    const uint64_t word = s->used.words[place / PLACES_PER_WORD];

    return (word >> (place % PLACES_PER_WORD * SPACE_PLACE_CELLS) & 0xff) == 0;
}

bool space_take(struct space *s, uint64_t cell)
{
    if (cell >= s->cells || bitmap_get(&s->used, cell))
        return false;
    assert(s->free > 0);
    s->whole -= place_is_free(s, cell) ? 1 : 0;
    bitmap_set(&s->used, cell);
    s->free--;
    return true;
}

bool space_take_place(struct space *s, uint64_t cell)
{
    assert(cell % SPACE_PLACE_CELLS == 0);
    if (cell >= s->cells || !place_is_free(s, cell))
        return false;
    assert(s->free >= SPACE_PLACE_CELLS && s->whole > 0);
    bitmap_set_run(&s->used, cell, SPACE_PLACE_CELLS);
    s->whole--;
    s->free -= SPACE_PLACE_CELLS;
    return true;
}

/* The first place from place on that is wholly free; BITMAP_NONE if there is none. */
static uint64_t next_free_place(const struct space *s, uint64_t place)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t at = place / PLACES_PER_WORD;

    if (place >= space_places(s))
        return BITMAP_NONE;
    /* Places before the first one count as taken. */
    uint64_t word =
        s->used.words[at] | ((UINT64_C(1) << (place % PLACES_PER_WORD * SPACE_PLACE_CELLS)) - 1);
    for (;;) {
        /* The lowest byte that is zero has the lowest of these bits set. */
        const uint64_t zero = (word - ones) & ~word & (ones << 7);
        if (zero != 0) {
            const uint64_t found =
                at * PLACES_PER_WORD + (uint64_t)__builtin_ctzll(zero) / SPACE_PLACE_CELLS;
            return found < space_places(s) ? found : BITMAP_NONE;
        }
        if (++at == BITMAP_WORDS(s->cells))
            return BITMAP_NONE;
        word = s->used.words[at];
    }
}

uint32_t space_find_home(struct space *s, uint64_t wish, bool many)
{
    if (wish < s->cells && s->cells - wish >= SPACE_PLACE_CELLS) {
        const uint64_t next = bitmap_next_set(&s->used, wish);
        if (next == BITMAP_NONE || next - wish >= SPACE_PLACE_CELLS)
            return (uint32_t)wish;
    }
    if (s->whole <= (many ? 0 : space_places(s) / WHOLE_DIVISOR))
        return SPACE_NONE;
    uint64_t place = next_free_place(s, s->place_cursor);
    if (place == BITMAP_NONE)
        place = next_free_place(s, 0);
    assert(place != BITMAP_NONE);
    s->place_cursor = place + RUN_PLACES < space_places(s) ? place + RUN_PLACES : 0;
    return (uint32_t)(place * SPACE_PLACE_CELLS);
}

uint32_t space_take_any(struct space *s)
{
    uint64_t cell = bitmap_next_clear(&s->used, s->cell_cursor);

    if (s->free == 0)
        return SPACE_NONE;
    if (cell == BITMAP_NONE)
        cell = bitmap_next_clear(&s->used, 0);
    const bool taken = space_take(s, cell);
    assert(taken);
    s->cell_cursor = cell + 1 < s->cells ? cell + 1 : 0;
    return (uint32_t)cell;
}

bool space_is_returning(const struct space *s, uint64_t cell)
{
    return cell < s->cells && (bitmap_get(&s->gathered, cell) || bitmap_get(&s->batch, cell));
}

uint64_t space_next_used(const struct space *s, uint64_t cell)
{
    return bitmap_next_set(&s->used, cell);
}

void space_free_later(struct space *s, uint32_t cell)
{
    assert(cell < s->cells);
    assert(bitmap_get(&s->used, cell) && !space_is_returning(s, cell));

    bitmap_set(&s->gathered, cell);
    s->gathering++;
    s->gathered_low = min_u64(s->gathered_low, cell);
    s->gathered_high = max_u64(s->gathered_high, cell);
}

void space_batch(struct space *s)
{
    const struct bitmap empty = s->batch;

    assert(s->waiting == 0);
    s->batch = s->gathered;
    s->waiting = s->gathering;
    s->batch_low = s->gathered_low;
    s->batch_high = s->gathered_high;
    s->gathered = empty;
    s->gathering = 0;
    s->gathered_low = s->cells;
    s->gathered_high = 0;
}

void space_release(struct space *s)
{
    uint64_t released = 0;

    for (uint64_t at = bitmap_next_set(&s->batch, s->batch_low);
         at != BITMAP_NONE && at <= s->batch_high; at = bitmap_next_set(&s->batch, at + 1)) {
        assert(bitmap_get(&s->used, at));
        bitmap_clear(&s->used, at);
        bitmap_clear(&s->batch, at);
        s->whole += place_is_free(s, at) ? 1 : 0;
        released++;
    }
    assert(released == s->waiting);
    s->free += released;
    s->waiting = 0;
    s->batch_low = s->cells;
    s->batch_high = 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/space.h"

#include <assert.h>
#include <stdlib.h>

#include "base/span.h"

/* Room that an allocation without a wish leaves behind itself: 4 MiB. */
#define RUN_GRAINS 32

static uint64_t *words_alloc(uint64_t bits)
{
    return calloc(BITMAP_WORDS(bits), sizeof(uint64_t));
}

struct status space_init(struct space *s, uint64_t grains)
{
    assert(grains > 0 && grains < SPACE_NONE);

    *s = (struct space) { .grains = grains, .free = grains };
    s->used = (struct bitmap) { words_alloc(grains), grains };
    s->gathered = (struct bitmap) { words_alloc(grains), grains };
    s->batch = (struct bitmap) { words_alloc(grains), grains };
    s->gathered_low = s->batch_low = grains;
    if (s->used.words == NULL || s->gathered.words == NULL || s->batch.words == NULL) {
        space_fini(s);
        return STATUS(NO_MEMORY);
    }
    return STATUS(OK);
}

void space_fini(struct space *s)
{
    free(s->used.words);
    free(s->gathered.words);
    free(s->batch.words);
    *s = (struct space) { 0 };
}

bool space_claim(struct space *s, uint32_t place)
{
    if (place >= s->grains || bitmap_get(&s->used, place))
        return false;
    bitmap_set(&s->used, place);
    assert(s->free > 0);
    s->free--;
    return true;
}

uint32_t space_alloc(struct space *s, uint32_t hint)
{
    uint64_t place = hint;

    if (s->free == 0)
        return SPACE_NONE;
    if (place >= s->grains || bitmap_get(&s->used, place)) {
        place = bitmap_next_clear(&s->used, s->cursor);
        if (place == BITMAP_NONE)
            place = bitmap_next_clear(&s->used, 0);
        assert(place != BITMAP_NONE);
        s->cursor = place + RUN_GRAINS < s->grains ? place + RUN_GRAINS : 0;
    }
    const bool claimed = space_claim(s, (uint32_t)place);
    assert(claimed);
    return (uint32_t)place;
}

void space_free_later(struct space *s, uint32_t place)
{
    assert(place < s->grains);
    assert(bitmap_get(&s->used, place) && !bitmap_get(&s->gathered, place));

    bitmap_set(&s->gathered, place);
    s->gathering++;
    s->gathered_low = min_u64(s->gathered_low, place);
    s->gathered_high = max_u64(s->gathered_high, place);
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
    s->gathered_low = s->grains;
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
        released++;
    }
    assert(released == s->waiting);
    s->free += released;
    s->waiting = 0;
    s->batch_low = s->grains;
    s->batch_high = 0;
}

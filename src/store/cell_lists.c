/* SPDX-License-Identifier: Apache-2.0 */
#include "store/cell_lists.h"

#include <assert.h>
#include <stdlib.h>

void cell_lists_init(struct cell_lists *l)
{
    *l = (struct cell_lists) { 0 };
}

void cell_lists_fini(struct cell_lists *l)
{
    assert(l->used == l->free_count);
    for (uint32_t i = 0; i < l->chunk_count; i++)
        free(l->chunks[i]);
    free(l->chunks);
    *l = (struct cell_lists) { 0 };
}

static struct status MUST_CHECK lists_grow(struct cell_lists *l)
{
    if (l->chunk_count == l->chunk_room) {
        const uint32_t room = l->chunk_room == 0 ? 16 : l->chunk_room * 2;
        struct cell_list **const chunks = realloc(l->chunks, room * sizeof(struct cell_list *));
        if (chunks == NULL)
            return STATUS(NO_MEMORY);
        l->chunks = chunks;
        l->chunk_room = room;
    }
    struct cell_list *const chunk = malloc(CELL_LISTS_CHUNK * sizeof *chunk);
    if (chunk == NULL)
        return STATUS(NO_MEMORY);
    l->chunks[l->chunk_count++] = chunk;
    return STATUS(OK);
}

struct status cell_lists_reserve(struct cell_lists *l, uint32_t count)
{
    while (l->free_count + (l->chunk_count * CELL_LISTS_CHUNK - l->used) < count)
        TRY(lists_grow(l));
    return STATUS(OK);
}

uint32_t cell_lists_get(struct cell_lists *l)
{
    if (l->free_count > 0) {
        const uint32_t number = l->free_first;
        l->free_first = cell_lists_at(l, number)->cell[0];
        l->free_count--;
        return number;
    }
    assert(l->used < l->chunk_count * CELL_LISTS_CHUNK);
    return l->used++;
}

void cell_lists_put(struct cell_lists *l, uint32_t number)
{
    assert(number < l->used && l->free_count < l->used);
    cell_lists_at(l, number)->cell[0] = l->free_first;
    l->free_first = number;
    l->free_count++;
}

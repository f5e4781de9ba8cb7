/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES ((size_t)16 << 10)

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t bytes;
    _Alignas(16) uint8_t memory[];
};

void *arena_alloc(struct arena *a, size_t bytes)
{
    const size_t want = round_up_u64(bytes > 0 ? bytes : 1, 16);
    struct arena_chunk *c = a->chunks;

    if (c == NULL || c->bytes - c->used < want) {
        const size_t room = want > CHUNK_BYTES ? want : CHUNK_BYTES;
        c = calloc(1, sizeof *c + room);
        if (c == NULL)
            abort();
        c->bytes = room;
        c->next = a->chunks;
        a->chunks = c;
    }
    void *memory = c->memory + c->used;
    c->used += want;
    return memory;
}

char *arena_text(struct arena *a, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    return memcpy(arena_alloc(a, bytes), text, bytes);
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return arena_text(a, text);
}

char *arena_uuid(struct arena *a, struct uuid uuid)
{
    return arena_text(a, uuid_format(uuid).s);
}

ProtobufCBinaryData arena_uuid_bytes(struct arena *a, struct uuid uuid)
{
    uint8_t *bytes = arena_alloc(a, sizeof uuid.b);
    memcpy(bytes, uuid.b, sizeof uuid.b);
    return (ProtobufCBinaryData) { sizeof uuid.b, bytes };
}

void arena_free(struct arena *a)
{
    while (a->chunks != NULL) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
}

/* Doubles at powers of two; what it leaves behind goes with the arena. */
void *arena_grow(struct arena *a, void *array, size_t count, size_t item_bytes)
{
    const bool full = count == 0 || (count >= 8 && (count & (count - 1)) == 0);
    if (!full)
        return array;
    void *more = arena_alloc(a, (count < 8 ? 8 : 2 * count) * item_bytes);
    if (count > 0)
        memcpy(more, array, count * item_bytes);
    return more;
}

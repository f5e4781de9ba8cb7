/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered buffers: the kernel pins memory once, instead of for each read or write of a file.
 *
 *     lent memory     | piece | piece | piece | ...      first + i is piece i's buffer
 *
 * A piece is registered when it is first used, so that memory that nobody uses is not taken.  Where
 * the kernel does not want to pin more (RLIMIT_MEMLOCK), operations name plain memory, as do those
 * on memory of another reactor.
 */
#include <stdlib.h>

#include "io/uring_internal.h"

struct status uring_buf_init(struct uring *u)
{
    u->buffers_registered =
        (struct bitmap) { calloc(BITMAP_WORDS(URING_BUFFERS_MAX), sizeof(uint64_t)),
                          URING_BUFFERS_MAX };
    return u->buffers_registered.words != NULL ? STATUS(OK) : STATUS(NO_MEMORY);
}

void uring_buf_fini(struct uring *u)
{
    free(u->buffers_registered.words);
}

bool uring_buf_probe(struct uring *u)
{
    return io_uring_register_buffers_sparse(&u->ring, URING_BUFFERS_MAX) == 0;
}

void uring_buf_lend(struct reactor *r, struct span memory, size_t piece_bytes)
{
    struct uring *const u = uring_of(r);
    const size_t pieces = memory.bytes / piece_bytes;

    if (!uring_uses(u, URING_FEATURE_BUFFERS) || u->lent_count == URING_LENT_MAX ||
        pieces > URING_BUFFERS_MAX - u->buffers_used)
        return;
    struct uring_lent *const l = &u->lent[u->lent_count++];
    l->bytes = memory.bytes;
    l->piece_bytes = piece_bytes;
    l->first = u->buffers_used;
    atomic_store(&l->at, memory.at);
    u->buffers_used += (unsigned)pieces;
}

/*
 * The buffers stay registered until the ring ends, since only the loop's thread could give them up.
 * Nothing names them any more, and neither their numbers nor their place in lent are used again.
 */
void uring_buf_take_back(struct reactor *r, struct span memory)
{
    struct uring *const u = uring_of(r);

    for (unsigned i = 0; i < URING_LENT_MAX; i++)
        if (atomic_load(&u->lent[i].at) == memory.at)
            atomic_store(&u->lent[i].at, NULL);
}

/* Pins a piece.  False: it cannot be, and none will be any more. */
static bool buffer_register(struct uring *u, const struct uring_lent *l, uint8_t *at, size_t piece)
{
    const struct iovec iov = { at + piece * l->piece_bytes, l->piece_bytes };
    const unsigned number = l->first + (unsigned)piece;
    const __u64 tag = 0;

    if (io_uring_register_buffers_update_tag(&u->ring, number, &iov, &tag, 1) != 1) {
        uring_loses(u, URING_FEATURE_BUFFERS);
        return false;
    }
    bitmap_set(&u->buffers_registered, number);
    return true;
}

bool uring_buf_find(struct uring *u, const uint8_t *at, size_t bytes, uint16_t *out_number)
{
    if (!uring_uses(u, URING_FEATURE_BUFFERS))
        return false;
    for (unsigned i = 0; i < u->lent_count; i++) {
        const struct uring_lent *const l = &u->lent[i];
        uint8_t *const from = atomic_load_explicit(&l->at, memory_order_relaxed);
        if (from == NULL || at < from || at >= from + l->bytes)
            continue;
        const size_t offset = (size_t)(at - from);
        const size_t piece = offset / l->piece_bytes;
        if (offset % l->piece_bytes + bytes > l->piece_bytes)
            return false;
        *out_number = (uint16_t)(l->first + piece);
        return bitmap_get(&u->buffers_registered, *out_number) ||
               buffer_register(u, l, from, piece);
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/scratch.h"

struct status scratch_pool_init(struct scratch_pool *p, struct reactor *r, struct buf_pool *shared)
{
    p->shared = shared;
    return buf_pool_create_plain(r, BUF_BYTES_MAX, &p->own);
}

void scratch_pool_fini(struct scratch_pool *p)
{
    buf_pool_discard(p->own);
}

struct span scratch_get(struct scratch_pool *p, size_t bytes)
{
    const struct span memory = buf_get(p->shared, bytes);

    return memory.at != NULL ? memory : buf_get(p->own, bytes);
}

struct buf_pool *scratch_pool_of(const struct scratch_pool *p, struct span memory)
{
    return buf_pool_has(p->own, memory) ? p->own : p->shared;
}

void scratch_put(struct scratch_pool *p, struct span memory)
{
    buf_put(scratch_pool_of(p, memory), memory);
}

void scratch_wait(struct scratch_pool *p, struct buf_waiter *waiter)
{
    buf_wait(p->own, waiter);
}

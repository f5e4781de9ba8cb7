/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/trail.h"

#include <assert.h>
#include <stdlib.h>

#include "volume/volume_internal.h"

static void on_leg(struct leg_io *io);

void trails_init(struct trails *t)
{
    *t = (struct trails) { 0 };
    list_init(&t->free);
}

void trails_fini(struct trails *t)
{
    assert(t->bytes == 0);
    free(t->items);
}

struct status trails_prepare(struct trails *t)
{
    if (t->items != NULL)
        return STATUS(OK);
    t->items = calloc(VOLUME_TRAILS_MAX, sizeof *t->items);
    if (t->items == NULL)
        return STATUS(NO_MEMORY);
    for (unsigned i = 0; i < VOLUME_TRAILS_MAX; i++) {
        list_node_init(&t->items[i].link);
        list_push_back(&t->free, &t->items[i].link);
    }
    return STATUS(OK);
}

/* ---- The end ---- */

static void trail_end(struct trail *t, struct status status)
{
    struct copyset *const cs = t->copyset;
    struct trails *const pool = &cs->slice->trails;
    struct piece *const p = t->piece;
    const struct leg *const leg = t->io.leg;
    const unsigned slot = t->io.slot;
    const uint32_t tick = t->tick;

    buf_put(cs->slice->scratch.shared, t->memory);
    pool->bytes -= t->memory.bytes;
    if (p == NULL)
        order_leave(cs->slice->order, &t->order);
    list_push_front(&pool->free, &t->link);
    if (tick != 0)
        round_write_end(cs, tick);
    if (p != NULL)
        fanout_on_trail(p, slot, status); /* The piece may be gone. */
    resync_on_answer(cs, leg, status, p == NULL);
}

/* ---- The way ---- */

/* False: there is no room in the open regions; trail_on_room() follows. */
static bool trail_send(struct trail *t)
{
    const struct ticks_range range = round_range(&t->io.store);

    list_push_back(&t->copyset->round.trails, &t->link); /* A round may end in here. */
    if (!round_write_begin(t->copyset, &range, &t->tick))
        return false;
    list_remove(&t->link);
    t->io.store.tick = t->tick;
    leg_submit(&t->io);
    return true;
}

void trail_on_room(struct trail *t)
{
    const struct copyset *const cs = t->copyset;

    if (cs->slice->fenced || (cs->joining >> t->io.slot & 1) == 0)
        trail_end(t, STATUS(CANCELED));
    else
        trail_send(t);
}

static void on_leg(struct leg_io *io)
{
    struct trail *const t = io->owner;

    if (!status_is(io->status, STATUS_LIST_FULL)) {
        trail_end(t, io->status);
        return;
    }
    list_push_back(&t->copyset->round.trails, &t->link);
    round_write_wait(t->copyset, &t->io.store, &t->tick);
}

/* ---- The beginning ---- */

static struct trail *trail_get(struct slice *s, size_t bytes)
{
    struct span memory = { 0 };

    if (list_empty(&s->trails.free) || bytes > VOLUME_TRAIL_BYTES_MAX - s->trails.bytes)
        return NULL;
    if (bytes > 0) {
        memory = buf_get(s->scratch.shared, bytes);
        if (memory.at == NULL)
            return NULL;
    }
    struct trail *const t = CONTAINER_OF(list_pop_front(&s->trails.free), struct trail, link);
    t->memory = memory;
    s->trails.bytes += bytes;
    return t;
}

/* The piece's command, with data and CRCs that stay. */
static void trail_fill(struct trail *t, const struct leg_io *from)
{
    struct store_io *const io = &t->io.store;

    t->io = *from;
    io->data = t->memory;
    if (t->memory.bytes > 0) {
        memcpy(t->memory.at, from->store.data.at, t->memory.bytes);
        memcpy(t->crcs, from->store.crcs, t->memory.bytes / STORE_BLOCK_BYTES * sizeof t->crcs[0]);
        io->crcs = t->crcs;
    }
}

bool trail_start(struct piece *p, unsigned slot)
{
    struct copyset *const cs = p->copyset;
    struct trail *const t = trail_get(cs->slice, p->legs[slot].store.data.bytes);

    if (t == NULL)
        return false;
    trail_fill(t, &p->legs[slot]);
    t->copyset = cs;
    t->piece = p;
    t->tick = 0;
    t->io.owner = t;
    t->io.slot = slot;
    t->io.remote = &t->remote_io;
    t->io.pool = cs->slice->scratch.shared;
    t->io.leg = cs->slice->map->legs[cs->leg[slot]];
    t->io.reactor = cs->slice->reactor;
    t->io.done = on_leg;
    t->io.store.copyset = (uint16_t)cs->number;
    p->trail = t;
    cs->flowing++;
    trail_send(t);
    return true;
}

void trail_take_place(struct trail *t, struct order_entry *order)
{
    order_hand_over(order, &t->order);
    t->piece->trail = NULL;
    t->piece = NULL;
    t->copyset->trailing++;
}

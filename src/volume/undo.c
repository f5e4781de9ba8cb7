/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/undo.h"

#include <assert.h>

#include "volume/volume_internal.h"

static void undo_next(struct slice *s);

void undos_init(struct undos *u)
{
    *u = (struct undos) { 0 };
    list_init(&u->pieces);
    range_copy_init(&u->copy);
}

void undos_fini(struct undos *u)
{
    assert(u->current == NULL);
    assert(!range_copy_is_busy(&u->copy));
}

bool undo_is_busy(const struct undos *u)
{
    return u->current != NULL;
}

static struct piece *piece_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct piece, link);
}

/* ---- The end ---- */

/* Those that have refused it, and are members still; of a slot that has turned (9.21) nobody knows.
 */
static unsigned full_at(const struct piece *p)
{
    return p->turn == p->copyset->turn ? p->full & p->copyset->members : 0;
}

static void end(struct piece *p, struct status status)
{
    list_remove(&p->link);
    fanout_undone(p, status);
}

/* What was taken back so far is nothing: nobody has refused it who counts. */
static void end_in_vain(struct piece *p)
{
    list_remove(&p->link);
    fanout_undone_in_vain(p);
}

/* It is tried again when the member is excluded, or there again. */
static void wait_for(struct piece *p, unsigned slot, struct leg *leg, struct status why)
{
    struct copyset *const cs = p->copyset;

    if ((cs->members >> slot & 1) == 0)
        return; /* That was before its answer came, and does not come again. */
    p->undo_waits = true;
    members_report(cs->slice->volume, leg, why);
}

/*
 * What no full member can read is left as it is: who reads it gets what another one has, or is told
 * (11.3).
 */
static void on_copied(struct range_copy *c, enum range_copy_end how)
{
    struct copyset *const cs = c->copyset;
    struct slice *const s = cs->slice;
    struct undos *const u = &s->undos;
    struct piece *const p = u->current;

    u->current = NULL;
    if (s->fenced)
        end(p, STATUS(FENCED));
    else if (full_at(p) == 0)
        end_in_vain(p);
    else if (how == RANGE_COPY_FAILED)
        wait_for(p, c->slot, c->leg, c->status);
    else if (fanout_may_be_done(p))
        p->undo_waits = true; /* Until it is known whether that is a member, too: once more then. */
    else if ((cs->members & ~u->covered) == 0)
        end(p, STATUS(NO_SPACE));
    /* Else it is done again, with whoever was admitted meanwhile. */
    if (s->fenced)
        members_slice_quiet(s);
    else
        undo_next(s);
}

void undos_stop(struct slice *s)
{
    struct undos *const u = &s->undos;
    struct list pieces;
    struct list_node *n;

    list_init(&pieces);
    list_splice_back(&pieces, &u->pieces);
    while ((n = list_pop_front(&pieces)) != NULL) {
        if (piece_of(n) == u->current)
            list_push_back(&u->pieces, n); /* It ends by itself. */
        else
            fanout_undone(piece_of(n), STATUS(FENCED));
    }
}

/* ---- The copy ---- */

/* Those that have refused it; if all of them have left, whoever is there. */
static unsigned sources_of(const struct range_copy *c)
{
    const unsigned full = full_at(c->copyset->slice->undos.current);

    return full != 0 ? full : c->copyset->members;
}

static unsigned targets_of(const struct range_copy *c)
{
    return c->copyset->members;
}

static const struct range_copy_ops undo_ops = {
    .sources = sources_of,
    .targets = targets_of,
    .done = on_copied,
    .in_place = true,
    .prefers_zeros = true,
};

static void undo_start(struct piece *p)
{
    struct copyset *const cs = p->copyset;
    struct undos *const u = &cs->slice->undos;
    const struct store_io *const io = &p->legs[0].store;
    const struct range_copy_range range = { io->shard, io->offset, io->bytes };

    u->current = p;
    u->covered = cs->members;
    range_copy_start(&u->copy, cs, &undo_ops, &range);
}

static bool may_start(struct piece *p)
{
    const struct copyset *const cs = p->copyset;
    const unsigned away = cs->members & ~fanout_reachable(cs, cs->members);

    if (p->undo_waits || away == 0)
        return !p->undo_waits;
    const unsigned slot = (unsigned)__builtin_ctz(away);
    struct leg *const leg = cs->slice->map->legs[cs->leg[slot]];
    if (leg_is_parted(leg))
        end_in_vain(p); /* A resync waits for it (11.4): it is held instead, and set aside. */
    else
        wait_for(p, slot, leg, STATUS(UNAVAILABLE));
    return false;
}

/* The next one that need not wait for a member; or NULL. */
static struct piece *choose(const struct undos *u)
{
    LIST_FOR_EACH (n, &u->pieces) {
        if (may_start(piece_of(n)))
            return piece_of(n);
    }
    return NULL;
}

/* Where a member is alone, each ends before the next one is begun. */
static void undo_next(struct slice *s)
{
    struct undos *const u = &s->undos;
    struct piece *p;

    if (u->running)
        return;
    u->running = true;
    while (u->current == NULL && !s->fenced && (p = choose(u)) != NULL)
        undo_start(p);
    u->running = false;
}

/* ---- The beginning ---- */

void undo_begin(struct piece *p, unsigned full)
{
    struct slice *const s = p->copyset->slice;

    p->undoing = true;
    p->undo_waits = false;
    p->full = (uint8_t)full;
    list_node_init(&p->link);
    list_push_back(&s->undos.pieces, &p->link);
    round_write_set_aside(p->copyset, &p->legs[0].store, &p->tick);
    undo_next(s);
}

void undo_keep_open(struct copyset *cs)
{
    LIST_FOR_EACH (n, &cs->slice->undos.pieces) {
        const struct piece *const p = piece_of(n);
        const struct ticks_range range = round_range(&p->legs[0].store);
        if (p->copyset == cs)
            ticks_keep_open(&cs->round.ticks, &range);
    }
}

void undo_go_on(struct copyset *cs)
{
    LIST_FOR_EACH (n, &cs->slice->undos.pieces) {
        if (piece_of(n)->copyset == cs)
            piece_of(n)->undo_waits = false;
    }
    undo_next(cs->slice);
}

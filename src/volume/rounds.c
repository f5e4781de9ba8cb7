/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   wanted --> DRAINING --> FLUSHING --> asking --> keeping --> closing, batch after batch --> next
 *                 ^            |            |          |
 *                 |            +------------+----------+--(one has failed)--> given up
 *         its writes end
 */
#include "volume/rounds.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "io/pages.h"
#include "volume/volume_internal.h"

static void rounds_next(struct rounds *r);
static void round_end(struct rounds *r);
static void close_some(struct rounds *r);
static void ask_points(struct rounds *r);
static void keep_points(struct rounds *r);

struct status round_copyset_init(struct round_copyset *r)
{
    r->regions = pages_calloc(1, sizeof *r->regions);
    list_node_init(&r->link);
    list_init(&r->waiting);
    list_init(&r->copies);
    list_init(&r->trails);
    if (r->regions == NULL)
        return STATUS(NO_MEMORY);
    ticks_init(&r->ticks, r->regions->items, VOLUME_OPEN_REGIONS, r->regions->buckets,
               VOLUME_OPEN_REGIONS);
    return STATUS(OK);
}

void round_copyset_fini(struct round_copyset *r)
{
    pages_free(r->regions, 1, sizeof *r->regions);
}

static bool has_open_regions(const struct copyset *cs)
{
    return cs->round.regions != NULL && cs->round.ticks.room < VOLUME_OPEN_REGIONS;
}

/* ---- Commands of a round ---- */

static void on_flushed(struct leg_io *io)
{
    struct rounds *const r = io->owner;
    struct copyset *const cs = r->current;

    r->pending &= ~(1u << io->slot);
    if (status_ok(io->status))
        ticks_confirmed(&cs->round.ticks, io->slot, r->flush);
    else
        members_report(r->slice->volume, io->leg, io->status);
    if (r->pending == 0)
        ask_points(r);
}

/*
 * A slot that was lost meanwhile says nothing any more, nor does any when the round was given up:
 * it may have another disk by then, and a spare place none (9.21).
 */
static bool counts(const struct rounds *r, unsigned slot)
{
    return (r->current->round.ticks.equal >> slot & 1) != 0;
}

/* 3.7.1: who is full is no worse a member. */
static void note_failure(struct rounds *r, const struct leg_io *io, struct status why)
{
    const bool follows = (r->current->followed >> io->slot & 1) != 0;
    const bool lost = status_ok(io->status) || status_is(why, STATUS_POINT_LOST);

    r->failed = true;
    if (follows && lost)
        resync_outdated(r->current, why);
    else if (!status_is(why, STATUS_NO_SPACE))
        members_report(r->slice->volume, io->leg, why);
}

static void on_point(struct leg_io *io)
{
    struct rounds *const r = io->owner;
    struct status st = io->status;

    r->pending &= ~(1u << io->slot);
    if (status_ok(st) && counts(r, io->slot))
        st = points_take(r->current, io->slot, r->incarnation[io->slot], &r->own[io->slot]);
    if (!status_ok(st) && counts(r, io->slot))
        note_failure(r, io, st);
    if (r->pending == 0)
        keep_points(r);
}

/* Nobody is told to close anything before all keep what that rests on. */
static void on_kept(struct leg_io *io)
{
    struct rounds *const r = io->owner;
    struct copyset *const cs = r->current;
    const bool renews = r->renews; /* The next round may begin in here. */

    r->pending &= ~(1u << io->slot);
    if (!status_ok(io->status) && counts(r, io->slot))
        note_failure(r, io, io->status);
    if (r->pending > 0)
        return;
    if (r->failed || r->slice->fenced) {
        round_end(r);
        return;
    }
    if (renews)
        cs->lost = 0;
    close_some(r);
    if (renews)
        takeover_copyset_settled(cs);
}

/* The highest that an OPEN has named (4.3). */
static uint32_t open_tick(const struct copyset *cs, unsigned slots)
{
    uint32_t tick = 0;

    for (unsigned slot = 0; slots >> slot != 0; slot++)
        if ((slots >> slot & 1) != 0)
            tick = (uint32_t)max_u64(tick, leg_open_tick(cs->slice->map->legs[cs->leg[slot]]));
    return tick;
}

/* A store was opened anew meanwhile, in a later tick, and would close nothing. */
static bool is_reopened(const struct rounds *r)
{
    const struct ticks *const t = &r->current->round.ticks;

    return open_tick(r->current, t->equal) > t->closed;
}

/* So that another round closes it. */
static void note_again(struct rounds *r, const struct leg_io *io)
{
    const struct store_region *const items = r->items[io->slot];

    for (size_t k = 0; k < io->store.data.bytes / sizeof items[0]; k++) {
        const struct ticks_range range = { items[k].shard, items[k].region, 1 };
        if (!round_note(r->current, &range))
            return;
    }
}

static void on_closed(struct leg_io *io)
{
    struct rounds *const r = io->owner;

    /* What was not closed stays listed, which costs work and is never wrong. */
    r->pending &= ~(1u << io->slot);
    if (is_reopened(r) && !r->slice->fenced)
        note_again(r, io);
    if (r->pending == 0)
        close_some(r);
}

static void send(struct rounds *r, unsigned slot, enum store_opcode opcode,
                 void (*done)(struct leg_io *io))
{
    struct leg_io *const io = &r->io[slot];

    io->owner = r;
    io->slot = slot;
    io->leg = r->slice->map->legs[r->current->leg[slot]];
    io->remote = &r->remote_io[slot];
    io->reactor = r->slice->reactor;
    io->done = done;
    io->store.opcode = opcode;
    io->store.fua = opcode == STORE_OP_KEEP_POINTS && r->renews;
    leg_submit(io);
}

/*
 * What is flushed must be what has executed the writes: of a replica that is being resynced, the
 * incarnation with which it joined, which it may have lost since without anybody else noticing.
 */
static uint64_t incarnation_of(const struct copyset *cs, unsigned slot)
{
    if ((cs->followed >> slot & 1) != 0)
        return cs->resync.incarnation;
    return atomic_load(&cs->slice->map->legs[cs->leg[slot]]->incarnation_now);
}

/* 3.4 (3) */
static void flush_all(struct rounds *r)
{
    const unsigned wanted = r->current->round.ticks.wanted;

    r->flush = ticks_round_flush(&r->current->round.ticks);
    r->pending = wanted;
    r->renews = points_are_due(r->current); /* What was settled since is not flushed. */
    r->held = r->renews ? 0 : r->current->lost;
    for (unsigned slot = 0; wanted >> slot != 0; slot++) {
        if ((wanted >> slot & 1) == 0)
            continue;
        r->incarnation[slot] = incarnation_of(r->current, slot);
        send(r, slot, STORE_OP_FLUSH, on_flushed);
    }
}

/* 3.7.1  Of all that have confirmed: then nobody is missing. */
static void ask_points(struct rounds *r)
{
    const struct ticks *const t = &r->current->round.ticks;

    r->slots = t->round == TICKS_IDLE ? t->equal & ~r->held : 0;
    r->failed = false;
    if (r->slots == 0 || r->slice->fenced || is_reopened(r)) {
        round_end(r); /* The next one ends the tick in which a store was opened anew. */
        return;
    }
    r->pending = r->slots;
    for (unsigned slot = 0; r->slots >> slot != 0; slot++) {
        if ((r->slots >> slot & 1) == 0)
            continue;
        r->io[slot].store.offset = 0;
        r->io[slot].store.data = (struct span) { (uint8_t *)&r->own[slot], sizeof r->own[slot] };
        send(r, slot, STORE_OP_LIST_POINTS, on_point);
    }
}

static void keep_points(struct rounds *r)
{
    const uint32_t count = points_gather(r->current, r->points);

    r->slots &= r->current->round.ticks.equal; /* A leg that was lost may be closed by now. */
    if (r->failed || r->slice->fenced || r->slots == 0) {
        round_end(r);
        return;
    }
    assert(count > 0);
    r->pending = r->slots;
    for (unsigned slot = 0; r->slots >> slot != 0; slot++) {
        if ((r->slots >> slot & 1) == 0)
            continue;
        r->io[slot].store.data =
            (struct span) { (uint8_t *)r->points, count * sizeof r->points[0] };
        send(r, slot, STORE_OP_KEEP_POINTS, on_kept);
    }
}

/* ---- Its course ---- */

/* Writes and copies that waited for room, which there may be now. */
void round_waiting_go_on(struct copyset *cs)
{
    struct list waiting;
    struct list_node *n;

    list_init(&waiting);
    list_splice_back(&waiting, &cs->round.waiting);
    while ((n = list_pop_front(&waiting)) != NULL)
        fanout_start(CONTAINER_OF(n, struct piece, link));
    list_splice_back(&waiting, &cs->round.copies);
    while ((n = list_pop_front(&waiting)) != NULL)
        range_copy_on_room(CONTAINER_OF(n, struct range_copy, link));
    list_splice_back(&waiting, &cs->round.trails);
    while ((n = list_pop_front(&waiting)) != NULL)
        trail_on_room(CONTAINER_OF(n, struct trail, link));
    settling_run(cs);
    resync_run(cs);
}

void rounds_stop(struct rounds *r)
{
    io_timer_disarm(&r->timer);
    while (list_pop_front(&r->wanted) != NULL) {
    }
    if (r->current != NULL && r->pending == 0)
        round_end(r); /* It waits for writes, which have been ended. */
}

/* One that has closed nothing, as a member fails or is away, would be in vain again at once. */
static void round_end(struct rounds *r)
{
    struct copyset *const cs = r->current;
    const bool all = cs->round.ticks.round == TICKS_IDLE && cs->round.ticks.equal != 0 &&
                     (cs->members & ~cs->round.ticks.equal) == 0;

    ticks_round_abort(&cs->round.ticks);
    r->current = NULL;
    cs->round.vain = !r->closed && !all && io_timer_armed(&r->timer);
    round_waiting_go_on(cs);
    if (r->slice->fenced)
        members_slice_quiet(r->slice);
    else
        rounds_next(r);
}

/* What the store at a slot is told of the slots that are equal (9.19). */
static uint8_t closed_at(const struct copyset *cs, unsigned slot, unsigned equal)
{
    const unsigned spare = copyset_spare(cs);

    if (MUTATION(CLOSE_FORGETS_AWAY))
        return (1u << VOLUME_REPLICAS_MAX) - 1;
    equal &= ~(1u << spare);
    return (uint8_t)(slot == spare ? equal | 1u << cs->resync.place : equal);
}

/* 3.4 (5): fills in the items of the next batch; returns the slots that get some. */
static unsigned gather(struct rounds *r, uint32_t counts[VOLUME_SLOTS_MAX])
{
    struct ticks_close close;
    unsigned slots = 0;
    uint32_t most = 0;

    while (most < STORE_REGIONS_MAX && ticks_next_close(&r->current->round.ticks, &close)) {
        if (!resync_has_copied(r->current, close.shard, close.region))
            close.equal &= ~(unsigned)r->current->followed;
        const unsigned told = close.equal;
        close.equal &= ~r->held;
        for (unsigned slot = 0; told >> slot != 0; slot++) {
            if ((told >> slot & 1) == 0)
                continue;
            r->items[slot][counts[slot]++] = (struct store_region) {
                .shard = close.shard,
                .region = close.region,
                .count = 1,
                .tick = close.tick,
                .slots =
                    closed_at(r->current, slot, (r->held >> slot & 1) != 0 ? told : close.equal)
            };
            slots |= 1u << slot;
            most = (uint32_t)max_u64(most, counts[slot]);
        }
    }
    return slots;
}

static void close_some(struct rounds *r)
{
    uint32_t counts[VOLUME_SLOTS_MAX] = { 0 };
    const unsigned slots = is_reopened(r) ? 0 : gather(r, counts);

    if (slots == 0) {
        round_end(r);
        return;
    }
    r->closed = true;
    r->pending = slots;
    for (unsigned slot = 0; slots >> slot != 0; slot++) {
        if ((slots >> slot & 1) == 0)
            continue;
        r->io[slot].store.data =
            (struct span) { (uint8_t *)r->items[slot], counts[slot] * sizeof r->items[0][0] };
        send(r, slot, STORE_OP_CLOSE_REGIONS, on_closed);
    }
}

/*
 * 3.4 (2): the writes of the tick that was ended have ended, too.  Those that a fence has ended may
 * have been executed by some members and not by others.
 */
static void round_step(struct rounds *r)
{
    struct copyset *const cs = r->current;

    if (cs != NULL && r->pending == 0 && !r->slice->fenced &&
        cs->round.ticks.round == TICKS_DRAINING && ticks_round_may_flush(&cs->round.ticks))
        flush_all(r);
}

/* What waits to be sent again has perhaps been executed by some, and keeps its regions open. */
static void keep_open(struct copyset *cs)
{
    LIST_FOR_EACH (n, &cs->round.waiting) {
        const struct piece *const p = CONTAINER_OF(n, const struct piece, link);
        const struct ticks_range range = round_range(&p->legs[0].store);
        if ((p->done | p->failed) != 0 || p->again)
            ticks_keep_open(&cs->round.ticks, &range);
    }
    LIST_FOR_EACH (n, &cs->round.trails) {
        const struct trail *const t = CONTAINER_OF(n, const struct trail, link);
        const struct ticks_range range = round_range(&t->io.store);
        ticks_keep_open(&cs->round.ticks, &range);
    }
    LIST_FOR_EACH (n, &cs->held) {
        const struct piece *const p = CONTAINER_OF(n, const struct piece, link);
        const struct ticks_range range = round_range(&p->legs[0].store);
        if (p->changes)
            ticks_keep_open(&cs->round.ticks, &range);
    }
    undo_keep_open(cs);
}

/*
 * All members; or those that are there, where a resync waits for room, as another one that cannot
 * be excluded is not there (11.4): its slot stays listed.  0: none for now.
 */
static unsigned members_to_close(const struct copyset *cs)
{
    const struct round_copyset *const r = &cs->round;
    const unsigned there = fanout_reachable(cs, cs->members);
    const unsigned parted = cs->members & ~there;
    const bool waits = cs->resync.waits || !list_empty(&r->copies) || !list_empty(&r->trails) ||
                       !list_empty(&r->waiting);

    if (there == cs->members)
        return there;
    for (unsigned slot = 0; parted >> slot != 0; slot++)
        if ((parted >> slot & 1) != 0 && !leg_is_parted(cs->slice->map->legs[cs->leg[slot]]))
            return 0;
    const bool moves = (cs->followed >> copyset_spare(cs) & 1) != 0;
    return cs->followed != 0 && !moves && waits && !points_are_due(cs) ? there : 0;
}

static void note_passed_over(const struct copyset *cs, unsigned slots)
{
    for (unsigned slot = 0; slots >> slot != 0; slot++)
        if ((slots >> slot & 1) != 0)
            members_pass_over(cs->slice->map->legs[cs->leg[slot]]);
}

static void rounds_next(struct rounds *r)
{
    struct list_node *n;

    while (r->current == NULL && (n = list_pop_front(&r->wanted)) != NULL) {
        struct copyset *const cs = CONTAINER_OF(n, struct copyset, round.link);
        const unsigned members = members_to_close(cs);
        if (members == 0)
            continue; /* Until they are there, or are excluded. */
        ticks_raise(&cs->round.ticks, open_tick(cs, members | cs->followed));
        if (!ticks_round_begin(&cs->round.ticks, members | cs->followed))
            continue;
        note_passed_over(cs, cs->members & ~members);
        keep_open(cs);
        r->current = cs;
        r->closed = false;
    }
    round_step(r);
}

void round_want(struct copyset *cs)
{
    struct rounds *const r = &cs->slice->rounds;

    if (cs == r->current || list_node_linked(&cs->round.link) || cs->slice->fenced ||
        cs->round.vain)
        return;
    list_push_back(&r->wanted, &cs->round.link);
    rounds_next(r);
}

static void rounds_on_timer(struct io_timer *timer)
{
    struct rounds *const r = CONTAINER_OF(timer, struct rounds, timer);
    const struct volume_map *const map = r->slice->map;
    bool any = false;

    if (r->slice->fenced)
        return;
    for (uint32_t i = 0; i < map->copyset_count; i++) {
        if (map->copysets[i]->slice != r->slice ||
            !(has_open_regions(map->copysets[i]) || points_are_due(map->copysets[i]) ||
              points_are_old(map->copysets[i])))
            continue;
        any = true;
        map->copysets[i]->round.vain = false;
        round_want(map->copysets[i]);
    }
    if (any)
        io_timer_arm(timer, r->slice->reactor, reactor_now_ns(r->slice->reactor) + VOLUME_ROUND_NS);
}

static void arm(struct rounds *r)
{
    struct reactor *const reactor = r->slice->reactor;

    if (!io_timer_armed(&r->timer))
        io_timer_arm(&r->timer, reactor, reactor_now_ns(reactor) + VOLUME_ROUND_NS);
}

void round_renew(struct copyset *cs)
{
    struct rounds *const r = &cs->slice->rounds;

    arm(r);
    round_want(cs);
}

void rounds_init(struct rounds *r, struct slice *slice)
{
    *r = (struct rounds) { .slice = slice };
    list_init(&r->wanted);
    io_timer_init(&r->timer, rounds_on_timer);
}

void rounds_fini(struct rounds *r)
{
    assert(r->current == NULL);
    io_timer_disarm(&r->timer);
}

/* ---- Writes ---- */

struct ticks_range round_regions(uint32_t shard, uint64_t offset, uint64_t bytes)
{
    const uint64_t first = offset / STORE_REGION_BYTES;
    const uint64_t last = (offset + bytes - 1) / STORE_REGION_BYTES;

    return (struct ticks_range) { .shard = shard,
                                  .first = (uint32_t)first,
                                  .count = (uint32_t)(last - first + 1) };
}

struct ticks_range round_range(const struct store_io *io)
{
    return round_regions(io->shard, io->offset, io->bytes);
}

void round_wait(struct piece *p)
{
    struct copyset *const cs = p->copyset;

    list_node_init(&p->link);
    list_push_back(&cs->round.waiting, &p->link);
    round_write_wait(cs, &p->legs[0].store, &p->tick);
}

bool round_write_try(struct copyset *cs, const struct ticks_range *range, uint32_t *out_tick)
{
    if (!ticks_write_begin(&cs->round.ticks, range, out_tick))
        return false;
    arm(&cs->slice->rounds);
    return true;
}

bool round_note(struct copyset *cs, const struct ticks_range *range)
{
    if (!ticks_note(&cs->round.ticks, range))
        return false;
    arm(&cs->slice->rounds);
    return true;
}

bool round_write_begin(struct copyset *cs, const struct ticks_range *range, uint32_t *out_tick)
{
    if (round_write_try(cs, range, out_tick))
        return true;
    round_want(cs);
    return false;
}

static void write_ended(struct copyset *cs)
{
    if (cs == cs->slice->rounds.current)
        round_step(&cs->slice->rounds);
}

void round_write_end(struct copyset *cs, uint32_t tick)
{
    ticks_write_end(&cs->round.ticks, tick);
    write_ended(cs);
}

void round_write_abandon(struct copyset *cs, const struct ticks_range *range, uint32_t tick)
{
    ticks_write_abandon(&cs->round.ticks, range, tick);
    write_ended(cs);
}

void round_write_set_aside(struct copyset *cs, const struct store_io *io, uint32_t *tick)
{
    const struct ticks_range range = round_range(io);
    const uint32_t was = *tick;

    *tick = 0; /* Or the round would wait for it. */
    ticks_keep_open(&cs->round.ticks, &range);
    if (was != 0)
        round_write_end(cs, was);
}

void round_write_wait(struct copyset *cs, const struct store_io *io, uint32_t *tick)
{
    round_write_set_aside(cs, io, tick);
    round_want(cs);
}

static void set_tick(struct piece *p)
{
    for (unsigned i = 0; i < p->copyset->slice->slots; i++)
        p->legs[i].store.tick = p->tick;
}

bool round_enter(struct piece *p)
{
    const struct ticks_range range = round_range(&p->legs[0].store);

    p->tick = 0;
    list_node_init(&p->link);
    list_push_back(&p->copyset->round.waiting, &p->link); /* A round may end in here. */
    if (!round_write_begin(p->copyset, &range, &p->tick))
        return false;
    list_remove(&p->link);
    set_tick(p);
    return true;
}

bool round_enter_again(struct piece *p)
{
    const struct ticks_range range = round_range(&p->legs[0].store);

    if (!round_write_try(p->copyset, &range, &p->tick))
        return false;
    set_tick(p);
    return true;
}

void round_keep_open(struct piece *p)
{
    const struct ticks_range range = round_range(&p->legs[0].store);

    if (p->changes)
        ticks_keep_open(&p->copyset->round.ticks, &range);
}

void round_leave(struct piece *p)
{
    round_write_end(p->copyset, p->tick);
    p->tick = 0;
}

void round_joined(struct copyset *cs)
{
    struct rounds *const r = &cs->slice->rounds;

    ticks_joined(&cs->round.ticks);
    if (cs == r->current && r->pending == 0)
        round_end(r); /* Else its answers end it. */
}

void round_lost(struct copyset *cs, unsigned slot)
{
    ticks_lost(&cs->round.ticks, slot);
    write_ended(cs);
}

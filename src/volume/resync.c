/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --> SETTLING --> DRAINING --> KEPT --> CHECKING --> TELLING --> LISTING
 *    ^                                                                      |
 *    |                              ANSWERS <-- COPYING <--> PACING <-------+
 *    |                                 |
 *    |                                 v
 *    |  ADMITTING <-- KEEPING <-- POINT <-- FLUSHING <-- MERGING     (home: admitted)
 *    |
 *    +-- LEAVING <-- from anywhere, 9.7: when nothing is on the way to it any more
 */
#include "volume/resync.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "volume/volume_internal.h"

enum resync_state {
    RESYNC_IDLE,
    RESYNC_SETTLING,  /* The members have to be equal first: resync_run(). */
    RESYNC_DRAINING,  /* 9.2: resync_on_drained(). */
    RESYNC_KEPT,      /* 3.7.6: what it keeps of the members: on_io(). */
    RESYNC_CHECKING,  /* Whether they have that: on_io(). */
    RESYNC_TELLING,   /* Whether it has what they keep of it: on_io(). */
    RESYNC_LISTING,   /* 9.3: on_io(). */
    RESYNC_PACING,    /* The rate limit: on_turn(). */
    RESYNC_COPYING,   /* 9.4, 9.5: on_copied(). */
    RESYNC_ANSWERS,   /* 9.8: resync_on_answer(). */
    RESYNC_GATHERING, /* The members' lists once more: on_io(). */
    RESYNC_MERGING,   /* on_io(), or for room: resync_run(). */
    RESYNC_FLUSHING,  /* on_io() */
    RESYNC_POINT,     /* 3.7.7: how far it is durable: on_io(). */
    RESYNC_KEEPING,   /* Everybody keeps that: on_io(). */
    RESYNC_ADMITTING, /* 9.9, 9.10: resync_admitted() or resync_stop(). */
    RESYNC_LEAVING,   /* 9.7: whatever is under way. */
};

#define ON_THE_WAY (SM_TO(RESYNC_LEAVING))

static const struct sm_state resync_states[] = {
    [RESYNC_IDLE] = { "idle", SM_TO(RESYNC_SETTLING) },
    [RESYNC_SETTLING] = { "settling", SM_TO(RESYNC_DRAINING) | ON_THE_WAY },
    [RESYNC_DRAINING] = { "draining", SM_TO(RESYNC_KEPT) | SM_TO(RESYNC_LISTING) | ON_THE_WAY },
    [RESYNC_KEPT] = { "kept", SM_TO(RESYNC_CHECKING) | ON_THE_WAY },
    [RESYNC_CHECKING] = { "checking", SM_TO(RESYNC_TELLING) | SM_TO(RESYNC_LISTING) | ON_THE_WAY },
    [RESYNC_TELLING] = { "telling", SM_TO(RESYNC_LISTING) | ON_THE_WAY },
    [RESYNC_LISTING] = { "listing", SM_TO(RESYNC_COPYING) | ON_THE_WAY },
    [RESYNC_PACING] = { "pacing", SM_TO(RESYNC_COPYING) | ON_THE_WAY },
    [RESYNC_COPYING] = { "copying", SM_TO(RESYNC_PACING) | SM_TO(RESYNC_ANSWERS) | ON_THE_WAY },
    [RESYNC_ANSWERS] = { "answers", SM_TO(RESYNC_GATHERING) | ON_THE_WAY },
    [RESYNC_GATHERING] = { "gathering", SM_TO(RESYNC_MERGING) | ON_THE_WAY },
    [RESYNC_MERGING] = { "merging", SM_TO(RESYNC_FLUSHING) | ON_THE_WAY },
    [RESYNC_FLUSHING] = { "flushing", SM_TO(RESYNC_POINT) | SM_TO(RESYNC_ADMITTING) | ON_THE_WAY },
    [RESYNC_POINT] = { "point", SM_TO(RESYNC_KEEPING) | ON_THE_WAY },
    [RESYNC_KEEPING] = { "keeping", SM_TO(RESYNC_ADMITTING) | ON_THE_WAY },
    [RESYNC_ADMITTING] = { "admitting", SM_TO(RESYNC_IDLE) | ON_THE_WAY },
    [RESYNC_LEAVING] = { "leaving", SM_TO(RESYNC_IDLE) },
};

static void next_region(struct copyset *cs);
static void list_next(struct copyset *cs);
static void begin_merging(struct copyset *cs);
static void merge_next(struct copyset *cs);

static void on_turn(struct pace_waiter *turn);

void resync_init(struct resync *r)
{
    *r = (struct resync) { 0 };
    sm_init(&r->sm, resync_states, RESYNC_IDLE);
    runs_init(&r->todo);
    runs_init(&r->others);
    range_copy_init(&r->copy);
    pace_waiter_init(&r->turn, on_turn);
}

void resync_fini(struct resync *r)
{
    assert(r->sm.now == RESYNC_IDLE);
    runs_fini(&r->todo);
    runs_fini(&r->others);
    free(r->items);
}

static struct copyset *copyset_of(struct resync *r)
{
    return CONTAINER_OF(r, struct copyset, resync);
}

static struct leg *leg_of(const struct copyset *cs, unsigned slot)
{
    return cs->slice->map->legs[cs->leg[slot]];
}

static unsigned own_bit(const struct copyset *cs)
{
    return 1u << cs->resync.slot;
}

static bool is_under_way(const struct resync *r)
{
    return r->sm.now != RESYNC_IDLE && r->sm.now != RESYNC_LEAVING;
}

bool resync_is_busy(const struct copyset *cs)
{
    return cs->resync.sm.now != RESYNC_IDLE || cs->flowing > 0;
}

bool resync_is_admitting(const struct copyset *cs)
{
    return cs->resync.sm.now == RESYNC_ADMITTING;
}

/* ---- The end ---- */

static void forget_work(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    atomic_fetch_sub(&cs->slice->volume->resync.regions_left, r->left);
    atomic_store(&cs->home.regions, 0);
    atomic_store(&cs->home.regions_done, 0);
    r->left = 0;
    runs_fini(&r->todo);
    runs_fini(&r->others);
    r->at = (struct runs_at) { 0 };
    free(r->items);
    r->items = NULL;
}

static void resync_end(struct copyset *cs, struct status status)
{
    cs->home.regions_ended = status_ok(status) ? atomic_load(&cs->home.regions_done) : 0;
    forget_work(cs);
    sm_move(&cs->resync.sm, RESYNC_IDLE);
    resync_home_on_end(cs, status);
    if (cs->slice->fenced)
        members_slice_quiet(cs->slice);
}

void resync_admitted(struct copyset *cs)
{
    if (cs->resync.sm.now != RESYNC_ADMITTING)
        return;
    cs->joining = 0; /* It is a member: nothing changes for commands and rounds. */
    cs->followed = 0;
    cs->joint = 0;
    resync_end(cs, STATUS(OK));
}

void resync_moved(struct copyset *cs)
{
    if (cs->resync.sm.now != RESYNC_ADMITTING || cs->resync.slot != copyset_spare(cs))
        return;
    cs->turn++;
    resync_admitted(cs); /* First: another round may begin, which does not ask the spare place. */
    round_joined(cs);
}

/* 9.7: nothing more is sent to it.  Commands that waited for it go on. */
static void resync_fail(struct copyset *cs, struct status why)
{
    struct resync *const r = &cs->resync;

    r->why = why;
    r->waits = false;
    sm_move(&r->sm, RESYNC_LEAVING);
    pace_leave(&r->turn);
    cs->joining = 0;
    cs->followed = 0;
    cs->joint = 0;
    round_lost(cs, r->slot);
    fanout_members_changed(cs); /* And resync_run(). */
}

/*
 * The replica has failed, and home hears of it: its other resyncs end, too.  Not if it is full,
 * which its disk is excluded for nowhere (11.1), or has lost its point, which is recorded of it
 * here (3.7.6); nor if it is a member by then.
 */
static void replica_failed(struct copyset *cs, struct status why)
{
    if (!status_is(why, STATUS_NO_SPACE) && !status_is(why, STATUS_POINT_LOST))
        members_report(cs->slice->volume, leg_of(cs, cs->resync.slot), why);
    if (!resync_is_admitting(cs)) /* 9.10 */
        resync_fail(cs, why);
}

void resync_outdated(struct copyset *cs, struct status why)
{
    if (is_under_way(&cs->resync) && !resync_is_admitting(cs))
        resync_fail(cs, why);
}

void resync_stop(struct copyset *cs)
{
    if (is_under_way(&cs->resync))
        resync_fail(cs, STATUS(UNAVAILABLE));
}

/* ---- Commands ---- */

static void on_io(struct leg_io *io);

static void prepare(struct copyset *cs, unsigned slot, enum store_opcode opcode)
{
    struct resync *const r = &cs->resync;
    struct leg_io *const io = &r->io;

    r->pending = true;
    io->owner = cs;
    io->slot = slot;
    io->leg = leg_of(cs, slot);
    io->remote = &r->remote_io;
    io->reactor = cs->slice->reactor;
    io->done = on_io;
    io->store.opcode = opcode;
    io->store.fua = opcode == STORE_OP_KEEP_POINTS && r->sm.now == RESYNC_KEEPING;
    io->store.create = true;
    io->store.tick = ticks_now(&cs->round.ticks);
}

static void send(struct copyset *cs, unsigned slot, enum store_opcode opcode, uint32_t items)
{
    struct resync *const r = &cs->resync;

    prepare(cs, slot, opcode);
    r->io.store.data =
        (struct span) { (uint8_t *)(items > 0 ? r->items : NULL), items * sizeof *r->items };
    leg_submit(&r->io);
}

/*
 * Those that are asked and told.  One that does not answer, and cannot be excluded, is not waited
 * for: it leaves by the change that admits the replica (11.4).  What it lists of this one, others
 * list, too (I6).
 */
static unsigned members_to_ask(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    r->shunned |= cs->members & ~fanout_reachable(cs, cs->members);
    return cs->members & ~r->shunned;
}

/* ---- 9.1, 9.2: changes flow to it ---- */

static void join(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const struct status st = trails_prepare(&cs->slice->trails);

    r->items = calloc(STORE_REGIONS_MAX, sizeof *r->items);
    if (!status_ok(st) || r->items == NULL) {
        resync_fail(cs, STATUS(NO_MEMORY));
        return;
    }
    sm_move(&r->sm, RESYNC_DRAINING);
    r->incarnation = atomic_load(&leg_of(cs, r->slot)->incarnation_now);
    cs->era++;
    cs->undrained = cs->changing;
    cs->joining = (uint8_t)own_bit(cs);
    /* Those that wait for a member are sent to it: what they wait for may be its admission. */
    fanout_members_changed(cs);
}

void resync_on_drained(struct copyset *cs)
{
    assert(cs->undrained > 0);
    if (--cs->undrained == 0)
        resync_run(cs);
}

/* ---- 9.3: what is to be done ---- */

/* All regions of all shards. */
static struct status MUST_CHECK add_everything(const struct copyset *cs, struct runs *runs,
                                               uint8_t slots)
{
    const struct volume_map *const map = cs->slice->map;

    for (uint32_t shard = 0; shard < map->shard_count; shard++) {
        const struct store_region all = { .shard = shard,
                                          .count = map_shard_regions(map),
                                          .slots = slots };
        if (map_copyset(map, shard) == cs)
            TRY(runs_add(runs, &all));
    }
    return STATUS(OK);
}

/* 9.8: what a member lists for others than the replica. */
static struct status MUST_CHECK take_other(struct copyset *cs, const struct store_region *item)
{
    struct store_region other = *item;

    other.slots &= (uint8_t) ~(1u << cs->resync.place);
    return other.slots != 0 ? runs_add(&cs->resync.others, &other) : STATUS(OK);
}

/* An item of a list; one of a shard that this engine does not know is none of its. */
static struct status MUST_CHECK take_item(struct copyset *cs, const struct store_region *item)
{
    struct resync *const r = &cs->resync;
    const struct volume_map *const map = cs->slice->map;
    const bool own = r->io.slot == r->slot;

    if (item->shard >= map->shard_count || map_copyset(map, item->shard) != cs)
        return STATUS(OK);
    if (item->region >= map_shard_regions(map) ||
        item->count > map_shard_regions(map) - item->region)
        return STATUS(CORRUPT);
    if (r->sm.now == RESYNC_GATHERING)
        return take_other(cs, item);
    const bool missed = !own && (item->slots & own_bit(cs)) != 0 && !MUTATION(MISSED_IGNORED);
    return (own && !MUTATION(EXCESS_KEPT)) || missed ? runs_add(&r->todo, item) : STATUS(OK);
}

static struct status MUST_CHECK take_items(struct copyset *cs)
{
    const uint64_t count = cs->resync.io.store.bytes / sizeof(struct store_region);

    for (uint64_t i = 0; i < count; i++)
        TRY(take_item(cs, &cs->resync.items[i]));
    return STATUS(OK);
}

/* Of those that are asked, who has a list that is not whole. */
static unsigned members_cut(struct copyset *cs)
{
    const unsigned members = members_to_ask(cs);
    unsigned cut = 0;

    for (unsigned slot = 0; members >> slot != 0; slot++)
        cut |= (members >> slot & 1) != 0 && leg_of(cs, slot)->list_cut ? 1u << slot : 0;
    return cut;
}

/* What is not listed because a list is not whole. */
static struct status MUST_CHECK add_unlisted(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (!r->whole && !leg_of(cs, r->slot)->list_cut && members_cut(cs) == 0)
        return STATUS(OK);
    return add_everything(cs, &r->todo, (uint8_t)own_bit(cs));
}

static void begin_copying(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    runs_seal(&r->todo);
    r->at = (struct runs_at) { 0 };
    r->left = runs_regions(&r->todo);
    atomic_fetch_add(&cs->slice->volume->resync.regions_left, r->left);
    atomic_store(&cs->home.regions, r->left);
    r->bad = 0;
    r->asked_again = false;
    sm_move(&r->sm, RESYNC_COPYING);
    cs->followed = (uint8_t)own_bit(cs);
    round_joined(cs);
    next_region(cs);
}

/* The next list, from its beginning. */
static void list_next(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (r->unread == 0) {
        if (r->sm.now == RESYNC_GATHERING)
            begin_merging(cs);
        else
            begin_copying(cs);
        return;
    }
    const unsigned slot = (unsigned)__builtin_ctz(r->unread);
    r->unread &= r->unread - 1;
    r->io.store.offset = 0;
    send(cs, slot, STORE_OP_LIST_REGIONS, STORE_REGIONS_MAX);
}

static void list_on_items(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const struct status st = take_items(cs);

    if (!status_ok(st))
        resync_fail(cs, st);
    else if (r->io.store.offset == STORE_CURSOR_END)
        list_next(cs);
    else
        send(cs, r->io.slot, STORE_OP_LIST_REGIONS, STORE_REGIONS_MAX);
}

/* ---- 3.7.6: what the lists rest on ---- */

static void send_points(struct copyset *cs, unsigned slot, enum store_opcode opcode)
{
    struct resync *const r = &cs->resync;

    prepare(cs, slot, opcode);
    r->io.store.data = (struct span) { (uint8_t *)r->points, r->point_count * sizeof r->points[0] };
    leg_submit(&r->io);
}

static void begin_listing(struct copyset *cs);

/* What replaces that which it keeps itself. */
static void begin_telling(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    r->point_count = points_gather(cs, r->points);
    if (r->point_count == 0) {
        begin_listing(cs);
        return;
    }
    sm_move(&r->sm, RESYNC_TELLING);
    send_points(cs, r->slot, STORE_OP_KEEP_POINTS);
}

static void check_next(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (r->unread == 0) {
        begin_telling(cs);
        return;
    }
    const unsigned slot = (unsigned)__builtin_ctz(r->unread);
    r->unread &= r->unread - 1;
    send_points(cs, slot, STORE_OP_CHECK_POINTS);
}

/* Behind what it keeps of this copyset it tells of others. */
static void on_kept(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    const uint32_t count = (uint32_t)(r->io.store.bytes / sizeof r->points[0]);

    r->point_count = 0;
    while (r->point_count < count && r->points[r->point_count].copyset == cs->number)
        r->point_count++;
    sm_move(&r->sm, RESYNC_CHECKING);
    r->unread = r->point_count > 0 ? members_to_ask(cs) : 0;
    check_next(cs);
}

/* What the replica keeps of its own copyset. */
static void ask_kept(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (r->whole) {
        points_forget(cs, r->slot); /* It may never reach that far again. */
        begin_listing(cs);
        return;
    }
    sm_move(&r->sm, RESYNC_KEPT);
    r->io.store.offset = (uint64_t)cs->number + 1;
    r->point_count = STORE_COPYSET_POINTS;
    send_points(cs, r->slot, STORE_OP_LIST_POINTS);
}

static void begin_listing(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const struct status st = add_unlisted(cs);

    if (!status_ok(st)) {
        resync_fail(cs, st);
        return;
    }
    sm_move(&r->sm, RESYNC_LISTING);
    r->unread = members_to_ask(cs) | own_bit(cs);
    if (r->unread == own_bit(cs))
        resync_fail(cs, STATUS(UNAVAILABLE)); /* Nobody says what it lacks. */
    else
        list_next(cs);
}

/* ---- 9.4, 9.5: region after region ---- */

bool resync_has_copied(const struct copyset *cs, uint32_t shard, uint32_t region)
{
    return !runs_are_ahead(&cs->resync.todo, &cs->resync.at, shard, region);
}

static unsigned sources_of(const struct range_copy *c)
{
    const struct resync *const r = &c->copyset->resync;
    const unsigned left = c->copyset->members & ~r->bad;
    const unsigned there = fanout_reachable(c->copyset, left & ~r->shunned);

    return there != 0 ? there : left; /* That fails. */
}

/* 9.6: a member that was not asked may have it (11.4), and one that failed before, too. */
static bool may_spoil(const struct range_copy *c)
{
    const struct copyset *const cs = c->copyset;
    const unsigned asked = cs->members & ~(unsigned)(cs->resync.shunned | cs->resync.bad);

    return fanout_reachable(cs, asked) == cs->members;
}

/* 9.18: the disk that is to be relieved. */
static unsigned spared(const struct range_copy *c)
{
    return 1u << c->copyset->resync.place;
}

static unsigned targets_of(const struct range_copy *c)
{
    return own_bit(c->copyset);
}

static void count_region(struct copyset *cs)
{
    struct resync_counters *const counters = &cs->slice->volume->resync;

    atomic_fetch_add(&counters->compared_bytes, cs->resync.copy.compared_bytes);
    atomic_fetch_add(&counters->copied_bytes, cs->resync.copy.copied_bytes);
    atomic_fetch_add(&counters->regions_done, 1);
    atomic_fetch_add(&cs->home.regions_done, 1);
    atomic_fetch_sub(&counters->regions_left, 1);
    cs->resync.left--;
}

/* A member cannot be the source any more; another one may. */
static void source_failed(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    members_report(cs->slice->volume, r->copy.leg, r->copy.status);
    r->bad |= 1u << r->copy.slot;
    if ((cs->members & ~r->bad) == 0)
        resync_fail(cs, STATUS(UNAVAILABLE));
    else
        next_region(cs);
}

/* 9.6: the replica cannot read it any more either. */
static void tell_spoiled(struct copyset *cs)
{
    const struct range_copy *const c = &cs->resync.copy;

    if (c->unreadable == 0)
        return;
    log_warning(cs->slice->volume->log,
                "volume '%s': shard %u: no replica in sync can read %u blocks from %llu on: disk "
                "'%s' has them no more either",
                cs->slice->volume->desc.name, c->order.shard, c->unreadable,
                (unsigned long long)c->unreadable_at, members_disk(leg_of(cs, cs->resync.slot)));
}

/* It is tried again, in time. */
static void tell_unread(struct copyset *cs)
{
    const struct range_copy *const c = &cs->resync.copy;

    log_warning(
        cs->slice->volume->log,
        "volume '%s': shard %u: %u blocks from %llu on cannot be read here, and a replica in "
        "sync does not answer that may have them: disk '%s' waits for that",
        cs->slice->volume->desc.name, c->order.shard, c->unreadable,
        (unsigned long long)c->unreadable_at, members_disk(leg_of(cs, cs->resync.slot)));
}

/* 9.6: who has failed before, and is there, may have what the others cannot read; once a region. */
static bool may_ask_again(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const unsigned back = fanout_reachable(cs, cs->members & r->bad & ~r->shunned);

    if (back == 0 || r->asked_again)
        return false;
    r->bad &= ~back;
    r->asked_again = true;
    return true;
}

static void on_copied(struct range_copy *c, enum range_copy_end end)
{
    struct copyset *const cs = c->copyset;
    struct resync *const r = &cs->resync;

    if (r->sm.now == RESYNC_LEAVING) {
        resync_run(cs);
    } else if (end == RANGE_COPY_EQUAL) {
        count_region(cs);
        tell_spoiled(cs);
        r->asked_again = false;
        runs_next(&r->todo, &r->at);
        next_region(cs);
    } else if (cs->slice->fenced) {
        resync_fail(cs, c->status);
    } else if (end == RANGE_COPY_UNREADABLE && may_ask_again(cs)) {
        next_region(cs);
    } else if (end == RANGE_COPY_UNREADABLE) {
        tell_unread(cs);
        resync_fail(cs, STATUS(MEDIA_READ));
    } else if (c->slot == r->slot) {
        replica_failed(cs, c->status);
    } else {
        source_failed(cs);
    }
}

static const struct range_copy_ops resync_ops = {
    .sources = sources_of,
    .targets = targets_of,
    .spared = spared,
    .done = on_copied,
    .passes = true,
    .spoils = may_spoil,
};

static void region_copy(struct copyset *cs, uint32_t shard, uint32_t region)
{
    const uint64_t offset = (uint64_t)region * STORE_REGION_BYTES;
    const uint64_t shard_bytes = cs->slice->map->layout.shard_bytes;
    const struct range_copy_range range = {
        .shard = shard,
        .offset = offset,
        .bytes = min_u64(STORE_REGION_BYTES, shard_bytes - offset),
    };

    range_copy_start(&cs->resync.copy, cs, &resync_ops, &range);
}

static void begin_admission(struct copyset *cs);

static void next_region(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    struct pace_queue *const pace = cs->slice->pace;
    uint32_t shard, region;

    if (!runs_get(&r->todo, &r->at, &shard, &region))
        begin_admission(cs);
    else if (pace == NULL || pace_admits(pace, &r->turn))
        region_copy(cs, shard, region);
    else
        sm_move(&r->sm, RESYNC_PACING);
}

static void on_turn(struct pace_waiter *turn)
{
    struct resync *const r = CONTAINER_OF(turn, struct resync, turn);
    uint32_t shard, region;

    sm_move(&r->sm, RESYNC_COPYING);
    if (runs_get(&r->todo, &r->at, &shard, &region))
        region_copy(copyset_of(r), shard, region);
}

/* ---- 9.8: admission ---- */

/* From here on acknowledgements wait for it.  Those of before may not have reached it yet. */
static void begin_admission(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    sm_move(&r->sm, RESYNC_ANSWERS);
    members_flush_needs(leg_of(cs, r->slot));
    cs->joint = MUTATION(ADMIT_NOT_JOINT) ? 0 : (uint8_t)own_bit(cs);
    resync_run(cs);
}

/* Slots with a replica that is out, or is about to be, and is not this one. */
static unsigned slots_away(struct copyset *cs)
{
    const unsigned all = (1u << cs->slice->replicas) - 1;

    return all & ~(members_to_ask(cs) | 1u << cs->resync.place);
}

/*
 * 9.8: what the members list, for whatever slot, it is to list as well (I6).  They are asked once
 * more: rounds have closed regions for some slots meanwhile, and zeros that reached it where it had
 * nothing it does not list itself.
 */
static void begin_gathering(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const unsigned away = members_cut(cs) != 0 ? slots_away(cs) : 0;
    const struct status st = away != 0 ? add_everything(cs, &r->others, (uint8_t)away) : STATUS(OK);

    if (!status_ok(st)) {
        resync_fail(cs, st);
        return;
    }
    sm_move(&r->sm, RESYNC_GATHERING);
    r->unread = members_to_ask(cs);
    if (r->unread == 0)
        resync_fail(cs, STATUS(UNAVAILABLE));
    else
        list_next(cs);
}

/*
 * What is listed for a member is to be closed by a round, but none that has not the merge behind
 * it, which is for that as a write.  False: there is no room for so many regions.
 */
static bool merge_enter(struct copyset *cs, const struct store_region *from, uint32_t count)
{
    struct resync *const r = &cs->resync;
    const struct ticks_range range = { .shard = from->shard,
                                       .first = from->region + r->merged.skip,
                                       .count = count };

    if ((from->slots & cs->members) == 0)
        return true;
    return r->tick != 0 ? round_note(cs, &range) : round_write_try(cs, &range, &r->tick);
}

/* As many as one command takes, and as there is room for; 0: wait for some, or that was all. */
static uint32_t merge_gather(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    uint32_t items = 0, regions = 0;

    while (r->merged.item < r->others.count && regions < STORE_REGIONS_MAX) {
        const struct store_region *const from = &r->others.items[r->merged.item];
        const uint32_t rest = from->count - r->merged.skip;
        uint32_t count = (uint32_t)min_u64(rest, STORE_REGIONS_MAX - regions);
        while (count > 0 && !merge_enter(cs, from, count))
            count /= 2;
        if (count == 0)
            break;
        r->items[items++] = (struct store_region) { .shard = from->shard,
                                                    .region = from->region + r->merged.skip,
                                                    .count = count,
                                                    .copyset = (uint16_t)cs->number,
                                                    .slots = from->slots };
        regions += count;
        r->merged.skip += count;
        if (count == rest)
            r->merged = (struct runs_at) { r->merged.item + 1, 0 };
    }
    return items;
}

/*
 * In the current tick: what was told to be closed before must not close it.  What was merged so far
 * may be closed by the round that is under way, in an older one: the next merge follows that.
 */
static void merge_next(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const bool any = r->merged.item > 0 || r->merged.skip > 0;
    const uint32_t items = any && cs == cs->slice->rounds.current ? 0 : merge_gather(cs);

    r->waits = items == 0 && r->merged.item < r->others.count;
    if (items > 0) {
        send(cs, r->slot, STORE_OP_MERGE_REGIONS, items);
    } else if (r->waits) {
        round_want(cs);
    } else {
        sm_move(&r->sm, RESYNC_FLUSHING);
        send(cs, r->slot, STORE_OP_FLUSH, 0);
    }
}

static void begin_merging(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    sm_move(&r->sm, RESYNC_MERGING);
    r->merged = (struct runs_at) { 0 };
    merge_next(cs);
}

static void merge_end(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const uint32_t tick = r->tick;

    r->tick = 0;
    if (tick != 0)
        round_write_end(cs, tick);
}

/* Home looks whether its disk still has the incarnation with which it joined (R6). */
static void wish(struct copyset *cs)
{
    sm_move(&cs->resync.sm, RESYNC_ADMITTING);
    resync_home_on_wish(cs);
}

/* 3.7.7: what was copied is in no list of the members. */
static void on_flushed(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (MUTATION(ADMIT_WITHOUT_POINT)) {
        wish(cs);
        return;
    }
    sm_move(&r->sm, RESYNC_POINT);
    r->io.store.offset = 0;
    r->point_count = 1;
    send_points(cs, r->slot, STORE_OP_LIST_POINTS);
}

static void keep_next(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (r->unread == 0) {
        wish(cs);
        return;
    }
    const unsigned slot = (unsigned)__builtin_ctz(r->unread);
    r->unread &= r->unread - 1;
    r->point_count = points_gather(cs, r->points);
    send_points(cs, slot, STORE_OP_KEEP_POINTS);
}

static void on_point(struct copyset *cs)
{
    struct resync *const r = &cs->resync;
    const struct status st = points_take(cs, r->slot, r->incarnation, &r->points[0]);

    if (!status_ok(st)) {
        resync_outdated(cs, st);
        return;
    }
    sm_move(&r->sm, RESYNC_KEEPING);
    r->told = members_to_ask(cs);
    r->unread = r->told | own_bit(cs);
    keep_next(cs);
}

/* ---- Steps ---- */

static void on_io_failed(struct copyset *cs)
{
    const struct leg_io *const io = &cs->resync.io;

    const bool asked = cs->resync.sm.now == RESYNC_CHECKING || cs->resync.sm.now == RESYNC_TELLING;
    if (asked && status_is(io->status, STATUS_POINT_LOST)) {
        resync_fail(cs, io->status); /* Home records it, before anything is kept. */
        return;
    }
    if (io->slot == cs->resync.slot) {
        replica_failed(cs, io->status);
        return;
    }
    if (!status_is(io->status, STATUS_NO_SPACE)) /* 3.7.1 */
        members_report(cs->slice->volume, io->leg, io->status);
    resync_fail(cs, io->status);
}

/* What its command was sent for has come. */
static void go_on(struct copyset *cs)
{
    switch (cs->resync.sm.now) {
    case RESYNC_TELLING:
        begin_listing(cs);
        return;
    case RESYNC_KEPT:
        on_kept(cs);
        return;
    case RESYNC_CHECKING:
        check_next(cs);
        return;
    case RESYNC_LISTING:
    case RESYNC_GATHERING:
        list_on_items(cs);
        return;
    case RESYNC_MERGING:
        merge_next(cs);
        return;
    case RESYNC_POINT:
        on_point(cs);
        return;
    case RESYNC_KEEPING:
        keep_next(cs);
        return;
    default:
        assert(cs->resync.sm.now == RESYNC_FLUSHING);
        on_flushed(cs);
        return;
    }
}

static void on_io(struct leg_io *io)
{
    struct copyset *const cs = io->owner;
    struct resync *const r = &cs->resync;

    r->pending = false;
    merge_end(cs);
    if (cs->slice->fenced && is_under_way(r)) {
        resync_fail(cs, STATUS(FENCED));
    } else if (r->sm.now == RESYNC_LEAVING) {
        resync_run(cs);
    } else if (!status_ok(io->status)) {
        on_io_failed(cs);
    } else {
        go_on(cs);
    }
}

void resync_on_answer(struct copyset *cs, const struct leg *leg, struct status status, bool trailed)
{
    const struct resync *const r = &cs->resync;

    assert(cs->flowing > 0);
    cs->flowing--;
    assert(!trailed || cs->trailing > 0);
    cs->trailing -= trailed ? 1 : 0;
    if (!status_ok(status) && !status_is(status, STATUS_CANCELED) &&
        !status_is(status, STATUS_LIST_FULL) && is_under_way(r) && leg == leg_of(cs, r->slot))
        replica_failed(cs, status);
    else
        resync_run(cs);
}

void resync_on_refused(struct copyset *cs, unsigned slots, struct status status)
{
    if (is_under_way(&cs->resync) && !resync_is_admitting(cs) && (slots & cs->joining) != 0)
        resync_fail(cs, status);
}

static void leave_or_wait(struct copyset *cs)
{
    const struct resync *const r = &cs->resync;

    if (cs->flowing == 0 && !r->pending && !range_copy_is_busy(&r->copy))
        resync_end(cs, r->why);
}

static void settled_or_wait(struct copyset *cs)
{
    if (cs->settling.left == 0 && !points_are_due(cs))
        join(cs);
}

void resync_run(struct copyset *cs)
{
    struct resync *const r = &cs->resync;

    if (cs->slice->fenced && is_under_way(r)) {
        resync_fail(cs, STATUS(FENCED));
    } else if (r->sm.now == RESYNC_SETTLING) {
        settled_or_wait(cs);
    } else if (r->sm.now == RESYNC_DRAINING && cs->undrained == 0) {
        ask_kept(cs);
    } else if (r->sm.now == RESYNC_ANSWERS && cs->trailing == 0) {
        begin_gathering(cs);
    } else if (r->sm.now == RESYNC_MERGING && r->waits) {
        merge_next(cs);
    } else if (r->sm.now == RESYNC_LEAVING) {
        leave_or_wait(cs);
    } else if (r->sm.now == RESYNC_IDLE && cs->slice->fenced) {
        members_slice_quiet(cs->slice); /* What had flowed to it was on its way yet. */
    }
}

void resync_start(struct copyset *cs, unsigned slot, unsigned place, bool whole, unsigned shunned)
{
    struct resync *const r = &cs->resync;

    assert((cs->members >> slot & 1) == 0);
    sm_move(&r->sm, RESYNC_SETTLING);
    r->slot = slot;
    r->place = place;
    r->whole = whole;
    r->shunned = shunned;
    r->told = cs->members;
    resync_run(cs);
}

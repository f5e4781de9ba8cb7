/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random histories of a group against a plain model: six disks, two copysets of three that share
 * two disks, one block in each, an engine that decides by the record's steps alone.
 *
 * Each write has the next number, so that "at least as new" is "not less".  The model knows what
 * was acknowledged, what was flushed, and which stores have held the last acknowledged value ever
 * since; the engine does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "repl/group_steps.h"

#define DISKS     6
#define COPYSETS  2
#define SEEDS     400
#define STEPS     400
#define HAS(m, i) (((m)&1u << (i)) != 0)

struct replica {
    uint64_t mem;    /* What a read returns. */
    uint64_t medium; /* What a power failure leaves for certain. */
};

struct block {
    struct replica at[DISKS];
    uint64_t acked;
    uint64_t flushed;
    uint64_t pending; /* A write that is not acknowledged; 0: none. */
    unsigned has;     /* Disks that have executed it. */
    unsigned kept;    /* Disks with what was acknowledged, without a power failure since. */
};

struct world {
    struct rng rng;
    unsigned min_in_sync;
    uint64_t next;
    uint64_t incarnation[DISKS];
    struct block blocks[COPYSETS];
    struct group record; /* In the meta store. */
    bool serving;
    uint64_t session[DISKS]; /* The incarnation; 0: none is up. */
    uint64_t opened[DISKS];  /* Of the last session with this engine. */
    struct group_session list[DISKS];
    unsigned served, admitted, given_up;
};

static struct world w;
static struct group next_record;
static struct group_reason reason;

static struct uuid disk_uuid(unsigned disk)
{
    return (struct uuid) { { 0xd0, (uint8_t)disk } };
}

static unsigned disk_at(unsigned copyset, unsigned slot)
{
    return w.record.copysets[copyset].slots[slot].disk.b[1];
}

static unsigned chance(unsigned below)
{
    return (unsigned)rng_below(&w.rng, below);
}

/* Disks instead of slots. */
static unsigned disks_of(unsigned copyset, unsigned slots)
{
    unsigned disks = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (HAS(slots, i))
            disks |= 1u << disk_at(copyset, i);
    return disks;
}

static unsigned members(unsigned copyset)
{
    return disks_of(copyset, group_members(&w.record, copyset));
}

static unsigned connected(void)
{
    unsigned disks = 0;

    for (unsigned i = 0; i < DISKS; i++)
        disks |= w.session[i] != 0 ? 1u << i : 0;
    return disks;
}

static struct group_view view_now(void)
{
    struct group_view view = { { w.list, 0 }, w.min_in_sync, 1 };

    for (unsigned i = 0; i < DISKS; i++)
        if (w.session[i] != 0)
            w.list[view.sessions.count++] = (struct group_session) { disk_uuid(i), w.session[i] };
    return view;
}

static unsigned sources(unsigned copyset)
{
    const struct group_view view = view_now();
    return disks_of(copyset, group_sources(&w.record, copyset, &view.sessions));
}

/*
 * The commit.  R2: of the disks that have what was acknowledged one stays a member, unless they
 * were waited for in vain.
 */
static void commit(bool waited)
{
    assert_true(next_record.sequence <= w.record.sequence + 1);
    w.record = next_record;
    for (unsigned c = 0; c < COPYSETS; c++) {
        const unsigned kept = w.blocks[c].kept & members(c);
        assert_true(waited || kept != 0 || w.blocks[c].kept == 0);
        w.blocks[c].kept = kept;
    }
}

static unsigned pick(unsigned disks)
{
    unsigned n = chance((unsigned)__builtin_popcount(disks));

    while (n-- > 0)
        disks &= disks - 1;
    return (unsigned)__builtin_ctz(disks);
}

/* ---- What happens to stores ---- */

static void lose_power(unsigned disk)
{
    w.incarnation[disk]++;
    w.session[disk] = 0;
    for (unsigned c = 0; c < COPYSETS; c++) {
        struct replica *r = &w.blocks[c].at[disk];
        if (chance(2) == 0)
            r->mem = r->medium;
        r->medium = r->mem;
        w.blocks[c].kept &= ~(1u << disk);
        w.blocks[c].has &= ~(1u << disk);
    }
}

/* Sessions return only to the same incarnation (4.4). */
static void reconnect(unsigned disk)
{
    if (w.opened[disk] == w.incarnation[disk])
        w.session[disk] = w.opened[disk];
}

/* ---- Writes ---- */

static void go_on(unsigned copyset)
{
    struct block *b = &w.blocks[copyset];
    const unsigned all = members(copyset);
    const unsigned to = sources(copyset) & ~b->has; /* 4.4: others count for nothing. */

    if (b->pending == 0)
        return;
    for (unsigned i = 0; i < DISKS; i++)
        if (HAS(to, i))
            b->at[i].mem = b->pending;
    b->has |= to;
    if ((all & ~b->has) != 0 ||
        (unsigned)__builtin_popcount(all) < group_members_min(w.min_in_sync))
        return;
    b->acked = b->pending; /* 5.6 */
    b->kept = all;
    b->pending = 0;
}

static void write_block(unsigned copyset)
{
    struct block *b = &w.blocks[copyset];

    if (b->pending == 0) {
        b->pending = w.next++;
        b->has = 0;
    }
    go_on(copyset);
}

static void flush(unsigned copyset)
{
    struct block *b = &w.blocks[copyset];

    if (b->pending != 0 || sources(copyset) != members(copyset))
        return;
    for (unsigned i = 0; i < DISKS; i++)
        if (HAS(members(copyset), i))
            b->at[i].medium = b->at[i].mem;
    b->flushed = b->acked;
}

/* ---- What the engine does with the record ---- */

static void stop(void)
{
    w.serving = false;
    memset(w.session, 0, sizeof w.session);
    memset(w.opened, 0, sizeof w.opened);
    for (unsigned c = 0; c < COPYSETS; c++)
        w.blocks[c].pending = 0;
}

static void exclude(unsigned disk)
{
    const struct group_view view = view_now();

    if (!status_ok(group_exclude(&w.record, &view, disk_uuid(disk), &next_record, &reason)))
        return;
    commit(false);
    for (unsigned c = 0; c < COPYSETS; c++)
        go_on(c);
}

/* 7.5  One source's value goes to all members; a member that is missing ends it. */
static bool settle(unsigned copyset, uint64_t *out_value)
{
    struct block *b = &w.blocks[copyset];
    const unsigned from = sources(copyset);

    if (chance(8) == 0)
        lose_power(chance(DISKS));
    if (from == 0 || (from & connected()) != from)
        return false;
    const uint64_t value = b->at[pick(from)].mem;
    if (b->kept != 0)
        assert_true(value >= b->acked); /* R2: acknowledged, and still there. */
    else
        assert_true(value >= b->flushed); /* I9 */
    for (unsigned i = 0; i < DISKS; i++) {
        if (!HAS(members(copyset), i))
            continue;
        if (w.session[i] == 0 || chance(30) == 0)
            return false;
        b->at[i].mem = value;
    }
    *out_value = value;
    return true;
}

/* 7.6 is known: from now on this is what readers have seen. */
static void begin_serving(const uint64_t values[COPYSETS])
{
    for (unsigned c = 0; c < COPYSETS; c++) {
        w.given_up += values[c] < w.blocks[c].acked;
        w.blocks[c].acked = values[c];
        w.blocks[c].kept = members(c);
    }
    w.serving = true;
    w.served++;
}

/* 7.1 to 7.6 */
static void start(void)
{
    uint64_t values[COPYSETS];
    struct group_reason why;

    assert_true(
        status_ok(group_take_epoch(&w.record, (struct uuid) { { 1 } }, &next_record, &reason)));
    commit(false);
    for (unsigned i = 0; i < DISKS; i++)
        w.opened[i] = w.session[i] = chance(4) != 0 ? w.incarnation[i] : 0;
    struct group_view view = view_now();
    const bool waited = chance(3) == 0;
    if (!status_ok(group_take_over(&w.record, &view, waited, &next_record, &reason))) {
        stop();
        return;
    }
    for (unsigned c = 0; c < COPYSETS; c++) {
        if (group_silent(&w.record, c, &view) != 0) {
            stop(); /* 11.4: nothing is served before it has left, or is back. */
            return;
        }
    }
    commit(waited);
    for (unsigned c = 0; c < COPYSETS; c++)
        assert_true(status_ok(group_may_serve(&w.record, c, &view.sessions, w.min_in_sync, &why)));
    bool settled = chance(8) != 0;
    for (unsigned c = 0; c < COPYSETS && settled; c++)
        settled = settle(c, &values[c]);
    view = view_now();
    if (!settled || !status_ok(group_settled(&w.record, &view, &next_record, &reason))) {
        stop();
        return;
    }
    commit(false);
    begin_serving(values);
}

/* 9, in one go: a source is copied, the target flushes; then it may lose power. */
static void resync(unsigned copyset, unsigned slot)
{
    const struct group_slot *s = &w.record.copysets[copyset].slots[slot];
    struct block *b = &w.blocks[copyset];
    const unsigned from = sources(copyset);

    if (s->state != GROUP_SLOT_OUT || from == 0 || b->pending != 0)
        return;
    const unsigned disk = disk_at(copyset, slot);
    w.opened[disk] = w.session[disk] = w.incarnation[disk];
    const struct group_admission admission = { .copyset = copyset,
                                               .slot = slot,
                                               .incarnation = w.session[disk] };
    b->at[disk].mem = b->at[pick(from)].mem;
    b->at[disk].medium = b->at[disk].mem;
    if (chance(6) == 0)
        lose_power(disk);
    const struct group_view view = view_now();
    if (!status_ok(group_admit(&w.record, &view, &admission, &next_record, &reason)))
        return;
    commit(false);
    b->kept |= 1u << disk;
    w.admitted++;
}

static void replace(unsigned copyset, unsigned slot, unsigned disk)
{
    const struct group_replacement r = { copyset, slot, disk_uuid(disk) };

    if (!status_ok(group_replace(&w.record, &r, 1, 1, &next_record, &reason)))
        return;
    commit(false);
    w.blocks[copyset].at[disk] = (struct replica) { 0 };
}

/* ---- Checks ---- */

/* I3, I8, I9 */
static void check(void)
{
    for (unsigned c = 0; c < COPYSETS; c++) {
        const struct block *b = &w.blocks[c];
        const unsigned all = members(c);
        for (unsigned i = 0; i < DISKS; i++) {
            if (HAS(all, i))
                assert_true(b->at[i].medium >= b->flushed);
            if (w.serving && HAS(sources(c), i))
                assert_true(b->at[i].mem >= b->acked);
        }
    }
    assert_true(status_ok(group_check(&w.record, &reason)));
}

static void step(void)
{
    const unsigned c = chance(COPYSETS);
    const unsigned disk = chance(DISKS);

    if (!w.serving) {
        if (chance(4) == 0)
            lose_power(disk);
        else
            start();
        return;
    }
    switch (chance(16)) {
    case 0:
        lose_power(disk);
        break;
    case 1:
        w.session[disk] = 0;
        break;
    case 2:
    case 3:
        reconnect(disk);
        break;
    case 4:
    case 5:
        exclude(disk);
        break;
    case 6:
    case 7:
    case 8:
        resync(c, chance(GROUP_SLOTS));
        break;
    case 9:
        replace(c, chance(GROUP_SLOTS), disk);
        break;
    case 10:
        stop();
        break;
    case 11:
        flush(c);
        break;
    default:
        write_block(c);
        break;
    }
}

static void world_init(uint64_t seed)
{
    static const unsigned tuples[COPYSETS][GROUP_SLOTS] = { { 0, 1, 2 }, { 3, 2, 1 } };

    w = (struct world) { .next = 1 };
    rng_init(&w.rng, seed);
    w.min_in_sync = chance(3);
    for (unsigned i = 0; i < DISKS; i++)
        w.incarnation[i] = 1 + chance(100);
    w.record.copyset_count = COPYSETS;
    for (unsigned c = 0; c < COPYSETS; c++)
        for (unsigned i = 0; i < GROUP_SLOTS; i++)
            w.record.copysets[c].slots[i] =
                (struct group_slot) { .state = GROUP_SLOT_IN, .disk = disk_uuid(tuples[c][i]) };
}

/*
 * Whatever fails, and whoever takes over: a source has all that was acknowledged and not given up,
 * and a member all that was flushed.
 */
static void sources_have_what_was_promised(void **state)
{
    unsigned served = 0, admitted = 0, given_up = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        world_init(seed);
        for (unsigned i = 0; i < STEPS; i++) {
            step();
            check();
        }
        served += w.served;
        admitted += w.admitted;
        given_up += w.given_up;
    }
    /* The histories are worth something: all of it happens, often. */
    assert_true(served > 10 * SEEDS);
    assert_true(admitted > 10 * SEEDS);
    assert_true(given_up > SEEDS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sources_have_what_was_promised) };
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}

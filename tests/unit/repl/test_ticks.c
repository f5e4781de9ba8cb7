/* SPDX-License-Identifier: Apache-2.0 */
/* When regions may be closed: sentences of 3.4, and random writes against a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "repl/ticks.h"

#define ROOM    16
#define ALL     7u
#define REGIONS 12

static struct ticks t;
static struct ticks_region regions[ROOM];
static struct ticks_region *buckets[8]; /* Fewer than regions: chains are used. */
static struct ticks_close item;

static int setup(void **state)
{
    (void)state;
    memset(buckets, 0, sizeof buckets);
    ticks_init(&t, regions, ROOM, buckets, 8);
    return 0;
}

static uint32_t write_begin(uint32_t region)
{
    const struct ticks_range range = { 3, region, 1 };
    uint32_t tick = 0;

    assert_true(ticks_write_begin(&t, &range, &tick));
    return tick;
}

static void closes(uint32_t region, uint32_t tick, unsigned equal)
{
    assert_true(ticks_next_close(&t, &item));
    assert_int_equal(item.shard, 3);
    assert_int_equal(item.region, region);
    assert_int_equal(item.tick, tick);
    assert_int_equal(item.equal, equal);
}

/* (1) to (5): the tick ends, its writes end, all flush, all confirm, the region is closed. */
static void a_round(void **state)
{
    (void)state;
    const uint32_t tick = write_begin(5);
    assert_int_equal(tick, ticks_now(&t));
    assert_true(ticks_round_begin(&t, ALL));
    assert_int_equal(ticks_now(&t), tick + 1);
    assert_false(ticks_round_may_flush(&t)); /* The write is under way. */
    ticks_write_end(&t, tick);
    assert_true(ticks_round_may_flush(&t));
    const uint32_t flush = ticks_round_flush(&t);
    ticks_confirmed(&t, 0, flush);
    ticks_confirmed(&t, 2, flush);
    assert_false(ticks_next_close(&t, &item)); /* FLUSH_PARTIAL */
    ticks_confirmed(&t, 1, flush);
    closes(5, tick, ALL);
    assert_false(ticks_next_close(&t, &item));
    assert_int_equal(t.room, ROOM);
}

/* A region that was written after the tick had ended stays open (CLOSE_IGNORES_TICK). */
static void a_later_write(void **state)
{
    (void)state;
    ticks_write_end(&t, write_begin(5));
    ticks_write_end(&t, write_begin(6));
    assert_true(ticks_round_begin(&t, ALL));
    const uint32_t later = write_begin(5);
    assert_true(ticks_round_may_flush(&t)); /* It is of the next tick. */
    uint32_t flush = ticks_round_flush(&t);
    for (unsigned i = 0; i < 3; i++)
        ticks_confirmed(&t, i, flush);
    closes(6, 1, ALL);
    assert_false(ticks_next_close(&t, &item));
    assert_true(ticks_round_begin(&t, ALL));
    assert_false(ticks_round_may_flush(&t));
    ticks_write_end(&t, later);
    flush = ticks_round_flush(&t);
    for (unsigned i = 0; i < 3; i++)
        ticks_confirmed(&t, i, flush);
    closes(5, 2, ALL);
}

/* What was confirmed before the round's Flush, or of a round that was given up, does not count. */
static void early_confirmations(void **state)
{
    (void)state;
    ticks_write_end(&t, write_begin(5));
    assert_true(ticks_round_begin(&t, 3));
    ticks_confirmed(&t, 0, 1);
    const uint32_t flush = ticks_round_flush(&t);
    ticks_confirmed(&t, 1, flush);
    assert_false(ticks_next_close(&t, &item)); /* CLOSE_WITHOUT_FLUSH */
    ticks_round_abort(&t);
    assert_true(ticks_round_begin(&t, 3));
    const uint32_t second = ticks_round_flush(&t);
    ticks_confirmed(&t, 0, flush);
    ticks_confirmed(&t, 1, flush);
    assert_false(ticks_next_close(&t, &item));
    ticks_confirmed(&t, 0, second);
    ticks_confirmed(&t, 1, second);
    closes(5, 2, 3);
}

/* What settling could not make equal is closed by no round; what is next to it is. */
static void abandoned(void **state)
{
    (void)state;
    const struct ticks_range range = { 3, 5, 1 };
    ticks_write_end(&t, write_begin(6));
    ticks_write_abandon(&t, &range, write_begin(5));
    assert_true(ticks_round_begin(&t, 3));
    assert_true(ticks_round_may_flush(&t));
    const uint32_t flush = ticks_round_flush(&t);
    ticks_confirmed(&t, 0, flush);
    ticks_confirmed(&t, 1, flush);
    closes(6, 1, 3);
    assert_false(ticks_next_close(&t, &item));
}

/* Who takes part from now on is asked for all regions: nothing is closed without it. */
static void joined(void **state)
{
    (void)state;
    ticks_write_end(&t, write_begin(5));
    assert_true(ticks_round_begin(&t, 3));
    const uint32_t old = ticks_round_flush(&t);
    ticks_confirmed(&t, 0, old);
    ticks_joined(&t);
    ticks_confirmed(&t, 1, old);
    assert_false(ticks_next_close(&t, &item));
    assert_true(ticks_round_begin(&t, 7));
    const uint32_t flush = ticks_round_flush(&t);
    for (unsigned slot = 0; slot < 3; slot++)
        ticks_confirmed(&t, slot, flush);
    closes(5, 2, 7);
}

/* Who is excluded meanwhile is not said to be equal; nor who joined after the tick had ended. */
static void lost_members(void **state)
{
    (void)state;
    ticks_write_end(&t, write_begin(5));
    ticks_write_end(&t, write_begin(6));
    assert_true(ticks_round_begin(&t, ALL & ~2u));
    const uint32_t flush = ticks_round_flush(&t);
    ticks_confirmed(&t, 1, flush); /* It was admitted just now. */
    ticks_confirmed(&t, 0, flush);
    assert_false(ticks_next_close(&t, &item));
    ticks_lost(&t, 2);
    closes(5, 1, 1); /* CLOSE_FORGETS_AWAY */
    ticks_lost(&t, 0);
    assert_false(ticks_next_close(&t, &item));
    assert_true(ticks_round_begin(&t, 2));
    ticks_lost(&t, 1); /* Nobody is left: there is no round any more. */
    assert_true(ticks_round_begin(&t, 2));
}

/* A write that finds no room changes nothing; a round makes room. */
static void no_room(void **state)
{
    const struct ticks_range many = { 3, 100, 3 };
    uint32_t tick = 0;

    (void)state;
    for (uint32_t i = 0; i < ROOM - 2; i++)
        ticks_write_end(&t, write_begin(i));
    assert_false(ticks_write_begin(&t, &many, &tick));
    assert_int_equal(t.room, 2);
    assert_true(ticks_round_begin(&t, 1));
    ticks_confirmed(&t, 0, ticks_round_flush(&t));
    closes(0, 1, 1);
    assert_true(ticks_write_begin(&t, &many, &tick));
    assert_int_equal(t.room, 0);
    assert_true(ticks_note(&t, &many)); /* They are there already. */
}

/* What a store lists from before counts as written in the present tick (3.4, 9.8). */
static void noted(void **state)
{
    const struct ticks_range merged = { 3, 5, 1 };

    (void)state;
    assert_true(ticks_round_begin(&t, 1));
    assert_true(ticks_note(&t, &merged)); /* MERGE_WITHOUT_TICK */
    ticks_confirmed(&t, 0, ticks_round_flush(&t));
    assert_false(ticks_next_close(&t, &item));
    assert_true(ticks_round_begin(&t, 1));
    ticks_confirmed(&t, 0, ticks_round_flush(&t));
    closes(5, 2, 1);
}

/* At the last tick nothing is closed any more, and nothing goes wrong. */
static void last_tick(void **state)
{
    (void)state;
    t.now = UINT32_MAX;
    ticks_write_end(&t, write_begin(5));
    assert_false(ticks_round_begin(&t, ALL));
    assert_false(ticks_next_close(&t, &item));
}

/* ---- The plain model ---- */

#define WRITES_MAX 8

struct model_write {
    bool busy;
    uint32_t tick;
    uint32_t region;
};

struct model {
    struct rng rng;
    struct model_write writes[WRITES_MAX];
    /* For each region the number of the step of its last write's begin and end; 0: none. */
    uint64_t last_begin[REGIONS];
    uint64_t last_end[REGIONS];
    bool open[REGIONS]; /* Written since it was last closed. */
    uint64_t now;
    uint64_t flush_at[3]; /* When what the slot has confirmed last was sent; 0: it has lost it. */
    uint64_t sent_at;
    uint32_t flush;
    unsigned members;
    unsigned closed;
};

static struct model m;

static bool in_flight(uint32_t region)
{
    for (unsigned i = 0; i < WRITES_MAX; i++)
        if (m.writes[i].busy && m.writes[i].region == region)
            return true;
    return false;
}

static void model_begin(void)
{
    const uint32_t region = (uint32_t)rng_below(&m.rng, REGIONS);

    for (unsigned i = 0; i < WRITES_MAX; i++) {
        if (m.writes[i].busy)
            continue;
        m.writes[i] = (struct model_write) { true, write_begin(region), region };
        m.last_begin[region] = m.now;
        m.open[region] = true;
        return;
    }
}

static void model_end(void)
{
    struct model_write *w = &m.writes[rng_below(&m.rng, WRITES_MAX)];

    if (!w->busy)
        return;
    w->busy = false;
    m.last_end[w->region] = m.now;
    ticks_write_end(&t, w->tick);
}

/*
 * At a close nothing is under way in the region, it was written, and every slot that is said to be
 * equal has confirmed a Flush that was sent after the region's last write had ended.
 */
static void model_close(void)
{
    if (!ticks_next_close(&t, &item))
        return;
    assert_true(item.equal != 0);
    assert_false(in_flight(item.region));
    assert_true(m.open[item.region]);
    for (unsigned i = 0; i < 3; i++)
        if ((item.equal & 1u << i) != 0)
            assert_true(m.flush_at[i] > m.last_end[item.region]);
    m.open[item.region] = false;
    m.closed++;
}

static void model_slot(void)
{
    const unsigned slot = (unsigned)rng_below(&m.rng, 3);

    if (rng_one_in(&m.rng, 100)) { /* Excluded; or back, with nothing confirmed. */
        ticks_lost(&t, slot);
        m.flush_at[slot] = 0;
        m.members ^= 1u << slot;
        return;
    }
    if (t.round != TICKS_FLUSHING || (m.members & 1u << slot) == 0)
        return;
    m.flush_at[slot] = m.sent_at;
    ticks_confirmed(&t, slot, m.flush);
}

static void model_step(void)
{
    m.now++;
    switch (rng_below(&m.rng, 8)) {
    case 0:
        if (rng_one_in(&m.rng, 2))
            model_begin();
        break;
    case 1:
    case 2:
        model_end();
        break;
    case 3:
        if (m.members != 0)
            (void)ticks_round_begin(&t, m.members);
        break;
    case 4:
        if (ticks_round_may_flush(&t)) {
            m.flush = ticks_round_flush(&t);
            m.sent_at = m.now;
        }
        break;
    case 5:
        model_close();
        break;
    default:
        model_slot();
        break;
    }
    if (rng_one_in(&m.rng, 500))
        ticks_round_abort(&t);
}

/* In random histories a region is closed only for slots that are equal and durable in it. */
static void random_histories(void **state)
{
    unsigned closed = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        m = (struct model) { .members = ALL };
        rng_init(&m.rng, seed);
        setup(NULL);
        for (unsigned i = 0; i < 3000; i++)
            model_step();
        closed += m.closed;
    }
    assert_true(closed > 200 * 20);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

/* What waits to be sent again is in no tick, and its region is closed by none all the same. */
static void kept_open(void **state)
{
    (void)state;
    const struct ticks_range range = { 3, 5, 1 }, unknown = { 3, 7, 1 };
    const uint32_t tick = write_begin(5);
    ticks_write_end(&t, write_begin(6));
    assert_true(ticks_round_begin(&t, ALL));
    ticks_keep_open(&t, &range);
    ticks_keep_open(&t, &unknown); /* Nothing is known of it, and that stays so. */
    ticks_write_end(&t, tick);
    const uint32_t flush = ticks_round_flush(&t);
    for (unsigned slot = 0; slot < 3; slot++)
        ticks_confirmed(&t, slot, flush);
    closes(6, tick, ALL);
    assert_false(ticks_next_close(&t, &item));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_round),
        TEST(a_later_write),
        TEST(early_confirmations),
        TEST(abandoned),
        TEST(joined),
        TEST(lost_members),
        TEST(no_room),
        TEST(noted),
        TEST(kept_open),
        TEST(last_tick),
        TEST(random_histories),
    };
    return cmocka_run_group_tests_name("ticks", tests, NULL, NULL);
}

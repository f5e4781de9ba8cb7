/* SPDX-License-Identifier: Apache-2.0 */
/* Leases, both ends: sentences of 8.2 to 8.5, and random courses of two engines and a store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/span.h"
#include "repl/lease.h"

#define MS UINT64_C(1000000)

static const struct lease_times times = { LEASE_NS, LEASE_WAIT_NS };
static const struct lease_times always_ask = { 0, 0 };

/* ---- The engine's node ---- */

static struct lease_link a_link, b_link;
static struct lease_session a_session, b_session;
static struct lease_member slots[3];

/* Slot 0 is the source; slots 1 and 2 are other members, on two nodes. */
static int setup(void **state)
{
    (void)state;
    lease_link_init(&a_link);
    lease_link_init(&b_link);
    lease_session_init(&a_session);
    lease_session_init(&b_session);
    slots[0] = (struct lease_member) { 0 };
    slots[1] = (struct lease_member) { &a_link, &a_session };
    slots[2] = (struct lease_member) { &b_link, &b_session };
    return 0;
}

static unsigned to_ask(uint64_t received_ms, uint64_t now_ms)
{
    return lease_to_ask(&times, slots, 6, received_ms * MS, now_ms * MS);
}

/* 8.2: a lease lasts 200 ms from when the question was sent, and each other member's is needed. */
static void from_the_question(void **state)
{
    (void)state;
    assert_int_equal(to_ask(1000, 1000), 6);
    lease_on_answer(&a_link, &a_session, 1, 1000 * MS);
    assert_int_equal(to_ask(1050, 1100), 4);
    lease_on_answer(&b_link, &b_session, 9, 1090 * MS);
    assert_int_equal(to_ask(1100, 1199), 0);
    assert_int_equal(to_ask(1100, 1200), 2);
    assert_int_equal(to_ask(1100, 1290), 6);
    lease_on_answer(&a_link, &a_session, 1, 950 * MS); /* A late one takes nothing away. */
    assert_int_equal(to_ask(1100, 1199), 0);
}

/* With no other member none is needed. */
static void alone(void **state)
{
    (void)state;
    assert_int_equal(lease_to_ask(&times, slots, 0, 5, 5), 0);
}

/* A lease of 0 asks for each read; and an answer is one however late it comes. */
static void always(void **state)
{
    (void)state;
    lease_on_answer(&a_link, &a_session, 1, 1000 * MS);
    assert_int_equal(lease_to_ask(&always_ask, slots, 2, 1001 * MS, 1001 * MS), 2);
    lease_on_answer(&a_link, &a_session, 1, 1002 * MS);
    assert_int_equal(lease_to_ask(&always_ask, slots, 2, 1001 * MS, 9000 * MS), 0);
    assert_int_equal(to_ask(1001, 9000) & 2, 0);
    assert_int_equal(to_ask(1003, 9000) & 2, 2);
}

/* 8.3: at a new count, sessions that were confirmed before it hold nothing until they are asked. */
static void new_count(void **state)
{
    struct lease_session other;

    (void)state;
    lease_session_init(&other);
    lease_on_answer(&a_link, &a_session, 1, 1000 * MS);
    lease_on_answer(&a_link, &other, 2, 1010 * MS);
    assert_int_equal(to_ask(1020, 1020) & 2, 2);
    lease_on_answer(&a_link, &a_session, 1, 1015 * MS); /* Let through before the seal. */
    assert_int_equal(to_ask(1020, 1020) & 2, 2);
    lease_on_answer(&a_link, &a_session, 2, 1016 * MS);
    assert_int_equal(to_ask(1020, 1020) & 2, 0);
    lease_on_stale(&a_session);
    assert_int_equal(to_ask(1020, 1020) & 2, 2);
    /* Counts go around. */
    lease_on_answer(&a_link, &other, UINT32_MAX / 2, 1030 * MS);
    lease_on_answer(&a_link, &other, UINT32_MAX - 1, 1030 * MS);
    lease_on_answer(&a_link, &other, UINT32_MAX, 1031 * MS);
    lease_on_answer(&a_link, &a_session, 0, 1032 * MS);
    assert_int_equal(to_ask(1033, 1033) & 2, 0);
    assert_int_equal(a_link.count, 0);
}

/* 2.1: a link that is lost takes leases and sessions along. */
static void lost_link(void **state)
{
    (void)state;
    lease_on_answer(&a_link, &a_session, 1, 1000 * MS);
    slots[1].link = NULL;
    assert_int_equal(to_ask(1010, 1010) & 2, 2);
}

/* ---- The store's node ---- */

static struct lease_store store;
static struct lease_giver giver;
static struct lease_guard guard;

static int store_setup(void **state)
{
    (void)state;
    store = (struct lease_store) { times, 0 };
    lease_giver_init(&giver);
    lease_guard_init(&guard);
    return 0;
}

/* A seal, by when something was let through last. */
static void seal_at(struct lease_giver *of, uint64_t from_ns)
{
    if (lease_guard_seal(&guard, of))
        lease_guard_wait(&store, &guard, from_ns);
}

/* 8.3: a seal raises the count, and waits 201 ms from then, or from when it let something through.
 */
static void seal_waits(void **state)
{
    (void)state;
    lease_guard_open(&guard);
    seal_at(&giver, 5000 * MS);
    assert_int_equal(lease_count(&giver), 1);
    assert_int_equal(lease_guard_free_ns(&store, &guard), 5201 * MS);
    lease_guard_open(&guard);
    seal_at(&giver, 5900 * MS);
    assert_int_equal(lease_guard_free_ns(&store, &guard), 6101 * MS);
    /* An overtaken seal is no reason to wait, nor to ask; what it waited for is. */
    seal_at(&giver, 6050 * MS);
    assert_int_equal(lease_count(&giver), 2);
    assert_int_equal(lease_guard_free_ns(&store, &guard), 6101 * MS);
}

/* 8.5: a process that has just started waits for the leases of the one before. */
static void young_process(void **state)
{
    (void)state;
    store.started_ns = 7000 * MS;
    seal_at(&giver, 7001 * MS);
    assert_int_equal(lease_guard_free_ns(&store, &guard), 7201 * MS);
}

/* 8.5: what was given back needs no waiting. */
static void release(void **state)
{
    (void)state;
    lease_guard_open(&guard);
    lease_guard_release(&guard);
    seal_at(&giver, 5000 * MS);
    assert_true(lease_guard_free_ns(&store, &guard) < 5000 * MS);
}

/* ---- Both ---- */

#define NODES    2 /* Engines' nodes. */
#define GROUPS   3
#define MESSAGES 32

/* A question on its way, then its answer; times are true. */
struct message {
    bool busy;
    bool answered;
    unsigned node, group, number; /* Of its link. */
    uint64_t due_ns;
    uint64_t sent_ns; /* By the engine's clock. */
    uint32_t count;
    bool stale;
};

struct world {
    struct rng rng;
    uint64_t now_ns;
    int store_drift;
    int drift[NODES];
    struct lease_store store;
    struct lease_giver giver[NODES];
    uint64_t let_through_ns[NODES]; /* By the store's clock. */
    struct lease_guard guard[GROUPS];
    unsigned owner[GROUPS];           /* Whose epoch the store has. */
    bool open[GROUPS];                /* It has a session. */
    bool sealing[GROUPS];             /* The owner's seal waits. */
    bool serves[NODES][GROUPS];       /* The engine believes so. */
    uint64_t taken_ns[NODES][GROUPS]; /* When the seal that took the group from it was answered. */
    unsigned link_number[NODES];
    bool link_dead[NODES]; /* What the engine does not know yet. */
    struct lease_link link[NODES];
    struct lease_session session[NODES][GROUPS];
    struct message messages[MESSAGES];
    unsigned reads, seals;
};

static struct world w;

static uint64_t clock_of(int drift)
{
    return drift > 0 ? w.now_ns + w.now_ns / 1000
                     : (drift < 0 ? w.now_ns - w.now_ns / 1000 : w.now_ns);
}

static unsigned chance(unsigned below)
{
    return (unsigned)rng_below(&w.rng, below);
}

/* What a process that has just started knows; its clock goes on. */
static void restart(void)
{
    w.store = (struct lease_store) { times, clock_of(w.store_drift) };
    for (unsigned n = 0; n < NODES; n++) {
        lease_giver_init(&w.giver[n]);
        w.let_through_ns[n] = UINT64_MAX;
    }
    for (unsigned g = 0; g < GROUPS; g++) {
        lease_guard_init(&w.guard[g]);
        w.open[g] = false;
        w.sealing[g] = true; /* Its epoch is durable; the owner asks again. */
    }
}

static void cut(unsigned node)
{
    w.link_number[node]++;
    w.link_dead[node] = false;
    lease_link_init(&w.link[node]);
    for (unsigned g = 0; g < GROUPS; g++)
        lease_session_init(&w.session[node][g]);
}

static void ask(unsigned node, unsigned group)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (w.messages[i].busy)
            continue;
        w.messages[i] = (struct message) { .busy = true,
                                           .node = node,
                                           .group = group,
                                           .number = w.link_number[node],
                                           .due_ns = w.now_ns + chance(100) * MS,
                                           .sent_ns = clock_of(w.drift[node]) };
        return;
    }
}

/* The store reads it; an OPEN of the owner, after a lost session, is like any question. */
static void arrive(struct message *q)
{
    q->answered = true;
    q->due_ns = w.now_ns + chance(100) * MS;
    q->stale = w.owner[q->group] != q->node || w.sealing[q->group];
    if (q->stale)
        return;
    if (!w.open[q->group]) {
        w.open[q->group] = true;
        lease_guard_open(&w.guard[q->group]);
    }
    q->count = lease_count(&w.giver[q->node]);
    w.let_through_ns[q->node] = clock_of(w.store_drift);
}

static void take_answer(struct message *q)
{
    q->busy = false;
    if (q->number != w.link_number[q->node])
        return; /* Its link is gone. */
    if (q->stale)
        lease_on_stale(&w.session[q->node][q->group]);
    else
        lease_on_answer(&w.link[q->node], &w.session[q->node][q->group], q->count, q->sent_ns);
}

/* The other node's engine takes the group. */
static void seal(unsigned group)
{
    const unsigned from = w.owner[group];
    const uint64_t now_ns = clock_of(w.store_drift);

    if (w.sealing[group])
        return;
    w.owner[group] = 1 - from;
    w.open[group] = false;
    w.sealing[group] = true;
    if (lease_guard_seal(&w.guard[group], &w.giver[from]))
        lease_guard_wait(&w.store, &w.guard[group],
                         chance(2) == 0 ? min_u64(w.let_through_ns[from], now_ns) : now_ns);
}

static void answer_seals(void)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        const unsigned to = w.owner[g];
        if (!w.sealing[g] || clock_of(w.store_drift) < lease_guard_free_ns(&w.store, &w.guard[g]))
            continue;
        w.sealing[g] = false;
        w.taken_ns[1 - to][g] = min_u64(w.taken_ns[1 - to][g], w.now_ns);
        w.taken_ns[to][g] = UINT64_MAX;
        w.serves[to][g] = true;
        lease_session_init(&w.session[to][g]);
        w.seals++;
    }
}

/*
 * A read that came just now, of which this store is the other member.  Stale would be one that
 * completes although the group had been taken before it came.
 */
static void read_now(unsigned node, unsigned group)
{
    const struct lease_member m = { &w.link[node], &w.session[node][group] };
    const uint64_t clock_ns = clock_of(w.drift[node]);

    if (!w.serves[node][group] || lease_to_ask(&times, &m, 1, clock_ns, clock_ns) != 0)
        return;
    assert_true(w.taken_ns[node][group] > w.now_ns);
    w.reads++;
}

static void world_step(void)
{
    const unsigned node = chance(NODES);
    const unsigned group = chance(GROUPS);

    w.now_ns += chance(10) * MS;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct message *q = &w.messages[i];
        if (!q->busy || q->due_ns > w.now_ns)
            continue;
        if (q->answered)
            take_answer(q);
        else if (q->number == w.link_number[q->node] && !w.link_dead[q->node])
            arrive(q);
        else
            q->busy = false; /* What a lost link had not delivered. */
    }
    answer_seals();
    for (unsigned n = 0; n < NODES; n++)
        for (unsigned g = 0; g < GROUPS; g++)
            read_now(n, g);
    if (chance(2) == 0)
        ask(node, group);
    else if (chance(40) == 0)
        seal(group);
    else if (chance(200) == 0)
        cut(node);
    else if (chance(200) == 0) {
        restart();
        w.link_dead[0] = w.link_dead[1] = true;
    }
    if (w.link_dead[node] && chance(10) == 0)
        cut(node);
}

static void world_init(uint64_t seed)
{
    w = (struct world) { .now_ns = 1000 * MS };
    rng_init(&w.rng, seed);
    w.store_drift = (int)chance(3) - 1;
    for (unsigned n = 0; n < NODES; n++) {
        w.drift[n] = (int)chance(3) - 1;
        cut(n);
        for (unsigned g = 0; g < GROUPS; g++)
            w.taken_ns[n][g] = UINT64_MAX;
    }
    for (unsigned g = 0; g < GROUPS; g++)
        w.serves[0][g] = true;
    restart();
}

/*
 * I4: messages take up to 100 ms each way, links break for one side, the store restarts, clocks
 * drift apart: no engine completes a read that came after its group was taken by another.
 */
static void no_stale_reads(void **state)
{
    unsigned reads = 0, seals = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        world_init(seed);
        for (unsigned i = 0; i < 3000; i++)
            world_step();
        reads += w.reads;
        seals += w.seals;
    }
    assert_true(reads > 200 * 500);
    assert_true(seals > 200 * 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(from_the_question, setup),
        cmocka_unit_test_setup(alone, setup),
        cmocka_unit_test_setup(always, setup),
        cmocka_unit_test_setup(new_count, setup),
        cmocka_unit_test_setup(lost_link, setup),
        cmocka_unit_test_setup(seal_waits, store_setup),
        cmocka_unit_test_setup(young_process, store_setup),
        cmocka_unit_test_setup(release, store_setup),
        cmocka_unit_test(no_stale_reads),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}

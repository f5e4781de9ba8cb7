/* SPDX-License-Identifier: Apache-2.0 */
/* Groups in the meta store: what is stored, and their transactions, over every backend. */
#include "meta/groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "repl/group_steps.h"

static const struct uuid node = { { 0xa } };
static const struct uuid other = { { 0xb } };

static struct meta *m;
static char dir[64];
static bool durable;
static struct group was, now, got;
static struct group_reason reason;

static struct uuid volume(unsigned n)
{
    return (struct uuid) { { 0x70, (uint8_t)n } };
}

static struct uuid disk(unsigned n)
{
    return (struct uuid) { { 0xd0, (uint8_t)(n >> 8), (uint8_t)n } };
}

static void must(struct status st)
{
    assert_string_equal(status_name(st), "OK");
}

static void must_be(struct status st, enum status_code code)
{
    assert_string_equal(status_name(st), status_name((struct status) { code }));
}

static void open_store(void)
{
    char path[80];
    char problem[META_PROBLEM_BYTES];

    snprintf(path, sizeof path, "%s/meta.db", dir);
    must(durable ? meta_sqlite_open(path, problem, &m) : meta_sim_open(&m));
}

/* The state says which backend. */
static int setup(void **state)
{
    durable = *state != NULL;
    snprintf(dir, sizeof dir, "/tmp/trilith-groups.XXXXXX");
    assert_non_null(mkdtemp(dir));
    open_store();
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = { "meta.db", "meta.db-wal", "meta.db-shm" };
    char path[96];

    (void)state;
    meta_close(m);
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

/* ---- What is there ---- */

static void commit(struct meta_txn *txn, enum status_code code)
{
    must_be(meta_commit(m, txn, NULL), code);
    meta_txn_fini(txn);
}

static void put_volume(unsigned n, uint32_t replicas, bool deleting)
{
    Stored__V1__Volume r = STORED__V1__VOLUME__INIT;
    const struct uuid uuid = volume(n);
    struct meta_txn txn;

    r.uuid = record_bytes(&uuid);
    r.node = record_bytes(&node);
    r.replicas = replicas;
    r.min_in_sync = 1;
    r.deleting = deleting;
    meta_txn_init(&txn);
    record_put(&txn, key_volume(uuid).s, &r.base);
    commit(&txn, STATUS_OK);
}

/* A group of one copyset on disks 1, 2, 3 that node serves with epoch 7. */
static struct group sample(void)
{
    struct group g = { .epoch = 7, .owner = node, .sequence = 30, .copyset_count = 1 };

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        g.copysets[0].slots[i] = (struct group_slot) { .state = GROUP_SLOT_IN,
                                                       .disk = disk(i + 1),
                                                       .incarnation = 100 + i };
    return g;
}

static void create(unsigned n, const struct group *g, enum status_code code)
{
    struct meta_txn txn;

    meta_txn_init(&txn);
    group_record_put(&txn, volume(n), 0, g, 0);
    commit(&txn, code);
}

static void check_record(unsigned n, const struct group *expected)
{
    must(group_record_get(m, volume(n), 0, &got, NULL));
    assert_true(group_equal(&got, expected));
}

/* The record as it is after disk 3 was excluded. */
static struct group without_disk(const struct group *g, unsigned number)
{
    const struct group_session sessions[] = { { disk(1), 100 },
                                              { disk(2), 101 },
                                              { disk(3), 102 } };
    const struct group_view view = { { sessions, 3 }, 1, 5000 };

    must(group_exclude(g, &view, disk(number), &got, &reason));
    return got;
}

/* ---- The record ---- */

static struct group_slot random_slot(struct rng *rng, unsigned number)
{
    struct group_slot s = { .state = (enum group_slot_state)rng_below(rng, 3) };

    if (number % GROUP_SLOTS == 0)
        s.state = GROUP_SLOT_IN;
    if (s.state != GROUP_SLOT_UNUSED)
        s.disk = disk(number);
    if (s.state == GROUP_SLOT_IN)
        s.incarnation = rng_u64(rng) | 1;
    if (s.state == GROUP_SLOT_OUT) {
        s.since_unix_ms = rng_u64(rng);
        s.whole = rng_one_in(rng, 2);
    }
    return s;
}

/* What is stored is what comes back, whatever it is; the largest is below what is promised. */
static void round_trip(void **state)
{
    struct meta_value value;
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    for (unsigned n = 0; n < 40; n++) {
        was = (struct group) { .epoch = rng_u64(&rng),
                               .generation = rng_u64(&rng),
                               .sequence = rng_u64(&rng),
                               .loss = rng_one_in(&rng, 2),
                               .copyset_count = n == 0 ? GROUP_COPYSETS_MAX : n - 1 };
        if (n % 2 == 0)
            was.owner = node;
        for (unsigned i = 0; i < was.copyset_count * GROUP_SLOTS; i++)
            was.copysets[i / GROUP_SLOTS].slots[i % GROUP_SLOTS] = random_slot(&rng, i);
        must(group_check(&was, &reason));
        create(n, &was, STATUS_OK);
        check_record(n, &was);
    }
    must(meta_get(m, key_group(volume(0), 0).s, &value));
    assert_true(value.bytes < GROUPS_RECORD_BYTES_MAX);
    meta_value_free(&value);
}

static struct status unpack(const uint8_t *bytes, size_t count)
{
    ProtobufCMessage *record;

    TRY(record_unpack((struct const_span) { bytes, count }, &stored__v1__group__descriptor,
                      &record));
    const struct status st =
        group_from_record((const Stored__V1__Group *)(const void *)record, &got);
    record_free(record);
    return st;
}

/* Bytes that were cut or changed are refused, or are a record that can be. */
static void hostile_bytes(void **state)
{
    struct meta_value value;
    unsigned refused = 0;

    (void)state;
    was = sample();
    now = without_disk(&was, 2);
    create(1, &now, STATUS_OK);
    must(meta_get(m, key_group(volume(1), 0).s, &value));
    for (size_t i = 0; i < value.bytes; i++)
        for (unsigned bit = 0; bit <= 8; bit++) {
            const uint8_t kept = value.data[i];
            /* The last time it ends here. */
            if (bit < 8)
                value.data[i] ^= (uint8_t)(1u << bit);
            const struct status st = unpack(value.data, bit < 8 ? value.bytes : i);
            value.data[i] = kept;
            if (status_ok(st))
                must(group_check(&got, &reason));
            else
                assert_true(status_is(st, STATUS_CORRUPT) || status_is(st, STATUS_BAD_VERSION));
            refused += !status_ok(st);
        }
    assert_true(refused > value.bytes);
    meta_value_free(&value);
}

static void refuse_record(const Stored__V1__Group *r)
{
    must_be(group_from_record(r, &got), STATUS_CORRUPT);
}

/* Too many of anything, lengths that cannot be, and contradictions are damage. */
static void impossible_records(void **state)
{
    Stored__V1__Group r = STORED__V1__GROUP__INIT;
    Stored__V1__GroupCopyset c = STORED__V1__GROUP_COPYSET__INIT;
    Stored__V1__GroupSlot s = STORED__V1__GROUP_SLOT__INIT;
    Stored__V1__GroupSlot second = STORED__V1__GROUP_SLOT__INIT;
    Stored__V1__GroupSlot *slots[] = { &s, &second, &second, &second };
    Stored__V1__GroupCopyset *copysets[GROUP_COPYSETS_MAX + 1];
    const struct uuid d = disk(1);

    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(copysets); i++)
        copysets[i] = &c;
    s.disk = record_bytes(&d);
    c.slots = slots;
    c.n_slots = 1;
    r.copysets = copysets;
    r.n_copysets = GROUP_COPYSETS_MAX;
    must(group_from_record(&r, &got));
    r.n_copysets++;
    refuse_record(&r);
    r.n_copysets = 1;
    c.n_slots = 4;
    refuse_record(&r);
    c.n_slots = 2;
    second.out = true; /* Without a disk. */
    refuse_record(&r);
    second.disk = record_bytes(&d); /* The same. */
    refuse_record(&r);
    c.n_slots = 1;
    s.whole = true;
    refuse_record(&r);
    s.whole = false;
    s.disk.len = 15;
    refuse_record(&r);
    s.disk.len = 16;
    r.owner = (ProtobufCBinaryData) { 5, s.disk.data };
    refuse_record(&r);
}

/* A record of before, epoch and owner alone, goes on where it was. */
static void old_record(void **state)
{
    /* Version 1; field 1: 300; field 2: 16 bytes; field 3, which nobody has written: one byte. */
    static const uint8_t old[] = { 1, 0x08, 0xac, 0x02, 0x12, 16, 0xa, 0, 0, 0,    0, 0, 0,
                                   0, 0,    0,    0,    0,    0,  0,   0, 0, 0x1a, 1, 9 };
    const struct group_taking t = { .volume = volume(1), .node = node };
    struct meta_txn txn;

    (void)state;
    put_volume(1, 1, false);
    meta_txn_init(&txn);
    meta_txn_put(&txn, key_group(volume(1), 0).s, (struct const_span) { old, sizeof old });
    commit(&txn, STATUS_OK);
    was = (struct group) { .epoch = 300, .owner = node };
    check_record(1, &was);
    must(groups_take_epoch(m, &t, &now));
    assert_int_equal(now.epoch, 301);
    check_record(1, &now);
}

/* ---- 7.1 ---- */

/* Of a volume of one replica the record is made by the first epoch; each is the next one. */
static void epochs(void **state)
{
    const struct group_taking t = { .volume = volume(1), .node = node };
    const struct group_taking foreign = { .volume = volume(1), .node = other };
    const struct group_taking nothing = { .volume = volume(2), .node = node };

    (void)state;
    put_volume(1, 1, false);
    for (uint64_t epoch = 1; epoch <= 3; epoch++) {
        must(groups_take_epoch(m, &t, &now));
        assert_int_equal(now.epoch, epoch);
        assert_true(uuid_equal(now.owner, node));
        check_record(1, &now);
    }
    must_be(groups_take_epoch(m, &foreign, &got), STATUS_FOREIGN);
    must_be(groups_take_epoch(m, &nothing, &got), STATUS_NOT_FOUND);
    check_record(1, &now);
}

/* 11.10: a node that would serve with another one than the record's gets none. */
static void epoch_for_a_min_in_sync(void **state)
{
    struct group_taking t = { .volume = volume(1), .node = node, .min_in_sync = 2 };

    (void)state;
    put_volume(1, 3, false);
    was = sample();
    create(1, &was, STATUS_OK);
    must_be(groups_take_epoch(m, &t, &got), STATUS_FOREIGN);
    check_record(1, &was);
    t.min_in_sync = 1;
    must(groups_take_epoch(m, &t, &now));
    assert_int_equal(now.epoch, was.epoch + 1);
    t.min_in_sync = 0;
    must(groups_take_epoch(m, &t, &now));
}

/* All that the record says of replicas is kept; without a record there is nothing to go on from. */
static void epoch_of_a_replicated_volume(void **state)
{
    const struct group_taking t = { .volume = volume(1), .node = node };

    (void)state;
    put_volume(1, 3, false);
    must_be(groups_take_epoch(m, &t, &got), STATUS_CORRUPT);
    was = sample();
    create(1, &was, STATUS_OK);
    must(groups_take_epoch(m, &t, &now));
    assert_int_equal(now.epoch, 8);
    assert_int_equal(now.sequence, 31);
    now.epoch = was.epoch;
    now.sequence = was.sequence;
    assert_true(group_equal(&now, &was));
    put_volume(1, 3, true);
    must_be(groups_take_epoch(m, &t, &got), STATUS_NOT_FOUND);
}

/* A request that comes late, or twice, takes no second epoch. */
static void epoch_after_the_known_one(void **state)
{
    struct group_taking t = {
        .volume = volume(1), .node = node, .compares = true, .known_epoch = 7
    };

    (void)state;
    put_volume(1, 3, false);
    was = sample();
    create(1, &was, STATUS_OK);
    must(groups_take_epoch(m, &t, &now));
    assert_int_equal(now.epoch, 8);
    must_be(groups_take_epoch(m, &t, &got), STATUS_CONFLICT);
    assert_true(group_equal(&got, &now));
    t.known_epoch = 9;
    must_be(groups_take_epoch(m, &t, &got), STATUS_CONFLICT);
    check_record(1, &now);
}

/* ---- 6.3 ---- */

static struct groups_change change_of(unsigned n, const struct group *from, const struct group *to)
{
    return (struct groups_change) { .volume = volume(n), .was = from, .now = to, .current = &got };
}

static enum groups_outcome commit_one(unsigned n, const struct group *from, const struct group *to)
{
    struct groups_change c = change_of(n, from, to);

    groups_commit(m, &c, 1);
    return c.outcome;
}

/* It is made once, for a group that is not there; and it goes with its volume. */
static void created_and_removed(void **state)
{
    struct meta_txn txn;

    (void)state;
    was = sample();
    create(1, &was, STATUS_OK);
    create(1, &was, STATUS_CONFLICT);
    meta_txn_init(&txn);
    group_record_remove(&txn, volume(1), 0);
    meta_txn_remove(&txn, key_volume(volume(1)).s);
    commit(&txn, STATUS_OK);
    must_be(group_record_get(m, volume(1), 0, &got, NULL), STATUS_NOT_FOUND);
    now = without_disk(&was, 2);
    assert_int_equal(commit_one(1, &was, &now), GROUPS_GONE);
}

/* A change is applied to the record that it was made from, and to no other: whatever differs. */
static void compares_the_whole_record(void **state)
{
    struct group before, stored;

    (void)state;
    stored = sample();
    create(1, &stored, STATUS_OK);
    for (unsigned i = 0; i < 5; i++) {
        before = stored;
        if (i == 0)
            before.epoch--;
        else if (i == 1)
            before.owner = other;
        else if (i == 2)
            before.sequence--;
        else if (i == 3)
            before.copysets[0].slots[2].incarnation++;
        else
            before.generation++;
        now = before;
        now.sequence++;
        now.generation++;
        assert_int_equal(commit_one(1, &before, &now), GROUPS_CONFLICT);
        assert_true(group_equal(&got, &stored));
        check_record(1, &stored);
    }
    now = without_disk(&stored, 3);
    assert_int_equal(commit_one(1, &stored, &now), GROUPS_COMMITTED);
    check_record(1, &now);
}

/* The same again is committed already; a late copy of it does nothing when the record went on. */
static void sent_again(void **state)
{
    struct group third;

    (void)state;
    was = sample();
    create(1, &was, STATUS_OK);
    now = without_disk(&was, 3);
    assert_int_equal(commit_one(1, &was, &now), GROUPS_COMMITTED);
    const uint64_t revision = meta_revision(m);
    assert_int_equal(commit_one(1, &was, &now), GROUPS_COMMITTED);
    assert_int_equal(meta_revision(m), revision);
    third = without_disk(&now, 2);
    assert_int_equal(commit_one(1, &now, &third), GROUPS_COMMITTED);
    assert_int_equal(commit_one(1, &was, &now), GROUPS_CONFLICT);
    check_record(1, &third);
}

/* A new epoch fences: what the older engine decided is not applied (NO_COMPARE). */
static void fenced(void **state)
{
    const struct group_taking t = { .volume = volume(1), .node = node };
    struct group taken;

    (void)state;
    put_volume(1, 3, false);
    was = sample();
    create(1, &was, STATUS_OK);
    now = without_disk(&was, 3);
    must(groups_take_epoch(m, &t, &taken));
    assert_int_equal(commit_one(1, &was, &now), GROUPS_CONFLICT);
    assert_int_equal(got.epoch, 8);
    check_record(1, &taken);
}

/* Several records change in one transaction; one that conflicts, is gone or is damaged does not
 * keep back the others. */
static void together(void **state)
{
    static const uint8_t damaged[] = { 1, 0xff };
    struct groups_change c[GROUPS_CHANGES_MAX];
    struct group stored, otherwise;
    struct meta_txn txn;

    (void)state;
    was = stored = sample();
    now = without_disk(&was, 3);
    otherwise = was;
    otherwise.epoch = 9;
    for (unsigned i = 0; i < GROUPS_CHANGES_MAX; i++) {
        create(i, i == 1 ? &otherwise : &stored, STATUS_OK);
        c[i] = change_of(i, &was, &now);
    }
    meta_txn_init(&txn);
    group_record_remove(&txn, volume(3), 0);
    meta_txn_put(&txn, key_group(volume(4), 0).s, (struct const_span) { damaged, 2 });
    commit(&txn, STATUS_OK);
    c[6].volume = volume(5);
    const uint64_t revision = meta_revision(m);
    groups_commit(m, c, GROUPS_CHANGES_MAX);
    assert_int_equal(meta_revision(m), revision + 1);
    for (unsigned i = 0; i < GROUPS_CHANGES_MAX; i++) {
        const enum groups_outcome expected =
            i == 1 ? GROUPS_CONFLICT
                   : (i == 3 ? GROUPS_GONE : (i == 4 || i == 6 ? GROUPS_FAILED : GROUPS_COMMITTED));
        assert_int_equal(c[i].outcome, expected);
        if (expected == GROUPS_COMMITTED)
            check_record(i, &now);
    }
    must_be(c[4].status, STATUS_CORRUPT);
    must_be(c[6].status, STATUS_INVALID);
    check_record(1, &otherwise);
    check_record(6, &was);
}

/* What was committed is there after the store was opened again. */
static void reopened(void **state)
{
    (void)state;
    if (!durable)
        return; /* Nothing is promised. */
    was = sample();
    create(1, &was, STATUS_OK);
    now = without_disk(&was, 3);
    assert_int_equal(commit_one(1, &was, &now), GROUPS_COMMITTED);
    meta_close(m);
    open_store();
    check_record(1, &now);
}

/* An outcome that is not known is said to be so, and the same again makes it known. */
static void unknown_outcome(void **state)
{
    struct groups_change c;

    (void)state;
    was = sample();
    create(1, &was, STATUS_OK);
    now = without_disk(&was, 3);
    c = change_of(1, &was, &now);
    meta_sim_fault_next(m, META_SIM_FAULT_REFUSE);
    groups_commit(m, &c, 1);
    assert_int_equal(c.outcome, GROUPS_UNKNOWN);
    must_be(c.status, STATUS_UNAVAILABLE);
    check_record(1, &was);
    meta_sim_fault_next(m, META_SIM_FAULT_LOSE);
    groups_commit(m, &c, 1);
    assert_int_equal(c.outcome, GROUPS_UNKNOWN);
    check_record(1, &now);
    groups_commit(m, &c, 1);
    assert_int_equal(c.outcome, GROUPS_COMMITTED);
    check_record(1, &now);
}

/* An epoch whose taking is not known is nobody's: the next one is taken. */
static void unknown_epoch(void **state)
{
    struct group_taking t = { .volume = volume(1), .node = node, .compares = true };

    (void)state;
    put_volume(1, 1, false);
    meta_sim_fault_next(m, META_SIM_FAULT_LOSE);
    must_be(groups_take_epoch(m, &t, &got), STATUS_UNAVAILABLE);
    must_be(groups_take_epoch(m, &t, &got), STATUS_CONFLICT);
    t.known_epoch = got.epoch;
    must(groups_take_epoch(m, &t, &got));
    assert_int_equal(got.epoch, 2);
}

#define SIM(test)                                  \
    {                                              \
        "sim: " #test, test, setup, teardown, NULL \
    }
#define BOTH(test)                                   \
    SIM(test),                                       \
    {                                                \
        "sqlite: " #test, test, setup, teardown, dir \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(round_trip),
        SIM(hostile_bytes),
        SIM(impossible_records),
        BOTH(old_record),
        BOTH(epochs),
        BOTH(epoch_for_a_min_in_sync),
        BOTH(epoch_of_a_replicated_volume),
        BOTH(epoch_after_the_known_one),
        BOTH(created_and_removed),
        BOTH(compares_the_whole_record),
        BOTH(sent_again),
        BOTH(fenced),
        BOTH(together),
        BOTH(reopened),
        SIM(unknown_outcome),
        SIM(unknown_epoch),
    };
    return cmocka_run_group_tests_name("groups", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A new engine takes a group over: 7.4 to 7.7 of docs/replication.md, and R9. */
#include "replicas_case.h"
#include "volume/rounds.h"

/* The engine is gone; what the stores have is as the test says. */
static void list_at(struct case_ *c, unsigned disk, uint32_t shard, uint32_t region, uint8_t slots)
{
    c->f->stores[disk].listed[shard][region] = slots;
}

/* ---- Who is a member ---- */

/* 7.4: who does not answer is out, committed, before anything is served. */
static void the_silent_are_removed_first(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    c->meta.hold = true;
    f->disks[1].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_TIMED_OUT); /* It waits for the commit. */
    assert_int_equal(c->meta.commits, 1);
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_int_equal(f->open_status.code, STATUS_OK);
    assert_false(is_member(c, 1));
    assert_int_equal(f->stores[0].sets, 3);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    case_destroy(c);
}

/* 7.4: with too few it is not served, and the record stays as it is. */
static void with_too_few_it_is_not_served(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    const unsigned lines = f->log_lines;
    f->disks[1].store = NULL;
    f->disks[2].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_UNAVAILABLE);
    assert_int_equal(c->meta.commits, 0);
    assert_true(f->log_lines > lines);
    assert_null(f->volume);
    case_destroy(c);
}

/* 11.4: but for one of two beside a replica that is out; the other, of the same node, is back. */
static void one_that_has_everything_is_enough(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    unsigned slot;
    for (uint32_t n = 0; n < DISKS; n++) {
        assert_true(group_find(&c->meta.record, n, disk_uuid(1), &slot));
        c->meta.record.copysets[n].slots[slot] = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                                                       .disk = disk_uuid(1),
                                                                       .since_unix_ms = 1 };
    }
    f->disks[1].store = NULL;
    struct reactor *const reactor = f->disks[2].reactor;
    struct request flush = { 0 };
    f->disks[2].store = NULL;
    f->disks[2].reactor = NULL;
    f->config.waited = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 0);
    submit(f, &flush, 0, 0, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(flush.busy);
    f->disks[2].reactor = reactor;
    f->disks[2].store = &f->stores[2];
    f->stores[2].unflushed_loss = true;
    assert_int_equal(volume_leg_returned(f->volume, &f->disks[2]).code, STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(c->meta.fences, 1);
    assert_int_equal(f->stores[2].losses_reported, 0);
    assert_false(flush.busy);
    assert_int_equal(flush.req.status.code, STATUS_FENCED);
    case_destroy(c);
}

/* 7.1: a disk that has kept a set of this record, or of a later one: it is one of before. */
static void a_record_of_before_is_not_believed(void **state)
{
    (void)state;
    for (int over = -1; over < 2; over++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        f->stores[1].set_sequence = c->meta.record.sequence + (uint64_t)(int64_t)over;
        assert_int_equal(fixture_open(f).code, over < 0 ? STATUS_OK : STATUS_STALE_EPOCH);
        assert_int_equal(c->meta.commits, 0);
        case_destroy(c);
    }
}

static struct group_slot slot_of(const struct group *g, uint32_t copyset, unsigned disk)
{
    unsigned slot;
    assert_true(group_find(g, copyset, disk_uuid(disk), &slot));
    return g->copysets[copyset].slots[slot];
}

/* 7.2: a member that does not know the volume has nothing of it: all is to be copied. */
static void who_does_not_know_it_is_out_whole(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    put(c, 0, 0, 0, 0x31);
    put(c, 2, 0, 0, 0x31);
    f->stores[1].forgotten = true;
    c->meta.hold = true;
    assert_int_equal(fixture_open(f).code, STATUS_TIMED_OUT); /* It waits for the commit. */
    for (uint32_t n = 0; n < DISKS; n++) {
        const struct group_slot slot = slot_of(&c->meta.next, n, 1);
        assert_int_equal(slot.state, GROUP_SLOT_OUT);
        assert_true(slot.whole);
    }
    assert_true(f->stores[1].forgotten);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_int_equal(f->open_status.code, STATUS_OK);
    /* It makes the volume anew, as one of which nothing is expected, and gets all of it. */
    assert_int_equal(f->stores[1].opens, 2);
    assert_true(is_member(c, 1));
    assert_int_equal(got(c, 1, 0, 0), 0x31);
    case_destroy(c);
}

/* And if it is needed, that is committed before it may make the volume anew; then it is settled. */
static void who_does_not_know_it_and_is_needed_is_settled(void **state)
{
    (void)state;
    struct case_ *c = case_create(3);
    struct fixture *f = c->f;
    struct group *const g = &c->meta.record;
    struct group_reason reason;
    put(c, 0, 0, 0, 0x31);
    put(c, 2, 0, 0, 0x31);
    f->stores[1].forgotten = true;
    assert_int_equal(fixture_open(f).code, STATUS_UNAVAILABLE);
    assert_true(f->stores[1].forgotten);
    for (uint32_t n = 0; n < DISKS; n++) {
        const struct group_slot slot = slot_of(g, n, 1);
        assert_int_equal(slot.state, GROUP_SLOT_IN);
        assert_true(slot.incarnation == GROUP_INCARNATION_NONE);
    }
    assert_int_equal(group_take_epoch(g, (struct uuid) { { 99 } }, g, &reason).code, STATUS_OK);
    f->config.epoch = g->epoch;
    for (unsigned i = 0; i < DISKS; i += 2) { /* All others may have lost something since. */
        f->stores[i].incarnation = 77 + i;
        f->stores[i].unflushed_loss = true;
    }
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_false(f->stores[1].forgotten);
    assert_int_equal(got(c, 0, 0, 0), 0x31);
    assert_int_equal(got(c, 1, 0, 0), 0x31); /* Though nobody lists it. */
    case_destroy(c);
}

/* With nobody who has it, it is not served. */
static void where_nobody_knows_it_it_is_not_served(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].forgotten = true;
    assert_int_not_equal(fixture_open(f).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* R3: an engine whose record has changed under it does not begin to serve. */
static void a_conflict_ends_the_opening(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    f->disks[1].store = NULL;
    c->meta.conflict = true;
    assert_int_equal(fixture_open(f).code, STATUS_CONFLICT);
    assert_null(f->volume);
    case_destroy(c);
}

/* 6.5: nothing is served while a disk that stays does not know who is out. */
static void it_is_not_served_before_all_know_the_set(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;
    f->disks[1].store = NULL;
    f->stores[2].set_status = STATUS(MEDIA_WRITE);
    assert_int_equal(fixture_open(f).code, STATUS_UNAVAILABLE);
    assert_null(f->volume);
    case_destroy(c);
}

/* ---- Settling ---- */

/* 7.5: listed regions are made equal to a source; where nothing is listed nothing is touched. */
static void listed_regions_are_settled(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        put(c, i, 0, 0, (uint8_t)(0x10 + i)); /* A write that reached each of them differently. */
        put(c, i, 0, 64 * K, 0x77);
        put(c, i, 3, M, 0x33);
        put(c, i, 5, 0, (uint8_t)(0x50 + i));
    }
    put(c, 2, 0, 128 * K, 0x99); /* In excess, where the source has zeros. */
    list_at(c, 2, 0, 0, ALL_SLOTS);
    list_at(c, 1, 3, 1, ALL_SLOTS);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    const uint8_t first = got(c, 0, 0, 0);
    assert_in_range(first, 0x10, 0x12);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_int_equal(got(c, i, 0, 0), first);
        assert_int_equal(got(c, i, 0, 64 * K), 0x77);
        assert_int_equal(got(c, i, 0, 128 * K), got(c, 0, 0, 128 * K));
        assert_int_equal(got(c, i, 3, M), 0x33);
        assert_int_equal(got(c, i, 5, 0), 0x50 + i);
    }
    case_destroy(c);
}

/* 7.5, I8: the value is that of a member whose incarnation is the recorded one. */
static void who_may_have_lost_something_is_no_source(void **state)
{
    (void)state;
    for (unsigned changed = 0; changed < DISKS; changed++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        for (unsigned i = 0; i < DISKS; i++) {
            put(c, i, 0, 0, i == changed ? 0x01 : 0x22);
            f->stores[i].incarnation = i == changed ? 9 : 1;
            list_at(c, i, 0, 0, ALL_SLOTS);
        }
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++)
            assert_int_equal(got(c, i, 0, 0), 0x22);
        /* 7.6: now it has everything again, with the incarnation that it has now. */
        assert_int_equal(c->meta.commits, 1);
        for (unsigned n = 0; n < DISKS; n++) {
            const unsigned slot = (changed + DISKS - n) % DISKS;
            assert_int_equal(c->meta.record.copysets[n].slots[slot].incarnation, 9);
        }
        case_destroy(c);
    }
}

/* 7.5: where all have been taken as they are (7.4), who has lost nothing is the source. */
static void who_has_lost_nothing_comes_first(void **state)
{
    (void)state;
    for (unsigned whole = 0; whole < DISKS; whole++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        for (unsigned i = 0; i < DISKS; i++) {
            put(c, i, 0, 0, i == whole ? 0x22 : 0x01);
            f->stores[i].incarnation = 9;
            f->stores[i].unflushed_loss = i != whole;
            list_at(c, i, 0, 0, ALL_SLOTS);
        }
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++)
            assert_int_equal(got(c, i, 0, 0), 0x22);
        case_destroy(c);
    }
}

/* Ends the command on a shard that waits at some disk. */
static void release_shard(struct fixture *f, uint32_t shard)
{
    for (unsigned i = 0; i < DISKS; i++) {
        unsigned index = 0;
        LIST_FOR_EACH (n, &f->stores[i].in_flight) {
            if (CONTAINER_OF(n, struct store_io, link)->shard == shard) {
                fake_store_release(&f->stores[i], index);
                return;
            }
            index++;
        }
    }
    fail_msg("nothing waits on shard %u", shard);
}

/* R9: a read of a listed region waits until it is settled; others do not. */
static void a_read_waits_for_its_region(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    struct request listed = { 0 }, other = { 0 };
    for (unsigned i = 0; i < DISKS; i++) {
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
        list_at(c, i, 0, 0, ALL_SLOTS);
    }
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    submit(f, &listed, 0, 0, NVME_NS_READ, 0, BLOCK);
    submit(f, &other, 1, 1, NVME_NS_READ, 256 * K, BLOCK); /* Shard 1. */
    loop_run(&f->loop);
    release_shard(f, 1);
    loop_run(&f->loop);
    assert_false(other.busy);
    for (unsigned step = 0; step < 4; step++) {
        assert_true(listed.busy); /* Much more is to be read, and two replicas are written. */
        release_shard(f, 0);
        loop_run(&f->loop);
    }
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].hold = false;
        while (f->stores[i].in_flight_count > 0)
            fake_store_release(&f->stores[i], 0);
    }
    loop_run(&f->loop);
    assert_false(listed.busy);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(got(c, i, 0, 0), f->memory[0]);
    case_destroy(c);
}

/* A bad block at the source is taken from another one; a bad one at a target is written. */
static void bad_blocks_are_settled_from_others(void **state)
{
    (void)state;
    for (unsigned bad = 0; bad < DISKS; bad++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        for (unsigned i = 0; i < DISKS; i++)
            put(c, i, 0, 0, i == bad ? 0x01 : 0x22);
        f->stores[bad].bad_to = 1;
        list_at(c, 0, 0, 0, ALL_SLOTS);
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        loop_run(&f->loop);
        assert_int_equal(got(c, bad, 0, 0), 0x22);
        case_destroy(c);
    }
}

/* Each source has a bad block, each another one: all of the region is settled, and nothing else. */
static void bad_blocks_cost_only_themselves(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        for (unsigned k = 0; k < 32; k++)
            put(c, i, 0, k * BLOCK, 0x22);
        put(c, i, 0, (4 + i) * BLOCK, 0x01);
        f->stores[i].bad_from = (4 + i) * BLOCK;
        f->stores[i].bad_to = (5 + i) * BLOCK;
    }
    list_at(c, 0, 0, 0, ALL_SLOTS);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    for (unsigned i = 0; i < DISKS; i++) {
        for (unsigned k = 0; k < 32; k++)
            assert_int_equal(got(c, i, 0, k * BLOCK), 0x22);
        assert_int_equal(f->stores[i].writes, 1);
    }
    assert_int_equal(run(f, NVME_NS_READ, false, 0, 128 * K).code, STATUS_OK);
    case_destroy(c);
}

/* What no source can read is an error of that block, never one of the values that others have. */
static void what_no_source_can_read_is_an_error(void **state)
{
    (void)state;
    for (unsigned sources = 1; sources < DISKS; sources++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        for (unsigned i = 0; i < DISKS; i++) {
            put(c, i, 0, 0, (uint8_t)(0x10 + i));
            put(c, i, 0, BLOCK, 0x22);
            f->stores[i].bad_to = i < sources ? BLOCK : 0;
            f->stores[i].incarnation += i < sources ? 0 : 5;
        }
        list_at(c, 0, 0, 0, ALL_SLOTS);
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++) /* The first keeps what a link may have damaged. */
            assert_int_equal(f->stores[i].spoils, i == 0 ? 0 : 1);
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_MEDIA_READ);
        assert_int_equal(run(f, NVME_NS_READ, false, BLOCK, BLOCK).code, STATUS_OK);
        assert_int_equal(run(f, NVME_NS_WRITE, false, BLOCK, BLOCK).code, STATUS_OK);
        assert_int_equal(c->meta.commits, 1); /* All of it is settled (7.6). */
        assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
        case_destroy(c);
    }
}

/* It was the link, and the source can be read after all: all have its value. */
static void what_was_damaged_on_its_way_is_what_the_source_has(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
        f->stores[i].bad_to = BLOCK;
    }
    list_at(c, 0, 0, 0, ALL_SLOTS);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    f->stores[0].bad_to = 0;
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(f->memory[0], 0x10);
    for (unsigned i = 0; i < DISKS; i++) { /* It is repaired by whoever finds it bad. */
        f->stores[0].suspect = i != 0;
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
        assert_int_equal(f->memory[0], 0x10);
    }
    case_destroy(c);
}

/* Block 0 of shard 0 differs: one source has lost it, and links damage what the others have. */
static struct case_ *case_damaged(unsigned sources)
{
    struct case_ *c = case_create(2);
    for (unsigned i = 0; i < DISKS; i++) {
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
        c->f->stores[i].bad_to = i < sources ? BLOCK : 0;
        c->f->stores[i].damaged = i > 0;
        c->f->stores[i].incarnation += i < sources ? 0 : 5;
    }
    list_at(c, 0, 0, 0, ALL_SLOTS);
    return c;
}

/* Whoever is read: it is repaired there, if it must be. */
static void assert_value(struct case_ *c, uint8_t value)
{
    for (unsigned i = 0; i < DISKS; i++) {
        for (unsigned k = 0; k < DISKS; k++)
            c->f->stores[k].suspect = k != i;
        assert_int_equal(run(c->f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
        assert_int_equal(c->f->memory[0], value);
    }
}

/* What is kept is that of a store that has it, as it says by its hash. */
static void what_a_store_has_is_kept(void **state)
{
    (void)state;
    struct case_ *c = case_damaged(2);
    assert_int_equal(fixture_open(c->f).code, STATUS_OK);
    loop_run(&c->f->loop);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(c->f->stores[i].spoils, i == 1 ? 0 : 1);
    assert_int_equal(run(c->f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_MEDIA_READ);
    c->f->stores[1].bad_to = 0;
    assert_value(c, 0x11);
    case_destroy(c);
}

/* So is what equals that, even if it is no source's. */
static void what_equals_it_is_kept(void **state)
{
    (void)state;
    struct case_ *c = case_damaged(2);
    put(c, 2, 0, 0, 0x11);
    assert_int_equal(fixture_open(c->f).code, STATUS_OK);
    loop_run(&c->f->loop);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(c->f->stores[i].spoils, i == 0 ? 1 : 0);
    assert_value(c, 0x11);
    case_destroy(c);
}

/* A write to shard 1 fails at the disk, which is excluded; nothing else is let go. */
static void leave(struct case_ *c, unsigned disk)
{
    struct fixture *const f = c->f;
    struct request w = { 0 };

    submit(f, &w, 1, 0, NVME_NS_WRITE, 256 * K + BLOCK, BLOCK);
    loop_run(&f->loop);
    f->stores[disk].fail_next = STATUS(MEDIA_WRITE);
    for (unsigned i = 0; i < DISKS; i++)
        fake_store_release(&f->stores[i], f->stores[i].in_flight_count - 1);
    loop_run(&f->loop);
    for (unsigned i = 0; i < DISKS; i++)
        if (i != disk)
            fake_store_release(&f->stores[i], f->stores[i].in_flight_count - 1); /* SET */
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_false(is_member(c, disk));
}

/* Where the source that was to keep it has left, another one does that has it. */
static void what_another_store_has_is_kept(void **state)
{
    (void)state;
    struct case_ *c = case_damaged(3);
    struct fixture *f = c->f;
    static const unsigned answers[] = { 1, 2, 0, 1, 0 }; /* Hashes, and what cannot be read. */
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    for (unsigned i = 0; i < ARRAY_COUNT(answers); i++) {
        fake_store_release(&f->stores[answers[i]], 0);
        loop_run(&f->loop);
    }
    assert_int_equal(f->stores[2].in_flight_count, 1);
    leave(c, 1);
    hold_all(f, false);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].spoils, i == 0 ? 1 : 0);
    f->stores[2].bad_to = 0;
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(f->memory[0], 0x12);
    case_destroy(c);
}

/* What settling wrote is listed until a round has flushed it (7.6). */
static void what_was_settled_is_closed_by_a_round(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
        list_at(c, i, 0, 0, ALL_SLOTS);
    }
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].listed[0][0], ALL_SLOTS);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_int_equal(f->stores[i].listed[0][0], 0);
        assert_true(f->stores[i].flushes > 0);
    }
    case_destroy(c);
}

/* A member that fails while it is settled is excluded, and the region settled without it. */
static void settling_goes_on_without_who_fails(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
    list_at(c, 0, 0, 0, ALL_SLOTS);
    f->stores[2].write_status = STATUS(MEDIA_WRITE);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_false(is_member(c, 2));
    assert_int_equal(got(c, 1, 0, 0), got(c, 0, 0, 0));
    case_destroy(c);
}

/* The same where the member has been excluded before its answer comes, and nothing changes then. */
static void settling_goes_on_without_who_has_left(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    struct request listed = { 0 }, other = { 0 };
    for (unsigned i = 0; i < DISKS; i++)
        put(c, i, 0, 0, 0x10);
    list_at(c, 0, 0, 0, ALL_SLOTS);
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    submit(f, &listed, 0, 0, NVME_NS_READ, 0, BLOCK);
    loop_run(&f->loop);
    fake_store_release(&f->stores[1], 0); /* One of two targets has said its hashes. */
    loop_run(&f->loop);
    assert_int_equal(f->stores[2].in_flight_count, 1);
    submit(f, &other, 1, 0, NVME_NS_WRITE, 256 * K, BLOCK); /* Shard 1. */
    loop_run(&f->loop);
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    fake_store_release(&f->stores[2], 1);
    fake_store_release(&f->stores[0], 0);
    fake_store_release(&f->stores[1], 0);
    loop_run(&f->loop);
    fake_store_release(&f->stores[0], 0); /* SET */
    fake_store_release(&f->stores[1], 0);
    loop_run(&f->loop);
    assert_false(other.busy);
    assert_false(is_member(c, 2));
    f->stores[2].fail_next = STATUS(UNAVAILABLE);
    fake_store_release(&f->stores[2], 0);
    loop_run(&f->loop);
    hold_all(f, false);
    assert_false(listed.busy);
    case_destroy(c);
}

/* A target with too many open regions is no failure: a round closes some, and it goes on. */
static void a_full_list_is_waited_for(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
    list_at(c, 0, 0, 0, ALL_SLOTS);
    f->stores[2].write_status = STATUS(LIST_FULL);
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (unsigned step = 0; step < 40; step++) {
        for (unsigned i = 0; i < DISKS; i++) {
            if (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        }
        loop_run(&f->loop);
    }
    assert_int_equal(c->meta.commits, 0);
    f->stores[2].write_status = STATUS(OK);
    hold_all(f, false);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(c->meta.commits, 0);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(got(c, i, 0, 0), got(c, 0, 0, 0));
    case_destroy(c);
}

/* Who is alone is settled at once, also where commands wait for several of its regions. */
static void who_is_alone_is_settled_once(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;
    struct request wide = { 0 };
    for (unsigned region = 0; region < FAKE_REGIONS; region++)
        list_at(c, 0, 0, region, ALL_SLOTS);
    f->disks[1].store = NULL;
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    /* While it waits for the first region, the other member goes. */
    submit(f, &wide, 0, 0, NVME_NS_DEALLOCATE, 0, 6 * M);
    loop_run(&f->loop);
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    hold_all(f, false);
    loop_run(&f->loop);
    assert_false(wide.busy);
    assert_int_equal(wide.req.status.code, STATUS_OK);
    case_destroy(c);
}

/* ---- Losses ---- */

/* 7.6: where somebody has everything promised, the others' losses are taken back. */
static void a_loss_that_others_make_good_is_not_told(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    f->stores[1].unflushed_loss = true;
    f->stores[1].incarnation = 9;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[1].losses_reported, 1);
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    case_destroy(c);
}

/* 7.4, 7.7: when all have changed it waits, and then serves, and tells the host once. */
static void when_all_have_changed_it_is_told(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].unflushed_loss = true;
        f->stores[i].incarnation = 9;
    }
    f->disks[2].store = NULL; /* Who might have everything. */
    assert_int_equal(fixture_open(f).code, STATUS_BUSY);
    assert_int_equal(c->meta.commits, 0);
    f->config.waited = true;
    f->config.group = &c->meta.record;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_MEDIA_WRITE);
    case_destroy(c);
}

/* A host's Flush in an association that was told of losses up to told. */
static struct status flush_of(struct fixture *f, uint64_t told)
{
    struct request r = { .req = { .loss_told = told } };

    submit(f, &r, 0, 0, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_false(r.busy);
    return r.req.status;
}

/* 7.7: the record says a loss, whoever is a member by then, until a host has heard of it. */
static void a_loss_is_told_until_it_was_heard(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    c->meta.record.loss = true; /* An engine gave up what was not flushed, and died. */
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(flush_of(f, 0).code, STATUS_MEDIA_WRITE);
    assert_int_equal(flush_of(f, 1).code, STATUS_OK);
    assert_int_equal(flush_of(f, 0).code, STATUS_MEDIA_WRITE);
    assert_true(c->meta.record.loss);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 1);
    volume_ns(f->volume)->ops->loss_heard(volume_ns(f->volume), 1);
    loop_run(&f->loop);
    assert_false(c->meta.record.loss);
    assert_int_equal(c->meta.commits, 1);
    assert_int_equal(flush_of(f, 0).code, STATUS_OK);
    case_destroy(c);
}

/* With on-unflushed-loss = continue nobody need hear. */
static void a_loss_may_be_accepted(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    c->meta.record.loss = true;
    f->config.volume.continue_on_unflushed_loss = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(flush_of(f, 0).code, STATUS_OK);
    assert_false(c->meta.record.loss);
    case_destroy(c);
}

/* 7.4: all have changed, but one has lost nothing: nothing is lost. */
static void who_has_lost_nothing_makes_it_good(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].unflushed_loss = i != 1;
        f->stores[i].incarnation = 9;
    }
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_false(c->meta.record.loss);
    assert_int_equal(flush_of(f, 0).code, STATUS_OK);
    case_destroy(c);
}

/* 7.7: what a replica that is out has lost is of no account, and is made good before it is back. */
static void a_loss_of_who_is_out_is_not_told(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned n = 0; n < DISKS; n++) {
        for (unsigned i = 0; i < DISKS; i++) {
            struct group_slot *const s = &c->meta.record.copysets[n].slots[i];
            if (uuid_equal(s->disk, disk_uuid(2)))
                *s = (struct group_slot) { .state = GROUP_SLOT_OUT, .disk = s->disk };
        }
    }
    f->stores[2].unflushed_loss = true;
    f->hold_after_open = true; /* So that it is not resynced. */
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    assert_int_equal(f->stores[2].losses_reported, 1);
    hold_all(f, false);
    assert_int_equal(flush_of(f, 0).code, STATUS_OK);
    case_destroy(c);
}

/* 7.6: a store says that it has lost something until that has been made good. */
static void a_loss_is_forgotten_when_it_is_made_good(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        put(c, i, 0, 0, (uint8_t)(0x10 + i));
    list_at(c, 0, 0, 0, ALL_SLOTS);
    f->stores[1].unflushed_loss = true;
    f->stores[1].incarnation = 9;
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[1].losses_reported, 0);
    hold_all(f, false);
    assert_int_equal(got(c, 1, 0, 0), got(c, 0, 0, 0));
    assert_int_equal(f->stores[1].losses_reported, 1);
    case_destroy(c);
}

/*
 * I9: a member may lack what a Flush would promise, so the Flush waits until that is settled; where
 * all are sources nothing has been promised about what they list.
 */
static void a_flush_waits_for_who_is_no_source(void **state)
{
    (void)state;
    for (unsigned changed = 0; changed <= DISKS; changed++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        struct request flush = { 0 };
        for (unsigned i = 0; i < DISKS; i++)
            put(c, i, 0, 0, (uint8_t)(0x10 + i));
        list_at(c, 0, 0, 0, ALL_SLOTS);
        if (changed < DISKS)
            f->stores[changed].incarnation = 9;
        f->hold_after_open = true;
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        submit(f, &flush, 0, 0, NVME_NS_FLUSH, 0, 0);
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++)
            assert_int_equal(f->stores[i].flushes, 0);
        assert_true(flush.busy);
        unsigned waiting = 0;
        for (unsigned i = 0; i < DISKS; i++)
            waiting += f->stores[i].in_flight_count;
        assert_int_equal(waiting, changed < DISKS ? 2 : 2 + DISKS); /* Two say their hashes. */
        hold_all(f, false);
        assert_false(flush.busy);
        assert_int_equal(flush.req.status.code, STATUS_OK);
        assert_int_equal(f->stores[0].flushes, 1);
        case_destroy(c);
    }
}

/* What cannot be read is settled all the same: no Flush waits for it for ever. */
static void a_flush_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++)
        f->stores[i].bad_to = 1;
    f->stores[2].incarnation = 9;
    list_at(c, 0, 0, 0, ALL_SLOTS);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    assert_int_equal(flush_of(f, 0).code, STATUS_OK);
    assert_int_equal(c->meta.commits, 1);
    case_destroy(c);
}

/* 7.8: whoever is fenced settles nothing any more, and its Flushes end. */
static void a_flush_that_waits_is_fenced(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    struct request flush = { 0 };
    list_at(c, 0, 0, 0, ALL_SLOTS);
    f->stores[2].incarnation = 9;
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    submit(f, &flush, 0, 0, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(flush.busy);
    volume_fence(f->volume);
    hold_all(f, false);
    assert_int_equal(flush.req.status.code, STATUS_FENCED);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_silent_are_removed_first),
        cmocka_unit_test(with_too_few_it_is_not_served),
        cmocka_unit_test(one_that_has_everything_is_enough),
        cmocka_unit_test(a_record_of_before_is_not_believed),
        cmocka_unit_test(who_does_not_know_it_is_out_whole),
        cmocka_unit_test(who_does_not_know_it_and_is_needed_is_settled),
        cmocka_unit_test(where_nobody_knows_it_it_is_not_served),
        cmocka_unit_test(a_conflict_ends_the_opening),
        cmocka_unit_test(it_is_not_served_before_all_know_the_set),
        cmocka_unit_test(listed_regions_are_settled),
        cmocka_unit_test(who_may_have_lost_something_is_no_source),
        cmocka_unit_test(who_has_lost_nothing_comes_first),
        cmocka_unit_test(a_read_waits_for_its_region),
        cmocka_unit_test(bad_blocks_are_settled_from_others),
        cmocka_unit_test(bad_blocks_cost_only_themselves),
        cmocka_unit_test(what_no_source_can_read_is_an_error),
        cmocka_unit_test(what_was_damaged_on_its_way_is_what_the_source_has),
        cmocka_unit_test(what_a_store_has_is_kept),
        cmocka_unit_test(what_equals_it_is_kept),
        cmocka_unit_test(what_another_store_has_is_kept),
        cmocka_unit_test(what_was_settled_is_closed_by_a_round),
        cmocka_unit_test(settling_goes_on_without_who_fails),
        cmocka_unit_test(settling_goes_on_without_who_has_left),
        cmocka_unit_test(a_full_list_is_waited_for),
        cmocka_unit_test(who_is_alone_is_settled_once),
        cmocka_unit_test(a_loss_that_others_make_good_is_not_told),
        cmocka_unit_test(when_all_have_changed_it_is_told),
        cmocka_unit_test(a_loss_is_told_until_it_was_heard),
        cmocka_unit_test(a_loss_may_be_accepted),
        cmocka_unit_test(who_has_lost_nothing_makes_it_good),
        cmocka_unit_test(a_loss_of_who_is_out_is_not_told),
        cmocka_unit_test(a_loss_is_forgotten_when_it_is_made_good),
        cmocka_unit_test(a_flush_waits_for_who_is_no_source),
        cmocka_unit_test(a_flush_does_not_wait_for_ever),
        cmocka_unit_test(a_flush_that_waits_is_fenced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

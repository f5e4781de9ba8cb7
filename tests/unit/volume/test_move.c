/* SPDX-License-Identifier: Apache-2.0 */
/* The replica of a failing disk is made elsewhere and moved: docs/replication.md, 9.18 to 9.22. */
#include "base/rng.h"
#include "rebuild_case.h"
#include "volume/rounds.h"

/* Of the shard that has disk AWAY in its first slot, so that it is read there. */
#define THERE (256 * K)

static struct rebuild *move_create(unsigned min_in_sync)
{
    struct rebuild *r = rebuild_create(min_in_sync);

    for (unsigned n = 0; n < DISKS; n++)
        r->items[n].moves = true;
    rebuild_open(r);
    r->f->stores[AWAY].may_close_busy = true;
    write_everywhere(r->f, 0x11);
    return r;
}

/* Up to the first commit, which is kept back; *out_copyset is what it moves. */
static struct rebuild *move_committing(unsigned *out_copyset)
{
    struct rebuild *r = move_create(2);

    r->c->meta.hold = true;
    replace_all(r);
    assert_non_null(r->c->meta.done);
    for (unsigned n = 0; n < DISKS; n++)
        if (group_disks_differ(&r->c->meta.record, &r->c->meta.next, n))
            *out_copyset = n;
    return r;
}

static void go_on(struct rebuild *r)
{
    r->c->meta.hold = false;
    meta_release(&r->c->meta);
    loop_run(&r->f->loop);
}

/* Everybody is a member at any time: R1, and no replica fewer. */
static void assert_all_in(const struct rebuild *r)
{
    for (unsigned n = 0; n < DISKS; n++)
        assert_int_equal(group_members(&r->c->meta.record, n), ALL_SLOTS);
}

/* All is copied first, then one transaction for each copyset; the old disk is let go of. */
static void a_member_is_moved(void **state)
{
    (void)state;
    for (unsigned min_in_sync = 1; min_in_sync <= 3; min_in_sync++) {
        struct rebuild *r = move_create(min_in_sync);
        const unsigned before = r->c->meta.commits;
        const struct store *const old = &r->f->stores[AWAY];
        const unsigned asked = old->reads + old->hashes;
        replace_all(r);
        assert_rebuilt(r);
        assert_int_equal(old->reads + old->hashes, asked); /* It is failing: others are read. */
        assert_all_in(r);
        assert_int_equal(r->c->meta.commits, before + DISKS);
        const unsigned writes_there = r->f->stores[AWAY].writes;
        write_everywhere(r->f, 0x22);
        assert_rebuilt(r);
        assert_int_equal(r->f->stores[AWAY].writes, writes_there);
        assert_int_equal(run(r->f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
        assert_false(r->spare.unflushed);
        rebuild_destroy(r);
    }
}

/* 9.20: from before the commit on both are needed, the old one and the new one. */
static void both_are_needed_until_it_is_known(void **state)
{
    (void)state;
    unsigned copyset = 0;
    struct rebuild *r = move_committing(&copyset);
    struct store *const late[] = { &r->spare, &r->f->stores[AWAY] };
    for (unsigned i = 0; i < ARRAY_COUNT(late); i++) {
        struct request w = { 0 };
        late[i]->hold = true;
        fill(r->f, 0, BLOCK, 0x33);
        submit(r->f, &w, 0, 0, NVME_NS_WRITE, copyset * 256 * K, BLOCK);
        loop_run(&r->f->loop);
        assert_true(w.busy);
        late[i]->hold = false;
        fake_store_release(late[i], 0);
        loop_run(&r->f->loop);
        assert_false(w.busy);
    }
    go_on(r);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* 9.21: what the old disk has executed, and the new one has not, is executed there. */
static void answers_of_the_old_disk_are_forgotten(void **state)
{
    (void)state;
    unsigned copyset = 0;
    struct rebuild *r = move_committing(&copyset);
    struct request w = { 0 };
    r->spare.fail_next = STATUS(NO_SPACE);
    fill(r->f, 0, BLOCK, 0x33);
    submit(r->f, &w, 0, 0, NVME_NS_WRITE, copyset * 256 * K, BLOCK);
    loop_run(&r->f->loop);
    assert_true(w.busy);
    go_on(r);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_OK);
    assert_rebuilt(r);
    assert_all_in(r);
    rebuild_destroy(r);
}

/*
 * 3.4: what one member has executed, and the new disk has no room for, is not closed by the round
 * that makes room, though the turn makes nothing of all answers so far.
 */
static void what_waits_for_room_across_a_turn_stays_open(void **state)
{
    (void)state;
    unsigned copyset = 0;
    struct rebuild *r = move_committing(&copyset);
    struct fixture *f = r->f;
    struct store *const old = &f->stores[AWAY];
    struct request w = { 0 };
    const unsigned closes = f->stores[0].closes;

    old->hold = r->spare.hold = true;
    fill(f, 0, BLOCK, 0x33);
    submit(f, &w, 0, 0, NVME_NS_WRITE, copyset * 256 * K, BLOCK);
    loop_run(&f->loop);
    r->spare.hold = false;
    r->spare.fail_next = STATUS(LIST_FULL);
    fake_store_release(&r->spare, 0);
    loop_run(&f->loop);
    meta_release(&r->c->meta);
    loop_run(&f->loop);
    assert_true(names_new(r, copyset));
    r->spare.hold = true;
    fake_store_release(old, 0); /* The write: now it waits for a round, ... */
    loop_run(&f->loop);
    while (f->stores[0].closes == closes) { /* ... which gets to where it closes. */
        fake_store_release(&r->spare, 0);
        loop_run(&f->loop);
    }
    assert_true(w.busy);
    assert_int_equal(got(r->c, 0, copyset, 0), 0x33);
    assert_int_equal(r->spare.shards[copyset][0], 0x11);
    assert_int_equal(f->stores[0].listed[copyset][0], ALL_SLOTS);
    old->hold = r->spare.hold = false;
    while (r->spare.in_flight_count > 0)
        fake_store_release(&r->spare, 0);
    while (old->in_flight_count > 0)
        fake_store_release(old, 0);
    go_on(r);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_OK);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* Whether a disk is asked for this in a shard, as its out_index-th command. */
static bool is_asked(const struct store *s, enum store_opcode opcode, uint32_t shard,
                     unsigned *out_index)
{
    *out_index = 0;
    LIST_FOR_EACH (n, &s->in_flight) {
        const struct store_io *const io = CONTAINER_OF(n, const struct store_io, link);
        if (io->opcode == opcode && io->shard == shard)
            return true;
        (*out_index)++;
    }
    return false;
}

/* Ends all that two disks are asked for and keep, but the write to shard 0 that each has. */
static void all_but_a_write(struct rebuild *r)
{
    struct store *const s[] = { &r->spare, &r->f->stores[AWAY] };
    unsigned index;

    while (s[0]->in_flight_count > 1 || s[1]->in_flight_count > 1) {
        for (unsigned i = 0; i < ARRAY_COUNT(s); i++) {
            assert_true(is_asked(s[i], STORE_OP_WRITE, 0, &index));
            if (s[i]->in_flight_count > 1)
                fake_store_release(s[i], index == 0 ? 1 : 0);
        }
        loop_run(&r->f->loop);
    }
}

/* 9.21: a write that waits for its trail does not keep the round from ending that this needs. */
static void a_trail_may_wait_for_a_round_across_a_turn(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    struct fixture *f = r->f;
    struct store *const old = &f->stores[AWAY];
    struct request w = { 0 };
    unsigned index;

    r->c->meta.hold = true;
    r->spare.hold = true;
    assert_int_equal(volume_replace(f->volume, &f->config, r->items, 1).code, STATUS_OK);
    loop_run(&f->loop);
    while (!is_asked(&r->spare, STORE_OP_HASH, 3, &index)) { /* It has all of shard 0. */
        fake_store_release(&r->spare, 0);
        loop_run(&f->loop);
    }
    old->hold = true;
    fill(f, 0, BLOCK, 0x33);
    submit(f, &w, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    all_but_a_write(r);
    meta_release(&r->c->meta);
    loop_run(&f->loop);
    all_but_a_write(r);
    assert_true(names_new(r, 0));
    old->hold = false;
    fake_store_release(old, 0);
    loop_run(&f->loop);
    assert_true(w.busy); /* Its trail has not ended. */
    r->spare.hold = false;
    r->spare.fail_next = STATUS(LIST_FULL);
    fake_store_release(&r->spare, 0);
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_OK);
    assert_int_equal(r->spare.shards[0][0], 0x33);
    assert_all_in(r);
    rebuild_destroy(r);
}

/* 9.21: nor is what was read from it. */
static void what_was_read_is_read_again(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    struct fixture *f = r->f;
    struct request read = { 0 };
    unsigned copyset = 0;
    r->c->meta.hold = true;
    replace_all(r);
    while (r->c->meta.done != NULL && copyset != 1) { /* That of THERE. */
        for (unsigned n = 0; n < DISKS; n++)
            if (group_disks_differ(&r->c->meta.record, &r->c->meta.next, n))
                copyset = n;
        if (copyset == 1)
            break;
        meta_release(&r->c->meta);
        loop_run(&f->loop);
    }
    assert_int_equal(copyset, 1);
    f->stores[AWAY].hold = true;
    submit(f, &read, 0, 0, NVME_NS_READ, THERE, BLOCK);
    loop_run(&f->loop);
    assert_int_equal(f->stores[AWAY].in_flight_count, 1);
    go_on(r);
    assert_true(read.busy);
    memset(f->stores[AWAY].shards[1], 0x99, BLOCK); /* It is a member no more. */
    hold_all(f, false);
    assert_false(read.busy);
    assert_int_equal(read.req.status.code, STATUS_OK);
    assert_int_equal(f->memory[0], 0x11);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* 9.21: nor counts what a round that was given up is told of flush points. */
static void points_that_come_late_are_nobodys(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(2);
    struct fixture *f = r->f;
    struct store *const late[] = { &f->stores[AWAY], &r->spare };
    unsigned named = 0;

    r->items[0].moves = true;
    rebuild_open(r);
    r->c->meta.hold = true;
    assert_int_equal(volume_replace(f->volume, &f->config, r->items, 1).code, STATUS_OK);
    loop_run(&f->loop);
    write_ok(f, 0, 0x11);
    late[0]->hold = late[1]->hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    for (unsigned i = 0; i < ARRAY_COUNT(late); i++)
        fake_store_release(late[i], 0); /* FLUSH. */
    loop_run(&f->loop);
    go_on(r);
    fake_store_release(&r->spare, 1); /* SET. */
    loop_run(&f->loop);
    for (unsigned i = 0; i < ARRAY_COUNT(late); i++) {
        assert_int_equal(late[i]->in_flight_count, 1);
        late[i]->hold = false;
        fake_store_release(late[i], 0); /* Its point. */
    }
    loop_run(&f->loop);
    assert_all_in(r);
    assert_true(is_member(r->c, AWAY)); /* Of the other copysets. */
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    for (unsigned i = 0; i < STORE_COPYSET_POINTS; i++)
        named += uuid_equal(f->stores[0].kept[0][i].disk, disk_uuid(NEW));
    assert_int_equal(named, 1);
    rebuild_destroy(r);
}

/* The old disk fails while that goes on: what was begun is ended. */
static void the_old_disk_may_fail(void **state)
{
    (void)state;
    struct rebuild *r = move_create(1);
    struct fixture *f = r->f;
    r->spare.hold = true;
    replace_all(r);
    assert_true(r->spare.in_flight_count > 0);
    f->stores[AWAY].write_status = STATUS(MEDIA_WRITE);
    write_everywhere(f, 0x22);
    assert_false(is_member(r->c, AWAY));
    for (unsigned i = 0; i < 50; i++) {
        r->spare.hold = false;
        while (r->spare.in_flight_count > 0)
            fake_store_release(&r->spare, 0);
        loop_pass(&f->loop, NS_PER_S);
    }
    assert_rebuilt(r);
    assert_all_in(r);
    rebuild_destroy(r);
}

/* 9.19: where another member is lost, it comes first, and then what was given up is begun anew. */
static void who_is_out_comes_first(void **state)
{
    (void)state;
    struct rebuild *r = move_create(1);
    struct fixture *f = r->f;
    r->spare.hold = true;
    replace_all(r);
    f->stores[0].fail_next = STATUS(MEDIA_WRITE);
    write_ok(f, 0, 0x22);
    assert_false(is_member(r->c, 0));
    r->spare.hold = false;
    while (r->spare.in_flight_count > 0)
        fake_store_release(&r->spare, 0);
    loop_run(&f->loop);
    assert_false(names_new(r, 0) || names_new(r, 1) || names_new(r, 2));
    for (unsigned i = 0; i < 30; i++)
        loop_pass(&f->loop, NS_PER_S);
    assert_all_in(r);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* Nor is it kept back by failures of the move, however many there were. */
static void a_move_that_fails_keeps_nobody_back(void **state)
{
    (void)state;
    struct rebuild *r = move_create(1);
    struct fixture *f = r->f;
    r->spare.write_status = STATUS(MEDIA_WRITE);
    replace_all(r);
    for (unsigned i = 0; i < 3; i++)
        loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS << i); /* Each time it fails anew. */
    f->stores[0].fail_next = STATUS(MEDIA_WRITE);
    write_ok(f, 0, 0x22);
    assert_false(is_member(r->c, 0));
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_all_in(r);
    assert_false(names_new(r, 0) || names_new(r, 1) || names_new(r, 2));
    rebuild_destroy(r);
}

/* One of them that cannot be begun is none of the others' business. */
static void one_that_fails_is_alone(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    r->spare.hold = true;
    r->items[0].disk = 99;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(replace(r).code, STATUS_INVALID);
        loop_run(&r->f->loop);
        assert_true(r->spare.in_flight_count > 0);
    }
    r->spare.hold = false;
    while (r->spare.in_flight_count > 0)
        fake_store_release(&r->spare, 0);
    loop_run(&r->f->loop);
    assert_false(names_new(r, 0));
    assert_true(names_new(r, 1) && names_new(r, 2)); /* They were not given up. */
    rebuild_destroy(r);
}

/* 9.22: what is taken back is given up, and what was copied can be deleted. */
static void on_forgotten(void *ctx, struct status status)
{
    *(struct status *)ctx = status;
}

static void what_is_taken_back_is_given_up(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    struct fixture *f = r->f;
    struct status forgotten = STATUS(BUSY);
    const unsigned before = r->c->meta.commits;
    r->spare.hold = true;
    replace_all(r);
    assert_true(r->spare.in_flight_count > 0);
    assert_int_equal(volume_forget(f->volume, &r->disks[NEW], on_forgotten, &forgotten).code,
                     STATUS_BUSY);
    assert_int_equal(volume_replace(f->volume, &f->config, NULL, 0).code, STATUS_OK);
    loop_run(&f->loop);
    r->spare.hold = false;
    while (r->spare.in_flight_count > 0) {
        fake_store_release(&r->spare, 0);
        loop_run(&f->loop);
    }
    for (unsigned i = 0; i < 20; i++)
        loop_pass(&f->loop, NS_PER_S);
    assert_int_equal(r->c->meta.commits, before);
    assert_true(is_member(r->c, AWAY));
    assert_int_equal(volume_forget(f->volume, &r->disks[NEW], on_forgotten, &forgotten).code,
                     STATUS_OK);
    loop_run(&f->loop);
    assert_int_equal(forgotten.code, STATUS_OK);
    write_everywhere(f, 0x22);
    rebuild_destroy(r);
}

/*
 * Also by a round that had asked it when it was given up: its session is closed by then, or when it
 * has answered, and what it says late is of no account.
 */
static void who_is_taken_back_is_told_nothing(void **state)
{
    (void)state;
    for (unsigned spare_is_late = 0; spare_is_late < 2; spare_is_late++) {
        struct rebuild *r = rebuild_create(2);
        struct fixture *f = r->f;
        struct store *const late = spare_is_late ? &r->spare : &f->stores[2];
        r->items[0].moves = true;
        fixture_limit_resyncs(f, M / 100); /* It is copied to all the while. */
        rebuild_open(r);
        assert_int_equal(volume_replace(f->volume, &f->config, r->items, 1).code, STATUS_OK);
        loop_run(&f->loop);
        write_ok(f, 0, 0x11);
        late->hold = true;
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        fake_store_release(late, 0); /* FLUSH. */
        loop_run(&f->loop);
        r->spare.may_close_busy = true;
        assert_int_equal(volume_replace(f->volume, &f->config, NULL, 0).code, STATUS_OK);
        loop_run(&f->loop);
        assert_int_equal(r->spare.session_open, spare_is_late);
        assert_int_equal(late->in_flight_count, 1);
        late->hold = false;
        late->fail_next = spare_is_late ? STATUS(MEDIA_READ) : STATUS(OK);
        fake_store_release(late, 0); /* Its point. */
        loop_run(&f->loop);
        assert_false(r->spare.session_open);
        assert_int_equal(r->spare.flushes, 1);
        assert_int_equal(r->spare.keeps, 0);
        for (unsigned i = 0; i < DISKS; i++) {
            assert_int_equal(f->stores[i].closes, 1);
            assert_int_equal(f->stores[i].listed[0][0], 0);
        }
        rebuild_destroy(r);
    }
}

/* ---- While the volume grows ---- */

static void on_grown(void *ctx, struct status status)
{
    *(struct status *)ctx = status;
}

/* By three shards, up to what a disk is told, which it does not answer. */
static void grow_held(struct rebuild *r, struct store *store, struct status *outcome)
{
    struct volume_config *const config = &r->f->config;

    store->hold_describe = true;
    config->volume.bytes += 3 * SHARD_BYTES;
    config->volume.first_run_shards = SHARDS;
    config->shard_count = (uint32_t)store_volume_shards(&config->volume);
    for (unsigned i = 0; i < SHARDS_MAX; i++)
        if (names_new(r, i % DISKS))
            r->f->placement[i].disk[slot_of(AWAY, i % DISKS)] = NEW;
    *outcome = STATUS(TIMED_OUT);
    assert_int_equal(volume_grow(r->f->volume, config, on_grown, outcome).code, STATUS_OK);
    loop_run(&r->f->loop);
    assert_int_equal(store->describes, 1);
    assert_int_equal(outcome->code, STATUS_TIMED_OUT);
}

/* The disk is let go of when the growth has ended. */
static void assert_grown(struct rebuild *r, struct store *store, const struct status *outcome)
{
    assert_true(store->session_open);
    fake_store_described(store);
    loop_run(&r->f->loop);
    assert_int_equal(outcome->code, STATUS_OK);
    assert_false(store->session_open);
    write_ok(r->f, SHARDS * SHARD_BYTES, 0x33);
}

/* Up to the last commit, which is kept back: the old disk has no other slot any more. */
static void move_last(struct rebuild *r)
{
    r->c->meta.hold = true;
    replace_all(r);
    for (unsigned i = 1; i < DISKS; i++) {
        meta_release(&r->c->meta);
        loop_run(&r->f->loop);
        assert_non_null(r->c->meta.done);
    }
}

/* The copyset whose transaction is kept back. */
static unsigned committing(const struct rebuild *r)
{
    unsigned copyset = 0;

    while (!group_disks_differ(&r->c->meta.record, &r->c->meta.next, copyset))
        copyset++;
    return copyset;
}

/* 6.7: what the old disk has is let go of when it is late, though no slot has it any more. */
static void an_old_disk_that_hangs_keeps_nothing_back(void **state)
{
    (void)state;
    for (unsigned in_round = 0; in_round < 2; in_round++) {
        struct rebuild *r = move_create(2);
        struct fixture *f = r->f;
        struct store *const old = &f->stores[AWAY];
        struct request w = { 0 };

        move_last(r);
        const uint64_t at = committing(r) * 256 * K;
        write_ok(f, at, 0x22);
        old->hold = true;
        if (in_round == 0)
            submit(f, &w, 0, 0, NVME_NS_WRITE_ZEROES, at, BLOCK);
        loop_pass(&f->loop, in_round == 0 ? 0 : VOLUME_ROUND_NS);
        assert_int_equal(old->in_flight_count, 1);
        go_on(r);
        assert_rebuilt(r);
        assert_int_equal(w.busy, in_round == 0);
        assert_true(old->session_open);
        const unsigned closes = f->stores[0].closes;
        for (unsigned tick = 0; tick < 20; tick++)
            loop_pass(&f->loop, VOLUME_PATIENCE_NS / 10);
        assert_false(w.busy);
        assert_int_equal(w.req.status.code, STATUS_OK);
        assert_false(old->session_open);
        assert_rebuilt(r);
        assert_all_in(r);
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        assert_in_range(f->stores[0].closes, closes + 1, UINT32_MAX);
        fixture_close(f);
        assert_int_equal(old->in_flight_count, 1);
        fake_store_release(old, 0);
        loop_run(&f->loop);
        rebuild_destroy(r);
    }
}

/* A growth that describes the old disk ends, though its last slot is another's by then. */
static void a_growth_waits_for_the_old_disk(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    struct status outcome;

    move_last(r);
    grow_held(r, &r->f->stores[AWAY], &outcome);
    go_on(r);
    assert_rebuilt(r);
    assert_grown(r, &r->f->stores[AWAY], &outcome);
    rebuild_destroy(r);
}

/* If the slices have not heard of that by the end of the growth, it is not let go of then. */
static void an_old_disk_that_slices_know_stays(void **state)
{
    (void)state;
    struct rebuild *r = move_create(3);
    struct store *const old = &r->f->stores[AWAY];
    struct status outcome;

    move_last(r);
    grow_held(r, old, &outcome);
    r->f->stores[0].set_status = STATUS(MEDIA_WRITE);
    go_on(r);
    fake_store_described(old);
    loop_run(&r->f->loop);
    assert_int_equal(outcome.code, STATUS_OK);
    assert_true(old->session_open);
    rebuild_destroy(r);
}

/* Nor is the new one let go of too early, whose move was taken back before. */
static void a_growth_waits_for_what_is_given_up(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    struct status outcome;

    r->spare.hold = true;
    replace_all(r);
    assert_int_equal(volume_replace(r->f->volume, &r->f->config, NULL, 0).code, STATUS_OK);
    loop_run(&r->f->loop);
    assert_true(r->spare.in_flight_count > 0);
    grow_held(r, &r->spare, &outcome);
    r->spare.hold = false;
    while (r->spare.in_flight_count > 0) {
        fake_store_release(&r->spare, 0);
        loop_run(&r->f->loop);
    }
    assert_grown(r, &r->spare, &outcome);
    rebuild_destroy(r);
}

/* 11.7: a volume that is deleted is deleted where it was being moved to, or was once. */
static void on_deleted(void *ctx, struct status status)
{
    struct fixture *f = ctx;
    f->delete_status = status;
    f->volume = NULL;
}

static void what_is_left_over_is_deleted_with_the_volume(void **state)
{
    (void)state;
    struct rebuild *r = rebuild_create(2);
    struct fixture *f = r->f;
    const uint32_t leftovers[] = { NEW };
    f->config.deleting = true;
    f->config.leftovers = leftovers;
    f->config.leftover_count = 1;
    rebuild_open(r);
    volume_delete(f->volume, on_deleted, f);
    loop_run(&f->loop);
    assert_null(f->volume);
    assert_int_equal(f->delete_status.code, STATUS_OK);
    assert_int_equal(r->spare.deletes, 1);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].deletes, 1);
    rebuild_destroy(r);
}

/* Nor is it made anew for that where nobody knows it. */
static void what_is_not_known_is_deleted(void **state)
{
    (void)state;
    for (unsigned some = 0; some < 2; some++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        f->config.deleting = true;
        for (unsigned i = some; i < DISKS; i++)
            f->stores[i].forgotten = true;
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        volume_delete(f->volume, on_deleted, f);
        loop_run(&f->loop);
        assert_null(f->volume);
        assert_int_equal(f->delete_status.code, STATUS_OK);
        for (unsigned i = 0; i < DISKS; i++)
            assert_int_equal(f->stores[i].deletes + (f->stores[i].forgotten ? 1 : 0), 1);
        case_destroy(c);
    }
}

/* R6: what the new disk may have lost while it was copied to keeps it out. */
static void another_incarnation_gets_no_slot(void **state)
{
    (void)state;
    struct rebuild *r = move_create(2);
    r->spare.hold = true;
    replace_all(r);
    r->spare.incarnation = 77;
    r->spare.hold = false;
    while (r->spare.in_flight_count > 0)
        fake_store_release(&r->spare, 0);
    loop_run(&r->f->loop);
    assert_true(is_member(r->c, AWAY));
    for (unsigned i = 0; i < 30; i++)
        loop_pass(&r->f->loop, NS_PER_S);
    assert_rebuilt(r);
    rebuild_destroy(r);
}

/* Writes, deallocations and reads go on meanwhile, nothing is lost, and nobody is out. */
static void hosts_go_on_meanwhile(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rebuild *r = move_create(1 + (unsigned)(seed % 3));
        struct fixture *f = r->f;
        struct request requests[16] = { 0 };
        struct rng rng;
        bool asked = false;

        rng_init(&rng, seed);
        for (unsigned i = 0; i < DISKS; i++)
            f->stores[i].hold = true;
        r->spare.hold = true;
        for (unsigned step = 0; step < 4000; step++) {
            struct request *q = &requests[rng_below(&rng, 16)];
            struct store *const s =
                rng_below(&rng, 3) == 0 ? &r->spare : &f->stores[rng_below(&rng, DISKS)];
            const uint64_t at = rng_below(&rng, SHARDS * SHARD_BYTES / (64 * K)) * 64 * K;
            if (!q->busy && step < 3000) {
                const unsigned slot = (unsigned)(q - requests);
                fill(f, slot, BLOCK, (uint8_t)rng_below(&rng, 255));
                submit(f, q, slot, (unsigned)rng_below(&rng, 2),
                       rng_below(&rng, 5) == 0   ? NVME_NS_DEALLOCATE
                       : rng_below(&rng, 4) == 0 ? NVME_NS_READ
                                                 : NVME_NS_WRITE,
                       at, BLOCK);
            }
            if (s->in_flight_count > 0)
                fake_store_release(s, (unsigned)rng_below(&rng, s->in_flight_count));
            if (!asked && rng_below(&rng, 20) == 0)
                asked = status_ok(replace(r));
            loop_run(&f->loop);
            assert_all_in(r);
        }
        assert_true(asked);
        for (unsigned i = 0; i < 50; i++) {
            hold_all(f, false);
            r->spare.hold = false;
            while (r->spare.in_flight_count > 0)
                fake_store_release(&r->spare, 0);
            loop_run(&f->loop);
        }
        for (unsigned i = 0; i < 16; i++)
            assert_false(requests[i].busy);
        assert_rebuilt(r);
        assert_all_in(r);
        rebuild_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_is_moved),
        cmocka_unit_test(both_are_needed_until_it_is_known),
        cmocka_unit_test(answers_of_the_old_disk_are_forgotten),
        cmocka_unit_test(what_waits_for_room_across_a_turn_stays_open),
        cmocka_unit_test(a_trail_may_wait_for_a_round_across_a_turn),
        cmocka_unit_test(what_was_read_is_read_again),
        cmocka_unit_test(points_that_come_late_are_nobodys),
        cmocka_unit_test(the_old_disk_may_fail),
        cmocka_unit_test(who_is_out_comes_first),
        cmocka_unit_test(a_move_that_fails_keeps_nobody_back),
        cmocka_unit_test(one_that_fails_is_alone),
        cmocka_unit_test(what_is_taken_back_is_given_up),
        cmocka_unit_test(who_is_taken_back_is_told_nothing),
        cmocka_unit_test(an_old_disk_that_hangs_keeps_nothing_back),
        cmocka_unit_test(a_growth_waits_for_the_old_disk),
        cmocka_unit_test(an_old_disk_that_slices_know_stays),
        cmocka_unit_test(a_growth_waits_for_what_is_given_up),
        cmocka_unit_test(what_is_left_over_is_deleted_with_the_volume),
        cmocka_unit_test(what_is_not_known_is_deleted),
        cmocka_unit_test(another_incarnation_gets_no_slot),
        cmocka_unit_test(hosts_go_on_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

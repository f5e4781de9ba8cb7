/* SPDX-License-Identifier: Apache-2.0 */
/* How a replica that was resynced becomes a member: docs/replication.md, 9.8 to 9.10, 11.1. */
#include "resync_case.h"
#include "volume/rounds.h"

/* It is durable there, too, before the record says so. */
static void it_is_flushed_before_it_is_admitted(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(2);
    assert_true(c->f->stores[AWAY].writes > 0);
    assert_true(c->f->stores[AWAY].flushes > 0);
    assert_false(c->f->stores[AWAY].unflushed);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&c->f->loop);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

/* From before the commit on, writes and Flushes wait for it: the record may have it already. */
static void it_is_needed_before_that_is_known(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(2);
    struct fixture *f = c->f;
    struct request w = { 0 }, flush = { 0 };
    write_ok(f, admitting(c) * 256 * K + 64 * K, 0x33);
    f->stores[AWAY].hold = true;
    fill(f, 0, BLOCK, 0x22);
    submit(f, &w, 0, 0, NVME_NS_WRITE, admitting(c) * 256 * K, BLOCK);
    submit(f, &flush, 1, 1, NVME_NS_FLUSH, 0, 0);
    loop_run(&f->loop);
    assert_true(w.busy && flush.busy);
    c->meta.hold = false;
    hold_all(f, false);
    assert_false(w.busy || flush.busy);
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 9.10: if it fails meanwhile it is excluded when the outcome is known, and not before. */
static void if_it_fails_meanwhile_it_is_excluded_after(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(2);
    struct fixture *f = c->f;
    struct request w = { 0 };
    const unsigned commits = c->meta.commits;
    f->stores[AWAY].fail_next = STATUS(MEDIA_WRITE);
    fill(f, 0, BLOCK, 0x22);
    submit(f, &w, 0, 0, NVME_NS_WRITE, admitting(c) * 256 * K, BLOCK);
    loop_run(&f->loop);
    assert_true(w.busy);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_OK);
    assert_int_equal(c->meta.commits, commits + 1);
    assert_false(is_member(c, AWAY));
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

#define UNLISTED (3 * M) /* Of shard 0, its second region. */

/* Ends all that a disk was asked for, but what is kept. */
static void release_but(struct fixture *f, unsigned disk, bool (*keeps)(const struct store_io *io))
{
    for (bool any = true; any;) {
        unsigned index = 0;
        any = false;
        LIST_FOR_EACH (n, &f->stores[disk].in_flight) {
            any = !keeps(CONTAINER_OF(n, struct store_io, link));
            if (any)
                break;
            index++;
        }
        if (any)
            fake_store_release(&f->stores[disk], index);
        loop_run(&f->loop);
    }
}

static bool is_unlisted_write(const struct store_io *io)
{
    return io->opcode == STORE_OP_WRITE && io->offset >= M;
}

static bool is_flush(const struct store_io *io)
{
    return io->opcode == STORE_OP_FLUSH;
}

static bool is_hash(const struct store_io *io)
{
    return io->opcode == STORE_OP_HASH;
}

/* A write that was acknowledged without it, and has not reached it, keeps it from admission. */
static void it_has_answered_all_before(void **state)
{
    (void)state;
    struct case_ *c = case_copying();
    struct fixture *f = c->f;
    write_ok(f, UNLISTED, 0x22);
    release_but(f, AWAY, is_unlisted_write);
    assert_int_equal(f->stores[AWAY].in_flight_count, 1);
    assert_false(is_in(c, AWAY, 0));
    assert_true(is_in(c, AWAY, 1));
    hold_all(f, false);
    assert_true(is_in(c, AWAY, 0));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* Gets the resync of shard 0 on, beside a write that disks AWAY and 2 do not answer. */
static void go_on_beside(struct case_ *c, struct request *w)
{
    struct fixture *const f = c->f;

    f->stores[2].hold = true;
    fill(f, 0, BLOCK, 0x22);
    submit(f, w, 0, 0, NVME_NS_WRITE, UNLISTED, BLOCK);
    loop_run(&f->loop);
}

static void step_beside(struct fixture *f)
{
    release_but(f, AWAY, is_unlisted_write);
    release_but(f, 2, is_unlisted_write);
}

static bool is_no_unlisted_write(const struct store_io *io)
{
    return !is_unlisted_write(io);
}

/* What was not sent to it, as its list was full, is when it is a member. */
static void what_waits_for_room_is_sent_to_the_member(void **state)
{
    (void)state;
    struct case_ *c = case_copying();
    struct fixture *f = c->f;
    struct request w = { 0 };
    const unsigned writes_before = f->stores[AWAY].writes;
    go_on_beside(c, &w);
    f->stores[AWAY].fail_next = STATUS(LIST_FULL);
    release_but(f, AWAY, is_no_unlisted_write);
    for (unsigned i = 0; i < 10; i++)
        step_beside(f);
    assert_true(is_in_all(c, AWAY));
    assert_true(w.busy);
    assert_int_not_equal(got(c, AWAY, 0, M), 0x22);
    hold_all(f, false);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_OK);
    assert_true(is_in_all(c, AWAY));
    assert_int_equal(f->stores[AWAY].writes, writes_before + 2); /* With the one that was copied. */
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* Two disks are away; the first one that is back knows what the other one missed. */
static void it_takes_over_what_members_list_for_others(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;
    f->disks[1].store = NULL;
    f->disks[2].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    write_ok(f, 0, 0x11);
    for (unsigned i = 0; i < 3; i++) {
        write_ok(f, 8 * M, 0x33); /* Shard 5, its first region. */
        write_ok(f, 8 * M, 0x00); /* Zeros: there is nothing to be copied. */
        loop_pass(&f->loop, VOLUME_ROUND_NS);
    }
    bring_back(c, 1);
    loop_run(&f->loop);
    assert_true(is_in_all(c, 1));
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        for (unsigned region = 0; region < FAKE_REGIONS; region++) {
            const uint8_t slot = slot_bit(2, shard);
            assert_int_equal(f->stores[1].listed[shard][region] & slot,
                             f->stores[0].listed[shard][region] & slot);
        }
    }
    assert_true(f->stores[1].merges > 0);
    /* In the current tick, or what was told to be closed before would take it out. */
    assert_true(f->stores[0].closed[5][0] >= 3);
    assert_true(f->stores[1].ticks[5][0] > f->stores[0].closed[5][0]);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[1].listed[5][0], slot_bit(2, 5));
    bring_back(c, 2);
    loop_run(&f->loop);
    assert_true(is_in_all(c, 2));
    assert_equal_to_first(c, 1);
    assert_equal_to_first(c, 2);
    case_destroy(c);
}

/*
 * I6: zeros where it has nothing it does not list itself.  The members have them unflushed, and a
 * member that loses them with its power must be listed by whoever is left.
 */
static void zeros_where_it_has_nothing_are_listed_there(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    write_ok(f, UNLISTED, 0x22);
    f->stores[AWAY].hold = true;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_int_equal(run(f, NVME_NS_WRITE_ZEROES, false, UNLISTED, BLOCK).code, STATUS_OK);
    assert_int_equal(f->stores[0].listed[0][1], 7);
    hold_all(f, false);
    assert_true(is_in(c, AWAY, 0));
    assert_int_equal(f->stores[AWAY].writes, 0);
    assert_int_equal(f->stores[AWAY].listed[0][1], 7 & ~slot_bit(AWAY, 0));
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[AWAY].listed[0][1], 0);
    assert_int_equal(f->stores[0].listed[0][1], 0);
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* R6: what its disk may have lost since it joined keeps it out. */
static void another_incarnation_is_not_admitted(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    f->stores[AWAY].incarnation = 9;
    hold_all(f, false);
    assert_false(is_member(c, AWAY));
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    assert_int_equal(c->meta.record.copysets[0].slots[AWAY].incarnation, 9);
    case_destroy(c);
}

/* 9.10: Flushes wait for it no more when its admission has failed. */
static void no_flush_waits_for_who_was_not_admitted(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct fixture *f = c->f;
    struct store *const s = &f->stores[AWAY];
    write_ok(f, 0, 0x11);
    s->hold = true;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    release_but(f, AWAY, is_flush);
    while (s->in_flight_count > 0) {
        s->fail_next = STATUS(MEDIA_WRITE);
        fake_store_release(s, 0);
    }
    loop_run(&f->loop);
    assert_false(is_member(c, AWAY));
    write_ok(f, 0, 0x22);
    assert_int_equal(run(f, NVME_NS_FLUSH, false, 0, 0).code, STATUS_OK);
    assert_int_equal(s->in_flight_count, 0);
    hold_all(f, false);
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

static bool is_keep(const struct store_io *io)
{
    return io->opcode == STORE_OP_KEEP_POINTS && io->fua;
}

static bool is_list_points(const struct store_io *io)
{
    return io->opcode == STORE_OP_LIST_POINTS && io->offset == 0;
}

/* AWAY is in sync but for one copyset, where it has this to answer next. */
static struct case_ *case_but_one(bool (*next)(const struct store_io *io))
{
    struct case_ *c = case_copying();
    struct fixture *f = c->f;
    write_ok(f, UNLISTED, 0x22);
    release_but(f, AWAY, is_unlisted_write);
    assert_true(is_in(c, AWAY, 1) && is_in(c, AWAY, 2));
    release_but(f, AWAY, next);
    assert_int_equal(f->stores[AWAY].in_flight_count, 1);
    return c;
}

/* Its resync there fails, and is begun anew later; nobody is excluded anywhere. */
static void assert_it_alone_fails(struct case_ *c)
{
    hold_all(c->f, false);
    assert_true(is_in_all(c, 0) && is_in_all(c, 2));
    assert_true(is_in(c, AWAY, 1) && is_in(c, AWAY, 2));
    assert_false(is_in(c, AWAY, 0));
    for (unsigned i = 0; i < 2; i++)
        loop_pass(&c->f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* R6: where it has joined later, as what it is now, it is well. */
static void an_older_join_is_no_failure_elsewhere(void **state)
{
    (void)state;
    struct case_ *c = case_but_one(is_list_points);
    c->f->stores[AWAY].incarnation = 9;
    fake_store_release(&c->f->stores[AWAY], 0);
    c->f->stores[AWAY].incarnation = 1;
    assert_it_alone_fails(c);
}

/* The same where a round finds it that it takes part in. */
static void nor_is_it_one_that_a_round_finds(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    f->disks[AWAY].store = NULL;
    fixture_limit_resyncs(f, M / 4); /* A region in four seconds. */
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    write_ok(f, 0, 0x11);
    write_ok(f, UNLISTED, 0x22);
    bring_back(c, AWAY);
    loop_run(&f->loop);
    assert_true(is_in(c, AWAY, 1) && is_in(c, AWAY, 2));
    f->stores[AWAY].hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    release_but(f, AWAY, is_list_points);
    assert_int_equal(f->stores[AWAY].in_flight_count, 1);
    f->stores[AWAY].incarnation = 9;
    fake_store_release(&f->stores[AWAY], 0);
    f->stores[AWAY].incarnation = 1;
    assert_it_alone_fails(c);
}

/* 3.7.6, 9.18: that it has lost its point is recorded where it is out; else it is to be moved. */
static void who_has_lost_its_point_is_copied_whole(void **state)
{
    (void)state;
    struct case_ *c = case_but_one(is_keep);
    const unsigned commits = c->meta.commits;
    c->f->stores[AWAY].fail_next = STATUS(POINT_LOST);
    fake_store_release(&c->f->stores[AWAY], 0);
    loop_run(&c->f->loop);
    assert_int_equal(c->meta.commits, commits + 1);
    assert_true(c->meta.record.copysets[0].slots[AWAY].whole);
    assert_true(is_in(c, AWAY, 1) && is_in(c, AWAY, 2));
    hold_all(c->f, false);
    assert_true(is_in_all(c, AWAY)); /* At once. */
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 3.7.1: a member that is full, and cannot keep the points of before the admission, stays one. */
static void a_full_member_keeps_no_points(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 1);
    struct store *const s = &c->f->stores[2];
    write_ok(c->f, 0, 0x11);
    s->hold = true;
    bring_back(c, AWAY);
    release_but(c->f, 2, is_keep);
    assert_int_equal(s->in_flight_count, DISKS);
    while (s->in_flight_count > 0) {
        s->fail_next = STATUS(NO_SPACE);
        fake_store_release(s, 0);
    }
    hold_all(c->f, false);
    assert_true(is_in_all(c, 2));
    assert_false(is_member(c, AWAY));
    loop_pass(&c->f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

/* ---- Full disks (11.1) ---- */

/* What all members have refused, as they are full, the disk may have executed: it is not kept. */
static void what_members_refused_is_not_kept(void **state)
{
    (void)state;
    struct case_ *c = case_copying();
    struct fixture *f = c->f;
    f->stores[0].fail_next = STATUS(NO_SPACE);
    f->stores[2].fail_next = STATUS(NO_SPACE);
    fill(f, 0, BLOCK, 0x22);
    assert_int_equal(run(f, NVME_NS_WRITE, false, UNLISTED, BLOCK).code, STATUS_NO_SPACE);
    hold_all(f, false);
    assert_int_equal(got(c, AWAY, 0, M), 0x22);
    assert_false(is_in(c, AWAY, 0));
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 9.10, 11.1: a write that full members have refused waits until it is known whether the disk is
 * one, too; then it is taken back there. */
static void who_was_admitted_takes_it_back(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(1);
    struct fixture *f = c->f;
    struct request w = { 0 };
    for (unsigned i = 1; i < DISKS; i++) { /* The last one. */
        meta_release(&c->meta);
        loop_run(&f->loop);
    }
    f->stores[0].write_status = f->stores[2].write_status = STATUS(NO_SPACE);
    submit(f, &w, 0, 0, NVME_NS_WRITE, admitting(c) * 256 * K, BLOCK);
    loop_run(&f->loop);
    assert_true(w.busy);
    f->stores[0].write_status = f->stores[2].write_status = STATUS(OK);
    const unsigned commits = c->meta.commits;
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_NO_SPACE);
    assert_int_equal(c->meta.commits, commits);
    assert_true(is_in_all(c, 0) && is_in_all(c, AWAY) && is_in_all(c, 2));
    assert_equal_to_first(c, AWAY);
    assert_equal_to_first(c, 2);
    case_destroy(c);
}

/* 11.1: a write for which it has no space is taken back when it is a member, and it stays one. */
static void if_it_is_full_meanwhile_it_is_a_member(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(2);
    struct fixture *f = c->f;
    struct request w = { 0 };
    f->stores[AWAY].fail_next = STATUS(NO_SPACE);
    fill(f, 0, BLOCK, 0x22);
    submit(f, &w, 0, 0, NVME_NS_WRITE, admitting(c) * 256 * K, BLOCK);
    loop_run(&f->loop);
    assert_true(w.busy);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_NO_SPACE);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* The same of a write that was sent to it before its admission began. */
static void if_it_was_full_before_it_is_a_member(void **state)
{
    (void)state;
    struct case_ *c = case_copying();
    struct fixture *f = c->f;
    struct request w = { 0 };
    go_on_beside(c, &w);
    c->meta.hold = true;
    step_beside(f);
    for (unsigned i = 0; i < 10 && (c->meta.done == NULL || admitting(c) != 0); i++) {
        if (c->meta.done != NULL)
            meta_release(&c->meta);
        loop_run(&f->loop);
        step_beside(f);
    }
    assert_int_equal(admitting(c), 0);
    f->stores[AWAY].fail_next = STATUS(NO_SPACE);
    hold_all(f, false);
    assert_true(w.busy);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_NO_SPACE);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 11.1: in one copyset it is a member, in another one it has no space for what is copied to it. */
static void if_it_is_full_elsewhere_it_stays(void **state)
{
    (void)state;
    struct case_ *c = case_copying();
    struct fixture *f = c->f;
    write_ok(f, UNLISTED, 0x22);
    release_but(f, AWAY, is_unlisted_write);
    assert_true(is_in(c, AWAY, 1) && is_in(c, AWAY, 2));
    f->stores[AWAY].fail_next = STATUS(NO_SPACE);
    hold_all(f, false);
    assert_true(is_in(c, AWAY, 1) && is_in(c, AWAY, 2));
    assert_false(is_in(c, AWAY, 0));
    loop_pass(&f->loop, VOLUME_RESYNC_AGAIN_NS);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    case_destroy(c);
}

/* 9.10, 11.1: a write is being taken back when the admission of a disk begins that has executed it:
 * it is taken back there, too. */
static void it_takes_back_what_was_being_taken_back(void **state)
{
    (void)state;
    struct case_ *c = case_joined();
    struct fixture *f = c->f;
    struct request w = { 0 };
    release_but(f, AWAY, is_flush);
    c->meta.hold = true;
    f->stores[0].fail_next = STATUS(NO_SPACE);
    fill(f, 0, BLOCK, 0x22);
    submit(f, &w, 0, 0, NVME_NS_WRITE, 64 * K, BLOCK); /* Of shard 0. */
    loop_run(&f->loop);
    f->stores[2].hold = true;
    release_but(f, AWAY, is_flush);
    assert_int_equal(got(c, AWAY, 0, 64 * K), 0x22);
    f->stores[AWAY].hold = false;
    while (f->stores[AWAY].in_flight_count > 0)
        fake_store_release(&f->stores[AWAY], 0);
    loop_run(&f->loop);
    release_but(f, 2, is_hash); /* It is told how far AWAY is durable. */
    while (admitting(c) != 0) {
        meta_release(&c->meta);
        loop_run(&f->loop);
        release_but(f, 2, is_hash);
    }
    hold_all(f, false);
    assert_true(w.busy);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(w.busy);
    assert_int_equal(w.req.status.code, STATUS_NO_SPACE);
    assert_true(is_in_all(c, AWAY));
    assert_equal_to_first(c, AWAY);
    assert_equal_to_first(c, 2);
    case_destroy(c);
}

/* R7, 9.10: a newer engine may have it as its only member before this one knows the outcome. */
static void a_read_asks_who_may_be_a_member(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(1);
    struct fixture *f = c->f;
    struct request r = { 0 };
    f->stores[AWAY].session_status = STATUS(STALE_EPOCH);
    submit(f, &r, 0, 0, NVME_NS_READ, admitting(c) * 256 * K, BLOCK);
    loop_run(&f->loop);
    assert_true(r.busy);
    c->meta.conflict = true;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_FENCED);
    case_destroy(c);
}

/* 11.4: a member that is needed, and fails a write, leaves when another one is admitted. */
static void who_fails_is_replaced(void **state)
{
    (void)state;
    struct case_ *c = case_without(AWAY, 2);
    struct request r = { 0 };

    c->f->stores[2].write_status = STATUS(MEDIA_WRITE);
    fill(c->f, 0, BLOCK, 0x22);
    submit(c->f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&c->f->loop);
    assert_true(r.busy);
    bring_back(c, AWAY);
    for (unsigned i = 0; i < 30 && r.busy; i++)
        loop_pass(&c->f->loop, NS_PER_S);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    assert_true(is_in(c, AWAY, 0));
    assert_false(is_in(c, 2, 0));
    assert_memory_equal(c->f->stores[AWAY].shards[0], c->f->stores[0].shards[0], BLOCK);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_flushed_before_it_is_admitted),
        cmocka_unit_test(it_is_needed_before_that_is_known),
        cmocka_unit_test(if_it_fails_meanwhile_it_is_excluded_after),
        cmocka_unit_test(it_has_answered_all_before),
        cmocka_unit_test(what_waits_for_room_is_sent_to_the_member),
        cmocka_unit_test(it_takes_over_what_members_list_for_others),
        cmocka_unit_test(zeros_where_it_has_nothing_are_listed_there),
        cmocka_unit_test(another_incarnation_is_not_admitted),
        cmocka_unit_test(no_flush_waits_for_who_was_not_admitted),
        cmocka_unit_test(an_older_join_is_no_failure_elsewhere),
        cmocka_unit_test(nor_is_it_one_that_a_round_finds),
        cmocka_unit_test(who_has_lost_its_point_is_copied_whole),
        cmocka_unit_test(a_full_member_keeps_no_points),
        cmocka_unit_test(what_members_refused_is_not_kept),
        cmocka_unit_test(who_was_admitted_takes_it_back),
        cmocka_unit_test(if_it_is_full_meanwhile_it_is_a_member),
        cmocka_unit_test(if_it_was_full_before_it_is_a_member),
        cmocka_unit_test(if_it_is_full_elsewhere_it_stays),
        cmocka_unit_test(it_takes_back_what_was_being_taken_back),
        cmocka_unit_test(a_read_asks_who_may_be_a_member),
        cmocka_unit_test(who_fails_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

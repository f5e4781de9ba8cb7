/* SPDX-License-Identifier: Apache-2.0 */
/* When the region lists are closed: docs/replication.md, 3.4; I6. */
#include "replicas_case.h"
#include "volume/rounds.h"

#define AWAY 1u /* A disk that is out; slot 1 of shard 0. */

static void assert_listed(const struct case_ *c, uint32_t shard, uint8_t slots)
{
    for (unsigned i = 0; i < DISKS; i++) {
        if (is_member(c, i))
            assert_int_equal(c->f->stores[i].listed[shard][0], slots);
    }
}

static unsigned flushes(const struct case_ *c)
{
    return c->f->stores[0].flushes + c->f->stores[1].flushes + c->f->stores[2].flushes;
}

/* 3.4: what is quiet is flushed everywhere, and then closed everywhere; then nothing more is done.
 */
static void quiet_regions_close(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    assert_listed(c, 0, 7);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_listed(c, 0, 0);
    assert_int_equal(flushes(c), 3);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(flushes(c), 3);
    assert_int_equal(f->stores[0].closes, 1);
    case_destroy(c);
}

/* 3.4 (2), (5): a region in which a write is under way stays open at all of them. */
static void a_write_under_way_keeps_its_region_open(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    f->stores[2].hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, BLOCK, BLOCK);
    loop_run(&f->loop);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_listed(c, 0, 7);
    assert_int_equal(flushes(c), 0);
    f->stores[2].hold = false;
    fake_store_release(&f->stores[2], 0);
    loop_run(&f->loop); /* The round goes on. */
    assert_listed(c, 0, 0);
    case_destroy(c);
}

/* A write that begins while the round flushes opens its region anew: it is not closed. */
static void a_write_during_the_flush_keeps_it_open_too(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    f->stores[1].hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[1].in_flight_count, 1); /* The Flush. */
    struct request r = { 0 };
    submit(f, &r, 0, 0, NVME_NS_WRITE, BLOCK, BLOCK);
    loop_run(&f->loop);
    f->stores[1].hold = false;
    fake_store_release(&f->stores[1], 0);
    fake_store_release(&f->stores[1], 0);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_listed(c, 0, 7);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_listed(c, 0, 0);
    case_destroy(c);
}

/* I6: who is out stays in the others' lists. */
static void who_is_out_stays_listed(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_listed(c, 0, 2); /* Disk 1 is slot 1 of the first copyset. */
    case_destroy(c);
}

/* A member that does not confirm the round's Flush is excluded, and the next round closes. */
static void a_round_excludes_who_does_not_flush(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_false(is_member(c, 2));
    assert_listed(c, 0, 7);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_listed(c, 0, 4);
    case_destroy(c);
}

/* I6: who is excluded after it has confirmed the round's Flush is not closed with the others. */
static void who_goes_out_during_a_round_stays_listed(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    struct request r = { 0 };
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 3 * M, BLOCK).code, STATUS_OK);
    f->stores[1].hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(f->stores[1].in_flight_count, 1); /* The Flush. */
    f->stores[2].fail_next = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    fake_store_release(&f->stores[1], 1); /* The write. */
    loop_run(&f->loop);
    fake_store_release(&f->stores[1], 1); /* SET. */
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_false(is_member(c, 2));
    f->stores[1].hold = false;
    fake_store_release(&f->stores[1], 0);
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].listed[0][1], 4);
    assert_int_equal(f->stores[1].listed[0][1], 4);
    assert_listed(c, 0, 7); /* Written since. */
    case_destroy(c);
}

/* Closing a volume ends its round first, at whatever point that is. */
static void a_round_under_way_ends_before_the_close(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    f->stores[1].hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    f->closed = false;
    volume_close(f->volume, fixture_on_closed, f);
    loop_run(&f->loop);
    assert_false(f->closed);
    f->stores[1].hold = false;
    fake_store_release(&f->stores[1], 0);
    loop_run(&f->loop);
    assert_true(f->closed);
    f->volume = NULL;
    case_destroy(c);
}

/* 3.4 (2): what is ended with the engine may have been executed by some of them alone. */
static void a_write_that_is_fenced_keeps_its_region_open(void **state)
{
    (void)state;
    struct case_ *c = case_opened(3); /* Nobody can be excluded: it waits. */
    struct fixture *f = c->f;
    struct request r = { 0 };
    f->stores[2].write_status = STATUS(MEDIA_WRITE);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_true(r.busy);
    volume_fence(f->volume);
    loop_run(&f->loop);
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_FENCED);
    assert_int_equal(f->stores[0].closes + f->stores[1].closes, 0);
    assert_int_equal(f->stores[0].listed[0][0], 7);
    case_destroy(c);
}

/* Whether a disk has been asked for this, as its out_index-th command. */
static bool is_asked(const struct store *s, enum store_opcode opcode, unsigned *out_index)
{
    *out_index = 0;
    LIST_FOR_EACH (n, &s->in_flight) {
        if (CONTAINER_OF(n, const struct store_io, link)->opcode == opcode)
            return true;
        (*out_index)++;
    }
    return false;
}

/* Ends what a disk was asked for first, until it is asked for this. */
static void step_until(struct fixture *f, unsigned disk, enum store_opcode opcode)
{
    struct store *const s = &f->stores[disk];
    unsigned index;

    while (!is_asked(s, opcode, &index)) {
        assert_true(s->in_flight_count > 0);
        fake_store_release(s, 0);
        loop_run(&f->loop);
    }
}

static void release(struct fixture *f, unsigned disk, enum store_opcode opcode)
{
    unsigned index;

    assert_true(is_asked(&f->stores[disk], opcode, &index));
    fake_store_release(&f->stores[disk], index);
    loop_run(&f->loop);
}

/* Nor is the region closed of a write that one store has no room for, and others have executed,
 * although it does not count as under way: the round is to make room for it. */
static void a_write_that_waits_for_room_keeps_its_region_open(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 2; late++) { /* Whether the round has begun before. */
        struct case_ *c = case_opened(2);
        struct fixture *f = c->f;
        struct request r = { 0 };
        assert_int_equal(run(f, NVME_NS_WRITE, false, 3 * M, BLOCK).code, STATUS_OK);
        f->stores[2].hold = true;
        fill(f, 0, BLOCK, 0x22);
        submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
        loop_run(&f->loop);
        if (late == 1)
            loop_pass(&f->loop, VOLUME_ROUND_NS);
        f->stores[2].fail_next = STATUS(LIST_FULL);
        fake_store_release(&f->stores[2], 0);
        loop_run(&f->loop);
        step_until(f, 2, STORE_OP_FLUSH);
        step_until(f, 2, STORE_OP_CLOSE_REGIONS);
        assert_int_equal(f->stores[0].listed[0][1], 0);
        assert_int_equal(f->stores[0].listed[0][0], 7); /* It is at disk 0, and not at disk 2. */
        assert_int_equal(f->stores[1].listed[0][0], 7);
        step_until(f, 2, STORE_OP_WRITE);
        f->stores[2].hold = false;
        fake_store_release(&f->stores[2], 0);
        loop_run(&f->loop);
        assert_false(r.busy);
        assert_int_equal(r.req.status.code, STATUS_OK);
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        assert_listed(c, 0, 0);
        case_destroy(c);
    }
}

/* A replica that is about to be resynced, in two regions; what it is asked for waits. */
static struct case_ *case_returning(void)
{
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    fill(f, 0, BLOCK, 0x11);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 3 * M, BLOCK).code, STATUS_OK);
    f->stores[AWAY].hold = true;
    f->disks[AWAY].store = &f->stores[AWAY];
    assert_int_equal(volume_leg_returned(f->volume, &f->disks[AWAY]).code, STATUS_OK);
    loop_run(&f->loop);
    return c;
}

/* Of a round that began before. */
static void end_round(struct fixture *f)
{
    for (unsigned index; is_asked(&f->stores[AWAY], STORE_OP_FLUSH, &index);)
        release(f, AWAY, STORE_OP_FLUSH);
    for (unsigned index; is_asked(&f->stores[AWAY], STORE_OP_CLOSE_REGIONS, &index);)
        release(f, AWAY, STORE_OP_CLOSE_REGIONS);
}

/* The same of what follows to a replica that is being resynced, in a region that it has already. */
static void what_follows_and_waits_for_room_keeps_its_region_open(void **state)
{
    (void)state;
    struct case_ *c = case_returning();
    struct fixture *f = c->f;
    struct request r = { 0 };
    step_until(f, AWAY, STORE_OP_WRITE); /* Of region 0. */
    release(f, AWAY, STORE_OP_WRITE);
    step_until(f, AWAY, STORE_OP_HASH); /* Of region 1. */
    end_round(f);
    submit(f, &r, 0, 0, NVME_NS_WRITE, 0, BLOCK);
    loop_run(&f->loop);
    assert_false(r.busy);
    f->stores[AWAY].write_status = STATUS(LIST_FULL);
    f->stores[0].closes = 0;
    while (f->stores[0].closes == 0) { /* A round, for which the copy makes way, too. */
        assert_true(f->stores[AWAY].in_flight_count > 0);
        fake_store_release(&f->stores[AWAY], f->stores[AWAY].in_flight_count - 1);
        loop_run(&f->loop);
    }
    assert_true((f->stores[0].listed[0][0] >> AWAY & 1) != 0);
    f->stores[AWAY].write_status = STATUS(OK);
    f->stores[AWAY].hold = false;
    while (f->stores[AWAY].in_flight_count > 0)
        fake_store_release(&f->stores[AWAY], 0);
    loop_run(&f->loop);
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_true(is_member(c, AWAY));
    assert_listed(c, 0, 0);
    case_destroy(c);
}

/* And if what it follows waits for room as well, neither keeps the round from ending. */
static void what_follows_and_what_it_follows_wait_for_room(void **state)
{
    (void)state;
    struct case_ *c = case_returning();
    struct fixture *f = c->f;
    struct request r = { 0 };
    step_until(f, AWAY, STORE_OP_HASH);
    for (unsigned i = 0; i < 3; i++)
        end_round(f);
    f->stores[2].hold = true;
    submit(f, &r, 0, 0, NVME_NS_WRITE, 6 * M, BLOCK);
    loop_run(&f->loop);
    f->stores[2].fail_next = STATUS(LIST_FULL);
    release(f, 2, STORE_OP_WRITE);
    f->stores[AWAY].write_status = STATUS(LIST_FULL);
    release(f, AWAY, STORE_OP_WRITE);
    f->stores[AWAY].write_status = STATUS(OK);
    c->meta.hold = true; /* No change of members lets them go on. */
    hold_all(f, false);
    for (unsigned i = 0; i < 4; i++)
        loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_false(is_member(c, AWAY));
    assert_false(r.busy);
    assert_int_equal(r.req.status.code, STATUS_OK);
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_true(is_member(c, AWAY));
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quiet_regions_close),
        cmocka_unit_test(a_write_under_way_keeps_its_region_open),
        cmocka_unit_test(a_write_during_the_flush_keeps_it_open_too),
        cmocka_unit_test(who_is_out_stays_listed),
        cmocka_unit_test(a_round_excludes_who_does_not_flush),
        cmocka_unit_test(who_goes_out_during_a_round_stays_listed),
        cmocka_unit_test(a_round_under_way_ends_before_the_close),
        cmocka_unit_test(a_write_that_is_fenced_keeps_its_region_open),
        cmocka_unit_test(a_write_that_waits_for_room_keeps_its_region_open),
        cmocka_unit_test(what_follows_and_waits_for_room_keeps_its_region_open),
        cmocka_unit_test(what_follows_and_what_it_follows_wait_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Flush points, and disks that have lost theirs: docs/replication.md, 3.7. */
#include "resync_case.h"
#include "volume/rounds.h"

#define LOST 50u /* What a disk has lost, it had named up to here. */

/* The point of a disk that another one keeps, in a copyset. */
static const struct store_point *kept(const struct case_ *c, unsigned at, uint32_t copyset,
                                      unsigned disk)
{
    for (unsigned i = 0; i < STORE_COPYSET_POINTS; i++) {
        const struct store_point *const p = &c->f->stores[at].kept[copyset][i];
        if (p->position != 0 && uuid_equal(p->disk, disk_uuid(disk)))
            return p;
    }
    return NULL;
}

/* As if rounds had been told of a disk before. */
static void has_kept(struct case_ *c, unsigned at, unsigned disk)
{
    for (uint32_t n = 0; n < DISKS; n++)
        c->f->stores[at].kept[n][0] = (struct store_point) {
            .copyset = n, .disk = disk_uuid(disk), .incarnation = 1, .position = LOST
        };
}

static void loses(struct case_ *c, unsigned disk)
{
    c->f->stores[disk].position = 2 * LOST;
    c->f->stores[disk].lost_to = LOST;
}

/* ---- Rounds ---- */

/* 3.7.1: nobody is told to close anything before all keep how far each of them is durable. */
static void what_a_round_rests_on_is_kept_first(void **state)
{
    (void)state;
    struct case_ *c = case_opened(2);
    struct fixture *f = c->f;
    write_ok(f, 0, 0x11);
    loop_pass(&f->loop, VOLUME_ROUND_NS / 2);
    f->stores[2].hold = true;
    loop_pass(&f->loop, VOLUME_ROUND_NS);
    fake_store_release(&f->stores[2], 0); /* FLUSH. */
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].keeps + f->stores[1].keeps, 0);
    fake_store_release(&f->stores[2], 0); /* Its point. */
    loop_run(&f->loop);
    assert_int_equal(f->stores[0].keeps, 1);
    assert_int_equal(f->stores[1].keeps, 1);
    assert_int_equal(f->stores[0].closes + f->stores[1].closes, 0);
    f->stores[2].hold = false;
    fake_store_release(&f->stores[2], 0);
    loop_run(&f->loop);
    for (unsigned at = 0; at < DISKS; at++) {
        assert_int_equal(f->stores[at].closes, 1);
        for (unsigned disk = 0; disk < DISKS; disk++) {
            assert_non_null(kept(c, at, 0, disk));
            assert_int_equal(kept(c, at, 0, disk)->position, f->stores[disk].position + 1);
            assert_int_equal(kept(c, at, 0, disk)->incarnation, 1);
        }
    }
    case_destroy(c);
}

/* One cannot be asked, or cannot keep them: nothing is closed.  Nobody is excluded for being full.
 */
static void without_one_nothing_is_closed(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 2; step++) {
        struct case_ *c = case_opened(2);
        struct fixture *f = c->f;
        write_ok(f, 0, 0x11);
        f->stores[2].hold = true;
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        for (unsigned i = 0; i <= step; i++) {
            fake_store_release(&f->stores[2], 0);
            loop_run(&f->loop);
        }
        f->stores[2].fail_next = STATUS(NO_SPACE);
        fake_store_release(&f->stores[2], 0);
        f->stores[2].hold = false;
        loop_run(&f->loop);
        for (unsigned at = 0; at < DISKS; at++) {
            assert_int_equal(f->stores[at].closes, 0);
            assert_int_equal(f->stores[at].listed[0][0], ALL_SLOTS);
        }
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        assert_true(is_member(c, 2));
        assert_int_equal(f->stores[0].listed[0][0], 0);
        case_destroy(c);
    }
}

/* A disk that names less than it had, or another incarnation than it was flushed with, is not
 * believed. */
static void a_position_does_not_fall(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 2; how++) {
        struct case_ *c = case_opened(2);
        struct fixture *f = c->f;
        write_ok(f, 0, 0x11);
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        assert_true(is_member(c, 2));
        write_ok(f, 0, 0x22);
        f->stores[2].hold = true;
        loop_pass(&f->loop, VOLUME_ROUND_NS);
        fake_store_release(&f->stores[2], 0);
        loop_run(&f->loop);
        if (how == 0)
            f->stores[2].position = 0;
        else
            f->stores[2].incarnation = 2;
        fake_store_release(&f->stores[2], 0);
        f->stores[2].hold = false;
        loop_run(&f->loop);
        assert_false(is_member(c, 2));
        case_destroy(c);
    }
}

/* ---- A new engine ---- */

/* 3.7.5: it has not answered, as far as 7.4 is concerned, and nothing that it lists is believed. */
static void who_has_lost_its_own_is_no_member(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    has_kept(c, 0, 2);
    loses(c, 2);
    for (unsigned disk = 0; disk < 2; disk++)
        put(c, disk, 0, 3 * BLOCK, 0x33); /* Nobody lists it. */
    c->meta.hold = true;
    assert_int_equal(fixture_open(f).code, STATUS_TIMED_OUT);
    for (uint32_t n = 0; n < DISKS; n++) {
        const struct group_slot *const s = &c->meta.next.copysets[n].slots[(2 + DISKS - n) % DISKS];
        assert_int_equal(s->state, GROUP_SLOT_OUT);
        assert_true(s->whole);
    }
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&f->loop);
    assert_int_equal(f->open_status.code, STATUS_OK);
    loop_pass(&f->loop, 10 * NS_PER_S);
    assert_true(is_in_all(c, 2)); /* And has what it had lost. */
    assert_int_equal(got(c, 2, 0, 3 * BLOCK), 0x33);
    case_destroy(c);
}

/* It is no source either where all others have lost power (7.4): they may have all. */
static void nor_is_it_a_source(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    has_kept(c, 1, 2);
    loses(c, 2);
    f->stores[0].incarnation = f->stores[1].incarnation = 2;
    f->stores[0].unflushed_loss = f->stores[1].unflushed_loss = true;
    for (unsigned disk = 0; disk < 2; disk++)
        put(c, disk, 0, 0, 0x33);
    put(c, 2, 0, 0, 0x22);
    for (unsigned disk = 0; disk < DISKS; disk++)
        f->stores[disk].listed[0][0] = ALL_SLOTS;
    f->config.waited = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_pass(&f->loop, 10 * NS_PER_S);
    for (unsigned disk = 0; disk < DISKS; disk++)
        assert_int_equal(got(c, disk, 0, 0), 0x33);
    case_destroy(c);
}

/*
 * It stays a member, and is no source: all of it is settled, and that is kept before it is one.  In
 * the same incarnation it may be far behind what it had named.
 */
static void where_it_is_needed_everything_is_settled(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct case_ *c = case_create(3);
        struct fixture *f = c->f;
        has_kept(c, 0, 2);
        if (how < 2)
            loses(c, 2);
        f->stores[2].reverted = how == 2;
        f->stores[2].incarnation += how == 1; /* Otherwise it would be a source. */
        for (unsigned disk = 0; disk < DISKS; disk++)
            put(c, disk, 0, 3 * BLOCK, disk == 2 ? 0x22 : 0x33); /* Nobody lists it. */
        f->stores[2].hold = true;
        assert_int_equal(fixture_open(f).code, STATUS_TIMED_OUT);
        while (!status_ok(f->open_status)) {
            fake_store_release(&f->stores[2], 0);
            loop_run(&f->loop);
        }
        struct request flush = { 0 };
        submit(f, &flush, 0, 0, NVME_NS_FLUSH, 0, 0);
        loop_run(&f->loop);
        assert_true(flush.busy); /* 5.8 */
        hold_all(f, false);
        loop_pass(&f->loop, 10 * NS_PER_S);
        assert_false(flush.busy);
        assert_int_equal(got(c, 2, 0, 3 * BLOCK), 0x33);
        for (uint32_t n = 0; n < DISKS; n++) {
            const struct group_slot *const s =
                &c->meta.record.copysets[n].slots[(2 + DISKS - n) % DISKS];
            assert_int_equal(s->state, GROUP_SLOT_IN);
            assert_int_equal(s->incarnation, f->stores[2].incarnation);
            assert_int_equal(kept(c, 0, n, 2)->position > LOST, how < 2);
        }
        assert_true(f->stores[0].durable_keeps >= DISKS);
        case_destroy(c);
    }
}

static void without_any_other_it_is_not_served(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    for (unsigned disk = 0; disk < DISKS; disk++) {
        has_kept(c, (disk + 1) % DISKS, disk);
        loses(c, disk);
    }
    assert_int_equal(fixture_open(c->f).code, STATUS_UNAVAILABLE);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* Of two that members keep, the one of the higher incarnation counts, and its highest position. */
static void the_latest_counts(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    has_kept(c, 0, 2);
    has_kept(c, 1, 2);
    for (uint32_t n = 0; n < DISKS; n++) {
        f->stores[0].kept[n][0].incarnation = UINT64_C(3) << 32;
        f->stores[0].kept[n][0].position = LOST + 1;
        f->stores[1].kept[n][0].incarnation = UINT64_C(4) << 32;
        f->stores[1].kept[n][0].position = LOST + 2;
    }
    f->stores[2].kept[0][0] =
        (struct store_point) { .disk = disk_uuid(0), .incarnation = 1, .position = 9 };
    f->stores[2].incarnation = UINT64_C(4) << 32; /* It is not renewed. */
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (unsigned at = 0; at < DISKS; at++) {
        assert_int_equal(kept(c, at, 1, 2)->incarnation, UINT64_C(4) << 32);
        assert_int_equal(kept(c, at, 1, 2)->position, LOST + 2);
        assert_int_equal(kept(c, at, 0, 0)->position, 9);
    }
    case_destroy(c);
}

/* A disk does not remember all that it ever had: those of before are renewed, though nobody writes.
 */
static void old_ones_are_renewed(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    has_kept(c, 0, 2);
    f->stores[2].incarnation = 2;
    f->stores[2].position = LOST;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_pass(&f->loop, NS_PER_S);
    for (unsigned at = 0; at < DISKS; at++)
        for (uint32_t n = 0; n < DISKS; n++)
            assert_int_equal(kept(c, at, n, 2)->incarnation, 2);
    const unsigned keeps = f->stores[0].keeps;
    loop_pass(&f->loop, 10 * NS_PER_S);
    assert_int_equal(f->stores[0].keeps, keeps);
    case_destroy(c);
}

/* ---- Resync ---- */

/* 3.7.6: that it has lost it is recorded before anything is closed for it. */
static void a_replica_that_has_lost_its_own_is_copied_whole(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    has_kept(c, 0, AWAY);
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    for (unsigned disk = 0; disk < DISKS; disk++)
        put(c, disk, 0, 3 * BLOCK, disk == AWAY ? 0x22 : 0x33);
    loses(c, AWAY);
    c->meta.hold = true;
    bring_back(c, AWAY);
    loop_run(&f->loop);
    for (unsigned i = 0; i < DISKS; i++) {
        assert_non_null(c->meta.done);
        assert_int_equal(got(c, AWAY, 0, 3 * BLOCK), 0x22);
        meta_release(&c->meta);
        if (i == DISKS - 1)
            c->meta.hold = false;
        loop_run(&f->loop);
    }
    for (uint32_t n = 0; n < DISKS; n++)
        assert_true(c->meta.record.copysets[n].slots[(AWAY + DISKS - n) % DISKS].whole ||
                    is_in(c, AWAY, n));
    loop_pass(&f->loop, 10 * NS_PER_S);
    assert_true(is_in_all(c, AWAY));
    assert_int_equal(got(c, AWAY, 0, 3 * BLOCK), 0x33);
    case_destroy(c);
}

/* A member may have lost what the replica's list rests on, when nobody else was there to tell. */
static void what_the_replica_keeps_is_looked_at_too(void **state)
{
    (void)state;
    struct case_ *c = case_create(1);
    struct fixture *f = c->f;
    has_kept(c, 0, 2); /* What it has confirmed since, which it has. */
    for (uint32_t n = 0; n < DISKS; n++)
        f->stores[0].kept[n][0].position = LOST + 1;
    f->disks[AWAY].store = NULL;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    has_kept(c, AWAY, 2);
    for (unsigned disk = 0; disk < DISKS; disk++)
        put(c, disk, 0, 3 * BLOCK, disk == AWAY ? 0x22 : 0x33);
    loses(c, 2);
    bring_back(c, AWAY);
    loop_pass(&f->loop, 10 * NS_PER_S);
    assert_true(is_in_all(c, AWAY));
    assert_true(f->stores[2].checks > 0);
    assert_int_equal(got(c, AWAY, 0, 3 * BLOCK), 0x33);
    case_destroy(c);
}

/* 3.7.7: what was copied is in no list; so all keep how far it is durable, before the commit. */
static void an_admission_is_kept_by_all(void **state)
{
    (void)state;
    struct case_ *c = case_admitting(2);
    const uint32_t n = admitting(c);
    for (unsigned at = 0; at < DISKS; at++) {
        assert_non_null(kept(c, at, n, AWAY));
        assert_true(kept(c, at, n, AWAY)->position > 1); /* It was flushed before. */
        assert_true(c->f->stores[at].durable_keeps > 0);
    }
    c->meta.hold = false;
    meta_release(&c->meta);
    loop_run(&c->f->loop);
    assert_true(is_in_all(c, AWAY));
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_round_rests_on_is_kept_first),
        cmocka_unit_test(without_one_nothing_is_closed),
        cmocka_unit_test(a_position_does_not_fall),
        cmocka_unit_test(who_has_lost_its_own_is_no_member),
        cmocka_unit_test(nor_is_it_a_source),
        cmocka_unit_test(where_it_is_needed_everything_is_settled),
        cmocka_unit_test(without_any_other_it_is_not_served),
        cmocka_unit_test(the_latest_counts),
        cmocka_unit_test(old_ones_are_renewed),
        cmocka_unit_test(a_replica_that_has_lost_its_own_is_copied_whole),
        cmocka_unit_test(what_the_replica_keeps_is_looked_at_too),
        cmocka_unit_test(an_admission_is_kept_by_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

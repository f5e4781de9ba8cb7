/* SPDX-License-Identifier: Apache-2.0 */
/* Writes that a full disk refuses: docs/replication.md, 11.1; R4, S6. */
#include "io/buf.h"
#include "replicas_case.h"
#include "volume/rounds.h"

#define OLD 0x11
#define NEW 0x22

/* Two blocks of shard 0 with what is old, or nothing. */
static struct case_ *case_filled(unsigned min_in_sync, bool written)
{
    struct case_ *c = case_opened(min_in_sync);
    struct fixture *f = c->f;
    if (written) {
        fill(f, 0, 2 * BLOCK, OLD);
        assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 2 * BLOCK).code, STATUS_OK);
    }
    fill(f, 0, 2 * BLOCK, NEW);
    return c;
}

static void assert_on_all(const struct case_ *c, uint8_t value)
{
    for (unsigned i = 0; i < DISKS; i++) {
        assert_int_equal(got(c, i, 0, 0), value);
        assert_int_equal(got(c, i, 0, BLOCK), value);
    }
}

/* The host is told when what others have executed is gone again, and all are members as before. */
static void what_one_refuses_all_take_back(void **state)
{
    (void)state;
    for (unsigned full = 1; full < 1u << DISKS; full++) {
        for (unsigned written = 0; written < 2; written++) {
            struct case_ *c = case_filled(2, written);
            for (unsigned i = 0; i < DISKS; i++)
                if ((full >> i & 1) != 0)
                    c->f->stores[i].fail_next = STATUS(NO_SPACE);
            const struct status st = run(c->f, NVME_NS_WRITE, false, 0, 2 * BLOCK);
            assert_int_equal(st.code, STATUS_NO_SPACE);
            assert_on_all(c, written ? OLD : 0);
            assert_int_equal(c->meta.commits, 0);
            fill(c->f, 0, 2 * BLOCK, NEW);
            assert_int_equal(run(c->f, NVME_NS_WRITE, false, 0, 2 * BLOCK).code, STATUS_OK);
            assert_on_all(c, NEW);
            case_destroy(c);
        }
    }
}

/* Of several full ones one has executed a part, as a full file system below it allows. */
static void a_part_that_was_executed_is_taken_back(void **state)
{
    (void)state;
    struct case_ *c = case_filled(2, false);
    c->f->stores[0].fail_next = STATUS(NO_SPACE);
    c->f->stores[1].fail_next = STATUS(NO_SPACE);
    put(c, 0, 0, BLOCK, NEW);
    assert_int_equal(run(c->f, NVME_NS_WRITE, false, 0, 2 * BLOCK).code, STATUS_NO_SPACE);
    assert_on_all(c, 0);
    case_destroy(c);
}

/* That a full disk refuses is said once, not with each write. */
static void it_is_said_once(void **state)
{
    (void)state;
    struct case_ *c = case_filled(2, true);
    struct fixture *f = c->f;
    const unsigned lines = f->log_lines;
    for (unsigned i = 0; i < 5; i++) {
        f->stores[1].fail_next = STATUS(NO_SPACE);
        assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_NO_SPACE);
    }
    assert_int_equal(f->log_lines, lines + 1);
    case_destroy(c);
}

/* Lets one command after the other end, until a disk is asked for something of that kind. */
static struct store *step_until(struct fixture *f, enum store_opcode opcode)
{
    for (unsigned step = 0; step < 100; step++) {
        for (unsigned i = 0; i < DISKS; i++)
            LIST_FOR_EACH (n, &f->stores[i].in_flight)
                if (CONTAINER_OF(n, struct store_io, link)->opcode == opcode)
                    return &f->stores[i];
        for (unsigned i = 0; i < DISKS; i++)
            if (f->stores[i].in_flight_count > 0)
                fake_store_release(&f->stores[i], 0);
        loop_run(&f->loop);
    }
    fail_msg("no such command");
    return NULL;
}

/* A write that disk 1 refuses, and that disks 0 and 2 have executed and are to take back. */
static struct case_ *case_undoing(unsigned min_in_sync, struct request *write)
{
    struct case_ *c = case_filled(min_in_sync, true);
    struct fixture *f = c->f;
    hold_all(f, true);
    f->stores[1].fail_next = STATUS(NO_SPACE);
    submit(f, write, 0, 0, NVME_NS_WRITE, 0, 2 * BLOCK);
    loop_run(&f->loop);
    (void)step_until(f, STORE_OP_HASH);
    assert_true(write->busy);
    assert_int_equal(got(c, 0, 0, 0), NEW);
    assert_int_equal(got(c, 1, 0, 0), OLD);
    return c;
}

/* R8: nobody sees what is to be taken back. */
static void its_place_is_kept(void **state)
{
    (void)state;
    struct request write = { 0 }, read = { 0 };
    struct case_ *c = case_undoing(2, &write);
    struct fixture *f = c->f;
    submit(f, &read, 1, 1, NVME_NS_READ, 0, 2 * BLOCK);
    loop_run(&f->loop);
    (void)step_until(f, STORE_OP_WRITE);
    assert_true(write.busy && read.busy);
    hold_all(f, false);
    assert_false(write.busy || read.busy);
    assert_int_equal(write.req.status.code, STATUS_NO_SPACE);
    assert_int_equal(read.req.status.code, STATUS_OK);
    assert_int_equal(f->memory[BUF_BYTES_MAX], OLD);
    case_destroy(c);
}

/* I6: until it is taken back, no round closes its region, whatever time that takes. */
static void its_region_stays_open(void **state)
{
    (void)state;
    struct request write = { 0 }, other = { 0 };
    struct case_ *c = case_undoing(2, &write);
    struct fixture *f = c->f;
    const uint8_t *const listed = f->stores[2].listed[0];
    /* It holds no round up, either: but for its region all is closed. */
    f->stores[0].hold = f->stores[2].hold = false;
    submit(f, &other, 1, 1, NVME_NS_WRITE, M, BLOCK);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < DISKS; k++)
            LIST_FOR_EACH (n, &f->stores[k].in_flight)
                if (CONTAINER_OF(n, struct store_io, link)->opcode != STORE_OP_HASH) {
                    fake_store_release(&f->stores[k], 0);
                    break;
                }
        loop_pass(&f->loop, VOLUME_ROUND_NS);
    }
    assert_true(write.busy);
    assert_int_equal(listed[0], ALL_SLOTS);
    hold_all(f, false);
    assert_false(write.busy || other.busy);
    for (unsigned i = 0; i < 4; i++)
        loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_int_equal(listed[0], 0);
    case_destroy(c);
}

/* Who cannot take it back is excluded, and then the host is told; if that cannot be, it waits. */
static void who_cannot_take_it_back_is_excluded(void **state)
{
    (void)state;
    for (unsigned min_in_sync = 2; min_in_sync <= 3; min_in_sync++) {
        struct request write = { 0 };
        struct case_ *c = case_undoing(min_in_sync, &write);
        struct fixture *f = c->f;
        struct store *const bad = step_until(f, STORE_OP_WRITE);
        const unsigned disk = (unsigned)(bad - f->stores);
        bad->fail_next = STATUS(MEDIA_WRITE);
        hold_all(f, false);
        assert_int_equal(is_member(c, disk), min_in_sync == 3);
        assert_int_equal(write.busy, min_in_sync == 3);
        if (min_in_sync == 2) {
            assert_int_equal(write.req.status.code, STATUS_NO_SPACE);
            for (unsigned i = 0; i < DISKS; i++)
                assert_true(i == disk || got(c, i, 0, 0) == OLD);
        }
        volume_fence(f->volume);
        loop_run(&f->loop);
        assert_false(write.busy);
        case_destroy(c);
    }
}

/* The full one itself goes: nobody refuses it any more, and it is executed. */
static void a_full_one_may_leave(void **state)
{
    (void)state;
    struct request write = { 0 };
    struct case_ *c = case_undoing(2, &write);
    struct fixture *f = c->f;
    (void)step_until(f, STORE_OP_READ);
    f->stores[1].fail_next = STATUS(MEDIA_WRITE);
    hold_all(f, false);
    for (unsigned i = 0; i < 2; i++)
        loop_pass(&f->loop, VOLUME_ROUND_NS);
    assert_false(write.busy);
    assert_int_equal(write.req.status.code, STATUS_OK);
    assert_false(is_member(c, 1));
    for (unsigned i = 0; i < DISKS; i += 2)
        assert_true(got(c, i, 0, 0) == NEW && got(c, i, 0, BLOCK) == NEW);
    case_destroy(c);
}

/* 7.8: a fence ends it, the one under way and those that wait. */
static void a_fence_ends_it(void **state)
{
    (void)state;
    struct request write = { 0 }, next = { 0 };
    struct case_ *c = case_undoing(2, &write);
    struct fixture *f = c->f;
    submit(f, &next, 1, 0, NVME_NS_WRITE, 256 * K, BLOCK);
    loop_run(&f->loop);
    volume_fence(f->volume);
    hold_all(f, false);
    assert_false(write.busy || next.busy);
    assert_int_equal(write.req.status.code, STATUS_FENCED);
    case_destroy(c);
}

/* Who waits for it may have all memory of the reactor. */
static void it_needs_no_memory_of_others(void **state)
{
    (void)state;
    struct case_ *c = case_filled(2, true);
    struct fixture *f = c->f;
    struct span taken[2 * VOLUME_SCRATCH_BYTES / BUF_BYTES_MAX];
    unsigned count = 0;
    for (unsigned r = 0; r < 2; r++) {
        struct span s;
        while ((s = buf_get(f->scratch[r], BUF_BYTES_MAX)).at != NULL)
            taken[count++] = s;
    }
    f->stores[1].fail_next = STATUS(NO_SPACE);
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, 2 * BLOCK).code, STATUS_NO_SPACE);
    assert_on_all(c, OLD);
    for (unsigned i = 0; i < count; i++)
        buf_put(f->scratch[i < count / 2 ? 0 : 1], taken[i]);
    case_destroy(c);
}

/* ---- Settling ---- */

/* 7.5: a member that is full is not given what it has no space for; nor is it excluded. */
static void a_full_disk_is_settled(void **state)
{
    (void)state;
    for (unsigned full = 0; full < 1u << DISKS; full++) {
        struct case_ *c = case_create(2);
        struct fixture *f = c->f;
        for (unsigned i = 0; i < DISKS; i++) {
            put(c, i, 0, BLOCK, OLD);
            f->stores[i].listed[0][0] = ALL_SLOTS;
            f->stores[i].write_status = (full >> i & 1) != 0 ? STATUS(NO_SPACE) : STATUS(OK);
        }
        put(c, 0, 0, 0, NEW); /* Who had space for it has executed it. */
        assert_int_equal(fixture_open(f).code, STATUS_OK);
        loop_run(&f->loop);
        for (unsigned i = 0; i < DISKS; i++) {
            assert_true(is_member(c, i));
            assert_int_equal(got(c, i, 0, 0), (full & 6) != 0 ? 0 : NEW);
            assert_int_equal(got(c, i, 0, BLOCK), OLD);
        }
        assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
        case_destroy(c);
    }
}

/* Disk 2 is full, and has lost a block. */
static struct case_ *case_full_and_changed(unsigned min_in_sync)
{
    struct case_ *c = case_create(min_in_sync);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        if (i != 2)
            put(c, i, 0, 0, OLD);
        f->stores[i].listed[0][0] = ALL_SLOTS;
    }
    f->stores[2].incarnation = 9;
    f->stores[2].write_status = STATUS(NO_SPACE);
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    loop_run(&f->loop);
    return c;
}

/* 7.5: what a full disk has lost it cannot be given: it is excluded. */
static void a_full_disk_that_has_lost_something_leaves(void **state)
{
    (void)state;
    struct case_ *c = case_full_and_changed(2);
    assert_false(is_member(c, 2));
    assert_int_equal(run(c->f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_OK);
    assert_int_equal(c->f->memory[0], OLD);
    case_destroy(c);
}

/* If it is needed, its region waits until there is space, and no longer; and it stays. */
static void a_full_disk_that_is_needed_is_waited_for(void **state)
{
    (void)state;
    struct case_ *c = case_full_and_changed(3);
    struct fixture *f = c->f;
    struct request read = { 0 };
    submit(f, &read, 0, 0, NVME_NS_READ, 0, BLOCK);
    for (unsigned i = 0; i < 5; i++)
        loop_pass(&f->loop, NS_PER_S);
    assert_true(read.busy);
    f->stores[2].write_status = STATUS(OK);
    loop_pass(&f->loop, NS_PER_S);
    assert_false(read.busy);
    assert_int_equal(read.req.status.code, STATUS_OK);
    assert_int_equal(got(c, 2, 0, 0), OLD);
    assert_true(is_member(c, 2));
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_refuses_all_take_back),
        cmocka_unit_test(a_part_that_was_executed_is_taken_back),
        cmocka_unit_test(it_is_said_once),
        cmocka_unit_test(its_place_is_kept),
        cmocka_unit_test(its_region_stays_open),
        cmocka_unit_test(who_cannot_take_it_back_is_excluded),
        cmocka_unit_test(a_full_one_may_leave),
        cmocka_unit_test(a_fence_ends_it),
        cmocka_unit_test(it_needs_no_memory_of_others),
        cmocka_unit_test(a_full_disk_is_settled),
        cmocka_unit_test(a_full_disk_that_has_lost_something_leaves),
        cmocka_unit_test(a_full_disk_that_is_needed_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

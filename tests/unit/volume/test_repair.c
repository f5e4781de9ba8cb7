/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are bad at some replicas: docs/replication.md, 8.6 and 11.3; R10. */
#include "replicas_case.h"

#define BAD 5u /* A block of shard 0, the only one that was written. */

static struct status read_all(struct case_ *c)
{
    struct fixture *f = c->f;
    memset(f->memory, 0, 32 * BLOCK);
    const struct status st = run(f, NVME_NS_READ, false, 0, 32 * BLOCK);
    for (unsigned k = 0; k < 32 && status_ok(st); k++)
        assert_int_equal(f->memory[k * BLOCK], 0x40 + k);
    return st;
}

static struct volume_resync progress(const struct case_ *c)
{
    struct volume_resync r;
    volume_get_resync(c->f->volume, &r);
    return r;
}

/* The host gets the block from another replica, and the bad one is written again, and it alone. */
static void a_bad_block_is_written_again(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    for (unsigned i = 0; i < DISKS; i++)
        make_bad(c, i, BAD);
    for (unsigned good = 1; good < DISKS; good++)
        c->f->stores[good].bad_to = 0;
    assert_int_equal(read_all(c).code, STATUS_OK);
    for (unsigned i = 0; i < 8 && c->f->stores[0].bad_to > 0; i++) /* Until it is read there. */
        assert_int_equal(run(c->f, NVME_NS_READ, false, 0, 32 * BLOCK).code, STATUS_OK);
    assert_int_equal(c->f->stores[0].bad_to, 0);
    assert_int_equal(writes(c), 1);
    assert_int_equal(progress(c).repaired_bytes, BLOCK);
    assert_int_equal(c->f->stores[0].shards[0][BAD * BLOCK], 0x40 + BAD);
    assert_int_equal(c->meta.commits, 0);
    case_destroy(c);
}

/* Each replica has another bad block: all of them are read, and written again. */
static void bad_blocks_everywhere_are_put_together(void **state)
{
    (void)state;
    for (unsigned opcode = 0; opcode < 2; opcode++) {
        struct case_ *c = case_numbered();
        for (unsigned i = 0; i < DISKS; i++)
            make_bad(c, i, BAD + i);
        const struct status st =
            opcode == 0 ? read_all(c) : run(c->f, NVME_NS_VERIFY, false, 0, 32 * BLOCK);
        assert_int_equal(st.code, STATUS_OK);
        for (unsigned i = 0; i < DISKS; i++)
            assert_int_equal(c->f->stores[i].bad_to, 0);
        assert_int_equal(writes(c), 3);
        assert_int_equal(read_all(c).code, STATUS_OK);
        case_destroy(c);
    }
}

/* What the volume says that nobody can read: so many blocks, from this one on. */
static void assert_unreadable(struct case_ *c, uint64_t first, uint64_t blocks)
{
    struct volume_range ranges[VOLUME_UNREADABLE_MAX];
    bool more;

    const unsigned count = volume_get_unreadable(c->f->volume, ranges, &more);
    assert_false(more);
    assert_int_equal(count, blocks);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(ranges[i].offset, (first + i) * BLOCK);
        assert_int_equal(ranges[i].bytes, BLOCK);
    }
}

/* What is bad everywhere is an error to whoever reads it, and to nobody else. */
static void what_is_bad_everywhere_is_an_error_alone(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    for (unsigned i = 0; i < DISKS; i++)
        make_bad(c, i, BAD);
    assert_int_equal(read_all(c).code, STATUS_MEDIA_READ);
    assert_unreadable(c, BAD, 1);
    for (unsigned i = 0; i < DISKS; i++) /* A link may have done it: nothing is given up. */
        assert_int_equal(c->f->stores[i].spoils, 0);
    assert_int_equal(run(c->f, NVME_NS_READ, false, 0, BAD * BLOCK).code, STATUS_OK);
    assert_int_equal(run(c->f, NVME_NS_READ, false, (BAD + 1) * BLOCK, BLOCK).code, STATUS_OK);
    assert_int_equal(writes(c), 0);
    assert_int_equal(c->meta.commits, 0);
    memset(c->f->memory, 0x40 + BAD, BLOCK);
    assert_int_equal(run(c->f, NVME_NS_WRITE, false, BAD * BLOCK, BLOCK).code, STATUS_OK);
    assert_unreadable(c, BAD, 0);
    assert_int_equal(read_all(c).code, STATUS_OK);
    case_destroy(c);
}

/* Ends one command after the other until the writes of a repair are on their way. */
static void step_until_written(struct fixture *f)
{
    for (unsigned step = 0; step < 400; step++) {
        for (unsigned i = 0; i < DISKS; i++) {
            LIST_FOR_EACH (n, &f->stores[i].in_flight) {
                if (CONTAINER_OF(n, struct store_io, link)->opcode == STORE_OP_WRITE)
                    return;
            }
        }
        for (unsigned i = 0; i < DISKS; i++) {
            if (f->stores[i].in_flight_count == 0)
                continue;
            fake_store_release(&f->stores[i], 0);
            break;
        }
        loop_run(&f->loop);
    }
    fail_msg("nothing is repaired");
}

/* R10: what a host writes meanwhile waits for the repair, and is not undone by it. */
static void a_repair_has_its_place_in_the_order(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    struct fixture *f = c->f;
    struct request read = { 0 }, write = { 0 };
    for (unsigned i = 0; i < DISKS; i++)
        make_bad(c, i, BAD + i);
    hold_all(f, true);
    submit(f, &read, 0, 0, NVME_NS_READ, 0, 32 * BLOCK);
    loop_run(&f->loop);
    step_until_written(f);
    fill(f, 1, BLOCK, 0x99);
    submit(f, &write, 1, 1, NVME_NS_WRITE, BAD * BLOCK, BLOCK);
    loop_run(&f->loop);
    assert_true(write.busy);
    hold_all(f, false);
    assert_false(read.busy || write.busy);
    assert_int_equal(read.req.status.code, STATUS_OK);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(f->stores[i].shards[0][BAD * BLOCK], 0x99);
    case_destroy(c);
}

/* A replica on which the block cannot be written again is excluded. */
static void who_cannot_be_repaired_is_excluded(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    for (unsigned i = 0; i < DISKS; i++)
        make_bad(c, i, BAD + i);
    c->f->stores[2].write_status = STATUS(MEDIA_WRITE);
    assert_int_equal(read_all(c).code, STATUS_OK);
    assert_false(is_member(c, 2));
    assert_true(is_member(c, 0) && is_member(c, 1));
    case_destroy(c);
}

/* Replicas are no part of a volume of one: it says what its disk says. */
static void one_replica_is_not_repaired(void **state)
{
    (void)state;
    struct fixture *f = fixture_opened();
    assert_int_equal(run(f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    f->stores[0].bad_to = BLOCK;
    assert_int_equal(run(f, NVME_NS_READ, false, 0, BLOCK).code, STATUS_MEDIA_READ);
    fixture_destroy(f);
}

/* A volume can be closed at any point of a repair. */
static void it_ends_with_the_volume(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 12; steps++) {
        struct case_ *c = case_numbered();
        struct fixture *f = c->f;
        struct request read = { 0 };
        for (unsigned i = 0; i < DISKS; i++)
            make_bad(c, i, BAD + i);
        hold_all(f, true);
        submit(f, &read, 0, 0, NVME_NS_READ, 0, 32 * BLOCK);
        loop_run(&f->loop);
        for (unsigned step = 0; step < steps * 4; step++) {
            for (unsigned i = 0; i < DISKS; i++)
                if (f->stores[i].in_flight_count > 0)
                    fake_store_release(&f->stores[i], 0);
            loop_run(&f->loop);
        }
        volume_fence(f->volume); /* Requests end, as they have to before the close. */
        loop_run(&f->loop);
        hold_all(f, false);
        assert_false(read.busy);
        case_destroy(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_block_is_written_again),
        cmocka_unit_test(bad_blocks_everywhere_are_put_together),
        cmocka_unit_test(what_is_bad_everywhere_is_an_error_alone),
        cmocka_unit_test(a_repair_has_its_place_in_the_order),
        cmocka_unit_test(who_cannot_be_repaired_is_excluded),
        cmocka_unit_test(one_replica_is_not_repaired),
        cmocka_unit_test(it_ends_with_the_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

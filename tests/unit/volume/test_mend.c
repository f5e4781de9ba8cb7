/* SPDX-License-Identifier: Apache-2.0 */
/* Repair of what scrubbing a disk has found: docs/replication.md, 11.3; R9, R10. */
#include "replicas_case.h"
#include "volume/mend.h"

#define BAD 5u /* A block of shard 0, the only one that was written. */

static struct volume_mend mend;
static bool is_done;

static void on_mended(struct volume_mend *m)
{
    assert_ptr_equal(m, &mend);
    assert_false(is_done);
    is_done = true;
}

static void begin(struct case_ *c, unsigned disk, uint32_t shard, uint64_t block, uint64_t blocks)
{
    is_done = false;
    mend = (struct volume_mend) { .disk = disk_uuid(disk),
                                  .shard = shard,
                                  .offset = block * BLOCK,
                                  .bytes = blocks * BLOCK,
                                  .done = on_mended };
    volume_mend(c->f->volume, &mend);
    assert_false(is_done);
}

static struct status mends(struct case_ *c, unsigned disk, uint32_t shard, uint64_t block,
                           uint64_t blocks)
{
    begin(c, disk, shard, block, blocks);
    loop_run(&c->f->loop);
    assert_true(is_done);
    return mend.status;
}

/* It alone is written again, wherever it is bad. */
static void a_bad_block_is_written_again(void **state)
{
    (void)state;
    for (unsigned disk = 0; disk < DISKS; disk++) {
        struct case_ *c = case_numbered();
        make_bad(c, disk, BAD);
        memset(c->f->stores[disk].shards[0] + BAD * BLOCK, 0xee, BLOCK);
        assert_int_equal(mends(c, disk, 0, BAD - 1, 3).code, STATUS_OK);
        assert_int_equal(mend.repaired_bytes, BLOCK);
        assert_int_equal(mend.unreadable, 0);
        assert_int_equal(mend.address, (BAD - 1) * BLOCK);
        assert_int_equal(writes(c), 1);
        assert_int_equal(c->f->stores[disk].shards[0][BAD * BLOCK], 0x40 + BAD);
        assert_int_equal(c->f->stores[disk].bad_to, 0);
        assert_int_equal(c->meta.commits, 0);
        case_destroy(c);
    }
}

/* What is not bad, or not any more, is left as it is. */
static void what_is_right_is_not_written(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    assert_int_equal(mends(c, 1, 0, 0, 32).code, STATUS_OK);
    assert_int_equal(mend.repaired_bytes, 0);
    assert_int_equal(writes(c), 0);
    case_destroy(c);
}

static void what_nobody_has_stays_bad(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    for (unsigned i = 0; i < DISKS; i++)
        make_bad(c, i, BAD);
    assert_int_equal(mends(c, 1, 0, BAD, 2).code, STATUS_OK);
    assert_int_equal(mend.repaired_bytes, 0);
    assert_int_equal(mend.unreadable, 1);
    assert_int_equal(writes(c), 0);
    for (unsigned i = 0; i < DISKS; i++)
        assert_int_equal(c->f->stores[i].spoils, 0);
    case_destroy(c);
}

static void what_cannot_be_mended(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    assert_int_equal(mends(c, 1, SHARDS, 0, 1).code, STATUS_NOT_FOUND);
    assert_int_equal(mends(c, 3, 0, 0, 1).code, STATUS_NOT_FOUND);
    assert_int_equal(mends(c, 1, 0, SHARD_BYTES / BLOCK, 1).code, STATUS_NOT_FOUND);
    c->f->stores[2].write_status = STATUS(MEDIA_WRITE);
    assert_int_equal(run(c->f, NVME_NS_WRITE, false, 0, BLOCK).code, STATUS_OK);
    assert_false(is_member(c, 2));
    assert_int_equal(mends(c, 2, 0, 0, 1).code, STATUS_UNAVAILABLE);
    volume_fence(c->f->volume);
    assert_int_equal(mends(c, 1, 0, 0, 1).code, STATUS_FENCED);
    case_destroy(c);

    c = calloc(1, sizeof *c);
    c->f = fixture_opened();
    assert_int_equal(mends(c, 0, 0, 0, 1).code, STATUS_UNSUPPORTED);
    case_destroy(c);
}

static void step(struct fixture *f)
{
    for (unsigned i = 0; i < DISKS; i++) {
        if (f->stores[i].in_flight_count == 0)
            continue;
        fake_store_release(&f->stores[i], 0);
        loop_run(&f->loop);
        return;
    }
}

/* R10: what a host writes meanwhile waits, and is not undone. */
static void it_has_its_place_in_the_order(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 5; steps++) {
        struct case_ *c = case_numbered();
        struct fixture *f = c->f;
        struct request write = { 0 };
        make_bad(c, 1, BAD);
        hold_all(f, true);
        begin(c, 1, 0, BAD, 1);
        loop_run(&f->loop);
        for (unsigned k = 0; k < steps && !is_done; k++)
            step(f);
        fill(f, 1, BLOCK, 0x99);
        submit(f, &write, 1, 1, NVME_NS_WRITE, BAD * BLOCK, BLOCK);
        loop_run(&f->loop);
        hold_all(f, false);
        assert_true(is_done);
        assert_false(write.busy);
        for (unsigned i = 0; i < DISKS; i++)
            assert_int_equal(f->stores[i].shards[0][BAD * BLOCK], 0x99);
        case_destroy(c);
    }
}

/* R9: nothing is taken for right before the members are equal. */
static void what_is_not_settled_waits(void **state)
{
    (void)state;
    struct case_ *c = case_create(2);
    struct fixture *f = c->f;
    for (unsigned i = 0; i < DISKS; i++) {
        f->stores[i].shards[0] = calloc(1, SHARD_BYTES);
        memset(f->stores[i].shards[0], (int)(i + 1), SHARD_BYTES);
        f->stores[i].listed[0][0] = ALL_SLOTS;
    }
    f->hold_after_open = true;
    assert_int_equal(fixture_open(f).code, STATUS_OK);
    assert_int_equal(mends(c, 1, 0, 0, 1).code, STATUS_BUSY);
    hold_all(f, false);
    assert_int_equal(mends(c, 1, 0, 0, 1).code, STATUS_OK);
    case_destroy(c);
}

/* A volume can be closed at any point of it. */
static void it_ends_with_the_volume(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 12; steps++) {
        struct case_ *c = case_numbered();
        struct fixture *f = c->f;
        make_bad(c, 1, BAD);
        hold_all(f, true);
        begin(c, 1, 0, 0, 32);
        if (steps > 0)
            loop_run(&f->loop);
        for (unsigned k = 1; k < steps; k++)
            step(f);
        f->closed = false;
        volume_close(f->volume, fixture_on_closed, f);
        loop_run(&f->loop);
        hold_all(f, false);
        assert_true(is_done && f->closed);
        f->volume = NULL;
        case_destroy(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_block_is_written_again),
        cmocka_unit_test(what_is_right_is_not_written),
        cmocka_unit_test(what_nobody_has_stays_bad),
        cmocka_unit_test(what_cannot_be_mended),
        cmocka_unit_test(it_has_its_place_in_the_order),
        cmocka_unit_test(what_is_not_settled_waits),
        cmocka_unit_test(it_ends_with_the_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Making replicas equal in a range: docs/replication.md, 9.4, 9.5, 11.3; R10. */
#include "replicas_case.h"
#include "volume/mend.h"

/* Disks of shard 0; what a mend of the target finds different is read from the source. */
enum { SOURCE, TARGET, OTHER };

static struct volume_mend mend;
static bool is_done;

static void on_mended(struct volume_mend *m)
{
    assert_ptr_equal(m, &mend);
    is_done = true;
}

static void begin(struct case_ *c, uint64_t block, uint64_t blocks)
{
    is_done = false;
    for (unsigned i = 0; i < DISKS; i++)
        c->f->stores[i].reads = c->f->stores[i].hashes = 0;
    mend = (struct volume_mend) { .disk = disk_uuid(TARGET),
                                  .offset = block * BLOCK,
                                  .bytes = blocks * BLOCK,
                                  .done = on_mended };
    volume_mend(c->f->volume, &mend);
}

static void assert_mended(uint64_t blocks)
{
    assert_true(is_done);
    assert_int_equal(mend.status.code, STATUS_OK);
    assert_int_equal(mend.repaired_bytes, blocks * BLOCK);
}

static void copy(struct case_ *c, uint64_t block, uint64_t blocks)
{
    begin(c, block, blocks);
    loop_run(&c->f->loop);
}

/* All hashes are known, and nothing else has been answered. */
static void begin_held(struct case_ *c)
{
    hold_all(c->f, true);
    begin(c, 0, 256);
    loop_run(&c->f->loop);
    fake_store_release(&c->f->stores[TARGET], 0);
    loop_run(&c->f->loop);
    fake_store_release(&c->f->stores[SOURCE], 0);
    loop_run(&c->f->loop);
}

/* Likewise; each second of the 32 blocks that were written differs at the target. */
static void begin_scattered(struct case_ *c)
{
    for (unsigned k = 0; k < 32; k += 2)
        put(c, TARGET, 0, k * BLOCK, 0xee);
    begin_held(c);
}

static void assert_numbered(const struct case_ *c, unsigned disk)
{
    for (unsigned k = 0; k < 32; k++)
        assert_int_equal(got(c, disk, 0, k * BLOCK), 0x40 + k);
}

/* Of what is equal nothing but hashes is asked for. */
static void equal_blocks_do_not_travel(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    struct store *const stores = c->f->stores;
    put(c, TARGET, 0, 3 * BLOCK, 0xee);
    put(c, TARGET, 0, 20 * BLOCK, 0x00);
    copy(c, 0, 256);
    assert_mended(2);
    assert_numbered(c, TARGET);
    assert_int_equal(stores[SOURCE].hashes + stores[TARGET].hashes, 2);
    assert_int_equal(stores[SOURCE].reads, 2);
    assert_int_equal(stores[TARGET].reads + stores[OTHER].reads + stores[OTHER].hashes, 0);
    case_destroy(c);
}

/* Zeros are written as such, and nothing is read for them. */
static void zeros_are_not_read(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    for (unsigned k = 0; k < 100; k++)
        put(c, TARGET, 0, (100 + k) * BLOCK, 0xee);
    copy(c, 0, 256);
    assert_mended(100);
    assert_int_equal(c->f->stores[SOURCE].reads + c->f->stores[TARGET].writes, 0);
    assert_int_equal(c->f->stores[TARGET].zeroes, 1);
    assert_int_equal(got(c, TARGET, 0, 150 * BLOCK), 0);
    case_destroy(c);
}

/* A target that has nothing: the source is read once, not hashed before, and its zeros stay out. */
static void an_empty_target_is_filled_in_one_go(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    struct store *const stores = c->f->stores;
    free(stores[TARGET].shards[0]);
    stores[TARGET].shards[0] = NULL;
    put(c, SOURCE, 0, 10 * BLOCK, 0x00);
    put(c, SOURCE, 0, 200 * BLOCK, 0x77);
    copy(c, 0, 256);
    assert_mended(32);
    assert_int_equal(stores[SOURCE].hashes, 0);
    assert_int_equal(stores[SOURCE].reads, 32); /* 32 KiB each. */
    assert_int_equal(stores[TARGET].writes, 6);
    assert_int_equal(memcmp(stores[SOURCE].shards[0], stores[TARGET].shards[0], SHARD_BYTES), 0);
    case_destroy(c);
}

/* Scattered blocks do not wait for each other. */
static void several_are_under_way(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    begin_scattered(c);
    assert_int_equal(c->f->stores[SOURCE].in_flight_count, 7);
    fake_store_release(&c->f->stores[SOURCE], 3);
    loop_run(&c->f->loop);
    assert_int_equal(c->f->stores[SOURCE].in_flight_count, 6);
    assert_int_equal(c->f->stores[TARGET].in_flight_count, 1);
    fake_store_release(&c->f->stores[TARGET], 0);
    loop_run(&c->f->loop);
    assert_int_equal(c->f->stores[SOURCE].in_flight_count, 7);
    hold_all(c->f, false);
    assert_mended(16);
    assert_numbered(c, TARGET);
    case_destroy(c);
}

/* A block of the source that went bad after it was hashed costs nothing but itself. */
static void a_source_that_cannot_be_read_has_a_substitute(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    for (unsigned k = 8; k < 16; k++)
        put(c, TARGET, 0, k * BLOCK, 0xee);
    begin_held(c);
    make_bad(c, SOURCE, 11);
    hold_all(c->f, false);
    assert_mended(8);
    assert_numbered(c, TARGET);
    assert_int_equal(c->f->stores[OTHER].reads, 1);
    assert_int_equal(c->f->stores[TARGET].writes, 8);
    case_destroy(c);
}

/* Excludes the source: it fails a write to shard 1. */
static void source_leaves(struct case_ *c)
{
    struct fixture *const f = c->f;
    struct request w = { 0 };

    submit(f, &w, 1, 0, NVME_NS_WRITE, 256 * K, BLOCK);
    loop_run(&f->loop);
    f->stores[SOURCE].fail_next = STATUS(MEDIA_WRITE);
    fake_store_release(&f->stores[SOURCE], f->stores[SOURCE].in_flight_count - 1);
    fake_store_release(&f->stores[TARGET], 0);
    fake_store_release(&f->stores[OTHER], 0);
    loop_run(&f->loop);
    assert_false(is_member(c, SOURCE));
    hold_all(f, false);
    assert_false(w.busy);
}

/* What was equal to a source that has left is compared with the next one. */
static void with_another_source_all_is_compared_anew(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    begin_scattered(c);
    put(c, OTHER, 0, 31 * BLOCK, 0x99);
    source_leaves(c);
    assert_true(is_done);
    assert_int_equal(mend.status.code, STATUS_OK);
    assert_true(c->f->stores[OTHER].hashes == 1 && c->f->stores[TARGET].hashes == 2);
    for (unsigned k = 0; k < 32; k++)
        assert_int_equal(got(c, TARGET, 0, k * BLOCK), got(c, OTHER, 0, k * BLOCK));
    case_destroy(c);
}

/* A region at a time, wherever it begins. */
static void long_ranges_are_compared_in_windows(void **state)
{
    (void)state;
    struct case_ *c = case_numbered();
    put(c, TARGET, 0, 5 * BLOCK, 0xee);
    put(c, TARGET, 0, 300 * BLOCK, 0xee);
    put(c, TARGET, 0, 399 * BLOCK, 0xee); /* Behind it. */
    copy(c, 5, 394);
    assert_mended(2);
    assert_int_equal(c->f->stores[TARGET].hashes, 2);
    assert_int_equal(got(c, TARGET, 0, 5 * BLOCK), 0x45);
    assert_int_equal(got(c, TARGET, 0, 300 * BLOCK), 0);
    assert_int_equal(got(c, TARGET, 0, 399 * BLOCK), 0xee);
    case_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_blocks_do_not_travel),
        cmocka_unit_test(zeros_are_not_read),
        cmocka_unit_test(an_empty_target_is_filled_in_one_go),
        cmocka_unit_test(several_are_under_way),
        cmocka_unit_test(a_source_that_cannot_be_read_has_a_substitute),
        cmocka_unit_test(with_another_source_all_is_compared_anew),
        cmocka_unit_test(long_ranges_are_compared_in_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* SPOIL: blocks that nobody has any more (F40; docs/replication.md, 11.3). */
#include "store/store.h"

#include "rig_case.h"

#define K4 ((uint64_t)4096)
#define M  ((uint64_t)1 << 20)

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    rig_begin(&rig);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

static struct status change(enum store_opcode opcode, uint64_t generation, uint64_t first,
                            uint64_t blocks, uint8_t fill)
{
    struct rig_io io;

    rig_submit(&rig, &io, opcode, first * K4, blocks * K4, fill);
    io.io.generation = generation;
    rig_io_wait(&rig, &io);
    free(io.data);
    return io.io.status;
}

static void write_at(uint64_t first, uint64_t blocks, uint8_t fill)
{
    assert_status(change(STORE_OP_WRITE, 1, first, blocks, fill), STATUS_OK);
}

static void spoil(uint64_t first, uint64_t blocks)
{
    assert_status(change(STORE_OP_SPOIL, 1, first, blocks, 0), STATUS_OK);
}

static void assert_block(uint64_t block, uint8_t want)
{
    struct status st;
    const uint8_t fill = rig_read_block(&rig, block, &st);

    assert_status(st, STATUS_OK);
    assert_int_equal(fill, want);
}

static void assert_spoiled(uint64_t block)
{
    struct status st;

    (void)rig_read_block(&rig, block, &st);
    assert_status(st, STATUS_MEDIA_READ);
}

static struct store_info info(void)
{
    struct store_info i;

    store_get_info(rig.store, &i);
    return i;
}

static void a_spoiled_block_is_an_error_until_it_is_written_or_zeroed(void **state)
{
    (void)state;
    const uint64_t free_bytes = info().free_bytes;

    write_at(0, 8, 0x11);
    spoil(1, 40); /* Some of them had data, and some not; of two grains. */
    assert_block(0, 0x11);
    for (uint64_t i = 1; i < 41; i++)
        assert_spoiled(i);
    assert_block(41, 0);
    assert_status(change(STORE_OP_READ, 1, 0, 2, 0), STATUS_MEDIA_READ);
    assert_int_equal(info().spoiled_blocks, 40);
    write_at(2, 2, 0x22);
    assert_status(change(STORE_OP_WRITE_ZEROES, 1, 4, 1, 0), STATUS_OK);
    assert_status(change(STORE_OP_DEALLOCATE, 1, 5, 1, 0), STATUS_OK);
    assert_spoiled(1);
    assert_block(2, 0x22);
    assert_block(3, 0x22);
    assert_block(4, 0);
    assert_block(5, 0);
    assert_spoiled(6);
    assert_int_equal(info().spoiled_blocks, 36);
    /* What nobody has takes no space. */
    assert_status(change(STORE_OP_DEALLOCATE, 1, 0, 41, 0), STATUS_OK);
    rig_pass(&rig, NS_PER_S);
    assert_int_equal(info().spoiled_blocks, 0);
    assert_true(info().free_bytes + 64 * 1024 >= free_bytes);
}

/* In generation 0, where zeros are not kept, it is no less something to zero. */
static void the_first_generation_too(void **state)
{
    (void)state;
    assert_status(change(STORE_OP_WRITE, 0, 0, 1, 0x11), STATUS_OK);
    assert_status(change(STORE_OP_SPOIL, 0, 100, 1, 0), STATUS_OK);
    assert_spoiled(100);
    assert_status(change(STORE_OP_DEALLOCATE, 0, 100, 1, 0), STATUS_OK);
    assert_block(100, 0);
}

/* What lies beneath is older, and no substitute. */
static void nothing_is_read_through_it(void **state)
{
    (void)state;
    struct rig_io io;

    write_at(0, 2, 0x11);
    assert_status(change(STORE_OP_SPOIL, 3, 0, 1, 0), STATUS_OK);
    assert_block(0, 0x11); /* At generation 1. */
    assert_status(change(STORE_OP_READ, 3, 0, 1, 0), STATUS_MEDIA_READ);
    assert_status(change(STORE_OP_READ, 3, 1, 1, 0), STATUS_OK);
    static struct store_hash at[2];
    rig_submit(&rig, &io, STORE_OP_HASH, 0, 2 * K4, 0);
    io.io.generation = 3;
    io.io.data = (struct span) { (uint8_t *)at, sizeof at };
    rig_io_wait(&rig, &io);
    assert_status(io.io.status, STATUS_OK);
    assert_int_equal(at[0].state, STORE_BLOCK_BAD);
    assert_int_equal(at[1].state, STORE_BLOCK_ABSENT);
}

/* Through a checkpoint, with more of them than a record holds; and the disk at rest is good. */
static void it_stays_so(void **state)
{
    (void)state;
    struct rig_check c;

    write_at(0, 4, 0x11);
    for (rig.shard = 0; rig.shard < 16; rig.shard++) {
        write_at(5, 1, 0x22);
        for (uint64_t grain = 0; grain < 32; grain += 2) {
            spoil(grain * 32 + 1, 3);
            spoil(grain * 32 + 30, 4); /* And into the next one. */
        }
    }
    rig.shard = 0;
    const uint64_t count = info().spoiled_blocks;
    assert_int_equal(count, 16 * 16 * 7);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_int_equal(c.report.problems, 0);
    rig_serve(&rig);
    assert_int_equal(info().spoiled_blocks, count);
    for (rig.shard = 0; rig.shard < 16; rig.shard++) {
        assert_spoiled(1);
        assert_spoiled(30 * 32 + 33);
        assert_block(5, 0x22);
        write_at(1, 3, 0x33);
    }
    rig.shard = 0;
    rig_reopen(&rig);
    assert_block(1, 0x33);
    assert_block(0, 0x11);
    assert_spoiled(31);
    assert_int_equal(info().spoiled_blocks, count - 16 * 3);
    /* With its volume it is gone. */
    assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_OK);
    assert_int_equal(info().spoiled_blocks, 0);
}

/* F15: a write that fails leaves it as it was, also for a process that dies after it. */
static void a_write_that_fails_leaves_it_spoiled(void **state)
{
    (void)state;
    uint8_t *const image = malloc(RIG_DEVICE_BYTES);

    write_at(0, 1, 0x11);
    spoil(1, 2);
    rig_record(&rig);
    rig.fail_write_from = 8 * M; /* Data alone. */
    while (rig.content[rig.fail_write_from] != 0x11 && rig.fail_write_from > 0)
        rig.fail_write_from -= 4096;
    rig.fail_write = 1;
    assert_status(change(STORE_OP_WRITE, 1, 1, 2, 0x22), STATUS_MEDIA_WRITE);
    rig_pass(&rig, NS_PER_S);
    assert_spoiled(1);
    assert_spoiled(2);
    rig_image(&rig, rig.event_count, false, 0, image);
    rig_abandon(&rig);
    rig_init(&rig, image, 2);
    rig.borrowed = false; /* The image goes with the rig. */
    rig.boot.b[0] = 1;
    rig_serve(&rig);
    assert_spoiled(1);
    assert_spoiled(2);
    assert_block(0, 0x11);
}

static void what_may_not_be_is_refused(void **state)
{
    (void)state;
    assert_status(change(STORE_OP_SPOIL, 1, 0, 1, 0), STATUS_UNKNOWN_SHARD);
    write_at(0, 1, 0x11);
    assert_status(change(STORE_OP_SPOIL, 1, 0, STORE_HASHES_MAX + 1, 0), STATUS_OUT_OF_RANGE);
    assert_status(change(STORE_OP_SPOIL, 1, 4 * M / K4 - 1, 2, 0), STATUS_OUT_OF_RANGE);
    assert_block(0, 0x11);
    spoil(0, STORE_HASHES_MAX);
}

/* 3.3: a replica that has spoiled something may differ by it. */
static void the_region_list_knows_of_it(void **state)
{
    (void)state;
    struct store_session_config config = rig_session_config(2);
    struct store_region items[4];
    struct rig_io io;

    config.volume.uuid = (struct uuid) { { 3 } };
    config.volume.replicas = 3;
    store_session_close(rig.session.session);
    rig.done = false;
    assert_status(store_session_open(rig.store, &config, rig_on_session, &rig), STATUS_OK);
    rig_wait(&rig);
    assert_status(rig.session.status, STATUS_OK);
    write_at(0, 1, 0x11);
    spoil(3 * M / K4 - 1, 2);
    rig_submit(&rig, &io, STORE_OP_LIST_REGIONS, 0, 0, 0);
    io.io.data = (struct span) { (uint8_t *)items, sizeof items };
    rig_io_wait(&rig, &io);
    assert_int_equal(io.io.bytes, 2 * sizeof items[0]);
    assert_int_equal(items[1].region, 2);
    assert_int_equal(items[1].count, 2);
    assert_int_equal(items[1].slots, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        T(a_spoiled_block_is_an_error_until_it_is_written_or_zeroed),
        T(the_first_generation_too),
        T(nothing_is_read_through_it),
        T(it_stays_so),
        T(a_write_that_fails_leaves_it_spoiled),
        T(what_may_not_be_is_refused),
        T(the_region_list_knows_of_it),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

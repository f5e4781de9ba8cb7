/* SPDX-License-Identifier: Apache-2.0 */
/* More at once than the store has room for: commands wait, and all of them end. */
#include "store/store.h"

#include "disk/layout.h"
#include "rig_case.h"

#define K      ((uint64_t)1024)
#define BLOCKS 768 /* Of each shard, all written. */
#define SHARDS 2
#define MANY   (2 * BLOCKS) /* Commands of one transfer each; a store has 1024 under way. */

static struct rig rig;
static struct rig_io *many;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    rig_begin(&rig);
    for (rig.shard = 0; rig.shard < SHARDS; rig.shard++) {
        for (uint64_t block = 0; block < BLOCKS; block += 128)
            assert_true(status_ok(
                rig_do(&rig, STORE_OP_WRITE, block * 4 * K, 512 * K, (uint8_t)(block / 128 + 1))));
    }
    many = calloc(MANY, sizeof *many);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        free(many[i].data);
    free(many);
    rig_abandon(&rig);
    return 0;
}

/* One for each block, in no order that a disk would like. */
static void submit_many(enum store_opcode opcode)
{
    for (unsigned i = 0; i < MANY; i++) {
        rig.shard = i % SHARDS;
        rig_submit(&rig, &many[i], opcode, (uint64_t)(i / SHARDS * 5 % BLOCKS) * 4 * K, 4 * K,
                   0x5a);
    }
}

static void reads_wait_for_room(void **state)
{
    (void)state;
    submit_many(STORE_OP_READ);
    for (unsigned i = 0; i < MANY; i++) {
        rig_io_wait(&rig, &many[i]);
        assert_true(status_ok(many[i].io.status));
        assert_int_equal(many[i].data[4095], i / SHARDS * 5 % BLOCKS / 128 + 1);
    }
}

static void writes_wait_for_room(void **state)
{
    (void)state;
    struct status status;

    submit_many(STORE_OP_WRITE);
    for (unsigned i = 0; i < MANY; i++) {
        rig_io_wait(&rig, &many[i]);
        assert_true(status_ok(many[i].io.status));
    }
    for (uint64_t block = 0; block < BLOCKS; block += 37) {
        assert_int_equal(rig_read_block(&rig, block, &status), 0x5a);
        assert_true(status_ok(status));
    }
}

/* The disk fails while writes wait: these fail too, and none is left behind. */
static void waiting_writes_fail_with_their_disk(void **state)
{
    (void)state;
    struct disk_layout layout;
    unsigned failed = 0;

    assert_true(status_ok(disk_layout_make(RIG_DEVICE_BYTES, &layout)));
    rig.fail_write = 1;
    rig.fail_write_to = layout.part[LAYOUT_DATA].offset;
    submit_many(STORE_OP_WRITE);
    for (unsigned i = 0; i < MANY; i++) {
        rig_io_wait(&rig, &many[i]);
        failed += status_ok(many[i].io.status) ? 0 : 1;
        if (!status_ok(many[i].io.status))
            assert_int_equal(many[i].io.status.code, STATUS_MEDIA_WRITE);
    }
    assert_true(failed >= MANY - 1024);
    /* What is there can be read. */
    struct status status;
    (void)rig_read_block(&rig, 1, &status);
    assert_true(status_ok(status));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_wait_for_room),
        TEST(writes_wait_for_room),
        TEST(waiting_writes_fail_with_their_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

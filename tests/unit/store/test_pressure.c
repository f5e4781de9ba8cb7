/* SPDX-License-Identifier: Apache-2.0 */
/* More at once than the store has room for: commands wait, and all of them end. */
#define RIG_CONTENT_BYTES ((uint64_t)2 << 30) /* Where a case needs a ring that is not full. */
#include "store/store.h"

#include "disk/layout.h"
#include "rig_case.h"

#define K      ((uint64_t)1024)
#define BLOCKS 768 /* Of each shard, all written. */
#define SHARDS 2
#define SMALL  300          /* Overwrites that keep the journal busy. */
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

/* Of the writes that begin below an offset the oldest completes, and all others. */
static void complete_first_below(uint64_t offset)
{
    uint64_t first = 0;

    LIST_FOR_EACH (n, &rig.pending) {
        const struct dev_io *const io = CONTAINER_OF(n, struct dev_io, link);
        if (first == 0 && io->kind == DEV_KIND_WRITE && io->offset < offset)
            first = io->offset;
    }
    rig.hold_below = first;
    rig.hold_from = first + 1;
    rig_turn(&rig);
    rig.hold_below = offset;
    rig.hold_from = 0;
    rig_run(&rig);
}

/* A large overwrite that goes through the journal is let through although small ones keep coming.
 */
static void small_overwrites_do_not_starve_a_large_one(void **state)
{
    (void)state;
    struct disk_layout layout;
    static struct rig_io large;
    unsigned ended = 0;

    assert_true(status_ok(disk_layout_make(RIG_CONTENT_BYTES, &layout)));
    const struct disk_extent ring = layout.part[LAYOUT_JOURNAL];
    teardown(NULL);
    rig_init(&rig, NULL, 1);
    rig_set_bytes(&rig, RIG_CONTENT_BYTES);
    rig.dev.info.atomic_bytes = 512;
    rig_begin(&rig);
    for (uint64_t block = 0; block < BLOCKS; block += 128)
        assert_true(status_ok(rig_do(&rig, STORE_OP_WRITE, block * 4 * K, 512 * K, 1)));
    rig_pass(&rig, NS_PER_S);
    many = calloc(MANY, sizeof *many);
    for (uint64_t i = 0; i < SMALL; i++)
        rig_submit(&rig, &many[i], STORE_OP_WRITE, (128 + i) * 4 * K, 4 * K, 2);
    rig_turn(&rig);
    rig_submit(&rig, &large, STORE_OP_WRITE, 0, 512 * K, 3);
    while (!large.done && ended < 2 * SMALL) {
        complete_first_below(ring.offset + ring.bytes);
        for (uint64_t i = 0; i < SMALL; i++) {
            if (!many[i].done)
                continue;
            free(many[i].data);
            rig_submit(&rig, &many[i], STORE_OP_WRITE, (128 + i) * 4 * K, 4 * K, 2);
            ended++;
        }
    }
    rig.hold_below = rig.hold_from = 0;
    assert_true(large.done);
    assert_true(status_ok(large.io.status));
    for (uint64_t i = 0; i < SMALL; i++)
        rig_io_wait(&rig, &many[i]);
    free(large.data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_wait_for_room),
        TEST(writes_wait_for_room),
        TEST(waiting_writes_fail_with_their_disk),
        TEST(small_overwrites_do_not_starve_a_large_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums in memory that does not hold them all: docs/disk-format.md, sections 2.4 and 4.8. */
#include "store/sums.h"

#include <stdio.h>

#include "disk/disk_format.h"
#include "disk/layout.h"
#include "rig_case.h"

#define K      ((uint64_t)1024)
#define TAG    7
#define TABLES 4
#define GRAINS ((uint64_t)TABLES * SUMS_GRAINS_PER_BLOCK)

/* The first block of a table block. */
static uint64_t first_of(uint64_t table_block)
{
    return table_block * SUMS_CRCS_PER_BLOCK;
}

/* ---- The frames ---- */

static void hold(struct sums *s, uint64_t table_block, bool change)
{
    assert_true(sums_hold(s, first_of(table_block), change));
}

static void release(struct sums *s, uint64_t table_block, bool change)
{
    sums_release(s, first_of(table_block), change);
}

static void change(struct sums *s, uint64_t table_block, uint32_t crc)
{
    hold(s, table_block, true);
    sums_set(s, first_of(table_block), crc);
    release(s, table_block, true);
}

/* Writes a changed table block, into a pair of slots. */
static void write_table(struct sums *s, uint64_t table_block, uint8_t pair[SUMS_PAIR_BYTES])
{
    uint8_t out[DISK_BLOCK_BYTES];
    uint64_t offset;

    assert_true(sums_can_encode(s, table_block));
    sums_encode(s, table_block, (struct span) { out, sizeof out }, &offset);
    memcpy(pair + offset % SUMS_PAIR_BYTES, out, sizeof out);
    sums_written(s, table_block, true);
}

/* What has changed stays until it has been written, and never takes all frames. */
static void changed_sums_stay(void **state)
{
    (void)state;
    uint8_t pair[SUMS_PAIR_BYTES] = { 0 };
    struct sums s;

    assert_status(sums_init(&s, GRAINS, TAG, 1, 2), STATUS_OK);
    change(&s, 0, 0x1111);
    assert_false(sums_hold(&s, first_of(1), true)); /* One frame of two may be changed. */
    assert_true(sums_wants_writing(&s));
    for (uint64_t t = 1; t < TABLES; t++) {
        hold(&s, t, false);
        release(&s, t, false);
    }
    hold(&s, 0, false);
    assert_int_equal(sums_get(&s, first_of(0)), 0x1111);
    release(&s, 0, false);
    write_table(&s, 0, pair);
    assert_false(sums_wants_writing(&s));
    change(&s, 1, 0x2222);
    assert_int_equal(sums_resident_bytes(&s), 2 * SUMS_BLOCK_BYTES);
    sums_fini(&s);
}

/* A frame that somebody holds stays, and who finds none is told so. */
static void held_sums_stay(void **state)
{
    (void)state;
    struct sums s;

    assert_status(sums_init(&s, GRAINS, TAG, 1, 2), STATUS_OK);
    hold(&s, 0, false);
    hold(&s, 1, false);
    assert_false(sums_hold(&s, first_of(2), false));
    hold(&s, 1, true); /* Twice, and for a change: the same frame. */
    release(&s, 0, false);
    hold(&s, 2, false);
    assert_false(sums_hold(&s, first_of(0), false));
    assert_false(sums_hold(&s, first_of(2), true));
    release(&s, 1, true);
    hold(&s, 2, true);
    release(&s, 2, true);
    release(&s, 2, false);
    release(&s, 1, false);
    sums_fini(&s);
}

/* While it is written it counts as changed: if that fails, it is all that there is. */
static void failed_writing_forgets_nothing(void **state)
{
    (void)state;
    uint8_t out[DISK_BLOCK_BYTES];
    uint64_t offset;
    struct sums s;

    assert_status(sums_init(&s, GRAINS, TAG, 1, 2), STATUS_OK);
    change(&s, 0, 0x1111);
    sums_encode(&s, 0, (struct span) { out, sizeof out }, &offset);
    assert_false(sums_hold(&s, first_of(1), true));
    sums_written(&s, 0, false);
    assert_int_equal(sums_next_dirty(&s, 0), 0);
    assert_false(sums_hold(&s, first_of(1), true));
    /* The disk has failed: nothing will ever be written, and reads go on. */
    sums_lift_limit(&s);
    change(&s, 1, 0x2222);
    change(&s, 2, 0x3333);
    for (uint32_t t = 0; t < 3; t++) {
        hold(&s, t, false);
        assert_int_equal(sums_get(&s, first_of(t)), 0x1111 * (t + 1));
        release(&s, t, false);
    }
    sums_fini(&s);
}

static void load(struct sums *s, uint64_t table_block, const uint8_t pair[SUMS_PAIR_BYTES],
                 unsigned slots)
{
    const struct const_span both[SUMS_SLOTS] = {
        { pair, (slots & 1) != 0 ? DISK_BLOCK_BYTES : 0 },
        { pair + DISK_BLOCK_BYTES, (slots & 2) != 0 ? DISK_BLOCK_BYTES : 0 },
    };

    assert_int_equal(sums_next_wanted(s, 0), table_block);
    sums_load_begin(s, table_block);
    assert_true(sums_load(s, table_block, both));
    sums_load_end(s, table_block);
}

/* What is set while a table block is read is newer than what is read. */
static void loading_leaves_changes_alone(void **state)
{
    (void)state;
    uint8_t pair[SUMS_PAIR_BYTES] = { 0 };
    struct sums s;

    assert_status(sums_init(&s, GRAINS, TAG, 1, 2), STATUS_OK);
    hold(&s, 3, true);
    assert_true(sums_is_loaded(&s, first_of(3))); /* There was never anything to load. */
    sums_set(&s, first_of(3), 0x1111);
    sums_set(&s, first_of(3) + 1, 0x2222);
    release(&s, 3, true);
    write_table(&s, 3, pair);
    for (uint64_t t = 0; t < 2; t++) {
        hold(&s, t, false); /* Takes its frame. */
        release(&s, t, false);
    }
    hold(&s, 3, true);
    assert_false(sums_is_loaded(&s, first_of(3)));
    sums_set(&s, first_of(3) + 1, 0x3333);
    assert_false(sums_can_encode(&s, 3));
    load(&s, 3, pair, 3);
    assert_int_equal(sums_get(&s, first_of(3)), 0x1111);
    assert_int_equal(sums_get(&s, first_of(3) + 1), 0x3333);
    release(&s, 3, true);
    write_table(&s, 3, pair);
    sums_fini(&s);
}

/* Of two slots the newer counts; where it cannot be read, the older, which is never written over
 * then. */
static void the_other_slot_is_used(void **state)
{
    (void)state;
    static uint8_t pair[SUMS_PAIR_BYTES];
    static uint8_t before[SUMS_PAIR_BYTES];
    struct sums s;

    assert_status(sums_init(&s, GRAINS, TAG, 1, 0), STATUS_OK);
    change(&s, 0, 0x1111);
    write_table(&s, 0, pair);
    memcpy(before, pair, sizeof before);
    change(&s, 0, 0x2222);
    write_table(&s, 0, pair);
    const unsigned newer = memcmp(before, pair, DISK_BLOCK_BYTES) != 0 ? 1 : 2;
    sums_fini(&s);

    for (unsigned slots = 1; slots <= 3; slots++) {
        memcpy(before, pair, sizeof before);
        assert_status(sums_init(&s, GRAINS, TAG, 2, 0), STATUS_OK);
        sums_set_used(&s, 0);
        hold(&s, 0, false);
        load(&s, 0, pair, slots);
        assert_int_equal(sums_get(&s, first_of(0)), (slots & newer) != 0 ? 0x2222 : 0x1111);
        release(&s, 0, false);
        change(&s, 0, 0x3333);
        write_table(&s, 0, before);
        /* The slot that was used is as it was. */
        const unsigned used = (slots & newer) != 0 ? newer : 3 - newer;
        assert_memory_equal(before + (used - 1) * DISK_BLOCK_BYTES,
                            pair + (used - 1) * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES);
        sums_fini(&s);
    }
}

/* What recovery needs above the limit is given back after it. */
static void recovery_may_take_more(void **state)
{
    (void)state;
    uint8_t pair[SUMS_PAIR_BYTES] = { 0 };
    struct sums s;

    assert_status(sums_init(&s, GRAINS, TAG, 1, 2), STATUS_OK);
    for (uint64_t t = 0; t < TABLES; t++)
        assert_status(sums_recover(&s, first_of(t) + 5, (uint32_t)t), STATUS_OK);
    assert_int_equal(sums_recovered(&s, 0), 1u << 5);
    assert_int_equal(sums_resident_bytes(&s), TABLES * SUMS_BLOCK_BYTES);
    for (uint64_t t = 0; t < TABLES; t++)
        write_table(&s, t, pair);
    sums_trim(&s);
    assert_int_equal(sums_resident_bytes(&s), 2 * SUMS_BLOCK_BYTES);
    assert_int_equal(sums_budget_bytes(&s), 2 * SUMS_BLOCK_BYTES);
    change(&s, 3, 1);
    sums_fini(&s);
}

/* ---- In a store ---- */

static struct rig rig;
static struct disk_layout layout;

/* A disk with a grain in each of several table blocks, and memory for two of them. */
static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    rig.checksum_bytes = 2 * SUMS_BLOCK_BYTES;
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    assert_true(disk_layout_sums_blocks(layout.data_grains) >= 3);
    rig_begin(&rig);
    for (rig.shard = 0; rig.shard < 3; rig.shard++)
        assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 8 * K, (uint8_t)(1 + rig.shard)), STATUS_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

static void assert_block(uint32_t shard, uint64_t block, uint8_t fill)
{
    struct status st;

    rig.shard = shard;
    const uint8_t found = rig_read_block(&rig, block, &st);
    assert_status(st, STATUS_OK);
    assert_int_equal(found, fill);
}

/* Every block is read and written as ever, in no more memory than was given. */
static void short_memory_is_enough(void **state)
{
    (void)state;
    struct store_info info;

    for (uint8_t round = 0; round < 8; round++) {
        for (uint32_t s = 0; s < 3; s++) {
            rig.shard = s;
            assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 4 * K, 0x10 + round), STATUS_OK);
            assert_block((s + 1) % 3, 0, (uint8_t)(1 + (s + 1) % 3));
        }
        for (uint32_t s = 0; s < 3; s++)
            assert_block(s, 1, 0x10 + round);
        store_get_info(rig.store, &info);
        assert_true(info.checksum_bytes > 0 && info.checksum_bytes <= rig.checksum_bytes);
        assert_int_equal(info.checksum_budget_bytes, rig.checksum_bytes);
        assert_int_equal(info.media_errors, 0);
        if (round % 3 == 2)
            rig_reopen(&rig);
    }
}

/* A start reads no checksums; the first read of a grain does, and reads of it that follow do not.
 */
static void checksums_are_read_when_they_are_needed(void **state)
{
    (void)state;
    rig_reopen(&rig);
    rig.unread_from = layout.part[LAYOUT_SUMS].offset; /* From here on they cannot be read. */
    rig.unread_to = rig.unread_from;
    assert_block(0, 0, 1);
    rig.unread_to = rig.unread_from + layout.part[LAYOUT_SUMS].bytes;
    assert_block(0, 0, 1);
    assert_block(0, 1, 1);
    struct status st;
    rig.shard = 1;
    (void)rig_read_block(&rig, 0, &st);
    assert_status(st, STATUS_MEDIA_READ);
    assert_block(0, 0, 1);
}

static uint64_t table_reads;
static uint64_t data_reads;

/* Counts what the device is asked to read, by part; nothing else is read here. */
static bool count_reads(const struct dev_io *io)
{
    const struct disk_extent *const sums = &layout.part[LAYOUT_SUMS];
    const struct disk_extent *const data = &layout.part[LAYOUT_DATA];

    if (io->kind != DEV_KIND_READ)
        return false;
    const bool of_sums = io->offset >= sums->offset && io->offset < sums->offset + sums->bytes;
    const bool of_data = io->offset >= data->offset && io->offset < data->offset + data->bytes;
    assert_true(of_sums || of_data);
    table_reads += of_sums ? 1 : 0;
    data_reads += of_data ? 1 : 0;
    return false;
}

static void assert_reads(uint64_t of_table, uint64_t of_data)
{
    assert_int_equal(table_reads, of_table);
    assert_int_equal(data_reads, of_data);
    table_reads = data_reads = 0;
}

/* Each of the shards is read once, four rounds long. */
static void read_in_turn(uint32_t first, uint32_t shards)
{
    for (uint32_t i = 0; i < 4 * shards; i++)
        assert_block(first + i % shards, 0, (uint8_t)(1 + first + i % shards));
}

/* A read whose checksums are not in memory takes one read of the device more, and no other does. */
static void a_miss_costs_one_read(void **state)
{
    (void)state;
    rig_reopen(&rig);
    rig.fails = count_reads;
    table_reads = data_reads = 0;
    assert_block(0, 0, 1);
    assert_reads(1, 1); /* Both slots at once. */
    assert_block(0, 0, 1);
    assert_block(0, 1, 1);
    assert_reads(0, 2);
    assert_block(1, 0, 2);
    assert_reads(1, 1);
    read_in_turn(0, 2);
    assert_reads(0, 8); /* There is memory for two. */
    assert_block(2, 0, 3);
    assert_reads(1, 1);
    read_in_turn(0, 3);
    assert_in_range(table_reads, 4, 12); /* One of three is always missing. */
    assert_int_equal(data_reads, 12);
}

/* Those that wait for the same checksums share the read. */
static void misses_at_once_cost_one_read(void **state)
{
    (void)state;
    struct rig_io r[4];

    rig_reopen(&rig);
    rig.fails = count_reads;
    table_reads = data_reads = 0;
    rig.shard = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++)
        rig_submit(&rig, &r[i], STORE_OP_READ, i % 2 * 4 * K, 4 * K, 0xee);
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++) {
        rig_io_wait(&rig, &r[i]);
        assert_status(r[i].io.status, STATUS_OK);
        free(r[i].data);
    }
    assert_reads(1, ARRAY_COUNT(r));
}

/* A write brings its own checksums: it reads those of its neighbours, and no data. */
static void a_miss_of_a_write_costs_one_read(void **state)
{
    (void)state;
    rig_reopen(&rig);
    rig.fails = count_reads;
    table_reads = data_reads = 0;
    rig.shard = 0;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x51), STATUS_OK);
    rig_run(&rig);
    assert_reads(1, 0);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 4 * K, 0x52), STATUS_OK);
    rig_run(&rig);
    assert_reads(0, 0);
    assert_block(0, 1, 0x52);
    assert_reads(0, 1);
}

/* A latent error in one slot of a pair costs nothing that the other slot has. */
static void an_unreadable_slot_is_replaced_by_the_other(void **state)
{
    (void)state;
    for (unsigned slot = 0; slot < SUMS_SLOTS; slot++) {
        rig_reopen(&rig);
        for (rig.shard = 0; rig.shard < 3; rig.shard++) /* Both slots have the second block. */
            for (unsigned i = 0; i < 2; i++) {
                assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x20), STATUS_OK);
                rig_reopen(&rig);
            }
        rig.unread_from = layout.part[LAYOUT_SUMS].offset + slot * DISK_BLOCK_BYTES;
        rig.unread_to = rig.unread_from + DISK_BLOCK_BYTES;
        for (uint32_t s = 0; s < 3; s++)
            assert_block(s, 1, (uint8_t)(1 + s));
        rig.unread_to = rig.unread_from;
    }
}

/* S3: where both slots are gone, these blocks are media errors until they are written; no others.
 */
static void a_lost_table_block_hides_its_blocks_only(void **state)
{
    (void)state;
    struct status st;
    unsigned lost = 0;

    rig_reopen(&rig);
    const uint64_t sums = layout.part[LAYOUT_SUMS].offset;
    memset(&rig.content[sums], 0xff, SUMS_PAIR_BYTES); /* Of the first table block. */
    for (rig.shard = 0; rig.shard < 3; rig.shard++) {
        (void)rig_read_block(&rig, 1, &st);
        lost += status_is(st, STATUS_MEDIA_READ) ? 1 : 0;
        assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x44), STATUS_OK);
    }
    assert_int_equal(lost, 1);
    rig_reopen(&rig);
    for (uint32_t s = 0; s < 3; s++)
        assert_block(s, 0, 0x44);
    lost = 0;
    for (rig.shard = 0; rig.shard < 3; rig.shard++) {
        (void)rig_read_block(&rig, 1, &st);
        lost += status_is(st, STATUS_MEDIA_READ) ? 1 : 0;
    }
    assert_int_equal(lost, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_sums_stay),
        cmocka_unit_test(held_sums_stay),
        cmocka_unit_test(failed_writing_forgets_nothing),
        cmocka_unit_test(loading_leaves_changes_alone),
        cmocka_unit_test(the_other_slot_is_used),
        cmocka_unit_test(recovery_may_take_more),
        cmocka_unit_test_setup_teardown(short_memory_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(checksums_are_read_when_they_are_needed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_miss_costs_one_read, setup, teardown),
        cmocka_unit_test_setup_teardown(misses_at_once_cost_one_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_miss_of_a_write_costs_one_read, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unreadable_slot_is_replaced_by_the_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lost_table_block_hides_its_blocks_only, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a check repairs on a disk at rest, and what it leaves alone (store/repair.h). */
#include <stdio.h>

#include "disk/disk_format.h"
#include "disk/layout.h"
#include "disk/superblock.h"
#include "rig_case.h"

#define K ((uint64_t)1024)

static struct rig rig;
static struct disk_layout layout;
static uint8_t before[RIG_DEVICE_BYTES];
static uint64_t told; /* Lines about repairs. */

static void open_disk(void)
{
    rig_serve(&rig);
}

static void close_disk(void)
{
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    rig.session.session = NULL;
}

static void write_block(uint64_t block, uint8_t fill)
{
    assert_status(rig_do(&rig, STORE_OP_WRITE, block * 4 * K, 4 * K, fill), STATUS_OK);
}

static void assert_block(uint64_t block, uint8_t fill)
{
    struct status st;
    const uint8_t found = rig_read_block(&rig, block, &st);

    assert_status(st, STATUS_OK);
    assert_int_equal(found, fill);
}

/* A disk that was closed cleanly; both slots of its table block have block 0 as it is, and only
 * the newer one has block 1. */
static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    assert_status(rig_format(&rig), STATUS_OK);
    open_disk();
    write_block(0, 0x11);
    close_disk();
    open_disk();
    write_block(1, 0x22);
    close_disk();
    memcpy(before, rig.content, sizeof before);
    told = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

static void on_repair(void *ctx, const char *text)
{
    (void)ctx;
    assert_true(text[0] != '\0');
    told++;
}

static struct status check(bool repair_it, struct store_check_report *report)
{
    *report = (struct store_check_report) { .repair = on_repair, .repair_it = repair_it };
    rig.done = false;
    assert_status(store_check(&rig.dev, report, rig_on_status, &rig), STATUS_OK);
    rig_wait(&rig);
    return rig.status;
}

/* Problems before, all of which are repaired; the disk is sound after that, and opens. */
static void assert_repairs(uint64_t problems)
{
    static uint8_t damaged[RIG_DEVICE_BYTES];
    struct store_check_report report;

    memcpy(damaged, rig.content, sizeof damaged);
    assert_status(check(false, &report), STATUS_OK);
    assert_int_equal(report.problems, problems);
    assert_int_equal(report.repairable, problems);
    assert_int_equal(report.repaired, 0);
    assert_int_equal(told, problems);
    assert_memory_equal(rig.content, damaged, sizeof damaged); /* Nobody has asked for it. */
    assert_status(check(true, &report), STATUS_OK);
    assert_int_equal(report.repaired, problems);
    assert_int_equal(told, 2 * problems);
    rig.unread_to = rig.unread_from; /* The medium replaces a sector that is written. */
    assert_status(check(false, &report), STATUS_OK);
    assert_int_equal(report.problems, 0);
    open_disk();
    assert_block(0, 0x11);
    assert_block(1, 0x22);
    close_disk();
}

/* Problems that stay: nothing is written at all. */
static void assert_leaves_alone(uint64_t problems)
{
    static uint8_t damaged[RIG_DEVICE_BYTES];
    struct store_check_report report;

    memcpy(damaged, rig.content, sizeof damaged);
    assert_status(check(true, &report), STATUS_OK);
    assert_int_equal(report.problems, problems);
    assert_int_equal(report.repaired, 0);
    assert_memory_equal(rig.content, damaged, sizeof damaged);
}

/* F1: a damaged superblock is written again, byte for byte as the other one. */
static void superblocks_are_repaired(void **state)
{
    (void)state;
    for (unsigned bad = 0; bad < SUPERBLOCK_SLOTS; bad++) {
        struct store_check_report report;
        memcpy(rig.content, before, sizeof before);
        rig.content[superblock_offset(bad) + 100] ^= 1;
        assert_status(check(true, &report), STATUS_OK);
        assert_int_equal(report.repaired, 1);
        assert_memory_equal(rig.content, before, sizeof before);
        told = 0;
        rig.content[superblock_offset(bad) + 50] ^= 1;
        assert_repairs(1);
        told = 0;
    }
}

/* The same where it cannot be read. */
static void unreadable_superblocks_are_repaired(void **state)
{
    (void)state;
    rig.unread_from = superblock_offset(1);
    rig.unread_to = rig.unread_from + SUPERBLOCK_BYTES;
    assert_repairs(1);
}

/* Which slot of the first table block was written last. */
static unsigned newer_slot(void)
{
    uint64_t sequence[2] = { 0, 0 };

    for (unsigned i = 0; i < 2; i++) {
        struct metablock head;
        const struct const_span slot = {
            before + layout.part[LAYOUT_SUMS].offset + i * (uint64_t)DISK_BLOCK_BYTES,
            DISK_BLOCK_BYTES,
        };
        assert_status(metablock_open(slot, METABLOCK_SUMS, &head), STATUS_OK);
        sequence[i] = head.sequence;
    }
    return sequence[1] > sequence[0] ? 1 : 0;
}

static uint64_t slot_offset(unsigned slot)
{
    return layout.part[LAYOUT_SUMS].offset + slot * (uint64_t)DISK_BLOCK_BYTES;
}

/* A slot of the checksum table is written again from the other one; that one is not touched. */
static void slots_are_repaired(void **state)
{
    (void)state;
    const unsigned good = newer_slot();

    rig.content[slot_offset(1 - good) + 200] ^= 1;
    assert_repairs(1);
    memcpy(rig.content, before, sizeof before);
    told = 0;
    memset(&rig.content[slot_offset(1 - good) + 4], 0xff, 4);
    struct store_check_report report;
    assert_status(check(true, &report), STATUS_OK);
    assert_int_equal(report.repaired, 1);
    assert_memory_equal(&rig.content[slot_offset(good)], before + slot_offset(good),
                        DISK_BLOCK_BYTES);
}

/* One that cannot be read, too, if every block matches the other. */
static void unreadable_slots_are_repaired(void **state)
{
    (void)state;
    rig.unread_from = slot_offset(1 - newer_slot());
    rig.unread_to = rig.unread_from + DISK_BLOCK_BYTES;
    assert_repairs(1);
}

/* A slot that cannot be read may have the checksum of the block that the other does not match. */
static void a_slot_that_may_be_wanted_is_left_alone(void **state)
{
    (void)state;
    rig.unread_from = slot_offset(newer_slot());
    rig.unread_to = rig.unread_from + DISK_BLOCK_BYTES;
    assert_leaves_alone(2); /* The slot, and block 1. */
    rig.unread_to = rig.unread_from;
    open_disk();
    assert_block(1, 0x22);
    close_disk();
}

/* One that is damaged has nothing any more: it is repaired, and block 1 stays a media error. */
static void a_newer_slot_that_is_damaged_is_repaired(void **state)
{
    (void)state;
    struct store_check_report report;
    struct status st;

    rig.content[slot_offset(newer_slot()) + 300] ^= 1;
    assert_status(check(true, &report), STATUS_OK);
    assert_int_equal(report.problems, 2);
    assert_int_equal(report.repaired, 1);
    assert_status(check(false, &report), STATUS_OK);
    assert_int_equal(report.problems, 1);
    open_disk();
    assert_block(0, 0x11);
    (void)rig_read_block(&rig, 1, &st);
    assert_status(st, STATUS_MEDIA_READ);
    write_block(1, 0x33);
    close_disk();
    assert_status(check(false, &report), STATUS_OK);
    assert_int_equal(report.problems, 0);
}

/* Damage of what is there once is told, and nothing is written. */
static void the_rest_is_left_alone(void **state)
{
    (void)state;
    uint64_t data = 0;

    while (rig.content[data] != 0x11 || rig.content[data + 4095] != 0x11)
        data += 4096;
    rig.content[data + 7] ^= 1;
    assert_leaves_alone(1);
    memcpy(rig.content, before, sizeof before);
    memset(&rig.content[slot_offset(0)], 0xff, SUMS_PAIR_BYTES); /* Both slots. */
    rig.content[slot_offset(0)] = rig.content[slot_offset(1)] = 'T';
    assert_leaves_alone(2);
    memcpy(rig.content, before, sizeof before);
    rig.content[layout.part[LAYOUT_CHECKPOINT_0].offset + 80] ^= 1;
    rig.content[layout.part[LAYOUT_CHECKPOINT_1].offset + 80] ^= 1;
    assert_leaves_alone(1);
}

/* The table of a disk that was not closed cleanly is the next opening's to repair. */
static void a_crashed_disk_is_left_alone(void **state)
{
    (void)state;
    struct store_check_report report;

    open_disk();
    memcpy(before, rig.content, sizeof before);
    close_disk();
    memcpy(rig.content, before, sizeof before);
    rig.content[slot_offset(1 - newer_slot()) + 200] ^= 1;
    assert_leaves_alone(1);
    open_disk();
    assert_block(0, 0x11);
    assert_block(1, 0x22);
    write_block(2, 0x44);
    close_disk();
    assert_status(check(false, &report), STATUS_OK);
    assert_int_equal(report.problems, 0);
}

/* A repair that fails says so, and costs nothing. */
static void a_repair_can_fail(void **state)
{
    (void)state;
    struct store_check_report report;

    rig.content[superblock_offset(1) + 100] ^= 1;
    rig.fail_write = 1;
    assert_status(check(true, &report), STATUS_IO);
    assert_int_equal(report.repaired, 0);
    rig.fail_flush = 1;
    assert_status(check(true, &report), STATUS_IO);
    assert_status(check(false, &report), STATUS_OK);
    open_disk();
    assert_block(0, 0x11);
    close_disk();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(superblocks_are_repaired),
        TEST(unreadable_superblocks_are_repaired),
        TEST(slots_are_repaired),
        TEST(unreadable_slots_are_repaired),
        TEST(a_slot_that_may_be_wanted_is_left_alone),
        TEST(a_newer_slot_that_is_damaged_is_repaired),
        TEST(the_rest_is_left_alone),
        TEST(a_crashed_disk_is_left_alone),
        TEST(a_repair_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

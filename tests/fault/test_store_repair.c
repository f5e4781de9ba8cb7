/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repair that fails, or is killed, in the middle (store/repair.h): whatever has become of it, it
 * can be done again, and then the disk is sound and has everything.
 */
#include "disk/disk_format.h"
#include "disk/layout.h"
#include "disk/metablock.h"
#include "disk/superblock.h"
#include "store_disk.h"

static struct disk_layout layout;
static uint8_t damaged[RIG_CONTENT_BYTES];
static uint8_t image[RIG_CONTENT_BYTES];
static uint64_t damages;
static uint32_t atomic_bytes;

static uint64_t slot_offset(uint64_t table_block, unsigned slot)
{
    return layout.part[LAYOUT_SUMS].offset + table_block * SUMS_PAIR_BYTES +
           slot * (uint64_t)DISK_BLOCK_BYTES;
}

/* The sequence of a slot; 0: it was never written. */
static uint64_t slot_sequence(uint64_t table_block, unsigned slot)
{
    struct metablock head;
    const struct const_span block = { content + slot_offset(table_block, slot), DISK_BLOCK_BYTES };

    return status_ok(metablock_open(block, METABLOCK_SUMS, &head)) ? head.sequence : 0;
}

/* Damages the older slot of each table block that has two, and a superblock. */
static void damage(void)
{
    const uint64_t pairs = layout.part[LAYOUT_SUMS].bytes / SUMS_PAIR_BYTES;

    damages = 1;
    content[superblock_offset(1) + 100] ^= 1;
    for (uint64_t t = 0; t < pairs; t++) {
        const uint64_t first = slot_sequence(t, 0), second = slot_sequence(t, 1);
        if (first == 0 || second == 0)
            continue;
        content[slot_offset(t, first < second ? 0 : 1) + 200] ^= 1;
        damages++;
    }
    assert_true(damages > 2); /* More than one slot: some may be repaired, others not yet. */
}

/* A disk that was closed in order twice, so that its table blocks have two slots, and is damaged.
 */
static void make_damaged(void)
{
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    disk_make(atomic_bytes);
    memcpy(content, crashed, sizeof content);
    for (unsigned turn = 0; turn < 2; turn++) {
        disk_begin(atomic_bytes);
        assert_status(rig_open(&rig), STATUS_OK);
        assert_status(rig_session(&rig, 1), STATUS_OK);
        for (uint64_t at = 0; at < 16; at++) /* 8 MiB: several table blocks. */
            assert_status(
                disk_write(2 + (uint32_t)at / 8, at % 8 * 512 * K, 512 * K, (uint8_t)(0x65 + turn)),
                STATUS_OK);
        disk_end();
    }
    damage();
    memcpy(damaged, content, sizeof damaged);
}

static struct status repair(struct store_check_report *report)
{
    *report = (struct store_check_report) { .repair_it = true };
    rig.done = false;
    TRY(store_check(&rig.dev, report, rig_on_status, &rig));
    rig_wait(&rig);
    return rig.status;
}

/* Nothing is written but superblocks and the table. */
static void assert_wrote_what_is_twice(void)
{
    for (size_t i = 0; i < rig.write_count; i++) {
        const uint64_t at = rig.writes[i].offset;
        const struct disk_extent *const sums = &layout.part[LAYOUT_SUMS];
        assert_true(at == superblock_offset(1) || at == superblock_offset(0) ||
                    (at >= sums->offset && at < sums->offset + sums->bytes));
    }
}

/* What is left to do can be done, and then all is there. */
static void assert_repairable(void)
{
    struct store_check_report report;

    assert_status(repair(&report), STATUS_OK);
    assert_true(report.problems <= damages);
    assert_int_equal(report.repairable, report.problems);
    assert_int_equal(report.repaired, report.problems);
    assert_sound();
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_filled();
    assert_block(2, 0, 0x66);
    assert_block(3, 1023, 0x66);
    disk_end();
}

static bool io_fails(const struct dev_io *io)
{
    (void)io;
    return fault_hits(FAULT_IO);
}

static void begin_damaged(void)
{
    memcpy(content, damaged, sizeof content);
    disk_begin(atomic_bytes);
}

static void io_scenario(void)
{
    struct store_check_report report;

    begin_damaged();
    rig.fails = io_fails;
    fault_begin();
    const struct status st = repair(&report);
    fault_end();
    if (!fault_happened())
        assert_true(status_ok(st) && report.repaired == damages);
    /* It is not said that something was repaired which was not. */
    if (!status_ok(st))
        assert_int_equal(report.repaired, 0);
    assert_wrote_what_is_twice();
    assert_repairable();
}

static void each_disk(void (*test)(void))
{
    for (atomic_bytes = 4096; atomic_bytes >= 512; atomic_bytes /= 8) {
        make_damaged();
        test();
    }
}

static void each_io(void)
{
    fault_each(FAULT_IO, io_scenario);
}

/* Whatever read, write or flush fails. */
static void a_repair_whose_io_fails(void **state)
{
    (void)state;
    each_disk(each_io);
}

static void memory_scenario(void)
{
    struct store_check_report report;

    begin_damaged();
    fault_begin();
    const struct status st = repair(&report);
    fault_end();
    if (!fault_happened())
        assert_true(status_ok(st) && report.repaired == damages);
    else if (!status_ok(st))
        assert_status(st, STATUS_NO_MEMORY);
    assert_wrote_what_is_twice();
    assert_repairable();
}

/* Whatever allocation fails: that is no damage of the disk's. */
static void a_repair_without_memory(void **state)
{
    (void)state;
    atomic_bytes = 4096;
    make_damaged();
    fault_each(FAULT_ALLOCATION, memory_scenario);
}

/* One crash: before the event, and of what is not durable then as the mode says. */
static void crash_before(size_t event, bool power, uint64_t mode)
{
    struct store_check_report report;

    begin_damaged();
    rig_record(&rig);
    assert_status(repair(&report), STATUS_OK);
    assert_int_equal(report.repaired, damages);
    rig_image(&rig, event, power, mode, image);
    rig_fini(&rig);
    memcpy(content, image, sizeof content);
    disk_begin(atomic_bytes);
    assert_repairable();
}

static void each_crash(void)
{
    struct store_check_report report;

    begin_damaged();
    rig_record(&rig);
    assert_status(repair(&report), STATUS_OK);
    const size_t events = rig.event_count;
    rig_fini(&rig);
    assert_true(events >= 2 * damages);
    for (size_t event = 0; event <= events; event++) {
        crash_before(event, false, 0);
        for (uint64_t mode = 0; mode < 4; mode++)
            crash_before(event, true, mode);
    }
}

/* Killed at any moment, or without power from then on, with what was not flushed lost or torn. */
static void a_repair_that_is_killed(void **state)
{
    (void)state;
    each_disk(each_crash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repair_whose_io_fails),
        cmocka_unit_test(a_repair_without_memory),
        cmocka_unit_test(a_repair_that_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* First touches that fail, and are taken back: docs/disk-format.md, F15. */
#include "store/store_internal.h"

#include "disk/disk_format.h"
#include "kill_case.h"

static bool data_writes_fail(const struct dev_io *io)
{
    return io->kind == DEV_KIND_WRITE && io->offset >= layout.part[LAYOUT_DATA].offset;
}

/*
 * F15: the settled mark does not pass a first touch before it is taken back: in one write, the mark
 * may arrive, and the records that follow it not.
 */
static void the_mark_waits_for_what_is_taken_back(void **state)
{
    (void)state;
    struct rig_io bad, held[2];

    start_on(4096);
    must_write(1000, 1, 0x99);
    rig.fails = data_writes_fail;
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &bad, STORE_OP_WRITE, 0, 512 * K, 0x22); /* Its records are written. */
    rig_run(&rig);
    journal_settle(rig.store->journal, rig.store->last_record); /* As an overwrite wants it. */
    rig.hold_below = rig.hold_from; /* Two blocks of the journal are on their way ... */
    for (unsigned i = 0; i < 2; i++) {
        rig_submit(&rig, &held[i], STORE_OP_WRITE, (512 + i) * 4 * K, 4 * K, 0x33);
        rig_run(&rig);
    }
    rig.hold_from = 0; /* ... when the data fail. */
    rig_run(&rig);
    rig.hold_below = 0;
    const size_t from = rig.event_count;
    rig_io_wait(&rig, &bad);
    assert_status(bad.io.status, STATUS_MEDIA_WRITE);
    const size_t to = rig.event_count;
    for (size_t at = from; at <= to; at++) {
        for (uint64_t seed = 2; seed < 12; seed++) {
            rig_image(&rig, at, false, seed, image);
            rig_init(&after, image, seed);
            after.boot = rig.boot;
            rig_serve(&after);
            for (uint64_t b = 0; b < 128; b++) {
                const uint8_t fill = must_read(&after, b);
                assert_true(fill == 0 || fill == 0x22);
            }
            rig_abandon(&after);
        }
    }
    rig.fails = NULL;
    rig_run(&rig);
    for (unsigned i = 0; i < 2; i++)
        free(held[i].data);
    free(bad.data);
    rig_abandon(&rig);
}

/* F25: what is not noted as perhaps lost is durable when it is answered: a FUA write that was taken
 * back, too. */
static void taking_back_with_fua_is_flushed(void **state)
{
    (void)state;
    struct rig_io r;

    for (unsigned fua = 0; fua < 2; fua++) {
        start_on(4096);
        must_write(1000, 1, 0x99);
        rig.fails = data_writes_fail;
        rig_submit(&rig, &r, STORE_OP_WRITE, 0, 4 * K, 0x22);
        r.io.fua = fua > 0;
        rig_io_wait(&rig, &r);
        assert_status(r.io.status, STATUS_MEDIA_WRITE);
        const struct rig_write *const undo = last_write_in(LAYOUT_JOURNAL);
        assert_true(undo->completed < r.ended);
        assert_int_equal(rig_is_durable(&rig, undo, r.ended), fua > 0);
        free(r.data);
        rig_abandon(&rig);
    }
}

/* What the disk says of a block that is zeros, spoiled, of data, or absent, in turn. */
static void assert_four_kinds(struct rig *of, uint64_t blocks)
{
    for (uint64_t b = 0; b < blocks; b++) {
        struct status st;
        const uint8_t fill = rig_read_block(of, b, &st);
        const uint64_t kind = b / 3 % 4;
        assert_status(st, kind == 1 ? STATUS_MEDIA_READ : STATUS_OK);
        if (kind == 1)
            continue;
        assert_true(kind == 2 ? fill == 0x11 || fill == 0x22 : fill == 0);
    }
}

static uint64_t blocks_in_journal(void)
{
    return journal_get_marks(rig.store->journal).last;
}

/* F15: what is taken back is what it was before, with few records: a run of blocks has one. */
static void taking_back_brings_back_what_was(void **state)
{
    (void)state;

    start_on(4096);
    must_write(1000, 1, 0x99);
    for (uint64_t b = 0; b < 128; b += 12) {
        assert_status(rig_do(&rig, STORE_OP_WRITE_ZEROES, b * 4 * K, 12 * K, 0), STATUS_OK);
        assert_status(rig_do(&rig, STORE_OP_SPOIL, (b + 3) * 4 * K, 12 * K, 0), STATUS_OK);
        must_write(b + 6, 3, 0x11);
    }
    rig_pass(&rig, 100 * NS_PER_MS);
    rig.fails = data_writes_fail;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 512 * K, 0x22), STATUS_MEDIA_WRITE);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    rig.fails = NULL;
    assert_four_kinds(&rig, 128);
    rig_kill(1);
    rig_serve(&after);
    assert_four_kinds(&after, 128);
    rig_abandon(&after);
    const uint64_t before = blocks_in_journal();
    rig.fails = data_writes_fail;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 512 * 4 * K, 512 * K, 0x22), STATUS_MEDIA_WRITE);
    assert_true(blocks_in_journal() <= before + 2); /* Its records, and those that take it back. */
    rig_abandon(&rig);
}

/* Zeros again and again, until there is room for urgent records alone. */
static void fill_journal(void)
{
    while (journal_has_room(rig.store->journal, 1 * K, false))
        assert_status(rig_do(&rig, STORE_OP_WRITE_ZEROES, 1000 * 4 * K, 4 * K, 0), STATUS_OK);
}

/* S6: a file system that is full fails many first touches at once, where the journal has no room
 * to take them back: they wait for it, and the disk does not fail. */
static void taking_back_waits_for_room(void **state)
{
    (void)state;
    static struct rig_io r[100];
    uint64_t places[ARRAY_COUNT(r)];
    struct store_info info;
    unsigned waiting = 0;

    start_on(4096);
    must_write(1000, 1, 0x99);
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++) {
        rig_submit(&rig, &r[i], STORE_OP_WRITE, i * CELL_BYTES, 4 * K, 0x22);
        rig_run(&rig);
        places[i] = last_write_in(LAYOUT_DATA)->offset;
    }
    rig.hold_at = places[0];
    rig.hold_below = (uint64_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES; /* No checkpoint ends. */
    fill_journal();
    rig.fails = data_writes_fail;
    rig.fails_no_space = true;
    for (unsigned i = 1; i < ARRAY_COUNT(r); i++) { /* Each in a block of its own. */
        rig.hold_from = places[i] + 4 * K;
        rig_run(&rig);
        waiting += r[i].done ? 0 : 1;
    }
    store_get_info(rig.store, &info);
    assert_false(info.failed);
    assert_true(waiting > 0);
    rig.hold_at = rig.hold_from = 0; /* What the settled mark waits for fails last ... */
    rig_run(&rig);
    assert_true(r[0].done);
    rig.hold_below = 0; /* ... and then there is room again. */
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++) {
        rig_io_wait(&rig, &r[i]);
        assert_status(r[i].io.status, STATUS_NO_SPACE);
        free(r[i].data);
    }
    store_get_info(rig.store, &info);
    assert_false(info.failed);
    rig.fails = NULL;
    rig_kill(1);
    rig_serve(&after);
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++)
        assert_int_equal(must_read(&after, i * CELL_BLOCKS), 0);
    rig_abandon(&after);
    must_write(0, 1, 0x33);
    assert_int_equal(must_read(&rig, 0), 0x33);
    rig_abandon(&rig);
}

/* ... and those that wait are told when the disk fails after all. */
static void what_waits_to_be_taken_back_is_told(void **state)
{
    (void)state;
    struct rig_io r[2];

    start_on(4096);
    must_write(1000, 1, 0x99);
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &r[0], STORE_OP_WRITE, 0, 4 * K, 0x22);
    rig_run(&rig);
    rig.hold_at = last_write_in(LAYOUT_DATA)->offset;
    rig_submit(&rig, &r[1], STORE_OP_WRITE, CELL_BYTES, 4 * K, 0x22);
    rig_run(&rig);
    rig.hold_below = (uint64_t)SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES;
    fill_journal();
    rig.fails = data_writes_fail;
    rig.fails_no_space = true;
    rig.hold_from = 0;
    rig_run(&rig);
    assert_false(r[1].done);
    store_fail(rig.store, STATUS(IO));
    rig.hold_at = rig.hold_below = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(r); i++) {
        rig_io_wait(&rig, &r[i]);
        assert_status(r[i].io.status, STATUS_MEDIA_WRITE);
        free(r[i].data);
    }
    rig_abandon(&rig);
}

static void on_progress(void *ctx)
{
    (void)ctx;
}

/* Taking back does not need room that others have taken while the journal is slow. */
static void taking_back_has_room(void **state)
{
    (void)state;
    const size_t bytes = METABLOCK_PAYLOAD_MAX / 2;
    struct journal_config config = { .dev = &rig.dev,
                                     .ring = { 0, RIG_DEVICE_BYTES },
                                     .tag = 1,
                                     .life = 2,
                                     .start = 1,
                                     .progress = on_progress };
    struct journal *journal;
    uint64_t sequence;

    rig_init(&rig, NULL, 1);
    rig.hold_below = RIG_DEVICE_BYTES;
    assert_status(journal_create(&config, &journal), STATUS_OK);
    while (journal_has_room(journal, bytes, false)) {
        (void)journal_append(journal, bytes, &sequence);
        rig_run(&rig);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_true(journal_has_room(journal, bytes, true));
        (void)journal_append(journal, bytes, &sequence);
        rig_run(&rig);
    }
    rig.hold_below = 0;
    rig_run(&rig);
    assert_false(journal_is_busy(journal));
    journal_destroy(journal);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mark_waits_for_what_is_taken_back),
        cmocka_unit_test(taking_back_with_fua_is_flushed),
        cmocka_unit_test(taking_back_brings_back_what_was),
        cmocka_unit_test(taking_back_waits_for_room),
        cmocka_unit_test(what_waits_to_be_taken_back_is_told),
        cmocka_unit_test(taking_back_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space in cells of 16 KiB: what scattered first touches cost, where grains come to lie, and what
 * remains of it over openings (F28 to F31).
 */
#include "store/store.h"

#include "disk/disk_format.h"
#include "disk/superblock.h"
#include "rig_case.h"

#define K            ((uint64_t)1024)
#define CELL         (16 * K)
#define GRAIN        (128 * K)
#define SHARD_GRAINS 32u /* rig_session_config(). */
#define TOUCHES_MAX  1024u

static struct rig rig;
static struct disk_layout layout;
static uint64_t generation; /* Of the next commands. */

static int setup(void **state)
{
    (void)state;
    generation = 1;
    rig_init(&rig, NULL, 1);
    rig.volume_bytes = (uint64_t)TOUCHES_MAX * GRAIN;
    assert_true(status_ok(disk_layout_make(RIG_DEVICE_BYTES, &layout)));
    rig_begin(&rig);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

/* Starts a command on a grain, counted over all shards, from one of its blocks on. */
static void submit(struct rig_io *r, enum store_opcode opcode, uint64_t grain, uint64_t block,
                   uint64_t bytes, uint8_t fill)
{
    rig.shard = (uint32_t)(grain / SHARD_GRAINS);
    rig_submit(&rig, r, opcode, grain % SHARD_GRAINS * GRAIN + block * 4 * K, bytes, fill);
    r->io.generation = generation;
}

/* The same, to its end; what it reads is fill. */
static struct status run(enum store_opcode opcode, uint64_t grain, uint64_t block, uint64_t bytes,
                         uint8_t fill)
{
    struct rig_io r;
    submit(&r, opcode, grain, block, bytes, opcode == STORE_OP_READ ? 0xee : fill);
    rig_io_wait(&rig, &r);
    for (uint64_t i = 0; opcode == STORE_OP_READ && status_ok(r.io.status) && i < bytes; i++)
        assert_int_equal(r.data[i], fill);
    free(r.data);
    return r.io.status;
}

static uint64_t free_bytes(void)
{
    struct store_info info;
    store_get_info(rig.store, &info);
    return info.free_bytes;
}

static uint8_t fill_of(uint64_t touch)
{
    return (uint8_t)(touch % 250 + 1);
}

/* Closes and opens again; the disk is as the invariants say. */
static void reopen(void)
{
    struct rig_check c;
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_string_equal(c.first, "");
    rig_serve(&rig);
}

/*
 * First touches of one block in each grain until the disk is full, in any cell of it if anywhere;
 * returns how many there were.  Each costs one cell.
 */
static uint64_t touch_until_full(bool anywhere, uint64_t from)
{
    for (uint64_t i = from; i < TOUCHES_MAX; i++) {
        const uint64_t before = free_bytes();
        const struct status st =
            run(STORE_OP_WRITE, i, anywhere ? i * 5 % 32 : 0, 4 * K, fill_of(i));
        if (!status_ok(st)) {
            assert_status(st, STATUS_NO_SPACE);
            assert_int_equal(before, 0);
            return i - from;
        }
        assert_int_equal(before - free_bytes(), CELL);
    }
    fail();
    return 0;
}

static void check_touches(bool anywhere, uint64_t from, uint64_t count)
{
    for (uint64_t i = from; i < from + count; i++)
        assert_status(run(STORE_OP_READ, i, anywhere ? i * 5 % 32 : 0, 4 * K, fill_of(i)),
                      STATUS_OK);
}

/* F28: scattered first touches of 4 KiB cost 16 KiB each until the disk is full; S6 holds then. */
static void scattered_touches_cost_a_cell_each(void **state)
{
    (void)state;
    const uint64_t cells = layout.data_grains * 8;
    generation = 0; /* Whose zeros take no room in a checkpoint. */
    for (unsigned anywhere = 0; anywhere < 2; anywhere++) {
        const uint64_t all = free_bytes();
        const uint64_t count = touch_until_full(anywhere != 0, 0);
        assert_int_equal(count, all / CELL);
        assert_true(count >= cells - cells / 100 - 16); /* All but the reserve. */
        check_touches(anywhere != 0, 0, count);
        reopen();
        assert_int_equal(free_bytes(), 0);
        check_touches(anywhere != 0, 0, count);
        assert_status(run(STORE_OP_WRITE, 7, anywhere != 0 ? 7 * 5 % 32 : 0, 4 * K, 0xee),
                      STATUS_OK);
        for (uint64_t i = 0; i < count; i++)
            assert_status(run(STORE_OP_DEALLOCATE, i, 0, GRAIN, 0), STATUS_OK);
        rig_pass(&rig, 100 * NS_PER_MS);
        assert_in_range(free_bytes(), all - CELL, all); /* The layers' records aside. */
        reopen();
    }
}

/* The same for what is written behind a snapshot: each generation's touches cost a cell. */
static void touches_behind_a_snapshot_cost_a_cell_each(void **state)
{
    (void)state;
    for (uint64_t g = 0; g < 40; g++)
        assert_status(run(STORE_OP_WRITE, g, 0, GRAIN, 0xaa), STATUS_OK);
    generation = 2;
    const uint64_t before = free_bytes();
    for (uint64_t g = 0; g < 40; g++)
        assert_status(run(STORE_OP_WRITE, g, g % 32, 4 * K, 0xbb), STATUS_OK);
    assert_int_equal(before - free_bytes(), 40 * CELL);
    reopen();
    for (uint64_t g = 0; g < 40; g++) {
        assert_status(run(STORE_OP_READ, g, g % 32, 4 * K, 0xbb), STATUS_OK);
        assert_status(run(STORE_OP_READ, g, (g + 1) % 32, 4 * K, 0xaa), STATUS_OK);
    }
    generation = 1;
    assert_status(run(STORE_OP_READ, 3, 0, GRAIN, 0xaa), STATUS_OK);
}

/* How many reads of the device a read takes whose checksums are in memory. */
static uint64_t device_reads(uint64_t grain, uint64_t block, uint64_t bytes, uint8_t fill)
{
    assert_status(run(STORE_OP_READ, grain, block, bytes, fill), STATUS_OK);
    const uint64_t reads = rig.dev.stats.reads;
    assert_status(run(STORE_OP_READ, grain, block, bytes, fill), STATUS_OK);
    return rig.dev.stats.reads - reads;
}

/* Writes into the data area since from. */
static unsigned data_writes_since(size_t from)
{
    unsigned count = 0;
    for (size_t i = from; i < rig.write_count; i++)
        count += rig.writes[i].offset >= layout.part[LAYOUT_DATA].offset ? 1 : 0;
    return count;
}

/* A grain that fills up block by block ends whole: one device I/O reads it, or writes it. */
static void filled_grains_are_whole(void **state)
{
    (void)state;
    for (uint64_t b = 0; b < 4 * 32; b++)
        assert_status(run(STORE_OP_WRITE, b / 32, b % 32, 4 * K, 0x11), STATUS_OK);
    for (uint64_t b = 4 * 32; b > 0; b--) /* Backwards, and two shares in turn. */
        assert_status(run(STORE_OP_WRITE, 4 + b % 4, (b - 1) / 4, 4 * K, 0x22), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    for (uint64_t g = 0; g < 8; g++) {
        assert_status(run(STORE_OP_WRITE, g, 0, 4 * K, 0x33), STATUS_OK); /* Opens the region. */
        const size_t from = rig.write_count;
        assert_status(run(STORE_OP_WRITE, g, 0, GRAIN, 0x33), STATUS_OK);
        assert_int_equal(data_writes_since(from), 1);
    }
    reopen();
    for (uint64_t g = 0; g < 8; g++) {
        assert_int_equal(device_reads(g, 0, GRAIN, 0x33), 1);
    }
}

/* A sequential first write is one device write for each 128 KiB, and one for all of it where the
 * grains follow each other. */
static void sequential_first_writes_are_one_write(void **state)
{
    (void)state;
    assert_status(run(STORE_OP_WRITE, 0, 0, GRAIN, 0x11), STATUS_OK);
    for (uint64_t g = 1; g < 12; g++) {
        const size_t from = rig.write_count;
        assert_status(run(STORE_OP_WRITE, g, 0, GRAIN, 0x11), STATUS_OK);
        assert_int_equal(data_writes_since(from), 1);
    }
    assert_int_equal(device_reads(4, 0, 4 * GRAIN, 0x11), 1);
}

/* A grain that fills up on a scattered disk keeps its blocks apart, and its command whole. */
static void scattered_grains_hold_what_was_written(void **state)
{
    (void)state;
    const uint64_t count = touch_until_full(false, 8);
    /* Room for four grains: single cells, each beside others that stay. */
    for (uint64_t i = 0; i < 4 * 8; i++)
        assert_status(run(STORE_OP_DEALLOCATE, 8 + 2 * i, 0, GRAIN, 0), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    for (uint64_t b = 0; b < 4 * 8; b++)
        assert_status(run(STORE_OP_WRITE, b % 4, b / 4 * 4, CELL, fill_of(b % 4)), STATUS_OK);
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t g = 0; g < 4; g++) {
            assert_in_range(device_reads(g, 0, GRAIN, fill_of(g)), 2, 8);
        }
        check_touches(false, 8 + 64, count - 64);
        reopen();
    }
    /* Overwritten, in several pieces, and given back. */
    assert_status(run(STORE_OP_WRITE, 0, 0, 4 * GRAIN, 0x44), STATUS_OK);
    assert_status(run(STORE_OP_READ, 0, 0, 4 * GRAIN, 0x44), STATUS_OK);
    for (uint64_t g = 0; g < 4; g++)
        assert_status(run(STORE_OP_DEALLOCATE, g, 0, GRAIN, 0), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_int_equal(free_bytes(), 4 * GRAIN);
    reopen();
    assert_int_equal(free_bytes(), 4 * GRAIN);
}

/* A cell that lost its last block is free, alone; its grain gets it back at its own position. */
static void cells_come_back_one_by_one(void **state)
{
    (void)state;
    assert_status(run(STORE_OP_WRITE, 0, 0, GRAIN, 0x11), STATUS_OK);
    const uint64_t before = free_bytes();
    assert_status(run(STORE_OP_DEALLOCATE, 0, 4, 2 * CELL + 4 * K, 0), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_int_equal(free_bytes() - before, 2 * CELL);
    assert_status(run(STORE_OP_WRITE, 0, 4, 3 * CELL, 0x11), STATUS_OK);
    /* Written again at once: it waits until the cell is back. */
    assert_status(run(STORE_OP_DEALLOCATE, 0, 20, CELL, 0), STATUS_OK);
    assert_status(run(STORE_OP_WRITE, 0, 20, CELL, 0x11), STATUS_OK);
    assert_int_equal(device_reads(0, 0, GRAIN, 0x11), 1);
}

/* F20: a cell is not given out again while a command that may read it is under way. */
static void a_late_read_sees_no_stranger(void **state)
{
    (void)state;
    struct rig_io late, next;
    assert_status(run(STORE_OP_WRITE, 0, 0, 4 * K, 0x11), STATUS_OK);
    (void)touch_until_full(false, 1);
    rig.holds_reads = true;
    submit(&late, STORE_OP_READ, 0, 0, 4 * K, 0xee);
    while (list_empty(&rig.pending))
        (void)rig_turn(&rig);
    assert_status(run(STORE_OP_DEALLOCATE, 0, 0, GRAIN, 0), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS); /* Durably freed. */
    submit(&next, STORE_OP_WRITE, 0, 16, 4 * K, 0x22);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_false(late.done || next.done);
    rig.holds_reads = false;
    rig_io_wait(&rig, &next);
    assert_true(late.done);
    assert_status(late.io.status, STATUS_OK);
    assert_int_equal(late.data[0], 0x11);
    assert_status(next.io.status, STATUS_OK);
    free(late.data);
    free(next.data);
}

/* Changes what both superblocks say, of a disk that is closed. */
static void edit_superblocks(void (*edit)(struct superblock *sb))
{
    for (unsigned slot = 0; slot < SUPERBLOCK_SLOTS; slot++) {
        uint8_t *const at = rig.content + superblock_offset(slot);
        struct superblock sb;
        assert_status(superblock_decode((struct const_span) { at, SUPERBLOCK_BYTES }, &sb),
                      STATUS_OK);
        edit(&sb);
        superblock_encode(&sb, (struct span) { at, SUPERBLOCK_BYTES });
    }
}

static void without_cells(struct superblock *sb)
{
    assert_true(sb->has_cells);
    sb->has_cells = false;
}

static void with_cells(struct superblock *sb)
{
    assert_true(sb->has_cells);
}

static void close_store(void)
{
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
}

/* F28: a disk of before has its grains, gets the feature, and then their untouched cells. */
static void an_older_disk_gets_cells(void **state)
{
    (void)state;
    struct rig_check c;
    for (uint64_t g = 0; g < 20; g++)
        assert_status(run(STORE_OP_WRITE, g, 0, 2 * CELL, fill_of(g)), STATUS_OK);
    const uint64_t before = free_bytes();
    close_store();
    edit_superblocks(without_cells);
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_string_equal(c.first, "");
    assert_status(rig_open(&rig), STATUS_OK);
    edit_superblocks(with_cells);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_int_equal(free_bytes(), before);
    for (uint64_t g = 0; g < 20; g++)
        assert_status(run(STORE_OP_READ, g, 0, 2 * CELL, fill_of(g)), STATUS_OK);
    (void)touch_until_full(false, 20);
    reopen();
    for (uint64_t g = 0; g < 20; g++)
        assert_status(run(STORE_OP_READ, g, 0, 2 * CELL, fill_of(g)), STATUS_OK);
}

/* Records of cells on a disk that does not say that it has them are damage. */
static void cells_without_the_feature_are_damage(void **state)
{
    (void)state;
    struct rig_check c;
    assert_status(run(STORE_OP_WRITE, 0, 0, 4 * K, 0x11), STATUS_OK);
    close_store();
    edit_superblocks(without_cells);
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_non_null(strstr(c.first, "checkpoint block 0"));
    assert_status(rig_open(&rig), STATUS_CORRUPT);
}

/*
 * 45 blocks: behind the 16 to spare, eight ninths of 29 are for records: 25 x 4032 bytes.  16
 * volumes, as many shards as grains, 16 copysets, 8192 regions, and the region lists take their
 * part.
 */
static void with_small_areas(struct superblock *sb)
{
    sb->layout.part[LAYOUT_CHECKPOINT_0].bytes = 45 * 4 * K;
    sb->layout.part[LAYOUT_CHECKPOINT_1].bytes = 45 * 4 * K;
}

/*
 * F31: where the areas are too small for what all cells would have said, first touches end when no
 * more can be said, as the free space has told; a checkpoint at any time fits; S6 holds.
 */
static void small_areas_end_first_touches(void **state)
{
    (void)state;
    struct rng rng;
    struct status st = STATUS(OK);
    uint64_t count = 0;
    close_store();
    edit_superblocks(with_small_areas);
    rig_serve(&rig);
    const uint64_t lists = (2 * 256 + layout.data_grains) * 16 + layout.data_grains;
    const uint64_t limit =
        25 * 4032 - 16 * 224 - layout.data_grains * 96 - 16 * 252 - 8192 * 8 - lists;
    const uint64_t room = limit - limit / 32;
    assert_int_equal(free_bytes(), room / 12 * CELL);
    while (status_ok(st)) {
        st = run(STORE_OP_WRITE, count, 0, 4 * K, fill_of(count));
        count += status_ok(st) ? 1 : 0;
    }
    assert_status(st, STATUS_NO_SPACE);
    /* 32 for each shard that has some. */
    assert_in_range(count, (room - (count / SHARD_GRAINS + 1) * 32) / 12 - 1, room / 12);
    assert_status(run(STORE_OP_WRITE, 1, 0, 4 * K, 0x33), STATUS_OK);
    assert_status(run(STORE_OP_DEALLOCATE, 1, 0, GRAIN, 0), STATUS_OK);
    rng_init(&rng, 7);
    for (unsigned i = 0; i < 2000; i++) {
        const enum store_opcode op = rng_one_in(&rng, 3) ? STORE_OP_WRITE : STORE_OP_DEALLOCATE;
        const uint64_t at = rng_below(&rng, count);
        const uint64_t b = op == STORE_OP_WRITE ? rng_below(&rng, 8) * 4 : 0;
        st = run(op, at, b, op == STORE_OP_WRITE ? 4 * K : GRAIN, 0x77);
        if (!status_ok(st))
            assert_status(st, STATUS_NO_SPACE);
        if (rng_one_in(&rng, 20))
            rig_pass(&rig, 31 * NS_PER_S); /* Regions close: a checkpoint. */
    }
    reopen();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(scattered_touches_cost_a_cell_each),
        TEST(touches_behind_a_snapshot_cost_a_cell_each),
        TEST(filled_grains_are_whole),
        TEST(sequential_first_writes_are_one_write),
        TEST(scattered_grains_hold_what_was_written),
        TEST(cells_come_back_one_by_one),
        TEST(a_late_read_sees_no_stranger),
        TEST(an_older_disk_gets_cells),
        TEST(cells_without_the_feature_are_damage),
        TEST(small_areas_end_first_touches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

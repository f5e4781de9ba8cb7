/* SPDX-License-Identifier: Apache-2.0 */
/* F33 to F35: a disk takes in what its device has become larger by, while commands go on. */
#include <stdio.h>

#define RIG_CONTENT_BYTES ((uint64_t)512 << 20) /* Zeros, as far as they are not written. */

#include "disk/layout.h"
#include "disk/superblock.h"
#include "rig_case.h"

#define M            ((uint64_t)1 << 20)
#define SMALL        RIG_DEVICE_BYTES
#define LARGE        (48 * M)
#define VOLUME_BYTES ((uint64_t)2 << 30)
#define SHARD_BYTES  ((uint64_t)4 << 20)

static struct rig rig;

/* A new disk that is open; memory: for checksums, 0: for all. */
static void begin(uint64_t memory)
{
    rig_init(&rig, NULL, 1);
    rig.volume_bytes = VOLUME_BYTES;
    rig.checksum_bytes = memory;
    rig_begin(&rig);
}

static uint8_t fill_of(uint64_t grain)
{
    return (uint8_t)(grain % 250 + 1);
}

static struct status write_grain(uint64_t grain, uint64_t bytes)
{
    const uint64_t at = grain * STORE_GRAIN_BYTES;

    rig.shard = (uint32_t)(at / SHARD_BYTES);
    return rig_do(&rig, STORE_OP_WRITE, at % SHARD_BYTES, bytes, fill_of(grain));
}

/* Writes the first bytes of grains from first on until there is no space; returns the next. */
static uint64_t write_until_full(uint64_t first, uint64_t bytes)
{
    uint64_t grain = first;
    struct status st = write_grain(grain, bytes);

    while (status_ok(st))
        st = write_grain(++grain, bytes);
    assert_int_equal(st.code, STATUS_NO_SPACE);
    return grain;
}

static void assert_grains(uint64_t end)
{
    for (uint64_t grain = 0; grain < end; grain++) {
        const uint64_t at = grain * STORE_GRAIN_BYTES;
        struct status st;
        rig.shard = (uint32_t)(at / SHARD_BYTES);
        assert_int_equal(rig_read_block(&rig, at % SHARD_BYTES / 4096, &st), fill_of(grain));
        assert_int_equal(st.code, STATUS_OK);
    }
}

static void assert_sound(void)
{
    struct rig_check c;

    assert_int_equal(rig_check(&rig, &c).code, STATUS_OK);
    if (c.report.problems > 0)
        fail_msg("%s", c.first);
}

static void close_store(void)
{
    store_session_close(rig.session.session);
    assert_int_equal(rig_close_store(&rig).code, STATUS_OK);
}

static void reopen(void)
{
    close_store();
    assert_sound();
    assert_int_equal(rig_open(&rig).code, STATUS_OK);
    assert_int_equal(rig_session(&rig, 1).code, STATUS_OK);
}

static struct store_info info(void)
{
    struct store_info i;

    store_get_info(rig.store, &i);
    return i;
}

static struct superblock superblock(void)
{
    struct superblock sb;

    assert_int_equal(
        superblock_decode((struct const_span) { rig.content, SUPERBLOCK_BYTES }, &sb).code,
        STATUS_OK);
    return sb;
}

/* A disk that was full takes writes again, and has room in proportion; all is there afterwards. */
static void a_full_disk_has_room_again(void **state)
{
    (void)state;
    begin(0);
    uint64_t end = write_until_full(0, STORE_GRAIN_BYTES);
    const struct store_info before = info();
    assert_int_equal(rig_grow(&rig, LARGE).code, STATUS_OK);
    const struct store_info after = info();
    assert_int_equal(rig.grown.data_bytes, after.data_bytes);
    assert_true(after.data_bytes > before.data_bytes + (LARGE - SMALL) * 95 / 100);
    assert_true(after.free_bytes > (LARGE - SMALL) * 95 / 100);
    assert_int_equal(after.growth_bytes, 0);
    const uint64_t first = end;
    end = write_until_full(end, STORE_GRAIN_BYTES);
    assert_true((end - first) * STORE_GRAIN_BYTES > (LARGE - SMALL) * 95 / 100);
    assert_grains(end);
    reopen();
    assert_int_equal(info().data_bytes, after.data_bytes);
    assert_grains(end);
    rig_abandon(&rig);
}

/* Twice in a row, with memory for few checksums, and once more after a clean close. */
static void it_grows_again_and_again(void **state)
{
    (void)state;
    for (uint64_t memory = 0; memory <= 12 << 10; memory += 12 << 10) {
        begin(memory);
        uint64_t end = write_until_full(0, STORE_GRAIN_BYTES);
        assert_int_equal(rig_grow(&rig, 32 * M).code, STATUS_OK);
        assert_int_equal(rig_grow(&rig, 64 * M).code, STATUS_OK);
        end = write_until_full(end, STORE_GRAIN_BYTES);
        reopen();
        assert_int_equal(rig_grow(&rig, 80 * M + 4096).code, STATUS_OK);
        end = write_until_full(end, STORE_GRAIN_BYTES);
        assert_true(end > 75 * M / STORE_GRAIN_BYTES);
        assert_grains(end);
        assert_in_range(superblock().layout.extension_count, 2, 3);
        reopen();
        assert_grains(end);
        rig_abandon(&rig);
    }
}

/* F33: table and checkpoint go on in the extension when their first pieces are full. */
static void pieces_follow_each_other(void **state)
{
    (void)state;
    begin(0);
    const uint64_t area = superblock().layout.part[LAYOUT_CHECKPOINT_0].bytes;
    assert_int_equal(rig_grow(&rig, RIG_CONTENT_BYTES).code, STATUS_OK);
    uint64_t end = 0; /* Each grain is one cell, of which a checkpoint says 12 bytes. */
    while (end * 12 < area)
        assert_int_equal(write_grain(end++, 4096).code, STATUS_OK);
    reopen();
    assert_true(superblock().checkpoint_blocks * 4096 > area);
    assert_grains(end);
    reopen(); /* And in the other area. */
    assert_true(superblock().checkpoint_blocks * 4096 > area);
    assert_grains(end);
    rig_abandon(&rig);
}

/* Commands that were under way before go on beside it, and those that come meanwhile, too. */
static void commands_go_on(void **state)
{
    (void)state;
    static struct rig_io io[40];
    begin(0);
    assert_int_equal(write_grain(0, STORE_GRAIN_BYTES).code, STATUS_OK);
    for (unsigned i = 0; i < 40; i++) {
        rig.shard = i % 3;
        rig_submit(&rig, &io[i], i % 7 == 6 ? STORE_OP_FLUSH : STORE_OP_WRITE, i * 20 % 1000 * 4096,
                   20 * 4096, (uint8_t)(i + 1));
        if (i == 10)
            rig_grow_start(&rig, LARGE);
        for (unsigned turns = i % 5; turns > 0; turns--)
            (void)rig_turn(&rig);
    }
    for (unsigned i = 0; i < 40; i++) {
        rig_io_wait(&rig, &io[i]);
        assert_int_equal(io[i].io.status.code, STATUS_OK);
        free(io[i].data);
    }
    rig_run(&rig);
    assert_true(rig.grown_done);
    assert_int_equal(rig.grown.status.code, STATUS_OK);
    reopen();
    rig_abandon(&rig);
}

/* The superblock waits for a checkpoint that is under way, whose own would undo it. */
static void it_waits_for_a_checkpoint(void **state)
{
    (void)state;
    begin(0);
    const struct disk_layout layout = superblock().layout;
    assert_int_equal(write_grain(0, 4096).code, STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_int_equal(write_grain(0, 4096).code, STATUS_OK); /* A region opens. */
    rig_pass(&rig, 100 * NS_PER_MS);
    rig.hold_from = layout.part[LAYOUT_CHECKPOINT_0].offset;
    rig_pass(&rig, 61 * NS_PER_S); /* It closes, by a checkpoint that does not end. */
    rig_grow_start(&rig, LARGE);
    rig_run(&rig);
    assert_false(rig.grown_done);
    assert_int_equal(superblock().device_bytes, SMALL);
    rig.hold_from = 0;
    rig_run(&rig);
    assert_true(rig.grown_done);
    assert_int_equal(rig.grown.status.code, STATUS_OK);
    assert_int_equal(superblock().device_bytes, LARGE);
    reopen();
    assert_grains(1);
    rig_abandon(&rig);
}

/* F34: a file's new size is durable before a superblock names it. */
static void the_size_is_flushed_first(void **state)
{
    (void)state;
    begin(0);
    rig_run(&rig);
    rig_record(&rig);
    assert_int_equal(rig_grow(&rig, LARGE).code, STATUS_OK);
    size_t named = SIZE_MAX, flushed = SIZE_MAX;
    for (size_t i = 0; i < rig.write_count; i++)
        if (rig.writes[i].offset == superblock_offset(0))
            named = min_u64(named, rig.writes[i].submitted);
    for (size_t i = 0; i < rig.flush_count; i++)
        flushed = min_u64(flushed, rig.flushes[i].completed);
    assert_true(named != SIZE_MAX && flushed < named);
    rig_abandon(&rig);
}

/* A close that comes meanwhile waits for it, however far it has come. */
static void a_close_waits(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 10; turns++) {
        begin(0);
        assert_int_equal(write_grain(0, 4096).code, STATUS_OK);
        rig_grow_start(&rig, LARGE);
        for (unsigned i = 0; i < turns; i++)
            (void)rig_turn(&rig);
        store_session_close(rig.session.session);
        rig.done = false;
        rig.holds_allocations = true;
        store_close(rig.store, rig_on_status, &rig);
        rig_pass(&rig, NS_PER_S);
        assert_true(!rig.done || rig.grown_done);
        rig.holds_allocations = false;
        rig_wait(&rig);
        assert_int_equal(rig.status.code, STATUS_OK);
        assert_true(rig.grown_done);
        assert_int_equal(rig.grown.status.code, STATUS_OK);
        assert_sound();
        assert_true(superblock().clean);
        assert_int_equal(superblock().device_bytes, LARGE);
        rig_fini(&rig);
    }
}

/* Nothing is read of a table block that has no checksums yet, only an extension. */
static void a_new_table_block_is_not_read(void **state)
{
    (void)state;
    begin(0);
    const uint64_t offset = superblock().layout.part[LAYOUT_DATA].offset;
    const uint64_t whole = offset + 31 * 8 * STORE_GRAIN_BYTES; /* Eight table blocks. */
    assert_int_equal(rig_grow(&rig, whole).code, STATUS_OK);
    const uint64_t end = write_until_full(0, STORE_GRAIN_BYTES);
    assert_int_equal(rig_grow(&rig, whole + 64 * M).code, STATUS_OK);
    const struct superblock sb = superblock();
    assert_int_equal(disk_layout_taken(&sb.layout, 1).first, 31 * 8);
    reopen();
    const uint64_t reads = rig.dev.stats.reads;
    for (uint64_t grain = end; grain < end + 20; grain++)
        assert_int_equal(write_grain(grain, STORE_GRAIN_BYTES).code, STATUS_OK);
    assert_in_range(rig.dev.stats.reads, reads,
                    reads + 1); /* The reserve's, in the last old one. */
    assert_grains(end + 20);
    rig_abandon(&rig);
}

static void assert_refused(uint64_t bytes, enum status_code code, const char *words)
{
    const struct store_info before = info();

    assert_int_equal(rig_grow(&rig, bytes).code, code);
    if (strstr(rig.grown.problem, words) == NULL)
        fail_msg("'%s' does not say '%s'", rig.grown.problem, words);
    assert_int_equal(info().data_bytes, before.data_bytes);
    assert_int_equal(write_grain(0, 4096).code, STATUS_OK);
    assert_int_equal(superblock().device_bytes, SMALL);
}

/* What gains nothing is refused with what to do, and changes nothing. */
static void what_gains_nothing_is_refused(void **state)
{
    (void)state;
    begin(0);
    assert_refused(SMALL, STATUS_OUT_OF_RANGE, "make the device larger first");
    assert_refused(SMALL + M, STATUS_OUT_OF_RANGE, "it grows by 16M or more");
    assert_int_equal(info().growth_bytes, 0);
    assert_refused(SMALL / 2, STATUS_OUT_OF_RANGE, "has become smaller");
    reopen();
    rig_abandon(&rig);
}

static bool allocation_fails(const struct dev_io *io)
{
    return io->kind == DEV_KIND_ALLOCATE;
}

/* S6: where a file's tables would find no space later, the disk stays as it is. */
static void a_full_file_system_is_no_growth(void **state)
{
    (void)state;
    begin(0);
    rig.fails = allocation_fails;
    assert_refused(LARGE, STATUS_MEDIA_READ, "its tables got no space");
    assert_false(info().failed);
    assert_true(info().growth_bytes > 28 * M); /* It is told, for whoever asks. */
    rig.fails = NULL;
    assert_int_equal(rig_grow(&rig, LARGE).code, STATUS_OK);
    reopen();
    rig_abandon(&rig);
}

static bool flush_fails(const struct dev_io *io)
{
    return io->kind == DEV_KIND_FLUSH;
}

/* A disk that has failed stays as it is, and so does one whose growth has failed it. */
static void a_failed_disk_does_not_grow(void **state)
{
    (void)state;
    begin(0);
    assert_int_equal(write_grain(0, 4096).code, STATUS_OK);
    const uint64_t before = info().data_bytes;
    rig.fails = flush_fails;
    assert_false(status_ok(rig_grow(&rig, LARGE)));
    assert_non_null(strstr(rig.grown.problem, "could not be flushed"));
    rig_run(&rig);
    rig.fails = NULL;
    assert_true(info().failed);
    assert_int_equal(rig_grow(&rig, LARGE).code, STATUS_MEDIA_WRITE);
    assert_non_null(strstr(rig.grown.problem, "the disk has failed"));
    assert_int_equal(info().data_bytes, before);
    assert_grains(1);
    rig_abandon(&rig);
}

/* F2: a device that was cut short afterwards is refused, and so is the disk by an older program. */
static void a_shorter_device_is_refused(void **state)
{
    (void)state;
    begin(0);
    assert_int_equal(rig_grow(&rig, LARGE).code, STATUS_OK);
    close_store();
    assert_int_equal(rig.content[24] & 8, 8);
    rig_set_bytes(&rig, LARGE - 4096);
    assert_int_equal(rig_open(&rig).code, STATUS_CORRUPT);
    assert_non_null(strstr(rig.opened.problem, "it was cut short"));
    struct rig_check c;
    assert_int_equal(rig_check(&rig, &c).code, STATUS_OK);
    assert_int_equal(c.report.problems, 1);
    rig_set_bytes(&rig, LARGE + M);
    assert_int_equal(rig_open(&rig).code, STATUS_OK);
    assert_int_equal(rig_close_store(&rig).code, STATUS_OK);
    rig_fini(&rig);
}

/* A damaged slot in the extension's table is found, and repaired from the other. */
static void a_table_slot_of_the_extension_is_repaired(void **state)
{
    (void)state;
    struct rig_check c;
    begin(0);
    assert_int_equal(rig_grow(&rig, 256 * M).code, STATUS_OK);
    const struct disk_layout layout = superblock().layout;
    const uint64_t first = layout.part[LAYOUT_SUMS].bytes / 8192; /* Pair of the extension. */
    const uint64_t end = (first + 1) * 31;
    for (unsigned round = 0; round < 2; round++) { /* So that both slots are written. */
        for (uint64_t grain = 0; grain < end; grain++)
            assert_int_equal(write_grain(grain, STORE_GRAIN_BYTES).code, STATUS_OK);
        reopen();
    }
    close_store();
    const uint64_t at = disk_layout_sums_at(&layout, first * 8192);
    assert_true(at > layout.part[LAYOUT_DATA].offset);
    rig.content[at + 500] ^= 1;
    assert_int_equal(rig_check(&rig, &c).code, STATUS_OK);
    assert_true(c.report.problems > 0);
    assert_int_equal(c.report.repairable, 1);
    memset(&c, 0, sizeof c);
    c.report.repair_it = true;
    rig.done = false;
    assert_int_equal(store_check(&rig.dev, &c.report, rig_on_status, &rig).code, STATUS_OK);
    rig_wait(&rig);
    assert_int_equal(rig.status.code, STATUS_OK);
    assert_int_equal(c.report.repaired, 1);
    assert_sound();
    assert_int_equal(rig_open(&rig).code, STATUS_OK);
    assert_int_equal(rig_session(&rig, 1).code, STATUS_OK);
    assert_grains(end);
    rig_abandon(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_has_room_again),
        cmocka_unit_test(it_grows_again_and_again),
        cmocka_unit_test(pieces_follow_each_other),
        cmocka_unit_test(commands_go_on),
        cmocka_unit_test(it_waits_for_a_checkpoint),
        cmocka_unit_test(the_size_is_flushed_first),
        cmocka_unit_test(a_close_waits),
        cmocka_unit_test(a_new_table_block_is_not_read),
        cmocka_unit_test(what_gains_nothing_is_refused),
        cmocka_unit_test(a_full_file_system_is_no_growth),
        cmocka_unit_test(a_failed_disk_does_not_grow),
        cmocka_unit_test(a_shorter_device_is_refused),
        cmocka_unit_test(a_table_slot_of_the_extension_is_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

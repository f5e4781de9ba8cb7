/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which volumes are told of a loss after the power failed: those that may have lost something, and
 * no others (S1, F25, F26).
 */
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/superblock.h"
#include "rig.h"

#define K ((uint64_t)1024)

/* Two volumes that share a disk. */
enum { BUSY, QUIET, VOLUMES };

static struct rig rig;
static struct store_session_opened sessions[VOLUMES];
static uint8_t *image;

static struct store_session_opened open_volume(struct rig *r, unsigned volume, uint64_t epoch)
{
    struct store_session_config config = rig_session_config(epoch);

    config.volume.uuid.b[1] = (uint8_t)volume;
    config.volume.name[2] = (char)('1' + volume);
    r->done = false;
    assert_true(status_ok(store_session_open(r->store, &config, rig_on_session, r)));
    rig_wait(r);
    assert_true(status_ok(r->session.status));
    return r->session;
}

static void start_on(uint32_t atomic_bytes)
{
    rig_init(&rig, NULL, 1);
    rig.dev.info.atomic_bytes = atomic_bytes;
    assert_true(status_ok(rig_format(&rig)));
    assert_true(status_ok(rig_open(&rig)));
    for (unsigned i = 0; i < VOLUMES; i++)
        sessions[i] = open_volume(&rig, i, 1);
    rig_record(&rig);
}

static int setup(void **state)
{
    (void)state;
    image = malloc(RIG_DEVICE_BYTES);
    start_on(4096);
    return 0;
}

/* Ends a rig with one session open besides rig.session. */
static void abandon(void)
{
    for (unsigned i = 0; i < VOLUMES; i++) {
        if (sessions[i].session != rig.session.session)
            store_session_close(sessions[i].session);
    }
    rig_abandon(&rig);
}

static int teardown(void **state)
{
    (void)state;
    abandon();
    free(image);
    return 0;
}

static struct rig_io run(unsigned volume, enum store_opcode opcode, uint64_t block, bool fua)
{
    struct rig_io r;

    rig.session = sessions[volume];
    rig_submit(&rig, &r, opcode, block * 4 * K, opcode == STORE_OP_FLUSH ? 0 : 4 * K, 0x11);
    r.io.fua = fua;
    rig_io_wait(&rig, &r);
    assert_true(status_ok(r.io.status));
    free(r.data);
    return r;
}

/* Opens the image, says whether the volume is told, and leaves it as a kill right after would. */
static bool is_told(unsigned volume, uint8_t boot, struct status *out_opened)
{
    uint8_t *const content = malloc(RIG_DEVICE_BYTES);
    struct rig after;
    bool told = false;

    memcpy(content, image, RIG_DEVICE_BYTES);
    rig_init(&after, content, 1);
    after.boot.b[0] = boot;
    *out_opened = rig_open(&after);
    if (status_ok(*out_opened)) {
        told = open_volume(&after, volume, 9).unflushed_loss;
        rig_run(&after);
    }
    memcpy(image, content, RIG_DEVICE_BYTES);
    rig_abandon(&after);
    free(content);
    return told;
}

/* The power fails now, and everything that was not flushed is gone. */
static bool power_loss_is_told(unsigned volume)
{
    struct status st;

    rig_image(&rig, rig.event_count, true, 0, image);
    const bool told = is_told(volume, 2, &st);
    assert_true(status_ok(st));
    return told;
}

static unsigned flushes_between(size_t from, size_t to)
{
    unsigned count = 0;

    for (size_t i = 0; i < rig.flush_count; i++)
        count += rig.flushes[i].submitted >= from && rig.flushes[i].completed < to ? 1 : 0;
    return count;
}

/* F25: whatever kind of command is lost, its volume is told, and the one beside it is not. */
static void the_busy_volume_is_told(void **state)
{
    (void)state;
    const struct {
        enum store_opcode opcode;
        uint64_t block;
    } kinds[] = { { STORE_OP_WRITE, 40 },
                  { STORE_OP_WRITE, 0 },
                  { STORE_OP_WRITE_ZEROES, 0 },
                  { STORE_OP_DEALLOCATE, 0 } };
    for (unsigned atomic = 512; atomic <= 4096; atomic *= 8) {
        for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            abandon();
            start_on(atomic);
            (void)run(BUSY, STORE_OP_WRITE, 0, true);
            rig_pass(&rig, 100 * NS_PER_MS); /* Settled: the next write of block 0 overwrites. */
            assert_false(power_loss_is_told(BUSY));
            (void)run(BUSY, kinds[i].opcode, kinds[i].block, false);
            assert_true(power_loss_is_told(BUSY));
            assert_false(power_loss_is_told(QUIET));
        }
    }
}

/* What is durable when it completes leaves nothing to tell: FUA, and a disk without a cache. */
static void durable_commands_are_not_told(void **state)
{
    (void)state;
    (void)run(BUSY, STORE_OP_WRITE, 0, true);
    (void)run(BUSY, STORE_OP_WRITE, 0, true);
    (void)run(BUSY, STORE_OP_WRITE_ZEROES, 0, true);
    assert_false(power_loss_is_told(BUSY));
    rig.dev.info.has_volatile_cache = false;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig_image(&rig, rig.event_count, true, 1, image);
    struct status st;
    assert_false(is_told(BUSY, 2, &st));
}

/* S1: FUA of what is zero already makes the zeroing before it durable. */
static void fua_of_nothing_is_durable(void **state)
{
    (void)state;
    uint8_t *const content = malloc(RIG_DEVICE_BYTES);
    struct rig after;
    struct status st;
    const enum store_opcode opcodes[] = { STORE_OP_WRITE, STORE_OP_WRITE_ZEROES,
                                          STORE_OP_WRITE_ZEROES };
    rig.session = sessions[BUSY];
    for (unsigned i = 0; i < 3; i++) {
        struct rig_io r;
        rig_submit(&rig, &r, opcodes[i], 0, 4 * K, 0x11);
        r.io.generation = 0; /* Where zeros are not kept. */
        r.io.fua = i != 1;
        rig_io_wait(&rig, &r);
        assert_true(status_ok(r.io.status));
        free(r.data);
        if (i == 0)
            rig_pass(&rig, 100 * NS_PER_MS);
    }
    rig_image(&rig, rig.event_count, true, 0, content);
    rig_init(&after, content, 1);
    assert_true(status_ok(rig_open(&after)));
    (void)open_volume(&after, BUSY, 9);
    assert_int_equal(rig_read_block(&after, 0, &st), 0);
    assert_true(status_ok(st));
    rig_abandon(&after);
    free(content);
}

/* F26: a volume becomes quiet after its last command, whether the host flushed or not. */
static void an_idle_volume_becomes_quiet(void **state)
{
    (void)state;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    (void)run(BUSY, STORE_OP_FLUSH, 0, false);
    assert_true(power_loss_is_told(BUSY)); /* A flush leaves no trace of its own. */
    rig_pass(&rig, 31 * NS_PER_S);
    rig_pass(&rig, 31 * NS_PER_S);
    assert_false(power_loss_is_told(BUSY));
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    assert_true(power_loss_is_told(BUSY));
}

/* F26: a command that comes while the volume becomes quiet keeps it busy. */
static void a_late_command_keeps_it_busy(void **state)
{
    (void)state;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig_run(&rig);
    for (unsigned turns = 0; turns < 12; turns++) {
        fake_reactor_run_timers(&rig.reactor, rig.reactor.base.now_ns + 31 * NS_PER_S);
        for (unsigned i = 0; i < turns; i++)
            (void)rig_turn(&rig);
        (void)run(BUSY, STORE_OP_WRITE, 64 + turns, false);
        assert_true(power_loss_is_told(BUSY));
        rig_run(&rig);
        assert_true(power_loss_is_told(BUSY));
    }
}

/* F26: the mark goes only after a flush of everything that has completed. */
static void the_mark_goes_after_a_flush(void **state)
{
    (void)state;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig_pass(&rig, 100 * NS_PER_MS);
    (void)run(BUSY, STORE_OP_WRITE, 0, false); /* In place: no record asks for a flush. */
    rig_pass(&rig, 29 * NS_PER_S);
    const size_t from = rig.event_count, writes = rig.write_count;
    for (unsigned i = 0; i < 20 && rig.write_count == writes; i++)
        rig_pass(&rig, 2 * NS_PER_S);
    assert_true(flushes_between(from, rig.writes[writes].submitted) >= 1);
}

/* F26: a volume with a command under way is not idle, however long that takes. */
static void a_slow_command_keeps_it_busy(void **state)
{
    (void)state;
    struct rig_io r;
    struct disk_layout layout;
    assert_true(status_ok(disk_layout_make(RIG_DEVICE_BYTES, &layout)));
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &r, STORE_OP_WRITE, 4 * K, 4 * K, 0x22);
    for (unsigned i = 0; i < 4; i++)
        rig_pass(&rig, 31 * NS_PER_S);
    rig.hold_from = 0;
    rig_io_wait(&rig, &r);
    assert_true(status_ok(r.io.status));
    free(r.data);
    assert_true(power_loss_is_told(BUSY));
}

/* F25: the first command waits for a flush after its volume's mark; the next ones for nothing. */
static void only_the_first_command_pays(void **state)
{
    (void)state;
    const struct rig_io first = run(BUSY, STORE_OP_WRITE, 0, false);
    assert_int_equal(flushes_between(first.started, first.ended), 1);
    for (unsigned block = 1; block < 20; block++) {
        const uint64_t writes = rig.dev.stats.writes, flushes = rig.dev.stats.flushes;
        (void)run(BUSY, STORE_OP_WRITE, block, false);
        assert_int_equal(rig.dev.stats.flushes - flushes, 0);
        (void)run(BUSY, STORE_OP_FLUSH, 0, false);
        assert_int_equal(rig.dev.stats.flushes - flushes, 1);
        assert_int_equal(rig.dev.stats.writes - writes, 2); /* The data and its record. */
    }
}

/* The death of the process loses nothing, and leaves the volumes quiet. */
static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    struct status st;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig_image(&rig, rig.event_count, false, 0, image);
    assert_false(is_told(BUSY, 1, &st));
    assert_true(status_ok(st));
    assert_false(is_told(BUSY, 2, &st)); /* Then the power failed, and nothing was done between. */
}

/* F26: a clean close leaves every volume quiet, whatever it had done. */
static void a_clean_close_leaves_all_quiet(void **state)
{
    (void)state;
    struct rig_check c;
    struct rig_io r;
    struct rig other;
    rig_init(&other, NULL, 1);
    assert_true(status_ok(rig_format(&other)));
    assert_true(status_ok(rig_open(&other)));
    (void)open_volume(&other, BUSY, 1);
    rig_submit(&other, &r, STORE_OP_WRITE, 0, 4 * K, 0x11);
    rig_io_wait(&other, &r);
    free(r.data);
    store_session_close(other.session.session);
    other.session.session = NULL;
    assert_true(status_ok(rig_close_store(&other)));
    assert_true(status_ok(rig_check(&other, &c)));
    assert_int_equal(c.report.problems, 0);
    rig_abandon(&other);
}

/* A loss is told in each life until the host has heard of it, busy or not. */
static void an_untold_loss_is_kept(void **state)
{
    (void)state;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    assert_true(power_loss_is_told(BUSY));
    for (uint8_t boot = 2; boot < 5; boot++) {
        struct status st;
        assert_true(is_told(BUSY, boot, &st));
        assert_false(is_told(QUIET, boot, &st));
    }
}

/* Opens the image with a device whose first flush fails. */
static void open_with_failed_flush(void)
{
    struct rig after;

    rig_init(&after, image, 1);
    after.fail_flush = 1;
    assert_true(status_is(rig_open(&after), STATUS_IO));
    rig_abandon(&after);
}

/* A recovery whose flush fails is not the last word: the next one knows, and tells. */
static void a_failed_flush_at_start_is_remembered(void **state)
{
    (void)state;
    struct status st;
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig_image(&rig, rig.event_count, false, 0, image);
    open_with_failed_flush();
    open_with_failed_flush();
    assert_true(is_told(BUSY, 1, &st));
    assert_true(status_ok(st));
    assert_false(is_told(QUIET, 1, &st));
}

/* A failed flush is recorded at once, however long the checkpoint that is under way may take. */
static void a_failed_flush_waits_for_no_checkpoint(void **state)
{
    (void)state;
    struct disk_layout layout;
    struct superblock sb;
    struct rig_io r;
    assert_true(status_ok(disk_layout_make(RIG_DEVICE_BYTES, &layout)));
    (void)run(BUSY, STORE_OP_WRITE, 0, false);
    rig_pass(&rig, 100 * NS_PER_MS);
    (void)run(BUSY, STORE_OP_WRITE, 0, false); /* Its region will close. */
    rig.hold_from = layout.part[LAYOUT_CHECKPOINT_0].offset;
    rig_pass(&rig, 31 * NS_PER_S);
    rig_pass(&rig, 31 * NS_PER_S);
    assert_false(list_empty(&rig.pending));
    rig.fail_flush = 1;
    rig_submit(&rig, &r, STORE_OP_FLUSH, 0, 0, 0);
    rig_io_wait(&rig, &r);
    assert_true(status_is(r.io.status, STATUS_MEDIA_WRITE));
    rig_run(&rig);
    assert_true(
        status_ok(superblock_decode((struct const_span) { rig.content, SUPERBLOCK_BYTES }, &sb)));
    assert_true(sb.failed);
    rig.hold_from = 0;
}

/* Changes what both superblocks of the image say. */
static void edit_superblocks(void (*edit)(struct superblock *sb))
{
    for (unsigned slot = 0; slot < 2; slot++) {
        uint8_t *const at = image + superblock_offset(slot);
        struct superblock sb;
        assert_true(
            status_ok(superblock_decode((struct const_span) { at, SUPERBLOCK_BYTES }, &sb)));
        edit(&sb);
        superblock_encode(&sb, (struct span) { at, SUPERBLOCK_BYTES });
    }
}

static void unmark(struct superblock *sb)
{
    sb->marks_busy = false;
}

static void make_clean(struct superblock *sb)
{
    sb->clean = true;
}

/* A disk of before the feature does not say who was busy: everybody is told. */
static void a_disk_without_marks_tells_everybody(void **state)
{
    (void)state;
    struct status st;
    rig_image(&rig, rig.event_count, true, 0, image);
    edit_superblocks(unmark);
    assert_true(is_told(QUIET, 2, &st));
}

static void check_image_says(const char *what)
{
    struct rig at_rest;
    struct rig_check c;

    rig_init(&at_rest, image, 1);
    assert_true(status_ok(rig_check(&at_rest, &c)));
    assert_true(c.report.problems > 0);
    assert_non_null(strstr(c.first, what));
    rig_fini(&at_rest);
}

/* The check finds marks where none can be (F25, F26). */
static void check_finds_wrong_marks(void **state)
{
    (void)state;
    struct status st;
    (void)run(QUIET, STORE_OP_WRITE, 0, true);
    rig_pass(&rig, 100 * NS_PER_MS);
    (void)run(QUIET, STORE_OP_WRITE, 0, true); /* Its region closes through a checkpoint. */
    for (unsigned i = 0; i < 8; i++) {
        rig_pass(&rig, 10 * NS_PER_S);
        (void)run(BUSY, STORE_OP_WRITE, i, false);
    }
    rig_image(&rig, rig.event_count, false, 0, image);
    edit_superblocks(make_clean);
    check_image_says("'db1' is marked busy");
    rig_image(&rig, rig.event_count, false, 0, image);
    edit_superblocks(unmark);
    check_image_says("damaged");
    (void)is_told(BUSY, 2, &st);
    assert_true(status_is(st, STATUS_CORRUPT));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_busy_volume_is_told),
        TEST(durable_commands_are_not_told),
        TEST(fua_of_nothing_is_durable),
        TEST(an_idle_volume_becomes_quiet),
        TEST(a_late_command_keeps_it_busy),
        TEST(the_mark_goes_after_a_flush),
        TEST(a_slow_command_keeps_it_busy),
        TEST(only_the_first_command_pays),
        TEST(a_killed_process_loses_nothing),
        TEST(a_clean_close_leaves_all_quiet),
        TEST(an_untold_loss_is_kept),
        TEST(a_failed_flush_at_start_is_remembered),
        TEST(a_failed_flush_waits_for_no_checkpoint),
        TEST(a_disk_without_marks_tells_everybody),
        TEST(check_finds_wrong_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

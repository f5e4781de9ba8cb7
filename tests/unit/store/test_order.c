/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must have happened on the device before what: the order of writes and flushes that
 * docs/disk-format.md, section 4, rests on.
 */
#include "store/store.h"

#include "disk/layout.h"
#include "disk/superblock.h"
#include "rig_case.h"

#define K ((uint64_t)1024)

static struct rig rig;
static struct disk_layout layout;

static void start_on(uint32_t atomic_bytes)
{
    rig_init(&rig, NULL, 1);
    rig.dev.info.atomic_bytes = atomic_bytes;
    assert_true(status_ok(disk_layout_make(RIG_DEVICE_BYTES, &layout)));
    rig_begin(&rig);
    rig_record(&rig);
}

static int setup(void **state)
{
    (void)state;
    start_on(4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

static bool is_in(const struct rig_write *w, enum layout_part part)
{
    const struct disk_extent *const e = &layout.part[part];

    return w->offset >= e->offset && w->offset < e->offset + e->bytes;
}

/* The last write into a part, or NULL. */
static const struct rig_write *last_write(enum layout_part part)
{
    for (size_t i = rig.write_count; i > 0; i--) {
        if (is_in(&rig.writes[i - 1], part))
            return &rig.writes[i - 1];
    }
    return NULL;
}

/* Flushes that began after event from and ended before event to. */
static unsigned flushes_between(size_t from, size_t to)
{
    unsigned count = 0;

    for (size_t i = 0; i < rig.flush_count; i++)
        count += rig.flushes[i].submitted >= from && rig.flushes[i].completed < to ? 1 : 0;
    return count;
}

static struct rig_io write_block(uint64_t block, uint8_t fill)
{
    struct rig_io r;
    rig_submit(&rig, &r, STORE_OP_WRITE, block * 4 * K, 4 * K, fill);
    rig_io_wait(&rig, &r);
    assert_true(status_ok(r.io.status));
    free(r.data);
    return r;
}

/* F9, S1: a first touch completes after its data and its journal block, in whatever order. */
static void first_touch_waits_for_both(void **state)
{
    (void)state;
    for (uint64_t block = 0; block < 40; block++) {
        const struct rig_io r = write_block(block, 0x11);
        const struct rig_write *const data = last_write(LAYOUT_DATA);
        const struct rig_write *const record = last_write(LAYOUT_JOURNAL);
        assert_true(data->completed < r.ended && record->completed < r.ended);
        /* Neither waited for the other. */
        assert_true(data->submitted < record->completed && record->submitted < data->completed);
        rig_run(&rig);
    }
}

/* F16: the first overwrite of a region waits until the region's record is durable. */
static void overwrite_waits_for_its_region(void **state)
{
    (void)state;
    (void)write_block(0, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    const struct rig_io r = write_block(0, 0x22);
    const struct rig_write *const intent = last_write(LAYOUT_JOURNAL);
    assert_true(intent->submitted >= r.started);
    assert_true(flushes_between(intent->completed, last_write(LAYOUT_DATA)->submitted) >= 1);
    /* The next one in the region waits for nothing. */
    const struct rig_io next = write_block(0, 0x33);
    assert_true(last_write(LAYOUT_JOURNAL) == intent);
    assert_int_equal(last_write(LAYOUT_DATA)->submitted, next.started);
}

/* F14: an overwrite right after the first touch waits until that is durably settled. */
static void overwrite_waits_for_the_settled_mark(void **state)
{
    (void)state;
    const struct rig_io first = write_block(0, 0x11);
    (void)write_block(0, 0x22);
    /* One flush settles the first touch, a second makes the mark of that durable. */
    assert_true(flushes_between(first.ended, last_write(LAYOUT_DATA)->submitted) >= 2);
}

/* The disk, which is closed, goes on from that journal block. */
static void set_journal_start(uint64_t sequence)
{
    for (unsigned slot = 0; slot < 2; slot++) {
        uint8_t *const at = rig.content + superblock_offset(slot);
        struct superblock sb;
        assert_status(superblock_decode((struct const_span) { at, SUPERBLOCK_BYTES }, &sb),
                      STATUS_OK);
        assert_true(sb.clean);
        sb.journal_start = sequence;
        sb.journal_flushed = sequence - 1;
        superblock_encode(&sb, (struct span) { at, SUPERBLOCK_BYTES });
    }
}

/*
 * F14: and no longer, also where the bits that a grain keeps of its sequence are all zero: the mark
 * may be at that sequence and stay there.  A first touch and the mark behind it take a block each.
 */
static void overwrite_waits_for_nothing_else(void **state)
{
    (void)state;
    for (uint64_t before = 20; before < 22; before++) {
        store_session_close(rig.session.session);
        assert_status(rig_close_store(&rig), STATUS_OK);
        set_journal_start((UINT64_C(1) << 22) * (before - 18) - before);
        rig_serve(&rig);
        for (uint64_t block = 0; block < 20; block++) {
            (void)write_block(32 * before + block, 0x11);
            rig_pass(&rig, 100 * NS_PER_MS);
            const uint64_t then = rig.reactor.base.now_ns;
            (void)write_block(32 * before + block, 0x22);
            assert_int_equal(rig.reactor.base.now_ns, then);
        }
    }
}

/* S1: a Flush completes after a flush of the device that began after it. */
static void flush_is_a_flush(void **state)
{
    (void)state;
    struct rig_io r;
    (void)write_block(0, 0x11);
    rig_submit(&rig, &r, STORE_OP_FLUSH, 0, 0, 0);
    rig_io_wait(&rig, &r);
    assert_true(flushes_between(r.started, r.ended) >= 1);
}

/* FUA of an overwrite is one device write that is durable when it completes. */
static void fua_overwrite_is_durable_by_itself(void **state)
{
    (void)state;
    struct rig_io r;
    (void)write_block(0, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    (void)write_block(0, 0x22);
    rig_run(&rig);
    const uint64_t writes = rig.dev.stats.writes, flushes = rig.dev.stats.flushes;
    rig_submit(&rig, &r, STORE_OP_WRITE, 0, 4 * K, 0x33);
    r.io.fua = true;
    rig_io_wait(&rig, &r);
    free(r.data);
    assert_true(last_write(LAYOUT_DATA)->fua);
    assert_int_equal(rig.dev.stats.writes - writes, 1);
    assert_int_equal(rig.dev.stats.flushes, flushes);
}

/* F21: a disk that tears blocks gets the data home only after a durable copy in the ring. */
static void copy_is_durable_before_home(void **state)
{
    (void)state;
    rig_abandon(&rig);
    start_on(512);
    (void)write_block(0, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    const struct rig_io r = write_block(0, 0x22);
    const struct rig_write *const copy = last_write(LAYOUT_JOURNAL);
    const struct rig_write *const home = last_write(LAYOUT_DATA);
    assert_int_equal(copy->bytes, 8 * K); /* The record's block, and the data's. */
    assert_true(copy->submitted >= r.started);
    assert_true(flushes_between(copy->completed, home->submitted) >= 1);
    assert_true(home->completed < r.ended);
}

/* F11: a host that never flushes does not let the unflushed part of the journal grow. */
static void journal_flushes_by_itself(void **state)
{
    (void)state;
    size_t unflushed = 0, most = 0;
    for (uint64_t block = 0; block < 1000; block++)
        (void)write_block(block, 0x11);
    for (size_t i = 0; i < rig.event_count; i++) {
        const struct rig_event *const e = &rig.events[i];
        if (e->kind == RIG_COMPLETE && is_in(&rig.writes[e->number], LAYOUT_JOURNAL))
            unflushed++;
        if (e->kind == RIG_FLUSH_COMPLETE)
            unflushed = 0;
        most = unflushed > most ? unflushed : most;
    }
    assert_true(most <= 1024);
}

/* F18: an idle region closes through a checkpoint; then a killed process leaves none suspect. */
static void idle_regions_close(void **state)
{
    (void)state;
    struct store_info info;
    (void)write_block(0, 0x11);
    rig_pass(&rig, 100 * NS_PER_MS);
    (void)write_block(0, 0x22);
    for (int closed = 0; closed < 2; closed++) {
        struct rig after;
        uint8_t *const image = malloc(RIG_DEVICE_BYTES);
        memcpy(image, rig.content, RIG_DEVICE_BYTES);
        rig_init(&after, image, 1);
        after.boot = rig.boot;
        assert_true(status_ok(rig_open(&after)));
        store_get_info(after.store, &info);
        assert_int_equal(info.suspect_regions != 0, closed == 0);
        rig_run(&after);
        store_get_info(after.store, &info);
        assert_int_equal(info.suspect_regions, 0);
        assert_int_equal(info.adopted_blocks, closed == 0 ? 1 : 0);
        rig_abandon(&after);
        free(image);
        rig_pass(&rig, 31 * NS_PER_S);
        rig_pass(&rig, 31 * NS_PER_S);
    }
}

/* A store that was closed is clean, however long its last flushes take. */
static void slow_close_is_clean(void **state)
{
    (void)state;
    struct superblock sb;
    (void)write_block(0, 0x11);
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    rig.done = false;
    store_close(rig.store, rig_on_status, &rig);
    rig.store = NULL;
    while (!rig.done) {
        (void)rig_turn(&rig);
        fake_reactor_run_timers(&rig.reactor, rig.reactor.base.now_ns + 7 * NS_PER_MS);
    }
    assert_true(status_ok(rig.status));
    assert_true(
        status_ok(superblock_decode((struct const_span) { rig.content, SUPERBLOCK_BYTES }, &sb)));
    assert_true(sb.clean);
}

/* More regions than are settled at a time: a close still ends a command that waits for the last. */
static void close_settles_what_is_waited_for(void **state)
{
    (void)state;
    static uint8_t kept[RIG_DEVICE_BYTES];
    const uint64_t regions = 60, shard_regions = 4, region_blocks = 256;
    struct rig_io r;

    for (uint8_t fill = 1; fill <= 2; fill++) {
        for (uint64_t i = 0; i < regions; i++) {
            rig.shard = (uint32_t)(i / shard_regions);
            (void)write_block(i % shard_regions * region_blocks, fill);
        }
        rig_pass(&rig, 100 * NS_PER_MS); /* Settled: the next writes open their regions. */
    }
    memcpy(kept, rig.content, sizeof kept);
    rig_abandon(&rig);
    rig_init(&rig, kept, 1);
    rig_serve(&rig);
    rig.shard = (uint32_t)(regions / shard_regions) - 1;
    rig_submit(&rig, &r, STORE_OP_WRITE, (shard_regions - 1) * region_blocks * 4 * K, 4 * K, 3);
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_true(status_ok(rig_close_store(&rig)));
    assert_true(r.ended > 0 && status_ok(r.io.status));
    free(r.data);
}

/* An idle store has nothing to do: no request, no task and no timer. */
static void idle_costs_nothing(void **state)
{
    (void)state;
    (void)write_block(0, 0x11);
    (void)write_block(0, 0x22);
    for (int i = 0; i < 5; i++)
        rig_pass(&rig, 31 * NS_PER_S);
    const size_t events = rig.event_count;
    rig_pass(&rig, 3600 * NS_PER_S);
    assert_int_equal(rig.event_count, events);
    assert_null(timer_heap_pop_due(&rig.reactor.timers, UINT64_MAX));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_touch_waits_for_both),
        TEST(overwrite_waits_for_its_region),
        TEST(overwrite_waits_for_the_settled_mark),
        TEST(overwrite_waits_for_nothing_else),
        TEST(flush_is_a_flush),
        TEST(fua_overwrite_is_durable_by_itself),
        TEST(copy_is_durable_before_home),
        TEST(journal_flushes_by_itself),
        TEST(idle_regions_close),
        TEST(slow_close_is_clean),
        TEST(close_settles_what_is_waited_for),
        TEST(idle_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

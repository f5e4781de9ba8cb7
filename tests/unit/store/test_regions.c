/* SPDX-License-Identifier: Apache-2.0 */
/* Where replicas may differ: the region list and the copysets of a disk (F36 to F39). */
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mutation.h"
#include "rig.h"

#define M   ((uint64_t)1 << 20)
#define K4  ((uint64_t)4096)
#define ALL 7 /* Slots 0 to 2. */

static struct rig rig;

static void assert_status(struct status st, enum status_code code)
{
    assert_string_equal(status_name(st), status_name((struct status) { code }));
}

static struct store_session_config config_of(uint64_t epoch, uint32_t tick)
{
    struct store_session_config config = rig_session_config(epoch);
    config.volume.bytes = 2048 * M;
    config.volume.shard_bytes = 512 * M;
    config.volume.replicas = 3;
    config.volume.min_in_sync = 2;
    config.tick = tick;
    return config;
}

static void open_session_of(struct rig *r, const struct store_session_config *config)
{
    r->done = false;
    const struct status st = store_session_open(r->store, config, rig_on_session, r);
    assert_status(st, STATUS_OK);
    rig_wait(r);
    assert_status(r->session.status, STATUS_OK);
}

static void open_session(struct rig *r, uint64_t epoch, uint32_t tick)
{
    const struct store_session_config config = config_of(epoch, tick);
    open_session_of(r, &config);
}

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    assert_status(rig_format(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 1, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

/* What was flushed is there, in another life of the machine. */
static void lose_power(uint8_t *image)
{
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_abandon(&rig);
    rig_init(&rig, image, 2);
    rig.boot.b[0] = 2;
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 2, 1);
}

/* ---- Commands ---- */

static void start(struct rig *r, struct rig_io *io, enum store_opcode opcode, uint64_t offset,
                  uint64_t bytes, uint8_t fill, uint32_t tick)
{
    rig_submit(r, io, opcode, offset, bytes, fill);
    io->io.tick = tick; /* Nothing is looked at before the next turn. */
    io->io.copyset = 5;
}

static struct status change(struct rig *r, enum store_opcode opcode, uint64_t offset,
                            uint64_t bytes, uint8_t fill, uint32_t tick)
{
    struct rig_io io;
    start(r, &io, opcode, offset, bytes, fill, tick);
    rig_io_wait(r, &io);
    free(io.data);
    return io.io.status;
}

static struct status write_at(uint64_t offset, uint8_t fill, uint32_t tick)
{
    return change(&rig, STORE_OP_WRITE, offset, K4, fill, tick);
}

/* A command that carries items. */
static struct status with_items(struct rig *r, enum store_opcode opcode, void *items, size_t bytes,
                                uint32_t tick, uint64_t *cursor, uint64_t *out_bytes)
{
    struct rig_io io;
    start(r, &io, opcode, cursor != NULL ? *cursor : 0, 0, 0, tick);
    io.io.data = (struct span) { items, bytes };
    rig_io_wait(r, &io);
    if (cursor != NULL)
        *cursor = io.io.offset;
    if (out_bytes != NULL)
        *out_bytes = io.io.bytes;
    return io.io.status;
}

static struct status close_region(struct store_region item)
{
    return with_items(&rig, STORE_OP_CLOSE_REGIONS, &item, sizeof item, 0, NULL, NULL);
}

static struct status merge_region(struct store_region item, uint32_t tick)
{
    return with_items(&rig, STORE_OP_MERGE_REGIONS, &item, sizeof item, tick, NULL, NULL);
}

/* The slots that a region of shard 0 lists, as the command tells; room items at a time. */
static uint8_t listed_with(struct rig *r, uint32_t region, uint32_t room)
{
    struct store_region items[8];
    uint64_t cursor = 0, bytes;
    uint8_t slots = 0;
    while (cursor != STORE_CURSOR_END) {
        const struct status st =
            with_items(r, STORE_OP_LIST_REGIONS, items, room * sizeof items[0], 0, &cursor, &bytes);
        assert_status(st, STATUS_OK);
        for (size_t i = 0; i < bytes / sizeof items[0]; i++) {
            const struct store_region *const run = &items[i];
            if (run->shard == 0 && region >= run->region && region < run->region + run->count)
                slots = run->slots;
        }
    }
    return slots;
}

static uint8_t listed(uint32_t region)
{
    return listed_with(&rig, region, 8);
}

/* ---- Opening ---- */

/* F36: whatever changes something lists its regions for all slots, and nothing else does. */
static void changes_list_their_regions(void **state)
{
    (void)state;
    assert_status(write_at(3 * M, 0x11, 1), STATUS_OK);
    assert_status(change(&rig, STORE_OP_WRITE, 7 * M - K4, 2 * K4, 0x11, 1), STATUS_OK);
    assert_status(change(&rig, STORE_OP_READ, 9 * M, K4, 0, 1), STATUS_OK);
    assert_status(change(&rig, STORE_OP_DEALLOCATE, 11 * M, 2 * M, 0, 1), STATUS_OK);
    for (uint32_t room = 1; room <= 3; room++) {
        const bool zeroed = true; /* Of generation 1, whose zeros are kept. */
        for (uint32_t i = 0; i < 16; i++) {
            const bool open = i == 3 || i == 6 || i == 7 || (zeroed && (i == 11 || i == 12));
            assert_int_equal(listed_with(&rig, i, room), open ? ALL : 0);
        }
    }
}

static void a_volume_of_one_replica_has_no_list(void **state)
{
    (void)state;
    struct store_region item = { 0 };
    store_session_close(rig.session.session);
    struct store_session_config config = config_of(2, 1);
    config.volume.replicas = 1;
    config.volume.min_in_sync = 1;
    rig.done = false;
    const struct status st = store_session_open(rig.store, &config, rig_on_session, &rig);
    assert_status(st, STATUS_OK);
    rig_wait(&rig);
    assert_status(write_at(0, 0x11, 1), STATUS_OK);
    assert_status(
        with_items(&rig, STORE_OP_LIST_REGIONS, &item, sizeof item, 0, &(uint64_t) { 0 }, NULL),
        STATUS_INVALID);
}

/* F36 at one crash: a region whose block is not what it was is listed. */
static void assert_listed_if_changed(uint8_t *image, uint8_t before)
{
    struct rig after;
    struct status st;
    rig_init(&after, image, 1);
    assert_status(rig_open(&after), STATUS_OK);
    open_session(&after, 2, 1);
    const uint8_t now = rig_read_block(&after, 0, &st);
    assert_status(st, STATUS_OK);
    if (now != before)
        assert_int_equal(listed_with(&after, 0, 8), ALL);
    rig_abandon(&after);
}

static void crash_everywhere(uint8_t before)
{
    static uint8_t image[RIG_DEVICE_BYTES];

    for (size_t index = 0; index <= rig.event_count; index++) {
        for (uint64_t mode = 0; mode < 6; mode++) {
            rig_image(&rig, index, true, mode, image);
            assert_listed_if_changed(image, before);
            rig_image(&rig, index, false, mode, image);
            assert_listed_if_changed(image, before);
        }
    }
}

/* F36: at any crash, of the process or the power, during a first touch, an overwrite, a zeroing. */
static void a_change_is_never_found_without_its_region(void **state)
{
    (void)state;
    rig_record(&rig);
    assert_status(write_at(0, 0x11, 1), STATUS_OK);
    crash_everywhere(0);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_status(close_region((struct store_region) { .count = 1, .tick = 1, .slots = ALL }),
                  STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    assert_int_equal(listed(0), 0);
    rig_record(&rig);
    assert_status(write_at(0, 0x22, 2), STATUS_OK);
    crash_everywhere(0x11);
    /* Again: the intent map has the region by now, and lets the overwrite go at once. */
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    assert_status(close_region((struct store_region) { .count = 1, .tick = 2, .slots = ALL }),
                  STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    rig_record(&rig);
    assert_status(write_at(0, 0x33, 3), STATUS_OK);
    crash_everywhere(0x22);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    assert_status(close_region((struct store_region) { .count = 1, .tick = 3, .slots = ALL }),
                  STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    rig_record(&rig);
    assert_status(change(&rig, STORE_OP_WRITE_ZEROES, 0, K4, 0, 4), STATUS_OK);
    crash_everywhere(0x33);
}

/*
 * F36: also where the records of many commands fill several blocks of the journal, of which a crash
 * leaves the first ones.
 */
static void nor_where_their_records_are_in_two_blocks(void **state)
{
    (void)state;
    static struct rig_io ios[200];
    static uint8_t image[RIG_DEVICE_BYTES];
    rig_record(&rig);
    for (size_t i = 0; i < ARRAY_COUNT(ios); i++)
        start(&rig, &ios[i], STORE_OP_WRITE, i * M, K4, 0x11, 1);
    for (size_t i = 0; i < ARRAY_COUNT(ios); i++) {
        rig_io_wait(&rig, &ios[i]);
        free(ios[i].data);
    }
    for (size_t index = 0; index <= rig.event_count; index += 20) {
        struct rig after;
        struct status st;
        rig_image(&rig, index, true, index, image);
        rig_init(&after, image, 1);
        assert_status(rig_open(&after), STATUS_OK);
        open_session(&after, 2, 1);
        for (uint32_t i = 0; i < ARRAY_COUNT(ios); i++) {
            if (rig_read_block(&after, i * M / K4, &st) != 0)
                assert_int_equal(listed_with(&after, i, 8), ALL);
        }
        rig_abandon(&after);
    }
}

/* The same where overwrites go through the journal. */
static void nor_on_a_disk_of_small_atomic_size(void **state)
{
    (void)state;
    rig_abandon(&rig);
    rig_init(&rig, NULL, 1);
    rig.dev.info.atomic_bytes = 512;
    assert_status(rig_format(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 1, 1);
    a_change_is_never_found_without_its_region(state);
}

/* ---- Closing ---- */

/* F37: what is equal is taken out, and stays out; the others stay listed. */
static void closing_takes_out_what_is_equal(void **state)
{
    (void)state;
    assert_status(write_at(3 * M, 0x11, 1), STATUS_OK);
    assert_status(write_at(4 * M, 0x11, 1), STATUS_OK);
    const struct store_region some = { .region = 3, .count = 1, .tick = 1, .slots = 5 };
    const struct store_region all = { .region = 4, .count = 1, .tick = 1, .slots = ALL };
    assert_status(close_region(some), STATUS_OK);
    assert_status(close_region(all), STATUS_OK);
    assert_int_equal(listed(3), 2);
    assert_int_equal(listed(4), 0);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 2, 1);
    assert_int_equal(listed(3), 2);
    assert_int_equal(listed(4), 0);
}

/* F37: a region that was written in a later tick stays listed, also while the write is under way.
 */
static void closing_respects_later_ticks(void **state)
{
    (void)state;
    struct store_region item = { .region = 3, .count = 1, .tick = 1, .slots = ALL };
    struct rig_io under_way;
    assert_status(write_at(3 * M, 0x11, 1), STATUS_OK);
    assert_status(write_at(3 * M, 0x12, 2), STATUS_OK);
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(3), ALL);
    item.tick = 2;
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(3), 0);
    start(&rig, &under_way, STORE_OP_WRITE, 3 * M + K4, K4, 0x13, 3);
    fake_reactor_run_tasks(&rig.reactor);
    assert_status(close_region(item), STATUS_OK);
    rig_io_wait(&rig, &under_way);
    free(under_way.data);
    assert_int_equal(listed(3), ALL);
}

/* Items that name nothing are passed over. */
static void closing_passes_over_what_is_not_there(void **state)
{
    (void)state;
    assert_status(write_at(0, 0x11, 1), STATUS_OK);
    const struct store_region items[] = {
        { .shard = 3, .region = 0, .count = 1, .tick = 9, .slots = ALL },
        { .shard = 0, .region = 511, .count = 2, .tick = 9, .slots = ALL },
        { .shard = 0, .region = UINT32_MAX, .count = UINT32_MAX, .tick = 9, .slots = ALL },
        { .shard = UINT32_MAX, .region = 0, .count = 1, .tick = 9, .slots = ALL },
        { .shard = 0, .region = 0, .count = 0, .tick = 9, .slots = ALL },
    };
    for (size_t i = 0; i < ARRAY_COUNT(items); i++)
        assert_status(close_region(items[i]), STATUS_OK);
    assert_int_equal(listed(0), ALL);
}

/* F38: in a new session all that is listed counts as written in the tick that it begins with. */
static void a_session_begins_with_its_tick(void **state)
{
    (void)state;
    assert_status(write_at(3 * M, 0x11, 7), STATUS_OK);
    assert_status(write_at(5 * M, 0x11, 9), STATUS_OK);
    const struct store_region early = { .region = 3, .count = 3, .tick = 3, .slots = ALL };
    const struct store_region then = { .region = 3, .count = 3, .tick = 4, .slots = ALL };
    store_session_close(rig.session.session);
    open_session(&rig, 2, 4);
    assert_status(close_region(early), STATUS_OK);
    assert_int_equal(listed(3), ALL);
    assert_int_equal(listed(5), ALL);
    assert_status(close_region(then), STATUS_OK);
    assert_int_equal(listed(3), 0);
    assert_int_equal(listed(5), 0);
}

/* 4.3: but another one of the same epoch may name a tick that its engine has passed since. */
static void another_session_keeps_later_ticks(void **state)
{
    (void)state;
    struct store_session_config config = config_of(2, 4);
    struct store_region item = { .region = 3, .count = 3, .tick = 4, .slots = ALL };
    for (config.number = 1; config.number < 3; config.number++) {
        store_session_close(rig.session.session);
        rig.done = false;
        assert_status(store_session_open(rig.store, &config, rig_on_session, &rig), STATUS_OK);
        rig_wait(&rig);
        assert_status(rig.session.status, STATUS_OK);
        if (config.number == 1) {
            assert_status(write_at(3 * M, 0x11, 3), STATUS_OK);
            assert_status(write_at(5 * M, 0x11, 5), STATUS_OK);
        }
    }
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(3), 0);
    assert_int_equal(listed(5), ALL);
    item.tick = 5;
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(5), 0);
}

/* F38: the same for what was listed before the store was opened, which has no entry. */
static void so_does_what_an_earlier_life_listed(void **state)
{
    (void)state;
    struct store_region item = { .region = 3, .count = 1, .tick = 3, .slots = ALL };
    assert_status(write_at(3 * M, 0x11, 7), STATUS_OK);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 2, 4);
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(3), ALL);
    assert_status(write_at(3 * M, 0x12, 6), STATUS_OK);
    item.tick = 5;
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(3), ALL);
    item.tick = 6;
    assert_status(close_region(item), STATUS_OK);
    assert_int_equal(listed(3), 0);
}

/* ---- Merging ---- */

/* What was merged is durable when the command completes, also of a shard that was not there. */
static void what_is_merged_is_durable(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    struct rig after;
    const struct store_region item = { .region = 8, .count = 2, .copyset = 3, .slots = 4 };
    rig_record(&rig);
    assert_status(merge_region(item, 5), STATUS_OK);
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_init(&after, image, 1);
    assert_status(rig_open(&after), STATUS_OK);
    open_session(&after, 2, 1);
    assert_int_equal(listed_with(&after, 8, 1), 4);
    assert_int_equal(listed_with(&after, 9, 1), 4);
    assert_int_equal(listed_with(&after, 10, 1), 0);
    rig_abandon(&after);
}

/* 9.8: a CLOSE of before the merge does not undo it. */
static void merging_counts_as_written_in_its_tick(void **state)
{
    (void)state;
    struct store_region out = { .region = 3, .count = 2, .tick = 4, .slots = 4 };
    assert_status(write_at(3 * M, 0x11, 1), STATUS_OK);
    assert_status(merge_region(out, 5), STATUS_OK);
    assert_status(close_region(out), STATUS_OK);
    assert_int_equal(listed(3), ALL);
    assert_int_equal(listed(4), 4);
    out.tick = 5;
    assert_status(close_region(out), STATUS_OK);
    assert_int_equal(listed(3), 3);
    assert_int_equal(listed(4), 0);
}

static void merging_refuses_what_cannot_be(void **state)
{
    (void)state;
    const struct store_region items[] = {
        { .shard = 4, .count = 1, .slots = 1 },
        { .shard = 0, .region = 512, .count = 1, .slots = 1 },
        { .shard = 0, .region = 0, .count = 0, .slots = 1 },
        { .shard = 0, .region = 0, .count = 1, .slots = 8 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(items); i++)
        assert_status(merge_region(items[i], 1), STATUS_OUT_OF_RANGE);
    assert_status(merge_region((struct store_region) { .count = 251, .slots = 1 }, 1),
                  STATUS_LIMIT);
    struct store_region many[] = { { .count = UINT32_MAX, .slots = 1 },
                                   { .count = 2, .slots = 1 } };
    assert_status(with_items(&rig, STORE_OP_MERGE_REGIONS, many, sizeof many, 1, NULL, NULL),
                  STATUS_LIMIT);
}

/* ---- Limits ---- */

#define OPEN_MAX 256 /* Of a disk of 16 MiB. */

/* A command that needs one more open region than there may be is refused; closing makes room. */
static void open_regions_are_bounded(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < OPEN_MAX; i++)
        assert_status(write_at(i * M, 0x11, 1), STATUS_OK);
    assert_status(write_at(300 * M, 0x11, 1), STATUS_LIST_FULL);
    assert_status(write_at(17 * M, 0x12, 1), STATUS_OK); /* It is open. */
    assert_status(change(&rig, STORE_OP_READ, 300 * M, K4, 0, 1), STATUS_OK);
    const struct store_region one = { .region = 9, .count = 1, .tick = 1, .slots = 1 };
    assert_status(close_region(one), STATUS_OK);
    assert_status(write_at(300 * M, 0x11, 1), STATUS_OK);
    assert_status(write_at(301 * M, 0x11, 1), STATUS_LIST_FULL);
    /* It is so for the next life, too, whose regions have no entries at first. */
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 2, 1);
    assert_status(write_at(301 * M, 0x11, 1), STATUS_LIST_FULL);
    assert_status(write_at(17 * M, 0x13, 1), STATUS_OK);
}

/* Four long lists, of odd regions, each for slot 0 or 1 in turn: more than there is room for. */
static void fill_lists(void)
{
    struct store_region items[STORE_REGIONS_MAX];
    for (uint32_t shard = 0; shard < 4; shard++) {
        for (uint32_t i = 0; i < STORE_REGIONS_MAX; i++)
            items[i] = (struct store_region) {
                .shard = shard, .region = 2 * i + 1, .count = 1, .slots = i % 2 == 0 ? 1 : 2
            };
        assert_status(with_items(&rig, STORE_OP_MERGE_REGIONS, items, sizeof items, 1, NULL, NULL),
                      STATUS_OK);
    }
}

/* A list that grows too long becomes coarser: it has all that it had, and fits a checkpoint. */
static void a_long_list_becomes_coarser(void **state)
{
    (void)state;
    fill_lists();
    assert_status(write_at(20 * M, 0x11, 1), STATUS_OK);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 2, 1);
    for (uint32_t i = 0; i < STORE_REGIONS_MAX; i++) {
        const uint8_t slots = i % 2 == 0 ? 1 : 2;
        assert_int_equal(listed(2 * i + 1) & slots, slots);
    }
    assert_int_equal(listed(20), ALL);
    assert_int_equal(listed(511),
                     3); /* The first shard had the longest list, when room was short. */
}

/* So it does when the disk is opened: records say how fine lists were, which may be more than the
 * checkpoint of the opening has room for. */
static void long_lists_are_opened(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    struct store_region items[STORE_REGIONS_MAX];
    struct store_session_config config = config_of(1, 1);
    const uint32_t shards = 56; /* So many that no checkpoint begins before. */

    store_session_close(rig.session.session);
    config.volume.uuid.b[0] = 11;
    config.volume.bytes = shards * config.volume.shard_bytes;
    open_session_of(&rig, &config);
    rig_record(&rig);
    for (uint32_t shard = 0; shard < shards; shard++) {
        for (uint32_t i = 0; i < STORE_REGIONS_MAX; i++)
            items[i] = (struct store_region) {
                .shard = shard, .region = 2 * i + 1, .count = 1, .slots = 1
            };
        assert_status(with_items(&rig, STORE_OP_MERGE_REGIONS, items, sizeof items, 1, NULL, NULL),
                      STATUS_OK);
    }
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_abandon(&rig);
    for (unsigned life = 2; life < 4; life++) {
        rig_init(&rig, image, life);
        rig.boot.b[0] = (uint8_t)life;
        assert_status(rig_open(&rig), STATUS_OK);
        config.epoch = life;
        open_session_of(&rig, &config);
        for (uint32_t i = 0; i < STORE_REGIONS_MAX; i += 51)
            assert_int_equal(listed(2 * i + 1) & 1, 1);
        if (life == 2)
            rig_abandon(&rig);
    }
}

/* 9.8: what is merged is durable, also what a coarser list, of which no record says anything, has.
 */
static void what_is_merged_into_a_coarse_list(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    rig_record(&rig);
    fill_lists();
    assert_int_equal(listed(1), 3); /* It was 1. */
    assert_status(merge_region((struct store_region) { .region = 1, .count = 1, .slots = 2 }, 1),
                  STATUS_OK);
    lose_power(image);
    assert_int_equal(listed(1) & 2, 2);
}

/* A volume of shards that are short enough for one to have all its regions open. */
static void open_short_session(uint64_t epoch)
{
    struct store_session_config config = config_of(epoch, 1);
    store_session_close(rig.session.session);
    config.volume.uuid.b[0] = 10;
    config.volume.shard_bytes = 128 * M;
    open_session_of(&rig, &config);
}

/* F36: nor is a change found without its region where a coarser list, of which no record says
 * anything, has all slots already. */
static void a_coarse_list_opens_no_region(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    struct store_region items[64];
    struct status st;
    open_short_session(1);
    rig_record(&rig);
    for (uint32_t shard = 0; shard < 10; shard++) {
        for (uint32_t i = 0; i < ARRAY_COUNT(items); i++)
            items[i] = (struct store_region) {
                .shard = shard, .region = 2 * i, .count = 1, .slots = (uint8_t)(1 << i % 3)
            };
        st = with_items(&rig, STORE_OP_MERGE_REGIONS, items, sizeof items, 1, NULL, NULL);
        assert_status(st, STATUS_OK);
    }
    assert_int_equal(listed(1), ALL); /* It was nothing. */
    assert_status(write_at(1 * M, 0x11, 1), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    lose_power(image);
    open_short_session(2);
    assert_int_equal(rig_read_block(&rig, M / K4, &st), 0x11);
    assert_int_equal(listed(1), ALL);
}

/* ---- Incarnations ---- */

/* A disk that is put back from an image does not repeat the incarnation that followed it. */
static void an_incarnation_is_not_repeated(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    uint64_t seen[4];
    rig_record(&rig);
    for (uint64_t i = 0; i < ARRAY_COUNT(seen); i++) {
        struct rig after;
        rig_image(&rig, rig.event_count, true, 0, image);
        rig_init(&after, image, 100 + i);
        after.boot.b[0] = 2;
        assert_status(rig_open(&after), STATUS_OK);
        open_session(&after, 2, 1);
        seen[i] = after.session.incarnation;
        assert_true(seen[i] > rig.session.incarnation);
        for (uint64_t j = 0; j < i; j++)
            assert_true((uint32_t)seen[j] != (uint32_t)seen[i]);
        rig_abandon(&after);
    }
}

/* ---- Copysets ---- */

static struct store_set set_of(uint64_t sequence, uint8_t in)
{
    return (struct store_set) { .number = 5,
                                .sequence = sequence,
                                .set = { .disk = { { { 1 } }, { { 2 } }, { { 3 } } }, .in = in } };
}

static struct status set(struct store_set s)
{
    return with_items(&rig, STORE_OP_SET, &s, sizeof s, 0, NULL, NULL);
}

/* S5, F39: a set does not go back, neither in an epoch nor by an engine of before. */
static void a_set_does_not_go_back(void **state)
{
    (void)state;
    assert_status(set(set_of(7, 7)), STATUS_OK);
    assert_status(set(set_of(8, 3)), STATUS_OK);
    assert_status(set(set_of(8, 3)), STATUS_OK);
    assert_status(set(set_of(7, 7)), STATUS_INVALID);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 1, 1);
    assert_status(set(set_of(7, 7)), STATUS_INVALID);
    store_session_close(rig.session.session);
    open_session(&rig, 2, 1);
    assert_status(set(set_of(1, 1)), STATUS_OK); /* A newer epoch's numbers are its own. */
    assert_status(set(set_of(0, 1)), STATUS_INVALID);
}

/* 6.5: what has been kept survives power loss. */
static void a_set_is_durable(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    struct store_set s = set_of(6, 7);
    rig_record(&rig);
    assert_status(set(set_of(7, 7)), STATUS_OK);
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_abandon(&rig);
    rig_init(&rig, image, 1);
    assert_status(rig_open(&rig), STATUS_OK);
    open_session(&rig, 1, 1);
    assert_status(set(s), STATUS_INVALID);
    s.sequence = 7;
    assert_status(set(s), STATUS_OK);
}

static void sets_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct store_set sets[6];
    for (size_t i = 0; i < ARRAY_COUNT(sets); i++)
        sets[i] = set_of(1, 3);
    sets[0].set.disk[1] = sets[0].set.disk[0];
    sets[1].set.disk[0] = (struct uuid) { 0 }; /* In sync, and nobody. */
    sets[2].set.whole = 1;                     /* In sync, and behind. */
    sets[3].set.in = 8;
    sets[4].number = STORE_COPYSET_MAX + 1;
    sets[5].set.disk[2] = (struct uuid) { 0 }; /* Nobody, with an incarnation. */
    sets[5].set.incarnation[2] = 1;
    for (size_t i = 0; i < ARRAY_COUNT(sets); i++)
        assert_status(set(sets[i]), STATUS_INVALID);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(changes_list_their_regions),
        CASE(a_volume_of_one_replica_has_no_list),
        CASE(a_change_is_never_found_without_its_region),
        CASE(nor_where_their_records_are_in_two_blocks),
        CASE(nor_on_a_disk_of_small_atomic_size),
        CASE(closing_takes_out_what_is_equal),
        CASE(closing_respects_later_ticks),
        CASE(closing_passes_over_what_is_not_there),
        CASE(a_session_begins_with_its_tick),
        CASE(another_session_keeps_later_ticks),
        CASE(so_does_what_an_earlier_life_listed),
        CASE(what_is_merged_is_durable),
        CASE(merging_counts_as_written_in_its_tick),
        CASE(merging_refuses_what_cannot_be),
        CASE(open_regions_are_bounded),
        CASE(a_long_list_becomes_coarser),
        CASE(long_lists_are_opened),
        CASE(what_is_merged_into_a_coarse_list),
        CASE(a_coarse_list_opens_no_region),
        CASE(an_incarnation_is_not_repeated),
        CASE(a_set_does_not_go_back),
        CASE(a_set_is_durable),
        CASE(sets_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

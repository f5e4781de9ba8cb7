/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that grow: what their disks know of it, and when (S5, F27). */
#include "store/store.h"

#include <stdio.h>

#include "base/mutation.h"
#include "disk/layout.h"
#include "disk/metablock.h"
#include "rig_case.h"

#define M      ((uint64_t)1 << 20)
#define SHARDS 16 /* Of the rig's volume: 64 MiB in shards of 4 MiB. */

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    rig_begin(&rig);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    return 0;
}

static struct store_volume volume_of(uint64_t bytes, uint32_t first_run_shards)
{
    struct store_volume v = rig_session_config(1).volume;
    v.bytes = bytes;
    v.first_run_shards = first_run_shards;
    return v;
}

static const uint64_t grown_bytes = 70 * M;

static struct store_volume grown(void)
{
    return volume_of(grown_bytes, SHARDS);
}

static struct status describe(const struct store_volume *volume)
{
    rig.done = false;
    const struct status st =
        store_session_describe(rig.session.session, volume, rig_on_status, &rig);
    assert_status(st, STATUS_OK);
    rig_wait(&rig);
    return rig.status;
}

static struct status open_session(struct rig *r, const struct store_volume *volume, uint64_t epoch)
{
    const struct store_session_config config = { .volume = *volume, .epoch = epoch };
    r->done = false;
    const struct status st = store_session_open(r->store, &config, rig_on_session, r);
    assert_status(st, STATUS_OK);
    rig_wait(r);
    return r->session.status;
}

/* F27: a shard that the description does not have is refused, and taken once it has it. */
static void shards_come_after_their_description(void **state)
{
    (void)state;
    const struct store_volume v = grown();
    rig.shard = SHARDS;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4096, 0x11), STATUS_OUT_OF_RANGE);
    assert_status(describe(&v), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4096, 0x11), STATUS_OK);
    rig.shard = (uint32_t)store_volume_shards(&v);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4096, 0x11), STATUS_OUT_OF_RANGE);
}

/* F27: a description that moves an address, or is smaller, is refused and changes nothing. */
static void what_is_no_growth_is_refused(void **state)
{
    (void)state;
    struct store_volume v[7];
    for (size_t i = 0; i < ARRAY_COUNT(v); i++)
        v[i] = grown();
    v[0].stripe_width++;
    v[1].stripe_unit_bytes *= 2;
    v[2].shard_bytes *= 2;
    v[3].lba_bytes = 512;
    v[4].uuid.b[0]++;
    v[5] = volume_of(60 * M, 0);
    v[6] = volume_of(grown_bytes, 0); /* Without a second run. */
    for (size_t i = 0; i < ARRAY_COUNT(v); i++)
        assert_status(describe(&v[i]), STATUS_INVALID);
    const struct store_volume first = volume_of(64 * M, 0);
    assert_status(describe(&first), STATUS_OK);
    const struct store_volume last = grown();
    assert_status(describe(&last), STATUS_OK);
    assert_status(describe(&first), STATUS_INVALID); /* It was that once. */
}

/*
 * S5: when the answer has come the description survives power loss, whatever the disk forgets; an
 * engine that comes with the old one is refused, and one with the new one finds its shards.
 */
static void a_description_survives_power_loss(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    const struct store_volume old = volume_of(64 * M, 0);
    const struct store_volume v = grown();
    struct rig after;
    rig_record(&rig);
    assert_status(describe(&v), STATUS_OK);
    rig_image(&rig, rig.event_count, true, 0, image);
    rig_init(&after, image, 1);
    assert_status(rig_open(&after), STATUS_OK);
    assert_status(open_session(&after, &old, 2), STATUS_INVALID);
    assert_status(open_session(&after, &v, 2), STATUS_OK);
    after.shard = SHARDS;
    assert_status(rig_do(&after, STORE_OP_WRITE, 0, 4096, 0x11), STATUS_OK);
    rig_abandon(&after);
}

/* After a crash at any event of a growth, and of writes behind it, the disk opens and is sound. */
static void a_crash_at_any_event_leaves_a_sound_disk(void **state)
{
    (void)state;
    static uint8_t image[RIG_DEVICE_BYTES];
    const struct store_volume v = grown();
    struct rig_check c;
    rig_record(&rig);
    assert_status(describe(&v), STATUS_OK);
    rig.shard = SHARDS;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4096, 0x11), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    assert_true(rig.event_count > 4);
    for (size_t at = 0; at <= rig.event_count; at++) {
        for (uint64_t mode = 0; mode < 4; mode++) {
            struct rig after;
            rig_image(&rig, at, true, mode, image);
            rig_init(&after, image, 1);
            assert_status(rig_check(&after, &c), STATUS_OK);
            assert_int_equal(c.report.problems, 0);
            assert_status(rig_open(&after), STATUS_OK);
            assert_status(open_session(&after, &v, 2), STATUS_OK);
            rig_abandon(&after);
        }
    }
}

/* A description waits for nobody's commands, and is refused to a session that was overtaken. */
static void an_older_session_cannot_describe(void **state)
{
    (void)state;
    const struct store_volume v = grown();
    const struct store_volume old = volume_of(64 * M, 0);
    struct store_session *const first = rig.session.session;
    assert_status(open_session(&rig, &old, 2), STATUS_OK);
    struct store_session *const second = rig.session.session;
    rig.session.session = first;
    assert_status(describe(&v), STATUS_STALE_EPOCH);
    store_session_close(first);
    rig.session.session = second;
    assert_status(describe(&v), STATUS_OK);
}

/* Where the volume's record stands in the checkpoint of the closed disk. */
static uint8_t *find_volume_record(uint8_t **out_block)
{
    struct disk_layout layout;
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    for (unsigned area = 0; area < 2; area++) {
        uint8_t *const block = rig.content + layout.part[LAYOUT_CHECKPOINT_0 + area].offset;
        for (uint8_t *at = block; at < block + 4000; at++)
            if (at[0] == 1 && at[1] == 0 && at[2] == 160 && memcmp(at + 24, "db1", 4) == 0) {
                *out_block = block;
                if (area == 1) /* The one that the close has written. */
                    return at;
            }
    }
    fail_msg("no VOLUME record");
    return NULL;
}

/* F27: a shard beyond its volume's description is damage, which a check names and an open refuses.
 */
static void a_shard_beyond_the_end_is_damage(void **state)
{
    (void)state;
    const struct store_volume v = grown();
    struct rig_check c;
    struct metablock head;
    uint8_t *block = NULL;
    assert_status(describe(&v), STATUS_OK);
    rig.shard = SHARDS;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4096, 0x11), STATUS_OK);
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
    uint8_t *const record = find_volume_record(&block);
    const struct const_span whole = { block, 4096 };
    assert_status(metablock_open(whole, METABLOCK_CHECKPOINT, &head), STATUS_OK);
    record[88 + 3] = 4;         /* 64 MiB again ... */
    memset(record + 88, 0, 3);  /* ... */
    memset(record + 120, 0, 4); /* ... in one run. */
    metablock_seal((struct span) { block, 4096 }, METABLOCK_CHECKPOINT, &head);
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_int_equal(c.report.problems, 1);
    if (strstr(c.first, "has 16 shards, and shard 16 is there") == NULL)
        fail_msg("%s", c.first);
    assert_status(rig_open(&rig), STATUS_CORRUPT);
    rig.store = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shards_come_after_their_description), TEST(what_is_no_growth_is_refused),
        TEST(a_description_survives_power_loss),   TEST(a_crash_at_any_event_leaves_a_sound_disk),
        TEST(an_older_session_cannot_describe),    TEST(a_shard_beyond_the_end_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Scrubbing: all that has data is read and compared with its checksums, while the store serves. */
#include "store/scrub.h"

#include "store/store_internal.h"

#include "rig_case.h"

#define K4 ((uint64_t)4096)
#define M  ((uint64_t)1 << 20)

static struct rig rig;

/* What a scrub has said. */
static struct said {
    struct store_scrub_found found[64];
    unsigned count;
    bool waits; /* What was found is not dealt with yet. */
    bool go_on; /* It is, at once. */
    bool ended;
    struct status status;
    struct store_scrub_progress last;
} said;

static void on_found(void *ctx, const struct store_scrub_found *found)
{
    (void)ctx;
    assert_false(said.waits);
    assert_true(said.count < 64);
    said.found[said.count++] = *found;
    said.waits = true;
}

static void on_done(void *ctx, struct status status, const struct store_scrub_progress *progress)
{
    (void)ctx;
    assert_false(said.ended);
    said.ended = true;
    said.status = status;
    said.last = *progress;
}

static void start(uint64_t from, uint64_t bytes_per_s)
{
    const struct store_scrub_config config = { from, bytes_per_s, on_found, on_done, NULL };

    said = (struct said) { .go_on = true };
    assert_status(store_scrub_start(rig.store, &config), STATUS_OK);
    assert_false(said.ended);
}

static void go_on(void)
{
    said.waits = false;
    store_scrub_go_on(rig.store);
}

static void finish(void)
{
    while (!said.ended) {
        if (said.waits && said.go_on)
            go_on();
        if (!rig_turn(&rig))
            rig_pass(&rig, NS_PER_MS);
    }
}

static void scrub(uint64_t from)
{
    start(from, 0);
    finish();
    assert_status(said.status, STATUS_OK);
    assert_true(from != 0 || said.last.done_bytes == said.last.all_bytes);
}

static void change(enum store_opcode opcode, uint64_t first, uint32_t blocks, uint8_t fill)
{
    assert_status(rig_do(&rig, opcode, first * K4, blocks * K4, fill), STATUS_OK);
}

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

/* Finds the only block of the disk that is full of a byte. */
static uint64_t place_of(uint8_t fill)
{
    uint64_t at = 0;

    while (rig.content[at] != fill || memcmp(&rig.content[at], &rig.content[at + 1], 4095) != 0)
        at += 4096;
    return at;
}

/* Blocks 0 to 99 and 600 with a number each, in the first two shards; 7 and 8 are zeros. */
static void write_some(void)
{
    for (uint32_t shard = 0; shard < 2; shard++) {
        rig.shard = shard;
        for (uint32_t i = 0; i < 100; i++)
            change(STORE_OP_WRITE, i, 1, (uint8_t)(1 + 100 * shard + i));
        change(STORE_OP_WRITE, 600, 1, (uint8_t)(210 + shard));
        change(STORE_OP_WRITE_ZEROES, 7, 2, 0);
    }
    rig.shard = 0;
}

static void is_found(unsigned i, uint32_t shard, uint64_t first, uint64_t blocks)
{
    assert_true(i < said.count);
    assert_int_equal(said.found[i].volume.b[0], 9);
    assert_int_equal(said.found[i].shard, shard);
    assert_int_equal(said.found[i].offset, first * K4);
    assert_int_equal(said.found[i].bytes, blocks * K4);
}

/* Bits that have flipped and blocks that cannot be read; their neighbours are none the worse. */
static void what_is_damaged_is_found(void **state)
{
    (void)state;
    struct store_info info;

    write_some();
    scrub(0);
    assert_int_equal(said.count, 0);
    rig.content[place_of(1 + 40) + 17] ^= 1;
    rig.content[place_of(1 + 41) + 4095] ^= 0x80;
    rig.content[place_of(1 + 64) + 1] ^= 1;
    rig.content[place_of(211) + 1] ^= 1;
    rig.unread_from = place_of(101 + 99);
    rig.unread_to = rig.unread_from + K4;
    for (unsigned again = 0; again < 2; again++) { /* Nothing is mended here. */
        scrub(0);
        assert_int_equal(said.count, 4);
        is_found(0, 0, 40, 2);
        is_found(1, 0, 64, 1);
        is_found(2, 1, 99, 1);
        is_found(3, 1, 600, 1);
    }
    rig.unread_to = 0;
    store_get_info(rig.store, &info);
    assert_true(info.media_errors >= 10);
}

/* What has been given back, or written anew, is nobody's damage. */
static void what_is_gone_is_not_found(void **state)
{
    (void)state;

    write_some();
    rig.content[place_of(1 + 40)] ^= 1;
    rig.content[place_of(1 + 50)] ^= 1;
    change(STORE_OP_WRITE_ZEROES, 40, 1, 0);
    change(STORE_OP_WRITE, 50, 1, 250);
    scrub(0);
    assert_int_equal(said.count, 0);
}

/* Hosts overwrite, give back and write anew what is being read: nothing is found that is not. */
static void a_busy_disk_has_no_damage(void **state)
{
    (void)state;
    static struct rig_io io[8];
    unsigned done = 0;

    write_some();
    for (unsigned round = 0; round < 40; round++) {
        start(0, 0);
        memset(io, 0, sizeof io);
        while (!said.ended) {
            const unsigned k = done % 8;
            if (io[k].done || io[k].rig == NULL) {
                free(io[k].data);
                rig_submit(&rig, &io[k], done % 5 == 0 ? STORE_OP_WRITE_ZEROES : STORE_OP_WRITE,
                           (done * 7 % 100) * K4, K4, (uint8_t)done);
                done++;
            }
            assert_false(said.waits);
            for (unsigned turn = 0; turn < round % 5 + 1; turn++)
                (void)rig_turn(&rig);
        }
        for (unsigned k = 0; k < 8; k++) {
            if (io[k].rig != NULL && !io[k].done)
                rig_io_wait(&rig, &io[k]);
            free(io[k].data);
        }
    }
    assert_true(done > 1000);
    scrub(0);
    assert_int_equal(said.count, 0);
}

/* New bytes are on the disk, and the checksum is still the old one: the write has not ended. */
static void a_write_under_way_is_no_damage(void **state)
{
    (void)state;
    struct rig_io io;

    write_some();
    const uint64_t place = place_of(1 + 40);
    rig.hold_from = place;
    rig_submit(&rig, &io, STORE_OP_WRITE, 40 * K4, K4, 251);
    rig_run(&rig);
    assert_false(io.done);
    memset(&rig.content[place], 251, K4);
    scrub(0);
    assert_int_equal(said.count, 0);
    rig.hold_from = 0;
    rig_io_wait(&rig, &io);
    free(io.data);
    scrub(0);
    assert_int_equal(said.count, 0);
}

/* It waits for whoever deals with what was found, and goes on from where it was told to. */
static void it_waits_and_goes_on_from_a_position(void **state)
{
    (void)state;
    struct store_scrub_progress p;

    write_some();
    rig.content[place_of(1 + 64)] ^= 1;
    rig.content[place_of(101 + 5)] ^= 1;
    start(0, 0);
    said.go_on = false;
    while (said.count == 0)
        assert_true(rig_turn(&rig));
    rig_run(&rig);
    assert_int_equal(said.count, 1);
    assert_false(said.ended);
    assert_true(store_scrub_progress(rig.store, &p));
    assert_int_equal(p.bad_blocks, 1);
    assert_int_equal(p.all_bytes, 2 * 99 * K4); /* Without zeros. */
    store_scrub_stop(rig.store);
    finish();
    assert_status(said.status, STATUS_CANCELED);
    assert_false(store_scrub_progress(rig.store, &p));
    scrub(p.position);
    assert_int_equal(said.count, 2); /* That grain is read again. */
    is_found(0, 0, 64, 1);
    is_found(1, 1, 5, 1);
    scrub(p.position + 1);
    assert_int_equal(said.count, 1);
    rig_reopen(&rig); /* Positions mean the same. */
    scrub(p.position + 1);
    assert_int_equal(said.count, 1);
    is_found(0, 1, 5, 1);
    scrub(UINT64_MAX);
    assert_int_equal(said.count, 0);
}

/* A position that no table has is harmless, and the scrub goes on behind it. */
static void a_position_beyond_the_tables_is_harmless(void **state)
{
    (void)state;
    struct rig_io old;

    write_some();
    rig_submit(&rig, &old, STORE_OP_WRITE, 700 * K4, K4, 250);
    old.io.generation = 0; /* The layer that a scrub looks for before it has found any. */
    rig_io_wait(&rig, &old);
    free(old.data);
    rig.content[place_of(101 + 5)] ^= 1;
    const struct shard *const first = catalog_next_shard(&rig.store->catalog, 0);
    const uint32_t grains[] = { first->map.grain_count, first->map.grain_count + 1, UINT32_MAX };
    assert_non_null(map_layer(&first->map, 0));
    for (unsigned i = 0; i < ARRAY_COUNT(grains); i++) {
        scrub((uint64_t)first->id << 32 | grains[i]);
        assert_int_equal(said.count, 1);
        is_found(0, 1, 5, 1);
        scrub((uint64_t)(first->id + 2) << 32 | grains[i]);
        assert_int_equal(said.count, 0);
    }
}

/* Recovers a disk whose process died, of which block 50, just overwritten, cannot be read. */
static void recover_unsettled(void)
{
    uint8_t *const image = malloc(RIG_DEVICE_BYTES);

    write_some();
    rig_pass(&rig, 100 * NS_PER_MS);
    change(STORE_OP_WRITE, 50, 1, 250);
    const uint64_t place = place_of(250);
    assert_non_null(image);
    memcpy(image, rig.content, RIG_DEVICE_BYTES);
    rig_abandon(&rig);
    rig_init(&rig, image, 1);
    rig.borrowed = false; /* rig_fini() frees it. */
    rig.unread_from = place;
    rig.unread_to = place + K4;
    rig_serve(&rig);
    rig_run(&rig);
    assert_int_equal(rig.store->intents.suspects, 1);
}

/* Ends the scrub within five seconds, or not. */
static void finish_soon(void)
{
    for (unsigned ms = 0; ms < 5000 && !said.ended; ms++) {
        if (said.waits)
            go_on();
        rig_pass(&rig, NS_PER_MS);
    }
    assert_true(said.ended);
    assert_status(said.status, STATUS_OK);
}

/* A region that cannot be settled, and that nobody else asks for, does not stop it, however often
 * it comes to it. */
static void what_cannot_be_settled_is_passed(void **state)
{
    (void)state;

    recover_unsettled();
    for (unsigned slow = 0; slow < 2; slow++) {
        rig_pass(&rig, 2 * NS_PER_S); /* The next attempt is due. */
        start(0, slow * 60 * K4);
        finish_soon();
        assert_int_equal(said.count, 1);
        is_found(0, 0, 50, 1);
    }
}

/* Nor does one of a volume whose deletion the disk did not survive: it is settled no more. */
static void what_is_being_deleted_does_not_stop_it(void **state)
{
    (void)state;

    recover_unsettled();
    rig.fail_flush = 1;
    assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_MEDIA_WRITE);
    rig_pass(&rig, 2 * NS_PER_S);
    start(0, 0);
    finish_soon();
    assert_int_equal(said.count, 0);
}

static void the_rate_is_kept(void **state)
{
    (void)state;
    uint64_t before;

    write_some(); /* 198 blocks. */
    start(0, 100 * K4);
    before = rig.reactor.base.now_ns;
    finish();
    assert_status(said.status, STATUS_OK);
    const uint64_t ms = (rig.reactor.base.now_ns - before) / NS_PER_MS;
    assert_in_range(ms, 1300, 2200); /* What is read last is not waited for. */
}

/* A store that is closed does not wait for it, wherever it is. */
static void it_ends_with_the_store(void **state)
{
    (void)state;

    write_some();
    rig.content[place_of(1 + 3)] ^= 1;
    for (unsigned turns = 0; turns < 40; turns++) {
        const struct store_scrub_config config = { 0, 0, on_found, on_done, NULL };
        start(0, turns % 2 == 0 ? 0 : 1000);
        assert_status(store_scrub_start(rig.store, &config), STATUS_BUSY);
        for (unsigned i = 0; i < turns; i++)
            (void)rig_turn(&rig);
        rig_reopen(&rig);
        assert_true(said.ended);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_damaged_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_gone_is_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_busy_disk_has_no_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_under_way_is_no_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(it_waits_and_goes_on_from_a_position, setup, teardown),
        cmocka_unit_test_setup_teardown(a_position_beyond_the_tables_is_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_settled_is_passed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_being_deleted_does_not_stop_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rate_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(it_ends_with_the_store, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

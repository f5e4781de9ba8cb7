/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "disk/layout.h"
#include "rig_case.h"

#define K ((uint64_t)1024)

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

static void assert_block(uint64_t block, uint8_t fill)
{
    struct status st;
    assert_int_equal(rig_read_block(&rig, block, &st), fill);
    assert_status(st, STATUS_OK);
}

/* What was written is read again, before and after closing; never written blocks are zeros. */
static void reads_what_was_written(void **state)
{
    (void)state;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 8 * K, 0x11), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 120 * K, 512 * K, 0x22), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        assert_block(0, 0);
        assert_block(1, 0x11);
        assert_block(2, 0x11);
        assert_block(3, 0);
        assert_block(30, 0x22);
        assert_block(157, 0x22);
        assert_block(158, 0);
        rig_reopen(&rig);
    }
}

/* An overwrite in place is one device write once its region is open and its place settled. */
static void overwrite_is_one_device_write(void **state)
{
    (void)state;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x22), STATUS_OK);
    rig_pass(&rig, 100 * NS_PER_MS);
    const uint64_t before = rig.dev.stats.writes;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x33), STATUS_OK);
    assert_int_equal(rig.dev.stats.writes - before, 1);
    assert_block(0, 0x33);
    rig_reopen(&rig);
    assert_block(0, 0x33);
}

/* Write Zeroes and Deallocate read as zeros and give the space back (S6, J2). */
static void zeroes_give_space_back(void **state)
{
    (void)state;
    struct store_info before, full, after;
    store_get_info(rig.store, &before);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 512 * K, 0x11), STATUS_OK);
    store_get_info(rig.store, &full);
    assert_int_equal(before.free_bytes - full.free_bytes, 512 * K);
    assert_int_equal(store_session_used_bytes(rig.session.session), 512 * K);
    assert_status(rig_do(&rig, STORE_OP_WRITE_ZEROES, 4 * K, 4 * K, 0), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_DEALLOCATE, 128 * K, 384 * K, 0), STATUS_OK);
    assert_block(0, 0x11);
    assert_block(1, 0);
    assert_block(2, 0x11);
    assert_block(40, 0);
    rig_pass(&rig, 100 * NS_PER_MS);
    store_get_info(rig.store, &after);
    assert_int_equal(after.free_bytes - full.free_bytes, 384 * K);
    /* 512 - 4 - 384: use is counted in blocks, and space in grains. */
    assert_int_equal(store_session_used_bytes(rig.session.session), 124 * K);
    rig_reopen(&rig);
    assert_int_equal(store_session_used_bytes(rig.session.session), 124 * K);
    assert_block(0, 0x11);
    assert_block(1, 0);
    assert_block(2, 0x11);
    assert_block(40, 0);
    store_get_info(rig.store, &after);
    assert_int_equal(after.free_bytes - full.free_bytes, 384 * K);
}

/* S3: a block whose bytes have changed on the disk is a media error, and its neighbours are not. */
static void rot_is_a_media_error(void **state)
{
    (void)state;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 8 * K, 0x5a), STATUS_OK);
    for (uint64_t at = 0; at < RIG_DEVICE_BYTES; at += 4096) {
        if (rig.content[at] == 0x5a && rig.content[at + 4095] == 0x5a) {
            rig.content[at + 100] ^= 1;
            break;
        }
    }
    struct rig_io r;
    rig_submit(&rig, &r, STORE_OP_READ, 0, 4 * K, 0);
    rig_io_wait(&rig, &r);
    assert_status(r.io.status, STATUS_MEDIA_READ);
    free(r.data);
    assert_block(1, 0x5a);
    struct store_info info;
    store_get_info(rig.store, &info);
    assert_int_equal(info.media_errors, 1);
}

/* S4: a new session ends the older one, whose commands are refused and change nothing. */
static void older_sessions_are_refused(void **state)
{
    (void)state;
    struct store_session *const old = rig.session.session;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    assert_status(rig_session(&rig, 2), STATUS_OK);
    struct store_session *const new = rig.session.session;
    rig.session.session = old;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x22), STATUS_STALE_EPOCH);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_STALE_EPOCH);
    store_session_close(old);
    assert_status(rig_session(&rig, 1), STATUS_STALE_EPOCH);
    rig.session.session = new;
    assert_block(0, 0x11);
}

/* S5: an unknown shard is said to be unknown, unless the command may create it. */
static void unknown_shards_are_unknown(void **state)
{
    (void)state;
    struct rig_io r;
    rig_submit(&rig, &r, STORE_OP_READ, 0, 4 * K, 0);
    rig_io_wait(&rig, &r);
    assert_status(r.io.status, STATUS_UNKNOWN_SHARD);
    free(r.data);
    rig_submit(&rig, &r, STORE_OP_WRITE, 0, 4 * K, 1);
    r.io.create = false;
    rig_io_wait(&rig, &r);
    assert_status(r.io.status, STATUS_UNKNOWN_SHARD);
    free(r.data);
}

/* S6: a full disk refuses what needs space; overwrites, reads and frees go on. */
static void full_disk_refuses_only_what_needs_space(void **state)
{
    (void)state;
    struct status st = STATUS(OK);
    uint64_t shard = 0, offset = 0;
    struct rig_io r;
    while (status_ok(st)) {
        rig_submit(&rig, &r, STORE_OP_WRITE, offset, 512 * K, 0x11);
        r.io.shard = (uint32_t)shard;
        rig_io_wait(&rig, &r);
        free(r.data);
        st = r.io.status;
        offset += 512 * K;
        if (offset == 4096 * K) {
            offset = 0;
            shard++;
        }
        assert_true(shard < 16);
    }
    assert_status(st, STATUS_NO_SPACE);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 64 * K, 0x22), STATUS_OK);
    assert_block(15, 0x22);
    assert_status(rig_do(&rig, STORE_OP_DEALLOCATE, 0, 1024 * K, 0), STATUS_OK);
    /* The freed places come back as soon as the record is durable (J2). */
    assert_status(rig_do(&rig, STORE_OP_WRITE, 1024 * K, 128 * K, 0x33), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 512 * K, 0x44), STATUS_OK);
    rig_reopen(&rig);
    assert_block(0, 0x44);
    assert_block(256, 0x33);
}

/* S8: a write of an older generation is hidden where a newer one has the block. */
static void older_generation_is_hidden(void **state)
{
    (void)state;
    struct rig_io r;
    const struct {
        uint64_t generation;
        uint64_t offset;
        uint8_t fill;
    } writes[] = { { 1, 0, 0x11 }, { 2, 0, 0x22 }, { 1, 0, 0x33 }, { 1, 4 * K, 0x44 } };
    for (size_t i = 0; i < 4; i++) {
        rig_submit(&rig, &r, STORE_OP_WRITE, writes[i].offset, 4 * K, writes[i].fill);
        r.io.generation = writes[i].generation;
        rig_io_wait(&rig, &r);
        assert_status(r.io.status, STATUS_OK);
        free(r.data);
    }
    for (int round = 0; round < 2; round++) {
        const uint8_t seen[2][2] = { { 0x33, 0x44 }, { 0x22, 0x44 } };
        for (uint64_t generation = 1; generation <= 2; generation++) {
            for (uint64_t block = 0; block < 2; block++) {
                rig_submit(&rig, &r, STORE_OP_READ, block * 4 * K, 4 * K, 0);
                r.io.generation = generation;
                rig_io_wait(&rig, &r);
                assert_int_equal(r.data[0], seen[generation - 1][block]);
                free(r.data);
            }
        }
        rig_reopen(&rig);
        assert_int_equal(rig.session.generation, 2);
    }
}

/* A deleted volume gives all its space back, durably. */
static void deleted_volume_is_gone(void **state)
{
    (void)state;
    struct store_info before, after;
    store_get_info(rig.store, &before);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 512 * K, 0x11), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_READ, 0, 4 * K, 0), STATUS_NOT_FOUND);
    rig_pass(&rig, 100 * NS_PER_MS);
    store_get_info(rig.store, &after);
    assert_int_equal(after.free_bytes, before.free_bytes);
    assert_int_equal(after.volumes, 0);
    rig_reopen(&rig);
    store_get_info(rig.store, &after);
    assert_int_equal(after.shards, 0);
    assert_int_equal(after.free_bytes, before.free_bytes);
}

/* A flush that fails is never retried: the disk refuses writes, and its incarnation changes. */
static void failed_flush_fails_the_disk(void **state)
{
    (void)state;
    struct store_info info;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    rig.fail_flush = 1;
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_MEDIA_WRITE);
    rig_run(&rig);
    store_get_info(rig.store, &info);
    assert_true(info.failed);
    assert_int_equal(info.incarnation >> 32, 2);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x22), STATUS_MEDIA_WRITE);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_STALE_INCARNATION);
    assert_block(0, 0x11);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_MEDIA_WRITE);
    /* The failure was recorded: the next start raises the incarnation once more. */
    rig_serve(&rig);
    assert_true(rig.session.unflushed_loss);
    assert_int_equal(rig.session.incarnation >> 32, 3);
}

/* F15: a first touch whose data could not be written reads as it did before. */
static void failed_first_touch_is_taken_back(void **state)
{
    (void)state;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    struct disk_layout layout;
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    rig.fail_write = 1;
    rig.fail_write_from = layout.part[LAYOUT_DATA].offset;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 4 * K, 0x22), STATUS_MEDIA_WRITE);
    assert_block(1, 0);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 4 * K, 0x33), STATUS_OK);
    assert_block(1, 0x33);
    rig_reopen(&rig);
    assert_block(0, 0x11);
    assert_block(1, 0x33);
}

static uint64_t fails_from; /* Writes from this offset on. */

static bool fails_behind(const struct dev_io *io)
{
    return io->kind == DEV_KIND_WRITE && io->offset >= fails_from;
}

/* S6: what is refused is not there, after a restart either: nobody can know where the journal is
 * broken, too. */
static void refused_is_what_is_taken_back(void **state)
{
    (void)state;
    struct disk_layout layout;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    rig.fails = fails_behind;
    rig.fails_no_space = true;
    fails_from = layout.part[LAYOUT_DATA].offset;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 4 * K, 0x22), STATUS_NO_SPACE);
    assert_block(1, 0);
    fails_from = 0;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 4 * K, 4 * K, 0x22), STATUS_MEDIA_WRITE);
    assert_block(1, 0);
}

/* S1: zeros that follow have no record of their own, and a Flush would wait for nothing. */
static void a_write_has_failed_when_it_is_taken_back(void **state)
{
    (void)state;
    struct rig_io r;
    struct disk_layout layout;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    rig_pass(&rig, NS_PER_S);
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    rig.hold_from = layout.part[LAYOUT_DATA].offset;
    rig_submit(&rig, &r, STORE_OP_WRITE, 4 * K, 4 * K, 0x22);
    rig_run(&rig); /* Its record is written, and its data is not. */
    rig.hold_below = rig.hold_from;
    rig.hold_from = 0;
    rig.fail_write = 1;
    rig_run(&rig);
    assert_int_equal(rig.fail_write, 0);
    assert_int_equal(r.ended, SIZE_MAX);
    rig.hold_below = 0;
    rig_io_wait(&rig, &r);
    assert_status(r.io.status, STATUS_MEDIA_WRITE);
    free(r.data);
    assert_block(1, 0);
}

/* A disk of another cluster is refused by name. */
static void foreign_disk_is_refused_by_name(void **state)
{
    (void)state;
    const struct store_config config = { .cluster = { { 99 } } };
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
    rig.done = false;
    assert_true(status_ok(store_open(&rig.dev, &config, rig_on_opened, &rig)));
    rig_wait(&rig);
    assert_status(rig.opened.status, STATUS_FOREIGN);
    assert_non_null(strstr(rig.opened.problem, "'prod'"));
}

/* F1: one damaged superblock is made good again from the other; with both gone it is refused. */
static void one_superblock_is_enough(void **state)
{
    (void)state;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    for (unsigned bad = 0; bad < 2; bad++) {
        store_session_close(rig.session.session);
        assert_status(rig_close_store(&rig), STATUS_OK);
        memset(rig.content + bad * 4096, 0xff, 4096);
        rig_serve(&rig);
        assert_block(0, 0x11);
        assert_memory_equal(rig.content, rig.content + 4096, 4096);
    }
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
    rig.content[300] ^= 1;
    rig.content[4096 + 300] ^= 1;
    assert_status(rig_open(&rig), STATUS_CORRUPT);
    assert_non_null(strstr(rig.opened.problem, "superblocks"));
}

/* F1: the same for one that cannot be read; and a disk with none is not taken for a blank one. */
static void unreadable_superblock_is_damage(void **state)
{
    (void)state;
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x11), STATUS_OK);
    for (unsigned bad = 0; bad < 2; bad++) {
        store_session_close(rig.session.session);
        assert_status(rig_close_store(&rig), STATUS_OK);
        rig.unread_from = bad * 4096;
        rig.unread_to = bad * 4096 + 4096;
        rig_serve(&rig);
        assert_block(0, 0x11);
    }
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
    memset(rig.content, 0, 4096);
    assert_status(rig_open(&rig), STATUS_MEDIA_READ);
    assert_non_null(strstr(rig.opened.problem, "superblocks"));
}

static uint64_t device_find(uint8_t fill)
{
    for (uint64_t at = 0; at < RIG_DEVICE_BYTES; at += 4096) {
        if (rig.content[at] == fill && memcmp(&rig.content[at], &rig.content[at + 1], 4095) == 0)
            return at;
    }
    fail_msg("no block of 0x%x", fill);
    return 0;
}

/* A check finds each damage by place, and nothing on a sound disk; it never writes. */
static void check_names_each_damage(void **state)
{
    (void)state;
    struct disk_layout layout;
    struct rig_check c;
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 256 * K, 0x5a), STATUS_OK);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    rig.store = NULL;
    rig.session.session = NULL;
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_int_equal(c.report.problems, 0);
    assert_int_equal(c.report.info.shards, 1);

    const struct {
        uint64_t offset;
        const char *text;
        uint64_t problems;
    } damages[] = {
        { 4096 + 50, "superblock at 4096", 1 },
        { device_find(0x5a) + 4096 + 7, "offset 4096", 1 },
        /* The checkpoint that the close has written is the second one. */
        { layout.part[LAYOUT_CHECKPOINT_1].offset + 80, "checkpoint block 0", 1 },
        /* 64 blocks lose their checksums, and the slot is damaged. */
        { layout.part[LAYOUT_SUMS].offset + 4096 + 200, "checksum table block 0, slot 1", 65 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(damages); i++) {
        rig.content[damages[i].offset] ^= 0x10;
        assert_status(rig_check(&rig, &c), STATUS_OK);
        assert_int_equal(c.report.problems, damages[i].problems);
        if (strstr(c.first, damages[i].text) == NULL)
            fail_msg("%s", c.first);
        rig.content[damages[i].offset] ^= 0x10;
    }
    memset(rig.content, 0, 8192);
    assert_status(rig_check(&rig, &c), STATUS_OK);
    assert_int_equal(c.report.problems, 1);
}

/* A table block that is lost makes its blocks media errors until they are written again (S3). */
static void lost_checksums_are_media_errors(void **state)
{
    (void)state;
    struct disk_layout layout;
    struct status st;
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 8 * K, 0x5a), STATUS_OK);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    memset(&rig.content[layout.part[LAYOUT_SUMS].offset], 0xff, 8192);
    rig_serve(&rig);
    (void)rig_read_block(&rig, 0, &st);
    assert_status(st, STATUS_MEDIA_READ);
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 0x66), STATUS_OK);
    assert_block(0, 0x66);
    rig_reopen(&rig);
    assert_block(0, 0x66);
    (void)rig_read_block(&rig, 1, &st);
    assert_status(st, STATUS_MEDIA_READ);
}

/* J3: a hole in the durable part of the journal is damage, and the place is named. */
static void hole_in_durable_journal_is_damage(void **state)
{
    (void)state;
    struct disk_layout layout;
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_status(rig_do(&rig, STORE_OP_WRITE, i * 4 * K, 4 * K, 0x11), STATUS_OK);
        assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    }
    struct rig after;
    uint8_t *const image = malloc(RIG_DEVICE_BYTES);
    memcpy(image, rig.content, RIG_DEVICE_BYTES);
    image[layout.part[LAYOUT_JOURNAL].offset + 2 * 4096 + 99] ^= 1; /* Block 2. */
    rig_init(&after, image, 1);
    after.boot = rig.boot;
    assert_status(rig_open(&after), STATUS_CORRUPT);
    assert_non_null(strstr(after.opened.problem, "journal block 2 at"));
    struct rig_check c;
    assert_status(rig_check(&after, &c), STATUS_OK);
    assert_int_equal(c.report.problems, 1);
    rig_fini(&after);
    free(image);
}

/* A recovery that fails half way has changed nothing: the next one finds everything (section 5). */
static void failed_recovery_changes_nothing(void **state)
{
    (void)state;
    struct disk_layout layout;
    uint8_t *const image = malloc(RIG_DEVICE_BYTES);
    assert_status(disk_layout_make(RIG_DEVICE_BYTES, &layout), STATUS_OK);
    for (unsigned i = 0; i < 4; i++)
        assert_status(rig_do(&rig, STORE_OP_WRITE, i * 4 * K, 4 * K, 0x11), STATUS_OK);
    memcpy(image, rig.content, RIG_DEVICE_BYTES); /* As after a kill. */
    for (unsigned fails = 1; fails < 6; fails++) {
        struct rig after;
        rig_init(&after, image, fails);
        after.boot = rig.boot;
        after.fail_write = fails;
        const struct status st = rig_open(&after);
        if (!status_ok(st)) {
            rig_run(&after);
            rig_fini(&after);
            continue;
        }
        assert_status(rig_session(&after, 1), STATUS_OK);
        for (unsigned i = 0; i < 4; i++) {
            struct status read;
            assert_int_equal(rig_read_block(&after, i, &read), 0x11);
            assert_status(read, STATUS_OK);
        }
        assert_true(fails > 1);
        rig_abandon(&after);
        break;
    }
    free(image);
}

/* The journal ring goes round many times; checkpoints make room in the background. */
static void journal_goes_round(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1500; i++) {
        const uint64_t block = i * 7 % 1024;
        assert_status(rig_do(&rig, STORE_OP_WRITE, block * 4 * K, 4 * K, (uint8_t)(i | 1)),
                      STATUS_OK);
        assert_status(rig_do(&rig, STORE_OP_DEALLOCATE, (block ^ 1) * 4 * K, 4 * K, 0), STATUS_OK);
    }
    assert_block(1499 * 7 % 1024, (uint8_t)(1499 | 1));
    rig_reopen(&rig);
    assert_block(1499 * 7 % 1024, (uint8_t)(1499 | 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_was_written),
        TEST(overwrite_is_one_device_write),
        TEST(zeroes_give_space_back),
        TEST(rot_is_a_media_error),
        TEST(older_sessions_are_refused),
        TEST(unknown_shards_are_unknown),
        TEST(full_disk_refuses_only_what_needs_space),
        TEST(older_generation_is_hidden),
        TEST(deleted_volume_is_gone),
        TEST(failed_flush_fails_the_disk),
        TEST(failed_first_touch_is_taken_back),
        TEST(refused_is_what_is_taken_back),
        TEST(a_write_has_failed_when_it_is_taken_back),
        TEST(foreign_disk_is_refused_by_name),
        TEST(one_superblock_is_enough),
        TEST(unreadable_superblock_is_damage),
        TEST(check_names_each_damage),
        TEST(lost_checksums_are_media_errors),
        TEST(hole_in_durable_journal_is_damage),
        TEST(failed_recovery_changes_nothing),
        TEST(journal_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

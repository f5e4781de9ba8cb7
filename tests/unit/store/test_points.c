/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flush points: a disk has what it had told of, whatever has happened since; an earlier state of it
 * has not (F41, F42; docs/replication.md, 3.7).
 */
#include "store/store.h"

#include "disk/superblock.h"
#include "rig_case.h"

#define K ((uint64_t)1024)

static const struct uuid own_disk = { { 8 } };

static struct rig rig;
static uint8_t *image;
static uint8_t boot;
static struct store_point points[STORE_POINTS_MAX];
static uint32_t point_count; /* That the last LIST has filled. */
static uint64_t cursor;      /* That it has left. */

static int setup(void **state)
{
    (void)state;
    rig_init(&rig, NULL, 1);
    rig.dev.info.has_volatile_cache = true;
    rig_begin(&rig);
    image = malloc(RIG_DEVICE_BYTES);
    boot = 10;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_abandon(&rig);
    free(image);
    return 0;
}

static struct status run(enum store_opcode opcode, uint32_t count, bool fua)
{
    struct rig_io r;

    rig_submit(&rig, &r, opcode, cursor, 0, 0);
    r.io.data = (struct span) { (uint8_t *)points, count * sizeof points[0] };
    r.io.fua = fua;
    rig_io_wait(&rig, &r);
    if (opcode == STORE_OP_LIST_POINTS && status_ok(r.io.status)) {
        point_count = (uint32_t)(r.io.bytes / sizeof points[0]);
        cursor = r.io.offset;
    }
    return r.io.status;
}

static struct status list(uint64_t from, uint32_t room)
{
    cursor = from;
    return run(STORE_OP_LIST_POINTS, room, false);
}

static struct store_point own_point(void)
{
    assert_status(list(0, 1), STATUS_OK);
    assert_int_equal(point_count, 1);
    assert_true(uuid_equal(points[0].disk, own_disk));
    assert_int_equal(points[0].copyset, 0);
    return points[0];
}

static struct status check(const struct store_point *point)
{
    points[0] = *point;
    return run(STORE_OP_CHECK_POINTS, 1, false);
}

static void write_and_flush(unsigned blocks)
{
    for (unsigned i = 0; i < blocks; i++)
        assert_status(rig_do(&rig, STORE_OP_WRITE, i * 4 * K, 4 * K, (uint8_t)(boot + i)),
                      STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
}

/* By records: overwrites need none. */
static void grow_journal(void)
{
    for (unsigned i = 0; i < 20; i++) {
        assert_status(rig_do(&rig, STORE_OP_WRITE_ZEROES, 0, 64 * K, 0), STATUS_OK);
        write_and_flush(4);
    }
}

/* What is on the disk now is all that there will be: of another boot, or of the same one. */
static void come_back(const uint8_t *content, bool rebooted)
{
    uint8_t *const copy = malloc(RIG_DEVICE_BYTES);
    const struct uuid before = rig.boot;

    memcpy(copy, content, RIG_DEVICE_BYTES);
    rig_abandon(&rig);
    rig_init(&rig, NULL, 1);
    rig.dev.info.has_volatile_cache = true;
    memcpy(rig.content, copy, RIG_DEVICE_BYTES);
    rig.boot = before;
    boot++;
    if (rebooted)
        rig.boot.b[0] = boot;
    rng_init(&rig.rng, boot); /* Another life, and incarnation. */
    free(copy);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, boot), STATUS_OK);
}

static void close_in_order(void)
{
    store_session_close(rig.session.session);
    rig.session.session = NULL;
    assert_status(rig_close_store(&rig), STATUS_OK);
}

static void reopen(void)
{
    close_in_order();
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, boot), STATUS_OK);
}

static bool has_lied(void)
{
    struct store_info info;

    store_get_info(rig.store, &info);
    return info.lied;
}

/* ---- Its own ---- */

static void it_grows_with_what_is_durable(void **state)
{
    (void)state;
    const struct store_point first = own_point();
    assert_true(first.position > 0);
    assert_int_equal(first.incarnation, rig.session.incarnation);
    write_and_flush(3);
    const struct store_point second = own_point();
    assert_int_equal(second.incarnation, first.incarnation);
    assert_true(second.position > first.position);
    assert_status(check(&first), STATUS_OK);
    assert_status(check(&second), STATUS_OK);
}

/* Killed, closed, without power once and twice, and after its device has failed a flush. */
static void it_has_what_it_had_told(void **state)
{
    (void)state;
    struct store_point told[8];
    unsigned count = 0;
    write_and_flush(3);
    told[count++] = own_point();
    come_back(rig.content, false);
    told[count++] = own_point();
    write_and_flush(2);
    told[count++] = own_point();
    reopen();
    told[count++] = own_point();
    come_back(rig.content, true);
    write_and_flush(2);
    told[count++] = own_point();
    come_back(rig.content, true);
    come_back(rig.content, true);
    told[count++] = own_point();
    assert_status(rig_do(&rig, STORE_OP_WRITE, 0, 4 * K, 1), STATUS_OK);
    rig.fail_flush = 1;
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_MEDIA_WRITE);
    for (unsigned i = 0; i < count; i++)
        assert_status(check(&told[i]), STATUS_OK);
    come_back(rig.content, true);
    for (unsigned i = 0; i < count; i++)
        assert_status(check(&told[i]), STATUS_OK);
    assert_false(has_lied());
}

/* A machine that was shut down in order, and started again. */
static void a_clean_restart_loses_nothing(void **state)
{
    (void)state;
    write_and_flush(3);
    const struct store_point told = own_point();
    close_in_order();
    come_back(rig.content, true);
    assert_status(check(&told), STATUS_OK);
    assert_false(rig.session.unflushed_loss);
    assert_int_not_equal(rig.session.incarnation, told.incarnation);
}

/* It is as it was before the second Flush; and is found out however much it writes since. */
static void an_earlier_state_has_not(void **state)
{
    (void)state;
    write_and_flush(3);
    const struct store_point first = own_point();
    memcpy(image, rig.content, RIG_DEVICE_BYTES);
    write_and_flush(4);
    write_and_flush(5);
    const struct store_point second = own_point();
    come_back(image, true);
    assert_status(check(&first), STATUS_OK);
    grow_journal();
    assert_true(own_point().position > second.position);
    come_back(rig.content, false);
    assert_false(has_lied());
    assert_status(check(&second), STATUS_POINT_LOST);
    assert_true(has_lied());
    assert_status(check(&first), STATUS_OK);
}

/* The same incarnation would not do: it was closed in order then, and may have been since. */
static void nor_has_one_that_was_closed(void **state)
{
    (void)state;
    write_and_flush(3);
    close_in_order();
    memcpy(image, rig.content, RIG_DEVICE_BYTES);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, ++boot), STATUS_OK);
    write_and_flush(4);
    const struct store_point told = own_point();
    come_back(image, true);
    grow_journal();
    assert_true(own_point().position > told.position);
    assert_status(check(&told), STATUS_POINT_LOST);
}

/* Put back from an image while its machine was up: found as long as it has not grown past it. */
static void nor_has_an_image(void **state)
{
    (void)state;
    write_and_flush(3);
    memcpy(image, rig.content, RIG_DEVICE_BYTES);
    write_and_flush(20);
    write_and_flush(21);
    const struct store_point told = own_point();
    come_back(image, false);
    assert_status(check(&told), STATUS_POINT_LOST);
}

static void it_is_flagged_for_good(void **state)
{
    (void)state;
    const struct store_point never = { .disk = own_disk, .incarnation = 77, .position = 1 };
    assert_status(check(&never), STATUS_POINT_LOST);
    assert_true(has_lied());
    rig_pass(&rig, NS_PER_S); /* The checkpoint. */
    come_back(rig.content, true);
    assert_true(has_lied());
    reopen();
    assert_true(has_lied());
}

static void of_33_incarnations_the_first_is_forgotten(void **state)
{
    (void)state;
    const struct store_point told = own_point();
    for (unsigned i = 0; i < SUPERBLOCK_LIVES; i++)
        come_back(rig.content, true);
    assert_status(check(&told), STATUS_OK);
    come_back(rig.content, true);
    assert_status(check(&told), STATUS_POINT_LOST);
    assert_false(has_lied()); /* It may have had it. */
}

/* ---- Those of others ---- */

static struct store_point point_of(uint32_t copyset, uint8_t disk, uint64_t position)
{
    return (struct store_point) { .copyset = copyset,
                                  .disk = { { disk } },
                                  .incarnation = (uint64_t)disk << 32 | 5,
                                  .position = position };
}

static struct status keep(uint32_t count, bool fua)
{
    cursor = 0;
    return run(STORE_OP_KEEP_POINTS, count, fua);
}

static void assert_kept(uint32_t at, uint32_t copyset, uint8_t disk, uint64_t position)
{
    assert_true(at < point_count);
    assert_int_equal(points[at].copyset, copyset);
    assert_int_equal(points[at].disk.b[0], disk);
    assert_int_equal(points[at].position, position);
}

static void they_are_kept(void **state)
{
    (void)state;
    points[0] = point_of(3, 20, 100);
    points[1] = point_of(3, 21, 200);
    points[2] = point_of(1, 20, 90);
    assert_status(keep(3, false), STATUS_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_status(list(0, STORE_POINTS_MAX), STATUS_OK);
        assert_int_equal(cursor, STORE_CURSOR_END);
        assert_int_equal(point_count, 4);
        assert_kept(1, 1, 20, 90);
        assert_kept(2, 3, 20, 100);
        assert_kept(3, 3, 21, 200);
        if (i == 0)
            reopen(); /* From a checkpoint. */
        else
            come_back(rig.content, true);
    }
}

/* All of a copyset's at once, as the engine says. */
static void what_comes_later_replaces_them(void **state)
{
    (void)state;
    points[0] = point_of(3, 20, 100);
    points[1] = point_of(3, 21, 200);
    assert_status(keep(2, false), STATUS_OK);
    points[0] = point_of(3, 20, 99);
    points[1] = point_of(3, 22, 7);
    assert_status(keep(2, false), STATUS_OK);
    assert_status(list(4, 4), STATUS_OK); /* From copyset 3 on. */
    assert_int_equal(point_count, 2);
    assert_kept(0, 3, 20, 99);
    assert_kept(1, 3, 22, 7);
    points[0].incarnation++;
    points[0].position = 12;
    assert_status(keep(1, false), STATUS_OK);
    assert_status(list(4, 4), STATUS_OK);
    assert_int_equal(point_count, 1);
    assert_kept(0, 3, 20, 12);
}

/* 3.7.3 */
static void some_are_durable_when_they_are_answered(void **state)
{
    (void)state;
    for (unsigned fua = 0; fua < 2; fua++) {
        rig_record(&rig);
        points[0] = point_of(fua, 20, 100);
        assert_status(keep(1, fua == 1), STATUS_OK);
        assert_true((rig.flush_count > 0) == (fua == 1));
    }
}

static void who_lacks_its_own_keeps_nothing(void **state)
{
    (void)state;
    points[0] = point_of(3, 20, 100);
    points[1] = (struct store_point) { 3, own_disk, rig.session.incarnation, UINT64_MAX };
    assert_status(keep(2, false), STATUS_POINT_LOST);
    assert_status(list(1, STORE_POINTS_MAX), STATUS_OK);
    assert_int_equal(point_count, 0);
    assert_int_equal(cursor, STORE_CURSOR_END);
}

/* A few at a time: never a part of a copyset's. */
static void they_are_listed_from_a_cursor_on(void **state)
{
    (void)state;
    const uint32_t copysets = 10;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < copysets * 3; i++)
        points[i] = point_of(i / 3 * 7, (uint8_t)(20 + i % 3), i + 1);
    assert_status(keep(copysets * 3, false), STATUS_OK);
    assert_status(list(0, 5), STATUS_OK);
    assert_int_equal(point_count, 4);
    for (uint32_t at = 1;; at = 0) {
        for (; at < point_count; at++, seen++)
            assert_kept(at, seen / 3 * 7, (uint8_t)(20 + seen % 3), seen + 1);
        if (cursor == STORE_CURSOR_END)
            break;
        assert_status(list(cursor, 7), STATUS_OK);
    }
    assert_int_equal(seen, copysets * 3);
    assert_status(list(1, 3), STATUS_INVALID);
    assert_status(list(STORE_COPYSET_MAX + 2, 4), STATUS_OK);
    assert_int_equal(point_count, 0);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_status(keep(0, false), STATUS_INVALID);
    for (unsigned i = 0; i < 5; i++)
        points[i] = point_of(3, (uint8_t)(20 + i), 1);
    assert_status(keep(5, false), STATUS_INVALID);
    assert_status(keep(4, false), STATUS_OK);
    for (unsigned wrong = 0; wrong < 4; wrong++) {
        points[0] = point_of(3, 20, 1);
        if (wrong == 0)
            points[0].disk = (struct uuid) { { 0 } };
        else if (wrong == 1)
            points[0].position = 0;
        else if (wrong == 2)
            points[0].incarnation = 0;
        else
            points[0].copyset = STORE_COPYSET_MAX + 1;
        assert_status(keep(1, false), STATUS_INVALID);
    }
}

static void they_go_with_their_volume(void **state)
{
    (void)state;
    points[0] = point_of(3, 20, 100);
    assert_status(keep(1, false), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_OK);
    reopen();
    assert_status(list(1, 4), STATUS_OK);
    assert_int_equal(point_count, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_grows_with_what_is_durable),
        TEST(it_has_what_it_had_told),
        TEST(a_clean_restart_loses_nothing),
        TEST(an_earlier_state_has_not),
        TEST(nor_has_one_that_was_closed),
        TEST(nor_has_an_image),
        TEST(it_is_flagged_for_good),
        TEST(of_33_incarnations_the_first_is_forgotten),
        TEST(they_are_kept),
        TEST(what_comes_later_replaces_them),
        TEST(some_are_durable_when_they_are_answered),
        TEST(who_lacks_its_own_keeps_nothing),
        TEST(they_are_listed_from_a_cursor_on),
        TEST(what_cannot_be_is_refused),
        TEST(they_go_with_their_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A store without memory: it says so, keeps what it has, and goes on when there is some. */
#include "store/cell_lists.h"
#include "store_disk.h"

/* OK, or NO_MEMORY where an allocation has failed. */
static void assert_answer(struct status st)
{
    if (!fault_happened())
        assert_status(st, STATUS_OK);
    else if (!status_ok(st))
        assert_status(st, STATUS_NO_MEMORY);
}

static void format_scenario(void)
{
    disk_begin(4096);
    fault_begin();
    const struct status st = rig_format(&rig);
    fault_end();
    assert_answer(st);
    if (!status_ok(st))
        assert_status(rig_format(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_close_store(&rig), STATUS_OK);
    rig_fini(&rig);
}

/* Formatting without memory fails, and can be repeated. */
static void format_says_so(void **state)
{
    (void)state;
    memset(content, 0, sizeof content);
    fault_each(FAULT_ALLOCATION, format_scenario);
}

static uint32_t atomic_bytes;

static void open_scenario(void)
{
    disk_crashed(atomic_bytes);
    fault_begin();
    struct status st = rig_open(&rig);
    fault_end();
    assert_answer(st);
    if (!status_ok(st)) {
        assert_true(rig.opened.store == NULL);
        assert_sound();
        assert_status(rig_open(&rig), STATUS_OK);
    }
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_filled();
    disk_end();
}

/* A recovery that runs out of memory fails as that, not as damage, and the next one recovers. */
static void recovery_says_so(void **state)
{
    (void)state;
    atomic_bytes = 4096;
    disk_make(atomic_bytes);
    fault_each(FAULT_ALLOCATION, open_scenario);
}

/* F21: the same with copies in the journal that must go home. */
static void recovery_of_copies_says_so(void **state)
{
    (void)state;
    atomic_bytes = 512;
    disk_make(atomic_bytes);
    fault_each(FAULT_ALLOCATION, open_scenario);
}

static void check_scenario(void)
{
    struct rig_check c = { 0 };

    disk_crashed(4096);
    fault_begin();
    const struct status st = rig_check(&rig, &c);
    fault_end();
    assert_answer(st);
    assert_int_equal(c.report.problems, 0);
    assert_sound();
    rig_fini(&rig);
}

/* A check without memory fails; it does not tell of a problem that the disk does not have. */
static void check_blames_no_disk(void **state)
{
    (void)state;
    disk_make(4096);
    fault_each(FAULT_ALLOCATION, check_scenario);
}

static void session_scenario(void)
{
    disk_crashed(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    const struct store_session_opened old = rig.session;

    fault_begin();
    const struct status st = rig_session(&rig, 2);
    fault_end();
    assert_answer(st);
    if (!status_ok(st)) {
        rig.session = old;
        assert_status(disk_write(0, 0, 4 * K, 0x44), STATUS_OK);
        assert_status(rig_session(&rig, 2), STATUS_OK);
    }
    store_session_close(old.session);
    assert_filled();
    disk_end();
}

/* S4: a session that cannot be opened leaves the older one as it is. */
static void session_open_says_so(void **state)
{
    (void)state;
    disk_make(4096);
    fault_each(FAULT_ALLOCATION, session_scenario);
}

static void first_session_scenario(void)
{
    disk_crashed(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    fault_begin();
    const struct status st = rig_session(&rig, 1);
    fault_end();
    assert_answer(st);
    if (!status_ok(st))
        assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_status(disk_write(0, 0, 4 * K, 0x11), STATUS_OK);
    assert_block(0, 0, 0x11);
    disk_end();
}

/* S5: a volume that the disk does not know yet is not half known afterwards. */
static void first_session_says_so(void **state)
{
    (void)state;
    disk_begin(4096);
    memset(content, 0, sizeof content);
    assert_status(rig_format(&rig), STATUS_OK);
    memcpy(crashed, content, sizeof crashed);
    rig_fini(&rig);
    fault_each(FAULT_ALLOCATION, first_session_scenario);
}

/* Writes where no shard is yet; without memory it fails alone, and nothing of it is there. */
static void write_new_shard(uint32_t shard, uint8_t fill)
{
    fault_begin();
    const struct status st = disk_write(shard, 128 * K, 12 * K, fill);
    fault_end();
    assert_answer(st);
    if (status_ok(st))
        return;
    for (uint64_t block = 32; block < 35; block++)
        assert_block(shard, block, 0);
    if (fault_is_once())
        assert_status(disk_write(shard, 128 * K, 12 * K, fill), STATUS_OK);
}

static void write_scenario(void)
{
    disk_crashed(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    write_new_shard(2, 0x66);
    write_new_shard(11, 0x77);
    assert_status(disk_write(0, 4 * K, 4 * K, 0x11), STATUS_OK);
    assert_filled();
    const bool all = fault_is_once() || !fault_happened();
    rig_abandon(&rig);

    /* The process was killed: what was answered is there, and nothing is half done. */
    disk_begin(4096);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_filled();
    if (all) {
        assert_block(2, 34, 0x66);
        assert_block(11, 32, 0x77);
    }
    disk_end();
}

/* A write that needs a shard or a layer fails alone, and is whole when it is repeated. */
static void write_fails_alone(void **state)
{
    (void)state;
    disk_make(4096);
    fault_each(FAULT_ALLOCATION, write_scenario);
}

#define SCATTERED_GRAINS  CELL_LISTS_CHUNK
#define SCATTERED_BYTES   ((uint64_t)128 << 20)
#define SCATTERED_AT(g)   (uint32_t)((g) / 32), (g) % 32 * 128 * K
#define SCATTERED_FILL(g) ((uint8_t)((g) % 250 + 1))

/*
 * A disk full of grains that have one cell each, of which so many then get another, which lies
 * elsewhere; the process is killed before the last ones do.
 */
static void disk_make_scattered(void)
{
    uint64_t all = 0;

    memset(content, 0, sizeof content);
    disk_begin(4096);
    rig.volume_bytes = SCATTERED_BYTES;
    assert_status(rig_format(&rig), STATUS_OK);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    while (status_ok(disk_write(SCATTERED_AT(all), 4 * K, SCATTERED_FILL(all))))
        all++;
    for (uint64_t g = all - SCATTERED_GRAINS; g < all; g++) {
        rig.shard = (uint32_t)(g / 32);
        assert_status(rig_do(&rig, STORE_OP_DEALLOCATE, g % 32 * 128 * K, 4 * K, 0), STATUS_OK);
    }
    rig_pass(&rig, 100 * NS_PER_MS);
    for (uint64_t g = 0; g < SCATTERED_GRAINS - 8; g++)
        assert_status(disk_write(SCATTERED_AT(g) + 16 * K, 4 * K, 0xff), STATUS_OK);
    memcpy(crashed, content, sizeof crashed);
    rig_abandon(&rig);
}

static void scattered_scenario(void)
{
    disk_crashed(4096);
    rig.volume_bytes = SCATTERED_BYTES;
    fault_begin();
    struct status st = rig_open(&rig);
    fault_end();
    assert_answer(st);
    if (!status_ok(st))
        assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    for (uint64_t g = SCATTERED_GRAINS - 8; g < SCATTERED_GRAINS; g++) {
        fault_begin();
        st = disk_write(SCATTERED_AT(g) + 16 * K, 4 * K, 0xff);
        fault_end();
        assert_answer(st);
        assert_block((uint32_t)(g / 32), g % 32 * 32 + 4, status_ok(st) ? 0xff : 0);
    }
    for (uint64_t g = 0; g < SCATTERED_GRAINS; g++) {
        assert_block((uint32_t)(g / 32), g % 32 * 32, SCATTERED_FILL(g));
        if (g < SCATTERED_GRAINS - 8)
            assert_block((uint32_t)(g / 32), g % 32 * 32 + 4, 0xff);
    }
    disk_end();
}

/* F28: a grain that must be scattered and cannot be remembered so fails that write alone. */
static void scattering_says_so(void **state)
{
    (void)state;
    disk_make_scattered();
    fault_each(FAULT_ALLOCATION, scattered_scenario);
}

static void work(uint8_t fill)
{
    assert_status(disk_write(0, 800 * K, 8 * K, fill), STATUS_OK);
    assert_status(disk_write(0, 800 * K, 8 * K, fill), STATUS_OK);
    assert_block(0, 200, fill);
    rig.shard = 0;
    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_WRITE_ZEROES, 804 * K, 4 * K, 0), STATUS_OK);
    assert_status(rig_do(&rig, STORE_OP_DEALLOCATE, 800 * K, 4 * K, 0), STATUS_OK);
}

/*
 * Commands, the settling of suspect regions, checkpoints and closing need no memory: what is
 * there goes on without.
 */
static void io_needs_no_memory(void **state)
{
    (void)state;
    for (atomic_bytes = 4096; atomic_bytes >= 512; atomic_bytes /= 8) {
        disk_make(atomic_bytes);
        disk_crashed(atomic_bytes);
        assert_status(rig_open(&rig), STATUS_OK);
        assert_status(rig_session(&rig, 1), STATUS_OK);
        const uint64_t before = fault_allocations();
        assert_filled();
        work(0x66);
        rig_pass(&rig, 100 * NS_PER_MS);
        work(0x77);
        rig_pass(&rig, 60 * NS_PER_S); /* Regions close. */
        assert_filled();
        assert_status(rig_do(&rig, STORE_OP_DELETE_VOLUME, 0, 0, 0), STATUS_OK);
        store_session_close(rig.session.session);
        assert_status(rig_close_store(&rig), STATUS_OK);
        assert_int_equal(fault_allocations(), before);
        assert_sound();
        rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_says_so),
        cmocka_unit_test(recovery_says_so),
        cmocka_unit_test(recovery_of_copies_says_so),
        cmocka_unit_test(check_blames_no_disk),
        cmocka_unit_test(session_open_says_so),
        cmocka_unit_test(first_session_says_so),
        cmocka_unit_test(write_fails_alone),
        cmocka_unit_test(scattering_says_so),
        cmocka_unit_test(io_needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Growing a disk while each allocation, or each operation of the device, fails in turn (F34, F35).
 */
#define RIG_CONTENT_BYTES ((uint64_t)48 << 20)

#include "store_disk.h"

#define GROWN_BYTES RIG_CONTENT_BYTES

static uint8_t initial[RIG_CONTENT_BYTES];
static uint8_t image[RIG_CONTENT_BYTES];

static uint64_t data_bytes(void)
{
    struct store_info info;

    store_get_info(rig.store, &info);
    return info.data_bytes;
}

/* The crashed disk, open, and its size. */
static uint64_t begin(uint32_t atomic_bytes)
{
    disk_crashed(atomic_bytes);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    return data_bytes();
}

/* What was there is there, the new space is used, and all of it is found again. */
static void use_and_end(void)
{
    const uint64_t bytes = data_bytes();

    assert_filled();
    assert_status(disk_write(3, 0, 512 * K, 0x66), STATUS_OK);
    store_session_close(rig.session.session);
    assert_status(rig_close_store(&rig), STATUS_OK);
    assert_sound();
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_int_equal(data_bytes(), bytes);
    assert_filled();
    assert_block(3, 127, 0x66);
    disk_end();
}

static void memory_scenario(void)
{
    const uint64_t before = begin(4096);

    fault_begin();
    const struct status st = rig_grow(&rig, GROWN_BYTES);
    fault_end();
    assert_true(status_ok(st) || fault_happened());
    if (!status_ok(st)) {
        assert_status(st, STATUS_NO_MEMORY);
        assert_non_null(strstr(rig.grown.problem, "serves on at its old size"));
        assert_int_equal(data_bytes(), before);
        assert_filled();
        assert_status(rig_grow(&rig, GROWN_BYTES), STATUS_OK);
    }
    assert_true(data_bytes() > before);
    use_and_end();
}

/* Without memory the disk serves on as it was, and grows when there is some. */
static void growth_without_memory(void **state)
{
    (void)state;
    disk_make(4096);
    fault_each(FAULT_ALLOCATION, memory_scenario);
    checksum_memory = (uint64_t)3 * 4096;
    fault_each(FAULT_ALLOCATION, memory_scenario);
    checksum_memory = 0;
}

static uint32_t atomic_bytes;
static bool power;
static bool only_allocations;
static bool others_failed;

static bool io_fails(const struct dev_io *io)
{
    if (io->kind != DEV_KIND_ALLOCATE && only_allocations)
        return false;
    if (!fault_hits(FAULT_IO))
        return false;
    others_failed |= io->kind != DEV_KIND_ALLOCATE;
    return true;
}

static void reopen_after_death(uint64_t before, uint64_t said)
{
    if (power)
        rig_image(&rig, rig.event_count, true, 7, image);
    else
        memcpy(image, content, sizeof image);
    rig_abandon(&rig);
    memcpy(content, image, sizeof content);
    disk_begin(atomic_bytes);
    rig.boot.b[0] = power ? 2 : 1;
    rig_set_bytes(&rig, GROWN_BYTES);
    assert_status(rig_open(&rig), STATUS_OK);
    assert_status(rig_session(&rig, 1), STATUS_OK);
    assert_true(data_bytes() == before ||
                data_bytes() > before + (GROWN_BYTES - RIG_DEVICE_BYTES) / 2);
    assert_true(data_bytes() >= said);
    if (data_bytes() == before)
        assert_status(rig_grow(&rig, GROWN_BYTES), STATUS_OK);
    use_and_end();
}

static void io_scenario(void)
{
    const uint64_t before = begin(atomic_bytes);
    struct store_info info;

    assert_status(rig_do(&rig, STORE_OP_FLUSH, 0, 0, 0), STATUS_OK);
    memset(initial, 0, sizeof initial);
    rig.initial = initial;
    rig.initial_borrowed = true;
    rig_record(&rig);
    others_failed = false;
    rig.fails = io_fails;
    fault_begin();
    const struct status st = rig_grow(&rig, GROWN_BYTES);
    fault_end();
    rig.fails = NULL;
    assert_true(status_ok(st) == !fault_happened());
    store_get_info(rig.store, &info);
    /* Whatever wrote metadata or flushed has failed the disk; want of space has not. */
    assert_true(status_ok(st) || info.failed == others_failed);
    assert_true(status_ok(st) ? data_bytes() > before : data_bytes() == before);
    if (!status_ok(st))
        assert_true(rig.grown.problem[0] != '\0');
    assert_filled();
    reopen_after_death(before, status_ok(st) ? data_bytes() : 0);
}

/* A growth that an operation of the disk ends leaves it as it was, or as it shall be. */
static void growth_with_failing_io(void **state)
{
    (void)state;
    for (atomic_bytes = 4096; atomic_bytes >= 512; atomic_bytes /= 8) {
        disk_make(atomic_bytes);
        for (unsigned way = 0; way < 4; way++) {
            power = (way & 1) != 0;
            only_allocations = (way & 2) != 0;
            fault_each(FAULT_IO, io_scenario);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_without_memory),
        cmocka_unit_test(growth_with_failing_io),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

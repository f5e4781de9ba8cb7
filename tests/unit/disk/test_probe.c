/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/probe.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/superblock.h"

static char path[64];
static int fd;

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/trilith-unit-XXXXXX");
    fd = mkstemp(path);
    return fd >= 0 && ftruncate(fd, 4 << 20) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(fd);
    unlink(path);
    return 0;
}

static void put(off_t offset, const void *bytes, size_t count)
{
    assert_int_equal(pwrite(fd, bytes, count, offset), count);
}

static struct disk_probe probed(void)
{
    struct disk_probe p;
    memset(&p, 0xee, sizeof p);
    assert_true(status_ok(disk_probe(path, &p)));
    return p;
}

/* Zeros, noise and an empty file are nobody's. */
static void nothing(void **state)
{
    (void)state;
    uint8_t noise[512];
    assert_false(probed().is_foreign);
    memset(noise, 0xa7, sizeof noise);
    put(4096, noise, sizeof noise);
    const struct disk_probe p = probed();
    assert_false(p.is_foreign);
    assert_string_equal(p.what, "");
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_false(probed().is_foreign);
}

/* An ext2 superblock, as far as it is looked at, is named with its label. */
static void file_system(void **state)
{
    (void)state;
    uint8_t super[1024] = { 0 };
    super[0x04] = 0x00; /* s_blocks_count: 0x400 blocks of 1 KiB. */
    super[0x05] = 0x04;
    super[0x38] = 0x53; /* s_magic. */
    super[0x39] = 0xef;
    super[0x4c] = 1; /* s_rev_level: dynamic. */
    memcpy(&super[0x78], "quarry", 6);
    put(1024, super, sizeof super);
    const struct disk_probe p = probed();
    assert_true(p.is_foreign);
    assert_string_equal(p.what, "ext2 file system 'quarry'");
}

/* A partition table is named even if no partition holds anything. */
static void partition_table(void **state)
{
    (void)state;
    uint8_t mbr[512] = { 0 };
    mbr[446 + 4] = 0x83; /* One partition of type Linux, from sector 2048, 2048 sectors. */
    mbr[446 + 9] = 0x08;
    mbr[446 + 13] = 0x08;
    mbr[510] = 0x55;
    mbr[511] = 0xaa;
    put(0, mbr, sizeof mbr);
    const struct disk_probe p = probed();
    assert_true(p.is_foreign);
    assert_string_equal(p.what, "dos partition table");
}

/* What hosts have written at a place where others look for marks does not make a disk of ours
 * foreign, unless one of the superblocks is gone as well. */
static void ours(void **state)
{
    (void)state;
    const uint64_t bytes = 16 << 20;
    const off_t last = (off_t)bytes - (8 << 10); /* Where md 1.0 has its mark. */
    struct superblock sb = { .sequence = 1,
                             .device_bytes = bytes,
                             .tag = 1,
                             .atomic_bytes = 4096,
                             .incarnation = 1,
                             .checkpoint_sequence = 1,
                             .checkpoint_blocks = 1,
                             .journal_start = 1 };
    uint8_t block[SUPERBLOCK_BYTES];
    const uint8_t magic_and_version[8] = { 0xfc, 0x4e, 0x2b, 0xa9, 1 };
    const uint8_t sector[8] = { 0xf0, 0x7f }; /* Of the mark itself. */
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    assert_true(status_ok(disk_layout_make(bytes, &sb.layout)));
    superblock_encode(&sb, (struct span) { block, sizeof block });
    put(0, block, sizeof block);
    put(SUPERBLOCK_BYTES, block, sizeof block);
    put(last, magic_and_version, sizeof magic_and_version);
    put(last + 144, sector, sizeof sector);
    assert_false(probed().is_foreign);
    block[100] ^= 1;
    put(0, block, sizeof block);
    const struct disk_probe p = probed();
    assert_true(p.is_foreign);
    assert_string_equal(p.what, "linux_raid_member member");
}

/* Swap is no file system, and is told apart. */
static void swap(void **state)
{
    (void)state;
    const uint8_t version_and_last_page[8] = { 1, 0, 0, 0, 0xff, 0x03, 0, 0 };
    put(4096 - 10, "SWAPSPACE2", 10);
    put(1024, version_and_last_page, sizeof version_and_last_page);
    const struct disk_probe p = probed();
    assert_true(p.is_foreign);
    assert_string_equal(p.what, "swap signature");
}

/* What is not there, and what is no file or device, is said so. */
static void refusals(void **state)
{
    (void)state;
    struct disk_probe p;
    assert_true(status_is(disk_probe("/tmp/trilith-unit-none", &p), STATUS_NOT_FOUND));
    assert_true(status_is(disk_probe("/tmp", &p), STATUS_INVALID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(file_system, setup, teardown),
        cmocka_unit_test_setup_teardown(partition_table, setup, teardown),
        cmocka_unit_test_setup_teardown(ours, setup, teardown),
        cmocka_unit_test_setup_teardown(swap, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

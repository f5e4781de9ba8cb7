/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/dev.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/no_log.h"
#include "disk/dev_fault.h"
#include "io/uring.h"

#define DISK_BYTES ((uint64_t)1 << 20)
#define BLOCK      ((size_t)4096)

static struct reactor *r;
static struct dev *dev;
static char folder[64];
static char path[80];
static uint8_t *out_block;
static uint8_t *in_block;
static unsigned awaited;
static bool in_start;

static uint64_t features_mask; /* Of the reactor of the next setup. */

static struct log silent = { .level = LOG_LEVEL_ERROR, .sink = no_log };

static int setup(void **state)
{
    (void)state;
    const struct uring_config config = { .features_mask = features_mask, .log = &silent };
    out_block = aligned_alloc(BLOCK, 4 * BLOCK);
    in_block = aligned_alloc(BLOCK, 4 * BLOCK);
    snprintf(folder, sizeof folder, "/tmp/trilith-unit-XXXXXX");
    if (out_block == NULL || in_block == NULL || mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/disk", folder);
    return status_ok(uring_reactor_create(&config, &r)) ? 0 : -1;
}

static int setup_file(void **state)
{
    if (setup(state) != 0)
        return -1;
    return status_ok(dev_file_open(r, path, DISK_BYTES, true, &dev)) ? 0 : -1;
}

static int setup_mem(void **state)
{
    if (setup(state) != 0)
        return -1;
    return status_ok(dev_mem_open(r, DISK_BYTES, NULL, &dev)) ? 0 : -1;
}

static int setup_fault(void **state)
{
    struct dev *inner;
    if (setup(state) != 0 || !status_ok(dev_mem_open(r, DISK_BYTES, NULL, &inner)))
        return -1;
    return status_ok(dev_fault_open(inner, &dev)) ? 0 : -1;
}

/*
 * A loop device over a file stands for a disk.  Only root can make one, and not in every
 * container: elsewhere the device stays NULL and the tests of it are skipped.
 */
static int loop_fd = -1;
static char loop_path[32];

static void attach_loop(void)
{
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;

    if (number >= 0 && file >= 0 && ftruncate(file, DISK_BYTES) == 0) {
        snprintf(loop_path, sizeof loop_path, "/dev/loop%d", number);
        loop_fd = open(loop_path, O_RDWR | O_CLOEXEC);
        struct loop_config config = { .fd = (uint32_t)file, .block_size = 512 };
        if (loop_fd >= 0 && ioctl(loop_fd, LOOP_CONFIGURE, &config) != 0) {
            close(loop_fd);
            loop_fd = -1;
        }
    }
    close(control);
    close(file);
}

static int setup_block(void **state)
{
    if (setup(state) != 0)
        return -1;
    attach_loop();
    if (loop_fd < 0)
        return 0;
    return status_ok(dev_file_open(r, loop_path, 0, true, &dev)) ? 0 : -1;
}

/* As on a kernel that says less of the device. */
static int setup_block_5_14(void **state)
{
    uint64_t features = 0;

    if (!status_ok(uring_features_parse("5.14", &features)))
        return -1;
    features_mask = URING_FEATURES_ALL & ~features;
    return setup_block(state);
}

static int teardown(void **state)
{
    (void)state;
    features_mask = 0;
    dev_close(dev);
    dev = NULL;
    reactor_destroy(r);
    free(in_block);
    free(out_block);
    unlink(path);
    rmdir(folder);
    return 0;
}

static int teardown_block(void **state)
{
    const int ret = teardown(state);
    if (loop_fd >= 0) {
        ioctl(loop_fd, LOOP_CLR_FD);
        close(loop_fd);
        loop_fd = -1;
    }
    return ret;
}

static void on_done(struct dev_io *io)
{
    (void)io;
    assert_false(in_start);
    if (--awaited == 0)
        reactor_stop(r);
}

static enum status_code await(struct dev_io *io)
{
    in_start = false;
    awaited = 1;
    reactor_run(r);
    assert_ptr_equal(io->dev, dev); /* Also where a wrapper stood in between. */
    return io->status.code;
}

static enum status_code write_blocks(uint64_t offset, size_t bytes, uint8_t fill, bool fua)
{
    struct dev_io io;
    memset(out_block, fill, bytes);
    in_start = true;
    dev_write(dev, &io, offset, (struct const_span) { out_block, bytes }, fua, on_done);
    return await(&io);
}

static enum status_code read_blocks(uint64_t offset, size_t bytes)
{
    struct dev_io io;
    memset(in_block, 0xee, bytes);
    in_start = true;
    dev_read(dev, &io, offset, (struct span) { in_block, bytes }, on_done);
    return await(&io);
}

static enum status_code flush(void)
{
    struct dev_io io;
    in_start = true;
    dev_flush(dev, &io, on_done);
    return await(&io);
}

static enum status_code discard(uint64_t offset, uint64_t bytes)
{
    struct dev_io io;
    in_start = true;
    dev_discard(dev, &io, offset, bytes, on_done);
    return await(&io);
}

/* Every backend gives back what was written, counts what it was asked, and never calls back
 * before the request was started. */
static void write_flush_read(void **state)
{
    (void)state;
    assert_int_equal(dev->info.bytes, DISK_BYTES);
    assert_int_equal(BLOCK % dev->info.align_bytes, 0);
    assert_true(dev->info.atomic_bytes >= 512);
    assert_int_equal(write_blocks(BLOCK, 2 * BLOCK, 0x11, false), STATUS_OK);
    assert_int_equal(write_blocks(2 * BLOCK, BLOCK, 0x22, true), STATUS_OK);
    assert_int_equal(flush(), STATUS_OK);
    assert_int_equal(read_blocks(0, 4 * BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 0);
    assert_int_equal(in_block[BLOCK], 0x11);
    assert_int_equal(in_block[2 * BLOCK], 0x22);
    assert_int_equal(in_block[3 * BLOCK], 0);
    assert_int_equal(discard(0, 8 * BLOCK), STATUS_OK);
    assert_int_equal(dev->stats.writes, 2);
    assert_int_equal(dev->stats.write_bytes, 3 * BLOCK);
    assert_int_equal(dev->stats.reads, 1);
    assert_int_equal(dev->stats.read_bytes, 4 * BLOCK);
    assert_int_equal(dev->stats.flushes, 1);
    assert_int_equal(dev->stats.discards, 1);
    assert_int_equal(dev->stats.errors, 0);
    assert_int_equal(dev->load.ops, 2); /* Not the FUA write, the flush and the discard. */
    assert_int_equal(dev->load.in_flight, 0);
    assert_int_equal(dev->load.read_errors + dev->load.write_errors, 0);
}

/* A file is found again with its content, is locked while open, and is not created unasked. */
static void file_reopened(void **state)
{
    (void)state;
    struct dev *second = NULL;
    assert_string_equal(dev->info.backend, "file");
    assert_string_equal(dev->info.path, path);
    assert_int_equal(write_blocks(0, BLOCK, 0x33, true), STATUS_OK);
    assert_true(status_is(dev_file_open(r, path, 0, true, &second), STATUS_BUSY));
    dev_close(dev);
    dev = NULL;
    assert_true(status_ok(dev_file_open(r, path, 2 * DISK_BYTES, false, &dev)));
    assert_int_equal(dev->info.bytes, DISK_BYTES); /* It was there: its size stays. */
    assert_int_equal(read_blocks(0, BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 0x33);
    assert_true(
        status_is(dev_file_open(r, "/tmp/trilith-unit-none", 0, true, &second), STATUS_NOT_FOUND));
}

/* Space that was asked for is there, in a sparse file, too; what was written stays. */
static void file_space_is_allocated(void **state)
{
    (void)state;
    struct dev_io io;
    struct stat st;
    assert_int_equal(write_blocks(BLOCK, BLOCK, 0x44, false), STATUS_OK);
    in_start = true;
    dev_allocate(dev, &io, 0, 16 * BLOCK, on_done);
    assert_int_equal(await(&io), STATUS_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 >= 16 * BLOCK);
    assert_int_equal(st.st_size, DISK_BYTES);
    assert_int_equal(read_blocks(0, 2 * BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 0);
    assert_int_equal(in_block[BLOCK], 0x44);
}

/* What was added at the end is seen when asked for, through the fault wrapper too, and is used. */
static void file_becomes_larger(void **state)
{
    (void)state;
    struct dev *wrapper;
    assert_true(status_ok(dev_fault_open(dev, &wrapper)));
    dev = wrapper;
    assert_true(status_ok(dev_refresh(dev)));
    assert_int_equal(dev->info.bytes, DISK_BYTES);
    assert_int_equal(truncate(path, 3 * DISK_BYTES + 100), 0);
    assert_int_equal(dev->info.bytes, DISK_BYTES);
    assert_true(status_ok(dev_refresh(dev)));
    assert_int_equal(dev->info.bytes, 3 * DISK_BYTES);
    assert_int_equal(write_blocks(3 * DISK_BYTES - BLOCK, BLOCK, 0x77, false), STATUS_OK);
    assert_int_equal(read_blocks(3 * DISK_BYTES - BLOCK, BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 0x77);
    /* What became smaller is told, and the size that it was opened with stays. */
    assert_int_equal(truncate(path, 2 * DISK_BYTES), 0);
    assert_int_equal(dev_refresh(dev).code, STATUS_OUT_OF_RANGE);
    assert_int_equal(dev->info.bytes, 3 * DISK_BYTES);
}

/* Memory stays as it is. */
static void mem_never_changes(void **state)
{
    (void)state;
    assert_true(status_ok(dev_refresh(dev)));
    assert_int_equal(dev->info.bytes, DISK_BYTES);
}

/* What the kernel refuses, here a write to a file opened for reading, is an error and counted. */
static void file_error(void **state)
{
    (void)state;
    dev_close(dev);
    dev = NULL;
    assert_true(status_ok(dev_file_open(r, path, 0, false, &dev)));
    assert_int_not_equal(write_blocks(0, BLOCK, 1, false), STATUS_OK);
    assert_int_equal(dev->stats.errors, 1);
    assert_int_equal(dev->load.write_errors, 1);
}

/* A block device tells its size, sectors and kind, and gives discarded space back. */
static void block_device(void **state)
{
    struct stat before;
    struct stat after;

    if (dev == NULL) {
        skip(); /* Not root, or no loop devices. */
        return;
    }
    assert_string_equal(dev->info.backend, "block");
    assert_int_equal(dev->info.align_bytes, 512);
    write_flush_read(state);

    assert_int_equal(write_blocks(0, 4 * BLOCK, 0x66, true), STATUS_OK);
    assert_int_equal(flush(), STATUS_OK);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(discard(0, 2 * BLOCK), STATUS_OK);
    assert_int_equal(stat(path, &after), 0);
    if (dev->info.can_discard)
        assert_true(after.st_blocks < before.st_blocks);
    assert_int_equal(read_blocks(2 * BLOCK, BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 0x66);
}

/* A block device that becomes larger while it is open says so. */
static void block_device_becomes_larger(void **state)
{
    (void)state;
    if (dev == NULL) {
        skip();
        return;
    }
    assert_int_equal(dev->info.bytes, DISK_BYTES);
    assert_int_equal(truncate(path, 2 * DISK_BYTES), 0);
    assert_int_equal(ioctl(loop_fd, LOOP_SET_CAPACITY, 0), 0);
    assert_true(status_ok(dev_refresh(dev)));
    assert_int_equal(dev->info.bytes, 2 * DISK_BYTES);
    assert_int_equal(write_blocks(2 * DISK_BYTES - BLOCK, BLOCK, 0x77, true), STATUS_OK);
}

/* A block device that is open cannot be opened again. */
static void block_device_exclusive(void **state)
{
    (void)state;
    struct dev *second = NULL;
    if (dev == NULL) {
        skip();
        return;
    }
    assert_true(status_is(dev_file_open(r, loop_path, 0, false, &second), STATUS_BUSY));
    assert_null(second);
}

/* Memory that the caller lends is the device, before and after. */
static void mem_backing(void **state)
{
    (void)state;
    static uint8_t backing[4 * 4096];
    dev_close(dev);
    dev = NULL;
    backing[BLOCK] = 0x44;
    assert_true(status_ok(dev_mem_open(r, sizeof backing, backing, &dev)));
    assert_int_equal(read_blocks(BLOCK, BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 0x44);
    assert_int_equal(write_blocks(0, BLOCK, 0x55, false), STATUS_OK);
    assert_int_equal(backing[0], 0x55);
}

static void add(struct dev_fault f)
{
    assert_true(status_ok(dev_fault_add(dev, &f)));
}

/* An error hits the requests that it is told to, counted from its skip on, and only those. */
static void fault_error(void **state)
{
    (void)state;
    add((struct dev_fault) { .action = DEV_FAULT_ERROR,
                             .kinds = DEV_FAULT_WRITES,
                             .skip = 1,
                             .count = 1,
                             .status = STATUS(MEDIA_WRITE) });
    assert_int_equal(write_blocks(0, BLOCK, 1, false), STATUS_OK);
    assert_int_equal(read_blocks(0, BLOCK), STATUS_OK);
    assert_int_equal(write_blocks(0, BLOCK, 2, false), STATUS_MEDIA_WRITE);
    assert_int_equal(write_blocks(BLOCK, BLOCK, 3, false), STATUS_OK);
    assert_int_equal(read_blocks(0, BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 1); /* The failed write did not reach the device. */
    assert_int_equal(dev_fault_hits(dev), 1);
    assert_int_equal(dev->stats.errors, 1);
    assert_int_equal(dev->load.ops, 5); /* Once each, though two devices see them. */
    assert_int_equal(dev->load.in_flight, 0);
    assert_int_equal(dev->load.write_errors, 1);
}

/* A range limits a fault to the requests that touch it; flushes touch every range. */
static void fault_range(void **state)
{
    (void)state;
    add((struct dev_fault) { .action = DEV_FAULT_ERROR,
                             .kinds = DEV_FAULT_ALL,
                             .offset = 2 * BLOCK,
                             .bytes = BLOCK,
                             .status = STATUS(IO) });
    assert_int_equal(write_blocks(0, 2 * BLOCK, 1, false), STATUS_OK);
    assert_int_equal(write_blocks(0, 3 * BLOCK, 1, false), STATUS_IO);
    assert_int_equal(read_blocks(3 * BLOCK, BLOCK), STATUS_OK);
    assert_int_equal(read_blocks(2 * BLOCK, BLOCK), STATUS_IO);
    assert_int_equal(flush(), STATUS_IO);
    dev_fault_clear(dev);
    assert_int_equal(read_blocks(2 * BLOCK, BLOCK), STATUS_OK);
}

/* A lost write is acknowledged, and the device has the old bytes. */
static void fault_lost_write(void **state)
{
    (void)state;
    assert_int_equal(write_blocks(0, BLOCK, 1, false), STATUS_OK);
    add((struct dev_fault) { .action = DEV_FAULT_LOSE, .kinds = DEV_FAULT_WRITES, .count = 1 });
    assert_int_equal(write_blocks(0, BLOCK, 2, false), STATUS_OK);
    assert_int_equal(read_blocks(0, BLOCK), STATUS_OK);
    assert_int_equal(in_block[0], 1);
}

/* Rot changes what is read in its range and nowhere else, until the range is written again. */
static void fault_rot(void **state)
{
    (void)state;
    assert_int_equal(write_blocks(0, 4 * BLOCK, 9, false), STATUS_OK);
    add((struct dev_fault) { .action = DEV_FAULT_ROT, .offset = BLOCK + 7, .bytes = 2 * BLOCK });
    assert_int_equal(read_blocks(0, 4 * BLOCK), STATUS_OK);
    for (size_t i = 0; i < 4 * BLOCK; i++)
        assert_int_equal(in_block[i] != 9, i >= BLOCK + 7 && i < 3 * BLOCK + 7);

    /* The middle block is renewed; what lies before and behind it stays rotten. */
    assert_int_equal(write_blocks(2 * BLOCK, BLOCK, 8, false), STATUS_OK);
    assert_int_equal(read_blocks(0, 4 * BLOCK), STATUS_OK);
    assert_int_not_equal(in_block[BLOCK + 7], 9);
    assert_int_equal(in_block[2 * BLOCK], 8);
    assert_int_equal(in_block[3 * BLOCK - 1], 8);
    assert_int_not_equal(in_block[3 * BLOCK + 6], 9);
    assert_int_equal(in_block[3 * BLOCK + 7], 9);
    assert_int_equal(write_blocks(0, 4 * BLOCK, 7, false), STATUS_OK);
    assert_int_equal(read_blocks(0, 4 * BLOCK), STATUS_OK);
    for (size_t i = 0; i < 4 * BLOCK; i++)
        assert_int_equal(in_block[i], 7);
}

/* A delayed request takes its time and then succeeds. */
static void fault_delay(void **state)
{
    (void)state;
    add((struct dev_fault) { .action = DEV_FAULT_DELAY,
                             .kinds = DEV_FAULT_FLUSHES,
                             .count = 1,
                             .delay_ns = 10 * NS_PER_MS });
    const uint64_t from_ns = reactor_clock_ns(r);
    assert_int_equal(flush(), STATUS_OK);
    assert_true(reactor_clock_ns(r) - from_ns >= 10 * NS_PER_MS);
}

static void hold_over(struct io_timer *t)
{
    (void)t;
    assert_int_equal(awaited, 1);
    dev_fault_clear(dev);
}

/* A held request waits until the faults are cleared. */
static void fault_hold(void **state)
{
    (void)state;
    struct io_timer t;
    add((struct dev_fault) { .action = DEV_FAULT_HOLD, .kinds = DEV_FAULT_READS });
    io_timer_init(&t, hold_over);
    io_timer_arm(&t, r, reactor_clock_ns(r) + 10 * NS_PER_MS);
    assert_int_equal(read_blocks(0, BLOCK), STATUS_OK);
    assert_false(io_timer_armed(&t));
}

/* The number of faults has a limit. */
static void fault_limit(void **state)
{
    (void)state;
    const struct dev_fault f = { .action = DEV_FAULT_HOLD };
    for (unsigned i = 0; i < DEV_FAULTS_MAX; i++)
        assert_true(status_ok(dev_fault_add(dev, &f)));
    assert_true(status_is(dev_fault_add(dev, &f), STATUS_LIMIT));
    dev_fault_clear(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(write_flush_read, setup_file, teardown),
        cmocka_unit_test_setup_teardown(write_flush_read, setup_mem, teardown),
        cmocka_unit_test_setup_teardown(write_flush_read, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(file_reopened, setup_file, teardown),
        cmocka_unit_test_setup_teardown(file_space_is_allocated, setup_file, teardown),
        cmocka_unit_test_setup_teardown(file_becomes_larger, setup_file, teardown),
        cmocka_unit_test_setup_teardown(mem_never_changes, setup_mem, teardown),
        cmocka_unit_test_setup_teardown(file_error, setup_file, teardown),
        cmocka_unit_test_setup_teardown(block_device, setup_block, teardown_block),
        cmocka_unit_test_setup_teardown(block_device, setup_block_5_14, teardown_block),
        cmocka_unit_test_setup_teardown(block_device_becomes_larger, setup_block, teardown_block),
        cmocka_unit_test_setup_teardown(block_device_exclusive, setup_block, teardown_block),
        cmocka_unit_test_setup_teardown(mem_backing, setup_mem, teardown),
        cmocka_unit_test_setup_teardown(fault_error, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(fault_range, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(fault_lost_write, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(fault_rot, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(fault_delay, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(fault_hold, setup_fault, teardown),
        cmocka_unit_test_setup_teardown(fault_limit, setup_fault, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uring_harness.h"

#include "io/buf.h"
#include "io/op.h"

#define FILE_BYTES ((uint64_t)1 << 20)

static struct reactor *r;
static char folder[64];
static char path[80];
static uint8_t *block; /* 64 KiB, aligned for direct I/O. */
static unsigned awaited;

/* What the kernel shall say of a file instead of what it says; a mask of 0: that it knows nothing.
 */
static struct {
    bool active;
    uint32_t mask, mem_align_bytes, offset_align_bytes, atomic_bytes;
} said;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

/* The linker sends the calls of io here (--wrap): statx() of fields that libc does not know. */
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    const long result = __real_syscall(number, a, b, c, d, e, f);
    uint8_t *const sx = (uint8_t *)(uintptr_t)e;

    if (!said.active || number != SYS_statx)
        return result;
    /* Linux, include/uapi/linux/stat.h: stx_mask, stx_dio_*_align, stx_atomic_write_unit_max. */
    memcpy(sx, &said.mask, sizeof said.mask);
    memcpy(sx + 0x98, &said.mem_align_bytes, sizeof said.mem_align_bytes);
    memcpy(sx + 0x9c, &said.offset_align_bytes, sizeof said.offset_align_bytes);
    memcpy(sx + 0xac, &said.atomic_bytes, sizeof said.atomic_bytes);
    return result;
}

static int setup(void **state)
{
    (void)state;
    r = harness_reactor();
    block = aligned_alloc(4096, 65536);
    snprintf(folder, sizeof folder, "/tmp/trilith-unit-XXXXXX");
    if (block == NULL || mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/disk", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    said.active = false;
    unlink(path);
    rmdir(folder);
    free(block);
    reactor_destroy(r);
    return 0;
}

static void on_done(struct io_op *op)
{
    (void)op;
    if (--awaited == 0)
        reactor_stop(r);
}

static int64_t await(struct io_op *op)
{
    assert_true(op->in_flight);
    awaited = 1;
    harness_run(r);
    return op->result;
}

static int open_disk(unsigned flags, struct io_file_info *out_info)
{
    int fd = -1;
    assert_true(status_ok(
        io_file_open(r, path, flags | IO_OPEN_WRITE | IO_OPEN_CREATE, FILE_BYTES, &fd, out_info)));
    return fd;
}

static int64_t write_block(int fd, uint64_t offset, size_t bytes, uint8_t fill, unsigned flags)
{
    struct io_op op;
    memset(block, fill, bytes);
    io_op_write(&op, r, fd, (struct const_span) { block, bytes }, offset, flags, on_done);
    return await(&op);
}

static int64_t read_block(int fd, uint64_t offset, size_t bytes)
{
    struct io_op op;
    memset(block, 0xee, bytes);
    io_op_read(&op, r, fd, (struct span) { block, bytes }, offset, on_done);
    return await(&op);
}

/* A new file has its size and no blocks; what is written is read back; flush and FUA succeed. */
static void write_and_read(void **state)
{
    (void)state;
    struct io_file_info info;
    struct stat st;
    struct io_op op;
    const int fd = open_disk(IO_OPEN_DIRECT, &info);
    assert_int_equal(info.bytes, FILE_BYTES);
    assert_false(info.is_block_device);
    assert_true(info.align_bytes >= 512 && info.align_bytes <= 4096);
    assert_true(info.physical_bytes >= 512);
    assert_true(info.has_volatile_cache);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);

    assert_int_equal(write_block(fd, 8192, 16384, 0x5a, 0), 16384);
    io_op_fsync(&op, r, fd, on_done);
    assert_int_equal(await(&op), 0);
    assert_int_equal(write_block(fd, 32768, 4096, 0xa5, IO_WRITE_DSYNC), 4096);
    assert_int_equal(read_block(fd, 8192, 16384), 16384);
    assert_int_equal(block[0], 0x5a);
    assert_int_equal(block[16383], 0x5a);
    assert_int_equal(read_block(fd, 32768, 8192), 8192);
    assert_int_equal(block[0], 0xa5);
    assert_int_equal(block[4096], 0);
    io_close(r, fd);
}

/* What a file of a kernel that says these things is taken for. */
static struct io_file_info info_when_said(uint32_t mask, uint32_t mem_align_bytes,
                                          uint32_t offset_align_bytes, uint32_t atomic_bytes)
{
    struct io_file_info info;

    said.active = true;
    said.mask = mask;
    said.mem_align_bytes = mem_align_bytes;
    said.offset_align_bytes = offset_align_bytes;
    said.atomic_bytes = atomic_bytes;
    io_close(r, open_disk(IO_OPEN_DIRECT, &info));
    return info;
}

/* Alignment and atomic write size are what the kernel says, unless it does not, or that feature is
 * taken away: then no device needs more, and nothing is known. */
static void what_the_kernel_says_of_a_file(void **state)
{
    (void)state;
    const uint32_t dio_align = 0x2000, write_atomic = 0x10000, both = dio_align | write_atomic;
    const uint64_t used = uring_reactor_features(r);
    const bool asks_align = (used & URING_FEATURE_DIO_ALIGN) != 0;
    const bool asks_atomic = (used & URING_FEATURE_WRITE_ATOMIC) != 0;
    struct io_file_info info;
    const int fd = open_disk(IO_OPEN_DIRECT, &info);
    const bool direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;

    io_close(r, fd);
    assert_int_equal(asks_align, harness_mask == 0);
    assert_int_equal(asks_atomic, harness_mask == 0);
    if (!direct)
        skip(); /* The file system under /tmp has no direct I/O. */
    info = info_when_said(both, 4, 1024, 16384);
    assert_int_equal(info.align_bytes, asks_align ? 1024 : 4096);
    assert_int_equal(info.atomic_bytes, asks_atomic ? 16384 : 0);
    info = info_when_said(dio_align, 2048, 512, 16384);
    assert_int_equal(info.align_bytes, asks_align ? 2048 : 4096);
    assert_int_equal(info.atomic_bytes, 0);
    info = info_when_said(write_atomic, 512, 512, 8192);
    assert_int_equal(info.align_bytes, 4096);
    assert_int_equal(info.atomic_bytes, asks_atomic ? 8192 : 0);
}

/* Reading past the end is an I/O error, also when the beginning is inside. */
static void past_the_end(void **state)
{
    (void)state;
    struct io_file_info info;
    const int fd = open_disk(IO_OPEN_DIRECT, &info);
    assert_int_equal(read_block(fd, FILE_BYTES, 4096), -EIO);
    assert_int_equal(read_block(fd, FILE_BYTES - 4096, 8192), -EIO);
    assert_int_equal(read_block(fd, FILE_BYTES - 4096, 4096), 4096);
    io_close(r, fd);
}

/* A short write of the kernel goes on, and the error that stops it is the outcome. */
static void short_write_goes_on(void **state)
{
    (void)state;
    struct io_file_info info;
    struct rlimit saved;
    const int fd = open_disk(0, &info);
    /* The limit lets half of the write through; the second half gets EFBIG. */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    const struct rlimit half = { .rlim_cur = FILE_BYTES + 8192, .rlim_max = saved.rlim_max };
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &half), 0);
    const int64_t result = write_block(fd, FILE_BYTES, 16384, 1, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    assert_int_equal(result, -EFBIG);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, FILE_BYTES + 8192);
    io_close(r, fd);
}

/* A discarded range of a file gives its blocks back, reads as zeros, and keeps the size. */
static void discard(void **state)
{
    (void)state;
    struct io_file_info info;
    struct stat before;
    struct stat after;
    struct io_op op;
    const int fd = open_disk(0, &info);
    assert_int_equal(write_block(fd, 0, 65536, 7, IO_WRITE_DSYNC), 65536);
    assert_int_equal(fstat(fd, &before), 0);
    io_op_discard(&op, r, fd, 0, 32768, on_done);
    const int64_t result = await(&op);
    if (result == -EOPNOTSUPP)
        skip(); /* The file system under /tmp has no holes. */
    assert_int_equal(result, 0);
    assert_int_equal(fstat(fd, &after), 0);
    assert_true(after.st_blocks < before.st_blocks);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(read_block(fd, 0, 4096), 4096);
    assert_int_equal(block[0], 0);
    assert_int_equal(read_block(fd, 32768, 4096), 4096);
    assert_int_equal(block[0], 7);
    io_close(r, fd);
}

/* A locked file is BUSY for a second opener in the same process too, until it is closed. */
static void lock(void **state)
{
    (void)state;
    struct io_file_info info;
    int second = -1;
    const int fd = open_disk(IO_OPEN_LOCK, &info);
    assert_true(status_is(io_file_open(r, path, IO_OPEN_LOCK, 0, &second, &info), STATUS_BUSY));
    assert_int_equal(second, -1);
    io_close(r, fd);
    assert_true(status_ok(io_file_open(r, path, IO_OPEN_LOCK, 0, &second, &info)));
    io_close(r, second);
}

/* Each way in which a path cannot be opened has its own status. */
static void refusals(void **state)
{
    (void)state;
    struct io_file_info info;
    int fd = -1;
    assert_true(status_is(io_file_open(r, path, 0, 0, &fd, &info), STATUS_NOT_FOUND));
    assert_true(status_is(io_file_open(r, folder, 0, 0, &fd, &info), STATUS_INVALID));
    io_close(r, open_disk(0, &info));
    assert_true(status_is(io_file_open(r, path, IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE,
                                       FILE_BYTES, &fd, &info),
                          STATUS_EXISTS));
    assert_int_equal(fd, -1);
}

/* A file that is there keeps its size and content; create_bytes is for new and empty ones. */
static void existing_file_keeps_its_size(void **state)
{
    (void)state;
    struct io_file_info info;
    int fd = open_disk(0, &info);
    assert_int_equal(write_block(fd, 0, 4096, 9, 0), 4096);
    io_close(r, fd);
    assert_true(status_ok(
        io_file_open(r, path, IO_OPEN_WRITE | IO_OPEN_CREATE, 2 * FILE_BYTES, &fd, &info)));
    assert_int_equal(info.bytes, FILE_BYTES);
    assert_int_equal(read_block(fd, 0, 4096), 4096);
    assert_int_equal(block[0], 9);
    io_close(r, fd);
}

/* What a pool's memory is read into and written from is the memory of now: the kernel may have
 * pinned what was at the same address before. */
static void memory_of_pools(void **state)
{
    (void)state;
    struct io_file_info info;
    struct io_op op;
    const int fd = open_disk(IO_OPEN_DIRECT, &info);

    for (uint8_t round = 1; round <= 4; round++) {
        struct buf_pool *pool;
        assert_true(status_ok(buf_pool_create(r, 2 * BUF_BYTES_MAX, &pool)));
        const struct span large = buf_get(pool, BUF_BYTES_MAX);
        const struct span small = buf_get(pool, 8192);
        memset(large.at, round, large.bytes);
        io_op_write(&op, r, fd, span_const(large), 0, 0, on_done);
        assert_int_equal(await(&op), (int64_t)large.bytes);
        io_op_read(&op, r, fd, span_sub(small, 4096, 4096), BUF_BYTES_MAX - 4096, on_done);
        assert_int_equal(await(&op), 4096);
        assert_int_equal(small.at[4096], round);
        assert_int_equal(small.at[8191], round);
        buf_put(pool, large);
        buf_put(pool, small);
        buf_pool_destroy(pool);
    }
    io_close(r, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(write_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_kernel_says_of_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(past_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(short_write_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(discard, setup, teardown),
        cmocka_unit_test_setup_teardown(lock, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(existing_file_keeps_its_size, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_of_pools, setup, teardown),
    };
    return HARNESS_RUN_ALL(tests);
}

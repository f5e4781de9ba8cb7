/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bare io_uring loop: random reads or writes of 4 KiB of one file, direct where the file system
 * has it, with so many in flight, submitted in batches as they complete.  It is the least that a
 * server must pay for the same I/O.
 *
 *     bench_loop FILE read|write DEPTH SECONDS [fixed] --> {"ios": 9, "iops": 1.0, "cpu_us": 2.1}
 *
 * cpu_us is the process's user and system time per I/O, the kernel's worker threads included.
 * With fixed, the buffers are registered.
 *
 * Threading: one thread.   Memory: a buffer for each I/O in flight.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/rng.h"

#define BLOCK_BYTES 4096u
#define DEPTH_MAX   1024

struct loop {
    struct io_uring ring;
    struct rng rng;
    int fd;
    bool write;
    bool fixed;
    uint64_t blocks;
    uint8_t *buffers;
    uint64_t ios;
};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "bench_loop: %s\n", what);
    exit(1);
}

static double now_s(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void start_io(struct loop *l, uint64_t slot)
{
    struct io_uring_sqe *const sqe = io_uring_get_sqe(&l->ring);
    uint8_t *const at = l->buffers + slot * BLOCK_BYTES;
    const uint64_t offset = rng_below(&l->rng, l->blocks) * BLOCK_BYTES;

    if (l->fixed && l->write)
        io_uring_prep_write_fixed(sqe, 0, at, BLOCK_BYTES, offset, 0);
    else if (l->fixed)
        io_uring_prep_read_fixed(sqe, 0, at, BLOCK_BYTES, offset, 0);
    else if (l->write)
        io_uring_prep_write(sqe, 0, at, BLOCK_BYTES, offset);
    else
        io_uring_prep_read(sqe, 0, at, BLOCK_BYTES, offset);
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, slot);
}

static void turn(struct loop *l)
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    check(io_uring_submit_and_wait(&l->ring, 1) >= 0, "io_uring_enter");
    io_uring_for_each_cqe(&l->ring, head, cqe)
    {
        check(cqe->res == (int)BLOCK_BYTES, "an I/O failed");
        start_io(l, cqe->user_data);
        count++;
    }
    io_uring_cq_advance(&l->ring, count);
    l->ios += count;
}

static void open_loop(struct loop *l, const char *path, unsigned depth)
{
    struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
    struct stat st;

    l->fd = open(path, O_RDWR | O_CLOEXEC);
    check(l->fd >= 0 && fstat(l->fd, &st) == 0, "the file cannot be opened");
    (void)fcntl(l->fd, F_SETFL, O_RDWR | O_DIRECT);
    l->blocks = (uint64_t)st.st_size / BLOCK_BYTES;
    check(l->blocks > 0, "the file is empty");
    if (io_uring_queue_init_params(DEPTH_MAX, &l->ring, &p) != 0)
        check(io_uring_queue_init(DEPTH_MAX, &l->ring, 0) == 0, "io_uring_setup");
    check(io_uring_register_files(&l->ring, &l->fd, 1) == 0, "registering the file");
    l->buffers = aligned_alloc(BLOCK_BYTES, (size_t)depth * BLOCK_BYTES);
    check(l->buffers != NULL, "memory");
    memset(l->buffers, 1, (size_t)depth * BLOCK_BYTES);
    const struct iovec all = { l->buffers, (size_t)depth * BLOCK_BYTES };
    if (l->fixed)
        check(io_uring_register_buffers(&l->ring, &all, 1) == 0, "registering the buffers");
}

int main(int argc, char **argv)
{
    struct loop l = { 0 };

    check(argc >= 5, "FILE read|write DEPTH SECONDS [fixed]");
    const unsigned depth = (unsigned)strtoul(argv[3], NULL, 10);
    const double seconds = strtod(argv[4], NULL);
    check(depth > 0 && depth <= DEPTH_MAX, "the depth is 1 to 1024");
    l.write = strcmp(argv[2], "write") == 0;
    l.fixed = argc > 5 && strcmp(argv[5], "fixed") == 0;
    rng_init(&l.rng, 1);
    open_loop(&l, argv[1], depth);
    for (unsigned i = 0; i < depth; i++)
        start_io(&l, i);
    const double from_s = now_s(CLOCK_MONOTONIC);
    const double from_us = cpu_us();
    double took_s;
    do {
        turn(&l);
        took_s = now_s(CLOCK_MONOTONIC) - from_s;
    } while (took_s < seconds);
    printf("{\"ios\": %" PRIu64 ", \"iops\": %.0f, \"cpu_us\": %.3f}\n", l.ios,
           (double)l.ios / took_s, (cpu_us() - from_us) / (double)l.ios);
    return 0;
}

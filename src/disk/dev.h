/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device: what a disk's format is written on.  Backends: file and block (dev_file.c), memory
 * (dev_mem.c), and fault (dev_fault.c), which wraps any of them and misbehaves on request.
 *
 * Threading: a device belongs to one reactor.
 * Memory:    requests are embedded in their owners; data is lent until done.
 */
#ifndef DISK_DEV_H
#define DISK_DEV_H

#include "disk/dev_load.h"
#include "io/op.h"
#include "io/reactor.h"

struct dev;
struct dev_io;

typedef void dev_io_fn(struct dev_io *io);

enum dev_kind {
    DEV_KIND_READ,
    DEV_KIND_WRITE,
    DEV_KIND_FLUSH,
    DEV_KIND_DISCARD,
    DEV_KIND_ALLOCATE
};

struct dev_io {
    struct dev *dev;
    dev_io_fn *done;
    enum dev_kind kind;
    bool fua;             /* WRITE: durable when it completes. */
    uint64_t offset;      /* Bytes; a multiple of dev->info.align_bytes. */
    struct span data;     /* READ: filled; WRITE: only read. */
    uint64_t bytes;       /* DISCARD, ALLOCATE. */
    struct status status; /* Valid in done.  MEDIA_READ or MEDIA_WRITE if the device failed. */

    /* Private to the backend. */
    struct io_op op;
    struct io_timer timer;
    struct list_node link;
    struct dev *timed; /* In whose load it is counted: the one that the owner knows. */
    struct dev_load_start began;
    dev_io_fn *outer_done; /* The owner's done while a wrapping backend has put in its own. */
    struct dev *outer_dev;
};

struct dev_info {
    uint64_t bytes;
    uint32_t align_bytes;
    uint32_t physical_bytes;
    uint32_t atomic_bytes;   /* Power-fail atomic write size; 512 where nothing better is known. */
    bool has_volatile_cache; /* Flush means something. */
    bool can_discard;
    bool is_rotational;
    const char *backend; /* "file", "block", "mem", "fault". */
    char path[256];
    char model[48];
    char serial[48];
};

struct dev_stats {
    uint64_t reads, writes, flushes, discards;
    uint64_t read_bytes, write_bytes;
    uint64_t errors;
};

struct dev_ops {
    void (*start)(struct dev *dev, struct dev_io *io);
    void (*close)(struct dev *dev); /* Nothing is in flight. */
    /* How large the device is now.  NULL: it never changes. */
    struct status (*bytes)(struct dev *dev, uint64_t *out_bytes);
};

struct dev {
    const struct dev_ops *ops;
    struct reactor *reactor;
    struct dev_info info;
    struct dev_stats stats;
    struct dev_load load;
};

/*
 * Opens a file, partition or device for direct I/O, locked against a second opener (BUSY).
 * create_bytes > 0 creates a file of that size if there is none, or an empty one.  NO check of
 * foreign content happens here: see disk/probe.h.
 */
struct status dev_file_open(struct reactor *r, const char *path, uint64_t create_bytes,
                            bool writable, struct dev **out_dev) MUST_CHECK;

/*
 * A device in memory: for tests and benchmarks.  Its content is lost on close, unless backing is
 * given: memory of bytes bytes that the caller owns.
 */
struct status dev_mem_open(struct reactor *r, uint64_t bytes, uint8_t *backing,
                           struct dev **out_dev) MUST_CHECK;

/*
 * Asks the device how large it is now: info.bytes follows if it has become larger, and the new
 * space may be used.  OUT_OF_RANGE if it has become smaller, and info.bytes stays.  Blocks for a
 * system call.
 */
struct status dev_refresh(struct dev *dev) MUST_CHECK;

/* All of data at offset.  done may free io.  Data is aligned to info.align_bytes. */
void dev_read(struct dev *dev, struct dev_io *io, uint64_t offset, struct span data,
              dev_io_fn *done);
void dev_write(struct dev *dev, struct dev_io *io, uint64_t offset, struct const_span data,
               bool fua, dev_io_fn *done);

/* All completed writes are durable when it completes. */
void dev_flush(struct dev *dev, struct dev_io *io, dev_io_fn *done);

/* The range is not needed; it reads as anything afterwards.  OK where the device cannot. */
void dev_discard(struct dev *dev, struct dev_io *io, uint64_t offset, uint64_t bytes,
                 dev_io_fn *done);

/*
 * From now on writes to the range do not find the file system full: NO_SPACE if there is too
 * little.  OK where the device has all of its space, or cannot tell.
 */
void dev_allocate(struct dev *dev, struct dev_io *io, uint64_t offset, uint64_t bytes,
                  dev_io_fn *done);

/* NULL is allowed. */
void dev_close(struct dev *dev);

#endif

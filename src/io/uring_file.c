/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/uring_internal.h"

#define ALIGN_BYTES_UNKNOWN    4096 /* No device needs more. */
#define PHYSICAL_BYTES_UNKNOWN 512

/*
 * Linux 6.1 and 6.11, include/uapi/linux/stat.h; headers of Debian 12 do not have all of it.
 */
#define STATX_DIOALIGN_BIT     0x00002000u
#define STATX_WRITE_ATOMIC_BIT 0x00010000u

struct statx_new {
    uint32_t mask;
    uint8_t before[0x98 - 4];
    uint32_t dio_mem_align_bytes;
    uint32_t dio_offset_align_bytes;
    uint64_t subvolume;
    uint32_t atomic_unit_min_bytes;
    uint32_t atomic_unit_max_bytes;
    uint8_t after[256 - 0xb0];
};
_Static_assert(offsetof(struct statx_new, dio_mem_align_bytes) == 0x98, "as the kernel has it");
_Static_assert(offsetof(struct statx_new, atomic_unit_min_bytes) == 0xa8, "as the kernel has it");
_Static_assert(sizeof(struct statx_new) == 256, "as the kernel has it");

/* A kernel that does not know a field leaves its bit in mask clear; so do reactors without it. */
static struct statx_new file_statx(const struct uring *u, int fd)
{
    struct statx_new sx = { 0 };
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN_BIT | STATX_WRITE_ATOMIC_BIT,
                &sx) != 0)
        sx.mask = 0;
    if (!uring_uses(u, URING_FEATURE_DIO_ALIGN))
        sx.mask &= ~STATX_DIOALIGN_BIT;
    if (!uring_uses(u, URING_FEATURE_WRITE_ATOMIC))
        sx.mask &= ~STATX_WRITE_ATOMIC_BIT;
    return sx;
}

/* ---- What the kernel tells of the disk in /sys/dev/block ---- */

/* Reads the first line of a disk's attribute, without blanks around it.  False if there is none. */
static bool disk_attribute_at(dev_t disk, const char *up, const char *name, char *out,
                              size_t out_bytes)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s%s", major(disk), minor(disk), up, name);
    FILE *const f = fopen(path, "re");
    if (f == NULL)
        return false;

    char line[128] = "";
    const bool got = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    size_t end = strlen(line);
    while (end > 0 && isspace((unsigned char)line[end - 1]))
        line[--end] = '\0';
    snprintf(out, out_bytes, "%s", line + strspn(line, " "));
    return got;
}

/* A partition's queue and model are its whole disk's, one folder up. */
static bool disk_attribute(dev_t disk, const char *name, char *out, size_t out_bytes)
{
    return disk_attribute_at(disk, "", name, out, out_bytes) ||
           disk_attribute_at(disk, "../", name, out, out_bytes);
}

static uint32_t disk_number(dev_t disk, const char *name, uint32_t otherwise)
{
    char text[32];
    if (!disk_attribute(disk, name, text, sizeof text))
        return otherwise;
    return (uint32_t)strtoul(text, NULL, 10);
}

static bool disk_has_volatile_cache(dev_t disk)
{
    char text[32];
    if (!disk_attribute(disk, "queue/write_cache", text, sizeof text))
        return true;
    return strcmp(text, "write through") != 0;
}

static struct status MUST_CHECK describe_device(int fd, dev_t disk, struct io_file_info *info)
{
    int logical_bytes = 0;

    info->is_block_device = true;
    if (ioctl(fd, BLKGETSIZE64, &info->bytes) != 0 || ioctl(fd, BLKSSZGET, &logical_bytes) != 0)
        return status_from_errno(errno);
    info->align_bytes = (uint32_t)logical_bytes;
    info->physical_bytes = disk_number(disk, "queue/physical_block_size", (uint32_t)logical_bytes);
    info->is_rotational = disk_number(disk, "queue/rotational", 0) != 0;
    info->has_volatile_cache = disk_has_volatile_cache(disk);
    (void)disk_attribute(disk, "device/model", info->model, sizeof info->model);
    if (!disk_attribute(disk, "device/serial", info->serial, sizeof info->serial))
        (void)disk_attribute(disk, "serial", info->serial, sizeof info->serial);
    return STATUS(OK);
}

/*
 * A file has its disk's physical blocks as far as its file system's own blocks reach.  In memory
 * it has pages: power failure takes them all, and tears none.  Where there is anything else below
 * (network, several disks), nothing better than a sector is known.
 */
static uint32_t file_physical_bytes(int fd, dev_t disk)
{
    struct statfs fs;
    const uint32_t bytes = disk_number(disk, "queue/physical_block_size", PHYSICAL_BYTES_UNKNOWN);
    if (fstatfs(fd, &fs) != 0)
        return PHYSICAL_BYTES_UNKNOWN;
    if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
        return (uint32_t)fs.f_bsize;
    return (uint32_t)min_u64(bytes, (uint64_t)fs.f_bsize);
}

static void describe_file(int fd, const struct stat *st, bool direct, struct io_file_info *info)
{
    info->bytes = (uint64_t)st->st_size;
    info->align_bytes = direct ? ALIGN_BYTES_UNKNOWN : PHYSICAL_BYTES_UNKNOWN;
    info->physical_bytes = file_physical_bytes(fd, st->st_dev);
    info->is_rotational = disk_number(st->st_dev, "queue/rotational", 0) != 0;
    /* Even on a disk without one, the file's size and extents wait in memory for fdatasync. */
    info->has_volatile_cache = true;
}

/* What a newer kernel says itself is better than what was derived. */
static void describe_by_statx(const struct uring *u, int fd, bool direct, struct io_file_info *info)
{
    const struct statx_new sx = file_statx(u, fd);

    if (direct && (sx.mask & STATX_DIOALIGN_BIT) != 0 && sx.dio_offset_align_bytes != 0)
        info->align_bytes = (uint32_t)max_u64(
            max_u64(sx.dio_mem_align_bytes, sx.dio_offset_align_bytes), PHYSICAL_BYTES_UNKNOWN);
    if ((sx.mask & STATX_WRITE_ATOMIC_BIT) != 0)
        info->atomic_bytes = sx.atomic_unit_max_bytes;
}

static struct status MUST_CHECK describe(const struct uring *u, int fd, struct io_file_info *info)
{
    struct stat st;
    const int mode = fcntl(fd, F_GETFL);

    if (mode < 0 || fstat(fd, &st) != 0)
        return status_from_errno(errno);
    const bool direct = (mode & O_DIRECT) != 0;
    *info = (struct io_file_info) { 0 };
    if (S_ISBLK(st.st_mode))
        TRY(describe_device(fd, st.st_rdev, info));
    else if (S_ISREG(st.st_mode))
        describe_file(fd, &st, direct, info);
    else
        return STATUS(INVALID);
    describe_by_statx(u, fd, direct, info);
    return STATUS(OK);
}

/* ---- Opening ---- */

static int open_mode(unsigned flags)
{
    int mode = O_CLOEXEC | ((flags & IO_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY);
    if ((flags & IO_OPEN_CREATE) != 0)
        mode |= O_CREAT;
    /* Without O_CREAT this concerns devices only: not while somebody else has it mounted. */
    if ((flags & IO_OPEN_EXCLUSIVE) != 0)
        mode |= O_EXCL;
    return mode;
}

/* The lock belongs to this descriptor: a second open, of this process too, is refused. */
static struct status MUST_CHECK file_lock(int fd)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return STATUS(OK);
    return errno == EWOULDBLOCK ? STATUS(BUSY) : status_from_errno(errno);
}

/* Makes a new file's name as durable as its content will be. */
static struct status MUST_CHECK folder_sync(const char *path)
{
    char copy[PATH_MAX];
    if (strlen(path) >= sizeof copy)
        return STATUS(INVALID);
    memcpy(copy, path, strlen(path) + 1);
    const int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return status_from_errno(errno);
    const struct status st = fsync(fd) == 0 ? STATUS(OK) : status_from_errno(errno);
    close(fd);
    return st;
}

/* Gives a new or empty file its size, without blocks. */
static struct status MUST_CHECK file_extend(int fd, const char *path, uint64_t bytes)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return status_from_errno(errno);
    if (!S_ISREG(st.st_mode) || st.st_size != 0)
        return STATUS(OK);
    if (ftruncate(fd, (off_t)bytes) != 0 || fsync(fd) != 0)
        return status_from_errno(errno);
    return folder_sync(path);
}

static struct status MUST_CHECK file_prepare(const struct uring *u, int fd, const char *path,
                                             unsigned flags, uint64_t create_bytes,
                                             struct io_file_info *out_info)
{
    if ((flags & IO_OPEN_LOCK) != 0)
        TRY(file_lock(fd));
    if (create_bytes > 0 && (flags & IO_OPEN_WRITE) != 0)
        TRY(file_extend(fd, path, create_bytes));
    /*
     * Set afterwards, because a file system that cannot do direct I/O creates the file and fails
     * the open.  It refuses here, and then the page cache it is.
     */
    const int mode = fcntl(fd, F_GETFL);
    if ((flags & IO_OPEN_DIRECT) != 0 && mode >= 0)
        (void)fcntl(fd, F_SETFL, mode | O_DIRECT);
    return describe(u, fd, out_info);
}

struct status uring_file_open(struct reactor *r, const char *path, unsigned flags,
                              uint64_t create_bytes, int *out_fd, struct io_file_info *out_info)
{
    struct io_file_info info = { 0 };
    const int fd = open(path, open_mode(flags), 0600);
    if (fd < 0)
        return status_from_errno(errno);

    const struct status st = file_prepare(uring_of(r), fd, path, flags, create_bytes, &info);
    if (!status_ok(st)) {
        close(fd);
        return st;
    }
    assert(info.align_bytes > 0);
    uring_fd_add(uring_of(r), fd,
                 (info.is_block_device ? URING_FD_BLOCK : 0) |
                     ((flags & IO_OPEN_LOCK) != 0 ? URING_FD_LOCKED : 0));
    *out_fd = fd;
    *out_info = info;
    return STATUS(OK);
}

struct status uring_file_bytes(struct reactor *r, int fd, uint64_t *out_bytes)
{
    struct stat st;
    uint64_t bytes;

    (void)r;
    if (fstat(fd, &st) != 0)
        return status_from_errno(errno);
    bytes = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) != 0)
        return status_from_errno(errno);
    *out_bytes = bytes;
    return STATUS(OK);
}

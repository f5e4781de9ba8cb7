/* SPDX-License-Identifier: Apache-2.0 */
/* The adapter for libblkid. */
#include "disk/probe.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/span.h"
#include "disk/disk_format.h"
#include "disk/superblock.h"

static void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void probe_free(blkid_probe *probe)
{
    blkid_free_probe(*probe); /* NULL is allowed. */
}

/* A value that was found, or NULL. */
static const char *value(blkid_probe probe, const char *name)
{
    const char *data = NULL;
    return blkid_probe_lookup_value(probe, name, &data, NULL) == 0 ? data : NULL;
}

/* blkid's USAGE tells file systems from members of something larger. */
static const char *kind_of(const char *usage)
{
    static const struct {
        const char *usage;
        const char *kind;
    } kinds[] = {
        { "filesystem", "file system" },
        { "raid", "member" },
        { "crypto", "encrypted volume" },
    };
    for (size_t i = 0; usage != NULL && i < ARRAY_COUNT(kinds); i++)
        if (strcmp(usage, kinds[i].usage) == 0)
            return kinds[i].kind;
    return "signature";
}

static void describe(blkid_probe probe, struct disk_probe *out)
{
    const char *const table = value(probe, "PTTYPE");
    const char *const type = value(probe, "TYPE");
    const char *const label = value(probe, "LABEL");

    *out = (struct disk_probe) { .is_foreign = true };
    if (type != NULL && label != NULL)
        snprintf(out->what, sizeof out->what, "%s %s '%s'", type, kind_of(value(probe, "USAGE")),
                 label);
    else if (type != NULL)
        snprintf(out->what, sizeof out->what, "%s %s", type, kind_of(value(probe, "USAGE")));
    else if (table != NULL)
        snprintf(out->what, sizeof out->what, "%s partition table", table);
    else
        snprintf(out->what, sizeof out->what, "unknown signature");
}

/* With one superblock alone something else may have been put over our disk. */
static bool is_ours(int fd)
{
    uint8_t block[SUPERBLOCK_BYTES];
    struct superblock sb;
    bool ours = true;

    for (unsigned i = 0; i < SUPERBLOCK_SLOTS && ours; i++) {
        const off_t offset = (off_t)superblock_offset(i);
        const struct const_span read = { block, sizeof block };
        ours = pread(fd, block, sizeof block, offset) == (ssize_t)sizeof block &&
               status_ok(superblock_decode(read, &sb));
    }
    return ours;
}

static struct status MUST_CHECK probe_fd(int fd, struct disk_probe *out)
{
    CLEANUP(probe_free) blkid_probe probe = blkid_new_probe();
    if (probe == NULL)
        return STATUS(NO_MEMORY);
    if (blkid_probe_set_device(probe, fd, 0, 0) != 0)
        return STATUS(IO);
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe,
                                      BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL);
    blkid_probe_enable_partitions(probe, 1);

    const int found = blkid_do_safeprobe(probe);
    if (found == -1)
        return STATUS(IO);
    if (found == 1) {
        *out = (struct disk_probe) { 0 };
        return STATUS(OK);
    }
    describe(probe, out);
    if (found == -2)
        snprintf(out->what, sizeof out->what, "signatures of several file systems");
    return STATUS(OK);
}

struct status disk_probe(const char *path, struct disk_probe *out_probe)
{
    struct stat st;
    CLEANUP(fd_close) const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0)
        return status_from_errno(errno);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return STATUS(INVALID);
    if ((S_ISREG(st.st_mode) && st.st_size == 0) || is_ours(fd)) {
        *out_probe = (struct disk_probe) { 0 };
        return STATUS(OK);
    }
    return probe_fd(fd, out_probe);
}

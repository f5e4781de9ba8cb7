/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_disks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/size.h"
#include "cmd/cli.h"
#include "disk/probe.h"

#define MEM_PREFIX "mem:"

/* What a new disk takes at once; more comes with the data. */
#define DISK_BYTES_AT_FIRST ((uint64_t)48 << 20)

static struct status open_faulty(const struct up_disk *d, struct dev *inner, struct dev **out_dev)
{
    struct dev *dev;
    struct status st = dev_fault_open(inner, &dev);

    if (!status_ok(st)) {
        dev_close(inner);
        return st;
    }
    st = dev_fault_add(dev, &d->fault);
    if (!status_ok(st)) {
        dev_close(dev);
        return st;
    }
    *out_dev = dev;
    return STATUS(OK);
}

/* On the disk's reactor. */
static struct status up_disk_open(void *ctx, struct reactor *r, struct dev **out_dev)
{
    const struct up_disk *d = ctx;
    struct dev *dev;

    if (d->in_memory)
        TRY(dev_mem_open(r, d->bytes, NULL, &dev));
    else
        TRY(dev_file_open(r, d->path, d->bytes, true, &dev));
    if (d->has_fault)
        return open_faulty(d, dev, out_dev);
    *out_dev = dev;
    return STATUS(OK);
}

/* ---- Files under the directory ---- */

static struct status own_path(const struct up_dir *dir, unsigned index, char out_path[PATH_MAX])
{
    char name[32];

    snprintf(name, sizeof name, "node-1/disk-%u", index + 1);
    return up_dir_path(dir, name, out_path);
}

/* How many of them there are from earlier starts. */
static struct status own_count(const struct up_dir *dir, unsigned *out_count)
{
    char path[PATH_MAX];
    struct stat st;
    unsigned count = 0;

    for (; count < NODE_DISKS_MAX; count++) {
        TRY(own_path(dir, count, path));
        if (stat(path, &st) != 0)
            break;
    }
    *out_count = count;
    return STATUS(OK);
}

/* Whether new files fit; they are sparse, so that a warning must do for what comes later. */
static struct status check_space(const struct up_dir *dir, unsigned new_count, uint64_t each_bytes)
{
    const uint64_t wanted = new_count * each_bytes;
    const uint64_t needed = new_count * min_u64(each_bytes, DISK_BYTES_AT_FIRST);
    uint64_t free_bytes;

    TRY(up_dir_free_bytes(dir, &free_bytes));
    if (free_bytes < needed) {
        (void)cli_fail("no space: %u new disks need %s at once, and the file system of '%s' has "
                       "%s",
                       new_count, size_format(needed).s, dir->path, size_format(free_bytes).s);
        return STATUS(NO_SPACE);
    }
    if (free_bytes < wanted)
        fprintf(stderr,
                "trilith: warning: the disks can grow to %s, and the file system of '%s' has %s\n",
                size_format(wanted).s, dir->path, size_format(free_bytes).s);
    return STATUS(OK);
}

static struct status prepare_own(const struct up_options *o, const struct up_dir *dir,
                                 struct up_disks *disks)
{
    unsigned there;

    TRY(own_count(dir, &there));
    disks->count = there > 0 && !o->disks_chosen ? there : o->disk_count;
    if (disks->count < there) {
        (void)cli_fail("'%s' has %u disks already: --disks %u would leave some of them out",
                       dir->path, there, disks->count);
        return STATUS(INVALID);
    }
    if (disks->count > there)
        TRY(check_space(dir, disks->count - there, o->disk_bytes));
    for (unsigned i = 0; i < disks->count; i++) {
        TRY(own_path(dir, i, disks->disk[i].path));
        disks->disk[i].bytes = i < there ? 0 : o->disk_bytes;
    }
    return STATUS(OK);
}

/* ---- Disks that were given ---- */

static struct status prepare_memory(const char *text, struct up_disk *d)
{
    const char *size = text + strlen(MEM_PREFIX);

    if (!status_ok(size_parse(size, &d->bytes)) || d->bytes < UP_DISK_BYTES_MIN ||
        d->bytes % (1 << 20) != 0) {
        (void)cli_fail("--disk '%s': memory is given as mem:SIZE, a multiple of 1M from 16M on",
                       text);
        return STATUS(INVALID);
    }
    d->in_memory = true;
    return STATUS(OK);
}

static struct status check_foreign(const char *path, bool force)
{
    struct disk_probe probe;
    const struct status st = disk_probe(path, &probe);

    if (!status_ok(st)) {
        (void)cli_fail("disk '%s': %s", path, status_text(st));
        return st;
    }
    if (!probe.is_foreign || force)
        return STATUS(OK);
    (void)cli_fail("disk '%s' holds something else: %s; --force formats it, and that is lost", path,
                   probe.what);
    return STATUS(FOREIGN);
}

static struct status prepare_path(const char *path, bool force, struct up_disk *d)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        const int err = errno;
        (void)cli_fail("disk '%s': %s%s", path, strerror(err),
                       err == ENOENT ? "; 'truncate -s 10G PATH' makes a file that can be one"
                                     : "");
        return status_from_errno(err);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        (void)cli_fail("disk '%s' is neither a file nor a block device", path);
        return STATUS(INVALID);
    }
    snprintf(d->path, sizeof d->path, "%s", path);
    return check_foreign(path, force);
}

static struct status prepare_disk(const char *text, bool force, struct up_disk *d)
{
    const char *inner = text;

    if (strncmp(text, UP_FAULT_PREFIX, strlen(UP_FAULT_PREFIX)) == 0) {
        d->has_fault = true;
        if (!status_ok(up_fault_parse(text + strlen(UP_FAULT_PREFIX), &d->fault, &inner))) {
            (void)cli_fail("--disk '%s': a fault is given as fault:error,writes,skip=100:PATH; see "
                           "trilith-up(1)",
                           text);
            return STATUS(INVALID);
        }
    }
    if (strncmp(inner, MEM_PREFIX, strlen(MEM_PREFIX)) == 0)
        return prepare_memory(inner, d);
    return prepare_path(inner, force, d);
}

static struct status prepare_given(const struct up_options *o, struct up_disks *disks)
{
    disks->count = o->given_count;
    for (unsigned i = 0; i < o->given_count; i++) {
        struct up_disk *d = &disks->disk[i];
        TRY(prepare_disk(o->disks[i], o->force, d));
        for (unsigned j = 0; j < i; j++) {
            if (d->in_memory || strcmp(d->path, disks->disk[j].path) != 0)
                continue;
            (void)cli_fail("disk '%s' was given twice", d->path);
            return STATUS(INVALID);
        }
    }
    return STATUS(OK);
}

struct status up_disks_prepare(const struct up_options *options, const struct up_dir *dir,
                               struct up_disks *disks)
{
    *disks = (struct up_disks) { 0 };
    if (options->given_count > 0)
        TRY(prepare_given(options, disks));
    else
        TRY(prepare_own(options, dir, disks));
    for (unsigned i = 0; i < disks->count; i++) {
        struct node_disk_config *c = &disks->config[i];
        snprintf(c->name, sizeof c->name, "node-1/disk-%u", i + 1);
        snprintf(c->path, sizeof c->path, "%s",
                 disks->disk[i].in_memory ? options->disks[i] : disks->disk[i].path);
        c->force = options->force;
        c->open = up_disk_open;
        c->ctx = &disks->disk[i];
    }
    return STATUS(OK);
}

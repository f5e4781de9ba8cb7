/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_disks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"
#include "cmd/cli.h"
#include "cmd/command.h"
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

static struct status take_path(const char *path, struct up_disk *d);

/* ---- Files under the directory ---- */

static struct status own_path(const struct up_dir *dir, unsigned index, char out_path[PATH_MAX])
{
    char name[32];

    snprintf(name, sizeof name, "disk-%u", index + 1);
    return up_dir_path(dir, up_dir_of_node(dir, name).s, out_path);
}

static void own_line(unsigned index, char out_line[PATH_MAX])
{
    snprintf(out_line, PATH_MAX, "disk-%u", index + 1);
}

static bool is_empty(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size == 0;
}

/*
 * Whether there is one of this index from earlier starts.  One that was served and is missing
 * counts: it is reported, and no new file takes its place.  One that is empty and was not served
 * was being made when the process was killed.
 */
static struct status own_is_there(const struct up_dir *dir, const struct up_known *known,
                                  unsigned index, bool *out_there)
{
    char path[PATH_MAX];
    char line[PATH_MAX];
    struct stat st;

    TRY(own_path(dir, index, path));
    own_line(index, line);
    *out_there = up_known_has(known, line) || (stat(path, &st) == 0 && !is_empty(&st));
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

/* Adds the file of this index; bytes: 0 if it is there. */
static struct status own_add(const struct up_dir *dir, unsigned index, uint64_t bytes,
                             struct up_disks *disks)
{
    struct up_disk *d = &disks->disk[disks->count++];

    TRY(own_path(dir, index, d->path));
    own_line(index, d->line);
    d->bytes = bytes;
    d->number = index + 1;
    return STATUS(OK);
}

/* Adds those that are there, or (new_bytes > 0) new ones in the gaps and behind them, up to most.
 */
static struct status own_walk(const struct up_dir *dir, uint64_t new_bytes, unsigned most,
                              struct up_disks *disks)
{
    for (unsigned i = 0; i < NODE_DISKS_MAX && disks->count < most; i++) {
        bool there;
        TRY(own_is_there(dir, &disks->known, i, &there));
        if (there == (new_bytes == 0))
            TRY(own_add(dir, i, new_bytes, disks));
    }
    return STATUS(OK);
}

/* Those that were added while it ran. */
static struct status prepare_added(struct up_disks *disks)
{
    for (unsigned i = 0; i < disks->known.count && disks->count < NODE_DISKS_MAX; i++)
        if (disks->known.line[i][0] == '/')
            TRY(take_path(disks->known.line[i], &disks->disk[disks->count++]));
    return STATUS(OK);
}

static struct status prepare_own(const struct up_options *o, const struct up_dir *dir,
                                 struct up_disks *disks)
{
    TRY(own_walk(dir, 0, NODE_DISKS_MAX, disks));
    const unsigned there = disks->count;
    const unsigned wanted = there > 0 && !o->disks_chosen ? there : o->disk_count;
    if (wanted < there) {
        (void)cli_fail("'%s' has %u disks already: --disks %u would leave some of them out",
                       dir->path, there, wanted);
        return STATUS(INVALID);
    }
    if (wanted > there) {
        TRY(check_space(dir, wanted - there, o->disk_bytes));
        TRY(own_walk(dir, o->disk_bytes, wanted, disks));
    }
    return prepare_added(disks);
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

/* Says in problem what keeps the path from being a disk. */
static struct status wrong(char problem[UP_DISK_PROBLEM_BYTES], struct status st, const char *what,
                           const char *more)
{
    snprintf(problem, UP_DISK_PROBLEM_BYTES, "%s%s", what, more);
    return st;
}

static struct status check_foreign(const char *path, bool force,
                                   char problem[UP_DISK_PROBLEM_BYTES])
{
    struct disk_probe probe;
    const struct status st = disk_probe(path, &probe);

    if (!status_ok(st))
        return wrong(problem, st, status_text(st), "");
    if (!probe.is_foreign || force)
        return STATUS(OK);
    snprintf(problem, UP_DISK_PROBLEM_BYTES,
             "it holds something else: %s; --force formats it, and that is lost", probe.what);
    return STATUS(FOREIGN);
}

/* The path as it is remembered; the next start may be made elsewhere. */
static struct status take_path(const char *path, struct up_disk *d)
{
    if (cli_disk_path(path, d->line) != COMMAND_OK)
        return STATUS(INVALID);
    memcpy(d->path, d->line, sizeof d->path);
    return STATUS(OK);
}

struct status up_disk_look(const char *path, bool force, struct up_disk *out_disk,
                           char problem[UP_DISK_PROBLEM_BYTES])
{
    struct stat st;

    problem[0] = '\0';
    if (stat(path, &st) != 0) {
        const int err = errno;
        return wrong(problem, status_from_errno(err), strerror(err),
                     err == ENOENT ? "; 'truncate -s 10G PATH' makes a file that can be one" : "");
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return wrong(problem, STATUS(INVALID), "it is neither a file nor a block device", "");
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < UP_DISK_BYTES_MIN)
        return wrong(problem, STATUS(INVALID), "it is too small: a disk has at least ",
                     size_format(UP_DISK_BYTES_MIN).s);
    TRY(take_path(path, out_disk));
    return check_foreign(path, force, problem);
}

/* What is wrong with one that was served before is the node's to report: it serves the others. */
static struct status prepare_path(const char *path, bool force, const struct up_known *known,
                                  struct up_disk *d)
{
    char problem[UP_DISK_PROBLEM_BYTES];

    TRY(take_path(path, d));
    if (!force && up_known_has(known, d->line))
        return STATUS(OK);
    const struct status st = up_disk_look(path, force, d, problem);
    if (problem[0] != '\0')
        (void)cli_fail("disk '%s': %s", path, problem);
    return st;
}

static struct status prepare_disk(const char *text, bool force, const struct up_known *known,
                                  struct up_disk *d)
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
    return prepare_path(inner, force, known, d);
}

/* Disks that were served are not left out by mistake: their volumes would fail. */
static struct status check_left_out(const struct up_disks *disks, const struct up_dir *dir)
{
    for (unsigned i = 0; i < disks->known.count; i++) {
        const char *line = disks->known.line[i];
        bool given = false;
        for (unsigned j = 0; j < disks->count; j++)
            given |= strcmp(disks->disk[j].line, line) == 0;
        if (given)
            continue;
        (void)cli_fail("'%s' was served with disk '%s', which --disk does not name: name all, or "
                       "none to take the same again; to give it up for good, remove its line from "
                       "'%s/%s/disks'",
                       dir->path, line, dir->path, dir->node);
        return STATUS(INVALID);
    }
    return STATUS(OK);
}

static struct status prepare_given(const struct up_options *o, const struct up_dir *dir,
                                   struct up_disks *disks)
{
    disks->count = o->given_count;
    for (unsigned i = 0; i < o->given_count; i++) {
        struct up_disk *d = &disks->disk[i];
        TRY(prepare_disk(o->disks[i], o->force, &disks->known, d));
        for (unsigned j = 0; j < i; j++) {
            if (d->in_memory || strcmp(d->path, disks->disk[j].path) != 0)
                continue;
            (void)cli_fail("disk '%s' was given twice", d->path);
            return STATUS(INVALID);
        }
    }
    return check_left_out(disks, dir);
}

/* ---- The disks of the last start ---- */

static bool were_given(const struct up_known *known)
{
    return known->count > 0 && known->line[0][0] == '/';
}

/* One that is missing is the node's to report: it serves the others. */
static struct status prepare_again(const struct up_options *o, const struct up_dir *dir,
                                   struct up_disks *disks)
{
    if (o->disks_chosen) {
        (void)cli_fail(
            "'%s' was served with --disk: --disks and --disk-size are for files under it",
            dir->path);
        return STATUS(INVALID);
    }
    disks->count = disks->known.count;
    for (unsigned i = 0; i < disks->count; i++)
        TRY(take_path(disks->known.line[i], &disks->disk[i]));
    return STATUS(OK);
}

struct status up_disks_remember(struct up_disks *disks, const struct up_dir *dir,
                                const bool *served)
{
    const unsigned before = disks->known.count;

    for (unsigned i = 0; i < disks->count; i++)
        if (served[i] && disks->disk[i].line[0] != '\0')
            up_known_add(&disks->known, disks->disk[i].line);
    return disks->known.count == before ? STATUS(OK) : up_known_write(dir, &disks->known);
}

struct status up_disks_forget(struct up_disks *disks, const struct up_dir *dir, struct up_disk *d)
{
    const bool is_own = d->line[0] != '\0' && d->line[0] != '/';

    if (d->line[0] != '\0' && up_known_remove(&disks->known, d->line))
        TRY(up_known_write(dir, &disks->known));
    /* Only now: a crash before leaves a disk that is empty, and is removed again. */
    if (is_own && unlink(d->path) != 0 && errno != ENOENT)
        return status_from_errno(errno);
    *d = (struct up_disk) { 0 };
    return STATUS(OK);
}

struct up_disk *up_disks_find(struct up_disks *disks, const char *path)
{
    for (unsigned i = 0; i < disks->count; i++)
        if (strcmp(disks->config[i].path, path) == 0)
            return &disks->disk[i];
    return NULL;
}

struct up_disk *up_disks_slot(struct up_disks *disks)
{
    for (unsigned i = 0; i < disks->count; i++)
        if (disks->disk[i].path[0] == '\0' && !disks->disk[i].in_memory)
            return &disks->disk[i];
    return disks->count < NODE_DISKS_MAX ? &disks->disk[disks->count++] : NULL;
}

struct node_disk_config *up_disks_configure(struct up_disks *disks, struct up_disk *d,
                                            const char *name, const char *path, bool force)
{
    struct node_disk_config *c = &disks->config[d - disks->disk];

    *c = (struct node_disk_config) {
        .force = force,
        .checksum_bytes = disks->checksum_bytes,
        .atomic_bytes = disks->atomic_bytes,
        .known = up_known_has(&disks->known, d->line),
        .open = up_disk_open,
        .ctx = d,
    };
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(c->path, sizeof c->path, "%s", path);
    return c;
}

/* A node that does not store has no disks. */
static struct status check_none(const struct up_dir *dir, const struct up_disks *disks)
{
    if (disks->known.count == 0)
        return STATUS(OK);
    (void)cli_fail("'%s/%s' was served with %u disks: a node that does not store has none; remove "
                   "them with 'trilith disk remove' while it has the role 'store'",
                   dir->path, dir->node, disks->known.count);
    return STATUS(INVALID);
}

struct status up_disks_prepare(const struct up_options *options, const struct up_dir *dir,
                               struct up_disks *disks)
{
    *disks = (struct up_disks) { .checksum_bytes = options->checksum_bytes,
                                 .atomic_bytes = options->atomic_bytes };
    TRY(up_known_read(dir, &disks->known));
    if ((options->roles & 1u << NODE_ROLE_STORE) == 0)
        return check_none(dir, disks);
    if (options->given_count > 0)
        TRY(prepare_given(options, dir, disks));
    else if (were_given(&disks->known))
        TRY(prepare_again(options, dir, disks));
    else
        TRY(prepare_own(options, dir, disks));
    for (unsigned i = 0; i < disks->count; i++) {
        struct up_disk *d = &disks->disk[i];
        char name[STORE_NAME_BYTES];
        snprintf(name, sizeof name, "%.40s/disk-%u", dir->node, d->number > 0 ? d->number : i + 1);
        (void)up_disks_configure(disks, d, name, d->in_memory ? options->disks[i] : d->path,
                                 options->force);
    }
    return STATUS(OK);
}

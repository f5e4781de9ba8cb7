/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/version.h"

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* "what 'DIR/name': why", and the status for errno. */
static struct status dir_failed(const char *what, const char *path)
{
    const int err = errno;

    (void)cli_fail("%s '%s': %s", what, path, strerror(err));
    return status_from_errno(err);
}

struct status up_dir_path(const struct up_dir *dir, const char *name, char out_path[PATH_MAX])
{
    const int n = snprintf(out_path, PATH_MAX, "%s/%s", dir->path, name);

    if (n >= 0 && n < PATH_MAX)
        return STATUS(OK);
    (void)cli_fail("the path of '%s' under '%s' is too long", name, dir->path);
    return STATUS(LIMIT);
}

struct up_dir_name up_dir_of_node(const struct up_dir *dir, const char *name)
{
    struct up_dir_name n;

    snprintf(n.s, sizeof n.s, "%s/%.60s", dir->node, name);
    return n;
}

/* That of lock and run.json. */
static struct up_dir_name own_name(const struct up_dir *dir, const char *name)
{
    struct up_dir_name n = up_dir_of_node(dir, name);

    if (!dir->is_node)
        snprintf(n.s, sizeof n.s, "%.60s", name);
    return n;
}

/* Makes the entry of a file or a directory in the one above it durable. */
static struct status MUST_CHECK entry_sync(const char *path)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", path);
    const char *const parent = dirname(copy);
    CLEANUP(fd_close) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return dir_failed("cannot sync", parent);
    return STATUS(OK);
}

static struct status dir_make(const char *path)
{
    struct stat st;

    if (mkdir(path, 0755) == 0)
        return entry_sync(path);
    if (errno != EEXIST)
        return dir_failed("cannot make the directory", path);
    if (stat(path, &st) != 0)
        return dir_failed("cannot use the directory", path);
    if (S_ISDIR(st.st_mode))
        return STATUS(OK);
    errno = ENOTDIR;
    return dir_failed("cannot use the directory", path);
}

/* ---- The lock ---- */

/* Who holds the lock: its pid, as it wrote it; 0 if that cannot be told. */
static long lock_holder(int fd)
{
    char text[32] = "";

    return pread(fd, text, sizeof text - 1, 0) > 0 ? strtol(text, NULL, 10) : 0;
}

static struct status dir_lock(struct up_dir *dir)
{
    char path[PATH_MAX];
    char text[32];

    TRY(up_dir_path(dir, own_name(dir, "lock").s, path));
    CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return dir_failed("cannot open", path);
    /* Whoever can open it can lock it, and keep us from starting. */
    if (fchmod(fd, 0600) != 0)
        return dir_failed("cannot protect", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return dir_failed("cannot lock", path);
        (void)cli_fail("'%s%s%s' is in use by process %ld; end that one, or use another directory",
                       dir->path, dir->is_node ? "/" : "", dir->is_node ? dir->node : "",
                       lock_holder(fd));
        return STATUS(BUSY);
    }
    const int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return dir_failed("cannot write", path);
    dir->lock_fd = fd;
    fd = -1;
    return STATUS(OK);
}

/* DIR/node-1, or DIR/NAME. */
static struct status make_node_dir(const struct up_dir *dir)
{
    char sub[PATH_MAX];

    TRY(up_dir_path(dir, dir->node, sub));
    return dir_make(sub);
}

static struct status open_dir(const char *path, struct up_dir dir, struct up_dir *out_dir)
{
    char sub[PATH_MAX];

    TRY(dir_make(path));
    if (realpath(path, dir.path) == NULL)
        return dir_failed("cannot use the directory", path);
    if (dir.is_node)
        TRY(make_node_dir(&dir));
    TRY(dir_lock(&dir));
    struct status st = make_node_dir(&dir);
    /* That of a process that was killed: nobody shall take it for ours. */
    if (status_ok(st))
        st = up_dir_path(&dir, own_name(&dir, "run.json").s, sub);
    if (status_ok(st)) {
        dir.was_killed = unlink(sub) == 0;
        if (!dir.was_killed && errno != ENOENT)
            st = dir_failed("cannot remove", sub);
    }
    if (!status_ok(st)) {
        up_dir_close(&dir);
        return st;
    }
    *out_dir = dir;
    return STATUS(OK);
}

struct status up_dir_open(const char *path, struct up_dir *out_dir)
{
    return open_dir(path, (struct up_dir) { .lock_fd = -1, .node = "node-1" }, out_dir);
}

struct status up_dir_open_node(const char *path, const char *node, struct up_dir *out_dir)
{
    struct up_dir dir = { .lock_fd = -1, .is_node = true };

    snprintf(dir.node, sizeof dir.node, "%s", node);
    return open_dir(path, dir, out_dir);
}

void up_dir_close(struct up_dir *dir)
{
    char path[PATH_MAX];

    if (dir->running && status_ok(up_dir_path(dir, own_name(dir, "run.json").s, path)))
        unlink(path);
    fd_close(&dir->lock_fd);
    dir->lock_fd = -1;
}

/* ---- Files that appear whole or not at all ---- */

static struct status write_all(int fd, const char *text)
{
    const size_t bytes = strlen(text);

    if (write(fd, text, bytes) != (ssize_t)bytes)
        return status_from_errno(errno == 0 ? ENOSPC : errno);
    return fsync(fd) == 0 ? STATUS(OK) : status_from_errno(errno);
}

static struct status replace(const struct up_dir *dir, const char *name, const char *text,
                             mode_t mode)
{
    char path[PATH_MAX];
    char fresh[PATH_MAX];
    char fresh_name[192];

    snprintf(fresh_name, sizeof fresh_name, "%s.new", name);
    TRY(up_dir_path(dir, name, path));
    TRY(up_dir_path(dir, fresh_name, fresh));
    CLEANUP(fd_close) int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return dir_failed("cannot write", fresh);
    errno = 0;
    if (!status_ok(write_all(fd, text)) || rename(fresh, path) != 0)
        return dir_failed("cannot write", path);
    return entry_sync(path);
}

struct status up_dir_replace(const struct up_dir *dir, const char *name, const char *text)
{
    return replace(dir, name, text, 0644);
}

/* ---- The token ---- */

static bool is_token(const char *text)
{
    return strlen(text) == RPC_TOKEN_BYTES - 1 &&
           strspn(text, "0123456789abcdef") == RPC_TOKEN_BYTES - 1;
}

static struct status make_token(const struct up_dir *dir, char out_token[RPC_TOKEN_BYTES])
{
    uint8_t random[(RPC_TOKEN_BYTES - 1) / 2];
    char text[RPC_TOKEN_BYTES + 1];

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return dir_failed("no random bytes for the token of", dir->path);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(out_token + 2 * i, 3, "%02x", random[i]);
    snprintf(text, sizeof text, "%s\n", out_token);
    return replace(dir, "token", text, 0600);
}

struct status up_dir_token(const struct up_dir *dir, const char *path, bool make,
                           char out_token[RPC_TOKEN_BYTES])
{
    char own[PATH_MAX];
    char text[RPC_TOKEN_BYTES + 1] = "";

    TRY(up_dir_path(dir, "token", own));
    if (path == NULL)
        path = own;
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make)
        return make_token(dir, out_token);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return dir_failed("cannot read the cluster's token in", path);
    text[strcspn(text, "\n")] = '\0';
    if (!is_token(text)) {
        (void)cli_fail("'%s' does not hold a token, which is a line of %d hexadecimal digits", path,
                       RPC_TOKEN_BYTES - 1);
        return STATUS(CORRUPT);
    }
    snprintf(out_token, RPC_TOKEN_BYTES, "%s", text);
    return STATUS(OK);
}

/* ---- The node's identity ---- */

static struct status read_uuid(const char *path, struct uuid *out_uuid)
{
    char text[UUID_TEXT_BYTES] = "";
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return STATUS(NOT_FOUND);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return dir_failed("cannot read", path);
    if (status_ok(uuid_parse(text, out_uuid)))
        return STATUS(OK);
    (void)cli_fail("'%s' does not hold a UUID, as it did when it was written", path);
    return STATUS(CORRUPT);
}

struct status up_dir_node_uuid(const struct up_dir *dir, struct uuid *out_uuid)
{
    char path[PATH_MAX];
    char text[UUID_TEXT_BYTES + 1];
    uint8_t random[16];

    TRY(up_dir_path(dir, up_dir_of_node(dir, "uuid").s, path));
    const struct status st = read_uuid(path, out_uuid);
    if (!status_is(st, STATUS_NOT_FOUND))
        return st;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return dir_failed("no random bytes for", path);
    *out_uuid = uuid_from_random(random);
    snprintf(text, sizeof text, "%s\n", uuid_format(*out_uuid).s);
    return up_dir_replace(dir, up_dir_of_node(dir, "uuid").s, text);
}

bool up_dir_has_joined(const struct up_dir *dir)
{
    char path[PATH_MAX];

    return status_ok(up_dir_path(dir, up_dir_of_node(dir, "uuid").s, path)) &&
           access(path, F_OK) == 0;
}

/* SQLite would take an empty file for a new database, and delete the WAL beside it. */
struct status up_dir_check_meta(const struct up_dir *dir)
{
    char meta[PATH_MAX];
    struct stat st;

    TRY(up_dir_path(dir, "meta.db", meta));
    if (!up_dir_has_joined(dir) || (stat(meta, &st) == 0 && st.st_size > 0))
        return STATUS(OK);
    (void)cli_fail("'%s' is missing or empty, but '%s/%s/uuid' is there: what the cluster knows of "
                   "its volumes is in the former; put it back together with its '-wal', or use "
                   "another directory for a new cluster",
                   meta, dir->path, dir->node);
    return STATUS(NOT_FOUND);
}

/* ---- run.json ---- */

struct status up_dir_write_run(struct up_dir *dir, const struct up_run *run)
{
    json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:i}", "pid", (int)getpid(), "version",
                             TRILITH_VERSION, "listen", io_addr_format(&run->listen).s, "advertise",
                             io_addr_format(&run->advertise).s, "api", io_addr_format(&run->api).s,
                             "port", (int)run->listen.port, "api_port", (int)run->api.port);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(2));
    struct status st = STATUS(NO_MEMORY);

    if (text != NULL)
        st = up_dir_replace(dir, own_name(dir, "run.json").s, text);
    dir->running = status_ok(st);
    free(text);
    json_decref(json);
    return st;
}

struct status up_dir_free_bytes(const struct up_dir *dir, uint64_t *out_bytes)
{
    struct statvfs fs;

    if (statvfs(dir->path, &fs) != 0)
        return dir_failed("cannot ask for the free space of", dir->path);
    *out_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return STATUS(OK);
}

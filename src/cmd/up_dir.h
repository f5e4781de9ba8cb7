/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of `trilith up`:
 *
 *   DIR/meta.db          the controller's                DIR/lock       held while it runs
 *   DIR/token            that nodes join with
 *   DIR/node-1/uuid      the node's identity             DIR/run.json   who runs, and where
 *   DIR/node-1/disk-1    and so on, where files are disks
 *   DIR/node-1/disks     those that were served before: up_known.h
 *
 * and of `trilith node run`, of which several can share it:
 *
 *   DIR/NAME/lock, run.json, uuid, disks, disk-1 and so on
 *
 * Threading: the main thread.   Memory: values; messages are printed here, once.
 */
#ifndef CMD_UP_DIR_H
#define CMD_UP_DIR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/uuid.h"
#include "io/addr.h"
#include "rpc/limits.h"

struct up_dir {
    char path[PATH_MAX];
    char node[64]; /* "node-1", or the NAME. */
    bool is_node;  /* Of a node alone: lock and run.json are in its own directory. */
    int lock_fd;
    bool running;    /* run.json is written. */
    bool was_killed; /* An earlier process has left its run.json. */
};

/*
 * Makes the directory if it is not there, and locks it.  BUSY if another process has it, whose
 * pid is told.  Every failure has been printed.
 */
struct status up_dir_open(const char *path, struct up_dir *out_dir) MUST_CHECK;

/* The same for a node alone, whose name has been checked. */
struct status up_dir_open_node(const char *path, const char *node,
                               struct up_dir *out_dir) MUST_CHECK;

/* Removes run.json and unlocks. */
void up_dir_close(struct up_dir *dir);

/* DIR/name.  LIMIT if it is too long. */
struct status up_dir_path(const struct up_dir *dir, const char *name,
                          char out_path[PATH_MAX]) MUST_CHECK;

/* "node-1/name", by value: what the node's file is called under DIR. */
struct up_dir_name {
    char s[128];
};
struct up_dir_name up_dir_of_node(const struct up_dir *dir, const char *name);

/* Whether there is a node, which is part of a cluster. */
bool up_dir_has_joined(const struct up_dir *dir);

/*
 * Where there is a node, its cluster's meta.db must be there, too, and not empty: a new one would
 * know nothing of its volumes, and give its disks to others.  NOT_FOUND, with a message.
 */
struct status up_dir_check_meta(const struct up_dir *dir) MUST_CHECK;

/* The node's UUID: the one of an earlier start, or a new one, durable before it is returned. */
struct status up_dir_node_uuid(const struct up_dir *dir, struct uuid *out_uuid) MUST_CHECK;

/*
 * The cluster's token, which nodes join with: what the file at path holds (NULL: DIR/token), whose
 * mode keeps others from reading it.  With make, a new one where there is no file yet; NOT_FOUND
 * otherwise.
 */
struct status up_dir_token(const struct up_dir *dir, const char *path, bool make,
                           char out_token[RPC_TOKEN_BYTES]) MUST_CHECK;

/* Writes a file of the directory so that it appears whole or not at all, durably. */
struct status up_dir_replace(const struct up_dir *dir, const char *name,
                             const char *text) MUST_CHECK;

struct up_run {
    struct io_addr listen; /* With the port. */
    struct io_addr advertise;
    struct io_addr api;
};

/* Says in run.json, atomically, that the process serves at these addresses. */
struct status up_dir_write_run(struct up_dir *dir, const struct up_run *run) MUST_CHECK;

/* Bytes that may still be written to the directory's file system. */
struct status up_dir_free_bytes(const struct up_dir *dir, uint64_t *out_bytes) MUST_CHECK;

#endif

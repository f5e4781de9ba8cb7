/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `trilith up` and `trilith node run` were told on their command lines.
 *
 * Threading: the main thread.   Memory: texts point into argv.
 */
#ifndef CMD_UP_OPTIONS_H
#define CMD_UP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "io/addr.h"
#include "node/node.h"

#define UP_PORT_NVME     4420 /* NVMe/TCP's own. */
#define UP_PORT_API      7420
#define UP_DISKS_DEFAULT 3
#define UP_NODES_MAX     16u /* Processes of one machine, for trying things out. */
/* Shorter than a disk may take now and then it would be of no use; for longer no host waits. */
#define UP_REPLICA_TIMEOUT_MS_MIN 100u
#define UP_REPLICA_TIMEOUT_MS_MAX 20000u
/* Of each volume: what a disk and a network have to spare while hosts use both. */
#define UP_RESYNC_BYTES_PER_S     ((uint64_t)128 << 20)
#define UP_RESYNC_BYTES_PER_S_MIN ((uint64_t)1 << 20) /* A region. */
#define UP_DISK_BYTES             ((uint64_t)10 << 30)
#define UP_REBUILD_AFTER_NS       (600 * NS_PER_S)
#define UP_DISK_BYTES_MIN         ((uint64_t)16 << 20) /* The disk format's smallest device. */

struct up_options {
    const char *data;
    unsigned nodes;   /* up: processes, each a node; 0: one node in this process. */
    unsigned zones;   /* ... which take turns in so many zones; 0: they have none. */
    uint32_t roles;   /* As node_agent_config. */
    const char *zone; /* Likewise. */
    const char *rack;
    const char *name;       /* node run: its own; NULL: up. */
    struct io_addr control; /* node run: the API, ... */
    const char *token_path; /* ... and where its token is; NULL: under data. */
    unsigned disk_count;    /* Of files under data; 0 if disks are given. */
    uint64_t disk_bytes;
    bool disks_chosen; /* --disks or --disk-size was given. */
    const char *disks[NODE_DISKS_MAX];
    unsigned given_count; /* Of disks. */
    struct io_addr listen;
    bool has_advertise;
    struct io_addr advertise; /* With the port of listen where it was given none. */
    struct io_addr api;
    unsigned reactors;         /* 0: one per CPU. */
    uint64_t spin_ns;          /* As uring_config. */
    uint64_t io_features_mask; /* Likewise. */
    uint64_t buffer_bytes;
    uint64_t replica_timeout_ns;
    uint64_t resync_bytes_per_s; /* As node_config. */
    uint64_t checksum_bytes;     /* Per disk; 0: for all of its checksums. */
    uint32_t atomic_bytes;       /* Of disks that are formatted; 0: as they report. */
    uint64_t rebuild_after_ns;   /* up: as controller_config. */
    bool force;
    enum log_level log_level;
};

/* Fills in the options.  False: the command ends now with *out_exit, and has said why. */
bool up_options_parse(int argc, char **argv, struct up_options *out_options, int *out_exit);

/* The same for `trilith node run`. */
bool up_options_parse_node(int argc, char **argv, struct up_options *out_options, int *out_exit);

/*
 * The options of a command line that was parsed into *options, each as "--name=value" under its
 * whole name, which argv may abbreviate; not those with a name in without.  The list and that end
 * with NULL.  One free() frees it; NULL: no memory.
 */
char **up_options_spell(const struct up_options *options, int argc, char **argv,
                        const char *const *without);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One disk of a node: its device, and the store on it.
 *
 * A disk without any superblock is formatted if its first NODE_DISK_BLANK_BYTES are zeros (or if
 * the operator forces it): a damaged disk of ours still has its journal there, and is refused.
 *
 * Threading: opened and closed from home by messages; the device and the store belong to the
 *            disk's reactor.  What home may read is a copy, brought by messages.
 * Memory:    embedded in the node.
 */
#ifndef NODE_NODE_DISK_H
#define NODE_NODE_DISK_H

#include "base/sm.h"
#include "node/health.h"
#include "node/node.h"
#include "node/node_scrub.h"
#include "store/store.h"

#define NODE_DISK_BLANK_BYTES ((size_t)1 << 20)
/*
 * A device that somebody else has open is tried again for so long: when a process is killed, the
 * kernel ends the requests of its rings, and lets go of their files, only after the process.
 */
#define NODE_DISK_BUSY_NS  (10 * NS_PER_S)
#define NODE_DISK_RETRY_NS (20 * NS_PER_MS)
#define NODE_DISK_FAILURE  "a device error: it takes no more writes until the node is restarted"
#define NODE_DISK_LIED                                                                      \
    "it has lost what it had confirmed as durable: its cache does not obey flushes, or it " \
    "was put back from an image"
#define NODE_DISK_CHECK_BYTES ((size_t)64 << 10) /* Read at a time, while it is checked. */

struct node_disk {
    /* The node's; constant once it is opened. */
    struct node *node;
    struct node_disk_config config;
    struct reactor *home;
    struct reactor *reactor;
    struct uuid cluster;
    char cluster_name[STORE_NAME_BYTES];
    struct log *log;
    void (*done)(struct node_disk *disk); /* After node_disk_open() and node_disk_close(). */

    /* Home's. */
    struct store *store; /* NULL: it cannot be used; problem says why. */
    char problem[NODE_REASON_BYTES];
    struct store_info info; /* As of the last refresh; without a store only who it is, or nil. */
    struct dev_info dev_info;
    bool refreshing;
    struct dev_load load; /* Of the last refresh, and ... */
    uint64_t load_ns;     /* ... when, by its reactor's clock. */
    bool health_due;      /* node_health.c waits for the refresh. */
    struct health health;
    enum health_state health_told;
    char kind[80];                    /* Disks of the same are its peers. */
    struct health_window last_window; /* With I/O. */
    uint64_t health_since_ns;         /* Wall-clock time. */
    struct device_log device_log;
    bool log_read;       /* It is known. */
    bool log_asked;      /* It is on its way. */
    unsigned log_window; /* In how many windows it is asked for again. */
    struct node_scrub scrub;
    bool closing; /* node_stop() waits for it. */

    /* Private to node_disk.c: the disk's reactor's. */
    struct sm sm;
    struct dev *dev;
    struct store *opened_store;
    struct dev_io io;
    struct io_timer retry;
    uint64_t busy_until_ns; /* 0: was not busy yet. */
    uint8_t *check;
    uint64_t checked_bytes;
    bool formatted;
    bool only_empty; /* It is closed if it holds nothing. */
    char found[NODE_REASON_BYTES];
    struct store_info fresh_info;
    struct dev_load fresh_load;
    uint64_t fresh_load_ns;
    struct store_info grown_info;
    struct io_msg msg;
    struct io_msg refresh_msg;
};

/* done follows, from the loop on home.  The disk has a store, or a problem. */
void node_disk_open(struct node_disk *disk);

/* Brings disk->info up to date, soon. */
void node_disk_refresh(struct node_disk *disk);

/*
 * Takes in what the device of a disk with a store has become larger by.  done follows, from the
 * loop on home, with the problem if it could not; the disk is served on either way.
 */
void node_disk_grow(struct node_disk *disk);

/* Closes store and device, if there are any.  done follows, from the loop on home. */
void node_disk_close(struct node_disk *disk);

/*
 * The same for a disk with a store, but one that holds shards is kept, with the problem that says
 * so.  Nobody has a session there.
 */
void node_disk_close_empty(struct node_disk *disk);

#endif

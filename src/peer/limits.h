/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's limits on links, with the reason for each.
 *
 * Threading: pure.   Memory: constants.
 */
#ifndef PEER_LIMITS_H
#define PEER_LIMITS_H

#include "io/buf.h"
#include "io/reactor.h"
#include "nvme/limits.h"

/* The name of a node in messages: as long as a UUID in text at least. */
#define LINK_NAME_BYTES 64

/* Entries of a link's queue: a megabyte of blocks on the way between two reactors; more wait. */
#define LINK_QUEUE_ENTRIES 256

/* How many disks of the other node count apart; as many as it can have. */
#define LINK_DISKS_MAX 256u

/* Of a queue, what may be with one disk: half of its places, and of the memory that the other node
 * lends it.  So a disk that hangs leaves the others something. */
#define LINK_DISK_COMMANDS ((LINK_QUEUE_ENTRIES - 1) / 2)
#define LINK_DISK_BYTES    (NVME_CONNECTION_QUOTA_BYTES / 2)

/* Of the former, OPENs that somebody waits for: they may take as long as a lease. */
#define LINK_DISK_OPENS (LINK_DISK_COMMANDS / 2)

/* How a link finds that the other node is gone.  A link in use is told of a closed connection at
 * once; what has vanished is missed when it does not answer for half of this. */
#define LINK_KEEP_ALIVE_MS 1000

/* For TCP, ICReq and Connect together. */
#define LINK_CONNECT_NS (1 * NS_PER_S)

/* A command but OPEN that a store does not answer for so long: its connection counts as lost,
 * although the node lives, as the keep-alive says nothing of it.  That ends the sessions of all
 * volumes, so it is long: a replica that is merely slow is excluded long before.  The next link
 * comes up at once, also if it was the disk that hangs. */
#define LINK_COMMAND_NS (30 * NS_PER_S)

/* How long a session that is closed waits for a disk that hangs: for OPEN, or RELEASE. */
#define SESSION_CLOSE_NS (1 * NS_PER_S)

/* Between the loss of a link and the next attempt: at first, and at most. */
#define LINK_RETRY_MIN_NS (10 * NS_PER_MS)
#define LINK_RETRY_MAX_NS (1 * NS_PER_S)

/* On each reactor, for data that are neither blocks nor a session's: 64 commands at a time. */
#define LINK_POOL_BYTES ((size_t)512 << 10)

static_assert(LINK_KEEP_ALIVE_MS % NVME_KEEP_ALIVE_GRAIN_MS == 0, "as NVMe counts");

#endif

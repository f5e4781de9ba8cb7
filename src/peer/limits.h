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

/* How a link finds that the other node is gone.  A link in use is told of a closed connection at
 * once; what has vanished is missed when it does not answer for half of this. */
#define LINK_KEEP_ALIVE_MS 1000

/* For TCP, ICReq and Connect together. */
#define LINK_CONNECT_NS (1 * NS_PER_S)

/* A command that a store does not answer for so long: its connection counts as lost, although the
 * node lives.  That ends the sessions of all volumes, so it is long: a replica that is merely slow
 * is excluded long before. */
#define LINK_COMMAND_NS (30 * NS_PER_S)

/* Between the loss of a link and the next attempt: at first, and at most. */
#define LINK_RETRY_MIN_NS (10 * NS_PER_MS)
#define LINK_RETRY_MAX_NS (1 * NS_PER_S)

/* On each reactor, for data that are neither blocks nor a session's: 64 commands at a time. */
#define LINK_POOL_BYTES ((size_t)512 << 10)

static_assert(LINK_KEEP_ALIVE_MS % NVME_KEEP_ALIVE_GRAIN_MS == 0, "as NVMe counts");

#endif

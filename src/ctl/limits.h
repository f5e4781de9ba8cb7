/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of the API and of what the controller keeps, each with its reason.
 *
 * Threading: pure.   Memory: none.
 */
#ifndef CTL_LIMITS_H
#define CTL_LIMITS_H

#include <assert.h>
#include <stdint.h>

#include "meta/groups.h"
#include "meta/meta.h"
#include "rpc/limits.h"

/* Names of nodes, disks and clusters: DNS labels with a '/' between, as disks show them. */
#define CTL_NAME_BYTES_MAX 63

/* An IP address as text; paths as Linux has them in practice; texts that people read. */
#define CTL_ADDRESS_BYTES_MAX 64
#define CTL_PATH_BYTES_MAX    255
#define CTL_TEXT_BYTES_MAX    511

#define CTL_NODES_MAX         64u
#define CTL_HEARD_MAX         255u  /* Nodes that one is connected with, by its report. */
#define CTL_DISKS_MAX         1024u /* Of all nodes. */
#define CTL_VOLUMES_MAX       1024u
#define CTL_ORDERS_MAX        16u  /* That a node has not reported on; it takes one at a time. */
#define CTL_HOSTS_MAX         128u /* Allowed hosts of one volume. */
#define CTL_IO_FEATURES_MAX   64u  /* Of a node: a newer one may know more than we do. */
#define CTL_REFUSALS_MAX      256u /* Kinds of them: likewise. */

/* Hosts that a node may report as connected to one volume: a target's queues end before. */
#define CTL_CONNECTED_MAX 1024u

/* Shards grow with the volume, so that a node's whole part fits in one reply. */
#define CTL_SHARDS_MAX      16384u
#define CTL_SHARD_BYTES_MIN (UINT64_C(64) << 20)
#define CTL_SHARD_BYTES_DEF (UINT64_C(1) << 30)
#define CTL_SHARD_BYTES_MAX (UINT64_C(64) << 30)

/* A volume has whole blocks; the largest has CTL_SHARDS_MAX of the largest shards: 1 PiB. */
#define CTL_VOLUME_BYTES_UNIT UINT64_C(4096)
#define CTL_VOLUME_BYTES_MAX  (CTL_SHARDS_MAX * CTL_SHARD_BYTES_MAX)

#define CTL_REPLICAS_MAX      3u
#define CTL_STRIPE_WIDTH_MAX  64u
#define CTL_STRIPE_WIDTH_DEF  16u
#define CTL_STRIPE_UNIT_MIN   4096u
#define CTL_STRIPE_UNIT_DEF   (256u << 10)
#define CTL_STRIPE_UNIT_MAX   (512u << 10)
#define CTL_LBA_BYTES_DEF     4096u

/* With how many others a node may share copysets, on average; half of all is as good as any. */
#define CTL_SCATTER_MAX (CTL_NODES_MAX / 2)

/* All pairs of nodes; with three replicas the scatter width allows fewer (copyset.c). */
#define CTL_COPYSETS_MAX (CTL_NODES_MAX * (CTL_NODES_MAX - 1) / 2)

/* Tuples of disks that the shards of one volume lie on: each has a state in the volume's group
 * record, which is compared and written as a whole. */
#define CTL_TUPLES_MAX 256u

/* How long a call may be held, and is if the caller does not say. */
#define CTL_WAIT_MS_DEF 30000u
#define CTL_WAIT_MS_MAX 300000u

/* Verifications of volumes under way: each takes a megabyte of its node's memory. */
#define CTL_VERIFICATIONS_MAX            8u
#define CTL_VERIFICATION_BYTES_PER_S_DEF (UINT64_C(256) << 20)
#define CTL_VERIFICATION_FINDINGS_MAX    64u /* That a node reports of each. */

/* A verification for which nobody asks is ended after so long. */
#define CTL_VERIFICATION_MS 30000u

/* Scrubs: a disk that is busy should hardly notice; progress is recorded so often. */
#define CTL_SCRUB_BYTES_PER_S_DEF (UINT64_C(16) << 20)
#define CTL_SCRUB_KEEP_MS         30000u

/* Ranges that a node may report as unreadable of one volume: it tells 16. */
#define CTL_UNREADABLE_MAX 256u

/* An engine that does not say for so long whether it has repaired what was found does not count. */
#define CTL_MEND_MS   30000u
#define CTL_MENDS_MAX 256u /* That a node reports of one volume. */

/* A node that says nothing for so long counts as gone; it reports every two seconds. */
#define CTL_SILENT_MS 10000u

/* Less free space than this is a problem that the status names. */
#define CTL_FREE_PERCENT_LOW 10u

/* A node is in at most so many copysets of three, or in one because another has no other. */
static_assert(CTL_NODES_MAX * (2u * (CTL_SCATTER_MAX / 2u) + 3u) / 3u <= CTL_COPYSETS_MAX,
              "the copysets of three replicas are no more than the pairs of nodes");
static_assert(CTL_STRIPE_WIDTH_MAX <= CTL_TUPLES_MAX, "a stripe's shards have tuples of their own");

/* A placement number takes up to 3 bytes; a volume's record must fit in a value. */
static_assert(CTL_DISKS_MAX < 1u << 21, "a disk's index fits in three bytes of a varint");
static_assert(CTL_SHARDS_MAX * CTL_REPLICAS_MAX * 3u + CTL_HOSTS_MAX * 256u + CTL_DISKS_MAX * 18u +
                      4096u <
                  META_VALUE_BYTES_MAX,
              "the largest volume fits in one value of the meta store");
static_assert(CTL_VOLUMES_MAX * (CTL_SHARDS_MAX * 3ull + CTL_HOSTS_MAX * 256ull + 8192ull) <
                  RPC_REPLY_BYTES_MAX,
              "a node's whole part fits in one reply: of several replicas it names tuples once");
static_assert(CTL_NODES_MAX + 4u <= META_TXN_COMPARES_MAX,
              "a volume's name, record and group are compared with what all its nodes are to have");
static_assert(CTL_TUPLES_MAX * CTL_REPLICAS_MAX * 2u < 8192u / 2, "tuples fit in what is added");
static_assert(2u * GROUPS_COMMIT_BYTES_MAX < RPC_REQUEST_BYTES_MAX,
              "the records of one CommitGroups fit in one request");

#endif

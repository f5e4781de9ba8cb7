/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every limit of the NVMe/TCP target and initiator, with its reason.
 *
 * Threading: constants.   Memory: none.
 */
#ifndef NVME_LIMITS_H
#define NVME_LIMITS_H

#include <assert.h>

#include "base/span.h"
#include "io/buf.h"
#include "io/op.h"
#include "nvme/fabrics_spec.h"
#include "nvme/pdu.h"

/* ---- One command ---- */

/* The largest data transfer (MDTS): one buffer, so that a command needs exactly one. */
#define NVME_DATA_BYTES_MAX 524288
#define NVME_MDTS           7 /* NVME_DATA_BYTES_MAX as a power of two of 4 KiB pages. */
/* Data that begin inside a block of 4 KiB lie so in their buffer: LBAs of 512 bytes get half. */
static inline uint32_t nvme_data_bytes_max(unsigned lba_shift)
{
    return lba_shift < 12 ? NVME_DATA_BYTES_MAX / 2 : NVME_DATA_BYTES_MAX;
}

static_assert((4096u << NVME_MDTS) == NVME_DATA_BYTES_MAX, "MDTS names the limit");
static_assert(NVME_DATA_BYTES_MAX <= BUF_BYTES_MAX, "one buffer holds one command's data");

/* Data inside a command capsule: an 8 KiB write needs no R2T.  The Linux host never puts more
 * into a fabrics or admin capsule either. */
#define NVME_IN_CAPSULE_BYTES_MAX 8192
#define NVME_IOCCSZ               ((64 + NVME_IN_CAPSULE_BYTES_MAX) / 16)
static_assert(NVME_IN_CAPSULE_BYTES_MAX >= (int)sizeof(struct nvme_connect_data_spec),
              "Connect's data travel in its capsule");
static_assert(NVME_IOCCSZ >= 4, "Linux refuses a smaller capsule");
static_assert(NVME_IN_CAPSULE_BYTES_MAX <= NVME_DATA_BYTES_MAX, "a capsule is not the larger way");

/* What one H2CData PDU may carry: a whole command, which is received into place at once. */
#define NVME_MAXH2CDATA NVME_DATA_BYTES_MAX
static_assert(NVME_MAXH2CDATA >= 4096 && NVME_MAXH2CDATA % 4 == 0, "Linux refuses others");

/*
 * The longest Verify (VSL): what moves no data needs no buffer of the target's, but a connection
 * that ends waits for it (W3).
 */
#define NVME_VERIFY_BYTES_MAX ((uint64_t)8 << 20)
#define NVME_VSL              11 /* The same as a power of two of 4 KiB pages. */
static_assert((UINT64_C(4096) << NVME_VSL) == NVME_VERIFY_BYTES_MAX, "VSL names the limit");

/*
 * Copy: source ranges (MSRC + 1), the length of one (MSSRL) and of all (MCL).  As with Verify, what
 * a command may take is what its end may have to be waited for.
 */
#define NVME_COPY_RANGES_MAX      128
#define NVME_COPY_RANGE_BYTES_MAX ((uint64_t)1 << 20)
#define NVME_COPY_BYTES_MAX       ((uint64_t)8 << 20)
static_assert(NVME_COPY_RANGES_MAX * sizeof(struct nvme_copy_range_spec) <=
                  NVME_IN_CAPSULE_BYTES_MAX,
              "the ranges fit into a capsule");
static_assert(NVME_COPY_RANGE_BYTES_MAX / 512 <= UINT16_MAX, "MSSRL has 16 bits");

/* Dataset Management takes as many ranges as its field can say. */
#define NVME_DSM_RANGES_MAX 256
static_assert(NVME_DSM_RANGES_MAX * sizeof(struct nvme_dsm_range_spec) <= NVME_IN_CAPSULE_BYTES_MAX,
              "the ranges fit into a capsule");

/* ---- One queue pair ---- */

/* Entries of an I/O queue.  The admin queue is as Linux asks for it (32), or smaller. */
#define NVME_QUEUE_ENTRIES_MAX       1024
#define NVME_ADMIN_QUEUE_ENTRIES_MAX 128
#define NVME_QUEUE_ENTRIES_MIN       2 /* SQSIZE 0 is refused by the specification. */
static_assert(NVME_QUEUE_ENTRIES_MAX <= 65535, "a transfer tag names any entry");

/* Memory into which a connection receives: 31 writes of 4 KiB, or hundreds of reads, per receive;
 * a fourth of it costs a fifth more CPU per write.  Larger data bypasses it. */
#define NVME_RX_BUFFER_BYTES 131072
static_assert(NVME_RX_BUFFER_BYTES >=
                  2 * (72 + PDU_DIGEST_BYTES + NVME_IN_CAPSULE_BYTES_MAX + PDU_DIGEST_BYTES),
              "two full capsules fit");

/* The initiator's: most of what it receives are the data of reads, 4 KiB and more each. */
#define INITIATOR_RX_BUFFER_BYTES 131072

/* When less than this is missing of a PDU's data, it is received together with what follows. */
#define NVME_RX_DIRECT_BYTES_MIN 4096

/* Data from which on it pays to receive the next header apart, and how much is received then: the
 * header, and a few capsules if it is they that come. */
#define NVME_RX_LARGE_BYTES       32768
#define NVME_RX_AFTER_LARGE_BYTES 512

/* PDUs that a connection may have handled in one turn before others have theirs. */
#define NVME_RX_PDUS_PER_TURN 128

/* One send: its headers and digests, its pieces of memory, and about how much it gathers before
 * the rest waits for the next one, so that buffers come back early. */
#define NVME_TX_HEADER_BYTES 8192
#define NVME_TX_IOVS         128
#define NVME_TX_SEND_BYTES   NVME_DATA_BYTES_MAX
/* What one entry may write: the headers of two PDUs, or a termination PDU. */
#define NVME_TX_ENTRY_BYTES (2 * PDU_ENCODED_BYTES_MAX)
static_assert(NVME_TX_IOVS + 1 <= IO_SEND_IOV_MAX, "one send takes them");
static_assert(NVME_TX_ENTRY_BYTES >= PDU_TERM_BYTES_MAX, "a termination PDU fits");
static_assert(NVME_TX_HEADER_BYTES >= 4 * NVME_TX_ENTRY_BYTES, "a send gathers several entries");

/* What one connection may hold of a buffer pool: enough to keep a 25 Gbit/s link busy for a
 * millisecond, little enough that one peer does not take a pool. */
#define NVME_CONNECTION_QUOTA_BYTES (4u << 20)
/* ... and at most this part of what is left free.  With n connections that hold what they can, a
 * pool still has 1 / (1 + n / NVME_POOL_SHARE) of itself. */
#define NVME_POOL_SHARE 4
/* All connections of a peer hold at most as much as they leave free, and those that hold nothing
 * yet so many times as much: a host that is stuck leaves a quarter of the pool to others at its
 * address, and another quarter to those at other addresses. */
#define NVME_POOL_PEER_SHARE 3
#define NVME_R2T_POOL_BYTES  (64u << 20)
static_assert(NVME_CONNECTION_QUOTA_BYTES >= NVME_DATA_BYTES_MAX, "the largest command fits");

/* ---- One controller ---- */

#define NVME_IO_QUEUES_MAX       128
#define NVME_ASYNC_EVENTS_MAX    4  /* AERL + 1. */
#define NVME_ABORTS_MAX          4  /* ACL + 1; the recommended number. */
#define NVME_ERROR_ENTRIES       64 /* ELPE + 1: one page of 4 KiB. */
#define NVME_KEEP_ALIVE_GRAIN_MS 100
#define NVME_KAS                 10 /* Keep-alive granularity: 1 s, in units of 100 ms. */
/* How long RDY may take to follow CC.EN (CAP.TO), and a shutdown to be complete (RTD3E): what is
 * being executed ends first, and Linux gives a command as long. */
#define NVME_END_S 30
/* From a shutdown to a controller that is ready again (RTD3R): the round trips of a Connect. */
#define NVME_RESUME_MS 100
/* Discovery controllers without a keep-alive timeout of their own: the specification's 2 minutes.
 */
#define NVME_DISCOVERY_IDLE_MS 120000

/* ---- One node ---- */

/*
 * Controller identifiers are unique in a subsystem across all nodes: node i has the ids
 * 1 + i * NVME_CNTLIDS_PER_NODE onwards.
 */
#define NVME_CNTLIDS_PER_NODE 510
#define NVME_NODES_MAX        128
static_assert(NVME_NODES_MAX * NVME_CNTLIDS_PER_NODE <= NVME_CNTLID_MAX, "ids end before FFF0h");

#define NVME_PORTS_MAX       16
#define NVME_CONNECTIONS_MAX 4096 /* Per node: memory of rx buffers is 512 MiB at most. */
/* Beyond that, while those that made room for new ones are still on their way out. */
#define NVME_CONNECTIONS_ENDING_MAX 64
/* Entries of all queues of a node together, each with a command of 344 bytes: 172 MiB.  Linux
 * has queues of 128 entries, one for each CPU: 120 hosts with 32 CPUs each have theirs, and one
 * host, which may have half (share.c), can attach 64 volumes. */
#define NVME_COMMANDS_MAX      524288
#define NVME_ALLOWED_HOSTS_MAX 128 /* Per subsystem; what the API lets a volume have. */

/* Log lines about peers, on each reactor: so many at once, enough for all hosts of a node that
 * starts, and then ten per second: 100 MB a day. */
#define NVME_LOG_LINES_BURST 1000
#define NVME_LOG_LINE_NS     (UINT64_C(100) * 1000000)

/* From the accept to the end of Connect; Linux waits 60 s for the same. */
#define NVME_HANDSHAKE_NS (UINT64_C(20) * 1000000000)
/* A peer that takes so long to take what was sent, to send all that the oldest R2T asks for, or to
 * end a PDU that it began, is gone, or means to hold what we keep for it: Linux gives a command up
 * after 30 s. */
#define NVME_STALL_NS (UINT64_C(60) * 1000000000)
/* From the loss of an I/O queue's connection to the end of its controller: Linux asks for a reset
 * or a shutdown within milliseconds, a machine under load within a second or two. */
#define NVME_QUEUE_LOSS_NS (UINT64_C(10) * 1000000000)
/* After an accept that failed, for want of descriptors, say. */
#define NVME_ACCEPT_RETRY_NS (UINT64_C(100) * 1000000)
/* How long a termination PDU may take to be read before the connection is closed. */
#define NVME_TERM_LINGER_NS (UINT64_C(1) * 1000000000)

#endif

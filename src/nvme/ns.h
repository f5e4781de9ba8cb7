/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target needs of whatever stands behind a namespace: it is given this table by the
 * layer above (the volume engine; in tests a memory namespace).
 *
 * Threading: submit() is called on the reactor of the queue pair, and done is called on that
 *            same reactor.  The namespace does its own hops in between.
 * Memory:    the request and its data belong to the namespace from submit() until done.
 */
#ifndef NVME_NS_H
#define NVME_NS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "base/uuid.h"
#include "io/reactor.h"

/*
 * Losses.  A namespace that may have lost completed writes says so by failing a Flush or FUA (S1).
 * Such an answer can be lost with its connection, while the host gets others on other queues, and
 * repeats the command there: so the namespace goes on failing it until a host has provably got the
 * answer, but once only for each queue, whose answers the host gets in their order.  It numbers its
 * losses from 1.
 *
 *   submit      req->loss_told: the last loss that was told on this queue, by an answer that goes
 *               out before this request's
 *   done        failed, and raised: the answer tells of this loss
 *   loss_heard  the host has an answer that told of this loss: nobody need be told again
 */
#define NVME_LOSS_NO_HOST UINT64_MAX /* loss_told of a Flush that no host hears the end of. */

/* The unit of a namespace's memory, space and atomic writes, whatever its LBA size. */
#define NVME_NS_BLOCK_BYTES 4096u

struct buf_pool;
struct nvme_ns;
struct nvme_ns_req;

enum nvme_ns_opcode {
    NVME_NS_READ,
    NVME_NS_WRITE,
    NVME_NS_FLUSH,
    NVME_NS_WRITE_ZEROES,
    NVME_NS_DEALLOCATE, /* One request per range of a Dataset Management command. */
    NVME_NS_COMPARE,    /* MISCOMPARE if the namespace does not hold data. */
    NVME_NS_VERIFY,     /* As READ, but nobody gets the data. */
    NVME_NS_COPY,       /* From source; as if through memory, where the ranges overlap. */
};

/* A host's command against one namespace, checked: its range lies inside the namespace. */
struct nvme_ns_req {
    enum nvme_ns_opcode opcode;
    bool fua;           /* WRITE, WRITE_ZEROES, COPY: durable when it completes. */
    bool no_deallocate; /* WRITE_ZEROES: DEAC is clear; the space need not be given back. */
    uint64_t source;    /* COPY: as offset. */
    uint64_t offset;    /* Bytes from the start of the namespace; a multiple of the LBA size. */
    uint64_t bytes;     /* A multiple of the LBA size; 0 for FLUSH. */
    struct span data;   /* READ: to fill; WRITE, COMPARE: to take; bytes long.  As far behind a */
                        /* multiple of NVME_NS_BLOCK_BYTES in memory as offset is. */
    struct buf_pool *pool;   /* Of this reactor, whose buffer has the data; NULL: of none.  The
                                namespace may hold them there (io/buf.h) when it is done. */
    uint64_t loss_told;      /* FLUSH, or with fua: see above. */
    struct reactor *reactor; /* Where submit() was called and done will be. */
    void (*done)(struct nvme_ns_req *req);
    struct status status; /* Valid in done. */

    /* For the namespace's own use while it has the request. */
    struct list_node link; /* Initialised by the caller, so that cancel() can ask it. */
    struct io_msg msg;
    uint64_t scratch[6];
};

/*
 * What Identify Namespace reports.  Immutable while attached, but for used_bytes, and bytes, which
 * may grow: nvme_subsys_ns_changed() says so, and nothing behind the old end is asked for before.
 */
struct nvme_ns_info {
    struct uuid uuid;
    uint8_t nguid[16];         /* Derived from the UUID: the same on every path. */
    uint64_t bytes;            /* A multiple of the LBA size. */
    uint64_t used_bytes;       /* Mapped space, for NUSE; a recent value. */
    uint32_t lba_bytes;        /* 512 or 4096. */
    uint32_t optimal_io_bytes; /* NOWS / NOIOB: the stripe unit; 0 if none. */
    uint32_t atomic_bytes;     /* A write of this size, so aligned, is never torn (NAWUPF). */
};

struct nvme_ns_ops {
    /* Every outcome arrives through req->done, once, never before submit() has returned. */
    void (*submit)(struct nvme_ns *ns, struct nvme_ns_req *req);
    /*
     * Takes back a request that has not been begun: true, and done follows with CANCELED.  False:
     * it is under way, or not here at all.  On the request's reactor.  A request that is asked for
     * again, by the end of its connection after an Abort, ends once.  NULL: never.
     */
    bool (*cancel)(struct nvme_ns *ns, struct nvme_ns_req *req);
    /* Any reactor.  loss was raised by one of this namespace's answers. */
    void (*loss_heard)(struct nvme_ns *ns, uint64_t loss);
    /* On the target's home reactor. */
    void (*info)(struct nvme_ns *ns, struct nvme_ns_info *out_info);
};

struct nvme_ns {
    const struct nvme_ns_ops *ops;
};

#endif

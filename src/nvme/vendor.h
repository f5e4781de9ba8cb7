/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target needs of whatever stands behind a subsystem that has no namespaces, and whose
 * I/O queues take commands with a vendor's opcodes alone (80h to FFh): it is given this table by
 * the layer above (the stores' command set).
 *
 *   home reactor                               reactor of the queue
 *   allows()   may this host connect?
 *   opened()   its association begins          check()   before any data move: 0 or a status
 *   closing()  it has been lost                submit()  with its data in memory
 *   closed()   none of its commands runs       done()
 *
 * Bits 1:0 of an opcode are the direction of its data: none, to the controller, to the host.
 *
 * A host has one association that lives; when it connects anew, the older one has been told its
 * closing() before, but its commands may run on beside those of the new one for as long as the
 * owner takes (W3 is the owner's).  Until then they keep their connections, and its controller.
 *
 * Threading: as the chart says; done() on the reactor on which submit() was called.
 * Memory:    a request and its data are the owner's from submit() until done().
 */
#ifndef NVME_VENDOR_H
#define NVME_VENDOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/span.h"
#include "base/status.h"
#include "io/reactor.h"
#include "nvme/pdu.h"

#define NVME_VENDOR_OPCODE_MIN 0x80

struct nvme_vendor;
struct nvme_vendor_req;

/* A command. */
struct nvme_vendor_req {
    uint8_t entry[NVME_SQE_BYTES]; /* As it came, CID and SGL included. */
    /* To the controller: to take.  To the host: to fill, all of it, unless status says otherwise.
     * As long as the SGL says; starts at a multiple of 4 KiB. */
    struct span data;
    void *association;       /* What opened() gave. */
    struct reactor *reactor; /* Where submit() was called and done will be. */
    void (*done)(struct nvme_vendor_req *req);
    /* Valid in done: SCT << 8 | SC, 0 for success; dwords 0 and 1 of the completion, in any case.
     */
    uint16_t status;
    uint32_t dword0;
    uint32_t dword1;

    /* For the owner's own use while it has the request. */
    struct list_node link;
    struct io_msg msg;
    void *owner;
};

struct nvme_vendor_ops {
    /* Whether this host may connect. */
    bool (*allows)(struct nvme_vendor *vendor, const char *host_nqn);
    /* Its association begins.  A failure refuses the host for now. */
    struct status (*opened)(struct nvme_vendor *vendor, const char *host_nqn,
                            void **out_association);
    /* It has lost one of its connections, or its host has left: no more commands come, but for
     * those that are on their way between reactors.  Once, and closed() follows. */
    void (*closing)(struct nvme_vendor *vendor, void *association);
    /* All of its commands have ended; none comes any more. */
    void (*closed)(struct nvme_vendor *vendor, void *association);
    /*
     * Checks all of a command but its data, of which data_bytes are to come or to go: 0, or a
     * status, with which it ends.  A command that is refused gets no memory, and its data are not
     * asked for.  Of req, entry, association and reactor are there.
     */
    uint16_t (*check)(struct nvme_vendor *vendor, const struct nvme_vendor_req *req,
                      uint32_t data_bytes);
    /* Every outcome arrives through req->done, once, never before submit() has returned. */
    void (*submit)(struct nvme_vendor *vendor, struct nvme_vendor_req *req);
};

struct nvme_vendor {
    const struct nvme_vendor_ops *ops;
    uint64_t opcodes[2]; /* Those that it has: bit n of word w is opcode 80h + 64 * w + n. */
};

/* Whether it has the opcode. */
static inline bool nvme_vendor_has(const struct nvme_vendor *vendor, uint8_t opcode)
{
    const unsigned bit = opcode - NVME_VENDOR_OPCODE_MIN;

    return opcode >= NVME_VENDOR_OPCODE_MIN && (vendor->opcodes[bit / 64] >> bit % 64 & 1) != 0;
}

/* Adds an opcode, 80h or above, to those that it has. */
static inline void nvme_vendor_add(struct nvme_vendor *vendor, uint8_t opcode)
{
    const unsigned bit = opcode - NVME_VENDOR_OPCODE_MIN;

    assert(opcode >= NVME_VENDOR_OPCODE_MIN);
    vendor->opcodes[bit / 64] |= UINT64_C(1) << bit % 64;
}

#endif

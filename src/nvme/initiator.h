/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host's association with one NVMe/TCP controller: the admin queue, what the controller and
 * its namespace say of themselves, keep-alive, and asynchronous events.
 *
 *   initiator_ctrl_start() --> Connect, CC.EN, Identify, Number of Queues --> ready()
 *   initiator_ctrl_queue_config() --> initiator_queue_create(), one per connection
 *   initiator_io_submit() ...
 *
 * When the admin queue is lost, the controller ends its I/O queues as well; they find out by
 * themselves.  When an I/O queue is lost, what to do is the owner's choice.
 *
 * NVM Express Base Specification 2.0c, "Controller Initialization", "Keep Alive".
 *
 * Threading: a controller belongs to one reactor; its I/O queues may be on others.
 * Memory:    allocates when it is created only.
 */
#ifndef NVME_INITIATOR_H
#define NVME_INITIATOR_H

#include "nvme/fabrics_spec.h"
#include "nvme/initiator_queue.h"

struct initiator_ctrl;

/* What the controller says of itself, checked and cut to our own limits. */
struct initiator_ctrl_info {
    uint16_t cntlid;
    bool is_discovery;
    uint32_t data_bytes_max;    /* Of one command. */
    uint32_t in_capsule_bytes;  /* Of a write on an I/O queue. */
    uint16_t queue_entries_max; /* Of an I/O queue. */
    uint16_t io_queues;         /* Granted: their ids are 1 to io_queues. */
    uint32_t events;            /* Optional asynchronous events: NVME_AEN_*. */
    uint16_t reactors;          /* Of a vendor's commands, see vendor.h; 0 if it says nothing. */
    bool has_volatile_cache;
    bool can_write_zeroes;
    bool can_deallocate;
    char serial[21];
    char model[41];
    char firmware[9];
};

/* The first active namespace; zeros if none is looked for. */
struct initiator_ns_info {
    uint32_t nsid;
    uint32_t lba_bytes; /* A power of two, 512 to 65536. */
    uint64_t bytes;     /* A multiple of it. */
    struct uuid uuid;   /* Nil if the controller names none. */
    uint8_t nguid[16];
};

struct initiator_ctrl_ops {
    /* info and ns are known, and I/O queues may be made.  At most once. */
    void (*ready)(struct initiator_ctrl *c);
    /* An asynchronous event: Dword 0 of its completion.  NULL to ignore events. */
    void (*event)(struct initiator_ctrl *c, uint32_t result);
    /* Called once, last: why it ended (CANCELED after a stop).  It may be destroyed. */
    void (*ended)(struct initiator_ctrl *c, struct status why);
};

struct initiator_ctrl_config {
    const struct initiator_ctrl_ops *ops;
    void *ctx;
    struct reactor *reactor;
    struct initiator_endpoint endpoint;
    struct log *log;        /* Borrowed. */
    uint32_t keep_alive_ms; /* 0 for none. */
    uint16_t io_queues;     /* Wanted; 0 for an administrative association. */
    bool no_namespace;      /* The controller's I/O queues take a vendor's commands alone. */
};

struct status initiator_ctrl_create(const struct initiator_ctrl_config *config,
                                    struct initiator_ctrl **out_ctrl) MUST_CHECK;

/* Never started, or ended.  NULL is allowed. */
void initiator_ctrl_destroy(struct initiator_ctrl *c);

/* Connects.  ready() or ended() follows. */
void initiator_ctrl_start(struct initiator_ctrl *c);

/* Shuts the controller down and disconnects.  The I/O queues have ended.  ended() follows. */
void initiator_ctrl_stop(struct initiator_ctrl *c);

/*
 * Disconnects without a shutdown, for after the loss of a queue: a shutdown would say that this
 * host has all its answers.  Otherwise as initiator_ctrl_stop().
 */
void initiator_ctrl_drop(struct initiator_ctrl *c);

/* Any admin command, from ready() on. */
void initiator_ctrl_submit(struct initiator_ctrl *c, struct initiator_cmd *cmd);

/* Valid from ready() on, and constant: I/O queues on other reactors may use copies. */
const struct initiator_ctrl_info *initiator_ctrl_info(const struct initiator_ctrl *c);
const struct initiator_ns_info *initiator_ctrl_ns(const struct initiator_ctrl *c);
void *initiator_ctrl_ctx(const struct initiator_ctrl *c);

/*
 * Fills in what an I/O queue of this controller needs.  The caller adds ops, ctx, reactor, qid
 * (1 to info.io_queues, each once) and entries (up to info.queue_entries_max).
 */
struct initiator_queue_config initiator_ctrl_queue_config(const struct initiator_ctrl *c);

/* ---- Commands of the NVM command set ---- */

enum initiator_opcode {
    INITIATOR_READ,
    INITIATOR_WRITE,
    INITIATOR_FLUSH,
    INITIATOR_WRITE_ZEROES,
    INITIATOR_DEALLOCATE,
    INITIATOR_COMPARE,
    INITIATOR_VERIFY,
    INITIATOR_COPY,
};

struct initiator_io;
typedef void initiator_io_fn(struct initiator_io *io);

/* One I/O.  All of it, and data, are lent from submit to done. */
struct initiator_io {
    enum initiator_opcode opcode;
    bool fua;         /* Not of FLUSH and DEALLOCATE. */
    bool deallocate;  /* WRITE_ZEROES: the space may be given back. */
    uint64_t source;  /* COPY: as offset. */
    uint64_t offset;  /* Bytes; a multiple of the LBA size, as is bytes. */
    uint64_t bytes;   /* READ, WRITE, COMPARE: data.bytes is taken instead.  FLUSH: ignored. */
    struct span data; /* READ: filled.  WRITE, COMPARE: only read. */
    initiator_io_fn *done;

    struct status status; /* Valid in done; see struct initiator_cmd. */
    uint16_t sc;

    /* Private to initiator_io.c. */
    struct initiator_cmd cmd;
    union {
        struct nvme_dsm_range_spec range;
        struct nvme_copy_range_spec copy;
    };
};

/*
 * Submits an I/O to a queue for a namespace.  READ, WRITE and COMPARE take at most
 * info.data_bytes_max, WRITE_ZEROES, VERIFY and COPY 65536 LBAs, DEALLOCATE 2^32-1 LBAs.  The range
 * need not lie in the namespace: the controller refuses it then.
 */
void initiator_io_submit(struct initiator_queue *q, const struct initiator_ns_info *ns,
                         struct initiator_io *io);

#endif

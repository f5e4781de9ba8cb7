/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine share.
 *
 *   command.c   front end, on the host's reactor: host command -> pieces, and back
 *   slice.c     on the slice's reactor: piece -> overlap order -> legs
 *   volume.c    opening, closing, deleting
 *
 * A command and its pieces come from the pool of the slice on whose reactor the host's command
 * arrived (the front) and return there.  A piece visits the slice that owns its shard, and the
 * reactor of its disk, by messages; between two of these it belongs to one reactor only.
 */
#ifndef VOLUME_VOLUME_INTERNAL_H
#define VOLUME_VOLUME_INTERNAL_H

#include <stdatomic.h>

#include "base/sm.h"
#include "volume/layout.h"
#include "volume/leg.h"
#include "volume/limits.h"
#include "volume/order.h"
#include "volume/volume.h"

/* Replicas that a piece fans out to.  Replication raises it to VOLUME_REPLICAS_MAX. */
#define PIECE_LEGS_MAX 1u

struct command;
struct slice;

/*
 * For blocks that do not go to the host as they are: they are read into memory of the reactor's.
 * The command has only a part of a block, with LBAs of 512 bytes (a write goes on with it as a
 * whole), or compares its data with the blocks, or only wants to know that they can be read.
 *
 * Memory comes last: a piece asks for it when it has its place in the order, and whoever has some
 * waits for nothing but the disks.  So memory that has run out comes back.
 */
struct scratch {
    uint32_t bytes;     /* Whole blocks; 0: the piece needs none. */
    uint32_t from, to;  /* The command's part of them, in bytes. */
    uint8_t *data;      /* That part in the host's memory; NULL: zeros, or nobody wants it. */
    struct span memory; /* Of the pool of the reactor of the piece's owner. */
    struct buf_waiter waiter;
    uint32_t crc; /* Of the whole block, when it is written. */
    bool reading; /* The blocks are on their way from the store. */
};

/* A part of a command that lies in one shard, or the part of a Flush for one leg. */
struct piece {
    struct command *cmd;
    struct slice *owner; /* Slice of the shard; NULL in a Flush. */
    struct order_entry order;
    struct scratch scratch;
    struct leg_io legs[PIECE_LEGS_MAX];
    uint32_t legs_pending;
    struct status status; /* The first failure of a leg. */
    struct io_msg msg;
    struct list_node link; /* slice.refused */
};

struct command {
    struct nvme_ns_req *req;
    struct slice *front;
    struct list_node link; /* front->finished, or the pool. */
    struct status status;  /* The first failure of a piece. */
    uint32_t free_pieces;  /* One bit each. */
    bool fed;              /* No more pieces will follow. */
    union {
        struct layout_range rest; /* READ, WRITE. */
        struct {                  /* WRITE_ZEROES, DEALLOCATE. */
            struct layout_walk walk;
            struct layout_range edges[2];
            uint32_t edges_left;
        } zero;
        uint32_t next_leg; /* FLUSH. */
    } feed;
    struct piece pieces[VOLUME_PIECES_MAX];
    uint32_t crcs[VOLUME_BLOCKS_MAX]; /* WRITE: one per whole block of the command. */
};

/* A reactor's part of a volume: the shards whose index mod slice_count is its index. */
struct slice {
    struct volume *volume;
    struct reactor *reactor;

    /* As the front of commands that arrive here. */
    struct command *commands;
    uint32_t commands_max;
    uint32_t commands_fresh; /* commands[commands_fresh ..] were never used. */
    uint32_t commands_used;
    struct list commands_free; /* command.link */
    struct list waiting;       /* nvme_ns_req.link: no command was free. */
    uint32_t waited;           /* Requests that were put there. */
    struct list finished;      /* command.link: ended without a wait. */
    struct io_task finish_task;

    /* As the owner of shards. */
    struct order *order;
    struct buf_pool *scratch; /* The reactor's, for all its volumes.  Borrowed. */
    struct list refused;      /* piece.link: ended without a wait. */
    struct io_task refuse_task;
};

/* A call to one leg, on its reactor and back; see volume.c. */
struct leg_call {
    struct volume *volume;
    struct leg *leg;
    char disk[STORE_NAME_BYTES]; /* Its name, for messages. */
    bool used;                   /* A shard of the volume lies there. */
    struct io_msg msg;
    struct leg_io io; /* DELETE_VOLUME */
};

struct volume {
    struct nvme_ns ns;
    struct store_volume desc;
    struct layout layout;
    struct log *log;
    struct reactor *home; /* Reactor 0 of the node. */
    struct slice *slices;
    unsigned slice_count;
    struct leg *legs; /* One per disk of the configuration. */
    uint32_t leg_count;
    struct volume_placement *shards;
    uint64_t epoch;
    struct leg_losses losses;

    /* Opening, closing, deleting: on home. */
    struct sm sm;
    struct leg_call *calls; /* One per leg. */
    uint32_t calls_pending;
    struct io_msg round_msg;
    struct status status;
    void (*on_opened)(void *ctx, struct status status, struct volume *volume);
    void (*on_closed)(void *ctx);
    void (*on_deleted)(void *ctx, struct status status);
    void *ctx;
};

static inline struct slice *volume_slice_of_shard(const struct volume *v, uint32_t shard)
{
    return &v->slices[shard % v->slice_count];
}

/* ---- command.c ---- */

struct status command_pool_init(struct slice *s, uint32_t commands_max) MUST_CHECK;
void command_pool_fini(struct slice *s);

/* nvme_ns_ops.submit */
void command_submit(struct nvme_ns *ns, struct nvme_ns_req *req);

/* nvme_ns_ops.loss_heard */
void command_loss_heard(struct nvme_ns *ns, uint64_t loss);

/* A piece has ended; on the reactor of its command's front. */
void command_on_piece(struct piece *p);

/* ---- slice.c ---- */

struct status slice_init(struct slice *s, struct volume *v, struct reactor *reactor,
                         struct buf_pool *scratch, uint32_t commands_max) MUST_CHECK;
void slice_fini(struct slice *s);

/*
 * Starts a piece whose order entry and store command are filled in, at the slice that owns its
 * shard.  command_on_piece() follows, never from in here.
 */
void slice_submit(struct piece *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine share.
 *
 *   command.c   front end, on the host's reactor: host command -> pieces, and back
 *   slice.c     on the slice's reactor: piece -> overlap order
 *   fanout.c    there: piece -> replicas of its copyset, and back      confirm.c  leases
 *   members.c   on home: which replicas are in sync      disk_state.c  what is told of them
 *   alive.c     ... whether those answer who would remain      members_flush.c  Flushes
 *   rounds.c    on the slice's reactor: closing regions      outlier.c  members that are slow
 *   range_copy.c  there: making replicas equal in a range      copy_part.c  blocks of it
 *   settling.c  ... in listed regions
 *   points.c    what the disks had confirmed, on which the lists rest
 *   takeover.c  on home: a new engine takes over from the one before
 *   resync.c    on the slice's reactor: a replica that was away gets what it lacks
 *   resync_home.c  on home: which, and when; its admission      runs.c   the regions
 *   pace.c      how fast those of all volumes are
 *   replace.c   on home: another disk in a slot that is out
 *   forget.c    on home: what a disk has that was replaced
 *   undo.c      on the slice's reactor: writes that a full replica has refused
 *   repair.c    there: blocks that are bad at one replica
 *   mend.c      the same, where scrubbing a disk has found them
 *   verify.c    on home: every block is read, and hashed      verify_reader.c  on the slice's
 *   trail.c     changes on their way to it that nobody waits for
 *   copy.c      Copy, a chunk at a time      scratch.c   memory for it, and the like
 *   volume.c    opening, closing, deleting      grow.c      growing
 *   map.c       which shard lies where
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
#include "volume/members.h"
#include "volume/order.h"
#include "volume/outlier.h"
#include "volume/points.h"
#include "volume/range_copy.h"
#include "volume/repair.h"
#include "volume/replace.h"
#include "volume/resync.h"
#include "volume/resync_home.h"
#include "volume/rounds.h"
#include "volume/scratch.h"
#include "volume/settling.h"
#include "volume/trail.h"
#include "volume/undo.h"
#include "volume/unreadable.h"
#include "volume/volume.h"

struct command;
struct piece;
struct slice;

/*
 * The legs on which a shard's replicas lie, one for each slot, and what the slice knows of them.
 * All shards of the same tuple share it, and one slice owns them: the one on the reactor of the
 * first disk that is on this node.
 * Sets of slots are bit masks.
 *
 * A volume of one replica has copysets of one leg, which is the member for ever.
 */
struct copyset {
    uint32_t number; /* In the group's record. */
    /* Index into the map's legs; COPYSET_NO_LEG.  The slice's: replace_turn(). */
    uint32_t leg[VOLUME_SLOTS_MAX];
    uint8_t remote; /* Slots on other nodes. */
    struct slice *slice;

    /* The slice's. */
    uint8_t members;  /* In sync, as the engine last committed it. */
    uint8_t sources;  /* Of these, from whom settling takes its values (7.5). */
    struct list held; /* piece.link: they wait for a change of members, or to go on after one. */
    struct outlier outlier;
    struct round_copyset round;
    struct settling settling;
    struct store_point points[VOLUME_SLOTS_MAX]; /* By slot; without a disk: none is known. */
    uint8_t
        lost; /* Members that have lost theirs, until all is settled, and that is kept (3.7.5). */
    struct io_msg settled_msg; /* All of it is. */
    bool settled_told;         /* It was sent. */

    /* The slice's: a replica that is being resynced.  Sets of at most one slot. */
    struct resync resync;
    uint8_t joining;         /* 9.1: changes flow to it. */
    uint8_t followed;        /* 3.4: rounds ask it, too. */
    uint8_t joint;           /* 9.8: acknowledgements wait for it. */
    uint32_t era;            /* One more each time that one joins. */
    uint32_t turn;           /* One more each time that a slot's replica has moved (9.21). */
    uint32_t changing;       /* Changes that the fan-out has ... */
    uint32_t undrained;      /* ... and of these, those that were not sent to it (9.2). */
    uint32_t flowing;        /* Changes on their way to a slot that was no member ... */
    uint32_t trailing;       /* ... and of these, those that have been acknowledged. */
    struct resync_home home; /* Home's, but for what it says otherwise. */
    uint32_t home_leg[VOLUME_SLOTS_MAX]; /* Home's leg: as the record says. */
    struct replace replace;              /* Home's, but for what it says otherwise. */
};

#define COPYSET_NO_LEG UINT32_MAX

/*
 * Where a volume's addresses lie.  It never changes: a volume that grows gets another one, in which
 * the legs and shards of this one are the first ones, and each slice takes it over in a turn of
 * its own.  A slice's files use slice.map, and keep nothing of it from turn to turn but indexes.
 */
struct volume_map {
    struct layout layout;
    struct leg **legs;
    uint32_t leg_count;
    struct copyset **copysets; /* The volume's; those of the map before are the first ones. */
    uint32_t copyset_count;
    uint32_t *shards; /* Of each its copyset. */
    uint32_t shard_count;
    uint64_t piece_bytes_max; /* Of blocks in one command to a leg. */
};

static inline struct copyset *map_copyset(const struct volume_map *map, uint32_t shard)
{
    return map->copysets[map->shards[shard]];
}

/* Regions of a shard. */
static inline uint32_t map_shard_regions(const struct volume_map *map)
{
    return (uint32_t)(round_up_u64(map->layout.shard_bytes, STORE_REGION_BYTES) /
                      STORE_REGION_BYTES);
}

/*
 * For blocks that do not go to the host as they are: they are read into memory of the slice's.
 * The command has only a part of a block, with LBAs of 512 bytes (a write goes on with it as a
 * whole), or compares its data with the blocks, or only wants to know that they can be read.
 *
 * Memory comes last: a piece asks for it when it has its place in the order, and whoever has some
 * waits for nothing but disks, members and copies, which have other memory.  So what has run out
 * comes back, as far as the volume's members do.
 */
struct scratch {
    uint32_t bytes;     /* Whole blocks; 0: the piece needs none. */
    uint32_t from, to;  /* The command's part of them, in bytes. */
    uint8_t *data;      /* That part in the host's memory; NULL: zeros, or nobody wants it. */
    struct span memory; /* Of the piece's owner. */
    struct buf_waiter waiter;
    uint32_t crc; /* Of the whole block, when it is written. */
    bool reading; /* The blocks are on their way from the store. */
};

/* A part of a command that lies in one shard, or the part of a Flush for one leg. */
struct piece {
    struct command *cmd;
    unsigned index;      /* In cmd->pieces. */
    struct slice *owner; /* Slice of the shard; NULL in a Flush. */
    struct order_entry order;
    struct scratch scratch;
    bool placed;      /* A Copy's place: it is in the order.  The owner's. */
    bool own_place;   /* order is its own, and is left when it has ended: a trail may get it. */
    bool place_given; /* To a trail. */

    /* The owner's: fanout.c. */
    struct copyset *copyset;
    struct leg_io *legs;  /* One for each slot of the copyset. */
    uint8_t pending;      /* Slots whose answer is awaited. */
    uint8_t done;         /* Slots that have executed it. */
    uint8_t failed;       /* Slots that have answered otherwise. */
    uint8_t unread;       /* READ: slots where a block is bad. */
    uint8_t unconfirmed;  /* READ: slots that have not given a lease (confirm.c), ... */
    uint8_t asked;        /* ... and those on this node that have answered, and give none. */
    uint64_t received_ns; /* READ: a time since it came. */
    uint64_t sent_ns;     /* When, for the last time. */
    uint8_t tied;         /* Of pending: no members, and there was no trail for them. */
    uint8_t flowing;      /* Slots to which a trail is on its way ... */
    struct trail *trail;  /* ... and it; or NULL. */
    uint32_t era;         /* Of the copyset, when it was sent to all of them. */
    uint32_t turn;        /* Likewise, when what was heard was still of account. */
    bool changes;         /* It counts in copyset.changing. */
    bool held;            /* It is in copyset.held, ... */
    bool aside;           /* ... and set aside in the order, ... */
    bool resuming;        /* ... until whoever passes it there has left. */
    bool again;           /* After a round it is sent again, to all. */
    bool undoing;         /* It is in undos.pieces, ... */
    bool undo_waits;      /* ... for a member; ... */
    uint8_t full;         /* ... and these slots have refused it. */
    uint32_t tick;        /* 0: it changes nothing, or nobody follows it. */
    void (*on_fanned)(struct piece *piece);
    void (*on_settled)(struct piece *piece); /* It may go on: settling_admits(), repair_wait(). */
    bool repaired;                           /* It has waited for a repair. */

    struct buf_pool *pool; /* Of whose buffers the legs' data are; NULL: of none. */
    bool stranded;         /* READ: its memory may yet be filled by a disk that hangs (6.7). */

    struct status status;
    struct io_msg msg;
    struct list_node link; /* slice.refused, copyset.held, undos.pieces, ... */
};

/* A Copy; see copy.c. */
struct copy {
    struct sm sm;
    uint64_t source, at, left; /* What no chunk has taken: bytes of the volume. */

    /* The chunk. */
    uint32_t bytes;
    struct layout_extent from, to; /* The blocks around it. */
    uint32_t from_skip, to_skip;   /* Where it begins in these. */
    bool is_part;                  /* Of a block, at the destination. */
    unsigned place_count;          /* pieces[0 .. place_count) are its places in the order ... */
    unsigned placed;               /* ... of which it has so many. */
    unsigned pending;              /* Legs. */
    struct span memory;
    struct buf_waiter waiter;
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
        struct copy copy;  /* COPY. */
    } feed;
    struct piece *pieces[VOLUME_PIECES_MAX]; /* command_piece() */
    uint32_t crcs[VOLUME_BLOCKS_MAX];        /* WRITE, COPY: one per whole block of the command. */
};

/* A reactor's part of a volume: the shards whose disks it has. */
struct slice {
    struct volume *volume;
    struct reactor *reactor;
    const struct volume_map *map;
    struct io_msg map_msg; /* Brings the next one. */

    /* As the front of commands that arrive here. */
    struct command *commands;
    struct piece *pieces;             /* Of the commands, ... */
    struct leg_io *leg_ios;           /* ... and of these. */
    struct leg_remote_io *remote_ios; /* Likewise. */
    uint32_t commands_max;
    uint32_t commands_fresh; /* commands[commands_fresh ..] were never used. */
    uint32_t commands_used;
    struct list commands_free; /* command.link */
    struct list waiting;       /* nvme_ns_req.link: no command was free. */
    uint32_t waited;           /* Requests that were put there. */
    struct list finished;      /* command.link: ended without a wait. */
    struct list canceled;      /* nvme_ns_req.link: taken out of waiting. */
    struct io_task finish_task;
    unsigned copies;            /* Under way; up to VOLUME_COPIES_MAX. */
    struct list copies_waiting; /* command.link */

    /* As the owner of shards. */
    unsigned replicas; /* Of the volume. */
    unsigned slots;    /* Of a copyset: a spare one more, if there are several replicas. */
    bool fenced;       /* Another engine has the volume: all ends with FENCED. */
    bool stopping;     /* Fenced, and something is still under way. */
    unsigned mending;  /* Repairs of what scrubs have found. */
    struct io_msg members_msg;
    struct io_msg back_msg; /* A member has a session again. */
    _Atomic bool back_posted;
    struct io_msg settle_msg;
    struct rounds rounds;
    struct pace_queue *pace; /* Of the reactor; NULL: resyncs are as fast as they can. */
    struct trails trails;
    struct undos undos;
    struct repairs repairs;
    struct unreadable unreadable;
    struct order *order;
    struct scratch_pool scratch;      /* For commands. */
    struct scratch_pool copy_scratch; /* For range copies, which commands may wait for. */
    struct list refused;              /* piece.link: ended without a wait. */
    struct io_task refuse_task;
};

/* A leg, and a call to it, on its reactor and back; see volume.c. */
struct leg_call {
    struct volume *volume;
    struct leg leg;
    struct uuid uuid;            /* Of the disk. */
    char disk[STORE_NAME_BYTES]; /* Its name, for messages. */
    bool is_new;                 /* The slices do not know it yet. */
    struct io_msg msg;
    struct leg_io io; /* DELETE_VOLUME */
    struct leg_remote_io remote_io;
    struct members_leg members;
    struct alive_leg alive;
    struct status outcome; /* Of what a growth asked of it. */
    bool opened;           /* It has been told to open. */
    bool opening;          /* It was away, and its session is being opened; or it is closed. */
    bool retired;          /* No slot is its any more: its session is closed, or about to be. */
    struct io_msg open_msg;
    void (*on_forgotten)(void *ctx, struct status status); /* forget.c */
    void *forget_ctx;
    struct io_msg forget_msg; /* Its store's loss has been made good. */
};

struct volume {
    struct nvme_ns ns;
    struct store_volume desc; /* Home's, but for its first use by each slice. */
    struct log *log;
    struct reactor *home; /* Reactor 0 of the node. */
    struct slice *slices;
    unsigned slice_count;
    uint64_t epoch;
    uint64_t patience_ns; /* With replicas on other nodes. */
    bool no_leases;
    bool waited;
    bool deleting; /* It has no group any more. */
    struct resync_counters resync;
    struct io_timer resync_timer; /* When the next one may be begun. */
    uint32_t openings;            /* leg_call.opening */
    struct verify *verify;        /* One under way; or NULL. */
    struct leg_losses losses;
    uint64_t loss; /* Of these, what the group's record says of (7.7); 0: nothing. */
    struct members members;
    struct copyset **copysets; /* Of all maps. */
    uint32_t unsettled;        /* Of these, so many were not settled when last heard of. */
    uint32_t copyset_count;

    /* Opening, growing, closing, deleting: on home. */
    struct sm sm;
    void (*after_fence)(struct volume *v); /* When nothing is under way any more. */
    void (*after_stop)(struct volume *v);  /* Nor a verification. */
    struct volume_map *map;
    struct leg_call **calls; /* One per leg of the map, and perhaps of one that came to nothing. */
    uint32_t call_count;
    uint32_t calls_pending;
    struct io_msg round_msg;
    struct status status;
    void (*on_opened)(void *ctx, struct status status, struct volume *volume);
    void (*on_closed)(void *ctx);
    void (*on_deleted)(void *ctx, struct status status);
    void *ctx;
    struct store_volume next_desc; /* While it grows. */
    struct volume_map *next_map;
    struct group *next_group; /* The group's record with more copysets; or NULL. */
    void (*on_grown)(void *ctx, struct status status);
    void *grow_ctx;
};

/*
 *   OPENING -----> READY -----> DELETING      READY <--> DESCRIBING --> (RECORDING) --> SPREADING
 * --> READY |             |             | |             v             |          with replicas:
 *      +-------> CLOSING <---------+      OPENING --> LISTING --> TELLING --> DECIDING --> READY
 *                    |                                                            |
 *                  ENDED                                                          +--> CLOSING
 *
 * Every state but READY waits for a round of messages: one to each leg and back, and in SPREADING
 * one to each slice.  When volume_round_return() has counted the last, round_on_end() of volume.c
 * leaves the state.  RECORDING waits for a change of the group's record (members.h).
 */
enum volume_state {
    VOL_OPENING,
    VOL_LISTING,
    VOL_TELLING,
    VOL_DECIDING,
    VOL_READY,
    VOL_DESCRIBING,
    VOL_RECORDING,
    VOL_SPREADING,
    VOL_DELETING,
    VOL_CLOSING,
    VOL_ENDED,
};

/* 9.19: the slot to which a replica is moved, and which no record knows. */
static inline unsigned copyset_spare(const struct copyset *cs)
{
    return cs->slice->replicas;
}

/* The copyset of a shard, and the slice that owns it. */
static inline struct copyset *copyset_of_shard(const struct slice *slice, uint32_t shard)
{
    return map_copyset(slice->map, shard);
}

static inline struct slice *slice_of_shard(const struct slice *slice, uint32_t shard)
{
    return copyset_of_shard(slice, shard)->slice;
}

/* ---- volume.c ---- */

/* Begins a round of calls messages, and ends one of them; the last ends the round. */
void volume_round_begin(struct volume *v, uint32_t calls);
void volume_round_return(struct volume *v);

/* The same for the calls to legs that takes() chooses: start is delivered on the leg's reactor. */
void volume_round_legs(struct volume *v, bool (*takes)(const struct leg_call *call),
                       void (*start)(struct io_msg *msg));

/* From the leg's reactor back home. */
void leg_call_return(struct leg_call *call);

/* 7.2: before its leg is opened, on home. */
void volume_leg_must_know(const struct volume *v, struct leg_call *call);

/* ---- map.c ---- */

/*
 * Makes the map of a configuration; legs for disks that the volume does not have yet are added to
 * its calls.  INVALID if it does not fit, or does not extend the volume's map; LIMIT.
 */
struct status volume_map_create(struct volume *v, const struct volume_config *config,
                                struct volume_map **out_map) MUST_CHECK;

/* The leg of a disk among the volume's calls, where one is added if there is none.  LIMIT. */
struct status volume_map_leg(struct volume *v, const struct volume_disk *disk,
                             uint32_t *out_index) MUST_CHECK;

/* A leg without a session takes what is there of its disk now. */
struct status volume_map_renew(struct leg_call *call, const struct volume_disk *disk) MUST_CHECK;

/* The volume's map with all legs that there are. */
struct status volume_map_add_legs(const struct volume *v, struct volume_map **out_map) MUST_CHECK;

/* NULL is allowed. */
void volume_map_destroy(struct volume_map *map);

/* ---- takeover.c ---- */

/* All sessions that can be opened are open.  volume_taken_over() follows, with v->status. */
void takeover_start(struct volume *v);

/* Its steps' rounds have ended. */
void takeover_on_listed(struct volume *v);
void takeover_on_told(struct volume *v);

/* Begins to settle what is to be settled. */
void takeover_settle(struct volume *v);

/*
 * 11.4: a member on another node is gone, without which a copyset cannot be settled, but could be
 * taken over; and so could all others: then the volume is to be opened anew.  (A disk that hangs
 * on this node would keep the next engine from opening.)
 */
bool takeover_needs_another(const struct volume *v, const struct leg_call *call);

/* The slice's: all of a copyset is settled. */
void takeover_copyset_settled(struct copyset *cs);

/* In volume.c: the volume is served now, or v->status says why not. */
void volume_taken_over(struct volume *v);

/* ---- grow.c ---- */

/* Tells the slices of v->next_map; grow_on_spread() follows. */
void grow_spread(struct volume *v);

/* Its rounds have ended. */
void grow_on_described(struct volume *v);
void grow_on_spread(struct volume *v);

/* ---- command.c ---- */

struct status command_pool_init(struct slice *s, uint32_t commands_max) MUST_CHECK;
void command_pool_fini(struct slice *s);

/* nvme_ns_ops.submit */
void command_submit(struct nvme_ns *ns, struct nvme_ns_req *req);

/* nvme_ns_ops.cancel */
bool command_cancel(struct nvme_ns *ns, struct nvme_ns_req *req);

/* nvme_ns_ops.loss_heard */
void command_loss_heard(struct nvme_ns *ns, uint64_t loss);

/* One of the command's pieces, set up when it is used for the first time. */
struct piece *command_piece(struct command *cmd, unsigned index);

/* A piece has ended; on the reactor of its command's front. */
void command_on_piece(struct piece *p);

/* The same: a piece of a Flush need not wait any longer before it is sent. */
void command_flush_leg(struct piece *p);

/* ---- copy.c ---- */

/* Starts a Copy, or has it wait for others; it ends through the front's list of finished ones. */
void copy_start(struct command *cmd);

/* Copies have ended: starts those that waited. */
void copy_start_waiting(struct slice *front);

/* ---- fanout.c ---- */

/*
 * Sends a piece whose copyset and legs' commands are filled in to the replicas that it is for.
 * on_fanned is called with its status, never from in here.  On the reactor of the copyset's slice.
 */
void fanout_start(struct piece *p);

/* A trail of the piece has ended. */
void fanout_on_trail(struct piece *p, unsigned slot, struct status status);

/* 9.10: whether a change may have been executed by one more member, which is not full. */
bool fanout_may_be_done(const struct piece *p);

/* It has been taken back everywhere (undo.h), or its slice is fenced. */
void fanout_undone(struct piece *p, struct status status);

/* Who has refused it is no member any more, or a member does not answer: it is sent again. */
void fanout_undone_in_vain(struct piece *p);

/* Of some slots of a copyset, those whose legs have had a session, and were not parted from, nor
 * passed over (11.4). */
unsigned fanout_reachable(const struct copyset *cs, unsigned slots);

/* Those of the slots with a session now, or all if none has. */
unsigned fanout_up(const struct copyset *cs, unsigned slots);

/* Those of the slots whose disks are well, or all if none is. */
unsigned fanout_well(const struct copyset *cs, unsigned slots);

/* One of some slots, as a set: they take turns by address, region after region. */
unsigned fanout_in_turn(unsigned slots, uint32_t shard, uint64_t offset);

/* All that were asked for a lease have answered. */
void fanout_confirmed(struct piece *p);

/* What waited for the copyset's members, or for the slice to be fenced, goes on. */
void fanout_members_changed(struct copyset *cs);

/* The slice's: a member that may have answered with an error has a session again: it is asked once
 * more for what waits for it. */
void fanout_retry(struct slice *s);

/* slice.refuse_task */
void fanout_end_refused(struct io_task *task);

/* ---- confirm.c ---- */

/* A read begins. */
void confirm_begin(struct piece *p);

/*
 * Whether a read that has its blocks may be completed.  Otherwise the members that have to say so
 * are asked, those that can be, and fanout_confirmed() follows if p->pending is not 0.
 */
bool confirm_admits(struct piece *p);

/* ---- verify.c ---- */

/* The engine is fenced: a verification ends. */
void verify_fence(struct volume *v);

/* The volume is closed: then is called when no verification is under way any more. */
void verify_close(struct volume *v, void (*then)(struct volume *v));

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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A leg: one disk's store, as one volume's engine sees it.  It hides where the store is: in this
 * process, and called directly on the reactor of its disk; or on another node (remote.h).
 *
 *     slice ---- leg_submit ---(message, if on another reactor)---> store_submit
 *     slice <--- done ---------(message, if on another reactor)---- store's done
 *
 *     slice ---- leg_submit ---(the reactor's own queue)----------> another node
 *
 * A leg counts what a Flush has to cover.  A write is counted on the store's reactor before its
 * completion travels back, and a Flush reads the count there after it was submitted, so that it
 * covers every write whose completion the host has seen (S1).
 *
 * Threading: a leg belongs to its reactor: the store's, or home if it is remote.  leg_submit() is
 *            called on any reactor of the node, and calls back there.
 * Memory:    commands are embedded in the engine's pieces.
 */
#ifndef VOLUME_LEG_H
#define VOLUME_LEG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/reactor.h"
#include "peer/session.h"
#include "store/store.h"
#include "volume/local.h"

struct buf_pool;
struct heir;
struct leg;
struct leg_io;
struct leg_remote_io;
struct remote;

/* What becomes of a leg after it was opened, where it is one of several; on home. */
struct leg_ops {
    /* It is away for too long, or does not answer, or has lost what it had; STALE_EPOCH: another
     * engine has the group.  Again and again. */
    void (*report)(struct leg *leg, struct status why);
    /* It has a session, the first one or another; or answers again. */
    void (*back)(struct leg *leg);
};

/* A volume's losses: completed writes that may be gone, and which its host must hear of (S1). */
struct leg_losses {
    _Atomic uint64_t noted; /* How many; the number of the last. */
    _Atomic uint64_t heard; /* The host has heard of this one and all before. */
};

struct leg {
    /* Set while the volume is opened, constant after. */
    struct store *store;   /* NULL: the disk is not available here. */
    struct remote *remote; /* It is on another node; NULL: it is not. */
    const struct leg_ops *ops;
    struct reactor *reactor;
    struct store_session *session; /* NULL: could not be opened. */
    uint64_t generation;
    uint64_t set_sequence;      /* Of the newest set that it kept when it was opened first (6.5). */
    bool continue_on_loss;      /* on-unflushed-loss = continue. */
    bool has_peers;             /* It is one of several replicas: what it lost others may have. */
    bool known;                 /* Home's: leg_must_know(). */
    struct status problem;      /* Why there is no session. */
    bool list_cut;              /* Its region list is not whole (docs/replication.md, 9.3). */
    struct status outcome;      /* Of leg_describe(). */
    void (*on_done)(void *ctx); /* Of leg_open(), leg_describe(). */
    void *done_ctx;
    struct leg_losses *losses;

    /* The store's reactor's. */
    bool may_have_lost; /* So its store says. */
    uint64_t loss; /* The last one of this disk that its store has not been told is heard; or 0. */
    uint64_t incarnation;
    uint64_t written; /* Commands completed that a Flush must cover. */
    uint64_t flushed; /* The value of written that the last good Flush covered. */

    struct local local;

    /* Home's, read anywhere: leg_part(). */
    atomic_bool parted;

    /* Written on the store's reactor, read anywhere. */
    _Atomic uint64_t used_bytes; /* What the volume takes there, as of the last command. */
    _Atomic uint64_t incarnation_now;
};

struct leg_io {
    /* The caller's.  In store: opcode, fua, create, shard, offset, bytes, data, crcs, tick. */
    void *owner;   /* Whoever asks, and ... */
    unsigned slot; /* ... for which replica. */
    struct leg *leg;
    bool confirm;  /* CONFIRM (docs/replication.md, 8.2, 8.5), whatever store says. */
    bool stranded; /* READ: it has failed, and its memory may yet be filled (6.7). */
    uint32_t flew; /* Private to local.c: when, in its ticks. */
    struct leg_remote_io *remote; /* Memory that is used if the leg is remote. */
    struct buf_pool *pool;        /* READ, WRITE: of whose buffers data are; NULL: of none. */
    struct store_io store;
    struct reactor *reactor; /* Where leg_submit() was called and done will be. */
    void (*done)(struct leg_io *io);
    struct status status; /* Valid in done. */
    bool outdated; /* Of confirm, local: the disk has another incarnation than commands name, */
                   /* as when a flush of its own has failed. */

    /* Private to leg.c and local.c. */
    struct io_msg msg;
    struct io_task task;
    uint64_t written;  /* FLUSH: what it covers. */
    struct heir *heir; /* Who has its data, on its way back. */
};

/*
 * What a command to a remote leg takes besides: apart from the rest, so that local ones stay small,
 * and memory for it that was never used costs nothing.  Private to remote_lane.c.
 */
struct leg_remote_io {
    struct leg_io *io;
    struct list_node link;
    uint32_t flew; /* When: in ticks of the lane. */
    unsigned tries;
    struct peer_io peer;
};

/*
 * Prepares a leg that has no session yet.  store may be NULL.  reactor is the one of the store's
 * disk, or any if there is no store.  losses is the volume's.
 */
void leg_init(struct leg *leg, struct store *store, struct reactor *reactor, bool continue_on_loss,
              struct leg_losses *losses);

/*
 * The leg is local and one of several: it is reported, on home, if it does not answer for as long
 * as the patience lasts.
 */
void leg_watch(struct leg *leg, struct reactor *home, uint64_t patience_ns,
               const struct leg_ops *ops);

/*
 * The leg is one of a disk of another node, by this link.  patience_ns: after which it is reported
 * as being away.  On home.  NO_MEMORY.
 */
struct status leg_init_remote(struct leg *leg, struct link *link, struct uuid disk, uint64_t epoch,
                              uint64_t patience_ns, const struct leg_ops *ops) MUST_CHECK;

/* 4.3: the tick that its last OPEN named; 0 of a local one.  Any reactor. */
uint32_t leg_open_tick(const struct leg *leg);

/*
 * 4.1: the number of its last session, if it is a remote one: where a leg of the same disk is made
 * anew in the same epoch, its sessions come after that.  On home, not open.
 */
uint64_t leg_session_number(const struct leg *leg);
void leg_session_after(struct leg *leg, uint64_t number);

/* It was never opened, or is closed. */
void leg_fini(struct leg *leg);

/* Whether it can be opened. */
static inline bool leg_has_store(const struct leg *leg)
{
    return leg->store != NULL || leg->remote != NULL;
}

/*
 * Opens the session; done when leg->problem says how that went, never from in here.  leg->loss is
 * not 0 where the host must be told of a loss.  A remote leg is opened again and again until it is
 * closed: it may be there later.  On the leg's reactor, as are done and all that follows.
 */
void leg_open(struct leg *leg, const struct store_volume *volume, uint64_t epoch,
              void (*done)(void *ctx), void *ctx);

/*
 * 7.2: before leg_open(), on home: whether the disk must know the volume, and else refuses with
 * UNKNOWN_VOLUME.  Once it has a session it must, if it is a member (leg_keep()); a remote one that
 * refuses then is reported as STALE_EPOCH.
 */
void leg_must_know(struct leg *leg, bool known);

/* Whether commands may be submitted: it has, or had, a session.  On any reactor. */
bool leg_is_there(const struct leg *leg);

/* Why it is not used, in words that follow its name: "its node cannot be reached".  On home. */
const char *leg_why(const struct leg *leg, struct status why);

/* Whether its session is up now, with the incarnation that it had; a local one: and has no heirs.
 */
bool leg_is_up(const struct leg *leg);

/* Whether its session is up, but with another incarnation than it had; on home. */
bool leg_has_changed(const struct leg *leg);

/*
 * 11.4: it does not answer, and cannot be excluded, but is not waited for: what has no answer ends
 * with UNAVAILABLE, and so does what is submitted, until it is back; it is a member all the while.
 * A local one that answers is not parted.  On home.
 */
void leg_part(struct leg *leg);

/* Whether it was, and is not back.  Any reactor. */
bool leg_is_parted(const struct leg *leg);

/* Whether it is local and its oldest command has no answer for half the patience.  Any reactor. */
bool leg_hangs(const struct leg *leg);

/* Whether a new description may be told: it has a session, if perhaps one that does not answer. */
bool leg_takes_description(const struct leg *leg);

/*
 * Keeps a new description of the volume: done with how that went, in leg->outcome.
 */
void leg_describe(struct leg *leg, const struct store_volume *volume, void (*done)(void *ctx),
                  void *ctx);

/* The volume has grown: a remote leg that has not been told is, with its next session.  On home. */
void leg_set_volume(struct leg *leg, const struct store_volume *volume);

/* What opening has brought. */
void leg_take_opened(struct leg *leg, uint64_t incarnation, uint64_t generation,
                     bool may_have_lost);

/*
 * Whether commands without an answer wait for another session (docs/replication.md, 4.3), or end
 * with UNAVAILABLE: they wait for a member alone.  They do since leg_open().  What had changed its
 * incarnation is taken as it is now.
 */
void leg_keep(struct leg *leg, bool keeps);

/* It has been excluded: commands stop waiting for it, and none of before is executed there when it
 * is up again. */
void leg_exclude(struct leg *leg);

/* The engine is fenced: nothing waits any more, and ends with why. */
void leg_let_go(struct leg *leg, struct status why);

/* What it had completed is gone, and nobody else has it: the host hears of it, or the store that
 * nobody minds.  On the leg's reactor. */
void leg_note_loss(struct leg *leg);

/*
 * One of several replicas: what its store may have lost has been made good (docs/replication.md,
 * 7.6), and it need not say so any more.  On the leg's reactor.
 */
void leg_forget_loss(struct leg *leg);

/*
 * Closes the session, if there is one; done follows, perhaps from in here.  Nothing is submitted or
 * told after it.  What is in flight, if anything is, ends first, and is let go of where it may be:
 * at a local disk when it is late, at a remote one unless its data are moving.
 */
void leg_close(struct leg *leg, void (*done)(void *ctx), void *ctx);

/* Whether its disk is suspect or hangs, so far as this node knows: better read another.  Any
 * reactor. */
bool leg_is_suspect(const struct leg *leg);

/* Commands of this reactor that a remote leg has not answered; most of all, if it is away. */
uint32_t leg_load(const struct leg *leg, const struct reactor *reactor);

/* Whether a command that it is given now goes to the disk, and does not wait for a session.  That
 * reactor. */
bool leg_takes(const struct leg *leg, const struct reactor *reactor);

/* For lease_to_ask(): what the leg has on this reactor; of a local one nothing. */
struct lease_member leg_lease(const struct leg *leg, const struct reactor *reactor);

/* What becomes of a command whose shard the store does not know: it was never written. */
struct status leg_unknown_shard(const struct store_io *s) MUST_CHECK;

/*
 * Starts a command at the leg's store, which must be there.  A READ of a shard that the
 * store does not know fills with zeros (the engine knows that the volume has the shard there; it
 * was never written), and by HASH it is absent; a deallocate of one has nothing to do.  A FLUSH
 * without anything to cover does not reach the disk.  Where the disk's incarnation has changed, a
 * FLUSH or FUA is STALE_INCARNATION once, and a loss is noted, unless the volume continues on loss.
 * To a remote leg READ and WRITE have at most WIRE_BLOCKS_MAX blocks.
 */
void leg_submit(struct leg_io *io);

/*
 * Blocks, hashes, Flushes and leases have somebody who waits, and somebody who can exclude the
 * replica; what the engine tells or asks the disk fails instead, so that the exclusion need not
 * wait.
 */
bool leg_io_can_wait(const struct leg_io *io);

/* ---- What local.c calls ---- */

/* A command that was kept: on its way to the store once more. */
void leg_go_on(struct leg_io *io);

/* An answer of store_session_describe(), or none for too long. */
void leg_on_described(struct leg *leg, struct status status);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions at stores of other nodes: the engine's end of the store protocol (docs/replication.md,
 * sections 2 and 4), with the commands of store.h.
 *
 *   home                                        reactor e
 *   peer_session   OPEN, STATE --> opened()
 *                                               peer_lane_attach()
 *                                               peer_submit() --> queue of the pair --> store
 *                     link is lost
 *                  lost() <-------------------- lanes are down, commands end with lost
 *                  open, with the next number
 *
 * A session belongs to a volume, a group, a disk and an epoch; each time that it is opened it has
 * a higher number (4.1).  Commands go from the reactor on which they are submitted straight to
 * that of the disk (2.1).  What is read is checked against its CRCs before anybody sees it.
 *
 * Threading: a session is home's, a lane its reactor's.
 * Memory:    embedded in their owners; nothing is allocated per command.
 */
#ifndef PEER_SESSION_H
#define PEER_SESSION_H

#include "base/sm.h"
#include "peer/link.h"
#include "repl/lease.h"
#include "store/store.h"
#include "store/wire.h"

struct peer_session;

/* What opening has brought: what store_session_opened has, and what STATE says besides. */
struct peer_opened {
    struct status status; /* The rest is valid if it is OK. */
    uint64_t incarnation;
    uint64_t generation;
    uint64_t set_epoch, set_sequence; /* Of the newest set kept. */
    uint32_t set_count;
    uint32_t regions; /* In the list. */
    uint16_t reactor; /* Of the disk, there. */
    bool busy;        /* There are unflushed writes. */
    bool unflushed_loss;
    bool list_cut;    /* The list is not whole: all may differ. */
    bool disk_failed; /* It takes no writes. */
};

struct peer_session_ops {
    /*
     * Once for each call to open, however long the link takes to come up.  Failures: as
     * store_session_open() has them; OVERTAKEN; LOST never.
     */
    void (*opened)(struct peer_session *s, const struct peer_opened *opened);
    /* After opened() with OK: the link is lost.  It may be opened again at once. */
    void (*lost)(struct peer_session *s, struct status why);
};

struct peer_session_config {
    const struct peer_session_ops *ops;
    struct link *link; /* One of the session's own: given back when it is closed. */
    struct uuid disk;
    uint32_t group;
    uint64_t epoch;
};

#define PEER_SESSION_BYTES 256 /* Data of OPEN without sets, and of STATE. */

struct peer_session {
    struct peer_session_config config;
    struct sm sm;
    struct link_user user;
    struct link_disk *disk;
    struct list_node turn; /* disk->waiting */
    uint64_t number;       /* Of the session: of the last OPEN. */
    uint64_t link_number;
    uint32_t handle;
    uint32_t tick;
    struct store_volume volume;
    bool known; /* OPEN's. */
    uint64_t incarnation;
    uint16_t reactor;
    uint32_t seals;   /* OPEN's answer, ... */
    uint64_t sent_ns; /* ... which is to the question that was sent then. */
    bool closing;
    struct io_timer timer; /* Then its command is not waited for any longer, when it is closing. */
    void (*on_closed)(struct peer_session *s);
    struct initiator_cmd cmd;
    struct io_task task;
    uint8_t data[PEER_SESSION_BYTES];
};

/* On home, as all that follows for sessions. */
void peer_session_init(struct peer_session *s, const struct peer_session_config *config);

/*
 * Opens the session, with the next number, as soon as the link is up; opened() follows, never from
 * in here.  It is not open, or its number is to be given up: commands of that may still be on their
 * way, and end as stale, or lost.  tick, known: as store_session_config has them.
 */
void peer_session_open(struct peer_session *s, const struct store_volume *volume, uint32_t tick,
                       bool known);

/*
 * Gives back lease and session (8.5), if it is open; done follows, never from in here, and within
 * seconds also where the disk hangs: its node ends what is left when a newer session is opened.
 * Nothing is on its way, and no lane is attached.
 */
void peer_session_close(struct peer_session *s, void (*done)(struct peer_session *s));

/* What a reactor has to know to use it. */
struct peer_ticket {
    uint64_t link_number;
    uint64_t epoch;
    uint64_t number;
    uint64_t incarnation;
    uint32_t handle;
    uint16_t reactor;
    uint16_t budget;  /* The disk's. */
    uint32_t seals;   /* OPEN's answer, ... */
    uint64_t sent_ns; /* ... which is to the question that was sent then. */
};

/* After opened() with OK. */
struct peer_ticket peer_session_ticket(const struct peer_session *s);

/* ---- A reactor's part ---- */

struct peer_lane {
    bool up; /* Commands may be submitted.  It goes down without a word. */
    struct list_node node;
    struct link_end *end; /* Constant. */
    struct initiator_queue *queue;
    uint64_t epoch;
    uint64_t incarnation;
    uint32_t handle;
    uint16_t budget;
    uint32_t number;            /* Of the session, its low bits; 0: never attached. */
    struct lease_session lease; /* With end->lease. */
};

/* The lane of a reactor of this node, on which it is used from then on.  It is down.  Any reactor.
 */
void peer_lane_init(struct peer_lane *lane, struct link *link, unsigned reactor);

/*
 * Commands of this reactor may go to the session.  The lane stays down if the link was lost
 * meanwhile.
 */
void peer_lane_attach(struct peer_lane *lane, const struct peer_ticket *ticket);

void peer_lane_detach(struct peer_lane *lane);

/* For lease_to_ask(): who it is, or nobody. */
struct lease_member peer_lane_lease(const struct peer_lane *lane);

/* ---- Commands ---- */

struct peer_io {
    /*
     * As store_submit() takes it; status, and what READ, LIST and HASH bring, as there.  NULL:
     * CONFIRM. READ and WRITE of up to WIRE_BLOCKS_MAX blocks.
     */
    struct store_io *store;
    void (*done)(struct peer_io *io);

    /* Valid in done. */
    struct status status; /* store->status, too. */
    /* There was no answer: the session has ended, and it may have been executed, or not, or be so
     * later, until a newer session has been opened. */
    bool lost;

    /* Private to peer/. */
    struct peer_lane *lane;
    struct link_end *end;
    struct initiator_queue *queue; /* NULL: it waits for memory. */
    uint32_t number;
    uint64_t sent_ns;
    struct initiator_cmd cmd;
    struct span memory; /* For data that are no blocks. */
    struct buf_waiter waiter;
    uint8_t crcs[WIRE_BLOCKS_MAX * WIRE_CRC_BYTES];
};

/*
 * Starts a command on a lane that is up; done follows, never from in here.  STALE_EPOCH,
 * STALE_SESSION, and STALE_INCARNATION (of any command: whatever it did, the disk may have lost
 * what came before) take the lane down.
 */
void peer_submit(struct peer_lane *lane, struct peer_io *io);

/*
 * Lets go of a command, unless its data are on their way.  True: it is the caller's again, and done
 * is not called; the store may execute it until another session has been opened there.  False: done
 * follows as ever.
 */
bool peer_abandon(struct peer_io *io) MUST_CHECK;

#endif

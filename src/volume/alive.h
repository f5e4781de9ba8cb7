/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether those are alive who would remain when a member is excluded (docs/replication.md, 6.1).
 *
 *   alive_ask() --> CONFIRM to each, in its session --> answered, or not within the patience
 *                                                             |
 *                           members_asked() <-----------------+
 *
 * A session that is up says only that nothing is known of its end: the other machine may have lost
 * its power meanwhile, and with it what was not flushed.  If the member that is given up is the one
 * that has everything, that is gone.  So each of the others has to answer after it was decided.
 *
 * So has one of this node: its disk may have failed, and its incarnation changed, without a
 * command.  One whose oldest command has no answer for half the patience counts as not alive.
 *
 * Threading: home's.   Memory: embedded.
 */
#ifndef VOLUME_ALIVE_H
#define VOLUME_ALIVE_H

#include "io/reactor.h"
#include "volume/leg.h"

struct leg_call;
struct volume;

/* A leg's part. */
struct alive_leg {
    struct leg_io io;
    struct leg_remote_io remote_io;
    bool asked;    /* It has not answered, ... */
    bool waited;   /* ... and is waited for. */
    bool answered; /* In time, when asked last. */
};

struct alive {
    const struct leg_call *leaving; /* Who is to be excluded: all others were asked; or NULL. */
    unsigned waited;
    struct io_timer timer;
};

void alive_init(struct alive *a);

/*
 * Asks all but the one that is to leave.  False: there is nobody to be asked.  Otherwise
 * members_asked() follows, never from in here.
 */
bool alive_ask(struct volume *v, const struct leg_call *leaving);

/* Whether it has answered. */
bool alive_has_answered(const struct leg_call *call);

/* It has been reported itself: it is not waited for any longer. */
void alive_let_go(struct leg_call *call);

/* Nobody is waited for any longer: members_asked() follows in here. */
void alive_stop(struct volume *v);

#endif

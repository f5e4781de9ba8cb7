/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disk has everything that was acknowledged on a copyset?  Told apart by incarnations, as I8
 * of docs/replication.md says, and by what really happened, not by what an engine records: so that
 * an engine that records too little or too much is found.
 *
 *   an engine is open   a member has the incarnation for which it has everything: nothing is lost;
 *                       else what was not flushed may be, and each member has what is left (7.4)
 *   the record changes  a member's incarnation is recorded beside that of one which has
 *                       everything: it has been settled (7.6)
 *
 * Threading: one thread.   Memory: embedded.
 */
#ifndef TESTS_SIM_PROMISE_H
#define TESTS_SIM_PROMISE_H

#include "serving.h"

#define PROMISE_COPYSETS_MAX 4

struct promise {
    uint64_t whole[PROMISE_COPYSETS_MAX][GROUP_SLOTS]; /* 0: nothing was promised yet. */
};

/*
 * An engine is open.  Returns the copysets on which what was not flushed may be gone, and fails
 * where one was given up for whose members the engine had to wait.
 */
unsigned promise_opened(struct promise *p, const struct serving *s, bool waited);

void promise_changed(struct promise *p, const struct group *was, const struct group *now);

#endif

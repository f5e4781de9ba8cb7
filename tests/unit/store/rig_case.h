/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What test cases on a rig begin with: a store that is open, with a session.
 *
 *   rig_init --> [what is special about this disk] --> rig_begin --> ... --> rig_abandon
 *                                                                  +--> rig_reopen
 *
 * Threading: one thread.   Memory: the rig's.
 */
#ifndef TESTS_UNIT_STORE_RIG_CASE_H
#define TESTS_UNIT_STORE_RIG_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

/* A failure names both statuses. */
static inline void assert_status(struct status st, enum status_code code)
{
    assert_string_equal(status_name(st), status_name((struct status) { code }));
}

/* Opens the store that is on the disk, with a session of epoch 1. */
static inline void rig_serve(struct rig *rig)
{
    assert_status(rig_open(rig), STATUS_OK);
    assert_status(rig_session(rig, 1), STATUS_OK);
}

/* Formats the disk first. */
static inline void rig_begin(struct rig *rig)
{
    assert_status(rig_format(rig), STATUS_OK);
    rig_serve(rig);
}

/* Ends the session, closes the store in order, and opens it again. */
static inline void rig_reopen(struct rig *rig)
{
    store_session_close(rig->session.session);
    assert_status(rig_close_store(rig), STATUS_OK);
    rig_serve(rig);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sm.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void sm_init(struct sm *sm, const struct sm_state *states, int first)
{
    assert(states != NULL);
    assert(first >= 0 && first < 32);
    sm->states = states;
    sm->now = first;
}

const char *sm_name(const struct sm *sm)
{
    return sm->states[sm->now].name;
}

void sm_move(struct sm *sm, int to)
{
    assert(to >= 0 && to < 32);
    if ((sm->states[sm->now].next & SM_TO(to)) == 0) {
        fprintf(stderr, "bug: state machine: no edge from '%s' to '%s'\n", sm_name(sm),
                sm->states[to].name);
        abort();
    }
    sm->now = to;
}

void sm_bug(const struct sm *sm)
{
    fprintf(stderr, "bug: state machine: unexpected in state '%s'\n", sm_name(sm));
    abort();
}

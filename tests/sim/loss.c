/* SPDX-License-Identifier: Apache-2.0 */
#include "loss.h"

#include <assert.h>
#include <stddef.h>

void loss_command_begins(struct loss *l, uint64_t now_ns)
{
    l->used = true;
    l->under_way++;
    l->last_ns = now_ns;
}

void loss_command_ends(struct loss *l, uint64_t now_ns, bool is_lasting)
{
    assert(l->under_way > 0);
    l->under_way--;
    l->last_ns = now_ns;
    if (!is_lasting)
        return;
    l->completed++;
    l->completed_ns = now_ns;
}

uint64_t loss_flush_begins(const struct loss *l)
{
    return l->completed;
}

void loss_flush_ends(struct loss *l, uint64_t covered)
{
    assert(covered <= l->completed);
    if (covered > l->flushed)
        l->flushed = covered;
}

void loss_recovered(struct loss *l)
{
    *l = (struct loss) { .may = l->may, .must = l->must };
}

void loss_life_ends(struct loss *l, uint64_t now_ns, bool power, bool fails)
{
    const bool rests = l->under_way == 0 && now_ns - l->last_ns >= LOSS_QUIET_NS;
    const bool quiet = !l->unrecovered && (!l->used || rests);

    if (power)
        l->may |= !quiet;
    if (fails) /* At some time: perhaps before the volume was quiet. */
        l->may |= l->used || l->unrecovered;
    if (power)
        l->must |= l->completed > l->flushed && now_ns - l->completed_ns < LOSS_BUSY_NS;
    l->under_way = 0;
    l->unrecovered |= l->used;
    l->flushed = l->completed; /* As far as one knows: the next recovery may have come so far. */
}

const char *loss_check(struct loss *l, bool told)
{
    if (!told && l->must)
        return "a completed write may be lost, and no session is told (S1)";
    if (told && !l->may)
        return "a volume that was not in use is told of a loss (S1)";
    l->must = false;
    l->may = told;
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume of several replicas tells about its disks. */
#include <assert.h>

#include "volume/volume_internal.h"

static bool is_out_of(const struct volume *v, const struct copyset *cs, const struct leg_call *call)
{
    const struct group *const g = v->members.group;
    unsigned slot;

    return cs->number < g->copyset_count && group_find(g, cs->number, call->uuid, &slot) &&
           g->copysets[cs->number].slots[slot].state == GROUP_SLOT_OUT;
}

/* What is done about the disk's replicas that are out of sync. */
static void get_resync(const struct volume *v, const struct leg_call *call,
                       struct volume_disk_state *out)
{
    uint64_t regions = call->members.regions_resynced, done = regions;
    bool is_out = false;

    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        const struct resync_home *const h = &cs->home;
        const bool here = h->busy && v->calls[h->leg] == call; /* It may be the spare. */
        if (!here && !is_out_of(v, cs, call))
            continue;
        is_out = true;
        if (!here) {
            out->waits = true;
            continue;
        }
        regions += atomic_load(&h->regions);
        done += atomic_load(&h->regions_done);
    }
    out->resync_bytes = is_out ? regions * STORE_REGION_BYTES : 0;
    out->resynced_bytes = is_out ? done * STORE_REGION_BYTES : 0;
}

static struct volume_disk_state disk_state(const struct volume *v, const struct leg_call *call)
{
    const bool has_session = leg_is_up(&call->leg);
    const bool suspect = call->members.suspect;
    struct volume_disk_state state = {
        .disk = call->uuid,
        .problem = !has_session ? call->leg.problem
                   : suspect    ? call->members.why
                                : STATUS(OK),
        .holds_writes = suspect && call->members.told,
        .holds_reads = suspect && call->members.told && call->leg.remote != NULL,
    };

    state.text = leg_why(&call->leg, state.problem);
    if (v->members.group != NULL)
        get_resync(v, call, &state);
    return state;
}

uint32_t volume_get_problems(const struct volume *v, struct volume_disk_state *out_disks,
                             uint32_t room)
{
    uint32_t count = 0;

    assert(reactor_is_current(v->home));
    for (uint32_t i = 0; i < v->call_count && count < room; i++) {
        if (!replace_needs(v, v->calls[i]))
            continue;
        const struct volume_disk_state state = disk_state(v, v->calls[i]);
        if (!status_ok(state.problem) || state.waits || state.resync_bytes > 0)
            out_disks[count++] = state;
    }
    return count;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "promise.h"

#include <assert.h>

static uint64_t incarnation_of(const struct serving *s, struct uuid disk)
{
    for (unsigned i = 0; i < s->disk_count; i++)
        if (uuid_equal(s->disks[i].uuid, disk))
            return s->disks[i].incarnation;
    return 0;
}

static bool is_fresh(const struct promise *p, uint32_t copyset)
{
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (p->whole[copyset][i] != 0)
            return false;
    return true;
}

/* Whether nobody has everything; then the members have what there is. */
static bool copyset_opened(struct promise *p, const struct serving *s, uint32_t copyset)
{
    const struct group *const g = &s->registry.record;
    const unsigned members = group_members(g, copyset);
    uint64_t *const whole = p->whole[copyset];

    unsigned sources = 0;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if ((members >> i & 1) != 0 && whole[i] != 0 &&
            whole[i] == incarnation_of(s, g->copysets[copyset].slots[i].disk))
            sources |= 1u << i;
    sim_trace(s->run->world, "sources", copyset, sources, members);
    if (sources != 0)
        return false;
    const bool fresh = is_fresh(p, copyset);
    for (unsigned i = 0; i < GROUP_SLOTS; i++) {
        const struct group_slot *const slot = &g->copysets[copyset].slots[i];
        const uint64_t incarnation = incarnation_of(s, slot->disk);
        if ((members >> i & 1) != 0 && slot->incarnation == incarnation)
            whole[i] = incarnation;
    }
    return !fresh;
}

/* Whether the engine has found a member with the recorded incarnation.  It may have been recorded
 * by one that died before it was open; then that one has waited. */
static bool found_source(const struct serving *s, uint32_t copyset)
{
    const struct group_slot *const slots = s->registry.taken.copysets[copyset].slots;

    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        if (slots[i].state == GROUP_SLOT_IN && slots[i].incarnation != 0 &&
            slots[i].incarnation == incarnation_of(s, slots[i].disk))
            return true;
    return false;
}

unsigned promise_opened(struct promise *p, const struct serving *s, bool waited)
{
    const struct registry *const r = &s->registry;
    unsigned lost = 0;

    assert(r->record.copyset_count <= PROMISE_COPYSETS_MAX);
    for (uint32_t c = 0; c < r->record.copyset_count; c++) {
        if (!copyset_opened(p, s, c))
            continue;
        lost |= 1u << c;
        if (!waited && !found_source(s, c) &&
            (group_members(&r->taken, c) & ~group_members(&r->record, c)) != 0)
            run_fail(s->run, "copyset %u: who might have everything was not waited for (7.4)", c);
    }
    return lost;
}

void promise_changed(struct promise *p, const struct group *was, const struct group *now)
{
    for (uint32_t c = 0; c < now->copyset_count; c++) {
        const struct group_slot *const slots = now->copysets[c].slots;
        bool has_source = false;
        for (unsigned i = 0; i < GROUP_SLOTS; i++)
            has_source |= slots[i].state == GROUP_SLOT_IN && slots[i].incarnation != 0 &&
                          slots[i].incarnation == p->whole[c][i];
        for (unsigned i = 0; i < GROUP_SLOTS && has_source; i++)
            if (slots[i].state == GROUP_SLOT_IN &&
                slots[i].incarnation != was->copysets[c].slots[i].incarnation)
                p->whole[c][i] = slots[i].incarnation;
    }
}

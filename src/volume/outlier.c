/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/outlier.h"

#include "volume/volume_internal.h"

#define WINDOW_NS (10 * NS_PER_S)
#define WINDOW_MAX_NS                                                          \
    (2 * WINDOW_NS) /* Else there was little to do, or the process was paused. \
                     */
#define COUNT_MIN    64u
#define SLOW_MIN_NS  (20 * NS_PER_MS)
#define SLOW_FACTOR  8u
#define WINDOWS      6u /* That are remembered, ... */
#define WINDOWS_SLOW 3u /* ... and of which so many are enough. */

static uint64_t mean(const struct outlier_slot *s)
{
    return s->taken_ns / s->count;
}

/* The slowest member, and how long the slowest of the others takes; false: too little was done. */
static bool compare(const struct copyset *cs, unsigned *out_slowest, uint64_t *out_others_ns)
{
    const struct outlier_slot *const slots = cs->outlier.slots;
    unsigned slowest = 0;
    uint64_t others_ns = 0;

    for (unsigned slot = 0; cs->members >> slot != 0; slot++) {
        if ((cs->members >> slot & 1) == 0)
            continue;
        if (slots[slot].count < COUNT_MIN)
            return false;
        if ((cs->members >> slowest & 1) == 0 || mean(&slots[slot]) > mean(&slots[slowest]))
            slowest = slot;
    }
    for (unsigned slot = 0; cs->members >> slot != 0; slot++)
        if ((cs->members >> slot & 1) != 0 && slot != slowest)
            others_ns = max_u64(others_ns, mean(&slots[slot]));
    *out_slowest = slowest;
    *out_others_ns = others_ns;
    return true;
}

static void exclude(struct copyset *cs, unsigned slot, uint64_t others_ns)
{
    struct volume *const v = cs->slice->volume;
    struct leg *const leg = cs->slice->map->legs[cs->leg[slot]];

    log_warning(
        v->log,
        "volume '%s': disk '%s': again and again its writes take %llu us, those of the other "
        "replicas %llu us at most: the volume goes on without it",
        v->desc.name, members_disk(leg),
        (unsigned long long)(mean(&cs->outlier.slots[slot]) / 1000),
        (unsigned long long)(others_ns / 1000));
    members_report(v, leg, STATUS(TIMED_OUT));
}

static void judge(struct copyset *cs)
{
    const unsigned left = (unsigned)__builtin_popcount(cs->members) - 1;
    unsigned slowest;
    uint64_t others_ns;

    if (left < max_u64(2, cs->slice->volume->desc.min_in_sync) ||
        !compare(cs, &slowest, &others_ns))
        return;
    struct outlier_slot *const s = &cs->outlier.slots[slowest];
    const bool slow = mean(s) >= SLOW_MIN_NS && mean(s) >= SLOW_FACTOR * others_ns;
    for (unsigned slot = 0; slot < VOLUME_REPLICAS_MAX; slot++) {
        const unsigned shifted = (unsigned)cs->outlier.slots[slot].slow << 1;
        cs->outlier.slots[slot].slow = (uint8_t)(shifted & ((1u << WINDOWS) - 1));
    }
    s->slow |= slow ? 1 : 0;
    if ((unsigned)__builtin_popcount(s->slow) < WINDOWS_SLOW)
        return;
    s->slow = 0;
    exclude(cs, slowest, others_ns);
}

void outlier_note(struct copyset *cs, unsigned slot, uint64_t taken_ns)
{
    struct outlier *const o = &cs->outlier;
    const uint64_t now_ns = reactor_now_ns(cs->slice->reactor);
    const uint64_t passed_ns = now_ns - o->begun_ns;

    if (passed_ns >= WINDOW_NS) {
        if (passed_ns < WINDOW_MAX_NS)
            judge(cs);
        for (unsigned i = 0; i < VOLUME_REPLICAS_MAX; i++)
            o->slots[i].taken_ns = o->slots[i].count = 0;
        o->begun_ns = now_ns;
    }
    o->slots[slot].taken_ns += taken_ns;
    o->slots[slot].count++;
}

void outlier_forget(struct copyset *cs, unsigned slot)
{
    cs->outlier.slots[slot] = (struct outlier_slot) { 0 };
}

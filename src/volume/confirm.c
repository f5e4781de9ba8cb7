/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases, before a read is completed (docs/replication.md, 8.2 to 8.4; R7).
 *
 *   blocks have come --> leases of the other members hold --> complete
 *                            |                   ^
 *                            v                   |
 *                         CONFIRM to those, answered
 *
 * A newer engine serves with at least one member, and the store of none of them answers its seal
 * before this node's lease has run out.  So if every other member still gives one, or has answered
 * since the command came, there is no newer engine that has acknowledged a write which this read
 * has not seen.  The source itself has checked the session when it read.
 *
 * Disks of this node give none.  Mostly one of them is the source; where it is not, it is asked
 * whether its session still holds (8.5).
 *
 * Who is being admitted is asked, too, as soon as the record may have it: a newer engine may serve
 * with nobody else (9.10).
 */
#include <assert.h>

#include "base/mutation.h"
#include "volume/volume_internal.h"

static struct leg *leg_at(const struct piece *p, unsigned slot)
{
    return p->copyset->slice->map->legs[p->copyset->leg[slot]];
}

/* A clock, and not the time of the turn: the process may have been paused within it (8.4). */
static uint64_t clock_ns(const struct piece *p)
{
    return reactor_clock_ns(p->copyset->slice->reactor);
}

void confirm_begin(struct piece *p)
{
    p->asked = 0;
    if (p->copyset->remote != 0)
        p->received_ns = clock_ns(p);
}

/* With whom a newer engine may serve, but for the source. */
static unsigned others(const struct piece *p)
{
    const struct copyset *const cs = p->copyset;

    return (cs->members | cs->joint) & ~(unsigned)p->done;
}

/* Those on this node. */
static unsigned locals_to_ask(const struct piece *p)
{
    return others(p) & ~(unsigned)(p->copyset->remote | p->asked);
}

/* Whose lease is not good enough. */
static unsigned remotes_to_ask(const struct piece *p)
{
    const struct copyset *const cs = p->copyset;
    const unsigned remotes = others(p) & cs->remote;
    const struct lease_times times = { .lease_ns = cs->slice->volume->no_leases ? 0 : LEASE_NS,
                                       .wait_ns = LEASE_WAIT_NS };
    struct lease_member members[VOLUME_SLOTS_MAX] = { 0 };

    if (remotes == 0 || MUTATION(READ_NO_LEASE))
        return 0;
    for (unsigned slot = 0; slot < VOLUME_SLOTS_MAX; slot++) {
        if ((remotes >> slot & 1) != 0)
            members[slot] = leg_lease(leg_at(p, slot), cs->slice->reactor);
    }
    return lease_to_ask(&times, members, remotes, p->received_ns, clock_ns(p));
}

static unsigned slots_to_ask(const struct piece *p)
{
    return locals_to_ask(p) | remotes_to_ask(p);
}

static void on_confirmed(struct leg_io *io)
{
    struct piece *const p = io->owner;
    const uint8_t bit = (uint8_t)(1u << io->slot);

    assert((p->pending & bit) != 0);
    p->pending &= (uint8_t)~bit;
    io->confirm = false;
    if (!status_ok(io->status)) {
        p->unconfirmed |= bit;
        members_report(p->copyset->slice->volume, io->leg, io->status);
    } else if (io->leg->remote == NULL) {
        p->asked |= bit;
    }
    if (p->pending == 0)
        fanout_confirmed(p);
}

/* Those on this node answer for themselves, whatever their disks do. */
static unsigned locals_there(const struct piece *p, unsigned slots)
{
    unsigned there = 0;

    slots &= ~(unsigned)p->copyset->remote;
    for (unsigned slot = 0; slots >> slot != 0; slot++)
        if ((slots >> slot & 1) != 0 && leg_is_there(leg_at(p, slot)))
            there |= 1u << slot;
    return there;
}

bool confirm_admits(struct piece *p)
{
    const unsigned ask = slots_to_ask(p);

    p->unconfirmed = (uint8_t)(ask & ~fanout_reachable(p->copyset, ask) & ~locals_there(p, ask));
    p->pending = (uint8_t)(ask & ~(unsigned)p->unconfirmed);
    for (unsigned slot = 0; p->pending >> slot != 0; slot++) {
        struct leg_io *const io = &p->legs[slot];
        if ((p->pending >> slot & 1) == 0)
            continue;
        io->owner = p;
        io->slot = slot;
        io->leg = leg_at(p, slot);
        io->reactor = p->copyset->slice->reactor;
        io->confirm = true;
        io->done = on_confirmed;
        leg_submit(io);
    }
    return ask == 0;
}

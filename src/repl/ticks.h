/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the members' region lists may close a region: the engine's side of docs/replication.md, 3.4,
 * for one copyset.
 *
 *   writes of tick 4 ...|... of tick 5 ...
 *                       ^ round: tick 4 ends --> its writes end --> FLUSH to all --> confirmed
 *                                                                       |
 *                       regions last written in tick 4 or before: CLOSE_REGIONS <+
 *
 * A write carries the tick in which it began; its regions are remembered with the last such tick.
 * A region that nobody tells the stores of, because a session was lost or the engine died, stays
 * in their lists, which costs work and is never wrong.
 *
 * Threading: the owner's, one slice.
 * Memory:    the caller's, given once, and touched as far as it is used; nothing is allocated.  A
 *            write for whose regions there is no room waits until a round has closed some.
 */
#ifndef REPL_TICKS_H
#define REPL_TICKS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct ticks_region {
    struct list_node link; /* Of free or of order. */
    struct ticks_region *chain;
    uint32_t shard;
    uint32_t region;
    uint32_t tick; /* Of its last write. */
};

enum ticks_round {
    TICKS_IDLE,
    TICKS_DRAINING, /* For writes of ended ticks. */
    TICKS_FLUSHING, /* For confirmations. */
};

struct ticks {
    uint32_t now;   /* The tick that writes carry. */
    uint32_t ended; /* By the last round; 0: none. */
    enum ticks_round round;
    unsigned wanted;     /* Slots whose confirmation the round needs. */
    unsigned confirmed;  /* Slots that have. */
    uint64_t old_writes; /* In flight, of ticks up to ended. */
    uint64_t new_writes; /* In flight, of the present one. */
    uint32_t closed;     /* All that was last written up to this tick ... */
    unsigned equal;      /* ... is equal and durable at these slots. */

    struct ticks_region **buckets;
    uint32_t bucket_count; /* A power of two. */
    struct list free;
    struct ticks_region *fresh; /* Those from here on were never used. */
    struct list order;          /* By tick, the oldest first. */
    uint32_t room;              /* Regions that are free or fresh. */
};

/* Regions of a shard that a command changes. */
struct ticks_range {
    uint32_t shard;
    uint32_t first;
    uint32_t count;
};

/* An item of CLOSE_REGIONS, for each of the slots in equal. */
struct ticks_close {
    uint32_t shard;
    uint32_t region;
    uint32_t tick;
    unsigned equal;
};

/*
 * regions and buckets are lent until the end, and untouched until they are used; the buckets are
 * NULL.  bucket_count is a power of two, best not below region_count.
 */
void ticks_init(struct ticks *t, struct ticks_region *regions, uint32_t region_count,
                struct ticks_region **buckets, uint32_t bucket_count);

/* The tick that commands and OPEN carry now. */
static inline uint32_t ticks_now(const struct ticks *t)
{
    return t->now;
}

/*
 * A write, zeroing, copy or spoil begins, and carries *out_tick.  False if there is no room for its
 * regions: nothing has changed; run a round, take what it closes, and try again.
 */
bool ticks_write_begin(struct ticks *t, const struct ticks_range *range, uint32_t *out_tick);

/* It has ended: all to which it was sent have answered, or are out. */
void ticks_write_end(struct ticks *t, uint32_t tick);

/*
 * Settling has ended without having made these regions equal: no round closes them, until they are
 * written again.  Nobody else has written there.
 */
void ticks_write_abandon(struct ticks *t, const struct ticks_range *range, uint32_t tick);

/*
 * A write that some slot has executed waits to be sent again, and has ended its tick: its regions
 * are not closed by the round that is under way.  To be said after each ticks_round_begin(), too.
 */
void ticks_keep_open(struct ticks *t, const struct ticks_range *range);

/*
 * Regions that a store lists for members from before its session, and those that are merged (9.8):
 * as if written in the present tick.  False as ticks_write_begin().
 */
bool ticks_note(struct ticks *t, const struct ticks_range *range);

/*
 * A store counts what it lists as written in this tick, OPEN's (4.3), which may be that of a busier
 * copyset: the next round ends no lower one, so that it closes that.
 */
void ticks_raise(struct ticks *t, uint32_t tick);

/*
 * 3.4 (1)  Ends the tick; members are the slots that will have to confirm.  False while a round is
 * under way, and when there is no higher tick: then nothing is closed any more, until sessions
 * begin with a new engine.
 */
bool ticks_round_begin(struct ticks *t, unsigned members);

/* 3.4 (2)  Whether all writes of ended ticks have ended, so that FLUSH may be sent. */
bool ticks_round_may_flush(const struct ticks *t);

/*
 * 3.4 (3)  FLUSH is sent to all members from now on, and again in a new session; its name is the
 * tick that is returned.  What was sent before does not count.
 */
uint32_t ticks_round_flush(struct ticks *t);

/*
 * 3.4 (4)  The slot has confirmed the FLUSH of this name, with the recorded incarnation.  One of
 * another round is ignored.
 */
void ticks_confirmed(struct ticks *t, unsigned slot, uint32_t flush);

/*
 * The slot is no member any more, which is committed; or it was lost and its incarnation is another
 * now.  The round goes on without it, and without whom nothing more is closed for it.
 */
void ticks_lost(struct ticks *t, unsigned slot);

/*
 * A slot takes part from now on (9.3): gives up the round, and closes nothing for which it was not
 * asked.  The regions are closed by the next one.
 */
void ticks_joined(struct ticks *t);

/* Gives up the round, if there is one: its Flush has failed. */
void ticks_round_abort(struct ticks *t);

/* 3.4 (5)  The next region to be closed, which is forgotten here.  False: none for now. */
bool ticks_next_close(struct ticks *t, struct ticks_close *out_close);

#endif

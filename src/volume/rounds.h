/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds: closing the regions in which nothing is written any more, in all members' lists
 * (docs/replication.md, 3.4; repl/ticks.h).
 *
 *   a tick ends --> its writes end --> FLUSH to all members --> their flush points are kept by all
 *               --> CLOSE_REGIONS to each of them
 *
 * A slice carries out one round at a time, of one of its copysets.  There is one every
 * VOLUME_ROUND_NS as long as regions are open, and at once when there is no room for more.
 *
 * Threading: the slice's.   Memory: embedded in slice and copysets.
 */
#ifndef VOLUME_ROUNDS_H
#define VOLUME_ROUNDS_H

#include "io/reactor.h"
#include "repl/ticks.h"
#include "store/store.h"
#include "volume/leg.h"
#include "volume/limits.h"

struct copyset;
struct piece;
struct slice;
struct volume_map;

#define VOLUME_ROUND_NS (2 * NS_PER_S)
/* Open regions of one copyset that the engine follows: 1 GiB. */
#define VOLUME_OPEN_REGIONS 1024u

/* A copyset's part. */
struct round_copyset {
    struct ticks ticks;
    struct round_table *regions; /* Of ticks; NULL: a volume of one replica. */
    struct list_node link;       /* rounds.wanted */
    struct list waiting;         /* piece.link: there was no room for its regions. */
    struct list copies;          /* range_copy.link: likewise. */
    struct list trails;          /* trail.link: likewise. */
    bool vain;                   /* The last one closed nothing: not before the timer. */
};

/* Touched as far as it is used. */
struct round_table {
    struct ticks_region items[VOLUME_OPEN_REGIONS];
    struct ticks_region *buckets[VOLUME_OPEN_REGIONS];
};

struct rounds {
    struct slice *slice;
    struct list wanted;      /* round_copyset.link */
    struct copyset *current; /* Whose round is under way, or NULL. */
    uint32_t flush;          /* Name of its Flush. */
    unsigned pending;        /* Slots whose answer is awaited. */
    struct leg_io io[VOLUME_SLOTS_MAX];
    struct leg_remote_io remote_io[VOLUME_SLOTS_MAX];
    unsigned slots; /* Whose points are asked for, and who is to keep them (3.7.1). */
    bool failed;    /* One could not be. */
    bool closed;    /* Something was. */
    bool renews;    /* points_are_due() when it flushed: what they keep is durable. */
    unsigned held;  /* Members that have lost theirs: nothing is closed for them (3.7.5). */
    uint64_t incarnation[VOLUME_SLOTS_MAX]; /* When it was flushed. */
    struct store_point own[VOLUME_SLOTS_MAX];
    struct store_point points[STORE_COPYSET_POINTS];
    struct store_region items[VOLUME_SLOTS_MAX][STORE_REGIONS_MAX];
    struct io_timer timer;
};

struct status round_copyset_init(struct round_copyset *r) MUST_CHECK;
void round_copyset_fini(struct round_copyset *r);

void rounds_init(struct rounds *rounds, struct slice *slice);

/* Nothing is under way. */
void rounds_fini(struct rounds *rounds);

/* No more of them: the slice is fenced.  members_slice_quiet() follows the one under way. */
void rounds_stop(struct rounds *rounds);

/*
 * A piece is to change its blocks: its commands get their tick.  False: it waits for a round, and
 * fanout_start() is called again.
 */
bool round_enter(struct piece *p);

/* A store has too many open regions: the piece is started again after a round. */
void round_wait(struct piece *p);

/*
 * It was set aside with round_write_set_aside(), and goes on: its commands get their tick.  False:
 * there is no room for its regions, as they are not known any more.
 */
bool round_enter_again(struct piece *p);

/* The round that is under way does not close its regions: it was set aside. */
void round_keep_open(struct piece *p);

/* It has ended. */
void round_leave(struct piece *p);

/* The regions in which these bytes of a shard lie; and those of a command's blocks. */
struct ticks_range round_regions(uint32_t shard, uint64_t offset, uint64_t bytes);
struct ticks_range round_range(const struct store_io *io);

/*
 * The same for what is no piece: settling.  False: no room; a round is under way then, and
 * round_waiting_go_on() follows it.
 */
bool round_write_begin(struct copyset *cs, const struct ticks_range *range, uint32_t *out_tick);

/* The same, but asks for no round. */
bool round_write_try(struct copyset *cs, const struct ticks_range *range, uint32_t *out_tick);
void round_write_end(struct copyset *cs, uint32_t tick);

/*
 * A command that some may have executed ends its tick, which becomes 0.  No round closes its
 * regions as long as it is in one of round_copyset's lists, in copyset.held or in undos.pieces.
 */
void round_write_set_aside(struct copyset *cs, const struct store_io *io, uint32_t *tick);

/* The same, where a store has too many open regions: it is sent again after a round. */
void round_write_wait(struct copyset *cs, const struct store_io *io, uint32_t *tick);

/* It has not made the regions equal: they stay listed. */
void round_write_abandon(struct copyset *cs, const struct ticks_range *range, uint32_t tick);

/* As if they had been written in the present tick; false: no room. */
bool round_note(struct copyset *cs, const struct ticks_range *range);

/* A round as soon as there can be one. */
void round_want(struct copyset *cs);

/* One that keeps the members' points, again and again until that is done. */
void round_renew(struct copyset *cs);

/* Whatever waited for room tries again. */
void round_waiting_go_on(struct copyset *cs);

/* A replica that is being resynced takes part from now on: copyset.followed. */
void round_joined(struct copyset *cs);

/* The slot is no member any more, or its resync has failed. */
void round_lost(struct copyset *cs, unsigned slot);

#endif

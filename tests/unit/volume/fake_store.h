/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in memory that keeps the contract of store/store.h for one volume, and checks that the
 * engine keeps its part: right CRCs, no two commands in flight that conflict.  Commands wait
 * until the test lets them go.
 */
#ifndef TESTS_VOLUME_FAKE_STORE_H
#define TESTS_VOLUME_FAKE_STORE_H

#include "store/store.h"

#define FAKE_SHARDS_MAX 64
#define FAKE_COPYSETS   8u
#define FAKE_REGIONS    2 /* Of a shard. */

struct store_session {
    struct store *store;
};

struct store {
    struct reactor *reactor;
    uint64_t shard_bytes;
    uint8_t *shards[FAKE_SHARDS_MAX]; /* NULL: unknown. */
    struct list in_flight;            /* store_io.link */
    struct list describing;
    struct store_session session;
    bool session_open;
    bool may_close_busy; /* With commands in flight: of a slot that has another disk. */

    /* What the test chooses. */
    struct uuid disk;
    uint64_t incarnation;
    bool unflushed_loss;
    bool list_cut; /* Its region list is not whole. */
    struct status open_status;
    bool forgotten; /* It does not know the volume, until that is opened by who may make it. */
    struct status describe_status;
    struct status session_status; /* A newer engine has sealed it, perhaps. */
    struct status write_status;   /* Of all writes. */
    struct status set_status;     /* Of all SETs. */
    struct status fail_next;      /* The outcome of the next command that is let go. */
    uint64_t bad_from, bad_to; /* Reads of these bytes of any shard fail until they are written. */
    bool damaged;              /* They are bad on their way alone: no hash says so. */
    bool suspect;
    bool wrong_crcs;    /* Of what is read. */
    bool hold;          /* Commands wait for fake_store_release(), ... */
    bool hold_describe; /* ... and descriptions for fake_store_described(). */

    /* What the test asks. */
    unsigned opens, describes;
    struct store_volume described; /* By the last opening or description. */
    unsigned reads, writes, zeroes, flushes, deletes, losses_reported;
    uint8_t listed[FAKE_SHARDS_MAX][FAKE_REGIONS];  /* Slots; all of them after a change. */
    uint32_t ticks[FAKE_SHARDS_MAX][FAKE_REGIONS];  /* Of the last change. */
    unsigned lists, closes, merges, spoils, hashes; /* Commands. */
    uint32_t closed[FAKE_SHARDS_MAX][FAKE_REGIONS]; /* Tick of the last CLOSE_REGIONS. */
    bool unflushed;    /* Something has changed since the last Flush. */
    unsigned sets;     /* Copysets that were set. */
    uint64_t position; /* Of its own flush point: one more with each Flush. */
    uint64_t lost_to;  /* Of what it had named, it has none up to here. */
    bool reverted;     /* Nor has it anything beyond its position: it is as it was before. */
    unsigned keeps, durable_keeps, checks;
    struct store_point kept[FAKE_COPYSETS][STORE_COPYSET_POINTS];
    struct store_set last_set;
    uint64_t set_sequence; /* That a session is told of. */
    unsigned hand_overs;
    unsigned in_flight_count, in_flight_max;
    uint64_t bytes_max; /* Of one command. */
    struct io_task task;
};

void fake_store_init(struct store *s, struct reactor *r, uint64_t shard_bytes);
void fake_store_fini(struct store *s);

/* Ends the index-th of the commands that wait; from the loop's next turn on. */
void fake_store_release(struct store *s, unsigned index);

/* Ends all descriptions. */
void fake_store_described(struct store *s);

#endif

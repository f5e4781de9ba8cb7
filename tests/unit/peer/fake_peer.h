/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stores' end of a link, as a test wants it: one disk in memory, behind a real target.  It
 * holds commands back, fails them, and counts what it was asked.
 *
 * Threading: the test's thread.   Memory: fake_peer_free() frees all of it.
 */
#ifndef TESTS_UNIT_PEER_FAKE_PEER_H
#define TESTS_UNIT_PEER_FAKE_PEER_H

#include "nvme/target.h"
#include "store/wire.h"

#define FAKE_PEER_SHARDS      8
#define FAKE_PEER_SHARD_BYTES ((size_t)2 << 20)
#define FAKE_PEER_REGIONS     (FAKE_PEER_SHARD_BYTES / STORE_REGION_BYTES)

struct fake_peer {
    struct nvme_vendor vendor;
    struct nvme_subsys *subsys;

    /* What it does. */
    bool hold;           /* Commands wait for fake_peer_release(). */
    uint8_t hold_opcode; /* Only these; 0: all. */
    uint16_t fail_sc;    /* Of fail_opcode's next command; 0: none fails. */
    uint8_t fail_opcode;
    unsigned corrupt_count; /* So many reads come with a wrong bit. */
    uint16_t reactor;       /* Of the disk. */
    uint64_t incarnation;
    uint32_t seals;
    bool loss;
    bool forgotten; /* It does not know the volume, until that is opened by who may make it. */

    /* What it knows. */
    uint64_t epoch;  /* Sealed. */
    uint64_t number; /* Of the session; 0: none. */
    uint32_t handle;
    uint32_t tick;        /* OPEN's. */
    uint64_t open_number; /* Of the last one. */
    struct store_volume volume;
    uint8_t *shards[FAKE_PEER_SHARDS];

    /* What it was asked. */
    unsigned opened, closing, closed; /* Associations. */
    unsigned count[256];              /* Commands executed, by opcode. */
    struct wire_command last;         /* Executed. */
    struct reactor *last_reactor;     /* Where it came. */
    struct wire_region region;        /* The last one told, or what is listed. */
    uint8_t merged[FAKE_PEER_SHARDS][FAKE_PEER_REGIONS];
    uint32_t closed_to[FAKE_PEER_SHARDS][FAKE_PEER_REGIONS]; /* Tick of the last CLOSE_REGIONS. */
    struct wire_set set;                                     /* The last one told. */
    struct store_point point;                                /* Likewise. */
    struct uuid disk;                                        /* OPEN's. */
    uint64_t position;                                       /* Flushes. */
    struct list held;
    unsigned held_count;
};

/* Adds the subsystem of the node's stores to its target. */
struct fake_peer *fake_peer_add(struct nvme_target *target, struct uuid node);
void fake_peer_free(struct fake_peer *peer);

/* Executes what was held back, in the order in which it came, and holds no more. */
void fake_peer_release(struct fake_peer *peer);

/* The disk has lost its power: sessions are gone, and its incarnation is another one. */
void fake_peer_lose_power(struct fake_peer *peer);

#endif

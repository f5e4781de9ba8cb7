/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's node on one simulated machine, with links, and stores' nodes on others.
 *
 * Threading: everything runs on the test's thread, in virtual time.
 * Memory:    peer_world_stop() frees all of it.
 */
#ifndef TESTS_UNIT_PEER_PEER_WORLD_H
#define TESTS_UNIT_PEER_PEER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>

#include "fake_peer.h"
#include "io/sim.h"
#include "peer/link.h"

#define PW_STORES_MAX      2
#define PW_REACTORS_MAX    3
#define PW_ENGINE_REACTORS 2

struct pw_store {
    struct sim_process *process;
    struct reactor *reactors[PW_REACTORS_MAX];
    struct buf_pool *pools[PW_REACTORS_MAX];
    unsigned reactor_count;
    struct nvme_target *target;
    struct fake_peer *peer;
    struct io_addr addr;
    struct uuid node;
};

struct peer_world {
    struct sim_world *world;
    struct sim_process *engine;
    struct reactor *reactors[PW_ENGINE_REACTORS];
    struct log log;
    unsigned warnings;
    struct links *links;
    struct pw_store stores[PW_STORES_MAX];
    unsigned store_count;
    bool flag;
};

/* Stores' nodes have 3 reactors each, or as many as are asked for. */
struct peer_world *peer_world_start(unsigned stores, unsigned reactors, uint64_t seed);

/* Nobody has a link any more. */
void peer_world_stop(struct peer_world *w);

/* Lets time pass until the condition holds, at most 10 virtual minutes; fails the test if not. */
void pw_wait(struct peer_world *w, const bool *condition);
void pw_run(struct peer_world *w, uint64_t ns);

/* Whether bytes pass between the engine's node and a store's. */
void pw_block(struct peer_world *w, unsigned store, bool blocked);

/* Cuts every connection of a store's node. */
void pw_cut(struct peer_world *w, unsigned store);

/* A done callback: sets w->flag. */
void pw_set_flag(void *w);

struct link *pw_link(struct peer_world *w, unsigned store);

/* Gives a link back on home itself, so that its messages stay in order, and lets it happen. */
void pw_put(struct peer_world *w, struct link *link);

#endif

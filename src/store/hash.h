/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who carries HASH out: reads blocks into memory of its own, as the caller wants hashes alone.
 *
 * Threading: the store's reactor.
 * Memory:    buffers from store_open() on; a command waits inside the store for an idle hasher.
 */
#ifndef STORE_HASH_H
#define STORE_HASH_H

#include "disk/sweep.h"
#include "store/store.h"

#define HASHERS    2 /* Commands under way; each reads a region of 1 MiB. */
#define HASH_DEPTH 2 /* Reads of each, of up to a grain. */

struct hasher {
    struct store *store;
    struct store_io *io; /* NULL: idle. */
    struct sweep sweep;
    uint8_t *buffers;                      /* Of the sweep. */
    uint32_t next;                         /* Block of the command to look at next. */
    unsigned reading;                      /* Reads under way. */
    uint32_t again[STORE_HASHES_MAX / 32]; /* Bits of blocks that are to be read one by one. */
    /* What is read next, while its checksums are waited for. */
    bool chosen;
    bool held;
    uint64_t place; /* Block of the data area. */
    uint32_t first; /* Block of the command. */
    uint32_t count;
};

/* NO_MEMORY; hashers_fini() frees what there is. */
struct status hashers_init(struct store *store) MUST_CHECK;
void hashers_fini(struct store *store);

/* Tries to let a HASH through; false: it must wait. */
bool hash_admit(struct store_io *io);

/* Those that wait for checksums look again. */
void hash_run(struct store *store);

#endif

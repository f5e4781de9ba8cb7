/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a store as records, block by block.  It remembers where it is by ids, so that the
 * state may change in between (F22).
 *
 * Threading: the store's reactor.   Memory: the caller's block.
 */
#ifndef STORE_CHECKPOINT_DUMP_H
#define STORE_CHECKPOINT_DUMP_H

#include "store/store_internal.h"

/* Starts from the beginning. */
void checkpoint_dump_begin(struct store *store);

/*
 * Fills the payload of one metadata block; returns its bytes, 0 when all has been written.
 */
size_t checkpoint_dump_block(struct store *store, struct span block);

#endif

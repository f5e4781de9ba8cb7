/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intent map: which regions of shards may hold bytes newer than their checksums.
 * docs/disk-format.md, section 4.3.
 *
 *     FREE --> WANTED ----> OPENING ------------> OPEN --(checkpoint)--> FREE
 *               record not   record on its way     durable: overwrites may be submitted (F16)
 *               appended                           suspect: after a crash, to be settled (F17)
 *
 * Threading: the owner's.   Memory: a fixed table of LAYOUT_INTENTS_MAX entries.
 */
#ifndef STORE_INTENT_H
#define STORE_INTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "store/catalog.h"

enum intent_state { INTENT_FREE, INTENT_WANTED, INTENT_OPENING, INTENT_OPEN };

struct intent {
    struct list_node link; /* In the list of its state. */
    struct shard *shard;
    uint32_t region;
    enum intent_state state;
    bool suspect;       /* Its blocks may not match their checksums. */
    bool closing;       /* The checkpoint in progress leaves it out (F18). */
    bool settling;      /* Being read. */
    uint64_t sequence;  /* Of the record that opened it; 0: of before the store was opened. */
    uint32_t in_flight; /* Overwrites. */
    uint64_t last_ns;   /* When the last of them ended. */
    bool by_block;      /* A read failed: the next attempt reads block by block. */
    uint64_t retry_ns;  /* Until then commands pass although it is suspect. */
};

struct intents {
    struct list free;
    struct list wanted;
    struct list opening;
    struct list open; /* The least recently written first. */
    struct list held; /* Free, but not yet: see intents_hold(). */
    bool holds;
    uint32_t count; /* Not free. */
    uint32_t suspects;
    struct intent *table;
};

struct status intents_init(struct intents *t) MUST_CHECK;
void intents_fini(struct intents *t);

/* The region's entry, or NULL. */
struct intent *intent_find(const struct intents *t, const struct shard *shard, uint32_t region);

/* Makes an entry in state WANTED; NULL if the table is full. */
struct intent *intent_add(struct intents *t, struct shard *shard, uint32_t region);

void intent_move(struct intents *t, struct intent *i, enum intent_state state);

/* Whether a checkpoint whose replay starts at that record may leave it out (F18). */
static inline bool intent_may_close(const struct intent *i, uint64_t start)
{
    return i->state == INTENT_OPEN && !i->suspect && i->in_flight == 0 && i->sequence < start;
}

/* Overwrites may go to it, as far as the log is concerned. */
static inline bool intent_is_usable(const struct intent *i)
{
    return i != NULL && i->state == INTENT_OPEN && !i->closing;
}

void intent_set_suspect(struct intents *t, struct intent *i, bool suspect);

/*
 * While a checkpoint is made, entries that become free are not used again (F18): its replay has the
 * regions of shards that are deleted meanwhile besides those that it wrote.
 */
void intents_hold(struct intents *t, bool holds);

/* Drops all entries of a shard that is going away; nothing is in flight there. */
void intents_drop_shard(struct intents *t, struct shard *shard);

#endif

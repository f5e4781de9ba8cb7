/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Openings of regions: an overwrite in place is submitted only after its region's INTENT record
 * is durable (F16).  Openings gather while a batch is under way.
 */
#include <assert.h>

#include "store/store_internal.h"

/* The next region of a sequential writer: opened along, in the same record. */
static void open_neighbour(struct store *store, struct shard *shard, uint32_t region)
{
    const uint32_t next = region + 1;

    if (next < shard_regions(shard) && store->intents.count < INTENTS_HIGH &&
        intent_find(&store->intents, shard, next) == NULL)
        (void)intent_add(&store->intents, shard, next);
}

/* The table is full: the oldest must close.  Where none can yet, what hinders that wakes us. */
static void close_some(struct store *store)
{
    const uint64_t start = journal_get_marks(store->journal).settled + 1;

    LIST_FOR_EACH (n, &store->intents.open) {
        if (!intent_may_close(CONTAINER_OF(n, const struct intent, link), start))
            continue;
        checkpoint_request(store);
        return;
    }
}

bool region_ensure_open(struct store *store, struct shard *shard, uint32_t region)
{
    struct intent *const i = intent_find(&store->intents, shard, region);

    if (intent_is_usable(i))
        return true;
    if (i == NULL) {
        if (intent_add(&store->intents, shard, region) == NULL)
            close_some(store);
        else
            open_neighbour(store, shard, region);
        return false;
    }
    if (i->state == INTENT_OPEN && i->closing) {
        /* F18: the checkpoint in progress leaves it out; a new record brings it back. */
        i->closing = false;
        intent_move(&store->intents, i, INTENT_WANTED);
    }
    return false;
}

static void opening_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct store *const store = CONTAINER_OF(waiter, struct store, opening_waiter);

    assert(store->opening_busy);
    store->opening_busy = false;
    LIST_FOR_EACH (n, &store->intents.opening) {
        struct intent *const i = CONTAINER_OF(n, struct intent, link);
        if (!status_ok(status))
            break; /* The disk has failed; nothing will be overwritten any more. */
        i->last_ns = reactor_now_ns(store->reactor);
        intent_move(&store->intents, i, INTENT_OPEN);
    }
    store_watch_idle(store);
    store_kick(store);
}

void openings_submit(struct store *store)
{
    uint32_t items = 0;
    uint64_t sequence;

    if (store->opening_busy || store->failed || list_empty(&store->intents.wanted))
        return;
    LIST_FOR_EACH (n, &store->intents.wanted)
        items += items < RECORD_INTENT_ITEMS_MAX ? 1 : 0;
    const size_t bytes = record_bytes(RECORD_INTENT, items);
    if (!journal_has_room(store->journal, bytes, false))
        return;

    const struct record rec = { .type = RECORD_INTENT, .items = items };
    const struct span out = journal_append(store->journal, bytes, &sequence);
    record_encode(&rec, out);
    for (uint32_t k = 0; k < items; k++) {
        struct intent *const i =
            CONTAINER_OF(list_first(&store->intents.wanted), struct intent, link);
        record_put_intent(
            out, k, &(struct record_intent_item) { .shard = i->shard->id, .region = i->region });
        i->sequence = sequence;
        intent_move(&store->intents, i, INTENT_OPENING);
    }
    store->opening_busy = true;
    store->opening_waiter =
        (struct journal_waiter) { .sequence = sequence, .fn = opening_on_flushed };
    journal_wait_flushed(store->journal, &store->opening_waiter);
}

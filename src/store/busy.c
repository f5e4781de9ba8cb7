/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which volumes may have completed commands that are not durable, so that after a power loss they
 * alone are flagged (S1).  docs/disk-format.md, section 4.7.
 *
 *   QUIET --(a command)--> MARKING --(mark durable)--> MARKED --(idle)--> FLUSHING --> QUIET
 *                                                        ^                   |     and a flush
 *                                                        +---(a command)-----+
 *
 * The mark is durable from MARKED until after FLUSHING.  A volume that is in use pays for it with
 * one flush, once.
 */
#include <assert.h>

#include "store/store_internal.h"

static void busy_on_flushed(struct journal_waiter *waiter, struct status status);

bool command_may_be_lost(const struct store_io *io)
{
    return !io->fua && (io->opcode == STORE_OP_WRITE || io->opcode == STORE_OP_WRITE_ZEROES ||
                        io->opcode == STORE_OP_DEALLOCATE);
}

/* Appends a record; false if there is no room. */
static bool busy_record(struct store *store, const struct catalog_volume *v, bool busy,
                        uint64_t *out_sequence)
{
    const struct record rec = { .type = RECORD_BUSY, .u.busy = { .volume = v->id, .busy = busy } };
    const size_t bytes = record_bytes(RECORD_BUSY, 0);

    if (!journal_has_room(store->journal, bytes, false))
        return false;
    record_encode(&rec, journal_append(store->journal, bytes, out_sequence));
    return true;
}

static void busy_wait(struct store *store, struct busy *b, uint64_t sequence)
{
    assert(!b->waiting);
    b->waiting = true;
    b->store = store;
    b->waiter = (struct journal_waiter) { .sequence = sequence, .fn = busy_on_flushed };
    store->busy_waits++;
    journal_wait_flushed(store->journal, &b->waiter);
}

/* F25: the mark is durable. */
static void busy_on_marked(struct store *store, struct busy *b)
{
    b->state = BUSY_MARKED;
    b->last_ns = reactor_now_ns(store->reactor);
    store_watch_idle(store);
}

/* F26: everything that has completed is durable.  Without room the next attempt says so. */
static void busy_on_idle(struct store *store, struct catalog_volume *v)
{
    uint64_t sequence;

    assert(v->busy.commands == 0);
    v->busy.state = BUSY_MARKED;
    if (!busy_record(store, v, false, &sequence))
        return;
    v->busy.state = BUSY_QUIET;
    busy_wait(store, &v->busy, sequence); /* Or a power loss much later brought the mark back. */
}

static void busy_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct busy *const b = CONTAINER_OF(waiter, struct busy, waiter);
    struct store *const store = b->store;

    assert(b->waiting);
    assert(store->busy_waits > 0);
    b->waiting = false;
    store->busy_waits--;
    store_kick(store);
    if (!status_ok(status))
        return; /* The disk has failed: no command is let through any more. */
    if (b->state == BUSY_MARKING)
        busy_on_marked(store, b);
    else if (b->state == BUSY_FLUSHING)
        busy_on_idle(store, CONTAINER_OF(b, struct catalog_volume, busy));
}

bool busy_ensure_marked(struct store *store, struct catalog_volume *volume)
{
    struct busy *const b = &volume->busy;
    uint64_t sequence;

    if (!store->dev->info.has_volatile_cache)
        return true; /* Whatever completes is durable. */
    if (b->state == BUSY_FLUSHING)
        b->state = BUSY_MARKED; /* Its mark still stands. */
    if (b->state == BUSY_QUIET && !b->waiting && busy_record(store, volume, true, &sequence)) {
        b->state = BUSY_MARKING;
        busy_wait(store, b, sequence);
    }
    return b->state == BUSY_MARKED || (b->state == BUSY_MARKING && MUTATION(S1_MARK_NOT_DURABLE));
}

void busy_enter(struct catalog_volume *volume)
{
    volume->busy.commands++;
}

void busy_leave(struct store *store, struct catalog_volume *volume)
{
    assert(volume->busy.commands > 0);
    volume->busy.commands--;
    volume->busy.last_ns = reactor_now_ns(store->reactor);
}

bool busy_run(struct store *store)
{
    const uint64_t now = reactor_now_ns(store->reactor);
    bool any = false;

    LIST_FOR_EACH (n, &store->catalog.volumes) {
        struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        struct busy *const b = &v->busy;
        any |= b->state != BUSY_QUIET;
        const bool idle = b->commands == 0 && now - b->last_ns >= BUSY_IDLE_NS;
        if (b->state != BUSY_MARKED || !idle || b->waiting || v->deleting || store->failed)
            continue;
        b->state = BUSY_FLUSHING;
        busy_wait(store, b, 0);
    }
    return any;
}

bool busy_is_marked(const struct store *store, const struct catalog_volume *volume)
{
    /* F26: no command follows the checkpoint that closes the store, and it is flushed. */
    return volume->busy.state != BUSY_QUIET && !store->checkpoint.for_close;
}

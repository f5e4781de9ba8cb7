/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new description of a volume whose session is open (S5, F27): it is durable before its engine
 * uses what it adds.
 *
 *   ROOM (in the journal) -> FLUSH -> DONE
 */
#include <assert.h>
#include <stdlib.h>

#include "store/store_internal.h"

enum description_state { DESCRIPTION_ROOM, DESCRIPTION_FLUSH, DESCRIPTION_DONE };

struct description {
    struct list_node link; /* In store->descriptions. */
    struct store_session *session;
    struct store_volume volume;
    store_done_fn *done;
    void *ctx;
    struct journal_waiter waiter;
    enum description_state state;
    struct status outcome;
};

static struct status MUST_CHECK description_check(const struct description *d)
{
    const struct store *const store = d->session->store;

    if (store->failed)
        return STATUS(MEDIA_WRITE);
    if (store->closing)
        return STATUS(SHUTTING_DOWN);
    if (d->session->volume == NULL || d->session->volume->deleting)
        return STATUS(NOT_FOUND);
    if (d->session->stale)
        return STATUS(STALE_EPOCH);
    if (!store_volume_is_valid(&d->volume) ||
        !store_volume_extends(&d->volume, &d->session->volume->desc))
        return STATUS(INVALID);
    return STATUS(OK);
}

static void description_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct description *const d = CONTAINER_OF(waiter, struct description, waiter);

    assert(d->state == DESCRIPTION_FLUSH);
    d->outcome = status_ok(status) ? status : STATUS(MEDIA_WRITE);
    d->state = DESCRIPTION_DONE;
    store_kick(d->session->store);
}

static void description_begin(struct description *d)
{
    struct store *const store = d->session->store;
    const size_t bytes = record_bytes(RECORD_VOLUME, 0);
    uint64_t sequence;

    d->outcome = description_check(d);
    if (!status_ok(d->outcome)) {
        d->state = DESCRIPTION_DONE;
        return;
    }
    if (!journal_has_room(store->journal, bytes, false))
        return; /* Tried again when something moves. */
    struct catalog_volume *const v = d->session->volume;
    v->desc = d->volume;
    const struct record rec = {
        .type = RECORD_VOLUME,
        .u.volume = { .id = v->id, .volume = v->desc, .loss = v->loss },
    };
    record_encode(&rec, journal_append(store->journal, bytes, &sequence));
    d->state = DESCRIPTION_FLUSH;
    d->waiter = (struct journal_waiter) { .sequence = sequence, .fn = description_on_flushed };
    journal_wait_flushed(store->journal, &d->waiter);
}

void descriptions_run(struct store *store)
{
    struct list ended;
    struct list_node *n;

    list_init(&ended);
    LIST_FOR_EACH (m, &store->descriptions) {
        struct description *const d = CONTAINER_OF(m, struct description, link);
        if (d->state == DESCRIPTION_ROOM)
            description_begin(d);
        if (d->state != DESCRIPTION_DONE)
            continue;
        list_remove(m);
        list_push_back(&ended, m);
    }
    while ((n = list_pop_front(&ended)) != NULL) {
        struct description *const d = CONTAINER_OF(n, struct description, link);
        d->done(d->ctx, d->outcome);
        free(d);
    }
}

struct status store_session_describe(struct store_session *session,
                                     const struct store_volume *volume, store_done_fn *done,
                                     void *ctx)
{
    struct store *const store = session->store;
    struct description *const d = calloc(1, sizeof *d);

    assert(reactor_is_current(store->reactor));
    assert(!session->closed);
    if (d == NULL)
        return STATUS(NO_MEMORY);
    *d = (struct description) { .session = session, .volume = *volume, .done = done, .ctx = ctx };
    list_node_init(&d->link);
    list_push_back(&store->descriptions, &d->link);
    store_kick(store);
    return STATUS(OK);
}

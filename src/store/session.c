/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions (S4) and volume descriptors (S5).
 *
 *   CHECK -> FLUSH (descriptor and epoch become durable)
 *         -> DRAIN (older commands end, leases have run out) -> done
 */
#include <assert.h>
#include <stdlib.h>

#include "store/store_internal.h"

enum open_state { OPEN_CHECK, OPEN_FLUSH, OPEN_DRAIN, OPEN_DONE };

struct session_open {
    struct list_node link; /* In store->session_opens. */
    struct store *store;
    struct store_session_config config;
    void (*done)(void *ctx, const struct store_session_opened *opened);
    void *ctx;
    struct journal_waiter waiter;
    struct store_session *session;
    enum open_state state;
    struct status outcome;
    uint64_t free_ns; /* No lease is held from then on. */
};

struct status store_session_check(const struct store_session *session)
{
    const struct catalog_volume *const v = session->volume;

    if (session->stale && !MUTATION(S4_STALE_SESSION))
        return v != NULL && session->number != 0 && session->epoch == v->epochs[session->group]
                   ? STATUS(STALE_SESSION)
                   : STATUS(STALE_EPOCH);
    return v == NULL || v->deleting ? STATUS(NOT_FOUND) : STATUS(OK);
}

void session_put(struct store_session *session)
{
    assert(session->commands > 0);
    session->commands--;
    if (session->commands > 0 || !session->closed)
        return;
    list_remove(&session->link);
    free(session);
}

void store_session_close(struct store_session *session)
{
    assert(reactor_is_current(session->store->reactor));
    assert(!session->closed);

    session->closed = true;
    session->commands++;
    session_put(session);
}

void sessions_forget_volume(struct catalog_volume *volume)
{
    LIST_FOR_EACH (n, &volume->sessions) {
        struct store_session *const s = CONTAINER_OF(n, struct store_session, link);
        s->volume = NULL;
        list_remove(n);
    }
}

uint64_t store_session_used_bytes(const struct store_session *session)
{
    return session->volume == NULL ? 0 : session->volume->blocks * STORE_BLOCK_BYTES;
}

void store_session_loss_reported(struct store_session *session)
{
    struct store *const store = session->store;
    const size_t bytes = record_bytes(RECORD_LOSS, 0);
    uint64_t sequence;

    if (session->volume == NULL || !session->volume->loss)
        return;
    session->volume->loss = false;
    /* Without room the next checkpoint tells it. */
    if (!journal_has_room(store->journal, bytes, true))
        return;
    const struct record rec = { .type = RECORD_LOSS, .u.volume_id = session->volume->id };
    record_encode(&rec, journal_append(store->journal, bytes, &sequence));
}

/* ---- Opening ---- */

static bool desc_equal(const struct store_volume *a, const struct store_volume *b)
{
    return uuid_equal(a->uuid, b->uuid) && strcmp(a->name, b->name) == 0 && a->bytes == b->bytes &&
           a->shard_bytes == b->shard_bytes && a->lba_bytes == b->lba_bytes &&
           a->stripe_unit_bytes == b->stripe_unit_bytes && a->stripe_width == b->stripe_width &&
           a->replicas == b->replicas && a->min_in_sync == b->min_in_sync &&
           a->first_run_shards == b->first_run_shards &&
           a->continue_on_unflushed_loss == b->continue_on_unflushed_loss;
}

static struct status MUST_CHECK open_check(const struct session_open *o,
                                           const struct catalog_volume *v)
{
    const struct store_session_config *const c = &o->config;

    if (o->store->failed)
        return STATUS(MEDIA_WRITE);
    if (o->store->closing)
        return STATUS(SHUTTING_DOWN);
    if (!store_volume_is_valid(&c->volume) || c->group >= STORE_GROUPS_MAX)
        return STATUS(INVALID);
    if (v == NULL)
        return c->known ? STATUS(UNKNOWN_VOLUME) : STATUS(OK);
    if (v->deleting)
        return STATUS(NOT_FOUND);
    /* S4. */
    if (c->epoch < v->epochs[c->group])
        return STATUS(STALE_EPOCH);
    if (c->epoch == v->epochs[c->group] && c->number != 0 && c->number <= v->numbers[c->group])
        return STATUS(STALE_SESSION);
    return store_volume_extends(&c->volume, &v->desc) ? STATUS(OK) : STATUS(INVALID); /* F27. */
}

/* S5: the descriptor goes to the journal where it is new or has changed. */
static struct status MUST_CHECK open_describe(struct session_open *o, struct catalog_volume **v,
                                              uint64_t *sequence)
{
    struct store *const store = o->store;

    if (*v == NULL)
        TRY(catalog_add_volume(&store->catalog, store->catalog.next_volume_id, &o->config.volume,
                               v));
    else if (desc_equal(&(*v)->desc, &o->config.volume))
        return STATUS(OK);
    (*v)->desc = o->config.volume;
    const struct record rec = {
        .type = RECORD_VOLUME,
        .u.volume = { .id = (*v)->id, .volume = (*v)->desc, .loss = (*v)->loss },
    };
    record_encode(&rec, journal_append(store->journal, record_bytes(RECORD_VOLUME, 0), sequence));
    return STATUS(OK);
}

static void open_on_flushed(struct journal_waiter *waiter, struct status status)
{
    struct session_open *const o = CONTAINER_OF(waiter, struct session_open, waiter);

    assert(o->state == OPEN_FLUSH);
    o->outcome = status_ok(status) ? status : STATUS(MEDIA_WRITE);
    o->state = OPEN_DRAIN;
    store_kick(o->store);
}

/* From here on commands of older sessions are refused; those let through already may end. */
static void open_supersede(struct session_open *o, struct catalog_volume *v, bool newer)
{
    LIST_FOR_EACH (n, &v->sessions) {
        struct store_session *const s = CONTAINER_OF(n, struct store_session, link);
        if (s->group == o->config.group)
            s->stale = true;
    }
    struct store_session *const session = o->session;
    *session = (struct store_session) {
        .store = o->store,
        .volume = v,
        .group = o->config.group,
        .epoch = o->config.epoch,
        .number = o->config.number,
    };
    list_node_init(&session->link);
    list_push_back(&v->sessions, &session->link);
    regions_begin_session(&o->store->regions, v, o->config.group, newer, o->config.tick);
}

static void open_begin(struct session_open *o)
{
    struct store *const store = o->store;
    struct catalog_volume *v = catalog_volume_by_uuid(&store->catalog, o->config.volume.uuid);
    const size_t room = record_bytes(RECORD_VOLUME, 0) + record_bytes(RECORD_EPOCH, 0);
    uint64_t sequence;

    o->outcome = open_check(o, v);
    if (status_ok(o->outcome) && !journal_has_room(store->journal, room, false))
        return; /* Tried again when something moves. */
    if (status_ok(o->outcome))
        o->outcome = open_describe(o, &v, &sequence);
    if (!status_ok(o->outcome)) {
        o->state = OPEN_DONE;
        return;
    }
    const bool newer = o->config.epoch > v->epochs[o->config.group];
    v->epochs[o->config.group] = o->config.epoch;
    v->numbers[o->config.group] = o->config.number;
    const struct record rec = {
        .type = RECORD_EPOCH,
        .u.epoch = { .volume = v->id, .group = o->config.group, .epoch = o->config.epoch }
    };
    record_encode(&rec, journal_append(store->journal, record_bytes(RECORD_EPOCH, 0), &sequence));
    open_supersede(o, v, newer);
    if (store->leases != NULL)
        o->free_ns =
            store->leases->sealed(store->leases, &o->config.volume, o->config.group, newer);
    o->state = OPEN_FLUSH;
    if (MUTATION(S5_CONFIRMED_EARLY))
        sequence = 0;
    o->waiter = (struct journal_waiter) { .sequence = sequence, .fn = open_on_flushed };
    journal_wait_flushed(store->journal, &o->waiter);
    store_kick(store); /* Stalled commands of older sessions end now. */
}

/* S4: whether every command of the older sessions has ended. */
static bool open_is_drained(const struct session_open *o)
{
    const struct catalog_volume *const v = o->session->volume;

    if (v == NULL || MUTATION(SEAL_NO_DRAIN))
        return true;
    LIST_FOR_EACH (n, &v->sessions) {
        const struct store_session *const s = CONTAINER_OF(n, struct store_session, link);
        if (s != o->session && s->group == o->config.group && s->stale && s->commands > 0)
            return false;
    }
    return true;
}

static uint64_t volume_generation(const struct catalog_volume *v)
{
    uint64_t generation = 0;

    for (uint32_t i = 0; i < v->shards_count; i++) {
        const struct shard *const s = v->shards[i];
        if (s != NULL && s->map.layer_count > 0)
            generation = max_u64(generation, s->map.layers[0].generation);
    }
    return generation;
}

struct status store_session_state(const struct store_session *session,
                                  struct store_state *out_state)
{
    TRY(store_session_check(session));
    const struct catalog_volume *const v = session->volume;
    struct store_state state = {
        .generation = volume_generation(v),
        .busy = v->busy.state != BUSY_QUIET,
        .loss = v->loss,
        .failed = session->store->failed,
    };

    for (uint32_t i = 0; i < v->shards_count; i++) {
        if (v->shards[i] != NULL && v->shards[i]->group == session->group)
            state.regions += v->shards[i]->listed.runs;
    }
    sets_describe(session, &state);
    *out_state = state;
    return STATUS(OK);
}

static void open_report(struct session_open *o)
{
    struct store_session *const session = o->session;
    struct store_session_opened opened = { .status = o->outcome };

    if (status_ok(o->outcome) && session->volume == NULL)
        opened.status = STATUS(NOT_FOUND);
    else if (status_ok(o->outcome) && session->stale) /* By a newer one. */
        opened.status = session->number != 0 ? STATUS(OVERTAKEN) : STATUS(STALE_EPOCH);
    if (status_ok(opened.status)) {
        opened.session = session;
        opened.incarnation = o->store->incarnation;
        opened.generation = volume_generation(session->volume);
        opened.unflushed_loss = session->volume->loss;
    } else {
        list_remove(&session->link);
        free(session);
    }
    o->done(o->ctx, &opened);
    free(o);
}

static void leases_on_timer(struct io_timer *timer)
{
    store_kick(CONTAINER_OF(timer, struct store, lease_timer));
}

void sessions_init(struct store *store)
{
    list_init(&store->session_opens);
    io_timer_init(&store->lease_timer, leases_on_timer);
}

/* 7.3  Whether no lease is held any more; if one is, sees to it that this is asked again.  Who was
 * overtaken, or is closed, gives nothing that a lease would stand against. */
static bool open_is_free(const struct session_open *o)
{
    struct store *const store = o->store;

    if (o->session->stale || store->closing || reactor_now_ns(store->reactor) >= o->free_ns)
        return true;
    if (!io_timer_armed(&store->lease_timer) || store->lease_timer.deadline_ns > o->free_ns)
        io_timer_arm(&store->lease_timer, store->reactor, o->free_ns);
    return false;
}

void store_set_leases(struct store *store, struct store_leases *leases)
{
    assert(reactor_is_current(store->reactor));
    store->leases = leases;
}

void sessions_run(struct store *store)
{
    LIST_FOR_EACH (n, &store->session_opens) {
        struct session_open *const o = CONTAINER_OF(n, struct session_open, link);
        if (o->state == OPEN_CHECK)
            open_begin(o);
        if (o->state == OPEN_DRAIN &&
            (!status_ok(o->outcome) || (open_is_drained(o) && open_is_free(o))))
            o->state = OPEN_DONE;
    }
    struct list ended;
    struct list_node *n;
    list_init(&ended);
    LIST_FOR_EACH (m, &store->session_opens) {
        if (CONTAINER_OF(m, struct session_open, link)->state != OPEN_DONE)
            continue;
        list_remove(m);
        list_push_back(&ended, m);
    }
    while ((n = list_pop_front(&ended)) != NULL)
        open_report(CONTAINER_OF(n, struct session_open, link));
}

struct status store_session_open(struct store *store, const struct store_session_config *config,
                                 void (*done)(void *ctx, const struct store_session_opened *opened),
                                 void *ctx)
{
    assert(reactor_is_current(store->reactor));
    assert(done != NULL);

    struct session_open *const o = calloc(1, sizeof *o);
    struct store_session *const session = calloc(1, sizeof *session);
    if (o == NULL || session == NULL) {
        free(o);
        free(session);
        return STATUS(NO_MEMORY);
    }
    *o = (struct session_open) { .store = store, .config = *config, .done = done, .ctx = ctx };
    o->session = session;
    list_node_init(&o->session->link);
    list_node_init(&o->link);
    list_push_back(&store->session_opens, &o->link);
    store_kick(store);
    return STATUS(OK);
}

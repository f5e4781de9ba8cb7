/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of a disk, and the leases that engines of other nodes hold by them.
 *
 *   handle - 1:   | slot of the disk (16) | index in its table (16) |
 *
 * A guard outlives the session: it is there from the first OPEN on, and goes when nobody holds a
 * lease by it and none is waited for.
 */
#include <stdlib.h>

#include "peer/server_internal.h"

#define SESSIONS_MIN 64u

struct server_disk *server_disk_of(struct server *server, uint32_t handle)
{
    const uint32_t slot = (handle - 1) >> 16;

    return handle == 0 || slot >= SERVER_DISKS_MAX ? NULL : &server->disks[slot];
}

static uint32_t index_of(uint32_t handle)
{
    return (handle - 1) & UINT16_MAX;
}

struct server_session *session_find(struct server_disk *d, const struct server_link *link,
                                    const struct wire_command *c)
{
    const uint32_t index = index_of(c->handle);
    struct server_session *const s = index < d->session_room ? d->sessions[index] : NULL;

    if (s == NULL || s->link != link || s->epoch != c->epoch || (uint32_t)s->number != c->session)
        return NULL;
    return s;
}

/* ---- Making and ending ---- */

static struct status MUST_CHECK grow_table(struct server_disk *d)
{
    const uint32_t room = (uint32_t)min_u64(
        d->session_room == 0 ? SESSIONS_MIN : d->session_room * (uint64_t)2, SERVER_SESSIONS_MAX);

    if (room == d->session_room)
        return STATUS(LIMIT);
    struct server_session **const table = realloc(d->sessions, room * sizeof(*table));
    if (table == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = d->session_room; i < room; i++)
        table[i] = NULL;
    d->sessions = table;
    d->session_next = d->session_room;
    d->session_room = room;
    return STATUS(OK);
}

/* The next free place, round and round: a handle is not given out again at once. */
static struct status MUST_CHECK find_place(struct server_disk *d, uint32_t *out_index)
{
    for (uint32_t i = 0; i < d->session_room; i++) {
        const uint32_t index = (d->session_next + i) % d->session_room;
        if (d->sessions[index] != NULL)
            continue;
        *out_index = index;
        return STATUS(OK);
    }
    TRY(grow_table(d));
    *out_index = d->session_next;
    return STATUS(OK);
}

struct status session_make(struct server_open *open, struct server_session **out_session)
{
    struct server_disk *const d = open->disk;
    uint32_t index;

    TRY(find_place(d, &index));
    struct server_session *const s = calloc(1, sizeof *s);
    if (s == NULL)
        return STATUS(NO_MEMORY);
    *s = (struct server_session) {
        .disk = d,
        .handle = (d->slot << 16 | index) + 1,
        .link = open->owner,
        .group = open->group,
        .store = open->opened.session,
        .epoch = open->command.epoch,
        .number = open->wire.session,
        .incarnation = open->opened.incarnation,
        .generation = open->opened.generation,
    };
    d->sessions[index] = s;
    d->session_next = (index + 1) % d->session_room;
    *out_session = s;
    return STATUS(OK);
}

void session_end(struct server_session *s)
{
    assert(reactor_is_current(s->disk->reactor));
    store_session_close(s->store);
    s->disk->sessions[index_of(s->handle)] = NULL;
    free(s);
}

void sessions_end(struct server_disk *d, const struct server_link *link)
{
    for (uint32_t i = 0; i < d->session_room; i++) {
        if (d->sessions[i] != NULL && (link == NULL || d->sessions[i]->link == link))
            session_end(d->sessions[i]);
    }
}

void sessions_end_older(const struct server_session *than)
{
    struct server_disk *const d = than->disk;

    for (uint32_t i = 0; i < d->session_room; i++) {
        struct server_session *const s = d->sessions[i];
        if (s != NULL && s != than && s->link == than->link && s->group == than->group)
            session_end(s);
    }
}

/* ---- Leases ---- */

void group_free(struct server_group *g)
{
    assert(g->opens == 0);
    list_remove(&g->link);
    free(g);
}

/* Whether a seal would neither find a lease there nor wait for one. */
static bool group_is_idle(const struct server_disk *d, const struct server_group *g)
{
    for (uint32_t i = 0; i < d->session_room; i++) {
        if (d->sessions[i] != NULL && d->sessions[i]->group == g)
            return false;
    }
    return g->opens == 0 && !g->guard.held && g->guard.free_ns <= reactor_now_ns(d->reactor);
}

static struct server_group *find_group(struct server_disk *d, struct uuid volume, uint32_t group)
{
    LIST_FOR_EACH (n, &d->groups) {
        struct server_group *const g = CONTAINER_OF(n, struct server_group, link);
        if (g->group == group && uuid_equal(g->volume, volume))
            return g;
    }
    return NULL;
}

struct server_group *group_get(struct server_disk *d, struct uuid volume, uint32_t group)
{
    struct list_node *const oldest = list_first(&d->groups);
    struct server_group *g = find_group(d, volume, group);

    if (g != NULL)
        return g;
    /* One in, one out: so there are never many that nobody needs. */
    if (oldest != NULL) {
        struct server_group *const first = CONTAINER_OF(oldest, struct server_group, link);
        list_remove(oldest);
        list_push_back(&d->groups, oldest);
        if (group_is_idle(d, first))
            group_free(first);
    }
    g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->volume = volume;
    g->group = group;
    lease_guard_init(&g->guard);
    list_node_init(&g->link);
    list_push_back(&d->groups, &g->link);
    return g;
}

/*
 * 8.3  The older session is refused from now on: the count is raised, and the clock is read after
 * that.  What was let through before carries the old count, and its question was sent before.
 */
static uint64_t on_sealed(struct store_leases *leases, const struct store_volume *volume,
                          uint32_t group, bool newer)
{
    struct server_disk *const d = CONTAINER_OF(leases, struct server_disk, leases);
    struct server_group *const g = find_group(d, volume->uuid, group);
    const struct lease_guard none = { 0 };

    /* 8.2: a lone replica's engine needs no lease, so there is none. */
    if (volume->replicas == 1)
        return 0;
    if (g != NULL && newer && g->holder != NULL && lease_guard_seal(&g->guard, &g->holder->giver))
        lease_guard_wait(&d->clock, &g->guard, reactor_clock_ns(d->reactor));
    return lease_guard_free_ns(&d->clock, g == NULL ? &none : &g->guard);
}

void leases_init(struct server_disk *d)
{
    d->leases = (struct store_leases) { .sealed = on_sealed };
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "repl/lease.h"

#include <stddef.h>

#include "base/span.h"

/* ---- The engine's node ---- */

void lease_link_init(struct lease_link *link)
{
    *link = (struct lease_link) { 0 };
}

void lease_session_init(struct lease_session *session)
{
    *session = (struct lease_session) { 0 };
}

/* Counts go up, and around: a store may live long. */
static bool is_newer(uint32_t count, uint32_t than)
{
    return (int32_t)(count - than) > 0;
}

void lease_on_answer(struct lease_link *link, struct lease_session *session, uint32_t count,
                     uint64_t sent_ns)
{
    if (!link->known || is_newer(count, link->count)) {
        /* Sessions confirmed before may be what was superseded: each is to be asked. */
        *link = (struct lease_link) { .known = true, .count = count, .sent_ns = sent_ns };
    } else if (count == link->count) {
        link->sent_ns = max_u64(link->sent_ns, sent_ns);
    }
    if (!session->confirmed || is_newer(count, session->count))
        *session = (struct lease_session) { .confirmed = true, .count = count };
}

void lease_on_stale(struct lease_session *session)
{
    lease_session_init(session);
}

static bool is_confirmed(const struct lease_times *times, const struct lease_member *m,
                         uint64_t received_ns, uint64_t now_ns)
{
    if (m->link == NULL || !m->session->confirmed || m->session->count != m->link->count)
        return false;
    /* An answer that takes longer than the lease lasts is still an answer. */
    if (m->link->sent_ns >= received_ns)
        return true;
    return now_ns < m->link->sent_ns + times->lease_ns;
}

unsigned lease_to_ask(const struct lease_times *times, const struct lease_member *members,
                      unsigned others, uint64_t received_ns, uint64_t now_ns)
{
    unsigned ask = 0;

    assert(now_ns >= received_ns);
    for (unsigned i = 0; others >> i != 0; i++)
        if ((others & 1u << i) != 0 && !is_confirmed(times, &members[i], received_ns, now_ns))
            ask |= 1u << i;
    return ask;
}

/* ---- The store's node ---- */

void lease_giver_init(struct lease_giver *giver)
{
    atomic_init(&giver->count, 0);
}

void lease_guard_init(struct lease_guard *guard)
{
    *guard = (struct lease_guard) { 0 };
}

void lease_guard_open(struct lease_guard *guard)
{
    guard->held = true;
}

bool lease_guard_seal(struct lease_guard *guard, struct lease_giver *giver)
{
    if (!guard->held)
        return false;
    guard->held = false;
    atomic_fetch_add(&giver->count, 1);
    return true;
}

void lease_guard_wait(const struct lease_store *store, struct lease_guard *guard, uint64_t from_ns)
{
    guard->free_ns = max_u64(guard->free_ns, from_ns + store->times.wait_ns);
}

void lease_guard_release(struct lease_guard *guard)
{
    guard->held = false;
}

uint64_t lease_guard_free_ns(const struct lease_store *store, const struct lease_guard *guard)
{
    return max_u64(guard->free_ns, store->started_ns + store->times.wait_ns);
}

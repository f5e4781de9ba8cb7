/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/lease.h"

#include <stdlib.h>
#include <string.h>

struct lease {
    struct list_node link; /* In meta.leases. */
    uint64_t id;
    uint64_t ttl_ns;
    uint64_t end_ns;
};

struct leased_key {
    struct list_node link; /* In meta.leased. */
    uint64_t lease;
    bool reserved; /* The commit that binds it has not been applied yet. */
    struct meta_key key;
};

static struct lease *lease_find(struct meta *m, uint64_t id)
{
    LIST_FOR_EACH (n, &m->leases) {
        struct lease *l = CONTAINER_OF(n, struct lease, link);
        if (l->id == id)
            return l;
    }
    return NULL;
}

static void leased_free(struct leased_key *k)
{
    list_remove(&k->link);
    free(k);
}

struct status lease_reserve(struct meta *m, uint64_t lease, const struct meta_key *key)
{
    if (lease_find(m, lease) == NULL)
        return STATUS(NOT_FOUND);
    struct leased_key *k = malloc(sizeof *k);
    if (k == NULL)
        return STATUS(NO_MEMORY);
    *k = (struct leased_key) { .lease = lease, .reserved = true, .key = *key };
    list_node_init(&k->link);
    list_push_back(&m->leased, &k->link);
    return STATUS(OK);
}

void lease_unreserve(struct meta *m)
{
    LIST_FOR_EACH (n, &m->leased) {
        struct leased_key *k = CONTAINER_OF(n, struct leased_key, link);
        if (k->reserved)
            leased_free(k);
    }
}

static bool txn_changes(const struct meta_txn *txn, const char *key)
{
    for (unsigned i = 0; i < txn->change_count; i++)
        if (strcmp(txn->changes[i].key.s, key) == 0)
            return true;
    return false;
}

void lease_commit(struct meta *m, const struct meta_txn *txn)
{
    LIST_FOR_EACH (n, &m->leased) {
        struct leased_key *k = CONTAINER_OF(n, struct leased_key, link);
        if (!k->reserved && txn_changes(txn, k->key.s))
            leased_free(k);
        else
            k->reserved = false;
    }
}

void lease_drop_all(struct meta *m)
{
    struct list_node *n;
    while ((n = list_pop_front(&m->leased)) != NULL)
        free(CONTAINER_OF(n, struct leased_key, link));
    while ((n = list_pop_front(&m->leases)) != NULL)
        free(CONTAINER_OF(n, struct lease, link));
}

/* Up to a transaction's worth of the lease's keys; *out_more says whether some are left. */
static void lease_gather(struct meta *m, uint64_t id, struct meta_txn *txn, bool *out_more)
{
    *out_more = false;
    LIST_FOR_EACH (n, &m->leased) {
        const struct leased_key *k = CONTAINER_OF(n, struct leased_key, link);
        if (k->lease != id)
            continue;
        if (txn->change_count == META_TXN_CHANGES_MAX) {
            *out_more = true;
            return;
        }
        meta_txn_remove(txn, k->key.s);
    }
}

static struct status lease_end(struct meta *m, struct lease *l)
{
    struct meta_txn *txn = malloc(sizeof *txn);
    if (txn == NULL)
        return STATUS(NO_MEMORY);

    struct status st = STATUS(OK);
    for (bool more = true; more && status_ok(st);) {
        meta_txn_init(txn);
        lease_gather(m, l->id, txn, &more);
        if (txn->change_count > 0)
            st = meta_commit(m, txn, NULL); /* Takes the keys out of the list. */
        meta_txn_fini(txn);
    }
    free(txn);
    if (!status_ok(st))
        return st;
    list_remove(&l->link);
    free(l);
    return STATUS(OK);
}

struct status lease_expire(struct meta *m, uint64_t *out_next_ns)
{
    const uint64_t now_ns = m->ops->now_ns(m);
    uint64_t next_ns = UINT64_MAX;

    LIST_FOR_EACH (n, &m->leases) {
        struct lease *l = CONTAINER_OF(n, struct lease, link);
        if (l->end_ns <= now_ns)
            TRY(lease_end(m, l));
        else
            next_ns = min_u64(next_ns, l->end_ns - now_ns);
    }
    *out_next_ns = next_ns;
    return STATUS(OK);
}

struct status meta_lease_grant(struct meta *m, uint64_t ttl_ns, uint64_t *out_lease)
{
    if (ttl_ns == 0)
        return STATUS(INVALID);
    struct lease *l = malloc(sizeof *l);
    if (l == NULL)
        return STATUS(NO_MEMORY);
    *l = (struct lease) { .id = ++m->last_lease,
                          .ttl_ns = ttl_ns,
                          .end_ns = m->ops->now_ns(m) + ttl_ns };
    list_node_init(&l->link);
    list_push_back(&m->leases, &l->link);
    *out_lease = l->id;
    return STATUS(OK);
}

struct status meta_lease_renew(struct meta *m, uint64_t lease)
{
    struct lease *l = lease_find(m, lease);
    const uint64_t now_ns = m->ops->now_ns(m);

    /* One that has run out is not brought back to life, even if nobody has looked yet. */
    if (l == NULL || l->end_ns <= now_ns)
        return STATUS(NOT_FOUND);
    l->end_ns = now_ns + l->ttl_ns;
    return STATUS(OK);
}

struct status meta_lease_revoke(struct meta *m, uint64_t lease)
{
    struct lease *l = lease_find(m, lease);
    return l != NULL ? lease_end(m, l) : STATUS(NOT_FOUND);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/meta.h"

#include <stdlib.h>
#include <string.h>

#include "meta/lease.h"
#include "meta/meta_internal.h"

struct event {
    struct list_node link;
    uint64_t revision;
    struct meta_key key;
};

static bool key_is_valid(const char *key)
{
    size_t bytes = 0;
    for (; key[bytes] != '\0'; bytes++)
        if (bytes >= META_KEY_BYTES_MAX || key[bytes] <= ' ' || key[bytes] > '~')
            return false;
    return bytes > 0;
}

void meta_init(struct meta *m, const struct meta_ops *ops)
{
    *m = (struct meta) { .ops = ops };
    list_init(&m->watches);
    list_init(&m->events);
    list_init(&m->leases);
    list_init(&m->leased);
}

void meta_fini(struct meta *m)
{
    struct list_node *n;

    while (list_pop_front(&m->watches) != NULL)
        continue;
    while ((n = list_pop_front(&m->events)) != NULL)
        free(CONTAINER_OF(n, struct event, link));
    lease_drop_all(m);
}

void meta_close(struct meta *m)
{
    if (m != NULL)
        m->ops->close(m);
}

uint64_t meta_revision(const struct meta *m)
{
    return m->revision;
}

/* ---- Reading ---- */

struct status meta_get(struct meta *m, const char *key, struct meta_value *out_value)
{
    if (!key_is_valid(key))
        return STATUS(INVALID);
    return m->ops->get(m, key, out_value);
}

void meta_value_free(struct meta_value *value)
{
    free(value->data);
    *value = (struct meta_value) { 0 };
}

struct status meta_range(struct meta *m, const char *prefix, meta_visit_fn *visit, void *ctx,
                         uint64_t *out_revision)
{
    if (!key_is_valid(prefix))
        return STATUS(INVALID);
    TRY(m->ops->range(m, prefix, visit, ctx));
    if (out_revision != NULL)
        *out_revision = m->revision;
    return STATUS(OK);
}

/* ---- Building a transaction ---- */

void meta_txn_init(struct meta_txn *txn)
{
    txn->status = STATUS(OK);
    txn->compare_count = 0;
    txn->change_count = 0;
}

void meta_txn_fini(struct meta_txn *txn)
{
    for (unsigned i = 0; i < txn->change_count; i++)
        free(txn->changes[i].data);
    meta_txn_init(txn);
}

static bool txn_check(struct meta_txn *txn, const char *key, bool room)
{
    if (!status_ok(txn->status))
        return false;
    if (!key_is_valid(key))
        txn->status = STATUS(INVALID);
    else if (!room)
        txn->status = STATUS(LIMIT);
    return status_ok(txn->status);
}

static struct meta_key key_copy(const char *key)
{
    struct meta_key copy = { "" };
    memcpy(copy.s, key, strlen(key) + 1);
    return copy;
}

void meta_txn_expect(struct meta_txn *txn, const char *key, uint64_t revision)
{
    if (!txn_check(txn, key, txn->compare_count < META_TXN_COMPARES_MAX))
        return;
    txn->compares[txn->compare_count++] =
        (struct meta_compare) { .key = key_copy(key), .revision = revision };
}

void meta_txn_put_leased(struct meta_txn *txn, const char *key, struct const_span value,
                         uint64_t lease)
{
    const bool room =
        txn->change_count < META_TXN_CHANGES_MAX && value.bytes <= META_VALUE_BYTES_MAX;
    if (!txn_check(txn, key, room))
        return;

    /* One byte more, so that an empty value is no failed allocation. */
    uint8_t *data = malloc(value.bytes + 1);
    if (data == NULL) {
        txn->status = STATUS(NO_MEMORY);
        return;
    }
    if (value.bytes > 0)
        memcpy(data, value.at, value.bytes);
    txn->changes[txn->change_count++] = (struct meta_change) {
        .key = key_copy(key), .data = data, .bytes = value.bytes, .lease = lease
    };
}

void meta_txn_put(struct meta_txn *txn, const char *key, struct const_span value)
{
    meta_txn_put_leased(txn, key, value, 0);
}

void meta_txn_remove(struct meta_txn *txn, const char *key)
{
    if (!txn_check(txn, key, txn->change_count < META_TXN_CHANGES_MAX))
        return;
    txn->changes[txn->change_count++] =
        (struct meta_change) { .key = key_copy(key), .remove = true };
}

/* ---- Committing ---- */

/* Room for the events is made before the commit: after it, nothing may fail. */
static struct status events_make(const struct meta_txn *txn, struct list *out_events)
{
    for (unsigned i = 0; i < txn->change_count; i++) {
        struct event *e = malloc(sizeof *e);
        if (e == NULL)
            return STATUS(NO_MEMORY);
        *e = (struct event) { .key = txn->changes[i].key };
        list_node_init(&e->link);
        list_push_back(out_events, &e->link);
    }
    return STATUS(OK);
}

static void events_free(struct list *events)
{
    struct list_node *n;
    while ((n = list_pop_front(events)) != NULL)
        free(CONTAINER_OF(n, struct event, link));
}

static struct status commit_prepared(struct meta *m, const struct meta_txn *txn,
                                     struct list *events)
{
    TRY(events_make(txn, events));
    for (unsigned i = 0; i < txn->change_count; i++)
        if (txn->changes[i].lease != 0)
            TRY(lease_reserve(m, txn->changes[i].lease, &txn->changes[i].key));
    return m->ops->commit(m, txn);
}

struct status meta_commit(struct meta *m, struct meta_txn *txn, uint64_t *out_revision)
{
    struct list events;

    TRY(txn->status);
    list_init(&events);
    const struct status st = commit_prepared(m, txn, &events);
    if (!status_ok(st)) {
        events_free(&events);
        lease_unreserve(m);
        return st;
    }
    m->revision++;
    LIST_FOR_EACH (n, &events) {
        CONTAINER_OF(n, struct event, link)->revision = m->revision;
    }
    list_splice_back(&m->events, &events);
    lease_commit(m, txn);
    if (out_revision != NULL)
        *out_revision = m->revision;
    return STATUS(OK);
}

struct status meta_transact(struct meta *m, meta_build_fn *build, void *ctx, uint64_t *out_revision)
{
    struct meta_txn *txn = malloc(sizeof *txn);
    if (txn == NULL)
        return STATUS(NO_MEMORY);

    struct status st = STATUS(CONFLICT);
    for (unsigned i = 0; i < META_TRIES_MAX && status_is(st, STATUS_CONFLICT); i++) {
        meta_txn_init(txn);
        st = build(ctx, m, txn);
        if (status_ok(st))
            st = meta_commit(m, txn, out_revision);
        meta_txn_fini(txn);
    }
    free(txn);
    return st;
}

/* ---- Watches ---- */

void meta_watch_add(struct meta *m, struct meta_watch *watch)
{
    list_node_init(&watch->link);
    list_push_back(&m->watches, &watch->link);
}

void meta_watch_remove(struct meta_watch *watch)
{
    list_remove(&watch->link);
}

static void show(struct meta *m, const struct event *e)
{
    LIST_FOR_EACH (n, &m->watches) {
        struct meta_watch *w = CONTAINER_OF(n, struct meta_watch, link);
        if (strncmp(e->key.s, w->prefix, strlen(w->prefix)) == 0)
            w->changed(w, e->key.s, e->revision);
    }
}

struct status meta_dispatch(struct meta *m, uint64_t *out_next_ns)
{
    struct list_node *n;

    TRY(lease_expire(m, out_next_ns));
    while ((n = list_pop_front(&m->events)) != NULL) {
        struct event *e = CONTAINER_OF(n, struct event, link);
        show(m, e);
        free(e);
    }
    return STATUS(OK);
}

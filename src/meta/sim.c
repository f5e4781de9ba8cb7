/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated meta store: a sorted array in memory, a clock that is moved by hand. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "meta/meta_internal.h"

struct sim_item {
    struct meta_key key;
    uint8_t *data;
    size_t bytes;
    uint64_t revision;
};

struct meta_sim {
    struct meta meta;
    struct sim_item *items; /* By key. */
    size_t count;
    size_t room;
    uint64_t now_ns;
    enum meta_sim_fault fault;
    unsigned fault_after; /* So many commits. */
};

static struct meta_sim *sim_of(struct meta *m)
{
    return CONTAINER_OF(m, struct meta_sim, meta);
}

/* The index of the first item whose key is not below key. */
static size_t sim_find(const struct meta_sim *sim, const char *key, bool *out_found)
{
    size_t low = 0;
    size_t high = sim->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(sim->items[middle].key.s, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_found = low < sim->count && strcmp(sim->items[low].key.s, key) == 0;
    return low;
}

static struct status sim_get(struct meta *m, const char *key, struct meta_value *out_value)
{
    const struct meta_sim *sim = sim_of(m);
    bool found;
    const size_t at = sim_find(sim, key, &found);
    if (!found)
        return STATUS(NOT_FOUND);

    const struct sim_item *item = &sim->items[at];
    uint8_t *data = malloc(item->bytes + 1);
    if (data == NULL)
        return STATUS(NO_MEMORY);
    memcpy(data, item->data, item->bytes);
    *out_value =
        (struct meta_value) { .data = data, .bytes = item->bytes, .revision = item->revision };
    return STATUS(OK);
}

static struct status sim_range(struct meta *m, const char *prefix, meta_visit_fn *visit, void *ctx)
{
    const struct meta_sim *sim = sim_of(m);
    bool found;
    for (size_t at = sim_find(sim, prefix, &found); at < sim->count; at++) {
        const struct sim_item *item = &sim->items[at];
        if (strncmp(item->key.s, prefix, strlen(prefix)) != 0)
            break;
        const struct meta_item shown = { .key = item->key.s,
                                         .value = { item->data, item->bytes },
                                         .revision = item->revision };
        TRY(visit(ctx, &shown));
    }
    return STATUS(OK);
}

static struct status sim_compare(const struct meta_sim *sim, const struct meta_txn *txn)
{
    for (unsigned i = 0; i < txn->compare_count; i++) {
        bool found;
        const size_t at = sim_find(sim, txn->compares[i].key.s, &found);
        if ((found ? sim->items[at].revision : 0) != txn->compares[i].revision)
            return STATUS(CONFLICT);
    }
    return STATUS(OK);
}

static void sim_remove(struct meta_sim *sim, const char *key)
{
    bool found;
    const size_t at = sim_find(sim, key, &found);
    if (!found)
        return;
    free(sim->items[at].data);
    sim->count--;
    memmove(&sim->items[at], &sim->items[at + 1], (sim->count - at) * sizeof sim->items[0]);
}

/* data becomes the store's. */
static void sim_put(struct meta_sim *sim, const struct meta_change *change, uint8_t *data)
{
    bool found;
    const size_t at = sim_find(sim, change->key.s, &found);
    struct sim_item *item = &sim->items[at];
    if (found) {
        free(item->data);
    } else {
        assert(sim->count < sim->room);
        memmove(item + 1, item, (sim->count - at) * sizeof *item);
        sim->count++;
        item->key = change->key;
    }
    item->data = data;
    item->bytes = change->bytes;
    item->revision = sim->meta.revision + 1;
}

static struct status sim_make_room(struct meta_sim *sim, size_t more)
{
    if (sim->count + more <= sim->room)
        return STATUS(OK);
    const size_t room = 2 * sim->room + more;
    struct sim_item *items = realloc(sim->items, room * sizeof *items);
    if (items == NULL)
        return STATUS(NO_MEMORY);
    sim->items = items;
    sim->room = room;
    return STATUS(OK);
}

static struct status sim_apply(struct meta_sim *sim, const struct meta_txn *txn)
{
    uint8_t *copies[META_TXN_CHANGES_MAX] = { NULL };

    TRY(sim_make_room(sim, txn->change_count));
    for (unsigned i = 0; i < txn->change_count; i++) {
        const struct meta_change *change = &txn->changes[i];
        if (change->remove)
            continue;
        copies[i] = malloc(change->bytes + 1);
        if (copies[i] == NULL) {
            while (i > 0)
                free(copies[--i]);
            return STATUS(NO_MEMORY);
        }
        memcpy(copies[i], change->data, change->bytes);
    }
    for (unsigned i = 0; i < txn->change_count; i++) {
        if (txn->changes[i].remove)
            sim_remove(sim, txn->changes[i].key.s);
        else
            sim_put(sim, &txn->changes[i], copies[i]);
    }
    return STATUS(OK);
}

static struct status sim_commit(struct meta *m, const struct meta_txn *txn)
{
    struct meta_sim *sim = sim_of(m);
    const enum meta_sim_fault fault = sim->fault_after == 0 ? sim->fault : META_SIM_FAULT_NONE;

    if (sim->fault_after > 0)
        sim->fault_after--;
    else
        sim->fault = META_SIM_FAULT_NONE;
    if (fault == META_SIM_FAULT_REFUSE)
        return STATUS(UNAVAILABLE);
    TRY(sim_compare(sim, txn));
    TRY(sim_apply(sim, txn));
    if (fault == META_SIM_FAULT_LOSE) {
        m->revision++;
        return STATUS(UNAVAILABLE);
    }
    return STATUS(OK);
}

static uint64_t sim_now_ns(struct meta *m)
{
    return sim_of(m)->now_ns;
}

static void sim_close(struct meta *m)
{
    struct meta_sim *sim = sim_of(m);
    meta_fini(m);
    for (size_t i = 0; i < sim->count; i++)
        free(sim->items[i].data);
    free(sim->items);
    free(sim);
}

static const struct meta_ops sim_ops = {
    .get = sim_get,
    .range = sim_range,
    .commit = sim_commit,
    .now_ns = sim_now_ns,
    .close = sim_close,
};

struct status meta_sim_open(struct meta **out_meta)
{
    struct meta_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return STATUS(NO_MEMORY);
    meta_init(&sim->meta, &sim_ops);
    *out_meta = &sim->meta;
    return STATUS(OK);
}

void meta_sim_advance(struct meta *m, uint64_t ns)
{
    assert(m->ops == &sim_ops);
    sim_of(m)->now_ns += ns;
}

void meta_sim_fault_next(struct meta *m, enum meta_sim_fault fault)
{
    meta_sim_fault_after(m, 0, fault);
}

void meta_sim_fault_after(struct meta *m, unsigned commits, enum meta_sim_fault fault)
{
    assert(m->ops == &sim_ops);
    sim_of(m)->fault = fault;
    sim_of(m)->fault_after = commits;
}

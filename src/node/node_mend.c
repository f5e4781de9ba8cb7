/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_mend.h"

#include <assert.h>
#include <stdlib.h>

#include "node/node_internal.h"
#include "volume/mend.h"

struct node_mend {
    struct list_node link;
    struct node_volume *volume;
    struct node_mend_order order;
    struct volume_mend mend;
    bool wanted;
    bool busy;  /* The engine's. */
    bool ended; /* mend says how. */
};

void node_mends_init(struct node_mends *mends)
{
    list_init(&mends->list);
}

static void drop(struct node_mends *mends, struct node_mend *m)
{
    list_remove(&m->link);
    mends->count--;
    free(m);
}

void node_mends_fini(struct node_mends *mends)
{
    LIST_FOR_EACH (n, &mends->list) {
        struct node_mend *const m = CONTAINER_OF(n, struct node_mend, link);
        assert(!m->busy);
        drop(mends, m);
    }
    free(mends->results);
    mends->results = NULL;
}

/* What will be otherwise in a while is tried again with the next report. */
static bool is_final(struct status status)
{
    return !status_is(status, STATUS_BUSY) && !status_is(status, STATUS_FENCED);
}

static void on_mended(struct volume_mend *mend)
{
    struct node_mend *const m = CONTAINER_OF(mend, struct node_mend, mend);
    struct node_volume *const v = m->volume;

    m->busy = false;
    m->ended = is_final(mend->status);
    if (!m->wanted)
        drop(&v->mends, m);
    else if (m->ended)
        node_changed(v->node);
}

static void begin(struct node_volume *v, struct node_mend *m)
{
    m->busy = true;
    m->mend.disk = m->order.disk;
    m->mend.shard = m->order.shard;
    m->mend.offset = m->order.offset;
    m->mend.bytes = m->order.bytes;
    m->mend.done = on_mended;
    volume_mend(v->volume, &m->mend);
}

void node_mends_run(struct node_volume *v)
{
    assert(node_volume_is_served(v));
    LIST_FOR_EACH (n, &v->mends.list) {
        struct node_mend *const m = CONTAINER_OF(n, struct node_mend, link);
        if (m->wanted && !m->busy && !m->ended)
            begin(v, m);
    }
}

static struct node_mend *find(const struct node_mends *mends, uint64_t id)
{
    LIST_FOR_EACH (n, &mends->list) {
        struct node_mend *const m = CONTAINER_OF(n, struct node_mend, link);
        if (m->order.id == id)
            return m;
    }
    return NULL;
}

/* Without memory, or room, it is nobody's: whoever found it is told that nobody has answered. */
static void add(struct node_volume *v, const struct node_mend_order *order)
{
    struct node_mend *const m = v->mends.count < NODE_MENDS_MAX ? calloc(1, sizeof *m) : NULL;

    if (m == NULL)
        return;
    m->volume = v;
    m->order = *order;
    m->wanted = true;
    list_node_init(&m->link);
    list_push_back(&v->mends.list, &m->link);
    v->mends.count++;
}

void node_mends_want(struct node_volume *v, const struct node_mend_order *orders, uint32_t count)
{
    LIST_FOR_EACH (n, &v->mends.list)
        CONTAINER_OF(n, struct node_mend, link)->wanted = false;
    for (uint32_t i = 0; i < count; i++) {
        struct node_mend *const m = find(&v->mends, orders[i].id);
        if (m != NULL)
            m->wanted = true;
        else
            add(v, &orders[i]);
    }
    LIST_FOR_EACH (n, &v->mends.list) {
        struct node_mend *const m = CONTAINER_OF(n, struct node_mend, link);
        if (!m->wanted && !m->busy)
            drop(&v->mends, m);
    }
}

uint32_t node_mends_report(struct node_volume *v, const struct node_mend_result **out_results)
{
    struct node_mends *const mends = &v->mends;
    uint32_t count = 0;

    if (node_volume_is_served(v))
        node_mends_run(v);
    free(mends->results);
    mends->results = calloc(mends->count + 1, sizeof *mends->results);
    LIST_FOR_EACH (n, &mends->list) {
        const struct node_mend *const m = CONTAINER_OF(n, struct node_mend, link);
        if (!m->ended || mends->results == NULL)
            continue;
        mends->results[count++] = (struct node_mend_result) {
            .id = m->order.id,
            .status = m->mend.status,
            .address = m->mend.address,
            .repaired_blocks = (uint32_t)(m->mend.repaired_bytes / STORE_BLOCK_BYTES),
            .unreadable_blocks = m->mend.unreadable,
        };
    }
    *out_results = mends->results;
    return count;
}

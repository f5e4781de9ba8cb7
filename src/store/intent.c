/* SPDX-License-Identifier: Apache-2.0 */
#include "store/intent.h"

#include <assert.h>
#include <stdlib.h>

static_assert(LAYOUT_INTENTS_MAX < UINT16_MAX, "an entry's number fits the shard's array");

struct status intents_init(struct intents *t)
{
    *t = (struct intents) { .table = calloc(LAYOUT_INTENTS_MAX, sizeof(struct intent)) };
    list_init(&t->free);
    list_init(&t->wanted);
    list_init(&t->opening);
    list_init(&t->open);
    list_init(&t->held);
    if (t->table == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < LAYOUT_INTENTS_MAX; i++) {
        list_node_init(&t->table[i].link);
        list_push_back(&t->free, &t->table[i].link);
    }
    return STATUS(OK);
}

void intents_fini(struct intents *t)
{
    free(t->table);
    t->table = NULL;
}

struct intent *intent_find(const struct intents *t, const struct shard *shard, uint32_t region)
{
    assert(region < shard_regions(shard));
    const uint16_t number = shard->intents[region];

    return number == 0 ? NULL : &t->table[number - 1];
}

struct intent *intent_add(struct intents *t, struct shard *shard, uint32_t region)
{
    assert(intent_find(t, shard, region) == NULL);
    struct list_node *const n = list_pop_front(&t->free);

    if (n == NULL)
        return NULL;
    struct intent *const i = CONTAINER_OF(n, struct intent, link);
    *i = (struct intent) { .shard = shard, .region = region, .state = INTENT_WANTED };
    list_node_init(&i->link);
    list_push_back(&t->wanted, &i->link);
    shard->intents[region] = (uint16_t)(i - t->table + 1);
    t->count++;
    return i;
}

void intent_move(struct intents *t, struct intent *i, enum intent_state state)
{
    struct list *const lists[] = {
        [INTENT_FREE] = t->holds ? &t->held : &t->free,
        [INTENT_WANTED] = &t->wanted,
        [INTENT_OPENING] = &t->opening,
        [INTENT_OPEN] = &t->open,
    };

    assert(i->state != INTENT_FREE);
    if (state == INTENT_FREE) {
        assert(i->in_flight == 0 && !i->settling);
        intent_set_suspect(t, i, false);
        i->shard->intents[i->region] = 0;
        i->shard = NULL;
        t->count--;
    }
    i->state = state;
    list_remove(&i->link);
    list_push_back(lists[state], &i->link);
}

void intents_hold(struct intents *t, bool holds)
{
    t->holds = holds;
    if (!holds)
        list_splice_back(&t->free, &t->held);
}

void intent_set_suspect(struct intents *t, struct intent *i, bool suspect)
{
    assert(suspect || !i->settling);
    if (i->suspect == suspect)
        return;
    assert(suspect || t->suspects > 0);
    i->suspect = suspect;
    t->suspects += suspect ? 1 : UINT32_MAX;
}

void intents_drop_shard(struct intents *t, struct shard *shard)
{
    for (uint32_t region = 0; region < shard_regions(shard); region++) {
        struct intent *const i = intent_find(t, shard, region);
        if (i != NULL)
            intent_move(t, i, INTENT_FREE);
    }
}

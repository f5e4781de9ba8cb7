/* SPDX-License-Identifier: Apache-2.0 */
#include "store/catalog.h"

#include <assert.h>
#include <stdlib.h>

void catalog_init(struct catalog *c, const struct disk_limits *limits)
{
    assert(limits->volumes > 0 && limits->shards > 0);
    *c = (struct catalog) { .limits = *limits, .next_volume_id = 1, .next_shard_id = 1 };
    list_init(&c->volumes);
    cell_lists_init(&c->lists);
}

void catalog_fini(struct catalog *c)
{
    while (c->shard_count > 0)
        catalog_remove_shard(c, c->shards[c->shard_count - 1]);
    LIST_FOR_EACH (n, &c->volumes)
        catalog_remove_volume(c, CONTAINER_OF(n, struct catalog_volume, link));
    assert(c->volume_count == 0);
    assert(c->usage.bytes == 0);
    cell_lists_fini(&c->lists);
    free(c->shards);
    c->shards = NULL;
}

struct catalog_volume *catalog_volume_by_id(const struct catalog *c, uint32_t id)
{
    LIST_FOR_EACH (n, &c->volumes) {
        struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        if (v->id == id)
            return v;
    }
    return NULL;
}

struct catalog_volume *catalog_volume_by_uuid(const struct catalog *c, struct uuid uuid)
{
    LIST_FOR_EACH (n, &c->volumes) {
        struct catalog_volume *const v = CONTAINER_OF(n, struct catalog_volume, link);
        if (uuid_equal(v->desc.uuid, uuid))
            return v;
    }
    return NULL;
}

/* Where the first shard with at least this id stands. */
static uint32_t shard_position(const struct catalog *c, uint32_t id)
{
    uint32_t low = 0, high = c->shard_count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (c->shards[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct shard *catalog_next_shard(const struct catalog *c, uint32_t id)
{
    const uint32_t at = shard_position(c, id);

    return at < c->shard_count ? c->shards[at] : NULL;
}

struct shard *catalog_shard_by_id(const struct catalog *c, uint32_t id)
{
    struct shard *const s = catalog_next_shard(c, id);

    return s != NULL && s->id == id ? s : NULL;
}

struct shard *catalog_shard_by_index(const struct catalog_volume *v, uint32_t index)
{
    return index < v->shards_count ? v->shards[index] : NULL;
}

struct status catalog_add_volume(struct catalog *c, uint32_t id, const struct store_volume *desc,
                                 struct catalog_volume **out_volume)
{
    assert(store_volume_is_valid(desc));
    if (catalog_volume_by_id(c, id) != NULL || catalog_volume_by_uuid(c, desc->uuid) != NULL)
        return STATUS(EXISTS);
    if (c->volume_count >= c->limits.volumes)
        return STATUS(NO_SPACE);
    struct catalog_volume *const v = calloc(1, sizeof *v);
    if (v == NULL)
        return STATUS(NO_MEMORY);
    v->id = id;
    v->desc = *desc;
    list_node_init(&v->link);
    list_init(&v->sessions);
    list_init(&v->copysets);
    list_push_back(&c->volumes, &v->link);
    c->volume_count++;
    if (id >= c->next_volume_id)
        c->next_volume_id = id + 1;
    *out_volume = v;
    return STATUS(OK);
}

/* ---- Copysets ---- */

const struct catalog_copyset *copyset_next(const struct catalog_volume *v, uint32_t number)
{
    LIST_FOR_EACH (n, &v->copysets) {
        const struct catalog_copyset *const s = CONTAINER_OF(n, struct catalog_copyset, link);
        if (s->number >= number)
            return s;
    }
    return NULL;
}

/* Behind those with lower numbers. */
static void copyset_insert(struct catalog_volume *v, struct catalog_copyset *set)
{
    struct list higher;

    list_init(&higher);
    LIST_FOR_EACH (n, &v->copysets) {
        if (CONTAINER_OF(n, struct catalog_copyset, link)->number < set->number)
            continue;
        list_remove(n);
        list_push_back(&higher, n);
    }
    list_push_back(&v->copysets, &set->link);
    list_splice_back(&v->copysets, &higher);
}

/* The one of that number, which is made if need be. */
static struct status MUST_CHECK copyset_make(struct catalog *c, struct catalog_volume *v,
                                             uint32_t number, struct catalog_copyset **out_set)
{
    LIST_FOR_EACH (n, &v->copysets) {
        struct catalog_copyset *const s = CONTAINER_OF(n, struct catalog_copyset, link);
        *out_set = s;
        if (s->number == number)
            return STATUS(OK);
    }
    if (c->copyset_count >= c->limits.copysets && !c->applies)
        return STATUS(NO_SPACE);
    struct catalog_copyset *const set = calloc(1, sizeof *set);
    if (set == NULL)
        return STATUS(NO_MEMORY);
    set->number = number;
    list_node_init(&set->link);
    copyset_insert(v, set);
    c->copyset_count++;
    *out_set = set;
    return STATUS(OK);
}

bool copysets_must_wait(const struct catalog *c, uint32_t fresh)
{
    return c->copysets_held > 0 &&
           (uint64_t)c->copyset_count + c->copysets_held + fresh > c->limits.copysets;
}

void copysets_hold(struct catalog *c, bool holds)
{
    c->holds_copysets = holds;
    c->copysets_held = 0;
}

struct status copyset_put(struct catalog *c, struct catalog_volume *v,
                          const struct record_copyset *rec)
{
    struct catalog_copyset *set;

    TRY(copyset_make(c, v, rec->number, &set));
    set->rec = *rec;
    set->has_set = true;
    return STATUS(OK);
}

struct status copyset_put_points(struct catalog *c, struct catalog_volume *v,
                                 const struct record_points *rec)
{
    struct catalog_copyset *set;

    TRY(copyset_make(c, v, rec->number, &set));
    set->points = *rec;
    return STATUS(OK);
}

static void copysets_free(struct catalog *c, struct catalog_volume *v)
{
    struct list_node *n;

    while ((n = list_pop_front(&v->copysets)) != NULL) {
        free(CONTAINER_OF(n, struct catalog_copyset, link));
        assert(c->copyset_count > 0);
        c->copyset_count--;
        c->copysets_held += c->holds_copysets ? 1 : 0;
    }
}

/* ---- Shards ---- */

/* Makes room for index in the volume's array. */
static struct status MUST_CHECK volume_reach(struct catalog_volume *v, uint32_t index)
{
    if (index < v->shards_count)
        return STATUS(OK);
    if (index >= STORE_SHARDS_MAX)
        return STATUS(OUT_OF_RANGE);
    const uint32_t count = index + 1 + index / 4;
    struct shard **const shards = realloc(v->shards, count * sizeof(struct shard *));
    if (shards == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = v->shards_count; i < count; i++)
        shards[i] = NULL;
    v->shards = shards;
    v->shards_count = count;
    return STATUS(OK);
}

static struct status MUST_CHECK catalog_insert(struct catalog *c, struct shard *shard)
{
    struct shard **const shards =
        realloc(c->shards, ((size_t)c->shard_count + 1) * sizeof(struct shard *));

    if (shards == NULL)
        return STATUS(NO_MEMORY);
    c->shards = shards;
    const uint32_t at = shard_position(c, shard->id);
    memmove(&shards[at + 1], &shards[at], (c->shard_count - at) * sizeof(struct shard *));
    shards[at] = shard;
    c->shard_count++;
    return STATUS(OK);
}

struct status catalog_add_shard(struct catalog *c, struct catalog_volume *volume,
                                const struct record_shard *rec, struct shard **out_shard)
{
    if (catalog_shard_by_id(c, rec->id) != NULL ||
        catalog_shard_by_index(volume, rec->index) != NULL)
        return STATUS(EXISTS);
    if (c->shard_count >= c->limits.shards)
        return STATUS(NO_SPACE);
    TRY(volume_reach(volume, rec->index));
    struct shard *const s = calloc(1, sizeof *s);
    if (s == NULL)
        return STATUS(NO_MEMORY);
    *s = (struct shard) { .id = rec->id,
                          .volume = volume,
                          .index = rec->index,
                          .group = rec->group,
                          .epoch = rec->epoch,
                          .generation = rec->generation,
                          .bytes = rec->bytes,
                          .copyset = rec->copyset };
    map_init(&s->map, rec->bytes, &c->lists, &c->usage, &volume->blocks);
    list_init(&s->active);
    s->intents = calloc(shard_regions(s), sizeof *s->intents);
    if (s->intents == NULL || !status_ok(catalog_insert(c, s))) {
        free(s->intents);
        free(s);
        return STATUS(NO_MEMORY);
    }
    volume->shards[rec->index] = s;
    if (rec->id >= c->next_shard_id)
        c->next_shard_id = rec->id + 1;
    *out_shard = s;
    return STATUS(OK);
}

struct status catalog_check_usage(const struct catalog *c, uint64_t bytes, bool *out_wait)
{
    const uint64_t now = c->usage.bytes + c->usage.promised;

    if (now > c->limits.map_bytes || bytes > c->limits.map_bytes - now)
        return STATUS(NO_SPACE);
    *out_wait |= c->usage.held > c->limits.map_bytes - now - bytes;
    return STATUS(OK);
}

void catalog_remove_shard(struct catalog *c, struct shard *shard)
{
    const uint32_t at = shard_position(c, shard->id);

    assert(at < c->shard_count && c->shards[at] == shard);
    assert(list_empty(&shard->active));
    memmove(&c->shards[at], &c->shards[at + 1], (c->shard_count - at - 1) * sizeof(struct shard *));
    c->shard_count--;
    shard->volume->shards[shard->index] = NULL;
    map_fini(&shard->map);
    free(shard->listed.slots);
    free(shard->listed.entries);
    free(shard->intents);
    free(shard);
}

void catalog_remove_volume(struct catalog *c, struct catalog_volume *volume)
{
    assert(c->volume_count > 0);
    assert(list_empty(&volume->sessions));
    copysets_free(c, volume);
    list_remove(&volume->link);
    c->volume_count--;
    free(volume->shards);
    free(volume);
}

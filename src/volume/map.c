/* SPDX-License-Identifier: Apache-2.0 */
/* The map of a volume: its layout, and the leg of each shard. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "volume/volume_internal.h"

/* ---- Legs ---- */

static struct status MUST_CHECK init_leg(struct leg_call *call, const struct volume_disk *disk)
{
    struct volume *const v = call->volume;
    const bool is_remote = disk->store == NULL && disk->link != NULL;

    leg_init(&call->leg, disk->store, is_remote ? v->home : disk->reactor,
             v->desc.continue_on_unflushed_loss, &v->losses);
    call->leg.has_peers = v->desc.replicas > 1;
    if (!is_remote) {
        if (call->leg.has_peers)
            leg_watch(&call->leg, v->home, v->patience_ns, &members_leg_ops);
        return STATUS(OK);
    }
    return leg_init_remote(&call->leg, disk->link, disk->uuid, v->epoch, v->patience_ns,
                           &members_leg_ops);
}

static struct status MUST_CHECK add_leg(struct volume *v, const struct volume_disk *disk,
                                        uint32_t *out_index)
{
    if (v->call_count == VOLUME_STORES_MAX)
        return STATUS(LIMIT);
    struct leg_call **const calls =
        realloc(v->calls, ((size_t)v->call_count + 1) * sizeof(struct leg_call *));
    if (calls == NULL)
        return STATUS(NO_MEMORY);
    v->calls = calls;
    struct leg_call *const call = calloc(1, sizeof *call);
    if (call == NULL)
        return STATUS(NO_MEMORY);
    call->volume = v;
    call->uuid = disk->uuid;
    call->is_new = true;
    /* Of several replicas no Flush waits for it before it is a member, or needed (members.h). */
    call->members.spared = v->map != NULL && v->desc.replicas > 1;
    snprintf(call->disk, sizeof call->disk, "%s", disk->name);
    *out_index = v->call_count;
    calls[v->call_count++] = call;
    return init_leg(call, disk);
}

struct status volume_map_renew(struct leg_call *call, const struct volume_disk *disk)
{
    assert(!call->opening);
    const uint64_t number = leg_session_number(&call->leg);
    leg_fini(&call->leg);
    call->opened = false;
    call->retired = false;
    if (call->members.suspect) { /* That was another session. */
        call->members.suspect = false;
        atomic_store(&call->members.reported, false);
    }
    TRY(init_leg(call, disk));
    leg_session_after(&call->leg, number);
    return STATUS(OK);
}

/*
 * A new leg that came to nothing, because its disk was not there, takes what is there now; one that
 * was let go of is a new one (replace.h).
 */
static struct status MUST_CHECK renew_leg(struct leg_call *call, const struct volume_disk *disk)
{
    if (call->opening)
        return call->retired ? STATUS(BUSY) : STATUS(OK);
    if (call->retired) {
        call->is_new = true;
        return volume_map_renew(call, disk);
    }
    if (!call->is_new || call->leg.session != NULL || call->leg.remote != NULL)
        return STATUS(OK);
    return init_leg(call, disk);
}

struct status volume_map_leg(struct volume *v, const struct volume_disk *disk, uint32_t *out_index)
{
    for (uint32_t i = 0; i < v->call_count; i++) {
        if (!uuid_equal(v->calls[i]->uuid, disk->uuid))
            continue;
        *out_index = i;
        return renew_leg(v->calls[i], disk);
    }
    return add_leg(v, disk, out_index);
}

/* ---- Copysets ---- */

/* That the map is made for. */
static const struct group *group_of(const struct volume *v)
{
    return v->next_group != NULL ? v->next_group : v->members.group;
}

/* Whether the legs are those of the copyset's disks. */
static bool has_disks(const struct volume *v, const struct group_copyset *c, const uint32_t *leg)
{
    for (uint32_t slot = 0; slot < v->desc.replicas; slot++)
        if (!uuid_equal(c->slots[slot].disk, v->calls[leg[slot]]->uuid))
            return false;
    return true;
}

/*
 * The number of a tuple of disks in the group's record, wanted if that is not 0: one more than it;
 * a volume of one replica has none.
 */
static struct status MUST_CHECK find_number(const struct volume *v, const uint32_t *leg,
                                            uint32_t wanted, uint32_t *out_number)
{
    const struct group *const g = group_of(v);

    *out_number = 0;
    if (v->desc.replicas == 1)
        return STATUS(OK);
    for (uint32_t n = 0; g != NULL && n < g->copyset_count; n++) {
        if ((wanted != 0 && n != wanted - 1) || !has_disks(v, &g->copysets[n], leg))
            continue;
        *out_number = n;
        return STATUS(OK);
    }
    return STATUS(INVALID);
}

/* That of the first disk which is here; copysets of other nodes' disks are spread. */
static struct slice *slice_of(const struct volume *v, const uint32_t *leg)
{
    for (uint32_t slot = 0; slot < v->desc.replicas; slot++) {
        const struct leg *const l = &v->calls[leg[slot]]->leg;
        if (l->store != NULL)
            return &v->slices[l->reactor->index];
    }
    return &v->slices[v->calls[leg[0]]->leg.remote != NULL ? v->copyset_count % v->slice_count : 0];
}

static struct status MUST_CHECK add_copyset(struct volume *v, const uint32_t *leg, uint32_t wanted,
                                            uint32_t *out_index)
{
    struct copyset **const sets =
        realloc(v->copysets, ((size_t)v->copyset_count + 1) * sizeof(struct copyset *));

    if (sets == NULL)
        return STATUS(NO_MEMORY);
    v->copysets = sets;
    uint32_t number;
    TRY(find_number(v, leg, wanted, &number));
    struct copyset *const cs = calloc(1, sizeof *cs);
    if (cs == NULL)
        return STATUS(NO_MEMORY);
    cs->number = number;
    memcpy(cs->leg, leg, sizeof cs->leg);
    memcpy(cs->home_leg, leg, sizeof cs->home_leg);
    cs->slice = slice_of(v, leg);
    for (uint32_t slot = 0; slot < v->desc.replicas; slot++)
        if (v->calls[leg[slot]]->leg.remote != NULL)
            cs->remote = (uint8_t)(cs->remote | 1u << slot);
    cs->members = v->desc.replicas == 1 ? 1 : (uint8_t)group_members(group_of(v), number);
    list_init(&cs->held);
    cs->sources = cs->members; /* Who is not one is found when the volume is taken over. */
    list_node_init(&cs->round.link);
    settling_init(&cs->settling);
    resync_init(&cs->resync);
    resync_home_init(&cs->home);
    const struct status st = v->desc.replicas == 1 ? STATUS(OK) : round_copyset_init(&cs->round);
    if (!status_ok(st)) {
        free(cs);
        return st;
    }
    *out_index = v->copyset_count;
    sets[v->copyset_count++] = cs;
    return STATUS(OK);
}

/* wanted as volume_placement.copyset: a disk that was replaced may make two tuples alike. */
static struct status MUST_CHECK find_copyset(struct volume *v, const uint32_t *leg, uint32_t wanted,
                                             uint32_t *out_index)
{
    for (uint32_t i = 0; i < v->copyset_count; i++) {
        const struct copyset *const cs = v->copysets[i];
        if ((wanted != 0 && v->desc.replicas > 1 && cs->number != wanted - 1) ||
            memcmp(cs->home_leg, leg, v->desc.replicas * sizeof *leg) != 0)
            continue;
        *out_index = i;
        return STATUS(OK);
    }
    return add_copyset(v, leg, wanted, out_index);
}

/* ---- Shards ---- */

#define LEG_UNKNOWN UINT32_MAX

/* legs: per disk of the configuration, its leg's index or LEG_UNKNOWN. */
static struct status MUST_CHECK place_shard(struct volume *v, const struct volume_config *config,
                                            uint32_t *legs, uint32_t shard, uint32_t *out_copyset)
{
    uint32_t leg[VOLUME_SLOTS_MAX] = { COPYSET_NO_LEG, COPYSET_NO_LEG, COPYSET_NO_LEG,
                                       COPYSET_NO_LEG };

    for (uint32_t r = 0; r < v->desc.replicas; r++) {
        const uint32_t disk = config->shards[shard].disk[r];
        if (disk >= config->disk_count)
            return STATUS(INVALID);
        if (legs[disk] == LEG_UNKNOWN)
            TRY(volume_map_leg(v, &config->disks[disk], &legs[disk]));
        leg[r] = legs[disk];
    }
    return find_copyset(v, leg, config->shards[shard].copyset, out_copyset);
}

static struct status MUST_CHECK place_shards(struct volume *v, const struct volume_config *config,
                                             struct volume_map *map)
{
    uint32_t *const legs = calloc((size_t)config->disk_count + 1, sizeof *legs);
    struct status st = STATUS(OK);

    if (legs == NULL)
        return STATUS(NO_MEMORY);
    for (uint32_t i = 0; i < config->disk_count; i++)
        legs[i] = LEG_UNKNOWN;
    for (uint32_t i = 0; i < config->shard_count && status_ok(st); i++)
        st = place_shard(v, config, legs, i, &map->shards[i]);
    free(legs);
    return st;
}

/* 11.7: disks without a slot, of which the volume is to be deleted as well. */
static struct status MUST_CHECK add_leftovers(struct volume *v, const struct volume_config *config)
{
    uint32_t leg;

    for (uint32_t i = 0; i < config->leftover_count && config->deleting; i++)
        TRY(volume_map_leg(v, &config->disks[config->leftovers[i]], &leg));
    return STATUS(OK);
}

/* V1: whether all shards of the old map are where they were. */
static bool shards_stay(const struct volume_map *map, const struct volume_map *old)
{
    return memcmp(map->shards, old->shards, old->shard_count * sizeof *old->shards) == 0;
}

/* ---- The map ---- */

/* The legs and copysets that there are. */
static struct status MUST_CHECK map_take_lists(const struct volume *v, struct volume_map *map)
{
    map->legs = calloc(v->call_count, sizeof *map->legs);
    map->copysets = calloc(v->copyset_count, sizeof *map->copysets);
    if (map->legs == NULL || map->copysets == NULL)
        return STATUS(NO_MEMORY);
    map->leg_count = v->call_count;
    map->copyset_count = v->copyset_count;
    memcpy(map->copysets, v->copysets, v->copyset_count * sizeof *map->copysets);
    /* With their CRCs they are to fit a buffer where a leg is remote, as any replica's may become
     * while a piece is under way (replace.h). */
    map->piece_bytes_max =
        v->desc.replicas == 1 ? BUF_BYTES_MAX : (uint64_t)WIRE_BLOCKS_MAX * STORE_BLOCK_BYTES;
    for (uint32_t i = 0; i < v->call_count; i++) {
        map->legs[i] = &v->calls[i]->leg;
        if (map->legs[i]->remote != NULL)
            map->piece_bytes_max = (uint64_t)WIRE_BLOCKS_MAX * STORE_BLOCK_BYTES;
    }
    return STATUS(OK);
}

static struct status MUST_CHECK map_fill(struct volume *v, const struct volume_config *config,
                                         struct volume_map *map)
{
    const struct store_volume *const d = &config->volume;
    const struct layout_shape shape = { d->bytes, d->shard_bytes, d->stripe_unit_bytes,
                                        d->stripe_width, d->first_run_shards };

    TRY(layout_init(&map->layout, &shape));
    if (config->shard_count != map->layout.shard_count)
        return STATUS(INVALID);
    if (v->map != NULL && !layout_extends(&map->layout, &v->map->layout))
        return STATUS(INVALID);
    map->shards = calloc(config->shard_count, sizeof *map->shards);
    if (map->shards == NULL)
        return STATUS(NO_MEMORY);
    map->shard_count = config->shard_count;
    TRY(place_shards(v, config, map));
    TRY(add_leftovers(v, config));
    if (v->map != NULL && !shards_stay(map, v->map))
        return STATUS(INVALID);
    return map_take_lists(v, map);
}

struct status volume_map_create(struct volume *v, const struct volume_config *config,
                                struct volume_map **out_map)
{
    struct volume_map *const map = calloc(1, sizeof *map);

    if (map == NULL)
        return STATUS(NO_MEMORY);
    const struct status st = map_fill(v, config, map);
    if (!status_ok(st)) {
        volume_map_destroy(map);
        return st;
    }
    *out_map = map;
    return STATUS(OK);
}

struct status volume_map_add_legs(const struct volume *v, struct volume_map **out_map)
{
    const struct volume_map *const old = v->map;
    struct volume_map *const map = calloc(1, sizeof *map);

    if (map == NULL)
        return STATUS(NO_MEMORY);
    map->layout = old->layout;
    map->shard_count = old->shard_count;
    map->shards = calloc(old->shard_count, sizeof *map->shards);
    const struct status st = map->shards == NULL ? STATUS(NO_MEMORY) : map_take_lists(v, map);
    if (!status_ok(st)) {
        volume_map_destroy(map);
        return st;
    }
    memcpy(map->shards, old->shards, old->shard_count * sizeof *map->shards);
    *out_map = map;
    return STATUS(OK);
}

void volume_map_destroy(struct volume_map *map)
{
    if (map == NULL)
        return;
    free(map->legs);
    free(map->copysets);
    free(map->shards);
    free(map);
}

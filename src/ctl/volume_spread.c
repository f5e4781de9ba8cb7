/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/volume_spread.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ctl/spread.h"
#include "repl/group_steps.h"

/* ---- The plan ---- */

static struct spread_request request_of(const struct volume_spread *s, uint32_t first)
{
    const Stored__V1__Volume *r = s->record;
    const uint32_t room = GROUP_COPYSETS_MAX - s->group->copyset_count;

    return (struct spread_request) {
        .volume = field_uuid(r->uuid),
        .replicas = r->replicas,
        .shape = { r->shard_bytes, s->shard_count - first, r->stripe_width },
        .stride_nodes = r->stride_nodes,
        .tuples_max = room < CTL_TUPLES_MAX ? room : CTL_TUPLES_MAX,
        .apart = volume_apart(r),
    };
}

/* On different disks, perhaps of one node. */
static struct status MUST_CHECK plan_on_disks(struct volume_spread *s,
                                              const struct spread_request *wanted, uint32_t *disks)
{
    struct cluster_view *of_disks = arena_alloc(s->arena, sizeof *of_disks);
    struct spread_request request = *wanted;
    struct spread_result result;
    struct problem problem;

    cluster_view_of_disks(s->view, s->arena, of_disks);
    request.within = 0;
    if (of_disks->disk_count < request.replicas) {
        snprintf(s->problem->s, sizeof s->problem->s,
                 "%u replicas need %u working disks, also where several are of one node, and there "
                 "%s %u",
                 request.replicas, request.replicas, of_disks->disk_count == 1 ? "is" : "are",
                 of_disks->disk_count);
        return STATUS(NO_SPACE);
    }
    request.stride_nodes = of_disks->disk_count; /* All of them, as with one replica. */
    TRY(spread_plan(&of_disks->placement, &request, disks, &result, &problem));
    for (size_t i = 0; i < (size_t)request.shape.shard_count * request.replicas; i++) {
        uint32_t at = 0;
        while (!uuid_equal(s->view->disk_uuids[at], of_disks->disk_uuids[disks[i]]))
            at++;
        disks[i] = at;
        s->view->disks[at].planned_bytes += request.shape.shard_bytes;
    }
    return STATUS(OK);
}

/* There is not what the request wants: in as many domains as there are, or on as many nodes. */
static struct status MUST_CHECK plan_degraded(struct volume_spread *s,
                                              const struct spread_request *wanted, uint32_t *disks)
{
    struct spread_request request = *wanted;
    struct spread_result result;
    struct problem problem;

    request.apart = DOMAIN_NODE;
    if (wanted->apart != DOMAIN_NODE) {
        const struct status st =
            spread_plan(&s->view->placement, &request, disks, &result, &problem);
        if (!status_is(st, STATUS_NO_SPACE))
            return st;
    }
    return plan_on_disks(s, &request, disks);
}

/* Appends to the problem what would make the volume. */
static void say_degraded(struct volume_spread *s, const struct spread_request *request)
{
    const uint32_t nodes = node_mask_count(cluster_usable(&s->view->placement));
    const size_t at = strlen(s->problem->s);
    char *text = s->problem->s + at;

    if (nodes >= request->replicas)
        snprintf(text, sizeof s->problem->s - at,
                 "; --allow-degraded makes it all the same, with several replicas in one %s",
                 domain_level_name(request->apart));
    else if (s->view->disk_count >= request->replicas)
        snprintf(text, sizeof s->problem->s - at,
                 "; --allow-degraded makes it all the same, with several replicas on one node");
}

/* Disks of the view, for each shard that the record does not have. */
static struct status MUST_CHECK plan(struct volume_spread *s, uint32_t first, uint32_t *disks)
{
    struct spread_request request = request_of(s, first);
    struct spread_result result;
    struct status st = STATUS(NO_SPACE);

    if (first > 0)
        request.within = cluster_view_nodes_of(s->view, s->record);
    if (first == 0 || request.within != 0)
        st = spread_plan(&s->view->placement, &request, disks, &result, s->problem);
    else
        snprintf(s->problem->s, sizeof s->problem->s,
                 "none of the disks that its shards may lie on works now");
    if (!status_is(st, STATUS_NO_SPACE))
        return st;
    if (s->record->allow_degraded && (first == 0 || request.within != 0))
        return plan_degraded(s, &request, disks);
    if (s->record->allow_degraded)
        return plan_on_disks(s, &request, disks);
    if (first == 0)
        say_degraded(s, &request);
    return st;
}

/* ---- The records ---- */

/* The index of a disk in the record's list, where it is put if it is not there. */
static uint32_t record_disk(struct volume_spread *s, uint32_t disk)
{
    Stored__V1__Volume *r = s->record;
    const struct uuid *uuid = &s->view->disk_uuids[disk];

    for (size_t i = 0; i < r->n_disks; i++)
        if (uuid_equal(field_uuid(r->disks[i]), *uuid))
            return (uint32_t)i;
    ProtobufCBinaryData *disks = arena_alloc(s->arena, (r->n_disks + 1) * sizeof *disks);
    for (size_t i = 0; i < r->n_disks; i++)
        disks[i] = r->disks[i];
    disks[r->n_disks] = arena_uuid_bytes(s->arena, *uuid);
    r->disks = disks;
    return (uint32_t)r->n_disks++;
}

static void record_shards(struct volume_spread *s, uint32_t first, const uint32_t *disks)
{
    Stored__V1__Volume *r = s->record;
    const size_t total = (size_t)s->shard_count * r->replicas;
    uint32_t *placement = arena_alloc(s->arena, total * sizeof *placement);

    for (size_t i = 0; i < total; i++)
        placement[i] = i < (size_t)first * r->replicas
                           ? r->placement[i]
                           : record_disk(s, disks[i - (size_t)first * r->replicas]);
    r->placement = placement;
    r->n_placement = total;
}

/* The first copyset with these disks; copyset_count if there is none. */
static uint32_t group_number(const struct group *g, const struct uuid *tuple, uint32_t replicas)
{
    uint32_t n = 0;

    for (; n < g->copyset_count; n++) {
        bool same = true;
        for (uint32_t slot = 0; slot < replicas; slot++)
            same &= uuid_equal(g->copysets[n].slots[slot].disk, tuple[slot]);
        if (same)
            break;
    }
    return n;
}

/* Where the record has numbers of copysets, also those of its new shards. */
static void record_numbers(struct volume_spread *s, uint32_t first)
{
    Stored__V1__Volume *r = s->record;
    uint32_t *numbers = arena_alloc(s->arena, s->shard_count * sizeof *numbers);

    if (r->n_copysets == 0)
        return;
    for (uint32_t i = 0; i < s->shard_count; i++) {
        struct uuid tuple[GROUP_SLOTS] = { 0 };
        for (uint32_t slot = 0; slot < r->replicas; slot++)
            tuple[slot] = field_uuid(r->disks[r->placement[i * r->replicas + slot]]);
        numbers[i] = i < first ? r->copysets[i] : group_number(s->group, tuple, r->replicas);
    }
    r->copysets = numbers;
    r->n_copysets = s->shard_count;
}

/* Copysets that are not in the group's record yet. */
struct tuples {
    uint32_t count;
    struct uuid disks[GROUP_COPYSETS_MAX][GROUP_SLOTS];
};

static bool tuples_have(const struct tuples *t, const struct uuid *tuple)
{
    for (uint32_t n = 0; n < t->count; n++)
        if (memcmp(t->disks[n], tuple, sizeof t->disks[n]) == 0)
            return true;
    return false;
}

static struct status MUST_CHECK add_copysets(struct volume_spread *s, const uint32_t *disks,
                                             uint32_t shards)
{
    const uint32_t replicas = s->record->replicas;
    struct tuples *t = arena_alloc(s->arena, sizeof *t);
    struct group_reason reason;

    for (uint32_t i = 0; i < shards; i++) {
        struct uuid tuple[GROUP_SLOTS] = { 0 };
        for (uint32_t slot = 0; slot < replicas; slot++)
            tuple[slot] = s->view->disk_uuids[disks[(size_t)i * replicas + slot]];
        if (group_number(s->group, tuple, replicas) < s->group->copyset_count ||
            tuples_have(t, tuple))
            continue;
        assert(s->group->copyset_count + t->count < GROUP_COPYSETS_MAX); /* tuples_max */
        memcpy(t->disks[t->count++], tuple, sizeof tuple);
    }
    if (t->count == 0)
        return STATUS(OK);
    return group_extend(s->group, t->disks, t->count, s->group, &reason);
}

/* There is no room for other copysets: shards take those that there are in turns. */
static void repeat_tuples(struct volume_spread *s, uint32_t first)
{
    Stored__V1__Volume *r = s->record;
    const size_t before = (size_t)first * r->replicas;
    const size_t total = (size_t)s->shard_count * r->replicas;
    uint32_t *placement = arena_alloc(s->arena, total * sizeof *placement);

    for (size_t i = 0; i < total; i++)
        placement[i] = i < before ? r->placement[i] : placement[i - before];
    r->placement = placement;
    r->n_placement = total;
    record_numbers(s, first);
}

struct status volume_spread(struct volume_spread *s)
{
    const uint32_t replicas = s->record->replicas;
    const uint32_t first = (uint32_t)(s->record->n_placement / replicas);
    const uint32_t shards = s->shard_count - first;

    assert(replicas > 1 && replicas <= GROUP_SLOTS);
    assert(shards > 0);
    if (s->group->copyset_count == GROUP_COPYSETS_MAX) {
        repeat_tuples(s, first);
        return STATUS(OK);
    }
    uint32_t *disks = arena_alloc(s->arena, (size_t)shards * replicas * sizeof *disks);
    TRY(plan(s, first, disks));
    TRY(add_copysets(s, disks, shards));
    record_shards(s, first, disks);
    record_numbers(s, first);
    return STATUS(OK);
}

/* ---- What follows from it ---- */

enum domain_level volume_apart(const Stored__V1__Volume *record)
{
    return record->apart > 0 && record->apart <= DOMAIN_LEVELS
               ? (enum domain_level)(record->apart - 1)
               : DOMAIN_NODE;
}

uint32_t volume_apart_default(const struct cluster_view *view, uint32_t replicas)
{
    struct domains domains;
    uint32_t level = DOMAIN_LEVELS - 1;

    domains_map(&view->placement, cluster_nodes(&view->placement), &domains);
    while (level > DOMAIN_NODE && domains.count[level] < replicas)
        level--;
    return level + 1;
}

uint32_t volume_spread_width(const struct cluster_view *view, uint32_t replicas,
                             uint32_t stride_nodes)
{
    const uint32_t usable = node_mask_count(cluster_usable(&view->placement));
    const uint32_t wanted = stride_nodes != 0 ? stride_nodes : 2 * replicas;

    if (usable <= wanted)
        return view->disk_count;
    return (uint32_t)((uint64_t)view->disk_count * wanted / usable);
}

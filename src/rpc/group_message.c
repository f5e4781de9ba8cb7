/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/group_message.h"

#include <stdio.h>

/* ---- To a message ---- */

static Trilith__V1__GroupSlot *slot_to_message(const struct group_slot *s, struct arena *arena)
{
    Trilith__V1__GroupSlot *m = arena_alloc(arena, sizeof *m);

    trilith__v1__group_slot__init(m);
    if (s->state == GROUP_SLOT_UNUSED)
        return m;
    m->disk_uuid = arena_uuid_bytes(arena, s->disk);
    m->out = s->state == GROUP_SLOT_OUT;
    m->incarnation = s->incarnation;
    m->since_unix_ms = s->since_unix_ms;
    m->whole = s->whole;
    return m;
}

static Trilith__V1__GroupCopyset *copyset_to_message(const struct group_copyset *c,
                                                     struct arena *arena)
{
    Trilith__V1__GroupCopyset *m = arena_alloc(arena, sizeof *m);

    trilith__v1__group_copyset__init(m);
    m->n_slots = GROUP_SLOTS;
    m->slots = arena_alloc(arena, GROUP_SLOTS * sizeof *m->slots);
    for (unsigned i = 0; i < GROUP_SLOTS; i++)
        m->slots[i] = slot_to_message(&c->slots[i], arena);
    return m;
}

Trilith__V1__GroupRecord *group_to_message(const struct group *g, struct arena *arena)
{
    Trilith__V1__GroupRecord *m = arena_alloc(arena, sizeof *m);

    trilith__v1__group_record__init(m);
    m->epoch = g->epoch;
    if (!uuid_is_nil(g->owner))
        m->owner_uuid = arena_uuid_bytes(arena, g->owner);
    m->generation = g->generation;
    m->sequence = g->sequence;
    m->loss = g->loss;
    m->n_copysets = g->copyset_count;
    m->copysets = arena_alloc(arena, g->copyset_count * sizeof *m->copysets);
    for (uint32_t i = 0; i < g->copyset_count; i++)
        m->copysets[i] = copyset_to_message(&g->copysets[i], arena);
    return m;
}

/* ---- From a message ---- */

bool group_uuid_from_message(ProtobufCBinaryData field, struct uuid *out_uuid)
{
    if (field.len != sizeof out_uuid->b)
        return false;
    memcpy(out_uuid->b, field.data, field.len);
    return !uuid_is_nil(*out_uuid);
}

static const char *slot_from_message(const Trilith__V1__GroupSlot *m, struct group_slot *out_slot)
{
    *out_slot = (struct group_slot) { .incarnation = m->incarnation,
                                      .since_unix_ms = m->since_unix_ms,
                                      .whole = m->whole };
    if (m->disk_uuid.len == 0) {
        out_slot->state = GROUP_SLOT_UNUSED;
        return m->out ? "a slot without a disk is out" : NULL;
    }
    out_slot->state = m->out ? GROUP_SLOT_OUT : GROUP_SLOT_IN;
    return group_uuid_from_message(m->disk_uuid, &out_slot->disk)
               ? NULL
               : "a disk's UUID has not 16 bytes";
}

static const char *copyset_from_message(const Trilith__V1__GroupCopyset *m,
                                        struct group_copyset *out_copyset)
{
    const char *problem = NULL;

    *out_copyset = (struct group_copyset) { 0 };
    if (m->n_slots > GROUP_SLOTS)
        return "a copyset has more than three slots";
    for (size_t i = 0; i < m->n_slots && problem == NULL; i++)
        problem = slot_from_message(m->slots[i], &out_copyset->slots[i]);
    return problem;
}

static const char *fill_group(const Trilith__V1__GroupRecord *m, struct group *g)
{
    const char *problem = NULL;

    if (m->n_copysets > GROUP_COPYSETS_MAX)
        return "it has more than 256 copysets";
    *g = (struct group) { .epoch = m->epoch,
                          .generation = m->generation,
                          .sequence = m->sequence,
                          .loss = m->loss,
                          .copyset_count = (uint32_t)m->n_copysets };
    if (m->owner_uuid.len != 0 && !group_uuid_from_message(m->owner_uuid, &g->owner))
        return "its owner's UUID has not 16 bytes";
    for (size_t i = 0; i < m->n_copysets && problem == NULL; i++)
        problem = copyset_from_message(m->copysets[i], &g->copysets[i]);
    return problem;
}

struct status group_from_message(const Trilith__V1__GroupRecord *message, struct group *out_group,
                                 struct group_reason *reason)
{
    const char *problem = message != NULL ? fill_group(message, out_group) : "there is no record";

    if (problem == NULL)
        return group_check(out_group, reason);
    snprintf(reason->s, sizeof reason->s, "%s", problem);
    return STATUS(INVALID);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of copysets, and the data that have them: docs/replication.md, section 2.5. */
#include <assert.h>

#include "store/wire_internal.h"

#define OPEN_KNOWN  1u
#define STATE_FLAGS (WIRE_STATE_BUSY | WIRE_STATE_LOSS | WIRE_STATE_CUT | WIRE_STATE_FAILED)

/* ---- Sets ---- */

static bool slot_is_valid(const struct wire_set *s, unsigned slot)
{
    const unsigned bit = 1u << slot;

    if (uuid_is_nil(s->disk[slot]))
        return ((s->in | s->whole) & bit) == 0 && s->incarnation[slot] == 0;
    for (unsigned i = 0; i < slot; i++) {
        if (uuid_equal(s->disk[i], s->disk[slot]))
            return false;
    }
    return true;
}

static bool set_is_valid(const struct wire_set *s)
{
    for (unsigned slot = 0; slot < STORE_REPLICAS_MAX; slot++) {
        if (!slot_is_valid(s, slot))
            return false;
    }
    return s->number <= STORE_COPYSET_MAX && s->in != 0 && s->in <= WIRE_SLOTS_MASK &&
           s->whole <= WIRE_SLOTS_MASK && (s->in & s->whole) == 0;
}

struct wire_set wire_set_get(struct wire_items sets, uint32_t i)
{
    struct wire_set_item_format f;

    assert(i < sets.count);
    memcpy(&f, sets.at + i * sizeof f, sizeof f);
    struct wire_set s = { .number = le16_get(f.number), .in = f.in, .whole = f.whole };
    for (unsigned slot = 0; slot < STORE_REPLICAS_MAX; slot++) {
        memcpy(s.disk[slot].b, f.disk[slot], sizeof s.disk[slot].b);
        s.incarnation[slot] = le64_get(f.incarnation[slot]);
    }
    return s;
}

/* Each one valid, with nothing in its reserved bytes, and in the order of their numbers. */
static bool sets_are_valid(struct wire_items sets)
{
    struct wire_set_item_format f;

    if (sets.count > STORE_COPYSETS_MAX)
        return false;
    for (uint32_t i = 0; i < sets.count; i++) {
        const struct wire_set s = wire_set_get(sets, i);
        memcpy(&f, sets.at + i * sizeof f, sizeof f);
        if (!set_is_valid(&s) || le32_get(f.zero_4) != 0 ||
            (i > 0 && wire_set_get(sets, i - 1).number >= s.number))
            return false;
    }
    return true;
}

static bool set_has_disk(const struct wire_set *s, struct uuid disk)
{
    for (unsigned slot = 0; slot < STORE_REPLICAS_MAX; slot++) {
        if (uuid_equal(s->disk[slot], disk))
            return true;
    }
    return false;
}

/* Puts the items behind the head; returns where they end. */
static size_t put_sets(const struct wire_set *sets, uint32_t count, struct span out, size_t at)
{
    assert(count <= STORE_COPYSETS_MAX);

    for (uint32_t i = 0; i < count; i++) {
        const struct wire_set *s = &sets[i];
        struct wire_set_item_format f = { .number = le16_make(s->number),
                                          .in = s->in,
                                          .whole = s->whole };
        assert(set_is_valid(s));
        for (unsigned slot = 0; slot < STORE_REPLICAS_MAX; slot++) {
            memcpy(f.disk[slot], s->disk[slot].b, sizeof f.disk[slot]);
            f.incarnation[slot] = le64_make(s->incarnation[slot]);
        }
        memcpy(span_sub(out, at, sizeof f).at, &f, sizeof f);
        at += sizeof f;
    }
    return at;
}

/* ---- OPEN ---- */

static const struct wire_layout open_layout = { WIRE_OPEN, sizeof(struct wire_open_format),
                                                sizeof(struct wire_set_item_format) };

static void volume_encode(const struct store_volume *v, struct wire_volume_format *out)
{
    *out = (struct wire_volume_format) {
        .bytes = le64_make(v->bytes),
        .shard_bytes = le64_make(v->shard_bytes),
        .lba_bytes = le32_make(v->lba_bytes),
        .stripe_unit_bytes = le32_make(v->stripe_unit_bytes),
        .stripe_width = le32_make(v->stripe_width),
        .replicas = (uint8_t)v->replicas,
        .min_in_sync = (uint8_t)v->min_in_sync,
        .flags = le16_make(v->continue_on_unflushed_loss ? WIRE_VOLUME_CONTINUE : 0),
        .first_run_shards = le32_make(v->first_run_shards),
    };
    memcpy(out->uuid, v->uuid.b, sizeof out->uuid);
    memcpy(out->name, v->name, strnlen(v->name, sizeof out->name - 1));
}

static struct status MUST_CHECK volume_decode(const struct wire_volume_format *f,
                                              struct store_volume *out)
{
    const uint16_t flags = le16_get(f->flags);
    const size_t name_bytes = strnlen(f->name, sizeof f->name);

    *out = (struct store_volume) {
        .bytes = le64_get(f->bytes),
        .shard_bytes = le64_get(f->shard_bytes),
        .lba_bytes = le32_get(f->lba_bytes),
        .stripe_unit_bytes = le32_get(f->stripe_unit_bytes),
        .stripe_width = le32_get(f->stripe_width),
        .replicas = f->replicas,
        .min_in_sync = f->min_in_sync,
        .first_run_shards = le32_get(f->first_run_shards),
        .continue_on_unflushed_loss = (flags & WIRE_VOLUME_CONTINUE) != 0,
    };
    memcpy(out->uuid.b, f->uuid, sizeof out->uuid.b);
    memcpy(out->name, f->name, sizeof out->name);
    if ((flags & ~WIRE_VOLUME_CONTINUE) != 0 || !wire_zeros(f->zero_116, sizeof f->zero_116) ||
        !wire_zeros((const uint8_t *)f->name + name_bytes, sizeof f->name - name_bytes))
        return STATUS(MALFORMED);
    return store_volume_is_valid(out) ? STATUS(OK) : STATUS(MALFORMED);
}

void wire_open_encode(const struct wire_open *open, const struct wire_set *sets, struct span out)
{
    struct wire_open_format f = {
        .head = wire_head_make(WIRE_OPEN, open->sets.count),
        .session = le64_make(open->session),
        .sequence = le64_make(open->sequence),
        .group = le32_make(open->group),
        .flags = le32_make(open->known ? OPEN_KNOWN : 0),
    };
    memcpy(f.cluster, open->cluster.b, sizeof f.cluster);
    memcpy(f.disk, open->disk.b, sizeof f.disk);
    volume_encode(&open->volume, &f.volume);
    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_sets(sets, open->sets.count, out, sizeof f));
}

/* The disk has a slot in each set: which one, is said nowhere else. */
static bool sets_have_disk(struct wire_items sets, struct uuid disk)
{
    for (uint32_t i = 0; i < sets.count; i++) {
        const struct wire_set s = wire_set_get(sets, i);
        if (!set_has_disk(&s, disk))
            return false;
    }
    return true;
}

struct status wire_open_decode(struct const_span data, struct wire_open *out)
{
    struct wire_open_format f;
    struct wire_open o = { 0 };

    TRY(wire_open_data(data, &open_layout, &o.sets));
    memcpy(&f, data.at, sizeof f);
    memcpy(o.cluster.b, f.cluster, sizeof o.cluster.b);
    memcpy(o.disk.b, f.disk, sizeof o.disk.b);
    o.session = le64_get(f.session);
    o.sequence = le64_get(f.sequence);
    o.group = le32_get(f.group);
    o.known = (le32_get(f.flags) & OPEN_KNOWN) != 0;
    TRY(volume_decode(&f.volume, &o.volume));
    if (!wire_is_full(data, &open_layout, o.sets) || (le32_get(f.flags) & ~OPEN_KNOWN) != 0 ||
        o.session == 0 || o.group >= STORE_GROUPS_MAX || uuid_is_nil(o.disk) ||
        uuid_is_nil(o.volume.uuid) || !sets_are_valid(o.sets) || !sets_have_disk(o.sets, o.disk))
        return STATUS(MALFORMED);
    *out = o;
    return STATUS(OK);
}

/* ---- SET ---- */

static const struct wire_layout set_layout = { WIRE_SET, sizeof(struct wire_set_format),
                                               sizeof(struct wire_set_item_format) };

void wire_set_encode(uint64_t sequence, const struct wire_set *sets, uint32_t count,
                     struct span out)
{
    const struct wire_set_format f = { .head = wire_head_make(WIRE_SET, count),
                                       .sequence = le64_make(sequence) };

    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_sets(sets, count, out, sizeof f));
}

struct status wire_set_decode(struct const_span data, uint64_t *out_sequence,
                              struct wire_items *out_sets)
{
    struct wire_set_format f;
    struct wire_items sets;

    TRY(wire_open_data(data, &set_layout, &sets));
    memcpy(&f, data.at, sizeof f);
    if (!wire_is_full(data, &set_layout, sets) || le64_get(f.zero_24) != 0 || sets.count == 0 ||
        !sets_are_valid(sets))
        return STATUS(MALFORMED);
    *out_sequence = le64_get(f.sequence);
    *out_sets = sets;
    return STATUS(OK);
}

/* ---- STATE ---- */

static const struct wire_layout state_layout = { WIRE_STATE, sizeof(struct wire_state_format),
                                                 sizeof(struct wire_set_item_format) };

void wire_state_encode(const struct wire_state *state, const struct wire_set *sets, struct span out)
{
    const struct wire_state_format f = {
        .head = wire_head_make(WIRE_STATE, state->sets.count),
        .incarnation = le64_make(state->incarnation),
        .generation = le64_make(state->generation),
        .epoch = le64_make(state->epoch),
        .sequence = le64_make(state->sequence),
        .regions = le32_make(state->regions),
        .sets = le32_make(state->set_count),
        .reactor = le16_make(state->reactor),
        .flags = le16_make(state->flags),
    };

    assert((state->flags & ~STATE_FLAGS) == 0 && state->sets.count <= state->set_count);
    memcpy(out.at, &f, sizeof f);
    wire_finish(out, put_sets(sets, state->sets.count, out, sizeof f));
}

struct status wire_state_decode(struct const_span data, struct wire_state *out)
{
    struct wire_state_format f;
    struct wire_items sets;

    TRY(wire_open_data(data, &state_layout, &sets));
    memcpy(&f, data.at, sizeof f);
    const struct wire_state s = {
        .incarnation = le64_get(f.incarnation),
        .generation = le64_get(f.generation),
        .epoch = le64_get(f.epoch),
        .sequence = le64_get(f.sequence),
        .regions = le32_get(f.regions),
        .set_count = le32_get(f.sets),
        .reactor = le16_get(f.reactor),
        .flags = le16_get(f.flags),
        .sets = sets,
    };
    if (le32_get(f.zero_60) != 0 || (s.flags & ~STATE_FLAGS) != 0 || sets.count > s.set_count ||
        !sets_are_valid(sets))
        return STATUS(MALFORMED);
    *out = s;
    return STATUS(OK);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Reading records in numbers, and finding one by what a user calls it. */
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl_internal.h"
#include "ctl/placement.h"
#include "nvme/nqn.h"

struct reading {
    const ProtobufCMessageDescriptor *type;
    struct records *records;
};

static struct status read_one(void *ctx, const struct meta_item *item)
{
    struct reading *reading = ctx;
    struct records *r = reading->records;

    if (r->count == r->room) {
        const size_t room = r->room > 0 ? 2 * r->room : 16;
        ProtobufCMessage **items = realloc(r->items, room * sizeof *items);
        if (items == NULL)
            return STATUS(NO_MEMORY);
        r->items = items;
        uint64_t *revisions = realloc(r->revisions, room * sizeof *revisions);
        if (revisions == NULL)
            return STATUS(NO_MEMORY);
        r->revisions = revisions;
        r->room = room;
    }
    TRY(record_unpack(item->value, reading->type, &r->items[r->count]));
    r->revisions[r->count++] = item->revision;
    return STATUS(OK);
}

struct status records_read(struct ctl *ctl, const char *prefix,
                           const ProtobufCMessageDescriptor *type, struct records *out_records)
{
    *out_records = (struct records) { 0 };
    struct reading reading = { type, out_records };
    const struct status st = meta_range(ctl->meta, prefix, read_one, &reading, NULL);
    if (!status_ok(st))
        records_free(out_records);
    return st;
}

void records_free(struct records *records)
{
    for (size_t i = 0; i < records->count; i++)
        record_free(records->items[i]);
    free(records->items);
    free(records->revisions);
    *records = (struct records) { 0 };
}

uint32_t node_roles(const Stored__V1__Node *record)
{
    return record->roles != 0 ? record->roles : ROLE_STORE | ROLE_TARGET;
}

struct status node_roles_read(struct ctl *ctl, struct uuid node, uint32_t *out_roles)
{
    ProtobufCMessage *found;

    TRY(record_get(ctl->meta, key_node(node).s, &stored__v1__node__descriptor, &found, NULL));
    *out_roles = node_roles((const Stored__V1__Node *)(const void *)found);
    record_free(found);
    return STATUS(OK);
}

const char *node_name_read(struct ctl *ctl, struct uuid node, struct arena *arena)
{
    ProtobufCMessage *found = NULL;
    const char *name = arena_uuid(arena, node);

    if (status_ok(
            record_get(ctl->meta, key_node(node).s, &stored__v1__node__descriptor, &found, NULL)))
        name = arena_text(arena, ((const Stored__V1__Node *)(const void *)found)->name);
    record_free(found);
    return name;
}

bool disk_takes_shards(const Trilith__V1__DiskReport *d, const struct leaving *leaving,
                       bool with_suspect)
{
    const Trilith__V1__DiskHealth worst = with_suspect
                                              ? TRILITH__V1__DISK_HEALTH__DISK_HEALTH_SUSPECT
                                              : TRILITH__V1__DISK_HEALTH__DISK_HEALTH_HEALTHY;

    return d->failure[0] == '\0' && d->bytes > 0 && d->health <= worst &&
           !leaving_has(leaving, field_uuid(d->uuid));
}

struct uuid field_uuid(ProtobufCBinaryData field)
{
    struct uuid uuid;
    return status_ok(record_uuid(field, &uuid)) ? uuid : (struct uuid) { { 0 } };
}

struct status desired_change(struct meta *m, struct meta_txn *txn, struct uuid node,
                             struct status (*change)(void *ctx, Stored__V1__Desired *desired),
                             void *ctx)
{
    Stored__V1__Desired fresh = STORED__V1__DESIRED__INIT;
    const struct meta_key key = key_desired(node);
    ProtobufCMessage *found = NULL;
    uint64_t revision = 0;

    struct status st = record_get(m, key.s, &stored__v1__desired__descriptor, &found, &revision);
    if (!status_is(st, STATUS_NOT_FOUND))
        TRY(st);
    if (found != NULL)
        fresh = *(const Stored__V1__Desired *)(const void *)found;
    st = change != NULL ? change(ctx, &fresh) : STATUS(OK);
    if (status_ok(st)) {
        fresh.changes++;
        meta_txn_expect(txn, key.s, revision);
        record_put(txn, key.s, &fresh.base);
    }
    record_free(found);
    return st;
}

struct status desired_bump(struct meta *m, struct meta_txn *txn, struct uuid node)
{
    return desired_change(m, txn, node, NULL, NULL);
}

struct status desired_expect(struct meta *m, struct meta_txn *txn, struct uuid node)
{
    const struct meta_key key = key_desired(node);
    struct meta_value value = { 0 };
    const struct status st = meta_get(m, key.s, &value);

    if (!status_is(st, STATUS_NOT_FOUND))
        TRY(st);
    meta_txn_expect(txn, key.s, value.revision);
    meta_value_free(&value);
    return STATUS(OK);
}

struct status desired_read(struct ctl *ctl, struct uuid node, Stored__V1__Desired **out_record)
{
    ProtobufCMessage *found = NULL;
    const struct status st =
        record_get(ctl->meta, key_desired(node).s, &stored__v1__desired__descriptor, &found, NULL);

    if (!status_is(st, STATUS_NOT_FOUND))
        TRY(st);
    *out_record = (Stored__V1__Desired *)(void *)found;
    return STATUS(OK);
}

/* The UUID that a volume's name stands for. */
static struct status volume_uuid(struct ctl *ctl, const char *name, struct uuid *out_uuid)
{
    struct volume_name parsed;
    ProtobufCMessage *found;

    if (status_ok(uuid_parse(name, out_uuid)))
        return STATUS(OK);
    if (status_ok(nqn_parse_volume(name, &parsed)))
        name = parsed.s;
    if (!volume_name_is_valid(name))
        return STATUS(NOT_FOUND);
    TRY(record_get(ctl->meta, key_volume_name(name).s, &stored__v1__name__descriptor, &found,
                   NULL));
    const struct status st =
        record_uuid(((const Stored__V1__Name *)(const void *)found)->uuid, out_uuid);
    record_free(found);
    return st;
}

struct status volume_find(struct ctl *ctl, const char *name, Stored__V1__Volume **out_volume,
                          uint64_t *out_revision)
{
    ProtobufCMessage *found;
    struct uuid uuid;

    TRY(volume_uuid(ctl, name, &uuid));
    TRY(record_get(ctl->meta, key_volume(uuid).s, &stored__v1__volume__descriptor, &found,
                   out_revision));
    *out_volume = (Stored__V1__Volume *)(void *)found;
    return STATUS(OK);
}

uint64_t volume_planned_bytes(const Stored__V1__Volume *record, uint32_t shard)
{
    const struct placement_growth shape = { record->shard_bytes, record->stripe_width,
                                            record->n_placement / max_u64(record->replicas, 1),
                                            record->first_run_shards };

    return placement_shard_share(&shape, record->bytes, shard);
}

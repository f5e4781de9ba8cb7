/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Keys ---- */

static struct meta_key key_of(const char *prefix, const char *rest)
{
    struct meta_key key;
    snprintf(key.s, sizeof key.s, "%s%s", prefix, rest);
    return key;
}

struct meta_key key_volume(struct uuid volume)
{
    return key_of(KEY_VOLUMES, uuid_format(volume).s);
}

struct meta_key key_volume_name(const char *name)
{
    return key_of("volume-name/", name);
}

struct meta_key key_node(struct uuid node)
{
    return key_of(KEY_NODES, uuid_format(node).s);
}

struct meta_key key_node_name(const char *name)
{
    return key_of("node-name/", name);
}

struct meta_key key_disk(struct uuid disk)
{
    return key_of(KEY_DISKS, uuid_format(disk).s);
}

struct meta_key key_scrub(struct uuid disk)
{
    return key_of(KEY_SCRUBS, uuid_format(disk).s);
}

struct meta_key key_group(struct uuid volume, uint32_t group)
{
    struct meta_key key;
    snprintf(key.s, sizeof key.s, "group/%s/%u", uuid_format(volume).s, group);
    return key;
}

struct meta_key key_desired(struct uuid node)
{
    return key_of(KEY_DESIRED, uuid_format(node).s);
}

struct status key_uuid(const char *key, const char *prefix, struct uuid *out_uuid)
{
    const size_t bytes = strlen(prefix);
    if (strncmp(key, prefix, bytes) != 0)
        return STATUS(INVALID);
    return uuid_parse(key + bytes, out_uuid);
}

/* ---- Records ---- */

/* As protobuf-c's own, but that it tells want of memory from bytes that are no record. */
static void *record_alloc(void *no_memory, size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL)
        *(bool *)no_memory = true;
    return memory;
}

static void record_release(void *no_memory, void *memory)
{
    (void)no_memory;
    free(memory);
}

struct status record_unpack(struct const_span value, const ProtobufCMessageDescriptor *type,
                            ProtobufCMessage **out_record)
{
    if (value.bytes < 1)
        return STATUS(CORRUPT);
    if (value.at[0] != RECORD_VERSION)
        return STATUS(BAD_VERSION);
    bool no_memory = false;
    ProtobufCAllocator allocator = { record_alloc, record_release, &no_memory };
    ProtobufCMessage *record =
        protobuf_c_message_unpack(type, &allocator, value.bytes - 1, value.at + 1);
    if (record == NULL)
        return no_memory ? STATUS(NO_MEMORY) : STATUS(CORRUPT);
    *out_record = record;
    return STATUS(OK);
}

struct status record_get(struct meta *m, const char *key, const ProtobufCMessageDescriptor *type,
                         ProtobufCMessage **out_record, uint64_t *out_revision)
{
    struct meta_value value;

    TRY(meta_get(m, key, &value));
    const uint64_t revision = value.revision;
    const struct const_span bytes = { value.data, value.bytes };
    const struct status st = record_unpack(bytes, type, out_record);
    meta_value_free(&value);
    if (status_ok(st) && out_revision != NULL)
        *out_revision = revision;
    return st;
}

void record_free(ProtobufCMessage *record)
{
    ProtobufCAllocator allocator = { record_alloc, record_release, NULL };

    if (record != NULL)
        protobuf_c_message_free_unpacked(record, &allocator);
}

void record_put(struct meta_txn *txn, const char *key, const ProtobufCMessage *record)
{
    const size_t bytes = 1 + protobuf_c_message_get_packed_size(record);
    uint8_t *value = malloc(bytes);

    if (value == NULL) {
        txn->status = STATUS(NO_MEMORY);
        return;
    }
    value[0] = RECORD_VERSION;
    protobuf_c_message_pack(record, value + 1);
    meta_txn_put(txn, key, (struct const_span) { value, bytes });
    free(value);
}

struct status record_uuid(ProtobufCBinaryData field, struct uuid *out_uuid)
{
    if (field.len != sizeof out_uuid->b)
        return STATUS(CORRUPT);
    memcpy(out_uuid->b, field.data, field.len);
    return STATUS(OK);
}

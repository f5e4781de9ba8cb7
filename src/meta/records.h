/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed records in the meta store: protobuf-c messages of records.proto under their keys.
 *
 *     ProtobufCMessage *v;
 *     TRY(record_get(m, key_volume(uuid).s, &stored__v1__volume__descriptor, &v, &revision));
 *     ...
 *     record_free(v);
 *
 * Threading: as meta.h.   Memory: a record that was got is the caller's, until record_free().
 */
#ifndef META_RECORDS_H
#define META_RECORDS_H

#include "base/uuid.h"
#include "meta/meta.h"
#include "meta/records.pb-c.h"

/* The version of the messages: the first byte of each value.  A higher one is BAD_VERSION. */
#define RECORD_VERSION 1

/* ---- Keys ---- */

#define KEY_CLUSTER "cluster"
#define KEY_VOLUMES "volume/"
#define KEY_NODES   "node/"
#define KEY_DISKS   "disk/"
#define KEY_SCRUBS  "scrub/"
#define KEY_DESIRED "desired/"

struct meta_key key_volume(struct uuid volume);
struct meta_key key_volume_name(const char *name);
struct meta_key key_node(struct uuid node);
struct meta_key key_node_name(const char *name);
struct meta_key key_disk(struct uuid disk);
struct meta_key key_group(struct uuid volume, uint32_t group);
struct meta_key key_scrub(struct uuid disk);
struct meta_key key_desired(struct uuid node);

/* The UUID at the end of a key, such as that of key_desired(). */
struct status key_uuid(const char *key, const char *prefix, struct uuid *out_uuid) MUST_CHECK;

/* ---- Records ---- */

/* CORRUPT if the value is not such a record; NOT_FOUND; BAD_VERSION. */
struct status record_get(struct meta *m, const char *key, const ProtobufCMessageDescriptor *type,
                         ProtobufCMessage **out_record, uint64_t *out_revision) MUST_CHECK;

/* The value of a record as a walk shows it. */
struct status record_unpack(struct const_span value, const ProtobufCMessageDescriptor *type,
                            ProtobufCMessage **out_record) MUST_CHECK;

/* NULL is allowed. */
void record_free(ProtobufCMessage *record);

/* Puts the record in the transaction; what goes wrong is meta_commit()'s to report. */
void record_put(struct meta_txn *txn, const char *key, const ProtobufCMessage *record);

/* ---- UUIDs in records ---- */

/* The field's UUID; CORRUPT if it has not 16 bytes. */
struct status record_uuid(ProtobufCBinaryData field, struct uuid *out_uuid) MUST_CHECK;

/* Borrows uuid's bytes: for filling a record that is packed before uuid goes. */
static inline ProtobufCBinaryData record_bytes(const struct uuid *uuid)
{
    return (ProtobufCBinaryData) { sizeof uuid->b, (uint8_t *)(uintptr_t)uuid->b };
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is freed all at once: for building a message with many small parts.
 *
 * Threading: the owner's.
 * Memory:    running out of it ends the process: what counts is durable elsewhere.  Failing the one
 *            call instead would need a check behind each of the hundred parts of a message, as the
 *            size of what is built is not known before and nothing smaller can stand in for a part;
 *            and gRPC, which each message goes through, ends the process there all the same.
 */
#ifndef RPC_ARENA_H
#define RPC_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include "base/uuid.h"

struct arena {
    struct arena_chunk *chunks;
};

/* Zeroed, aligned for anything.  CLEANUP(arena_free) struct arena a = { 0 }; */
void *arena_alloc(struct arena *a, size_t bytes);
char *arena_text(struct arena *a, const char *text);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A UUID as its 36 characters, and as 16 bytes of a message. */
char *arena_uuid(struct arena *a, struct uuid uuid);
ProtobufCBinaryData arena_uuid_bytes(struct arena *a, struct uuid uuid);

void arena_free(struct arena *a);

/*
 * Room for one more item after count of them: array itself, or a larger copy of it.  Start with
 * NULL and 0, and call it before each item.
 */
void *arena_grow(struct arena *a, void *array, size_t count, size_t item_bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a group as a message of api/trilith/v1/group.proto, for both ends.
 *
 * Threading: pure.   Memory: a message is built in the caller's arena.
 */
#ifndef RPC_GROUP_MESSAGE_H
#define RPC_GROUP_MESSAGE_H

#include "repl/group.h"
#include "rpc/arena.h"
#include "trilith/v1/group.pb-c.h"

/* Borrows nothing from g. */
Trilith__V1__GroupRecord *group_to_message(const struct group *g, struct arena *arena);

/* INVALID with a reason if the message is missing, or no record (W1). */
struct status group_from_message(const Trilith__V1__GroupRecord *message, struct group *out_group,
                                 struct group_reason *reason) MUST_CHECK;

/* A UUID of 16 bytes that is not nil. */
bool group_uuid_from_message(ProtobufCBinaryData field, struct uuid *out_uuid);

#endif

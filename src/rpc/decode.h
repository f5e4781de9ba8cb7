/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decodes a protocol buffer that came from outside: with a budget of memory, so that a small
 * message cannot become a large one; and with every string checked to be UTF-8 without control
 * characters, which protobuf-c does not do.
 *
 * Threading: pure.   Memory: a decoded message is the caller's, for rpc_message_free().
 */
#ifndef RPC_DECODE_H
#define RPC_DECODE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/span.h"
#include "base/status.h"
#include "rpc/limits.h"

/*
 * INVALID: no such message or above the budget, or a string that is no text.  problem says what,
 * and which field.
 */
struct status rpc_decode(const ProtobufCMessageDescriptor *type, struct const_span bytes,
                         ProtobufCMessage **out_message, char problem[RPC_TEXT_BYTES]) MUST_CHECK;

/* Whether a text may be a field of a message: what rpc_decode() takes. */
bool rpc_text_is_valid(const char *text);

/* Frees a decoded message.  NULL is allowed. */
void rpc_message_free(ProtobufCMessage *message);

#endif

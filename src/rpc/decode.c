/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/decode.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Memory with a budget ---- */

/*
 * The budget is only taken from: what protobuf-c frees while it decodes is little, and a message
 * that makes it allocate again and again is one that we want to stop.
 */
struct budget {
    size_t left_bytes;
    bool no_memory; /* It was not the message that asked for too much. */
};

static void *budget_alloc(void *data, size_t bytes)
{
    struct budget *b = data;
    if (bytes > b->left_bytes)
        return NULL;
    b->left_bytes -= bytes;
    void *memory = malloc(bytes > 0 ? bytes : 1);
    b->no_memory = b->no_memory || memory == NULL;
    return memory;
}

static void budget_free(void *data, void *memory)
{
    (void)data;
    free(memory);
}

static size_t budget_for(size_t bytes)
{
    const size_t want = RPC_DECODED_BASE + bytes * RPC_DECODED_PER_BYTE;
    return want < RPC_DECODED_BYTES_MAX ? want : RPC_DECODED_BYTES_MAX;
}

/* ---- UTF-8 (RFC 3629) ---- */

/* The bytes of the character at s, or 0 if there is none: overlong, surrogate, cut, control. */
static size_t character_bytes(const uint8_t *s)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
    const size_t bytes = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((s[i] & 0xc0) != 0x80) /* The terminating zero ends up here too. */
            return 0;
    const bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    const bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    const bool above = s[0] == 0xf4 && s[1] > 0x8f;
    const bool control = s[0] == 0xc2 && s[1] < 0xa0;
    return overlong || surrogate || above || control ? 0 : bytes;
}

bool rpc_text_is_valid(const char *text)
{
    const uint8_t *s = (const uint8_t *)text;
    while (*s != 0) {
        const size_t bytes = character_bytes(s);
        if (bytes == 0)
            return false;
        s += bytes;
    }
    return true;
}

/* ---- Walking a message ---- */

static struct status check_message(const ProtobufCMessage *message, char problem[RPC_TEXT_BYTES]);

/* The address of the i-th value of a field, or NULL if there is none. */
static const void *field_value(const ProtobufCMessage *message,
                               const ProtobufCFieldDescriptor *field, size_t i)
{
    const uint8_t *base = (const uint8_t *)message;
    size_t count;

    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return i == 0 ? *(void *const *)(const void *)(base + field->offset) : NULL;
    memcpy(&count, base + field->quantifier_offset, sizeof count);
    if (i >= count)
        return NULL;
    void *const *const *array = (void *const *const *)(const void *)(base + field->offset);
    return (*array)[i];
}

static struct status check_field(const ProtobufCMessage *message,
                                 const ProtobufCFieldDescriptor *field,
                                 char problem[RPC_TEXT_BYTES])
{
    const void *value;

    if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
        return STATUS(OK);
    for (size_t i = 0; (value = field_value(message, field, i)) != NULL; i++) {
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            TRY(check_message(value, problem));
        } else if (!rpc_text_is_valid(value)) {
            snprintf(problem, RPC_TEXT_BYTES, "field '%s' is not text", field->name);
            return STATUS(INVALID);
        }
    }
    return STATUS(OK);
}

/* No message of ours contains itself, so the depth is bounded by the definition. */
static struct status check_message(const ProtobufCMessage *message, char problem[RPC_TEXT_BYTES])
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++)
        TRY(check_field(message, &message->descriptor->fields[i], problem));
    return STATUS(OK);
}

/* ---- Decoding ---- */

struct status rpc_decode(const ProtobufCMessageDescriptor *type, struct const_span bytes,
                         ProtobufCMessage **out_message, char problem[RPC_TEXT_BYTES])
{
    struct budget budget = { .left_bytes = budget_for(bytes.bytes) };
    ProtobufCAllocator allocator = { budget_alloc, budget_free, &budget };

    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.bytes, bytes.at);
    if (message == NULL && budget.no_memory) {
        snprintf(problem, RPC_TEXT_BYTES, "%s", status_text(STATUS(NO_MEMORY)));
        return STATUS(NO_MEMORY);
    }
    if (message == NULL) {
        snprintf(problem, RPC_TEXT_BYTES, "this is not a message of type %s", type->name);
        return STATUS(INVALID);
    }
    const struct status st = check_message(message, problem);
    if (!status_ok(st)) {
        rpc_message_free(message);
        return st;
    }
    *out_message = message;
    return STATUS(OK);
}

void rpc_message_free(ProtobufCMessage *message)
{
    ProtobufCAllocator allocator = { budget_alloc, budget_free, NULL };

    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &allocator);
}
